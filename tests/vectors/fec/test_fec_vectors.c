/*
 * kcp-go's FEC against answers of the real library: fec.json and fec-autotune.json were made by running kcp-go 5.6.1
 * (klauspost/reedsolomon 1.9.13), fec-5.6.72.json by running kcp-go 5.6.72.
 */
#include "core/pool.h"
#include "fec/fec_autotune.h"
#include "fec/fec_decoder.h"
#include "fec/fec_encoder.h"
#include "fec/fec_header.h"
#include "fec/fec_matrix.h"
#include "fec/fec_slot.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

enum { PACKET_BYTES = 1500, SLOTS = 2000 };

static struct fec_matrix_cache cache;
static struct pool pool;

static void setup(void)
{
	fec_matrix_cache_init(&cache, FEC_MATRIX_CACHE_BYTES_MAX);
	pool_init(&pool, FEC_SLOT_BYTES(PACKET_BYTES), SLOTS);
}

static void teardown(void)
{
	cr_assert_eq(pool.slots_used, 0);
	pool_fini(&pool);
	fec_matrix_cache_fini(&cache);
}

TestSuite(fec_vectors, .init = setup, .fini = teardown);

static json_t *load(const char *path)
{
	json_error_t error;
	json_t *root = json_load_file(path, 0, &error);
	cr_assert(root != NULL, "%s: %s", path, error.text);
	return root;
}

static unsigned number(const json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);
	cr_assert(json_is_integer(value), "%s", key);
	return (unsigned)json_integer_value(value);
}

static size_t unhex(const json_t *value, uint8_t *bytes)
{
	const char *text = json_string_value(value);
	cr_assert(text != NULL);
	size_t len = strlen(text) / 2;
	cr_assert(len <= PACKET_BYTES);
	for (size_t i = 0; i < len; i++) {
		unsigned byte;
		cr_assert_eq(sscanf(text + 2 * i, "%2x", &byte), 1);
		bytes[i] = (uint8_t)byte;
	}
	return len;
}

/* Pushes a payload and compares what is sent with `out` from `*at` on. */
static void push_and_compare(
	struct fec_encoder *enc, const json_t *in, const json_t *out, size_t *at, struct mono now)
{
	uint8_t packet[PACKET_BYTES + FEC_HEADER_BYTES], want[PACKET_BYTES];
	struct fec_parity parity = {0};
	size_t payload_len = unhex(in, packet + FEC_HEADER_BYTES);
	int count = fec_encoder_push(enc, packet, payload_len, now, &parity);

	cr_assert(count >= 0);
	size_t want_len = unhex(json_array_get(out, (*at)++), want);
	cr_assert_eq(want_len, payload_len + FEC_HEADER_BYTES);
	cr_assert_eq(memcmp(packet, want, want_len), 0, "data packet %zu", *at - 1);
	for (int i = 0; i < count; i++) {
		want_len = unhex(json_array_get(out, (*at)++), want);
		cr_assert_eq(want_len, parity.len, "parity packet %zu", *at - 1);
		cr_assert_eq(
			memcmp(parity.packets[i], want, want_len), 0, "parity packet %zu", *at - 1);
		/* The lender allows all of this to be overwritten. */
		memset(parity.packets[i] - FEC_PARITY_HEADROOM_BYTES, 0xee,
			FEC_PARITY_HEADROOM_BYTES + parity.len + FEC_PARITY_TAILROOM_BYTES);
	}
}

Test(fec_vectors, encoder_of_5_6_1)
{
	json_t *root = load(TESTS_DIR "/vectors/data/fec.json");
	json_t *groups = json_object_get(root, "groups"), *group;
	size_t i, k;

	cr_assert_eq(json_array_size(groups), 12);
	json_array_foreach(groups, i, group)
	{
		json_t *in = json_object_get(group, "in"), *out = json_object_get(group, "out"),
		       *payload;
		struct fec_encoder enc;
		size_t at = 0;
		cr_assert_eq(fec_encoder_init(&enc, number(group, "data"), number(group, "parity"),
				     PACKET_BYTES, FEC_PROFILE_OLD, &cache, &pool),
			0);
		cr_assert_eq(enc.paws, number(group, "paws"));
		enc.next_seqid = number(group, "first_seqid");
		json_array_foreach(in, k, payload)
			push_and_compare(&enc, payload, out, &at, mono_at_ms(1));
		cr_assert_eq(at, json_array_size(out), "group %zu", i);
		cr_assert_eq(enc.next_seqid, number(group, "next_seqid"));
		fec_encoder_fini(&enc);
	}
	json_decref(root);
}

