/* The bottleneck's rate: largest samples of this cycle of probing and the one before. */
#ifndef KCP_LT_RATE_H
#define KCP_LT_RATE_H

#include <stdbool.h>
#include <stdint.h>

enum {
	KCP_LT_RATE_ROUNDS = 4, /* late ones that are kept apart */
};

struct kcp_lt_rate_round {
	uint64_t delivered; /* bytes a second, largest of the time */
	uint64_t carried;   /* with what was lost behind the bottleneck */
};

struct kcp_lt_rate {
	struct kcp_lt_rate_round cycles[2]; /* this one, and the one before */
	struct kcp_lt_rate_round rounds[KCP_LT_RATE_ROUNDS];
	uint32_t at;	 /* the current round */
	bool full_round; /* it had a sample that tells of the path */
	bool full_cycle;
};

/** Forgets all. @guess  stands in until samples come; 0 = nothing known */
void kcp_lt_rate_init(struct kcp_lt_rate *rate, uint64_t guess);

/** @full  false: the sample may raise the estimate, but does not make round and cycle count */
void kcp_lt_rate_add(struct kcp_lt_rate *rate, struct kcp_lt_rate_round sample, bool full);

/** Ends a round, if it had a full sample. */
void kcp_lt_rate_turn(struct kcp_lt_rate *rate);

/** Ends a cycle, if it had a full sample. */
void kcp_lt_rate_cycle(struct kcp_lt_rate *rate);

/** Forgets all but the last `rounds` that counted, the current one among them; 1 .. KCP_LT_RATE_ROUNDS. */
void kcp_lt_rate_keep(struct kcp_lt_rate *rate, uint32_t rounds);

/**
 * Bytes a second that the bottleneck carries; 0 = unknown.
 *
 * @floor_ppm  share lost at random, below 1000000
 */
uint64_t kcp_lt_rate_bytes(const struct kcp_lt_rate *rate, uint32_t floor_ppm);

#endif
