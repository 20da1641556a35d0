/* The log: it never waits for who reads, and says afterwards what is missing. */
#include "vpnd/logger.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	MANY = 5000, /* lines: more than a pipe, a socket or a terminal holds */
};

static struct logger logger;

static void setup(int fd)
{
	(void)signal(SIGPIPE, SIG_IGN); /* as main() does */
	logger_init(&logger);
	logger_write_to(&logger, fd);
}

static char text[1 << 20]; /* what came last */

/* Everything that has come, without waiting. @return how many lines, and the last of them in `last` */
static size_t drain(int fd, char last[256])
{
	size_t len = 0, lines = 0;
	ssize_t n;

	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	while (len < sizeof(text) - 1 && (n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	for (char *at = text, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
		(void)snprintf(last, 256, "%.*s", (int)(end - at), at);
		lines++;
	}
	return lines;
}

static void log_many(void)
{
	for (int i = 0; i < MANY; i++)
		log_info(&logger.log, "line %d of many, and long enough to fill what there is", i);
}

/* What was not written is counted, and said before the next line that is. */
static void check_after_silence(int reader)
{
	char last[256];
	size_t written;

	log_many(); /* would never return if it waited */
	written = drain(reader, last);
	cr_assert(written > 0 && written < MANY, "%zu", written);
	cr_assert_eq(logger.lost, MANY - written);
	uint64_t lost = logger.lost;
	cr_assert_eq(logger.ring.next_seq, MANY, "the ring has them all");
	log_info(&logger.log, "again");
	cr_assert_eq(logger.lost, 0);
	cr_assert_eq(drain(reader, last), 2);
	cr_assert(strstr(last, "again"), "%s", last);
	const char *notice = strstr(text, " lines of the log are missing here");
	cr_assert(notice, "%s", text);
	while (notice > text && notice[-1] >= '0' && notice[-1] <= '9')
		notice--;
	cr_assert_eq(strtoull(notice, NULL, 10), lost);
	log_info(&logger.log, "once more");
	cr_assert_eq(drain(reader, last), 1, "it is said once");
	logger_fini(&logger);
}

Test(logger, a_full_pipe_is_not_waited_for, .timeout = 60)
{
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	int shared = dup(fds[1]);
	setup(fds[1]);
	cr_assert_eq(fcntl(shared, F_GETFL) & O_NONBLOCK, 0, "others' open file is left alone");
	check_after_silence(fds[0]);
	close(shared);
	close(fds[0]);
	setup(fds[1]); /* nobody is there to read any more */
	log_info(&logger.log, "into nothing");
	cr_assert_eq(logger.lost, 1);
	logger_fini(&logger);
	close(fds[1]);
}

Test(logger, a_full_socket_is_not_waited_for, .timeout = 60)
{
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	setup(fds[1]);
	cr_assert_eq(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0);
	check_after_silence(fds[0]);
	close(fds[0]);
	close(fds[1]);
}

/* What a terminal holds is handed on by the kernel in its own time, and it may take half a line. */
Test(logger, a_stopped_terminal_is_not_waited_for, .timeout = 60)
{
	int reader = posix_openpt(O_RDWR | O_NOCTTY);
	char last[256] = "";

	cr_assert(reader >= 0 && grantpt(reader) == 0 && unlockpt(reader) == 0);
	int terminal = open(ptsname(reader), O_RDWR | O_NOCTTY);
	cr_assert(terminal >= 0);
	setup(terminal);
	log_many();
	cr_assert(logger.lost > 0 && logger.lost < MANY);
	struct pollfd ready = {.fd = reader, .events = POLLIN};
	while (logger.lost > 0) {
		cr_assert_eq(poll(&ready, 1, -1), 1);
		(void)drain(reader, last);
		log_info(&logger.log, "again");
	}
	while (!strstr(last, "again")) {
		cr_assert_eq(poll(&ready, 1, -1), 1);
		(void)drain(reader, last);
	}
	logger_fini(&logger);
	close(terminal);
	close(reader);
}

Test(logger, what_cannot_be_opened_anew_is_asked_first, .timeout = 60)
{
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	logger_init(&logger);
	logger.fd = fds[1]; /* as it was: it would block */
	check_after_silence(fds[0]);
	close(fds[0]);
	close(fds[1]);
}

Test(logger, a_file_gets_every_line)
{
	char path[] = "/tmp/kcpvpn-log-XXXXXX", last[256];
	int fd = mkstemp(path);

	cr_assert(fd >= 0);
	setup(fd);
	log_many();
	cr_assert_eq(logger.lost, 0);
	cr_assert_eq(lseek(fd, 0, SEEK_SET), 0);
	cr_assert_eq(drain(fd, last), MANY);
	logger_fini(&logger);
	close(fd);
	(void)unlink(path);
}

Test(logger, several_lines_are_several_lines)
{
	int fds[2];
	char last[256];

	cr_assert_eq(pipe(fds), 0);
	setup(fds[1]);
	logger_write_lines(&logger, LOG_LEVEL_ERROR, "one\n\n  two %s\nthree");
	cr_assert_eq(drain(fds[0], last), 3);
	cr_assert(strstr(last, "error three"), "%s", last);
	cr_assert_str_eq(log_ring_at(&logger.ring, 1)->text, "  two %s");
	logger_fini(&logger);
	close(fds[0]);
	close(fds[1]);
}
