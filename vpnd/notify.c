/*
 * A datagram of lines KEY=VALUE to a Unix socket. It is sent without waiting: a service manager that does not read
 * must not stop the tunnel.
 *
 * Source: sd_notify(3).
 */
#include "vpnd/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	STATUS_BYTES = 512,
	WATCHDOG_MIN_US = 3000,
};

#define WATCHDOG_MAX_US \
	INT64_C(31536000000000) /* a year; infinity is the largest number there is */

static const char VARIABLE[] = "NOTIFY_SOCKET";
static const char WATCHDOG_TIME[] = "WATCHDOG_USEC", WATCHDOG_WHOM[] = "WATCHDOG_PID";

/* "/run/x" is a file, "@x" a name in the abstract space, where a zero byte stands in front. */
static int parse_address(const char *text, struct notify *notify)
{
	size_t len = strlen(text);

	if (text[0] != '/' && text[0] != '@')
		return -EAFNOSUPPORT;
	if (len < 2 || len >= sizeof(notify->address.sun_path))
		return -EINVAL;
	notify->address.sun_family = AF_UNIX;
	memcpy(notify->address.sun_path, text, len);
	notify->address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	if (text[0] == '@')
		notify->address.sun_path[0] = '\0';
	else
		notify->address_len++;
	return 0;
}

/* A whole number above zero. @return 0 for anything else */
static int64_t number_of(const char *text)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return 0;
	errno = 0;
	long long value = strtoll(text, &end, 10);
	return errno || *end ? 0 : value;
}

/* Without WATCHDOG_PID it is meant for whoever reads it. A period that no timer can keep is none. */
static int64_t watchdog_period_us(void)
{
	const char *pid = getenv(WATCHDOG_WHOM);
	int64_t period_us = number_of(getenv(WATCHDOG_TIME));

	if (pid && number_of(pid) != (int64_t)getpid())
		return 0;
	return period_us >= WATCHDOG_MIN_US && period_us <= WATCHDOG_MAX_US ? period_us : 0;
}

int notify_open(struct notify *notify)
{
	const char *text = getenv(VARIABLE);
	int err;

	*notify = (struct notify){.fd = -1, .watchdog_us = watchdog_period_us()};
	(void)unsetenv(WATCHDOG_TIME);
	(void)unsetenv(WATCHDOG_WHOM);
	if (!text || !*text) {
		notify->watchdog_us = 0;
		return 0;
	}
	err = parse_address(text, notify);
	(void)unsetenv(VARIABLE);
	if (err)
		return err;
	notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (notify->fd < 0)
		return -errno;
	/* Who may open the socket by its name today may not be allowed to when there is something to say. */
	notify->connected = connect(notify->fd, (const struct sockaddr *)&notify->address,
				    notify->address_len) == 0;
	return 0;
}

void notify_close(struct notify *notify)
{
	if (notify->fd >= 0)
		close(notify->fd);
	notify->fd = -1;
}

static void say(const struct notify *notify, const char *text)
{
	if (notify->fd < 0)
		return;
	if (notify->connected &&
		send(notify->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return;
	/* nobody was there yet, or somebody else is now */
	(void)sendto(notify->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL,
		(const struct sockaddr *)&notify->address, notify->address_len);
}

void notify_ready(const struct notify *notify)
{
	say(notify, "READY=1\n");
}

void notify_reloading(const struct notify *notify)
{
	struct timespec ts = {0};
	char text[80];

	/* The service manager compares it with its own clock, which is this one. */
	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	(void)snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIi64 "\n",
		(int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000);
	say(notify, text);
}

void notify_stopping(const struct notify *notify)
{
	say(notify, "STOPPING=1\n");
}

void notify_watchdog(const struct notify *notify)
{
	say(notify, "WATCHDOG=1\n");
}

void notify_status(const struct notify *notify, const char *format, ...)
{
	char text[STATUS_BYTES] = "STATUS=";
	size_t used = strlen(text);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text + used, sizeof(text) - used, format, args);
	va_end(args);
	for (char *at = text; *at; at++) {
		if (*at == '\n' || *at == '\r')
			*at = ' ';
	}
	say(notify, text);
}
