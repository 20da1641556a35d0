/*
 * A round of the loop: sockets hand datagrams to the wire, the TUN device packets to the packet path; afterwards the
 * wire serves its events, the path hands on what waits, and everything leaves in batches. Events of that (a window
 * opened, a call came) are served in the same round, a bounded number of times.
 */
#include "vpnd/daemon.h"

#include "core/log.h"
#include "core/rand.h"
#include "vpnd/fault.h"
#include "vpnd/peer.h"
#include "vpnd/privileges.h"
#include "vpnd/workers.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>

enum {
	TURNS_PER_ROUND = 16,
	REST_US = 10000000, /* how long queues keep memory that they do not use */
};

static void fill_random(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	if (getrandom(buf, len, 0) != (ssize_t)len) /* at most 256 bytes: never short */
		abort();
}

/* ---- what wires tell -------------------------------------------------------------------------------------------- */

static void on_received(
	void *ctx, struct peer *peer, const struct iovec *pieces, int count, size_t len)
{
	struct daemon *daemon = ctx;

	packet_path_received(&daemon->path, peer, pieces, count, len);
}

static struct peer *on_owner(void *ctx, const struct iovec *pieces, int count, size_t len)
{
	struct daemon *daemon = ctx;

	return packet_path_owner(&daemon->path, pieces, count, len);
}

static void on_writable(void *ctx, struct peer *peer)
{
	struct daemon *daemon = ctx;

	packet_path_writable(&daemon->path, peer);
}

static void on_state_changed(void *ctx, struct peer *peer)
{
	struct daemon *daemon = ctx;

	(void)peer;
	daemon->peers_moved = true;
	if (daemon->control)
		control_server_state_changed(daemon->control);
}

static void on_mtu_changed(
	void *ctx, struct peer *peer, uint32_t path, uint32_t most, uint32_t super)
{
	struct daemon *daemon = ctx;

	peer->super_bytes_max = super;
	peer->path_mtu_bytes = path;
	peer->most_bytes = most;
	workers_stop(daemon->workers);
	workers_peer_copy(daemon->workers, peer);
	workers_go(daemon->workers);
	daemon_mtu_follow(daemon);
}

static void on_handed(void *ctx, struct peer *peer, const void *message, size_t len)
{
	struct daemon *daemon = ctx;

	packet_path_put(&daemon->path, peer, message, len, loop_now(daemon->loop));
}

struct wire_events daemon_wire_events(struct daemon *daemon)
{
	return (struct wire_events){
		.ctx = daemon,
		.stages = profile_clock(daemon->profile),
		.received = on_received,
		.owner = on_owner,
		.writable = on_writable,
		.state_changed = on_state_changed,
		.mtu_changed = on_mtu_changed,
		.handed = on_handed,
	};
}

/* ---- peers ------------------------------------------------------------------------------------------------------ */

struct peer *daemon_peer(struct daemon *daemon, const char *name)
{
	struct list *first = daemon->found ? daemon->found : daemon->peers.next;
	struct list *at = first;

	/* once around from the one that was found last, as the next one asked for mostly stands near it */
	do {
		if (at != &daemon->peers &&
			strcmp(list_entry(at, struct peer, in_daemon)->name, name) == 0) {
			daemon->found = at;
			return list_entry(at, struct peer, in_daemon);
		}
		at = at->next;
	} while (at != first);
	return NULL;
}

int daemon_peer_own(struct daemon *daemon, struct peer *peer)
{
	const struct config_cidrs *list = &peer->config->allowed_ips;

	for (size_t i = 0; i < list->count; i++) {
		int error = allowed_ips_insert(&daemon->path.owners, &list->items[i], peer);
		if (error < 0)
			return error;
	}
	workers_stop(daemon->workers);
	int error = workers_peer_own(daemon->workers, peer);
	workers_go(daemon->workers);
	return error;
}

/* By its own list: looking through the whole table for each of ten thousand peers takes seconds. */
void daemon_peer_disown(struct daemon *daemon, struct peer *peer)
{
	const struct config_cidrs *list = &peer->config->allowed_ips;

	for (size_t i = 0; i < list->count; i++)
		(void)allowed_ips_remove(&daemon->path.owners, &list->items[i], peer);
	workers_stop(daemon->workers);
	workers_peer_disown(daemon->workers, peer);
	workers_go(daemon->workers);
}

void daemon_peer_apply(struct daemon *daemon, struct peer *peer)
{
	if (!daemon->wire)
		return;
	workers_stop(daemon->workers);
	workers_peer_copy(daemon->workers, peer);
	if (!peer_wanted(peer) || !daemon->device.up) {
		daemon->wire->ops->peer_stop(daemon->wire, peer, WIRE_STOP_SHUTDOWN);
		ingress_clear(&peer->queue);
		list_remove(&peer->in_pump);
		workers_peer_clear(daemon->workers, peer);
	} else if (daemon->wire->ops->peer_start(daemon->wire, peer) < 0) {
		log_error(&daemon->logger->log, "peer %s: out of memory", peer->name);
	}
	workers_go(daemon->workers);
	on_state_changed(daemon, peer);
}

