#include "core/super_merge.h"
#include "packet_flow.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { OUT_MAX = 4096, PACKET_MAX = 1600, STREAM = 1 << 20 };

static uint8_t stream[STREAM];

/* All that came out, cut into single packets with their checksums. */
struct sink {
	size_t puts;
	size_t singles;
	uint32_t most_segments;
	uint8_t bytes[OUT_MAX][PACKET_MAX];
	size_t len[OUT_MAX];
	bool was_super[OUT_MAX];
};

static void take(void *ctx, const struct super_packet *packet)
{
	struct sink *sink = ctx;
	struct super_packet again;
	uint8_t *copy = exact_copy(packet->bytes, packet->length_bytes);

	/* what comes out is what a parser makes of the bytes */
	cr_assert_eq(super_packet_parse(copy, packet->length_bytes, packet->kind,
			     (uint16_t)packet->segment_bytes, &again),
		SUPER_OK);
	cr_assert_eq(again.kind, packet->kind);
	cr_assert_eq(again.segments, packet->segments);
	cr_assert_eq(again.segment_bytes, packet->segment_bytes);
	cr_assert_eq(again.header_bytes, packet->header_bytes);
	cr_assert_eq(again.checksum_at, packet->checksum_at);
	cr_assert_eq(memcmp(&again.ip, &packet->ip, sizeof(again.ip)), 0);
	sink->puts++;
	if (packet->segments > sink->most_segments)
		sink->most_segments = packet->segments;
	for (uint16_t i = 0; i < packet->segments; i++) {
		cr_assert(sink->singles < OUT_MAX);
		cr_assert(super_packet_range_bytes(packet, i, 1) <= PACKET_MAX);
		sink->was_super[sink->singles] = packet->kind == SUPER_PACKET_SEGMENTED;
		sink->len[sink->singles] =
			super_packet_write(packet, i, 1, true, sink->bytes[sink->singles]);
		sink->singles++;
	}
	free(copy);
}

/* A test runs in a process of its own. */
static struct sink the_sink;

static void sink_clear(struct sink *sink)
{
	sink->puts = sink->singles = 0;
	sink->most_segments = 0;
}

static void push(struct super_merge *merge, const uint8_t *bytes, size_t len,
	enum super_packet_kind kind, uint16_t size)
{
	struct super_packet p;
	uint8_t *copy = exact_copy(bytes, len);

	cr_assert_eq(super_packet_parse(copy, len, kind, size, &p), SUPER_OK);
	super_merge_push(merge, &p);
	free(copy);
}

/* Pushes packet number `n` of a flow, as it would be sent; keeps what must come out. */
static size_t send_packet(struct super_merge *merge, const struct packet_flow *flow,
	struct flow_packet packet, uint8_t *want)
{
	uint8_t bytes[PACKET_MAX];
	size_t len = packet_flow_build(flow, &packet, bytes);

	push(merge, bytes, len, packet.partial ? SUPER_PACKET_PARTIAL : SUPER_PACKET_PLAIN, 0);
	packet.partial = false;
	if (want)
		packet_flow_build(flow, &packet, want);
	return len;
}

static uint16_t ports_of(const uint8_t *packet)
{
	size_t at = packet[0] >> 4 == 4 ? (size_t)(packet[0] & 15) * 4 : 40;
	return (uint16_t)(packet[at] << 8 | packet[at + 1]);
}

