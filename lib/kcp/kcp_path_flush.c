/*
 * What leaves, and in which order: a report that is due, bases to be told, CONTROL, then items: urgent before bulk, resent
 * before new, several small ones of a class in one datagram. A number is taken when a datagram is complete, so one that
 * finds no buffer costs none.
 *
 * A probe (nothing was acknowledged for a PTO) is the newest item that flies, or an empty PROBE. Two things are told again and
 * again until acknowledged, at PTO spacing: a base that passed abandoned data, and nothing else.
 */
#include "kcp/kcp_path_state.h"

#include <stdlib.h>
#include <string.h>

enum {
	REFS_MAX = 48,	       /* references in one datagram */
	PROBE_LOOK_BACK = 256, /* numbers, for an item to probe with */
	BATCH_US = 1000,       /* of the rate may be taken at once */
	BATCH_MAX_BYTES = 65536,
	WINS_CHANGE = 4, /* a grant that changed by one such part is told */
};

/* A datagram that is being filled. */
struct datagram {
	struct kcp_path *path;
	struct mono now;
	uint8_t *start;
	size_t room;
	size_t used;
	unsigned flags;	     /* KCP_PATH_OUT_... */
	unsigned sent_flags; /* KCP_SENT_... */
	uint32_t refs;
	uint64_t pn;
	uint64_t grant_bytes;
};

static const enum kcp_path_class order[KCP_PATH_CLASSES] = {
	KCP_PATH_RT, KCP_PATH_CTL, KCP_PATH_ACK, KCP_PATH_BULK};

/* ---- what may go ------------------------------------------------------------------------------------------------ */

static bool window_open(const struct kcp_path *path)
{
	return path->sent.flying_bytes <
	       kcp_budget_window_bytes(&path->budget, kcp_path_full_bytes(path));
}

static bool exempt(enum kcp_path_class class)
{
	return class == KCP_PATH_RT || class == KCP_PATH_CTL;
}

bool kcp_path_may_send(const struct kcp_path *path, enum kcp_path_class class, struct mono now)
{
	if (mono_due(kcp_budget_pace_at(&path->budget), now) && window_open(path))
		return true;
	return exempt(class) && mono_due(kcp_budget_exempt_at(&path->budget), now);
}

/* How much may wait here for the next flush. */
static uint64_t batch_bytes(const struct kcp_path *path)
{
	uint64_t rate = kcp_budget_rate_bytes(&path->budget);
	uint64_t bytes = rate ? rate * BATCH_US / 1000000 : BATCH_MAX_BYTES;

	if (bytes > BATCH_MAX_BYTES)
		bytes = BATCH_MAX_BYTES;
	return bytes > kcp_path_full_bytes(path) ? bytes : kcp_path_full_bytes(path);
}

static uint64_t waiting_bytes(const struct kcp_path *path)
{
	uint64_t bytes = 0;

	for (int i = 0; i < KCP_PATH_CLASSES; i++)
		bytes += path->queues.fresh_bytes[i];
	return bytes;
}

static bool room_in_window(struct kcp_path *path, enum kcp_path_class class, struct mono now)
{
	uint64_t waiting = waiting_bytes(path);
	uint64_t window = kcp_budget_window_bytes(&path->budget, kcp_path_full_bytes(path));

	if (path->sent.flying_bytes + waiting < window && waiting < batch_bytes(path)) {
		if (mono_due(kcp_budget_pace_at(&path->budget), now))
			return true;
		path->await_pace = true;
	} else if (waiting > 0) {
		path->await_pace = true;
	}
	if (!exempt(class))
		return false;
	if (path->queues.fresh_bytes[KCP_PATH_RT] + path->queues.fresh_bytes[KCP_PATH_CTL] <
			batch_bytes(path) &&
		mono_due(kcp_budget_exempt_at(&path->budget), now))
		return true;
	path->await_exempt = true;
	return false;
}

static bool grant_covers(const struct kcp_path *path, uint64_t cost)
{
	return path->charged_bytes == 0 || path->charged_bytes + cost <= path->peer_grant_bytes;
}