int daemon_peer_add(struct daemon *daemon, const struct config_peer *config)
{
	struct rand_source rnd = {fill_random, NULL};
	struct peer *peer = peer_new(config, &rnd);

	if (!peer)
		return -ENOMEM;
	list_add_tail(&daemon->peers, &peer->in_daemon);
	workers_stop(daemon->workers);
	int error = workers_peer_add(daemon->workers, peer);
	if (error == 0)
		error = daemon_peer_own(daemon, peer);
	if (error < 0)
		daemon_peer_remove(daemon, peer);
	workers_go(daemon->workers);
	return error;
}

void daemon_peer_remove(struct daemon *daemon, struct peer *peer)
{
	workers_stop(daemon->workers);
	if (daemon->wire)
		daemon->wire->ops->peer_stop(daemon->wire, peer,
			daemon->stopping ? WIRE_STOP_SHUTDOWN : WIRE_STOP_REMOVED);
	packet_path_flush(&daemon->path);
	daemon_host_peer_gone(daemon, peer);
	daemon_peer_disown(daemon, peer);
	workers_peer_remove(daemon->workers, peer);
	workers_go(daemon->workers);
	if (daemon->found == &peer->in_daemon)
		daemon->found = NULL;
	if (daemon->status_next == &peer->in_daemon)
		daemon->status_next = peer->in_daemon.next;
	peer_free(peer);
}

bool daemon_routes_wanted(void *ctx, const char *name)
{
	const struct peer *peer = daemon_peer(ctx, name);

	return !peer || peer_wanted(peer);
}

/* ---- the link --------------------------------------------------------------------------------------------------- */

static void on_tun(struct loop_watch *watch, uint32_t events)
{
	struct daemon *daemon = list_entry(watch, struct daemon, tun_watch);

	(void)events;
	if (packet_path_read_tun(&daemon->path, loop_now(daemon->loop)) == -ENODEV) {
		log_error(&daemon->logger->log,
			"interface %s was deleted by somebody; stopping, a restart makes it anew",
			daemon->device.tun.name);
		loop_watch_remove(daemon->loop, &daemon->tun_watch);
		daemon->device.up = false; /* addresses and routes went with it */
		daemon->exit_status = EXIT_STATUS_OTHER;
		loop_stop(daemon->loop);
	}
}

int daemon_link_up(struct daemon *daemon, struct fault *fault)
{
	int error = daemon_host_before_up(daemon, fault);

	if (error == 0)
		error = device_up(&daemon->device, daemon->config, fault);
	if (error == 0) {
		error = daemon_host_up(daemon, fault);
		if (error < 0)
			(void)device_down(&daemon->device, daemon->config, NULL);
	}
	if (error < 0)
		return error;
	daemon->up_at = loop_now(daemon->loop);
	daemon_mtu_begin(daemon);
	workers_stop(daemon->workers);
	list_for_each (at, &daemon->peers)
		daemon_peer_apply(daemon, list_entry(at, struct peer, in_daemon));
	workers_go(daemon->workers);
	return 0;
}

int daemon_link_down(struct daemon *daemon, struct fault *fault)
{
	struct fault why = {0};
	int failed = daemon_host_before_down(daemon, &why);
	int error = device_down(&daemon->device, daemon->config, fault);

	if (failed && !error) {
		error = failed;
		*fault = why;
	}
	daemon->up_at = MONO_NEVER;
	workers_stop(daemon->workers);
	list_for_each (at, &daemon->peers)
		daemon_peer_apply(daemon, list_entry(at, struct peer, in_daemon));
	workers_go(daemon->workers);
	daemon_host_down(daemon);
	return error;
}

static void on_resume(void *ctx, struct mono now)
{
	struct daemon *daemon = ctx;

	(void)now;
	daemon->network_changed = true;
	daemon->slept = true;
}

void daemon_network_changed(void *ctx)
{
	struct daemon *daemon = ctx;

	daemon->network_changed = true;
}

/* ---- the loop --------------------------------------------------------------------------------------------------- */

static void on_rest(struct loop_timer *timer, struct mono now)
{
	struct daemon *daemon = list_entry(timer, struct daemon, rest);

	daemon->resting = false;
	if (!daemon->wire)
		return;
	list_for_each (at, &daemon->peers)
		packet_path_rest(&daemon->path, list_entry(at, struct peer, in_daemon), now);
	packet_path_trim(&daemon->path);
}

