/*
 * The helper is forked from the worker when everything that takes rights is open. It knows by the fork what it needs:
 * the interface, the configuration, the control socket. Then it closes every descriptor but its log and its end of the
 * pair: while it held the TUN device or a socket, these would outlive a killed worker.
 *
 * It ignores signals that are meant for the daemon, as Ctrl-C in a terminal and a service manager's signal to all
 * processes: it ends when the worker's end of the pair is closed, whatever closed it.
 *
 * How it is asked, and what is done about one that does not answer, stands in broker_ask.c. The outcome of reading the
 * configuration is told from a timer that is due at once, never in the middle of something else.
 */
#include "vpnd/broker.h"

#include "config/config.h"
#include "core/log.h"
#include "vpnd/broker_ask.h"
#include "vpnd/broker_server.h"
#include "vpnd/config_record.h"
#include "vpnd/full_tunnel.h"
#include "vpnd/netlink.h"
#include "vpnd/netns.h"
#include "vpnd/privileges.h"
#include "vpnd/runner.h"
#include "vpnd/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	HELPER_FD = STDERR_FILENO + 1,
	NETNS_FD, /* at the start */
};

/* ---- the helper's first steps ----------------------------------------------------------------------------------- */

static void say_ready(int fd, const struct fault *fault)
{
	struct broker_answer ready = {.sequence = 0, .fault = *fault};
	uint8_t bytes[BROKER_ANSWER_BYTES];

	broker_answer_write(&ready, bytes);
	(void)send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL);
}

/*
 * True in a network namespace that the host's first process, and so its services, do not live in. Looking at another's
 * namespace takes rights that containers and units do without; each namespace has its own files under /proc/PID/net, though.
 */
static bool is_foreign(void)
{
	struct stat own, host;

	return stat("/proc/self/net/dev", &own) == 0 && stat("/proc/1/net/dev", &host) == 0 &&
	       (own.st_ino != host.st_ino || own.st_dev != host.st_dev);
}

/* Keeps what the helper needs at its places, and closes all else. @return the namespace of the device, -1 = here */
static int keep_descriptors(int fd, int netns)
{
	/* each may stand where the other belongs */
	int high = netns > 0 ? fcntl(netns, F_DUPFD, NETNS_FD + 1) : -1;

	if ((netns > 0 && high < 0) || (fd != HELPER_FD && dup2(fd, HELPER_FD) < 0) ||
		(high >= 0 && dup2(high, NETNS_FD) < 0))
		_exit(EXIT_FAILURE);
	closefrom(high >= 0 ? NETNS_FD + 1 : HELPER_FD + 1);
	return high >= 0 ? NETNS_FD : -1;
}

/*
 * Rules of a full tunnel that a crash left behind go. A kill switch begins here, in front of all that may fail or take time
 * until there is a tunnel: hooks, ports, names.
 */
static int begin_full_tunnel(struct broker_server *server, struct fault *fault)
{
	const struct config *config = server->rules.in_force;
	struct fault why = {0};
	size_t count = 0;

	if (config->full_tunnel.mode == CONFIG_FULL_TUNNEL_KILL_SWITCH) {
		int error = broker_server_tunnel(server, BROKER_TUNNEL_ON, &count, fault);
		if (error)
			log_warn(server->log,
				"the kill switch is not whole; `vpnd --release %s` lifts what is "
				"there of it",
				config->name);
		return error;
	}
	if (full_tunnel_apply(&server->tunnel, config, false, &count, &why) < 0)
		log_warn(server->log, "%s %s", why.code, why.text);
	else if (count > 0)
		log_info(server->log, "%zu policy rules that were left behind are removed", count);
	return 0;
}

