/* Which routes a device should have, and which of these somebody else has. For device.c alone. */
#ifndef VPND_DEVICE_ROUTES_H
#define VPND_DEVICE_ROUTES_H

#include "vpnd/netlink.h"

#include <stdbool.h>

struct config;
struct config_peer;
struct device;
struct prefix_set;

bool device_wants_routes(const struct config *config, const struct config_peer *peer);

/** The route to a destination of a peer, as it should be. */
struct netlink_route device_route_of(const struct device *device, const struct config *config,
	const struct ip_prefix *destination);

/** Whether both want the same of a route to this destination. */
bool device_same_route(
	const struct config *a, const struct config *b, const struct ip_prefix *destination);

/** Collects the destinations to which `config`, the one in force, wants routes now, sorted. */
void device_collect_wanted(
	const struct device *device, const struct config *config, struct prefix_set *wanted);

/** Takes out of `wanted` what somebody else has a route to, if he is to keep it (routes.on_clash: prefer_local). @say  in the log */
void device_leave_to_others(
	struct device *device, const struct config *config, bool say, struct prefix_set *wanted);

/** Collects those of `wanted` for which somebody else's route decides, though one of ours may be there. */
void device_collect_beaten(struct device *device, const struct config *config,
	const struct prefix_set *wanted, struct prefix_set *ret_beaten);

#endif
