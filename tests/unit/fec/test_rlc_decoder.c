#include "core/endian.h"
#include "core/pool.h"
#include "fec/rlc_decoder.h"
#include "fec/rlc_encoder.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { SEGMENTS = 1408, WINDOW = 16, AGE_US = 500000, SLOTS = 1000 };

static struct pool pool;
static struct rlc_decoder dec;
static struct rlc_encoder enc;

struct repair {
	uint32_t cidx;
	size_t len; /* of the body */
	uint8_t body[RLC_REPAIR_BYTES(SEGMENTS)];
};

static void setup(void)
{
	pool_init(&pool, RLC_SLOT_BYTES(SEGMENTS), SLOTS);
	rlc_decoder_init(&dec, WINDOW, SEGMENTS, AGE_US, &pool);
	rlc_encoder_init(&enc, RLC_WINDOW_MAX, 60000000, &pool);
}

static void teardown(void)
{
	rlc_decoder_fini(&dec);
	rlc_encoder_fini(&enc);
	cr_assert_eq(pool.slots_used, 0);
	pool_fini(&pool);
}

TestSuite(rlc_decoder, .init = setup, .fini = teardown);

static const struct mono START = {1000000};

/* The segments of source `pn`: its number tells all. */
static size_t segments_of(uint64_t pn, uint8_t *segments)
{
	size_t len = 24 + pn * 37 % 500;

	for (size_t i = 0; i < len; i++)
		segments[i] = (uint8_t)(pn * 7 + i);
	return len;
}

static uint32_t made(uint64_t pn)
{
	uint8_t segments[SEGMENTS];
	uint32_t cidx;
	size_t len = segments_of(pn, segments);

	cr_assert(rlc_encoder_push(&enc, pn, segments, len, START, &cidx));
	return cidx;
}

static struct repair repair_of(unsigned window)
{
	struct repair repair;
	uint8_t out[RLC_REPAIR_BYTES(SEGMENTS)];
	size_t len =
		rlc_encoder_repair(&enc, RLC_KIND_BULK_REPAIR, window, out, sizeof(out), START);

	cr_assert(len > 4);
	repair.cidx = load_le32(out) >> 8;
	repair.len = len - 4;
	memcpy(repair.body, out + 4, len - 4);
	return repair;
}

static enum rlc_verdict source_at(uint32_t cidx, uint64_t pn, struct mono now)
{
	uint8_t segments[SEGMENTS];
	size_t len = segments_of(pn, segments);

	return rlc_decoder_source(&dec, cidx, pn, segments, len, now);
}

static enum rlc_verdict source(uint32_t cidx, uint64_t pn)
{
	return source_at(cidx, pn, START);
}

static enum rlc_verdict give(const struct repair *repair, uint64_t pn)
{
	return rlc_decoder_repair(&dec, repair->cidx, pn, repair->body, repair->len, START);
}

static void expect_rebuilt(uint64_t pn)
{
	uint8_t segments[SEGMENTS];
	size_t len = segments_of(pn, segments);
	struct rlc_symbol symbol;

	cr_assert(rlc_decoder_rebuilt(&dec, &symbol), "%lu", (unsigned long)pn);
	cr_assert_eq(symbol.pn, pn);
	cr_assert_eq(symbol.len, len);
	cr_assert_arr_eq(symbol.segments, segments, len);
}

static void expect_no_more(void)
{
	struct rlc_symbol symbol;

	cr_assert(!rlc_decoder_rebuilt(&dec, &symbol));
}

Test(rlc_decoder, rebuilds_one)
{
	uint32_t a = made(10);
	made(11);
	uint32_t c = made(12);
	struct repair repair = repair_of(0);

	cr_assert_eq(source(a, 10), RLC_SOURCE_KEPT);
	cr_assert_eq(source(c, 12), RLC_SOURCE_KEPT);
	expect_no_more();
	cr_assert_eq(give(&repair, 13), RLC_REPAIR_USED);
	expect_rebuilt(11);
	expect_no_more();
	cr_assert_eq(dec.stats.rebuilt, 1);
	cr_assert_eq(dec.stats.lost, 0);
	/* Another repair has nothing to say, and the lost one may come after all. */
	repair = repair_of(0);
	cr_assert_eq(give(&repair, 14), RLC_REPAIR_SPARE);
	cr_assert_eq(source(a + 1, 11), RLC_SOURCE_LATE);
	cr_assert_eq(source(a + 1, 11), RLC_SOURCE_DUPLICATE);
	cr_assert_eq(source(a, 10), RLC_SOURCE_DUPLICATE);
	expect_no_more();
}

