#include "crypto/crc32.h"

#include <criterion/criterion.h>
#include <stdlib.h>

/* The definition, a bit at a time. */
static uint32_t crc32_naive(const uint8_t *bytes, size_t len)
{
	uint32_t crc = 0xffffffffu;

	for (size_t i = 0; i < len; i++) {
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

Test(crc32, check_value)
{
	cr_assert_eq(crc32_of("123456789", 9), 0xcbf43926u);
	cr_assert_eq(crc32_of("", 0), 0);
	cr_assert_eq(crc32_of("\0", 1), 0xd202ef8du);
}

Test(crc32, agrees_with_its_definition_at_every_length_and_alignment)
{
	static uint8_t bytes[1600 + 16];
	unsigned seed = 11;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)rand_r(&seed);
	for (size_t len = 0; len <= 1600; len++) {
		const uint8_t *at = bytes + len % 16;
		cr_assert_eq(crc32_of(at, len), crc32_naive(at, len), "length %zu", len);
	}
}
