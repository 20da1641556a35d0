/*
 * The CRYPTO layer of the kcp-go wire: payloads into datagrams and back, in batches, in place.
 *
 *     checksum framing   nonce 16 | CRC-32 of the payload 4 | payload          all encrypted from
 * the first byte on AEAD framing       nonce 12 | sealed payload | tag 16 plain framing payload
 *
 * With checksum framing nobody is authenticated: whoever can write datagrams may alter them (bits
 * and checksum), replay them, or send back to us what we sent. What opens well is still input from
 * a stranger.
 *
 * Buffers: a packet needs packet_header_bytes() in front of its payload and packet_trailer_bytes()
 * behind it; the constants below cover every cipher. Bytes outside [packet, packet + len + trailer)
 * are neither read nor written, so packets may stand back to back in one buffer.
 */
#ifndef CRYPTO_PACKET_SEAL_H
#define CRYPTO_PACKET_SEAL_H

#include <stddef.h>
#include <stdint.h>

struct cipher;
struct rand_source;

enum {
	PACKET_HEADROOM_BYTES = 20, /* largest packet_header_bytes() */
	PACKET_TAILROOM_BYTES = 16, /* largest packet_trailer_bytes() */
};

struct packet_seal_item {
	uint8_t *packet; /* first byte of the datagram; the payload stands packet_header_bytes()
			    further on */
	size_t len;	 /* in: header and payload, at least packet_header_bytes(); out: the whole
			    datagram, that is      packet_trailer_bytes() more */
};

enum packet_open_verdict {
	PACKET_OPEN_OK,
	PACKET_OPEN_TOO_SHORT,	  /* cannot hold the crypt header (and tag), or empty */
	PACKET_OPEN_BAD_CHECKSUM, /* CRC or tag wrong: damaged, another key or cipher, or forged */
	PACKET_OPEN_VERDICTS,	  /* how many there are, for tables of counters */
};

struct packet_open_item {
	uint8_t *packet; /* in: the datagram; a null pointer is fine if len is 0 */
	size_t len;	 /* in: its bytes, any number */

	enum packet_open_verdict verdict; /* out */
	uint8_t *payload;		  /* out: inside `packet`; NULL unless PACKET_OPEN_OK */
	size_t payload_len; /* out: 0 or more: whether that is enough is for the layer above to say;
			       0 unless OK */
};

/** @return bytes of crypt header in front of the payload: 20, 12 (AEAD) or 0 (null) */
size_t packet_header_bytes(const struct cipher *cipher);

/** @return bytes behind the payload: 16 (AEAD) or 0 */
size_t packet_trailer_bytes(const struct cipher *cipher);

/**
 * Makes datagrams of payloads that stand in place: fills in nonce and checksum or tag, and
 * encrypts.
 *
 * @items  `count` packets, any number, each in memory of its own
 * @rnd    source of the nonces: good randomness, asked once for a batch of up to 64. With a nonce
 * repeated, salsa20 and AEAD ciphers give away what they hide. Never fails, does not allocate.
 */
void packet_seal(struct cipher *cipher, struct packet_seal_item *items, size_t count,
	const struct rand_source *rnd);

/**
 * Decrypts and judges datagrams in place, each for itself. The bytes of a datagram that was refused
 * are unspecified afterwards. Never fails, does not allocate.
 */
void packet_open(struct cipher *cipher, struct packet_open_item *items, size_t count);

#endif
