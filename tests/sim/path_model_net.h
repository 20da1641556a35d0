/* The inside of the world: datagrams under way, chance, and what both act upon. */
#ifndef TESTS_PATH_MODEL_NET_H
#define TESTS_PATH_MODEL_NET_H

#include "tests/sim/path_model_end.h"
#include "tests/sim/path_model_wire.h"
#include "tests/sim/path_model_world.h"

enum {
	WORLD_FLOWS = 6,
};

struct flying {
	int64_t at_us;
	uint64_t order;
	unsigned to;
	uint32_t epoch;
	uint64_t pn;
	size_t len;
	bool ce;
	bool rebuilt;
	uint8_t bytes[END_ROOM_BYTES];
};

/* One direction of the network. */
struct pipe {
	double loss;
	double duplicate;
	double rebuild; /* by an FEC decoder that is not there */
	double ce;
	int64_t delay_us;
	int64_t jitter_us;
	double burst; /* begins with this chance at a datagram */
	int64_t burst_us;
	int64_t down_until_us;
};

struct replay {
	uint8_t *seen;
	size_t size;
	uint64_t largest;
};

struct path_world {
	struct path_watch *watch;
	struct pool pool;
	struct model_end ends[2];
	struct pipe pipes[2]; /* from that side */
	struct replay replays[2];
	struct mono now;
	uint64_t random;
	bool trace;
	bool calm;
	int64_t late_us; /* timers fire so much later */
	uint32_t message_max;
	uint32_t flows[WORLD_FLOWS];
	unsigned one_byte[2];
	/* datagrams under way: slots, the free ones, and a heap of the others */
	struct flying *slots;
	int *heap;
	int *unused;
	int slot_count;
	int heap_count;
	int unused_count;
	uint64_t order;
	int64_t longest_calm_us;
};

static inline uint64_t world_below(struct path_world *world, uint64_t n)
{
	return model_random_below(&world->random, n);
}

static inline bool world_chance(struct path_world *world, double p)
{
	return model_chance(&world->random, p);
}

/* path_model_net.c */
void world_carry(
	void *ctx, unsigned side, uint64_t pn, const uint8_t *bytes, size_t len, int flags);
void world_restart(struct path_world *world, unsigned side, uint32_t epoch);

/** Goes on until `until`. @return false if both sides are silent before that */
bool world_run_until(struct path_world *world, int64_t until);

/** Nothing is under way, nothing was seen. */
void world_clear_net(struct path_world *world);

/* path_model_whims.c */
void world_pick_pipe(struct path_world *world, struct pipe *pipe);
uint32_t world_pick_piece(struct path_world *world);
uint32_t world_pick_payload(struct path_world *world, uint32_t piece);

/** Something happens to one of the sides or to the network. */
void world_one_whim(struct path_world *world);

#endif
