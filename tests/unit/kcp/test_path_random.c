/*
 * Random runs over a random link, all classes mixed, both ways, with readers that stop, addresses that change, outages, trims
 * and restarts. What must hold: no message twice, none cut, none out of its lane's order; nothing waits for ever; when the link
 * is good again a message arrives; and at the end nothing is left, not even a deadline.
 */
#include "path_link.h"
#include "path_loans.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	MS = 1000,
	LANES = 12,
	RUNS = 60,
	MESSAGES_MAX = 60000,
	LEN_MAX = 12000,
};

struct direction {
	struct path_side *from;
	struct path_side *to;
	uint32_t sent;
	uint32_t got;
	uint32_t first; /* of this instance */
	uint32_t last_in_lane[LANES];
	uint16_t lens[MESSAGES_MAX];
	uint8_t seen[MESSAGES_MAX];
	uint8_t ordered[MESSAGES_MAX];
	bool stopped; /* its reader */
};

static struct path_link link;
static struct path_loans loans;
static struct direction ways[2];
static uint8_t buf[LEN_MAX];

static uint64_t rnd(uint64_t below)
{
	return path_link_random(&link, below);
}

static void offer(struct direction *way)
{
	static const enum kcp_path_class classes[] = {KCP_PATH_BULK, KCP_PATH_BULK, KCP_PATH_BULK,
		KCP_PATH_CTL, KCP_PATH_RT, KCP_PATH_ACK};
	enum kcp_path_class class = classes[rnd(6)];
	uint32_t lane = (uint32_t)rnd(LANES);
	size_t len = 8 + rnd(rnd(4) ? 300 : rnd(4) ? 1500 : LEN_MAX - 8);
	bool pieces =
		class == KCP_PATH_BULK || class == KCP_PATH_CTL || len > PATH_LINK_PIECE_BYTES;

	if (way->sent == MESSAGES_MAX)
		return;
	memcpy(buf, &way->sent, 4);
	memcpy(buf + 4, &lane, 4);
	memset(buf + 8, (int)(way->sent * 7 + lane), len - 8);
	int err = rnd(2) ? kcp_path_send(way->from->path, class, lane * 100, buf, len, link.now)
			 : path_loans_send(
				   &loans, way->from->path, class, lane * 100, buf, len, link.now);
	cr_assert(err == 0 || err == -EAGAIN || err == -ENOBUFS, "%d", err);
	if (err != 0)
		return;
	way->lens[way->sent] = (uint16_t)len;
	way->ordered[way->sent] = pieces;
	way->sent++;
}

static void take(struct direction *way)
{
	size_t len;

	while (!way->stopped && (len = path_link_read(way->to, buf, sizeof(buf))) > 0) {
		uint32_t number, lane;
		memcpy(&number, buf, 4);
		memcpy(&lane, buf + 4, 4);
		cr_assert(number < way->sent && number >= way->first && lane < LANES);
		cr_assert_eq(len, way->lens[number]);
		for (size_t i = 8; i < len; i++)
			cr_assert_eq(buf[i], (uint8_t)(number * 7 + lane));
		cr_assert_eq(way->seen[number], 0, "message %u twice", number);
		way->seen[number] = 1;
		if (way->ordered[number]) {
			cr_assert(way->last_in_lane[lane] <= number, "lane %u: %u after %u", lane,
				number, way->last_in_lane[lane]);
			way->last_in_lane[lane] = number;
		}
		way->got++;
	}
}

static void restart_both(void)
{
	/* What was under way in the dead instance is dropped by the session. */
	path_link_forget(&link);
	for (int i = 0; i < 2; i++) {
		kcp_path_restart(ways[i].from->path, 262144, 262144);
		ways[i].first = ways[i].sent;
	}
}

/* Both sleep. What was under way arrives after that, if it was not for as long as lanes are remembered. */
static void sleep_long(void)
{
	int64_t ms = (int64_t)rnd(200000);

	if (ms >= 30000)
		path_link_lose(&link);
	link.now = mono_add_us(link.now, ms * MS);
}

static void disturb(void)
{
	struct direction *way = &ways[rnd(2)];

	switch (rnd(12)) {
	case 0:
		way->stopped = true;
		break;
	case 1:
	case 2:
		way->stopped = false;
		break;
	case 3:
		way->from->cut = true;
		break;
	case 4:
	case 5:
		way->from->cut = false;
		break;
	case 6:
		way->from->no_room = true;
		break;
	case 7:
	case 8:
		way->from->no_room = false;
		kcp_path_flush(way->from->path, link.now);
		break;
	case 9:
		kcp_path_trim(way->from->path, link.now);
		break;
	case 10:
		kcp_path_reset_route(way->from->path, link.now);
		break;
	case 11:
		if (rnd(8) == 0)
			restart_both();
		else if (rnd(4) == 0)
			sleep_long();
		break;
	}
}

