/*
 * Each chunk is one aligned allocation: a header, then POOL_CHUNK_SLOTS slots. In front of a slot
 * stands a pointer to its chunk (in the cache line before the slot's bytes), so a return needs no
 * search. Free slots of a chunk are chained through their first bytes.
 */
#include "core/pool.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct pool_free_slot {
	struct pool_free_slot *next;
};

struct pool_chunk {
	struct list node;
	struct pool_free_slot *free;
	uint32_t used;
	_Alignas(POOL_ALIGN_BYTES) uint8_t slots[];
};

static size_t slot_stride(const struct pool *pool)
{
	size_t bytes = pool->slot_bytes + POOL_ALIGN_BYTES;
	return (bytes + POOL_ALIGN_BYTES - 1) / POOL_ALIGN_BYTES * POOL_ALIGN_BYTES;
}

static struct pool_chunk **chunk_of(void *slot)
{
	return (struct pool_chunk **)(void *)((uint8_t *)slot - POOL_ALIGN_BYTES);
}

void pool_init(struct pool *pool, size_t slot_bytes, size_t slots_max)
{
	*pool = (struct pool){
		.slot_bytes = slot_bytes < sizeof(struct pool_free_slot)
				      ? sizeof(struct pool_free_slot)
				      : slot_bytes,
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
	size_t stride = slot_stride(pool);
	struct pool_chunk *chunk = aligned_alloc(
		POOL_ALIGN_BYTES, sizeof(struct pool_chunk) + stride * POOL_CHUNK_SLOTS);
	if (!chunk)
		return NULL;
	chunk->free = NULL;
	chunk->used = 0;
	list_init(&chunk->node);
	for (size_t i = POOL_CHUNK_SLOTS; i-- > 0;) {
		struct pool_free_slot *slot =
			(void *)(chunk->slots + i * stride + POOL_ALIGN_BYTES);
		*chunk_of(slot) = chunk;
		slot->next = chunk->free;
		chunk->free = slot;
	}
	pool->slots_allocated += POOL_CHUNK_SLOTS;
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
	struct pool_free_slot *slot = chunk->free;
	chunk->free = slot->next;
	chunk->used++;
	pool->slots_used++;
	if (!chunk->free) {
		list_remove(&chunk->node);
		list_add_head(&pool->full, &chunk->node);
	}
	return slot;
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
	struct pool_chunk *chunk = *chunk_of(slot);
	struct pool_free_slot *free_slot = slot;

	assert(chunk->used > 0 && pool->slots_used > 0);
	if (!chunk->free) {
		list_remove(&chunk->node);
		list_add_head(&pool->partial, &chunk->node);
	}
	free_slot->next = chunk->free;
	chunk->free = free_slot;
	chunk->used--;
	pool->slots_used--;
}

void pool_trim(struct pool *pool, size_t keep_slots)
{
	list_for_each_safe (node, &pool->partial) {
		struct pool_chunk *chunk = list_entry(node, struct pool_chunk, node);
		if (chunk->used > 0 || pool->slots_allocated < keep_slots + POOL_CHUNK_SLOTS)
			continue;
		list_remove(node);
		free(chunk);
		pool->slots_allocated -= POOL_CHUNK_SLOTS;
	}
}