Test(rlc_decoder, rebuilds_what_was_lost_before_anything_came)
{
	for (uint64_t pn = 0; pn < 4; pn++)
		made(pn);
	struct repair first = repair_of(0), second = repair_of(0), third = repair_of(0);

	cr_assert_eq(source(2, 2), RLC_SOURCE_KEPT);
	cr_assert_eq(give(&first, 4), RLC_REPAIR_USED);
	cr_assert_eq(give(&second, 5), RLC_REPAIR_USED);
	expect_no_more();
	cr_assert_eq(give(&second, 5), RLC_REPAIR_REDUNDANT);
	cr_assert_eq(give(&third, 6), RLC_REPAIR_USED);
	uint64_t seen = 0;
	struct rlc_symbol symbol;
	while (rlc_decoder_rebuilt(&dec, &symbol))
		seen |= (uint64_t)1 << symbol.pn;
	cr_assert_eq(seen, 1 << 0 | 1 << 1 | 1 << 3);
}

Test(rlc_decoder, a_late_source_completes_others)
{
	for (uint64_t pn = 0; pn < 3; pn++)
		made(pn);
	struct repair repair = repair_of(0);

	cr_assert_eq(give(&repair, 3), RLC_REPAIR_USED);
	cr_assert_eq(source(0, 0), RLC_SOURCE_KEPT);
	expect_no_more();
	cr_assert_eq(source(2, 2), RLC_SOURCE_KEPT);
	expect_rebuilt(1);
	expect_no_more();
	cr_assert_eq(dec.stats.forgotten, 0);
}

Test(rlc_decoder, knows_numbers_from_their_low_half)
{
	static const struct {
		uint64_t source, repair;
		bool good;
	} rows[] = {
		{5, 6, true}, {0xffffffff, 0x100000000, true}, {0xffffffff, 0x100000007, true},
		{0x1fffffff0, 0x200000010, true}, {0x7ffffffffff0, 0x7fffffffffff, true},
		{6, 6, false}, /* not below its repair, and nothing lies 2^32 lower */
		{7, 6, false}, /* "" */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		made(rows[i].source);
		struct repair repair = repair_of(1);
		cr_assert_eq(give(&repair, rows[i].repair), RLC_REPAIR_USED, "row %zu", i);
		if (rows[i].good)
			expect_rebuilt(rows[i].source);
		expect_no_more();
		cr_assert_eq(dec.stats.bad_symbols, rows[i].good ? 0 : 1, "row %zu", i);
		dec.stats.bad_symbols = 0;
		rlc_decoder_restart(&dec);
	}
}

Test(rlc_decoder, refuses_bodies)
{
	uint8_t body[6 + 6 + SEGMENTS + 1] = {0};
	struct mono now = START;

	body[4] = 1;
	for (size_t len = 0; len < 36; len++)
		cr_assert_eq(rlc_decoder_repair(&dec, 0, 1, body, len, now), RLC_REPAIR_BAD_LENGTH);
	cr_assert_eq(
		rlc_decoder_repair(&dec, 0, 1, body, sizeof(body), now), RLC_REPAIR_BAD_LENGTH);
	body[4] = 0;
	cr_assert_eq(rlc_decoder_repair(&dec, 0, 1, body, 100, now), RLC_REPAIR_BAD_WINDOW);
	body[4] = WINDOW + 1;
	cr_assert_eq(rlc_decoder_repair(&dec, 0, 1, body, 100, now), RLC_REPAIR_BAD_WINDOW);
	body[4] = 255;
	cr_assert_eq(rlc_decoder_repair(&dec, 0, 1, body, 100, now), RLC_REPAIR_BAD_WINDOW);
	cr_assert_eq(dec.stats.verdicts[RLC_REPAIR_BAD_WINDOW], 3);
	cr_assert_eq(dec.stats.verdicts[RLC_REPAIR_BAD_LENGTH], 37);
	cr_assert(!dec.started);
	cr_assert(dec.ring == NULL);
	cr_assert_eq(rlc_decoder_source(&dec, 0, 1, body, 23, now), RLC_SOURCE_LENGTH);
	cr_assert_eq(rlc_decoder_source(&dec, 0, 1, body, SEGMENTS + 1, now), RLC_SOURCE_LENGTH);
	cr_assert(!dec.started);
}

