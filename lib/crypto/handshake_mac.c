/*
 * Cookies are made, never stored: a secret and the source address give the same cookie again, so a
 * flood of INITs fills no table. Two secrets are known, the current one and, for a while, the one
 * before it. COOKIE and REJECT are sealed with a random nonce of 24 bytes, so there is no counter to
 * lose under attack, and both are bound by mac1 to the INIT they answer: who has not seen that INIT
 * can forge neither, and who has seen it cannot forge a REJECT.
 *
 * Standards: RFC 7693 (BLAKE2); draft-irtf-cfrg-xchacha-03 (XChaCha20-Poly1305).
 */
#include "crypto/handshake_mac.h"

#include "core/endian.h"
#include "core/rand.h"
#include "kcpvpn/endpoint.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

enum {
	/* COOKIE and REJECT: word, index, nonce, 16 sealed bytes. */
	AT_NONCE = 8,
	AT_SEALED = AT_NONCE + 24,
	SEALED_BYTES = 16,

	LABEL_BYTES = 16,
	US_PER_S = 1000000,
};

_Static_assert((int)crypto_aead_xchacha20poly1305_ietf_NPUBBYTES == AT_SEALED - AT_NONCE, "nonce");
_Static_assert((int)HANDSHAKE_COOKIE_BYTES ==
		       AT_SEALED + SEALED_BYTES + crypto_aead_xchacha20poly1305_ietf_ABYTES,
	"COOKIE as specified");
_Static_assert((int)HANDSHAKE_REJECT_BYTES == (int)HANDSHAKE_COOKIE_BYTES, "REJECT as specified");
_Static_assert((int)HANDSHAKE_INIT_AT_MAC2 + HANDSHAKE_MAC_BYTES == (int)HANDSHAKE_INIT_BYTES,
	"mac2 is last");

/* ---- building blocks --------------------------------------------------------------------------------------------- */

void handshake_hash(uint8_t out[HANDSHAKE_KEY_BYTES], const uint8_t *key, size_t key_len,
	const char *label, const uint8_t *bytes, size_t len)
{
	crypto_generichash_blake2b_state state;
	uint8_t padded[LABEL_BYTES] = {0};
	size_t label_len = strlen(label);

	assert(label_len <= sizeof(padded));
	memcpy(padded, label, label_len);
	crypto_generichash_blake2b_init(
		&state, key_len > 0 ? key : NULL, key_len, HANDSHAKE_KEY_BYTES);
	crypto_generichash_blake2b_update(&state, padded, sizeof(padded));
	crypto_generichash_blake2b_update(&state, bytes, len);
	crypto_generichash_blake2b_final(&state, out, HANDSHAKE_KEY_BYTES);
	sodium_memzero(&state, sizeof(state));
}

void handshake_mac(uint8_t out[HANDSHAKE_MAC_BYTES], const uint8_t *key, size_t key_len,
	const uint8_t *bytes, size_t len)
{
	crypto_generichash_blake2b(out, HANDSHAKE_MAC_BYTES, bytes, len, key, key_len);
}

/* The frame of COOKIE and REJECT around 16 bytes. */
static void write_sealed(uint8_t *out, uint32_t word, uint32_t index,
	const uint8_t plain[SEALED_BYTES], const uint8_t mac1[HANDSHAKE_MAC_BYTES],
	const uint8_t key[HANDSHAKE_KEY_BYTES], const struct rand_source *rnd)
{
	store_le32(out, word);
	store_le32(out + HANDSHAKE_AT_INDEX, index);
	rand_fill(rnd, out + AT_NONCE, AT_SEALED - AT_NONCE);
	crypto_aead_xchacha20poly1305_ietf_encrypt(out + AT_SEALED, NULL, plain, SEALED_BYTES, mac1,
		HANDSHAKE_MAC_BYTES, NULL, out + AT_NONCE, key);
}

