/*
 * The composition of the native half:
 *
 *	kcp_path_items   what waits, flies, is settled     kcp_path_input  datagrams in
 *	kcp_path_flush   what leaves, and when             kcp_path_write  datagrams being filled
 *	kcp_path_gate    what may go                       kcp_segment     the wire
 *	kcp_lane         a lane's sending side             kcp_lane_in     its receiving side
 *	kcp_dgram        unordered messages, both          kcp_ready       whole messages for the reader
 *	kcp_sent         numbers sent, loss, times         kcp_seen        numbers seen, when to report
 *	kcp_rack         the report's bytes                kcp_grant       what the peer is allowed
 *	kcp_budget       what may fly (kcp_lt)             kcp_table       records by lane
 *
 * Numbers are found lost here, not lanes: a lane only orders. There is no periodic work; every wait is a deadline, and a path
 * that has nothing in flight, nothing to tell and nothing to give up has none. Lanes that fell idle are freed by
 * kcp_path_trim() or when new ones are made; that they are freed late is harmless, early it would not be. The sender keeps a lane
 * longer than the receiver does, so a lane made anew meets no old state; besides it begins above all numbers that any freed one
 * had, but numbers are circular and "above" ends after 2^31 of them, so that alone would not do.
 *
 * Invariants: a slot belongs to one item, one held piece or one waiting message; tx_slots counts the first; charged_bytes is
 * the sum over lanes; an item that waits stands in one queue once.
 */
#include "kcp/kcp_path.h"

#include "core/pool.h"
#include "kcp/kcp_path_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	FILL_PIECES_LEAST = 8,	/* of a message whose first may be shorter than the others, */
	FILL_BYTES_LEAST = 128, /* but not below this */
	LANES_SWEEP =
		64, /* lanes; from then on the freeing of idle ones is tried when one is made */
};

static bool sizes_valid(const struct kcp_path_config *config)
{
	return config->payload_bytes >= KCP_PATH_PAYLOAD_LEAST_BYTES &&
	       config->payload_bytes <= UINT16_MAX &&
	       config->piece_bytes >= KCP_PATH_PIECE_LEAST_BYTES &&
	       config->piece_bytes + KCP_OVERHEAD_BYTES <= config->payload_bytes &&
	       config->piece_bytes <= config->pool->slot_bytes;
}

static void init_queues(struct kcp_path *path)
{
	for (int i = 0; i < KCP_PATH_CLASSES; i++) {
		kcp_refs_init(&path->queues.again[i]);
		kcp_refs_init(&path->queues.fresh[i]);
		path->queues.fresh_bytes[i] = 0;
	}
	kcp_refs_init(&path->queues.parked);
}

int kcp_path_new(const struct kcp_path_config *config, const struct kcp_path_io *io,
	struct kcp_path **ret_path)
{
	struct kcp_path *path;

	if (!config->pool || !sizes_valid(config) || config->recv_message_max_bytes == 0 ||
		config->send_message_max_bytes == 0 || config->bulk_deadline_us < 0 ||
		(config->rx_slots_max && config->rx_slots_max < KCP_PATH_RX_SLOTS_LEAST) ||
		(config->tx_slots_max && config->tx_slots_max < KCP_PATH_TX_SLOTS_LEAST) ||
		!io->begin || !io->end || !io->control_check || !io->control)
		return -EINVAL;
	path = calloc(1, sizeof(*path));
	if (!path)
		return -ENOMEM;
	path->config = *config;
	path->io = *io;
	path->lender = (struct kcp_lender){io->loan_over, io->ctx};
	if (!config->rx_slots_max)
		path->config.rx_slots_max = KCP_PATH_RX_SLOTS;
	if (!config->tx_slots_max)
		path->config.tx_slots_max = KCP_PATH_TX_SLOTS;
	path->mtu_final = true;
	kcp_sent_init(&path->sent);
	kcp_path_init_budget(path);
	kcp_dgram_out_init(&path->dgrams);
	init_queues(path);
	list_init(&path->active);
	list_init(&path->forward);
	path->expire_at = MONO_NEVER;
	path->forward_at = MONO_NEVER;
	path->hungry_until = mono_at_us(INT64_MIN / 2);
	path->peer_grant_bytes = config->peer_credit_bytes;
	if (path->peer_grant_bytes < KCP_PATH_GRANT_MIN_BYTES)
		path->peer_grant_bytes = KCP_PATH_GRANT_MIN_BYTES;
	kcp_seen_init(&path->seen);
	kcp_grant_init(&path->grant, config->rx_credit_bytes);
	kcp_ready_init(&path->ready);
	list_init(&path->in.holed);
	path->in.pool = config->pool;
	path->in.ready = &path->ready;
	path->in.message_max_bytes = config->recv_message_max_bytes;
	path->piece_cost_bytes = KCP_PATH_CHARGE_BYTES;
	path->crowded_at = mono_at_us(INT64_MIN / 2);
	*ret_path = path;
	return 0;
}

