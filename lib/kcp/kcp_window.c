/*
 * A queue in front of the bottleneck costs everybody's latency and carries nothing. What a path holds is its delivery
 * rate times its bare round-trip time; a little more than that in flight keeps it busy and shows when it became faster.
 *
 * Rate. With each transmission the count of bytes delivered so far is noted, and when that count was reached. When its
 * acknowledgement comes, the count has grown by what the path delivered in one round trip. The interval is the longer of
 * the one over which that was acknowledged and the one over which it was sent, so that a burst of acknowledgements does
 * not pass for a fast path, and an interval shorter than the smallest round trip says nothing. The largest sample of the
 * last 10 round trips counts. Samples taken while the application had nothing to send may raise the rate and do not age
 * it: a round without another sample does not turn the filter.
 *
 * Round-trip time. The smallest of the last 10 s. A full window keeps a small queue standing for ever, and after 10 s that
 * queue would become part of the smallest time, the window would grow by it, and so on. So after 10 s without a new
 * smallest the window falls to 3/4 of the product for about one round trip, the queue runs empty, and the smallest time of
 * that trip is the new value.
 *
 * Bursts. kcp-go acknowledges once an interval (10 to 40 ms), so what comes back are bursts with silence between them. As
 * much as was acknowledged beyond rate x time is added; on a path with next to no delay, where that is nearly
 * all there is, half again as much, or the window could not grow.
 *
 * Pace. When a hole is filled, the edge jumps and a whole window may leave at once: more than most queues hold. So new
 * data leaves at 1.25 x the rate (twice the rate while that still grows), or 64 segments per smallest round trip if that
 * is more, which on a short path is no limit at all. Resends go at once and are charged.
 *
 * Losses are not looked at: the delivery rate already counts only what arrived, and a hole is in flight until it is filled.
 *
 * Sources: draft-ietf-ccwg-bbr (delivery rate samples, filters, extra_acked), RFC 9438 for what not to do.
 */
#include "kcp/kcp_window.h"

#include <string.h>

static uint32_t us32(struct mono t)
{
	return (uint32_t)(uint64_t)t.us;
}

void kcp_window_init(struct kcp_window *window, int64_t ack_delay_us)
{
	*window = (struct kcp_window){
		.ack_delay_us = ack_delay_us,
		.drain_until = MONO_NEVER,
		.drain_rtt_us = INT64_MAX,
		.loss_ppm = {UINT32_MAX, UINT32_MAX},
	};
}

void kcp_window_restart(struct kcp_window *window, struct mono now)
{
	window->first_sent_us = us32(now);
	window->delivered_us = us32(now);
}

void kcp_window_sent(
	struct kcp_window *window, struct kcp_flight *ret_flight, bool again, struct mono now)
{
	window->sendings++;
	window->resendings += again;
	window->late_sendings++;
	window->late_resendings += again;
	if (window->late_sendings >= KCP_WINDOW_RESENT_SENDINGS) {
		window->late_sendings /= 2;
		window->late_resendings /= 2;
	}
	if (window->limited && (int32_t)(window->delivered - window->limited_until) > 0)
		window->limited = false;
	*ret_flight = (struct kcp_flight){
		.sent_us = us32(now),
		.delivered = window->delivered,
		.delivered_us = window->delivered_us,
		.first_sent_us = window->first_sent_us,
	};
}

static void take_rtt(struct kcp_window *window, int64_t rtt_us, struct mono now)
{
	if (rtt_us <= 0)
		rtt_us = 1;
	if (!mono_is_never(window->drain_until) && rtt_us < window->drain_rtt_us)
		window->drain_rtt_us = rtt_us;
	if (window->min_rtt_us == 0 || rtt_us <= window->min_rtt_us) {
		window->min_rtt_us = rtt_us;
		window->min_rtt_at = now;
	}
}

void kcp_window_acked(struct kcp_window *window, const struct kcp_flight *flight, uint32_t bytes,
	bool limited, bool sent_once, struct mono now)
{
	window->delivered += bytes;
	window->delivered_us = us32(now);
	window->newly_delivered += bytes;
	/* the sample is the one sent last: it has the shortest and so the freshest history */
	if (!window->have_newest || (int32_t)(flight->sent_us - window->newest.sent_us) >= 0) {
		window->newest = *flight;
		window->newest_limited = limited;
		window->have_newest = true;
	}
	if (sent_once)
		take_rtt(window, (int64_t)(us32(now) - flight->sent_us), now);
}

