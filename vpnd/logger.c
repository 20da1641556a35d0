/*
 * One write(2) a line, so that lines of several processes do not mix.
 *
 * Packets wait while this thread writes, so it must not wait for who reads: a pipe into a program that hangs, a terminal
 * stopped by Ctrl-S, a journal that is not served. O_NONBLOCK belongs to the open file, which is shared with whoever
 * started us, so it is not set there: pipes and terminals are opened anew by their name in /proc, which gives an open file of
 * our own. Sockets, which the journal uses, have a flag for each message. Where neither can be had, poll(2) is asked first:
 * a pipe that is ready takes PIPE_BUF bytes at once, as long as nobody else writes at the same moment. Files on disk are
 * written as they are: they wait for nobody but the disk.
 *
 * What did not go out is counted, and said before the next line that does.
 */
#include "vpnd/logger.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	LINE_BYTES = 2 * LOG_LINE_BYTES + 128, /* every character may need a backslash */
};

_Static_assert(LINE_BYTES <= PIPE_BUF, "a line goes into a pipe whole or not at all");

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

/* ---- stderr ----------------------------------------------------------------------------------------------------- */

static bool can_be_full(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode));
}

/* Replaces `fd` by an open file of our own that does not block. Fails without /proc, or without the right to open it. */
static void reopen(int fd)
{
	char name[32];

	if (!can_be_full(fd))
		return;
	(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	int own = open(name, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (own < 0)
		return;
	(void)dup2(own, fd);
	close(own);
}

/* @return how much of it went out; 0 = nothing */
static size_t put(int fd, const char *text, size_t len)
{
	struct pollfd ready = {.fd = fd, .events = POLLOUT};
	ssize_t n = send(fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno == ENOTSOCK) {
		if (poll(&ready, 1, 0) != 1)
			return 0;
		n = write(fd, text, len);
	}
	return n > 0 ? (size_t)n : 0;
}

static size_t format(const struct logger *logger, enum log_level level, const struct timespec *now,
	const char *text, char line[LINE_BYTES])
{
	char stamp[40] = "";
	struct tm utc;
	size_t len;

	if (logger->json || logger->stamped) {
		(void)gmtime_r(&now->tv_sec, &utc);
		size_t n = strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
		(void)snprintf(
			stamp + n, sizeof(stamp) - n, ".%03dZ", (int)(now->tv_nsec / 1000000));
	}
	if (logger->json) {
		len = (size_t)snprintf(line, LINE_BYTES,
			"{\"time\":\"%s\",\"level\":\"%s\",\"text\":\"", stamp,
			log_level_str(level));
		len += escape(line + len, text);
		len += (size_t)snprintf(line + len, LINE_BYTES - len, "\"}\n");
	} else {
		len = (size_t)snprintf(line, LINE_BYTES, "%s%s%-5s %s\n", stamp,
			stamp[0] ? " " : "", log_level_str(level), text);
	}
	return len < LINE_BYTES ? len : LINE_BYTES - 1;
}

/* @return false if nothing of it went out */
static bool put_line(
	struct logger *logger, enum log_level level, const struct timespec *now, const char *text)
{
	char line[LINE_BYTES];
	size_t len = format(logger, level, now, text, line);

	if (logger->torn && put(logger->fd, "\n", 1) == 0)
		return false;
	logger->torn = false;
	size_t n = put(logger->fd, line, len);
	logger->torn = n > 0 && n < len;
	return n > 0;
}

static bool tell_lost(struct logger *logger, const struct timespec *now)
{
	char text[96];

	if (logger->lost == 0)
		return true;
	(void)snprintf(text, sizeof(text),
		"%llu lines of the log are missing here: nobody read them",
		(unsigned long long)logger->lost);
	if (!put_line(logger, LOG_LEVEL_WARN, now, text))
		return false;
	logger->lost = 0;
	return true;
}

static void sink(void *ctx, enum log_level level, const char *text)
{
	struct logger *logger = ctx;
	struct timespec now;

	log_ring_push(&logger->ring, wall_ms(&now), level, text);
	if (!tell_lost(logger, &now) || !put_line(logger, level, &now, text))
		logger->lost++;
}

/* ---- the logger ------------------------------------------------------------------------------------------------- */

void logger_init(struct logger *logger)
{
	memset(logger, 0, sizeof(*logger));
	logger->log = (struct log){.sink = sink, .ctx = logger, .level = LOG_LEVEL_INFO};
	logger->stamped = getenv("JOURNAL_STREAM") == NULL;
	logger_write_to(logger, STDERR_FILENO);
}

void logger_write_to(struct logger *logger, int fd)
{
	logger->fd = fd;
	reopen(fd);
}

void logger_write_lines(const struct logger *logger, enum log_level level, const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n");
		if (len > 0)
			log_write(&logger->log, level, "%.*s",
				(int)(len < LOG_LINE_BYTES ? len : LOG_LINE_BYTES), text);
		text += len + (text[len] == '\n');
	}
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
