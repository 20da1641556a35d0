/*
 * The kcp-go wire: one KCP conversation in message mode per peer, one inner packet a message. Peers with endpoints are
 * dialled, each from a socket of its own; the others call us at the addresses we listen on.
 *
 * This wire has no handshake: whoever knows the key can call and can claim to be any peer. What a caller says is told
 * apart by inner source addresses only.
 */
#ifndef VPND_WIRE_KCP_GO_H
#define VPND_WIRE_KCP_GO_H

#include "core/mono.h"

struct config;
struct fault;
struct log;
struct loop;
struct netlink;
struct wire;
struct wire_events;

enum {
	WIRE_KCP_GO_UNKNOWN_MAX = 64,	   /* callers whose peer is not known yet */
	WIRE_KCP_GO_UNKNOWN_US = 30000000, /* how long one of them may stay */
	WIRE_KCP_GO_MUTE_US =
		1000000, /* a caller that says nothing for so long may be the only peer without endpoints */
	WIRE_KCP_GO_REPLACE_US = 2000000,   /* a caller replaces one that was silent for so long */
	WIRE_KCP_GO_TRY_US = 5000000,	    /* before the next of several addresses is tried */
	WIRE_KCP_GO_REDIAL_MIN_US = 200000, /* pause before dialling again: at first */
	WIRE_KCP_GO_REDIAL_MAX_US =
		2000000, /* and at most, so that a peer is back soon after an outage */
	WIRE_KCP_GO_GIVE_UP =
		5, /* attempts in a row without an answer, with session.persistent: false */
	WIRE_KCP_GO_RESOLVE_AGAIN_US =
		60000000, /* names are asked again after so long, when dialling anew */
};

/**
 * Opens the listening sockets.
 *
 * @config   lent until wire_ops.set_config or free; other values of kcp_go.* need a new wire
 * @netlink  asked for paths when the network changed
 * @log      lent
 * @fault    says what, why and what next
 * @return   0 or a negative errno (-EADDRINUSE: a port is taken)
 */
int wire_kcp_go_new(struct loop *loop, const struct config *config, struct netlink *netlink,
	const struct log *log, const struct wire_events *events, struct wire **ret_wire,
	struct fault *fault);

#endif
