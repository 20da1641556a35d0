/* SipHash-2-4: a short keyed hash. Who does not know the key cannot aim at a slot of a table. */
#ifndef CORE_SIPHASH_H
#define CORE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

enum {
	SIPHASH_KEY_BYTES = 16,
};

struct siphash_key {
	uint64_t k0; /* little-endian halves of the key */
	uint64_t k1;
};

struct siphash_key siphash_key_of(const uint8_t bytes[SIPHASH_KEY_BYTES]);

/** Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012. */
uint64_t siphash(struct siphash_key key, const void *bytes, size_t len);

#endif
