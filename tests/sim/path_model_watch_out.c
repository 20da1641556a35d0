/*
 * What leaves a side. Each segment is traced back to the message it belongs to, by its content where a lane or flow is new and
 * by its number ever after, and compared with what was accepted. A base must stand between two messages, never go back, never
 * stay behind what its sender knows to be acknowledged, and pass what is not acknowledged only when its time is up. A RACK is
 * held against what came in.
 */
#include "tests/sim/path_model_account.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
	FORGOTTEN = 500, /* numbers below the largest that a receiver may have forgotten */
};

/* One datagram under judgement. */
struct looking {
	struct path_watch *watch;
	unsigned side;
	struct watch_half *half;
	uint64_t pn;
	struct mono now;
	int flags; /* as content says */
	uint16_t wnd;
	bool any;
	unsigned items;
};

static int add_ref(struct watch_half *half, struct watch_ref ref)
{
	half->refs = watch_grow(half->refs, half->ref_count, &half->ref_cap, sizeof(*half->refs));
	half->refs[half->ref_count] = ref;
	return half->ref_count++;
}

static int64_t earliest_end(const struct watch_side *s, const struct watch_message *m)
{
	switch (m->class) {
	case KCP_PATH_CTL:
		return m->at_us + 1000000;
	case KCP_PATH_BULK:
		return m->at_us + s->bulk_min_us;
	default:
		return m->at_us + 150000;
	}
}

/* ---- bases ---------------------------------------------------------------------------------------------------------- */

static void pass(struct looking *look, struct watch_message *m, struct watch_lane *lane)
{
	const struct watch_side *s = &look->watch->sides[look->side];

	m->passed = true;
	if (m->acked == m->pieces)
		return;
	m->given_up = true;
	look->half->inexact = true;
	look->watch->totals.given_up++;
	if (m->sent > 0) {
		lane->dirty_end = m->rel + m->pieces;
		lane->told = 0;
	}
	if (!m->too_long && look->now.us < earliest_end(s, m))
		watch_fail(look->watch,
			"pn %" PRIu64 ": message at sn %u of lane %u given up after %" PRId64 " us",
			look->pn, lane->start + m->rel, lane->conv, look->now.us - m->at_us);
	if (look->watch->calm && m->calm)
		watch_fail(look->watch, "pn %" PRIu64 ": given up on a network without loss",
			look->pn);
}

static void judge_base(struct looking *look, int at, uint32_t una)
{
	struct watch_lane *lane = &look->half->lanes[at];
	struct watch_message *messages = look->watch->sides[look->side].messages;
	uint32_t rel = una - lane->start;

	if (rel > lane->rel_next) {
		watch_fail(look->watch, "pn %" PRIu64 ": base %u of lane %u is beyond all sent",
			look->pn, una, lane->conv);
		return;
	}
	if (rel < lane->una_out) {
		watch_fail(look->watch, "pn %" PRIu64 ": base of lane %u goes back from %u to %u",
			look->pn, lane->conv, lane->start + lane->una_out, una);
		return;
	}
	while (lane->open < lane->message_count) {
		struct watch_message *m = &messages[lane->messages[lane->open]];
		if (m->rel >= rel) {
			if (m->rel > rel)
				break;
			if (m->acked == m->pieces && !m->late)
				watch_fail(look->watch,
					"pn %" PRIu64 ": base %u of lane %u stays before a message "
					"that is acknowledged",
					look->pn, una, lane->conv);
			break;
		}
		if (m->rel + m->pieces > rel)
			watch_fail(look->watch, "pn %" PRIu64 ": base %u of lane %u cuts a message",
				look->pn, una, lane->conv);
		pass(look, m, lane);
		lane->open++;
	}
	lane->una_out = rel;
	lane->una_out_at = look->now.us;
	lane->told++;
	watch_settle(look->watch, look->side, look->half, at);
	add_ref(look->half, (struct watch_ref){.item = -1, .lane = at, .una = rel});
}

