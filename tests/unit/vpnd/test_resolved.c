/* What systemd-resolved is told, by a bus of this test that answers as it likes, or not at all. */
#include "config/config.h"
#include "vpnd/dbus_message.h"
#include "vpnd/fault.h"
#include "vpnd/loop.h"
#include "vpnd/resolved.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

struct bench {
	char folder[64];
	char path[96];
	char calls[96]; /* a file with a line for each */
	int listener;
	pid_t bus;
	struct config *config;
	struct fault fault;
};

static void setup(struct bench *b, int backlog)
{
	static const char TEXT[] =
		"version: 1\nwire: kcp-go\nkcp_go: {key: secret, allow_unauthenticated: true}\n"
		"interface: {name: dev0}\ndns: {servers: [10.0.0.1], search: [example.net]}\n";
	static struct config_report report;
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memset(b, 0, sizeof(*b));
	(void)snprintf(b->folder, sizeof(b->folder), "/tmp/resolved-test-XXXXXX");
	cr_assert(mkdtemp(b->folder));
	(void)snprintf(b->path, sizeof(b->path), "%s/bus", b->folder);
	(void)snprintf(b->calls, sizeof(b->calls), "%s/calls", b->folder);
	cr_assert_eq(config_parse_text("t.yaml", TEXT, strlen(TEXT), NULL, &b->config, &report), 0);
	strcpy(address.sun_path, b->path);
	b->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(b->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(b->listener, backlog), 0);
	resolved_set_bus(b->path);
}

static void teardown(struct bench *b)
{
	char command[96];

	if (b->bus > 0) {
		(void)kill(b->bus, SIGKILL);
		(void)waitpid(b->bus, NULL, 0);
	}
	close(b->listener);
	config_free(b->config);
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", b->folder);
	cr_assert_eq(system(command), 0);
}

static void take(int fd, uint8_t *at, size_t len)
{
	while (len > 0) {
		ssize_t n = read(fd, at, len);
		if (n <= 0)
			_exit(0);
		at += n;
		len -= (size_t)n;
	}
}

static void say(int fd, const void *data, size_t len)
{
	if (write(fd, data, len) != (ssize_t)len)
		_exit(1);
}

/* An answer to the call with that number; an error has a name of 3 letters. */
static void say_answer(int fd, const uint8_t serial[4], bool error)
{
	uint8_t bytes[48] = {'l', error ? 3 : 2, 1, 1, 0, 0, 0, 0, 9, 0, 0, 0, 8, 0, 0,
		0, /* field */
		5, 1, 'u', 0};

	memcpy(bytes + 20, serial, 4);
	if (error) {
		static const uint8_t NAME[] = {4, 1, 's', 0, 3, 0, 0, 0, 'a', '.', 'b', 0};
		memcpy(bytes + 24, NAME, sizeof(NAME));
		bytes[12] = 8 + sizeof(NAME);
	}
	say(fd, bytes, error ? 40 : 24);
}

/* @refused  a call that is answered with an error; @ignored  one that is not answered */
static void be_bus(const struct bench *b, const char *refused, const char *ignored)
{
	static const char *const MEMBERS[] = {
		"Hello", "SetLinkDNS", "SetLinkDomains", "SetLinkDefaultRoute", "RevertLink"};
	static uint8_t bytes[DBUS_BYTES_MAX];
	FILE *calls = fopen(b->calls, "w");

	for (int fd; calls && (fd = accept(b->listener, NULL, NULL)) >= 0; close(fd)) {
		pid_t pid = fork();
		if (pid > 0)
			continue;
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int lines = 0; lines < 2;) {
			take(fd, bytes, 1);
			lines += bytes[0] == '\n';
			if (bytes[0] == '\n' && lines == 1)
				say(fd, "OK 1\r\n", 6);
		}
		for (;;) {
			take(fd, bytes, DBUS_HEADER_BYTES);
			size_t len = dbus_message_bytes(bytes);
			take(fd, bytes + DBUS_HEADER_BYTES, len - DBUS_HEADER_BYTES);
			const char *member = "";
			for (size_t i = 0; i < sizeof(MEMBERS) / sizeof(MEMBERS[0]); i++) {
				size_t with_end = strlen(MEMBERS[i]) + 1;
				if (memmem(bytes, len, MEMBERS[i], with_end))
					member = MEMBERS[i];
			}
			(void)fprintf(calls, "%s\n", member);
			(void)fflush(calls);
			if (ignored && strcmp(member, ignored) == 0)
				continue;
			say_answer(fd, bytes + 8, refused && strcmp(member, refused) == 0);
		}
	}
	_exit(0);
}

