/*
 * Orders are done one after the other, so that `up` never overtakes `pre_up`, nor `peer_down` its `peer_up`. A program has
 * RUNNER_PROGRAM_MS, then it and all its children are killed: it leads a process group of its own.
 *
 * There is no shell: the arguments are the list's items. A program gets no descriptor but the log as its output, no
 * signals blocked or ignored, a plain PATH, and VPND_* that say what it is about. Names and addresses in these come from
 * the configuration but for VPND_ENDPOINT, which is an address put into text here.
 *
 * resolvconf keeps what it was told in files of its own, which outlive vpnd. A mark in /run/vpnd says that it was told
 * something, and the next runner, or the next start without one, takes that back first.
 */
#include "vpnd/runner.h"

#include "core/log.h"
#include "vpnd/fault.h"
#include "vpnd/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	RUNNER_FD = STDERR_FILENO + 1,
	ENVIRONMENT_MAX = 12,
	ARGUMENTS_MAX = 257,
	TELL_MS = 100,
	POLL_MS = 20,
};

struct runner_self {
	const struct config *config;
	const char *device;
	const struct log *log;
};

bool runner_wanted(const struct config *config)
{
	for (enum config_hook hook = 0; hook < CONFIG_HOOKS; hook++) {
		if (config->hooks[hook].count > 0)
			return true;
	}
	return config->dns.servers.count > 0;
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

/* ---- a program -------------------------------------------------------------------------------------------------- */

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

/* @return its exit status, 128 and the signal that ended it, or -ETIMEDOUT */
static int await(pid_t pid)
{
	int64_t until_us = loop_clock().us + RUNNER_PROGRAM_MS * INT64_C(1000);
	int status = 0;

	for (;;) {
		pid_t ended = waitpid(pid, &status, WNOHANG);
		if (ended == pid)
			break;
		if (ended < 0 && errno != EINTR)
			return -errno;
		if (loop_clock().us > until_us) {
			(void)kill(-pid, SIGKILL);
			(void)kill(pid, SIGKILL);
			(void)waitpid(pid, &status, 0);
			return -ETIMEDOUT;
		}
		(void)poll(NULL, 0, POLL_MS);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* @text  what it reads. @return as await(), or another negative errno */
static int run(char *const *argv, char *const *envp, const char *text, size_t text_len)
{
	int input[2];

	if (pipe2(input, O_CLOEXEC) < 0)
		return -errno;
	pid_t pid = fork();
	if (pid == 0)
		be_program(argv, envp, input[0]);
	int error = pid < 0 ? -errno : 0;
	close(input[0]);
	/* at most RUNNER_TEXT_BYTES, which a pipe holds: nobody needs to read */
	if (!error && text_len > 0 && write(input[1], text, text_len) < 0) {
		/* it did not want to hear */
	}
	close(input[1]);
	return error ? error : await(pid);
}

/* ---- orders ----------------------------------------------------------------------------------------------------- */

struct environment {
	char *items[ENVIRONMENT_MAX + 1];
	size_t count;
};

static void set(struct environment *environment, const char *name, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void set(struct environment *environment, const char *name, const char *format, ...)
{
	char *value = NULL, *item = NULL;
	va_list args;

	va_start(args, format);
	int len = vasprintf(&value, format, args);
	va_end(args);
	if (len >= 0 && asprintf(&item, "%s=%s", name, value) >= 0 &&
		environment->count < ENVIRONMENT_MAX)
		environment->items[environment->count++] = item;
	else
		free(item);
	if (len >= 0)
		free(value);
}

static void set_addresses(struct environment *environment, const struct config *config)
{
	char list[1024] = "", text[IP_PREFIX_TEXT_BYTES];
	size_t len = 0;

	for (size_t i = 0; i < config->interface.addresses.count; i++) {
		int n = snprintf(list + len, sizeof(list) - len, "%s%s", i ? " " : "",
			ip_prefix_format(&config->interface.addresses.items[i], text));
		if (n < 0 || (size_t)n >= sizeof(list) - len)
			break;
		len += (size_t)n;
	}
	set(environment, "VPND_ADDRESSES", "%s", list);
}

static void fill_environment(struct environment *environment, const struct runner_self *self,
	const struct runner_order *order)
{
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];
	const struct config *config = self->config;

	set(environment, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	set(environment, "VPND_HOOK", "%s", config_hook_str(order->hook));
	set(environment, "VPND_NETWORK", "%s", config->name);
	set(environment, "VPND_INTERFACE", "%s", self->device);
	set(environment, "VPND_CONFIG", "%s", config->file);
	set_addresses(environment, config);
	if (config->interface.netns)
		set(environment, "VPND_NETNS", "%s", config->interface.netns);
	if (order->peer[0])
		set(environment, "VPND_PEER", "%s", order->peer);
	if (order->endpoint.family)
		set(environment, "VPND_ENDPOINT", "%s",
			kcpvpn_endpoint_format(&order->endpoint, text));
}

static void say_how(const struct runner_self *self, const char *what, const char *program, int how)
{
	if (how == 0)
		log_debug(self->log, "%s: %s is done", what, program);
	else if (how == -ETIMEDOUT)
		log_warn(self->log, "%s: %s took more than %d s and was killed", what, program,
			RUNNER_PROGRAM_MS / 1000);
	else if (how < 0)
		log_warn(self->log, "%s: %s could not be run: %s", what, program, strerror(-how));
	else if (how > 128)
		log_warn(self->log, "%s: %s was ended by signal %d", what, program, how - 128);
	else
		log_warn(self->log, "%s: %s ended with %d", what, program, how);
}

static int do_hook(const struct runner_self *self, const struct runner_order *order)
{
	struct environment environment = {0};
	const struct config_strings *list;
	char *argv[ARGUMENTS_MAX];
	char what[32];

	if (order->hook >= CONFIG_HOOKS)
		return -EINVAL;
	list = &self->config->hooks[order->hook];
	if (list->count == 0)
		return 0;
	if (list->count >= ARGUMENTS_MAX)
		return -E2BIG;
	for (size_t i = 0; i < list->count; i++)
		argv[i] = list->items[i];
	argv[list->count] = NULL;
	fill_environment(&environment, self, order);
	int how = run(argv, environment.items, NULL, 0);
	(void)snprintf(what, sizeof(what), "hooks.%s", config_hook_str(order->hook));
	say_how(self, what, argv[0], how);
	for (size_t i = 0; i < environment.count; i++)
		free(environment.items[i]);
	return how;
}

static void mark_path(const struct config *config, char path[128])
{
	(void)snprintf(path, 128, "/run/vpnd/%s.resolvconf", config->name);
}

/* What Debian's resolvconf knows an interface by must be in its order of interfaces to come first: "tun.*" is. */
static int do_resolvers(const struct runner_self *self, const struct runner_order *order)
{
	char name[CONFIG_DEVICE_MAX + 8], path[128];
	char *program = (char *)(uintptr_t)runner_resolvconf();
	char *set_all[] = {program, "-a", name, "-m", "0", "-x", NULL};
	char *set_some[] = {program, "-a", name, "-p", NULL};
	char *unset[] = {program, "-d", name, "-f", NULL};
	char *envp[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
	bool debian = access("/etc/resolvconf/interface-order", F_OK) == 0;
	char **argv = order->verb == RUNNER_RESOLVERS_UNSET	  ? unset
		      : order->verb == RUNNER_RESOLVERS_EXCLUSIVE ? set_all
								  : set_some;

	if (!program)
		return -ENOENT;
	(void)snprintf(name, sizeof(name), "%s%s", debian ? "tun." : "", self->device);
	if (debian) /* it has no such options */
		argv[3] = NULL;
	mark_path(self->config, path);
	if (order->verb != RUNNER_RESOLVERS_UNSET) {
		(void)mkdir("/run/vpnd", 0755);
		int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd >= 0)
			close(fd);
	}
	int how = run(argv, envp, order->text, order->text_len);
	say_how(self, "dns", program, how);
	if (order->verb == RUNNER_RESOLVERS_UNSET && how == 0 && unlink(path) == 0)
		(void)rmdir("/run/vpnd"); /* if it was made for this alone */
	return how;
}

static void undo_leftover(const struct runner_self *self)
{
	const struct runner_order unset = {.verb = RUNNER_RESOLVERS_UNSET};
	char path[128];

	mark_path(self->config, path);
	if (access(path, F_OK) == 0 && runner_resolvconf())
		(void)do_resolvers(self, &unset);
}

/* ---- the process ------------------------------------------------------------------------------------------------ */

static _Noreturn void be_runner(int fd, const struct runner_self *self)
{
	static struct runner_order order;

	if (fd != RUNNER_FD && dup2(fd, RUNNER_FD) < 0)
		_exit(EXIT_FAILURE);
	closefrom(RUNNER_FD + 1);
	/* what is meant for the daemon: it ends when all is done */
	static const int FOR_THE_DAEMON[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE};
	for (size_t i = 0; i < sizeof(FOR_THE_DAEMON) / sizeof(FOR_THE_DAEMON[0]); i++)
		(void)signal(FOR_THE_DAEMON[i], SIG_IGN);
	(void)signal(SIGCHLD, SIG_DFL);
	(void)prctl(PR_SET_NAME, "vpnd-runner", 0, 0, 0);
	for (;;) {
		ssize_t len = recv(RUNNER_FD, &order, sizeof(order), 0);
		if (len < 0 && errno == EINTR)
			continue;
		if (len != (ssize_t)sizeof(order))
			break;
		order.peer[sizeof(order.peer) - 1] = '\0';
		if (order.text_len > sizeof(order.text))
			order.text_len = 0;
		int how = order.verb == RUNNER_HOOK ? do_hook(self, &order)
						    : do_resolvers(self, &order);
		if (send(RUNNER_FD, &how, sizeof(how), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
			/* the helper is gone: the rest is done all the same */
		}
	}
	_exit(EXIT_SUCCESS);
}

int runner_start(struct runner *runner, const struct config *config, const char *device,
	const struct log *log)
{
	const struct runner_self self = {config, device, log};
	int pair[2];

	*runner = (struct runner){.fd = -1};
	undo_leftover(&self);
	if (!runner_wanted(config))
		return 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pid_t pid = fork();
	if (pid == 0) {
		close(pair[0]);
		be_runner(pair[1], &self);
	}
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return -errno;
	}
	runner->fd = pair[0];
	return 0;
}

/* ---- the helper's side ------------------------------------------------------------------------------------------ */

/* @return 1 with an answer, 0 = none in time, or a negative errno */
static int take_answer(struct runner *runner, int64_t until_us, int *ret_how)
{
	for (;;) {
		struct pollfd readable = {.fd = runner->fd, .events = POLLIN};
		int64_t left_ms = (until_us - loop_clock().us + 999) / 1000;
		ssize_t len = recv(runner->fd, ret_how, sizeof(*ret_how), MSG_DONTWAIT);
		if (len == (ssize_t)sizeof(*ret_how)) {
			runner->answered++;
			return 1;
		}
		if (len >= 0 || (errno != EAGAIN && errno != EINTR))
			return -EPIPE;
		if (left_ms <= 0)
			return 0;
		(void)poll(&readable, 1, (int)left_ms);
	}
}

/* @return 1, 0 if its time was over, or a negative errno */
static int take_all(struct runner *runner, int64_t until_us, int *ret_how)
{
	int got = 1;

	while (runner->answered != runner->asked && got > 0)
		got = take_answer(runner, until_us, ret_how);
	return got;
}

int runner_tell(struct runner *runner, const struct runner_order *order)
{
	int64_t until_us = loop_clock().us + TELL_MS * 1000;
	int how;

	if (runner->fd < 0)
		return -EPIPE;
	if (take_all(runner, loop_clock().us, &how) < 0)
		return -EPIPE;
	while (send(runner->fd, order, sizeof(*order), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		if (errno != EAGAIN && errno != EINTR)
			return -EPIPE;
		if (loop_clock().us > until_us)
			return -EBUSY;
		(void)poll(NULL, 0, 1);
	}
	runner->asked++;
	return 0;
}

int runner_do(struct runner *runner, const struct runner_order *order, struct fault *fault)
{
	int how = 0;
	int error = runner_tell(runner, order);
	int got = error ? error
			: take_all(runner, loop_clock().us + RUNNER_WAIT_MS * INT64_C(1000), &how);

	if (got == 1 && how == 0)
		return 0;
	if (got == 1 && how > 0)
		return fault_set(fault, -ECANCELED, "E-HOOK-1", "the log has what it said",
			"%s ended with %d",
			order->verb == RUNNER_HOOK ? config_hook_str(order->hook) : "resolvconf",
			how);
	error = got == 0 ? -ETIMEDOUT : got < 0 ? got : how;
	return fault_set(fault,
		error == -EPIPE	      ? -ESRCH
		: error == -ETIMEDOUT ? -ETIME
				      : error,
		"E-HOOK-1", NULL, "%s could not be run: %s",
		order->verb == RUNNER_HOOK ? config_hook_str(order->hook) : "resolvconf",
		strerror(-error));
}

void runner_finish(struct runner *runner)
{
	int how;

	if (runner->fd < 0)
		return;
	(void)take_all(runner, loop_clock().us + RUNNER_PROGRAM_MS * INT64_C(1000) + 500000, &how);
	close(runner->fd);
	runner->fd = -1;
}
