/*
 * One set of arrays for recvmmsg() and sendmmsg() serves all sockets of a thread (struct udp_batch), so that a socket a
 * peer costs no memory here. An IPv6 socket that serves both families speaks of IPv4 as mapped addresses; endpoints
 * never do: the conversion happens at this edge.
 *
 * The own address that a datagram came to travels with it (IP_PKTINFO, IPV6_RECVPKTINFO), and answers leave from it:
 * on a host with many addresses the peer would not recognise another.
 *
 * Errors. A pending ICMP error is reported by whatever call comes next and says nothing about that call's datagrams:
 * the call is repeated. sendmmsg() stops in front of the datagram it failed at: the error is counted, the datagram
 * left out, the rest goes on. Every repetition either drops a datagram or uses up a bounded number of attempts.
 *
 * Left for later, and laid out for: UDP_SEGMENT and UDP_GRO are control messages of the same arrays.
 */
#include "vpnd/udp_socket.h"

#include "vpnd/fault.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	CONTROL_BYTES = 64,	/* one pktinfo with its header: 40 bytes at most */
	BUFFER_ALIGN = 64,	/* a cache line */
	PENDING_ERRORS_MAX = 4, /* errors of earlier datagrams that one call clears away */
};
_Static_assert(CONTROL_BYTES >= CMSG_SPACE(sizeof(struct in6_pktinfo)), "room for pktinfo");

union control {
	struct cmsghdr align;
	uint8_t bytes[CONTROL_BYTES];
};

/* Of the process: who may ask for large buffers and low ports. */
static struct {
	udp_socket_open_fn open;
	void *ctx;
} opener;

struct udp_batch {
	size_t datagram_bytes;
	size_t head_bytes;
	size_t stride_bytes; /* from one buffer to the next: head, datagram, tail */
	uint8_t *buffers;    /* KCPVPN_BATCH_MAX of stride_bytes, for receiving */
	struct kcpvpn_datagram received[KCPVPN_BATCH_MAX];
	struct mmsghdr messages[KCPVPN_BATCH_MAX];
	struct iovec pieces[KCPVPN_BATCH_MAX];
	struct sockaddr_storage names[KCPVPN_BATCH_MAX];
	union control controls[KCPVPN_BATCH_MAX];
};

struct udp_batch *udp_batch_new(size_t datagram_bytes, size_t head_bytes, size_t tail_bytes)
{
	struct udp_batch *batch = calloc(1, sizeof(*batch));

	if (!batch)
		return NULL;
	batch->datagram_bytes = datagram_bytes;
	batch->head_bytes = head_bytes;
	batch->stride_bytes = (head_bytes + datagram_bytes + tail_bytes + BUFFER_ALIGN - 1) &
			      ~(size_t)(BUFFER_ALIGN - 1);
	batch->buffers = calloc(KCPVPN_BATCH_MAX, batch->stride_bytes);
	if (!batch->buffers) {
		free(batch);
		return NULL;
	}
	return batch;
}

void udp_batch_free(struct udp_batch *batch)
{
	if (!batch)
		return;
	free(batch->buffers);
	free(batch);
}

void udp_socket_options_init(struct udp_socket_options *options)
{
	*options = (struct udp_socket_options){.local = {.family = 6}};
}

static enum udp_error classify(int err)
{
	switch (err) {
	case EAGAIN:
	case ENOBUFS:
	case ENOMEM:
		return UDP_ERROR_FULL;
	case ECONNREFUSED:
		return UDP_ERROR_REFUSED;
	case ENETUNREACH:
	case EHOSTUNREACH:
	case ENETDOWN:
	case EHOSTDOWN:
	case ENONET:
	case ENOPROTOOPT: /* ICMP "protocol unreachable" */
		return UDP_ERROR_UNREACHABLE;
	case EMSGSIZE:
		return UDP_ERROR_TOO_BIG;
	case EPERM:
	case EACCES:
		return UDP_ERROR_FORBIDDEN;
	case EADDRNOTAVAIL:
	case EAFNOSUPPORT:
	case EINVAL:
	case ENODEV:
		return UDP_ERROR_ADDRESS;
	default:
		return UDP_ERROR_OTHER;
	}
}

