#include "core/rand.h"
#include "session/attempt.h"

#include <criterion/criterion.h>
#include <stdlib.h>

/* Gives what the test wants: 0 = the shortest gaps, UINT32_MAX = some in between, or random ones. */
static void fill(void *ctx, void *buf, size_t len)
{
	unsigned *seed = ctx;
	uint8_t *at = buf;

	while (len--)
		*at++ = (uint8_t)rand_r(seed);
}

static unsigned seed = 7;
static const struct rand_source RND = {fill, &seed};

/* Serves the schedule until `attempts` were made. @return when each transmission left */
static size_t play(struct attempt *attempt, unsigned attempts, bool steady, struct mono *times,
	bool *fresh, size_t max)
{
	size_t count = 0;

	for (;;) {
		struct mono now = attempt_next_deadline(attempt);
		cr_assert(count < max && !mono_is_never(now));
		switch (attempt_due(attempt, now)) {
		case ATTEMPT_NEW:
			if (attempts-- == 0)
				return count;
			fresh[count] = true;
			times[count++] = now;
			attempt_made(attempt, steady, now, &RND);
			break;
		case ATTEMPT_REPEAT:
			fresh[count] = false;
			times[count++] = now;
			attempt_repeated(attempt, now, &RND);
			break;
		case ATTEMPT_NOTHING:
			cr_assert_fail("a deadline at which nothing is due");
		}
	}
}

Test(attempt, stopped_has_no_deadline)
{
	struct attempt attempt;

	attempt_init(&attempt);
	cr_assert(mono_is_never(attempt_next_deadline(&attempt)));
	cr_assert_not(attempt_running(&attempt));
	cr_assert_eq(attempt_due(&attempt, mono_at_us(INT64_MAX - 1)), ATTEMPT_NOTHING);
	attempt_start(&attempt, 1, mono_at_us(5));
	cr_assert(attempt_running(&attempt));
	cr_assert_eq(attempt_due(&attempt, mono_at_us(4)), ATTEMPT_NOTHING);
	cr_assert_eq(attempt_due(&attempt, mono_at_us(5)), ATTEMPT_NEW);
	attempt_made(&attempt, false, mono_at_us(5), &RND);
	attempt_stop(&attempt);
	cr_assert(mono_is_never(attempt_next_deadline(&attempt)));
}

Test(attempt, gaps_are_those_of_the_schedule)
{
	static const int64_t nominal_us[] = {300000, 600000, 1200000, 1300000, 1300000, 1300000};
	int64_t least_us[6], most_us[6];

	for (int i = 0; i < 6; i++) {
		least_us[i] = INT64_MAX;
		most_us[i] = 0;
	}
	for (int run = 0; run < 2000; run++) {
		struct attempt attempt;
		struct mono times[64];
		bool fresh[64];
		attempt_init(&attempt);
		attempt_start(&attempt, 1, mono_at_us(1000));
		size_t count = play(&attempt, 4, false, times, fresh, 64);
		cr_assert_eq(count, 24);
		cr_assert_eq(times[0].us, 1000, "the first is sent at once");
		for (size_t i = 0; i + 1 < count; i++) {
			int64_t gap_us = mono_diff_us(times[i + 1], times[i]);
			cr_assert_eq(fresh[i], i % 6 == 0);
			if (gap_us < least_us[i % 6])
				least_us[i % 6] = gap_us;
			if (gap_us > most_us[i % 6])
				most_us[i % 6] = gap_us;
		}
	}
	for (int i = 0; i < 6; i++) {
		cr_assert_geq(least_us[i], nominal_us[i] * 9 / 10);
		cr_assert_leq(most_us[i], nominal_us[i] * 11 / 10);
		cr_assert_lt(least_us[i], nominal_us[i] * 92 / 100, "jitter is used");
		cr_assert_gt(most_us[i], nominal_us[i] * 108 / 100, "jitter is used");
	}
}

Test(attempt, period_grows_after_five_attempts_without_a_session)
{
	static const int64_t periods_us[] = {6000000, 6000000, 6000000, 6000000, 15000000, 30000000,
		60000000, 60000000, 60000000};

	for (int run = 0; run < 200; run++) {
		struct attempt attempt;
		struct mono times[256], made[16];
		bool fresh[256];
		size_t attempts = 0;
		attempt_init(&attempt);
		attempt_start(&attempt, 1, mono_at_us(0));
		size_t count = play(&attempt, 10, false, times, fresh, 256);
		cr_assert_eq(count, 60);
		for (size_t i = 0; i < count; i++)
			if (fresh[i])
				made[attempts++] = times[i];
		for (size_t i = 0; i + 1 < attempts; i++) {
			int64_t period_us = mono_diff_us(made[i + 1], made[i]);
			int64_t slack_us = i < 4 ? 600000 : periods_us[i] / 4 + 600000;
			cr_assert(llabs(period_us - periods_us[i]) <= slack_us,
				"period %zu: %lld us", i, (long long)period_us);
		}
	}
}

