/*
 * Encoder and decoder against the naive twin, for 1..64 data and 0..32 parity shards: the same parity, and the same
 * rebuilt packets for random erasures, random lengths, random order. Then the same for groups that no sender would
 * make (random bytes, parity of any length), which must still come out as the equations say.
 */
#include "core/pool.h"
#include "fec/fec_decoder.h"
#include "fec/fec_encoder.h"
#include "fec/fec_matrix.h"
#include "fec/fec_slot.h"
#include "fec_twin.h"
#include "tests/thorough.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PACKET_BYTES = 1500, DATA_MAX = 64, PARITY_MAX = 32, PAYLOAD_MAX = 300 };

static struct fec_matrix_cache cache;
static struct pool pool;
static unsigned seed = 20200801;
static uint8_t rows[TWIN_SHARDS][TWIN_SHARDS];
static struct twin_shard shards[TWIN_SHARDS], kept[TWIN_SHARDS], solved[TWIN_SHARDS];

static unsigned draw(unsigned below)
{
	return (unsigned)rand_r(&seed) % below;
}

static void setup(void)
{
	fec_matrix_cache_init(&cache, FEC_MATRIX_CACHE_BYTES_MAX);
	pool_init(&pool, FEC_SLOT_BYTES(PACKET_BYTES), 1000);
}

static void teardown(void)
{
	cr_assert_eq(pool.slots_used, 0);
	pool_fini(&pool);
	fec_matrix_cache_fini(&cache);
}

TestSuite(fec_twin, .init = setup, .fini = teardown);

/* Pushes a group of random packets; compares headers and parity; leaves all shards in `shards`. */
static void encode_group(struct fec_encoder *enc, unsigned d, unsigned p, uint32_t group)
{
	struct fec_parity parity = {0};

	for (unsigned i = 0; i < d; i++) {
		uint8_t packet[PACKET_BYTES];
		size_t payload_len = draw(16) == 0 ? draw(PACKET_BYTES - FEC_HEADER_BYTES + 1)
						   : draw(PAYLOAD_MAX);
		for (size_t k = 0; k < payload_len; k++)
			packet[FEC_HEADER_BYTES + k] = (uint8_t)draw(256);
		int count = fec_encoder_push(enc, packet, payload_len, mono_at_us(0), &parity);
		cr_assert_eq(count, i + 1 == d ? (int)p : 0);
		cr_assert_eq(load_le32(packet), group * (d + p) + i);
		cr_assert_eq(load_le16(packet + 4), FEC_TYPE_DATA);
		cr_assert_eq(load_le16(packet + 6), payload_len + 2);
		memset(&shards[i], 0, sizeof(shards[i]));
		shards[i].len = payload_len + 2;
		memcpy(shards[i].bytes, packet + FEC_HEADER_SEQID_BYTES, shards[i].len);
	}
	twin_encode(d, d + p, rows, shards);
	cr_assert_eq(parity.count, p);
	for (unsigned j = 0; j < p; j++) {
		cr_assert_eq(load_le32(parity.packets[j]), group * (d + p) + d + j);
		cr_assert_eq(load_le16(parity.packets[j] + 4), FEC_TYPE_PARITY);
		cr_assert_eq(parity.len, FEC_HEADER_SEQID_BYTES + shards[d + j].len);
		cr_assert_eq(memcmp(parity.packets[j] + FEC_HEADER_SEQID_BYTES, shards[d + j].bytes,
				     shards[d + j].len),
			0, "%u/%u parity %u", d, p, j);
	}
}

/* Feeds the shards of a group that are kept, in random order. @return the verdict of the last */
static enum fec_verdict feed(struct fec_decoder *dec, unsigned d, unsigned p, uint32_t group)
{
	unsigned order[TWIN_SHARDS], n = 0;
	enum fec_verdict verdict = FEC_STORED;

	for (unsigned s = 0; s < d + p; s++) {
		if (kept[s].len)
			order[n++] = s;
	}
	for (unsigned i = n; i > 1; i--) {
		unsigned with = draw(i), t = order[i - 1];
		order[i - 1] = order[with];
		order[with] = t;
	}
	for (unsigned i = 0; i < n; i++) {
		uint8_t packet[PACKET_BYTES];
		unsigned s = order[i];
		fec_header_write(
			packet, group * (d + p) + s, s < d ? FEC_TYPE_DATA : FEC_TYPE_PARITY);
		memcpy(packet + FEC_HEADER_SEQID_BYTES, kept[s].bytes, kept[s].len);
		verdict = fec_decoder_input(
			dec, packet, FEC_HEADER_SEQID_BYTES + kept[s].len, mono_at_us(0));
		if (i + 1 < n)
			cr_assert_eq(verdict, FEC_STORED);
	}
	return verdict;
}

