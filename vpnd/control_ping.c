/*
 * Probes and watchers: what is told not because a client asks, but because something came, or a time is over.
 *
 * A client that pings waits for one probe at a time. Its answer is looked for after each round in which somebody waits; what
 * counts as lost is found by one timer, set to the earliest of all.
 *
 * Watchers share what was told last. Somebody new is told all states first, from the same list, so that nobody misses a change
 * or sees one twice. States are looked at when something changed, and once a second because of loss, of which no event tells;
 * both within the share of time that clients may cost.
 */
#include "vpnd/control_verbs.h"

#include "core/err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	WATCH_US = 1000000,
	EVENTS_MAX = 256, /* in one notification */
};

/* ---- ping ---------------------------------------------------------------------------------------------------- */

static bool pings(const struct control_client *c)
{
	return c->waiting && c->wait_for.method == CONTROL_PING;
}

void control_ping_begin(
	struct control_server *s, struct control_client *c, struct control_request *request)
{
	struct control_error err = {0};
	int64_t timeout_ms = request->timeout_ms ? request->timeout_ms : CONTROL_PING_MS;
	int rc = s->ops.ping(s->ops.ctx, request->peers.items[0], request->size, &c->ping, &err);

	if (rc) {
		control_verbs_complete_error(&err, rc);
		control_verbs_say_error(s, c, request->id, &err);
		control_error_fini(&err);
		return;
	}
	c->waiting = true;
	c->wait_for = *request;
	*request = (struct control_request){0};
	c->ping_until = mono_add_us(loop_now(s->loop), timeout_ms * 1000);
	s->pinging = true;
	if (mono_before(c->ping_until, s->ping_due.timer.at))
		loop_timer_arm(s->loop, &s->ping_due, c->ping_until);
}

void control_verbs_judge_pings(struct control_server *s)
{
	struct mono now = loop_now(s->loop);
	struct mono due = MONO_NEVER;

	s->pinging = false;
	list_for_each_safe (node, &s->clients) {
		struct control_client *c = control_server_client(node);
		struct control_ping result;
		if (!pings(c))
			continue;
		if (!s->ops.pong(s->ops.ctx, c->wait_for.peers.items[0], c->ping,
			    mono_due(c->ping_until, now), &result)) {
			s->pinging = true;
			due = mono_min(due, c->ping_until);
			continue;
		}
		if (c->wait_for.size > 0)
			result.size = c->wait_for.size;
		struct control_request request = c->wait_for;
		c->waiting = false;
		c->wait_for = (struct control_request){0};
		s->attention = true; /* its next request may lie there already */
		control_verbs_say(s, c, control_answer_ping(request.id, &result, NULL));
		control_request_fini(&request);
	}
	if (mono_is_never(due))
		loop_timer_disarm(s->loop, &s->ping_due);
	else
		loop_timer_arm(s->loop, &s->ping_due, due);
}

/* ---- watch --------------------------------------------------------------------------------------------------- */

static int64_t wall_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void tell(struct control_server *s, struct control_client *c,
	const struct control_event *events, int count)
{
	for (int at = 0; at < count && !c->dead; at += EVENTS_MAX) {
		int some = count - at < EVENTS_MAX ? count - at : EVENTS_MAX;
		control_verbs_say(s, c, control_event_encode(events + at, (size_t)some, NULL));
	}
}

static void tell_all(struct control_server *s, const struct control_event *changes, int count)
{
	list_for_each_safe (node, &s->clients) {
		struct control_client *c = control_server_client(node);
		struct control_event *all;
		if (!c->watching)
			continue;
		if (c->text) { /* a document goes out: nothing may stand in its middle */
			c->watch_told = false;
			continue;
		}
		if (c->watch_told) {
			tell(s, c, changes, count);
			continue;
		}
		int all_count = control_watch_all(&s->watch, s->network, wall_ms(), &all);
		if (all_count < 0)
			continue; /* next time */
		c->watch_told = true;
		tell(s, c, all, all_count);
		free(all);
	}
}

void control_verbs_tell_watchers(struct control_server *s)
{
	struct control_states states = {0};
	struct control_event *changes = NULL;
	bool any = false;

	s->watch_look = false;
	list_for_each (node, &s->clients)
		any |= control_server_client(node)->watching;
	if (!any) {
		control_watch_fini(&s->watch);
		loop_timer_disarm(s->loop, &s->watch_due);
		return;
	}
	if (!cpu_share_left(&s->share, loop_now(s->loop))) {
		control_server_work_later(s); /* comes back here */
		return;
	}
	cpu_share_begin(&s->share);
	if (s->ops.states(s->ops.ctx, &states) == 0) {
		int count =
			control_watch_update(&s->watch, &states, s->network, wall_ms(), &changes);
		if (count >= 0)
			tell_all(s, changes, count);
		free(changes);
		free(states.peers);
	}
	cpu_share_end(&s->share);
	loop_timer_arm(s->loop, &s->watch_due, mono_add_us(loop_now(s->loop), WATCH_US));
}
