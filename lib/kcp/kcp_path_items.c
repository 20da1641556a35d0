/*
 * Items: the pieces and unordered messages that wait to be sent, fly, are acknowledged, lost or given up.
 *
 * Queues hold references, not items. A reference goes stale when its item is settled meanwhile; it is recognised when it
 * comes to the front, so nothing is ever searched for. An item stands in a queue at most once (its `waits` mark), and what a
 * lost datagram carried is queued again only if that datagram was the item's last transmission.
 *
 * A datagram that arrives late, after it was declared lost, still settles what it carried.
 *
 * Deadlines: a lane's oldest message is what keeps its base, so lanes are swept by that; a message behind it is judged
 * when it becomes the oldest, or when one of its pieces would be sent again.
 */
#include "kcp/kcp_path_state.h"

#include "core/pool.h"

static struct kcp_lane *lane_of(const struct kcp_path *path, uint32_t id)
{
	return kcp_table_find(&path->lanes, id);
}

/* ---- lanes ------------------------------------------------------------------------------------------------------ */

void kcp_path_lane_changed(struct kcp_path *path, struct kcp_lane *lane, uint64_t returned)
{
	path->charged_bytes -= returned;
	if (kcp_lane_span(lane) == 0)
		list_remove(&lane->active);
	else if (!list_linked(&lane->active))
		list_add_tail(&path->active, &lane->active);
	if (!lane->edge_open) {
		list_remove(&lane->forward);
	} else {
		if (list_empty(&path->forward))
			path->forward_at = MONO_NEVER;
		if (!list_linked(&lane->forward))
			list_add_tail(&path->forward, &lane->forward);
		path->forward_at = mono_min(path->forward_at, lane->fwd_at);
	}
}

void kcp_path_give_up(struct kcp_path *path, struct kcp_lane *lane, uint32_t sn, uint64_t *counter,
	struct mono now)
{
	uint32_t before = lane->sender.unacked;
	uint64_t returned = kcp_lane_give_up(lane, path->config.pool, sn, now);

	(*counter)++;
	path->tx_slots -= before - lane->sender.unacked;
	kcp_path_lane_changed(path, lane, returned);
}

void kcp_path_rest_bases(struct kcp_path *path)
{
	list_for_each (node, &path->forward) {
		list_entry(node, struct kcp_lane, forward)->fwd_at = MONO_NEVER;
		path->forward_tired = true;
	}
	path->forward_at = MONO_NEVER;
}

void kcp_path_wake_bases(struct kcp_path *path, struct mono now)
{
	if (!path->forward_tired)
		return;
	path->forward_tired = false;
	path->forward_at = now;
	list_for_each (node, &path->forward)
		kcp_lane_wake(list_entry(node, struct kcp_lane, forward), now);
}

void kcp_path_expire(struct kcp_path *path, struct mono now)
{
	uint32_t slots;

	if (mono_due(kcp_dgram_out_expires(&path->dgrams), now)) {
		slots = kcp_dgram_out_expire(&path->dgrams, path->config.pool, now);
		path->tx_slots -= slots;
		path->stats.expired_messages += slots;
	}
	if (!mono_due(path->expire_at, now))
		return;
	path->expire_at = MONO_NEVER;
	list_for_each_safe (node, &path->active) {
		struct kcp_lane *lane = list_entry(node, struct kcp_lane, active);
		while (kcp_lane_span(lane) > 0) {
			uint32_t base = lane->sender.una;
			struct mono expires = kcp_sender_at(&lane->sender, base)->expires;
			if (!mono_due(expires, now)) {
				path->expire_at = mono_min(path->expire_at, expires);
				break;
			}
			kcp_path_give_up(path, lane, base, &path->stats.expired_messages, now);
		}
	}
}

/* ---- what became of a datagram ---------------------------------------------------------------------------------- */