static void drain_update(struct kcp_window *window, struct mono now)
{
	if (!mono_is_never(window->drain_until)) {
		if (!mono_due(window->drain_until, now))
			return;
		if (window->drain_rtt_us != INT64_MAX)
			window->min_rtt_us = window->drain_rtt_us;
		window->min_rtt_at = now;
		window->drain_until = MONO_NEVER;
		window->drain_rtt_us = INT64_MAX;
	} else if (window->min_rtt_us > 0 &&
		   mono_due(mono_add_us(window->min_rtt_at, KCP_WINDOW_MIN_RTT_US), now)) {
		/* half a round trip for the queue to run empty, one and a half to see it so */
		window->drain_until = mono_add_us(now, 2 * window->min_rtt_us);
	}
}

static void loss_update(struct kcp_window *window, struct mono now)
{
	uint32_t loss_ppm;

	if (window->sendings < KCP_WINDOW_LOSS_SENDINGS)
		return;
	loss_ppm = (uint32_t)((uint64_t)window->resendings * 1000000 / window->sendings);
	window->sendings = 0;
	window->resendings = 0;
	if (mono_due(mono_add_us(window->loss_at, KCP_WINDOW_LOSS_US), now)) {
		window->loss_at = now;
		window->loss_ppm[1] = window->loss_ppm[0];
		window->loss_ppm[0] = loss_ppm;
	} else if (loss_ppm < window->loss_ppm[0]) {
		window->loss_ppm[0] = loss_ppm;
	}
}

/* The rate still grows from round to round. */
static bool starting(const struct kcp_window *window)
{
	return window->flat_rounds < KCP_WINDOW_START_ROUNDS;
}

uint32_t kcp_window_resent_ppm(const struct kcp_window *window)
{
	if (window->late_sendings < KCP_WINDOW_RESENT_LEAST)
		return 0;
	return (uint32_t)((uint64_t)window->late_resendings * 1000000 / window->late_sendings);
}

/* `gain` percent of `amount`, and what will be lost of it on top. */
static uint64_t amplify(const struct kcp_window *window, uint64_t amount, uint64_t gain)
{
	uint32_t loss_ppm = window->loss_ppm[0] < window->loss_ppm[1] ? window->loss_ppm[0]
								      : window->loss_ppm[1];

	if (loss_ppm == UINT32_MAX)
		loss_ppm = 0; /* no sample yet */
	else if (loss_ppm > KCP_WINDOW_LOSS_MAX_PPM)
		loss_ppm = KCP_WINDOW_LOSS_MAX_PPM;
	return amount / 100 * gain * 1000 / (1000 - loss_ppm / 1000);
}

static void round_turn(struct kcp_window *window)
{
	window->round_end = window->delivered;
	if (window->rate >= window->flat_rate + window->flat_rate / 4) {
		window->flat_rate = window->rate;
		window->flat_rounds = 0;
	} else if (window->round_full && window->flat_rounds < KCP_WINDOW_START_ROUNDS) {
		/* a round that the application did not fill tells nothing of the path: after pings alone bulk begins here */
		window->flat_rounds++;
	}
	if (++window->extra_rounds >= KCP_WINDOW_AGGREGATE_ROUNDS) {
		window->extra_rounds = 0;
		window->extra[1] = window->extra[0];
		window->extra[0] = 0;
	}
	if (!window->round_full)
		return;
	window->round_full = false;
	window->round = (window->round + 1) % KCP_WINDOW_ROUNDS;
	window->round_rate[window->round] = 0;
	window->rate = 0;
	for (int i = 0; i < KCP_WINDOW_ROUNDS; i++) {
		if (window->round_rate[i] > window->rate)
			window->rate = window->round_rate[i];
	}
}

static void burst_update(struct kcp_window *window, struct mono now)
{
	if (window->rate == 0)
		return;
	int64_t elapsed_us = mono_diff_us(now, window->burst_at);
	/* above a second nothing is a burst, and the product below stays small */
	uint64_t expected = elapsed_us < 0 || elapsed_us > 1000000
				    ? UINT64_MAX
				    : window->rate * (uint64_t)elapsed_us / 1000000;
	if (window->burst_bytes <= expected) {
		window->burst_at = now;
		window->burst_bytes = 0;
		expected = 0;
	}
	window->burst_bytes += window->newly_delivered;
	uint64_t extra = window->burst_bytes - expected;
	if (extra > window->extra[0])
		window->extra[0] = extra;
}

/* A sample that saw a queue tells of the path whatever the application did: else a path that became slower is never
 * believed while the application stays below the old rate. */
static bool queued(const struct kcp_window *window, struct mono now)
{
	int64_t rtt_us = (int64_t)(us32(now) - window->newest.sent_us);

	return rtt_us > window->min_rtt_us + window->min_rtt_us / 8 + 4000 + window->ack_delay_us;
}

