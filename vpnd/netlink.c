/*
 * Requests are built by libnl's objects and asked by netlink_request.h.
 *
 * A route is recognised as ours by destination, table, metric, interface and protocol together. Adding never takes the
 * place of a route that is not ours, since that could be the one the administrator came in by.
 */
#include "vpnd/netlink.h"

#include "vpnd/fault.h"
#include "vpnd/netlink_request.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/route.h>
#include <stdio.h>
#include <string.h>

/*
 * Where IPv6 is switched off, by sysctl or at boot, each call that needs it fails in a way of its own. "Permission denied"
 * is one; whoever lacks the right is told EPERM.
 */
static int without_ipv6(int err, uint8_t family)
{
	return family == 6 && (err == -EACCES || err == -EOPNOTSUPP) ? -EAFNOSUPPORT : err;
}

/* ---- links and addresses ---------------------------------------------------------------------------------------- */

static int change_link(struct netlink *netlink, int ifindex, struct rtnl_link *change)
{
	struct nl_msg *message = NULL;
	struct rtnl_link *link = rtnl_link_alloc();

	if (!link || !change) {
		rtnl_link_put(link);
		return netlink_broken(netlink, -NLE_NOMEM);
	}
	rtnl_link_set_ifindex(link, ifindex);
	int nl_error = rtnl_link_build_change_request(link, change, 0, &message);
	rtnl_link_put(link);
	return netlink_request(netlink, nl_error, message, NULL, NULL);
}

int netlink_link_set_up(struct netlink *netlink, int ifindex, bool up, struct fault *fault)
{
	struct rtnl_link *change = rtnl_link_alloc();

	if (change && up)
		rtnl_link_set_flags(change, IFF_UP);
	else if (change)
		rtnl_link_unset_flags(change, IFF_UP);
	int err = change_link(netlink, ifindex, change);
	rtnl_link_put(change);
	if (err)
		return netlink_failed(netlink, err, "E-NET-2",
			up ? "set the link up" : "set the link down", ifindex, fault);
	return 0;
}

int netlink_link_set_mtu(
	struct netlink *netlink, int ifindex, uint32_t mtu_bytes, struct fault *fault)
{
	char what[48];
	struct rtnl_link *change = rtnl_link_alloc();

	if (change)
		rtnl_link_set_mtu(change, mtu_bytes);
	int err = change_link(netlink, ifindex, change);
	rtnl_link_put(change);
	if (err) {
		(void)snprintf(what, sizeof(what), "set the MTU to %u", mtu_bytes);
		return netlink_failed(netlink, err, "E-NET-3", what, ifindex, fault);
	}
	return 0;
}

static struct nl_addr *nl_addr_of(const struct ip_prefix *prefix)
{
	bool v4 = prefix->family == 4;
	struct nl_addr *addr = nl_addr_build(v4 ? AF_INET : AF_INET6, prefix->address, v4 ? 4 : 16);

	if (addr)
		nl_addr_set_prefixlen(addr, prefix->length);
	return addr;
}

/* IFA_F_NOPREFIXROUTE does not fit the eight bits of old; libnl writes the wide attribute then. */
static struct rtnl_addr *address_object(
	int ifindex, const struct ip_prefix *address, bool bare, const struct ip_prefix *far)
{
	struct rtnl_addr *object = rtnl_addr_alloc();
	struct nl_addr *local = nl_addr_of(address);
	struct nl_addr *peer = far ? nl_addr_of(far) : NULL;

	if (object && local && (!far || peer)) {
		rtnl_addr_set_ifindex(object, ifindex);
		(void)rtnl_addr_set_local(object, local);
		if (peer)
			(void)rtnl_addr_set_peer(object, peer);
		rtnl_addr_set_prefixlen(object, far ? far->length : address->length);
		unsigned flags = (address->family == 6 ? IFA_F_NODAD : 0U) |
				 (bare ? IFA_F_NOPREFIXROUTE : 0U);
		if (flags)
			rtnl_addr_set_flags(object, flags);
	} else {
		rtnl_addr_put(object);
		object = NULL;
	}
	nl_addr_put(local);
	nl_addr_put(peer);
	return object;
}

