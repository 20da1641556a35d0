/* Fills the status document: what the daemon knows, what the packet path counted, and what the wire adds. */
#include "vpnd/broker.h"
#include "vpnd/daemon.h"
#include "vpnd/handover.h"
#include "vpnd/packet_path.h"
#include "vpnd/peer.h"
#include "vpnd/privileges.h"
#include "vpnd/workers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double DEGRADED_RAW_LOSS = 0.05;
static const double DEGRADED_RESIDUAL_LOSS = 0.01;

/* Without a look at the loss. */
static enum control_state session_state(const struct daemon *daemon, const struct peer *peer)
{
	switch (daemon->wire->ops->peer_state(daemon->wire, peer)) {
	case WIRE_PEER_DOWN:
		return CONTROL_DOWN;
	case WIRE_PEER_IDLE:
		return CONTROL_IDLE;
	case WIRE_PEER_CONNECTING:
		return CONTROL_CONNECTING;
	case WIRE_PEER_UP:
		break;
	}
	return CONTROL_UP;
}

static enum control_state state_of(const struct daemon *daemon, const struct peer *peer)
{
	enum control_state state = session_state(daemon, peer);
	double raw, residual;

	if (state != CONTROL_UP)
		return state;
	daemon->wire->ops->peer_loss(daemon->wire, peer, &raw, &residual);
	return raw > DEGRADED_RAW_LOSS || residual > DEGRADED_RESIDUAL_LOSS ? CONTROL_DEGRADED
									    : CONTROL_UP;
}

static void add_drop(struct control_peer *status, const char *name, uint64_t count)
{
	if (count > 0)
		(void)control_peer_add_drop(status, name, count);
}

/* What workers counted; they stand still. */
static void add_mirror(
	const struct peer *mirror, struct ingress_counters *queue, struct peer_counters *sum)
{
	const struct ingress_counters *more = &mirror->queue.counters;
	const struct peer_counters *from = &mirror->counters;

	queue->dropped_codel += more->dropped_codel;
	queue->dropped_old += more->dropped_old;
	queue->dropped_overflow += more->dropped_overflow;
	queue->dropped_memory += more->dropped_memory;
	queue->dropped_cleared += more->dropped_cleared;
	queue->marked += more->marked;
	sum->rx_packets += from->rx_packets;
	sum->rx_bytes += from->rx_bytes;
	sum->tx_packets += from->tx_packets;
	sum->tx_bytes += from->tx_bytes;
	for (size_t i = 0; i < PEER_DROPS; i++)
		sum->drops[i] += from->drops[i];
	for (size_t i = 0; i < SUPER_VERDICTS; i++)
		sum->bad[i] += from->bad[i];
}

static void fill_workers(struct daemon *daemon, struct control_status *status)
{
	unsigned more = workers_count(daemon->workers);
	struct control_queue *to = status->interface.workers;
	uint64_t lost = 0;

	status->interface.worker_count = more > 0 ? more + 1 : 0;
	for (unsigned i = 0; more > 0 && i <= more; i++) {
		const struct tun_counters *from =
			i > 0 ? workers_tun(daemon->workers, i - 1) : &daemon->device.tun.counters;
		const struct handover_side *handover = workers_handover(daemon->workers, i);
		to[i] = (struct control_queue){
			.rx_packets = (int64_t)from->rx_packets,
			.tx_packets = (int64_t)from->tx_packets,
			.handed_on = i > 0 ? (int64_t)workers_handed_on(daemon->workers, i - 1) : 0,
			.datagrams_handed_on = (int64_t)handover->handed,
		};
		lost += handover->full + handover->gone;
	}
	if (lost > 0)
		(void)control_strings_addf(&status->warnings,
			"%llu datagrams were lost on their way from one worker to another",
			(unsigned long long)lost);
}

