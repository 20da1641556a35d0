/* Sealing and opening against a twin of libsodium's one-shot calls, and everything that has to be refused. */
#include "crypto/seal.h"

#include "core/endian.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum {
	LEN_MAX = 1600,
	BATCH = 32,
#if SEAL_ABORTS_ON_REUSE /* a build for a sanitizer is slow */
	ROUNDS = 1000,
#else
	ROUNDS = 4000,
#endif
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

/* The specification in the plainest way: the whole key stream, then XOR byte by byte. */
static void twin_seal(uint8_t *datagram, const uint8_t *plain, size_t len, uint32_t index,
	uint64_t counter, const uint8_t key[32])
{
	uint8_t nonce[8];
	uint8_t *stream = malloc(64 + len);

	store_le64(nonce, counter);
	crypto_stream_salsa20(stream, 64 + len, nonce, key);
	store_le32(datagram, 0x010c);
	store_le32(datagram + 4, index);
	store_le64(datagram + 8, counter);
	for (size_t i = 0; i < len; i++)
		datagram[16 + i] = plain[i] ^ stream[64 + i];
	crypto_onetimeauth_poly1305(datagram + 16 + len, datagram, 16 + len, stream);
	free(stream);
}

/* A datagram in memory of exactly its size, so that a sanitizer sees a step outside. */
struct packet {
	uint8_t *datagram;
	size_t len; /* of the whole datagram */
};

static struct packet packet_new(const uint8_t *plain, size_t len)
{
	struct packet packet = {malloc(len + SEAL_OVERHEAD_BYTES), len + SEAL_OVERHEAD_BYTES};

	cr_assert(packet.datagram);
	memset(packet.datagram, 0xee, packet.len);
	memcpy(packet.datagram + SEAL_HEADER_BYTES, plain, len);
	return packet;
}

static struct seal_item to_seal(
	const struct packet *packet, struct seal_key *key, uint32_t index, uint64_t counter)
{
	return (struct seal_item){
		.payload = packet->datagram + SEAL_HEADER_BYTES,
		.len = packet->len - SEAL_OVERHEAD_BYTES,
		.counter = counter,
		.key = key,
		.receiver_index = index,
		.verdict = SEAL_VERDICTS,
	};
}

static struct open_item to_open(const struct packet *packet, const uint8_t key[32])
{
	return (struct open_item){.datagram = packet->datagram,
		.len = packet->len,
		.key = key,
		.verdict = SEAL_VERDICTS,
		.payload = packet->datagram,
		.payload_len = 1};
}

static void check_length(size_t len)
{
	uint8_t key[32], *plain = malloc(len + 1), *want = malloc(len + SEAL_OVERHEAD_BYTES);
	struct seal_key seal;
	uint32_t index = (uint32_t)random_64();
	uint64_t counter = random_64() >> 16;

	random_fill(key, sizeof(key));
	random_fill(plain, len);
	twin_seal(want, plain, len, index, counter, key);
	seal_key_init(&seal, key);
	struct packet packet = packet_new(plain, len);
	struct seal_item out = to_seal(&packet, &seal, index, counter);
	seal_batch(&out, 1);
	cr_assert_eq(out.verdict, SEAL_OK);
	cr_assert_arr_eq(packet.datagram, want, packet.len, "%zu bytes", len);

	struct open_item in = to_open(&packet, key);
	open_batch(&in, 1);
	cr_assert_eq(in.verdict, SEAL_OK, "%zu bytes", len);
	cr_assert_eq(in.payload, packet.datagram + SEAL_HEADER_BYTES);
	cr_assert_eq(in.payload_len, len);
	cr_assert_eq(memcmp(in.payload, plain, len), 0);
	cr_assert_arr_eq(packet.datagram, want, SEAL_HEADER_BYTES, "the header stays");
	free(packet.datagram);
	free(want);
	free(plain);
}

Test(seal, every_length_equals_the_twin)
{
	for (size_t len = 0; len <= LEN_MAX; len++)
		check_length(len);
	for (size_t len = 1900; len <= 2200; len++) /* around the end of the scratch buffer */
		check_length(len);
	check_length(9000);
	check_length(SEAL_PAYLOAD_MAX - 1);
	check_length(SEAL_PAYLOAD_MAX);
}

