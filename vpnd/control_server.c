/*
 * The control server: accepts, judges, dispatches, answers. control_client moves the bytes, control_access reads the
 * credentials, control_socket owns the file; the ops table of the daemon does the work.
 *
 * Life of a client: it stands in `clients`, least recently active first. Whatever ends it calls drop(), which closes it at
 * once but leaves its memory in `dead` until no function of this file can be using it any more (reap()).
 */
#include "vpnd/control_server.h"

#include "control/control_msg.h"
#include "core/err.h"
#include "vpnd/control_access.h"
#include "vpnd/control_verbs.h"
#include "vpnd/log_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
	ACCEPTS_PER_ROUND = 16,
};

void control_server_drop(struct control_server *s, struct control_client *c)
{
	if (c->dead)
		return;
	if (s->reloader == c)
		s->reloader = NULL;
	control_client_kill(c);
	list_add_tail(&s->dead, &c->node);
	s->stats.clients--;
}

static void reap(struct control_server *s)
{
	struct list *node;

	while ((node = list_pop(&s->dead)) != NULL)
		control_client_free(control_server_client(node));
}

/* The one who reads least goes: of those with the least rights, who has done nothing for longest. */
static struct control_client *slowest(struct control_server *s)
{
	struct control_client *slowest = NULL;

	list_for_each (node, &s->clients) {
		struct control_client *c = control_server_client(node);
		if (control_client_pending(c) && (!slowest || c->access < slowest->access))
			slowest = c;
	}
	return slowest;
}

static size_t out_bytes(struct control_server *s)
{
	size_t bytes = s->document.total;

	list_for_each (node, &s->clients)
		bytes += control_server_client(node)->out_capacity;
	return bytes;
}

static void bound_output(struct control_server *s)
{
	struct control_client *c;

	while (out_bytes(s) > CONTROL_OUT_BYTES && (c = slowest(s)) != NULL) {
		s->stats.shed++;
		control_server_drop(s, c);
		reap(s);
	}
}

/* The end of everything that begins with an event: no list is being walked through any more. */
static void leave(struct control_server *s)
{
	control_verbs_make_documents(s);
	bound_output(s);
	reap(s);
}

/* ---- clients ------------------------------------------------------------------------------------------------- */

static void refuse_long_line(struct control_server *s, struct control_client *c)
{
	struct control_error err = {0};

	s->stats.bad_requests++;
	control_error_set(&err, CONTROL_ERROR_USAGE, CONTROL_CODE_TOO_LONG,
		"the request is longer than %d bytes", CONTROL_REQUEST_MAX_BYTES);
	c->closing = true;
	control_verbs_say_error(s, c, "null", &err);
	control_error_fini(&err);
}

/* Whoever may give orders gives them at once; all others share what time there is for them. */
static bool must_wait(struct control_server *s, struct control_client *c)
{
	if (c->access == CONTROL_ACCESS_WRITE || !control_client_has_line(c))
		return false;
	cpu_share_end(&s->share); /* of the lines before */
	if (cpu_share_left(&s->share, loop_now(s->loop)))
		return false;
	control_server_work_later(s);
	return true;
}

static void serve_lines(struct control_server *s, struct control_client *c)
{
	for (int i = 0; i < CONTROL_CLIENT_LINES_PER_ROUND; i++) {
		const char *line;
		size_t len;

		if (c->dead || c->waiting || c->closing || control_client_pending(c))
			return;
		if (must_wait(s, c)) {
			c->held = true;
			return;
		}
		switch (control_client_line(c, &line, &len)) {
		case CONTROL_CLIENT_LINE:
			control_verbs_handle(s, c, line, len);
			break;
		case CONTROL_CLIENT_TOO_LONG:
			refuse_long_line(s, c);
			return;
		case CONTROL_CLIENT_NO_LINE:
			return;
		}
	}
}

/* After anything that may have changed what a client waits for. */
static void settle(struct control_server *s, struct control_client *c)
{
	if (!c->dead && (control_client_finished(c) || control_client_update(c)))
		control_server_drop(s, c);
}

/* Serves what came for a client, or what it was held back from. The client may be dropped by it. */
static void serve(struct control_server *s, struct control_client *c, uint32_t events)
{
	bool reading = (c->watch.events & EPOLLIN) && (events & EPOLLIN);
	bool charged = c->access != CONTROL_ACCESS_WRITE;
	int rc = 0;

	if (charged)
		cpu_share_begin(&s->share);
	if (reading)
		rc = control_client_read(c);
	else if (events & (EPOLLHUP | EPOLLERR)) /* gone, and nothing of it is left to read */
		rc = -ECONNRESET;
	if (!rc && (events & EPOLLOUT))
		rc = control_client_flush(c);
	if (rc)
		control_server_drop(s, c);
	else
		serve_lines(s, c);
	settle(s, c);
	if (charged)
		cpu_share_end(&s->share);
}

