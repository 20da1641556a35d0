/*
 * DATA datagrams of the native wire: Salsa20 and Poly1305, in batches.
 *
 *     0         4                8         16               16 + n
 *     | word    | receiver_index | counter | ciphertext n   | tag 16 |
 *
 * The counter is the nonce: one key, one counter, one datagram. struct seal_key remembers the last
 * counter and refuses to go back.
 *
 * Room: 16 bytes before the payload and 16 behind it, for sealing; none at all for opening. Nothing
 * outside the datagram itself is touched, so datagrams may stand back to back, as UDP_GRO delivers
 * them and as UDP_SEGMENT wants them.
 *
 * Memory: keys belong into locked memory that is left out of core dumps.
 *
 * Source: lib/PROTOCOL.md, "DATA".
 */
#ifndef CRYPTO_SEAL_H
#define CRYPTO_SEAL_H

#include "crypto/seal_batch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SEAL_KEY_BYTES = 32,
	SEAL_HEADER_BYTES = 16,
	SEAL_TAG_BYTES = 16,
	SEAL_OVERHEAD_BYTES = SEAL_HEADER_BYTES + SEAL_TAG_BYTES,
	SEAL_HEAD_BYTES = SEAL_HEADER_BYTES,	 /* room that sealing needs before the payload */
	SEAL_TAIL_BYTES = SEAL_TAG_BYTES,	 /* and behind it */
	SEAL_DATAGRAM_MIN = SEAL_OVERHEAD_BYTES, /* a keepalive */
	SEAL_DATAGRAM_MAX = 65507,
	SEAL_PAYLOAD_MAX = SEAL_DATAGRAM_MAX - SEAL_OVERHEAD_BYTES,
};

/* 1 in builds where sealing with a used counter aborts instead of being refused: what is tested must
 * not do it even once. */
#if defined(__SANITIZE_ADDRESS__) || defined(FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION)
#define SEAL_ABORTS_ON_REUSE 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SEAL_ABORTS_ON_REUSE 1
#endif
#endif
#ifndef SEAL_ABORTS_ON_REUSE
#define SEAL_ABORTS_ON_REUSE 0
#endif

/** Counters are below this; a key must be replaced long before. */
#define SEAL_COUNTER_END ((uint64_t)1 << 48)

enum seal_verdict {
	SEAL_OK,
	SEAL_BAD_SIZE,	  /* shorter than a keepalive or longer than a datagram can be */
	SEAL_BAD_WORD,	  /* not DATA of this version */
	SEAL_BAD_COUNTER, /* not below SEAL_COUNTER_END */
	SEAL_REUSED,	  /* sealing only: a counter not above the last one under this key */
	SEAL_BAD_TAG,	  /* opening only: forged, damaged, or another key */
	SEAL_VERDICTS,	  /* how many there are, for tables of counters */
};

/**
 * Chooses whose code makes the bytes from now on, for the whole process; they are the same from all. Set while there is
 * one thread. Without it, the best that passes its self-test.
 *
 * @impl  as for seal_batch_seal()
 */
void seal_use(enum seal_impl impl);

/* ---- sealing ----------------------------------------------------------------------------------------------------- */

/** The sending half of a shard of a session. */
struct seal_key {
	uint8_t key[SEAL_KEY_BYTES];
	uint64_t counter_min; /* the least counter that may be sealed now: the last one + 1 */
};

/** @key  t_send of the shard. Its counters may start anywhere. */
void seal_key_init(struct seal_key *seal, const uint8_t key[SEAL_KEY_BYTES]);

void seal_key_wipe(struct seal_key *seal);

struct seal_item {
	uint8_t *payload; /* in: `len` bytes with SEAL_HEAD_BYTES before and SEAL_TAIL_BYTES behind
			     that belong to the item; out: ciphertext. The datagram begins
			     SEAL_HEADER_BYTES before. */
	size_t len; /* in: 0 .. SEAL_PAYLOAD_MAX; the datagram is SEAL_OVERHEAD_BYTES longer */
	uint64_t counter; /* in: packet number */
	struct seal_key *key;
	uint32_t receiver_index;
	enum seal_verdict verdict; /* out */
};

/**
 * Makes datagrams of payloads, in the order given.
 *
 * An item that is refused (SEAL_REUSED, SEAL_BAD_COUNTER, SEAL_BAD_SIZE) must not be sent; in case
 * it is, its whole datagram has been overwritten with zeros (but for SEAL_BAD_SIZE, where there is
 * none). A refusal is a bug of the caller, worth a counter that somebody looks at. With
 * SEAL_ABORTS_ON_REUSE a SEAL_REUSED aborts instead, so that no test can overlook one.
 *
 * Does not allocate.
 */
void seal_batch(struct seal_item *items, size_t count);

/* ---- opening ----------------------------------------------------------------------------------------------------- */

struct seal_header {
	uint32_t receiver_index;
	uint64_t counter;
};

/**
 * Reads the header of what may be a DATA datagram: size, word, counter, in this order. Nothing in it
 * is authentic yet.
 *
 * @return  SEAL_OK, SEAL_BAD_SIZE, SEAL_BAD_WORD or SEAL_BAD_COUNTER; `ret_header` is written on OK
 *          only
 */
enum seal_verdict seal_header_read(
	const uint8_t *datagram, size_t len, struct seal_header *ret_header);

struct open_item {
	uint8_t *datagram;  /* in: header, ciphertext, tag; no room around it is needed */
	size_t len;	    /* in: any number; SEAL_BAD_SIZE outside SEAL_DATAGRAM_MIN .. _MAX */
	const uint8_t *key; /* in: t_recv of the shard, SEAL_KEY_BYTES */
	enum seal_verdict verdict; /* out: SEAL_OK, SEAL_BAD_SIZE or SEAL_BAD_TAG */
	uint8_t *payload;	   /* out: plaintext, inside `datagram`; NULL unless SEAL_OK */
	size_t payload_len;	   /* out: len - SEAL_OVERHEAD_BYTES, 0 for a keepalive */
};

/**
 * Verifies and decrypts datagrams in place, each for itself, after seal_header_read() and the replay
 * window's replay_judge(). Bytes of a datagram that is refused stay as they are.
 *
 * Two copies of one datagram in a batch both open: the window decides between them, when each is
 * committed.
 *
 * Does not allocate.
 */
void open_batch(struct open_item *items, size_t count);

#endif
