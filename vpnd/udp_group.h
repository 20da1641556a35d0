/*
 * Sockets that share one port, so that datagrams are sorted by the kernel before they meet in a queue: handshakes are kept
 * apart from data, and data is dealt out by the shard that its receive index names (lib/PROTOCOL.md, 2, 5.1 and 6).
 */
#ifndef VPND_UDP_GROUP_H
#define VPND_UDP_GROUP_H

#include <stddef.h>
#include <stdint.h>

enum {
	UDP_GROUP_REST = -1,   /* no DATA */
	UDP_GROUP_NOBODY = -2, /* too short to be told */
};

/**
 * From now on other sockets of the same user may be bound to the port of this one, if they ask for it before. Called behind
 * bind() for the first of a group: so a port that another program holds is still found to be taken.
 *
 * @return 0 or a negative errno
 */
int udp_group_share(int fd);

/**
 * Sorts what comes to a group: DATA of shard s to socket s, counted in the order in which they were bound; all that is not
 * DATA to the one behind them. DATA of other shards goes to socket 0.
 *
 * @fd      any socket of the group, which has `shards` + 1 sockets
 * @shards  1..16
 * @return  0 or a negative errno: then the kernel deals datagrams out by their addresses
 */
int udp_group_steer(int fd, unsigned shards);

/**
 * Whether the host has such groups at all: opens one on a port of its choice and closes it.
 *
 * @shards  as above
 * @return  0 or a negative errno
 */
int udp_group_probe(unsigned shards);

/**
 * The same rule for one datagram: the kernel asks it of the first only where several were glued together (UDP_GRO).
 *
 * @return  the number of the socket that DATA belongs to, 0 .. shards - 1; or UDP_GROUP_REST, UDP_GROUP_NOBODY
 */
int udp_group_shard(const uint8_t *bytes, size_t len, unsigned shards);

#endif
