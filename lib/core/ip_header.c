/*
 * One pass from front to back; nothing is read before its bound is checked. The total length decides, not the
 * datagram's: a packet must be exactly as long as it says, so that nothing hides behind its end and nothing that is
 * missing is believed.
 *
 * IPv6 extension headers are walked up to a bound. What lies behind the bound is not judged: the packet passes as one
 * of a protocol without ports. A header that reaches past the end makes the packet bad.
 */
#include "core/ip_header.h"

#include "core/checksum.h"
#include "core/endian.h"
#include "core/wire.h"

#include <string.h>

enum {
	V4_DONT_FRAGMENT = 0x4000,
	V4_MORE_FRAGMENTS = 0x2000,
	V4_OFFSET_MASK = 0x1fff,
	V6_MORE_FRAGMENTS = 0x0001,
	V6_OFFSET_MASK = 0xfff8,

	/* IPv6 extension headers, and protocols that begin with two ports */
	HOP_BY_HOP = 0,
	ROUTING = 43,
	FRAGMENT = 44,
	AUTHENTICATION = 51,
	DESTINATION = 60,
	MOBILITY = 135,
	HIP = 139,
	SHIM6 = 140,
	DCCP = 33,
	SCTP = 132,
	UDP_LITE = 136,

	TCP_HEADER_BYTES = 20,
	TCP_FLAGS_AT = 13,
	HOP_LIMIT = 64,
	V4_CHECKSUM_AT = 10,
};

static enum ip_verdict parse_v4(struct wire *w, struct ip_header *h)
{
	size_t len = wire_left(w);
	uint8_t first = wire_u8(w);
	uint8_t traffic_class = wire_u8(w);
	uint16_t total_bytes = wire_be16(w);
	(void)wire_be16(w); /* identification */
	uint16_t fragment = wire_be16(w);
	h->hop_limit = wire_u8(w);
	h->protocol = wire_u8(w);
	(void)wire_be16(w); /* checksum */
	const uint8_t *src = wire_bytes(w, 4);
	const uint8_t *dst = wire_bytes(w, 4);
	size_t header_bytes = (size_t)(first & 0xf) * 4;

	if (!wire_ok(w) || header_bytes < IP_HEADER_V4_BYTES)
		return IP_SHORT_HEADER;
	if (!wire_bytes(w, header_bytes - IP_HEADER_V4_BYTES))
		return IP_SHORT_HEADER;
	if (total_bytes != len)
		return IP_BAD_LENGTH;
	memcpy(h->src, src, 4);
	memcpy(h->dst, dst, 4);
	h->dscp = traffic_class >> 2;
	h->ecn = traffic_class & 3;
	h->dont_fragment = fragment & V4_DONT_FRAGMENT;
	h->later_fragment = fragment & V4_OFFSET_MASK;
	h->fragment = h->later_fragment || (fragment & V4_MORE_FRAGMENTS);
	return IP_OK;
}

static bool is_extension(uint8_t protocol)
{
	switch (protocol) {
	case HOP_BY_HOP:
	case ROUTING:
	case FRAGMENT:
	case AUTHENTICATION:
	case DESTINATION:
	case MOBILITY:
	case HIP:
	case SHIM6:
		return true;
	default:
		return false;
	}
}

/* Moves the cursor behind the extension headers and sets the protocol that follows. */
static enum ip_verdict walk_extensions(struct wire *w, struct ip_header *h)
{
	for (int i = 0; i < IP_HEADER_EXTENSIONS_MAX && is_extension(h->protocol); i++) {
		uint8_t kind = h->protocol;
		uint8_t next = wire_u8(w);
		uint8_t units = wire_u8(w);
		size_t bytes = kind == FRAGMENT		? 8
			       : kind == AUTHENTICATION ? ((size_t)units + 2) * 4
							: ((size_t)units + 1) * 8;
		const uint8_t *rest = wire_bytes(w, bytes - 2);

		if (!rest)
			return IP_BAD_CHAIN;
		h->protocol = next;
		if (kind == FRAGMENT) {
			uint16_t field = load_be16(rest);
			h->later_fragment = field & V6_OFFSET_MASK;
			h->fragment = h->later_fragment || (field & V6_MORE_FRAGMENTS);
			if (h->later_fragment) /* what follows is not the chain */
				return IP_OK;
		}
	}
	return IP_OK;
}

static enum ip_verdict parse_v6(struct wire *w, struct ip_header *h)
{
	size_t len = wire_left(w);
	uint32_t first = wire_be32(w);
	uint16_t payload_bytes = wire_be16(w);
	h->protocol = wire_u8(w);
	h->hop_limit = wire_u8(w);
	const uint8_t *src = wire_bytes(w, 16);
	const uint8_t *dst = wire_bytes(w, 16);

