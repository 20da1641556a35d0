/*
 * Poly1305 in four lanes of five limbs of 26 bits, with AVX2 and its multiplication of 32 by 32 bits.
 *
 * What runs over the fifth limb stands at 2^130 and is five times as much at 2^0.
 *
 * Bounds: after multiply() limbs are below 2^26 + 2^10, and so are those of r; a block adds less than 2^26.
 * h < 2^27 + 2^10 and 5 r < 2^28.4 fit the 32 bits that are multiplied, and five products stay below 2^58.
 *
 * Groups are of four blocks; the first and the last are put together in memory, as AVX2 cannot load bytes
 * by a mask. The end, once a message, is scalar.
 *
 * No branch and no address depends on key or text.
 */
#include "crypto/poly1305_lanes.h"

#ifdef __x86_64__
#include "core/endian.h"

#include <immintrin.h>
#include <stdbool.h>

#define TARGET __attribute__((target("avx2")))
#define INLINE TARGET inline __attribute__((always_inline))

enum {
	LANES = POLY1305_LANES_AVX2,
	LIMBS = 5,
	GROUP_BYTES = LANES * POLY1305_BLOCK_BYTES,
	MASK_26 = (1 << 26) - 1,
	ONE = 1 << 24, /* 2^128, as it stands in the fifth limb */
};

struct number {
	__m256i a, b, c, d, e;
};

/* A number to multiply by, and five times its limbs. */
struct factor {
	__m256i a, b, c, d, e;
	__m256i b5, c5, d5, e5;
};

static INLINE __m256i times_5(__m256i x)
{
	return _mm256_add_epi64(x, _mm256_slli_epi64(x, 2));
}

static INLINE struct factor factor_of(struct number x)
{
	return (struct factor){
		x.a, x.b, x.c, x.d, x.e, times_5(x.b), times_5(x.c), times_5(x.d), times_5(x.e)};
}

static INLINE void carry(__m256i *from, __m256i *to)
{
	*to = _mm256_add_epi64(*to, _mm256_srli_epi64(*from, 26));
	*from = _mm256_and_si256(*from, _mm256_set1_epi64x(MASK_26));
}

static INLINE void carry_around(__m256i *from, __m256i *to)
{
	*to = _mm256_add_epi64(*to, times_5(_mm256_srli_epi64(*from, 26)));
	*from = _mm256_and_si256(*from, _mm256_set1_epi64x(MASK_26));
}

static INLINE __m256i products(
	__m256i a, __m256i b, __m256i c, __m256i d, __m256i e, struct number h)
{
	__m256i sum = _mm256_add_epi64(_mm256_mul_epu32(h.a, a), _mm256_mul_epu32(h.b, b));

	sum = _mm256_add_epi64(sum, _mm256_mul_epu32(h.c, c));
	sum = _mm256_add_epi64(sum, _mm256_mul_epu32(h.d, d));
	return _mm256_add_epi64(sum, _mm256_mul_epu32(h.e, e));
}

static INLINE struct number multiply(struct number h, struct factor r)
{
	struct number sum = {
		products(r.a, r.e5, r.d5, r.c5, r.b5, h),
		products(r.b, r.a, r.e5, r.d5, r.c5, h),
		products(r.c, r.b, r.a, r.e5, r.d5, h),
		products(r.d, r.c, r.b, r.a, r.e5, h),
		products(r.e, r.d, r.c, r.b, r.a, h),
	};

	/* Two chains side by side. */
	carry(&sum.a, &sum.b);
	carry(&sum.d, &sum.e);
	carry(&sum.b, &sum.c);
	carry_around(&sum.e, &sum.a);
	carry(&sum.c, &sum.d);
	carry(&sum.a, &sum.b);
	carry(&sum.d, &sum.e);
	return sum;
}

static INLINE struct number limbs_of(__m256i lo, __m256i hi)
{
	const __m256i mask = _mm256_set1_epi64x(MASK_26);
	__m256i middle = _mm256_or_si256(_mm256_srli_epi64(lo, 52), _mm256_slli_epi64(hi, 12));

	return (struct number){
		_mm256_and_si256(lo, mask),
		_mm256_and_si256(_mm256_srli_epi64(lo, 26), mask),
		_mm256_and_si256(middle, mask),
		_mm256_and_si256(_mm256_srli_epi64(hi, 14), mask),
		_mm256_srli_epi64(hi, 40),
	};
}

static INLINE __m256i load(const uint64_t at[4])
{
	return _mm256_load_si256((const __m256i *)(const void *)at);
}

static INLINE void store(uint64_t at[4], __m256i x)
{
	_mm256_store_si256((__m256i *)(void *)at, x);
}

