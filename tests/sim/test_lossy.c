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

#include "core/ip_header.h"

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

/* What a figure ought to be, and what it must be today. 0 = not asked; ZERO = nothing at all. */
struct want {
	double aim, bound;
};

#define ZERO 1e-9

/* LONG=1 is what `make test-long` sets. */
static bool is_long(void)
{
	return getenv("LONG") != NULL;
}

static const char *mark_most(double got, struct want want)
{
	return want.aim > 0 && got > want.aim ? "*" : " ";
}

static const char *mark_least(double got, struct want want)
{
	return got < want.aim ? "*" : " ";
}

static void hold_most(const char *what, double got, struct want want)
{
	cr_assert(want.bound <= 0 || got <= want.bound, "%s: %.4f, but at most %.4f is held", what,
		got, want.bound);
}

static void hold_least(const char *what, double got, struct want want)
{
	cr_assert(got >= want.bound, "%s: %.4f, but %.4f is held at least", what, got, want.bound);
}

/* One line of the tests that are not of the matrix. */
static void most(const char *what, double got, struct want want)
{
	printf("%-66s %9.2f%s aim <= %g\n", what, got, mark_most(got, want),
		want.aim > ZERO ? want.aim : 0.0);
	fflush(stdout);
	hold_most(what, got, want);
}

