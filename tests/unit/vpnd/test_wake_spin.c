#include "vpnd/wake_spin.h"

#include <criterion/criterion.h>

enum {
	APART_US = 100000, /* between two questions: enough to earn any look */
};

struct run {
	struct wake_spin spin;
	struct mono now;
	int64_t looked_us; /* in all */
	int looks;
};

static void begin(struct run *run, uint32_t threads)
{
	*run = (struct run){.now = mono_at_us(5000000)};
	wake_spin_init(&run->spin, threads, run->now);
	run->now = mono_add_us(run->now, (int64_t)WAKE_SPIN_BURST_US * WAKE_SPIN_PART * 4);
}

/* A question, and its answer after so long if it is slept for or looked for. @return how long was to be looked */
static int64_t ask(struct run *run, enum wake_spin_kind kind, int64_t slept_us, int64_t looked_us)
{
	int64_t look_us = wake_spin_begin(&run->spin, kind, run->now);
	int64_t answer_us = look_us > 0 ? looked_us : slept_us;

	if (look_us > 0) {
		int64_t took_us = answer_us < look_us ? answer_us : look_us;
		wake_spin_looked(
			&run->spin, took_us, answer_us > look_us, mono_add_us(run->now, took_us));
		run->looked_us += took_us;
		run->looks++;
	}
	run->now = mono_add_us(run->now, answer_us);
	wake_spin_end(&run->spin, true, run->now);
	return look_us;
}

static void ask_often(struct run *run, int times, enum wake_spin_kind kind, int64_t slept_us,
	int64_t looked_us, int64_t apart_us)
{
	run->looks = 0;
	run->looked_us = 0;
	for (int i = 0; i < times; i++) {
		(void)ask(run, kind, slept_us, looked_us);
		run->now = mono_add_us(run->now, apart_us);
	}
}

Test(wake_spin, nobody_looks_who_was_not_told_to)
{
	struct wake_spin none = {0};
	struct run run;

	begin(&run, 0);
	ask_often(&run, 200, WAKE_SPIN_SENT, 100, 50, APART_US);
	cr_assert_eq(run.looks, 0);
	cr_assert_eq(wake_spin_begin(&none, WAKE_SPIN_SENT, run.now), 0);
	wake_spin_end(&none, true, run.now);
}

Test(wake_spin, looks_where_that_is_sooner)
{
	struct run run;

	begin(&run, 1);
	ask_often(&run, WAKE_SPIN_LEARN, WAKE_SPIN_SENT, 150, 90, APART_US);
	cr_assert_eq(run.looks, 0, "the first answers are slept for");
	cr_assert_eq(ask(&run, WAKE_SPIN_SENT, 150, 90), 170, "as long as it took, and a bit");
	ask_often(&run, 320, WAKE_SPIN_SENT, 150, 90, APART_US);
	cr_assert_eq(run.looks, 310, "each but one of 32: %d", run.looks);
}

Test(wake_spin, sleeps_where_looking_makes_it_later)
{
	struct run run;

	begin(&run, 1);
	ask_often(&run, 100, WAKE_SPIN_SENT, 120, 200, APART_US);
	ask_often(&run, 320, WAKE_SPIN_SENT, 120, 200, APART_US);
	cr_assert_eq(run.looks, 10, "one of 32: %d", run.looks);
	ask_often(&run, 320, WAKE_SPIN_SENT, 120, 115, APART_US);
	cr_assert_eq(run.looks, 10, "that little is not worth it: %d", run.looks);
	/* the machine has become quiet */
	ask_often(&run, 2000, WAKE_SPIN_SENT, 120, 60, APART_US);
	cr_assert(run.looks > 1000, "%d", run.looks);
}

Test(wake_spin, does_not_look_for_what_is_far_away)
{
	struct run run;

	begin(&run, 1);
	ask_often(&run, 1000, WAKE_SPIN_SENT, 20000, 20000, APART_US);
	cr_assert_eq(run.looks, 0);
	ask_often(&run, 1000, WAKE_SPIN_SENT, WAKE_SPIN_WORTH_US + 20, 90, APART_US);
	cr_assert_eq(run.looks, 0);
	/* the peer came into the house */
	ask_often(&run, 1000, WAKE_SPIN_SENT, 150, 90, APART_US);
	cr_assert(run.looks > 900, "%d", run.looks);
	cr_assert(run.looked_us <= run.looks * (int64_t)WAKE_SPIN_MOST_US);
	/* and left it */
	ask_often(&run, 5000, WAKE_SPIN_SENT, 20000, 20000, APART_US);
	ask_often(&run, 1000, WAKE_SPIN_SENT, 20000, 20000, APART_US);
	cr_assert_eq(run.looks, 0, "%d", run.looks);
}

