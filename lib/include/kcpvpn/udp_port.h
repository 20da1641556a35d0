/*
 * The only door of the library to the network. The program implements it with sockets, a simulation
 * with queues: datagrams go out through `send`, and what arrives is handed to kcpvpn_node_input().
 */
#ifndef KCPVPN_UDP_PORT_H
#define KCPVPN_UDP_PORT_H

#include "kcpvpn/endpoint.h"

struct kcpvpn_datagram {
	struct kcpvpn_endpoint remote;
	struct kcpvpn_endpoint
		local; /* own address it came to or leaves from; family 0 = let the kernel choose */
	uint8_t *data;
	size_t len; /* UDP payload in bytes */
	uint8_t tos; /* IPv4's TOS or IPv6's traffic class: DSCP << 2 | ECN. A port that cannot tell, or set it, has 0 */
};

enum {
	KCPVPN_BATCH_MAX = 128, /* most datagrams of one call, in both directions */
};

struct kcpvpn_udp_port {
	/**
	 * Sends `count` (1..KCPVPN_BATCH_MAX) datagrams in order. The bytes are lent for the call.
	 * What cannot be sent is lost, as on any network; the implementation counts it.
	 */
	void (*send)(void *ctx, const struct kcpvpn_datagram *batch, size_t count);
	void *ctx;
};

#endif
