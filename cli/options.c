/*
 * A table of options, one parser. GNU habits: `--name value`, `--name=value`, `-n value`, `-nvalue`, `--` ends options.
 */
#include "cli/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct option_row rows[] = {
	{"network", 'n', "NETWORK", OPTION_NETWORK},
	{"control", '\0', "PATH", OPTION_CONTROL},
	{"output", 'o', "human|json", OPTION_OUTPUT},
	{"color", '\0', "auto|always|never", OPTION_COLOR},
	{"timeout", '\0', "TIME", OPTION_TIMEOUT},
	{"quiet", 'q', NULL, OPTION_QUIET},
	{"verbose", 'v', NULL, OPTION_VERBOSE},
	{"help", 'h', NULL, OPTION_HELP},
	{"wait", '\0', NULL, OPTION_WAIT},
	{"json", '\0', NULL, OPTION_JSON},
	{"check", '\0', NULL, OPTION_CHECK},
	{"for", '\0', "up|down", OPTION_FOR},
	{"dry-run", '\0', NULL, OPTION_DRY_RUN},
	{"effective", '\0', NULL, OPTION_EFFECTIVE},
	{"follow", 'f', NULL, OPTION_FOLLOW},
	{"lines", '\0', "N", OPTION_LINES},
	{"public-key", '\0', "KEY", OPTION_PUBLIC_KEY},
	{"endpoint", '\0', "HOST:PORT", OPTION_ENDPOINT},
	{"allowed-ips", '\0', "CIDR[,CIDR...]", OPTION_ALLOWED_IPS},
	{"preshared-key-file", '\0', "FILE", OPTION_PSK_FILE},
	{"save", '\0', NULL, OPTION_SAVE},
	{"count", 'c', "N", OPTION_COUNT},
	{"size", 's', "BYTES", OPTION_SIZE},
	{"status", '\0', NULL, OPTION_STATUS},
};

enum {
	ROW_COUNT = sizeof(rows) / sizeof(rows[0]),
	DAY_MS = 24 * 3600 * 1000,
	COUNT_MAX = 1000000000,
	SIZE_MAX_BYTES = 65535,
	LOG_LINES_MAX = 1000,
};

const struct option_row *options_rows(size_t *ret_count)
{
	*ret_count = ROW_COUNT;
	return rows;
}

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
		if (word[2] && !rows[i].value)
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

static int take_number(const struct cli *cli, const struct option_row *row, const char *value,
	int64_t max, int64_t *ret)
{
	char *end;
	long long number;
	char wanted[64];

	errno = 0;
	number = *value >= '0' && *value <= '9' ? strtoll(value, &end, 10) : -1;
	(void)snprintf(wanted, sizeof(wanted), "a number from 0 to %lld", (long long)max);
	if (number < 0 || *end || errno || number > max)
		return bad_value(cli, row, value, wanted);
	*ret = number;
	return EXIT_OK;
}

static int take_list(const struct cli *cli, const struct option_row *row, const char *value,
	const char **list, int *count)
{
	if (*count == CLI_LIST_MAX)
		return cli_fail(cli, EXIT_USAGE, "E-CLI-7", NULL,
			"--%s is given more than %d times", row->name, CLI_LIST_MAX);
	list[(*count)++] = value;
	return EXIT_OK;
}

static int take(struct cli *cli, const struct option_row *row, const char *value)
{
	struct cli_options *o = &cli->options;
	int64_t lines = o->lines;
	int status;

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
		status = take_number(cli, row, value, LOG_LINES_MAX, &lines);
		o->lines = (int)lines;
		return status;
	case OPTION_COUNT:
		return take_number(cli, row, value, COUNT_MAX, &o->count);
	case OPTION_SIZE:
		return take_number(cli, row, value, SIZE_MAX_BYTES, &o->size);
	case OPTION_PUBLIC_KEY:
		o->public_key = value;
		break;
	case OPTION_PSK_FILE:
		o->preshared_key_file = value;
		break;
	case OPTION_ENDPOINT:
		return take_list(cli, row, value, o->endpoints, &o->endpoint_count);
	case OPTION_ALLOWED_IPS:
		return take_list(cli, row, value, o->allowed_ips, &o->allowed_ip_count);
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
		if (!row || (value && !row->value))
			return unknown(cli, argv[i]);
		if (row->value && !value) {
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
