#include "core/pool.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 500 };

static void take_and_return(size_t slot_bytes, int steps)
{
	struct pool pool;
	uint8_t *slots[SLOTS] = {0};
	unsigned seed = 3;

	pool_init(&pool, slot_bytes, SLOTS - 1);
	cr_assert(pool.chunk_slots > 0 && pool.chunk_slots <= POOL_CHUNK_SLOTS);
	for (int step = 0; step < steps; step++) {
		int i = rand_r(&seed) % SLOTS;
		if (slots[i]) {
			for (size_t k = 0; k < slot_bytes; k += 1 + slot_bytes / 100)
				cr_assert_eq(slots[i][k], (uint8_t)i);
			cr_assert_eq(slots[i][slot_bytes - 1], (uint8_t)i);
			pool_return(&pool, slots[i]);
			slots[i] = NULL;
		} else {
			slots[i] = pool_take(&pool);
			cr_assert_neq(slots[i], NULL);
			cr_assert_eq((int)((uintptr_t)slots[i] % POOL_ALIGN_BYTES), 0);
			memset(slots[i], i, slot_bytes);
		}
		if (pool.slots_used == SLOTS - 1)
			cr_assert_eq(pool_take(&pool), NULL);
	}
	for (int i = 0; i < SLOTS; i++)
		pool_return(&pool, slots[i]);
	pool_trim(&pool, 0);
	cr_expect_eq(pool.slots_allocated, 0);
	pool_fini(&pool);
}

Test(pool, slots_are_apart_and_come_back)
{
	static const struct {
		size_t slot_bytes;
		int steps;
	} ROWS[] = {{1, 20000}, {8, 20000}, {100, 50000}, {1440, 20000}, {65600, 3000}};

	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++)
		take_and_return(ROWS[i].slot_bytes, ROWS[i].steps);
}

Test(pool, the_one_that_came_back_last_goes_out_first)
{
	struct pool pool;
	void *slots[POOL_CHUNK_SLOTS + 1];

	pool_init(&pool, 64, POOL_CHUNK_SLOTS + 1);
	for (size_t i = 0; i <= POOL_CHUNK_SLOTS; i++)
		slots[i] = pool_take(&pool);
	cr_assert_gt(pool.chunk_allocations, 1u);
	pool_return(&pool, slots[3]);
	pool_return(&pool, slots[7]);
	cr_assert_eq(pool_take(&pool), slots[7]);
	cr_assert_eq(pool_take(&pool), slots[3]);
	for (size_t i = 0; i <= POOL_CHUNK_SLOTS; i++)
		pool_return(&pool, slots[i]);
	pool_fini(&pool);
}

Test(pool, refuses_beyond_its_bound)
{
	struct pool pool;

	pool_init(&pool, 1, 2);
	void *a = pool_take(&pool);
	void *b = pool_take(&pool);
	cr_expect_eq(pool_take(&pool), NULL);
	cr_expect_eq(pool.exhausted, 1);
	pool_return(&pool, a);
	void *c = pool_take(&pool);
	cr_expect_neq(c, NULL);
	pool_return(&pool, b);
	pool_return(&pool, c);
	pool_fini(&pool);
}

Test(pool, what_was_used_of_late_is_kept)
{
	enum {
		MANY = 4 * POOL_CHUNK_SLOTS,
	};
	struct pool pool;
	void *slots[MANY];

	pool_init(&pool, 64, MANY);
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < MANY; i++)
			slots[i] = pool_take(&pool);
		for (size_t i = 0; i < MANY; i++)
			pool_return(&pool, slots[i]);
		pool_trim_unused(&pool, 0);
	}
	cr_assert_eq(pool.chunk_allocations, (MANY + pool.chunk_slots - 1) / pool.chunk_slots);
	pool_return(&pool, pool_take(&pool));
	pool_trim_unused(&pool, 0);
	cr_assert_leq(pool.slots_allocated, 2 * pool.chunk_slots);
	cr_assert_gt(pool.slots_allocated, 0u);
	pool_trim_unused(&pool, 0);
	cr_assert_eq(pool.slots_allocated, 0);
	pool_fini(&pool);
}

