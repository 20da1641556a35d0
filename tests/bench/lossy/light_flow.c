/*
 * A call beside a download: a flow of small messages at a steady pace from one network namespace to another, where each
 * is echoed. Says how long messages took one way and there and back, how many never came and how many came late.
 *
 *     light_flow udp|tcp NETNS ADDRESS PORT NETNS ADDRESS PORT SECONDS [BYTES]
 *
 * The first three say where messages go from and to: a socket in that namespace sends to that address. The second three
 * are where they are waited for. The two addresses are the same where a tunnel carries packets, and differ where a
 * forwarder takes connections on one side and makes them on the other.
 *
 * One process holds both ends, so that one clock times both and no clock has to be set: a message carries its number
 * only, and when it left and arrived stands in a table. Over TCP a message counts from when it was due, also while the
 * socket takes nothing: it is the caller who waits. Over UDP it counts from when it was sent, so that a wait for a core
 * is not taken for the link's. "Lost" is what did not come within two seconds after the last one
 * was due.
 *
 * Prints one line of JSON; times in milliseconds, null where nothing came.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	INTERVAL_NS = 20000000, /* 50 messages a second */
	BYTES_DEFAULT = 172,	/* with UDP's and IPv4's headers 200: a call with G.711 */
	BYTES_MIN = 16,		/* run and number */
	BYTES_MAX = 1400,	/* one packet in any tunnel */
	SECONDS_MAX = 86400,	/* a day: 4.3 million messages */
	GRACE_MS = 2000,	/* after the last message */
	CONNECT_MS = 20000,	/* for a TCP connection through a bad link */
	LATE_NS = 150000000,	/* one way: a call does not wait longer */
	NS_A_MS = 1000000,	/* nanoseconds in one */
	NS_A_SECOND = 1000000000,
};

struct message {
	int64_t due_ns, arrived_ns, echoed_ns; /* 0 = not yet */
};

struct stream_in {
	uint8_t part[BYTES_MAX];
	size_t have;
};

struct flow {
	bool tcp;
	size_t bytes, count, due; /* `due` messages should have gone by now */
	uint64_t run;		  /* in each message: an earlier run's stragglers are not ours */
	struct message *messages;
	uint64_t duplicates;

	int near, far, listener;	 /* -1 = not open */
	size_t sent_bytes, echoed_bytes; /* TCP: of the whole stream, written so far */
	size_t received;		 /* TCP: whole messages that the far end has */
	struct stream_in at_near, at_far;
};

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * NS_A_SECOND + ts.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "light_flow: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void enter(const char *netns)
{
	char path[256];

	snprintf(path, sizeof(path), "/run/netns/%s", netns);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		die(path);
	close(fd);
}

static struct sockaddr_in address_of(const char *host, const char *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	int number = atoi(port);

	if (number < 1 || number > 65535 || inet_pton(AF_INET, host, &at.sin_addr) != 1) {
		fprintf(stderr, "light_flow: %s %s is no IPv4 address and port\n", host, port);
		exit(2);
	}
	at.sin_port = htons((uint16_t)number);
	return at;
}

static int new_socket(bool tcp)
{
	int fd =
		socket(AF_INET, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	return fd;
}

static void open_far(struct flow *flow, const struct sockaddr_in *at)
{
	int fd = new_socket(flow->tcp), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)at, sizeof(*at)) < 0)
		die("bind");
	if (!flow->tcp) {
		flow->far = fd;
		return;
	}
	if (listen(fd, 1) < 0)
		die("listen");
	flow->listener = fd;
}

static void open_near(struct flow *flow, const struct sockaddr_in *to)
{
	int on = 1;

	flow->near = new_socket(flow->tcp);
	if (flow->tcp)
		setsockopt(flow->near, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(flow->near, (const struct sockaddr *)to, sizeof(*to)) < 0 &&
		errno != EINPROGRESS)
		die("connect");
}

