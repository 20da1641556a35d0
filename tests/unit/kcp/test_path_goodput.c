/*
 * What a path carries and how much queue it makes, in virtual time over a bottleneck. Nothing here depends on the speed of the
 * machine.
 */
#include "path_link.h"
#include "tests/thorough.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum {
	URGENT_BYTES = 200,
};

struct outcome {
	double goodput_bps;
	double first_second_bps;
	double queue_ms; /* mean, after a second */
	double queue_max_ms;
	double resent;	     /* share of datagrams */
	double dropped;	     /* by the full queue, share */
	double urgent_share; /* of urgent messages that arrived within 150 ms of what the path takes */
};

/* One or several lanes that always have data, an urgent message every 20 ms beside them, a reader that always reads. */
static struct outcome saturate(
	const struct path_link_config *config, unsigned lanes, size_t len, int64_t run_us)
{
	static struct path_link link;
	static uint8_t message[65536];
	struct kcp_path_config path = path_link_path_config();
	struct outcome outcome = {0};
	uint64_t read = 0;
	uint32_t lane = 0;
	unsigned urgent_sent = 0, urgent_got = 0;
	size_t got;

	path_link_open(&link, config, &path, &path);
	struct mono start = link.now;
	struct mono end = mono_add_us(start, run_us);
	struct mono second = mono_add_us(start, 1000000);
	struct mono urgent_at = start;
	uint64_t warm_sent = 0;
	bool warm = false;
	do {
		while (kcp_path_room(link.a.path, KCP_PATH_BULK, len, link.now)) {
			if (kcp_path_send(
				    link.a.path, KCP_PATH_BULK, lane, message, len, link.now) != 0)
				break;
			lane = (lane + 1) % lanes;
		}
		if (mono_due(urgent_at, link.now) &&
			mono_before(link.now, mono_add_us(end, -500000))) {
			memcpy(message, &link.now, sizeof(link.now));
			kcp_path_send(link.a.path, KCP_PATH_RT, 9, message, URGENT_BYTES, link.now);
			urgent_sent++;
			urgent_at = mono_add_us(link.now, 20000);
		}
		kcp_path_flush(link.a.path, link.now);
		while ((got = path_link_read(&link.b, message, sizeof(message))) > 0) {
			read += got;
			struct mono at;
			memcpy(&at, message, sizeof(at));
			if (got == URGENT_BYTES)
				urgent_got +=
					mono_diff_us(link.now, at) < config->delay_us + 150000;
		}
		if (mono_before(link.now, second))
			outcome.first_second_bps = (double)read * 8;
		else if (!warm) {
			warm = true;
			link.a.out.queue_sum_us = 0;
			link.a.out.queue_max_us = 0;
			warm_sent = link.a.out.sent;
		}
	} while (path_link_step(&link, end));
	const struct kcp_path_stats *stats = kcp_path_stats(link.a.path);
	outcome.goodput_bps = (double)read * 8 / ((double)run_us / 1e6);
	outcome.queue_ms =
		link.a.out.queue_sum_us / 1000 / (double)(link.a.out.sent - warm_sent + 1);
	outcome.queue_max_ms = (double)link.a.out.queue_max_us / 1000;
	outcome.resent = (double)stats->resent_items / (double)link.a.out.sent;
	outcome.dropped = (double)link.a.out.dropped / (double)link.a.out.sent;
	outcome.urgent_share = urgent_sent ? (double)urgent_got / urgent_sent : 1;
	cr_log_info("%.0f Mb/s, RTT %ld ms, loss %.0f %%, %u lanes: %.1f Mb/s (first second %.1f), "
		    "queue %.1f ms (most %.1f), resent %.1f %%, dropped %.2f %%, urgent %.4f",
		(double)config->rate_bps / 1e6, (long)config->delay_us / 500, config->loss * 100,
		lanes, outcome.goodput_bps / 1e6, outcome.first_second_bps / 1e6, outcome.queue_ms,
		outcome.queue_max_ms, outcome.resent * 100, outcome.dropped * 100,
		outcome.urgent_share);
	path_link_close(&link);
	return outcome;
}

static struct path_link_config path_of(uint64_t rate_bps, int64_t rtt_us, double loss)
{
	return (struct path_link_config){
		.rate_bps = rate_bps,
		.delay_us = rtt_us / 2,
		.queue_bytes = (int64_t)rate_bps / 8 * rtt_us / 1000000,
		.loss = loss,
		.seed = 7,
	};
}

