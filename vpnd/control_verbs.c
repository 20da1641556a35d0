/*
 * The control server's verbs: a request is decoded, the client's right is judged, the daemon's op is called, and its
 * outcome becomes one answer.
 *
 * Questions cost time that packets would have: cpu_share says how much there is, control_server.c when to go on. Of a
 * question that takes long, the status of all peers, many clients get one answer.
 *
 * `wait` and `up --wait` are answered when their state holds. The daemon only marks that something changed; the look at
 * the states comes after the round, when no state is half way, and is one for all waits.
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

/* A JSON text holds no NUL, so its length is strlen's. */
void control_verbs_say(struct control_server *s, struct control_client *c, char *line)
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
		control_verbs_say(s, c, control_answer_error(id, err, NULL));
}

void control_verbs_complete_error(struct control_error *err, int rc)
{
	if (err->code[0])
		return;
	if (rc == -ENOMEM)
		control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_MEMORY, "out of memory");
	else
		control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_FAILED, "%s", err_str(rc));
}

/* ---- wait ---------------------------------------------------------------------------------------------------- */

static const struct control_peer_state *find(const struct control_states *states, const char *name)
{
	for (size_t i = 0; i < states->count; i++) {
		if (strcmp(states->peers[i].name, name) == 0)
			return &states->peers[i];
	}
	return NULL;
}

/*
 * 1 = the state holds, 0 = not yet, negative = it never will (`err` says why). Without names it is about every enabled
 * peer with endpoints; where there is none, about the link alone.
 */
static int wait_holds(const struct control_request *request, const struct control_states *states,
	struct control_error *err)
{
	bool want_up = !request->for_down;
	size_t judged = 0;

	for (size_t i = 0; i < request->peers.count; i++) {
		const struct control_peer_state *peer = find(states, request->peers.items[i]);
		if (!peer) {
			control_error_no_peer(err, request->peers.items[i]);
			return -ENOENT;
		}
		if (control_state_is_up(peer->state) != want_up)
			return 0;
	}
	if (request->peers.count)
		return 1;
	for (size_t i = 0; i < states->count; i++) {
		const struct control_peer_state *peer = &states->peers[i];
		if (!peer->awaited)
			continue;
		if (control_state_is_up(peer->state) != want_up)
			return 0;
		judged++;
	}
	if (want_up)
		return control_state_is_up(states->network);
	return judged > 0 || states->network == CONTROL_DOWN;
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
		control_verbs_say(s, c, control_answer_changed(request.id, c->wait_changed, NULL));
	else if (request.id[0])
		control_verbs_say(s, c, control_answer_empty(request.id, NULL));
	control_request_fini(&request);
}

static bool waits_for_document(const struct control_client *c)
{
	return c->waiting &&
	       (c->wait_for.method == CONTROL_STATUS || c->wait_for.method == CONTROL_PEER_LIST);
}

/* What another configuration comes of, and so one at a time. */
static bool is_change(enum control_method method)
{
	return method == CONTROL_RELOAD || method == CONTROL_PEER_ADD || method == CONTROL_PEER_DEL;
}

/* Who waits for a change, for a document or for a probe, waits for no state. */
static bool waits_for_state(const struct control_client *c)
{
	return c->waiting && !is_change(c->wait_for.method) && c->wait_for.method != CONTROL_PING &&
	       !waits_for_document(c);
}

