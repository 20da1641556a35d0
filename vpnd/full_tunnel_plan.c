/*
 * A block of sixteen priorities in front of the host's own rules, the same for IPv4 and IPv6:
 *
 *      +0   fwmark M                goto +15     the tunnel's own datagrams: as if nothing of this were there
 *      +1   to EXEMPT               table main   what the administrator leaves outside
 *      +2   port 53, 853            table T      kill switch: names are not asked of the LAN's resolver
 *      +3   table T but its default              kill switch: what peers have, before a LAN that says it has it, too
 *      +4   table main, but for its default      LAN
 *      +5                           table T      the rest; the device's default routes are there
 *      +6                           prohibit     kill switch: and there is nothing behind it
 *      +14  from a device           nop          that device was told to take marks into account (full_tunnel_answers.c)
 *      +15  fwmark N                nop          where +0 leads; N tells whose block this is (full_tunnel.c)
 *
 * While the device is there T has a default route, which ends the search. When the device goes, its routes go with it:
 * without a kill switch the search goes on to the host's own rules, with one it ends at +6, whoever still lives. Rules
 * belong to no process and no device, so they outlast a killed daemon. Who lifts them is whoever ends the tunnel by order:
 * `kcpctl down`, or a start without kill_switch.
 *
 * A family for which no peer has a default route has one all the same, by the helper (full_tunnel.c): "all traffic" would
 * else mean one half of it. The tunnel finds nobody who takes such packets and says so, and programs try the other family
 * at once. Like all routes it goes with the device. Only where the device cannot have it (IPv6 switched off there) a rule
 * says "unreachable".
 *
 * The goto stands for "not fwmark M" in front of each rule, which would turn round all that the rule asks.
 *
 * "LAN" must not be what anybody says who gives out addresses: half of the internet by a route of DHCP's, or a network of
 * public addresses on the link. Without a kill switch no route shorter than /8 (IPv4; what is private has at least that)
 * or /16 (IPv6, but fc00::/7) is LAN, which also leaves the halves of other VPNs' defaults aside. With one only private
 * ranges are asked for, and the packet filter holds what is not on the link besides (netlink_guard.c). A LAN with public
 * addresses, or one behind a router, is named in `exempt` by hand. Who does not trust the LAN at all writes `exempt: []`.
 *
 * With a kill switch the rules are the second line: sockets that are bound to a device are held by the packet filter
 * alone.
 *
 * Sources: ip-rule(8); Linux, net/core/fib_rules.c; wg-quick(8) for the idea of a mark and a suppressed default route; Xue
 * et al., "Bypassing Tunnels: Leaking VPN Client Traffic by Abusing Routing Tables", USENIX Security 2023; CVE-2024-3661.
 */
#include "vpnd/full_tunnel.h"
#include "vpnd/netlink.h"

#include <netinet/in.h>

enum {
	PORT_DNS = 53,
	PORT_DNS_CRYPT = 853, /* TLS, QUIC */
	NO_DEFAULT = 1,	      /* the least length that is none */
	LEAST4 = 8,
	LEAST6 = 16,
	LEAST6_PRIVATE = 7,
};

static const char *const PRIVATE[] = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
	"169.254.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10", NULL};

const char *full_tunnel_private(size_t index)
{
	return PRIVATE[index];
}

/* Appends a rule for everything, which the caller narrows. */
static struct netlink_rule *add(struct full_tunnel_plan *plan, const struct config *config,
	uint8_t family, uint32_t priority, enum netlink_rule_action action)
{
	struct netlink_rule *rule = &plan->rules[plan->count++];

	*rule = (struct netlink_rule){
		.family = family,
		.protocol = (uint8_t)config->routes.protocol,
		.priority = priority,
		.action = action,
	};
	return rule;
}

static struct netlink_rule *add_table(struct full_tunnel_plan *plan, const struct config *config,
	uint8_t family, uint32_t priority, uint32_t table)
{
	struct netlink_rule *rule = add(plan, config, family, priority, NETLINK_RULE_TABLE);

	rule->table = table;
	return rule;
}

