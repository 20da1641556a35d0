/*
 * Chance: what networks there are, what is written, and what befalls the two sides.
 */
#include "tests/sim/path_model_net.h"

#include <inttypes.h>
#include <stdio.h>

void world_pick_pipe(struct path_world *world, struct pipe *pipe)
{
	static const double losses[] = {0, 0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5};
	static const int64_t delays[] = {0, 500, 5000, 20000, 60000, 150000, 300000};

	*pipe = (struct pipe){
		.loss = losses[world_below(world, 8)],
		.delay_us = delays[world_below(world, 7)],
	};
	if (world_chance(world, 0.4))
		pipe->jitter_us = (int64_t)world_below(world, 2) ? 3000 : 100000;
	if (world_chance(world, 0.3))
		pipe->duplicate = 0.1;
	if (world_chance(world, 0.2))
		pipe->rebuild = 0.5;
	if (world_chance(world, 0.2))
		pipe->ce = 0.2;
	if (world_chance(world, 0.2)) {
		pipe->burst = 0.02;
		pipe->burst_us = (int64_t)(10000 << world_below(world, 6));
	}
}

uint32_t world_pick_piece(struct path_world *world)
{
	static const uint32_t pieces[] = {64, 64, 100, 200, 333, 512, 513, 1160, 1380};

	return pieces[world_below(world, 9)];
}

uint32_t world_pick_payload(struct path_world *world, uint32_t piece)
{
	uint32_t payload = piece + MODEL_SEG_BYTES + (uint32_t)world_below(world, 64);

	return payload < 512 ? 512 + (uint32_t)world_below(world, 100) : payload;
}

static uint32_t pick_len(struct path_world *world, unsigned side)
{
	uint64_t kind = world_below(world, 10);
	uint64_t most = kind < 4 ? 100 : kind < 8 ? 1500 : world->message_max;

	if (most > world->message_max)
		most = world->message_max;
	uint32_t len = 1 + (uint32_t)world_below(world, most);
	if (len == 1 && ++world->one_byte[side] > 100)
		len = 2;
	return len;
}

static void write_burst(struct path_world *world)
{
	unsigned side = (unsigned)world_below(world, 2);
	unsigned kind =
		(unsigned)world_below(world, KCP_PATH_CLASSES + 2); /* beyond the classes: a mix */
	uint64_t count = 1 + world_below(world, world_chance(world, 0.2) ? 40 : 6);

	for (uint64_t i = 0; i < count; i++)
		end_write(&world->ends[side],
			kind < KCP_PATH_CLASSES
				? (enum kcp_path_class)kind
				: (enum kcp_path_class)world_below(world, KCP_PATH_CLASSES),
			world->flows[world_below(world, WORLD_FLOWS)], pick_len(world, side));
	end_turn(&world->ends[side], world->now);
}

/* So many pieces at once that the grant is used up. */
static void write_flood(struct path_world *world)
{
	unsigned side = (unsigned)world_below(world, 2);
	struct model_end *end = &world->ends[side];
	uint32_t most = end->config.piece_bytes * 128;

	if (most > world->message_max)
		most = world->message_max;
	for (uint32_t pieces = 0; pieces < 700;) {
		uint32_t len = most / 2 + (uint32_t)world_below(world, most / 2) + 1;
		end_write(end, KCP_PATH_BULK, world->flows[world_below(world, WORLD_FLOWS)], len);
		pieces += len / end->config.piece_bytes + 1;
	}
	end_turn(end, world->now);
}

static void change_mtu(struct path_world *world)
{
	struct model_end *end = &world->ends[world_below(world, 2)];
	uint32_t piece = world_pick_piece(world);

	end_set_mtu(end, world_pick_payload(world, piece), piece, world_chance(world, 0.5));
	end_turn(end, world->now);
}

static void send_own(struct path_world *world)
{
	struct model_end *end = &world->ends[world_below(world, 2)];

	switch (world_below(world, 4)) {
	case 0:
		end_send_own(end, KCP_PATH_EXTRA_QUIET, 0, world_below(world, 3) * 20, world->now);
		return;
	case 1:
		end_send_own(end, KCP_PATH_EXTRA_ASKS,
			(uint8_t)(world_chance(world, 0.1) ? 255 : 7), 9 + world_below(world, 100),
			world->now);
		return;
	case 2:
		end_send_own(end, KCP_PATH_EXTRA_MTU_PROBE, 9, 1000 + world_below(world, 900),
			world->now);
		return;
	default:
		end_control(end, (uint8_t)(world_chance(world, 0.05) ? 255 : 1),
			1 + world_below(world, 64));
		if (world_chance(world, 0.3))
			end_wask(end);
		end_turn(end, world->now);
		return;
	}
}

static void change_instance(struct path_world *world)
{
	unsigned side = (unsigned)world_below(world, 2);
	uint32_t newest = world->ends[0].epoch > world->ends[1].epoch ? world->ends[0].epoch
								      : world->ends[1].epoch;

	/* The account reaches back only so far. */
	if (newest > world->ends[0].epoch + 1 || newest > world->ends[1].epoch + 1)
		return;
	world_restart(world, side, newest + 1);
	if (world_chance(world, 0.5))
		world_restart(world, 1 - side, newest + 1);
	end_turn(&world->ends[side], world->now);
}

/* A long silence, in which lanes come of age; or an outage, in which what was received is still unacknowledged. */
static void be_silent(struct path_world *world)
{
	int64_t until = world->now.us + 29500000 + (int64_t)world_below(world, 33000000);

	if (world_chance(world, 0.5)) {
		until = world->now.us +
			(int64_t)world_below(world, world_chance(world, 0.7) ? 3000000 : 60000000);
		world->pipes[0].down_until_us = until;
		world->pipes[1].down_until_us = until;
	}
	world_run_until(world, until);
	end_trim(&world->ends[0], world->now);
	end_trim(&world->ends[1], world->now);
}

void world_one_whim(struct path_world *world)
{
	struct model_end *end = &world->ends[world_below(world, 2)];
	uint64_t whim = world_below(world, 100);

	if (world->trace)
		fprintf(stderr, "%10.3f   whim %" PRIu64 " upon %c\n", (double)world->now.us / 1000,
			whim, 'A' + (int)end->side);
	if (whim < 60) {
		write_burst(world);
	} else if (whim < 68) {
		world_pick_pipe(world, &world->pipes[world_below(world, 2)]);
	} else if (whim < 71) {
		world->pipes[world_below(world, 2)].down_until_us =
			world->now.us + (int64_t)world_below(world, 3000000);
	} else if (whim < 76) {
		end->reading = !end->reading;
		end_turn(end, world->now);
	} else if (whim < 79) {
		end->refusing = !end->refusing;
		end_turn(end, world->now);
	} else if (whim < 82) {
		change_mtu(world);
	} else if (whim < 90) {
		send_own(world);
	} else if (whim < 92) {
		change_instance(world);
	} else if (whim < 94) {
		end_trim(end, world->now);
	} else if (whim < 95) {
		write_flood(world);
	} else if (whim < 96) {
		end_reset_route(end, world->now);
	} else if (whim < 97) {
		end_set_bulk_deadline(end, world_chance(world, 0.2)
						   ? 50000000
						   : (int64_t)world_below(world, 4) * 400000);
	} else if (whim < 98) {
		end_hint_rtt(end, 1000 + (int64_t)world_below(world, 500000));
	} else {
		be_silent(world);
	}
}
