/*
 * A real runner with real programs: /bin/sh here writes a line each time it is run. Nothing is timed narrowly; what is
 * waited for has a deadline of a minute.
 */
#include "config/config.h"
#include "core/log.h"
#include "vpnd/fault.h"
#include "vpnd/loop.h"
#include "vpnd/runner.h"
#include "vpnd/runner_mark.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct bench {
	char folder[64];
	char ran[96];  /* the file of lines */
	char said[96]; /* the log */
	char network[32];
	struct config *config;
	struct log log;
	struct runner runner;
};

/* In the runner's process, so into a file. */
static void note(void *ctx, enum log_level level, const char *text)
{
	const struct bench *b = ctx;
	FILE *file = fopen(b->said, "a");

	(void)level;
	if (file) {
		(void)fprintf(file, "%s\n", text);
		(void)fclose(file);
	}
}

static bool has_said(const struct bench *b, const char *what)
{
	char line[512];
	bool found = false;
	FILE *file = fopen(b->said, "r");

	while (file && !found && fgets(line, sizeof(line), file))
		found = strstr(line, what) != NULL;
	if (file)
		(void)fclose(file);
	return found;
}

/* @script  what each hook does, after it has written its line */
static void configure(struct bench *b, const char *script)
{
	static struct config_report report;
	static const char *const HOOKS[] = {"pre_up", "up", "down", "peer_up", "peer_down"};
	char text[4096];
	int len = snprintf(text, sizeof(text),
		"version: 1\nwire: kcp-go\nkcp_go: {key: secret, allow_unauthenticated: true}\n"
		"identity: {name: %s}\ninterface: {name: dev0}\nhooks:\n",
		b->network);

	for (size_t i = 0; i < sizeof(HOOKS) / sizeof(HOOKS[0]); i++)
		len += snprintf(text + len, sizeof(text) - (size_t)len,
			"  %s: [/bin/sh, -c, 'echo \"$VPND_HOOK $VPND_PEER\" >>%s; %s']\n",
			HOOKS[i], b->ran, script);
	cr_assert_eq(config_parse_text("t.yaml", text, strlen(text), NULL, &b->config, &report), 0,
		"%s", report.errors[0].text);
}

static void start(struct bench *b)
{
	const struct runner_setup setup = {b->config, "dev0", b->folder, &b->log};

	cr_assert_eq(runner_start(&b->runner, &setup), 0);
	cr_assert_geq(b->runner.fd, 0);
}

static void prepare(struct bench *b, const char *script)
{
	memset(b, 0, sizeof(*b));
	(void)snprintf(b->folder, sizeof(b->folder), "/tmp/runner-test-XXXXXX");
	cr_assert(mkdtemp(b->folder));
	(void)snprintf(b->ran, sizeof(b->ran), "%s/ran", b->folder);
	(void)snprintf(b->said, sizeof(b->said), "%s/said", b->folder);
	(void)snprintf(b->network, sizeof(b->network), "net%d", (int)getpid());
	b->log = (struct log){note, b, LOG_LEVEL_DEBUG};
	configure(b, script);
}

static void teardown(struct bench *b)
{
	char command[128];

	runner_finish(&b->runner);
	config_free(b->config);
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", b->folder);
	cr_assert_eq(system(command), 0);
}

/* How many lines say exactly that. */
static int count(const struct bench *b, const char *want)
{
	char line[128];
	int found = 0;
	FILE *file = fopen(b->ran, "r");

	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		found += strcmp(line, want) == 0;
	}
	if (file)
		(void)fclose(file);
	return found;
}

static void wait_for(const struct bench *b, const char *what, int times)
{
	struct mono until = mono_add_ms(loop_clock(), 60000);

	while (count(b, what) < times) {
		cr_assert(mono_before(loop_clock(), until), "%s did not run", what);
		(void)poll(NULL, 0, 5);
	}
	cr_assert_eq(count(b, what), times, "%s", what);
}

static int tell(struct bench *b, enum config_hook hook, const char *peer)
{
	struct runner_order order = {.verb = RUNNER_HOOK, .hook = hook};

	strcpy(order.peer, peer);
	return runner_tell(&b->runner, &order);
}

static void tell_surely(struct bench *b, enum config_hook hook, const char *peer)
{
	int error;

	while ((error = tell(b, hook, peer)) == -EBUSY)
		(void)poll(NULL, 0, 1);
	cr_assert_eq(error, 0);
}

static int do_pre_up(struct bench *b, struct fault *fault)
{
	struct runner_order order = {.verb = RUNNER_HOOK, .hook = CONFIG_HOOK_PRE_UP};

	return runner_do(&b->runner, &order, fault);
}

