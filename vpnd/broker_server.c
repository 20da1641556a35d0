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
#include "vpnd/udp_socket.h"

#include <errno.h>
#include <linux/memfd.h>
#include <poll.h>
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

static int change_route(struct broker_server *server, const struct broker_request *request,
	enum host_route_verb verb, struct fault *fault)
{
	struct netlink_route route = {
		.destination = request->prefix,
		.ifindex = server->ifindex,
		.table = request->table,
		.metric = request->metric,
		.protocol = request->protocol,
	};

	return server->host.ops->route(server->host.ctx, &route, verb, fault);
}

static int change_address(struct broker_server *server, const struct broker_request *request,
	bool add, struct fault *fault)
{
	return server->host.ops->address(
		server->host.ctx, server->ifindex, &request->prefix, add, fault);
}

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

static int serve(struct broker_server *server, const struct broker_request *request, int *ret_fd,
	struct fault *fault)
{
	const struct host_net *host = &server->host;

	switch (request->verb) {
	case BROKER_LINK:
		return host->ops->set_up(host->ctx, server->ifindex, request->value != 0, fault);
	case BROKER_MTU:
		return host->ops->set_mtu(host->ctx, server->ifindex, request->value, fault);
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
		return udp_socket_prepare(&request->endpoint, request->value != 0, ret_fd, fault);
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
			error = serve(server, &request, &fd, &say.fault);
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
}
