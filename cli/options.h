/* The command line: options anywhere, the verb, its words. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "cli/cli.h"

#include <stddef.h>

/**
 * Reads the whole command line into cli->options. Options may stand before or after the verb; which of them the verb
 * takes is not judged here (options_check()). Words that are not options are collected in order: args[0] is the verb.
 *
 * @return  EXIT_OK or EXIT_USAGE, and then the error has been told
 */
int options_parse(struct cli *cli, int argc, char **argv);

/** Refuses options that the verb does not take. @allowed  set of enum option_id beside the global ones */
int options_check(const struct cli *cli, const char *verb, unsigned allowed);

/** "500ms", "5s", "2m", "5" (seconds). @return false if it is none, zero, or more than a day */
bool options_duration_ms(const char *text, int64_t *ret_ms);

struct option_row {
	const char *name; /* without dashes */
	char letter;	  /* '\0' = none */
	const char *
		value; /* what stands behind it, for the usage line: "N", "up|down"; NULL = nothing */
	unsigned id;   /* enum option_id */
};

/** @return all options in the order of the help, static */
const struct option_row *options_rows(size_t *ret_count);

#endif
