/*
 * Window and pace, from what is believed. The pace is what keeps queues short; the window is twice what the path holds, so that
 * it bounds the harm of a wrong pace and never is what limits, not even while acknowledgements come in bursts.
 */
#include "kcp/kcp_lt_phase.h"

enum {
	FIXED_SLACK_US = 250000, /* of a fixed rate may fly beyond two round trips, */
	FIXED_RTT_US = 2000000,	 /* which count up to so much: the queue is of its own making */
};

static uint64_t share(uint64_t rate, int64_t us)
{
	return rate * (uint64_t)us / 1000000;
}

/* Twice what arrived is not twice what was sent: what must go on top. */
static uint64_t lost_of(const struct kcp_lt *lt, uint64_t bytes)
{
	const struct kcp_lt_tally *start = &lt->loss.start;

	if (start->judged < KCP_LT_LOSS_ROUND || start->lost >= start->judged / 3)
		return start->judged < KCP_LT_LOSS_ROUND ? 0 : bytes / 2;
	return bytes * start->lost / (start->judged - start->lost);
}

uint64_t kcp_lt_window_bytes(const struct kcp_lt *lt, uint32_t datagram_bytes)
{
	bool starts = lt->phase == KCP_LT_STARTUP;
	bool bold = starts && (!lt->queued || lt->sampler.limited);
	uint64_t least =
		(uint64_t)datagram_bytes * (bold ? KCP_LT_START_DATAGRAMS : KCP_LT_MIN_DATAGRAMS);
	uint64_t rate = kcp_lt_rate_now(lt);
	uint64_t product = kcp_lt_product(lt);
	uint64_t window, extra;

	if (kcp_lt_is_fixed(lt)) {
		int64_t rtt_us = lt->rtt.srtt_us < FIXED_RTT_US ? lt->rtt.srtt_us : FIXED_RTT_US;
		window = share(rate, 2 * rtt_us + FIXED_SLACK_US);
		return window > least ? window : least;
	}
	if (rate == 0 || product == 0)
		return least;
	if (lt->phase == KCP_LT_LOOK)
		return product / 2 > least ? product / 2 : least;
	extra = lt->extra[0] > lt->extra[1] ? lt->extra[0] : lt->extra[1];
	if (extra < share(rate, KCP_LT_ACK_DELAY_US))
		extra = share(rate, KCP_LT_ACK_DELAY_US);
	/* A queue while starting says that the rate is reached: it shall not grow until that is certain. */
	window = (starts && lt->queued && !lt->contested ? product + product / 4 : 2 * product) +
		 3 * (uint64_t)datagram_bytes + extra;
	if (bold)
		window += lost_of(lt, 2 * product);
	if (lt->contested) {
		/* what the path holds with its queue, and room for the pace to grow */
		uint64_t held = share(rate, lt->rtt.srtt_us) / 2 * (starts ? 4 : 3);
		window = window > held ? window : held;
	}
	if (window > lt->flying_max && lt->phase != KCP_LT_STARTUP)
		window = lt->flying_max;
	return window > least ? window : least;
}

static void charge(struct kcp_lt *lt, uint64_t rate, uint32_t bytes, struct mono now)
{
	struct mono least = mono_add_us(now, -KCP_LT_PACE_BURST_US);
	uint64_t ns;

	if (mono_before(lt->pace_at, least)) {
		lt->pace_at = least;
		lt->pace_ns = 0;
	}
	ns = (uint64_t)bytes * 1000000000 / rate + lt->pace_ns;
	lt->pace_at = mono_add_us(lt->pace_at, (int64_t)(ns / 1000));
	lt->pace_ns = (uint32_t)(ns % 1000);
}

void kcp_lt_spent(struct kcp_lt *lt, uint32_t bytes, struct mono now)
{
	charge(lt, lt->cap, bytes, now);
}

void kcp_lt_pace(struct kcp_lt *lt, uint32_t bytes, uint64_t flying_bytes, struct mono now)
{
	int64_t rtt_us = lt->rtt.srtt_us > 0 ? lt->rtt.srtt_us : 1;
	uint64_t floor = lt->phase == KCP_LT_STARTUP ? KCP_LT_FLOOR_SEGMENTS : 2;
	uint64_t rate = kcp_lt_rate_now(lt) * kcp_lt_gain(lt, flying_bytes) / 100 +
			kcp_lt_rivals_growth(lt);

	floor = floor * lt->datagram_bytes * 1000000 / (uint64_t)rtt_us;
	if (rate < floor)
		rate = floor;
	if (rate == 0 || lt->rtt.srtt_us == 0)
		rate = UINT64_MAX; /* nothing is known; the window is small */
	if (rate > lt->cap || kcp_lt_is_fixed(lt))
		rate = lt->cap;
	if (rate != UINT64_MAX)
		charge(lt, rate, bytes, now);
}
