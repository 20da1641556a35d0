/*
 * Datagrams of one length to one address may travel through the kernel as one piece (UDP_SEGMENT on the way out, UDP_GRO on
 * the way in): the cost of a system's network stack is then paid once for up to 46 of them. A run ends at another
 * address, or behind a shorter datagram. What is received may hold more datagrams than the library takes at a time: the
 * rest waits in the buffers for the next call.
 */
#include "tests/bench/udp_link.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	PIECE_BYTES = 65536,
	PIECES = 16,		    /* received at once */
	SEGMENTS_BYTES_MAX = 65000, /* of one run, below what an IP packet holds */
	CONTROL_BYTES = 64,
};

union control {
	struct cmsghdr align;
	uint8_t bytes[CONTROL_BYTES];
};

struct udp_buffers {
	struct mmsghdr messages[PIECES];
	struct iovec pieces[PIECES];
	struct sockaddr_in names[PIECES];
	union control controls[PIECES];
	struct kcpvpn_datagram batch[KCPVPN_BATCH_MAX];
	const struct udp_link *link; /* whose datagrams are left */
	int count;		     /* pieces received */
	int at;			     /* the next one to take apart */
	size_t offset;		     /* and where in it */
	uint8_t bytes[PIECES][PIECE_BYTES];
};

_Noreturn static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

struct udp_buffers *udp_buffers_new(void)
{
	struct udp_buffers *b = calloc(1, sizeof(*b));

	if (!b)
		fail("buffers");
	for (int i = 0; i < PIECES; i++) {
		b->pieces[i] = (struct iovec){b->bytes[i], PIECE_BYTES};
		b->messages[i].msg_hdr = (struct msghdr){
			.msg_name = &b->names[i],
			.msg_iov = &b->pieces[i],
			.msg_iovlen = 1,
			.msg_control = b->controls[i].bytes,
		};
	}
	return b;
}