static void at_least(const char *what, double got, struct want want)
{
	printf("%-66s %9.2f%s aim >= %g\n", what, got, mark_least(got, want), want.aim);
	fflush(stdout);
	hold_least(what, got, want);
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

static struct inner_world world;

/* ---- the matrix ------------------------------------------------------------------------------------------------- */

struct cell {
	unsigned mbps, rtt_ms;
	unsigned loss_percent;
	bool bursts;
	unsigned bulk;
	bool quick;	      /* runs by default; in a slow build only if 20 Mb/s */
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
	cr_assert_eq(thin->again + ping->again, 0);
	inner_world_fini(&world);
	return figures;
}

static void print_head(void)
{
	printf("Mb/s  rtt loss  bulk  goodput/aim    light p50    p99    bad %%     ping p50   p99 "
	       " overhead |   "
	       "raw | resent  RTO undone |  codel   old  over | link\n");
}

static double share_bad(const struct figures *f)
{
	return (double)(f->thin.lost + f->thin.late) / (double)f->thin.count;
}

static void print_cell(const struct cell *cell, const struct figures *f)
{
	char loss[16];

	snprintf(loss, sizeof(loss), cell->bursts ? "burst" : "%u%%", cell->loss_percent);
	printf("%4u %3u ms %-5s x%u   %.3f%s/%.2f   %6.1f %6.1f%s %6.2f%s   %6.1f %6.1f   %5.1f%s ",
		cell->mbps, cell->rtt_ms, loss, cell->bulk, f->goodput,
		mark_least(f->goodput, cell->goodput), cell->goodput.aim,
		(double)f->thin.p50_us / 1e3, (double)f->thin.p99_us / 1e3,
		mark_most((double)f->thin.p99_us / 1e3, cell->thin_p99), share_bad(f) * 100,
		mark_most(share_bad(f), cell->thin_bad), (double)f->ping.p50_us / 1e3,
		(double)f->ping.p99_us / 1e3, f->overhead * 100,
		mark_most(f->overhead, cell->overhead));
	printf("| %5.1f | %6lu %4lu %6lu | %6lu %5lu %5lu | %lu\n", f->raw_loss * 100,
		(unsigned long)f->tcp.resent, (unsigned long)f->tcp.timeouts,
		(unsigned long)f->tcp.undone, (unsigned long)f->queue.dropped_codel,
		(unsigned long)f->queue.dropped_old, (unsigned long)f->queue.dropped_overflow,
		(unsigned long)f->overflows);
	fflush(stdout);
}

/* The tunnel keeps the order of a flow, whatever it loses; nothing comes twice or damaged. */
static void hold_cell(const struct cell *cell, const struct figures *f)
{
	cr_assert_eq(f->tcp.damaged, 0);
	cr_assert_eq(f->tcp.came_late, 0);
	hold_least("goodput", f->goodput, cell->goodput);
	hold_most("99 % of the light flow, ms", (double)f->thin.p99_us / 1e3, cell->thin_p99);
	hold_most("share of the light flow lost or late", share_bad(f), cell->thin_bad);
	hold_most("overhead", f->overhead, cell->overhead);
	if (cell->loss_percent == 0 && !cell->bursts) {
		hold_most("median of pings, ms", (double)f->ping.p50_us / 1e3,
			(struct want){3, cell->rtt_ms > 60 ? 5 : 3});
		/* a probe is a queue of 15 % of the round trip */
		hold_most("99 % of pings, ms", (double)f->ping.p99_us / 1e3,
			(struct want){12, cell->rtt_ms > 60 ? 30 : 15});
	}
}

/* Mb/s, RTT, loss in percent, bursts, bulk flows, by default; goodput; p99 of the light flow in ms; its share lost or late;
 * overhead. */
static const struct cell cells[] = {
	{20, 60, 0, false, 4, true, {.88, .86}, {10, 12}, {ZERO, ZERO}, {.08, .08}},
	{20, 60, 1, false, 4, false, {.84, .84}, {12, 13}, {ZERO, ZERO}, {.13, .13}},
	{20, 60, 3, false, 4, false, {.82, .84}, {15, 15}, {ZERO, ZERO}, {.22, .22}},
	{20, 60, 5, false, 4, true, {.80, .82}, {15, 15}, {.001, .001}, {.22, .22}},
	{20, 60, 10, false, 4, false, {.78, .80}, {18, 19}, {.001, .001}, {.34, .34}},
	{20, 60, 20, false, 4, true, {.75, .75}, {25, 25}, {.001, .001}, {.60, .60}},
	{20, 60, 30, false, 4, false, {.72, .69}, {45, 45}, {.003, .003}, {.90, .90}},
	{20, 60, 0, true, 4, true, {.68, .66}, {30, 75}, {.001, .003}, {.25, .25}},
	{20, 20, 0, false, 4, false, {.90, .86}, {10, 10}, {ZERO, ZERO}, {.08, .09}},
	{20, 20, 5, false, 4, true, {.85, .83}, {15, 15}, {.001, .001}, {.22, .22}},
	{20, 20, 20, false, 4, false, {.75, .75}, {25, 25}, {.001, .001}, {.60, .60}},
	{20, 200, 0, false, 4, false, {.83, .83}, {0, 0}, {0, 0}, {.08, .08}},
	{20, 200, 5, false, 4, true, {.77, .77}, {0, 0}, {0, 0}, {.22, .22}},
	{20, 200, 20, false, 4, false, {.74, .68}, {0, 0}, {0, 0}, {.60, .60}},
	{20, 60, 0, false, 1, false, {.88, .85}, {10, 12}, {ZERO, ZERO}, {.08, .08}},
	{20, 60, 5, false, 1, false, {.80, .80}, {15, 16}, {.001, .001}, {.22, .22}},
	{20, 60, 20, false, 1, false, {.75, .71}, {25, 32}, {.001, .001}, {.60, .60}},
	{100, 60, 0, false, 4, false, {.88, .86}, {10, 11}, {ZERO, ZERO}, {.08, .08}},
	{100, 60, 5, false, 4, false, {.80, .84}, {15, 15}, {.001, .001}, {.22, .22}},
	{100, 60, 20, false, 4, false, {.75, .75}, {25, 22}, {.001, .001}, {.60, .60}},
	{100, 60, 0, false, 1, true, {.90, .86}, {10, 11}, {ZERO, ZERO}, {.08, .08}},
	{100, 60, 1, false, 1, false, {.89, .83}, {12, 13}, {ZERO, ZERO}, {.13, .13}},
	{100, 60, 3, false, 1, false, {.88, .83}, {15, 15}, {ZERO, ZERO}, {.22, .22}},
	{100, 60, 5, false, 1, true, {.85, .82}, {15, 15}, {.001, .001}, {.22, .22}},
	{100, 60, 10, false, 1, false, {.83, .80}, {18, 18}, {.001, .001}, {.34, .34}},
	{100, 60, 20, false, 1, false, {.80, .75}, {25, 22}, {.001, .001}, {.60, .60}},
};

Test(lossy, matrix)
{
	int64_t us = (is_long() ? 60 : 20) * SECOND;

	print_head();
	for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++) {
		if (!is_long() && (!cells[i].quick || (SLOW_BUILD && cells[i].mbps > 20)))
			continue;
		struct figures f = run_cell(&cells[i], 5 * SECOND, us, 1 + i);
		print_cell(&cells[i], &f);
		hold_cell(&cells[i], &f);
	}
}

