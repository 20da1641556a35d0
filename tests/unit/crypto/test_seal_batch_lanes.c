/*
 * The vector code by itself: Poly1305 where carries are the longest, and runs of Salsa20 in every place of a pass. Random
 * datagrams do not come to the first in a lifetime, as their one-time keys are random.
 */
#include "crypto/poly1305_lanes.h"
#include "crypto/salsa20_lanes.h"
#include "crypto/seal_batch.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <string.h>

/* Elsewhere there is no vector code to test. */
#ifdef __x86_64__
struct poly1305_kind {
	enum seal_impl impl;
	size_t lanes;
	void (*tags)(
		union poly1305_state *state, const struct poly1305_message *messages, size_t count);
};

struct salsa20_kind {
	enum seal_impl impl;
	size_t lanes;
	void (*pass)(struct salsa20_state *state, const struct salsa20_run *runs, size_t count);
};

static const struct poly1305_kind poly1305_kinds[] = {
	{SEAL_IMPL_AVX2, POLY1305_LANES_AVX2, poly1305_avx2_tags},
	{SEAL_IMPL_AVX512, POLY1305_LANES_IFMA, poly1305_ifma_tags},
};

static const struct salsa20_kind salsa20_kinds[] = {
	{SEAL_IMPL_AVX2, SALSA20_LANES_AVX2, salsa20_avx2_pass},
	{SEAL_IMPL_AVX512, SALSA20_LANES_AVX512, salsa20_avx512_pass},
};

enum {
	KINDS = 2,
	LEN_MAX = 700,
	ROUNDS = 3000,
};

static uint64_t seed = 1;

static uint64_t random_64(void)
{
	uint64_t z = seed += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static void random_fill(uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)random_64();
}

/* Bytes that are mostly 0x00 or 0xff, or all of them. */
static void extreme_fill(uint8_t *bytes, size_t len)
{
	uint64_t kind = random_64() % 4;

	for (size_t i = 0; i < len; i++)
		bytes[i] = kind == 0 || (kind == 1 && random_64() % 16) ? 0xff
			   : kind == 2 && random_64() % 16		? 0x00
									: (uint8_t)random_64();
}

static void check_messages(const struct poly1305_kind *kind, const uint8_t keys[][32],
	const uint8_t texts[][16 + LEN_MAX], const size_t *lens, size_t count)
{
	struct poly1305_message messages[POLY1305_LANES_IFMA] = {{0}};
	uint8_t tags[POLY1305_LANES_IFMA][16], want[16];
	union poly1305_state state;

	for (size_t i = 0; i < count; i++)
		messages[i] = (struct poly1305_message){
			keys[i], texts[i], texts[i] + 16, lens[i], tags[i]};
	kind->tags(&state, messages, count);
	for (size_t i = 0; i < count; i++) {
		crypto_onetimeauth_poly1305(want, texts[i], 16 + lens[i], keys[i]);
		cr_assert_eq(memcmp(tags[i], want, 16), 0, "%s: %zu of %zu, %zu bytes",
			seal_impl_name(kind->impl), i, count, lens[i]);
	}
}

Test(seal_batch_lanes, poly1305_with_the_largest_numbers)
{
	static uint8_t keys[POLY1305_LANES_IFMA][32], texts[POLY1305_LANES_IFMA][16 + LEN_MAX];
	size_t lens[POLY1305_LANES_IFMA];

	cr_assert(sodium_init() >= 0);
	for (size_t k = 0; k < KINDS; k++)
		for (size_t round = 0;
			round < ROUNDS && seal_batch_supported(poly1305_kinds[k].impl); round++) {
			for (size_t i = 0; i < POLY1305_LANES_IFMA; i++) {
				extreme_fill(keys[i], 32);
				extreme_fill(texts[i], sizeof(texts[i]));
				lens[i] = random_64() % (LEN_MAX + 1);
			}
			check_messages(&poly1305_kinds[k], keys, texts, lens,
				1 + round % poly1305_kinds[k].lanes);
		}
}

/* With r = 1 the sum of the blocks is the tag: sums just below, at and just above 2^130 - 5 and its multiples. */
Test(seal_batch_lanes, poly1305_around_the_modulus)
{
	static uint8_t keys[1][32], texts[1][16 + LEN_MAX];

	cr_assert(sodium_init() >= 0);
	for (size_t k = 0; k < KINDS; k++)
		for (size_t len = 0; len <= 320; len += 16)
			for (unsigned first = 0;
				first < 256 && seal_batch_supported(poly1305_kinds[k].impl);
				first++)
				for (unsigned s = 0; s < 2; s++) {
					memset(keys[0], s ? 0xff : 0, 32);
					memset(keys[0], 0, 16);
					keys[0][0] = 1;
					memset(texts[0], 0xff, sizeof(texts[0]));
					texts[0][0] = (uint8_t)first;
					check_messages(&poly1305_kinds[k], keys, texts, &len, 1);
				}
}

/* Random runs, until the lanes of a pass are used up or not. */
static void check_pass(const struct salsa20_kind *kind)
{
	static uint8_t keys[SALSA20_LANES_MAX][32], nonces[SALSA20_LANES_MAX][8];
	static uint8_t in[SALSA20_LANES_MAX][1024], out[SALSA20_LANES_MAX][1024 + 1], want[1024];
	struct salsa20_run runs[SALSA20_LANES_MAX];
	struct salsa20_state state;
	size_t lanes = 1 + random_64() % kind->lanes, count = 0;

	random_fill(keys[0], sizeof(keys));
	random_fill(nonces[0], sizeof(nonces));
	memset(out, 0x5a, sizeof(out));
	while (lanes > 0) {
		size_t some = 1 + random_64() % (random_64() % 2 ? lanes : 1);
		runs[count] = (struct salsa20_run){
			.key = keys[count],
			.nonce = nonces[count],
			.in = random_64() % 4 ? in[count] : NULL,
			.out = out[count],
			.len = some * 64 - random_64() % (random_64() % 2 ? 64 : 1),
			.block = (uint32_t)random_64() >> random_64() % 32 >> 1,
		};
		random_fill(in[count], runs[count].len);
		lanes -= some;
		count++;
	}
	kind->pass(&state, runs, count);
	for (size_t i = 0; i < count; i++) {
		if (!runs[i].in)
			memset(in[i], 0, sizeof(in[i]));
		crypto_stream_salsa20_xor_ic(
			want, in[i], runs[i].len, runs[i].nonce, runs[i].block, runs[i].key);
		cr_assert_eq(memcmp(out[i], want, runs[i].len), 0,
			"%s: run %zu of %zu, %zu bytes, block %u", seal_impl_name(kind->impl), i,
			count, runs[i].len, runs[i].block);
		for (size_t at = runs[i].len; at < sizeof(out[i]); at++)
			cr_assert_eq(out[i][at], 0x5a);
	}
}

Test(seal_batch_lanes, salsa20_in_every_place_of_a_pass)
{
	cr_assert(sodium_init() >= 0);
	for (size_t k = 0; k < KINDS; k++)
		for (size_t round = 0;
			round < ROUNDS && seal_batch_supported(salsa20_kinds[k].impl); round++)
			check_pass(&salsa20_kinds[k]);
}
#endif
