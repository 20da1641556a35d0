/*
 * JSON for programs. Documents of the daemon are passed on as they came, so that keys of a later daemon are not lost; what
 * kcpctl itself knows is built here.
 */
#include "cli/output.h"

#include "cli/doctor.h"
#include "control/control_code.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Bytes that are not UTF-8 cannot stand in JSON: the string becomes null rather than the document impossible. */
static json_t *text_or_null(const char *text)
{
	json_t *value = text && *text ? json_string(text) : NULL;
	return value ? value : json_null();
}

static int print(const struct cli *cli, const json_t *document, size_t flags)
{
	char *text = document ? json_dumps(document, flags | JSON_REAL_PRECISION(9)) : NULL;

	if (!text)
		return cli_fail(cli, EXIT_OTHER, "E-CLI-8", NULL, "out of memory");
	(void)fputs(text, cli->out);
	(void)fputc('\n', cli->out);
	free(text);
	return EXIT_OK;
}

int output_json(const struct cli *cli, const json_t *document)
{
	return print(cli, document, JSON_INDENT(2));
}

int output_json_log_line(const struct cli *cli, const struct control_log_line *line)
{
	json_t *o = json_pack("{s:I,s:s,s:s}", "time_ms", (json_int_t)line->time_ms, "level",
		line->level, "text", line->text);
	int status = print(cli, o, JSON_COMPACT);

	json_decref(o);
	return status;
}

static json_t *state_or_null(int state)
{
	return state < 0 ? json_null() : json_string(control_state_str((enum control_state)state));
}

int output_json_event(const struct cli *cli, const struct control_event *event)
{
	json_t *o = json_pack("{s:I,s:s,s:o,s:o,s:o,s:o}", "time_ms", (json_int_t)event->time_ms,
		"event", control_event_kind_str(event->kind), "name", text_or_null(event->name),
		"state", state_or_null(event->state), "was", state_or_null(event->was),
		"generation",
		event->generation < 0 ? json_null() : json_integer(event->generation));
	int status = print(cli, o, JSON_COMPACT);

	json_decref(o);
	return status;
}

static json_t *count_or_null(int64_t count)
{
	return count < 0 ? json_null() : json_integer(count);
}

int output_json_ping(
	const struct cli *cli, const char *peer, int64_t number, const struct control_ping *ping)
{
	json_t *o = json_pack("{s:o,s:I,s:o,s:o,s:o}", "peer", text_or_null(peer), "seq",
		(json_int_t)number, "rtt_ms",
		ping->rtt_ms < 0 ? json_null() : json_real(ping->rtt_ms), "size",
		count_or_null(ping->size), "path_mtu", count_or_null(ping->path_mtu));
	int status = print(cli, o, JSON_COMPACT);

	json_decref(o);
	return status;
}

static const char *help_of(const char *code)
{
	size_t count;
	const struct control_code_row *rows = control_codes(&count);

	for (size_t i = 0; code && i < count; i++) {
		if (!strcmp(rows[i].code, code))
			return rows[i].help;
	}
	return NULL;
}

int output_json_doctor(const struct cli *cli, const struct doctor *d)
{
	static const char *const levels[] = {"problem", "warning", "unknown", "ok"};
	json_t *array = json_array();
	json_int_t problems = 0;

	for (size_t i = 0; array && i < d->count; i++) {
		const struct doctor_finding *f = &d->findings[i];
		problems += f->level == DOCTOR_PROBLEM;
		json_t *o = json_pack("{s:s,s:o,s:s,s:o,s:o}", "level", levels[f->level], "code",
			text_or_null(f->code), "check", f->check, "text", text_or_null(f->text),
			"help", text_or_null(help_of(f->code)));
		if (json_array_append_new(array, o)) {
			json_decref(array);
			array = NULL;
		}
	}
	json_t *root = json_pack("{s:I,s:o}", "problems", problems, "findings", array);
	int status = print(cli, root, JSON_INDENT(2));
	json_decref(root);
	return status;
}

int output_json_version(const struct cli *cli, const char *daemon, const char *network)
{
	json_t *o = json_pack("{s:s,s:i,s:o,s:o}", "kcpctl", KCPVPN_VERSION, "protocol",
		(int)CONTROL_PROTOCOL, "daemon", text_or_null(daemon), "network",
		text_or_null(network));
	int status = print(cli, o, JSON_INDENT(2));

	json_decref(o);
	return status;
}

static json_t *findings(const struct config_finding *items, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; array && i < count; i++) {
		char code[16];
		json_t *o = json_pack("{s:s,s:o,s:o,s:o,s:o}", "code",
			config_finding_code(&items[i], code), "text", text_or_null(items[i].text),
			"file", text_or_null(items[i].file), "line",
			items[i].line ? json_integer(items[i].line) : json_null(), "column",
			items[i].column ? json_integer(items[i].column) : json_null());
		if (json_array_append_new(array, o)) {
			json_decref(array);
			array = NULL;
		}
	}
	return array;
}

int output_json_report(const struct cli *cli, const char *file, const struct config_report *report)
{
	json_t *o = json_pack("{s:o,s:b,s:o,s:o}", "file", text_or_null(file), "ok",
		report->error_count == 0, "errors", findings(report->errors, report->error_count),
		"warnings", findings(report->warnings, report->warning_count));
	int status = print(cli, o, JSON_INDENT(2));

	json_decref(o);
	return status;
}

int output_json_key(const struct cli *cli, const char *file, const char *public_key)
{
	json_t *o = json_pack(
		"{s:o,s:o}", "file", text_or_null(file), "public_key", text_or_null(public_key));
	int status = print(cli, o, JSON_INDENT(2));

	json_decref(o);
	return status;
}
