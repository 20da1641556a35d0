/*
 * With each transmission the count of bytes delivered so far is noted, and when that count was reached. When its
 * acknowledgement comes, the count has grown by what the path delivered in one round trip. The interval is the longer of the one
 * over which that was acknowledged and the one over which it was sent, so that a burst of acknowledgements does not pass for
 * a fast path. The sample of a report is that of the datagram sent last: it has the freshest history.
 *
 * Losses are counted beside it in the same way. Random loss happens to what the bottleneck has carried, so delivered and lost
 * together tell what it carried, and that sum does not shake as the dice fall.
 *
 * Source: draft-ietf-ccwg-bbr, delivery rate samples.
 */
#include "kcp/kcp_lt_sample.h"

static uint32_t us32(struct mono t)
{
	return (uint32_t)(uint64_t)t.us;
}

void kcp_lt_sampler_restart(struct kcp_lt_sampler *sampler, struct mono now)
{
	sampler->first_sent_us = us32(now);
	sampler->delivered_us = us32(now);
}

void kcp_lt_sampler_sent(struct kcp_lt_sampler *sampler, struct kcp_lt_flight *ret_flight,
	enum kcp_lt_kind kind, struct mono now)
{
	if (sampler->limited && (int32_t)(sampler->delivered - sampler->limited_until) > 0)
		sampler->limited = false;
	*ret_flight = (struct kcp_lt_flight){
		.sent_us = us32(now),
		.delivered = sampler->delivered,
		.delivered_us = sampler->delivered_us,
		.lost = sampler->lost,
		.first_sent_us = sampler->first_sent_us,
		.kind = (uint8_t)kind,
		.limited = sampler->limited,
	};
}

void kcp_lt_sampler_acked(struct kcp_lt_sampler *sampler, const struct kcp_lt_flight *flight,
	uint32_t bytes, struct mono now)
{
	if (!sampler->any) {
		sampler->any = true;
		sampler->newest = *flight;
		sampler->newly_bytes = 0;
		sampler->silent_us = us32(now) - sampler->delivered_us;
	} else if ((int32_t)(flight->sent_us - sampler->newest.sent_us) >= 0) {
		sampler->newest = *flight;
	}
	sampler->delivered += bytes;
	sampler->newly_bytes += bytes;
	sampler->delivered_us = us32(now);
}

void kcp_lt_sampler_set_limited(struct kcp_lt_sampler *sampler, uint64_t flying_bytes)
{
	sampler->limited = true;
	sampler->limited_until = sampler->delivered + (uint32_t)flying_bytes;
}

static uint64_t per_second(uint32_t bytes, uint32_t us)
{
	uint64_t rate = (uint64_t)bytes * 1000000 / us;

	return rate < KCP_LT_RATE_MAX_BYTES ? rate : KCP_LT_RATE_MAX_BYTES;
}

bool kcp_lt_sampler_close(struct kcp_lt_sampler *sampler, int64_t min_rtt_us, struct mono now,
	struct kcp_lt_sample *ret)
{
	const struct kcp_lt_flight *newest = &sampler->newest;

	if (!sampler->any)
		return false;
	uint32_t ack_us = us32(now) - newest->delivered_us;
	uint32_t send_us = newest->sent_us - newest->first_sent_us;
	uint32_t us = ack_us > send_us ? ack_us : send_us;
	int32_t lost = (int32_t)(sampler->lost - newest->lost);
	*ret = (struct kcp_lt_sample){
		.delivered_before = newest->delivered,
		.newly_bytes = sampler->newly_bytes,
		.silent_us = sampler->silent_us,
		.limited = newest->limited,
		.rated = us > 0 && us >= min_rtt_us,
	};
	if (ret->rated) {
		ret->delivered_rate = per_second(sampler->delivered - newest->delivered, us);
		ret->lost_rate = lost > 0 ? per_second((uint32_t)lost, us) : 0;
	}
	sampler->first_sent_us = newest->sent_us;
	sampler->any = false;
	return true;
}
