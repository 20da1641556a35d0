#include "core/checksum.h"
#include "core/endian.h"
#include "core/icmp_error.h"
#include "core/ip_header.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static const uint8_t SRC4[4] = {10, 0, 0, 1};
static const uint8_t DST4[4] = {10, 0, 0, 2};
static const uint8_t OWN4[4] = {10, 0, 0, 254};
static const uint8_t SRC6[16] = {0xfd, [15] = 1};
static const uint8_t DST6[16] = {0xfd, [15] = 2};
static const uint8_t OWN6[16] = {0xfd, [15] = 0xfe};

struct packet {
	uint8_t bytes[2048];
	size_t len;
	struct ip_header header;
};

static struct packet packet_of(uint8_t version, uint8_t protocol, size_t payload_bytes)
{
	struct packet p = {0};
	p.len = ip_header_write(p.bytes, version, version == 4 ? SRC4 : SRC6,
		version == 4 ? DST4 : DST6, protocol, payload_bytes);
	for (size_t i = 0; i < payload_bytes; i++)
		p.bytes[p.len + i] = (uint8_t)(i * 13);
	p.len += payload_bytes;
	cr_assert_eq(ip_header_parse(p.bytes, p.len, &p.header), IP_OK);
	return p;
}

static size_t build(enum icmp_error error, struct packet *p, const uint8_t *source, uint8_t *out)
{
	cr_assert_eq(ip_header_parse(p->bytes, p->len, &p->header), IP_OK);
	return icmp_error_build(error, 1300, p->bytes, &p->header, source, out);
}

static void check_v4(const uint8_t *out, size_t len, const struct packet *p, uint8_t code)
{
	struct ip_header h;
	cr_assert_eq(ip_header_parse(out, len, &h), IP_OK);
	cr_assert_eq(h.protocol, IP_PROTOCOL_ICMP);
	cr_assert_eq(h.icmp_type, 3);
	cr_assert_eq(h.icmp_code, code);
	cr_assert_arr_eq(h.src, OWN4, 4);
	cr_assert_arr_eq(h.dst, SRC4, 4);
	cr_assert_eq(checksum_finish(checksum_add(0, out, 20)), 0);
	cr_assert_eq(checksum_finish(checksum_add(0, out + 20, len - 20)), 0);
	cr_assert_arr_eq(out + 28, p->bytes, len - 28);
}

Test(icmp_error, v4_quotes_up_to_576_bytes)
{
	static const uint8_t codes[] = {4, 0, 1, 13};
	uint8_t out[ICMP_ERROR_BYTES_MAX];

	for (int error = 0; error < 4; error++) {
		struct packet p = packet_of(4, IP_PROTOCOL_UDP, 1400);
		size_t len = build((enum icmp_error)error, &p, OWN4, out);
		cr_assert_eq(len, 576);
		check_v4(out, len, &p, codes[error]);
		cr_assert_eq(load_be16(out + 26), error == ICMP_ERROR_TOO_BIG ? 1300 : 0);

		p = packet_of(4, IP_PROTOCOL_UDP, 9);
		len = build((enum icmp_error)error, &p, OWN4, out);
		cr_assert_eq(len, 28 + 29);
		check_v4(out, len, &p, codes[error]);
	}
}

Test(icmp_error, v6_quotes_up_to_1280_bytes)
{
	static const uint8_t types[] = {2, 1, 1, 1};
	static const uint8_t codes[] = {0, 0, 3, 1};
	uint8_t out[ICMP_ERROR_BYTES_MAX];

	for (int error = 0; error < 4; error++) {
		for (size_t payload = 10; payload <= 1400; payload += 1390) {
			struct packet p = packet_of(6, IP_PROTOCOL_TCP, payload);
			size_t len = build((enum icmp_error)error, &p, OWN6, out);
			struct ip_header h;
			cr_assert_eq(len, payload == 10 ? 40 + 8 + 50 : 1280);
			cr_assert_eq(ip_header_parse(out, len, &h), IP_OK);
			cr_assert_eq(h.protocol, IP_PROTOCOL_ICMPV6);
			cr_assert_eq(h.icmp_type, types[error]);
			cr_assert_eq(h.icmp_code, codes[error]);
			cr_assert_arr_eq(h.src, OWN6, 16);
			cr_assert_arr_eq(h.dst, SRC6, 16);
			cr_assert_eq(load_be32(out + 44), error == ICMP_ERROR_TOO_BIG ? 1300 : 0);
			uint32_t sum =
				checksum_add_pseudo(0, OWN6, SRC6, 16, 58, (uint32_t)len - 40);
			cr_assert_eq(checksum_finish(checksum_add(sum, out + 40, len - 40)), 0);
			cr_assert_arr_eq(out + 48, p.bytes, len - 48);
		}
	}
}