static void calm(void)
{
	link.config.loss = 0;
	for (int i = 0; i < 2; i++) {
		ways[i].stopped = false;
		ways[i].from->cut = false;
		ways[i].from->no_room = false;
		kcp_path_flush(ways[i].from->path, link.now);
	}
}

static void pass(int64_t us)
{
	struct mono until = mono_add_us(link.now, us);

	do {
		take(&ways[0]);
		take(&ways[1]);
	} while (path_link_step(&link, until));
	take(&ways[0]);
	take(&ways[1]);
	if (mono_before(link.now, until))
		link.now = until;
}

/* A message of each kind must arrive now, in every lane. */
static void must_arrive(struct direction *way)
{
	for (uint32_t lane = 0; lane < LANES; lane++) {
		for (int kind = 0; kind < 2; kind++) {
			uint32_t got = way->got;
			memcpy(buf, &way->sent, 4);
			memcpy(buf + 4, &lane, 4);
			memset(buf + 8, (int)(way->sent * 7 + lane), 100);
			cr_assert_eq(
				kcp_path_send(way->from->path, kind ? KCP_PATH_RT : KCP_PATH_BULK,
					lane * 100, buf, 108, link.now),
				0);
			way->lens[way->sent] = 108;
			way->ordered[way->sent++] = !kind;
			kcp_path_flush(way->from->path, link.now);
			pass(300 * MS);
			cr_assert(way->got > got, "lane %u kind %d", lane, kind);
		}
	}
}

static void run(uint64_t seed)
{
	struct path_link_config config = {.seed = seed};
	struct kcp_path_config path = path_link_path_config();

	path.rx_slots_max = 1024;
	path.tx_slots_max = 512;
	path_link_open(&link, &config, &path, &path);
	link.config = (struct path_link_config){
		.rate_bps = rnd(2) ? 2000000 + rnd(50000000) : 0,
		.delay_us = (int64_t)(500 + rnd(80000)),
		.queue_bytes = 3000 + (int64_t)rnd(200000),
		.loss = rnd(3) ? (double)rnd(300) / 1000 : 0,
		.reorder = rnd(2) ? (double)rnd(300) / 1000 : 0,
		.duplicate = rnd(2) ? (double)rnd(200) / 1000 : 0,
		.jitter_us = (int64_t)(1 + rnd(60000)),
	};
	memset(ways, 0, sizeof(ways));
	ways[0].from = ways[1].to = &link.a;
	ways[1].from = ways[0].to = &link.b;
	struct mono end = mono_add_us(link.now, 4000 * MS);
	bool rough = rnd(3) > 0;
	struct mono next_offer = link.now;
	while (mono_before(link.now, end)) {
		if (mono_due(next_offer, link.now)) {
			for (uint64_t i = rnd(12); i > 0; i--)
				offer(&ways[rnd(2)]);
			kcp_path_flush(link.a.path, link.now);
			kcp_path_flush(link.b.path, link.now);
			if (rough && rnd(40) == 0)
				disturb();
			next_offer = mono_add_us(link.now, (int64_t)rnd(8 * MS));
		}
		take(&ways[0]);
		take(&ways[1]);
		cr_assert(
			kcp_path_slots(link.a.path) <= 1536 && kcp_path_slots(link.b.path) <= 1536);
		if (!path_link_step(&link, next_offer))
			link.now = mono_max(link.now, next_offer);
	}
	calm();
	pass(15000 * MS);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(kcp_path_charged_bytes(ways[i].from->path), 0, "charge stays");
		cr_assert(kcp_path_idle(ways[i].from->path), "something stays");
	}
	cr_assert(mono_is_never(path_link_next(&link)), "an idle path has a deadline");
	must_arrive(&ways[0]);
	must_arrive(&ways[1]);
	pass(1000 * MS);
	cr_assert(mono_is_never(path_link_next(&link)));
	path_link_close(&link);
	cr_assert_eq(loans.given, loans.over);
}

Test(path_random, runs)
{
	const char *count = getenv("KCP_PATH_RUNS");
	uint64_t runs = count ? strtoull(count, NULL, 10) : RUNS;
	const char *from = getenv("KCP_PATH_SEED");
	uint64_t first = from ? strtoull(from, NULL, 10) : 1;
	uint32_t sent = 0, got = 0;

	for (uint64_t seed = first; seed < first + runs; seed++) {
		/* the last line before a failure names the run */
		if (from || count)
			fprintf(stderr, "seed %lu\n", (unsigned long)seed);
		run(seed);
		sent += ways[0].sent + ways[1].sent;
		got += ways[0].got + ways[1].got;
	}
	cr_log_info("%u messages, %u arrived", sent, got);
	cr_assert(got > sent / 4);
}
