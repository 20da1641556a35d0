#include "vpnd/notify.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Listens where the variable will point to. */
static int listen_at(const char *text)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(text));
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	memcpy(sa.sun_path, text, strlen(text));
	if (text[0] == '@')
		sa.sun_path[0] = '\0';
	else
		len++;
	cr_assert_eq(bind(fd, (struct sockaddr *)&sa, len), 0);
	setenv("NOTIFY_SOCKET", text, 1);
	return fd;
}

static void expect(int fd, const char *want)
{
	char text[1024];
	ssize_t got = recv(fd, text, sizeof(text) - 1, 0);
	cr_assert(got > 0);
	text[got] = '\0';
	cr_assert_str_eq(text, want);
}

static void speak(int fd)
{
	struct notify notify;
	char text[1024];
	long long us;

	cr_assert_eq(notify_open(&notify), 0);
	cr_assert_eq(getenv("NOTIFY_SOCKET"), NULL, "others must not speak for us");
	notify_ready(&notify);
	expect(fd, "READY=1\n");
	notify_stopping(&notify);
	expect(fd, "STOPPING=1\n");
	notify_status(&notify, "%d peers\nup", 3);
	expect(fd, "STATUS=3 peers up");
	notify_reloading(&notify);
	ssize_t got = recv(fd, text, sizeof(text) - 1, 0);
	cr_assert(got > 0);
	text[got] = '\0';
	cr_assert_eq(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%lld\n", &us), 1);
	cr_assert(us > 0);
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	notify_status(&notify, "%s", text);
	got = recv(fd, text, sizeof(text), 0);
	cr_assert(got > 100 && got < 600);
	notify_close(&notify);
	notify_ready(&notify);
	cr_assert(recv(fd, text, sizeof(text), 0) < 0);
	close(fd);
}

Test(notify, speaks_to_a_file)
{
	char folder[] = "/tmp/notify-test-XXXXXX";
	char path[64];

	cr_assert(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/socket", folder);
	speak(listen_at(path));
	unlink(path);
	rmdir(folder);
}

Test(notify, speaks_to_an_abstract_name)
{
	char name[64];
	(void)snprintf(name, sizeof(name), "@notify-test-%d", (int)getpid());
	speak(listen_at(name));
}

Test(notify, without_a_listener)
{
	struct notify notify;
	char longest[300];

	unsetenv("NOTIFY_SOCKET");
	cr_assert_eq(notify_open(&notify), 0);
	notify_ready(&notify);
	notify_close(&notify);
	setenv("NOTIFY_SOCKET", "", 1);
	cr_assert_eq(notify_open(&notify), 0);
	setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
	cr_assert_eq(notify_open(&notify), 0);
	notify_ready(&notify);
	notify_close(&notify);
	setenv("NOTIFY_SOCKET", "vsock:2:1234", 1);
	cr_assert_eq(notify_open(&notify), -EAFNOSUPPORT);
	notify_ready(&notify);
	memset(longest, 'a', sizeof(longest));
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	setenv("NOTIFY_SOCKET", longest, 1);
	cr_assert_eq(notify_open(&notify), -EINVAL);
	setenv("NOTIFY_SOCKET", "@", 1);
	cr_assert_eq(notify_open(&notify), -EINVAL);
	notify_status(&notify, "x");
	notify_close(&notify);
}

static int64_t period(const char *usec, const char *pid)
{
	struct notify notify;

	setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
	setenv("WATCHDOG_USEC", usec, 1);
	if (pid)
		setenv("WATCHDOG_PID", pid, 1);
	cr_assert_eq(notify_open(&notify), 0);
	cr_assert_eq(getenv("WATCHDOG_USEC"), NULL, "it is meant for no other program");
	cr_assert_eq(getenv("WATCHDOG_PID"), NULL);
	notify_close(&notify);
	return notify.watchdog_us;
}

Test(notify, knows_how_often_to_show_a_sign_of_life)
{
	static const char *const WRONG[] = {"", "x", "-1", "+60000000", " 60000000", "60000000s",
		"0", "2999", "18446744073709551615", "99999999999999999999"};
	struct notify notify;
	char pid[32];
	int fd;

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	cr_assert_eq(period("60000000", pid), 60000000);
	cr_assert_eq(period("60000000", NULL), 60000000);
	cr_assert_eq(period("60000000", "1"), 0, "it is for another process");
	for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++)
		cr_assert_eq(period(WRONG[i], pid), 0, "%s", WRONG[i]);
	unsetenv("NOTIFY_SOCKET");
	setenv("WATCHDOG_USEC", "60000000", 1);
	cr_assert_eq(notify_open(&notify), 0);
	cr_assert_eq(notify.watchdog_us, 0, "nobody would hear it");

	(void)snprintf(pid, sizeof(pid), "@notify-test-%d", (int)getpid());
	fd = listen_at(pid);
	cr_assert_eq(notify_open(&notify), 0);
	notify_watchdog(&notify);
	expect(fd, "WATCHDOG=1\n");
	notify_close(&notify);
	close(fd);
}