Test(rlc_decoder, refuses_a_repair_shorter_than_its_sources)
{
	made(1); /* 61 bytes */
	made(2); /* 98 */
	struct repair repair = repair_of(0);

	cr_assert_eq(source(1, 2), RLC_SOURCE_KEPT);
	repair.len--;
	cr_assert_eq(give(&repair, 3), RLC_REPAIR_BAD_SHORT);
	repair.len++;
	cr_assert_eq(give(&repair, 3), RLC_REPAIR_USED);
	expect_rebuilt(1);
}

/* The source that a shorter repair covers comes later: that equation is a lie and must go. */
Test(rlc_decoder, drops_an_equation_shorter_than_its_source)
{
	made(1);
	made(2);
	struct repair repair = repair_of(0);

	repair.len = 6 + 6 + 70;
	cr_assert_eq(give(&repair, 3), RLC_REPAIR_USED);
	cr_assert_eq(source(1, 2), RLC_SOURCE_KEPT);
	cr_assert_eq(dec.stats.forgotten, 1);
	expect_no_more();
	cr_assert_eq(rlc_decoder_slots(&dec), 2); /* the source, the scratch slot */
}

Test(rlc_decoder, bytes_that_are_no_symbol_empty_it)
{
	static const struct {
		const char *what;
		uint16_t len;
		uint8_t behind;
	} rows[] = {
		{"too short", 23, 0},
		{"too long", 95, 0},
		{"much too long", 65535, 0},
		{"not zero behind", 90, 1},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t body[6 + 100] = {0};
		uint8_t symbol[100] = {0};
		store_le32(body, 9);
		body[4] = 1;
		store_le32(symbol, 50);
		store_le16(symbol + 4, rows[i].len);
		symbol[99] = rows[i].behind;
		uint8_t coef = rlc_coef(9, 100), *symbols[] = {symbol};
		rlc_sum(body + 6, 100, &coef, symbols, 1);

		cr_assert_eq(source(99, 49), RLC_SOURCE_KEPT);
		cr_assert_eq(rlc_decoder_repair(&dec, 100, 60, body, sizeof(body), START),
			RLC_REPAIR_USED, "%s", rows[i].what);
		expect_no_more();
		cr_assert_eq(dec.stats.bad_symbols, i + 1, "%s", rows[i].what);
		cr_assert_eq(rlc_decoder_slots(&dec), 0, "%s", rows[i].what);
		cr_assert_eq(source(99, 49), RLC_SOURCE_OLD);
		cr_assert_eq(source(101, 61), RLC_SOURCE_KEPT);
		rlc_decoder_restart(&dec);
	}
}

/* Indices out of reach: a straggler by its number is not kept, a new beginning is. */
Test(rlc_decoder, begins_anew_by_number_only)
{
	static const struct {
		uint32_t cidx;
		uint64_t pn;
		enum rlc_verdict want;
		uint64_t restarts;
	} rows[] = {
		{1000, 500, RLC_SOURCE_KEPT, 0},
		{1000 - 2 * WINDOW + 1, 400, RLC_SOURCE_KEPT, 0},
		{1000 - 2 * WINDOW, 501, RLC_SOURCE_OLD, 0},
		{1000 - 2 * WINDOW - 1, 501, RLC_SOURCE_OLD, 0}, /* 501 is not above 501 */
		{1000 + 2 * WINDOW, 450, RLC_SOURCE_KEPT, 0},
		{1000 + 4 * WINDOW + 1, 460, RLC_SOURCE_OLD, 0},
		{1000 + 4 * WINDOW + 1, 502, RLC_SOURCE_KEPT, 1},
		{0, 503, RLC_SOURCE_KEPT, 2},
		{0xffffff, 490, RLC_SOURCE_KEPT, 2},
		{0x800000, 503, RLC_SOURCE_OLD, 2},
		{0x800000, 504, RLC_SOURCE_KEPT, 3},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cr_assert_eq(source(rows[i].cidx, rows[i].pn), rows[i].want, "row %zu", i);
		cr_assert_eq(dec.stats.restarts, rows[i].restarts, "row %zu", i);
	}
}

