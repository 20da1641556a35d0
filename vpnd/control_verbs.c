/*
 * The control server's verbs: a request is decoded, the client's right is judged, the daemon's op is called, and its
 * outcome becomes one answer.
 *
 * `wait` and `up --wait` are answered when their state holds. The daemon only marks that something changed; the look at
 * the states comes after the round, when no state is half way, and is one status document for all waits.
 */
#include "vpnd/control_verbs.h"

#include "core/err.h"
#include "core/log.h"
#include "vpnd/log_ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	FOLLOW_LINES = 100, /* in one notification */
};

/* ---- answers ------------------------------------------------------------------------------------------------- */

/* `line` is taken; a JSON text holds no NUL, so its length is strlen's. */
static void say(struct control_server *s, struct control_client *c, char *line)
{
	if (c->dead)
		free(line);
	else if (control_client_say(c, line, line ? strlen(line) : 0))
		control_server_drop(s, c);
}

void control_verbs_say_error(struct control_server *s, struct control_client *c, const char *id,
	const struct control_error *err)
{

	if (id[0])
		say(s, c, control_answer_error(id, err, NULL));
}

/* Makes sure that a failed op is explained. */
static void complete_error(struct control_error *err, int rc)
{
	if (err->code[0])
		return;
	if (rc == -ENOMEM)
		control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_MEMORY, "out of memory");
	else
		control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_FAILED, "%s", err_str(rc));
}

/* ---- wait ---------------------------------------------------------------------------------------------------- */

/*
 * 1 = the state holds, 0 = not yet, negative = it never will (`err` says why). Without names it is about every enabled
 * peer with endpoints; where there is none, about the link alone.
 */
static int wait_holds(const struct control_request *request, const struct control_status *status,
	struct control_error *err)
{
	bool want_up = !request->for_down;
	size_t judged = 0;

	for (size_t i = 0; i < request->peers.count; i++) {
		const struct control_peer *peer =
			control_status_peer(status, request->peers.items[i]);
		if (!peer) {
			control_error_no_peer(err, request->peers.items[i]);
			return -ENOENT;
		}
		if (control_state_is_up(peer->state) != want_up)
			return 0;
	}
	if (request->peers.count)
		return 1;
	for (size_t i = 0; i < status->peer_count; i++) {
		const struct control_peer *peer = &status->peers[i];
		if (!peer->enabled || peer->endpoints.count == 0)
			continue;
		if (control_state_is_up(peer->state) != want_up)
			return 0;
		judged++;
	}
	if (want_up)
		return control_state_is_up(status->state);
	return judged > 0 || status->state == CONTROL_DOWN;
}

static void answer_wait(
	struct control_server *s, struct control_client *c, struct control_error *err, int holds)
{
	struct control_request request = c->wait_for;

	c->waiting = false;
	c->wait_for = (struct control_request){0};
	if (holds < 0)
		control_verbs_say_error(s, c, request.id, err);
	else if (request.id[0] && request.method == CONTROL_METHOD_UP)
		say(s, c, control_answer_changed(request.id, c->wait_changed, NULL));
	else if (request.id[0])
		say(s, c, control_answer_empty(request.id, NULL));
	control_request_fini(&request);
}

/* Who waits for a reload waits for no state. */
static bool waits_for_state(const struct control_client *c)
{
	return c->waiting && c->wait_for.method != CONTROL_RELOAD;
}

/* Looks at one wait, or, if `only` is NULL, at all of them. */
static void judge_waits(struct control_server *s, struct control_client *only)
{
	bool waits = only != NULL;
	struct control_error err = {0};
	struct control_status status;
	int rc;

	list_for_each (node, &s->clients)
		waits |= waits_for_state(control_server_client(node));
	if (!waits)
		return;
	control_status_init(&status);
	rc = s->ops.status(s->ops.ctx, NULL, &status, &err);
	if (rc)
		complete_error(&err, rc);
	list_for_each_safe (node, &s->clients) {
		struct control_client *c = control_server_client(node);
		struct control_error own = {0};
		int holds;

		if (!waits_for_state(c) || (only && c != only))
			continue;
		holds = rc ? rc : wait_holds(&c->wait_for, &status, &own);
		if (holds)
			answer_wait(s, c, rc ? &err : &own, holds);
		control_error_fini(&own);
	}
	control_status_fini(&status);
	control_error_fini(&err);
}

/* Takes what the request owns. */
static void begin_wait(struct control_server *s, struct control_client *c,
	struct control_request *request, bool changed)
{
	c->waiting = true;
	c->wait_for = *request;
	c->wait_changed = changed;
	*request = (struct control_request){0};
	judge_waits(s, c);
}

