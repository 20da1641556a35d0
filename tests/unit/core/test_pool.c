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
