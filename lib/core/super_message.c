/*
 *   0x4. or 0x6.                    a plain packet
 *   0x80  0 0            packet     its TCP or UDP checksum is partial
 *   0x81  size (le16)    packet     super-packet of TCP over IPv4, `size` payload bytes a segment
 *   0x82  size (le16)    packet     of TCP over IPv6
 *   0x83  size (le16)    packet     of UDP over either
 *
 * The inner header is not taken on trust: it goes through the same parser as what the device gives, and what it says
 * must be what the first byte says. Bounds on the length of a segment and on their number keep a short message from
 * becoming many packets, or such as the host behind could not have got from a link with this MTU.
 *
 * Sent is 0x80 never: three bytes more would put a packet of full size into two pieces, and to sum its bytes costs less
 * than a datagram. Others may weigh that otherwise, so it is taken.
 *
 * A super-packet with no more payload than one segment is harmless, and taken for what it is: a packet with a partial
 * checksum.
 */
#include "core/super_message.h"

#include "core/wire.h"

enum {
	FORM_PARTIAL = 0x80,
	FORM_TCP4 = 0x81,
	FORM_TCP6 = 0x82,
	FORM_UDP = 0x83,
};

static uint8_t form_of(const struct super_packet *packet, uint16_t count)
{
	if (count <= 1)
		return FORM_PARTIAL;
	if (packet->ip.protocol == IP_PROTOCOL_UDP)
		return FORM_UDP;
	return packet->ip.version == 4 ? FORM_TCP4 : FORM_TCP6;
}

size_t super_message_write_prefix(const struct super_packet *packet, uint16_t count, uint8_t *at)
{
	if (packet->kind == SUPER_PACKET_PLAIN)
		return 0;
	at[0] = form_of(packet, count);
	store_le16(at + 1, at[0] == FORM_PARTIAL ? 0 : (uint16_t)packet->segment_bytes);
	return SUPER_MESSAGE_OVERHEAD_BYTES;
}

static size_t prefix_bytes(const struct super_packet *packet, uint16_t count)
{
	return packet->kind == SUPER_PACKET_PLAIN || count == 1 ? 0 : SUPER_MESSAGE_OVERHEAD_BYTES;
}

uint32_t super_message_bytes(const struct super_packet *packet, uint16_t first, uint16_t count)
{
	return super_packet_range_bytes(packet, first, count) +
	       (uint32_t)prefix_bytes(packet, count);
}

size_t super_message_write(const struct super_packet *packet, uint16_t first, uint16_t count,
	uint8_t *at, uint16_t *ret_ip_at)
{
	size_t prefix = prefix_bytes(packet, count);

	*ret_ip_at = (uint16_t)prefix;
	if (prefix > 0)
		(void)super_message_write_prefix(packet, count, at);
	return prefix + super_packet_write(packet, first, count, prefix == 0, at + prefix);
}

uint16_t super_message_fit(const struct super_packet *packet, uint16_t first, uint32_t bytes)
{
	uint16_t left = (uint16_t)(packet->segments - first);
	uint16_t fit = 1;

	if (bytes > SUPER_MESSAGE_OVERHEAD_BYTES)
		fit = super_packet_fit(packet, bytes - SUPER_MESSAGE_OVERHEAD_BYTES);
	return fit < left ? fit : left;
}

static bool form_matches(uint8_t form, const struct ip_header *ip)
{
	switch (form) {
	case FORM_TCP4:
		return ip->version == 4 && ip->protocol == IP_PROTOCOL_TCP;
	case FORM_TCP6:
		return ip->version == 6 && ip->protocol == IP_PROTOCOL_TCP;
	case FORM_UDP:
		return ip->protocol == IP_PROTOCOL_UDP;
	default:
		return true;
	}
}

static enum super_verdict check_limits(
	const struct super_packet *packet, const struct super_limits *limits)
{
	if (super_packet_range_bytes(packet, 0, 1) > limits->packet_bytes_max)
		return SUPER_TOO_LONG;
	if (packet->kind != SUPER_PACKET_SEGMENTED)
		return SUPER_OK;
	if (packet->length_bytes > limits->super_bytes_max)
		return SUPER_TOO_LONG;
	return packet->segments > SUPER_PACKET_SEGMENTS_MAX ? SUPER_TOO_MANY : SUPER_OK;
}

enum super_verdict super_message_parse(const uint8_t *message, size_t len,
	const struct super_limits *limits, struct super_packet *ret_packet)
{
	enum super_packet_kind kind = SUPER_PACKET_PLAIN;
	struct wire w = wire_of(message, len);
	uint8_t form = len > 0 ? message[0] : 0;
	struct super_packet p;
	uint16_t size = 0;

	if (form >= FORM_PARTIAL && form <= FORM_UDP) {
		if (limits->super_bytes_max == 0)
			return SUPER_NOT_OFFERED;
		(void)wire_u8(&w);
		size = wire_le16(&w);
		if (!wire_ok(&w))
			return SUPER_BAD_FORM;
		kind = form == FORM_PARTIAL ? SUPER_PACKET_PARTIAL : SUPER_PACKET_SEGMENTED;
	} else if (form >> 4 != 4 && form >> 4 != 6) {
		return SUPER_BAD_FORM;
	}
	enum super_verdict verdict = super_packet_parse(w.at, wire_left(&w), kind, size, &p);
	if (verdict != SUPER_OK)
		return verdict;
	if (!form_matches(form, &p.ip))
		return SUPER_BAD_PROTOCOL;
	verdict = check_limits(&p, limits);
	if (verdict == SUPER_OK)
		*ret_packet = p;
	return verdict;
}