static void free_lanes(struct kcp_path *path)
{
	struct kcp_lane *lane;
	struct kcp_lane_in *lane_in;
	uint32_t i = 0;

	while ((lane = kcp_table_next(&path->lanes, &i)) != NULL)
		kcp_lane_free(lane, path->config.pool);
	kcp_table_free(&path->lanes);
	i = 0;
	while ((lane_in = kcp_table_next(&path->lanes_in, &i)) != NULL)
		kcp_lane_in_free(lane_in, &path->in);
	kcp_table_free(&path->lanes_in);
}

static void free_queues(struct kcp_path *path)
{
	for (int i = 0; i < KCP_PATH_CLASSES; i++) {
		kcp_refs_fini(&path->queues.again[i]);
		kcp_refs_fini(&path->queues.fresh[i]);
		path->queues.fresh_bytes[i] = 0;
	}
	kcp_refs_fini(&path->queues.parked);
}

/* Drops all that belongs to an instance. */
static void drop_all(struct kcp_path *path)
{
	free_lanes(path);
	free_queues(path);
	kcp_dgram_out_fini(&path->dgrams, path->config.pool);
	kcp_dgram_in_fini(&path->dgrams_in);
	kcp_ready_fini(&path->ready, path->config.pool);
	kcp_sent_reset(&path->sent);
	free(path->control);
	path->control = NULL;
	path->control_bytes = 0;
	path->tx_slots = 0;
	path->charged_bytes = 0;
}

void kcp_path_free(struct kcp_path *path)
{
	if (!path)
		return;
	drop_all(path);
	free(path);
}

void kcp_path_restart(struct kcp_path *path, uint32_t rx_credit_bytes, uint32_t peer_credit_bytes)
{
	drop_all(path);
	path->expire_at = MONO_NEVER;
	path->forward_at = MONO_NEVER;
	path->start_sn = 0;
	path->forward_tired = false;
	path->peer_grant_bytes = peer_credit_bytes;
	if (path->peer_grant_bytes < KCP_PATH_GRANT_MIN_BYTES)
		path->peer_grant_bytes = KCP_PATH_GRANT_MIN_BYTES;
	path->peer_told = false;
	path->wask = false;
	path->wins = false;
	path->probe = false;
	path->hungry_until = mono_at_us(INT64_MIN / 2);
	path->await_pace = false;
	path->await_exempt = false;
	path->blocked_us = 0;
	path->rack_any = false;
	path->rack_ce = 0;
	/* who comes back after an outage or a restart may do so by another way; kcp_path_resume() if not */
	kcp_path_init_budget(path);
	kcp_budget_hint_rtt(&path->budget, path->sent.srtt_us);
	kcp_seen_init(&path->seen);
	kcp_grant_init(&path->grant, rx_credit_bytes);
}

/* ---- sending ---------------------------------------------------------------------------------------------------- */

/* Frees lanes that are past their time. @return when the next can be */
static struct mono trim_lanes(struct kcp_path *path, struct mono now)
{
	struct mono next = MONO_NEVER;
	struct kcp_lane *lane;
	uint32_t i = 0;

	while ((lane = kcp_table_next(&path->lanes, &i)) != NULL) {
		struct mono free_at = mono_add_us(lane->idle_at, KCP_LANE_IDLE_US);
		if (kcp_lane_span(lane) > 0 || lane->edge_open)
			continue; /* the peer may hold pieces that only this base gives up */
		if (!mono_due(free_at, now)) {
			kcp_ring_free(&lane->sender.ring);
			next = mono_min(next, free_at);
			continue;
		}
		if (kcp_sn_before(path->start_sn, lane->sender.nxt))
			path->start_sn = lane->sender.nxt;
		path->charged_bytes -= lane->charged_bytes;
		kcp_table_remove(&path->lanes, &lane->entry);
		kcp_lane_free(lane, path->config.pool);
		i--;
	}
	if (path->lanes.count == 0)
		kcp_table_free(&path->lanes);
	return next;
}

