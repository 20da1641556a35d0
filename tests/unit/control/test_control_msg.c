/* Requests and answers: what one side encodes the other decodes, and hostile lines become errors. */
#include "control/control_msg.h"

#include "core/err.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int decode(const char *line, struct control_request *request, struct control_error *err)
{
	/* a copy without the NUL, so that a sanitizer sees a read behind the end */
	size_t len = strlen(line);
	char *copy = malloc(len ? len : 1);
	int rc;

	memcpy(copy, line, len);
	rc = control_request_decode(copy, len, request, err);
	free(copy);
	return rc;
}

Test(control_msg, requests_round_trip)
{
	struct control_request in[] = {
		{.id = "1", .method = CONTROL_HELLO, .protocol = CONTROL_PROTOCOL},
		{.id = "\"x\"", .method = CONTROL_METHOD_UP, .wait = true},
		{.id = "2", .method = CONTROL_METHOD_DOWN},
		{.id = "3", .method = CONTROL_STATUS},
		{.id = "4", .method = CONTROL_WAIT, .for_down = true},
		{.id = "5", .method = CONTROL_RELOAD, .dry_run = true},
		{.id = "6", .method = CONTROL_PEER_LIST},
		{.id = "7", .method = CONTROL_LOG, .lines = 20, .follow = true},
		{.id = "", .method = CONTROL_VERSION},
		{.id = "8", .method = CONTROL_PEER_ADD, .public_key = "K="},
		{.id = "9", .method = CONTROL_PEER_DEL},
		{.id = "10", .method = CONTROL_PING, .size = 1200, .timeout_ms = 250},
		{.id = "11", .method = CONTROL_WATCH},
	};

	for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++) {
		struct control_request out;
		struct control_error err = {0};
		size_t len = 0;
		bool named = in[i].method == CONTROL_METHOD_UP || in[i].method == CONTROL_STATUS ||
			     in[i].method == CONTROL_PEER_ADD || in[i].method == CONTROL_PEER_DEL ||
			     in[i].method == CONTROL_PING;
		if (in[i].method == CONTROL_PEER_ADD) {
			control_strings_add(&in[i].endpoints, "a:1");
			control_strings_add(&in[i].allowed_ips, "10.1.0.0/16");
			control_strings_add(&in[i].allowed_ips, "10.2.0.0/16");
		}
		if (named)
			control_strings_add(&in[i].peers, "branch-2");
		char *line = control_request_encode(&in[i], &len);
		cr_assert(line);
		cr_assert_eq(strlen(line), len);
		cr_assert_eq(strchr(line, '\n'), line + len - 1, "one line");
		cr_assert_eq(control_request_decode(line, len - 1, &out, &err), 0, "%s: %s", line,
			err.text);
		cr_assert_str_eq(out.id, in[i].id);
		cr_assert_eq(out.method, in[i].method);
		cr_assert_eq(out.peers.count, named);
		cr_assert_eq(out.wait, in[i].wait);
		cr_assert_eq(out.for_down, in[i].for_down);
		cr_assert_eq(out.dry_run, in[i].dry_run);
		cr_assert_eq(out.follow, in[i].follow);
		cr_assert_str_eq(out.public_key, in[i].public_key);
		cr_assert_eq(out.endpoints.count, in[i].endpoints.count);
		cr_assert_eq(out.allowed_ips.count, in[i].allowed_ips.count);
		cr_assert_eq(out.size, in[i].size);
		if (in[i].timeout_ms)
			cr_assert_eq(out.timeout_ms, in[i].timeout_ms);
		if (in[i].method == CONTROL_LOG)
			cr_assert_eq(out.lines, 20);
		if (in[i].method == CONTROL_HELLO)
			cr_assert_eq(out.protocol, CONTROL_PROTOCOL);
		free(line);
		control_request_fini(&out);
		control_request_fini(&in[i]);
		control_error_fini(&err);
	}
}

