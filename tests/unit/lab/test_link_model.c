#include "tests/lab/link_model.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PACKETS_MAX = 400000,
	LEN = 1000, /* bytes a packet: 8 us at 1 Gb/s, 80 us at 100 Mb/s */
};

static struct link_packet packets[PACKETS_MAX];
static struct link_model link;

static void setup(const char *const *pairs, uint64_t seed)
{
	struct link_config config = {0};
	char why[LINK_CONFIG_WHY_BYTES];

	for (; *pairs; pairs++)
		cr_assert_eq(link_config_set_pair(&config, *pairs, why), 0, "%s", why);
	link_model_init(&link, &config, seed, mono_at_us(0));
}
#define SETUP(seed, ...) setup((const char *const[]){__VA_ARGS__, NULL}, seed)

static void change(const char *pair, int64_t at_us)
{
	struct link_config config = link.config;
	char why[LINK_CONFIG_WHY_BYTES];

	cr_assert_eq(link_config_set_pair(&config, pair, why), 0, "%s", why);
	link_model_configure(&link, &config, mono_at_us(at_us));
}

static bool push(size_t i, uint32_t len, int64_t at_us)
{
	packets[i].len = len;
	return link_model_push(&link, &packets[i], mono_at_us(at_us));
}

static struct link_departure pop(int64_t at_us)
{
	struct link_departure leaves;

	cr_assert(link_model_pop(&link, mono_at_us(at_us), &leaves), "nothing left by %ld us",
		(long)at_us);
	return leaves;
}

static bool nothing(int64_t at_us)
{
	struct link_departure leaves;

	return !link_model_pop(&link, mono_at_us(at_us), &leaves);
}

static void finish(void)
{
	struct link_departure leaves;

	while (link_model_pop(&link, MONO_NEVER, &leaves))
		;
	link_model_fini(&link);
}

static size_t index_of(const struct link_departure *leaves)
{
	return (size_t)(leaves->packet - packets);
}

/* True if `seen` of `n` draws lies within five sigma of probability ppm: wrong once in a million seeds. */
static bool plausible(uint64_t seen, uint64_t n, uint64_t ppm)
{
	double p = (double)ppm / LINK_PPM, off = (double)seen - (double)n * p;

	return off * off <= 25.0 * (double)n * p * (1 - p) + 1;
}

Test(link_model, a_perfect_link_passes_everything_at_once)
{
	SETUP(1, "delay=0");
	cr_expect(mono_is_never(link_model_next(&link)));
	for (size_t i = 0; i < 100; i++)
		cr_assert(push(i, LEN, 5));
	for (size_t i = 0; i < 100; i++) {
		struct link_departure leaves = pop(5);
		cr_assert_eq(index_of(&leaves), i);
		cr_assert(leaves.last && !leaves.lost && !leaves.corrupt);
	}
	cr_expect(nothing(1000000));
	cr_expect_eq(link.stats.out_bytes, 100 * LEN);
	finish();
}

Test(link_model, delay_is_exact)
{
	SETUP(1, "delay=30ms");
	push(0, LEN, 1000);
	push(1, LEN, 1001);
	cr_expect_eq(link_model_next(&link).us, 31000);
	cr_expect(nothing(30999));
	cr_expect_eq(pop(31000).at_ns, 31000000);
	cr_expect(nothing(31000));
	cr_expect_eq(link_model_next(&link).us, 31001);
	cr_expect_eq(pop(50000).at_ns, 31001000);
	cr_expect(mono_is_never(link_model_next(&link)));
	finish();
}

Test(link_model, rate_spaces_packets_and_adds_to_the_delay)
{
	SETUP(1, "rate=100M", "delay=10ms");
	for (size_t i = 0; i < 10; i++)
		push(i, LEN, 0);
	for (int64_t i = 0; i < 10; i++)
		cr_assert_eq(pop(1000000).at_ns, 10000000 + (i + 1) * 80000);
	finish();
}

