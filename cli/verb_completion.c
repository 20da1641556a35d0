/*
 * completion: scripts for three shells, made of the tables of verbs and options, so that they can't be behind. Peers and
 * networks are asked for when they are wanted; a daemon that does not answer costs nothing but the names.
 */
#include "cli/command.h"
#include "cli/options.h"

#include <string.h>

/* What may stand behind a verb, for completion. */
enum kind {
	KIND_NONE,
	KIND_PEER,
	KIND_FILE,
};

static enum kind kind_of(const struct command *command)
{
	if (!strncmp(command->words, "PEER", 4) || !strncmp(command->words, "[PEER", 5) ||
		!strcmp(command->verb, "peer del"))
		return KIND_PEER;
	return strstr(command->words, "FILE") ? KIND_FILE : KIND_NONE;
}

static bool is_group(const struct command *table, size_t i)
{
	return strchr(table[i].verb, ' ') != NULL;
}

/* First words of all verbs, each once, with blanks between them. */
static void put_first_words(const struct cli *cli)
{
	size_t count;
	const struct command *table = command_table(&count);
	size_t last = 0;

	for (size_t i = 0; i < count; i++) {
		size_t len = strcspn(table[i].verb, " ");
		if (i && len == last && !strncmp(table[i].verb, table[i - 1].verb, len))
			continue;
		(void)fprintf(cli->out, "%s%.*s", i ? " " : "", (int)len, table[i].verb);
		last = len;
	}
}

static void put_options(const struct cli *cli, unsigned ids)
{
	size_t count;
	const struct option_row *rows = options_rows(&count);

	for (size_t i = 0; i < count; i++) {
		if (rows[i].id & ids)
			(void)fprintf(cli->out, " --%s", rows[i].name);
	}
}

/* A case of the shell's `case "$verb"` for each verb: its second words, its options, what it takes. */
static void put_cases(const struct cli *cli, const char *set)
{
	size_t count;
	const struct command *table = command_table(&count);

	for (size_t i = 0; i < count; i++) {
		enum kind kind = kind_of(&table[i]);
		(void)fprintf(cli->out, "\t'%s') %s=\"", table[i].verb, set);
		put_options(cli, table[i].options);
		if (kind == KIND_PEER)
			(void)fputs(" $(_kcpctl_peers)", cli->out);
		if (!strcmp(table[i].verb, "completion"))
			(void)fputs(" bash zsh fish", cli->out);
		(void)fprintf(cli->out, "\"%s ;;\n", kind == KIND_FILE ? "; files=1" : "");
	}
	for (size_t i = 0; i < count; i++) {
		size_t len = strcspn(table[i].verb, " ");
		if (!is_group(table, i) ||
			(i && !strncmp(table[i - 1].verb, table[i].verb, len + 1)))
			continue;
		(void)fprintf(cli->out, "\t%.*s) %s=\"", (int)len, table[i].verb, set);
		for (size_t k = i; k < count && !strncmp(table[k].verb, table[i].verb, len + 1);
			k++)
			(void)fprintf(cli->out, " %s", table[k].verb + len + 1);
		(void)fputs("\" ;;\n", cli->out);
	}
}

/* The options of every verb that are followed by a value, for `case`: "-n|--network|-o". */
static void put_valued(const struct cli *cli)
{
	size_t count;
	const struct option_row *rows = options_rows(&count);
	bool any = false;

	for (size_t i = 0; i < count; i++) {
		if (!rows[i].value)
			continue;
		(void)fprintf(cli->out, "%s--%s", any ? "|" : "", rows[i].name);
		if (rows[i].letter)
			(void)fprintf(cli->out, "|-%c", rows[i].letter);
		any = true;
	}
}

static void put_groups(const struct cli *cli)
{
	size_t count;
	const struct command *table = command_table(&count);
	bool any = false;

	for (size_t i = 0; i < count; i++) {
		size_t len = strcspn(table[i].verb, " ");
		if (!is_group(table, i) ||
			(i && !strncmp(table[i - 1].verb, table[i].verb, len + 1)))
			continue;
		(void)fprintf(cli->out, "%s%.*s", any ? "|" : "", (int)len, table[i].verb);
		any = true;
	}
}

