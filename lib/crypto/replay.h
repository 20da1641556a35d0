/*
 * Which packet counters came before: an anti-replay window on a ring of bits.
 *
 * The memory of the ring is the caller's, and may come late (a session that got nothing has none)
 * and go early (a quiet session): without it the window still knows its top and refuses everything
 * up to there.
 *
 * Source: RFC 6479.
 */
#ifndef CRYPTO_REPLAY_H
#define CRYPTO_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	REPLAY_WORD_BITS = 64,
	REPLAY_WORDS_MIN = 2,
	REPLAY_WORDS_DEFAULT = 512, /* window of 32704 counters, 4 KiB */
	REPLAY_WORDS_MAX = 2048,
};

/** Counters are below this. */
#define REPLAY_COUNTER_END ((uint64_t)1 << 48)

enum replay_verdict {
	REPLAY_FRESH,	  /* not seen before */
	REPLAY_DUPLICATE, /* inside the window, and seen */
	REPLAY_TOO_OLD,	  /* below the window: cannot be judged, so refused */
	REPLAY_BEYOND,	  /* not below REPLAY_COUNTER_END */
	REPLAY_VERDICTS,  /* how many there are, for tables of counters */
};

/** All zeros is an empty window without memory. */
struct replay {
	uint64_t *words; /* borrowed; NULL without memory */
	uint32_t word_count;
	bool has_top;
	uint64_t top; /* largest counter committed */
};

/** An empty window without memory: every counter is fresh. */
void replay_init(struct replay *replay);

/**
 * Gives the window its memory. If counters were committed before (replay_detach()), all up to the
 * top count as seen.
 *
 * @words       stays the caller's; need not be initialised; must outlive its use here
 * @word_count  a power of two, REPLAY_WORDS_MIN .. REPLAY_WORDS_MAX; the window spans
 *              (word_count - 1) * 64 counters
 */
void replay_attach(struct replay *replay, uint64_t *words, uint32_t word_count);

/** Takes the memory away, and returns it to be freed (NULL if there was none). The top stays: what is
 * above it is fresh, all else too old. */
uint64_t *replay_detach(struct replay *replay);

/** Judges a counter and changes nothing, so it may be asked before the tag was checked. */
enum replay_verdict replay_judge(const struct replay *replay, uint64_t counter);

/**
 * Judges again and remembers a counter that is fresh. Call it only after authentication: a counter
 * that anybody could have written must never move the window. Its answer is the one that counts:
 * between judging and committing a copy of the datagram may have been committed.
 *
 * @replay  has memory
 * @return  REPLAY_FRESH once for a counter; the window changes only then
 */
enum replay_verdict replay_commit(struct replay *replay, uint64_t counter);

#endif
