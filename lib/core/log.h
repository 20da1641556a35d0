/*
 * Logging goes to a sink that the program gives. Nothing is logged per packet: bad packets are
 * counted by verdict, and what may repeat is limited by its caller.
 */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include <stdarg.h>

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

enum {
	LOG_LINE_BYTES = 1024, /* longer texts are cut */
};

/** Takes one line without a line break. Called on the thread that logs. */
typedef void (*log_sink_fn)(void *ctx, enum log_level level, const char *text);

struct log {
	log_sink_fn sink; /* NULL = discard */
	void *ctx;
	enum log_level level; /* what is above it is not formatted */
};

void log_write(const struct log *log, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(log, ...) log_write((log), LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(log, ...) log_write((log), LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(log, ...) log_write((log), LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(log, ...) log_write((log), LOG_LEVEL_DEBUG, __VA_ARGS__)

/** "error", "warn", "info" or "debug". */
const char *log_level_str(enum log_level level);

#endif
