/*
 * The option list is a chain of kind, length, value from a stranger: a length below 2 or past the end of the header
 * ends the walk and nothing is changed. The option's value may stand at an odd offset, where its two bytes belong to
 * two words of the checksum: swapping the bytes of both values gives the same change of the sum.
 */
#include "core/tcp_mss.h"

#include "core/checksum.h"
#include "core/endian.h"
#include "core/ip_header.h"

#include <stddef.h>

enum {
	TCP_HEADER_BYTES = 20,
	TCP_OFFSET_AT = 12,
	TCP_CHECKSUM_AT = 16,
	OPTION_END = 0,
	OPTION_NOTHING = 1,
	OPTION_MSS = 2,
	OPTION_MSS_BYTES = 4,
};

static uint16_t swapped(uint16_t word)
{
	return (uint16_t)(word << 8 | word >> 8);
}

/* The offset of the MSS value in the TCP header, 0 if there is none. */
static size_t find_mss(const uint8_t *tcp, size_t header_bytes)
{
	size_t at = TCP_HEADER_BYTES;

	while (at < header_bytes) {
		if (tcp[at] == OPTION_END)
			return 0;
		if (tcp[at] == OPTION_NOTHING) {
			at++;
			continue;
		}
		if (header_bytes - at < 2)
			return 0;
		size_t bytes = tcp[at + 1];
		if (bytes < 2 || bytes > header_bytes - at)
			return 0;
		if (tcp[at] == OPTION_MSS)
			return bytes == OPTION_MSS_BYTES ? at + 2 : 0;
		at += bytes;
	}
	return 0;
}

bool tcp_mss_clamp(uint8_t *packet, const struct ip_header *header, uint16_t mtu_bytes)
{
	size_t ip_bytes = header->version == 4 ? IP_HEADER_V4_BYTES : IP_HEADER_V6_BYTES;
	uint8_t *tcp = packet + header->transport_bytes;
	size_t left = header->length_bytes - header->transport_bytes;

	if (header->protocol != IP_PROTOCOL_TCP || !header->has_ports || header->fragment ||
		!(header->tcp_flags & IP_TCP_SYN) || mtu_bytes <= ip_bytes + TCP_HEADER_BYTES)
		return false;
	size_t header_bytes = (size_t)(tcp[TCP_OFFSET_AT] >> 4) * 4;
	if (header_bytes < TCP_HEADER_BYTES || header_bytes > left)
		return false;
	size_t at = find_mss(tcp, header_bytes);
	if (at == 0)
		return false;
	uint16_t old_mss = load_be16(tcp + at);
	uint16_t new_mss = (uint16_t)(mtu_bytes - ip_bytes - TCP_HEADER_BYTES);
	if (old_mss <= new_mss)
		return false;
	store_be16(tcp + at, new_mss);
	if (at % 2) {
		old_mss = swapped(old_mss);
		new_mss = swapped(new_mss);
	}
	uint16_t checksum = load_be16(tcp + TCP_CHECKSUM_AT);
	store_be16(tcp + TCP_CHECKSUM_AT, checksum_adjust(checksum, old_mss, new_mss));
	return true;
}
