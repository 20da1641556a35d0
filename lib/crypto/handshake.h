/*
 * The handshake of the native wire: INIT and RESP, and the keys they make.
 *
 *     initiator                                       responder
 *     handshake_init_write()          -- INIT -->     handshake_init_mac1_ok()       cheap
 *                                                     handshake_init_open_static()   who is it?
 *                                                     handshake_init_open_params()   what is asked?
 *     handshake_resp_open()           <-- RESP --     handshake_resp_write()
 *
 * Everything here is bytes in, bytes and a verdict out. When to send, whom to answer, limits of
 * rate, `init_seq`, what stands in params and which indices are allowed (multiples of 16) is for the
 * caller to say. COOKIE, REJECT, mac2 and cookies are in handshake_mac.h.
 *
 * Memory: every struct here but handshake_keys' size holds private keys or what leads to them. Keep
 * them in memory that is locked (mlock) and left out of core dumps, and wipe them by the functions
 * given. Functions keep their own secrets on the stack and wipe them before they return.
 *
 * Source: lib/PROTOCOL.md; Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b.
 */
#ifndef CRYPTO_HANDSHAKE_H
#define CRYPTO_HANDSHAKE_H

#include "crypto/noise.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rand_source;

enum {
	HANDSHAKE_INIT_BYTES = 184,
	HANDSHAKE_RESP_BYTES = 120,
	HANDSHAKE_COOKIE_BYTES = 64,
	HANDSHAKE_REJECT_BYTES = 64,
	HANDSHAKE_BYTES_MAX = HANDSHAKE_INIT_BYTES,
	HANDSHAKE_PARAMS_BYTES = 48,
	HANDSHAKE_KEY_BYTES = 32,
	HANDSHAKE_MAC_BYTES = 16,
	HANDSHAKE_SHARDS_MAX = 16,

	/* First four bytes of each message, as a little-endian number: type and version. */
	HANDSHAKE_WORD_INIT = 0x0108,
	HANDSHAKE_WORD_RESP = 0x0109,
	HANDSHAKE_WORD_COOKIE = 0x010a,
	HANDSHAKE_WORD_REJECT = 0x010b,

	HANDSHAKE_AT_INDEX = 4, /* u32 LE: sender_index (INIT) or receiver_index */
	HANDSHAKE_INIT_AT_MAC1 = 152,
	HANDSHAKE_INIT_AT_MAC2 = 168,
};

/** What a datagram claims to be, by its first word and its exact size. */
enum handshake_message {
	HANDSHAKE_NONE, /* no handshake message of this version */
	HANDSHAKE_INIT,
	HANDSHAKE_RESP,
	HANDSHAKE_COOKIE,
	HANDSHAKE_REJECT,
};

/** Each way for a message to be bad. Nothing that was refused has an effect. */
enum handshake_verdict {
	HANDSHAKE_OK,
	HANDSHAKE_BAD_WORD,   /* not the message that was asked for */
	HANDSHAKE_BAD_INDEX,  /* receiver_index is not that of this attempt */
	HANDSHAKE_BAD_MAC1,   /* does not know our public key (or the network key), or damaged */
	HANDSHAKE_BAD_POINT,  /* an X25519 result of zeros: a public key of small order */
	HANDSHAKE_BAD_STATIC, /* INIT: the sealed static key does not open: forged or damaged */
	HANDSHAKE_BAD_PEER,   /* INIT: opened for a peer whose key is not the one it names */
	HANDSHAKE_BAD_PARAMS, /* INIT: params do not open: not made by the owner of that key */
	HANDSHAKE_BAD_RESP,   /* RESP: params do not open: another PSK, or not the peer */
	HANDSHAKE_BAD_COOKIE, /* COOKIE does not open: not an answer to this INIT */
	HANDSHAKE_BAD_REJECT, /* REJECT does not open: not an answer to this INIT */
	HANDSHAKE_VERDICTS,   /* how many there are, for tables of counters */
};

