/*
 * Links, addresses and routes of the host, through the kernel's route netlink (libnl). Every call is idempotent: what
 * is as wanted already is a success. Calls block for the kernel's answer (microseconds) and belong to start, stop and
 * reload, not to the data path.
 */
#ifndef VPND_NETLINK_H
#define VPND_NETLINK_H

#include "core/ip_prefix.h"
#include "kcpvpn/endpoint.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fault;
struct netlink;

enum {
	NETLINK_PROTOCOL = 201, /* default mark of own routes (routes.protocol) */
	NETLINK_TABLE_MAIN = 254,
	NETLINK_METRIC = 50, /* default (routes.metric) */
};

struct netlink_route {
	struct ip_prefix destination; /* bits behind its length are ignored */
	int ifindex;
	uint32_t table;	  /* NETLINK_TABLE_MAIN, ... */
	uint32_t metric;  /* 0: the kernel's choice, which is 1024 for IPv6 */
	uint8_t protocol; /* who put it there */
	bool prefer; /* add it in front of others to the same destination, whatever their metrics */
	bool on_link; /* told by lists: its destinations are neighbours, no gateway is between */
};

/** How the host would send to an address now. */
struct netlink_path {
	int ifindex;
	struct kcpvpn_endpoint source;	/* port 0 */
	struct kcpvpn_endpoint gateway; /* family 0 = on the link */
};

/** @return 0 or a negative errno with `*fault` filled. Freed by netlink_free(). */
int netlink_new(struct netlink **ret_netlink, struct fault *fault);
void netlink_free(struct netlink *netlink);

int netlink_link_set_up(struct netlink *netlink, int ifindex, bool up, struct fault *fault);
int netlink_link_set_mtu(
	struct netlink *netlink, int ifindex, uint32_t mtu_bytes, struct fault *fault);

/**
 * Adds an address with its prefix length; the kernel adds the route to the prefix. IPv6 skips duplicate
 * address detection: on a tunnel nobody would answer, and sockets can bind to the address at once (packets
 * to it are taken some milliseconds later, when a worker of the kernel has put its local route in). The MTU
 * must be at least 1280 before.
 */
int netlink_address_add(
	struct netlink *netlink, int ifindex, const struct ip_prefix *address, struct fault *fault);
/**
 * Adds an address to a device with one peer at its other end, so that several devices may have it: the kernel adds a route
 * to `far` alone.
 *
 * @far  the peer's address, of the same family; NULL = not known, and the address keeps its prefix, without a route
 */
int netlink_address_add_peer(struct netlink *netlink, int ifindex, const struct ip_prefix *address,
	const struct ip_prefix *far, struct fault *fault);

int netlink_address_remove(
	struct netlink *netlink, int ifindex, const struct ip_prefix *address, struct fault *fault);

/**
 * Whether the interface has this address with this prefix length, 0 = whichever: one with a peer at its other end has the
 * peer's. True if the kernel does not tell.
 */
bool netlink_address_is_there(
	struct netlink *netlink, int ifindex, const struct ip_prefix *address);

/**
 * Adds a route, the link being up.
 *
 * @return  0, also if this very route is there; -EEXIST if another route has its destination, table and metric, which
 *          is left alone
 */
int netlink_route_add(
	struct netlink *netlink, const struct netlink_route *route, struct fault *fault);

/** Removes this route (same destination, table, interface, protocol, and metric but with `prefer`) and no other. */
int netlink_route_remove(
	struct netlink *netlink, const struct netlink_route *route, struct fault *fault);

/** Borrowed for the call. */
typedef void (*netlink_route_fn)(void *ctx, const struct netlink_route *route);

/**
 * Tells the unicast routes with the given protocol, of all tables and interfaces.
 *
 * @protocol  0 = all; @table  0 = all
 * @each    must not use `netlink`; a route over several interfaces is told with the first
 */
int netlink_route_list(struct netlink *netlink, uint8_t protocol, uint32_t table,
	netlink_route_fn each, void *ctx, struct fault *fault);

/**
 * Asks how the host would reach `remote`. Comparing two answers tells whether a change on the host matters to a peer.
 *
 * @fwmark  as on the peer's socket, 0 = none
 * @return  0; -ENETUNREACH, -EHOSTUNREACH, -EACCES, -EINVAL as the routes say (no fault is filled for these)
 */
int netlink_path(struct netlink *netlink, const struct kcpvpn_endpoint *remote, uint32_t fwmark,
	struct netlink_path *ret_path, struct fault *fault);

bool netlink_path_equal(const struct netlink_path *a, const struct netlink_path *b);

#endif
