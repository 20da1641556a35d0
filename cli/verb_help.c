/* help: all verbs, one verb, or one error code. */
#include "cli/command.h"
#include "cli/options.h"

#include "config/config_report.h"
#include "control/control_code.h"

#include <string.h>
#include <strings.h>

static int help_code(struct cli *cli, const char *code)
{
	size_t count, own_count;
	const struct config_code_row *rows = config_report_codes(&count);
	const struct control_code_row *own = control_codes(&own_count);

	for (size_t i = 0; i < own_count; i++) {
		if (!strcasecmp(own[i].code, code)) {
			(void)fprintf(cli->out, "%s\n  %s\n", own[i].code, own[i].help);
			return EXIT_OK;
		}
	}
	for (size_t i = 0; i < count; i++) {
		if (!strcasecmp(rows[i].code, code)) {
			(void)fprintf(cli->out, "%s\n  %s\n", rows[i].code, rows[i].help);
			return EXIT_OK;
		}
	}
	return cli_fail(cli, EXIT_USAGE, "E-CLI-4", NULL, "no error has the code \"%s\"", code);
}

/* "kcpctl log [-f] [--lines N]" */
static void put_usage(const struct cli *cli, const struct command *command)
{
	size_t count;
	const struct option_row *rows = options_rows(&count);

	(void)fprintf(cli->out, "kcpctl %s%s%s", command->verb, *command->words ? " " : "",
		command->words);
	for (size_t i = 0; i < count; i++) {
		char name[32];
		if (!(command->options & rows[i].id))
			continue;
		(void)snprintf(name, sizeof(name), rows[i].letter ? "-%.1s" : "--%s",
			rows[i].letter ? &rows[i].letter : rows[i].name);
		(void)fprintf(cli->out, " [%s%s%s]", name, rows[i].value ? " " : "",
			rows[i].value ? rows[i].value : "");
	}
	(void)fputc('\n', cli->out);
}

static int help_verb(struct cli *cli, const char *const *args, int count)
{
	size_t table_count;
	const struct command *table = command_table(&table_count);
	bool found = false;

	for (size_t i = 0; i < table_count; i++) {
		const char *verb = table[i].verb;
		size_t len = strlen(args[0]);
		if (strncmp(verb, args[0], len) != 0 || (verb[len] != '\0' && verb[len] != ' '))
			continue;
		if (count > 1 && verb[len] == ' ' && strcmp(verb + len + 1, args[1]) != 0)
			continue;
		put_usage(cli, &table[i]);
		(void)fprintf(cli->out, "  %s\n", table[i].help);
		found = true;
	}
	if (found)
		return EXIT_OK;
	return cli_fail(cli, EXIT_USAGE, "E-CLI-1", "kcpctl help lists the verbs",
		"unknown verb \"%s\"", args[0]);
}

int verb_help(struct cli *cli, const char *const *args, int count)
{
	size_t table_count;
	const struct command *table = command_table(&table_count);

	if (count && !strncasecmp(args[0], "E-", 2))
		return help_code(cli, args[0]);
	if (count && !strncasecmp(args[0], "W-", 2))
		return help_code(cli, args[0]);
	if (count)
		return help_verb(cli, args, count);
	(void)fputs(
		"kcpctl [-n NETWORK] [--control PATH] [-o human|json] [--color auto|always|never]\n"
		"       [--timeout 5s] [-q|-v] VERB\n\n",
		cli->out);
	for (size_t i = 0; i < table_count; i++) {
		char usage[48];
		(void)snprintf(usage, sizeof(usage), "%s %s", table[i].verb, table[i].words);
		(void)fprintf(cli->out, "  %-20s %s\n", usage, table[i].help);
	}
	(void)fputs("\nThe daemon: --control, else -n, else $KCPCTL_NETWORK, else the only one "
		    "that runs.\n"
		    "Exit: 0 ok, 1 other, 2 usage, 3 not running, 4 permission, 5 configuration, 6 "
		    "not found,\n"
		    "      7 not healthy (--check), 8 timeout, 9 version mismatch.\n",
		cli->out);
	return EXIT_OK;
}
