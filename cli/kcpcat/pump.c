/*
 * One poll() loop around a node. Back-pressure goes both ways: stdin is read only while the conversation takes more,
 * and outlet.c takes a message out of a conversation only when there is a place for it.
 *
 * There is no end of file in KCP. A side leaves when its stdin has ended, everything it sent is acknowledged, and
 * nothing new came for --idle.
 */
#include "pump.h"

#include "outlet.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum {
	READ_BYTES = 64 << 10, /* one read of stdin: one message with --message */
	DEAD_AFTER_US =
		15000000, /* silence with something unacknowledged, unless --idle says otherwise */
	DEAD_AFTER_MIN_US = 5000000, /* less is no sign of death on a bad network */
};

enum { POLL_SOCKET, POLL_SIGNAL, POLL_STDIN, POLL_STDOUT, POLL_COUNT };

struct pump {
	const struct options *options;
	struct udp_socket *socket;
	struct kcpvpn_node *node;
	struct outlet *outlet;
	struct kcpvpn_conv *conv; /* the only one (not with -k); NULL before it came */
	int signal_fd;
	bool stdin_ended;
	bool failed;	     /* a stream broke, or the conversation cannot go on */
	bool stopping;	     /* a signal came */
	bool done;	     /* the one conversation of a listener is over */
	int64_t moved_at_us; /* last time stdin gave something, or a conversation came */
	size_t in_len;	     /* read from stdin, not taken by the conversation yet */
	uint8_t in[READ_BYTES];
};

