/*
 * Signs of life between two ends that share a session: when to say something although there is nothing to say, and what
 * silence means.
 *
 *     nothing sent for 10 s after something was received    an empty datagram: the other end need not wonder
 *     nothing sent for the keepalive interval               the same: a NAT must not forget the mapping
 *     asked, and nothing authentic came back
 *         for clamp(4 SRTT, 1 s, 3 s)                       PING
 *         for min(8 s, dead_after / 2)                      a new handshake, to all addresses known
 *         for dead_after                                    the other end counts as gone, until it is heard again
 *
 * Whoever neither asks nor has a keepalive interval has no deadline.
 *
 * Source: lib/PROTOCOL.md, "Endpoints, roaming, liveness".
 */
#ifndef SESSION_LIVENESS_H
#define SESSION_LIVENESS_H

#include "core/mono.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	LIVENESS_ANSWER_US =
		10000000, /* so long what was received may stay without a datagram back */
	LIVENESS_PING_LEAST_US =
		1000000, /* bounds of 4 SRTT; the lower one also while it is unknown */
	LIVENESS_PING_MOST_US = 3000000,
	LIVENESS_ATTEMPT_MOST_US = 8000000,
};

/** What is to be done: a bit set. */
enum liveness_action {
	LIVENESS_KEEPALIVE = 1,
	LIVENESS_PING = 2,
	LIVENESS_ATTEMPT = 4,
	LIVENESS_DEAD = 8,
};

enum liveness_stage {
	LIVENESS_CALM, /* nothing is waited for, or not for long */
	LIVENESS_PINGED,
	LIVENESS_CALLING, /* a new handshake was asked for */
	LIVENESS_GONE,
};

struct liveness {
	int64_t keepalive_us; /* the smaller of the own interval and the one that was asked for, 0 = none */
	int64_t dead_after_us;
	struct mono sent_at;	 /* last; MONO_NEVER = not running */
	struct mono answer_at;	 /* MONO_NEVER = nothing received since we last sent */
	struct mono asked_since; /* first question since we last heard; MONO_NEVER = none */
	uint8_t stage;		 /* enum liveness_stage */
};

/** Not running: there is no session. @dead_after_us  > 0 */
void liveness_init(struct liveness *liveness, int64_t keepalive_us, int64_t dead_after_us);

/** Other intervals; what runs goes on with them. 0 = no keepalive. */
void liveness_configure(struct liveness *liveness, int64_t keepalive_us, int64_t dead_after_us);

/** There is a session to send on: begins to run, or goes on if it ran. */
void liveness_start(struct liveness *liveness, struct mono now);

/** There is none left: no deadlines, nothing is waited for. */
void liveness_stop(struct liveness *liveness);

/** A datagram left. @asks  the other end answers it if it gets it */
void liveness_sent(struct liveness *liveness, bool asks, struct mono now);

/**
 * An authentic datagram came.
 *
 * @empty   a keepalive: not answered by another
 * @return  true if the other end had counted as gone
 */
bool liveness_heard(struct liveness *liveness, bool empty, struct mono now);

/** True between LIVENESS_DEAD and the next sign of life. */
static inline bool liveness_gone(const struct liveness *liveness)
{
	return liveness->stage == LIVENESS_GONE;
}

/** @srtt_us  smoothed round trip, <= 0 while unknown */
struct mono liveness_next_deadline(const struct liveness *liveness, int64_t srtt_us);

/** @return what is due, each thing once: bits of enum liveness_action. 0 when called early. */
unsigned liveness_on_deadline(struct liveness *liveness, int64_t srtt_us, struct mono now);

#endif
