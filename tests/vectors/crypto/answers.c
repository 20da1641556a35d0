#include "answers.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *answers_load(const char *file)
{
	char path[256];
	json_error_t error;

	snprintf(path, sizeof(path), TESTS_DIR "/vectors/data/%s", file);
	json_t *document = json_load_file(path, 0, &error);
	cr_assert(document != NULL, "%s:%d: %s", path, error.line, error.text);
	return document;
}

struct answer_bytes answer_hex(const json_t *object, const char *name, size_t spare)
{
	const char *text = answer_text(object, name);
	struct answer_bytes ret;

	cr_assert(text != NULL, "no \"%s\"", name);
	cr_assert_eq(strlen(text) % 2, 0);
	ret.len = strlen(text) / 2;
	ret.bytes = malloc(ret.len + spare + 1);
	cr_assert(ret.bytes != NULL);
	for (size_t i = 0; i < ret.len; i++) {
		unsigned value;
		cr_assert_eq(sscanf(text + 2 * i, "%2x", &value), 1, "\"%s\" is not hex", name);
		ret.bytes[i] = (uint8_t)value;
	}
	ret.bytes[ret.len] = 0;
	return ret;
}

const char *answer_text(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}
