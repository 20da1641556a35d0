#include "core/super_packet.h"
#include "packet_flow.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 1500, BYTES = 65600 };

static uint8_t stream[BYTES];

static void fill_stream(unsigned *seed)
{
	for (size_t i = 0; i < sizeof(stream); i++)
		stream[i] = (uint8_t)rand_r(seed);
}

/* What a sender makes of segments first .. first + count - 1 of `total` payload bytes. */
static size_t build_range(const struct packet_flow *flow, uint32_t total, uint32_t size,
	uint32_t first, uint32_t count, bool partial, uint8_t all_flags, uint8_t *at)
{
	uint32_t from = first * size;
	uint32_t to = from + count * size < total ? from + count * size : total;
	struct flow_packet p = {.number = (uint16_t)first,
		.offset = from,
		.tcp_flags = all_flags,
		.partial = partial,
		.payload = stream + from,
		.payload_bytes = to - from};

	if (first > 0)
		p.tcp_flags &= (uint8_t)~FLOW_CWR;
	if (to < total)
		p.tcp_flags &= (uint8_t) ~(FLOW_FIN | FLOW_PSH);
	return packet_flow_build(flow, &p, at);
}

static uint32_t most_payload(const struct packet_flow *flow)
{
	return (uint32_t)(65535 - packet_flow_header_bytes(flow));
}

/* Some flows have IP options, or extension headers that may be repeated. */
static void add_ip_options(struct packet_flow *flow, unsigned *seed)
{
	if (rand_r(seed) % 3)
		return;
	if (flow->version == 4) {
		flow->ip_option_bytes = 4 * (size_t)(rand_r(seed) % 11);
		memset(flow->ip_options, 1, flow->ip_option_bytes);
		return;
	}
	flow->ip_option_bytes = 24;
	memcpy(flow->ip_options, "\x3c\0\x01\x04\0\0\0\0\0\x01\x01\x0c\0\0\0\0\0\0\0\0\0\0\0\0",
		24);
	flow->ip_options[8] = flow->protocol; /* hop-by-hop, then destination options of 16 bytes */
	flow->extension = 0;
}

Test(super_packet, segments_are_what_a_sender_would_have_sent)
{
	static uint8_t whole[BYTES], want[BYTES], got[BYTES];
	unsigned seed = 5;

	fill_stream(&seed);
	for (int round = 0; round < ROUNDS; round++) {
		struct packet_flow flow =
			packet_flow_random(&seed, round % 2 ? 4 : 6, rand_r(&seed) % 3 ? 6 : 17);
		add_ip_options(&flow, &seed);
		uint32_t size = 1 + (uint32_t)rand_r(&seed) % (round % 5 ? 1460 : 30000);
		uint32_t total = size + 1 + (uint32_t)rand_r(&seed) % (size * 20);
		if (total > most_payload(&flow) || round % 50 == 0)
			total = most_payload(&flow);
		if (total <= size)
			continue;
		uint32_t segments = (total + size - 1) / size;
		uint8_t flags = flow.protocol == 6 ? (uint8_t)rand_r(&seed) &
							     (FLOW_CWR | FLOW_FIN | FLOW_PSH | 0x40)
						   : 0;
		size_t len = build_range(&flow, total, size, 0, segments, true, flags, whole);
		uint8_t *copy = exact_copy(whole, len);
		struct super_packet p;
		cr_assert_eq(
			super_packet_parse(copy, len, SUPER_PACKET_SEGMENTED, (uint16_t)size, &p),
			SUPER_OK);
		cr_assert_eq(p.kind, SUPER_PACKET_SEGMENTED);
		cr_assert_eq(p.segments, segments);
		cr_assert_eq(p.header_bytes, packet_flow_header_bytes(&flow));

		uint16_t step = segments > 40 ? 7 : 1;
		for (uint16_t i = 0; i < segments; i = (uint16_t)(i + step)) {
			size_t n = build_range(&flow, total, size, i, 1, false, flags, want);
			memset(got, 0xee, n + 1);
			cr_assert_eq(super_packet_write(&p, i, 1, true, got), n);
			cr_assert_eq(memcmp(got, want, n), 0, "round %d segment %u", round, i);
			cr_assert_eq(got[n], 0xee);
		}
		/* any run, and any run of that one */
		for (int k = 0; k < 4; k++) {
			uint16_t first = (uint16_t)(rand_r(&seed) % segments);
			uint16_t count = (uint16_t)(1 + rand_r(&seed) % (segments - first));
			size_t n = build_range(&flow, total, size, first, count, true, flags, want);
			cr_assert_eq(super_packet_range_bytes(&p, first, count), n);
			cr_assert_eq(super_packet_write(&p, first, count, false, got), n);
			cr_assert_eq(
				memcmp(got, want, n), 0, "round %d run %u+%u", round, first, count);
			cr_assert_eq(super_packet_payload(&p, first) - copy,
				(ptrdiff_t)(p.header_bytes + first * size));
			struct super_packet inner;
			cr_assert_eq(super_packet_parse(got, n, SUPER_PACKET_SEGMENTED,
					     (uint16_t)size, &inner),
				SUPER_OK);
			cr_assert_eq(inner.segments, count);
			uint16_t last = (uint16_t)(count - 1);
			size_t m = build_range(
				&flow, total, size, (uint32_t)first + last, 1, false, flags, want);
			cr_assert_eq(super_packet_write(&inner, last, 1, true, whole), m);
			cr_assert_eq(memcmp(whole, want, m), 0);
		}
		free(copy);
	}
}

