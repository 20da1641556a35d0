/*
 * Answers: vpnd encodes them, kcpctl decodes them. Every encoder ends in control_json_line(), which is the one place
 * where an object becomes a line.
 *
 * Standards: JSON-RPC 2.0, section 5.
 */
#include "control/control_msg.h"

#include "control/control_json.h"
#include "core/err.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- encoding ------------------------------------------------------------------------------------------------ */

/* Takes `value`. */
static void put(json_t *object, const char *key, json_t *value, bool *failed)
{
	if (json_object_set_new(object, key, value))
		*failed = true;
}

/* Takes `value`; `key` is "result" or "error". */
static char *answer(const char *id, const char *key, json_t *value, size_t *ret_len)
{
	json_t *root = json_object();
	bool failed = !root;

	put(root, "jsonrpc", json_string("2.0"), &failed);
	put(root, "id", json_loads(id, JSON_DECODE_ANY, NULL), &failed);
	put(root, key, value, &failed);
	return control_json_line(root, failed, ret_len);
}

/* Drops a half-built object. */
static json_t *whole(json_t *object, bool failed)
{
	if (!failed)
		return object;
	json_decref(object);
	return NULL;
}

char *control_answer_hello(
	const char *id, const char *version, const char *network, size_t *ret_len)
{
	json_t *o = json_object();
	bool failed = !o;

	put(o, "protocol", json_integer(CONTROL_PROTOCOL), &failed);
	put(o, "daemon", control_json_text(version), &failed);
	put(o, "network", control_json_text(network), &failed);
	return answer(id, "result", whole(o, failed), ret_len);
}

char *control_answer_changed(const char *id, bool changed, size_t *ret_len)
{
	json_t *o = json_object();
	bool failed = !o;

	put(o, "changed", json_boolean(changed), &failed);
	return answer(id, "result", whole(o, failed), ret_len);
}

char *control_answer_peer_changed(
	const char *id, bool changed, const struct control_strings *warnings, size_t *ret_len)
{
	json_t *o = json_object();
	bool failed = !o;

	put(o, "changed", json_boolean(changed), &failed);
	put(o, "warnings", control_json_strings(warnings), &failed);
	return answer(id, "result", whole(o, failed), ret_len);
}

char *control_answer_ping(const char *id, const struct control_ping *ping, size_t *ret_len)
{
	json_t *o = json_object();
	bool failed = !o;

	put(o, "rtt_ms", control_json_real(ping->rtt_ms), &failed);
	put(o, "size", control_json_count(ping->size), &failed);
	put(o, "path_mtu", control_json_count(ping->path_mtu), &failed);
	return answer(id, "result", whole(o, failed), ret_len);
}

char *control_answer_empty(const char *id, size_t *ret_len)
{
	return answer(id, "result", json_object(), ret_len);
}

char *control_answer_begin(const char *id, const char *result_begin, size_t *ret_len)
{
	char *text = NULL;
	int len = asprintf(&text, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":%s", id, result_begin);

	if (len < 0)
		return NULL;
	if (ret_len)
		*ret_len = (size_t)len;
	return text;
}

char *control_answer_status(const char *id, const struct control_status *status, size_t *ret_len)
{
	return answer(id, "result", control_status_to_json(status), ret_len);
}

char *control_answer_reload(const char *id, const struct control_reload *reload, size_t *ret_len)
{
	json_t *o = json_object();
	bool failed = !o;

	put(o, "dry_run", json_boolean(reload->dry_run), &failed);
	put(o, "added", control_json_strings(&reload->added), &failed);
	put(o, "changed", control_json_strings(&reload->changed), &failed);
	put(o, "removed", control_json_strings(&reload->removed), &failed);
	put(o, "settings", control_json_strings(&reload->settings), &failed);
	put(o, "warnings", control_json_strings(&reload->warnings), &failed);
	put(o, "generation", control_json_count(reload->generation), &failed);
	return answer(id, "result", whole(o, failed), ret_len);
}