static int fill_peer(struct daemon *daemon, const struct peer *peer, struct control_status *status)
{
	const struct config_peer *config = peer->config;
	struct ingress_counters queue_sum = peer->queue.counters;
	const struct ingress_counters *queue = &queue_sum;
	struct peer_counters counters = peer->counters;
	struct control_peer *to = control_status_add_peer(status, peer->name);
	char text[IP_PREFIX_TEXT_BYTES];

	if (!to)
		return -ENOMEM;
	for (const struct peer *at = peer->mirror; at; at = at->mirror)
		add_mirror(at, &queue_sum, &counters);
	daemon->wire->ops->peer_status(daemon->wire, peer, to);
	to->enabled = config->enabled;
	to->state = state_of(daemon, peer);
	to->queue_ms = (double)peer->queue_us / 1e3;
	to->aqm_drops =
		(int64_t)(queue->dropped_codel + queue->dropped_old + queue->dropped_overflow);
	to->aqm_marks = (int64_t)queue->marked;
	to->rx_packets = (int64_t)counters.rx_packets;
	to->rx_bytes = (int64_t)counters.rx_bytes;
	to->tx_packets = (int64_t)counters.tx_packets;
	to->tx_bytes = (int64_t)counters.tx_bytes;
	for (enum peer_drop drop = 0; drop < PEER_DROPS; drop++)
		add_drop(to, peer_drop_str(drop), counters.drops[drop]);
	for (enum super_verdict verdict = SUPER_OK + 1; verdict < SUPER_VERDICTS; verdict++) {
		char name[64];
		(void)snprintf(name, sizeof(name), "in_%s", super_verdict_str(verdict));
		add_drop(to, name, counters.bad[verdict]);
	}
	add_drop(to, "queue_codel", queue->dropped_codel);
	add_drop(to, "queue_old", queue->dropped_old);
	add_drop(to, "queue_overflow", queue->dropped_overflow);
	add_drop(to, "queue_memory", queue->dropped_memory);
	add_drop(to, "queue_cleared", queue->dropped_cleared);
	for (size_t i = 0; i < config->endpoints.count; i++) {
		const struct config_endpoint *e = &config->endpoints.items[i];
		(void)control_strings_addf(&to->endpoints,
			strchr(e->host, ':') ? "[%s]:%u" : "%s:%u", e->host, e->port);
	}
	for (size_t i = 0; i < config->allowed_ips.count; i++)
		(void)control_strings_add(
			&to->allowed_ips, ip_prefix_format(&config->allowed_ips.items[i], text));
	return 0;
}

static enum control_state link_state(const struct daemon *daemon)
{
	return daemon->device.up && tun_is_up(&daemon->device.tun) ? CONTROL_UP : CONTROL_DOWN;
}

static enum control_state network_state(const struct daemon *daemon)
{
	enum control_state state = link_state(daemon);

	if (state == CONTROL_DOWN)
		return state;
	list_for_each (at, &daemon->peers) {
		enum control_state peer = state_of(daemon, list_entry(at, struct peer, in_daemon));
		if (peer == CONTROL_DEGRADED || peer == CONTROL_CONNECTING)
			return CONTROL_DEGRADED;
	}
	return CONTROL_UP;
}

static void fill_network(struct daemon *daemon, struct control_status *status)
{
	const struct config *config = daemon->config;
	uint64_t no_peer = daemon->path.counters.no_peer;
	char text[IP_PREFIX_TEXT_BYTES];

	for (unsigned i = 0; i < workers_count(daemon->workers); i++)
		no_peer += workers_path(daemon->workers, i)->counters.no_peer;
	(void)snprintf(status->network, sizeof(status->network), "%s", config->name);
	(void)snprintf(status->version, sizeof(status->version), "%s", KCPVPN_VERSION);
	(void)snprintf(status->wire, sizeof(status->wire), "%s",
		config->wire == CONFIG_WIRE_KCP_GO ? "kcp-go" : "native");
	(void)snprintf(status->public_key, sizeof(status->public_key), "%s",
		config->wire == CONFIG_WIRE_NATIVE ? config->identity.public_key_text : "");
	status->uptime_s =
		mono_is_never(daemon->up_at)
			? 0
			: (double)mono_diff_us(loop_now(daemon->loop), daemon->up_at) / 1e6;
	(void)snprintf(status->interface.name, sizeof(status->interface.name), "%s",
		daemon->device.tun.name);
	status->interface.ifindex = daemon->device.tun.ifindex;
	status->interface.mtu = daemon->mtu_bytes;
	status->interface.mtu_source = daemon->mtu_probed ? CONTROL_MTU_PROBED
				       : config->interface.mtu == CONFIG_AUTO
					       ? CONTROL_MTU_DERIVED
					       : CONTROL_MTU_CONFIGURED;
	status->interface.queues = 1 + (int64_t)workers_count(daemon->workers);
	fill_workers(daemon, status);
	status->interface.offload = daemon->device.tun.offload;
	for (size_t i = 0; i < config->interface.addresses.count; i++)
		(void)control_strings_add(&status->interface.addresses,
			ip_prefix_format(&config->interface.addresses.items[i], text));
	(void)control_status_set_file(status, config->file);
	status->config.generation = daemon->generation;
	daemon->wire->ops->status(daemon->wire, status);
	if (daemon->device.up && !tun_is_up(&daemon->device.tun))
		(void)control_strings_addf(&status->warnings,
			"somebody set the link of %s down; bring it back with: kcpctl up",
			daemon->device.tun.name);
	if (daemon->privileges->borrowed)
		(void)control_strings_add(&status->warnings, PRIVILEGES_BORROWED_TEXT);
	if (!broker_alive(daemon->broker))
		(void)control_strings_add(&status->warnings,
			"the helper process is gone: addresses, routes and the configuration "
			"cannot be "
			"changed; restart vpnd");
	if (broker_stuck(daemon->broker))
		(void)control_strings_add(&status->warnings,
			"the helper process is stuck: addresses, routes and the configuration "
			"cannot be changed until it answers; restart vpnd if it does not");
	if (daemon->dns_failed)
		(void)control_strings_add(&status->warnings,
			"the host's resolvers could not be told of dns.servers; "
			"kcpctl log says why");
	if (daemon->device.unclean)
		(void)control_strings_addf(&status->warnings,
			"addresses or routes of %s are not as they should be, since changing them "
			"failed; kcpctl reload tries again",
			daemon->device.tun.name);
	if (no_peer > 0)
		(void)control_strings_addf(&status->warnings,
			"%llu packets from the host had a destination that no peer's allowed_ips "
			"hold",
			(unsigned long long)no_peer);
}

