/* The bottleneck's rate: largest samples of late rounds. */
#ifndef KCP_LT_RATE_H
#define KCP_LT_RATE_H

#include <stdbool.h>
#include <stdint.h>

enum {
	KCP_LT_RATE_ROUNDS = 10, /* a whole cycle of probing is within */
	KCP_LT_RATE_DROP_ROUNDS = 2,	   /* so many in a row, */
	KCP_LT_RATE_DROP_PERCENT = 75, /* all below this share of the estimate, are believed at once */
};

struct kcp_lt_rate_round {
	uint64_t delivered; /* bytes a second, largest of the round */
	uint64_t carried;   /* with what was lost behind the bottleneck */
};

struct kcp_lt_rate {
	struct kcp_lt_rate_round rounds[KCP_LT_RATE_ROUNDS];
	struct kcp_lt_rate_round most; /* of all of them */
	uint32_t at;		       /* the current one */
	bool full;		       /* it had a sample that tells of the path */
};

/** Forgets all. @guess  stands in until samples come; 0 = nothing known */
void kcp_lt_rate_init(struct kcp_lt_rate *rate, uint64_t guess);

/** @full  false: the sample may raise the estimate, but does not make the round count */
void kcp_lt_rate_add(struct kcp_lt_rate *rate, struct kcp_lt_rate_round sample, bool full);

/** Ends a round, if it had a full sample. @return whether it had */
bool kcp_lt_rate_turn(struct kcp_lt_rate *rate);

/** Forgets all but the current round and the `rounds` before it. */
void kcp_lt_rate_keep(struct kcp_lt_rate *rate, uint32_t rounds);

/**
 * Bytes a second that the bottleneck carries; 0 = unknown.
 *
 * @floor_ppm  share lost at random, below 1000000
 */
uint64_t kcp_lt_rate_bytes(const struct kcp_lt_rate *rate, uint32_t floor_ppm);

#endif
