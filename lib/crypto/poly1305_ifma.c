/*
 * Poly1305 in eight lanes of three limbs of 44, 44 and 42 bits, with AVX-512 and its 52-bit multiply-add.
 *
 * The instruction gives bits 0 .. 51 or bits 52 .. 103 of a product and adds them to 64 bits. With limbs of
 * 44 bits the lower part belongs to limb i + j and the upper part, 2^8 times, to limb i + j + 1. What runs
 * over the third limb stands at 2^132 = 4 * 2^130, and is 20 times less at 2^0: that is what s1 = 20 r1
 * and s2 = 20 r2 are for. From the second limb on to the third 44 bits are carried, out of the third 42.
 *
 * Bounds: after multiply() h0, h2 < 2^44 and h1 < 2^44 + 2^10; a block adds less than 2^44 to each: h < 2^46 and
 * r (carried, too) < 2^45, s < 2^50: within the 52 bits that are multiplied. Lower parts: three below 2^52.
 * Upper parts: three below 2^44, shifted by 8, or, in the third, where no s comes in, three below 2^39,
 * shifted by 10 and times 5. All of it is below 2^55.
 *
 * No branch and no address depends on key or text.
 */
#include "crypto/poly1305_lanes.h"

#ifdef __x86_64__
#include "core/endian.h"

#include <immintrin.h>
#include <stdbool.h>

#define TARGET __attribute__((target("avx512f,avx512vl,avx512bw,avx512ifma")))
#define INLINE TARGET inline __attribute__((always_inline))

enum {
	LANES = POLY1305_LANES_IFMA,
	GROUP_BYTES = LANES * POLY1305_BLOCK_BYTES,
	HALF_BYTES = GROUP_BYTES / 2,
};

#define MASK_44 ((1ll << 44) - 1)
#define MASK_42 ((1ll << 42) - 1)

struct number {
	__m512i a, b, c;
};

/* A number to multiply by. */
struct factor {
	__m512i a, b, c;
	__m512i b20, c20;
};

static INLINE __m512i times_5(__m512i x)
{
	return _mm512_add_epi64(x, _mm512_slli_epi64(x, 2));
}

static INLINE struct factor factor_of(struct number x)
{
	return (struct factor){x.a, x.b, x.c, _mm512_slli_epi64(times_5(x.b), 2),
		_mm512_slli_epi64(times_5(x.c), 2)};
}

#define LO(sum, x, y) sum = _mm512_madd52lo_epu64(sum, x, y)
#define HI(sum, x, y) sum = _mm512_madd52hi_epu64(sum, x, y)

static INLINE struct number multiply(struct number h, struct factor r)
{
	const __m512i mask_44 = _mm512_set1_epi64(MASK_44), mask_42 = _mm512_set1_epi64(MASK_42);
	const __m512i zero = _mm512_setzero_si512();
	__m512i a_lo = zero, b_lo = zero, c_lo = zero, a_hi = zero, b_hi = zero, c_hi = zero;

	/* The second limb last: the carry of the multiplication before reaches it last, by way of the
	 * first. */
	LO(a_lo, h.c, r.b20);
	HI(a_hi, h.c, r.b20);
	LO(b_lo, h.c, r.c20);
	HI(b_hi, h.c, r.c20);
	LO(c_lo, h.c, r.a);
	HI(c_hi, h.c, r.a);
	LO(a_lo, h.a, r.a);
	HI(a_hi, h.a, r.a);
	LO(b_lo, h.a, r.b);
	HI(b_hi, h.a, r.b);
	LO(c_lo, h.a, r.c);
	HI(c_hi, h.a, r.c);
	LO(a_lo, h.b, r.c20);
	HI(a_hi, h.b, r.c20);
	LO(b_lo, h.b, r.a);
	HI(b_hi, h.b, r.a);
	LO(c_lo, h.b, r.b);
	HI(c_hi, h.b, r.b);

	b_lo = _mm512_add_epi64(b_lo, _mm512_slli_epi64(a_hi, 8));
	c_lo = _mm512_add_epi64(c_lo, _mm512_slli_epi64(b_hi, 8));
	b_lo = _mm512_add_epi64(b_lo, _mm512_srli_epi64(a_lo, 44));
	c_lo = _mm512_add_epi64(c_lo, _mm512_srli_epi64(b_lo, 44));
	__m512i over = _mm512_add_epi64(_mm512_slli_epi64(c_hi, 10), _mm512_srli_epi64(c_lo, 42));
	struct number sum;
	sum.a = _mm512_add_epi64(_mm512_and_si512(a_lo, mask_44), times_5(over));
	sum.b = _mm512_add_epi64(_mm512_and_si512(b_lo, mask_44), _mm512_srli_epi64(sum.a, 44));
	sum.a = _mm512_and_si512(sum.a, mask_44);
	sum.c = _mm512_and_si512(c_lo, mask_42);
	return sum;
}