/* Packets of random flows, mixed: out come the same, each flow in its order. */
Test(super_merge, cut_again_gives_what_went_in)
{
	enum { FLOWS = 11, PACKETS = 400 };
	static uint8_t want[PACKETS][PACKET_MAX];
	static size_t want_len[PACKETS];
	struct sink *sink = &the_sink;
	struct super_merge merge;
	unsigned seed = 12;
	uint64_t merged = 0;

	for (size_t i = 0; i < STREAM; i++)
		stream[i] = (uint8_t)rand_r(&seed);
	for (int round = 0; round < 150; round++) {
		struct packet_flow flows[FLOWS];
		struct flow_packet next[FLOWS] = {0};
		uint32_t size[FLOWS];
		int active = 1 + rand_r(&seed) % FLOWS;
		cr_assert_eq(super_merge_init(&merge, take, sink, round % 4 != 0), 0);
		sink_clear(sink);
		for (int f = 0; f < active; f++) {
			flows[f] = packet_flow_random(
				&seed, rand_r(&seed) % 2 ? 4 : 6, rand_r(&seed) % 3 ? 6 : 17);
			flows[f].src_port = (uint16_t)(1000 + f);
			flows[f].traffic_class &= (uint8_t)rand_r(&seed);
			size[f] = 1 + (uint32_t)rand_r(&seed) % 1400;
		}
		for (int i = 0; i < PACKETS; i++) {
			int f = rand_r(&seed) % active;
			struct flow_packet *p = &next[f];
			int odd = rand_r(&seed) % 40;
			p->payload_bytes = size[f];
			if (odd == 0)
				p->payload_bytes = (uint32_t)rand_r(&seed) % (size[f] + 1);
			p->tcp_flags = 0;
			if (odd == 1 && flows[f].protocol == 6)
				p->tcp_flags = (uint8_t)rand_r(&seed);
			if (odd == 2)
				flows[f].window++;
			if (odd == 3)
				p->offset += 10; /* one was lost */
			if (odd == 4 && flows[f].option_bytes)
				flows[f].options[flows[f].option_bytes - 1]++;
			if (odd == 5)
				flows[f].hop_limit ^= 2;
			if (odd == 6)
				flows[f].traffic_class ^= 3;
			if (odd == 7)
				flows[f].ack++;
			if (odd == 8)
				p->number++;
			if (odd == 9)
				flows[f].hop_limit |= 1;
			p->partial = rand_r(&seed) % 4 == 0;
			p->payload = stream + p->offset % (STREAM - 2000);
			want_len[i] = send_packet(&merge, &flows[f], *p, want[i]);
			p->offset += (uint32_t)p->payload_bytes;
			p->number++;
			if (rand_r(&seed) % 60 == 0)
				super_merge_flush(&merge);
		}
		super_merge_flush(&merge);
		cr_assert_eq(sink->singles, PACKETS);
		cr_assert_eq(merge.counters.packets, PACKETS);
		cr_assert_eq(merge.counters.puts, sink->puts);
		merged += merge.counters.merged;
		size_t at[FLOWS] = {0};
		for (int i = 0; i < PACKETS; i++) {
			/* the next of that flow that came out */
			int f = ports_of(want[i]) - 1000;
			while (at[f] < sink->singles && ports_of(sink->bytes[at[f]]) != 1000 + f)
				at[f]++;
			cr_assert(at[f] < sink->singles);
			cr_assert_eq(sink->len[at[f]], want_len[i]);
			cr_assert_eq(memcmp(sink->bytes[at[f]], want[i], want_len[i]), 0,
				"round %d packet %d", round, i);
			at[f]++;
		}
		super_merge_fini(&merge);
	}
	cr_assert(merged > 5000, "only %llu of %d were merged", (unsigned long long)merged,
		150 * PACKETS);
}

/* A flow of `count` full packets, the last `last` bytes long. @return what came out */
static size_t run(struct sink *sink, bool udp, const struct packet_flow *flow, int count,
	uint32_t size, uint32_t last)
{
	struct super_merge merge;
	struct flow_packet p = {.payload = stream};

	sink_clear(sink);
	cr_assert_eq(super_merge_init(&merge, take, sink, udp), 0);
	for (int i = 0; i < count; i++) {
		p.payload_bytes = i + 1 < count ? size : last;
		(void)send_packet(&merge, flow, p, NULL);
		p.offset += (uint32_t)p.payload_bytes;
		p.number++;
	}
	super_merge_flush(&merge);
	super_merge_fini(&merge);
	cr_assert_eq(sink->singles, (size_t)count);
	return sink->puts;
}

