/* Outages, restarts of either end, silence, and that a run depends on nothing but its seed. */
#include "sim_world.h"

#include <criterion/criterion.h>

#define SECOND INT64_C(1000000)

static struct sim_setup setup_of(const char *name, uint64_t seed)
{
	struct sim_setup setup = {.name = name, .seed = seed};

	setup.hub = setup.spoke = sim_config();
	setup.hub.keepalive_us = setup.spoke.keepalive_us = 10 * SECOND;
	setup.hub.dead_after_us = setup.spoke.dead_after_us = 30 * SECOND;
	setup.up = setup.down = (struct link_config){
		.rate_bps = 20000000, .delay_us = 20000, .loss_ppm = 20000, .reorder_ppm = 10000};
	setup.to_hub = setup.from_hub = (struct sim_plan){
		.messages = 300, .bytes_min = 100, .bytes_max = 2000, .interval_us = 20000};
	return setup;
}

/* The conversation survives; what waits for longest arrives soon after. */
static void survive(const char *name, int64_t outage_us, int64_t within_us)
{
	unsigned seeds = sim_seeds(200);

	for (uint64_t seed = 1; seed <= seeds; seed++) {
		struct sim_setup setup = setup_of(name, seed);
		if (seed % 2)
			setup.to_hub.interval_us = 0;
		struct sim_world *world = sim_open(&setup);
		sim_run(world, world->now_us + 500000 + (int64_t)sim_random(world, 1000000));
		sim_outage(world, 0, outage_us);
		int64_t back = world->now_us + outage_us;
		cr_assert(sim_finish(world, back + within_us + 6 * SECOND), "%s, seed %lu", name,
			(unsigned long)seed);
		const struct sim_spoke *s = &world->spokes[0];
		cr_assert_eq(
			s->closed + s->hub_closed, 0, "%s, seed %lu", name, (unsigned long)seed);
		/* 6 s is what the timetable itself takes; the rest of the time was for catching up */
		cr_assert(sim_delay_us(&s->from_hub, 100) <= outage_us + within_us,
			"%s, seed %lu: %ld us", name, (unsigned long)seed,
			(long)sim_delay_us(&s->from_hub, 100));
		sim_close(world);
	}
}

Test(outage, of_3_seconds)
{
	survive("outage of 3 s", 3 * SECOND, 4 * SECOND);
}

Test(outage, of_20_seconds)
{
	survive("outage of 20 s", 20 * SECOND, 12 * SECOND);
}

Test(outage, for_good_ends_both_conversations)
{
	unsigned seeds = sim_seeds(50);

	for (uint64_t seed = 1; seed <= seeds; seed++) {
		struct sim_setup setup = setup_of("outage for good", seed);
		struct sim_world *world = sim_open(&setup);
		sim_run(world, world->now_us + SECOND);
		sim_outage(world, 0, 1000 * SECOND);
		sim_run(world, world->now_us + 45 * SECOND);
		const struct sim_spoke *s = &world->spokes[0];
		cr_assert(s->closed == 1 && s->hub_closed == 1, "seed %lu: %u %u",
			(unsigned long)seed, s->closed, s->hub_closed);
		cr_assert_eq(sim_stats(&world->hub).conversations, 0);
		cr_assert_eq(kcpvpn_node_next_deadline(world->hub.node), KCPVPN_NEVER);
		sim_close(world);
	}
}

/* The hub forgets all. The spoke finds out by the answers it gets, dials again, and all is as new. */
Test(restart, of_the_hub)
{
	unsigned seeds = sim_seeds(200);

	for (uint64_t seed = 1; seed <= seeds; seed++) {
		struct sim_setup setup = setup_of("restart of the hub", seed);
		setup.spokes = 1 + seed % 3;
		struct sim_world *world = sim_open(&setup);
		sim_run(world, world->now_us + SECOND + (int64_t)sim_random(world, 2 * SECOND));
		sim_restart_hub(world);
		int64_t restarted = world->now_us, slowest = 0;
		for (size_t i = 0; i < world->spoke_count; i++) {
			struct sim_spoke *s = &world->spokes[i];
			while (s->closed == 0 && world->now_us < restarted + 60 * SECOND)
				sim_run(world, world->now_us + 50000);
			cr_assert_eq(s->closed, 1, "seed %lu, spoke %zu never noticed",
				(unsigned long)seed, i);
			if (world->now_us - restarted > slowest)
				slowest = world->now_us - restarted;
		}
		cr_assert(slowest <= 10 * SECOND, "seed %lu: noticed after %ld us",
			(unsigned long)seed, (long)slowest);
		cr_assert_eq(sim_stats(&world->hub).passive_opens, 0,
			"seed %lu: the middle of an old conversation was shown as a new one",
			(unsigned long)seed);
		for (size_t i = 0; i < world->spoke_count; i++)
			sim_dial_again(world, i);
		cr_assert(sim_finish(world, world->now_us + 60 * SECOND), "seed %lu",
			(unsigned long)seed);
		sim_close(world);
	}
}

