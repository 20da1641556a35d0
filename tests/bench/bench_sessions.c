/*
 * usage: bench_sessions SESSIONS SECONDS
 * Prints: sessions seconds cpu_seconds rss_bytes_per_session idle_bytes_per_session
 *
 * Many quiet sessions, with kcptun's defaults (salsa20, FEC 10/3, mode fast, stream, windows of 1024, mtu 1350): one end that
 * echoes, one that dials from a socket for each session, a thread each. Every session sends 100 bytes a second and
 * waits for them to come back. CPU time is that of the whole process over the given seconds, after all are open.
 * Resident memory is what the process gained since before the first session was opened, both of its ends counted: at the
 * end of those seconds, and after ten more in which nothing is sent.
 *
 * Both threads look at their sockets at most once in GATHER_US, as a network card gathers packets before it interrupts. What
 * comes after a pause is taken at once; under load a round serves several sessions.
 */
#include "tests/bench/end.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
	MESSAGE_BYTES = 100,
	OPENING_US = 3000000, /* the sessions' first messages are spread over it */
	PERIOD_US = 1000000,
	IDLE_US = 10000000,
	READY = 256, /* sockets told of at once */
	GATHER_US = 2000,
	PIECES = 8,
};

struct session {
	struct udp_link link;
	struct kcpvpn_conv *conv;
	int64_t due_us; /* when the next message leaves */
	size_t unread;
};

struct fleet {
	struct end server;
	struct kcpvpn_node *node; /* of the clients */
	struct udp_buffers *buffers;
	int epoll;
	struct session *sessions;
	int count;
	uint64_t echoed;
};

_Noreturn static void fail(const char *what)
{
	fprintf(stderr, "bench_sessions: %s\n", what);
	exit(1);
}

static long resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	long whole, resident;

	if (!file || fscanf(file, "%ld %ld", &whole, &resident) != 2)
		fail("/proc/self/statm");
	fclose(file);
	return resident * sysconf(_SC_PAGESIZE);
}

static struct kcpvpn_config settings(int sessions)
{
	struct kcpvpn_config config;

	kcpvpn_config_init(&config);
	config.key = bench_key();
	config.key_len = KCPVPN_KEY_BYTES;
	config.convs_max = (uint32_t)sessions;
	return config;
}

/* ---- server ------------------------------------------------------------------------------------------------------ */

static void *serve(void *ctx)
{
	struct end *end = ctx;
	struct kcpvpn_conv *conv;
	struct iovec iov[PIECES];
	unsigned events;
	size_t len;

	while (end_turn(end)) {
		while ((conv = kcpvpn_node_next_event(end->node, &events)) != NULL) {
			int64_t now_us = bench_now_us();
			int count;
			if (events & KCPVPN_EVENT_CLOSED)
				fail("the server lost a session");
			while ((count = kcpvpn_conv_recv_peek(conv, iov, PIECES, &len)) > 0) {
				for (int i = 0; i < count; i++) {
					if (kcpvpn_conv_send(conv, iov[i].iov_base, iov[i].iov_len,
						    now_us) < 0)
						fail("echo");
				}
				kcpvpn_conv_recv_drop(conv, now_us);
			}
		}
	}
	return NULL;
}

/* ---- clients ----------------------------------------------------------------------------------------------------- */

static void open_session(struct fleet *fleet, struct session *session, int64_t now_us)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = session};

	udp_link_open(&session->link, &fleet->server.link.local, 0, false);
	if (epoll_ctl(fleet->epoll, EPOLL_CTL_ADD, session->link.fd, &event) < 0)
		fail("epoll_ctl");
	if (kcpvpn_node_dial(fleet->node, &session->link.port, &fleet->server.link.local, 0, now_us,
		    &session->conv) < 0)
		fail("kcpvpn_node_dial");
	kcpvpn_conv_set_user(session->conv, session);
}

static void send_due(struct fleet *fleet, struct session *session, int64_t now_us)
{
	static const uint8_t message[MESSAGE_BYTES];

	if (!session->conv)
		open_session(fleet, session, now_us);
	session->due_us += PERIOD_US;
	if (session->unread > 0)
		return; /* the last one is still on its way; it will be missing in the count */
	if (kcpvpn_conv_send(session->conv, message, sizeof(message), now_us) < 0)
		fail("kcpvpn_conv_send");
	session->unread = sizeof(message);
}

static void take_events(struct fleet *fleet, int64_t now_us)
{
	struct kcpvpn_conv *conv;
	uint8_t buf[2048];
	unsigned events;
	size_t len;

	while ((conv = kcpvpn_node_next_event(fleet->node, &events)) != NULL) {
		struct session *session = kcpvpn_conv_user(conv);
		if (events & KCPVPN_EVENT_CLOSED)
			fail("a client lost its session");
		while (kcpvpn_conv_recv(conv, buf, sizeof(buf), now_us, &len) == 0) {
			if (len > session->unread)
				fail("more came back than was sent");
			session->unread -= len;
			if (session->unread == 0)
				fleet->echoed++;
		}
	}
}

