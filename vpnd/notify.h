/* What a service manager wants to know, by the protocol of sd_notify(3). Without NOTIFY_SOCKET all calls do nothing. */
#ifndef VPND_NOTIFY_H
#define VPND_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct notify {
	int fd; /* -1 = nobody listens */
	bool connected;
	socklen_t address_len;
	int64_t watchdog_us; /* silence after which the manager takes us for dead; 0 = it does not watch */
	struct sockaddr_un address;
};

/**
 * Takes the address, and how often the manager wants to hear of us, from the environment and removes them there, so that
 * programs started later do not speak for us.
 *
 * @return  0, also without the variable; -EINVAL or -EAFNOSUPPORT if it is unusable, other negative errno: the
 *          program may go on, nothing will be told
 */
int notify_open(struct notify *notify);

void notify_close(struct notify *notify);

/** Started, or done with a reload. */
void notify_ready(const struct notify *notify);

void notify_reloading(const struct notify *notify);
void notify_stopping(const struct notify *notify);

/** Still alive. */
void notify_watchdog(const struct notify *notify);

/** One line for `systemctl status`; line breaks become spaces, what is too long is cut. */
void notify_status(const struct notify *notify, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
