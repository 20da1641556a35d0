/*
 * When to call a peer: the schedule of INITs.
 *
 *     one attempt   the same bytes at 0, 0.3, 0.9, 2.1, 3.4 and 4.7 s, each gap +-10 %
 *     next attempt  6 s after the one before; from the fifth on without a session 15, 30, 60, 60 ... s (+-25 %)
 *
 * No gap of an attempt, nor the one between two attempts of the first half minute, is longer than 1.43 s: so a path that
 * works again is found within that. The first transmission goes to one address, the next to two, and so on: the order of
 * the addresses is preferred, and one that is dead costs 0.3 s.
 *
 *     event \ state      stopped          running
 *     attempt_start      -> running       counts anew, a new attempt is due now
 *     attempt_made       -                repeats and the next attempt are scheduled
 *     attempt_repeated   -                the next repeat, or none
 *     attempt_answered   -                no repeats; while the period is short, a new attempt in 1.7 or 3 s if nothing confirms
 *     attempt_stop       -                -> stopped
 *
 * Source: lib/PROTOCOL.md, "Handshake rules".
 */
#ifndef SESSION_ATTEMPT_H
#define SESSION_ATTEMPT_H

#include "core/mono.h"

#include <stdbool.h>
#include <stdint.h>

struct rand_source;

enum {
	ATTEMPT_TRANSMISSIONS = 6,
	ATTEMPT_STEADY = 5, /* attempts at the short period before it grows */
	ATTEMPT_PERIOD_US =
		6000000, /* from one attempt to the next, at first and while a session works */
	/* An answer that nothing confirmed is worth so much patience: at first a little more than the caller's PINGs take,
	 * so that two calls that crossed a restart are made again within two seconds. */
	ATTEMPT_CONFIRM_FIRST_US = 1700000,
	ATTEMPT_FIRST = 2, /* attempts so hasty; not all, or the period would grow early */
	ATTEMPT_CONFIRM_US = 3000000,
	ATTEMPT_LIFE_US = 15000000,    /* an answer to an older INIT is not looked at */
	ATTEMPT_REACH_ALL = UINT8_MAX, /* every address at once */
};

/** What is due. */
enum attempt_due {
	ATTEMPT_NOTHING,
	ATTEMPT_REPEAT, /* the same bytes again, then attempt_repeated() */
	ATTEMPT_NEW,	/* another INIT, then attempt_made() */
};

/** One for a peer; embed it. */
struct attempt {
	struct mono repeat_at; /* MONO_NEVER = not again */
	struct mono new_at;    /* MONO_NEVER = stopped */
	uint8_t sent;	       /* transmissions of the newest attempt */
	uint8_t made;	       /* attempts since the start, stays at its largest value */
	uint8_t reach;	       /* to how many addresses the last transmission went */
};

/** Stopped. */
void attempt_init(struct attempt *attempt);

/**
 * Begins the schedule, from its first step even if it runs.
 *
 * @reach  addresses the first transmission goes to, at least 1
 */
void attempt_start(struct attempt *attempt, uint8_t reach, struct mono now);

void attempt_stop(struct attempt *attempt);

static inline bool attempt_running(const struct attempt *attempt)
{
	return !mono_is_never(attempt->new_at);
}

/** What to do at `now`. Changes nothing: say so when it is done. */
enum attempt_due attempt_due(const struct attempt *attempt, struct mono now);

struct mono attempt_next_deadline(const struct attempt *attempt);

/** How many addresses the next transmission goes to, the preferred ones first. */
uint8_t attempt_next_reach(const struct attempt *attempt);

/**
 * Another INIT was made and sent for the first time.
 *
 * @steady  there is a session still, so the period does not grow
 */
void attempt_made(
	struct attempt *attempt, bool steady, struct mono now, const struct rand_source *rnd);

/** The INIT was sent again. */
void attempt_repeated(struct attempt *attempt, struct mono now, const struct rand_source *rnd);

/**
 * An answer was good.
 *
 * @newest  it was to the newest INIT, so that is not repeated
 */
void attempt_answered(struct attempt *attempt, bool newest, struct mono now);

/** Puts the next attempt off until `at`, and ends the repeats of this one. */
void attempt_wait(struct attempt *attempt, struct mono at);

#endif