/* Three pools with something of their own each, and a budget: what all of them have is never more, and all of it comes back. */
Test(pool, a_budget_bounds_what_pools_have_together)
{
	enum { POOLS = 3, SLOTS = 4000 };
	static void *taken[POOLS][SLOTS];
	struct pool pools[POOLS];
	struct pool_budget budget;
	size_t count[POOLS] = {0}, most = 0;

	for (size_t i = 0; i < POOLS; i++)
		pool_init(&pools[i], 1400, SLOTS);
	size_t chunk = pools[0].chunk_bytes, slots = pools[0].chunk_slots;
	pool_budget_init(&budget, 5 * chunk + chunk / 2);
	for (size_t i = 0; i < POOLS; i++)
		pool_share(&pools[i], &budget, i * slots);
	/* One may have all of it. */
	while ((taken[1][count[1]] = pool_take(&pools[1])) != NULL)
		count[1]++;
	cr_assert_eq(count[1], 6 * slots);
	cr_assert_eq(pools[1].exhausted, 1);
	cr_assert_null(pool_take(&pools[0]), "it has nothing of its own");
	while ((taken[2][count[2]] = pool_take(&pools[2])) != NULL)
		count[2]++;
	cr_assert_eq(count[2], 2 * slots, "but this one has");
	srand(11);
	for (int step = 0; step < 200000; step++) {
		size_t i = (size_t)rand() % POOLS, sum = 0;
		bool much = step / 10000 % 2;
		if (rand() % 100 < (much ? 60 : 40)) {
			void *slot = pool_take(&pools[i]);
			if (slot)
				taken[i][count[i]++] = slot;
		} else if (count[i] > 0) {
			size_t at = (size_t)rand() % count[i];
			pool_return(&pools[i], taken[i][at]);
			taken[i][at] = taken[i][--count[i]];
		}
		if (rand() % 50 == 0)
			pool_trim(&pools[i], 0);
		for (size_t k = 0; k < POOLS; k++) {
			size_t chunks = pools[k].slots_allocated / slots;
			sum += chunks > k ? chunks - k : 0;
		}
		cr_assert_eq(atomic_load(&budget.left_bytes) + sum * chunk, 5 * chunk + chunk / 2);
		most = sum > most ? sum : most;
	}
	cr_assert_eq(most, 5);
	for (size_t i = 0; i < POOLS; i++) {
		while (count[i] > 0)
			pool_return(&pools[i], taken[i][--count[i]]);
		pool_fini(&pools[i]);
	}
	cr_assert_eq(atomic_load(&budget.left_bytes), 5 * chunk + chunk / 2);
}

/* What others take of a budget counts when slots are kept for those who cannot do without. */
Test(pool, what_is_kept_is_kept_of_the_budget)
{
	struct pool mine, others;
	struct pool_budget budget;
	void *slot;

	pool_init(&mine, 1400, 10000);
	pool_init(&others, 1400, 10000);
	size_t slots = mine.chunk_slots;
	pool_budget_init(&budget, 4 * mine.chunk_bytes);
	pool_share(&mine, &budget, slots);
	pool_share(&others, &budget, 0);
	cr_assert_not_null(slot = pool_take_keeping(&mine, 2 * slots));
	pool_return(&mine, slot);
	void *taken[4096];
	size_t count = 0;
	while ((taken[count] = pool_take(&others)) != NULL)
		count++;
	cr_assert_null(pool_take_keeping(&mine, 2 * slots));
	cr_assert_null(pool_take_keeping(&mine, slots));
	cr_assert_not_null(slot = pool_take_keeping(&mine, slots - 1));
	pool_return(&mine, slot);
	while (count > 0)
		pool_return(&others, taken[--count]);
	pool_fini(&others);
	pool_fini(&mine);
}
