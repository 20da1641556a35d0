#include "core/super_virtio.h"
#include "packet_flow.h"

#include <criterion/criterion.h>
#include <string.h>

enum { BYTES = 4000 };

static const uint8_t stream[BYTES] = {1, 2, 3, [1999] = 9};

static size_t build(const struct packet_flow *flow, uint32_t n, bool partial, uint8_t *at)
{
	struct flow_packet p = {.payload = stream, .payload_bytes = n, .partial = partial};
	return packet_flow_build(flow, &p, at);
}

static struct virtio_net_header asked(const struct packet_flow *flow, uint8_t type, uint16_t size)
{
	return (struct virtio_net_header){.flags = VIRTIO_NET_NEEDS_CHECKSUM,
		.gso_type = type,
		.segment_bytes = size,
		.checksum_start = flow->version == 4 ? 20 : 40,
		.checksum_offset = flow->protocol == 6 ? 16 : 6};
}

static uint8_t type_of(const struct packet_flow *flow)
{
	if (flow->protocol == 17)
		return VIRTIO_NET_GSO_UDP;
	return flow->version == 4 ? VIRTIO_NET_GSO_TCP4 : VIRTIO_NET_GSO_TCP6;
}

/* For each kind of flow. */
static void each_flow(void (*check)(struct packet_flow flow))
{
	unsigned seed = 6;

	for (int i = 0; i < 40; i++)
		check(packet_flow_random(&seed, i & 1 ? 4 : 6, i & 2 ? 6 : 17));
}

static void check_super(struct packet_flow flow)
{
	uint8_t packet[BYTES + 200], before[BYTES + 200];
	struct virtio_net_header h = asked(&flow, type_of(&flow), 700), back;
	struct super_packet p;
	size_t len = build(&flow, BYTES, true, packet);

	memcpy(before, packet, len);
	cr_assert_eq(super_virtio_read(&h, packet, len, &p), SUPER_OK);
	cr_assert_eq(p.kind, SUPER_PACKET_SEGMENTED);
	cr_assert_eq(p.segments, 6);
	cr_assert(super_virtio_describe(&p, true, &back));
	cr_assert_eq(back.header_bytes, packet_flow_header_bytes(&flow));
	back.header_bytes = 0;
	cr_assert_eq(memcmp(&h, &back, sizeof(h)), 0, "there and back");
	cr_assert_eq(super_virtio_describe(&p, false, &back), flow.protocol == 6);
	/* no more than one segment: the kernel would not take it for a super-packet either */
	h.segment_bytes = BYTES;
	cr_assert_eq(super_virtio_read(&h, packet, len, &p), SUPER_OK);
	cr_assert_eq(p.kind, SUPER_PACKET_PARTIAL);
	cr_assert(super_virtio_describe(&p, false, &back));
	cr_assert_eq(back.gso_type, VIRTIO_NET_GSO_NONE);
	cr_assert_eq(back.segment_bytes, 0);
	cr_assert_eq(memcmp(before, packet, len), 0);
	/* without an open checksum: whatever stands there, the partial one is put in */
	h = (struct virtio_net_header){
		.flags = VIRTIO_NET_DATA_VALID, .gso_type = type_of(&flow), .segment_bytes = 700};
	packet[p.checksum_at] ^= 0x5a;
	cr_assert_eq(super_virtio_read(&h, packet, len, &p), SUPER_OK);
	cr_assert_eq(memcmp(before, packet, len), 0);
}

Test(super_virtio, super_packets_there_and_back)
{
	each_flow(check_super);
}

static void check_types(struct packet_flow flow)
{
	static const uint8_t types[] = {1, 0x81, 4, 0x84, 5};
	uint8_t packet[BYTES + 200];
	size_t len = build(&flow, BYTES, true, packet);
	struct super_packet p;

	for (size_t i = 0; i < sizeof(types); i++) {
		struct virtio_net_header h = asked(&flow, types[i], 700);
		cr_assert_eq(super_virtio_read(&h, packet, len, &p),
			(types[i] & 0x7f) == type_of(&flow) ? SUPER_OK : SUPER_BAD_PROTOCOL);
	}
	struct virtio_net_header h = asked(&flow, type_of(&flow), 700);
	h.checksum_start += 2;
	cr_assert_eq(super_virtio_read(&h, packet, len, &p), SUPER_BAD_CHECKSUM);
	h.checksum_offset -= 2; /* the same field, but a sum from elsewhere */
	cr_assert_eq(super_virtio_read(&h, packet, len, &p), SUPER_BAD_CHECKSUM);
	h.checksum_start -= 2;
	cr_assert_eq(super_virtio_read(&h, packet, len, &p), SUPER_BAD_CHECKSUM);
}

