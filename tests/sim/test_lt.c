/*
 * The congestion controller against all that is known to break one: random loss, shallow and deep queues, bursts,
 * acknowledgements in steps, slow links, links that become slower, lose more or vanish, sources that pause, CUBIC flows and
 * its own kind beside it. Rows are floors; run with --verbose=1 for what was reached.
 */
#include "lt_world.h"
#include "tests/thorough.h"

#include <criterion/criterion.h>
#include <string.h>

static struct lt_world world;

static struct link_config link_of(double mbps, int64_t rtt_ms, double loss, int64_t queue_ms)
{
	return (struct link_config){
		.rate_bps = (uint64_t)(mbps * 1e6),
		.delay_us = rtt_ms * 500,
		.queue_us = queue_ms * 1000,
		.loss_ppm = (uint32_t)(loss * 1e6),
	};
}

static void open_one(struct link_config link, enum lt_source source, uint64_t seed)
{
	struct lt_config config = {.link = link, .flows = 1, .sources = {source}, .seed = seed};

	lt_world_open(&world, &config);
}

/* Bits a second that arrive in the next `us`. */
static double goodput(unsigned flow, int64_t us)
{
	uint64_t before = world.flows[flow].read_bytes;

	lt_world_run(&world, us);
	return (double)(world.flows[flow].read_bytes - before) * 8e6 / (double)us;
}

static double mbps_of(double bps)
{
	return bps / 1e6;
}

struct cell {
	double mbps;
	int64_t rtt_ms;
	double loss;
	int64_t queue_ms;
	double share; /* of (1 - loss) x rate over the first 15 s, at least */
	double queue; /* median of the last 12 s, ms, at most */
};

static void check_cells(const struct cell *cells, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct cell *cell = &cells[i];
		/* A second of ten times the rate is ten times the packets. */
		if (!thorough() && cell->mbps > 20)
			continue;
		for (uint64_t seed = 1; seed <= (thorough() ? 2 : 1); seed++) {
			open_one(link_of(cell->mbps, cell->rtt_ms, cell->loss, cell->queue_ms),
				LT_GREEDY, seed);
			double early = goodput(0, 3000000);
			lt_world_mark(&world);
			double dropped = (double)world.out.stats.dropped_queue;
			double sent = (double)world.out.stats.in_packets;
			double late = goodput(0, 12000000);
			double best = cell->mbps * 1e6 * (1 - cell->loss);
			double share = (early * 3 + late * 12) / 15 / best;
			double median = lt_world_queue_ms(&world, 0.5);
			dropped = ((double)world.out.stats.dropped_queue - dropped) /
				  ((double)world.out.stats.in_packets - sent);
			cr_log_info(
				"%5.1f Mb/s RTT %3ld loss %4.1f %% queue %3ld: %.3f, then %.3f; "
				"queue %2.0f ms, p95 %2.0f; dropped %.2f %%",
				cell->mbps, (long)cell->rtt_ms, cell->loss * 100,
				(long)cell->queue_ms, share, late / best, median,
				lt_world_queue_ms(&world, 0.95), dropped * 100);
			cr_assert(share >= cell->share, "%.1f Mb/s RTT %ld loss %.2f: %.3f",
				cell->mbps, (long)cell->rtt_ms, cell->loss, share);
			cr_assert(median <= cell->queue, "%.1f Mb/s RTT %ld loss %.2f: %.0f ms",
				cell->mbps, (long)cell->rtt_ms, cell->loss, median);
			cr_assert(dropped <= 0.01, "%.1f Mb/s RTT %ld loss %.2f: %.4f dropped",
				cell->mbps, (long)cell->rtt_ms, cell->loss, dropped);
			lt_world_close(&world);
		}
	}
}

