/*
 * A message leaves its conversation only when there is a place for it: stdout took all before it, or the conversation
 * took its echo. So a slow reader closes the receive window, and the peer slows down; nothing is held here but the one
 * message that stdout is taking.
 *
 * Conversations that may have something for stdout wait in a queue and give one message each in turn. What they
 * received is acknowledged, so the peer will not send it again: a conversation that closed stays until it is read.
 * Invariant: if no message is on its way to stdout, nobody waits.
 *
 * An echo waits in its conversation for KCPVPN_EVENT_WRITABLE instead. In a stream it goes piece by piece, since the
 * message may be longer than the send queue; `echoed_bytes` says how far it came.
 */
#include "outlet.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	PIPE_WRITE_BYTES = 4096,   /* PIPE_BUF: does not block after POLLOUT */
	MESSAGE_BYTES = 512 << 10, /* more than any message: 256 pieces of an MTU */
	MESSAGE_PIECES = 256,
	STREAM_PIECES = 16, /* of a run of them: the receive window opens while the echo goes on */
};

/* A conversation's side here; its user pointer. */
struct source {
	struct kcpvpn_conv *conv;
	LIST_ENTRY(source) in_all;
	TAILQ_ENTRY(source) in_waiting;
	bool waiting;
	bool closing;	     /* to be closed once it is read */
	size_t echoed_bytes; /* of the message in front */
};

struct outlet {
	const struct options *options;
	LIST_HEAD(, source) all;
	TAILQ_HEAD(, source) waiting;
	bool broken;
	int64_t moved_at_us;
	uint64_t sunk_bytes;
	size_t mss_bytes;
	size_t stdout_chunk;
	size_t out_at, out_len; /* on its way to stdout */
	uint8_t out[MESSAGE_BYTES];
};

struct outlet *outlet_new(const struct options *options, int64_t now_us)
{
	struct outlet *o = calloc(1, sizeof(*o));
	struct stat st;

	if (!o)
		return NULL;
	o->options = options;
	o->moved_at_us = now_us;
	o->mss_bytes = kcpvpn_config_mss(&options->node);
	o->stdout_chunk = fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode) ? MESSAGE_BYTES
										: PIPE_WRITE_BYTES;
	LIST_INIT(&o->all);
	TAILQ_INIT(&o->waiting);
	return o;
}

void outlet_free(struct outlet *o)
{
	struct source *s;

	if (!o)
		return;
	while ((s = LIST_FIRST(&o->all)) != NULL) {
		LIST_REMOVE(s, in_all);
		free(s);
	}
	explicit_bzero(o->out, sizeof(o->out));
	free(o);
}

int outlet_add(struct outlet *o, struct kcpvpn_conv *conv)
{
	struct source *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->conv = conv;
	LIST_INSERT_HEAD(&o->all, s, in_all);
	kcpvpn_conv_set_user(conv, s);
	return 0;
}

static void close_source(struct outlet *o, struct source *s, int64_t now)
{
	if (s->waiting)
		TAILQ_REMOVE(&o->waiting, s, in_waiting);
	LIST_REMOVE(s, in_all);
	kcpvpn_conv_close(s->conv, now);
	free(s);
}

void outlet_close(struct outlet *o, struct kcpvpn_conv *conv, bool read_first, int64_t now)
{
	struct source *s = kcpvpn_conv_user(conv);

	if (read_first && s->waiting)
		s->closing = true;
	else
		close_source(o, s, now);
}

static void write_stdout(struct outlet *o)
{
	size_t len = o->out_len - o->out_at;
	ssize_t n = write(
		STDOUT_FILENO, o->out + o->out_at, len < o->stdout_chunk ? len : o->stdout_chunk);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		if (errno != EPIPE)
			(void)fprintf(stderr, "kcpcat: cannot write stdout: %s\n", strerror(errno));
		o->broken = true;
		return;
	}
	o->out_at += (size_t)n;
}

/* Also where the reader has gone: write() tells of it. */
static bool stdout_ready(void)
{
	struct pollfd pfd = {.fd = STDOUT_FILENO, .events = POLLOUT};

	return poll(&pfd, 1, 0) == 1;
}

/* @return true if there is a place for the next message */
static bool flush_out(struct outlet *o)
{
	while (o->out_at < o->out_len && !o->broken && stdout_ready())
		write_stdout(o);
	return o->out_at == o->out_len && !o->broken;
}