static INLINE struct number limbs_of(__m512i lo, __m512i hi)
{
	const __m512i mask_44 = _mm512_set1_epi64(MASK_44);

	return (struct number){
		_mm512_and_si512(lo, mask_44),
		_mm512_and_si512(
			_mm512_or_si512(_mm512_srli_epi64(lo, 44), _mm512_slli_epi64(hi, 20)),
			mask_44),
		_mm512_srli_epi64(hi, 24),
	};
}

static INLINE struct number add(struct number x, struct number y)
{
	return (struct number){
		_mm512_add_epi64(x.a, y.a), _mm512_add_epi64(x.b, y.b), _mm512_add_epi64(x.c, y.c)};
}

/* Turns over a matrix of 8 x 8. */
static INLINE void turn(__m512i x[8])
{
	__m512i y[8], z[8];

#define PAIR(i)                                         \
	y[i] = _mm512_unpacklo_epi64(x[i], x[(i) + 1]); \
	y[(i) + 1] = _mm512_unpackhi_epi64(x[i], x[(i) + 1])
	PAIR(0);
	PAIR(2);
	PAIR(4);
	PAIR(6);
#undef PAIR
	/* y[0], y[1]: columns 0, 2, 4, 6 and 1, 3, 5, 7 of rows 0 and 1, a quarter each. */
#define QUAD(i, j)                                                       \
	z[i] = _mm512_shuffle_i64x2(y[j], y[(j) + 2], 0x88);             \
	z[(i) + 1] = _mm512_shuffle_i64x2(y[(j) + 4], y[(j) + 6], 0x88); \
	z[(i) + 2] = _mm512_shuffle_i64x2(y[j], y[(j) + 2], 0xdd);       \
	z[(i) + 3] = _mm512_shuffle_i64x2(y[(j) + 4], y[(j) + 6], 0xdd)
	QUAD(0, 0);
	QUAD(4, 1);
#undef QUAD
	x[0] = _mm512_shuffle_i64x2(z[0], z[1], 0x88);
	x[4] = _mm512_shuffle_i64x2(z[0], z[1], 0xdd);
	x[2] = _mm512_shuffle_i64x2(z[2], z[3], 0x88);
	x[6] = _mm512_shuffle_i64x2(z[2], z[3], 0xdd);
	x[1] = _mm512_shuffle_i64x2(z[4], z[5], 0x88);
	x[5] = _mm512_shuffle_i64x2(z[4], z[5], 0xdd);
	x[3] = _mm512_shuffle_i64x2(z[6], z[7], 0x88);
	x[7] = _mm512_shuffle_i64x2(z[6], z[7], 0xdd);
}

/* ---- powers: a lane is a message --------------------------------------------------------------------------------- */

static TARGET void load_keys(
	union poly1305_state *state, const struct poly1305_message *messages, size_t count)
{
	for (size_t i = 0; i < LANES; i++) {
		/* A lane without a message computes with the last one's key. */
		const uint8_t *key = messages[i < count ? i : count - 1].key;
		for (size_t w = 0; w < 4; w++)
			state->ifma.keys[w][i] = load_le64(key + 8 * w);
	}
}

