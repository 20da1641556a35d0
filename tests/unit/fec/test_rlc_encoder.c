#include "core/endian.h"
#include "core/pool.h"
#include "fec/rlc_encoder.h"
#include "fec_twin.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { SEGMENTS = 1408, AGE_US = 100000 };

static struct pool pool;
static struct rlc_encoder enc;
static uint8_t out[RLC_REPAIR_BYTES(SEGMENTS)];

static void setup(void)
{
	pool_init(&pool, RLC_SLOT_BYTES(SEGMENTS), 1000);
	rlc_encoder_init(&enc, 8, AGE_US, &pool);
}

static void teardown(void)
{
	rlc_encoder_fini(&enc);
	cr_assert_eq(pool.slots_used, 0);
	pool_fini(&pool);
}

TestSuite(rlc_encoder, .init = setup, .fini = teardown);

static uint32_t push(uint64_t pn, uint8_t fill, size_t len, int64_t ms)
{
	uint8_t segments[SEGMENTS];
	uint32_t cidx = 0;

	memset(segments, fill, sizeof(segments));
	cr_assert(rlc_encoder_push(&enc, pn, segments, len, mono_at_ms(ms), &cidx));
	return cidx;
}

static size_t repair(unsigned window, size_t room, int64_t ms)
{
	return rlc_encoder_repair(&enc, RLC_KIND_THIN_REPAIR, window, out, room, mono_at_ms(ms));
}

/* PROTOCOL.md, section 15 */
Test(rlc_encoder, known_answer)
{
	static const uint8_t want[] = {0x04, 0xff, 0xff, 0xff, 0x01, 0, 0, 0, 2, 0, 0x9d, 0, 0, 0,
		0xe0, 0, 0x6d, 0xb0, 0xca, 0x17, 0x3e, 0xe3, 0x99, 0x44, 0xcb, 0x16, 0x6c, 0xb1,
		0x98, 0x45, 0x3f, 0xe2, 0x3c, 0xe1, 0x9b, 0x46, 0x6f, 0xb2, 0xc8, 0x15, 0x1f, 0xd3,
		0x9a, 0x56};
	uint8_t a[24], b[28];
	uint32_t cidx;

	for (uint8_t i = 0; i < sizeof(a); i++)
		a[i] = i;
	for (uint8_t i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)(0x40 + i);
	enc.next_cidx = 0xffffff;
	enc.next_id = 1;
	cr_assert(rlc_encoder_push(&enc, 0x10, a, sizeof(a), mono_at_ms(0), &cidx));
	cr_assert_eq(cidx, 0xffffff);
	cr_assert(rlc_encoder_push(&enc, 0x11, b, sizeof(b), mono_at_ms(0), &cidx));
	cr_assert_eq(cidx, 0);
	size_t len =
		rlc_encoder_repair(&enc, RLC_KIND_BULK_REPAIR, 0, out, sizeof(out), mono_at_ms(0));
	cr_assert_eq(len, sizeof(want));
	cr_assert_arr_eq(out, want, sizeof(want));
}

/* Each byte of many repairs, recomputed by hand from the sources. */
Test(rlc_encoder, sums_the_newest_sources_of_any_length)
{
	enum { COUNT = 200 };
	static uint8_t symbols[COUNT][RLC_SYMBOL_HEADER_BYTES + SEGMENTS];
	size_t lens[COUNT];

	srand(3);
	for (unsigned n = 0; n < COUNT; n++) {
		uint8_t *segments = symbols[n] + RLC_SYMBOL_HEADER_BYTES;
		size_t len = 24 + (size_t)rand() % (n % 3 ? 60 : SEGMENTS - 23);
		uint64_t pn = ((uint64_t)7 << 32) + n * 1000003ull;
		uint32_t cidx;
		for (size_t i = 0; i < len; i++)
			segments[i] = (uint8_t)rand();
		store_le32(symbols[n], (uint32_t)pn);
		store_le16(symbols[n] + 4, (uint16_t)len);
		lens[n] = len + RLC_SYMBOL_HEADER_BYTES;
		cr_assert(rlc_encoder_push(&enc, pn, segments, len, mono_at_ms(1), &cidx));
		cr_assert_eq(cidx, n);

		unsigned window = (unsigned)rand() % 12;
		size_t got = repair(window, sizeof(out), 1);
		unsigned covers = window == 0 || window > 8 ? 8 : window;
		covers = covers > n + 1 ? n + 1 : covers;
		cr_assert_eq(out[8], covers);
		cr_assert_eq(load_le32(out + 4), n);
		cr_assert_eq(load_le32(out), (n + 1 - covers) << 8 | 3);
		size_t longest = 0;
		for (unsigned i = n + 1 - covers; i <= n; i++)
			longest = lens[i] > longest ? lens[i] : longest;
		cr_assert_eq(got, 10 + longest);
		for (size_t k = 0; k < longest; k++) {
			uint8_t want = 0;
			for (unsigned i = n + 1 - covers; i <= n; i++)
				want ^= twin_mul(rlc_coef(n, i), k < lens[i] ? symbols[i][k] : 0);
			cr_assert_eq(out[10 + k], want);
		}
	}
	cr_assert_eq(enc.stats.sources, COUNT);
	cr_assert_eq(enc.stats.repairs, COUNT);
	cr_assert_eq(pool.slots_used, 8);
}

