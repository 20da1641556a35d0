/* The parts of LT, each alone: samples, the filter of rates, the floor of losses, the round-trip time, the response. */
#include "kcp/kcp_lt.h"

#include <criterion/criterion.h>

static struct mono at_ms(int64_t ms)
{
	return mono_at_ms(1000 + ms);
}

/* ---- samples ----------------------------------------------------------------------------------------------------- */

Test(lt_sample, rate_of_a_flight)
{
	struct kcp_lt_sampler sampler = {0};
	struct kcp_lt_flight flights[3];
	struct kcp_lt_sample sample;

	kcp_lt_sampler_restart(&sampler, at_ms(0));
	for (int i = 0; i < 3; i++)
		kcp_lt_sampler_sent(&sampler, &flights[i], KCP_LT_USUAL, at_ms(10 * i));
	cr_assert(!kcp_lt_sampler_close(&sampler, 50000, at_ms(99), &sample),
		"nothing was acknowledged");
	kcp_lt_sampler_acked(&sampler, &flights[0], 1000, at_ms(100));
	kcp_lt_sampler_lost(&sampler, 500);
	kcp_lt_sampler_acked(&sampler, &flights[2], 1000, at_ms(100));
	cr_assert(kcp_lt_sampler_close(&sampler, 50000, at_ms(100), &sample));
	cr_assert(sample.rated);
	cr_assert_eq(sample.delivered_rate, 20000);
	cr_assert_eq(sample.lost_rate, 5000);
	cr_assert_eq(sample.newly_bytes, 2000);
	cr_assert_eq(sample.silent_us, 100000);
	cr_assert(!kcp_lt_sampler_close(&sampler, 50000, at_ms(100), &sample), "closed once");
}

/* Acknowledgements that come at once tell of the path no more than the time over which it all was sent. */
Test(lt_sample, burst_of_acknowledgements)
{
	struct kcp_lt_sampler sampler = {0};
	struct kcp_lt_flight flights[20];
	struct kcp_lt_sample sample;

	kcp_lt_sampler_restart(&sampler, at_ms(0));
	for (int i = 0; i < 10; i++)
		kcp_lt_sampler_sent(&sampler, &flights[i], KCP_LT_USUAL, at_ms(10 * i));
	kcp_lt_sampler_acked(&sampler, &flights[0], 1000, at_ms(100));
	cr_assert(kcp_lt_sampler_close(&sampler, 50000, at_ms(100), &sample));
	for (int i = 10; i < 20; i++)
		kcp_lt_sampler_sent(&sampler, &flights[i], KCP_LT_USUAL, at_ms(10 * i));
	for (int i = 1; i < 20; i++)
		kcp_lt_sampler_acked(&sampler, &flights[i], 1000, at_ms(191));
	cr_assert(kcp_lt_sampler_close(&sampler, 50000, at_ms(191), &sample));
	cr_assert(sample.delivered_rate <= 100000, "%lu", (unsigned long)sample.delivered_rate);
	kcp_lt_sampler_acked(&sampler, &flights[19], 1000, at_ms(192));
	cr_assert(kcp_lt_sampler_close(&sampler, 500000, at_ms(192), &sample));
	cr_assert(!sample.rated, "shorter than a round trip");
}

Test(lt_sample, late_arrivals_are_no_losses)
{
	struct kcp_lt_sampler sampler = {0};
	struct kcp_lt_flight flight;
	struct kcp_lt_sample sample;

	kcp_lt_sampler_restart(&sampler, at_ms(0));
	kcp_lt_sampler_lost(&sampler, 700);
	kcp_lt_sampler_sent(&sampler, &flight, KCP_LT_USUAL, at_ms(0));
	kcp_lt_sampler_lost(&sampler, -700);
	kcp_lt_sampler_acked(&sampler, &flight, 1000, at_ms(100));
	cr_assert(kcp_lt_sampler_close(&sampler, 50000, at_ms(100), &sample));
	cr_assert_eq(sample.lost_rate, 0, "fewer than when it was sent");
}