/*
 * A flow alone wants a queue of its own to live from after it reduced its window, and to take in what comes at once when a hole is
 * filled. Others do not wait behind it, so the target may be a round trip.
 */
Test(lossy, one_flow_with_a_queue_of_a_round_trip)
{
	static const struct {
		uint32_t loss_ppm;
		struct want mbps;
	} rows[] = {{0, {90, 84}}, {50000, {81, 65}}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && !SLOW_BUILD; i++) {
		struct inner_world_options options = {
			.seed = 5, .tunnels = 1, .target_percent = 100};
		char what[80];
		for (size_t side = 0; side < 2; side++)
			options.link[side] = link_of(100000000, 60 * MS, rows[i].loss_ppm, false);
		inner_world_init(&world, &options);
		struct inner_flow *flow = inner_flow_bulk(&world, 0, INNER_TCP_CUBIC, false);
		inner_world_run(&world, 10 * SECOND);
		uint64_t before = inner_flow_delivered(flow);
		inner_world_run(&world, 20 * SECOND);
		snprintf(what, sizeof(what), "one flow, %u %% loss, target of one round trip: Mb/s",
			rows[i].loss_ppm / 10000);
		at_least(what, (double)(inner_flow_delivered(flow) - before) * 8 / 20e6,
			rows[i].mbps);
		inner_world_fini(&world);
	}
}

/* ---- events ----------------------------------------------------------------------------------------------------- */

/* When inner packets came out at side 1. */
struct arrivals {
	const struct inner_world *world;
	struct mono from;	 /* what comes earlier is not looked at */
	struct mono first, last; /* MONO_NEVER = none yet */
	struct mono first_bulk;
	int64_t gap_us; /* longest between two */
};

static void note_arrival(void *ctx, size_t tunnel, size_t side, const uint8_t *packet, size_t len)
{
	struct arrivals *arrivals = ctx;
	struct mono now = arrivals->world->now;

	if (side != 1 || mono_before(now, arrivals->from))
		return;
	if (mono_is_never(arrivals->first_bulk) && packet[9] == IP_PROTOCOL_TCP)
		arrivals->first_bulk = now;
	if (mono_is_never(arrivals->first))
		arrivals->first = now;
	else if (mono_diff_us(now, arrivals->last) > arrivals->gap_us)
		arrivals->gap_us = mono_diff_us(now, arrivals->last);
	arrivals->last = now;
}

static void watch_arrivals(struct inner_world *world, struct arrivals *arrivals, struct mono from)
{
	*arrivals = (struct arrivals){.world = world,
		.from = from,
		.first = MONO_NEVER,
		.last = MONO_NEVER,
		.first_bulk = MONO_NEVER};
	world->watch = note_arrival;
	world->watch_ctx = arrivals;
}

static void open_world(uint64_t rate_bps, int64_t rtt_us, uint32_t loss_ppm, size_t tunnels)
{
	struct inner_world_options options = {.seed = 42, .tunnels = tunnels};

	for (size_t side = 0; side < 2; side++)
		options.link[side] = link_of(rate_bps, rtt_us, loss_ppm, false);
	inner_world_init(&world, &options);
}

static uint64_t timeouts(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < world.flow_count; i++)
		sum += world.flows[i]->ends[0].stats.timeouts;
	return sum;
}

/* How long after an outage of 3 s that begins so late the first packet comes, and the first one of TCP; ms. */
static void outage(unsigned loss_ppm, int64_t at_us, double *ret_any, double *ret_bulk)
{
	struct arrivals arrivals;

	open_world(20000000, 60 * MS, loss_ppm, 1);
	inner_flow_add(&world, 0, INNER_FLOW_THIN);
	for (int n = 0; n < 4; n++)
		inner_flow_bulk(&world, 0, INNER_TCP_CUBIC, false);
	inner_world_run(&world, at_us);
	inner_world_outage(&world, 3 * SECOND);
	struct mono back = mono_add_us(world.now, 3 * SECOND);
	watch_arrivals(&world, &arrivals, back);
	inner_world_run(&world, 10 * SECOND);
	*ret_any = (double)mono_diff_us(arrivals.first, back) / 1e3;
	*ret_bulk = (double)mono_diff_us(arrivals.first_bulk, back) / 1e3;
	inner_world_fini(&world);
}

/*
 * The tunnel carries packets again at once. Whether TCP has one to send is a question of when its own time-outs, which double,
 * let it try: what it sent more than a second before is not worth its bytes any more.
 */
