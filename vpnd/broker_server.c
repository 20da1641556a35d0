/*
 * One request, one answer, nothing kept between them but what the rules know. The helper waits only for its worker, and
 * never the other way round for long: an answer that cannot be sent within SEND_MS means that the worker is stuck, and
 * is given up.
 *
 * A reload: the helper reads the configuration as it was read at the start, and writes down every byte that came of a
 * file. The worker gets the record in shared memory and makes the same configuration of it; it names no file. A file that
 * is refused is refused by both, and the worker tells why.
 *
 * When the worker is gone, by its own words or not, so are its device and with it addresses and routes. What remains on
 * the host is the control socket.
 */
#include "vpnd/broker_server.h"

#include "config/config.h"
#include "core/log.h"
#include "vpnd/config_record.h"
#include "vpnd/netlink.h"
#include "vpnd/resolved.h"
#include "vpnd/runner.h"
#include "vpnd/tun.h"
#include "vpnd/udp_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/memfd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL /* Linux 6.3 */
#define MFD_NOEXEC_SEAL 0x0008U
#endif

enum {
	SEND_MS = 10000,
	COMPLAINTS_MAX = 8, /* a worker that asks for the forbidden does not fill the log */
};

/* ---- what is done ----------------------------------------------------------------------------------------------- */

/* The number of the device that a request is about. @return 0 = that peer has none */
static int device_of(const struct broker_server *server, const struct broker_request *request)
{
	if (!request->name[0])
		return server->ifindex;
	for (size_t i = 0; i < CONFIG_DEVICES_MAX; i++) {
		if (strcmp(server->devices[i].peer, request->name) == 0)
			return server->devices[i].ifindex;
	}
	return 0;
}

static int no_device(const struct broker_request *request, struct fault *fault)
{
	return fault_set(fault, -ENODEV, "E-PRIV-6", NULL, "peer %s has no device", request->name);
}

static int change_route(struct broker_server *server, const struct broker_request *request,
	enum host_route_verb verb, struct fault *fault)
{
	const struct config *config = broker_rules_config(&server->rules);
	struct netlink_route route = {
		.destination = request->prefix,
		.ifindex = device_of(server, request),
		.table = request->table,
		.metric = request->metric,
		.protocol = request->protocol,
		.prefer = config->routes.on_clash == CONFIG_CLASH_PREFER_TUNNEL,
	};

	if (!route.ifindex)
		return verb == HOST_ROUTE_ADD ? no_device(request, fault) : 0;
	return server->host.ops->route(server->host.ctx, &route, verb, fault);
}

/*
 * The peer's own inner address: the first of its allowed_ips that is one, in the prefix of ours. Routing daemons want to know
 * it for a link between two: who shares a prefix by several links is none of their usual cases. NULL = there is none.
 */
static const struct ip_prefix *far_end(
	const struct broker_server *server, const struct broker_request *request)
{
	const struct config *config = broker_rules_config(&server->rules);
	const struct config_peer *peer = config_peer_find(config, request->name);
	const struct ip_prefix *own = &request->prefix;

	for (size_t i = 0; peer && i < peer->allowed_ips.count; i++) {
		const struct ip_prefix *item = &peer->allowed_ips.items[i];
		if (item->family == own->family &&
			item->length == ip_prefix_bits_max(item->family) &&
			ip_prefix_contains(own, item))
			return item;
	}
	return NULL;
}

static int change_address(struct broker_server *server, const struct broker_request *request,
	bool add, struct fault *fault)
{
	int ifindex = device_of(server, request);

	if (!ifindex)
		return add ? no_device(request, fault) : 0;
	if (add && request->name[0])
		return server->host.ops->peer_address(server->host.ctx, ifindex, &request->prefix,
			far_end(server, request), fault);
	return server->host.ops->address(server->host.ctx, ifindex, &request->prefix, add, fault);
}

/* A socket with the mark that the rules allowed. */
static int open_socket(const struct broker_request *request, int *ret_fd, struct fault *fault)
{
	uint32_t mark = request->value;
	int fd, error = udp_socket_prepare(&request->endpoint, request->joins, &fd, fault);

	if (error)
		return error;
	if (mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0) {
		error = fault_set(fault, -errno, "E-UDP-3", NULL, "cannot mark a socket: %s",
			strerror(errno));
		close(fd);
		return error;
	}
	*ret_fd = fd;
	return 0;
}