Test(lt, random_loss)
{
	static const struct cell cells[] = {
		{20, 60, 0, 100, 0.90, 5},
		{20, 60, 0.01, 100, 0.88, 5},
		{20, 60, 0.03, 100, 0.86, 10},
		{20, 60, 0.05, 100, 0.84, 10},
		{20, 60, 0.10, 100, 0.80, 10},
		{20, 60, 0.20, 100, 0.76, 15},
		{20, 60, 0.30, 100, 0.72, 20},
	};

	check_cells(cells, sizeof(cells) / sizeof(cells[0]));
}

Test(lt, random_loss_fast)
{
	static const struct cell cells[] = {
		{100, 60, 0, 60, 0.90, 5},
		{100, 60, 0.01, 60, 0.88, 5},
		{100, 60, 0.03, 60, 0.86, 10},
		{100, 60, 0.05, 60, 0.84, 10},
		{100, 60, 0.10, 60, 0.80, 10},
		{100, 60, 0.20, 60, 0.76, 10},
		{100, 60, 0.30, 60, 0.72, 10},
	};

	check_cells(cells, sizeof(cells) / sizeof(cells[0]));
}

Test(lt, other_distances)
{
	static const struct cell cells[] = {
		{20, 20, 0, 100, 0.90, 5},
		{20, 20, 0.05, 100, 0.85, 10},
		{20, 20, 0.20, 100, 0.80, 15},
		{100, 20, 0.05, 20, 0.85, 5},
		{100, 20, 0.30, 20, 0.80, 10},
		{20, 200, 0, 200, 0.83, 5},
		{20, 200, 0.05, 200, 0.77, 10},
		{20, 200, 0.20, 200, 0.70, 15},
		{100, 200, 0, 200, 0.80, 5},
		{100, 200, 0.05, 200, 0.75, 5},
	};

	check_cells(cells, sizeof(cells) / sizeof(cells[0]));
}

/* A queue that a probe overflows: the estimate must not run after its own sending, nor yield to its own losses. */
Test(lt, shallow_queue)
{
	static const struct cell cells[] = {
		{100, 60, 0, 5, 0.86, 5},
		{100, 60, 0.05, 5, 0.84, 5},
		{100, 60, 0, 1, 0.84, 1},
		{20, 60, 0, 5, 0.86, 5},
	};

	check_cells(cells, sizeof(cells) / sizeof(cells[0]));
}

Test(lt, slow_link)
{
	static const struct cell cells[] = {
		{0.5, 60, 0, 100, 0.85, 24},
		{0.5, 60, 0.05, 100, 0.80, 24},
		{2, 60, 0.05, 100, 0.85, 6},
	};

	check_cells(cells, sizeof(cells) / sizeof(cells[0]));
}

Test(lt, gigabit)
{
	static const struct cell cells[] = {
		{1000, 1, 0, 10, 0.85, 5},
		{1000, 10, 0.01, 10, 0.85, 5},
	};

	check_cells(cells, sizeof(cells) / sizeof(cells[0]));
}

Test(lt, bursts)
{
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct link_config link = link_of(20, 60, 0, 100);
		link.burst_ppm = 50000;
		link.burst_us = 10000;
		open_one(link, LT_GREEDY, seed);
		double share = goodput(0, 15000000) / 19e6;
		cr_log_info("bursts: %.3f", share);
		cr_assert(share >= 0.75);
		lt_world_close(&world);
	}
}

Test(lt, acknowledgements_in_steps)
{
	static const int64_t holds_us[] = {10000, 20000, 50000};

	for (size_t i = 0; i < sizeof(holds_us) / sizeof(holds_us[0]); i++) {
		struct lt_config config = {.link = link_of(100, 60, 0.01, 60),
			.flows = 1,
			.hold_us = holds_us[i],
			.seed = 3};
		lt_world_open(&world, &config);
		double share = goodput(0, 15000000) / 99e6;
		double median = lt_world_queue_ms(&world, 0.5);
		cr_log_info("steps of %ld ms: %.3f, queue %.0f ms", (long)holds_us[i] / 1000, share,
			median);
		cr_assert(share >= 0.80);
		cr_assert(median <= 10);
		lt_world_close(&world);
	}
}

/* ---- beginnings -------------------------------------------------------------------------------------------------- */

