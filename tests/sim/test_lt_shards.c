/*
 * Shards of one peer beside somebody else's flow: each has a congestion controller of its own, and together they must not take
 * more of a bottleneck than one would, nor waste it when they are alone.
 */
#include "lt_world.h"
#include "tests/thorough.h"

#include <criterion/criterion.h>
#include <criterion/logging.h>

static struct lt_world world;

static void open_shards(unsigned shards, unsigned cubics, double mbps, int64_t queue_ms)
{
	struct lt_config config = {
		.link =
			{
				.rate_bps = (uint64_t)(mbps * 1e6),
				.delay_us = 30000,
				.queue_us = queue_ms * 1000,
			},
		.flows = shards,
		.cubics = cubics,
		.seed = 1,
	};

	lt_world_open(&world, &config);
	for (unsigned i = 0; i < shards; i++)
		kcp_path_set_shards(world.flows[i].a, shards);
}

static double own_bps(unsigned shards)
{
	double own = 0;

	for (unsigned i = 0; i < shards; i++)
		own += lt_flow_bps(&world.flows[i], 20, 60);
	return own;
}

/* Of a path beside one CUBIC flow. */
static double share_of(unsigned shards, double mbps, int64_t queue_ms)
{
	open_shards(shards, 1, mbps, queue_ms);
	lt_world_run(&world, 60000000);
	double own = own_bps(shards);
	double theirs = lt_cubic_bps(&world.cubics[0], 20, 60);
	lt_world_close(&world);
	return own / (own + theirs);
}

Test(lt_shards, two_take_no_more_than_one)
{
	static const double mbps[] = {20, 50};
	static const int64_t queues_ms[] = {20, 60, 180};

	for (size_t m = 0; m < (thorough() ? 2 : 1); m++) {
		for (size_t q = 0; q < (thorough() ? 3 : 1); q++) {
			double one = share_of(1, mbps[m], queues_ms[q]);
			double two = share_of(2, mbps[m], queues_ms[q]);
			cr_log_info("%.0f Mb/s, queue %ld ms: one takes %.3f, two %.3f", mbps[m],
				(long)queues_ms[q], one, two);
			if (long_run())
				cr_log_info("three take %.3f", share_of(3, mbps[m], queues_ms[q]));
			cr_assert_leq(two, one + 0.10, "%.0f Mb/s, queue %ld ms: %.3f, %.3f",
				mbps[m], (long)queues_ms[q], one, two);
			cr_assert_geq(two, 0.20);
		}
	}
}

Test(lt_shards, alone_they_fill_the_path_and_share_it)
{
	for (unsigned shards = 2; shards <= (thorough() ? 3 : 2); shards++) {
		open_shards(shards, 0, 50, 60);
		lt_world_run(&world, 60000000);
		double own = own_bps(shards), square = 0;
		for (unsigned i = 0; i < shards; i++) {
			double bps = lt_flow_bps(&world.flows[i], 20, 60);
			square += bps * bps;
		}
		cr_log_info("%u shards: %.1f Mb/s, Jain's index %.2f, queue %.0f ms", shards,
			own / 1e6, own * own / square / shards, lt_world_queue_ms(&world, 0.5));
		cr_assert_geq(own, 0.85 * 50e6 * 1436 / 1500);
		cr_assert_geq(own * own / square / shards, 0.8);
		cr_assert_leq(lt_world_queue_ms(&world, 0.5), 30);
		lt_world_close(&world);
	}
}
