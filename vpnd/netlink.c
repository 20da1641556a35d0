/*
 * Requests are built by libnl's objects and answered on one socket, in order. The kernel's own error number and text
 * are taken from the acknowledgement: libnl's numbers are coarser, and "Nexthop device is not up" says more than
 * "invalid input data".
 *
 * A route is recognised as ours by destination, table, metric, interface and protocol together. Adding never takes the
 * place of a route that is not ours, since that could be the one the administrator came in by.
 *
 * The monitor is a second socket. It only says that something changed: what a change means for a peer is found by
 * asking for the path to it, because the kernel announces much that changes nothing.
 */
#include "vpnd/netlink.h"

#include "core/list.h"
#include "vpnd/fault.h"
#include "vpnd/loop.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum {
	REASON_BYTES = 128,
	MONITOR_BUFFER_BYTES = 1 << 20,
	MONITOR_READS_MAX = 64, /* a round; the rest comes with the next */
};

typedef void (*reply_fn)(void *ctx, struct nlmsghdr *message);

struct netlink {
	struct nl_sock *socket;
	struct nl_cb *callbacks;

	/* of the request that is under way */
	reply_fn on_reply;
	void *reply_ctx;
	uint32_t sequence;
	int err;
	bool done;
	char reason[REASON_BYTES]; /* the kernel's text, "" if it gave none */
};

/* ---- requests --------------------------------------------------------------------------------------------------- */

static int on_valid(struct nl_msg *message, void *arg)
{
	struct netlink *netlink = arg;

	if (netlink->on_reply)
		netlink->on_reply(netlink->reply_ctx, nlmsg_hdr(message));
	return NL_OK;
}

static int on_end(struct nl_msg *message, void *arg)
{
	struct netlink *netlink = arg;

	(void)message;
	netlink->done = true;
	return NL_STOP;
}

/* What is left of an answer that was given up is skipped. */
static int on_sequence(struct nl_msg *message, void *arg)
{
	const struct netlink *netlink = arg;
	return nlmsg_hdr(message)->nlmsg_seq == netlink->sequence ? NL_OK : NL_SKIP;
}

