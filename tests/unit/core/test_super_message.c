#include "core/super_message.h"
#include "packet_flow.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 65700 };

static uint8_t stream[BYTES];
static const struct super_limits LIMITS = {1400, 65535};

static size_t build(const struct packet_flow *flow, uint32_t n, bool partial, uint8_t *at)
{
	struct flow_packet p = {.payload = stream, .payload_bytes = n, .partial = partial};
	return packet_flow_build(flow, &p, at);
}

static enum super_verdict parse(const uint8_t *message, size_t len,
	const struct super_limits *limits, struct super_packet *ret)
{
	uint8_t *copy = exact_copy(message, len);
	enum super_verdict verdict = super_message_parse(copy, len, limits, ret);

	free(copy);
	return verdict;
}

static uint8_t form_of(const struct packet_flow *flow)
{
	if (flow->protocol == 17)
		return 0x83;
	return flow->version == 4 ? 0x81 : 0x82;
}

Test(super_message, there_and_back)
{
	static uint8_t packet[BYTES], message[BYTES];
	unsigned seed = 8;

	for (int round = 0; round < 200; round++) {
		struct packet_flow flow =
			packet_flow_random(&seed, round & 1 ? 4 : 6, round & 2 ? 6 : 17);
		struct super_packet p, got;
		uint16_t size = (uint16_t)(600 + rand_r(&seed) % 600);
		size_t len = build(&flow, size * 20u + 1, true, packet);
		cr_assert_eq(super_packet_parse(packet, len, SUPER_PACKET_SEGMENTED, size, &p),
			SUPER_OK);
		cr_assert_eq(super_message_write_prefix(&p, p.segments, message), 3);
		const uint8_t want[3] = {form_of(&flow), (uint8_t)size, (uint8_t)(size >> 8)};
		cr_assert_eq(memcmp(message, want, 3), 0, "type, little-endian size");
		memcpy(message + 3, packet, len);
		cr_assert_eq(super_message_parse(message, len + 3, &LIMITS, &got), SUPER_OK);
		cr_assert_eq(got.bytes, message + 3);
		cr_assert_eq(got.segments, 21);
		cr_assert_eq(got.segment_bytes, size);
		/* a single segment of it goes as a packet with a partial checksum */
		cr_assert_eq(super_message_write_prefix(&p, 1, message), 3);
		cr_assert_eq(memcmp(message, "\x80\0\0", 3), 0);
		len = super_packet_write(&p, 3, 1, false, message + 3);
		cr_assert_eq(parse(message, len + 3, &LIMITS, &got), SUPER_OK);
		cr_assert_eq(got.kind, SUPER_PACKET_PARTIAL);
		/* plain ones as they are */
		len = build(&flow, 500, false, message);
		cr_assert_eq(super_packet_parse(message, len, SUPER_PACKET_PLAIN, 0, &p), SUPER_OK);
		cr_assert_eq(super_message_write_prefix(&p, 1, packet), 0);
		cr_assert_eq(parse(message, len, &LIMITS, &got), SUPER_OK);
		cr_assert_eq(got.kind, SUPER_PACKET_PLAIN);
	}
}

Test(super_message, forms)
{
	static const struct super_limits plain_only = {1400, 0};
	uint8_t message[1500] = {0};
	unsigned seed = 3;
	struct packet_flow flow = packet_flow_random(&seed, 4, 6);
	struct super_packet p;
	size_t len = build(&flow, 1000, true, message + 3);

	for (unsigned first = 0; first < 256; first++) {
		message[0] = (uint8_t)first;
		message[1] = 200;
		message[2] = 0;
		enum super_verdict want = SUPER_BAD_FORM;
		if (first >> 4 == 4 || first >> 4 == 6)
			want = SUPER_BAD_IP;
		else if (first == 0x80 || first == 0x81)
			want = SUPER_OK;
		else if (first == 0x82 || first == 0x83)
			want = SUPER_BAD_PROTOCOL;
		cr_assert_eq(parse(message, len + 3, &LIMITS, &p), want, "first byte %02x", first);
		if (first >= 0x80 && first < 0x84)
			want = SUPER_NOT_OFFERED;
		cr_assert_eq(
			parse(message, len + 3, &plain_only, &p), want, "first byte %02x", first);
	}
	cr_assert_eq(parse(message, 0, &LIMITS, &p), SUPER_BAD_FORM);
	message[0] = 0x81;
	cr_assert_eq(parse(message, 1, &LIMITS, &p), SUPER_BAD_FORM);
	cr_assert_eq(parse(message, 2, &LIMITS, &p), SUPER_BAD_FORM);
	cr_assert_eq(parse(message, 3, &LIMITS, &p), SUPER_BAD_IP);
	message[1] = 0;
	cr_assert_eq(parse(message, len + 3, &LIMITS, &p), SUPER_BAD_SIZE);
	message[1] = 7; /* of no meaning for a single packet */
	message[0] = 0x80;
	cr_assert_eq(parse(message, len + 3, &LIMITS, &p), SUPER_OK);
}

