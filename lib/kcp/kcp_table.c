/*
 * Linear probing at a load of at most one half. The place is the number itself, masked: lanes are hashes already, and a
 * peer who picks clustered numbers has 4096 of them at most, so the longest probe stays below what a walk of its own lanes
 * would cost. A removal closes the gap, so there are no tombstones.
 */
#include "kcp/kcp_table.h"

#include <stdlib.h>

enum {
	TABLE_MIN = 8,
};

static uint32_t place_of(const struct kcp_table *table, uint32_t id)
{
	uint32_t at = id & (table->capacity - 1);

	while (table->slots[at] && table->slots[at]->id != id)
		at = (at + 1) & (table->capacity - 1);
	return at;
}

void *kcp_table_find(const struct kcp_table *table, uint32_t id)
{
	return table->count > 0 ? table->slots[place_of(table, id)] : NULL;
}

static bool grow(struct kcp_table *table)
{
	struct kcp_table grown = {.capacity = table->capacity ? table->capacity * 2 : TABLE_MIN};

	grown.slots = calloc(grown.capacity, sizeof(*grown.slots));
	if (!grown.slots)
		return false;
	for (uint32_t i = 0; i < table->capacity; i++) {
		if (table->slots[i])
			grown.slots[place_of(&grown, table->slots[i]->id)] = table->slots[i];
	}
	grown.count = table->count;
	free(table->slots);
	*table = grown;
	return true;
}

bool kcp_table_add(struct kcp_table *table, struct kcp_table_entry *entry)
{
	if ((table->count + 1) * 2 > table->capacity && !grow(table))
		return false;
	table->slots[place_of(table, entry->id)] = entry;
	table->count++;
	return true;
}

void kcp_table_remove(struct kcp_table *table, const struct kcp_table_entry *entry)
{
	uint32_t mask = table->capacity - 1;
	uint32_t gap = place_of(table, entry->id);

	table->slots[gap] = NULL;
	table->count--;
	for (uint32_t at = (gap + 1) & mask; table->slots[at]; at = (at + 1) & mask) {
		uint32_t home = table->slots[at]->id & mask;
		if (((at - home) & mask) < ((at - gap) & mask))
			continue; /* it stands between its home and here, the gap is not on that way */
		table->slots[gap] = table->slots[at];
		table->slots[at] = NULL;
		gap = at;
	}
}

void kcp_table_free(struct kcp_table *table)
{
	free(table->slots);
	*table = (struct kcp_table){0};
}

void *kcp_table_next(const struct kcp_table *table, uint32_t *at)
{
	while (*at < table->capacity) {
		struct kcp_table_entry *entry = table->slots[(*at)++];
		if (entry)
			return entry;
	}
	return NULL;
}
