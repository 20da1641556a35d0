/*
 * Whatever the network does, every byte arrives once and in order, and both ends fall silent afterwards. For each scenario
 * many seeds, and by each seed another configuration: cipher, code, profile, mode, windows, stream or messages.
 */
#include "sim_world.h"

#include <criterion/criterion.h>

enum {
	SEEDS = 200,
	NARROW_BPS = 2000000,
};

#define SECOND INT64_C(1000000)

static uint64_t pick(uint64_t *state, uint64_t below)
{
	return sim_draw(state, below);
}

static struct kcpvpn_config any_config(uint64_t *state)
{
	static const char *const ciphers[] = {
		"none", "salsa20", "salsa20", "aes-128-gcm", "aes", "xtea", "xor"};
	static const char *const modes[] = {"normal", "fast", "fast2", "fast3"};
	static const uint32_t codes[][2] = {{0, 0}, {10, 3}, {10, 3}, {3, 1}, {20, 10}, {1, 1}};
	static const uint32_t windows[] = {32, 128, 1024};
	struct kcpvpn_config config = sim_config();
	size_t code = (size_t)pick(state, 6);

	config.crypt = ciphers[pick(state, 7)];
	cr_assert_eq(kcpvpn_config_mode(&config, modes[pick(state, 4)]), 0);
	config.data_shards = codes[code][0];
	config.parity_shards = codes[code][1];
	config.profile = pick(state, 3) == 0 ? KCPVPN_PROFILE_5_6_1 : KCPVPN_PROFILE_5_6_72;
	config.mtu_bytes = pick(state, 3) == 0 ? 576 : 1350;
	config.snd_wnd = windows[pick(state, 3)];
	config.rcv_wnd = windows[pick(state, 3)];
	config.measured_window = pick(state, 2) == 0;
	config.ack_no_delay = pick(state, 4) == 0;
	config.no_congestion_window = pick(state, 8) != 0;
	return config;
}

/* The other end may differ in all that need not be the same. */
static struct kcpvpn_config other_config(const struct kcpvpn_config *one, uint64_t *state)
{
	struct kcpvpn_config config = any_config(state);

	config.crypt = one->crypt;
	return config;
}

static struct sim_plan any_plan(uint64_t *state)
{
	static const uint32_t sizes[] = {60, 500, 3000, 12000};
	struct sim_plan plan = {.messages = (uint32_t)pick(state, 150) + 1, .bytes_min = 8};

	plan.bytes_max = sizes[pick(state, 4)];
	if (pick(state, 2) == 0)
		plan.interval_us = (int64_t)pick(state, 20000) + 1;
	return plan;
}

static void run_one(const char *name, uint64_t seed, const struct link_config *up,
	const struct link_config *down, size_t spokes)
{
	uint64_t state = seed * 7919 + 1;
	struct sim_setup setup = {.name = name, .seed = seed, .spokes = spokes};

	setup.hub = any_config(&state);
	setup.spoke = other_config(&setup.hub, &state);
	setup.hub.stream = setup.spoke.stream = pick(&state, 3) == 0;
	/*
	 * Without a measured window, and with the congestion window off, it is kcp-go's own way: a whole window is sent
	 * again by each timeout. A narrow link is flooded by it and carries next to nothing, which is nobody's surprise.
	 */
	if (up->rate_bps > 0 && up->rate_bps < NARROW_BPS)
		setup.hub.measured_window = setup.spoke.measured_window = true;
	if (down->rate_bps > 0 && down->rate_bps < NARROW_BPS)
		setup.hub.measured_window = setup.spoke.measured_window = true;
	setup.to_hub = any_plan(&state);
	setup.from_hub = any_plan(&state);
	setup.reads_slowly = pick(&state, 8) == 0;
	setup.up = *up;
	setup.down = *down;
	struct sim_world *world = sim_open(&setup);
	int64_t begin = world->now_us;
	bool done = sim_finish(world, begin + 300 * SECOND);
	for (size_t i = 0; i < world->spoke_count; i++) {
		const struct sim_spoke *s = &world->spokes[i];
		cr_assert(done, "%s, seed %lu, spoke %zu: %u of %u and %u of %u messages arrived",
			name, (unsigned long)seed, i, s->to_hub.received, s->to_hub.plan.messages,
			s->from_hub.received, s->from_hub.plan.messages);
		cr_assert_eq(
			s->closed + s->hub_closed, 0, "%s, seed %lu", name, (unsigned long)seed);
	}
	/* silence: no wake-up, no datagram */
	sim_run(world, world->now_us + 150 * SECOND);
	uint64_t sent = world->hub.datagrams, woken = world->hub.wakes;
	for (size_t i = 0; i < world->spoke_count; i++) {
		sent += world->spokes[i].node.datagrams;
		woken += world->spokes[i].node.wakes;
	}
	sim_run(world, world->now_us + 3600 * SECOND);
	sent -= world->hub.datagrams;
	woken -= world->hub.wakes;
	for (size_t i = 0; i < world->spoke_count; i++) {
		sent -= world->spokes[i].node.datagrams;
		woken -= world->spokes[i].node.wakes;
	}
	cr_assert(sent == 0 && woken == 0, "%s, seed %lu: not silent afterwards", name,
		(unsigned long)seed);
	struct kcpvpn_stats stats = sim_stats(&world->hub);
	cr_assert_eq(stats.drop_segment + stats.drop_fec + stats.drop_memory, 0, "%s, seed %lu",
		name, (unsigned long)seed);
	if (up->corrupt_ppm == 0)
		cr_assert_eq(stats.drop_checksum + stats.drop_short + stats.fec_errors, 0,
			"%s, seed %lu", name, (unsigned long)seed);
	sim_close(world);
}