static INLINE void turn(uint64_t rows[4][4], __m256i x0, __m256i x1, __m256i x2, __m256i x3)
{
	__m256i y0 = _mm256_unpacklo_epi64(x0, x1), y1 = _mm256_unpackhi_epi64(x0, x1);
	__m256i y2 = _mm256_unpacklo_epi64(x2, x3), y3 = _mm256_unpackhi_epi64(x2, x3);

	store(rows[0], _mm256_permute2x128_si256(y0, y2, 0x20));
	store(rows[1], _mm256_permute2x128_si256(y1, y3, 0x20));
	store(rows[2], _mm256_permute2x128_si256(y0, y2, 0x31));
	store(rows[3], _mm256_permute2x128_si256(y1, y3, 0x31));
}

/* ---- powers: a lane is a message --------------------------------------------------------------------------------- */

static INLINE void store_step(uint64_t step[LIMBS][4], struct number power)
{
	store(step[0], power.a);
	store(step[1], power.b);
	store(step[2], power.c);
	store(step[3], power.d);
	store(step[4], power.e);
}

static TARGET void make_powers(
	union poly1305_state *state, const struct poly1305_message *messages, size_t count)
{
	for (size_t i = 0; i < LANES; i++) {
		/* A lane without a message computes with the last one's key. */
		const uint8_t *key = messages[i < count ? i : count - 1].key;
		state->avx2.keys[0][i] = load_le64(key) & 0x0ffffffc0fffffff;
		state->avx2.keys[1][i] = load_le64(key + 8) & 0x0ffffffc0ffffffc;
	}
	struct number r1 = limbs_of(load(state->avx2.keys[0]), load(state->avx2.keys[1]));
	struct factor by_1 = factor_of(r1);
	struct number r2 = multiply(r1, by_1);
	struct number r3 = multiply(r2, by_1);
	struct number r4 = multiply(r2, factor_of(r2));

	store_step(state->avx2.step[0], r4);
	store_step(state->avx2.step[1], multiply(r4, factor_of(r4)));
	/* The lanes of a group hold its blocks 0 2 1 3, as they fall out of the unpacking. */
	turn(state->avx2.rows[0], r4.a, r2.a, r3.a, r1.a);
	turn(state->avx2.rows[1], r4.b, r2.b, r3.b, r1.b);
	turn(state->avx2.rows[2], r4.c, r2.c, r3.c, r1.c);
	turn(state->avx2.rows[3], r4.d, r2.d, r3.d, r1.d);
	turn(state->avx2.rows[4], r4.e, r2.e, r3.e, r1.e);
}

/* ---- sums: a lane is every fourth block of a message ------------------------------------------------------------- */

static INLINE struct number add_group(struct number sum, const uint8_t *bytes, __m256i ones)
{
	__m256i first = _mm256_loadu_si256((const __m256i *)(const void *)bytes);
	__m256i second =
		_mm256_loadu_si256((const __m256i *)(const void *)(bytes + GROUP_BYTES / 2));
	struct number group = limbs_of(
		_mm256_unpacklo_epi64(first, second), _mm256_unpackhi_epi64(first, second));

	return (struct number){
		_mm256_add_epi64(sum.a, group.a),
		_mm256_add_epi64(sum.b, group.b),
		_mm256_add_epi64(sum.c, group.c),
		_mm256_add_epi64(sum.d, group.d),
		_mm256_add_epi64(sum.e, _mm256_or_si256(group.e, ones)),
	};
}

static INLINE struct number zero(void)
{
	const __m256i no = _mm256_setzero_si256();

	return (struct number){no, no, no, no, no};
}

/* The first group of a message, or the only one: zeros, the head, and the body's beginning. */
static TARGET struct number first_group(const struct poly1305_message *m, size_t lead)
{
	size_t head = lead * POLY1305_BLOCK_BYTES;
	size_t body = head + POLY1305_BLOCK_BYTES;
	size_t room = GROUP_BYTES - body;
	size_t len = m->len < room ? m->len : room;
	const __m256i order = _mm256_set_epi64x(3, 1, 2, 0);
	__m256i there = _mm256_cmpgt_epi64(order, _mm256_set1_epi64x((long long)lead - 1));
	uint8_t group[GROUP_BYTES] = {0};

	memcpy(group + head, m->head, POLY1305_BLOCK_BYTES);
	if (len > 0)
		memcpy(group + body, m->body, len);
	if (len < room) {
		/* The body ends in this group, and not with a whole block. */
		group[body + len] = 1;
		there = _mm256_and_si256(there, _mm256_set_epi64x(0, -1, -1, -1));
	}
	return add_group(zero(), group, _mm256_and_si256(there, _mm256_set1_epi64x(ONE)));
}

/* The last group, when it is not the first. */
static TARGET struct number add_last_group(
	struct number sum, const struct poly1305_message *m, size_t at)
{
	size_t len = m->len - at;
	bool whole = len == GROUP_BYTES;
	uint8_t group[GROUP_BYTES + 1] = {0};

	memcpy(group, m->body + at, len);
	group[len] = 1; /* behind the end where the last block is whole */
	return add_group(sum, group, _mm256_set_epi64x(whole ? ONE : 0, ONE, ONE, ONE));
}

static INLINE __m256i repeat(uint64_t x)
{
	return _mm256_set1_epi64x((long long)x);
}

