/*
 * Runs on the resolver's thread, one question at a time. Which servers there are is looked up for each name: first in
 * /etc/resolv.conf, and where only a server of the host itself stands there (systemd-resolved's stub, dnsmasq), in the list
 * that systemd-resolved keeps of those behind it. The host's own server would ask on from sockets that nobody marked.
 * Servers of dns.servers stand inside the tunnel: they are left out, and if none is left then, those of the last time are
 * asked, because once the tunnel is up resolv.conf may hold nothing else.
 *
 * Both types are asked for at once, of one server after the other, a second and a half each, twice around; the second time
 * in the oldest form of a question, for servers that know no other.
 *
 * The marked sockets are for life, as only the helper can mark one; their ports are not: a socket is connected to the server
 * for each question, by which it gets a new port, and disconnected after it, by which it loses that. Who does not see the
 * question has to guess port and number, some thirty bits.
 */
#include "vpnd/outside_lookup.h"

#include "core/mono.h"
#include "vpnd/dns_message.h"
#include "vpnd/loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
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

/* The interface of a link-local address, by name or number. */
static bool parse_scope(const char *text, uint32_t *ret_scope)
{
	char *end;
	unsigned long number = if_nametoindex(text);

	if (number == 0 && *text >= '0' && *text <= '9') {
		number = strtoul(text, &end, 10);
		number = *end || number > INT32_MAX ? 0 : number;
	}
	*ret_scope = (uint32_t)number;
	return number != 0;
}

/* With "%eth0" behind it where it is one of a link. */
static bool parse_address(const char *text, struct kcpvpn_endpoint *ret_endpoint)
{
	struct kcpvpn_endpoint endpoint = {.family = 4};
	char address[INET6_ADDRSTRLEN];
	size_t len = strcspn(text, "%");

	if (len >= sizeof(address))
		return false;
	memcpy(address, text, len);
	address[len] = '\0';
	if (inet_pton(AF_INET, text, endpoint.address) != 1) {
		endpoint.family = 6;
		if (inet_pton(AF_INET6, address, endpoint.address) != 1 ||
			(text[len] && !parse_scope(text + len + 1, &endpoint.scope_id)))
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
	uint8_t bytes[DNS_QUESTION_BYTES_MAX + DNS_ROOM_BYTES];
	size_t len; /* as it was written, without what gives room */
	int result; /* -EBADMSG while it is open */
	struct kcpvpn_endpoint found[ADDRESSES_MAX];
	size_t count;
};

/* Takes what comes from the server until both questions are answered, nobody is there, or the time is over. */
static void receive(int fd, struct question *questions)
{
	struct mono until = mono_add_us(loop_clock(), WAIT_MS * INT64_C(1000));
	uint8_t bytes[DNS_ANSWER_BYTES_MAX];

	while (questions[0].result == -EBADMSG || questions[1].result == -EBADMSG) {
		struct pollfd readable = {.fd = fd, .events = POLLIN};
		int64_t left_us = mono_diff_us(until, loop_clock());
		if (left_us <= 0)
			return;
		(void)poll(&readable, 1, (int)(left_us / 1000) + 1);
		ssize_t len = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (len < 0 && errno == ECONNREFUSED)
			return;
		if (len < 0)
			continue;
		for (int i = 0; i < 2; i++) {
			struct question *q = &questions[i];
			if (q->result == -EBADMSG)
				q->result = dns_answer_read(q->bytes, q->len, bytes, (size_t)len,
					q->found, ADDRESSES_MAX, &q->count);
		}
	}
}

/* @plain  in a form that every server knows. @return whether both were sent */
static bool send_questions(int fd, const char *host, bool plain, struct question *questions)
{
	uint16_t ids[2] = {0};

	if (getrandom(ids, sizeof(ids), 0) != (ssize_t)sizeof(ids))
		return false;
	for (int i = 0; i < 2; i++) {
		struct question *q = &questions[i];
		q->len = dns_question_write(ids[i], host, i == 0 ? DNS_A : DNS_AAAA, q->bytes);
		q->count = 0;
		q->result = -EBADMSG;
		if (q->len == 0)
			return false;
		size_t len = plain ? q->len : dns_question_give_room(q->bytes, q->len);
		if (send(fd, q->bytes, len, MSG_NOSIGNAL) < 0)
			return false;
	}
	return true;
}

static bool ask(const struct view *view, const struct kcpvpn_endpoint *server, const char *host,
	bool plain, struct question *questions)
{
	static const struct sockaddr NOBODY = {.sa_family = AF_UNSPEC};
	int fd = view->sockets[server->family == 6];
	struct sockaddr_storage sa;
	socklen_t len = (socklen_t)kcpvpn_endpoint_to_sockaddr(server, false, &sa);

	if (fd < 0 || connect(fd, (const struct sockaddr *)&sa, len) < 0)
		return false;
	bool sent = send_questions(fd, host, plain, questions);
	if (sent)
		receive(fd, questions);
	(void)connect(fd, &NOBODY, sizeof(NOBODY));
	return sent;
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
		bool plain = i >= view->server_count;
		if (!ask(view, &view->servers[i % view->server_count], host, plain, questions))
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