static enum handshake_verdict check_header(
	const struct handshake_attempt *attempt, const uint8_t *bytes, uint32_t word)
{
	if (load_le32(bytes) != word)
		return HANDSHAKE_BAD_WORD;
	if (load_le32(bytes + HANDSHAKE_AT_INDEX) != attempt->sender_index)
		return HANDSHAKE_BAD_INDEX;
	return HANDSHAKE_OK;
}

static bool read_sealed(const uint8_t *bytes, uint8_t plain[SEALED_BYTES],
	const uint8_t mac1[HANDSHAKE_MAC_BYTES], const uint8_t key[HANDSHAKE_KEY_BYTES])
{
	return crypto_aead_xchacha20poly1305_ietf_decrypt(plain, NULL, NULL, bytes + AT_SEALED,
		       SEALED_BYTES + crypto_aead_xchacha20poly1305_ietf_ABYTES, mac1,
		       HANDSHAKE_MAC_BYTES, bytes + AT_NONCE, key) == 0;
}

/* ---- cookies ----------------------------------------------------------------------------------------------------- */

void handshake_cookie_of(const uint8_t secret[HANDSHAKE_KEY_BYTES],
	const struct kcpvpn_endpoint *from, uint8_t cookie[HANDSHAKE_MAC_BYTES])
{
	uint8_t bytes[1 + sizeof(from->address) + 2];
	size_t address_len = from->family == 4 ? 4 : sizeof(from->address);

	bytes[0] = from->family;
	memcpy(bytes + 1, from->address, address_len);
	store_le16(bytes + 1 + address_len, from->port);
	handshake_mac(cookie, secret, HANDSHAKE_KEY_BYTES, bytes, 1 + address_len + 2);
}

static bool renewal_due(const struct handshake_cookies *cookies, struct mono now)
{
	return mono_diff_us(now, cookies->renewed_at) >=
	       (int64_t)HANDSHAKE_COOKIE_RENEW_S * US_PER_S;
}

/* Only a secret that was in use until now has a time of grace: after a pause nobody holds its
 * cookies. */
static void renew(struct handshake_cookies *cookies, struct mono now, const struct rand_source *rnd)
{
	int64_t grace_us =
		(int64_t)(HANDSHAKE_COOKIE_RENEW_S + HANDSHAKE_COOKIE_GRACE_S) * US_PER_S;

	cookies->has_previous =
		cookies->has_current && mono_diff_us(now, cookies->renewed_at) < grace_us;
	if (cookies->has_previous)
		memcpy(cookies->previous, cookies->current, sizeof(cookies->previous));
	else
		sodium_memzero(cookies->previous, sizeof(cookies->previous));
	rand_fill(rnd, cookies->current, sizeof(cookies->current));
	cookies->has_current = true;
	cookies->renewed_at = now;
}

void handshake_cookies_make(struct handshake_cookies *cookies, const struct kcpvpn_endpoint *from,
	struct mono now, const struct rand_source *rnd, uint8_t cookie[HANDSHAKE_MAC_BYTES])
{
	if (!cookies->has_current || renewal_due(cookies, now))
		renew(cookies, now, rnd);
	handshake_cookie_of(cookies->current, from, cookie);
}

static bool mac2_is(const uint8_t bytes[HANDSHAKE_INIT_BYTES],
	const uint8_t secret[HANDSHAKE_KEY_BYTES], const struct kcpvpn_endpoint *from)
{
	uint8_t cookie[HANDSHAKE_MAC_BYTES], want[HANDSHAKE_MAC_BYTES];

	handshake_cookie_of(secret, from, cookie);
	handshake_mac(want, cookie, sizeof(cookie), bytes, HANDSHAKE_INIT_AT_MAC2);
	sodium_memzero(cookie, sizeof(cookie));
	return crypto_verify_16(want, bytes + HANDSHAKE_INIT_AT_MAC2) == 0;
}

bool handshake_cookies_mac2_ok(const struct handshake_cookies *cookies,
	const uint8_t bytes[HANDSHAKE_INIT_BYTES], const struct kcpvpn_endpoint *from,
	struct mono now)
{
	int64_t age_us = mono_diff_us(now, cookies->renewed_at);

