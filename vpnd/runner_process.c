/*
 * The runner: one program at a time, as hook_queue.h says, each with RUNNER_PROGRAM_MS. It takes orders while a program
 * runs, so that nobody waits for it. Programs of peers make room when the link has something to say.
 *
 * A program gets no descriptor but the log as its output, a plain PATH, and VPND_* that say what it is about. Names and
 * addresses in these come from the configuration but for VPND_ENDPOINT, which is an address put into text here; that it is
 * the peer's is the worker's word.
 *
 * What was done is undone at the end, whoever ends: `down` and resolvconf when the helper says so; when it is gone without
 * a word, as soon as the worker is, because until then the tunnel works on; and when this process is killed, too, by the
 * next that starts (runner_mark.h).
 */
#include "config/config.h"
#include "core/log.h"
#include "vpnd/hook_queue.h"
#include "vpnd/loop.h"
#include "vpnd/program.h"
#include "vpnd/runner.h"
#include "vpnd/runner_mark.h"

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
#include <unistd.h>

enum {
	RUNNER_FD = STDERR_FILENO + 1,
	OWNER_FD,
	ENVIRONMENT_MAX = 12,
	ARGUMENTS_MAX = 257,
	POLL_MS = 20, /* where the kernel cannot tell that a program has ended */
	MARK_POLL_MS = 50,
};

struct process {
	const struct runner_setup *setup;
	int fd;	   /* to the helper; -1 = it is gone */
	int owner; /* readable when the worker is gone; -1 = it is */
	struct hook_queue queue;
	struct runner_mark mark;
	struct mono mark_until; /* when it is given up; MONO_NEVER = it is not waited for */
	uint32_t waiting;	/* id of who waits for `pre_up`, 0 = nobody */
	bool exclusive;
	size_t text_len;
	char text[RUNNER_TEXT_BYTES]; /* of the resolvers */
};

/* ---- orders ----------------------------------------------------------------------------------------------------- */

static void answer(struct process *self, int how)
{
	const struct runner_answer say = {self->waiting, how};

	if (self->waiting && self->fd >= 0 &&
		send(self->fd, &say, sizeof(say), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		/* it has waited long enough, and will be asked again */
	}
	self->waiting = 0;
}

static void obey(struct process *self, const struct runner_order *order)
{
	struct hook_queue *queue = &self->queue;

	switch (order->verb) {
	case RUNNER_HOOK:
		if (order->hook == CONFIG_HOOK_PEER_UP || order->hook == CONFIG_HOOK_PEER_DOWN) {
			if (hook_queue_peer(queue, order->hook, order->peer, &order->endpoint) < 0)
				log_warn(self->setup->log, "out of memory: %s is not run for %s",
					config_hook_str(order->hook), order->peer);
			return;
		}
		hook_queue_link(queue, order->hook);
		if (order->hook == CONFIG_HOOK_PRE_UP)
			self->waiting = order->id;
		break;
	case RUNNER_RESOLVERS_SET:
	case RUNNER_RESOLVERS_EXCLUSIVE:
		memcpy(self->text, order->text, order->text_len);
		self->text_len = order->text_len;
		self->exclusive = order->verb == RUNNER_RESOLVERS_EXCLUSIVE;
		hook_queue_resolvers(queue, true);
		return;
	case RUNNER_RESOLVERS_UNSET:
		hook_queue_resolvers(queue, false);
		return;
	case RUNNER_END:
		hook_queue_end(queue);
		break;
	}
	bool coming = queue->pre_up_due || (queue->running && queue->now.kind == HOOK_DUE_LINK &&
						   queue->now.hook == CONFIG_HOOK_PRE_UP);
	if (self->waiting && !coming)
		answer(self, -ECANCELED); /* overtaken by the opposite */
}

/* Waits for an order, the end of a program (fd, -1 = none) or of the worker, or until the time is over. */
static void await(struct process *self, int fd, struct mono until)
{
	struct pollfd ready[] = {{.fd = self->fd >= 0 ? self->fd : self->owner, .events = POLLIN},
		{.fd = fd, .events = POLLIN}};
	int64_t left_ms = -1;

	if (!mono_is_never(until)) {
		left_ms = (mono_diff_us(until, loop_clock()) + 999) / 1000;
		left_ms = left_ms < 0 ? 0 : left_ms > 3600000 ? 3600000 : left_ms;
	}
	(void)poll(ready, 2, (int)left_ms);
	if (self->fd < 0 && self->owner >= 0 && ready[0].revents) {
		close(self->owner);
		self->owner = -1;
	}
}

/* Takes what orders there are. */
static void listen_to(struct process *self)
{
	static struct runner_order order; /* large */
	const size_t head = offsetof(struct runner_order, text);

	while (self->fd >= 0) {
		ssize_t len = recv(self->fd, &order, sizeof(order), MSG_DONTWAIT);
		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0 && errno == EAGAIN)
			return;
		if (len < (ssize_t)head || order.text_len != (size_t)len - head ||
			order.hook >= CONFIG_HOOKS) {
			close(self->fd);
			self->fd = -1;
			break;
		}
		order.peer[sizeof(order.peer) - 1] = '\0';
		obey(self, &order);
	}
	if (self->fd < 0 && self->owner < 0)
		hook_queue_end(&self->queue);
}