/* ---- items ---------------------------------------------------------------------------------------------------------- */

/* Where a lane that was freed may begin: at the largest next sn of any lane or flow that was idle for long enough. */
static void judge_start(struct looking *look, const struct watch_lane *lane)
{
	const struct watch_half *half = look->half;
	uint32_t highest = half->origin;

	for (int l = 0; l < half->lane_count; l++) {
		const struct watch_lane *other = &half->lanes[l];
		if (other == lane)
			continue;
		if (!other->start_known)
			return; /* nobody can know where it is */
		uint32_t end = other->start + other->rel_next;
		if (look->now.us - other->accepted_at >= 30000000 &&
			end - half->origin > highest - half->origin)
			highest = end;
	}
	for (int i = 0; i < half->item_count; i++) {
		const struct watch_item *item = &half->items[i];
		const struct watch_message *m =
			&look->watch->sides[look->side].messages[item->message];
		if (!m->ordered && item->sent == 0)
			return; /* its number was never seen */
		if (!m->ordered && look->now.us - m->at_us >= 30000000 &&
			item->sn + 1 - half->origin > highest - half->origin)
			highest = item->sn + 1;
	}
	if (lane->start - half->origin > highest - half->origin)
		watch_fail(look->watch,
			"pn %" PRIu64 ": lane %u begins at %u, above %u that a freed one had",
			look->pn, lane->conv, lane->start, highest);
	if (lane->previous < 0)
		return;
	const struct watch_lane *before = &half->lanes[lane->previous];
	if (!before->start_known)
		return;
	uint32_t end = before->start + before->rel_next;
	if (lane->start - half->origin < end - half->origin)
		watch_fail(look->watch,
			"pn %" PRIu64 ": lane %u begins again at %u, below its end %u", look->pn,
			lane->conv, lane->start, end);
	look->watch->totals.reborn_lanes += lane->start != end;
}

static void begin_lane(struct looking *look, struct watch_lane *lane, uint32_t start)
{
	lane->start_known = true;
	lane->start = start;
	judge_start(look, lane);
}

/*
 * A lane may show itself by a piece inside a message, when the first is too long for the path just now. Content tells which it
 * is; a few bytes may be found anywhere, then the base must agree.
 */
static int find_inside(struct looking *look, const struct model_seg *seg)
{
	int at = watch_find_lane(look->half, seg->conv);

	if (at < 0 || look->half->lanes[at].start_known)
		return -1;
	struct watch_lane *lane = &look->half->lanes[at];
	for (int i = 0; i < lane->message_count; i++) {
		int message = lane->messages[i];
		const struct watch_message *m = &look->watch->sides[look->side].messages[message];
		uint32_t index = m->pieces - 1 - seg->frg;
		uint32_t start = seg->sn - m->rel - index;
		if (index >= m->pieces || (seg->len < 8 && start != seg->una) ||
			!watch_content_is(look->watch, look->side, message,
				watch_piece_at(m, index), seg->body, seg->len))
			continue;
		begin_lane(look, lane, start);
		return m->first_item + (int)index;
	}
	return -1;
}