static void add_names(
	struct full_tunnel_plan *plan, const struct config *config, uint8_t family, uint32_t first)
{
	static const struct {
		uint8_t protocol;
		uint16_t port;
	} NAMES[] = {{IPPROTO_UDP, PORT_DNS}, {IPPROTO_TCP, PORT_DNS},
		{IPPROTO_UDP, PORT_DNS_CRYPT}, {IPPROTO_TCP, PORT_DNS_CRYPT}};

	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
		struct netlink_rule *rule = add_table(plan, config, family,
			first + FULL_TUNNEL_AT_NAMES, config_tunnel_number(config));
		rule->ip_protocol = NAMES[i].protocol;
		rule->port = NAMES[i].port;
	}
}

static void add_lan(
	struct full_tunnel_plan *plan, const struct config *config, uint8_t family, uint32_t first)
{
	bool kill = config->full_tunnel.mode == CONFIG_FULL_TUNNEL_KILL_SWITCH;
	uint8_t least = family == 4 ? LEAST4 : LEAST6;

	for (size_t i = 0; PRIVATE[i]; i++) {
		struct ip_prefix prefix;
		(void)ip_prefix_parse(PRIVATE[i], &prefix);
		if (prefix.family != family || (!kill && prefix.length >= least))
			continue;
		struct netlink_rule *rule = add_table(
			plan, config, family, first + FULL_TUNNEL_AT_LAN, NETLINK_TABLE_MAIN);
		rule->to = prefix;
		rule->least_length = family == 4 ? LEAST4 : LEAST6_PRIVATE;
	}
	if (!kill)
		add_table(plan, config, family, first + FULL_TUNNEL_AT_LAN, NETLINK_TABLE_MAIN)
			->least_length = least;
}

static void add_family(struct full_tunnel_plan *plan, const struct config *config, uint8_t family,
	uint32_t first, bool no_route)
{
	bool kill = config->full_tunnel.mode == CONFIG_FULL_TUNNEL_KILL_SWITCH;
	uint32_t own = config_tunnel_number(config);
	struct netlink_rule *rule;

	/* First where the goto leads, then the goto: it must never be in force without its end. */
	add(plan, config, family, first + FULL_TUNNEL_AT_END, NETLINK_RULE_NOP)->fwmark = own;
	rule = add(plan, config, family, first + FULL_TUNNEL_AT_MARKED, NETLINK_RULE_GOTO);
	rule->fwmark = config_fwmark(config);
	rule->target = first + FULL_TUNNEL_AT_END;
	for (size_t i = 0; i < config->full_tunnel.exempt.count; i++) {
		struct ip_prefix prefix;
		if (!config_exempt_prefix(config, i, &prefix) || prefix.family != family)
			continue;
		add_table(plan, config, family, first + FULL_TUNNEL_AT_EXEMPT, NETLINK_TABLE_MAIN)
			->to = prefix;
	}
	if (kill) {
		add_names(plan, config, family, first);
		add_table(plan, config, family, first + FULL_TUNNEL_AT_INSIDE, own)->least_length =
			NO_DEFAULT;
	}
	if (config_exempts_lan(config))
		add_lan(plan, config, family, first);
	(void)add_table(plan, config, family, first + FULL_TUNNEL_AT_TUNNEL, own);
	if (kill)
		(void)add(plan, config, family, first + FULL_TUNNEL_AT_NOTHING,
			NETLINK_RULE_PROHIBIT);
	else if (no_route)
		(void)add(plan, config, family, first + FULL_TUNNEL_AT_NOTHING,
			NETLINK_RULE_UNREACHABLE);
}

void full_tunnel_plan(const struct config *config, uint32_t first, const bool no_route[2],
	struct full_tunnel_plan *ret_plan)
{
	ret_plan->count = 0;
	if (config->full_tunnel.mode == CONFIG_FULL_TUNNEL_OFF)
		return;
	add_family(ret_plan, config, 4, first, no_route[0]);
	add_family(ret_plan, config, 6, first, no_route[1]);
}
