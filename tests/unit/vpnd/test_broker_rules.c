#include "config/config.h"
#include "vpnd/broker_rules.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD "version: 1\nwire: kcp-go\nkcp_go: {key: secret, allow_unauthenticated: true}\n"

static const char FIRST[] =
	HEAD "interface: {name: dev0, addresses: [10.0.0.1/24]}\nlisten: [\"[::]:443\"]\n"
	     "peers: {a: {allowed_ips: [10.1.0.0/16, \"fd01::/48\"]}, b: {allowed_ips: "
	     "[10.2.0.0/16]}}\n";
static const char SECOND[] =
	HEAD "interface: {name: dev0, addresses: [10.0.0.9/24]}\nlisten: [\"192.0.2.1:53\"]\n"
	     "routes: {table: 77, metric: 9, protocol: 99}\n"
	     "peers: {c: {allowed_ips: [10.3.0.0/16]}}\n";

static struct config *parse(const char *text)
{
	static struct config_report report;
	struct config *config = NULL;

	cr_assert_eq(config_parse_text("t.yaml", text, strlen(text), NULL, &config, &report), 0,
		"%s", report.errors[0].text);
	return config;
}

static struct broker_request route(
	enum broker_verb verb, const char *text, uint32_t table, uint32_t metric, uint8_t protocol)
{
	struct broker_request request = {
		.verb = verb, .table = table, .metric = metric, .protocol = protocol};

	cr_assert_eq(ip_prefix_parse(text, &request.prefix), 0);
	return request;
}

static bool may_add(struct broker_rules *rules, const char *text, uint32_t table, uint32_t metric,
	uint8_t protocol)
{
	struct broker_request add = route(BROKER_ROUTE_ADD, text, table, metric, protocol);
	struct fault fault = {0};
	int error = broker_rules_judge(rules, &add, &fault);

	cr_assert(error == 0 || (error == -EPERM && fault.err == -EPERM && fault.text[0]));
	return error == 0;
}

static bool may_remove(struct broker_rules *rules, uint8_t protocol)
{
	struct broker_request request = route(BROKER_ROUTE_REMOVE, "0.0.0.0/0", 254, 50, protocol);
	return broker_rules_judge(rules, &request, NULL) == 0;
}

static bool may_have(struct broker_rules *rules, const char *address)
{
	struct broker_request request = route(BROKER_ADDRESS_ADD, address, 0, 0, 0);
	return broker_rules_judge(rules, &request, NULL) == 0;
}

static bool may_listen(struct broker_rules *rules, uint8_t family, const char *v4, uint16_t port)
{
	struct broker_request request = {.verb = BROKER_UDP_SOCKET};
	struct ip_prefix address;

	request.endpoint.family = family;
	request.endpoint.port = port;
	if (v4) {
		cr_assert_eq(ip_prefix_parse(v4, &address), 0);
		memcpy(request.endpoint.address, address.address, 16);
	}
	return broker_rules_judge(rules, &request, NULL) == 0;
}

Test(broker_rules, what_the_configuration_names_may_be_added_and_nothing_else)
{
	struct broker_rules rules;

	broker_rules_init(&rules, parse(FIRST));
	cr_assert(may_add(&rules, "10.1.0.0/16", 254, 50, 201));
	cr_assert(may_add(&rules, "fd01::/48", 254, 50, 201));
	cr_assert(may_add(&rules, "10.2.0.0/16", 254, 50, 201));
	cr_assert(may_add(&rules, "10.1.0.0/16", 254, 50, 201), "any order");
	cr_assert_not(may_add(&rules, "0.0.0.0/0", 254, 50, 201), "not the world");
	cr_assert_not(may_add(&rules, "10.1.0.0/17", 254, 50, 201), "not a part");
	cr_assert_not(may_add(&rules, "10.3.0.0/16", 254, 50, 201));
	cr_assert_not(may_add(&rules, "10.1.0.0/16", 255, 50, 201), "table");
	cr_assert_not(may_add(&rules, "10.1.0.0/16", 254, 49, 201), "metric");
	cr_assert_not(may_add(&rules, "10.1.0.0/16", 254, 50, 4), "protocol");
	cr_assert(may_have(&rules, "10.0.0.1/24"));
	cr_assert_not(may_have(&rules, "10.0.0.1/23"));
	cr_assert_not(may_have(&rules, "10.0.0.2/24"));
	cr_assert(may_listen(&rules, 6, NULL, 443));
	cr_assert(may_listen(&rules, 4, NULL, 0), "a port of the kernel's choice");
	cr_assert_not(may_listen(&rules, 4, NULL, 443));
	cr_assert_not(may_listen(&rules, 6, NULL, 53));
	cr_assert(may_remove(&rules, 201));
	cr_assert_not(may_remove(&rules, 3), "the administrator's own");
	cr_assert_not(may_remove(&rules, 2), "the kernel's");
	broker_rules_fini(&rules);
}

