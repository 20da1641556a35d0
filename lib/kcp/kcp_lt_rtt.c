/*
 * The smallest round-trip time is what the path takes without a queue. It ages: a route may have become longer, and then a
 * window made for the old one is too small. After 5 s without seeing it again the path is drained for a moment; what is seen
 * then is believed if the smallest was not seen for 10 s, so that one look that others' queues spoiled changes nothing.
 *
 * A queue grows and shrinks over a round trip; what differs from one packet to the next is the way's own sway (a radio's turns, a
 * peer that was late to report), and no pace makes it less. Who paces himself far down because of it gives his path away.
 *
 * Hardly any round trip is the smallest to the microsecond; a little above it is as good.
 */
#include "kcp/kcp_lt_rtt.h"

void kcp_lt_rtt_init(struct kcp_lt_rtt *rtt)
{
	*rtt = (struct kcp_lt_rtt){.lowest_us = INT64_MAX, .look_us = INT64_MAX};
}

void kcp_lt_rtt_add(struct kcp_lt_rtt *rtt, int64_t rtt_us, struct mono now)
{
	if (rtt_us < 1)
		rtt_us = 1;
	rtt->srtt_us = rtt->srtt_us ? rtt->srtt_us + (rtt_us - rtt->srtt_us) / 8 : rtt_us;
	if (rtt->last_us > 0) {
		int64_t change_us =
			rtt_us > rtt->last_us ? rtt_us - rtt->last_us : rtt->last_us - rtt_us;
		rtt->sway_us += (change_us - rtt->sway_us) / 8;
	}
	rtt->last_us = rtt_us;
	if (rtt_us < rtt->lowest_us)
		rtt->lowest_us = rtt_us;
	if (rtt_us < rtt->look_us)
		rtt->look_us = rtt_us;
	if (rtt->min_us > 0 && rtt_us > rtt->min_us + rtt->min_us / 32 + KCP_LT_RTT_SLACK_US)
		return;
	if (rtt->min_us == 0 || rtt_us < rtt->min_us)
		rtt->min_us = rtt_us;
	rtt->min_at = now;
	rtt->raised_at = now;
}

void kcp_lt_rtt_look_begin(struct kcp_lt_rtt *rtt)
{
	rtt->look_us = INT64_MAX;
}

void kcp_lt_rtt_look_end(struct kcp_lt_rtt *rtt, struct mono now)
{
	rtt->min_at = now; /* looked, whatever was seen */
	if (rtt->look_us == INT64_MAX || rtt->look_us <= rtt->min_us ||
		!mono_due(mono_add_us(rtt->raised_at, KCP_LT_RTT_BELIEVE_US), now))
		return;
	kcp_lt_rtt_believe(rtt, rtt->look_us, now);
}

void kcp_lt_rtt_believe(struct kcp_lt_rtt *rtt, int64_t rtt_us, struct mono now)
{
	rtt->min_us = rtt_us;
	rtt->min_at = now;
	rtt->raised_at = now;
}
