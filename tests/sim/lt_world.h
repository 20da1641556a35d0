/*
 * Paths side by side over one bottleneck in virtual time, and plain CUBIC flows beside them: what a congestion controller has
 * to live with. Each path has a source (greedy, in pauses, or growing like an inner TCP) and a reader that always reads.
 *
 * A run is a function of its configuration and seed.
 */
#ifndef TESTS_SIM_LT_WORLD_H
#define TESTS_SIM_LT_WORLD_H

#include "core/list.h"
#include "core/pool.h"
#include "kcp/kcp_path.h"
#include "lt_cubic.h"
#include "tests/lab/link_model.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	LT_FLOWS_MAX = 3,
	LT_PAYLOAD_BYTES = 1436, /* segments of a datagram */
	LT_PIECE_BYTES = 1400,
	LT_WIRE_BYTES = 64, /* of a datagram beyond its segments */
	LT_QUEUE_STEP_US = 5000,
	LT_QUEUE_BINS = 1024, /* of a millisecond */
	LT_SECONDS_MAX = 240,
};

enum lt_source {
	LT_GREEDY,
	LT_PULSES, /* half a second of 40 % of the link, half a second of nothing */
	LT_THIN,   /* 50 packets of 200 bytes a second */
	LT_RAMP,   /* a window that doubles each round trip until something is in its way */
	LT_SILENT,
};

struct lt_world;

struct lt_flow {
	struct lt_world *world;
	struct kcp_path *a;
	struct kcp_path *b;
	enum lt_source source;
	uint8_t room[2][LT_PAYLOAD_BYTES + 600];
	uint64_t read_bytes;
	uint64_t second_bytes[LT_SECONDS_MAX];
	struct mono source_at; /* when it has more */
	double ramp_window;    /* messages */
	uint64_t ramp_sent, ramp_acked;
	struct list ramp_acks; /* on their way back */
};

struct lt_config {
	struct link_config link; /* the same both ways */
	enum lt_source sources[LT_FLOWS_MAX];
	unsigned flows;
	unsigned cubics;
	int64_t cubic_at_us; /* when they start */
	int64_t hold_us;     /* datagrams to the senders come in steps of so much; 0 = at once */
	uint64_t seed;
};

struct lt_world {
	struct lt_config config;
	struct link_model out; /* towards the readers */
	struct link_model back;
	struct pool pool;
	struct lt_flow flows[LT_FLOWS_MAX];
	struct lt_cubic cubics[LT_FLOWS_MAX];
	struct list held; /* until the next step */
	struct mono held_until;
	struct mono start;
	struct mono now;
	struct mono queue_at;
	uint32_t queue_ms[LT_QUEUE_BINS]; /* how often the queue was so long */
	uint32_t queue_samples;
};

void lt_world_open(struct lt_world *world, const struct lt_config *config);
void lt_world_close(struct lt_world *world);

/** Runs for so long. */
void lt_world_run(struct lt_world *world, int64_t us);

/** The link becomes another. */
void lt_world_link(struct lt_world *world, const struct link_config *link);

/** Forgets the queue's measures. */
void lt_world_mark(struct lt_world *world);

/** The queue below which it was for `share` of the time since the mark, ms. */
double lt_world_queue_ms(const struct lt_world *world, double share);

/** Bits a second that the flow's reader got in seconds [from, to) of the run. */
double lt_flow_bps(const struct lt_flow *flow, unsigned from, unsigned to);

/** Something left the link that a CUBIC flow sent. For lt_cubic.c. */
bool lt_world_push(struct lt_world *world, struct link_model *link, uint32_t owner, uint64_t number,
	uint32_t len);

#endif
