/*
 * The engine over an emulated path in virtual time: the figures that the measured window is there for. Nothing here
 * depends on the speed of the machine.
 */
#include "link.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct outcome {
	double goodput_bps;
	double first_second_bps;
	double queue_ms; /* mean */
	double queue_max_ms;
	double resent; /* share of data datagrams */
};

/* A sender that always has data, a reader that always reads. Half a second of warm-up is not counted in the queue. */
static struct outcome saturate(const struct link_config *config, const struct kcp_config *a,
	const struct kcp_config *b, int64_t run_us)
{
	static struct link link;
	static uint8_t payload[LINK_MTU_BYTES];
	struct outcome outcome = {0};
	uint64_t read = 0;
	size_t len;

	link_open(&link, config, a, b);
	struct mono start = link.now;
	struct mono end = mono_add_us(start, run_us);
	struct mono warm = mono_add_us(start, 500000);
	struct mono second = mono_add_us(start, 1000000);
	uint64_t warm_sent = 0;
	bool is_warm = false;
	do {
		while (kcp_send_space(link.a.kcp) > 0)
			cr_assert_eq(
				kcp_send(link.a.kcp, payload, kcp_mss_bytes(link.a.kcp), link.now),
				0);
		while (kcp_recv(link.b.kcp, payload, sizeof(payload), &len) == 0)
			read += len;
		if (mono_before(link.now, second))
			outcome.first_second_bps = (double)read * 8;
		if (!is_warm && mono_due(warm, link.now)) {
			is_warm = true;
			link.a.out.queue_max_us = 0;
			link.a.out.queue_sum_us = 0;
			warm_sent = link.a.out.sent;
		}
	} while (link_step(&link, end));
	const struct kcp_stats *stats = kcp_stats(link.a.kcp);
	outcome.goodput_bps = (double)read * 8 / ((double)run_us / 1e6);
	outcome.queue_ms =
		link.a.out.queue_sum_us / 1000 / (double)(link.a.out.sent - warm_sent + 1);
	outcome.queue_max_ms = (double)link.a.out.queue_max_us / 1000;
	outcome.resent =
		(double)(stats->lost_segments + stats->fast_segments + stats->early_segments) /
		(double)link.a.out.sent;
	if (getenv("KCP_FIGURES"))
		fprintf(stderr,
			"rate %.0f Mb/s rtt %.0f ms loss %.0f %%: goodput %.1f Mb/s, first second "
			"%.1f, "
			"queue mean %.1f max %.1f ms, resent %.1f %% (lost %lu fast %lu early "
			"%lu), repeat "
			"%lu, tail drops %lu, window %u, min rtt %.1f ms, measured %.1f Mb/s, "
			"wakes %lu\n",
			(double)config->rate_bps / 1e6, (double)config->delay_us / 500,
			config->loss * 100, outcome.goodput_bps / 1e6,
			outcome.first_second_bps / 1e6, outcome.queue_ms, outcome.queue_max_ms,
			outcome.resent * 100, stats->lost_segments, stats->fast_segments,
			stats->early_segments, kcp_stats(link.b.kcp)->repeat_segments,
			link.a.out.dropped, kcp_measured_window(link.a.kcp),
			(double)kcp_min_rtt_us(link.a.kcp) / 1000,
			(double)kcp_delivery_bps(link.a.kcp) / 1e6, link.wakes);
	link_close(&link);
	return outcome;
}

static struct link_config long_path(double loss)
{
	return (struct link_config){
		.rate_bps = 100000000,
		.delay_us = 30000,
		.queue_bytes = 750000,
		.loss = loss,
		.seed = 7,
	};
}

static struct kcp_config measured(uint32_t wnd)
{
	struct kcp_config config = link_kcp_config();

	config.measured_window = true;
	config.snd_wnd = wnd;
	config.rcv_wnd = wnd;
	return config;
}

