/*
 * A run of packets, each behind its length (2 bytes) and its kind (1 byte; 0x80: flush first). As many single packets
 * must come out as went in, with as many bytes, and those of the first packet's flow in their order.
 */
#include "core/endian.h"
#include "core/super_merge.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(int holds)
{
	if (!holds)
		abort();
}

struct tally {
	uint64_t packets;
	uint64_t bytes;
	uint64_t payload; /* of the flow that is watched: a sum that depends on the order */
	const struct ip_header *flow;
};

static bool same_flow(const struct ip_header *a, const struct ip_header *b)
{
	return a->version == b->version && a->protocol == b->protocol &&
	       a->src_port == b->src_port && a->dst_port == b->dst_port &&
	       memcmp(a->src, b->src, 16) == 0 && memcmp(a->dst, b->dst, 16) == 0;
}

static void count_single(struct tally *tally, const uint8_t *bytes, size_t len)
{
	struct ip_header ip;

	require(ip_header_parse(bytes, len, &ip) == IP_OK);
	tally->packets++;
	tally->bytes += len;
	if (!same_flow(&ip, tally->flow))
		return;
	size_t at = ip.transport_bytes;
	if (ip.has_ports) /* behind the checksum */
		at += ip.protocol == IP_PROTOCOL_TCP ? 20 : 8;
	for (; at < len; at++)
		tally->payload = tally->payload * 1099511628211u + bytes[at] + 1;
	tally->payload++;
}

static void count_packet(void *ctx, const struct super_packet *packet)
{
	for (uint16_t i = 0; i < packet->segments; i++) {
		uint32_t n = super_packet_range_bytes(packet, i, 1);
		uint8_t *out = malloc(n);
		require(out != NULL);
		require(super_packet_write(packet, i, 1, false, out) == n);
		count_single(ctx, out, n);
		free(out);
	}
}

static struct tally *now_out; /* of this run: the merger lives on, as it does in a daemon */

static void count_out(void *ctx, const struct super_packet *packet)
{
	(void)ctx;
	count_packet(now_out, packet);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct super_merge merge;
	struct ip_header watched = {0};
	struct tally in = {.flow = &watched}, out = {.flow = &watched};

	if (len > 20000 || (!merge.rooms && super_merge_init(&merge, count_out, NULL, true) != 0))
		return 0;
	now_out = &out;
	while (len >= 3) {
		size_t n = load_be16(data) & 0xfff;
		uint8_t kind = data[2];
		struct super_packet p;
		data += 3;
		len -= 3;
		if (n > len)
			n = len;
		uint8_t *packet = malloc(n ? n : 1);
		require(packet != NULL);
		memcpy(packet, data, n);
		data += n;
		len -= n;
		if (kind & 0x80)
			super_merge_flush(&merge);
		if (super_packet_parse(packet, n, (enum super_packet_kind)(kind % 3), 100, &p) ==
			SUPER_OK) {
			if (in.packets == 0)
				watched = p.ip;
			count_packet(&in, &p);
			super_merge_push(&merge, &p);
		}
		free(packet);
	}
	super_merge_flush(&merge);
	require(in.packets == out.packets);
	require(in.bytes == out.bytes);
	require(in.payload == out.payload);
	require(merge.counters.puts <= merge.counters.packets);
	return 0;
}
