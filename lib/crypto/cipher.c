/*
 * One table says everything about a kind of cipher; four families do the work:
 *
 * - libgcrypt's block ciphers in CFB under kcp-go's constant IV, and AES-GCM. A handle with its key schedule is opened
 *   once and gets its IV anew for every packet, which costs some 10 ns.
 * - TEA and XTEA (cipher_tea.c).
 * - xor: a pad made once from the key (cipher_xor.c).
 * - Salsa20: many packets together by salsa20_batch.c, if the CPU has the vectors. Else by libsodium, as is a single short
 *   packet, of which there is too little to fill lanes. Its vector code works on 512 bytes at a time, then 256, and
 *   single blocks of 64 for what is left, at several times the price. So a packet goes through in two pieces:
 *   whole 512s in place, and the tail in `scratch`, rounded up to 256. On 1400 bytes that takes a quarter off, and nothing behind the packet is touched.
 *
 * The struct lives in memory from sodium_malloc: locked, left out of core dumps, between guard pages and erased when
 * freed. Key schedules inside libgcrypt come from its locked pool as long as that lasts, and libgcrypt erases them.
 *
 * If libgcrypt reports an error in the data path (only its FIPS self-test can bring that about), the buffer is erased:
 * what must not happen is that a payload leaves in the clear.
 *
 * Sources: kcp-go's crypt.go fixes IV, key lengths and Salsa20's use of the packet's first bytes; NIST SP 800-38A,
 * section 6.3 (CFB); NIST SP 800-38D (GCM); D. J. Bernstein, "The Salsa20 family of stream ciphers".
 */
#include "crypto/cipher.h"

#include "core/err.h"
#include "crypto/cipher_library.h"
#include "crypto/cipher_tea.h"
#include "crypto/cipher_xor.h"
#include "crypto/pbkdf2.h"
#include "crypto/salsa20_batch.h"
#include "crypto/seal_batch.h"

#include <assert.h>
#include <errno.h>
#include <gcrypt.h>
#include <sodium.h>
#include <stdalign.h>
#include <string.h>

enum {
	SALSA20_NONCE_BYTES = crypto_stream_salsa20_NONCEBYTES,
	SALSA20_BLOCK_BYTES = 64,
	SALSA20_LONE_BYTES = 512, /* a single packet of so many is libsodium's */
	SALSA20_TOGETHER = 16,
	SALSA20_WIDE_BYTES = 512, /* libsodium's widest step with AVX2 */
	SALSA20_STEP_BYTES = 256, /* its smallest step that is not a single block */
};

enum family {
	FAMILY_CLEAR,
	FAMILY_CFB,
	FAMILY_TEA,
	FAMILY_XTEA,
	FAMILY_XOR,
	FAMILY_SALSA20,
	FAMILY_GCM,
};

struct kind {
	const char *name;
	enum cipher_framing framing;
	enum family family;
	int gcrypt_algo;    /* 0 = not libgcrypt's */
	size_t key_bytes;   /* taken from the front of the key */
	size_t key_least;   /* shortest key accepted */
	size_t block_bytes; /* of CFB; 0 = no blocks */
};

static const struct kind kinds[CIPHER_KINDS] = {
#define CFB(name, algo, key, block)                                                            \
	{                                                                                      \
		name, CIPHER_FRAMING_CHECKSUM, FAMILY_CFB, GCRY_CIPHER_##algo, key, key, block \
	}
	[CIPHER_AES] = CFB("aes", AES256, 32, 16),
	[CIPHER_AES_128] = CFB("aes-128", AES128, 16, 16),
	[CIPHER_AES_192] = CFB("aes-192", AES192, 24, 16),
	[CIPHER_TWOFISH] = CFB("twofish", TWOFISH, 32, 16),
	[CIPHER_BLOWFISH] = CFB("blowfish", BLOWFISH, 32, 8),
	[CIPHER_CAST5] = CFB("cast5", CAST5, 16, 8),
	[CIPHER_3DES] = CFB("3des", 3DES, 24, 8),
	[CIPHER_SM4] = CFB("sm4", SM4, 16, 16),
#undef CFB
	[CIPHER_TEA] = {"tea", CIPHER_FRAMING_CHECKSUM, FAMILY_TEA, 0, TEA_KEY_BYTES, TEA_KEY_BYTES,
		TEA_BLOCK_BYTES},
	[CIPHER_XTEA] = {"xtea", CIPHER_FRAMING_CHECKSUM, FAMILY_XTEA, 0, TEA_KEY_BYTES,
		TEA_KEY_BYTES, TEA_BLOCK_BYTES},
	[CIPHER_XOR] = {"xor", CIPHER_FRAMING_CHECKSUM, FAMILY_XOR, 0, CIPHER_KEY_BYTES_MAX, 1, 0},
	[CIPHER_SALSA20] = {"salsa20", CIPHER_FRAMING_CHECKSUM, FAMILY_SALSA20, 0,
		crypto_stream_salsa20_KEYBYTES, 1, 0},
	[CIPHER_NONE] = {"none", CIPHER_FRAMING_CHECKSUM, FAMILY_CLEAR, 0, 0, 0, 0},
	[CIPHER_NULL] = {"null", CIPHER_FRAMING_PLAIN, FAMILY_CLEAR, 0, 0, 0, 0},
	[CIPHER_AES_128_GCM] = {"aes-128-gcm", CIPHER_FRAMING_AEAD, FAMILY_GCM, GCRY_CIPHER_AES128,
		16, 16, 0},
	[CIPHER_AES_256_GCM] = {"aes-256-gcm", CIPHER_FRAMING_AEAD, FAMILY_GCM, GCRY_CIPHER_AES256,
		32, 32, 0},
};