static struct mono trim_lanes_in(struct kcp_path *path, struct mono now)
{
	struct mono next = MONO_NEVER;
	struct kcp_lane_in *lane;
	uint32_t i = 0;

	while ((lane = kcp_table_next(&path->lanes_in, &i)) != NULL) {
		struct mono free_at = mono_add_us(lane->seen_at, KCP_LANE_IN_IDLE_US);
		if (lane->held > 0)
			continue; /* it was reported: only the peer's base gives it up */
		if (!mono_due(free_at, now)) {
			kcp_lane_in_fit(lane, &path->in);
			next = mono_min(next, free_at);
			continue;
		}
		kcp_table_remove(&path->lanes_in, &lane->entry);
		kcp_lane_in_free(lane, &path->in);
		i--;
	}
	if (path->lanes_in.count == 0)
		kcp_table_free(&path->lanes_in);
	return next;
}

static struct kcp_lane *lane_for(struct kcp_path *path, uint32_t id, struct mono now)
{
	struct kcp_lane *lane = kcp_table_find(&path->lanes, id);

	if (lane)
		return lane;
	lane = kcp_lane_new(id, path->start_sn, &path->lender, now);
	if (!lane)
		return NULL;
	if (!kcp_table_add(&path->lanes, &lane->entry)) {
		kcp_lane_free(lane, path->config.pool);
		return NULL;
	}
	return lane;
}

static int64_t life_us(const struct kcp_path *path, enum kcp_path_class class)
{
	int64_t bulk_us = path->config.bulk_deadline_us;

	switch (class) {
	case KCP_PATH_RT:
	case KCP_PATH_ACK:
	case KCP_PATH_LOOSE:
		return KCP_DGRAM_LIFE_US;
	case KCP_PATH_CTL:
		return KCP_PATH_CTL_LIFE_US;
	case KCP_PATH_BULK:
	case KCP_PATH_CLASSES:
		break;
	}
	if (bulk_us == 0) {
		bulk_us = 4 * path->sent.srtt_us;
		if (bulk_us < KCP_PATH_BULK_LIFE_US)
			bulk_us = KCP_PATH_BULK_LIFE_US;
	}
	return bulk_us;
}

static int send_dgram(struct kcp_path *path, enum kcp_path_class class, uint32_t flow,
	const void *data, size_t len, struct mono now)
{
	struct kcp_refs *queue = &path->queues.fresh[class];
	uint32_t serial;
	int err;

	if (!kcp_refs_reserve(queue, 1))
		return -ENOMEM;
	err = kcp_dgram_out_push(&path->dgrams, path->config.pool, flow, (uint8_t) class,
		path->start_sn, data, len, now, &serial);
	if (err < 0)
		return err;
	kcp_refs_push(queue, (struct kcp_ref){.kind = KCP_REF_DGRAM,
				     .sn = serial,
				     .len = (uint16_t)len,
				     .mark = path->mark});
	path->queues.fresh_bytes[class] += KCP_OVERHEAD_BYTES + len;
	path->tx_slots++;
	return 0;
}

/* What the last datagram of BULK has left when a piece of `len` joined it, or begins the next. */
static void note_tail(struct kcp_path *path, uint32_t len)
{
	struct kcp_path_queues *queues = &path->queues;
	uint32_t bytes = KCP_OVERHEAD_BYTES + len;

	if (kcp_refs_count(&queues->fresh[KCP_PATH_BULK]) == 0 || queues->tail_room < bytes)
		queues->tail_room =
			path->config.payload_bytes > bytes ? path->config.payload_bytes - bytes : 0;
	else
		queues->tail_room -= bytes;
}

/*
 * How long the first piece of a message is. One that follows another of its class at once fills what that one's end leaves free, so
 * that datagrams are full, and of one length, as far as there is anything: such a row costs the host as much as one of them.
 */