/* 1400 bytes at 300 Mb/s take 37.333 us: what is cut off must not add up. */
Test(link_model, rate_is_exact_over_many_packets)
{
	SETUP(1, "rate=300M", "queue=100M");
	for (size_t i = 0; i < 30000; i++)
		push(i, 1400, 0);
	struct link_departure leaves = {0};
	for (size_t i = 0; i < 30000; i++)
		leaves = pop(10000000);
	cr_expect_eq(leaves.at_ns, 1120000000, "%ld", (long)leaves.at_ns);
	finish();
}

/* Whoever looks rarely sees the same departures. */
Test(link_model, late_looks_change_nothing)
{
	int64_t often[200], rarely[200];

	for (int turn = 0; turn < 2; turn++) {
		int64_t *at = turn ? rarely : often;
		size_t n = 0;
		struct link_departure leaves;
		SETUP(5, "rate=10M", "delay=3ms", "jitter=1ms", "loss=10%");
		for (size_t i = 0; i < 200; i++) {
			push(i, LEN, (int64_t)i * 790);
			while (!turn &&
				link_model_pop(&link, mono_at_us((int64_t)i * 790), &leaves)) {
				if (!leaves.lost)
					at[n++] = leaves.at_ns;
			}
		}
		while (link_model_pop(&link, mono_at_us(10000000), &leaves)) {
			if (!leaves.lost)
				at[n++] = leaves.at_ns;
		}
		cr_assert_eq(n, 200 - link.stats.lost_random);
		finish();
	}
	cr_expect_arr_eq(often, rarely, (200 - link.stats.lost_random) * sizeof(often[0]));
}

Test(link_model, a_full_queue_drops_the_tail)
{
	SETUP(1, "rate=8M", "queue=5000"); /* a packet takes 1 ms */
	for (size_t i = 0; i < 6; i++)
		cr_assert(push(i, LEN, 0), "%zu", i); /* one is being sent, five wait */
	cr_expect_not(push(6, LEN, 0));
	cr_expect_not(push(6, 1, 999));
	cr_expect(push(6, LEN, 1000));
	cr_expect_eq(link.stats.dropped_queue, 2);
	cr_expect_eq(link.stats.queue_bytes_most, 5000);
	cr_expect_eq(link.stats.queue_bytes, 5000);
	for (size_t i = 0; i < 7; i++) {
		struct link_departure leaves = pop(100000);
		cr_assert_eq(index_of(&leaves), i);
	}
	cr_expect_eq(link.stats.queue_bytes, 0);
	finish();
}

Test(link_model, a_queue_in_time_follows_the_rate)
{
	SETUP(1, "rate=8M", "queue=3ms");
	for (size_t i = 0; i < 4; i++)
		cr_assert(push(i, LEN, 0));
	cr_expect_not(push(4, LEN, 0));
	change("rate=16M", 0);
	for (size_t i = 4; i < 7; i++)
		cr_assert(push(i, LEN, 0));
	cr_expect_not(push(7, LEN, 0));
	finish();
}

Test(link_model, a_large_packet_passes_a_small_idle_queue)
{
	SETUP(1, "rate=8M", "queue=100");
	cr_expect(push(0, 1500, 0));
	cr_expect_not(push(1, 1500, 0));
	finish();
}

Test(link_model, random_loss_is_within_statistics)
{
	static const uint32_t percents[] = {0, 1, 5, 20, 50, 100};

	for (size_t k = 0; k < sizeof(percents) / sizeof(percents[0]); k++) {
		char pair[32];
		snprintf(pair, sizeof(pair), "loss=%u%%", percents[k]);
		SETUP(k, pair);
		for (size_t i = 0; i < PACKETS_MAX; i++)
			push(i, LEN, (int64_t)i);
		struct link_departure leaves;
		uint64_t lost = 0;
		while (link_model_pop(&link, mono_at_us(PACKETS_MAX), &leaves))
			lost += leaves.lost;
		cr_expect_eq(lost, link.stats.lost_random);
		cr_expect(plausible(lost, PACKETS_MAX, percents[k] * 10000ull), "%u %%: %lu lost",
			percents[k], (unsigned long)lost);
		cr_expect_eq(lost + link.stats.out_packets, PACKETS_MAX);
		finish();
	}
}

