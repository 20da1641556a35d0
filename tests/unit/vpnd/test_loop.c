#include "core/list.h"
#include "vpnd/loop.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static bool by_timer_fd; /* as on an older kernel */

static struct loop *new_loop(void)
{
	struct loop *loop = NULL;
	cr_assert_eq(loop_new(&loop), 0);
	if (by_timer_fd)
		loop_use_timer_fd(loop);
	return loop;
}

struct counter {
	struct loop_watch watch;
	struct loop *loop;
	int events;
	struct counter **victim; /* removed, freed and set to NULL when an event comes */
};

static void on_counter(struct loop_watch *watch, uint32_t events)
{
	struct counter *counter = list_entry(watch, struct counter, watch);
	uint64_t value;

	cr_assert(events & EPOLLIN);
	cr_assert_eq(read(watch->fd, &value, sizeof(value)), (ssize_t)sizeof(value));
	counter->events++;
	if (counter->victim) {
		loop_watch_remove(counter->loop, &(*counter->victim)->watch);
		close((*counter->victim)->watch.fd);
		free(*counter->victim);
		*counter->victim = NULL;
		counter->victim = NULL;
	}
}

static struct counter *new_counter(struct loop *loop)
{
	struct counter *counter = calloc(1, sizeof(*counter));
	counter->loop = loop;
	counter->watch.fd = eventfd(0, EFD_NONBLOCK);
	counter->watch.on_event = on_counter;
	cr_assert_eq(loop_watch_add(loop, &counter->watch, EPOLLIN), 0);
	return counter;
}

static void poke(const struct counter *counter)
{
	uint64_t one = 1;
	cr_assert_eq(write(counter->watch.fd, &one, sizeof(one)), (ssize_t)sizeof(one));
}

static void free_counter(struct counter *counter)
{
	loop_watch_remove(counter->loop, &counter->watch);
	close(counter->watch.fd);
	free(counter);
}

Test(loop, serves_what_is_ready)
{
	struct loop *loop = new_loop();
	struct counter *a = new_counter(loop);
	struct counter *b = new_counter(loop);

	cr_assert_eq(loop_turn(loop, false), 0);
	poke(a);
	cr_assert_eq(loop_turn(loop, true), 1);
	cr_assert_eq(a->events, 1);
	cr_assert_eq(b->events, 0);
	poke(a);
	poke(b);
	cr_assert_eq(loop_turn(loop, false), 2);
	cr_assert_eq(loop_watch_modify(loop, &a->watch, 0), 0);
	poke(a);
	cr_assert_eq(loop_turn(loop, false), 0);
	cr_assert_eq(loop_watch_modify(loop, &a->watch, EPOLLIN), 0);
	cr_assert_eq(loop_turn(loop, false), 1);
	loop_watch_remove(loop, &a->watch);
	loop_watch_remove(loop, &a->watch);
	cr_assert_eq(loop_watch_modify(loop, &a->watch, EPOLLIN), -ENOENT);
	poke(a);
	cr_assert_eq(loop_turn(loop, false), 0);
	cr_assert_eq(loop_watch_add(loop, &a->watch, EPOLLIN), 0);
	cr_assert_eq(loop_turn(loop, false), 1);
	free_counter(a);
	free_counter(b);
	loop_free(loop);
}

Test(loop, a_watch_removed_in_its_round_gets_nothing)
{
	/* Each of two ready watches frees the other: exactly one callback runs, whatever the order. */
	struct loop *loop = new_loop();
	struct counter *a = new_counter(loop);
	struct counter *b = new_counter(loop);

	a->victim = &b;
	b->victim = &a;
	poke(a);
	poke(b);
	cr_assert_eq(loop_turn(loop, true), 1);
	cr_assert_eq(loop_turn(loop, false), 0);
	cr_assert((a == NULL) != (b == NULL));
	free_counter(a ? a : b);
	loop_free(loop);
}

static void close_itself(struct loop_watch *watch, uint32_t events)
{
	struct counter *counter = list_entry(watch, struct counter, watch);
	(void)events;
	free_counter(counter);
}

Test(loop, a_watch_may_free_itself)
{
	struct loop *loop = new_loop();
	struct counter *a = new_counter(loop);
	a->watch.on_event = close_itself;
	poke(a);
	cr_assert_eq(loop_turn(loop, true), 1);
	cr_assert_eq(loop_turn(loop, false), 0);
	loop_free(loop);
}

