/*
 * A chunk is one allocation of a power of two, and begins at a multiple of its size: its slots, and in front of them which of
 * them are free, as a stack of their numbers. So neither taking nor returning a slot reads or writes the slot itself: its chunk
 * follows from its address, and what stands in the chunk's head is shared by all of its slots. A slot that comes back has not
 * been touched for a round trip, so with its list pointers in the slot each return and each take would wait for memory.
 *
 * The slot that came back last goes out first: what of it lies in a cache serves again.
 */
#include "core/pool.h"

#include <assert.h>
#include <stdlib.h>

enum {
	CHUNK_BYTES_LEAST = 4096,
	/* Chunks are twice as long until so many slots fit, or so many bytes. */
	CHUNK_SLOTS_WANTED = POOL_CHUNK_SLOTS / 2,
	CHUNK_BYTES_WANTED = 256 << 10,
};

struct pool_chunk {
	struct list node;
	uint8_t free_count;
	uint8_t free[POOL_CHUNK_SLOTS]; /* numbers of free slots, the one to be taken next last */
	_Alignas(POOL_ALIGN_BYTES) uint8_t slots[];
};

_Static_assert((int)POOL_CHUNK_SLOTS <= (int)UINT8_MAX, "numbers of slots are bytes");

static struct pool_chunk *chunk_of(const struct pool *pool, void *slot)
{
	uintptr_t within = (uintptr_t)slot & (pool->chunk_bytes - 1);

	return (struct pool_chunk *)(void *)((uint8_t *)slot - within);
}

static size_t slots_in(size_t chunk_bytes, size_t stride_bytes)
{
	size_t slots = chunk_bytes > sizeof(struct pool_chunk)
			       ? (chunk_bytes - sizeof(struct pool_chunk)) / stride_bytes
			       : 0;

	return slots < POOL_CHUNK_SLOTS ? slots : POOL_CHUNK_SLOTS;
}

void pool_init(struct pool *pool, size_t slot_bytes, size_t slots_max)
{
	size_t stride = (slot_bytes + POOL_ALIGN_BYTES - 1) / POOL_ALIGN_BYTES * POOL_ALIGN_BYTES;
	size_t bytes = CHUNK_BYTES_LEAST, slots;

	while ((slots = slots_in(bytes, stride)) == 0 ||
		(slots < CHUNK_SLOTS_WANTED && bytes < CHUNK_BYTES_WANTED))
		bytes *= 2;
	*pool = (struct pool){
		.slot_bytes = slot_bytes,
		.stride_bytes = stride,
		.chunk_bytes = bytes,
		.chunk_slots = slots,
		.slots_max = slots_max,
	};
	list_init(&pool->partial);
	list_init(&pool->full);
}

static void free_chunks(struct list *head)
{
	struct list *node;
	while ((node = list_pop(head)) != NULL)
		free(list_entry(node, struct pool_chunk, node));
}

void pool_fini(struct pool *pool)
{
	assert(pool->slots_used == 0);
	free_chunks(&pool->partial);
	free_chunks(&pool->full);
	pool->slots_allocated = 0;
}

static struct pool_chunk *chunk_new(struct pool *pool)
{
	struct pool_chunk *chunk = aligned_alloc(pool->chunk_bytes, pool->chunk_bytes);

	if (!chunk)
		return NULL;
	chunk->free_count = (uint8_t)pool->chunk_slots;
	for (size_t i = 0; i < pool->chunk_slots; i++)
		chunk->free[i] = (uint8_t)(pool->chunk_slots - 1 - i);
	list_init(&chunk->node);
	pool->slots_allocated += pool->chunk_slots;
	pool->chunk_allocations++;
	list_add_head(&pool->partial, &chunk->node);
	return chunk;
}

void *pool_take(struct pool *pool)
{
	struct pool_chunk *chunk;

	if (pool->slots_used >= pool->slots_max) {
		pool->exhausted++;
		return NULL;
	}
	if (list_empty(&pool->partial)) {
		chunk = chunk_new(pool);
		if (!chunk) {
			pool->exhausted++;
			return NULL;
		}
	} else {
		chunk = list_entry(pool->partial.next, struct pool_chunk, node);
	}
	size_t number = chunk->free[--chunk->free_count];
	if (++pool->slots_used > pool->slots_peak)
		pool->slots_peak = pool->slots_used;
	if (chunk->free_count == 0) {
		list_remove(&chunk->node);
		list_add_head(&pool->full, &chunk->node);
	}
	return chunk->slots + number * pool->stride_bytes;
}

void *pool_take_keeping(struct pool *pool, size_t keep)
{
	if (pool->slots_max - pool->slots_used > keep)
		return pool_take(pool);
	pool->exhausted++;
	return NULL;
}

void pool_return(struct pool *pool, void *slot)
{
	if (!slot)
		return;
	struct pool_chunk *chunk = chunk_of(pool, slot);
	size_t at = (size_t)((uint8_t *)slot - chunk->slots);

	assert(chunk->free_count < pool->chunk_slots && pool->slots_used > 0);
	if (chunk->free_count == 0) {
		list_remove(&chunk->node);
		list_add_head(&pool->partial, &chunk->node);
	}
	chunk->free[chunk->free_count++] = (uint8_t)(at / pool->stride_bytes);
	pool->slots_used--;
}

void pool_trim(struct pool *pool, size_t keep_slots)
{
	list_for_each_safe (node, &pool->partial) {
		struct pool_chunk *chunk = list_entry(node, struct pool_chunk, node);
		if (chunk->free_count < pool->chunk_slots ||
			pool->slots_allocated < keep_slots + pool->chunk_slots)
			continue;
		list_remove(node);
		free(chunk);
		pool->slots_allocated -= pool->chunk_slots;
	}
}

void pool_trim_unused(struct pool *pool, size_t keep_slots)
{
	/* Chunks go whole, and those in use are seldom full: one more than the slots fill. */
	size_t peak = pool->slots_peak + pool->chunk_slots;

	pool_trim(pool, peak > keep_slots && pool->slots_peak > 0 ? peak : keep_slots);
	pool->slots_peak = pool->slots_used;
}