/* ---- verbs --------------------------------------------------------------------------------------------------- */

static void do_up_down(
	struct control_server *s, struct control_client *c, struct control_request *request)
{
	bool up = request->method == CONTROL_METHOD_UP;
	struct control_error err = {0};
	bool changed = false;
	int rc;

	rc = (up ? s->ops.up : s->ops.down)(s->ops.ctx, &request->peers, &changed, &err);
	s->changed = true;
	log_info(s->log, "control: %s%s%s%s by uid %d, pid %d%s%s", up ? "up" : "down",
		request->peers.count ? " " : "",
		request->peers.count ? request->peers.items[0] : "",
		request->peers.count > 1 ? " ..." : "", (int)c->peer.uid, (int)c->peer.pid,
		rc ? ": " : "", rc ? err.text : "");
	if (rc) {
		complete_error(&err, rc);
		control_verbs_say_error(s, c, request->id, &err);
	} else if (up && request->wait) {
		begin_wait(s, c, request, changed);
	} else if (request->id[0]) {
		say(s, c, control_answer_changed(request->id, changed, NULL));
	}
	control_error_fini(&err);
}

static void do_status(
	struct control_server *s, struct control_client *c, struct control_request *request)
{
	const char *peer = request->peers.count ? request->peers.items[0] : NULL;
	struct control_error err = {0};
	struct control_status status;
	int rc;

	control_status_init(&status);
	rc = s->ops.status(s->ops.ctx, peer, &status, &err);
	if (!rc && peer && !control_status_keep(&status, peer)) {
		control_error_no_peer(&err, peer);
		rc = -ENOENT;
	}
	if (rc) {
		complete_error(&err, rc);
		control_verbs_say_error(s, c, request->id, &err);
	} else if (request->id[0]) {
		say(s, c, control_answer_status(request->id, &status, NULL));
	}
	control_status_fini(&status);
	control_error_fini(&err);
}

static void log_reload(struct control_server *s, const struct ucred *peer, bool dry_run, int rc,
	const struct control_error *err)
{
	s->changed = true;
	log_info(s->log, "control: reload%s by uid %d, pid %d%s%s", dry_run ? " (dry run)" : "",
		(int)peer->uid, (int)peer->pid, rc ? ": " : "", rc ? err->text : "");
}

static void answer_reload(struct control_server *s, struct control_client *c, const char *id,
	int rc, const struct control_reload *reload, const struct control_error *err)
{
	struct control_error own = {0};

	if (rc && !err->code[0]) {
		complete_error(&own, rc);
		err = &own;
	}
	if (rc)
		control_verbs_say_error(s, c, id, err);
	else if (id[0])
		say(s, c, control_answer_reload(id, reload, NULL));
	control_error_fini(&own);
}

/* Takes what the request owns if it is not answered at once. */
static void begin_reload(
	struct control_server *s, struct control_client *c, struct control_request *request)
{
	struct control_reload reload = {.dry_run = request->dry_run};
	struct control_error err = {0};
	int rc = s->ops.reload(s->ops.ctx, request->dry_run, &reload, &err);

	if (rc == -EINPROGRESS || rc == -EBUSY) {
		c->waiting = true;
		c->wait_for = *request;
		*request = (struct control_request){0};
	}
	if (rc == -EINPROGRESS) {
		s->reloader = c;
		s->reloader_peer = c->peer;
	} else if (rc == -EBUSY) {
		s->reload_waits = true;
	} else {
		reload.dry_run = request->dry_run;
		log_reload(s, &c->peer, request->dry_run, rc, &err);
		answer_reload(s, c, request->id, rc, &reload, &err);
	}
	control_reload_fini(&reload);
	control_error_fini(&err);
}

void control_server_reloaded(struct control_server *s, int rc, const struct control_reload *reload,
	const struct control_error *err)
{
	struct control_client *c = s->reloader;

	s->attention = true; /* what comes of the client is seen to after the round */
	s->reloader = NULL;
	log_reload(s, &s->reloader_peer, reload->dry_run, rc, err);
	if (!c)
		return;
	struct control_request request = c->wait_for;
	c->waiting = false;
	c->wait_for = (struct control_request){0};
	answer_reload(s, c, request.id, rc, reload, err);
	control_request_fini(&request);
}

