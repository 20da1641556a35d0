/*
 * The FEC header of kcp-go's wire: it stands between the crypt header and the KCP segments of every packet once FEC
 * is on.
 *
 *     0      4      6      8
 *     seqid  type   size   payload            data and out-of-band packets
 *     seqid  type   parity ...                parity packets: code over size and payload of a group
 *
 * Little-endian. `size` counts itself: payload bytes + 2.
 */
#ifndef FEC_HEADER_H
#define FEC_HEADER_H

#include "core/endian.h"

#include <stddef.h>
#include <stdint.h>

enum {
	FEC_HEADER_SEQID_BYTES = 6, /* seqid and type: in front of what is coded */
	FEC_HEADER_SIZE_BYTES = 2,  /* the size field, itself coded */
	FEC_HEADER_BYTES = FEC_HEADER_SEQID_BYTES + FEC_HEADER_SIZE_BYTES,
	FEC_OVERHEAD_BYTES =
		FEC_HEADER_BYTES, /* what the layer adds to a datagram that carries data */

	FEC_TYPE_DATA = 0x00f1,
	FEC_TYPE_PARITY = 0x00f2,
	FEC_TYPE_OOB = 0x00f3, /* out of band: outside of every group, since kcp-go 5.6.60 */

	FEC_OOB_CONV_BYTES = 4, /* an out-of-band payload starts with the conversation's number */
	FEC_SHARDS_MAX = 256,	/* data + parity of a group: the field has no more points */
};

#define FEC_OOB_SEQID UINT32_C(0xffffffff)

/** Which behaviour of kcp-go to follow where its versions part. The bytes of a packet are the same in both. */
enum fec_profile {
	FEC_PROFILE_NEW, /* 5.6.72 */
	FEC_PROFILE_OLD, /* 5.6.1 */
};

/** What a decrypted payload is. */
enum fec_kind {
	FEC_KIND_NONE,	 /* no FEC header: KCP segments from the first byte on */
	FEC_KIND_DATA,	 /* payload is KCP segments */
	FEC_KIND_PARITY, /* for the decoder only */
	FEC_KIND_OOB,	 /* payload is the conversation's number and a message */
	FEC_KIND_BAD,	 /* says it has a FEC header, but is too short to hold it */
};

struct fec_header {
	uint32_t seqid;
	uint16_t type; /* FEC_TYPE_*, or anything for FEC_KIND_NONE */
	uint16_t
		size; /* as written; of no meaning in a parity packet. Not compared with the length */
	const uint8_t *
		payload; /* behind the size field, borrowed from the packet; NULL unless data or OOB */
	size_t payload_len; /* to the end of the packet, whatever `size` says, as kcp-go takes it */
};

/**
 * Tells a packet with a FEC header from raw KCP segments, whose bytes 4..5 (command and fragment) cannot take the
 * values of a type.
 *
 * @packet      a decrypted payload of `len` bytes, any length, hostile
 * @ret_header  set for DATA, PARITY and OOB; an OOB payload has at least FEC_OOB_CONV_BYTES
 * @return      what the packet is; shorter than 6 bytes is FEC_KIND_NONE
 */
enum fec_kind fec_header_parse(const uint8_t *packet, size_t len, struct fec_header *ret_header);

/** Writes seqid and type, FEC_HEADER_SEQID_BYTES, at `packet`. */
static inline void fec_header_write(uint8_t *packet, uint32_t seqid, uint16_t type)
{
	store_le32(packet, seqid);
	store_le16(packet + 4, type);
}

/**
 * Writes the header of an out-of-band packet: FEC_HEADER_BYTES and the conversation's number.
 *
 * @packet       room for FEC_HEADER_BYTES + FEC_OOB_CONV_BYTES; the message follows there
 * @message_len  bytes of the message, at most 65535 - 6
 * @return       length of the packet from the FEC header on
 */
size_t fec_header_write_oob(uint8_t *packet, uint32_t conv, size_t message_len);

/** The first sequence number that is not used: the largest multiple of the group's length below 2^32. @shards 2..256 */
static inline uint32_t fec_paws(unsigned shards)
{
	return UINT32_MAX / shards * shards;
}

#endif
