/*
 * Addresses first, then the link, then routes: the kernel refuses routes over a link that is down. A prefix that the
 * interface's own addresses cover already has its route from the kernel and is not added twice.
 *
 * Routes carry `routes.protocol`, so that only own ones are ever removed.
 */
#include "vpnd/device.h"

#include "core/log.h"
#include "vpnd/fault.h"
#include "vpnd/netlink.h"
#include "vpnd/prefix_set.h"

#include <errno.h>
#include <string.h>

/* A change failed. Where nobody makes changes, one of a thousand routes says it. */
static void warn(struct device *device, const struct fault *fault)
{
	bool unheard = fault->err == -EPIPE || fault->err == -ETIMEDOUT;

	if (unheard && device->unheard)
		return;
	device->unheard = unheard;
	log_warn(device->log, "%s %s%s%s", fault->code, fault->text, fault->hint[0] ? "; " : "",
		fault->hint);
}

int device_open(struct device *device, const char *name, struct netlink *netlink,
	const struct log *log, device_wanted_fn wanted, void *wanted_ctx, struct fault *fault)
{
	struct tun_options options = {.name = name};

	*device = (struct device){
		.tun.fd = -1,
		.wanted = wanted,
		.wanted_ctx = wanted_ctx,
		.netlink = netlink,
		.host = host_net_direct(netlink),
		.log = log,
	};
	return tun_open(&device->tun, &options, fault);
}

void device_close(struct device *device, const struct config *config)
{
	device_down(device, config);
	tun_close(&device->tun);
}

/* ---- routes ----------------------------------------------------------------------------------------------------- */

/* The kernel has a route to what an address of the interface covers. */
static bool covered(const struct config *config, const struct ip_prefix *destination)
{
	for (size_t i = 0; i < config->interface.addresses.count; i++) {
		if (ip_prefix_contains(&config->interface.addresses.items[i], destination))
			return true;
	}
	return false;
}

static bool wants_routes(const struct config *config, const struct config_peer *peer)
{
	return peer->enabled && config->routes.table != CONFIG_OFF;
}

static struct netlink_route route_of(const struct device *device, const struct config *config,
	const struct ip_prefix *destination)
{
	return (struct netlink_route){
		.destination = *destination,
		.ifindex = device->tun.ifindex,
		.table = config->routes.table > 0 ? (uint32_t)config->routes.table
						  : NETLINK_TABLE_MAIN,
		.metric = (uint32_t)config->routes.metric,
		.protocol = (uint8_t)config->routes.protocol,
	};
}

static void change_route(struct device *device, const struct config *config,
	const struct ip_prefix *destination, bool add)
{
	struct netlink_route route = route_of(device, config, destination);
	struct fault fault = {0};
	int error;

	if (covered(config, destination))
		return;
	error = device->host.ops->route(
		device->host.ctx, &route, add ? HOST_ROUTE_ADD : HOST_ROUTE_REMOVE, &fault);
	if (error < 0)
		warn(device, &fault);
	else
		device->unheard = false;
}

void device_peer_routes(struct device *device, const struct config *config,
	const struct config_peer *peer, bool add)
{
	if (!device->up || !wants_routes(config, peer) ||
		(add && !device->wanted(device->wanted_ctx, peer->name)))
		return;
	for (size_t i = 0; i < peer->allowed_ips.count; i++)
		change_route(device, config, &peer->allowed_ips.items[i], add);
}

static void all_routes(struct device *device, const struct config *config, bool add)
{
	for (size_t i = 0; i < config->peer_count; i++)
		device_peer_routes(device, config, &config->peers[i], add);
}

/* ---- addresses and link ----------------------------------------------------------------------------------------- */

static int change_address(
	struct device *device, const struct ip_prefix *address, bool add, struct fault *fault)
{
	int error = device->host.ops->address(
		device->host.ctx, device->tun.ifindex, address, add, fault);

	if (error == 0)
		device->unheard = false;
	return error;
}

static void remove_addresses(struct device *device, const struct config *config)
{
	struct fault fault = {0};

	for (size_t i = 0; i < config->interface.addresses.count; i++) {
		if (change_address(device, &config->interface.addresses.items[i], false, &fault) <
			0)
			warn(device, &fault);
	}
}

int device_set_mtu(struct device *device, uint32_t mtu_bytes, struct fault *fault)
{
	return device->host.ops->set_mtu(device->host.ctx, device->tun.ifindex, mtu_bytes, fault);
}

int device_up(struct device *device, const struct config *config, struct fault *fault)
{
	int ifindex = device->tun.ifindex;
	int error;

	if (device->up)
		return 0;
	error = device_set_mtu(device, (uint32_t)config->interface.mtu_bytes, fault);
	for (size_t i = 0; error == 0 && i < config->interface.addresses.count; i++)
		error = change_address(device, &config->interface.addresses.items[i], true, fault);
	if (error == 0)
		error = device->host.ops->set_up(device->host.ctx, ifindex, true, fault);
	if (error < 0) {
		remove_addresses(device, config);
		return error;
	}
	device->up = true;
	all_routes(device, config, true);
	return 0;
}

