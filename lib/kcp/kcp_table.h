/* Records by lane or flow number: a small hash table of pointers that grows with what it holds. */
#ifndef KCP_TABLE_H
#define KCP_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** What every record begins with. */
struct kcp_table_entry {
	uint32_t id; /* 0 .. 4095 */
};

struct kcp_table {
	struct kcp_table_entry **slots; /* NULL = empty; capacity is a power of two or 0 */
	uint32_t capacity;
	uint32_t count;
};

/** @return the record, NULL if there is none */
void *kcp_table_find(const struct kcp_table *table, uint32_t id);

/** Adds a record; its id must not be there. It stays the caller's. @return false if out of memory */
bool kcp_table_add(struct kcp_table *table, struct kcp_table_entry *entry);

/** Takes a record out, which must be in. Shrinks nothing. */
void kcp_table_remove(struct kcp_table *table, const struct kcp_table_entry *entry);

/** Frees the table, not the records. */
void kcp_table_free(struct kcp_table *table);

/**
 * Walks all records in no particular order. The one returned may be removed: then step `at` back by one, because another
 * may have taken its place. Records may so be seen twice, never missed.
 *
 * @at  0 at first; moved behind the record that is returned
 */
void *kcp_table_next(const struct kcp_table *table, uint32_t *at);

static inline size_t kcp_table_bytes(const struct kcp_table *table)
{
	return table->capacity * sizeof(struct kcp_table_entry *);
}

#endif