/* The item of a PUSH; -1 after a failure. */
static int find_push(struct looking *look, const struct model_seg *seg)
{
	struct path_watch *watch = look->watch;
	struct watch_half *half = look->half;

	if (seg->frg & 0x80) {
		int message = watch_message_of(
			watch, look->side, seg->body, seg->len, (seg->frg & 0x7f) == 0);
		const struct watch_message *m =
			message < 0 ? NULL : &watch->sides[look->side].messages[message];
		if (!m || !m->ordered || m->half_epoch != half->epoch || m->flow != seg->conv) {
			watch_fail(watch, "pn %" PRIu64 ": PUSH %u of lane %u begins no message",
				look->pn, seg->sn, seg->conv);
			return -1;
		}
		struct watch_lane *lane = &half->lanes[m->lane];
		if (!lane->start_known)
			begin_lane(look, lane, seg->sn - m->rel);
		if (seg->sn != lane->start + m->rel) {
			watch_fail(watch,
				"pn %" PRIu64 ": PUSH %u of lane %u: message %d belongs at %u",
				look->pn, seg->sn, seg->conv, message, lane->start + m->rel);
			return -1;
		}
		return m->first_item;
	}
	for (int l = half->lane_count; l-- > 0;) {
		const struct watch_lane *lane = &half->lanes[l];
		if (lane->conv == seg->conv && lane->start_known &&
			seg->sn - lane->start < lane->rel_next)
			return lane->items[seg->sn - lane->start];
	}
	int inside = find_inside(look, seg);
	if (inside >= 0)
		return inside;
	watch_fail(watch, "pn %" PRIu64 ": PUSH %u of lane %u is a piece of nothing", look->pn,
		seg->sn, seg->conv);
	return -1;
}

static void note_item(struct looking *look, int at)
{
	static const int flags[KCP_PATH_CLASSES] = {[KCP_PATH_RT] = KCP_PATH_OUT_RT,
		[KCP_PATH_CTL] = KCP_PATH_OUT_RT,
		[KCP_PATH_ACK] = KCP_PATH_OUT_ACK,
		[KCP_PATH_BULK] = KCP_PATH_OUT_BULK,
		[KCP_PATH_LOOSE] = KCP_PATH_OUT_BULK};
	struct watch_item *item = &look->half->items[at];
	struct watch_message *m = &look->watch->sides[look->side].messages[item->message];

	look->flags |= flags[m->class];
	look->items++;
	if (item->acked && !item->late)
		watch_fail(look->watch,
			"pn %" PRIu64 ": sends piece %u of message %d that is acknowledged",
			look->pn, item->index, item->message);
	if (m->given_up && item->sent > 0)
		watch_fail(look->watch,
			"pn %" PRIu64 ": sends piece %u of message %d that is given up", look->pn,
			item->index, item->message);
	if (item->sent++ > 0) {
		look->flags |= KCP_PATH_OUT_RESEND;
		look->watch->totals.resent++;
	} else {
		m->sent++;
	}
	add_ref(look->half, (struct watch_ref){.item = at});
}

static void look_push(struct looking *look, const struct model_seg *seg)
{
	struct path_watch *watch = look->watch;
	const struct watch_side *s = &watch->sides[look->side];

	if (seg->conv >= KCP_PATH_LANES || seg->len == 0 || seg->len > s->piece_max)
		watch_fail(watch, "pn %" PRIu64 ": PUSH of %u bytes in lane %u", look->pn, seg->len,
			seg->conv);
	if (seg->sn - seg->una >= KCP_PATH_SPAN)
		watch_fail(
			watch, "pn %" PRIu64 ": PUSH %u with base %u", look->pn, seg->sn, seg->una);
	int at = find_push(look, seg);
	if (at < 0)
		return;
	struct watch_item *item = &look->half->items[at];
	const struct watch_message *m = &s->messages[item->message];
	uint32_t from = watch_piece_at(m, item->index);
	uint32_t most = item->index == 0 ? m->head : m->cut;
	uint32_t len = m->len - from < most ? m->len - from : most;
	uint8_t frg = (uint8_t)((item->index == 0 ? 0x80 : 0) | (m->pieces - 1 - item->index));
	if (seg->frg != frg || seg->len != len ||
		!watch_content_is(watch, look->side, item->message, from, seg->body, seg->len))
		watch_fail(watch,
			"pn %" PRIu64 ": PUSH %u of lane %u is not piece %u of message %d",
			look->pn, seg->sn, seg->conv, item->index, item->message);
	item->sn = seg->sn;
	judge_base(look, m->lane, seg->una);
	note_item(look, at);
}

