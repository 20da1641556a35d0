/* The round-trip time of the bare path, and when it must be looked for. */
#ifndef KCP_LT_RTT_H
#define KCP_LT_RTT_H

#include "core/mono.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	KCP_LT_RTT_LOOK_US =
		5000000, /* without a smallest one, and the path is drained for a look */
	KCP_LT_RTT_BELIEVE_US =
		10000000,	   /* after that what the look shows is believed, if it is longer */
	KCP_LT_RTT_SLACK_US = 500, /* this and 1/32 above the smallest is the smallest again */
	KCP_LT_RTT_QUEUE_US = 4000, /* this and 1/8 above it is a queue */
};

struct kcp_lt_rtt {
	int64_t min_us;	       /* 0 = unknown */
	int64_t srtt_us;       /* 0 = unknown */
	int64_t sway_us;       /* smoothed change from one to the next */
	int64_t last_us;       /* the newest; 0 = none */
	int64_t lowest_us;     /* of this round; INT64_MAX = none */
	int64_t look_us;       /* lowest since the look began */
	struct mono min_at;    /* seen last */
	struct mono raised_at; /* the smallest was seen, or a longer one believed */
};

void kcp_lt_rtt_init(struct kcp_lt_rtt *rtt);

void kcp_lt_rtt_add(struct kcp_lt_rtt *rtt, int64_t rtt_us, struct mono now);

/** The least that counts as a queue. @packet_us  what one packet takes to be sent */
static inline int64_t kcp_lt_rtt_queue_us(const struct kcp_lt_rtt *rtt, int64_t packet_us)
{
	return rtt->min_us + rtt->min_us / 8 + KCP_LT_RTT_QUEUE_US + 2 * packet_us;
}

/** Whether it is time to drain the path for a look. */
static inline bool kcp_lt_rtt_look_due(const struct kcp_lt_rtt *rtt, struct mono now)
{
	return rtt->min_us > 0 && mono_due(mono_add_us(rtt->min_at, KCP_LT_RTT_LOOK_US), now);
}

void kcp_lt_rtt_look_begin(struct kcp_lt_rtt *rtt);
void kcp_lt_rtt_look_end(struct kcp_lt_rtt *rtt, struct mono now);

/** Takes a longer one for the smallest. @rtt_us > 0 */
void kcp_lt_rtt_believe(struct kcp_lt_rtt *rtt, int64_t rtt_us, struct mono now);

#endif
