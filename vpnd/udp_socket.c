/*
 * One set of arrays for recvmmsg() and sendmmsg() serves all sockets of a thread (struct udp_batch), so that a socket a
 * peer costs no memory here. An IPv6 socket that serves both families speaks of IPv4 as mapped addresses; endpoints
 * never do: the conversion happens at this edge.
 *
 * DSCP and ECN are each datagram's own (IP_TOS, IPV6_TCLASS), in both directions; those that differ make no run together, and the
 * kernel puts none together that differ.
 *
 * The own address that a datagram came to travels with it (IP_PKTINFO, IPV6_RECVPKTINFO), and answers leave from it:
 * on a host with many addresses the peer would not recognise another.
 *
 * Errors. A pending ICMP error is reported by whatever call comes next and says nothing about that call's datagrams:
 * the call is repeated. sendmmsg() stops in front of the datagram it failed at: the error is counted, the datagram
 * left out, the rest goes on. Every repetition either drops a datagram or uses up a bounded number of attempts.
 *
 * Runs (udp_offload.h). Datagrams that follow each other to one place are one message with UDP_SEGMENT, and one piece of it as
 * far as they stand back to back in memory: each piece costs the kernel a call. If it is
 * refused, its datagrams go again one by one, so that each has its own fate and a size that does not fit is known by
 * name. If then all of them go, it was the run that was refused (a route through IPsec, a device that cannot count
 * checksums): the next UDP_ALONE_RUNS go one by one at once, and then it is tried again, since routes change.
 *
 * What arrives with UDP_GRO may hold more datagrams than the library takes at a time: the rest waits in the buffers
 * (struct arrived) and must be asked for before the thread sleeps, because the kernel no longer knows of it. Buffers
 * hold the longest run there is, 64 KiB each; how many are filled at once follows what comes, so that runs stay in
 * the cache of the core that opens them and few buffers ever take memory.
 */
#include "vpnd/udp_socket.h"

#include "vpnd/fault.h"
#include "vpnd/udp_group.h"
#include "vpnd/udp_offload.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	CONTROL_BYTES =
		192, /* pktinfo and TOS of both families and a run's length, with their headers */
	BUFFER_ALIGN = 64,	/* a cache line */
	PENDING_ERRORS_MAX = 4, /* errors of earlier datagrams that one call clears away */
	/* Messages received by one call: at first, if only single datagrams came, if runs did. */
	MESSAGES_FIRST = 16,
	MESSAGES_SINGLE = 64,
	MESSAGES_RUNS = 4,
};
_Static_assert(CONTROL_BYTES >= CMSG_SPACE(sizeof(struct in6_pktinfo)) +
					CMSG_SPACE(sizeof(struct in_pktinfo)) +
					2 * CMSG_SPACE(sizeof(int)) + UDP_OFFLOAD_CONTROL_BYTES,
	"room for all that is asked for");

union control {
	struct cmsghdr align;
	uint8_t bytes[CONTROL_BYTES];
};

/* Of the process: who may ask for large buffers and low ports. */
static struct {
	udp_socket_open_fn open;
	void *ctx;
} opener;

/* What the last receive brought and was not handed out yet. */
struct arrived {
	struct udp_socket *owner;
	size_t messages; /* received */
	size_t next;	 /* the one to take apart */
	size_t at;	 /* and where in it */
	size_t segment_bytes;
	struct kcpvpn_endpoint remote, local; /* of all its datagrams, */
	uint8_t tos;			      /* and this */
};

struct udp_batch {
	size_t datagram_bytes;
	bool runs;	  /* may be sent */
	uint8_t *buffers; /* MESSAGES_SINGLE of UDP_OFFLOAD_ROOM_BYTES, for receiving */
	struct arrived arrived;
	struct kcpvpn_datagram received[KCPVPN_BATCH_MAX];
	struct mmsghdr messages[KCPVPN_BATCH_MAX];
	struct iovec pieces[KCPVPN_BATCH_MAX];
	size_t runs_of[KCPVPN_BATCH_MAX]; /* datagrams in each message that is sent */
	struct sockaddr_storage names[KCPVPN_BATCH_MAX];
	union control controls[KCPVPN_BATCH_MAX];
};

struct udp_batch *udp_batch_new(size_t datagram_bytes)
{
	struct udp_batch *batch = calloc(1, sizeof(*batch));