/* Compares what is rebuilt with the twin's solution. */
static void compare_rebuilt(struct fec_decoder *dec, unsigned d, unsigned p)
{
	const uint8_t *payload;
	size_t payload_len;

	twin_decode(d, d + p, rows, kept, solved);
	for (unsigned s = 0; s < d; s++) {
		size_t size = load_le16(solved[s].bytes);
		if (kept[s].len || size < 2 || size > solved[s].len)
			continue;
		payload = fec_decoder_recovered(dec, &payload_len);
		cr_assert(payload != NULL, "%u/%u shard %u", d, p, s);
		cr_assert_eq(payload_len, size - 2);
		cr_assert_eq(memcmp(payload, solved[s].bytes + 2, payload_len), 0, "%u/%u shard %u",
			d, p, s);
	}
	payload = fec_decoder_recovered(dec, &payload_len);
	cr_assert(payload == NULL);
}

/* Leaves `count` of the group's shards. @return how many data shards are missing */
static unsigned erase(unsigned d, unsigned p, unsigned count)
{
	unsigned missing = 0, left = d + p;

	memcpy(kept, shards, (d + p) * sizeof(kept[0]));
	while (left > count) {
		unsigned s = draw(d + p);
		if (!kept[s].len)
			continue;
		kept[s].len = 0;
		missing += s < d;
		left--;
	}
	return missing;
}

static void check_pair(unsigned d, unsigned p)
{
	struct fec_encoder enc;
	struct fec_decoder dec;
	uint32_t group = 0;
	uint64_t rebuilt = 0;

	cr_assert_eq(fec_encoder_init(&enc, d, p, PACKET_BYTES, FEC_PROFILE_OLD, &cache, &pool), 0);
	cr_assert_eq(fec_decoder_init(&dec, d, p, PACKET_BYTES, FEC_PROFILE_NEW, &cache, &pool), 0);

	encode_group(&enc, d, p, group);
	unsigned missing = erase(d, p, d);
	cr_assert_eq(feed(&dec, d, p, group++), missing ? FEC_REBUILT : FEC_COMPLETE);
	compare_rebuilt(&dec, d, p);
	for (unsigned s = 0; s < d; s++) {
		if (!kept[s].len)
			cr_assert_eq(memcmp(solved[s].bytes, shards[s].bytes, solved[s].len), 0);
	}
	rebuilt += missing;
	cr_assert_eq(dec.stats.recovered, rebuilt);
	cr_assert_eq(pool.slots_used, p + 1); /* the encoder's parity, the tuner's samples */

	/* One too few: nothing. */
	encode_group(&enc, d, p, group);
	erase(d, p, d - 1);
	cr_assert_eq(feed(&dec, d, p, group++), FEC_STORED);
	cr_assert_eq(dec.stats.recovered, rebuilt);

	/* What no sender makes. */
	for (unsigned s = 0; s < d + p; s++) {
		memset(&shards[s], 0, sizeof(shards[s]));
		shards[s].len = 2 + draw(PAYLOAD_MAX);
		for (size_t k = 0; k < shards[s].len; k++)
			shards[s].bytes[k] = (uint8_t)draw(k == 1 ? 2 : 256);
	}
	missing = erase(d, p, d);
	feed(&dec, d, p, group++);
	compare_rebuilt(&dec, d, p);
	cr_assert_eq(dec.stats.recovered + dec.stats.errors, rebuilt + missing);

	fec_decoder_fini(&dec);
	fec_encoder_fini(&enc);
}

Test(fec_twin, agrees_for_all_shard_counts, .timeout = 300)
{
	for (unsigned d = 1; d <= DATA_MAX; d += thorough() ? 1 : 3) {
		struct fec_encoder enc;
		cr_assert_eq(
			fec_encoder_init(&enc, d, 0, PACKET_BYTES, FEC_PROFILE_NEW, &cache, &pool),
			-EINVAL);
		twin_matrix(d, d + PARITY_MAX, rows);
		for (unsigned p = 1; p <= PARITY_MAX; p++)
			check_pair(d, p);
	}
}

Test(fec_twin, agrees_for_the_largest_groups)
{
	static const unsigned pairs[][2] = {
		{128, 127}, {128, 128}, {1, 255}, {255, 1}, {200, 56}, {56, 200}};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		twin_matrix(pairs[i][0], pairs[i][0] + pairs[i][1], rows);
		check_pair(pairs[i][0], pairs[i][1]);
	}
}
