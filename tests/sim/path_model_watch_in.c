/*
 * What comes to a side, and what should have happened by now. A datagram that was taken marks its pieces as taken at the
 * receiver; the RACK in it marks what its sender now knows. A message whose last piece is taken before a base passed it must
 * be handed out some day; one that is handed out must be that, once, whole, after those before it.
 */
#include "tests/sim/path_model_account.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
	REPORT_US = 5000,
	SRTT_MAX_US = 3000000,	/* no network of these runs is that slow */
	AGED_US = 60000000,	/* a receiver may free a lane that got nothing for so long */
	LATE_US = 2000,		/* timers of the simulation come that late */
	REPEAT_US = 1200000,	/* and 4 SRTT: a base is told again at least so often */
	REPEATS = 50,		/* then it may wait for news of the peer */
	FORGOTTEN_US = 2900000, /* after that a sender may have forgotten a datagram */
	KEPT_US =
		80000000, /* before that the engine does not free a lane whose base is not known */
	OVERDUE_US = 1300000, /* after its time a message is given up */
};

/* ---- acknowledgements ----------------------------------------------------------------------------------------------- */

static void note_base_acked(struct path_watch *watch, unsigned side, struct watch_half *half,
	const struct watch_ref *ref)
{
	struct watch_lane *lane = &half->lanes[ref->lane];

	if (ref->una > lane->base_acked)
		lane->base_acked = ref->una;
	watch_settle(watch, side, half, ref->lane);
	/* So it passed all of the lane's life before. */
	for (int before = lane->previous; before >= 0; before = half->lanes[before].previous) {
		half->lanes[before].base_acked = half->lanes[before].rel_next;
		watch_settle(watch, side, half, before);
	}
}

static void note_acked(struct path_watch *watch, unsigned side, struct watch_half *half,
	uint64_t pn, bool rebuilt, struct mono now)
{
	struct watch_dgram *dgram = &half->dgrams[pn];
	bool late = now.us - dgram->at_us > FORGOTTEN_US ||
		    (dgram->fate == FATE_LOST && !(rebuilt && dgram->fate_at_us == now.us));
	struct watch_message *messages = watch->sides[side].messages;

	dgram->acked = true;
	for (int r = dgram->first_ref; r < dgram->first_ref + dgram->refs; r++) {
		struct watch_ref *ref = &half->refs[r];
		if (ref->item < 0) {
			if (ref->lane >= 0)
				note_base_acked(watch, side, half, ref);
			continue;
		}
		struct watch_item *item = &half->items[ref->item];
		struct watch_message *m = &messages[item->message];
		if (!item->acked) {
			item->acked = true;
			item->late = late;
			m->late = m->late || late;
			m->acked++;
			if (late || now.us >= m->at_us + watch_shortest_us(&watch->sides[side]))
				half->inexact = true; /* its sender may have given it up */
		}
		if (m->ordered)
			watch_settle(watch, side, half, m->lane);
	}
}

static void take_rack(
	struct path_watch *watch, unsigned side, const struct model_seg *seg, struct mono now)
{
	struct watch_half *half = watch_current(watch, side);
	struct model_rack rack;
	bool news = false;

	if (!model_rack_parse(seg->body, seg->len, &rack))
		return;
	if (rack.largest >= (uint64_t)half->dgram_count) {
		watch_fail(watch, "%" PRIu64 " is acknowledged and was never sent", rack.largest);
		return;
	}
	for (unsigned list = 0; list < 2; list++) {
		const struct model_range *ranges = list == 0 ? rack.received : rack.rebuilt;
		unsigned count = list == 0 ? rack.received_count : rack.rebuilt_count;
		for (unsigned i = 0; i < count; i++)
			for (uint64_t pn = ranges[i].from < half->acked_floor ? half->acked_floor
									      : ranges[i].from;
				pn <= ranges[i].to; pn++)
				if (!half->dgrams[pn].acked) {
					note_acked(watch, side, half, pn, list == 1, now);
					news = true;
				}
	}
	for (int l = 0; news && l < half->lane_count; l++) {
		half->lanes[l].told = 0;
		half->lanes[l].una_out_at = now.us;
	}
	while (half->acked_floor < (uint64_t)half->dgram_count &&
		half->dgrams[half->acked_floor].acked)
		half->acked_floor++;
}

