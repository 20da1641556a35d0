/*
 * The naive sender's datagrams. What waits is taken in order of acceptance, whatever its class, as long as it fits; lost
 * items come first by being older. Where a RACK or a CONTROL stands in a datagram is a matter of chance.
 */
#include "tests/sim/path_model_state.h"

#include <stdlib.h>
#include <string.h>

struct draft {
	uint8_t *at;
	size_t len;
	size_t room;
	bool asks;
	unsigned flags;
	struct peer_sent *sent;
};

static void add_segment(
	struct model_peer *peer, struct draft *draft, struct model_seg *seg, struct mono now)
{
	seg->wnd = peer->wnd;
	seg->ts = (uint32_t)(now.us / 1000);
	draft->len += model_seg_put(draft->at + draft->len, seg);
	draft->asks = draft->asks || model_seg_asks(seg);
}

static size_t left(const struct draft *draft)
{
	return draft->room - draft->len;
}

static void add_rack(struct model_peer *peer, struct draft *draft, struct mono now)
{
	struct model_rack rack;
	uint8_t body[MODEL_RACK_BYTES_MAX];

	if (!peer->any_pn)
		return;
	peer_make_rack(peer, now, &rack);
	uint32_t len = (uint32_t)model_rack_put(body, &rack);
	if (left(draft) < MODEL_SEG_BYTES + len)
		return;
	peer->asked = 0;
	peer->rack_now = false;
	add_segment(
		peer, draft, &(struct model_seg){.cmd = MODEL_RACK, .len = len, .body = body}, now);
	draft->flags |= KCP_PATH_OUT_RACK;
}

static void add_controls(struct model_peer *peer, struct draft *draft, struct mono now)
{
	unsigned taken = 0;

	while (taken < peer->control_count &&
		left(draft) >= MODEL_SEG_BYTES + peer->controls[taken].len) {
		add_segment(peer, draft,
			&(struct model_seg){.cmd = MODEL_CONTROL,
				.len = peer->controls[taken].len,
				.body = peer->controls[taken].body},
			now);
		taken++;
	}
	peer->control_count -= taken;
	memmove(peer->controls, peer->controls + taken,
		peer->control_count * sizeof(peer->controls[0]));
}

static void carry_base(
	struct model_peer *peer, struct draft *draft, struct peer_out_lane *lane, struct mono now)
{
	struct peer_carried_base *carried = peer_alloc(peer, sizeof(*carried));

	*carried = (struct peer_carried_base){
		.next = draft->sent->bases, .conv = lane->conv, .base = lane->base};
	draft->sent->bases = carried;
	if (lane->dirty_base > lane->acked_base)
		lane->fwd_at = now.us + peer_pto_us(peer);
}

static void add_fwds(struct model_peer *peer, struct draft *draft, struct mono now)
{
	for (struct peer_out_lane *lane = peer->out_lanes; lane; lane = lane->next) {
		if (lane->fwd_at > now.us || left(draft) < MODEL_SEG_BYTES)
			continue;
		add_segment(peer, draft,
			&(struct model_seg){
				.conv = lane->conv, .cmd = MODEL_FWD, .una = (uint32_t)lane->base},
			now);
		carry_base(peer, draft, lane, now);
	}
}

static struct peer_out_lane *lane_of(const struct model_peer *peer, const struct peer_item *item)
{
	struct peer_out_lane *lane = peer->out_lanes;

	while (lane->conv != item->conv)
		lane = lane->next;
	return lane;
}

static bool may_go(const struct model_peer *peer, const struct peer_item *item)
{
	return item->state == PEER_ITEM_WAITS && item->len <= peer->config.piece_bytes &&
	       (!item->message || item->frg & 0x80 || lane_of(peer, item)->shown);
}

static void add_item(
	struct model_peer *peer, struct draft *draft, struct peer_item *item, struct mono now)
{
	static const unsigned flags[KCP_PATH_CLASSES] = {[KCP_PATH_RT] = KCP_PATH_OUT_RT,
		[KCP_PATH_CTL] = KCP_PATH_OUT_RT,
		[KCP_PATH_ACK] = KCP_PATH_OUT_ACK,
		[KCP_PATH_BULK] = KCP_PATH_OUT_BULK,
		[KCP_PATH_LOOSE] = KCP_PATH_OUT_BULK};
	struct model_seg seg = {.conv = item->conv,
		.cmd = item->message ? MODEL_PUSH : MODEL_DGRAM,
		.frg = item->frg,
		.sn = (uint32_t)item->sn,
		.len = item->len,
		.body = item->body};