/* A place in the table: the peer's, a free one, or one of a peer that no configuration names any more. */
static size_t device_place(const struct broker_server *server, const char *peer)
{
	const struct broker_rules *rules = &server->rules;
	size_t place = CONFIG_DEVICES_MAX;

	for (size_t i = 0; i < CONFIG_DEVICES_MAX; i++) {
		const char *there = server->devices[i].peer;
		if (strcmp(there, peer) == 0)
			return i;
		if (place == CONFIG_DEVICES_MAX &&
			(!there[0] || (!config_peer_find(rules->in_force, there) &&
					      !(rules->latest &&
						      config_peer_find(rules->latest, there)))))
			place = i;
	}
	return place;
}

static int open_device(struct broker_server *server, const struct broker_request *request,
	int *ret_fd, struct fault *fault)
{
	const struct config *config = server->rules.in_force;
	char name[CONFIG_DEVICE_MAX + 1];
	struct tun_options options = {.name = name, .offload = config->interface.offload};
	struct tun tun;
	size_t place = device_place(server, request->name);

	if (place == CONFIG_DEVICES_MAX)
		return no_device(request, fault);
	config_peer_device(config, request->name, name);
	int error = tun_open(&tun, &options, fault);
	if (error)
		return error;
	(void)tun_set_carrier(&tun, false); /* nobody is at the other end yet */
	(void)snprintf(server->devices[place].peer, sizeof(server->devices[place].peer), "%s",
		request->name);
	server->devices[place].ifindex = tun.ifindex;
	*ret_fd = dup(tun.fd);
	int failed = errno;
	tun_close(&tun); /* but for the descriptor that is handed over */
	return *ret_fd < 0 ? fault_set(fault, -failed, "E-TUN-3", NULL,
				     "cannot hand over the device: %s", strerror(failed))
			   : 0;
}

/* ---- what the configuration alone says -------------------------------------------------------------------------- */

static int tell_resolvconf(struct broker_server *server, bool on, struct fault *fault)
{
	static struct runner_order order; /* large */
	const struct config *config = server->rules.in_force;
	size_t len = 0;

	order = (struct runner_order){.verb = RUNNER_RESOLVERS_UNSET};
	if (on)
		order.verb = config_dns_is_split(config) ? RUNNER_RESOLVERS_SET
							 : RUNNER_RESOLVERS_EXCLUSIVE;
	for (size_t i = 0; on && i < config->dns.servers.count; i++) {
		char text[KCPVPN_ENDPOINT_TEXT_BYTES];
		struct kcpvpn_endpoint server_at;
		if (!config_dns_server(config, i, &server_at))
			continue;
		/* resolv.conf knows no ports */
		(void)inet_ntop(server_at.family == 4 ? AF_INET : AF_INET6, server_at.address, text,
			sizeof(text));
		len += (size_t)snprintf(
			order.text + len, sizeof(order.text) - len, "nameserver %s\n", text);
	}
	for (size_t i = 0; on && i < config->dns.search.count; i++) {
		const char *domain = config->dns.search.items[i];
		len += (size_t)snprintf(order.text + len, sizeof(order.text) - len, "%s%s",
			i ? " " : "search ", domain + (domain[0] == '~'));
	}
	if (on && config->dns.search.count > 0)
		len += (size_t)snprintf(order.text + len, sizeof(order.text) - len, "\n");
	order.text_len = len;
	return server->runner && runner_insist(server->runner, &order) == 0
		       ? 0
		       : fault_set(fault, -ESRCH, "E-DNS-2", "restart vpnd",
				 "resolvconf cannot be told the servers of the tunnel by a daemon "
				 "that was started without dns.servers");
}

static int unset_resolved(struct broker_server *server, struct fault *fault)
{
	if (!server->told_resolved)
		return 0;
	server->told_resolved = false;
	int error = resolved_unset(server->ifindex, fault);
	return error == -ENOENT ? 0 : error; /* it has forgotten by itself */
}

static int unset_resolvconf(struct broker_server *server, struct fault *fault)
{
	if (!server->told_resolvconf)
		return 0;
	server->told_resolvconf = false;
	return tell_resolvconf(server, false, fault);
}

static int unset_resolvers(struct broker_server *server, struct fault *fault)
{
	int error = unset_resolved(server, fault);
	int second = unset_resolvconf(server, fault);

	return error ? error : second;
}

static int set_resolvers(struct broker_server *server, bool on, struct fault *fault)
{
	const struct config *config = server->rules.in_force;
	int error = -ENOENT;

	if (!on || config->dns.servers.count == 0)
		return unset_resolvers(server, fault);
	if (!server->foreign)
		error = resolved_set(config, server->ifindex, fault);
	if (error != -ENOENT)
		server->told_resolved = true; /* what it did not answer it may have done */
	if (error == 0)			      /* and where it came later: it alone */
		(void)unset_resolvconf(server, NULL);
	if (error != -ENOENT)
		return error;
	if (!runner_resolvconf())
		return fault_set(fault, -ESRCH, "E-DNS-2",
			"install systemd-resolved, resolvconf or openresolv",
			"nobody can be told the servers of the tunnel: neither systemd-resolved "
			"nor resolvconf is there");
	error = tell_resolvconf(server, true, fault);
	if (!error)
		server->told_resolvconf = true;
	return error;
}

