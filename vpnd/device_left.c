/*
 * What could not be taken off the host. Orders may ask for the same again and again while nobody carries them out, so before the
 * list of routes grows each of them stays once; addresses are few, and looked through.
 */
#include "vpnd/device_left.h"

#include "vpnd/device.h"
#include "vpnd/netlink.h"

#include <stdlib.h>
#include <string.h>

static int compare_routes(const void *first, const void *second)
{
	const struct netlink_route *a = first, *b = second;

	if (a->table != b->table)
		return a->table < b->table ? -1 : 1;
	if (a->metric != b->metric)
		return a->metric < b->metric ? -1 : 1;
	if (a->protocol != b->protocol)
		return a->protocol < b->protocol ? -1 : 1;
	return memcmp(&a->destination, &b->destination, sizeof(a->destination));
}

static bool make_room(struct device_left *left)
{
	size_t kept = 0, room;
	struct netlink_route *grown;

	if (left->route_count < left->route_room)
		return true;
	if (left->route_count > 0)
		qsort(left->routes, left->route_count, sizeof(*left->routes), compare_routes);
	for (size_t i = 0; i < left->route_count; i++) {
		if (kept == 0 || compare_routes(&left->routes[kept - 1], &left->routes[i]) != 0)
			left->routes[kept++] = left->routes[i];
	}
	left->route_count = kept;
	if (kept < left->route_room / 2)
		return true;
	room = left->route_room ? 2 * left->route_room : 16;
	grown = reallocarray(left->routes, room, sizeof(*grown));
	if (grown) {
		left->routes = grown;
		left->route_room = room;
	}
	return left->route_count < left->route_room;
}

bool device_left_add_route(struct device_left *left, const struct netlink_route *route)
{
	if (!make_room(left))
		return false;
	left->routes[left->route_count++] = *route;
	return true;
}

bool device_has_cidr(const struct config_cidrs *list, const struct ip_prefix *cidr)
{
	for (size_t i = 0; i < list->count; i++) {
		if (ip_prefix_equal(&list->items[i], cidr))
			return true;
	}
	return false;
}

bool device_left_add_address(struct device_left *left, const struct ip_prefix *address)
{
	struct config_cidrs *list = &left->addresses;
	struct ip_prefix *grown;

	if (device_has_cidr(list, address))
		return true;
	grown = reallocarray(list->items, list->count + 1, sizeof(*grown));
	if (!grown)
		return false;
	list->items = grown;
	list->items[list->count++] = *address;
	return true;
}

void device_left_fini(struct device_left *left)
{
	free(left->routes);
	free(left->addresses.items);
	*left = (struct device_left){0};
}
