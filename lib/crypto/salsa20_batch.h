/* Salsa20 over batches of datagrams that share a key, with what lanes the CPU has (salsa20_lanes.h). */
#ifndef CRYPTO_SALSA20_BATCH_H
#define CRYPTO_SALSA20_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Bytes to combine with a key stream, from its first block on. */
struct salsa20_text {
	const uint8_t *nonce; /* 8 bytes, not among those that are written */
	uint8_t *bytes;
	size_t len; /* any, also 0 */
};

/**
 * Combines texts with their streams, in place; doing it again takes it back.
 *
 * @key    32 bytes
 * @count  any number; 16 full datagrams and more fill the lanes of any CPU
 * @return false without vectors for it, and then nothing has changed: libsodium does it as well
 *
 * Does not allocate. What is secret is wiped before it returns. sodium_init() comes before.
 */
bool salsa20_batch(const uint8_t *key, const struct salsa20_text *texts, size_t count);

#endif
