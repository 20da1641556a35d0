/*
 * How fast and how soon, by loss. Floors and bounds are generous: they are there to catch a collapse, not to measure. The
 * figures themselves are printed with SIM_FIGURES=1.
 */
#include "sim_world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define SECOND INT64_C(1000000)

static const struct link_config path = {
	.rate_bps = 20000000, .delay_us = 30000, .queue_bytes = 150000};

struct loss {
	const char *name;
	uint32_t loss_ppm;
	uint32_t burst_ppm;
	uint32_t burst_packets;
	double goodput_mbps; /* floor, of 20 Mb/s with 10/3 */
	int64_t median_us; /* bounds on the delay of small messages, one way, 30 ms of it the path's */
	int64_t p99_us;
};

static const struct loss losses[] = {
	{"0 %", 0, 0, 0, 10, 40000, 60000},
	{"1 %", 10000, 0, 0, 9, 40000, 150000},
	{"5 %", 50000, 0, 0, 8, 40000, 250000},
	{"10 %", 100000, 0, 0, 7, 50000, 300000},
	{"20 %", 200000, 0, 0, 4, 80000, 500000},
	{"30 %", 300000, 0, 0, 2, 150000, 800000},
	{"5 % in bursts of 4", 0, 50000, 4, 6, 40000, 400000},
};

static struct link_config lossy(const struct loss *loss)
{
	struct link_config link = path;

	link.loss_ppm = loss->loss_ppm;
	link.burst_ppm = loss->burst_ppm;
	link.burst_packets = loss->burst_packets;
	return link;
}

static bool figures(void)
{
	return getenv("SIM_FIGURES") != NULL;
}

Test(figures, goodput_of_a_bulk_transfer)
{
	unsigned seeds = sim_seeds(8);

	for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
		double worst = 1e9, sum = 0;
		for (uint64_t seed = 1; seed <= seeds; seed++) {
			struct sim_setup setup = {.name = "bulk", .seed = seed};
			setup.hub = setup.spoke = sim_config();
			setup.up = setup.down = lossy(&losses[i]);
			setup.to_hub = (struct sim_plan){
				.messages = 4000, .bytes_min = 1298, .bytes_max = 1298};
			struct sim_world *world = sim_open(&setup);
			int64_t begin = world->now_us;
			cr_assert(sim_finish(world, begin + 300 * SECOND), "%s, seed %lu",
				losses[i].name, (unsigned long)seed);
			double mbps = sim_goodput_bps(&world->spokes[0].to_hub, begin) / 1e6;
			worst = mbps < worst ? mbps : worst;
			sum += mbps;
			sim_close(world);
		}
		if (figures())
			fprintf(stderr, "goodput at %s: mean %.1f, least %.1f Mb/s\n",
				losses[i].name, sum / seeds, worst);
		cr_assert(sum / seeds >= losses[i].goodput_mbps, "%s: %.1f Mb/s", losses[i].name,
			sum / seeds);
		cr_assert(worst >= losses[i].goodput_mbps / 2, "%s: %.1f Mb/s", losses[i].name,
			worst);
	}
}

/* 50 small messages a second each way, as a call or a game sends them. */
Test(figures, delay_of_small_messages)
{
	unsigned seeds = sim_seeds(8);

	for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
		int64_t median = 0, p99 = 0, most = 0;
		for (uint64_t seed = 1; seed <= seeds; seed++) {
			struct sim_setup setup = {.name = "small messages", .seed = seed};
			setup.hub = setup.spoke = sim_config();
			setup.up = setup.down = lossy(&losses[i]);
			setup.to_hub = setup.from_hub = (struct sim_plan){.messages = 1000,
				.bytes_min = 200,
				.bytes_max = 200,
				.interval_us = 20000};
			struct sim_world *world = sim_open(&setup);
			cr_assert(sim_finish(world, world->now_us + 300 * SECOND), "%s, seed %lu",
				losses[i].name, (unsigned long)seed);
			const struct sim_flow *flow = &world->spokes[0].to_hub;
			median += sim_delay_us(flow, 50) / seeds;
			p99 += sim_delay_us(flow, 99) / seeds;
			most = sim_delay_us(flow, 100) > most ? sim_delay_us(flow, 100) : most;
			sim_close(world);
		}
		if (figures())
			fprintf(stderr, "delay at %s: median %.1f, p99 %.1f, longest %.1f ms\n",
				losses[i].name, (double)median / 1e3, (double)p99 / 1e3,
				(double)most / 1e3);
		cr_assert(median <= losses[i].median_us, "%s: median %.1f ms", losses[i].name,
			(double)median / 1e3);
		cr_assert(p99 <= losses[i].p99_us, "%s: p99 %.1f ms", losses[i].name,
			(double)p99 / 1e3);
	}
}

/* A transfer that always has more must not fill the queue of the path: who sends beside it would wait. */
Test(figures, a_bulk_transfer_leaves_the_queue_short)
{
	struct sim_setup setup = {.name = "queue", .seed = 1};

	setup.hub = setup.spoke = sim_config();
	setup.up = setup.down = path;
	setup.up.queue_bytes = setup.down.queue_bytes = 1500000; /* 600 ms */
	setup.to_hub = (struct sim_plan){.messages = 4000, .bytes_min = 1298, .bytes_max = 1298};
	struct sim_world *world = sim_open(&setup);
	cr_assert(sim_finish(world, world->now_us + 60 * SECOND));
	uint64_t most = world->spokes[0].up.stats.queue_bytes_most;
	if (figures())
		fprintf(stderr, "queue of a bulk transfer: %lu bytes at most\n",
			(unsigned long)most);
	cr_assert(most < 500000, "%lu bytes", (unsigned long)most);
	sim_close(world);
}
