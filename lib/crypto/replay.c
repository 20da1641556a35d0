/*
 * The ring holds whole words of 64 counters. The word of the top and the word_count - 1 before it are
 * the ring; moving the top clears the words it passes, so no bit is ever shifted. The window is one
 * word shorter than the ring: that word may hold part of what is already too old.
 *
 *     counter:      ... | too old | window ................. top |
 *     words:                | w-511 | ...            | w-1 | w = top / 64 |
 *
 * Invariant with memory and a top: a bit for a counter in the window is set if and only if it was
 * committed (or counts as seen since replay_attach()); bits above the top are clear.
 *
 * Standards: RFC 6479. Other than there, the window starts without a top, so the very first counter
 * may be any.
 */
#include "crypto/replay.h"

#include <assert.h>
#include <string.h>

_Static_assert(REPLAY_WORD_BITS == 8 * sizeof(uint64_t), "bits of a word");

void replay_init(struct replay *replay)
{
	memset(replay, 0, sizeof(*replay));
}

static uint64_t *word_of(const struct replay *replay, uint64_t counter)
{
	return &replay->words[counter / REPLAY_WORD_BITS & (replay->word_count - 1)];
}

static uint64_t bit_of(uint64_t counter)
{
	return (uint64_t)1 << counter % REPLAY_WORD_BITS;
}

void replay_attach(struct replay *replay, uint64_t *words, uint32_t word_count)
{
	assert(word_count >= REPLAY_WORDS_MIN && word_count <= REPLAY_WORDS_MAX);
	assert((word_count & (word_count - 1)) == 0);
	replay->words = words;
	replay->word_count = word_count;
	memset(words, replay->has_top ? 0xff : 0, word_count * sizeof(*words));
	if (replay->has_top) /* of its word, what is above the top was not seen */
		*word_of(replay, replay->top) = bit_of(replay->top) | (bit_of(replay->top) - 1);
}

uint64_t *replay_detach(struct replay *replay)
{
	uint64_t *words = replay->words;

	replay->words = NULL;
	replay->word_count = 0;
	return words;
}

enum replay_verdict replay_judge(const struct replay *replay, uint64_t counter)
{
	if (counter >= REPLAY_COUNTER_END)
		return REPLAY_BEYOND;
	if (!replay->has_top || counter > replay->top)
		return REPLAY_FRESH;
	if (!replay->words)
		return REPLAY_TOO_OLD;
	if (replay->top - counter >= (uint64_t)(replay->word_count - 1) * REPLAY_WORD_BITS)
		return REPLAY_TOO_OLD;
	return *word_of(replay, counter) & bit_of(counter) ? REPLAY_DUPLICATE : REPLAY_FRESH;
}

/* Clears the words between the top's and the counter's, each once at most. */
static void move_top(struct replay *replay, uint64_t counter)
{
	uint64_t steps = counter / REPLAY_WORD_BITS - replay->top / REPLAY_WORD_BITS;

	if (steps > replay->word_count)
		steps = replay->word_count;
	for (uint64_t i = 0; i < steps; i++)
		*word_of(replay, counter - i * REPLAY_WORD_BITS) = 0;
	replay->top = counter;
}

enum replay_verdict replay_commit(struct replay *replay, uint64_t counter)
{
	enum replay_verdict verdict = replay_judge(replay, counter);

	assert(replay->words);
	if (verdict != REPLAY_FRESH)
		return verdict;
	if (!replay->has_top) {
		replay->top = counter;
		replay->has_top = true;
	} else if (counter > replay->top) {
		move_top(replay, counter);
	}
	*word_of(replay, counter) |= bit_of(counter);
	return REPLAY_FRESH;
}
