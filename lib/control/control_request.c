/*
 * Requests: kcpctl encodes them, vpnd decodes them. The decoder faces any local program that may open the socket:
 * it takes whatever bytes, lets jansson judge the syntax (its depth is bounded, duplicate keys and NULs are refused),
 * and then checks each member against one table of parameters, so that a parameter nobody knows is an
 * error and not a silent nothing.
 *
 * Standards: JSON-RPC 2.0, sections 4 and 5 (no batches: one object a line).
 */
#include "control/control_msg.h"

#include "control/control_json.h"
#include "core/err.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum param {
	PARAM_PEERS = 1 << 0,
	PARAM_PEER = 1 << 1,
	PARAM_WAIT = 1 << 2,
	PARAM_FOR = 1 << 3,
	PARAM_DRY_RUN = 1 << 4,
	PARAM_LINES = 1 << 5,
	PARAM_FOLLOW = 1 << 6,
	PARAM_PROTOCOL = 1 << 7,
	PARAM_VERSION = 1 << 8,
	PARAM_SPEC = 1 << 9, /* public_key, endpoints, allowed_ips */
	PARAM_SIZE = 1 << 10,
	PARAM_TIMEOUT = 1 << 11,
	PARAM_PEER_NEEDED = 1 << 12, /* cannot be left out */
};

static const struct {
	const char *name;
	unsigned params; /* set of enum param */
} methods[] = {
	[CONTROL_HELLO] = {"hello", PARAM_PROTOCOL | PARAM_VERSION},
	[CONTROL_METHOD_UP] = {"up", PARAM_PEERS | PARAM_WAIT},
	[CONTROL_METHOD_DOWN] = {"down", PARAM_PEERS},
	[CONTROL_STATUS] = {"status", PARAM_PEER},
	[CONTROL_WAIT] = {"wait", PARAM_PEER | PARAM_FOR},
	[CONTROL_RELOAD] = {"reload", PARAM_DRY_RUN},
	[CONTROL_PEER_LIST] = {"peer.list", 0},
	[CONTROL_PEER_ADD] = {"peer.add", PARAM_PEER | PARAM_PEER_NEEDED | PARAM_SPEC},
	[CONTROL_PEER_DEL] = {"peer.del", PARAM_PEER | PARAM_PEER_NEEDED},
	[CONTROL_PING] = {"ping", PARAM_PEER | PARAM_PEER_NEEDED | PARAM_SIZE | PARAM_TIMEOUT},
	[CONTROL_WATCH] = {"watch", 0},
	[CONTROL_LOG] = {"log", PARAM_LINES | PARAM_FOLLOW},
	[CONTROL_VERSION] = {"version", 0},
};

enum {
	METHOD_COUNT = sizeof(methods) / sizeof(methods[0]),
	ECHO_BYTES = 120, /* of a client's own words in an error text */
	TEXT_MAX = 300,	  /* an endpoint or a prefix */
};

const char *control_method_str(enum control_method method)
{
	return (size_t)method < METHOD_COUNT ? methods[method].name : "unknown";
}

void control_request_fini(struct control_request *request)
{
	control_strings_fini(&request->peers);
	control_strings_fini(&request->endpoints);
	control_strings_fini(&request->allowed_ips);
	*request = (struct control_request){0};
}

bool control_request_writes(const struct control_request *request)
{
	switch (request->method) {
	case CONTROL_METHOD_UP:
	case CONTROL_METHOD_DOWN:
	case CONTROL_RELOAD:
	case CONTROL_PEER_ADD:
	case CONTROL_PEER_DEL:
		return true;
	case CONTROL_HELLO:
	case CONTROL_STATUS:
	case CONTROL_WAIT:
	case CONTROL_PEER_LIST:
	case CONTROL_PING:
	case CONTROL_WATCH:
	case CONTROL_LOG:
	case CONTROL_VERSION:
		return false;
	}
	return true;
}

