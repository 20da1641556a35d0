#include "core/checksum.h"
#include "core/endian.h"
#include "core/ip_header.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static const uint8_t A4[4] = {10, 0, 0, 1};
static const uint8_t B4[4] = {10, 0, 0, 2};
static const uint8_t A6[16] = {0xfd, [15] = 1};
static const uint8_t B6[16] = {0xfd, [15] = 2};

struct packet {
	uint8_t bytes[2048];
	size_t len;
};

static struct packet packet_of(uint8_t version, uint8_t protocol, const void *payload, size_t len)
{
	struct packet p = {0};
	p.len = ip_header_write(
		p.bytes, version, version == 4 ? A4 : A6, version == 4 ? B4 : B6, protocol, len);
	memcpy(p.bytes + p.len, payload, len);
	p.len += len;
	return p;
}

/* Parses a copy of its own size, so that the sanitizers see every read past the end. */
static enum ip_verdict parse(const void *bytes, size_t len, struct ip_header *header)
{
	uint8_t *copy = malloc(len ? len : 1);
	memcpy(copy, bytes, len);
	enum ip_verdict verdict = ip_header_parse(copy, len, header);
	free(copy);
	return verdict;
}

Test(ip_header, reads_udp_in_both_versions)
{
	static const uint8_t udp[12] = {0x12, 0x34, 0x00, 0x35, 0, 12};

	for (uint8_t version = 4; version <= 6; version += 2) {
		struct packet p = packet_of(version, IP_PROTOCOL_UDP, udp, sizeof(udp));
		struct ip_header h;
		cr_assert_eq(parse(p.bytes, p.len, &h), IP_OK);
		cr_assert_eq(h.version, version);
		cr_assert_eq(h.protocol, IP_PROTOCOL_UDP);
		cr_assert_eq(h.hop_limit, 64);
		cr_assert(h.has_ports && h.dont_fragment && !h.fragment && !h.has_icmp);
		cr_assert_eq(h.src_port, 0x1234);
		cr_assert_eq(h.dst_port, 53);
		cr_assert_eq(h.length_bytes, p.len);
		cr_assert_eq(h.transport_bytes, version == 4 ? 20 : 40);
		cr_assert_arr_eq(h.src, version == 4 ? A4 : A6, version == 4 ? 4 : 16);
		cr_assert_arr_eq(h.dst, version == 4 ? B4 : B6, version == 4 ? 4 : 16);
	}
	/* The IPv4 header that was written has a right checksum. */
	struct packet p = packet_of(4, IP_PROTOCOL_UDP, udp, sizeof(udp));
	cr_assert_eq(checksum_finish(checksum_add(0, p.bytes, 20)), 0);
}

Test(ip_header, reads_tcp_flags_dscp_and_ecn)
{
	uint8_t tcp[20] = {0, 80, 0, 81, [12] = 0x50, [13] = IP_TCP_SYN | IP_TCP_ACK};
	struct packet p = packet_of(4, IP_PROTOCOL_TCP, tcp, sizeof(tcp));
	struct ip_header h;

	p.bytes[1] = 46 << 2 | 2;
	cr_assert_eq(parse(p.bytes, p.len, &h), IP_OK);
	cr_assert_eq(h.tcp_flags, IP_TCP_SYN | IP_TCP_ACK);
	cr_assert_eq(h.dscp, 46);
	cr_assert_eq(h.ecn, 2);

	p = packet_of(6, IP_PROTOCOL_TCP, tcp, sizeof(tcp));
	store_be32(p.bytes, 0x60000000u | (46u << 2 | 1) << 20 | 0xabcde);
	cr_assert_eq(parse(p.bytes, p.len, &h), IP_OK);
	cr_assert_eq(h.dscp, 46);
	cr_assert_eq(h.ecn, 1);

	/* Cut inside the TCP header: a packet, but without ports. */
	p = packet_of(4, IP_PROTOCOL_TCP, tcp, 19);
	cr_assert_eq(parse(p.bytes, p.len, &h), IP_OK);
	cr_assert(!h.has_ports);
	cr_assert_eq(h.tcp_flags, 0);
}

