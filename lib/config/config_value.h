/* One value of one row: from text into its place, from its place into text. */
#ifndef CONFIG_VALUE_H
#define CONFIG_VALUE_H

#include "config/config.h"

#include <stdio.h>

/** What is wrong with a value; the message's caller puts the key in front. */
struct value_problem {
	enum config_code code;
	char text[CONFIG_REPORT_TEXT_BYTES / 2];
	char note[CONFIG_REPORT_NOTE_BYTES]; /* beside the caret, "" = none */
};

enum {
	VALUE_SHOWN_MAX = 60, /* bytes of a value that messages repeat */
};

/** Fills `problem`; `note` stands beside the caret, "" = nothing does. @return -EINVAL */
int value_refuse(struct value_problem *problem, enum config_code code, const char *note,
	const char *format, ...) __attribute__((format(printf, 4, 5)));

/** Room for any type: where values of rows without a place are checked. */
union value_scratch {
	int number;
	int64_t large;
	bool truth;
	char *text;
	struct config_strings strings;
	struct config_cidrs cidrs;
	struct config_listen listen;
	struct config_endpoints endpoints;
};

/** True for types whose value is a list of items. */
bool value_is_list(enum config_type type);

/**
 * Puts a single value into its place, or appends one item to a list.
 *
 * @folder   where relative paths begin, "" = the working directory
 * @field    as enum config_type says; what it held before is freed (lists: grows)
 * @return   0; -EINVAL with `problem` filled; -ENOMEM
 */
int value_set(const struct config_row *row, const char *text, const char *folder, void *field,
	struct value_problem *problem);

/** Puts the row's default into its place. @return 0 or -ENOMEM */
int value_set_default(const struct config_row *row, void *field);

/** Frees what a place holds, wipes it if it is secret, and zeroes it. */
void value_clear(const struct config_row *row, void *field);

/** Copies any value but for lists of addresses; what `to` held before is freed. @return 0 or -ENOMEM */
int value_assign(const struct config_row *row, const void *from, void *to);

/** Copies a value without lists or texts: for what peers inherit. */
void value_copy(const struct config_row *row, const void *from, void *to);

/** Writes a value as YAML; secrets as "(hidden)". Nothing for an absent text. */
void value_write(const struct config_row *row, const void *field, FILE *out);

/** The same as JSON: numbers and truths as such, all else as strings. An absent text is no value: not to be asked for. */
void value_write_json(const struct config_row *row, const void *field, FILE *out);

/** Writes a text as a JSON string. Bytes from 0x80 on are passed on. */
void value_write_json_text(const char *text, FILE *out);

/** True if both places hold the same. */
bool value_equal(const struct config_row *row, const void *a, const void *b);

/** True for a text that was never set. */
bool value_is_absent(const struct config_row *row, const void *field);

/** "auto" for CONFIG_AUTO; NULL for a number that is no enum config_word. */
const char *value_number_word(int64_t value);

/** Writes a text as a YAML scalar, quoted where others would read it as something else. */
void value_write_text(const char *text, FILE *out);

/** What config_show() writes in place of a secret. */
#define VALUE_HIDDEN "(hidden)"

#endif