Test(lt, start)
{
	open_one(link_of(100, 60, 0, 60), LT_GREEDY, 5);
	goodput(0, 1500000);
	double after = goodput(0, 1000000);
	cr_log_info("after 1.5 s: %.1f Mb/s", mbps_of(after));
	cr_assert(after >= 0.95 * 92.3e6);
	lt_world_close(&world);

	open_one(link_of(100, 60, 0, 60), LT_RAMP, 5);
	double ramp = goodput(0, 10000000);
	cr_log_info("a window that doubles: %.1f Mb/s in 10 s", mbps_of(ramp));
	cr_assert(ramp >= 75e6);
	lt_world_close(&world);
}

/* What a thin source shows of the path must not be taken for the path, before or after it was known. */
Test(lt, thin_then_greedy)
{
	for (int known = 0; known < 2; known++) {
		open_one(link_of(20, 60, 0.05, 60), known ? LT_GREEDY : LT_THIN, 6);
		lt_world_run(&world, 4000000);
		world.flows[0].source = LT_THIN;
		world.flows[0].source_at = world.now;
		lt_world_run(&world, 20000000);
		world.flows[0].source = LT_GREEDY;
		goodput(0, 1500000);
		double after = goodput(0, 2000000);
		cr_log_info("thin, then greedy: %.1f Mb/s", mbps_of(after));
		cr_assert(after >= 0.75 * 19e6);
		lt_world_close(&world);
	}
}

/* Long silence: half of what was known is a start, and a path that became much slower meanwhile is not flooded for long. */
Test(lt, idle_start)
{
	open_one(link_of(20, 60, 0, 100), LT_GREEDY, 7);
	lt_world_run(&world, 5000000);
	world.flows[0].source = LT_SILENT;
	lt_world_run(&world, 8000000);
	world.flows[0].source = LT_GREEDY;
	goodput(0, 500000);
	double same = goodput(0, 1000000);
	cr_log_info("after silence: %.1f Mb/s", mbps_of(same));
	cr_assert(same >= 0.85 * 20e6);
	world.flows[0].source = LT_SILENT;
	lt_world_run(&world, 8000000);
	struct link_config slow = link_of(2, 60, 0, 500);
	lt_world_link(&world, &slow);
	world.flows[0].source = LT_GREEDY;
	lt_world_run(&world, 4000000);
	lt_world_mark(&world);
	double after = goodput(0, 4000000);
	cr_log_info("on a slower path: %.2f Mb/s, queue %.0f ms", mbps_of(after),
		lt_world_queue_ms(&world, 0.5));
	cr_assert(after >= 0.75 * 2e6);
	cr_assert(lt_world_queue_ms(&world, 0.5) <= 15);
	lt_world_close(&world);
}

/* ---- changes ----------------------------------------------------------------------------------------------------- */

Test(lt, slower_link)
{
	for (int64_t rtt_ms = 20; rtt_ms <= 60; rtt_ms += 40) {
		struct link_config link = link_of(20, rtt_ms, 0, 100);
		open_one(link, LT_GREEDY, 8);
		lt_world_run(&world, 8000000);
		link.rate_bps = 5000000;
		link.queue_us = 0;
		link.queue_bytes = 250000; /* as many as before */
		lt_world_link(&world, &link);
		lt_world_run(&world, 3000000);
		lt_world_mark(&world);
		double slow = goodput(0, 6000000);
		double median = lt_world_queue_ms(&world, 0.5);
		cr_log_info("RTT %ld: %.2f Mb/s, queue %.0f ms, p95 %.0f", (long)rtt_ms,
			mbps_of(slow), median, lt_world_queue_ms(&world, 0.95));
		cr_assert(median <= 5);
		cr_assert(lt_world_queue_ms(&world, 0.95) <= 40);
		cr_assert(slow >= 0.85 * 5e6);
		link.rate_bps = 20000000;
		lt_world_link(&world, &link);
		lt_world_run(&world, 4000000);
		double again = goodput(0, 2000000);
		cr_log_info("RTT %ld: and back, %.1f Mb/s", (long)rtt_ms, mbps_of(again));
		cr_assert(again >= 0.85 * 20e6);
		lt_world_close(&world);
	}
}