/* Never returns: what the worker registered with atexit() and left in stdio's buffers is not the helper's to finish. */
static _Noreturn void be_helper(int fd, const struct broker_setup *setup, struct config *config)
{
	static const int FOR_THE_DAEMON[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE};
	struct broker_server server = {
		.fd = HELPER_FD,
		.ifindex = setup->ifindex,
		.tunnel.ifindex = config->interface.netns ? 0 : setup->ifindex,
		.log = setup->log,
		.control = {.fd = -1},
	};
	struct fault fault = {0};
	struct runner runner = {.fd = -1};
	int back = -1;

	int netns = keep_descriptors(fd, setup->netns);
	for (size_t i = 0; i < sizeof(FOR_THE_DAEMON) / sizeof(FOR_THE_DAEMON[0]); i++)
		(void)signal(FOR_THE_DAEMON[i], SIG_IGN);
	(void)prctl(PR_SET_NAME, "vpnd-helper", 0, 0, 0);
	if (setup->control) {
		server.control = *setup->control;
		server.control.fd = -1;
	}
	server.file = strdup(setup->file);	  /* outlives the configuration that named it */
	broker_rules_init(&server.rules, config); /* wipes the keys, also for the runner */
	const struct runner_setup programs = {
		.config = config, .device = setup->device, .log = setup->log};
	if (setup->device)
		(void)runner_start(&runner, &programs);
	server.runner = &runner;
	server.foreign = is_foreign();
	fault.err = server.file ? netlink_new(&server.tunnel.netlink, &fault) : -ENOMEM;
	struct netlink *netlink = server.tunnel.netlink; /* where the device is */
	if (!fault.err && netns >= 0) {
		fault.err = netns_enter(netns, &back, &fault);
		if (!fault.err)
			fault.err = netlink_new(&netlink, &fault);
		netns_leave(back);
	}
	if (netns >= 0)
		close(netns);
	if (!fault.err)
		fault.err = begin_full_tunnel(&server, &fault);
	if (!fault.err)
		fault.err = privileges_keep(setup->extra, &fault);
	say_ready(HELPER_FD, &fault);
	if (fault.err)
		_exit(EXIT_FAILURE);
	server.host = host_net_direct(netlink);
	broker_server_run(&server);
	_exit(EXIT_SUCCESS);
}

/* ---- the host's network ----------------------------------------------------------------------------------------- */

/* Whose device it is goes into the request; "" is the network's own. */
static int name_device(const struct broker *broker, int ifindex, struct broker_request *request,
	struct fault *fault)
{
	if (ifindex == broker->ifindex)
		return 0;
	for (size_t i = 0; i < CONFIG_DEVICES_MAX; i++) {
		if (!broker->devices[i].peer[0] || broker->devices[i].ifindex != ifindex)
			continue;
		memcpy(request->name, broker->devices[i].peer, sizeof(request->name));
		return 0;
	}
	return fault_set(
		fault, -EPERM, "E-PRIV-6", NULL, "the helper changes its own interface only");
}

static int ask_about(void *ctx, int ifindex, struct broker_request *request, struct fault *fault)
{
	int error = name_device(ctx, ifindex, request, fault);

	return error ? error : broker_ask(ctx, request, NULL, fault);
}

static int set_up(void *ctx, int ifindex, bool up, struct fault *fault)
{
	struct broker_request request = {.verb = BROKER_LINK, .value = up};

	return ask_about(ctx, ifindex, &request, fault);
}

static int set_mtu(void *ctx, int ifindex, uint32_t mtu_bytes, struct fault *fault)
{
	struct broker_request request = {.verb = BROKER_MTU, .value = mtu_bytes};

	return ask_about(ctx, ifindex, &request, fault);
}

static int address(
	void *ctx, int ifindex, const struct ip_prefix *prefix, bool add, struct fault *fault)
{
	struct broker_request request = {
		.verb = add ? BROKER_ADDRESS_ADD : BROKER_ADDRESS_REMOVE,
		.prefix = *prefix,
	};

	return ask_about(ctx, ifindex, &request, fault);
}

