#include "core/checksum.h"
#include "core/endian.h"
#include "core/ip_header.h"
#include "core/rand.h"
#include "core/super_message.h"
#include "session/ingress.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { CAPACITY = 1600 };

static void fill(void *ctx, void *buf, size_t len)
{
	unsigned *seed = ctx;
	uint8_t *at = buf;
	while (len--)
		*at++ = (uint8_t)rand_r(seed);
}

struct bench {
	struct pool pool;
	struct ingress queue;
	unsigned seed;
};

static void setup(struct bench *bench, const struct ingress_options *options)
{
	struct rand_source rnd = {fill, &bench->seed};

	bench->seed = 99;
	pool_init(&bench->pool, ingress_slot_bytes(CAPACITY), 20000);
	ingress_init(&bench->queue, options, &rnd);
}

static void teardown(struct bench *bench)
{
	ingress_fini(&bench->queue);
	cr_assert_eq(bench->pool.slots_used, 0, "a packet was lost track of");
	pool_fini(&bench->pool);
}

/* A UDP packet of a flow, with its number in the payload. */
static struct ingress_packet *packet_of(
	struct bench *bench, uint16_t flow, uint32_t number, size_t len)
{
	static const uint8_t src[4] = {10, 0, 0, 1};
	static const uint8_t dst[4] = {10, 0, 0, 2};
	struct ingress_packet *packet = ingress_packet_take(&bench->pool);

	cr_assert(packet && packet->capacity >= CAPACITY && len >= 32);
	memset(packet->data, 0, len);
	size_t at = ip_header_write(packet->data, 4, src, dst, IP_PROTOCOL_UDP, len - 20);
	store_be16(packet->data + at, flow);
	store_be16(packet->data + at + 2, 9);
	store_be32(packet->data + 28, number);
	packet->len = (uint32_t)len;
	return packet;
}

static bool push(struct bench *bench, struct ingress_packet *packet, struct mono now)
{
	struct ip_header header;
	bool good = ip_header_parse(packet->data, packet->len, &header) == IP_OK;
	return ingress_push(&bench->queue, packet, good ? &header : NULL, now);
}

static uint16_t flow_of(const struct ingress_packet *packet)
{
	return load_be16(packet->data + 20);
}

static void give_back(struct bench *bench, struct ingress_packet *packet)
{
	pool_return(&bench->pool, packet);
}

/* Each packet is either popped, or counted by one reason, or still there. */
static void check_books(const struct ingress *queue)
{
	const struct ingress_counters *c = &queue->counters;
	cr_assert_eq(c->pushed_packets, c->popped_packets + c->dropped_overflow + c->dropped_codel +
						c->dropped_old + c->dropped_memory +
						c->dropped_cleared + queue->backlog_packets);
}

Test(ingress, keeps_the_order_within_a_flow)
{
	struct bench b;
	struct mono now = mono_at_ms(5);
	struct ingress_packet *packet;

	setup(&b, &INGRESS_DEFAULTS);
	cr_assert_eq(b.queue.flows, NULL, "an idle queue has no table");
	cr_assert_eq(ingress_pop(&b.queue, now), NULL);
	for (uint32_t i = 0; i < 200; i++)
		cr_assert(push(&b, packet_of(&b, 7, i, 100), now));
	cr_assert_eq(b.queue.backlog_bytes, 20000);
	for (uint32_t i = 0; i < 200; i++) {
		packet = ingress_pop(&b.queue, now);
		cr_assert_eq(load_be32(packet->data + 28), i);
		give_back(&b, packet);
	}
	cr_assert_eq(ingress_pop(&b.queue, now), NULL);
	cr_assert(ingress_empty(&b.queue));
	cr_assert_eq(b.queue.backlog_bytes, 0);
	check_books(&b.queue);
	cr_assert_neq(b.queue.flows, NULL);
	ingress_trim(&b.queue);
	cr_assert_eq(b.queue.flows, NULL);
	cr_assert(push(&b, packet_of(&b, 7, 0, 100), now), "usable after a trim");
	teardown(&b);
}