static uint32_t first_piece(
	const struct kcp_path *path, enum kcp_path_class class, uint32_t pieces, size_t len)
{
	const struct kcp_path_queues *queues = &path->queues;
	uint32_t piece_bytes = path->config.piece_bytes;
	uint32_t room = queues->tail_room;

	if (class != KCP_PATH_BULK || pieces < FILL_PIECES_LEAST || pieces >= KCP_PATH_PIECES_MAX ||
		kcp_refs_count(&queues->fresh[class]) == 0 ||
		room < KCP_OVERHEAD_BYTES + FILL_BYTES_LEAST)
		return piece_bytes;
	room -= KCP_OVERHEAD_BYTES;
	if (room >= piece_bytes || path->charged_bytes + kcp_lane_cost_bytes(room, piece_bytes) +
						   kcp_lane_cost_bytes(len - room, piece_bytes) >
					   path->peer_grant_bytes)
		return piece_bytes;
	return room;
}

/* Puts the pieces of a message into their queue, which has room for them. */
static void queue_pieces(struct kcp_path *path, struct kcp_lane *lane, enum kcp_path_class class,
	uint32_t first, uint32_t count)
{
	struct kcp_refs *queue = &path->queues.fresh[class];
	const struct kcp_tx *head = kcp_sender_at(&lane->sender, first);

	for (uint32_t i = 0; i < count; i++) {
		uint16_t piece_len = kcp_sender_at(&lane->sender, first + i)->len;
		if (class == KCP_PATH_BULK)
			note_tail(path, piece_len);
		kcp_refs_push(queue, (struct kcp_ref){.kind = KCP_REF_PUSH,
					     .lane = (uint16_t)lane->entry.id,
					     .sn = first + i,
					     .len = piece_len,
					     .mark = path->mark});
		path->queues.fresh_bytes[class] += KCP_OVERHEAD_BYTES + (uint64_t)piece_len;
	}
	path->tx_slots += count;
	path->charged_bytes += head->cost_bytes;
	path->expire_at = mono_min(path->expire_at, head->expires);
	kcp_path_lane_changed(path, lane, 0);
}

/* @loan  NULL: copies */
static int send_pieces(struct kcp_path *path, enum kcp_path_class class, uint32_t flow, void *data,
	size_t len, void *loan, struct mono now)
{
	uint32_t piece_bytes = path->config.piece_bytes;
	struct mono expires = mono_add_us(now, life_us(path, class));
	struct kcp_lane *lane = lane_for(path, flow, now);
	uint32_t most = (uint32_t)((len + piece_bytes - 1) / piece_bytes);
	uint32_t head_bytes = loan ? first_piece(path, class, most, len) : piece_bytes;
	uint32_t first;
	int pieces;

	most += head_bytes < piece_bytes;
	if (!lane || !kcp_refs_reserve(&path->queues.fresh[class], most))
		return -ENOMEM;
	if (kcp_lane_span(lane) + most > KCP_PATH_SPAN) {
		path->stats.again_span++;
		return -EAGAIN;
	}
	if (loan)
		pieces = kcp_lane_lend(lane, head_bytes, piece_bytes, (uint8_t) class, expires,
			data, len, loan, &first);
	else
		pieces = kcp_lane_push(lane, path->config.pool, piece_bytes, (uint8_t) class,
			expires, data, len, &first);
	if (pieces < 0)
		return pieces;
	queue_pieces(path, lane, class, first, (uint32_t)pieces);
	return 0;
}

/* Whether a message may be taken now. @return 0 or the reason */
static int check_send(struct kcp_path *path, enum kcp_path_class class, uint32_t flow, size_t len,
	struct mono now)
{
	if (len == 0 || flow >= KCP_PATH_LANES || class >= KCP_PATH_CLASSES)
		return -EINVAL;
	if (len > path->config.send_message_max_bytes ||
		len > (size_t)path->config.piece_bytes * KCP_PATH_PIECES_MAX)
		return -EMSGSIZE;
	if (!kcp_path_room(path, class, len, now))
		return -EAGAIN;
	if (path->lanes.count >= LANES_SWEEP &&
		mono_due(mono_add_us(path->swept_at, KCP_PATH_SWEEP_US), now)) {
		path->swept_at = now;
		trim_lanes(path, now);
	}
	return 0;
}

