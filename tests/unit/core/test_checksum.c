#include "core/checksum.h"
#include "core/endian.h"

#include <criterion/criterion.h>
#include <stdlib.h>

/* The definition, word by word. */
static uint16_t naive(const uint8_t *bytes, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++) {
		sum += (uint32_t)bytes[i] << (i % 2 ? 0 : 8);
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)~sum;
}

/* RFC 1071, section 3. */
Test(checksum, matches_the_example_of_the_rfc)
{
	static const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
	cr_assert_eq(checksum_finish(checksum_add(0, bytes, sizeof(bytes))), (uint16_t)~0xddf2);
}

Test(checksum, agrees_with_the_definition)
{
	static uint8_t bytes[65536];
	unsigned seed = 3;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)rand_r(&seed);
	for (size_t len = 0; len < 300; len++) {
		cr_assert_eq(checksum_finish(checksum_add(0, bytes + len, len)),
			naive(bytes + len, len), "%zu", len);
		uint32_t sum = checksum_add(0, bytes, 20);
		cr_assert_eq(checksum_finish(checksum_add(sum, bytes + 20, len)),
			naive(bytes, 20 + len));
	}
	cr_assert_eq(checksum_finish(checksum_add(0, bytes, 65535)), naive(bytes, 65535));
	memset(bytes, 0xff, sizeof(bytes));
	cr_assert_eq(checksum_finish(checksum_add(0, bytes, 65535)), naive(bytes, 65535));
}

Test(checksum, follows_a_change)
{
	uint8_t bytes[40];
	unsigned seed = 5;

	for (int round = 0; round < 20000; round++) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)rand_r(&seed);
		uint16_t before = naive(bytes, sizeof(bytes));
		size_t at = (size_t)rand_r(&seed) % 20 * 2;
		uint16_t old_word = load_be16(bytes + at);
		uint16_t new_word = (uint16_t)rand_r(&seed);
		store_be16(bytes + at, new_word);
		cr_assert_eq(
			checksum_adjust(before, old_word, new_word), naive(bytes, sizeof(bytes)));
	}
}

/* RFC 1624, section 4: the case that the older formula got wrong. */
Test(checksum, keeps_the_right_zero)
{
	cr_assert_eq(checksum_adjust(0xdd2f, 0x5555, 0x3285), 0x0000);
}

Test(checksum, adds_the_pseudo_header)
{
	uint8_t bytes[40] = {0};
	uint8_t src[16];
	uint8_t dst[16];

	for (int i = 0; i < 16; i++) {
		src[i] = (uint8_t)(i * 7 + 1);
		dst[i] = (uint8_t)(200 - i);
	}
	memcpy(bytes, src, 16);
	memcpy(bytes + 16, dst, 16);
	store_be32(bytes + 32, 70000);
	bytes[39] = 58;
	cr_assert_eq(
		checksum_finish(checksum_add_pseudo(0, src, dst, 16, 58, 70000)), naive(bytes, 40));
}