Test(ingress, a_ping_overtakes_a_transfer)
{
	struct bench b;
	struct mono now = mono_at_ms(5);

	setup(&b, &INGRESS_DEFAULTS);
	for (uint32_t i = 0; i < 300; i++)
		push(&b, packet_of(&b, 1, i, 1400), now);
	for (int i = 0; i < 5; i++) /* the transfer is no new flow any more */
		give_back(&b, ingress_pop(&b.queue, now));
	push(&b, packet_of(&b, 2, 0, 84), now);
	struct ingress_packet *packet = ingress_pop(&b.queue, now);
	if (flow_of(packet) != 2) { /* at most the rest of a turn comes before */
		give_back(&b, packet);
		packet = ingress_pop(&b.queue, now);
	}
	cr_assert_eq(flow_of(packet), 2);
	give_back(&b, packet);
	teardown(&b);
}

Test(ingress, flows_share_by_bytes)
{
	struct bench b;
	struct mono now = mono_at_ms(5);
	size_t sent[3] = {0};
	static const size_t sizes[3] = {1400, 300, 700};

	setup(&b, &INGRESS_DEFAULTS);
	for (uint32_t i = 0; i < 900; i++)
		for (uint16_t f = 0; f < 3; f++)
			push(&b, packet_of(&b, f, i, sizes[f]), now);
	size_t total = 0;
	while (total < 500000) {
		struct ingress_packet *packet = ingress_pop(&b.queue, now);
		sent[flow_of(packet)] += packet->len;
		total += packet->len;
		give_back(&b, packet);
	}
	for (int f = 0; f < 3; f++)
		cr_assert(sent[f] > 160000 && sent[f] < 173000, "flow %d: %zu", f, sent[f]);
	teardown(&b);
}

/*
 * A bottleneck of `rate_bps` in virtual time for `span_ms`: one flow offers more than passes (and does not slow down),
 * another sends a small packet every 20 ms. @return the longest wait of the small ones; the bulk's last wait in *bulk_us
 */
static int64_t run_bottleneck(struct bench *b, int64_t rate_bps, int64_t offered_bps,
	int64_t span_ms, uint8_t ecn, int64_t *ret_bulk_us)
{
	struct mono now = mono_at_ms(1000);
	struct mono end = mono_add_ms(now, span_ms);
	struct mono next_bulk = now;
	struct mono next_small = now;
	struct mono link_free = now;
	int64_t worst_us = 0;
	uint32_t number = 0;

	while (mono_before(now, end)) {
		now = mono_min(mono_min(next_bulk, next_small), mono_max(link_free, now));
		if (mono_due(next_bulk, now)) {
			struct ingress_packet *packet = packet_of(b, 1, number++, 1400);
			packet->data[1] = ecn;
			store_be16(packet->data + 10, 0);
			store_be16(packet->data + 10,
				checksum_finish(checksum_add(0, packet->data, 20)));
			push(b, packet, now);
			next_bulk =
				mono_add_us(next_bulk, 1400 * 8 * INT64_C(1000000) / offered_bps);
		}
		if (mono_due(next_small, now)) {
			push(b, packet_of(b, 2, number++, 200), now);
			next_small = mono_add_ms(next_small, 20);
		}
		if (mono_due(link_free, now)) {
			struct ingress_packet *packet = ingress_pop(&b->queue, now);
			if (!packet) {
				link_free = mono_min(next_bulk, next_small);
				continue;
			}
			int64_t wait_us = mono_diff_us(now, packet->queued_at);
			if (flow_of(packet) == 2)
				worst_us = wait_us > worst_us ? wait_us : worst_us;
			else
				*ret_bulk_us = wait_us;
			cr_assert(wait_us <= b->queue.options.wait_max_us);
			if (packet->data[1] & 3)
				cr_assert_eq(checksum_finish(checksum_add(0, packet->data, 20)), 0);
			link_free = mono_add_us(now, packet->len * INT64_C(8000000) / rate_bps);
			give_back(b, packet);
		}
		check_books(&b->queue);
	}
	return worst_us;
}

