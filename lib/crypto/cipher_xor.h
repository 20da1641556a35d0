/* XOR of two byte strings at the speed of memory. Internal to lib/crypto. */
#ifndef CRYPTO_CIPHER_XOR_H
#define CRYPTO_CIPHER_XOR_H

#include <stddef.h>
#include <stdint.h>

/** buf[i] ^= pad[i] for `len` bytes, at any alignment; the two must not overlap. libsodium must be started. */
void xor_pad(uint8_t *restrict buf, const uint8_t *restrict pad, size_t len);

/** The same without regard to what the CPU can do. */
void xor_pad_portable(uint8_t *restrict buf, const uint8_t *restrict pad, size_t len);

#endif
