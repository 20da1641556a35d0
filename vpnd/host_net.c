/* The direct way: netlink by this process itself, which must be allowed to. */
#include "vpnd/host_net.h"

#include "vpnd/netlink.h"

#include <errno.h>

static int set_up(void *ctx, int ifindex, bool up, struct fault *fault)
{
	return netlink_link_set_up(ctx, ifindex, up, fault);
}

static int set_mtu(void *ctx, int ifindex, uint32_t mtu_bytes, struct fault *fault)
{
	return netlink_link_set_mtu(ctx, ifindex, mtu_bytes, fault);
}

static int address(
	void *ctx, int ifindex, const struct ip_prefix *prefix, bool add, struct fault *fault)
{
	return add ? netlink_address_add(ctx, ifindex, prefix, fault)
		   : netlink_address_remove(ctx, ifindex, prefix, fault);
}

static int route(void *ctx, const struct netlink_route *change, enum host_route_verb verb,
	struct fault *fault)
{
	switch (verb) {
	case HOST_ROUTE_ADD:
		return netlink_route_add(ctx, change, fault);
	case HOST_ROUTE_REMOVE:
		return netlink_route_remove(ctx, change, fault);
	}
	return -EINVAL;
}

static int peer_address(void *ctx, int ifindex, const struct ip_prefix *prefix,
	const struct ip_prefix *far, struct fault *fault)
{
	return netlink_address_add_peer(ctx, ifindex, prefix, far, fault);
}

struct host_net host_net_direct(struct netlink *netlink)
{
	static const struct host_net_ops OPS = {set_up, set_mtu, address, route, peer_address};

	return (struct host_net){&OPS, netlink};
}