/* ---- a program -------------------------------------------------------------------------------------------------- */

static void say_how(const struct process *self, const char *what, const char *program, int how)
{
	const struct log *log = self->setup->log;

	if (how == 0)
		log_debug(log, "%s: %s is done", what, program);
	else if (how == -ETIMEDOUT)
		log_warn(log, "%s: %s took more than %d s and was killed", what, program,
			RUNNER_PROGRAM_MS / 1000);
	else if (how == -ECANCELED)
		log_warn(log, "%s: %s was killed: the link cannot wait for it any longer", what,
			program);
	else if (how < 0)
		log_warn(log, "%s: %s could not be run: %s", what, program, strerror(-how));
	else if (how > 128)
		log_warn(log, "%s: %s was ended by signal %d", what, program, how - 128);
	else
		log_warn(log, "%s: %s ended with %d", what, program, how);
}

/* What stands in the way of others: a peer's program if the link waits, anything but undoing at the end. */
static bool must_hurry(const struct process *self)
{
	const struct hook_due *now = &self->queue.now;

	if (now->kind == HOOK_DUE_PEER)
		return hook_queue_is_pressed(&self->queue);
	return self->queue.ended && now->kind != HOOK_DUE_RESOLVERS_UNSET &&
	       !(now->kind == HOOK_DUE_LINK && now->hook == CONFIG_HOOK_DOWN);
}

/* @text  what it reads. @return its exit status, 128 and a signal, or a negative errno */
static int run(struct process *self, char *const *argv, char *const *envp, const char *text,
	size_t text_len)
{
	struct mono until = mono_add_ms(loop_clock(), RUNNER_PROGRAM_MS);
	struct program program;
	bool hurried = false;
	int how = program_start(&program, argv, envp, text, text_len);

	if (how < 0)
		return how;
	while (!program_ended(&program, &how)) {
		struct mono now = loop_clock();
		if (!hurried && must_hurry(self)) {
			hurried = mono_before(mono_add_ms(now, RUNNER_HURRY_MS), until);
			until = mono_min(until, mono_add_ms(now, RUNNER_HURRY_MS));
		}
		if (mono_due(until, now)) {
			program_kill(&program);
			return hurried ? -ECANCELED : -ETIMEDOUT;
		}
		await(self, program.fd,
			program.fd < 0 ? mono_min(until, mono_add_ms(now, POLL_MS)) : until);
		listen_to(self);
	}
	return how;
}

/* ---- hooks ------------------------------------------------------------------------------------------------------ */

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

static void fill_environment(struct environment *environment, const struct runner_setup *setup,
	const struct hook_due *due)
{
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];
	const struct config *config = setup->config;

	set(environment, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	set(environment, "VPND_HOOK", "%s", config_hook_str(due->hook));
	set(environment, "VPND_NETWORK", "%s", config->name);
	set(environment, "VPND_INTERFACE", "%s", setup->device);
	set(environment, "VPND_CONFIG", "%s", config->file);
	set_addresses(environment, config);
	if (config->interface.netns)
		set(environment, "VPND_NETNS", "%s", config->interface.netns);
	if (due->peer)
		set(environment, "VPND_PEER", "%s", due->peer);
	if (due->endpoint.family)
		set(environment, "VPND_ENDPOINT", "%s",
			kcpvpn_endpoint_format(&due->endpoint, text));
}

static int do_hook(struct process *self, const struct hook_due *due)
{
	const struct config_strings *list = &self->setup->config->hooks[due->hook];
	struct environment environment = {0};
	char *argv[ARGUMENTS_MAX];
	char what[32];

	if (list->count == 0)
		return 0;
	if (list->count >= ARGUMENTS_MAX)
		return -E2BIG;
	for (size_t i = 0; i < list->count; i++)
		argv[i] = list->items[i];
	argv[list->count] = NULL;
	(void)snprintf(what, sizeof(what), "hooks.%s", config_hook_str(due->hook));
	/* as when it was read, which may be months ago */
	enum config_exposure exposure = config_path_exposure(argv[0]);
	if (exposure != CONFIG_EXPOSED_NOT) {
		log_warn(self->setup->log, "%s: %s is not run as root: %s", what, argv[0],
			config_exposure_str(exposure));
		return -EPERM;
	}
	fill_environment(&environment, self->setup, due);
	int how = run(self, argv, environment.items, NULL, 0);
	say_how(self, what, argv[0], how);
	for (size_t i = 0; i < environment.count; i++)
		free(environment.items[i]);
	return how;
}

/* ---- resolvers -------------------------------------------------------------------------------------------------- */

