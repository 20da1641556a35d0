/* What could not be taken off the host, for another try. For device.c alone. */
#ifndef VPND_DEVICE_LEFT_H
#define VPND_DEVICE_LEFT_H

#include <stdbool.h>

struct config_cidrs;
struct device_left;
struct ip_prefix;
struct netlink_route;

/** Remembers one. @return false: no memory; it is forgotten */
bool device_left_add_route(struct device_left *left, const struct netlink_route *route);
bool device_left_add_address(struct device_left *left, const struct ip_prefix *address);

/** Forgets all and frees it. */
void device_left_fini(struct device_left *left);

bool device_has_cidr(const struct config_cidrs *list, const struct ip_prefix *cidr);

#endif
