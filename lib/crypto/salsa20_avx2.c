/*
 * Eight blocks of Salsa20 at once, with AVX2: salsa20_avx512.c with half the lanes. There the essay
 * stands; here is what differs.
 *
 * A rotation is two shifts, and 16 words leave no register over, so the compiler keeps some of them in
 * memory. Two transpositions of 8 x 8 words make a block of two halves. There is no masked store worth
 * the name: a run's words are stored whole from its first lane on, and what is too much falls into the
 * half of a row that the lanes of this file leave unused.
 */
#include "crypto/salsa20_lanes.h"

#ifdef __x86_64__
#include "core/endian.h"

#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))
#define INLINE TARGET inline __attribute__((always_inline))

_Static_assert(2 * (int)SALSA20_LANES_AVX2 <= (int)SALSA20_LANES_MAX, "room to store too much");

static INLINE void fill(uint32_t *words, uint32_t value)
{
	_mm256_storeu_si256((__m256i *)words, _mm256_set1_epi32((int)value));
}

static TARGET void load_runs(
	struct salsa20_state *state, const struct salsa20_run *runs, size_t count)
{
	static const uint8_t key_words[8] = {1, 2, 3, 4, 11, 12, 13, 14};
	const __m256i counting = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
	size_t lane = 0;

	for (const struct salsa20_run *run = runs; run < runs + count; run++) {
		for (size_t i = 0; i < 8; i++)
			fill(&state->words[key_words[i]][lane], load_le32(run->key + 4 * i));
		fill(&state->words[6][lane], load_le32(run->nonce));
		fill(&state->words[7][lane], load_le32(run->nonce + 4));
		_mm256_storeu_si256((__m256i *)&state->words[8][lane],
			_mm256_add_epi32(_mm256_set1_epi32((int)run->block), counting));
		lane += (run->len + SALSA20_BLOCK_BYTES - 1) / SALSA20_BLOCK_BYTES;
	}
}

/* Turns over eight words (one half of the blocks, `half` 0 or 8) of eight lanes. */
static INLINE void store_halves(struct salsa20_state *state, size_t half, const __m256i *x)
{
	__m256i a0 = _mm256_unpacklo_epi32(x[0], x[1]), a1 = _mm256_unpackhi_epi32(x[0], x[1]);
	__m256i a2 = _mm256_unpacklo_epi32(x[2], x[3]), a3 = _mm256_unpackhi_epi32(x[2], x[3]);
	__m256i a4 = _mm256_unpacklo_epi32(x[4], x[5]), a5 = _mm256_unpackhi_epi32(x[4], x[5]);
	__m256i a6 = _mm256_unpacklo_epi32(x[6], x[7]), a7 = _mm256_unpackhi_epi32(x[6], x[7]);
	__m256i b0 = _mm256_unpacklo_epi64(a0, a2), b1 = _mm256_unpackhi_epi64(a0, a2);
	__m256i b2 = _mm256_unpacklo_epi64(a1, a3), b3 = _mm256_unpackhi_epi64(a1, a3);
	__m256i b4 = _mm256_unpacklo_epi64(a4, a6), b5 = _mm256_unpackhi_epi64(a4, a6);
	__m256i b6 = _mm256_unpacklo_epi64(a5, a7), b7 = _mm256_unpackhi_epi64(a5, a7);

#define STORE(lane, lo, hi, which) \
	_mm256_store_si256(        \
		(__m256i *)&state->words[lane][half], _mm256_permute2x128_si256(lo, hi, which))
	STORE(0, b0, b4, 0x20);
	STORE(1, b1, b5, 0x20);
	STORE(2, b2, b6, 0x20);
	STORE(3, b3, b7, 0x20);
	STORE(4, b0, b4, 0x31);
	STORE(5, b1, b5, 0x31);
	STORE(6, b2, b6, 0x31);
	STORE(7, b3, b7, 0x31);
#undef STORE
}

/* Replaces the words by the blocks of key stream: row `lane` is the block of that lane. */
static TARGET void make_stream(struct salsa20_state *state)
{
	__m256i x[16];

#define LOAD(w) x[w] = _mm256_load_si256((const __m256i *)state->words[w])
	SALSA20_EACH_VARIED(LOAD);
#undef LOAD
	x[0] = _mm256_set1_epi32(SALSA20_WORD_0);
	x[5] = _mm256_set1_epi32(SALSA20_WORD_5);
	x[9] = _mm256_setzero_si256();
	x[10] = _mm256_set1_epi32(SALSA20_WORD_10);
	x[15] = _mm256_set1_epi32(SALSA20_WORD_15);

#define MIX(to, a, b, n)                                                           \
	do {                                                                       \
		__m256i sum = _mm256_add_epi32(x[a], x[b]);                        \
		x[to] = _mm256_xor_si256(x[to], _mm256_slli_epi32(sum, n));        \
		x[to] = _mm256_xor_si256(x[to], _mm256_srli_epi32(sum, 32 - (n))); \
	} while (0)
	for (int i = 0; i < 10; i++)
		SALSA20_DOUBLE_ROUND(MIX);
#undef MIX

#define ADD(w) x[w] = _mm256_add_epi32(x[w], _mm256_load_si256((const __m256i *)state->words[w]))
	SALSA20_EACH_VARIED(ADD);
#undef ADD
	x[0] = _mm256_add_epi32(x[0], _mm256_set1_epi32(SALSA20_WORD_0));
	x[5] = _mm256_add_epi32(x[5], _mm256_set1_epi32(SALSA20_WORD_5));
	x[10] = _mm256_add_epi32(x[10], _mm256_set1_epi32(SALSA20_WORD_10));
	x[15] = _mm256_add_epi32(x[15], _mm256_set1_epi32(SALSA20_WORD_15));
	store_halves(state, 0, x);
	store_halves(state, 8, x + 8);
}

/* A block that is not whole: what there is of it is moved through the stream's own memory. */
static TARGET void use_part(uint32_t *words, const uint8_t *in, uint8_t *out, size_t len)
{
	uint8_t *stream = (uint8_t *)words;

	if (in)
		for (size_t i = 0; i < len; i++)
			stream[i] ^= in[i];
	memcpy(out, stream, len);
}

static TARGET size_t use_stream(
	struct salsa20_state *state, size_t lane, const struct salsa20_run *run)
{
	size_t at = 0;

	for (; at + SALSA20_BLOCK_BYTES <= run->len; at += SALSA20_BLOCK_BYTES) {
		const __m256i *block = (const __m256i *)state->words[lane++];
		__m256i lo = _mm256_load_si256(block), hi = _mm256_load_si256(block + 1);
		if (run->in) {
			const __m256i *in = (const __m256i *)(run->in + at);
			lo = _mm256_xor_si256(lo, _mm256_loadu_si256(in));
			hi = _mm256_xor_si256(hi, _mm256_loadu_si256(in + 1));
		}
		_mm256_storeu_si256((__m256i *)(run->out + at), lo);
		_mm256_storeu_si256((__m256i *)(run->out + at) + 1, hi);
	}
	if (at < run->len)
		use_part(state->words[lane++], run->in ? run->in + at : NULL, run->out + at,
			run->len - at);
	return lane;
}

TARGET void salsa20_avx2_pass(
	struct salsa20_state *state, const struct salsa20_run *runs, size_t count)
{
	size_t lane = 0;

	load_runs(state, runs, count);
	make_stream(state);
	for (size_t i = 0; i < count; i++)
		lane = use_stream(state, lane, &runs[i]);
}
#endif