Test(fec_vectors, encoder_of_5_6_72)
{
	json_t *root = load(TESTS_DIR "/vectors/data/fec-5.6.72.json");
	json_t *encoders = json_object_get(root, "encoder"), *encoder, *step;
	size_t i, k;

	cr_assert_eq(json_array_size(encoders), 3);
	json_array_foreach(encoders, i, encoder)
	{
		struct mono now = mono_at_ms(123456);
		struct fec_encoder enc;
		cr_assert_eq(
			fec_encoder_init(&enc, number(encoder, "data"), number(encoder, "parity"),
				PACKET_BYTES, FEC_PROFILE_NEW, &cache, &pool),
			0);
		json_array_foreach(json_object_get(encoder, "steps"), k, step)
		{
			json_t *out = json_object_get(step, "out");
			size_t at = 0;
			now = mono_add_ms(now, number(step, "gap_ms"));
			push_and_compare(&enc, json_object_get(step, "in"), out, &at, now);
			cr_assert_eq(at, json_array_size(out), "encoder %zu step %zu", i, k);
			cr_assert_eq(enc.next_seqid, number(step, "next"));
		}
		fec_encoder_fini(&enc);
	}

	json_t *oob = json_object_get(root, "oob");
	uint8_t packet[PACKET_BYTES], want[PACKET_BYTES];
	size_t message_len = unhex(
		json_object_get(oob, "payload"), packet + FEC_HEADER_BYTES + FEC_OOB_CONV_BYTES);
	size_t len = fec_header_write_oob(packet, number(oob, "conv"), message_len);
	cr_assert_eq(len, unhex(json_object_get(oob, "packet"), want));
	cr_assert_eq(memcmp(packet, want, len), 0);
	json_decref(root);
}

Test(fec_vectors, matrices)
{
	json_t *root = load(TESTS_DIR "/vectors/data/fec.json");
	json_t *matrices = json_object_get(root, "matrices"), *entry, *row;
	size_t i, j;

	cr_assert_eq(json_array_size(matrices), 25);
	json_array_foreach(matrices, i, entry)
	{
		unsigned data = number(entry, "data"), parity = number(entry, "parity");
		struct fec_matrix *matrix = fec_matrix_acquire(&cache, data, parity);
		cr_assert(matrix != NULL);
		cr_assert_eq(json_array_size(json_object_get(entry, "rows")), parity);
		json_array_foreach(json_object_get(entry, "rows"), j, row)
		{
			uint8_t want[FEC_SHARDS_MAX];
			cr_assert_eq(unhex(row, want), data);
			for (unsigned column = 0; column < data; column++)
				cr_assert_eq(fec_matrix_coefficient(matrix, (unsigned)j, column),
					want[column], "%u/%u row %zu column %u", data, parity, j,
					column);
		}
		fec_matrix_release(matrix);
	}
	json_decref(root);
}

