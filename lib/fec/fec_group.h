/*
 * What a decoder keeps of one group: the shards that have come, in slots of the pool, and the rebuilding of those that
 * have not. Internal to the layer: fec_decoder decides which groups there are.
 */
#ifndef FEC_GROUP_H
#define FEC_GROUP_H

#include "core/mono.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fec_matrix;
struct pool;

enum {
	FEC_GROUP_BATCH_SHARDS = 6, /* rebuilt at once: what ISA-L folds in one pass */
};

struct fec_block;
struct fec_shard;

struct fec_group {
	struct fec_block *blocks; /* the slots, newest first; the group itself is in the last */
	struct fec_shard *shards; /* newest first */
	struct mono first_at;	  /* when its first packet came */
	uint32_t number;	  /* seqid / shards of a group */
	uint16_t shard_count;	  /* shards kept, data and parity */
	uint16_t data_count;	  /* data shards kept */
	uint16_t longest;	  /* bytes of the longest shard */
	uint16_t next_missing;	  /* rebuilding: first data shard not looked at */
	uint8_t batch_count;	  /* rebuilding: shards of the present batch */
	uint8_t batch_next;	  /* the next of them to give out */
	uint8_t have[32];	  /* a bit for each shard kept */
	uint8_t *batch[FEC_GROUP_BATCH_SHARDS]; /* slots */
};

/** @return an empty group in a slot of `pool`, NULL if it has none. */
struct fec_group *fec_group_new(struct pool *pool, uint32_t number, struct mono now);

/** Returns all its slots. NULL is fine. */
void fec_group_free(struct fec_group *group, struct pool *pool);

static inline bool fec_group_has(const struct fec_group *group, unsigned index)
{
	return group->have[index / 8] >> (index % 8) & 1;
}

/**
 * Keeps a copy of a shard that the group does not have.
 *
 * @index  0 .. FEC_SHARDS_MAX - 1; data shards come first
 * @len    at least 2, and a packet of this shard fits a slot of the pool
 * @return false if the pool has no slot; the group is as before
 */
bool fec_group_add(struct fec_group *group, struct pool *pool, unsigned index, bool is_data,
	const uint8_t *shard, size_t len);

/**
 * Prepares to rebuild the missing data shards.
 *
 * @matrix  the group has exactly as many shards as this has data shards, and lacks a data shard
 */
void fec_group_solve(struct fec_group *group, const struct fec_matrix *matrix);

/** What fec_group_next() has met on its way, added to. */
struct fec_group_tally {
	uint64_t rebuilt;
	uint64_t errors; /* impossible size, or no slot to rebuild into */
};

/**
 * The payload of the next data shard that was missing, in order, after fec_group_solve(). Those of impossible size are
 * passed over.
 *
 * @ret_len  bytes of the payload
 * @return   lent until the next call; NULL if there are no more
 */
const uint8_t *fec_group_next(struct fec_group *group, struct pool *pool,
	const struct fec_matrix *matrix, struct fec_group_tally *tally, size_t *ret_len);

#endif
