/* Error texts: errno's come from the C library, the project's own from the table below. */
#include "core/err.h"

#include <string.h>

const char *err_str(int code)
{
	int number = -code;

	if (code == ERR_OK)
		return "success";
	if (code > 0)
		return "unknown error";
	switch (number) {
	case ERR_CONFIG:
		return "configuration refused";
	case ERR_KEY:
		return "unusable key";
	case ERR_CLOSED:
		return "conversation closed";
	case ERR_PROTOCOL:
		return "protocol broken by the other side";
	default:
		break;
	}
	const char *text = number < ERR_FIRST_OWN ? strerrordesc_np(number) : NULL;
	return text ? text : "unknown error";
}
