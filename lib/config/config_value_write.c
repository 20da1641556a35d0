/*
 * Values as text and compared: for `config show`, reload and messages. What is written here is read back
 * as the same value by config_value.c, but for secrets, which are never written.
 */
#include "config/config_address.h"
#include "config/config_value.h"

#include <ctype.h>
#include <string.h>

/* JSON has no word without quotes, and another way to write what cannot be printed. */
void value_write_json_text(const char *text, FILE *out)
{
	(void)fputc('"', out);
	for (const char *at = text; *at; at++) {
		unsigned char c = (unsigned char)*at;
		if (c == '"' || c == '\\')
			(void)fprintf(out, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			(void)fprintf(out, "\\u%04x", c);
		else
			(void)fputc(c, out);
	}
	(void)fputc('"', out);
}

void value_write_text(const char *text, FILE *out)
{
	static const char OTHERS_READ[] =
		"true false yes no on off null y n True False Yes No On Off "
		"Null Y N TRUE FALSE YES NO ON OFF NULL";
	bool plain = isalpha((unsigned char)text[0]) || text[0] == '/';

	for (const char *at = text; *at && plain; at++) {
		unsigned char c = (unsigned char)*at;
		/* a colon with no space behind it is part of the word */
		plain = c < 0x80 && (isalnum(c) || strchr("_./-", c) || (c == ':' && at[1] > ' '));
	}
	if (plain && config_words_index(OTHERS_READ, text) < 0) {
		(void)fputs(text, out);
		return;
	}
	(void)fputc('"', out);
	for (const char *at = text; *at; at++) {
		unsigned char c = (unsigned char)*at;
		if (c == '"' || c == '\\')
			(void)fprintf(out, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			(void)fprintf(out, "\\x%02x", c);
		else
			(void)fputc(c, out);
	}
	(void)fputc('"', out);
}

static void write_as(const char *text, bool json, FILE *out)
{
	if (json)
		value_write_json_text(text, out);
	else
		value_write_text(text, out);
}

static void write_number(const struct config_row *row, int64_t number, bool json, FILE *out)
{
	const char *word = row->words ? value_number_word(number) : NULL;
	const char *quote = json && (word || row->type == CONFIG_TYPE_DURATION) ? "\"" : "";

	(void)fputs(quote, out);
	if (word)
		(void)fputs(word, out);
	else if (row->type != CONFIG_TYPE_DURATION)
		(void)fprintf(out, "%lld", (long long)number);
	else if (row->unit == CONFIG_UNIT_S && number % 1000 == 0)
		(void)fprintf(out, "%llds", (long long)number / 1000);
	else
		(void)fprintf(out, "%lldms", (long long)number);
	(void)fputs(quote, out);
}

static void write_item(
	const struct config_row *row, const void *field, size_t index, bool json, FILE *out)
{
	char cidr[IP_PREFIX_TEXT_BYTES];
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];

	if (row->type == CONFIG_TYPE_STRINGS) {
		const struct config_strings *list = field;
		write_as(list->items[index], json, out);
	} else if (row->type == CONFIG_TYPE_ENDPOINTS) {
		const struct config_endpoint *e =
			&((const struct config_endpoints *)field)->items[index];
		bool v6 = strchr(e->host, ':') != NULL;
		(void)fprintf(out, v6 ? "\"[%s]:%u\"" : "\"%s:%u\"", e->host, e->port);
	} else if (row->type == CONFIG_TYPE_LISTEN) {
		const struct config_listen *list = field;
		(void)fprintf(out, "\"%s\"", address_format_listen(&list->items[index], text));
	} else {
		const struct config_cidrs *list = field;
		bool v6 = list->items[index].family == 6;
		(void)fprintf(out, v6 || json ? "\"%s\"" : "%s",
			ip_prefix_format(&list->items[index], cidr));
	}
}

static size_t item_count(const struct config_row *row, const void *field)
{
	switch (row->type) {
	case CONFIG_TYPE_STRINGS:
		return ((const struct config_strings *)field)->count;
	case CONFIG_TYPE_ENDPOINTS:
		return ((const struct config_endpoints *)field)->count;
	case CONFIG_TYPE_LISTEN:
		return ((const struct config_listen *)field)->count;
	default:
		return ((const struct config_cidrs *)field)->count;
	}
}

/* A word of the schema, such as 3des, needs no quotes in YAML to be read back. */
static void write_word(const char *word, bool json, FILE *out)
{
	if (json)
		value_write_json_text(word, out);
	else
		(void)fputs(word, out);
}

static void write_value(const struct config_row *row, const void *field, bool json, FILE *out)
{
	char word[64];

	if (value_is_list(row->type)) {
		(void)fputc('[', out);
		for (size_t i = 0; i < item_count(row, field); i++) {
			(void)fputs(i ? ", " : "", out);
			write_item(row, field, i, json, out);
		}
		(void)fputc(']', out);
		return;
	}
	if (value_is_absent(row, field))
		return;
	if (row->flags & CONFIG_ROW_SECRET)
		write_as(VALUE_HIDDEN, json, out);
	else if (row->type == CONFIG_TYPE_BOOL)
		(void)fputs(*(const bool *)field ? "true" : "false", out);
	else if (row->type == CONFIG_TYPE_ENUM)
		write_word(config_words_at(row->words, *(const int *)field, word, sizeof(word))
				   ? word
				   : "?",
			json, out);
	else if (row->type == CONFIG_TYPE_WORD)
		write_word(*(char *const *)field, json, out);
	else if (row->type == CONFIG_TYPE_INT || row->type == CONFIG_TYPE_DURATION)
		write_number(row, *(const int *)field, json, out);
	else if (row->type == CONFIG_TYPE_LONG || row->type == CONFIG_TYPE_RATE)
		write_number(row, *(const int64_t *)field, json, out);
	else
		write_as(*(char *const *)field, json, out);
}

void value_write(const struct config_row *row, const void *field, FILE *out)
{
	write_value(row, field, false, out);
}

void value_write_json(const struct config_row *row, const void *field, FILE *out)
{
	write_value(row, field, true, out);
}

bool value_is_absent(const struct config_row *row, const void *field)
{
	switch (row->type) {
	case CONFIG_TYPE_WORD:
	case CONFIG_TYPE_STRING:
	case CONFIG_TYPE_NAME:
	case CONFIG_TYPE_DEVICE:
	case CONFIG_TYPE_PATH:
	case CONFIG_TYPE_KEY:
		return *(char *const *)field == NULL;
	default:
		return false;
	}
}

static bool items_equal(const struct config_row *row, const void *a, const void *b, size_t i)
{
	if (row->type == CONFIG_TYPE_STRINGS) {
		const struct config_strings *x = a;
		const struct config_strings *y = b;
		return strcmp(x->items[i], y->items[i]) == 0;
	}
	if (row->type == CONFIG_TYPE_ENDPOINTS) {
		const struct config_endpoint *x = &((const struct config_endpoints *)a)->items[i];
		const struct config_endpoint *y = &((const struct config_endpoints *)b)->items[i];
		return x->port == y->port && strcmp(x->host, y->host) == 0;
	}
	if (row->type == CONFIG_TYPE_LISTEN) {
		const struct kcpvpn_endpoint *x = &((const struct config_listen *)a)->items[i];
		const struct kcpvpn_endpoint *y = &((const struct config_listen *)b)->items[i];
		return x->family == y->family && x->port == y->port && x->scope_id == y->scope_id &&
		       memcmp(x->address, y->address, sizeof(x->address)) == 0;
	}
	return ip_prefix_equal(&((const struct config_cidrs *)a)->items[i],
		&((const struct config_cidrs *)b)->items[i]);
}

bool value_equal(const struct config_row *row, const void *a, const void *b)
{
	if (value_is_list(row->type)) {
		size_t count = item_count(row, a);
		if (count != item_count(row, b))
			return false;
		for (size_t i = 0; i < count; i++) {
			if (!items_equal(row, a, b, i))
				return false;
		}
		return true;
	}
	switch (row->type) {
	case CONFIG_TYPE_BOOL:
		return *(const bool *)a == *(const bool *)b;
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_DURATION:
	case CONFIG_TYPE_ENUM:
		return *(const int *)a == *(const int *)b;
	case CONFIG_TYPE_LONG:
	case CONFIG_TYPE_RATE:
		return *(const int64_t *)a == *(const int64_t *)b;
	default: {
		const char *x = *(char *const *)a;
		const char *y = *(char *const *)b;
		return x && y ? strcmp(x, y) == 0 : x == y;
	}
	}
}
