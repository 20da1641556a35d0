/*
 * Two schedules and three budgets.
 *
 * Thin. A source of RT or CTL causes one to three repairs by loss, the first at once and the others 5 ms apart, so that a
 * short burst does not take them all. Each covers the last six sources, so a source of a call that lost its own repairs still
 * has those of the next ones. The number rises with loss as slowly as keeps what is there neither at once nor by a repair of
 * its own below 1 %: 1.07 at 5 % loss, 1.5 at 10, 2.3 at 20, 3 at 30. (Steps of one, two and three from 2 and 12 % on, as
 * simulated first, took twice the bytes at 5 % and rebuilt no more in 50 ms.) Parts of a repair are saved up.
 * Where losses come in bursts there is one more, so much later that the burst is over.
 *
 * Bulk. Each source earns a part of a repair, and whole ones are sent. What is a source depends on whether the path is full, that
 * is, has less room than there is data. If it is not, all bulk is, at 1.25 times what is lost for each that comes through,
 * and a bit: the bytes cost nothing that anybody waits for, and what an inner TCP gets from it is its slow start, which
 * takes holes of a round trip for a queue and stops at a few dozen segments (one CUBIC flow on 100 Mb/s and 60 ms at 20 %
 * loss: 28 -> 53 Mb/s over its first 15 s). If it is full, a repair takes the place of data, and closes a hole for the price that
 * sending it again has, too: repairs of everything cost 8 to 25 % of goodput. But what is sent again is as easily lost as the
 * first time, and with hundreds of datagrams in flight some hole always waits for its third or fourth attempt, with the whole
 * flow behind it. So on a full path exactly what is sent again is a source, at twice what is lost: a fifth of the bytes at
 * 20 % loss, protected at .6, keeps the round trip at two instead of three or four and gains a fifth of goodput (54 -> 64 Mb/s).
 * A tail repair after a short silence serves the ends of responses, on account of the credit to come; when there is none
 * left it counts as urgent.
 *
 * Budgets are buckets of bytes. `share` holds max_overhead: it is filled by what is sent beside repairs, and keeps enough for a slow start. `urgent` is
 * filled by time and lets a lone call or an interactive flow be protected although its repairs are several times its bytes: 200 kb/s,
 * which is also what the engine lets pass a full window. Beyond that thin repairs pay from `share`, and from `thin`, a
 * tenth of the path's rate, so that they never crowd out what they protect. When the thin budgets get low, the third repair of
 * a source goes first, then the second.
 *
 * A repair may be due while the path does not let it go: thin ones wait in their ring and fall out of it with age, bulk
 * ones are owed up to a bound. They wait behind nothing but the path: whoever asks for repairs has put out the sources before.
 */
#include "fec/fec_policy.h"

#include <assert.h>

enum {
	DATAGRAM_BYTES = 1500,
	URGENT_SAVED_US = 200000,		  /* of the timed budgets may be saved up */
	SHARE_SAVED_BYTES = 256 * DATAGRAM_BYTES, /* a slow start's worth */
	REST_BYTES = 32 * DATAGRAM_BYTES,
	TAIL_CREDIT_MIN = -2, /* so many tail repairs are lent */
};

/* Repairs of a bulk source: so many times what is lost for each datagram that comes through, a bit more, and so many at most. */
static const double BULK_FACTOR = 1.25, BULK_BIT = 0.03, BULK_MOST = 0.6;
static const double AGAIN_FACTOR = 2, AGAIN_MOST = 0.8;

static unsigned bounded(unsigned value, unsigned least, unsigned most)
{
	return value < least ? least : value > most ? most : value;
}

static double least_of(double a, double b)
{
	return a < b ? a : b;
}

void fec_policy_init(struct fec_policy *p, const struct fec_policy_config *config, struct mono now)
{
	*p = (struct fec_policy){.filled_at = now, .tail_at = MONO_NEVER};
	p->urgent.bytes_max = FEC_POLICY_URGENT_BYTES * (URGENT_SAVED_US / 1e6);
	p->urgent.bytes = p->urgent.bytes_max;
	fec_policy_configure(p, config);
}

