/*
 * Two bit maps over the last 2048 numbers, one for what was received and one for what FEC rebuilt. A report is read off
 * them from the top down, a word at a time, until the list is full or the map ends; each report repeats what earlier ones
 * said, so one that is lost costs nothing.
 *
 * A number whose data was not taken (no memory) is never noted: to the peer that datagram was lost. So a report speaks of
 * data that is here for good. The largest is a received one, because the round-trip time is measured by it.
 *
 * When to report: acknowledgements of acknowledgements must never start, so only a datagram that asks starts the clock. An
 * eighth of what arrives in a round trip (2 to 32) or an eighth of the round trip (5 ms at most) may wait for each other;
 * a new gap is told at once, because the peer's loss detection waits for it.
 *
 * Waiting serves what may ride on the report, or be reported with it. A peer that says something now and then and gets no
 * answers, one of thousands on a gateway, has neither: then waiting only costs a timer, a wake-up and a second look at a
 * peer that has left the cache by then. So if the last reports all left alone, and the last one long ago, the next is due
 * at once. It waits again with the first datagram that leaves so soon after a report that this could have been in it.
 */
#include "kcp/kcp_seen.h"

#include <string.h>

static bool bit(const uint64_t *map, uint64_t pn)
{
	return map[pn / 64 % KCP_SEEN_WORDS] >> (pn % 64) & 1;
}

static void set_bit(uint64_t *map, uint64_t pn)
{
	map[pn / 64 % KCP_SEEN_WORDS] |= (uint64_t)1 << (pn % 64);
}

static void clear_bit(uint64_t *map, uint64_t pn)
{
	map[pn / 64 % KCP_SEEN_WORDS] &= ~((uint64_t)1 << (pn % 64));
}

/* The lowest number that is remembered. */
static uint64_t floor_of(const struct kcp_seen *seen)
{
	return seen->top > KCP_SEEN_SPAN ? seen->top - KCP_SEEN_SPAN : 0;
}

void kcp_seen_init(struct kcp_seen *seen)
{
	*seen = (struct kcp_seen){
		.asked_at = MONO_NEVER,
		.told_at = mono_at_us(INT64_MIN / 2),
		.round_at = mono_at_us(INT64_MIN / 2),
	};
}

enum kcp_seen_state kcp_seen_state(const struct kcp_seen *seen, uint64_t pn)
{
	if (pn >= seen->top)
		return KCP_SEEN_NEW;
	if (pn < floor_of(seen))
		return KCP_SEEN_OLD;
	if (bit(seen->received, pn))
		return KCP_SEEN_RECEIVED;
	return bit(seen->rebuilt, pn) ? KCP_SEEN_REBUILT : KCP_SEEN_NEW;
}

static void raise_top(struct kcp_seen *seen, uint64_t top)
{
	if (top <= seen->top)
		return;
	if (top - seen->top >= KCP_SEEN_SPAN) {
		memset(seen->received, 0, sizeof(seen->received));
		memset(seen->rebuilt, 0, sizeof(seen->rebuilt));
	} else {
		for (uint64_t pn = seen->top; pn < top; pn++) {
			clear_bit(seen->received, pn);
			clear_bit(seen->rebuilt, pn);
		}
	}
	seen->top = top;
}

static void count_round(struct kcp_seen *seen, int64_t srtt_us, struct mono now)
{
	int64_t round_us = srtt_us > 0 ? srtt_us : KCP_SEEN_NO_RTT_US;
	int64_t elapsed_us = mono_diff_us(now, seen->round_at);

	if (elapsed_us >= round_us) {
		seen->last_round_count = elapsed_us < 2 * round_us ? seen->round_count : 0;
		seen->round_count = 0;
		seen->round_at = now;
	}
	seen->round_count++;
}

static void ask(struct kcp_seen *seen, struct mono now)
{
	if (seen->asked++ == 0) {
		seen->asked_at = now;
		seen->sparse = mono_diff_us(now, seen->told_at) >= KCP_SEEN_SPARSE_US;
	}
}