static void run_all(const char *name, struct link_config up, struct link_config down)
{
	unsigned seeds = sim_seeds(SEEDS);

	if (up.delay_us == 0)
		up.delay_us = 20000;
	if (down.delay_us == 0)
		down.delay_us = 20000;
	for (uint64_t seed = 1; seed <= seeds; seed++)
		run_one(name, seed, &up, &down, 1);
}

static void run_both_ways(const char *name, struct link_config link)
{
	run_all(name, link, link);
}

Test(delivery, clean)
{
	run_both_ways("clean", (struct link_config){0});
}

Test(delivery, loss_1)
{
	run_both_ways("1 % loss", (struct link_config){.loss_ppm = 10000});
}

Test(delivery, loss_5)
{
	run_both_ways("5 % loss", (struct link_config){.loss_ppm = 50000});
}

Test(delivery, loss_10)
{
	run_both_ways("10 % loss", (struct link_config){.loss_ppm = 100000});
}

Test(delivery, loss_20)
{
	run_both_ways("20 % loss", (struct link_config){.loss_ppm = 200000});
}

Test(delivery, loss_30)
{
	run_both_ways("30 % loss", (struct link_config){.loss_ppm = 300000});
}

Test(delivery, bursts)
{
	run_both_ways(
		"bursts of packets", (struct link_config){.burst_ppm = 100000, .burst_packets = 8});
	run_both_ways("bursts in time",
		(struct link_config){.rate_bps = 20000000, .burst_ppm = 50000, .burst_us = 30000});
}

Test(delivery, reordering)
{
	run_both_ways("a fifth comes late",
		(struct link_config){.reorder_ppm = 200000, .reorder_us = 50000});
	run_both_ways("jitter", (struct link_config){.jitter_us = 15000, .reorder_ppm = 500000});
}

Test(delivery, duplication)
{
	run_both_ways("all twice", (struct link_config){.duplicate_ppm = 1000000});
	run_both_ways("some twice, some late",
		(struct link_config){.duplicate_ppm = 300000, .reorder_ppm = 300000});
}

Test(delivery, corruption)
{
	run_both_ways("10 % damaged", (struct link_config){.corrupt_ppm = 100000});
}

Test(delivery, all_at_once)
{
	run_both_ways("all at once", (struct link_config){.rate_bps = 5000000,
					     .delay_us = 40000,
					     .jitter_us = 10000,
					     .loss_ppm = 50000,
					     .burst_ppm = 30000,
					     .burst_packets = 5,
					     .reorder_ppm = 50000,
					     .reorder_us = 30000,
					     .duplicate_ppm = 50000,
					     .corrupt_ppm = 30000});
}

Test(delivery, narrow_with_a_short_queue)
{
	run_both_ways("1 Mb/s, 10 packets of queue",
		(struct link_config){.rate_bps = 1000000, .queue_bytes = 15000});
}

Test(delivery, no_delay_at_all)
{
	run_both_ways("one microsecond", (struct link_config){.delay_us = 1});
}

Test(delivery, satellite)
{
	run_both_ways("satellite",
		(struct link_config){.rate_bps = 10000000, .delay_us = 300000, .loss_ppm = 20000});
}

Test(delivery, asymmetric)
{
	run_all("fast and lossy up, slow and clean down",
		(struct link_config){.rate_bps = 50000000, .loss_ppm = 200000},
		(struct link_config){.rate_bps = 500000, .delay_us = 100000});
	run_all("one way only loses", (struct link_config){0},
		(struct link_config){.loss_ppm = 300000});
}

Test(delivery, eight_spokes_at_one_hub)
{
	struct link_config link = {.rate_bps = 20000000,
		.delay_us = 20000,
		.loss_ppm = 50000,
		.reorder_ppm = 20000,
		.duplicate_ppm = 20000};
	unsigned seeds = sim_seeds(SEEDS / 4);

	for (uint64_t seed = 1; seed <= seeds; seed++)
		run_one("eight spokes", seed, &link, &link, 8);
}
