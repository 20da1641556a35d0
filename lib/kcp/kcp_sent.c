/*
 * One record a datagram, in a ring by packet number. A number is used once, so what an acknowledgement means is never in
 * doubt: a round-trip time can be taken from any, and a late acknowledgement of what was declared lost is seen as such.
 *
 * A report costs what is new in it: numbers above `acked_top` are walked once in their life, when the top passes them; those
 * that were not in the report become holes, linked in order. Below the top only holes are looked at, from the highest
 * down, against the ranges from the highest down, and only as far as the ranges reach.
 *
 * Loss. Both rules (three later numbers received; SRTT + reo past) hold for a number if they hold for a higher one, so what
 * is declared lost is always the lower end of the holes, and a cursor that only moves up finds it. The count of later
 * numbers received is not kept but follows: top - pn less the holes between, which are the pending ones above it. Lost
 * records stay for a while: if one is acknowledged late, the path reorders; then the count rule is off for 60 s and the
 * time allowed for reordering doubles, up to SRTT / 2.
 *
 * A datagram that asks for no acknowledgement is recorded as well: reports tell of it, and its loss is loss of the path.
 * It is not in flight and arms no timer.
 *
 * Above the top nothing is declared lost, however late: without a later acknowledgement there is no telling loss from a
 * delay. That is what the probe is for; its acknowledgement turns all before it into holes. Back-off ends at 250 ms, not at
 * seconds, because after an outage the next probe is what starts the path again; a peer that is silent for long is probed
 * once a second. After a minute nobody is taken to be there: all that flies is declared lost at once, above the top as well, and
 * joins the holes as lost when the top passes it, so that the order of the list holds.
 *
 * Sources: RFC 8985 (RACK), RFC 9002 (packet numbers, probes).
 */
#include "kcp/kcp_sent.h"

#include <string.h>

static struct kcp_sent_record *at(const struct kcp_sent *sent, uint32_t pn)
{
	return kcp_ring_at(&sent->ring, pn);
}

/* The number whose low half is `low`, among those kept. */
static uint64_t whole_pn(const struct kcp_sent *sent, uint32_t low)
{
	return sent->first + (uint32_t)(low - (uint32_t)sent->first);
}

static void forget_numbers(struct kcp_sent *sent, uint64_t next)
{
	kcp_ring_free(&sent->ring);
	kcp_refs_fini(&sent->refs);
	sent->first = next;
	sent->next = next;
	sent->holes = 0;
	sent->pending = 0;
	sent->flying = 0;
	sent->flying_bytes = 0;
}

void kcp_sent_init(struct kcp_sent *sent)
{
	*sent = (struct kcp_sent){
		.unanswered_since = MONO_NEVER,
		.asked_at = MONO_NEVER,
		.reorder_until = mono_at_us(INT64_MIN / 2),
		.reo_raised_at = mono_at_us(INT64_MIN / 2),
	};
	kcp_ring_init(&sent->ring, sizeof(struct kcp_sent_record));
	kcp_refs_init(&sent->refs);
}

void kcp_sent_reset(struct kcp_sent *sent)
{
	forget_numbers(sent, 0);
	sent->any_acked = false;
	sent->acked_top = 0;
	sent->route_pn = 0;
	sent->pto_count = 0;
	sent->unanswered_since = MONO_NEVER;
}

void kcp_sent_skip(struct kcp_sent *sent, uint64_t next)
{
	forget_numbers(sent, next);
}

size_t kcp_sent_bytes(const struct kcp_sent *sent)
{
	return kcp_ring_bytes(&sent->ring) + kcp_ring_bytes(&sent->refs.ring);
}

void kcp_sent_reset_route(struct kcp_sent *sent)
{
	sent->route_pn = sent->next;
	sent->srtt_us = 0;
	sent->var_us = 0;
	sent->latest_us = 0;
	sent->min_rtt_us = 0;
	sent->hinted = false;
	sent->pto_count = 0;
	sent->reorder_until = mono_at_us(INT64_MIN / 2);
	sent->reo_doublings = 0;
}