static void put_peers_function(const struct cli *cli)
{
	(void)fputs("_kcpctl_peers() {\n"
		    "\tkcpctl \"${net[@]}\" --timeout 1s peer list 2>/dev/null |\n"
		    "\t\tsed -n '2,$s/^\\([A-Za-z0-9._-]*\\) .*/\\1/p'\n"
		    "}\n",
		cli->out);
}

/* Shared by bash and zsh, whose `case` and arrays are alike enough here. */
static void put_scan(const struct cli *cli, const char *words, const char *from, const char *end)
{
	(void)fprintf(cli->out,
		"\tlocal i w verb='' skip='' list='' files='' net=()\n"
		"\tfor ((i = %s; i < %s; i++)); do\n"
		"\t\tw=${%s[i]}\n"
		"\t\tcase $skip in\n"
		"\t\t-n|--network|--control) net=(\"$skip\" \"$w\") ;;\n"
		"\t\tesac\n"
		"\t\tif [ -n \"$skip\" ]; then skip=''; continue; fi\n"
		"\t\tcase $w in\n"
		"\t\t",
		from, end, words);
	put_valued(cli);
	(void)fputs(") skip=$w ;;\n"
		    "\t\t-*) ;;\n"
		    "\t\t*) case $verb in\n"
		    "\t\t\t'') verb=$w ;;\n"
		    "\t\t\t",
		cli->out);
	put_groups(cli);
	(void)fputs(") verb=\"$verb $w\" ;;\n"
		    "\t\t\tesac ;;\n"
		    "\t\tesac\n"
		    "\tdone\n"
		    "\tcase $verb in\n"
		    "\t'') list=\"",
		cli->out);
	put_first_words(cli);
	(void)fputs("\" ;;\n", cli->out);
	put_cases(cli, "list");
	(void)fputs("\tesac\n\tcase $skip in\n"
		    "\t-o|--output) list='human json' files='' ;;\n"
		    "\t--color) list='auto always never' files='' ;;\n"
		    "\t--for) list='up down' files='' ;;\n"
		    "\t-n|--network) list=$(cd /run/vpnd 2>/dev/null && echo *) files='' ;;\n"
		    "\t--control|--preshared-key-file) list='' files=1 ;;\n"
		    "\t'') list=\"$list",
		cli->out);
	put_options(cli, OPTION_GLOBAL);
	(void)fputs("\" ;;\n\t*) return ;;\n\tesac\n", cli->out);
}

static void put_bash(const struct cli *cli)
{
	(void)fputs("# bash completion for kcpctl; made by: kcpctl completion bash\n", cli->out);
	put_peers_function(cli);
	(void)fputs("_kcpctl() {\n\tlocal cur=${COMP_WORDS[COMP_CWORD]}\n", cli->out);
	put_scan(cli, "COMP_WORDS", "1", "COMP_CWORD");
	(void)fputs("\tCOMPREPLY=()\n"
		    "\tcase $cur in\n"
		    "\t-*) ;;\n"
		    "\t*)\tlocal word words=''\n"
		    "\t\tfor word in $list; do\n"
		    "\t\t\tcase $word in -*) ;; *) words=\"$words $word\" ;; esac\n"
		    "\t\tdone\n"
		    "\t\tlist=$words ;;\n"
		    "\tesac\n"
		    "\tmapfile -t COMPREPLY < <(compgen -W \"$list\" -- \"$cur\")\n"
		    "\tif [ -n \"$files\" ] && [[ $cur != -* ]]; then\n"
		    "\t\tlocal found\n"
		    "\t\tmapfile -t found < <(compgen -f -- \"$cur\")\n"
		    "\t\tCOMPREPLY+=(\"${found[@]}\")\n"
		    "\t\tcompopt -o filenames 2>/dev/null\n"
		    "\tfi\n"
		    "}\n"
		    "complete -F _kcpctl kcpctl\n",
		cli->out);
}

static void put_zsh(const struct cli *cli)
{
	(void)fputs("#compdef kcpctl\n# made by: kcpctl completion zsh\n", cli->out);
	put_peers_function(cli);
	(void)fputs("_kcpctl() {\n", cli->out);
	put_scan(cli, "words", "2", "CURRENT");
	(void)fputs("\tlocal -a offer\n"
		    "\toffer=(${=list})\n"
		    "\t[[ ${words[CURRENT]} == -* ]] || offer=(${offer:#-*})\n"
		    "\tcompadd -a offer\n"
		    "\t[ -z \"$files\" ] || _files\n"
		    "}\n"
		    "if [ \"$funcstack[1]\" = _kcpctl ]; then _kcpctl \"$@\"; else compdef _kcpctl "
		    "kcpctl; fi\n",
		cli->out);
}

