/* up, down, wait, reload: verbs that change the network or wait for a change. All are idempotent. */
#include "cli/client.h"
#include "cli/command.h"
#include "cli/output.h"

static int add_names(
	const struct cli *cli, struct control_request *request, const char *const *args, int count)
{
	for (int i = 0; i < count; i++) {
		size_t len = 0;
		while (args[i][len] && len < CONTROL_NAME_BYTES)
			len++;
		if (len == 0 || len >= CONTROL_NAME_BYTES)
			return cli_fail(cli, EXIT_NOT_FOUND, CONTROL_CODE_NO_PEER,
				"a name has 1 to 63 bytes", "no peer \"%.80s\"", args[i]);
		if (control_strings_add(&request->peers, args[i]))
			return cli_fail(cli, EXIT_OTHER, "E-CLI-8", NULL, "out of memory");
	}
	return EXIT_OK;
}

/* Connects, asks, says goodbye; on EXIT_OK the answer belongs to the caller. The request's names are freed. */
static int ask(const struct cli *cli, struct control_request *request,
	struct control_answer *ret_answer, char ret_network[CONTROL_NAME_BYTES])
{
	struct client client;
	int status = client_open(cli, &client);

	if (!status) {
		status = client_call(&client, request, ret_answer);
		(void)snprintf(ret_network, CONTROL_NAME_BYTES, "%s", client.network);
		client_close(&client);
	}
	control_request_fini(request);
	return status;
}

static int up_or_down(
	struct cli *cli, enum control_method method, const char *const *args, int count)
{
	struct control_request request = {
		.method = method, .wait = (cli->options.given & OPTION_WAIT) != 0};
	struct control_answer answer;
	char network[CONTROL_NAME_BYTES];
	int status = add_names(cli, &request, args, count);

	if (status) {
		control_request_fini(&request);
		return status;
	}
	status = ask(cli, &request, &answer, network);
	if (status)
		return status;
	if (cli->options.json) {
		status = output_json(cli, answer.result);
	} else if (!(cli->options.given & OPTION_QUIET)) {
		bool changed = control_changed_from_json(answer.result);
		const char *word = method == CONTROL_METHOD_UP ? "up" : "down";
		cli_put_text(cli->out, network);
		(void)fprintf(cli->out, changed ? ": %s\n" : ": %s already, nothing to do\n", word);
	}
	control_answer_fini(&answer);
	return status;
}

int verb_up(struct cli *cli, const char *const *args, int count)
{
	return up_or_down(cli, CONTROL_METHOD_UP, args, count);
}

int verb_down(struct cli *cli, const char *const *args, int count)
{
	return up_or_down(cli, CONTROL_METHOD_DOWN, args, count);
}

int verb_wait(struct cli *cli, const char *const *args, int count)
{
	struct control_request request = {
		.method = CONTROL_WAIT, .for_down = cli->options.for_down};
	struct control_answer answer;
	char network[CONTROL_NAME_BYTES];
	int status = add_names(cli, &request, args, count);

	if (status) {
		control_request_fini(&request);
		return status;
	}
	status = ask(cli, &request, &answer, network);
	if (status)
		return status;
	if (cli->options.json)
		status = output_json(cli, answer.result);
	control_answer_fini(&answer);
	return status;
}

int verb_reload(struct cli *cli, const char *const *args, int count)
{
	struct control_request request = {
		.method = CONTROL_RELOAD, .dry_run = (cli->options.given & OPTION_DRY_RUN) != 0};
	struct control_reload reload;
	struct control_answer answer;
	char network[CONTROL_NAME_BYTES];
	int status = ask(cli, &request, &answer, network);

	(void)args;
	(void)count;
	if (status)
		return status;
	if (cli->options.json) {
		status = output_json(cli, answer.result);
	} else if (control_reload_from_json(answer.result, &reload)) {
		status = cli_fail(
			cli, EXIT_OTHER, "E-CONN-9", NULL, "the daemon's answer makes no sense");
	} else {
		if (!(cli->options.given & OPTION_QUIET))
			output_reload(cli, network, &reload);
		control_reload_fini(&reload);
	}
	control_answer_fini(&answer);
	return status;
}
