/*
 * What a configuration asks of the host beside addresses and routes: a full tunnel, DNS, hooks, a network namespace,
 * devices of single peers. Here stands what follows from its keys, for the daemon, which does it, and for its helper,
 * which must come to the same result by itself.
 *
 * The number of the full tunnel's table is made of the network's name. It must be the same after a crash and another
 * start, or what was left behind would stay for ever; and it must differ between networks of one host. A hash into
 * 65536 numbers, far away from those that people and other programs choose by hand, does both well enough.
 */
#include "config/config_loader.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	TUNNEL_NUMBERS = 0x4b430000, /* "KC", and 16 bits of the name */
	TABLE_MAIN = 254,
	DNS_LABEL_MAX = 63,
	DNS_NAME_MAX = 253,
};

/* ---- what follows from the keys --------------------------------------------------------------------------------- */

uint32_t config_tunnel_number(const struct config *config)
{
	uint32_t hash = 2166136261U; /* FNV-1a */

	for (const char *at = config->name; *at; at++)
		hash = (hash ^ (uint8_t)*at) * 16777619U;
	return TUNNEL_NUMBERS | ((hash ^ hash >> 16) & 0xffff);
}

uint32_t config_fwmark(const struct config *config)
{
	if (config->fwmark != CONFIG_AUTO)
		return (uint32_t)config->fwmark;
	return config->full_tunnel.mode == CONFIG_FULL_TUNNEL_OFF ? 0
								  : config_tunnel_number(config);
}

bool config_exempts_lan(const struct config *config)
{
	for (size_t i = 0; i < config->full_tunnel.exempt.count; i++) {
		if (strcmp(config->full_tunnel.exempt.items[i], "lan") == 0)
			return true;
	}
	return false;
}

bool config_exempt_prefix(const struct config *config, size_t index, struct ip_prefix *ret_prefix)
{
	struct ip_prefix prefix;

	if (ip_prefix_parse(config->full_tunnel.exempt.items[index], &prefix) < 0)
		return false;
	ip_prefix_mask(&prefix);
	*ret_prefix = prefix;
	return true;
}

/* "192.0.2.53", "2001:db8::53", "192.0.2.53:5353", "[2001:db8::53]:5353" */
bool config_dns_server(
	const struct config *config, size_t index, struct kcpvpn_endpoint *ret_server)
{
	const char *text = config->dns.servers.items[index];
	struct kcpvpn_endpoint server = {.family = 4};
	char host[INET6_ADDRSTRLEN];

	if (inet_pton(AF_INET, text, server.address) == 1) {
		*ret_server = server;
		return true;
	}
	server.family = 6;
	if (inet_pton(AF_INET6, text, server.address) == 1) {
		*ret_server = server;
		return true;
	}
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;
	char *end = NULL;
	unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 0;
	if (!colon || colon[1] < '1' || colon[1] > '9' || *end || port > UINT16_MAX)
		return false;
	bool v6 = text[0] == '[' && len > 2 && text[len - 1] == ']';
	const char *begin = v6 ? text + 1 : text;
	len -= v6 ? 2 : 0;
	if (len >= sizeof(host))
		return false;
	memcpy(host, begin, len);
	host[len] = '\0';
	server = (struct kcpvpn_endpoint){.family = v6 ? 6 : 4, .port = (uint16_t)port};
	if (inet_pton(v6 ? AF_INET6 : AF_INET, host, server.address) != 1)
		return false;
	*ret_server = server;
	return true;
}

bool config_dns_is_split(const struct config *config)
{
	return config->dns.search.count > 0 && config->full_tunnel.mode == CONFIG_FULL_TUNNEL_OFF;
}

/* Nothing local comes before the routes to peers: a kill switch asks for these first, and who exempts no LAN has none. */
static bool is_apart(const struct config *config)
{
	return config->full_tunnel.mode == CONFIG_FULL_TUNNEL_KILL_SWITCH ||
	       (config->full_tunnel.mode == CONFIG_FULL_TUNNEL_ROUTE &&
		       !config_exempts_lan(config));
}