Test(attempt, period_stays_while_a_session_works)
{
	struct attempt attempt;
	struct mono times[512];
	bool fresh[512];

	attempt_init(&attempt);
	attempt_start(&attempt, 1, mono_at_us(0));
	size_t count = play(&attempt, 40, true, times, fresh, 512);
	cr_assert_eq(count, 240);
	for (size_t i = 0; i + 1 < count; i++)
		cr_assert_leq(mono_diff_us(times[i + 1], times[i]), 1430000);
	/* and it has all its short turns once the session is lost */
	count = play(&attempt, 4, false, times, fresh, 512);
	for (size_t i = 0; i + 1 < count; i++)
		cr_assert_leq(mono_diff_us(times[i + 1], times[i]), 1430000);
}

Test(attempt, reach_grows_with_each_transmission)
{
	struct attempt attempt;
	struct mono now = mono_at_us(0);

	attempt_init(&attempt);
	attempt_start(&attempt, 1, now);
	cr_assert_eq(attempt_next_reach(&attempt), 1);
	attempt_made(&attempt, false, now, &RND);
	cr_assert_eq(attempt_next_reach(&attempt), 2);
	for (unsigned i = 3; i <= 7; i++) {
		attempt_repeated(&attempt, now, &RND);
		cr_assert_eq(attempt_next_reach(&attempt), i);
	}
	/* the next attempt goes on where this one was */
	attempt_made(&attempt, false, now, &RND);
	cr_assert_eq(attempt_next_reach(&attempt), 8);
	for (unsigned i = 0; i < 1000; i++)
		attempt_repeated(&attempt, now, &RND);
	cr_assert_eq(attempt_next_reach(&attempt), ATTEMPT_REACH_ALL);
	attempt_start(&attempt, 1, now);
	cr_assert_eq(attempt_next_reach(&attempt), 1);
	attempt_start(&attempt, ATTEMPT_REACH_ALL, now);
	cr_assert_eq(attempt_next_reach(&attempt), ATTEMPT_REACH_ALL);
}

Test(attempt, answer_ends_the_repeats_and_asks_for_confirmation)
{
	struct attempt attempt;
	struct mono now = mono_at_us(1000000);

	attempt_init(&attempt);
	attempt_start(&attempt, 1, now);
	attempt_made(&attempt, false, now, &RND);
	/* an answer to the one before: this one goes on */
	attempt_answered(&attempt, false, now);
	cr_assert_not(mono_is_never(attempt.repeat_at));
	cr_assert_eq(attempt.new_at.us, 2700000);
	attempt_answered(&attempt, true, now);
	cr_assert(mono_is_never(attempt.repeat_at));
	cr_assert_eq(attempt_next_deadline(&attempt).us, 2700000);
	/* it never comes later by an answer */
	attempt_answered(&attempt, true, mono_at_us(2600000));
	cr_assert_eq(attempt_next_deadline(&attempt).us, 2700000);
	attempt_stop(&attempt);
	attempt_answered(&attempt, true, now);
	cr_assert_not(attempt_running(&attempt));
	/* the first two are hasty */
	attempt_start(&attempt, 1, now);
	for (int i = 1; i < ATTEMPT_STEADY; i++) {
		attempt_made(&attempt, false, now, &RND);
		attempt_answered(&attempt, true, now);
		cr_assert_eq(attempt_next_deadline(&attempt).us, i <= 2 ? 2700000 : 4000000);
	}
	/* who has tried for long goes on waiting long */
	attempt_start(&attempt, 1, now);
	for (int i = 0; i < ATTEMPT_STEADY; i++)
		attempt_made(&attempt, false, now, &RND);
	struct mono at = attempt.new_at;
	attempt_answered(&attempt, true, now);
	cr_assert_eq(attempt_next_deadline(&attempt).us, at.us);
}

Test(attempt, waits)
{
	struct attempt attempt;
	struct mono now = mono_at_us(1000000);

	attempt_init(&attempt);
	attempt_wait(&attempt, now);
	cr_assert_not(attempt_running(&attempt));
	attempt_start(&attempt, 1, now);
	attempt_made(&attempt, false, now, &RND);
	attempt_wait(&attempt, mono_at_us(90000000));
	cr_assert_eq(attempt_next_deadline(&attempt).us, 90000000);
	cr_assert_eq(attempt_due(&attempt, mono_at_us(89999999)), ATTEMPT_NOTHING);
	cr_assert_eq(attempt_due(&attempt, mono_at_us(90000000)), ATTEMPT_NEW);
}