Test(ingress, codel_keeps_the_wait_short)
{
	struct bench b;
	int64_t bulk_us = 0;

	/* 5 % too much: CoDel alone, ramping up its drops, must bring the standing queue down. */
	setup(&b, &INGRESS_DEFAULTS);
	int64_t worst_us = run_bottleneck(&b, 10000000, 10500000, 20000, 0, &bulk_us);
	cr_assert(worst_us <= 2 * 1514 * 8 / 10, "a small packet waited %ld us", (long)worst_us);
	cr_assert(bulk_us < 60000, "the bulk waits %ld us", (long)bulk_us);
	cr_assert(b.queue.counters.dropped_codel > 100);
	cr_assert_eq(b.queue.counters.dropped_old, 0);
	cr_assert_eq(b.queue.counters.marked, 0);
	teardown(&b);
}

Test(ingress, no_drop_below_the_target)
{
	struct bench b;
	int64_t bulk_us = 0;

	setup(&b, &INGRESS_DEFAULTS);
	(void)run_bottleneck(&b, 10000000, 9000000, 20000, 0, &bulk_us);
	cr_assert_eq(b.queue.counters.dropped_codel, 0);
	cr_assert_eq(b.queue.counters.dropped_overflow, 0);
	cr_assert_eq(b.queue.counters.dropped_old, 0);
	teardown(&b);
}

Test(ingress, marks_instead_of_dropping)
{
	struct bench b;
	int64_t bulk_us = 0;
	struct ingress_options options = INGRESS_DEFAULTS;

	setup(&b, &options);
	(void)run_bottleneck(&b, 10000000, 10500000, 5000, 2, &bulk_us);
	cr_assert(b.queue.counters.marked > 10);
	cr_assert_eq(b.queue.counters.dropped_codel, 0);
	teardown(&b);

	options.ecn = false;
	setup(&b, &options);
	(void)run_bottleneck(&b, 10000000, 10500000, 5000, 2, &bulk_us);
	cr_assert_eq(b.queue.counters.marked, 0);
	cr_assert(b.queue.counters.dropped_codel > 10);
	teardown(&b);
}

enum { SEGMENT = 500, SEGMENTS = 8 };

/* A message with segments of TCP from byte `seq` on, not capable of marks. */
static struct ingress_packet *super_of(struct bench *bench, struct pool *pool, uint32_t seq)
{
	static const uint8_t src[4] = {10, 0, 0, 1};
	static const uint8_t dst[4] = {10, 0, 0, 2};
	struct ingress_packet *packet = ingress_packet_take(pool);
	uint8_t *at = packet->data + SUPER_MESSAGE_OVERHEAD_BYTES;
	size_t payload = SEGMENT * (SEGMENTS - 1) + 1;

	(void)bench;
	packet->data[0] = 0x81;
	store_le16(packet->data + 1, SEGMENT);
	memset(at, 0, 40);
	(void)ip_header_write(at, 4, src, dst, IP_PROTOCOL_TCP, 20 + payload);
	store_be32(at + 24, seq);
	at[32] = 0x50;
	at[33] = 0x18;
	for (size_t i = 0; i < payload; i++)
		at[40 + i] = (uint8_t)((seq + i) / 3);
	packet->ip_at = SUPER_MESSAGE_OVERHEAD_BYTES;
	packet->segments = SEGMENTS;
	packet->len = (uint32_t)(SUPER_MESSAGE_OVERHEAD_BYTES + 40 + payload);
	return packet;
}