Test(super_virtio, holds_the_type_against_the_packet)
{
	each_flow(check_types);
}

static void check_single(struct packet_flow flow)
{
	uint8_t packet[300], before[300], whole[300];
	struct virtio_net_header h = asked(&flow, 0, 0), back;
	struct super_packet p;
	size_t len = build(&flow, 100, true, packet);

	build(&flow, 100, false, whole);
	memcpy(before, packet, len);
	cr_assert_eq(super_virtio_read(&h, packet, len, &p), SUPER_OK);
	cr_assert_eq(p.kind, SUPER_PACKET_PARTIAL);
	cr_assert_eq(memcmp(before, packet, len), 0, "stays open");
	cr_assert(super_virtio_describe(&p, false, &back));
	cr_assert_eq(memcmp(&h, &back, sizeof(h)), 0);

	/* what the view can't say is done here: a later fragment, another protocol */
	packet[flow.version == 4 ? 9 : 6] = 132;
	h.checksum_offset = 8;
	memset(packet + h.checksum_start + 8, 0, 2);
	cr_assert_eq(super_virtio_read(&h, packet, len, &p), SUPER_OK);
	cr_assert_eq(p.kind, SUPER_PACKET_PLAIN);
	cr_assert_neq(packet[h.checksum_start + 8] << 8 | packet[h.checksum_start + 9], 0);

	h.flags = VIRTIO_NET_DATA_VALID;
	memcpy(packet, whole, len);
	cr_assert_eq(super_virtio_read(&h, packet, len, &p), SUPER_OK);
	cr_assert_eq(p.kind, SUPER_PACKET_PLAIN);
	cr_assert_eq(memcmp(whole, packet, len), 0);
	cr_assert(super_virtio_describe(&p, false, &back));
	cr_assert(back.flags == 0 && back.gso_type == 0 && back.checksum_start == 0);
	cr_assert_eq(super_virtio_read(&h, packet, len - 1, &p), SUPER_BAD_IP);
}

Test(super_virtio, single_packets)
{
	each_flow(check_single);
}

static void check_ecn(struct packet_flow flow)
{
	uint8_t packet[BYTES + 200];
	struct virtio_net_header h = asked(&flow, type_of(&flow), 700);
	struct super_packet p;
	struct flow_packet fp = {
		.payload = stream, .payload_bytes = BYTES, .partial = true, .tcp_flags = FLOW_CWR};
	if (flow.protocol != 6)
		return;
	size_t len = packet_flow_build(&flow, &fp, packet);
	h.gso_type |= VIRTIO_NET_GSO_ECN;
	cr_assert_eq(super_virtio_read(&h, packet, len, &p), SUPER_OK);
	cr_assert(super_virtio_describe(&p, true, &h));
	cr_assert_eq(h.gso_type, type_of(&flow) | VIRTIO_NET_GSO_ECN);
}

Test(super_virtio, tells_of_cwr)
{
	each_flow(check_ecn);
}

static void check_extensions(struct packet_flow flow)
{
	uint8_t packet[BYTES + 200];
	struct virtio_net_header h = asked(&flow, type_of(&flow), 700);
	struct super_packet p;

	if (flow.version != 6)
		return;
	flow.extension = 0;
	flow.ip_option_bytes = 8;
	memcpy(flow.ip_options, "\x06\0\x01\x04\0\0\0\0", 8);
	flow.ip_options[0] = flow.protocol;
	size_t len = build(&flow, BYTES, true, packet);
	h.checksum_start += 8;
	cr_assert_eq(super_virtio_read(&h, packet, len, &p), SUPER_OK);
	cr_assert(!super_virtio_describe(&p, true, &h), "is left to us");
	h.flags = 0;
	cr_assert_eq(super_virtio_read(&h, packet, len, &p), SUPER_BAD_EXTENSION);
}

Test(super_virtio, extension_headers)
{
	each_flow(check_extensions);
}
