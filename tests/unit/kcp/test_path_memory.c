/* What a path holds at most: under a reader that stops, a peer that plays by no rule, and a pool that runs dry. */
#include "path_link.h"
#include "path_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

enum {
	MS = 1000,
};

static struct rig rig;
static struct path_link link;
static uint8_t buf[65536];

/* Sends from a to b as much as goes, for `us`. @return messages b read */
static unsigned transfer(int64_t us, bool read, size_t len, enum kcp_path_class class)
{
	struct mono end = mono_add_us(link.now, us);
	unsigned got = 0;
	uint32_t lane = 0;

	do {
		for (int i = 0; i < 64 && kcp_path_room(link.a.path, class, len, link.now); i++)
			kcp_path_send(link.a.path, class, lane++ % 16, buf, len, link.now);
		kcp_path_flush(link.a.path, link.now);
		while (read && path_link_read(&link.b, buf, sizeof(buf)) > 0)
			got++;
	} while (path_link_step(&link, end));
	link.now = end;
	return got;
}

Test(path_memory, reader_that_stops_and_reads_on)
{
	struct path_link_config config = {.rate_bps = 50000000,
		.delay_us = 20000,
		.queue_bytes = 250000,
		.loss = 0.01,
		.seed = 3};
	struct kcp_path_config path = path_link_path_config();

	path.rx_slots_max = 2000;
	path_link_open(&link, &config, &path, &path);
	cr_assert(transfer(2000 * MS, true, 1400, KCP_PATH_BULK) > 5000);
	uint64_t grant = kcp_path_grant_bytes(link.a.path);
	cr_assert(grant > 512 << 10);
	transfer(5000 * MS, false, 1400, KCP_PATH_BULK);
	cr_assert(kcp_path_slots(link.b.path) <= 2000, "%u", kcp_path_slots(link.b.path));
	cr_assert(kcp_path_slots(link.b.path) >= 1900, "%u: it refuses too early",
		kcp_path_slots(link.b.path));
	cr_assert_eq(kcp_path_grant_bytes(link.a.path), 256 << 10, "the peer was told");
	cr_assert(kcp_path_stats(link.b.path)->refused_full > 0);
	/* what does not need the reader goes on */
	cr_assert_eq(kcp_path_control(link.a.path, "x", 1), 0);
	link.b.control_len = 0;
	transfer(200 * MS, false, 1400, KCP_PATH_BULK);
	cr_assert_eq(link.b.control_len, 1);
	unsigned got = transfer(3000 * MS, true, 1400, KCP_PATH_BULK);
	cr_assert(got > 2000 + 10000, "%u after the pause", got);
	path_link_close(&link);
}

Test(path_memory, reader_that_stops_under_small_and_urgent_messages)
{
	struct path_link_config config = {
		.rate_bps = 50000000, .delay_us = 5000, .queue_bytes = 100000, .seed = 4};
	struct kcp_path_config path = path_link_path_config();

	path.rx_slots_max = 1024;
	path_link_open(&link, &config, &path, &path);
	transfer(3000 * MS, false, 1, KCP_PATH_BULK);
	cr_assert(kcp_path_slots(link.b.path) <= 1024);
	transfer(1000 * MS, false, 100, KCP_PATH_RT);
	cr_assert(kcp_path_slots(link.b.path) <= 1024);
	transfer(1000 * MS, false, 60000, KCP_PATH_BULK);
	cr_assert(kcp_path_slots(link.b.path) <= 1024);
	transfer(1000 * MS, true, 100, KCP_PATH_RT);
	cr_assert(transfer(1000 * MS, true, 100, KCP_PATH_RT) > 1000);
	path_link_close(&link);
}

