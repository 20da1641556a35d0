/*
 * Idea: secrets that outlive a call (keys of sessions, attempts, peers) lie together on pages of their own, so that few
 * pages need be locked. A chunk is an aligned block of whole pages: its head, then equal slots, the free ones linked
 * through their first bytes. sodium_mlock() locks it and keeps it out of core dumps; sodium_munlock() wipes it.
 *
 * Invariants: a free slot is zeros but for its link; chunks with a free slot stand before those without; a chunk in which
 * no slot is used is freed at once, so a pool that nobody uses holds no memory. (A pool that goes from nothing to one slot
 * and back again allocates each time: that is once a handshake at worst, and a handshake costs a hundred times as much.)
 */
#include "crypto/secret_pool.h"

#include <assert.h>
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct secret_chunk {
	struct list node;
	void *free_slots;
	size_t used;
	bool locked;
};

enum {
	CHUNK_HEAD_BYTES = (int)((sizeof(struct secret_chunk) + SECRET_POOL_ALIGN_BYTES - 1) /
				 SECRET_POOL_ALIGN_BYTES * SECRET_POOL_ALIGN_BYTES),
};

_Static_assert(CHUNK_HEAD_BYTES + SECRET_POOL_SLOT_MAX_BYTES <= SECRET_POOL_CHUNK_BYTES,
	"a chunk holds a slot");
_Static_assert((SECRET_POOL_CHUNK_BYTES & (SECRET_POOL_CHUNK_BYTES - 1)) == 0,
	"chunks are found by masking");

void secret_pool_init(struct secret_pool *pool, size_t slot_bytes, size_t slots_max)
{
	assert(slot_bytes >= 1 && slot_bytes <= SECRET_POOL_SLOT_MAX_BYTES);
	*pool = (struct secret_pool){
		.stride_bytes = (slot_bytes + SECRET_POOL_ALIGN_BYTES - 1) &
				~(size_t)(SECRET_POOL_ALIGN_BYTES - 1),
		.slots_max = slots_max,
	};
	list_init(&pool->chunks);
}

static size_t slots_of_chunk(const struct secret_pool *pool)
{
	return (SECRET_POOL_CHUNK_BYTES - CHUNK_HEAD_BYTES) / pool->stride_bytes;
}

static struct secret_chunk *chunk_new(struct secret_pool *pool)
{
	struct secret_chunk *chunk =
		aligned_alloc(SECRET_POOL_CHUNK_BYTES, SECRET_POOL_CHUNK_BYTES);

	if (!chunk)
		return NULL;
	bool locked = sodium_mlock(chunk, SECRET_POOL_CHUNK_BYTES) == 0;
	memset(chunk, 0, SECRET_POOL_CHUNK_BYTES);
	chunk->locked = locked;
	if (!locked)
		pool->unlocked = true;
	uint8_t *at = (uint8_t *)chunk + CHUNK_HEAD_BYTES;
	for (size_t i = slots_of_chunk(pool); i > 0; i--) {
		uint8_t *slot = at + (i - 1) * pool->stride_bytes;
		memcpy(slot, &chunk->free_slots, sizeof(chunk->free_slots));
		chunk->free_slots = slot;
	}
	list_add_head(&pool->chunks, &chunk->node);
	pool->chunk_count++;
	return chunk;
}

static void chunk_free(struct secret_pool *pool, struct secret_chunk *chunk)
{
	list_remove(&chunk->node);
	pool->chunk_count--;
	/* Wipes, whether it was locked or not. */
	(void)sodium_munlock(chunk, SECRET_POOL_CHUNK_BYTES);
	free(chunk);
}

void secret_pool_fini(struct secret_pool *pool)
{
	assert(pool->slots_used == 0);
	list_for_each_safe (at, &pool->chunks)
		chunk_free(pool, list_entry(at, struct secret_chunk, node));
}

void *secret_pool_take(struct secret_pool *pool)
{
	struct secret_chunk *chunk = NULL;

	if (pool->slots_used >= pool->slots_max)
		return NULL;
	if (!list_empty(&pool->chunks))
		chunk = list_entry(pool->chunks.next, struct secret_chunk, node);
	if (!chunk || !chunk->free_slots)
		chunk = chunk_new(pool);
	if (!chunk)
		return NULL;
	void *slot = chunk->free_slots;
	memcpy(&chunk->free_slots, slot, sizeof(chunk->free_slots));
	memset(slot, 0, sizeof(chunk->free_slots));
	chunk->used++;
	pool->slots_used++;
	if (!chunk->free_slots) {
		list_remove(&chunk->node);
		list_add_tail(&pool->chunks, &chunk->node);
	}
	return slot;
}

void secret_pool_return(struct secret_pool *pool, void *slot)
{
	if (!slot)
		return;
	struct secret_chunk *chunk =
		(void *)((uintptr_t)slot & ~(uintptr_t)(SECRET_POOL_CHUNK_BYTES - 1));
	bool was_full = !chunk->free_slots;

	sodium_memzero(slot, pool->stride_bytes);
	memcpy(slot, &chunk->free_slots, sizeof(chunk->free_slots));
	chunk->free_slots = slot;
	chunk->used--;
	pool->slots_used--;
	if (chunk->used == 0) {
		chunk_free(pool, chunk);
	} else if (was_full) {
		list_remove(&chunk->node);
		list_add_head(&pool->chunks, &chunk->node);
	}
}

bool secret_pool_locked(const struct secret_pool *pool)
{
	return !pool->unlocked;
}

size_t secret_pool_bytes(const struct secret_pool *pool)
{
	return pool->chunk_count * SECRET_POOL_CHUNK_BYTES;
}
