/*
 * Two configurations count: the one in force and the one read last, because a reload takes away what the old one named
 * and adds what the new one names, and because the worker may find that it cannot take the new one over.
 *
 * Adding is held to what they name, and never takes the place of what is there. Removing is held to the own interface and
 * own protocol numbers: it can only undo.
 * The numbers are remembered since the start, so that routes of a configuration long gone can still be withdrawn.
 *
 * Peers given at run time stand in no file, so the worker names their addresses. What it could do with that if it were taken
 * over is to draw networks into the tunnel; so it gets no default route nor a half of one, there is an end to their number, and
 * the helper logs each (broker_server.c), which the worker cannot prevent.
 *
 * Rules need no keys: they are wiped as soon as the helper has handed them over.
 */
#include "vpnd/broker_rules.h"

#include "config/config.h"
#include "vpnd/netlink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void note_protocol(struct broker_rules *rules, const struct config *config)
{
	unsigned number = (unsigned)config->routes.protocol & 0xff;

	rules->protocols[number / 8] |= (uint8_t)(1U << number % 8);
}

void broker_rules_init(struct broker_rules *rules, struct config *config)
{
	*rules = (struct broker_rules){.in_force = config};
	config_forget_secrets(config);
	note_protocol(rules, config);
}

void broker_rules_fini(struct broker_rules *rules)
{
	config_free(rules->in_force);
	config_free(rules->latest);
	free(rules->destinations);
	*rules = (struct broker_rules){0};
}

void broker_rules_offer(struct broker_rules *rules, struct config *config)
{
	config_free(rules->latest);
	rules->latest = config;
	config_forget_secrets(config);
	note_protocol(rules, config);
}

void broker_rules_keep(struct broker_rules *rules)
{
	if (!rules->latest)
		return;
	config_free(rules->in_force);
	rules->in_force = rules->latest;
	rules->latest = NULL;
}

const struct config *broker_rules_config(const struct broker_rules *rules)
{
	return rules->latest ? rules->latest : rules->in_force;
}

static bool names_address(const struct config *config, const struct ip_prefix *address)
{
	for (size_t i = 0; config && i < config->interface.addresses.count; i++) {
		if (ip_prefix_equal(&config->interface.addresses.items[i], address))
			return true;
	}
	return false;
}

static bool names_listener(const struct config *config, const struct kcpvpn_endpoint *endpoint)
{
	for (size_t i = 0; config && i < config->listen.count; i++) {
		if (kcpvpn_endpoint_equal(&config->listen.items[i], endpoint))
			return true;
	}
	return false;
}

static bool is_at(
	const struct config *config, size_t peer, size_t item, const struct ip_prefix *destination)
{
	return peer < config->peer_count && item < config->peers[peer].allowed_ips.count &&
	       ip_prefix_equal(&config->peers[peer].allowed_ips.items[item], destination);
}

/* Requests come in the order of the file: the next one is mostly where the last one was found, or right behind. */
static bool names_destination(struct broker_rules *rules, const struct config *config,
	const struct ip_prefix *destination)
{
	size_t peer = rules->peer_hint, item = rules->prefix_hint;

	for (size_t step = 0; step < 2; step++) {
		if (is_at(config, peer, item + step, destination)) {
			rules->prefix_hint = item + step;
			return true;
		}
	}
	for (size_t n = 0; n < config->peer_count; n++) {
		size_t at = (peer + 1 + n) % config->peer_count;
		for (size_t i = 0; i < config->peers[at].allowed_ips.count; i++) {
			if (!is_at(config, at, i, destination))
				continue;
			rules->peer_hint = at;
			rules->prefix_hint = i;
			return true;
		}
	}
	return false;
}

static bool was_given(const struct broker_rules *rules, const struct ip_prefix *destination)
{
	for (size_t i = 0; i < rules->destination_count; i++) {
		if (ip_prefix_equal(&rules->destinations[i], destination))
			return true;
	}
	return false;
}