void outlet_serve(struct outlet *o, int64_t now)
{
	while (flush_out(o)) {
		struct source *s = TAILQ_FIRST(&o->waiting);

		o->out_at = o->out_len = 0;
		if (!s)
			return;
		TAILQ_REMOVE(&o->waiting, s, in_waiting);
		s->waiting = false;
		if (kcpvpn_conv_recv(s->conv, o->out, MESSAGE_BYTES, now, &o->out_len) == 0) {
			o->moved_at_us = now;
			TAILQ_INSERT_TAIL(&o->waiting, s, in_waiting);
			s->waiting = true;
		} else if (s->closing) {
			close_source(o, s, now);
		}
	}
}

/* Nobody takes it: it is counted. */
static void sink(struct outlet *o, struct kcpvpn_conv *conv, int64_t now)
{
	size_t len;

	while (kcpvpn_conv_recv(conv, o->out, MESSAGE_BYTES, now, &len) == 0) {
		o->sunk_bytes += len;
		o->moved_at_us = now;
	}
}

/* All of it or nothing: a message keeps its boundaries. */
static int echo_message(struct outlet *o, struct source *s, const struct iovec *pieces, int count,
	size_t len, int64_t now)
{
	size_t at = 0;

	for (int i = 0; i < count; i++) {
		memcpy(o->out + at, pieces[i].iov_base, pieces[i].iov_len);
		at += pieces[i].iov_len;
	}
	return len > 0 ? kcpvpn_conv_send(s->conv, o->out, len, now) : 0;
}

/* No more than one segment at a time, which fits any send queue. */
static int echo_stream(
	struct outlet *o, struct source *s, const struct iovec *pieces, int count, int64_t now)
{
	size_t skip = s->echoed_bytes;

	for (int i = 0; i < count; i++) {
		while (skip < pieces[i].iov_len) {
			size_t len = pieces[i].iov_len - skip;
			len = len < o->mss_bytes ? len : o->mss_bytes;
			int error = kcpvpn_conv_send(
				s->conv, (const uint8_t *)pieces[i].iov_base + skip, len, now);
			if (error < 0)
				return error;
			skip += len;
			s->echoed_bytes += len;
			o->moved_at_us = now;
		}
		skip -= pieces[i].iov_len;
	}
	return 0;
}

static int echo(struct outlet *o, struct source *s, int64_t now)
{
	struct iovec pieces[MESSAGE_PIECES];
	bool stream = o->options->node.stream;
	size_t len;

	for (;;) {
		int count = kcpvpn_conv_recv_peek(
			s->conv, pieces, stream ? STREAM_PIECES : MESSAGE_PIECES, &len);
		if (count == -EMSGSIZE) /* one message, of a peer that sends no stream */
			count = kcpvpn_conv_recv_peek(s->conv, pieces, MESSAGE_PIECES, &len);
		if (count <= 0)
			return count;
		int error = stream ? echo_stream(o, s, pieces, count, now)
				   : echo_message(o, s, pieces, count, len, now);
		if (error == -EAGAIN || error == -ENOBUFS || error == -EPIPE)
			return 0; /* KCPVPN_EVENT_WRITABLE brings us back, or KCPVPN_EVENT_CLOSED comes */
		if (error < 0)
			return error;
		kcpvpn_conv_recv_drop(s->conv, now);
		s->echoed_bytes = 0;
		o->moved_at_us = now;
	}
}

int outlet_take(struct outlet *o, struct kcpvpn_conv *conv, int64_t now)
{
	struct source *s = kcpvpn_conv_user(conv);

	if (o->options->echo)
		return echo(o, s, now);
	if (o->options->sink) {
		sink(o, conv, now);
		return 0;
	}
	if (!s->waiting) {
		TAILQ_INSERT_TAIL(&o->waiting, s, in_waiting);
		s->waiting = true;
	}
	outlet_serve(o, now);
	return 0;
}

bool outlet_waits(const struct outlet *o)
{
	return o->out_at < o->out_len;
}

bool outlet_broken(const struct outlet *o)
{
	return o->broken;
}

int64_t outlet_moved_at_us(const struct outlet *o)
{
	return o->moved_at_us;
}

uint64_t outlet_sunk_bytes(const struct outlet *o)
{
	return o->sunk_bytes;
}
