/*
 * Others who keep a queue. Where somebody's queue stands whatever one does, the round-trip time says nothing about one's own sending,
 * and whoever drains "his" queue, cruises at what he is given and asks for more every other second stays at the share that he happened
 * to have when he came. That is little: beside a CUBIC flow that was there first it was 8 % of the path behind a queue of one
 * round trip, and 4 behind three.
 *
 * Signs of others. A drain that lasted long enough and found the queue as it was: two in a row, or a single one to the ground. Contested
 * lasts until a round sees hardly any queue. That others are there is remembered for a while: in their next queue, which a plain flow
 * fills every few seconds, the path is not suspected of having become slower (kcp_lt.c), but of being contested again. So is one whose
 * queue a light flow meets that has next to nothing in flight, while STARTUP waits for more. A suspicion has to be proven
 * by the drain that follows: round trips that sway or a host that is late look the same.
 *
 * A drain that ended with more in flight than the path held before proves that only if it was longer than the round trip that it was to
 * make shorter, and if many packets are left: else the way may have become longer (kcp_lt.c).
 *
 * What changes. STARTUP goes on through the queue, up to a loss or a rate that no longer grows. Cruising is at the full rate, and as long
 * as drains prove others, above it by a few packets a round trip, the more of a rate the smaller it is: as flows that fill queues
 * grow. Drains are short but for each fourth, the window allows for the queue, a queue that stands is no sign that the path became
 * slower, and the smallest round trip is looked for less often, since it could not be seen.
 *
 * What bounds it. The long drain: it lasts as long as half a share takes to let the queue run empty. One's own queue does, and that of
 * others of this kind, who go on at their pace; a plain flow's does not, for its window keeps the queue, unless that window has become
 * smaller than the path: then contested ends, and with it the growth. So behind a queue of one round trip nobody is pushed below
 * half. Any loss that the dice do not explain ends the growth until the next probe.
 */
#include "kcp/kcp_lt_phase.h"

enum {
	STUBBORN = 2,	      /* drains in a row after which the queue still stood */
	MEMORY_US = 15000000, /* some times between two overflows of a plain flow's */
	GROWTH_DATAGRAMS = 4, /* a round trip */
	GONE_PART = 4,	      /* of what counts as a queue; below there is none */
	LIGHT_PART = 2, /* of a datagram: a flow with no more in flight has no queue of its own */
	LIGHT_SLACK_US =
		10000,	 /* it met others' with so much and a quarter on the smallest round trip */
	LONG_CYCLES = 4, /* one drain of so many is long */
	DRAIN_PART = 6,	 /* times the queue: how long that is, */
	DRAIN_LEAST = 6, /* round trips, at least */
	DRAIN_MOST = 20, /* and at most */
};

bool kcp_lt_long_drain(const struct kcp_lt *lt)
{
	return lt->deep || !lt->contested || lt->cycles % LONG_CYCLES == 0;
}

int64_t kcp_lt_drain_units(const struct kcp_lt *lt, int64_t unit_us)
{
	int64_t units = DRAIN_PART * (lt->rtt.srtt_us - lt->rtt.min_us) / unit_us;

	if (units > DRAIN_MOST)
		return DRAIN_MOST;
	return units > DRAIN_LEAST ? units : DRAIN_LEAST;
}

static void prove(struct kcp_lt *lt, struct mono now)
{
	lt->contested = true;
	lt->stubborn = STUBBORN;
	lt->rivals_until = mono_add_us(now, MEMORY_US);
}

/* Others may be there; the next drain has to prove it. */
static void suspect(struct kcp_lt *lt)
{
	lt->contested = true;
	lt->stubborn = STUBBORN - 1;
	lt->cycles = LONG_CYCLES - 1; /* and is long */
}

void kcp_lt_rivals_forget(struct kcp_lt *lt)
{
	lt->contested = false;
	lt->stubborn = 0;
	lt->watch_until = MONO_NEVER;
	lt->rivals_until = MONO_NEVER;
}

void kcp_lt_rivals_drained(struct kcp_lt *lt, bool is_empty, struct mono now, int64_t unit_us)
{
	uint64_t many = (uint64_t)lt->datagram_bytes * 2 * KCP_LT_LONGER_DATAGRAMS;
	int64_t watch_us = unit_us;

	if (!is_empty) {
		if (lt->round_flying <= many || mono_diff_us(now, lt->phase_at) < lt->rtt.srtt_us)
			return;
		watch_us += lt->rtt.srtt_us;
	}
	if (lt->deep && !is_empty && lt->rtt.srtt_us > kcp_lt_queue_us(lt)) {
		prove(lt, now);
		return;
	}
	lt->watch_until = mono_add_us(now, watch_us);
	lt->watch_us = INT64_MAX;
}

void kcp_lt_rivals_watch(struct kcp_lt *lt, struct mono now)
{
	if (!mono_due(lt->watch_until, now))
		return;
	lt->watch_until = MONO_NEVER;
	if (lt->watch_us == INT64_MAX)
		return;
	if (lt->watch_us <= kcp_lt_queue_us(lt)) {
		lt->stubborn = 0;
		lt->contested = false;
	} else if (++lt->stubborn >= STUBBORN) {
		prove(lt, now);
	}
}

void kcp_lt_rivals_round(struct kcp_lt *lt, bool full)
{
	int64_t lowest_us = lt->rtt.lowest_us, min_us = lt->rtt.min_us;

	if (lowest_us == INT64_MAX)
		return;
	if (lowest_us < min_us + (kcp_lt_queue_us(lt) - min_us) / GONE_PART) {
		lt->contested = false;
		lt->stubborn = 0;
	} else if (lt->phase == KCP_LT_STARTUP && !full &&
		   lt->round_flying <= lt->datagram_bytes / LIGHT_PART &&
		   lowest_us > min_us + min_us / 4 + LIGHT_SLACK_US) {
		suspect(lt);
	}
}

bool kcp_lt_rivals_suspect(struct kcp_lt *lt, struct mono now)
{
	if (mono_is_never(lt->rivals_until) || mono_due(lt->rivals_until, now))
		return false;
	suspect(lt);
	return true;
}

uint64_t kcp_lt_rivals_growth(const struct kcp_lt *lt)
{
	if (!lt->contested || lt->stubborn < STUBBORN || lt->phase != KCP_LT_CRUISE ||
		lt->bw_max != UINT64_MAX || lt->rtt.srtt_us <= 0)
		return 0;
	return (uint64_t)lt->datagram_bytes * GROWTH_DATAGRAMS * 1000000 /
	       (uint64_t)lt->rtt.srtt_us;
}