Test(path_memory, two_sides_and_one_small_pool)
{
	struct path_link_config config = {.rate_bps = 50000000,
		.delay_us = 20000,
		.queue_bytes = 250000,
		.loss = 0.05,
		.seed = 5};
	struct kcp_path_config path = path_link_path_config();
	unsigned got[2] = {0};

	path_link_open(&link, &config, &path, &path);
	link.pool.slots_max = 300;
	struct mono end = mono_add_us(link.now, 5000 * MS);
	do {
		for (int i = 0; i < 64; i++) {
			kcp_path_send(
				link.a.path, KCP_PATH_BULK, (uint32_t)i % 16, buf, 1400, link.now);
			kcp_path_send(
				link.b.path, KCP_PATH_BULK, (uint32_t)i % 16, buf, 1400, link.now);
		}
		kcp_path_flush(link.a.path, link.now);
		kcp_path_flush(link.b.path, link.now);
		while (path_link_read(&link.b, buf, sizeof(buf)) > 0)
			got[0]++;
		while (path_link_read(&link.a, buf, sizeof(buf)) > 0)
			got[1]++;
		cr_assert(link.pool.slots_used <= 300);
	} while (path_link_step(&link, end));
	cr_assert(got[0] > 2000 && got[1] > 2000, "%u and %u", got[0], got[1]);
	path_link_close(&link);
}

static void open_rig(uint32_t rx_slots_max)
{
	struct kcp_path_config config = rig_config();

	config.rx_slots_max = rx_slots_max;
	config.rx_credit_bytes = 16 << 20;
	rig_open(&rig, &config);
}

/* Pieces of one byte, each with a slot of its own, far apart, in all lanes. */
Test(path_memory, holes_in_all_lanes)
{
	open_rig(4096);
	uint64_t random = 1;
	for (int i = 0; i < 200000; i++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		uint32_t lane = (uint32_t)(random >> 33) % 4096;
		uint32_t sn = 1 + (uint32_t)(random >> 45) % 32767;
		rig_push(&rig, lane, 0x81, sn, 0, 1);
		rig_give(&rig);
		if (i % 1000 == 0) {
			rig.now = mono_add_us(rig.now, 5 * MS);
			rig_clear(&rig);
		}
		cr_assert(kcp_path_slots(rig.path) <= 4096);
	}
	size_t memory = kcp_path_memory_bytes(rig.path);
	/* 8 spans of 32768 records of 16 bytes, 4096 lanes of a few hundred */
	cr_assert(memory < (8 * 32768 * 16) + 4096 * 1024, "%zu", memory);
	cr_assert(kcp_path_stats(rig.path)->refused_full > 0);
	rig_close(&rig);
}

Test(path_memory, a_wide_lane_does_not_bar_the_next)
{
	uint8_t body[8];

	/* An honest peer that uses its whole grant in one lane after the other. */
	open_rig(0);
	for (uint32_t lane = 0; lane < 64; lane++) {
		rig_push(&rig, lane, 0x80, 8000, 0, 10);
		cr_assert_eq(rig_give(&rig), KCP_PATH_OK);
		rig_add(&rig, (struct kcp_segment){.conv = lane, .cmd = KCP_CMD_FWD, .una = 8000});
		cr_assert_eq(rig_give(&rig), KCP_PATH_OK);
		cr_assert_eq(rig_read(&rig, body), 10);
		/* and a little remains above */
		rig_push(&rig, lane, 0x80, 8002, 8000, 10);
		cr_assert_eq(rig_give(&rig), KCP_PATH_OK);
		rig.now = mono_add_us(rig.now, 20 * MS);
	}
	cr_assert_eq(kcp_path_stats(rig.path)->refused_full, 0);
	rig_close(&rig);
}

/* Over the cap the hole that waited longest is given up, and what stood behind it is delivered. */
Test(path_memory, oldest_hole_goes_first)
{
	uint8_t body[8];

	open_rig(1024);
	rig_push(&rig, 1, 0x80, 1, 0, 11);
	rig_push(&rig, 1, 0x81, 2, 0, 12); /* the next hole of that lane */
	rig_give(&rig);
	rig_push(&rig, 2, 0x80, 1, 0, 21);
	rig_give(&rig);
	for (uint32_t sn = 1; sn <= 1021; sn++) {
		rig_push(&rig, 3, 0x80, sn, 0, 1);
		rig_give(&rig);
	}
	cr_assert_eq(kcp_path_slots(rig.path), 1024);
	cr_assert_eq(rig_read(&rig, body), 0);
	rig_push(&rig, 4, 0x80, 1, 0, 41);
	cr_assert_eq(rig_give(&rig), KCP_PATH_NO_MEMORY, "what was behind the hole is unread yet");
	cr_assert_eq(rig_read(&rig, body), 11);
	cr_assert_eq(rig_read(&rig, body), 0);
	rig_push(&rig, 4, 0x80, 1, 0, 41);
	cr_assert_eq(rig_give(&rig), KCP_PATH_OK);
	rig_push(&rig, 1, 0x80, 0, 0, 10);
	cr_assert_eq(rig_give(&rig), KCP_PATH_OK, "what was given up is a duplicate");
	cr_assert_eq(rig_read(&rig, body), 0);
	/* lane 1 moved, so lane 2 waits longest now */
	rig_push(&rig, 4, 0x80, 2, 0, 42);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 21);
	cr_assert_eq(kcp_path_stats(rig.path)->holes_given_up, 2);
	rig_close(&rig);
}

