/*
 * The framing is decided once a batch, and each has its two loops. Nonces for a batch are drawn in one call: a call to
 * the kernel's generator costs more than the bytes it gives.
 *
 * The checksum covers the payload only, not the nonce, and is itself encrypted. It says nothing against an attacker:
 * CRC is linear, and none of the ciphers with this framing hides a flipped bit from it that was chosen well.
 */
#include "crypto/packet_seal.h"

#include "core/endian.h"
#include "core/rand.h"
#include "crypto/cipher.h"
#include "crypto/crc32.h"

#include <assert.h>
#include <string.h>

enum {
	CHECKSUM_NONCE_BYTES = 16,
	CHECKSUM_HEADER_BYTES = CHECKSUM_NONCE_BYTES + 4,
	NONCES_AT_ONCE = 64,
	TOGETHER =
		16, /* datagrams given to the cipher at once: more leave the first cache before they are done with */
};

_Static_assert(
	(int)PACKET_HEADROOM_BYTES == (int)CHECKSUM_HEADER_BYTES, "headroom of every framing");
_Static_assert(
	(int)PACKET_HEADROOM_BYTES >= (int)CIPHER_AEAD_NONCE_BYTES, "headroom of every framing");
_Static_assert(
	(int)PACKET_TAILROOM_BYTES == (int)CIPHER_AEAD_TAG_BYTES, "tailroom of every framing");

size_t packet_header_bytes(const struct cipher *cipher)
{
	switch (cipher_framing_of(cipher)) {
	case CIPHER_FRAMING_PLAIN:
		return 0;
	case CIPHER_FRAMING_CHECKSUM:
		return CHECKSUM_HEADER_BYTES;
	case CIPHER_FRAMING_AEAD:
		return CIPHER_AEAD_NONCE_BYTES;
	}
	return 0;
}

size_t packet_trailer_bytes(const struct cipher *cipher)
{
	return cipher_framing_of(cipher) == CIPHER_FRAMING_AEAD ? CIPHER_AEAD_TAG_BYTES : 0;
}

/* ---- sealing ----------------------------------------------------------------------------------------------------- */

static void checksum_write(struct packet_seal_item *item, const uint8_t *nonce)
{
	uint8_t *packet = item->packet;

	assert(item->len >= CHECKSUM_HEADER_BYTES);
	memcpy(packet, nonce, CHECKSUM_NONCE_BYTES);
	store_le32(packet + CHECKSUM_NONCE_BYTES,
		crc32_of(packet + CHECKSUM_HEADER_BYTES, item->len - CHECKSUM_HEADER_BYTES));
}

static void checksum_seal(
	struct cipher *cipher, struct packet_seal_item *items, size_t count, const uint8_t *nonces)
{
	struct cipher_text texts[TOGETHER];

	while (count > 0) {
		size_t some = count < TOGETHER ? count : TOGETHER;
		for (size_t i = 0; i < some; i++) {
			checksum_write(&items[i], nonces + i * CHECKSUM_NONCE_BYTES);
			texts[i] = (struct cipher_text){items[i].packet, items[i].len};
		}
		cipher_encrypt_all(cipher, texts, some);
		items += some;
		nonces += some * CHECKSUM_NONCE_BYTES;
		count -= some;
	}
}

static void aead_seal(struct cipher *cipher, struct packet_seal_item *item, const uint8_t *nonce)
{
	uint8_t *packet = item->packet;

	assert(item->len >= CIPHER_AEAD_NONCE_BYTES);
	memcpy(packet, nonce, CIPHER_AEAD_NONCE_BYTES);
	cipher_aead_seal(cipher, packet, packet + CIPHER_AEAD_NONCE_BYTES,
		item->len - CIPHER_AEAD_NONCE_BYTES, packet + item->len);
	item->len += CIPHER_AEAD_TAG_BYTES;
}

void packet_seal(struct cipher *cipher, struct packet_seal_item *items, size_t count,
	const struct rand_source *rnd)
{
	enum cipher_framing framing = cipher_framing_of(cipher);
	uint8_t nonces[NONCES_AT_ONCE * CHECKSUM_NONCE_BYTES];

	if (framing == CIPHER_FRAMING_PLAIN)
		return;
	size_t nonce_bytes = framing == CIPHER_FRAMING_AEAD ? (size_t)CIPHER_AEAD_NONCE_BYTES
							    : (size_t)CHECKSUM_NONCE_BYTES;
	while (count > 0) {
		size_t some = count < NONCES_AT_ONCE ? count : NONCES_AT_ONCE;
		rand_fill(rnd, nonces, some * nonce_bytes);
		if (framing == CIPHER_FRAMING_CHECKSUM)
			checksum_seal(cipher, items, some, nonces);
		else
			for (size_t i = 0; i < some; i++)
				aead_seal(cipher, &items[i], nonces + i * nonce_bytes);
		items += some;
		count -= some;
	}
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* Those that are too short stay as they are. */
static void checksum_decrypt(
	struct cipher *cipher, const struct packet_open_item *items, size_t count)
{
	struct cipher_text texts[TOGETHER];
	size_t n = 0;

	for (size_t i = 0; i < count; i++)
		if (items[i].len >= CHECKSUM_HEADER_BYTES)
			texts[n++] = (struct cipher_text){items[i].packet, items[i].len};
	cipher_decrypt_all(cipher, texts, n);
}

static enum packet_open_verdict checksum_open(const uint8_t *packet, size_t payload_len)
{
	uint32_t want = load_le32(packet + CHECKSUM_NONCE_BYTES);
	return crc32_of(packet + CHECKSUM_HEADER_BYTES, payload_len) == want
		       ? PACKET_OPEN_OK
		       : PACKET_OPEN_BAD_CHECKSUM;
}

static enum packet_open_verdict aead_open(
	struct cipher *cipher, uint8_t *packet, size_t len, size_t payload_len)
{
	return cipher_aead_open(cipher, packet, packet + CIPHER_AEAD_NONCE_BYTES, payload_len,
		       packet + len - CIPHER_AEAD_TAG_BYTES)
		       ? PACKET_OPEN_OK
		       : PACKET_OPEN_BAD_CHECKSUM;
}

void packet_open(struct cipher *cipher, struct packet_open_item *items, size_t count)
{
	enum cipher_framing framing = cipher_framing_of(cipher);
	size_t header = packet_header_bytes(cipher);
	size_t overhead = header + packet_trailer_bytes(cipher);

	for (struct packet_open_item *item = items; item < items + count; item++) {
		size_t left = (size_t)(items + count - item);
		if (framing == CIPHER_FRAMING_CHECKSUM && (item - items) % TOGETHER == 0)
			checksum_decrypt(cipher, item, left < TOGETHER ? left : TOGETHER);
		item->payload = NULL;
		item->payload_len = 0;
		if (item->len < overhead || item->len == 0) {
			item->verdict = PACKET_OPEN_TOO_SHORT;
			continue;
		}
		size_t payload_len = item->len - overhead;
		switch (framing) {
		case CIPHER_FRAMING_PLAIN:
			item->verdict = PACKET_OPEN_OK;
			break;
		case CIPHER_FRAMING_CHECKSUM:
			item->verdict = checksum_open(item->packet, payload_len);
			break;
		case CIPHER_FRAMING_AEAD:
			item->verdict = aead_open(cipher, item->packet, item->len, payload_len);
			break;
		}
		if (item->verdict == PACKET_OPEN_OK) {
			item->payload = item->packet + header;
			item->payload_len = payload_len;
		}
	}
}
