/*
 * Deadlines live in one timer wheel. The wait itself ends at the earliest (epoll_pwait2(), Linux 5.11), so a deadline costs
 * the kernel something only if there is nothing to do before it. Where that call is missing a timer descriptor stands in: it
 * is set only when the earliest deadline is before the one it is set for, so a deadline that moves away, as a retransmission
 * time-out does with each packet, costs no system call but one early wake-up that sets the descriptor right.
 *
 * Removal inside a round: the kernel has already told the round's events when the first callback
 * runs, so removing a watch also strikes it out of the rest of the list. Nothing is kept about a
 * watch but the pointer in epoll, so the owner may free it at once.
 *
 * A suspend shows as a difference between two clocks, of which one goes on meanwhile; both are read once a round. So that
 * there is a round, a second timer descriptor, set for the far future of the wall clock, asks to be cancelled when that
 * clock jumps, as it does when the host wakes up.
 *
 * Signals are blocked and read from a descriptor: no code runs in a signal handler.
 */
#include "vpnd/loop.h"

#include "core/list.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
	SLEEP_MIN_US =
		500000, /* shorter than a suspend can be; the clocks are not read at the same instant */
	EVENTS_PER_ROUND = 64, /* what is ready beyond that comes in the next round */
};

struct loop {
	int epoll_fd;
	bool stopped;
	struct mono now;
	bool waits_exactly;	/* epoll_pwait2() is there */
	struct mono rest_until; /* no round begins before */
	bool behind;		/* this round left something unread */
	struct mono set_for;	/* what the timer descriptor is set for; MONO_NEVER = not set */
	uint64_t rounds;

	struct epoll_event ready[EVENTS_PER_ROUND];
	int ready_count; /* of the round that runs, else 0 */
	int ready_next;	 /* the first not yet served */

	struct loop_watch timer_watch;
	struct loop_watch wake_watch; /* tells that the wall clock jumped */
	struct loop_watch signal_watch;
	loop_hook_fn on_resume;
	void *on_resume_ctx;
	int64_t (*slept_us)(void);
	int64_t slept_before_us;
	loop_signal_fn on_signal;
	void *signal_ctx;
	loop_hook_fn after_round;
	void *after_round_ctx;
	struct wheel wheel;
};

