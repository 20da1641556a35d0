/*
 * The model of TCP against what Linux does, without a tunnel: what one flow gets through a link of 100 Mb/s, 60 ms and a queue of
 * one such product, with random loss in both directions. The figures were measured with iperf3 on the lab's link, 15 s each. With
 * much loss the model is somewhat below them, so what it finds of a tunnel is not too good.
 */
#include "inner_flow.h"
#include "inner_world.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define SECOND INT64_C(1000000)

static double goodput_mbps(enum inner_tcp_control control, uint32_t loss_ppm, uint64_t seed,
	int64_t us, struct inner_tcp_stats *ret_stats)
{
	struct inner_world_options options = {.seed = seed};
	static struct inner_world world;

	for (size_t side = 0; side < 2; side++)
		options.link[side] = (struct link_config){.rate_bps = 100000000,
			.delay_us = 30000,
			.queue_bytes = 750000,
			.loss_ppm = loss_ppm};
	inner_world_init(&world, &options);
	struct inner_flow *flow = inner_flow_bulk(&world, INNER_WORLD_PLAIN, control, false);
	inner_world_run(&world, us);
	double mbps = (double)inner_flow_delivered(flow) * 8 / (double)us;
	cr_assert_eq(flow->ends[1].stats.damaged, 0);
	*ret_stats = flow->ends[0].stats;
	inner_world_fini(&world);
	return mbps;
}

Test(inner_tcp, gets_what_linux_gets_without_a_tunnel)
{
	static const struct {
		enum inner_tcp_control control;
		uint32_t loss_ppm;
		double least_mbps, most_mbps;
	} rows[] = {
		{INNER_TCP_CUBIC, 0, 90, 96},	    /* measured: 93 */
		{INNER_TCP_CUBIC, 10000, 2.1, 3.0}, /* 2.6 */
		{INNER_TCP_CUBIC, 30000, 0.9, 1.6}, /* 1.5 */
		{INNER_TCP_CUBIC, 50000, 0.6, 0.9}, /* 0.75 */
		{INNER_TCP_CUBIC, 100000, .35, .6}, /* 0.54 */
		{INNER_TCP_RENO, 0, 90, 96},
		{INNER_TCP_RENO, 10000, 2.0, 3.0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned runs = rows[i].loss_ppm ? 12 : 1;
		struct inner_tcp_stats stats;
		double mean = 0;
		for (uint64_t seed = 1; seed <= runs; seed++)
			mean += goodput_mbps(rows[i].control, rows[i].loss_ppm, seed, 15 * SECOND,
					&stats) /
				runs;
		printf("plain %s, %4.1f %% loss: %6.2f Mb/s (last run: %lu sent, %lu resent, %lu "
		       "RTO, "
		       "%lu undone)\n",
			rows[i].control == INNER_TCP_CUBIC ? "cubic" : "reno",
			rows[i].loss_ppm / 1e4, mean, (unsigned long)stats.segments,
			(unsigned long)stats.resent, (unsigned long)stats.timeouts,
			(unsigned long)stats.undone);
		cr_assert_geq(mean, rows[i].least_mbps, "row %zu", i);
		cr_assert_leq(mean, rows[i].most_mbps, "row %zu", i);
	}
}