/* What is in order and what is too often is the runner's to say (hook_queue.h). */
static int run_hook(
	struct broker_server *server, const struct broker_request *request, struct fault *fault)
{
	static struct runner_order order; /* large */
	enum config_hook hook = (enum config_hook)request->value;

	if (!server->runner || server->runner->fd < 0)
		return 0;
	order = (struct runner_order){
		.verb = RUNNER_HOOK, .hook = hook, .endpoint = request->endpoint};
	(void)snprintf(order.peer, sizeof(order.peer), "%s", request->name);
	if (hook == CONFIG_HOOK_PRE_UP)
		return runner_do(server->runner, &order, fault);
	int error = order.peer[0] ? runner_tell(server->runner, &order)
				  : runner_insist(server->runner, &order);
	return error ? fault_set(fault, error == -EPIPE ? -ESRCH : error, "E-HOOK-1", NULL,
			       "hooks.%s could not be run: %s", config_hook_str(hook),
			       strerror(-error))
		     : 0;
}

/*
 * The worker is gone, and its device with it. What stays on the host in any case is taken back here, but for the rules of a
 * kill switch, whose purpose is to stay. Rules that no tunnel had put up yet stay as well: those of a crash before.
 */
static void clean_up(struct broker_server *server)
{
	struct fault fault = {0};
	size_t changed;

	server->told_resolved = false; /* what it was told went with the device */
	if (unset_resolvers(server, &fault) < 0)
		log_warn(server->log, "%s %s", fault.code, fault.text);
	bool kills = server->rules.in_force->full_tunnel.mode == CONFIG_FULL_TUNNEL_KILL_SWITCH;
	if (server->tunnel_on && kills)
		log_warn(server->log,
			"the kill switch holds: nothing leaves this host beside the tunnel until "
			"vpnd runs again, or `vpnd --release %s` lifts it",
			server->rules.in_force->name);
	else if (server->tunnel_on &&
		 broker_server_tunnel(server, BROKER_TUNNEL_OFF, &changed, &fault) < 0)
		log_warn(server->log, "%s %s", fault.code, fault.text);
	if (server->runner)
		runner_finish(server->runner); /* with `down`, if it is due */
}

/* ---- the configuration ------------------------------------------------------------------------------------------ */

