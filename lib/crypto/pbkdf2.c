/*
 * Both derivations of the kcp-go wire are PBKDF2 over HMAC-SHA1 with a salt that is the same for everybody. That makes
 * passwords guessable off line, with tables that fit every user; it is kept because the other end does it.
 *
 * Standards: RFC 8018, section 5.2 (PBKDF2).
 */
#include "crypto/pbkdf2.h"

#include "crypto/cipher_library.h"

#include <errno.h>
#include <gcrypt.h>

enum {
	KCPTUN_ITERATIONS = 4096,
	XOR_TABLE_ITERATIONS = 32,
};

static const char kcptun_salt[] = "kcp-go";
static const char xor_table_salt[] = "sH3CIVoF#rWLtJo6";

static int derive(const void *secret, size_t secret_len, const char *salt, size_t salt_len,
	unsigned long iterations, uint8_t *ret_key, size_t key_len)
{
	int rc = cipher_library_init();
	if (rc != 0)
		return rc;

	/* libgcrypt wants a pointer even to nothing. */
	gpg_error_t failure = gcry_kdf_derive(secret_len ? secret : "", secret_len, GCRY_KDF_PBKDF2,
		GCRY_MD_SHA1, salt, salt_len, iterations, key_len, ret_key);
	if (failure == 0)
		return 0;
	return gpg_err_code(failure) == GPG_ERR_ENOMEM ? -ENOMEM : -ENOTSUP;
}

int pbkdf2_kcptun_key(const void *password, size_t len, uint8_t ret_key[PBKDF2_KEY_BYTES])
{
	return derive(password, len, kcptun_salt, sizeof(kcptun_salt) - 1, KCPTUN_ITERATIONS,
		ret_key, PBKDF2_KEY_BYTES);
}

int pbkdf2_xor_table(const void *key, size_t len, uint8_t ret_table[PBKDF2_XOR_TABLE_BYTES])
{
	return derive(key, len, xor_table_salt, sizeof(xor_table_salt) - 1, XOR_TABLE_ITERATIONS,
		ret_table, PBKDF2_XOR_TABLE_BYTES);
}
