/*
 * A TUN device: whole IP packets in and out, with offloads also super-packets (core/super_packet.h). It exists as long as
 * its descriptor is open, so whatever ends the process takes the interface, its addresses and its routes away.
 */
#ifndef VPND_TUN_H
#define VPND_TUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct fault;
struct iovec;
struct virtio_net_header;

enum {
	TUN_NAME_BYTES = 16, /* IFNAMSIZ: 15 bytes and the final zero */
	TUN_PACKET_BYTES_MAX = 65535,
	TUN_PIECES_MAX = 8, /* of a packet that is written */
};

struct tun_counters {
	uint64_t rx_packets; /* read from the device: what the host sends into the tunnel */
	uint64_t rx_bytes;
	uint64_t tx_packets; /* written to the device */
	uint64_t tx_bytes;
	uint64_t read_header;	/* with a header that does not fit its packet */
	uint64_t read_failed;	/* reads refused for another reason than that nothing is there */
	uint64_t write_down;	/* EIO: the interface is down */
	uint64_t write_full;	/* EAGAIN, ENOBUFS, ENOMEM: the host's queue is full */
	uint64_t write_invalid; /* EINVAL: the kernel did not like the packet */
	uint64_t write_short;	/* fewer bytes taken than given */
	uint64_t write_gone;	/* EBADFD, ENODEV: the device was deleted */
	uint64_t write_failed;	/* any other reason */
};

struct tun_options {
	const char *name; /* 1..15 bytes; no '/', '%', ':' or white space */
	bool offload;	  /* ask for super-packets and open checksums */
	/* The device can have more queues than one. It must not exist yet: else the queue of a device of somebody else might be got. */
	bool multi;
};

struct tun {
	int fd;	      /* non-blocking, close-on-exec; -1 = closed */
	bool headers; /* IFF_VNET_HDR: a header stands in front of each packet */
	bool offload; /* the kernel hands over TCP super-packets with open checksums */
	bool udp;     /* and those of UDP, and takes them (Linux 6.2) */
	bool multi;   /* one of several queues, or could be */
	bool detached;
	int ifindex;
	size_t portion_bytes; /* of what is read in one go next; 0 = as at first */
	int query_fd; /* a socket of the device's namespace; 0 = none, as behind the first queue */
	char name[TUN_NAME_BYTES];
	struct tun_counters counters;
};

/**
 * Creates the interface (link down, no address). Needs CAP_NET_ADMIN. What of the offloads the kernel refuses is left out.
 *
 * @fault   says what, why and what next; may be NULL
 * @return  0; -ENOENT or -ENODEV without /dev/net/tun; -EPERM; -EBUSY if the name is taken; -EINVAL for a bad name
 */
int tun_open(struct tun *tun, const struct tun_options *options, struct fault *fault);

/**
 * Opens another queue of a device that was opened with `multi`.
 *
 * @first  any queue of it
 * @return as tun_open()
 */
int tun_open_queue(struct tun *tun, const struct tun *first, struct fault *fault);

/** Whether the host gives packets to this queue, one of several; it does at first. @return 0 or a negative errno */
int tun_set_attached(struct tun *tun, bool attached);

/**
 * Takes over a device that another process made with the options of `like`.
 *
 * @fd  taken, also on failure
 */
int tun_adopt(struct tun *tun, int fd, const struct tun *like, struct fault *fault);

/** Tells the host whether anybody is at the other end: without, routing daemons look for another way at once. */
int tun_set_carrier(const struct tun *tun, bool carrier);

/** Whether the interface's link is up now: somebody else may have set it down. True if the kernel does not tell. */
bool tun_is_up(const struct tun *tun);

/** Removes the interface. Harmless on a closed one, not on an uninitialised. */
void tun_close(struct tun *tun);

/**
 * Reads one packet.
 *
 * @at      VIRTIO_NET_HEADER_BYTES in front of it are overwritten if the device has headers
 * @len     of the buffer from there on; a longer packet is cut, which its length field then tells
 * @ret_header  what the host left to be done to it; all zero from a device without headers
 * @return  bytes of the packet (1 or more); -EAGAIN if none waits; -ENODEV if the device is gone: the owner stops
 *          watching and closes it; another negative errno (counted) after which reading may go on
 */
ssize_t tun_read(struct tun *tun, uint8_t *at, size_t len, struct virtio_net_header *ret_header);

/**
 * Writes one packet with what is left to be done to it; the device has headers.
 *
 * @header  core/super_virtio.h makes it
 * @return  as tun_write()
 */
int tun_write_super(
	struct tun *tun, const struct virtio_net_header *header, const void *packet, size_t len);

/**
 * Writes one plain packet gathered from `count` pieces, at most TUN_PIECES_MAX. What the host cannot take is lost, as on any network, and counted.
 *
 * @return  0; -ENODEV if the device is gone; another negative errno
 */
int tun_write(struct tun *tun, const struct iovec *pieces, int count);

#endif