/* The lanes of a group of blocks hold its blocks 0 4 1 5 2 6 3 7, as they fall out of the unpacking; so
 * that is the order of the powers: 8 4 7 3 6 2 5 1. */
static INLINE void turn_powers(uint64_t rows[8][8], const __m512i power[9])
{
	__m512i x[8] = {
		power[8], power[4], power[7], power[3], power[6], power[2], power[5], power[1]};

	turn(x);
#define STORE(i) _mm512_store_si512(rows[i], x[i])
	STORE(0), STORE(1), STORE(2), STORE(3), STORE(4), STORE(5), STORE(6), STORE(7);
#undef STORE
}

static INLINE void store_step(uint64_t step[3][8], struct number power)
{
	_mm512_store_si512(step[0], power.a);
	_mm512_store_si512(step[1], power.b);
	_mm512_store_si512(step[2], power.c);
}

static TARGET void make_powers(union poly1305_state *state)
{
	__m512i lo = _mm512_and_si512(
		_mm512_load_si512(state->ifma.keys[0]), _mm512_set1_epi64(0x0ffffffc0fffffff));
	__m512i hi = _mm512_and_si512(
		_mm512_load_si512(state->ifma.keys[1]), _mm512_set1_epi64(0x0ffffffc0ffffffc));
	struct number r1 = limbs_of(lo, hi);
	struct factor by_1 = factor_of(r1);
	struct number r2 = multiply(r1, by_1);
	struct number r3 = multiply(r2, by_1);
	struct number r4 = multiply(r2, factor_of(r2));
	struct factor by_4 = factor_of(r4);
	struct number r5 = multiply(r1, by_4);
	struct number r6 = multiply(r2, by_4);
	struct number r7 = multiply(r3, by_4);
	struct number r8 = multiply(r4, by_4);
	struct number r16 = multiply(r8, factor_of(r8));

	store_step(state->ifma.step[0], r8);
	store_step(state->ifma.step[1], r16);
	turn_powers(state->ifma.rows[0],
		(__m512i[9]){lo, r1.a, r2.a, r3.a, r4.a, r5.a, r6.a, r7.a, r8.a});
	turn_powers(state->ifma.rows[1],
		(__m512i[9]){lo, r1.b, r2.b, r3.b, r4.b, r5.b, r6.b, r7.b, r8.b});
	turn_powers(state->ifma.rows[2],
		(__m512i[9]){lo, r1.c, r2.c, r3.c, r4.c, r5.c, r6.c, r7.c, r8.c});
}

/* ---- sums: a lane is every eighth block of a message ------------------------------------------------------------- */

/* @ones  2^128, as it stands in the third limb, for the blocks that are there and whole */
static INLINE struct number group_of(__m512i first, __m512i second, __m512i ones)
{
	struct number group = limbs_of(
		_mm512_unpacklo_epi64(first, second), _mm512_unpackhi_epi64(first, second));

	group.c = _mm512_or_si512(group.c, ones);
	return group;
}

/* The bytes of `body` from `at` on, which may be before its begin, as far as it has them. */
static INLINE __m512i load_half(const uint8_t *body, ptrdiff_t at, ptrdiff_t len)
{
	ptrdiff_t skip = at < 0 ? -at : 0;
	ptrdiff_t end = len - at < HALF_BYTES ? len - at : HALF_BYTES;

	if (skip >= end)
		return _mm512_setzero_si512();
	__mmask64 there = ~(__mmask64)0 << skip & ~(__mmask64)0 >> (HALF_BYTES - end);
	/* What the mask leaves out is not read; so it is a number here and no pointer. */
	return _mm512_maskz_loadu_epi8(there, (const void *)((uintptr_t)body + (uintptr_t)at));
}

