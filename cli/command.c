/*
 * From a command line to a verb: the table, the choice, the deadline. Verbs of two words ("peer list") are found by both.
 */
#include "cli/command.h"

#include "cli/options.h"

#include <stdint.h>
#include <string.h>

enum {
	TIMEOUT_MS = 5000,
	TIMEOUT_LONG_MS = 30000,
	NAMES_MAX = 64,
	PEERS_MAX = 1000,
	WATCHDOG_GRACE_MS = 500, /* the orderly time-out comes first */
};

/* clang-format off */
static const struct command table[] = {
	{"up", "[PEER...]", "bring interface and sessions up", OPTION_WAIT, 0, PEERS_MAX, COMMAND_SHORT, verb_up},
	{"down", "[PEER...]", "close sessions, withdraw routes; without PEER the link goes down", 0, 0, PEERS_MAX,
		COMMAND_SHORT, verb_down},
	{"status", "[PEER]", "overview, or one peer in depth; --check sets only the exit status", OPTION_JSON | OPTION_CHECK,
		0, 1, COMMAND_SHORT, verb_status},
	{"top", "", "live view, once a second; keys: s sorts, r turns the order, q ends", OPTION_COUNT, 0, 0,
		COMMAND_ENDLESS, verb_top},
	{"watch", "", "event stream", OPTION_JSON, 0, 0, COMMAND_ENDLESS, verb_watch},
	{"wait", "[PEER]", "wait until all peers, or one, are up (or --for down)", OPTION_FOR, 0, 1, COMMAND_LONG, verb_wait},
	{"ping", "PEER", "probes inside the session: RTT, loss, path MTU", OPTION_COUNT | OPTION_SIZE, 1, 1, COMMAND_ENDLESS,
		verb_ping},
	{"doctor", "[FILE]", "find what is wrong and say what to do", OPTION_JSON, 0, 1, COMMAND_LONG, verb_doctor},
	{"peer list", "", "peers as configured, with their state", 0, 0, 0, COMMAND_SHORT, verb_peer_list},
	{"peer show", "PEER", "one peer in depth", 0, 1, 1, COMMAND_SHORT, verb_peer_show},
	{"peer add", "NAME", "add a peer at run time; --save writes peers.d/NAME.yaml",
		OPTION_PUBLIC_KEY | OPTION_ENDPOINT | OPTION_ALLOWED_IPS | OPTION_PSK_FILE | OPTION_SAVE, 1, 1,
		COMMAND_SHORT, verb_peer_add},
	{"peer del", "NAME", "remove a peer at run time; --save removes peers.d/NAME.yaml", OPTION_SAVE, 1, 1, COMMAND_SHORT,
		verb_peer_del},
	{"key gen", "FILE", "make a private key in a new file; prints its public half", 0, 1, 1, COMMAND_SHORT, verb_key_gen},
	{"key pub", "FILE|-", "print the public half of a private key", 0, 1, 1, COMMAND_SHORT, verb_key_pub},
	{"key psk", "FILE", "make a secret for two peers, or a network key, in a new file", 0, 1, 1, COMMAND_SHORT,
		verb_key_psk},
	{"config check", "[FILE]", "check a configuration, no daemon needed", 0, 0, 1, COMMAND_SHORT, verb_config_check},
	{"config show", "[FILE]", "print the merged configuration; --effective with defaults", OPTION_EFFECTIVE, 0, 1,
		COMMAND_SHORT, verb_config_show},
	{"config schema", "", "print the schema of the YAML, or of status --json, as JSON Schema", OPTION_STATUS, 0, 0,
		COMMAND_SHORT, verb_config_schema},
	{"reload", "", "read the configuration again: all or nothing", OPTION_DRY_RUN, 0, 0, COMMAND_SHORT, verb_reload},
	{"metrics", "", "Prometheus text", 0, 0, 0, COMMAND_SHORT, verb_metrics},
	{"log", "", "the daemon's last lines; -f follows", OPTION_FOLLOW | OPTION_LINES, 0, 0, COMMAND_SHORT, verb_log},
	{"version", "", "versions of kcpctl and of the daemon", 0, 0, 0, COMMAND_SHORT, verb_version},
	{"completion", "bash|zsh|fish", "completion for a shell", 0, 1, 1, COMMAND_SHORT, verb_completion},
	{"help", "[VERB|CODE]", "this, a verb, or an error code", 0, 0, 2, COMMAND_SHORT, verb_help},
};
/* clang-format on */

enum {
	COMMAND_COUNT = sizeof(table) / sizeof(table[0]),
};

const struct command *command_table(size_t *ret_count)
{
	*ret_count = COMMAND_COUNT;
	return table;
}

/* Words of the verb that `args` begins with: 0 = not this verb, 1, 2. */
static int matches(const struct command *command, const char *const *args, int count)
{
	const char *second = strchr(command->verb, ' ');
	size_t first_len = second ? (size_t)(second - command->verb) : strlen(command->verb);

	if (count < 1 || strlen(args[0]) != first_len ||
		strncmp(args[0], command->verb, first_len) != 0)
		return 0;
	if (!second)
		return 1;
	return count > 1 && !strcmp(args[1], second + 1) ? 2 : 0;
}

