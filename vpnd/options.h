/* The command line of vpnd. */
#ifndef VPND_OPTIONS_H
#define VPND_OPTIONS_H

#include <stdbool.h>

/** Exit status of the program. */
enum exit_status {
	EXIT_STATUS_OK = 0,
	EXIT_STATUS_OTHER = 1,
	EXIT_STATUS_USAGE = 2,
	EXIT_STATUS_PERMISSION = 4,
	EXIT_STATUS_CONFIG = 5,
};

struct options {
	char *file;	/* owned */
	char *control;	/* owned; NULL = /run/vpnd/NAME/control.sock */
	char *state;	/* owned; NULL = $STATE_DIRECTORY, else /var/lib/vpnd/NAME */
	int log_level;	/* enum log_level, -1 = as configured */
	int log_format; /* enum config_log_format, -1 = as configured */
	bool check;
	bool hold, release; /* the kill switch, and no more; at most one of the three */
	int passed_fd; /* control socket that the service manager opened, -1 = none; daemon_new() takes it */
};

/**
 * Reads the command line; says on stderr what is wrong with it.
 *
 * @ret_options  options_fini(), also after a failure
 * @return       EXIT_STATUS_OK; the status to leave with; -1 after --help or --version (leave with 0)
 */
int options_parse(int argc, char **argv, struct options *ret_options);
void options_fini(struct options *options);

#endif
