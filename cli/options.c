/*
 * A table of options, one parser. GNU habits: `--name value`, `--name=value`, `-n value`, `-nvalue`, `--` ends options.
 */
#include "cli/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct option_row {
	const char *name; /* without dashes */
	char letter;	  /* '\0' = none */
	bool has_value;
	unsigned id;
} rows[] = {
	{"network", 'n', true, OPTION_NETWORK},
	{"control", '\0', true, OPTION_CONTROL},
	{"output", 'o', true, OPTION_OUTPUT},
	{"color", '\0', true, OPTION_COLOR},
	{"timeout", '\0', true, OPTION_TIMEOUT},
	{"quiet", 'q', false, OPTION_QUIET},
	{"verbose", 'v', false, OPTION_VERBOSE},
	{"help", 'h', false, OPTION_HELP},
	{"wait", '\0', false, OPTION_WAIT},
	{"json", '\0', false, OPTION_JSON},
	{"check", '\0', false, OPTION_CHECK},
	{"for", '\0', true, OPTION_FOR},
	{"dry-run", '\0', false, OPTION_DRY_RUN},
	{"effective", '\0', false, OPTION_EFFECTIVE},
	{"follow", 'f', false, OPTION_FOLLOW},
	{"lines", '\0', true, OPTION_LINES},
};

enum {
	ROW_COUNT = sizeof(rows) / sizeof(rows[0]),
	DAY_MS = 24 * 3600 * 1000,
	LOG_LINES_MAX = 1000,
};

/* Finds the option of one word; *ret_value is what is attached to it, or NULL. */
static const struct option_row *find(const char *word, const char **ret_value)
{
	*ret_value = NULL;
	if (word[1] == '-') {
		const char *equals = strchr(word, '=');
		size_t len = equals ? (size_t)(equals - word) - 2 : strlen(word) - 2;
		for (size_t i = 0; i < ROW_COUNT; i++) {
			if (strlen(rows[i].name) == len && !strncmp(rows[i].name, word + 2, len)) {
				*ret_value = equals ? equals + 1 : NULL;
				return &rows[i];
			}
		}
		return NULL;
	}
	for (size_t i = 0; i < ROW_COUNT; i++) {
		if (rows[i].letter != word[1])
			continue;
		if (word[2] && !rows[i].has_value)
			return NULL;
		*ret_value = word[2] ? word + 2 : NULL;
		return &rows[i];
	}
	return NULL;
}

static bool is_option(const char *word)
{
	return word[0] == '-' && word[1] != '\0';
}

const char *options_find_verb(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *value;
		const struct option_row *row;

		if (!strcmp(argv[i], "--"))
			return i + 1 < argc ? argv[i + 1] : NULL;
		if (!is_option(argv[i]))
			return argv[i];
		row = find(argv[i], &value);
		if (row && row->has_value && !value)
			i++;
	}
	return NULL;
}

bool options_duration_ms(const char *text, int64_t *ret_ms)
{
	static const struct {
		const char *unit;
		int64_t ms;
	} units[] = {{"ms", 1}, {"s", 1000}, {"", 1000}, {"m", 60000}};
	char *end;
	long long number;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	number = strtoll(text, &end, 10);
	if (errno || number <= 0 || number > DAY_MS)
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(end, units[i].unit) != 0)
			continue;
		if (number > DAY_MS / units[i].ms)
			return false;
		*ret_ms = number * units[i].ms;
		return true;
	}
	return false;
}

static int bad_value(
	const struct cli *cli, const struct option_row *row, const char *value, const char *wanted)
{
	return cli_fail(cli, EXIT_USAGE, "E-CLI-4", NULL, "--%s: \"%s\" is not %s", row->name,
		value, wanted);
}

static int take_color(struct cli *cli, const struct option_row *row, const char *value)
{
	if (!strcmp(value, "always"))
		cli->options.color = true;
	else if (!strcmp(value, "never"))
		cli->options.color = false;
	else if (strcmp(value, "auto") != 0)
		return bad_value(cli, row, value, "auto, always or never");
	return EXIT_OK;
}