static int change_address(struct netlink *netlink, int ifindex, const struct ip_prefix *address,
	bool add, bool bare, const struct ip_prefix *far, struct fault *fault)
{
	char prefix[IP_PREFIX_TEXT_BYTES];
	char what[IP_PREFIX_TEXT_BYTES + 32];
	struct nl_msg *message = NULL;
	int nl_error = -NLE_INVAL;

	if (ip_prefix_valid(address)) {
		struct rtnl_addr *object = address_object(ifindex, address, bare, far);
		if (!object)
			nl_error = -NLE_NOMEM;
		else if (add)
			nl_error = rtnl_addr_build_add_request(
				object, NLM_F_CREATE | NLM_F_EXCL, &message);
		else
			nl_error = rtnl_addr_build_delete_request(object, 0, &message);
		rtnl_addr_put(object);
	}
	int err = netlink_request(netlink, nl_error, message, NULL, NULL);
	if (err == 0 || (add && err == -EEXIST) || (!add && err == -EADDRNOTAVAIL))
		return 0;
	(void)snprintf(what, sizeof(what), "%s the address %s", add ? "add" : "remove",
		ip_prefix_format(address, prefix));
	return netlink_failed(
		netlink, without_ipv6(err, address->family), "E-NET-4", what, ifindex, fault);
}

int netlink_address_add(
	struct netlink *netlink, int ifindex, const struct ip_prefix *address, struct fault *fault)
{
	return change_address(netlink, ifindex, address, true, false, NULL, fault);
}

int netlink_address_add_peer(struct netlink *netlink, int ifindex, const struct ip_prefix *address,
	const struct ip_prefix *far, struct fault *fault)
{
	return change_address(netlink, ifindex, address, true, far == NULL, far, fault);
}

int netlink_address_remove(
	struct netlink *netlink, int ifindex, const struct ip_prefix *address, struct fault *fault)
{
	return change_address(netlink, ifindex, address, false, false, NULL, fault);
}

struct address_search {
	int ifindex;
	const struct ip_prefix *wanted;
	bool found;
};

static void compare_address(void *ctx, struct nlmsghdr *message)
{
	struct address_search *search = ctx;
	const struct ip_prefix *wanted = search->wanted;
	struct nlattr *attributes[IFA_MAX + 1];
	const struct ifaddrmsg *body;
	int len = wanted->family == 4 ? 4 : 16;

	if (message->nlmsg_type != RTM_NEWADDR ||
		nlmsg_parse(message, sizeof(*body), attributes, IFA_MAX, NULL) < 0)
		return;
	body = nlmsg_data(message);
	const struct nlattr *address =
		attributes[IFA_LOCAL] ? attributes[IFA_LOCAL] : attributes[IFA_ADDRESS];
	if (body->ifa_index == (uint32_t)search->ifindex &&
		(wanted->length == 0 || body->ifa_prefixlen == wanted->length) && address &&
		nla_len(address) == len &&
		memcmp(nla_data(address), wanted->address, (size_t)len) == 0)
		search->found = true;
}

bool netlink_address_is_there(struct netlink *netlink, int ifindex, const struct ip_prefix *address)
{
	struct address_search search = {ifindex, address, false};
	struct ifaddrmsg body = {
		.ifa_family = address->family == 4 ? AF_INET : AF_INET6,
		.ifa_index = (uint32_t)ifindex,
	};
	struct nl_msg *message = nlmsg_alloc_simple(RTM_GETADDR, NLM_F_DUMP);
	int nl_error =
		message ? nlmsg_append(message, &body, sizeof(body), NLMSG_ALIGNTO) : -NLE_NOMEM;
	int err = netlink_request(netlink, nl_error, message, compare_address, &search);

	return err != 0 || search.found;
}

/* ---- routes ----------------------------------------------------------------------------------------------------- */

static struct rtnl_route *route_object(const struct netlink_route *route)
{
	struct ip_prefix destination = route->destination;
	struct rtnl_route *object = rtnl_route_alloc();
	struct rtnl_nexthop *hop = rtnl_route_nh_alloc();