Test(super_merge, bounds)
{
	struct sink *sink = &the_sink;
	unsigned seed = 1;

	for (int i = 0; i < 4; i++) {
		struct packet_flow flow = packet_flow_random(&seed, i & 1 ? 4 : 6, i & 2 ? 6 : 17);
		flow.dont_fragment = true;
		flow.option_bytes = 0;
		cr_assert_eq(run(sink, true, &flow, 10, 1000, 1000), 1);
		cr_assert_eq(run(sink, true, &flow, 10, 1000, 1), 1, "a short last one");
		cr_assert_eq(run(sink, true, &flow, 10, 1000, 0), 2, "an empty one");
		cr_assert_eq(run(sink, true, &flow, 10, 1000, 1001), 2, "a longer one");
		cr_assert_eq(run(sink, true, &flow, 128, 10, 10), 1);
		cr_assert_eq(run(sink, true, &flow, 129, 10, 10), 2);
		cr_assert_eq(sink->most_segments, SUPER_PACKET_SEGMENTS_MAX);
		cr_assert_eq(run(sink, true, &flow, 47, 1400, 1400), 2, "64 KB hold 46");
		cr_assert_eq(sink->most_segments, 46);
		uint32_t rest = 65535 - 65000 - (uint32_t)packet_flow_header_bytes(&flow);
		cr_assert_eq(run(sink, true, &flow, 66, 1000, rest), 1);
		cr_assert_eq(run(sink, true, &flow, 66, 1000, rest + 1), 2);
		cr_assert_eq(run(sink, false, &flow, 10, 1000, 1000), flow.protocol == 6 ? 1 : 10);
	}
}

/* Two packets in a row, the second one changed: do they become one? */
static size_t pair(struct sink *sink, const struct packet_flow *a, const struct packet_flow *b,
	uint16_t number, uint32_t offset, uint8_t first_flags, uint8_t flags)
{
	struct super_merge merge;
	struct flow_packet p = {.payload = stream, .payload_bytes = 100, .tcp_flags = first_flags};

	sink_clear(sink);
	cr_assert_eq(super_merge_init(&merge, take, sink, true), 0);
	(void)send_packet(&merge, a, p, NULL);
	p.number = number;
	p.offset = offset;
	p.tcp_flags = flags;
	(void)send_packet(&merge, b, p, NULL);
	super_merge_flush(&merge);
	super_merge_fini(&merge);
	cr_assert_eq(sink->singles, 2);
	return sink->puts;
}

Test(super_merge, what_joins)
{
	struct sink *sink = &the_sink;
	unsigned seed = 2;

	for (uint8_t version = 4; version <= 6; version += 2) {
		const struct packet_flow base = packet_flow_random(&seed, version, 6);
		struct packet_flow a = base, b;
		a.dont_fragment = true;
		a.option_bytes = 12;
		b = a;
		cr_assert_eq(pair(sink, &a, &b, 1, 100, 0, 0), 1);
		cr_assert_eq(pair(sink, &a, &b, 1, 100, 0, FLOW_PSH), 1);
		cr_assert_eq(pair(sink, &a, &b, 1, 100, 0, FLOW_FIN), 1);
		cr_assert_eq(pair(sink, &a, &b, 1, 100, FLOW_PSH, 0), 2);
		cr_assert_eq(pair(sink, &a, &b, 1, 100, FLOW_FIN, 0), 2);
		cr_assert_eq(pair(sink, &a, &b, 1, 100, FLOW_CWR, 0), 2);
		cr_assert_eq(pair(sink, &a, &b, 1, 100, 0, FLOW_CWR), 2);
		cr_assert_eq(pair(sink, &a, &b, 1, 100, FLOW_CWR, FLOW_CWR), 2);
		cr_assert_eq(pair(sink, &a, &b, 1, 100, 0, 0x40), 2, "ECE");
		cr_assert_eq(pair(sink, &a, &b, 1, 100, 0x40, 0x40), 1, "ECE in both");
		cr_assert_eq(pair(sink, &a, &b, 1, 100, 0, FLOW_SYN), 2);
		cr_assert_eq(pair(sink, &a, &b, 1, 100, 0, FLOW_RST), 2);
		cr_assert_eq(pair(sink, &a, &b, 1, 100, FLOW_URG, FLOW_URG), 2);
		cr_assert_eq(pair(sink, &a, &b, 1, 99, 0, 0), 2, "overlap");
		cr_assert_eq(pair(sink, &a, &b, 1, 101, 0, 0), 2, "hole");
		cr_assert_eq(pair(sink, &a, &b, 1, 0, 0, 0), 2, "again");
		cr_assert_eq(pair(sink, &a, &b, 2, 100, 0, 0), version == 4 ? 2 : 1, "ID");
		cr_assert_eq(pair(sink, &a, &b, 0, 100, 0, 0), 1, "ID stands, DF");
		b.dont_fragment = a.dont_fragment = false;
		cr_assert_eq(pair(sink, &a, &b, 0, 100, 0, 0), version == 4 ? 2 : 1, "ID stands");
		cr_assert_eq(pair(sink, &a, &b, 1, 100, 0, 0), 1, "no DF");
		b.dont_fragment = true;
		cr_assert_eq(pair(sink, &a, &b, 1, 100, 0, 0), version == 4 ? 2 : 1, "DF differs");
		b = a;
		b.options[11] ^= 1;
		cr_assert_eq(pair(sink, &a, &b, 1, 100, 0, 0), 2, "options");
		b = a;
		b.option_bytes = 8;
		cr_assert_eq(pair(sink, &a, &b, 1, 100, 0, 0), 2, "fewer options");
		b = a;
		b.src_port ^= 1;
		cr_assert_eq(pair(sink, &a, &b, 1, 100, 0, 0), 2, "port");
		b = a;
		b.window ^= 1;
		cr_assert_eq(pair(sink, &a, &b, 1, 100, 0, 0), 2, "window");
		b = a;
		b.ack ^= 1;
		cr_assert_eq(pair(sink, &a, &b, 1, 100, 0, 0), 2, "acknowledgement");
		b = a;
		b.hop_limit ^= 1;
		cr_assert_eq(pair(sink, &a, &b, 1, 100, 0, 0), 2, "TTL");
		b = a;
		b.traffic_class ^= 1;
		cr_assert_eq(pair(sink, &a, &b, 1, 100, 0, 0), 2, "ECN");
	}
}