Test(rlc_encoder, nothing_to_cover)
{
	cr_assert_eq(repair(0, sizeof(out), 0), 0);
	push(1, 1, 30, 0);
	cr_assert_eq(repair(0, sizeof(out), 100), 46);
	cr_assert_eq(repair(0, sizeof(out), 101), 0);
	cr_assert_eq(rlc_encoder_covers(&enc, mono_at_ms(101)), 0);
	cr_assert_eq(pool.slots_used, 0);
	cr_assert_eq(push(2, 1, 30, 102), 1);
	cr_assert_eq(push(3, 1, 30, 300), 2);
	cr_assert_eq(pool.slots_used, 1);
}

Test(rlc_encoder, leaves_out_what_does_not_fit)
{
	push(0, 1, 30, 0);
	push(1, 2, 500, 0);
	push(2, 3, 40, 0);
	push(3, 4, 60, 0);
	cr_assert_eq(repair(0, RLC_REPAIR_BYTES(500), 0), RLC_REPAIR_BYTES(500));
	cr_assert_eq(out[8], 4);
	cr_assert_eq(repair(0, RLC_REPAIR_BYTES(500) - 1, 0), RLC_REPAIR_BYTES(60));
	cr_assert_eq(out[8], 2);
	cr_assert_eq(load_le32(out), 2 << 8 | 3);
	cr_assert_eq(repair(0, RLC_REPAIR_BYTES(60) - 1, 0), 0);
	cr_assert_eq(repair(0, 0, 0), 0);
}

Test(rlc_encoder, refuses_lengths)
{
	uint8_t segments[SEGMENTS + 200] = {0};
	uint32_t cidx = 77;
	size_t most = pool.slot_bytes - RLC_SYMBOL_HEADER_BYTES;

	cr_assert(!rlc_encoder_push(&enc, 0, segments, 23, mono_at_ms(0), &cidx));
	cr_assert(!rlc_encoder_push(&enc, 0, segments, most + 1, mono_at_ms(0), &cidx));
	cr_assert_eq(cidx, 77);
	cr_assert(rlc_encoder_push(&enc, 0, segments, most, mono_at_ms(0), &cidx));
	cr_assert_eq(cidx, 0);
}

Test(rlc_encoder, goes_on_without_memory)
{
	uint8_t segments[30] = {0};
	uint32_t cidx;

	pool.slots_max = 2;
	push(0, 1, 30, 0);
	push(1, 1, 30, 0);
	cr_assert(!rlc_encoder_push(&enc, 2, segments, 30, mono_at_ms(0), &cidx));
	cr_assert_eq(enc.stats.no_memory, 1);
	cr_assert_eq(repair(0, sizeof(out), 0), 46);
	cr_assert_eq(out[8], 2);
	pool.slots_max = 1000;
	cr_assert_eq(push(3, 1, 30, 0), 2);
}

Test(rlc_encoder, gives_memory_back)
{
	cr_assert(mono_is_never(rlc_encoder_trim(&enc, mono_at_ms(0))));
	push(0, 1, 30, 0);
	push(0, 1, 30, 50);
	cr_assert_eq(rlc_encoder_trim(&enc, mono_at_ms(60)).us, 100001);
	cr_assert_eq(pool.slots_used, 2);
	cr_assert_eq(rlc_encoder_trim(&enc, mono_at_us(100001)).us, 150001);
	cr_assert_eq(pool.slots_used, 1);
	cr_assert_eq(rlc_encoder_trim(&enc, mono_at_ms(200)).us, 30050000);
	cr_assert(enc.ring != NULL);
	cr_assert(mono_is_never(rlc_encoder_trim(&enc, mono_at_ms(30050))));
	cr_assert(enc.ring == NULL);
	cr_assert_eq(push(1, 1, 30, 40000), 2);
}

Test(rlc_encoder, restarts_and_narrows)
{
	for (unsigned i = 0; i < 10; i++)
		cr_assert_eq(push(i, 1, 30, 0), i);
	rlc_encoder_set(&enc, 3, AGE_US);
	cr_assert_eq(pool.slots_used, 3);
	repair(0, sizeof(out), 0);
	cr_assert_eq(out[8], 3);
	cr_assert_eq(load_le32(out) >> 8, 7);
	rlc_encoder_restart(&enc);
	cr_assert_eq(pool.slots_used, 0);
	cr_assert_eq(repair(0, sizeof(out), 0), 0);
	cr_assert_eq(push(0, 1, 30, 0), 0);
}

/* What a sum left behind a short symbol must not be taken for its bytes. */
Test(rlc_encoder, slots_are_clean_when_used_again)
{
	rlc_encoder_set(&enc, 2, AGE_US);
	push(0, 0xee, 1000, 0);
	push(1, 0xee, 1000, 0);
	push(2, 0x11, 30, 0);
	push(3, 0x22, 60, 0);
	cr_assert_eq(repair(0, sizeof(out), 0), RLC_REPAIR_BYTES(60));
	for (size_t k = 30; k < 60; k++)
		cr_assert_eq(out[16 + k], twin_mul(rlc_coef(0, 3), 0x22));
}