Test(lossy, outage_of_3_seconds)
{
	enum { INSTANTS = 9 };
	static const unsigned losses[] = {0, 50000};

	for (size_t i = 0; i < 2; i++) {
		double any, bulk, latest = 0;
		unsigned soon = 0;
		char what[80];
		for (int k = 0; k < INSTANTS; k++) {
			outage(losses[i], 5 * SECOND + k * 137 * MS, &any, &bulk);
			latest = any > latest ? any : latest;
			soon += bulk <= 420;
		}
		snprintf(what, sizeof(what),
			"outages of 3 s, %u %% loss: ms until packets come again, worst",
			losses[i] / 10000);
		most(what, latest, (struct want){420, 420});
		snprintf(what, sizeof(what),
			"outages of 3 s, %u %% loss: share after which TCP comes in 420 ms",
			losses[i] / 10000);
		at_least(what, (double)soon / INSTANTS, (struct want){1, .5});
	}
}

Test(lossy, address_change_under_load)
{
	static const unsigned losses[] = {0, 50000};
	const int moves = SLOW_BUILD ? 2 : 6;

	for (size_t i = 0; i < 2; i++) {
		int64_t gap_us = 0;
		uint64_t sum = 0, quiet = 0;
		char what[80];
		for (int move = 0; move < moves; move++) {
			struct arrivals arrivals;
			open_world(20000000, 60 * MS, losses[i], 1);
			inner_flow_add(&world, 0, INNER_FLOW_THIN);
			for (int n = 0; n < 4; n++)
				inner_flow_bulk(&world, 0, INNER_TCP_CUBIC, false);
			inner_world_run(&world, 8 * SECOND + move * 330 * MS);
			uint64_t before = timeouts();
			world.ends[0][0].address.address[3] = 77;
			watch_arrivals(&world, &arrivals, mono_add_us(world.now, -100 * MS));
			inner_world_run(&world, 5 * SECOND);
			if (arrivals.gap_us > gap_us)
				gap_us = arrivals.gap_us;
			sum += timeouts() - before;
			quiet += timeouts() == before;
			inner_world_fini(&world);
		}
		snprintf(what, sizeof(what), "address changes, %u %% loss: longest gap, ms",
			losses[i] / 10000);
		most(what, (double)gap_us / 1e3, (struct want){420, 420});
		snprintf(what, sizeof(what), "address changes, %u %% loss: share without time-out",
			losses[i] / 10000);
		at_least(what, (double)quiet / moves, (struct want){1, SLOW_BUILD ? 0 : .5});
		snprintf(what, sizeof(what), "address changes, %u %% loss: time-outs of a flow",
			losses[i] / 10000);
		most(what, (double)sum / moves / 4, (struct want){ZERO, .5});
	}
}

/* How a drop of the rate was borne: what the tunnel adds to pings, ms. */
struct drop {
	double early_p50, late_p50, late_p99; /* the first 3 s, and what follows */
};

/* The rate falls to a quarter so long after all began. */
static struct drop drop_rate(int64_t after_us)
{
	struct link_config drop[2];

	open_world(20000000, 60 * MS, 0, 1);
	for (size_t side = 0; side < 2; side++) {
		world.options.link[side].queue_us = 0;
		world.options.link[side].queue_bytes = 250000;
		drop[side] = world.options.link[side];
		drop[side].rate_bps = 5000000;
	}
	inner_world_configure(&world, world.options.link);
	struct inner_flow *ping = inner_flow_add(&world, 0, INNER_FLOW_PING);
	for (int n = 0; n < 4; n++)
		inner_flow_bulk(&world, 0, INNER_TCP_CUBIC, false);
	inner_world_run(&world, after_us);
	struct mono at = world.now;
	inner_world_configure(&world, drop);
	inner_world_run(&world, 14 * SECOND);
	struct inner_delays early =
		inner_flow_delays(ping, at, mono_add_us(at, 3 * SECOND), 60 * MS);
	struct inner_delays late = inner_flow_delays(
		ping, mono_add_us(at, 3 * SECOND), mono_add_us(at, 12 * SECOND), 60 * MS);
	inner_world_fini(&world);
	return (struct drop){
		(double)early.p50_us / 1e3, (double)late.p50_us / 1e3, (double)late.p99_us / 1e3};
}

