#include "core/stage_clock.h"

#include <criterion/criterion.h>
#include <string.h>

static uint64_t at_ns;

static uint64_t now_ns(void *ctx)
{
	(void)ctx;
	return at_ns;
}

Test(stage_clock, time_belongs_to_the_stage_that_runs)
{
	struct stage_clock clock;
	uint64_t sum_ns = 0;

	at_ns = 1000;
	stage_clock_init(&clock, now_ns, NULL);
	at_ns += 5; /* rest */
	enum stage outer = stage_enter(&clock, STAGE_SEND);
	at_ns += 70;
	enum stage inner = stage_enter(&clock, STAGE_SEAL);
	stage_did(&clock, 32);
	at_ns += 300;
	cr_assert_eq(stage_enter(&clock, STAGE_UDP_SEND), STAGE_SEAL);
	at_ns += 900;
	stage_enter(&clock, inner);
	at_ns += 8;
	/* the same again is no change, and no reading of the clock */
	cr_assert_eq(stage_enter(&clock, STAGE_SEND), STAGE_SEND);
	at_ns += 2;
	stage_enter(&clock, outer);
	cr_assert_eq(clock.stage, STAGE_REST);
	cr_assert_eq(clock.spent_ns[STAGE_REST], 5);
	cr_assert_eq(clock.spent_ns[STAGE_SEND], 80);
	cr_assert_eq(clock.entered[STAGE_SEND], 2);
	cr_assert_eq(clock.spent_ns[STAGE_SEAL], 300);
	cr_assert_eq(clock.items[STAGE_SEAL], 32);
	cr_assert_eq(clock.spent_ns[STAGE_UDP_SEND], 900);
	for (int i = 0; i < STAGES; i++)
		sum_ns += clock.spent_ns[i];
	cr_assert_eq(sum_ns, at_ns - 1000);
}

Test(stage_clock, without_a_clock_nothing_happens)
{
	cr_assert_eq(stage_enter(NULL, STAGE_SEAL), STAGE_REST);
	stage_did(NULL, 5);
}

Test(stage_clock, names_differ)
{
	for (int i = 0; i < STAGES; i++) {
		cr_assert_neq(strcmp(stage_str((enum stage)i), "unknown"), 0);
		for (int k = 0; k < i; k++)
			cr_assert_neq(
				strcmp(stage_str((enum stage)i), stage_str((enum stage)k)), 0);
	}
}
