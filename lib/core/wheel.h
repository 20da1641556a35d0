/*
 * Hierarchical timer wheel: 256 slots of 1 ms, of 256 ms and of 65.5 s, and a list for what lies
 * beyond. Arming and disarming take constant time however many timers there are; a wheel without
 * timers asks for no wake-up. Deadlines keep their microseconds: a timer never fires early.
 */
#ifndef CORE_WHEEL_H
#define CORE_WHEEL_H

#include "core/list.h"
#include "core/mono.h"

#include <stddef.h>

enum {
	WHEEL_LEVELS = 3,
	WHEEL_SLOTS = 256,
};

/** Embedded in what has a deadline. */
struct wheel_timer {
	struct list node;
	struct mono at; /* MONO_NEVER = not armed */
	struct wheel_slot *slot;
};

struct wheel_slot {
	struct list timers;
	struct mono
		earliest; /* no timer of the slot is due before; may be too early after a disarm */
};

struct wheel {
	struct wheel_slot slots[WHEEL_LEVELS][WHEEL_SLOTS];
	uint64_t used[WHEEL_LEVELS][WHEEL_SLOTS / 64]; /* bit = the slot is not empty */
	struct wheel_slot beyond;
	int64_t tick; /* millisecond up to which the wheel has turned */
	size_t count;
};

void wheel_init(struct wheel *wheel, struct mono now);

/** Prepares a timer that is not armed. */
void wheel_timer_init(struct wheel_timer *timer);

/** Sets the deadline, replacing an earlier one; MONO_NEVER disarms. The timer must outlive its
 * being armed. */
void wheel_arm(struct wheel *wheel, struct wheel_timer *timer, struct mono at);

void wheel_disarm(struct wheel *wheel, struct wheel_timer *timer);

/**
 * Takes one timer that is due out of the wheel, no longer armed. Call until NULL.
 *
 * @now  not before the `now` of an earlier call
 */
struct wheel_timer *wheel_pop_due(struct wheel *wheel, struct mono now);

/** @return when to call wheel_pop_due() next (not after the earliest deadline), MONO_NEVER without
 * timers. */
struct mono wheel_next(const struct wheel *wheel);

#endif