Test(super_packet, a_partial_packet_is_completed)
{
	static uint8_t partial[2000], whole[2000];
	unsigned seed = 9;

	fill_stream(&seed);
	for (int round = 0; round < 3000; round++) {
		struct packet_flow flow =
			packet_flow_random(&seed, round % 2 ? 4 : 6, round % 3 ? 6 : 17);
		uint32_t n = (uint32_t)rand_r(&seed) % 100;
		uint8_t flags = flow.protocol == 6 ? (uint8_t)rand_r(&seed) : 0;
		stream[0] = (uint8_t)round;
		struct flow_packet fp = {.payload = stream, .payload_bytes = n, .tcp_flags = flags};
		size_t len = packet_flow_build(&flow, &fp, whole);
		fp.partial = true;
		packet_flow_build(&flow, &fp, partial);
		struct super_packet p;
		cr_assert_eq(
			super_packet_parse(partial, len, SUPER_PACKET_PARTIAL, 0, &p), SUPER_OK);
		cr_assert_eq(p.segments, 1);
		cr_assert_eq(super_packet_fit(&p, 0), 1);
		uint8_t copy[2000];
		cr_assert_eq(super_packet_write(&p, 0, 1, true, copy), len);
		cr_assert_eq(memcmp(copy, whole, len), 0);
		super_packet_complete(&p, partial);
		cr_assert_eq(memcmp(partial, whole, len), 0);
		/* as a super-packet of one segment it is the same */
		cr_assert_eq(super_packet_parse(partial, len, SUPER_PACKET_SEGMENTED, 100, &p),
			flags & (FLOW_SYN | FLOW_RST | FLOW_URG) ? SUPER_BAD_TRANSPORT : SUPER_OK);
		/* plain ones are left alone */
		cr_assert_eq(super_packet_parse(partial, len, SUPER_PACKET_PLAIN, 0, &p), SUPER_OK);
		cr_assert_eq(p.header_bytes, 0);
		super_packet_complete(&p, partial);
		cr_assert_eq(super_packet_write(&p, 0, 1, true, copy), len);
		cr_assert_eq(memcmp(copy, whole, len), 0);
	}
}

/* A checksum that comes out as zero: in UDP that would mean "none", and its twin is stored; in TCP it is zero. */
Test(super_packet, zero_checksums)
{
	for (int i = 0; i < 2; i++) {
		uint8_t packet[64], out[64], want[64];
		uint8_t payload[2] = {0};
		unsigned seed = 1;
		struct packet_flow flow = packet_flow_random(&seed, 4, i ? 6 : 17);
		struct flow_packet fp = {.payload = payload, .payload_bytes = 2};
		size_t at = i ? 36 : 26;
		int zeros = 0, twins = 0;

		flow.option_bytes = 0;
		for (unsigned v = 0; v < 65536; v++) {
			struct super_packet p;
			payload[0] = (uint8_t)(v >> 8);
			payload[1] = (uint8_t)v;
			fp.partial = false;
			packet_flow_build(&flow, &fp, want);
			fp.partial = true;
			size_t len = packet_flow_build(&flow, &fp, packet);
			cr_assert_eq(super_packet_parse(packet, len, SUPER_PACKET_PARTIAL, 0, &p),
				SUPER_OK);
			super_packet_write(&p, 0, 1, true, out);
			cr_assert_eq(memcmp(out, want, len), 0);
			zeros += out[at] == 0 && out[at + 1] == 0;
			twins += out[at] == 0xff && out[at + 1] == 0xff;
		}
		cr_assert(i ? zeros > 0 && twins == 0 : zeros == 0 && twins > 0);
	}
}

