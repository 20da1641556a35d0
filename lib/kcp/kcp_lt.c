/*
 * Loss says nothing about congestion on a radio link, and everything on a full one. Controllers that take all loss for congestion
 * carry a few percent of what such a link can; those that take none starve everybody else. LT models the path: the rate of
 * its bottleneck (kcp_lt_rate.c), its bare round-trip time (kcp_lt_rtt.c) and the share that is lost whatever one does
 * (kcp_lt_loss.c). It sends at the rate, asks for more now and then (kcp_lt_phase.c), and gives way where more is lost
 * than the dice explain while a queue stands.
 *
 * The base is BBR; what differs is what loss made necessary: its probe at 1.25 cannot refresh an estimate of which more than a
 * fifth is lost, and its later versions' bound of 2 % is passed by nearly every train.
 *
 * Rounds. A round ends when a datagram that left in it is acknowledged. At its end losses are judged, the rate's filter turns
 * and the bounds move. All else is per report; per datagram there are a few additions.
 *
 * Response. On congestion at most 0.85 of what flew may fly, growing back by 3 % a round and 25 % in a probe, and the pace is
 * bounded by 0.8 of the rate until the next probe. The rate that is delivered just then is no lower bound for that, as it
 * is in BBR: at the moment of overflow it is nearly the old one, and CUBIC flows got a fifth. In the next round only the
 * floor's share of losses counts as carried. What STARTUP lost counts for nothing; what a probe lost only where a queue stood
 * before: the probe itself fills a shallow one, and yielding to that would leave such a link half empty.
 *
 * A slower path. A filter over seconds is long when round trips grow by the queue that the old rate made. Two rounds in a row
 * that delivered less than three quarters of what was sent, with a queue all the time, are enough, or four with a queue
 * whatever they delivered: all older samples go, and the queue is drained to the ground, once; while that lasts the same signs
 * count for nothing, or they would feed on the share that others take meanwhile. Where others keep a queue all of this is different:
 * kcp_lt_rivals.c.
 *
 * A longer way. Where round trips grow for good the same happens, only that no drain shortens them: the window shrinks towards
 * its floor, and less of it takes as long as more did, which is what a queue never does. Two rounds of that are believed at once,
 * and all begins anew; to wait for the look (kcp_lt_rtt.c) would be 10 s of a few datagrams a round. Only a window of few
 * datagrams may draw that conclusion: where more flies it may be a queue of others that does not yield, and who is starved
 * loses nothing by it. If it was a queue after all, the next smallest one that is seen corrects it.
 *
 * Silence. If nothing was acknowledged for three probe time-outs and nearly all that flew is lost, the link was away: that was no
 * congestion. It begins anew at half the rate, as after a long idleness and on a path that is remembered; halved once, however
 * often that happens before anything is learned.
 *
 * Shards. A peer's traffic may run on several paths that share one way, each with an LT of its own (lib/PROTOCOL.md 5.1). They are to
 * take no more from others than one would. What others see of LT are its probes, so n of them probe n times as seldom, and for the
 * n-th part of what they have; and how it gives way: each shard sees its own losses only, often one of them alone, so who sees some
 * gives way for the others, too.
 *
 * Marks (ECN). A queue that marks says what losses leave to be guessed. One mark in a round of cruising is answered as losses that
 * are congestion are; in STARTUP it ends the growth; one that a probe drew ends the probe and says that it found nothing; while
 * the pace is low on purpose the answer is being given already.
 *
 * A cap by order bounds rate and pace, nothing else: the path is measured as far as what leaves can show it. What never flies
 * (reports, keepalives) is charged to the pace as well then, as the cap is of all that leaves. By another order the cap is the
 * rate itself, for links that somebody has to himself; all of the above goes on beside it, unheard, for when that ends.
 *
 * Sources: draft-ietf-ccwg-bbr; RFC 9002, section 7.6 for silence; RFC 9265: repaired losses are losses; RFC 3168 and RFC 8511
 * for marks.
 */
#include "kcp/kcp_lt.h"

#include "kcp/kcp_lt_phase.h"

