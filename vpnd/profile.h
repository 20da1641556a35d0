/*
 * The cost of a packet's way by stage, for those who look for it: with VPND_PROFILE=1 in the environment the daemon measures, and
 * writes what it found to the log when it stops.
 */
#ifndef VPND_PROFILE_H
#define VPND_PROFILE_H

#include "core/stage_clock.h"

#include <stddef.h>

struct log;

/** Of one thread. */
struct profile {
	struct stage_clock clock;
	double reading_ns; /* what a look at the clock costs, taken off */
};

/** @return  NULL if nobody asked for it, or without memory; freed by profile_free() */
struct profile *profile_new(void);

/** NULL is fine. */
void profile_free(struct profile *profile);

/** What is to be entered; NULL without a profile. */
static inline struct stage_clock *profile_clock(struct profile *profile)
{
	return profile ? &profile->clock : NULL;
}

/** One line a stage: its CPU time, how often it was entered, and the datagrams or packets it worked on. NULL: nothing. */
void profile_tell(struct profile *profile, const struct log *log);

#endif
