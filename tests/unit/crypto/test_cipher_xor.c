#include "crypto/cipher_xor.h"

#include "crypto/cipher_library.h"

#include <criterion/criterion.h>
#include <string.h>

Test(cipher_xor, both_ways_agree_with_the_plain_loop)
{
	enum { LEN_MAX = 700, FENCE = 40 };
	static uint8_t ours[LEN_MAX + 2 * FENCE], portable[sizeof(ours)], want[sizeof(ours)];
	static uint8_t pad[LEN_MAX + 2 * FENCE];

	cr_assert_eq(cipher_library_init(), 0);
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] = (uint8_t)(i * 31 + 7);
	for (size_t len = 0; len <= LEN_MAX; len++) {
		size_t at = len % FENCE, pad_at = len * 7 % FENCE;
		for (size_t i = 0; i < sizeof(want); i++)
			want[i] = ours[i] = portable[i] = (uint8_t)(i * i + len);
		for (size_t i = 0; i < len; i++)
			want[at + i] ^= pad[pad_at + i];
		xor_pad(ours + at, pad + pad_at, len);
		xor_pad_portable(portable + at, pad + pad_at, len);
		cr_assert(memcmp(ours, want, sizeof(want)) == 0, "length %zu", len);
		cr_assert(memcmp(portable, want, sizeof(want)) == 0, "length %zu", len);
	}
}