	ip_prefix_mask(&destination);
	struct nl_addr *addr = nl_addr_of(&destination);
	if (!object || !hop || !addr) {
		rtnl_route_put(object);
		if (hop)
			rtnl_route_nh_free(hop);
		nl_addr_put(addr);
		return NULL;
	}
	rtnl_route_nh_set_ifindex(hop, route->ifindex);
	rtnl_route_add_nexthop(object, hop); /* takes it */
	(void)rtnl_route_set_dst(object, addr);
	nl_addr_put(addr);
	rtnl_route_set_table(object, route->table);
	rtnl_route_set_priority(object, route->metric);
	rtnl_route_set_protocol(object, route->protocol);
	(void)rtnl_route_set_type(object, RTN_UNICAST);
	rtnl_route_set_scope(object, destination.family == 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE);
	return object;
}

/* @flags as of NLM_F_CREATE; -1 = remove */
static int change_route(struct netlink *netlink, const struct netlink_route *route, int flags)
{
	struct nl_msg *message = NULL;
	int nl_error = -NLE_INVAL;

	if (ip_prefix_valid(&route->destination)) {
		struct rtnl_route *object = route_object(route);
		if (!object)
			nl_error = -NLE_NOMEM;
		else if (flags >= 0)
			nl_error = rtnl_route_build_add_request(object, flags, &message);
		else
			nl_error = rtnl_route_build_del_request(object, 0, &message);
		rtnl_route_put(object);
	}
	return netlink_request(netlink, nl_error, message, NULL, NULL);
}

static int route_failed(struct netlink *netlink, int err, const char *verb,
	const struct netlink_route *route, struct fault *fault)
{
	char prefix[IP_PREFIX_TEXT_BYTES];
	char what[IP_PREFIX_TEXT_BYTES + 64];

	(void)snprintf(what, sizeof(what), "%s the route to %s (table %u, metric %u)", verb,
		ip_prefix_format(&route->destination, prefix), route->table, route->metric);
	return netlink_failed(netlink, without_ipv6(err, route->destination.family), "E-NET-5",
		what, route->ifindex, fault);
}

struct search {
	const struct netlink_route *wanted;
	struct ip_prefix destination;
	bool found;
};

static void compare_route(void *ctx, const struct netlink_route *route)
{
	struct search *search = ctx;
	const struct netlink_route *wanted = search->wanted;
	bool metric_chosen =
		wanted->prefer || (wanted->metric == 0 && search->destination.family == 6);

	if (route->ifindex == wanted->ifindex && route->table == wanted->table &&
		(metric_chosen || route->metric == wanted->metric) &&
		route->destination.length == search->destination.length &&
		ip_prefix_contains(&search->destination, &route->destination))
		search->found = true;
}

static bool ours_is_there(struct netlink *netlink, const struct netlink_route *route)
{
	struct search search = {.wanted = route, .destination = route->destination};

	ip_prefix_mask(&search.destination);
	(void)netlink_route_list(
		netlink, route->protocol, route->table, compare_route, &search, NULL);
	netlink->reason[0] = '\0';
	return search.found;
}

/* Who has a route to the destination, in this table: ours, theirs, and whose decides. */
struct rivals {
	const struct netlink_route *wanted;
	struct ip_prefix destination;
	bool own, theirs, own_first, any;
	uint32_t own_metric, their_metric, first_metric; /* the least of each */
};

static void note_rival(void *ctx, const struct netlink_route *route)
{
	struct rivals *rivals = ctx;
	bool own = route->ifindex == rivals->wanted->ifindex &&
		   route->protocol == rivals->wanted->protocol;

	if (!ip_prefix_equal(&route->destination, &rivals->destination))
		return;
	/* Of several with the same metric the first one decides; with IPv6 they may share. */
	if (!rivals->any || route->metric < rivals->first_metric ||
		(route->metric == rivals->first_metric && !own &&
			rivals->destination.family == 6)) {
		rivals->any = true;
		rivals->first_metric = route->metric;
		rivals->own_first = own;
	}
	bool *there = own ? &rivals->own : &rivals->theirs;
	uint32_t *metric = own ? &rivals->own_metric : &rivals->their_metric;
	if (!*there || route->metric < *metric)
		*metric = route->metric;
	*there = true;
}

/*
 * The least metric wins, and of those with the same the one in front: so it is put in front of the best rival. If an own one
 * is there and behind, because the rival came later, it goes when the new one is there, or before, if only its place is
 * wrong.
 */
