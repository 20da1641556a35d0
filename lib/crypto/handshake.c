/*
 * INIT is the first message of Noise IKpsk2 behind eight bytes of header, RESP the second; mac1
 * stands behind each, so that who does not even know the recipient's public key costs one BLAKE2b.
 *
 *     INIT   word, sender_index | E_i | S_i sealed | params sealed | mac1 | mac2
 *     RESP   word, receiver_index | E_r | params sealed | mac1
 *
 * The transcript, in the order of the tokens:
 *
 *     prologue   label, INIT's first eight bytes
 *     <- s       S_r
 *     -> e, es, s, ss, params_i
 *     <- e, ee, se, psk, params_r
 *
 * Where a psk is used, Noise mixes ephemeral public keys into the chaining key too.
 *
 * What can fail, fails on a copy: a responder's state is built while an INIT is read and wiped at the
 * first fault; an initiator's attempt is never written to once it was sent. `ss` is made once a peer,
 * which saves a third of the work, and lets a responder judge params without another X25519.
 *
 * Standards: Noise revision 34, sections 5.3, 7.5, 9.
 */
#include "crypto/handshake.h"

#include "core/endian.h"
#include "core/rand.h"
#include "crypto/handshake_mac.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>

enum {
	SEALED_KEY_BYTES = HANDSHAKE_KEY_BYTES + NOISE_TAG_BYTES,
	SEALED_PARAMS_BYTES = HANDSHAKE_PARAMS_BYTES + NOISE_TAG_BYTES,

	HEADER_BYTES = 8,
	AT_EPHEMERAL = HEADER_BYTES,
	INIT_AT_STATIC = AT_EPHEMERAL + HANDSHAKE_KEY_BYTES,
	INIT_AT_PARAMS = INIT_AT_STATIC + SEALED_KEY_BYTES,
	RESP_AT_PARAMS = AT_EPHEMERAL + HANDSHAKE_KEY_BYTES,
	RESP_AT_MAC1 = RESP_AT_PARAMS + SEALED_PARAMS_BYTES,

	LABEL_BYTES = 16,
	PROLOGUE_BYTES = LABEL_BYTES + HEADER_BYTES,
};

_Static_assert(
	(int)HANDSHAKE_INIT_AT_MAC1 == INIT_AT_PARAMS + SEALED_PARAMS_BYTES, "INIT as specified");
_Static_assert(
	(int)HANDSHAKE_INIT_AT_MAC2 + HANDSHAKE_MAC_BYTES == (int)HANDSHAKE_INIT_BYTES, "INIT");
_Static_assert(RESP_AT_MAC1 == 104, "RESP as specified");
_Static_assert((int)RESP_AT_MAC1 + HANDSHAKE_MAC_BYTES == (int)HANDSHAKE_RESP_BYTES, "RESP");

/* ---- messages and verdicts --------------------------------------------------------------------------------------- */

enum handshake_message handshake_message_of(const uint8_t *bytes, size_t len)
{
	if (len < HEADER_BYTES)
		return HANDSHAKE_NONE;
	switch (load_le32(bytes)) {
	case HANDSHAKE_WORD_INIT:
		return len == HANDSHAKE_INIT_BYTES ? HANDSHAKE_INIT : HANDSHAKE_NONE;
	case HANDSHAKE_WORD_RESP:
		return len == HANDSHAKE_RESP_BYTES ? HANDSHAKE_RESP : HANDSHAKE_NONE;
	case HANDSHAKE_WORD_COOKIE:
		return len == HANDSHAKE_COOKIE_BYTES ? HANDSHAKE_COOKIE : HANDSHAKE_NONE;
	case HANDSHAKE_WORD_REJECT:
		return len == HANDSHAKE_REJECT_BYTES ? HANDSHAKE_REJECT : HANDSHAKE_NONE;
	default:
		return HANDSHAKE_NONE;
	}
}

