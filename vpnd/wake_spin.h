/*
 * Whether a thread that has nothing to do looks for events for a moment before it sleeps.
 *
 * To be woken costs a thread 30 to 60 us on a virtual machine whose processor was halted, as much as all else that it does for a
 * packet, and a question with its answer pays that four times. When the answer comes soon, as in the networks of one house,
 * whoever looks sees it earlier than who sleeps; but not on a machine whose processors are busy: none halts there, and who answers
 * may wait for the one that looks. So both are tried, after rounds that sent and after rounds that delivered, and what let the next
 * event come sooner is done. Who looks in vain, or finds that others had the processor meanwhile, sleeps for some time, and longer
 * each time. Where answers take longer than WAKE_SPIN_WORTH_US, nobody looks. And never for more than a hundredth of
 * the time.
 */
#ifndef VPND_WAKE_SPIN_H
#define VPND_WAKE_SPIN_H

#include "core/mono.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	WAKE_SPIN_WORTH_US = 250, /* as it is seen by who sleeps: with the wake-up in it */
	WAKE_SPIN_MOST_US = 200,  /* at a time */
	WAKE_SPIN_GAIN_US = 10,	  /* less is not worth it */
	WAKE_SPIN_PART = 100,	  /* of the time; shared by the threads */
	WAKE_SPIN_BURST_US = 5000,
	WAKE_SPIN_HELD_US = 30,	    /* between two looks at events: others had the processor */
	WAKE_SPIN_PAUSE_US = 20000, /* after the first look in vain; twice as long after the next */
	WAKE_SPIN_PAUSE_MAX_US = 2000000,
	WAKE_SPIN_LEARN = 8,  /* waits of each sort, before one is chosen */
	WAKE_SPIN_AGAIN = 32, /* every so many waits the other sort has a turn */
};

/** What a round did for packets; the last counts. */
enum wake_spin_kind {
	WAKE_SPIN_NOTHING,
	WAKE_SPIN_SENT,	     /* the host's: the peer's may answer */
	WAKE_SPIN_DELIVERED, /* to the host, which may answer */
	WAKE_SPIN_KINDS,
};

/** What passed until the next event, in one sort of wait: about the median of the last. */
struct wake_spin_gap {
	int32_t us;
	uint32_t seen; /* as many, at most WAKE_SPIN_LEARN */
};

/** All zeros: never looks. */
struct wake_spin {
	uint32_t part; /* a part of so many of the time; 0 = none */
	int64_t credit_ns;
	struct mono credit_at;
	struct mono pause_until;
	int64_t pause_us;  /* the last one's length; less with each look that was not in vain */
	struct mono began; /* the wait that goes on */
	enum wake_spin_kind kind; /* what the round before it did */
	bool looks;		  /* what is done in it */
	uint32_t waits;
	struct wake_spin_gap gaps[WAKE_SPIN_KINDS][2]; /* slept through, looked */
};

/** @threads  that share the part; 0 = never looks */
void wake_spin_init(struct wake_spin *spin, uint32_t threads, struct mono now);

/**
 * A wait begins.
 *
 * @kind   what the round did that ended
 * @return how long to look at most; 0 = sleep at once
 */
int64_t wake_spin_begin(struct wake_spin *spin, enum wake_spin_kind kind, struct mono now);

/**
 * A look is over.
 *
 * @looked_us  how long it took
 * @vain       nothing came, or others had the processor
 */
void wake_spin_looked(struct wake_spin *spin, int64_t looked_us, bool vain, struct mono now);

/** The wait is over. @came  an event ended it; false: a deadline */
void wake_spin_end(struct wake_spin *spin, bool came, struct mono now);

#endif
