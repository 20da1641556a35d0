/*
 * Two lists of peers are compared: those that were told and those that are. Both stand in the order of the configuration, so
 * the one to compare with is mostly the next; only after a reload it has to be looked for.
 */
#include "vpnd/control_watch.h"

#include "vpnd/control_server.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(struct control_event *event, enum control_event_kind kind, const char *name,
	int state, int was, int64_t now_ms)
{
	*event = (struct control_event){.kind = kind,
		.time_ms = now_ms,
		.state = state,
		.was = was,
		.generation = CONTROL_UNKNOWN};
	(void)snprintf(event->name, sizeof(event->name), "%s", name);
}

/* @return the index of `name`, looked for from `hint` on; `count` if it is not there */
static size_t find(const struct control_watched *peers, size_t count, size_t hint, const char *name)
{
	for (size_t n = 0; n < count; n++) {
		size_t i = (hint + n) % count;
		if (strcmp(peers[i].name, name) == 0)
			return i;
	}
	return count;
}

static size_t compare(const struct control_watch *watch, const struct control_watched *now,
	size_t count, const char *network, int state, int64_t generation, int64_t now_ms,
	struct control_event *events)
{
	size_t used = 0, met = 0, hint = 0;

	if (watch->generation != generation) {
		put(&events[used], CONTROL_EVENT_CONFIG, network, CONTROL_UNKNOWN, CONTROL_UNKNOWN,
			now_ms);
		events[used++].generation = generation;
	}
	for (size_t i = 0; i < count; i++) {
		size_t at = find(watch->peers, watch->count, hint, now[i].name);
		if (at == watch->count) {
			put(&events[used++], CONTROL_EVENT_ADDED, now[i].name, now[i].state,
				CONTROL_UNKNOWN, now_ms);
			continue;
		}
		met++;
		hint = at + 1;
		if (watch->peers[at].state != now[i].state)
			put(&events[used++], CONTROL_EVENT_PEER, now[i].name, now[i].state,
				watch->peers[at].state, now_ms);
	}
	hint = 0;
	for (size_t i = 0; met < watch->count && i < watch->count; i++) {
		size_t at = find(now, count, hint, watch->peers[i].name);
		if (at == count)
			put(&events[used++], CONTROL_EVENT_REMOVED, watch->peers[i].name,
				CONTROL_UNKNOWN, watch->peers[i].state, now_ms);
		else
			hint = at + 1;
	}
	if (watch->network != state)
		put(&events[used++], CONTROL_EVENT_NETWORK, network, state, watch->network, now_ms);
	return used;
}

int control_watch_update(struct control_watch *watch, const struct control_states *states,
	const char *network, int64_t now_ms, struct control_event **ret_events)
{
	size_t count = states->count;
	struct control_watched *now = calloc(count ? count : 1, sizeof(*now));
	struct control_event *events = NULL;
	size_t used = 0;

	if (!now)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		(void)snprintf(now[i].name, sizeof(now[i].name), "%s", states->peers[i].name);
		now[i].state = (int)states->peers[i].state;
	}
	if (watch->known) {
		bool same = watch->network == (int)states->network &&
			    watch->generation == states->generation && watch->count == count &&
			    memcmp(watch->peers, now, count * sizeof(*now)) == 0;
		if (!same) {
			events = calloc(count + watch->count + 2, sizeof(*events));
			if (!events) {
				free(now);
				return -ENOMEM;
			}
			used = compare(watch, now, count, network, (int)states->network,
				states->generation, now_ms, events);
		}
	}
	free(watch->peers);
	*watch = (struct control_watch){.peers = now,
		.count = count,
		.network = (int)states->network,
		.generation = states->generation,
		.known = true};
	if (used == 0) {
		free(events);
		events = NULL;
	}
	*ret_events = events;
	return (int)used;
}

int control_watch_all(const struct control_watch *watch, const char *network, int64_t now_ms,
	struct control_event **ret_events)
{
	struct control_event *events = calloc(watch->count + 1, sizeof(*events));

	if (!events)
		return -ENOMEM;
	put(&events[0], CONTROL_EVENT_NETWORK, network, watch->network, CONTROL_UNKNOWN, now_ms);
	events[0].generation = watch->generation;
	for (size_t i = 0; i < watch->count; i++)
		put(&events[i + 1], CONTROL_EVENT_PEER, watch->peers[i].name, watch->peers[i].state,
			CONTROL_UNKNOWN, now_ms);
	*ret_events = events;
	return (int)watch->count + 1;
}

void control_watch_fini(struct control_watch *watch)
{
	free(watch->peers);
	*watch = (struct control_watch){0};
}
