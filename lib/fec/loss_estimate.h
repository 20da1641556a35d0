/* How much one direction of a path loses, from the fates of its datagrams. What was rebuilt was lost. */
#ifndef LOSS_ESTIMATE_H
#define LOSS_ESTIMATE_H

#include "core/mono.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	LOSS_ESTIMATE_SHARE = 256, /* a datagram moves the mean by this part, */
	LOSS_ESTIMATE_SHARE_FIRST =
		16, /* the first ones by more: it is a plain mean of them and 16 good ones */
	LOSS_ESTIMATE_ON_PPM = 2000,
	LOSS_ESTIMATE_OFF_PPM = 800,
	LOSS_ESTIMATE_OFF_US = 10000000, /* below that for so long */
	LOSS_ESTIMATE_MAX_PPM = 450000,	 /* of the design value */
};

struct loss_estimate {
	double p;	    /* mean loss, 0 .. 1 */
	double burst;	    /* mean losses in a row, >= 1 */
	uint64_t run;	    /* losses in a row up to now */
	uint32_t noted;	    /* datagrams, up to LOSS_ESTIMATE_SHARE */
	bool on;	    /* worth a repair */
	struct mono low_at; /* since when p is below the lower mark; MONO_NEVER = it is not */
};

void loss_estimate_init(struct loss_estimate *e);

/** The fate of a datagram, once each, in about the order they were sent. */
void loss_estimate_note(struct loss_estimate *e, bool lost, struct mono now);

/** One that was called lost came after all. */
void loss_estimate_correct(struct loss_estimate *e, struct mono now);

/** The path is another one since now: expects at least 2 % until more is known. */
void loss_estimate_new_path(struct loss_estimate *e);

/** What repairs are to be dimensioned for: more than the mean, which moves. 0 .. 0.45 */
double loss_estimate_design(const struct loss_estimate *e);

/** Losses in a row, as a mean, where that tells of bursts rather than of chance; else 0. */
double loss_estimate_burst(const struct loss_estimate *e);

/** Whether there is loss that is worth repairs, with hysteresis. */
bool loss_estimate_on(const struct loss_estimate *e);

static inline uint32_t loss_estimate_ppm(const struct loss_estimate *e)
{
	return (uint32_t)(e->p * 1e6);
}

#endif
