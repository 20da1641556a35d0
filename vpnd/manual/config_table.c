/*
 * usage: config_table FILE.scd
 *
 * Copies a manual to stdout and puts keys of the configuration, or codes of messages, where a line says so:
 *
 *      @KEYS interface@     those of the section
 *      @KEYS .@             those of no section
 *      @KEYS peers@         those that stand under a peer's name only
 *      @SHARED@             the sections whose keys a peer may have as well, in a sentence's list
 *      @CODES E-DOC@        the codes of that family, with their help
 *      @CODES *@            all others that did not stand there yet
 *
 * What it says of a key is its row in the schema, so a manual cannot say anything else than the parser does; of a code, what
 * `kcpctl help` says. A manual that has one line of keys must have all: a key that stands nowhere, or twice, is an error. It
 * runs when the manuals are made.
 */
#include "config/config_report.h"
#include "config/config_schema.h"
#include "control/control_code.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	ROWS_MAX = 256,
	LINE_BYTES = 4096,
	CODE_BYTES = 16,
	FAMILIES_MAX = 32,
};

static unsigned printed[ROWS_MAX];
static char families[FAMILIES_MAX][CODE_BYTES]; /* of codes that were printed */
static size_t family_count;

/* As it stands: scdoc gives these characters a meaning. */
static void print_plain(const char *text)
{
	for (; *text; text++) {
		if (strchr("_*\\#|[]<>`", *text))
			(void)putchar('\\');
		(void)putchar(*text);
	}
}

/* In italics, unless it has characters that end them. */
static void print_value(const char *text)
{
	(void)putchar('_');
	print_plain(text);
	(void)putchar('_');
}

static void print_words(const char *words)
{
	char word[64];

	for (int i = 0; config_words_at(words, i, word, sizeof(word)); i++) {
		if (i > 0)
			(void)fputs(" | ", stdout);
		print_value(word);
	}
}

static bool is_text(enum config_type type)
{
	return type == CONFIG_TYPE_STRING || type == CONFIG_TYPE_NAME ||
	       type == CONFIG_TYPE_DEVICE || type == CONFIG_TYPE_PATH ||
	       type == CONFIG_TYPE_STRINGS;
}

static void print_range(const struct config_row *row)
{
	const char *unit = config_unit_str(row->unit);

	if ((row->min == 0 && row->max == 0) || is_text(row->type))
		return;
	if (row->min == row->max)
		(void)printf(" %lld", (long long)row->min);
	else
		(void)printf(" %lld to %lld", (long long)row->min, (long long)row->max);
	if (unit[0])
		(void)printf(" %s", unit);
}

/* "int, auto | 576 to 9000 bytes; default auto" */
static void print_values(const struct config_row *row)
{
	bool closed = row->type == CONFIG_TYPE_ENUM || row->type == CONFIG_TYPE_WORD;

	if (closed) {
		print_words(row->words);
	} else {
		print_plain(config_type_str(row->type));
		print_range(row);
		if (row->words) {
			(void)fputs(", or ", stdout);
			print_words(row->words);
		}
	}
	if (row->flags & CONFIG_ROW_REQUIRED) {
		(void)fputs("; required", stdout);
	} else if (row->def) {
		(void)fputs("; default ", stdout);
		print_value(row->def);
	}
}

static void print_row(const struct config_row *row)
{
	(void)putchar('*');
	print_plain(row->key);
	(void)fputs("*: ", stdout);
	print_values(row);
	(void)fputs("\n\t", stdout);
	print_plain(row->help);
	(void)putchar('.');
	if (row->flags & CONFIG_ROW_NATIVE)
		(void)fputs(" Native wire only.", stdout);
	if (row->flags & CONFIG_ROW_KCP_GO)
		(void)fputs(" Kcp-go wire only.", stdout);
	if (row->flags & CONFIG_ROW_INHERIT)
		(void)fputs(" May stand under a peer.", stdout);
	if (row->effects & CONFIG_EFFECT_RESTART)
		(void)fputs(" A change takes a restart.", stdout);
	if (row->effects & CONFIG_EFFECT_SESSIONS)
		(void)fputs(" A change starts all sessions anew.", stdout);
	(void)fputs("\n\n", stdout);
}

static bool is_in(const struct config_row *row, const char *section)
{
	size_t len = strlen(section);

	if (strcmp(section, ".") == 0)
		return !strchr(row->key, '.');
	return strncmp(row->key, section, len) == 0 && row->key[len] == '.';
}