static void receive(struct fleet *fleet, struct epoll_event *ready, int count, int64_t now_us)
{
	for (int i = 0; i < count; i++) {
		struct session *session = ready[i].data.ptr;
		const struct kcpvpn_datagram *batch;
		size_t n = udp_link_receive(&session->link, fleet->buffers, &batch);
		if (n > 0)
			kcpvpn_node_input(
				fleet->node, &session->link.port, false, batch, n, now_us);
	}
}

/* Waits for at most `wait_us`; to a microsecond, unlike epoll_wait(). */
static int wait_ready(struct fleet *fleet, struct epoll_event *ready, int64_t wait_us)
{
	struct timespec wait = {wait_us / 1000000, wait_us % 1000000 * 1000};
	int count = epoll_pwait2(fleet->epoll, ready, READY, &wait, NULL);

	return count < 0 ? 0 : count;
}

/* Turns the wheel until `until_us`. @sending  false: only what is still under way goes on */
static void run(struct fleet *fleet, int64_t until_us, bool sending)
{
	static struct epoll_event ready[READY];
	static int next; /* sessions are due in the order of their index, round and round */
	int64_t now_us = bench_now_us();
	int64_t round_us = now_us;

	while (now_us < until_us) {
		struct session *due = &fleet->sessions[next];
		while (sending && due->due_us <= now_us) {
			send_due(fleet, due, now_us);
			next = (next + 1) % fleet->count;
			due = &fleet->sessions[next];
		}
		kcpvpn_node_flush(fleet->node, now_us);
		int64_t at_us = kcpvpn_node_next_deadline(fleet->node);
		if (at_us > until_us)
			at_us = until_us;
		if (sending && at_us > due->due_us)
			at_us = due->due_us;
		bench_sleep_until(round_us + GATHER_US);
		now_us = bench_now_us();
		int count = wait_ready(fleet, ready, at_us > now_us ? at_us - now_us : 0);
		now_us = bench_now_us();
		round_us = now_us;
		receive(fleet, ready, count, now_us);
		kcpvpn_node_on_deadline(fleet->node, now_us);
		take_events(fleet, now_us);
	}
}

static void open_fleet(struct fleet *fleet, int count)
{
	struct kcpvpn_config config = settings(count);
	struct rlimit files = {(rlim_t)count + 64, (rlim_t)count + 64};
	struct rlimit have;

	if (getrlimit(RLIMIT_NOFILE, &have) == 0 && have.rlim_cur < files.rlim_cur) {
		if (have.rlim_max > files.rlim_max)
			files.rlim_max = have.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &files) < 0)
			fail("not so many sockets are allowed");
	}
	*fleet = (struct fleet){.epoll = epoll_create1(EPOLL_CLOEXEC), .count = count};
	end_open(&fleet->server, &config, NULL);
	fleet->server.spin_us = 0;
	fleet->server.gather_us = GATHER_US;
	fleet->server.stop_fd = eventfd(0, EFD_CLOEXEC);
	fleet->node = bench_node_new(&config);
	fleet->buffers = udp_buffers_new();
	fleet->sessions = calloc((size_t)count, sizeof(*fleet->sessions));
	if (fleet->epoll < 0 || fleet->server.stop_fd < 0 || !fleet->sessions)
		fail("out of descriptors or memory");
	int64_t now_us = bench_now_us();
	for (int i = 0; i < count; i++)
		fleet->sessions[i].due_us = now_us + (int64_t)PERIOD_US * i / count;
}

static void close_fleet(struct fleet *fleet, pthread_t thread)
{
	uint64_t one = 1;

	if (write(fleet->server.stop_fd, &one, sizeof(one)) != sizeof(one))
		fail("eventfd");
	pthread_join(thread, NULL);
	kcpvpn_node_free(fleet->node);
	for (int i = 0; i < fleet->count; i++)
		udp_link_close(&fleet->sessions[i].link);
	udp_buffers_free(fleet->buffers);
	free(fleet->sessions);
	close(fleet->server.stop_fd);
	close(fleet->epoll);
	end_close(&fleet->server);
}

int main(int argc, char **argv)
{
	int count = argc == 3 ? atoi(argv[1]) : 0;
	int seconds = argc == 3 ? atoi(argv[2]) : 0;
	struct fleet fleet;
	pthread_t thread;

	if (count < 1 || count > 60000 || seconds < 1) {
		fprintf(stderr, "usage: bench_sessions SESSIONS SECONDS\n");
		return 2;
	}
	open_fleet(&fleet, count);
	if (pthread_create(&thread, NULL, serve, &fleet.server) != 0)
		fail("pthread_create");
	long before = resident_bytes();
	run(&fleet, bench_now_us() + OPENING_US, true);

	uint64_t echoed = fleet.echoed;
	double cpu = bench_cpu_seconds();
	int64_t started_us = bench_now_us();
	run(&fleet, started_us + (int64_t)seconds * 1000000, true);
	double elapsed = (double)(bench_now_us() - started_us) / 1e6;
	cpu = bench_cpu_seconds() - cpu;
	echoed = fleet.echoed - echoed;
	long busy = resident_bytes() - before;
	run(&fleet, bench_now_us() + IDLE_US, false);
	long idle = resident_bytes() - before;
	if ((double)echoed < 0.9 * count * elapsed)
		fail("echoes are missing");
	printf("%d %.3f %.3f %ld %ld\n", count, elapsed, cpu, busy / count, idle / count);
	close_fleet(&fleet, thread);
	return 0;
}