Test(super_packet, fit)
{
	static uint8_t whole[BYTES];
	unsigned seed = 2;
	struct packet_flow flow = packet_flow_random(&seed, 4, 6);
	struct super_packet p;

	flow.option_bytes = 0;
	size_t len = build_range(&flow, 10050, 1000, 0, 11, true, 0, whole);
	cr_assert_eq(super_packet_parse(whole, len, SUPER_PACKET_SEGMENTED, 1000, &p), SUPER_OK);
	static const uint32_t rows[][2] = {{0, 1}, {1039, 1}, {1040, 1}, {2039, 1}, {2040, 2},
		{10040, 10}, {10089, 10}, {10090, 11}, {65535, 11}, {0xffffffff, 11}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint16_t count = super_packet_fit(&p, rows[i][0]);
		cr_assert_eq(count, rows[i][1], "row %zu: %u", i, count);
		if (i > 1)
			cr_assert(super_packet_range_bytes(&p, 0, count) <= rows[i][0]);
	}
	/* more segments than one message takes */
	len = build_range(&flow, 60000, 300, 0, 200, true, 0, whole);
	cr_assert_eq(super_packet_parse(whole, len, SUPER_PACKET_SEGMENTED, 300, &p), SUPER_OK);
	cr_assert_eq(p.segments, 200);
	cr_assert_eq(super_packet_fit(&p, 65535), SUPER_PACKET_SEGMENTS_MAX);
	cr_assert_eq(super_packet_fit(&p, 40 + 129 * 300), SUPER_PACKET_SEGMENTS_MAX);
	cr_assert_eq(super_packet_fit(&p, 40 + 128 * 300 - 1), SUPER_PACKET_SEGMENTS_MAX - 1);
	len = build_range(&flow, 65495, 1, 0, 65495, true, 0, whole);
	cr_assert_eq(super_packet_parse(whole, len, SUPER_PACKET_SEGMENTED, 1, &p), SUPER_OK);
	cr_assert_eq(p.segments, 65495);
}

static enum super_verdict parse_copy(const uint8_t *bytes, size_t len, uint16_t size)
{
	uint8_t *copy = exact_copy(bytes, len);
	struct super_packet p;
	enum super_verdict verdict =
		super_packet_parse(copy, len, SUPER_PACKET_SEGMENTED, size, &p);

	free(copy);
	return verdict;
}

/* One byte of a good super-packet is changed. */
static void expect_changed(const uint8_t *good, size_t len, size_t at, uint8_t value,
	enum super_verdict want, const char *why)
{
	uint8_t *copy = exact_copy(good, len);

	copy[at] = value;
	enum super_verdict got = parse_copy(copy, len, 100);
	cr_assert_eq(got, want, "%s: %s", why, super_verdict_str(got));
	free(copy);
}