/* The helper finds the far end by itself. */
static int peer_address(void *ctx, int ifindex, const struct ip_prefix *prefix,
	const struct ip_prefix *far, struct fault *fault)
{
	(void)far;
	return address(ctx, ifindex, prefix, true, fault);
}

static int route(void *ctx, const struct netlink_route *change, enum host_route_verb verb,
	struct fault *fault)
{
	static const enum broker_verb VERBS[] = {
		[HOST_ROUTE_ADD] = BROKER_ROUTE_ADD,
		[HOST_ROUTE_REMOVE] = BROKER_ROUTE_REMOVE,
	};
	struct broker_request request = {
		.verb = VERBS[verb],
		.prefix = change->destination,
		.table = change->table,
		.metric = change->metric,
		.protocol = change->protocol,
	};

	return ask_about(ctx, change->ifindex, &request, fault);
}

struct host_net broker_host_net(struct broker *broker)
{
	static const struct host_net_ops OPS = {set_up, set_mtu, address, route, peer_address};

	return (struct host_net){&OPS, broker};
}

/* ---- the other requests ----------------------------------------------------------------------------------------- */

int broker_load_record(int fd, const char *file, const struct config_reader *base,
	struct config **ret_config, struct config_report *report, struct fault *fault)
{
	struct config_record record;
	struct stat st;

	fault->err = 0;
	if (fstat(fd, &st) < 0)
		return fault_set(fault, -errno, "E-PRIV-7", NULL,
			"cannot read what the helper read: %s", strerror(errno));
	size_t len = (size_t)st.st_size;
	uint8_t *bytes = len ? mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : NULL;
	if (bytes == MAP_FAILED)
		return fault_set(fault, -errno, "E-PRIV-7", NULL,
			"cannot read what the helper read: %s", strerror(errno));
	config_record_init(&record, NULL);
	if (bytes)
		config_record_borrow(&record, bytes, len);
	struct config_reader reader = config_record_replayer(&record);
	reader.public_half = base ? base->public_half : NULL;
	reader.overlay = base ? base->overlay : NULL;
	reader.in_force = base ? base->in_force : NULL;
	int error = config_load(file, &reader, ret_config, report);
	config_record_fini(&record);
	if (bytes)
		(void)munmap(bytes, len);
	return error;
}

int broker_read_config(struct broker *broker, broker_read_fn done, void *ctx, struct fault *fault)
{
	struct broker_request request = {.verb = BROKER_READ_CONFIG};
	int error = broker->fd < 0 ? -EPIPE : 0;

	if (!error && broker->stuck)
		error = broker_take_others(broker);
	if (error)
		goto lost;
	if (broker->stuck)
		return broker_overdue(fault, "the helper process is stuck");
	error = broker_put(broker, &request, fault);
	if (error == -EPIPE)
		goto lost;
	if (error)
		return error;
	broker->reading.under_way = true;
	broker->reading.answered = false;
	broker->reading.sequence = request.sequence;
	broker->reading.began_us = loop_clock().us;
	broker->reading.done = done;
	broker->reading.ctx = ctx;
	loop_timer_arm(broker->loop, &broker->reading.due,
		mono_add_us(loop_clock(), (int64_t)broker->read_ms * 1000));
	return 0;
lost:
	broker_lose(broker);
	return broker_gone(fault);
}

static void on_read_due(struct loop_timer *timer, struct mono now)
{
	struct broker *broker = list_entry(timer, struct broker, reading.due);

	(void)now;
	if (!broker->reading.answered) {
		broker->reading.fd = -1;
		(void)broker_overdue(&broker->reading.fault,
			"the helper process did not read the configuration in time");
		broker_note_stuck(broker);
	}
	int fd = broker->reading.fd;
	struct fault fault = broker->reading.fault;
	broker->reading.under_way = false;
	broker->reading.fd = -1;
	broker->reading.done(broker->reading.ctx, fd, &fault);
}