/* ---- decoding ------------------------------------------------------------------------------------------------ */

static int refuse(struct control_error *err, const char *code, const char *text, const char *what)
{
	char shown[ECHO_BYTES];

	size_t len = strnlen(what, sizeof(shown) - 1);
	memcpy(shown, what, len);
	shown[len] = '\0';
	for (char *c = shown; *c; c++) { /* it ends in a log or on a terminal */
		if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f)
			*c = '?';
	}
	control_error_set(err, CONTROL_ERROR_USAGE, code, text, shown);
	return -ERR_PROTOCOL;
}

/* An id that cannot be sent back makes the request invalid: its answer could not be told from others. */
static bool read_id(const json_t *root, char id[CONTROL_ID_BYTES])
{
	const json_t *value = json_object_get(root, "id");
	size_t len;

	if (!value) {
		id[0] = '\0';
		return true;
	}
	if (!json_is_string(value) && !json_is_integer(value) && !json_is_null(value))
		return false;
	len = json_dumpb(value, id, CONTROL_ID_BYTES - 1, JSON_ENCODE_ANY | JSON_COMPACT);
	if (len == 0 || len > CONTROL_ID_BYTES - 1) {
		(void)strcpy(id, "null");
		return false;
	}
	id[len] = '\0';
	return true;
}

static bool read_peer_name(const json_t *value, struct control_request *request)
{
	size_t len = json_string_length(value);

	return json_is_string(value) && len > 0 && len < CONTROL_NAME_BYTES &&
	       !control_strings_add(&request->peers, json_string_value(value));
}

static bool read_peers(const json_t *array, struct control_request *request)
{
	if (!json_is_array(array) || json_array_size(array) > CONTROL_PEERS_MAX)
		return false;
	for (size_t i = 0; i < json_array_size(array); i++) {
		if (!read_peer_name(json_array_get(array, i), request))
			return false;
	}
	return true;
}

/* Texts of bounded length; what they mean is for the configuration's own parser to judge. */
static bool read_texts(const json_t *array, struct control_strings *list)
{
	if (!json_is_array(array) || json_array_size(array) > CONTROL_PREFIXES_MAX)
		return false;
	for (size_t i = 0; i < json_array_size(array); i++) {
		const json_t *item = json_array_get(array, i);
		size_t len = json_string_length(item);
		if (!json_is_string(item) || len == 0 || len > TEXT_MAX ||
			control_strings_add(list, json_string_value(item)))
			return false;
	}
	return true;
}

static bool read_public_key(const json_t *value, struct control_request *request)
{
	size_t len = json_string_length(value);

	if (json_is_null(value))
		return true;
	if (!json_is_string(value) || len >= sizeof(request->public_key))
		return false;
	memcpy(request->public_key, json_string_value(value), len + 1);
	return true;
}

static bool read_flag(const json_t *value, bool *ret_flag)
{
	*ret_flag = json_is_true(value);
	return json_is_boolean(value);
}

static bool read_number(const json_t *value, int64_t max, int64_t *ret_number)
{
	json_int_t number = json_integer_value(value);

	if (!json_is_integer(value) || number < 0 || number > max)
		return false;
	*ret_number = number;
	return true;
}

static bool read_for(const json_t *value, struct control_request *request)
{
	const char *text = json_string_value(value);

	if (!text)
		return false;
	request->for_down = !strcmp(text, "down");
	return request->for_down || !strcmp(text, "up");
}

