/*
 * Idea: a hash table with chains through what is in it, so that adding and removing never allocates. Indices are drawn at
 * random from 2^28, so their own bits are the hash. The table doubles when it holds one index a bucket; it never shrinks.
 */
#include "stack/native_index.h"

#include "core/rand.h"
#include "stack/native_params.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum {
	BUCKETS_LEAST = 64, /* power of two */
};

static size_t bucket_of(size_t mask, uint32_t number)
{
	return (number / NATIVE_INDEX_STEP) & mask;
}

int native_index_table_init(struct native_index_table *table)
{
	*table = (struct native_index_table){
		.buckets = calloc(BUCKETS_LEAST, sizeof(struct native_index *)),
		.mask = BUCKETS_LEAST - 1,
	};
	return table->buckets ? 0 : -ENOMEM;
}

void native_index_table_fini(struct native_index_table *table)
{
	assert(table->count == 0);
	free(table->buckets);
	table->buckets = NULL;
}

static void grow(struct native_index_table *table)
{
	size_t mask = table->mask * 2 + 1;
	struct native_index **buckets = calloc(mask + 1, sizeof(struct native_index *));

	if (!buckets)
		return;
	for (size_t i = 0; i <= table->mask; i++) {
		struct native_index *at = table->buckets[i];
		while (at) {
			struct native_index *next = at->next;
			size_t bucket = bucket_of(mask, at->number);
			at->next = buckets[bucket];
			buckets[bucket] = at;
			at = next;
		}
	}
	free(table->buckets);
	table->buckets = buckets;
	table->mask = mask;
}

static struct native_index **link_of(const struct native_index_table *table, uint32_t number)
{
	struct native_index **at = &table->buckets[bucket_of(table->mask, number)];

	while (*at && (*at)->number != number)
		at = &(*at)->next;
	return at;
}

static void put(struct native_index_table *table, struct native_index *index,
	enum native_index_kind kind, uint32_t number)
{
	struct native_index **bucket = &table->buckets[bucket_of(table->mask, number)];

	*index = (struct native_index){.next = *bucket, .number = number, .kind = kind};
	*bucket = index;
	table->count++;
}

bool native_index_add_known(struct native_index_table *table, struct native_index *index,
	enum native_index_kind kind, uint32_t number)
{
	number &= ~(uint32_t)(NATIVE_INDEX_STEP - 1);
	if (table->count > table->mask)
		grow(table);
	if (*link_of(table, number))
		return false;
	put(table, index, kind, number);
	return true;
}

void native_index_add(struct native_index_table *table, struct native_index *index,
	enum native_index_kind kind, const struct rand_source *rnd)
{
	uint32_t number;

	if (table->count > table->mask)
		grow(table);
	do
		number = rand_u32(rnd) & ~(uint32_t)(NATIVE_INDEX_STEP - 1);
	while (*link_of(table, number));
	put(table, index, kind, number);
}

void native_index_replace(struct native_index_table *table, struct native_index *old,
	struct native_index *index, enum native_index_kind kind)
{
	struct native_index **link = link_of(table, old->number);

	assert(*link == old);
	*index = (struct native_index){.next = old->next, .number = old->number, .kind = kind};
	*link = index;
	*old = (struct native_index){0};
}

void native_index_remove(struct native_index_table *table, struct native_index *index)
{
	if (index->kind == NATIVE_INDEX_NONE)
		return;
	struct native_index **link = link_of(table, index->number);
	assert(*link == index);
	*link = index->next;
	*index = (struct native_index){0};
	table->count--;
}

struct native_index *native_index_find(const struct native_index_table *table, uint32_t number)
{
	return *link_of(table, number & ~(uint32_t)(NATIVE_INDEX_STEP - 1));
}
