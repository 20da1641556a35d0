/*
 * TEA and XTEA, which no library at hand has. Words are big-endian. kcp-go runs TEA for 8 cycles (16 half rounds)
 * instead of the 32 of its authors: that is weak, and it is what the other end speaks.
 *
 * CFB encryption is serial: each block needs the ciphertext of the one before. Decryption is not: all ciphertext is
 * there, so LANES blocks go through the rounds side by side, as vectors that the compiler maps to what the target has.
 * The rounds are written once, as macros over "a word", which is a uint32_t in one case and a vector in the other.
 *
 * Sources: Wheeler and Needham, "TEA, a Tiny Encryption Algorithm" (1994) and "Tea extensions" (1997).
 */
#include "crypto/cipher_tea.h"

#include "core/endian.h"

#include <string.h>

enum {
	TEA_CYCLES = 8,
	LANES = 8,
	LANES_BYTES = LANES * TEA_BLOCK_BYTES,
};

static const uint32_t delta = 0x9e3779b9u;

typedef uint32_t lanes __attribute__((vector_size(LANES * sizeof(uint32_t))));

#define TEA_ROUNDS(key, a, b)                                                \
	do {                                                                 \
		uint32_t sum = 0;                                            \
		for (int cycle = 0; cycle < TEA_CYCLES; cycle++) {           \
			sum += delta;                                        \
			(a) += (((b) << 4) + (key)->word[0]) ^ ((b) + sum) ^ \
			       (((b) >> 5) + (key)->word[1]);                \
			(b) += (((a) << 4) + (key)->word[2]) ^ ((a) + sum) ^ \
			       (((a) >> 5) + (key)->word[3]);                \
		}                                                            \
	} while (0)

#define XTEA_ROUNDS(key, a, b)                                                                  \
	do {                                                                                    \
		for (int half = 0; half < XTEA_HALF_ROUNDS; half += 2) {                        \
			(a) += ((((b) << 4) ^ ((b) >> 5)) + (b)) ^ (key)->half_round[half];     \
			(b) += ((((a) << 4) ^ ((a) >> 5)) + (a)) ^ (key)->half_round[half + 1]; \
		}                                                                               \
	} while (0)

static inline void tea_block(const void *tea_key, uint8_t block[TEA_BLOCK_BYTES])
{
	const struct tea_key *key = tea_key;
	uint32_t a = load_be32(block);
	uint32_t b = load_be32(block + 4);

	TEA_ROUNDS(key, a, b);
	store_be32(block, a);
	store_be32(block + 4, b);
}

static inline void tea_lanes(const void *tea_key, lanes *ret_a, lanes *ret_b)
{
	const struct tea_key *key = tea_key;
	lanes a = *ret_a;
	lanes b = *ret_b;

	TEA_ROUNDS(key, a, b);
	*ret_a = a;
	*ret_b = b;
}

static inline void xtea_block(const void *xtea_key, uint8_t block[TEA_BLOCK_BYTES])
{
	const struct xtea_key *key = xtea_key;
	uint32_t a = load_be32(block);
	uint32_t b = load_be32(block + 4);

	XTEA_ROUNDS(key, a, b);
	store_be32(block, a);
	store_be32(block + 4, b);
}

static inline void xtea_lanes(const void *xtea_key, lanes *ret_a, lanes *ret_b)
{
	const struct xtea_key *key = xtea_key;
	lanes a = *ret_a;
	lanes b = *ret_b;

	XTEA_ROUNDS(key, a, b);
	*ret_a = a;
	*ret_b = b;
}

/* Takes the ciphertext in front of each of LANES blocks at `buf`; `before` is the one in front of the first. */
static inline void lanes_load(
	const uint8_t before[TEA_BLOCK_BYTES], const uint8_t *buf, lanes *ret_a, lanes *ret_b)
{
	(*ret_a)[0] = load_be32(before);
	(*ret_b)[0] = load_be32(before + 4);
	for (int i = 1; i < LANES; i++) {
		(*ret_a)[i] = load_be32(buf + (i - 1) * TEA_BLOCK_BYTES);
		(*ret_b)[i] = load_be32(buf + (i - 1) * TEA_BLOCK_BYTES + 4);
	}
}