/* Loss each way, a queue of one product of rate and round trip. */
struct row {
	uint64_t rate_bps;
	int64_t rtt_us;
	double loss;
	double share; /* of rate x (1 - loss), at least */
};

static void check(const struct row *row, unsigned lanes, size_t len)
{
	struct path_link_config config = path_of(row->rate_bps, row->rtt_us, row->loss);
	struct outcome outcome = saturate(&config, lanes, len, 8000000);

	cr_assert(outcome.goodput_bps > row->share * (double)row->rate_bps * (1 - row->loss));
	/* a small standing queue: a third of what would fit and what reports gather, and next to nothing is dropped */
	cr_assert(outcome.queue_ms < (double)row->rtt_us / 3000 + 8, "%.1f ms", outcome.queue_ms);
	cr_assert(outcome.dropped < 0.005);
	/* what is sent again was lost */
	cr_assert(outcome.resent < row->loss * 1.05 + outcome.dropped + 0.01);
	/* What is resent arrives in time, where a round trip and a half is shorter than 150 ms. On a long path the queue of the
	 * start, which is seen a round trip late, is longer than that for a moment. */
	cr_assert(outcome.urgent_share > 1 - 0.01 -
						 (row->rtt_us > 90000 ? 0.01 + 1.5 * row->loss
								      : 3 * row->loss * row->loss));
}

Test(path_goodput, hundred_megabits)
{
	static const struct row rows[] = {
		{100000000, 60000, 0, 0.87},
		{100000000, 60000, 0.01, 0.85},
		{100000000, 60000, 0.05, 0.83},
		{100000000, 60000, 0.1, 0.8},
		{100000000, 60000, 0.2, 0.75},
	};

	for (size_t i = thorough() ? 0 : 3; i < sizeof(rows) / sizeof(rows[0]) - !thorough(); i++) {
		check(&rows[i], 1, 1400);
		check(&rows[i], 8, 1400);
		check(&rows[i], 4, 14000);
	}
}

Test(path_goodput, other_paths)
{
	static const struct row rows[] = {
		{20000000, 20000, 0, 0.85}, {20000000, 20000, 0.05, 0.8},
		{20000000, 200000, 0, 0.75},
		{20000000, 200000, 0.05, 0.6}, /* 8 s, of which it takes some to start */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check(&rows[i], 4, 1400);
}

/* Three seconds of nothing both ways: traffic flows again within two round trips and 300 ms, and soon at the old rate. */
Test(path_goodput, outage)
{
	static struct path_link link;
	static uint8_t message[2000];

	for (int64_t rtt_us = 20000; rtt_us <= 200000; rtt_us += 60000) {
		struct path_link_config config = path_of(20000000, rtt_us, 0.01);
		struct kcp_path_config path = path_link_path_config();
		path_link_open(&link, &config, &path, &path);
		struct mono cut = mono_add_us(link.now, 6000000);
		struct mono back = mono_add_us(cut, 3000000);
		struct mono end = mono_add_us(back, 3000000);
		struct mono first = MONO_NEVER;
		uint64_t before = 0, after = 0;
		uint64_t probes = 0;
		size_t got;
		do {
			while (kcp_path_room(link.a.path, KCP_PATH_BULK, 1400, link.now)) {
				if (kcp_path_send(link.a.path, KCP_PATH_BULK, 1, message, 1400,
					    link.now) != 0)
					break;
			}
			kcp_path_flush(link.a.path, link.now);
			link.a.cut = link.b.cut =
				mono_due(cut, link.now) && mono_before(link.now, back);
			if (link.a.cut)
				probes = kcp_path_stats(link.a.path)->probes;
			while ((got = path_link_read(&link.b, message, sizeof(message))) > 0) {
				if (mono_before(link.now, cut))
					before += mono_diff_us(cut, link.now) < 2000000 ? got : 0;
				else if (mono_due(mono_add_us(back, 1000000), link.now))
					after += got;
				if (mono_due(back, link.now) && mono_is_never(first))
					first = link.now;
			}
		} while (path_link_step(&link, end));
		int64_t gap_us = mono_diff_us(first, back);
		cr_log_info("RTT %ld ms: %ld ms, %.1f and %.1f Mb/s, %lu probes",
			(long)rtt_us / 1000, (long)gap_us / 1000, (double)before * 4 / 1e6,
			(double)after * 4 / 1e6, (unsigned long)probes);
		cr_assert(gap_us <= 2 * rtt_us + 300000);
		cr_assert(after > before / 2);
		path_link_close(&link);
	}
}