const char *udp_error_str(enum udp_error error)
{
	switch (error) {
	case UDP_ERROR_FULL:
		return "full";
	case UDP_ERROR_REFUSED:
		return "refused";
	case UDP_ERROR_UNREACHABLE:
		return "unreachable";
	case UDP_ERROR_TOO_BIG:
		return "too_big";
	case UDP_ERROR_FORBIDDEN:
		return "forbidden";
	case UDP_ERROR_ADDRESS:
		return "address";
	case UDP_ERROR_OTHER:
	case UDP_ERRORS:
		break;
	}
	return "other";
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static bool unspecified(const struct kcpvpn_endpoint *endpoint)
{
	static const uint8_t zero[sizeof(endpoint->address)];
	return memcmp(endpoint->address, zero, sizeof(zero)) == 0;
}

static int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* The forced form needs CAP_NET_ADMIN; the plain one is cut at the host's limit. Neither is worth failing for. */
static void set_buffers(int fd)
{
	if (set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, UDP_SOCKET_BUFFER_BYTES))
		(void)set_int(fd, SOL_SOCKET, SO_RCVBUF, UDP_SOCKET_BUFFER_BYTES);
	if (set_int(fd, SOL_SOCKET, SO_SNDBUFFORCE, UDP_SOCKET_BUFFER_BYTES))
		(void)set_int(fd, SOL_SOCKET, SO_SNDBUF, UDP_SOCKET_BUFFER_BYTES);
}

static int set_options(const struct udp_socket *socket, const struct udp_socket_options *options)
{
	int fd = socket->fd;
	int err = 0;

	if (options->fwmark)
		err = set_int(fd, SOL_SOCKET, SO_MARK, (int)options->fwmark);
	/* An IPv6 socket obeys the IPv4 options for mapped addresses. */
	if (!err && options->dscp)
		err = set_int(fd, IPPROTO_IP, IP_TOS, options->dscp << 2);
	if (!err && options->dscp && socket->v6)
		err = set_int(fd, IPPROTO_IPV6, IPV6_TCLASS, options->dscp << 2);
	if (!err && options->fragmenting == UDP_FRAGMENTING_NEVER) {
		err = set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
		if (!err && socket->v6)
			err = set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
	}
	if (!err && socket->v6)
		err = set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	else if (!err)
		err = set_int(fd, IPPROTO_IP, IP_PKTINFO, 1);
	return err;
}

static int open_failed(int err, const struct kcpvpn_endpoint *local, struct fault *fault)
{
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];

	kcpvpn_endpoint_format(local, text);
	switch (-err) {
	case EADDRINUSE:
		return fault_set(fault, err, "E-UDP-1",
			"ss -lunp shows which; is vpnd running already? otherwise choose another "
			"port",
			"cannot listen on %s: another program uses the port", text);
	case EADDRNOTAVAIL:
		return fault_set(fault, err, "E-UDP-2",
			"listen on an address of this host, or on [::] for all",
			"cannot listen on %s: the host does not have this address", text);
	case EACCES:
	case EPERM:
		return fault_set(fault, err, "E-UDP-3",
			"start as root, or choose a port from 1024 up and no fwmark",
			"cannot open a UDP socket on %s: %s", text, strerror(-err));
	case EAFNOSUPPORT:
		return fault_set(fault, err, "E-UDP-4", "use an IPv4 address",
			"cannot listen on %s: this host has no IPv6", text);
	default:
		return fault_set(fault, err, "E-UDP-5", NULL, "cannot open a UDP socket on %s: %s",
			text, strerror(-err));
	}
}

int udp_socket_prepare(const struct kcpvpn_endpoint *local, int *ret_fd, struct fault *fault)
{
	bool v6 = local->family == 6;
	struct sockaddr_storage sa;
	int err = 0;
	int fd = socket(
		v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);

	if (fd < 0)
		return open_failed(-errno, local, fault);
	set_buffers(fd);
	if (local->port && v6)
		err = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, !unspecified(local));
	if (!err && local->port) {
		socklen_t len = (socklen_t)kcpvpn_endpoint_to_sockaddr(local, false, &sa);
		err = bind(fd, (const struct sockaddr *)&sa, len) < 0 ? -errno : 0;
	}
	if (err) {
		close(fd);
		return open_failed(err, local, fault);
	}
	*ret_fd = fd;
	return 0;
}

