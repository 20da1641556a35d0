/* Texts that are too long are cut: a fault is made where things are going wrong already and cannot fail itself. */
#include "vpnd/fault.h"

#include <stdarg.h>
#include <stdio.h>

int fault_set(
	struct fault *fault, int err, const char *code, const char *hint, const char *format, ...)
{
	va_list args;

	if (!fault)
		return err;
	fault->err = err;
	(void)snprintf(fault->code, sizeof(fault->code), "%s", code);
	(void)snprintf(fault->hint, sizeof(fault->hint), "%s", hint ? hint : "");
	va_start(args, format);
	(void)vsnprintf(fault->text, sizeof(fault->text), format, args);
	va_end(args);
	return err;
}