void fec_policy_configure(struct fec_policy *p, const struct fec_policy_config *config)
{
	p->config = (struct fec_policy_config){
		.mode = config->mode,
		.data = bounded(config->data, 1, 64),
		.parity = bounded(config->parity, 0, 32),
		.max_overhead_percent = bounded(config->max_overhead_percent, 0, 200),
		.tail_us = config->tail_us > 0 ? config->tail_us : 0,
	};
	p->share.bytes_max = p->config.max_overhead_percent > 0 ? SHARE_SAVED_BYTES : 0;
	if (p->share.bytes > p->share.bytes_max)
		p->share.bytes = p->share.bytes_max;
}

/* Lost datagrams for each that comes through: fewer repairs than that cannot close the holes. */
static double bulk_least(const struct fec_policy *p)
{
	return p->path.loss / (1 - p->path.loss);
}

void fec_policy_set_path(struct fec_policy *p, const struct fec_policy_path *path)
{
	p->path = *path;
	p->thin.bytes_max =
		(double)path->rate_bytes / FEC_POLICY_URGENT_SHARE * (URGENT_SAVED_US / 1e6);
	if (p->thin.bytes > p->thin.bytes_max)
		p->thin.bytes = p->thin.bytes_max;
}

/* ---- rates ------------------------------------------------------------------------------------------------------- */

static bool enabled(const struct fec_policy *p)
{
	if (p->config.max_overhead_percent == 0)
		return false;
	switch (p->config.mode) {
	case FEC_POLICY_OFF:
		return false;
	case FEC_POLICY_FIXED:
		return p->config.parity > 0;
	case FEC_POLICY_ADAPTIVE:
		return p->path.lossy;
	}
	return false;
}

static double fixed_rate(const struct fec_policy *p)
{
	return (double)p->config.parity / p->config.data;
}

static double thin_rate(const struct fec_policy *p)
{
	const double most = FEC_POLICY_THIN_REPAIRS_MAX;

	if (p->config.mode == FEC_POLICY_FIXED)
		return least_of(fixed_rate(p), most);
	double rate = 1 + 7 * (p->path.loss - 0.05);
	if (p->path.burst_us > 0)
		rate += 1;
	return rate < 1 ? 1 : least_of(rate, most);
}

static double bulk_rate(const struct fec_policy *p)
{
	if (p->config.mode == FEC_POLICY_FIXED)
		return least_of(fixed_rate(p), p->config.max_overhead_percent / 100.0);
	if (p->rests)
		return 0;
	if (p->path.full)
		return least_of(AGAIN_FACTOR * bulk_least(p) + BULK_BIT, AGAIN_MOST);
	return least_of(BULK_FACTOR * bulk_least(p) + BULK_BIT, BULK_MOST);
}

double fec_policy_rate(const struct fec_policy *p, enum fec_policy_encoder encoder)
{
	if (!enabled(p))
		return 0;
	if (encoder == FEC_POLICY_BULK)
		return bulk_rate(p);
	return thin_rate(p);
}

bool fec_policy_protects(const struct fec_policy *p, enum fec_policy_encoder encoder, bool again)
{
	if (encoder == FEC_POLICY_BULK && p->path.full && !again)
		return false;
	return fec_policy_rate(p, encoder) > 0;
}

/* ---- budgets ----------------------------------------------------------------------------------------------------- */

static void fill(struct fec_policy_bucket *bucket, double bytes)
{
	bucket->bytes += bytes;
	if (bucket->bytes > bucket->bytes_max)
		bucket->bytes = bucket->bytes_max;
}

static void fill_by_time(struct fec_policy *p, struct mono now)
{
	double seconds = (double)mono_diff_us(now, p->filled_at) / 1e6;

	if (seconds <= 0)
		return;
	p->filled_at = now;
	fill(&p->urgent, seconds * FEC_POLICY_URGENT_BYTES);
	fill(&p->thin, seconds * (double)p->path.rate_bytes / FEC_POLICY_URGENT_SHARE);
}

static void fill_by_bytes(struct fec_policy *p, size_t bytes)
{
	p->stats.other_bytes += bytes;
	fill(&p->share, (double)bytes * p->config.max_overhead_percent / 100);
}