	if (item->message) {
		struct peer_out_lane *lane = lane_of(peer, item);
		seg.una = (uint32_t)lane->base;
		carry_base(peer, draft, lane, now);
		lane->shown = true;
	}
	add_segment(peer, draft, &seg, now);
	draft->flags |= flags[item->class] | (item->sent ? KCP_PATH_OUT_RESEND : 0);
	struct peer_carried_item *carried = peer_alloc(peer, sizeof(*carried));
	*carried = (struct peer_carried_item){.next = draft->sent->items, .item = item};
	draft->sent->items = carried;
	item->state = PEER_ITEM_FLIES;
	item->sent = true;
	item->pn = peer->next_pn;
}

static void add_items(struct model_peer *peer, struct draft *draft, struct mono now)
{
	unsigned count = 0;
	bool odd = model_chance(&peer->random, 0.1); /* leaves gaps to be filled by the next one */

	for (struct peer_item *item = peer->items; item && count < KCP_PATH_PACK_MAX;
		item = item->next) {
		if (!may_go(peer, item) || left(draft) < MODEL_SEG_BYTES + item->len)
			continue;
		if (odd && count > 0 && model_chance(&peer->random, 0.3))
			continue;
		add_item(peer, draft, item, now);
		count++;
	}
}

static bool items_wait(const struct model_peer *peer)
{
	if (peer->in_flight >= peer->config.window)
		return false;
	for (const struct peer_item *item = peer->items; item; item = item->next)
		if (may_go(peer, item))
			return true;
	return false;
}

static bool fwd_due(const struct model_peer *peer, struct mono now)
{
	for (const struct peer_out_lane *lane = peer->out_lanes; lane; lane = lane->next)
		if (lane->fwd_at <= now.us)
			return true;
	return false;
}

static void add_short(
	struct model_peer *peer, struct draft *draft, uint8_t cmd, uint32_t sn, struct mono now)
{
	if (left(draft) >= MODEL_SEG_BYTES)
		add_segment(peer, draft, &(struct model_seg){.cmd = cmd, .sn = sn}, now);
}

static bool anything(const struct model_peer *peer, struct mono now)
{
	return peer_rack_due(peer, now) || peer->control_count > 0 || peer->wants_probe ||
	       peer->wants_wask || peer->wants_wins || fwd_due(peer, now) || items_wait(peer);
}

/* @return false if nothing can be sent now */
static bool put_out(struct model_peer *peer, struct mono now)
{
	struct draft draft = {0};

	draft.at = peer->io.begin(peer->io.ctx, &draft.room);
	if (!draft.at)
		return false;
	if (draft.room > peer->config.payload_bytes)
		draft.room = peer->config.payload_bytes;
	draft.sent = peer_alloc(peer, sizeof(*draft.sent));
	*draft.sent = (struct peer_sent){.pn = peer->next_pn, .sent_at = now.us};
	if (model_chance(&peer->random, 0.05))
		peer->wnd = (uint16_t)(64 + model_random_below(&peer->random, 400));

	bool rack = peer->asked > 0;
	bool first = model_chance(&peer->random, 0.5);
	if (rack && first)
		add_rack(peer, &draft, now);
	if (peer->wants_probe)
		add_short(peer, &draft, MODEL_PROBE, 1, now);
	if (peer->wants_wask)
		add_short(peer, &draft, MODEL_WASK, 0, now);
	if (peer->wants_wins)
		add_short(peer, &draft, MODEL_WINS, 0, now);
	peer->wants_probe = peer->wants_wask = peer->wants_wins = false;
	add_fwds(peer, &draft, now);
	if (first)
		add_controls(peer, &draft, now);
	if (peer->in_flight < peer->config.window)
		add_items(peer, &draft, now);
	add_controls(peer, &draft, now);
	if (rack && !first)
		add_rack(peer, &draft, now);
	if (draft.len == 0)
		abort(); /* what anything() saw has room in an empty datagram */
	if (draft.asks)
		draft.flags |= KCP_PATH_OUT_ASKS;
	draft.sent->asks = draft.asks;
	uint64_t pn = peer->next_pn++;
	peer_remember_sent(peer, draft.sent);
	peer->io.end(peer->io.ctx, pn, draft.len, draft.flags);
	return true;
}

void model_peer_flush(struct model_peer *peer, struct mono now)
{
	peer->retry_at = INT64_MAX;
	while (anything(peer, now))
		if (!put_out(peer, now)) {
			peer->retry_at = now.us + 10000;
			return;
		}
}
