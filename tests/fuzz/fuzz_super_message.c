/*
 * A message from a peer that may be a super-packet. The first four bytes are the limits. What is taken must keep to
 * them, be cut into packets that a parser takes, and these put together again must be what it was.
 */
#include "core/endian.h"
#include "core/super_message.h"
#include "core/super_virtio.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(int holds)
{
	if (!holds)
		abort();
}

static void check_segments(const struct super_packet *p, const struct super_limits *limits)
{
	uint32_t payload_bytes = 0;

	for (uint16_t i = 0; i < p->segments; i++) {
		struct ip_header ip;
		uint32_t n = super_packet_range_bytes(p, i, 1);
		uint8_t *out = malloc(n);
		require(out != NULL);
		require(n <= limits->packet_bytes_max);
		require(super_packet_write(p, i, 1, true, out) == n);
		require(ip_header_parse(out, n, &ip) == IP_OK);
		require(ip.protocol == p->ip.protocol && ip.src_port == p->ip.src_port);
		require(memcmp(ip.src, p->ip.src, 16) == 0 && memcmp(ip.dst, p->ip.dst, 16) == 0);
		payload_bytes += n - p->header_bytes;
		free(out);
	}
	require(payload_bytes + p->header_bytes == p->length_bytes);
}

static void check_ranges(const struct super_packet *p)
{
	for (uint16_t first = 0; first < p->segments; first = (uint16_t)(first + 5)) {
		for (uint16_t count = 1; count <= p->segments - first;
			count = (uint16_t)(count + 7)) {
			struct super_packet inner;
			uint32_t n = super_packet_range_bytes(p, first, count);
			uint8_t *out = malloc(n);
			require(out != NULL);
			require(super_packet_write(p, first, count, false, out) == n);
			require(super_packet_parse(out, n, p->kind, (uint16_t)p->segment_bytes,
					&inner) == SUPER_OK);
			require(inner.segments == count);
			free(out);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct super_packet p;
	struct virtio_net_header h, parsed;
	uint8_t prefix[SUPER_MESSAGE_OVERHEAD_BYTES];
	uint8_t bytes[VIRTIO_NET_HEADER_BYTES];

	if (len < 4 || len > 70000)
		return 0;
	struct super_limits limits = {load_be16(data), load_be16(data + 2)};
	uint8_t *message = malloc(len - 3);
	require(message != NULL);
	memcpy(message, data + 4, len - 4);
	if (super_message_parse(message, len - 4, &limits, &p) == SUPER_OK) {
		require(p.segments <= SUPER_PACKET_SEGMENTS_MAX);
		require(p.kind != SUPER_PACKET_SEGMENTED ||
			p.length_bytes <= limits.super_bytes_max);
		require(p.kind == SUPER_PACKET_PLAIN || limits.super_bytes_max > 0);
		require(p.segments > 1 || p.length_bytes <= limits.packet_bytes_max);
		check_segments(&p, &limits);
		check_ranges(&p);
		size_t prefix_bytes = super_message_write_prefix(&p, p.segments, prefix);
		require(p.bytes == message + prefix_bytes);
		if (p.segments > 1)
			require(memcmp(prefix, message, prefix_bytes) == 0);
		if (super_virtio_describe(&p, true, &h)) {
			virtio_net_header_write(&h, bytes, sizeof(bytes));
			require(virtio_net_header_parse(bytes, sizeof(bytes), p.length_bytes,
					&parsed) == VIRTIO_NET_OK);
			require(memcmp(&h, &parsed, sizeof(h)) == 0);
		}
	}
	free(message);
	return 0;
}
