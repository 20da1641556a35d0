/*
 * What the tests of the native wire's handshake stand on: two ends, `a` who calls and `b` who is called, every handshake datagram
 * caught as it passes, and somebody who makes INITs by hand. Short names, for there is one of each.
 */
#ifndef TESTS_STACK_NATIVE_HANDSHAKE_RIG_H
#define TESTS_STACK_NATIVE_HANDSHAKE_RIG_H

#include "native_pair.h"
#include "stack/native_state.h"

enum {
	S = 1000000,
	INIT = 8,
	RESP = 9,
	COOKIE = 10,
	REJECT = 11,
	DATA = 12,
};

extern struct native_pair pair;
extern struct native_end *const a, *const b; /* ends 0 and 1 of it */

struct kcpvpn_native_stats stats_of(const struct native_end *end);

/** Of the other end, as this one sees it. */
struct kcpvpn_peer_status status_of(const struct native_end *end);

/** The session with the other end, NULL if there is none. */
struct native_session *session_of(const struct native_end *end, enum native_slot slot);

/* ---- what passed ---------------------------------------------------------------------------------------------------- */

enum {
	CAUGHT_MAX = 64,
};

struct caught {
	struct kcpvpn_endpoint from, to;
	int64_t at_us;
	size_t len;
	uint8_t bytes[HANDSHAKE_BYTES_MAX];
};

extern struct caught
	caught[CAUGHT_MAX]; /* handshake datagrams, in order; what comes after these is not kept */
extern size_t caught_count;
extern unsigned lose; /* bit set of types that do not arrive */

/** The first of its type; the test fails if there is none. Take a copy of what is needed after the next call. */
const struct caught *caught_first(unsigned type);

/** Catches from now on, and loses what is of these types. */
void watch_losing(unsigned types);

/* ---- beginnings ----------------------------------------------------------------------------------------------------- */

/** Both ends, strangers to each other. */
void start_two(uint64_t seed);

/** `b` alone, which knows `a` and does not call it. */
void start_called(void);

/** Both ends, watched, about to call. @options  NULL = native_pair_options() */
void open_watched(const struct native_end_options *options);

/** As open_watched() for a millisecond, in which datagrams of these types are lost, as they are from then on. */
void open_losing(unsigned types);

/** Both ends, watched, up for a while. */
void open_up(void);

/** Ends `a` without a word and starts it again, with this clock. */
void restart_a_at(int64_t realtime_us);

/** The end calls the other one, whatever it has. */
void call_anew(struct native_end *end);

/** A message goes from `end` to the other one, which has it a tenth of a second later. */
void carry_one(struct native_end *end);

/* ---- INITs made by hand --------------------------------------------------------------------------------------------- */

/** Somebody who calls `b`. */
struct caller {
	struct handshake_self self;
	struct handshake_peer peer;
	struct handshake_attempt attempt;
	uint64_t random;
	struct native_params params;
	uint8_t init[HANDSHAKE_INIT_BYTES];
};

/** A rand_fill_fn; `ctx` is a uint64_t. */
void caller_random(void *ctx, void *buf, size_t len);

/** A number that is as good as one by the clock of who calls. */
uint64_t seq_now(void);

/** With the private key of end `i`, or one that nobody knows from NATIVE_PAIR_ENDS on. */
void caller_init(struct caller *caller, size_t i);

/** Makes an INIT of what it has in `params`. */
void caller_write(struct caller *caller, uint32_t index);

/** Hands the INIT to `b`, as if it came from native_pair_endpoint(host), and lets it be worked on. */
void caller_send(struct caller *caller, uint8_t host);

/** Both. */
void caller_call(struct caller *caller, uint32_t index, uint8_t host);

/** An answer that offers nothing in particular. */
extern const struct native_params plain_params;

/** Answers the call of `a` that was caught first, with the key of `b`. */
void answer_by_hand(const struct native_params *params);

#endif
