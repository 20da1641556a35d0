/* Super-packets as a TUN device with IFF_VNET_HDR gives and takes them. */
#ifndef CORE_SUPER_VIRTIO_H
#define CORE_SUPER_VIRTIO_H

#include "core/super_packet.h"
#include "core/virtio_net_header.h"

/**
 * What was read from the device.
 *
 * @header      parsed for this packet
 * @packet      changed in place where the view could not say otherwise what the header asks for: a checksum of another
 *              protocol than TCP and UDP is written, the partial sum of a super-packet that came without one is put in
 * @ret_packet  a view of `packet`, filled on SUPER_OK
 */
enum super_verdict super_virtio_read(const struct virtio_net_header *header, uint8_t *packet,
	size_t len, struct super_packet *ret_packet);

/**
 * The header for a packet that is to be written to the device.
 *
 * @udp_taken   the kernel cuts UDP super-packets (6.2 on; TUNSETOFFLOAD with TUN_F_USO4 and TUN_F_USO6 succeeds)
 * @ret_header  filled if true
 * @return      false: the packet is to be split, and its segments written with their checksums and a header of zeros
 */
bool super_virtio_describe(
	const struct super_packet *packet, bool udp_taken, struct virtio_net_header *ret_header);

#endif
