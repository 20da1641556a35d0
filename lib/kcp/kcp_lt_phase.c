/*
 * STARTUP doubles and more each round trip. The first queue it sees ends the boldness at once, the first round that queued and did
 * not grow ends it: what it overshoots by is what it sent in the round trip before the news came.
 *
 * After that a path is asked for more (PROBE_UP) for one round trip every 2 to 3 s, or sooner if it holds few packets, and what that
 * put into a queue is taken out again (DOWN), so the queue is empty most of the time. Not every eighth round trip, as BBR's
 * first version does: each probe may overflow a queue, a CUBIC flow takes that as its signal, and needs seconds to
 * grow back (at a queue of 20 ms one in eight left it a tenth of the path; now it is half). Where a probe finds more, the next
 * follows at once, and bolder: the first only asks, because on a path that is known what it asks for is queue, and nothing else.
 *
 * In between the pace is the rate, and a little below it while the round trip says that a queue stands. The rate is a maximum, so it
 * is rather too high than too low, by 2 % where a tenth is lost: at any fixed share of it either a queue stands or a part of
 * the path is given away (at .98 light packets waited 20 ms, one in a hundred, with 5 % loss; now 11, and no goodput is lost).
 * By 4 %: with 5 the queue may be that of a CUBIC flow, which then gets what is given up; with 2 the path is so rarely let go that a
 * newcomer of the same kind does not get his part. And by half a packet of those that the path holds: where it holds ten, a
 * maximum over rates that are counted in packets is too high by as much (at 2 Mb/s and 60 ms three packets stood, 18 ms; now none
 * most of the time, and TCP gets no less).
 *
 * DRAIN, DOWN and LOOK are slow on purpose, and so tell what is lost at random (kcp_lt_loss.c). A loss that is not understood
 * calls for a DOWN of its own: if it goes on while nothing overflows, it is the dice's.
 *
 * Of several shards each probes more seldom and asks for less (kcp_lt.c).
 *
 * Where others keep a queue standing all of this is a little different: kcp_lt_rivals.c.
 */
#include "kcp/kcp_lt_phase.h"

enum {
	UNIT_LEAST_US = 10000, /* of a phase: reports come in steps */
	STARTUP_PERCENT = 277,
	STARTUP_QUEUED_PERCENT = 125,
	STARTUP_FLAT_ROUNDS = 3,
	DRAIN_PERCENT = 36,
	DRAIN_UNITS = 10, /* at most */
	CRUISE_PERCENT = 100,
	CRUISE_QUEUED_PERCENT = 96, /* with a queue that stands */
	SWAYS = 2,		    /* so much above the smallest is no queue */
	GRAIN_PACKETS =
		16, /* with more, half a packet is less than what a flow beside it would take */
	GRAIN_MOST_PERCENT = 10,
	CRUISE_QUEUE_PART = 4, /* of what counts as a queue; so much is one for cruising */
	CRUISE_UNITS = 6,      /* at least, */
	CRUISE_ROUNDS = 60,    /* at most, or the packets that the path holds, */
	CRUISE_US = 2000000,   /* or so long and up to half as long again */
	PROBE_PERCENT = 115,
	PROBE_AGAIN_PERCENT = 125,   /* where the last one found more */
	PROBE_SHALLOW_PERCENT = 112, /* where each probe overflows the queue */
	PROBE_FOUND_PERCENT = 106,   /* grown by so much: probe again */
	DOWN_PERCENT = 75,
	DOWN_FAR_PERCENT = 50, /* with half as much again in flight as the path holds */
	DOWN_DEEP_PERCENT = 25,
	DOWN_UNITS = 4, /* at most, or */
	ASK_UNITS = 3,	/* after a drain the next may come for a loss that is not understood */
	LOOK_LEAST_US = 200000,
	LOOK_CONTESTED_US = 10000000, /* later: others hide what it looks for */
	LOOK_REACH_US = 1000000,      /* by then the look begins even if too much flies */
	PACKET_MOST_US = 50000,	      /* a rate that is hardly known would say more */
};

static int64_t unit_us(const struct kcp_lt *lt)
{
	return lt->rtt.min_us > UNIT_LEAST_US ? lt->rtt.min_us : UNIT_LEAST_US;
}

uint64_t kcp_lt_product(const struct kcp_lt *lt)
{
	/* at most 2^30 bytes/s x 10^7 us */
	return kcp_lt_rate_now(lt) * (uint64_t)lt->rtt.min_us / 1000000;
}

int64_t kcp_lt_queue_us(const struct kcp_lt *lt)
{
	int64_t packet_us = lt->bw ? (int64_t)((uint64_t)lt->datagram_bytes * 1000000 / lt->bw) : 0;

	return kcp_lt_rtt_queue_us(
		&lt->rtt, packet_us < PACKET_MOST_US ? packet_us : PACKET_MOST_US);
}

