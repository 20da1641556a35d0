/*
 * Receive indices: random numbers that name a session or an attempt of ours in what peers send. Nobody but us chooses
 * them, so the table needs no keyed hash. They are multiples of NATIVE_INDEX_STEP.
 */
#ifndef STACK_NATIVE_INDEX_H
#define STACK_NATIVE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rand_source;

enum native_index_kind {
	NATIVE_INDEX_NONE, /* not in a table */
	NATIVE_INDEX_ATTEMPT,
	NATIVE_INDEX_SESSION,
};

/** Embedded in what has an index. All zeros: it has none. */
struct native_index {
	struct native_index *next; /* of the same bucket */
	uint32_t number;
	enum native_index_kind kind;
};

struct native_index_table {
	struct native_index **buckets;
	size_t mask; /* buckets - 1 */
	size_t count;
};

/** @return 0 or -ENOMEM */
int native_index_table_init(struct native_index_table *table);

/** All must have been removed. */
void native_index_table_fini(struct native_index_table *table);

/** Gives `index` a number that nothing in the table has. The table grows as it fills; without memory for that it gets slower. */
void native_index_add(struct native_index_table *table, struct native_index *index,
	enum native_index_kind kind, const struct rand_source *rnd);

/** Gives it this number, whose low bits are ignored. @return false if something has it */
bool native_index_add_known(struct native_index_table *table, struct native_index *index,
	enum native_index_kind kind, uint32_t number);

/** Puts `index` in the place of `old`, which has none afterwards: an attempt becomes a session under its number. */
void native_index_replace(struct native_index_table *table, struct native_index *old,
	struct native_index *index, enum native_index_kind kind);

/** Removing what is not in it is harmless. */
void native_index_remove(struct native_index_table *table, struct native_index *index);

/** @number  its low bits (the shard) are ignored   @return NULL if nothing has it */
struct native_index *native_index_find(const struct native_index_table *table, uint32_t number);

#endif