void broker_keep_config(struct broker *broker)
{
	struct broker_request request = {.verb = BROKER_KEEP_CONFIG};

	(void)broker_ask(broker, &request, NULL, NULL);
}

int broker_add_destination(
	struct broker *broker, const struct ip_prefix *prefix, struct fault *fault)
{
	struct broker_request request = {.verb = BROKER_DESTINATION, .prefix = *prefix};

	return broker_ask(broker, &request, NULL, fault);
}

int broker_udp_socket(struct broker *broker, const struct kcpvpn_endpoint *local, bool joins,
	uint32_t fwmark, int *ret_fd, struct fault *fault)
{
	struct broker_request request = {
		.verb = BROKER_UDP_SOCKET, .endpoint = *local, .value = fwmark, .joins = joins};

	return broker_ask(broker, &request, ret_fd, fault);
}

int broker_full_tunnel(struct broker *broker, bool on, uint32_t *ret_changed, struct fault *fault)
{
	struct broker_request request = {
		.verb = BROKER_TUNNEL, .value = on ? BROKER_TUNNEL_ON : BROKER_TUNNEL_OFF};
	int error = broker_ask(broker, &request, NULL, fault);

	if (!error && ret_changed)
		*ret_changed = broker->value;
	return error;
}

int broker_full_tunnel_refresh(struct broker *broker, struct fault *fault)
{
	struct broker_request request = {.verb = BROKER_TUNNEL, .value = BROKER_TUNNEL_REFRESH};

	return broker_ask(broker, &request, NULL, fault);
}

int broker_dns(struct broker *broker, bool on, struct fault *fault)
{
	struct broker_request request = {.verb = BROKER_DNS, .value = on};

	return broker_ask(broker, &request, NULL, fault);
}

int broker_hook(struct broker *broker, enum config_hook hook, const char *peer,
	const struct kcpvpn_endpoint *endpoint, struct fault *fault)
{
	struct broker_request request = {.verb = BROKER_HOOK, .value = (uint32_t)hook};

	(void)snprintf(request.name, sizeof(request.name), "%s", peer ? peer : "");
	if (endpoint)
		request.endpoint = *endpoint;
	return broker_ask(broker, &request, NULL, fault);
}

static void note_device(struct broker *broker, const char *peer, int ifindex)
{
	size_t free_at = CONFIG_DEVICES_MAX, at = 0;

	for (; at < CONFIG_DEVICES_MAX; at++) {
		if (strcmp(broker->devices[at].peer, peer) == 0)
			break;
		if (free_at == CONFIG_DEVICES_MAX && !broker->devices[at].peer[0])
			free_at = at;
	}
	at = at < CONFIG_DEVICES_MAX ? at : free_at;
	if (at == CONFIG_DEVICES_MAX)
		return;
	(void)snprintf(broker->devices[at].peer, sizeof(broker->devices[at].peer), "%s", peer);
	broker->devices[at].ifindex = ifindex;
}

void broker_tun_gone(struct broker *broker, int ifindex)
{
	for (size_t i = 0; broker && i < CONFIG_DEVICES_MAX; i++) {
		if (broker->devices[i].peer[0] && broker->devices[i].ifindex == ifindex)
			broker->devices[i].peer[0] = '\0';
	}
}

int broker_tun(struct broker *broker, const char *peer, const struct tun *like, struct tun *ret_tun,
	struct fault *fault)
{
	struct broker_request request = {.verb = BROKER_TUN};
	int fd;

	(void)snprintf(request.name, sizeof(request.name), "%s", peer);
	int error = broker_ask(broker, &request, &fd, fault);
	if (!error)
		error = tun_adopt(ret_tun, fd, like, fault);
	if (!error)
		note_device(broker, peer, ret_tun->ifindex);
	return error;
}

bool broker_alive(const struct broker *broker)
{
	return broker->fd >= 0;
}

