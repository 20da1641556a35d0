/*
 * Datagrams in. A datagram is walked to its end before any of it takes effect: it holds whole segments and nothing else,
 * and what it says to the layers above is well-formed, or it is dropped. After that a segment that makes no sense is
 * skipped, alone: a later version may know better.
 *
 * A number is reported only if all PUSH and DGRAM of its datagram were taken or are here already. What was refused for want
 * of memory looks lost to the peer, which sends it again; so nothing that was reported is ever dropped but by the peer's
 * own base, or over the cap (then the oldest hole is given up, as if the base had passed it).
 *
 * Memory. Pieces in lanes and whole messages that wait for the reader share one cap on slots. If a reader stopped, what
 * waits fills it, and new data is refused until it reads on; if holes fill it, holes are given up, the one that waited
 * longest first. From half the cap on the peer is told the smallest grant.
 */
#include "kcp/kcp_path_state.h"

#include "core/pool.h"

#include <string.h>

/* A datagram that is being taken. */
struct taking {
	struct kcp_path *path;
	struct mono now;
	uint64_t pn;
	bool rebuilt;
	bool asks;
	bool whole; /* every PUSH and DGRAM is here */
	bool full;  /* something was refused for memory */
	bool rack;  /* a report was taken; one is enough */
};

const char *kcp_path_verdict_str(enum kcp_path_verdict verdict)
{
	switch (verdict) {
	case KCP_PATH_OK:
		return "ok";
	case KCP_PATH_ALREADY:
		return "already here";
	case KCP_PATH_BAD_LENGTH:
		return "bad length";
	case KCP_PATH_BAD_CONTROL:
		return "bad control";
	case KCP_PATH_NO_MEMORY:
		return "no memory";
	case KCP_PATH_VERDICTS:
		break;
	}
	return "unknown";
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

static uint32_t rx_slots(const struct kcp_path *path)
{
	return path->in.held + kcp_ready_count(&path->ready);
}

/* Whether a slot may be taken; gives up holes if these are what fills the cap. */
static bool make_room(struct kcp_path *path)
{
	if (rx_slots(path) < path->config.rx_slots_max)
		return true;
	if (kcp_ready_count(&path->ready) > path->config.rx_slots_max / 8 ||
		list_empty(&path->in.holed))
		return false; /* the reader has to read first, or stopped */
	struct kcp_lane_in *lane = list_entry(path->in.holed.next, struct kcp_lane_in, holed);
	kcp_lane_in_give_up_hole(lane, &path->in);
	path->stats.holes_given_up++;
	return rx_slots(path) < path->config.rx_slots_max;
}

static void refuse(struct taking *taking, uint64_t *counter)
{
	(*counter)++;
	taking->whole = false;
	taking->full = true;
}

static void skip(struct taking *taking, uint64_t *counter, bool data)
{
	(*counter)++;
	if (data)
		taking->whole = false;
}

/* ---- lanes ------------------------------------------------------------------------------------------------------ */

static struct kcp_lane_in *lane_in(struct taking *taking, uint32_t id, uint32_t base)
{
	struct kcp_path *path = taking->path;
	struct kcp_lane_in *lane = kcp_table_find(&path->lanes_in, id);

	if (lane && mono_diff_us(taking->now, lane->seen_at) >= KCP_LANE_IN_IDLE_US &&
		kcp_sn_before(base, lane->pos - 2 * KCP_PATH_SPAN)) {
		/* Past its time and farther back than anything late could be: the sender freed it and began anew. */
		kcp_lane_in_move(lane, lane->top, &path->in);
		kcp_table_remove(&path->lanes_in, &lane->entry);
		kcp_lane_in_free(lane, &path->in);
		lane = NULL;
	}
	if (!lane) {
		lane = kcp_lane_in_new(id, base, taking->now);
		if (!lane)
			return NULL;
		if (!kcp_table_add(&path->lanes_in, &lane->entry)) {
			kcp_lane_in_free(lane, &path->in);
			return NULL;
		}
	}
	lane->seen_at = taking->now;
	kcp_lane_in_move(lane, base, &path->in);
	return lane;
}

/* Shrinks all rings to what they hold, but seldom. @return whether it did */
static bool fit_lanes(struct kcp_path *path, struct mono now)
{
	struct kcp_lane_in *lane;
	uint32_t i = 0;

	if (!mono_due(path->crowded_at, now))
		return false;
	path->crowded_at = mono_add_us(now, KCP_PATH_CROWDED_US);
	while ((lane = kcp_table_next(&path->lanes_in, &i)) != NULL)
		kcp_lane_in_fit(lane, &path->in);
	return true;
}

static void note_cost(struct kcp_path *path, uint32_t len)
{
	uint32_t unit = KCP_PATH_CHARGE_BYTES;
	uint32_t cost = (len + unit - 1) / unit * unit;

	if (cost > path->piece_cost_bytes)
		path->piece_cost_bytes += (cost - path->piece_cost_bytes + 63) / 64;
	else
		path->piece_cost_bytes -= (path->piece_cost_bytes - cost) / 64;
}

static void take_push(struct taking *taking, const struct kcp_segment *segment)
{
	struct kcp_path *path = taking->path;
	enum kcp_lane_in_verdict verdict;
	struct kcp_lane_in *lane;

	taking->asks = true;
	if (segment->conv >= KCP_PATH_LANES) {
		skip(taking, &path->stats.skip_lane, true);
		return;
	}
	if (segment->len == 0) {
		skip(taking, &path->stats.skip_field, true);
		return;
	}
	if (segment->sn - segment->una >= KCP_PATH_SPAN) {
		skip(taking, &path->stats.skip_sn, true);
		return;
	}
	if (segment->len > path->config.pool->slot_bytes || segment->len > UINT16_MAX) {
		skip(taking, &path->stats.skip_too_long, true);
		return;
	}
	lane = lane_in(taking, segment->conv, segment->una);
	if (!lane) {
		refuse(taking, &path->stats.refused_pool);
		return;
	}
	if (!kcp_sn_before(segment->sn, lane->nxt) && !make_room(path)) {
		refuse(taking, &path->stats.refused_full);
		return;
	}
	path->in.span_max = (uint32_t)(path->grant.reach_bytes / KCP_PATH_CHARGE_BYTES);
	path->in.records_max = path->in.span_max * KCP_PATH_RECORDS_PER_SPAN;
	verdict = kcp_lane_in_push(lane, segment, &path->in);
	if (verdict == KCP_LANE_IN_CROWDED && fit_lanes(path, taking->now))
		verdict = kcp_lane_in_push(lane, segment, &path->in);
	switch (verdict) {
	case KCP_LANE_IN_TAKEN:
		note_cost(path, segment->len);
		return;
	case KCP_LANE_IN_REPEATED:
		path->stats.repeated_pieces++;
		return;
	case KCP_LANE_IN_FAR:
		skip(taking, &path->stats.skip_sn, true);
		return;
	case KCP_LANE_IN_CROWDED:
		refuse(taking, &path->stats.refused_full);
		return;
	case KCP_LANE_IN_NO_MEMORY:
		refuse(taking, &path->stats.refused_pool);
		return;
	}
}

static void take_forward(struct taking *taking, const struct kcp_segment *segment)
{
	struct kcp_path *path = taking->path;

	taking->asks = true;
	if (segment->conv >= KCP_PATH_LANES) {
		skip(taking, &path->stats.skip_lane, false);
	} else if (segment->len > 0) {
		skip(taking, &path->stats.skip_field, false);
	} else if (!lane_in(taking, segment->conv, segment->una)) {
		refuse(taking, &path->stats.refused_pool);
	} else {
		path->stats.fwd_received++;
	}
}

/* ---- unordered -------------------------------------------------------------------------------------------------- */

static void take_dgram(struct taking *taking, const struct kcp_segment *segment)
{
	struct kcp_path *path = taking->path;
	struct pool *pool = path->config.pool;
	uint8_t *slot;

	taking->asks = true;
	if (segment->conv >= KCP_PATH_LANES) {
		skip(taking, &path->stats.skip_lane, true);
		return;
	}
	if (segment->len == 0 || segment->frg != KCP_FRG_FIRST) {
		skip(taking, &path->stats.skip_field, true);
		return;
	}
	if (segment->len > pool->slot_bytes || segment->len > UINT16_MAX) {
		skip(taking, &path->stats.skip_too_long, true);
		return;
	}
	switch (kcp_dgram_in_check(&path->dgrams_in, segment->conv, segment->sn, taking->now)) {
	case KCP_DGRAM_SEEN:
		path->stats.repeated_dgrams++;
		return;
	case KCP_DGRAM_NO_MEMORY:
		refuse(taking, &path->stats.refused_pool);
		return;
	case KCP_DGRAM_NEW:
		break;
	}
	if (segment->len > path->in.message_max_bytes) {
		path->in.broken++;
		kcp_dgram_in_note(&path->dgrams_in, segment->conv, segment->sn);
		return;
	}
	if (!make_room(path)) {
		refuse(taking, &path->stats.refused_full);
		return;
	}
	if (!kcp_ready_reserve(&path->ready, kcp_ready_count(&path->ready) + path->in.held + 1)) {
		refuse(taking, &path->stats.refused_pool);
		return;
	}
	slot = pool_take_keeping(pool, pool->slots_max / 16);
	if (!slot) {
		refuse(taking, &path->stats.refused_pool);
		return;
	}
	memcpy(slot, segment->data, segment->len);
	kcp_ready_push(&path->ready, slot, (uint16_t)segment->len, true);
	path->in.delivered++;
	kcp_dgram_in_note(&path->dgrams_in, segment->conv, segment->sn);
}

/* ---- the datagram ----------------------------------------------------------------------------------------------- */

static void take_grant(struct taking *taking, const struct kcp_segment *segment)
{
	struct kcp_path *path = taking->path;

	if (taking->rebuilt || (path->peer_told && taking->pn < path->peer_grant_pn))
		return;
	path->peer_grant_bytes = (uint64_t)segment->wnd * KCP_PATH_GRANT_UNIT_BYTES;
	if (path->peer_grant_bytes < KCP_PATH_GRANT_MIN_BYTES)
		path->peer_grant_bytes = KCP_PATH_GRANT_MIN_BYTES;
	if (path->peer_grant_bytes > KCP_PATH_PEER_GRANT_MAX_BYTES)
		path->peer_grant_bytes = KCP_PATH_PEER_GRANT_MAX_BYTES;
	path->peer_grant_pn = taking->pn;
	path->peer_told = true;
}

static void take_probe(struct taking *taking, const struct kcp_segment *segment)
{
	if (segment->sn > 1)
		taking->path->stats.skip_field++;
	else if (segment->sn == 1)
		taking->asks = true;
}

static bool is_data(const struct kcp_segment *segment)
{
	return segment->cmd == KCP_CMD_PUSH || segment->cmd == KCP_CMD_DGRAM ||
	       segment->cmd == KCP_CMD_FWD;
}

bool kcp_path_holds_data(const void *segments, size_t len)
{
	struct wire in = wire_of(segments, len);
	struct kcp_segment segment;

	while (wire_left(&in) > 0)
		if (!kcp_segment_read(&in, &segment) || is_data(&segment))
			return true;
	return false;
}

static void take_segment(struct taking *taking, const struct kcp_segment *segment)
{
	struct kcp_path *path = taking->path;
	bool data = is_data(segment);

	path->stats.in_data += data;
	if (taking->rebuilt && !data) {
		path->stats.skip_rebuilt++;
		return;
	}
	switch (segment->cmd) {
	case KCP_CMD_PUSH:
		take_push(taking, segment);
		break;
	case KCP_CMD_DGRAM:
		take_dgram(taking, segment);
		break;
	case KCP_CMD_FWD:
		take_forward(taking, segment);
		break;
	case KCP_CMD_WASK:
	case KCP_CMD_WINS:
		if (segment->len > 0) {
			path->stats.skip_field++;
			return;
		}
		if (segment->cmd == KCP_CMD_WASK) {
			taking->asks = true;
			path->wins = true;
		}
		break;
	case KCP_CMD_RACK:
		if (taking->rack) {
			path->stats.skip_rack++;
			return;
		}
		taking->rack = true;
		kcp_path_take_rack(path, taking->pn, segment->data, segment->len, taking->now);
		break;
	case KCP_CMD_CONTROL:
		taking->asks = true;
		path->io.control(path->io.ctx, segment->data, segment->len, taking->pn);
		break;
	case KCP_CMD_PROBE:
		take_probe(taking, segment);
		break;
	default:
		path->stats.skip_command++;
		return;
	}
	path->stats.in_segments++;
	take_grant(taking, segment);
}

/* Whether the bytes are whole segments, and CONTROL is well-formed. */
static enum kcp_path_verdict walk(
	const struct kcp_path *path, const void *segments, size_t len, bool rebuilt)
{
	struct wire in = wire_of(segments, len);
	struct kcp_segment segment;

	while (wire_left(&in) > 0) {
		if (!kcp_segment_read(&in, &segment))
			return KCP_PATH_BAD_LENGTH;
		if (segment.cmd == KCP_CMD_CONTROL && !rebuilt &&
			!path->io.control_check(path->io.ctx, segment.data, segment.len))
			return KCP_PATH_BAD_CONTROL;
	}
	return KCP_PATH_OK;
}

static enum kcp_path_verdict input(struct kcp_path *path, uint64_t pn, const void *segments,
	size_t len, bool rebuilt, struct mono now)
{
	struct taking taking = {
		.path = path, .now = now, .pn = pn, .rebuilt = rebuilt, .whole = true};
	enum kcp_seen_state state = kcp_seen_state(&path->seen, pn);
	enum kcp_path_verdict verdict = walk(path, segments, len, rebuilt);
	struct wire in = wire_of(segments, len);
	struct kcp_segment segment;

	if (verdict != KCP_PATH_OK)
		return verdict;
	if (state == KCP_SEEN_RECEIVED || (rebuilt && state != KCP_SEEN_NEW))
		return KCP_PATH_ALREADY;
	if (state == KCP_SEEN_REBUILT) { /* it moves to the list of what was received */
		kcp_seen_add(&path->seen, pn, true, path->sent.srtt_us, now);
		return KCP_PATH_ALREADY;
	}
	path->heard++;
	kcp_path_wake_bases(path, now);
	path->stats.in_bytes += len;
	kcp_grant_arrived(&path->grant, len, path->sent.srtt_us, now);
	path->in.stretch_left = KCP_PATH_STRETCH;
	while (wire_left(&in) > 0) {
		kcp_segment_read(&in, &segment);
		take_segment(&taking, &segment);
	}
	path->stats.discarded_messages = path->in.discarded;
	path->stats.broken_messages = path->in.broken;
	if (!taking.whole)
		return taking.full ? KCP_PATH_NO_MEMORY : KCP_PATH_OK;
	if (rebuilt) {
		path->stats.rebuilt_datagrams++;
		kcp_seen_add_rebuilt(&path->seen, pn, now);
	} else {
		kcp_seen_add(&path->seen, pn, taking.asks, path->sent.srtt_us, now);
	}
	return KCP_PATH_OK;
}

enum kcp_path_verdict kcp_path_input(struct kcp_path *path, uint64_t pn, const void *segments,
	size_t len, bool ce, bool rebuilt, struct mono now)
{
	enum kcp_path_verdict verdict;

	if (ce && !rebuilt)
		path->seen.ce++;
	verdict = input(path, pn, segments, len, rebuilt, now);
	path->stats.input[verdict]++;
	return verdict;
}

void kcp_path_input_repair(struct kcp_path *path, uint64_t pn, bool ce, struct mono now)
{
	path->seen.ce += ce;
	if (kcp_seen_state(&path->seen, pn) == KCP_SEEN_NEW)
		kcp_seen_add(&path->seen, pn, true, path->sent.srtt_us, now);
}

int kcp_path_recv_iov(struct kcp_path *path, struct iovec *iov, int max, size_t *ret_len)
{
	return kcp_ready_show(&path->ready, iov, max, ret_len);
}

void kcp_path_recv_consume(struct kcp_path *path)
{
	uint32_t pieces = kcp_ready_consume(&path->ready, path->config.pool);

	if (pieces == 0)
		return;
	path->stats.received_messages++;
	path->stats.received_bytes += path->ready.shown_bytes;
	path->ready.shown_bytes = 0;
}