/* Looks at one wait, or, if `only` is NULL, at all of them. */
static void judge_waits(struct control_server *s, struct control_client *only)
{
	bool waits = only != NULL;
	struct control_error err = {0};
	struct control_states states = {0};
	int rc;

	list_for_each (node, &s->clients)
		waits |= waits_for_state(control_server_client(node));
	if (!waits)
		return;
	rc = s->ops.states(s->ops.ctx, &states);
	if (rc)
		control_verbs_complete_error(&err, rc);
	list_for_each_safe (node, &s->clients) {
		struct control_client *c = control_server_client(node);
		struct control_error own = {0};
		int holds;

		if (!waits_for_state(c) || (only && c != only))
			continue;
		holds = rc ? rc : wait_holds(&c->wait_for, &states, &own);
		if (holds)
			answer_wait(s, c, rc ? &err : &own, holds);
		control_error_fini(&own);
	}
	free(states.peers);
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
	control_document_outdate(&s->document);
	log_info(s->log, "control: %s%s%s%s by uid %d, pid %d%s%s", up ? "up" : "down",
		request->peers.count ? " " : "",
		request->peers.count ? request->peers.items[0] : "",
		request->peers.count > 1 ? " ..." : "", (int)c->peer.uid, (int)c->peer.pid,
		rc ? ": " : "", rc ? err.text : "");
	if (rc) {
		control_verbs_complete_error(&err, rc);
		control_verbs_say_error(s, c, request->id, &err);
	} else if (up && request->wait) {
		begin_wait(s, c, request, changed);
	} else if (request->id[0]) {
		control_verbs_say(s, c, control_answer_changed(request->id, changed, NULL));
	}
	control_error_fini(&err);
}

static void say_peer(
	struct control_server *s, struct control_client *c, const struct control_request *request)
{
	struct control_error err = {0};
	struct control_status status;
	int rc;

	control_status_init(&status);
	rc = s->ops.status_peer(s->ops.ctx, request->peers.items[0], &status, &err);
	if (!rc)
		rc = s->ops.status(s->ops.ctx, &status, &err);
	if (rc) {
		control_verbs_complete_error(&err, rc);
		control_verbs_say_error(s, c, request->id, &err);
	} else {
		control_verbs_say(s, c, control_answer_status(request->id, &status, NULL));
	}
	control_status_fini(&status);
	control_error_fini(&err);
}

/* Takes what the request owns. All peers: the answer comes from control_verbs_make_documents(), mostly at once. */
static void do_status(
	struct control_server *s, struct control_client *c, struct control_request *request)
{
	if (request->peers.count) {
		say_peer(s, c, request);
		return;
	}
	c->waiting = true;
	c->wait_for = *request;
	c->wait_number = control_document_wanted(&s->document, loop_now(s->loop));
	*request = (struct control_request){0};
}

/* @err  NULL: the document is ready */
static void answer_status(
	struct control_server *s, struct control_client *c, const struct control_error *err)
{
	struct control_request request = c->wait_for;
	size_t len = 0;

	s->attention = true; /* what comes of the client is seen to after the round */
	c->waiting = false;
	c->wait_for = (struct control_request){0};
	if (err) {
		control_verbs_say_error(s, c, request.id, err);
	} else {
		char *head = control_answer_begin(request.id, s->document.head, &len);
		if (control_client_say_shared(c, head, len, s->document.text))
			control_server_drop(s, c);
	}
	control_request_fini(&request);
}

/* Answers those whose document is ready, or, with an error, those who wait for the one that failed. @return who is left */
static size_t answer_documents(struct control_server *s, const struct control_error *err)
{
	size_t left = 0;

	list_for_each_safe (node, &s->clients) {
		struct control_client *c = control_server_client(node);
		if (!waits_for_document(c))
			continue;
		if (err ? c->wait_number <= s->document.number
			: control_document_ready(&s->document, c->wait_number))
			answer_status(s, c, err);
		else
			left++;
	}
	return left;
}

void control_verbs_make_documents(struct control_server *s)
{
	struct control_error err = {0};

	while (answer_documents(s, NULL) > 0) {
		int rc = s->document.making ? 0 : control_document_begin(&s->document);
		if (!rc)
			rc = control_document_step(
				&s->document, &s->ops, &s->share, loop_now(s->loop), &err);
		if (rc == 0) {
			control_server_work_later(s);
			return;
		}
		if (rc < 0) {
			control_verbs_complete_error(&err, rc);
			(void)answer_documents(s, &err);
			control_error_fini(&err);
		}
	}
	struct mono again = control_document_rest(&s->document, loop_now(s->loop));
	if (mono_before(again, s->work.timer.at))
		loop_timer_arm(s->loop, &s->work, again);
}

