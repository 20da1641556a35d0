/* What the host's devices do with packets of IPv4 that come in (net.ipv4.conf), through route netlink. */
#ifndef VPND_NETLINK_CONF_H
#define VPND_NETLINK_CONF_H

#include <stdbool.h>

struct netlink;

struct netlink_conf {
	int ifindex;
	bool loopback;
	bool strict; /* rp_filter=1, for it or for all: it takes only what it would send back by the same device */
	bool counts_marks; /* src_valid_mark of its own: it asks for the packet's mark then */
};

/** @conf  borrowed for the call */
typedef void (*netlink_conf_fn)(void *ctx, const struct netlink_conf *conf);

/** Tells about all devices. @each  must not use `netlink`. @return 0 or a negative errno */
int netlink_conf_list(struct netlink *netlink, netlink_conf_fn each, void *ctx);

/** Sets src_valid_mark of one. @return 0 or a negative errno */
int netlink_conf_count_marks(struct netlink *netlink, int ifindex, bool on);

#endif
