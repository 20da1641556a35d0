/*
 * Addresses first, then the link, then routes: the kernel refuses routes over a link that is down. A prefix that the
 * interface's own addresses cover already has its route from the kernel and is not added twice.
 *
 * Routes carry `routes.protocol`, so that only own ones are ever removed.
 *
 * Whoever makes the changes may fail to, and what he was asked for in vain must not be forgotten: an address or a route
 * that stays sends traffic into a tunnel that is down. So what could not be removed is kept in `left` (device_left.c), and `unclean`
 * says that the host differs from what is wanted; device_repair() goes through it again.
 */
#include "vpnd/device.h"

#include "core/log.h"
#include "vpnd/device_left.h"
#include "vpnd/device_routes.h"
#include "vpnd/fault.h"
#include "vpnd/netlink.h"
#include "vpnd/prefix_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Whoever makes changes is gone, or does not answer: that is no answer to the change itself. */
static bool is_unheard(int error)
{
	return error == -EPIPE || error == -ETIMEDOUT;
}

/* A change failed. Where nobody makes changes, one of a thousand routes says it. */
static void warn(struct device *device, int error, const struct fault *fault)
{
	bool unheard = is_unheard(error);

	if (!device->first.err) {
		device->first = *fault;
		device->first.err = error;
	}
	if (unheard && device->unheard)
		return;
	device->unheard = unheard;
	log_warn(device->log, "%s %s%s%s", fault->code, fault->text, fault->hint[0] ? "; " : "",
		fault->hint);
	if (device->told)
		device->told(device->told_ctx, fault);
}

static int first_error(const struct device *device, struct fault *fault)
{
	if (device->first.err && fault)
		*fault = device->first;
	return device->first.err;
}

static void close_queues(struct device *device)
{
	for (unsigned i = 1; i < device->queue_count; i++)
		tun_close(&device->queues[i - 1]);
	device->queue_count = 1;
}

/*
 * All of them or one. The host may have none to give, or a device of that name that somebody made for one reader. If there is not
 * even one, what was wrong first says more.
 */
static int open_queues(
	struct device *device, struct tun_options *options, unsigned count, struct fault *fault)
{
	struct fault first = {0};
	int error = 0;

	device->queue_count = 1;
	options->multi = false;
	if (count == 1)
		return tun_open(&device->tun, options, fault);
	options->multi = true;
	error = tun_open(&device->tun, options, &first);
	for (unsigned i = 1; error == 0 && i < count; i++) {
		error = tun_open_queue(&device->queues[i - 1], &device->tun, &first);
		if (error == 0)
			device->queue_count++;
	}
	if (error == 0)
		return 0;
	close_queues(device);
	tun_close(&device->tun);
	options->multi = false;
	if (error != -EPERM && tun_open(&device->tun, options, fault) == 0) {
		log_warn(device->log, "the device gets one queue: %s", first.text);
		return 0;
	}
	*fault = first;
	return error;
}

int device_open(struct device *device, const char *name, bool offload, unsigned queues,
	struct netlink *netlink, const struct log *log, device_wanted_fn wanted, void *wanted_ctx,
	struct fault *fault)
{
	struct tun_options options = {.name = name, .offload = offload};

	*device = (struct device){
		.tun.fd = -1,
		.wanted = wanted,
		.wanted_ctx = wanted_ctx,
		.netlink = netlink,
		.host = host_net_direct(netlink),
		.log = log,
	};
	for (unsigned i = 0; i < DEVICE_QUEUES_MAX - 1; i++)
		device->queues[i].fd = -1;
	return open_queues(device, &options, queues, fault);
}

void device_close(struct device *device, const struct config *config)
{
	(void)device_down(device, config, NULL);
	close_queues(device);
	tun_close(&device->tun);
	device_left_fini(&device->left);
}

/* ---- routes ----------------------------------------------------------------------------------------------------- */

static void remember_route(struct device *device, const struct netlink_route *route)
{
	device->unclean = true;
	if (!device_left_add_route(&device->left, route))
		log_error(device->log, "out of memory: a route is left over");
}

static void do_route(struct device *device, const struct netlink_route *route, bool add)
{
	struct fault fault = {0};
	int error = device->host.ops->route(
		device->host.ctx, route, add ? HOST_ROUTE_ADD : HOST_ROUTE_REMOVE, &fault);

	if (error == 0) {
		device->unheard = false;
		return;
	}
	/* One that was refused for its own sake would be refused again. */
	if (!add)
		remember_route(device, route);
	else if (is_unheard(error))
		device->unclean = true;
	warn(device, error, &fault);
}