enum {
	PPM = 1000000,
	HI_PERCENT = 85,
	LO_PERCENT = 80,
	LO_SHARD_PERCENT = 10, /* less for each other shard, */
	LO_LEAST_PERCENT = 50, /* but not below */
	SILENT_LEAST_US = 500000,
	SILENT_SLACK_US = 10000,
	BURST_MOST_US = 100000, /* acknowledgements that come in larger steps are not made up for */
	EXTRA_ROUNDS = 5,
	POOR_ROUNDS = 2,   /* in a row, */
	POOR_PERCENT = 75, /* each below this share of what was sent; or */
	QUEUED_ROUNDS = 4, /* with a queue all the time, unless others make it */
	LONGER_US =
		10000, /* a round trip above twice the smallest and this may tell of a longer way */
	LONGER_PERCENT = 70, /* if so little of what flew then takes as long, and few datagrams, */
	LONGER_ROUNDS = 2,   /* in so many rounds in a row */
	MARKS_ROUNDS = 2,
};

void kcp_lt_init(struct kcp_lt *lt)
{
	struct mono past = mono_at_us(INT64_MIN / 2);

	*lt = (struct kcp_lt){
		.shards = 1,
		.cap = UINT64_MAX,
		.phase = KCP_LT_STARTUP,
		.phase_at = past,
		.look_until = MONO_NEVER,
		.watch_until = MONO_NEVER,
		.rivals_until = MONO_NEVER,
		.flying_max = UINT64_MAX,
		.bw_max = UINT64_MAX,
		.carried_ppm = PPM,
		.gain_low = {UINT32_MAX, UINT32_MAX},
		.burst_at = past,
		.pace_at = past,
		.sent_at = past,
	};
	kcp_lt_rate_init(&lt->rates, 0);
	kcp_lt_rtt_init(&lt->rtt);
}

void kcp_lt_set_shards(struct kcp_lt *lt, uint32_t shards)
{
	lt->shards = shards < 1 ? 1 : shards > KCP_LT_SHARDS_MAX ? KCP_LT_SHARDS_MAX : shards;
}

/* What is known of the way goes, not who shares it, nor what was ordered. */
static void forget(struct kcp_lt *lt)
{
	uint32_t shards = lt->shards;
	uint64_t cap = lt->cap;
	bool fixed = lt->fixed;

	kcp_lt_init(lt);
	kcp_lt_set_shards(lt, shards);
	lt->cap = cap;
	lt->fixed = fixed;
}

void kcp_lt_hint_rtt(struct kcp_lt *lt, int64_t rtt_us)
{
	if (lt->rtt.min_us == 0)
		lt->rtt.srtt_us = rtt_us;
}

/* Begins anew with a rate that is guessed. What is known of round-trip time and floor stays. */
static void begin_anew(struct kcp_lt *lt, uint64_t guess, struct mono now)
{
	kcp_lt_rate_init(&lt->rates, guess);
	lt->bw = guess;
	lt->guess = guess;
	lt->bw_max = UINT64_MAX;
	lt->flying_max = UINT64_MAX;
	lt->carried_ppm = PPM;
	lt->poor_rounds = 0;
	lt->queued_rounds = 0;
	lt->longer_us = 0;
	lt->round_rate = 0;
	lt->deep = false;
	kcp_lt_rivals_forget(lt);
	kcp_lt_enter(lt, KCP_LT_STARTUP, now);
}

void kcp_lt_set_cap(struct kcp_lt *lt, uint64_t bytes_per_s)
{
	bool was_held = lt->bw > lt->cap - lt->cap / 4;
	bool is_free = bytes_per_s / 2 >= lt->cap;

	/* What was measured is the cap's. */
	if (was_held && is_free)
		begin_anew(lt, kcp_lt_rate_now(lt), lt->sent_at);
	lt->cap = bytes_per_s;
}

void kcp_lt_set_fixed(struct kcp_lt *lt, bool fixed)
{
	lt->fixed = fixed;
}

void kcp_lt_save(const struct kcp_lt *lt, struct kcp_lt_memory *ret_memory, struct mono now)
{
	uint64_t rate = kcp_lt_rate_now(lt);

	/* Half of a rate that was never confirmed is not halved again. */
	if (lt->guess > 0 && rate <= lt->guess)
		rate = 2 * lt->guess;
	*ret_memory = (struct kcp_lt_memory){
		.rate = rate,
		.min_rtt_us = lt->rtt.min_us,
		.floor_ppm = lt->loss.floor_ppm,
		.at = now,
	};
}