static int stopping(struct control_error *err)
{
	control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_FAILED, "the daemon is stopping");
	return -ESHUTDOWN;
}

int daemon_status(struct daemon *daemon, struct control_status *status, struct control_error *err)
{
	if (!daemon->wire)
		return stopping(err);
	workers_stop(daemon->workers);
	fill_network(daemon, status);
	status->state = network_state(daemon);
	workers_go(daemon->workers);
	return 0;
}

int daemon_status_peer(struct daemon *daemon, const char *name, struct control_status *status,
	struct control_error *err)
{
	const struct peer *peer = daemon_peer(daemon, name);

	if (!daemon->wire)
		return stopping(err);
	if (!peer) {
		control_error_no_peer(err, name);
		return -ENOENT;
	}
	workers_stop(daemon->workers);
	int error = fill_peer(daemon, peer, status);
	workers_go(daemon->workers);
	return error;
}

int daemon_status_peers(
	struct daemon *daemon, bool again, size_t most, struct control_status *status)
{
	int count = 0, error = 0;

	if (!daemon->wire)
		return -ESHUTDOWN;
	if (again)
		daemon->status_next = daemon->peers.next;
	workers_stop(daemon->workers);
	for (; (size_t)count < most && daemon->status_next != &daemon->peers; count++) {
		const struct peer *peer = list_entry(daemon->status_next, struct peer, in_daemon);
		error = fill_peer(daemon, peer, status);
		if (error < 0)
			break;
		daemon->status_next = daemon->status_next->next;
	}
	workers_go(daemon->workers);
	return error < 0 ? error : count;
}

int daemon_states(struct daemon *daemon, struct control_states *ret_states)
{
	struct control_states states = {.network = CONTROL_DOWN};
	size_t count = 0;

	if (!daemon->wire)
		return -ESHUTDOWN;
	list_for_each (at, &daemon->peers)
		count++;
	states.peers = calloc(count ? count : 1, sizeof(*states.peers));
	if (!states.peers)
		return -ENOMEM;
	states.network = link_state(daemon);
	states.generation = daemon->generation;
	workers_stop(daemon->workers);
	list_for_each (at, &daemon->peers) {
		const struct peer *peer = list_entry(at, struct peer, in_daemon);
		states.peers[states.count++] = (struct control_peer_state){
			.name = peer->name,
			.state = state_of(daemon, peer),
			.awaited = peer->config->enabled && peer->config->endpoints.count > 0,
		};
		enum control_state state = states.peers[states.count - 1].state;
		if (states.network == CONTROL_UP &&
			(state == CONTROL_DEGRADED || state == CONTROL_CONNECTING))
			states.network = CONTROL_DEGRADED;
	}
	workers_go(daemon->workers);
	*ret_states = states;
	return 0;
}
