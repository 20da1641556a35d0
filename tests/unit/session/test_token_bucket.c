#include "session/token_bucket.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static const struct token_rate RATE = {.interval_us = 100000, .burst = 5};

Test(token_bucket, a_new_one_is_full_and_no_more)
{
	struct token_bucket bucket = {0};

	for (int i = 0; i < 5; i++)
		cr_assert(token_bucket_take(&bucket, RATE, mono_at_us(0)), "token %d", i);
	cr_assert_not(token_bucket_take(&bucket, RATE, mono_at_us(0)));
	cr_assert_eq(token_bucket_ready_at(bucket, RATE).us, 100000);
	cr_assert_not(token_bucket_has(bucket, RATE, mono_at_us(99999)));
	cr_assert(token_bucket_take(&bucket, RATE, mono_at_us(100000)));
	cr_assert_not(token_bucket_take(&bucket, RATE, mono_at_us(100001)));
}

Test(token_bucket, rest_saves_up_one_burst_only)
{
	struct token_bucket bucket = {0};
	struct mono late = mono_at_ms(3600000);

	(void)token_bucket_take(&bucket, RATE, mono_at_us(0));
	for (int i = 0; i < 5; i++)
		cr_assert(token_bucket_take(&bucket, RATE, late));
	cr_assert_not(token_bucket_take(&bucket, RATE, late));
}

/* Against a bucket that is filled by the clock. */
Test(token_bucket, agrees_with_a_naive_bucket)
{
	unsigned seed = 3;

	for (int round = 0; round < 200; round++) {
		struct token_rate rate = {1 + rand_r(&seed) % 1000, 1 + rand_r(&seed) % 20};
		struct token_bucket bucket = {0};
		int64_t now = 0;
		int64_t filled_us = rate.burst * rate.interval_us; /* tokens in units of 1 us */

		for (int i = 0; i < 2000; i++) {
			int64_t gap = rand_r(&seed) % (2 * rate.interval_us);
			if (rand_r(&seed) % 50 == 0)
				gap *= 10;
			now += gap;
			filled_us += gap;
			if (filled_us > rate.burst * rate.interval_us)
				filled_us = rate.burst * rate.interval_us;
			bool want = filled_us >= rate.interval_us;
			cr_assert_eq(token_bucket_take(&bucket, rate, mono_at_us(now)), want);
			if (want)
				filled_us -= rate.interval_us;
		}
	}
}