void kcp_lt_resume(struct kcp_lt *lt, const struct kcp_lt_memory *memory, struct mono now)
{
	uint64_t rate = memory->rate < KCP_LT_RATE_MAX_BYTES ? memory->rate : KCP_LT_RATE_MAX_BYTES;

	forget(lt);
	if (rate == 0 || memory->min_rtt_us <= 0 ||
		mono_due(mono_add_us(memory->at, KCP_LT_MEMORY_US), now))
		return;
	lt->rtt.min_us = memory->min_rtt_us;
	lt->rtt.srtt_us = memory->min_rtt_us;
	lt->rtt.min_at = now;
	lt->rtt.raised_at = now;
	lt->loss.floor_ppm = memory->floor_ppm < KCP_LT_LOSS_FLOOR_MAX_PPM
				     ? memory->floor_ppm
				     : KCP_LT_LOSS_FLOOR_MAX_PPM;
	lt->sent_at = now; /* what is believed from now on does not grow old before it is used */
	begin_anew(lt, rate / 2, now);
}

/* ---- sending ---------------------------------------------------------------------------------------------------- */

static void wake(struct kcp_lt *lt, struct mono now)
{
	struct kcp_lt_memory memory;

	if (lt->bw > 0 && mono_due(mono_add_us(lt->sent_at, KCP_LT_MEMORY_US), now)) {
		forget(lt);
	} else if (lt->bw > 0 && mono_due(mono_add_us(lt->sent_at, KCP_LT_IDLE_US), now)) {
		struct kcp_lt_sampler sampler = lt->sampler;
		struct kcp_lt_loss loss = lt->loss;
		kcp_lt_save(lt, &memory, now);
		kcp_lt_resume(lt, &memory, now);
		lt->sampler = sampler;
		lt->loss = loss;
	}
	kcp_lt_sampler_restart(&lt->sampler, now);
}

void kcp_lt_sent(struct kcp_lt *lt, struct kcp_lt_flight *ret_flight, uint32_t bytes,
	uint32_t datagram_bytes, uint64_t flying_bytes, struct mono now)
{
	uint32_t gain;

	if (flying_bytes == 0)
		wake(lt, now);
	lt->datagram_bytes = datagram_bytes;
	lt->sent_at = now;
	kcp_lt_sampler_sent(&lt->sampler, ret_flight, kcp_lt_kind(lt, flying_bytes), now);
	kcp_lt_pace(lt, bytes, flying_bytes, now);
	if (flying_bytes + bytes > lt->round_flying)
		lt->round_flying = flying_bytes + bytes;
	gain = kcp_lt_gain(lt, flying_bytes);
	if (gain < lt->gain_low[0])
		lt->gain_low[0] = gain;
}

void kcp_lt_acked(struct kcp_lt *lt, const struct kcp_lt_flight *flight, uint32_t bytes, bool late,
	struct mono now)
{
	kcp_lt_sampler_acked(&lt->sampler, flight, bytes, now);
	kcp_lt_loss_acked(&lt->loss, (enum kcp_lt_kind)flight->kind, late);
	if (late)
		kcp_lt_sampler_lost(&lt->sampler, -(int64_t)bytes);
}

void kcp_lt_lost(struct kcp_lt *lt, const struct kcp_lt_flight *flight, uint32_t bytes)
{
	kcp_lt_sampler_lost(&lt->sampler, bytes);
	kcp_lt_loss_lost(&lt->loss, (enum kcp_lt_kind)flight->kind);
}

/* ---- rounds ----------------------------------------------------------------------------------------------------- */

static bool queued(const struct kcp_lt *lt, int64_t rtt_us)
{
	return rtt_us != INT64_MAX && rtt_us > kcp_lt_queue_us(lt);
}

static void respond(struct kcp_lt *lt, uint32_t lost_ppm)
{
	uint64_t product = kcp_lt_product(lt);
	uint64_t flew = lt->round_flying > product ? lt->round_flying : product;
	uint32_t others = (lt->shards - 1) * LO_SHARD_PERCENT;
	uint32_t low =
		LO_PERCENT -
		(others < LO_PERCENT - LO_LEAST_PERCENT ? others : LO_PERCENT - LO_LEAST_PERCENT);

	lt->flying_max = flew / 100 * HI_PERCENT;
	lt->bw_max = lt->bw / 100 * low;
	if (lost_ppm > 0)
		lt->carried_ppm = (uint32_t)((uint64_t)lt->loss.floor_ppm * PPM / lost_ppm);
}

/* A queue marked some of the round. @return  whether that is to be answered as congestion */
static bool heed_marks(struct kcp_lt *lt, struct mono now)
{
	bool any = lt->marked > 0;

	lt->marked = 0;
	if (any && lt->phase == KCP_LT_PROBE_UP) {
		lt->probe_bw = lt->bw;
		kcp_lt_enter(lt, KCP_LT_DOWN, now);
	}
	/* What the phase before drew is heard of for so long. */
	if (lt->phase == KCP_LT_CRUISE)
		return any && mono_diff_us(now, lt->phase_at) >= MARKS_ROUNDS * lt->rtt.srtt_us;
	return any && lt->phase == KCP_LT_STARTUP;
}

