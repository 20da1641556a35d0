/*
 * A super-packet has the header that a single segment of all its payload would have: its lengths are those of the
 * whole, and the checksum field holds the one's complement sum over the pseudo header, that length included. A run of
 * segments gets the same header with these changes:
 *
 *   IP        length; IPv4 also the identification, which counts segments, and the header's checksum
 *   TCP       sequence number; CWR only in the first segment of all (RFC 3168, 6.1.2), FIN and PSH only in the last
 *   UDP       length
 *   checksum  the partial sum with the length replaced; then, for a single segment, the sum over its bytes
 *
 * The partial sum is taken as it came instead of made anew from the addresses: under an IPv6 routing header the
 * pseudo header holds another destination than the IP header does. A stranger who puts nonsense there gets segments
 * with a wrong checksum, as if he had sent them so.
 *
 * Repeated are only headers whose meaning is the same in each segment. So SYN, RST and URG can't be there (no host
 * makes such super-packets), nor an AH, nor fragments; of the extension headers hop-by-hop options, destination
 * options and routing are copied, as Linux does.
 *
 * Sources: Linux, net/ipv4/tcp_offload.c (tcp_gso_segment), net/ipv4/udp_offload.c (__udp_gso_segment),
 * net/ipv6/ip6_offload.c (ipv6_gso_segment). Standards: RFC 791, RFC 768, RFC 8200, RFC 9293, RFC 1624.
 */
#include "core/super_packet.h"

#include "core/checksum.h"
#include "core/endian.h"

#include <assert.h>
#include <string.h>

enum {
	V4_LENGTH_AT = 2,
	V4_ID_AT = 4,
	V4_CHECKSUM_AT = 10,
	V6_LENGTH_AT = 4,
	V6_NEXT_AT = 6,
	TCP_HEADER_BYTES = 20,
	TCP_SEQ_AT = 4,
	TCP_OFFSET_AT = 12,
	TCP_FLAGS_AT = 13,
	TCP_CHECKSUM_AT = 16,
	TCP_PSH = 0x08,
	TCP_URG = 0x20,
	TCP_CWR = 0x80,
	UDP_HEADER_BYTES = 8,
	UDP_LENGTH_AT = 4,
	UDP_CHECKSUM_AT = 6,
	HOP_BY_HOP = 0,
	ROUTING = 43,
	DESTINATION = 60,
};

static uint16_t fold(uint32_t sum)
{
	return (uint16_t)~checksum_finish(sum);
}

/* Bounds were checked by whoever parsed the IP header; what it walked over is looked at once more, for its kinds. */
static bool extensions_repeatable(const uint8_t *packet, const struct ip_header *ip)
{
	size_t at = IP_HEADER_V6_BYTES;
	uint8_t kind = packet[V6_NEXT_AT];

	while (at < ip->transport_bytes) {
		if (kind != HOP_BY_HOP && kind != ROUTING && kind != DESTINATION)
			return false;
		kind = packet[at];
		at += ((size_t)packet[at + 1] + 1) * 8;
	}
	return at == ip->transport_bytes;
}

static enum super_verdict parse_transport(struct super_packet *p, bool segmented)
{
	const uint8_t *at = p->bytes + p->ip.transport_bytes;
	uint32_t left = p->length_bytes - p->ip.transport_bytes;
	uint32_t header_bytes;
	uint32_t checksum_at;

	if (p->ip.protocol == IP_PROTOCOL_TCP) {
		if (left < TCP_HEADER_BYTES)
			return SUPER_BAD_TRANSPORT;
		header_bytes = (uint32_t)(at[TCP_OFFSET_AT] >> 4) * 4;
		if (header_bytes < TCP_HEADER_BYTES || header_bytes > left)
			return SUPER_BAD_TRANSPORT;
		if (segmented && at[TCP_FLAGS_AT] & (IP_TCP_SYN | IP_TCP_RST | TCP_URG))
			return SUPER_BAD_TRANSPORT;
		checksum_at = TCP_CHECKSUM_AT;
	} else {
		if (left < UDP_HEADER_BYTES || load_be16(at + UDP_LENGTH_AT) != left)
			return SUPER_BAD_TRANSPORT;
		header_bytes = UDP_HEADER_BYTES;
		checksum_at = UDP_CHECKSUM_AT;
	}
	if (p->ip.transport_bytes + header_bytes > SUPER_PACKET_HEADER_BYTES_MAX)
		return SUPER_BAD_TRANSPORT;
	p->header_bytes = (uint16_t)(p->ip.transport_bytes + header_bytes);
	p->checksum_at = (uint16_t)(p->ip.transport_bytes + checksum_at);
	return SUPER_OK;
}

