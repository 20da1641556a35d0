/*
 * Where time goes on a packet's way: at each moment one stage runs, and what passes until the next is entered is charged to it. So
 * the stages add up to the whole, and one that calls another holds only its own part. Stages are entered for batches where there are
 * any; the clock comes from outside.
 *
 *	enum stage before = stage_enter(clock, STAGE_SEAL);
 *	seal_batch(...);
 *	stage_enter(clock, before);
 */
#ifndef CORE_STAGE_CLOCK_H
#define CORE_STAGE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

enum stage {
	STAGE_REST, /* the loop, its timers, control */
	STAGE_TUN_READ,
	STAGE_QUEUE, /* whose packet, into its queue and out of it */
	STAGE_SEND,  /* session and ARQ of what leaves */
	STAGE_FEC_ENCODE,
	STAGE_SEAL,
	STAGE_UDP_SEND,
	STAGE_UDP_RECEIVE,
	STAGE_OPEN,
	STAGE_RECEIVE, /* session and ARQ of what came */
	STAGE_FEC_DECODE,
	STAGE_DELIVER, /* whose source, put together */
	STAGE_TUN_WRITE,
	STAGES,
};

struct stage_clock {
	uint64_t (*now_ns)(void *ctx);
	void *ctx;
	uint64_t since_ns;
	enum stage stage; /* that runs */
	uint64_t spent_ns[STAGES];
	uint64_t entered[STAGES]; /* how often the clock was read at its end */
	uint64_t items[STAGES];	  /* datagrams, or packets of the device, that it worked on */
};

static inline void stage_clock_init(
	struct stage_clock *clock, uint64_t (*now_ns)(void *ctx), void *ctx)
{
	*clock = (struct stage_clock){.now_ns = now_ns, .ctx = ctx, .since_ns = now_ns(ctx)};
}

/** @clock  NULL: nobody measures   @return  the stage that ran, to be entered again afterwards */
static inline enum stage stage_enter(struct stage_clock *clock, enum stage stage)
{
	if (!clock)
		return STAGE_REST;
	enum stage before = clock->stage;
	if (before == stage)
		return before;
	uint64_t now_ns = clock->now_ns(clock->ctx);
	clock->spent_ns[before] += now_ns - clock->since_ns;
	clock->entered[before]++;
	clock->since_ns = now_ns;
	clock->stage = stage;
	return before;
}

/** The stage that runs worked on so many. */
static inline void stage_did(struct stage_clock *clock, size_t items)
{
	if (clock)
		clock->items[clock->stage] += items;
}

/** "rest", "tun_read", "queue", ...; static. */
const char *stage_str(enum stage stage);

#endif