/* ---- what a receiver takes ------------------------------------------------------------------------------------------ */

static void note_age(struct watch_lane *lane, struct mono now)
{
	if (lane->seen_at > 0 && now.us - lane->seen_at >= AGED_US)
		lane->aged = true;
}

static void see_base(struct watch_half *coming, int at, uint32_t una, struct mono now)
{
	struct watch_lane *lane = &coming->lanes[at];
	uint32_t rel = una - lane->start;

	note_age(lane, now);
	lane->seen_at = now.us;
	if (lane->start_known && rel <= lane->rel_next && rel > lane->una_seen)
		lane->una_seen = rel;
	/* It stands above all of the lane's life before. */
	for (int before = lane->previous; before >= 0; before = coming->lanes[before].previous)
		coming->lanes[before].una_seen = coming->lanes[before].rel_next;
}

static void take_item(
	struct path_watch *watch, unsigned side, struct watch_half *coming, int at, bool whole)
{
	struct watch_item *item = &coming->items[at];
	struct watch_message *m = &watch->sides[1 - side].messages[item->message];

	if (!whole) {
		item->maybe = true;
		return;
	}
	if (item->taken)
		return;
	item->taken = true;
	m->taken++;
	if (m->taken < m->pieces)
		return;
	if (!m->ordered || (m->rel >= coming->lanes[m->lane].una_seen && !coming->holes))
		m->must = true;
}

static void note_arrival(struct path_watch *watch, unsigned side, struct watch_half *coming,
	uint64_t pn, bool rebuilt, bool asks, struct mono now)
{
	struct watch_dgram *dgram = &coming->dgrams[pn];

	if (rebuilt) {
		dgram->got = GOT_REBUILT;
		coming->asked = true;
	} else {
		dgram->got = GOT_RECEIVED;
		dgram->got_at_us = now.us;
		if (!coming->any_got || pn > coming->largest)
			coming->largest = pn;
		coming->any_got = true;
		memmove(coming->arrivals + 1, coming->arrivals,
			(ACCOUNT_ARRIVALS - 1) * sizeof(coming->arrivals[0]));
		coming->arrivals[0] = pn;
		if (coming->arrival_count < ACCOUNT_ARRIVALS)
			coming->arrival_count++;
	}
	dgram->reported = false;
	coming->news = watch_grow(
		coming->news, coming->news_count, &coming->news_cap, sizeof(*coming->news));
	coming->news[coming->news_count++] = pn;
	if (asks && !rebuilt) {
		coming->asked = true;
		if (coming->must_report_since == INT64_MAX)
			coming->must_report_since = now.us;
	}
	(void)watch;
	(void)side;
}

static void take_segments(struct path_watch *watch, unsigned side, uint64_t pn,
	const uint8_t *bytes, size_t len, bool whole, bool rebuilt, struct mono now)
{
	struct watch_half *coming = watch_coming(watch, side);
	struct watch_half *half = watch_current(watch, side);
	const struct watch_dgram *dgram = &coming->dgrams[pn];
	const uint8_t *at = bytes;
	int ref = dgram->first_ref;
	struct model_seg seg;

	while (model_seg_next(&at, bytes + len, &seg)) {
		if (!rebuilt && (!half->any_limit || pn >= half->limit_pn)) {
			uint64_t limit = (uint64_t)seg.wnd * KCP_PATH_GRANT_UNIT_BYTES;
			/* One that was taken in part may or may not count. */
			if (whole || limit > half->limit)
				half->limit = limit;
			half->any_limit = true;
			half->limit_pn = pn;
		}
		switch (seg.cmd) {
		case MODEL_PUSH: /* left two marks: its base, itself */
			see_base(coming, coming->refs[ref].lane, seg.una, now);
			take_item(watch, side, coming, coming->refs[ref + 1].item, whole);
			ref += 2;
			break;
		case MODEL_DGRAM:
			take_item(watch, side, coming, coming->refs[ref].item, whole);
			ref++;
			break;
		case MODEL_FWD:
			if (coming->refs[ref].lane >= 0)
				see_base(coming, coming->refs[ref].lane, seg.una, now);
			ref++;
			break;
		case MODEL_RACK:
			if (!rebuilt) /* also of one that was not taken wholly */
				take_rack(watch, side, &seg, now);
			break;
		default:
			break;
		}
	}
}

