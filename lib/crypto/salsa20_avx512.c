/*
 * Sixteen blocks of Salsa20 at once, with AVX-512.
 *
 * Word w of all blocks is one vector, so the rounds are 16 times the scalar ones, without a shuffle, and
 * all 16 words stay in registers. Behind the rounds the 16 x 16 matrix of words is turned over: then a
 * vector is a block of key stream.
 *
 * Lanes without a block compute along with whatever the first run put there, and nobody reads them.
 *
 * No branch and no address depends on key, stream or text.
 */
#include "crypto/salsa20_lanes.h"

#ifdef __x86_64__
#include "core/endian.h"

#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512vl,avx512bw")))
#define INLINE TARGET inline __attribute__((always_inline))

_Static_assert((int)SALSA20_LANES_AVX512 == (int)SALSA20_LANES_MAX, "a row is a vector");

/* Turns over four registers of four words a lane into whole blocks of lanes i, i + 4, i + 8, i + 12. */
static INLINE void store_blocks(
	struct salsa20_state *state, size_t i, __m512i a, __m512i b, __m512i c, __m512i d)
{
	__m512i even_ab = _mm512_shuffle_i32x4(a, b, 0x88);
	__m512i even_cd = _mm512_shuffle_i32x4(c, d, 0x88);
	__m512i odd_ab = _mm512_shuffle_i32x4(a, b, 0xdd);
	__m512i odd_cd = _mm512_shuffle_i32x4(c, d, 0xdd);

	_mm512_store_si512(state->words[i], _mm512_shuffle_i32x4(even_ab, even_cd, 0x88));
	_mm512_store_si512(state->words[i + 4], _mm512_shuffle_i32x4(odd_ab, odd_cd, 0x88));
	_mm512_store_si512(state->words[i + 8], _mm512_shuffle_i32x4(even_ab, even_cd, 0xdd));
	_mm512_store_si512(state->words[i + 12], _mm512_shuffle_i32x4(odd_ab, odd_cd, 0xdd));
}

/* Makes the blocks of key stream: row `lane` is the block of that lane. */
static TARGET void make_stream(
	struct salsa20_state *state, const struct salsa20_run *runs, size_t count)
{
	const __m512i counting =
		_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
	__m512i x[16], y[16];
	size_t lane = 0;

#define CLEAR(w) x[w] = _mm512_setzero_si512()
	SALSA20_EACH_VARIED(CLEAR);
#undef CLEAR
	/* Each run fills the vectors from its first lane to the end; the next overwrites what is its
	 * own. */
	for (const struct salsa20_run *run = runs; run < runs + count; run++) {
		__mmask16 rest = (__mmask16)(0xffffu << lane);
#define FILL(w, from) x[w] = _mm512_mask_set1_epi32(x[w], rest, (int)load_le32(from))
		FILL(1, run->key);
		FILL(2, run->key + 4);
		FILL(3, run->key + 8);
		FILL(4, run->key + 12);
		FILL(6, run->nonce);
		FILL(7, run->nonce + 4);
		FILL(11, run->key + 16);
		FILL(12, run->key + 20);
		FILL(13, run->key + 24);
		FILL(14, run->key + 28);
#undef FILL
		x[8] = _mm512_mask_add_epi32(x[8], rest, counting,
			_mm512_set1_epi32((int)(run->block - (uint32_t)lane)));
		lane += (run->len + SALSA20_BLOCK_BYTES - 1) / SALSA20_BLOCK_BYTES;
	}
#define STORE(w) _mm512_store_si512(state->words[w], x[w])
	SALSA20_EACH_VARIED(STORE);
#undef STORE
	x[0] = _mm512_set1_epi32(SALSA20_WORD_0);
	x[5] = _mm512_set1_epi32(SALSA20_WORD_5);
	x[9] = _mm512_setzero_si512();
	x[10] = _mm512_set1_epi32(SALSA20_WORD_10);
	x[15] = _mm512_set1_epi32(SALSA20_WORD_15);

#define MIX(to, a, b, n) \
	x[to] = _mm512_xor_si512(x[to], _mm512_rol_epi32(_mm512_add_epi32(x[a], x[b]), n))
	for (int i = 0; i < 10; i++)
		SALSA20_DOUBLE_ROUND(MIX);
#undef MIX

#define ADD(w) x[w] = _mm512_add_epi32(x[w], _mm512_load_si512(state->words[w]))
	SALSA20_EACH_VARIED(ADD);
#undef ADD
	x[0] = _mm512_add_epi32(x[0], _mm512_set1_epi32(SALSA20_WORD_0));
	x[5] = _mm512_add_epi32(x[5], _mm512_set1_epi32(SALSA20_WORD_5));
	x[10] = _mm512_add_epi32(x[10], _mm512_set1_epi32(SALSA20_WORD_10));
	x[15] = _mm512_add_epi32(x[15], _mm512_set1_epi32(SALSA20_WORD_15));

	/* Four words of four lanes in each quarter of a register. */
#define PAIR(w)                                         \
	y[w] = _mm512_unpacklo_epi32(x[w], x[(w) + 1]), \
	y[(w) + 1] = _mm512_unpackhi_epi32(x[w], x[(w) + 1])
	PAIR(0), PAIR(2), PAIR(4), PAIR(6), PAIR(8), PAIR(10), PAIR(12), PAIR(14);
#undef PAIR
#define QUAD(w)                                                     \
	x[w] = _mm512_unpacklo_epi64(y[w], y[(w) + 2]),             \
	x[(w) + 1] = _mm512_unpackhi_epi64(y[w], y[(w) + 2]),       \
	x[(w) + 2] = _mm512_unpacklo_epi64(y[(w) + 1], y[(w) + 3]), \
	x[(w) + 3] = _mm512_unpackhi_epi64(y[(w) + 1], y[(w) + 3])
	QUAD(0), QUAD(4), QUAD(8), QUAD(12);
#undef QUAD
	store_blocks(state, 0, x[0], x[4], x[8], x[12]);
	store_blocks(state, 1, x[1], x[5], x[9], x[13]);
	store_blocks(state, 2, x[2], x[6], x[10], x[14]);
	store_blocks(state, 3, x[3], x[7], x[11], x[15]);
}

static TARGET size_t use_stream(
	const struct salsa20_state *state, size_t lane, const struct salsa20_run *run)
{
	size_t at = 0;

	for (; at + SALSA20_BLOCK_BYTES <= run->len; at += SALSA20_BLOCK_BYTES) {
		__m512i block = _mm512_load_si512(state->words[lane++]);
		if (run->in)
			block = _mm512_xor_si512(block, _mm512_loadu_si512(run->in + at));
		_mm512_storeu_si512(run->out + at, block);
	}
	if (at < run->len) {
		__mmask64 rest = ~(__mmask64)0 >> (SALSA20_BLOCK_BYTES - (run->len - at));
		__m512i block = _mm512_load_si512(state->words[lane++]);
		if (run->in)
			block = _mm512_xor_si512(
				block, _mm512_maskz_loadu_epi8(rest, run->in + at));
		_mm512_mask_storeu_epi8(run->out + at, rest, block);
	}
	return lane;
}

TARGET void salsa20_avx512_pass(
	struct salsa20_state *state, const struct salsa20_run *runs, size_t count)
{
	size_t lane = 0;

	make_stream(state, runs, count);
	for (size_t i = 0; i < count; i++)
		lane = use_stream(state, lane, &runs[i]);
}
#endif