/* The record in memory that can be handed over. @return a descriptor or a negative errno */
static int share(const struct config_record *record)
{
	int fd = memfd_create("config", MFD_CLOEXEC | MFD_NOEXEC_SEAL);

	if (fd < 0)
		fd = memfd_create("config", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (size_t done = 0; done < record->len;) {
		ssize_t n = write(fd, record->bytes + done, record->len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			int error = n < 0 ? -errno : -EIO;
			close(fd);
			return error;
		}
		done += (size_t)n;
	}
	return fd;
}

static int read_config(struct broker_server *server, int *ret_fd, struct fault *fault)
{
	struct config_record record;
	struct config *config = NULL;
	struct config_report *report = calloc(1, sizeof(*report));
	int fd = -ENOMEM;

	config_record_init(&record, server->reader ? server->reader : config_reader_default());
	struct config_reader reader = config_record_writer(&record);
	reader.in_force = server->rules.in_force;
	/* A bad configuration is no failure here: the worker finds the same and says what is wrong. */
	if (report && config_load(server->file, &reader, &config, report) == 0)
		broker_rules_offer(&server->rules, config);
	if (report && !record.failed)
		fd = share(&record);
	config_record_fini(&record);
	free(report);
	if (fd < 0)
		return fault_set(fault, fd, "E-PRIV-7", NULL,
			"the helper cannot hand over the configuration: %s", strerror(-fd));
	*ret_fd = fd;
	return 0;
}

static int add_destination(
	struct broker_server *server, const struct ip_prefix *prefix, struct fault *fault)
{
	char text[IP_PREFIX_TEXT_BYTES];
	size_t before = server->rules.destination_count;
	int error = broker_rules_add_destination(&server->rules, prefix, fault);

	if (server->rules.destination_count > before)
		log_info(server->log,
			"routes to %s may be made: a peer given at run time has these addresses",
			ip_prefix_format(prefix, text));
	return error;
}

static int change_tunnel(
	struct broker_server *server, uint32_t how, uint32_t *ret_value, struct fault *fault)
{
	size_t changed;
	int error = broker_server_tunnel(server, how, &changed, fault);

	*ret_value = (uint32_t)changed;
	return error;
}

static int serve(struct broker_server *server, const struct broker_request *request, int *ret_fd,
	uint32_t *ret_value, struct fault *fault)
{
	const struct host_net *host = &server->host;
	int ifindex = device_of(server, request);

	switch (request->verb) {
	case BROKER_LINK:
		return ifindex ? host->ops->set_up(host->ctx, ifindex, request->value != 0, fault)
			       : no_device(request, fault);
	case BROKER_MTU:
		return ifindex ? host->ops->set_mtu(host->ctx, ifindex, request->value, fault)
			       : no_device(request, fault);
	case BROKER_ADDRESS_ADD:
		return change_address(server, request, true, fault);
	case BROKER_ADDRESS_REMOVE:
		return change_address(server, request, false, fault);
	case BROKER_ROUTE_ADD:
		return change_route(server, request, HOST_ROUTE_ADD, fault);
	case BROKER_ROUTE_REMOVE:
		return change_route(server, request, HOST_ROUTE_REMOVE, fault);
	case BROKER_READ_CONFIG:
		return read_config(server, ret_fd, fault);
	case BROKER_KEEP_CONFIG:
		broker_rules_keep(&server->rules);
		return 0;
	case BROKER_UDP_SOCKET:
		return open_socket(request, ret_fd, fault);
	case BROKER_TUNNEL:
		return change_tunnel(server, request->value, ret_value, fault);
	case BROKER_DNS:
		return set_resolvers(server, request->value != 0, fault);
	case BROKER_HOOK:
		return run_hook(server, request, fault);
	case BROKER_TUN:
		return open_device(server, request, ret_fd, fault);
	case BROKER_DESTINATION:
		return add_destination(server, &request->prefix, fault);
	case BROKER_END:
		server->ending = true;
		control_socket_remove(&server->control);
		return 0;
	case BROKER_VERBS:
		break;
	}
	return -EINVAL;
}

/* ---- requests --------------------------------------------------------------------------------------------------- */

/* Sends the answer and, if `fd` is not negative, the descriptor. @return false if the worker does not take it */
static bool answer(struct broker_server *server, const struct broker_answer *say, int fd)
{
	uint8_t bytes[BROKER_ANSWER_BYTES];
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec piece = {bytes, sizeof(bytes)};
	struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
	struct pollfd writable = {.fd = server->fd, .events = POLLOUT};

	broker_answer_write(say, bytes);
	if (fd >= 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &fd, sizeof(int));
	}
	for (;;) {
		if (sendmsg(server->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return true;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN || poll(&writable, 1, SEND_MS) <= 0)
			return false;
	}
}

static void complain(struct broker_server *server, const char *text)
{
	if (server->complaints >= COMPLAINTS_MAX)
		return;
	server->complaints++;
	log_warn(server->log, "%s", text);
}

/* @return false when there is nothing more to serve */
static bool handle(struct broker_server *server, const uint8_t *data, size_t len)
{
	struct broker_request request = {0};
	struct broker_answer say = {0};
	int fd = -1;

	int error = broker_request_read(data, len, &request);
	if (error) {
		complain(server, "the helper got a request that makes no sense");
		(void)fault_set(&say.fault, error, "E-PRIV-6", NULL, "that is no request");
	} else {
		error = broker_rules_judge(&server->rules, &request, &say.fault);
		if (error)
			complain(server, say.fault.text);
		else
			error = serve(server, &request, &fd, &say.value, &say.fault);
	}
	say.sequence = request.sequence;
	say.fault.err = error;
	bool sent = answer(server, &say, fd);
	if (fd >= 0)
		close(fd);
	return sent && !server->ending;
}

void broker_server_run(struct broker_server *server)
{
	/* One byte more than a request, so that a longer one shows. Descriptors that come along are closed by the
	   kernel: there is no room for them. */
	uint8_t data[BROKER_REQUEST_BYTES + 1];

	for (;;) {
		struct pollfd fds[] = {{.fd = server->fd, .events = POLLIN},
			{.fd = broker_server_watch_fd(server), .events = POLLIN}};
		if (poll(fds, 2, broker_server_wait_ms(server)) < 0)
			continue; /* EINTR: nothing else is possible */
		if (fds[1].revents)
			broker_server_look(server);
		broker_server_put_back(server);
		if (!fds[0].revents)
			continue;
		ssize_t len = recv(server->fd, data, sizeof(data), 0);
		if (len < 0 && errno == EINTR)
			continue;
		if (len <= 0 || !handle(server, data, (size_t)len))
			break;
	}
	if (!server->ending) {
		log_warn(server->log,
			"the worker ended without a word; a system call that it may not make would "
			"stand in the kernel's log");
		control_socket_remove(&server->control);
	}
	clean_up(server);
}
