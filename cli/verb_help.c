/* help: all verbs, one verb, or one error code. */
#include "cli/command.h"

#include "config/config_report.h"
#include "control/control_error.h"

#include <string.h>
#include <strings.h>

static const struct {
	const char *code;
	const char *help;
} codes[] = {
	{"E-CLI-1", "There is no such verb. kcpctl help lists them."},
	{"E-CLI-2", "There is no such option, or this verb does not take it."},
	{"E-CLI-3", "A word or value is missing."},
	{"E-CLI-4", "A value makes no sense here."},
	{"E-CLI-5", "The verb is known, but not in this version."},
	{"E-CLI-6", "No verb was given."},
	{"E-CLI-7", "There are more words than the verb takes."},
	{"E-CLI-8", "Memory ran out."},
	{"E-CLI-9", "The output could not be written: a full disk, or whoever read it has gone."},
	{"E-CONN-1", "No daemon listens on the socket of that network. Start it; its log says why "
		     "it ended."},
	{"E-CONN-2", "No daemon listens on any socket. Start one."},
	{"E-CONN-3", "Several daemons are running. Choose one by -n NETWORK."},
	{"E-CONN-4", "You may not open the socket. Use sudo, or join the group that control.group "
		     "names."},
	{"E-CONN-5", "There is neither a socket nor a configuration of that name."},
	{"E-CONN-6", "The daemon closed the connection before it answered: it ended, or had to "
		     "make room."},
	{"E-CONN-7", "The answer did not come in time. --timeout gives it longer."},
	{"E-CONN-8", "kcpctl and the daemon are of versions that do not understand each other."},
	{"E-CONN-9", "What answers on the socket does not speak the daemon's protocol."},
	{"E-KEY-1", "The key file cannot be written there. Nothing was left behind."},
	{"E-KEY-2", "A file of that name is there already. Keys are never overwritten: those "
		    "who have its public half would not know this host any more."},
	{"E-KEY-3", "The key file cannot be read."},
	{"E-KEY-4", "The file holds no key: one line of base64, 44 characters that end in =."},
	{"E-KEY-5", "The system gives no randomness, or the disk fails."},
	{CONTROL_CODE_PERMISSION, "Reading needs control.group, changing needs "
				  "control.admin_group; root may do all."},
	{CONTROL_CODE_NO_PEER,
		"The configuration has no peer of that name. kcpctl peer list shows the names."},
	{CONTROL_CODE_PARSE, "The daemon got something that is not JSON."},
	{CONTROL_CODE_REQUEST, "The daemon got JSON that is not a JSON-RPC 2.0 request."},
	{CONTROL_CODE_METHOD, "The daemon does not know that method; it may be older than kcpctl."},
	{CONTROL_CODE_PARAMS, "The daemon does not know that parameter, or its value is wrong."},
	{CONTROL_CODE_TOO_LONG, "A request may have 256 KiB."},
	{CONTROL_CODE_BUSY, "Too many programs talk to the daemon at once."},
	{CONTROL_CODE_MEMORY, "The daemon ran out of memory."},
	{CONTROL_CODE_FAILED, "The daemon could not do it; the text says why."},
	{CONTROL_CODE_NOT_BUILT, "The daemon knows it, but not in this version."},
	{CONTROL_CODE_SOCKET, "The daemon could not make its control socket."},
	{CONTROL_CODE_RUNNING, "Another daemon serves that network already."},
};

static int help_code(struct cli *cli, const char *code)
{
	size_t count;
	const struct config_code_row *rows = config_report_codes(&count);

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (!strcasecmp(codes[i].code, code)) {
			(void)fprintf(cli->out, "%s\n  %s\n", codes[i].code, codes[i].help);
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
		(void)fprintf(cli->out, "kcpctl %s%s%s%s%s%s%s%s%s%s\n  %s%s\n", verb,
			*table[i].words ? " " : "", table[i].words,
			table[i].options & OPTION_WAIT ? " [--wait]" : "",
			table[i].options & OPTION_JSON ? " [--json]" : "",
			table[i].options & OPTION_CHECK ? " [--check]" : "",
			table[i].options & OPTION_FOR ? " [--for up|down]" : "",
			table[i].options & OPTION_DRY_RUN ? " [--dry-run]" : "",
			table[i].options & OPTION_EFFECTIVE ? " [--effective]" : "",
			table[i].options & OPTION_FOLLOW ? " [-f] [--lines N]" : "", table[i].help,
			table[i].run ? "" : " (not in this version)");
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
		if (!table[i].run)
			continue;
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
