/*
 * The tunnel's interface on the host: the TUN device with its MTU, addresses and routes. The device exists as long as
 * the daemon runs; `kcpctl down` takes its link, addresses and routes away, `up` brings them back.
 */
#ifndef VPND_DEVICE_H
#define VPND_DEVICE_H

#include "config/config.h"
#include "vpnd/fault.h"
#include "vpnd/host_net.h"
#include "vpnd/tun.h"

#include <stdbool.h>
#include <stddef.h>

struct log;
struct netlink;
struct netlink_route;

/** @return whether routes to a peer are wanted now (it may be down by order) */
typedef bool (*device_wanted_fn)(void *ctx, const char *peer);

/** @return the interface of a peer with a device of its own, 0 = it has none */
typedef int (*device_peer_ifindex_fn)(void *ctx, const char *peer);

/** Hears of a change that failed; `fault` is borrowed for the call. */
typedef void (*device_told_fn)(void *ctx, const struct fault *fault);

/** What could not be taken off the host, or set. */
struct device_left {
	struct netlink_route *routes;
	size_t route_count, route_room;
	struct config_cidrs addresses;
	uint32_t mtu_bytes; /* 0 = none */
};

enum {
	DEVICE_QUEUES_MAX = 16,
};

struct device {
	struct tun tun;
	/* Those behind the first, until somebody takes them (fd -1). */
	struct tun queues[DEVICE_QUEUES_MAX - 1];
	unsigned queue_count; /* with the first */
	device_wanted_fn wanted;
	device_peer_ifindex_fn peer_ifindex; /* NULL = no peer has one */
	void *wanted_ctx;		     /* of both */
	struct netlink *netlink;	     /* lent; for asking */
	struct host_net
		host; /* who changes link, addresses and routes; may be exchanged at any time */
	const struct log *log; /* lent */
	uint32_t mtu_bytes;    /* as it was set last */
	bool up;
	bool unclean; /* a change failed: the host is not as wanted, until device_repair() made it so */
	bool unheard;		 /* whoever changes the host does not answer, and that was said */
	struct device_left left; /* its own */
	struct fault first;	 /* of what failed in the call under way */
	device_told_fn told;
	void *told_ctx;
};

/**
 * Looks for routes and prefixes of somebody else that have the destinations of this configuration.
 *
 * @before  in force now: what it has already is no news; NULL = nothing
 * @fault   says which, and what to do
 * @return  0, also where on_clash is not "refuse"; -EEXIST; another negative errno
 */
int device_check_clashes(const struct device *device, const struct config *before,
	const struct config *after, struct fault *fault);

/**
 * Puts back what somebody took away: addresses and routes; says which. Cheap if nothing is missing.
 *
 * @return  how many were put back
 */
size_t device_restore(struct device *device, const struct config *config);

/**
 * Where on_clash is prefer_tunnel: puts own routes in front again of those that somebody has put in front of them.
 *
 * @return  how many were behind
 */
size_t device_keep_in_front(struct device *device, const struct config *config);

/**
 * Creates the interface, link down. `host` is netlink itself then.
 *
 * @queues  wanted, 1 .. DEVICE_QUEUES_MAX; where the host refuses more than one there is one
 * @return  0 or a negative errno with `*fault` filled
 */
int device_open(struct device *device, const char *name, bool offload, unsigned queues,
	struct netlink *netlink, const struct log *log, device_wanted_fn wanted, void *wanted_ctx,
	struct fault *fault);

/** Withdraws everything and removes the interface. */
void device_close(struct device *device, const struct config *config);

/**
 * Sets the MTU, adds the addresses, sets the link up and adds the routes to peers that are enabled. A route that is
 * taken by somebody else is left alone with a warning where on_clash says so, and refused else. All or nothing: on
 * failure nothing stays.
 *
 * @return 0 or a negative errno with `*fault` filled; nothing to do is a success
 */
int device_up(struct device *device, const struct config *config, struct fault *fault);

/**
 * Takes routes and addresses away and sets the link down, as far as that can be done: `up` is false afterwards in any
 * case. What failed is tried again by device_repair(), and by this, called again.
 *
 * @fault   NULL = nobody wants to know
 * @return  0 or the first error with `*fault` filled; nothing to do is a success
 */
int device_down(struct device *device, const struct config *config, struct fault *fault);

/**
 * Takes over another configuration: while up, by touching only what differs, and by putting back what somebody took
 * away. What fails is logged, told, and leaves the device `unclean` where it may succeed later.
 *
 * @told  NULL = nobody wants to know
 */
void device_change(struct device *device, const struct config *before, const struct config *after,
	device_told_fn told, void *told_ctx);

/**
 * Does again what failed: removes what is left over, and adds what is missing while up. Cheap if nothing failed.
 *
 * @config  in force
 * @fault   NULL = nobody wants to know
 * @return  0 if the host is as wanted now, or the first error with `*fault` filled
 */
int device_repair(struct device *device, const struct config *config, struct fault *fault);

/** Gives the device of a peer its addresses and sets its link; does nothing for a peer without one, or below a link that is down. */
void device_peer_link(struct device *device, const struct config *config,
	const struct config_peer *peer, bool up);

/** Sets the MTU of the interface, up or down. @return 0 or a negative errno with `*fault` filled */
int device_set_mtu(struct device *device, uint32_t mtu_bytes, struct fault *fault);

/**
 * Adds or withdraws the routes of one peer; does nothing while the device is down. What fails is logged and leaves the
 * device `unclean` where it may succeed later.
 */
void device_peer_routes(struct device *device, const struct config *config,
	const struct config_peer *peer, bool add);

#endif
