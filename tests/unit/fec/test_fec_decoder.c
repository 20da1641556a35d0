#include "core/pool.h"
#include "fec/fec_decoder.h"
#include "fec/fec_encoder.h"
#include "fec/fec_matrix.h"
#include "fec/fec_slot.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PACKET_BYTES = 1400, SLOTS = 4000, STREAM = 800, PAYLOAD = 100 };

static struct fec_matrix_cache cache;
static struct pool pool;
static struct fec_decoder dec;
/* A stream of packets as an encoder makes it, by place in the stream. */
static uint8_t stream[STREAM][PACKET_BYTES];
static size_t stream_len[STREAM];

static void setup(void)
{
	fec_matrix_cache_init(&cache, FEC_MATRIX_CACHE_BYTES_MAX);
	pool_init(&pool, FEC_SLOT_BYTES(PACKET_BYTES), SLOTS);
}

static void teardown(void)
{
	fec_decoder_fini(&dec);
	fec_decoder_fini(&dec); /* harmless */
	cr_assert_eq(pool.slots_used, 0);
	cr_assert_eq(cache.bytes_used, 0);
	pool_fini(&pool);
	fec_matrix_cache_fini(&cache);
}

TestSuite(fec_decoder, .init = setup, .fini = teardown);

static void start(unsigned data, unsigned parity, enum fec_profile profile)
{
	fec_decoder_fini(&dec);
	cr_assert_eq(fec_decoder_init(&dec, data, parity, PACKET_BYTES, profile, &cache, &pool), 0);
}

/* Fills `stream` from `first_seqid`, a group's start, on. Data packet i carries its seqid and filling. */
static void make_stream(unsigned data, unsigned parity, uint32_t first_seqid, size_t payload_len)
{
	struct fec_encoder enc;
	struct fec_parity made = {0};
	size_t at = 0;

	cr_assert_eq(
		fec_encoder_init(&enc, data, parity, PACKET_BYTES, FEC_PROFILE_OLD, &cache, &pool),
		0);
	enc.next_seqid = first_seqid;
	while (at + data + parity <= STREAM) {
		memset(stream[at], 0, PACKET_BYTES);
		store_le32(stream[at] + FEC_HEADER_BYTES, enc.next_seqid);
		for (size_t k = 4; k < payload_len; k++)
			stream[at][FEC_HEADER_BYTES + k] = (uint8_t)(at * 31 + k);
		int count = fec_encoder_push(&enc, stream[at], payload_len, mono_at_us(0), &made);
		stream_len[at++] = payload_len + FEC_HEADER_BYTES;
		for (int i = 0; i < count; i++) {
			memcpy(stream[at], made.packets[i], made.len);
			stream_len[at++] = made.len;
		}
	}
	fec_encoder_fini(&enc);
}

static enum fec_verdict input_at(size_t at, int64_t now_ms)
{
	return fec_decoder_input(&dec, stream[at], stream_len[at], mono_at_ms(now_ms));
}

static enum fec_verdict input(size_t at)
{
	return input_at(at, 0);
}

/* Reads the next rebuilt packet and compares it with place `at` of the stream. */
static void expect_rebuilt(size_t at)
{
	size_t len;
	const uint8_t *payload = fec_decoder_recovered(&dec, &len);
	cr_assert(payload != NULL, "place %zu", at);
	cr_assert_eq(len, stream_len[at] - FEC_HEADER_BYTES);
	cr_assert_eq(memcmp(payload, stream[at] + FEC_HEADER_BYTES, len), 0, "place %zu", at);
}

static void expect_none(void)
{
	size_t len;
	cr_assert(fec_decoder_recovered(&dec, &len) == NULL);
}

Test(fec_decoder, refuses_bad_arguments)
{
	struct pool small;
	pool_init(&small, FEC_SLOT_BYTES(PACKET_BYTES) - 1, 10);
	cr_assert_eq(fec_decoder_init(&dec, 10, 3, PACKET_BYTES, FEC_PROFILE_NEW, &cache, &small),
		-EINVAL);
	cr_assert_eq(fec_decoder_init(&dec, 0, 3, PACKET_BYTES, FEC_PROFILE_NEW, &cache, &pool),
		-EINVAL);
	cr_assert_eq(fec_decoder_init(&dec, 200, 57, PACKET_BYTES, FEC_PROFILE_NEW, &cache, &pool),
		-EINVAL);
	cr_assert_eq(fec_decoder_init(&dec, 10, 3, 5, FEC_PROFILE_NEW, &cache, &pool), -EINVAL);
	cr_assert_eq(fec_decoder_init(&dec, 10, 3, 65536, FEC_PROFILE_NEW, &cache, &pool), -EINVAL);
	pool_fini(&small);
}

