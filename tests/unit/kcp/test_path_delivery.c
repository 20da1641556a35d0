/*
 * Messages over a bad link: each arrives at most once, whole, and those of a lane in their order; those of a lane whose
 * deadline is far away arrive all.
 */
#include "path_link.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
	LANES = 7,
	MESSAGES = 3000,
	LEN_MAX = 9000,
};

/* What each message says of itself: its number and lane, and a body that follows from these. */
static size_t make(uint8_t *buf, uint32_t number, uint32_t lane, size_t len)
{
	memcpy(buf, &number, 4);
	memcpy(buf + 4, &lane, 4);
	for (size_t i = 8; i < len; i++)
		buf[i] = (uint8_t)(number * 31 + lane * 7 + i);
	return len;
}

static void check(const uint8_t *buf, size_t len, uint32_t *ret_number, uint32_t *ret_lane)
{
	memcpy(ret_number, buf, 4);
	memcpy(ret_lane, buf + 4, 4);
	for (size_t i = 8; i < len; i++)
		cr_assert_eq(buf[i], (uint8_t)(*ret_number * 31 + *ret_lane * 7 + i));
}

struct delivery {
	struct path_link_config link;
	bool all; /* must arrive */
};

static void run(const struct delivery *row)
{
	static struct path_link link;
	static uint8_t buf[LEN_MAX];
	static size_t lens[MESSAGES];
	static uint8_t seen[MESSAGES];
	struct kcp_path_config config = path_link_path_config();
	uint32_t last[LANES] = {0};
	uint32_t sent = 0, got = 0;

	config.bulk_deadline_us = 60000000;
	path_link_open(&link, &row->link, &config, &config);
	memset(seen, 0, sizeof(seen));
	struct mono end = mono_add_us(link.now, 120000000);
	for (;;) {
		while (sent < MESSAGES) {
			uint32_t lane = (uint32_t)path_link_random(&link, LANES);
			size_t len = 8 + path_link_random(&link, sent % 3 ? 1200 : LEN_MAX - 8);
			make(buf, sent + 1, lane, len);
			int err = kcp_path_send(
				link.a.path, KCP_PATH_BULK, lane + 100, buf, len, link.now);
			if (err == -EAGAIN)
				break;
			cr_assert_eq(err, 0);
			lens[sent++] = len;
		}
		kcp_path_flush(link.a.path, link.now);
		size_t len;
		while ((len = path_link_read(&link.b, buf, sizeof(buf))) > 0) {
			uint32_t number, lane;
			check(buf, len, &number, &lane);
			cr_assert(number >= 1 && number <= MESSAGES && lane < LANES);
			cr_assert_eq(len, lens[number - 1]);
			cr_assert_eq(seen[number - 1], 0, "message %u came twice", number);
			cr_assert(number > last[lane], "lane %u: %u after %u", lane, number,
				last[lane]);
			seen[number - 1] = 1;
			last[lane] = number;
			got++;
		}
		if (!path_link_step(&link, end))
			break;
	}
	const struct kcp_path_stats *stats = kcp_path_stats(link.a.path);
	cr_log_info("seed %lu: sent %u got %u in %lu datagrams, resent %lu, lost %lu late %lu "
		    "probes %lu, srtt %ld",
		(unsigned long)row->link.seed, sent, got, (unsigned long)link.a.out.sent,
		(unsigned long)stats->resent_items, (unsigned long)stats->lost_datagrams,
		(unsigned long)stats->late_acks, (unsigned long)stats->probes,
		(long)kcp_path_srtt_us(link.a.path));
	cr_assert_eq(sent, MESSAGES);
	if (row->all)
		cr_assert_eq(got, MESSAGES);
	cr_assert(kcp_path_idle(link.a.path) && kcp_path_idle(link.b.path));
	cr_assert(mono_is_never(path_link_next(&link)), "an idle path has a deadline");
	path_link_close(&link);
}

Test(path_delivery, lossless)
{
	struct delivery row = {.link = {.delay_us = 10000, .seed = 1}, .all = true};

	run(&row);
}

Test(path_delivery, rate)
{
	struct delivery row = {
		.link = {.delay_us = 10000, .rate_bps = 20000000, .queue_bytes = 100000, .seed = 2},
		.all = true};

	run(&row);
}

Test(path_delivery, bad_links)
{
	for (uint64_t seed = 10; seed < 30; seed++) {
		struct delivery row = {.link = {.delay_us = 10000 + (int64_t)(seed % 4) * 20000,
					       .rate_bps = seed % 2 ? 20000000 : 0,
					       .queue_bytes = 100000,
					       .loss = (double)(seed % 5) * 0.06,
					       .reorder = seed % 3 ? 0.1 : 0,
					       .jitter_us = 30000,
					       .duplicate = 0.05,
					       .seed = seed},
			.all = true};
		run(&row);
	}
}
