/*
 * Salsa20 and Poly1305 over batches of datagrams: what seal.h does with a datagram, without its header.
 *
 * The one-time key is the first 32 bytes of the key stream of (key, nonce); the text is combined with the
 * stream from its second block on; the tag is Poly1305 over 16 bytes of additional data and the ciphertext.
 *
 * Three implementations give the same bytes: libsodium, and vectors of AVX2 or of AVX-512 (with IFMA), which
 * fill their lanes from all jobs of a call. So give what there is in one call: 16 jobs are worth it, more
 * make no difference. Jobs may have keys and lengths of their own.
 *
 * An implementation is used only if the CPU and the system have what it needs and if it gave libsodium's
 * bytes in a self-test.
 *
 * No branch and no address depends on key or text. Keys, stream and powers are wiped before a call returns.
 *
 * sodium_init() comes before anything here; without it libsodium is slow.
 *
 * Source: lib/PROTOCOL.md, "DATA".
 */
#ifndef CRYPTO_SEAL_BATCH_H
#define CRYPTO_SEAL_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SEAL_BATCH_KEY_BYTES = 32,
	SEAL_BATCH_NONCE_BYTES = 8,
	SEAL_BATCH_AAD_BYTES = 16,
	SEAL_BATCH_TAG_BYTES = 16,
};

/* In order of speed, so that the largest that holds is the best. */
enum seal_impl {
	SEAL_IMPL_AUTO, /* the best that holds, for the jobs of the call */
	SEAL_IMPL_SODIUM,
	SEAL_IMPL_AVX2,
	SEAL_IMPL_AVX512,
	SEAL_IMPLS, /* how many there are */
};

struct seal_job {
	const uint8_t *key;   /* SEAL_BATCH_KEY_BYTES */
	const uint8_t *nonce; /* SEAL_BATCH_NONCE_BYTES; may stand inside the additional data */
	const uint8_t *aad;   /* SEAL_BATCH_AAD_BYTES of additional data, anywhere */
	const uint8_t *in;    /* text to seal, or ciphertext to open; NULL is fine if len is 0 */
	uint8_t *out;	      /* `in` itself, or `len` bytes apart from it */
	size_t len;	      /* 0 or more, below 2^31 */
	uint8_t *tag;	      /* SEAL_BATCH_TAG_BYTES; written by sealing, read by opening */
	bool ok;	      /* out: true; false if the tag was wrong */
};

/**
 * Seals jobs: makes ciphertext and tag.
 *
 * What a job writes, no other job of the call may read or write. A pair of key and nonce must be used once
 * only: this module does not look.
 *
 * @impl   one that does not hold is replaced by libsodium
 * @count  any number
 *
 * Never fails, does not allocate; `ok` is true in all jobs.
 */
void seal_batch_seal(enum seal_impl impl, struct seal_job *jobs, size_t count);

/**
 * Opens jobs, each for itself. Where the tag is wrong, nothing is written but `ok`; where it is right, the
 * text. No text is written before its tag was found right.
 *
 * Parameters as for seal_batch_seal().
 */
void seal_batch_open(enum seal_impl impl, struct seal_job *jobs, size_t count);

/**
 * Compares what the CPU can do with libsodium, in about a millisecond. May be called by several threads at
 * once. Without it the first call that seals or opens does it.
 *
 * @return  the best implementation that holds; at least SEAL_IMPL_SODIUM
 */
enum seal_impl seal_batch_self_test(void);

/** @return  whether an implementation is here and has passed the self-test; for AUTO and SODIUM: true */
bool seal_batch_holds(enum seal_impl impl);

/** @return  whether CPU and system have what an implementation needs, self-test or not */
bool seal_batch_supported(enum seal_impl impl);

/** @return  "auto", "libsodium", "AVX2", "AVX-512" */
const char *seal_impl_name(enum seal_impl impl);

#endif
