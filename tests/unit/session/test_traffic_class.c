#include "core/endian.h"
#include "core/ip_header.h"
#include "core/rand.h"
#include "session/traffic_class.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static void fill(void *ctx, void *buf, size_t len)
{
	unsigned *seed = ctx;
	uint8_t *at = buf;
	while (len--)
		*at++ = (uint8_t)rand_r(seed);
}

static unsigned key_seed = 42;
static const struct rand_source RND = {fill, &key_seed};

enum { UDP = IP_PROTOCOL_UDP, TCP = IP_PROTOCOL_TCP, PACKET_MAX = 2048, FLAGS_ACK = IP_TCP_ACK };

struct packet {
	uint8_t bytes[PACKET_MAX];
	size_t len;
};

/* From host `host` to ::1 or 10.0.0.1. TCP gets a header of 20 bytes with ACK set. */
static struct packet make(uint8_t version, uint8_t protocol, uint8_t host, uint16_t src_port,
	uint16_t dst_port, size_t payload)
{
	struct packet p = {.len = 0};
	uint8_t src[16] = {10, [3] = host, [15] = host};
	uint8_t dst[16] = {10, [3] = 1, [15] = 1};
	size_t transport = protocol == TCP ? 20 : 8;
	size_t at = ip_header_write(p.bytes, version, src, dst, protocol, transport + payload);

	store_be16(p.bytes + at, src_port);
	store_be16(p.bytes + at + 2, dst_port);
	if (protocol == TCP) {
		p.bytes[at + 12] = 0x50;
		p.bytes[at + 13] = FLAGS_ACK;
	}
	p.len = at + transport + payload;
	return p;
}

static struct packet with_dscp(struct packet p, uint8_t dscp)
{
	if (p.bytes[0] >> 4 == 4) {
		p.bytes[1] = (uint8_t)(dscp << 2);
	} else {
		p.bytes[0] = (uint8_t)(0x60 | dscp >> 2);
		p.bytes[1] = (uint8_t)(dscp << 6);
	}
	return p;
}

static struct packet with_flags(struct packet p, uint8_t flags)
{
	p.bytes[(p.bytes[0] >> 4 == 4 ? 20 : 40) + 13] = flags;
	return p;
}

static struct packet with_v4_fragment(struct packet p, uint16_t field)
{
	store_be16(p.bytes + 6, field);
	return p;
}

static struct traffic_flow classify(
	struct traffic_classifier *classifier, const struct packet *p, int64_t now_us)
{
	struct ip_header header;
	uint8_t *exact = malloc(p->len);

	memcpy(exact, p->bytes, p->len);
	cr_assert_eq(ip_header_parse(exact, p->len, &header), IP_OK);
	struct traffic_flow flow =
		traffic_class_of(classifier, exact, &header, 1, mono_at_us(now_us));
	free(exact);
	cr_assert(flow.number >= 1 && flow.number <= TRAFFIC_CLASS_FLOWS);
	return flow;
}

static enum traffic_class class_of(
	struct traffic_classifier *classifier, struct packet p, int64_t now_us)
{
	return classify(classifier, &p, now_us).class;
}

static struct traffic_classifier *classifier_new(void)
{
	struct traffic_classifier *classifier = malloc(sizeof(*classifier));
	traffic_class_init(classifier, &RND);
	return classifier;
}

