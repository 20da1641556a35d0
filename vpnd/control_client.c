/*
 * Bytes of one client. Two rules keep a hostile or lame one harmless:
 *
 * - Answers before questions. While output is pending, or a `wait` is open, nothing more is read and no line is taken, so
 *   what a client can make us hold is one request buffer and one answer. Who reads nothing for
 *   CONTROL_CLIENT_STALL_MS is disconnected by the timer.
 * - A little per round. At most one read, one write and a few lines an event; what is left is taken up by the next round,
 *   for which the writable socket serves as the alarm clock.
 *
 * Input is a buffer with a start: lines are lent from it, and the rest is moved to the front before the next read.
 */
#include "vpnd/control_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	IN_FIRST_BYTES = 4096,
};

struct control_client *control_client_new(struct loop *loop, int fd, void *owner)
{
	struct control_client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	list_init(&c->node);
	c->loop = loop;
	c->owner = owner;
	c->watch.fd = fd;
	loop_timer_init(&c->stall, NULL);
	return c;
}

void control_client_kill(struct control_client *c)
{
	if (c->dead)
		return;
	c->dead = true;
	loop_timer_disarm(c->loop, &c->stall);
	loop_watch_remove(c->loop, &c->watch);
	close(c->watch.fd);
	c->watch.fd = -1;
	list_remove(&c->node);
}

void control_client_free(struct control_client *c)
{
	if (!c)
		return;
	if (c->waiting)
		control_request_fini(&c->wait_for);
	control_text_release(c->text);
	free(c->in);
	free(c->out);
	free(c);
}

/* Makes room behind in_end. */
static int make_room(struct control_client *c)
{
	size_t capacity = c->in_capacity ? c->in_capacity : IN_FIRST_BYTES;

	if (c->in_start) {
		memmove(c->in, c->in + c->in_start, c->in_end - c->in_start);
		c->in_end -= c->in_start;
		c->in_scanned -= c->in_start;
		c->in_start = 0;
	}
	if (c->in_capacity && c->in_end < c->in_capacity)
		return 0;
	if (c->in_capacity)
		capacity *= 2;
	if (capacity > CONTROL_REQUEST_MAX_BYTES)
		capacity = CONTROL_REQUEST_MAX_BYTES;
	char *in = realloc(c->in, capacity);
	if (!in)
		return -ENOMEM;
	c->in = in;
	c->in_capacity = capacity;
	return 0;
}

int control_client_read(struct control_client *c)
{
	ssize_t got;
	size_t room;

	if (make_room(c))
		return -ENOMEM;
	room = c->in_capacity - c->in_end;
	if (room == 0) /* full, and control_client_line() has said so */
		return 0;
	if (room > CONTROL_CLIENT_READ_BYTES)
		room = CONTROL_CLIENT_READ_BYTES;
	got = recv(c->watch.fd, c->in + c->in_end, room, 0);
	if (got > 0) {
		c->in_end += (size_t)got;
		return 0;
	}
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -ECONNRESET;
	c->input_closed = true;
	return 0;
}