/*
 * The door that was set first; what it cannot do is tried here, where it may go with smaller buffers. A descriptor
 * that comes for a port is bound to it. Why a low port was refused is known behind that door only: tried here, it would
 * fail for want of rights, whatever the reason; that is the reason only if nobody is behind it.
 */
static int new_descriptor(const struct kcpvpn_endpoint *local)
{
	struct kcpvpn_endpoint family = {.family = local->family};
	bool low = local->port > 0 && local->port < IPPORT_RESERVED;
	int fd;

	int err = opener.open ? opener.open(opener.ctx, local, &fd) : -EPIPE;
	if (!err)
		return fd;
	if (low && err != -EPIPE && err != -ETIMEDOUT)
		return err;
	err = udp_socket_prepare(&family, &fd, NULL);
	return err ? err : fd;
}

void udp_socket_set_opener(udp_socket_open_fn open, void *ctx)
{
	opener.open = open;
	opener.ctx = ctx;
}

static bool is_bound(const struct udp_socket *socket)
{
	struct kcpvpn_endpoint own;

	return udp_socket_local(socket, &own) == 0 && own.port != 0;
}

static int bind_to(struct udp_socket *socket, const struct kcpvpn_endpoint *local)
{
	struct sockaddr_storage sa;
	socklen_t len = (socklen_t)kcpvpn_endpoint_to_sockaddr(local, false, &sa);
	struct kcpvpn_endpoint own;

	if (!is_bound(socket) && bind(socket->fd, (const struct sockaddr *)&sa, len) < 0)
		return -errno;
	int err = udp_socket_local(socket, &own);
	if (!err)
		socket->port = own.port;
	return err;
}

static int connect_to(struct udp_socket *socket, const struct kcpvpn_endpoint *remote)
{
	struct sockaddr_storage sa;
	socklen_t len = (socklen_t)kcpvpn_endpoint_to_sockaddr(remote, socket->v6, &sa);

	if (connect(socket->fd, (const struct sockaddr *)&sa, len) < 0)
		return -errno;
	socket->connected = true;
	socket->remote = *remote;
	return 0;
}

static void send_by_port(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	udp_socket_send(ctx, batch, count);
}

int udp_socket_open(struct udp_socket *socket, const struct udp_socket_options *options,
	struct udp_batch *batch, struct fault *fault)
{
	struct kcpvpn_endpoint local = options->local;
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];
	int err;

	*socket = (struct udp_socket){
		.fd = -1,
		.batch = batch,
		.on_too_big = options->on_too_big,
		.ctx = options->ctx,
		.kcpvpn = {.send = send_by_port, .ctx = socket},
	};
	/* A connected socket has one family only: then IPv4 works on hosts without IPv6, too. */
	if (options->remote.family && unspecified(&local))
		local.family = options->remote.family;
	if (local.family != 4 && local.family != 6)
		return open_failed(-EINVAL, &local, fault);

	socket->v6 = local.family == 6;
	socket->fd = new_descriptor(&local);
	if (socket->fd == -EAFNOSUPPORT && socket->v6 && unspecified(&local) &&
		!options->remote.family) {
		socket->v6 = false;
		socket->ipv4_only = true;
		local.family = 4;
		socket->fd = new_descriptor(&local);
	}
	if (socket->fd < 0) {
		err = socket->fd;
		socket->fd = -1;
		return open_failed(err, &local, fault);
	}
	err = 0;
	if (socket->v6 && !is_bound(socket))
		err = set_int(socket->fd, IPPROTO_IPV6, IPV6_V6ONLY,
			!unspecified(&local) || options->remote.family == 6);
	if (!err)
		err = set_options(socket, options);
	if (!err)
		err = bind_to(socket, &local);
	if (err) {
		(void)open_failed(err, &local, fault);
		goto close_fd;
	}
	if (options->remote.family) {
		err = connect_to(socket, &options->remote);
		if (err) {
			(void)fault_set(fault, err, "E-UDP-6", "ip route get shows the route",
				"cannot reach %s: %s",
				kcpvpn_endpoint_format(&options->remote, text), strerror(-err));
			goto close_fd;
		}
	}
	return 0;
close_fd:
	udp_socket_close(socket);
	return err;
}

void udp_socket_close(struct udp_socket *socket)
{
	if (socket->batch && socket->fd >= 0)
		close(socket->fd);
	socket->fd = -1;
}