static void relax(struct kcp_lt *lt)
{
	if (lt->flying_max != UINT64_MAX)
		lt->flying_max += lt->flying_max / 100 * (lt->phase == KCP_LT_PROBE_UP ? 25 : 3);
	if (lt->flying_max > 4 * kcp_lt_product(lt) + ((uint64_t)1 << 20))
		lt->flying_max = UINT64_MAX;
}

/* Whether the path has become slower: see at the top. */
static void check_slower(struct kcp_lt *lt, bool full, bool queue, struct mono now)
{
	uint32_t gain = lt->gain_low[0] < lt->gain_low[1] ? lt->gain_low[0] : lt->gain_low[1];
	uint64_t sent;

	if (gain > 100)
		gain = 100;
	sent = lt->bw / 100 * gain / 100 * (PPM - lt->loss.floor_ppm) / PPM * POOR_PERCENT;
	if (!full || !queue || lt->deep || lt->phase == KCP_LT_STARTUP ||
		lt->phase == KCP_LT_DRAIN) {
		lt->poor_rounds = 0;
		lt->queued_rounds = 0;
		return;
	}
	lt->poor_rounds = lt->round_rate < sent ? lt->poor_rounds + 1 : 0;
	lt->queued_rounds++;
	if (lt->poor_rounds < POOR_ROUNDS && (lt->contested || lt->queued_rounds < QUEUED_ROUNDS))
		return;
	if (lt->poor_rounds < POOR_ROUNDS && kcp_lt_rivals_suspect(lt, now))
		return;
	/* The first of them may have begun on the faster path. */
	kcp_lt_rate_keep(&lt->rates, lt->poor_rounds > 0 ? 1 : QUEUED_ROUNDS - 1);
	lt->poor_rounds = 0;
	lt->queued_rounds = 0;
	lt->bw = kcp_lt_rate_bytes(&lt->rates, lt->loss.floor_ppm);
	lt->probe_bw = lt->bw;
	lt->deep = true;
	kcp_lt_enter(lt, KCP_LT_DOWN, now);
}

/* Whether the way has become longer: see at the top. */
static bool check_longer(struct kcp_lt *lt, bool full, struct mono now)
{
	int64_t lowest_us = lt->rtt.lowest_us;

	if (!full || lowest_us == INT64_MAX || lowest_us <= 2 * lt->rtt.min_us + LONGER_US ||
		lt->phase == KCP_LT_STARTUP || lt->phase == KCP_LT_DRAIN) {
		lt->longer_us = 0;
		return false;
	}
	if (lt->longer_us == 0 || lowest_us < lt->longer_us - lt->longer_us / 8) {
		lt->longer_us = lowest_us;
		lt->longer_flying = lt->round_flying;
		lt->longer_rounds = 0;
		return false;
	}
	if (lt->round_flying > (uint64_t)lt->datagram_bytes * KCP_LT_LONGER_DATAGRAMS ||
		lt->round_flying > lt->longer_flying / 100 * LONGER_PERCENT) {
		lt->longer_rounds = 0;
		return false;
	}
	/* What is acknowledged in a round was sent in the one before. */
	if (++lt->longer_rounds < LONGER_ROUNDS)
		return false;
	kcp_lt_rtt_believe(&lt->rtt, lowest_us, now);
	begin_anew(lt, kcp_lt_rate_now(lt), now);
	return true;
}