	if (!batch)
		return NULL;
	batch->datagram_bytes = datagram_bytes;
	/* Zeros of this size come from the kernel, which gives memory to a page only when it is written. */
	batch->buffers = calloc(MESSAGES_SINGLE, UDP_OFFLOAD_ROOM_BYTES);
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

void udp_batch_set_runs(struct udp_batch *batch, bool runs)
{
	batch->runs = runs;
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

static uint32_t mark_of(int fd)
{
	uint32_t mark = 0;
	socklen_t len = sizeof(mark);

	return getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &len) < 0 ? 0 : mark;
}

static int set_options(const struct udp_socket *socket, const struct udp_socket_options *options)
{
	int fd = socket->fd;
	int err = 0;

	/* who opened it may have done that already; this process may not be allowed to */
	if (options->fwmark && mark_of(fd) != options->fwmark)
		err = set_int(fd, SOL_SOCKET, SO_MARK, (int)options->fwmark);
	/* An IPv6 socket obeys the IPv4 options for mapped addresses. */
	if (!err && options->fragmenting == UDP_FRAGMENTING_NEVER) {
		err = set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
		if (!err && socket->v6)
			err = set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
	}
	if (!err && socket->v6)
		err = set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	else if (!err)
		err = set_int(fd, IPPROTO_IP, IP_PKTINFO, 1);
	/* Who cannot tell what queues marked goes on without. */
	(void)set_int(fd, IPPROTO_IP, IP_RECVTOS, 1);
	if (socket->v6)
		(void)set_int(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
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

int udp_socket_prepare(
	const struct kcpvpn_endpoint *local, bool joins, int *ret_fd, struct fault *fault)
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
	if (!err && joins)
		err = udp_group_share(fd);
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
 *
 * Who joins another socket has the port that this has, which the host may have chosen: nobody but us needs to know it.
 */
static int new_descriptor(const struct kcpvpn_endpoint *local, bool joins, uint32_t fwmark)
{
	struct kcpvpn_endpoint family = {.family = local->family};
	bool low = local->port > 0 && local->port < IPPORT_RESERVED;
	const struct kcpvpn_endpoint *asked = joins && !low ? &family : local;
	int fd;

	int err = opener.open ? opener.open(opener.ctx, asked, joins, fwmark, &fd) : -EPIPE;
	if (!err)
		return fd;
	if (low && err != -EPIPE && err != -ETIMEDOUT)
		return err;
	err = udp_socket_prepare(&family, joins, &fd, NULL);
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
		.receive_messages = MESSAGES_FIRST,
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
	socket->fd = new_descriptor(&local, options->joins, options->fwmark);
	if (socket->fd == -EAFNOSUPPORT && socket->v6 && unspecified(&local) &&
		!options->remote.family) {
		socket->v6 = false;
		socket->ipv4_only = true;
		local.family = 4;
		socket->fd = new_descriptor(&local, options->joins, options->fwmark);
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
	socket->runs = udp_offload_can_send(socket->fd);
	(void)udp_offload_receive(socket->fd);
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
	if (socket->batch && socket->fd >= 0) {
		/* Also with nothing pending: the next socket that receives looks at the owner. */
		if (socket->batch->arrived.owner == socket)
			socket->batch->arrived = (struct arrived){0};
		close(socket->fd);
	}
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

static void prepare_receive(struct udp_batch *batch, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		batch->pieces[i] = (struct iovec){
			batch->buffers + i * UDP_OFFLOAD_ROOM_BYTES, UDP_OFFLOAD_ROOM_BYTES};
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

/* 0 if the kernel did not tell. */
static uint8_t tos_of(struct msghdr *message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		int value;
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS &&
			c->cmsg_len >= CMSG_LEN(sizeof(uint8_t)))
			return *(const uint8_t *)CMSG_DATA(c);
		if (c->cmsg_level != IPPROTO_IPV6 || c->cmsg_type != IPV6_TCLASS ||
			c->cmsg_len < CMSG_LEN(sizeof(value)))
			continue;
		memcpy(&value, CMSG_DATA(c), sizeof(value));
		return (uint8_t)value;
	}
	return 0;
}

static void fetch(struct udp_socket *socket)
{
	struct udp_batch *batch = socket->batch;
	unsigned asked = socket->receive_messages;
	int got = -1;

	/* Another socket's rest that nobody asked for is lost, as on any network. */
	if (batch->arrived.owner && batch->arrived.owner != socket &&
		udp_socket_pending(batch->arrived.owner))
		batch->arrived.owner->counters.rx_strange++;
	prepare_receive(batch, asked);
	for (int attempt = 0; attempt <= PENDING_ERRORS_MAX; attempt++) {
		got = recvmmsg(socket->fd, batch->messages, asked, MSG_DONTWAIT, NULL);
		if (got >= 0 || errno == EAGAIN)
			break;
		if (errno != EINTR)
			socket->counters.rx_errors[classify(errno)]++;
	}
	batch->arrived = (struct arrived){.owner = socket, .messages = got > 0 ? (size_t)got : 0};
	socket->counters.rx_messages += batch->arrived.messages;
	socket->kernel_has_more = got == (int)asked;
	socket->receive_messages = socket->kernel_has_more ? MESSAGES_SINGLE : MESSAGES_FIRST;
}

/* Judges the message that comes next and finds where to cut it. @return  false if it is to be dropped */
static bool open_message(struct udp_socket *socket)
{
	struct udp_batch *batch = socket->batch;
	struct arrived *arrived = &batch->arrived;
	struct msghdr *message = &batch->messages[arrived->next].msg_hdr;
	size_t len = batch->messages[arrived->next].msg_len;

	if (message->msg_flags & MSG_TRUNC) {
		socket->counters.rx_cut++;
		return false;
	}
	if (len > UDP_OFFLOAD_ROOM_BYTES ||
		!udp_offload_read(message, len, &arrived->segment_bytes) ||
		kcpvpn_endpoint_from_sockaddr(
			message->msg_name, message->msg_namelen, &arrived->remote)) {
		socket->counters.rx_strange++;
		return false;
	}
	if (arrived->segment_bytes < len)
		socket->receive_messages = MESSAGES_RUNS;
	arrived->local = local_of(socket, message);
	arrived->tos = tos_of(message);
	return true;
}

/* Hands out datagrams of the message, at most `room`. @return  how many */
static size_t cut_message(
	struct udp_socket *socket, struct kcpvpn_datagram *to, size_t room, bool *ret_over)
{
	struct udp_batch *batch = socket->batch;
	struct arrived *arrived = &batch->arrived;
	uint8_t *bytes = batch->buffers + arrived->next * UDP_OFFLOAD_ROOM_BYTES;
	size_t len = batch->messages[arrived->next].msg_len;
	size_t n = 0;

	do {
		size_t left = len - arrived->at;
		size_t some = left < arrived->segment_bytes ? left : arrived->segment_bytes;
		if (some > batch->datagram_bytes) {
			socket->counters.rx_cut++;
		} else {
			to[n++] = (struct kcpvpn_datagram){
				.remote = arrived->remote,
				.local = arrived->local,
				.data = bytes + arrived->at,
				.len = some,
				.tos = arrived->tos,
			};
			socket->counters.rx_datagrams++;
			socket->counters.rx_bytes += some;
		}
		arrived->at += some;
	} while (arrived->at < len && n < room);
	*ret_over = arrived->at >= len;
	return n;
}

bool udp_socket_pending(const struct udp_socket *socket)
{
	const struct udp_batch *batch = socket->batch;

	return batch && batch->arrived.owner == socket &&
	       batch->arrived.next < batch->arrived.messages;
}

bool udp_socket_more(const struct udp_socket *socket)
{
	return socket->kernel_has_more || udp_socket_pending(socket);
}

size_t udp_socket_receive(struct udp_socket *socket, const struct kcpvpn_datagram **ret_batch)
{
	struct udp_batch *batch = socket->batch;
	struct arrived *arrived = &batch->arrived;
	size_t good = 0;

	*ret_batch = batch->received;
	if (!udp_socket_pending(socket))
		fetch(socket);
	while (good < KCPVPN_BATCH_MAX && arrived->next < arrived->messages) {
		bool over = arrived->at == 0 && !open_message(socket);
		if (!over)
			good += cut_message(
				socket, batch->received + good, KCPVPN_BATCH_MAX - good, &over);
		if (over) {
			arrived->next++;
			arrived->at = 0;
		}
	}
	return good;
}

/* ---- sending ---------------------------------------------------------------------------------------------------- */

/* Writes the own address a datagram leaves from. @return bytes of control messages, 0 = the kernel chooses */
static size_t write_local(
	const struct udp_socket *socket, const struct kcpvpn_endpoint *local, struct cmsghdr *c)
{
	struct sockaddr_storage sa;

	if (!local->family || unspecified(local) || (local->family == 6 && !socket->v6))
		return 0;
	(void)kcpvpn_endpoint_to_sockaddr(local, socket->v6, &sa);
	if (socket->v6) {
		struct in6_pktinfo info = {.ipi6_ifindex = local->scope_id};
		info.ipi6_addr = ((const struct sockaddr_in6 *)&sa)->sin6_addr;
		memset(c, 0, CMSG_SPACE(sizeof(info)));
		c->cmsg_level = IPPROTO_IPV6;
		c->cmsg_type = IPV6_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		return CMSG_SPACE(sizeof(info));
	}
	struct in_pktinfo info = {.ipi_spec_dst = ((const struct sockaddr_in *)&sa)->sin_addr};
	memset(c, 0, CMSG_SPACE(sizeof(info)));
	c->cmsg_level = IPPROTO_IP;
	c->cmsg_type = IP_PKTINFO;
	c->cmsg_len = CMSG_LEN(sizeof(info));
	memcpy(CMSG_DATA(c), &info, sizeof(info));
	return CMSG_SPACE(sizeof(info));
}

/* Writes the TOS of a datagram, as the family that it leaves by has it. @return bytes of control messages */
static size_t write_tos(const struct kcpvpn_datagram *datagram, uint8_t family, struct cmsghdr *c)
{
	int value = datagram->tos;

	if (value == 0)
		return 0;
	memset(c, 0, CMSG_SPACE(sizeof(value)));
	c->cmsg_level = family == 4 ? IPPROTO_IP : IPPROTO_IPV6;
	c->cmsg_type = family == 4 ? IP_TOS : IPV6_TCLASS;
	c->cmsg_len = CMSG_LEN(sizeof(value));
	memcpy(CMSG_DATA(c), &value, sizeof(value));
	return CMSG_SPACE(sizeof(value));
}

/* Bytes of the control messages without the own address, which stands last. */
static size_t control_without_local(struct msghdr *message)
{
	size_t bytes = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) ||
			(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO))
			break;
		bytes += CMSG_SPACE(c->cmsg_len - CMSG_LEN(0));
	}
	return bytes;
}

/* The memory of datagrams, in as few pieces as it is. @return  how many */
static size_t gather(struct iovec *pieces, const struct kcpvpn_datagram *datagrams, size_t count)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		struct iovec *last = &pieces[n > 0 ? n - 1 : 0];
		if (n > 0 && (uint8_t *)last->iov_base + last->iov_len == datagrams[i].data)
			last->iov_len += datagrams[i].len;
		else
			pieces[n++] = (struct iovec){datagrams[i].data, datagrams[i].len};
	}
	return n;
}