/* The error's own text stands in attributes behind it if the kernel supports that. */
static void copy_reason(struct netlink *netlink, struct nlmsgerr *error)
{
	struct nlmsghdr *header = (struct nlmsghdr *)(void *)((char *)error - NLMSG_HDRLEN);
	size_t skip = sizeof(*error);

	if (!(header->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	if (!(header->nlmsg_flags & NLM_F_CAPPED))
		skip += error->msg.nlmsg_len - NLMSG_HDRLEN;
	skip = NLMSG_ALIGN(skip);
	size_t len = (size_t)nlmsg_datalen(header);
	if (skip >= len)
		return;
	struct nlattr *attributes = (struct nlattr *)(void *)((char *)error + skip);
	struct nlattr *text = nla_find(attributes, (int)(len - skip), NLMSGERR_ATTR_MSG);
	if (text)
		(void)nla_strlcpy(netlink->reason, text, sizeof(netlink->reason));
}

static int on_error(struct sockaddr_nl *from, struct nlmsgerr *error, void *arg)
{
	struct netlink *netlink = arg;

	(void)from;
	netlink->err = error->error;
	netlink->done = true;
	if (error->error)
		copy_reason(netlink, error);
	return NL_STOP;
}

static int errno_of(int nl_error)
{
	switch (-nl_error) {
	case NLE_NOMEM:
		return -ENOMEM;
	case NLE_PERM:
	case NLE_NOACCESS:
		return -EPERM;
	case NLE_INVAL:
		return -EINVAL;
	default:
		return -EIO;
	}
}

static int broken(struct netlink *netlink, int nl_error)
{
	(void)snprintf(netlink->reason, sizeof(netlink->reason), "%s", nl_geterror(nl_error));
	return errno_of(nl_error);
}

/*
 * Sends a request, takes it, and waits for the end of its answer. @nl_error what building it gave. @return 0 or the
 * kernel's negative errno; `reason` may say more.
 */
static int request(
	struct netlink *netlink, int nl_error, struct nl_msg *message, reply_fn on_reply, void *ctx)
{
	netlink->on_reply = on_reply;
	netlink->reply_ctx = ctx;
	netlink->err = 0;
	netlink->done = false;
	netlink->reason[0] = '\0';
	if (nl_error < 0) {
		nlmsg_free(message);
		return broken(netlink, nl_error);
	}
	nl_complete_msg(netlink->socket, message);
	netlink->sequence = nlmsg_hdr(message)->nlmsg_seq;
	nl_error = nl_send(netlink->socket, message);
	nlmsg_free(message);
	while (nl_error >= 0 && !netlink->done)
		nl_error = nl_recvmsgs(netlink->socket, netlink->callbacks);
	if (netlink->done)
		return netlink->err;
	return broken(netlink, nl_error);
}

static const char *interface_name(int ifindex, char name[IF_NAMESIZE])
{
	if (!if_indextoname((unsigned)ifindex, name))
		(void)snprintf(name, IF_NAMESIZE, "#%d", ifindex);
	return name;
}

static const char *hint_of(int err)
{
	switch (-err) {
	case EAFNOSUPPORT:
		return "IPv6 is disabled on this host or container: sysctl "
		       "net.ipv6.conf.all.disable_ipv6=0, or take IPv6 out of "
		       "interface.addresses and allowed_ips";
	case EPERM:
	case EACCES:
		return "start as root, or with CAP_NET_ADMIN";
	case ENODEV:
		return "the interface was deleted while in use";
	case EEXIST:
		return "ip route show table all shows the other; change routes.metric or "
		       "allowed_ips";
	default:
		return NULL;
	}
}

/*
 * Where IPv6 is switched off, by sysctl or at boot, each call that needs it fails in a way of its own. "Permission denied"
 * is one; whoever lacks the right is told EPERM.
 */
static int without_ipv6(int err, uint8_t family)
{
	return family == 6 && (err == -EACCES || err == -EOPNOTSUPP) ? -EAFNOSUPPORT : err;
}

static int failed(struct netlink *netlink, int err, const char *code, const char *what, int ifindex,
	struct fault *fault)
{
	char name[IF_NAMESIZE];
	bool more = netlink->reason[0] != '\0';

	return fault_set(fault, err, code, hint_of(err), "cannot %s on %s: %s%s%s%s", what,
		interface_name(ifindex, name), strerror(-err), more ? " (" : "", netlink->reason,
		more ? ")" : "");
}

int netlink_new(struct netlink **ret_netlink, struct fault *fault)
{
	int one = 1;
	int err = -ENOMEM;
	struct netlink *netlink = calloc(1, sizeof(*netlink));

	if (!netlink)
		goto fail;
	netlink->socket = nl_socket_alloc();
	netlink->callbacks = nl_cb_alloc(NL_CB_DEFAULT);
	if (!netlink->socket || !netlink->callbacks)
		goto free_netlink;
	int nl_error = nl_connect(netlink->socket, NETLINK_ROUTE);
	if (nl_error < 0) {
		err = errno_of(nl_error);
		goto free_netlink;
	}
	/* Older kernels refuse these: then errors have no text, and dumps are filtered here only. */
	int fd = nl_socket_get_fd(netlink->socket);
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
	nl_cb_set(netlink->callbacks, NL_CB_SEQ_CHECK, NL_CB_CUSTOM, on_sequence, netlink);
	nl_cb_set(netlink->callbacks, NL_CB_VALID, NL_CB_CUSTOM, on_valid, netlink);
	nl_cb_set(netlink->callbacks, NL_CB_FINISH, NL_CB_CUSTOM, on_end, netlink);
	nl_cb_set(netlink->callbacks, NL_CB_ACK, NL_CB_CUSTOM, on_end, netlink);
	nl_cb_err(netlink->callbacks, NL_CB_CUSTOM, on_error, netlink);
	*ret_netlink = netlink;
	return 0;
free_netlink:
	netlink_free(netlink);
fail:
	return fault_set(fault, err, "E-NET-1", NULL, "cannot open a route netlink socket: %s",
		strerror(-err));
}

void netlink_free(struct netlink *netlink)
{
	if (!netlink)
		return;
	if (netlink->callbacks)
		nl_cb_put(netlink->callbacks);
	if (netlink->socket)
		nl_socket_free(netlink->socket);
	free(netlink);
}

/* ---- links and addresses ---------------------------------------------------------------------------------------- */

static int change_link(struct netlink *netlink, int ifindex, struct rtnl_link *change)
{
	struct nl_msg *message = NULL;
	struct rtnl_link *link = rtnl_link_alloc();

	if (!link || !change) {
		rtnl_link_put(link);
		return broken(netlink, -NLE_NOMEM);
	}
	rtnl_link_set_ifindex(link, ifindex);
	int nl_error = rtnl_link_build_change_request(link, change, 0, &message);
	rtnl_link_put(link);
	return request(netlink, nl_error, message, NULL, NULL);
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
		return failed(netlink, err, "E-NET-2", up ? "set the link up" : "set the link down",
			ifindex, fault);
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
		return failed(netlink, err, "E-NET-3", what, ifindex, fault);
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

static struct rtnl_addr *address_object(int ifindex, const struct ip_prefix *address)
{
	struct rtnl_addr *object = rtnl_addr_alloc();
	struct nl_addr *local = nl_addr_of(address);

	if (object && local) {
		rtnl_addr_set_ifindex(object, ifindex);
		(void)rtnl_addr_set_local(object, local);
		rtnl_addr_set_prefixlen(object, address->length);
		if (address->family == 6)
			rtnl_addr_set_flags(object, IFA_F_NODAD);
	} else {
		rtnl_addr_put(object);
		object = NULL;
	}
	nl_addr_put(local);
	return object;
}

static int change_address(struct netlink *netlink, int ifindex, const struct ip_prefix *address,
	bool add, struct fault *fault)
{
	char prefix[IP_PREFIX_TEXT_BYTES];
	char what[IP_PREFIX_TEXT_BYTES + 32];
	struct nl_msg *message = NULL;
	int nl_error = -NLE_INVAL;

	if (ip_prefix_valid(address)) {
		struct rtnl_addr *object = address_object(ifindex, address);
		if (!object)
			nl_error = -NLE_NOMEM;
		else if (add)
			nl_error = rtnl_addr_build_add_request(
				object, NLM_F_CREATE | NLM_F_EXCL, &message);
		else
			nl_error = rtnl_addr_build_delete_request(object, 0, &message);
		rtnl_addr_put(object);
	}
	int err = request(netlink, nl_error, message, NULL, NULL);
	if (err == 0 || (add && err == -EEXIST) || (!add && err == -EADDRNOTAVAIL))
		return 0;
	(void)snprintf(what, sizeof(what), "%s the address %s", add ? "add" : "remove",
		ip_prefix_format(address, prefix));
	return failed(netlink, without_ipv6(err, address->family), "E-NET-4", what, ifindex, fault);
}

int netlink_address_add(
	struct netlink *netlink, int ifindex, const struct ip_prefix *address, struct fault *fault)
{
	return change_address(netlink, ifindex, address, true, fault);
}

int netlink_address_remove(
	struct netlink *netlink, int ifindex, const struct ip_prefix *address, struct fault *fault)
{
	return change_address(netlink, ifindex, address, false, fault);
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
	return request(netlink, nl_error, message, NULL, NULL);
}

static int route_failed(struct netlink *netlink, int err, const char *verb,
	const struct netlink_route *route, struct fault *fault)
{
	char prefix[IP_PREFIX_TEXT_BYTES];
	char what[IP_PREFIX_TEXT_BYTES + 64];

	(void)snprintf(what, sizeof(what), "%s the route to %s (table %u, metric %u)", verb,
		ip_prefix_format(&route->destination, prefix), route->table, route->metric);
	return failed(netlink, without_ipv6(err, route->destination.family), "E-NET-5", what,
		route->ifindex, fault);
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
	bool metric_chosen = wanted->metric == 0 && search->destination.family == 6;

	if (route->ifindex == wanted->ifindex && route->table == wanted->table &&
		(metric_chosen || route->metric == wanted->metric) &&
		route->destination.length == search->destination.length &&
		ip_prefix_contains(&search->destination, &route->destination))
		search->found = true;
}

int netlink_route_add(
	struct netlink *netlink, const struct netlink_route *route, struct fault *fault)
{
	struct search search = {.wanted = route, .destination = route->destination};
	int err = change_route(netlink, route, NLM_F_CREATE | NLM_F_EXCL);

	if (err == -EEXIST) {
		ip_prefix_mask(&search.destination);
		(void)netlink_route_list(netlink, route->protocol, compare_route, &search, NULL);
		if (search.found)
			return 0;
		netlink->reason[0] = '\0';
	}
	return err ? route_failed(netlink, err, "add", route, fault) : 0;
}

int netlink_route_remove(
	struct netlink *netlink, const struct netlink_route *route, struct fault *fault)
{
	int err = change_route(netlink, route, -1);

	if (err == 0 || err == -ESRCH || err == -ENOENT || err == -ENODEV)
		return 0;
	return route_failed(netlink, err, "remove", route, fault);
}

struct listing {
	uint8_t protocol;
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
	if ((!v4 && body->rtm_family != AF_INET6) || body->rtm_protocol != listing->protocol ||
		body->rtm_type != RTN_UNICAST || body->rtm_flags & RTM_F_CLONED ||
		body->rtm_dst_len > (v4 ? 32 : 128))
		return;
	route.destination.family = v4 ? 4 : 6;
	route.destination.length = body->rtm_dst_len;
	route.protocol = body->rtm_protocol;
	route.table = attributes[RTA_TABLE] ? nla_get_u32(attributes[RTA_TABLE]) : body->rtm_table;
	if (attributes[RTA_DST])
		(void)nla_memcpy(route.destination.address, attributes[RTA_DST], v4 ? 4 : 16);
	if (attributes[RTA_OIF])
		route.ifindex = (int)nla_get_u32(attributes[RTA_OIF]);
	if (attributes[RTA_PRIORITY])
		route.metric = nla_get_u32(attributes[RTA_PRIORITY]);
	if (attributes[RTA_MULTIPATH] &&
		nla_len(attributes[RTA_MULTIPATH]) >= (int)sizeof(struct rtnexthop)) {
		struct rtnexthop hop;
		memcpy(&hop, nla_data(attributes[RTA_MULTIPATH]), sizeof(hop));
		route.ifindex = hop.rtnh_ifindex;
	}
	listing->each(listing->ctx, &route);
}

int netlink_route_list(struct netlink *netlink, uint8_t protocol, netlink_route_fn each, void *ctx,
	struct fault *fault)
{
	static const uint8_t families[] = {AF_INET, AF_INET6};
	struct listing listing = {protocol, each, ctx};

	for (size_t i = 0; i < sizeof(families); i++) {
		struct rtmsg body = {.rtm_family = families[i], .rtm_protocol = protocol};
		struct nl_msg *message = nlmsg_alloc_simple(RTM_GETROUTE, NLM_F_DUMP);
		int nl_error = message ? nlmsg_append(message, &body, sizeof(body), NLMSG_ALIGNTO)
				       : -NLE_NOMEM;
		int err = request(netlink, nl_error, message, list_route, &listing);
		if (err && err != -EAFNOSUPPORT && err != -EOPNOTSUPP)
			return fault_set(fault, err, "E-NET-6", hint_of(err),
				"cannot list the routes of protocol %u: %s", protocol,
				strerror(-err));
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
	int err = request(netlink, nl_error, message, read_path, &path);
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

/* ---- monitor ---------------------------------------------------------------------------------------------------- */

struct netlink_monitor {
	struct loop *loop;
	struct loop_watch watch;
	struct nl_sock *socket;
	int own_ifindex;
	uint8_t own_protocol;
	bool changed;
	netlink_changed_fn on_changed;
	void *ctx;
};

static bool route_matters(const struct netlink_monitor *monitor, struct nlmsghdr *message)
{
	struct nlattr *attributes[RTA_MAX + 1];
	const struct rtmsg *body;

	if (nlmsg_parse(message, sizeof(*body), attributes, RTA_MAX, NULL) < 0)
		return false;
	body = nlmsg_data(message);
	/* Table local follows the addresses, which are told by themselves. */
	if (body->rtm_protocol == monitor->own_protocol || body->rtm_table == RT_TABLE_LOCAL ||
		body->rtm_flags & RTM_F_CLONED)
		return false;
	return !attributes[RTA_OIF] ||
	       nla_get_u32(attributes[RTA_OIF]) != (uint32_t)monitor->own_ifindex;
}

static int on_notice(struct nl_msg *notice, void *arg)
{
	struct netlink_monitor *monitor = arg;
	struct nlmsghdr *message = nlmsg_hdr(notice);
	bool matters = false;

	switch (message->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		if (nlmsg_valid_hdr(message, sizeof(struct ifinfomsg))) {
			const struct ifinfomsg *body = nlmsg_data(message);
			matters = body->ifi_index != monitor->own_ifindex;
		}
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		if (nlmsg_valid_hdr(message, sizeof(struct ifaddrmsg))) {
			const struct ifaddrmsg *body = nlmsg_data(message);
			matters = body->ifa_index != (uint32_t)monitor->own_ifindex;
		}
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		matters = route_matters(monitor, message);
		break;
	default:
		break;
	}
	if (matters)
		monitor->changed = true;
	return NL_OK;
}

static void on_readable(struct loop_watch *watch, uint32_t events)
{
	struct netlink_monitor *monitor = list_entry(watch, struct netlink_monitor, watch);

	(void)events;
	for (int i = 0; i < MONITOR_READS_MAX; i++) {
		int nl_error = nl_recvmsgs_default(monitor->socket);
		if (nl_error == -NLE_AGAIN)
			break;
		if (nl_error < 0) /* messages were lost: what they said is unknown */
			monitor->changed = true;
	}
	if (!monitor->changed)
		return;
	monitor->changed = false;
	monitor->on_changed(monitor->ctx); /* may free the monitor */
}

int netlink_monitor_new(struct loop *loop, int own_ifindex, uint8_t own_protocol,
	netlink_changed_fn on_changed, void *ctx, struct netlink_monitor **ret_monitor,
	struct fault *fault)
{
	int err = -ENOMEM;
	struct netlink_monitor *monitor = calloc(1, sizeof(*monitor));

	if (!monitor)
		goto fail;
	*monitor = (struct netlink_monitor){
		.loop = loop,
		.watch = {.on_event = on_readable},
		.own_ifindex = own_ifindex,
		.own_protocol = own_protocol,
		.on_changed = on_changed,
		.ctx = ctx,
	};
	monitor->socket = nl_socket_alloc();
	if (!monitor->socket)
		goto free_monitor;
	nl_socket_disable_seq_check(monitor->socket);
	(void)nl_socket_modify_cb(monitor->socket, NL_CB_VALID, NL_CB_CUSTOM, on_notice, monitor);
	int nl_error = nl_connect(monitor->socket, NETLINK_ROUTE);
	if (nl_error >= 0)
		nl_error = nl_socket_add_memberships(monitor->socket, RTNLGRP_LINK,
			RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE,
			RTNLGRP_IPV6_ROUTE, 0);
	if (nl_error >= 0)
		nl_error = nl_socket_set_nonblocking(monitor->socket);
	if (nl_error < 0) {
		err = errno_of(nl_error);
		goto free_monitor;
	}
	(void)nl_socket_set_buffer_size(monitor->socket, MONITOR_BUFFER_BYTES, 0);
	monitor->watch.fd = nl_socket_get_fd(monitor->socket);
	err = loop_watch_add(loop, &monitor->watch, EPOLLIN);
	if (err)
		goto free_monitor;
	*ret_monitor = monitor;
	return 0;
free_monitor:
	netlink_monitor_free(monitor);
fail:
	return fault_set(fault, err, "E-NET-8", NULL,
		"cannot watch for changes of addresses and routes: %s", strerror(-err));
}

void netlink_monitor_free(struct netlink_monitor *monitor)
{
	if (!monitor)
		return;
	loop_watch_remove(monitor->loop, &monitor->watch);
	if (monitor->socket)
		nl_socket_free(monitor->socket);
	free(monitor);
}
