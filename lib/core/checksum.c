/*
 * The checksum is the complement of the one's complement sum of 16-bit words. The running sum is kept in 32 bits with
 * the carries not yet folded in; 16 bits of head room last for 65536 words, more than an IP packet has, and each call
 * folds what it was given.
 *
 * The sum does not depend on the order of bytes in a word, as long as it is the same for all: summed in the other order it
 * comes out with its bytes swapped. So long runs are summed as the machine reads them, 32 bits at a time in lanes of 64, by a
 * loop that is compiled twice: for the vectors every machine of its kind has, and for AVX2.
 *
 * Standards: RFC 1071, RFC 1624.
 */
#include "core/checksum.h"

#include "core/endian.h"

#include <string.h>

static uint32_t fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

typedef uint64_t lanes __attribute__((vector_size(32)));

enum {
	LONG_BYTES = 2 * sizeof(lanes), /* shorter ones are not worth it */
};

/* A multiple of 64 bytes, as the machine reads them. */
static inline __attribute__((always_inline)) uint64_t sum_lanes(const uint8_t *at, size_t len)
{
	lanes low = {0}, high = {0};

	for (const uint8_t *end = at + len; at < end; at += LONG_BYTES) {
		lanes a, b;
		memcpy(&a, at, sizeof(a));
		memcpy(&b, at + sizeof(a), sizeof(b));
		low += (a & 0xffffffff) + (b & 0xffffffff);
		high += (a >> 32) + (b >> 32);
	}
	low += high;
	return low[0] + low[1] + low[2] + low[3];
}

#ifdef __x86_64__
static __attribute__((target("avx2"))) uint64_t sum_avx2(const uint8_t *at, size_t len)
{
	return sum_lanes(at, len);
}
#endif

/* As a sum of big-endian words; 2^32 is 1 in this arithmetic, as 2^16 is. */
static uint32_t sum_long(const uint8_t *at, size_t len)
{
	uint64_t total;

#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2"))
		total = sum_avx2(at, len);
	else
#endif
		total = sum_lanes(at, len);
	total = (total & 0xffffffff) + (total >> 32);
	total = (total & 0xffffffff) + (total >> 32);
	uint16_t sum = (uint16_t)fold((uint32_t)total);
	uint8_t bytes[sizeof(sum)];
	memcpy(bytes, &sum, sizeof(sum));
	return load_be16(bytes);
}

uint32_t checksum_add(uint32_t sum, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	uint64_t total = sum;

	if (len >= LONG_BYTES) {
		size_t run = len - len % LONG_BYTES;
		total += sum_long(at, run);
		at += run;
		len -= run;
	}
	for (; len >= 4; at += 4, len -= 4)
		total += load_be32(at);
	if (len >= 2) {
		total += load_be16(at);
		at += 2;
		len -= 2;
	}
	if (len)
		total += (uint32_t)*at << 8;
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