static double level(const struct fec_policy_bucket *bucket)
{
	return bucket->bytes > 0 ? bucket->bytes / bucket->bytes_max : 0;
}

/*
 * Too few repairs are worth nothing: where max_overhead is less than they must be, they go in full as long as what was saved up
 * lasts, and then not at all until there is enough for a window.
 */
static void rest(struct fec_policy *p)
{
	if (p->share.bytes <= 0)
		p->rests = p->config.max_overhead_percent / 100.0 < bulk_least(p);
	else if (p->share.bytes >= REST_BYTES)
		p->rests = false;
}

/* What must be left of a budget for the rank-th repair of a thin source. */
static const double thin_reserve[FEC_POLICY_THIN_REPAIRS_MAX] = {0, 0.3, 0.6};

static bool thin_is_urgent(const struct fec_policy *p, unsigned rank)
{
	return level(&p->urgent) > thin_reserve[rank];
}

static bool thin_affordable(const struct fec_policy *p, unsigned rank)
{
	return thin_is_urgent(p, rank) ||
	       least_of(level(&p->thin), level(&p->share)) > thin_reserve[rank];
}

static void thin_pay(struct fec_policy *p, unsigned rank, double bytes)
{
	if (thin_is_urgent(p, rank)) {
		p->urgent.bytes -= bytes;
		return;
	}
	p->share.bytes -= bytes;
	p->thin.bytes -= bytes;
}

static bool tail_affordable(const struct fec_policy *p)
{
	return level(&p->urgent) > 0.5;
}

/* ---- thin -------------------------------------------------------------------------------------------------------- */

static void thin_insert(struct fec_policy *p, struct mono at, unsigned rank)
{
	unsigned i = p->due_count;

	if (i == FEC_POLICY_THIN_WAITING_MAX) {
		p->stats.capped++;
		return;
	}
	for (; i > 0 && mono_before(at, p->due_at[i - 1]); i--) {
		p->due_at[i] = p->due_at[i - 1];
		p->due_rank[i] = p->due_rank[i - 1];
	}
	p->due_at[i] = at;
	p->due_rank[i] = (uint8_t)rank;
	p->due_count++;
}

static void thin_pop(struct fec_policy *p)
{
	p->due_count--;
	for (unsigned i = 0; i < p->due_count; i++) {
		p->due_at[i] = p->due_at[i + 1];
		p->due_rank[i] = p->due_rank[i + 1];
	}
}

/* The repairs of a source shall not share its burst. */
static int64_t spacing_us(const struct fec_policy *p)
{
	if (p->path.burst_us <= FEC_POLICY_SPACING_US)
		return FEC_POLICY_SPACING_US;
	return p->path.burst_us < FEC_POLICY_SPACING_MAX_US ? p->path.burst_us
							    : FEC_POLICY_SPACING_MAX_US;
}

static void thin_source(struct fec_policy *p, struct mono now)
{
	p->thin_credit += thin_rate(p);
	unsigned repairs = (unsigned)p->thin_credit;
	p->thin_credit -= repairs;
	for (unsigned i = 0; i < repairs; i++) {
		unsigned rank = bounded(i, 0, FEC_POLICY_THIN_REPAIRS_MAX - 1);
		thin_insert(p, mono_add_us(now, (int64_t)i * spacing_us(p)), rank);
	}
}

/* Drops what is too old or not affordable. @return true: the first of the ring is due */
static bool thin_due(struct fec_policy *p, struct mono now)
{
	while (p->due_count > 0 && mono_due(p->due_at[0], now)) {
		bool old = mono_diff_us(now, p->due_at[0]) > FEC_POLICY_THIN_AGE_US;
		if (!old && enabled(p) && thin_affordable(p, p->due_rank[0]))
			return true;
		if (!old && enabled(p))
			p->stats.capped++;
		thin_pop(p);
	}
	return false;
}

/* ---- bulk -------------------------------------------------------------------------------------------------------- */

