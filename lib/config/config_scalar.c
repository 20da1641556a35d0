/*
 * Numbers, durations, rates, words and truths. Numbers are decimal; a leading zero is refused rather than read as eight or
 * ten times something. Bools are `true` and `false` alone.
 *
 * Ranges are compared in the row's unit times its scale (durations in milliseconds), with numbers
 * capped far above any range, so nothing overflows.
 */
#include "config/config_scalar.h"

#include <ctype.h>
#include <string.h>

enum {
	SHOWN_MAX = VALUE_SHOWN_MAX,
};

static const int64_t NUMBER_CAP = INT64_C(1000000000000000); /* 10^15: times 1000 still fits */

/* ---- numbers -------------------------------------------------------------------------------------------------- */

static const struct {
	const char *word;
	int value;
} NUMBER_WORDS[] = {
	{"auto", CONFIG_AUTO},
	{"off", CONFIG_OFF},
	{"main", CONFIG_MAIN},
	{"random", CONFIG_RANDOM},
	{"inherit", CONFIG_INHERIT},
};

const char *value_number_word(int64_t value)
{
	for (size_t i = 0; i < sizeof(NUMBER_WORDS) / sizeof(NUMBER_WORDS[0]); i++) {
		if (NUMBER_WORDS[i].value == value)
			return NUMBER_WORDS[i].word;
	}
	return NULL;
}

/* What a bare number of the row means in the unit of storage. */
static int64_t row_scale(const struct config_row *row)
{
	return row->type == CONFIG_TYPE_DURATION && row->unit == CONFIG_UNIT_S ? 1000 : 1;
}

/* The unit as it may follow a number, for messages. */
static const char *row_suffix(const struct config_row *row)
{
	if (row->type == CONFIG_TYPE_DURATION)
		return row->unit == CONFIG_UNIT_S ? "s" : "ms";
	return "";
}

/* The factor of a unit behind a number, 0 = unknown. */
static int64_t suffix_factor(const struct config_row *row, const char *suffix)
{
	static const struct {
		const char *suffix;
		int64_t factor;
	} TIMES[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"min", 60000}, {"h", 3600000}},
	  RATES[] = {{"k", 1000}, {"K", 1000}, {"M", 1000000}, {"G", 1000000000}};

	if (*suffix == '\0')
		return row_scale(row);
	if (row->type == CONFIG_TYPE_DURATION) {
		for (size_t i = 0; i < sizeof(TIMES) / sizeof(TIMES[0]); i++) {
			if (strcmp(TIMES[i].suffix, suffix) == 0)
				return TIMES[i].factor;
		}
	} else if (row->type == CONFIG_TYPE_RATE) {
		for (size_t i = 0; i < sizeof(RATES) / sizeof(RATES[0]); i++) {
			if (suffix[0] != RATES[i].suffix[0])
				continue;
			if (suffix[1] == '\0' || strcmp(suffix + 1, "bit") == 0 ||
				strcmp(suffix + 1, "bit/s") == 0)
				return RATES[i].factor;
		}
	} else if (row->unit == CONFIG_UNIT_PERCENT && strcmp(suffix, "%") == 0) {
		return 1;
	}
	return 0;
}

/* "a b c" as "a, b, c". */
static const char *words_list(const char *words, char *buffer, size_t buffer_len)
{
	size_t len = 0;

	for (const char *at = words; *at && len + 3 < buffer_len; at++) {
		if (*at == ' ')
			buffer[len++] = ',';
		buffer[len++] = *at;
	}
	buffer[len] = '\0';
	return buffer;
}

static int refuse_number(
	const struct config_row *row, const char *text, struct value_problem *problem)
{
	char near[64];
	char list[160];
	const char *hint = row->type == CONFIG_TYPE_DURATION ? "a duration such as 300ms or 25s"
			   : row->type == CONFIG_TYPE_RATE   ? "a rate such as 50M"
							     : "a whole number";

	if (!row->words)
		return value_refuse(
			problem, CONFIG_E_VALUE, "", "\"%.*s\" is not %s", SHOWN_MAX, text, hint);
	if (config_words_nearest(row->words, text, near, sizeof(near)))
		return value_refuse(problem, CONFIG_E_VALUE, "",
			"\"%.*s\" is neither %s nor %s; did you mean \"%s\"?", SHOWN_MAX, text,
			hint, words_list(row->words, list, sizeof(list)), near);
	return value_refuse(problem, CONFIG_E_VALUE, "", "\"%.*s\" is neither %s nor %s", SHOWN_MAX,
		text, hint, words_list(row->words, list, sizeof(list)));
}

/*
 * Splits "-12.5ms" into digits and unit. The number comes back in thousandths, so that 1.5s is exact; it
 * is capped at NUMBER_CAP. @return false if it is no number or has more than three decimals
 */