/* It may come at any moment between two probes: the worst of many counts. */
Test(lossy, rate_drop)
{
	const int instants = SLOW_BUILD ? 2 : is_long() ? 24 : 12;
	struct drop worst = {0};

	for (int i = 0; i < instants; i++) {
		struct drop got = drop_rate(10 * SECOND + i * 3 * SECOND / instants);
		if (is_long())
			printf("20 -> 5 Mb/s, %5.0f ms later: %5.0f, then %5.1f, 99 %% %5.1f\n",
				i * 3e3 / instants, got.early_p50, got.late_p50, got.late_p99);
		worst.early_p50 = got.early_p50 > worst.early_p50 ? got.early_p50 : worst.early_p50;
		worst.late_p50 = got.late_p50 > worst.late_p50 ? got.late_p50 : worst.late_p50;
		worst.late_p99 = got.late_p99 > worst.late_p99 ? got.late_p99 : worst.late_p99;
	}
	most("20 -> 5 Mb/s, worst: median of pings in the first 3 s, ms", worst.early_p50,
		(struct want){20, 45});
	most("20 -> 5 Mb/s, worst: median of pings after 3 s, ms", worst.late_p50,
		(struct want){20, 20});
	most("20 -> 5 Mb/s, worst: 99 % of pings after 3 s, ms", worst.late_p99,
		(struct want){80, 60});
}

Test(lossy, first_10_seconds)
{
	static const struct {
		enum inner_tcp_control control;
		unsigned loss_ppm;
		struct want mbps;
	} rows[] = {
		{INNER_TCP_CUBIC, 0, {75, 74}},
		{INNER_TCP_RENO, 0, {75, 65}},
		{INNER_TCP_CUBIC, 50000, {0, 30}},
	};

	for (size_t i = 0; i < (SLOW_BUILD ? 1 : sizeof(rows) / sizeof(rows[0])); i++) {
		char what[80];
		open_world(100000000, 60 * MS, rows[i].loss_ppm, 1);
		struct inner_flow *flow = inner_flow_bulk(&world, 0, rows[i].control, false);
		inner_world_run(&world, 10 * SECOND);
		snprintf(what, sizeof(what),
			"one %s flow, 100 Mb/s, 60 ms, %u %%: first 10 s, Mb/s",
			rows[i].control == INNER_TCP_CUBIC ? "cubic" : "reno",
			rows[i].loss_ppm / 10000);
		at_least(what, (double)inner_flow_delivered(flow) * 8 / 10e6, rows[i].mbps);
		inner_world_fini(&world);
	}
}

static int compare_us(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

Test(lossy, thin_flow_on_a_slow_link)
{
	/* How the phases fall makes more of a difference than anything else: the median of several runs. */
	int64_t medians_us[5];

	for (uint64_t seed = 0; seed < 5; seed++) {
		struct inner_world_options options = {.seed = 42 + seed, .tunnels = 1};
		for (size_t side = 0; side < 2; side++)
			options.link[side] = link_of(2000000, 60 * MS, 50000, false);
		inner_world_init(&world, &options);
		struct inner_flow *thin = inner_flow_add(&world, 0, INNER_FLOW_THIN), *bulk[4];
		uint64_t delivered = 0;
		for (int n = 0; n < 4; n++)
			bulk[n] = inner_flow_bulk(&world, 0, INNER_TCP_CUBIC, false);
		inner_world_run(&world, 40 * SECOND);
		for (int n = 0; n < 4; n++)
			delivered += inner_flow_delivered(bulk[n]);
		at_least("2 Mb/s, 5 % loss: goodput by (1 - p) C",
			(double)delivered * 8 / 40 / (.95 * 2e6), (struct want){.66, .60});
		struct inner_delays delays =
			inner_flow_delays(thin, mono_add_us(world.began, 15 * SECOND),
				mono_add_us(world.now, -SECOND), 30 * MS);
		medians_us[seed] = delays.p50_us;
		inner_world_fini(&world);
	}
	qsort(medians_us, 5, sizeof(medians_us[0]), compare_us);
	most("2 Mb/s, 5 % loss: median of the light flow, ms, of five runs",
		(double)medians_us[2] / 1e3, (struct want){25, 25});
	most("and at worst", (double)medians_us[4] / 1e3, (struct want){25, 60});
}

Test(lossy, ecn_marks_instead_of_drops)
{
	struct inner_flow *flows[4];
	uint64_t delivered = 0, resent = 0, marks = 0;

	open_world(20000000, 60 * MS, 0, 1);
	for (int n = 0; n < 4; n++)
		flows[n] = inner_flow_bulk(&world, 0, INNER_TCP_CUBIC, true);
	inner_world_run(&world, 15 * SECOND);
	for (int n = 0; n < 4; n++) {
		delivered += inner_flow_delivered(flows[n]);
		resent += flows[n]->ends[0].stats.resent;
		marks += flows[n]->ends[0].stats.marks;
	}
	at_least("4 flows with ECN, 20 Mb/s: Mb/s", (double)delivered * 8 / 15e6,
		(struct want){17.6, 16});
	most("4 flows with ECN: segments sent again", (double)resent, (struct want){ZERO, 10});
	cr_assert_gt(marks, 0);
	inner_world_fini(&world);
}

Test(lossy, short_responses)
{
	static const unsigned losses[] = {0, 10000, 50000, 200000};

	for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
		open_world(20000000, 60 * MS, losses[i], 1);
		struct inner_flow *web = inner_flow_add(&world, 0, INNER_FLOW_WEB);
		inner_world_run(&world, (is_long() ? 200 : 40) * SECOND);
		struct inner_delays delays =
			inner_flow_delays(web, world.began, mono_add_us(world.now, -3 * SECOND), 0);
		printf("64 kB over a new connection, %2u %% loss: median %.0f ms, 99 %% %.0f ms, "
		       "most %.0f ms, "
		       "%zu of %zu\n",
			losses[i] / 10000, (double)delays.p50_us / 1e3, (double)delays.p99_us / 1e3,
			(double)delays.most_us / 1e3, delays.count - delays.lost, delays.count);
		fflush(stdout);
		cr_assert_leq(delays.p50_us, 1000 * MS);
		inner_world_fini(&world);
	}
}

