/*
 * Start: configuration (read by main), loop, control socket, netlink, device, helper, wire, the drop of privileges, peers,
 * link, READY. The control socket is served only once the loop runs. The end undoes whatever was reached.
 *
 * A round of the loop: sockets hand datagrams to the wire, the TUN device packets to the packet path; afterwards the
 * wire serves its events, the path hands on what waits, and everything leaves in batches. Events of that (a window
 * opened, a call came) are served in the same round, a bounded number of times.
 */
#include "vpnd/daemon.h"

#include "core/log.h"
#include "core/rand.h"
#include "vpnd/broker.h"
#include "vpnd/fault.h"
#include "vpnd/full_tunnel.h"
#include "vpnd/netlink.h"
#include "vpnd/netlink_monitor.h"
#include "vpnd/netns.h"
#include "vpnd/peer.h"
#include "vpnd/privileges.h"
#include "vpnd/state_file.h"
#include "vpnd/state_folder.h"
#include "vpnd/udp_group.h"
#include "vpnd/udp_socket.h"
#include "vpnd/wire_kcp_go.h"
#include "vpnd/wire_native.h"
#include "vpnd/workers.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
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

static void say(const struct fault *fault)
{
	(void)fprintf(stderr, "vpnd: %s %s\n", fault->code, fault->text);
	if (fault->hint[0])
		(void)fprintf(stderr, "  %s\n", fault->hint);
}

