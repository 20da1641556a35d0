/* The command line of kcpcat. */
#ifndef KCPCAT_OPTIONS_H
#define KCPCAT_OPTIONS_H

#include "kcpvpn/node.h"

#include <stdbool.h>

/** Exit status of the program. */
enum exit_status {
	EXIT_STATUS_OK = 0,
	EXIT_STATUS_OTHER = 1,
	EXIT_STATUS_USAGE = 2,
	EXIT_STATUS_UNACKNOWLEDGED = 8, /* left before the peer had acknowledged everything */
};

struct options {
	struct kcpvpn_config node; /* node.key points to `key` */
	uint8_t key[KCPVPN_KEY_BYTES];
	const char *host; /* NULL = any address (listen) */
	const char *port;
	uint32_t conv; /* 0 = random */
	int64_t idle_us;
	bool idle_given; /* by --idle */
	bool listen;
	bool keep; /* serve all conversations, not one */
	bool echo;
	bool sink;
	bool stats;
};

/**
 * Reads the command line. Says on stderr what is wrong with it.
 *
 * @ret_options  owned by the caller; holds a key: options_wipe()
 * @return       EXIT_STATUS_OK, or the status to leave with; -1 after --help or --version (leave with 0)
 */
int options_parse(int argc, char **argv, struct options *ret_options);

void options_wipe(struct options *options);

#endif