/* @return false if there is no such section */
static bool print_section(const char *section)
{
	size_t count;
	const struct config_row *rows = config_schema_rows(&count);
	bool any = false;

	for (size_t i = 0; i < count && i < ROWS_MAX; i++) {
		if (!is_in(&rows[i], section))
			continue;
		print_row(&rows[i]);
		printed[i]++;
		any = true;
	}
	return any;
}

static void print_shared(void)
{
	size_t count;
	const struct config_row *rows = config_schema_rows(&count);
	char last[64] = "";

	for (size_t i = 0; i < count; i++) {
		size_t len = strcspn(rows[i].key, ".");
		if (!(rows[i].flags & CONFIG_ROW_INHERIT) || len >= sizeof(last) ||
			(strncmp(last, rows[i].key, len) == 0 && last[len] == '\0'))
			continue;
		(void)printf("%s", last[0] ? ", " : "");
		(void)snprintf(last, sizeof(last), "%.*s", (int)len, rows[i].key);
		(void)printf("*%s*", last);
	}
	(void)putchar('\n');
}

/* "E-DOC" of "E-DOC-12" */
static void family_of(const char *code, char ret_family[CODE_BYTES])
{
	const char *end = strrchr(code, '-');

	(void)snprintf(ret_family, CODE_BYTES, "%.*s",
		end && end - code < CODE_BYTES ? (int)(end - code) : 0, code);
}

static bool is_wanted(const char *code, const char *wanted)
{
	char family[CODE_BYTES];

	family_of(code, family);
	if (strcmp(wanted, "*") != 0)
		return strcmp(family, wanted) == 0;
	for (size_t i = 0; i < family_count; i++) {
		if (strcmp(families[i], family) == 0)
			return false;
	}
	return true;
}

static void print_code(const char *code, const char *help)
{
	(void)printf("*%s*\n\t", code);
	print_plain(help);
	(void)fputs("\n\n", stdout);
}

/* @return false if there is no such family */
static bool print_codes(const char *wanted)
{
	size_t own_count, count;
	const struct control_code_row *own = control_codes(&own_count);
	const struct config_code_row *rows = config_report_codes(&count);
	bool any = false;

	for (size_t i = 0; i < own_count; i++) {
		if (!is_wanted(own[i].code, wanted))
			continue;
		print_code(own[i].code, own[i].help);
		any = true;
	}
	for (size_t i = 0; i < count; i++) {
		if (!is_wanted(rows[i].code, wanted))
			continue;
		print_code(rows[i].code, rows[i].help);
		any = true;
	}
	if (family_count == FAMILIES_MAX)
		return false;
	(void)snprintf(families[family_count++], CODE_BYTES, "%.15s", wanted);
	return any;
}

/* @return false if the line asks for what there is not */
static bool copy(const char *line)
{
	char section[64];

	if (sscanf(line, "@KEYS %63[a-z_.]@", section) == 1)
		return print_section(section);
	if (sscanf(line, "@CODES %15[A-Z*-]@", section) == 1)
		return print_codes(section);
	if (strcmp(line, "@SHARED@\n") == 0)
		print_shared();
	else if (line[0] == '@')
		return false;
	else
		(void)fputs(line, stdout);
	return true;
}

static bool all_printed(const char *file)
{
	size_t count;
	const struct config_row *rows = config_schema_rows(&count);
	bool any = false, all = count <= ROWS_MAX;

	for (size_t i = 0; i < count && i < ROWS_MAX; i++)
		any |= printed[i] > 0;
	for (size_t i = 0; any && i < count && i < ROWS_MAX; i++) {
		if (printed[i] == 1)
			continue;
		(void)fprintf(stderr, "config_table: %s: %s stands there %u times\n", file,
			rows[i].key, printed[i]);
		all = false;
	}
	return all;
}

int main(int argc, char **argv)
{
	char line[LINE_BYTES];
	FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
	unsigned number = 0;

	if (!file) {
		(void)fputs("usage: config_table FILE.scd\n", stderr);
		return 2;
	}
	while (fgets(line, sizeof(line), file)) {
		number++;
		if (copy(line))
			continue;
		(void)fprintf(stderr, "config_table: %s:%u: %s", argv[1], number, line);
		return EXIT_FAILURE;
	}
	(void)fclose(file);
	return all_printed(argv[1]) && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