static bool empty(const struct kcp_lt *lt, uint64_t flying_bytes)
{
	return flying_bytes <= kcp_lt_product(lt) + 2 * (uint64_t)lt->datagram_bytes;
}

/* Sooner than what tells of congestion: it costs others their delay, and a little less pace is enough to end it. */
static bool queue_stands(const struct kcp_lt *lt)
{
	int64_t slack_us = (kcp_lt_queue_us(lt) - lt->rtt.min_us) / CRUISE_QUEUE_PART;

	/* Where round trips only sway, one of a round is short. */
	return lt->rtt.srtt_us > lt->rtt.min_us + slack_us &&
	       lt->rtt.lowest_us > lt->rtt.min_us + slack_us / 4;
}

/* Half a packet of those that the path holds, where they are few. */
static uint32_t grain_percent(const struct kcp_lt *lt)
{
	uint64_t product = kcp_lt_product(lt);
	uint64_t percent;

	if (product == 0 || product > GRAIN_PACKETS * (uint64_t)lt->datagram_bytes)
		return 0;
	if (lt->rtt.srtt_us <= lt->rtt.min_us + SWAYS * lt->rtt.sway_us)
		return 0;
	percent = (uint64_t)lt->datagram_bytes * 50 / product;
	return percent < GRAIN_MOST_PERCENT ? (uint32_t)percent : GRAIN_MOST_PERCENT;
}

static uint32_t probe_percent(const struct kcp_lt *lt)
{
	uint32_t percent = lt->grew ? PROBE_AGAIN_PERCENT : PROBE_PERCENT;

	if (lt->loss.shallow)
		percent = PROBE_SHALLOW_PERCENT;
	return 100 + (percent - 100) / lt->shards;
}

uint32_t kcp_lt_gain(const struct kcp_lt *lt, uint64_t flying_bytes)
{
	uint64_t product = kcp_lt_product(lt);

	switch (lt->phase) {
	case KCP_LT_STARTUP:
		return lt->queued && !lt->contested ? STARTUP_QUEUED_PERCENT : STARTUP_PERCENT;
	case KCP_LT_DRAIN:
		return DRAIN_PERCENT;
	case KCP_LT_CRUISE:
		return !lt->contested && queue_stands(lt)
			       ? CRUISE_QUEUED_PERCENT - grain_percent(lt)
			       : CRUISE_PERCENT;
	case KCP_LT_PROBE_UP:
		return probe_percent(lt);
	case KCP_LT_DOWN:
		if (!kcp_lt_long_drain(lt))
			return DOWN_PERCENT;
		if (lt->deep && flying_bytes > 2 * product)
			return DOWN_DEEP_PERCENT;
		return flying_bytes > product + product / 2 ? DOWN_FAR_PERCENT : DOWN_PERCENT;
	case KCP_LT_LOOK:
		break;
	}
	return 100;
}

enum kcp_lt_kind kcp_lt_kind(const struct kcp_lt *lt, uint64_t flying_bytes)
{
	switch (lt->phase) {
	case KCP_LT_DRAIN:
	case KCP_LT_DOWN:
	case KCP_LT_LOOK:
		return KCP_LT_LOW;
	case KCP_LT_PROBE_UP:
		return KCP_LT_PROBE;
	case KCP_LT_STARTUP:
	case KCP_LT_CRUISE:
		break;
	}
	if (lt->sampler.limited && flying_bytes < kcp_lt_product(lt) / 4 * 3)
		return KCP_LT_LOW;
	return lt->phase == KCP_LT_STARTUP ? KCP_LT_START : KCP_LT_USUAL;
}

/* How long until the next probe. */
static int64_t cruise_us(const struct kcp_lt *lt, struct mono now)
{
	uint64_t packets = lt->datagram_bytes ? kcp_lt_product(lt) / lt->datagram_bytes : 0;
	int64_t rounds = packets < CRUISE_ROUNDS ? (int64_t)packets : CRUISE_ROUNDS;
	int64_t us = rounds * unit_us(lt);
	/* the clock decides: not all that share a link shall probe at the same time */
	int64_t most_us = CRUISE_US + now.us % (CRUISE_US / 2);

	if (us > most_us)
		us = most_us;
	if (us < CRUISE_UNITS * unit_us(lt))
		us = CRUISE_UNITS * unit_us(lt);
	return us * lt->shards;
}

void kcp_lt_ask(struct kcp_lt *lt, struct mono now)
{
	if (lt->phase == KCP_LT_CRUISE &&
		mono_diff_us(now, lt->phase_at) >= ASK_UNITS * unit_us(lt))
		kcp_lt_enter(lt, KCP_LT_DOWN, now);
}

