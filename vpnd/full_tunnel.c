/*
 * A block of sixteen priorities in front of the host's own rules, the same for IPv4 and IPv6:
 *
 *      +0   fwmark M                goto +15     the tunnel's own datagrams: as if nothing of this were there
 *      +1   to EXEMPT               table main   what the administrator leaves outside
 *      +2   port 53, 853            table T      kill switch: names are not asked of the LAN's resolver
 *      +3   table main, but for its default      LAN: whatever the host has a route to of its own
 *      +4                           table T      the rest; the device's default routes are there
 *      +5                           prohibit     kill switch: and there is nothing behind it
 *      +15                          nop          where +0 leads
 *
 * While the device is there T has a default route, which ends the search. When the device goes, its routes go with it:
 * without a kill switch the search goes on to the host's own rules, with one it ends at +5, whoever still lives. Rules
 * belong to no process and no device, so they outlast a killed daemon. Who lifts them is whoever ends the tunnel by order:
 * `kcpctl down`, or a start without kill_switch.
 *
 * A family for which no peer has a default route ends in "unreachable", in both modes: "all traffic" would else mean one
 * half of it. Programs then try the other family at once.
 *
 * The goto stands for "not fwmark M" in front of each rule, which would turn round all that the rule asks.
 *
 * Sockets that are bound to a device are not held by this (see netlink_guard.c): with a kill switch the packet filter says
 * the same once more. Its LAN is the main table's at the time; when that changes the daemon brings it up to date, and while
 * there is no daemon a new LAN is not let through.
 *
 * "LAN" is what the main table says: a server of addresses (DHCP) may put more there than one likes. Who does not trust
 * it writes `exempt: []`, and then not even the LAN is reached beside the tunnel.
 *
 * Sources: ip-rule(8); Linux, net/core/fib_rules.c; wg-quick(8) for the idea of a mark and a suppressed default route.
 */
#include "vpnd/full_tunnel.h"

#include "vpnd/fault.h"
#include "vpnd/netlink.h"
#include "vpnd/netlink_guard.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	PRIORITY_FIRST = 31000, /* in front of main (32766); behind what others are known to use */
	PRIORITY_BLOCKS = 48,
	PRIORITY_BLOCK = 16,
	AT_MARKED = 0,
	AT_EXEMPT,
	AT_NAMES,
	AT_LAN,
	AT_TUNNEL,
	AT_NOTHING,
	AT_END = PRIORITY_BLOCK - 1,
	LAN_MAX = 256, /* routes of the host's own; more are not exempt from the packet filter */
	LOCAL_COUNT = 4,
	PORT_DNS = 53,
	PORT_DNS_TLS = 853,
};

static uint32_t first_priority(const struct config *config)
{
	return PRIORITY_FIRST + config_tunnel_number(config) % PRIORITY_BLOCKS * PRIORITY_BLOCK;
}

static bool has_default(const struct config *config, uint8_t family)
{
	for (size_t p = 0; p < config->peer_count; p++) {
		const struct config_cidrs *list = &config->peers[p].allowed_ips;
		for (size_t i = 0; i < list->count; i++) {
			if (list->items[i].length == 0 && list->items[i].family == family)
				return true;
		}
	}
	return false;
}

/* Appends a rule for everything, which the caller narrows. */
static struct netlink_rule *add(struct full_tunnel_plan *plan, const struct config *config,
	uint8_t family, uint32_t at, enum netlink_rule_action action)
{
	struct netlink_rule *rule = &plan->rules[plan->count++];

	*rule = (struct netlink_rule){
		.family = family,
		.protocol = (uint8_t)config->routes.protocol,
		.priority = first_priority(config) + at,
		.action = action,
	};
	return rule;
}

static void add_names(struct full_tunnel_plan *plan, const struct config *config, uint8_t family)
{
	static const struct {
		uint8_t protocol;
		uint16_t port;
	} NAMES[] = {{IPPROTO_UDP, PORT_DNS}, {IPPROTO_TCP, PORT_DNS}, {IPPROTO_TCP, PORT_DNS_TLS}};

	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
		struct netlink_rule *rule = add(plan, config, family, AT_NAMES, NETLINK_RULE_TABLE);
		rule->table = config_tunnel_number(config);
		rule->ip_protocol = NAMES[i].protocol;
		rule->port = NAMES[i].port;
	}
}