/* Messages begin to be due once both ends of a connection are there. */
static void await_connection(struct flow *flow)
{
	struct pollfd fds[] = {{.fd = flow->listener, .events = POLLIN}};
	int on = 1;

	if (poll(fds, 1, CONNECT_MS) <= 0) {
		errno = ETIMEDOUT;
		die("no connection came");
	}
	flow->far = accept4(flow->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (flow->far < 0)
		die("accept");
	setsockopt(flow->far, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void write_message(const struct flow *flow, size_t number, uint8_t *bytes)
{
	uint64_t head[2] = {flow->run, number};

	memset(bytes, 0, flow->bytes);
	memcpy(bytes, head, sizeof(head));
}

/* @return the message, or NULL if it is none of this run */
static struct message *read_message(const struct flow *flow, const uint8_t *bytes)
{
	uint64_t head[2];

	memcpy(head, bytes, sizeof(head));
	if (head[0] != flow->run || head[1] >= flow->due)
		return NULL;
	return &flow->messages[head[1]];
}

static void arrived(struct flow *flow, const uint8_t *bytes)
{
	struct message *message = read_message(flow, bytes);

	if (message && message->arrived_ns)
		flow->duplicates++;
	else if (message)
		message->arrived_ns = now_ns();
}

static void echoed(struct flow *flow, const uint8_t *bytes)
{
	struct message *message = read_message(flow, bytes);

	if (message && !message->echoed_ns)
		message->echoed_ns = now_ns();
}

/* ---- UDP ----------------------------------------------------------------------------------------------------- */

static void udp_send_due(struct flow *flow, size_t from)
{
	uint8_t bytes[BYTES_MAX];

	/* What the socket refuses (a full queue in front of a tunnel) is lost as on any link. */
	for (size_t i = from; i < flow->due; i++) {
		write_message(flow, i, bytes);
		flow->messages[i].due_ns = now_ns();
		(void)!send(flow->near, bytes, flow->bytes, 0);
	}
}

static void udp_receive(struct flow *flow)
{
	uint8_t bytes[BYTES_MAX];
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	ssize_t len;

	while ((len = recvfrom(flow->far, bytes, sizeof(bytes), 0, (struct sockaddr *)&from,
			&from_len)) >= 0) {
		if ((size_t)len == flow->bytes) {
			arrived(flow, bytes);
			(void)!sendto(flow->far, bytes, flow->bytes, 0, (struct sockaddr *)&from,
				from_len);
		}
		from_len = sizeof(from);
	}
	while ((len = recv(flow->near, bytes, sizeof(bytes), 0)) >= 0) {
		if ((size_t)len == flow->bytes)
			echoed(flow, bytes);
	}
}

/* ---- TCP ----------------------------------------------------------------------------------------------------- */

/* Both directions carry messages 0, 1, 2, ... as one stream; `*at` is how much of it was written. */
static void tcp_write_up_to(struct flow *flow, int fd, size_t *at, size_t messages)
{
	uint8_t bytes[BYTES_MAX];

	while (*at < messages * flow->bytes) {
		size_t skip = *at % flow->bytes;

		write_message(flow, *at / flow->bytes, bytes);
		ssize_t len = send(fd, bytes + skip, flow->bytes - skip, MSG_NOSIGNAL);
		if (len < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOTCONN))
			return;
		if (len < 0)
			die("the connection broke");
		*at += (size_t)len;
	}
}

static void tcp_read(struct flow *flow, int fd, struct stream_in *in, bool far)
{
	ssize_t len;

	while ((len = recv(fd, in->part + in->have, flow->bytes - in->have, 0)) > 0) {
		in->have += (size_t)len;
		if (in->have < flow->bytes)
			continue;
		in->have = 0;
		if (far) {
			arrived(flow, in->part);
			flow->received++;
		} else {
			echoed(flow, in->part);
		}
	}
	if (len == 0 || (errno != EAGAIN && errno != EINTR && errno != ENOTCONN)) {
		errno = len == 0 ? ECONNRESET : errno;
		die("the connection broke");
	}
}

static void tcp_turn(struct flow *flow)
{
	tcp_write_up_to(flow, flow->near, &flow->sent_bytes, flow->due);
	tcp_read(flow, flow->far, &flow->at_far, true);
	tcp_write_up_to(flow, flow->far, &flow->echoed_bytes, flow->received);
	tcp_read(flow, flow->near, &flow->at_near, false);
}

/* ---- the run ------------------------------------------------------------------------------------------------- */

static bool all_came(const struct flow *flow)
{
	for (size_t i = flow->count; i-- > 0;) {
		if (!flow->messages[i].echoed_ns)
			return false;
	}
	return true;
}

static void run(struct flow *flow)
{
	int64_t begin = now_ns();
	int64_t end =
		begin + (int64_t)(flow->count - 1) * INTERVAL_NS + (int64_t)GRACE_MS * NS_A_MS;

	for (int64_t now = begin; now < end; now = now_ns()) {
		size_t from = flow->due;

		while (flow->due < flow->count && begin + (int64_t)flow->due * INTERVAL_NS <= now) {
			flow->messages[flow->due].due_ns = begin + (int64_t)flow->due * INTERVAL_NS;
			flow->due++;
		}
		if (flow->tcp) {
			tcp_turn(flow);
		} else {
			udp_send_due(flow, from);
			udp_receive(flow);
		}
		bool ending = flow->due == flow->count;
		if (ending && all_came(flow))
			return;

		int64_t wake = ending ? end : begin + (int64_t)flow->due * INTERVAL_NS;
		int64_t wait = wake - now_ns();
		struct timespec timeout = {
			wait > 0 ? wait / NS_A_SECOND : 0, wait > 0 ? wait % NS_A_SECOND : 0};
		struct pollfd fds[] = {
			{.fd = flow->far, .events = POLLIN},
			{.fd = flow->near, .events = POLLIN},
		};
		if (flow->tcp && flow->sent_bytes < flow->due * flow->bytes)
			fds[1].events |= POLLOUT;
		if (flow->tcp && flow->echoed_bytes < flow->received * flow->bytes)
			fds[0].events |= POLLOUT;
		if (ppoll(fds, 2, &timeout, NULL) < 0 && errno != EINTR)
			die("poll");
	}
}

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* Nearest rank, 1/1000ths: the smallest that at least so many are not above. */
static void print_rank(const char *name, const int64_t *sorted, size_t count, size_t permille)
{
	size_t rank = (count * permille + 999) / 1000;

	if (count == 0)
		printf(", \"%s\": null", name);
	else
		printf(", \"%s\": %.3f", name, (double)sorted[rank ? rank - 1 : 0] / NS_A_MS);
}

static void print_result(const struct flow *flow)
{
	int64_t *delays = calloc(flow->count, sizeof(*delays));
	int64_t *echoes = calloc(flow->count, sizeof(*echoes));
	size_t delay_count = 0, echo_count = 0, late = 0;

	if (!delays || !echoes)
		die("memory");
	for (size_t i = 0; i < flow->count; i++) {
		const struct message *message = &flow->messages[i];

		if (message->arrived_ns) {
			int64_t delay = message->arrived_ns - message->due_ns;

			delays[delay_count++] = delay;
			late += delay > LATE_NS;
		}
		if (message->echoed_ns)
			echoes[echo_count++] = message->echoed_ns - message->due_ns;
	}
	qsort(delays, delay_count, sizeof(*delays), by_size);
	qsort(echoes, echo_count, sizeof(*echoes), by_size);
	printf("{\"sent\": %zu, \"lost\": %zu, \"late\": %zu, \"duplicates\": %ju", flow->count,
		flow->count - delay_count, late, (uintmax_t)flow->duplicates);
	print_rank("delay_p50_ms", delays, delay_count, 500);
	print_rank("delay_p99_ms", delays, delay_count, 990);
	print_rank("delay_max_ms", delays, delay_count, 1000);
	printf(", \"echo_lost\": %zu", flow->count - echo_count);
	print_rank("echo_p50_ms", echoes, echo_count, 500);
	print_rank("echo_p99_ms", echoes, echo_count, 990);
	print_rank("echo_max_ms", echoes, echo_count, 1000);
	printf(", \"bytes\": %zu}\n", flow->bytes);
	free(delays);
	free(echoes);
}

int main(int argc, char **argv)
{
	static struct flow flow = {.near = -1, .far = -1, .listener = -1};
	int seconds = argc >= 9 ? atoi(argv[8]) : 0;
	int bytes = argc == 10 ? atoi(argv[9]) : BYTES_DEFAULT;

	if (argc < 9 || argc > 10 || (strcmp(argv[1], "udp") != 0 && strcmp(argv[1], "tcp") != 0) ||
		seconds < 1 || seconds > SECONDS_MAX || bytes < BYTES_MIN || bytes > BYTES_MAX) {
		fputs("usage: light_flow udp|tcp NETNS ADDRESS PORT NETNS ADDRESS PORT SECONDS "
		      "[BYTES]\n",
			stderr);
		return 2;
	}
	flow.tcp = strcmp(argv[1], "tcp") == 0;
	flow.bytes = (size_t)bytes;
	flow.count = (size_t)seconds * (NS_A_SECOND / INTERVAL_NS);
	flow.messages = calloc(flow.count, sizeof(*flow.messages));
	if (!flow.messages || getrandom(&flow.run, sizeof(flow.run), 0) != sizeof(flow.run))
		die("start");
	/* What is measured is the link, not the wait for a core. */
	(void)!setpriority(PRIO_PROCESS, 0, -15);

	struct sockaddr_in to = address_of(argv[3], argv[4]);
	struct sockaddr_in at = address_of(argv[6], argv[7]);
	enter(argv[5]);
	open_far(&flow, &at);
	enter(argv[2]);
	open_near(&flow, &to);
	if (flow.tcp)
		await_connection(&flow);
	run(&flow);
	print_result(&flow);
	free(flow.messages);
	return 0;
}
