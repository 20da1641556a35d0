/*
 * Poly1305 of several messages, each 16 bytes of head and a body of any length, with vectors.
 *
 * The tag of blocks c_1 .. c_m is (c_1 r^m + c_2 r^(m-1) + ... + c_m r mod 2^130 - 5) + s. With L lanes,
 * lane j sums up every L-th block in powers of r^L and is multiplied by r^(L - j) in the end. So a message
 * needs r .. r^L. Those are made for L messages at once, one to a lane; and the lanes' sums are reduced for
 * L messages at once again. In between each message has the lanes for itself. That makes short messages
 * cheap where they come in numbers, and long ones cheap alone.
 *
 * Blocks are counted from the end: zeros stand in front of the first, where they add nothing.
 *
 * What is compiled here must only be called on a CPU that has the instructions; seal_engine.h chooses.
 *
 * Source: RFC 8439, section 2.5; powers of r in lanes: Goll and Gueron, "Vectorization of Poly1305 message
 * authentication code" (2015).
 */
#ifndef CRYPTO_POLY1305_LANES_H
#define CRYPTO_POLY1305_LANES_H

#include <stddef.h>
#include <stdint.h>

enum {
	POLY1305_KEY_BYTES = 32,
	POLY1305_TAG_BYTES = 16,
	POLY1305_BLOCK_BYTES = 16,
	POLY1305_LANES_IFMA = 8,
	POLY1305_LANES_AVX2 = 4,
};

struct poly1305_message {
	const uint8_t *key;  /* POLY1305_KEY_BYTES: r, not yet clamped, and s */
	const uint8_t *head; /* POLY1305_BLOCK_BYTES, anywhere */
	const uint8_t *body; /* `len` bytes that follow the head; nothing beside them is read */
	size_t len;
	uint8_t *tag; /* out: POLY1305_TAG_BYTES */
};

/* Where the powers of r and the sums stand until the caller wipes them. Numbers are in limbs, of which the
 * layouts have 3 of 44 bits and 5 of 26. */
union poly1305_state {
	struct {
		_Alignas(64) uint64_t keys[4][8]; /* word of r || s, message */
		uint64_t step[2][3][8];		  /* limb of r^8 and of r^16, message */
		uint64_t rows[3][8][8];		  /* limb, message, lane: powers, then sums */
	} ifma;
	struct {
		_Alignas(32) uint64_t keys[2][4]; /* word of r, message */
		uint64_t step[2][5][4];		  /* limb of r^4 and of r^8, message */
		uint64_t rows[5][4][4];		  /* limb, message, lane: powers, then sums */
	} avx2;
};

/**
 * Tags of up to POLY1305_LANES_IFMA (or _AVX2) messages.
 *
 * @count  1 or more
 */
void poly1305_ifma_tags(
	union poly1305_state *state, const struct poly1305_message *messages, size_t count);
void poly1305_avx2_tags(
	union poly1305_state *state, const struct poly1305_message *messages, size_t count);

#endif