/* Random batches: several keys, several datagrams of one key, some forged; each item as if it were alone. */
static void check_batches(unsigned rounds)
{
	static uint8_t plain[BATCH][LEN_MAX], want[BATCH][LEN_MAX + SEAL_OVERHEAD_BYTES];
	uint64_t counters[4] = {0, 5, 1ull << 32, (1ull << 47) - 1};
	struct seal_key seals[4];

	for (size_t k = 0; k < 4; k++) {
		uint8_t key[32];
		random_fill(key, sizeof(key));
		seal_key_init(&seals[k], key);
	}
	for (unsigned round = 0; round < rounds; round++) {
		struct packet packets[BATCH];
		struct seal_item out[BATCH];
		struct open_item in[BATCH];
		bool forged[BATCH];
		size_t count = random_64() % (BATCH + 1);

		for (size_t i = 0; i < count; i++) {
			size_t k = random_64() % 4, len = random_64() % (LEN_MAX + 1);
			uint64_t counter = counters[k] += 1 + random_64() % 3;

			random_fill(plain[i], len < 16 ? len : 16);
			packets[i] = packet_new(plain[i], len);
			out[i] = to_seal(&packets[i], &seals[k], (uint32_t)k, counter);
			twin_seal(want[i], plain[i], len, (uint32_t)k, counter, seals[k].key);
		}
		seal_batch(out, count);
		for (size_t i = 0; i < count; i++) {
			cr_assert_eq(out[i].verdict, SEAL_OK);
			cr_assert_eq(memcmp(packets[i].datagram, want[i], packets[i].len), 0);
			in[i] = to_open(&packets[i], out[i].key->key);
			forged[i] = random_64() % 4 == 0;
			if (forged[i])
				packets[i].datagram[random_64() % packets[i].len] ^= 0x10;
		}
		open_batch(in, count);
		for (size_t i = 0; i < count; i++) {
			cr_assert_eq(in[i].verdict, forged[i] ? SEAL_BAD_TAG : SEAL_OK);
			if (!forged[i])
				cr_assert_eq(memcmp(in[i].payload, plain[i], out[i].len), 0);
			free(packets[i].datagram);
		}
	}
}

Test(seal, a_batch_equals_single_calls)
{
	check_batches(ROUNDS);
	seal_batch(NULL, 0);
	open_batch(NULL, 0);
}

Test(seal, whoever_makes_the_bytes)
{
	for (int impl = SEAL_IMPL_AUTO; impl < SEAL_IMPLS; impl++) {
		seal_use((enum seal_impl)impl);
		check_batches(ROUNDS / 8);
		check_length(0);
		check_length(1400);
		check_length(SEAL_PAYLOAD_MAX);
	}
}

/* Refusals of all kinds between datagrams that are fine, in more than one part of a batch. */
Test(seal, each_item_has_its_own_verdict)
{
	enum { COUNT = 50, LEN = 200 };
	uint8_t key[32] = {7}, other_key[32] = {8}, plain[LEN];
	enum seal_verdict want[COUNT];
	struct packet packets[COUNT];
	struct seal_item out[COUNT];
	struct open_item in[COUNT];
	struct seal_key seal;

	memset(plain, 0x5a, sizeof(plain));
	seal_key_init(&seal, key);
	for (size_t i = 0; i < COUNT; i++) {
		packets[i] = packet_new(plain, LEN);
		want[i] = i % 7 == 3 ? SEAL_BAD_COUNTER : i % 7 == 5 ? SEAL_BAD_SIZE : SEAL_OK;
		out[i] = to_seal(&packets[i], &seal, 1,
			want[i] == SEAL_BAD_COUNTER ? SEAL_COUNTER_END + i : 100 + i);
		if (want[i] == SEAL_BAD_SIZE)
			out[i].len = SEAL_PAYLOAD_MAX + 1;
	}
	seal_batch(out, COUNT);
	cr_assert_eq(seal.counter_min, 100 + COUNT);
	for (size_t i = 0; i < COUNT; i++) {
		uint8_t *payload = packets[i].datagram + SEAL_HEADER_BYTES;
		cr_assert_eq(out[i].verdict, want[i], "%zu", i);
		if (want[i] == SEAL_BAD_COUNTER)
			cr_assert(sodium_is_zero(packets[i].datagram, packets[i].len));
		if (want[i] == SEAL_BAD_SIZE)
			cr_assert_arr_eq(payload, plain, LEN, "not touched");
		in[i] = to_open(&packets[i], i % 11 == 4 ? other_key : key);
		if (i % 11 == 6)
			in[i].len = i % 2 ? SEAL_DATAGRAM_MIN - 1 : SEAL_DATAGRAM_MAX + 1;
		want[i] = i % 11 == 6			      ? SEAL_BAD_SIZE
			  : i % 11 == 4 || want[i] != SEAL_OK ? SEAL_BAD_TAG
							      : SEAL_OK;
	}
	open_batch(in, COUNT);
	for (size_t i = 0; i < COUNT; i++) {
		cr_assert_eq(in[i].verdict, want[i], "%zu", i);
		cr_assert_eq(in[i].payload_len, want[i] == SEAL_OK ? LEN : 0);
		if (want[i] == SEAL_OK)
			cr_assert_arr_eq(in[i].payload, plain, LEN);
		else
			cr_assert_null(in[i].payload);
		free(packets[i].datagram);
	}
}