Test(super_packet, refuses_what_cannot_be_repeated)
{
	static uint8_t bytes[2000];
	unsigned seed = 4;
	struct packet_flow flow = packet_flow_random(&seed, 4, 6);

	flow.option_bytes = 0;
	size_t len = build_range(&flow, 1000, 100, 0, 10, true, 0, bytes);
	cr_assert_eq(parse_copy(bytes, len, 100), SUPER_OK);
	cr_assert_eq(parse_copy(bytes, len, 0), SUPER_BAD_SIZE);
	cr_assert_eq(parse_copy(bytes, len - 1, 100), SUPER_BAD_IP);
	expect_changed(bytes, len, 0, 0x55, SUPER_BAD_IP, "version");
	expect_changed(bytes, len, 9, 1, SUPER_BAD_PROTOCOL, "ICMP");
	expect_changed(bytes, len, 9, 132, SUPER_BAD_PROTOCOL, "SCTP");
	expect_changed(bytes, len, 9, 17, SUPER_BAD_TRANSPORT, "UDP of another length");
	expect_changed(bytes, len, 6, 0x20, SUPER_BAD_FRAGMENT, "first fragment");
	expect_changed(bytes, len, 7, 3, SUPER_BAD_FRAGMENT, "later fragment");
	expect_changed(bytes, len, 20 + 12, 0x40, SUPER_BAD_TRANSPORT, "short header");
	expect_changed(bytes, len, 20 + 13, FLOW_ACK | FLOW_SYN, SUPER_BAD_TRANSPORT, "SYN");
	expect_changed(bytes, len, 20 + 13, FLOW_ACK | FLOW_RST, SUPER_BAD_TRANSPORT, "RST");
	expect_changed(bytes, len, 20 + 13, FLOW_ACK | FLOW_URG, SUPER_BAD_TRANSPORT, "URG");
	/* headers that reach past the end */
	for (uint32_t n = 0; n < 40; n++) {
		len = build_range(&flow, n, 100, 0, 1, true, 0, bytes);
		bytes[20 + 12] = 0xf0;
		cr_assert_eq(parse_copy(bytes, len, 100), SUPER_BAD_TRANSPORT);
	}
	flow.protocol = 17;
	len = build_range(&flow, 1000, 100, 0, 10, true, 0, bytes);
	cr_assert_eq(parse_copy(bytes, len, 100), SUPER_OK);
	expect_changed(bytes, len, 25, (uint8_t)(bytes[25] + 1), SUPER_BAD_TRANSPORT, "UDP length");
	expect_changed(bytes, len, 25, (uint8_t)(bytes[25] - 1), SUPER_BAD_TRANSPORT, "UDP length");
	uint8_t cut[27] = {0x45, [3] = 27, [8] = 9, 17};
	cr_assert_eq(parse_copy(cut, sizeof(cut), 100), SUPER_BAD_TRANSPORT);
}

Test(super_packet, judges_extension_headers)
{
	static const struct {
		uint8_t kind;
		enum super_verdict want;
	} rows[] = {{0, SUPER_OK}, {60, SUPER_OK}, {43, SUPER_OK}, {44, SUPER_BAD_EXTENSION},
		{51, SUPER_BAD_EXTENSION}, {135, SUPER_BAD_EXTENSION}, {139, SUPER_BAD_EXTENSION},
		{140, SUPER_BAD_EXTENSION}, {50, SUPER_BAD_PROTOCOL}};
	static uint8_t bytes[2000];
	unsigned seed = 4;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct packet_flow flow = packet_flow_random(&seed, 6, 6);
		flow.extension = rows[i].kind;
		flow.ip_option_bytes = 8;
		memset(flow.ip_options, 0, 8);
		flow.ip_options[0] = 6;
		size_t len = build_range(&flow, 1000, 100, 0, 10, true, 0, bytes);
		enum super_verdict got = parse_copy(bytes, len, 100);
		cr_assert_eq(got, rows[i].want, "%u: %s", rows[i].kind, super_verdict_str(got));
	}
	/* more header than anybody repeats */
	struct packet_flow flow = packet_flow_random(&seed, 6, 17);
	uint8_t payload[400] = {17, 28};
	struct flow_packet fp = {.payload = payload, .payload_bytes = sizeof(payload)};
	size_t len = packet_flow_build(&flow, &fp, bytes);
	/* destination options of 232 bytes stand where the UDP header stood: together 280 */
	bytes[6] = 60;
	bytes[40] = 17;
	bytes[41] = 28;
	bytes[40 + 232 + 4] = 0;
	bytes[40 + 232 + 5] = (uint8_t)(len - 40 - 232);
	cr_assert_eq(parse_copy(bytes, len, 100), SUPER_BAD_TRANSPORT);
	bytes[41] = 25; /* 208: together 256 */
	memset(bytes + 40 + 208, 0, 8);
	bytes[40 + 208 + 5] = (uint8_t)(len - 40 - 208);
	cr_assert_eq(parse_copy(bytes, len, 100), SUPER_OK);
}

Test(super_packet, names_its_verdicts)
{
	for (int v = 0; v < SUPER_VERDICTS; v++)
		cr_assert_str_neq(super_verdict_str((enum super_verdict)v), "unknown");
	cr_assert_str_eq(super_verdict_str(SUPER_VERDICTS), "unknown");
}
