/*
 * The manager opens sockets, starts the program with them as descriptors 3, 4, ..., and says in LISTEN_FDS how many there
 * are and in LISTEN_PID for whom. A shell between the two would hand the variables down to somebody they are not meant
 * for, who has other things under these numbers: so the number of the process must be ours, to the digit.
 *
 * What is passed is looked at before it is used. A datagram socket, or one that belongs to the network, would not fail at
 * once: it would lie there and answer nobody, and with a socket of the network anybody could give orders.
 *
 * Sources: sd_listen_fds(3), "Notes"; systemd.socket(5).
 */
#include "vpnd/passed_socket.h"

#include "vpnd/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	FIRST_FD = 3,
	COUNT_MAX =
		1024, /* nobody passes more; a number out of nowhere closes no descriptors without end */
};

static const char HINT[] =
	"the unit vpnd@.socket passes one socket: ListenStream=/run/vpnd/NAME/control.sock";

/* A number as the manager writes it. @return -1 for anything else */
static long number_of(const char *text, long max)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return -1;
	errno = 0;
	long value = strtol(text, &end, 10);
	return errno || *end || value > max ? -1 : value;
}

static bool has_option(int fd, int option, int want)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) == 0 && value == want;
}

static int prepare(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
}

int passed_socket_take(int *ret_fd, struct fault *fault)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	bool ours = pid && fds && number_of(pid, INT_MAX) == (long)getpid();
	long count = ours ? number_of(fds, COUNT_MAX) : 0;

	*ret_fd = -1;
	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("LISTEN_FDNAMES");
	if (count == 0)
		return 0;
	if (count < 0)
		return fault_set(fault, -EINVAL, "E-VPND-5", HINT,
			"the service manager's LISTEN_FDS is no number of sockets");
	if (count == 1 && has_option(FIRST_FD, SO_DOMAIN, AF_UNIX) &&
		has_option(FIRST_FD, SO_TYPE, SOCK_STREAM) &&
		has_option(FIRST_FD, SO_ACCEPTCONN, 1) && prepare(FIRST_FD) == 0) {
		*ret_fd = FIRST_FD;
		return 0;
	}
	for (int fd = FIRST_FD; fd < FIRST_FD + (int)count; fd++)
		(void)close(fd);
	if (count > 1)
		return fault_set(fault, -EINVAL, "E-VPND-5", HINT,
			"the service manager passed %ld sockets, where one is wanted", count);
	return fault_set(fault, -EINVAL, "E-VPND-5", HINT,
		"what the service manager passed is no Unix stream socket that listens");
}
