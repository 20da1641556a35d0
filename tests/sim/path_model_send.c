/*
 * The naive sender's book-keeping: messages cut into items, lanes with their base and charge, what was sent and what became
 * of it. A datagram is lost when a time of its own has passed or when one sent 16 later was acknowledged; nothing here is
 * clever about it, because any answer to "when to send again" keeps the rules.
 */
#include "tests/sim/path_model_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	LATE_US = 3000000, /* a lost datagram is remembered for so long */
	LANE_FREE_US = 30000000,
	LOST_AFTER = 16, /* later ones acknowledged */
};

int64_t peer_pto_us(const struct model_peer *peer)
{
	int64_t pto = 310000;

	if (peer->srtt_us > 0) {
		int64_t a = peer->srtt_us + peer->srtt_us / 2;
		int64_t b = peer->srtt_us + 4 * peer->var_us;
		pto = (a > b ? a : b) + 10000;
	}
	pto <<= peer->backoff;
	return pto > 1000000 ? 1000000 : pto;
}

/* ---- lanes ---------------------------------------------------------------------------------------------------------- */

static void free_idle(struct model_peer *peer, struct mono now)
{
	struct peer_out_lane **lane = &peer->out_lanes;
	struct peer_out_flow **flow = &peer->out_flows;

	while (*lane) {
		struct peer_out_lane *l = *lane;
		if (l->done_at != INT64_MAX && now.us - l->done_at >= LANE_FREE_US &&
			l->dirty_base <= l->acked_base) {
			if (l->next_sn > peer->new_sn)
				peer->new_sn = l->next_sn;
			*lane = l->next;
		} else {
			lane = &l->next;
		}
	}
	while (*flow) {
		struct peer_out_flow *f = *flow;
		if (now.us - f->used_at >= LANE_FREE_US) {
			if (f->next_sn > peer->new_sn)
				peer->new_sn = f->next_sn;
			*flow = f->next;
		} else {
			flow = &f->next;
		}
	}
}

static struct peer_out_lane *out_lane(struct model_peer *peer, uint32_t conv)
{
	struct peer_out_lane *lane = peer->out_lanes;

	while (lane && lane->conv != conv)
		lane = lane->next;
	if (!lane) {
		lane = peer_alloc(peer, sizeof(*lane));
		*lane = (struct peer_out_lane){.next = peer->out_lanes,
			.conv = conv,
			.base = peer->new_sn,
			.next_sn = peer->new_sn,
			.fwd_at = INT64_MAX,
			.done_at = INT64_MAX};
		peer->out_lanes = lane;
	}
	return lane;
}

static bool wholly_acked(const struct peer_message *message)
{
	for (uint32_t i = 0; i < message->pieces; i++)
		if (message->items[i]->state != PEER_ITEM_ACKED)
			return false;
	return true;
}

static void settle_charge(struct model_peer *peer, struct peer_out_lane *lane)
{
	if (lane->dirty_base > lane->acked_base)
		return;
	peer->charged -= lane->held;
	lane->held = 0;
}

static void move_base(struct model_peer *peer, struct peer_out_lane *lane, struct mono now)
{
	struct peer_message *message;

	while ((message = lane->first)) {
		bool acked = wholly_acked(message);
		if (!acked && !message->given_up)
			break;
		lane->base = message->end_sn;
		lane->held += message->cost;
		if (!acked) {
			lane->dirty_base = lane->base;
			if (lane->fwd_at == INT64_MAX)
				lane->fwd_at = now.us + 5000;
		}
		lane->first = message->next;
	}
	/* The base that must be acknowledged is the one that is told from now on. */
	if (lane->dirty_base > lane->acked_base)
		lane->dirty_base = lane->base;
	settle_charge(peer, lane);
	if (!lane->first && lane->done_at == INT64_MAX)
		lane->done_at = now.us;
}

static void move_bases(struct model_peer *peer, struct mono now)
{
	for (struct peer_out_lane *lane = peer->out_lanes; lane; lane = lane->next)
		move_base(peer, lane, now);
}

static void forget_settled_items(struct model_peer *peer)
{
	struct peer_item **item = &peer->items;

	peer->last_item = NULL;
	while (*item) {
		if ((*item)->state == PEER_ITEM_ACKED || (*item)->state == PEER_ITEM_GIVEN_UP) {
			*item = (*item)->next;
		} else {
			peer->last_item = *item;
			item = &(*item)->next;
		}
	}
}

/* ---- messages ------------------------------------------------------------------------------------------------------- */

static struct peer_item *add_item(struct model_peer *peer, const struct peer_item *values)
{
	struct peer_item *item = peer_alloc(peer, sizeof(*item));

	*item = *values;
	if (peer->items)
		peer->last_item->next = item;
	else
		peer->items = item;
	peer->last_item = item;
	return item;
}