const char *handshake_verdict_text(enum handshake_verdict verdict)
{
	switch (verdict) {
	case HANDSHAKE_OK:
		return "good";
	case HANDSHAKE_BAD_WORD:
		return "another kind of message";
	case HANDSHAKE_BAD_INDEX:
		return "answers another attempt";
	case HANDSHAKE_BAD_MAC1:
		return "made for another key or network";
	case HANDSHAKE_BAD_POINT:
		return "public key of small order";
	case HANDSHAKE_BAD_STATIC:
		return "sealed public key does not open";
	case HANDSHAKE_BAD_PEER:
		return "names another peer";
	case HANDSHAKE_BAD_PARAMS:
		return "not made by the owner of its key";
	case HANDSHAKE_BAD_RESP:
		return "answer does not open: is the pre-shared key the same?";
	case HANDSHAKE_BAD_COOKIE:
		return "cookie does not open";
	case HANDSHAKE_BAD_REJECT:
		return "refusal does not open";
	case HANDSHAKE_VERDICTS:
		break;
	}
	return "unknown verdict";
}

/* ---- keys of the two sides --------------------------------------------------------------------------------------- */

/* K_mac1 or K_cookie of a public key. */
static void recipient_key(uint8_t out[HANDSHAKE_KEY_BYTES], const struct handshake_self *self,
	const char *label, const uint8_t public_key[HANDSHAKE_KEY_BYTES])
{
	handshake_hash(out, self->network_key, self->has_network_key ? HANDSHAKE_KEY_BYTES : 0,
		label, public_key, HANDSHAKE_KEY_BYTES);
}

int handshake_self_init(struct handshake_self *self, const uint8_t private_key[HANDSHAKE_KEY_BYTES],
	const uint8_t network_key[HANDSHAKE_KEY_BYTES])
{
	memset(self, 0, sizeof(*self));
	if (sodium_is_zero(private_key, HANDSHAKE_KEY_BYTES))
		return -EINVAL;
	memcpy(self->private_key, private_key, HANDSHAKE_KEY_BYTES);
	noise_public(self->public_key, private_key);
	if (network_key) {
		memcpy(self->network_key, network_key, HANDSHAKE_KEY_BYTES);
		self->has_network_key = true;
	}
	recipient_key(self->mac1_key, self, "vpnd1 mac1", self->public_key);
	recipient_key(self->cookie_key, self, "vpnd1 cookie", self->public_key);
	return 0;
}

void handshake_self_wipe(struct handshake_self *self)
{
	sodium_memzero(self, sizeof(*self));
}

int handshake_peer_init(struct handshake_peer *peer, const struct handshake_self *self,
	const uint8_t public_key[HANDSHAKE_KEY_BYTES], const uint8_t psk[HANDSHAKE_KEY_BYTES])
{
	memset(peer, 0, sizeof(*peer));
	if (crypto_verify_32(public_key, self->public_key) == 0)
		return -EINVAL;
	if (!noise_dh(peer->ss, self->private_key, public_key))
		return -EINVAL;
	memcpy(peer->public_key, public_key, HANDSHAKE_KEY_BYTES);
	if (psk)
		memcpy(peer->psk, psk, HANDSHAKE_KEY_BYTES);
	recipient_key(peer->mac1_key, self, "vpnd1 mac1", public_key);
	recipient_key(peer->cookie_key, self, "vpnd1 cookie", public_key);
	return 0;
}

void handshake_peer_wipe(struct handshake_peer *peer)
{
	sodium_memzero(peer, sizeof(*peer));
}

/* ---- what both sides do ------------------------------------------------------------------------------------------ */

/* The transcript up to S_r, for an INIT that begins with these eight bytes. */
static void begin(struct noise *noise, const uint8_t header[HEADER_BYTES],
	const uint8_t responder_public[HANDSHAKE_KEY_BYTES])
{
	uint8_t prologue[PROLOGUE_BYTES] = "vpnd native v1";

	memcpy(prologue + LABEL_BYTES, header, HEADER_BYTES);
	noise_init(noise, prologue, sizeof(prologue), responder_public);
}

/* Token e: a public key that is on the wire in clear. */
static void mix_ephemeral(struct noise *noise, const uint8_t e_public[HANDSHAKE_KEY_BYTES])
{
	noise_mix_hash(noise, e_public, HANDSHAKE_KEY_BYTES);
	noise_mix_key(noise, e_public);
}