/* Mean loss and mean length of the bursts. Packets of one burst hang together, so sigma is wider by about sqrt(2 L). */
static void expect_bursts(const char *pair, double loss, double length, int64_t gap_us)
{
	struct link_departure leaves;
	uint64_t lost = 0, bursts = 0;
	static bool gone[PACKETS_MAX];

	memset(gone, 0, sizeof(gone));
	SETUP(11, pair);
	for (size_t i = 0; i < PACKETS_MAX; i++) {
		push(i, LEN, (int64_t)i * gap_us);
		while (link_model_pop(&link, mono_at_us((int64_t)i * gap_us), &leaves))
			gone[index_of(&leaves)] = leaves.lost;
	}
	for (size_t i = 0; i < PACKETS_MAX; i++) {
		lost += gone[i];
		bursts += gone[i] && (i == 0 || !gone[i - 1]);
	}
	cr_assert_gt(bursts, 100);
	double mean_loss = (double)lost / PACKETS_MAX, mean_length = (double)lost / (double)bursts;
	double off = (mean_loss - loss) * PACKETS_MAX;
	cr_expect(off * off < 25 * 2 * length * PACKETS_MAX * loss, "%s: loss %f", pair, mean_loss);
	off = mean_length - length; /* of a geometric length: sigma is about the mean itself */
	cr_expect(off * off * (double)bursts < 25 * length * length, "%s: length %f", pair,
		mean_length);
	cr_expect_eq(link.stats.lost_burst, lost);
	finish();
}

Test(link_model, bursts_in_packets_have_their_mean_loss_and_length)
{
	expect_bursts("burst=3%/4", 0.03, 4, 100);
	expect_bursts("burst=20%/10", 0.20, 10, 100);
	expect_bursts("burst=50%/2", 0.50, 2, 100);
}

/* 10 ms are 100 packets 100 us apart; the shortest bursts hit none, so those seen are longer by about one packet. */
Test(link_model, bursts_in_time_have_their_mean_loss_and_length)
{
	expect_bursts("burst=5%/10ms", 0.05, 100, 100);
	expect_bursts("burst=10%/20ms", 0.10, 200, 100);
}

Test(link_model, bursts_in_time_survive_a_long_silence)
{
	SETUP(3, "burst=5%/1ms");
	push(0, LEN, 0);
	push(1, LEN, INT64_C(86400) * 365 * 1000000);
	cr_expect_eq(link.stats.in_packets, 2);
	finish();
}

Test(link_model, jitter_varies_the_delay_and_keeps_the_order)
{
	struct link_departure leaves;
	int64_t earliest = INT64_MAX, latest = 0;
	size_t n = 0;

	SETUP(2, "delay=20ms", "jitter=5ms");
	for (size_t i = 0; i < 10000; i++)
		push(i, LEN, (int64_t)i * 20000);
	while (link_model_pop(&link, mono_at_us(INT64_C(1000000000)), &leaves)) {
		cr_assert_eq(index_of(&leaves), n);
		int64_t delay = leaves.at_ns - (int64_t)n * 20000000;
		earliest = delay < earliest ? delay : earliest;
		latest = delay > latest ? delay : latest;
		n++;
	}
	cr_expect_eq(n, 10000);
	cr_expect(earliest >= 15000000 && earliest < 15050000, "%ld", (long)earliest);
	cr_expect(latest <= 25000000 && latest > 24950000, "%ld", (long)latest);
	cr_expect_eq(link.stats.reordered, 0);
	finish();
}