/* An ID that stands, then counts, would come out as another: the second packet decides. */
Test(super_merge, ids_keep_their_kind)
{
	struct sink *sink = &the_sink;
	unsigned seed = 2;
	static const uint16_t numbers[2][4] = {{0, 0, 2, 3}, {0, 1, 0, 1}};

	for (int i = 0; i < 2; i++) {
		struct packet_flow flow = packet_flow_random(&seed, 4, 6);
		struct flow_packet p = {.payload = stream, .payload_bytes = 50};
		struct super_merge merge;
		flow.dont_fragment = true;
		sink_clear(sink);
		cr_assert_eq(super_merge_init(&merge, take, sink, true), 0);
		for (int n = 0; n < 4; n++) {
			p.number = numbers[i][n];
			(void)send_packet(&merge, &flow, p, NULL);
			p.offset += 50;
		}
		super_merge_flush(&merge);
		super_merge_fini(&merge);
		cr_assert_eq(sink->puts, 2);
	}
}

/* A wrong checksum stays wrong: such a packet is given on as it came, wherever it stands. */
Test(super_merge, does_not_mend_checksums)
{
	struct sink *sink = &the_sink;
	unsigned seed = 7;

	for (int round = 0; round < 200; round++) {
		struct packet_flow flow =
			packet_flow_random(&seed, round & 1 ? 4 : 6, round & 2 ? 6 : 17);
		struct flow_packet p = {.payload = stream, .payload_bytes = 100};
		struct super_merge merge;
		uint8_t bytes[PACKET_MAX], bad[PACKET_MAX];
		size_t len = 0;
		int victim = rand_r(&seed) % 5;
		sink_clear(sink);
		cr_assert_eq(super_merge_init(&merge, take, sink, true), 0);
		for (int i = 0; i < 5; i++) {
			len = packet_flow_build(&flow, &p, bytes);
			if (i == victim) {
				/* the payload, or the checksum of the IPv4 header */
				if (flow.version == 4 && round & 4)
					bytes[10] ^= 0x10;
				else
					bytes[len - 1 - (size_t)rand_r(&seed) % 100] ^= 0x10;
				memcpy(bad, bytes, len);
			}
			push(&merge, bytes, len, SUPER_PACKET_PLAIN, 0);
			p.offset += 100;
			p.number++;
		}
		super_merge_flush(&merge);
		super_merge_fini(&merge);
		cr_assert_eq(sink->singles, 5);
		for (int i = 0; i < 5; i++)
			cr_assert_eq(packet_sums_right(sink->bytes[i], sink->len[i]), i != victim);
		cr_assert(!sink->was_super[victim]);
		cr_assert_eq(memcmp(sink->bytes[victim], bad, len), 0);
		cr_assert_eq(sink->puts, victim == 0 || victim == 4   ? 2
					 : victim == 1 || victim == 3 ? 3
								      : 3);
	}
}

