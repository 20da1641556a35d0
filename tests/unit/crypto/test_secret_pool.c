#include "crypto/secret_pool.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
	SLOTS = 1000,
	STEPS = 200000,
};

static bool is_zero(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

Test(secret_pool, gives_zeros_and_takes_no_memory_unused)
{
	struct secret_pool pool;

	secret_pool_init(&pool, 100, 10);
	cr_assert_eq(secret_pool_bytes(&pool), 0);
	uint8_t *slot = secret_pool_take(&pool);
	cr_assert(is_zero(slot, 100));
	cr_assert_eq(secret_pool_bytes(&pool), SECRET_POOL_CHUNK_BYTES);
	memset(slot, 0xaa, 100);
	uint8_t *other = secret_pool_take(&pool);
	cr_assert(is_zero(other, 100));
	secret_pool_return(&pool, slot);
	/* The one that came back is given next, and nothing is left in it. */
	uint8_t *again = secret_pool_take(&pool);
	cr_assert_eq(again, slot);
	cr_assert(is_zero(again, 100));
	secret_pool_return(&pool, again);
	secret_pool_return(&pool, other);
	secret_pool_return(&pool, NULL);
	cr_assert_eq(secret_pool_bytes(&pool), 0);
	secret_pool_fini(&pool);
}

Test(secret_pool, wipes_what_comes_back)
{
	struct secret_pool pool;

	secret_pool_init(&pool, 64, 10);
	uint8_t *stays = secret_pool_take(&pool);
	uint8_t *goes = secret_pool_take(&pool);
	memset(goes, 0x77, 64);
	secret_pool_return(&pool, goes);
	/* The chunk still stands, because of the other one: its free slot holds no more than a link. */
	cr_assert(is_zero(goes + sizeof(void *), 64 - sizeof(void *)));
	secret_pool_return(&pool, stays);
	secret_pool_fini(&pool);
}

Test(secret_pool, stops_at_its_bound)
{
	struct secret_pool pool;
	void *slots[3];

	secret_pool_init(&pool, SECRET_POOL_SLOT_MAX_BYTES, 3);
	for (int i = 0; i < 3; i++)
		cr_assert_not_null(slots[i] = secret_pool_take(&pool));
	cr_assert_null(secret_pool_take(&pool));
	secret_pool_return(&pool, slots[1]);
	cr_assert_not_null(slots[1] = secret_pool_take(&pool));
	for (int i = 0; i < 3; i++)
		secret_pool_return(&pool, slots[i]);
	secret_pool_fini(&pool);
}

Test(secret_pool, slots_never_overlap_and_keep_what_is_in_them)
{
	static const size_t sizes[] = {1, 17, 160, 452, 4096};

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		struct secret_pool pool;
		uint8_t *slots[SLOTS] = {NULL};
		unsigned seed = 3;
		size_t used = 0;
		secret_pool_init(&pool, sizes[s], SLOTS);
		for (int step = 0; step < STEPS / (int)(1 + sizes[s] / 64); step++) {
			size_t i = (size_t)rand_r(&seed) % SLOTS;
			if (slots[i]) {
				for (size_t b = 0; b < sizes[s]; b++)
					cr_assert_eq(slots[i][b], (uint8_t)(i * 7 + 1));
				secret_pool_return(&pool, slots[i]);
				slots[i] = NULL;
				used--;
			} else {
				slots[i] = secret_pool_take(&pool);
				cr_assert_not_null(slots[i]);
				cr_assert_eq((uintptr_t)slots[i] % SECRET_POOL_ALIGN_BYTES, 0);
				cr_assert(is_zero(slots[i], sizes[s]));
				memset(slots[i], (uint8_t)(i * 7 + 1), sizes[s]);
				used++;
			}
			cr_assert_eq(pool.slots_used, used);
		}
		for (size_t i = 0; i < SLOTS; i++)
			secret_pool_return(&pool, slots[i]);
		cr_assert_eq(secret_pool_bytes(&pool), 0);
		secret_pool_fini(&pool);
	}
}

Test(secret_pool, works_and_tells_when_nothing_may_be_locked)
{
	struct secret_pool pool;
	struct rlimit none = {0, 0};

	secret_pool_init(&pool, 100, 10);
	cr_assert(secret_pool_locked(&pool));
	cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &none), 0);
	void *slot = secret_pool_take(&pool);
	cr_assert_not_null(slot);
	/* Who may lock without a limit (root) cannot be refused. */
	cr_assert(!secret_pool_locked(&pool) || geteuid() == 0);
	secret_pool_return(&pool, slot);
	secret_pool_fini(&pool);
}
