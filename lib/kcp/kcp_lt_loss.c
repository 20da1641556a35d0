/*
 * The floor. What is lost of datagrams that leave well below the rate of the path cannot have been lost for want of room there.
 * Others may make a queue overflow at such a time, so of the last four samples the two lowest count. A floor that rises must be
 * learned sooner than three samples take, or the estimate of the rate shrinks by the new loss every ten rounds: as long as
 * no queue is seen, what thirty datagrams prove (two standard errors below what they show) is believed at once.
 *
 * A judgement compares a round with the floor; chance (three standard errors) and a little more are allowed for. It is congestion
 * only if a queue stood there as well, for a queue is what congestion is; but a shallow queue cannot be seen in the round-trip
 * time. It shows by what is lost more when probing above the rate than when well below.
 */
#include "kcp/kcp_lt_loss.h"

enum {
	PPM = 1000000,
	CUT_LEAST = 8, /* datagrams */
};

/* Of values below 2^62, rounded down. */
static uint32_t root(uint64_t value)
{
	uint64_t result = 0;

	for (uint64_t bit = (uint64_t)1 << 30; bit > 0; bit >>= 1) {
		if ((result + bit) * (result + bit) <= value)
			result += bit;
	}
	return (uint32_t)result;
}

static uint32_t share_ppm(const struct kcp_lt_tally *tally)
{
	return tally->judged ? (uint32_t)((uint64_t)tally->lost * PPM / tally->judged) : 0;
}

/* Variance of a share, in ppm^2. */
static uint64_t variance(uint32_t ppm, uint32_t n)
{
	if (ppm < 300)
		ppm = 300; /* a few that were seen to arrive prove little */
	return (uint64_t)ppm * (PPM - ppm) / n;
}

static void add(struct kcp_lt_tally *to, const struct kcp_lt_tally *from)
{
	to->judged += from->judged;
	to->lost += from->lost;
}

void kcp_lt_loss_acked(struct kcp_lt_loss *loss, enum kcp_lt_kind kind, bool late)
{
	struct kcp_lt_tally *tally = &loss->fresh[kind];

	if (!late) {
		tally->judged++;
		return;
	}
	if (tally->lost > 0)
		tally->lost--;
	else if (kind != KCP_LT_PROBE && loss->round.lost > 0)
		loss->round.lost--;
	if (kind == KCP_LT_LOW && loss->low.lost > 0)
		loss->low.lost--;
}

void kcp_lt_loss_lost(struct kcp_lt_loss *loss, enum kcp_lt_kind kind)
{
	loss->fresh[kind].judged++;
	loss->fresh[kind].lost++;
}

static void set_floor(struct kcp_lt_loss *loss, uint32_t ppm)
{
	loss->floor_ppm = ppm < KCP_LT_LOSS_FLOOR_MAX_PPM ? ppm : KCP_LT_LOSS_FLOOR_MAX_PPM;
}

static void close_low(struct kcp_lt_loss *loss)
{
	uint32_t lowest = UINT32_MAX, second = UINT32_MAX;

	loss->samples_ppm[loss->sample_at] = share_ppm(&loss->low);
	loss->sample_at = (loss->sample_at + 1) % KCP_LT_LOSS_SAMPLES;
	if (loss->samples < KCP_LT_LOSS_SAMPLES)
		loss->samples++;
	loss->low = (struct kcp_lt_tally){0};
	for (uint32_t i = 0; i < loss->samples; i++) {
		uint32_t ppm = loss->samples_ppm[i];
		if (ppm < lowest) {
			second = lowest;
			lowest = ppm;
		} else if (ppm < second) {
			second = ppm;
		}
	}
	set_floor(loss, loss->samples > 1 ? (lowest + second) / 2 : lowest);
}

/* What the sample that is being gathered proves. */
static void rise(struct kcp_lt_loss *loss)
{
	uint32_t ppm = share_ppm(&loss->low);
	uint32_t doubt = 2 * root(variance(ppm, loss->low.judged));

	if (ppm > doubt && ppm - doubt > loss->floor_ppm)
		set_floor(loss, ppm - doubt);
}