/* The first or last group of a message, or the only one. */
static TARGET struct number load_edge(
	const struct poly1305_message *m, ptrdiff_t at, bool is_first, bool is_last)
{
	ptrdiff_t len = (ptrdiff_t)m->len;
	__m512i first = load_half(m->body, at, len);
	__m512i second = load_half(m->body, at + HALF_BYTES, len);
	__mmask8 whole = 0xff;

	if (is_first) {
		int64_t lead = -at / POLY1305_BLOCK_BYTES - 1; /* the block that is the head */
		const __m512i order = _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0);
		const __m512i pairs = _mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0);
		__m512i head = _mm512_broadcast_i32x4(
			_mm_loadu_si128((const __m128i *)(const void *)m->head));
		first = _mm512_mask_mov_epi64(
			first, _mm512_cmpeq_epi64_mask(pairs, _mm512_set1_epi64(lead)), head);
		second = _mm512_mask_mov_epi64(
			second, _mm512_cmpeq_epi64_mask(pairs, _mm512_set1_epi64(lead - 4)), head);
		whole = _mm512_cmpge_epi64_mask(order, _mm512_set1_epi64(lead));
	}
	size_t rest = m->len % POLY1305_BLOCK_BYTES;
	if (is_last && rest != 0) {
		second = _mm512_mask_mov_epi8(second,
			(__mmask64)1 << (HALF_BYTES - POLY1305_BLOCK_BYTES + (int)rest),
			_mm512_set1_epi8(1));
		whole &= 0x7f;
	}
	return group_of(first, second, _mm512_maskz_set1_epi64(whole, 1ll << 40));
}

static INLINE struct factor step_of(const uint64_t step[3][8], size_t i)
{
	return factor_of((struct number){_mm512_set1_epi64((long long)step[0][i]),
		_mm512_set1_epi64((long long)step[1][i]),
		_mm512_set1_epi64((long long)step[2][i])});
}

static INLINE struct number add_group(struct number sum, const uint8_t *bytes)
{
	return add(sum, group_of(_mm512_loadu_si512(bytes), _mm512_loadu_si512(bytes + HALF_BYTES),
				_mm512_set1_epi64(1ll << 40)));
}

/* Leaves the sums of the lanes of message i where its powers stood. The groups in the middle go two at a
 * time into two sums, so that the CPU need not wait for one multiplication to begin the next. */
static TARGET void sum_message(
	union poly1305_state *state, size_t i, const struct poly1305_message *m)
{
	size_t blocks = 1 + (m->len + POLY1305_BLOCK_BYTES - 1) / POLY1305_BLOCK_BYTES;
	size_t groups = (blocks + LANES - 1) / LANES;
	size_t lead = groups * LANES - blocks;
	ptrdiff_t at = -(ptrdiff_t)((lead + 1) * POLY1305_BLOCK_BYTES);
	struct factor step = step_of(state->ifma.step[0], i);
	struct number sum = load_edge(m, at, true, groups == 1);
	size_t left = groups - 1;

	at += GROUP_BYTES;
	if (left > 2) {
		struct factor two_steps = step_of(state->ifma.step[1], i);
		struct number before =
			add_group((struct number){_mm512_setzero_si512(), _mm512_setzero_si512(),
					  _mm512_setzero_si512()},
				m->body + at);
		sum = add_group(multiply(sum, two_steps), m->body + at + GROUP_BYTES);
		for (left -= 2, at += 2 * GROUP_BYTES; left > 2; left -= 2, at += 2 * GROUP_BYTES) {
			before = add_group(multiply(before, two_steps), m->body + at);
			sum = add_group(multiply(sum, two_steps), m->body + at + GROUP_BYTES);
		}
		sum = add(sum, multiply(before, step));
	}
	for (; left > 1; left--, at += GROUP_BYTES)
		sum = add_group(multiply(sum, step), m->body + at);
	if (left > 0)
		sum = add(multiply(sum, step), load_edge(m, at, false, true));
	struct number powers = {
		_mm512_load_si512(state->ifma.rows[0][i]),
		_mm512_load_si512(state->ifma.rows[1][i]),
		_mm512_load_si512(state->ifma.rows[2][i]),
	};
	sum = multiply(sum, factor_of(powers));
	_mm512_store_si512(state->ifma.rows[0][i], sum.a);
	_mm512_store_si512(state->ifma.rows[1][i], sum.b);
	_mm512_store_si512(state->ifma.rows[2][i], sum.c);
}

