/* The measured window alone, fed by a path in closed form: fixed rate, fixed round-trip time, one segment a time. */
#include "kcp/kcp_window.h"

#include <criterion/criterion.h>

enum {
	SEGMENT = 1000,
	AHEAD_MAX = 4096,
};

/* Sends and acknowledges at `rate` segments a second with `rtt_us` for `run_us`; what is sent at t is acknowledged at t + rtt_us. */
static struct mono run(struct kcp_window *window, struct mono now, int64_t rate, int64_t rtt_us,
	int64_t run_us, bool limited)
{
	static struct kcp_flight flights[AHEAD_MAX];
	int64_t gap_us = 1000000 / rate;
	int64_t ahead = rtt_us / gap_us;
	int64_t sends = run_us / gap_us;

	cr_assert(ahead < AHEAD_MAX);
	kcp_window_restart(window, now);
	for (int64_t i = 0; i < sends + ahead; i++) {
		now = mono_add_us(now, gap_us);
		if (i >= ahead) {
			kcp_window_acked(window, &flights[(i - ahead) % AHEAD_MAX], SEGMENT,
				limited, true, now);
			kcp_window_update(window, now);
		}
		if (i < sends)
			kcp_window_sent(window, &flights[i % AHEAD_MAX], false, now);
	}
	return now;
}

Test(window, measures_rate_and_product)
{
	struct kcp_window window;

	kcp_window_init(&window, 10000);
	cr_assert_eq(kcp_window_bytes(&window), 0);
	run(&window, mono_at_ms(1000), 5000, 40000, 3000000, false);
	cr_assert_eq(window.min_rtt_us, 40000);
	cr_assert(window.rate > 4900000 && window.rate < 5300000, "%lu", window.rate);
	/* 1.25 x 200 segments; the burst of single acks adds next to nothing */
	uint64_t bytes = kcp_window_bytes(&window);
	cr_assert(bytes >= 240000 && bytes <= 270000, "%lu", bytes);
}

Test(window, believes_a_slower_path_after_ten_rounds)
{
	struct kcp_window window;

	kcp_window_init(&window, 10000);
	struct mono now = run(&window, mono_at_ms(1000), 5000, 40000, 2000000, false);
	now = run(&window, now, 1000, 40000, 1000000, false);
	cr_assert(window.rate < 1100000, "%lu", window.rate);
	/* an application that sends little says nothing about the path */
	now = run(&window, now, 100, 40000, 1000000, true);
	cr_assert(window.rate > 900000, "%lu", window.rate);
	/* but may show that it is faster */
	run(&window, now, 2000, 40000, 1000000, true);
	cr_assert(window.rate > 1900000, "%lu", window.rate);
}

Test(window, renews_the_smallest_round_trip)
{
	struct kcp_window window;

	kcp_window_init(&window, 10000);
	struct mono now = run(&window, mono_at_ms(1000), 1000, 20000, 2000000, false);
	cr_assert_eq(window.min_rtt_us, 20000);
	now = run(&window, now, 1000, 60000, 3000000, false);
	cr_assert_eq(window.min_rtt_us, 20000); /* may still be a queue */
	for (int i = 0; i < 40; i++)
		now = run(&window, now, 1000, 60000, 100000, false);
	cr_assert_eq(window.min_rtt_us, 60000);
	run(&window, now, 1000, 15000, 100000, false); /* shorter is believed at once */
	cr_assert_eq(window.min_rtt_us, 15000);
}

Test(window, paces_at_the_rate_but_never_below_64_segments_a_round_trip)
{
	struct kcp_window window;
	struct mono now = mono_at_ms(1000);

	kcp_window_init(&window, 10000);
	kcp_window_pace(&window, SEGMENT, SEGMENT, now);
	cr_assert(mono_due(window.pace_at, now)); /* nothing measured, nothing held back */
	now = run(&window, now, 5000, 40000, 3000000, false);
	window.pace_at = now;
	for (int i = 0; i < 100; i++)
		kcp_window_pace(&window, SEGMENT, SEGMENT, now);
	int64_t spent_us = mono_diff_us(window.pace_at, now);
	cr_assert(spent_us > 14500 && spent_us < 16500, "%ld", spent_us); /* 100 at 6250 a second */

	kcp_window_init(&window, 10000);
	now = run(&window, now, 100, 40000, 3000000, false);
	window.pace_at = now;
	for (int i = 0; i < 64; i++)
		kcp_window_pace(&window, SEGMENT, SEGMENT, now);
	cr_assert(mono_diff_us(window.pace_at, now) <= 40000);
}