void kcp_lt_loss_update(struct kcp_lt_loss *loss, bool queued)
{
	add(&loss->round, &loss->fresh[KCP_LT_USUAL]);
	add(&loss->round, &loss->fresh[KCP_LT_LOW]);
	add(&loss->round_probe, &loss->fresh[KCP_LT_PROBE]);
	add(&loss->start, &loss->fresh[KCP_LT_START]);
	add(&loss->low, &loss->fresh[KCP_LT_LOW]);
	add(&loss->slow, &loss->fresh[KCP_LT_LOW]);
	add(&loss->probe, &loss->fresh[KCP_LT_PROBE]);
	if (loss->fresh[KCP_LT_LOW].judged > 0) {
		if (loss->low.judged >= KCP_LT_LOSS_LOW_MOST)
			close_low(loss);
		else if (loss->low.judged >= KCP_LT_LOSS_RISE && !queued)
			rise(loss);
	}
	kcp_lt_loss_skip(loss);
}

bool kcp_lt_loss_was_cut(const struct kcp_lt_loss *loss)
{
	uint32_t judged = 0, lost = 0;

	for (int kind = 0; kind < KCP_LT_KINDS; kind++) {
		judged += loss->fresh[kind].judged;
		lost += loss->fresh[kind].lost;
	}
	return lost >= CUT_LEAST && lost >= judged - judged / 4;
}

void kcp_lt_loss_skip(struct kcp_lt_loss *loss)
{
	for (int kind = 0; kind < KCP_LT_KINDS; kind++)
		loss->fresh[kind] = (struct kcp_lt_tally){0};
}

static uint32_t excess_ppm(const struct kcp_lt_loss *loss)
{
	if (loss->floor_ppm < KCP_LT_LOSS_EXCESS_MIN_PPM)
		return KCP_LT_LOSS_EXCESS_MIN_PPM;
	return loss->floor_ppm < KCP_LT_LOSS_EXCESS_MAX_PPM ? loss->floor_ppm
							    : KCP_LT_LOSS_EXCESS_MAX_PPM;
}

enum kcp_lt_verdict kcp_lt_loss_judge(struct kcp_lt_loss *loss, bool queued, uint32_t *ret_ppm)
{
	uint32_t n, explained;

	/* A probe that overflows an empty queue asked for it; one that finds a queue standing should not have been. */
	if (queued)
		add(&loss->round, &loss->round_probe);
	loss->round_probe = (struct kcp_lt_tally){0};
	n = loss->round.judged;
	if (n < KCP_LT_LOSS_ROUND)
		return KCP_LT_FINE;
	*ret_ppm = share_ppm(&loss->round);
	loss->round = (struct kcp_lt_tally){0};
	explained = loss->floor_ppm + 3 * root(variance(loss->floor_ppm, n));
	if (*ret_ppm <= explained)
		return KCP_LT_FINE;
	if (*ret_ppm <= explained + excess_ppm(loss))
		return KCP_LT_SOME;
	return queued || loss->shallow ? KCP_LT_CONGESTED : KCP_LT_ODD;
}

static void fade(struct kcp_lt_tally *tally)
{
	tally->judged -= tally->judged / KCP_LT_LOSS_TALLY_FADE;
	tally->lost -= tally->lost / KCP_LT_LOSS_TALLY_FADE;
}

void kcp_lt_loss_cycle(struct kcp_lt_loss *loss)
{
	uint32_t probe_ppm = share_ppm(&loss->probe);
	uint32_t slow_ppm = share_ppm(&loss->slow);

	if (loss->low.judged >= KCP_LT_LOSS_LOW)
		close_low(loss);
	if (loss->probe.judged >= KCP_LT_LOSS_TALLY && loss->slow.judged >= KCP_LT_LOSS_TALLY) {
		uint32_t doubt = 2 * root(variance(probe_ppm, loss->probe.judged) +
					     variance(slow_ppm, loss->slow.judged));
		if (probe_ppm > slow_ppm + KCP_LT_LOSS_EXCESS_MAX_PPM + doubt)
			loss->shallow = true;
		else if (probe_ppm < slow_ppm + KCP_LT_LOSS_EXCESS_MAX_PPM / 2)
			loss->shallow = false;
	}
	fade(&loss->probe);
	fade(&loss->slow);
}