static void bulk_source(struct fec_policy *p, struct mono now)
{
	p->credit = least_of(p->credit + bulk_rate(p), FEC_POLICY_BULK_OWED_MAX);
	p->unrepaired++;
	p->tail_at = p->config.tail_us > 0 ? mono_add_us(now, p->config.tail_us) : MONO_NEVER;
}

static bool bulk_due(struct fec_policy *p, struct mono now)
{
	if (bulk_rate(p) <= 0 || !enabled(p)) {
		fec_policy_dropped(p, FEC_POLICY_BULK);
		return false;
	}
	if (p->unrepaired == 0)
		return false;
	bool tail = mono_due(p->tail_at, now);
	if (p->credit >= 1 || (tail && p->credit - 1 >= TAIL_CREDIT_MIN)) {
		if (p->share.bytes > 0)
			return true;
	}
	if (tail && tail_affordable(p))
		return true;
	if (p->credit >= 1) {
		p->credit -= 1; /* over max_overhead: it is not owed any more */
		p->stats.capped++;
	}
	if (tail) {
		p->tail_at = MONO_NEVER;
		p->stats.capped++;
	}
	return false;
}

static void bulk_sent(struct fec_policy *p, double bytes)
{
	bool by_credit = p->credit - 1 >= TAIL_CREDIT_MIN && p->share.bytes > 0;

	if (by_credit || p->credit >= 1)
		p->credit -= 1; /* whoever pays: one that was owed is made */
	if (by_credit)
		p->share.bytes -= bytes;
	else
		p->urgent.bytes -= bytes;
	if (p->credit < 1) {
		p->unrepaired = 0;
		p->tail_at = MONO_NEVER;
	}
}

/* ---- both -------------------------------------------------------------------------------------------------------- */

void fec_policy_source(
	struct fec_policy *p, enum fec_policy_encoder encoder, size_t bytes, struct mono now)
{
	fill_by_time(p, now);
	fill_by_bytes(p, bytes);
	p->stats.sources[encoder]++;
	rest(p);
	if (!enabled(p))
		return;
	if (encoder == FEC_POLICY_THIN)
		thin_source(p, now);
	else
		bulk_source(p, now);
}

void fec_policy_plain(struct fec_policy *p, size_t bytes, struct mono now)
{
	fill_by_time(p, now);
	fill_by_bytes(p, bytes);
	rest(p);
}

bool fec_policy_due(struct fec_policy *p, struct mono now, enum fec_policy_encoder *ret_encoder)
{
	fill_by_time(p, now);
	if (thin_due(p, now))
		*ret_encoder = FEC_POLICY_THIN;
	else if (bulk_due(p, now))
		*ret_encoder = FEC_POLICY_BULK;
	else
		return false;
	return true;
}

void fec_policy_sent(
	struct fec_policy *p, enum fec_policy_encoder encoder, size_t bytes, struct mono now)
{
	fill_by_time(p, now);
	p->stats.repairs[encoder]++;
	p->stats.repair_bytes += bytes;
	if (encoder == FEC_POLICY_THIN) {
		assert(p->due_count > 0);
		thin_pay(p, p->due_rank[0], (double)bytes);
		thin_pop(p);
	} else {
		bulk_sent(p, (double)bytes);
	}
}

void fec_policy_dropped(struct fec_policy *p, enum fec_policy_encoder encoder)
{
	if (encoder == FEC_POLICY_THIN) {
		assert(p->due_count > 0);
		thin_pop(p);
		return;
	}
	p->unrepaired = 0;
	p->tail_at = MONO_NEVER;
	if (p->credit > 0)
		p->credit = 0;
}

struct mono fec_policy_deadline_of(const struct fec_policy *p, enum fec_policy_encoder encoder)
{
	if (encoder == FEC_POLICY_THIN)
		return p->due_count > 0 ? p->due_at[0] : MONO_NEVER;
	if (p->unrepaired == 0)
		return MONO_NEVER;
	return p->credit >= 1 ? p->filled_at : p->tail_at;
}

struct mono fec_policy_next_deadline(const struct fec_policy *p)
{
	return mono_min(fec_policy_deadline_of(p, FEC_POLICY_THIN),
		fec_policy_deadline_of(p, FEC_POLICY_BULK));
}
