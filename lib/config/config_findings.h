/* Collects findings while files are read: keeps the first by position and quotes their lines. */
#ifndef CONFIG_FINDINGS_H
#define CONFIG_FINDINGS_H

#include "config/config_report.h"
#include "config/config_source.h"

#include <stdbool.h>
#include <stddef.h>

/** Where a finding points. */
struct finding_place {
	unsigned source; /* index into the sources */
	unsigned line;	 /* from 1; 0 = the file as a whole */
	unsigned column; /* from 1, in characters */
	unsigned width;	 /* characters to underline, 0 and 1 mean one */
	bool hidden;	 /* the line may hold a secret: it is not quoted */
};

struct findings {
	struct config_report *report;
	struct source *sources; /* owned */
	size_t source_count, source_capacity;
};

/** Takes `data`, also on failure. The new source is the last one. @return 0 or -ENOMEM */
int findings_add_source(
	struct findings *findings, const char *path, char *data, size_t len, unsigned mode);

/** @note  stands beside the caret; NULL = none */
void findings_error(struct findings *findings, enum config_code code, struct finding_place place,
	const char *note, const char *format, ...) __attribute__((format(printf, 5, 6)));

void findings_warning(struct findings *findings, enum config_warning code,
	struct finding_place place, const char *format, ...) __attribute__((format(printf, 4, 5)));

/** Quotes the source lines. Call it once, when everything was found and before findings_fini(). */
void findings_quote(struct findings *findings);

void findings_fini(struct findings *findings);

#endif