/* ---- others on the same link ------------------------------------------------------------------------------------ */

Test(lossy, share_beside_a_plain_flow)
{
	static const struct {
		const char *name;
		enum inner_tcp_control control;
		int64_t queue_us;
		struct want least, most; /* percent for the tunnel */
		bool quick;
	} rows[] = {
		{"cubic, 20 ms", INNER_TCP_CUBIC, 20 * MS, {30, 30}, {70, 70}, true},
		{"cubic, one BDP", INNER_TCP_CUBIC, 60 * MS, {20, 30}, {75, 75}, true},
		{"cubic, three BDP", INNER_TCP_CUBIC, 180 * MS, {10, 20}, {0, 0}, true},
		{"reno, 20 ms", INNER_TCP_RENO, 20 * MS, {30, 30}, {70, 70}, false},
		{"reno, one BDP", INNER_TCP_RENO, 60 * MS, {20, 30}, {75, 75}, false},
		{"reno, three BDP", INNER_TCP_RENO, 180 * MS, {10, 25}, {0, 0}, false},
	};
	int64_t warm_us = 10 * SECOND, us = (is_long() ? 90 : 30) * SECOND;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct inner_flow *flows[5];
		uint64_t before[5], got[5];
		char what[80];
		if (!is_long() && (!rows[i].quick || SLOW_BUILD))
			continue;
		open_world(50000000, 60 * MS, 0, 1);
		for (size_t side = 0; side < 2; side++)
			world.options.link[side].queue_us = rows[i].queue_us;
		inner_world_configure(&world, world.options.link);
		for (int n = 0; n < 5; n++)
			flows[n] = inner_flow_bulk(&world, n < 4 ? 0 : INNER_WORLD_PLAIN,
				n < 4 ? INNER_TCP_CUBIC : rows[i].control, false);
		inner_world_run(&world, warm_us);
		for (int n = 0; n < 5; n++)
			before[n] = inner_flow_delivered(flows[n]);
		inner_world_run(&world, us);
		for (int n = 0; n < 5; n++)
			got[n] = inner_flow_delivered(flows[n]) - before[n];
		double tunnel = (double)(got[0] + got[1] + got[2] + got[3]);
		double share = 100 * tunnel / (tunnel + (double)got[4]);
		snprintf(what, sizeof(what), "share beside plain %s, %% (link at %.0f %%)",
			rows[i].name, (tunnel + (double)got[4]) * 8 * 100 / (50.0 * (double)us));
		at_least(what, share, rows[i].least);
		if (rows[i].most.aim > 0)
			most(what, share, rows[i].most);
		inner_world_fini(&world);
	}
}

