#include "core/endian.h"
#include "core/rand.h"
#include "session/answer_cache.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static void fill(void *ctx, void *buf, size_t len)
{
	unsigned *seed = ctx;
	uint8_t *at = buf;
	while (len--)
		*at++ = (uint8_t)rand_r(seed);
}

static unsigned key_seed = 21;
static const struct rand_source RND = {fill, &key_seed};

struct key {
	uint8_t mac1[ANSWER_CACHE_KEY_BYTES];
};

static struct key key_of(uint32_t number)
{
	struct key key = {{0}};
	store_le32(key.mac1 + 12, number);
	return key;
}

static void put(struct answer_cache *cache, uint32_t number, uint32_t value, struct mono now)
{
	uint8_t answer[ANSWER_CACHE_ANSWER_BYTES];
	struct key key = key_of(number);

	memset(answer, (int)value, sizeof(answer));
	store_le32(answer, value);
	cr_assert_eq(answer_cache_put(cache, key.mac1, answer, now), 0);
}

/* The value of the answer, or minus the verdict. */
static int64_t find_from(
	struct answer_cache *cache, uint32_t number, uint32_t source, struct mono now)
{
	struct kcpvpn_endpoint from = {.port = 29900, .family = 4};
	uint8_t answer[ANSWER_CACHE_ANSWER_BYTES];
	struct key key = key_of(number);

	store_le32(from.address, source);
	memset(answer, 0xee, sizeof(answer));
	enum answer_cache_verdict verdict = answer_cache_find(cache, key.mac1, &from, now, answer);
	if (verdict != ANSWER_CACHE_ANSWER) {
		cr_assert_eq(answer[0], 0xee, "touched");
		return -(int64_t)verdict;
	}
	cr_assert_eq(answer[sizeof(answer) - 1], answer[4]);
	return load_le32(answer);
}

static int64_t find(struct answer_cache *cache, uint32_t number, struct mono now)
{
	return find_from(cache, number, 0, now);
}

Test(answer_cache, gives_the_same_answer_twelve_times_at_once)
{
	struct answer_cache cache;

	answer_cache_init(&cache, &RND);
	struct siphash_key key = cache.key;
	answer_cache_init(&cache, &RND);
	cr_assert(key.k0 != cache.key.k0 && key.k1 != cache.key.k1, "each has a key of its own");
	cr_assert_eq(find(&cache, 1, mono_at_ms(0)), -ANSWER_CACHE_UNKNOWN);
	cr_assert_null(cache.table, "asking allocates nothing");
	put(&cache, 1, 77, mono_at_ms(1));
	for (int i = 0; i < 12; i++)
		cr_assert_eq(find(&cache, 1, mono_at_ms(2)), 77);
	cr_assert_eq(find(&cache, 1, mono_at_ms(3)), -ANSWER_CACHE_EXHAUSTED);
	cr_assert_eq(find(&cache, 2, mono_at_ms(3)), -ANSWER_CACHE_UNKNOWN);
	/* and then twenty times a second */
	int again = 0;
	for (int ms = 3; ms < 1003; ms++)
		again += find(&cache, 1, mono_at_ms(ms)) == 77;
	cr_assert(again >= 19 && again <= 20, "%d", again);
	answer_cache_fini(&cache);
}

static int64_t find_at(
	struct answer_cache *cache, const struct kcpvpn_endpoint *from, struct mono now)
{
	uint8_t answer[ANSWER_CACHE_ANSWER_BYTES];
	struct key key = key_of(1);

	return answer_cache_find(cache, key.mac1, from, now, answer);
}

Test(answer_cache, what_others_use_up_is_not_the_callers)
{
	struct answer_cache cache;

	answer_cache_init(&cache, &RND);
	put(&cache, 1, 77, mono_at_ms(1));
	for (uint32_t source = 1; source <= 3000; source++)
		for (int i = 0; i < 3; i++)
			(void)find_from(&cache, 1, source, mono_at_ms(2));
	for (int i = 0; i < 9; i++)
		cr_assert_eq(find(&cache, 1, mono_at_ms(2)), 77);
	for (int i = 0; i < 12; i++)
		(void)find(&cache, 1, mono_at_ms(2));
	cr_assert_eq(find(&cache, 1, mono_at_ms(2)), -ANSWER_CACHE_EXHAUSTED);
	/* address, port and family: whatever differs, it is another */
	struct kcpvpn_endpoint from = {.port = 29901, .family = 4};
	cr_assert_eq(find_at(&cache, &from, mono_at_ms(2)), ANSWER_CACHE_ANSWER);
	from.port = 29900;
	cr_assert_eq(find_at(&cache, &from, mono_at_ms(2)), ANSWER_CACHE_EXHAUSTED);
	from.family = 6;
	cr_assert_eq(find_at(&cache, &from, mono_at_ms(2)), ANSWER_CACHE_ANSWER);
	from.address[15] = 1;
	cr_assert_eq(find_at(&cache, &from, mono_at_ms(2)), ANSWER_CACHE_ANSWER);
	/* and another answer to the same place has a count of its own */
	put(&cache, 2, 78, mono_at_ms(2));
	cr_assert_eq(find(&cache, 2, mono_at_ms(2)), 78);
	answer_cache_fini(&cache);
}

Test(answer_cache, an_answer_lives_ten_seconds)
{
	struct answer_cache cache;

	answer_cache_init(&cache, &RND);
	put(&cache, 1, 1, mono_at_us(5));
	put(&cache, 2, 2, mono_at_us(6));
	cr_assert_eq(find(&cache, 1, mono_at_us(10000004)), 1);
	cr_assert_eq(find(&cache, 1, mono_at_us(10000005)), -ANSWER_CACHE_UNKNOWN);
	cr_assert_eq(find(&cache, 2, mono_at_us(10000005)), 2);
	cr_assert_eq(find(&cache, 2, mono_at_us(10000006)), -ANSWER_CACHE_UNKNOWN);
	answer_cache_fini(&cache);
}