Test(fec_decoder, without_loss_it_keeps_one_group_and_needs_no_matrix)
{
	for (int profile = FEC_PROFILE_NEW; profile <= FEC_PROFILE_OLD; profile++) {
		make_stream(10, 3, 0, PAYLOAD);
		start(10, 3, (enum fec_profile)profile);
		for (size_t at = 0; at < 780; at++) {
			enum fec_verdict verdict = input(at);
			cr_assert_eq(verdict, at % 13 < 9    ? FEC_STORED
					      : at % 13 == 9 ? FEC_COMPLETE
							     : FEC_LATE);
			cr_assert_eq(fec_decoder_group_count(&dec), at % 13 < 9 ? 1 : 0);
			cr_assert_eq(pool.slots_used, at % 13 < 9 ? 2 : 1); /* and the tuner's */
		}
		cr_assert_eq(dec.stats.full_groups, 60);
		cr_assert_eq(dec.stats.parity_shards, 180);
		cr_assert_eq(dec.stats.recovered + dec.stats.errors + dec.stats.short_groups, 0);
		cr_assert_eq(cache.bytes_used, 0);
		fec_decoder_trim(&dec);
		cr_assert_eq(pool.slots_used, 0);
	}
}

Test(fec_decoder, a_group_of_full_packets_takes_a_slot_for_each)
{
	make_stream(10, 3, 0, PACKET_BYTES - FEC_HEADER_BYTES);
	start(10, 3, FEC_PROFILE_NEW);
	for (size_t at = 0; at < 9; at++) {
		input(at);
		cr_assert_eq(pool.slots_used, at + 2); /* and the tuner's */
	}
	cr_assert_eq(input(12), FEC_REBUILT);
	expect_rebuilt(9);
	expect_none();
	cr_assert_eq(pool.slots_used, 1);
}

Test(fec_decoder, a_closed_group_is_not_rebuilt_again)
{
	make_stream(2, 2, 0, PAYLOAD);
	start(2, 2, FEC_PROFILE_NEW);
	cr_assert_eq(input(1), FEC_STORED);
	cr_assert_eq(input(3), FEC_REBUILT);
	expect_rebuilt(0);
	expect_none();
	cr_assert_eq(input(2), FEC_LATE);
	cr_assert_eq(input(0), FEC_LATE);
	cr_assert_eq(input(0), FEC_LATE);
	expect_none();
	cr_assert_eq(dec.stats.recovered, 1);
	cr_assert_eq(dec.stats.verdicts[FEC_LATE], 3);
}

Test(fec_decoder, what_is_not_read_is_forgotten)
{
	make_stream(3, 3, 0, PAYLOAD);
	start(3, 3, FEC_PROFILE_NEW);
	input(3);
	input(4);
	cr_assert_eq(input(5), FEC_REBUILT);
	expect_rebuilt(0);
	cr_assert_eq(input(6), FEC_STORED);
	expect_none();
	/* Closing in the middle of reading. */
	cr_assert_eq(input(9), FEC_STORED);
	expect_none();
	fec_decoder_trim(&dec);
	input(12);
	input(15);
	cr_assert_eq(input(16), FEC_REBUILT);
	expect_rebuilt(13);
	fec_decoder_trim(&dec);
	expect_none();
	cr_assert_eq(pool.slots_used, 0);
}

Test(fec_decoder, groups_far_behind_the_newest_are_stale)
{
	make_stream(10, 3, 0, PAYLOAD);
	start(10, 3, FEC_PROFILE_NEW);
	for (size_t group = 0; group < 5; group++) {
		for (size_t i = 0; i < 9; i++)
			cr_assert_eq(input(group * 13 + i), FEC_STORED);
	}
	cr_assert_eq(fec_decoder_group_count(&dec), 4);
	cr_assert_eq(fec_decoder_group_min(&dec), 1);
	cr_assert_eq(dec.stats.short_groups, 1);
	cr_assert_eq(dec.stats.short_shards, 9);
	cr_assert_eq(input(9), FEC_STALE);
	cr_assert_eq(input(13 + 12), FEC_REBUILT);
	expect_rebuilt(13 + 9);
	expect_none();
}