Test(lt_sample, limited_until_its_flight_is_over)
{
	struct kcp_lt_sampler sampler = {0};
	struct kcp_lt_flight flight;

	kcp_lt_sampler_set_limited(&sampler, 1000);
	kcp_lt_sampler_sent(&sampler, &flight, KCP_LT_USUAL, at_ms(0));
	cr_assert(flight.limited);
	kcp_lt_sampler_acked(&sampler, &flight, 1000, at_ms(60));
	kcp_lt_sampler_sent(&sampler, &flight, KCP_LT_USUAL, at_ms(60));
	cr_assert(flight.limited, "up to and with the last of it");
	kcp_lt_sampler_acked(&sampler, &flight, 1, at_ms(120));
	kcp_lt_sampler_sent(&sampler, &flight, KCP_LT_USUAL, at_ms(120));
	cr_assert(!flight.limited);
}

/* ---- rates ------------------------------------------------------------------------------------------------------- */

static struct kcp_lt_rate_round both(uint64_t delivered, uint64_t carried)
{
	return (struct kcp_lt_rate_round){delivered, carried};
}

Test(lt_rate, smaller_of_both)
{
	struct kcp_lt_rate rate;

	kcp_lt_rate_init(&rate, 0);
	cr_assert_eq(kcp_lt_rate_bytes(&rate, 0), 0);
	kcp_lt_rate_add(&rate, both(700, 1000), true);
	cr_assert_eq(kcp_lt_rate_bytes(&rate, 0), 700, "all loss may be our own");
	cr_assert_eq(kcp_lt_rate_bytes(&rate, 300000), 1000, "none of it is");
	cr_assert_eq(kcp_lt_rate_bytes(&rate, 500000), 1000, "never more than was sent");
}

Test(lt_rate, two_cycles_and_only_those_that_count)
{
	struct kcp_lt_rate rate;

	kcp_lt_rate_init(&rate, 0);
	kcp_lt_rate_add(&rate, both(1000, 1000), true);
	kcp_lt_rate_cycle(&rate);
	for (int i = 0; i < 5; i++) { /* an application that pauses */
		kcp_lt_rate_add(&rate, both(10, 10), false);
		kcp_lt_rate_turn(&rate);
		kcp_lt_rate_cycle(&rate);
	}
	cr_assert_eq(kcp_lt_rate_bytes(&rate, 0), 1000);
	kcp_lt_rate_add(&rate, both(2000, 2000), false);
	cr_assert_eq(kcp_lt_rate_bytes(&rate, 0), 2000, "more is believed of anybody");
	kcp_lt_rate_add(&rate, both(900, 900), true);
	kcp_lt_rate_cycle(&rate);
	kcp_lt_rate_add(&rate, both(800, 800), true);
	cr_assert_eq(kcp_lt_rate_bytes(&rate, 0), 2000);
	kcp_lt_rate_cycle(&rate);
	cr_assert_eq(kcp_lt_rate_bytes(&rate, 0), 800);
}

Test(lt_rate, keeps_late_rounds)
{
	struct kcp_lt_rate rate;

	kcp_lt_rate_init(&rate, 5000);
	for (uint64_t i = 1; i <= 6; i++) {
		kcp_lt_rate_add(&rate, both(7000 - 1000 * i, 7000 - 1000 * i), true);
		if (i < 6)
			kcp_lt_rate_turn(&rate);
	}
	cr_assert_eq(kcp_lt_rate_bytes(&rate, 0), 6000);
	kcp_lt_rate_keep(&rate, 2);
	cr_assert_eq(kcp_lt_rate_bytes(&rate, 0), 2000, "this round's 1000 and the 2000 before");
}

/* ---- losses ------------------------------------------------------------------------------------------------------ */

/* `n` datagrams of which `lost` are lost. */
static void fates(struct kcp_lt_loss *loss, enum kcp_lt_kind kind, unsigned n, unsigned lost)
{
	for (unsigned i = 0; i < n; i++) {
		if (i < lost)
			kcp_lt_loss_lost(loss, kind);
		else
			kcp_lt_loss_acked(loss, kind, false);
	}
}