/* Many segments in one are not lost for one drop: the first is, and what is left is a good packet. */
Test(ingress, codel_takes_one_segment_of_many)
{
	static const struct super_limits limits = {1400, SUPER_PACKET_BYTES_MAX};
	struct ingress_packet *packet;
	struct super_packet p;
	struct pool pool;
	struct bench b;
	uint32_t seq = 0, whole = 0, shorter = 0;

	setup(&b, &INGRESS_DEFAULTS);
	pool_init(&pool, ingress_slot_bytes(6000), 2000);
	for (uint32_t i = 0; i < 1000; i++) {
		packet = super_of(&b, &pool, seq);
		seq += SEGMENT * (SEGMENTS - 1) + 1;
		cr_assert_eq(super_message_parse(packet->data, packet->len, &limits, &p), SUPER_OK);
		cr_assert(ingress_push(&b.queue, packet, &p.ip, mono_at_ms(5)));
	}
	for (uint32_t i = 0; i < 200; i++) { /* a second of waits above the target */
		uint32_t first = i * (SEGMENT * (SEGMENTS - 1) + 1);
		packet = ingress_pop(&b.queue, mono_at_ms(20 + i));
		cr_assert_eq(super_message_parse(packet->data, packet->len, &limits, &p), SUPER_OK);
		cr_assert_eq(p.segments, packet->segments);
		cr_assert_eq(p.length_bytes, p.ip.length_bytes);
		if (packet->segments == SEGMENTS) {
			whole++;
		} else {
			cr_assert_eq(packet->segments, SEGMENTS - 1);
			first += SEGMENT;
			shorter++;
		}
		cr_assert_eq(load_be32(p.bytes + 24), first);
		const uint8_t *payload = super_packet_payload(&p, 0);
		for (uint32_t k = 0; k < p.length_bytes - p.header_bytes; k++)
			cr_assert_eq(payload[k], (uint8_t)((first + k) / 3));
		ingress_packet_return(packet);
	}
	cr_assert_eq(shorter, b.queue.counters.dropped_codel);
	cr_assert(shorter > 0 && whole > shorter);
	ingress_clear(&b.queue);
	cr_assert_eq(pool.slots_used, 0);
	teardown(&b);
	pool_fini(&pool);
}

Test(ingress, the_bound_on_the_wait_is_hard)
{
	struct bench b;
	int64_t bulk_us = 0;
	struct ingress_options options = INGRESS_DEFAULTS;

	options.wait_max_us = 50000;
	setup(&b, &options);
	/* Ten times too much, and ECN takes CoDel's drops away: only the bounds help. */
	(void)run_bottleneck(&b, 2000000, 20000000, 5000, 1, &bulk_us);
	cr_assert(b.queue.counters.dropped_old > 1000);
	cr_assert(bulk_us <= 50000);

	/* A pause: what waited through it does not come out. */
	ingress_clear(&b.queue);
	struct mono now = mono_at_ms(100000);
	push(&b, packet_of(&b, 1, 0, 100), now);
	push(&b, packet_of(&b, 2, 0, 100), mono_add_ms(now, 30));
	struct ingress_packet *packet = ingress_pop(&b.queue, mono_add_ms(now, 51));
	cr_assert_eq(flow_of(packet), 2);
	give_back(&b, packet);
	cr_assert_eq(ingress_pop(&b.queue, mono_add_ms(now, 51)), NULL);
	check_books(&b.queue);
	teardown(&b);
}