Test(traffic_class, first_match_decides)
{
	static const uint8_t urgent[] = {46, 32, 40, 48, 56, 34, 36, 38};
	static const uint8_t common[] = {0, 8, 10, 16, 18, 24, 26, 44, 45, 33, 35, 63, 1};
	struct traffic_classifier *c = classifier_new();

	for (uint8_t version = 4; version <= 6; version = (uint8_t)(version + 2)) {
		uint8_t icmp = version == 4 ? IP_PROTOCOL_ICMP : IP_PROTOCOL_ICMPV6;
		struct packet gre = make(version, 47, 2, 0, 0, 100);
		struct packet sctp = make(version, 132, 2, 5000, 5001, 100);
		struct packet tcp = make(version, TCP, 2, 5000, 80, 100);
		struct packet pure = make(version, TCP, 2, 5000, 80, 0);

		for (size_t i = 0; i < sizeof(urgent); i++) {
			cr_assert_eq(class_of(c, with_dscp(gre, urgent[i]), 1), TRAFFIC_CLASS_RT);
			cr_assert_eq(
				class_of(c, with_dscp(sctp, urgent[i]), 1), TRAFFIC_CLASS_BULK);
			cr_assert_eq(class_of(c, with_dscp(tcp, urgent[i]), 1), TRAFFIC_CLASS_BULK);
			cr_assert_eq(class_of(c, with_dscp(pure, urgent[i]), 1), TRAFFIC_CLASS_ACK);
		}
		for (size_t i = 0; i < sizeof(common); i++)
			cr_assert_eq(class_of(c, with_dscp(gre, common[i]), 1), TRAFFIC_CLASS_BULK,
				"DSCP %u", common[i]);
		cr_assert_eq(
			class_of(c, make(version, icmp, 2, 0x0800, 0, 56), 1), TRAFFIC_CLASS_RT);
		cr_assert_eq(class_of(c, make(version, UDP, 2, 5000, 53, 30), 1), TRAFFIC_CLASS_RT);
		cr_assert_eq(
			class_of(c, make(version, UDP, 2, 53, 5000, 400), 1), TRAFFIC_CLASS_RT);
		cr_assert_eq(
			class_of(c, make(version, TCP, 2, 5000, 53, 30), 1), TRAFFIC_CLASS_BULK);
		cr_assert_eq(
			class_of(c, make(version, UDP, 2, 5000, 5000, 160), 1), TRAFFIC_CLASS_RT);
		cr_assert_eq(
			class_of(c, make(version, UDP, 2, 5000, 443, 160), 1), TRAFFIC_CLASS_BULK);
		cr_assert_eq(
			class_of(c, make(version, UDP, 2, 443, 5000, 160), 1), TRAFFIC_CLASS_BULK);
		cr_assert_eq(class_of(c, with_dscp(make(version, UDP, 2, 443, 5000, 160), 46), 1),
			TRAFFIC_CLASS_RT);
	}
	struct traffic_flow none = traffic_class_of(c, NULL, NULL, 1, mono_at_us(1));
	cr_assert_eq(none.class, TRAFFIC_CLASS_BULK);
	cr_assert_eq(none.number, 0);
	free(c);
}

Test(traffic_class, tcp_by_flags_and_payload)
{
	static const struct {
		uint8_t flags;
		size_t payload;
		uint8_t offset;
		enum traffic_class want;
	} rows[] = {
		{FLAGS_ACK, 0, 0x50, TRAFFIC_CLASS_ACK},
		{FLAGS_ACK, 12, 0x80, TRAFFIC_CLASS_ACK}, /* time stamps */
		{FLAGS_ACK, 12, 0x50, TRAFFIC_CLASS_BULK},
		{FLAGS_ACK, 1, 0x50, TRAFFIC_CLASS_BULK},
		{FLAGS_ACK | 0x08, 0, 0x50, TRAFFIC_CLASS_ACK}, /* PSH */
		{0, 0, 0x50, TRAFFIC_CLASS_BULK},
		{IP_TCP_SYN, 0, 0x50, TRAFFIC_CLASS_CTL},
		{IP_TCP_SYN | FLAGS_ACK, 0, 0x50, TRAFFIC_CLASS_CTL},
		{IP_TCP_FIN | FLAGS_ACK, 0, 0x50, TRAFFIC_CLASS_CTL},
		{IP_TCP_FIN | FLAGS_ACK, 500, 0x50, TRAFFIC_CLASS_CTL},
		{IP_TCP_RST, 0, 0x50, TRAFFIC_CLASS_CTL},
		{FLAGS_ACK, 0, 0x40, TRAFFIC_CLASS_BULK}, /* header shorter than possible */
		{FLAGS_ACK, 0, 0x60, TRAFFIC_CLASS_BULK}, /* header longer than the packet */
		{FLAGS_ACK, 0, 0xf0, TRAFFIC_CLASS_BULK},
	};
	struct traffic_classifier *c = classifier_new();

	for (uint8_t version = 4; version <= 6; version = (uint8_t)(version + 2))
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			struct packet p = with_flags(
				make(version, TCP, 2, 5000, 80, rows[i].payload), rows[i].flags);
			p.bytes[(version == 4 ? 20 : 40) + 12] = rows[i].offset;
			cr_assert_eq(class_of(c, p, 1), rows[i].want, "row %zu", i);
		}
	/* A TCP header that is cut has no ports and is nobody's acknowledgement. */
	struct packet cut = make(4, UDP, 2, 5000, 80, 4);
	cut.bytes[9] = TCP;
	cr_assert_eq(class_of(c, cut, 1), TRAFFIC_CLASS_BULK);
	free(c);
}

