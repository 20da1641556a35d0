/* Others who keep a queue: what proves them, what ends it, what it allows. Times in milliseconds; the bare path takes 60. */
#include "kcp/kcp_lt_phase.h"

#include <criterion/criterion.h>

enum {
	MIN_US = 60000,
	QUEUE_US = 160000, /* a round trip through a queue */
	DATAGRAM = 1500,
	UNIT_US = MIN_US,
};

static struct mono at_ms(int64_t ms)
{
	return mono_at_ms(1000 + ms);
}

/* A path at 1 MB/s with a queue, draining since 0. */
static struct kcp_lt draining(void)
{
	struct kcp_lt lt;

	kcp_lt_init(&lt);
	lt.bw = 1000000;
	lt.datagram_bytes = DATAGRAM;
	lt.rtt.min_us = MIN_US;
	lt.rtt.srtt_us = QUEUE_US;
	lt.rtt.lowest_us = QUEUE_US;
	lt.round_flying = 100 * DATAGRAM;
	lt.phase = KCP_LT_DOWN;
	lt.phase_at = at_ms(0);
	return lt;
}

/* What the round trips were while a drain is watched. */
static void watched(struct kcp_lt *lt, int64_t rtt_us, struct mono at)
{
	lt->watch_us = rtt_us;
	kcp_lt_rivals_watch(lt, at);
}