Test(ingress, bounds_on_packets_and_bytes_hit_the_longest)
{
	struct bench b;
	struct mono now = mono_at_ms(5);
	struct ingress_options options = INGRESS_DEFAULTS;

	options.packets_max = 500;
	setup(&b, &options);
	push(&b, packet_of(&b, 2, 0, 100), now);
	for (uint32_t i = 0; i < 5000; i++) {
		push(&b, packet_of(&b, 1, i, 1000), now);
		cr_assert(b.queue.backlog_packets <= 500);
	}
	cr_assert(b.queue.counters.dropped_overflow >= 4501);
	check_books(&b.queue);
	struct ingress_packet *packet;
	bool seen = false;
	uint32_t last = 0;
	while ((packet = ingress_pop(&b.queue, now)) != NULL) {
		seen = seen || flow_of(packet) == 2;
		if (flow_of(packet) == 1)
			last = load_be32(packet->data + 28);
		give_back(&b, packet);
	}
	cr_assert(seen, "the short flow was not touched");
	cr_assert_eq(last, 4999, "the oldest go, the newest stays");
	teardown(&b);

	options.packets_max = 10000;
	options.bytes_max = 100000;
	setup(&b, &options);
	for (uint32_t i = 0; i < 3000; i++) {
		push(&b, packet_of(&b, (uint16_t)(i % 50), i, 1400), now);
		cr_assert(b.queue.backlog_bytes <= 100000);
	}
	check_books(&b.queue);
	/* A packet that is over the bound by itself goes at once. */
	options.bytes_max = 500;
	teardown(&b);
	setup(&b, &options);
	cr_assert(!push(&b, packet_of(&b, 1, 0, 1400), now));
	cr_assert(ingress_empty(&b.queue));
	check_books(&b.queue);
	teardown(&b);
}

Test(ingress, room_for_others_comes_from_the_longest_flow)
{
	struct bench b;
	struct mono now = mono_at_ms(5);

	setup(&b, &INGRESS_DEFAULTS);
	cr_assert_eq(ingress_drop_longest(&b.queue, 10), 0, "nothing waits");
	push(&b, packet_of(&b, 2, 0, 100), now);
	for (uint32_t i = 0; i < 40; i++)
		push(&b, packet_of(&b, 1, i, 100), now);
	cr_assert_eq(ingress_drop_longest(&b.queue, 5), 5);
	cr_assert_eq(ingress_drop_longest(&b.queue, 1000), 18, "half of 35");
	cr_assert_eq(b.queue.backlog_packets, 18);
	cr_assert_eq(b.queue.counters.dropped_overflow, 23);
	struct ingress_packet *packet = ingress_pop(&b.queue, now);
	cr_assert_eq(flow_of(packet), 2, "the short one was not touched");
	give_back(&b, packet);
	packet = ingress_pop(&b.queue, now);
	cr_assert_eq(load_be32(packet->data + 28), 23, "the oldest went");
	give_back(&b, packet);
	while (ingress_drop_longest(&b.queue, 1) > 0)
		;
	cr_assert(ingress_empty(&b.queue));
	check_books(&b.queue);
	teardown(&b);
}

Test(ingress, what_is_too_old_goes_without_a_pop)
{
	struct bench b;
	struct mono now = mono_at_ms(5);
	struct ingress_options options = INGRESS_DEFAULTS;

	options.wait_max_us = 50000;
	setup(&b, &options);
	ingress_expire(&b.queue, now);
	for (uint16_t i = 0; i < 30; i++)
		push(&b, packet_of(&b, i % 3, i, 100), mono_add_ms(now, i));
	ingress_expire(&b.queue, mono_add_ms(now, 50));
	cr_assert_eq(b.queue.backlog_packets, 30, "not too old yet");
	ingress_expire(&b.queue, mono_add_ms(now, 60));
	cr_assert_eq(b.queue.backlog_packets, 20);
	cr_assert_eq(b.queue.counters.dropped_old, 10);
	struct ingress_packet *packet = ingress_pop(&b.queue, mono_add_ms(now, 60));
	cr_assert(load_be32(packet->data + 28) >= 10);
	give_back(&b, packet);
	ingress_expire(&b.queue, mono_add_ms(now, 1000));
	cr_assert(ingress_empty(&b.queue));
	check_books(&b.queue);
	cr_assert_eq(ingress_pop(&b.queue, mono_add_ms(now, 1000)), NULL);
	cr_assert(push(&b, packet_of(&b, 1, 0, 100), mono_add_ms(now, 1000)),
		"and all works as before");
	teardown(&b);
}