static void decode_steps(const json_t *entry, enum fec_profile profile)
{
	struct fec_decoder dec;
	json_t *step;
	size_t k, rebuilt = 0;

	cr_assert_eq(fec_decoder_init(&dec, number(entry, "data"), number(entry, "parity"),
			     PACKET_BYTES, profile, &cache, &pool),
		0);
	json_array_foreach(json_object_get(entry, "steps"), k, step)
	{
		json_t *recovered = json_object_get(step, "recovered");
		uint8_t packet[PACKET_BYTES], want[PACKET_BYTES];
		size_t len = unhex(json_object_get(step, "in"), packet);
		enum fec_verdict verdict = fec_decoder_input(&dec, packet, len, mono_at_ms(5));
		size_t payload_len;
		const uint8_t *payload;

		cr_assert_eq(verdict == FEC_REBUILT, json_array_size(recovered) > 0, "step %zu", k);
		for (size_t i = 0; i < json_array_size(recovered); i++) {
			size_t shard_len = unhex(json_array_get(recovered, i), want);
			payload = fec_decoder_recovered(&dec, &payload_len);
			cr_assert(payload != NULL);
			cr_assert_eq(payload_len + FEC_HEADER_SIZE_BYTES, load_le16(want));
			cr_assert(payload_len + FEC_HEADER_SIZE_BYTES <= shard_len);
			cr_assert_eq(memcmp(payload, want + FEC_HEADER_SIZE_BYTES, payload_len), 0);
			rebuilt++;
		}
		payload = fec_decoder_recovered(&dec, &payload_len);
		cr_assert(payload == NULL);
	}
	cr_assert_eq(dec.stats.recovered, rebuilt);
	cr_assert_eq(dec.stats.errors, 0);
	fec_decoder_fini(&dec);
}

Test(fec_vectors, decoder)
{
	json_t *root = load(TESTS_DIR "/vectors/data/fec.json");
	json_t *entries = json_object_get(root, "decode"), *entry;
	size_t i;

	cr_assert_eq(json_array_size(entries), 4);
	json_array_foreach(entries, i, entry)
	{
		decode_steps(entry, FEC_PROFILE_OLD);
		decode_steps(entry, FEC_PROFILE_NEW);
	}
	json_decref(root);
}

static void pair(const json_t *object, const char *key, unsigned ret[2])
{
	for (size_t i = 0; i < 2; i++)
		ret[i] = (unsigned)json_integer_value(
			json_array_get(json_object_get(object, key), i));
}

static void autotune_runs(const json_t *runs, enum fec_profile profile)
{
	const json_t *run;
	size_t i;

	cr_assert_eq(json_array_size(runs), 5);
	json_array_foreach(runs, i, run)
	{
		struct fec_decoder dec;
		unsigned own[2], sender[2], final[2];
		long tuned_at = -1;
		pair(run, "decoder", own);
		pair(run, "sender", sender);
		pair(run, "final", final);
		cr_assert_eq(fec_decoder_init(
				     &dec, own[0], own[1], PACKET_BYTES, profile, &cache, &pool),
			0);
		for (uint32_t seqid = 0; seqid < number(run, "packets"); seqid++) {
			bool is_data = seqid % (sender[0] + sender[1]) < sender[0];
			uint8_t packet[40] = {0};
			fec_header_write(packet, seqid, is_data ? FEC_TYPE_DATA : FEC_TYPE_PARITY);
			store_le16(packet + FEC_HEADER_SEQID_BYTES,
				sizeof(packet) - FEC_HEADER_SEQID_BYTES);
			fec_decoder_input(&dec, packet, sizeof(packet), mono_at_ms(seqid));
			if (tuned_at < 0 && dec.stats.tunes > 0)
				tuned_at = (long)seqid;
		}
		cr_assert_eq(tuned_at, (long)number(run, "tuned_at_packet"), "run %zu: %ld", i,
			tuned_at);
		cr_assert_eq(dec.stats.tunes, 1);
		cr_assert_eq(dec.data_shards, final[0]);
		cr_assert_eq(dec.parity_shards, final[1]);
		fec_decoder_fini(&dec);
	}
}

Test(fec_vectors, autotune_of_5_6_1)
{
	json_t *root = load(TESTS_DIR "/vectors/data/fec-autotune.json");
	autotune_runs(json_object_get(root, "runs"), FEC_PROFILE_OLD);
	json_decref(root);
}

Test(fec_vectors, autotune_of_5_6_72)
{
	json_t *root = load(TESTS_DIR "/vectors/data/fec-5.6.72.json");
	autotune_runs(json_object_get(root, "autotune"), FEC_PROFILE_NEW);
	json_decref(root);
}
