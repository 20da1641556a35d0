/*
 * What users of the kcp-go wire get: a tunnel with inner TCP in virtual time, with kcptun's FEC 10/3 and mode fast2. The link has
 * a drop-tail queue of one round trip. Delays of pings are what is added to the idle tunnel's median.
 *
 * With 10/3 and headers a link of 100 Mb/s carries 69 Mb/s of TCP payload at most. By default one seed of each row runs, with
 * LONG=1 four.
 */
#include "inner_flow.h"
#include "inner_kcp_go.h"
#include "inner_world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define SECOND INT64_C(1000000)
#define MS INT64_C(1000)

enum {
	BULK_MAX = 4,
	IDLE_US = 2000000,
	WARM_US = 5000000,
	RUN_US = 10000000,
};

static struct inner_world world;

struct cell {
	unsigned mbps, rtt_ms, loss_percent, bulk;
	bool fixed;
	double goodput_mbps;	   /* at least */
	int64_t median_us, p99_us; /* at most; 0 = not asked */
};

struct figures {
	double goodput_mbps;
	struct inner_delays ping;
	uint64_t refused;
};

static void make_world(const struct cell *cell, uint64_t seed)
{
	struct kcpvpn_config config = inner_kcp_go_config();
	struct inner_world_options options = {.seed = seed, .tunnels = 1, .kcp_go = &config};

	config.measured_window = !cell->fixed;
	options.mtu_bytes = (uint16_t)kcpvpn_config_mss(&config);
	for (size_t side = 0; side < 2; side++) {
		options.link[side] = (struct link_config){
			.rate_bps = cell->mbps * UINT64_C(1000000),
			.delay_us = cell->rtt_ms * MS / 2,
			.queue_us = cell->rtt_ms * MS,
			.loss_ppm = cell->loss_percent * 10000,
		};
	}
	inner_world_init(&world, &options);
	world.options.kcp_go = NULL; /* it was ours */
}

static struct figures run_cell(const struct cell *cell, uint64_t seed)
{
	struct inner_flow *bulk[BULK_MAX], *ping;
	struct figures figures = {0};
	uint64_t before = 0, after = 0;

	make_world(cell, seed);
	ping = inner_flow_add(&world, 0, INNER_FLOW_PING);
	struct mono began = world.now;
	inner_world_run(&world, IDLE_US);
	for (unsigned i = 0; i < cell->bulk; i++)
		bulk[i] = inner_flow_bulk(&world, 0, INNER_TCP_CUBIC, false);
	inner_world_run(&world, WARM_US);
	for (unsigned i = 0; i < cell->bulk; i++)
		before += inner_flow_delivered(bulk[i]);
	struct mono from = world.now;
	inner_world_run(&world, RUN_US);
	for (unsigned i = 0; i < cell->bulk; i++) {
		after += inner_flow_delivered(bulk[i]);
		cr_assert_eq(bulk[i]->ends[1].stats.damaged, 0);
	}
	figures.goodput_mbps = (double)(after - before) * 8 / RUN_US;
	struct mono to = world.now;
	inner_world_run(&world, SECOND);
	struct inner_delays idle = inner_flow_delays(ping, began, mono_add_us(began, IDLE_US), 0);
	figures.ping = inner_flow_delays(ping, from, to, idle.p50_us);
	figures.refused = world.ends[0][0].counters.refused + world.ends[0][1].counters.refused;
	inner_world_fini(&world);
	return figures;
}

static void hold(const struct cell *cell)
{
	uint64_t seeds = getenv("LONG") ? 4 : 1;

	for (uint64_t seed = 1; seed <= seeds; seed++) {
		struct figures f = run_cell(cell, seed);
		printf("kcp-go%s %3u Mb/s, %u ms, %2u %% loss, %u flows: %5.1f Mb/s, ping %+6.1f "
		       "ms, "
		       "p99 %+6.1f ms\n",
			cell->fixed ? " fixed" : "", cell->mbps, cell->rtt_ms, cell->loss_percent,
			cell->bulk, f.goodput_mbps, (double)f.ping.p50_us / 1e3,
			(double)f.ping.p99_us / 1e3);
		fflush(stdout);
		cr_assert_eq(f.refused, 0, "%lu packets had no room after it was promised",
			(unsigned long)f.refused);
		cr_assert(f.goodput_mbps >= cell->goodput_mbps, "%.1f Mb/s, but %.1f are held",
			f.goodput_mbps, cell->goodput_mbps);
		if (cell->median_us == 0)
			continue;
		cr_assert_eq(f.ping.lost, 0);
		cr_assert(f.ping.p50_us <= cell->median_us, "median %ld us", (long)f.ping.p50_us);
		cr_assert(f.ping.p99_us <= cell->p99_us, "p99 %ld us", (long)f.ping.p99_us);
	}
}

/* Promised are 50 ms. What is held is a queue of a quarter of the round trip, which the window makes, and a little. */
Test(kcp_go, a_ping_beside_bulk_is_quick, .timeout = 600)
{
	static const struct cell cells[] = {
		{20, 60, 0, 4, false, 12.2, 25 * MS, 35 * MS},
		{100, 60, 0, 4, false, 66, 25 * MS, 35 * MS},
		{100, 60, 0, 1, false, 66, 25 * MS, 35 * MS},
	};

	for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
		hold(&cells[i]);
}

Test(kcp_go, loss_leaves_most_of_the_goodput, .timeout = 600)
{
	static const struct cell cells[] = {
		{100, 60, 1, 1, false, 65, 0, 0},
		{100, 60, 5, 1, false, 50, 0, 0},
		{100, 60, 10, 1, false, 45, 0, 0},
		{100, 60, 20, 1, false, 18, 0, 0},
		{20, 60, 5, 4, false, 12, 0, 0},
	};

	for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
		hold(&cells[i]);
}

/* The window as kcptun has it fills the link's queue: who asks for it gets it. */
Test(kcp_go, a_fixed_window_is_what_it_says, .timeout = 600)
{
	const struct cell cell = {20, 60, 0, 4, true, 5, 0, 0};
	struct figures f = run_cell(&cell, 1);

	cr_assert(f.ping.p50_us >= 50 * MS, "median %ld us", (long)f.ping.p50_us);
}
