/* Formats a line on the stack and hands it to the sink; control characters from outside become '?'.
 */
#include "core/log.h"

#include <stdio.h>

void log_write(const struct log *log, enum log_level level, const char *format, ...)
{
	char line[LOG_LINE_BYTES];
	va_list args;

	if (!log || !log->sink || level > log->level)
		return;
	va_start(args, format);
	(void)vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	for (char *c = line; *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	}
	log->sink(log->ctx, level, line);
}

const char *log_level_str(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return "error";
	case LOG_LEVEL_WARN:
		return "warn";
	case LOG_LEVEL_INFO:
		return "info";
	case LOG_LEVEL_DEBUG:
		return "debug";
	}
	return "unknown";
}
