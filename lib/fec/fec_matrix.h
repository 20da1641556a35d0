/*
 * The Reed-Solomon code of kcp-go for a pair (data, parity) of shard counts, shared by all sessions that use the pair.
 *
 * Encoding tables take 32 bytes a coefficient (960 bytes for 10/3, half a megabyte for 128/127), so they are counted
 * references of one cache a node, not a part of a session. They are made when an encoder first asks; a decoder needs
 * a byte a shard only.
 */
#ifndef FEC_MATRIX_H
#define FEC_MATRIX_H

#include "core/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	FEC_MATRIX_CACHE_BYTES_MAX = 16 << 20, /* what a node may spend unless it has a reason */
};

/** One owner, one thread. Must outlive every encoder and decoder that was given it. */
struct fec_matrix_cache {
	struct list matrices; /* most recently asked for first */
	size_t bytes_max;
	size_t bytes_used;
	uint64_t refused; /* allocations that failed or would have passed bytes_max */
};

struct fec_matrix {
	struct list node;
	struct fec_matrix_cache *cache;
	uint32_t refs;
	uint16_t data_shards;
	uint16_t parity_shards;
	uint8_t *
		tables; /* for ec_encode_data_update: parity x data x 32 bytes; NULL until asked for */
	uint8_t weights
		[]; /* of each shard s: product of (s xor m) over data shards m != s; never 0 */
};

/** @bytes_max  bound on what the cache holds at once */
void fec_matrix_cache_init(struct fec_matrix_cache *cache, size_t bytes_max);

/** All matrices must have been released. */
void fec_matrix_cache_fini(struct fec_matrix_cache *cache);

/** Counted memory for the users of a cache, zeroed. @return NULL if memory or the bound is out */
void *fec_matrix_cache_alloc(struct fec_matrix_cache *cache, size_t bytes);

/** Gives back what fec_matrix_cache_alloc() gave, with the same size. NULL is fine. */
void fec_matrix_cache_free(struct fec_matrix_cache *cache, void *memory, size_t bytes);

/** True if both counts are at least 1 and their sum is at most FEC_SHARDS_MAX. */
bool fec_matrix_valid(unsigned data_shards, unsigned parity_shards);

/**
 * @return  the matrix of a valid pair, with a reference that the caller owes fec_matrix_release(); NULL if the pair is
 *          not valid or memory or the cache's bound is out
 */
struct fec_matrix *fec_matrix_acquire(
	struct fec_matrix_cache *cache, unsigned data_shards, unsigned parity_shards);

/** Gives a reference back; the last one frees the matrix. NULL is fine. */
void fec_matrix_release(struct fec_matrix *matrix);

/**
 * The coefficient of data shard `column` in parity shard `row`, both from 0.
 *
 * Costs a few lookups in the field's tables; never 0.
 */
uint8_t fec_matrix_coefficient(const struct fec_matrix *matrix, unsigned row, unsigned column);

/** @return  ISA-L's tables of all coefficients, owned by the matrix; NULL if memory or the cache's bound is out. */
uint8_t *fec_matrix_tables(struct fec_matrix *matrix);

#endif
