/*
 * There is no shell: the arguments are what they are. The process group is set on both sides of the fork, so that the group
 * can be killed whoever of the two comes first.
 *
 * A process that was killed and does not die hangs in the kernel (a file system that is gone). It is not waited for: it is
 * reaped when the next one is started, or by init.
 */
#include "vpnd/program.h"

#include "vpnd/loop.h"
#include "vpnd/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	KILLED_MS = 1000,
	POLL_MS = 20,
};

/* Never returns. @input  becomes its standard input */
static _Noreturn void be_program(char *const *argv, char *const *envp, int input)
{
	sigset_t none;
	char message[160];

	(void)setpgid(0, 0);
	for (int number = 1; number < NSIG; number++)
		(void)signal(number, SIG_DFL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	privileges_restore_limits();
	if (dup2(input, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		_exit(127);
	closefrom(STDERR_FILENO + 1);
	(void)execve(argv[0], argv, envp);
	int len = snprintf(
		message, sizeof(message), "vpnd: cannot run %.80s: %s\n", argv[0], strerror(errno));
	if (len > 0 && write(STDERR_FILENO, message, (size_t)len) < 0) {
		/* then nobody hears it; the exit status tells */
	}
	_exit(127);
}

static int open_pidfd(pid_t pid)
{
#ifdef SYS_pidfd_open
	return (int)syscall(SYS_pidfd_open, pid, 0U);
#else
	(void)pid;
	return -1;
#endif
}

int program_start(struct program *ret_program, char *const *argv, char *const *envp,
	const char *text, size_t text_len)
{
	int input[2];

	while (waitpid(-1, NULL, WNOHANG) > 0) /* of those that were left to die */
		;
	if (pipe2(input, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	(void)fcntl(input[0], F_SETFL, 0); /* for the program, which expects to wait */
	pid_t pid = fork();
	if (pid == 0)
		be_program(argv, envp, input[0]);
	int error = pid < 0 ? -errno : 0;
	close(input[0]);
	if (!error && text_len > 0 && write(input[1], text, text_len) < 0) {
		/* it did not want to hear */
	}
	close(input[1]);
	if (error)
		return error;
	(void)setpgid(pid, pid);
	*ret_program = (struct program){.pid = pid, .fd = open_pidfd(pid)};
	return 0;
}

bool program_ended(struct program *program, int *ret_how)
{
	int status = 0;
	pid_t ended = waitpid(program->pid, &status, WNOHANG);

	if (ended == 0 || (ended < 0 && errno == EINTR))
		return false;
	if (ended < 0)
		*ret_how = -errno;
	else
		*ret_how = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	if (program->fd >= 0)
		close(program->fd);
	*program = (struct program){.fd = -1};
	return true;
}

void program_kill(struct program *program)
{
	int64_t until_us = loop_clock().us + KILLED_MS * INT64_C(1000);
	int how;

	(void)kill(-program->pid, SIGKILL);
	(void)kill(program->pid, SIGKILL);
	while (!program_ended(program, &how)) {
		struct pollfd ended = {.fd = program->fd, .events = POLLIN};
		if (loop_clock().us > until_us)
			break;
		(void)poll(&ended, 1, POLL_MS);
	}
	if (program->fd >= 0)
		close(program->fd);
	*program = (struct program){.fd = -1};
}