Test(lt_loss, floor_is_what_slow_ones_lose)
{
	struct kcp_lt_loss loss = {0};

	fates(&loss, KCP_LT_USUAL, 1000, 400);
	fates(&loss, KCP_LT_PROBE, 1000, 600);
	fates(&loss, KCP_LT_START, 1000, 600);
	fates(&loss, KCP_LT_LOW, KCP_LT_LOSS_LOW, KCP_LT_LOSS_LOW / 10);
	kcp_lt_loss_update(&loss, true);
	kcp_lt_loss_cycle(&loss);
	cr_assert_eq(loss.floor_ppm, 100000);
}

/* Others' overflows spoil some samples: the two lowest of four count. */
Test(lt_loss, floor_is_the_lowest_half)
{
	struct kcp_lt_loss loss = {0};
	static const unsigned lost[] = {30, 120, 60, 90};

	for (int i = 0; i < 4; i++) {
		fates(&loss, KCP_LT_LOW, 300, lost[i]);
		kcp_lt_loss_update(&loss, true);
		kcp_lt_loss_cycle(&loss);
	}
	cr_assert_eq(loss.floor_ppm, 150000);
}

Test(lt_loss, rise_is_believed_only_without_a_queue)
{
	for (int queued = 0; queued < 2; queued++) {
		struct kcp_lt_loss loss = {0};
		fates(&loss, KCP_LT_LOW, 60, 18);
		kcp_lt_loss_update(&loss, queued);
		if (queued)
			cr_assert_eq(loss.floor_ppm, 0);
		else
			cr_assert(loss.floor_ppm > 150000 && loss.floor_ppm < 300000, "%u",
				loss.floor_ppm);
	}
}

Test(lt_loss, never_more_than_half)
{
	struct kcp_lt_loss loss = {0};

	fates(&loss, KCP_LT_LOW, KCP_LT_LOSS_LOW_MOST, KCP_LT_LOSS_LOW_MOST);
	kcp_lt_loss_update(&loss, false);
	cr_assert_eq(loss.floor_ppm, KCP_LT_LOSS_FLOOR_MAX_PPM);
}

Test(lt_loss, judgement)
{
	struct row {
		enum kcp_lt_kind kind;
		unsigned lost; /* of 400 */
		bool queued;
		enum kcp_lt_verdict want;
	};
	static const struct row rows[] = {
		{KCP_LT_USUAL, 1, true, KCP_LT_FINE},
		{KCP_LT_USUAL, 12, true, KCP_LT_CONGESTED},
		{KCP_LT_USUAL, 12, false, KCP_LT_ODD},
		{KCP_LT_PROBE, 60, true, KCP_LT_CONGESTED},
		{KCP_LT_PROBE, 60, false, KCP_LT_FINE},
		{KCP_LT_START, 60, true, KCP_LT_FINE},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kcp_lt_loss loss = {0};
		uint32_t ppm = 0;
		fates(&loss, rows[i].kind, 400, rows[i].lost);
		kcp_lt_loss_update(&loss, rows[i].queued);
		cr_assert_eq(
			kcp_lt_loss_judge(&loss, rows[i].queued, &ppm), rows[i].want, "row %zu", i);
		cr_assert_eq(kcp_lt_loss_judge(&loss, true, &ppm), KCP_LT_FINE, "judged once");
	}
}

/* More than chance takes from a path that loses nothing, and too little to answer. */
Test(lt_loss, hardly_more_than_the_floor)
{
	struct kcp_lt_loss loss = {0};
	uint32_t ppm = 0;

	fates(&loss, KCP_LT_USUAL, 900, 1);
	kcp_lt_loss_update(&loss, true);
	cr_assert_eq(kcp_lt_loss_judge(&loss, true, &ppm), KCP_LT_FINE);
	fates(&loss, KCP_LT_USUAL, 900, 2);
	kcp_lt_loss_update(&loss, true);
	cr_assert_eq(kcp_lt_loss_judge(&loss, true, &ppm), KCP_LT_SOME);
	cr_assert_eq(ppm, 2222);
	fates(&loss, KCP_LT_USUAL, 900, 3);
	kcp_lt_loss_update(&loss, true);
	cr_assert_eq(kcp_lt_loss_judge(&loss, true, &ppm), KCP_LT_CONGESTED);
}

