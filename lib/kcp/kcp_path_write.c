/*
 * Datagrams being filled, segment by segment. A number is taken when one is complete, so a datagram that finds no buffer costs
 * none; until then `pn` says which it will be.
 *
 * What a datagram carried is noted as references beside its record: pieces, unordered messages, and the lanes whose base it
 * told. CONTROL is not among them: the layers above repeat what they must. A message of class ACK is forgotten as it leaves.
 */
#include "kcp/kcp_path_write.h"

#include <stdlib.h>
#include <string.h>

enum {
	REFS_MAX = 48,	       /* references in one datagram */
	PROBE_LOOK_BACK = 256, /* numbers, for an item to probe with */
};

/* ---- writing ---------------------------------------------------------------------------------------------------- */

bool kcp_path_open_datagram(struct kcp_path_datagram *out, struct kcp_path *path, struct mono now)
{
	struct kcp_path_moment moment = {path, now};

	*out = (struct kcp_path_datagram){.path = path, .now = now};
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

/* Writes a header and says where its body goes. It fits. */
static uint8_t *write_segment(struct kcp_path_datagram *out, struct kcp_segment segment)
{
	uint8_t *at = out->start + out->used;

	segment.wnd = (uint16_t)(out->grant_bytes / KCP_PATH_GRANT_UNIT_BYTES);
	segment.ts = kcp_segment_ms(out->now);
	out->used += KCP_OVERHEAD_BYTES + segment.len;
	return kcp_segment_write(at, &segment);
}

static void add_ref(struct kcp_path_datagram *out, struct kcp_ref ref)
{
	kcp_sent_ref(&out->path->sent, ref);
	out->refs++;
}

void kcp_path_close_datagram(struct kcp_path_datagram *out)
{
	struct kcp_path *path = out->path;
	uint32_t bytes = (uint32_t)out->used + KCP_BUDGET_WIRE_BYTES;
	uint64_t flying_bytes = path->sent.flying_bytes;
	struct kcp_sent_record *record =
		kcp_sent_add(&path->sent, bytes, out->sent_flags, out->refs, out->now);

	if (out->sent_flags & KCP_SENT_FLIES) {
		out->flags |= KCP_PATH_OUT_ASKS;
		kcp_budget_sent(&path->budget, &record->flight, bytes, kcp_path_full_bytes(path),
			flying_bytes, out->exempt, out->now);
	} else {
		kcp_budget_spent(&path->budget, bytes, out->now);
	}
	kcp_grant_told(&path->grant, out->grant_bytes);
	path->stats.out_datagrams++;
	path->stats.out_bytes += out->used;
	path->io.end(path->io.ctx, out->pn, out->used,
		out->flags | (unsigned)out->mark << KCP_PATH_OUT_MARK_SHIFT);
}

void kcp_path_write_rack(struct kcp_path_datagram *out)
{
	struct kcp_path *path = out->path;
	uint8_t body[KCP_RACK_BODY_MAX_BYTES];
	struct kcp_rack rack;
	size_t len;

	kcp_seen_report(&path->seen, out->now, &rack);
	len = kcp_rack_write(&rack, body);
	if (!kcp_path_fits(out, len)) {
		/* cannot be: the span of what is seen makes every entry short */
		return;
	}
	memcpy(write_segment(out, (struct kcp_segment){.cmd = KCP_CMD_RACK, .len = (uint32_t)len}),
		body, len);
	out->flags |= KCP_PATH_OUT_RACK;
	path->stats.racks_sent++;
}

static void asks(struct kcp_path_datagram *out)
{
	out->sent_flags |= KCP_SENT_ASKS | KCP_SENT_FLIES;
}

/* Writes the bases that are due, as many as fit. */
void kcp_path_write_bases(struct kcp_path_datagram *out)
{
	struct kcp_path *path = out->path;
	int64_t repeat_us = kcp_sent_repeat_us(&path->sent);

	list_for_each (node, &path->forward) {
		struct kcp_lane *lane = list_entry(node, struct kcp_lane, forward);
		if (out->refs >= REFS_MAX - KCP_PATH_PACK_MAX || !kcp_path_fits(out, 0))
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
		out->flags |= KCP_PATH_OUT_DATA;
		path->stats.fwd_sent++;
	}
}

void kcp_path_write_control(struct kcp_path_datagram *out)
{
	struct kcp_path *path = out->path;
	uint32_t at = 0;

	while (at < path->control_bytes) {
		uint16_t len = load_le16(path->control + at);
		if ((uint32_t)KCP_OVERHEAD_BYTES + len > path->config.payload_bytes) {
			at += 2u + len; /* the path became narrower since */
			continue;
		}
		if (!kcp_path_fits(out, len))
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

void kcp_path_write_flags(struct kcp_path_datagram *out)
{
	struct kcp_path *path = out->path;

	if (path->wask && kcp_path_fits(out, 0)) {
		write_segment(out, (struct kcp_segment){.cmd = KCP_CMD_WASK});
		asks(out);
		path->wask = false;
		path->wins = false;
	}
	if (path->wins && kcp_path_fits(out, 0)) {
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
	case KCP_PATH_LOOSE:
	case KCP_PATH_CLASSES:
		break;
	}
	return KCP_PATH_OUT_BULK;
}

static void write_dgram(struct kcp_path_datagram *out, struct kcp_ref ref)
{
	struct kcp_path *path = out->path;
	struct kcp_dgram *dgram = kcp_dgram_out_find(&path->dgrams, ref.sn);

	memcpy(write_segment(out, (struct kcp_segment){.conv = dgram->flow,
					  .cmd = KCP_CMD_DGRAM,
					  .frg = KCP_FRG_FIRST,
					  .sn = dgram->sn,
					  .len = dgram->len}),
		dgram->slot, dgram->len);
	out->flags |= KCP_PATH_OUT_DATA | class_flag(dgram->class);
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

static void write_piece(struct kcp_path_datagram *out, struct kcp_ref ref)
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
	out->flags |= KCP_PATH_OUT_DATA | class_flag(kcp_lane_head(lane, ref.sn, tx)->class);
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

static void write_item(struct kcp_path_datagram *out, struct kcp_ref ref)
{
	if (ref.kind == KCP_REF_DGRAM)
		write_dgram(out, ref);
	else
		write_piece(out, ref);
	out->mark = ref.mark;
	asks(out);
}

void kcp_path_write_class(struct kcp_path_datagram *out, enum kcp_path_class class)
{
	struct kcp_path *path = out->path;
	struct kcp_ref ref;
	uint32_t len;

	for (int i = 0; i < KCP_PATH_PACK_MAX; i++) {
		/* Mostly the second piece does not fit: that is seen without looking it up. */
		if (i > 0 && !kcp_path_fits(out, kcp_path_front_len(path, class)))
			return;
		if (!kcp_path_front(path, class, &ref, &len, out->now) || !kcp_path_fits(out, len))
			return;
		if (i > 0 && ref.mark != out->mark)
			return;
		kcp_path_pop(path, class);
		write_item(out, ref);
	}
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

void kcp_path_write_padding(struct kcp_path_datagram *out, bool ask)
{
	write_segment(out, (struct kcp_segment){.cmd = KCP_CMD_PROBE, .sn = ask});
	if (ask)
		asks(out);
}

void kcp_path_write_probe(struct kcp_path_datagram *out)
{
	struct kcp_path *path = out->path;
	struct kcp_ref ref;

	path->probe = false;
	path->stats.probes++;
	out->flags |= KCP_PATH_OUT_PROBE;
	if (out->sent_flags & KCP_SENT_ASKS)
		return; /* what it holds already asks */
	if (newest_item(path, &ref) && kcp_path_fits(out, ref.len)) {
		write_item(out, ref);
	} else if (kcp_path_fits(out, 0)) {
		kcp_path_write_padding(out, true);
	}
}