Test(wake_spin, what_was_sent_and_what_was_delivered_are_two_things)
{
	struct run run;

	begin(&run, 1);
	for (int i = 0; i < 100; i++) {
		(void)ask(&run, WAKE_SPIN_SENT, 150, 90);
		cr_assert_eq(ask(&run, WAKE_SPIN_DELIVERED, 9000, 9000), 0);
		run.now = mono_add_us(run.now, APART_US);
	}
	cr_assert(run.looks > 80, "%d", run.looks);
	cr_assert_eq(ask(&run, WAKE_SPIN_NOTHING, 10, 10), 0);
}

Test(wake_spin, never_more_than_its_share)
{
	for (uint32_t threads = 1; threads <= 4; threads *= 2) {
		struct run run;
		begin(&run, threads);
		struct mono from = run.now;
		ask_often(&run, 20000, WAKE_SPIN_SENT, 150, 140, 50);
		ask_often(&run, 20000, WAKE_SPIN_SENT, 150, 100, 50);
		int64_t passed_us = mono_diff_us(run.now, from);
		int64_t share_us = passed_us / WAKE_SPIN_PART / threads;
		cr_assert(run.looked_us <= share_us + WAKE_SPIN_BURST_US,
			"%u threads: %lld of %lld", threads, (long long)run.looked_us,
			(long long)share_us);
		cr_assert(run.looked_us >= share_us / 4, "%u threads: %lld of %lld", threads,
			(long long)run.looked_us, (long long)share_us);
	}
}

Test(wake_spin, deadlines_are_no_answers)
{
	struct run run;

	begin(&run, 1);
	ask_often(&run, 100, WAKE_SPIN_SENT, 150, 90, APART_US);
	int32_t before = run.spin.gaps[WAKE_SPIN_SENT][false].us;
	cr_assert_eq(before, 150);
	for (int i = 0; i < 1000; i++) { /* short ones tell nothing */
		(void)wake_spin_begin(&run.spin, WAKE_SPIN_SENT, run.now);
		run.spin.looks = false;
		wake_spin_end(&run.spin, false, mono_add_us(run.now, 20));
	}
	cr_assert_eq(run.spin.gaps[WAKE_SPIN_SENT][false].us, before);
	for (int i = 0; i < 1000; i++) { /* long ones that nothing came */
		(void)wake_spin_begin(&run.spin, WAKE_SPIN_SENT, run.now);
		run.spin.looks = false;
		wake_spin_end(&run.spin, false, mono_add_us(run.now, 300));
	}
	cr_assert(run.spin.gaps[WAKE_SPIN_SENT][false].us > WAKE_SPIN_WORTH_US);
	cr_assert_eq(wake_spin_begin(&run.spin, WAKE_SPIN_SENT, run.now), 0);
}

Test(wake_spin, looks_in_vain_end_in_pauses_that_grow)
{
	struct run run;

	begin(&run, 1);
	ask_often(&run, 100, WAKE_SPIN_SENT, 150, 90, 10000);
	cr_assert(run.looks > 80, "%d", run.looks);
	/* The answers still come, but not to who looks: the processors are busy. A hundred questions a second, for ten seconds. */
	ask_often(&run, 1000, WAKE_SPIN_SENT, 150, 400, 10000);
	cr_assert(run.looks >= 5 && run.looks < 20, "%d", run.looks);
	cr_assert_eq(run.spin.pause_us, WAKE_SPIN_PAUSE_MAX_US);
	/* That is over. */
	ask_often(&run, 3000, WAKE_SPIN_SENT, 150, 90, 10000);
	ask_often(&run, 1000, WAKE_SPIN_SENT, 150, 90, 10000);
	cr_assert(run.looks > 900, "%d", run.looks);
	cr_assert(run.spin.pause_us < WAKE_SPIN_PAUSE_US);
}