/* Makes message `m` of the `run` datagrams from `first` on. */
static void prepare_message(struct udp_socket *socket, size_t m,
	const struct kcpvpn_datagram *datagrams, size_t first, size_t run)
{
	struct udp_batch *batch = socket->batch;
	struct msghdr *message = &batch->messages[m].msg_hdr;
	union control *control = &batch->controls[m];
	const struct kcpvpn_datagram *datagram = &datagrams[first];
	size_t used = 0;

	batch->runs_of[m] = run;
	*message = (struct msghdr){
		.msg_iov = &batch->pieces[first],
		.msg_iovlen = gather(&batch->pieces[first], datagrams + first, run),
	};
	if (run > 1)
		used = udp_offload_write(&control->align, datagram->len);
	used += write_tos(datagram,
		socket->connected ? socket->remote.family : datagram->remote.family,
		(struct cmsghdr *)(void *)(control->bytes + used));
	if (!socket->connected) {
		message->msg_name = &batch->names[m];
		message->msg_namelen = (socklen_t)kcpvpn_endpoint_to_sockaddr(
			&datagram->remote, socket->v6, &batch->names[m]);
		used += write_local(socket, &datagram->local,
			(struct cmsghdr *)(void *)(control->bytes + used));
	}
	message->msg_controllen = used;
	if (used > 0)
		message->msg_control = control->bytes;
}