void kcp_seen_add(struct kcp_seen *seen, uint64_t pn, bool asks, int64_t srtt_us, struct mono now)
{
	bool gap = seen->any ? pn > seen->largest + 1 : pn > 0;

	count_round(seen, srtt_us, now);
	raise_top(seen, pn + 1);
	if (pn >= floor_of(seen)) {
		set_bit(seen->received, pn);
		clear_bit(seen->rebuilt, pn);
	}
	if (!seen->any || pn > seen->largest) {
		seen->largest = pn;
		seen->largest_at = now;
		seen->any = true;
	}
	if (!asks)
		return;
	ask(seen, now);
	if (gap)
		seen->urgent = true;
}

void kcp_seen_add_rebuilt(struct kcp_seen *seen, uint64_t pn, struct mono now)
{
	if (!seen->any || pn > seen->largest || pn < floor_of(seen))
		return; /* the repair it was made with has a higher number and was received */
	set_bit(seen->rebuilt, pn);
	ask(seen, now);
	seen->urgent = true;
}

struct mono kcp_seen_due(const struct kcp_seen *seen, int64_t srtt_us)
{
	uint32_t most = seen->last_round_count / 8;
	int64_t delay_us = KCP_SEEN_DELAY_US;
	struct mono at;

	if (seen->asked == 0 || !seen->any)
		return MONO_NEVER;
	if (most < KCP_SEEN_ASKED_MIN)
		most = KCP_SEEN_ASKED_MIN;
	if (most > KCP_SEEN_ASKED_MAX)
		most = KCP_SEEN_ASKED_MAX;
	if (seen->asked >= most || (seen->sparse && seen->alone >= KCP_SEEN_ALONE))
		return seen->asked_at;
	if (srtt_us > 0 && srtt_us / 8 < delay_us)
		delay_us = srtt_us / 8;
	at = mono_add_us(seen->asked_at, delay_us);
	if (seen->urgent)
		at = mono_min(at, mono_add_us(seen->told_at, KCP_SEEN_URGENT_US));
	return at;
}

/* The highest number in [floor, end) whose bit in `map` is `value`, plus one; `floor` if there is none. */
static uint64_t scan_down(const uint64_t *map, uint64_t end, uint64_t floor, bool value)
{
	while (end > floor) {
		uint64_t last = end - 1;
		uint64_t word = map[last / 64 % KCP_SEEN_WORDS];
		if (!value)
			word = ~word;
		word <<= 63 - last % 64; /* the bit of `last` is now the highest */
		if (word != 0) {
			uint64_t skipped = (uint64_t)__builtin_clzll(word);
			return skipped < end - floor ? end - skipped : floor;
		}
		uint64_t step = last % 64 + 1;
		end = end - floor > step ? end - step : floor;
	}
	return floor;
}

static unsigned list(const uint64_t *map, uint64_t end, uint64_t floor, struct kcp_range *ranges)
{
	unsigned count = 0;

	while (count < KCP_RACK_RANGES_MAX) {
		end = scan_down(map, end, floor, true);
		if (end <= floor)
			break;
		uint64_t first = scan_down(map, end, floor, false);
		ranges[count++] = (struct kcp_range){.first = first, .end = end};
		end = first;
	}
	return count;
}

void kcp_seen_left(struct kcp_seen *seen, bool report, bool more, struct mono now)
{
	if (report && !more) {
		if (seen->alone < UINT8_MAX)
			seen->alone++;
	} else if (report || mono_diff_us(now, seen->told_at) < KCP_SEEN_DELAY_US) {
		seen->alone = 0;
	}
}

void kcp_seen_hush(struct kcp_seen *seen)
{
	seen->asked = 0;
	seen->asked_at = MONO_NEVER;
	seen->urgent = false;
}

void kcp_seen_report(struct kcp_seen *seen, struct mono now, struct kcp_rack *ret_rack)
{
	uint64_t floor = floor_of(seen);
	int64_t delay = mono_diff_us(now, seen->largest_at) / KCP_RACK_DELAY_UNIT_US;

	if (delay < 0)
		delay = 0;
	ret_rack->largest = seen->largest;
	ret_rack->delay = delay < KCP_RACK_DELAY_MAX ? (uint16_t)delay : KCP_RACK_DELAY_MAX;
	ret_rack->ce = seen->ce & KCP_RACK_CE_MASK;
	ret_rack->received_count =
		list(seen->received, seen->largest + 1, floor, ret_rack->received);
	ret_rack->rebuilt_count = list(seen->rebuilt, seen->largest + 1, floor, ret_rack->rebuilt);
	kcp_seen_hush(seen);
	seen->told_at = now;
}