/* Tokens es, ee, se. */
static bool mix_dh(struct noise *noise, const uint8_t private_key[HANDSHAKE_KEY_BYTES],
	const uint8_t public_key[HANDSHAKE_KEY_BYTES])
{
	uint8_t shared[HANDSHAKE_KEY_BYTES];
	bool good = noise_dh(shared, private_key, public_key);

	if (good)
		noise_mix_key(noise, shared);
	sodium_memzero(shared, sizeof(shared));
	return good;
}

/* Data keys are Salsa20's, so they are not the keys that Split() gives for ChaChaPoly. */
static void derive_keys(const struct noise *noise, uint8_t t_i2r[HANDSHAKE_KEY_BYTES],
	uint8_t t_r2i[HANDSHAKE_KEY_BYTES])
{
	uint8_t c1[NOISE_KEY_BYTES], c2[NOISE_KEY_BYTES];

	noise_split(noise, c1, c2);
	handshake_hash(t_i2r, c1, sizeof(c1), "vpnd1 data i2r", noise->h, NOISE_HASH_BYTES);
	handshake_hash(t_r2i, c2, sizeof(c2), "vpnd1 data r2i", noise->h, NOISE_HASH_BYTES);
	sodium_memzero(c1, sizeof(c1));
	sodium_memzero(c2, sizeof(c2));
}

void handshake_shard_key(
	const uint8_t t[HANDSHAKE_KEY_BYTES], uint32_t shard, uint8_t out[HANDSHAKE_KEY_BYTES])
{
	uint8_t number[4];

	assert(shard < HANDSHAKE_SHARDS_MAX);
	if (shard == 0) {
		memmove(out, t, HANDSHAKE_KEY_BYTES);
		return;
	}
	store_le32(number, shard);
	handshake_hash(out, t, HANDSHAKE_KEY_BYTES, "vpnd1 shard", number, sizeof(number));
}

void handshake_keys_wipe(struct handshake_keys *keys)
{
	sodium_memzero(keys, sizeof(*keys));
}

/* ---- initiator --------------------------------------------------------------------------------------------------- */

void handshake_init_write(struct handshake_attempt *attempt, const struct handshake_self *self,
	const struct handshake_peer *peer, uint32_t sender_index,
	const uint8_t params[HANDSHAKE_PARAMS_BYTES], const struct rand_source *rnd,
	uint8_t out[HANDSHAKE_INIT_BYTES])
{
	struct noise *noise = &attempt->noise;

	memset(out, 0, HANDSHAKE_INIT_BYTES);
	store_le32(out, HANDSHAKE_WORD_INIT);
	store_le32(out + HANDSHAKE_AT_INDEX, sender_index);
	attempt->sender_index = sender_index;
	rand_fill(rnd, attempt->e_private, HANDSHAKE_KEY_BYTES);
	noise_public(out + AT_EPHEMERAL, attempt->e_private);

	begin(noise, out, peer->public_key);
	mix_ephemeral(noise, out + AT_EPHEMERAL);
	bool good = mix_dh(noise, attempt->e_private, peer->public_key);
	assert(good); /* a clamped scalar takes only points of small order to zero, and the peer's
			 is none */
	(void)good;
	noise_seal(noise, self->public_key, HANDSHAKE_KEY_BYTES, out + INIT_AT_STATIC);
	noise_mix_key(noise, peer->ss);
	noise_seal(noise, params, HANDSHAKE_PARAMS_BYTES, out + INIT_AT_PARAMS);

	handshake_mac(out + HANDSHAKE_INIT_AT_MAC1, peer->mac1_key, sizeof(peer->mac1_key), out,
		HANDSHAKE_INIT_AT_MAC1);
	memcpy(attempt->mac1, out + HANDSHAKE_INIT_AT_MAC1, HANDSHAKE_MAC_BYTES);
}

void handshake_init_set_cookie(
	uint8_t bytes[HANDSHAKE_INIT_BYTES], const uint8_t cookie[HANDSHAKE_MAC_BYTES])
{
	if (cookie)
		handshake_mac(bytes + HANDSHAKE_INIT_AT_MAC2, cookie, HANDSHAKE_MAC_BYTES, bytes,
			HANDSHAKE_INIT_AT_MAC2);
	else
		memset(bytes + HANDSHAKE_INIT_AT_MAC2, 0, HANDSHAKE_MAC_BYTES);
}

