/*
 * The small conversions below control_msg and control_status. jansson refuses strings that are not UTF-8, and what the
 * daemon reports (a file's name, an errno text of a foreign locale) may not be: such bytes are replaced, so that one
 * bad name cannot make a whole status document impossible.
 *
 * Standards: RFC 8259; RFC 3629 for what UTF-8 is.
 */
#include "control/control_json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The length of the UTF-8 character at `at`, 0 if there is none. */
static size_t character_bytes(const unsigned char *at, size_t left)
{
	size_t bytes;
	uint32_t code;

	if (at[0] < 0x80)
		return 1;
	if (at[0] >= 0xc2 && at[0] <= 0xdf) {
		bytes = 2;
		code = at[0] & 0x1fU;
	} else if (at[0] >= 0xe0 && at[0] <= 0xef) {
		bytes = 3;
		code = at[0] & 0x0fU;
	} else if (at[0] >= 0xf0 && at[0] <= 0xf4) {
		bytes = 4;
		code = at[0] & 0x07U;
	} else {
		return 0;
	}
	if (left < bytes)
		return 0;
	for (size_t i = 1; i < bytes; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (at[i] & 0x3fU);
	}
	/* overlong forms, surrogates, beyond Unicode */
	if ((bytes == 3 && code < 0x800) || (bytes == 4 && code < 0x10000) || code > 0x10ffff)
		return 0;
	return code >= 0xd800 && code <= 0xdfff ? 0 : bytes;
}

bool control_json_is_utf8(const char *text, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t bytes = character_bytes((const unsigned char *)text + i, len - i);
		if (!bytes)
			return false;
		i += bytes;
	}
	return true;
}

json_t *control_json_text(const char *text)
{
	size_t len = strlen(text);
	json_t *value = json_stringn(text, len);
	char *clean;

	if (value || control_json_is_utf8(text, len))
		return value;
	clean = strdup(text);
	if (!clean)
		return NULL;
	for (size_t i = 0; i < len;) {
		size_t bytes = character_bytes((const unsigned char *)clean + i, len - i);
		if (!bytes) {
			clean[i] = '?';
			bytes = 1;
		}
		i += bytes;
	}
	value = json_stringn(clean, len);
	free(clean);
	return value;
}

json_t *control_json_text_or_null(const char *text)
{
	return text && *text ? control_json_text(text) : json_null();
}

json_t *control_json_count(int64_t value)
{
	return value < 0 ? json_null() : json_integer(value);
}

json_t *control_json_real(double value)
{
	return value >= 0 && isfinite(value) ? json_real(value) : json_null();
}

json_t *control_json_strings(const struct control_strings *list)
{
	json_t *array = json_array();

	for (size_t i = 0; array && i < list->count; i++) {
		if (json_array_append_new(array, control_json_text(list->items[i]))) {
			json_decref(array);
			array = NULL;
		}
	}
	return array;
}

char *control_json_compact(json_t *object, bool failed)
{
	char *text = failed ? NULL : json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9));

	json_decref(object);
	return text;
}

char *control_json_line(json_t *object, bool failed, size_t *ret_len)
{
	char *text = control_json_compact(object, failed);
	char *line = NULL;

	if (text) {
		size_t len = strlen(text);
		line = realloc(text, len + 2);
		if (!line) {
			free(text);
			return NULL;
		}
		line[len] = '\n';
		line[len + 1] = '\0';
		if (ret_len)
			*ret_len = len + 1;
	}
	return line;
}

/* The value under `key`; NULL if there is none or it is null. */
static const json_t *value_of(const struct control_json_reader *r, const char *key)
{
	const json_t *value = json_object_get(r->object, key);
	return json_is_null(value) ? NULL : value;
}

void control_json_read_text(
	struct control_json_reader *r, const char *key, char *text, size_t bytes)
{
	const json_t *value = value_of(r, key);
	size_t len;

	if (!value)
		return;
	if (!json_is_string(value)) {
		r->failed = true;
		return;
	}
	len = json_string_length(value);
	if (len >= bytes) {
		len = bytes - 1;
		while (len && (json_string_value(value)[len] & 0xc0) == 0x80)
			len--;
	}
	memcpy(text, json_string_value(value), len);
	text[len] = '\0';
}

void control_json_read_count(struct control_json_reader *r, const char *key, int64_t *value)
{
	const json_t *found = value_of(r, key);

	if (!found)
		return;
	if (!json_is_integer(found) || json_integer_value(found) < 0)
		r->failed = true;
	else
		*value = json_integer_value(found);
}

void control_json_read_real(struct control_json_reader *r, const char *key, double *value)
{
	const json_t *found = value_of(r, key);

	if (!found)
		return;
	if (!json_is_number(found) || !(json_number_value(found) >= 0))
		r->failed = true;
	else
		*value = json_number_value(found);
}

void control_json_read_bool(struct control_json_reader *r, const char *key, bool *value)
{
	const json_t *found = value_of(r, key);

	if (!found)
		return;
	if (!json_is_boolean(found))
		r->failed = true;
	else
		*value = json_is_true(found);
}

void control_json_read_strings(
	struct control_json_reader *r, const char *key, struct control_strings *list)
{
	const json_t *array = value_of(r, key);

	if (!array)
		return;
	if (!json_is_array(array)) {
		r->failed = true;
		return;
	}
	for (size_t i = 0; i < json_array_size(array); i++) {
		const json_t *item = json_array_get(array, i);
		if (!json_is_string(item)) {
			r->failed = true;
			return;
		}
		if (control_strings_add(list, json_string_value(item))) {
			r->failed = true;
			r->out_of_memory = true;
			return;
		}
	}
}

struct control_json_reader control_json_read_object(struct control_json_reader *r, const char *key)
{
	const json_t *object = value_of(r, key);

	if (object && !json_is_object(object)) {
		r->failed = true;
		object = NULL;
	}
	return (struct control_json_reader){.object = object};
}

void control_json_join(struct control_json_reader *r, const struct control_json_reader *inner)
{
	r->failed |= inner->failed;
	r->out_of_memory |= inner->out_of_memory;
}
