/* Ciphers on bare buffers, against twins written in the plainest way. */
#include "crypto/cipher.h"

#include "core/endian.h"
#include "core/err.h"
#include "crypto/pbkdf2.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <gcrypt.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum {
	LEN_MAX = 1600,
	FENCE_BYTES = 32,
	FENCE = 0xa5,
};

static const uint8_t iv[16] = {0xa7, 0x73, 0x4f, 0x9c, 0x12, 0xac, 0x1b, 0x01, 0xa4, 0x15, 0xf2,
	0xc1, 0xfc, 0x78, 0xe6, 0x6b};

static void fill(uint8_t *bytes, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)rand_r(&seed);
}

static struct cipher *make(enum cipher_kind kind, const uint8_t *key, size_t key_len)
{
	struct cipher *cipher = NULL;

	cr_assert_eq(cipher_new_kind(kind, key, key_len, &cipher), 0, "%s", cipher_kind_name(kind));
	cr_assert_eq(cipher_kind_of(cipher), kind);
	return cipher;
}

/* ---- twins ------------------------------------------------------------------------------------------------------- */

typedef void (*encipher_fn)(const uint8_t *key, const uint8_t *in, uint8_t *out);

static void tea_naive(const uint8_t *key, const uint8_t *in, uint8_t *out)
{
	uint32_t y = load_be32(in), z = load_be32(in + 4);

	for (uint32_t n = 1; n <= 8; n++) {
		uint32_t sum = n * 0x9e3779b9u;
		y += ((z << 4) + load_be32(key)) ^ (z + sum) ^ ((z >> 5) + load_be32(key + 4));
		z += ((y << 4) + load_be32(key + 8)) ^ (y + sum) ^ ((y >> 5) + load_be32(key + 12));
	}
	store_be32(out, y);
	store_be32(out + 4, z);
}

static void xtea_naive(const uint8_t *key, const uint8_t *in, uint8_t *out)
{
	uint32_t y = load_be32(in), z = load_be32(in + 4), sum = 0;

	for (int n = 0; n < 32; n++) {
		y += (((z << 4) ^ (z >> 5)) + z) ^ (sum + load_be32(key + 4 * (sum & 3)));
		sum += 0x9e3779b9u;
		z += (((y << 4) ^ (y >> 5)) + y) ^ (sum + load_be32(key + 4 * ((sum >> 11) & 3)));
	}
	store_be32(out, y);
	store_be32(out + 4, z);
}

/* The block cipher under test, opened by the test itself; its key is inside. */
static gcry_cipher_hd_t ecb;
static size_t ecb_block_bytes;

static void ecb_encipher(const uint8_t *key, const uint8_t *in, uint8_t *out)
{
	cr_assert_eq(gcry_cipher_encrypt(ecb, out, ecb_block_bytes, in, ecb_block_bytes), 0);
}

static void cfb_naive(
	encipher_fn encipher, const uint8_t *key, size_t block, uint8_t *buf, size_t len)
{
	uint8_t before[16], stream[16];

	memcpy(before, iv, block);
	for (size_t at = 0; at < len; at += block) {
		encipher(key, before, stream);
		for (size_t i = at; i < len && i < at + block; i++)
			before[i - at] = buf[i] = buf[i] ^ stream[i - at];
	}
}

static void salsa20_naive(const uint8_t *key, uint8_t *buf, size_t len)
{
	for (size_t at = 8; at < len; at += 64) {
		size_t part = len - at < 64 ? len - at : 64;
		crypto_stream_salsa20_xor_ic(buf + at, buf + at, part, buf, (at - 8) / 64, key);
	}
}

static void xor_naive(const uint8_t *key, size_t key_len, uint8_t *buf, size_t len)
{
	uint8_t table[PBKDF2_XOR_TABLE_BYTES];

	cr_assert_eq(pbkdf2_xor_table(key, key_len, table), 0);
	for (size_t i = 0; i < len && i < sizeof(table); i++)
		buf[i] ^= table[i];
}

