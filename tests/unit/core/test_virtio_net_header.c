#include "core/virtio_net_header.h"
#include "packet_flow.h"

#include <criterion/criterion.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

/* The kernel's own struct is the twin. */
static enum virtio_net_verdict parse(
	struct virtio_net_hdr kernel, size_t packet_bytes, struct virtio_net_header *ret)
{
	uint8_t *copy = exact_copy((const uint8_t *)&kernel, sizeof(kernel));
	enum virtio_net_verdict verdict =
		virtio_net_header_parse(copy, sizeof(kernel), packet_bytes, ret);

	free(copy);
	return verdict;
}

Test(virtio_net_header, has_the_layout_of_the_kernel)
{
	struct virtio_net_hdr kernel = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV6 | VIRTIO_NET_HDR_GSO_ECN,
		.hdr_len = 0x0102,
		.gso_size = 0x0304,
		.csum_start = 0x0506,
		.csum_offset = 0x0708};
	struct virtio_net_header h;
	uint8_t bytes[VIRTIO_NET_HEADER_BYTES_MAX + 1];

	cr_assert_eq(sizeof(kernel), (size_t)VIRTIO_NET_HEADER_BYTES);
	cr_assert_eq(parse(kernel, 65535, &h), VIRTIO_NET_OK);
	cr_assert_eq(h.flags, VIRTIO_NET_NEEDS_CHECKSUM);
	cr_assert_eq(h.gso_type, VIRTIO_NET_GSO_TCP6 | VIRTIO_NET_GSO_ECN);
	cr_assert_eq(h.header_bytes, 0x0102);
	cr_assert_eq(h.segment_bytes, 0x0304);
	cr_assert_eq(h.checksum_start, 0x0506);
	cr_assert_eq(h.checksum_offset, 0x0708);
	memset(bytes, 0xee, sizeof(bytes));
	virtio_net_header_write(&h, bytes, VIRTIO_NET_HEADER_BYTES_MAX);
	cr_assert_eq(memcmp(bytes, &kernel, sizeof(kernel)), 0);
	cr_assert_eq(memcmp(bytes + 10, "\0\0\xee", 3), 0);
	cr_assert_eq(virtio_net_header_parse(bytes, 12, 65535, &h), VIRTIO_NET_OK);
	cr_assert_eq(virtio_net_header_parse(bytes, 9, 65535, &h), VIRTIO_NET_SHORT);
}

Test(virtio_net_header, judges)
{
	static const struct {
		const char *name;
		struct virtio_net_hdr header;
		size_t packet_bytes;
		enum virtio_net_verdict want;
	} rows[] = {
		{"nothing", {0}, 0, VIRTIO_NET_OK},
		{"valid", {.flags = 2}, 40, VIRTIO_NET_OK},
		{"unknown flags", {.flags = 0xfc}, 40, VIRTIO_NET_OK},
		{"TCP", {.gso_type = 1, .gso_size = 1, .hdr_len = 40}, 40, VIRTIO_NET_OK},
		{"long header", {.gso_type = 1, .gso_size = 1, .hdr_len = 41}, 40,
			VIRTIO_NET_BAD_LENGTH},
		{"no size", {.gso_type = 4}, 40, VIRTIO_NET_BAD_SIZE},
		{"size with a meaning", {.gso_type = 5, .gso_size = 0xffff}, 40,
			VIRTIO_NET_BAD_SIZE},
		{"UDP", {.gso_type = 5, .gso_size = 0xfffe}, 40, VIRTIO_NET_OK},
		{"UDP fragments", {.gso_type = 3, .gso_size = 8}, 40, VIRTIO_NET_BAD_TYPE},
		{"UDP with ECN", {.gso_type = 0x85, .gso_size = 8}, 40, VIRTIO_NET_BAD_TYPE},
		{"ECN alone", {.gso_type = 0x80, .gso_size = 8}, 40, VIRTIO_NET_BAD_TYPE},
		{"in a tunnel", {.gso_type = 0x21, .gso_size = 8}, 40, VIRTIO_NET_BAD_TYPE},
		{"sum at the end", {.flags = 1, .csum_start = 20, .csum_offset = 18}, 40,
			VIRTIO_NET_OK},
		{"sum behind", {.flags = 1, .csum_start = 20, .csum_offset = 19}, 40,
			VIRTIO_NET_BAD_CHECKSUM},
		{"start behind", {.flags = 1, .csum_start = 41}, 40, VIRTIO_NET_BAD_CHECKSUM},
		{"no wrap", {.flags = 1, .csum_start = 0xffff, .csum_offset = 0xffff}, 40,
			VIRTIO_NET_BAD_CHECKSUM},
		{"ignored", {.csum_start = 41, .csum_offset = 7, .hdr_len = 99, .gso_size = 3}, 40,
			VIRTIO_NET_OK},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct virtio_net_header h = {.flags = 0x55};
		cr_assert_eq(parse(rows[i].header, rows[i].packet_bytes, &h), rows[i].want, "%s",
			rows[i].name);
		if (rows[i].want != VIRTIO_NET_OK)
			cr_assert_eq(h.flags, 0x55, "%s", rows[i].name);
		else
			cr_assert_eq(h.flags, rows[i].header.flags & 3, "%s", rows[i].name);
	}
	struct virtio_net_header h;
	cr_assert_eq(parse(rows[16].header, 40, &h), VIRTIO_NET_OK);
	cr_assert(h.checksum_start == 0 && h.checksum_offset == 0 && h.header_bytes == 0 &&
		  h.segment_bytes == 0);
}

Test(virtio_net_header, completes_a_checksum)
{
	unsigned seed = 3;
	uint8_t payload[64] = {7, 9};
	uint8_t partial[200], whole[200];

	for (int round = 0; round < 2000; round++) {
		struct packet_flow flow =
			packet_flow_random(&seed, round % 2 ? 4 : 6, round % 3 ? 6 : 17);
		size_t n = (size_t)(rand_r(&seed) % 64);
		size_t ip_bytes = flow.version == 4 ? 20 : 40;
		payload[0] = (uint8_t)round;
		struct flow_packet p = {.payload = payload, .payload_bytes = n};
		size_t len = packet_flow_build(&flow, &p, whole);
		p.partial = true;
		packet_flow_build(&flow, &p, partial);
		struct virtio_net_header h = {.flags = VIRTIO_NET_NEEDS_CHECKSUM,
			.checksum_start = (uint16_t)ip_bytes,
			.checksum_offset = flow.protocol == 6 ? 16 : 6};
		virtio_net_header_complete(&h, partial, len);
		cr_assert_eq(memcmp(partial, whole, len), 0);
		h.flags = 0;
		partial[ip_bytes + h.checksum_offset] ^= 1;
		virtio_net_header_complete(&h, partial, len);
		cr_assert_neq(memcmp(partial, whole, len), 0, "nothing was asked for");
	}
	cr_assert_str_eq(virtio_net_verdict_str(VIRTIO_NET_BAD_SIZE), "bad_size");
	cr_assert_str_eq(virtio_net_verdict_str(VIRTIO_NET_VERDICTS), "unknown");
}