int udp_socket_local(const struct udp_socket *socket, struct kcpvpn_endpoint *ret_local)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	if (getsockname(socket->fd, (struct sockaddr *)&sa, &len) < 0)
		return -errno;
	return kcpvpn_endpoint_from_sockaddr((const struct sockaddr *)&sa, len, ret_local);
}

/* ---- receiving -------------------------------------------------------------------------------------------------- */

/* The own address out of the control messages; family 0 if the kernel did not tell. */
static struct kcpvpn_endpoint local_of(const struct udp_socket *socket, struct msghdr *message)
{
	struct kcpvpn_endpoint local = {0};

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO &&
			c->cmsg_len >= CMSG_LEN(sizeof(struct in_pktinfo))) {
			struct in_pktinfo info;
			memcpy(&info, CMSG_DATA(c), sizeof(info));
			struct sockaddr_in in = {
				.sin_family = AF_INET,
				.sin_port = htons(socket->port),
				.sin_addr = info.ipi_spec_dst,
			};
			(void)kcpvpn_endpoint_from_sockaddr(
				(const struct sockaddr *)&in, sizeof(in), &local);
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO &&
			   c->cmsg_len >= CMSG_LEN(sizeof(struct in6_pktinfo))) {
			struct in6_pktinfo info;
			memcpy(&info, CMSG_DATA(c), sizeof(info));
			struct sockaddr_in6 in6 = {
				.sin6_family = AF_INET6,
				.sin6_port = htons(socket->port),
				.sin6_addr = info.ipi6_addr,
			};
			if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
				in6.sin6_scope_id = info.ipi6_ifindex;
			(void)kcpvpn_endpoint_from_sockaddr(
				(const struct sockaddr *)&in6, sizeof(in6), &local);
		}
	}
	return local;
}

static void prepare_receive(struct udp_batch *batch)
{
	for (size_t i = 0; i < KCPVPN_BATCH_MAX; i++) {
		batch->pieces[i] =
			(struct iovec){batch->buffers + i * batch->stride_bytes + batch->head_bytes,
				batch->datagram_bytes};
		batch->messages[i].msg_hdr = (struct msghdr){
			.msg_name = &batch->names[i],
			.msg_namelen = sizeof(batch->names[i]),
			.msg_iov = &batch->pieces[i],
			.msg_iovlen = 1,
			.msg_control = batch->controls[i].bytes,
			.msg_controllen = sizeof(batch->controls[i].bytes),
		};
	}
}

size_t udp_socket_receive(struct udp_socket *socket, const struct kcpvpn_datagram **ret_batch)
{
	struct udp_batch *batch = socket->batch;
	size_t good = 0;
	int got = -1;

	*ret_batch = batch->received;
	prepare_receive(batch);
	for (int attempt = 0; attempt <= PENDING_ERRORS_MAX; attempt++) {
		got = recvmmsg(socket->fd, batch->messages, KCPVPN_BATCH_MAX, MSG_DONTWAIT, NULL);
		if (got >= 0 || errno == EAGAIN)
			break;
		if (errno != EINTR)
			socket->counters.rx_errors[classify(errno)]++;
	}
	for (int i = 0; i < got; i++) {
		struct msghdr *message = &batch->messages[i].msg_hdr;
		struct kcpvpn_datagram *datagram = &batch->received[good];

		if (message->msg_flags & MSG_TRUNC) {
			socket->counters.rx_cut++;
			continue;
		}
		if (kcpvpn_endpoint_from_sockaddr(
			    message->msg_name, message->msg_namelen, &datagram->remote)) {
			socket->counters.rx_strange++;
			continue;
		}
		datagram->local = local_of(socket, message);
		datagram->data = batch->pieces[i].iov_base;
		datagram->len = batch->messages[i].msg_len;
		socket->counters.rx_datagrams++;
		socket->counters.rx_bytes += datagram->len;
		good++;
	}
	return good;
}

/* ---- sending ---------------------------------------------------------------------------------------------------- */

/* Writes the own address a datagram leaves from. @return bytes of control messages, 0 = the kernel chooses */
static size_t write_local(const struct udp_socket *socket, const struct kcpvpn_endpoint *local,
	union control *control)
{
	struct cmsghdr *c = &control->align;
	struct sockaddr_storage sa;