struct kcp_sent_record *kcp_sent_find(const struct kcp_sent *sent, uint64_t pn)
{
	return pn >= sent->first && pn < sent->next ? at(sent, (uint32_t)pn) : NULL;
}

/* ---- holes ------------------------------------------------------------------------------------------------------ */

static void hole_append(struct kcp_sent *sent, uint32_t pn)
{
	struct kcp_sent_record *record = at(sent, pn);

	record->flags |= KCP_SENT_HOLE;
	if (sent->holes++ == 0) {
		sent->hole_head = pn;
	} else {
		record->hole_prev = sent->hole_tail;
		at(sent, sent->hole_tail)->hole_next = pn;
	}
	sent->hole_tail = pn;
	if (record->flags & KCP_SENT_LOST)
		return; /* given up before; so was all below */
	if (sent->pending++ == 0)
		sent->pending_first = pn;
}

static void hole_remove(struct kcp_sent *sent, uint32_t pn)
{
	struct kcp_sent_record *record = at(sent, pn);

	record->flags &= (uint8_t)~KCP_SENT_HOLE;
	if (!(record->flags & KCP_SENT_LOST)) {
		sent->pending--;
		if (pn == sent->pending_first)
			sent->pending_first = record->hole_next;
	}
	sent->holes--;
	if (sent->holes == 0)
		return;
	if (pn == sent->hole_head)
		sent->hole_head = record->hole_next;
	else if (pn == sent->hole_tail)
		sent->hole_tail = record->hole_prev;
	else {
		at(sent, record->hole_prev)->hole_next = record->hole_next;
		at(sent, record->hole_next)->hole_prev = record->hole_prev;
	}
}

static void land(struct kcp_sent *sent, struct kcp_sent_record *record)
{
	if (!(record->flags & KCP_SENT_FLIES))
		return;
	record->flags &= (uint8_t)~KCP_SENT_FLIES;
	sent->flying--;
	sent->flying_bytes -= record->bytes;
}

/* ---- adding and forgetting -------------------------------------------------------------------------------------- */

/* The last time at which a record that is not acknowledged serves; MONO_NEVER: until it is acknowledged or lost. */
static struct mono serves_until(const struct kcp_sent_record *record)
{
	if (record->flags & KCP_SENT_LOST)
		return mono_add_us(record->at, KCP_SENT_KEEP_US);
	if (record->flags & (KCP_SENT_FLIES | KCP_SENT_HOLE))
		return MONO_NEVER;
	return mono_add_us(record->at, KCP_SENT_QUIET_US);
}

/* Whether the oldest record has served. */
static bool served(const struct kcp_sent_record *record, struct mono now)
{
	return (record->flags & KCP_SENT_ACKED) || mono_before(serves_until(record), now);
}

static void drop_first(struct kcp_sent *sent)
{
	struct kcp_sent_record *record = at(sent, (uint32_t)sent->first);

	if (record->flags & KCP_SENT_HOLE)
		hole_remove(sent, (uint32_t)sent->first);
	land(sent, record);
	sent->refs.first = record->ref_first + record->ref_count;
	sent->first++;
}

static void forget_served(struct kcp_sent *sent, struct mono now)
{
	while (sent->first < sent->next && served(at(sent, (uint32_t)sent->first), now))
		drop_first(sent);
	if (sent->first == sent->next)
		sent->refs.first = sent->refs.next;
}

static void declare_lost(
	struct kcp_sent *sent, uint64_t pn, const struct kcp_sent_events *events, void *ctx)
{
	struct kcp_sent_record *record = at(sent, (uint32_t)pn);

	if (record->flags & KCP_SENT_HOLE) {
		sent->pending--;
		if ((uint32_t)pn == sent->pending_first)
			sent->pending_first = record->hole_next;
	}
	record->flags |= KCP_SENT_LOST;
	land(sent, record);
	if (!(record->flags & KCP_SENT_UNCOUNTED))
		sent->loss += ((1u << 24) - sent->loss) >> 8;
	events->lost(ctx, pn, record);
}