static int add_in_front(struct netlink *netlink, const struct netlink_route *route)
{
	struct netlink_route best = *route, old = *route;
	struct rivals rivals = {.wanted = route, .destination = route->destination};

	ip_prefix_mask(&rivals.destination);
	int err = netlink_route_list(netlink, 0, route->table, note_rival, &rivals, NULL);
	if (err || (rivals.own && rivals.own_first))
		return err;
	if (rivals.theirs && rivals.their_metric <= route->metric) {
		best.metric = rivals.their_metric;
		/* IPv6 has no "in front": a metric less than theirs, of which there is none below 1 */
		if (route->destination.family == 6 && best.metric > 1)
			best.metric--;
	}
	old.metric = rivals.own_metric;
	if (rivals.own && old.metric == best.metric)
		(void)change_route(netlink, &old, -1);
	err = change_route(netlink, &best, NLM_F_CREATE);
	if (!err && rivals.own && old.metric != best.metric)
		(void)change_route(netlink, &old, -1);
	return err;
}

int netlink_route_add(
	struct netlink *netlink, const struct netlink_route *route, struct fault *fault)
{
	int err = route->prefer ? add_in_front(netlink, route)
				: change_route(netlink, route, NLM_F_CREATE | NLM_F_EXCL);

	if (err == -EEXIST && ours_is_there(netlink, route))
		return 0;
	return err ? route_failed(netlink, err, "add", route, fault) : 0;
}

int netlink_route_remove(
	struct netlink *netlink, const struct netlink_route *route, struct fault *fault)
{
	struct netlink_route which = *route;

	if (route->prefer) /* whichever it got */
		which.metric = 0;
	int err = change_route(netlink, &which, -1);

	if (err == 0 || err == -ESRCH || err == -ENOENT || err == -ENODEV)
		return 0;
	return route_failed(netlink, err, "remove", route, fault);
}

struct listing {
	uint8_t protocol; /* 0 = any */
	uint32_t table;	  /* 0 = any */
	netlink_route_fn each;
	void *ctx;
};

static void list_route(void *ctx, struct nlmsghdr *message)
{
	const struct listing *listing = ctx;
	struct netlink_route route = {0};
	struct nlattr *attributes[RTA_MAX + 1];
	const struct rtmsg *body;

	if (message->nlmsg_type != RTM_NEWROUTE ||
		nlmsg_parse(message, sizeof(*body), attributes, RTA_MAX, NULL) < 0)
		return;
	body = nlmsg_data(message);
	bool v4 = body->rtm_family == AF_INET;
	if ((!v4 && body->rtm_family != AF_INET6) ||
		(listing->protocol && body->rtm_protocol != listing->protocol) ||
		body->rtm_type != RTN_UNICAST || body->rtm_flags & RTM_F_CLONED ||
		body->rtm_dst_len > (v4 ? 32 : 128))
		return;
	route.destination.family = v4 ? 4 : 6;
	route.destination.length = body->rtm_dst_len;
	route.protocol = body->rtm_protocol;
	route.table = attributes[RTA_TABLE] ? nla_get_u32(attributes[RTA_TABLE]) : body->rtm_table;
	if (listing->table && route.table != listing->table)
		return;
	if (attributes[RTA_DST])
		(void)nla_memcpy(route.destination.address, attributes[RTA_DST], v4 ? 4 : 16);
	if (attributes[RTA_OIF])
		route.ifindex = (int)nla_get_u32(attributes[RTA_OIF]);
	if (attributes[RTA_PRIORITY])
		route.metric = nla_get_u32(attributes[RTA_PRIORITY]);
	route.on_link = route.ifindex && !attributes[RTA_GATEWAY] && !attributes[RTA_VIA] &&
			!attributes[RTA_MULTIPATH] && !attributes[RTA_ENCAP] &&
			(!v4 || body->rtm_scope >= RT_SCOPE_LINK);
	if (attributes[RTA_MULTIPATH] &&
		nla_len(attributes[RTA_MULTIPATH]) >= (int)sizeof(struct rtnexthop)) {
		struct rtnexthop hop;
		memcpy(&hop, nla_data(attributes[RTA_MULTIPATH]), sizeof(hop));
		route.ifindex = hop.rtnh_ifindex;
	}
	listing->each(listing->ctx, &route);
}