bool config_route_is_covered(const struct config *config, const struct ip_prefix *destination)
{
	/* Where each peer has a device the kernel's route to the prefix leads to none of these; and the table of its own
	   that is_apart() has does not see it. */
	if (config->routes.selection == CONFIG_SELECTION_INTERFACE || is_apart(config))
		return false;
	for (size_t i = 0; i < config->interface.addresses.count; i++) {
		if (ip_prefix_contains(&config->interface.addresses.items[i], destination))
			return true;
	}
	return false;
}

uint32_t config_route_table(const struct config *config, const struct ip_prefix *destination)
{
	bool full = config->full_tunnel.mode != CONFIG_FULL_TUNNEL_OFF;

	if (full && (destination->length == 0 || is_apart(config)))
		return config_tunnel_number(config);
	return config->routes.table > 0 ? (uint32_t)config->routes.table : (uint32_t)TABLE_MAIN;
}

const char *config_hook_str(enum config_hook hook)
{
	switch (hook) {
	case CONFIG_HOOK_PRE_UP:
		return "pre_up";
	case CONFIG_HOOK_UP:
		return "up";
	case CONFIG_HOOK_DOWN:
		return "down";
	case CONFIG_HOOK_PEER_UP:
		return "peer_up";
	case CONFIG_HOOK_PEER_DOWN:
		return "peer_down";
	case CONFIG_HOOKS:
		break;
	}
	return "";
}

void config_peer_device(
	const struct config *config, const char *peer, char ret_name[CONFIG_DEVICE_MAX + 1])
{
	const char *const parts[] = {config->interface.name, "-", peer};
	size_t len = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		for (const char *at = parts[i]; *at && len < CONFIG_DEVICE_MAX; at++)
			ret_name[len++] = *at;
	}
	ret_name[len] = '\0';
}

/* ---- checks ----------------------------------------------------------------------------------------------------- */

static void check_netns(struct loader *l)
{
	const struct config *config = l->config;
	const char *netns = config->interface.netns;

	if (!netns)
		return;
	if (netns[0] != '/' &&
		(strchr(netns, '/') || strcmp(netns, ".") == 0 || strcmp(netns, "..") == 0))
		findings_error(&l->findings, CONFIG_E_NAME, loader_place(l, "interface.netns"),
			NULL,
			"interface.netns: \"%.60s\" is neither the name of a namespace (ip netns "
			"list) nor an absolute path",
			netns);
	if (config->full_tunnel.mode != CONFIG_FULL_TUNNEL_OFF)
		findings_error(&l->findings, CONFIG_E_VALUE, loader_place(l, "full_tunnel.mode"),
			NULL,
			"full_tunnel: not together with interface.netns; a namespace takes "
			"0.0.0.0/0 and ::/0 in allowed_ips as they are, since the tunnel's own "
			"datagrams stay outside");
	if (config->dns.servers.count > 0)
		findings_error(&l->findings, CONFIG_E_VALUE, loader_place(l, "dns.servers"), NULL,
			"dns: not together with interface.netns; resolvers of a namespace stand in "
			"/etc/netns/NAME/resolv.conf");
	if (config->routes.selection == CONFIG_SELECTION_INTERFACE)
		findings_error(&l->findings, CONFIG_E_VALUE, loader_place(l, "routes.selection"),
			NULL, "routes.selection: interface is not possible with interface.netns");
}

static bool has_default(const struct config *config, uint8_t family)
{
	for (size_t p = 0; p < config->peer_count; p++) {
		const struct config_cidrs *list = &config->peers[p].allowed_ips;
		for (size_t i = 0; i < list->count; i++) {
			if (list->items[i].length == 0 &&
				(family == 0 || list->items[i].family == family))
				return true;
		}
	}
	return false;
}

