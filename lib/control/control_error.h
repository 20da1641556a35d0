/*
 * What goes wrong on the control socket. An error has a class, which decides kcpctl's exit status and the number
 * of the JSON-RPC error, and a stable code (E-CTL-..., E-CFG-...) that a person can look up.
 */
#ifndef CONTROL_CONTROL_ERROR_H
#define CONTROL_CONTROL_ERROR_H

#include <stdint.h>

/** The classes. In brackets: kcpctl's exit status. */
enum control_error_class {
	CONTROL_ERROR_OTHER,	  /* anything without a class of its own [1] */
	CONTROL_ERROR_USAGE,	  /* malformed request, unknown method, bad parameter [2] */
	CONTROL_ERROR_PERMISSION, /* the client may not do this [4] */
	CONTROL_ERROR_CONFIG,	  /* the configuration is invalid [5] */
	CONTROL_ERROR_NOT_FOUND,  /* no such peer or network [6] */
	CONTROL_ERROR_TIMEOUT,	  /* took too long [8] */
	CONTROL_ERROR_VERSION,	  /* the two sides speak different protocols [9] */
};

/* Codes that the control socket itself gives out. Numbers are never used again for another meaning. */
#define CONTROL_CODE_PERMISSION "E-CTL-1" /* the peer credentials do not allow it */
#define CONTROL_CODE_NO_PEER "E-CTL-2"	  /* no peer of that name */
#define CONTROL_CODE_PARSE "E-CTL-3"	  /* not JSON */
#define CONTROL_CODE_REQUEST "E-CTL-4"	  /* JSON, but not a request */
#define CONTROL_CODE_METHOD "E-CTL-5"	  /* unknown method */
#define CONTROL_CODE_PARAMS "E-CTL-6"	  /* a parameter is missing, unknown or of the wrong type */
#define CONTROL_CODE_TOO_LONG "E-CTL-7"	  /* the request is longer than CONTROL_REQUEST_MAX_BYTES */
#define CONTROL_CODE_BUSY "E-CTL-8"	  /* too many clients */
#define CONTROL_CODE_MEMORY "E-CTL-9"	  /* out of memory */
#define CONTROL_CODE_FAILED "E-CTL-10"	  /* the daemon could not do it; the text says why */
#define CONTROL_CODE_NOT_BUILT "E-CTL-11" /* known, but not in this version */
#define CONTROL_CODE_SOCKET "E-CTL-12"	  /* the daemon cannot listen on its control socket */
#define CONTROL_CODE_RUNNING "E-CTL-13"	  /* a daemon answers on that socket already */
#define CONTROL_CODE_PEER_EXISTS "E-PEER-1"  /* a peer of that name has other settings */
#define CONTROL_CODE_PEER_FILE "E-PEER-2"    /* its file cannot be written or removed */
#define CONTROL_CODE_PEER_INCLUDE "E-PEER-3" /* its file would not be read */
#define CONTROL_CODE_PEER_ROUTE "E-PEER-4"   /* the host took no route to it */
#define CONTROL_CODE_PEER_EDITED "E-PEER-5"  /* the files differ in more than that peer */
#define CONTROL_CODE_PING_DOWN "E-PING-1"    /* no session */
#define CONTROL_CODE_PING_LOST "E-PING-2"    /* nothing came back */
#define CONTROL_CODE_PING_SIZE "E-PING-3"    /* cannot be sent */

enum {
	CONTROL_CODE_BYTES = 24,
	CONTROL_ERROR_TEXT_BYTES = 640,
	CONTROL_ERROR_HINT_BYTES = 320,
	CONTROL_ERROR_FILE_BYTES = 256,
};

/** All zero is "no error": `code` is empty. */
struct control_error {
	enum control_error_class class;
	char code[CONTROL_CODE_BYTES];	     /* "E-CTL-2" */
	char text[CONTROL_ERROR_TEXT_BYTES]; /* what, where, why; one line */
	char hint[CONTROL_ERROR_HINT_BYTES]; /* what next; "" = none */
	char file[CONTROL_ERROR_FILE_BYTES]; /* "" = no file is at fault */
	int64_t line;			     /* 1-based; 0 = none */
	int64_t column;			     /* 1-based; 0 = none */
	char *detail; /* owned, may be NULL: whole report of several lines, ready to print, "\n" after each */
};

/**
 * Fills class, code and text; everything else is emptied, a former detail is freed.
 *
 * @err  must have been zeroed or used before; NULL is ignored
 */
void control_error_set(struct control_error *err, enum control_error_class class, const char *code,
	const char *format, ...) __attribute__((format(printf, 4, 5)));

/** Fills the hint. */
void control_error_hint(struct control_error *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/** Names the place in a file. @line, @column  1-based, 0 = unknown */
void control_error_at(struct control_error *err, const char *file, int64_t line, int64_t column);

/** Copies `detail`; out of memory leaves it NULL. */
void control_error_detail(struct control_error *err, const char *detail);

/** Shorthand: CONTROL_ERROR_NOT_FOUND, CONTROL_CODE_NO_PEER, `no peer "NAME"`. */
void control_error_no_peer(struct control_error *err, const char *peer);

/** Frees what the error owns and zeroes it. */
void control_error_fini(struct control_error *err);

/** kcpctl's exit status for a class: 1, 2, 4, 5, 6, 8 or 9. */
int control_error_exit_status(enum control_error_class class);

/** The JSON-RPC error number of a class (-32000 ...); the standard's own for garbage, by `code`. */
int control_error_rpc_number(enum control_error_class class, const char *code);

/** The inverse of control_error_rpc_number(); unknown numbers are CONTROL_ERROR_OTHER. */
enum control_error_class control_error_class_of(int64_t rpc_number);

#endif
