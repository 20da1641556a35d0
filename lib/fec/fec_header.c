/*
 * The FEC header of kcp-go. Whether a decrypted payload has one is told by its bytes 4..5 alone: there is no flag in
 * the layers outside, and both kinds may come at any time on one session.
 *
 * The size field is not held against the length of the packet. kcp-go does not look at it in data packets that arrive,
 * it only trusts it in rebuilt ones, where the zero filling has to be cut off. A parity packet has no size field: the
 * two bytes there are code.
 */
#include "fec/fec_header.h"

#include "core/wire.h"

#include <assert.h>

_Static_assert(FEC_HEADER_BYTES == 8, "the wire's header");

enum fec_kind fec_header_parse(const uint8_t *packet, size_t len, struct fec_header *ret_header)
{
	struct wire wire = wire_of(packet, len);
	uint32_t seqid = wire_le32(&wire);
	uint16_t type = wire_le16(&wire);
	uint16_t size = wire_le16(&wire);
	bool whole = wire_ok(&wire);

	if (len < FEC_HEADER_SEQID_BYTES)
		return FEC_KIND_NONE;
	if (type != FEC_TYPE_DATA && type != FEC_TYPE_PARITY && type != FEC_TYPE_OOB)
		return FEC_KIND_NONE;
	if (!whole || (type == FEC_TYPE_OOB && wire_left(&wire) < FEC_OOB_CONV_BYTES))
		return FEC_KIND_BAD;

	*ret_header = (struct fec_header){.seqid = seqid, .type = type, .size = size};
	if (type == FEC_TYPE_PARITY)
		return FEC_KIND_PARITY;
	ret_header->payload_len = wire_left(&wire);
	ret_header->payload = wire_bytes(&wire, ret_header->payload_len);
	return type == FEC_TYPE_DATA ? FEC_KIND_DATA : FEC_KIND_OOB;
}

size_t fec_header_write_oob(uint8_t *packet, uint32_t conv, size_t message_len)
{
	size_t size = FEC_HEADER_SIZE_BYTES + FEC_OOB_CONV_BYTES + message_len;

	assert(size <= UINT16_MAX);
	fec_header_write(packet, FEC_OOB_SEQID, FEC_TYPE_OOB);
	store_le16(packet + FEC_HEADER_SEQID_BYTES, (uint16_t)size);
	store_le32(packet + FEC_HEADER_BYTES, conv);
	return FEC_HEADER_SEQID_BYTES + size;
}