Test(fec_decoder, the_window_follows_a_sender_that_went_back)
{
	make_stream(10, 3, 13000, PAYLOAD);
	start(10, 3, FEC_PROFILE_NEW);
	input(0);
	make_stream(10, 3, 0, PAYLOAD);
	for (size_t at = 0; at < 38; at++)
		cr_assert_eq(input(at), FEC_STALE, "%zu", at);
	for (size_t at = 38; at < 39 + 13; at++)
		input(at);
	cr_assert_eq(dec.stats.resyncs, 1);
	for (size_t at = 53; at < 62; at++)
		cr_assert_eq(input(at), FEC_STORED);
	cr_assert_eq(input(62), FEC_REBUILT);
	expect_rebuilt(52);
}

Test(fec_decoder, over_the_wrap)
{
	for (int profile = FEC_PROFILE_NEW; profile <= FEC_PROFILE_OLD; profile++) {
		make_stream(10, 3, fec_paws(13) - 26, PAYLOAD);
		start(10, 3, (enum fec_profile)profile);
		/* Groups -2, -1, 0, 1 all open at once; the first data packet of each is lost. */
		for (size_t i = 1; i < 10; i++) {
			for (size_t group = 0; group < 4; group++)
				cr_assert_eq(input(group * 13 + i), FEC_STORED);
		}
		cr_assert_eq(fec_decoder_group_count(&dec), 4);
		cr_assert_eq(fec_decoder_group_min(&dec), fec_paws(13) / 13 - 2);
		for (size_t group = 0; group < 4; group++) {
			cr_assert_eq(input(group * 13 + 11), FEC_REBUILT);
			expect_rebuilt(group * 13);
			expect_none();
		}
		cr_assert_eq(dec.stats.short_groups, 0);
	}
}

Test(fec_decoder, numbers_from_paws_on_are_refused)
{
	uint8_t packet[40] = {0};

	for (int profile = FEC_PROFILE_NEW; profile <= FEC_PROFILE_OLD; profile++) {
		start(10, 3, (enum fec_profile)profile);
		for (uint32_t seqid = fec_paws(13); seqid != 0; seqid++) {
			fec_header_write(packet, seqid, FEC_TYPE_DATA);
			cr_assert_eq(fec_decoder_input(&dec, packet, sizeof(packet), mono_at_us(0)),
				FEC_PAWS);
		}
		cr_assert_eq(fec_decoder_group_count(&dec), 0);
	}
}

Test(fec_decoder, malformed)
{
	uint8_t packet[PACKET_BYTES + 1] = {0};

	start(10, 3, FEC_PROFILE_NEW);
	fec_header_write(packet, 0, FEC_TYPE_DATA);
	for (size_t len = 0; len < FEC_HEADER_BYTES; len++)
		cr_assert_eq(fec_decoder_input(&dec, packet, len, mono_at_us(0)), FEC_MALFORMED);
	cr_assert_eq(
		fec_decoder_input(&dec, packet, PACKET_BYTES + 1, mono_at_us(0)), FEC_MALFORMED);
	fec_header_write(packet, FEC_OOB_SEQID, FEC_TYPE_OOB);
	cr_assert_eq(fec_decoder_input(&dec, packet, 40, mono_at_us(0)), FEC_MALFORMED);
	fec_header_write(packet, 0, 81);
	cr_assert_eq(fec_decoder_input(&dec, packet, 40, mono_at_us(0)), FEC_MALFORMED);
	cr_assert_eq(dec.stats.verdicts[FEC_MALFORMED], FEC_HEADER_BYTES + 3);
	cr_assert_eq(pool.slots_used, 0);
	fec_header_write(packet, 0, FEC_TYPE_DATA);
	cr_assert_eq(fec_decoder_input(&dec, packet, FEC_HEADER_BYTES, mono_at_us(0)), FEC_STORED);
	fec_header_write(packet, 1, FEC_TYPE_DATA);
	cr_assert_eq(fec_decoder_input(&dec, packet, PACKET_BYTES, mono_at_us(0)), FEC_STORED);
}

