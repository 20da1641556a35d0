/* TEA and XTEA in kcp-go's CFB mode. Internal to lib/crypto. */
#ifndef CRYPTO_CIPHER_TEA_H
#define CRYPTO_CIPHER_TEA_H

#include <stddef.h>
#include <stdint.h>

enum {
	TEA_KEY_BYTES = 16,
	TEA_BLOCK_BYTES = 8,
	XTEA_HALF_ROUNDS = 64,
};

struct tea_key {
	uint32_t word[4];
};

struct xtea_key {
	uint32_t half_round
		[XTEA_HALF_ROUNDS]; /* key word and sum of each half round, added up beforehand */
};

void tea_key_init(struct tea_key *key, const uint8_t bytes[TEA_KEY_BYTES]);
void xtea_key_init(struct xtea_key *key, const uint8_t bytes[TEA_KEY_BYTES]);

/* CFB over whole blocks of 8 bytes from `iv` on, in place; a short last block takes the leading bytes. Any `len`. */
void tea_cfb_encrypt(
	const struct tea_key *key, const uint8_t iv[TEA_BLOCK_BYTES], uint8_t *buf, size_t len);
void tea_cfb_decrypt(
	const struct tea_key *key, const uint8_t iv[TEA_BLOCK_BYTES], uint8_t *buf, size_t len);
void xtea_cfb_encrypt(
	const struct xtea_key *key, const uint8_t iv[TEA_BLOCK_BYTES], uint8_t *buf, size_t len);
void xtea_cfb_decrypt(
	const struct xtea_key *key, const uint8_t iv[TEA_BLOCK_BYTES], uint8_t *buf, size_t len);

#endif