/* Sends lines `from` .. as far as `count` goes. @return the number of the next line */
static uint64_t say_log(struct control_server *s, struct control_client *c, const char *id,
	uint64_t from, size_t count)
{
	struct control_log_line *lines = calloc(count ? count : 1, sizeof(*lines));
	uint64_t end = s->ring ? s->ring->next_seq : 0;
	uint64_t at = from;
	size_t used = 0;

	if (!lines) {
		control_server_drop(s, c);
		return end;
	}
	for (; at < end && at - from < count; at++) {
		const struct log_ring_line *line = log_ring_at(s->ring, at);
		if (line)
			lines[used++] = (struct control_log_line){
				line->time_ms, log_level_str(line->level), line->text};
	}
	if (used || id)
		say(s, c, control_answer_log(id, lines, used, NULL));
	free(lines);
	return at;
}

static void do_log(
	struct control_server *s, struct control_client *c, struct control_request *request)
{
	uint64_t end = s->ring ? s->ring->next_seq : 0;
	uint64_t from = s->ring ? log_ring_first(s->ring) : 0;

	if (end - from > (uint64_t)request->lines)
		from = end - (uint64_t)request->lines;
	if (request->id[0])
		(void)say_log(s, c, request->id, from, (size_t)(end - from));
	c->following = request->follow && s->ring;
	c->follow_seq = end;
}

void control_verbs_follow(struct control_server *s, struct control_client *c)
{
	while (!c->dead && c->following && !control_client_pending(c) &&
		c->follow_seq < s->ring->next_seq) {
		uint64_t first = log_ring_first(s->ring);
		if (c->follow_seq < first)
			c->follow_seq = first; /* slower than the log: what is gone is gone */
		c->follow_seq = say_log(s, c, NULL, c->follow_seq, FOLLOW_LINES);
	}
}

void control_verbs_judge_waits(struct control_server *s)
{
	judge_waits(s, NULL);
}

static const char *needed_for(const struct control_server *s, const struct control_request *request)
{
	return control_request_writes(request) ? s->admin_group : s->read_group;
}

static bool may(const struct control_client *c, const struct control_request *request)
{
	if (request->method == CONTROL_HELLO || request->method == CONTROL_VERSION)
		return true;
	return c->access >=
	       (control_request_writes(request) ? CONTROL_ACCESS_WRITE : CONTROL_ACCESS_READ);
}

static void deny(
	struct control_server *s, struct control_client *c, const struct control_request *request)
{
	struct control_error err = {0};
	const char *group = needed_for(s, request);

	s->stats.denied++;
	control_error_set(&err, CONTROL_ERROR_PERMISSION, CONTROL_CODE_PERMISSION,
		"permission denied: \"%s\" needs root or membership in group \"%.64s\"",
		control_method_str(request->method), group);
	control_error_hint(&err,
		"use sudo, or join the group: sudo usermod -aG %.64s USER (then log in again)",
		group);
	control_verbs_say_error(s, c, request->id, &err);
	control_error_fini(&err);
}

static void dispatch(
	struct control_server *s, struct control_client *c, struct control_request *request)
{

	if (!may(c, request)) {
		deny(s, c, request);
		return;
	}
	switch (request->method) {
	case CONTROL_HELLO:
	case CONTROL_VERSION:
		if (request->id[0])
			say(s, c, control_answer_hello(request->id, s->version, s->network, NULL));
		return;
	case CONTROL_METHOD_UP:
	case CONTROL_METHOD_DOWN:
		do_up_down(s, c, request);
		return;
	case CONTROL_STATUS:
	case CONTROL_PEER_LIST:
		do_status(s, c, request);
		return;
	case CONTROL_WAIT:
		begin_wait(s, c, request, false);
		return;
	case CONTROL_RELOAD:
		begin_reload(s, c, request);
		return;
	case CONTROL_LOG:
		do_log(s, c, request);
		return;
	}
}

void control_verbs_retry_reload(struct control_server *s)
{
	s->reload_waits = false;
	list_for_each_safe (node, &s->clients) {
		struct control_client *c = control_server_client(node);
		struct control_request request = c->wait_for;

		if (!c->waiting || request.method != CONTROL_RELOAD || c == s->reloader)
			continue;
		c->waiting = false;
		c->wait_for = (struct control_request){0};
		dispatch(s, c, &request); /* rights may have changed meanwhile */
		control_request_fini(&request);
		if (s->reload_waits)
			return;
	}
}

void control_verbs_handle(
	struct control_server *s, struct control_client *c, const char *line, size_t len)
{
	struct control_request request;
	struct control_error err = {0};

	s->stats.requests++;
	if (control_request_decode(line, len, &request, &err)) {
		s->stats.bad_requests++;
		complete_error(&err, -ERR_PROTOCOL);
		control_verbs_say_error(s, c, request.id, &err);
	} else {
		dispatch(s, c, &request);
		control_request_fini(&request);
	}
	control_error_fini(&err);
}