enum super_verdict super_packet_parse(const uint8_t *packet, size_t len,
	enum super_packet_kind kind, uint16_t segment_bytes, struct super_packet *ret_packet)
{
	struct super_packet p = {.bytes = packet, .kind = kind, .segments = 1};
	bool segmented = kind == SUPER_PACKET_SEGMENTED;

	if (ip_header_parse(packet, len, &p.ip) != IP_OK)
		return SUPER_BAD_IP;
	if (len > SUPER_PACKET_BYTES_MAX)
		return SUPER_TOO_LONG;
	p.length_bytes = (uint32_t)len;
	p.segment_bytes = p.length_bytes;
	if (kind == SUPER_PACKET_PLAIN) {
		*ret_packet = p;
		return SUPER_OK;
	}
	if (p.ip.protocol != IP_PROTOCOL_TCP && p.ip.protocol != IP_PROTOCOL_UDP)
		return SUPER_BAD_PROTOCOL;
	if (p.ip.fragment)
		return SUPER_BAD_FRAGMENT;
	if (p.ip.version == 6 && !extensions_repeatable(packet, &p.ip))
		return SUPER_BAD_EXTENSION;
	enum super_verdict verdict = parse_transport(&p, segmented);
	if (verdict != SUPER_OK)
		return verdict;
	uint32_t payload_bytes = p.length_bytes - p.header_bytes;
	p.segment_bytes = payload_bytes;
	if (segmented) {
		if (segment_bytes == 0)
			return SUPER_BAD_SIZE;
		if (payload_bytes > segment_bytes) {
			p.segment_bytes = segment_bytes;
			p.segments =
				(uint16_t)((payload_bytes + segment_bytes - 1) / segment_bytes);
		} else {
			p.kind = SUPER_PACKET_PARTIAL;
		}
	}
	*ret_packet = p;
	return SUPER_OK;
}

uint32_t super_packet_range_bytes(const struct super_packet *packet, uint16_t first, uint16_t count)
{
	assert(count > 0 && (uint32_t)first + count <= packet->segments);
	if ((uint32_t)first + count == packet->segments)
		return packet->length_bytes - first * packet->segment_bytes;
	return packet->header_bytes + count * packet->segment_bytes;
}

const uint8_t *super_packet_payload(const struct super_packet *packet, uint16_t first)
{
	return packet->bytes + packet->header_bytes + first * packet->segment_bytes;
}

uint16_t super_packet_fit(const struct super_packet *packet, uint32_t bytes)
{
	uint16_t most = packet->segments;

	if (most > SUPER_PACKET_SEGMENTS_MAX)
		most = SUPER_PACKET_SEGMENTS_MAX;
	if (most == 1 || bytes < packet->header_bytes + packet->segment_bytes)
		return 1;
	if (most == packet->segments && bytes >= packet->length_bytes)
		return most;
	uint32_t fit = (bytes - packet->header_bytes) / packet->segment_bytes;
	return fit < most ? (uint16_t)fit : most;
}

static void write_ip(const struct super_packet *packet, uint16_t first, uint32_t bytes, uint8_t *at)
{
	if (packet->ip.version == 6) {
		store_be16(at + V6_LENGTH_AT, (uint16_t)(bytes - IP_HEADER_V6_BYTES));
		return;
	}
	store_be16(at + V4_LENGTH_AT, (uint16_t)bytes);
	store_be16(at + V4_ID_AT, (uint16_t)(load_be16(at + V4_ID_AT) + first));
	store_be16(at + V4_CHECKSUM_AT, 0);
	store_be16(at + V4_CHECKSUM_AT,
		checksum_finish(checksum_add(0, at, packet->ip.transport_bytes)));
}