Test(loop, refuses_bad_descriptors)
{
	struct loop *loop = new_loop();
	struct loop_watch watch = {.fd = -1, .on_event = close_itself};
	cr_assert_eq(loop_watch_add(loop, &watch, EPOLLIN), -EBADF);
	cr_assert(!watch.added);
	loop_free(loop);
}

struct alarm {
	struct loop_timer timer;
	struct loop *loop;
	struct mono fired_at;
	int64_t again_us; /* armed again so much later, 0 = not */
	int times;
	bool stop;
};

static void on_alarm(struct loop_timer *timer, struct mono now)
{
	struct alarm *alarm = list_entry(timer, struct alarm, timer);

	alarm->fired_at = now;
	alarm->times++;
	if (alarm->again_us)
		loop_timer_arm(alarm->loop, timer, mono_add_us(now, alarm->again_us));
	if (alarm->stop)
		loop_stop(alarm->loop);
}

static void timers_fire_in_time_and_not_early(void)
{
	struct loop *loop = new_loop();
	struct alarm alarms[20] = {0};
	struct mono start = loop_now(loop);

	for (int i = 0; i < 20; i++) {
		loop_timer_init(&alarms[i].timer, on_alarm);
		alarms[i].loop = loop;
		loop_timer_arm(loop, &alarms[i].timer, mono_add_us(start, i * 1700));
	}
	alarms[19].stop = true;
	loop_timer_disarm(loop, &alarms[7].timer);
	cr_assert_eq(loop_run(loop), 0);
	for (int i = 0; i < 20; i++) {
		cr_assert_eq(alarms[i].times, i != 7);
		if (i != 7)
			cr_assert(mono_diff_us(alarms[i].fired_at, start) >= i * 1700);
	}
	/* All 19 in at most a wake-up each, and one for a deadline that was taken back. */
	cr_assert(loop_rounds(loop) <= 21, "%lu rounds", (unsigned long)loop_rounds(loop));
	loop_free(loop);
}

Test(loop, timers_fire_in_time_and_not_early)
{
	timers_fire_in_time_and_not_early();
}

Test(loop_timer_fd, timers_fire_in_time_and_not_early)
{
	by_timer_fd = true;
	timers_fire_in_time_and_not_early();
}

static void sleeps_between_deadlines_of_one_millisecond(void)
{
	/* Many deadlines that share a slot of the wheel: no spinning between them. */
	struct loop *loop = new_loop();
	struct alarm alarms[4] = {0};
	int64_t base = (loop_now(loop).us / 1000 + 20) * 1000;

	for (int i = 0; i < 4; i++) {
		loop_timer_init(&alarms[i].timer, on_alarm);
		alarms[i].loop = loop;
		loop_timer_arm(loop, &alarms[i].timer, mono_at_us(base + i * 300));
	}
	alarms[3].stop = true;
	cr_assert_eq(loop_run(loop), 0);
	cr_assert(loop_rounds(loop) <= 6, "%lu rounds", (unsigned long)loop_rounds(loop));
	loop_free(loop);
}

Test(loop, sleeps_between_deadlines_of_one_millisecond)
{
	sleeps_between_deadlines_of_one_millisecond();
}

Test(loop_timer_fd, sleeps_between_deadlines_of_one_millisecond)
{
	by_timer_fd = true;
	sleeps_between_deadlines_of_one_millisecond();
}

static void a_timer_of_the_past_is_due_next_round_only(void)
{
	struct loop *loop = new_loop();
	struct alarm alarm = {.loop = loop, .again_us = -5};

	loop_timer_init(&alarm.timer, on_alarm);
	loop_timer_arm(loop, &alarm.timer, mono_at_us(0));
	for (int i = 1; i <= 5; i++) {
		cr_assert_eq(loop_turn(loop, true), 1);
		cr_assert_eq(alarm.times, i);
	}
	loop_timer_disarm(loop, &alarm.timer);
	loop_free(loop);
}

Test(loop, a_timer_of_the_past_is_due_next_round_only)
{
	a_timer_of_the_past_is_due_next_round_only();
}

Test(loop_timer_fd, a_timer_of_the_past_is_due_next_round_only)
{
	by_timer_fd = true;
	a_timer_of_the_past_is_due_next_round_only();
}

