/*
 * Finds the shard counts of the other end from the order in which its data and parity packets are numbered.
 *
 * The last 258 packets are remembered: a number and a bit each, in one slot that is taken at the first sample.
 */
#ifndef FEC_AUTOTUNE_H
#define FEC_AUTOTUNE_H

#include <stdbool.h>
#include <stdint.h>

struct pool;
struct fec_autotune_samples;

enum {
	FEC_AUTOTUNE_SAMPLES = 258, /* a group of 256 and the edges on both of its sides */
};

struct fec_autotune {
	struct fec_autotune_samples
		*samples; /* a slot of the decoder's pool; NULL while there is none */
};

/** Remembers a packet, forgetting the oldest. Without a free slot it does nothing. */
void fec_autotune_sample(
	struct fec_autotune *tune, struct pool *pool, uint32_t seqid, bool is_data);

/**
 * Looks for one unbroken run of data packets and one of parity packets, each seen with its neighbours on both sides.
 *
 * Bounded work (at most some 3 us) whatever the samples are; costs nothing in a session without mismatches, because it
 * is not called there.
 *
 * @ret_data_shards, ret_parity_shards  at least 1 each; both are set or none. May be out of a decoder's range
 * @return  true if both runs were found and their places agree with each other
 */
bool fec_autotune_find(
	const struct fec_autotune *tune, unsigned *ret_data_shards, unsigned *ret_parity_shards);

/** Forgets all and returns the slot. */
void fec_autotune_reset(struct fec_autotune *tune, struct pool *pool);

#endif