Test(ingress, clearing_counts_and_frees)
{
	struct bench b;
	struct mono now = mono_at_ms(5);

	setup(&b, &INGRESS_DEFAULTS);
	ingress_clear(&b.queue);
	for (uint32_t i = 0; i < 100; i++)
		push(&b, packet_of(&b, (uint16_t)i, i, 100), now);
	ingress_trim(&b.queue);
	cr_assert_neq(b.queue.flows, NULL, "not while packets wait");
	ingress_clear(&b.queue);
	cr_assert_eq(b.queue.counters.dropped_cleared, 100);
	cr_assert_eq(ingress_pop(&b.queue, now), NULL);
	cr_assert(push(&b, packet_of(&b, 3, 0, 100), now));
	give_back(&b, ingress_pop(&b.queue, now));
	check_books(&b.queue);
	teardown(&b);
}

Test(ingress, takes_what_is_no_packet)
{
	struct bench b;
	struct mono now = mono_at_ms(5);
	struct ingress_options options = INGRESS_DEFAULTS;

	options.target_us = 1;
	options.interval_us = 1;
	options.flows = 3; /* not a power of two: made one */
	setup(&b, &options);
	cr_assert_eq(b.queue.options.flows, 4);
	/* Lengths down to nothing, through marking, which must look at no byte that is not there. */
	for (uint32_t round = 0; round < 300; round++) {
		for (uint32_t len = 0; len < 60; len++) {
			struct ingress_packet *packet = ingress_packet_take(&b.pool);
			memset(packet->data, (int)(0x41 + round % 50), CAPACITY);
			packet->len = len;
			push(&b, packet, now);
		}
		now = mono_add_ms(now, 1);
		for (int i = 0; i < 20; i++) {
			struct ingress_packet *packet = ingress_pop(&b.queue, now);
			if (packet)
				give_back(&b, packet);
		}
		check_books(&b.queue);
	}
	teardown(&b);
}

Test(ingress, fragments_of_a_packet_share_a_queue)
{
	struct bench b;
	struct mono now = mono_at_ms(5);

	setup(&b, &INGRESS_DEFAULTS);
	for (uint32_t i = 0; i < 64; i++) {
		struct ingress_packet *packet = packet_of(&b, (uint16_t)(i * 31), i, 100);
		store_be16(packet->data + 6, i == 40 ? 0x2000 : (uint16_t)(0x2000 | (i + 1)));
		push(&b, packet, now);
	}
	for (uint32_t i = 0; i < 64; i++) {
		struct ingress_packet *packet = ingress_pop(&b.queue, now);
		cr_assert_eq(load_be32(packet->data + 28), i);
		give_back(&b, packet);
	}
	teardown(&b);
}

/* Random pushes, pops, pauses and clears: the books balance and no packet is given out twice or lost. */
Test(ingress, random_walk)
{
	struct bench b;
	struct mono now = mono_at_ms(5);
	unsigned seed = 21;
	struct ingress_options options = INGRESS_DEFAULTS;

	options.packets_max = 300;
	options.bytes_max = 200000;
	options.flows = 16;
	setup(&b, &options);
	for (int step = 0; step < 100000; step++) {
		int what = rand_r(&seed) % 100;
		if (what < 55) {
			size_t len = 32 + (size_t)rand_r(&seed) % 1400;
			struct ingress_packet *packet =
				packet_of(&b, (uint16_t)(rand_r(&seed) % 40), 0, len);
			packet->data[1] = (uint8_t)(rand_r(&seed) % 4);
			push(&b, packet, now);
		} else if (what < 98) {
			give_back(&b, ingress_pop(&b.queue, now));
		} else if (what == 98) {
			now = mono_add_us(now, rand_r(&seed) % 400000);
		} else if (rand_r(&seed) % 20 == 0) {
			ingress_clear(&b.queue);
			ingress_trim(&b.queue);
		}
		now = mono_add_us(now, rand_r(&seed) % 1500);
		check_books(&b.queue);
		cr_assert_eq(b.pool.slots_used, b.queue.backlog_packets);
	}
	cr_assert(b.queue.counters.dropped_codel > 0 && b.queue.counters.marked > 0);
	teardown(&b);
}

