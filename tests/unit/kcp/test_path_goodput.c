/*
 * What a path carries and how much queue it makes, in virtual time over a bottleneck. Nothing here depends on the speed of the
 * machine.
 */
#include "path_link.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

struct outcome {
	double goodput_bps;
	double first_second_bps;
	double queue_ms; /* mean, after a second */
	double queue_max_ms;
	double resent; /* share of datagrams */
	double lost;   /* by the full queue, share */
};

/* One or several lanes that always have data, a reader that always reads. */
static struct outcome saturate(
	const struct path_link_config *config, unsigned lanes, size_t len, int64_t run_us)
{
	static struct path_link link;
	static uint8_t message[65536];
	struct kcp_path_config path = path_link_path_config();
	struct outcome outcome = {0};
	uint64_t read = 0;
	uint32_t lane = 0;
	size_t got;

	path_link_open(&link, config, &path, &path);
	struct mono start = link.now;
	struct mono end = mono_add_us(start, run_us);
	struct mono second = mono_add_us(start, 1000000);
	uint64_t warm_sent = 0;
	bool warm = false;
	do {
		while (kcp_path_room(link.a.path, KCP_PATH_BULK, len, link.now)) {
			if (kcp_path_send(
				    link.a.path, KCP_PATH_BULK, lane, message, len, link.now) != 0)
				break;
			lane = (lane + 1) % lanes;
		}
		kcp_path_flush(link.a.path, link.now);
		while ((got = path_link_read(&link.b, message, sizeof(message))) > 0)
			read += got;
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
	outcome.lost = (double)link.a.out.dropped / (double)link.a.out.sent;
	cr_log_info("loss %.0f %% rtt %ld lanes %u: %.1f Mb/s (first second %.1f), queue %.1f ms "
		    "(max %.1f), resent %.1f %%, dropped %.2f %%, wakes %lu, grant again %lu, "
		    "expired %lu, late %lu, mem %zu srtt %ld grant %lu",
		config->loss * 100, (long)config->delay_us / 500, lanes, outcome.goodput_bps / 1e6,
		outcome.first_second_bps / 1e6, outcome.queue_ms, outcome.queue_max_ms,
		outcome.resent * 100, outcome.lost * 100, (unsigned long)link.wakes,
		(unsigned long)stats->again_grant, (unsigned long)stats->expired_messages,
		(unsigned long)stats->late_acks, kcp_path_memory_bytes(link.b.path),
		(long)kcp_path_srtt_us(link.a.path),
		(unsigned long)kcp_path_grant_bytes(link.a.path));
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

Test(path_goodput, hundred_megabits)
{
	static const double losses[] = {0, 0.01, 0.05, 0.1, 0.2};
	for (size_t i = 0; i < 5; i++) {
		struct path_link_config config = path_of(100000000, 60000, losses[i]);
		saturate(&config, 1, 1400, 8000000);
		saturate(&config, 8, 1400, 8000000);
		saturate(&config, 4, 14000, 8000000);
	}
}
