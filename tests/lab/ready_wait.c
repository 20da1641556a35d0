/* The protocol is sd_notify(3): datagrams of KEY=VALUE lines. A sender may put several lines into one. */
#include "tests/lab/ready_wait.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool says_ready(char *text)
{
	char *rest = NULL;

	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (strcmp(line, "READY=1") == 0)
			return true;
	}
	return false;
}

static int read_until_ready(int fd, int64_t timeout_ms)
{
	int64_t until = now_ms() + timeout_ms;
	char text[4096];

	for (;;) {
		struct pollfd wait = {.fd = fd, .events = POLLIN};
		int64_t left = until - now_ms();
		if (timeout_ms >= 0 && left <= 0)
			return -ETIMEDOUT;
		if (poll(&wait, 1, timeout_ms < 0 ? -1 : (int)(left < 60000 ? left : 60000)) <= 0)
			continue;
		ssize_t len = recv(fd, text, sizeof(text) - 1, 0);
		if (len < 0)
			continue;
		text[len] = '\0';
		if (says_ready(text))
			return 0;
	}
}

int ready_wait(const char *path, int64_t timeout_ms)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	int err = 0;
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		err = -errno;
		goto close_fd;
	}
	if (chmod(path, 0666) < 0) /* a daemon may have given up root before it is ready */
		err = -errno;
	else
		err = read_until_ready(fd, timeout_ms);
	unlink(path);
close_fd:
	close(fd);
	return err;
}
