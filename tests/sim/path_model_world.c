/*
 * A run. While chance has its way, the observer judges each event; then the network becomes perfect and the readers read, and
 * both sides must come to silence with nothing left behind; then what is written must all arrive, twice if it is for lanes that
 * were freed in between.
 */
#include "tests/sim/path_model_world.h"

#include "tests/sim/path_model_net.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
	CALM_US = 15000000, /* after the faults both sides are silent by then */
	BEGIN_US = 7777777,
};

static void open_ends(struct path_world *world, const enum model_kind kinds[2])
{
	static const uint32_t maxima[] = {300, 1503, 1503, 4003, 9003, 65538};
	static const uint32_t credits[] = {262144, 262144, 300000, 1 << 20, 16 << 20};
	struct end_config configs[2];
	struct watch_side_config watched[2];

	world->message_max = maxima[world_below(world, 6)];
	for (unsigned s = 0; s < 2; s++) {
		uint32_t piece = world_pick_piece(world);
		configs[s] = (struct end_config){.piece_bytes = piece,
			.payload_bytes = world_pick_payload(world, piece),
			.message_max_bytes = world->message_max,
			.rx_credit_bytes = credits[world_below(world, 5)],
			.rx_slots_max = world_chance(world, 0.3) ? 1024 : 0,
			.tx_slots_max = world_chance(world, 0.2) ? 256 : 0,
			.bulk_deadline_us = world_chance(world, 0.2)
						    ? 400000 + (int64_t)world_below(world, 8000000)
						    : 0,
			.window = world_chance(world, 0.5) ? 300 : 20,
			.seed = model_random(&world->random)};
		if (kinds[s] == MODEL_PEER && world_chance(world, 0.3))
			configs[s].origin = UINT32_MAX - (uint32_t)world_below(world, 100);
	}
	for (unsigned s = 0; s < 2; s++) {
		configs[s].peer_credit_bytes = configs[1 - s].rx_credit_bytes;
		watched[s] = (struct watch_side_config){.payload_bytes = configs[s].payload_bytes,
			.piece_bytes = configs[s].piece_bytes,
			.rx_credit_bytes = configs[s].rx_credit_bytes,
			.bulk_deadline_us = configs[s].bulk_deadline_us,
			.origin = configs[s].origin};
	}
	watch_begin(world->watch, watched, world->trace);
	for (unsigned s = 0; s < 2; s++)
		end_open(&world->ends[s], s, kinds[s], &configs[s], &world->pool, world->watch,
			world_carry, world);
}

static void be_calm(struct path_world *world)
{
	uint32_t newest = world->ends[0].epoch > world->ends[1].epoch ? world->ends[0].epoch
								      : world->ends[1].epoch;

	for (unsigned s = 0; s < 2; s++) {
		struct model_end *end = &world->ends[s];
		world->pipes[s] = (struct pipe){.delay_us = (int64_t)world_below(world, 40000)};
		end->reading = true;
		end->refusing = false;
		if (end->epoch != newest)
			world_restart(world, s, newest);
		end_set_mtu(end, end->config.payload_bytes, end->config.piece_bytes, true);
	}
	world->calm = true;
	for (unsigned s = 0; s < 2; s++)
		end_turn(&world->ends[s], world->now);
}

/* Goes on until both sides are silent, and judges them. */
static void fall_silent(struct path_world *world)
{
	static const bool fates[2][2] = {{true, false}, {true, false}};
	bool tells[2] = {fates[0][world->ends[0].kind], fates[1][world->ends[1].kind]};
	int64_t began = world->now.us;

	while (world_run_until(world, began + CALM_US) && world->now.us < began + CALM_US)
		;
	if (watch_failure(world->watch))
		return;
	if (world->now.us >= began + CALM_US)
		watch_fail(world->watch,
			"both sides are not silent %d s after the last fault; deadlines in %" PRId64
			" and %" PRId64 " us",
			CALM_US / 1000000, end_next_deadline(&world->ends[0]).us - world->now.us,
			end_next_deadline(&world->ends[1]).us - world->now.us);
	for (unsigned s = 0; s < 2; s++) {
		if (end_waits(&world->ends[s]))
			watch_fail(world->watch, "side %c is silent and %u messages wait",
				'A' + (int)s,
				world->ends[s].waiting[0].count + world->ends[s].waiting[1].count);
		end_judge_silence(&world->ends[s]);
	}
	watch_quiet(world->watch, tells);
	if (world->now.us - began > world->longest_calm_us)
		world->longest_calm_us = world->now.us - began;
}

