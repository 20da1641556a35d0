#include "fec/loss_estimate.h"

#include <criterion/criterion.h>

static struct loss_estimate e;
static int64_t ms;

static void setup(void)
{
	loss_estimate_init(&e);
	ms = 0;
}

TestSuite(loss_estimate, .init = setup);

/* `count` datagrams, a millisecond apart; every n-th is lost, 0 = none. */
static void note(unsigned count, unsigned nth)
{
	for (unsigned i = 1; i <= count; i++)
		loss_estimate_note(&e, nth > 0 && i % nth == 0, mono_at_ms(ms++));
}

static void near(double value, double want, double by)
{
	cr_assert(value > want - by && value < want + by, "%f instead of %f", value, want);
}

Test(loss_estimate, begins_with_nothing)
{
	near(e.p, 0, 1e-9);
	near(loss_estimate_design(&e), 0.002, 1e-9);
	cr_assert(!loss_estimate_on(&e));
	note(1000, 0);
	cr_assert(!loss_estimate_on(&e));
	cr_assert_eq(loss_estimate_ppm(&e), 0);
}

Test(loss_estimate, converges_and_is_quick_at_first)
{
	note(64, 5);
	near(e.p, 0.15, 0.03); /* the mean of these and 16 good ones */
	note(2000, 5);
	near(e.p, 0.2, 0.005);
	near(loss_estimate_design(&e), 0.232, 0.006);
	note(256, 0);
	near(e.p, 0.2 / 2.718, 0.005); /* moves by 1/256 now */
	near(e.burst, 1, 1e-9);
}

Test(loss_estimate, one_early_loss_is_not_everything)
{
	loss_estimate_note(&e, true, mono_at_ms(0));
	near(e.p, 1.0 / 17, 1e-9);
	cr_assert(loss_estimate_on(&e));
}

Test(loss_estimate, design_has_a_top)
{
	for (unsigned i = 0; i < 3000; i++)
		loss_estimate_note(&e, true, mono_at_ms(ms++));
	near(e.p, 1, 0.001);
	near(loss_estimate_design(&e), 0.45, 1e-9);
}

/* On at once, off only after ten seconds below the lower mark. */
Test(loss_estimate, has_hysteresis)
{
	note(2000, 0);
	loss_estimate_note(&e, true, mono_at_ms(ms++));
	cr_assert(loss_estimate_on(&e));
	while (e.p >= 0.0008)
		loss_estimate_note(&e, false, mono_at_ms(ms++));
	int64_t below = ms - 1;
	for (; ms < below + 10000; ms++)
		loss_estimate_note(&e, false, mono_at_ms(ms));
	cr_assert(loss_estimate_on(&e));
	loss_estimate_note(&e, false, mono_at_ms(below + 10000));
	cr_assert(!loss_estimate_on(&e));
}

Test(loss_estimate, a_loss_in_between_begins_the_ten_seconds_anew)
{
	loss_estimate_note(&e, true, mono_at_ms(0));
	for (ms = 1; ms < 9000; ms++)
		loss_estimate_note(&e, false, mono_at_ms(ms));
	loss_estimate_note(&e, true, mono_at_ms(ms));
	for (; ms < 15000; ms++)
		loss_estimate_note(&e, false, mono_at_ms(ms));
	cr_assert(loss_estimate_on(&e));
	for (; ms < 30000; ms++)
		loss_estimate_note(&e, false, mono_at_ms(ms));
	cr_assert(!loss_estimate_on(&e));
}

/* Reordering that was taken for loss leaves next to nothing. */
Test(loss_estimate, is_corrected_by_what_came_late)
{
	note(2000, 0);
	for (unsigned i = 0; i < 500; i++) {
		loss_estimate_note(&e, true, mono_at_ms(ms++));
		loss_estimate_correct(&e, mono_at_ms(ms));
	}
	cr_assert(e.p < 1e-9);
	loss_estimate_correct(&e, mono_at_ms(ms));
	cr_assert(e.p >= 0);
}

Test(loss_estimate, knows_bursts)
{
	for (unsigned i = 0; i < 4000; i++)
		loss_estimate_note(&e, i % 100 < 4, mono_at_ms(ms++));
	near(e.burst, 4, 0.6);
	near(e.p, 0.04, 0.02);
}

Test(loss_estimate, expects_something_of_a_new_path)
{
	note(2000, 0);
	loss_estimate_new_path(&e);
	near(e.p, 0.02, 1e-9);
	cr_assert(loss_estimate_on(&e));
	note(1000, 4);
	loss_estimate_new_path(&e);
	near(e.p, 0.25, 0.03);
}

/* Chance makes short runs, also where a third is lost. */
Test(loss_estimate, tells_bursts_from_chance)
{
	struct loss_estimate e;
	uint32_t dice = 1;

	loss_estimate_init(&e);
	for (unsigned n = 0; n < 20000; n++) {
		dice = dice * 1664525 + 1013904223;
		loss_estimate_note(&e, dice >> 16 < 65536 / 3, mono_at_us(n));
		cr_assert_eq(loss_estimate_burst(&e), 0, "%u", n);
	}
	for (unsigned n = 0; n < 20000; n++)
		loss_estimate_note(&e, n % 200 < 8, mono_at_us(n));
	cr_assert(loss_estimate_burst(&e) > 7.5 && loss_estimate_burst(&e) < 8.5);
}