/* True if `mac1` is that of the `len` bytes before it. */
static bool mac1_ok(const uint8_t *bytes, size_t len, const uint8_t mac1_key[HANDSHAKE_KEY_BYTES])
{
	uint8_t want[HANDSHAKE_MAC_BYTES];

	handshake_mac(want, mac1_key, HANDSHAKE_KEY_BYTES, bytes, len);
	return crypto_verify_16(want, bytes + len) == 0;
}

/* Message 2 on a copy of the attempt's state. */
static enum handshake_verdict read_message_2(struct noise *noise,
	const struct handshake_attempt *attempt, const struct handshake_self *self,
	const struct handshake_peer *peer, const uint8_t bytes[HANDSHAKE_RESP_BYTES],
	uint8_t params[HANDSHAKE_PARAMS_BYTES])
{
	mix_ephemeral(noise, bytes + AT_EPHEMERAL);
	if (!mix_dh(noise, attempt->e_private, bytes + AT_EPHEMERAL) ||
		!mix_dh(noise, self->private_key, bytes + AT_EPHEMERAL))
		return HANDSHAKE_BAD_POINT;
	noise_mix_key_and_hash(noise, peer->psk);
	if (!noise_open(noise, bytes + RESP_AT_PARAMS, HANDSHAKE_PARAMS_BYTES, params))
		return HANDSHAKE_BAD_RESP;
	return HANDSHAKE_OK;
}

bool handshake_resp_mac1_ok(
	const struct handshake_self *self, const uint8_t bytes[HANDSHAKE_RESP_BYTES])
{
	return load_le32(bytes) == HANDSHAKE_WORD_RESP &&
	       mac1_ok(bytes, RESP_AT_MAC1, self->mac1_key);
}

enum handshake_verdict handshake_resp_open(const struct handshake_attempt *attempt,
	const struct handshake_self *self, const struct handshake_peer *peer,
	const uint8_t bytes[HANDSHAKE_RESP_BYTES], uint8_t params[HANDSHAKE_PARAMS_BYTES],
	struct handshake_keys *ret_keys)
{
	uint8_t opened[HANDSHAKE_PARAMS_BYTES];
	struct noise noise;

	if (load_le32(bytes) != HANDSHAKE_WORD_RESP)
		return HANDSHAKE_BAD_WORD;
	if (load_le32(bytes + HANDSHAKE_AT_INDEX) != attempt->sender_index)
		return HANDSHAKE_BAD_INDEX;
	if (!mac1_ok(bytes, RESP_AT_MAC1, self->mac1_key))
		return HANDSHAKE_BAD_MAC1;
	noise = attempt->noise;
	enum handshake_verdict verdict = read_message_2(&noise, attempt, self, peer, bytes, opened);
	if (verdict == HANDSHAKE_OK) {
		memcpy(params, opened, HANDSHAKE_PARAMS_BYTES);
		derive_keys(&noise, ret_keys->t_send, ret_keys->t_recv);
	}
	noise_wipe(&noise);
	sodium_memzero(opened, sizeof(opened));
	return verdict;
}

void handshake_attempt_wipe(struct handshake_attempt *attempt)
{
	sodium_memzero(attempt, sizeof(*attempt));
}

/* ---- responder --------------------------------------------------------------------------------------------------- */

bool handshake_init_mac1_ok(
	const struct handshake_self *self, const uint8_t bytes[HANDSHAKE_INIT_BYTES])
{
	return load_le32(bytes) == HANDSHAKE_WORD_INIT &&
	       mac1_ok(bytes, HANDSHAKE_INIT_AT_MAC1, self->mac1_key);
}