struct mono kcp_sent_trim(struct kcp_sent *sent, struct mono now)
{
	forget_served(sent, now);
	if (sent->first < sent->next)
		return mono_add_us(serves_until(at(sent, (uint32_t)sent->first)), 1);
	kcp_ring_free(&sent->ring);
	kcp_refs_fini(&sent->refs);
	return MONO_NEVER;
}

bool kcp_sent_reserve(struct kcp_sent *sent, uint32_t refs, const struct kcp_sent_events *events,
	void *ctx, struct mono now)
{
	forget_served(sent, now);
	while (sent->next - sent->first >= KCP_SENT_MAX) {
		/* Nothing honest keeps so many: the oldest is as good as lost. */
		struct kcp_sent_record *oldest = at(sent, (uint32_t)sent->first);
		if (!(oldest->flags & (KCP_SENT_ACKED | KCP_SENT_LOST)))
			declare_lost(sent, sent->first, events, ctx);
		drop_first(sent);
	}
	uint32_t used = (uint32_t)(sent->next - sent->first);
	return kcp_ring_reserve(&sent->ring, (uint32_t)sent->first, used, used + 1) &&
	       kcp_refs_reserve(&sent->refs, refs);
}

struct kcp_sent_record *kcp_sent_add(
	struct kcp_sent *sent, uint32_t bytes, unsigned flags, uint32_t refs, struct mono now)
{
	struct kcp_sent_record *record = at(sent, (uint32_t)sent->next);

	*record = (struct kcp_sent_record){
		.at = now,
		.bytes = bytes,
		.flags = (uint8_t)flags,
		.ref_first = sent->refs.next - refs,
		.ref_count = (uint8_t)refs,
	};
	sent->next++;
	if (flags & KCP_SENT_FLIES) {
		sent->flying++;
		sent->flying_bytes += bytes;
		sent->asked_at = now;
		if (mono_is_never(sent->unanswered_since))
			sent->unanswered_since = now;
	}
	return record;
}

/* ---- reports ---------------------------------------------------------------------------------------------------- */

static void take_rtt(struct kcp_sent *sent, int64_t rtt_us)
{
	if (rtt_us < 1)
		rtt_us = 1;
	if (rtt_us > KCP_SENT_RTT_MAX_US)
		return;
	sent->latest_us = rtt_us;
	sent->sample_us = rtt_us;
	if (sent->srtt_us == 0 || sent->hinted) {
		sent->srtt_us = rtt_us;
		sent->var_us = rtt_us / 2;
		sent->hinted = false;
		return;
	}
	int64_t delta_us = rtt_us - sent->srtt_us;
	sent->srtt_us += delta_us / 8;
	if (sent->srtt_us < 1)
		sent->srtt_us = 1;
	sent->var_us += ((delta_us < 0 ? -delta_us : delta_us) - sent->var_us) / 4;
}

static void saw_reordering(struct kcp_sent *sent, struct mono now)
{
	if (!kcp_sent_reorders(sent, now))
		sent->reo_doublings = 0;
	sent->reorder_until = mono_add_us(now, KCP_SENT_REORDER_US);
	/* One late burst is one event: at most one doubling a round trip. */
	if (sent->reo_doublings < 16 && mono_diff_us(now, sent->reo_raised_at) >= sent->srtt_us) {
		sent->reo_doublings++;
		sent->reo_raised_at = now;
	}
}

static void acknowledge(struct kcp_sent *sent, uint64_t pn, const struct kcp_sent_events *events,
	void *ctx, struct mono now)
{
	struct kcp_sent_record *record = at(sent, (uint32_t)pn);
	bool was_lost = (record->flags & KCP_SENT_LOST) != 0;

	if (record->flags & KCP_SENT_HOLE)
		hole_remove(sent, (uint32_t)pn);
	/* One that is very old was given up, or slept through: it tells nothing of the path's order. */
	if (was_lost && !(record->flags & KCP_SENT_REBUILT) &&
		mono_diff_us(now, record->at) < KCP_SENT_RTT_MAX_US)
		saw_reordering(sent, now);
	if (!(record->flags & KCP_SENT_UNCOUNTED)) {
		if (!was_lost)
			sent->loss -= sent->loss >> 8;
		else
			sent->loss -= sent->loss < 1u << 16 ? sent->loss : 1u << 16;
	}
	land(sent, record);
	record->flags |= KCP_SENT_ACKED;
	if (record->flags & KCP_SENT_ASKS)
		sent->pto_count = 0;
	events->acked(ctx, pn, record);
}