static void write_tcp(const struct super_packet *packet, uint16_t first, bool is_last, uint8_t *tcp)
{
	uint32_t seq = load_be32(tcp + TCP_SEQ_AT) + first * packet->segment_bytes;

	store_be32(tcp + TCP_SEQ_AT, seq);
	if (first > 0)
		tcp[TCP_FLAGS_AT] &= (uint8_t)~TCP_CWR;
	if (!is_last)
		tcp[TCP_FLAGS_AT] &= (uint8_t) ~(IP_TCP_FIN | TCP_PSH);
}

size_t super_packet_write_header(
	const struct super_packet *packet, uint16_t first, uint16_t count, uint8_t *at)
{
	uint32_t bytes = super_packet_range_bytes(packet, first, count);
	uint32_t transport_at = packet->ip.transport_bytes;
	bool is_last = (uint32_t)first + count == packet->segments;

	if (packet->kind == SUPER_PACKET_PLAIN)
		return 0;
	memcpy(at, packet->bytes, packet->header_bytes);
	write_ip(packet, first, bytes, at);
	if (packet->ip.protocol == IP_PROTOCOL_TCP)
		write_tcp(packet, first, is_last, at + transport_at);
	else
		store_be16(at + transport_at + UDP_LENGTH_AT, (uint16_t)(bytes - transport_at));
	/* the length in the sum: take the old one out by its complement, add the new one */
	uint32_t sum = load_be16(at + packet->checksum_at);
	sum += (uint16_t) ~(packet->length_bytes - transport_at);
	sum += bytes - transport_at;
	store_be16(at + packet->checksum_at, fold(sum));
	return packet->header_bytes;
}

/* The field holds the pseudo header's part of the sum, so that the sum over all bytes is the whole. */
static void complete(const struct super_packet *packet, uint8_t *bytes, size_t len)
{
	size_t at = packet->ip.transport_bytes;
	uint16_t sum = checksum_finish(checksum_add(0, bytes + at, len - at));

	if (sum == 0 && packet->ip.protocol == IP_PROTOCOL_UDP) /* would mean "none" */
		sum = 0xffff;
	store_be16(bytes + packet->checksum_at, sum);
}

size_t super_packet_write(const struct super_packet *packet, uint16_t first, uint16_t count,
	bool with_checksum, uint8_t *at)
{
	uint32_t bytes = super_packet_range_bytes(packet, first, count);
	size_t header_bytes = super_packet_write_header(packet, first, count, at);

	assert(!with_checksum || count == 1);
	memcpy(at + header_bytes, super_packet_payload(packet, first), bytes - header_bytes);
	if (with_checksum && packet->kind != SUPER_PACKET_PLAIN)
		complete(packet, at, bytes);
	return bytes;
}

void super_packet_complete(const struct super_packet *packet, uint8_t *bytes)
{
	assert(packet->segments == 1);
	if (packet->kind != SUPER_PACKET_PLAIN)
		complete(packet, bytes, packet->length_bytes);
}

uint16_t super_packet_pseudo_sum(const struct ip_header *ip, uint32_t transport_bytes)
{
	return fold(checksum_add_pseudo(
		0, ip->src, ip->dst, ip->version == 4 ? 4 : 16, ip->protocol, transport_bytes));
}

const char *super_verdict_str(enum super_verdict verdict)
{
	switch (verdict) {
	case SUPER_OK:
		return "ok";
	case SUPER_BAD_FORM:
		return "bad_form";
	case SUPER_NOT_OFFERED:
		return "not_offered";
	case SUPER_BAD_IP:
		return "bad_ip";
	case SUPER_BAD_PROTOCOL:
		return "bad_protocol";
	case SUPER_BAD_FRAGMENT:
		return "bad_fragment";
	case SUPER_BAD_EXTENSION:
		return "bad_extension";
	case SUPER_BAD_TRANSPORT:
		return "bad_transport";
	case SUPER_BAD_SIZE:
		return "bad_size";
	case SUPER_BAD_CHECKSUM:
		return "bad_checksum";
	case SUPER_TOO_LONG:
		return "too_long";
	case SUPER_TOO_MANY:
		return "too_many";
	case SUPER_VERDICTS:
		break;
	}
	return "unknown";
}
