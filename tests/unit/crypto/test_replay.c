/* The ring against a set of all counters ever committed. */
#include "crypto/replay.h"

#include "crypto/seal.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(REPLAY_COUNTER_END == SEAL_COUNTER_END, "one limit of counters");

#if SEAL_ABORTS_ON_REUSE /* a build for a sanitizer is slow */
enum { STEPS = 100000 };
#else
enum { STEPS = 500000 };
#endif

/* ---- the naive twin ---------------------------------------------------------------------------------------------- */

enum {
	SET_SLOTS = 1 << 21, /* more than twice what a test commits */
};

struct twin {
	uint64_t *slots; /* counter + 1, 0 = free */
	uint64_t window;
	uint64_t top;
	bool has_top;
};

static uint64_t *twin_slot(const struct twin *twin, uint64_t counter)
{
	uint64_t at = counter * 0x9e3779b97f4a7c15u >> 43;

	while (twin->slots[at % SET_SLOTS] != 0 && twin->slots[at % SET_SLOTS] != counter + 1)
		at++;
	return &twin->slots[at % SET_SLOTS];
}

static enum replay_verdict twin_judge(const struct twin *twin, uint64_t counter)
{
	if (counter >= (uint64_t)1 << 48)
		return REPLAY_BEYOND;
	if (twin->has_top && counter + twin->window <= twin->top)
		return REPLAY_TOO_OLD;
	return *twin_slot(twin, counter) ? REPLAY_DUPLICATE : REPLAY_FRESH;
}

static enum replay_verdict twin_commit(struct twin *twin, uint64_t counter)
{
	enum replay_verdict verdict = twin_judge(twin, counter);

	if (verdict == REPLAY_FRESH) {
		*twin_slot(twin, counter) = counter + 1;
		twin->top = !twin->has_top || counter > twin->top ? counter : twin->top;
		twin->has_top = true;
	}
	return verdict;
}

