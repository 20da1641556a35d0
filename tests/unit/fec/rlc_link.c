#include "rlc_link.h"

#include "core/endian.h"
#include "core/pool.h"
#include "fec/loss_estimate.h"
#include "fec/rlc_decoder.h"
#include "fec/rlc_encoder.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum {
	SEAL_BYTES = 36, /* of UDP payload: header, frame and tag around the segments */
	PN_MAX = 1 << 18,
	FATES_MAX = 1 << 14,
	LATE_US = 50000,
};

struct fate {
	struct mono at;
	bool lost;
};

struct source {
	struct mono sent_at;
	struct mono came_at; /* MONO_NEVER */
};

struct link {
	const struct rlc_link_plan *plan;
	struct pool pool;
	struct rlc_encoder enc;
	struct rlc_decoder dec;
	struct loss_estimate estimate;
	struct fec_policy policy;
	struct fate fates[FATES_MAX];
	size_t fates_first, fates_end;
	struct mono turn_at; /* when a burst begins or ends */
	bool bad;
	uint64_t pn;
	uint64_t random;
	struct source sources[PN_MAX]; /* by pn; sent_at of repairs is MONO_NEVER */
	struct rlc_link_result result;
};

static double dice(struct link *l)
{
	l->random ^= l->random << 13;
	l->random ^= l->random >> 7;
	l->random ^= l->random << 17;
	return (double)(l->random >> 11) / (double)((uint64_t)1 << 53);
}

static int64_t about(struct link *l, double mean)
{
	return (int64_t)(2 * mean * dice(l)) + 1;
}

static bool link_loses(struct link *l, struct mono now)
{
	const struct rlc_link_plan *plan = l->plan;

	if (plan->clean_from_us > 0 && now.us >= plan->clean_from_us)
		return false;
	if (plan->burst_us == 0)
		return dice(l) < plan->loss;
	while (mono_due(l->turn_at, now)) {
		double mean = (double)plan->burst_us;
		l->bad = !l->bad;
		if (!l->bad)
			mean = mean * (1 - plan->loss) / plan->loss;
		l->turn_at = mono_add_us(l->turn_at, about(l, mean));
	}
	return l->bad;
}

static void note_fate(struct link *l, bool lost, struct mono now)
{
	cr_assert(l->fates_end - l->fates_first < FATES_MAX);
	l->fates[l->fates_end++ % FATES_MAX] =
		(struct fate){mono_add_us(now, l->plan->rtt_us), lost};
}

static void learn_fates(struct link *l, struct mono now)
{
	while (l->fates_first < l->fates_end &&
		mono_due(l->fates[l->fates_first % FATES_MAX].at, now)) {
		const struct fate *fate = &l->fates[l->fates_first++ % FATES_MAX];
		loss_estimate_note(&l->estimate, fate->lost, fate->at);
	}
	struct fec_policy_path path = {
		.loss = loss_estimate_design(&l->estimate),
		.lossy = loss_estimate_on(&l->estimate),
		.rate_bytes = l->plan->rate_bytes,
	};
	fec_policy_set_path(&l->policy, &path);
}

static void fetch(struct link *l, struct mono now)
{
	struct rlc_symbol symbol;

	while (rlc_decoder_rebuilt(&l->dec, &symbol)) {
		cr_assert(symbol.pn < l->pn);
		struct source *source = &l->sources[symbol.pn];
		cr_assert(!mono_is_never(source->sent_at));
		cr_assert_eq(symbol.segments[0], (uint8_t)symbol.pn);
		cr_assert_eq(symbol.len, l->plan->segments_bytes);
		if (mono_is_never(source->came_at))
			source->came_at = now;
	}
}

static void send_source(struct link *l, struct mono now)
{
	static uint8_t segments[2048];
	bool lost = link_loses(l, now);
	size_t len = l->plan->segments_bytes;
	uint64_t pn = l->pn++;
	uint32_t cidx;

	cr_assert(pn < PN_MAX);
	memset(segments, (uint8_t)pn, len);
	l->sources[pn] = (struct source){now, lost ? MONO_NEVER : now};
	l->result.sources++;
	l->result.source_bytes += len + SEAL_BYTES;
	l->result.lost += lost;
	note_fate(l, lost, now);
	if (!fec_policy_protects(&l->policy, l->plan->encoder, false)) {
		fec_policy_plain(&l->policy, len + SEAL_BYTES, now);
		return;
	}
	cr_assert(rlc_encoder_push(&l->enc, pn, segments, len, now, &cidx));
	fec_policy_source(&l->policy, l->plan->encoder, len + SEAL_BYTES, now);
	if (!lost) {
		rlc_decoder_source(&l->dec, cidx, pn, segments, len, now);
		fetch(l, now);
	}
}