Test(traffic_class, a_flow_keeps_its_number_and_others_have_others)
{
	struct traffic_classifier *c = classifier_new();
	struct packet data = make(4, TCP, 2, 5000, 80, 100);
	struct packet syn = with_flags(data, IP_TCP_SYN);
	uint16_t number = classify(c, &data, 1).number;
	struct traffic_classifier *other_key = classifier_new();
	unsigned same = 0;
	unsigned used[TRAFFIC_CLASS_FLOWS + 1] = {0};

	cr_assert_eq(classify(c, &syn, 2).number, number, "control and data share an order");
	for (int i = 0; i < 20000; i++) {
		struct packet p = make(6, TCP, (uint8_t)(i % 100), (uint16_t)(1000 + i), 80, 0);
		used[classify(c, &p, 3).number]++;
	}
	for (size_t i = 1; i <= TRAFFIC_CLASS_FLOWS; i++) {
		cr_assert_leq(used[i], 25, "flows crowd in %zu", i);
		same += used[i] == 0;
	}
	cr_assert_lt(same, 100);
	cr_assert_neq(classify(other_key, &data, 1).number, number);
	free(other_key);
	/* each part of the tuple counts */
	struct packet others[] = {make(4, TCP, 3, 5000, 80, 0), make(4, TCP, 2, 5001, 80, 0),
		make(4, TCP, 2, 5000, 81, 0), make(4, TCP, 2, 80, 5000, 0),
		make(4, UDP, 2, 5000, 80, 0), make(4, TCP, 2, 5000, 80, 0)};
	others[5].bytes[19] = 77; /* destination */
	for (size_t i = 0; i < 6; i++)
		cr_assert_neq(classify(c, &others[i], 4).number, number, "%zu", i);
	free(c);
}

/* IPv6 in fragments: hop-by-hop options, AH, fragment, and in the first one destination options if asked for; UDP. */
static struct packet v6_fragment(bool first, bool options, uint8_t id, uint16_t src_port)
{
	static const uint8_t address[16] = {0xfd, [15] = 9};
	struct packet p = {.len = 0};
	size_t at = IP_HEADER_V6_BYTES;

	p.bytes[at] = 51; /* hop-by-hop, 16 bytes */
	p.bytes[at + 1] = 1;
	at += 16;
	p.bytes[at] = 44; /* AH, 24 bytes */
	p.bytes[at + 1] = 4;
	at += 24;
	p.bytes[at] = options ? 60 : UDP;
	store_be16(p.bytes + at + 2, first ? 1 : 1480);
	p.bytes[at + 7] = id;
	at += 8;
	if (first && options) {
		p.bytes[at] = UDP;
		at += 8;
	}
	store_be16(p.bytes + at, src_port);
	store_be16(p.bytes + at + 2, 53);
	p.len = at + 100;
	ip_header_write(p.bytes, 6, address, address, 0, p.len - IP_HEADER_V6_BYTES);
	return p;
}

