/*
 * What the clients of the control socket may cost the thread that carries the packets: a share of its time, and no more at
 * a time than packets can wait. Work is asked for before and charged after it; what was more than there was is a debt.
 */
#ifndef VPND_CPU_SHARE_H
#define VPND_CPU_SHARE_H

#include "core/mono.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	CPU_SHARE_PART = 4,	   /* a quarter of the time */
	CPU_SHARE_BURST_US = 4000, /* at once, after a rest */
	CPU_SHARE_SLICE_US = 1000, /* at a time, for who waits for more */
	CPU_SHARE_DEBT_US = 250000,
};

struct cpu_share {
	int64_t (*clock_us)(void); /* the time this thread has worked */
	int64_t credit_us;	   /* negative = a debt */
	struct mono at;		   /* when that was so */
	int64_t began_us;	   /* the work under way */
};

/** @clock_us  NULL = the kernel's count for this thread */
void cpu_share_init(struct cpu_share *share, int64_t (*clock_us)(void), struct mono now);

/** True if there is some left; counts the time that went by. */
bool cpu_share_left(struct cpu_share *share, struct mono now);

/** Work begins; not nested. */
void cpu_share_begin(struct cpu_share *share);

/** Charges what was done since cpu_share_begin(), or since it was charged last. */
void cpu_share_end(struct cpu_share *share);

/** When to go on with work that found nothing left. After cpu_share_left() of the same `now`. */
struct mono cpu_share_due(const struct cpu_share *share, struct mono now);

#endif
