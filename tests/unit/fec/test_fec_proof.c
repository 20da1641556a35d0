/*
 * A decoder whose shard counts are not the sender's: what it rebuilds with them is nonsense that looks like a segment.
 * With proof_packets set it rebuilds nothing before the counts are known to be right.
 */
#include "core/pool.h"
#include "fec/fec_decoder.h"
#include "fec/fec_encoder.h"
#include "fec/fec_matrix.h"
#include "fec/fec_slot.h"

#include <criterion/criterion.h>
#include <string.h>

enum { PACKET_BYTES = 200, SLOTS = 2000, STREAM = 260, PAYLOAD = 60, SEEDS = 200 };

struct tally {
	unsigned right, wrong;
};

static struct fec_matrix_cache cache;
static struct pool pool;
static uint8_t stream[STREAM][PACKET_BYTES];
static size_t stream_len[STREAM];
static bool is_data[STREAM];

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

TestSuite(fec_proof, .init = setup, .fini = teardown);

static void make_stream(unsigned data, unsigned parity)
{
	struct fec_encoder enc;
	struct fec_parity made = {0};
	size_t at = 0;

	cr_assert_eq(
		fec_encoder_init(&enc, data, parity, PACKET_BYTES, FEC_PROFILE_OLD, &cache, &pool),
		0);
	while (at + data + parity <= STREAM) {
		for (size_t k = 0; k < PAYLOAD; k++)
			stream[at][FEC_HEADER_BYTES + k] = (uint8_t)(at * 37 + k * at);
		int count = fec_encoder_push(&enc, stream[at], PAYLOAD, mono_at_us(0), &made);
		is_data[at] = true;
		stream_len[at++] = PAYLOAD + FEC_HEADER_BYTES;
		for (int i = 0; i < count; i++) {
			memcpy(stream[at], made.packets[i], made.len);
			is_data[at] = false;
			stream_len[at++] = made.len;
		}
	}
	for (; at < STREAM; at++)
		stream_len[at] = 0, is_data[at] = false;
	fec_encoder_fini(&enc);
}

static bool was_sent(const uint8_t *payload, size_t len)
{
	for (size_t i = 0; i < STREAM; i++) {
		if (is_data[i] && stream_len[i] == len + FEC_HEADER_BYTES &&
			memcmp(stream[i] + FEC_HEADER_BYTES, payload, len) == 0)
			return true;
	}
	return false;
}

/* Feeds the stream with some packets lost. */
static struct tally run(unsigned data, unsigned parity, enum fec_profile profile,
	unsigned proof_packets, uint32_t seed, unsigned loss_percent)
{
	struct tally tally = {0, 0};
	struct fec_decoder dec;
	const uint8_t *payload;
	size_t len;

	cr_assert_eq(fec_decoder_init(&dec, data, parity, PACKET_BYTES, profile, &cache, &pool), 0);
	dec.proof_packets = proof_packets;
	for (size_t i = 0; i < STREAM; i++) {
		seed = seed * 1664525 + 1013904223;
		if (stream_len[i] == 0 || (seed >> 8) % 100 < loss_percent)
			continue;
		(void)fec_decoder_input(&dec, stream[i], stream_len[i], mono_at_us(0));
		while ((payload = fec_decoder_recovered(&dec, &len)) != NULL) {
			if (was_sent(payload, len))
				tally.right++;
			else
				tally.wrong++;
		}
	}
	fec_decoder_fini(&dec);
	return tally;
}

Test(fec_proof, wrong_counts_rebuild_nothing)
{
	static const struct {
		unsigned own_data, own_parity, data, parity;
	} rows[] = {{1, 1, 10, 3}, {1, 1, 3, 1}, {3, 1, 10, 3}, {10, 3, 3, 1}, {20, 10, 10, 3}};

	for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
		unsigned wrong_without = 0, right = 0;
		make_stream(rows[row].data, rows[row].parity);
		for (uint32_t seed = 0; seed < SEEDS; seed++) {
			struct tally with = run(rows[row].own_data, rows[row].own_parity,
				FEC_PROFILE_NEW, FEC_DECODER_PROOF_PACKETS, seed, 5 + seed % 21);
			struct tally old = run(rows[row].own_data, rows[row].own_parity,
				FEC_PROFILE_OLD, FEC_DECODER_PROOF_PACKETS, seed, 5 + seed % 21);
			cr_assert_eq(with.wrong + old.wrong, 0, "row %zu seed %u", row, seed);
			right += with.right;
			wrong_without += run(rows[row].own_data, rows[row].own_parity,
				FEC_PROFILE_NEW, 0, seed, 5 + seed % 21)
						 .wrong;
		}
		cr_assert(right > 0, "row %zu: it tunes itself and then helps", row);
		if (rows[row].own_data < rows[row].data)
			cr_assert(wrong_without > 0, "row %zu: the test has teeth", row);
	}
}

Test(fec_proof, right_counts_rebuild_after_the_proof)
{
	make_stream(10, 3);
	for (uint32_t seed = 0; seed < SEEDS; seed++) {
		struct tally at_once = run(10, 3, FEC_PROFILE_NEW, 0, seed, 10);
		struct tally proven =
			run(10, 3, FEC_PROFILE_NEW, FEC_DECODER_PROOF_PACKETS, seed, 10);
		cr_assert_eq(at_once.wrong + proven.wrong, 0);
		/* What the first groups would have got back is the price. */
		cr_assert(proven.right <= at_once.right);
		cr_assert(proven.right + 3 * 4 >= at_once.right, "seed %u: %u of %u", seed,
			proven.right, at_once.right);
	}
}
