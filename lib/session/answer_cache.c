/*
 * A ring of entries in the order they came, and a hash over it. All live equally long, so the oldest entry is always the
 * next to expire and the one to make room: no timer an entry, no search.
 *
 * Only a handshake that a known peer's key made is remembered, and each peer makes at most ten a second, so no stranger can
 * push answers out. The hash is keyed since whoever makes INITs chooses their mac1.
 *
 * No answer is longer than its INIT, so repeats are limited only for what they cost us. A count for each INIT would be a gift
 * to who sees one pass: a dozen copies from anywhere, and the caller is not answered any more. So there are buckets by INIT
 * and source in two rows (a count-min sketch): each pair hashes to one in either row and is refused when both are empty. To
 * empty the caller's two on purpose takes as much as emptying all, 20 copies a second for each of them.
 */
#include "session/answer_cache.h"

#include "core/endian.h"
#include "core/rand.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
	BUCKETS = ANSWER_CACHE_ENTRIES, /* power of two */
	NO_ENTRY = UINT16_MAX,
};

_Static_assert((BUCKETS & (BUCKETS - 1)) == 0, "a mask is used");
_Static_assert((ANSWER_CACHE_BUCKETS & (ANSWER_CACHE_BUCKETS - 1)) == 0, "a mask is used");
_Static_assert((int)ANSWER_CACHE_ENTRIES < (int)NO_ENTRY, "an index is 16 bits");

struct entry {
	struct mono put_at;
	uint16_t next; /* in its bucket */
	bool linked;   /* false: forgotten, or replaced by a newer one of the same mac1 */
	uint8_t mac1[ANSWER_CACHE_KEY_BYTES];
	uint8_t answer[ANSWER_CACHE_ANSWER_BYTES];
};

struct answer_cache_table {
	uint16_t heads[BUCKETS];
	uint16_t oldest;
	uint16_t count;
	struct entry entries[ANSWER_CACHE_ENTRIES];
	struct token_bucket repeats[ANSWER_CACHE_ROWS][ANSWER_CACHE_BUCKETS];
};

void answer_cache_init(struct answer_cache *cache, const struct rand_source *rnd)
{
	uint8_t bytes[SIPHASH_KEY_BYTES];

	rand_fill(rnd, bytes, sizeof(bytes));
	*cache = (struct answer_cache){.key = siphash_key_of(bytes), .free_at = MONO_NEVER};
}

void answer_cache_clear(struct answer_cache *cache)
{
	free(cache->table);
	cache->table = NULL;
	cache->free_at = MONO_NEVER;
}

void answer_cache_fini(struct answer_cache *cache)
{
	answer_cache_clear(cache);
}

static uint16_t *bucket_of(struct answer_cache *cache, const uint8_t *mac1)
{
	return &cache->table
			->heads[siphash(cache->key, mac1, ANSWER_CACHE_KEY_BYTES) & (BUCKETS - 1)];
}

/* The link that points to the entry of `mac1`, or to NO_ENTRY at the end of its bucket. */
static uint16_t *link_to(struct answer_cache *cache, const uint8_t *mac1)
{
	struct entry *entries = cache->table->entries;
	uint16_t *link = bucket_of(cache, mac1);

	while (*link != NO_ENTRY && memcmp(entries[*link].mac1, mac1, ANSWER_CACHE_KEY_BYTES) != 0)
		link = &entries[*link].next;
	return link;
}

static void unlink_entry(struct answer_cache *cache, uint16_t *link)
{
	struct entry *entry = &cache->table->entries[*link];

	entry->linked = false;
	*link = entry->next;
}

static void drop_oldest(struct answer_cache *cache)
{
	struct answer_cache_table *table = cache->table;
	struct entry *entry = &table->entries[table->oldest];

	if (entry->linked)
		unlink_entry(cache, link_to(cache, entry->mac1));
	table->oldest = (uint16_t)((table->oldest + 1) % ANSWER_CACHE_ENTRIES);
	table->count--;
}

static void drop_expired(struct answer_cache *cache, struct mono now)
{
	const struct answer_cache_table *table = cache->table;

	while (table->count > 0 &&
		mono_due(mono_add_us(table->entries[table->oldest].put_at, ANSWER_CACHE_LIFE_US),
			now))
		drop_oldest(cache);
}