/* A peer that acknowledges all but the oldest, and grants without end. */
Test(path_memory, sender_keeps_little_of_what_is_acknowledged)
{
	open_rig(0);
	rig.wnd = 65535;
	uint32_t lane = 0;
	for (int round = 0; round < 3000; round++) {
		for (int i = 0; i < 60; i++)
			kcp_path_send(rig.path, KCP_PATH_BULK, lane++ % 8, buf, 10, rig.now);
		kcp_path_flush(rig.path, rig.now);
		uint64_t next = kcp_path_next_pn(rig.path);
		rig.now = mono_add_us(rig.now, 1 * MS);
		if (next > 20)
			rig_rack(&rig, 16, next);
		rig_clear(&rig);
		cr_assert(kcp_path_slots(rig.path) <= 12288);
		cr_assert(kcp_path_memory_bytes(rig.path) < 24 << 20);
	}
	rig_close(&rig);
}

/* What a datagram may stretch lanes by is bounded, because it is walked later: here 28 lanes by 30000 each. */
Test(path_memory, one_datagram_stretches_little)
{
	open_rig(0);
	for (uint32_t lane = 0; lane < 28; lane++)
		rig_push(&rig, lane, 0x80, 30000, 0, 1);
	cr_assert_eq(rig_give(&rig), KCP_PATH_NO_MEMORY);
	cr_assert_eq(kcp_path_slots(rig.path), 1);
	rig_push(&rig, 1, 0x80, 30000, 0, 1);
	cr_assert_eq(rig_give(&rig), KCP_PATH_OK, "the next datagram may again");
	rig_close(&rig);
}

/* Messages that are never completed, from one of many peers that share a pool. */
Test(path_memory, one_path_cannot_have_the_pool)
{
	open_rig(0);
	rig.pool.slots_max = 8192;
	for (uint32_t lane = 0; lane < 4096; lane++) {
		for (uint32_t sn = 0; sn < 3; sn++) {
			rig_push(&rig, lane, sn == 0 ? 0xff : (uint8_t)(127 - sn), sn, 0, 1);
			rig_give(&rig);
		}
		rig_clear(&rig);
	}
	cr_assert_eq(kcp_path_slots(rig.path), 8192 / 2);
	/* and it can still receive */
	uint8_t body[8];
	rig_push(&rig, 4095, 0x80, 1000, 1000, 7);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 7);
	rig_close(&rig);
}

/* The grant that is told fits the slots that there are, by what pieces were like of late. */
Test(path_memory, grant_fits_the_slots)
{
	uint8_t body[8];

	open_rig(1024);
	rig.pn = 0;
	for (uint32_t sn = 0; sn < 3000; sn++) {
		rig_push(&rig, 1, 0x80, sn, sn, 1400);
		rig_give(&rig);
		rig_read(&rig, body);
		if (sn == 0)
			cr_assert_eq(kcp_path_grant_told_bytes(rig.path), 1024 * 512);
		rig_clear(&rig);
	}
	cr_assert_eq(kcp_path_grant_told_bytes(rig.path) / 4096, 1024 * 3 / 4 * 1536 / 4096);
	for (uint32_t sn = 3000; sn < 6000; sn++) {
		rig_push(&rig, 1, 0x80, sn, sn, 10);
		rig_give(&rig);
		rig_read(&rig, body);
		rig_clear(&rig);
	}
	cr_assert(kcp_path_grant_told_bytes(rig.path) <= 1024 * 512 + 4096);
	rig_close(&rig);
}
