/*
 * The event loop of one thread: epoll for descriptors, one timer descriptor for all deadlines, one
 * signal descriptor. A loop in which nothing happens sleeps without waking up.
 *
 * Round: wait, sample the clock, run the watches that are ready, run the timers that are due, run
 * the hook.
 */
#ifndef VPND_LOOP_H
#define VPND_LOOP_H

#include "core/mono.h"
#include "core/wheel.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;

/** Embedded by the owner of a descriptor, who finds himself again with list_entry(). Zeroed = not
 * added. */
struct loop_watch {
	int fd;
	/**
	 * Called while the descriptor is ready (level-triggered). It may add, modify and remove any
	 * watch, this one included, and free the removed.
	 *
	 * @events  EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP ... ; the last two come unasked
	 */
	void (*on_event)(struct loop_watch *watch, uint32_t events);
	uint32_t events; /* asked for; set by loop_watch_add() and loop_watch_modify() */
	bool added;	 /* set by the loop */
};

/** Embedded by the owner of a deadline; prepare it by loop_timer_init(). */
struct loop_timer {
	struct wheel_timer timer;
	/** Called once when due; the timer is no longer armed and may be armed again or freed. */
	void (*on_due)(struct loop_timer *timer, struct mono now);
};

typedef void (*loop_signal_fn)(void *ctx, int signal_number);
typedef void (*loop_hook_fn)(void *ctx, struct mono now);

/**
 * Makes a loop of the calling thread.
 *
 * @ret_loop  freed by loop_free()
 * @return    0, -ENOMEM, -EMFILE, -ENFILE or what epoll and timerfd give; `*ret_loop` is untouched
 * then
 */
int loop_new(struct loop **ret_loop);

/** Frees a loop; NULL is fine. Watches and timers that are left are forgotten, their descriptors
 * not closed. */
void loop_free(struct loop *loop);

/**
 * Blocks SIGTERM, SIGINT and SIGHUP in the calling thread and gives them to `on_signal` from within
 * the loop. Call it before other threads start: they inherit the mask.
 *
 * @return  0 or a negative errno
 */
int loop_catch_signals(struct loop *loop, loop_signal_fn on_signal, void *ctx);

/** Sets what is called once after the events and timers of each round; NULL = nothing. */
void loop_set_after_round(struct loop *loop, loop_hook_fn hook, void *ctx);

/**
 * Sets what is called once after the host was suspended, in the first round after it, before the hook of
 * loop_set_after_round(); NULL = nothing. Waking up makes a round of its own where the kernel can tell.
 *
 * @slept_us  how long the host has slept since it booted, for tests; NULL = by its clocks
 */
void loop_set_on_resume(struct loop *loop, loop_hook_fn hook, void *ctx, int64_t (*slept_us)(void));

/**
 * Begins to watch `watch->fd`, which the owner keeps. `watch->on_event` must be set.
 *
 * @events  EPOLLIN, EPOLLOUT, ...; 0 = only errors and hang-up
 * @return  0 or a negative errno (-EEXIST: the descriptor is watched already, -EPERM: it cannot be
 * polled)
 */
int loop_watch_add(struct loop *loop, struct loop_watch *watch, uint32_t events);

/** Changes what an added watch asks for; nothing to do = no system call. @return 0 or a negative
 * errno */
int loop_watch_modify(struct loop *loop, struct loop_watch *watch, uint32_t events);

/**
 * Ends watching, before the owner closes the descriptor. No event is delivered any more, not even
 * one of this round. Harmless if the watch was not added.
 */
void loop_watch_remove(struct loop *loop, struct loop_watch *watch);

void loop_timer_init(
	struct loop_timer *timer, void (*on_due)(struct loop_timer *timer, struct mono now));

/**
 * Sets the deadline, replacing an earlier one. A deadline in the past is due in the next round;
 * MONO_NEVER disarms. The timer must not move or be freed while armed.
 */
void loop_timer_arm(struct loop *loop, struct loop_timer *timer, struct mono at);

void loop_timer_disarm(struct loop *loop, struct loop_timer *timer);

/**
 * CLOCK_BOOTTIME (it goes on while the machine sleeps), sampled once a round: all that happens in a
 * round happens at the same instant.
 */
struct mono loop_now(const struct loop *loop);

/** Reads the clock; for work outside the loop's rounds. */
struct mono loop_clock(void);

/** When the next timer is due; MONO_NEVER if none is set. */
struct mono loop_next_timer(const struct loop *loop);

/** What could be read was not all read in this round: loop_rest_until() at its end has no effect. */
void loop_behind(struct loop *loop);

/** The next round does not begin before `at`, whatever comes; for a few milliseconds at most, and for that round only. */
void loop_rest_until(struct loop *loop, struct mono at);

/**
 * Runs rounds until loop_stop().
 *
 * @return  0, or a negative errno if waiting itself failed
 */
int loop_run(struct loop *loop);

/**
 * Runs one round, for tests.
 *
 * @wait    false: only what is ready or due already
 * @return  the number of events and timers served, or a negative errno
 */
int loop_turn(struct loop *loop, bool wait);

/** Deadlines by the timer descriptor, as on a kernel before 5.11; for tests. */
void loop_use_timer_fd(struct loop *loop);

/** Makes loop_run() return after this round, also if called before it. */
void loop_stop(struct loop *loop);

/** Rounds since the start: stands still while the loop sleeps. */
uint64_t loop_rounds(const struct loop *loop);

#endif
