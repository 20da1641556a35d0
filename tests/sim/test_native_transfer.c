/*
 * A transfer between two ends of the native wire through a bottleneck: what passes of what the link carries, and that nothing is
 * lost or turned around on the way. What stands before the bottleneck, and for how long, is the business of congestion control.
 */
#include "tests/unit/stack/native_load.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum {
	MS = 1000,
	S = 1000000,
	PACKET_BYTES = 1400,
};

static struct native_pair pair;
static struct native_load load;

/* As much as is taken, from end 0, for so long. @return bytes of packets that came a second, in bits */
static uint64_t transfer(int64_t us)
{
	uint64_t before = load.ways[0].came;
	size_t flow = 0;

	for (int64_t at = 0; at < us; at += MS) {
		while (native_load_give(&load, 0, flow % 6, PACKET_BYTES) == 0)
			flow++;
		native_pair_run(&pair, MS);
	}
	return (load.ways[0].came - before) * PACKET_BYTES * 8 * S / (uint64_t)us;
}

static void open_link(uint64_t rate_bps, int64_t rtt_us, uint32_t loss_ppm)
{
	struct native_end_options options = native_pair_options();

	native_pair_open(&pair, 77, &options);
	for (size_t i = 0; i < 2; i++)
		pair.ends[i].link = (struct native_link){
			.loss_ppm = loss_ppm,
			.delay_us = rtt_us / 2,
			.rate_bps = rate_bps,
			.queue_bytes = (size_t)(rate_bps / 8 * (uint64_t)rtt_us / S) + 20000,
		};
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 30 * S));
	native_load_init(&load, &pair);
}

Test(native_transfer, fills_a_link_with_and_without_loss)
{
	static const struct {
		uint64_t rate_bps;
		int64_t rtt_us;
		uint32_t loss_ppm;
		unsigned percent; /* of the rate, at least */
	} rows[] = {
		{20000000, 20 * MS, 0, 85},
		{20000000, 60 * MS, 0, 85},
		{20000000, 60 * MS, 10000, 80},
		{20000000, 60 * MS, 50000, 75},
		{20000000, 200 * MS, 10000, 70},
		{2000000, 60 * MS, 20000, 75},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		open_link(rows[i].rate_bps, rows[i].rtt_us, rows[i].loss_ppm);
		(void)transfer(3 * S);
		uint64_t bps = transfer(7 * S);
		uint64_t percent = bps * 100 / rows[i].rate_bps;
		printf("%llu Mb/s, %lld ms, loss %u ppm each way: %llu %%, %llu overflows\n",
			(unsigned long long)rows[i].rate_bps / 1000000,
			(long long)rows[i].rtt_us / MS, rows[i].loss_ppm,
			(unsigned long long)percent, (unsigned long long)pair.ends[0].overflows);
		cr_assert_geq(percent, rows[i].percent);
		native_pair_run(&pair, 5 * S);
		cr_assert_geq(load.ways[0].came * 1000, load.ways[0].given * 995);
		native_pair_fini(&pair);
	}
}

Test(native_transfer, is_not_stopped_by_a_rekey)
{
	open_link(5000000, 40 * MS, 20000);
	(void)transfer(60 * S);
	native_load_watch(&load);
	for (size_t f = 0; f < NATIVE_LOAD_FLOWS; f++) /* numbers are few */
		cr_assert_lt(load.ways[0].flows[f].given, NATIVE_LOAD_NUMBERS / 2);
	uint64_t bps = transfer(100 * S);
	struct kcpvpn_peer_status status;
	kcpvpn_peer_status(pair.ends[0].peers[1], &status);
	cr_assert_geq(status.handshakes, 2);
	cr_assert_geq(bps, 5000000 * 6 / 10);
	cr_assert_leq(load.ways[0].gap_us, S, "%lld us", (long long)load.ways[0].gap_us);
	native_pair_fini(&pair);
}