static void on_client_event(struct loop_watch *watch, uint32_t events)
{
	struct control_client *c = list_entry(watch, struct control_client, watch);
	struct control_server *s = c->owner;

	s->attention = true;
	list_remove(&c->node);
	list_add_tail(&s->clients, &c->node);
	serve(s, c, events);
	leave(s);
}

static void on_client_stall(struct loop_timer *timer, struct mono now)
{
	struct control_client *c = list_entry(timer, struct control_client, stall);
	struct control_server *s = c->owner;

	(void)now;
	s->stats.stalled++;
	control_server_drop(s, c);
	leave(s);
}

/* There is something of the share again. */
static void on_work(struct loop_timer *timer, struct mono now)
{
	struct control_server *s = list_entry(timer, struct control_server, work);

	(void)now;
	s->attention = true;
	s->watch_look = true;
	list_for_each_safe (node, &s->clients) {
		struct control_client *c = control_server_client(node);
		if (!c->held)
			continue;
		c->held = false;
		serve(s, c, 0);
	}
	leave(s);
}

static void on_ping_due(struct loop_timer *timer, struct mono now)
{
	struct control_server *s = list_entry(timer, struct control_server, ping_due);

	(void)now;
	s->pinging = true;
}

static void on_watch_due(struct loop_timer *timer, struct mono now)
{
	struct control_server *s = list_entry(timer, struct control_server, watch_due);

	(void)now;
	s->watch_look = true;
}

void control_server_work_later(struct control_server *s)
{
	struct mono due = cpu_share_due(&s->share, loop_now(s->loop));

	if (mono_before(due, s->work.timer.at))
		loop_timer_arm(s->loop, &s->work, due);
}

static bool is_idle(const struct control_client *c)
{
	return !c->waiting && !c->following && !c->watching;
}

/* Rather him than `other`: who is idle, then who has less rights, then who has been quiet for longer (stands first). */
static bool rather(const struct control_client *c, const struct control_client *other)
{
	if (!other || is_idle(c) != is_idle(other))
		return !other || is_idle(c);
	return c->access < other->access;
}

/*
 * Makes room for one more client. Idle ones go for whoever has as many rights; busy ones only for somebody with more; and for
 * root anybody goes, or sixty-four others who may give orders could keep him out.
 */
static bool make_place(struct control_server *s, enum control_access access, uid_t uid)
{
	struct control_client *victim = NULL;

	if (s->stats.clients < CONTROL_CLIENTS_MAX)
		return true;
	list_for_each (node, &s->clients) {
		struct control_client *c = control_server_client(node);
		bool may = uid == 0 || c->access < access || (is_idle(c) && c->access == access);
		if (may && rather(c, victim))
			victim = c;
	}
	if (!victim)
		return false;
	s->stats.evicted++;
	control_server_drop(s, victim);
	return true;
}