struct mono loop_clock(void)
{
	struct timespec ts = {0};
	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return mono_at_us((int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000);
}

/* Read in this order: time that passes between makes it too short, never too long. */
static int64_t slept_us(void)
{
	struct timespec with = {0}, without = {0};
	(void)clock_gettime(CLOCK_BOOTTIME, &with);
	(void)clock_gettime(CLOCK_MONOTONIC, &without);
	return (int64_t)(with.tv_sec - without.tv_sec) * 1000000 +
	       (with.tv_nsec - without.tv_nsec) / 1000;
}

static void set_wake_fd(struct loop *loop)
{
	const struct itimerspec never = {.it_value = {.tv_sec = (time_t)1 << 33}};

	(void)timerfd_settime(
		loop->wake_watch.fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL);
}

static void on_wake_fd(struct loop_watch *watch, uint32_t events)
{
	struct loop *loop = list_entry(watch, struct loop, wake_watch);
	uint64_t expirations;

	(void)events;
	if (read(watch->fd, &expirations, sizeof(expirations)) < 0 && errno != EAGAIN)
		set_wake_fd(
			loop); /* ECANCELED: the clock jumped; what that means is looked at after the events */
}

static void on_timer_fd(struct loop_watch *watch, uint32_t events)
{
	struct loop *loop = list_entry(watch, struct loop, timer_watch);
	uint64_t expirations;

	(void)events;
	if (read(watch->fd, &expirations, sizeof(expirations)) > 0)
		loop->set_for = MONO_NEVER;
}

static void on_signal_fd(struct loop_watch *watch, uint32_t events)
{
	struct loop *loop = list_entry(watch, struct loop, signal_watch);
	struct signalfd_siginfo info;

	(void)events;
	while (read(watch->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		loop->on_signal(loop->signal_ctx, (int)info.ssi_signo);
}

/* Asks the kernel by a wait that ends at once. */
static bool can_wait_exactly(int epoll_fd)
{
	const struct timespec none = {0};
	struct epoll_event event;

	return epoll_pwait2(epoll_fd, &event, 1, &none, NULL) >= 0;
}

int loop_new(struct loop **ret_loop)
{
	int err;
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return -ENOMEM;
	loop->now = loop_clock();
	loop->set_for = MONO_NEVER;
	wheel_init(&loop->wheel, loop->now);
	loop->signal_watch.fd = -1;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		err = -errno;
		goto free_loop;
	}
	loop->waits_exactly = can_wait_exactly(loop->epoll_fd);
	/* Waits end late by this much; 50 us otherwise, which is more than a path's round trip may be. */
	(void)prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	loop->timer_watch.fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (loop->timer_watch.fd < 0) {
		err = -errno;
		goto close_epoll;
	}
	loop->timer_watch.on_event = on_timer_fd;
	err = loop_watch_add(loop, &loop->timer_watch, EPOLLIN);
	if (err)
		goto close_timer;
	/* Without it a suspend is noticed with the next event. */
	loop->wake_watch.fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	loop->wake_watch.on_event = on_wake_fd;
	if (loop->wake_watch.fd >= 0) {
		set_wake_fd(loop);
		(void)loop_watch_add(loop, &loop->wake_watch, EPOLLIN);
	}
	*ret_loop = loop;
	return 0;
close_timer:
	close(loop->timer_watch.fd);
close_epoll:
	close(loop->epoll_fd);
free_loop:
	free(loop);
	return err;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	if (loop->signal_watch.fd >= 0)
		close(loop->signal_watch.fd);
	if (loop->wake_watch.fd >= 0)
		close(loop->wake_watch.fd);
	close(loop->timer_watch.fd);
	close(loop->epoll_fd);
	free(loop);
}

int loop_catch_signals(struct loop *loop, loop_signal_fn on_signal, void *ctx)
{
	sigset_t set;
	int err;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	err = -pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (err)
		return err;
	loop->on_signal = on_signal;
	loop->signal_ctx = ctx;
	if (loop->signal_watch.fd >= 0)
		return 0;
	loop->signal_watch.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (loop->signal_watch.fd < 0)
		return -errno;
	loop->signal_watch.on_event = on_signal_fd;
	err = loop_watch_add(loop, &loop->signal_watch, EPOLLIN);
	if (err) {
		close(loop->signal_watch.fd);
		loop->signal_watch.fd = -1;
	}
	return err;
}

void loop_set_after_round(struct loop *loop, loop_hook_fn hook, void *ctx)
{
	loop->after_round = hook;
	loop->after_round_ctx = ctx;
}

void loop_set_on_resume(struct loop *loop, loop_hook_fn hook, void *ctx, int64_t (*clock)(void))
{
	loop->on_resume = hook;
	loop->on_resume_ctx = ctx;
	loop->slept_us = clock ? clock : slept_us;
	loop->slept_before_us = loop->slept_us();
}

static void look_for_sleep(struct loop *loop)
{
	if (!loop->on_resume)
		return;
	int64_t slept = loop->slept_us();
	if (slept <= loop->slept_before_us)
		return;
	bool resumed = slept - loop->slept_before_us >= SLEEP_MIN_US;
	loop->slept_before_us = slept;
	if (resumed)
		loop->on_resume(loop->on_resume_ctx, loop->now);
}

static int control(struct loop *loop, int operation, struct loop_watch *watch, uint32_t events)
{
	struct epoll_event event = {.events = events, .data = {.ptr = watch}};

	if (epoll_ctl(loop->epoll_fd, operation, watch->fd, &event) < 0)
		return -errno;
	watch->events = events;
	return 0;
}

int loop_watch_add(struct loop *loop, struct loop_watch *watch, uint32_t events)
{
	assert(watch->on_event && !watch->added);
	int err = control(loop, EPOLL_CTL_ADD, watch, events);
	if (!err)
		watch->added = true;
	return err;
}

int loop_watch_modify(struct loop *loop, struct loop_watch *watch, uint32_t events)
{
	if (!watch->added)
		return -ENOENT;
	if (watch->events == events)
		return 0;
	return control(loop, EPOLL_CTL_MOD, watch, events);
}

void loop_watch_remove(struct loop *loop, struct loop_watch *watch)
{
	if (!watch->added)
		return;
	(void)control(loop, EPOLL_CTL_DEL, watch, 0);
	watch->added = false;
	for (int i = loop->ready_next; i < loop->ready_count; i++) {
		if (loop->ready[i].data.ptr == watch)
			loop->ready[i].data.ptr = NULL;
	}
}

void loop_timer_init(
	struct loop_timer *timer, void (*on_due)(struct loop_timer *timer, struct mono now))
{
	wheel_timer_init(&timer->timer);
	timer->on_due = on_due;
}

void loop_timer_arm(struct loop *loop, struct loop_timer *timer, struct mono at)
{
	wheel_arm(&loop->wheel, &timer->timer, at);
}

void loop_timer_disarm(struct loop *loop, struct loop_timer *timer)
{
	wheel_disarm(&loop->wheel, &timer->timer);
}

struct mono loop_now(const struct loop *loop)
{
	return loop->now;
}

/* Sets the timer descriptor if a deadline lies before what it is set for. */
static int set_timer_fd(struct loop *loop)
{
	struct mono next = wheel_next(&loop->wheel);
	struct itimerspec spec = {0};

	if (!mono_before(next, loop->set_for))
		return 0;
	if (next.us > 0) {
		spec.it_value.tv_sec = (time_t)(next.us / 1000000);
		spec.it_value.tv_nsec = (long)(next.us % 1000000) * 1000;
	}
	if (spec.it_value.tv_sec == 0 && spec.it_value.tv_nsec == 0)
		spec.it_value.tv_nsec = 1; /* zero would disarm it */
	if (timerfd_settime(loop->timer_watch.fd, TFD_TIMER_ABSTIME, &spec, NULL) < 0)
		return -errno;
	loop->set_for = next;
	return 0;
}

/* Timers armed for `now` or earlier by a callback are left to the next round, so that a round ends.
 */
static int run_timers(struct loop *loop)
{
	struct wheel_timer *due;
	size_t most = loop->wheel.count;
	int served = 0;

	while (most-- > 0 && (due = wheel_pop_due(&loop->wheel, loop->now)) != NULL) {
		struct loop_timer *timer = list_entry(due, struct loop_timer, timer);
		timer->on_due(timer, loop->now);
		served++;
	}
	return served;
}

void loop_use_timer_fd(struct loop *loop)
{
	loop->waits_exactly = false;
}

struct mono loop_next_timer(const struct loop *loop)
{
	return wheel_next(&loop->wheel);
}

void loop_behind(struct loop *loop)
{
	loop->behind = true;
}

void loop_rest_until(struct loop *loop, struct mono at)
{
	loop->rest_until = loop->behind ? loop->now : at;
	loop->behind = false;
}

static void rest(const struct loop *loop)
{
	struct timespec at = {0};

	if (!mono_before(loop->now, loop->rest_until))
		return;
	at.tv_sec = (time_t)(loop->rest_until.us / 1000000);
	at.tv_nsec = (long)(loop->rest_until.us % 1000000) * 1000;
	/* Signals are blocked; should one come through, the round begins early. */
	(void)clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &at, NULL);
}

/* @return  the number of events, or a negative errno */
static int wait_until_deadline(struct loop *loop)
{
	struct mono next = wheel_next(&loop->wheel);
	struct timespec left = {0};

	if (mono_is_never(next))
		return epoll_wait(loop->epoll_fd, loop->ready, EVENTS_PER_ROUND, -1);
	int64_t left_us = mono_diff_us(next, loop_clock());
	if (left_us > 0) {
		left.tv_sec = (time_t)(left_us / 1000000);
		left.tv_nsec = (long)(left_us % 1000000) * 1000;
	}
	return epoll_pwait2(loop->epoll_fd, loop->ready, EVENTS_PER_ROUND, &left, NULL);
}

static int wait_for_events(struct loop *loop, bool wait)
{
	int count;

	if (wait && loop->waits_exactly) {
		count = wait_until_deadline(loop);
	} else {
		int err = loop->waits_exactly ? 0 : set_timer_fd(loop);
		if (err)
			return err;
		count = epoll_wait(loop->epoll_fd, loop->ready, EVENTS_PER_ROUND, wait ? -1 : 0);
	}
	if (count >= 0)
		return count;
	return errno == EINTR ? 0 : -errno;
}

int loop_turn(struct loop *loop, bool wait)
{
	int served = 0;

	if (wait)
		rest(loop);
	int count = wait_for_events(loop, wait);

	if (count < 0)
		return count;
	loop->now = mono_max(loop->now, loop_clock());
	loop->rounds++;
	loop->ready_count = count;
	for (int i = 0; i < count; i++) {
		struct loop_watch *watch = loop->ready[i].data.ptr;
		loop->ready_next = i + 1;
		if (!watch)
			continue;
		served += watch != &loop->timer_watch && watch != &loop->wake_watch;
		watch->on_event(watch, loop->ready[i].events);
	}
	loop->ready_count = 0;
	loop->ready_next = 0;
	served += run_timers(loop);
	look_for_sleep(loop);
	if (loop->after_round)
		loop->after_round(loop->after_round_ctx, loop->now);
	return served;
}

int loop_run(struct loop *loop)
{
	while (!loop->stopped) {
		int served = loop_turn(loop, true);
		if (served < 0)
			return served;
	}
	loop->stopped = false;
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->stopped = true;
}

uint64_t loop_rounds(const struct loop *loop)
{
	return loop->rounds;
}