void device_down(struct device *device, const struct config *config)
{
	struct fault fault = {0};

	if (!device->up)
		return;
	all_routes(device, config, false);
	device->up = false;
	remove_addresses(device, config);
	if (device->host.ops->set_up(device->host.ctx, device->tun.ifindex, false, &fault) < 0)
		warn(device, &fault);
}

/* ---- a reload --------------------------------------------------------------------------------------------------- */

static bool has_cidr(const struct config_cidrs *list, const struct ip_prefix *cidr)
{
	for (size_t i = 0; i < list->count; i++) {
		if (ip_prefix_equal(&list->items[i], cidr))
			return true;
	}
	return false;
}

static bool same_route_settings(const struct config *a, const struct config *b)
{
	return a->routes.table == b->routes.table && a->routes.metric == b->routes.metric &&
	       a->routes.protocol == b->routes.protocol;
}

/* Collects the destinations to which `config`, the one in force, wants routes now. */
static void collect_wanted(
	const struct device *device, const struct config *config, struct prefix_set *wanted)
{
	for (size_t i = 0; i < config->peer_count; i++) {
		const struct config_peer *peer = &config->peers[i];
		if (!wants_routes(config, peer) || !device->wanted(device->wanted_ctx, peer->name))
			continue;
		for (size_t k = 0; k < peer->allowed_ips.count; k++) {
			if (!covered(config, &peer->allowed_ips.items[k]))
				prefix_set_add(wanted, &peer->allowed_ips.items[k]);
		}
	}
	prefix_set_sort(wanted);
}

/* Removes the routes of `before` that are not wanted any more. */
static void remove_old_routes(struct device *device, const struct config *before,
	const struct config *after, const struct prefix_set *wanted)
{
	bool same = same_route_settings(before, after);

	for (size_t i = 0; i < before->peer_count; i++) {
		const struct config_peer *peer = &before->peers[i];
		for (size_t k = 0; wants_routes(before, peer) && k < peer->allowed_ips.count; k++) {
			if (!same || !prefix_set_has(wanted, &peer->allowed_ips.items[k]))
				change_route(device, before, &peer->allowed_ips.items[k], false);
		}
	}
}

struct present {
	struct netlink_route like; /* but for the destination */
	struct prefix_set set;
};

static void note_present(void *ctx, const struct netlink_route *route)
{
	struct present *present = ctx;
	const struct netlink_route *like = &present->like;
	/* without one of ours the kernel chooses it for IPv6 */
	bool metric_chosen = like->metric == 0 && route->destination.family == 6;

	if (route->ifindex == like->ifindex && route->table == like->table &&
		(metric_chosen || route->metric == like->metric))
		prefix_set_add(&present->set, &route->destination);
}

/* Adds what is wanted and not there, be it new or taken away by somebody. */
static void add_missing_routes(
	struct device *device, const struct config *config, const struct prefix_set *wanted)
{
	struct present present = {.like = route_of(device, config, &(struct ip_prefix){0})};
	struct fault fault = {0};

	/* if that fails, adding tells what is there already */
	if (netlink_route_list(
		    device->netlink, present.like.protocol, note_present, &present, &fault) < 0)
		warn(device, &fault);
	prefix_set_sort(&present.set);
	for (size_t i = 0; i < wanted->count; i++) {
		if (!prefix_set_has(&present.set, &wanted->items[i]))
			change_route(device, config, &wanted->items[i], true);
	}
	prefix_set_fini(&present.set);
}

void device_change(struct device *device, const struct config *before, const struct config *after)
{
	const struct config_cidrs *old = &before->interface.addresses;
	const struct config_cidrs *new = &after->interface.addresses;
	struct prefix_set wanted = {0};
	struct fault fault = {0};

	if (!device->up)
		return;
	collect_wanted(device, after, &wanted);
	if (!wanted.failed)
		remove_old_routes(device, before, after, &wanted);
	if (before->interface.mtu_bytes != after->interface.mtu_bytes &&
		device_set_mtu(device, (uint32_t)after->interface.mtu_bytes, &fault) < 0)
		warn(device, &fault);
	/* New ones first: with the last IPv4 address the kernel takes all IPv4 routes of the device away. */
	for (size_t i = 0; i < new->count; i++) {
		if (has_cidr(old, &new->items[i]))
			continue;
		if (change_address(device, &new->items[i], true, &fault) < 0)
			warn(device, &fault);
	}
	for (size_t i = 0; i < old->count; i++) {
		if (has_cidr(new, &old->items[i]))
			continue;
		if (change_address(device, &old->items[i], false, &fault) < 0)
			warn(device, &fault);
	}
	if (wanted.failed)
		log_error(device->log, "out of memory: routes are missing or left over");
	add_missing_routes(device, after, &wanted);
	prefix_set_fini(&wanted);
}