/* A peer began anew with the same indices as before: nothing of then may mix with now. */
Test(rlc_decoder, does_not_mix_two_lives)
{
	made(0);
	made(1);
	struct repair old = repair_of(0);

	cr_assert_eq(source(0, 0), RLC_SOURCE_KEPT);
	rlc_decoder_restart(&dec);
	cr_assert_eq(rlc_decoder_slots(&dec), 0);
	rlc_encoder_restart(&enc);
	made(70);
	made(71);
	struct repair now = repair_of(0);
	cr_assert_eq(source(0, 70), RLC_SOURCE_KEPT);
	cr_assert_eq(give(&now, 72), RLC_REPAIR_USED);
	expect_rebuilt(71);
	expect_no_more();
	cr_assert(give(&old, 2) != RLC_REPAIR_USED);
}

Test(rlc_decoder, forgets_by_index_and_age)
{
	struct repair repairs[3];

	for (uint64_t pn = 0; pn < 2; pn++)
		made(pn);
	repairs[0] = repair_of(0);
	for (uint64_t pn = 2; pn < 100; pn++)
		made(pn);

	cr_assert_eq(give(&repairs[0], 50), RLC_REPAIR_USED);
	cr_assert_eq(rlc_decoder_slots(&dec), 2);
	cr_assert_eq(source(2 * WINDOW - 1, 60), RLC_SOURCE_KEPT);
	cr_assert_eq(dec.stats.forgotten, 0);
	cr_assert_eq(source(2 * WINDOW, 61), RLC_SOURCE_KEPT); /* 0 falls out, and the equation */
	cr_assert_eq(dec.stats.forgotten, 1);
	cr_assert_eq(dec.stats.lost, 1);
	cr_assert_eq(give(&repairs[0], 50), RLC_REPAIR_OLD);

	cr_assert_eq(rlc_decoder_slots(&dec), 3);
	cr_assert_eq(rlc_decoder_trim(&dec, START).us, START.us + AGE_US + 1);
	cr_assert_eq(rlc_decoder_slots(&dec), 3);
	struct mono later = mono_add_us(START, AGE_US + 1);
	cr_assert_eq(rlc_decoder_trim(&dec, later).us, START.us + RLC_DECODER_IDLE_US);
	cr_assert_eq(rlc_decoder_slots(&dec), 0);
	cr_assert_eq(source_at(2 * WINDOW - 2, 59, later), RLC_SOURCE_OLD);
	cr_assert_eq(source_at(2 * WINDOW + 1, 62, later), RLC_SOURCE_KEPT);
	cr_assert_eq(rlc_decoder_slots(&dec), 1);
	later = mono_add_us(later, RLC_DECODER_IDLE_US);
	cr_assert(mono_is_never(rlc_decoder_trim(&dec, later)));
	cr_assert(dec.ring == NULL);
	cr_assert_eq(source_at(2 * WINDOW + 1, 62, later), RLC_SOURCE_OLD);
	cr_assert_eq(source_at(2 * WINDOW + 2, 63, later), RLC_SOURCE_KEPT);
}

