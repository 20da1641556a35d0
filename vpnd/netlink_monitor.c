/*
 * A socket of its own, in the loop, that joins the kernel's groups of news. It only says that something changed. News about the
 * own interface and the own routes are left out, or each answer to a change would be the next change.
 *
 * When the kernel had more to tell than the socket could hold, reading fails once: then what was lost counts as a change.
 */
#include "vpnd/netlink_monitor.h"

#include "core/list.h"
#include "vpnd/fault.h"
#include "vpnd/loop.h"
#include "vpnd/netlink_request.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum {
	MONITOR_BUFFER_BYTES = 1 << 20,
	MONITOR_READS_MAX = 64, /* a round; the rest comes with the next */
};

struct netlink_monitor {
	struct loop *loop;
	struct loop_watch watch;
	struct nl_sock *socket;
	struct netlink_own own;
	bool changed, lost;
	netlink_changed_fn on_changed;
	netlink_lost_fn on_lost;
	void *ctx;
};

static bool is_own(const struct netlink_monitor *monitor, int ifindex)
{
	return ifindex == monitor->own.ifindex ||
	       (monitor->own.owns && monitor->own.owns(monitor->ctx, ifindex));
}

/* A rule carries who made it; older kernels tell nothing. Where own ones stand they may carry an older number of ours. */
static bool is_own_rule(const struct netlink_monitor *monitor, struct nlmsghdr *message)
{
	struct nlattr *attributes[FRA_MAX + 1];

	if (nlmsg_parse(message, sizeof(struct fib_rule_hdr), attributes, FRA_MAX, NULL) < 0)
		return false;
	if (attributes[FRA_PROTOCOL] && nla_len(attributes[FRA_PROTOCOL]) >= 1 &&
		nla_get_u8(attributes[FRA_PROTOCOL]) == monitor->own.protocol)
		return true;
	if (!attributes[FRA_PRIORITY] || nla_len(attributes[FRA_PRIORITY]) < (int)sizeof(uint32_t))
		return false;
	uint32_t priority = nla_get_u32(attributes[FRA_PRIORITY]);
	return priority >= monitor->own.rule_first && priority < monitor->own.rule_end;
}

static bool route_matters(struct netlink_monitor *monitor, struct nlmsghdr *message)
{
	struct nlattr *attributes[RTA_MAX + 1];
	const struct rtmsg *body;

	if (nlmsg_parse(message, sizeof(*body), attributes, RTA_MAX, NULL) < 0)
		return false;
	body = nlmsg_data(message);
	if (body->rtm_protocol == monitor->own.protocol && message->nlmsg_type == RTM_DELROUTE)
		monitor->lost = true;
	/* Table local follows the addresses, which are told by themselves. */
	if (body->rtm_protocol == monitor->own.protocol || body->rtm_table == RT_TABLE_LOCAL ||
		body->rtm_flags & RTM_F_CLONED)
		return false;
	return !attributes[RTA_OIF] || !is_own(monitor, (int)nla_get_u32(attributes[RTA_OIF]));
}

/* rp_filter, among others. */
static bool conf_matters(const struct netlink_monitor *monitor, struct nlmsghdr *message)
{
	struct nlattr *attributes[NETCONFA_MAX + 1];

	return nlmsg_parse(message, sizeof(struct netconfmsg), attributes, NETCONFA_MAX, NULL) >=
		       0 &&
	       attributes[NETCONFA_IFINDEX] && attributes[NETCONFA_RP_FILTER] &&
	       nla_len(attributes[NETCONFA_IFINDEX]) >= (int)sizeof(uint32_t) &&
	       !is_own(monitor, (int)nla_get_u32(attributes[NETCONFA_IFINDEX]));
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
			matters = !is_own(monitor, body->ifi_index);
		}
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		if (nlmsg_valid_hdr(message, sizeof(struct ifaddrmsg))) {
			const struct ifaddrmsg *body = nlmsg_data(message);
			matters = !is_own(monitor, (int)body->ifa_index);
			monitor->lost |= !matters && message->nlmsg_type == RTM_DELADDR;
		}
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		matters = route_matters(monitor, message);
		break;
	case RTM_NEWNETCONF:
		matters = conf_matters(monitor, message);
		break;
	case RTM_DELRULE:
		monitor->lost |= is_own_rule(monitor, message);
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
			monitor->changed = monitor->lost = true;
	}
	bool changed = monitor->changed, lost = monitor->lost;
	monitor->changed = monitor->lost = false;
	if (lost && monitor->on_lost)
		monitor->on_lost(monitor->ctx);
	if (changed && monitor->on_changed)
		monitor->on_changed(monitor->ctx); /* may free the monitor */
}

int netlink_monitor_new(struct loop *loop, const struct netlink_own *own,
	netlink_changed_fn on_changed, netlink_lost_fn on_lost, void *ctx,
	struct netlink_monitor **ret_monitor, struct fault *fault)
{
	int err = -ENOMEM;
	struct netlink_monitor *monitor = calloc(1, sizeof(*monitor));

	if (!monitor)
		goto fail;
	*monitor = (struct netlink_monitor){
		.loop = loop,
		.watch = {.on_event = on_readable},
		.own = *own,
		.on_lost = on_lost,
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
			RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE,
			RTNLGRP_IPV4_NETCONF, 0);
	if (nl_error >= 0)
		nl_error = nl_socket_set_nonblocking(monitor->socket);
	if (nl_error < 0) {
		err = netlink_errno(nl_error);
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