/* A spoke forgets all and dials from the same address: the hub replaces the old conversation. */
Test(restart, of_a_spoke)
{
	unsigned seeds = sim_seeds(200);

	for (uint64_t seed = 1; seed <= seeds; seed++) {
		struct sim_setup setup = setup_of("restart of a spoke", seed);
		setup.spokes = 2;
		struct sim_world *world = sim_open(&setup);
		sim_run(world, world->now_us + SECOND + (int64_t)sim_random(world, 2 * SECOND));
		sim_restart_spoke(world, 0);
		cr_assert(sim_finish(world, world->now_us + 60 * SECOND), "seed %lu",
			(unsigned long)seed);
		cr_assert_eq(world->spokes[0].hub_closed, 1, "replaced");
		cr_assert_eq(world->spokes[1].hub_closed, 0, "the other one does not notice");
		cr_assert_eq(sim_stats(&world->hub).passive_opens, 3);
		sim_close(world);
	}
}

/* Without keepalive nothing is due in an idle conversation: not one wake-up in an hour. */
Test(idle, nothing_wakes)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim_setup setup = setup_of("idle", seed);
		setup.spokes = 8;
		setup.hub.keepalive_us = setup.spoke.keepalive_us = 0;
		struct sim_world *world = sim_open(&setup);
		cr_assert(sim_finish(world, world->now_us + 60 * SECOND));
		sim_run(world, world->now_us + 10 * SECOND);
		uint64_t steps = world->steps, hash = world->hash;
		sim_run(world, world->now_us + 3600 * SECOND);
		cr_assert_eq(world->steps, steps + 1, "seed %lu: %lu steps", (unsigned long)seed,
			(unsigned long)(world->steps - steps));
		cr_assert_eq(world->hash, hash);
		struct kcpvpn_conv_stats stats;
		for (size_t i = 0; i < 8; i++) {
			kcpvpn_conv_stats(world->spokes[i].conv, &stats);
			cr_assert(stats.memory_bytes <= 16 * 1024);
			kcpvpn_conv_stats(world->spokes[i].hub_conv, &stats);
			cr_assert(stats.memory_bytes <= 16 * 1024);
		}
		sim_close(world);
	}
}

/* With keepalive it is a probe and its answer every so often, however long it lasts. */
Test(idle, keepalive_is_all_that_is_sent)
{
	struct sim_setup setup = setup_of("keepalive", 3);

	setup.up.loss_ppm = setup.down.loss_ppm = 0;
	struct sim_world *world = sim_open(&setup);
	cr_assert(sim_finish(world, world->now_us + 60 * SECOND));
	sim_run(world, world->now_us + 10 * SECOND);
	uint64_t sent = world->hub.datagrams + world->spokes[0].node.datagrams;
	sim_run(world, world->now_us + 3600 * SECOND);
	sent = world->hub.datagrams + world->spokes[0].node.datagrams - sent;
	/* two each 10 s, or four if both ends ask at the same time */
	cr_assert(sent >= 2 * 340 && sent <= 4 * 370, "%lu datagrams in an hour",
		(unsigned long)sent);
	cr_assert_eq(world->spokes[0].closed + world->spokes[0].hub_closed, 0);
	sim_close(world);
}

static uint64_t hash_of_run(uint64_t seed)
{
	struct sim_setup setup = setup_of("trace", seed);

	setup.spokes = 3;
	setup.up.duplicate_ppm = setup.down.corrupt_ppm = 20000;
	struct sim_world *world = sim_open(&setup);
	cr_assert(sim_finish(world, world->now_us + 60 * SECOND));
	uint64_t hash = world->hash;
	sim_close(world);
	return hash;
}

Test(trace, is_a_function_of_the_seed)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		uint64_t hash = hash_of_run(seed);
		cr_assert_eq(hash_of_run(seed), hash, "seed %lu", (unsigned long)seed);
		cr_assert_neq(hash_of_run(seed + 100), hash);
	}
}