char *control_answer_error(const char *id, const struct control_error *err, size_t *ret_len)
{
	json_t *data = json_object();
	json_t *o = json_object();
	bool failed = !o || !data;
	const char *code = err->code[0] ? err->code : CONTROL_CODE_FAILED;

	put(data, "code", control_json_text(code), &failed);
	put(data, "text", control_json_text(err->text), &failed);
	put(data, "hint", control_json_text_or_null(err->hint), &failed);
	put(data, "file", control_json_text_or_null(err->file), &failed);
	put(data, "line", err->line > 0 ? json_integer(err->line) : json_null(), &failed);
	put(data, "column", err->column > 0 ? json_integer(err->column) : json_null(), &failed);
	put(data, "detail", control_json_text_or_null(err->detail), &failed);
	put(o, "code", json_integer(control_error_rpc_number(err->class, code)), &failed);
	put(o, "message", control_json_text(err->text), &failed);
	put(o, "data", data, &failed);
	return answer(id, "error", whole(o, failed), ret_len);
}

char *control_answer_log(
	const char *id, const struct control_log_line *lines, size_t count, size_t *ret_len)
{
	json_t *array = json_array();
	json_t *o = json_object();
	bool failed = !o || !array;

	for (size_t i = 0; !failed && i < count; i++) {
		json_t *line = json_object();
		failed = !line;
		put(line, "time_ms", control_json_count(lines[i].time_ms), &failed);
		put(line, "level", control_json_text(lines[i].level), &failed);
		put(line, "text", control_json_text(lines[i].text), &failed);
		failed |= json_array_append_new(array, line) != 0;
	}
	put(o, "lines", array, &failed);
	o = whole(o, failed);
	if (id)
		return answer(id, "result", o, ret_len);
	json_t *root = json_object();
	failed = !root;
	put(root, "jsonrpc", json_string("2.0"), &failed);
	put(root, "method", json_string("log"), &failed);
	put(root, "params", o, &failed);
	return control_json_line(root, failed, ret_len);
}

/* ---- decoding ------------------------------------------------------------------------------------------------ */

static void read_error(
	const json_t *object, struct control_json_reader *r, struct control_error *error)
{
	struct control_json_reader e = {.object = object};
	const json_t *number = json_object_get(object, "code");

	if (!json_is_integer(number)) {
		r->failed = true;
		return;
	}
	error->class = control_error_class_of(json_integer_value(number));
	control_json_read_text(&e, "message", error->text, sizeof(error->text));
	struct control_json_reader data = control_json_read_object(&e, "data");
	control_json_read_text(&data, "code", error->code, sizeof(error->code));
	control_json_read_text(&data, "text", error->text, sizeof(error->text));
	control_json_read_text(&data, "hint", error->hint, sizeof(error->hint));
	control_json_read_text(&data, "file", error->file, sizeof(error->file));
	control_json_read_count(&data, "line", &error->line);
	control_json_read_count(&data, "column", &error->column);
	const char *detail = json_string_value(json_object_get(data.object, "detail"));
	if (detail) {
		control_error_detail(error, detail);
		data.out_of_memory |= !error->detail;
	}
	if (!error->code[0])
		(void)strcpy(error->code, CONTROL_CODE_FAILED);
	control_json_join(&e, &data);
	control_json_join(r, &e);
}

static void read_answer(json_t *root, struct control_json_reader *r, struct control_answer *answer)
{
	const json_t *id = json_object_get(root, "id");
	const json_t *error = json_object_get(root, "error");
	json_t *result = json_object_get(root, "result");

	if (!id && json_is_string(json_object_get(root, "method"))) {
		result = json_object_get(root, "params"); /* a notification */
		error = NULL;
	} else {
		size_t len =
			id ? json_dumpb(id, answer->id, CONTROL_ID_BYTES - 1, JSON_ENCODE_ANY) : 0;
		if (len == 0 || len > CONTROL_ID_BYTES - 1) {
			r->failed = true;
			return;
		}
		answer->id[len] = '\0';
	}
	if (json_is_object(error) && !result) {
		answer->failed = true;
		read_error(error, r, &answer->error);
	} else if (json_is_object(result) && !error) {
		answer->result = json_incref(result);
	} else {
		r->failed = true;
	}
}

int control_answer_decode(const char *line, size_t len, struct control_answer *ret_answer)
{
	struct control_answer answer = {0};
	json_t *root = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	struct control_json_reader r = {.object = root, .failed = !json_is_object(root)};
	const char *version = json_string_value(json_object_get(root, "jsonrpc"));

	if (!version || strcmp(version, "2.0") != 0)
		r.failed = true;
	if (!r.failed)
		read_answer(root, &r, &answer);
	json_decref(root);
	if (r.failed || r.out_of_memory) {
		control_answer_fini(&answer);
		return r.out_of_memory ? -ENOMEM : -ERR_PROTOCOL;
	}
	*ret_answer = answer;
	return 0;
}

