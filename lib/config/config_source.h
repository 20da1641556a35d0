/* The text of one configuration file, as messages quote it: lines, and spans that must not be shown. */
#ifndef CONFIG_SOURCE_H
#define CONFIG_SOURCE_H

#include "config/config_reader.h"

#include <stdbool.h>
#include <stddef.h>

struct config_finding;

/** From (line, column) up to, not including, (end_line, end_column). All from 1, in characters. */
struct source_mask {
	unsigned line, column;
	unsigned end_line, end_column;
};

struct source {
	char *path; /* as messages show it */
	char *data; /* wiped when freed */
	size_t data_len;
	const char *text; /* `data` without a byte order mark */
	size_t len;
	unsigned mode; /* permission bits, 0 = unknown */
	enum config_exposure exposure;
	struct source_mask *masks;
	size_t mask_count, mask_capacity;
	bool hidden;	 /* show no line at all: where a secret ends is not known */
	bool inline_key; /* a secret stands in this file */
};

/** Takes `data`, also on failure. @return 0 or -ENOMEM */
int source_init(struct source *source, const char *path, char *data, size_t len, unsigned mode);

void source_fini(struct source *source);

/** Keeps a span out of messages. @return 0 or -ENOMEM */
int source_mask(struct source *source, struct source_mask mask);

/**
 * True for keys whose value is a secret by the look of their name, known to the schema or not:
 * `key`, `password`, `preshared_key`, but not `key_file` or `public_key`.
 */
bool source_key_is_secret(const char *key);

/** Line and column of a byte, both from 1. */
void source_position(
	const struct source *source, size_t offset, unsigned *ret_line, unsigned *ret_column);

/** The character at a position is a tab. */
bool source_is_tab(const struct source *source, unsigned line, unsigned column);

/**
 * Fills a finding's `source` and `caret_at` from its line and column and limits its `caret_len`.
 *
 * @syntax  the tree of the file is not whole: hide what follows the name of a secret, too
 */
void source_quote(const struct source *source, struct config_finding *finding, bool syntax);

#endif