Test(icmp_error, never_answers_errors_groups_or_later_fragments)
{
	uint8_t out[ICMP_ERROR_BYTES_MAX];
	struct packet p;

	for (unsigned type = 0; type < 256; type++) {
		bool query4 = type == 0 || type == 8 || type == 13 || type == 14 || type == 42 ||
			      type == 43;
		p = packet_of(4, IP_PROTOCOL_ICMP, 64);
		p.bytes[20] = (uint8_t)type;
		cr_assert_eq(build(ICMP_ERROR_NO_ROUTE, &p, OWN4, out) != 0, query4, "%u", type);
		p = packet_of(6, IP_PROTOCOL_ICMPV6, 64);
		p.bytes[40] = (uint8_t)type;
		cr_assert_eq(
			build(ICMP_ERROR_NO_ROUTE, &p, OWN6, out) != 0, type >= 128, "%u", type);
	}
	/* Too short to tell what it is. */
	p = packet_of(4, IP_PROTOCOL_ICMP, 7);
	cr_assert_eq(build(ICMP_ERROR_NO_ROUTE, &p, OWN4, out), 0);

	static const uint8_t no_host4[][4] = {{0, 0, 0, 0}, {127, 0, 0, 1}, {224, 0, 0, 1},
		{239, 255, 255, 250}, {255, 255, 255, 255}};
	for (size_t i = 0; i < sizeof(no_host4) / 4; i++) {
		for (int at = 12; at <= 16; at += 4) {
			p = packet_of(4, IP_PROTOCOL_UDP, 64);
			memcpy(p.bytes + at, no_host4[i], 4);
			cr_assert_eq(build(ICMP_ERROR_NO_ROUTE, &p, OWN4, out), 0);
		}
	}
	static const uint8_t no_host6[][16] = {{0}, {[15] = 1}, {0xff, 2, [15] = 1}};
	for (size_t i = 0; i < sizeof(no_host6) / 16; i++) {
		for (int at = 8; at <= 24; at += 16) {
			p = packet_of(6, IP_PROTOCOL_UDP, 64);
			memcpy(p.bytes + at, no_host6[i], 16);
			cr_assert_eq(build(ICMP_ERROR_NO_ROUTE, &p, OWN6, out), 0);
		}
	}
	p = packet_of(4, IP_PROTOCOL_UDP, 64);
	store_be16(p.bytes + 6, 1);
	cr_assert_eq(build(ICMP_ERROR_TOO_BIG, &p, OWN4, out), 0);
	store_be16(p.bytes + 6, 0x2000);
	cr_assert_neq(build(ICMP_ERROR_TOO_BIG, &p, OWN4, out), 0);
}

Test(icmp_error, without_an_own_address)
{
	uint8_t out[ICMP_ERROR_BYTES_MAX];
	struct packet p = packet_of(4, IP_PROTOCOL_UDP, 64);
	static const uint8_t dummy[4] = {192, 0, 0, 8};

	cr_assert_neq(build(ICMP_ERROR_TOO_BIG, &p, NULL, out), 0);
	cr_assert_arr_eq(out + 12, dummy, 4);
	p = packet_of(6, IP_PROTOCOL_UDP, 64);
	cr_assert_eq(build(ICMP_ERROR_TOO_BIG, &p, NULL, out), 0);
}

Test(icmp_error, tells_no_mtu_below_the_least)
{
	uint8_t out[ICMP_ERROR_BYTES_MAX];
	struct packet p = packet_of(6, IP_PROTOCOL_UDP, 1400);

	(void)icmp_error_build(ICMP_ERROR_TOO_BIG, 1000, p.bytes, &p.header, OWN6, out);
	cr_assert_eq(load_be32(out + 44), 1280);
	p = packet_of(4, IP_PROTOCOL_UDP, 1400);
	(void)icmp_error_build(ICMP_ERROR_TOO_BIG, 20, p.bytes, &p.header, OWN4, out);
	cr_assert_eq(load_be16(out + 26), 68);
}
