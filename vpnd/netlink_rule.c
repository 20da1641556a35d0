/*
 * Messages are built by hand: libnl 3.7 knows neither suppressed prefix lengths nor gotos. All attributes of a rule are
 * given when it is removed, too, so that no other of the same priority is taken for it. What a rule does not select by
 * the kernel does not compare: it says of a rule for everything that it is there if a narrower one is, and may remove that
 * in its place. So the first is looked up, and who removes looks what is there afterwards.
 *
 * Without IPv6 on the host there is no list of its rules, and none can be added: that is a family that needs none.
 */
#include "vpnd/netlink_rule.h"

#include "vpnd/fault.h"
#include "vpnd/netlink_request.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static const uint8_t ACTIONS[] = {
	[NETLINK_RULE_TABLE] = FR_ACT_TO_TBL,
	[NETLINK_RULE_GOTO] = FR_ACT_GOTO,
	[NETLINK_RULE_NOP] = FR_ACT_NOP,
	[NETLINK_RULE_UNREACHABLE] = FR_ACT_UNREACHABLE,
	[NETLINK_RULE_PROHIBIT] = FR_ACT_PROHIBIT,
};

static int af_of(uint8_t family)
{
	return family == 4 ? AF_INET : AF_INET6;
}

/* A host that has no IPv6 says so in one of these ways. */
static bool no_family(int err)
{
	return err == -EAFNOSUPPORT || err == -EOPNOTSUPP;
}

static int put_rule(struct nl_msg *message, const struct netlink_rule *rule)
{
	struct fib_rule_hdr body = {
		.family = (uint8_t)af_of(rule->family),
		.dst_len = rule->to.length,
		.table = RT_TABLE_UNSPEC,
		.action = ACTIONS[rule->action],
	};
	struct fib_rule_port_range ports = {rule->port, rule->port};
	int error = nlmsg_append(message, &body, sizeof(body), NLMSG_ALIGNTO);

	if (error >= 0)
		error = nla_put_u32(message, FRA_PRIORITY, rule->priority);
	if (error >= 0)
		error = nla_put_u8(message, FRA_PROTOCOL, rule->protocol);
	if (error >= 0 && rule->to.length > 0)
		error = nla_put(message, FRA_DST, rule->family == 4 ? 4 : 16, rule->to.address);
	if (error >= 0 && rule->fwmark)
		error = nla_put_u32(message, FRA_FWMARK, rule->fwmark);
	if (error >= 0 && rule->fwmark)
		error = nla_put_u32(message, FRA_FWMASK, UINT32_MAX);
	if (error >= 0 && rule->ip_protocol)
		error = nla_put_u8(message, FRA_IP_PROTO, rule->ip_protocol);
	if (error >= 0 && rule->port)
		error = nla_put(message, FRA_DPORT_RANGE, sizeof(ports), &ports);
	if (error >= 0 && rule->action == NETLINK_RULE_TABLE)
		error = nla_put_u32(message, FRA_TABLE, rule->table);
	if (error >= 0 && rule->action == NETLINK_RULE_GOTO)
		error = nla_put_u32(message, FRA_GOTO, rule->target);
	if (error >= 0 && rule->least_length)
		error = nla_put_u32(message, FRA_SUPPRESS_PREFIXLEN, rule->least_length - 1U);
	if (error >= 0 && rule->from_device[0])
		error = nla_put_string(message, FRA_IIFNAME, rule->from_device);
	return error;
}

/* @flags  of NLM_F_CREATE; -1 = remove */
static int change(struct netlink *netlink, const struct netlink_rule *rule, int flags)
{
	struct nl_msg *message =
		nlmsg_alloc_simple(flags >= 0 ? RTM_NEWRULE : RTM_DELRULE, flags >= 0 ? flags : 0);
	int nl_error = message ? put_rule(message, rule) : -NLE_NOMEM;

	return netlink_request(netlink, nl_error, message, NULL, NULL);
}

static int failed(struct netlink *netlink, int err, const char *verb,
	const struct netlink_rule *rule, struct fault *fault)
{
	bool more = netlink->reason[0] != '\0';

	return fault_set(fault, err, "E-NET-10", netlink_hint(err),
		"cannot %s the IPv%u policy rule %u: %s%s%s%s", verb, rule->family, rule->priority,
		strerror(-err), more ? " (" : "", netlink->reason, more ? ")" : "");
}

int netlink_rule_remove(
	struct netlink *netlink, const struct netlink_rule *rule, struct fault *fault)
{
	int err = change(netlink, rule, -1);

	if (err == 0 || err == -ENOENT || (rule->family == 6 && no_family(err)))
		return 0;
	return failed(netlink, err, "remove", rule, fault);
}

bool netlink_rule_equal(const struct netlink_rule *a, const struct netlink_rule *b)
{
	return a->family == b->family && a->ip_protocol == b->ip_protocol &&
	       a->least_length == b->least_length && a->port == b->port &&
	       strcmp(a->from_device, b->from_device) == 0 && a->priority == b->priority &&
	       a->fwmark == b->fwmark && a->to.length == b->to.length &&
	       (a->to.length == 0 || ip_prefix_equal(&a->to, &b->to)) && a->action == b->action &&
	       a->table == b->table && a->target == b->target;
}

struct listing {
	uint8_t protocol; /* 0 = any */
	netlink_rule_fn each;
	void *ctx;
};

static bool read_action(uint8_t action, enum netlink_rule_action *ret_action)
{
	for (size_t i = 0; i < sizeof(ACTIONS); i++) {
		if (ACTIONS[i] != action)
			continue;
		*ret_action = (enum netlink_rule_action)i;
		return true;
	}
	return false;
}