void kcp_lt_enter(struct kcp_lt *lt, enum kcp_lt_phase phase, struct mono now)
{
	lt->phase = phase;
	lt->phase_at = now;
	switch (phase) {
	case KCP_LT_STARTUP:
		lt->flat_rate = 0;
		lt->flat_rounds = 0;
		lt->loss.start = (struct kcp_lt_tally){0};
		break;
	case KCP_LT_PROBE_UP:
		kcp_lt_loss_cycle(&lt->loss);
		kcp_lt_rate_cycle(&lt->rates);
		lt->cycles++;
		lt->probe_bw = lt->bw;
		lt->bw_max = UINT64_MAX;
		break;
	case KCP_LT_LOOK:
		lt->look_until = MONO_NEVER;
		break;
	case KCP_LT_CRUISE:
		lt->cruise_us = cruise_us(lt, now);
		break;
	case KCP_LT_DRAIN:
		lt->guess = 0;
		break;
	case KCP_LT_DOWN:
		lt->drain_units = kcp_lt_drain_units(lt, unit_us(lt));
		break;
	}
}

void kcp_lt_grow(struct kcp_lt *lt, bool full, bool congested, struct mono now)
{
	bool queued = lt->rtt.lowest_us != INT64_MAX && lt->rtt.lowest_us > kcp_lt_queue_us(lt);

	if (!full)
		return;
	if (lt->bw >= lt->flat_rate + lt->flat_rate / 4) {
		lt->flat_rate = lt->bw;
		lt->flat_rounds = 0;
		return;
	}
	/* A queue that stands for a whole round says the same as waiting for it twice more, unless it is that of others. */
	if (++lt->flat_rounds >= STARTUP_FLAT_ROUNDS || (queued && !lt->contested) || congested)
		kcp_lt_enter(lt, KCP_LT_DRAIN, now);
}

/* ---- from one to the next ---------------------------------------------------------------------------------------- */

static void end_down(struct kcp_lt *lt, bool is_empty, struct mono now)
{
	bool was_long = kcp_lt_long_drain(lt);

	if (was_long)
		kcp_lt_rivals_drained(lt, is_empty, now, unit_us(lt));
	lt->deep = false;
	lt->grew = lt->bw > lt->probe_bw / 100 * PROBE_FOUND_PERCENT;
	kcp_lt_enter(lt, lt->grew ? KCP_LT_PROBE_UP : KCP_LT_CRUISE, now);
}

static void advance_down(struct kcp_lt *lt, uint64_t flying_bytes, int64_t units, struct mono now)
{
	bool is_empty = empty(lt, flying_bytes);
	int64_t most = DOWN_UNITS;

	if (lt->deep || (lt->contested && kcp_lt_long_drain(lt)))
		most = lt->drain_units;
	else if (!kcp_lt_long_drain(lt))
		most = 1;
	if (units >= most || (units >= 1 && is_empty))
		end_down(lt, is_empty, now);
}

static void advance_look(struct kcp_lt *lt, uint64_t flying_bytes, struct mono now)
{
	int64_t last_us = lt->rtt.srtt_us > LOOK_LEAST_US ? lt->rtt.srtt_us : LOOK_LEAST_US;

	if (mono_is_never(lt->look_until)) {
		if (flying_bytes <= kcp_lt_window_bytes(lt, lt->datagram_bytes) ||
			mono_diff_us(now, lt->phase_at) > LOOK_REACH_US) {
			lt->look_until = mono_add_us(now, last_us);
			kcp_lt_rtt_look_begin(&lt->rtt);
		}
	} else if (mono_due(lt->look_until, now)) {
		kcp_lt_rtt_look_end(&lt->rtt, now);
		kcp_lt_enter(lt, KCP_LT_CRUISE, now);
	}
}

void kcp_lt_advance(struct kcp_lt *lt, uint64_t flying_bytes, struct mono now)
{
	int64_t units = mono_diff_us(now, lt->phase_at) / unit_us(lt);

	kcp_lt_rivals_watch(lt, now);
	switch (lt->phase) {
	case KCP_LT_STARTUP:
		return;
	case KCP_LT_DRAIN:
		if (empty(lt, flying_bytes) || units >= DRAIN_UNITS)
			kcp_lt_enter(lt, KCP_LT_CRUISE, now);
		break;
	case KCP_LT_CRUISE:
		if (mono_diff_us(now, lt->phase_at) >= lt->cruise_us)
			kcp_lt_enter(lt, KCP_LT_PROBE_UP, now);
		break;
	case KCP_LT_PROBE_UP:
		if (units >= 1)
			kcp_lt_enter(lt, KCP_LT_DOWN, now);
		break;
	case KCP_LT_DOWN:
		advance_down(lt, flying_bytes, units, now);
		break;
	case KCP_LT_LOOK:
		advance_look(lt, flying_bytes, now);
		return;
	}
	if (kcp_lt_rtt_look_due(
		    &lt->rtt, lt->contested ? mono_add_us(now, -LOOK_CONTESTED_US) : now))
		kcp_lt_enter(lt, KCP_LT_LOOK, now);
}