static uint64_t random_64(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* The next counter to try: mostly a little above the top, often around an edge of the window, sometimes far away. */
static uint64_t next_counter(uint64_t *state, const struct twin *twin)
{
	uint64_t r = random_64(state), near = r >> 32 & 7;
	uint64_t back = r >> 40 & 0xffff;

	switch (r % 16) {
	case 0: /* around the window's lower edge */
		back = twin->window - 4 + near;
		return back < twin->top ? twin->top - back : near;
	case 1:
	case 2:
	case 3: /* inside, or a little below */
		back %= twin->window * 5 / 4;
		return back < twin->top ? twin->top - back : near;
	case 4: /* a duplicate of the newest */
		return twin->top;
	case 5: /* jumps of words, up to more than the ring */
		return r >> 44 & 1 ? twin->top + 64 * near
				   : twin->top + back % (2 * twin->window + 128);
	case 6: /* rarely very far, so that counters stay well inside 48 bits */
		return r >> 50 & 15 ? near : twin->top + (r >> 8 & 0xfffffff);
	case 7: /* now and then beyond all */
		return r >> 50 & 15 ? twin->top + near
				    : ((uint64_t)1 << 48) + (r >> 60) * (UINT64_MAX >> 5);
	default:
		return twin->top + near;
	}
}

static void against_twin(uint32_t word_count, unsigned steps, uint64_t seed)
{
	struct twin twin = {
		calloc(SET_SLOTS, sizeof(uint64_t)), (word_count - 1) * 64ull, 0, false};
	uint64_t *words = malloc(word_count * sizeof(*words));
	unsigned verdicts[REPLAY_VERDICTS] = {0};
	struct replay replay;

	cr_assert(twin.slots && words);
	memset(words, 0x5a, word_count * sizeof(*words));
	replay_init(&replay);
	replay_attach(&replay, words, word_count);
	for (unsigned step = 0; step < steps; step++) {
		uint64_t counter = next_counter(&seed, &twin);
		enum replay_verdict want = twin_judge(&twin, counter);

		cr_assert_eq(replay_judge(&replay, counter), want, "step %u, counter %llu", step,
			(unsigned long long)counter);
		if (step % 8 == 7) /* judged only: a forged tag */
			continue;
		cr_assert_eq(replay_commit(&replay, counter), want);
		twin_commit(&twin, counter);
		verdicts[want]++;
		if (want == REPLAY_FRESH)
			cr_assert_eq(replay_judge(&replay, counter), REPLAY_DUPLICATE);
	}
	for (unsigned v = 0; v < REPLAY_VERDICTS; v++)
		cr_assert(verdicts[v] >= steps / 2000, "verdict %u came %u times", v, verdicts[v]);
	free(words);
	free(twin.slots);
}

Test(replay, equals_a_set_default_window)
{
	against_twin(REPLAY_WORDS_DEFAULT, STEPS, 1);
}

Test(replay, equals_a_set_small_windows)
{
	against_twin(2, STEPS / 4, 2);
	against_twin(4, STEPS / 4, 3);
	against_twin(128, STEPS / 4, 4);
}

Test(replay, equals_a_set_large_window)
{
	against_twin(REPLAY_WORDS_MAX, STEPS / 4, 5);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

Test(replay, starts_anywhere)
{
	static const uint64_t starts[] = {0, 1, 63, 64, 32703, 32704, 1ull << 40, (1ull << 48) - 1};

	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		uint64_t words[REPLAY_WORDS_DEFAULT], first = starts[i];
		struct replay replay;

		replay_init(&replay);
		cr_assert_eq(replay_judge(&replay, first), REPLAY_FRESH);
		replay_attach(&replay, words, REPLAY_WORDS_DEFAULT);
		cr_assert_eq(replay_judge(&replay, 0), REPLAY_FRESH);
		cr_assert_eq(replay_commit(&replay, first), REPLAY_FRESH);
		cr_assert_eq(replay_commit(&replay, first), REPLAY_DUPLICATE);
		if (first >= 32703)
			cr_assert_eq(replay_commit(&replay, first - 32703), REPLAY_FRESH);
		if (first >= 32704)
			cr_assert_eq(replay_commit(&replay, first - 32704), REPLAY_TOO_OLD);
	}
}

Test(replay, ends_at_48_bits)
{
	uint64_t words[REPLAY_WORDS_MIN];
	struct replay replay;

	replay_init(&replay);
	cr_assert_eq(replay_judge(&replay, 1ull << 48), REPLAY_BEYOND);
	replay_attach(&replay, words, REPLAY_WORDS_MIN);
	cr_assert_eq(replay_commit(&replay, 1ull << 48), REPLAY_BEYOND);
	cr_assert_eq(replay_commit(&replay, UINT64_MAX), REPLAY_BEYOND);
	cr_assert_eq(replay_commit(&replay, (1ull << 48) - 1), REPLAY_FRESH);
	cr_assert_eq(replay_commit(&replay, 5), REPLAY_TOO_OLD);
}

/* Without memory all up to the top is refused, and with new memory too. */
Test(replay, memory_comes_and_goes)
{
	uint64_t words[REPLAY_WORDS_DEFAULT], other[4];

	for (uint64_t top = 1000; top < 1200; top++) {
		struct replay replay;

		replay_init(&replay);
		cr_assert_null(replay_detach(&replay));
		replay_attach(&replay, words, REPLAY_WORDS_DEFAULT);
		cr_assert_eq(replay_commit(&replay, top - 10), REPLAY_FRESH);
		cr_assert_eq(replay_commit(&replay, top), REPLAY_FRESH);
		cr_assert_eq(replay_judge(&replay, top - 5), REPLAY_FRESH);
		cr_assert_eq(replay_detach(&replay), words);
		memset(words, 0, sizeof(words));
		for (uint64_t counter = 0; counter <= top; counter++)
			cr_assert_eq(replay_judge(&replay, counter), REPLAY_TOO_OLD);
		cr_assert_eq(replay_judge(&replay, top + 1), REPLAY_FRESH);

		replay_attach(&replay, other, 4);
		for (uint64_t counter = 0; counter <= top; counter++)
			cr_assert_neq(replay_judge(&replay, counter), REPLAY_FRESH);
		for (uint64_t counter = top + 200; counter > top; counter--)
			cr_assert_eq(replay_judge(&replay, counter), REPLAY_FRESH);
		cr_assert_eq(replay_commit(&replay, top + 70), REPLAY_FRESH);
		for (uint64_t counter = top + 69; counter > top; counter--)
			cr_assert_eq(replay_commit(&replay, counter), REPLAY_FRESH);
		cr_assert_eq(replay_commit(&replay, top), REPLAY_DUPLICATE);
		cr_assert_eq(replay_commit(&replay, top + 70), REPLAY_DUPLICATE);
	}
}