/* @data  not written to; not const because a lent message is kept as what it is */
static int take(struct kcp_path *path, enum kcp_path_class class, uint32_t flow, void *data,
	size_t len, void *loan, struct mono now)
{
	bool alone = kcp_path_unordered(class) && len <= path->config.piece_bytes;
	int err = check_send(path, class, flow, len, now);

	if (err < 0)
		return err;
	err = alone ? send_dgram(path, class, flow, data, len, now)
		    : send_pieces(path, class, flow, data, len, loan, now);
	if (err < 0)
		return err;
	if (alone && loan)
		path->lender.over(path->lender.ctx, loan);
	path->stats.sent_messages++;
	path->stats.sent_bytes += len;
	return 0;
}

int kcp_path_send(struct kcp_path *path, enum kcp_path_class class, uint32_t flow, const void *data,
	size_t len, struct mono now)
{
	return take(path, class, flow, (void *)(uintptr_t)data, len, NULL, now);
}

int kcp_path_lend(struct kcp_path *path, enum kcp_path_class class, uint32_t flow, void *data,
	size_t len, void *loan, struct mono now)
{
	return take(path, class, flow, data, len, loan, now);
}

uint64_t kcp_path_take_pn(
	struct kcp_path *path, enum kcp_path_extra extra, size_t bytes, struct mono now)
{
	struct kcp_path_moment moment = {path, now};
	uint32_t charged = (uint32_t)bytes + KCP_BUDGET_WIRE_BYTES;
	uint64_t pn = path->sent.next;
	uint64_t flying_bytes = path->sent.flying_bytes;
	bool exempt = extra == KCP_PATH_EXTRA_REPAIR && !kcp_path_gate_open(path, now);
	unsigned flags = 0;

	path->stats.out_datagrams++;
	path->stats.out_bytes += bytes;
	if (bytes > 0 && extra != KCP_PATH_EXTRA_REPAIR) /* its headers tell the grant of now */
		kcp_grant_told(&path->grant, kcp_path_own_grant(path));
	if (extra == KCP_PATH_EXTRA_ASKS || extra == KCP_PATH_EXTRA_REPAIR)
		flags = KCP_SENT_ASKS | KCP_SENT_FLIES;
	else if (extra == KCP_PATH_EXTRA_MTU_PROBE)
		flags = KCP_SENT_ASKS | KCP_SENT_UNCOUNTED;
	if (bytes == 0 && flags == 0) {
		/* A keepalive that nothing before it waits with needs no record: whoever only keeps a mapping alive would
		 * hold the ring for ever. */
		kcp_sent_trim(&path->sent, now);
		if (path->sent.first == path->sent.next) {
			kcp_sent_skip(&path->sent, pn + 1);
			return pn;
		}
	}
	if (!kcp_sent_reserve(&path->sent, 0, &kcp_path_sent_events, &moment, now)) {
		/* No report can be held against what is forgotten, so all it carried is sent again. */
		kcp_sent_lose_all(&path->sent, &kcp_path_sent_events, &moment);
		kcp_sent_skip(&path->sent, pn + 1);
		return pn;
	}
	struct kcp_sent_record *record = kcp_sent_add(&path->sent, charged, flags, 0, now);
	if (flags & KCP_SENT_FLIES)
		kcp_budget_sent(&path->budget, &record->flight, charged, kcp_path_full_bytes(path),
			flying_bytes, exempt, now);
	else
		kcp_budget_spent(&path->budget, charged, now);
	return pn;
}

void kcp_path_header_fields(
	const struct kcp_path *path, struct mono now, uint16_t *ret_wnd, uint32_t *ret_ts)
{
	*ret_wnd = (uint16_t)(kcp_path_own_grant(path) / KCP_PATH_GRANT_UNIT_BYTES);
	*ret_ts = kcp_segment_ms(now);
}

int kcp_path_control(struct kcp_path *path, const void *body, size_t len)
{
	if (len == 0 || len > KCP_PATH_CONTROL_MAX_BYTES ||
		KCP_OVERHEAD_BYTES + len > path->config.payload_bytes)
		return -EMSGSIZE;
	if (path->control_bytes + 2 + len > KCP_PATH_CONTROL_MAX_BYTES + 2)
		return -ENOBUFS;
	if (!path->control)
		path->control = malloc(KCP_PATH_CONTROL_MAX_BYTES + 2);
	if (!path->control)
		return -ENOMEM;
	store_le16(path->control + path->control_bytes, (uint16_t)len);
	memcpy(path->control + path->control_bytes + 2, body, len);
	path->control_bytes += 2 + (uint32_t)len;
	return 0;
}

