/*
 * What a device with offloads gives: a header of ten bytes, then a packet. What is taken must be cut and described again
 * as it came, and what travels as a message must be taken by the other side.
 */
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

/* All of it in messages of at most `bytes`. */
static void send_all(const struct super_packet *p, uint32_t bytes)
{
	static const struct super_limits limits = {65535, 65535};
	uint32_t first = 0;
	int messages = 0;

	while (first < p->segments && messages++ < 300) {
		struct super_packet got;
		uint16_t count = super_packet_fit(p, bytes);
		if (count > p->segments - first)
			count = (uint16_t)(p->segments - first);
		uint32_t n = super_packet_range_bytes(p, (uint16_t)first, count);
		require(count == 1 || n <= bytes);
		uint8_t *out = malloc(SUPER_MESSAGE_OVERHEAD_BYTES + n);
		require(out != NULL);
		size_t at = super_message_write_prefix(p, count, out);
		require(super_packet_write(p, (uint16_t)first, count, false, out + at) == n);
		require(super_message_parse(out, at + n, &limits, &got) == SUPER_OK);
		require(got.segments == count && got.bytes == out + at);
		first += count;
		free(out);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct virtio_net_header h, back;
	struct super_packet p;

	if (len < VIRTIO_NET_HEADER_BYTES || len > 66000)
		return 0;
	size_t packet_bytes = len - VIRTIO_NET_HEADER_BYTES;
	if (virtio_net_header_parse(data, VIRTIO_NET_HEADER_BYTES, packet_bytes, &h) !=
		VIRTIO_NET_OK)
		return 0;
	uint8_t *packet = malloc(packet_bytes ? packet_bytes : 1);
	require(packet != NULL);
	memcpy(packet, data + VIRTIO_NET_HEADER_BYTES, packet_bytes);
	if (super_virtio_read(&h, packet, packet_bytes, &p) == SUPER_OK) {
		require(p.bytes == packet && p.length_bytes == packet_bytes && p.segments > 0);
		if (super_virtio_describe(&p, true, &back)) {
			require((back.gso_type != 0) == (p.segments > 1));
			require(back.gso_type == 0 ||
				((back.gso_type ^ h.gso_type) & ~VIRTIO_NET_GSO_ECN) == 0);
		}
		send_all(&p, 1 + h.segment_bytes % 20000u * 3);
		send_all(&p, 65535);
		if (p.segments == 1)
			super_packet_complete(&p, packet);
	}
	free(packet);
	return 0;
}
