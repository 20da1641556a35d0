/*
 * Runs on the resolver's thread, one question at a time. Which servers there are is looked up for each name: first in
 * /etc/resolv.conf, and where only a server of the host itself stands there (systemd-resolved's stub, dnsmasq), in the list
 * that systemd-resolved keeps of those behind it. The host's own server would ask on from sockets that nobody marked.
 * Servers of dns.servers stand inside the tunnel: they are left out, and if none is left then, those of the last time are
 * asked, because once the tunnel is up resolv.conf may hold nothing else.
 *
 * Both types are asked for at once, of one server after the other, a second and a half each, twice around.
 */
#include "vpnd/outside_lookup.h"

#include "core/mono.h"
#include "vpnd/dns_message.h"
#include "vpnd/loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	ADDRESSES_MAX = 16,
	WAIT_MS = 1500,
	ROUNDS = 2,
	PORT = 53,
	LINE_BYTES = 1024,
};

/* What a lookup works with: a copy, so that nobody waits for one that hangs. */
struct view {
	int sockets[2];
	struct kcpvpn_endpoint inside[OUTSIDE_SERVERS_MAX * 2];
	size_t inside_count;
	struct kcpvpn_endpoint
		servers[OUTSIDE_SERVERS_MAX]; /* of the last time that there were any */
	size_t server_count;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct view outside = {.sockets = {-1, -1}};

/* ---- files ------------------------------------------------------------------------------------------------------ */

static bool parse_address(const char *text, struct kcpvpn_endpoint *ret_endpoint)
{
	struct kcpvpn_endpoint endpoint = {.family = 4};

	if (inet_pton(AF_INET, text, endpoint.address) != 1) {
		endpoint.family = 6;
		if (inet_pton(AF_INET6, text, endpoint.address) != 1)
			return false;
	}
	*ret_endpoint = endpoint;
	return true;
}

static bool is_loopback(const struct kcpvpn_endpoint *endpoint)
{
	static const uint8_t one[16] = {[15] = 1};

	return endpoint->family == 4 ? endpoint->address[0] == 127
				     : memcmp(endpoint->address, one, sizeof(one)) == 0;
}

size_t outside_servers_read(const char *path, struct kcpvpn_endpoint *ret_list, size_t room)
{
	char line[LINE_BYTES];
	size_t count = 0;
	FILE *file = fopen(path, "re");

	while (file && count < room && fgets(line, sizeof(line), file)) {
		char *rest = NULL;
		const char *word = strtok_r(line, " \t\n", &rest);
		const char *address = word ? strtok_r(NULL, " \t\n", &rest) : NULL;
		if (address && strcmp(word, "nameserver") == 0 &&
			parse_address(address, &ret_list[count]) && !is_loopback(&ret_list[count]))
			ret_list[count++].port = PORT;
	}
	if (file)
		(void)fclose(file);
	return count;
}

size_t outside_hosts_read(
	const char *path, const char *host, struct kcpvpn_endpoint *ret_list, size_t room)
{
	char line[LINE_BYTES];
	size_t count = 0;
	FILE *file = fopen(path, "re");

	while (file && count < room && fgets(line, sizeof(line), file)) {
		char *rest = NULL;
		struct kcpvpn_endpoint endpoint;
		line[strcspn(line, "#")] = '\0';
		const char *word = strtok_r(line, " \t\n", &rest);
		if (!word || !parse_address(word, &endpoint))
			continue;
		while ((word = strtok_r(NULL, " \t\n", &rest)) != NULL) {
			if (strcasecmp(word, host) == 0) {
				ret_list[count++] = endpoint;
				break;
			}
		}
	}
	if (file)
		(void)fclose(file);
	return count;
}

/* ---- servers ---------------------------------------------------------------------------------------------------- */

void outside_lookup_set(
	const int sockets[2], const struct kcpvpn_endpoint *inside, size_t inside_count)
{
	size_t room = sizeof(outside.inside) / sizeof(outside.inside[0]);

	(void)pthread_mutex_lock(&mutex);
	for (int i = 0; i < 2; i++) {
		if (outside.sockets[i] >= 0)
			close(outside.sockets[i]);
		outside.sockets[i] = sockets[i];
	}
	outside.inside_count = inside_count < room ? inside_count : room;
	for (size_t i = 0; i < outside.inside_count; i++)
		outside.inside[i] = inside[i];
	(void)pthread_mutex_unlock(&mutex);
}

static bool is_inside(const struct view *view, const struct kcpvpn_endpoint *server)
{
	for (size_t i = 0; i < view->inside_count; i++) {
		if (view->inside[i].family == server->family &&
			memcmp(view->inside[i].address, server->address, sizeof(server->address)) ==
				0)
			return true;
	}
	return false;
}

static void find_servers(struct view *view)
{
	static const char *const FILES[] = {"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"};

	for (size_t f = 0; f < sizeof(FILES) / sizeof(FILES[0]); f++) {
		struct kcpvpn_endpoint list[OUTSIDE_SERVERS_MAX];
		size_t count = outside_servers_read(FILES[f], list, OUTSIDE_SERVERS_MAX), kept = 0;
		for (size_t i = 0; i < count; i++) {
			if (!is_inside(view, &list[i]))
				list[kept++] = list[i];
		}
		if (kept == 0)
			continue;
		memcpy(view->servers, list, kept * sizeof(list[0]));
		view->server_count = kept;
		return;
	}
}

void outside_lookup_learn(void)
{
	(void)pthread_mutex_lock(&mutex);
	find_servers(&outside);
	(void)pthread_mutex_unlock(&mutex);
}

/* ---- asking ----------------------------------------------------------------------------------------------------- */

struct question {
	uint8_t bytes[DNS_QUESTION_BYTES_MAX];
	size_t len;
	int result; /* -EBADMSG while it is open */
	struct kcpvpn_endpoint found[ADDRESSES_MAX];
	size_t count;
};

static bool from_server(
	const struct sockaddr_storage *sa, socklen_t len, const struct kcpvpn_endpoint *server)
{
	struct kcpvpn_endpoint from;

	return kcpvpn_endpoint_from_sockaddr((const struct sockaddr *)sa, len, &from) == 0 &&
	       kcpvpn_endpoint_equal(&from, server);
}

/* Takes what comes from the server until both questions are answered or the time is over. */
static void receive(int fd, const struct kcpvpn_endpoint *server, struct question *questions)
{
	struct mono until = mono_add_us(loop_clock(), WAIT_MS * INT64_C(1000));
	uint8_t bytes[DNS_ANSWER_BYTES_MAX];

	while (questions[0].result == -EBADMSG || questions[1].result == -EBADMSG) {
		struct pollfd readable = {.fd = fd, .events = POLLIN};
		struct sockaddr_storage sa;
		socklen_t sa_len = sizeof(sa);
		int64_t left_us = mono_diff_us(until, loop_clock());
		if (left_us <= 0)
			return;
		(void)poll(&readable, 1, (int)(left_us / 1000) + 1);
		ssize_t len = recvfrom(
			fd, bytes, sizeof(bytes), MSG_DONTWAIT, (struct sockaddr *)&sa, &sa_len);
		if (len < 0 || !from_server(&sa, sa_len, server))
			continue;
		for (int i = 0; i < 2; i++) {
			struct question *q = &questions[i];
			if (q->result == -EBADMSG)
				q->result = dns_answer_read(q->bytes, q->len, bytes, (size_t)len,
					q->found, ADDRESSES_MAX, &q->count);
		}
	}
}

static bool ask(const struct view *view, const struct kcpvpn_endpoint *server, const char *host,
	struct question *questions)
{
	int fd = view->sockets[server->family == 6];
	struct sockaddr_storage sa;
	socklen_t len = (socklen_t)kcpvpn_endpoint_to_sockaddr(server, false, &sa);
	uint16_t ids[2] = {0};