Test(runner, runs_hooks_in_their_order_and_undoes_at_the_end)
{
	struct bench b;
	struct fault fault = {0};

	prepare(&b, "exit 0");
	start(&b);
	cr_assert_eq(do_pre_up(&b, &fault), 0, "%s", fault.text);
	cr_assert_eq(count(&b, "pre_up "), 1, "it was waited for");
	tell_surely(&b, CONFIG_HOOK_UP, "");
	tell_surely(&b, CONFIG_HOOK_PEER_UP, "a");
	wait_for(&b, "peer_up a", 1);
	tell_surely(&b, CONFIG_HOOK_PEER_DOWN, "b"); /* nobody */
	runner_finish(&b.runner);
	cr_assert_eq(count(&b, "up "), 1);
	cr_assert_eq(count(&b, "down "), 1);
	cr_assert_eq(count(&b, "peer_down b"), 0);
	cr_assert_not(runner_mark_exists(b.folder, b.network), "nothing is left");
	teardown(&b);
}

Test(runner, a_pre_up_that_fails_is_told)
{
	struct bench b;
	struct fault fault = {0};

	prepare(&b, "exit 3");
	start(&b);
	cr_assert_eq(do_pre_up(&b, &fault), -ECANCELED);
	cr_assert_str_eq(fault.code, "E-HOOK-1");
	cr_assert(strstr(fault.text, "3"));
	teardown(&b);
}

/* However many orders come while a program hangs: who gives them waits for none, and the last state wins. */
Test(runner, orders_never_wait_for_a_program)
{
	struct bench b;
	char gate[96], script[160], name[16];

	memset(&b, 0, sizeof(b));
	(void)snprintf(gate, sizeof(gate), "/tmp/runner-gate-%d", (int)getpid());
	(void)unlink(gate);
	(void)snprintf(script, sizeof(script), "while ! test -e %s; do sleep 0.02; done", gate);
	prepare(&b, script);
	start(&b);
	tell_surely(&b, CONFIG_HOOK_PEER_UP, "first");
	wait_for(&b, "peer_up first", 1); /* and hangs */
	struct mono began = loop_clock();
	int64_t longest_us = 0;
	for (int i = 0; i < 2000; i++) {
		(void)snprintf(name, sizeof(name), "p%d", i % 20);
		struct mono then = loop_clock();
		(void)tell(&b, i / 20 % 2 ? CONFIG_HOOK_PEER_DOWN : CONFIG_HOOK_PEER_UP, name);
		int64_t took_us = mono_diff_us(loop_clock(), then);
		longest_us = took_us > longest_us ? took_us : longest_us;
	}
	/* an order that waits for the program to make room takes 100 ms or more, and of 2000 nearly all */
	cr_assert_lt(
		mono_diff_us(loop_clock(), began), 20 * 1000000, "%lld", (long long)longest_us);
	for (int i = 0; i < 20; i++) {
		(void)snprintf(name, sizeof(name), "p%d", i);
		tell_surely(&b, i % 2 ? CONFIG_HOOK_PEER_UP : CONFIG_HOOK_PEER_DOWN, name);
	}
	cr_assert_not(has_said(&b, "took more than"), "all were taken while it hangs");
	cr_assert_eq(count(&b, "peer_up p1"), 0, "one at a time");
	int fd = open(gate, O_WRONLY | O_CREAT, 0600);
	cr_assert_geq(fd, 0);
	close(fd);
	for (int i = 1; i < 20; i += 2) {
		(void)snprintf(script, sizeof(script), "peer_up p%d", i);
		wait_for(&b, script, 1);
	}
	cr_assert_eq(count(&b, "peer_up p0"), 0, "it came and went while nobody could be told");
	cr_assert_eq(count(&b, "peer_down p0"), 0);
	teardown(&b);
	(void)unlink(gate);
}

/* Peers' programs that hang do not keep the link from coming up, nor the end: all of these would take 80 s. */
Test(runner, the_link_goes_before_peers)
{
	struct bench b;
	struct fault fault = {0};

	prepare(&b, "case $VPND_HOOK in peer_*) sleep 600;; esac");
	start(&b);
	for (int i = 0; i < 8; i++)
		tell_surely(&b, CONFIG_HOOK_PEER_UP, (const char[]){(char)('a' + i), 0});
	wait_for(&b, "peer_up a", 1);
	cr_assert_eq(do_pre_up(&b, &fault), 0, "%s", fault.text);
	cr_assert(has_said(&b, "the link cannot wait"));
	cr_assert_not(has_said(&b, "took more than"), "its time was not over");
	tell_surely(&b, CONFIG_HOOK_UP, "");
	runner_finish(&b.runner);
	cr_assert_eq(count(&b, "down "), 1);
	teardown(&b);
}

struct family {
	int worker_alive; /* its write end closes with the worker */
	pid_t worker;
};

/* A worker with a helper with a runner, whose link is up. The helper dies without a word, the worker when it is told. */
static void start_family(struct bench *b, struct family *family, bool helper_only)
{
	int end[2], ready[2];
	char byte = 0;

	cr_assert_eq(pipe2(end, O_CLOEXEC), 0);
	cr_assert_eq(pipe2(ready, O_CLOEXEC), 0);
	family->worker = fork();
	if (family->worker == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* with a test that failed */
		close(end[1]);
		if (fork() == 0) { /* the helper */
			close(end[0]);
			start(b);
			tell_surely(b, CONFIG_HOOK_UP, "");
			wait_for(b, "up ", 1);
			ssize_t said = write(ready[1], &byte, 1);
			(void)said;
			if (!helper_only)
				(void)pause();
			_exit(0);
		}
		ssize_t got = read(end[0], &byte, 1); /* until the test closes it */
		(void)got;
		_exit(0);
	}
	close(end[0]);
	close(ready[1]);
	cr_assert_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	family->worker_alive = end[1];
}