Test(link_model, late_packets_are_overtaken)
{
	struct link_departure leaves;
	size_t late = 0, highest = 0;

	SETUP(4, "delay=10ms", "reorder=2%", "late=5ms");
	for (size_t i = 0; i < 100000; i++)
		push(i, LEN, (int64_t)i * 100);
	while (link_model_pop(&link, mono_at_us(INT64_C(100000000)), &leaves)) {
		size_t i = index_of(&leaves);
		int64_t delay = leaves.at_ns - (int64_t)i * 100000;
		cr_assert(delay == 10000000 || delay == 15000000);
		late += delay == 15000000;
		if (i > highest)
			highest = i;
		else if (i > 0)
			cr_assert_eq(delay, 15000000);
	}
	cr_expect(plausible(late, 100000, 20000), "%zu", late);
	cr_expect(link.stats.reordered + 5 >= late && link.stats.reordered <= late);
	finish();
}

Test(link_model, duplicates_come_twice_and_end_once)
{
	struct link_departure leaves;
	static unsigned seen[100000], ended[100000];

	SETUP(6, "delay=1ms", "duplicate=3%");
	for (size_t i = 0; i < 100000; i++)
		push(i, LEN, (int64_t)i);
	while (link_model_pop(&link, mono_at_us(INT64_C(100000000)), &leaves)) {
		size_t i = index_of(&leaves);
		cr_assert_eq(ended[i], 0, "a packet came after its last departure");
		seen[i]++;
		ended[i] += leaves.last;
	}
	uint64_t twice = 0;
	for (size_t i = 0; i < 100000; i++) {
		cr_assert(seen[i] == 1 || seen[i] == 2);
		cr_assert_eq(ended[i], 1);
		twice += seen[i] == 2;
	}
	cr_expect_eq(twice, link.stats.duplicated);
	cr_expect(plausible(twice, 100000, 30000), "%lu", (unsigned long)twice);
	finish();
}

Test(link_model, corruption_is_within_statistics)
{
	struct link_departure leaves;
	uint64_t corrupt = 0;

	SETUP(8, "corrupt=1%");
	for (size_t i = 0; i < 100000; i++)
		push(i, LEN, (int64_t)i);
	while (link_model_pop(&link, mono_at_us(100000), &leaves))
		corrupt += leaves.corrupt;
	cr_expect_eq(corrupt, link.stats.corrupted);
	cr_expect(plausible(corrupt, 100000, 10000));
	finish();
}

Test(link_model, an_outage_loses_what_is_sent_in_it)
{
	SETUP(1, "delay=10ms");
	push(0, LEN, 0);
	link_model_outage(&link, mono_at_us(1000), mono_at_us(3000));
	push(1, LEN, 1000);
	push(2, LEN, 2999);
	push(3, LEN, 3000);
	cr_expect(pop(20000).lost);
	cr_expect(pop(20000).lost);
	cr_expect_eq(pop(20000).at_ns, 10000000); /* was flying when it began */
	cr_expect_eq(pop(20000).at_ns, 13000000);
	cr_expect(nothing(1000000));
	cr_expect_eq(link.stats.lost_outage, 2);

	link_model_outage(&link, mono_at_us(1000000), MONO_NEVER);
	push(4, LEN, 2000000);
	cr_expect(pop(2000000).lost);
	link_model_outage(&link, mono_at_us(2000001), mono_at_us(0));
	push(5, LEN, 2000002);
	cr_expect_not(pop(3000000).lost);
	finish();
}

Test(link_model, a_new_rate_takes_over_in_mid_packet)
{
	SETUP(1, "rate=8M", "queue=100k"); /* 1 ms a packet */
	for (size_t i = 0; i < 3; i++)
		push(i, LEN, 0);
	change("rate=4M", 1500); /* half of the second is left: 1 ms at the new rate */
	cr_expect_eq(pop(10000).at_ns, 1000000);
	cr_expect_eq(pop(10000).at_ns, 2500000);
	cr_expect_eq(pop(10000).at_ns, 4500000);
	push(3, LEN, 20000);
	push(4, LEN, 20000);
	change("rate=0", 20500);
	cr_expect_eq(pop(20500).at_ns, 20500000);
	cr_expect_eq(pop(20500).at_ns, 20500000);
	change("rate=8M", 30000);
	push(5, LEN, 30000);
	cr_expect_eq(pop(40000).at_ns, 31000000);
	finish();
}

