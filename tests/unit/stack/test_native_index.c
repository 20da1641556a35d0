#include "core/rand.h"
#include "stack/native_index.h"
#include "stack/native_params.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum {
	ENTRIES = 3000,
	STEPS = 300000,
};

/* Few numbers, so that some come twice. */
static void few(void *ctx, void *buf, size_t len)
{
	uint32_t number = (uint32_t)rand_r(ctx) % 65536;

	memcpy(buf, &number, len);
}

static void many(void *ctx, void *buf, size_t len)
{
	uint8_t *at = buf;

	while (len--)
		*at++ = (uint8_t)rand_r(ctx);
}

static struct native_index *find_slowly(struct native_index *entries, uint32_t number)
{
	for (size_t i = 0; i < ENTRIES; i++)
		if (entries[i].kind != NATIVE_INDEX_NONE && entries[i].number == number)
			return &entries[i];
	return NULL;
}

static void agree(rand_fill_fn fill)
{
	struct native_index_table table;
	struct native_index *entries = calloc(ENTRIES, sizeof(*entries));
	unsigned seed = 5;
	const struct rand_source rnd = {fill, &seed};
	size_t count = 0;

	cr_assert_eq(native_index_table_init(&table), 0);
	for (int step = 0; step < STEPS; step++) {
		struct native_index *entry = &entries[(size_t)rand_r(&seed) % ENTRIES];
		struct native_index *other = &entries[(size_t)rand_r(&seed) % ENTRIES];
		if (entry->kind == NATIVE_INDEX_NONE) {
			native_index_add(&table, entry, NATIVE_INDEX_ATTEMPT, &rnd);
			cr_assert_eq(entry->number % NATIVE_INDEX_STEP, 0);
			cr_assert_eq(entry->kind, NATIVE_INDEX_ATTEMPT);
			count++;
		} else if (other->kind == NATIVE_INDEX_NONE && step % 2) {
			uint32_t number = entry->number;
			native_index_replace(&table, entry, other, NATIVE_INDEX_SESSION);
			cr_assert_eq(other->number, number);
			cr_assert_eq(native_index_find(&table, number), other);
			cr_assert_eq(entry->kind, NATIVE_INDEX_NONE);
		} else if (step % 3 == 0) {
			native_index_remove(&table, entry);
			native_index_remove(&table, entry);
			count--;
		}
		cr_assert_eq(table.count, count);
		uint32_t wanted = (uint32_t)rand_r(&seed) % 65536;
		if (step % 16 == 0)
			cr_assert_eq(native_index_find(&table, wanted),
				find_slowly(
					entries, wanted / NATIVE_INDEX_STEP * NATIVE_INDEX_STEP));
	}
	for (size_t i = 0; i < ENTRIES; i++) {
		if (entries[i].kind == NATIVE_INDEX_NONE)
			continue;
		/* The shard does not matter. */
		cr_assert_eq(native_index_find(&table, entries[i].number | 15), &entries[i]);
		native_index_remove(&table, &entries[i]);
	}
	cr_assert_eq(table.count, 0);
	native_index_table_fini(&table);
	free(entries);
}

Test(native_index, no_number_is_given_twice)
{
	agree(few);
}

Test(native_index, agrees_with_a_plain_list)
{
	agree(many);
}
