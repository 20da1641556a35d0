/*
 * What a service manager hears of the daemon: that it is up, that it reloads, that it ends, and every now and then that it
 * is alive. Without a manager none of this does anything, and nothing else depends on it.
 *
 * "Alive" is told by a timer of the loop: a loop that hangs falls silent, and the manager starts the daemon anew. The loop
 * may rightly be busy with one thing for as long as BROKER_HOOK_MS (a hook that is waited for) and BROKER_ANSWER_MS (a
 * helper that hangs), which the manager must not take for its end. So it is told three times a period: with the unit's 60 s
 * two turns may be late before the third one counts.
 */
#include "vpnd/broker.h"
#include "vpnd/control_socket.h"
#include "vpnd/daemon.h"

#include <string.h>

enum {
	TURNS_A_PERIOD = 3,
};

static void arm(struct daemon *daemon, struct mono now)
{
	if (daemon->notify.watchdog_us > 0)
		loop_timer_arm(daemon->loop, &daemon->alive,
			mono_add_us(now, daemon->notify.watchdog_us / TURNS_A_PERIOD));
}

static void on_alive(struct loop_timer *timer, struct mono now)
{
	struct daemon *daemon = list_entry(timer, struct daemon, alive);

	notify_watchdog(&daemon->notify);
	arm(daemon, now);
}

void daemon_manager_init(struct daemon *daemon)
{
	const struct log *log = &daemon->logger->log;
	int error = notify_open(&daemon->notify);

	loop_timer_init(&daemon->alive, on_alive);
	if (error < 0)
		log_warn(log, "NOTIFY_SOCKET cannot be used: %s", strerror(-error));
	int64_t period_us = daemon->notify.watchdog_us;
	if (period_us > 0 && period_us < (BROKER_HOOK_MS + BROKER_ANSWER_MS) * INT64_C(1500))
		log_warn(log,
			"the service manager takes %lld s of silence for a crash; a hook may take "
			"%d s",
			(long long)(period_us / 1000000), BROKER_HOOK_MS / 1000);
}

void daemon_manager_tell_socket(struct daemon *daemon, const char *usual)
{
	const struct log *log = &daemon->logger->log;
	const char *path = control_server_socket(daemon->control)->path;

	if (strcmp(path, usual) == 0)
		log_info(log, "the control socket is the service manager's");
	else
		log_warn(log,
			"the service manager passed the control socket %s, so there is none at %s; "
			"kcpctl --control finds it",
			path[0] ? path : "(without a path)", usual);
}

static void tell_status(const struct daemon *daemon)
{
	notify_status(&daemon->notify, "Network %s on %s, %zu peers", daemon->config->name,
		daemon->device.tun.name, daemon->config->peer_count);
}

void daemon_manager_begin(struct daemon *daemon)
{
	tell_status(daemon);
	notify_ready(&daemon->notify);
	arm(daemon, loop_now(daemon->loop));
}

void daemon_manager_reloaded(struct daemon *daemon)
{
	tell_status(daemon);
	notify_ready(&daemon->notify);
}

void daemon_manager_end(struct daemon *daemon)
{
	loop_timer_disarm(daemon->loop, &daemon->alive);
	notify_stopping(&daemon->notify);
}