Test(rlc_decoder, goes_on_without_memory)
{
	for (uint64_t pn = 0; pn < 8; pn++)
		made(pn);
	struct repair repair = repair_of(0);

	pool.slots_max = pool.slots_used;
	for (unsigned n = 0; n < 3; n++)
		cr_assert_eq(source(n, n), RLC_SOURCE_NO_MEMORY);
	cr_assert_eq(source(0, 0), RLC_SOURCE_DUPLICATE);
	cr_assert_eq(give(&repair, 8), RLC_REPAIR_NO_MEMORY);
	pool.slots_max = pool.slots_used + 1;
	cr_assert_eq(give(&repair, 8), RLC_REPAIR_NO_MEMORY);
	pool.slots_max = SLOTS;
	for (unsigned n = 3; n < 7; n++)
		cr_assert_eq(source(n, n), RLC_SOURCE_KEPT);
	/* 0 .. 2 came but are not known, 7 is missing: four equations tell all, and only 7 is given out. */
	for (unsigned n = 0; n < 4; n++) {
		repair = repair_of(0);
		cr_assert_eq(give(&repair, 9 + n), RLC_REPAIR_USED);
	}
	expect_rebuilt(7);
	expect_no_more();
	repair = repair_of(0);
	cr_assert_eq(give(&repair, 20), RLC_REPAIR_SPARE);
	cr_assert_eq(rlc_decoder_slots(&dec), 9);
}

/* Only what came without a slot is unknown: a repair has nothing to say that anybody waits for. */
Test(rlc_decoder, does_not_rebuild_what_came)
{
	for (uint64_t pn = 0; pn < 2; pn++)
		made(pn);
	struct repair repair = repair_of(0);

	cr_assert_eq(source(0, 0), RLC_SOURCE_KEPT);
	pool.slots_max = pool.slots_used;
	cr_assert_eq(source(1, 1), RLC_SOURCE_NO_MEMORY);
	pool.slots_max = SLOTS;
	cr_assert_eq(give(&repair, 2), RLC_REPAIR_SPARE);
}

/* More equations than are kept: the oldest goes, the newest still works. */
Test(rlc_decoder, keeps_a_bounded_number_of_equations)
{
	rlc_decoder_fini(&dec);
	rlc_decoder_init(&dec, RLC_WINDOW_MAX, SEGMENTS, AGE_US, &pool);
	for (uint64_t pn = 0; pn < 128; pn++)
		made(pn);
	/* All equations of two unknowns, each new pair: none can be solved. */
	rlc_encoder_restart(&enc);
	unsigned used = 0;
	for (uint64_t pn = 0; pn < 2 * RLC_WINDOW_MAX; pn++) {
		made(pn);
		if (pn == 0)
			continue;
		struct repair repair = repair_of(2);
		used += give(&repair, 1000 + pn) == RLC_REPAIR_USED;
		cr_assert(rlc_decoder_slots(&dec) <= RLC_DECODER_REPAIRS_MAX + 1);
		expect_no_more();
	}
	cr_assert_eq(used, 127);
	cr_assert_eq(dec.stats.forgotten, 127 - RLC_DECODER_REPAIRS_MAX);
	/* One source opens the rest like a zip. */
	cr_assert_eq(source(127, 127), RLC_SOURCE_KEPT);
	unsigned rebuilt = 0;
	struct rlc_symbol symbol;
	while (rlc_decoder_rebuilt(&dec, &symbol)) {
		uint8_t segments[SEGMENTS];
		size_t len = segments_of(symbol.pn, segments);
		cr_assert_eq(symbol.len, len);
		cr_assert_arr_eq(symbol.segments, segments, len);
		cr_assert(symbol.pn >= 127 - RLC_DECODER_REPAIRS_MAX, "the newest are kept");
		rebuilt++;
	}
	cr_assert_eq(rebuilt, RLC_DECODER_REPAIRS_MAX);
}

Test(rlc_decoder, what_is_not_fetched_is_not_given_out)
{
	made(0);
	struct repair repair = repair_of(0);
	made(1);

	cr_assert_eq(give(&repair, 3), RLC_REPAIR_USED);
	cr_assert_eq(source(1, 1), RLC_SOURCE_KEPT);
	expect_no_more();
	cr_assert_eq(dec.stats.rebuilt, 0);
}

Test(rlc_decoder, verdicts_have_names)
{
	for (int v = 0; v < RLC_VERDICTS; v++)
		cr_assert(strlen(rlc_verdict_str((enum rlc_verdict)v)) > 3);
	cr_assert_str_eq(rlc_verdict_str(RLC_VERDICTS), "?");
}
