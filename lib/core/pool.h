/*
 * Pool of equal slots. Slots come from chunks that are allocated as they are first needed and given
 * back to the system by pool_trim() once whole chunks are free, so the data path takes and returns
 * slots without malloc.
 */
#ifndef CORE_POOL_H
#define CORE_POOL_H

#include "core/list.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
	POOL_CHUNK_SLOTS = 128, /* most slots allocated at once */
	POOL_ALIGN_BYTES = 64,	/* slots start on a cache line */
};

/** Memory that pools of several threads take from, each beyond what is its own. */
struct pool_budget {
	atomic_size_t left_bytes;
};

struct pool {
	struct list partial;	    /* chunks with a free slot */
	struct list full;	    /* chunks without */
	size_t slot_bytes;	    /* usable bytes of a slot */
	size_t stride_bytes;	    /* from one slot to the next */
	size_t chunk_bytes;	    /* power of two */
	size_t chunk_slots;	    /* in a chunk */
	size_t slots_max;	    /* bound on slots in use */
	size_t slots_used;	    /* taken now */
	size_t slots_peak;	    /* most taken at once since the last pool_trim_unused() */
	size_t slots_allocated;	    /* in all chunks */
	uint64_t chunk_allocations; /* chunks ever allocated: stands still in steady state */
	uint64_t exhausted;	    /* takes refused */
	struct pool_budget *budget; /* NULL: all that it allocates is its own */
	size_t own_chunks;	    /* others come out of the budget */
};

void pool_budget_init(struct pool_budget *budget, size_t bytes);

/**
 * Prepares a pool; nothing is allocated yet.
 *
 * @slot_bytes  usable size of a slot, at least 1
 * @slots_max   at most this many slots are taken at once
 */
void pool_init(struct pool *pool, size_t slot_bytes, size_t slots_max);

/**
 * From now on what the pool allocates beyond `own_slots`, rounded to chunks, comes out of a budget. Nothing was taken yet.
 *
 * @budget  outlives the pool; the only part of it that other threads touch
 */
void pool_share(struct pool *pool, struct pool_budget *budget, size_t own_slots);

/** Frees all chunks. All slots must have been returned. */
void pool_fini(struct pool *pool);

/** @return a slot of uninitialised bytes, owned by the caller; NULL at the bound or out of memory.
 */
void *pool_take(struct pool *pool);

/** As pool_take(), but leaves `keep` slots to those who cannot do without. */
void *pool_take_keeping(struct pool *pool, size_t keep);

/** Gives a slot back. @slot comes from pool_take() of this pool; NULL is fine. */
void pool_return(struct pool *pool, void *slot);

/** Frees chunks that are wholly unused but `keep_slots` worth of them. */
void pool_trim(struct pool *pool, size_t keep_slots);

/**
 * The same, but keeps what was in use since the last call: called once in a while it gives nothing back that a transfer with pauses
 * would take again at once.
 */
void pool_trim_unused(struct pool *pool, size_t keep_slots);

#endif