Test(lt_rivals, drain_to_the_ground_that_changed_nothing)
{
	static const struct {
		bool deep, is_empty;
		uint32_t flying;
		int64_t srtt_us, lasted_ms;
		bool proven;
	} rows[] = {
		{true, false, 100, QUEUE_US, 400, true},
		{false, false, 100, QUEUE_US, 400, false}, /* one of the usual ones */
		{true, true, 100, QUEUE_US, 400, false},   /* what flies is no queue */
		{true, false, 32, QUEUE_US, 400, false},   /* the way may be longer */
		{true, false, 100, QUEUE_US, 150, false},  /* it cannot be seen yet */
		{true, false, 100, MIN_US + 5000, 400, false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kcp_lt lt = draining();
		lt.deep = rows[i].deep;
		lt.round_flying = (uint64_t)rows[i].flying * DATAGRAM;
		lt.rtt.srtt_us = rows[i].srtt_us;
		kcp_lt_rivals_drained(&lt, rows[i].is_empty, at_ms(rows[i].lasted_ms), UNIT_US);
		cr_assert_eq(lt.contested, rows[i].proven, "row %zu", i);
	}
}

Test(lt_rivals, two_usual_drains_in_a_row)
{
	struct kcp_lt lt = draining();

	kcp_lt_rivals_drained(&lt, true, at_ms(200), UNIT_US);
	watched(&lt, QUEUE_US, at_ms(259));
	cr_assert_eq(lt.stubborn, 0, "not judged before its time");
	watched(&lt, QUEUE_US, at_ms(260));
	cr_assert(!lt.contested);
	kcp_lt_rivals_drained(&lt, true, at_ms(2000), UNIT_US);
	watched(&lt, QUEUE_US, at_ms(2060));
	cr_assert(lt.contested);
	kcp_lt_rivals_drained(&lt, true, at_ms(4000), UNIT_US);
	watched(&lt, MIN_US, at_ms(4060));
	cr_assert(!lt.contested, "the queue went with one's own");

	lt = draining();
	kcp_lt_rivals_drained(&lt, true, at_ms(200), UNIT_US);
	watched(&lt, QUEUE_US, at_ms(260));
	kcp_lt_rivals_drained(&lt, true, at_ms(2000), UNIT_US);
	watched(&lt, MIN_US, at_ms(2060));
	kcp_lt_rivals_drained(&lt, true, at_ms(4000), UNIT_US);
	watched(&lt, QUEUE_US, at_ms(4060));
	cr_assert(!lt.contested, "not in a row");
}

/* What is in flight after a drain that did not get far was sent while it lasted: its round trips come one later. */
Test(lt_rivals, watches_for_longer_what_did_not_get_empty)
{
	struct kcp_lt lt = draining();

	kcp_lt_rivals_drained(&lt, false, at_ms(400), UNIT_US);
	watched(&lt, QUEUE_US, at_ms(619));
	cr_assert_eq(lt.stubborn, 0);
	watched(&lt, QUEUE_US, at_ms(620));
	cr_assert_eq(lt.stubborn, 1);
}

Test(lt_rivals, light_flow_meets_a_queue)
{
	static const struct {
		enum kcp_lt_phase phase;
		uint64_t flying;
		int64_t lowest_us;
		bool full, suspected;
	} rows[] = {
		{KCP_LT_STARTUP, 500, QUEUE_US, false, true},
		{KCP_LT_STARTUP, 500, QUEUE_US, true, false},
		{KCP_LT_STARTUP, 3000, QUEUE_US, false, false},
		{KCP_LT_STARTUP, 500, MIN_US + 20000, false, false},
		{KCP_LT_STARTUP, 500, INT64_MAX, false, false},
		{KCP_LT_CRUISE, 500, QUEUE_US, false, false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kcp_lt lt = draining();
		lt.phase = rows[i].phase;
		lt.round_flying = rows[i].flying;
		lt.rtt.lowest_us = rows[i].lowest_us;
		kcp_lt_rivals_round(&lt, rows[i].full);
		cr_assert_eq(lt.contested, rows[i].suspected, "row %zu", i);
		if (!rows[i].suspected)
			continue;
		lt.phase = KCP_LT_CRUISE;
		cr_assert_eq(kcp_lt_rivals_growth(&lt), 0, "nothing is proven");
		cr_assert(!kcp_lt_rivals_suspect(&lt, at_ms(1)), "nor remembered");
		kcp_lt_rivals_drained(&lt, true, at_ms(400), UNIT_US);
		watched(&lt, QUEUE_US, at_ms(460));
		cr_assert(kcp_lt_rivals_growth(&lt) > 0);
	}
}

static struct kcp_lt contested(void)
{
	struct kcp_lt lt = draining();

	lt.deep = true;
	kcp_lt_rivals_drained(&lt, false, at_ms(400), UNIT_US);
	cr_assert(lt.contested);
	lt.deep = false;
	lt.phase = KCP_LT_CRUISE;
	return lt;
}

Test(lt_rivals, over_when_a_round_sees_hardly_any_queue)
{
	struct kcp_lt lt = contested();

	lt.rtt.lowest_us = MIN_US + 5000;
	kcp_lt_rivals_round(&lt, true);
	cr_assert(lt.contested, "a little is left");
	lt.rtt.lowest_us = MIN_US + 3000;
	kcp_lt_rivals_round(&lt, true);
	cr_assert(!lt.contested);
	cr_assert_eq(kcp_lt_rivals_growth(&lt), 0);
}

Test(lt_rivals, remembered_for_a_while)
{
	struct kcp_lt lt = contested();

	lt.rtt.lowest_us = MIN_US;
	kcp_lt_rivals_round(&lt, true);
	cr_assert(kcp_lt_rivals_suspect(&lt, at_ms(15399)));
	cr_assert(lt.contested);
	cr_assert_eq(kcp_lt_rivals_growth(&lt), 0, "not proven anew");
	lt.cycles++;
	cr_assert(kcp_lt_long_drain(&lt), "which the next drain has to do");
	lt.contested = false;
	cr_assert(!kcp_lt_rivals_suspect(&lt, at_ms(15400)));
	cr_assert(!lt.contested);
	lt = contested();
	kcp_lt_rivals_forget(&lt);
	cr_assert(!kcp_lt_rivals_suspect(&lt, at_ms(500)));
}

/* Four datagrams a round trip, in cruising, and while nothing was lost. */
Test(lt_rivals, growth)
{
	struct kcp_lt lt = contested();

	cr_assert_eq(kcp_lt_rivals_growth(&lt), 4 * DATAGRAM * UINT64_C(1000000) / QUEUE_US);
	lt.bw_max = lt.bw;
	cr_assert_eq(kcp_lt_rivals_growth(&lt), 0);
	lt.bw_max = UINT64_MAX;
	lt.phase = KCP_LT_PROBE_UP;
	cr_assert_eq(kcp_lt_rivals_growth(&lt), 0);
	lt.phase = KCP_LT_CRUISE;
	lt.rtt.srtt_us = 0;
	cr_assert_eq(kcp_lt_rivals_growth(&lt), 0);
}

Test(lt_rivals, drains)
{
	struct kcp_lt lt = contested();
	int many = 0;

	for (lt.cycles = 0; lt.cycles < 40; lt.cycles++)
		many += kcp_lt_long_drain(&lt);
	cr_assert_eq(many, 10);
	lt.cycles = 1;
	lt.deep = true;
	cr_assert(kcp_lt_long_drain(&lt));
	cr_assert_eq(kcp_lt_drain_units(&lt, UNIT_US), 10, "six times 100 ms of queue");
	lt.rtt.srtt_us = MIN_US;
	cr_assert_eq(kcp_lt_drain_units(&lt, UNIT_US), 6);
	lt.rtt.srtt_us = 10 * MIN_US;
	cr_assert_eq(kcp_lt_drain_units(&lt, UNIT_US), 20);
}