int netlink_route_list(struct netlink *netlink, uint8_t protocol, uint32_t table,
	netlink_route_fn each, void *ctx, struct fault *fault)
{
	static const uint8_t families[] = {AF_INET, AF_INET6};
	struct listing listing = {protocol, table, each, ctx};

	for (size_t i = 0; i < sizeof(families); i++) {
		struct rtmsg body = {.rtm_family = families[i], .rtm_protocol = protocol};
		struct nl_msg *message = nlmsg_alloc_simple(RTM_GETROUTE, NLM_F_DUMP);
		int nl_error = message ? nlmsg_append(message, &body, sizeof(body), NLMSG_ALIGNTO)
				       : -NLE_NOMEM;
		if (nl_error >= 0 && table)
			nl_error = nla_put_u32(message, RTA_TABLE, table);
		int err = netlink_request(netlink, nl_error, message, list_route, &listing);
		/* a table that nobody has used is none to a kernel that looks closely */
		if (err && err != -EAFNOSUPPORT && err != -EOPNOTSUPP && (!table || err != -ENOENT))
			return fault_set(fault, err, "E-NET-6", netlink_hint(err),
				"cannot list the routes: %s", strerror(-err));
	}
	return 0;
}

/* ---- paths ------------------------------------------------------------------------------------------------------ */

static void endpoint_of(const struct nlattr *attribute, struct kcpvpn_endpoint *ret_endpoint)
{
	int len = attribute ? nla_len(attribute) : 0;

	if (len != 4 && len != 16)
		return;
	ret_endpoint->family = len == 4 ? 4 : 6;
	memcpy(ret_endpoint->address, nla_data(attribute), (size_t)len);
}

static void read_path(void *ctx, struct nlmsghdr *message)
{
	struct netlink_path *path = ctx;
	struct nlattr *attributes[RTA_MAX + 1];

	if (message->nlmsg_type != RTM_NEWROUTE ||
		nlmsg_parse(message, sizeof(struct rtmsg), attributes, RTA_MAX, NULL) < 0)
		return;
	if (attributes[RTA_OIF])
		path->ifindex = (int)nla_get_u32(attributes[RTA_OIF]);
	endpoint_of(attributes[RTA_PREFSRC], &path->source);
	endpoint_of(attributes[RTA_GATEWAY], &path->gateway);
}

int netlink_path(struct netlink *netlink, const struct kcpvpn_endpoint *remote, uint32_t fwmark,
	struct netlink_path *ret_path, struct fault *fault)
{
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];
	struct netlink_path path = {0};
	bool v4 = remote->family == 4;
	struct rtmsg body = {
		.rtm_family = v4 ? AF_INET : AF_INET6,
		.rtm_dst_len = v4 ? 32 : 128,
	};

	if (!v4 && remote->family != 6)
		return -EINVAL;
	struct nl_msg *message = nlmsg_alloc_simple(RTM_GETROUTE, 0);
	if (!message)
		return -ENOMEM;
	int nl_error = nlmsg_append(message, &body, sizeof(body), NLMSG_ALIGNTO);
	if (nl_error >= 0)
		nl_error = nla_put(message, RTA_DST, v4 ? 4 : 16, remote->address);
	if (nl_error >= 0 && fwmark)
		nl_error = nla_put_u32(message, RTA_MARK, fwmark);
	if (nl_error >= 0 && remote->scope_id)
		nl_error = nla_put_u32(message, RTA_OIF, remote->scope_id);
	int err = netlink_request(netlink, nl_error, message, read_path, &path);
	switch (-err) {
	case 0:
		*ret_path = path;
		return 0;
	case ENETUNREACH:
	case EHOSTUNREACH:
	case EACCES:
	case EINVAL:
		return err;
	default:
		return fault_set(fault, err, "E-NET-7", NULL, "cannot find the route to %s: %s",
			kcpvpn_endpoint_format(remote, text), strerror(-err));
	}
}

bool netlink_path_equal(const struct netlink_path *a, const struct netlink_path *b)
{
	return a->ifindex == b->ifindex && kcpvpn_endpoint_equal(&a->source, &b->source) &&
	       kcpvpn_endpoint_equal(&a->gateway, &b->gateway);
}