static void change_route(struct device *device, const struct config *config,
	const struct ip_prefix *destination, bool add)
{
	struct netlink_route route = device_route_of(device, config, destination);

	if (!config_route_is_covered(config, destination))
		do_route(device, &route, add);
}

/* In the order of the file, which is the one that the helper checks fast. */
static void add_wanted(struct device *device, const struct config *config,
	const struct config_peer *peers, size_t count)
{
	struct prefix_set all = {0};
	bool some_are_taken = config->routes.on_clash == CONFIG_CLASH_PREFER_LOCAL;

	if (some_are_taken) {
		device_collect_wanted(device, config, &all);
		device_leave_to_others(device, config, true, &all);
	}
	for (size_t i = 0; i < count; i++) {
		const struct config_peer *peer = &peers[i];
		if (!device_wants_routes(config, peer) ||
			!device->wanted(device->wanted_ctx, peer->name))
			continue;
		for (size_t k = 0; k < peer->allowed_ips.count; k++) {
			const struct ip_prefix *destination = &peer->allowed_ips.items[k];
			if (!some_are_taken || prefix_set_has(&all, destination))
				change_route(device, config, destination, true);
		}
	}
	prefix_set_fini(&all);
}

void device_peer_routes(struct device *device, const struct config *config,
	const struct config_peer *peer, bool add)
{
	if (!device->up || !device_wants_routes(config, peer) ||
		(add && !device->wanted(device->wanted_ctx, peer->name)))
		return;
	if (add) {
		add_wanted(device, config, peer, 1);
		return;
	}
	for (size_t i = 0; i < peer->allowed_ips.count; i++)
		change_route(device, config, &peer->allowed_ips.items[i], false);
}

static void all_routes(struct device *device, const struct config *config, bool add)
{
	if (add) {
		add_wanted(device, config, config->peers, config->peer_count);
		return;
	}
	for (size_t i = 0; i < config->peer_count; i++)
		device_peer_routes(device, config, &config->peers[i], add);
}

/* ---- addresses and link ----------------------------------------------------------------------------------------- */

static void remember_address(struct device *device, const struct ip_prefix *address)
{
	device->unclean = true;
	if (!device_left_add_address(&device->left, address))
		log_error(device->log, "out of memory: an address is left over");
}

static int change_address(
	struct device *device, const struct ip_prefix *address, bool add, struct fault *fault)
{
	int error = device->host.ops->address(
		device->host.ctx, device->tun.ifindex, address, add, fault);

	if (error == 0)
		device->unheard = false;
	else if (!add)
		remember_address(device, address);
	else if (is_unheard(error))
		device->unclean = true;
	return error;
}

static void change_addresses(struct device *device, const struct config_cidrs *list, bool add)
{
	for (size_t i = 0; i < list->count; i++) {
		struct fault fault = {0};
		int error = change_address(device, &list->items[i], add, &fault);
		if (error < 0)
			warn(device, error, &fault);
	}
}

static void set_link_down(struct device *device)
{
	struct fault fault = {0};
	int error = device->host.ops->set_up(device->host.ctx, device->tun.ifindex, false, &fault);

	if (error == 0)
		return;
	device->unclean = true;
	warn(device, error, &fault);
}

int device_set_mtu(struct device *device, uint32_t mtu_bytes, struct fault *fault)
{
	int error =
		device->host.ops->set_mtu(device->host.ctx, device->tun.ifindex, mtu_bytes, fault);

	device->mtu_bytes = mtu_bytes;

	if (error == 0)
		device->left.mtu_bytes = 0;
	return error;
}

static void change_mtu(struct device *device, uint32_t mtu_bytes)
{
	struct fault fault = {0};
	int error = device_set_mtu(device, mtu_bytes, &fault);

	if (error == 0)
		return;
	if (is_unheard(error)) {
		device->unclean = true;
		device->left.mtu_bytes = mtu_bytes;
	}
	warn(device, error, &fault);
}

/* The kernel takes the addresses' routes away with the link, so addresses may stay on a device that is down. */
void device_peer_link(
	struct device *device, const struct config *config, const struct config_peer *peer, bool up)
{
	int ifindex =
		device->peer_ifindex ? device->peer_ifindex(device->wanted_ctx, peer->name) : 0;
	const struct host_net_ops *ops = device->host.ops;
	struct fault fault = {0};
	int error = 0;

	if (!ifindex || (up && !device->up))
		return;
	for (size_t i = 0; !error && up && i < config->interface.addresses.count; i++)
		error = ops->peer_address(device->host.ctx, ifindex,
			&config->interface.addresses.items[i], NULL, &fault);
	if (!error)
		error = ops->set_up(device->host.ctx, ifindex, up, &fault);
	if (error)
		warn(device, error, &fault);
}

