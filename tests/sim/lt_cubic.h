/* A plain TCP with CUBIC and SACK, as far as others on its link notice: how many packets it has in flight. */
#ifndef TESTS_SIM_LT_CUBIC_H
#define TESTS_SIM_LT_CUBIC_H

#include "core/mono.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	LT_CUBIC_BYTES = 1500,
	LT_CUBIC_RING = 16384, /* packets in flight, at most */
	LT_CUBIC_SECONDS_MAX = 240,
};

struct lt_world;

struct lt_cubic {
	struct lt_world *world;
	uint32_t owner;
	uint64_t next;	/* number of the packet sent next; numbers are used once */
	uint64_t first; /* below, all fates are known */
	uint64_t top;	/* highest acknowledged */
	uint8_t state[LT_CUBIC_RING];
	struct mono sent_at[LT_CUBIC_RING];
	uint32_t flying;
	double window; /* packets */
	double threshold;
	double most; /* window before the last reduction */
	double reno; /* what a Reno flow would have */
	struct mono epoch_at;
	uint64_t recover; /* losses below belong to the last reduction */
	double srtt_us;
	struct mono heard_at;
	struct mono start_at;
	uint64_t acked_bytes;
	uint64_t second_bytes[LT_CUBIC_SECONDS_MAX];
};

void lt_cubic_init(
	struct lt_cubic *cubic, struct lt_world *world, uint32_t owner, struct mono start);

/** An acknowledgement of one packet came. */
void lt_cubic_acked(struct lt_cubic *cubic, uint64_t number, struct mono now);

/** Sends what may go. */
void lt_cubic_serve(struct lt_cubic *cubic, struct mono now);

struct mono lt_cubic_next(const struct lt_cubic *cubic);

double lt_cubic_bps(const struct lt_cubic *cubic, unsigned from, unsigned to);

#endif