void control_answer_fini(struct control_answer *answer)
{
	control_error_fini(&answer->error);
	json_decref(answer->result);
	*answer = (struct control_answer){0};
}

int control_hello_from_json(const json_t *doc, int64_t *ret_protocol,
	char ret_daemon[CONTROL_NAME_BYTES], char ret_network[CONTROL_NAME_BYTES])
{
	struct control_json_reader r = {.object = doc};
	int64_t protocol = CONTROL_UNKNOWN;
	char daemon[CONTROL_NAME_BYTES] = "";
	char network[CONTROL_NAME_BYTES] = "";

	control_json_read_count(&r, "protocol", &protocol);
	control_json_read_text(&r, "daemon", daemon, sizeof(daemon));
	control_json_read_text(&r, "network", network, sizeof(network));
	if (r.failed || protocol < 0)
		return -ERR_PROTOCOL;
	*ret_protocol = protocol;
	memcpy(ret_daemon, daemon, sizeof(daemon));
	memcpy(ret_network, network, sizeof(network));
	return 0;
}

bool control_changed_from_json(const json_t *doc)
{
	return json_is_true(json_object_get(doc, "changed"));
}

int control_warnings_from_json(const json_t *doc, struct control_strings *ret_warnings)
{
	struct control_json_reader r = {.object = doc, .failed = !json_is_object(doc)};
	struct control_strings warnings = {0};

	control_json_read_strings(&r, "warnings", &warnings);
	if (r.failed) {
		control_strings_fini(&warnings);
		return r.out_of_memory ? -ENOMEM : -ERR_PROTOCOL;
	}
	*ret_warnings = warnings;
	return 0;
}

int control_ping_from_json(const json_t *doc, struct control_ping *ret_ping)
{
	struct control_json_reader r = {.object = doc, .failed = !json_is_object(doc)};
	struct control_ping ping = {CONTROL_UNKNOWN, CONTROL_UNKNOWN, CONTROL_UNKNOWN};

	control_json_read_real(&r, "rtt_ms", &ping.rtt_ms);
	control_json_read_count(&r, "size", &ping.size);
	control_json_read_count(&r, "path_mtu", &ping.path_mtu);
	if (r.failed)
		return -ERR_PROTOCOL;
	*ret_ping = ping;
	return 0;
}

void control_reload_fini(struct control_reload *reload)
{
	control_strings_fini(&reload->added);
	control_strings_fini(&reload->changed);
	control_strings_fini(&reload->removed);
	control_strings_fini(&reload->settings);
	control_strings_fini(&reload->warnings);
	*reload = (struct control_reload){0};
}

int control_reload_from_json(const json_t *doc, struct control_reload *ret_reload)
{
	struct control_json_reader r = {.object = doc, .failed = !json_is_object(doc)};
	struct control_reload reload = {.generation = CONTROL_UNKNOWN};

	control_json_read_bool(&r, "dry_run", &reload.dry_run);
	control_json_read_strings(&r, "added", &reload.added);
	control_json_read_strings(&r, "changed", &reload.changed);
	control_json_read_strings(&r, "removed", &reload.removed);
	control_json_read_strings(&r, "settings", &reload.settings);
	control_json_read_strings(&r, "warnings", &reload.warnings);
	control_json_read_count(&r, "generation", &reload.generation);
	if (r.failed) {
		control_reload_fini(&reload);
		return r.out_of_memory ? -ENOMEM : -ERR_PROTOCOL;
	}
	*ret_reload = reload;
	return 0;
}

int control_log_from_json(const json_t *doc, size_t index, struct control_log_line *ret_line)
{
	const json_t *lines = json_object_get(doc, "lines");
	const json_t *line = json_array_get(lines, index);
	const json_t *time_ms = json_object_get(line, "time_ms");
	const char *level = json_string_value(json_object_get(line, "level"));
	const char *text = json_string_value(json_object_get(line, "text"));

	if (!json_is_array(lines))
		return -ERR_PROTOCOL;
	if (index >= json_array_size(lines))
		return -ENOENT;
	if (!level || !text || !(json_is_integer(time_ms) || json_is_null(time_ms)))
		return -ERR_PROTOCOL;
	*ret_line = (struct control_log_line){json_integer_value(time_ms), level, text};
	return 0;
}
