/*
 * The life of one conversation on a wire without hello and goodbye: is the other side there, is it
 * gone, has it been idle for too long? The layer above reports what happens and does what
 * session_on_deadline() says.
 *
 *                  heard               sent_waiting         deadline
 *  OPENING         -> UP               starts the wait      PROBE | -> DEAD
 *  UP              ends the wait       starts the wait      PROBE | -> DEAD | -> IDLE
 *  DEAD, IDLE      (ended: nothing changes any more)
 *
 * "Waiting" means that something was sent that the other side must answer. Silence alone is no
 * fault: without keepalive a conversation in which nobody speaks has no deadline but idle_after.
 */
#ifndef SESSION_SESSION_H
#define SESSION_SESSION_H

#include "core/mono.h"

enum session_state {
	SESSION_OPENING, /* nothing heard yet */
	SESSION_UP,
	SESSION_DEAD, /* waited for dead_after without a sign of life */
	SESSION_IDLE, /* nothing came or went for idle_after */
};

enum session_action {
	SESSION_NOTHING,
	SESSION_PROBE,	/* ask for a sign of life */
	SESSION_EXPIRE, /* the state has become DEAD or IDLE: close */
};

enum {
	SESSION_PROBE_WAITING_US =
		2000000, /* with keepalive: while something waits for an answer */
	SESSION_PROBE_RETRY_US =
		1000000, /* an unanswered probe is repeated after this, then twice that, ... */
	SESSION_PROBE_RETRY_MAX_US = 4000000,
};

/** All in microseconds, 0 = never. */
struct session_config {
	int64_t keepalive_us;  /* probe after so long without a sign of life */
	int64_t dead_after_us; /* dead after waiting for so long */
	int64_t idle_after_us; /* idle after so long without traffic */
};

struct session {
	struct session_config config;
	enum session_state state;
	struct mono heard_at;	   /* last sign of life; before the first: when it was opened */
	struct mono active_at;	   /* last traffic in either direction */
	struct mono waiting_since; /* MONO_NEVER = nothing waits for an answer */
	struct mono probe_at;	   /* next probe, MONO_NEVER = none */
	int64_t probe_retry_us;
};

void session_init(struct session *s, const struct session_config *config, struct mono now);

/** Takes over other times; what has begun goes on. */
void session_set_config(struct session *s, const struct session_config *config);

/** A datagram that passed the checks came. @return true if it is the first one after opening or
 * after a silence. */
bool session_heard(struct session *s, struct mono now);

/** Something was sent that the other side has to answer. */
void session_sent_waiting(struct session *s, struct mono now);

/** All that was sent is answered: silence is no fault any more. */
void session_answered(struct session *s);

/** @return when session_on_deadline() has something to do, MONO_NEVER if nothing */
struct mono session_next_deadline(const struct session *s);

/** Call again until it returns SESSION_NOTHING. */
enum session_action session_on_deadline(struct session *s, struct mono now);

#endif