	if (!cookies->has_current ||
		sodium_is_zero(bytes + HANDSHAKE_INIT_AT_MAC2, HANDSHAKE_MAC_BYTES))
		return false;
	if (age_us < (int64_t)(HANDSHAKE_COOKIE_RENEW_S + HANDSHAKE_COOKIE_GRACE_S) * US_PER_S &&
		mac2_is(bytes, cookies->current, from))
		return true;
	return cookies->has_previous && age_us < (int64_t)HANDSHAKE_COOKIE_GRACE_S * US_PER_S &&
	       mac2_is(bytes, cookies->previous, from);
}

void handshake_cookies_wipe(struct handshake_cookies *cookies)
{
	sodium_memzero(cookies, sizeof(*cookies));
}

void handshake_cookie_write(const struct handshake_self *self,
	const uint8_t init[HANDSHAKE_INIT_BYTES], const uint8_t cookie[HANDSHAKE_MAC_BYTES],
	const struct rand_source *rnd, uint8_t out[HANDSHAKE_COOKIE_BYTES])
{
	write_sealed(out, HANDSHAKE_WORD_COOKIE, load_le32(init + HANDSHAKE_AT_INDEX), cookie,
		init + HANDSHAKE_INIT_AT_MAC1, self->cookie_key, rnd);
}

enum handshake_verdict handshake_cookie_open(const struct handshake_attempt *attempt,
	const struct handshake_peer *peer, const uint8_t bytes[HANDSHAKE_COOKIE_BYTES],
	uint8_t cookie[HANDSHAKE_MAC_BYTES])
{
	uint8_t plain[SEALED_BYTES];
	enum handshake_verdict verdict = check_header(attempt, bytes, HANDSHAKE_WORD_COOKIE);

	if (verdict != HANDSHAKE_OK)
		return verdict;
	if (!read_sealed(bytes, plain, attempt->mac1, peer->cookie_key))
		return HANDSHAKE_BAD_COOKIE;
	memcpy(cookie, plain, HANDSHAKE_MAC_BYTES);
	sodium_memzero(plain, sizeof(plain));
	return HANDSHAKE_OK;
}

/* ---- REJECT ------------------------------------------------------------------------------------------------------ */

/* Bound to all secrets of message 1, so to both static keys. */
static void reject_key(uint8_t out[HANDSHAKE_KEY_BYTES], const struct noise *after_message_1)
{
	handshake_hash(out, after_message_1->ck, NOISE_HASH_BYTES, "vpnd1 reject", NULL, 0);
}

void handshake_reject_write(const struct handshake_responder *responder,
	const struct handshake_reject *reject, const struct rand_source *rnd,
	uint8_t out[HANDSHAKE_REJECT_BYTES])
{
	uint8_t key[HANDSHAKE_KEY_BYTES];
	uint8_t plain[SEALED_BYTES] = {0};

	store_le64(plain, reject->last_seq);
	plain[8] = reject->reason;
	reject_key(key, &responder->noise);
	write_sealed(out, HANDSHAKE_WORD_REJECT, responder->sender_index, plain, responder->mac1,
		key, rnd);
	sodium_memzero(key, sizeof(key));
}

enum handshake_verdict handshake_reject_open(const struct handshake_attempt *attempt,
	const uint8_t bytes[HANDSHAKE_REJECT_BYTES], struct handshake_reject *ret_reject)
{
	uint8_t key[HANDSHAKE_KEY_BYTES];
	uint8_t plain[SEALED_BYTES];
	enum handshake_verdict verdict = check_header(attempt, bytes, HANDSHAKE_WORD_REJECT);

	if (verdict != HANDSHAKE_OK)
		return verdict;
	reject_key(key, &attempt->noise);
	bool good = read_sealed(bytes, plain, attempt->mac1, key);
	sodium_memzero(key, sizeof(key));
	if (!good)
		return HANDSHAKE_BAD_REJECT;
	*ret_reject = (struct handshake_reject){load_le64(plain), plain[8]};
	return HANDSHAKE_OK;
}
