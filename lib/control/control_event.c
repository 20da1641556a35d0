/*
 * Events as JSON: {"time_ms", "event", "name", "state", "was", "generation"}, every key always there, null where it does not
 * apply, many of them in one notification so that ten thousand peers do not make ten thousand lines.
 */
#include "control/control_event.h"

#include "control/control_json.h"
#include "core/err.h"

#include <errno.h>
#include <string.h>

static const char *const KINDS[] = {
	[CONTROL_EVENT_NETWORK] = "network",
	[CONTROL_EVENT_PEER] = "peer",
	[CONTROL_EVENT_ADDED] = "added",
	[CONTROL_EVENT_REMOVED] = "removed",
	[CONTROL_EVENT_CONFIG] = "config",
};

enum {
	KIND_COUNT = sizeof(KINDS) / sizeof(KINDS[0]),
};

const char *control_event_kind_str(enum control_event_kind kind)
{
	return (size_t)kind < KIND_COUNT ? KINDS[kind] : "unknown";
}

static json_t *state_json(int state)
{
	return state < 0 ? json_null() : json_string(control_state_str((enum control_state)state));
}

static json_t *event_json(const struct control_event *event)
{
	json_t *o = json_object();
	bool failed = !o;

	failed |= json_object_set_new(o, "time_ms", control_json_count(event->time_ms)) != 0;
	failed |= json_object_set_new(
			  o, "event", json_string(control_event_kind_str(event->kind))) != 0;
	failed |= json_object_set_new(o, "name", control_json_text(event->name)) != 0;
	failed |= json_object_set_new(o, "state", state_json(event->state)) != 0;
	failed |= json_object_set_new(o, "was", state_json(event->was)) != 0;
	failed |= json_object_set_new(o, "generation", control_json_count(event->generation)) != 0;
	if (!failed)
		return o;
	json_decref(o);
	return NULL;
}

char *control_event_encode(const struct control_event *events, size_t count, size_t *ret_len)
{
	json_t *root = json_object();
	json_t *params = json_object();
	json_t *array = json_array();
	bool failed = !root || !params || !array;

	for (size_t i = 0; !failed && i < count; i++)
		failed |= json_array_append_new(array, event_json(&events[i])) != 0;
	failed |= json_object_set_new(params, "events", array) != 0;
	failed |= json_object_set_new(root, "jsonrpc", json_string("2.0")) != 0;
	failed |= json_object_set_new(root, "method", json_string("watch")) != 0;
	failed |= json_object_set_new(root, "params", params) != 0;
	return control_json_line(root, failed, ret_len);
}

/* A state that a later daemon may have is none that we know: not told, but no failure. */
static int state_of(struct control_json_reader *r, const char *key)
{
	char text[CONTROL_NAME_BYTES] = "";

	control_json_read_text(r, key, text, sizeof(text));
	for (int i = CONTROL_DOWN; i <= CONTROL_IDLE; i++) {
		if (!strcmp(text, control_state_str((enum control_state)i)))
			return i;
	}
	return CONTROL_UNKNOWN;
}

int control_event_from_json(const json_t *doc, size_t index, struct control_event *ret_event)
{
	const json_t *events = json_object_get(doc, "events");
	struct control_json_reader r = {.object = json_array_get(events, index)};
	struct control_event event = {.time_ms = CONTROL_UNKNOWN, .generation = CONTROL_UNKNOWN};
	char kind[CONTROL_NAME_BYTES] = "";
	size_t i = 0;

	if (!json_is_array(events))
		return -ERR_PROTOCOL;
	if (index >= json_array_size(events))
		return -ENOENT;
	r.failed = !json_is_object(r.object);
	control_json_read_text(&r, "event", kind, sizeof(kind));
	while (i < KIND_COUNT && strcmp(KINDS[i], kind) != 0)
		i++;
	control_json_read_text(&r, "name", event.name, sizeof(event.name));
	control_json_read_count(&r, "time_ms", &event.time_ms);
	control_json_read_count(&r, "generation", &event.generation);
	event.state = state_of(&r, "state");
	event.was = state_of(&r, "was");
	if (r.failed || i == KIND_COUNT)
		return -ERR_PROTOCOL;
	event.kind = (enum control_event_kind)i;
	*ret_event = event;
	return 0;
}