/* Takes from what this source may still have of this answer. */
static bool may_repeat(struct answer_cache *cache, const uint8_t *mac1,
	const struct kcpvpn_endpoint *source, struct mono now)
{
	uint8_t text[ANSWER_CACHE_KEY_BYTES + sizeof(source->address) + 3];
	uint8_t *at = text + ANSWER_CACHE_KEY_BYTES;

	memcpy(text, mac1, ANSWER_CACHE_KEY_BYTES);
	memcpy(at, source->address, sizeof(source->address));
	at[sizeof(source->address)] = source->family;
	store_le16(at + sizeof(source->address) + 1, source->port);
	uint64_t hash = siphash(cache->key, text, sizeof(text));
	struct token_bucket *one = &cache->table->repeats[0][hash & (ANSWER_CACHE_BUCKETS - 1)];
	struct token_bucket *two =
		&cache->table->repeats[1][hash >> 32 & (ANSWER_CACHE_BUCKETS - 1)];
	struct token_bucket used = {mono_min(one->full_at, two->full_at)};
	if (!token_bucket_take(&used, ANSWER_CACHE_RATE, now))
		return false;
	one->full_at = mono_max(one->full_at, used.full_at);
	two->full_at = mono_max(two->full_at, used.full_at);
	return true;
}

enum answer_cache_verdict answer_cache_find(struct answer_cache *cache,
	const uint8_t mac1[ANSWER_CACHE_KEY_BYTES], const struct kcpvpn_endpoint *source,
	struct mono now, uint8_t ret_answer[ANSWER_CACHE_ANSWER_BYTES])
{
	if (!cache->table)
		return ANSWER_CACHE_UNKNOWN;
	drop_expired(cache, now);
	uint16_t at = *link_to(cache, mac1);
	if (at == NO_ENTRY)
		return ANSWER_CACHE_UNKNOWN;
	if (!may_repeat(cache, mac1, source, now))
		return ANSWER_CACHE_EXHAUSTED;
	const struct entry *entry = &cache->table->entries[at];
	memcpy(ret_answer, entry->answer, sizeof(entry->answer));
	return ANSWER_CACHE_ANSWER;
}

static int make_table(struct answer_cache *cache)
{
	if (cache->table)
		return 0;
	cache->table = calloc(1, sizeof(*cache->table));
	if (!cache->table)
		return -ENOMEM;
	memset(cache->table->heads, 0xff, sizeof(cache->table->heads)); /* NO_ENTRY */
	return 0;
}

int answer_cache_put(struct answer_cache *cache, const uint8_t mac1[ANSWER_CACHE_KEY_BYTES],
	const uint8_t answer[ANSWER_CACHE_ANSWER_BYTES], struct mono now)
{
	int rc = make_table(cache);

	if (rc < 0)
		return rc;
	struct answer_cache_table *table = cache->table;
	drop_expired(cache, now);
	if (table->count == ANSWER_CACHE_ENTRIES)
		drop_oldest(cache);
	uint16_t *same = link_to(cache, mac1);
	if (*same != NO_ENTRY)
		unlink_entry(cache, same);

	uint16_t at = (uint16_t)((table->oldest + table->count) % ANSWER_CACHE_ENTRIES);
	struct entry *entry = &table->entries[at];
	uint16_t *head = bucket_of(cache, mac1);
	entry->put_at = now;
	entry->linked = true;
	entry->next = *head;
	memcpy(entry->mac1, mac1, sizeof(entry->mac1));
	memcpy(entry->answer, answer, sizeof(entry->answer));
	*head = at;
	table->count++;
	cache->free_at = mono_add_us(now, ANSWER_CACHE_IDLE_US);
	return 0;
}

void answer_cache_forget(struct answer_cache *cache, const uint8_t mac1[ANSWER_CACHE_KEY_BYTES])
{
	if (!cache->table)
		return;
	uint16_t *link = link_to(cache, mac1);
	if (*link != NO_ENTRY)
		unlink_entry(cache, link);
}

struct mono answer_cache_next_deadline(const struct answer_cache *cache)
{
	return cache->free_at;
}

void answer_cache_on_deadline(struct answer_cache *cache, struct mono now)
{
	if (mono_due(cache->free_at, now))
		answer_cache_clear(cache);
}
