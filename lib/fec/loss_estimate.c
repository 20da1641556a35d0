/*
 * An exponential mean over datagrams, not over time: what matters is how likely the next one is lost, and an idle path says
 * nothing about that. The first datagrams weigh more, else a path that loses 20 % would be known as such after a second of
 * bulk, or five seconds of a call. Sixteen good ones are assumed to begin with, so that one early loss is not 100 %.
 *
 * The mean of 1/256 wanders by a fifth of itself at 5 % loss (standard deviation sqrt(p (1 - p) / 512)); the design value
 * allows for most of that. One loss in a while brings it to 0.4 %, which turns repairs on; without another one they go off after 400
 * datagrams and 10 s: a path that lost something lately is the one that will lose something again.
 */
#include "fec/loss_estimate.h"

static const double ppm = 1e-6;

static const double BURST_LEAST = 3;

void loss_estimate_init(struct loss_estimate *e)
{
	*e = (struct loss_estimate){
		.burst = 1,
		.noted = LOSS_ESTIMATE_SHARE_FIRST,
		.low_at = MONO_NEVER,
	};
}

static void judge(struct loss_estimate *e, struct mono now)
{
	if (e->p >= LOSS_ESTIMATE_ON_PPM * ppm)
		e->on = true;
	if (e->p >= LOSS_ESTIMATE_OFF_PPM * ppm)
		e->low_at = MONO_NEVER;
	else if (mono_is_never(e->low_at))
		e->low_at = now;
	else if (mono_diff_us(now, e->low_at) >= LOSS_ESTIMATE_OFF_US)
		e->on = false;
}

void loss_estimate_note(struct loss_estimate *e, bool lost, struct mono now)
{
	if (e->noted < LOSS_ESTIMATE_SHARE)
		e->noted++;
	e->p += ((lost ? 1 : 0) - e->p) / e->noted;
	if (lost) {
		e->run++;
	} else if (e->run > 0) {
		e->burst += ((double)e->run - e->burst) / 16;
		e->run = 0;
	}
	judge(e, now);
}

void loss_estimate_correct(struct loss_estimate *e, struct mono now)
{
	e->p -= 1.0 / e->noted;
	if (e->p < 0)
		e->p = 0;
	judge(e, now);
}

void loss_estimate_new_path(struct loss_estimate *e)
{
	const double least = 0.02;

	e->noted = LOSS_ESTIMATE_SHARE / 4;
	if (e->p < least)
		e->p = least;
	e->on = true;
	e->low_at = MONO_NEVER;
}

double loss_estimate_design(const struct loss_estimate *e)
{
	double q = 1.15 * e->p + 0.002;

	return q < LOSS_ESTIMATE_MAX_PPM * ppm ? q : LOSS_ESTIMATE_MAX_PPM * ppm;
}

double loss_estimate_burst(const struct loss_estimate *e)
{
	/* Chance alone makes runs of 1 / (1 - p), which is 1.8 at the most that is designed for. */
	return e->burst >= BURST_LEAST ? e->burst : 0;
}

bool loss_estimate_on(const struct loss_estimate *e)
{
	return e->on;
}