/** This side. Set by handshake_self_init(), constant afterwards. */
struct handshake_self {
	uint8_t private_key[HANDSHAKE_KEY_BYTES];
	uint8_t public_key[HANDSHAKE_KEY_BYTES];
	uint8_t network_key[HANDSHAKE_KEY_BYTES];
	bool has_network_key;
	uint8_t mac1_key[HANDSHAKE_KEY_BYTES];	 /* K_mac1 of own public key: what comes to us */
	uint8_t cookie_key[HANDSHAKE_KEY_BYTES]; /* K_cookie of own public key: cookies we give */
};

/** A peer as this side sees it. Set by handshake_peer_init(), constant afterwards. */
struct handshake_peer {
	uint8_t public_key[HANDSHAKE_KEY_BYTES];
	uint8_t psk[HANDSHAKE_KEY_BYTES]; /* zeros if there is none */
	uint8_t ss[HANDSHAKE_KEY_BYTES];  /* DH(own static, peer's static), made once */
	uint8_t mac1_key[HANDSHAKE_KEY_BYTES];
	uint8_t cookie_key[HANDSHAKE_KEY_BYTES];
};

/** An initiator's attempt: what is needed to read the answers to one INIT. */
struct handshake_attempt {
	struct noise noise; /* after message 1 */
	uint8_t e_private[HANDSHAKE_KEY_BYTES];
	uint8_t mac1[HANDSHAKE_MAC_BYTES]; /* of the INIT: COOKIE and REJECT are bound to it */
	uint32_t sender_index;
};

/** A responder's view of one INIT, between the steps of reading and answering it. */
struct handshake_responder {
	struct noise noise;
	uint8_t e_initiator[HANDSHAKE_KEY_BYTES];
	uint8_t s_initiator[HANDSHAKE_KEY_BYTES];
	uint8_t sealed_params[HANDSHAKE_PARAMS_BYTES + NOISE_TAG_BYTES];
	uint8_t mac1[HANDSHAKE_MAC_BYTES];
	uint32_t sender_index; /* the initiator's receive index, from the INIT */
};

/** Keys of a session (shard 0), for this side: already the right way round. */
struct handshake_keys {
	uint8_t t_send[HANDSHAKE_KEY_BYTES];
	uint8_t t_recv[HANDSHAKE_KEY_BYTES];
};

/** @bytes  `len` bytes of a datagram, any number; a handshake message is recognised only in its
 * exact size */
enum handshake_message handshake_message_of(const uint8_t *bytes, size_t len);

/** @return  static text of a verdict in a few words, never NULL */
const char *handshake_verdict_text(enum handshake_verdict verdict);

/**
 * @private_key  X25519; every other tool's keys work (`wg genkey`)
 * @network_key  key shared by a whole deployment, or NULL for none
 * @return       0, or -EINVAL for a private key of zeros
 */
int handshake_self_init(struct handshake_self *self, const uint8_t private_key[HANDSHAKE_KEY_BYTES],
	const uint8_t network_key[HANDSHAKE_KEY_BYTES]);

void handshake_self_wipe(struct handshake_self *self);

/**
 * Costs one X25519.
 *
 * @psk     pre-shared key, or NULL for none (which is the same as one of zeros)
 * @return  0, or -EINVAL if the public key must be refused: of small order, or our own (a message
 *          thrown back at us would come from a known peer). `peer` is zeros then.
 */
int handshake_peer_init(struct handshake_peer *peer, const struct handshake_self *self,
	const uint8_t public_key[HANDSHAKE_KEY_BYTES], const uint8_t psk[HANDSHAKE_KEY_BYTES]);

void handshake_peer_wipe(struct handshake_peer *peer);

/* ---- initiator --------------------------------------------------------------------------------------------------- */

/**
 * Starts an attempt. Costs two X25519. The bytes are complete, without a mac2; keep them to send
 * the same again. Set `init_seq` in `params` before; never call it twice for one init_seq.
 *
 * @peer  as made by handshake_peer_init()
 * @rnd   asked once, for the 32 bytes of the ephemeral private key: good randomness
 */
void handshake_init_write(struct handshake_attempt *attempt, const struct handshake_self *self,
	const struct handshake_peer *peer, uint32_t sender_index,
	const uint8_t params[HANDSHAKE_PARAMS_BYTES], const struct rand_source *rnd,
	uint8_t out[HANDSHAKE_INIT_BYTES]);

