/*
 * The symmetric state of Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b, and the one door to X25519.
 *
 * The order of tokens belongs to the handshake; here stand the operations that the tokens name.
 *
 * Memory: struct noise holds secrets. Keep it in memory that is locked and not dumped, copy it only
 * into such memory, and end it with noise_wipe().
 *
 * Source: The Noise Protocol Framework, revision 34, sections 4, 5 and 12.
 */
#ifndef CRYPTO_NOISE_H
#define CRYPTO_NOISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	NOISE_HASH_BYTES = 64, /* HASHLEN of BLAKE2b */
	NOISE_KEY_BYTES = 32,  /* keys of X25519 and ChaChaPoly, and pre-shared keys */
	NOISE_TAG_BYTES = 16,
};

struct noise {
	uint8_t ck[NOISE_HASH_BYTES]; /* chaining key */
	uint8_t h[NOISE_HASH_BYTES];  /* hash of the transcript; public */
	uint8_t key[NOISE_KEY_BYTES];
	uint64_t nonce; /* of the next sealing under `key` */
	bool has_key;	/* false until the first noise_mix_key() */
};

/**
 * X25519. Every shared secret of the handshake is made here.
 *
 * @return  false if the result is all zeros, so if `public_key` is a point of small order: whoever
 *          sent it must be dropped. `shared` is zeros then.
 */
bool noise_dh(uint8_t shared[NOISE_KEY_BYTES], const uint8_t private_key[NOISE_KEY_BYTES],
	const uint8_t public_key[NOISE_KEY_BYTES]);

/** The public key of a private one. Any 32 bytes are a private key (X25519 clamps them). */
void noise_public(uint8_t public_key[NOISE_KEY_BYTES], const uint8_t private_key[NOISE_KEY_BYTES]);

/**
 * Starts a transcript: protocol name, prologue, and the responder's static key, which both sides
 * know before (the pre-message of IK).
 *
 * @prologue  `len` bytes; NULL is fine if `len` is 0
 */
void noise_init(struct noise *noise, const uint8_t *prologue, size_t len,
	const uint8_t responder_public[NOISE_KEY_BYTES]);

/** Wipes everything. */
void noise_wipe(struct noise *noise);

/** MixHash: `len` public bytes enter the transcript. */
void noise_mix_hash(struct noise *noise, const uint8_t *bytes, size_t len);

/** MixKey: a secret, or an ephemeral public key (as patterns with a psk want it), makes a new key.
 */
void noise_mix_key(struct noise *noise, const uint8_t input[NOISE_KEY_BYTES]);

/** MixKeyAndHash: the pre-shared key. */
void noise_mix_key_and_hash(struct noise *noise, const uint8_t psk[NOISE_KEY_BYTES]);

/**
 * EncryptAndHash.
 *
 * @noise   has a key (its absence is a bug, not an input)
 * @sealed  `len` + NOISE_TAG_BYTES are written; may not overlap `plain`
 */
void noise_seal(struct noise *noise, const uint8_t *plain, size_t len, uint8_t *sealed);

/**
 * DecryptAndHash.
 *
 * @len    of the plaintext; `sealed` has NOISE_TAG_BYTES more
 * @plain  `len` bytes; may not overlap `sealed`
 * @return false if the tag is wrong: `noise` is as it was then, and `plain` is zeros
 */
bool noise_open(struct noise *noise, const uint8_t *sealed, size_t len, uint8_t *plain);

/** Split: the keys of both directions. `noise` stays as it is: it still has `h`, and is to be
 * wiped. */
void noise_split(const struct noise *noise, uint8_t initiator_sends[NOISE_KEY_BYTES],
	uint8_t responder_sends[NOISE_KEY_BYTES]);

#endif
