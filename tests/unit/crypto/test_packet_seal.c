/* Datagrams: every cipher through sealing and opening, good, damaged, cut and in batches. */
#include "crypto/packet_seal.h"

#include "core/rand.h"
#include "crypto/cipher.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum {
	PAYLOAD_MAX = 1600,
	ROOM = PACKET_HEADROOM_BYTES + PAYLOAD_MAX + PACKET_TAILROOM_BYTES,
	FENCE = 0xa5,
};

/* A stream of bytes that does not depend on how it is cut into calls. */
struct seeded {
	unsigned seed;
	size_t calls;
	size_t bytes;
};

static void seeded_fill(void *ctx, void *buf, size_t len)
{
	struct seeded *seeded = ctx;
	uint8_t *bytes = buf;

	seeded->calls++;
	seeded->bytes += len;
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)rand_r(&seeded->seed);
}

static struct cipher *make(enum cipher_kind kind, unsigned seed)
{
	struct cipher *cipher = NULL;
	uint8_t key[CIPHER_KEY_BYTES_MAX];

	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)rand_r(&seed);
	cr_assert_eq(cipher_new_kind(kind, key, sizeof(key), &cipher), 0);
	return cipher;
}

static void payload_fill(uint8_t *payload, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		payload[i] = (uint8_t)rand_r(&seed);
}

/* Seals a payload of `len` pseudo-random bytes into `packet`; returns the datagram's length. */
static size_t seal_one(struct cipher *cipher, uint8_t *packet, size_t len, unsigned seed)
{
	struct seeded seeded = {seed + 1, 0, 0};
	struct rand_source rnd = {seeded_fill, &seeded};
	struct packet_seal_item item = {packet, packet_header_bytes(cipher) + len};

	payload_fill(packet + packet_header_bytes(cipher), len, seed);
	packet_seal(cipher, &item, 1, &rnd);
	cr_assert_eq(item.packet, packet);
	return item.len;
}

static enum packet_open_verdict open_one(struct cipher *cipher, uint8_t *packet, size_t len)
{
	struct packet_open_item item = {
		.packet = packet, .len = len, .payload = packet, .payload_len = 1};

	packet_open(cipher, &item, 1);
	cr_assert_eq(item.packet, packet);
	cr_assert_eq(item.len, len);
	if (item.verdict == PACKET_OPEN_OK) {
		cr_assert_eq(item.payload, packet + packet_header_bytes(cipher));
		cr_assert_eq(item.payload_len,
			len - packet_header_bytes(cipher) - packet_trailer_bytes(cipher));
	} else {
		cr_assert_eq(item.payload, NULL);
		cr_assert_eq(item.payload_len, 0);
	}
	return item.verdict;
}

Test(packet_seal, overhead_of_each_framing)
{
	for (unsigned i = 0; i < CIPHER_KINDS; i++) {
		struct cipher *cipher = make((enum cipher_kind)i, 1);
		size_t header = packet_header_bytes(cipher);
		size_t trailer = packet_trailer_bytes(cipher);
		switch (cipher_framing_of(cipher)) {
		case CIPHER_FRAMING_PLAIN:
			cr_assert(header == 0 && trailer == 0);
			break;
		case CIPHER_FRAMING_CHECKSUM:
			cr_assert(header == 20 && trailer == 0);
			break;
		case CIPHER_FRAMING_AEAD:
			cr_assert(header == 12 && trailer == 16);
			break;
		}
		cr_assert(header <= PACKET_HEADROOM_BYTES && trailer <= PACKET_TAILROOM_BYTES);
		cipher_free(cipher);
	}
}

Test(packet_seal, every_length_comes_back)
{
	static uint8_t area[32 + ROOM + 32], want[PAYLOAD_MAX];

	for (unsigned i = 0; i < CIPHER_KINDS; i++) {
		struct cipher *cipher = make((enum cipher_kind)i, 2);
		const char *name = cipher_name(cipher);
		/* null has no datagram without a payload */
		size_t least = i == CIPHER_NULL ? 1 : 0;
		for (size_t len = least; len <= PAYLOAD_MAX; len++) {
			uint8_t *packet = area + 1 + len % 31;
			memset(area, FENCE, sizeof(area));
			size_t sealed = seal_one(cipher, packet, len, (unsigned)len);
			cr_assert_eq(sealed,
				packet_header_bytes(cipher) + len + packet_trailer_bytes(cipher));
			cr_assert_eq(open_one(cipher, packet, sealed), PACKET_OPEN_OK, "%s, %zu",
				name, len);
			payload_fill(want, len, (unsigned)len);
			cr_assert(memcmp(packet + packet_header_bytes(cipher), want, len) == 0);
			for (uint8_t *at = area; at < area + sizeof(area); at++)
				cr_assert(*at == FENCE || (at >= packet && at < packet + sealed),
					"%s touched a byte outside, length %zu", name, len);
		}
		cipher_free(cipher);
	}
}