bool kcp_path_room(struct kcp_path *path, enum kcp_path_class class, size_t len, struct mono now)
{
	uint32_t piece = path->config.piece_bytes;
	bool in_pieces = class == KCP_PATH_CTL || class == KCP_PATH_BULK || len > piece;

	if (!room_in_window(path, class, now)) {
		path->hungry = true;
		path->stats.again_window++;
		return false;
	}
	path->hungry = false;
	if (path->tx_slots + (len + piece - 1) / piece + !len > path->config.tx_slots_max) {
		path->stats.again_window++;
		return false;
	}
	if (in_pieces && !grant_covers(path, kcp_lane_cost_bytes(len ? len : piece, piece))) {
		path->stats.again_grant++;
		kcp_path_wake_bases(path, now);
		return false;
	}
	return true;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static bool open_datagram(struct datagram *out, struct kcp_path *path, struct mono now)
{
	struct kcp_path_moment moment = {path, now};

	*out = (struct datagram){.path = path, .now = now};
	if (!kcp_sent_reserve(&path->sent, REFS_MAX, &kcp_path_sent_events, &moment, now))
		out->start = NULL;
	else
		out->start = path->io.begin(path->io.ctx, &out->room);
	if (!out->start || out->room < path->config.payload_bytes) {
		path->stats.no_buffer++;
		path->blocked_us = path->blocked_us ? path->blocked_us * 2 : KCP_PATH_BLOCKED_US;
		if (path->blocked_us > KCP_PATH_BLOCKED_MAX_US)
			path->blocked_us = KCP_PATH_BLOCKED_MAX_US;
		path->blocked_until = mono_add_us(now, path->blocked_us);
		return false;
	}
	path->blocked_us = 0;
	out->room = path->config.payload_bytes;
	out->pn = path->sent.next;
	out->grant_bytes = kcp_path_own_grant(path);
	return true;
}

static bool fits(const struct datagram *out, size_t len)
{
	return out->used + KCP_OVERHEAD_BYTES + len <= out->room;
}

/* Writes a header and says where its body goes. It fits. */
static uint8_t *write_segment(struct datagram *out, struct kcp_segment segment)
{
	uint8_t *at = out->start + out->used;

	segment.wnd = (uint16_t)(out->grant_bytes / KCP_PATH_GRANT_UNIT_BYTES);
	segment.ts = kcp_segment_ms(out->now);
	out->used += KCP_OVERHEAD_BYTES + segment.len;
	return kcp_segment_write(at, &segment);
}

static void add_ref(struct datagram *out, struct kcp_ref ref)
{
	kcp_sent_ref(&out->path->sent, ref);
	out->refs++;
}

static void close_datagram(struct datagram *out)
{
	struct kcp_path *path = out->path;
	uint32_t bytes = (uint32_t)out->used + KCP_BUDGET_WIRE_BYTES;
	bool idle = path->sent.flying == 0;
	struct kcp_sent_record *record =
		kcp_sent_add(&path->sent, bytes, out->sent_flags, out->refs, out->now);

	if (out->sent_flags & KCP_SENT_FLIES) {
		out->flags |= KCP_PATH_OUT_ASKS;
		if (kcp_budget_sent(&path->budget, &record->flight, bytes,
			    kcp_path_full_bytes(path), idle,
			    (out->flags & KCP_PATH_OUT_RESEND) != 0,
			    (out->flags & KCP_PATH_OUT_RT) != 0, out->now))
			record->flags |= KCP_SENT_LIMITED;
	}
	kcp_grant_told(&path->grant, out->grant_bytes);
	path->stats.out_datagrams++;
	path->stats.out_bytes += out->used;
	path->io.end(path->io.ctx, out->pn, out->used, out->flags);
}

static void write_rack(struct datagram *out)
{
	struct kcp_path *path = out->path;
	uint8_t body[KCP_RACK_BODY_MAX_BYTES];
	struct kcp_rack rack;
	size_t len;

	kcp_seen_report(&path->seen, out->now, &rack);
	len = kcp_rack_write(&rack, body);
	if (!fits(out, len)) {
		/* cannot be: the span of what is seen makes every entry short */
		return;
	}
	memcpy(write_segment(out, (struct kcp_segment){.cmd = KCP_CMD_RACK, .len = (uint32_t)len}),
		body, len);
	out->flags |= KCP_PATH_OUT_RACK;
	path->stats.racks_sent++;
}

static void asks(struct datagram *out)
{
	out->sent_flags |= KCP_SENT_ASKS | KCP_SENT_FLIES;
}

/* Writes the bases that are due, as many as fit. */
static void write_bases(struct datagram *out)
{
	struct kcp_path *path = out->path;
	int64_t repeat_us = kcp_sent_repeat_us(&path->sent);

	list_for_each (node, &path->forward) {
		struct kcp_lane *lane = list_entry(node, struct kcp_lane, forward);
		if (out->refs >= REFS_MAX - KCP_PATH_PACK_MAX || !fits(out, 0))
			return;
		if (!mono_due(lane->fwd_at, out->now))
			continue;
		write_segment(out, (struct kcp_segment){.conv = lane->entry.id,
					   .cmd = KCP_CMD_FWD,
					   .una = lane->sender.una});
		add_ref(out,
			(struct kcp_ref){.kind = KCP_REF_FWD, .lane = (uint16_t)lane->entry.id});
		kcp_lane_carried(lane, out->pn, repeat_us, out->now);
		asks(out);
		path->stats.fwd_sent++;
	}
}

static void write_control(struct datagram *out)
{
	struct kcp_path *path = out->path;
	uint32_t at = 0;

	while (at < path->control_bytes) {
		uint16_t len = load_le16(path->control + at);
		if ((uint32_t)KCP_OVERHEAD_BYTES + len > path->config.payload_bytes) {
			at += 2u + len; /* the path became narrower since */
			continue;
		}
		if (!fits(out, len))
			break;
		memcpy(write_segment(out, (struct kcp_segment){.cmd = KCP_CMD_CONTROL, .len = len}),
			path->control + at + 2, len);
		asks(out);
		at += 2u + len;
	}
	path->control_bytes -= at;
	if (path->control_bytes > 0) {
		memmove(path->control, path->control + at, path->control_bytes);
	} else {
		free(path->control);
		path->control = NULL;
	}
}

static void write_flags(struct datagram *out)
{
	struct kcp_path *path = out->path;

	if (path->wask && fits(out, 0)) {
		write_segment(out, (struct kcp_segment){.cmd = KCP_CMD_WASK});
		asks(out);
		path->wask = false;
		path->wins = false;
	}
	if (path->wins && fits(out, 0)) {
		write_segment(out, (struct kcp_segment){.cmd = KCP_CMD_WINS});
		path->wins = false;
	}
}

static unsigned class_flag(enum kcp_path_class class)
{
	switch (class) {
	case KCP_PATH_RT:
	case KCP_PATH_CTL:
		return KCP_PATH_OUT_RT;
	case KCP_PATH_ACK:
		return KCP_PATH_OUT_ACK;
	case KCP_PATH_BULK:
	case KCP_PATH_CLASSES:
		break;
	}
	return KCP_PATH_OUT_BULK;
}

static void write_dgram(struct datagram *out, struct kcp_ref ref)
{
	struct kcp_path *path = out->path;
	struct kcp_dgram *dgram = kcp_dgram_out_find(&path->dgrams, ref.sn);

	memcpy(write_segment(out, (struct kcp_segment){.conv = dgram->flow,
					  .cmd = KCP_CMD_DGRAM,
					  .frg = KCP_FRG_FIRST,
					  .sn = dgram->sn,
					  .len = dgram->len}),
		dgram->slot, dgram->len);
	out->flags |= class_flag(dgram->class);
	if (dgram->sent) {
		out->flags |= KCP_PATH_OUT_RESEND;
		path->stats.resent_items++;
	}
	dgram->waits = false;
	dgram->sent = true;
	dgram->pn = out->pn;
	if (dgram->class == KCP_PATH_ACK) { /* whatever becomes of it */
		kcp_dgram_out_settle(&path->dgrams, path->config.pool, dgram);
		path->tx_slots--;
	} else {
		add_ref(out, ref);
	}
}

static void write_piece(struct datagram *out, struct kcp_ref ref)
{
	struct kcp_path *path = out->path;
	struct kcp_lane *lane = kcp_table_find(&path->lanes, ref.lane);
	struct kcp_tx *tx = kcp_lane_piece(lane, ref.sn);

	memcpy(write_segment(out, (struct kcp_segment){.conv = ref.lane,
					  .cmd = KCP_CMD_PUSH,
					  .frg = tx->frg,
					  .sn = ref.sn,
					  .una = lane->sender.una,
					  .len = tx->len}),
		tx->slot, tx->len);
	out->flags |= class_flag(kcp_lane_head(lane, ref.sn, tx)->class);
	if (tx->flags & KCP_TX_SENT) {
		out->flags |= KCP_PATH_OUT_RESEND;
		path->stats.resent_items++;
	}
	tx->flags &= (uint8_t)~KCP_TX_WAITS;
	tx->flags |= KCP_TX_SENT;
	tx->pn = out->pn;
	add_ref(out, ref);
	kcp_lane_carried(lane, out->pn, kcp_sent_repeat_us(&path->sent), out->now);
}

static void write_item(struct datagram *out, struct kcp_ref ref)
{
	if (ref.kind == KCP_REF_DGRAM)
		write_dgram(out, ref);
	else
		write_piece(out, ref);
	asks(out);
}

/* Writes what waits of one class, as much as fits. @return false if not even the first does */
static bool write_class(struct datagram *out, enum kcp_path_class class)
{
	struct kcp_path *path = out->path;
	struct kcp_ref ref;
	uint32_t len;
	int written = 0;

	while (written < KCP_PATH_PACK_MAX && kcp_path_front(path, class, &ref, &len, out->now) &&
		fits(out, len)) {
		kcp_path_pop(path, class);
		write_item(out, ref);
		written++;
	}
	return written > 0;
}

/* ---- probes ----------------------------------------------------------------------------------------------------- */

/* The newest item that flies and whose last transmission that was. */
static bool newest_item(const struct kcp_path *path, struct kcp_ref *ret_ref)
{
	const struct kcp_sent *sent = &path->sent;
	uint64_t pn = sent->next;

	for (int looks = 0; looks < PROBE_LOOK_BACK && pn > sent->first; looks++) {
		const struct kcp_sent_record *record = kcp_sent_find(sent, --pn);
		if (!(record->flags & KCP_SENT_FLIES))
			continue;
		for (uint32_t i = record->ref_count; i-- > 0;) {
			struct kcp_ref ref = *kcp_refs_at(&sent->refs, record->ref_first + i);
			*ret_ref = ref;
			if (ref.kind == KCP_REF_DGRAM) {
				const struct kcp_dgram *dgram =
					kcp_dgram_out_find(&path->dgrams, ref.sn);
				if (dgram && dgram->pn == pn && !dgram->waits)
					return true;
			} else if (ref.kind == KCP_REF_PUSH) {
				const struct kcp_lane *lane =
					kcp_table_find(&path->lanes, ref.lane);
				const struct kcp_tx *tx =
					lane ? kcp_lane_piece(lane, ref.sn) : NULL;
				if (tx && tx->pn == pn && !(tx->flags & KCP_TX_WAITS))
					return true;
			}
		}
	}
	return false;
}

static void write_probe(struct datagram *out)
{
	struct kcp_path *path = out->path;
	struct kcp_ref ref;

	path->probe = false;
	path->stats.probes++;
	out->flags |= KCP_PATH_OUT_PROBE;
	if (out->sent_flags & KCP_SENT_ASKS)
		return; /* what it holds already asks */
	if (newest_item(path, &ref) && fits(out, ref.len)) {
		write_item(out, ref);
	} else if (fits(out, 0)) {
		write_segment(out, (struct kcp_segment){.cmd = KCP_CMD_PROBE, .sn = 1});
		asks(out);
	}
}

/* ---- flush ------------------------------------------------------------------------------------------------------ */

static bool pick_class(struct kcp_path *path, struct mono now, enum kcp_path_class *ret_class)
{
	struct kcp_ref ref;
	uint32_t len;

	for (int i = 0; i < KCP_PATH_CLASSES; i++) {
		if (kcp_path_front(path, order[i], &ref, &len, now) &&
			kcp_path_may_send(path, order[i], now)) {
			*ret_class = order[i];
			return true;
		}
	}
	return false;
}

static bool rack_due(const struct kcp_path *path, struct mono now)
{
	return mono_due(kcp_seen_due(&path->seen, path->sent.srtt_us), now);
}

/* Whether a base must be told now; if it only seemed so, finds out when one must. */
static bool bases_due(struct kcp_path *path, struct mono now)
{
	struct mono next = MONO_NEVER;

	if (list_empty(&path->forward) || !mono_due(path->forward_at, now))
		return false;
	list_for_each (node, &path->forward) {
		struct kcp_lane *lane = list_entry(node, struct kcp_lane, forward);
		if (mono_due(lane->fwd_at, now) && kcp_lane_tires(lane))
			path->forward_tired = true;
		next = mono_min(next, lane->fwd_at);
	}
	path->forward_at = next;
	return mono_due(next, now);
}

/* A report that is not due yet goes along where there is space; that saves one of its own. */
static void ride_rack(struct datagram *out)
{
	enum {
		RIDE_BYTES = 8 + 2 + 1 + 1 + 3 + 2 * KCP_RACK_RANGES_MAX * 4,
	};

	if (out->path->seen.asked > 0 && !(out->flags & KCP_PATH_OUT_RACK) && fits(out, RIDE_BYTES))
		write_rack(out);
}

static bool send_one(struct kcp_path *path, struct mono now)
{
	enum kcp_path_class class;
	struct datagram out;
	bool rack = rack_due(path, now);
	bool bases = bases_due(path, now);
	bool item = pick_class(path, now, &class);

	if (!rack && !bases && !item && !path->control && !path->wask && !path->wins &&
		!path->probe)
		return false;
	if (!open_datagram(&out, path, now))
		return false;
	if (rack)
		write_rack(&out);
	if (bases)
		write_bases(&out);
	if (path->control)
		write_control(&out);
	write_flags(&out);
	/* Opening may have settled things. */
	if (item && pick_class(path, now, &class))
		write_class(&out, class);
	if (path->probe)
		write_probe(&out);
	ride_rack(&out);
	if (out.used == 0) /* what was to go is gone; the buffer must be used */
		write_segment(&out, (struct kcp_segment){.cmd = KCP_CMD_PROBE});
	close_datagram(&out);
	return true;
}

static void note_fill(struct kcp_path *path, struct mono now)
{
	bool open = window_open(path);

	if (mono_due(kcp_budget_pace_at(&path->budget), now) && open)
		path->await_pace = false;
	if (mono_due(kcp_budget_exempt_at(&path->budget), now))
		path->await_exempt = false;
	if (!open)
		kcp_budget_set_full(&path->budget);
	else if (!path->hungry && waiting_bytes(path) == 0)
		kcp_budget_set_limited(&path->budget, path->sent.flying_bytes);
}

static bool grant_changed(const struct kcp_path *path)
{
	uint64_t now_bytes = kcp_path_own_grant(path);
	uint64_t told = path->grant.told_bytes;
	uint64_t change = now_bytes > told ? now_bytes - told : told - now_bytes;

	return path->seen.any && change > 0 && change >= told / WINS_CHANGE;
}

static void check_probe(struct kcp_path *path, struct mono now)
{
	if (path->probe || !mono_due(kcp_sent_pto_at(&path->sent), now))
		return;
	path->probe = kcp_sent_pto(&path->sent, now);
}

static void flush(struct kcp_path *path, struct mono now)
{
	bool any = false;

	while (send_one(path, now))
		any = true;
	if (!any && !path->blocked_us && grant_changed(path)) {
		path->wins = true;
		send_one(path, now);
	}
	note_fill(path, now);
}

void kcp_path_flush(struct kcp_path *path, struct mono now)
{
	kcp_path_expire(path, now);
	kcp_path_detect(path, now);
	check_probe(path, now);
	flush(path, now);
}

void kcp_path_on_deadline(struct kcp_path *path, struct mono now)
{
	if (path->blocked_us && !mono_due(path->blocked_until, now)) {
		kcp_path_expire(path, now);
		kcp_path_detect(path, now);
		return;
	}
	kcp_path_flush(path, now);
}

static bool items_wait(const struct kcp_path *path, bool urgent_only)
{
	for (int i = 0; i < KCP_PATH_CLASSES; i++) {
		if ((!urgent_only || exempt((enum kcp_path_class)i)) &&
			kcp_refs_count(&path->queues.fresh[i]) +
					kcp_refs_count(&path->queues.again[i]) >
				0)
			return true;
	}
	return false;
}

void kcp_path_input_done(struct kcp_path *path, struct mono now)
{
	if (items_wait(path, false) || mono_due(kcp_path_next_deadline(path), now))
		kcp_path_flush(path, now);
}

struct mono kcp_path_next_deadline(const struct kcp_path *path)
{
	struct mono past = mono_at_us(INT64_MIN / 2);
	struct mono at = kcp_seen_due(&path->seen, path->sent.srtt_us);

	if (path->control || path->wask || path->wins || path->probe)
		at = past;
	if (!list_empty(&path->forward))
		at = mono_min(at, path->forward_at);
	at = mono_min(at, kcp_sent_pto_at(&path->sent));
	if ((path->await_pace || items_wait(path, false)) && window_open(path))
		at = mono_min(
			at, mono_add_us(kcp_budget_pace_at(&path->budget), KCP_PATH_PACE_SLACK_US));
	if (path->await_exempt || items_wait(path, true))
		at = mono_min(at, kcp_budget_exempt_at(&path->budget));
	if (path->blocked_us)
		at = mono_max(at, path->blocked_until);
	at = mono_min(at, kcp_sent_suspect_at(&path->sent));
	if (!list_empty(&path->active))
		at = mono_min(at, path->expire_at);
	return mono_min(at, kcp_dgram_out_expires(&path->dgrams));
}
