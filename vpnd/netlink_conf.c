/*
 * What holds for a device is the larger of its own value and that for all (rp_filter). The one for all is told by messages of
 * their own (netconf), those of devices stand in what is told of a link, as an array of all that can be configured. That
 * is also the way to set one.
 *
 * Sources: Linux, include/uapi/linux/ip.h, net/ipv4/devinet.c; Documentation/networking/ip-sysctl.rst.
 */
#include "vpnd/netlink_conf.h"

#include "vpnd/netlink_request.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <string.h>
#include <sys/socket.h>

enum {
	STRICT = 1,
};

struct listing {
	uint32_t for_all; /* rp_filter */
	netlink_conf_fn each;
	void *ctx;
};

static void read_for_all(void *ctx, struct nlmsghdr *message)
{
	struct listing *listing = ctx;
	struct nlattr *attributes[NETCONFA_MAX + 1];

	if (message->nlmsg_type == RTM_NEWNETCONF &&
		nlmsg_parse(message, sizeof(struct netconfmsg), attributes, NETCONFA_MAX, NULL) >=
			0 &&
		attributes[NETCONFA_IFINDEX] &&
		(int32_t)nla_get_u32(attributes[NETCONFA_IFINDEX]) == NETCONFA_IFINDEX_ALL &&
		attributes[NETCONFA_RP_FILTER])
		listing->for_all = nla_get_u32(attributes[NETCONFA_RP_FILTER]);
}

/* One of the array of values. @return 0 also if the kernel has none such */
static uint32_t value(const struct nlattr *values, int which)
{
	size_t at = (size_t)(which - 1) * sizeof(uint32_t);
	uint32_t number = 0;

	if ((size_t)nla_len(values) >= at + sizeof(number))
		memcpy(&number, (const char *)nla_data(values) + at, sizeof(number));
	return number;
}

static void read_link(void *ctx, struct nlmsghdr *message)
{
	const struct listing *listing = ctx;
	struct nlattr *attributes[IFLA_MAX + 1], *families, *values;

	if (message->nlmsg_type != RTM_NEWLINK ||
		nlmsg_parse(message, sizeof(struct ifinfomsg), attributes, IFLA_MAX, NULL) < 0 ||
		!attributes[IFLA_AF_SPEC])
		return;
	families = nla_find(
		nla_data(attributes[IFLA_AF_SPEC]), nla_len(attributes[IFLA_AF_SPEC]), AF_INET);
	values = families ? nla_find(nla_data(families), nla_len(families), IFLA_INET_CONF) : NULL;
	if (!values)
		return;
	const struct ifinfomsg *body = nlmsg_data(message);
	uint32_t own = value(values, IPV4_DEVCONF_RP_FILTER);
	struct netlink_conf conf = {
		.ifindex = body->ifi_index,
		.loopback = (body->ifi_flags & IFF_LOOPBACK) != 0,
		.strict = (own > listing->for_all ? own : listing->for_all) == STRICT,
		.counts_marks = value(values, IPV4_DEVCONF_SRC_VMARK) != 0,
	};
	listing->each(listing->ctx, &conf);
}

int netlink_conf_list(struct netlink *netlink, netlink_conf_fn each, void *ctx)
{
	struct listing listing = {.each = each, .ctx = ctx};
	struct netconfmsg all = {.ncm_family = AF_INET};
	struct ifinfomsg link = {.ifi_family = AF_UNSPEC};
	struct nl_msg *message = nlmsg_alloc_simple(RTM_GETNETCONF, NLM_F_DUMP);
	int nl_error =
		message ? nlmsg_append(message, &all, sizeof(all), NLMSG_ALIGNTO) : -NLE_NOMEM;
	int err = netlink_request(netlink, nl_error, message, read_for_all, &listing);

	if (err)
		return err;
	message = nlmsg_alloc_simple(RTM_GETLINK, NLM_F_DUMP);
	nl_error = message ? nlmsg_append(message, &link, sizeof(link), NLMSG_ALIGNTO) : -NLE_NOMEM;
	return netlink_request(netlink, nl_error, message, read_link, &listing);
}

int netlink_conf_count_marks(struct netlink *netlink, int ifindex, bool on)
{
	struct ifinfomsg link = {.ifi_family = AF_UNSPEC, .ifi_index = ifindex};
	struct nl_msg *message = nlmsg_alloc_simple(RTM_SETLINK, 0);
	struct nlattr *families = NULL, *family = NULL, *values = NULL;
	int nl_error =
		message ? nlmsg_append(message, &link, sizeof(link), NLMSG_ALIGNTO) : -NLE_NOMEM;

	if (nl_error >= 0) {
		families = nla_nest_start(message, IFLA_AF_SPEC);
		family = families ? nla_nest_start(message, AF_INET) : NULL;
		values = family ? nla_nest_start(message, IFLA_INET_CONF) : NULL;
		nl_error = values ? nla_put_u32(message, IPV4_DEVCONF_SRC_VMARK, on) : -NLE_NOMEM;
	}
	if (nl_error >= 0) {
		(void)nla_nest_end(message, values);
		(void)nla_nest_end(message, family);
		(void)nla_nest_end(message, families);
	}
	return netlink_request(netlink, nl_error, message, NULL, NULL);
}