static void send_repairs(struct link *l, struct mono now)
{
	static uint8_t out[RLC_REPAIR_BYTES(2048)];
	enum fec_policy_encoder encoder;

	while (fec_policy_due(&l->policy, now, &encoder)) {
		unsigned window = encoder == FEC_POLICY_THIN ? FEC_POLICY_THIN_WINDOW
							     : FEC_POLICY_BULK_WINDOW;
		size_t len = rlc_encoder_repair(
			&l->enc, RLC_KIND_THIN_REPAIR, window, out, sizeof(out), now);
		if (len == 0) {
			fec_policy_dropped(&l->policy, encoder);
			continue;
		}
		size_t bytes = len - RLC_PLAIN_HEADER_BYTES + SEAL_BYTES;
		fec_policy_sent(&l->policy, encoder, bytes, now);
		l->result.repairs++;
		l->result.repair_bytes += bytes;
		l->result.last_repair_us = now.us;
		bool lost = link_loses(l, now);
		uint64_t pn = l->pn++;
		cr_assert(pn < PN_MAX);
		l->sources[pn].sent_at = MONO_NEVER;
		note_fate(l, lost, now);
		if (lost)
			continue;
		enum rlc_verdict v =
			rlc_decoder_repair(&l->dec, load_le32(out) >> 8, pn, out + 4, len - 4, now);
		l->result.wasted += v == RLC_REPAIR_SPARE || v == RLC_REPAIR_REDUNDANT;
		fetch(l, now);
	}
}

static int by_value(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void judge(struct link *l)
{
	int64_t *delays = calloc(l->result.sources, sizeof(*delays));
	size_t count = 0;

	cr_assert(delays != NULL);
	for (uint64_t pn = 0; pn < l->pn; pn++) {
		const struct source *source = &l->sources[pn];
		if (mono_is_never(source->sent_at))
			continue;
		int64_t delay = mono_is_never(source->came_at)
					? INT64_MAX
					: mono_diff_us(source->came_at, source->sent_at);
		l->result.missing += delay == INT64_MAX;
		l->result.late_by_50_ms += delay > LATE_US;
		if (delay != INT64_MAX)
			delays[count++] = delay;
	}
	qsort(delays, count, sizeof(*delays), by_value);
	l->result.p99_us = count ? delays[count * 99 / 100] : 0;
	free(delays);
}

struct rlc_link_result rlc_link_run(const struct rlc_link_plan *plan)
{
	struct link *l = calloc(1, sizeof(*l));
	struct mono now = mono_at_us(0), next = now;

	cr_assert(l != NULL);
	l->plan = plan;
	l->random = plan->seed * 0x9e3779b97f4a7c15u + 1;
	l->turn_at = mono_at_us(0);
	l->bad = true;
	pool_init(&l->pool, RLC_SLOT_BYTES(plan->segments_bytes), 1000);
	bool thin = plan->encoder == FEC_POLICY_THIN;
	rlc_encoder_init(&l->enc, thin ? FEC_POLICY_THIN_WINDOW : FEC_POLICY_BULK_WINDOW,
		thin ? FEC_POLICY_THIN_AGE_US : 1000000, &l->pool);
	rlc_decoder_init(&l->dec, RLC_WINDOW_MAX, plan->segments_bytes, 2000000, &l->pool);
	loss_estimate_init(&l->estimate);
	fec_policy_init(&l->policy, &plan->config, now);
	while (now.us < plan->run_us) {
		learn_fates(l, now);
		if (mono_due(next, now)) {
			fec_policy_plain(&l->policy, plan->beside_bytes, now);
			for (unsigned i = 0; i < plan->batch; i++) {
				send_source(l, now);
				if (!thin)
					send_repairs(l, now);
			}
			next = mono_add_us(next, plan->interval_us);
		}
		send_repairs(l, now);
		struct mono due = fec_policy_next_deadline(&l->policy);
		cr_assert(mono_before(now, due), "a deadline that is past asks for nothing");
		now = mono_min(next, due);
	}
	judge(l);
	struct rlc_link_result result = l->result;
	result.policy = l->policy.stats;
	rlc_decoder_fini(&l->dec);
	rlc_encoder_fini(&l->enc);
	cr_assert_eq(l->pool.slots_used, 0);
	pool_fini(&l->pool);
	free(l);
	return result;
}