	if (!wire_ok(w))
		return IP_SHORT_HEADER;
	if (payload_bytes + (size_t)IP_HEADER_V6_BYTES != len)
		return IP_BAD_LENGTH;
	memcpy(h->src, src, 16);
	memcpy(h->dst, dst, 16);
	h->dscp = (uint8_t)(first >> 22 & 0x3f);
	h->ecn = (uint8_t)(first >> 20 & 3);
	h->dont_fragment = true;
	return walk_extensions(w, h);
}

/* A transport header that is cut is not the packet's fault at this layer: it just has no ports. */
static void parse_transport(struct wire w, struct ip_header *h)
{
	const uint8_t *at = w.at;
	size_t left = wire_left(&w);

	if (h->later_fragment)
		return;
	switch (h->protocol) {
	case IP_PROTOCOL_TCP:
		if (left < TCP_HEADER_BYTES)
			return;
		h->tcp_flags = at[TCP_FLAGS_AT];
		h->has_ports = true;
		break;
	case IP_PROTOCOL_UDP:
	case UDP_LITE:
	case DCCP:
	case SCTP:
		h->has_ports = left >= 8;
		break;
	case IP_PROTOCOL_ICMP:
	case IP_PROTOCOL_ICMPV6:
		h->has_icmp = left >= 8 && (h->protocol == IP_PROTOCOL_ICMP) == (h->version == 4);
		break;
	default:
		return;
	}
	if (h->has_ports) {
		h->src_port = load_be16(at);
		h->dst_port = load_be16(at + 2);
	}
	if (h->has_icmp) {
		h->icmp_type = at[0];
		h->icmp_code = at[1];
	}
}

enum ip_verdict ip_header_parse(const void *packet, size_t len, struct ip_header *ret_header)
{
	struct wire w = wire_of(packet, len);
	enum ip_verdict verdict;

	memset(ret_header, 0, sizeof(*ret_header));
	if (len == 0)
		return IP_EMPTY;
	ret_header->version = w.at[0] >> 4;
	if (ret_header->version == 4)
		verdict = parse_v4(&w, ret_header);
	else if (ret_header->version == 6)
		verdict = parse_v6(&w, ret_header);
	else
		return IP_BAD_VERSION;
	if (verdict != IP_OK)
		return verdict;
	ret_header->length_bytes = (uint32_t)len;
	ret_header->transport_bytes = (uint32_t)(len - wire_left(&w));
	parse_transport(w, ret_header);
	return IP_OK;
}

const char *ip_verdict_str(enum ip_verdict verdict)
{
	switch (verdict) {
	case IP_OK:
		return "ok";
	case IP_EMPTY:
		return "empty";
	case IP_BAD_VERSION:
		return "bad_version";
	case IP_SHORT_HEADER:
		return "short_header";
	case IP_BAD_LENGTH:
		return "bad_length";
	case IP_BAD_CHAIN:
		return "bad_chain";
	case IP_VERDICTS:
		break;
	}
	return "unknown";
}

bool ip_header_mark_ce(uint8_t *packet, const struct ip_header *header)
{
	if (header->ecn == 0)
		return false;
	if (header->version == 6) {
		packet[1] |= 0x30;
		return true;
	}
	uint16_t old_word = load_be16(packet);
	uint16_t checksum = load_be16(packet + V4_CHECKSUM_AT);
	packet[1] |= 3;
	if (load_be16(packet) !=
		old_word) /* adjusting by nothing could turn one zero into the other */
		store_be16(packet + V4_CHECKSUM_AT,
			checksum_adjust(checksum, old_word, load_be16(packet)));
	return true;
}

size_t ip_header_write(uint8_t *at, uint8_t version, const uint8_t *src, const uint8_t *dst,
	uint8_t protocol, size_t payload_bytes)
{
	if (version == 6) {
		memset(at, 0, IP_HEADER_V6_BYTES);
		at[0] = 0x60;
		store_be16(at + 4, (uint16_t)payload_bytes);
		at[6] = protocol;
		at[7] = HOP_LIMIT;
		memcpy(at + 8, src, 16);
		memcpy(at + 24, dst, 16);
		return IP_HEADER_V6_BYTES;
	}
	memset(at, 0, IP_HEADER_V4_BYTES);
	at[0] = 0x45;
	store_be16(at + 2, (uint16_t)(IP_HEADER_V4_BYTES + payload_bytes));
	store_be16(at + 6, V4_DONT_FRAGMENT);
	at[8] = HOP_LIMIT;
	at[9] = protocol;
	memcpy(at + 12, src, 4);
	memcpy(at + 16, dst, 4);
	store_be16(at + V4_CHECKSUM_AT, checksum_finish(checksum_add(0, at, IP_HEADER_V4_BYTES)));
	return IP_HEADER_V4_BYTES;
}