static inline void lanes_xor(uint8_t *buf, const lanes *a, const lanes *b)
{
	for (int i = 0; i < LANES; i++) {
		uint8_t *block = buf + i * TEA_BLOCK_BYTES;
		store_be32(block, load_be32(block) ^ (*a)[i]);
		store_be32(block + 4, load_be32(block + 4) ^ (*b)[i]);
	}
}

static inline void block_xor(uint8_t *buf, const uint8_t block[TEA_BLOCK_BYTES], size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf[i] ^= block[i];
}

/*
 * One CFB for both ciphers. The functions are arguments that are constants at each call, and everything is inlined:
 * no call through a pointer remains.
 */
typedef void (*block_fn)(const void *key, uint8_t block[TEA_BLOCK_BYTES]);
typedef void (*lanes_fn)(const void *key, lanes *a, lanes *b);

static inline __attribute__((always_inline)) void cfb_encrypt(const void *key, block_fn encipher,
	const uint8_t iv[TEA_BLOCK_BYTES], uint8_t *buf, size_t len)
{
	uint8_t stream[TEA_BLOCK_BYTES];

	memcpy(stream, iv, sizeof(stream));
	while (len >= TEA_BLOCK_BYTES) {
		encipher(key, stream);
		block_xor(buf, stream, TEA_BLOCK_BYTES);
		memcpy(stream, buf, sizeof(stream));
		buf += TEA_BLOCK_BYTES;
		len -= TEA_BLOCK_BYTES;
	}
	if (len > 0) {
		encipher(key, stream);
		block_xor(buf, stream, len);
	}
}

static inline __attribute__((always_inline)) void cfb_decrypt(const void *key, block_fn encipher,
	lanes_fn encipher_lanes, const uint8_t iv[TEA_BLOCK_BYTES], uint8_t *buf, size_t len)
{
	uint8_t before[TEA_BLOCK_BYTES];

	memcpy(before, iv, sizeof(before));
	while (len >= LANES_BYTES) {
		lanes a;
		lanes b;
		lanes_load(before, buf, &a, &b);
		memcpy(before, buf + LANES_BYTES - TEA_BLOCK_BYTES, sizeof(before));
		encipher_lanes(key, &a, &b);
		lanes_xor(buf, &a, &b);
		buf += LANES_BYTES;
		len -= LANES_BYTES;
	}
	while (len > 0) {
		uint8_t stream[TEA_BLOCK_BYTES];
		size_t part = len < TEA_BLOCK_BYTES ? len : TEA_BLOCK_BYTES;
		memcpy(stream, before, sizeof(stream));
		memcpy(before, buf, part);
		encipher(key, stream);
		block_xor(buf, stream, part);
		buf += part;
		len -= part;
	}
}

void tea_key_init(struct tea_key *key, const uint8_t bytes[TEA_KEY_BYTES])
{
	for (size_t i = 0; i < 4; i++)
		key->word[i] = load_be32(bytes + 4 * i);
}

void xtea_key_init(struct xtea_key *key, const uint8_t bytes[TEA_KEY_BYTES])
{
	uint32_t sum = 0;

	for (size_t half = 0; half < XTEA_HALF_ROUNDS; half += 2) {
		key->half_round[half] = sum + load_be32(bytes + 4 * (sum & 3));
		sum += delta;
		key->half_round[half + 1] = sum + load_be32(bytes + 4 * ((sum >> 11) & 3));
	}
}

void tea_cfb_encrypt(
	const struct tea_key *key, const uint8_t iv[TEA_BLOCK_BYTES], uint8_t *buf, size_t len)
{
	cfb_encrypt(key, tea_block, iv, buf, len);
}

void tea_cfb_decrypt(
	const struct tea_key *key, const uint8_t iv[TEA_BLOCK_BYTES], uint8_t *buf, size_t len)
{
	cfb_decrypt(key, tea_block, tea_lanes, iv, buf, len);
}

void xtea_cfb_encrypt(
	const struct xtea_key *key, const uint8_t iv[TEA_BLOCK_BYTES], uint8_t *buf, size_t len)
{
	cfb_encrypt(key, xtea_block, iv, buf, len);
}

void xtea_cfb_decrypt(
	const struct xtea_key *key, const uint8_t iv[TEA_BLOCK_BYTES], uint8_t *buf, size_t len)
{
	cfb_decrypt(key, xtea_block, xtea_lanes, iv, buf, len);
}