void kcp_window_update(struct kcp_window *window, struct mono now)
{
	drain_update(window, now);
	if (!window->have_newest)
		return;

	const struct kcp_flight *flight = &window->newest;
	uint32_t delivered = window->delivered - flight->delivered;
	uint32_t ack_us = us32(now) - flight->delivered_us;
	uint32_t send_us = flight->sent_us - flight->first_sent_us;
	uint32_t interval_us = ack_us > send_us ? ack_us : send_us;

	if ((int32_t)(flight->delivered - window->round_end) >= 0) {
		round_turn(window);
		loss_update(window, now);
	}
	if (interval_us > 0 && interval_us >= window->min_rtt_us) {
		uint64_t rate = (uint64_t)delivered * 1000000 / interval_us;
		if (rate > KCP_WINDOW_RATE_MAX_BYTES)
			rate = KCP_WINDOW_RATE_MAX_BYTES;
		bool full = !window->newest_limited || queued(window, now);
		if (full)
			window->round_full = true;
		if (full || rate > window->rate) {
			if (rate > window->round_rate[window->round])
				window->round_rate[window->round] = rate;
			if (rate > window->rate)
				window->rate = rate;
		}
	}
	burst_update(window, now);
	window->first_sent_us = flight->sent_us;
	window->have_newest = false;
	window->newly_delivered = 0;
}

void kcp_window_set_limited(struct kcp_window *window, uint64_t in_flight_bytes)
{
	window->limited = true;
	window->limited_until = window->delivered + (uint32_t)in_flight_bytes;
}

/* Bytes a second that may leave; 0 = no limit. */
static uint64_t pace_rate(const struct kcp_window *window, uint32_t segment_bytes)
{
	uint64_t gain = starting(window) ? KCP_WINDOW_START_PERCENT : KCP_WINDOW_PACE_PERCENT;
	uint64_t least, rate;

	if (window->rate == 0 || window->min_rtt_us == 0)
		return 0;
	least = (uint64_t)KCP_WINDOW_PACE_SEGMENTS * segment_bytes * 1000000 /
		(uint64_t)window->min_rtt_us;
	if (!mono_is_never(window->drain_until))
		gain = KCP_WINDOW_DRAIN_PERCENT;
	rate = amplify(window, window->rate, gain);
	return rate > least ? rate : least;
}

void kcp_window_pace(
	struct kcp_window *window, uint32_t bytes, uint32_t segment_bytes, struct mono now)
{
	uint64_t rate = pace_rate(window, segment_bytes);

	if (rate == 0)
		return;
	window->pace_at = mono_max(window->pace_at, mono_add_us(now, -KCP_WINDOW_PACE_BURST_US));
	/* nanoseconds would be needed above 1 GB/s; there the burst makes up for what is cut */
	window->pace_at = mono_add_us(window->pace_at, (int64_t)((uint64_t)bytes * 1000000 / rate));
}

uint64_t kcp_window_ahead_bytes(
	const struct kcp_window *window, uint32_t segment_bytes, struct mono now)
{
	uint64_t rate = pace_rate(window, segment_bytes);
	int64_t ahead_us = mono_diff_us(now, window->pace_at);

	if (rate == 0 || starting(window))
		return UINT64_MAX;
	if (ahead_us > KCP_WINDOW_PACE_BURST_US)
		ahead_us = KCP_WINDOW_PACE_BURST_US;
	ahead_us += KCP_WINDOW_PACE_AHEAD_US;
	return ahead_us > 0 ? rate * (uint64_t)ahead_us / 1000000 : 0;
}

uint64_t kcp_window_bytes(const struct kcp_window *window)
{
	uint64_t product, extra, window_bytes, burst;

	if (window->rate == 0 || window->min_rtt_us == 0)
		return 0;
	/* at most 2^30 bytes/s x 2^32 us */
	product = window->rate * (uint64_t)window->min_rtt_us / 1000000;
	if (!mono_is_never(window->drain_until))
		return amplify(window, product, KCP_WINDOW_DRAIN_PERCENT);
	extra = window->extra[0] > window->extra[1] ? window->extra[0] : window->extra[1];
	window_bytes = amplify(window, product,
			       starting(window) ? KCP_WINDOW_START_GAIN_PERCENT
						: KCP_WINDOW_GAIN_PERCENT) +
		       extra;
	burst = extra * KCP_WINDOW_AGGREGATE_PERCENT / 100;
	return window_bytes > burst ? window_bytes : burst;
}