Test(packet_seal, hides_the_payload)
{
	static uint8_t packet[ROOM], plain[PAYLOAD_MAX];

	for (unsigned i = 0; i < CIPHER_KINDS; i++) {
		struct cipher *cipher = make((enum cipher_kind)i, 2);
		const uint8_t *payload = packet + packet_header_bytes(cipher);
		size_t same = 0;
		seal_one(cipher, packet, 1000, 4);
		payload_fill(plain, 1000, 4);
		for (size_t k = 0; k < 1000; k++)
			same += payload[k] == plain[k];
		if (i == CIPHER_NONE || i == CIPHER_NULL)
			cr_assert_eq(same, 1000);
		else
			cr_assert(same < 30, "%s leaves %zu bytes", cipher_name(cipher), same);
		cipher_free(cipher);
	}
}

Test(packet_seal, nonces_are_drawn_once_for_64_packets)
{
	static const struct {
		enum cipher_kind kind;
		size_t nonce_bytes;
	} rows[] = {
		{CIPHER_SALSA20, 16}, {CIPHER_AES, 16}, {CIPHER_AES_128_GCM, 12}, {CIPHER_NULL, 0}};
	static uint8_t packets[130][64];

	for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		static const size_t counts[] = {0, 1, 64, 65, 130};
		struct cipher *cipher = make(rows[r].kind, 3);
		for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
			struct seeded seeded = {1, 0, 0};
			struct rand_source rnd = {seeded_fill, &seeded};
			struct packet_seal_item items[130];
			for (size_t i = 0; i < counts[c]; i++)
				items[i] = (struct packet_seal_item){packets[i], 40};
			packet_seal(cipher, items, counts[c], &rnd);
			cr_assert_eq(seeded.bytes, counts[c] * rows[r].nonce_bytes);
			cr_assert_eq(seeded.calls, rows[r].nonce_bytes ? (counts[c] + 63) / 64 : 0);
		}
		cipher_free(cipher);
	}
}

Test(packet_seal, a_batch_gives_what_single_packets_give)
{
	enum { MOST = 150 };
	static uint8_t together[MOST][ROOM], alone[MOST][ROOM];
	static const size_t counts[] = {1, 2, 63, 64, 65, MOST};

	for (unsigned k = 0; k < CIPHER_KINDS * 6; k++) {
		struct cipher *cipher = make((enum cipher_kind)(k / 6), 4);
		size_t count = counts[k % 6], header = packet_header_bytes(cipher);
		struct seeded batch_seed = {77, 0, 0}, single_seed = {77, 0, 0};
		struct rand_source batch_rnd = {seeded_fill, &batch_seed};
		struct rand_source single_rnd = {seeded_fill, &single_seed};
		struct packet_seal_item sealed[MOST];
		struct packet_open_item opened[MOST];

		for (size_t i = 0; i < count; i++) {
			size_t len = 1 + i * 37 % 1400;
			payload_fill(together[i] + header, len, (unsigned)i);
			payload_fill(alone[i] + header, len, (unsigned)i);
			sealed[i] = (struct packet_seal_item){together[i], header + len};
			struct packet_seal_item single = {alone[i], header + len};
			packet_seal(cipher, &single, 1, &single_rnd);
		}
		packet_seal(cipher, sealed, count, &batch_rnd);
		for (size_t i = 0; i < count; i++) {
			cr_assert(memcmp(together[i], alone[i], sealed[i].len) == 0,
				"%s packet %zu", cipher_name(cipher), i);
			opened[i] = (struct packet_open_item){
				.packet = together[i], .len = sealed[i].len};
		}
		packet_open(cipher, opened, count);
		for (size_t i = 0; i < count; i++) {
			cr_assert_eq(opened[i].verdict, PACKET_OPEN_OK);
			cr_assert_eq(open_one(cipher, alone[i], sealed[i].len), PACKET_OPEN_OK);
			cr_assert_eq(opened[i].payload_len, 1 + i * 37 % 1400);
			cr_assert(memcmp(opened[i].payload, alone[i] + header,
					  opened[i].payload_len) == 0);
		}
		cipher_free(cipher);
	}
}