enum handshake_verdict handshake_init_open_static(const struct handshake_self *self,
	const uint8_t bytes[HANDSHAKE_INIT_BYTES], struct handshake_responder *responder,
	uint8_t peer_public[HANDSHAKE_KEY_BYTES])
{
	struct noise *noise = &responder->noise;
	enum handshake_verdict verdict = HANDSHAKE_BAD_POINT;

	begin(noise, bytes, self->public_key);
	mix_ephemeral(noise, bytes + AT_EPHEMERAL);
	if (!mix_dh(noise, self->private_key, bytes + AT_EPHEMERAL))
		goto wipe;
	verdict = HANDSHAKE_BAD_STATIC;
	if (!noise_open(noise, bytes + INIT_AT_STATIC, HANDSHAKE_KEY_BYTES, responder->s_initiator))
		goto wipe;
	memcpy(responder->e_initiator, bytes + AT_EPHEMERAL, HANDSHAKE_KEY_BYTES);
	memcpy(responder->sealed_params, bytes + INIT_AT_PARAMS, SEALED_PARAMS_BYTES);
	memcpy(responder->mac1, bytes + HANDSHAKE_INIT_AT_MAC1, HANDSHAKE_MAC_BYTES);
	responder->sender_index = load_le32(bytes + HANDSHAKE_AT_INDEX);
	memcpy(peer_public, responder->s_initiator, HANDSHAKE_KEY_BYTES);
	return HANDSHAKE_OK;

wipe:
	handshake_responder_wipe(responder);
	return verdict;
}

enum handshake_verdict handshake_init_open_params(struct handshake_responder *responder,
	const struct handshake_peer *peer, uint8_t params[HANDSHAKE_PARAMS_BYTES])
{
	uint8_t opened[HANDSHAKE_PARAMS_BYTES];
	enum handshake_verdict verdict = HANDSHAKE_BAD_PEER;

	if (crypto_verify_32(responder->s_initiator, peer->public_key) != 0)
		goto wipe;
	noise_mix_key(&responder->noise, peer->ss);
	verdict = HANDSHAKE_BAD_PARAMS;
	if (!noise_open(
		    &responder->noise, responder->sealed_params, HANDSHAKE_PARAMS_BYTES, opened))
		goto wipe;
	memcpy(params, opened, HANDSHAKE_PARAMS_BYTES);
	sodium_memzero(opened, sizeof(opened));
	return HANDSHAKE_OK;

wipe:
	handshake_responder_wipe(responder);
	return verdict;
}

/* Message 2 from an ephemeral key; writes all of RESP. */
static bool write_message_2(struct handshake_responder *responder,
	const struct handshake_peer *peer, const uint8_t params[HANDSHAKE_PARAMS_BYTES],
	const uint8_t e_private[HANDSHAKE_KEY_BYTES], uint8_t out[HANDSHAKE_RESP_BYTES])
{
	struct noise *noise = &responder->noise;

	store_le32(out, HANDSHAKE_WORD_RESP);
	store_le32(out + HANDSHAKE_AT_INDEX, responder->sender_index);
	noise_public(out + AT_EPHEMERAL, e_private);
	mix_ephemeral(noise, out + AT_EPHEMERAL);
	if (!mix_dh(noise, e_private, responder->e_initiator) ||
		!mix_dh(noise, e_private, responder->s_initiator))
		return false;
	noise_mix_key_and_hash(noise, peer->psk);
	noise_seal(noise, params, HANDSHAKE_PARAMS_BYTES, out + RESP_AT_PARAMS);
	handshake_mac(
		out + RESP_AT_MAC1, peer->mac1_key, sizeof(peer->mac1_key), out, RESP_AT_MAC1);
	return true;
}

enum handshake_verdict handshake_resp_write(struct handshake_responder *responder,
	const struct handshake_peer *peer, const uint8_t params[HANDSHAKE_PARAMS_BYTES],
	const struct rand_source *rnd, uint8_t out[HANDSHAKE_RESP_BYTES],
	struct handshake_keys *ret_keys)
{
	uint8_t e_private[HANDSHAKE_KEY_BYTES];

	rand_fill(rnd, e_private, sizeof(e_private));
	bool good = write_message_2(responder, peer, params, e_private, out);
	sodium_memzero(e_private, sizeof(e_private));
	if (good) {
		derive_keys(&responder->noise, ret_keys->t_recv, ret_keys->t_send);
	} else {
		memset(out, 0, HANDSHAKE_RESP_BYTES);
		handshake_keys_wipe(ret_keys);
	}
	handshake_responder_wipe(responder);
	return good ? HANDSHAKE_OK : HANDSHAKE_BAD_POINT;
}

void handshake_responder_wipe(struct handshake_responder *responder)
{
	sodium_memzero(responder, sizeof(*responder));
}