Test(super_message, limits)
{
	static uint8_t message[BYTES];
	unsigned seed = 3;
	struct packet_flow flow = packet_flow_random(&seed, 4, 6);
	struct super_limits limits = {1400, 20000};
	struct super_packet p;

	flow.option_bytes = 0;
	size_t len = build(&flow, 19960, true, message + 3);
	memcpy(message, "\x81\x50\x05", 3); /* 1360: segments of 1400 bytes */
	cr_assert_eq(len, 20000);
	cr_assert_eq(parse(message, len + 3, &limits, &p), SUPER_OK);
	message[1] = 0x51;
	cr_assert_eq(parse(message, len + 3, &limits, &p), SUPER_TOO_LONG, "a segment");
	message[1] = 0x50;
	limits.super_bytes_max = 19999;
	cr_assert_eq(parse(message, len + 3, &limits, &p), SUPER_TOO_LONG, "the whole");
	/* single packets of all forms keep to the length of a packet */
	for (uint32_t n = 1360; n <= 1361; n++) {
		enum super_verdict want = n == 1360 ? SUPER_OK : SUPER_TOO_LONG;
		memcpy(message, "\x81\xff\x7f", 3);
		len = build(&flow, n, true, message + 3);
		cr_assert_eq(parse(message, len + 3, &limits, &p), want);
		message[0] = 0x80;
		cr_assert_eq(parse(message, len + 3, &limits, &p), want);
		len = build(&flow, n, false, message);
		cr_assert_eq(parse(message, len, &limits, &p), want);
	}
	/* few bytes must not become many packets */
	memcpy(message, "\x81\x01\0", 3);
	len = build(&flow, 128, true, message + 3);
	cr_assert_eq(parse(message, len + 3, &limits, &p), SUPER_OK);
	len = build(&flow, 129, true, message + 3);
	cr_assert_eq(parse(message, len + 3, &limits, &p), SUPER_TOO_MANY);
	/* IPv6 counts its header apart, but no packet is longer than is agreed on */
	flow = packet_flow_random(&seed, 6, 17);
	limits = (struct super_limits){65535, 65535};
	memcpy(message, "\x83\x40\x05", 3);
	len = build(&flow, 65535 - 48, true, message + 3);
	cr_assert_eq(parse(message, len + 3, &limits, &p), SUPER_OK);
	len = build(&flow, 65536 - 48, true, message + 3);
	cr_assert_eq(parse(message, len + 3, &limits, &p), SUPER_TOO_LONG);
}

/* Cut as the sender does: every byte once, whatever the room; a segment alone is plain, and no longer than it was. */
Test(super_message, cut_into_messages)
{
	static uint8_t packet[BYTES], message[BYTES];
	unsigned seed = 3;

	for (int round = 0; round < 400; round++) {
		struct packet_flow flow =
			packet_flow_random(&seed, round & 1 ? 4 : 6, round & 2 ? 6 : 17);
		uint16_t size = (uint16_t)(200 + rand_r(&seed) % 1000), count, ip_at = 9;
		uint32_t room = (uint32_t)rand_r(&seed) % 20000, payload = 0;
		uint32_t n = 1 + (uint32_t)rand_r(&seed) % 40000;
		struct super_packet p, got;

		size_t len = build(&flow, n, true, packet);
		if (super_packet_parse(packet, len, SUPER_PACKET_SEGMENTED, size, &p) != SUPER_OK)
			continue;
		for (uint16_t first = 0; first < p.segments; first = (uint16_t)(first + count)) {
			count = super_message_fit(&p, first, room);
			cr_assert(count >= 1 && first + count <= p.segments);
			uint32_t bytes = super_message_bytes(&p, first, count);
			cr_assert(count == 1 || bytes <= room);
			if (first + count + 1 < p.segments && count < SUPER_PACKET_SEGMENTS_MAX)
				cr_assert(super_message_bytes(&p, first, (uint16_t)(count + 1)) >
					  room);
			cr_assert_eq(super_message_write(&p, first, count, message, &ip_at), bytes);
			cr_assert_eq(ip_at, count == 1 ? 0 : SUPER_MESSAGE_OVERHEAD_BYTES);
			cr_assert_eq(parse(message, bytes, &LIMITS, &got), SUPER_OK);
			cr_assert_eq(got.segments, count);
			if (count == 1)
				cr_assert(packet_sums_right(message, bytes));
			uint32_t some = super_packet_range_bytes(&p, first, count) - p.header_bytes;
			cr_assert_eq(
				memcmp(message + ip_at + p.header_bytes, stream + payload, some),
				0);
			payload += some;
		}
		cr_assert_eq(payload, n);
	}
}