static void put_quoted(const struct cli *cli, const char *text)
{
	(void)fputc('\'', cli->out);
	for (const char *c = text; *c; c++)
		(void)fprintf(cli->out, *c == '\'' || *c == '\\' ? "\\%c" : "%c", *c);
	(void)fputc('\'', cli->out);
}

static void put_fish_option(
	const struct cli *cli, const struct option_row *row, const char *condition)
{
	(void)fprintf(cli->out, "complete -c kcpctl%s -l %s", condition, row->name);
	if (row->letter)
		(void)fprintf(cli->out, " -s %c", row->letter);
	if (row->value)
		(void)fputs(" -r", cli->out);
	if (row->value && strchr(row->value, '|')) {
		(void)fputs(" -f -a '", cli->out);
		for (const char *c = row->value; *c; c++)
			(void)fputc(*c == '|' ? ' ' : *c, cli->out);
		(void)fputc('\'', cli->out);
	}
	(void)fputc('\n', cli->out);
}

static void put_fish_verb(const struct cli *cli, const struct command *command)
{
	size_t count;
	const struct option_row *rows = options_rows(&count);
	char first[32], condition[160];
	const char *second = strchr(command->verb, ' ');

	(void)snprintf(
		first, sizeof(first), "%.*s", (int)strcspn(command->verb, " "), command->verb);
	if (second) {
		(void)fprintf(cli->out,
			"complete -c kcpctl -f -n __fish_use_subcommand -a %s\n"
			"complete -c kcpctl -f -n '__fish_seen_subcommand_from %s' -a '%s' -d ",
			first, first, second + 1);
		put_quoted(cli, command->help);
		(void)fputc('\n', cli->out);
		(void)snprintf(condition, sizeof(condition),
			" -n '__fish_seen_subcommand_from %s; and __fish_seen_subcommand_from %s'",
			first, second + 1);
	} else {
		(void)fprintf(cli->out, "complete -c kcpctl -f -n __fish_use_subcommand -a %s -d ",
			first);
		put_quoted(cli, command->help);
		(void)fputc('\n', cli->out);
		(void)snprintf(condition, sizeof(condition), " -n '__fish_seen_subcommand_from %s'",
			first);
	}
	for (size_t i = 0; i < count; i++) {
		if (command->options & rows[i].id)
			put_fish_option(cli, &rows[i], condition);
	}
	if (kind_of(command) == KIND_PEER)
		(void)fprintf(
			cli->out, "complete -c kcpctl -f%s -a '(__kcpctl_peers)'\n", condition);
	else if (kind_of(command) == KIND_FILE)
		(void)fprintf(cli->out, "complete -c kcpctl -F%s\n", condition);
	else if (!strcmp(command->verb, "completion"))
		(void)fprintf(cli->out, "complete -c kcpctl -f%s -a 'bash zsh fish'\n", condition);
}

static void put_fish(const struct cli *cli)
{
	size_t count, option_count;
	const struct command *table = command_table(&count);
	const struct option_row *rows = options_rows(&option_count);

	(void)fputs("# fish completion for kcpctl; made by: kcpctl completion fish\n"
		    "function __kcpctl_peers\n"
		    "\tkcpctl --timeout 1s peer list 2>/dev/null | "
		    "string match -r -g '^([A-Za-z0-9._-]+) ' | tail -n +2\n"
		    "end\n",
		cli->out);
	for (size_t i = 0; i < option_count; i++) {
		if (rows[i].id & OPTION_GLOBAL)
			put_fish_option(cli, &rows[i], "");
	}
	for (size_t i = 0; i < count; i++)
		put_fish_verb(cli, &table[i]);
}

int verb_completion(struct cli *cli, const char *const *args, int count)
{
	(void)count;
	if (!strcmp(args[0], "bash"))
		put_bash(cli);
	else if (!strcmp(args[0], "zsh"))
		put_zsh(cli);
	else if (!strcmp(args[0], "fish"))
		put_fish(cli);
	else
		return cli_fail(cli, EXIT_USAGE, "E-CLI-4", NULL,
			"\"%.40s\" is not bash, zsh or fish", args[0]);
	return EXIT_OK;
}