/* A window made for the shorter way holds nothing on the longer one, and must not starve until the next look. */
Test(lt, longer_way)
{
	static const struct {
		int64_t from_ms, to_ms;
		double loss, soon, late;
	} rows[] = {{0, 60, 0, .6, .85}, {1, 200, 0, .3, .85}, {5, 60, 0, .6, .85},
		{5, 60, .05, .6, .8}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (uint64_t seed = 1; seed <= 4; seed++) {
			open_one(link_of(20, rows[i].from_ms, rows[i].loss, 100), LT_GREEDY, seed);
			lt_world_run(&world, 5000000 + (int64_t)seed * 400000);
			struct link_config link = link_of(20, rows[i].to_ms, rows[i].loss, 100);
			lt_world_link(&world, &link);
			double soon = goodput(0, 3000000) / 20e6;
			lt_world_mark(&world);
			double late = goodput(0, 3000000) / 20e6;
			cr_log_info("RTT %ld -> %ld ms, loss %.2f: %.3f in 3 s, then %.3f; queue "
				    "%.0f ms",
				(long)rows[i].from_ms, (long)rows[i].to_ms, rows[i].loss, soon,
				late, lt_world_queue_ms(&world, 0.5));
			cr_assert(soon >= rows[i].soon);
			cr_assert(late >= rows[i].late);
			cr_assert(lt_world_queue_ms(&world, 0.5) <= 10);
			lt_world_close(&world);
		}
	}
}

/* Loss that comes and goes must be learned before the estimate has shrunk by it. */
Test(lt, loss_begins)
{
	for (int64_t rtt_ms = 20; rtt_ms <= 60; rtt_ms += 40) {
		struct link_config link = link_of(20, rtt_ms, 0, 100);
		open_one(link, LT_GREEDY, 9);
		lt_world_run(&world, 6000000);
		link.loss_ppm = 300000;
		lt_world_link(&world, &link);
		double soon = goodput(0, 3000000) / 14e6;
		double late = goodput(0, 4000000) / 14e6;
		link.loss_ppm = 0;
		lt_world_link(&world, &link);
		lt_world_run(&world, 3000000);
		lt_world_mark(&world);
		double clean = goodput(0, 4000000) / 20e6;
		cr_log_info("RTT %ld: %.3f soon, %.3f late, %.3f when it ended, queue %.0f ms",
			(long)rtt_ms, soon, late, clean, lt_world_queue_ms(&world, 0.5));
		cr_assert(soon >= 0.60);
		cr_assert(late >= 0.75);
		cr_assert(clean >= 0.85);
		cr_assert(lt_world_queue_ms(&world, 0.5) <= 20);
		lt_world_close(&world);
	}
}

Test(lt, outage)
{
	static const int64_t rtts_ms[] = {20, 60, 200};

	for (size_t i = 0; i < sizeof(rtts_ms) / sizeof(rtts_ms[0]); i++) {
		open_one(link_of(20, rtts_ms[i], 0.01, rtts_ms[i]), LT_GREEDY, 10);
		lt_world_run(&world, 6000000);
		struct mono back = mono_add_us(world.now, 3000000);
		link_model_outage(&world.out, world.now, back);
		link_model_outage(&world.back, world.now, back);
		lt_world_run(&world, 3000000);
		double first = goodput(0, 2 * rtts_ms[i] * 1000 + 300000);
		double later = goodput(0, 3000000);
		cr_log_info("RTT %ld: %.1f, then %.1f Mb/s", (long)rtts_ms[i], mbps_of(first),
			mbps_of(later));
		cr_assert(first > 0);
		cr_assert(later >= 0.65 * 20e6);
		lt_world_close(&world);
	}
}

/* ---- others ------------------------------------------------------------------------------------------------------ */

