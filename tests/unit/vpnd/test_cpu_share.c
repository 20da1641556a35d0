/* The share of time that clients may cost. */
#include "vpnd/cpu_share.h"

#include <criterion/criterion.h>

static int64_t worked_us;

static int64_t clock_us(void)
{
	return worked_us;
}

static void work(struct cpu_share *share, int64_t us)
{
	cpu_share_begin(share);
	worked_us += us;
	cpu_share_end(share);
}

Test(cpu_share, a_quarter_of_the_time_is_given)
{
	struct mono now = mono_at_us(1000);
	struct cpu_share share;
	int64_t given = 0;

	cpu_share_init(&share, clock_us, now);
	for (int i = 0; i < 100003; i++) { /* odd steps: nothing may be lost by rounding */
		now = mono_add_us(now, 7);
		while (cpu_share_left(&share, now)) {
			work(&share, 1);
			given++;
		}
	}
	int64_t want = CPU_SHARE_BURST_US + 7 * 100003 / CPU_SHARE_PART;
	cr_assert(
		given >= want - 10 && given <= want + 10, "%ld, not %ld", (long)given, (long)want);
}

Test(cpu_share, rest_is_not_saved_beyond_the_burst_and_debts_are_paid)
{
	struct mono now = mono_at_us(0);
	struct cpu_share share;

	cpu_share_init(&share, clock_us, now);
	now = mono_add_us(now, 3600LL * 1000000);
	cr_assert(cpu_share_left(&share, now));
	cr_assert_eq(share.credit_us, CPU_SHARE_BURST_US);
	work(&share, CPU_SHARE_BURST_US + 500);
	cr_assert_not(cpu_share_left(&share, now));
	struct mono due = cpu_share_due(&share, now);
	cr_assert_eq(mono_diff_us(due, now), (500 + CPU_SHARE_SLICE_US) * CPU_SHARE_PART);
	cr_assert_not(cpu_share_left(&share, mono_add_us(now, 500 * CPU_SHARE_PART)));
	cr_assert(cpu_share_left(&share, due));
	cr_assert_eq(share.credit_us, CPU_SHARE_SLICE_US);
	work(&share, 3600LL * 1000000);
	cr_assert_eq(share.credit_us, -CPU_SHARE_DEBT_US, "a debt is forgiven in the end");
}

Test(cpu_share, the_kernel_counts_for_this_thread)
{
	struct cpu_share share;

	cpu_share_init(&share, NULL, mono_at_us(0));
	cpu_share_begin(&share);
	int64_t began = share.clock_us();
	while (share.clock_us() - began < 2000) {
	}
	cpu_share_end(&share);
	cr_assert_leq(share.credit_us, CPU_SHARE_BURST_US - 2000);
}