Test(control_msg, bad_requests_are_named)
{
	static const struct {
		const char *line, *code, *id;
	} rows[] = {
		{"", CONTROL_CODE_PARSE, "null"},
		{"nonsense", CONTROL_CODE_PARSE, "null"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"up\"} trailing", CONTROL_CODE_PARSE,
			"null"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"up\"}", CONTROL_CODE_PARSE,
			"null"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1e400,\"method\":\"up\"}", CONTROL_CODE_PARSE,
			"null"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"u\\u0000p\"}", CONTROL_CODE_PARSE,
			"null"},
		{"[]", CONTROL_CODE_REQUEST, "null"},
		{"7", CONTROL_CODE_PARSE, "null"},
		{"{}", CONTROL_CODE_REQUEST, "null"},
		{"{\"id\":5,\"method\":\"up\"}", CONTROL_CODE_REQUEST, "5"},
		{"{\"jsonrpc\":2.0,\"id\":5,\"method\":\"up\"}", CONTROL_CODE_REQUEST, "5"},
		{"{\"jsonrpc\":\"2.0\",\"id\":5}", CONTROL_CODE_REQUEST, "5"},
		{"{\"jsonrpc\":\"2.0\",\"id\":[5],\"method\":\"up\"}", CONTROL_CODE_REQUEST,
			"null"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"up\"}", CONTROL_CODE_REQUEST,
			"null"},
		{"{\"jsonrpc\":\"2.0\",\"id\":\""
		 "123456789012345678901234567890123456789012345678901234567890"
		 "123456789012345678901234567890\",\"method\":\"up\"}",
			CONTROL_CODE_REQUEST, "null"},
		{"{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"UP\"}", CONTROL_CODE_METHOD, "5"},
		{"{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"up\",\"params\":[\"x\"]}",
			CONTROL_CODE_PARAMS, "5"},
		{"{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"up\",\"params\":null}",
			CONTROL_CODE_PARAMS, "5"},
		{"{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"up\",\"params\":{\"peers\":\"x\"}}",
			CONTROL_CODE_PARAMS, "5"},
		{"{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"up\",\"params\":{\"peers\":[\"\"]}}",
			CONTROL_CODE_PARAMS, "5"},
		{"{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"up\",\"params\":{\"wait\":1}}",
			CONTROL_CODE_PARAMS, "5"},
		{"{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"down\",\"params\":{\"wait\":true}}",
			CONTROL_CODE_PARAMS, "5"},
		{"{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"wait\",\"params\":{\"for\":\"ever\"}}",
			CONTROL_CODE_PARAMS, "5"},
		{"{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"log\",\"params\":{\"lines\":-1}}",
			CONTROL_CODE_PARAMS, "5"},
		{"{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"log\",\"params\":{\"lines\":1001}}",
			CONTROL_CODE_PARAMS, "5"},
		{"{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"log\",\"params\":{\"lines\":1.0}}",
			CONTROL_CODE_PARAMS, "5"},
		{"{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"status\",\"params\":{\"peer\":{}}}",
			CONTROL_CODE_PARAMS, "5"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct control_request request;
		struct control_error err = {0};
		cr_assert_eq(decode(rows[i].line, &request, &err), -ERR_PROTOCOL, "row %zu", i);
		cr_assert_str_eq(err.code, rows[i].code, "row %zu: %s", i, err.text);
		cr_assert_str_eq(request.id, rows[i].id, "row %zu", i);
		cr_assert_eq(request.peers.count, 0);
		cr_assert_eq(control_error_exit_status(err.class), 2);
		char *line = control_answer_error(request.id, &err, NULL);
		cr_assert(line, "an answer can be made of it");
		free(line);
		control_error_fini(&err);
	}
}

Test(control_msg, foreign_words_are_defused_in_errors)
{
	struct control_request request;
	struct control_error err = {0};

	cr_assert_lt(decode("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\\u001b[2J\\u00e9\"}",
			     &request, &err),
		0);
	for (const char *c = err.text; *c; c++)
		cr_assert((unsigned char)*c >= 0x20 && (unsigned char)*c < 0x7f);
	control_error_fini(&err);
}

Test(control_msg, errors_travel_whole)
{
	struct control_error err = {0};
	struct control_answer answer;
	size_t len = 0;
	char *line;

	control_error_set(
		&err, CONTROL_ERROR_CONFIG, "E-CFG-12", "%d is out of range %s", 40, "0..32");
	control_error_hint(&err, "at most %d", 32);
	control_error_at(&err, "office.yaml", 17, 15);
	control_error_detail(&err, "line one\nline two\n");
	line = control_answer_error("\"abc\"", &err, &len);
	cr_assert_eq(control_answer_decode(line, len - 1, &answer), 0);
	cr_assert(answer.failed);
	cr_assert_str_eq(answer.id, "\"abc\"");
	cr_assert_eq(answer.error.class, CONTROL_ERROR_CONFIG);
	cr_assert_str_eq(answer.error.code, "E-CFG-12");
	cr_assert_str_eq(answer.error.text, "40 is out of range 0..32");
	cr_assert_str_eq(answer.error.hint, "at most 32");
	cr_assert_str_eq(answer.error.file, "office.yaml");
	cr_assert_eq(answer.error.line, 17);
	cr_assert_eq(answer.error.column, 15);
	cr_assert_str_eq(answer.error.detail, "line one\nline two\n");
	control_answer_fini(&answer);
	control_error_fini(&err);
	free(line);
}

Test(control_msg, classes_and_exit_statuses)
{
	static const int statuses[] = {1, 2, 4, 5, 6, 8, 9};

	for (int i = CONTROL_ERROR_OTHER; i <= CONTROL_ERROR_VERSION; i++) {
		enum control_error_class class = (enum control_error_class)i;
		cr_assert_eq(control_error_exit_status(class), statuses[i]);
		cr_assert_eq(control_error_class_of(control_error_rpc_number(class, "")), class);
	}
	cr_assert_eq(control_error_rpc_number(CONTROL_ERROR_USAGE, CONTROL_CODE_PARSE), -32700);
	cr_assert_eq(control_error_rpc_number(CONTROL_ERROR_USAGE, CONTROL_CODE_METHOD), -32601);
	cr_assert_eq(control_error_class_of(-32601), CONTROL_ERROR_USAGE);
	cr_assert_eq(control_error_class_of(12345), CONTROL_ERROR_OTHER);
	cr_assert_eq(control_error_class_of(INT64_MIN), CONTROL_ERROR_OTHER);
}

Test(control_msg, hello_reload_and_log_round_trip)
{
	struct control_reload reload = {.generation = 4, .dry_run = true};
	struct control_reload back;
	struct control_answer answer;
	struct control_log_line lines[2] = {{1000, "info", "one"}, {2000, "warn", "t\two"}};
	struct control_log_line line;
	char daemon[CONTROL_NAME_BYTES];
	char network[CONTROL_NAME_BYTES];
	int64_t protocol;
	size_t len = 0;
	char *text = control_answer_hello("1", "0.1.0", "office", &len);

	cr_assert_eq(control_answer_decode(text, len - 1, &answer), 0);
	cr_assert_eq(control_hello_from_json(answer.result, &protocol, daemon, network), 0);
	cr_assert_eq(protocol, CONTROL_PROTOCOL);
	cr_assert_str_eq(daemon, "0.1.0");
	cr_assert_str_eq(network, "office");
	control_answer_fini(&answer);
	free(text);

	control_strings_add(&reload.added, "a");
	control_strings_add(&reload.settings, "log.level: info -> debug");
	text = control_answer_reload("1", &reload, &len);
	cr_assert_eq(control_answer_decode(text, len - 1, &answer), 0);
	cr_assert_eq(control_reload_from_json(answer.result, &back), 0);
	cr_assert_eq(back.generation, 4);
	cr_assert(back.dry_run);
	cr_assert_eq(back.added.count, 1);
	cr_assert_str_eq(back.added.items[0], "a");
	cr_assert_eq(back.removed.count, 0);
	control_reload_fini(&back);
	control_reload_fini(&reload);
	control_answer_fini(&answer);
	free(text);

	text = control_answer_log(NULL, lines, 2, &len);
	cr_assert_eq(control_answer_decode(text, len - 1, &answer), 0);
	cr_assert_str_eq(answer.id, "", "a notification");
	cr_assert_eq(control_log_from_json(answer.result, 1, &line), 0);
	cr_assert_eq(line.time_ms, 2000);
	cr_assert_str_eq(line.text, "t\two");
	cr_assert_eq(control_log_from_json(answer.result, 2, &line), -ENOENT);
	control_answer_fini(&answer);
	free(text);
}

Test(control_msg, bad_answers_are_refused)
{
	static const char *const rows[] = {"", "x", "[]", "{}", "{\"jsonrpc\":\"2.0\"}",
		"{\"jsonrpc\":\"2.0\",\"id\":1}", "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":5}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{}}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":5}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{},\"error\":{\"code\":1}}",
		"{\"jsonrpc\":\"1.0\",\"id\":1,\"result\":{}}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":1,\"data\":[]}}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":1,\"data\":{\"line\":\"x\"}}}"};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct control_answer answer;
		cr_assert_eq(control_answer_decode(rows[i], strlen(rows[i]), &answer),
			-ERR_PROTOCOL, "row %zu", i);
	}
}

Test(control_msg, who_may_only_read)
{
	struct control_request reload = {.method = CONTROL_RELOAD, .dry_run = true};
	struct control_request status = {.method = CONTROL_STATUS};
	struct control_request up = {.method = CONTROL_METHOD_UP};

	cr_assert(control_request_writes(&up));
	cr_assert(control_request_writes(&reload));
	cr_assert_not(control_request_writes(&status));
}