static void look_dgram(struct looking *look, const struct model_seg *seg)
{
	struct path_watch *watch = look->watch;
	struct watch_half *half = look->half;
	struct watch_side *s = &watch->sides[look->side];
	int message = watch_message_of(watch, look->side, seg->body, seg->len, true);
	struct watch_message *m = message < 0 ? NULL : &s->messages[message];

	if (!m || m->ordered || m->half_epoch != half->epoch || m->flow != seg->conv ||
		seg->frg != 0x80 || seg->una != 0 || seg->len != m->len ||
		!watch_content_is(watch, look->side, message, 0, seg->body, seg->len)) {
		watch_fail(watch, "pn %" PRIu64 ": DGRAM %u of flow %u is no message", look->pn,
			seg->sn, seg->conv);
		return;
	}
	struct watch_item *item = &half->items[m->first_item];
	if (item->sent > 0 && item->sn != seg->sn)
		watch_fail(watch, "pn %" PRIu64 ": DGRAM %u of flow %u was %u", look->pn, seg->sn,
			seg->conv, item->sn);
	for (int i = 0; item->sent == 0 && i < half->item_count; i++) {
		const struct watch_message *other = &s->messages[half->items[i].message];
		if (!other->ordered && other->flow == seg->conv && half->items[i].sent > 0 &&
			half->items[i].sn == seg->sn)
			watch_fail(watch, "pn %" PRIu64 ": two DGRAMs %u of flow %u", look->pn,
				seg->sn, seg->conv);
	}
	if (m->class == KCP_PATH_ACK && item->sent > 0)
		watch_fail(watch, "pn %" PRIu64 ": a message of class ACK is sent again", look->pn);
	if ((m->class == KCP_PATH_RT || m->class == KCP_PATH_LOOSE) &&
		look->now.us > m->at_us + 150000 + 1000)
		watch_fail(watch,
			"pn %" PRIu64 ": a message that is to be in time is sent after %" PRId64
			" us",
			look->pn, look->now.us - m->at_us);
	item->sn = seg->sn;
	note_item(look, m->first_item);
}

static void look_fwd(struct looking *look, const struct model_seg *seg)
{
	struct watch_half *half = look->half;
	int newest = watch_find_lane(half, seg->conv);

	look->watch->totals.fwds++;
	for (int l = newest; l >= 0; l = half->lanes[l].previous) {
		const struct watch_lane *lane = &half->lanes[l];
		if (!lane->start_known || (l != newest && seg->una - lane->start > lane->rel_next))
			continue;
		judge_base(look, l, seg->una);
		return;
	}
	/* Of a life of which nothing was sent: all that is known is that it stands above the lives before. */
	add_ref(half, (struct watch_ref){.item = -1, .lane = newest});
}

/* ---- RACK ----------------------------------------------------------------------------------------------------------- */

static void judge_ranges(struct looking *look, struct watch_half *coming,
	const struct model_range *ranges, unsigned count, enum watch_got what)
{
	for (unsigned i = 0; i < count; i++)
		for (uint64_t pn = ranges[i].from; pn <= ranges[i].to; pn++) {
			if (pn >= (uint64_t)coming->dgram_count || coming->dgrams[pn].got != what) {
				watch_fail(look->watch, "pn %" PRIu64 ": reports %" PRIu64 " as %s",
					look->pn, pn,
					what == GOT_RECEIVED ? "received" : "rebuilt");
				return;
			}
			coming->dgrams[pn].reported = true;
		}
}

