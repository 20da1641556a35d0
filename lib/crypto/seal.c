/*
 * Block 0 of the key stream gives the Poly1305 key, blocks 1 and up encrypt. One stream call makes
 * both, over 64 zeros and the payload, rounded up to 256 bytes: libsodium's vector code works on four
 * or eight blocks at once and is slow with what is left over. The call works in a scratch buffer of
 * this file's own. That costs a copy, some 3 % of a datagram of 1400 bytes, and buys that nothing
 * around a datagram is touched and that no byte of plaintext exists outside this file before its tag
 * was found good. What does not fit the scratch buffer goes in place, by a second call that starts at
 * the next block.
 *
 * The header has a fixed size, so header || ciphertext under Poly1305 needs neither lengths nor
 * padding to be unambiguous.
 *
 * Standards: Salsa20 (Bernstein, "The Salsa20 family of stream ciphers"); RFC 8439 section 2.5
 * (Poly1305); the composition is NaCl's secretbox with the header authenticated in addition.
 */
#include "crypto/seal.h"

#include "core/endian.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum {
	WORD_DATA = 0x010c,
	AT_INDEX = 4,
	AT_COUNTER = 8,
	BLOCK_BYTES = 64,
	ROUND_BYTES = 256,
	SCRATCH_BYTES = 2048, /* holds what fits a path of 1500 */
	SCRATCH_PAYLOAD_BYTES = SCRATCH_BYTES - BLOCK_BYTES,
};

_Static_assert((int)SEAL_KEY_BYTES == (int)crypto_stream_salsa20_KEYBYTES, "Salsa20");
_Static_assert(crypto_stream_salsa20_NONCEBYTES == sizeof(uint64_t), "the counter is the nonce");
_Static_assert((int)SEAL_TAG_BYTES == (int)crypto_onetimeauth_poly1305_BYTES, "Poly1305");
_Static_assert(SCRATCH_BYTES % ROUND_BYTES == 0, "rounding stays inside");

struct scratch {
	_Alignas(64) uint8_t bytes[SCRATCH_BYTES];
};

/* ---- stream ------------------------------------------------------------------------------------------------------ */

/* Makes block 0 (first in the scratch buffer) and the payload's beginning XOR blocks 1 ... behind it.
 * Returns how much of the payload that covers. */
static size_t stream_head(struct scratch *scratch, const uint8_t *payload, size_t len,
	const uint8_t *nonce, const uint8_t *key)
{
	size_t head = len < SCRATCH_PAYLOAD_BYTES ? len : SCRATCH_PAYLOAD_BYTES;
	size_t whole = (BLOCK_BYTES + head + ROUND_BYTES - 1) / ROUND_BYTES * ROUND_BYTES;

	memset(scratch->bytes, 0, BLOCK_BYTES);
	memcpy(scratch->bytes + BLOCK_BYTES, payload, head);
	/* The stream runs over what is behind it too, and nobody reads that; but it has to have a
	 * value. */
	memset(scratch->bytes + BLOCK_BYTES + head, 0, whole - BLOCK_BYTES - head);
	crypto_stream_salsa20_xor(scratch->bytes, scratch->bytes, whole, nonce, key);
	return head;
}

/* The rest of the payload, in place. */
static void stream_rest(
	uint8_t *payload, size_t head, size_t len, const uint8_t *nonce, const uint8_t *key)
{
	if (len > head)
		crypto_stream_salsa20_xor_ic(payload + head, payload + head, len - head, nonce,
			SCRATCH_BYTES / BLOCK_BYTES, key);
}

/* ---- sealing ----------------------------------------------------------------------------------------------------- */

void seal_key_init(struct seal_key *seal, const uint8_t key[SEAL_KEY_BYTES])
{
	memcpy(seal->key, key, SEAL_KEY_BYTES);
	seal->counter_min = 0;
}

void seal_key_wipe(struct seal_key *seal)
{
	/* Nothing may be sealed with what is left. */
	sodium_memzero(seal, sizeof(*seal));
	seal->counter_min = SEAL_COUNTER_END;
}