/* UDP without a checksum must not get one. */
Test(super_merge, leaves_datagrams_without_checksum)
{
	struct sink *sink = &the_sink;
	struct super_merge merge;
	unsigned seed = 7;
	struct packet_flow flow = packet_flow_random(&seed, 4, 17);
	struct flow_packet p = {.payload = stream, .payload_bytes = 100};
	uint8_t bytes[PACKET_MAX];

	cr_assert_eq(super_merge_init(&merge, take, sink, true), 0);
	for (int i = 0; i < 3; i++) {
		size_t len = packet_flow_build(&flow, &p, bytes);
		bytes[26] = bytes[27] = 0;
		push(&merge, bytes, len, SUPER_PACKET_PLAIN, 0);
		cr_assert_eq(memcmp(sink->bytes[i], bytes, len), 0);
		p.number++;
	}
	cr_assert_eq(sink->puts, 3);
	super_merge_fini(&merge);
}

/* What can't be merged passes what waits of other flows, but nothing of its own. */
Test(super_merge, keeps_the_order_of_a_flow)
{
	struct sink *sink = &the_sink;
	struct super_merge merge;
	unsigned seed = 7;
	struct packet_flow flow = packet_flow_random(&seed, 4, 6), other;
	struct flow_packet p = {.payload = stream, .payload_bytes = 100};
	uint8_t bytes[PACKET_MAX * 4];

	flow.option_bytes = 0;
	flow.src_port = 5;
	other = flow;
	other.src_port = 6;
	cr_assert_eq(super_merge_init(&merge, take, sink, true), 0);
	/* a super-packet of the peer's behind a single packet */
	(void)send_packet(&merge, &flow, p, NULL);
	(void)send_packet(&merge, &other, p, NULL);
	cr_assert_eq(sink->puts, 0);
	struct flow_packet big = {.payload = stream,
		.payload_bytes = 1000,
		.partial = true,
		.number = 1,
		.offset = 100};
	size_t len = packet_flow_build(&flow, &big, bytes);
	push(&merge, bytes, len, SUPER_PACKET_SEGMENTED, 300);
	cr_assert_eq(sink->puts, 2);
	cr_assert_eq(sink->len[0], 140);
	cr_assert_eq(sink->singles, 5);
	/* an acknowledgement */
	(void)send_packet(&merge, &flow, p, NULL);
	p.payload_bytes = 0;
	(void)send_packet(&merge, &flow, p, NULL);
	cr_assert_eq(sink->puts, 4);
	cr_assert_eq(sink->len[6], 40);
	/* a fragment between the same addresses: of whatever flow it is */
	p.payload_bytes = 100;
	len = packet_flow_build(&flow, &p, bytes);
	bytes[6] = 0;
	bytes[7] = 9;
	push(&merge, bytes, len, SUPER_PACKET_PLAIN, 0);
	cr_assert_eq(sink->puts, 6, "the other flow, then the fragment");
	cr_assert_eq(ports_of(sink->bytes[7]), 6);
	/* one flow more than there is room for: the oldest goes */
	for (uint16_t i = 0; i < SUPER_MERGE_FLOWS; i++) {
		flow.src_port = (uint16_t)(100 + i);
		(void)send_packet(&merge, &flow, p, NULL);
	}
	cr_assert_eq(sink->puts, 6);
	flow.src_port = 200;
	(void)send_packet(&merge, &flow, p, NULL);
	cr_assert_eq(sink->puts, 7);
	cr_assert_eq(ports_of(sink->bytes[9]), 100);
	super_merge_flush(&merge);
	cr_assert_eq(sink->puts, 15);
	for (uint16_t i = 1; i < SUPER_MERGE_FLOWS; i++)
		cr_assert_eq(ports_of(sink->bytes[9 + i]), 100 + i);
	super_merge_flush(&merge);
	cr_assert_eq(sink->puts, 15);
	super_merge_fini(&merge);
}