void kcp_path_hush(struct kcp_path *path)
{
	free(path->control);
	path->control = NULL;
	path->control_bytes = 0;
	path->wask = false;
	path->wins = false;
	path->probe = false;
	kcp_seen_hush(&path->seen);
	kcp_path_rest_bases(path);
}

void kcp_path_wask(struct kcp_path *path)
{
	path->wask = true;
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

struct mono kcp_path_trim(struct kcp_path *path, struct mono now)
{
	struct mono next = trim_lanes(path, now);

	next = mono_min(next, trim_lanes_in(path, now));
	next = mono_min(next, kcp_dgram_out_trim(&path->dgrams, &path->start_sn, now));
	next = mono_min(next, kcp_dgram_in_trim(&path->dgrams_in, now));
	next = mono_min(next, kcp_sent_trim(&path->sent, now));
	for (int i = 0; i < KCP_PATH_CLASSES; i++) {
		if (kcp_refs_count(&path->queues.again[i]) == 0)
			kcp_refs_fini(&path->queues.again[i]);
		if (kcp_refs_count(&path->queues.fresh[i]) == 0)
			kcp_refs_fini(&path->queues.fresh[i]);
	}
	if (kcp_refs_count(&path->queues.parked) == 0)
		kcp_refs_fini(&path->queues.parked);
	/* What lanes hold has its place there reserved. */
	if (kcp_ready_count(&path->ready) + path->in.held == 0)
		kcp_ring_free(&path->ready.ring);
	return next;
}

bool kcp_path_spare(const struct kcp_path *path)
{
	return kcp_sent_bytes(&path->sent) > 0 || !kcp_path_idle(path);
}

size_t kcp_path_memory_bytes(const struct kcp_path *path)
{
	size_t bytes = sizeof(*path) + kcp_sent_bytes(&path->sent) + kcp_table_bytes(&path->lanes) +
		       kcp_table_bytes(&path->lanes_in) + kcp_dgram_out_bytes(&path->dgrams) +
		       kcp_dgram_in_bytes(&path->dgrams_in) + kcp_ring_bytes(&path->ready.ring) +
		       kcp_ring_bytes(&path->queues.parked.ring);
	const struct kcp_lane *lane;
	const struct kcp_lane_in *lane_in;
	uint32_t i = 0;

	while ((lane = kcp_table_next(&path->lanes, &i)) != NULL)
		bytes += sizeof(*lane) + kcp_ring_bytes(&lane->sender.ring);
	i = 0;
	while ((lane_in = kcp_table_next(&path->lanes_in, &i)) != NULL)
		bytes += sizeof(*lane_in) + kcp_ring_bytes(&lane_in->ring);
	for (i = 0; i < KCP_PATH_CLASSES; i++)
		bytes += kcp_ring_bytes(&path->queues.again[i].ring) +
			 kcp_ring_bytes(&path->queues.fresh[i].ring);
	return path->control ? bytes + KCP_PATH_CONTROL_MAX_BYTES + 2 : bytes;
}

uint32_t kcp_path_slots(const struct kcp_path *path)
{
	return path->tx_slots + path->in.held + kcp_ready_count(&path->ready);
}

uint64_t kcp_path_own_grant(const struct kcp_path *path)
{
	uint32_t unread = kcp_ready_count(&path->ready);
	bool tight = path->in.held + unread > path->config.rx_slots_max / 2;

	uint64_t bytes = kcp_grant_bytes(
		&path->grant, (uint64_t)unread * path->config.pool->slot_bytes, tight);
	/* A quarter of the slots is for pieces smaller than those of late. */
	uint64_t held_bytes = (uint64_t)path->config.rx_slots_max * 3 / 4 * path->piece_cost_bytes;
	uint64_t least = (uint64_t)path->config.rx_slots_max * KCP_PATH_CHARGE_BYTES;

	if (held_bytes < least)
		held_bytes = least;
	return bytes < held_bytes
		       ? bytes
		       : held_bytes / KCP_PATH_GRANT_UNIT_BYTES * KCP_PATH_GRANT_UNIT_BYTES;
}
