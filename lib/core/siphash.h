/*
 * SipHash-1-3: a short keyed hash for tables whose keys come from strangers, who could otherwise
 * choose keys that all fall into one bucket. Not for authentication.
 */
#ifndef CORE_SIPHASH_H
#define CORE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
	uint64_t k[2];
};

/** Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", with 1 and 3 rounds. */
uint64_t siphash(const struct siphash_key *key, const void *bytes, size_t len);

#endif
