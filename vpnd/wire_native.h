/*
 * The native wire: peers prove who they are by their keys, and are reached wherever they move to. One library node
 * (kcpvpn/native.h) serves all of them over the sockets that `listen` asks for; a host with none gets one on any port.
 *
 * Where a peer is called: at the address where it was last proven to be, if one is remembered (state_file.h), then at
 * its configured endpoints in their order. Names are resolved beside the loop and asked again when nobody answers and
 * once in a while.
 */
#ifndef VPND_WIRE_NATIVE_H
#define VPND_WIRE_NATIVE_H

#include <stdint.h>

struct config;
struct fault;
struct log;
struct loop;
struct netlink;
struct state_file;
struct wire;
struct wire_events;
struct workers;

enum {
	WIRE_NATIVE_KEEPALIVE_US = 25000000, /* `auto` behind a NAT: most keep a mapping for 30 s */
	WIRE_NATIVE_MTU_US =
		3000000, /* a path has to be short for so long before senders are told */
	WIRE_NATIVE_TROUBLE_US =
		5000000, /* how often peers that are called are asked what the trouble is */
	WIRE_NATIVE_CHANGE_US = 100000,	    /* between two notices that the network changed */
	WIRE_NATIVE_NAMES_MIN_US = 5000000, /* names are not asked again before */
	WIRE_NATIVE_NAMES_AWAY_US =
		60000000, /* and after this at the latest, while the peer is away */
	WIRE_NATIVE_NAMES_UP_US = 3600000000LL, /* or is there */
	/* Payload that all peers may hold; with workers half of it is theirs in equal parts, half whoever's needs it. */
	WIRE_NATIVE_MEMORY_BYTES = 256 << 20,
};

/**
 * Opens the sockets.
 *
 * @config     lent until wire_ops.set_config or free; other keys of the own need a new wire
 * @mtu_bytes  most bytes of an inner packet the device may ever carry
 * @workers    carry shards of their own; lent, NULL = none. The wire ends before they do
 * @netlink    asked for paths
 * @state      where peers were last proven to be; lent, NULL = not remembered
 * @log        lent
 * @fault      says what, why and what next
 * @return     0 or a negative errno (-EADDRINUSE: a port is taken)
 */
int wire_native_new(struct loop *loop, const struct config *config, uint16_t mtu_bytes,
	struct workers *workers, struct netlink *netlink, struct state_file *state,
	const struct log *log, const struct wire_events *events, struct wire **ret_wire,
	struct fault *fault);

#endif
