/* JSON values as the control protocol writes and reads them: "unknown" is null, text is always UTF-8. Internal. */
#ifndef CONTROL_CONTROL_JSON_H
#define CONTROL_CONTROL_JSON_H

#include "control/control_strings.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The makers return a new reference, or NULL out of memory. json_object_set_new() passes NULL on as a
 * failure, so a document is built by `failed |= json_object_set_new(...)` and tested once.
 */

/** Bytes that are not UTF-8 become '?'. */
json_t *control_json_text(const char *text);
/** As control_json_text(), but an empty string is null. */
json_t *control_json_text_or_null(const char *text);
/** A negative number is null. */
json_t *control_json_count(int64_t value);
/** A negative number or one that is not finite is null. */
json_t *control_json_real(double value);
json_t *control_json_strings(const struct control_strings *list);

/**
 * Makes the compact text of an object. Takes `object`.
 *
 * @failed  true if a part of it could not be made: gives NULL
 * @return  allocated, the caller frees it; NULL = out of memory
 */
char *control_json_compact(json_t *object, bool failed);

/**
 * Makes one line of an object: compact, with a line break and a NUL behind it. Takes `object`.
 *
 * @failed   true if a part of it could not be made: gives NULL
 * @ret_len  without the NUL; may be NULL
 * @return   allocated, the caller frees it; NULL = out of memory
 */
char *control_json_line(json_t *object, bool failed, size_t *ret_len);

/**
 * A reader over one object. As with `wire`, its error sticks: read everything, then look at `failed`. A key that
 * is missing or null leaves the target as it is; one of the wrong type is an error.
 */
struct control_json_reader {
	const json_t *object;
	bool failed;
	bool out_of_memory; /* `failed` is set, too */
};

/** Cuts what is longer than `bytes` - 1, at a character's border. */
void control_json_read_text(
	struct control_json_reader *r, const char *key, char *text, size_t bytes);
void control_json_read_count(struct control_json_reader *r, const char *key, int64_t *value);
void control_json_read_real(struct control_json_reader *r, const char *key, double *value);
void control_json_read_bool(struct control_json_reader *r, const char *key, bool *value);
void control_json_read_strings(
	struct control_json_reader *r, const char *key, struct control_strings *list);
/** @return the object under `key`; if it is missing or null, an object of NULL, which reads as empty */
struct control_json_reader control_json_read_object(struct control_json_reader *r, const char *key);
/** Takes over the failure of a reader that control_json_read_object() made. */
void control_json_join(struct control_json_reader *r, const struct control_json_reader *inner);

/** True if `text` is UTF-8 throughout. */
bool control_json_is_utf8(const char *text, size_t len);

#endif
