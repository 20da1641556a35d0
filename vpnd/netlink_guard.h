/*
 * A table of the host's packet filter (nftables). With a kill switch it lets nothing out but the tunnel's own datagrams, what
 * goes into the tunnel, and what is exempt; and where a host is strict about where answers come from it marks those to the
 * tunnel's sockets. It belongs to no process, so it outlasts a killed daemon.
 */
#ifndef VPND_NETLINK_GUARD_H
#define VPND_NETLINK_GUARD_H

#include "core/ip_prefix.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fault;
struct netlink;
struct netlink_guard_watch;

enum {
	NETLINK_GUARD_NAME_BYTES = 80, /* of the table, with its final zero */
	NETLINK_GUARD_PREFIXES_MAX = 1024,
};

struct netlink_guard {
	const char *table; /* its name; nobody else's */
	uint32_t fwmark;   /* of the tunnel's datagrams; not 0 */
	bool marks; /* what comes in to a socket with that mark gets it, too, before it is routed */
	bool holds; /* a kill switch: the rest is about that */
	int ifindex; /* what leaves there goes into the tunnel; 0 = there is no such device */
	const struct ip_prefix *exempt; /* destinations that are left outside in any case */
	size_t exempt_count;
	const struct ip_prefix *lan; /* the same, but that no names are asked there */
	size_t lan_count;	     /* with the others at most NETLINK_GUARD_PREFIXES_MAX */
};

/** Puts it up, in place of an older one, in one step. @return 0 or a negative errno with `*fault` filled */
int netlink_guard_set(
	struct netlink *netlink, const struct netlink_guard *guard, struct fault *fault);

/** Removes it if it is there. @return 0 or a negative errno with `*fault` filled */
int netlink_guard_remove(struct netlink *netlink, const char *table, struct fault *fault);

/**
 * Begins to look for changes that others make in a table. Needs CAP_NET_ADMIN.
 *
 * @netlink    whose own changes do not count; must outlive the result
 * @ret_watch  freed by netlink_guard_watch_free()
 * @return     0 or a negative errno
 */
int netlink_guard_watch_new(
	struct netlink *netlink, const char *table, struct netlink_guard_watch **ret_watch);
void netlink_guard_watch_free(struct netlink_guard_watch *watch);

/** Becomes readable when there is something to look at. */
int netlink_guard_watch_fd(const struct netlink_guard_watch *watch);

/** Reads all that has come. @return whether the table may not be what it was: touched, or news were lost */
bool netlink_guard_watch_touched(struct netlink_guard_watch *watch);

#endif
