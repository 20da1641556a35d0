/* Single values that become a number: numbers proper, durations, rates, words of a list, truths. For config_value.c. */
#ifndef CONFIG_SCALAR_H
#define CONFIG_SCALAR_H

#include "config/config_value.h"

/** In the unit of storage (durations: ms); a word of the row as its enum config_word. @return 0, or -EINVAL with `problem` filled */
int scalar_parse_number(const struct config_row *row, const char *text, int64_t *ret_number,
	struct value_problem *problem);

/** @ret_index  of the word in the row's. @return as scalar_parse_number() */
int scalar_parse_word(const struct config_row *row, const char *text, int *ret_index,
	struct value_problem *problem);

/** `true` or `false`. @return as scalar_parse_number() */
int scalar_parse_bool(const char *text, bool *ret, struct value_problem *problem);

#endif