static enum seal_verdict seal_judge(const struct seal_item *item)
{
	if (item->len > SEAL_PAYLOAD_MAX)
		return SEAL_BAD_SIZE;
	if (item->counter >= SEAL_COUNTER_END)
		return SEAL_BAD_COUNTER;
	if (item->counter < item->key->counter_min) {
		if (SEAL_ABORTS_ON_REUSE)
			abort();
		return SEAL_REUSED;
	}
	return SEAL_OK;
}

static void seal_one(struct seal_item *item, struct scratch *scratch)
{
	item->verdict = seal_judge(item);
	if (item->verdict == SEAL_BAD_SIZE)
		return;
	uint8_t *datagram = item->payload - SEAL_HEADER_BYTES;
	const uint8_t *nonce = datagram + AT_COUNTER;
	if (item->verdict != SEAL_OK) {
		memset(datagram, 0, item->len + SEAL_OVERHEAD_BYTES);
		return;
	}
	item->key->counter_min = item->counter + 1;
	store_le32(datagram, WORD_DATA);
	store_le32(datagram + AT_INDEX, item->receiver_index);
	store_le64(datagram + AT_COUNTER, item->counter);

	size_t head = stream_head(scratch, item->payload, item->len, nonce, item->key->key);
	memcpy(item->payload, scratch->bytes + BLOCK_BYTES, head);
	stream_rest(item->payload, head, item->len, nonce, item->key->key);
	crypto_onetimeauth_poly1305(
		item->payload + item->len, datagram, SEAL_HEADER_BYTES + item->len, scratch->bytes);
}

void seal_batch(struct seal_item *items, size_t count)
{
	struct scratch scratch;

	for (size_t i = 0; i < count; i++)
		seal_one(&items[i], &scratch);
	if (count > 0)
		sodium_memzero(&scratch, sizeof(scratch));
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

enum seal_verdict seal_header_read(
	const uint8_t *datagram, size_t len, struct seal_header *ret_header)
{
	if (len < SEAL_DATAGRAM_MIN || len > SEAL_DATAGRAM_MAX)
		return SEAL_BAD_SIZE;
	if (load_le32(datagram) != WORD_DATA)
		return SEAL_BAD_WORD;
	uint64_t counter = load_le64(datagram + AT_COUNTER);
	if (counter >= SEAL_COUNTER_END)
		return SEAL_BAD_COUNTER;
	*ret_header = (struct seal_header){load_le32(datagram + AT_INDEX), counter};
	return SEAL_OK;
}

static void open_one(struct open_item *item, struct scratch *scratch)
{
	item->payload = NULL;
	item->payload_len = 0;
	item->verdict = SEAL_BAD_SIZE;
	if (item->len < SEAL_DATAGRAM_MIN || item->len > SEAL_DATAGRAM_MAX)
		return;

	uint8_t tag[SEAL_TAG_BYTES];
	uint8_t *payload = item->datagram + SEAL_HEADER_BYTES;
	size_t len = item->len - SEAL_OVERHEAD_BYTES;
	const uint8_t *nonce = item->datagram + AT_COUNTER;
	size_t head = stream_head(scratch, payload, len, nonce, item->key);

	item->verdict = SEAL_BAD_TAG;
	crypto_onetimeauth_poly1305(tag, item->datagram, SEAL_HEADER_BYTES + len, scratch->bytes);
	if (crypto_verify_16(tag, payload + len) != 0)
		return;
	memcpy(payload, scratch->bytes + BLOCK_BYTES, head);
	stream_rest(payload, head, len, nonce, item->key);
	item->verdict = SEAL_OK;
	item->payload = payload;
	item->payload_len = len;
}

void open_batch(struct open_item *items, size_t count)
{
	struct scratch scratch;

	for (size_t i = 0; i < count; i++)
		open_one(&items[i], &scratch);
	if (count > 0)
		sodium_memzero(&scratch, sizeof(scratch));
}