/* Once everything is taken, a large buffer is not kept for an idle client. */
static void trim_input(struct control_client *c)
{
	if (c->in_start < c->in_end || c->in_capacity <= IN_FIRST_BYTES)
		return;
	free(c->in);
	c->in = NULL;
	c->in_capacity = c->in_start = c->in_end = c->in_scanned = 0;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

enum control_client_input control_client_line(
	struct control_client *c, const char **ret_line, size_t *ret_len)
{
	const char *end = NULL;

	while (c->in_start < c->in_end && is_blank(c->in[c->in_start]))
		c->in_start++;
	if (c->in_scanned < c->in_start)
		c->in_scanned = c->in_start;
	if (c->in_scanned < c->in_end)
		end = memchr(c->in + c->in_scanned, '\n', c->in_end - c->in_scanned);
	if (!end) {
		c->in_scanned = c->in_end;
		trim_input(c);
		return c->in_end - c->in_start >= CONTROL_REQUEST_MAX_BYTES
			       ? CONTROL_CLIENT_TOO_LONG
			       : CONTROL_CLIENT_NO_LINE;
	}
	*ret_line = c->in + c->in_start;
	*ret_len = (size_t)(end - *ret_line);
	c->in_start = (size_t)(end - c->in) + 1;
	c->in_scanned = c->in_start;
	return CONTROL_CLIENT_LINE;
}

static size_t own_pending(const struct control_client *c)
{
	return c->out_end - c->out_start;
}

size_t control_client_pending(const struct control_client *c)
{
	return own_pending(c) + (c->text ? c->text->len - c->text_sent : 0);
}

/* Sends some of what comes next. @return as send() */
static ssize_t send_some(struct control_client *c, size_t most)
{
	size_t own = own_pending(c);
	const char *at = own ? c->out + c->out_start : c->text->bytes + c->text_sent;
	size_t len = own ? own : c->text->len - c->text_sent;
	ssize_t sent = send(c->watch.fd, at, len < most ? len : most, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (sent > 0)
		*(own ? &c->out_start : &c->text_sent) += (size_t)sent;
	return sent;
}

/* All is sent. */
static void forget_output(struct control_client *c)
{
	loop_timer_disarm(c->loop, &c->stall);
	control_text_release(c->text);
	c->text = NULL;
	c->text_sent = 0;
	free(c->out);
	c->out = NULL;
	c->out_start = c->out_end = c->out_capacity = 0;
}

int control_client_flush(struct control_client *c)
{
	size_t left = CONTROL_CLIENT_WRITE_BYTES;

	while (left > 0 && control_client_pending(c)) {
		ssize_t sent = send_some(c, left);
		if (sent < 0) {
			if (errno == EINTR)
				continue;
			if (errno != EAGAIN)
				return -ECONNRESET;
			break;
		}
		left -= (size_t)sent;
	}
	if (!control_client_pending(c))
		forget_output(c);
	else if (left < CONTROL_CLIENT_WRITE_BYTES || mono_is_never(c->stall.timer.at))
		loop_timer_arm(c->loop, &c->stall,
			mono_add_ms(loop_now(c->loop), CONTROL_CLIENT_STALL_MS));
	return 0;
}

/* Takes `line`. @return 0, -ENOMEM, -ENOBUFS */
static int queue(struct control_client *c, char *line, size_t len)
{
	size_t pending = own_pending(c);
	int rc = 0;

	if (!line)
		return -ENOMEM;
	if (c->text || pending + len > CONTROL_CLIENT_OUT_BYTES) {
		rc = -ENOBUFS;
	} else if (pending == 0) {
		free(c->out);
		c->out = line;
		c->out_start = 0;
		c->out_end = c->out_capacity = len;
		return 0;
	} else if (c->out_capacity - c->out_end < len) {
		memmove(c->out, c->out + c->out_start, pending);
		c->out_start = 0;
		c->out_end = pending;
		char *out = realloc(c->out, pending + len);
		rc = out ? 0 : -ENOMEM;
		if (out) {
			c->out = out;
			c->out_capacity = pending + len;
		}
	}
	if (!rc) {
		memcpy(c->out + c->out_end, line, len);
		c->out_end += len;
	}
	free(line);
	return rc;
}

int control_client_say(struct control_client *c, char *line, size_t len)
{
	int rc = queue(c, line, len);

	return rc ? rc : control_client_flush(c);
}

int control_client_say_shared(
	struct control_client *c, char *head, size_t len, struct control_text *text)
{
	int rc = queue(c, head, len);

	if (rc)
		return rc;
	c->text = control_text_hold(text);
	c->text_sent = 0;
	return control_client_flush(c);
}

bool control_client_has_line(const struct control_client *c)
{
	return c->in_scanned < c->in_end &&
	       memchr(c->in + c->in_scanned, '\n', c->in_end - c->in_scanned) != NULL;
}

int control_client_update(struct control_client *c)
{
	uint32_t events = 0;

	if (control_client_pending(c))
		events = EPOLLOUT;
	else if (c->waiting || c->held || c->closing)
		events = 0;
	else if (control_client_has_line(c))
		events = EPOLLOUT; /* always ready: the next round goes on */
	else if (!c->input_closed)
		events = EPOLLIN;
	return c->watch.added ? loop_watch_modify(c->loop, &c->watch, events)
			      : loop_watch_add(c->loop, &c->watch, events);
}

bool control_client_finished(const struct control_client *c)
{
	if (control_client_pending(c))
		return false;
	if (c->closing)
		return true;
	return c->input_closed && !c->waiting && !c->following && !c->watching &&
	       !control_client_has_line(c);
}