Test(traffic_class, fragments_stay_together)
{
	struct traffic_classifier *c = classifier_new();

	for (uint16_t port = 1; port < 50; port++) {
		struct packet whole = make(4, UDP, 2, port, 53, 1000);
		struct packet first = with_v4_fragment(whole, 0x2000);
		struct packet middle = with_v4_fragment(make(4, UDP, 2, 99, 443, 1000), 0x2080);
		struct packet last = with_v4_fragment(make(4, UDP, 2, 7, 7, 10), 0x0100);
		struct traffic_flow flow = classify(c, &first, 10000000 + port * 100000);
		struct packet parts[] = {middle, last};

		cr_assert_eq(flow.class, TRAFFIC_CLASS_RT);
		for (size_t i = 0; i < 2; i++) {
			struct traffic_flow other =
				classify(c, &parts[i], 10000000 + port * 100000);
			cr_assert_eq(other.number, flow.number);
			cr_assert_eq(other.class, flow.class, "%zu", i);
		}
	}
	for (int options = 0; options < 2; options++) {
		struct packet first = v6_fragment(true, options, 1, 1000);
		struct packet second = v6_fragment(false, options, 1, 2000);
		struct packet next = v6_fragment(true, options, 2, 3000);
		struct traffic_flow flow = classify(c, &first, 30000000);
		/* behind options the later fragments cannot know that it is UDP */
		cr_assert_eq(flow.class, options ? TRAFFIC_CLASS_BULK : TRAFFIC_CLASS_RT);
		cr_assert_eq(classify(c, &second, 30000000).number, flow.number);
		cr_assert_eq(classify(c, &second, 30000000).class, flow.class);
		cr_assert_eq(
			classify(c, &next, 30000000).number, flow.number, "in order with the next");
	}
	/* TCP in fragments has no class but BULK, ICMP is RT in all its parts */
	cr_assert_eq(class_of(c, with_v4_fragment(make(4, TCP, 2, 1, 2, 0), 0x2000), 1),
		TRAFFIC_CLASS_BULK);
	cr_assert_eq(class_of(c, with_v4_fragment(make(4, TCP, 2, 1, 2, 0), 0x0010), 1),
		TRAFFIC_CLASS_BULK);
	cr_assert_eq(
		class_of(c, with_v4_fragment(make(4, IP_PROTOCOL_ICMP, 2, 1, 2, 0), 0x0010), 1),
		TRAFFIC_CLASS_RT);
	free(c);
}

/* Sends at a steady rate for a while; the number of packets that were BULK. */
static unsigned bulk_of(struct traffic_classifier *c, uint16_t port, size_t payload, int64_t gap_us,
	int64_t from_us, int64_t to_us)
{
	struct packet p = make(4, UDP, 2, port, 6000, payload);
	unsigned bulk = 0;

	for (int64_t now = from_us; now < to_us; now += gap_us)
		bulk += class_of(c, p, now) == TRAFFIC_CLASS_BULK;
	return bulk;
}

Test(traffic_class, udp_by_its_rate)
{
	enum { S = 1000000 };
	struct traffic_classifier *c = classifier_new();

	/* a call: 50 packets of 200 bytes; a game server: 390 small packets; 0.95 Mb/s */
	cr_assert_eq(bulk_of(c, 1, 172, 20000, 0, 600LL * S), 0);
	cr_assert_eq(bulk_of(c, 2, 60, S / 390, 0, 60LL * S), 0);
	cr_assert_eq(bulk_of(c, 3, 1160, 10000, 0, 60LL * S), 0);
	/* 420 packets a second; 2 Mb/s: most of it in order */
	cr_assert_gt(bulk_of(c, 4, 60, S / 430, 0, 60LL * S), 430 * 40);
	unsigned bulk = bulk_of(c, 5, 1172, 4800, 0, 60LL * S);
	cr_assert_gt(bulk, 12500 - 450, "%u of 12500", bulk);
	free(c);
}

/* Around the limit a flow keeps its side: few changes, each kept for ten seconds. */
Test(traffic_class, a_flow_does_not_flicker)
{
	struct traffic_classifier *c = classifier_new();
	enum traffic_class before = TRAFFIC_CLASS_RT;
	unsigned seed = 2;
	unsigned changes = 0;
	int64_t bulk_since = 0;

	for (int64_t now = 0; now < 3600000000LL; now += 7000 + rand_r(&seed) % 6000) {
		/* rates between 0.5 and 1.5 Mb/s, drawn anew each few seconds */
		size_t payload = 600 + (size_t)((now / 8000000 * 7919) % 1200);
		enum traffic_class class = class_of(c, make(4, UDP, 2, 1, 2, payload), now);
		if (class == before)
			continue;
		changes++;
		if (class == TRAFFIC_CLASS_BULK)
			bulk_since = now;
		else
			cr_assert_geq(now - bulk_since, 10000000);
		before = class;
	}
	cr_assert_lt(changes, 360);
	cr_assert_gt(changes, 0);

	/* after a burst it is RT again once ten quiet seconds have passed, not before */
	int64_t end = 4000000000LL;
	(void)bulk_of(c, 9, 1172, 1000, end - 2000000, end);
	cr_assert_eq(class_of(c, make(4, UDP, 2, 9, 6000, 100), end + 8000000), TRAFFIC_CLASS_BULK);
	cr_assert_eq(class_of(c, make(4, UDP, 2, 9, 6000, 100), end + 10000000), TRAFFIC_CLASS_RT);
	free(c);
}