Test(fec_decoder, impossible_sizes_are_errors)
{
	static const uint16_t sizes[] = {0, 1, 2, 14, 15, 65535};
	static const int good[] = {0, 0, 1, 1, 0, 0};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		/* 1/1: the parity is the data, so the rebuilt size is what we write. */
		uint8_t packet[20] = {0};
		size_t len;
		start(1, 1, FEC_PROFILE_NEW);
		fec_header_write(packet, 1, FEC_TYPE_PARITY);
		store_le16(packet + FEC_HEADER_SEQID_BYTES, sizes[i]);
		cr_assert_eq(fec_decoder_input(&dec, packet, sizeof(packet), mono_at_us(0)),
			FEC_REBUILT);
		const uint8_t *payload = fec_decoder_recovered(&dec, &len);
		cr_assert_eq(payload != NULL, good[i], "size %u", sizes[i]);
		if (payload)
			cr_assert_eq(len, sizes[i] - 2u);
		expect_none();
		cr_assert_eq(dec.stats.errors, !good[i]);
		cr_assert_eq(dec.stats.recovered, (uint64_t)good[i]);
	}
}

Test(fec_decoder, old_store_is_bounded_in_packets_and_age)
{
	make_stream(10, 3, 0, PAYLOAD);
	start(10, 3, FEC_PROFILE_OLD);
	for (size_t group = 0; group < 20; group++) {
		for (size_t i = 0; i < 9; i++) {
			cr_assert_eq(input_at(group * 13 + i, (int64_t)group), FEC_STORED);
			cr_assert(dec.stored <= 39);
			cr_assert_eq(pool.slots_used <= 8, true);
		}
	}
	/* Four groups of nine fit into 39; the fifth pushed out the oldest. */
	cr_assert_eq(fec_decoder_group_min(&dec), 16);
	cr_assert_eq(input_at(16 * 13 + 9, 60016), FEC_COMPLETE);
	cr_assert_eq(
		input_at(17 * 13 + 9, 60018), FEC_STORED); /* begun anew: its others are too old */
	cr_assert_eq(fec_decoder_group_count(&dec), 3);
}

Test(fec_decoder, forged_groups_ahead_do_not_keep_honest_ones_out)
{
	uint8_t packet[40] = {0};

	make_stream(10, 3, 0, PAYLOAD);
	start(10, 3, FEC_PROFILE_OLD);
	for (uint32_t i = 0; i < 30; i++) {
		fec_header_write(packet, 13 * (1000000 + i * 1000), FEC_TYPE_DATA);
		cr_assert_eq(
			fec_decoder_input(&dec, packet, sizeof(packet), mono_at_ms(1)), FEC_STORED);
	}
	cr_assert_eq(fec_decoder_group_count(&dec), FEC_DECODER_GROUPS);
	for (size_t i = 1; i < 10; i++)
		cr_assert_eq(input_at(i, 2), FEC_STORED);
	cr_assert_eq(input_at(11, 2), FEC_REBUILT);
	expect_rebuilt(0);
}

Test(fec_decoder, made_on_demand_it_tunes_itself_under_loss)
{
	unsigned seed = 99;
	size_t lost = 0, rebuilt = 0;

	make_stream(10, 3, 0, PAYLOAD);
	start(FEC_DECODER_START_SHARDS, FEC_DECODER_START_SHARDS, FEC_PROFILE_NEW);
	for (size_t at = 0; at < 780; at++) {
		if (rand_r(&seed) % 100 < 5) {
			lost += at % 13 < 10 && at >= 150;
			continue;
		}
		input(at);
		size_t len;
		const uint8_t *payload;
		while ((payload = fec_decoder_recovered(&dec, &len)) != NULL) {
			if (at < 150)
				continue;
			cr_assert_eq(len, PAYLOAD);
			size_t place = load_le32(payload);
			cr_assert(place < 780);
			cr_assert_eq(memcmp(payload, stream[place] + FEC_HEADER_BYTES, len), 0);
			rebuilt++;
		}
	}
	cr_assert_eq(dec.data_shards, 10);
	cr_assert_eq(dec.parity_shards, 3);
	cr_assert_eq(dec.stats.tunes, 1);
	cr_assert(lost > 20 && rebuilt == lost, "%zu of %zu", rebuilt, lost);
}

Test(fec_decoder, one_damaged_type_does_not_stop_recovery_for_long)
{
	make_stream(10, 3, 0, PAYLOAD);
	start(10, 3, FEC_PROFILE_NEW);
	uint8_t bad[PACKET_BYTES];
	memcpy(bad, stream[0], stream_len[0]);
	store_le16(bad + 4, FEC_TYPE_PARITY);
	cr_assert_eq(fec_decoder_input(&dec, bad, stream_len[0], mono_at_us(0)), FEC_TUNING);
	/* Every group lacks its data packet 4, so the tuner never sees a whole run of data. */
	size_t rebuilt = 0;
	for (size_t at = 1; at < 260; at++) {
		if (at % 13 != 4)
			rebuilt += input(at) == FEC_REBUILT;
	}
	cr_assert_eq(dec.stats.tunes, 0);
	cr_assert(rebuilt >= 17, "%zu", rebuilt);
}