/* libgcrypt's number of the algorithm; 0 if the cipher is not one of its CFB ciphers. */
static int gcrypt_algo(enum cipher_kind kind)
{
	switch (kind) {
	case CIPHER_AES:
		return GCRY_CIPHER_AES256;
	case CIPHER_AES_128:
		return GCRY_CIPHER_AES128;
	case CIPHER_AES_192:
		return GCRY_CIPHER_AES192;
	case CIPHER_TWOFISH:
		return GCRY_CIPHER_TWOFISH;
	case CIPHER_BLOWFISH:
		return GCRY_CIPHER_BLOWFISH;
	case CIPHER_CAST5:
		return GCRY_CIPHER_CAST5;
	case CIPHER_3DES:
		return GCRY_CIPHER_3DES;
	case CIPHER_SM4:
		return GCRY_CIPHER_SM4;
	default:
		return 0;
	}
}

static void encrypt_naive(enum cipher_kind kind, const uint8_t *key, uint8_t *buf, size_t len)
{
	if (gcrypt_algo(kind) != 0)
		cfb_naive(ecb_encipher, NULL, ecb_block_bytes, buf, len);
	else if (kind == CIPHER_TEA)
		cfb_naive(tea_naive, key, 8, buf, len);
	else if (kind == CIPHER_XTEA)
		cfb_naive(xtea_naive, key, 8, buf, len);
	else if (kind == CIPHER_SALSA20)
		salsa20_naive(key, buf, len);
	else if (kind == CIPHER_XOR)
		xor_naive(key, CIPHER_KEY_BYTES_MAX, buf, len);
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

Test(cipher, names_lead_to_kinds_and_back)
{
	static const char *const kcptun[] = {"aes", "aes-128", "aes-192", "twofish", "blowfish",
		"cast5", "3des", "sm4", "tea", "xtea", "xor", "salsa20", "none", "null",
		"aes-128-gcm"};
	enum cipher_kind kind;

	for (size_t i = 0; i < sizeof(kcptun) / sizeof(kcptun[0]); i++) {
		cr_assert_eq(cipher_kind_by_name(kcptun[i], &kind), 0, "%s", kcptun[i]);
		cr_assert_str_eq(cipher_kind_name(kind), kcptun[i]);
	}
	for (unsigned i = 0; i < CIPHER_KINDS; i++) {
		cr_assert_eq(cipher_kind_by_name(cipher_kind_name((enum cipher_kind)i), &kind), 0);
		cr_assert_eq(kind, (enum cipher_kind)i);
	}
	cr_assert_eq(cipher_kind_name(CIPHER_KINDS), NULL);
}

Test(cipher, unknown_names_are_refused)
{
	static const char *const names[] = {"", "AES", "aes-256", "salsa", "salsa20 ", "rot13"};
	const uint8_t key[CIPHER_KEY_BYTES_MAX] = {0};
	struct cipher *cipher = (struct cipher *)1;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		cr_assert_eq(cipher_new(names[i], key, sizeof(key), &cipher), -EINVAL);
	cr_assert_eq(cipher_new_kind(CIPHER_KINDS, key, sizeof(key), &cipher), -EINVAL);
	cr_assert_eq(cipher, (struct cipher *)1);
}

Test(cipher, short_keys_are_refused)
{
	const uint8_t key[CIPHER_KEY_BYTES_MAX] = {7};
	struct cipher *cipher = (struct cipher *)1;

	for (unsigned i = 0; i < CIPHER_KINDS; i++) {
		enum cipher_kind kind = (enum cipher_kind)i;
		size_t need = kind == CIPHER_SALSA20 || kind == CIPHER_XOR
				      ? 1
				      : cipher_kind_key_bytes(kind);
		for (size_t len = 0; len < need; len++)
			cr_assert_eq(cipher_new_kind(kind, key, len, &cipher), -ERR_KEY, "%s, %zu",
				cipher_kind_name(kind), len);
		cr_assert_eq(cipher, (struct cipher *)1);
		cipher_free(make(kind, key, need));
	}
	cipher_free(NULL);
	cipher_free(make(CIPHER_NONE, NULL, 0));
	cipher_free(make(CIPHER_NULL, NULL, 0));
}

/* Does the cipher encrypt alike under both keys? */
static bool same_under(
	enum cipher_kind kind, const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	uint8_t with_a[100], with_b[100];
	struct cipher *cipher_a = make(kind, a, a_len);
	struct cipher *cipher_b = make(kind, b, b_len);

	fill(with_a, sizeof(with_a), 5);
	memcpy(with_b, with_a, sizeof(with_b));
	cipher_encrypt(cipher_a, with_a, sizeof(with_a));
	cipher_encrypt(cipher_b, with_b, sizeof(with_b));
	cipher_free(cipher_a);
	cipher_free(cipher_b);
	return memcmp(with_a, with_b, sizeof(with_a)) == 0;
}

Test(cipher, the_leading_bytes_of_a_key_count)
{
	uint8_t key[2 * CIPHER_KEY_BYTES_MAX], other[sizeof(key)];

	fill(key, sizeof(key), 3);
	for (unsigned i = 0; i < CIPHER_KINDS; i++) {
		enum cipher_kind kind = (enum cipher_kind)i;
		size_t need = cipher_kind_key_bytes(kind);
		if (need == 0 || cipher_kind_framing(kind) == CIPHER_FRAMING_AEAD)
			continue;
		memcpy(other, key, sizeof(other));
		other[need - 1] ^= 2; /* not the lowest bit, which DES ignores */
		cr_assert(!same_under(kind, key, need, other, need), "%s", cipher_kind_name(kind));
		if (kind == CIPHER_XOR)
			cr_assert(!same_under(kind, key, need, key, need + 1));
		else
			cr_assert(same_under(kind, key, need, key, sizeof(key)), "%s",
				cipher_kind_name(kind));
	}
}

Test(cipher, salsa20_fills_a_short_key_with_zeros)
{
	const uint8_t key[CIPHER_KEY_BYTES_MAX] = {'s', 'h', 'o', 'r', 't'};

	cr_assert(same_under(CIPHER_SALSA20, key, 5, key, sizeof(key)));
	cr_assert(!same_under(CIPHER_SALSA20, key, 4, key, sizeof(key)));
}

Test(cipher, weak_keys_work)
{
	static const enum cipher_kind these[] = {CIPHER_3DES, CIPHER_BLOWFISH, CIPHER_CAST5};
	const uint8_t zeros[CIPHER_KEY_BYTES_MAX] = {0};
	uint8_t ones[CIPHER_KEY_BYTES_MAX];

	memset(ones, 1, sizeof(ones));
	for (size_t i = 0; i < sizeof(these) / sizeof(these[0]); i++) {
		uint8_t buf[64] = {0};
		const uint8_t nothing[sizeof(buf)] = {0};
		struct cipher *cipher = make(these[i], zeros, sizeof(zeros));
		cipher_encrypt(cipher, buf, sizeof(buf));
		cr_assert(memcmp(buf, nothing, sizeof(buf)) != 0);
		cipher_decrypt(cipher, buf, sizeof(buf));
		cr_assert_arr_eq(buf, nothing, sizeof(buf));
		cipher_free(cipher);
		cr_assert(!same_under(these[i], zeros, sizeof(zeros), ones, sizeof(ones)) ||
			  these[i] == CIPHER_3DES); /* DES ignores the lowest bit */
	}
}

/* Every length, at changing alignment, with a fence on both sides; the cipher keeps no state from call to call. */
static void check_lengths(enum cipher_kind kind, const uint8_t *key)
{
	static uint8_t area[FENCE_BYTES + LEN_MAX + FENCE_BYTES];
	static uint8_t plain[LEN_MAX], want[LEN_MAX];
	const char *name = cipher_kind_name(kind);
	struct cipher *cipher = make(kind, key, CIPHER_KEY_BYTES_MAX);

	for (size_t len = 0; len <= LEN_MAX; len++) {
		size_t offset = 1 + len % (FENCE_BYTES - 1);
		uint8_t *buf = area + offset;
		fill(plain, len, (unsigned)len);
		memcpy(want, plain, len);
		encrypt_naive(kind, key, want, len);

		memset(area, FENCE, sizeof(area));
		memcpy(buf, plain, len);
		cipher_encrypt(cipher, buf, len);
		cr_assert(memcmp(buf, want, len) == 0, "%s encrypts %zu", name, len);
		cipher_decrypt(cipher, buf, len);
		cr_assert(memcmp(buf, plain, len) == 0, "%s decrypts %zu", name, len);
		for (size_t i = 0; i < sizeof(area); i++)
			cr_assert(area[i] == FENCE || (area + i >= buf && area + i < buf + len),
				"%s touched byte %zu, length %zu", name, i, len);
	}
	cipher_free(cipher);
}

Test(cipher, agrees_with_its_twin_at_every_length)
{
	uint8_t key[CIPHER_KEY_BYTES_MAX];

	fill(key, sizeof(key), 9);
	for (unsigned i = 0; i < CIPHER_KINDS; i++) {
		enum cipher_kind kind = (enum cipher_kind)i;
		if (cipher_kind_framing(kind) == CIPHER_FRAMING_AEAD)
			continue;
		if (gcrypt_algo(kind) != 0) {
			/* The library must be started before libgcrypt is used beside it. */
			cipher_free(make(kind, key, sizeof(key)));
			cr_assert_eq(
				gcry_cipher_open(&ecb, gcrypt_algo(kind), GCRY_CIPHER_MODE_ECB, 0),
				0);
			ecb_block_bytes = gcry_cipher_get_algo_blklen(gcrypt_algo(kind));
			cr_assert_eq(gcry_cipher_setkey(ecb, key, cipher_kind_key_bytes(kind)), 0);
		}
		check_lengths(kind, key);
		if (gcrypt_algo(kind) != 0)
			gcry_cipher_close(ecb);
	}
}

Test(cipher, buffers_of_their_exact_size)
{
	uint8_t key[CIPHER_KEY_BYTES_MAX];

	fill(key, sizeof(key), 9);
	for (unsigned i = 0; i < CIPHER_KINDS; i++) {
		enum cipher_kind kind = (enum cipher_kind)i;
		if (cipher_kind_framing(kind) == CIPHER_FRAMING_AEAD)
			continue;
		struct cipher *cipher = make(kind, key, sizeof(key));
		for (size_t len = 0; len <= 600; len++) {
			/* The address sanitizer sees what a fence does not: reads. */
			uint8_t *buf = calloc(len ? len : 1, 1);
			cipher_encrypt(cipher, buf, len);
			cipher_decrypt(cipher, buf, len);
			for (size_t k = 0; k < len; k++)
				cr_assert_eq(buf[k], 0);
			free(buf);
		}
		cipher_free(cipher);
	}
}

Test(cipher, many_at_once_outgrow_the_locked_pool)
{
	enum { MANY = 100 };
	struct cipher *ciphers[MANY];
	uint8_t key[CIPHER_KEY_BYTES_MAX] = {0}, first[64] = {0}, buf[64] = {0};

	for (int i = 0; i < MANY; i++)
		ciphers[i] = make(CIPHER_BLOWFISH, key, sizeof(key));
	cipher_encrypt(ciphers[0], first, sizeof(first));
	for (int i = 1; i < MANY; i++) {
		memset(buf, 0, sizeof(buf));
		cipher_encrypt(ciphers[i], buf, sizeof(buf));
		cr_assert_arr_eq(buf, first, sizeof(buf));
	}
	for (int i = 0; i < MANY; i++)
		cipher_free(ciphers[i]);
}

Test(cipher, aead_seals_and_tells_forgeries)
{
	static const enum cipher_kind these[] = {CIPHER_AES_128_GCM, CIPHER_AES_256_GCM};
	uint8_t key[CIPHER_KEY_BYTES_MAX], nonce[CIPHER_AEAD_NONCE_BYTES], plain[200], buf[200],
		tag[CIPHER_AEAD_TAG_BYTES];

	fill(key, sizeof(key), 1);
	fill(nonce, sizeof(nonce), 2);
	fill(plain, sizeof(plain), 3);
	for (size_t i = 0; i < sizeof(these) / sizeof(these[0]); i++) {
		struct cipher *cipher = make(these[i], key, sizeof(key));
		for (size_t len = 0; len <= sizeof(buf); len++) {
			memcpy(buf, plain, len);
			cipher_aead_seal(cipher, nonce, buf, len, tag);
			cr_assert(len < 8 || memcmp(buf, plain, len) != 0);
			cr_assert(cipher_aead_open(cipher, nonce, buf, len, tag));
			cr_assert(memcmp(buf, plain, len) == 0);

			cipher_aead_seal(cipher, nonce, buf, len, tag);
			tag[len % sizeof(tag)] ^= 0x40;
			cr_assert(!cipher_aead_open(cipher, nonce, buf, len, tag));
		}
		cipher_free(cipher);
	}
}

/* All at once is the same as one after the other, whatever the lengths, and nothing between the buffers is touched. */
Test(cipher, many_at_once)
{
	enum { BUFFERS = 40, ROOM = 1600, GAP = 3 };
	static const size_t lengths[] = {
		0, 1, 8, 9, 20, 72, 73, 136, 511, 520, 521, 1031, 1032, 1378, 1597};
	static uint8_t together[BUFFERS * ROOM], apart[BUFFERS * ROOM], before[BUFFERS * ROOM];
	struct cipher_text texts[BUFFERS];
	uint8_t key[CIPHER_KEY_BYTES_MAX];
	unsigned seed = 20;

	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)rand_r(&seed);
	for (unsigned kind = 0; kind < CIPHER_KINDS; kind++) {
		struct cipher *cipher = NULL;
		if (cipher_kind_framing((enum cipher_kind)kind) == CIPHER_FRAMING_AEAD)
			continue;
		cr_assert_eq(cipher_new_kind((enum cipher_kind)kind, key, sizeof(key), &cipher), 0);
		for (size_t count = 0; count <= BUFFERS;
			count = count < 18 ? count + 1 : count + 11) {
			size_t at = 0;
			for (size_t i = 0; i < sizeof(before); i++)
				before[i] = (uint8_t)rand_r(&seed);
			memcpy(together, before, sizeof(before));
			memcpy(apart, before, sizeof(before));
			for (size_t i = 0; i < count; i++) {
				size_t len = lengths[(size_t)rand_r(&seed) %
						     (sizeof(lengths) / sizeof(lengths[0]))];
				texts[i] = (struct cipher_text){together + at, len};
				cipher_encrypt(cipher, apart + at, len);
				at += len + (i % 2 ? GAP : 0);
			}
			cipher_encrypt_all(cipher, texts, count);
			cr_assert_eq(memcmp(together, apart, sizeof(apart)), 0,
				"%s, %zu: encrypted", cipher_name(cipher), count);
			cipher_decrypt_all(cipher, texts, count);
			cr_assert_eq(memcmp(together, before, sizeof(before)), 0,
				"%s, %zu: decrypted", cipher_name(cipher), count);
		}
		cipher_free(cipher);
	}
}
