/*
 * Source texts: a message quotes the line it speaks of, and must never quote a key.
 *
 * Positions are libyaml's: lines end where YAML 1.1 says (LF, CR, CRLF, NEL, LS, PS), columns count
 * characters of UTF-8. The tree builder masks the span of every value that stands behind a key whose
 * name looks secret. If a file does not parse, spans are not complete; then all that follows such
 * a name or such a span on the quoted line is masked, and nothing is quoted once a secret was begun and not ended.
 */
#include "config/config_source.h"

#include "config/config_report.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int source_init(struct source *source, const char *path, char *data, size_t len, unsigned mode)
{
	*source = (struct source){.data = data, .data_len = len, .mode = mode};
	source->text = data;
	source->len = len;
	if (len >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) {
		source->text += 3;
		source->len -= 3;
	}
	source->path = strdup(path);
	if (!source->path) {
		source_fini(source);
		return -ENOMEM;
	}
	return 0;
}

void source_fini(struct source *source)
{
	if (source->data)
		explicit_bzero(source->data, source->data_len);
	free(source->data);
	free(source->path);
	free(source->masks);
	*source = (struct source){0};
}

int source_mask(struct source *source, struct source_mask mask)
{
	if (source->mask_count == source->mask_capacity) {
		size_t capacity = source->mask_capacity ? 2 * source->mask_capacity : 8;
		struct source_mask *grown = reallocarray(source->masks, capacity, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		source->masks = grown;
		source->mask_capacity = capacity;
	}
	source->masks[source->mask_count++] = mask;
	return 0;
}

bool source_key_is_secret(const char *key)
{
	static const char *const WORDS[] = {"key", "psk", "secret", "pass"};
	size_t len = strlen(key);

	if (len >= 5 && strcasecmp(key + len - 5, "_file") == 0)
		return false;
	if (strcasecmp(key, "public_key") == 0)
		return false;
	for (size_t i = 0; i < sizeof(WORDS) / sizeof(WORDS[0]); i++) {
		if (strcasestr(key, WORDS[i]))
			return true;
	}
	return false;
}

/* Bytes of the line break at `at`, 0 if there is none. */
static size_t break_len(const char *at, const char *end)
{
	size_t left = (size_t)(end - at);

	if (left >= 2 && at[0] == '\r' && at[1] == '\n')
		return 2;
	if (left >= 1 && (at[0] == '\r' || at[0] == '\n'))
		return 1;
	if (left >= 2 && memcmp(at, "\xc2\x85", 2) == 0)
		return 2;
	if (left >= 3 && (memcmp(at, "\xe2\x80\xa8", 3) == 0 || memcmp(at, "\xe2\x80\xa9", 3) == 0))
		return 3;
	return 0;
}

/* Bytes of the character at `at`. Bytes that are not UTF-8 count as one character each. */
static size_t char_len(const char *at, const char *end)
{
	uint8_t first = (uint8_t)*at;
	size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 1;

	if (len > (size_t)(end - at))
		return 1;
	for (size_t i = 1; i < len; i++) {
		if (((uint8_t)at[i] & 0xc0) != 0x80)
			return 1;
	}
	return len;
}

void source_position(
	const struct source *source, size_t offset, unsigned *ret_line, unsigned *ret_column)
{
	const char *at = source->text;
	const char *end = source->text + (offset < source->len ? offset : source->len);
	unsigned line = 1;
	unsigned column = 1;

	while (at < end) {
		size_t skip = break_len(at, end);
		if (skip) {
			line++;
			column = 1;
			at += skip;
		} else {
			column++;
			at += char_len(at, end);
		}
	}
	*ret_line = line;
	*ret_column = column;
}

/* Finds line `line` (from 1). @return its first byte and its length, or NULL if there is no such line */
static const char *find_line(const struct source *source, unsigned line, size_t *ret_len)
{
	const char *at = source->text;
	const char *end = source->text + source->len;

	while (line > 1) {
		if (at >= end)
			return NULL;
		size_t skip = break_len(at, end);
		if (skip)
			line--;
		at += skip ? skip : 1;
	}
	size_t len = 0;
	while (at + len < end && !break_len(at + len, end))
		len++;
	*ret_len = len;
	return at;
}

bool source_is_tab(const struct source *source, unsigned line, unsigned column)
{
	size_t len = 0;
	const char *at = find_line(source, line, &len);

	if (!at)
		return false;
	const char *end = at + len;
	for (unsigned i = 1; i < column && at < end; i++)
		at += char_len(at, end);
	return at < end && *at == '\t';
}

static bool is_masked(const struct source *source, unsigned line, unsigned column)
{
	for (size_t i = 0; i < source->mask_count; i++) {
		const struct source_mask *m = &source->masks[i];
		bool after = line > m->line || (line == m->line && column >= m->column);
		bool before = line < m->end_line || (line == m->end_line && column < m->end_column);
		if (after && before)
			return true;
	}
	return false;
}

/*
 * For a file that does not parse: the first byte behind the name of a secret and its colon, or `end`.
 * Words are taken as they come, quotes and comments are not looked at: rather too much is hidden.
 */
static const char *secret_text(const char *at, const char *end)
{
	char word[64];
	size_t len = 0;

	for (; at < end; at++) {
		bool part = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
			    *at == '_' || *at == '-' || (*at >= '0' && *at <= '9');
		if (part) {
			if (len < sizeof(word) - 1)
				word[len++] = *at;
			continue;
		}
		word[len] = '\0';
		if (*at == ':' && source_key_is_secret(word))
			return at + 1;
		if (*at != '"' && *at != '\'' && *at != ' ')
			len = 0;
	}
	return end;
}

/* Appends one character to `out`; control characters become '?', tabs a space so that columns hold. */
static char *put_char(char *out, const char *at, size_t len, bool masked)
{
	uint8_t byte = (uint8_t)*at;

	if (masked) {
		*out++ = '*';
	} else if (byte == '\t') {
		*out++ = ' ';
	} else if (len == 1 && (byte < 0x20 || byte >= 0x7f)) {
		*out++ = '?';
	} else if (len == 2 && byte == 0xc2 && (uint8_t)at[1] < 0xa0) {
		*out++ = '?';
	} else {
		memcpy(out, at, len);
		out += len;
	}
	return out;
}

void source_quote(const struct source *source, struct config_finding *finding, bool syntax)
{
	size_t len = 0;
	const char *at = NULL;

	if (finding->line && finding->column && !source->hidden)
		at = find_line(source, finding->line, &len);
	if (!at)
		return;
	const char *end = at + len;
	const char *hide_from = syntax ? secret_text(at, end) : end;
	unsigned first = 1; /* the first column that is shown */
	if (finding->column > CONFIG_REPORT_SOURCE_COLUMNS - 40)
		first = finding->column - 40;
	char *out = finding->source;
	unsigned column = 1;
	while (at < end && column < first + CONFIG_REPORT_SOURCE_COLUMNS) {
		size_t n = char_len(at, end);
		bool masked = is_masked(source, finding->line, column);
		if (masked && syntax && at < hide_from)
			hide_from = at; /* what follows may be the rest of it, badly quoted */
		if (column >= first)
			out = put_char(out, at, n, masked || at >= hide_from);
		at += n;
		column++;
	}
	*out = '\0';
	finding->caret_at = finding->column - first;
	unsigned shown = column - first;
	unsigned room = finding->caret_at < shown ? shown - finding->caret_at : 1;
	if (finding->caret_len > room)
		finding->caret_len = room;
	if (finding->caret_len < 1)
		finding->caret_len = 1;
}
