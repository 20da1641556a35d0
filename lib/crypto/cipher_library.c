/*
 * libsodium and libgcrypt must be started once a process, before threads use them, and both may be shared with other
 * parts of the program: whoever comes first decides libgcrypt's settings, and we only add what is still open.
 *
 * libgcrypt gets a pool of locked memory for its key schedules. It would print a warning where locking is not allowed;
 * the library never prints, and a system that does not swap works all the same, so the warning is off.
 *
 * The known answers catch what a build or a machine can get wrong at run time: an assembler path chosen by CPU feature
 * that a hypervisor only half provides, or a library built with other conventions. They take some microseconds.
 *
 * Sources: ECRYPT eSTREAM vectors for Salsa20 (256 bits, set 1, vector 0); NIST SP 800-38A F.3.17 (CFB128); McGrew and
 * Viega, "The Galois/Counter Mode of Operation", test case 2; RFC 6070, case 1; the CRC catalogue's check value.
 */
#include "crypto/cipher_library.h"

#include "crypto/crc32.h"

#include <errno.h>
#include <gcrypt.h>
#include <pthread.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The oldest versions that behave as the code relies on: weak keys accepted on request, SM4 in CFB. */
#define GCRYPT_VERSION_MIN "1.10.0"

enum {
	/* A key schedule of Blowfish or Twofish, the largest, takes 9 KB. Beyond the pool plain memory is used. */
	LOCKED_POOL_BYTES = 128 * 1024,
	/* Long enough for libsodium's widest path, and then a tail. */
	SALSA20_PROBE_BYTES = 512 + 256 + 64,
	SALSA20_BLOCK_BYTES = 64,
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_result;

static bool crc32_works(void)
{
	return crc32_of("123456789", 9) == 0xCBF43926u;
}

static bool salsa20_works(void)
{
	static const uint8_t key[crypto_stream_salsa20_KEYBYTES] = {0x80};
	static const uint8_t nonce[crypto_stream_salsa20_NONCEBYTES] = {0};
	static const uint8_t want[16] = {0xe3, 0xbe, 0x8f, 0xdd, 0x8b, 0xec, 0xa2, 0xe3, 0xea, 0x8e,
		0xf9, 0x47, 0x5b, 0x29, 0xa6, 0xe7};
	uint8_t whole[SALSA20_PROBE_BYTES] = {0};
	uint8_t block[SALSA20_BLOCK_BYTES];

	crypto_stream_salsa20_xor(whole, whole, sizeof(whole), nonce, key);
	if (memcmp(whole, want, sizeof(want)) != 0)
		return false;

	/* Block by block takes another path through the code than all at once. */
	for (size_t i = 0; i < sizeof(whole) / sizeof(block); i++) {
		memset(block, 0, sizeof(block));
		crypto_stream_salsa20_xor_ic(block, block, sizeof(block), nonce, i, key);
		if (memcmp(block, whole + i * sizeof(block), sizeof(block)) != 0)
			return false;
	}
	return true;
}

static bool aes_cfb_works(void)
{
	static const uint8_t key[32] = {0x60, 0x3d, 0xeb, 0x10, 0x15, 0xca, 0x71, 0xbe, 0x2b, 0x73,
		0xae, 0xf0, 0x85, 0x7d, 0x77, 0x81, 0x1f, 0x35, 0x2c, 0x07, 0x3b, 0x61, 0x08, 0xd7,
		0x2d, 0x98, 0x10, 0xa3, 0x09, 0x14, 0xdf, 0xf4};
	static const uint8_t iv[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	static const uint8_t plain[16] = {0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96, 0xe9,
		0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a};
	static const uint8_t want[16] = {0xdc, 0x7e, 0x84, 0xbf, 0xda, 0x79, 0x16, 0x4b, 0x7e, 0xcd,
		0x84, 0x86, 0x98, 0x5d, 0x38, 0x60};
	gcry_cipher_hd_t handle;
	uint8_t got[sizeof(plain)];

	if (gcry_cipher_open(&handle, GCRY_CIPHER_AES256, GCRY_CIPHER_MODE_CFB, 0) != 0)
		return false;
	bool ok = gcry_cipher_setkey(handle, key, sizeof(key)) == 0 &&
		  gcry_cipher_setiv(handle, iv, sizeof(iv)) == 0 &&
		  gcry_cipher_encrypt(handle, got, sizeof(got), plain, sizeof(plain)) == 0 &&
		  memcmp(got, want, sizeof(want)) == 0;
	gcry_cipher_close(handle);
	return ok;
}

static bool aes_gcm_works(void)
{
	static const uint8_t zeros[16] = {0};
	static const uint8_t want[16] = {0x03, 0x88, 0xda, 0xce, 0x60, 0xb6, 0xa3, 0x92, 0xf3, 0x28,
		0xc2, 0xb9, 0x71, 0xb2, 0xfe, 0x78};
	static const uint8_t want_tag[16] = {0xab, 0x6e, 0x47, 0xd4, 0x2c, 0xec, 0x13, 0xbd, 0xf5,
		0x3a, 0x67, 0xb2, 0x12, 0x57, 0xbd, 0xdf};
	gcry_cipher_hd_t handle;
	uint8_t got[sizeof(want)];
	uint8_t tag[sizeof(want_tag)];

	if (gcry_cipher_open(&handle, GCRY_CIPHER_AES128, GCRY_CIPHER_MODE_GCM, 0) != 0)
		return false;
	bool ok = gcry_cipher_setkey(handle, zeros, 16) == 0 &&
		  gcry_cipher_setiv(handle, zeros, 12) == 0 &&
		  gcry_cipher_encrypt(handle, got, sizeof(got), zeros, sizeof(zeros)) == 0 &&
		  gcry_cipher_gettag(handle, tag, sizeof(tag)) == 0 &&
		  memcmp(got, want, sizeof(want)) == 0 &&
		  memcmp(tag, want_tag, sizeof(want_tag)) == 0;
	gcry_cipher_close(handle);
	return ok;
}

static bool pbkdf2_works(void)
{
	static const uint8_t want[20] = {0x0c, 0x60, 0xc8, 0x0f, 0x96, 0x1f, 0x0e, 0x71, 0xf3, 0xa9,
		0xb5, 0x24, 0xaf, 0x60, 0x12, 0x06, 0x2f, 0xe0, 0x37, 0xa6};
	uint8_t got[sizeof(want)];

	return gcry_kdf_derive("password", 8, GCRY_KDF_PBKDF2, GCRY_MD_SHA1, "salt", 4, 1,
		       sizeof(got), got) == 0 &&
	       memcmp(got, want, sizeof(want)) == 0;
}

static int start(void)
{
	if (sodium_init() < 0)
		return -ENOSYS;
	if (!gcry_check_version(GCRYPT_VERSION_MIN))
		return -ENOSYS;
	if (!gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P)) {
		/* A refused pool is no failure: cipher_new() falls back to plain memory. */
		gcry_control(GCRYCTL_DISABLE_SECMEM_WARN);
		gcry_control(GCRYCTL_INIT_SECMEM, LOCKED_POOL_BYTES, 0);
		gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
	}
	if (!crc32_works() || !salsa20_works() || !aes_cfb_works() || !aes_gcm_works() ||
		!pbkdf2_works())
		return -EIO;
	return 0;
}

static void start_once(void)
{
	once_result = start();
}

int cipher_library_init(void)
{
	pthread_once(&once, start_once);
	return once_result;
}
