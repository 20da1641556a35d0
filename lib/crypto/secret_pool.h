/*
 * Slots for secrets: of one size, in chunks that are locked into memory (never written to swap), left out of core dumps,
 * and wiped when they come back.
 *
 * A host may refuse to lock (RLIMIT_MEMLOCK). The pool works on without, and tells.
 */
#ifndef CRYPTO_SECRET_POOL_H
#define CRYPTO_SECRET_POOL_H

#include "core/list.h"

#include <stdbool.h>
#include <stddef.h>

enum {
	SECRET_POOL_CHUNK_BYTES = 16384, /* allocated and locked at once; whole pages */
	SECRET_POOL_SLOT_MAX_BYTES = 4096,
	SECRET_POOL_ALIGN_BYTES = 16,
};

struct secret_pool {
	struct list chunks;  /* those with a free slot first */
	size_t stride_bytes; /* a slot with what rounds it up */
	size_t slots_max;
	size_t slots_used;
	size_t chunk_count;
	bool unlocked; /* a chunk could not be locked, now or before */
};

/**
 * Prepares a pool; nothing is allocated yet.
 *
 * @slot_bytes  1 .. SECRET_POOL_SLOT_MAX_BYTES
 * @slots_max   at most this many are taken at once
 */
void secret_pool_init(struct secret_pool *pool, size_t slot_bytes, size_t slots_max);

/** Wipes and frees all chunks. All slots must have been returned. */
void secret_pool_fini(struct secret_pool *pool);

/** @return a slot of zeros, owned by the caller; NULL at the bound or out of memory */
void *secret_pool_take(struct secret_pool *pool);

/** Wipes a slot and gives it back. A chunk without a slot in use is freed, the last one with it. NULL is fine. */
void secret_pool_return(struct secret_pool *pool, void *slot);

/** False once a chunk could not be locked. */
bool secret_pool_locked(const struct secret_pool *pool);

/** Memory the pool holds, in bytes. */
size_t secret_pool_bytes(const struct secret_pool *pool);

#endif
