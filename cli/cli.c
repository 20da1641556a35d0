/*
 * The parts that all verbs use: telling errors in their one form, text that is safe for a terminal, and the guess what a
 * mistyped word was meant to be.
 */
#include "cli/cli.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>

enum {
	WORD_MAX = 32, /* longer words are not guessed at */
	FAIL_TEXT_BYTES = 1024,
};

int64_t cli_now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void put(FILE *stream, const char *text, bool lines)
{
	const unsigned char *c = (const unsigned char *)text;

	for (; *c; c++) {
		/* C0, DEL, and C1, which UTF-8 writes as 0xc2 0x80 .. 0xc2 0x9f */
		if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f) {
			(void)fputc('?', stream);
			c++;
		} else if ((*c < 0x20 && !(lines && (*c == '\n' || *c == '\t'))) || *c == 0x7f) {
			(void)fputc('?', stream);
		} else {
			(void)fputc(*c, stream);
		}
	}
}

void cli_put_text(FILE *stream, const char *text)
{
	put(stream, text, false);
}

void cli_put_report(FILE *stream, const char *text)
{
	put(stream, text, true);
}

int cli_fail(const struct cli *cli, int status, const char *code, const char *hint,
	const char *format, ...)
{
	char text[FAIL_TEXT_BYTES];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	(void)fprintf(cli->err, "kcpctl: %s ", code);
	cli_put_text(cli->err, text);
	(void)fputc('\n', cli->err);
	if (hint && *hint) {
		(void)fputs("  ", cli->err);
		cli_put_text(cli->err, hint);
		(void)fputc('\n', cli->err);
	}
	return status;
}

int cli_fail_control(const struct cli *cli, const struct control_error *error)
{
	int status = control_error_exit_status(error->class);
	char place[CONTROL_ERROR_FILE_BYTES + 48] = "";

	if (error->detail) { /* the daemon's whole report, already in this form */
		cli_put_report(cli->err, error->detail);
		return status;
	}
	if (error->file[0] && error->line > 0 && error->column > 0)
		(void)snprintf(place, sizeof(place), "%s:%lld:%lld: ", error->file,
			(long long)error->line, (long long)error->column);
	else if (error->file[0] && error->line > 0)
		(void)snprintf(
			place, sizeof(place), "%s:%lld: ", error->file, (long long)error->line);
	else if (error->file[0])
		(void)snprintf(place, sizeof(place), "%s: ", error->file);
	return cli_fail(cli, status, error->code, error->hint, "%s%s", place, error->text);
}

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t least = a < b ? a : b;
	return least < c ? least : c;
}

/* Edits between two words: insert, delete, replace, swap neighbours. Both at most WORD_MAX long. */
static size_t distance(const char *a, const char *b)
{
	size_t rows[3][WORD_MAX + 1];
	size_t *before = rows[0];
	size_t *last = rows[1];
	size_t *row = rows[2];
	size_t a_len = strlen(a);
	size_t b_len = strlen(b);

	for (size_t j = 0; j <= b_len; j++)
		last[j] = before[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			row[j] = min3(
				row[j - 1] + 1, last[j] + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
				before[j - 2] + 1 < row[j])
				row[j] = before[j - 2] + 1;
		}
		size_t *spare = before;
		before = last;
		last = row;
		row = spare;
	}
	return last[b_len];
}

const char *cli_nearest(const char *word, const char *const *names, size_t count)
{
	const char *best = NULL;
	size_t len = strlen(word);
	size_t best_distance = len < 4 ? 2 : 3; /* one or two edits at most */

	if (len == 0 || len > WORD_MAX)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		size_t d = strlen(names[i]) <= WORD_MAX ? distance(word, names[i]) : best_distance;
		if (d < best_distance) {
			best_distance = d;
			best = names[i];
		}
	}
	return best;
}