Test(fec_decoder, flapping_senders_are_bounded)
{
	unsigned seed = 4;

	start(10, 3, FEC_PROFILE_NEW);
	for (int i = 0; i < 60000; i++) {
		static const unsigned pairs[][2] = {{10, 3}, {3, 1}, {100, 100}, {1, 1}, {200, 50}};
		const unsigned *pair = pairs[i / 300 % 5];
		uint8_t packet[PACKET_BYTES] = {0};
		uint32_t seqid = (uint32_t)i;
		bool is_data = seqid % (pair[0] + pair[1]) < pair[0];
		size_t len = FEC_HEADER_BYTES +
			     (size_t)rand_r(&seed) % (PACKET_BYTES - FEC_HEADER_BYTES + 1);
		fec_header_write(packet, seqid, is_data ? FEC_TYPE_DATA : FEC_TYPE_PARITY);
		fec_decoder_input(&dec, packet, len, mono_at_ms(i));
		size_t payload_len;
		while (rand_r(&seed) % 2 && fec_decoder_recovered(&dec, &payload_len))
			cr_assert(payload_len <= PACKET_BYTES);
		cr_assert(pool.slots_used <= 4 * 255 + 8);
		cr_assert(cache.bytes_used <= 400);
	}
	cr_assert(dec.stats.tunes > 10);
}

/* With each bound on slots: never more, nothing wrong, and with enough everything. */
Test(fec_decoder, survives_every_shortage_of_slots)
{
	make_stream(10, 10, 0, PACKET_BYTES - FEC_HEADER_BYTES);
	for (size_t slots = 0; slots <= 18; slots++) {
		pool.slots_max = slots;
		start(10, 10, FEC_PROFILE_NEW);
		size_t rebuilt = 0;
		for (size_t at = 0; at < 40; at++) {
			if (at % 20 < 10 && at % 20 >= 1)
				continue; /* nine of ten lost */
			input(at);
			size_t len;
			const uint8_t *payload;
			while ((payload = fec_decoder_recovered(&dec, &len)) != NULL) {
				cr_assert_eq(len, PACKET_BYTES - FEC_HEADER_BYTES);
				cr_assert_eq(
					memcmp(payload,
						stream[load_le32(payload)] + FEC_HEADER_BYTES, len),
					0);
				rebuilt++;
			}
		}
		/* Ten packets, the tuner's samples, and at least one to rebuild into. */
		cr_assert_eq(rebuilt, slots >= 12 ? 18 : 0, "%zu slots: %zu", slots, rebuilt);
		cr_assert_eq(dec.stats.recovered, rebuilt);
		cr_assert_eq(dec.stats.errors, slots == 11 ? 18 : 0, "%zu slots", slots);
		if (slots < 11)
			cr_assert(dec.stats.verdicts[FEC_NO_MEMORY] > 0);
		fec_decoder_fini(&dec);
		cr_assert_eq(pool.slots_used, 0);
	}
}

Test(fec_decoder, survives_a_failed_matrix)
{
	make_stream(10, 3, 0, PAYLOAD);
	cache.bytes_max = 0;
	start(10, 3, FEC_PROFILE_NEW);
	for (size_t i = 1; i < 10; i++)
		input(i);
	cr_assert_eq(input(10), FEC_NO_MEMORY);
	expect_none();
	cr_assert_eq(dec.stats.errors, 1);
	cr_assert_eq(fec_decoder_group_count(&dec), 0);
	cache.bytes_max = FEC_MATRIX_CACHE_BYTES_MAX;
	for (size_t i = 14; i < 23; i++)
		input(i);
	cr_assert_eq(input(23), FEC_REBUILT);
	expect_rebuilt(13);
}

Test(fec_decoder, every_verdict_has_a_name)
{
	for (int v = 0; v < FEC_VERDICTS; v++)
		cr_assert(fec_verdict_name((enum fec_verdict)v) != NULL);
	cr_assert_str_eq(fec_verdict_name(FEC_VERDICTS), "?");
	cr_assert_str_eq(fec_verdict_name(FEC_REBUILT), "rebuilt");
}
