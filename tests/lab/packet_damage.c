/*
 * The Internet checksum (RFC 1071) is the sum of 16-bit words, so it cannot tell where in the packet a word stands:
 * what one word gains another may lose. This is the damage that programs above UDP must find by themselves.
 */
#include "tests/lab/packet_damage.h"

enum {
	IPV4_HEADER_BYTES = 20,
	IPV6_HEADER_BYTES = 40,
	UDP_HEADER_BYTES = 8,
	PROTOCOL_UDP = 17,
};

/* Where the payload begins; `len` if there is none. */
static size_t payload_at(const uint8_t *packet, size_t len)
{
	size_t at = len;
	uint8_t protocol = 0;

	if (len >= IPV4_HEADER_BYTES && packet[0] >> 4 == 4) {
		at = (size_t)(packet[0] & 15) * 4;
		protocol = packet[9];
	} else if (len >= IPV6_HEADER_BYTES && packet[0] >> 4 == 6) {
		at = IPV6_HEADER_BYTES;
		protocol = packet[6];
	}
	if (protocol == PROTOCOL_UDP)
		at += UDP_HEADER_BYTES;
	return at < len ? at : len;
}

bool packet_damage(uint8_t *packet, size_t len, uint64_t entropy)
{
	size_t at = payload_at(packet, len);
	size_t words =
		(len - at) / 2; /* headers have even lengths, so these are the checksum's words */

	if (words < 2)
		return false;
	size_t first = (size_t)(entropy % words);
	for (unsigned turn = 0; turn < 16; turn++) {
		unsigned bit = ((unsigned)(entropy >> 32) + turn) % 16;
		size_t byte = bit / 8;
		uint8_t mask = (uint8_t)(1u << (bit % 8));
		uint8_t *one = packet + at + 2 * first + byte;
		for (size_t step = 1; step < words; step++) {
			uint8_t *other = packet + at + 2 * ((first + step) % words) + byte;
			if (((*one ^ *other) & mask) != 0) {
				*one ^= mask;
				*other ^= mask;
				return true;
			}
		}
	}
	return false;
}
