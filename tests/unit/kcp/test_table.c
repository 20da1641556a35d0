/* The table of lanes against an array, with numbers that cluster and wrap at the table's end. */
#include "kcp/kcp_table.h"

#include <criterion/criterion.h>

enum {
	IDS = 4096,
};

static uint64_t state = 11;

static uint32_t rnd(uint32_t below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((state >> 33) % below);
}

static void compare(const struct kcp_table *table, struct kcp_table_entry *entries, const bool *in,
	uint32_t count)
{
	static bool seen[IDS];
	struct kcp_table_entry *entry;
	uint32_t at = 0, walked = 0;

	cr_assert_eq(table->count, count);
	for (uint32_t id = 0; id < IDS; id++) {
		cr_assert_eq(kcp_table_find(table, id), in[id] ? &entries[id] : NULL, "%u", id);
		seen[id] = false;
	}
	while ((entry = kcp_table_next(table, &at)) != NULL) {
		cr_assert(in[entry->id] && !seen[entry->id]);
		seen[entry->id] = true;
		walked++;
	}
	cr_assert_eq(walked, count);
}

Test(table, agrees_with_an_array)
{
	static struct kcp_table_entry entries[IDS];
	static bool in[IDS];
	struct kcp_table table = {0};
	uint32_t count = 0;

	for (uint32_t id = 0; id < IDS; id++)
		entries[id].id = id;
	for (uint32_t step = 0; step < 60000; step++) {
		/* mostly multiples of a power of two, and the highest numbers: long runs that wrap */
		uint32_t id = rnd(3) ? (rnd(64) * 64 + rnd(3)) % IDS : IDS - 1 - rnd(40);
		bool add = rnd(step % 20000 < 10000 ? 3 : 5) < (step % 20000 < 10000 ? 2 : 1);
		if (add && !in[id]) {
			cr_assert(kcp_table_add(&table, &entries[id]));
			in[id] = true;
			count++;
		} else if (!add && in[id]) {
			kcp_table_remove(&table, &entries[id]);
			in[id] = false;
			count--;
		}
		if (step % 500 == 0)
			compare(&table, entries, in, count);
	}
	/* a walk that removes every other misses none */
	struct kcp_table_entry *entry;
	uint32_t at = 0;
	static bool visited[IDS];
	while ((entry = kcp_table_next(&table, &at)) != NULL) {
		bool first = !visited[entry->id];
		visited[entry->id] = true;
		if (first && rnd(2)) {
			kcp_table_remove(&table, entry);
			in[entry->id] = false;
			count--;
			at--;
		}
	}
	compare(&table, entries, in, count);
	for (uint32_t id = 0; id < IDS; id++)
		cr_assert(!in[id] || visited[id]);
	kcp_table_free(&table);
	cr_assert_eq(kcp_table_find(&table, 3), NULL);
}

Test(table, holds_all_numbers)
{
	static struct kcp_table_entry entries[IDS];
	static bool in[IDS];
	struct kcp_table table = {0};

	for (uint32_t id = 0; id < IDS; id++) {
		entries[id].id = id;
		cr_assert(kcp_table_add(&table, &entries[id]));
		in[id] = true;
	}
	compare(&table, entries, in, IDS);
	kcp_table_free(&table);
}