static void an_idle_loop_does_not_wake(void)
{
	struct loop *loop = new_loop();
	struct alarm late = {.loop = loop, .stop = true};
	struct alarm never = {.loop = loop};

	loop_timer_init(&late.timer, on_alarm);
	loop_timer_init(&never.timer, on_alarm);
	loop_timer_arm(loop, &never.timer, mono_add_ms(loop_now(loop), 5));
	loop_timer_arm(loop, &never.timer, MONO_NEVER);
	loop_timer_arm(loop, &late.timer, mono_add_ms(loop_now(loop), 50));
	cr_assert_eq(loop_run(loop), 0);
	cr_assert_eq(never.times, 0);
	cr_assert(loop_rounds(loop) <= 2, "%lu rounds", (unsigned long)loop_rounds(loop));
	loop_free(loop);
}

Test(loop, an_idle_loop_does_not_wake)
{
	an_idle_loop_does_not_wake();
}

Test(loop_timer_fd, an_idle_loop_does_not_wake)
{
	by_timer_fd = true;
	an_idle_loop_does_not_wake();
}

static void count_rounds(void *ctx, struct mono now)
{
	(void)now;
	++*(int *)ctx;
}

Test(loop, the_hook_runs_after_each_round)
{
	struct loop *loop = new_loop();
	int rounds = 0;

	loop_set_after_round(loop, count_rounds, &rounds);
	(void)loop_turn(loop, false);
	(void)loop_turn(loop, false);
	cr_assert_eq(rounds, 2);
	loop_set_after_round(loop, NULL, NULL);
	(void)loop_turn(loop, false);
	cr_assert_eq(rounds, 2);
	loop_free(loop);
}

struct signals {
	struct loop *loop;
	int seen[3];
	int count;
};

static void on_signal(void *ctx, int number)
{
	struct signals *signals = ctx;
	signals->seen[signals->count++ % 3] = number;
	if (number == SIGTERM)
		loop_stop(signals->loop);
}

static int64_t slept;

static int64_t slept_us(void)
{
	return slept;
}

Test(loop, tells_once_that_the_host_slept)
{
	struct loop *loop = new_loop();
	int resumed = 0;

	slept = 7000000;
	loop_set_on_resume(loop, count_rounds, &resumed, slept_us);
	cr_assert_eq(loop_turn(loop, false), 0);
	cr_assert_eq(resumed, 0); /* what it slept before the start means nothing */
	slept += 499999;
	cr_assert_eq(loop_turn(loop, false), 0);
	cr_assert_eq(resumed, 0);
	slept += 500000;
	cr_assert_eq(loop_turn(loop, false), 0);
	cr_assert_eq(resumed, 1);
	slept -= 2000000; /* clocks that were not read at the same instant */
	cr_assert_eq(loop_turn(loop, false), 0);
	slept += 2000000;
	cr_assert_eq(loop_turn(loop, false), 0);
	cr_assert_eq(resumed, 1);
	slept += 3600000000;
	cr_assert_eq(loop_turn(loop, false), 0);
	cr_assert_eq(loop_turn(loop, false), 0);
	cr_assert_eq(resumed, 2);
	loop_free(loop);
}

Test(loop, a_host_that_did_not_sleep_is_not_told_of)
{
	struct loop *loop = new_loop();
	int resumed = 0;

	loop_set_on_resume(loop, count_rounds, &resumed, NULL);
	for (int i = 0; i < 100; i++)
		cr_assert_eq(loop_turn(loop, false), 0);
	cr_assert_eq(resumed, 0);
	loop_free(loop);
}

Test(loop, signals_come_as_events)
{
	struct loop *loop = new_loop();
	struct signals signals = {.loop = loop};

	cr_assert_eq(loop_catch_signals(loop, on_signal, &signals), 0);
	cr_assert_eq(loop_catch_signals(loop, on_signal, &signals), 0);
	kill(getpid(), SIGHUP);
	cr_assert_eq(loop_turn(loop, true), 1);
	cr_assert_eq(signals.seen[0], SIGHUP);
	kill(getpid(), SIGTERM);
	cr_assert_eq(loop_run(loop), 0);
	cr_assert_eq(signals.seen[1], SIGTERM);
	cr_assert_eq(signals.count, 2);
	loop_free(loop);
}

Test(loop, stop_before_run_ends_it_at_once)
{
	struct loop *loop = new_loop();
	loop_stop(loop);
	cr_assert_eq(loop_run(loop), 0);
	cr_assert_eq(loop_rounds(loop), 0);
	loop_free(loop);
	loop_free(NULL);
}