static void start_bus(struct bench *b, const char *refused, const char *ignored)
{
	b->bus = fork();
	if (b->bus == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* with a test that failed */
		be_bus(b, refused, ignored);
	}
}

static void expect_calls(const struct bench *b, const char *want)
{
	char text[512] = "";
	FILE *file = fopen(b->calls, "r");
	size_t len = file ? fread(text, 1, sizeof(text) - 1, file) : 0;

	text[len] = '\0';
	cr_assert(file);
	(void)fclose(file);
	cr_assert_str_eq(text, want);
}

Test(resolved, is_told_and_untold)
{
	struct bench b;

	setup(&b, 8);
	start_bus(&b, NULL, NULL);
	cr_assert_eq(resolved_set(b.config, 7, &b.fault), 0, "%s", b.fault.text);
	cr_assert_eq(resolved_unset(7, &b.fault), 0);
	expect_calls(
		&b, "Hello\nSetLinkDNS\nSetLinkDomains\nSetLinkDefaultRoute\nHello\nRevertLink\n");
	teardown(&b);
}

Test(resolved, takes_all_or_nothing)
{
	struct bench b;

	setup(&b, 8);
	start_bus(&b, "SetLinkDomains", NULL);
	cr_assert_eq(resolved_set(b.config, 7, &b.fault), -EREMOTEIO);
	cr_assert_str_eq(b.fault.code, "E-DNS-1");
	cr_assert(strstr(b.fault.text, "a.b"), "%s", b.fault.text);
	expect_calls(&b, "Hello\nSetLinkDNS\nSetLinkDomains\nRevertLink\n");
	teardown(&b);
}

/* Nobody accepts and the queue is full: connect() would wait for ever. Or it accepts and says nothing. */
Test(resolved, a_bus_that_hangs_is_given_up)
{
	struct bench b;
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	setup(&b, 0);
	strcpy(address.sun_path, b.path);
	for (;;) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
			break;
	}
	cr_assert_eq(errno, EAGAIN);
	(void)alarm(120); /* the test ends by a signal rather than never */
	struct mono began = loop_clock();
	cr_assert_eq(resolved_set(b.config, 7, &b.fault), -ETIME);
	cr_assert_str_eq(b.fault.code, "E-DNS-1");
	cr_assert_geq(mono_diff_us(loop_clock(), began), RESOLVED_MS * 1000);
	teardown(&b);
	setup(&b, 8);
	start_bus(&b, NULL, "SetLinkDNS");
	cr_assert_eq(resolved_set(b.config, 7, &b.fault), -ETIME);
	teardown(&b);
}

Test(resolved, nobody_there_is_no_failure)
{
	struct bench b;

	setup(&b, 8);
	close(b.listener);
	cr_assert_eq(resolved_set(b.config, 7, &b.fault), -ENOENT, "nobody listens");
	cr_assert_eq(unlink(b.path), 0);
	cr_assert_eq(resolved_set(b.config, 7, &b.fault), -ENOENT, "nothing there");
	cr_assert_eq(b.fault.err, 0);
	b.listener = open("/dev/null", O_RDONLY);
	teardown(&b);
}