/** Puts mac2 into a written INIT, or with `cookie` NULL zeros in its place. Changes nothing else, so
 * the attempt stays. */
void handshake_init_set_cookie(
	uint8_t bytes[HANDSHAKE_INIT_BYTES], const uint8_t cookie[HANDSHAKE_MAC_BYTES]);

/** First and cheapest look at a RESP: does its sender know our public key (and network key)? Count
 * what is opened only after this, or garbage uses up what was meant for answers. */
bool handshake_resp_mac1_ok(
	const struct handshake_self *self, const uint8_t bytes[HANDSHAKE_RESP_BYTES]);

/**
 * Reads a RESP. Costs two X25519 if index and mac1 are good; limit how often.
 *
 * @attempt   stays as it is, whatever happens: a forged RESP must not end it. After OK wipe it by
 *            handshake_attempt_wipe().
 * @params    48 bytes as the peer wrote them, still to be judged
 * @ret_keys  like params written on OK only
 */
enum handshake_verdict handshake_resp_open(const struct handshake_attempt *attempt,
	const struct handshake_self *self, const struct handshake_peer *peer,
	const uint8_t bytes[HANDSHAKE_RESP_BYTES], uint8_t params[HANDSHAKE_PARAMS_BYTES],
	struct handshake_keys *ret_keys);

void handshake_attempt_wipe(struct handshake_attempt *attempt);

/* ---- responder --------------------------------------------------------------------------------------------------- */

/** First and cheapest look at an INIT: does its sender know our public key (and network key)? Says
 * nothing about who it is, nor whether it is fresh. Checks the word too. */
bool handshake_init_mac1_ok(
	const struct handshake_self *self, const uint8_t bytes[HANDSHAKE_INIT_BYTES]);

/**
 * Reads whose INIT this claims to be: the first secret step, one X25519. Anybody can make a message
 * that passes, so what comes out is a name, not a proof.
 *
 * @bytes        checked by handshake_init_mac1_ok() before
 * @responder    set on OK, else wiped; it needs `bytes` no longer
 * @peer_public  the initiator's static public key, to look up; written on OK only
 */
enum handshake_verdict handshake_init_open_static(const struct handshake_self *self,
	const uint8_t bytes[HANDSHAKE_INIT_BYTES], struct handshake_responder *responder,
	uint8_t peer_public[HANDSHAKE_KEY_BYTES]);

/**
 * Opens params with the known peer's `ss`: no X25519. OK proves that the owner of the static key
 * made this INIT, at some time: it may be a replay until init_seq was compared.
 *
 * @responder  as handshake_init_open_static() left it; wiped unless OK
 * @params     written on OK only, still to be judged
 */
enum handshake_verdict handshake_init_open_params(struct handshake_responder *responder,
	const struct handshake_peer *peer, uint8_t params[HANDSHAKE_PARAMS_BYTES]);

/**
 * Answers. Costs three X25519 (one of them the ephemeral public key).
 *
 * @responder  as handshake_init_open_params() left it; always wiped: a REJECT comes before, or not
 *             at all
 * @params     own params with our index in the first four bytes
 * @rnd        asked once, for the 32 bytes of the ephemeral private key: good randomness
 * @return     HANDSHAKE_OK, or HANDSHAKE_BAD_POINT, and then `out` and `ret_keys` are zeros
 */
enum handshake_verdict handshake_resp_write(struct handshake_responder *responder,
	const struct handshake_peer *peer, const uint8_t params[HANDSHAKE_PARAMS_BYTES],
	const struct rand_source *rnd, uint8_t out[HANDSHAKE_RESP_BYTES],
	struct handshake_keys *ret_keys);

void handshake_responder_wipe(struct handshake_responder *responder);

/* ---- keys -------------------------------------------------------------------------------------------------------- */

/**
 * The key of a shard.
 *
 * @t      t_send or t_recv
 * @shard  0 .. HANDSHAKE_SHARDS_MAX - 1; shard 0 has `t` itself
 * @out    may be `t`
 */
void handshake_shard_key(
	const uint8_t t[HANDSHAKE_KEY_BYTES], uint32_t shard, uint8_t out[HANDSHAKE_KEY_BYTES]);

void handshake_keys_wipe(struct handshake_keys *keys);

#endif