Test(runner, a_helper_that_dies_leaves_it_to_the_runner)
{
	struct bench b;
	struct family family;

	prepare(&b, "exit 0");
	start_family(&b, &family, true);
	for (int i = 0; i < 20; i++) {
		cr_assert_eq(count(&b, "down "), 0, "the tunnel works on");
		(void)poll(NULL, 0, 5);
	}
	close(family.worker_alive);
	cr_assert_eq(waitpid(family.worker, NULL, 0), family.worker);
	wait_for(&b, "down ", 1);
	b.runner.fd = -1;
	teardown(&b);
}

/* As a service manager does that kills all at once: then the next start does it, and before anything else. */
Test(runner, the_next_one_undoes_what_a_crash_left)
{
	struct bench b;
	struct fault fault = {0};
	struct runner_mark mark;
	char line[32];

	prepare(&b, "exit 0");
	cr_assert_eq(runner_mark_take(&mark, b.folder, b.network), 0);
	runner_mark_write(&mark, true, false);
	close(mark.fd); /* it was killed */
	start(&b);
	cr_assert_eq(do_pre_up(&b, &fault), 0, "%s", fault.text);
	cr_assert_eq(count(&b, "down "), 1);
	FILE *file = fopen(b.ran, "r");
	cr_assert(file && fgets(line, sizeof(line), file));
	cr_assert_str_eq(line, "down \n", "first of all");
	(void)fclose(file);
	runner_finish(&b.runner);
	cr_assert_eq(count(&b, "down "), 2);
	start(&b);
	tell_surely(&b, CONFIG_HOOK_PEER_UP, "a");
	wait_for(&b, "peer_up a", 1);
	cr_assert_eq(count(&b, "down "), 2, "once");
	teardown(&b);
}

Test(runner, waits_for_the_last_one_to_end)
{
	struct bench b;
	struct runner_mark mark;

	prepare(&b, "exit 0");
	cr_assert_eq(runner_mark_take(&mark, b.folder, b.network), 0);
	struct runner_mark second;
	cr_assert_eq(runner_mark_take(&second, b.folder, b.network), -EAGAIN);
	start(&b);
	tell_surely(&b, CONFIG_HOOK_UP, "");
	for (int i = 0; i < 20; i++) {
		cr_assert_eq(count(&b, "up "), 0, "`down` of the last one may still run");
		(void)poll(NULL, 0, 5);
	}
	runner_mark_drop(&mark);
	wait_for(&b, "up ", 1);
	teardown(&b);
}

Test(runner, programs_get_no_descriptors)
{
	struct bench b;
	char script[128];

	prepare(&b, "exit 0");
	config_free(b.config);
	(void)snprintf(script, sizeof(script), "ls /proc/self/fd >%s/fds", b.folder);
	configure(&b, script);
	start(&b);
	tell_surely(&b, CONFIG_HOOK_UP, "");
	wait_for(&b, "up ", 1);
	runner_finish(&b.runner);
	char path[96], line[32];
	(void)snprintf(path, sizeof(path), "%s/fds", b.folder);
	FILE *file = fopen(path, "r");
	cr_assert(file);
	while (fgets(line, sizeof(line), file))
		cr_assert_leq(atoi(line), 3, "0 to 2, and the one that ls has opened");
	(void)fclose(file);
	teardown(&b);
}

/* However trustworthy it was when the configuration was read. */
Test(runner, a_program_that_others_may_write_is_not_run)
{
	struct bench b;
	static struct config_report report;
	struct fault fault = {0};
	char path[96], text[512];

	prepare(&b, "exit 0");
	config_free(b.config);
	(void)snprintf(path, sizeof(path), "%s/hook", b.folder);
	FILE *file = fopen(path, "w");
	cr_assert(file);
	(void)fprintf(file, "#!/bin/sh\necho pre_up >>%s\n", b.ran);
	cr_assert_eq(fclose(file), 0);
	cr_assert_eq(chmod(path, 0755), 0);
	(void)snprintf(text, sizeof(text),
		"version: 1\nwire: kcp-go\nkcp_go: {key: secret, allow_unauthenticated: true}\n"
		"identity: {name: %s}\ninterface: {name: dev0}\nhooks: {pre_up: [%s]}\n",
		b.network, path);
	cr_assert_eq(config_parse_text("t.yaml", text, strlen(text), NULL, &b.config, &report), 0);
	start(&b);
	cr_assert_eq(do_pre_up(&b, &fault), 0, "%s", fault.text);
	cr_assert_eq(count(&b, "pre_up"), 1);
	cr_assert_eq(chmod(path, 0777), 0);
	cr_assert_eq(do_pre_up(&b, &fault), -EPERM);
	cr_assert_eq(count(&b, "pre_up"), 1);
	teardown(&b);
}