/* As UDP_GRO hands them over: no room between datagrams, and none is touched by its neighbours. */
Test(seal, datagrams_back_to_back)
{
	enum { COUNT = 20, LEN = 333 };
	uint8_t *all = malloc(COUNT * (LEN + SEAL_OVERHEAD_BYTES));
	uint8_t key[32] = {3}, plain[LEN];
	struct seal_key seal;
	struct seal_item out[COUNT];
	struct open_item in[COUNT];

	seal_key_init(&seal, key);
	for (size_t i = 0; i < COUNT; i++) {
		struct packet packet = {
			all + i * (LEN + SEAL_OVERHEAD_BYTES), LEN + SEAL_OVERHEAD_BYTES};
		memset(packet.datagram + SEAL_HEADER_BYTES, (int)i, LEN);
		out[i] = to_seal(&packet, &seal, 1, i);
		in[i] = to_open(&packet, key);
	}
	seal_batch(out, COUNT);
	in[7].datagram[100] ^= 1;
	open_batch(in, COUNT);
	for (size_t i = 0; i < COUNT; i++) {
		cr_assert_eq(out[i].verdict, SEAL_OK);
		cr_assert_eq(in[i].verdict, i == 7 ? SEAL_BAD_TAG : SEAL_OK);
		memset(plain, (int)i, LEN);
		if (i != 7)
			cr_assert_arr_eq(in[i].payload, plain, LEN);
	}
	free(all);
}

