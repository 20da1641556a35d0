/* The table of verbs. Each verb is one function; the groups stand in verb_*.c. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "cli/cli.h"

/** How long it may take without --timeout. */
enum command_time {
	COMMAND_SHORT,	 /* 5 s */
	COMMAND_LONG,	 /* 30 s */
	COMMAND_ENDLESS, /* until somebody ends it */
};

struct command {
	const char *verb;  /* "up", "peer list" */
	const char *words; /* what stands behind it, for the usage line */
	const char *help;  /* one line */
	unsigned options;  /* set of enum option_id beside the global ones */
	int args_min;	   /* words behind the verb */
	int args_max;
	enum command_time time;
	/** @args, count  the words behind the verb */
	int (*run)(struct cli *cli, const char *const *args, int count);
};

/** All verbs in the order of the help; those of one group stand together. */
const struct command *command_table(size_t *ret_count);

int verb_up(struct cli *cli, const char *const *args, int count);
int verb_down(struct cli *cli, const char *const *args, int count);
int verb_wait(struct cli *cli, const char *const *args, int count);
int verb_reload(struct cli *cli, const char *const *args, int count);
int verb_status(struct cli *cli, const char *const *args, int count);
int verb_peer_list(struct cli *cli, const char *const *args, int count);
int verb_peer_show(struct cli *cli, const char *const *args, int count);
int verb_peer_add(struct cli *cli, const char *const *args, int count);
int verb_peer_del(struct cli *cli, const char *const *args, int count);
int verb_top(struct cli *cli, const char *const *args, int count);
int verb_watch(struct cli *cli, const char *const *args, int count);
int verb_ping(struct cli *cli, const char *const *args, int count);
int verb_doctor(struct cli *cli, const char *const *args, int count);
int verb_metrics(struct cli *cli, const char *const *args, int count);
int verb_completion(struct cli *cli, const char *const *args, int count);
int verb_key_gen(struct cli *cli, const char *const *args, int count);
int verb_key_pub(struct cli *cli, const char *const *args, int count);
int verb_key_psk(struct cli *cli, const char *const *args, int count);
int verb_config_check(struct cli *cli, const char *const *args, int count);
int verb_config_schema(struct cli *cli, const char *const *args, int count);
int verb_config_show(struct cli *cli, const char *const *args, int count);
int verb_log(struct cli *cli, const char *const *args, int count);
int verb_version(struct cli *cli, const char *const *args, int count);
int verb_help(struct cli *cli, const char *const *args, int count);

#endif