static void add_family(struct full_tunnel_plan *plan, const struct config *config, uint8_t family)
{
	bool kill = config->full_tunnel.mode == CONFIG_FULL_TUNNEL_KILL_SWITCH;
	struct netlink_rule *rule;

	/* First where the goto leads, then the goto: it must never be in force without its end. */
	(void)add(plan, config, family, AT_END, NETLINK_RULE_NOP);
	rule = add(plan, config, family, AT_MARKED, NETLINK_RULE_GOTO);
	rule->fwmark = config_fwmark(config);
	rule->target = first_priority(config) + AT_END;
	for (size_t i = 0; i < config->full_tunnel.exempt.count; i++) {
		struct ip_prefix prefix;
		if (!config_exempt_prefix(config, i, &prefix) || prefix.family != family)
			continue;
		rule = add(plan, config, family, AT_EXEMPT, NETLINK_RULE_TABLE);
		rule->table = NETLINK_TABLE_MAIN;
		rule->to = prefix;
	}
	if (kill)
		add_names(plan, config, family);
	if (config_exempts_lan(config)) {
		rule = add(plan, config, family, AT_LAN, NETLINK_RULE_TABLE);
		rule->table = NETLINK_TABLE_MAIN;
		rule->no_default = true;
	}
	rule = add(plan, config, family, AT_TUNNEL, NETLINK_RULE_TABLE);
	rule->table = config_tunnel_number(config);
	if (kill)
		(void)add(plan, config, family, AT_NOTHING, NETLINK_RULE_PROHIBIT);
	else if (!has_default(config, family))
		(void)add(plan, config, family, AT_NOTHING, NETLINK_RULE_UNREACHABLE);
}

void full_tunnel_plan(const struct config *config, bool on, struct full_tunnel_plan *ret_plan)
{
	ret_plan->count = 0;
	if (!on || config->full_tunnel.mode == CONFIG_FULL_TUNNEL_OFF)
		return;
	add_family(ret_plan, config, 4);
	add_family(ret_plan, config, 6);
}

/* ---- making it so ----------------------------------------------------------------------------------------------- */

struct present {
	uint32_t first; /* of the own block */
	struct netlink_rule *rules;
	size_t count, room;
	bool failed;
};

static void note(void *ctx, const struct netlink_rule *rule)
{
	struct present *present = ctx;

	if (rule->priority < present->first || rule->priority >= present->first + PRIORITY_BLOCK)
		return;
	if (present->count == present->room) {
		size_t room = present->room ? 2 * present->room : FULL_TUNNEL_RULES_MAX;
		struct netlink_rule *grown =
			reallocarray(present->rules, room, sizeof(*present->rules));
		if (!grown) {
			present->failed = true;
			return;
		}
		present->rules = grown;
		present->room = room;
	}
	present->rules[present->count++] = *rule;
}

static bool among(const struct netlink_rule *rules, size_t count, const struct netlink_rule *rule)
{
	for (size_t i = 0; i < count; i++) {
		if (netlink_rule_equal(&rules[i], rule))
			return true;
	}
	return false;
}

/* The first error counts, and the rest is done all the same. */
static void keep_first(int error, const struct fault *why, int *first, struct fault *fault)
{
	if (error == 0 || *first)
		return;
	*first = error;
	if (fault)
		*fault = *why;
}

/* Backwards, as they were added: what others lead to goes last. */
static int remove_extra(struct netlink *netlink, const struct full_tunnel_plan *plan,
	const struct present *present, size_t *changed, struct fault *fault)
{
	static const uint32_t ORDER[] = {
		AT_NOTHING, AT_TUNNEL, AT_LAN, AT_NAMES, AT_EXEMPT, AT_MARKED, AT_END};
	int first = 0;

	for (size_t k = 0; k < sizeof(ORDER) / sizeof(ORDER[0]); k++) {
		for (size_t i = present->count; i > 0; i--) {
			const struct netlink_rule *rule = &present->rules[i - 1];
			struct fault why = {0};
			if (rule->priority != present->first + ORDER[k] ||
				among(plan->rules, plan->count, rule))
				continue;
			keep_first(netlink_rule_remove(netlink, rule, &why), &why, &first, fault);
			(*changed)++;
		}
	}
	return first;
}

/* ---- the packet filter ------------------------------------------------------------------------------------------ */

