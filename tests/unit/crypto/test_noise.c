/* X25519's door, and the symmetric state where the public vectors do not reach. */
#include "crypto/noise.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <string.h>

static void from_hex(uint8_t out[32], const char *hex)
{
	size_t len;

	cr_assert_eq(sodium_hex2bin(out, 32, hex, strlen(hex), NULL, &len, NULL), 0);
	cr_assert_eq(len, 32);
}

/* All encodings of points of order 1, 2, 4 and 8, on the curve and on its twist. */
static const char *const small_order[] = {
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

Test(noise_dh, refuses_points_of_small_order)
{
	for (size_t i = 0; i < sizeof(small_order) / sizeof(small_order[0]); i++) {
		for (unsigned top_bit = 0; top_bit < 2; top_bit++) {
			uint8_t public_key[32], private_key[32], shared[32];

			from_hex(public_key, small_order[i]);
			public_key[31] |= (uint8_t)(top_bit << 7);
			memset(private_key, 0x42, sizeof(private_key));
			memset(shared, 0xee, sizeof(shared));
			cr_assert(!noise_dh(shared, private_key, public_key), "%zu", i);
			cr_assert(sodium_is_zero(shared, sizeof(shared)));
		}
	}
}

Test(noise_dh, rfc_7748_section_6_1)
{
	uint8_t b[32], a_public[32], b_public[32], want[32], shared[32];

	from_hex(b, "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
	noise_public(b_public, b);
	from_hex(want, "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
	cr_assert_arr_eq(b_public, want, 32);
	from_hex(a_public, "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
	cr_assert(noise_dh(shared, b, a_public));
	from_hex(want, "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
	cr_assert_arr_eq(shared, want, 32);
}

static void begin(struct noise *noise)
{
	uint8_t responder[32], secret[32];

	memset(responder, 1, sizeof(responder));
	memset(secret, 2, sizeof(secret));
	noise_init(noise, NULL, 0, responder);
	cr_assert(!noise->has_key);
	noise_mix_key(noise, secret);
	cr_assert(noise->has_key);
}

Test(noise_open, failure_changes_nothing)
{
	struct noise sender, receiver, before;
	uint8_t plain[40], sealed[56], opened[40];

	begin(&sender);
	begin(&receiver);
	memset(plain, 7, sizeof(plain));
	noise_seal(&sender, plain, sizeof(plain), sealed);
	before = receiver;
	for (size_t bit = 0; bit < sizeof(sealed) * 8; bit++) {
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		memset(opened, 0xee, sizeof(opened));
		cr_assert(!noise_open(&receiver, sealed, sizeof(plain), opened));
		cr_assert(sodium_is_zero(opened, sizeof(opened)));
		cr_assert_eq(memcmp(&receiver, &before, sizeof(before)), 0);
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	cr_assert(noise_open(&receiver, sealed, sizeof(plain), opened));
	cr_assert_arr_eq(opened, plain, sizeof(plain));
	cr_assert_arr_eq(receiver.h, sender.h, NOISE_HASH_BYTES);
}

/* Two sealings under one key: the nonce counts, and the second is bound to the first by the hash. */
Test(noise_open, keeps_the_order)
{
	struct noise sender, receiver, skips;
	uint8_t first[16], second[17], third[17], opened[1], byte = 9;

	begin(&sender);
	begin(&receiver);
	begin(&skips);
	noise_seal(&sender, NULL, 0, first);
	noise_seal(&sender, &byte, 1, second);
	noise_seal(&sender, &byte, 1, third);
	cr_assert_neq(memcmp(second, third, sizeof(second)), 0);
	cr_assert(!noise_open(&skips, second, 1, opened));
	cr_assert(noise_open(&receiver, first, 0, NULL));
	cr_assert(noise_open(&receiver, second, 1, opened));
	cr_assert_eq(opened[0], byte);
	cr_assert(noise_open(&receiver, third, 1, opened));
}

/* The prologue, the responder's key and each mixing make another state. */
Test(noise_init, everything_mixed_counts)
{
	struct noise plain, other;
	uint8_t key_a[32] = {1}, key_b[32] = {2};

	noise_init(&plain, (const uint8_t *)"ab", 2, key_a);
	noise_init(&other, (const uint8_t *)"ac", 2, key_a);
	cr_assert_neq(memcmp(plain.h, other.h, NOISE_HASH_BYTES), 0);
	noise_init(&other, (const uint8_t *)"ab", 2, key_b);
	cr_assert_neq(memcmp(plain.h, other.h, NOISE_HASH_BYTES), 0);
	noise_init(&other, (const uint8_t *)"ab", 2, key_a);
	cr_assert_eq(memcmp(&plain, &other, sizeof(plain)), 0);
	noise_mix_key_and_hash(&plain, key_a);
	noise_mix_key_and_hash(&other, key_b);
	cr_assert_neq(memcmp(plain.h, other.h, NOISE_HASH_BYTES), 0);
	cr_assert_neq(memcmp(plain.ck, other.ck, NOISE_HASH_BYTES), 0);
	cr_assert_neq(memcmp(plain.key, other.key, NOISE_KEY_BYTES), 0);
	noise_wipe(&plain);
	cr_assert(sodium_is_zero((const uint8_t *)&plain, sizeof(plain)));
}
