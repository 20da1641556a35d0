/* What every part of kcpctl works with: streams, places, options; and the exit statuses that scripts rely on. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "control/control_error.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum exit_status {
	EXIT_OK = 0,
	EXIT_OTHER = 1,
	EXIT_USAGE = 2,
	EXIT_NOT_RUNNING = 3,
	EXIT_PERMISSION = 4,
	EXIT_CONFIG = 5,
	EXIT_NOT_FOUND = 6,
	EXIT_NOT_HEALTHY = 7, /* `status --check` */
	EXIT_TIMEOUT = 8,
	EXIT_VERSION = 9,
};

enum {
	CLI_ARGS_MAX = 1024, /* words of a command line that are neither options nor the verb */
	CLI_PATH_BYTES = 512,
	CLI_LIST_MAX = 64, /* how often an option that collects may be given */
};

enum option_id {
	OPTION_NETWORK = 1 << 0,
	OPTION_CONTROL = 1 << 1,
	OPTION_OUTPUT = 1 << 2,
	OPTION_COLOR = 1 << 3,
	OPTION_TIMEOUT = 1 << 4,
	OPTION_QUIET = 1 << 5,
	OPTION_VERBOSE = 1 << 6,
	OPTION_HELP = 1 << 7,
	OPTION_WAIT = 1 << 8,
	OPTION_JSON = 1 << 9,
	OPTION_CHECK = 1 << 10,
	OPTION_FOR = 1 << 11,
	OPTION_DRY_RUN = 1 << 12,
	OPTION_EFFECTIVE = 1 << 13,
	OPTION_FOLLOW = 1 << 14,
	OPTION_LINES = 1 << 15,
	OPTION_SAVE = 1 << 16,
	OPTION_PUBLIC_KEY = 1 << 17,
	OPTION_ENDPOINT = 1 << 18,
	OPTION_ALLOWED_IPS = 1 << 19,
	OPTION_PSK_FILE = 1 << 20,
	OPTION_COUNT = 1 << 21,
	OPTION_SIZE = 1 << 22,
	OPTION_STATUS = 1 << 23,
	OPTION_GLOBAL = OPTION_NETWORK | OPTION_CONTROL | OPTION_OUTPUT | OPTION_COLOR |
			OPTION_TIMEOUT | OPTION_QUIET | OPTION_VERBOSE | OPTION_HELP,
};

struct cli_options {
	unsigned given;	     /* set of enum option_id */
	const char *network; /* -n, else $KCPCTL_NETWORK; NULL = neither */
	const char *control; /* NULL = by network */
	bool json;
	bool color;	    /* decided: option, terminal, NO_COLOR */
	int64_t timeout_ms; /* only if OPTION_TIMEOUT is given */
	bool for_down;	    /* --for down */
	int lines;	    /* log: how many of the last lines */
	int64_t count;	    /* ping, top: how many; 0 = without end */
	int64_t size;	    /* ping: bytes */
	const char *public_key;
	const char *preshared_key_file;
	const char *endpoints
		[CLI_LIST_MAX]; /* each as given; may hold several, with commas between them */
	int endpoint_count;
	const char *allowed_ips[CLI_LIST_MAX]; /* the same */
	int allowed_ip_count;
	const char *args[CLI_ARGS_MAX];
	int arg_count;
};

/** One run of kcpctl. Streams and folders are set by main, or by a test. */
struct cli {
	FILE *out;
	FILE *err;
	bool terminal;		 /* `out` is one */
	const char *run_dir;	 /* "/run/vpnd" */
	const char *etc_dir;	 /* "/etc/vpnd" */
	const char *systemd_dir; /* exists where systemd runs: "/run/systemd/system" */
	int in_fd;		 /* keys of `top`; -1 = none */
	/** Ends the process with EXIT_TIMEOUT after that time, whatever it hangs in; may be NULL. */
	void (*watchdog)(int64_t timeout_ms);
	struct cli_options options;
	int64_t deadline_ms; /* of the whole command, CLOCK_MONOTONIC; INT64_MAX = none */
};

/** Runs one command line. @argv  argv[0] is the program. @return the exit status */
int cli_run(struct cli *cli, int argc, char **argv);

/** CLOCK_MONOTONIC in milliseconds. */
int64_t cli_now_ms(void);

/** Writes text from outside: control characters become '?', so that nothing can steer the terminal. */
void cli_put_text(FILE *stream, const char *text);

/** The same for text of several lines: line breaks and tabs stay. */
void cli_put_report(FILE *stream, const char *text);

/**
 * Tells an error on stderr: "kcpctl: CODE text", then the hint on a line of its own.
 *
 * @hint    NULL = none
 * @return  `status`, so that a function can end with it
 */
int cli_fail(const struct cli *cli, int status, const char *code, const char *hint,
	const char *format, ...) __attribute__((format(printf, 5, 6)));

/** Tells what the daemon answered. @return the exit status of its class */
int cli_fail_control(const struct cli *cli, const struct control_error *error);

/** The nearest of `count` names, NULL if none is near enough to be meant. */
const char *cli_nearest(const char *word, const char *const *names, size_t count);

#endif