static void log_change(struct control_server *s, const struct ucred *peer,
	const struct control_request *request, int rc, const struct control_error *err)
{
	s->changed = true;
	control_document_outdate(&s->document);
	log_info(s->log, "control: %s%s%s%s by uid %d, pid %d%s%s",
		control_method_str(request->method), request->dry_run ? " (dry run)" : "",
		request->peers.count ? " " : "",
		request->peers.count ? request->peers.items[0] : "", (int)peer->uid, (int)peer->pid,
		rc ? ": " : "", rc ? err->text : "");
}

static void answer_change(struct control_server *s, struct control_client *c,
	const struct control_request *request, int rc, const struct control_reload *reload,
	const struct control_error *err)
{
	struct control_error own = {0};

	if (rc && !err->code[0]) {
		control_verbs_complete_error(&own, rc);
		err = &own;
	}
	if (rc)
		control_verbs_say_error(s, c, request->id, err);
	else if (request->id[0] && request->method == CONTROL_RELOAD)
		control_verbs_say(s, c, control_answer_reload(request->id, reload, NULL));
	else if (request->id[0])
		control_verbs_say(s, c,
			control_answer_peer_changed(request->id,
				reload->added.count + reload->removed.count > 0, &reload->warnings,
				NULL));
	control_error_fini(&own);
}

/* Takes what the request owns if it is not answered at once. */
static void begin_change(
	struct control_server *s, struct control_client *c, struct control_request *request)
{
	struct control_reload reload = {.dry_run = request->dry_run};
	struct control_error err = {0};
	int rc = request->method == CONTROL_RELOAD
			 ? s->ops.reload(s->ops.ctx, request->dry_run, &reload, &err)
			 : s->ops.change_peer(s->ops.ctx, request, &reload, &err);

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
		log_change(s, &c->peer, request, rc, &err);
		answer_change(s, c, request, rc, &reload, &err);
	}
	control_reload_fini(&reload);
	control_error_fini(&err);
}

void control_server_reloaded(struct control_server *s, int rc, const struct control_reload *reload,
	const struct control_error *err)
{
	struct control_client *c = s->reloader;
	struct control_request gone = {.method = CONTROL_RELOAD, .dry_run = reload->dry_run};

	s->attention = true; /* what comes of the client is seen to after the round */
	s->reloader = NULL;
	log_change(s, &s->reloader_peer, c ? &c->wait_for : &gone, rc, err);
	if (!c)
		return;
	struct control_request request = c->wait_for;
	c->waiting = false;
	c->wait_for = (struct control_request){0};
	answer_change(s, c, &request, rc, reload, err);
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
		control_verbs_say(s, c, control_answer_log(id, lines, used, NULL));
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
	if (!cpu_share_left(&s->share, loop_now(s->loop))) {
		control_server_work_later(s);
		return;
	}
	s->changed = false;
	cpu_share_begin(&s->share);
	judge_waits(s, NULL);
	cpu_share_end(&s->share);
}

static void begin_watch(
	struct control_server *s, struct control_client *c, struct control_request *request)
{
	control_verbs_say(s, c, control_answer_empty(request->id, NULL));
	if (c->watching)
		return;
	c->watching = true;
	c->watch_told = false;
	s->watch_look = true;
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
	if (!request->id[0] && !control_request_writes(request))
		return; /* a question whose answer nobody wants */
	switch (request->method) {
	case CONTROL_HELLO:
	case CONTROL_VERSION:
		if (request->id[0])
			control_verbs_say(s, c,
				control_answer_hello(request->id, s->version, s->network, NULL));
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
	case CONTROL_PEER_ADD:
	case CONTROL_PEER_DEL:
		begin_change(s, c, request);
		return;
	case CONTROL_PING:
		control_ping_begin(s, c, request);
		return;
	case CONTROL_WATCH:
		begin_watch(s, c, request);
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

		if (!c->waiting || !is_change(request.method) || c == s->reloader)
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
		control_verbs_complete_error(&err, -ERR_PROTOCOL);
		control_verbs_say_error(s, c, request.id, &err);
	} else {
		dispatch(s, c, &request);
		control_request_fini(&request);
	}
	control_error_fini(&err);
}
