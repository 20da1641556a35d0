/*
 * Where a peer is called. The list that the library gets has the address where the peer was last proven to be, if one is
 * remembered, and then, in the order of the file, what each endpoint means now; a name with several addresses gives the
 * first four in the order that the host prefers. If a peer has more endpoints than can be called at a time, the next
 * ones have their turn when none of these answers.
 *
 * Names are asked about at the start, when no address answers, when the way to the peer changed while it is away, and
 * once in a while; what they meant before stays in use until there is an answer. A question that brought nothing is
 * asked again after a second, and then less and less often.
 *
 * A way that leads into the tunnel itself is no way: such an address is left out.
 */
#include "config/config.h"
#include "core/log.h"
#include "vpnd/peer.h"
#include "vpnd/state_file.h"
#include "vpnd/wire_native.h"
#include "vpnd/wire_native_peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PAUSE_MIN_US = 1000000,
	PAUSE_MAX_US = 60000000,
};

/* ---- kinds of addresses ----------------------------------------------------------------------------------------- */

bool native_address_private(const struct kcpvpn_endpoint *endpoint)
{
	const uint8_t *a = endpoint->address;

	if (endpoint->family == 4)
		return a[0] == 10 || a[0] == 127 || (a[0] == 172 && (a[1] & 0xf0) == 16) ||
		       (a[0] == 192 && a[1] == 168) || (a[0] == 169 && a[1] == 254) ||
		       (a[0] == 100 && (a[1] & 0xc0) == 64) ||
		       (a[0] == 192 && a[1] == 0 && a[2] == 0);
	if (endpoint->family == 6) {
		static const uint8_t loopback[16] = {[15] = 1};
		return (a[0] & 0xfe) == 0xfc || (a[0] == 0xfe && (a[1] & 0xc0) == 0x80) ||
		       memcmp(a, loopback, sizeof(loopback)) == 0;
	}
	return false;
}

/* ---- the list --------------------------------------------------------------------------------------------------- */

struct list_of_targets {
	struct kcpvpn_target items[KCPVPN_NATIVE_TARGETS_MAX];
	size_t count;
	bool cut;      /* there was more */
	size_t inside; /* that were left out */
};

static void add(
	struct native_peer *p, const struct kcpvpn_endpoint *remote, struct list_of_targets *list)
{
	struct native_wire *wire = p->wire;
	struct netlink_path path = {0};

	for (size_t i = 0; i < list->count; i++) {
		if (kcpvpn_endpoint_equal(&list->items[i].remote, remote))
			return;
	}
	if (list->count == KCPVPN_NATIVE_TARGETS_MAX) {
		list->cut = true;
		return;
	}
	if (netlink_path(wire->netlink, remote, config_fwmark(wire->config), &path, NULL) == 0 &&
		path.ifindex != 0 && path.ifindex == wire->wire.own_ifindex) {
		list->inside++;
		return;
	}
	const struct kcpvpn_udp_port *port = native_port_for(wire, remote, &path.source);
	if (port)
		list->items[list->count++] = (struct kcpvpn_target){*remote, port};
}

static void fill(struct native_peer *p, struct list_of_targets *list)
{
	struct kcpvpn_endpoint remembered;

	if (p->wire->state && p->peer->config->session.roaming &&
		state_file_find(p->wire->state, p->peer->config->public_key, &remembered))
		add(p, &remembered, list);
	for (size_t i = 0; i < p->name_count; i++) {
		const struct native_name *name = &p->names[(p->name_first + i) % p->name_count];
		for (size_t k = 0; k < name->count; k++)
			add(p, &name->found[k], list);
	}
}

void native_targets_set(struct native_peer *p)
{
	struct list_of_targets list = {0};

	fill(p, &list);
	bool inside = list.count == 0 && list.inside > 0;
	if (inside && !p->inside)
		log_warn(p->wire->log, "peer %s: %s", p->peer->name, NATIVE_INSIDE_TEXT);
	p->inside = inside;
	kcpvpn_peer_set_targets(p->handle, list.items, list.count, native_now(p->wire));
}

void native_targets_set_all(struct native_wire *wire)
{
	list_for_each (at, &wire->peers)
		native_targets_set(list_entry(at, struct native_peer, in_wire));
}