Test(packet_open, judges_each_packet_of_a_batch_for_itself)
{
	enum { COUNT = 9 };
	static uint8_t packets[COUNT][ROOM];

	for (unsigned k = 0; k < CIPHER_KINDS; k++) {
		struct cipher *cipher = make((enum cipher_kind)k, 5);
		struct packet_open_item items[COUNT];
		if (k == CIPHER_NULL) {
			cipher_free(cipher);
			continue;
		}
		for (unsigned i = 0; i < COUNT; i++) {
			size_t len = seal_one(cipher, packets[i], 100 + i, i);
			if (i % 3 == 1)
				packets[i][len - 1] ^= 1;
			if (i % 3 == 2)
				len = i;
			items[i] = (struct packet_open_item){.packet = packets[i], .len = len};
		}
		packet_open(cipher, items, COUNT);
		for (unsigned i = 0; i < COUNT; i++) {
			static const enum packet_open_verdict want[] = {
				PACKET_OPEN_OK, PACKET_OPEN_BAD_CHECKSUM, PACKET_OPEN_TOO_SHORT};
			cr_assert_eq(items[i].verdict, want[i % 3], "%s packet %u",
				cipher_name(cipher), i);
			cr_assert_eq(items[i].payload_len, i % 3 == 0 ? 100 + i : 0);
		}
		cipher_free(cipher);
	}
}

Test(packet_open, truncated_packets_are_refused)
{
	static uint8_t sealed[ROOM];

	for (unsigned k = 0; k < CIPHER_KINDS; k++) {
		struct cipher *cipher = make((enum cipher_kind)k, 6);
		size_t whole = seal_one(cipher, sealed, 100, 7);
		size_t overhead = packet_header_bytes(cipher) + packet_trailer_bytes(cipher);

		for (size_t len = 0; len <= 64; len++) {
			/* On the heap in its exact size, so that a read past its end shows. */
			uint8_t *cut = malloc(len ? len : 1);
			memcpy(cut, sealed, len);
			enum packet_open_verdict want =
				len < overhead || len == 0 ? PACKET_OPEN_TOO_SHORT
				: k == CIPHER_NULL	   ? PACKET_OPEN_OK
							   : PACKET_OPEN_BAD_CHECKSUM;
			cr_assert_eq(open_one(cipher, cut, len), want, "%s, %zu bytes",
				cipher_name(cipher), len);
			free(cut);
		}
		cr_assert_eq(open_one(cipher, sealed, whole), PACKET_OPEN_OK);

		struct packet_open_item nothing = {.packet = NULL, .len = 0};
		packet_open(cipher, &nothing, 1);
		cr_assert_eq(nothing.verdict, PACKET_OPEN_TOO_SHORT);
		cipher_free(cipher);
	}
}

/* The checksum does not cover the nonce, so flips there may pass with this framing; they change nothing else. */
Test(packet_open, a_flipped_bit_is_refused)
{
	static uint8_t sealed[ROOM], packet[ROOM];

	for (unsigned k = 0; k < CIPHER_KINDS; k++) {
		struct cipher *cipher = make((enum cipher_kind)k, 8);
		enum cipher_framing framing = cipher_framing_of(cipher);
		size_t len = seal_one(cipher, sealed, 90, 9);
		size_t from = framing == CIPHER_FRAMING_CHECKSUM ? 16 * 8 : 0;

		if (framing == CIPHER_FRAMING_PLAIN)
			from = len * 8;
		for (size_t bit = from; bit < len * 8; bit++) {
			memcpy(packet, sealed, len);
			packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
			cr_assert_eq(open_one(cipher, packet, len), PACKET_OPEN_BAD_CHECKSUM,
				"%s, bit %zu", cipher_name(cipher), bit);
		}
		cipher_free(cipher);
	}
}

Test(packet_open, another_key_is_refused)
{
	static uint8_t packet[ROOM];

	for (unsigned k = 0; k < CIPHER_KINDS; k++) {
		struct cipher *ours = make((enum cipher_kind)k, 10);
		struct cipher *theirs = make((enum cipher_kind)k, 11);
		size_t len = seal_one(theirs, packet, 500, 12);
		bool keyless = k == CIPHER_NONE || k == CIPHER_NULL;

		cr_assert_eq(open_one(ours, packet, len),
			keyless ? PACKET_OPEN_OK : PACKET_OPEN_BAD_CHECKSUM, "%s",
			cipher_name(ours));
		cipher_free(ours);
		cipher_free(theirs);
	}
}

Test(packet_open, random_datagrams_are_refused)
{
	static uint8_t packet[ROOM];

	for (unsigned k = 0; k < CIPHER_KINDS; k++) {
		struct cipher *cipher = make((enum cipher_kind)k, 13);
		for (unsigned round = 0; round < 2000 && k != CIPHER_NULL; round++) {
			size_t len = round * 7 % 1500;
			payload_fill(packet, len, round);
			cr_assert_neq(open_one(cipher, packet, len), PACKET_OPEN_OK);
		}
		cipher_free(cipher);
	}
}