/* Says why and closes: one attempt, no waiting. */
static void refuse_client(struct control_server *s, int fd)
{
	struct control_error err = {0};
	size_t len = 0;
	char *line;

	s->stats.refused++;
	control_error_set(&err, CONTROL_ERROR_OTHER, CONTROL_CODE_BUSY,
		"the daemon serves %d control clients already", CONTROL_CLIENTS_MAX);
	control_error_hint(&err, "end some of them, then try again");
	line = control_answer_error("null", &err, &len);
	if (line)
		(void)send(fd, line, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	free(line);
	control_error_fini(&err);
	close(fd);
}

static void admit(struct control_server *s, int fd)
{
	struct control_client *c;
	struct ucred peer;
	enum control_access access =
		control_access_read(fd, s->trusted_uid, s->read_gid, s->admin_gid, &peer);

	if (!make_place(s, access, peer.uid)) {
		refuse_client(s, fd);
		return;
	}
	c = control_client_new(s->loop, fd, s);
	if (!c) {
		refuse_client(s, fd);
		return;
	}
	c->access = access;
	c->peer = peer;
	c->watch.on_event = on_client_event;
	c->stall.on_due = on_client_stall;
	list_add_tail(&s->clients, &c->node);
	s->stats.clients++;
	s->stats.accepted++;
	settle(s, c);
}

/*
 * Out of descriptors, the listener would stay ready and the loop would spin. So one descriptor is kept in reserve: with it
 * the client is taken and let go.
 */
static void shed_one(struct control_server *s)
{
	int fd;

	if (s->spare_fd < 0)
		return;
	close(s->spare_fd);
	fd = accept4(s->listener.fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	s->stats.refused++;
}

static void on_listener(struct loop_watch *watch, uint32_t events)
{
	struct control_server *s = list_entry(watch, struct control_server, listener);

	(void)events;
	for (int i = 0; i < ACCEPTS_PER_ROUND; i++) {
		int fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			admit(s, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE)
			shed_one(s);
		if (errno != EINTR && errno != ECONNABORTED)
			break;
	}
	reap(s);
}

/* ---- the server ---------------------------------------------------------------------------------------------- */

int control_server_set_admin_group(struct control_server *s, const char *admin_group)
{
	char *copy = strdup(admin_group ? admin_group : "");

	if (!copy)
		return -ENOMEM;
	free(s->admin_group);
	s->admin_group = copy;
	s->admin_gid = control_access_gid(copy);
	list_for_each (node, &s->clients) {
		struct control_client *c = control_server_client(node);
		c->access = control_access_read(
			c->watch.fd, s->trusted_uid, s->read_gid, s->admin_gid, &c->peer);
	}
	return 0;
}

static void free_strings(struct control_server *s)
{
	free(s->network);
	free(s->version);
	free(s->read_group);
	free(s->admin_group);
}

int control_server_new(struct loop *loop, const struct control_server_config *config,
	const struct control_ops *ops, struct control_server **ret_server,
	struct control_error *err)
{
	struct control_server *s = calloc(1, sizeof(*s));
	int rc = -ENOMEM;

	if (!s)
		goto out_of_memory;
	s->loop = loop;
	s->ops = *ops;
	s->log = config->log;
	s->ring = config->ring;
	s->trusted_uid = config->trusted_uid;
	s->socket.fd = -1;
	list_init(&s->clients);
	list_init(&s->dead);
	loop_timer_init(&s->work, on_work);
	loop_timer_init(&s->ping_due, on_ping_due);
	loop_timer_init(&s->watch_due, on_watch_due);
	cpu_share_init(&s->share, config->cpu_us, loop_now(loop));
	s->network = strdup(config->network);
	s->version = strdup(config->version);
	s->read_group = strdup(config->read_group ? config->read_group : "");
	if (!s->network || !s->version || !s->read_group ||
		control_server_set_admin_group(s, config->admin_group))
		goto free_server;
	s->read_gid = control_access_gid(s->read_group);
	rc = 0;
	if (config->passed_fd)
		control_socket_adopt(*config->passed_fd, s->read_gid, &s->socket);
	else
		rc = control_socket_open(config->path, s->read_gid, &s->socket, err);
	if (rc) {
		free_strings(s);
		free(s);
		return rc;
	}
	s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	s->listener.fd = s->socket.fd;
	s->listener.on_event = on_listener;
	rc = loop_watch_add(loop, &s->listener, EPOLLIN);
	if (rc)
		goto close_socket;
	*ret_server = s;
	return 0;
close_socket:
	if (s->spare_fd >= 0)
		close(s->spare_fd);
	control_socket_close(&s->socket);
free_server:
	free_strings(s);
	free(s);
out_of_memory:
	control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_SOCKET,
		"cannot open the control socket: %s", err_str(rc));
	return rc;
}

void control_server_free(struct control_server *s)
{
	if (!s)
		return;
	list_for_each_safe (node, &s->clients)
		control_server_drop(s, control_server_client(node));
	reap(s);
	control_document_fini(&s->document);
	control_watch_fini(&s->watch);
	loop_timer_disarm(s->loop, &s->work);
	loop_timer_disarm(s->loop, &s->ping_due);
	loop_timer_disarm(s->loop, &s->watch_due);
	loop_watch_remove(s->loop, &s->listener);
	control_socket_close(&s->socket);
	if (s->spare_fd >= 0)
		close(s->spare_fd);
	free_strings(s);
	free(s);
}

const struct control_socket *control_server_socket(const struct control_server *s)
{
	return &s->socket;
}

void control_server_state_changed(struct control_server *s)
{
	s->changed = true;
}

void control_server_after_round(struct control_server *s)
{
	bool news = s->ring && s->ring->next_seq != s->log_seen;

	if (s->reload_waits)
		control_verbs_retry_reload(s);
	if (!s->changed && !s->attention && !news && !s->pinging && !s->watch_look)
		return; /* the usual case: the round was about packets */
	if (s->pinging)
		control_verbs_judge_pings(s);
	if (s->watch_look || (s->changed && s->watch.known))
		control_verbs_tell_watchers(s);
	if (s->changed)
		control_verbs_judge_waits(s);
	s->attention = false;
	if (s->ring)
		s->log_seen = s->ring->next_seq;
	list_for_each_safe (node, &s->clients) {
		struct control_client *c = control_server_client(node);
		control_verbs_follow(s, c);
		settle(s, c);
	}
	bound_output(s);
	reap(s);
}

const struct control_server_stats *control_server_stats(const struct control_server *s)
{
	return &s->stats;
}