/* What Debian's resolvconf knows an interface by must be in its order of interfaces to come first: "tun.*" is. */
static int do_resolvers(struct process *self, bool on)
{
	char name[CONFIG_DEVICE_MAX + 8];
	char *program = (char *)(uintptr_t)runner_resolvconf();
	char *set_all[] = {program, "-a", name, "-m", "0", "-x", NULL};
	char *set_some[] = {program, "-a", name, "-p", NULL};
	char *unset[] = {program, "-d", name, "-f", NULL};
	char *envp[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
	bool debian = access("/etc/resolvconf/interface-order", F_OK) == 0;
	char **argv = !on ? unset : self->exclusive ? set_all : set_some;

	if (!program)
		return -ENOENT;
	(void)snprintf(name, sizeof(name), "%s%s", debian ? "tun." : "", self->setup->device);
	if (debian) /* it has no such options */
		argv[3] = NULL;
	if (debian && on && !self->exclusive)
		log_warn(self->setup->log,
			"dns.search: the resolvconf of this host knows no servers for some names "
			"only: those of the tunnel are asked for all names; systemd-resolved or "
			"openresolv can tell them apart");
	int how = run(self, argv, envp, self->text, on ? self->text_len : 0);
	say_how(self, "dns", program, how);
	return how;
}

/* ---- the process ------------------------------------------------------------------------------------------------ */

static void write_mark(struct process *self)
{
	const struct hook_queue *queue = &self->queue;
	bool link = queue->link != HOOK_LINK_DOWN ||
		    (queue->running && queue->now.kind == HOOK_DUE_LINK &&
			    queue->now.hook != CONFIG_HOOK_DOWN);

	runner_mark_write(&self->mark, link, queue->resolvers_set);
}

/* Until it is this process's, or was waited for long enough, nothing is run. @return whether it may begin */
static bool take_mark(struct process *self)
{
	const char *folder = self->setup->folder ? self->setup->folder : RUNNER_MARK_FOLDER;

	if (mono_is_never(self->mark_until))
		return true;
	int error = runner_mark_take(&self->mark, folder, self->setup->config->name);
	if (error == -EAGAIN && mono_before(loop_clock(), self->mark_until))
		return false;
	self->mark_until = MONO_NEVER;
	if (self->mark.link || self->mark.resolvers) {
		log_info(
			self->setup->log, "what was left behind by an end without order is undone");
		hook_queue_undo(&self->queue, self->mark.link, self->mark.resolvers);
	}
	return true;
}

static void do_next(struct process *self, const struct hook_due *due)
{
	int how = -EINVAL;

	write_mark(self);
	switch (due->kind) {
	case HOOK_DUE_LINK:
	case HOOK_DUE_PEER:
		how = do_hook(self, due);
		break;
	case HOOK_DUE_RESOLVERS_SET:
	case HOOK_DUE_RESOLVERS_UNSET:
		how = do_resolvers(self, due->kind == HOOK_DUE_RESOLVERS_SET);
		break;
	}
	hook_queue_done(&self->queue, how == 0);
	if (due->kind == HOOK_DUE_LINK && due->hook == CONFIG_HOOK_PRE_UP &&
		!self->queue.pre_up_due)
		answer(self, how);
	write_mark(self);
}

_Noreturn void runner_process(int fd, int owner_fd, const struct runner_setup *setup)
{
	static const int FOR_THE_DAEMON[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE};
	static struct process self; /* large */
	struct hook_due due;
	struct mono at;

	/* both may stand where the other belongs */
	int high = owner_fd >= 0 ? fcntl(owner_fd, F_DUPFD, OWNER_FD + 1) : -1;
	if ((fd != RUNNER_FD && dup2(fd, RUNNER_FD) < 0) || (high >= 0 && dup2(high, OWNER_FD) < 0))
		_exit(EXIT_FAILURE);
	closefrom(high >= 0 ? OWNER_FD + 1 : OWNER_FD);
	/* what is meant for the daemon: it ends when all is done */
	for (size_t i = 0; i < sizeof(FOR_THE_DAEMON) / sizeof(FOR_THE_DAEMON[0]); i++)
		(void)signal(FOR_THE_DAEMON[i], SIG_IGN);
	(void)signal(SIGCHLD, SIG_DFL);
	(void)prctl(PR_SET_NAME, "vpnd-runner", 0, 0, 0);
	self = (struct process){
		.setup = setup,
		.fd = RUNNER_FD,
		.owner = high >= 0 ? OWNER_FD : -1,
		.mark = {.fd = -1},
		.mark_until = mono_add_ms(loop_clock(), RUNNER_MARK_MS),
	};
	hook_queue_init(&self.queue);
	for (;;) {
		listen_to(&self);
		bool begun = take_mark(&self);
		if (begun && hook_queue_next(&self.queue, loop_clock(), &due, &at)) {
			do_next(&self, &due);
			continue;
		}
		if (begun && self.queue.ended)
			break;
		await(&self, -1, begun ? at : mono_add_ms(loop_clock(), MARK_POLL_MS));
	}
	runner_mark_drop(&self.mark);
	_exit(EXIT_SUCCESS);
}
