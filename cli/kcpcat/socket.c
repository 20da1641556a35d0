/*
 * A plain UDP socket with batched system calls. Whatever the kernel refuses to send is lost, as on any network; ICMP
 * errors of a connected socket (nobody listens there yet) are no reason to stop, since KCP repeats.
 */
#include "socket.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	DATAGRAM_BYTES = 2048, /* more than any datagram of this wire (1500) */
	SOCKET_BUFFER_BYTES = 4 << 20,
};

static void send_batch(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	struct udp_socket *s = ctx;
	struct mmsghdr messages[KCPVPN_BATCH_MAX];
	struct iovec pieces[KCPVPN_BATCH_MAX];
	struct sockaddr_storage to[KCPVPN_BATCH_MAX];

	for (size_t i = 0; i < count; i++) {
		pieces[i] = (struct iovec){batch[i].data, batch[i].len};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1};
		if (s->remote.family == 0) {
			size_t len =
				kcpvpn_endpoint_to_sockaddr(&batch[i].remote, s->mapped, &to[i]);
			messages[i].msg_hdr.msg_name = &to[i];
			messages[i].msg_hdr.msg_namelen = (socklen_t)len;
		}
	}
	for (size_t sent = 0; sent < count;) {
		int n = sendmmsg(s->fd, messages + sent, (unsigned)(count - sent), 0);
		if (n > 0) {
			sent += (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		s->send_errors++;
		if (errno !=
			ECONNREFUSED) /* that one told of an earlier datagram: this one was not tried */
			sent++;
	}
}

static int try_open(struct udp_socket *s, const struct addrinfo *ai, bool listen)
{
	int zero = 0, size = SOCKET_BUFFER_BYTES;
	int fd = socket(ai->ai_family, SOCK_DGRAM | SOCK_CLOEXEC | (listen ? SOCK_NONBLOCK : 0), 0);

	if (fd < 0)
		return -1;
	if (ai->ai_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if ((listen ? bind(fd, ai->ai_addr, ai->ai_addrlen)
		    : connect(fd, ai->ai_addr, ai->ai_addrlen)) < 0) {
		int error = errno;
		(void)close(fd);
		errno = error;
		return -1;
	}
	s->fd = fd;
	s->mapped = ai->ai_family == AF_INET6;
	if (!listen)
		(void)kcpvpn_endpoint_from_sockaddr(ai->ai_addr, ai->ai_addrlen, &s->remote);
	return 0;
}

int udp_socket_open(struct udp_socket *s, const char *host, const char *port, bool listen)
{
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_DGRAM,
		.ai_flags = listen ? AI_PASSIVE : 0,
	};
	struct addrinfo *list = NULL;

	*s = (struct udp_socket){.port = {send_batch, s}, .fd = -1};
	if (listen && !host) /* one socket for both families where the machine has IPv6 */
		hints.ai_family = AF_INET6;
	int error = getaddrinfo(host, port, &hints, &list);
	if (error != 0) {
		(void)fprintf(stderr, "kcpcat: cannot resolve %s port %s: %s\n",
			host ? host : "any address", port, gai_strerror(error));
		return -1;
	}
	for (struct addrinfo *ai = list; ai && s->fd < 0; ai = ai->ai_next)
		(void)try_open(s, ai, listen);
	if (s->fd < 0 && listen && !host) {
		freeaddrinfo(list);
		list = NULL;
		hints.ai_family = AF_INET;
		if (getaddrinfo(NULL, port, &hints, &list) == 0 && list)
			(void)try_open(s, list, true);
	}
	if (s->fd < 0)
		(void)fprintf(stderr, "kcpcat: cannot %s %s port %s: %s\n",
			listen ? "listen on" : "dial", host ? host : "any address", port,
			strerror(errno));
	if (list)
		freeaddrinfo(list);
	if (s->fd < 0)
		return -1;
	s->buffer = malloc((size_t)DATAGRAM_BYTES * KCPVPN_BATCH_MAX);
	if (!s->buffer) {
		(void)fprintf(stderr, "kcpcat: out of memory\n");
		udp_socket_close(s);
		return -1;
	}
	return 0;
}

void udp_socket_close(struct udp_socket *s)
{
	if (s->fd >= 0)
		(void)close(s->fd);
	s->fd = -1;
	free(s->buffer);
	s->buffer = NULL;
}

size_t udp_socket_receive(struct udp_socket *s, struct kcpvpn_datagram batch[KCPVPN_BATCH_MAX])
{
	struct mmsghdr messages[KCPVPN_BATCH_MAX];
	struct iovec pieces[KCPVPN_BATCH_MAX];
	struct sockaddr_storage from[KCPVPN_BATCH_MAX];

	for (size_t i = 0; i < KCPVPN_BATCH_MAX; i++) {
		pieces[i] = (struct iovec){s->buffer + i * DATAGRAM_BYTES, DATAGRAM_BYTES};
		messages[i].msg_hdr = (struct msghdr){
			.msg_iov = &pieces[i],
			.msg_iovlen = 1,
			.msg_name = &from[i],
			.msg_namelen = sizeof(from[i]),
		};
	}
	int n = recvmmsg(s->fd, messages, KCPVPN_BATCH_MAX, MSG_DONTWAIT, NULL);
	size_t count = 0;
	for (int i = 0; i < n; i++) {
		struct kcpvpn_datagram *d = &batch[count];
		*d = (struct kcpvpn_datagram){
			.data = pieces[i].iov_base, .len = messages[i].msg_len};
		if (s->remote.family != 0)
			d->remote = s->remote;
		else if (kcpvpn_endpoint_from_sockaddr((struct sockaddr *)&from[i],
				 messages[i].msg_hdr.msg_namelen, &d->remote) < 0)
			continue;
		count++;
	}
	return count;
}
