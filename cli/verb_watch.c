/* watch: what happens, as it happens. At first all states as they are. */
#include "cli/client.h"
#include "cli/command.h"
#include "cli/output.h"

#include "control/control_event.h"

#include <errno.h>

enum {
	ANSWER_MS = 5000, /* that the daemon watches */
};

static int put_events(const struct cli *cli, const struct control_answer *answer)
{
	struct control_event event;
	int status = EXIT_OK;
	int rc = 0;

	for (size_t i = 0;
		!status && (rc = control_event_from_json(answer->result, i, &event)) == 0; i++) {
		if (cli->options.json)
			status = output_json_event(cli, &event);
		else
			output_event(cli, &event);
	}
	if (!status && rc != -ENOENT)
		status = cli_fail(
			cli, EXIT_OTHER, "E-CONN-9", NULL, "the daemon's events make no sense");
	if (fflush(cli->out) != 0 && !status)
		status = EXIT_OTHER;
	return status;
}

int verb_watch(struct cli *cli, const char *const *args, int count)
{
	struct control_request request = {.method = CONTROL_WATCH};
	struct control_answer answer;
	struct client client;
	int64_t whole_ms = cli->deadline_ms;
	int64_t answer_ms = cli_now_ms() + ANSWER_MS;

	(void)args;
	(void)count;
	cli->deadline_ms = answer_ms < whole_ms ? answer_ms : whole_ms;
	int status = client_open(cli, &client);
	if (status)
		return status;
	status = client_call(&client, &request, &answer);
	if (!status)
		control_answer_fini(&answer);
	cli->deadline_ms = whole_ms; /* nothing may happen for as long as it likes */
	while (!status) {
		status = client_next(&client, &answer);
		if (status)
			break;
		status = put_events(cli, &answer);
		control_answer_fini(&answer);
	}
	client_close(&client);
	return status;
}
