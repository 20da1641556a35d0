/*
 * The tunnel's interface on the host: the TUN device with its MTU, addresses and routes. The device exists as long as
 * the daemon runs; `kcpctl down` takes its link, addresses and routes away, `up` brings them back.
 */
#ifndef VPND_DEVICE_H
#define VPND_DEVICE_H

#include "config/config.h"
#include "vpnd/host_net.h"
#include "vpnd/tun.h"

#include <stdbool.h>

struct fault;
struct log;
struct netlink;

/** @return whether routes to a peer are wanted now (it may be down by order) */
typedef bool (*device_wanted_fn)(void *ctx, const char *peer);

struct device {
	struct tun tun;
	device_wanted_fn wanted;
	void *wanted_ctx;
	struct netlink *netlink; /* lent; for asking */
	struct host_net
		host; /* who changes link, addresses and routes; may be exchanged at any time */
	const struct log *log; /* lent */
	bool up;
	bool unheard; /* whoever changes the host does not answer, and that was said */
};

/** Creates the interface, link down. `host` is netlink itself then. @return 0 or a negative errno with `*fault` filled */
int device_open(struct device *device, const char *name, struct netlink *netlink,
	const struct log *log, device_wanted_fn wanted, void *wanted_ctx, struct fault *fault);

/** Withdraws everything and removes the interface. */
void device_close(struct device *device, const struct config *config);

/**
 * Sets the MTU, adds the addresses, sets the link up and adds the routes to peers that are enabled. A route that is
 * taken by somebody else is left alone with a warning. All or nothing: on failure nothing stays.
 *
 * @return 0 or a negative errno with `*fault` filled; nothing to do is a success
 */
int device_up(struct device *device, const struct config *config, struct fault *fault);

/** Takes routes and addresses away and sets the link down. */
void device_down(struct device *device, const struct config *config);

/** While up: takes over another configuration by touching only what differs. */
void device_change(struct device *device, const struct config *before, const struct config *after);

/** Sets the MTU of the interface, up or down. @return 0 or a negative errno with `*fault` filled */
int device_set_mtu(struct device *device, uint32_t mtu_bytes, struct fault *fault);

/** Adds or withdraws the routes of one peer; does nothing while the device is down. */
void device_peer_routes(struct device *device, const struct config *config,
	const struct config_peer *peer, bool add);

#endif