/* Reads one parameter; *ret_known tells whether there is such a one at all. */
static bool read_param(
	const char *key, const json_t *value, struct control_request *request, bool *ret_known)
{
	unsigned allowed = methods[request->method].params;

	*ret_known = true;
	if ((allowed & PARAM_PEERS) && !strcmp(key, "peers"))
		return read_peers(value, request);
	if ((allowed & PARAM_PEER) && !strcmp(key, "peer"))
		return json_is_null(value) || read_peer_name(value, request);
	if ((allowed & PARAM_WAIT) && !strcmp(key, "wait"))
		return read_flag(value, &request->wait);
	if ((allowed & PARAM_FOR) && !strcmp(key, "for"))
		return read_for(value, request);
	if ((allowed & PARAM_DRY_RUN) && !strcmp(key, "dry_run"))
		return read_flag(value, &request->dry_run);
	if ((allowed & PARAM_LINES) && !strcmp(key, "lines"))
		return read_number(value, CONTROL_LOG_LINES_MAX, &request->lines);
	if ((allowed & PARAM_FOLLOW) && !strcmp(key, "follow"))
		return read_flag(value, &request->follow);
	if ((allowed & PARAM_PROTOCOL) && !strcmp(key, "protocol"))
		return read_number(value, INT32_MAX, &request->protocol);
	if ((allowed & PARAM_VERSION) && !strcmp(key, "version"))
		return json_is_string(value);
	if ((allowed & PARAM_SPEC) && !strcmp(key, "public_key"))
		return read_public_key(value, request);
	if ((allowed & PARAM_SPEC) && !strcmp(key, "endpoints"))
		return read_texts(value, &request->endpoints);
	if ((allowed & PARAM_SPEC) && !strcmp(key, "allowed_ips"))
		return read_texts(value, &request->allowed_ips);
	if ((allowed & PARAM_SIZE) && !strcmp(key, "size"))
		return read_number(value, UINT16_MAX, &request->size);
	if ((allowed & PARAM_TIMEOUT) && !strcmp(key, "timeout_ms"))
		return read_number(value, CONTROL_PING_MS_MAX, &request->timeout_ms);
	*ret_known = false;
	return false;
}

static int read_params(json_t *params, struct control_request *request, struct control_error *err)
{
	const char *key;
	json_t *value;

	if (!params)
		return 0;
	if (!json_is_object(params))
		return refuse(err, CONTROL_CODE_PARAMS,
			"the parameters of \"%s\" must be an object",
			methods[request->method].name);
	json_object_foreach(params, key, value)
	{
		bool known;
		if (read_param(key, value, request, &known))
			continue;
		return refuse(err, CONTROL_CODE_PARAMS,
			known ? "parameter \"%s\" has a wrong type or value"
			      : "unknown parameter \"%s\"",
			key);
	}
	return 0;
}

static int read_request(json_t *root, struct control_request *request, struct control_error *err)
{
	bool id_ok;

	if (!json_is_object(root))
		return refuse(err, CONTROL_CODE_REQUEST, "the request is not a JSON object%s", "");
	id_ok = read_id(root, request->id);
	const char *version = json_string_value(json_object_get(root, "jsonrpc"));
	const char *method = json_string_value(json_object_get(root, "method"));
	if (!id_ok || !version || strcmp(version, "2.0") != 0 || !method) {
		if (!request->id[0]) /* cannot be a notification if it is not even a request */
			(void)strcpy(request->id, "null");
		return refuse(err, CONTROL_CODE_REQUEST,
			"not a JSON-RPC 2.0 request: %s is missing or wrong",
			!id_ok ? "\"id\""
			       : (version && !strcmp(version, "2.0") ? "\"method\""
								     : "\"jsonrpc\""));
	}
	for (size_t i = 0; i < METHOD_COUNT; i++) {
		if (strcmp(method, methods[i].name) != 0)
			continue;
		request->method = (enum control_method)i;
		int rc = read_params(json_object_get(root, "params"), request, err);
		if (!rc && (methods[i].params & PARAM_PEER_NEEDED) && request->peers.count == 0)
			return refuse(err, CONTROL_CODE_PARAMS, "\"%s\" needs a peer", method);
		return rc;
	}
	return refuse(err, CONTROL_CODE_METHOD, "unknown method \"%s\"", method);
}