	if (!local->family || unspecified(local) || (local->family == 6 && !socket->v6))
		return 0;
	(void)kcpvpn_endpoint_to_sockaddr(local, socket->v6, &sa);
	memset(control, 0, sizeof(*control));
	if (socket->v6) {
		struct in6_pktinfo info = {.ipi6_ifindex = local->scope_id};
		info.ipi6_addr = ((const struct sockaddr_in6 *)&sa)->sin6_addr;
		c->cmsg_level = IPPROTO_IPV6;
		c->cmsg_type = IPV6_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		return CMSG_SPACE(sizeof(info));
	}
	struct in_pktinfo info = {.ipi_spec_dst = ((const struct sockaddr_in *)&sa)->sin_addr};
	c->cmsg_level = IPPROTO_IP;
	c->cmsg_type = IP_PKTINFO;
	c->cmsg_len = CMSG_LEN(sizeof(info));
	memcpy(CMSG_DATA(c), &info, sizeof(info));
	return CMSG_SPACE(sizeof(info));
}

static void prepare_send(
	struct udp_socket *socket, size_t i, const struct kcpvpn_datagram *datagram)
{
	struct udp_batch *batch = socket->batch;
	struct msghdr *message = &batch->messages[i].msg_hdr;

	batch->pieces[i] = (struct iovec){datagram->data, datagram->len};
	*message = (struct msghdr){.msg_iov = &batch->pieces[i], .msg_iovlen = 1};
	if (socket->connected)
		return;
	message->msg_name = &batch->names[i];
	message->msg_namelen = (socklen_t)kcpvpn_endpoint_to_sockaddr(
		&datagram->remote, socket->v6, &batch->names[i]);
	message->msg_controllen = write_local(socket, &datagram->local, &batch->controls[i]);
	if (message->msg_controllen)
		message->msg_control = batch->controls[i].bytes;
}

/* True if the reason may be an own address that the host no longer has; which number it is depends on the kernel. */
static bool maybe_gone(enum udp_error error)
{
	return error == UDP_ERROR_ADDRESS || error == UDP_ERROR_UNREACHABLE;
}

/* True if the error may be about an earlier datagram, so that the same one is worth another attempt. */
static bool maybe_pending(enum udp_error error)
{
	return error == UDP_ERROR_REFUSED || error == UDP_ERROR_UNREACHABLE ||
	       error == UDP_ERROR_TOO_BIG;
}

void udp_socket_send(
	struct udp_socket *socket, const struct kcpvpn_datagram *datagrams, size_t count)
{
	struct udp_batch *batch = socket->batch;
	size_t first = 0;
	int retried = 0;
	bool repeated = false; /* the datagram at `first` was tried before */

	assert(count <= KCPVPN_BATCH_MAX);
	if (socket->fd < 0) {
		socket->counters.tx_errors[UDP_ERROR_OTHER] += count;
		return;
	}
	for (size_t i = 0; i < count; i++)
		prepare_send(socket, i, &datagrams[i]);
	while (first < count) {
		int sent = sendmmsg(socket->fd, batch->messages + first, (unsigned)(count - first),
			MSG_DONTWAIT);
		if (sent > 0) {
			for (size_t end = first + (size_t)sent; first < end; first++) {
				socket->counters.tx_datagrams++;
				socket->counters.tx_bytes += datagrams[first].len;
			}
			repeated = false;
			continue;
		}
		if (sent < 0 && errno == EINTR)
			continue;
		enum udp_error error = sent < 0 ? classify(errno) : UDP_ERROR_OTHER;
		struct msghdr *message = &batch->messages[first].msg_hdr;
		if (sent < 0 && errno == EAGAIN) { /* no room for the others either */
			socket->counters.tx_errors[error] += count - first;
			return;
		}
		if (!repeated && maybe_gone(error) && message->msg_controllen) {
			message->msg_control = NULL;
			message->msg_controllen = 0;
			repeated = true;
			continue;
		}
		if (!repeated && maybe_pending(error) && retried < PENDING_ERRORS_MAX) {
			socket->counters.rx_errors[error]++;
			retried++;
			repeated = true;
			continue;
		}
		socket->counters.tx_errors[error]++;
		if (error == UDP_ERROR_TOO_BIG && socket->on_too_big)
			socket->on_too_big(socket->ctx, &datagrams[first]);
		repeated = false;
		first++;
	}
}