static uint32_t number(struct nlattr *const *attributes, int type)
{
	return attributes[type] ? nla_get_u32(attributes[type]) : 0;
}

static void list_rule(void *ctx, struct nlmsghdr *message)
{
	static struct nla_policy policy[FRA_MAX + 1] = {
		[FRA_PRIORITY] = {.type = NLA_U32},
		[FRA_FWMARK] = {.type = NLA_U32},
		[FRA_TABLE] = {.type = NLA_U32},
		[FRA_GOTO] = {.type = NLA_U32},
		[FRA_SUPPRESS_PREFIXLEN] = {.type = NLA_U32},
		[FRA_PROTOCOL] = {.type = NLA_U8},
		[FRA_IP_PROTO] = {.type = NLA_U8},
		[FRA_IIFNAME] = {.type = NLA_STRING, .maxlen = NETLINK_RULE_DEVICE_BYTES - 1},
		[FRA_DPORT_RANGE] = {.minlen = sizeof(struct fib_rule_port_range)},
	};
	const struct listing *listing = ctx;
	struct netlink_rule rule = {0};
	struct nlattr *attributes[FRA_MAX + 1];
	const struct fib_rule_hdr *body;

	if (message->nlmsg_type != RTM_NEWRULE ||
		nlmsg_parse(message, sizeof(*body), attributes, FRA_MAX, policy) < 0)
		return;
	body = nlmsg_data(message);
	bool v4 = body->family == AF_INET;
	rule.protocol = attributes[FRA_PROTOCOL] ? nla_get_u8(attributes[FRA_PROTOCOL]) : 0;
	if ((listing->protocol && rule.protocol != listing->protocol) ||
		(!v4 && body->family != AF_INET6) || !read_action(body->action, &rule.action) ||
		body->dst_len > (v4 ? 32 : 128))
		return;
	rule.family = v4 ? 4 : 6;
	rule.priority = number(attributes, FRA_PRIORITY);
	rule.fwmark = number(attributes, FRA_FWMARK);
	if (rule.action == NETLINK_RULE_TABLE)
		rule.table = attributes[FRA_TABLE] ? number(attributes, FRA_TABLE) : body->table;
	if (rule.action == NETLINK_RULE_GOTO)
		rule.target = number(attributes, FRA_GOTO);
	uint32_t shorter = attributes[FRA_SUPPRESS_PREFIXLEN]
				   ? number(attributes, FRA_SUPPRESS_PREFIXLEN)
				   : UINT32_MAX;
	if (shorter < UINT8_MAX)
		rule.least_length = (uint8_t)(shorter + 1);
	if (attributes[FRA_IIFNAME])
		(void)nla_strlcpy(
			rule.from_device, attributes[FRA_IIFNAME], sizeof(rule.from_device));
	if (attributes[FRA_IP_PROTO])
		rule.ip_protocol = nla_get_u8(attributes[FRA_IP_PROTO]);
	if (attributes[FRA_DPORT_RANGE]) {
		struct fib_rule_port_range ports;
		memcpy(&ports, nla_data(attributes[FRA_DPORT_RANGE]), sizeof(ports));
		rule.port = ports.start;
	}
	if (body->dst_len > 0 && attributes[FRA_DST]) {
		rule.to.family = rule.family;
		rule.to.length = body->dst_len;
		(void)nla_memcpy(rule.to.address, attributes[FRA_DST], v4 ? 4 : 16);
	}
	listing->each(listing->ctx, &rule);
}

int netlink_rule_list(struct netlink *netlink, uint8_t protocol, netlink_rule_fn each, void *ctx,
	struct fault *fault)
{
	struct listing listing = {protocol, each, ctx};

	for (uint8_t family = 4; family <= 6; family = (uint8_t)(family + 2)) {
		struct fib_rule_hdr body = {.family = (uint8_t)af_of(family)};
		struct nl_msg *message = nlmsg_alloc_simple(RTM_GETRULE, NLM_F_DUMP);
		int nl_error = message ? nlmsg_append(message, &body, sizeof(body), NLMSG_ALIGNTO)
				       : -NLE_NOMEM;
		int err = netlink_request(netlink, nl_error, message, list_rule, &listing);
		if (err && !no_family(err))
			return fault_set(fault, err, "E-NET-10", netlink_hint(err),
				"cannot list the policy rules: %s", strerror(-err));
	}
	return 0;
}

struct search {
	const struct netlink_rule *wanted;
	bool found;
};

static void compare_rule(void *ctx, const struct netlink_rule *rule)
{
	struct search *search = ctx;

	search->found |= netlink_rule_equal(rule, search->wanted);
}

static bool is_there(struct netlink *netlink, const struct netlink_rule *rule)
{
	struct search search = {.wanted = rule};

	return netlink_rule_list(netlink, 0, compare_rule, &search, NULL) < 0 || search.found;
}

int netlink_rule_add(struct netlink *netlink, const struct netlink_rule *rule, bool *ret_added,
	struct fault *fault)
{
	int err = change(netlink, rule, NLM_F_CREATE | NLM_F_EXCL);

	if (err == -EEXIST && !is_there(netlink, rule))
		err = change(netlink, rule, NLM_F_CREATE);
	if (ret_added)
		*ret_added = err == 0;
	if (err == 0 || err == -EEXIST || (rule->family == 6 && no_family(err)))
		return 0;
	return failed(netlink, err, "add", rule, fault);
}
