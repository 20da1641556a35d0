/*
 * What routes a device should have, and who else has routes to the same destinations.
 *
 * Somebody else's route in the same table to exactly the same destination is a clash, whatever its metric: either it
 * decides, and the tunnel stays empty without a word, or ours does, and a network that worked is gone. Which of the two
 * is wanted nobody can guess, so by default neither is done. A route to a part of the destination, or to more than it, is
 * none: longest prefixes decide, and that is mostly meant.
 */
#include "vpnd/device_routes.h"

#include "core/log.h"
#include "vpnd/device.h"
#include "vpnd/fault.h"
#include "vpnd/netlink.h"
#include "vpnd/prefix_set.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is wanted --------------------------------------------------------------------------------------------- */

bool device_wants_routes(const struct config *config, const struct config_peer *peer)
{
	return peer->enabled && config->routes.table != CONFIG_OFF;
}

/* Where each peer has a device, a destination's is that of the peer it belongs to. There are few of these. */
static int ifindex_to(const struct device *device, const struct config *config,
	const struct ip_prefix *destination)
{
	struct ip_prefix masked = *destination;

	ip_prefix_mask(&masked);
	for (size_t i = 0; device->peer_ifindex && i < config->peer_count; i++) {
		const struct config_peer *peer = &config->peers[i];
		for (size_t k = 0; k < peer->allowed_ips.count; k++) {
			int ifindex = ip_prefix_equal(&peer->allowed_ips.items[k], &masked)
					      ? device->peer_ifindex(device->wanted_ctx, peer->name)
					      : 0;
			if (ifindex)
				return ifindex;
		}
	}
	return device->tun.ifindex;
}

struct netlink_route device_route_of(const struct device *device, const struct config *config,
	const struct ip_prefix *destination)
{
	return (struct netlink_route){
		.destination = *destination,
		.ifindex = ifindex_to(device, config, destination),
		.table = config_route_table(config, destination),
		.metric = (uint32_t)config->routes.metric,
		.protocol = (uint8_t)config->routes.protocol,
		.prefer = config->routes.on_clash == CONFIG_CLASH_PREFER_TUNNEL,
	};
}

bool device_same_route(
	const struct config *a, const struct config *b, const struct ip_prefix *destination)
{
	return config_route_table(a, destination) == config_route_table(b, destination) &&
	       a->routes.metric == b->routes.metric && a->routes.protocol == b->routes.protocol;
}

/* Collects the destinations to which `config`, the one in force, wants routes now. */
void device_collect_wanted(
	const struct device *device, const struct config *config, struct prefix_set *wanted)
{
	for (size_t i = 0; i < config->peer_count; i++) {
		const struct config_peer *peer = &config->peers[i];
		if (!device_wants_routes(config, peer) ||
			!device->wanted(device->wanted_ctx, peer->name))
			continue;
		for (size_t k = 0; k < peer->allowed_ips.count; k++) {
			if (!config_route_is_covered(config, &peer->allowed_ips.items[k]))
				prefix_set_add(wanted, &peer->allowed_ips.items[k]);
		}
	}
	prefix_set_sort(wanted);
}

/* ---- what others have ------------------------------------------------------------------------------------------- */

struct rivals {
	const struct device *device;
	const struct config *config;
	const struct prefix_set *wanted;
	struct prefix_set taken; /* by somebody else */
	struct netlink_route first;
	bool any;
};

static bool is_own(const struct rivals *rivals, const struct netlink_route *route)
{
	const struct device *device = rivals->device;

	if (route->ifindex == device->tun.ifindex)
		return true;
	for (size_t i = 0; device->peer_ifindex && i < rivals->config->peer_count; i++) {
		if (route->ifindex ==
			device->peer_ifindex(device->wanted_ctx, rivals->config->peers[i].name))
			return true;
	}
	return false;
}

static void note_rival(void *ctx, const struct netlink_route *route)
{
	struct rivals *rivals = ctx;

	if (!prefix_set_has(rivals->wanted, &route->destination) ||
		route->table != config_route_table(rivals->config, &route->destination) ||
		is_own(rivals, route))
		return;
	if (!rivals->any)
		rivals->first = *route;
	rivals->any = true;
	prefix_set_add(&rivals->taken, &route->destination);
}

/* Finds who else has a route to a destination in `wanted`, in the same table. @return 0 or a negative errno */
static int find_rivals(struct rivals *rivals, struct fault *fault)
{
	int64_t table = rivals->config->routes.table;
	bool one_table = rivals->config->full_tunnel.mode == CONFIG_FULL_TUNNEL_OFF;
	int error = 0;

	if (rivals->wanted->count > 0)
		error = netlink_route_list(rivals->device->netlink, 0,
			!one_table  ? 0
			: table > 0 ? (uint32_t)table
				    : (uint32_t)NETLINK_TABLE_MAIN,
			note_rival, rivals, fault);
	prefix_set_sort(&rivals->taken);
	return error;
}

/* The prefixes of the interface have routes, too: the kernel's. */
static void collect_own_prefixes(const struct config *config, struct prefix_set *wanted)
{
	for (size_t i = 0; i < config->interface.addresses.count; i++) {
		const struct ip_prefix *address = &config->interface.addresses.items[i];
		if (address->length < ip_prefix_bits_max(address->family))
			prefix_set_add(wanted, address);
	}
}