static const uint8_t constant_iv[16] = {0xa7, 0x73, 0x4f, 0x9c, 0x12, 0xac, 0x1b, 0x01, 0xa4, 0x15,
	0xf2, 0xc1, 0xfc, 0x78, 0xe6, 0x6b};

struct cipher {
	/* The alignment also makes the size one that sodium_malloc places well. */
	alignas(64) uint8_t scratch[SALSA20_WIDE_BYTES];
	const struct kind *kind;
	gcry_cipher_hd_t gcrypt;
	union {
		uint8_t salsa20[crypto_stream_salsa20_KEYBYTES];
		struct tea_key tea;
		struct xtea_key xtea;
		alignas(64) uint8_t pad[PBKDF2_XOR_TABLE_BYTES];
	} key;
};

const char *cipher_kind_name(enum cipher_kind kind)
{
	return (unsigned)kind < CIPHER_KINDS ? kinds[kind].name : NULL;
}

int cipher_kind_by_name(const char *name, enum cipher_kind *ret_kind)
{
	for (unsigned i = 0; i < CIPHER_KINDS; i++) {
		if (strcmp(name, kinds[i].name) == 0) {
			*ret_kind = (enum cipher_kind)i;
			return 0;
		}
	}
	return -EINVAL;
}

size_t cipher_kind_key_bytes(enum cipher_kind kind)
{
	assert((unsigned)kind < CIPHER_KINDS);
	return kinds[kind].key_bytes;
}

enum cipher_framing cipher_kind_framing(enum cipher_kind kind)
{
	assert((unsigned)kind < CIPHER_KINDS);
	return kinds[kind].framing;
}

enum cipher_kind cipher_kind_of(const struct cipher *cipher)
{
	return (enum cipher_kind)(cipher->kind - kinds);
}

const char *cipher_name(const struct cipher *cipher)
{
	return cipher->kind->name;
}

