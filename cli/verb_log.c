/* log, version: what the daemon says about itself. */
#include "cli/client.h"
#include "cli/command.h"
#include "cli/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int put_lines(const struct cli *cli, const struct control_answer *answer)
{
	struct control_log_line line;
	int status = EXIT_OK;
	int rc = 0;

	for (size_t i = 0; !status && (rc = control_log_from_json(answer->result, i, &line)) == 0;
		i++) {
		if (cli->options.json)
			status = output_json_log_line(cli, &line);
		else
			output_log_line(cli, &line);
	}
	if (!status && rc != -ENOENT)
		status = cli_fail(
			cli, EXIT_OTHER, "E-CONN-9", NULL, "the daemon's log makes no sense");
	if (fflush(cli->out) != 0 && !status) /* whoever follows wants to see it now */
		status = EXIT_OTHER;
	return status;
}

int verb_log(struct cli *cli, const char *const *args, int count)
{
	struct control_request request = {.method = CONTROL_LOG,
		.lines = cli->options.lines,
		.follow = (cli->options.given & OPTION_FOLLOW) != 0};
	struct control_answer answer;
	struct client client;
	int status = client_open(cli, &client);

	(void)args;
	(void)count;
	if (status)
		return status;
	status = client_call(&client, &request, &answer);
	if (!status) {
		status = put_lines(cli, &answer);
		control_answer_fini(&answer);
	}
	while (!status && request.follow) {
		status = client_next(&client, &answer);
		if (status)
			break;
		status = put_lines(cli, &answer);
		control_answer_fini(&answer);
	}
	client_close(&client);
	return status;
}

/* What kcpctl and, if one was reached, the daemon are. */
static int put_version(const struct cli *cli, const struct client *client)
{
	if (cli->options.json)
		return output_json_version(cli, client->daemon, client->network);
	(void)fprintf(cli->out, "kcpctl %s\n", KCPVPN_VERSION);
	if (client->daemon[0]) {
		(void)fputs("vpnd ", cli->out);
		cli_put_text(cli->out, client->daemon);
		(void)fputs(" (", cli->out);
		cli_put_text(cli->out, client->network);
		(void)fputs(")\n", cli->out);
	}
	return EXIT_OK;
}

/*
 * Without a daemon there is still kcpctl's own version: that is no error, unless a certain daemon was asked for and
 * could not answer. Whoever speaks another protocol is always told of.
 */
int verb_version(struct cli *cli, const char *const *args, int count)
{
	bool asked = cli->options.control || cli->options.network;
	struct cli quiet = *cli;
	struct client client;
	char *told = NULL;
	size_t told_len = 0;
	int status;
	int put_status;

	(void)args;
	(void)count;
	quiet.err = open_memstream(&told, &told_len);
	if (!quiet.err)
		return cli_fail(cli, EXIT_OTHER, "E-CLI-8", NULL, "out of memory");
	status = client_open(&quiet, &client);
	(void)fclose(quiet.err);
	if (status == EXIT_NOT_RUNNING || (status != EXIT_VERSION && !asked))
		status = EXIT_OK;
	if (status && told)
		(void)fputs(told, cli->err);
	free(told);
	put_status = status && status != EXIT_VERSION ? EXIT_OK : put_version(cli, &client);
	client_close(&client);
	return status ? status : put_status;
}
