/*
 * A checksum that the host left open is the normal case: local sockets never sum. If it is TCP's or UDP's, it stays
 * open and travels so. Anything else (SCTP in a tunnel, a header of a tunnel in a tunnel) is finished here.
 *
 * A super-packet may come without an open checksum from a device that had checked it. Its own sum says nothing about
 * its segments, so the partial one is made from the addresses.
 *
 * The other way nothing is told to the kernel that was not checked in this process: all fields come from the view. A
 * super-packet with IPv6 extension headers is split by us: kernels differ in how they do it, and it is rare.
 *
 * Source: Linux, include/linux/virtio_net.h.
 */
#include "core/super_virtio.h"

#include "core/endian.h"

enum {
	TCP_FLAGS_AT = 13,
	TCP_CWR = 0x80,
};

static bool checksum_is_ours(
	const struct virtio_net_header *header, const struct super_packet *packet)
{
	return header->checksum_start == packet->ip.transport_bytes &&
	       header->checksum_start + header->checksum_offset == packet->checksum_at;
}

static bool has_extensions(const struct ip_header *ip)
{
	return ip->version == 6 && ip->transport_bytes != IP_HEADER_V6_BYTES;
}

static enum super_verdict read_single(const struct virtio_net_header *header, uint8_t *packet,
	size_t len, struct super_packet *ret_packet)
{
	struct super_packet partial;

	if (header->flags & VIRTIO_NET_NEEDS_CHECKSUM) {
		if (super_packet_parse(packet, len, SUPER_PACKET_PARTIAL, 0, &partial) ==
				SUPER_OK &&
			checksum_is_ours(header, &partial)) {
			*ret_packet = partial;
			return SUPER_OK;
		}
		virtio_net_header_complete(header, packet, len);
	}
	return super_packet_parse(packet, len, SUPER_PACKET_PLAIN, 0, ret_packet);
}

static bool type_matches(uint8_t gso_type, const struct ip_header *ip)
{
	switch (gso_type & ~VIRTIO_NET_GSO_ECN) {
	case VIRTIO_NET_GSO_TCP4:
		return ip->version == 4 && ip->protocol == IP_PROTOCOL_TCP;
	case VIRTIO_NET_GSO_TCP6:
		return ip->version == 6 && ip->protocol == IP_PROTOCOL_TCP;
	default:
		return ip->protocol == IP_PROTOCOL_UDP;
	}
}

enum super_verdict super_virtio_read(const struct virtio_net_header *header, uint8_t *packet,
	size_t len, struct super_packet *ret_packet)
{
	struct super_packet p;

	if (header->gso_type == VIRTIO_NET_GSO_NONE)
		return read_single(header, packet, len, ret_packet);
	enum super_verdict verdict =
		super_packet_parse(packet, len, SUPER_PACKET_SEGMENTED, header->segment_bytes, &p);
	if (verdict != SUPER_OK)
		return verdict;
	if (!type_matches(header->gso_type, &p.ip))
		return SUPER_BAD_PROTOCOL;
	if (header->flags & VIRTIO_NET_NEEDS_CHECKSUM) {
		if (!checksum_is_ours(header, &p))
			return SUPER_BAD_CHECKSUM;
	} else {
		if (has_extensions(&p.ip)) /* may be under other addresses than these */
			return SUPER_BAD_EXTENSION;
		store_be16(packet + p.checksum_at,
			super_packet_pseudo_sum(&p.ip, p.length_bytes - p.ip.transport_bytes));
	}
	*ret_packet = p;
	return SUPER_OK;
}

static uint8_t tcp_type(const struct super_packet *packet)
{
	uint8_t type = packet->ip.version == 4 ? VIRTIO_NET_GSO_TCP4 : VIRTIO_NET_GSO_TCP6;

	if (packet->bytes[packet->ip.transport_bytes + TCP_FLAGS_AT] & TCP_CWR)
		type |= VIRTIO_NET_GSO_ECN;
	return type;
}

bool super_virtio_describe(
	const struct super_packet *packet, bool udp_taken, struct virtio_net_header *ret_header)
{
	struct virtio_net_header h = {0};
	bool is_udp = packet->ip.protocol == IP_PROTOCOL_UDP;

	if (packet->kind != SUPER_PACKET_PLAIN) {
		h.flags = VIRTIO_NET_NEEDS_CHECKSUM;
		h.checksum_start = (uint16_t)packet->ip.transport_bytes;
		h.checksum_offset = (uint16_t)(packet->checksum_at - packet->ip.transport_bytes);
	}
	if (packet->kind == SUPER_PACKET_SEGMENTED) {
		if (has_extensions(&packet->ip) || (is_udp && !udp_taken))
			return false;
		h.gso_type = is_udp ? VIRTIO_NET_GSO_UDP : tcp_type(packet);
		h.header_bytes = packet->header_bytes;
		h.segment_bytes = (uint16_t)packet->segment_bytes;
	}
	*ret_header = h;
	return true;
}