static void look_rack(struct looking *look, const struct model_seg *seg)
{
	struct path_watch *watch = look->watch;
	struct watch_half *coming = watch_coming(watch, look->side);
	struct model_rack rack;

	watch->totals.racks++;
	look->flags |= KCP_PATH_OUT_RACK;
	if (!model_rack_parse(seg->body, seg->len, &rack)) {
		watch_fail(watch, "pn %" PRIu64 ": RACK against the rules", look->pn);
		return;
	}
	if (!coming->any_got || rack.largest != coming->largest) {
		watch_fail(watch, "pn %" PRIu64 ": RACK with largest %" PRIu64 ", not %" PRIu64,
			look->pn, rack.largest, coming->largest);
		return;
	}
	judge_ranges(look, coming, rack.received, rack.received_count, GOT_RECEIVED);
	judge_ranges(look, coming, rack.rebuilt, rack.rebuilt_count, GOT_REBUILT);
	if (watch->failed)
		return;
	int64_t delay = (look->now.us - coming->dgrams[rack.largest].got_at_us) / 16;
	if (rack.delay != (delay > UINT16_MAX ? UINT16_MAX : delay))
		watch_fail(watch, "pn %" PRIu64 ": RACK with delay %u, not %" PRId64, look->pn,
			rack.delay, delay);
	if (rack.ce != (coming->ce & 0xffffff))
		watch_fail(watch, "pn %" PRIu64 ": RACK with %u CE marks, not %u", look->pn,
			rack.ce, coming->ce);
	unsigned full = MODEL_RANGES_MAX;
	for (int i = 0;
		i < coming->news_count && rack.received_count < full && rack.rebuilt_count < full;
		i++)
		if (!coming->dgrams[coming->news[i]].reported &&
			coming->news[i] + FORGOTTEN > rack.largest)
			watch_fail(watch, "pn %" PRIu64 ": RACK without the new %" PRIu64, look->pn,
				coming->news[i]);
	for (unsigned i = 0; i < coming->arrival_count && rack.received_count < full; i++)
		if (coming->arrivals[i] + FORGOTTEN > rack.largest &&
			!model_rack_lists(rack.received, rack.received_count, coming->arrivals[i]))
			watch_fail(watch, "pn %" PRIu64 ": RACK without the recent %" PRIu64,
				look->pn, coming->arrivals[i]);
	coming->news_count = 0;
	coming->must_report_since = INT64_MAX;
}

/* ---- datagrams ------------------------------------------------------------------------------------------------------ */

static void look_segment(struct looking *look, const struct model_seg *seg, bool own)
{
	struct path_watch *watch = look->watch;

	if (seg->wnd < KCP_PATH_GRANT_MIN_BYTES / KCP_PATH_GRANT_UNIT_BYTES ||
		(look->any && seg->wnd != look->wnd))
		watch_fail(watch, "pn %" PRIu64 ": wnd %u", look->pn, seg->wnd);
	look->wnd = seg->wnd;
	look->any = true;
	if (!own && seg->ts != (uint32_t)((uint64_t)look->now.us / 1000))
		watch_fail(watch, "pn %" PRIu64 ": ts %u at %" PRId64 " us", look->pn, seg->ts,
			look->now.us);
	if (model_seg_asks(seg))
		look->flags |= KCP_PATH_OUT_ASKS;
	switch (seg->cmd) {
	case MODEL_PUSH:
		look_push(look, seg);
		return;
	case MODEL_DGRAM:
		look_dgram(look, seg);
		return;
	case MODEL_FWD:
		look_fwd(look, seg);
		return;
	case MODEL_RACK:
		look_rack(look, seg);
		return;
	case MODEL_PROBE:
		if (seg->sn == 1)
			look->flags |= KCP_PATH_OUT_PROBE;
		return;
	case MODEL_CONTROL:
		return;
	case MODEL_WASK:
	case MODEL_WINS:
		if (seg->len > 0)
			watch_fail(watch, "pn %" PRIu64 ": a body where none is", look->pn);
		return;
	default:
		watch_fail(watch, "pn %" PRIu64 ": command %u", look->pn, seg->cmd);
	}
}

