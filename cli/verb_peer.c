/*
 * peer add, peer del: peers at run time. The daemon judges and does it; --save also writes or removes the peer's file.
 *
 * With --save the file comes first: the daemon reads it together with the order, so that what only its helper may read (a
 * preshared key) and may do (routes to what files name) is there at once. What the daemon refuses is taken back.
 */
#include "cli/client.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/peer_file.h"

#include "config/config.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int no_memory(const struct cli *cli)
{
	return cli_fail(cli, EXIT_OTHER, "E-CLI-8", NULL, "out of memory");
}

/* "a,b" is two. @return false without memory */
static bool split(const char *const *texts, int count, struct control_strings *list)
{
	for (int i = 0; i < count; i++) {
		for (const char *at = texts[i]; *at;) {
			size_t len = strcspn(at, ", ");
			char *item = len ? strndup(at, len) : NULL;
			bool failed = len && (!item || control_strings_add(list, item));
			free(item);
			if (failed)
				return false;
			at += len + strspn(at + len, ", ");
		}
	}
	return true;
}

static int check_name(const struct cli *cli, const char *name)
{
	if (config_name_ok(name))
		return EXIT_OK;
	return cli_fail(cli, EXIT_USAGE, "E-CLI-4", NULL,
		"\"%.80s\" is no name for a peer: 1 to 63 of A-Z a-z 0-9 . _ -, not beginning with "
		". or -",
		name);
}

/* The file of the network that the daemon serves. */
static int config_file(struct client *client, char path[PEER_FILE_PATH_BYTES])
{
	struct control_request request = {.method = CONTROL_STATUS};
	struct control_answer answer;
	struct control_status status;
	int exit_status = client_call(client, &request, &answer);

	if (exit_status)
		return exit_status;
	if (control_status_from_json(answer.result, &status) == 0) {
		(void)snprintf(path, PEER_FILE_PATH_BYTES, "%s",
			status.config.file ? status.config.file : "");
		control_status_fini(&status);
	} else {
		path[0] = '\0';
	}
	control_answer_fini(&answer);
	if (path[0] != '/')
		return cli_fail(client->cli, EXIT_OTHER, CONTROL_CODE_PEER_FILE,
			"start the daemon with the file's absolute path",
			"where the daemon's configuration stands is not known");
	return EXIT_OK;
}

/* 1 = the files have a peer of that name, 0 = they have not, -1 = they cannot be read by us, or are not valid. */
static int stands_in_files(const char *file, const char *name)
{
	struct config_report *report = calloc(1, sizeof(*report));
	struct config *config = NULL;
	int found = -1;

	if (report && config_load(file, config_reader_no_secrets(), &config, report) == 0)
		found = config_peer_find(config, name) != NULL;
	config_free(config);
	free(report);
	return found;
}

static void put_warnings(const struct cli *cli, const struct control_answer *answer)
{
	struct control_strings warnings;

	if (control_warnings_from_json(answer->result, &warnings))
		return;
	for (size_t i = 0; i < warnings.count; i++) {
		(void)fputs("kcpctl: ", cli->err);
		cli_put_text(cli->err, warnings.items[i]);
		(void)fputc('\n', cli->err);
	}
	control_strings_fini(&warnings);
}

static int tell(const struct cli *cli, const struct client *client,
	const struct control_answer *answer, const char *name, const char *done, const char *saved)
{
	if (cli->options.json)
		return output_json(cli, answer->result);
	put_warnings(cli, answer);
	if (cli->options.given & OPTION_QUIET)
		return EXIT_OK;
	bool changed = control_changed_from_json(answer->result);
	cli_put_text(cli->out, client->network);
	(void)fputs(": peer ", cli->out);
	cli_put_text(cli->out, name);
	(void)fprintf(cli->out, changed ? " %s" : " %s already, nothing to do", done);
	if (saved) {
		(void)fputs(", ", cli->out);
		cli_put_text(cli->out, saved);
	}
	(void)fputc('\n', cli->out);
	return EXIT_OK;
}

