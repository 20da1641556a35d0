/* What a follower may hold. */
#include "kcpvpn/native_shards.h"
#include "stack/native_state.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/random.h>

static int64_t realtime(void *ctx)
{
	(void)ctx;
	return (int64_t)1700000000 * 1000000;
}

static void fill_random(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	cr_assert_eq(getrandom(buf, len, 0), (ssize_t)len);
}

static bool tell(void *ctx, unsigned shard, const struct kcpvpn_shard_message *message)
{
	(void)ctx, (void)shard, (void)message;
	return true;
}

/* However many threads there are, one path may have what it needs; all together have no more than is given to them. */
Test(shared_memory, a_busy_path_has_as_much_as_with_one_thread)
{
	enum { ALL_BYTES = 256 << 20, THREADS = 16, SLOTS = 1 << 18 };
	static const uint8_t key[KCPVPN_NATIVE_KEY_BYTES] = {1};
	struct kcpvpn_native_config config = {
		.private_key = key,
		.datagram_max_bytes = 1500,
		.peers_max = 100,
		.memory_max_bytes = ALL_BYTES,
		.realtime_us = realtime,
		.random = fill_random,
		.shards = THREADS,
		.tell = tell,
	};
	void **slots = calloc(SLOTS, sizeof(*slots));
	struct kcpvpn_shared_memory *memory;
	struct kcpvpn_native *one, *of_many;
	size_t count = 0;

	cr_assert_not_null(slots);
	cr_assert_eq(kcpvpn_native_new(&config, 1, &one), 0);
	config.memory_max_bytes = ALL_BYTES / 2 / THREADS;
	cr_assert_eq(kcpvpn_shared_memory_new(ALL_BYTES / 2, &memory), 0);
	config.shared_memory = memory;
	cr_assert_eq(kcpvpn_native_new_follower(&config, 3, 1, &of_many), 0);
	cr_assert_eq(of_many->data.path_slots_max, one->data.path_slots_max);
	struct pool *pool = &of_many->data.slots;
	while (count < SLOTS && (slots[count] = pool_take(pool)) != NULL)
		count++;
	cr_assert_gt(count, of_many->data.path_slots_max * 2);
	cr_assert_lt(pool->slots_allocated / pool->chunk_slots * pool->chunk_bytes,
		ALL_BYTES / 2 + ALL_BYTES / 2 / THREADS + 2 * pool->chunk_bytes);
	while (count > 0)
		pool_return(pool, slots[--count]);
	free(slots);
	kcpvpn_native_free(of_many);
	kcpvpn_native_free(one);
	kcpvpn_shared_memory_free(memory);
}
