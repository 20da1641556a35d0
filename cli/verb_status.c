/* status, peer list, peer show, metrics: four looks at the one status document. */
#include "cli/client.h"
#include "cli/command.h"
#include "cli/output.h"

#include <string.h>

enum look {
	LOOK_STATUS,
	LOOK_LIST,
	LOOK_PEER,
	LOOK_METRICS,
};

/*
 * `status --check`: the network or an enabled peer is down, connecting or degraded. With one peer named, that peer and the
 * link alone decide.
 */
static bool healthy(const struct control_status *status, bool one_peer)
{
	if (one_peer ? status->state == CONTROL_DOWN : status->state != CONTROL_UP)
		return false;
	for (size_t i = 0; i < status->peer_count; i++) {
		const struct control_peer *peer = &status->peers[i];
		if (peer->enabled && peer->state != CONTROL_UP && peer->state != CONTROL_IDLE)
			return false;
	}
	return true;
}

static void print(const struct cli *cli, const struct control_status *status, enum look look)
{
	switch (look) {
	case LOOK_STATUS:
		output_status(cli, status);
		return;
	case LOOK_LIST:
		output_peer_list(cli, status);
		return;
	case LOOK_METRICS:
		output_metrics(cli, status);
		return;
	case LOOK_PEER:
		for (size_t i = 0; i < status->peer_count; i++)
			output_peer(cli, &status->peers[i]);
		return;
	}
}

static int show(struct cli *cli, enum look look, const char *peer)
{
	struct control_request request = {
		.method = look == LOOK_LIST ? CONTROL_PEER_LIST : CONTROL_STATUS};
	bool check = (cli->options.given & OPTION_CHECK) != 0;
	struct control_status status;
	struct control_answer answer;
	struct client client;
	int exit_status;

	if (peer && (strlen(peer) == 0 || strlen(peer) >= CONTROL_NAME_BYTES))
		return cli_fail(cli, EXIT_NOT_FOUND, CONTROL_CODE_NO_PEER,
			"a name has 1 to 63 bytes", "no peer \"%.80s\"", peer);
	if (peer && control_strings_add(&request.peers, peer))
		return cli_fail(cli, EXIT_OTHER, "E-CLI-8", NULL, "out of memory");
	exit_status = client_open(cli, &client);
	if (!exit_status) {
		exit_status = client_call(&client, &request, &answer);
		client_close(&client);
	}
	control_request_fini(&request);
	if (exit_status)
		return exit_status;
	if (control_status_from_json(answer.result, &status)) {
		exit_status = cli_fail(
			cli, EXIT_OTHER, "E-CONN-9", NULL, "the daemon's status makes no sense");
	} else {
		if (cli->options.json && look != LOOK_METRICS)
			exit_status = output_json(cli, answer.result);
		else if (!check)
			print(cli, &status, look);
		if (check && exit_status == EXIT_OK && !healthy(&status, peer != NULL))
			exit_status = EXIT_NOT_HEALTHY;
		control_status_fini(&status);
	}
	control_answer_fini(&answer);
	return exit_status;
}

int verb_status(struct cli *cli, const char *const *args, int count)
{
	return count ? show(cli, LOOK_PEER, args[0]) : show(cli, LOOK_STATUS, NULL);
}

int verb_peer_list(struct cli *cli, const char *const *args, int count)
{
	(void)args;
	(void)count;
	return show(cli, LOOK_LIST, NULL);
}

int verb_peer_show(struct cli *cli, const char *const *args, int count)
{
	(void)count;
	return show(cli, LOOK_PEER, args[0]);
}

int verb_metrics(struct cli *cli, const char *const *args, int count)
{
	(void)args;
	(void)count;
	return show(cli, LOOK_METRICS, NULL);
}
