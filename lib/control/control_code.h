/*
 * Every error code that a program of this project tells, but for those of configuration files (config/config_report.h),
 * and what it means: the one table from which `kcpctl help E-...` is printed. A test holds it against the sources.
 */
#ifndef CONTROL_CONTROL_CODE_H
#define CONTROL_CONTROL_CODE_H

#include <stddef.h>

struct control_code_row {
	const char *code; /* "E-CTL-2" */
	const char *help; /* what it means and what to do; one paragraph */
};

/** @return all rows, grouped by family, static */
const struct control_code_row *control_codes(size_t *ret_count);

#endif