/* @return  how many messages the datagrams make */
static size_t prepare_send(struct udp_socket *socket, const struct kcpvpn_datagram *datagrams,
	size_t count, bool alone)
{
	size_t m = 0;

	alone = alone || !socket->runs || !socket->batch->runs;
	for (size_t i = 0, run; i < count; i += run) {
		run = alone ? 1 : udp_offload_run(datagrams + i, count - i);
		if (run > 1 && socket->alone_runs > 0) {
			socket->alone_runs--;
			for (size_t end = i + run - 1; i < end; i++)
				prepare_message(socket, m++, datagrams, i, 1);
			run = 1;
		}
		prepare_message(socket, m++, datagrams, i, run);
	}
	return m;
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

static void count_sent(struct udp_socket *socket, size_t m)
{
	const struct msghdr *message = &socket->batch->messages[m].msg_hdr;

	socket->counters.tx_messages++;
	socket->counters.tx_datagrams += socket->batch->runs_of[m];
	for (size_t i = 0; i < message->msg_iovlen; i++)
		socket->counters.tx_bytes += message->msg_iov[i].iov_len;
}

/*
 * Another attempt at a message that was refused is worth it: without the own address, or because it may be an earlier
 * one that was refused.
 */
static bool try_again(struct udp_socket *socket, size_t m, enum udp_error error, int *attempts)
{
	struct msghdr *message = &socket->batch->messages[m].msg_hdr;
	size_t bare = control_without_local(message);

	if (maybe_gone(error) && message->msg_controllen > bare) {
		message->msg_controllen = bare;
		if (bare == 0)
			message->msg_control = NULL;
		return true;
	}
	if (maybe_pending(error) && *attempts < PENDING_ERRORS_MAX) {
		socket->counters.rx_errors[error]++;
		++*attempts;
		return true;
	}
	return false;
}

/*
 * Sends what was prepared of these datagrams, up to a run that is refused.
 *
 * @return  how many datagrams are done with, sent or lost; the run begins there if it is not all
 */
static size_t send_prepared(struct udp_socket *socket, const struct kcpvpn_datagram *datagrams,
	size_t count, size_t messages, int *attempts, enum udp_error *ret_error)
{
	struct udp_batch *batch = socket->batch;
	size_t done = 0, m = 0;
	bool repeated = false; /* message `m` was tried before */

	while (m < messages) {
		int sent = sendmmsg(
			socket->fd, &batch->messages[m], (unsigned)(messages - m), MSG_DONTWAIT);
		if (sent > 0) {
			for (size_t end = m + (size_t)sent; m < end; m++) {
				count_sent(socket, m);
				done += batch->runs_of[m];
			}
			repeated = false;
			continue;
		}
		if (sent < 0 && errno == EINTR)
			continue;
		enum udp_error error = sent < 0 ? classify(errno) : UDP_ERROR_OTHER;
		if (sent < 0 && errno == EAGAIN) { /* no room for the others either */
			socket->counters.tx_errors[error] += count - done;
			return count;
		}
		if (!repeated && try_again(socket, m, error, attempts)) {
			repeated = true;
			continue;
		}
		if (batch->runs_of[m] > 1) {
			*ret_error = error;
			return done;
		}
		socket->counters.tx_errors[error]++;
		if (error == UDP_ERROR_TOO_BIG && socket->on_too_big)
			socket->on_too_big(socket->ctx, &datagrams[done]);
		repeated = false;
		m++;
		done++;
	}
	return done;
}

void udp_socket_send(
	struct udp_socket *socket, const struct kcpvpn_datagram *datagrams, size_t count)
{
	enum udp_error error = UDP_ERROR_OTHER;
	int attempts = 0;

	assert(count <= KCPVPN_BATCH_MAX);
	if (socket->fd < 0) {
		socket->counters.tx_errors[UDP_ERROR_OTHER] += count;
		return;
	}
	while (count > 0) {
		size_t messages = prepare_send(socket, datagrams, count, false);
		size_t done = send_prepared(socket, datagrams, count, messages, &attempts, &error);
		datagrams += done;
		count -= done;
		if (count == 0)
			return;
		size_t run = udp_offload_run(datagrams, count);
		uint64_t before = socket->counters.tx_datagrams;
		socket->counters.tx_runs_refused++;
		messages = prepare_send(socket, datagrams, run, true);
		(void)send_prepared(socket, datagrams, run, messages, &attempts, &error);
		if (socket->counters.tx_datagrams == before + run && error != UDP_ERROR_REFUSED &&
			error != UDP_ERROR_UNREACHABLE)
			socket->alone_runs = UDP_ALONE_RUNS;
		datagrams += run;
		count -= run;
	}
}