void watch_in(struct path_watch *watch, unsigned side, uint64_t pn, const uint8_t *bytes,
	size_t len, enum kcp_path_verdict verdict, bool ce, bool rebuilt, struct mono now)
{
	struct watch_half *coming = watch_coming(watch, side);
	struct watch_dgram *dgram = &coming->dgrams[pn];
	bool known = dgram->got == GOT_RECEIVED || dgram->got == GOT_REBUILT;

	if (watch->trace)
		fprintf(stderr, "%10.3f %c gets pn %" PRIu64 "%s: %s\n", (double)now.us / 1000,
			'A' + (int)side, pn, rebuilt ? " (rebuilt)" : "",
			kcp_path_verdict_str(verdict));
	if ((verdict == KCP_PATH_ALREADY) != known)
		watch_fail(
			watch, "pn %" PRIu64 " is judged '%s'", pn, kcp_path_verdict_str(verdict));
	switch (verdict) {
	case KCP_PATH_ALREADY:
		if (dgram->got == GOT_REBUILT && !rebuilt) {
			note_arrival(watch, side, coming, pn, false, false, now);
			coming->asked = true; /* that it came is news */
		}
		coming->ce += ce;
		return;
	case KCP_PATH_OK:
		coming->ce += ce;
		note_arrival(watch, side, coming, pn, rebuilt, dgram->asks, now);
		take_segments(watch, side, pn, bytes, len, true, rebuilt, now);
		return;
	case KCP_PATH_NO_MEMORY:
		coming->ce += ce;
		dgram->got = GOT_DROPPED;
		take_segments(watch, side, pn, bytes, len, false, rebuilt, now);
		return;
	case KCP_PATH_BAD_CONTROL:
		coming->ce += ce; /* authentic all the same */
		dgram->got = GOT_DROPPED;
		return;
	case KCP_PATH_BAD_LENGTH:
	case KCP_PATH_VERDICTS:
		watch_fail(
			watch, "pn %" PRIu64 " is judged '%s'", pn, kcp_path_verdict_str(verdict));
	}
}

/* ---- what a reader gets --------------------------------------------------------------------------------------------- */

static void judge_order(struct path_watch *watch, unsigned side, struct watch_half *coming,
	int message, struct mono now)
{
	const struct watch_message *messages = watch->sides[1 - side].messages;
	const struct watch_message *m = &messages[message];
	struct watch_lane *lane = &coming->lanes[m->lane];

	note_age(lane, now);
	if (m->order <= lane->delivered) {
		watch_fail(watch, "message %d of lane %u comes after one behind it", message,
			lane->conv);
		return;
	}
	for (int i = lane->delivered + 1; i < m->order && !coming->holes && !lane->aged; i++) {
		const struct watch_message *before = &messages[lane->messages[i]];
		if (before->rel + before->pieces > lane->una_seen) {
			watch_fail(watch, "message %d of lane %u comes past a gap", message,
				lane->conv);
			return;
		}
	}
	for (int l = m->lane + 1; l < coming->lane_count; l++)
		if (coming->lanes[l].conv == lane->conv && coming->lanes[l].delivered >= 0)
			watch_fail(watch, "message %d of lane %u is of a life before", message,
				lane->conv);
	lane->delivered = m->order;
}