static void trace_rack(const struct model_rack *rack)
{
	for (unsigned i = 0; i < rack->received_count; i++)
		fprintf(stderr, " %" PRIu64 "-%" PRIu64, rack->received[i].from,
			rack->received[i].to);
	for (unsigned i = 0; i < rack->rebuilt_count; i++)
		fprintf(stderr, " rebuilt %" PRIu64 "-%" PRIu64, rack->rebuilt[i].from,
			rack->rebuilt[i].to);
}

static void trace_out(const struct looking *look, const uint8_t *bytes, size_t len)
{
	const uint8_t *at = bytes;
	struct model_seg seg;
	struct model_rack rack;

	fprintf(stderr, "%10.3f %c sends pn %" PRIu64, (double)look->now.us / 1000,
		'A' + (int)look->side, look->pn);
	while (model_seg_next(&at, bytes + len, &seg)) {
		fprintf(stderr, " [%u conv %u frg %02x wnd %u sn %u una %u len %u", seg.cmd,
			seg.conv, seg.frg, seg.wnd, seg.sn, seg.una, seg.len);
		if (seg.cmd == MODEL_RACK && model_rack_parse(seg.body, seg.len, &rack))
			trace_rack(&rack);
		fputs("]", stderr);
	}
	fputs("\n", stderr);
}

void watch_out(struct path_watch *watch, unsigned side, uint64_t pn, const uint8_t *bytes,
	size_t len, int flags, struct mono now)
{
	struct watch_half *half = watch_current(watch, side);
	struct looking look = {.watch = watch, .side = side, .half = half, .pn = pn, .now = now};
	const uint8_t *at = bytes;
	struct model_seg seg;
	bool own = flags < 0;

	watch->totals.datagrams++;
	if (watch->trace)
		trace_out(&look, bytes, len);
	if (pn != (uint64_t)half->dgram_count) {
		watch_fail(watch, "pn %" PRIu64 " where %d was next", pn, half->dgram_count);
		return;
	}
	if (!own && (len == 0 || len > watch->sides[side].config.payload_bytes))
		watch_fail(watch, "pn %" PRIu64 ": %zu bytes", pn, len);
	if (!model_segs_whole(bytes, len))
		watch_fail(watch, "pn %" PRIu64 ": segments do not end at the end", pn);
	half->dgrams = watch_grow(
		half->dgrams, half->dgram_count, &half->dgram_cap, sizeof(*half->dgrams));
	half->dgrams[half->dgram_count++] = (struct watch_dgram){
		.at_us = now.us, .bytes = (uint32_t)len, .first_ref = half->ref_count};
	while (!watch->failed && model_seg_next(&at, bytes + len, &seg))
		look_segment(&look, &seg, own);
	if (watch->failed)
		return;
	struct watch_dgram *dgram = &half->dgrams[pn];
	dgram->refs = half->ref_count - dgram->first_ref;
	dgram->asks = look.flags & KCP_PATH_OUT_ASKS;
	dgram->probe = flags == WATCH_OWN_PROBE;
	if (own)
		return;
	if (look.items > KCP_PATH_PACK_MAX)
		watch_fail(watch, "pn %" PRIu64 ": %u items", pn, look.items);
	int judged = KCP_PATH_OUT_RT | KCP_PATH_OUT_BULK | KCP_PATH_OUT_ACK | KCP_PATH_OUT_RESEND |
		     KCP_PATH_OUT_ASKS | KCP_PATH_OUT_RACK;
	if ((flags & judged) != (look.flags & judged))
		watch_fail(watch, "pn %" PRIu64 ": flags %x, not %x", pn, flags & judged,
			look.flags & judged);
	struct watch_half *coming = watch_coming(watch, side);
	if (!dgram->asks && (look.flags & KCP_PATH_OUT_RACK) && !coming->asked)
		watch_fail(watch, "pn %" PRIu64 ": acknowledges though nothing asked", pn);
	if (look.flags & KCP_PATH_OUT_RACK)
		coming->asked = false;
}