Test(ip_header, every_cut_and_every_extra_byte_is_refused)
{
	static const uint8_t payload[30] = {0};

	for (uint8_t version = 4; version <= 6; version += 2) {
		struct packet p = packet_of(version, IP_PROTOCOL_TCP, payload, sizeof(payload));
		size_t header_bytes = version == 4 ? 20 : 40;
		struct ip_header h;
		for (size_t len = 0; len <= p.len + 5; len++) {
			enum ip_verdict want = len == 0		    ? IP_EMPTY
					       : len < header_bytes ? IP_SHORT_HEADER
					       : len != p.len	    ? IP_BAD_LENGTH
								    : IP_OK;
			cr_assert_eq(parse(p.bytes, len, &h), want, "%zu bytes", len);
		}
	}
}

Test(ip_header, refuses_bad_versions_and_header_lengths)
{
	static const uint8_t payload[30] = {0};
	struct packet p = packet_of(4, IP_PROTOCOL_UDP, payload, sizeof(payload));
	struct ip_header h;

	for (unsigned version = 0; version < 16; version++) {
		struct packet q = p;
		q.bytes[0] = (uint8_t)(version << 4 | 5);
		if (version != 4 && version != 6)
			cr_assert_eq(parse(q.bytes, q.len, &h), IP_BAD_VERSION);
	}
	for (unsigned ihl = 0; ihl < 16; ihl++) {
		p.bytes[0] = (uint8_t)(0x40 | ihl);
		/* The packet has 50 bytes: 12 words fit, 13 do not. */
		enum ip_verdict want = ihl < 5 || ihl > 12 ? IP_SHORT_HEADER : IP_OK;
		cr_assert_eq(parse(p.bytes, p.len, &h), want, "ihl %u", ihl);
		if (want == IP_OK)
			cr_assert_eq(h.transport_bytes, ihl * 4);
	}
}

Test(ip_header, flags_fragments)
{
	static const uint8_t udp[16] = {1, 2, 3, 4};
	struct ip_header h;
	static const struct {
		uint16_t field;
		bool fragment;
		bool later;
		bool dont;
	} rows[] = {
		{0x0000, false, false, false},
		{0x4000, false, false, true},
		{0x2000, true, false, false},
		{0x0001, true, true, false},
		{0x3fff, true, true, false},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct packet p = packet_of(4, IP_PROTOCOL_UDP, udp, sizeof(udp));
		store_be16(p.bytes + 6, rows[i].field);
		cr_assert_eq(parse(p.bytes, p.len, &h), IP_OK);
		cr_assert_eq(h.fragment, rows[i].fragment);
		cr_assert_eq(h.later_fragment, rows[i].later);
		cr_assert_eq(h.dont_fragment, rows[i].dont);
		cr_assert_eq(h.has_ports, !rows[i].later);
	}
}

Test(ip_header, walks_ipv6_extension_headers)
{
	/* hop-by-hop (8), routing (16), fragment (8), AH (12), destination (8), UDP */
	uint8_t chain[8 + 16 + 8 + 12 + 8 + 8] = {43, 0, [8] = 44, [9] = 1, [24] = 51, [32] = 60,
		[33] = 1, [44] = IP_PROTOCOL_UDP, [45] = 0, [52] = 0, 7, 0, 9};
	struct packet p = packet_of(6, 0, chain, sizeof(chain));
	struct ip_header h;

	cr_assert_eq(parse(p.bytes, p.len, &h), IP_OK);
	cr_assert_eq(h.protocol, IP_PROTOCOL_UDP);
	cr_assert_eq(h.transport_bytes, 40 + 52);
	cr_assert(!h.fragment);
	cr_assert_eq(h.src_port, 7);
	cr_assert_eq(h.dst_port, 9);

	/* Every cut of the chain, told honestly in the length field. */
	for (size_t cut = 0; cut < sizeof(chain); cut++) {
		struct packet q = packet_of(6, 0, chain, cut);
		enum ip_verdict want = cut < 52 ? IP_BAD_CHAIN : IP_OK;
		cr_assert_eq(parse(q.bytes, q.len, &h), want, "%zu", cut);
		cr_assert(want != IP_OK || !h.has_ports);
	}

	/* A later fragment: what follows is payload, even if it looks like a chain. */
	store_be16(p.bytes + 40 + 24 + 2, 8);
	cr_assert_eq(parse(p.bytes, p.len, &h), IP_OK);
	cr_assert(h.fragment && h.later_fragment && !h.has_ports);
	cr_assert_eq(h.protocol, 51);
	cr_assert_eq(h.transport_bytes, 40 + 32);

	/* Longest option lengths reach far past the end. */
	p.bytes[40 + 1] = 255;
	cr_assert_eq(parse(p.bytes, p.len, &h), IP_BAD_CHAIN);
}

