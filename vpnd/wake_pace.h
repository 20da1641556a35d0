/*
 * When a thread that has many peers to serve, and little to do for each, is to be woken.
 *
 * A datagram that comes alone costs the wake-up, the empty look at each socket, and a system call to send the answer: more
 * than the datagram itself. One peer's traffic comes in runs, so that this does not matter. Thousands of peers that say
 * something now and then never make a run. For them rounds begin at multiples of a millisecond at the earliest, and what came
 * meanwhile shares one.
 *
 * It begins and ends by what came in the last tenth of a second: many packets, of many peers, few of each. Whoever has one
 * peer, or moves bulk, is never kept waiting.
 */
#ifndef VPND_WAKE_PACE_H
#define VPND_WAKE_PACE_H

#include "core/mono.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	WAKE_PACE_WINDOW_US = 100000, /* that is looked at, and in it */
	WAKE_PACE_PACKETS = 150,      /* so many packets at least */
	WAKE_PACE_PEERS = 100,	      /* of so many peers at least */
	WAKE_PACE_OF_ONE = 4,	      /* so many of one at most, on average */
	WAKE_PACE_GRAIN_US = 1000,    /* rounds begin at multiples of it */
};

/** One for a thread; all zeros is a fine beginning. */
struct wake_pace {
	struct mono since; /* of the window */
	uint32_t window;   /* its number; peers have that of the last one they were heard in */
	uint32_t packets, peers;
	bool on;
};

/** A packet came. @heard_in  the peer's own; zero at first */
static inline void wake_pace_heard(struct wake_pace *pace, uint32_t *heard_in)
{
	pace->packets++;
	if (*heard_in == pace->window + 1)
		return;
	*heard_in = pace->window + 1;
	pace->peers++;
}

/** A round ends. @return when the next may begin at the earliest; not after `now` = at once */
struct mono wake_pace_next(struct wake_pace *pace, struct mono now);

#endif
