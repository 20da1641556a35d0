/*
 * Errors of the control socket. The number of a JSON-RPC error tells the class, so that kcpctl's exit status does not
 * hang on the text or on a code it has never heard of; the standard's own numbers are used where the standard
 * has one.
 *
 * Standards: JSON-RPC 2.0, section 5.1.
 */
#include "control/control_error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	RPC_PARSE = -32700,
	RPC_REQUEST = -32600,
	RPC_METHOD = -32601,
	RPC_PARAMS = -32602,
	RPC_OTHER = -32000,
	RPC_USAGE = -32001,
	RPC_PERMISSION = -32002,
	RPC_CONFIG = -32003,
	RPC_NOT_FOUND = -32004,
	RPC_TIMEOUT = -32005,
	RPC_VERSION = -32006,
};

static const struct {
	int rpc_number;
	int exit_status;
} classes[] = {
	[CONTROL_ERROR_OTHER] = {RPC_OTHER, 1},
	[CONTROL_ERROR_USAGE] = {RPC_USAGE, 2},
	[CONTROL_ERROR_PERMISSION] = {RPC_PERMISSION, 4},
	[CONTROL_ERROR_CONFIG] = {RPC_CONFIG, 5},
	[CONTROL_ERROR_NOT_FOUND] = {RPC_NOT_FOUND, 6},
	[CONTROL_ERROR_TIMEOUT] = {RPC_TIMEOUT, 8},
	[CONTROL_ERROR_VERSION] = {RPC_VERSION, 9},
};

static const struct {
	const char *code;
	int rpc_number;
} standard[] = {
	{CONTROL_CODE_PARSE, RPC_PARSE},
	{CONTROL_CODE_REQUEST, RPC_REQUEST},
	{CONTROL_CODE_TOO_LONG, RPC_REQUEST},
	{CONTROL_CODE_METHOD, RPC_METHOD},
	{CONTROL_CODE_PARAMS, RPC_PARAMS},
};

enum {
	CLASS_COUNT = sizeof(classes) / sizeof(classes[0]),
	STANDARD_COUNT = sizeof(standard) / sizeof(standard[0]),
};

void control_error_set(struct control_error *err, enum control_error_class class, const char *code,
	const char *format, ...)
{
	va_list args;

	if (!err)
		return;
	control_error_fini(err);
	err->class = class;
	(void)snprintf(err->code, sizeof(err->code), "%s", code);
	va_start(args, format);
	(void)vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
}

void control_error_hint(struct control_error *err, const char *format, ...)
{
	va_list args;

	if (!err)
		return;
	va_start(args, format);
	(void)vsnprintf(err->hint, sizeof(err->hint), format, args);
	va_end(args);
}

void control_error_at(struct control_error *err, const char *file, int64_t line, int64_t column)
{
	if (!err)
		return;
	(void)snprintf(err->file, sizeof(err->file), "%s", file ? file : "");
	err->line = line;
	err->column = column;
}

void control_error_detail(struct control_error *err, const char *detail)
{
	if (!err)
		return;
	free(err->detail);
	err->detail = strdup(detail);
}

void control_error_no_peer(struct control_error *err, const char *peer)
{
	control_error_set(
		err, CONTROL_ERROR_NOT_FOUND, CONTROL_CODE_NO_PEER, "no peer \"%.63s\"", peer);
	control_error_hint(err, "kcpctl peer list shows the peers");
}

void control_error_fini(struct control_error *err)
{
	free(err->detail);
	*err = (struct control_error){0};
}

int control_error_exit_status(enum control_error_class class)
{
	return (size_t) class < CLASS_COUNT ? classes[class].exit_status : 1;
}

int control_error_rpc_number(enum control_error_class class, const char *code)
{
	for (size_t i = 0; class == CONTROL_ERROR_USAGE && i < STANDARD_COUNT; i++) {
		if (!strcmp(standard[i].code, code))
			return standard[i].rpc_number;
	}
	return (size_t) class < CLASS_COUNT ? classes[class].rpc_number : RPC_OTHER;
}

enum control_error_class control_error_class_of(int64_t rpc_number)
{
	for (size_t i = 0; i < CLASS_COUNT; i++) {
		if (classes[i].rpc_number == rpc_number)
			return (enum control_error_class)i;
	}
	for (size_t i = 0; i < STANDARD_COUNT; i++) {
		if (standard[i].rpc_number == rpc_number)
			return CONTROL_ERROR_USAGE;
	}
	return CONTROL_ERROR_OTHER;
}
