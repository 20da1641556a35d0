/*
 * A message quotes the beginning of the packet it is about, so that the sender finds the connection: as much as the
 * length limits of the two protocols allow. Before that stands the list of what must never be answered.
 */
#include "core/icmp_error.h"

#include "core/checksum.h"
#include "core/endian.h"
#include "core/ip_header.h"

#include <string.h>

enum {
	MESSAGE_BYTES = 8, /* type, code, checksum, unused or MTU */
	V6_MTU_MIN = 1280, /* RFC 8200, 5: less is never told */
	V4_MTU_MIN = 68,   /* RFC 791 */
};

struct type_code {
	uint8_t type;
	uint8_t code;
};

static const struct type_code V4_TYPES[] = {
	[ICMP_ERROR_TOO_BIG] = {3, 4},
	[ICMP_ERROR_NO_ROUTE] = {3, 0},
	[ICMP_ERROR_NO_HOST] = {3, 1},
	[ICMP_ERROR_PROHIBITED] = {3, 13},
};

static const struct type_code V6_TYPES[] = {
	[ICMP_ERROR_TOO_BIG] = {2, 0},
	[ICMP_ERROR_NO_ROUTE] = {1, 0},
	[ICMP_ERROR_NO_HOST] = {1, 3},
	[ICMP_ERROR_PROHIBITED] = {1, 1},
};

/* Unspecified, loopback, multicast, reserved or broadcast: not one host that could be told, or meant. */
static bool v4_not_one_host(const uint8_t *address)
{
	return address[0] == 0 || address[0] == 127 || address[0] >= 224;
}

static bool v6_not_one_host(const uint8_t *address)
{
	static const uint8_t zeroes[15];
	return address[0] == 0xff || (memcmp(address, zeroes, 15) == 0 && address[15] <= 1);
}

static bool v4_icmp_query(uint8_t type)
{
	switch (type) {
	case 0:	 /* echo reply */
	case 8:	 /* echo */
	case 13: /* timestamp */
	case 14: /* timestamp reply */
	case 42: /* extended echo */
	case 43: /* extended echo reply */
		return true;
	default: /* an error, or unknown */
		return false;
	}
}

static bool may_be_answered(const struct ip_header *h)
{
	if (h->later_fragment)
		return false;
	if (h->version == 4) {
		if (v4_not_one_host(h->src) || v4_not_one_host(h->dst))
			return false;
		return h->protocol != IP_PROTOCOL_ICMP ||
		       (h->has_icmp && v4_icmp_query(h->icmp_type));
	}
	if (v6_not_one_host(h->src) || v6_not_one_host(h->dst))
		return false;
	return h->protocol != IP_PROTOCOL_ICMPV6 || (h->has_icmp && h->icmp_type >= 128);
}

static size_t build_v4(enum icmp_error error, uint16_t mtu_bytes, const uint8_t *packet,
	const struct ip_header *h, const uint8_t *source, uint8_t *out)
{
	static const uint8_t dummy[4] = {192, 0, 0, 8};
	size_t quoted = ICMP_ERROR_V4_BYTES_MAX - IP_HEADER_V4_BYTES - MESSAGE_BYTES;
	uint8_t *message = out + IP_HEADER_V4_BYTES;

	if (quoted > h->length_bytes)
		quoted = h->length_bytes;
	memset(message, 0, MESSAGE_BYTES);
	message[0] = V4_TYPES[error].type;
	message[1] = V4_TYPES[error].code;
	if (error == ICMP_ERROR_TOO_BIG)
		store_be16(message + 6, mtu_bytes < V4_MTU_MIN ? V4_MTU_MIN : mtu_bytes);
	memcpy(message + MESSAGE_BYTES, packet, quoted);
	store_be16(message + 2, checksum_finish(checksum_add(0, message, MESSAGE_BYTES + quoted)));
	(void)ip_header_write(
		out, 4, source ? source : dummy, h->src, IP_PROTOCOL_ICMP, MESSAGE_BYTES + quoted);
	return IP_HEADER_V4_BYTES + MESSAGE_BYTES + quoted;
}

static size_t build_v6(enum icmp_error error, uint16_t mtu_bytes, const uint8_t *packet,
	const struct ip_header *h, const uint8_t *source, uint8_t *out)
{
	size_t quoted = ICMP_ERROR_V6_BYTES_MAX - IP_HEADER_V6_BYTES - MESSAGE_BYTES;
	uint8_t *message = out + IP_HEADER_V6_BYTES;

	if (!source)
		return 0;
	if (quoted > h->length_bytes)
		quoted = h->length_bytes;
	memset(message, 0, MESSAGE_BYTES);
	message[0] = V6_TYPES[error].type;
	message[1] = V6_TYPES[error].code;
	if (error == ICMP_ERROR_TOO_BIG)
		store_be32(message + 4, mtu_bytes < V6_MTU_MIN ? V6_MTU_MIN : mtu_bytes);
	memcpy(message + MESSAGE_BYTES, packet, quoted);
	uint32_t payload_bytes = (uint32_t)(MESSAGE_BYTES + quoted);
	uint32_t sum =
		checksum_add_pseudo(0, source, h->src, 16, IP_PROTOCOL_ICMPV6, payload_bytes);
	store_be16(message + 2, checksum_finish(checksum_add(sum, message, payload_bytes)));
	(void)ip_header_write(out, 6, source, h->src, IP_PROTOCOL_ICMPV6, payload_bytes);
	return IP_HEADER_V6_BYTES + payload_bytes;
}

size_t icmp_error_build(enum icmp_error error, uint16_t mtu_bytes, const uint8_t *packet,
	const struct ip_header *header, const uint8_t *source, uint8_t out[ICMP_ERROR_BYTES_MAX])
{
	if (!may_be_answered(header))
		return 0;
	if (header->version == 4)
		return build_v4(error, mtu_bytes, packet, header, source, out);
	return build_v6(error, mtu_bytes, packet, header, source, out);
}
