/*
 * Losses by time, for a measured window. kcp-go sends a segment again after two acks of later ones, once per timeout.
 * Where FEC is on that is too early: parity stands at the end of its group, so nearly all that it brings back was sent again by
 * then. And it is too late for what is lost twice: that waits for its timeout, and all behind it with it.
 *
 * Here, as in RACK, a segment is lost if something that left later arrived, later by more than reordering explains and more
 * than the rest of an FEC group takes to leave. A resend counts as any other transmission: what is lost again is found a
 * round trip later, not a timeout. The echoed ts tells which transmission of a segment arrived, but a peer may echo what it
 * likes: a time after the last transmission is taken for that. A peer that acknowledges what has not arrived yet gains little:
 * resends are charged to the pace, new data waits for it, and without new data nothing later arrives.
 *
 * Where nothing leaves any more there are no later arrivals that are late enough. A segment that something later overtook is
 * then sent again when its own answer would have been here.
 *
 * The walk is over the watched segments below the highest arrival, once for each datagram of acks: these are the holes.
 *
 * Source: RFC 8985 (RACK), for the idea.
 */
#include "kcp/kcp_classic.h"
#include "kcp/kcp_segment.h"
#include "kcp/kcp_state.h"

enum {
	REORDER_PART =
		8, /* of the round-trip time may pass between packets that overtake each other */
	REORDER_LEAST_MS = 2,
	GROUP_PART = 2, /* of the round-trip time is the longest that FEC is waited for */
};

/* How much later something must have left for its arrival to tell. */
static uint32_t grace_ms(const struct kcp *kcp)
{
	const struct kcp_window *window = &kcp->window;
	uint32_t srtt_ms = kcp->rtt.srtt_ms;
	uint32_t grace = srtt_ms / REORDER_PART;

	if (kcp->config.group_datagrams > 0 && window->rate > 0) {
		uint64_t bytes = (uint64_t)kcp->config.group_datagrams * kcp->config.mtu_bytes;
		uint64_t group_ms = bytes * 1000 / window->rate;
		if (group_ms > srtt_ms / GROUP_PART)
			group_ms = srtt_ms / GROUP_PART;
		if (group_ms > grace)
			grace = (uint32_t)group_ms;
	}
	return grace > REORDER_LEAST_MS ? grace : REORDER_LEAST_MS;
}

void kcp_holes_acked(struct kcp *kcp, uint32_t sn, uint32_t ts)
{
	const struct kcp_tx *tx = kcp_sender_at(&kcp->sender, sn);
	struct kcp_newest *newest = &kcp->newest;

	if (tx->sendings == 1 || (int32_t)(ts - tx->ts_ms) > 0)
		ts = tx->ts_ms;
	if (!newest->known || (int32_t)(ts - newest->ts_ms) > 0)
		newest->ts_ms = ts;
	if (!newest->known || kcp_sn_before(newest->sn, sn))
		newest->sn = sn;
	newest->known = true;
	newest->moved = true;
}

bool kcp_holes_lost(const struct kcp *kcp, const struct kcp_tx *tx, struct mono now)
{
	int32_t age_ms = (int32_t)(kcp_segment_ms(now) - tx->ts_ms);
	int32_t grace = (int32_t)grace_ms(kcp);

	if (tx->later_acks == 0 || (int64_t)age_ms * 1000 < kcp->window.min_rtt_us)
		return false;
	return (int32_t)(kcp->newest.ts_ms - tx->ts_ms) > grace ||
	       age_ms > (int32_t)(kcp->rtt.srtt_ms + kcp->rtt.var_ms) + grace;
}

bool kcp_holes_find(struct kcp *kcp, struct mono now)
{
	struct kcp_sender *sender = &kcp->sender;
	uint32_t sn = sender->watch_head;
	bool any = false;

	if (!kcp->newest.moved)
		return false;
	kcp->newest.moved = false;
	for (uint32_t left = sender->watched; left > 0; left--) {
		if (!kcp_sn_before(sn, kcp->newest.sn))
			break;
		struct kcp_tx *tx = kcp_sender_at(sender, sn);
		sn = tx->watch_next;
		if ((int32_t)(kcp->newest.ts_ms - tx->ts_ms) < 0)
			continue;
		if (tx->later_acks == 0) {
			tx->later_acks = 1;
			sender->suspects++;
		}
		any = any || kcp_holes_lost(kcp, tx, now);
	}
	return any;
}