int broker_rules_add_destination(
	struct broker_rules *rules, const struct ip_prefix *prefix, struct fault *fault)
{
	if (prefix->length < BROKER_DESTINATION_LENGTH_MIN)
		return fault_set(fault, -EPERM, "E-PRIV-6",
			"put the peer into a file, by hand or with --save",
			"the helper makes no route for a peer given at run time to a network as "
			"large as /%u",
			prefix->length);
	if (was_given(rules, prefix))
		return 0;
	if (rules->destination_count == BROKER_DESTINATIONS_MAX)
		return fault_set(fault, -EPERM, "E-PRIV-6",
			"put the peer into a file, by hand or with --save",
			"the helper makes no more routes for peers given at run time");
	struct ip_prefix *grown =
		reallocarray(rules->destinations, rules->destination_count + 1, sizeof(*grown));
	if (!grown)
		return fault_set(fault, -ENOMEM, "E-PRIV-6", NULL, "out of memory");
	grown[rules->destination_count++] = *prefix;
	rules->destinations = grown;
	return 0;
}

static bool names_route(struct broker_rules *rules, const struct config *config,
	const struct broker_request *request)
{
	if (!config || config->routes.table == CONFIG_OFF ||
		request->protocol != config->routes.protocol ||
		(int64_t)request->metric != config->routes.metric)
		return false;
	if (request->table != config_route_table(config, &request->prefix))
		return false;
	/* by the device of a peer only what is that peer's, and those given at run time have none */
	if (!names_destination(rules, config, &request->prefix))
		return !request->name[0] && was_given(rules, &request->prefix);
	return !request->name[0] ||
	       strcmp(config->peers[rules->peer_hint].name, request->name) == 0;
}

/* Which mark a socket has decides what routes it takes. */
static bool names_mark(const struct config *config, uint32_t mark)
{
	return mark == 0 || (config && mark == config_fwmark(config));
}

/* Anything about a device is about the own one, or that of a peer which has one. */
static bool names_device(const struct config *config, const char *peer)
{
	return peer[0] == '\0' ||
	       (config && config->routes.selection == CONFIG_SELECTION_INTERFACE &&
		       config_peer_find(config, peer));
}

static int refuse(struct fault *fault, const char *what)
{
	return fault_set(fault, -EPERM, "E-PRIV-6", NULL,
		"the helper refused to %s: the configuration does not ask for it", what);
}

int broker_rules_judge(
	struct broker_rules *rules, const struct broker_request *request, struct fault *fault)
{
	/* Devices stay until the peer's is closed: they may be taken back when no configuration names it any more. */
	bool undoing =
		request->verb == BROKER_ADDRESS_REMOVE || request->verb == BROKER_ROUTE_REMOVE;

	if (!undoing && request->verb != BROKER_HOOK &&
		!names_device(rules->in_force, request->name) &&
		!names_device(rules->latest, request->name))
		return refuse(fault, "touch a device");
	switch (request->verb) {
	case BROKER_ADDRESS_ADD:
		if (names_address(rules->in_force, &request->prefix) ||
			names_address(rules->latest, &request->prefix))
			return 0;
		return refuse(fault, "add an address");
	case BROKER_ROUTE_ADD:
		/* the latest first: while a reload is applied it is the one that asks */
		if (names_route(rules, rules->latest, request) ||
			names_route(rules, rules->in_force, request))
			return 0;
		return refuse(fault, "add a route");
	case BROKER_ROUTE_REMOVE:
		if (rules->protocols[request->protocol / 8] >> request->protocol % 8 & 1)
			return 0;
		return refuse(fault, "remove a route");
	case BROKER_UDP_SOCKET:
		if (!names_mark(rules->in_force, request->value) &&
			!names_mark(rules->latest, request->value))
			return refuse(fault, "mark a socket");
		if (request->endpoint.port == 0 ||
			names_listener(rules->in_force, &request->endpoint) ||
			names_listener(rules->latest, &request->endpoint))
			return 0;
		return refuse(fault, "open a port");
	case BROKER_TUN:
		if (request->name[0])
			return 0;
		return refuse(fault, "make a device");
	case BROKER_HOOK:
		if (request->name[0] == '\0' || config_peer_find(rules->in_force, request->name) ||
			(rules->latest && config_peer_find(rules->latest, request->name)))
			return 0;
		return refuse(fault, "run a hook");
	case BROKER_TUNNEL:
	case BROKER_DNS: /* what is done about these stands in the configuration alone */
	case BROKER_LINK:
	case BROKER_MTU:
	case BROKER_ADDRESS_REMOVE:
	case BROKER_READ_CONFIG:
	case BROKER_KEEP_CONFIG:
	case BROKER_DESTINATION:
	case BROKER_END:
		return 0;
	case BROKER_VERBS:
		break;
	}
	return refuse(fault, "do something unknown");
}