Test(answer_cache, memory_goes_a_minute_after_the_last_answer)
{
	struct answer_cache cache;

	answer_cache_init(&cache, &RND);
	cr_assert(mono_is_never(answer_cache_next_deadline(&cache)));
	answer_cache_on_deadline(&cache, mono_at_ms(1));
	put(&cache, 1, 1, mono_at_ms(0));
	put(&cache, 2, 1, mono_at_ms(1000));
	cr_assert_eq(answer_cache_next_deadline(&cache).us, 61000000);
	answer_cache_on_deadline(&cache, mono_at_us(60999999));
	cr_assert_not_null(cache.table);
	answer_cache_on_deadline(&cache, mono_at_us(61000000));
	cr_assert_null(cache.table);
	cr_assert(mono_is_never(answer_cache_next_deadline(&cache)));
	put(&cache, 3, 3, mono_at_ms(70000));
	cr_assert_eq(find(&cache, 3, mono_at_ms(70000)), 3);
	answer_cache_clear(&cache);
	cr_assert_eq(find(&cache, 3, mono_at_ms(70000)), -ANSWER_CACHE_UNKNOWN);
	answer_cache_fini(&cache);
}

/* A plain list, searched from its end. */
enum { KEYS = 1500, SOURCES = 3, LIST_MAX = 60000 };

struct twin_entry {
	uint32_t key;
	uint32_t value;
	int64_t at;
};

struct twin {
	struct twin_entry *list;
	size_t first;
	size_t end;
	struct token_bucket repeats[KEYS][SOURCES];
};

static int64_t twin_find(struct twin *twin, uint32_t key, uint32_t source, int64_t now)
{
	for (size_t i = twin->end; i-- > twin->first;) {
		const struct twin_entry *entry = &twin->list[i];
		if (entry->key != key)
			continue;
		if (entry->at + 10000000 <= now)
			return -ANSWER_CACHE_UNKNOWN;
		return token_bucket_take(
			       &twin->repeats[key][source], ANSWER_CACHE_RATE, mono_at_us(now))
			       ? (int64_t)entry->value
			       : -ANSWER_CACHE_EXHAUSTED;
	}
	return -ANSWER_CACHE_UNKNOWN;
}

Test(answer_cache, forgets_what_it_is_told_to)
{
	struct answer_cache cache;

	answer_cache_init(&cache, &RND);
	answer_cache_forget(&cache, key_of(1).mac1);
	for (uint32_t i = 1; i <= 2 * ANSWER_CACHE_ENTRIES; i++) {
		put(&cache, i, i, mono_at_us(i));
		if (i % 2 == 0)
			answer_cache_forget(&cache, key_of(i).mac1);
	}
	/* what was forgotten still had its place: the same number of younger ones push an answer out */
	for (uint32_t i = 1; i <= 2 * ANSWER_CACHE_ENTRIES; i++)
		cr_assert_eq(find(&cache, i, mono_at_us(10000)),
			i % 2 == 0 || i <= ANSWER_CACHE_ENTRIES ? 0 : (int64_t)i);
	put(&cache, 2, 7, mono_at_us(10000));
	cr_assert_eq(find(&cache, 2, mono_at_us(10000)), 7);
	answer_cache_forget(&cache, key_of(2).mac1);
	cr_assert_eq(find(&cache, 2, mono_at_us(10000)), 0);
	answer_cache_fini(&cache);
}

Test(answer_cache, agrees_with_a_plain_list)
{
	struct answer_cache cache;
	static struct twin twin;
	unsigned seed = 1;
	unsigned seen[3] = {0};
	unsigned full = 0;
	int64_t now = 0;

	twin.list = calloc(LIST_MAX, sizeof(*twin.list));
	answer_cache_init(&cache, &RND);
	for (uint32_t i = 1; i < 120000; i++) {
		/* more keys than fit; keys that expire; keys that are asked for too often */
		static const struct {
			unsigned keys, gap_us, puts;
		} phases[] = {{KEYS, 2000, 3}, {10, 1500000, 3}, {10, 2000, 30}};
		unsigned phase = i / 10000 % 3;
		uint32_t key = (uint32_t)rand_r(&seed) % phases[phase].keys;
		uint32_t source = (uint32_t)rand_r(&seed) % SOURCES;
		now += rand_r(&seed) % phases[phase].gap_us;
		if (rand_r(&seed) % phases[phase].puts == 0 && twin.end < LIST_MAX) {
			put(&cache, key, i, mono_at_us(now));
			twin.list[twin.end++] = (struct twin_entry){key, i, now};
			/* the ring also holds what was replaced, as this list does */
			if (twin.end - twin.first > ANSWER_CACHE_ENTRIES) {
				full += twin.list[twin.first].at + 10000000 > now;
				twin.first = twin.end - ANSWER_CACHE_ENTRIES;
			}
		} else {
			int64_t want = twin_find(&twin, key, source, now);
			int64_t got = find_from(&cache, key, source, mono_at_us(now));
			cr_assert_eq(got, want, "step %u: %lld, not %lld", i, (long long)got,
				(long long)want);
			seen[want > 0 ? ANSWER_CACHE_ANSWER : -want]++;
		}
	}
	cr_assert(seen[0] > 1000 && seen[1] > 1000 && seen[2] > 1000 && full > 1000,
		"hardly tested: %u %u %u %u", seen[0], seen[1], seen[2], full);
	answer_cache_fini(&cache);
	free(twin.list);
}
