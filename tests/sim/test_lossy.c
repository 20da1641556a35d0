/*
 * What a person gets on a lossy link: whole tunnels with TCP inside, in virtual time. Each measure is a row with an aim and a
 * bound: the aim is what is wanted, the bound what is held today and may only rise. All figures are printed; one that falls
 * short of its aim is marked with `*`.
 *
 * Goodput is payload that came in order, of what the link can carry less its losses: (1 - p) x rate. Delays of the light flow and
 * of pings are what the tunnel adds to the link's own. Overhead is what was sent on the wire beyond what came out of the tunnel,
 * of the latter. By default a part of the rows runs, for a shorter time; with LONG=1 all.
 */
#include "inner_flow.h"
#include "inner_world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define SECOND INT64_C(1000000)
#define MS INT64_C(1000)

#if defined(__SANITIZE_ADDRESS__)
#define SLOW_BUILD 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLOW_BUILD 1
#endif
#endif
#ifndef SLOW_BUILD
#define SLOW_BUILD 0
#endif

enum {
	BURST_PPM = 50000,
	BURST_US = 10000,
	QUEUE_LEAST_US = 100000, /* at 20 Mb/s */
};

/* A figure with an aim and a bound; both 0 = none. Shares and delays in thousandths or microseconds, as the row says. */
struct want {
	double aim, bound;
};

static bool is_long(void)
{
	return getenv("LONG") != NULL;
}

static double got_below(const char *what, double got, struct want want)
{
	(void)what;
	return want.aim > 0 && got > want.aim;
}

static struct link_config link_of(uint64_t rate_bps, int64_t rtt_us, uint32_t loss_ppm, bool bursts)
{
	struct link_config config = {
		.rate_bps = rate_bps, .delay_us = rtt_us / 2, .queue_us = rtt_us};

	if (rate_bps <= 20000000 && config.queue_us < QUEUE_LEAST_US)
		config.queue_us = QUEUE_LEAST_US;
	config.loss_ppm = loss_ppm;
	if (bursts) {
		config.burst_ppm = BURST_PPM;
		config.burst_us = BURST_US;
	}
	return config;
}

/* ---- the matrix ------------------------------------------------------------------------------------------------- */

struct cell {
	unsigned mbps, rtt_ms;
	unsigned loss_percent;
	bool bursts;
	unsigned bulk;
	bool quick;	      /* runs by default */
	struct want goodput;  /* share, at least */
	struct want thin_p99; /* ms added, at most */
	struct want thin_bad; /* share lost or late, at most */
	struct want overhead; /* share, at most */
};

struct figures {
	double goodput, overhead;
	struct inner_delays thin, ping;
	struct inner_tcp_stats tcp; /* of all bulk flows */
	struct ingress_counters queue;
	uint64_t overflows; /* of the link */
	double raw_loss;
};

static void add_tcp(struct inner_tcp_stats *sum, const struct inner_tcp_stats *one)
{
	sum->segments += one->segments;
	sum->resent += one->resent;
	sum->timeouts += one->timeouts;
	sum->recoveries += one->recoveries;
	sum->undone += one->undone;
	sum->damaged += one->damaged;
}

static struct figures run_cell(const struct cell *cell, int64_t warm_us, int64_t us, uint64_t seed)
{
	static struct inner_world world;
	struct inner_world_options options = {.seed = seed, .tunnels = 1};
	struct inner_flow *bulk[8], *thin, *ping;
	struct figures figures = {0};
	uint64_t before = 0, after = 0;
	double p = cell->bursts ? BURST_PPM / 1e6 : cell->loss_percent / 100.0;

	for (size_t side = 0; side < 2; side++)
		options.link[side] = link_of(cell->mbps * UINT64_C(1000000), cell->rtt_ms * MS,
			cell->loss_percent * 10000, cell->bursts);
	inner_world_init(&world, &options);
	thin = inner_flow_add(&world, 0, INNER_FLOW_THIN);
	ping = inner_flow_add(&world, 0, INNER_FLOW_PING);
	for (unsigned i = 0; i < cell->bulk; i++)
		bulk[i] = inner_flow_bulk(&world, 0, INNER_TCP_CUBIC, false);
	inner_world_run(&world, warm_us);
	for (unsigned i = 0; i < cell->bulk; i++)
		before += inner_flow_delivered(bulk[i]);
	struct mono from = world.now;
	struct inner_end_counters sent = world.ends[0][0].counters,
				  came = world.ends[0][1].counters;
	inner_world_run(&world, us);
	for (unsigned i = 0; i < cell->bulk; i++) {
		after += inner_flow_delivered(bulk[i]);
		add_tcp(&figures.tcp, &bulk[i]->ends[0].stats);
		figures.tcp.damaged += bulk[i]->ends[1].stats.damaged;
		figures.tcp.came_late += bulk[i]->ends[1].stats.came_late;
	}
	figures.goodput = (double)(after - before) * 8 / (double)us / ((1 - p) * cell->mbps);
	double wire = (double)(world.ends[0][0].counters.wire_bytes - sent.wire_bytes);
	double inner = (double)(world.ends[0][1].counters.out_bytes - came.out_bytes);
	figures.overhead = wire / inner - 1;
	struct mono to = world.now;
	thin->stop_at = ping->stop_at = to;
	inner_world_run(&world, SECOND);
	int64_t delay_us = options.link[0].delay_us;
	figures.thin = inner_flow_delays(thin, from, to, delay_us);
	figures.ping = inner_flow_delays(ping, from, to, 2 * delay_us);
	figures.queue = world.ends[0][0].queue.counters;
	figures.overflows = world.links[0].stats.dropped_queue;
	struct kcpvpn_peer_status status;
	kcpvpn_peer_status(world.ends[0][0].peer, &status);
	figures.raw_loss = status.loss_raw_out;
	cr_assert_eq(figures.tcp.damaged, 0);
	cr_assert_eq(thin->again + ping->again, 0);
	inner_world_fini(&world);
	return figures;
}