static void settle_dgram(struct kcp_path *path, struct kcp_dgram *dgram)
{
	kcp_dgram_out_settle(&path->dgrams, path->config.pool, dgram);
	path->tx_slots--;
}

/* The peer has what `pn` carried. */
static void settle_refs(
	struct kcp_path *path, uint64_t pn, const struct kcp_sent_record *record, struct mono now)
{
	for (uint32_t i = 0; i < record->ref_count; i++) {
		const struct kcp_ref *ref = kcp_refs_at(&path->sent.refs, record->ref_first + i);
		if (ref->kind == KCP_REF_DGRAM) {
			struct kcp_dgram *dgram = kcp_dgram_out_find(&path->dgrams, ref->sn);
			if (dgram)
				settle_dgram(path, dgram);
			continue;
		}
		struct kcp_lane *lane = lane_of(path, ref->lane);
		if (!lane)
			continue;
		uint64_t returned = kcp_lane_confirmed(lane, pn);
		if (ref->kind == KCP_REF_PUSH) {
			uint32_t before = lane->sender.unacked;
			returned += kcp_lane_ack(lane, path->config.pool, ref->sn, now);
			path->tx_slots -= before - lane->sender.unacked;
		}
		kcp_path_lane_changed(path, lane, returned);
	}
}

static void tell_fate(
	struct kcp_path *path, uint64_t pn, const struct kcp_sent_record *record, bool lost)
{
	if (path->io.fate && (record->flags & KCP_SENT_ASKS) &&
		!(record->flags & KCP_SENT_UNCOUNTED))
		path->io.fate(path->io.ctx, pn, record->bytes - KCP_BUDGET_WIRE_BYTES, lost);
}

static void on_acked(void *ctx, uint64_t pn, struct kcp_sent_record *record)
{
	const struct kcp_path_moment *moment = ctx;
	struct kcp_path *path = moment->path;

	path->stats.acked_datagrams++;
	if (record->ref_count > 0) {
		path->lost_row = 0;
		path->carried++;
	}
	tell_fate(path, pn, record, false);
	if (record->flags & KCP_SENT_LOST)
		path->stats.late_acks++;
	if ((record->flags & KCP_SENT_ASKS) && !(record->flags & KCP_SENT_UNCOUNTED) &&
		pn >= path->sent.route_pn &&
		mono_diff_us(moment->now, record->at) <= KCP_SENT_RTT_MAX_US)
		kcp_budget_acked(&path->budget, &record->flight, record->bytes,
			(record->flags & KCP_SENT_LOST) != 0, moment->now);
	if (!(record->flags & KCP_SENT_REBUILT))
		settle_refs(path, pn, record, moment->now);
}

static void on_rebuilt(void *ctx, uint64_t pn, struct kcp_sent_record *record)
{
	const struct kcp_path_moment *moment = ctx;

	moment->path->stats.repaired_datagrams++;
	settle_refs(moment->path, pn, record, moment->now);
}

/* Puts an item back into its queue; out of memory it waits for its deadline. */
static void queue_again(
	struct kcp_path *path, enum kcp_path_class class, struct kcp_ref ref, bool *waits)
{
	*waits = kcp_refs_push(&path->queues.again[class], ref);
}

