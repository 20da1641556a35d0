#include "tests/lab/link_config.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

Test(link_config, takes_values_with_their_units)
{
	struct link_config c = {0};
	char why[LINK_CONFIG_WHY_BYTES];
	static const char *const pairs[] = {"rate=2.5M", "queue=750k", "delay=1.5ms",
		"jitter=250us", "loss=0.1%", "burst=3%/4", "reorder=2%", "late=1s",
		"duplicate=100%", "corrupt=0.0001%"};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		cr_assert_eq(link_config_set_pair(&c, pairs[i], why), 0, "%s: %s", pairs[i], why);
	cr_expect_eq(c.rate_bps, 2500000);
	cr_expect_eq(c.queue_bytes, 750000);
	cr_expect_eq(c.delay_us, 1500);
	cr_expect_eq(c.jitter_us, 250);
	cr_expect_eq(c.loss_ppm, 1000);
	cr_expect_eq(c.burst_ppm, 30000);
	cr_expect_eq(c.burst_packets, 4);
	cr_expect_eq(c.burst_us, 0);
	cr_expect_eq(c.reorder_ppm, 20000);
	cr_expect_eq(c.reorder_us, 1000000);
	cr_expect_eq(c.duplicate_ppm, 1000000);
	cr_expect_eq(c.corrupt_ppm, 1);
	cr_assert_eq(link_config_set(&c, "burst", "5%/10ms", why), 0);
	cr_expect_eq(c.burst_packets, 0);
	cr_expect_eq(c.burst_us, 10000);
	cr_assert_eq(link_config_set(&c, "burst", "0", why), 0);
	cr_expect_eq(c.burst_ppm, 0);
	cr_assert_eq(link_config_set(&c, "rate", "1G", why), 0);
	cr_assert_eq(link_config_set(&c, "rate", "1000", why), 0);
	cr_expect_eq(c.rate_bps, 1000);
}

Test(link_config, refuses_the_rest_and_changes_nothing)
{
	static const char *const pairs[] = {"", "=", "loss", "loss=", "loss=5", "loss=101%",
		"loss=-1%", "loss=5 %", "loss=5%%", "loss=.%", "loss=1.2.3%", "rate=M", "rate=1e9",
		"rate=200G", "rate=10m", "rate=99999999999999999999999", "rate=0.0000001M",
		"delay=30", "delay=61s", "delay=3m", "queue=2000M", "queue=60min", "burst=5%",
		"burst=5%/", "burst=/4", "burst=95%/10ms", "burst=5%/0", "burst=60%/1",
		"burst=5%/20s", "burst=5/4", "burst=0.001%/4", "speed=1", "LOSS=5%",
		"a_key_that_is_much_longer_than_any_key=1"};
	char why[LINK_CONFIG_WHY_BYTES];
	struct link_config before;

	memset(&before, 0x5a, sizeof(before));
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		struct link_config c;
		memcpy(&c, &before, sizeof(c));
		why[0] = '\0';
		cr_expect_eq(link_config_set_pair(&c, pairs[i], why), -EINVAL, "%s", pairs[i]);
		cr_expect_eq(memcmp(&c, &before, sizeof(c)), 0, "%s", pairs[i]);
		cr_expect_neq(why[0], '\0', "%s", pairs[i]);
	}
}

Test(link_config, queue_is_bytes_or_time_at_the_rate)
{
	struct link_config c = {.rate_bps = 100000000};

	cr_expect_eq(link_config_queue_bytes(&c), 1250000); /* 100 ms */
	c.queue_us = 60000;
	cr_expect_eq(link_config_queue_bytes(&c), 750000); /* one BDP of 60 ms */
	c.queue_bytes = 5000;
	cr_expect_eq(link_config_queue_bytes(&c), 5000);
}

Test(link_config, json_fits_its_room)
{
	struct link_config c;
	char text[LINK_CONFIG_TEXT_BYTES];

	memset(&c, 0xff, sizeof(c));
	c.rate_bps = 100000000000;
	c.delay_us = c.jitter_us = c.burst_us = c.reorder_us = INT64_MIN;
	link_config_json(&c, text);
	cr_expect_eq(text[strlen(text) - 1], '}');
}