struct rival {
	double mbps;
	int64_t queue_ms;
	double least, most; /* share of the path */
};

/* Beside a CUBIC flow that starts with it, before it, or after it. */
Test(lt, beside_cubic)
{
	static const struct rival rivals[] = {
		{50, 20, 0.30, 0.70},
		{50, 60, 0.30, 0.75},
		{50, 180, 0.22, 0.75},
		{20, 20, 0.30, 0.70},
		{20, 60, 0.30, 0.75},
		{20, 180, 0.20, 0.75},
	};
	static const int64_t cubic_at_us[] = {0, 7500000, 0};
	static const int64_t path_at_us[] = {0, 0, 5200000};

	for (size_t i = 0; i < sizeof(rivals) / sizeof(rivals[0]); i++) {
		const struct rival *rival = &rivals[i];
		if (!thorough() && i != 0 && i + 1 != sizeof(rivals) / sizeof(rivals[0]))
			continue;
		for (int turn = 0; turn < (rival->mbps > 20 ? 3 : 1); turn++) {
			struct lt_config config = {
				.link = link_of(rival->mbps, 60, 0, rival->queue_ms),
				.flows = 1,
				.sources = {path_at_us[turn] ? LT_SILENT : LT_GREEDY},
				.cubics = 1,
				.cubic_at_us = cubic_at_us[turn],
				.seed = 11};
			lt_world_open(&world, &config);
			lt_world_run(&world, path_at_us[turn]);
			world.flows[0].source = LT_GREEDY;
			lt_world_run(&world, 60000000 - path_at_us[turn]);
			double own = lt_flow_bps(&world.flows[0], 20, 60);
			double theirs = lt_cubic_bps(&world.cubics[0], 20, 60);
			cr_log_info(
				"%.0f Mb/s, queue %ld ms, turn %d: %.1f and %.1f Mb/s, share %.3f",
				rival->mbps, (long)rival->queue_ms, turn, mbps_of(own),
				mbps_of(theirs), own / (own + theirs));
			cr_assert(own >= rival->least * (own + theirs));
			cr_assert(own <= rival->most * (own + theirs));
			cr_assert(own + theirs >= 0.85 * rival->mbps * 1e6);
			lt_world_close(&world);
		}
	}
}

Test(lt, side_by_side)
{
	static const struct cell cells[] = {
		{20, 60, 0, 100, 0.85, 30},
		{100, 60, 0, 60, 0.85, 20},
		{100, 60, 0.05, 60, 0.85, 20},
		{20, 20, 0, 100, 0.85, 40},
		{50, 60, 0, 180, 0.85, 40},
	};

	for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++) {
		if (!thorough() && cells[i].mbps > 20)
			continue;
		struct lt_config config = {.link = link_of(cells[i].mbps, cells[i].rtt_ms,
						   cells[i].loss, cells[i].queue_ms),
			.flows = 2,
			.sources = {LT_GREEDY, LT_SILENT},
			.seed = 12};
		lt_world_open(&world, &config);
		lt_world_run(&world, 3000000);
		world.flows[1].source = LT_GREEDY;
		lt_world_run(&world, 7000000);
		lt_world_mark(&world);
		lt_world_run(&world, 50000000);
		double a = lt_flow_bps(&world.flows[0], 15, 60);
		double b = lt_flow_bps(&world.flows[1], 15, 60);
		double jain = (a + b) * (a + b) / 2 / (a * a + b * b);
		double median = lt_world_queue_ms(&world, 0.5);
		cr_log_info(
			"%.0f Mb/s RTT %ld loss %.2f: %.1f and %.1f Mb/s, Jain %.3f, queue %.0f ms",
			cells[i].mbps, (long)cells[i].rtt_ms, cells[i].loss, mbps_of(a), mbps_of(b),
			jain, median);
		cr_assert(jain >= 0.9);
		cr_assert(a + b >= cells[i].share * cells[i].mbps * 1e6 * (1 - cells[i].loss));
		cr_assert(median <= cells[i].queue);
		lt_world_close(&world);
	}
}