Test(broker_rules, a_reload_allows_both_until_the_new_one_is_in_force)
{
	struct broker_rules rules;

	broker_rules_init(&rules, parse(FIRST));
	cr_assert_eq(rules.in_force->kcp_go.key, NULL, "no secret is kept");
	broker_rules_keep(&rules);
	cr_assert(may_add(&rules, "10.1.0.0/16", 254, 50, 201), "keeping nothing changes nothing");
	cr_assert_not(may_add(&rules, "10.3.0.0/16", 77, 9, 99));
	broker_rules_offer(&rules, parse(SECOND));
	cr_assert_eq(rules.latest->kcp_go.key, NULL, "no secret is kept");
	cr_assert(may_add(&rules, "10.3.0.0/16", 77, 9, 99));
	cr_assert(may_add(&rules, "10.1.0.0/16", 254, 50, 201));
	cr_assert_not(may_add(&rules, "10.1.0.0/16", 77, 9, 99), "each with its own settings");
	cr_assert_not(may_add(&rules, "10.3.0.0/16", 254, 50, 201));
	cr_assert(may_have(&rules, "10.0.0.1/24"));
	cr_assert(may_have(&rules, "10.0.0.9/24"));
	cr_assert(may_listen(&rules, 6, NULL, 443));
	cr_assert(may_listen(&rules, 4, "192.0.2.1", 53));
	cr_assert_str_eq(broker_rules_config(&rules)->peers[0].name, "c");
	broker_rules_keep(&rules);
	cr_assert(may_add(&rules, "10.3.0.0/16", 77, 9, 99));
	cr_assert_not(may_add(&rules, "10.1.0.0/16", 254, 50, 201));
	cr_assert_not(may_have(&rules, "10.0.0.1/24"));
	cr_assert_not(may_listen(&rules, 6, NULL, 443));
	cr_assert(may_remove(&rules, 99));
	cr_assert(may_remove(&rules, 201), "what the old one put there can still go");
	broker_rules_fini(&rules);
}

Test(broker_rules, one_that_was_only_looked_at_is_forgotten_by_the_next)
{
	struct broker_rules rules;

	broker_rules_init(&rules, parse(FIRST));
	broker_rules_offer(&rules, parse(SECOND));
	broker_rules_offer(&rules, parse(FIRST));
	cr_assert_not(may_add(&rules, "10.3.0.0/16", 77, 9, 99));
	cr_assert(may_add(&rules, "10.1.0.0/16", 254, 50, 201));
	cr_assert(may_remove(&rules, 99));
	broker_rules_fini(&rules);
}

Test(broker_rules, routes_off_means_none)
{
	struct broker_rules rules;

	broker_rules_init(&rules, parse(HEAD "interface: {name: dev0}\nroutes: {table: off}\n"
					     "peers: {a: {allowed_ips: [10.1.0.0/16]}}\n"));
	cr_assert_not(may_add(&rules, "10.1.0.0/16", 254, 50, 201));
	broker_rules_fini(&rules);
}

/* The shortcut for requests in order must not change what is found. */
Test(broker_rules, every_destination_is_found_in_any_order)
{
	enum { PEERS = 60 };
	static char text[PEERS * 80 + 512];
	struct broker_rules rules;
	char prefix[64];
	size_t used =
		(size_t)snprintf(text, sizeof(text), HEAD "interface: {name: dev0}\npeers:\n");

	for (int i = 0; i < PEERS; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
			"  p%d: {allowed_ips: [10.%d.0.0/24, 10.%d.1.0/24, 10.%d.2.0/24]}\n", i, i,
			i, i);
	broker_rules_init(&rules, parse(text));
	srand(3);
	for (int i = 0; i < 20000; i++) {
		int peer = rand() % (PEERS + 2), item = rand() % 4;
		(void)snprintf(prefix, sizeof(prefix), "10.%d.%d.0/24", peer, item);
		cr_assert_eq(may_add(&rules, prefix, 254, 50, 201), peer < PEERS && item < 3, "%s",
			prefix);
	}
	broker_rules_fini(&rules);
}