/* The first words of all verbs, each once. */
static size_t first_words(char words[NAMES_MAX][16], const char *names[NAMES_MAX])
{
	size_t count = 0;

	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		size_t len = strcspn(table[i].verb, " ");
		if (count && !strncmp(words[count - 1], table[i].verb, len) &&
			words[count - 1][len] == '\0')
			continue;
		(void)snprintf(words[count], 16, "%.*s", (int)(len < 15 ? len : 15), table[i].verb);
		names[count] = words[count];
		count++;
	}
	return count;
}

static int fail_group(const struct cli *cli, const char *group, const char *word)
{
	const char *names[NAMES_MAX];
	char list[160] = "";
	size_t count = 0;
	size_t len = strlen(group);

	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (strncmp(table[i].verb, group, len) != 0 || table[i].verb[len] != ' ')
			continue;
		names[count++] = table[i].verb + len + 1;
		size_t used = strlen(list);
		(void)snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "",
			names[count - 1]);
	}
	if (!word)
		return cli_fail(
			cli, EXIT_USAGE, "E-CLI-3", NULL, "\"%s\" needs one of: %s", group, list);
	const char *near = cli_nearest(word, names, count);
	if (near)
		return cli_fail(cli, EXIT_USAGE, "E-CLI-1", NULL,
			"unknown verb \"%s %s\"; did you mean \"%s %s\"?", group, word, group,
			near);
	return cli_fail(cli, EXIT_USAGE, "E-CLI-1", NULL, "unknown verb \"%s %s\"; there is: %s",
		group, word, list);
}

static int fail_unknown(const struct cli *cli, const char *const *args, int count)
{
	char words[NAMES_MAX][16];
	const char *names[NAMES_MAX];
	size_t name_count = first_words(words, names);

	for (size_t i = 0; i < name_count; i++) {
		if (!strcmp(names[i], args[0]))
			return fail_group(cli, args[0], count > 1 ? args[1] : NULL);
	}
	const char *near = cli_nearest(args[0], names, name_count);
	if (near)
		return cli_fail(cli, EXIT_USAGE, "E-CLI-1", NULL,
			"unknown verb \"%s\"; did you mean \"%s\"?", args[0], near);
	return cli_fail(cli, EXIT_USAGE, "E-CLI-1", "kcpctl help lists them", "unknown verb \"%s\"",
		args[0]);
}

static const struct command *find(const char *const *args, int count, int *ret_words)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		*ret_words = matches(&table[i], args, count);
		if (*ret_words)
			return &table[i];
	}
	return NULL;
}

static void set_deadline(struct cli *cli, const struct command *command)
{
	const struct cli_options *o = &cli->options;
	bool waits = command->time == COMMAND_LONG || (o->given & OPTION_WAIT);
	int64_t timeout_ms = waits ? TIMEOUT_LONG_MS : TIMEOUT_MS;

	cli->deadline_ms = INT64_MAX;
	if (o->given & OPTION_TIMEOUT)
		timeout_ms = o->timeout_ms;
	else if (command->time == COMMAND_ENDLESS || (o->given & OPTION_FOLLOW))
		return; /* until somebody ends it */
	cli->deadline_ms = cli_now_ms() + timeout_ms;
	if (cli->watchdog)
		cli->watchdog(timeout_ms + WATCHDOG_GRACE_MS);
}

int cli_run(struct cli *cli, int argc, char **argv)
{
	const struct cli_options *o = &cli->options;
	const struct command *command;
	int words = 0;
	int status = options_parse(cli, argc, argv);

	if (status)
		return status;
	if (o->given & OPTION_HELP)
		return verb_help(cli, o->args, o->arg_count);
	if (o->arg_count == 0) {
		return cli_fail(cli, EXIT_USAGE, "E-CLI-6", "kcpctl help lists the verbs",
			"usage: kcpctl [-n NETWORK] [--control PATH] [-o human|json] VERB");
	}
	command = find(o->args, o->arg_count, &words);
	if (!command)
		return fail_unknown(cli, o->args, o->arg_count);
	status = options_check(cli, command->verb, command->options);
	if (status)
		return status;
	int count = o->arg_count - words;
	if (count < command->args_min)
		return cli_fail(cli, EXIT_USAGE, "E-CLI-3", NULL, "usage: kcpctl %s %s",
			command->verb, command->words);
	if (count > command->args_max)
		return cli_fail(cli, EXIT_USAGE, "E-CLI-7", NULL,
			"\"%s\": one word too many for \"%s\"", o->args[words + command->args_max],
			command->verb);
	set_deadline(cli, command);
	status = command->run(cli, o->args + words, count);
	if ((fflush(cli->out) != 0 || ferror(cli->out)) && status == EXIT_OK)
		status = cli_fail(cli, EXIT_OTHER, "E-CLI-9", NULL, "cannot write the output");
	return status;
}