enum cipher_framing cipher_framing_of(const struct cipher *cipher)
{
	return cipher->kind->framing;
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

static int gcrypt_error(gpg_error_t failure)
{
	switch (gpg_err_code(failure)) {
	case GPG_ERR_NO_ERROR:
		return 0;
	case GPG_ERR_ENOMEM:
		return -ENOMEM;
	case GPG_ERR_INV_KEYLEN:
		return -ERR_KEY;
	default:
		return -ENOTSUP;
	}
}

static int gcrypt_open(const struct kind *kind, const uint8_t *key, gcry_cipher_hd_t *ret_handle)
{
	int mode = kind->family == FAMILY_GCM ? GCRY_CIPHER_MODE_GCM : GCRY_CIPHER_MODE_CFB;
	gcry_cipher_hd_t handle;

	/* The locked pool is small, or refused by the system: a handle outside it is the second choice. */
	gpg_error_t failure =
		gcry_cipher_open(&handle, kind->gcrypt_algo, mode, GCRY_CIPHER_SECURE);
	if (gpg_err_code(failure) == GPG_ERR_ENOMEM)
		failure = gcry_cipher_open(&handle, kind->gcrypt_algo, mode, 0);
	if (failure)
		return gcrypt_error(failure);

	/* Go accepts the few keys that are called weak, so both ends must. The key is set in spite of the error. */
	failure = gcry_cipher_ctl(handle, GCRYCTL_SET_ALLOW_WEAK_KEY, NULL, 1);
	if (!failure)
		failure = gcry_cipher_setkey(handle, key, kind->key_bytes);
	if (failure && gpg_err_code(failure) != GPG_ERR_WEAK_KEY) {
		gcry_cipher_close(handle);
		return gcrypt_error(failure);
	}
	*ret_handle = handle;
	return 0;
}

static int key_init(struct cipher *cipher, const uint8_t *key, size_t key_len)
{
	switch (cipher->kind->family) {
	case FAMILY_CLEAR:
		return 0;
	case FAMILY_CFB:
	case FAMILY_GCM:
		return gcrypt_open(cipher->kind, key, &cipher->gcrypt);
	case FAMILY_TEA:
		tea_key_init(&cipher->key.tea, key);
		return 0;
	case FAMILY_XTEA:
		xtea_key_init(&cipher->key.xtea, key);
		return 0;
	case FAMILY_XOR:
		return pbkdf2_xor_table(key, key_len, cipher->key.pad);
	case FAMILY_SALSA20:
		/* A short key leaves zeros behind it. */
		memcpy(cipher->key.salsa20, key,
			key_len < sizeof(cipher->key.salsa20) ? key_len
							      : sizeof(cipher->key.salsa20));
		(void)seal_batch_self_test(); /* now, not at the first packet */
		return 0;
	}
	return -EINVAL;
}

int cipher_new_kind(enum cipher_kind kind, const uint8_t *key, size_t key_len, struct cipher **ret)
{
	if ((unsigned)kind >= CIPHER_KINDS)
		return -EINVAL;
	if (key_len < kinds[kind].key_least)
		return -ERR_KEY;

	int rc = cipher_library_init();
	if (rc != 0)
		return rc;

	struct cipher *cipher = sodium_malloc(sizeof(*cipher));
	if (!cipher)
		return -ENOMEM;
	memset(cipher, 0, sizeof(*cipher));
	cipher->kind = &kinds[kind];

	rc = key_init(cipher, key, key_len);
	if (rc != 0) {
		cipher_free(cipher);
		return rc;
	}
	*ret = cipher;
	return 0;
}

int cipher_new(const char *name, const uint8_t *key, size_t key_len, struct cipher **ret)
{
	enum cipher_kind kind;
	int rc = cipher_kind_by_name(name, &kind);

	return rc != 0 ? rc : cipher_new_kind(kind, key, key_len, ret);
}

void cipher_free(struct cipher *cipher)
{
	if (!cipher)
		return;
	gcry_cipher_close(cipher->gcrypt); /* of NULL is fine */
	sodium_free(cipher);
}

/* ---- data -------------------------------------------------------------------------------------------------------- */

static void cfb_run(struct cipher *cipher, uint8_t *buf, size_t len, bool encrypt)
{
	gpg_error_t failure =
		gcry_cipher_setiv(cipher->gcrypt, constant_iv, cipher->kind->block_bytes);

	if (!failure)
		failure = encrypt ? gcry_cipher_encrypt(cipher->gcrypt, buf, len, NULL, 0)
				  : gcry_cipher_decrypt(cipher->gcrypt, buf, len, NULL, 0);
	if (failure)
		memset(buf, 0, len);
}

static void salsa20_run(struct cipher *cipher, uint8_t *packet, size_t len)
{
	if (len <= SALSA20_NONCE_BYTES)
		return;

	const uint8_t *key = cipher->key.salsa20;
	uint8_t *buf = packet + SALSA20_NONCE_BYTES;
	size_t left = len - SALSA20_NONCE_BYTES;
	size_t wide = left - left % SALSA20_WIDE_BYTES;

	if (wide > 0)
		crypto_stream_salsa20_xor(buf, buf, wide, packet, key);
	left -= wide;
	if (left == 0)
		return;
	buf += wide;

	/* One block is cheaper alone; more of them are not. What lies in the scratch behind the tail is of no use. */
	size_t padded = left;
	if (left > SALSA20_BLOCK_BYTES)
		padded = (left + SALSA20_STEP_BYTES - 1) / SALSA20_STEP_BYTES * SALSA20_STEP_BYTES;
	memcpy(cipher->scratch, buf, left);
	crypto_stream_salsa20_xor_ic(
		cipher->scratch, cipher->scratch, padded, packet, wide / SALSA20_BLOCK_BYTES, key);
	memcpy(buf, cipher->scratch, left);
}

/* Encrypting and decrypting are the same. */
static void salsa20_run_all(struct cipher *cipher, const struct cipher_text *texts, size_t count)
{
	struct salsa20_text batch[SALSA20_TOGETHER];

	for (size_t done = 0; done < count;) {
		size_t n = 0, from = done;
		for (; done < count && n < SALSA20_TOGETHER; done++) {
			if (texts[done].len > SALSA20_NONCE_BYTES)
				batch[n++] = (struct salsa20_text){
					.nonce = texts[done].bytes,
					.bytes = texts[done].bytes + SALSA20_NONCE_BYTES,
					.len = texts[done].len - SALSA20_NONCE_BYTES,
				};
		}
		bool lone = n == 1 && batch[0].len <= SALSA20_LONE_BYTES;
		if (lone || !salsa20_batch(cipher->key.salsa20, batch, n))
			for (; from < done; from++)
				salsa20_run(cipher, texts[from].bytes, texts[from].len);
	}
}

static void xor_run(const struct cipher *cipher, uint8_t *buf, size_t len)
{
	xor_pad(buf, cipher->key.pad, len < PBKDF2_XOR_TABLE_BYTES ? len : PBKDF2_XOR_TABLE_BYTES);
}

void cipher_encrypt(struct cipher *cipher, uint8_t *buf, size_t len)
{
	assert(cipher->kind->family != FAMILY_GCM);
	if (len == 0)
		return;
	switch (cipher->kind->family) {
	case FAMILY_CLEAR:
		return;
	case FAMILY_CFB:
		cfb_run(cipher, buf, len, true);
		return;
	case FAMILY_TEA:
		tea_cfb_encrypt(&cipher->key.tea, constant_iv, buf, len);
		return;
	case FAMILY_XTEA:
		xtea_cfb_encrypt(&cipher->key.xtea, constant_iv, buf, len);
		return;
	case FAMILY_XOR:
		xor_run(cipher, buf, len);
		return;
	case FAMILY_SALSA20:
		salsa20_run(cipher, buf, len);
		return;
	case FAMILY_GCM: /* a caller's mistake must not send a payload in the clear */
		memset(buf, 0, len);
		return;
	}
}

void cipher_decrypt(struct cipher *cipher, uint8_t *buf, size_t len)
{
	assert(cipher->kind->family != FAMILY_GCM);
	if (len == 0)
		return;
	switch (cipher->kind->family) {
	case FAMILY_CLEAR:
		return;
	case FAMILY_CFB:
		cfb_run(cipher, buf, len, false);
		return;
	case FAMILY_TEA:
		tea_cfb_decrypt(&cipher->key.tea, constant_iv, buf, len);
		return;
	case FAMILY_XTEA:
		xtea_cfb_decrypt(&cipher->key.xtea, constant_iv, buf, len);
		return;
	case FAMILY_XOR:
		xor_run(cipher, buf, len);
		return;
	case FAMILY_SALSA20:
		salsa20_run(cipher, buf, len);
		return;
	case FAMILY_GCM:
		memset(buf, 0, len);
		return;
	}
}

void cipher_encrypt_all(struct cipher *cipher, const struct cipher_text *texts, size_t count)
{
	if (cipher->kind->family == FAMILY_SALSA20)
		salsa20_run_all(cipher, texts, count);
	else
		for (size_t i = 0; i < count; i++)
			cipher_encrypt(cipher, texts[i].bytes, texts[i].len);
}

void cipher_decrypt_all(struct cipher *cipher, const struct cipher_text *texts, size_t count)
{
	if (cipher->kind->family == FAMILY_SALSA20)
		salsa20_run_all(cipher, texts, count);
	else
		for (size_t i = 0; i < count; i++)
			cipher_decrypt(cipher, texts[i].bytes, texts[i].len);
}

void cipher_aead_seal(struct cipher *cipher, const uint8_t nonce[CIPHER_AEAD_NONCE_BYTES],
	uint8_t *buf, size_t len, uint8_t ret_tag[CIPHER_AEAD_TAG_BYTES])
{
	assert(cipher->kind->family == FAMILY_GCM);
	gpg_error_t failure = gcry_cipher_setiv(cipher->gcrypt, nonce, CIPHER_AEAD_NONCE_BYTES);
	if (!failure)
		failure = gcry_cipher_final(cipher->gcrypt);
	if (!failure)
		failure = gcry_cipher_encrypt(cipher->gcrypt, buf, len, NULL, 0);
	if (!failure)
		failure = gcry_cipher_gettag(cipher->gcrypt, ret_tag, CIPHER_AEAD_TAG_BYTES);
	if (failure) {
		memset(buf, 0, len);
		memset(ret_tag, 0, CIPHER_AEAD_TAG_BYTES);
	}
}

bool cipher_aead_open(struct cipher *cipher, const uint8_t nonce[CIPHER_AEAD_NONCE_BYTES],
	uint8_t *buf, size_t len, const uint8_t tag[CIPHER_AEAD_TAG_BYTES])
{
	assert(cipher->kind->family == FAMILY_GCM);
	return gcry_cipher_setiv(cipher->gcrypt, nonce, CIPHER_AEAD_NONCE_BYTES) == 0 &&
	       gcry_cipher_final(cipher->gcrypt) == 0 &&
	       gcry_cipher_decrypt(cipher->gcrypt, buf, len, NULL, 0) == 0 &&
	       gcry_cipher_checktag(cipher->gcrypt, tag, CIPHER_AEAD_TAG_BYTES) == 0;
}
