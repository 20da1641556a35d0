/*
 * The daemon's own last lines, so that `kcpctl log` needs no journal. One thread writes and reads it.
 */
#ifndef VPND_LOG_RING_H
#define VPND_LOG_RING_H

#include "core/log.h"

#include <stdint.h>

enum {
	LOG_RING_LINES = 1000,
};

struct log_ring_line {
	int64_t time_ms; /* wall clock, since 1970 */
	enum log_level level;
	char *text; /* owned by the ring; NULL = lost to lack of memory */
};

/** All zero is an empty ring. */
struct log_ring {
	uint64_t next_seq; /* lines ever pushed = number of the next line */
	struct log_ring_line lines[LOG_RING_LINES];
};

/** Adds a copy of `text`; the oldest line goes. Out of memory: the line is lost, its number is not used again. */
void log_ring_push(struct log_ring *ring, int64_t time_ms, enum log_level level, const char *text);

/** @return the number of the oldest line that is still there; equals `next_seq` if there is none */
uint64_t log_ring_first(const struct log_ring *ring);

/** @return line number `seq`, borrowed until the next push; NULL if it is gone, lost, or not there yet */
const struct log_ring_line *log_ring_at(const struct log_ring *ring, uint64_t seq);

void log_ring_fini(struct log_ring *ring);

#endif
