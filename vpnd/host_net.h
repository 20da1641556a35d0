/*
 * What the daemon changes on the host: link, addresses and routes of its own interface. Either at once (netlink.h) or by
 * asking the helper that is allowed to (broker.h); the caller does not know which.
 */
#ifndef VPND_HOST_NET_H
#define VPND_HOST_NET_H

#include "core/ip_prefix.h"

#include <stdbool.h>
#include <stdint.h>

struct fault;
struct netlink;
struct netlink_route;

enum host_route_verb {
	HOST_ROUTE_ADD,	   /* as netlink_route_add() */
	HOST_ROUTE_REMOVE, /* as netlink_route_remove() */
};

/** All return 0 or a negative errno with `*fault` filled; all are idempotent and block until it is done. */
struct host_net_ops {
	int (*set_up)(void *ctx, int ifindex, bool up, struct fault *fault);
	int (*set_mtu)(void *ctx, int ifindex, uint32_t mtu_bytes, struct fault *fault);
	int (*address)(void *ctx, int ifindex, const struct ip_prefix *address, bool add,
		struct fault *fault);
	int (*route)(void *ctx, const struct netlink_route *route, enum host_route_verb verb,
		struct fault *fault);
	/* adds an address to the device of one peer; `far` is the peer's own, NULL = not known */
	int (*peer_address)(void *ctx, int ifindex, const struct ip_prefix *address,
		const struct ip_prefix *far, struct fault *fault);
};

struct host_net {
	const struct host_net_ops *ops;
	void *ctx;
};

/** Acts at once. @netlink  borrowed for as long as the result is used */
struct host_net host_net_direct(struct netlink *netlink);

#endif
