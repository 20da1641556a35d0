/* What one report may cost: it walks a bounded number of holes, from the highest down. */
#include "kcp/kcp_sent.h"

#include <criterion/criterion.h>

enum {
	NUMBERS = 3 * KCP_SENT_STEPS,
	TOP = NUMBERS - 1,
	HIGHEST_HOLE = TOP - 1,
	LOWEST_WALKED = HIGHEST_HOLE - (KCP_SENT_STEPS - 1),
};

struct told {
	unsigned acked;
	unsigned rebuilt;
	uint64_t last;
};

static void acked(void *ctx, uint64_t pn, struct kcp_sent_record *record)
{
	struct told *told = ctx;

	told->acked++;
	told->last = pn;
}

static void rebuilt(void *ctx, uint64_t pn, struct kcp_sent_record *record)
{
	struct told *told = ctx;

	told->rebuilt++;
	told->last = pn;
}

static void lost(void *ctx, uint64_t pn, struct kcp_sent_record *record)
{
}

static const struct kcp_sent_events events = {acked, rebuilt, lost};
static struct kcp_sent sent;
static struct told told;

/* All numbers are out, the top one is acknowledged, so that all others are holes. */
static void open_sent(void)
{
	struct mono now = mono_at_us(1000000);
	const struct kcp_rack rack = {
		.largest = TOP,
		.received_count = 1,
		.received = {{TOP, TOP + 1}},
	};

	kcp_sent_init(&sent);
	for (int i = 0; i < NUMBERS; i++) {
		cr_assert(kcp_sent_reserve(&sent, 0, &events, &told, now));
		kcp_sent_add(&sent, 100, KCP_SENT_ASKS | KCP_SENT_FLIES, 0, now);
	}
	cr_assert(kcp_sent_rack(&sent, &rack, &events, &told, now));
	cr_assert_eq(sent.holes, NUMBERS - 1);
	told = (struct told){0};
}

static void close_sent(void)
{
	kcp_sent_reset(&sent);
}

TestSuite(sent, .init = open_sent, .fini = close_sent);

/* Reports the top and one number far below, as received or as rebuilt. */
static bool report(uint64_t pn, bool as_rebuilt)
{
	struct kcp_rack rack = {
		.largest = TOP,
		.received_count = 1,
		.received = {{TOP, TOP + 1}},
	};

	if (as_rebuilt)
		rack.rebuilt[rack.rebuilt_count++] = (struct kcp_range){pn, pn + 1};
	else
		rack.received[rack.received_count++] = (struct kcp_range){pn, pn + 1};
	return kcp_sent_rack(&sent, &rack, &events, &told, mono_at_us(1010000));
}

Test(sent, a_report_reaches_so_many_holes)
{
	cr_assert(report(LOWEST_WALKED, false));
	cr_assert_eq(told.acked, 1);
	cr_assert_eq(told.last, LOWEST_WALKED);
	cr_assert_eq(sent.holes, NUMBERS - 2);
}

Test(sent, a_report_reaches_no_more_holes)
{
	cr_assert_not(report(LOWEST_WALKED - 1, false));
	cr_assert_eq(told.acked, 0);
	cr_assert_eq(sent.holes, NUMBERS - 1);
	cr_assert_not(report(0, false));
	cr_assert_eq(told.acked, 0);
}

Test(sent, each_list_has_the_same_reach)
{
	cr_assert_not(report(LOWEST_WALKED - 1, true));
	cr_assert_eq(told.rebuilt, 0);
	cr_assert(report(LOWEST_WALKED, true));
	cr_assert_eq(told.rebuilt, 1);
	cr_assert_eq(told.last, LOWEST_WALKED);
}

/* As holes are filled or forgotten, those below come within reach. */
Test(sent, what_is_out_of_reach_comes_into_it)
{
	cr_assert_not(report(LOWEST_WALKED - 1, false));
	cr_assert(report(HIGHEST_HOLE, false));
	cr_assert(report(LOWEST_WALKED - 1, false));
	cr_assert_eq(told.acked, 2);
	cr_assert_eq(told.last, LOWEST_WALKED - 1);
}