static void expect_codel(
	struct ingress *queue, struct ingress_path path, int64_t target_us, int64_t interval_us)
{
	ingress_follow(queue, &path, 1400);
	cr_assert_eq(queue->options.target_us, target_us, "%lld, not %lld",
		(long long)queue->options.target_us, (long long)target_us);
	cr_assert_eq(queue->options.interval_us, interval_us);
}

Test(ingress, codel_follows_the_path)
{
	struct ingress_options options = INGRESS_DEFAULTS;
	struct bench b;

	setup(&b, &options);
	expect_codel(&b.queue, (struct ingress_path){14000, 100000000, 0, false}, 5000, 100000);
	expect_codel(&b.queue, (struct ingress_path){20000, 100000000, 0, false}, 7000, 100000);
	expect_codel(&b.queue, (struct ingress_path){50000, 0, -1, false}, 17500, 150000);
	expect_codel(&b.queue, (struct ingress_path){900000, 100000000, 0, false}, 30000, 600000);
	/* a packet and a half at 1 Mb/s; never more than the interval */
	expect_codel(&b.queue, (struct ingress_path){20000, 1000000, 0, false}, 16800, 100000);
	expect_codel(&b.queue, (struct ingress_path){20000, 10000, 0, false}, 100000, 100000);
	/* others keep a queue behind it: as much, on a path without losses */
	expect_codel(&b.queue, (struct ingress_path){120000, 100000000, 0, true}, 120000, 360000);
	expect_codel(
		&b.queue, (struct ingress_path){60000, 100000000, 0.006, true}, 120000, 180000);
	/* what waited behind holes comes at once */
	expect_codel(
		&b.queue, (struct ingress_path){60000, 100000000, 0.004, false}, 21000, 180000);
	expect_codel(
		&b.queue, (struct ingress_path){60000, 100000000, 0.006, false}, 120000, 180000);
	expect_codel(
		&b.queue, (struct ingress_path){900000, 100000000, 0.3, false}, 600000, 600000);
	teardown(&b);
}

/* The default is for paths that are short; what somebody chose is what he gets. */
Test(ingress, bound_of_the_wait_follows_the_path_if_it_is_the_default)
{
	static const struct {
		int64_t asked_us, srtt_us, wait_us;
	} rows[] = {
		{INGRESS_WAIT_MAX_US, 100000, 300000},
		{INGRESS_WAIT_MAX_US, 150000, 450000},
		{INGRESS_WAIT_MAX_US, 900000, 600000},
		{299000, 200000, 299000},
		{1000000, 200000, 1000000},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ingress_options options = INGRESS_DEFAULTS;
		struct mono now = mono_at_ms(5);
		struct bench b;
		setup(&b, &options);
		ingress_set_wait_max(&b.queue, rows[i].asked_us);
		ingress_follow(&b.queue,
			&(struct ingress_path){rows[i].srtt_us, 20000000, 0, false}, 1400);
		push(&b, packet_of(&b, 1, 0, 100), now);
		push(&b, packet_of(&b, 2, 0, 100), now);
		ingress_expire(&b.queue, mono_add_us(now, rows[i].wait_us));
		struct ingress_packet *packet =
			ingress_pop(&b.queue, mono_add_us(now, rows[i].wait_us));
		cr_assert(packet, "row %zu", i);
		give_back(&b, packet);
		cr_assert_eq(ingress_pop(&b.queue, mono_add_us(now, rows[i].wait_us + 1)), NULL);
		cr_assert_eq(b.queue.counters.dropped_old, 1, "row %zu", i);
		teardown(&b);
	}
}
