/* Key derivations of the kcp-go wire: PBKDF2-HMAC-SHA1 with constants fixed by kcptun and kcp-go.
 */
#ifndef CRYPTO_PBKDF2_H
#define CRYPTO_PBKDF2_H

#include <stddef.h>
#include <stdint.h>

enum {
	PBKDF2_KEY_BYTES = 32,	       /* what kcptun derives from a password */
	PBKDF2_XOR_TABLE_BYTES = 1500, /* the pad of kcp-go's xor cipher: its largest packet */
};

/**
 * kcptun's key: salt "kcp-go", 4096 iterations. Takes some milliseconds: not for the data path.
 *
 * @password  `len` bytes of any value; may be empty, and NULL then
 * @ret_key   on success the key; the caller erases it after use
 * @return    0; -ENOMEM; -ENOTSUP if libgcrypt refuses (FIPS mode); or an error of cipher_library_init()
 */
int pbkdf2_kcptun_key(const void *password, size_t len, uint8_t ret_key[PBKDF2_KEY_BYTES]);

/**
 * The pad of the xor cipher: salt "sH3CIVoF#rWLtJo6", 32 iterations over the key.
 *
 * @ret_table  on success the pad, as secret as the key
 * @return     as pbkdf2_kcptun_key()
 */
int pbkdf2_xor_table(const void *key, size_t len, uint8_t ret_table[PBKDF2_XOR_TABLE_BYTES]);

#endif