Test(lt_loss, few_are_not_judged_but_kept)
{
	struct kcp_lt_loss loss = {0};
	uint32_t ppm = 0;

	fates(&loss, KCP_LT_USUAL, 10, 5);
	kcp_lt_loss_update(&loss, true);
	cr_assert_eq(kcp_lt_loss_judge(&loss, true, &ppm), KCP_LT_FINE);
	fates(&loss, KCP_LT_USUAL, 10, 5);
	kcp_lt_loss_update(&loss, true);
	cr_assert_eq(kcp_lt_loss_judge(&loss, true, &ppm), KCP_LT_CONGESTED);
	cr_assert_eq(ppm, 500000);
}

Test(lt_loss, shallow_queue_shows_by_comparison)
{
	struct kcp_lt_loss loss = {0};
	uint32_t ppm;

	for (int cycle = 0; cycle < 4; cycle++) {
		fates(&loss, KCP_LT_PROBE, 200, 40);
		fates(&loss, KCP_LT_LOW, 200, 10);
		kcp_lt_loss_update(&loss, false);
		kcp_lt_loss_cycle(&loss);
	}
	cr_assert(loss.shallow);
	kcp_lt_loss_judge(&loss, false, &ppm);
	fates(&loss, KCP_LT_USUAL, 400, 80);
	kcp_lt_loss_update(&loss, false);
	cr_assert_eq(kcp_lt_loss_judge(&loss, false, &ppm), KCP_LT_CONGESTED, "no queue is seen");
	for (int cycle = 0; cycle < 60; cycle++) {
		fates(&loss, KCP_LT_PROBE, 200, 10);
		fates(&loss, KCP_LT_LOW, 200, 10);
		kcp_lt_loss_update(&loss, false);
		kcp_lt_loss_cycle(&loss);
	}
	cr_assert(!loss.shallow);
}

Test(lt_loss, arrived_after_all)
{
	struct kcp_lt_loss loss = {0};
	uint32_t ppm = 0;

	fates(&loss, KCP_LT_USUAL, 400, 40);
	kcp_lt_loss_update(&loss, true);
	for (int i = 0; i < 40; i++)
		kcp_lt_loss_acked(&loss, KCP_LT_USUAL, true);
	kcp_lt_loss_update(&loss, true);
	cr_assert_eq(kcp_lt_loss_judge(&loss, true, &ppm), KCP_LT_FINE);
	for (int i = 0; i < 40; i++) /* more than were lost: never below none */
		kcp_lt_loss_acked(&loss, KCP_LT_LOW, true);
	kcp_lt_loss_update(&loss, true);
	cr_assert_eq(loss.low.lost, 0);
	cr_assert_eq(loss.round.lost, 0);
}

Test(lt_loss, cut)
{
	struct kcp_lt_loss loss = {0};

	fates(&loss, KCP_LT_USUAL, 7, 7);
	cr_assert(!kcp_lt_loss_was_cut(&loss), "too few");
	fates(&loss, KCP_LT_USUAL, 30, 27);
	cr_assert(kcp_lt_loss_was_cut(&loss));
	kcp_lt_loss_skip(&loss);
	cr_assert(!kcp_lt_loss_was_cut(&loss));
	fates(&loss, KCP_LT_USUAL, 30, 12);
	cr_assert(!kcp_lt_loss_was_cut(&loss), "most arrived");
}

/* ---- round-trip time --------------------------------------------------------------------------------------------- */

