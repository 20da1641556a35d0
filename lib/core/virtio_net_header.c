/*
 * The kernel writes this header, but packets that are forwarded may bring it from a guest or a device, so that each
 * number is held against the packet before anybody uses it. What is refused here the kernel would refuse on a write.
 *
 * Sources: Linux, include/linux/virtio_net.h (virtio_net_hdr_to_skb, virtio_net_hdr_from_skb); VIRTIO 1.2, 5.1.6.
 */
#include "core/virtio_net_header.h"

#include "core/checksum.h"
#include "core/endian.h"

#include <stdbool.h>
#include <string.h>

enum {
	FLAGS_AT = 0,
	TYPE_AT = 1,
	HEADER_BYTES_AT = 2,
	SEGMENT_BYTES_AT = 4,
	CHECKSUM_START_AT = 6,
	CHECKSUM_OFFSET_AT = 8,
	SIZE_OF_FRAGMENTS = 0xffff, /* GSO_BY_FRAGS */
};

static uint16_t load_host16(const uint8_t *at)
{
	uint16_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

static bool type_known(uint8_t type)
{
	switch (type & ~VIRTIO_NET_GSO_ECN) {
	case VIRTIO_NET_GSO_NONE:
	case VIRTIO_NET_GSO_UDP:
		return !(type & VIRTIO_NET_GSO_ECN);
	case VIRTIO_NET_GSO_TCP4:
	case VIRTIO_NET_GSO_TCP6:
		return true;
	default:
		return false;
	}
}

enum virtio_net_verdict virtio_net_header_parse(
	const void *bytes, size_t size, size_t packet_bytes, struct virtio_net_header *ret_header)
{
	const uint8_t *at = bytes;
	struct virtio_net_header h = {0};

	if (size < VIRTIO_NET_HEADER_BYTES)
		return VIRTIO_NET_SHORT;
	h.flags = at[FLAGS_AT] & (VIRTIO_NET_NEEDS_CHECKSUM | VIRTIO_NET_DATA_VALID);
	h.gso_type = at[TYPE_AT];
	if (!type_known(h.gso_type))
		return VIRTIO_NET_BAD_TYPE;
	if (h.gso_type != VIRTIO_NET_GSO_NONE) {
		h.header_bytes = load_host16(at + HEADER_BYTES_AT);
		h.segment_bytes = load_host16(at + SEGMENT_BYTES_AT);
		if (h.segment_bytes == 0 || h.segment_bytes == SIZE_OF_FRAGMENTS)
			return VIRTIO_NET_BAD_SIZE;
		if (h.header_bytes > packet_bytes)
			return VIRTIO_NET_BAD_LENGTH;
	}
	if (h.flags & VIRTIO_NET_NEEDS_CHECKSUM) {
		h.checksum_start = load_host16(at + CHECKSUM_START_AT);
		h.checksum_offset = load_host16(at + CHECKSUM_OFFSET_AT);
		if ((size_t)h.checksum_start + h.checksum_offset + 2 > packet_bytes)
			return VIRTIO_NET_BAD_CHECKSUM;
	}
	*ret_header = h;
	return VIRTIO_NET_OK;
}

void virtio_net_header_write(const struct virtio_net_header *header, void *bytes, size_t size)
{
	uint8_t *at = bytes;

	memset(at, 0, size);
	at[FLAGS_AT] = header->flags;
	at[TYPE_AT] = header->gso_type;
	memcpy(at + HEADER_BYTES_AT, &header->header_bytes, 2);
	memcpy(at + SEGMENT_BYTES_AT, &header->segment_bytes, 2);
	memcpy(at + CHECKSUM_START_AT, &header->checksum_start, 2);
	memcpy(at + CHECKSUM_OFFSET_AT, &header->checksum_offset, 2);
}

void virtio_net_header_complete(
	const struct virtio_net_header *header, uint8_t *packet, size_t packet_bytes)
{
	if (!(header->flags & VIRTIO_NET_NEEDS_CHECKSUM))
		return;
	uint8_t *from = packet + header->checksum_start;
	uint16_t sum =
		checksum_finish(checksum_add(0, from, packet_bytes - header->checksum_start));
	store_be16(from + header->checksum_offset, sum ? sum : 0xffff);
}

const char *virtio_net_verdict_str(enum virtio_net_verdict verdict)
{
	switch (verdict) {
	case VIRTIO_NET_OK:
		return "ok";
	case VIRTIO_NET_SHORT:
		return "short";
	case VIRTIO_NET_BAD_TYPE:
		return "bad_type";
	case VIRTIO_NET_BAD_SIZE:
		return "bad_size";
	case VIRTIO_NET_BAD_LENGTH:
		return "bad_length";
	case VIRTIO_NET_BAD_CHECKSUM:
		return "bad_checksum";
	case VIRTIO_NET_VERDICTS:
		break;
	}
	return "unknown";
}
