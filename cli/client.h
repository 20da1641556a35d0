/* kcpctl's end of the control socket: finds the daemon, asks, waits no longer than the command may take. */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include "cli/cli.h"
#include "control/control_msg.h"

#include <stddef.h>

struct client {
	const struct cli *cli;
	int fd; /* -1 = not connected */
	int64_t next_id;
	char path[CLI_PATH_BYTES];
	char network[CONTROL_NAME_BYTES]; /* as the daemon says */
	char daemon[CONTROL_NAME_BYTES];  /* its version */
	int64_t protocol;
	char *in; /* received, not yet used */
	size_t in_len, in_capacity, in_scanned;
};

/**
 * Finds the daemon by the options, connects and says hello. Errors are told.
 *
 * @return  EXIT_OK: give `ret_client` to client_close(); else the exit status
 */
int client_open(const struct cli *cli, struct client *ret_client);

/**
 * Asks and waits for the answer. Errors, also the daemon's, are told.
 *
 * @request     its id is set here
 * @ret_answer  owned by the caller on EXIT_OK
 * @return      an exit status
 */
int client_call(
	struct client *client, struct control_request *request, struct control_answer *ret_answer);

/** Waits for the next notification. As client_call(). */
int client_next(struct client *client, struct control_answer *ret_answer);

void client_close(struct client *client);

/** True for a name that can be a folder and a file: no slash, not "." or "..", 1-63 bytes. */
bool client_network_name_ok(const char *name);

/** "/etc/vpnd/NAME.yaml". */
void client_config_path(const struct cli *cli, const char *network, char path[CLI_PATH_BYTES]);

#endif