Test(ip_header, stops_at_the_bound_of_the_chain)
{
	uint8_t chain[(IP_HEADER_EXTENSIONS_MAX + 2) * 8] = {0};
	struct ip_header h;

	for (size_t i = 0; i < sizeof(chain); i += 8)
		chain[i] = 60;
	struct packet p = packet_of(6, 60, chain, sizeof(chain));
	cr_assert_eq(parse(p.bytes, p.len, &h), IP_OK);
	cr_assert_eq(h.protocol, 60);
	cr_assert_eq(h.transport_bytes, 40 + IP_HEADER_EXTENSIONS_MAX * 8);
	cr_assert(!h.has_ports);
}

Test(ip_header, reads_icmp_of_the_right_version_only)
{
	static const uint8_t icmp[8] = {8, 3};
	struct ip_header h;
	struct packet p = packet_of(4, IP_PROTOCOL_ICMP, icmp, sizeof(icmp));
	cr_assert_eq(parse(p.bytes, p.len, &h), IP_OK);
	cr_assert(h.has_icmp);
	cr_assert_eq(h.icmp_type, 8);
	cr_assert_eq(h.icmp_code, 3);
	p = packet_of(6, IP_PROTOCOL_ICMP, icmp, sizeof(icmp));
	cr_assert_eq(parse(p.bytes, p.len, &h), IP_OK);
	cr_assert(!h.has_icmp);
	p = packet_of(4, IP_PROTOCOL_ICMP, icmp, 7);
	cr_assert_eq(parse(p.bytes, p.len, &h), IP_OK);
	cr_assert(!h.has_icmp);
}

Test(ip_header, empty_packet_of_protocol_none)
{
	struct packet p = packet_of(4, IP_PROTOCOL_NONE, "", 0);
	struct ip_header h;
	cr_assert_eq(p.len, 20);
	cr_assert_eq(parse(p.bytes, p.len, &h), IP_OK);
	cr_assert_eq(h.protocol, IP_PROTOCOL_NONE);
	p = packet_of(6, IP_PROTOCOL_NONE, "", 0);
	cr_assert_eq(p.len, 40);
	cr_assert_eq(parse(p.bytes, p.len, &h), IP_OK);
	cr_assert_eq(h.protocol, IP_PROTOCOL_NONE);
}

Test(ip_header, marks_what_can_be_marked)
{
	static const uint8_t udp[9] = {1};

	for (unsigned ecn = 0; ecn < 4; ecn++) {
		for (unsigned tos = 0; tos < 256; tos += 4) {
			struct packet p = packet_of(4, IP_PROTOCOL_UDP, udp, sizeof(udp));
			struct ip_header h;
			p.bytes[1] = (uint8_t)(tos | ecn);
			store_be16(p.bytes + 10, 0);
			store_be16(p.bytes + 10, checksum_finish(checksum_add(0, p.bytes, 20)));
			cr_assert_eq(parse(p.bytes, p.len, &h), IP_OK);
			cr_assert_eq(ip_header_mark_ce(p.bytes, &h), ecn != 0);
			cr_assert_eq(p.bytes[1], ecn ? (tos | 3) : tos);
			cr_assert_eq(checksum_finish(checksum_add(0, p.bytes, 20)), 0);

			p = packet_of(6, IP_PROTOCOL_UDP, udp, sizeof(udp));
			store_be32(p.bytes, 0x60000000u | (tos | ecn) << 20 | 0x12345);
			cr_assert_eq(parse(p.bytes, p.len, &h), IP_OK);
			cr_assert_eq(ip_header_mark_ce(p.bytes, &h), ecn != 0);
			cr_assert_eq(load_be32(p.bytes),
				0x60000000u | (ecn ? (tos | 3) : tos) << 20 | 0x12345);
		}
	}
}

Test(ip_header, names_all_verdicts)
{
	for (int v = 0; v < IP_VERDICTS; v++)
		cr_assert(strcmp(ip_verdict_str((enum ip_verdict)v), "unknown") != 0);
}
