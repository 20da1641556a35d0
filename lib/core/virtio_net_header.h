/*
 * What stands in front of a packet on a TUN device with IFF_VNET_HDR: where a checksum is still to be written, and
 * whether the packet is to be cut into segments. Ten bytes in the byte order of the machine; a device may have been set
 * to twelve, of which the last two mean nothing here.
 */
#ifndef CORE_VIRTIO_NET_HEADER_H
#define CORE_VIRTIO_NET_HEADER_H

#include <stddef.h>
#include <stdint.h>

enum {
	VIRTIO_NET_HEADER_BYTES = 10,
	VIRTIO_NET_HEADER_BYTES_MAX = 12, /* with the number of buffers behind it */
};

enum virtio_net_flag {
	VIRTIO_NET_NEEDS_CHECKSUM = 1, /* checksum_start and checksum_offset say where */
	VIRTIO_NET_DATA_VALID = 2,     /* somebody checked the checksum */
};

enum virtio_net_gso {
	VIRTIO_NET_GSO_NONE = 0,
	VIRTIO_NET_GSO_TCP4 = 1,
	VIRTIO_NET_GSO_TCP6 = 4,
	VIRTIO_NET_GSO_UDP = 5, /* datagrams, Linux 6.2; 3 would be IP fragments of one datagram */
	VIRTIO_NET_GSO_ECN = 0x80, /* beside a TCP type: the first segment alone carries CWR */
};

enum virtio_net_verdict {
	VIRTIO_NET_OK,
	VIRTIO_NET_SHORT,    /* fewer bytes than the header has */
	VIRTIO_NET_BAD_TYPE, /* a way of cutting nobody asked for */
	VIRTIO_NET_BAD_SIZE, /* segments of 0 or 65535 bytes (the kernel gives the latter another meaning) */
	VIRTIO_NET_BAD_LENGTH,	 /* a header longer than the packet */
	VIRTIO_NET_BAD_CHECKSUM, /* the sum's start or place lies outside the packet */
	VIRTIO_NET_VERDICTS,
};

struct virtio_net_header {
	uint8_t flags;	  /* enum virtio_net_flag; others are ignored */
	uint8_t gso_type; /* enum virtio_net_gso */
	uint16_t
		header_bytes; /* a hint only: Linux tells how much lies in one piece, which may be more than headers */
	uint16_t segment_bytes;	  /* payload of a segment; 0 without a type */
	uint16_t checksum_start;  /* offset in the packet of the first byte summed */
	uint16_t checksum_offset; /* of the 16-bit field, from checksum_start */
};

/**
 * Reads a header and holds it against its packet.
 *
 * @bytes         `size` bytes: the header
 * @size          what the device was set to: VIRTIO_NET_HEADER_BYTES .. VIRTIO_NET_HEADER_BYTES_MAX
 * @packet_bytes  of the packet behind it
 * @ret_header    filled on VIRTIO_NET_OK; fields that its flags and type give no meaning are zero
 *
 * Source: Linux, include/uapi/linux/virtio_net.h.
 */
enum virtio_net_verdict virtio_net_header_parse(
	const void *bytes, size_t size, size_t packet_bytes, struct virtio_net_header *ret_header);

/** Writes a header of `size` bytes, 10..12, zeros behind the first ten. */
void virtio_net_header_write(const struct virtio_net_header *header, void *bytes, size_t size);

/**
 * Does what the header left to be done: sums from checksum_start to the end and stores the result. A result of zero is
 * stored as its twin, which every protocol takes and UDP needs.
 *
 * @header  as parsed for this packet; nothing happens without VIRTIO_NET_NEEDS_CHECKSUM
 */
void virtio_net_header_complete(
	const struct virtio_net_header *header, uint8_t *packet, size_t packet_bytes);

/** "ok", "short", "bad_type", ...: names of the drop counters. Static. */
const char *virtio_net_verdict_str(enum virtio_net_verdict verdict);

#endif
