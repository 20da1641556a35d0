/*
 * Dialling: resolve an endpoint, open a socket of its own for it, begin a conversation with a new number, ask for a
 * sign of life and say who we are. Answers make it up; what fails is tried again after a short pause, with the next
 * address, for ever.
 *
 *      resolve -> socket -> conversation -> alive
 *         ^                      | dead, or silent while there are other addresses
 *         '------- pause <-------'
 *
 * The pause grows to 2 s at most, so that a peer is back within 2 s of being reachable again.
 */
#include "config/config.h"
#include "core/ip_header.h"
#include "core/log.h"
#include "vpnd/fault.h"
#include "vpnd/peer.h"
#include "vpnd/wire_kcp_go.h"
#include "vpnd/wire_kcp_go_peer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void resolve(struct wire_peer *p);

static const struct config_peer *config_of(const struct wire_peer *p)
{
	return p->peer->config;
}

/* Closes what the attempt left and dials again after the pause. */
static void retry_later(struct wire_peer *p)
{
	struct mono now = loop_now(p->wire->loop);

	if (p->dialled) {
		kcp_go_close(p->wire, p, p->dialled);
		p->dialled = NULL;
	}
	kcp_go_socket_close(&p->socket);
	p->alive = false;
	p->dormant = ++p->failures >= WIRE_KCP_GO_GIVE_UP && !config_of(p)->session.persistent &&
		     ingress_empty(&p->peer->queue);
	if (p->dormant) {
		kcp_go_tell_state(p);
		return;
	}
	loop_timer_arm(p->wire->loop, &p->retry, mono_add_us(now, p->pause_us));
	p->pause_us = 2 * p->pause_us < WIRE_KCP_GO_REDIAL_MAX_US ? 2 * p->pause_us
								  : WIRE_KCP_GO_REDIAL_MAX_US;
	kcp_go_tell_state(p);
}

/* The opening packet: a bare IP header from and to our own inner address, so that the other side learns who calls. */
static void send_opening(struct wire_peer *p)
{
	const struct config_cidrs *addresses = &p->wire->config->interface.addresses;
	uint8_t packet[IP_HEADER_V6_BYTES];

	if (addresses->count == 0)
		return;
	const struct ip_prefix *own = &addresses->items[0];
	size_t len = ip_header_write(
		packet, own->family, own->address, own->address, IP_PROTOCOL_NONE, 0);
	(void)kcpvpn_conv_send(p->dialled, packet, len, kcp_go_now(p->wire));
}

static bool has_other_addresses(const struct wire_peer *p)
{
	return p->found_count > 1 || config_of(p)->endpoints.count > 1;
}

static void dial(struct wire_peer *p)
{
	struct kcp_go *wire = p->wire;
	struct udp_socket_options options;
	struct fault fault = {0};
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];
	int64_t conv = wire->config->kcp_go.conv;

	p->remote = p->found[p->found_next++];
	udp_socket_options_init(&options);
	options.fwmark = config_fwmark(wire->config);
	options.remote = p->remote;
	if (netlink_path(wire->netlink, &p->remote, config_fwmark(wire->config), &p->path, NULL) <
		0)
		p->path = (struct netlink_path){0};
	int error = 0;
	if (p->path.ifindex != 0 && p->path.ifindex == wire->wire.own_ifindex)
		error = fault_set(&fault, -ELOOP, "E-WIRE-3", NULL,
			"the way there leads into the tunnel itself; see allowed_ips and "
			"routes.table");
	if (error == 0)
		error = kcp_go_socket_open(wire, &p->socket, &options, &fault);
	if (error == 0)
		error = kcpvpn_node_dial(wire->node, &p->socket.udp.kcpvpn, &p->remote,
			conv > 0 ? (uint32_t)conv : 0, kcp_go_now(wire), &p->dialled);
	if (error < 0) {
		log_write(wire->log, p->failures == 0 ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG,
			"peer %s: cannot dial %s: %s; trying again", p->peer->name,
			kcpvpn_endpoint_format(&p->remote, text),
			fault.text[0] ? fault.text : strerror(-error));
		retry_later(p);
		return;
	}
	kcp_go_configure(p, p->dialled);
	kcpvpn_conv_set_user(p->dialled, &p->dial_owner);
	kcpvpn_conv_probe(p->dialled, kcp_go_now(wire));
	send_opening(p);
	log_debug(wire->log, "peer %s: dialling %s", p->peer->name,
		kcpvpn_endpoint_format(&p->remote, text));
	if (has_other_addresses(p))
		loop_timer_arm(wire->loop, &p->retry,
			mono_add_us(loop_now(wire->loop), WIRE_KCP_GO_TRY_US));
}

static void on_resolved(struct resolver_query *query, const struct resolver_answer *answer)
{
	struct wire_peer *p = list_entry(query, struct wire_peer, query);
	const struct config_endpoints *endpoints = &config_of(p)->endpoints;
	const struct config_endpoint *endpoint =
		&endpoints->items[p->endpoint_next % endpoints->count];

	p->endpoint_next++;
	if (answer->err < 0) {
		log_warn(p->wire->log, "peer %s: cannot resolve %s: %s; trying again",
			p->peer->name, endpoint->host, answer->text);
		retry_later(p);
		return;
	}
	p->found_count = answer->count;
	p->found_next = 0;
	p->resolved_at = loop_now(p->wire->loop);
	memcpy(p->found, answer->endpoints, answer->count * sizeof(p->found[0]));
	dial(p);
}

