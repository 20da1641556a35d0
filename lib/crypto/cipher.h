/*
 * kcp-go's ciphers under kcptun's names. One `struct cipher` holds one key, ready for use.
 *
 * A cipher takes part in one of three ways (enum cipher_framing); packet_seal.h turns that into
 * datagrams and is what the data path calls. The functions here work on bare buffers.
 *
 * A cipher is used by one thread at a time, also for opening: the state of the call lives in it.
 * Both directions and any number of conversations with the same key may share one, and should: it
 * takes some pages of locked memory.
 */
#ifndef CRYPTO_CIPHER_H
#define CRYPTO_CIPHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cipher;

enum cipher_kind {
	CIPHER_AES, /* AES-256 */
	CIPHER_AES_128,
	CIPHER_AES_192,
	CIPHER_TWOFISH,
	CIPHER_BLOWFISH, /* with a key of 256 bits */
	CIPHER_CAST5,
	CIPHER_3DES,
	CIPHER_SM4,
	CIPHER_TEA, /* of 8 cycles only: no protection against a determined reader */
	CIPHER_XTEA,
	CIPHER_XOR, /* a fixed pad: obfuscation only */
	CIPHER_SALSA20,
	CIPHER_NONE, /* header and checksum, but in the clear */
	CIPHER_NULL, /* no crypt layer at all */
	CIPHER_AES_128_GCM,
	CIPHER_AES_256_GCM, /* kcp-go takes any AEAD; kcptun has no name for this one */
	CIPHER_KINDS,	    /* how many there are */
};

enum cipher_framing {
	CIPHER_FRAMING_PLAIN,	 /* null: the datagram is the payload */
	CIPHER_FRAMING_CHECKSUM, /* nonce 16, CRC-32 4, payload; then the whole is encrypted */
	CIPHER_FRAMING_AEAD,	 /* nonce 12, sealed payload, tag 16 */
};

enum {
	CIPHER_KEY_BYTES_MAX = 32,
	CIPHER_AEAD_NONCE_BYTES = 12,
	CIPHER_AEAD_TAG_BYTES = 16,
};

/** @return kcptun's name of the cipher ("salsa20"), static; NULL for a value outside the enum. */
const char *cipher_kind_name(enum cipher_kind kind);

/**
 * Names are as kcptun writes them, all in lower case. kcptun itself takes AES for a name it does
 * not know; here such a name is an error.
 *
 * @return 0, or -EINVAL if no cipher has that name
 */
int cipher_kind_by_name(const char *name, enum cipher_kind *ret_kind);

/** @return bytes the cipher takes from the front of the key given to it: 0 (none, null) to
 * CIPHER_KEY_BYTES_MAX */
size_t cipher_kind_key_bytes(enum cipher_kind kind);

enum cipher_framing cipher_kind_framing(enum cipher_kind kind);

/**
 * Makes a cipher ready. The key is copied into locked memory; the caller erases its own.
 *
 * @name     as for cipher_kind_by_name()
 * @key      the leading cipher_kind_key_bytes() are used, except by xor, which makes its pad from
 * all `key_len` bytes; may be NULL if key_len is 0
 * @key_len  bytes at `key`. Salsa20 alone fills up a short key with zeros, as kcp-go does; it wants
 * 1 at least.
 * @ret      on success the cipher, owned by the caller: cipher_free()
 * @return   0; -EINVAL for an unknown name; -ERR_KEY for a key too short; -ENOMEM; -ENOTSUP if this
 * system's libgcrypt refuses the algorithm (FIPS mode); or an error of cipher_library_init(). Keys
 * that the literature calls weak are accepted, since the other end accepts them.
 */
int cipher_new(const char *name, const uint8_t *key, size_t key_len, struct cipher **ret);

/** As cipher_new(), by kind; -EINVAL for a value outside the enum. */
int cipher_new_kind(enum cipher_kind kind, const uint8_t *key, size_t key_len, struct cipher **ret);

/** Erases the key and frees the cipher. NULL is fine. */
void cipher_free(struct cipher *cipher);

enum cipher_kind cipher_kind_of(const struct cipher *cipher);

/** @return as cipher_kind_name() */
const char *cipher_name(const struct cipher *cipher);

enum cipher_framing cipher_framing_of(const struct cipher *cipher);

/**
 * Encrypts a buffer in place, from its first byte on, with nothing but the key and the buffer as
 * input: block ciphers in CFB under kcp-go's constant IV; xor over the first
 * PBKDF2_XOR_TABLE_BYTES, bytes behind them stay as they are; salsa20 takes the first 8 bytes for
 * its nonce and leaves them, and leaves buffers of up to 8 bytes alone; none and null leave all
 * alone. The cipher must not be of CIPHER_FRAMING_AEAD.
 *
 * @len     any, also 0
 * Never fails, does not allocate.
 */
void cipher_encrypt(struct cipher *cipher, uint8_t *buf, size_t len);

/** The inverse of cipher_encrypt(), under the same terms. */
void cipher_decrypt(struct cipher *cipher, uint8_t *buf, size_t len);

struct cipher_text {
	uint8_t *bytes;
	size_t len; /* any, also 0 */
};

/** cipher_encrypt() of many buffers that do not overlap: salsa20 does them together, with all lanes that the CPU has. */
void cipher_encrypt_all(struct cipher *cipher, const struct cipher_text *texts, size_t count);

/** The inverse of cipher_encrypt_all(). */
void cipher_decrypt_all(struct cipher *cipher, const struct cipher_text *texts, size_t count);

/**
 * Seals a buffer in place; no associated data. The cipher must be of CIPHER_FRAMING_AEAD.
 *
 * @nonce    never to be used twice with one key
 * @ret_tag  may lie right behind the buffer
 */
void cipher_aead_seal(struct cipher *cipher, const uint8_t nonce[CIPHER_AEAD_NONCE_BYTES],
	uint8_t *buf, size_t len, uint8_t ret_tag[CIPHER_AEAD_TAG_BYTES]);

/**
 * The inverse of cipher_aead_seal().
 *
 * @return  true if the tag is right; else the buffer holds nothing of use: it must not be read
 */
bool cipher_aead_open(struct cipher *cipher, const uint8_t nonce[CIPHER_AEAD_NONCE_BYTES],
	uint8_t *buf, size_t len, const uint8_t tag[CIPHER_AEAD_TAG_BYTES]);

#endif