Test(broker_rules, peers_given_at_run_time_get_routes_but_not_to_the_world)
{
	struct broker_rules rules;
	struct ip_prefix prefix;
	struct fault fault = {0};

	broker_rules_init(&rules, parse(FIRST));
	cr_assert_eq(ip_prefix_parse("10.9.0.0/16", &prefix), 0);
	cr_assert_not(may_add(&rules, "10.9.0.0/16", 254, 50, 201));
	cr_assert_eq(broker_rules_add_destination(&rules, &prefix, &fault), 0);
	cr_assert(may_add(&rules, "10.9.0.0/16", 254, 50, 201));
	cr_assert_not(may_add(&rules, "10.9.0.0/17", 254, 50, 201), "not a part");
	cr_assert_not(may_add(&rules, "10.9.0.0/16", 255, 50, 201), "not in another table");
	cr_assert_eq(broker_rules_add_destination(&rules, &prefix, &fault), 0, "again");
	cr_assert_eq(rules.destination_count, 1);
	for (const char *wide[] = {"0.0.0.0/0", "128.0.0.0/1", "10.0.0.0/7", "::/0", "2000::/3",
		     NULL},
			**text = wide;
		*text; text++) {
		cr_assert_eq(ip_prefix_parse(*text, &prefix), 0);
		cr_assert_eq(
			broker_rules_add_destination(&rules, &prefix, &fault), -EPERM, "%s", *text);
		cr_assert_not(may_add(&rules, *text, 254, 50, 201));
	}
	for (unsigned i = 0; rules.destination_count < BROKER_DESTINATIONS_MAX; i++) {
		prefix = (struct ip_prefix){4, 32, {11, 0, (uint8_t)(i >> 8), (uint8_t)i}};
		cr_assert_eq(broker_rules_add_destination(&rules, &prefix, &fault), 0);
	}
	prefix = (struct ip_prefix){4, 32, {12}};
	cr_assert_eq(
		broker_rules_add_destination(&rules, &prefix, &fault), -EPERM, "there is an end");
	broker_rules_keep(&rules);
	cr_assert(may_add(&rules, "10.9.0.0/16", 254, 50, 201), "a reload does not change that");
	broker_rules_fini(&rules);
}

static bool may(struct broker_rules *rules, enum broker_verb verb, uint32_t value, const char *name)
{
	struct broker_request request = {.verb = verb, .value = value};

	(void)snprintf(request.name, sizeof(request.name), "%s", name);
	if (verb == BROKER_UDP_SOCKET)
		request.endpoint.family = 4;
	return broker_rules_judge(rules, &request, NULL) == 0;
}

Test(broker_rules, marks_are_those_of_the_configuration)
{
	static const char FULL[] =
		HEAD "fwmark: 7\nfull_tunnel: {mode: route}\n"
		     "interface: {name: dev0}\npeers: {a: {endpoints: "
		     "[\"192.0.2.1:1\"], allowed_ips: [0.0.0.0/0, 10.1.0.0/16]}}\n";
	struct broker_rules rules;

	broker_rules_init(&rules, parse(FIRST));
	cr_assert(may(&rules, BROKER_UDP_SOCKET, 0, ""));
	cr_assert_not(may(&rules, BROKER_UDP_SOCKET, 7, ""));
	broker_rules_offer(&rules, parse(FULL));
	cr_assert(may(&rules, BROKER_UDP_SOCKET, 7, ""));
	cr_assert_not(may(&rules, BROKER_UDP_SOCKET, 8, ""));
	uint32_t table = config_tunnel_number(rules.latest);
	cr_assert(may_add(&rules, "0.0.0.0/0", table, 50, 201), "the default has its own table");
	cr_assert_not(may_add(&rules, "0.0.0.0/0", 254, 50, 201), "and never the host's");
	cr_assert(may_add(&rules, "10.1.0.0/16", 254, 50, 201));
	broker_rules_offer(&rules, parse(SECOND));
	cr_assert_not(may(&rules, BROKER_UDP_SOCKET, 7, ""), "it was never in force");
	broker_rules_fini(&rules);
}

Test(broker_rules, devices_are_those_of_peers_that_have_one)
{
	static const char DEVICES[] =
		"version: 1\nidentity: {private_key_file: k}\nroutes: {selection: interface}\n"
		"interface: {name: dev0, addresses: [10.0.0.1/24]}\npeers:\n"
		"  a: {public_key: hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=, endpoints: "
		"[\"192.0.2.1:1\"], allowed_ips: [10.1.0.0/16]}\n"
		"  b: {public_key: 3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=, endpoints: "
		"[\"192.0.2.2:1\"], allowed_ips: [10.2.0.0/16]}\n";
	struct broker_rules rules;
	struct broker_request add = route(BROKER_ROUTE_ADD, "10.1.0.0/16", 254, 50, 201);

	broker_rules_init(&rules, parse(FIRST));
	cr_assert_not(may(&rules, BROKER_TUN, 0, "a"), "one device serves all");
	cr_assert_not(may(&rules, BROKER_LINK, 1, "a"));
	cr_assert(may(&rules, BROKER_LINK, 1, ""));
	broker_rules_fini(&rules);
	broker_rules_init(&rules, parse(DEVICES));
	cr_assert(may(&rules, BROKER_TUN, 0, "a"));
	cr_assert_not(may(&rules, BROKER_TUN, 0, "c"));
	cr_assert_not(may(&rules, BROKER_TUN, 0, ""));
	cr_assert(may(&rules, BROKER_LINK, 1, "b"));
	strcpy(add.name, "a");
	cr_assert_eq(broker_rules_judge(&rules, &add, NULL), 0);
	strcpy(add.name, "b");
	cr_assert_eq(broker_rules_judge(&rules, &add, NULL), -EPERM, "another peer's");
	cr_assert(may(&rules, BROKER_HOOK, 0, ""));
	cr_assert(may(&rules, BROKER_HOOK, 3, "a"));
	cr_assert_not(may(&rules, BROKER_HOOK, 3, "c"), "nobody of that name");
	broker_rules_fini(&rules);
}
