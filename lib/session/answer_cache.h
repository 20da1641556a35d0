/*
 * RESPs of the last seconds by the mac1 of their INIT, so that an INIT sent again (because it or its RESP was lost) costs
 * no second X25519 and gets the same bytes.
 *
 * Fixed memory: none until the first answer, about 160 KB from then on, none again a minute after the last.
 */
#ifndef SESSION_ANSWER_CACHE_H
#define SESSION_ANSWER_CACHE_H

#include "core/mono.h"
#include "core/siphash.h"

#include <stddef.h>
#include <stdint.h>

struct rand_source;
struct answer_cache_table;

enum {
	ANSWER_CACHE_KEY_BYTES = 16,	 /* mac1 */
	ANSWER_CACHE_ANSWER_BYTES = 120, /* RESP */
	ANSWER_CACHE_ENTRIES = 1024,
	ANSWER_CACHE_REPEATS = 12, /* times an answer is given again */
	ANSWER_CACHE_LIFE_US = 10000000,
	ANSWER_CACHE_IDLE_US = 60000000, /* after the last answer put in, the memory is freed */
};

enum answer_cache_verdict {
	ANSWER_CACHE_UNKNOWN,	/* a new INIT: go on */
	ANSWER_CACHE_ANSWER,	/* send the answer again */
	ANSWER_CACHE_EXHAUSTED, /* answered often enough: drop */
	ANSWER_CACHE_VERDICTS,
};

struct answer_cache {
	struct siphash_key key;
	struct mono free_at;		  /* MONO_NEVER without a table */
	struct answer_cache_table *table; /* NULL until the first answer */
};

void answer_cache_init(struct answer_cache *cache, const struct rand_source *rnd);

/** Frees the memory. */
void answer_cache_fini(struct answer_cache *cache);

/**
 * Looks up an INIT whose mac1 is good.
 *
 * @ret_answer  filled on ANSWER_CACHE_ANSWER, which counts as one repeat; else untouched
 */
enum answer_cache_verdict answer_cache_find(struct answer_cache *cache,
	const uint8_t mac1[ANSWER_CACHE_KEY_BYTES], struct mono now,
	uint8_t ret_answer[ANSWER_CACHE_ANSWER_BYTES]);

/**
 * Remembers an answer that was just sent for the first time. The oldest makes room; an entry of the same mac1 is replaced.
 *
 * @return  0, or -ENOMEM (nothing is remembered; the next INIT just costs its X25519 again)
 */
int answer_cache_put(struct answer_cache *cache, const uint8_t mac1[ANSWER_CACHE_KEY_BYTES],
	const uint8_t answer[ANSWER_CACHE_ANSWER_BYTES], struct mono now);

/** Forgets one answer, if it is known: what it promised is over. */
void answer_cache_forget(struct answer_cache *cache, const uint8_t mac1[ANSWER_CACHE_KEY_BYTES]);

/** Forgets all answers and frees the memory (own key changed). */
void answer_cache_clear(struct answer_cache *cache);

/** When to call answer_cache_on_deadline(): at the end of idleness; MONO_NEVER without memory. */
struct mono answer_cache_next_deadline(const struct answer_cache *cache);
void answer_cache_on_deadline(struct answer_cache *cache, struct mono now);

#endif
