#include "core/pool.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 500 };

Test(pool, slots_are_apart_and_come_back)
{
	struct pool pool;
	uint8_t *slots[SLOTS] = {0};
	unsigned seed = 3;

	pool_init(&pool, 100, SLOTS - 1);
	for (int step = 0; step < 50000; step++) {
		int i = rand_r(&seed) % SLOTS;
		if (slots[i]) {
			for (int k = 0; k < 100; k++)
				cr_assert_eq(slots[i][k], (uint8_t)i);
			pool_return(&pool, slots[i]);
			slots[i] = NULL;
		} else {
			slots[i] = pool_take(&pool);
			cr_assert_neq(slots[i], NULL);
			cr_assert_eq((int)((uintptr_t)slots[i] % POOL_ALIGN_BYTES), 0);
			memset(slots[i], i, 100);
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
