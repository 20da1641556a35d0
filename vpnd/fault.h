/* Why something could not be done, in the form the programs print: what, where, why, and what to do next. */
#ifndef VPND_FAULT_H
#define VPND_FAULT_H

enum {
	FAULT_TEXT_BYTES = 320,
	FAULT_CODE_BYTES = 16,
};

struct fault {
	int err;		     /* negative errno, 0 = none */
	char code[FAULT_CODE_BYTES]; /* "E-TUN-1" */
	char text[FAULT_TEXT_BYTES]; /* one line: what, where, why */
	char hint[FAULT_TEXT_BYTES]; /* what next, "" if there is nothing to say */
};

/**
 * Fills in a fault.
 *
 * @fault  NULL = nobody wants to know
 * @hint   NULL = none
 * @return `err`, so that a function can end with it
 */
int fault_set(struct fault *fault, int err, const char *code, const char *hint, const char *format,
	...) __attribute__((format(printf, 5, 6)));

#endif