Test(lt_rtt, smallest_ages)
{
	struct kcp_lt_rtt rtt;

	kcp_lt_rtt_init(&rtt);
	cr_assert(!kcp_lt_rtt_look_due(&rtt, at_ms(100000)), "nothing is known yet");
	kcp_lt_rtt_add(&rtt, 60000, at_ms(0));
	kcp_lt_rtt_add(&rtt, 90000, at_ms(100));
	cr_assert_eq(rtt.min_us, 60000);
	cr_assert(!kcp_lt_rtt_look_due(&rtt, at_ms(4999)));
	cr_assert(kcp_lt_rtt_look_due(&rtt, at_ms(5000)));
	kcp_lt_rtt_add(&rtt, 61000, at_ms(4000)); /* as good as the smallest */
	cr_assert_eq(rtt.min_us, 60000);
	cr_assert(!kcp_lt_rtt_look_due(&rtt, at_ms(8999)));
	kcp_lt_rtt_look_begin(&rtt);
	kcp_lt_rtt_add(&rtt, 90000, at_ms(9100));
	kcp_lt_rtt_look_end(&rtt, at_ms(9200));
	cr_assert_eq(rtt.min_us, 60000, "one look that others spoil changes nothing");
	kcp_lt_rtt_look_begin(&rtt);
	kcp_lt_rtt_add(&rtt, 95000, at_ms(14250));
	kcp_lt_rtt_add(&rtt, 85000, at_ms(14300));
	kcp_lt_rtt_look_end(&rtt, at_ms(14400));
	cr_assert_eq(rtt.min_us, 85000);
	kcp_lt_rtt_add(&rtt, 0, at_ms(15000));
	cr_assert_eq(rtt.min_us, 1, "never unknown again");
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

enum {
	DATAGRAM = 1500,
};

Test(lt, window_and_pace_while_nothing_is_known)
{
	struct kcp_lt lt;
	struct kcp_lt_flight flight;

	kcp_lt_init(&lt);
	cr_assert_eq(kcp_lt_window_bytes(&lt, DATAGRAM), KCP_LT_START_DATAGRAMS * DATAGRAM);
	kcp_lt_hint_rtt(&lt, 64000);
	for (int i = 0; i < 4; i++)
		kcp_lt_sent(&lt, &flight, DATAGRAM, DATAGRAM, (uint64_t)i * DATAGRAM, at_ms(0));
	/* one a millisecond, 2 ms of which were saved */
	cr_assert_eq(mono_diff_us(lt.pace_at, at_ms(0)), 2000);
}

/* Steady traffic of one datagram a millisecond over `rtt_ms`, from then to then. */
static uint64_t steady(struct kcp_lt *lt, int64_t rtt_ms, int64_t from_ms, int64_t to_ms)
{
	static struct kcp_lt_flight flights[4096];
	uint64_t flying = 0;

	for (int64_t ms = from_ms; ms < to_ms; ms++) {
		if (ms - rtt_ms >= from_ms) {
			flying -= DATAGRAM;
			kcp_lt_acked(
				lt, &flights[(ms - rtt_ms) % 4096], DATAGRAM, false, at_ms(ms));
			kcp_lt_update(lt, rtt_ms * 1000, flying, at_ms(ms));
		}
		kcp_lt_sent(lt, &flights[ms % 4096], DATAGRAM, DATAGRAM, flying, at_ms(ms));
		flying += DATAGRAM;
	}
	return flying;
}

Test(lt, learns_rate_and_memory_halves_it)
{
	struct kcp_lt lt;
	struct kcp_lt_memory memory;

	kcp_lt_init(&lt);
	steady(&lt, 50, 0, 1000);
	cr_assert_eq(kcp_lt_rate_now(&lt), 1000 * DATAGRAM);
	cr_assert_eq(lt.rtt.min_us, 50000);
	kcp_lt_save(&lt, &memory, at_ms(1000));
	kcp_lt_resume(&lt, &memory, at_ms(200000));
	cr_assert_eq(kcp_lt_rate_now(&lt), 500 * DATAGRAM);
	cr_assert_eq(lt.rtt.min_us, 50000);
	cr_assert_eq(lt.phase, KCP_LT_STARTUP);
	kcp_lt_resume(&lt, &memory, at_ms(1000 + KCP_LT_MEMORY_US / 1000));
	cr_assert_eq(kcp_lt_rate_now(&lt), 0, "too old");
	memory.rate = UINT64_MAX;
	memory.floor_ppm = UINT32_MAX;
	kcp_lt_resume(&lt, &memory, at_ms(2000));
	cr_assert(kcp_lt_rate_now(&lt) <= KCP_LT_RATE_MAX_BYTES / 2);
	cr_assert(lt.loss.floor_ppm <= KCP_LT_LOSS_FLOOR_MAX_PPM);
}

Test(lt, idleness)
{
	struct kcp_lt lt;
	struct kcp_lt_flight flight;

	kcp_lt_init(&lt);
	steady(&lt, 50, 0, 1000);
	kcp_lt_sent(&lt, &flight, DATAGRAM, DATAGRAM, 0, at_ms(5000));
	cr_assert_eq(kcp_lt_rate_now(&lt), 1000 * DATAGRAM, "a short pause changes nothing");
	kcp_lt_sent(&lt, &flight, DATAGRAM, DATAGRAM, 0, at_ms(20000));
	cr_assert_eq(kcp_lt_rate_now(&lt), 500 * DATAGRAM);
	kcp_lt_sent(&lt, &flight, DATAGRAM, DATAGRAM, 0, at_ms(20000 + KCP_LT_MEMORY_US / 1000));
	cr_assert_eq(kcp_lt_rate_now(&lt), 0);
	cr_assert_eq(lt.rtt.min_us, 0);
}

/* The link was away, and all that flew is gone: that is no congestion. */
Test(lt, silence)
{
	struct kcp_lt lt;
	struct kcp_lt_flight flight;

	kcp_lt_init(&lt);
	uint64_t flying = steady(&lt, 50, 0, 1000);
	kcp_lt_sent(&lt, &flight, DATAGRAM, DATAGRAM, flying, at_ms(3900));
	for (uint64_t i = 0; i < flying / DATAGRAM; i++)
		kcp_lt_lost(&lt, &flight, DATAGRAM);
	kcp_lt_acked(&lt, &flight, DATAGRAM, false, at_ms(3950));
	kcp_lt_update(&lt, 50000, 0, at_ms(3950));
	cr_assert_eq(lt.phase, KCP_LT_STARTUP);
	cr_assert_eq(kcp_lt_rate_now(&lt), 500 * DATAGRAM);
	cr_assert_eq(lt.loss.floor_ppm, 0);
	cr_assert_eq(lt.loss.round.lost, 0);
}

/* Whatever is reported: no division by zero, no runaway. */
Test(lt, nonsense)
{
	struct kcp_lt lt;
	uint64_t random = 88172645463325252u;

	kcp_lt_init(&lt);
	struct mono now = at_ms(0);
	for (int i = 0; i < 200000; i++) {
		struct kcp_lt_flight flight = {0};
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		uint32_t bytes = (uint32_t)(random >> 20) % 65536;
		if (random % 7)
			kcp_lt_sent(&lt, &flight, bytes, 1 + bytes, random % 11 ? random >> 40 : 0,
				now);
		if (random % 13 == 0)
			flight.delivered_us = (uint32_t)random;
		if (random % 3)
			kcp_lt_acked(&lt, &flight, bytes, random % 17 == 0, now);
		else
			kcp_lt_lost(&lt, &flight, bytes);
		if (random % 5 == 0)
			kcp_lt_set_limited(&lt, random >> 44);
		if (random % 2)
			kcp_lt_update(&lt, (int64_t)(random % 10000000), random >> 40, now);
		now = mono_add_us(now,
			random % 101 == 0 ? (int64_t)(random >> 40) : (int64_t)(random % 3000));
		cr_assert(kcp_lt_rate_now(&lt) <= 2 * KCP_LT_RATE_MAX_BYTES);
		cr_assert(kcp_lt_window_bytes(&lt, DATAGRAM) >= KCP_LT_MIN_DATAGRAMS * DATAGRAM);
		cr_assert(lt.loss.floor_ppm <= KCP_LT_LOSS_FLOOR_MAX_PPM);
	}
}