bool native_targets_where(const struct native_peer *p, struct kcpvpn_endpoint *ret_remote)
{
	if (kcpvpn_peer_endpoint(p->handle, ret_remote))
		return true;
	if (p->wire->state && p->peer->config->session.roaming &&
		state_file_find(p->wire->state, p->peer->config->public_key, ret_remote))
		return true;
	for (size_t i = 0; i < p->name_count; i++) {
		const struct native_name *name = &p->names[(p->name_first + i) % p->name_count];
		if (name->count > 0) {
			*ret_remote = name->found[0];
			return true;
		}
	}
	return false;
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

static bool has_names(const struct native_peer *p)
{
	for (size_t i = 0; i < p->name_count; i++) {
		if (!p->names[i].numeric)
			return true;
	}
	return false;
}

static bool all_failed(const struct native_peer *p)
{
	for (size_t i = 0; i < p->name_count; i++) {
		if (!p->names[i].failed && !p->names[i].numeric)
			return false;
	}
	return true;
}

/* Arms the next question: soon if the last one brought nothing, else as the state of the peer says. */
static void arm(struct native_peer *p)
{
	struct native_wire *wire = p->wire;
	int64_t wait_us =
		p->told == WIRE_PEER_UP ? WIRE_NATIVE_NAMES_UP_US : WIRE_NATIVE_NAMES_AWAY_US;

	if (p->names_open > 0 || mono_is_never(p->asked_at))
		return;
	if (p->pause_us > 0 && p->pause_us < wait_us && p->told != WIRE_PEER_UP)
		wait_us = p->pause_us;
	loop_timer_arm(wire->loop, &p->names_due,
		mono_max(loop_now(wire->loop), mono_add_us(p->asked_at, wait_us)));
}

static bool same_addresses(const struct native_name *name, const struct resolver_answer *answer)
{
	if (answer->count < name->count ||
		(answer->count > name->count && name->count < NATIVE_NAME_ADDRESSES))
		return false;
	for (size_t i = 0; i < name->count; i++) {
		if (!kcpvpn_endpoint_equal(&name->found[i], &answer->endpoints[i]))
			return false;
	}
	return true;
}

/* The last of several questions was answered, or could not be asked. */
static void answered(struct native_peer *p)
{
	if (p->names_open > 0)
		return;
	if (!all_failed(p))
		p->pause_us = 0;
	else if (p->pause_us == 0)
		p->pause_us = PAUSE_MIN_US;
	else if (p->pause_us < PAUSE_MAX_US)
		p->pause_us *= 2;
	arm(p);
}

static void on_answer(struct resolver_query *query, const struct resolver_answer *answer)
{
	struct native_name *name = list_entry(query, struct native_name, query);
	struct native_peer *p = name->owner;
	bool changed = false;

	p->names_open--;
	if (answer->err < 0) {
		if (!name->failed)
			log_warn(p->wire->log, "peer %s: cannot resolve %s: %s; trying again",
				p->peer->name, name->text, answer->text);
	} else if (!same_addresses(name, answer)) {
		name->count = answer->count < NATIVE_NAME_ADDRESSES ? answer->count
								    : NATIVE_NAME_ADDRESSES;
		memcpy(name->found, answer->endpoints, name->count * sizeof(name->found[0]));
		changed = true;
	}
	name->failed = answer->err < 0;
	if (changed) {
		native_targets_set(p);
		native_peer_look(p);
		native_peer_configure(p); /* `auto` keepalive asks where the peer is */
	}
	answered(p);
}

static void ask(struct native_peer *p)
{
	if (p->names_open > 0)
		return;
	loop_timer_disarm(p->wire->loop, &p->names_due);
	p->asked_at = loop_now(p->wire->loop);
	/* Counted first: an answer may come before the question returns. */
	for (size_t i = 0; i < p->name_count; i++)
		p->names_open += !p->names[i].numeric;
	for (size_t i = 0; i < p->name_count; i++) {
		struct native_name *name = &p->names[i];
		if (name->numeric)
			continue;
		name->query.on_answer = on_answer;
		if (resolver_ask(p->wire->resolver, &name->query, name->text) < 0) {
			p->names_open--;
			if (!name->failed)
				log_warn(p->wire->log, "peer %s: cannot ask for %s; trying again",
					p->peer->name, name->text);
			name->failed = true;
		}
	}
	answered(p);
}

static void on_names_due(struct loop_timer *timer, struct mono now)
{
	(void)now;
	ask(list_entry(timer, struct native_peer, names_due));
}

void native_targets_ask_again(struct native_peer *p)
{
	struct mono now = loop_now(p->wire->loop);
	struct list_of_targets list = {0};

	fill(p, &list);
	if (list.cut) { /* the others' turn */
		p->name_first = (p->name_first + 1) % p->name_count;
		native_targets_set(p);
	}
	if (!has_names(p) || p->names_open > 0)
		return;
	if (mono_is_never(p->asked_at) ||
		mono_due(mono_add_us(p->asked_at, WIRE_NATIVE_NAMES_MIN_US), now))
		ask(p);
	else
		loop_timer_arm(p->wire->loop, &p->names_due,
			mono_add_us(p->asked_at, WIRE_NATIVE_NAMES_MIN_US));
}

void native_targets_state(struct native_peer *p)
{
	if (p->told == WIRE_PEER_UP)
		p->name_first = 0; /* the order of the file holds again */
	if (has_names(p))
		arm(p);
}

/* ---- start, end, change ----------------------------------------------------------------------------------------- */

static void text_of(const struct config_endpoint *endpoint, char text[RESOLVER_NAME_BYTES])
{
	(void)snprintf(text, RESOLVER_NAME_BYTES, strchr(endpoint->host, ':') ? "[%s]:%u" : "%s:%u",
		endpoint->host, endpoint->port);
}

static void forget_endpoints(struct native_peer *p)
{
	for (size_t i = 0; i < p->name_count; i++) {
		resolver_cancel(p->wire->resolver, &p->names[i].query);
		free(p->names[i].text);
	}
	loop_timer_disarm(p->wire->loop, &p->names_due);
	free(p->names);
	p->names = NULL;
	p->name_count = p->name_first = p->names_open = 0;
	p->pause_us = 0;
	p->asked_at = MONO_NEVER;
}

/* Reads the endpoints of the configuration. @return 0 or -ENOMEM */
static int read_endpoints(struct native_peer *p)
{
	const struct config_endpoints *endpoints = &p->peer->config->endpoints;
	char text[RESOLVER_NAME_BYTES];

	if (endpoints->count == 0)
		return 0;
	p->names = calloc(endpoints->count, sizeof(*p->names));
	if (!p->names)
		return -ENOMEM;
	p->name_count = endpoints->count;
	for (size_t i = 0; i < endpoints->count; i++) {
		struct native_name *name = &p->names[i];
		name->owner = p;
		text_of(&endpoints->items[i], text);
		name->text = strdup(text);
		if (!name->text) {
			forget_endpoints(p); /* a name without its text must not be asked for */
			return -ENOMEM;
		}
		name->numeric = resolver_parse_numeric(name->text, &name->found[0]) == 0;
		name->count = name->numeric;
	}
	return 0;
}

static bool same_endpoints(const struct native_peer *p)
{
	const struct config_endpoints *endpoints = &p->peer->config->endpoints;
	char text[RESOLVER_NAME_BYTES];

	if (endpoints->count != p->name_count)
		return false;
	for (size_t i = 0; i < p->name_count; i++) {
		text_of(&endpoints->items[i], text);
		if (!p->names[i].text || strcmp(text, p->names[i].text) != 0)
			return false;
	}
	return true;
}

int native_targets_start(struct native_peer *p)
{
	loop_timer_init(&p->names_due, on_names_due);
	p->asked_at = MONO_NEVER;
	int error = read_endpoints(p);
	if (error < 0)
		return error;
	native_targets_set(p);
	if (has_names(p))
		ask(p);
	return 0;
}

void native_targets_stop(struct native_peer *p)
{
	if (p->names)
		forget_endpoints(p);
}

int native_targets_changed(struct native_peer *p)
{
	if (same_endpoints(p)) {
		native_targets_set(p);
		return 0;
	}
	if (p->names)
		forget_endpoints(p);
	int error = read_endpoints(p);
	if (error < 0)
		return error;
	native_targets_set(p);
	if (has_names(p))
		ask(p);
	return 0;
}
