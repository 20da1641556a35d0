#include "vpnd/fault.h"
#include "vpnd/passed_socket.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum what {
	NOTHING,
	LISTENS,
	LISTENS_NOT,
	DATAGRAMS,
	NETWORK,
	FILE_,
};

enum outcome {
	TAKEN,
	NONE,
	REFUSED,
	REFUSED_BUT_OPEN,
	ODD,
};

static int make(enum what what)
{
	struct sockaddr_un any = {.sun_family = AF_UNIX};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = -1;

	switch (what) {
	case NOTHING:
		return -1;
	case LISTENS:
	case LISTENS_NOT:
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		/* an address of this length lets the kernel choose a name */
		(void)!bind(fd, (struct sockaddr *)&any, sizeof(any.sun_family));
		if (what == LISTENS)
			(void)!listen(fd, 4);
		break;
	case DATAGRAMS:
		fd = socket(AF_UNIX, SOCK_DGRAM, 0);
		break;
	case NETWORK:
		fd = socket(AF_INET, SOCK_STREAM, 0);
		(void)!bind(fd, (struct sockaddr *)&in, sizeof(in));
		(void)!listen(fd, 4);
		break;
	case FILE_:
		fd = open("/dev/null", O_RDWR);
		break;
	}
	return fd;
}

/* Descriptors 3 and up belong to the test's own process, so a child does it. */
static enum outcome take(enum what what, const char *pid, const char *fds)
{
	pid_t child = fork();
	int status;

	if (child) {
		cr_assert_eq(waitpid(child, &status, 0), child);
		return WIFEXITED(status) ? (enum outcome)WEXITSTATUS(status) : ODD;
	}
	char own[32];
	struct fault fault = {0};
	int got = -7, at = make(what);
	int high = at >= 0 ? fcntl(at, F_DUPFD, 100) : -1;
	closefrom(101);
	for (int fd = 3; fd < 100; fd++)
		(void)close(fd);
	if (high >= 0)
		(void)dup2(high, 3);
	(void)close(high);
	(void)snprintf(own, sizeof(own), "%d", (int)getpid());
	if (pid)
		(void)setenv("LISTEN_PID", strcmp(pid, "own") == 0 ? own : pid, 1);
	if (fds)
		(void)setenv("LISTEN_FDS", fds, 1);
	(void)setenv("LISTEN_FDNAMES", "x", 1);
	int error = passed_socket_take(&got, &fault);
	if (getenv("LISTEN_PID") || getenv("LISTEN_FDS") || getenv("LISTEN_FDNAMES"))
		_exit(ODD);
	bool open = fcntl(3, F_GETFD) >= 0;
	if (error == 0 && got == 3)
		_exit(fcntl(3, F_GETFD) == FD_CLOEXEC && fcntl(3, F_GETFL) & O_NONBLOCK ? TAKEN
											: ODD);
	if (error == 0 && got == -1)
		_exit(open == (what != NOTHING) ? NONE : ODD); /* somebody else's stays */
	if (error != -EINVAL || got != -1 || strcmp(fault.code, "E-VPND-5") != 0)
		_exit(ODD);
	_exit(open ? REFUSED_BUT_OPEN : REFUSED);
}

Test(passed_socket, takes_one_that_listens)
{
	cr_assert_eq(take(LISTENS, "own", "1"), TAKEN);
}

Test(passed_socket, leaves_alone_what_is_not_meant_for_it)
{
	static const char *const PIDS[] = {"1", "", "x", "-1", "99999999999999999999", "1x"};

	cr_assert_eq(take(NOTHING, NULL, NULL), NONE);
	cr_assert_eq(take(LISTENS, NULL, "1"), NONE);
	cr_assert_eq(take(LISTENS, "own", NULL), NONE);
	cr_assert_eq(take(LISTENS, "own", "0"), NONE);
	for (size_t i = 0; i < sizeof(PIDS) / sizeof(PIDS[0]); i++)
		cr_assert_eq(take(LISTENS, PIDS[i], "1"), NONE, "%s", PIDS[i]);
}

Test(passed_socket, refuses_all_else)
{
	static const char *const COUNTS[] = {"", "x", "-1", "1x", " 1", "1025", "4294967297"};

	for (enum what what = LISTENS_NOT; what <= FILE_; what++)
		cr_assert_eq(take(what, "own", "1"), REFUSED, "%d", (int)what);
	cr_assert_eq(take(NOTHING, "own", "1"), REFUSED);
	cr_assert_eq(take(LISTENS, "own", "2"), REFUSED);
	cr_assert_eq(take(LISTENS, "own", "1000"), REFUSED);
	for (size_t i = 0; i < sizeof(COUNTS) / sizeof(COUNTS[0]); i++)
		cr_assert_eq(take(LISTENS, "own", COUNTS[i]), REFUSED_BUT_OPEN, "%s", COUNTS[i]);
}