static uint64_t delivered_of(struct inner_flow *const *flows, int count)
{
	uint64_t sum = 0;

	for (int n = 0; n < count; n++)
		sum += inner_flow_delivered(flows[n]);
	return sum;
}

/* A plain flow at flows[4] that has been there for so long when the tunnel's four begin. */
static void open_beside_a_plain_flow(
	int64_t queue_us, int64_t before_us, struct inner_flow *flows[5])
{
	open_world(50000000, 60 * MS, 0, 1);
	for (size_t side = 0; side < 2; side++)
		world.options.link[side].queue_us = queue_us;
	inner_world_configure(&world, world.options.link);
	flows[4] = inner_flow_bulk(&world, INNER_WORLD_PLAIN, INNER_TCP_CUBIC, false);
	inner_world_run(&world, before_us);
	for (int n = 0; n < 4; n++)
		flows[n] = inner_flow_bulk(&world, 0, INNER_TCP_CUBIC, false);
}

/*
 * A plain flow has filled the queue before the tunnel's begin, at one instant or another of its slow start and what follows: all
 * that they see of the path they see through its queue.
 */
Test(lossy, share_beside_a_plain_flow_that_was_there)
{
	static const struct {
		const char *name;
		int64_t queue_us;
		struct want soon, later,
			most; /* percent: 11 s after the first 4, the 30 s after that */
	} rows[] = {
		{"20 ms", 20 * MS, {30, 30}, {30, 30}, {70, 70}},
		{"one BDP", 60 * MS, {20, 25}, {20, 30}, {75, 75}},
		{"three BDP", 180 * MS, {10, 11}, {10, 16}, {0, 0}},
	};
	const int instants = is_long() ? 8 : 2;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && !SLOW_BUILD; i++) {
		uint64_t tunnel[2] = {0}, plain[2] = {0};
		for (int k = 1; k <= instants; k++) {
			struct inner_flow *flows[5];
			open_beside_a_plain_flow(rows[i].queue_us, k * 2400 * MS / instants, flows);
			inner_world_run(&world, 4 * SECOND);
			for (int late = 0; late < 2; late++) {
				tunnel[late] -= delivered_of(flows, 4);
				plain[late] -= delivered_of(flows + 4, 1);
				inner_world_run(&world, (late ? 30 : 11) * SECOND);
				tunnel[late] += delivered_of(flows, 4);
				plain[late] += delivered_of(flows + 4, 1);
			}
			inner_world_fini(&world);
		}
		for (int late = 0; late < 2; late++) {
			double share =
				100 * (double)tunnel[late] / (double)(tunnel[late] + plain[late]);
			char what[80];
			snprintf(what, sizeof(what),
				"share beside a plain flow that was there, %s, %s, %%",
				rows[i].name, late ? "later" : "soon");
			at_least(what, share, late ? rows[i].later : rows[i].soon);
			if (rows[i].most.aim > 0)
				most(what, share, rows[i].most);
		}
	}
}

/* While the plain flow is there the queue is its own; when it has gone, the tunnel must not keep one in its place. */
Test(lossy, queue_after_a_plain_flow)
{
	static const int64_t queues_us[] = {60 * MS, 180 * MS};
	const int instants = is_long() ? 8 : 2;

	for (size_t i = 0; i < sizeof(queues_us) / sizeof(queues_us[0]) && !SLOW_BUILD; i++) {
		struct drop worst = {0};
		char what[80];
		for (int k = 0; k < instants; k++) {
			struct inner_flow *flows[5];
			open_beside_a_plain_flow(queues_us[i], SECOND, flows);
			struct inner_flow *ping = inner_flow_add(&world, 0, INNER_FLOW_PING);
			inner_world_run(&world, 20 * SECOND + k * 4 * SECOND / instants);
			flows[4]->ends[0].to_send = flows[4]->ends[0].nxt; /* it has no more */
			struct mono at = world.now;
			inner_world_run(&world, 14 * SECOND);
			struct inner_delays early =
				inner_flow_delays(ping, at, mono_add_us(at, 3 * SECOND), 60 * MS);
			struct inner_delays late = inner_flow_delays(ping,
				mono_add_us(at, 3 * SECOND), mono_add_us(at, 12 * SECOND), 60 * MS);
			inner_world_fini(&world);
			if (is_long())
				printf("a plain flow ended, queue of %d ms: %5.1f ms, then %5.1f, "
				       "99 %% %5.1f\n",
					(int)(queues_us[i] / MS), (double)early.p50_us / 1e3,
					(double)late.p50_us / 1e3, (double)late.p99_us / 1e3);
			if ((double)early.p50_us / 1e3 > worst.early_p50)
				worst.early_p50 = (double)early.p50_us / 1e3;
			if ((double)late.p50_us / 1e3 > worst.late_p50)
				worst.late_p50 = (double)late.p50_us / 1e3;
			if ((double)late.p99_us / 1e3 > worst.late_p99)
				worst.late_p99 = (double)late.p99_us / 1e3;
		}
		snprintf(what, sizeof(what),
			"%d ms, worst: median of pings in the 3 s after a plain flow, ms",
			(int)(queues_us[i] / MS));
		most(what, worst.early_p50, (struct want){20, 20});
		snprintf(what, sizeof(what), "%d ms, worst: median of pings after that, ms",
			(int)(queues_us[i] / MS));
		most(what, worst.late_p50, (struct want){20, 10});
	}
}