static void note_rebuilt(
	struct kcp_sent *sent, uint64_t pn, const struct kcp_sent_events *events, void *ctx)
{
	struct kcp_sent_record *record = at(sent, (uint32_t)pn);

	if (record->flags & (KCP_SENT_REBUILT | KCP_SENT_ACKED))
		return;
	record->flags |= KCP_SENT_REBUILT;
	events->rebuilt(ctx, pn, record);
}

/* Walks the holes against one list of ranges, both from the highest down. */
static bool match_holes(struct kcp_sent *sent, const struct kcp_range *ranges, unsigned count,
	bool rebuilt, const struct kcp_sent_events *events, void *ctx, struct mono now)
{
	uint32_t left = sent->holes < KCP_SENT_STEPS ? sent->holes : KCP_SENT_STEPS;
	uint32_t low = sent->hole_tail;
	bool any = false;

	for (unsigned i = 0; i < count && left > 0;) {
		uint64_t pn = whole_pn(sent, low);
		if (pn < ranges[i].first) {
			i++;
			continue;
		}
		uint32_t prev = at(sent, low)->hole_prev;
		if (pn < ranges[i].end) {
			if (rebuilt)
				note_rebuilt(sent, pn, events, ctx);
			else
				acknowledge(sent, pn, events, ctx, now);
			any = true;
		}
		low = prev;
		left--;
	}
	return any;
}

/* Numbers that the top passes now: received, or holes. */
static bool raise_top(struct kcp_sent *sent, const struct kcp_rack *rack,
	const struct kcp_sent_events *events, void *ctx, struct mono now)
{
	uint64_t pn = sent->any_acked ? sent->acked_top + 1 : 0;
	unsigned i = rack->received_count;
	bool any = false;

	if (pn < sent->first)
		pn = sent->first;
	sent->acked_top = rack->largest;
	sent->any_acked = true;
	for (; pn <= rack->largest; pn++) {
		while (i > 0 && rack->received[i - 1].end <= pn)
			i--;
		if (i > 0 && rack->received[i - 1].first <= pn) {
			acknowledge(sent, pn, events, ctx, now);
			any = true;
		} else {
			hole_append(sent, (uint32_t)pn);
		}
	}
	return any;
}

bool kcp_sent_rack(struct kcp_sent *sent, const struct kcp_rack *rack,
	const struct kcp_sent_events *events, void *ctx, struct mono now)
{
	const struct kcp_sent_record *largest = kcp_sent_find(sent, rack->largest);
	bool any;

	sent->sample_us = 0;
	if (largest && !(largest->flags & KCP_SENT_ACKED) && rack->largest >= sent->route_pn &&
		rack->delay < KCP_RACK_DELAY_MAX) {
		int64_t rtt_us = mono_diff_us(now, largest->at) -
				 (int64_t)rack->delay * KCP_RACK_DELAY_UNIT_US;
		if (rtt_us >= 0)
			take_rtt(sent, rtt_us);
	}
	any = match_holes(sent, rack->received, rack->received_count, false, events, ctx, now);
	if (!sent->any_acked || rack->largest > sent->acked_top)
		any |= raise_top(sent, rack, events, ctx, now);
	any |= match_holes(sent, rack->rebuilt, rack->rebuilt_count, true, events, ctx, now);
	if (any)
		sent->unanswered_since = sent->flying > 0 ? now : MONO_NEVER;
	return any;
}

/* ---- loss ------------------------------------------------------------------------------------------------------- */