int device_up(struct device *device, const struct config *config, struct fault *fault)
{
	int ifindex = device->tun.ifindex;
	int error;

	if (device->up)
		return 0;
	error = device_check_clashes(device, NULL, config, fault);
	if (error < 0)
		return error;
	error = device_set_mtu(device, (uint32_t)config->interface.mtu_bytes, fault);
	for (size_t i = 0; error == 0 && i < config->interface.addresses.count; i++)
		error = change_address(device, &config->interface.addresses.items[i], true, fault);
	if (error == 0)
		error = device->host.ops->set_up(device->host.ctx, ifindex, true, fault);
	if (error < 0) {
		device->unclean |= is_unheard(error); /* it may be done late */
		change_addresses(device, &config->interface.addresses, false);
		return error;
	}
	device->up = true;
	for (size_t i = 0; i < config->peer_count; i++)
		device_peer_link(device, config, &config->peers[i], true);
	all_routes(device, config, true);
	return 0;
}

int device_down(struct device *device, const struct config *config, struct fault *fault)
{
	if (!device->up)
		return device_repair(device, config, fault);
	device->first = (struct fault){0};
	all_routes(device, config, false);
	device->up = false;
	for (size_t i = 0; i < config->peer_count; i++)
		device_peer_link(device, config, &config->peers[i], false);
	change_addresses(device, &config->interface.addresses, false);
	set_link_down(device);
	return first_error(device, fault);
}

/* ---- a reload --------------------------------------------------------------------------------------------------- */

/* Removes the routes of `before` that are not wanted any more. */
static void remove_old_routes(struct device *device, const struct config *before,
	const struct config *after, const struct prefix_set *wanted)
{
	for (size_t i = 0; i < before->peer_count; i++) {
		const struct config_peer *peer = &before->peers[i];
		for (size_t k = 0; device_wants_routes(before, peer) && k < peer->allowed_ips.count;
			k++) {
			const struct ip_prefix *destination = &peer->allowed_ips.items[k];
			if (!device_same_route(before, after, destination) ||
				!prefix_set_has(wanted, destination))
				change_route(device, before, destination, false);
		}
	}
}

struct present {
	const struct device *device;
	const struct config *config;
	struct prefix_set set;
};

static void note_present(void *ctx, const struct netlink_route *route)
{
	struct present *present = ctx;
	struct netlink_route like =
		device_route_of(present->device, present->config, &route->destination);
	/* without one of ours the kernel chooses it for IPv6; and one that is preferred may have another */
	bool metric_chosen = like.prefer || (like.metric == 0 && route->destination.family == 6);

	if (route->ifindex == like.ifindex && route->table == like.table &&
		(metric_chosen || route->metric == like.metric))
		prefix_set_add(&present->set, &route->destination);
}

/* Adds what is wanted and not there, be it new or taken away by somebody. @return how many */
static size_t add_missing_routes(
	struct device *device, const struct config *config, const struct prefix_set *wanted)
{
	struct present present = {.device = device, .config = config};
	struct fault fault = {0};
	size_t added = 0;

	/* if that fails, adding tells what is there already */
	int error = netlink_route_list(device->netlink, (uint8_t)config->routes.protocol, 0,
		note_present, &present, &fault);
	if (error < 0)
		warn(device, error, &fault);
	prefix_set_sort(&present.set);
	for (size_t i = 0; i < wanted->count; i++) {
		if (prefix_set_has(&present.set, &wanted->items[i]))
			continue;
		change_route(device, config, &wanted->items[i], true);
		added++;
	}
	prefix_set_fini(&present.set);
	return error < 0 ? 0 : added;
}

static void change(struct device *device, const struct config *before, const struct config *after)
{
	const struct config_cidrs *old = &before->interface.addresses;
	const struct config_cidrs *new = &after->interface.addresses;
	struct prefix_set wanted = {0};

	device_collect_wanted(device, after, &wanted);
	device_leave_to_others(device, after, true, &wanted);
	if (!wanted.failed)
		remove_old_routes(device, before, after, &wanted);
	if (before->interface.mtu_bytes != after->interface.mtu_bytes)
		change_mtu(device, (uint32_t)after->interface.mtu_bytes);
	/* New ones first: with the last IPv4 address the kernel takes all IPv4 routes of the device away. The others, too:
	   somebody may have taken them off. */
	change_addresses(device, new, true);
	for (size_t i = 0; i < old->count; i++) {
		const struct config_cidrs gone = {.items = &old->items[i], .count = 1};
		if (!device_has_cidr(new, &old->items[i]))
			change_addresses(device, &gone, false);
	}
	if (wanted.failed)
		log_error(device->log, "out of memory: routes are missing or left over");
	(void)add_missing_routes(device, after, &wanted);
	prefix_set_fini(&wanted);
}

