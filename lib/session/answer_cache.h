/*
 * RESPs of the last seconds by the mac1 of their INIT, so that an INIT sent again (because it or its RESP was lost) costs
 * no second X25519 and gets the same bytes.
 *
 * How often is counted for each INIT and place it comes from. Who repeats somebody's INIT from made-up addresses takes
 * nothing from the caller, and who does so from the caller's own makes us send the caller what it is waiting for.
 *
 * Fixed memory: none until the first answer, about 190 KB from then on, none again a minute after the last.
 */
#ifndef SESSION_ANSWER_CACHE_H
#define SESSION_ANSWER_CACHE_H

#include "core/mono.h"
#include "core/siphash.h"
#include "kcpvpn/endpoint.h"
#include "session/token_bucket.h"

#include <stddef.h>
#include <stdint.h>

struct rand_source;
struct answer_cache_table;

enum {
	ANSWER_CACHE_KEY_BYTES = 16,	 /* mac1 */
	ANSWER_CACHE_ANSWER_BYTES = 120, /* RESP */
	ANSWER_CACHE_ENTRIES = 1024,
	ANSWER_CACHE_ROWS = 2,	     /* buckets of an INIT and its source; empty when all are */
	ANSWER_CACHE_BUCKETS = 2048, /* a row, power of two */
	ANSWER_CACHE_LIFE_US = 10000000,
	ANSWER_CACHE_IDLE_US = 60000000, /* after the last answer put in, the memory is freed */
};

/* Of an INIT from one address and port: six transmissions, each of which may arrive twice, and what a bad path adds. */
#define ANSWER_CACHE_RATE ((struct token_rate){.interval_us = 50000, .burst = 12})

enum answer_cache_verdict {
	ANSWER_CACHE_UNKNOWN,	/* a new INIT: go on */
	ANSWER_CACHE_ANSWER,	/* send the answer again */
	ANSWER_CACHE_EXHAUSTED, /* answered often enough there for now: drop */
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
 * @source      where it came from
 * @ret_answer  filled on ANSWER_CACHE_ANSWER, which counts as one repeat to that source; else untouched
 */
enum answer_cache_verdict answer_cache_find(struct answer_cache *cache,
	const uint8_t mac1[ANSWER_CACHE_KEY_BYTES], const struct kcpvpn_endpoint *source,
	struct mono now, uint8_t ret_answer[ANSWER_CACHE_ANSWER_BYTES]);

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