Test(open, refuses_every_flipped_bit_and_leaves_the_bytes)
{
	static const size_t lens[] = {0, 1, 28, 176, 177, 1400, 2000, 3000};

	for (size_t l = 0; l < sizeof(lens) / sizeof(lens[0]); l++) {
		uint8_t key[32], plain[3000], before[3000 + SEAL_OVERHEAD_BYTES];
		struct seal_key seal;

		random_fill(key, sizeof(key));
		random_fill(plain, lens[l]);
		seal_key_init(&seal, key);
		struct packet packet = packet_new(plain, lens[l]);
		struct seal_item out = to_seal(&packet, &seal, 0x77, 9);
		seal_batch(&out, 1);
		for (size_t bit = 0; bit < packet.len * 8; bit++) {
			packet.datagram[bit / 8] ^= (uint8_t)(1 << bit % 8);
			memcpy(before, packet.datagram, packet.len);
			struct open_item in = to_open(&packet, key);
			open_batch(&in, 1);
			cr_assert_eq(in.verdict, SEAL_BAD_TAG, "%zu bytes, bit %zu", lens[l], bit);
			cr_assert_null(in.payload);
			cr_assert_eq(in.payload_len, 0);
			cr_assert_eq(memcmp(packet.datagram, before, packet.len), 0);
			packet.datagram[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		for (size_t bit = 0; bit < 256; bit++) {
			key[bit / 8] ^= (uint8_t)(1 << bit % 8);
			struct open_item in = to_open(&packet, key);
			open_batch(&in, 1);
			cr_assert_eq(in.verdict, SEAL_BAD_TAG);
			key[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		struct open_item in = to_open(&packet, key);
		open_batch(&in, 1);
		cr_assert_eq(in.verdict, SEAL_OK);
		free(packet.datagram);
	}
}

Test(open, refuses_every_cut)
{
	uint8_t key[32] = {5}, plain[100] = {0};
	struct seal_key seal;

	seal_key_init(&seal, key);
	struct packet whole = packet_new(plain, sizeof(plain));
	struct seal_item out = to_seal(&whole, &seal, 1, 1);
	seal_batch(&out, 1);
	for (size_t len = 0; len <= whole.len + 40; len++) {
		struct packet cut = {malloc(len ? len : 1), len};

		memset(cut.datagram, 0, len);
		memcpy(cut.datagram, whole.datagram, len < whole.len ? len : whole.len);
		struct open_item in = to_open(&cut, key);
		open_batch(&in, 1);
		cr_assert_eq(in.verdict,
			len < SEAL_DATAGRAM_MIN ? SEAL_BAD_SIZE
			: len == whole.len	? SEAL_OK
						: SEAL_BAD_TAG,
			"%zu", len);
		free(cut.datagram);
	}
	struct open_item long_one = {.datagram = NULL, .len = SEAL_DATAGRAM_MAX + 1, .key = key};
	open_batch(&long_one, 1);
	cr_assert_eq(long_one.verdict, SEAL_BAD_SIZE);
	free(whole.datagram);
}

/* ---- headers ----------------------------------------------------------------------------------------------------- */

Test(seal_header, is_judged_before_it_is_read)
{
	uint8_t datagram[SEAL_DATAGRAM_MIN] = {
		0x0c, 1, 0, 0, 0x44, 0x33, 0x22, 0x11, 6, 5, 4, 3, 2, 1};
	struct seal_header header = {1, 2};

	for (size_t len = 0; len < SEAL_DATAGRAM_MIN; len++) {
		uint8_t *exact = malloc(len ? len : 1);
		memcpy(exact, datagram, len);
		cr_assert_eq(seal_header_read(exact, len, &header), SEAL_BAD_SIZE);
		free(exact);
	}
	cr_assert_eq(seal_header_read(datagram, SEAL_DATAGRAM_MAX + 1, &header), SEAL_BAD_SIZE);
	for (size_t bit = 0; bit < 32; bit++) {
		datagram[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_eq(seal_header_read(datagram, sizeof(datagram), &header), SEAL_BAD_WORD);
		datagram[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t bit = 48; bit < 64; bit++) {
		datagram[8 + bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_eq(
			seal_header_read(datagram, sizeof(datagram), &header), SEAL_BAD_COUNTER);
		datagram[8 + bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	uint8_t at_the_end[SEAL_DATAGRAM_MIN];
	memcpy(at_the_end, datagram, sizeof(datagram));
	store_le64(at_the_end + 8, SEAL_COUNTER_END);
	cr_assert_eq(seal_header_read(at_the_end, sizeof(at_the_end), &header), SEAL_BAD_COUNTER);
	cr_assert_eq(header.receiver_index, 1, "untouched by refusals");
	cr_assert_eq(header.counter, 2);
	cr_assert_eq(seal_header_read(datagram, sizeof(datagram), &header), SEAL_OK);
	cr_assert_eq(header.receiver_index, 0x11223344);
	cr_assert_eq(header.counter, 0x010203040506);
}

/* ---- a counter is used once -------------------------------------------------------------------------------------- */

static enum seal_verdict seal_counter(
	struct seal_key *seal, uint64_t counter, struct packet *ret_packet)
{
	struct packet packet = packet_new((const uint8_t *)"secret", 6);
	struct seal_item item = to_seal(&packet, seal, 1, counter);

	seal_batch(&item, 1);
	if (item.verdict != SEAL_OK)
		cr_assert(sodium_is_zero(packet.datagram, packet.len), "no plaintext stays");
	if (ret_packet)
		*ret_packet = packet;
	else
		free(packet.datagram);
	return item.verdict;
}

Test(seal_key, counters_rise)
{
	uint8_t key[32] = {1};
	struct seal_key seal;

	seal_key_init(&seal, key);
	cr_assert_eq(seal_counter(&seal, 0, NULL), SEAL_OK);
	cr_assert_eq(seal_counter(&seal, 1, NULL), SEAL_OK);
	cr_assert_eq(seal_counter(&seal, 100, NULL), SEAL_OK);
	cr_assert_eq(seal_counter(&seal, SEAL_COUNTER_END, NULL), SEAL_BAD_COUNTER);
	cr_assert_eq(seal_counter(&seal, UINT64_MAX, NULL), SEAL_BAD_COUNTER);
	cr_assert_eq(seal_counter(&seal, SEAL_COUNTER_END - 1, NULL), SEAL_OK);
	seal_key_init(&seal, key);
	cr_assert_eq(seal_counter(&seal, 7, NULL), SEAL_OK, "a new key starts anywhere");
	struct seal_item too_long = {
		.payload = NULL, .len = SEAL_PAYLOAD_MAX + 1, .key = &seal, .counter = 8};
	seal_batch(&too_long, 1);
	cr_assert_eq(too_long.verdict, SEAL_BAD_SIZE);
	cr_assert_eq(seal_counter(&seal, 8, NULL), SEAL_OK, "a refused size uses no counter");
}

#if SEAL_ABORTS_ON_REUSE
#define REUSE_TEST(name) Test(seal_key, name, .signal = SIGABRT)
#else
#define REUSE_TEST(name) Test(seal_key, name)
#endif

/* In builds that abort, the first refusal ends the test, as it should. */
REUSE_TEST(refuses_the_same_counter)
{
	uint8_t key[32] = {1};
	struct seal_key seal;

	seal_key_init(&seal, key);
	cr_assert_eq(seal_counter(&seal, 100, NULL), SEAL_OK);
	cr_assert_eq(seal_counter(&seal, 100, NULL), SEAL_REUSED);
	cr_assert_not(SEAL_ABORTS_ON_REUSE);
}

REUSE_TEST(refuses_a_smaller_counter)
{
	uint8_t key[32] = {1};
	struct seal_key seal;

	seal_key_init(&seal, key);
	cr_assert_eq(seal_counter(&seal, 100, NULL), SEAL_OK);
	cr_assert_eq(seal_counter(&seal, 99, NULL), SEAL_REUSED);
	cr_assert_eq(seal_counter(&seal, 0, NULL), SEAL_REUSED);
	cr_assert_eq(seal_counter(&seal, 101, NULL), SEAL_OK);
	cr_assert_not(SEAL_ABORTS_ON_REUSE);
}

REUSE_TEST(refuses_a_counter_twice_in_a_batch)
{
	uint8_t key[32] = {1};
	struct seal_key seal;
	struct packet first = packet_new((const uint8_t *)"secret", 6);
	struct packet second = packet_new((const uint8_t *)"secret", 6);

	seal_key_init(&seal, key);
	struct seal_item items[2] = {to_seal(&first, &seal, 1, 4), to_seal(&second, &seal, 1, 4)};
	seal_batch(items, 2);
	cr_assert_eq(items[0].verdict, SEAL_OK);
	cr_assert_eq(items[1].verdict, SEAL_REUSED);
	cr_assert(sodium_is_zero(second.datagram, second.len));
	free(first.datagram);
	free(second.datagram);
	cr_assert_not(SEAL_ABORTS_ON_REUSE);
}

/* Copies of one number all over a batch: one is sealed, under every implementation. */
REUSE_TEST(refuses_a_counter_many_times_in_a_batch)
{
	uint8_t key[32] = {1};
	struct seal_key seal;
	struct packet packets[BATCH];
	struct seal_item items[BATCH];

	for (int impl = SEAL_IMPL_AUTO; impl < SEAL_IMPLS; impl++) {
		seal_use((enum seal_impl)impl);
		seal_key_init(&seal, key);
		for (size_t i = 0; i < BATCH; i++) {
			packets[i] = packet_new((const uint8_t *)"secret", 6);
			items[i] = to_seal(&packets[i], &seal, 1, i < 4 ? i : 4);
		}
		seal_batch(items, BATCH);
		for (size_t i = 0; i < BATCH; i++) {
			cr_assert_eq(items[i].verdict, i <= 4 ? SEAL_OK : SEAL_REUSED, "%zu", i);
			cr_assert(i <= 4 || sodium_is_zero(packets[i].datagram, packets[i].len));
			free(packets[i].datagram);
		}
	}
	cr_assert_not(SEAL_ABORTS_ON_REUSE);
}

REUSE_TEST(a_wiped_key_seals_nothing)
{
	uint8_t key[32] = {1};
	struct seal_key seal;

	seal_key_init(&seal, key);
	seal_key_wipe(&seal);
	cr_assert(sodium_is_zero(seal.key, sizeof(seal.key)));
	cr_assert_eq(seal_counter(&seal, SEAL_COUNTER_END - 1, NULL), SEAL_REUSED);
	cr_assert_not(SEAL_ABORTS_ON_REUSE);
}
