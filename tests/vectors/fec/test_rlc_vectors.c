/* The sliding-window code against answers of a second implementation (rlc.json): coefficients, repairs, what follows from them. */
#include "core/endian.h"
#include "core/pool.h"
#include "fec/rlc_decoder.h"
#include "fec/rlc_encoder.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEGMENTS = 200, SLOTS = 400, AGE_US = 1000000 };

static json_t *load(void)
{
	json_error_t error;
	json_t *root = json_load_file(TESTS_DIR "/vectors/data/rlc.json", 0, &error);

	cr_assert(root != NULL, "%s", error.text);
	return root;
}

static uint32_t number(const json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);

	cr_assert(json_is_integer(value), "%s", key);
	return (uint32_t)json_integer_value(value);
}

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	cr_assert(value != NULL, "%s", key);
	return value;
}

static size_t unhex(const char *hex, uint8_t *bytes, size_t room)
{
	size_t len = strlen(hex) / 2;

	cr_assert(len <= room);
	for (size_t i = 0; i < len; i++) {
		unsigned byte;
		cr_assert_eq(sscanf(hex + 2 * i, "%2x", &byte), 1);
		bytes[i] = (uint8_t)byte;
	}
	return len;
}

static uint64_t pn_of(const json_t *object)
{
	return strtoull(text(object, "pn"), NULL, 16);
}

Test(rlc_vectors, coefficients)
{
	json_t *root = load(), *row;
	size_t i;

	json_array_foreach(json_object_get(root, "coefs"), i, row)
		cr_assert_eq(rlc_coef(number(row, "id"), number(row, "cidx")), number(row, "coef"));
	cr_assert(i >= 8);
	json_decref(root);
}

/* Our encoder's repair with the id and window of each answer. */
static void check_encoder(const json_t *run, struct pool *pool)
{
	uint8_t segments[SEGMENTS], want[RLC_REPAIR_BYTES(SEGMENTS)], out[sizeof(want)];
	struct rlc_encoder enc;
	json_t *repair, *source;
	size_t r, i;

	json_array_foreach(json_object_get(run, "repairs"), r, repair)
	{
		size_t len = unhex(text(repair, "plaintext"), want, sizeof(want));
		uint32_t after =
			((load_le32(want) >> 8) + want[8] - number(run, "first")) & RLC_CIDX_MASK;
		rlc_encoder_init(&enc, RLC_WINDOW_MAX, AGE_US, pool);
		enc.next_cidx = number(run, "first");
		enc.next_id = load_le32(want + 4);
		json_array_foreach(json_object_get(run, "sources"), i, source)
		{
			uint32_t cidx;
			size_t n = unhex(text(source, "segments"), segments, sizeof(segments));
			if (i < after)
				cr_assert(rlc_encoder_push(
					&enc, pn_of(source), segments, n, mono_at_us(0), &cidx));
		}
		cr_assert_eq(rlc_encoder_repair(&enc, (enum rlc_kind)want[0], want[8], out,
				     sizeof(out), mono_at_us(0)),
			len);
		cr_assert_arr_eq(out, want, len);
		rlc_encoder_fini(&enc);
	}
}

static bool is_missing(const json_t *run, size_t source)
{
	json_t *value;
	size_t i;

	json_array_foreach(json_object_get(run, "missing"), i, value)
	{
		if ((size_t)json_integer_value(value) == source)
			return true;
	}
	return false;
}

static void check_decoder(const json_t *run, struct pool *pool)
{
	uint8_t bytes[RLC_REPAIR_BYTES(SEGMENTS)];
	json_t *sources = json_object_get(run, "sources"), *source, *repair;
	struct rlc_decoder dec;
	struct rlc_symbol symbol;
	size_t i, rebuilt = 0;

	rlc_decoder_init(&dec, RLC_WINDOW_MAX, SEGMENTS, AGE_US, pool);
	json_array_foreach(sources, i, source)
	{
		size_t len = unhex(text(source, "segments"), bytes, sizeof(bytes));
		if (!is_missing(run, i))
			rlc_decoder_source(&dec, number(run, "first") + (uint32_t)i, pn_of(source),
				bytes, len, mono_at_us(0));
	}
	json_array_foreach(json_object_get(run, "repairs"), i, repair)
	{
		size_t len = unhex(text(repair, "plaintext"), bytes, sizeof(bytes));
		rlc_decoder_repair(&dec, load_le32(bytes) >> 8, pn_of(repair), bytes + 4, len - 4,
			mono_at_us(0));
		while (rlc_decoder_rebuilt(&dec, &symbol)) {
			size_t n = (size_t)(symbol.pn - pn_of(json_array_get(sources, 0)));
			cr_assert(n < json_array_size(sources) && is_missing(run, n));
			uint8_t want[SEGMENTS];
			size_t want_len = unhex(
				text(json_array_get(sources, n), "segments"), want, sizeof(want));
			cr_assert_eq(symbol.len, want_len);
			cr_assert_arr_eq(symbol.segments, want, want_len);
			rebuilt++;
		}
	}
	cr_assert_eq(rebuilt, json_array_size(json_object_get(run, "missing")));
	rlc_decoder_fini(&dec);
}

Test(rlc_vectors, runs)
{
	json_t *root = load(), *run;
	struct pool pool;
	size_t i;

	pool_init(&pool, RLC_SLOT_BYTES(SEGMENTS), SLOTS);
	json_array_foreach(json_object_get(root, "runs"), i, run)
	{
		check_encoder(run, &pool);
		check_decoder(run, &pool);
	}
	cr_assert(i >= 5);
	cr_assert_eq(pool.slots_used, 0);
	pool_fini(&pool);
	json_decref(root);
}