void device_change(struct device *device, const struct config *before, const struct config *after,
	device_told_fn told, void *told_ctx)
{
	device->unheard = false; /* who asks hears it, though it was said before */
	device->told = told;
	device->told_ctx = told_ctx;
	if (device->up)
		change(device, before, after);
	if (device->unclean)
		(void)device_repair(device, after, NULL);
	device->told = NULL;
}

static bool wants_route(const struct device *device, const struct config *config,
	const struct prefix_set *wanted, const struct netlink_route *route)
{
	struct netlink_route like = device_route_of(device, config, &route->destination);

	return route->table == like.table && route->metric == like.metric &&
	       route->protocol == like.protocol && prefix_set_has(wanted, &route->destination);
}

int device_repair(struct device *device, const struct config *config, struct fault *fault)
{
	struct device_left left = device->left;
	struct prefix_set wanted = {0};

	if (!device->unclean)
		return 0;
	device->first = (struct fault){0};
	device->left = (struct device_left){0}; /* what fails again comes in again */
	device->unclean = false;
	if (device->up)
		device_collect_wanted(device, config, &wanted);
	device_leave_to_others(device, config, false, &wanted);
	if (wanted.failed) {
		log_error(device->log, "out of memory: routes are missing or left over");
		device->unclean = true;
	}
	for (size_t i = 0; !wanted.failed && i < left.route_count; i++) {
		if (!wants_route(device, config, &wanted, &left.routes[i]))
			do_route(device, &left.routes[i], false);
	}
	if (device->up && left.mtu_bytes)
		change_mtu(device, left.mtu_bytes);
	if (device->up)
		change_addresses(device, &config->interface.addresses, true);
	for (size_t i = 0; i < left.addresses.count; i++) {
		const struct config_cidrs one = {.items = &left.addresses.items[i], .count = 1};
		if (!device->up || !device_has_cidr(&config->interface.addresses, one.items))
			change_addresses(device, &one, false);
	}
	if (device->up)
		(void)add_missing_routes(device, config, &wanted);
	else
		set_link_down(device);
	prefix_set_fini(&wanted);
	device_left_fini(&left);
	return first_error(device, fault);
}

size_t device_keep_in_front(struct device *device, const struct config *config)
{
	struct prefix_set wanted = {0}, beaten = {0};
	size_t count;

	if (!device->up || config->routes.on_clash != CONFIG_CLASH_PREFER_TUNNEL)
		return 0;
	device_collect_wanted(device, config, &wanted);
	if (!wanted.failed)
		device_collect_beaten(device, config, &wanted, &beaten);
	count = beaten.count;
	for (size_t i = 0; i < count; i++)
		change_route(device, config, &beaten.items[i], true);
	prefix_set_fini(&beaten);
	prefix_set_fini(&wanted);
	return count;
}

/* Addresses that somebody took off the device of a peer; setting its link once more puts back what is missing. */
static size_t restore_peers(struct device *device, const struct config *config)
{
	size_t restored = 0;

	for (size_t p = 0; device->peer_ifindex && p < config->peer_count; p++) {
		const struct config_peer *peer = &config->peers[p];
		int ifindex = device->peer_ifindex(device->wanted_ctx, peer->name);
		size_t missing = 0;
		for (size_t i = 0; ifindex && i < config->interface.addresses.count; i++) {
			struct ip_prefix address = config->interface.addresses.items[i];
			address.length = 0; /* whichever: it is the peer's */
			missing += !netlink_address_is_there(device->netlink, ifindex, &address);
		}
		if (missing > 0)
			device_peer_link(device, config, peer, true);
		restored += missing;
	}
	return restored;
}

size_t device_restore(struct device *device, const struct config *config)
{
	struct prefix_set wanted = {0};
	size_t restored = 0;

	if (!device->up ||
		!tun_is_up(&device->tun)) /* with the link somebody took all, and said so */
		return 0;
	device_collect_wanted(device, config, &wanted);
	device_leave_to_others(device, config, false, &wanted);
	for (size_t i = 0; i < config->interface.addresses.count; i++) {
		const struct ip_prefix *address = &config->interface.addresses.items[i];
		const struct config_cidrs one = {(struct ip_prefix *)(uintptr_t)address, 1};
		if (netlink_address_is_there(device->netlink, device->tun.ifindex, address))
			continue;
		change_addresses(device, &one, true);
		restored++;
	}
	restored += restore_peers(device, config);
	if (!wanted.failed)
		restored += add_missing_routes(device, config, &wanted);
	prefix_set_fini(&wanted);
	return restored;
}
