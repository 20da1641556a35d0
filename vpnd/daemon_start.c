/*
 * Start: configuration (read by main), loop, control socket, netlink, device, helper, wire, the drop of privileges, peers,
 * link, READY. The control socket is served only once the loop runs. The end undoes whatever was reached.
 */
#include "vpnd/daemon.h"

#include "core/log.h"
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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
			&daemon->logger->log, daemon_routes_wanted, daemon, fault);
	if (error == 0)
		own.ifindex = daemon->device.tun.ifindex;
	if (error == 0 && netns)
		error = netlink_monitor_new(daemon->loop, &own, NULL, daemon_host_lost, daemon,
			&daemon->inner_monitor, fault);
	netns_leave(back);
	own.ifindex = netns ? 0 : own.ifindex;
	if (error == 0)
		error = netlink_monitor_new(daemon->loop, &own, daemon_network_changed,
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
	error = daemon_loop_start(daemon, fault);
	if (error < 0)
		return error;
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
	daemon->wire_events = daemon_wire_events(daemon);
	daemon_configure_log(daemon);
	int error = daemon_loop_open(daemon, &fault);
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