static void end_round(struct kcp_lt *lt, struct mono now)
{
	bool full = lt->rates.full_round;
	bool queue = queued(lt, lt->rtt.lowest_us);
	uint32_t lost_ppm = 0;
	enum kcp_lt_verdict verdict = kcp_lt_loss_judge(&lt->loss, queue, &lost_ppm);
	bool marked = heed_marks(lt, now);

	lt->round_end = lt->sampler.delivered;
	lt->carried_ppm = PPM;
	kcp_lt_rivals_round(lt, full);
	if (lt->phase == KCP_LT_STARTUP && marked) {
		kcp_lt_enter(lt, KCP_LT_DRAIN, now);
	} else if (lt->phase == KCP_LT_STARTUP) {
		kcp_lt_grow(lt, full, verdict == KCP_LT_CONGESTED, now);
	} else if (marked) {
		respond(lt, lost_ppm);
	} else if (verdict == KCP_LT_CONGESTED && lt->phase != KCP_LT_DRAIN) {
		respond(lt, lost_ppm);
		if (lt->phase == KCP_LT_PROBE_UP)
			kcp_lt_enter(lt, KCP_LT_DOWN, now);
	} else {
		relax(lt);
		/* Beside others even a little says that there is no room to grow into. */
		if (verdict == KCP_LT_SOME && lt->contested)
			lt->bw_max = lt->bw;
		/* More is lost, and why cannot be seen: going slower for a moment tells. */
		if (verdict == KCP_LT_ODD)
			kcp_lt_ask(lt, now);
	}
	if (!check_longer(lt, full, now))
		check_slower(lt, full, queue, now);
	kcp_lt_rate_turn(&lt->rates);
	if (++lt->extra_rounds >= EXTRA_ROUNDS) {
		lt->extra_rounds = 0;
		lt->extra[1] = lt->extra[0];
		lt->extra[0] = 0;
	}
	lt->round_rate = 0;
	lt->round_flying = 0;
	lt->gain_low[1] = lt->gain_low[0];
	lt->gain_low[0] = UINT32_MAX;
	lt->rtt.lowest_us = INT64_MAX;
}

/* Reports that come in steps: how much more than the rate explains. */
static void measure_burst(struct kcp_lt *lt, uint32_t newly_bytes, struct mono now)
{
	int64_t elapsed_us = mono_diff_us(now, lt->burst_at);
	uint64_t expected =
		elapsed_us > 1000000
			? UINT64_MAX
			: lt->bw * (uint64_t)(elapsed_us < 0 ? 0 : elapsed_us) / 1000000;
	uint64_t most = lt->bw * BURST_MOST_US / 1000000;

	if (lt->burst_bytes <= expected) {
		lt->burst_at = now;
		lt->burst_bytes = 0;
		expected = 0;
	}
	lt->burst_bytes += newly_bytes;
	uint64_t extra = lt->burst_bytes - expected;
	if (extra > most)
		extra = most;
	if (extra > lt->extra[0])
		lt->extra[0] = extra;
}

static bool was_away(const struct kcp_lt *lt, const struct kcp_lt_sample *sample)
{
	int64_t silent_us = 3 * (2 * lt->rtt.srtt_us + SILENT_SLACK_US);

	if (silent_us < SILENT_LEAST_US)
		silent_us = SILENT_LEAST_US;
	return lt->bw > 0 && sample->silent_us >= silent_us && kcp_lt_loss_was_cut(&lt->loss);
}

static void take_rates(struct kcp_lt *lt, const struct kcp_lt_sample *sample, bool full)
{
	uint64_t lost = sample->lost_rate * lt->carried_ppm / PPM;

	kcp_lt_rate_add(&lt->rates,
		(struct kcp_lt_rate_round){
			.delivered = sample->delivered_rate,
			.carried = sample->delivered_rate + lost,
		},
		full);
	if (full && sample->delivered_rate > lt->round_rate)
		lt->round_rate = sample->delivered_rate;
}

void kcp_lt_update(struct kcp_lt *lt, int64_t rtt_us, uint64_t flying_bytes, struct mono now)
{
	struct kcp_lt_sample sample;

	if (rtt_us > 0) {
		kcp_lt_rtt_add(&lt->rtt, rtt_us, now);
		if (rtt_us < lt->watch_us)
			lt->watch_us = rtt_us;
	}
	if (!kcp_lt_sampler_close(&lt->sampler, lt->rtt.min_us, now, &sample))
		return;
	if (was_away(lt, &sample)) {
		kcp_lt_loss_skip(&lt->loss);
		/* Silence after silence halves once: nothing was learned in between. */
		begin_anew(lt, lt->guess ? lt->guess : kcp_lt_rate_now(lt) / 2, now);
		return;
	}
	bool queue = rtt_us > 0 && queued(lt, rtt_us);
	if (rtt_us > 0)
		lt->queued = queue;
	kcp_lt_loss_update(&lt->loss, queue);
	bool round = (int32_t)(sample.delivered_before - lt->round_end) >= 0;
	if (sample.rated)
		take_rates(lt, &sample, !sample.limited || queue);
	lt->bw = kcp_lt_rate_bytes(&lt->rates, lt->loss.floor_ppm);
	if (round) {
		end_round(lt, now);
		lt->bw = kcp_lt_rate_bytes(&lt->rates, lt->loss.floor_ppm);
	}
	if (lt->bw == 0)
		return;
	measure_burst(lt, sample.newly_bytes, now);
	kcp_lt_advance(lt, flying_bytes, now);
}
