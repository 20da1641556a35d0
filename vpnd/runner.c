/*
 * The helper's side. Orders are told and not waited for, but for `pre_up`: packets wait while the helper is asked. The
 * runner takes them while a program runs, so there is room for the next one but for moments; who is told -EBUSY then comes
 * again, with what is true by then.
 */
#include "vpnd/runner.h"

#include "core/log.h"
#include "vpnd/fault.h"
#include "vpnd/loop.h"
#include "vpnd/runner_mark.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	INSIST_MS = 500,
};

bool runner_wanted(const struct config *config)
{
	for (enum config_hook hook = 0; hook < CONFIG_HOOKS; hook++) {
		if (config->hooks[hook].count > 0)
			return true;
	}
	return config->dns.servers.count > 0 ||
	       runner_mark_exists(RUNNER_MARK_FOLDER, config->name);
}

const char *runner_resolvconf(void)
{
	static const char *const PLACES[] = {"/sbin/resolvconf", "/usr/sbin/resolvconf",
		"/bin/resolvconf", "/usr/bin/resolvconf"};

	for (size_t i = 0; i < sizeof(PLACES) / sizeof(PLACES[0]); i++) {
		if (access(PLACES[i], F_OK) == 0)
			return PLACES[i];
	}
	return NULL;
}

/* Of the process that started this one: the worker. @return -1 if it is gone, or the kernel has no such thing */
static int open_owner(void)
{
	int fd = -1;
#ifdef SYS_pidfd_open
	pid_t owner = getppid();

	fd = (int)syscall(SYS_pidfd_open, owner, 0U);
	if (fd >= 0 && getppid() != owner) { /* that number may be somebody else's by now */
		close(fd);
		fd = -1;
	}
#endif
	return fd;
}

int runner_start(struct runner *runner, const struct runner_setup *setup)
{
	int pair[2];

	*runner = (struct runner){.fd = -1};
	if (!runner_wanted(setup->config))
		return 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	int owner_fd = open_owner();
	pid_t pid = fork();
	if (pid == 0)
		runner_process(pair[1], owner_fd, setup);
	int error = pid < 0 ? -errno : 0;
	if (owner_fd >= 0)
		close(owner_fd);
	close(pair[1]);
	if (error) {
		close(pair[0]);
		return error;
	}
	runner->fd = pair[0];
	return 0;
}

int runner_tell(struct runner *runner, const struct runner_order *order)
{
	size_t len = offsetof(struct runner_order, text) + order->text_len;
	ssize_t sent;

	if (runner->fd < 0)
		return -EPIPE;
	do
		sent = send(runner->fd, order, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return 0;
	return errno == EAGAIN ? -EBUSY : -EPIPE;
}

int runner_insist(struct runner *runner, const struct runner_order *order)
{
	int64_t until_us = loop_clock().us + INSIST_MS * INT64_C(1000);
	int error;

	while ((error = runner_tell(runner, order)) == -EBUSY && loop_clock().us < until_us)
		(void)poll(NULL, 0, 1);
	return error;
}

/* @return 0 with the answer, -ETIMEDOUT, -EPIPE */
static int receive(const struct runner *runner, int64_t until_us, struct runner_answer *ret_answer)
{
	for (;;) {
		struct pollfd readable = {.fd = runner->fd, .events = POLLIN};
		int64_t left_ms = (until_us - loop_clock().us + 999) / 1000;
		ssize_t len = recv(runner->fd, ret_answer, sizeof(*ret_answer), MSG_DONTWAIT);
		if (len == (ssize_t)sizeof(*ret_answer))
			return 0;
		if (len >= 0 || (errno != EAGAIN && errno != EINTR))
			return -EPIPE;
		if (left_ms <= 0)
			return -ETIMEDOUT;
		(void)poll(&readable, 1, (int)left_ms);
	}
}

int runner_do(struct runner *runner, struct runner_order *order, struct fault *fault)
{
	const char *what = order->verb == RUNNER_HOOK ? config_hook_str(order->hook) : "resolvconf";
	int64_t until_us = loop_clock().us + RUNNER_WAIT_MS * INT64_C(1000);
	struct runner_answer answer = {0};

	if (++runner->asked == 0)
		runner->asked = 1;
	order->id = runner->asked;
	int error = runner_insist(runner, order);
	while (!error && answer.id != order->id) /* others are of before, and came too late */
		error = receive(runner, until_us, &answer);
	if (!error && answer.how > 0)
		return fault_set(fault, -ECANCELED, "E-HOOK-1", "the log has what it said",
			"%s ended with %d", what, answer.how);
	if (!error)
		error = answer.how;
	if (!error)
		return 0;
	return fault_set(fault,
		error == -EPIPE	      ? -ESRCH
		: error == -ETIMEDOUT ? -ETIME
				      : error,
		"E-HOOK-1", NULL, "%s could not be run: %s", what, strerror(-error));
}

void runner_finish(struct runner *runner)
{
	static const struct runner_order END = {.verb = RUNNER_END};
	int64_t until_us = loop_clock().us + RUNNER_END_MS * INT64_C(1000);
	struct runner_answer answer;

	if (runner->fd < 0)
		return;
	if (runner_insist(runner, &END) == 0) {
		while (receive(runner, until_us, &answer) == 0)
			;
	}
	close(runner->fd);
	runner->fd = -1;
}