/* Some messages that must all arrive. */
static void write_calmly(struct path_world *world)
{
	for (unsigned s = 0; s < 2; s++) {
		for (unsigned i = 0; i < WORLD_FLOWS; i++) {
			uint32_t len = 2 + (uint32_t)world_below(world, 200);
			if (len > world->message_max)
				len = world->message_max;
			end_write(&world->ends[s], KCP_PATH_BULK, world->flows[i], len);
			end_write(&world->ends[s], (enum kcp_path_class)world_below(world, 4),
				world->flows[i], len);
		}
		end_turn(&world->ends[s], world->now);
	}
	fall_silent(world);
}

static void judge_freed(struct path_world *world)
{
	for (unsigned s = 0; s < 2; s++) {
		struct kcp_path *path = world->ends[s].path;
		end_trim(&world->ends[s], world->now);
		if (path && (kcp_path_tx_lanes(path) > 0 || kcp_path_rx_lanes(path) > 0))
			watch_fail(world->watch, "side %c keeps %u and %u lanes after 95 s",
				'A' + (int)s, kcp_path_tx_lanes(path), kcp_path_rx_lanes(path));
	}
}

const char *path_world_run(
	struct path_world *world, enum model_kind a, enum model_kind b, uint64_t seed, bool trace)
{
	const enum model_kind kinds[2] = {a, b};

	world->random = seed;
	world->trace = trace;
	world->calm = false;
	world->now = mono_at_us(BEGIN_US);
	world->late_us = world_chance(world, 0.5) ? 0 : (int64_t)world_below(world, 1000);
	world->one_byte[0] = world->one_byte[1] = 0;
	world_clear_net(world);
	for (int i = 0; i < WORLD_FLOWS; i++)
		world->flows[i] = i < 2 ? (uint32_t)i * 4095 : (uint32_t)world_below(world, 4096);
	for (unsigned s = 0; s < 2; s++) {
		world_pick_pipe(world, &world->pipes[s]);
	}
	open_ends(world, kinds);
	uint64_t whims = 3 + world_below(world, world_chance(world, 0.1) ? 60 : 16);
	int64_t pause = (int64_t)(1000 << world_below(world, 9));
	for (uint64_t i = 0; i < whims && !watch_failure(world->watch); i++) {
		world_one_whim(world);
		world_run_until(
			world, world->now.us + (int64_t)world_below(world, (uint64_t)pause));
	}
	if (!watch_failure(world->watch)) {
		be_calm(world);
		fall_silent(world);
	}
	if (!watch_failure(world->watch)) {
		watch_calm(world->watch);
		write_calmly(world);
	}
	if (!watch_failure(world->watch) && world_chance(world, 0.3)) {
		static const int64_t idle_us[] = {29000000, 31000000, 61000000, 95000000};
		int64_t idle = idle_us[world_below(world, 4)];
		world->now = mono_add_us(world->now, idle);
		if (idle > 90000000)
			judge_freed(world);
		else if (world_chance(world, 0.5))
			end_trim(&world->ends[world_below(world, 2)], world->now);
		write_calmly(world);
	}
	if (trace && watch_failure(world->watch))
		watch_dump(world->watch);
	for (unsigned s = 0; s < 2; s++)
		end_close(&world->ends[s]);
	if (world->pool.slots_used > 0)
		watch_fail(world->watch, "%zu slots were not given back", world->pool.slots_used);
	return watch_failure(world->watch);
}

struct path_world *path_world_new(void)
{
	struct path_world *world = calloc(1, sizeof(*world));

	if (!world)
		abort();
	world->watch = watch_new();
	pool_init(&world->pool, END_SLOT_BYTES, 1 << 17);
	for (unsigned s = 0; s < 2; s++) {
		world->replays[s].size = 1024;
		world->replays[s].seen = calloc(1, world->replays[s].size);
		if (!world->replays[s].seen)
			abort();
	}
	return world;
}

void path_world_free(struct path_world *world)
{
	if (!world)
		return;
	pool_fini(&world->pool);
	watch_free(world->watch);
	for (unsigned s = 0; s < 2; s++)
		free(world->replays[s].seen);
	free(world->slots);
	free(world->heap);
	free(world->unused);
	free(world);
}

const struct watch_totals *path_world_totals(const struct path_world *world)
{
	return watch_totals(world->watch);
}

int64_t path_world_longest_calm_us(const struct path_world *world)
{
	return world->longest_calm_us;
}