struct lan {
	const struct config *config;
	int own_ifindex; /* 0 = it is not there */
	struct ip_prefix list[LAN_MAX + LOCAL_COUNT];
	size_t count;
};

/* Whatever the host has a route to of its own, as +3 sees it, but not what lies inside the tunnel. */
static void note_lan(void *ctx, const struct netlink_route *route)
{
	struct lan *lan = ctx;

	if (route->destination.length == 0 || lan->count >= LAN_MAX ||
		route->ifindex == lan->own_ifindex ||
		route->protocol == (uint8_t)lan->config->routes.protocol)
		return;
	for (size_t i = 0; i < lan->count; i++) {
		if (ip_prefix_contains(&lan->list[i], &route->destination))
			return;
	}
	lan->list[lan->count++] = route->destination;
}

int full_tunnel_guard(
	struct netlink *netlink, const struct config *config, bool on, struct fault *fault)
{
	/* what never leaves a link */
	static const char *const LOCAL[LOCAL_COUNT] = {
		"224.0.0.0/4", "255.255.255.255/32", "fe80::/10", "ff00::/8"};
	struct ip_prefix exempt[CONFIG_EXEMPT_MAX];
	char table[NETLINK_GUARD_NAME_BYTES];
	struct netlink_guard guard = {.table = table,
		.device = config->interface.name,
		.fwmark = config_fwmark(config),
		.exempt = exempt};

	(void)snprintf(table, sizeof(table), "vpnd-%s", config->name);
	if (!on || config->full_tunnel.mode != CONFIG_FULL_TUNNEL_KILL_SWITCH)
		return netlink_guard_remove(table, fault);
	struct lan *lan = calloc(1, sizeof(*lan));
	if (!lan)
		return fault_set(fault, -ENOMEM, "E-VPND-2", NULL, "out of memory");
	lan->config = config;
	lan->own_ifindex = (int)if_nametoindex(config->interface.name);
	for (size_t i = 0; i < config->full_tunnel.exempt.count; i++) {
		if (guard.exempt_count < CONFIG_EXEMPT_MAX &&
			config_exempt_prefix(config, i, &exempt[guard.exempt_count]))
			guard.exempt_count++;
	}
	int error = 0;
	if (config_exempts_lan(config)) {
		error = netlink_route_list(netlink, 0, NETLINK_TABLE_MAIN, note_lan, lan, fault);
		for (size_t i = 0; i < LOCAL_COUNT; i++)
			(void)ip_prefix_parse(LOCAL[i], &lan->list[lan->count++]);
	}
	guard.lan = lan->list;
	guard.lan_count = lan->count;
	if (!error)
		error = netlink_guard_set(&guard, fault);
	free(lan);
	return error;
}

int full_tunnel_apply(struct netlink *netlink, const struct config *config, bool on,
	size_t *ret_changed, struct fault *fault)
{
	struct present present = {.first = first_priority(config)};
	struct full_tunnel_plan *plan = malloc(sizeof(*plan));
	size_t changed = 0;

	if (!plan)
		return fault_set(fault, -ENOMEM, "E-VPND-2", NULL, "out of memory");
	full_tunnel_plan(config, on, plan);
	/* up before the rules, down behind them */
	bool kill = on && config->full_tunnel.mode == CONFIG_FULL_TUNNEL_KILL_SWITCH;
	int first = kill ? full_tunnel_guard(netlink, config, true, fault) : 0;
	if (first) {
		free(plan);
		return first;
	}
	first = netlink_rule_list(netlink, (uint8_t)config->routes.protocol, note, &present, fault);
	if (!first && present.failed)
		first = fault_set(fault, -ENOMEM, "E-VPND-2", NULL, "out of memory");
	for (size_t i = 0; i < plan->count; i++) {
		struct fault why = {0};
		if (among(present.rules, present.count, &plan->rules[i]))
			continue;
		keep_first(netlink_rule_add(netlink, &plan->rules[i], &why), &why, &first, fault);
		changed++;
	}
	/* Not if something is missing: what is too much may be what still holds the traffic. */
	if (!first)
		first = remove_extra(netlink, plan, &present, &changed, fault);
	/* where nobody uses nf_tables, asking would load it */
	if (!first && !kill && (changed > 0 || access("/sys/module/nf_tables", F_OK) == 0))
		first = full_tunnel_guard(netlink, config, false, fault);
	free(present.rules);
	free(plan);
	if (ret_changed)
		*ret_changed = changed;
	return first;
}
