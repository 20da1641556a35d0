/*
 * TEA and XTEA, which no library at hand has. Words are big-endian. kcp-go runs TEA for 8 cycles (16 half rounds)
 * instead of the 32 of its authors: that is weak, and it is what the other end speaks.
 *
 * CFB encryption is serial: each block needs the ciphertext of the one before. Decryption is not: all ciphertext is
 * there, so LANES blocks go through the rounds side by side, as vectors that the compiler maps to what the target has.
 * A half round is written once, as a macro over a word, which is a uint32_t in one case and a vector in the other.
 *
 * Sources: Wheeler and Needham, "TEA, a Tiny Encryption Algorithm" (1994) and "Tea extensions" (1997).
 */
#include "crypto/cipher_tea.h"

#include "core/endian.h"

#include <string.h>

enum {
	TEA_CYCLES = 8,
	/* What the smallest vector unit has, so that nothing is emulated... */
	VECTOR_LANES = 4,
	/* ...and two of these side by side, because each half round waits for the one before. */
	LANES = 2 * VECTOR_LANES,
	LANES_BYTES = LANES * TEA_BLOCK_BYTES,
};

static const uint32_t delta = 0x9e3779b9u;

typedef uint32_t vector __attribute__((vector_size(VECTOR_LANES * sizeof(uint32_t))));

/* First and second words of LANES blocks. */
struct lanes {
	vector a[2];
	vector b[2];
};

_Static_assert(sizeof(struct lanes) == LANES_BYTES, "no gaps");

/* A half round each, over words or vectors: what is added to the other half. */
#define TEA_HALF(from, key_left, sum, key_right) \
	((((from) << 4) + (key_left)) ^ ((from) + (sum)) ^ (((from) >> 5) + (key_right)))
#define XTEA_HALF(from, key_and_sum) (((((from) << 4) ^ ((from) >> 5)) + (from)) ^ (key_and_sum))

static inline void tea_block(const void *tea_key, uint8_t block[TEA_BLOCK_BYTES])
{
	const uint32_t *k = ((const struct tea_key *)tea_key)->word;
	uint32_t a = load_be32(block);
	uint32_t b = load_be32(block + 4);
	uint32_t sum = 0;

	for (int cycle = 0; cycle < TEA_CYCLES; cycle++) {
		sum += delta;
		a += TEA_HALF(b, k[0], sum, k[1]);
		b += TEA_HALF(a, k[2], sum, k[3]);
	}
	store_be32(block, a);
	store_be32(block + 4, b);
}

static inline void tea_lanes(const void *tea_key, struct lanes *lanes)
{
	const uint32_t *k = ((const struct tea_key *)tea_key)->word;
	vector a0 = lanes->a[0], a1 = lanes->a[1];
	vector b0 = lanes->b[0], b1 = lanes->b[1];
	uint32_t sum = 0;

	for (int cycle = 0; cycle < TEA_CYCLES; cycle++) {
		sum += delta;
		a0 += TEA_HALF(b0, k[0], sum, k[1]);
		a1 += TEA_HALF(b1, k[0], sum, k[1]);
		b0 += TEA_HALF(a0, k[2], sum, k[3]);
		b1 += TEA_HALF(a1, k[2], sum, k[3]);
	}
	*lanes = (struct lanes){{a0, a1}, {b0, b1}};
}

static inline void xtea_block(const void *xtea_key, uint8_t block[TEA_BLOCK_BYTES])
{
	const uint32_t *k = ((const struct xtea_key *)xtea_key)->half_round;
	uint32_t a = load_be32(block);
	uint32_t b = load_be32(block + 4);

	for (int half = 0; half < XTEA_HALF_ROUNDS; half += 2) {
		a += XTEA_HALF(b, k[half]);
		b += XTEA_HALF(a, k[half + 1]);
	}
	store_be32(block, a);
	store_be32(block + 4, b);
}

static inline void xtea_lanes(const void *xtea_key, struct lanes *lanes)
{
	const uint32_t *k = ((const struct xtea_key *)xtea_key)->half_round;
	vector a0 = lanes->a[0], a1 = lanes->a[1];
	vector b0 = lanes->b[0], b1 = lanes->b[1];

	for (int half = 0; half < XTEA_HALF_ROUNDS; half += 2) {
		a0 += XTEA_HALF(b0, k[half]);
		a1 += XTEA_HALF(b1, k[half]);
		b0 += XTEA_HALF(a0, k[half + 1]);
		b1 += XTEA_HALF(a1, k[half + 1]);
	}
	*lanes = (struct lanes){{a0, a1}, {b0, b1}};
}

/*
 * Takes the ciphertext in front of each of LANES blocks at `buf`; `before` is the one in front of the first. The way
 * between bytes and vectors leads through arrays: compilers make slow code of access to single elements.
 */
static inline void lanes_load(
	struct lanes *lanes, const uint8_t before[TEA_BLOCK_BYTES], const uint8_t *buf)
{
	uint32_t words[2][LANES];

	words[0][0] = load_be32(before);
	words[1][0] = load_be32(before + 4);
	for (size_t i = 1; i < LANES; i++) {
		words[0][i] = load_be32(buf + (i - 1) * TEA_BLOCK_BYTES);
		words[1][i] = load_be32(buf + (i - 1) * TEA_BLOCK_BYTES + 4);
	}
	memcpy(lanes, words, sizeof(words));
}

static inline void lanes_xor(const struct lanes *lanes, uint8_t *buf)
{
	uint32_t words[2][LANES];

	memcpy(words, lanes, sizeof(words));
	for (size_t i = 0; i < LANES; i++) {
		uint8_t *block = buf + i * TEA_BLOCK_BYTES;
		store_be32(block, load_be32(block) ^ words[0][i]);
		store_be32(block + 4, load_be32(block + 4) ^ words[1][i]);
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
typedef void (*lanes_fn)(const void *key, struct lanes *lanes);

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
		struct lanes lanes;
		lanes_load(&lanes, before, buf);
		memcpy(before, buf + LANES_BYTES - TEA_BLOCK_BYTES, sizeof(before));
		encipher_lanes(key, &lanes);
		lanes_xor(&lanes, buf);
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