/* A super-packet counts for its packets. */
Test(traffic_class, super_packets_count_for_what_they_stand)
{
	struct traffic_classifier *c = classifier_new();
	struct packet p = make(4, UDP, 2, 1, 2, 1000);
	struct ip_header header;
	enum traffic_class class = TRAFFIC_CLASS_RT;

	cr_assert_eq(ip_header_parse(p.bytes, p.len, &header), IP_OK);
	for (int i = 0; i < 30; i++) /* 1200 a second; counted once each they would be 20 */
		class = traffic_class_of(c, p.bytes, &header, 60, mono_at_us(i * 50000)).class;
	cr_assert_eq(class, TRAFFIC_CLASS_BULK);
	free(c);
}

/*
 * Exact buckets for each flow. The sketch never takes a fast flow for a slow one, and rarely the other way: with 40 busy flows
 * once in 600 flows both slots are shared with busy ones.
 */
struct exact {
	int64_t bytes_e6; /* in the bucket, in millionths */
	int64_t packets_e6;
	int64_t at_us;
	int64_t fast_until_us;
};

static int64_t most(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

Test(traffic_class, agrees_with_exact_buckets)
{
	enum { FLOWS = 200 };
	struct traffic_classifier *c = classifier_new();
	struct exact *exact = calloc(FLOWS, sizeof(*exact));
	unsigned seed = 6;
	unsigned fast = 0;
	unsigned slow = 0;
	unsigned wronged = 0;
	int64_t now = 0;

	for (int i = 0; i < 400000; i++) {
		/* 40 flows send most; the others a few hundred packets each */
		int flow = rand_r(&seed) % 10 ? rand_r(&seed) % 40 : rand_r(&seed) % FLOWS;
		size_t payload = 100 + (size_t)(rand_r(&seed) % 400) * (size_t)(flow % 4);
		struct exact *e = &exact[flow];

		now += rand_r(&seed) % 200;
		int64_t passed_us = now - e->at_us;
		e->bytes_e6 = most(e->bytes_e6 - passed_us * 125000, 0) +
			      ((int64_t)payload + 28) * 1000000;
		e->packets_e6 = most(e->packets_e6 - passed_us * 400, 0) + 1000000;
		e->at_us = now;
		if (e->bytes_e6 > 125000000000 || e->packets_e6 > 400000000)
			e->fast_until_us = now + 10000000;
		e->bytes_e6 = -most(-e->bytes_e6, -125000000000);
		e->packets_e6 = -most(-e->packets_e6, -400000000);
		bool is_fast = now < e->fast_until_us;
		bool got = class_of(c, make(4, UDP, 2, (uint16_t)(1000 + flow), 2, payload), now) ==
			   TRAFFIC_CLASS_BULK;
		fast += is_fast;
		slow += !is_fast;
		if (is_fast)
			cr_assert(got, "step %d: a fast flow passed for a slow one", i);
		wronged += got && !is_fast;
	}
	cr_assert(fast > 20000 && slow > 20000, "%u %u", fast, slow);
	cr_assert_leq(wronged, slow / 50, "%u of %u", wronged, slow);
	free(exact);
	free(c);
}

/* A spray over many ports makes no fast flow slow: there is no entry to push out. */
Test(traffic_class, a_spray_frees_nobody)
{
	struct traffic_classifier *c = classifier_new();
	unsigned seed = 8;
	int64_t now = 0;

	(void)bulk_of(c, 1, 1172, 1000, 0, 3000000);
	for (now = 3000000; now < 9000000; now += 20) {
		struct packet p =
			make(4, UDP, (uint8_t)rand_r(&seed), (uint16_t)rand_r(&seed), 9, 20);
		(void)classify(c, &p, now);
		if (now % 1000 == 0)
			cr_assert_eq(class_of(c, make(4, UDP, 2, 1, 6000, 1172), now),
				TRAFFIC_CLASS_BULK);
	}
	/* and when it ends, all is as before */
	now += 11000000;
	cr_assert_eq(class_of(c, make(4, UDP, 2, 77, 6000, 100), now), TRAFFIC_CLASS_RT);
	free(c);
}

Test(traffic_class, classes_have_names)
{
	for (int i = 0; i < TRAFFIC_CLASSES; i++)
		cr_assert_str_neq(traffic_class_str((enum traffic_class)i), "unknown");
}
