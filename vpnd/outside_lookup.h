/*
 * Addresses of names, asked outside a full tunnel: from marked sockets, of the servers that the host had before. The C
 * library cannot do that, and its questions would go into the tunnel that the answer is needed for.
 */
#ifndef VPND_OUTSIDE_LOOKUP_H
#define VPND_OUTSIDE_LOOKUP_H

#include "kcpvpn/endpoint.h"

#include <stddef.h>

struct addrinfo;

enum {
	OUTSIDE_SERVERS_MAX = 8,
};

/**
 * Prepares, or changes, what lookups use from now on.
 *
 * @sockets    of IPv4 and IPv6, marked, -1 = none; taken, those of before are closed
 * @inside     servers that stand inside the tunnel and are not asked; `inside_count` of them are copied
 */
void outside_lookup_set(
	const int sockets[2], const struct kcpvpn_endpoint *inside, size_t inside_count);

/** Notes which servers there are now, before those inside the tunnel take their place. */
void outside_lookup_learn(void);

/** A resolver_lookup_fn. /etc/hosts first, then DNS. */
int outside_lookup(const char *host, const char *service, const struct addrinfo *hints,
	struct addrinfo **ret_list);

/** Reads the servers of a resolv.conf, without those of this host itself. For tests. @return how many */
size_t outside_servers_read(const char *path, struct kcpvpn_endpoint *ret_list, size_t room);

/** Reads the addresses of a name in a hosts file. For tests. @return how many */
size_t outside_hosts_read(
	const char *path, const char *host, struct kcpvpn_endpoint *ret_list, size_t room);

#endif
