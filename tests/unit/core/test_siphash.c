#include "core/siphash.h"

#include <criterion/criterion.h>

/* Key 00..0f, messages 00, 00 01, ...: appendix A of the paper for 15 bytes, the reference vectors for the others. */
Test(siphash, known_answers)
{
	static const struct {
		size_t len;
		uint64_t want;
	} rows[] = {
		{0, 0x726fdb47dd0e0e31},
		{1, 0x74f839c593dc67fd},
		{7, 0xab0200f58b01d137},
		{8, 0x93f5f5799a932462},
		{15, 0xa129ca6149be45e5},
		{63, 0x958a324ceb064572},
	};
	uint8_t key[SIPHASH_KEY_BYTES];
	uint8_t message[64];

	for (size_t i = 0; i < sizeof(message); i++)
		message[i] = (uint8_t)i;
	memcpy(key, message, sizeof(key));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_assert_eq(siphash(siphash_key_of(key), message, rows[i].len), rows[i].want,
			"%zu bytes", rows[i].len);
}