/* Asks for the next endpoint; numeric ones are answered before this returns. */
static void resolve(struct wire_peer *p)
{
	const struct config_endpoints *endpoints = &config_of(p)->endpoints;
	const struct config_endpoint *endpoint =
		&endpoints->items[p->endpoint_next % endpoints->count];
	char text[RESOLVER_NAME_BYTES];
	bool v6 = strchr(endpoint->host, ':') != NULL;

	(void)snprintf(
		text, sizeof(text), v6 ? "[%s]:%u" : "%s:%u", endpoint->host, endpoint->port);
	p->query.on_answer = on_resolved;
	if (resolver_ask(p->wire->resolver, &p->query, text) < 0) {
		p->endpoint_next++;
		log_warn(p->wire->log, "peer %s: cannot resolve %s; trying again", p->peer->name,
			text);
		retry_later(p);
	}
}

/* The pause is over, or an address had its time and did not answer. */
static void on_retry(struct loop_timer *timer, struct mono now)
{
	struct wire_peer *p = list_entry(timer, struct wire_peer, retry);

	if (p->dialled && !p->alive) {
		p->failures++;
		kcp_go_close(p->wire, p, p->dialled);
		p->dialled = NULL;
		kcp_go_socket_close(&p->socket);
	}
	if (p->alive)
		return;
	if (p->found_next < p->found_count && config_of(p)->endpoints.count > 0 &&
		mono_before(now, mono_add_us(p->resolved_at, WIRE_KCP_GO_RESOLVE_AGAIN_US)))
		dial(p);
	else
		resolve(p);
}

void kcp_go_dial_start(struct wire_peer *p)
{
	loop_timer_init(&p->retry, on_retry);
	p->pause_us = WIRE_KCP_GO_REDIAL_MIN_US;
	p->failures = 0;
	p->dormant = false;
	p->found_count = p->found_next = p->endpoint_next = 0;
	if (config_of(p)->endpoints.count > 0)
		resolve(p);
}

void kcp_go_dial_stop(struct wire_peer *p)
{
	resolver_cancel(p->wire->resolver, &p->query);
	loop_timer_disarm(p->wire->loop, &p->retry);
	if (p->dialled)
		kcp_go_close(p->wire, p, p->dialled);
	p->dialled = NULL;
	p->alive = false;
	kcp_go_socket_close(&p->socket);
}

void kcp_go_dial_wake(struct wire_peer *p)
{
	p->dormant = false;
	p->failures = 0;
	p->pause_us = WIRE_KCP_GO_REDIAL_MIN_US;
	resolve(p);
	kcp_go_tell_state(p);
}

void kcp_go_dial_event(struct wire_peer *p, unsigned events)
{
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];

	if (events & KCPVPN_EVENT_ALIVE) {
		p->alive = true;
		p->failures = 0;
		p->pause_us = WIRE_KCP_GO_REDIAL_MIN_US;
		loop_timer_disarm(p->wire->loop, &p->retry);
		log_info(p->wire->log, "peer %s: up at %s", p->peer->name,
			kcpvpn_endpoint_format(&p->remote, text));
	}
	if (events & (KCPVPN_EVENT_READABLE | KCPVPN_EVENT_OOB))
		kcp_go_receive(p, p->dialled);
	if (events & KCPVPN_EVENT_CLOSED) {
		if (p->alive)
			log_info(p->wire->log, "peer %s: no answer from %s; dialling again",
				p->peer->name, kcpvpn_endpoint_format(&p->remote, text));
		retry_later(p);
		return;
	}
	kcp_go_tell_state(p);
	if (events & (KCPVPN_EVENT_WRITABLE | KCPVPN_EVENT_ALIVE))
		p->wire->wire.events->writable(p->wire->wire.events->ctx, p->peer);
}

void kcp_go_dial_network_changed(struct wire_peer *p)
{
	struct netlink_path path;

	if (!p->started || config_of(p)->endpoints.count == 0 || p->query.job || p->dormant)
		return;
	if (p->dialled) {
		if (netlink_path(p->wire->netlink, &p->remote, config_fwmark(p->wire->config),
			    &path, NULL) < 0)
			return; /* no way there now: another change will come */
		if (p->path.ifindex != 0 && netlink_path_equal(&path, &p->path))
			return;
		log_info(p->wire->log, "peer %s: the way to it changed; dialling again",
			p->peer->name);
	}
	p->pause_us = WIRE_KCP_GO_REDIAL_MIN_US;
	p->endpoint_next = 0;
	p->found_count = p->found_next = 0;
	loop_timer_disarm(p->wire->loop, &p->retry);
	if (p->dialled)
		kcp_go_close(p->wire, p, p->dialled);
	p->dialled = NULL;
	p->alive = false;
	kcp_go_socket_close(&p->socket);
	resolve(p);
	kcp_go_tell_state(p);
}
