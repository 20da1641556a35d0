/*
 * Three instants carry everything: when we last sent, by when what came wants something sent, and since when a question
 * stands. Each rule is an offset from one of them, so nothing has to be armed or cancelled: an event moves the instant.
 *
 * Only a question starts the clock of silence. Acknowledgements are not answered, so silence after one means nothing;
 * counting it would make both ends ask each other for ever after the last byte of a transfer.
 *
 * A due rule is told once. The stages of silence come in order even if the clock jumps over several of them: after a
 * suspend of an hour PING, new handshake and "gone" are due in one call, and all three are told.
 *
 * Keepalive and PING are repaired by what follows from them (the caller sends, and says so), so a caller that could not
 * send asks again after the interval, not at once: liveness_on_deadline() moves sent_at itself.
 *
 * Source: lib/PROTOCOL.md, "Endpoints, roaming, liveness".
 */
#include "session/liveness.h"

void liveness_init(struct liveness *liveness, int64_t keepalive_us, int64_t dead_after_us)
{
	*liveness = (struct liveness){
		.keepalive_us = keepalive_us,
		.dead_after_us = dead_after_us,
		.sent_at = MONO_NEVER,
		.answer_at = MONO_NEVER,
		.asked_since = MONO_NEVER,
		.stage = LIVENESS_CALM,
	};
}

void liveness_configure(struct liveness *liveness, int64_t keepalive_us, int64_t dead_after_us)
{
	liveness->keepalive_us = keepalive_us;
	liveness->dead_after_us = dead_after_us;
}

void liveness_start(struct liveness *liveness, struct mono now)
{
	if (mono_is_never(liveness->sent_at))
		liveness->sent_at = now;
}

void liveness_stop(struct liveness *liveness)
{
	liveness->sent_at = MONO_NEVER;
	liveness->answer_at = MONO_NEVER;
	liveness->asked_since = MONO_NEVER;
	liveness->stage = LIVENESS_CALM;
}

void liveness_sent(struct liveness *liveness, bool asks, struct mono now)
{
	liveness->sent_at = now;
	liveness->answer_at = MONO_NEVER;
	if (asks && mono_is_never(liveness->asked_since))
		liveness->asked_since = now;
}

bool liveness_heard(struct liveness *liveness, bool empty, struct mono now)
{
	bool was_gone = liveness_gone(liveness);

	liveness->asked_since = MONO_NEVER;
	liveness->stage = LIVENESS_CALM;
	if (!empty && mono_is_never(liveness->answer_at))
		liveness->answer_at = mono_add_us(now, LIVENESS_ANSWER_US);
	return was_gone;
}

/* Not later than the new handshake, where patience is short. */
static int64_t ping_after_us(const struct liveness *liveness, int64_t srtt_us)
{
	int64_t after_us =
		srtt_us >= LIVENESS_PING_MOST_US / 4 ? LIVENESS_PING_MOST_US : 4 * srtt_us;

	if (after_us < LIVENESS_PING_LEAST_US)
		after_us = LIVENESS_PING_LEAST_US;
	if (after_us > liveness->dead_after_us / 2)
		after_us = liveness->dead_after_us / 2;
	return after_us;
}

static struct mono keepalive_at(const struct liveness *liveness)
{
	struct mono at = liveness->answer_at;

	if (liveness->keepalive_us > 0)
		at = mono_min(at, mono_add_us(liveness->sent_at, liveness->keepalive_us));
	return at;
}

/* When the stage after the present one is reached. */
static struct mono stage_at(const struct liveness *liveness, int64_t srtt_us)
{
	struct mono since = liveness->asked_since;
	int64_t half_us = liveness->dead_after_us / 2;

	switch ((enum liveness_stage)liveness->stage) {
	case LIVENESS_CALM:
		return mono_add_us(since, ping_after_us(liveness, srtt_us));
	case LIVENESS_PINGED:
		return mono_add_us(since,
			half_us < LIVENESS_ATTEMPT_MOST_US ? half_us : LIVENESS_ATTEMPT_MOST_US);
	case LIVENESS_CALLING:
		return mono_add_us(since, liveness->dead_after_us);
	case LIVENESS_GONE:
		break;
	}
	return MONO_NEVER;
}

struct mono liveness_next_deadline(const struct liveness *liveness, int64_t srtt_us)
{
	if (mono_is_never(liveness->sent_at))
		return MONO_NEVER;
	return mono_min(keepalive_at(liveness), stage_at(liveness, srtt_us));
}

unsigned liveness_on_deadline(struct liveness *liveness, int64_t srtt_us, struct mono now)
{
	unsigned actions = 0;

	if (mono_is_never(liveness->sent_at))
		return 0;
	if (mono_due(keepalive_at(liveness), now)) {
		actions |= LIVENESS_KEEPALIVE;
		liveness->sent_at = now;
		liveness->answer_at = MONO_NEVER;
	}
	while (mono_due(stage_at(liveness, srtt_us), now)) {
		switch ((enum liveness_stage)liveness->stage) {
		case LIVENESS_CALM:
			actions |= LIVENESS_PING;
			liveness->stage = LIVENESS_PINGED;
			break;
		case LIVENESS_PINGED:
			actions |= LIVENESS_ATTEMPT;
			liveness->stage = LIVENESS_CALLING;
			break;
		case LIVENESS_CALLING:
			actions |= LIVENESS_DEAD;
			liveness->stage = LIVENESS_GONE;
			break;
		case LIVENESS_GONE:
			break;
		}
	}
	return actions;
}
