/* Which numbers are reported, against a naive set; when a report is due. */
#include "kcp/kcp_seen.h"

#include <criterion/criterion.h>
#include <string.h>

enum {
	NUMBERS = 20000,
	MS = 1000,
};

static uint64_t state = 5;

static uint64_t rnd(uint64_t below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (state >> 33) % below;
}

/* All maximal runs of `what` in [floor, largest], from the top, at most 32. */
static unsigned naive_list(
	const uint8_t *set, uint8_t what, uint64_t largest, struct kcp_range *ranges)
{
	uint64_t floor = largest + 1 > KCP_SEEN_SPAN ? largest + 1 - KCP_SEEN_SPAN : 0;
	unsigned count = 0;

	for (uint64_t end = largest + 1; end > floor && count < KCP_RACK_RANGES_MAX;) {
		if (set[end - 1] != what) {
			end--;
			continue;
		}
		uint64_t first = end - 1;
		while (first > floor && set[first - 1] == what)
			first--;
		ranges[count++] = (struct kcp_range){first, end};
		end = first;
	}
	return count;
}

static void compare(struct kcp_seen *seen, const uint8_t *set, uint64_t largest)
{
	struct kcp_range want[KCP_RACK_RANGES_MAX];
	struct kcp_rack got;
	unsigned count;

	kcp_seen_report(seen, mono_at_ms(0), &got);
	cr_assert_eq(got.largest, largest);
	count = naive_list(set, 1, largest, want);
	cr_assert_eq(got.received_count, count);
	cr_assert_arr_eq(got.received, want, count * sizeof(want[0]));
	cr_assert_eq(got.received[0].end, largest + 1);
	count = naive_list(set, 2, largest, want);
	cr_assert_eq(
		got.rebuilt_count, count, "%u rebuilt ranges, not %u", got.rebuilt_count, count);
	if (count > 0)
		cr_assert_arr_eq(got.rebuilt, want, count * sizeof(want[0]));
}

Test(seen, reports_agree_with_a_naive_set)
{
	static uint8_t set[NUMBERS + 5000];

	for (int run = 0; run < 40; run++) {
		struct kcp_seen seen;
		uint64_t largest = 0, next = rnd(100);
		bool any = false;
		kcp_seen_init(&seen);
		memset(set, 0, sizeof(set));
		while (next < NUMBERS) {
			uint64_t pn = next;
			if (rnd(10) == 0 && next > 300)
				pn = next - 1 - rnd(300);
			else
				next += 1 + (rnd(4) == 0 ? rnd(6) : 0) +
					(rnd(2000) == 0 ? rnd(4000) : 0);
			enum kcp_seen_state was = kcp_seen_state(&seen, pn);
			bool old = any && pn + KCP_SEEN_SPAN <= largest;
			cr_assert_eq(was, old		 ? KCP_SEEN_OLD
					  : set[pn] == 1 ? KCP_SEEN_RECEIVED
					  : set[pn] == 2 ? KCP_SEEN_REBUILT
							 : KCP_SEEN_NEW);
			if (was == KCP_SEEN_NEW && any && pn < largest && rnd(2)) {
				kcp_seen_add_rebuilt(&seen, pn, mono_at_ms(0));
				set[pn] = 2;
			} else if (was != KCP_SEEN_RECEIVED) {
				kcp_seen_add(&seen, pn, true, 50 * MS, mono_at_ms(0));
				set[pn] = 1;
				if (!any || pn > largest)
					largest = pn;
				any = true;
			}
			if (any && rnd(50) == 0)
				compare(&seen, set, largest);
		}
	}
}

Test(seen, far_jump_forgets_all_before)
{
	struct kcp_seen seen;
	struct kcp_rack rack;

	kcp_seen_init(&seen);
	for (uint64_t pn = 0; pn < 100; pn++)
		kcp_seen_add(&seen, pn, true, 0, mono_at_ms(0));
	kcp_seen_add(&seen, (uint64_t)1 << 40, true, 0, mono_at_ms(0));
	kcp_seen_report(&seen, mono_at_ms(0), &rack);
	cr_assert_eq(rack.received_count, 1);
	cr_assert_eq(rack.received[0].first, (uint64_t)1 << 40);
	cr_assert_eq(kcp_seen_state(&seen, 5), KCP_SEEN_OLD);
}

Test(seen, only_what_asks_starts_the_clock)
{
	struct kcp_seen seen;
	struct kcp_rack rack;

	kcp_seen_init(&seen);
	kcp_seen_add(&seen, 0, false, 0, mono_at_ms(1));
	kcp_seen_add(&seen, 7, false, 0, mono_at_ms(1));
	cr_assert(mono_is_never(kcp_seen_due(&seen, 0)), "not even for a gap");
	kcp_seen_add(&seen, 8, true, 0, mono_at_ms(2));
	cr_assert_eq(kcp_seen_due(&seen, 0).us, 7 * MS, "5 ms while no round trip is known");
	cr_assert_eq(kcp_seen_due(&seen, 16 * MS).us, 4 * MS, "or an eighth of it");
	cr_assert_eq(kcp_seen_due(&seen, 100 * MS).us, 7 * MS, "but at most 5 ms");
	kcp_seen_add(&seen, 9, true, 0, mono_at_ms(3));
	cr_assert_eq(kcp_seen_due(&seen, 0).us, 2 * MS, "two are enough");
	kcp_seen_report(&seen, mono_at_ms(4), &rack);
	cr_assert_eq(rack.delay, 1000 / KCP_RACK_DELAY_UNIT_US);
	cr_assert(mono_is_never(kcp_seen_due(&seen, 0)));
	kcp_seen_report(&seen, mono_at_ms(5000), &rack);
	cr_assert_eq(rack.delay, KCP_RACK_DELAY_MAX);
}