Test(link_model, a_shorter_delay_does_not_reorder)
{
	SETUP(1, "delay=100ms");
	push(0, LEN, 0);
	change("delay=10ms", 1000);
	push(1, LEN, 1000);
	cr_expect_eq(pop(200000).at_ns, 100000000);
	cr_expect_eq(pop(200000).at_ns, 100000000);
	push(2, LEN, 200000);
	cr_expect_eq(pop(300000).at_ns, 210000000);
	finish();
}

/* One hash over everything that leaves. */
static uint64_t run_of(uint64_t seed, const char *extra)
{
	struct link_departure leaves;
	uint64_t hash = 14695981039346656037u;

	SETUP(seed, "rate=50M", "queue=40k", "delay=5ms", "jitter=2ms", "loss=2%", "burst=2%/3",
		"reorder=1%", "duplicate=1%", "corrupt=1%", extra);
	for (size_t i = 0; i < 20000; i++) {
		push(i, (uint32_t)(100 + i % 1400), (int64_t)i * 117);
		while (link_model_pop(&link, mono_at_us((int64_t)i * 117), &leaves)) {
			hash = (hash ^ index_of(&leaves)) * 1099511628211u;
			hash = (hash ^ (uint64_t)leaves.at_ns) * 1099511628211u;
			hash = (hash ^ leaves.lost ^ ((uint64_t)leaves.corrupt << 1)) *
			       1099511628211u;
		}
	}
	finish();
	return hash;
}

Test(link_model, a_run_is_a_function_of_its_seed)
{
	cr_expect_eq(run_of(1, "late=10ms"), run_of(1, "late=10ms"));
	cr_expect_neq(run_of(1, "late=10ms"), run_of(2, "late=10ms"));
}

/* A change of one kind of chance must not shift the others: comparisons would compare different weather. */
Test(link_model, kinds_of_chance_are_independent)
{
	bool lost[2][5000];

	for (int turn = 0; turn < 2; turn++) {
		struct link_departure leaves;
		SETUP(9, "loss=10%", turn ? "jitter=3ms" : "jitter=0",
			turn ? "duplicate=20%" : "duplicate=0");
		for (size_t i = 0; i < 5000; i++)
			push(i, LEN, (int64_t)i);
		while (link_model_pop(&link, mono_at_us(1000000), &leaves))
			lost[turn][index_of(&leaves)] = leaves.lost;
		finish();
	}
	cr_expect_arr_eq(lost[0], lost[1], sizeof(lost[0]));
}

/* The delay line against a plain sort: departures never go back in time, equal instants keep their order. */
Test(link_model, departures_are_in_order_of_time)
{
	struct link_departure leaves;
	int64_t last = 0;
	size_t count = 0;

	SETUP(10, "delay=50ms", "jitter=50ms", "reorder=30%", "late=40ms", "duplicate=30%");
	for (size_t i = 0; i < 50000; i++) {
		push(i, LEN, (int64_t)i * 37);
		while (link_model_pop(&link, mono_at_us((int64_t)i * 37), &leaves)) {
			cr_assert(leaves.at_ns >= last && leaves.at_ns <= (int64_t)i * 37000);
			last = leaves.at_ns;
			count++;
		}
	}
	while (link_model_pop(&link, mono_at_us(INT64_C(10000000000)), &leaves)) {
		cr_assert_geq(leaves.at_ns, last);
		last = leaves.at_ns;
		count++;
	}
	cr_expect_eq(count, 50000 + link.stats.duplicated);
	finish();
}