/* ---- tags: a lane is a message again ----------------------------------------------------------------------------- */

static INLINE __m512i sum_lanes(uint64_t rows[8][8])
{
#define LOAD(i) _mm512_load_si512(rows[i])
	__m512i x[8] = {LOAD(0), LOAD(1), LOAD(2), LOAD(3), LOAD(4), LOAD(5), LOAD(6), LOAD(7)};
#undef LOAD

	turn(x);
	__m512i even = _mm512_add_epi64(_mm512_add_epi64(x[0], x[2]), _mm512_add_epi64(x[4], x[6]));
	__m512i odd = _mm512_add_epi64(_mm512_add_epi64(x[1], x[3]), _mm512_add_epi64(x[5], x[7]));
	return _mm512_add_epi64(even, odd);
}

static INLINE void carry_44(__m512i *from, __m512i *to)
{
	*to = _mm512_add_epi64(*to, _mm512_srli_epi64(*from, 44));
	*from = _mm512_and_si512(*from, _mm512_set1_epi64(MASK_44));
}

/* Reduces completely, adds s, and leaves the tags in keys[0] and keys[1]. */
static TARGET void finish(union poly1305_state *state)
{
	struct number h = {sum_lanes(state->ifma.rows[0]), sum_lanes(state->ifma.rows[1]),
		sum_lanes(state->ifma.rows[2])};

	/* Twice around. What comes around the second time finds the first limb small: to get as far as there
	 * all limbs had to be full, and the first one with it. */
	for (int i = 0; i < 2; i++) {
		carry_44(&h.a, &h.b);
		carry_44(&h.b, &h.c);
		h.a = _mm512_add_epi64(h.a, times_5(_mm512_srli_epi64(h.c, 42)));
		h.c = _mm512_and_si512(h.c, _mm512_set1_epi64(MASK_42));
	}

	/* h is now below 2^130. It is at least 2^130 - 5 if h + 5 reaches 2^130. */
	struct number g = {_mm512_add_epi64(h.a, _mm512_set1_epi64(5)), h.b, h.c};
	carry_44(&g.a, &g.b);
	carry_44(&g.b, &g.c);
	__mmask8 reached = _mm512_cmpgt_epu64_mask(g.c, _mm512_set1_epi64(MASK_42));
	h.a = _mm512_mask_mov_epi64(h.a, reached, g.a);
	h.b = _mm512_mask_mov_epi64(h.b, reached, g.b);
	h.c = _mm512_mask_mov_epi64(h.c, reached, g.c);

	__m512i s_lo = _mm512_load_si512(state->ifma.keys[2]);
	__m512i s_hi = _mm512_load_si512(state->ifma.keys[3]);
	__m512i lo = _mm512_or_si512(h.a, _mm512_slli_epi64(h.b, 44));
	__m512i hi = _mm512_or_si512(_mm512_srli_epi64(h.b, 20), _mm512_slli_epi64(h.c, 24));
	lo = _mm512_add_epi64(lo, s_lo);
	hi = _mm512_add_epi64(hi, s_hi);
	hi = _mm512_mask_add_epi64(hi, _mm512_cmplt_epu64_mask(lo, s_lo), hi, _mm512_set1_epi64(1));
	_mm512_store_si512(state->ifma.keys[0], lo);
	_mm512_store_si512(state->ifma.keys[1], hi);
}

TARGET void poly1305_ifma_tags(
	union poly1305_state *state, const struct poly1305_message *messages, size_t count)
{
	load_keys(state, messages, count);
	make_powers(state);
	for (size_t i = 0; i < count; i++)
		sum_message(state, i, &messages[i]);
	finish(state);
	for (size_t i = 0; i < count; i++) {
		store_le64(messages[i].tag, state->ifma.keys[0][i]);
		store_le64(messages[i].tag + 8, state->ifma.keys[1][i]);
	}
}
#endif