/* ---- who decides ------------------------------------------------------------------------------------------------ */

struct winner {
	uint32_t metric;
	bool any, own;
};

struct race {
	struct rivals rivals;
	struct winner *winners; /* as the items of rivals.wanted */
};

static void note_winner(void *ctx, const struct netlink_route *route)
{
	struct race *race = ctx;
	const struct rivals *rivals = &race->rivals;
	size_t index = prefix_set_find(rivals->wanted, &route->destination);

	if (index == rivals->wanted->count ||
		route->table != config_route_table(rivals->config, &route->destination))
		return;
	struct winner *winner = &race->winners[index];
	bool own = is_own(rivals, route);
	/* of several with the same metric the first one decides; with IPv6 they may share */
	if (winner->any && (route->metric > winner->metric ||
				   (route->metric == winner->metric &&
					   (own || route->destination.family == 4))))
		return;
	*winner = (struct winner){.metric = route->metric, .any = true, .own = own};
}

void device_collect_beaten(struct device *device, const struct config *config,
	const struct prefix_set *wanted, struct prefix_set *ret_beaten)
{
	struct race race = {
		.rivals = {.device = device, .config = config, .wanted = wanted},
		.winners = calloc(wanted->count + 1, sizeof(*race.winners)),
	};
	struct fault fault = {0};

	if (!race.winners) {
		ret_beaten->failed = true;
		return;
	}
	if (netlink_route_list(device->netlink, 0, 0, note_winner, &race, &fault) < 0)
		log_warn(device->log, "%s %s", fault.code, fault.text);
	for (size_t i = 0; i < wanted->count; i++) {
		if (race.winners[i].any && !race.winners[i].own)
			prefix_set_add(ret_beaten, &wanted->items[i]);
	}
	free(race.winners);
}

static int clash(const struct rivals *rivals, struct fault *fault)
{
	const struct netlink_route *route = &rivals->first;
	char prefix[IP_PREFIX_TEXT_BYTES], name[IF_NAMESIZE];

	if (!if_indextoname((unsigned)route->ifindex, name))
		(void)snprintf(name, sizeof(name), "#%d", route->ifindex);
	return fault_set(fault, -EEXIST, "E-NET-9",
		"ip route show table all shows it; take the destination out of allowed_ips or "
		"interface.addresses, or say which is to win: routes.on_clash: prefer_tunnel or "
		"prefer_local",
		"there is a route to %s already, by %s (table %u, metric %u)%s",
		ip_prefix_format(&route->destination, prefix), name, route->table, route->metric,
		rivals->taken.count > 1 ? ", and more such" : "");
}

int device_check_clashes(const struct device *device, const struct config *before,
	const struct config *after, struct fault *fault)
{
	struct prefix_set wanted = {0}, had = {0}, news = {0};
	struct rivals rivals = {.device = device, .config = after, .wanted = &news};
	int error = 0;

	if (after->routes.on_clash != CONFIG_CLASH_REFUSE)
		return 0;
	device_collect_wanted(device, after, &wanted);
	collect_own_prefixes(after, &wanted);
	if (before) {
		device_collect_wanted(device, before, &had);
		collect_own_prefixes(before, &had);
		prefix_set_sort(&had);
	}
	for (size_t i = 0; i < wanted.count; i++) {
		if (!prefix_set_has(&had, &wanted.items[i]) ||
			!device_same_route(before, after, &wanted.items[i]))
			prefix_set_add(&news, &wanted.items[i]);
	}
	prefix_set_sort(&news);
	if (wanted.failed || had.failed || news.failed)
		error = fault_set(fault, -ENOMEM, "E-VPND-2", NULL, "out of memory");
	if (!error)
		error = find_rivals(&rivals, fault);
	if (!error && rivals.any)
		error = clash(&rivals, fault);
	prefix_set_fini(&rivals.taken);
	prefix_set_fini(&wanted);
	prefix_set_fini(&had);
	prefix_set_fini(&news);
	return error;
}

void device_leave_to_others(
	struct device *device, const struct config *config, bool say, struct prefix_set *wanted)
{
	struct rivals rivals = {.device = device, .config = config, .wanted = wanted};
	struct fault fault = {0};
	char prefix[IP_PREFIX_TEXT_BYTES];
	size_t kept = 0;

	if (config->routes.on_clash != CONFIG_CLASH_PREFER_LOCAL)
		return;
	if (find_rivals(&rivals, &fault) < 0)
		log_warn(device->log, "%s %s", fault.code, fault.text);
	for (size_t i = 0; i < wanted->count; i++) {
		if (!prefix_set_has(&rivals.taken, &wanted->items[i])) {
			wanted->items[kept++] = wanted->items[i];
			continue;
		}
		if (say)
			log_info(device->log,
				"the route to %s is left to who has it (routes.on_clash)",
				ip_prefix_format(&wanted->items[i], prefix));
	}
	wanted->count = kept;
	prefix_set_fini(&rivals.taken);
}
