/*
 * A naive Reed-Solomon code for comparison: byte by byte, from the definition (Vandermonde matrix times the inverse of
 * its top), with its own arithmetic in GF(2^8). Shares nothing with lib/fec and does not use ISA-L.
 */
#ifndef FEC_TWIN_H
#define FEC_TWIN_H

#include <stddef.h>
#include <stdint.h>

enum { TWIN_SHARDS = 256, TWIN_BYTES = 1500 };

/** Product in the field with polynomial 0x11d. */
uint8_t twin_mul(uint8_t a, uint8_t b);

/** Rows 0..n-1 of the generator matrix for `d` data shards: the first d are the identity. */
void twin_matrix(unsigned d, unsigned n, uint8_t rows[TWIN_SHARDS][TWIN_SHARDS]);

struct twin_shard {
	size_t len; /* 0 = not there; bytes behind are zero */
	uint8_t bytes[TWIN_BYTES];
};

/** Sets the parity shards d..n-1 of a group, as long as its longest data shard. */
void twin_encode(
	unsigned d, unsigned n, uint8_t rows[TWIN_SHARDS][TWIN_SHARDS], struct twin_shard *shards);

/**
 * Solves the group's linear equations for all data shards from the shards that are there (exactly d are).
 *
 * @ret_data  d shards, each as long as the longest shard there is
 */
void twin_decode(unsigned d, unsigned n, uint8_t rows[TWIN_SHARDS][TWIN_SHARDS],
	const struct twin_shard *shards, struct twin_shard *ret_data);

#endif