static int64_t give_up_at(const struct model_peer *peer, enum kcp_path_class class, int64_t now)
{
	switch (class) {
	case KCP_PATH_RT:
	case KCP_PATH_LOOSE:
		return now + 150000;
	case KCP_PATH_CTL:
		return now + 1000000;
	default:
		break;
	}
	int64_t after = peer->config.bulk_deadline_us;
	if (after == 0)
		after = 4 * peer->srtt_us > 1000000 ? 4 * peer->srtt_us : 1000000;
	return now + after;
}

static int send_dgram(struct model_peer *peer, enum kcp_path_class class, uint32_t conv,
	const uint8_t *body, size_t len, struct mono now)
{
	struct peer_out_flow *flow = peer->out_flows;

	while (flow && flow->conv != conv)
		flow = flow->next;
	if (!flow) {
		flow = peer_alloc(peer, sizeof(*flow));
		*flow = (struct peer_out_flow){
			.next = peer->out_flows, .conv = conv, .next_sn = peer->new_sn};
		peer->out_flows = flow;
	}
	flow->used_at = now.us;
	add_item(peer, &(struct peer_item){.class = class,
			       .conv = conv,
			       .sn = flow->next_sn++,
			       .frg = 0x80,
			       .give_up_at = give_up_at(peer, class, now.us),
			       .len = (uint32_t)len,
			       .body = body});
	return 0;
}

int model_peer_send(struct model_peer *peer, enum kcp_path_class class, uint32_t flow,
	const void *data, size_t len, struct mono now, uint32_t *ret_cut)
{
	uint32_t cut = peer->config.piece_bytes;

	free_idle(peer, now);
	if (class != KCP_PATH_CTL && class != KCP_PATH_BULK && len <= cut) {
		uint8_t *body = peer_alloc(peer, len);
		memcpy(body, data, len);
		*ret_cut = cut;
		return send_dgram(peer, class, flow, body, len, now);
	}
	/* A sender may cut shorter than it must. */
	uint32_t shortest = (uint32_t)((len + KCP_PATH_PIECES_MAX - 1) / KCP_PATH_PIECES_MAX);
	if (shortest > cut)
		return -EMSGSIZE;
	if (model_chance(&peer->random, 0.5) && cut / 2 >= shortest)
		cut = cut / 2 + (uint32_t)model_random_below(&peer->random, cut / 2);
	uint32_t pieces = (uint32_t)((len + cut - 1) / cut);
	uint32_t cost = 0;
	for (uint32_t i = 0; i < pieces; i++) {
		uint32_t piece = i + 1 < pieces ? cut : (uint32_t)len - i * cut;
		cost += (piece + KCP_PATH_CHARGE_BYTES - 1) / KCP_PATH_CHARGE_BYTES *
			KCP_PATH_CHARGE_BYTES;
	}
	if (peer->charged > 0 && peer->charged + cost > peer->limit)
		return -EAGAIN;
	struct peer_out_lane *lane = out_lane(peer, flow);
	if (lane->next_sn + pieces - lane->base > KCP_PATH_SPAN)
		return -EAGAIN;

	struct peer_message *message = peer_alloc(peer, sizeof(*message));
	uint8_t *body = peer_alloc(peer, len);
	memcpy(body, data, len);
	*message = (struct peer_message){.end_sn = lane->next_sn + pieces,
		.cost = cost,
		.pieces = pieces,
		.accepted_at = now.us,
		.class = class,
		.items = peer_alloc(peer, pieces * sizeof(struct peer_item *))};
	for (uint32_t i = 0; i < pieces; i++)
		message->items[i] = add_item(
			peer, &(struct peer_item){.message = message,
				      .class = class,
				      .conv = flow,
				      .sn = lane->next_sn + i,
				      .frg = (uint8_t)((i == 0 ? 0x80 : 0) | (pieces - 1 - i)),
				      .give_up_at = INT64_MAX,
				      .len = i + 1 < pieces ? cut : (uint32_t)len - i * cut,
				      .body = body + (size_t)i * cut});
	if (lane->first) {
		lane->last->next = message;
	} else {
		lane->first = message;
		lane->shown = false;
	}
	lane->last = message;
	lane->next_sn += pieces;
	lane->done_at = INT64_MAX;
	peer->charged += cost;
	*ret_cut = cut;
	return 0;
}

static bool too_long(const struct model_peer *peer, const struct peer_message *message)
{
	if (!peer->mtu_final)
		return false;
	for (uint32_t i = 0; i < message->pieces; i++)
		if (message->items[i]->state != PEER_ITEM_ACKED &&
			message->items[i]->len > peer->config.piece_bytes)
			return true;
	return false;
}

int64_t peer_give_up_at(const struct model_peer *peer)
{
	int64_t first = INT64_MAX;

	for (const struct peer_item *item = peer->items; item; item = item->next) {
		int64_t at = item->give_up_at;
		if (item->message)
			at = give_up_at(peer, item->class, item->message->accepted_at);
		if (at < first)
			first = at;
	}
	return first;
}