static void after_round(void *ctx, struct mono now)
{
	struct daemon *daemon = ctx;

	if (!daemon->wire)
		return;
	if (daemon->helper_back) {
		daemon->helper_back = false;
		if (daemon->device.unclean &&
			device_repair(&daemon->device, daemon->config, NULL) == 0)
			log_info(&daemon->logger->log, "what the helper had missed is done");
		(void)daemon_host_repair(daemon, false, &(struct fault){0});
		daemon_mtu_follow(daemon);
	}
	if (daemon->network_changed) {
		daemon->network_changed = false;
		daemon_host_network_changed(daemon);
		daemon->wire->ops->network_changed(daemon->wire, daemon->slept);
		daemon->slept = false;
	}
	for (int i = 0; i < TURNS_PER_ROUND; i++) {
		bool any = daemon->wire->ops->turn(daemon->wire, now);
		packet_path_flush(&daemon->path);
		packet_path_pump(&daemon->path, now);
		daemon->wire->ops->flush(daemon->wire, now);
		if (!any)
			break;
	}
	if (!daemon->resting && (daemon->path.packets.slots_allocated > 0 ||
					daemon->path.long_packets.slots_allocated > 0)) {
		daemon->resting = true;
		loop_timer_arm(daemon->loop, &daemon->rest, mono_add_us(now, REST_US));
	}
	daemon_host_after_round(daemon);
	if (daemon->control)
		control_server_after_round(daemon->control);
	loop_rest_until(daemon->loop,
		wake_pace_next(&daemon->path.pace, loop_next_timer(daemon->loop), now));
}

static void on_signal(void *ctx, int number)
{
	struct daemon *daemon = ctx;

	if (number == SIGHUP) {
		daemon_reload_by_signal(daemon);
		return;
	}
	log_info(&daemon->logger->log, "stopping on SIG%s", sigabbrev_np(number));
	loop_stop(daemon->loop);
}

void daemon_configure_log(struct daemon *daemon)
{
	const struct options *o = daemon->options;
	const struct config *c = daemon->config;

	logger_configure(daemon->logger,
		o->log_level >= 0 ? (enum log_level)o->log_level : (enum log_level)c->log.level,
		(o->log_format >= 0 ? o->log_format : c->log.format) == CONFIG_LOG_JSON);
}

int daemon_loop_open(struct daemon *daemon, struct fault *fault)
{
	const struct config *config = daemon->config;
	int error = loop_new(&daemon->loop);

	if (error < 0)
		return fault_set(fault, error, "E-VPND-1", NULL, "cannot make an event loop: %s",
			strerror(-error));
	packet_path_init(&daemon->path, &daemon->device.tun, (uint16_t)config->interface.mtu_bytes,
		loop_now(daemon->loop));
	daemon->path.stages = profile_clock(daemon->profile);
	daemon_mtu_init(daemon);
	daemon_host_init(daemon);
	loop_set_on_resume(daemon->loop, on_resume, daemon, NULL);
	error = loop_catch_signals(daemon->loop, on_signal, daemon);
	if (error < 0)
		return fault_set(fault, error, "E-VPND-1", NULL, "cannot catch signals: %s",
			strerror(-error));
	return 0;
}

int daemon_loop_start(struct daemon *daemon, struct fault *fault)
{
	int error;

	daemon->tun_watch = (struct loop_watch){.fd = daemon->device.tun.fd, .on_event = on_tun};
	error = loop_watch_add(daemon->loop, &daemon->tun_watch, EPOLLIN);
	if (error < 0)
		return fault_set(fault, error, "E-VPND-1", NULL, "cannot watch the device: %s",
			strerror(-error));
	loop_timer_init(&daemon->rest, on_rest);
	loop_set_after_round(daemon->loop, after_round, daemon);
	return 0;
}

int daemon_run(struct daemon *daemon)
{
	log_info(&daemon->logger->log, "network %s is up on %s, mtu %d, %zu peers",
		daemon->config->name, daemon->device.tun.name, daemon->config->interface.mtu_bytes,
		daemon->config->peer_count);
	if (daemon->config->wire == CONFIG_WIRE_KCP_GO)
		log_warn(&daemon->logger->log,
			"wire kcp-go proves nobody's identity: whoever knows the key can read and "
			"forge everything");
	log_info(&daemon->logger->log, "packets are handled by user %s without capabilities",
		daemon->privileges->user);
	if (daemon->privileges->borrowed)
		log_warn(&daemon->logger->log, "%s", PRIVILEGES_BORROWED_TEXT);
	daemon_manager_begin(daemon);
	int error = loop_run(daemon->loop);
	if (error < 0) {
		log_error(&daemon->logger->log, "the event loop failed: %s", strerror(-error));
		daemon->exit_status = EXIT_STATUS_OTHER;
	}
	daemon_manager_end(daemon);
	profile_tell(daemon->profile, &daemon->logger->log);
	return daemon->exit_status;
}
