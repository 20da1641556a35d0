/*
 * Idea: INITs and their answers get lost, so the same bytes are sent again, with gaps that grow a little and then stay. The
 * responder answers the same bytes by the same bytes without much work; a new INIT, which costs both sides X25519, is made
 * every 6 s only. Every gap is drawn anew, so that two sides which began together drift apart.
 *
 * Why the gaps stay at 1.3 s: a path that comes back must be noticed within two seconds, round trips included. Why the
 * period grows: a peer that is switched off for the night is not worth an INIT a second.
 */
#include "session/attempt.h"

#include "core/rand.h"

enum {
	GAP_JITTER_PERCENT = 10,
	PERIOD_JITTER_PERCENT = 25,
	LAST_GAP_US =
		1300000, /* from the last transmission to the next attempt at the short period */
};

/* From each transmission to the next. Their sum with LAST_GAP_US is ATTEMPT_PERIOD_US. */
static const int64_t gaps_us[ATTEMPT_TRANSMISSIONS - 1] = {
	300000,
	600000,
	1200000,
	1300000,
	1300000,
};

/* Of the periods once they grow. */
static const int64_t periods_us[] = {15000000, 30000000, 60000000};

static int64_t jittered_us(int64_t us, int64_t percent, const struct rand_source *rnd)
{
	int64_t span = us / 100 * percent;

	return us - span + (int64_t)(rand_u32(rnd) % (uint64_t)(2 * span + 1));
}

void attempt_init(struct attempt *attempt)
{
	*attempt = (struct attempt){.repeat_at = MONO_NEVER, .new_at = MONO_NEVER};
}

void attempt_start(struct attempt *attempt, uint8_t reach, struct mono now)
{
	*attempt = (struct attempt){
		.repeat_at = MONO_NEVER,
		.new_at = now,
		.reach = (uint8_t)(reach - 1),
	};
}

void attempt_stop(struct attempt *attempt)
{
	attempt->repeat_at = MONO_NEVER;
	attempt->new_at = MONO_NEVER;
}

enum attempt_due attempt_due(const struct attempt *attempt, struct mono now)
{
	if (mono_due(attempt->new_at, now))
		return ATTEMPT_NEW;
	return mono_due(attempt->repeat_at, now) ? ATTEMPT_REPEAT : ATTEMPT_NOTHING;
}

struct mono attempt_next_deadline(const struct attempt *attempt)
{
	return mono_min(attempt->repeat_at, attempt->new_at);
}

uint8_t attempt_next_reach(const struct attempt *attempt)
{
	return attempt->reach < UINT8_MAX ? (uint8_t)(attempt->reach + 1) : UINT8_MAX;
}

void attempt_made(
	struct attempt *attempt, bool steady, struct mono now, const struct rand_source *rnd)
{
	int64_t extra_us = 0;

	if (attempt->made < UINT8_MAX)
		attempt->made++;
	if (steady) {
		/* Should the session be lost later, the short period still has all its turns. */
		attempt->made = 1;
	} else if (attempt->made >= ATTEMPT_STEADY) {
		size_t step = (size_t)attempt->made - ATTEMPT_STEADY;
		size_t last = sizeof(periods_us) / sizeof(periods_us[0]) - 1;
		int64_t period_us = periods_us[step < last ? step : last];
		extra_us = jittered_us(period_us, PERIOD_JITTER_PERCENT, rnd) - ATTEMPT_PERIOD_US;
	}
	int64_t rest_us = jittered_us(LAST_GAP_US, GAP_JITTER_PERCENT, rnd);
	for (size_t i = 1; i < ATTEMPT_TRANSMISSIONS - 1; i++)
		rest_us += gaps_us[i];
	int64_t first_us = jittered_us(gaps_us[0], GAP_JITTER_PERCENT, rnd);
	attempt->sent = 1;
	attempt->reach = attempt_next_reach(attempt);
	attempt->repeat_at = mono_add_us(now, first_us);
	attempt->new_at = mono_add_us(now, first_us + rest_us + extra_us);
}

void attempt_repeated(struct attempt *attempt, struct mono now, const struct rand_source *rnd)
{
	attempt->reach = attempt_next_reach(attempt);
	if (attempt->sent < ATTEMPT_TRANSMISSIONS)
		attempt->sent++;
	if (attempt->sent == ATTEMPT_TRANSMISSIONS) {
		attempt->repeat_at = MONO_NEVER;
		return;
	}
	int64_t nominal_us = gaps_us[attempt->sent - 1];
	int64_t gap_us = jittered_us(nominal_us, GAP_JITTER_PERCENT, rnd);
	attempt->repeat_at = mono_add_us(now, gap_us);
	/* The next attempt moves with the repeats, so that the gap in between stays what it is. */
	attempt->new_at = mono_add_us(attempt->new_at, gap_us - nominal_us);
}

void attempt_answered(struct attempt *attempt, bool newest, struct mono now)
{
	if (newest)
		attempt->repeat_at = MONO_NEVER;
	int64_t patience_us =
		attempt->made <= ATTEMPT_FIRST ? ATTEMPT_CONFIRM_FIRST_US : ATTEMPT_CONFIRM_US;
	/* Whose answers come to nothing again and again waits as long as who gets none. */
	if (attempt_running(attempt) && attempt->made < ATTEMPT_STEADY)
		attempt->new_at = mono_min(attempt->new_at, mono_add_us(now, patience_us));
}

void attempt_wait(struct attempt *attempt, struct mono at)
{
	attempt->repeat_at = MONO_NEVER;
	if (attempt_running(attempt))
		attempt->new_at = at;
}
