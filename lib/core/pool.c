/*
 * A chunk is one allocation of a power of two, and begins at a multiple of its size: its slots, and in front of them which of
 * them are free, as a stack of their numbers. So neither taking nor returning a slot reads or writes the slot itself: its chunk
 * follows from its address, and what stands in the chunk's head is shared by all of its slots. A slot that comes back has not
 * been touched for a round trip, so with its list pointers in the slot each return and each take would wait for memory.
 *
 * The slot that came back last goes out first: what of it lies in a cache serves again.
 *
 * Pools of several threads may share a budget: allocating and freeing a chunk, which is rare, moves one number that all of them
 * use. What a pool keeps for those who cannot do without is then counted on what is left of the budget, too.
 */
#include "core/pool.h"

#include <assert.h>
#include <stdbool.h>
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

void pool_budget_init(struct pool_budget *budget, size_t bytes)
{
	atomic_init(&budget->left_bytes, bytes);
}

void pool_share(struct pool *pool, struct pool_budget *budget, size_t own_slots)
{
	assert(pool->slots_allocated == 0);
	pool->budget = budget;
	pool->own_chunks = (own_slots + pool->chunk_slots - 1) / pool->chunk_slots;
}

static bool budget_take(struct pool_budget *budget, size_t bytes)
{
	size_t left = atomic_load_explicit(&budget->left_bytes, memory_order_relaxed);

	while (left >= bytes)
		if (atomic_compare_exchange_weak_explicit(&budget->left_bytes, &left, left - bytes,
			    memory_order_relaxed, memory_order_relaxed))
			return true;
	return false;
}

static void chunk_free(struct pool *pool, struct pool_chunk *chunk)
{
	size_t chunks = pool->slots_allocated / pool->chunk_slots;

	if (pool->budget && chunks > pool->own_chunks)
		(void)atomic_fetch_add_explicit(
			&pool->budget->left_bytes, pool->chunk_bytes, memory_order_relaxed);
	pool->slots_allocated -= pool->chunk_slots;
	free(chunk);
}

static void free_chunks(struct pool *pool, struct list *head)
{
	struct list *node;
	while ((node = list_pop(head)) != NULL)
		chunk_free(pool, list_entry(node, struct pool_chunk, node));
}

void pool_fini(struct pool *pool)
{
	assert(pool->slots_used == 0);
	free_chunks(pool, &pool->partial);
	free_chunks(pool, &pool->full);
}

/* Slots that can still be had, whoever else shares the budget. */
static size_t slots_left(const struct pool *pool)
{
	size_t left = pool->slots_max - pool->slots_used;

	if (!pool->budget)
		return left;
	size_t chunks = pool->slots_allocated / pool->chunk_slots;
	size_t more = atomic_load_explicit(&pool->budget->left_bytes, memory_order_relaxed) /
		      pool->chunk_bytes;
	if (chunks < pool->own_chunks)
		more += pool->own_chunks - chunks;
	size_t here = pool->slots_allocated - pool->slots_used + more * pool->chunk_slots;
	return here < left ? here : left;
}

static struct pool_chunk *chunk_new(struct pool *pool)
{
	struct pool_chunk *chunk;
	bool beyond = pool->budget && pool->slots_allocated / pool->chunk_slots >= pool->own_chunks;

	if (beyond && !budget_take(pool->budget, pool->chunk_bytes))
		return NULL;
	chunk = aligned_alloc(pool->chunk_bytes, pool->chunk_bytes);
	if (!chunk) {
		if (beyond)
			(void)atomic_fetch_add_explicit(
				&pool->budget->left_bytes, pool->chunk_bytes, memory_order_relaxed);
		return NULL;
	}
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
	if (slots_left(pool) > keep)
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
		chunk_free(pool, chunk);
	}
}

void pool_trim_unused(struct pool *pool, size_t keep_slots)
{
	/* Chunks go whole, and those in use are seldom full: one more than the slots fill. */
	size_t peak = pool->slots_peak + pool->chunk_slots;

	pool_trim(pool, peak > keep_slots && pool->slots_peak > 0 ? peak : keep_slots);
	pool->slots_peak = pool->slots_used;
}
