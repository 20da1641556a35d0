/*
 * What stands around the handshake of the native wire: mac1 and mac2, cookies, COOKIE and REJECT.
 *
 * A cookie proves that an INIT's sender can read what is sent to its source address; a responder
 * under load asks for one before it spends an X25519. REJECT tells the owner of an INIT, and nobody
 * else, why it gets no RESP.
 *
 * Source: lib/PROTOCOL.md, "COOKIE and REJECT", "Keys and labels".
 */
#ifndef CRYPTO_HANDSHAKE_MAC_H
#define CRYPTO_HANDSHAKE_MAC_H

#include "core/mono.h"
#include "crypto/handshake.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kcpvpn_endpoint;
struct rand_source;

enum {
	HANDSHAKE_COOKIE_RENEW_S = 120, /* a secret makes cookies for so long */
	HANDSHAKE_COOKIE_GRACE_S = 10,	/* and its cookies are taken for so much longer */
};

enum handshake_reject_reason {
	HANDSHAKE_REJECT_STALE = 1,   /* init_seq is not above the committed one */
	HANDSHAKE_REJECT_FEATURE = 2, /* a required feature is missing */
};

/* ---- building blocks of the handshake's own ---------------------------------------------------------------------- */

/**
 * H(key; L(label) || bytes): BLAKE2b-256 over the label, padded with zeros to 16 bytes, and bytes.
 *
 * @key    `key_len` bytes, 0 (then NULL is fine) or 16 .. 64
 * @label  at most 16 characters
 */
void handshake_hash(uint8_t out[HANDSHAKE_KEY_BYTES], const uint8_t *key, size_t key_len,
	const char *label, const uint8_t *bytes, size_t len);

/** BLAKE2b-128(key; bytes): mac1 and mac2. `key_len` 16 .. 64. */
void handshake_mac(uint8_t out[HANDSHAKE_MAC_BYTES], const uint8_t *key, size_t key_len,
	const uint8_t *bytes, size_t len);

/* ---- cookies: responder ------------------------------------------------------------------------------------------ */

/** The secrets that a responder's cookies are made of. All zeros (or handshake_cookies_wipe()) is the
 * state before the first. Holds secrets: locked memory. */
struct handshake_cookies {
	uint8_t current[HANDSHAKE_KEY_BYTES];
	uint8_t previous[HANDSHAKE_KEY_BYTES];
	struct mono renewed_at;
	bool has_current, has_previous;
};

/**
 * The cookie of a source address under one secret: BLAKE2b-128(secret; family || address || port)
 * with family one byte (4 or 6), address 4 or 16 bytes, port two bytes, low one first.
 *
 * @from  family 4 or 6; IPv4-mapped addresses have become IPv4 before
 */
void handshake_cookie_of(const uint8_t secret[HANDSHAKE_KEY_BYTES],
	const struct kcpvpn_endpoint *from, uint8_t cookie[HANDSHAKE_MAC_BYTES]);

/**
 * The cookie to give to `from` now. Renews the secret first if it is due.
 *
 * @rnd  asked for 32 bytes when a secret is made
 */
void handshake_cookies_make(struct handshake_cookies *cookies, const struct kcpvpn_endpoint *from,
	struct mono now, const struct rand_source *rnd, uint8_t cookie[HANDSHAKE_MAC_BYTES]);

/** True if mac2 of an INIT (whose mac1 is good) was made with a cookie that was given to `from` and
 * is not too old. False for a mac2 of zeros, without computing anything. */
bool handshake_cookies_mac2_ok(const struct handshake_cookies *cookies,
	const uint8_t bytes[HANDSHAKE_INIT_BYTES], const struct kcpvpn_endpoint *from,
	struct mono now);

void handshake_cookies_wipe(struct handshake_cookies *cookies);

/**
 * Answers an INIT by a cookie, without any X25519.
 *
 * @init  its mac1 is good
 * @rnd   asked once, for the 24 bytes of the nonce
 */
void handshake_cookie_write(const struct handshake_self *self,
	const uint8_t init[HANDSHAKE_INIT_BYTES], const uint8_t cookie[HANDSHAKE_MAC_BYTES],
	const struct rand_source *rnd, uint8_t out[HANDSHAKE_COOKIE_BYTES]);

/* ---- initiator --------------------------------------------------------------------------------------------------- */

/**
 * Reads a COOKIE. It never ends the attempt.
 *
 * @cookie  written on OK only; good for handshake_init_set_cookie() for 120 s
 */
enum handshake_verdict handshake_cookie_open(const struct handshake_attempt *attempt,
	const struct handshake_peer *peer, const uint8_t bytes[HANDSHAKE_COOKIE_BYTES],
	uint8_t cookie[HANDSHAKE_MAC_BYTES]);

/* ---- REJECT ------------------------------------------------------------------------------------------------------ */

struct handshake_reject {
	uint64_t last_seq; /* the init_seq the responder has committed */
	uint8_t reason;	   /* enum handshake_reject_reason; others are reserved, but may come */
};

/**
 * Refuses an INIT.
 *
 * @responder  as handshake_init_open_params() left it, and stays so: wipe it afterwards
 * @rnd        asked once, for the 24 bytes of the nonce
 */
void handshake_reject_write(const struct handshake_responder *responder,
	const struct handshake_reject *reject, const struct rand_source *rnd,
	uint8_t out[HANDSHAKE_REJECT_BYTES]);

/** Reads a REJECT. It never ends the attempt. `ret_reject` is written on OK only. */
enum handshake_verdict handshake_reject_open(const struct handshake_attempt *attempt,
	const uint8_t bytes[HANDSHAKE_REJECT_BYTES], struct handshake_reject *ret_reject);

#endif