static void on_lost(void *ctx, uint64_t pn, struct kcp_sent_record *record)
{
	const struct kcp_path_moment *moment = ctx;
	struct kcp_path *path = moment->path;

	if (record->flags & KCP_SENT_UNCOUNTED)
		return;
	if (record->ref_count > 0)
		path->lost_row++;
	if (record->flags & KCP_SENT_ASKS)
		path->stats.lost_datagrams++;
	else
		path->stats.lost_quiet++;
	tell_fate(path, pn, record, true);
	if ((record->flags & KCP_SENT_ASKS) && pn >= path->sent.route_pn)
		kcp_budget_lost(&path->budget, &record->flight, record->bytes);
	if (record->flags & KCP_SENT_REBUILT)
		return;
	for (uint32_t i = 0; i < record->ref_count; i++) {
		struct kcp_ref ref = *kcp_refs_at(&path->sent.refs, record->ref_first + i);
		bool waits = false;
		if (ref.kind == KCP_REF_DGRAM) {
			struct kcp_dgram *dgram = kcp_dgram_out_find(&path->dgrams, ref.sn);
			if (dgram && dgram->pn == pn && !dgram->waits)
				queue_again(path, dgram->class, ref, &dgram->waits);
		} else if (ref.kind == KCP_REF_PUSH) {
			struct kcp_lane *lane = lane_of(path, ref.lane);
			struct kcp_tx *tx = lane ? kcp_lane_piece(lane, ref.sn) : NULL;
			if (!tx || tx->pn != pn || (tx->flags & KCP_TX_WAITS))
				continue;
			queue_again(path, kcp_lane_head(lane, ref.sn, tx)->class, ref, &waits);
			if (waits)
				tx->flags |= KCP_TX_WAITS;
		}
	}
}

const struct kcp_sent_events kcp_path_sent_events = {
	.acked = on_acked,
	.rebuilt = on_rebuilt,
	.lost = on_lost,
};

void kcp_path_detect(struct kcp_path *path, struct mono now)
{
	struct kcp_path_moment moment = {path, now};

	kcp_sent_detect(&path->sent, &kcp_path_sent_events, &moment, now);
}

void kcp_path_take_rack(
	struct kcp_path *path, uint64_t pn, const uint8_t *body, size_t len, struct mono now)
{
	struct kcp_path_moment moment = {path, now};
	struct kcp_rack rack;

	if (!kcp_rack_read(body, len, &rack)) {
		path->stats.skip_rack++;
		return;
	}
	if (rack.largest >= path->sent.next) {
		path->stats.skip_rack_ahead++;
		return;
	}
	path->stats.racks_received++;
	if (!path->rack_any || pn > path->rack_pn) {
		uint32_t marked = (rack.ce - path->rack_ce) & KCP_RACK_CE_MASK;
		path->stats.ce_reported += marked;
		kcp_budget_marked(&path->budget, marked);
		path->rack_ce = rack.ce;
		path->rack_pn = pn;
		path->rack_any = true;
	}
	kcp_sent_rack(&path->sent, &rack, &kcp_path_sent_events, &moment, now);
	kcp_path_detect(path, now);
	kcp_budget_update(&path->budget, path->sent.sample_us, path->sent.flying_bytes, now);
	path->sent.min_rtt_us = kcp_budget_min_rtt_us(&path->budget);
}

/* ---- queues ----------------------------------------------------------------------------------------------------- */

enum item {
	ITEM_STALE,
	ITEM_PARK,
	ITEM_GOOD,
};

static enum item judge_dgram(
	struct kcp_path *path, const struct kcp_ref *ref, uint32_t *ret_len, struct mono now)
{
	struct kcp_dgram *dgram = kcp_dgram_out_find(&path->dgrams, ref->sn);

	if (!dgram || !dgram->waits)
		return ITEM_STALE;
	/* What is sent again must be able to arrive in time. */
	if (dgram->sent && mono_due(dgram->expires, mono_add_us(now, path->sent.srtt_us / 2))) {
		path->stats.expired_messages++;
		settle_dgram(path, dgram);
		return ITEM_STALE;
	}
	*ret_len = dgram->len;
	if (KCP_OVERHEAD_BYTES + *ret_len <= path->config.payload_bytes)
		return ITEM_GOOD;
	if (!path->mtu_final)
		return ITEM_PARK;
	path->stats.too_long_messages++;
	settle_dgram(path, dgram);
	return ITEM_STALE;
}

static enum item judge_piece(
	struct kcp_path *path, const struct kcp_ref *ref, uint32_t *ret_len, struct mono now)
{
	struct kcp_lane *lane = lane_of(path, ref->lane);
	struct kcp_tx *tx = lane ? kcp_lane_piece(lane, ref->sn) : NULL;

