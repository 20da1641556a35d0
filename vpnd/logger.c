/* One write(2) a line, so that lines of several processes do not mix. */
#include "vpnd/logger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	LINE_BYTES = 2 * LOG_LINE_BYTES + 128, /* every character may need a backslash */
};

static int64_t wall_ms(struct timespec *now)
{
	(void)clock_gettime(CLOCK_REALTIME, now);
	return (int64_t)now->tv_sec * 1000 + now->tv_nsec / 1000000;
}

/* Writes `text` as the inside of a JSON string; bytes that are not ASCII become '?'. */
static size_t escape(char *out, const char *text)
{
	size_t n = 0;

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\')
			out[n++] = '\\';
		out[n++] = c >= 0x20 && c < 0x7f ? (char)c : '?';
	}
	return n;
}

static void sink(void *ctx, enum log_level level, const char *text)
{
	struct logger *logger = ctx;
	char line[LINE_BYTES];
	char stamp[40] = "";
	struct timespec now;
	struct tm utc;
	size_t len;

	log_ring_push(&logger->ring, wall_ms(&now), level, text);
	if (logger->json || logger->stamped) {
		(void)gmtime_r(&now.tv_sec, &utc);
		size_t n = strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
		(void)snprintf(
			stamp + n, sizeof(stamp) - n, ".%03dZ", (int)(now.tv_nsec / 1000000));
	}
	if (logger->json) {
		len = (size_t)snprintf(line, sizeof(line),
			"{\"time\":\"%s\",\"level\":\"%s\",\"text\":\"", stamp,
			log_level_str(level));
		len += escape(line + len, text);
		len += (size_t)snprintf(line + len, sizeof(line) - len, "\"}\n");
	} else {
		len = (size_t)snprintf(line, sizeof(line), "%s%s%-5s %s\n", stamp,
			stamp[0] ? " " : "", log_level_str(level), text);
	}
	ssize_t written = write(STDERR_FILENO, line, len < sizeof(line) ? len : sizeof(line) - 1);
	(void)written; /* nowhere to say that the log cannot be written */
}

void logger_init(struct logger *logger)
{
	memset(logger, 0, sizeof(*logger));
	logger->log = (struct log){.sink = sink, .ctx = logger, .level = LOG_LEVEL_INFO};
	logger->stamped = getenv("JOURNAL_STREAM") == NULL;
}

void logger_fini(struct logger *logger)
{
	log_ring_fini(&logger->ring);
}

void logger_configure(struct logger *logger, enum log_level level, bool json)
{
	logger->log.level = level;
	logger->json = json;
}