static const char *mark(bool short_of)
{
	return short_of ? "*" : " ";
}

static void print_head(void)
{
	printf("%-26s %9s %24s %12s %10s %6s | %s\n", "Mb/s rtt loss bulk", "goodput",
		"thin p50 p99 ms bad%", "ping p50 p99", "overhead", "raw",
		"inner resent rto undone late | queue codel old overflow | link overflow");
}

static void print_cell(const struct cell *cell, const struct figures *f)
{
	double bad = (double)(f->thin.lost + f->thin.late) / (double)f->thin.count;
	char loss[16];

	snprintf(loss, sizeof(loss), cell->bursts ? "burst" : "%u%%", cell->loss_percent);
	printf("%3u %3u ms %-5s x%u        %.3f%s/%.2f  %6.1f %6.1f%s %6.2f%s  %6.1f %6.1f  "
	       "%5.1f%s  %4.1f "
	       "| %5lu %3lu %3lu %5lu | %5lu %4lu %4lu | %lu\n",
		cell->mbps, cell->rtt_ms, loss, cell->bulk, f->goodput,
		mark(f->goodput < cell->goodput.aim), cell->goodput.aim,
		(double)f->thin.p50_us / 1e3, (double)f->thin.p99_us / 1e3,
		mark(got_below("", (double)f->thin.p99_us / 1e3, cell->thin_p99)), bad * 100,
		mark(bad > cell->thin_bad.aim), (double)f->ping.p50_us / 1e3,
		(double)f->ping.p99_us / 1e3, f->overhead * 100,
		mark(got_below("", f->overhead, cell->overhead)), f->raw_loss * 100,
		(unsigned long)f->tcp.resent, (unsigned long)f->tcp.timeouts,
		(unsigned long)f->tcp.undone, (unsigned long)f->tcp.came_late,
		(unsigned long)f->queue.dropped_codel, (unsigned long)f->queue.dropped_old,
		(unsigned long)f->queue.dropped_overflow, (unsigned long)f->overflows);
	fflush(stdout);
}

#define CELL(mbps, rtt, loss, n, quick, goodput, p99, bad, overhead)                \
	{                                                                           \
		mbps, rtt, loss, false, n, quick, {goodput, 0}, {p99, 0}, {bad, 0}, \
		{                                                                   \
			overhead, 0                                                 \
		}                                                                   \
	}

static const struct cell cells[] = {
	CELL(20, 60, 0, 4, true, .88, 10, 0, .08),
	CELL(20, 60, 1, 4, false, .84, 12, 0, .13),
	CELL(20, 60, 3, 4, false, .82, 15, 0, .22),
	CELL(20, 60, 5, 4, true, .80, 15, .001, .22),
	CELL(20, 60, 10, 4, false, .78, 18, .001, .34),
	CELL(20, 60, 20, 4, true, .75, 25, .001, .60),
	CELL(20, 60, 30, 4, false, .72, 45, .003, .90),
	{20, 60, 0, true, 4, false, {.68, 0}, {0, 0}, {.001, 0}, {0, 0}},
	CELL(20, 20, 0, 4, false, .90, 10, 0, .08),
	CELL(20, 20, 5, 4, false, .85, 15, .001, .22),
	CELL(20, 20, 20, 4, false, .75, 25, .001, .60),
	CELL(20, 200, 0, 4, false, .83, 0, 0, .08),
	CELL(20, 200, 5, 4, false, .77, 0, 0, .22),
	CELL(20, 200, 20, 4, false, .74, 0, 0, .60),
	CELL(20, 60, 0, 1, false, .88, 10, 0, .08),
	CELL(20, 60, 5, 1, false, .80, 15, .001, .22),
	CELL(20, 60, 20, 1, false, .75, 25, .001, .60),
	CELL(100, 60, 0, 4, false, .88, 10, 0, .08),
	CELL(100, 60, 5, 4, false, .80, 15, .001, .22),
	CELL(100, 60, 20, 4, false, .75, 25, .001, .60),
	CELL(100, 60, 0, 1, false, .90, 10, 0, .08),
	CELL(100, 60, 1, 1, false, .89, 12, 0, .13),
	CELL(100, 60, 3, 1, false, .87, 15, 0, .22),
	CELL(100, 60, 5, 1, false, .85, 15, .001, .22),
	CELL(100, 60, 10, 1, false, .83, 18, .001, .34),
	CELL(100, 60, 20, 1, false, .80, 25, .001, .60),
};

Test(lossy, matrix)
{
	int64_t us = (is_long() ? 60 : 20) * SECOND;

	print_head();
	for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++) {
		if (!cells[i].quick && !is_long())
			continue;
		struct figures f = run_cell(&cells[i], 5 * SECOND, us, 1 + i);
		print_cell(&cells[i], &f);
	}
}
