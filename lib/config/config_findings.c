/*
 * Findings come in the order of the checks and are told in the order of the file, missing keys last.
 * The report has a fixed number of places, kept sorted; what comes later in the file gives way. Lines
 * are quoted at the end, for those that were kept.
 */
#include "config/config_findings.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int findings_add_source(
	struct findings *findings, const char *path, char *data, size_t len, unsigned mode)
{
	if (findings->source_count == findings->source_capacity) {
		size_t capacity = findings->source_capacity ? 2 * findings->source_capacity : 4;
		struct source *grown = reallocarray(findings->sources, capacity, sizeof(*grown));
		if (!grown) {
			explicit_bzero(data, len);
			free(data);
			return -ENOMEM;
		}
		findings->sources = grown;
		findings->source_capacity = capacity;
	}
	int error = source_init(&findings->sources[findings->source_count], path, data, len, mode);
	if (error)
		return error;
	findings->source_count++;
	return 0;
}

/*
 * Texts may hold what the file says: control characters are replaced, and a character that was cut by
 * the size of the buffer is taken away.
 */
static void clean(char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++) {
		uint8_t byte = (uint8_t)text[i];
		bool c1 =
			byte == 0xc2 && (uint8_t)text[i + 1] >= 0x80 && (uint8_t)text[i + 1] < 0xa0;
		if (c1)
			text[i + 1] = '?';
		if (c1 || byte < 0x20 || byte == 0x7f)
			text[i] = '?';
	}
	size_t tail = 0;
	while (tail < 3 && tail < len && ((uint8_t)text[len - 1 - tail] & 0xc0) == 0x80)
		tail++;
	if (tail < len) {
		uint8_t lead = (uint8_t)text[len - 1 - tail];
		size_t want = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
		if (want != tail)
			text[len - 1 - tail] = '\0';
	}
}

static bool comes_before(const struct config_finding *a, const struct config_finding *b)
{
	if (a->sort_late != b->sort_late)
		return a->sort_late < b->sort_late;
	if (a->file_index != b->file_index)
		return a->file_index < b->file_index;
	if (a->line != b->line)
		return a->line < b->line;
	return a->column < b->column;
}

/* Inserts behind all that do not come after it. @return the place to fill, NULL if it is too late */
static struct config_finding *insert(
	struct config_finding *list, size_t *count, size_t max, const struct config_finding *key)
{
	size_t at = *count;

	while (at > 0 && comes_before(key, &list[at - 1]))
		at--;
	if (at == max)
		return NULL;
	size_t moved = *count - at;
	if (*count == max)
		moved--;
	else
		++*count;
	memmove(&list[at + 1], &list[at], moved * sizeof(*list));
	return &list[at];
}

static void add(struct findings *findings, struct config_finding *list, size_t *count, size_t max,
	struct config_finding *key, struct finding_place place, const char *note,
	const char *format, va_list args)
{
	key->line = place.line;
	key->column = place.column;
	key->file_index = place.source;
	struct config_finding *finding = insert(list, count, max, key);
	if (!finding)
		return;
	memset(finding, 0, sizeof(*finding));
	finding->number = key->number;
	finding->warning = key->warning;
	finding->line = place.line;
	finding->column = place.column;
	finding->caret_len = place.width;
	finding->file_index = place.source;
	finding->sort_late = key->sort_late;
	finding->hidden = place.hidden;
	const char *path =
		place.source < findings->source_count ? findings->sources[place.source].path : "";
	(void)snprintf(finding->file, sizeof(finding->file), "%s", path);
	(void)vsnprintf(finding->text, sizeof(finding->text), format, args);
	(void)snprintf(finding->note, sizeof(finding->note), "%s", note ? note : "");
	clean(finding->file);
	clean(finding->text);
	clean(finding->note);
}

void findings_error(struct findings *findings, enum config_code code, struct finding_place place,
	const char *note, const char *format, ...)
{
	struct config_report *report = findings->report;
	struct config_finding *key = &(struct config_finding){.number = code};
	va_list args;

	key->sort_late = place.line == 0 && code != CONFIG_E_READ;
	report->error_total++;
	va_start(args, format);
	add(findings, report->errors, &report->error_count, CONFIG_REPORT_ERRORS, key, place, note,
		format, args);
	va_end(args);
}

void findings_warning(struct findings *findings, enum config_warning code,
	struct finding_place place, const char *format, ...)
{
	struct config_report *report = findings->report;
	struct config_finding *key = &(struct config_finding){.number = code, .warning = true};
	va_list args;

	report->warning_total++;
	va_start(args, format);
	add(findings, report->warnings, &report->warning_count, CONFIG_REPORT_WARNINGS, key, place,
		NULL, format, args);
	va_end(args);
}

void findings_quote(struct findings *findings)
{
	struct config_report *report = findings->report;

	for (size_t i = 0; i < report->error_count; i++) {
		struct config_finding *finding = &report->errors[i];
		/* these say it all by the name of the key */
		if (finding->number == CONFIG_E_UNKNOWN_KEY ||
			finding->number == CONFIG_E_DUPLICATE || finding->hidden)
			continue;
		if (finding->file_index < findings->source_count)
			source_quote(&findings->sources[finding->file_index], finding,
				finding->number == CONFIG_E_SYNTAX);
	}
}

void findings_fini(struct findings *findings)
{
	for (size_t i = 0; i < findings->source_count; i++)
		source_fini(&findings->sources[i]);
	free(findings->sources);
	findings->sources = NULL;
	findings->source_count = 0;
}