Test(seen, who_only_listens_tells_sparse_datagrams_at_once)
{
	struct kcp_seen seen;
	struct kcp_rack rack;
	int64_t ms = 1000;

	kcp_seen_init(&seen);
	for (uint64_t pn = 0; pn < KCP_SEEN_ALONE; pn++, ms += 500) {
		kcp_seen_add(&seen, pn, true, 0, mono_at_ms(ms));
		cr_assert_eq(
			kcp_seen_due(&seen, 0).us, (ms + 5) * MS, "answers may come, %d", (int)pn);
		kcp_seen_report(&seen, mono_at_ms(ms + 5), &rack);
		kcp_seen_left(&seen, true, false, mono_at_ms(ms + 5));
	}
	kcp_seen_add(&seen, 4, true, 0, mono_at_ms(ms));
	cr_assert_eq(kcp_seen_due(&seen, 0).us, ms * MS, "there are none: at once");
	kcp_seen_report(&seen, mono_at_ms(ms), &rack);
	kcp_seen_left(&seen, true, false, mono_at_ms(ms));
	kcp_seen_add(&seen, 5, true, 0, mono_at_ms(ms + 49));
	cr_assert_eq(kcp_seen_due(&seen, 0).us, (ms + 54) * MS, "not if they come thick");
	kcp_seen_report(&seen, mono_at_ms(ms + 54), &rack);
	kcp_seen_left(&seen, true, false, mono_at_ms(ms + 54));
	kcp_seen_left(&seen, false, true, mono_at_ms(ms + 60));
	kcp_seen_add(&seen, 6, true, 0, mono_at_ms(ms + 200));
	cr_assert_eq(
		kcp_seen_due(&seen, 0).us, (ms + 200) * MS, "what leaves much later is no answer");
	kcp_seen_report(&seen, mono_at_ms(ms + 200), &rack);
	kcp_seen_left(&seen, true, false, mono_at_ms(ms + 200));
	kcp_seen_left(&seen, false, true, mono_at_ms(ms + 204));
	kcp_seen_add(&seen, 7, true, 0, mono_at_ms(ms + 300));
	cr_assert_eq(
		kcp_seen_due(&seen, 0).us, (ms + 305) * MS, "the report could have been in it");
}

Test(seen, gap_is_told_at_once_but_once_a_millisecond)
{
	struct kcp_seen seen;
	struct kcp_rack rack;

	kcp_seen_init(&seen);
	kcp_seen_add(&seen, 0, true, 0, mono_at_ms(100));
	kcp_seen_report(&seen, mono_at_ms(100), &rack);
	kcp_seen_add(&seen, 1, true, 0, mono_at_ms(200));
	cr_assert_eq(kcp_seen_due(&seen, 0).us, 205 * MS);
	kcp_seen_report(&seen, mono_at_ms(205), &rack);
	kcp_seen_add(&seen, 3, true, 0, mono_at_us(205 * MS + 300));
	cr_assert_eq(kcp_seen_due(&seen, 0).us, 206 * MS, "a millisecond after the last");
	kcp_seen_report(&seen, mono_at_ms(206), &rack);
	kcp_seen_add(&seen, 5, true, 0, mono_at_ms(300));
	cr_assert(kcp_seen_due(&seen, 0).us <= 300 * MS, "now");
	kcp_seen_report(&seen, mono_at_ms(300), &rack);
	kcp_seen_add(&seen, 2, true, 0, mono_at_ms(400));
	cr_assert_eq(kcp_seen_due(&seen, 0).us, 405 * MS, "a late one is no gap");
	kcp_seen_report(&seen, mono_at_ms(405), &rack);
	kcp_seen_add_rebuilt(&seen, 4, mono_at_ms(500));
	cr_assert(kcp_seen_due(&seen, 0).us <= 500 * MS, "a rebuild is told at once");
}

Test(seen, fast_arrivals_are_reported_by_the_eighth_of_a_round_trip)
{
	struct kcp_seen seen;
	struct kcp_rack rack;
	uint64_t pn = 0;
	unsigned reports = 0;

	/* 160 in a round trip of 40 ms: every 20th */
	kcp_seen_init(&seen);
	for (int64_t us = 0; us < 400 * MS; us += 250) {
		kcp_seen_add(&seen, pn++, true, 40 * MS, mono_at_us(us));
		if (us >= 200 * MS && mono_due(kcp_seen_due(&seen, 40 * MS), mono_at_us(us))) {
			cr_assert(seen.asked >= 19 && seen.asked <= 21, "%u", seen.asked);
			reports++;
		}
		if (mono_due(kcp_seen_due(&seen, 40 * MS), mono_at_us(us)))
			kcp_seen_report(&seen, mono_at_us(us), &rack);
	}
	cr_assert(reports >= 35 && reports <= 45, "%u", reports);
	/* 4000 in a round trip of 200 ms: every 32nd, not every 500th */
	reports = 0;
	for (int64_t us = 1000 * MS; us < 2000 * MS; us += 50) {
		kcp_seen_add(&seen, pn++, true, 200 * MS, mono_at_us(us));
		if (mono_due(kcp_seen_due(&seen, 200 * MS), mono_at_us(us))) {
			if (us >= 1500 * MS)
				cr_assert_eq(seen.asked, KCP_SEEN_ASKED_MAX);
			kcp_seen_report(&seen, mono_at_us(us), &rack);
		}
	}
}