/* Prints a table of all rows instead of judging: KCP_FIGURES=1 build/release/tests/unit-kcp */
Test(path, figures)
{
	static const double losses[] = {0, 0.01, 0.05, 0.1, 0.2, 0.3};
	static const uint32_t wnds[] = {1024, 2048};

	if (!getenv("KCP_FIGURES"))
		return;
	for (size_t w = 0; w < 2; w++) {
		for (size_t i = 0; i < 6; i++) {
			for (int m = 0; m < 2; m++) {
				struct link_config path = long_path(losses[i]);
				struct kcp_config config = measured(wnds[w]);
				config.measured_window = m;
				fprintf(stderr, "window %u%s, ", wnds[w], m ? " measured" : "");
				saturate(&path, &config, &config, 20000000);
			}
		}
	}
}

/* 100 Mb/s, 60 ms, 5 % random loss each way, a queue of one bandwidth-delay product. */
Test(path, measured_window_fills_a_lossy_path_without_a_queue)
{
	struct kcp_config config = measured(2048);

	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct link_config path = long_path(0.05);
		path.seed = seed;
		struct outcome outcome = saturate(&path, &config, &config, 10000000);
		cr_assert(outcome.goodput_bps >= 65e6, "goodput %.1f Mb/s",
			outcome.goodput_bps / 1e6);
		cr_assert(outcome.queue_ms <= 20, "mean queue %.1f ms", outcome.queue_ms);
		cr_assert(
			outcome.queue_max_ms <= 50, "longest queue %.1f ms", outcome.queue_max_ms);
		cr_assert(outcome.resent <= 0.15, "resent %.3f", outcome.resent);
	}
}

Test(path, measured_window_leaves_a_clean_path_a_small_queue)
{
	struct link_config path = long_path(0);
	struct kcp_config config = measured(2048);
	struct outcome outcome = saturate(&path, &config, &config, 20000000);

	cr_assert(outcome.goodput_bps >= 88e6, "goodput %.1f Mb/s", outcome.goodput_bps / 1e6);
	cr_assert(outcome.first_second_bps >= 50e6, "start %.1f Mb/s",
		outcome.first_second_bps / 1e6);
	cr_assert(outcome.queue_ms <= 22, "mean queue %.1f ms", outcome.queue_ms);
	cr_assert(outcome.queue_max_ms <= 50, "longest queue %.1f ms", outcome.queue_max_ms);
	cr_assert(outcome.resent == 0, "resent %.3f", outcome.resent);
}

/* A minute: the smallest round trip is renewed again and again and must not creep up. */
Test(path, measured_window_does_not_creep)
{
	struct link_config path = long_path(0);
	path.rate_bps = 20000000;
	path.queue_bytes = 1500000; /* ten times what the path holds */
	struct kcp_config config = measured(2048);
	struct outcome outcome = saturate(&path, &config, &config, 60000000);

	cr_assert(outcome.goodput_bps >= 17e6, "goodput %.1f Mb/s", outcome.goodput_bps / 1e6);
	cr_assert(outcome.queue_ms <= 40, "mean queue %.1f ms", outcome.queue_ms);
	cr_assert(outcome.queue_max_ms <= 100, "longest queue %.1f ms", outcome.queue_max_ms);
}

/* A peer on next to no delay that acknowledges only once an interval: the window must grow past 32 segments. */
Test(path, measured_window_grows_over_acknowledgements_in_bursts)
{
	static const uint32_t intervals[] = {10, 40};

	for (size_t i = 0; i < 2; i++) {
		struct link_config path = {
			.rate_bps = 1000000000, .delay_us = 50, .queue_bytes = 1 << 22};
		struct kcp_config config = measured(1024);
		config.interval_ms = intervals[i];
		struct kcp_config peer = config;
		peer.profile = KCP_PROFILE_5_6_1;
		peer.measured_window = false; /* acknowledges once an interval */
		struct outcome outcome = saturate(&path, &config, &peer, 3000000);
		/* 1024 segments an interval would be 1060 and 266 Mb/s, 32 of them 33 and 8 */
		double least = intervals[i] == 10 ? 300e6 : 100e6;
		cr_assert(outcome.goodput_bps >= least, "interval %u: %.1f Mb/s", intervals[i],
			outcome.goodput_bps / 1e6);
	}
}
