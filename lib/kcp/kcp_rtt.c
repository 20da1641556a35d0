/*
 * RFC 6298 with two twists of kcp-go: the variance falls 8 times slower when a sample is far below the mean (so that a
 * quick packet after a queue does not shrink the timeout), and the timeout allows for the interval for which the peer
 * may sit on its acknowledgements. All in whole milliseconds with arithmetic shifts, because the transcripts are.
 *
 * Standards: RFC 6298, as kcp-go applies it.
 */
#include "kcp/kcp_rtt.h"

void kcp_rtt_init(struct kcp_rtt *rtt, bool nodelay, uint32_t interval_ms)
{
	*rtt = (struct kcp_rtt){
		.rto_ms = KCP_RTO_START_MS,
		.rto_min_ms = nodelay ? KCP_RTO_MIN_NODELAY_MS : KCP_RTO_MIN_MS,
		.interval_ms = interval_ms,
	};
}

void kcp_rtt_update(struct kcp_rtt *rtt, int32_t sample_ms)
{
	int32_t srtt = (int32_t)rtt->srtt_ms;
	int32_t var = (int32_t)rtt->var_ms;

	if (sample_ms < 0 || sample_ms > KCP_RTT_MAX_MS)
		return;
	if (srtt == 0) {
		srtt = sample_ms;
		var = sample_ms >> 1;
	} else {
		int32_t delta = sample_ms - srtt;
		srtt += delta >> 3;
		if (delta < 0)
			delta = -delta;
		var += (delta - var) >> (sample_ms < srtt - var ? 5 : 2);
	}
	rtt->srtt_ms = (uint32_t)srtt;
	rtt->var_ms = (uint32_t)var;

	uint32_t slack = 4 * rtt->var_ms;
	uint32_t rto = rtt->srtt_ms + (slack > rtt->interval_ms ? slack : rtt->interval_ms);
	if (rto < rtt->rto_min_ms)
		rto = rtt->rto_min_ms;
	rtt->rto_ms = rto > KCP_RTO_MAX_MS ? KCP_RTO_MAX_MS : rto;
}