void watch_delivered(
	struct path_watch *watch, unsigned side, const uint8_t *bytes, size_t len, struct mono now)
{
	struct watch_half *coming = watch_coming(watch, side);
	int message = watch_message_of(watch, 1 - side, bytes, len, true);
	struct watch_message *m = message < 0 ? NULL : &watch->sides[1 - side].messages[message];

	if (watch->trace)
		fprintf(stderr, "%10.3f %c reads message %d, %zu bytes\n", (double)now.us / 1000,
			'A' + (int)side, message, len);
	if (!m || m->len != len || !watch_content_is(watch, 1 - side, message, 0, bytes, len)) {
		watch_fail(watch, "side %c got %zu bytes that nobody sent", 'A' + (int)side, len);
		return;
	}
	if (m->half_epoch != coming->epoch) {
		watch_fail(watch, "message %d is of a dead instance", message);
		return;
	}
	if (m->delivered) {
		watch_fail(watch, "message %d is handed out twice", message);
		return;
	}
	for (uint32_t i = 0; i < m->pieces; i++) {
		const struct watch_item *item = &coming->items[m->first_item + (int)i];
		if (!item->taken && !item->maybe) {
			watch_fail(watch, "message %d is handed out without piece %u", message, i);
			return;
		}
	}
	m->delivered = true;
	watch->totals.delivered++;
	if (m->ordered)
		judge_order(watch, side, coming, message, now);
}

/* ---- fates ---------------------------------------------------------------------------------------------------------- */

void watch_fate(struct path_watch *watch, unsigned side, uint64_t pn, size_t bytes, bool lost,
	struct mono now)
{
	struct watch_half *half = watch_current(watch, side);

	if (pn >= (uint64_t)half->dgram_count) {
		watch_fail(watch, "fate of %" PRIu64 ", which was not sent", pn);
		return;
	}
	struct watch_dgram *dgram = &half->dgrams[pn];
	/* A late acknowledgement corrects a loss. */
	bool again = dgram->fate == FATE_ACKED || (dgram->fate == FATE_LOST && lost);
	if (again || !dgram->asks || dgram->bytes != bytes || dgram->probe)
		watch_fail(watch, "fate of %" PRIu64 " (%zu bytes, lost %d) is told %s", pn, bytes,
			lost, again ? "twice" : "wrongly");
	if (watch->trace)
		fprintf(stderr, "           %c learns that pn %" PRIu64 " is %s\n", 'A' + (int)side,
			pn, lost ? "lost" : "there");
	dgram->fate = lost ? FATE_LOST : FATE_ACKED;
	dgram->fate_at_us = now.us;
}

/* ---- what should have happened -------------------------------------------------------------------------------------- */

static void tick_lane(
	struct path_watch *watch, unsigned side, struct watch_half *half, int at, struct mono now)
{
	struct watch_side *s = &watch->sides[side];
	const struct watch_lane *lane = &half->lanes[at];

	if (lane->dirty_end > lane->base_acked &&
		now.us - lane->una_out_at > REPEAT_US + 4 * s->srtt_max_us &&
		lane->told < REPEATS && now.us - lane->accepted_at < KEPT_US)
		watch_fail(watch, "side %c does not tell the base of lane %u again",
			'A' + (int)side, lane->conv);
	if (lane->open == lane->message_count)
		return;
	const struct watch_message *m = &s->messages[lane->messages[lane->open]];
	if (m->acked == m->pieces || m->sent == 0)
		return;
	if (now.us - m->at_us > watch_longest_us(s) + OVERDUE_US)
		watch_fail(watch, "message at sn %u of lane %u is not given up",
			lane->start + m->rel, lane->conv);
}

void watch_note_holes(struct path_watch *watch, unsigned side)
{
	watch_coming(watch, side)->holes = true;
}

