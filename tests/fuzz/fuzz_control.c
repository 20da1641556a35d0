/*
 * Both directions of the control protocol: the bytes are read as a request (what a local program may send to the daemon) and
 * as an answer with each kind of result (what a socket given by --control may send to kcpctl). What decodes must encode,
 * and decode again to the same.
 */
#include "control/control_event.h"
#include "control/control_msg.h"
#include "control/control_status.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(int truth)
{
	if (!truth)
		abort();
}

static void request(const char *line, size_t len)
{
	struct control_request request;
	struct control_request again;
	struct control_error err = {0};
	size_t encoded_len = 0;
	char *encoded;

	if (control_request_decode(line, len, &request, &err)) {
		must(err.code[0] != '\0');
		encoded = control_answer_error(
			request.id[0] ? request.id : "null", &err, &encoded_len);
		must(encoded != NULL);
		free(encoded);
		control_error_fini(&err);
		return;
	}
	encoded = control_request_encode(&request, &encoded_len);
	must(encoded != NULL);
	must(control_request_decode(encoded, encoded_len - 1, &again, &err) == 0);
	must(again.method == request.method && again.peers.count == request.peers.count);
	must(!strcmp(again.id, request.id));
	must(!strcmp(again.public_key, request.public_key));
	must(again.endpoints.count == request.endpoints.count);
	must(again.allowed_ips.count == request.allowed_ips.count && again.size == request.size);
	free(encoded);
	control_request_fini(&again);
	control_request_fini(&request);
}

static void answer(const char *line, size_t len)
{
	struct control_answer answer;
	struct control_status status;
	struct control_reload reload;
	struct control_log_line log_line;
	struct control_strings warnings;
	struct control_event event;
	struct control_ping ping;
	char daemon[CONTROL_NAME_BYTES];
	char network[CONTROL_NAME_BYTES];
	int64_t protocol;

	if (control_answer_decode(line, len, &answer))
		return;
	if (!answer.failed) {
		(void)control_hello_from_json(answer.result, &protocol, daemon, network);
		if (control_status_from_json(answer.result, &status) == 0) {
			json_t *doc = control_status_to_json(&status);
			struct control_status again;
			must(doc != NULL && control_status_from_json(doc, &again) == 0);
			must(again.peer_count == status.peer_count);
			control_status_fini(&again);
			control_status_fini(&status);
			json_decref(doc);
		}
		if (control_reload_from_json(answer.result, &reload) == 0)
			control_reload_fini(&reload);
		if (control_warnings_from_json(answer.result, &warnings) == 0)
			control_strings_fini(&warnings);
		(void)control_ping_from_json(answer.result, &ping);
		for (size_t i = 0; control_event_from_json(answer.result, i, &event) == 0; i++) {
			char *line_again = control_event_encode(&event, 1, NULL);
			must(line_again != NULL);
			free(line_again);
		}
		for (size_t i = 0; control_log_from_json(answer.result, i, &log_line) == 0; i++)
			must(log_line.text != NULL);
	}
	control_answer_fini(&answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	request((const char *)data, len);
	answer((const char *)data, len);
	return 0;
}