static void check_full_tunnel(struct loader *l)
{
	const struct config *config = l->config;
	struct ip_prefix prefix;

	if (config->full_tunnel.exempt.count > CONFIG_EXEMPT_MAX)
		findings_error(&l->findings, CONFIG_E_LIMIT, loader_place(l, "full_tunnel.exempt"),
			NULL, "full_tunnel.exempt has more than %d items", CONFIG_EXEMPT_MAX);
	for (size_t i = 0; i < config->full_tunnel.exempt.count; i++) {
		const char *text = config->full_tunnel.exempt.items[i];
		if (strcmp(text, "lan") == 0 ||
			(config_exempt_prefix(config, i, &prefix) && prefix.length > 0))
			continue;
		findings_error(&l->findings, CONFIG_E_ADDRESS,
			loader_place(l, "full_tunnel.exempt"), NULL,
			"full_tunnel.exempt: \"%.60s\" is neither lan nor a prefix such as "
			"192.0.2.0/24",
			text);
	}
	if (config->full_tunnel.mode == CONFIG_FULL_TUNNEL_OFF)
		return;
	if (config->fwmark == 0)
		findings_error(&l->findings, CONFIG_E_VALUE, loader_place(l, "fwmark"),
			"auto, or another number",
			"fwmark: 0 marks nothing, and full_tunnel tells the tunnel's own datagrams "
			"by their mark");
	if (config->routes.table == CONFIG_OFF)
		findings_error(&l->findings, CONFIG_E_VALUE, loader_place(l, "routes.table"), NULL,
			"routes.table: off leaves full_tunnel without routes");
	if (config->routes.selection == CONFIG_SELECTION_INTERFACE)
		findings_error(&l->findings, CONFIG_E_VALUE, loader_place(l, "routes.selection"),
			NULL,
			"routes.selection: interface leaves routes to a routing daemon, and "
			"full_tunnel sets its own; choose one of them");
	if (!has_default(config, 0))
		findings_error(&l->findings, CONFIG_E_MISSING, loader_place(l, "full_tunnel.mode"),
			NULL,
			"full_tunnel: no peer has 0.0.0.0/0 or ::/0 in its allowed_ips, so nobody "
			"would carry all the traffic");
	if (config->full_tunnel.mode == CONFIG_FULL_TUNNEL_KILL_SWITCH &&
		config->dns.servers.count == 0)
		findings_warning(&l->findings, CONFIG_W_NAMES, loader_place(l, "full_tunnel.mode"),
			"full_tunnel: kill_switch keeps questions for names from the resolver of "
			"the LAN, and dns.servers names none inside the tunnel");
}

/* A domain, perhaps with ~ in front. */
static bool domain_ok(const char *text)
{
	size_t label = 0;

	text += *text == '~';
	size_t len = strlen(text);
	if (len == 0 || len > DNS_NAME_MAX || text[0] == '.' || text[0] == '-')
		return false;
	for (const char *at = text; *at; at++) {
		bool part = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
			    (*at >= '0' && *at <= '9') || *at == '-' || *at == '_';
		if (*at == '.' && label > 0)
			label = 0;
		else if (!part || ++label > DNS_LABEL_MAX)
			return false;
	}
	return true;
}

static void check_dns(struct loader *l)
{
	const struct config *config = l->config;
	struct kcpvpn_endpoint server;

	if (config->dns.servers.count > CONFIG_DNS_MAX || config->dns.search.count > CONFIG_DNS_MAX)
		findings_error(&l->findings, CONFIG_E_LIMIT, loader_place(l, "dns.servers"), NULL,
			"dns: at most %d servers and as many domains", CONFIG_DNS_MAX);
	for (size_t i = 0; i < config->dns.servers.count; i++) {
		if (!config_dns_server(config, i, &server))
			findings_error(&l->findings, CONFIG_E_ADDRESS,
				loader_place(l, "dns.servers"), NULL,
				"dns.servers: \"%.60s\" is not the address of a server",
				config->dns.servers.items[i]);
	}
	for (size_t i = 0; i < config->dns.search.count; i++) {
		if (!domain_ok(config->dns.search.items[i]))
			findings_error(&l->findings, CONFIG_E_NAME, loader_place(l, "dns.search"),
				NULL, "dns.search: \"%.60s\" is not a domain",
				config->dns.search.items[i]);
	}
	if (config->dns.search.count > 0 && config->dns.servers.count == 0)
		findings_error(&l->findings, CONFIG_E_MISSING, loader_place(l, "dns.search"), NULL,
			"dns.search: without dns.servers there is nobody to ask for them");
}

static void check_program(struct loader *l, const char *key, const char *path)
{
	enum config_exposure exposure = CONFIG_EXPOSED_NOT;

	if (l->reader && l->reader->exposure)
		exposure = l->reader->exposure(l->reader->ctx, path);
	if (exposure != CONFIG_EXPOSED_NOT)
		findings_error(&l->findings, CONFIG_E_MODE, loader_place(l, key), NULL,
			"%s runs as root, so nobody else may change %.200s, but %s", key, path,
			config_exposure_str(exposure));
}

