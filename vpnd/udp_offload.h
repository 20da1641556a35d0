/*
 * Runs of datagrams that cross the host's network stack as one: it cuts what goes out (UDP_SEGMENT) and puts together
 * what comes in (UDP_GRO), so the way through it is paid for once.
 */
#ifndef VPND_UDP_OFFLOAD_H
#define VPND_UDP_OFFLOAD_H

#include "kcpvpn/udp_port.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
	UDP_OFFLOAD_SEGMENTS_MAX = 64,	/* of a run that is sent: what the first kernels took */
	UDP_OFFLOAD_BYTES_MAX = 65000,	/* of its datagrams: below what an IP packet holds */
	UDP_OFFLOAD_ROOM_BYTES = 65536, /* for a run that arrives */
	UDP_OFFLOAD_ARRIVED_MAX = 512,	/* datagrams of such a run; Linux makes at most 128 */
	UDP_OFFLOAD_CONTROL_BYTES =
		CMSG_SPACE(sizeof(int)), /* of control messages, in both directions */
};

/** @return  whether the kernel knows how to cut. Whether a device or a route does is seen by sending. */
bool udp_offload_can_send(int fd);

/**
 * Whether a device computes the checksums of what it sends. Where it does not, runs of datagrams are not safe: a kernel from
 * 6.11 on sends them all the same (older ones refuse), and if it also translates addresses, or whatever else changes a
 * checksum, all their checksums are wrong. Seen with 6.18, over a TUN device with `snat`.
 *
 * @fd  a socket in the device's network namespace   @return  false also if nobody knows
 */
bool udp_offload_device_sums(int fd, int ifindex);

/** From now on runs may arrive. @return  whether the kernel knows how to */
bool udp_offload_receive(int fd);

/**
 * How many datagrams from the first on can go as one: to and from the same addresses, of one length, but for the last,
 * which may be shorter.
 *
 * @count   1 or more
 * @return  1 .. the least of `count` and UDP_OFFLOAD_SEGMENTS_MAX
 */
size_t udp_offload_run(const struct kcpvpn_datagram *batch, size_t count);

/**
 * Writes the control message that tells the kernel where to cut.
 *
 * @segment_bytes  1 .. UDP_OFFLOAD_BYTES_MAX
 * @return         its bytes: CMSG_SPACE(sizeof(uint16_t))
 */
size_t udp_offload_write(struct cmsghdr *control, size_t segment_bytes);

/**
 * Reads where to cut what arrived.
 *
 * @message            as recvmmsg() left it
 * @len                bytes that arrived
 * @ret_segment_bytes  1 .. `len`, and `len` if it is one datagram, which may be empty
 * @return             false if it cannot be told apart: to be dropped
 */
bool udp_offload_read(struct msghdr *message, size_t len, size_t *ret_segment_bytes);

#endif