void udp_buffers_free(struct udp_buffers *buffers)
{
	free(buffers);
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

struct outgoing {
	struct mmsghdr messages[KCPVPN_BATCH_MAX];
	struct iovec pieces[KCPVPN_BATCH_MAX];
	struct sockaddr_storage names[KCPVPN_BATCH_MAX];
	union control controls[KCPVPN_BATCH_MAX];
};

static void set_segment_bytes(struct msghdr *message, union control *control, size_t bytes)
{
	uint16_t segment_bytes = (uint16_t)bytes;

	message->msg_control = control->bytes;
	message->msg_controllen = CMSG_SPACE(sizeof(segment_bytes));
	struct cmsghdr *header = CMSG_FIRSTHDR(message);
	header->cmsg_level = SOL_UDP;
	header->cmsg_type = UDP_SEGMENT;
	header->cmsg_len = CMSG_LEN(sizeof(segment_bytes));
	memcpy(CMSG_DATA(header), &segment_bytes, sizeof(segment_bytes));
}

/* How many datagrams from the first on can go as one. */
static size_t run_length(const struct kcpvpn_datagram *batch, size_t count)
{
	size_t total = batch[0].len;
	size_t n = 1;

	while (n < count && batch[n - 1].len == batch[0].len && batch[n].len <= batch[0].len &&
		total + batch[n].len <= SEGMENTS_BYTES_MAX &&
		kcpvpn_endpoint_equal(&batch[n].remote, &batch[0].remote))
		total += batch[n++].len;
	return n;
}

static void send_batch(
	struct udp_link *link, const struct kcpvpn_datagram *batch, size_t count, bool segment)
{
	struct outgoing out;
	unsigned messages = 0;

	for (size_t i = 0, n; i < count; i += n) {
		struct msghdr *message = &out.messages[messages].msg_hdr;
		n = segment ? run_length(batch + i, count - i) : 1;
		for (size_t k = i; k < i + n; k++)
			out.pieces[k] = (struct iovec){batch[k].data, batch[k].len};
		*message = (struct msghdr){.msg_iov = &out.pieces[i], .msg_iovlen = n};
		if (!link->connected) {
			message->msg_name = &out.names[i];
			message->msg_namelen = (socklen_t)kcpvpn_endpoint_to_sockaddr(
				&batch[i].remote, false, &out.names[i]);
		}
		if (n > 1)
			set_segment_bytes(message, &out.controls[i], batch[i].len);
		messages++;
	}
	for (unsigned sent = 0; sent < messages;) {
		int n = sendmmsg(link->fd, out.messages + sent, messages - sent, 0);
		if (n > 0) {
			sent += (unsigned)n;
		} else if (errno != EINTR) {
			link->lost += out.messages[sent].msg_hdr.msg_iovlen;
			sent++;
		}
	}
}

static void send_segmented(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	send_batch(ctx, batch, count, true);
}

static void send_single(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	send_batch(ctx, batch, count, false);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

void udp_link_open(
	struct udp_link *link, const struct kcpvpn_endpoint *remote, int buffer_bytes, bool segment)
{
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(here);
	int one = 1;

	*link = (struct udp_link){.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
	if (link->fd < 0)
		fail("socket");
	if (buffer_bytes > 0)
		(void)setsockopt(
			link->fd, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof(buffer_bytes));
	if (buffer_bytes > 0)
		(void)setsockopt(
			link->fd, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof(buffer_bytes));
	if (segment && setsockopt(link->fd, SOL_UDP, UDP_GRO, &one, sizeof(one)) < 0)
		segment = false; /* an old kernel */
	if (bind(link->fd, (const struct sockaddr *)&here, sizeof(here)) < 0 ||
		getsockname(link->fd, (struct sockaddr *)&here, &len) < 0)
		fail("bind");
	(void)kcpvpn_endpoint_from_sockaddr((const struct sockaddr *)&here, len, &link->local);
	if (remote) {
		struct sockaddr_storage sa;
		len = (socklen_t)kcpvpn_endpoint_to_sockaddr(remote, false, &sa);
		if (connect(link->fd, (const struct sockaddr *)&sa, len) < 0)
			fail("connect");
		link->connected = true;
	}
	link->port = (struct kcpvpn_udp_port){segment ? send_segmented : send_single, link};
}

void udp_link_close(struct udp_link *link)
{
	(void)close(link->fd);
	link->fd = -1;
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

static bool refill(struct udp_link *link, struct udp_buffers *b)
{
	for (int i = 0; i < PIECES; i++) {
		b->messages[i].msg_hdr.msg_namelen = sizeof(b->names[i]);
		b->messages[i].msg_hdr.msg_controllen = sizeof(b->controls[i]);
	}
	b->at = 0;
	b->offset = 0;
	b->link = link;
	do
		b->count = recvmmsg(link->fd, b->messages, PIECES, MSG_DONTWAIT, NULL);
	while (b->count < 0 && errno == EINTR);
	return b->count > 0;
}

/* The length of the datagrams that a piece consists of; the last may be shorter. */
static size_t segment_bytes(struct msghdr *message, size_t whole)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
			int bytes;
			memcpy(&bytes, CMSG_DATA(c), sizeof(bytes));
			return bytes > 0 ? (size_t)bytes : whole;
		}
	}
	return whole;
}

size_t udp_link_receive(struct udp_link *link, struct udp_buffers *buffers,
	const struct kcpvpn_datagram **ret_batch)
{
	struct udp_buffers *b = buffers;
	size_t n = 0;

	if ((b->link != link || b->at >= b->count) && !refill(link, b))
		return 0;
	while (b->at < b->count && n < KCPVPN_BATCH_MAX) {
		size_t whole = b->messages[b->at].msg_len;
		size_t each = segment_bytes(&b->messages[b->at].msg_hdr, whole);
		struct kcpvpn_endpoint remote;

		(void)kcpvpn_endpoint_from_sockaddr((const struct sockaddr *)&b->names[b->at],
			b->messages[b->at].msg_hdr.msg_namelen, &remote);
		do {
			size_t left = whole - b->offset;
			size_t len = left < each ? left : each;
			b->batch[n++] = (struct kcpvpn_datagram){
				.remote = remote, .data = b->bytes[b->at] + b->offset, .len = len};
			b->offset += len;
		} while (b->offset < whole && n < KCPVPN_BATCH_MAX);
		if (b->offset >= whole) {
			b->at++;
			b->offset = 0;
		}
	}
	*ret_batch = b->batch;
	return n;
}

bool udp_link_drained(const struct udp_link *link, const struct udp_buffers *buffers)
{
	return buffers->link == link && buffers->at >= buffers->count && buffers->count < PIECES;
}