	if (fd < 0 || getrandom(ids, sizeof(ids), 0) != (ssize_t)sizeof(ids))
		return false;
	for (int i = 0; i < 2; i++) {
		struct question *q = &questions[i];
		q->len = dns_question_write(ids[i], host, i == 0 ? DNS_A : DNS_AAAA, q->bytes);
		q->count = 0;
		q->result = -EBADMSG;
		if (q->len == 0 || sendto(fd, q->bytes, q->len, MSG_NOSIGNAL,
					   (const struct sockaddr *)&sa, len) < 0)
			return false;
	}
	receive(fd, server, questions);
	return true;
}

/* @return 0 or an EAI_ number */
static int lookup(
	const struct view *view, const char *host, struct kcpvpn_endpoint *list, size_t *ret_count)
{
	struct question questions[2];
	int result = EAI_AGAIN;

	*ret_count = outside_hosts_read("/etc/hosts", host, list, ADDRESSES_MAX);
	if (*ret_count > 0)
		return 0;
	for (size_t i = 0; i < ROUNDS * view->server_count; i++) {
		if (!ask(view, &view->servers[i % view->server_count], host, questions))
			continue;
		for (int k = 0; k < 2; k++) {
			const struct question *q = &questions[k];
			if (q->result == -ENOENT || (q->result == 0 && q->count == 0))
				result = EAI_NONAME;
			for (size_t n = 0; q->result == 0 && n < q->count; n++) {
				if (*ret_count < ADDRESSES_MAX)
					list[(*ret_count)++] = q->found[n];
			}
		}
		if (*ret_count > 0)
			return 0;
		if (questions[0].result != -EBADMSG && questions[0].result != -EAGAIN)
			return result;
	}
	return result;
}

/* As the C library would have made it, which will free it. */
static int append(const struct kcpvpn_endpoint *endpoint, const struct addrinfo *hints,
	struct addrinfo **tail)
{
	struct addrinfo numeric = *hints;
	char text[INET6_ADDRSTRLEN];

	numeric.ai_flags = AI_NUMERICHOST;
	if (!inet_ntop(endpoint->family == 4 ? AF_INET : AF_INET6, endpoint->address, text,
		    sizeof(text)))
		return EAI_FAIL;
	return getaddrinfo(text, NULL, &numeric, tail);
}

int outside_lookup(const char *host, const char *service, const struct addrinfo *hints,
	struct addrinfo **ret_list)
{
	struct kcpvpn_endpoint list[ADDRESSES_MAX];
	struct addrinfo *first = NULL, **tail = &first;
	size_t count = 0;

	(void)service;
	(void)pthread_mutex_lock(&mutex);
	find_servers(&outside);
	struct view view = outside;
	for (int i = 0; i < 2; i++)
		view.sockets[i] =
			outside.sockets[i] < 0 ? -1 : fcntl(outside.sockets[i], F_DUPFD_CLOEXEC, 0);
	(void)pthread_mutex_unlock(&mutex);
	int error = lookup(&view, host, list, &count);
	for (int i = 0; i < 2; i++) {
		if (view.sockets[i] >= 0)
			close(view.sockets[i]);
	}
	for (size_t i = 0; !error && i < count; i++) {
		error = append(&list[i], hints, tail);
		while (!error && *tail)
			tail = &(*tail)->ai_next;
	}
	if (error && first) {
		freeaddrinfo(first);
		return error;
	}
	*ret_list = first;
	return error;
}