static int64_t suspect_us(const struct kcp_sent *sent)
{
	int64_t rtt_us = sent->srtt_us > sent->latest_us ? sent->srtt_us : sent->latest_us;
	int64_t reo_us = sent->min_rtt_us / 8;

	if (reo_us < KCP_SENT_REO_MIN_US)
		reo_us = KCP_SENT_REO_MIN_US;
	reo_us <<= sent->reo_doublings;
	if (sent->reo_doublings > 0 && reo_us > sent->srtt_us / 2)
		reo_us = sent->srtt_us / 2 > KCP_SENT_REO_MIN_US ? sent->srtt_us / 2
								 : KCP_SENT_REO_MIN_US;
	if (rtt_us == 0)
		rtt_us = KCP_SENT_PTO_START_US;
	return rtt_us + reo_us;
}

struct mono kcp_sent_suspect_at(const struct kcp_sent *sent)
{
	if (sent->pending == 0)
		return MONO_NEVER;
	return mono_add_us(at(sent, sent->pending_first)->at, suspect_us(sent));
}

struct mono kcp_sent_detect(
	struct kcp_sent *sent, const struct kcp_sent_events *events, void *ctx, struct mono now)
{
	bool count_rule = !kcp_sent_reorders(sent, now);

	if (count_rule)
		sent->reo_doublings = 0;
	while (sent->pending > 0) {
		uint64_t pn = whole_pn(sent, sent->pending_first);
		uint64_t later = sent->acked_top - pn - (sent->pending - 1);
		bool rebuilt = (at(sent, (uint32_t)pn)->flags & KCP_SENT_REBUILT) != 0;
		if (!rebuilt && !(count_rule && later >= KCP_SENT_LATER) &&
			!mono_due(kcp_sent_suspect_at(sent), now))
			break;
		declare_lost(sent, pn, events, ctx);
	}
	/* A loss is found by an answer to something later: what is left waits for none. */
	if (sent->flying == 0)
		sent->unanswered_since = MONO_NEVER;
	return kcp_sent_suspect_at(sent);
}

int64_t kcp_sent_pto_us(const struct kcp_sent *sent)
{
	int64_t steady_us = sent->srtt_us + sent->srtt_us / 2;
	int64_t shaky_us = sent->srtt_us + 4 * sent->var_us;

	if (sent->srtt_us == 0)
		return KCP_SENT_PTO_START_US;
	return (steady_us > shaky_us ? steady_us : shaky_us) + KCP_SENT_PTO_MARGIN_US;
}

int64_t kcp_sent_repeat_us(const struct kcp_sent *sent)
{
	int64_t first_us = kcp_sent_pto_us(sent);
	int64_t wait_us = first_us;
	int64_t most_us = KCP_SENT_PTO_MAX_US;

	if (!mono_is_never(sent->unanswered_since) && !mono_is_never(sent->asked_at) &&
		mono_diff_us(sent->asked_at, sent->unanswered_since) > KCP_SENT_SILENT_US)
		most_us = KCP_SENT_PTO_LATE_US;
	if (most_us < first_us)
		most_us = first_us;
	for (uint32_t i = 0; i < sent->pto_count && wait_us < most_us; i++)
		wait_us *= 2;
	if (wait_us > most_us)
		wait_us = most_us;
	return wait_us < KCP_SENT_REPEAT_MAX_US ? wait_us : KCP_SENT_REPEAT_MAX_US;
}

struct mono kcp_sent_pto_at(const struct kcp_sent *sent)
{
	if (sent->flying == 0)
		return MONO_NEVER;
	return mono_add_us(sent->asked_at, kcp_sent_repeat_us(sent));
}

void kcp_sent_lose_all(struct kcp_sent *sent, const struct kcp_sent_events *events, void *ctx)
{
	for (uint64_t pn = sent->first; pn < sent->next; pn++) {
		if (!(at(sent, (uint32_t)pn)->flags & (KCP_SENT_ACKED | KCP_SENT_LOST)))
			declare_lost(sent, pn, events, ctx);
	}
	sent->unanswered_since = MONO_NEVER;
}

bool kcp_sent_pto(
	struct kcp_sent *sent, const struct kcp_sent_events *events, void *ctx, struct mono now)
{
	sent->pto_count++;
	if (mono_is_never(sent->unanswered_since) ||
		mono_diff_us(now, sent->unanswered_since) < KCP_SENT_DEAD_US)
		return true;
	kcp_sent_lose_all(sent, events, ctx);
	return false;
}
