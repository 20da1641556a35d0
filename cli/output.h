/* How things look: for a person (output_text.c) and for a program (output_json.c). */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "cli/cli.h"
#include "config/config_report.h"
#include "control/control_event.h"
#include "control/control_msg.h"
#include "control/control_status.h"

struct doctor;
struct json_t;

enum {
	OUTPUT_CELL_BYTES = 96,
};

/** "12 s", "5m 3s", "5h 12m", "3d 4h"; "-" if unknown. @return `text` */
char *output_duration(double seconds, char text[OUTPUT_CELL_BYTES]);

/** "38 ms", "0.4 ms"; "-" if unknown. @return `text` */
char *output_ms(double ms, char text[OUTPUT_CELL_BYTES]);

/** "1.9 GB / 0.4 GB": both in the unit of the larger, decimal. @return `text` */
char *output_bytes_pair(int64_t rx, int64_t tx, char text[OUTPUT_CELL_BYTES]);

/** The overview: one line about the network, a table of its peers, what was noticed. */
void output_status(const struct cli *cli, const struct control_status *status);

/** One peer in depth. */
void output_peer(const struct cli *cli, const struct control_peer *peer);

/** Table of all peers as configured, with their state. */
void output_peer_list(const struct cli *cli, const struct control_status *status);

/** What a reload did or would do. */
void output_reload(const struct cli *cli, const char *network, const struct control_reload *reload);

/** One line of the daemon's log, in local time. */
void output_log_line(const struct cli *cli, const struct control_log_line *line);

/** What happened, in local time. */
void output_event(const struct cli *cli, const struct control_event *event);

/** The same as one JSON object a line. @return an exit status */
int output_json_event(const struct cli *cli, const struct control_event *event);

/** One probe as one JSON object a line. @number  from 1 @return an exit status */
int output_json_ping(
	const struct cli *cli, const char *peer, int64_t number, const struct control_ping *ping);

/** The YAML's keys as JSON Schema: types, ranges, words, defaults, help. @return an exit status */
int output_schema_config(const struct cli *cli);

/** What `status --json` gives as JSON Schema. @return an exit status */
int output_schema_status(const struct cli *cli);

/** The status document as Prometheus text. */
void output_metrics(const struct cli *cli, const struct control_status *status);

/** {"problems", "findings": [{"level", "code", "check", "text", "help"}]}. @return an exit status */
int output_json_doctor(const struct cli *cli, const struct doctor *doctor);

/** A document for people who read JSON, too: indented, one line break at the end. @return an exit status */
int output_json(const struct cli *cli, const struct json_t *document);

/** One line of the daemon's log as one JSON object a line. @return an exit status */
int output_json_log_line(const struct cli *cli, const struct control_log_line *line);

/** {"kcpctl", "protocol", "daemon", "network"}; the last two null without a daemon. @return an exit status */
int output_json_version(const struct cli *cli, const char *daemon, const char *network);

/** {"file", "ok", "errors": [...], "warnings": [...]} with code, text, file, line, column. @return an exit status */
int output_json_report(const struct cli *cli, const char *file, const struct config_report *report);

/** {"file", "public_key"}; the key null without one. @return an exit status */
int output_json_key(const struct cli *cli, const char *file, const char *public_key);

#endif