static INLINE struct factor step_of(const uint64_t step[LIMBS][4], size_t i)
{
	return factor_of((struct number){repeat(step[0][i]), repeat(step[1][i]), repeat(step[2][i]),
		repeat(step[3][i]), repeat(step[4][i])});
}

static INLINE struct number add(struct number x, struct number y)
{
	return (struct number){_mm256_add_epi64(x.a, y.a), _mm256_add_epi64(x.b, y.b),
		_mm256_add_epi64(x.c, y.c), _mm256_add_epi64(x.d, y.d), _mm256_add_epi64(x.e, y.e)};
}

/* Leaves the sums of the lanes of message i where its powers stood. The groups in the middle go two at a
 * time into two sums, so that the CPU need not wait for one multiplication to begin the next. */
static TARGET void sum_message(
	union poly1305_state *state, size_t i, const struct poly1305_message *m)
{
	size_t blocks = 1 + (m->len + POLY1305_BLOCK_BYTES - 1) / POLY1305_BLOCK_BYTES;
	size_t groups = (blocks + LANES - 1) / LANES;
	size_t lead = groups * LANES - blocks;
	size_t at = GROUP_BYTES - (lead + 1) * POLY1305_BLOCK_BYTES;
	const __m256i ones = _mm256_set1_epi64x(ONE);
	struct factor step = step_of(state->avx2.step[0], i);
	struct number sum = first_group(m, lead);
	size_t left = groups - 1;

	if (left > 2) {
		struct factor two_steps = step_of(state->avx2.step[1], i);
		struct number before = add_group(zero(), m->body + at, ones);
		sum = add_group(multiply(sum, two_steps), m->body + at + GROUP_BYTES, ones);
		for (left -= 2, at += 2 * GROUP_BYTES; left > 2; left -= 2, at += 2 * GROUP_BYTES) {
			before = add_group(multiply(before, two_steps), m->body + at, ones);
			sum = add_group(multiply(sum, two_steps), m->body + at + GROUP_BYTES, ones);
		}
		sum = add(sum, multiply(before, step));
	}
	for (; left > 1; left--, at += GROUP_BYTES)
		sum = add_group(multiply(sum, step), m->body + at, ones);
	if (left > 0)
		sum = add_last_group(multiply(sum, step), m, at);
	sum = multiply(sum, factor_of((struct number){load(state->avx2.rows[0][i]),
				    load(state->avx2.rows[1][i]), load(state->avx2.rows[2][i]),
				    load(state->avx2.rows[3][i]), load(state->avx2.rows[4][i])}));
	store(state->avx2.rows[0][i], sum.a);
	store(state->avx2.rows[1][i], sum.b);
	store(state->avx2.rows[2][i], sum.c);
	store(state->avx2.rows[3][i], sum.d);
	store(state->avx2.rows[4][i], sum.e);
}

/* ---- tags -------------------------------------------------------------------------------------------------------- */

/* Carries once around and leaves the first limb as it comes out. */
static inline void carry_limbs(uint64_t h[LIMBS])
{
	for (size_t k = 0; k + 1 < LIMBS; k++) {
		h[k + 1] += h[k] >> 26;
		h[k] &= MASK_26;
	}
	h[0] += 5 * (h[4] >> 26);
	h[4] &= MASK_26;
}

static void finish(const union poly1305_state *state, size_t i, const struct poly1305_message *m)
{
	uint64_t h[LIMBS], g[LIMBS];

	for (size_t k = 0; k < LIMBS; k++) {
		const uint64_t *lanes = state->avx2.rows[k][i];
		h[k] = lanes[0] + lanes[1] + lanes[2] + lanes[3];
	}
	/* Twice around. What comes around the second time finds the first limb small: to get as far as there
	 * all limbs had to be full, and the first one with it. */
	carry_limbs(h);
	carry_limbs(h);

	/* h is now below 2^130. It is at least 2^130 - 5 if h + 5 reaches 2^130. */
	uint64_t over = 5;
	for (size_t k = 0; k < LIMBS; k++) {
		g[k] = h[k] + over;
		over = g[k] >> 26;
		g[k] &= MASK_26;
	}
	uint64_t reached = 0 - over; /* all bits or none */
	for (size_t k = 0; k < LIMBS; k++)
		h[k] = (h[k] & ~reached) | (g[k] & reached);

	uint64_t s = load_le64(m->key + 16);
	uint64_t lo = (h[0] | h[1] << 26 | h[2] << 52) + s;
	uint64_t hi = (h[2] >> 12 | h[3] << 14 | h[4] << 40) + load_le64(m->key + 24) + (lo < s);
	store_le64(m->tag, lo);
	store_le64(m->tag + 8, hi);
}

TARGET void poly1305_avx2_tags(
	union poly1305_state *state, const struct poly1305_message *messages, size_t count)
{
	make_powers(state, messages, count);
	for (size_t i = 0; i < count; i++)
		sum_message(state, i, &messages[i]);
	for (size_t i = 0; i < count; i++)
		finish(state, i, &messages[i]);
}
#endif