static bool scan_number(const char *text, int64_t *ret_thousandths, const char **ret_suffix)
{
	const char *at = text + (*text == '-');
	int64_t number = 0;
	int decimals = 0;

	if (!isdigit((unsigned char)*at) || (*at == '0' && isdigit((unsigned char)at[1])))
		return false;
	for (; isdigit((unsigned char)*at); at++)
		number = number < NUMBER_CAP ? 10 * number + (*at - '0') : NUMBER_CAP;
	if (*at == '.') {
		for (at++; isdigit((unsigned char)*at); at++, decimals++) {
			if (decimals == 3)
				return false;
			number = number < NUMBER_CAP ? 10 * number + (*at - '0') : NUMBER_CAP;
		}
		if (decimals == 0)
			return false;
	}
	for (; decimals < 3; decimals++)
		number = number < NUMBER_CAP ? 10 * number : NUMBER_CAP;
	*ret_thousandths = *text == '-' ? -number : number;
	*ret_suffix = at;
	return true;
}

static bool scan_hex(const char *text, int64_t *ret_number)
{
	int64_t number = 0;

	if (text[0] != '0' || (text[1] != 'x' && text[1] != 'X') || text[2] == '\0')
		return false;
	for (const char *at = text + 2; *at; at++) {
		if (!isxdigit((unsigned char)*at))
			return false;
		int c = tolower((unsigned char)*at);
		int digit = isdigit(c) ? c - '0' : c - 'a' + 10;
		number = number < NUMBER_CAP ? 16 * number + digit : NUMBER_CAP;
	}
	*ret_number = number;
	return true;
}

int scalar_parse_number(const struct config_row *row, const char *text, int64_t *ret_number,
	struct value_problem *problem)
{
	int64_t thousandths = 0;
	int64_t number = 0;
	const char *suffix = "";
	char note[64];

	if (config_words_index(row->words, text) >= 0) {
		for (size_t i = 0; i < sizeof(NUMBER_WORDS) / sizeof(NUMBER_WORDS[0]); i++) {
			if (strcmp(NUMBER_WORDS[i].word, text) == 0)
				*ret_number = NUMBER_WORDS[i].value;
		}
		return 0;
	}
	if (!(row->flags & CONFIG_ROW_HEX) || !scan_hex(text, &number)) {
		const char *digits = text + (*text == '-');
		if (digits[0] == '0' && isdigit((unsigned char)digits[1]))
			return value_refuse(problem, CONFIG_E_VALUE,
				"decimal, without leading zeros", "\"%.*s\" has a leading zero",
				SHOWN_MAX, text);
		if (!scan_number(text, &thousandths, &suffix))
			return refuse_number(row, text, problem);
		int64_t factor = suffix_factor(row, suffix);
		int64_t product = 0;
		if (factor == 0)
			return refuse_number(row, text, problem);
		if (__builtin_mul_overflow(thousandths, factor, &product))
			product = thousandths < 0 ? -NUMBER_CAP * 1000 : NUMBER_CAP * 1000;
		if (product % 1000 != 0)
			return refuse_number(row, text, problem);
		number = product / 1000;
	}
	int64_t scale = row_scale(row);
	if (number < row->min * scale || number > row->max * scale) {
		const char *unit = row_suffix(row);
		bool low = number < row->min * scale;
		(void)snprintf(note, sizeof(note), "at %s %lld%s", low ? "least" : "most",
			(long long)(low ? row->min : row->max), unit);
		return value_refuse(problem, CONFIG_E_RANGE, note,
			"%.*s is out of range %lld%s..%lld%s", SHOWN_MAX, text, (long long)row->min,
			unit, (long long)row->max, unit);
	}
	if (row->type == CONFIG_TYPE_RATE && number > 0 && number < CONFIG_RATE_MIN_BPS)
		return value_refuse(problem, CONFIG_E_RANGE, "at least 10k; M is a million",
			"%.*s is below 10k bit/s, and not 0", SHOWN_MAX, text);
	*ret_number = number;
	return 0;
}

/* ---- words ---------------------------------------------------------------------------------------------------- */

int scalar_parse_word(const struct config_row *row, const char *text, int *ret_index,
	struct value_problem *problem)
{
	char list[160];
	char near[64];
	int index = config_words_index(row->words, text);

	if (index < 0) {
		(void)words_list(row->words, list, sizeof(list));
		if (config_words_nearest(row->words, text, near, sizeof(near)))
			return value_refuse(problem, CONFIG_E_WORD, "",
				"\"%.*s\" is none of %s; did you mean \"%s\"?", SHOWN_MAX, text,
				list, near);
		return value_refuse(problem, CONFIG_E_WORD, "", "\"%.*s\" is none of %s", SHOWN_MAX,
			text, list);
	}
	*ret_index = index;
	return 0;
}

int scalar_parse_bool(const char *text, bool *ret, struct value_problem *problem)
{
	static const char *const YES[] = {"yes", "on", "True", "TRUE", "Yes", "On", "1", "y"};

	if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
		*ret = text[0] == 't';
		return 0;
	}
	bool yes = false;
	for (size_t i = 0; i < sizeof(YES) / sizeof(YES[0]); i++)
		yes = yes || strcmp(text, YES[i]) == 0;
	return value_refuse(problem, CONFIG_E_VALUE, yes ? "write true" : "",
		"\"%.*s\" is neither true nor false", SHOWN_MAX, text);
}