static void check_hooks(struct loader *l)
{
	char key[32];

	for (enum config_hook hook = 0; hook < CONFIG_HOOKS; hook++) {
		const struct config_strings *argv = &l->config->hooks[hook];
		(void)snprintf(key, sizeof(key), "hooks.%s", config_hook_str(hook));
		if (argv->count > 0 && argv->items[0][0] != '/')
			findings_error(&l->findings, CONFIG_E_VALUE, loader_place(l, key), NULL,
				"%s: \"%.60s\" is not the absolute path of a program; there is no "
				"shell, and each argument is an item of the list",
				key, argv->items[0]);
		else if (argv->count > 0)
			check_program(l, key, argv->items[0]);
	}
}

static int compare_devices(const void *a, const void *b, void *ctx)
{
	const struct config *config = ctx;
	char x[CONFIG_DEVICE_MAX + 1], y[CONFIG_DEVICE_MAX + 1];

	config_peer_device(config, config->peers[*(const size_t *)a].name, x);
	config_peer_device(config, config->peers[*(const size_t *)b].name, y);
	return strcmp(x, y);
}

static void check_devices(struct loader *l)
{
	struct config *config = l->config;
	size_t order[CONFIG_DEVICES_MAX], count = config->peer_count;

	if (config->routes.selection != CONFIG_SELECTION_INTERFACE) {
		if (config->routes.ingress_filter == CONFIG_INGRESS_OFF)
			findings_error(&l->findings, CONFIG_E_VALUE,
				loader_place(l, "routes.ingress_filter"), NULL,
				"routes.ingress_filter: off is possible with routes.selection: "
				"interface only");
		return;
	}
	if (config->wire == CONFIG_WIRE_KCP_GO)
		findings_error(&l->findings, CONFIG_E_WIRE, loader_place(l, "routes.selection"),
			NULL,
			"routes.selection: the kcp-go wire tells callers by their inner addresses, "
			"so interface is not possible there");
	if (config->interface.queues > 1)
		findings_error(&l->findings, CONFIG_E_VALUE, loader_place(l, "interface.queues"),
			"auto or 1",
			"interface.queues: with routes.selection: interface each device has one "
			"queue, not %d",
			config->interface.queues);
	if (config->routes.ingress_filter == CONFIG_INGRESS_OFF)
		findings_warning(&l->findings, CONFIG_W_NO_FILTER,
			loader_place(l, "routes.ingress_filter"),
			"routes.ingress_filter: off lets each peer send from any address, as a "
			"router does: filter with nftables where that matters");
	if (strlen(config->interface.name) > CONFIG_DEVICE_MAX - 2) {
		findings_error(&l->findings, CONFIG_E_NAME, loader_place(l, "interface.name"), NULL,
			"interface.name: %s leaves no room for a peer's name behind it, which "
			"routes.selection: interface needs",
			config->interface.name);
		return;
	}
	if (count > CONFIG_DEVICES_MAX) {
		findings_error(&l->findings, CONFIG_E_LIMIT, loader_place(l, "routes.selection"),
			NULL, "routes.selection: interface with %zu peers; at most %d", count,
			CONFIG_DEVICES_MAX);
		return;
	}
	for (size_t i = 0; i < count; i++)
		order[i] = i;
	qsort_r(order, count, sizeof(order[0]), compare_devices, config);
	for (size_t i = 1; i < count; i++) {
		char name[CONFIG_DEVICE_MAX + 1];
		config_peer_device(config, config->peers[order[i]].name, name);
		if (compare_devices(&order[i - 1], &order[i], config) == 0)
			findings_error(&l->findings, CONFIG_E_DUPLICATE,
				l->peers[order[i]].name->place, NULL,
				"peers.%s and peers.%s: cut to %d characters both have the device "
				"%s; choose a shorter interface.name or other names",
				config->peers[order[i - 1]].name, config->peers[order[i]].name,
				CONFIG_DEVICE_MAX, name);
	}
}

void config_check_host(struct loader *l)
{
	check_netns(l);
	check_full_tunnel(l);
	check_dns(l);
	check_hooks(l);
	check_devices(l);
}
