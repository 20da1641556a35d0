#include "core/checksum.h"
#include "core/endian.h"
#include "core/ip_header.h"
#include "core/tcp_mss.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static const uint8_t SRC[16] = {0xfd, [15] = 1};
static const uint8_t DST[16] = {0xfd, [15] = 2};

struct packet {
	uint8_t bytes[200];
	size_t len;
	size_t ip_bytes;
};

static uint16_t tcp_checksum(const struct packet *p)
{
	size_t address_bytes = p->ip_bytes == 20 ? 4 : 16;
	size_t at = p->ip_bytes == 20 ? 12 : 8;
	uint32_t tcp_bytes = (uint32_t)(p->len - p->ip_bytes);
	uint32_t sum = checksum_add_pseudo(
		0, p->bytes + at, p->bytes + at + address_bytes, address_bytes, 6, tcp_bytes);
	return checksum_finish(checksum_add(sum, p->bytes + p->ip_bytes, tcp_bytes));
}

static struct packet syn(uint8_t version, const uint8_t *options, size_t option_bytes)
{
	struct packet p = {0};
	size_t padded = (option_bytes + 3) / 4 * 4;

	p.ip_bytes = ip_header_write(p.bytes, version, SRC, DST, IP_PROTOCOL_TCP, 20 + padded + 3);
	uint8_t *tcp = p.bytes + p.ip_bytes;
	store_be16(tcp, 40000);
	store_be16(tcp + 2, 443);
	tcp[12] = (uint8_t)((20 + padded) / 4 << 4);
	tcp[13] = IP_TCP_SYN;
	memcpy(tcp + 20, options, option_bytes);
	memcpy(tcp + 20 + padded, "xyz", 3);
	p.len = p.ip_bytes + 20 + padded + 3;
	store_be16(tcp + 16, tcp_checksum(&p));
	cr_assert_eq(tcp_checksum(&p), 0);
	return p;
}

static bool clamp(struct packet *p, uint16_t mtu_bytes)
{
	struct ip_header h;
	uint8_t *copy = malloc(p->len); /* of its own size, for the sanitizers */

	memcpy(copy, p->bytes, p->len);
	cr_assert_eq(ip_header_parse(copy, p->len, &h), IP_OK);
	bool changed = tcp_mss_clamp(copy, &h, mtu_bytes);
	cr_assert_eq(changed, memcmp(copy, p->bytes, p->len) != 0);
	memcpy(p->bytes, copy, p->len);
	free(copy);
	return changed;
}

Test(tcp_mss, lowers_at_even_and_odd_offsets)
{
	for (uint8_t version = 4; version <= 6; version += 2) {
		uint16_t want = (uint16_t)(version == 4 ? 1298 - 40 : 1298 - 60);
		for (size_t before = 0; before < 6; before++) {
			uint8_t options[12];
			memset(options, 1, sizeof(options));
			const uint8_t mss[4] = {2, 4, 1460 >> 8, 1460 & 0xff};
			memcpy(options + before, mss, 4);
			struct packet p = syn(version, options, sizeof(options));
			cr_assert(clamp(&p, 1298));
			cr_assert_eq(load_be16(p.bytes + p.ip_bytes + 20 + before + 2), want);
			cr_assert_eq(tcp_checksum(&p), 0, "version %u offset %zu", version, before);
			cr_assert(!clamp(&p, 1298), "a second time");
			cr_assert(!clamp(&p, 1500), "never raised");
		}
	}
}

Test(tcp_mss, finds_it_behind_other_options)
{
	/* window scale, SACK permitted, timestamps, MSS, end */
	static const uint8_t options[] = {
		3, 3, 7, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 0x05, 0xb4, 0};
	struct packet p = syn(4, options, sizeof(options));
	cr_assert(clamp(&p, 1300));
	cr_assert_eq(load_be16(p.bytes + 20 + 20 + 17), 1260);
	cr_assert_eq(tcp_checksum(&p), 0);
}

Test(tcp_mss, leaves_others_alone)
{
	static const uint8_t mss[] = {2, 4, 0x05, 0xb4};
	struct packet p = syn(4, mss, sizeof(mss));

	p.bytes[20 + 13] = IP_TCP_ACK;
	cr_assert(!clamp(&p, 1300), "no SYN");
	p = syn(4, mss, sizeof(mss));
	p.bytes[9] = IP_PROTOCOL_UDP;
	cr_assert(!clamp(&p, 1300), "not TCP");
	p = syn(4, mss, sizeof(mss));
	store_be16(p.bytes + 6, 0x2000);
	cr_assert(!clamp(&p, 1300), "a fragment");
	p = syn(4, mss, sizeof(mss));
	cr_assert(!clamp(&p, 40), "an MTU without room");
	cr_assert(!clamp(&p, 0), "no MTU");
	p = syn(4, mss, 0);
	cr_assert(!clamp(&p, 1300), "no option");
}

Test(tcp_mss, survives_broken_options)
{
	static const uint8_t rows[][8] = {
		{2, 0, 0x05, 0xb4},	     /* length 0 would never end */
		{2, 1, 0x05, 0xb4},	     /* length below its own header */
		{2, 3, 0x05, 1},	     /* wrong length for an MSS */
		{2, 5, 0x05, 0xb4, 0},	     /* likewise */
		{1, 1, 1, 1, 1, 1, 1, 2},    /* cut behind the kind */
		{1, 1, 1, 1, 1, 1, 2, 4},    /* cut behind the length */
		{1, 1, 1, 1, 1, 2, 4, 0x05}, /* cut inside the value */
		{8, 255, 2, 4, 0x05, 0xb4},  /* reaches past the header */
		{0, 2, 4, 0x05, 0xb4},	     /* behind the end of the list */
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct packet p = syn(4, rows[i], 8);
		cr_assert(!clamp(&p, 600), "row %zu", i);
	}
	static const uint8_t mss[] = {2, 4, 0x05, 0xb4};
	for (unsigned words = 0; words < 16; words++) {
		struct packet p = syn(4, mss, sizeof(mss));
		p.bytes[20 + 12] = (uint8_t)(words << 4);
		(void)clamp(&p, 600); /* 27 bytes of TCP: 6 words fit */
		cr_assert_eq(load_be16(p.bytes + 42) == 560, words == 6, "%u words", words);
	}
}

Test(tcp_mss, random_options_keep_the_checksum)
{
	unsigned seed = 11;

	for (int round = 0; round < 50000; round++) {
		uint8_t options[40];
		for (size_t i = 0; i < sizeof(options); i++)
			options[i] =
				(uint8_t)(rand_r(&seed) % 3 ? rand_r(&seed) % 6 : rand_r(&seed));
		struct packet p = syn(round % 2 ? 4 : 6, options, sizeof(options));
		(void)clamp(&p, 700);
		cr_assert_eq(tcp_checksum(&p), 0);
	}
}
