/* What a path delivered and lost over the flight of one datagram. */
#ifndef KCP_LT_SAMPLE_H
#define KCP_LT_SAMPLE_H

#include "core/mono.h"

#include <stdbool.h>
#include <stdint.h>

#define KCP_LT_RATE_MAX_BYTES \
	((uint64_t)1 << 30) /* a second; what is faster was acknowledged by a liar */

/** How fast the path was being used when a datagram left; its loss is counted accordingly. */
enum kcp_lt_kind {
	KCP_LT_USUAL,
	KCP_LT_LOW,   /* well below the estimate: loss is not of our making */
	KCP_LT_PROBE, /* above it */
	KCP_LT_START, /* far above what was known: says nothing */
	KCP_LT_KINDS,
};

/** What is noted with each transmission. Times are microseconds, counts bytes, both modulo 2^32. */
struct kcp_lt_flight {
	uint32_t sent_us;
	uint32_t delivered;    /* count when sent, */
	uint32_t delivered_us; /* and when that was reached */
	uint32_t lost;	       /* count when sent */
	uint32_t
		first_sent_us; /* start of the time in which what was delivered then had been sent */
	uint8_t kind;	       /* enum kcp_lt_kind */
	bool limited;	       /* the sender had no more to send */
};

struct kcp_lt_sampler {
	uint32_t delivered;
	uint32_t lost;
	uint32_t delivered_us;
	uint32_t first_sent_us;
	uint32_t limited_until; /* `delivered` up to which samples tell of the sender */
	bool limited;
	/* the sample that is being gathered */
	bool any;
	struct kcp_lt_flight newest; /* latest sent of what was acknowledged */
	uint32_t newly_bytes;
	uint32_t silent_us; /* between the delivery before and the first of it */
};

struct kcp_lt_sample {
	uint64_t delivered_rate; /* bytes a second */
	uint64_t lost_rate;
	uint32_t delivered_before; /* count when its datagram left, for telling rounds */
	uint32_t newly_bytes;	   /* acknowledged since the last sample */
	uint32_t silent_us;
	bool rated;   /* the rates mean something */
	bool limited; /* they may be those of the sender */
};

/** Something is about to be sent while nothing flies: the clocks start anew. */
void kcp_lt_sampler_restart(struct kcp_lt_sampler *sampler, struct mono now);

void kcp_lt_sampler_sent(struct kcp_lt_sampler *sampler, struct kcp_lt_flight *ret_flight,
	enum kcp_lt_kind kind, struct mono now);

void kcp_lt_sampler_acked(struct kcp_lt_sampler *sampler, const struct kcp_lt_flight *flight,
	uint32_t bytes, struct mono now);

/** @bytes  negative: what was taken for lost has arrived after all */
static inline void kcp_lt_sampler_lost(struct kcp_lt_sampler *sampler, int64_t bytes)
{
	sampler->lost += (uint32_t)bytes;
}

/** The sender ran out of data below its window. */
void kcp_lt_sampler_set_limited(struct kcp_lt_sampler *sampler, uint64_t flying_bytes);

/**
 * Closes the sample of one report.
 *
 * @min_rtt_us  an interval shorter than that says nothing
 * @return      false if nothing was acknowledged
 */
bool kcp_lt_sampler_close(struct kcp_lt_sampler *sampler, int64_t min_rtt_us, struct mono now,
	struct kcp_lt_sample *ret);

#endif