static int take(struct cli *cli, const struct option_row *row, const char *value)
{
	struct cli_options *o = &cli->options;
	char *end;
	long lines;

	o->given |= row->id;
	switch (row->id) {
	case OPTION_NETWORK:
		o->network = value;
		break;
	case OPTION_CONTROL:
		o->control = value;
		break;
	case OPTION_OUTPUT:
		o->json = !strcmp(value, "json");
		if (!o->json && strcmp(value, "human") != 0)
			return bad_value(cli, row, value, "human or json");
		break;
	case OPTION_JSON:
		o->json = true;
		break;
	case OPTION_COLOR:
		return take_color(cli, row, value);
	case OPTION_TIMEOUT:
		if (!options_duration_ms(value, &o->timeout_ms))
			return bad_value(cli, row, value, "a duration like 500ms, 5s or 2m");
		break;
	case OPTION_FOR:
		o->for_down = !strcmp(value, "down");
		if (!o->for_down && strcmp(value, "up") != 0)
			return bad_value(cli, row, value, "up or down");
		break;
	case OPTION_LINES:
		lines = strtol(value, &end, 10);
		if (*value < '0' || *value > '9' || *end || lines > LOG_LINES_MAX)
			return bad_value(cli, row, value, "a number from 0 to 1000");
		o->lines = (int)lines;
		break;
	default:
		break;
	}
	return EXIT_OK;
}

static int unknown(const struct cli *cli, const char *word)
{
	const char *names[ROW_COUNT];
	const char *near = NULL;
	char bare[40];

	if (word[1] == '-') {
		for (size_t i = 0; i < ROW_COUNT; i++)
			names[i] = rows[i].name;
		(void)snprintf(bare, sizeof(bare), "%.39s", word + 2);
		bare[strcspn(bare, "=")] = '\0';
		near = cli_nearest(bare, names, ROW_COUNT);
	}
	if (near)
		return cli_fail(cli, EXIT_USAGE, "E-CLI-2", NULL,
			"unknown option \"%s\"; did you mean \"--%s\"?", word, near);
	return cli_fail(cli, EXIT_USAGE, "E-CLI-2", "kcpctl help lists them",
		"unknown option \"%s\"", word);
}

static bool auto_color(const struct cli *cli)
{
	const char *no_color = getenv("NO_COLOR");
	const char *term = getenv("TERM");

	return cli->terminal && !(no_color && *no_color) && !(term && !strcmp(term, "dumb"));
}

int options_parse(struct cli *cli, int argc, char **argv)
{
	struct cli_options *o = &cli->options;
	bool words_only = false;
	const char *network = getenv("KCPCTL_NETWORK");

	*o = (struct cli_options){.lines = LOG_LINES_MAX, .color = auto_color(cli)};
	o->network = network && *network ? network : NULL;
	for (int i = 1; i < argc; i++) {
		const struct option_row *row;
		const char *value;
		int status;

		if (!words_only && !strcmp(argv[i], "--")) {
			words_only = true;
			continue;
		}
		if (words_only || !is_option(argv[i])) {
			if (o->arg_count == CLI_ARGS_MAX)
				return cli_fail(cli, EXIT_USAGE, "E-CLI-7", NULL, "too many words");
			o->args[o->arg_count++] = argv[i];
			continue;
		}
		row = find(argv[i], &value);
		if (!row || (value && !row->has_value))
			return unknown(cli, argv[i]);
		if (row->has_value && !value) {
			if (i + 1 == argc)
				return cli_fail(cli, EXIT_USAGE, "E-CLI-3", NULL,
					"%s needs a value", argv[i]);
			value = argv[++i];
		}
		status = take(cli, row, value);
		if (status)
			return status;
	}
	return EXIT_OK;
}

int options_check(const struct cli *cli, const char *verb, unsigned allowed)
{
	unsigned extra = cli->options.given & ~(allowed | OPTION_GLOBAL);

	for (size_t i = 0; i < ROW_COUNT; i++) {
		if (extra & rows[i].id)
			return cli_fail(cli, EXIT_USAGE, "E-CLI-2", NULL,
				"\"%s\" takes no option --%s", verb, rows[i].name);
	}
	return EXIT_OK;
}