/* Gives up what is past its time, or too long for the path. */
void peer_give_up_due(struct model_peer *peer, struct mono now)
{
	bool any = false;

	for (struct peer_out_lane *lane = peer->out_lanes; lane; lane = lane->next)
		for (struct peer_message *m = lane->first; m; m = m->next) {
			if (m->given_up || wholly_acked(m) ||
				(give_up_at(peer, m->class, m->accepted_at) > now.us &&
					!too_long(peer, m)))
				continue;
			m->given_up = true;
			peer->given_up++;
			for (uint32_t i = 0; i < m->pieces; i++)
				if (m->items[i]->state != PEER_ITEM_ACKED)
					m->items[i]->state = PEER_ITEM_GIVEN_UP;
			any = true;
		}
	for (struct peer_item *item = peer->items; item; item = item->next)
		if (!item->message &&
			(item->give_up_at <= now.us ||
				(peer->mtu_final && item->len > peer->config.piece_bytes))) {
			item->state = PEER_ITEM_GIVEN_UP;
			peer->given_up++;
			any = true;
		}
	if (any) {
		forget_settled_items(peer);
		move_bases(peer, now);
	}
}

/* ---- what became of datagrams --------------------------------------------------------------------------------------- */

void peer_remember_sent(struct model_peer *peer, struct peer_sent *sent)
{
	if (peer->sent)
		peer->last_sent->next = sent;
	else
		peer->sent = sent;
	peer->last_sent = sent;
	if (sent->asks)
		peer->in_flight++;
}

static void lose(struct model_peer *peer, struct peer_sent *sent)
{
	if (sent->lost)
		return;
	sent->lost = true;
	if (sent->asks)
		peer->in_flight--;
	for (struct peer_carried_item *c = sent->items; c; c = c->next) {
		struct peer_item *item = c->item;
		if (item->state != PEER_ITEM_FLIES || item->pn != sent->pn)
			continue;
		if (!item->message && item->class == KCP_PATH_ACK)
			item->state = PEER_ITEM_GIVEN_UP; /* never sent again */
		else
			item->state = PEER_ITEM_WAITS;
	}
}

static void acknowledge(struct model_peer *peer, struct peer_sent *sent)
{
	if (!sent->lost && sent->asks)
		peer->in_flight--;
	for (struct peer_carried_item *c = sent->items; c; c = c->next)
		if (c->item->state != PEER_ITEM_GIVEN_UP)
			c->item->state = PEER_ITEM_ACKED;
	for (struct peer_carried_base *c = sent->bases; c; c = c->next)
		for (struct peer_out_lane *lane = peer->out_lanes; lane; lane = lane->next)
			if (lane->conv == c->conv && c->base > lane->acked_base &&
				c->base <= lane->base) {
				lane->acked_base = c->base;
				if (lane->acked_base >= lane->dirty_base)
					lane->fwd_at = INT64_MAX;
			}
}

static void sample_rtt(struct model_peer *peer, int64_t rtt)
{
	if (rtt < 1)
		rtt = 1;
	if (peer->srtt_us == 0) {
		peer->srtt_us = rtt;
		peer->var_us = rtt / 2;
		return;
	}
	peer->var_us += (llabs(peer->srtt_us - rtt) - peer->var_us) / 4;
	peer->srtt_us += (rtt - peer->srtt_us) / 8;
}

void peer_take_rack(struct model_peer *peer, const struct model_rack *rack, struct mono now)
{
	struct peer_sent **at = &peer->sent;
	uint64_t newest = 0;
	bool any = false;

	if (rack->largest >= peer->next_pn)
		return;
	while (*at) {
		struct peer_sent *sent = *at;
		if (model_rack_lists(rack->received, rack->received_count, sent->pn) ||
			model_rack_lists(rack->rebuilt, rack->rebuilt_count, sent->pn)) {
			acknowledge(peer, sent);
			/* A delay that is as long as can be told tells nothing. */
			if (sent->asks && sent->pn == rack->largest && rack->delay < UINT16_MAX)
				sample_rtt(peer, now.us - sent->sent_at - rack->delay * 16);
			newest = sent->pn;
			any = true;
			*at = sent->next;
		} else if (sent->lost && now.us - sent->sent_at > LATE_US) {
			*at = sent->next;
		} else {
			at = &sent->next;
		}
	}
	peer->last_sent = NULL;
	for (struct peer_sent *sent = peer->sent; sent; sent = sent->next) {
		if (any && sent->pn + LOST_AFTER <= newest)
			lose(peer, sent);
		peer->last_sent = sent;
	}
	if (any)
		peer->backoff = 0;
	forget_settled_items(peer);
	move_bases(peer, now);
}

void peer_lose_due(struct model_peer *peer, struct mono now)
{
	bool any = false;

	for (struct peer_sent *sent = peer->sent; sent; sent = sent->next)
		if (!sent->lost && sent->sent_at + peer_pto_us(peer) <= now.us) {
			any = any || sent->asks;
			lose(peer, sent);
		}
	if (!any)
		return;
	if (peer->backoff < 4)
		peer->backoff++;
	peer->wants_probe = model_chance(&peer->random, 0.2);
	forget_settled_items(peer);
}