bool broker_stuck(const struct broker *broker)
{
	int64_t overdue_us = broker->reading.began_us + (int64_t)broker->answer_ms * 1000;

	return broker->fd >= 0 &&
	       (broker->stuck || (broker_reads(broker) && loop_clock().us > overdue_us));
}

void broker_set_on_back(struct broker *broker, void (*on_back)(void *ctx), void *ctx)
{
	broker->on_back = on_back;
	broker->on_back_ctx = ctx;
}

/* ---- beginning and end ------------------------------------------------------------------------------------------ */

/* Not in the middle of a request: those take their answers themselves. */
static void on_event(struct loop_watch *watch, uint32_t events)
{
	struct broker *broker = list_entry(watch, struct broker, watch);

	(void)events;
	if (broker_take_others(broker) < 0)
		broker_lose(broker);
}

int broker_new(struct loop *loop, const struct broker_setup *setup, struct broker **ret_broker,
	struct fault *fault)
{
	struct broker *broker = calloc(1, sizeof(*broker));
	int pair[2], none = -1;
	int error = -ENOMEM;

	if (!broker)
		goto fail;
	*broker = (struct broker){
		.loop = loop,
		.watch = {.on_event = on_event},
		.answer_ms = setup->answer_ms ? setup->answer_ms : BROKER_ANSWER_MS,
		.read_ms = setup->answer_ms ? setup->answer_ms : BROKER_READ_MS,
		.ifindex = setup->ifindex,
		.log = setup->log,
		.reading.fd = -1,
		.end_ms = setup->device && runner_wanted(setup->config) ? BROKER_RUNNER_END_MS
									: BROKER_END_MS,
	};
	loop_timer_init(&broker->reading.due, on_read_due);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		error = -errno;
		goto free_broker;
	}
	broker->pid = fork();
	if (broker->pid < 0) {
		error = -errno;
		close(pair[0]);
		close(pair[1]);
		goto free_broker;
	}
	if (broker->pid == 0)
		be_helper(pair[1], setup, setup->config);
	close(pair[1]);
	broker->fd = broker->watch.fd = pair[0];
	error = broker_await(
		broker, 0, loop_clock().us + (int64_t)BROKER_READ_MS * 1000, &none, fault);
	if (!error)
		error = loop_watch_add(loop, &broker->watch, EPOLLIN);
	if (error) {
		close(broker->fd); /* ends the helper */
		(void)waitpid(broker->pid, NULL, 0);
		free(broker);
		return error;
	}
	*ret_broker = broker;
	return 0;
free_broker:
	free(broker);
fail:
	return fault_set(fault, error, "E-PRIV-4", NULL, "cannot start the helper process: %s",
		strerror(-error));
}

void broker_begin_stop(struct broker *broker)
{
	if (broker && !broker->stop_until_us)
		broker->stop_until_us = loop_clock().us + (int64_t)BROKER_STOP_MS * 1000;
}

/* It answered that it ends, and is waited for; but who does not end after all holds up nobody. */
static void await_end(struct broker *broker)
{
	int64_t until_us = loop_clock().us + (int64_t)broker->end_ms * 1000;
	struct broker_answer answer;
	int error, fd = -1;

	while ((error = broker_receive(broker, until_us, &answer, &fd)) == 0) {
		if (fd >= 0)
			close(fd);
	}
	if (error == -EPIPE)
		(void)waitpid(broker->pid, NULL, 0);
}

void broker_free(struct broker *broker)
{
	struct broker_request request = {.verb = BROKER_END};

	if (!broker)
		return;
	loop_timer_disarm(broker->loop, &broker->reading.due);
	if (broker->reading.fd >= 0)
		close(broker->reading.fd);
	broker->reading.under_way = false;
	if (broker->fd >= 0) {
		if (broker_ask(broker, &request, NULL, NULL) == 0)
			await_end(broker);
		loop_watch_remove(broker->loop, &broker->watch);
		if (broker->fd >= 0)
			close(broker->fd); /* ends it, when it has seen it */
	}
	free(broker);
}
