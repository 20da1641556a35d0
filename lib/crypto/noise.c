/*
 * A chaining key collects every secret of the handshake, a hash every public byte. Each mixing of a
 * secret gives a new chaining key and a new cipher key, so a message can be opened only by who knows
 * all secrets so far, and only in this transcript.
 *
 * HKDF is built on HMAC with BLAKE2b (block of 128 bytes, hash of 64), as Noise wants it, and not on
 * BLAKE2b's own keyed mode.
 *
 * Invariants: a cipher key lives from one mixing to the next; its nonce starts at 0 with each.
 * Everything secret that a function puts on its stack is wiped before it returns.
 *
 * Standards: Noise revision 34, sections 4.3, 5.1, 5.2; RFC 2104 (HMAC); RFC 5869 (HKDF); RFC 7693
 * (BLAKE2); RFC 7748 (X25519); RFC 8439 (ChaCha20-Poly1305).
 */
#include "crypto/noise.h"

#include "core/endian.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

enum {
	HMAC_BLOCK_BYTES = 128,
};

static const char protocol_name[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b";

_Static_assert(sizeof(protocol_name) - 1 <= NOISE_HASH_BYTES, "the name is used unhashed");
_Static_assert((int)NOISE_KEY_BYTES == (int)crypto_scalarmult_BYTES, "X25519");
_Static_assert((int)NOISE_KEY_BYTES == (int)crypto_scalarmult_SCALARBYTES, "X25519");
_Static_assert((int)NOISE_KEY_BYTES == (int)crypto_aead_chacha20poly1305_ietf_KEYBYTES, "key");
_Static_assert((int)NOISE_TAG_BYTES == (int)crypto_aead_chacha20poly1305_ietf_ABYTES, "tag");
_Static_assert((int)NOISE_HASH_BYTES == (int)crypto_generichash_blake2b_BYTES_MAX, "BLAKE2b-512");

/* ---- X25519 ------------------------------------------------------------------------------------------------------ */

bool noise_dh(uint8_t shared[NOISE_KEY_BYTES], const uint8_t private_key[NOISE_KEY_BYTES],
	const uint8_t public_key[NOISE_KEY_BYTES])
{
	/* libsodium refuses points of small order by their encoding; the result is looked at too,
	 * so that no version of it is trusted with this. */
	if (crypto_scalarmult(shared, private_key, public_key) == 0 &&
		!sodium_is_zero(shared, NOISE_KEY_BYTES))
		return true;
	sodium_memzero(shared, NOISE_KEY_BYTES);
	return false;
}

void noise_public(uint8_t public_key[NOISE_KEY_BYTES], const uint8_t private_key[NOISE_KEY_BYTES])
{
	crypto_scalarmult_base(public_key, private_key);
}

/* ---- hashes ------------------------------------------------------------------------------------------------------ */

struct bytes {
	const uint8_t *at;
	size_t len;
};

static void hash_parts(
	uint8_t out[NOISE_HASH_BYTES], struct bytes a, struct bytes b, struct bytes c)
{
	crypto_generichash_blake2b_state state;

	crypto_generichash_blake2b_init(&state, NULL, 0, NOISE_HASH_BYTES);
	crypto_generichash_blake2b_update(&state, a.at, a.len);
	crypto_generichash_blake2b_update(&state, b.at, b.len);
	crypto_generichash_blake2b_update(&state, c.at, c.len);
	crypto_generichash_blake2b_final(&state, out, NOISE_HASH_BYTES);
	sodium_memzero(&state, sizeof(state));
}

/* HMAC(key; a || b), with a key of NOISE_HASH_BYTES. `out` may be any of the inputs. */
static void hmac(uint8_t out[NOISE_HASH_BYTES], const uint8_t key[NOISE_HASH_BYTES], struct bytes a,
	struct bytes b)
{
	uint8_t pad[HMAC_BLOCK_BYTES];
	uint8_t inner[NOISE_HASH_BYTES];

	memset(pad, 0x36, sizeof(pad));
	for (size_t i = 0; i < NOISE_HASH_BYTES; i++)
		pad[i] ^= key[i];
	hash_parts(inner, (struct bytes){pad, sizeof(pad)}, a, b);
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36 ^ 0x5c;
	hash_parts(out, (struct bytes){pad, sizeof(pad)}, (struct bytes){inner, sizeof(inner)},
		(struct bytes){NULL, 0});
	sodium_memzero(pad, sizeof(pad));
	sodium_memzero(inner, sizeof(inner));
}

/* Noise's HKDF with `count` (2 or 3) outputs, one after the other in `out`. */
static void hkdf(uint8_t *out, unsigned count, const uint8_t ck[NOISE_HASH_BYTES],
	const uint8_t *input, size_t len)
{
	uint8_t temp[NOISE_HASH_BYTES];
	struct bytes before = {NULL, 0};

	hmac(temp, ck, (struct bytes){input, len}, (struct bytes){NULL, 0});
	for (unsigned i = 0; i < count; i++) {
		uint8_t number = (uint8_t)(i + 1);
		hmac(out + (size_t)i * NOISE_HASH_BYTES, temp, before, (struct bytes){&number, 1});
		before = (struct bytes){out + (size_t)i * NOISE_HASH_BYTES, NOISE_HASH_BYTES};
	}
	sodium_memzero(temp, sizeof(temp));
}

/* ---- symmetric state --------------------------------------------------------------------------------------------- */

void noise_init(struct noise *noise, const uint8_t *prologue, size_t len,
	const uint8_t responder_public[NOISE_KEY_BYTES])
{
	memset(noise, 0, sizeof(*noise));
	memcpy(noise->h, protocol_name, sizeof(protocol_name) - 1);
	memcpy(noise->ck, noise->h, NOISE_HASH_BYTES);
	noise_mix_hash(noise, prologue, len);
	noise_mix_hash(noise, responder_public, NOISE_KEY_BYTES);
}

void noise_wipe(struct noise *noise)
{
	sodium_memzero(noise, sizeof(*noise));
}

void noise_mix_hash(struct noise *noise, const uint8_t *bytes, size_t len)
{
	hash_parts(noise->h, (struct bytes){noise->h, NOISE_HASH_BYTES}, (struct bytes){bytes, len},
		(struct bytes){NULL, 0});
}

static void set_key(struct noise *noise, const uint8_t key[NOISE_KEY_BYTES])
{
	memcpy(noise->key, key, NOISE_KEY_BYTES);
	noise->nonce = 0;
	noise->has_key = true;
}

void noise_mix_key(struct noise *noise, const uint8_t input[NOISE_KEY_BYTES])
{
	uint8_t out[2 * NOISE_HASH_BYTES];

	hkdf(out, 2, noise->ck, input, NOISE_KEY_BYTES);
	memcpy(noise->ck, out, NOISE_HASH_BYTES);
	set_key(noise, out + NOISE_HASH_BYTES);
	sodium_memzero(out, sizeof(out));
}

void noise_mix_key_and_hash(struct noise *noise, const uint8_t psk[NOISE_KEY_BYTES])
{
	uint8_t out[3 * NOISE_HASH_BYTES];

	hkdf(out, 3, noise->ck, psk, NOISE_KEY_BYTES);
	memcpy(noise->ck, out, NOISE_HASH_BYTES);
	noise_mix_hash(noise, out + NOISE_HASH_BYTES, NOISE_HASH_BYTES);
	set_key(noise, out + 2 * NOISE_HASH_BYTES);
	sodium_memzero(out, sizeof(out));
}

static void nonce_bytes(uint8_t out[crypto_aead_chacha20poly1305_ietf_NPUBBYTES], uint64_t nonce)
{
	memset(out, 0, 4);
	store_le64(out + 4, nonce);
}

void noise_seal(struct noise *noise, const uint8_t *plain, size_t len, uint8_t *sealed)
{
	uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];

	assert(noise->has_key);
	nonce_bytes(nonce, noise->nonce);
	crypto_aead_chacha20poly1305_ietf_encrypt(
		sealed, NULL, plain, len, noise->h, NOISE_HASH_BYTES, NULL, nonce, noise->key);
	noise->nonce++;
	noise_mix_hash(noise, sealed, len + NOISE_TAG_BYTES);
}

bool noise_open(struct noise *noise, const uint8_t *sealed, size_t len, uint8_t *plain)
{
	uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];

	assert(noise->has_key);
	nonce_bytes(nonce, noise->nonce);
	if (crypto_aead_chacha20poly1305_ietf_decrypt(plain, NULL, NULL, sealed,
		    len + NOISE_TAG_BYTES, noise->h, NOISE_HASH_BYTES, nonce, noise->key) != 0) {
		if (len > 0)
			memset(plain, 0, len);
		return false;
	}
	noise->nonce++;
	noise_mix_hash(noise, sealed, len + NOISE_TAG_BYTES);
	return true;
}

void noise_split(const struct noise *noise, uint8_t initiator_sends[NOISE_KEY_BYTES],
	uint8_t responder_sends[NOISE_KEY_BYTES])
{
	uint8_t out[2 * NOISE_HASH_BYTES];

	hkdf(out, 2, noise->ck, NULL, 0);
	memcpy(initiator_sends, out, NOISE_KEY_BYTES);
	memcpy(responder_sends, out + NOISE_HASH_BYTES, NOISE_KEY_BYTES);
	sodium_memzero(out, sizeof(out));
}