static int status_of(int error)
{
	return error == -EPERM || error == -EACCES ? EXIT_STATUS_PERMISSION : EXIT_STATUS_OTHER;
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

static bool routes_wanted(void *ctx, const char *name)
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

static void on_network_changed(void *ctx)
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

/* ---- start and end ---------------------------------------------------------------------------------------------- */

/*
 * Where peers were is worth a warning if it cannot be remembered, and no more; not even that where the wire has no use for
 * it. That may change with a reload, and then it is too late to open the folder.
 */
static int open_state(struct daemon *daemon, struct fault *fault)
{
	const struct log *log = &daemon->logger->log;
	enum log_level level =
		daemon->config->wire == CONFIG_WIRE_NATIVE ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG;
	const char *network = daemon->config->name;
	char path[STATE_FOLDER_PATH_BYTES];
	struct fault why = {0};
	int fd = -1;

	if (state_folder_path(daemon->options->state, network, path) < 0)
		log_write(log, level,
			"nothing is remembered over a restart: the folder's name is too long");
	else if (state_folder_open(
			 path, daemon->privileges->uid, daemon->privileges->gid, &fd, &why) < 0)
		log_write(log, level, "%s %s%s%s", why.code, why.text, why.hint[0] ? "; " : "",
			why.hint);
	int error = state_file_open(daemon->loop, fd, network, log, &daemon->state);
	return error < 0 ? fault_set(fault, error, "E-VPND-2", NULL, "out of memory") : 0;
}

int daemon_wire_new(struct daemon *daemon, const struct config *config, struct wire **ret_wire,
	struct fault *fault)
{
	const struct log *log = &daemon->logger->log;
	int error = daemon_host_prepare_lookups(daemon, config, fault);

	if (error < 0)
		return error;
	if (config->wire == CONFIG_WIRE_KCP_GO)
		error = wire_kcp_go_new(daemon->loop, config, daemon->netlink, log,
			&daemon->wire_events, ret_wire, fault);
	else
		error = wire_native_new(daemon->loop, config, daemon_mtu_most(config),
			daemon->workers, daemon->netlink, daemon->state, log, &daemon->wire_events,
			ret_wire, fault);
	if (error == 0)
		(*ret_wire)->own_ifindex =
			daemon->inner ? -1 : daemon->device.tun.ifindex; /* not in this namespace */
	return error;
}

static int start_control(struct daemon *daemon)
{
	struct control_ops ops = daemon_control_ops(daemon);
	struct control_error err = {0};
	char path[128];
	struct control_server_config config = {
		.path = daemon->options->control,
		.network = daemon->config->name,
		.version = KCPVPN_VERSION,
		.read_group = daemon->config->control.group,
		.admin_group = daemon->config->control.admin_group,
		.trusted_uid = (uid_t)-1,
		.log = &daemon->logger->log,
		.ring = &daemon->logger->ring,
	};

	if (!config.path) {
		(void)snprintf(
			path, sizeof(path), "/run/vpnd/%s/control.sock", daemon->config->name);
		config.path = path;
	}
	if (daemon->options->passed_fd >= 0)
		config.passed_fd = &daemon->options->passed_fd;
	int error = control_server_new(daemon->loop, &config, &ops, &daemon->control, &err);
	if (error == 0 && config.passed_fd)
		daemon_manager_tell_socket(daemon, config.path);
	if (error < 0) {
		(void)fprintf(stderr, "vpnd: %s %s\n", err.code, err.text);
		if (err.hint[0])
			(void)fprintf(stderr, "  %s\n", err.hint);
	}
	control_error_fini(&err);
	return error;
}

static int open_loop(struct daemon *daemon, struct fault *fault)
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

/* A number is an order, and what stands in its way an error; left to us, it is as many as the host has sockets for. */
static unsigned queues_wanted(const struct daemon *daemon)
{
	int asked = daemon->config->interface.queues;
	unsigned queues = workers_wanted(asked);
	int error = asked == CONFIG_AUTO && queues > 1 ? udp_group_probe(queues) : 0;

	if (error == 0)
		return queues;
	log_warn(&daemon->logger->log,
		"one thread carries all packets: the host does not let several share a port: %s",
		strerror(-error));
	return 1;
}

static int open_network(struct daemon *daemon, struct fault *fault)
{
	const struct config *config = daemon->config;
	/* The kcp-go wire has one conversation a peer, and nothing to steer by. Devices of single peers have one queue each,
	   all of them the main thread's. */
	bool parted = config->wire == CONFIG_WIRE_NATIVE &&
		      config->routes.selection != CONFIG_SELECTION_INTERFACE;
	unsigned queues = parted ? queues_wanted(daemon) : 1;
	struct netlink_own own = {
		.protocol = (uint8_t)config->routes.protocol,
		.rule_first = FULL_TUNNEL_FIRST,
		.rule_end = FULL_TUNNEL_FIRST + FULL_TUNNEL_BLOCKS * FULL_TUNNEL_BLOCK,
		.owns = config->routes.selection == CONFIG_SELECTION_INTERFACE ? daemon_host_owns
									       : NULL,
	};
	const char *netns = config->interface.netns;
	int back = -1;
	int error = netlink_new(&daemon->netlink, fault);

	if (error == 0 && netns)
		error = netns_open(netns, &daemon->netns, fault);
	if (error == 0 && netns)
		error = netns_enter(daemon->netns, &back, fault);
	if (error == 0 && netns)
		error = netlink_new(&daemon->inner, fault);
	if (error == 0)
		error = device_open(&daemon->device, config->interface.name,
			config->interface.offload, queues, netns ? daemon->inner : daemon->netlink,
			&daemon->logger->log, routes_wanted, daemon, fault);
	if (error == 0)
		own.ifindex = daemon->device.tun.ifindex;
	if (error == 0 && netns)
		error = netlink_monitor_new(daemon->loop, &own, NULL, daemon_host_lost, daemon,
			&daemon->inner_monitor, fault);
	netns_leave(back);
	own.ifindex = netns ? 0 : own.ifindex;
	if (error == 0)
		error = netlink_monitor_new(daemon->loop, &own, on_network_changed,
			netns ? NULL : daemon_host_lost, daemon, &daemon->monitor, fault);
	if (error == 0 && daemon->device.queue_count > 1)
		error = workers_new(daemon->loop, daemon->device.queues,
			daemon->device.queue_count - 1, daemon_mtu_most(config), &daemon->workers,
			fault);
	if (config->routes.selection == CONFIG_SELECTION_INTERFACE)
		daemon->device.peer_ifindex = daemon_host_peer_ifindex;
	return error;
}

static void close_netns(struct daemon *daemon)
{
	if (daemon->netns > 0)
		close(daemon->netns);
	daemon->netns = 0;
}

/* Before there is a wire: what that knows is none of the helper's business. */
static int start_helper(struct daemon *daemon, struct fault *fault)
{
	const struct broker_setup setup = {
		.ifindex = daemon->device.tun.ifindex,
		.device = daemon->device.tun.name,
		.file = daemon->config->file,
		.config = daemon->config,
		.control = control_server_socket(daemon->control),
		.netns = daemon->netns,
		.extra = daemon->privileges->extra,
		.log = &daemon->logger->log,
	};

	int error = broker_new(daemon->loop, &setup, &daemon->broker, fault);

	close_netns(daemon);
	return error;
}

static int open_udp(
	void *ctx, const struct kcpvpn_endpoint *local, bool joins, uint32_t fwmark, int *ret_fd)
{
	return broker_udp_socket(ctx, local, joins, fwmark, ret_fd, NULL);
}

/* It may be in the middle of an order: what it missed is made good after the round. */
static void on_helper_back(void *ctx)
{
	struct daemon *daemon = ctx;

	daemon->helper_back = true;
}

/* Everything that takes rights is open, no thread exists yet, no packet was read. From here on the helper is asked. */
static int give_up_privileges(struct daemon *daemon, struct fault *fault)
{
	int error = privileges_drop(daemon->privileges, fault);

	if (error < 0)
		return error;
	daemon->device.host = broker_host_net(daemon->broker);
	udp_socket_set_opener(open_udp, daemon->broker);
	broker_set_on_back(daemon->broker, on_helper_back, daemon);
	return 0;
}

/* As where the main thread's own loop fails: whoever watches over us starts all anew. */
static void on_worker_failure(void *ctx)
{
	struct daemon *daemon = ctx;

	log_error(&daemon->logger->log, "the event loop of a worker failed; stopping");
	daemon->exit_status = EXIT_STATUS_OTHER;
	loop_stop(daemon->loop);
}

static int start(struct daemon *daemon, struct fault *fault)
{
	const struct config *config = daemon->config;
	int error;

	daemon->path.wire = daemon->wire;
	for (size_t i = 0; i < config->peer_count; i++) {
		error = daemon_peer_add(daemon, &config->peers[i]);
		if (error < 0)
			return fault_set(fault, error, "E-VPND-2", NULL, "cannot add peer %s: %s",
				config->peers[i].name, strerror(-error));
		error = daemon_host_peer_added(
			daemon, daemon_peer(daemon, config->peers[i].name), fault);
		if (error < 0)
			return error;
	}
	daemon->tun_watch = (struct loop_watch){.fd = daemon->device.tun.fd, .on_event = on_tun};
	error = loop_watch_add(daemon->loop, &daemon->tun_watch, EPOLLIN);
	if (error < 0)
		return fault_set(fault, error, "E-VPND-1", NULL, "cannot watch the device: %s",
			strerror(-error));
	loop_timer_init(&daemon->rest, on_rest);
	loop_set_after_round(daemon->loop, after_round, daemon);
	workers_on_failure(daemon->workers, on_worker_failure, daemon);
	error = workers_start(daemon->workers, fault);
	return error < 0 ? error : daemon_link_up(daemon, fault);
}

int daemon_new(const struct options *options, const struct privileges *privileges,
	struct logger *logger, struct config *config, struct daemon **ret_daemon)
{
	struct daemon *daemon = calloc(1, sizeof(*daemon));
	struct fault fault = {0};

	if (!daemon) {
		config_free(config);
		(void)fprintf(stderr, "vpnd: E-VPND-2 out of memory\n");
		return EXIT_STATUS_OTHER;
	}
	daemon->options = options;
	daemon->privileges = privileges;
	daemon->logger = logger;
	daemon->config = config;
	daemon->generation = 1;
	daemon->device.tun.fd = -1;
	daemon->up_at = MONO_NEVER;
	daemon->notify.fd = -1;
	list_init(&daemon->peers);
	daemon->status_next = &daemon->peers;
	daemon->profile = profile_new();
	daemon->wire_events = (struct wire_events){
		.ctx = daemon,
		.stages = profile_clock(daemon->profile),
		.received = on_received,
		.owner = on_owner,
		.writable = on_writable,
		.state_changed = on_state_changed,
		.mtu_changed = on_mtu_changed,
		.handed = on_handed,
	};
	daemon_configure_log(daemon);
	int error = open_loop(daemon, &fault);
	/* First of all that another daemon may hold: "already running" says more than "the device is taken". */
	if (error == 0) {
		error = start_control(daemon);
		if (error < 0)
			goto free_daemon;
		daemon_manager_init(daemon);
		error = open_network(daemon, &fault);
	}
	if (error == 0)
		error = start_helper(daemon, &fault);
	if (error == 0)
		error = open_state(daemon, &fault);
	if (error == 0)
		error = daemon_wire_new(daemon, config, &daemon->wire, &fault);
	if (error == 0)
		error = give_up_privileges(daemon, &fault);
	if (error == 0)
		error = start(daemon, &fault);
	if (error < 0) {
		say(&fault);
		goto free_daemon;
	}
	*ret_daemon = daemon;
	return EXIT_STATUS_OK;

free_daemon:
	daemon_free(daemon);
	return status_of(error);
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

void daemon_free(struct daemon *daemon)
{
	if (!daemon)
		return;
	broker_begin_stop(daemon->broker);
	notify_close(&daemon->notify);
	control_server_free(daemon->control);
	daemon->control = NULL;
	daemon->stopping = true;
	workers_stop(daemon->workers); /* for good */
	while (!list_empty(&daemon->peers))
		daemon_peer_remove(daemon, list_entry(daemon->peers.next, struct peer, in_daemon));
	if (daemon->wire) {
		daemon->wire->ops->flush(daemon->wire, loop_now(daemon->loop));
		daemon->wire->ops->free(daemon->wire);
	}
	workers_free(daemon->workers);
	state_file_free(daemon->state);
	netlink_monitor_free(daemon->monitor);
	netlink_monitor_free(daemon->inner_monitor);
	daemon_host_fini(daemon);
	close_netns(daemon);
	if (daemon->loop)
		loop_timer_disarm(daemon->loop, &daemon->restore);
	if (daemon->loop)
		loop_timer_disarm(daemon->loop, &daemon->refresh);
	if (daemon->loop)
		loop_timer_disarm(daemon->loop, &daemon->mtu_due);
	if (daemon->loop)
		loop_watch_remove(daemon->loop, &daemon->tun_watch);
	if (daemon->device.tun.fd >= 0)
		device_close(&daemon->device, daemon->config);
	udp_socket_set_opener(NULL, NULL);
	broker_free(daemon->broker);
	netlink_free(daemon->netlink);
	netlink_free(daemon->inner);
	if (daemon->loop)
		packet_path_fini(&daemon->path);
	loop_free(daemon->loop);
	runtime_peers_fini(&daemon->peers_given);
	runtime_peers_fini(&daemon->peers_next);
	control_request_fini(&daemon->change);
	config_free(daemon->config);
	profile_free(daemon->profile);
	free(daemon);
}
