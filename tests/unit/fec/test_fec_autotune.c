#include "core/pool.h"
#include "fec/fec_autotune.h"
#include "fec/fec_slot.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct pool pool;
static struct fec_autotune tune;
static unsigned d, p;

static void setup(void)
{
	pool_init(&pool, FEC_SLOT_BYTES(0), 1);
}

static void teardown(void)
{
	fec_autotune_reset(&tune, &pool);
	cr_assert_eq(pool.slots_used, 0);
	pool_fini(&pool);
}

TestSuite(fec_autotune, .init = setup, .fini = teardown);

static void sample(uint32_t seqid, unsigned data, unsigned parity)
{
	fec_autotune_sample(&tune, &pool, seqid, seqid % (data + parity) < data);
}

static bool find(void)
{
	d = p = 0;
	return fec_autotune_find(&tune, &d, &p);
}

Test(fec_autotune, needs_both_edges_of_both_runs)
{
	cr_assert(!find());
	for (uint32_t seqid = 0; seqid < 23; seqid++) {
		sample(seqid, 10, 3);
		cr_assert(!find(), "%u", seqid);
	}
	sample(23, 10, 3);
	cr_assert(find());
	cr_assert_eq(d, 10);
	cr_assert_eq(p, 3);
}

Test(fec_autotune, every_pair_that_fits)
{
	static const unsigned pairs[][2] = {
		{1, 1}, {1, 128}, {128, 1}, {64, 64}, {100, 28}, {2, 5}, {127, 2}};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		fec_autotune_reset(&tune, &pool);
		for (uint32_t seqid = 7; seqid < 7 + FEC_AUTOTUNE_SAMPLES; seqid++)
			sample(seqid, pairs[i][0], pairs[i][1]);
		cr_assert(find(), "pair %zu", i);
		cr_assert_eq(d, pairs[i][0]);
		cr_assert_eq(p, pairs[i][1]);
	}
}

Test(fec_autotune, goes_on_behind_a_gap)
{
	for (uint32_t seqid = 0; seqid < 60; seqid++) {
		if (seqid != 15 && seqid != 27)
			sample(seqid, 10, 3);
	}
	cr_assert(find());
	cr_assert_eq(d, 10);
	cr_assert_eq(p, 3);
}

Test(fec_autotune, a_run_with_a_gap_is_no_run)
{
	/* Every group misses one of its data packets, so no run of data is whole. */
	for (uint32_t seqid = 0; seqid < 300; seqid++) {
		if (seqid % 13 != 4)
			sample(seqid, 10, 3);
	}
	cr_assert(!find());
}

Test(fec_autotune, reordered_and_doubled)
{
	unsigned seed = 5;

	for (uint32_t block = 0; block < 40; block++) {
		for (int i = 0; i < 24; i++)
			sample(block * 6 + (uint32_t)rand_r(&seed) % 6, 10, 3);
	}
	cr_assert(find());
	cr_assert_eq(d, 10);
	cr_assert_eq(p, 3);
}

Test(fec_autotune, over_the_middle_and_the_end_of_the_number_space)
{
	static const uint32_t middles[] = {UINT32_C(0x80000000), UINT32_C(0)};

	for (int m = 0; m < 2; m++) {
		fec_autotune_reset(&tune, &pool);
		for (uint32_t i = 0; i < 40; i++)
			sample(middles[m] - 20 + i, 3, 1);
		cr_assert(find());
		cr_assert_eq(d, 3);
		cr_assert_eq(p, 1);
	}
}

Test(fec_autotune, runs_must_agree_on_where_groups_begin)
{
	/* A wave of 10 and 3 that is out of step with multiples of 13. */
	for (uint32_t seqid = 0; seqid < 200; seqid++)
		fec_autotune_sample(&tune, &pool, seqid, (seqid + 5) % 13 < 10);
	cr_assert(!find());
}

Test(fec_autotune, the_oldest_are_forgotten)
{
	for (uint32_t seqid = 0; seqid < 1000; seqid++)
		sample(seqid, 10, 3);
	for (uint32_t seqid = 1000; seqid < 1000 + FEC_AUTOTUNE_SAMPLES; seqid++)
		sample(seqid, 4, 2);
	cr_assert(find());
	cr_assert_eq(d, 4);
	cr_assert_eq(p, 2);
}

Test(fec_autotune, noise_gives_nothing_or_something_consistent)
{
	unsigned seed = 1;

	for (int i = 0; i < 20000; i++) {
		uint32_t seqid = rand_r(&seed) % 4 ? (uint32_t)rand_r(&seed) % 300
						   : (uint32_t)rand_r(&seed) * 3u;
		fec_autotune_sample(&tune, &pool, seqid, rand_r(&seed) % 2);
		if (find())
			cr_assert(d > 0 && p > 0 && d + p < FEC_AUTOTUNE_SAMPLES);
	}
}

Test(fec_autotune, without_a_slot_it_does_nothing)
{
	void *slot = pool_take(&pool);
	for (uint32_t seqid = 0; seqid < 100; seqid++)
		sample(seqid, 3, 1);
	cr_assert(!find());
	pool_return(&pool, slot);
}
