/*
 * When a thread that has many peers to serve, and little to do for each, is to be woken.
 *
 * A datagram that comes alone costs the wake-up, the empty look at each socket, and a system call to send the answer: more
 * than the datagram itself. One peer's traffic comes in runs, so that this does not matter. Thousands of peers that say
 * something now and then never make a run. For them rounds begin at multiples of a grain at the earliest, and what came
 * meanwhile shares one. There are two cases:
 *
 *     busy   many packets, of many peers, few of each, in the last tenth of a second: a millisecond
 *     calm   no packet at all for two seconds, either way, yet many rounds: keepalives of thousands: five milliseconds
 *
 * Whoever has one peer, or moves bulk, is never kept waiting. The first packet ends a calm. A round that did not read all that
 * was there is followed by another at once (loop_behind()): strangers who flood a port are not to fill the queue.
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

	WAKE_PACE_CALM_WINDOWS = 20, /* without a packet before a calm begins, */
	WAKE_PACE_CALM_ROUNDS = 20,  /* so many rounds in the last of them, */
	WAKE_PACE_CALM_LEAST = 6,    /* and so many in each while it lasts */
	WAKE_PACE_CALM_GRAIN_US = 5000,
};

/** One for a thread; all zeros is a fine beginning. */
struct wake_pace {
	struct mono since; /* of the window */
	uint32_t window;   /* its number; peers have that of the last one they were heard in */
	uint32_t packets, peers, rounds;
	uint32_t silent; /* windows in a row without a packet */
	bool sent;
	bool busy, calm;
};

/** A packet came. @heard_in  the peer's own; zero at first */
static inline void wake_pace_heard(struct wake_pace *pace, uint32_t *heard_in)
{
	pace->calm = false;
	pace->packets++;
	if (*heard_in == pace->window + 1)
		return;
	*heard_in = pace->window + 1;
	pace->peers++;
}

/** A packet of the host goes to some peer. */
static inline void wake_pace_sent(struct wake_pace *pace)
{
	pace->calm = false;
	pace->sent = true;
}

/**
 * A round ends.
 *
 * @timer  when the next timer is due: a calm does not keep it waiting
 * @return when the next round may begin at the earliest; not after `now` = at once
 */
struct mono wake_pace_next(struct wake_pace *pace, struct mono timer, struct mono now);

#endif
