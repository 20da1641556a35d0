/*
 * What is wrong with a configuration, where, why, and what to do about it.
 *
 * The parser never stops at the first mistake: it collects findings, and the report keeps the first
 * ones by position. Each has a stable code (the table of config_report_codes()); texts may change.
 */
#ifndef CONFIG_REPORT_H
#define CONFIG_REPORT_H

#include <stdbool.h>
#include <stddef.h>

enum {
	CONFIG_REPORT_ERRORS = 20, /* what is told at once; the rest is counted */
	CONFIG_REPORT_WARNINGS = 20,
	CONFIG_REPORT_FILE_BYTES = 256,
	CONFIG_REPORT_TEXT_BYTES = 512,
	CONFIG_REPORT_NOTE_BYTES = 128,
	CONFIG_REPORT_SOURCE_COLUMNS = 120, /* longer lines are shown from the place that matters */
	CONFIG_REPORT_SOURCE_BYTES = 4 * CONFIG_REPORT_SOURCE_COLUMNS + 8,
};

/** Numbers of E-CFG-n. Stable for ever: a number that falls out of use is not given again. */
enum config_code {
	CONFIG_E_READ = 1,	  /* a file could not be read */
	CONFIG_E_SYNTAX = 2,	  /* not YAML */
	CONFIG_E_UNKNOWN_KEY = 3, /* no such key here */
	CONFIG_E_DUPLICATE = 4,	  /* a key, peer or list item is given twice */
	CONFIG_E_ALIAS = 5,	  /* `*alias` or `!tag` */
	CONFIG_E_MISSING = 6,	  /* a required key is missing */
	CONFIG_E_TYPE = 7,	  /* a map, list or single value stands where another is wanted */
	/* 8 was: known, but not in this version */
	CONFIG_E_VALUE = 9,	/* not a number, bool, duration, rate */
	CONFIG_E_WORD = 10,	/* not one of the words a key takes */
	CONFIG_E_WIRE = 11,	/* not used on this wire */
	CONFIG_E_RANGE = 12,	/* a number out of range */
	CONFIG_E_ADDRESS = 13,	/* not an IP address or CIDR, or one that cannot be used here */
	CONFIG_E_ENDPOINT = 14, /* not host:port or address:port */
	CONFIG_E_NAME = 15,	/* not a name */
	CONFIG_E_OVERLAP = 16,	/* allowed_ips of two peers overlap */
	CONFIG_E_SECRET = 17,	/* a key that cannot be used, or given in two ways */
	CONFIG_E_LIMIT = 18,	/* too large, too deep, too many */
	CONFIG_E_MTU = 19,	/* the MTU does not fit the wire or what is inside */
	CONFIG_E_FEC = 20,	/* shards that make no code */
	CONFIG_E_MODE = 21,	/* file modes too open */
	CONFIG_E_END,
};

/** Numbers of W-CFG-n: nothing is refused, but somebody should know. */
enum config_warning {
	CONFIG_W_UNAUTHENTICATED = 1, /* this wire proves nobody's identity */
	CONFIG_W_KEY_READABLE = 2,    /* others can read a file with a key */
	CONFIG_W_FILE_WRITABLE = 3,   /* others can write a configuration file */
	CONFIG_W_UNREACHABLE = 4,     /* a peer that can neither be called nor be told apart */
	CONFIG_W_WEAK_CIPHER = 5,     /* a cipher that hides little or nothing */
	CONFIG_W_NAMES = 6,	      /* nobody is left to ask for names */
	CONFIG_W_NO_FILTER = 7,	      /* peers may send from any address */
	CONFIG_W_HELD = 8,	      /* a changed value waits for a restart */
	CONFIG_W_END,
};

/** One row of the table of codes. */
struct config_code_row {
	const char *code; /* "E-CFG-12" */
	const char *help; /* one or two sentences: what it means and what to do */
};

struct config_finding {
	unsigned number; /* enum config_code or enum config_warning */
	bool warning;
	unsigned line;	 /* from 1; 0 = the file as a whole (a missing key) */
	unsigned column; /* from 1, in characters; 0 = none */
	char file[CONFIG_REPORT_FILE_BYTES];
	char text[CONFIG_REPORT_TEXT_BYTES];
	char source[CONFIG_REPORT_SOURCE_BYTES]; /* the line, secrets masked; "" = not shown */
	unsigned caret_at;			 /* characters of `source` before the caret */
	unsigned caret_len;			 /* characters underlined, at least 1 */
	char note[CONFIG_REPORT_NOTE_BYTES];	 /* beside the caret, "" = none */

	/* for the parser: which file, and what decides the order */
	unsigned file_index;
	bool hidden;	    /* not to be quoted */
	unsigned sort_late; /* missing keys come last */
};

/** Plain storage, about 80 KiB: keep it static or on the heap where stacks are small. */
struct config_report {
	struct config_finding errors[CONFIG_REPORT_ERRORS];
	struct config_finding warnings[CONFIG_REPORT_WARNINGS];
	size_t error_count;   /* entries of `errors` */
	size_t error_total;   /* errors found; more than error_count if some are not kept */
	size_t warning_count; /* entries of `warnings` */
	size_t warning_total;
	int read_error; /* 0, or the negative errno of the first file that could not be read */
};

/** Empties a report. Every call that fills one starts with it. */
void config_report_init(struct config_report *report);

/** "E-CFG-12", "W-CFG-1". @return `text` */
char *config_finding_code(const struct config_finding *finding, char text[16]);

/**
 * Writes all findings as they go to stderr, errors first:
 *
 *     vpnd: E-CFG-12 office.yaml:17:15: peers.branch-2.fec.parity: 40 is out of range 0..32
 *        17 |       parity: 40
 *           |               ^~ at most 32
 *
 * Control characters of the file never reach the text.
 *
 * @program   prefix of each message, "vpnd"
 * @ret_text  an empty text if there is no finding; the caller frees it
 * @return    0 or -ENOMEM
 */
int config_report_format(const struct config_report *report, const char *program, char **ret_text);

/** @return the rows of all error and warning codes, `ret_count` of them, static. */
const struct config_code_row *config_report_codes(size_t *ret_count);

#endif
