/*
 * A table of the host's packet filter (nftables) that lets nothing out but the tunnel's own datagrams, what goes into the
 * tunnel, and what is exempt. It belongs to no process, so it outlasts a killed daemon.
 */
#ifndef VPND_NETLINK_GUARD_H
#define VPND_NETLINK_GUARD_H

#include "core/ip_prefix.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fault;

enum {
	NETLINK_GUARD_NAME_BYTES = 80, /* of the table, with its final zero */
};

struct netlink_guard {
	const char *table;		/* its name; nobody else's */
	const char *device;		/* what leaves there goes into the tunnel */
	uint32_t fwmark;		/* of the tunnel's datagrams; not 0 */
	const struct ip_prefix *exempt; /* destinations that are left outside in any case */
	size_t exempt_count;
	const struct ip_prefix *lan; /* the same, but that no names are asked there */
	size_t lan_count;
};

/** Puts it up, in place of an older one, in one step. @return 0 or a negative errno with `*fault` filled */
int netlink_guard_set(const struct netlink_guard *guard, struct fault *fault);

/** Removes it if it is there. @return 0 or a negative errno with `*fault` filled */
int netlink_guard_remove(const char *table, struct fault *fault);

#endif
