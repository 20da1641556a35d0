/*
 * Salsa20 on many blocks at once: a vector holds the same word of as many blocks as it has lanes.
 *
 * The lanes need not belong together: each run of blocks has its own key, nonce and place. So a pass is
 * full whether it is given one long datagram or many short ones.
 *
 * What is compiled here must only be called on a CPU that has the instructions; seal_engine.h chooses.
 *
 * Source: Bernstein, "The Salsa20 family of stream ciphers"; the stream with a 64-bit nonce and a 64-bit
 * block number, of which the upper half is 0 here.
 */
#ifndef CRYPTO_SALSA20_LANES_H
#define CRYPTO_SALSA20_LANES_H

#include <stddef.h>
#include <stdint.h>

enum {
	SALSA20_KEY_BYTES = 32,
	SALSA20_NONCE_BYTES = 8,
	SALSA20_BLOCK_BYTES = 64,
	SALSA20_LANES_MAX = 16,
	SALSA20_LANES_AVX512 = 16,
	SALSA20_LANES_AVX2 = 8,
};

/* Consecutive blocks of one key stream: (len + 63) / 64 of them. */
struct salsa20_run {
	const uint8_t *key;   /* SALSA20_KEY_BYTES */
	const uint8_t *nonce; /* SALSA20_NONCE_BYTES */
	const uint8_t *in; /* `len` bytes to combine with the stream; NULL for the stream itself */
	uint8_t *out;	   /* `len` bytes: `in` itself, or memory apart from it */
	size_t len;	   /* 1 or more */
	uint32_t block;	   /* number of the first block */
};

/* Where a pass works: key and stream stand here until the caller wipes it. */
struct salsa20_state {
	_Alignas(64) uint32_t words[16][SALSA20_LANES_MAX];
};

/**
 * One pass over up to SALSA20_LANES_AVX512 (or _AVX2) blocks.
 *
 * @runs  at least one; together no more blocks than the pass has lanes. Where one writes, no other
 *        reads or writes. Nothing outside the `len` bytes of a run is touched.
 */
void salsa20_avx512_pass(struct salsa20_state *state, const struct salsa20_run *runs, size_t count);
void salsa20_avx2_pass(struct salsa20_state *state, const struct salsa20_run *runs, size_t count);

/* The first four words of "expand 32-byte k": words 0, 5, 10 and 15. */
enum {
	SALSA20_WORD_0 = 0x61707865,
	SALSA20_WORD_5 = 0x3320646e,
	SALSA20_WORD_10 = 0x79622d32,
	SALSA20_WORD_15 = 0x6b206574,
};

/*
 * A column round and a row round. MIX(to, a, b, n) is x[to] ^= (x[a] + x[b]) <<< n. Two quarters of a round
 * go side by side, as the CPU likes; four would need more registers than AVX2 has.
 */
#define SALSA20_TWO_QUARTERS(MIX, a, b, c, d, e, f, g, h) \
	do {                                              \
		MIX(b, a, d, 7);                          \
		MIX(f, e, h, 7);                          \
		MIX(c, b, a, 9);                          \
		MIX(g, f, e, 9);                          \
		MIX(d, c, b, 13);                         \
		MIX(h, g, f, 13);                         \
		MIX(a, d, c, 18);                         \
		MIX(e, h, g, 18);                         \
	} while (0)

#define SALSA20_DOUBLE_ROUND(MIX)                                        \
	do {                                                             \
		SALSA20_TWO_QUARTERS(MIX, 0, 4, 8, 12, 5, 9, 13, 1);     \
		SALSA20_TWO_QUARTERS(MIX, 10, 14, 2, 6, 15, 3, 7, 11);   \
		SALSA20_TWO_QUARTERS(MIX, 0, 1, 2, 3, 5, 6, 7, 4);       \
		SALSA20_TWO_QUARTERS(MIX, 10, 11, 8, 9, 15, 12, 13, 14); \
	} while (0)

/* The words that differ between lanes: eight of key, two of nonce, the lower half of the block number.
 * The other half is 0. */
#define SALSA20_EACH_VARIED(M) \
	do {                   \
		M(1);          \
		M(2);          \
		M(3);          \
		M(4);          \
		M(6);          \
		M(7);          \
		M(8);          \
		M(11);         \
		M(12);         \
		M(13);         \
		M(14);         \
	} while (0)

#endif