static int64_t clock_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void fill_random(void *ctx, void *buf, size_t len)
{
	uint8_t *at = buf;

	(void)ctx;
	while (len > 0) {
		ssize_t n = getrandom(at, len, 0);
		if (n < 0 && errno != EINTR)
			abort(); /* nonces cannot be made without randomness */
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
}

static int catch_signals(void)
{
	sigset_t set;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

struct pump *pump_new(const struct options *options, struct udp_socket *socket)
{
	struct pump *p = calloc(1, sizeof(*p));
	struct kcpvpn_config config = options->node;
	int64_t now = clock_us();
	int error = -ENOMEM;

	if (!p)
		goto fail;
	p->options = options;
	p->socket = socket;
	p->moved_at_us = now;
	p->stdin_ended = options->echo || options->sink || options->keep;
	p->signal_fd = catch_signals();
	config.dead_after_us = DEAD_AFTER_US;
	if (options->idle_given)
		config.dead_after_us =
			options->idle_us > DEAD_AFTER_MIN_US ? options->idle_us : DEAD_AFTER_MIN_US;
	if (options->keep)
		config.idle_after_us = options->idle_us;
	else
		config.convs_max = 1;
	p->outlet = outlet_new(options, now);
	if (!p->outlet)
		goto fail;
	error = kcpvpn_node_new(&config, fill_random, NULL, now, &p->node);
	if (error == 0 && !options->listen)
		error = kcpvpn_node_dial(
			p->node, &socket->port, &socket->remote, options->conv, now, &p->conv);
	if (error == 0 && p->conv)
		error = outlet_add(p->outlet, p->conv);
	if (error == 0)
		return p;
fail:
	(void)fprintf(stderr, "kcpcat: cannot set up the session: %s\n", strerror(-error));
	pump_free(p);
	return NULL;
}

void pump_free(struct pump *p)
{
	if (!p)
		return;
	kcpvpn_node_free(p->node);
	outlet_free(p->outlet);
	if (p->signal_fd > 0)
		(void)close(p->signal_fd);
	explicit_bzero(p->in, sizeof(p->in));
	free(p);
}

/* Hands what was read from stdin to the conversation, as much as it takes. */
static void push_input(struct pump *p, int64_t now)
{
	size_t len = p->in_len;

	if (!p->conv || len == 0)
		return;
	if (p->options->node.stream) {
		size_t space = kcpvpn_conv_send_space(p->conv);
		len = len < space ? len : space;
		if (len == 0)
			return;
	}
	int error = kcpvpn_conv_send(p->conv, p->in, len, now);
	if (error == -EAGAIN || error == -ENOBUFS || error == -EPIPE)
		return;
	if (error < 0) {
		(void)fprintf(stderr, "kcpcat: cannot send a message of %zu bytes: %s\n", len,
			strerror(-error));
		p->failed = true;
		return;
	}
	p->moved_at_us = now;
	p->in_len -= len;
	memmove(p->in, p->in + len, p->in_len);
}

static void read_stdin(struct pump *p, int64_t now)
{
	ssize_t n = read(STDIN_FILENO, p->in + p->in_len, READ_BYTES - p->in_len);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0)
		(void)fprintf(stderr, "kcpcat: cannot read stdin: %s\n", strerror(errno));
	if (n <= 0)
		p->stdin_ended = true;
	else
		p->in_len += (size_t)n;
	p->moved_at_us = now;
	push_input(p, now);
}

/* A conversation whose messages cannot be echoed ends alone where others are served. @return false if it is gone */
static bool take(struct pump *p, struct kcpvpn_conv *conv, int64_t now)
{
	int error = outlet_take(p->outlet, conv, now);

	if (error == 0)
		return true;
	if (p->options->keep) {
		outlet_close(p->outlet, conv, false, now);
		return false;
	}
	(void)fprintf(stderr, "kcpcat: cannot echo a message: %s\n", strerror(-error));
	p->failed = true;
	return true;
}

/* @return false if it is not served; it is gone then, or goes with the node */
static bool welcome(struct pump *p, struct kcpvpn_conv *conv, int64_t now)
{
	if (!p->options->keep && p->conv) { /* came in the same batch as the one it replaces */
		kcpvpn_conv_close(conv, now);
		return false;
	}
	p->moved_at_us = now;
	if (!p->options->keep)
		p->conv = conv;
	if (outlet_add(p->outlet, conv) == 0)
		return true;
	if (p->options->keep) {
		kcpvpn_conv_close(conv, now);
		return false;
	}
	(void)fprintf(stderr, "kcpcat: out of memory\n");
	p->failed = true;
	return false;
}

static void handle(struct pump *p, struct kcpvpn_conv *conv, unsigned events, int64_t now)
{
	if (events & KCPVPN_EVENT_ACCEPTED && !welcome(p, conv, now))
		return;
	if (events & (KCPVPN_EVENT_READABLE | KCPVPN_EVENT_WRITABLE) && !take(p, conv, now))
		return;
	if (events & KCPVPN_EVENT_WRITABLE && conv == p->conv)
		push_input(p, now);
	if (!(events & KCPVPN_EVENT_CLOSED))
		return;
	if (p->options->keep)
		outlet_close(p->outlet, conv, true, now);
	else
		p->done = true; /* freed with the node: --stats still wants it */
}

static void print_stats(const struct pump *p)
{
	struct kcpvpn_stats s;

	kcpvpn_node_stats(p->node, &s);
#define ROW(name, value)                                                                  \
	(void)fprintf(stderr, "%s\"%s\":%llu", comma, name, (unsigned long long)(value)), \
		comma = ","
	const char *comma = "{";
	ROW("bytes_sent", s.bytes_sent);
	ROW("bytes_received", s.bytes_received);
	ROW("sunk_bytes", outlet_sunk_bytes(p->outlet));
	ROW("in_datagrams", s.in_datagrams);
	ROW("out_datagrams", s.out_datagrams);
	ROW("in_bytes", s.in_bytes);
	ROW("out_bytes", s.out_bytes);
	ROW("in_segments", s.in_segments);
	ROW("out_segments", s.out_segments);
	ROW("retransmits", s.retransmits);
	ROW("retransmits_fast", s.retransmits_fast);
	ROW("retransmits_early", s.retransmits_early);
	ROW("retransmits_timeout", s.retransmits_timeout);
	ROW("duplicates", s.duplicates);
	ROW("fec_recovered", s.fec_recovered);
	ROW("fec_errors", s.fec_errors);
	ROW("fec_parity_in", s.fec_parity_in);
	ROW("fec_parity_out", s.fec_parity_out);
	ROW("passive_opens", s.passive_opens);
	ROW("drop_short", s.drop_short);
	ROW("drop_checksum", s.drop_checksum);
	ROW("drop_source", s.drop_source);
	ROW("drop_no_conv", s.drop_no_conv);
	ROW("drop_conv", s.drop_conv);
	ROW("drop_backlog", s.drop_backlog);
	ROW("drop_segment", s.drop_segment);
	ROW("drop_fec", s.drop_fec);
	ROW("drop_window", s.drop_window);
	ROW("drop_memory", s.drop_memory);
	ROW("send_errors", p->socket->send_errors);
	(void)fputs("}\n", stderr);
#undef ROW
}

/* What the peer must still say, or we must still do, before we may leave; INT64_MAX = wait for an event. */
static int64_t leave_at(const struct pump *p)
{
	bool ready = p->conv && p->stdin_ended && p->in_len == 0 && !outlet_waits(p->outlet) &&
		     kcpvpn_conv_drained(p->conv);
	int64_t moved_at = outlet_moved_at_us(p->outlet);

	moved_at = moved_at > p->moved_at_us ? moved_at : p->moved_at_us;
	return ready ? moved_at + p->options->idle_us : INT64_MAX;
}

/* What came before the end is still to be written: the peer knows it as received. */
static bool over(const struct pump *p)
{
	if (p->stopping || p->failed || outlet_broken(p->outlet))
		return true;
	return p->done ? !outlet_waits(p->outlet) : clock_us() >= leave_at(p);
}

/* One session is one: its own address beginning anew would be acknowledged, and then left alone. */
static bool accepts(const struct pump *p)
{
	return p->options->listen && (p->options->keep || !p->conv);
}

static void wait_for_events(struct pump *p, struct pollfd fds[POLL_COUNT])
{
	bool want_input = !p->stdin_ended && p->conv && !p->done &&
			  (p->options->node.stream ? p->in_len < READ_BYTES : p->in_len == 0);

	fds[POLL_SOCKET] = (struct pollfd){.fd = p->socket->fd, .events = POLLIN};
	fds[POLL_SIGNAL] = (struct pollfd){.fd = p->signal_fd, .events = POLLIN};
	fds[POLL_STDIN] = (struct pollfd){.fd = want_input ? STDIN_FILENO : -1, .events = POLLIN};
	fds[POLL_STDOUT] = (struct pollfd){
		.fd = outlet_waits(p->outlet) ? STDOUT_FILENO : -1, .events = POLLOUT};

	int64_t deadline = kcpvpn_node_next_deadline(p->node);
	int64_t leave = leave_at(p);
	deadline = deadline < leave ? deadline : leave;
	int64_t wait_us = deadline == INT64_MAX ? -1 : deadline - clock_us();
	if (deadline != INT64_MAX && wait_us < 0)
		wait_us = 0;
	struct timespec wait = {wait_us / 1000000, wait_us % 1000000 * 1000};
	if (ppoll(fds, POLL_COUNT, wait_us < 0 ? NULL : &wait, NULL) < 0) {
		for (size_t i = 0; i < POLL_COUNT; i++)
			fds[i].revents = 0;
	}
}

enum exit_status pump_run(struct pump *p)
{
	struct kcpvpn_datagram batch[KCPVPN_BATCH_MAX];
	struct pollfd fds[POLL_COUNT];

	while (!over(p)) {
		struct kcpvpn_conv *conv;
		unsigned events;

		wait_for_events(p, fds);
		int64_t now = clock_us();
		if (fds[POLL_SIGNAL].revents)
			p->stopping = true;
		if (fds[POLL_SOCKET].revents) {
			size_t count = udp_socket_receive(p->socket, batch);
			if (count > 0)
				kcpvpn_node_input(
					p->node, &p->socket->port, accepts(p), batch, count, now);
		}
		kcpvpn_node_on_deadline(p->node, now);
		while ((conv = kcpvpn_node_next_event(p->node, &events)) != NULL)
			handle(p, conv, events, now);
		if (fds[POLL_STDIN].revents)
			read_stdin(p, now);
		push_input(p, now);
		if (fds[POLL_STDOUT].revents)
			outlet_serve(p->outlet, now);
		kcpvpn_node_flush(p->node, now);
	}
	if (p->options->stats)
		print_stats(p);
	if (p->conv && (!kcpvpn_conv_drained(p->conv) || p->in_len > 0))
		return EXIT_STATUS_UNACKNOWLEDGED;
	return p->failed || outlet_broken(p->outlet) ? EXIT_STATUS_OTHER : EXIT_STATUS_OK;
}