void watch_tick(struct path_watch *watch, unsigned side, int64_t srtt_us, struct mono now)
{
	struct watch_side *s = &watch->sides[side];
	struct watch_half *half = watch_current(watch, side);
	struct watch_half *coming = watch_coming(watch, side);

	if (srtt_us > s->srtt_max_us)
		s->srtt_max_us = srtt_us;
	if (srtt_us > SRTT_MAX_US)
		watch_fail(watch, "side %c believes in an SRTT of %" PRId64 " us", 'A' + (int)side,
			srtt_us);
	int64_t since = coming->must_report_since;
	if (since != INT64_MAX && now.us - since > REPORT_US + LATE_US &&
		now.us - s->refused_at > 1100000)
		watch_fail(watch, "side %c does not acknowledge", 'A' + (int)side);
	if (now.us - s->refused_at <= 2500000)
		return;
	for (int l = 0; l < half->lane_count && !watch->failed; l++)
		if (watch_find_lane(half, half->lanes[l].conv) == l)
			tick_lane(watch, side, half, l, now);
}

static void quiet_side(struct path_watch *watch, unsigned side, bool fates)
{
	struct watch_side *s = &watch->sides[side];
	struct watch_half *half = watch_current(watch, side);

	for (int i = 0; i < s->message_count; i++) {
		const struct watch_message *m = &s->messages[i];
		if (m->half_epoch != half->epoch || m->delivered)
			continue;
		if (m->must)
			watch_fail(watch, "message %d was whole and is not handed out", i);
		else if (m->calm)
			watch_fail(watch, "message %d is lost on a network without loss", i);
		else if (m->ordered && m->acked == m->pieces && !m->given_up && !half->holes)
			watch_fail(watch, "message %d was acknowledged and is not handed out", i);
		else if (m->ordered && m->sent == m->pieces && m->acked < m->pieces && !m->passed)
			watch_fail(watch, "message %d is neither acknowledged nor given up", i);
	}
	for (int i = 0; fates && i < half->dgram_count; i++)
		if (half->dgrams[i].asks && !half->dgrams[i].probe &&
			half->dgrams[i].fate == FATE_OPEN)
			watch_fail(watch, "the fate of %d was never told", i);
}

void watch_quiet(struct path_watch *watch, const bool fates[2])
{
	for (unsigned side = 0; side < 2; side++)
		quiet_side(watch, side, fates[side]);
}

/* ---- for who looks for the reason ----------------------------------------------------------------------------------- */

static void dump_item(const struct watch_half *half, int at)
{
	fprintf(stderr, "    piece %u, sn %u:", half->items[at].index, half->items[at].sn);
	for (int d = 0; d < half->dgram_count; d++)
		for (int r = 0; r < half->dgrams[d].refs; r++)
			if (half->refs[half->dgrams[d].first_ref + r].item == at)
				fprintf(stderr, " in pn %d (%s, %s)", d,
					half->dgrams[d].got == GOT_NOTHING ? "never came" : "came",
					half->dgrams[d].fate == FATE_LOST    ? "told lost"
					: half->dgrams[d].fate == FATE_ACKED ? "told acknowledged"
									     : "no fate");
	fputs("\n", stderr);
}

void watch_dump(struct path_watch *watch)
{
	for (unsigned side = 0; side < 2; side++) {
		const struct watch_side *s = &watch->sides[side];
		const struct watch_half *half = watch_current(watch, side);
		for (int i = 0; i < s->message_count; i++) {
			const struct watch_message *m = &s->messages[i];
			if (m->half_epoch != half->epoch || m->acked == m->pieces || m->passed)
				continue;
			fprintf(stderr, "%c: message %d of flow %u, class %d, accepted %.3f:\n",
				'A' + (int)side, i, m->flow, m->class, (double)m->at_us / 1000);
			for (uint32_t p = 0; p < m->pieces; p++)
				if (!half->items[m->first_item + (int)p].acked)
					dump_item(half, m->first_item + (int)p);
		}
	}
}