/* Writes the file and looks whether the daemon would read it. `made`: to be removed if the daemon refuses. */
static int save(struct client *client, const struct control_request *request,
	char path[PEER_FILE_PATH_BYTES], bool *ret_made)
{
	const struct cli *cli = client->cli;
	char file[PEER_FILE_PATH_BYTES];
	char psk[PATH_MAX] = "";
	struct config_draft draft = {
		.name = request->peers.items[0],
		.public_key = request->public_key,
		.endpoints = (const char *const *)request->endpoints.items,
		.endpoint_count = request->endpoints.count,
		.allowed_ips = (const char *const *)request->allowed_ips.items,
		.allowed_ip_count = request->allowed_ips.count,
	};
	int status = config_file(client, file);

	if (status)
		return status;
	if (cli->options.preshared_key_file) {
		const char *given = cli->options.preshared_key_file;
		bool named = strncmp(given, CONFIG_CREDENTIAL_PREFIX,
				     strlen(CONFIG_CREDENTIAL_PREFIX)) == 0;
		if (!named && !realpath(given, psk))
			return cli_fail(
				cli, EXIT_OTHER, "E-KEY-3", NULL, "there is no file %.300s", given);
		draft.preshared_key_file = named ? given : psk;
	}
	if (!peer_file_path(file, draft.name, path))
		return cli_fail(
			cli, EXIT_USAGE, "E-CLI-4", NULL, "the peer file's path is too long");
	status = peer_file_write(cli, path, &draft, ret_made);
	if (!status && stands_in_files(file, draft.name) == 0) {
		if (*ret_made)
			(void)unlink(path);
		return cli_fail(cli, EXIT_OTHER, CONTROL_CODE_PEER_INCLUDE,
			"add peers.d/*.yaml to it, or leave it out: that is the default",
			"%.500s would not be read: `include` of %.300s does not name it", path,
			file);
	}
	return status;
}

int verb_peer_add(struct cli *cli, const char *const *args, int count)
{
	struct control_request request = {.method = CONTROL_PEER_ADD};
	const struct cli_options *o = &cli->options;
	struct control_answer answer;
	char path[PEER_FILE_PATH_BYTES];
	bool made = false;
	struct client client;
	int status = check_name(cli, args[0]);

	(void)count;
	if (!status && o->preshared_key_file && !(o->given & OPTION_SAVE))
		status = cli_fail(cli, EXIT_USAGE, "E-CLI-3", NULL,
			"--preshared-key-file needs --save: the daemon reads keys from files that "
			"its "
			"configuration names");
	if (!status && o->public_key && strlen(o->public_key) >= sizeof(request.public_key))
		status = cli_fail(cli, EXIT_USAGE, "E-CLI-4", NULL,
			"--public-key: a key is 32 bytes in base64, 44 characters");
	if (status)
		return status;
	(void)snprintf(request.public_key, sizeof(request.public_key), "%s",
		o->public_key ? o->public_key : "");
	if (control_strings_add(&request.peers, args[0]) ||
		!split(o->endpoints, o->endpoint_count, &request.endpoints) ||
		!split(o->allowed_ips, o->allowed_ip_count, &request.allowed_ips)) {
		control_request_fini(&request);
		return no_memory(cli);
	}
	status = client_open(cli, &client);
	if (!status && (o->given & OPTION_SAVE))
		status = save(&client, &request, path, &made);
	if (!status) {
		status = client_call(&client, &request, &answer);
		if (status && made)
			(void)unlink(path);
		if (!status) {
			status = tell(cli, &client, &answer, args[0], "added",
				o->given & OPTION_SAVE ? path : NULL);
			control_answer_fini(&answer);
		}
	}
	client_close(&client);
	control_request_fini(&request);
	return status;
}

int verb_peer_del(struct cli *cli, const char *const *args, int count)
{
	struct control_request request = {.method = CONTROL_PEER_DEL};
	bool removed = false;
	char file[PEER_FILE_PATH_BYTES] = "", path[PEER_FILE_PATH_BYTES];
	struct control_answer answer;
	struct client client;
	int status = check_name(cli, args[0]);

	(void)count;
	if (status)
		return status;
	if (control_strings_add(&request.peers, args[0]))
		return no_memory(cli);
	status = client_open(cli, &client);
	if (!status && (cli->options.given & OPTION_SAVE)) {
		status = config_file(&client, file);
		if (!status && peer_file_path(file, args[0], path))
			status = peer_file_remove(cli, path, args[0], &removed);
	}
	if (!status)
		status = client_call(&client, &request, &answer);
	if (!status) {
		status = tell(cli, &client, &answer, args[0], "removed", NULL);
		control_answer_fini(&answer);
		if (file[0] && stands_in_files(file, args[0]) == 1 &&
			!(cli->options.given & OPTION_QUIET)) {
			(void)fputs("kcpctl: it still stands in ", cli->err);
			cli_put_text(cli->err, file);
			(void)fputs(
				" or what that includes, and comes back with a reload\n", cli->err);
		}
	}
	client_close(&client);
	control_request_fini(&request);
	return status;
}