Test(lossy, two_tunnels_share_alike)
{
	struct inner_flow *flows[4];
	double got[2] = {0};

	if (SLOW_BUILD)
		return;
	open_world(50000000, 60 * MS, 0, 2);
	for (size_t n = 0; n < 4; n++)
		flows[n] = inner_flow_bulk(&world, n / 2, INNER_TCP_CUBIC, false);
	inner_world_run(&world, 10 * SECOND);
	for (size_t n = 0; n < 4; n++)
		got[n / 2] -= (double)inner_flow_delivered(flows[n]);
	inner_world_run(&world, (is_long() ? 90 : 30) * SECOND);
	for (size_t n = 0; n < 4; n++)
		got[n / 2] += (double)inner_flow_delivered(flows[n]);
	double jain =
		(got[0] + got[1]) * (got[0] + got[1]) / (2 * (got[0] * got[0] + got[1] * got[1]));
	at_least("two tunnels side by side: Jain's index", jain, (struct want){.9, .9});
	inner_world_fini(&world);
}

/*
 * As a person downloads: one flow on a tunnel that carried a call for a while. Its slow start is what loss harms most, because CUBIC
 * takes holes of a round trip for a queue.
 */
Test(lossy, one_flow_from_its_start)
{
	static const struct {
		unsigned loss_percent;
		bool quick;
		struct want first, next; /* Mb/s over 15 s, and over 25 more; means */
	} rows[] = {
		{0, false, {90, 80}, {90, 86}},
		{1, false, {88, 75}, {88, 83}},
		{3, false, {85, 71}, {85, 82}},
		{5, true, {81, 69}, {81, 80}},
		{10, false, {75, 61}, {75, 73}},
		{20, true, {64, 40}, {64, 59}},
	};
	unsigned seeds = is_long() ? 8 : 2;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t first = 0, next = 0;
		char what[80];
		if (SLOW_BUILD || (!is_long() && !rows[i].quick))
			continue;
		for (unsigned seed = 1; seed <= seeds; seed++) {
			struct inner_world_options options = {.seed = seed, .tunnels = 1};
			for (size_t side = 0; side < 2; side++)
				options.link[side] = link_of(
					100000000, 60 * MS, rows[i].loss_percent * 10000, false);
			inner_world_init(&world, &options);
			inner_flow_add(&world, 0, INNER_FLOW_THIN);
			inner_world_run(&world, 4 * SECOND);
			struct inner_flow *flow =
				inner_flow_bulk(&world, 0, INNER_TCP_CUBIC, false);
			inner_world_run(&world, 15 * SECOND);
			uint64_t at_15 = inner_flow_delivered(flow);
			inner_world_run(&world, 25 * SECOND);
			first += at_15;
			next += inner_flow_delivered(flow) - at_15;
			inner_world_fini(&world);
		}
		snprintf(what, sizeof(what), "one flow, 100 Mb/s, 60 ms, %u %%: first 15 s, Mb/s",
			rows[i].loss_percent);
		at_least(what, (double)first * 8 / (15e6 * seeds), rows[i].first);
		snprintf(what, sizeof(what), "one flow, 100 Mb/s, 60 ms, %u %%: next 25 s, Mb/s",
			rows[i].loss_percent);
		at_least(what, (double)next * 8 / (25e6 * seeds), rows[i].next);
	}
}