int control_request_decode(const char *line, size_t len, struct control_request *ret_request,
	struct control_error *err)
{
	struct control_request request = {.id = "null",
		.lines = CONTROL_LOG_LINES_MAX,
		.protocol = CONTROL_UNKNOWN,
		.timeout_ms = CONTROL_PING_MS};
	json_error_t why;
	json_t *root;
	int rc;

	root = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
	if (!root) {
		rc = refuse(err, CONTROL_CODE_PARSE, "the request is not JSON: %s", why.text);
	} else {
		rc = read_request(root, &request, err);
		json_decref(root);
	}
	if (rc) {
		*ret_request = (struct control_request){0};
		memcpy(ret_request->id, request.id, sizeof(request.id));
		control_request_fini(&request);
		return rc;
	}
	*ret_request = request;
	return 0;
}

/* ---- encoding ------------------------------------------------------------------------------------------------ */

static json_t *params_of(const struct control_request *request)
{
	unsigned allowed = methods[request->method].params;
	json_t *params = json_object();
	bool failed = !params;

	if ((allowed & PARAM_PROTOCOL) && request->protocol >= 0)
		failed |= json_object_set_new(
				  params, "protocol", control_json_count(request->protocol)) != 0;
	if ((allowed & PARAM_PEERS) && request->peers.count)
		failed |= json_object_set_new(
				  params, "peers", control_json_strings(&request->peers)) != 0;
	if ((allowed & PARAM_PEER) && request->peers.count)
		failed |= json_object_set_new(
				  params, "peer", control_json_text(request->peers.items[0])) != 0;
	if ((allowed & PARAM_WAIT) && request->wait)
		failed |= json_object_set_new(params, "wait", json_true()) != 0;
	if ((allowed & PARAM_FOR))
		failed |= json_object_set_new(params, "for",
				  json_string(request->for_down ? "down" : "up")) != 0;
	if ((allowed & PARAM_DRY_RUN) && request->dry_run)
		failed |= json_object_set_new(params, "dry_run", json_true()) != 0;
	if ((allowed & PARAM_LINES))
		failed |= json_object_set_new(
				  params, "lines", control_json_count(request->lines)) != 0;
	if ((allowed & PARAM_FOLLOW) && request->follow)
		failed |= json_object_set_new(params, "follow", json_true()) != 0;
	if ((allowed & PARAM_SPEC) && request->public_key[0])
		failed |= json_object_set_new(params, "public_key",
				  control_json_text(request->public_key)) != 0;
	if ((allowed & PARAM_SPEC) && request->endpoints.count)
		failed |= json_object_set_new(params, "endpoints",
				  control_json_strings(&request->endpoints)) != 0;
	if ((allowed & PARAM_SPEC) && request->allowed_ips.count)
		failed |= json_object_set_new(params, "allowed_ips",
				  control_json_strings(&request->allowed_ips)) != 0;
	if ((allowed & PARAM_SIZE) && request->size > 0)
		failed |=
			json_object_set_new(params, "size", control_json_count(request->size)) != 0;
	if ((allowed & PARAM_TIMEOUT) && request->timeout_ms > 0)
		failed |= json_object_set_new(params, "timeout_ms",
				  control_json_count(request->timeout_ms)) != 0;
	if (!failed)
		return params;
	json_decref(params);
	return NULL;
}

char *control_request_encode(const struct control_request *request, size_t *ret_len)
{
	json_t *root = json_object();
	bool failed = !root;

	failed |= json_object_set_new(root, "jsonrpc", json_string("2.0")) != 0;
	if (request->id[0])
		failed |= json_object_set_new(
				  root, "id", json_loads(request->id, JSON_DECODE_ANY, NULL)) != 0;
	failed |= json_object_set_new(
			  root, "method", json_string(control_method_str(request->method))) != 0;
	failed |= json_object_set_new(root, "params", params_of(request)) != 0;
	return control_json_line(root, failed, ret_len);
}