	if (!tx || !(tx->flags & KCP_TX_WAITS))
		return ITEM_STALE;
	if (mono_due(kcp_lane_head(lane, ref->sn, tx)->expires, now)) {
		kcp_path_give_up(path, lane, ref->sn, &path->stats.expired_messages, now);
		return ITEM_STALE;
	}
	*ret_len = tx->len;
	if (KCP_OVERHEAD_BYTES + *ret_len <= path->config.payload_bytes)
		return ITEM_GOOD;
	if (!path->mtu_final)
		return ITEM_PARK;
	kcp_path_give_up(path, lane, ref->sn, &path->stats.too_long_messages, now);
	return ITEM_STALE;
}

/* Out of memory an item that must be parked stands in no queue: it waits for its deadline, and holds up nothing behind it. */
static void stop_waiting(struct kcp_path *path, const struct kcp_ref *ref)
{
	if (ref->kind == KCP_REF_DGRAM) {
		kcp_dgram_out_find(&path->dgrams, ref->sn)->waits = false;
		return;
	}
	kcp_lane_piece(lane_of(path, ref->lane), ref->sn)->flags &= (uint8_t)~KCP_TX_WAITS;
}

static struct kcp_refs *queue_with(struct kcp_path *path, enum kcp_path_class class)
{
	struct kcp_refs *again = &path->queues.again[class];

	return kcp_refs_count(again) > 0 ? again : &path->queues.fresh[class];
}

bool kcp_path_front(struct kcp_path *path, enum kcp_path_class class, struct kcp_ref *ret_ref,
	uint32_t *ret_len, struct mono now)
{
	for (;;) {
		struct kcp_refs *queue = queue_with(path, class);
		if (kcp_refs_count(queue) == 0)
			return false;
		struct kcp_ref ref = *kcp_refs_at(queue, queue->first);
		enum item item = ref.kind == KCP_REF_DGRAM ? judge_dgram(path, &ref, ret_len, now)
							   : judge_piece(path, &ref, ret_len, now);
		if (item == ITEM_GOOD) {
			*ret_ref = ref;
			return true;
		}
		if (item == ITEM_PARK && !kcp_refs_push(&path->queues.parked, ref))
			stop_waiting(path, &ref);
		kcp_path_pop(path, class);
	}
}

uint32_t kcp_path_front_len(const struct kcp_path *path, enum kcp_path_class class)
{
	const struct kcp_refs *again = &path->queues.again[class];
	const struct kcp_refs *queue =
		kcp_refs_count(again) > 0 ? again : &path->queues.fresh[class];

	return kcp_refs_count(queue) > 0 ? kcp_refs_at(queue, queue->first)->len : 0;
}

void kcp_path_unpark(struct kcp_path *path, struct kcp_ref ref)
{
	bool waits = true;

	if (ref.kind == KCP_REF_DGRAM) {
		struct kcp_dgram *dgram = kcp_dgram_out_find(&path->dgrams, ref.sn);
		if (dgram)
			queue_again(path, dgram->class, ref, &dgram->waits);
		return;
	}
	struct kcp_lane *lane = lane_of(path, ref.lane);
	struct kcp_tx *tx = lane ? kcp_lane_piece(lane, ref.sn) : NULL;
	if (!tx)
		return;
	queue_again(path, kcp_lane_head(lane, ref.sn, tx)->class, ref, &waits);
	if (!waits)
		tx->flags &= (uint8_t)~KCP_TX_WAITS;
}

void kcp_path_pop(struct kcp_path *path, enum kcp_path_class class)
{
	struct kcp_refs *queue = queue_with(path, class);

	if (queue == &path->queues.fresh[class])
		path->queues.fresh_bytes[class] -=
			kcp_refs_at(queue, queue->first)->len + (uint64_t)KCP_OVERHEAD_BYTES;
	queue->first++;
}
