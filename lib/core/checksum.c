/*
 * The checksum is the complement of the one's complement sum of 16-bit words. The running sum is kept in 32 bits with
 * the carries not yet folded in; 16 bits of head room last for 65536 words, more than an IP packet has, and each call
 * folds what it was given.
 *
 * Standards: RFC 1071, RFC 1624.
 */
#include "core/checksum.h"

#include "core/endian.h"

static uint32_t fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

uint32_t checksum_add(uint32_t sum, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	uint64_t total = sum;

	for (; len >= 4; at += 4, len -= 4)
		total += load_be32(at);
	if (len >= 2) {
		total += load_be16(at);
		at += 2;
		len -= 2;
	}
	if (len)
		total += (uint32_t)*at << 8;
	/* 2^32 is 1 in this arithmetic, as 2^16 is. */
	total = (total & 0xffffffff) + (total >> 32);
	total = (total & 0xffffffff) + (total >> 32);
	return fold((uint32_t)total);
}

uint16_t checksum_finish(uint32_t sum)
{
	return (uint16_t)~fold(sum);
}

uint32_t checksum_add_pseudo(uint32_t sum, const uint8_t *src, const uint8_t *dst,
	size_t address_bytes, uint8_t protocol, uint32_t payload_bytes)
{
	uint8_t rest[8];

	store_be32(rest, payload_bytes);
	store_be32(rest + 4, protocol);
	sum = checksum_add(sum, src, address_bytes);
	sum = checksum_add(sum, dst, address_bytes);
	return checksum_add(sum, rest, sizeof(rest));
}

uint16_t checksum_adjust(uint16_t checksum, uint16_t old_word, uint16_t new_word)
{
	uint32_t sum = (uint16_t)~checksum;

	sum += (uint16_t)~old_word;
	sum += new_word;
	return checksum_finish(sum);
}
