/*
 * A few flows are open at a time, each with a buffer where its first packet lies as it came and the payload of the
 * others is appended. A packet joins if it is what cutting a super-packet would have given as the next segment: the
 * same header in all but the fields that cutting changes. So the window, the acknowledgement number and all options
 * (with timestamps) are equal, the sequence number follows, TTL, traffic class, flow label and DF are equal, and the
 * IPv4 identification counts up. A shorter packet, FIN or PSH ends a super-packet. CWR never joins and is never joined:
 * it may mean an event (RFC 3168) or a bit of a counter (RFC 9768).
 *
 * A packet that does not join closes its flow before it goes on, and so does anything that belongs to the flow but
 * can't be merged, thus order is kept. Fragments have no ports: they close all flows between their addresses.
 *
 * A merged packet leaves with a partial checksum, which the receiving host believes. So a packet whose sums are not
 * right must not join: it would become right. Sums that travelled partial are as good as those of this machine. The
 * first packet is summed only when a second one wants to join; one that stays alone leaves as it came.
 *
 * Sources: Linux, net/ipv4/tcp_offload.c (tcp_gro_receive), net/ipv4/af_inet.c (inet_gro_receive); RFC 6864.
 */
#include "core/super_merge.h"

#include "core/checksum.h"
#include "core/endian.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	V4_LENGTH_AT = 2,
	V4_ID_AT = 4,
	V4_FRAGMENT_AT = 6,
	V4_CHECKSUM_AT = 10,
	V6_LENGTH_AT = 4,
	TCP_HEADER_BYTES = 20,
	TCP_SEQ_AT = 4,
	TCP_ACK_AT = 8,
	TCP_OFFSET_AT = 12,
	TCP_FLAGS_AT = 13,
	TCP_WINDOW_AT = 14,
	TCP_URGENT_AT = 18,
	TCP_PSH = 0x08,
	TCP_URG = 0x20,
	TCP_CWR = 0x80,
	UDP_LENGTH_AT = 4,
	UDP_CHECKSUM_AT = 6,
	UDP_HEADER_BYTES = 8,
	ENDS = IP_TCP_FIN | TCP_PSH,
};

int super_merge_init(struct super_merge *merge, super_merge_put_fn put, void *ctx, bool udp)
{
	memset(merge, 0, sizeof(*merge));
	merge->rooms = malloc((size_t)SUPER_MERGE_FLOWS * SUPER_PACKET_BYTES_MAX);
	if (!merge->rooms)
		return -ENOMEM;
	merge->put = put;
	merge->ctx = ctx;
	merge->udp = udp;
	for (size_t i = 0; i < SUPER_MERGE_FLOWS; i++)
		merge->flows[i].room = merge->rooms + i * SUPER_PACKET_BYTES_MAX;
	return 0;
}

void super_merge_fini(struct super_merge *merge)
{
	free(merge->rooms);
	memset(merge, 0, sizeof(*merge));
}

static void put(struct super_merge *merge, const struct super_packet *packet)
{
	merge->counters.puts++;
	merge->put(merge->ctx, packet);
}

static const uint8_t *transport(const struct super_packet *packet)
{
	return packet->bytes + packet->ip.transport_bytes;
}

/* Makes the header of the first packet that of the whole. */
static void put_merged(struct super_merge *merge, struct super_merge_flow *flow)
{
	uint32_t len = flow->length_bytes;
	uint32_t at = flow->first.ip.transport_bytes;
	struct super_packet whole = flow->first;
	uint8_t *bytes = flow->room;

	whole.kind = SUPER_PACKET_SEGMENTED;
	whole.length_bytes = len;
	whole.ip.length_bytes = len;
	whole.segments = flow->segments;
	if (whole.ip.version == 4) {
		store_be16(bytes + V4_LENGTH_AT, (uint16_t)len);
		store_be16(bytes + V4_CHECKSUM_AT, 0);
		store_be16(bytes + V4_CHECKSUM_AT, checksum_finish(checksum_add(0, bytes, at)));
	} else {
		store_be16(bytes + V6_LENGTH_AT, (uint16_t)(len - IP_HEADER_V6_BYTES));
	}
	if (whole.ip.protocol == IP_PROTOCOL_TCP)
		whole.ip.tcp_flags = bytes[at + TCP_FLAGS_AT];
	else
		store_be16(bytes + at + UDP_LENGTH_AT, (uint16_t)(len - at));
	store_be16(bytes + whole.checksum_at, super_packet_pseudo_sum(&whole.ip, len - at));
	merge->counters.merged += flow->segments;
	put(merge, &whole);
}

static void put_alone(struct super_merge *merge, const struct super_merge_flow *flow)
{
	struct super_packet alone = flow->first;

	if (flow->first_plain) {
		alone.kind = SUPER_PACKET_PLAIN;
		alone.header_bytes = 0;
		alone.checksum_at = 0;
		alone.segment_bytes = alone.length_bytes;
	}
	put(merge, &alone);
}

static void close_flow(struct super_merge *merge, struct super_merge_flow *flow)
{
	flow->opened = 0;
	if (flow->segments == 1)
		put_alone(merge, flow);
	else
		put_merged(merge, flow);
}

static struct super_merge_flow *oldest_flow(struct super_merge *merge)
{
	struct super_merge_flow *oldest = NULL;

	for (size_t i = 0; i < SUPER_MERGE_FLOWS; i++) {
		struct super_merge_flow *flow = &merge->flows[i];
		if (flow->opened && (!oldest || flow->opened < oldest->opened))
			oldest = flow;
	}
	return oldest;
}

void super_merge_flush(struct super_merge *merge)
{
	struct super_merge_flow *flow;

	while ((flow = oldest_flow(merge)) != NULL)
		close_flow(merge, flow);
}

static bool same_flow(const struct ip_header *a, const struct ip_header *b)
{
	return a->version == b->version && a->protocol == b->protocol &&
	       a->src_port == b->src_port && a->dst_port == b->dst_port &&
	       memcmp(a->src, b->src, sizeof(a->src)) == 0 &&
	       memcmp(a->dst, b->dst, sizeof(a->dst)) == 0;
}

static struct super_merge_flow *find_flow(struct super_merge *merge, const struct ip_header *ip)
{
	for (size_t i = 0; i < SUPER_MERGE_FLOWS; i++) {
		if (merge->flows[i].opened && same_flow(&merge->flows[i].first.ip, ip))
			return &merge->flows[i];
	}
	return NULL;
}

static void close_addresses(struct super_merge *merge, const struct ip_header *ip)
{
	struct ip_header key = *ip;

	for (size_t i = 0; i < SUPER_MERGE_FLOWS; i++) {
		struct super_merge_flow *flow = &merge->flows[i];
		key.src_port = flow->first.ip.src_port;
		key.dst_port = flow->first.ip.dst_port;
		key.protocol = flow->first.ip.protocol;
		if (flow->opened && same_flow(&flow->first.ip, &key))
			close_flow(merge, flow);
	}
}

/*
 * @ret     the packet, plain or not, seen as one with a partial checksum
 * @return  false: it can't be part of a super-packet
 */
static bool measure(const struct super_merge *merge, const struct super_packet *packet,
	struct super_packet *ret)
{
	const struct ip_header *ip = &packet->ip;

	if (packet->kind == SUPER_PACKET_SEGMENTED || ip->fragment || !ip->has_ports ||
		(ip->protocol != IP_PROTOCOL_TCP &&
			(ip->protocol != IP_PROTOCOL_UDP || !merge->udp)) ||
		ip->transport_bytes != (ip->version == 4 ? IP_HEADER_V4_BYTES : IP_HEADER_V6_BYTES))
		return false;
	if (packet->kind == SUPER_PACKET_PARTIAL)
		*ret = *packet;
	else if (super_packet_parse(packet->bytes, packet->length_bytes, SUPER_PACKET_PARTIAL, 0,
			 ret) != SUPER_OK)
		return false;
	if (ret->segment_bytes == 0)
		return false;
	if (ip->protocol == IP_PROTOCOL_TCP)
		return !(ip->tcp_flags & (IP_TCP_SYN | IP_TCP_RST | TCP_URG | TCP_CWR));
	/* Without a checksum from its sender a datagram would get one. */
	return packet->kind == SUPER_PACKET_PARTIAL ||
	       load_be16(transport(packet) + UDP_CHECKSUM_AT) != 0;
}

static bool sums_right(const struct super_packet *packet, bool plain)
{
	const struct ip_header *ip = &packet->ip;
	uint32_t len = packet->length_bytes - ip->transport_bytes;

	if (ip->version == 4 &&
		checksum_finish(checksum_add(0, packet->bytes, ip->transport_bytes)) != 0)
		return false;
	if (!plain)
		return true;
	uint32_t sum = super_packet_pseudo_sum(ip, len);
	return checksum_finish(checksum_add(sum, transport(packet), len)) == 0;
}

/* Does the identification continue what the flow has? The second packet decides whether it counts. */
static bool id_follows(const struct super_merge_flow *flow, const uint8_t *bytes, bool *ret_counts)
{
	uint16_t ahead = (uint16_t)(load_be16(bytes + V4_ID_AT) - load_be16(flow->room + V4_ID_AT));
	bool counts = ahead == flow->segments;
	bool stands = ahead == 0 && flow->first.ip.dont_fragment;

	*ret_counts = counts;
	if (flow->segments == 1)
		return counts || stands;
	return flow->id_counts ? counts : stands;
}

/* All that cutting would have copied is equal. */
static bool headers_agree(const struct super_merge_flow *flow, const struct super_packet *packet)
{
	const uint8_t *a = flow->room;
	const uint8_t *b = packet->bytes;
	uint32_t at = packet->ip.transport_bytes;

	if (packet->header_bytes != flow->first.header_bytes ||
		packet->ip.hop_limit != flow->first.ip.hop_limit)
		return false;
	if (packet->ip.version == 6 && load_be32(a) != load_be32(b)) /* class and flow label */
		return false;
	if (packet->ip.version == 4 &&
		(a[1] != b[1] || load_be16(a + V4_FRAGMENT_AT) != load_be16(b + V4_FRAGMENT_AT)))
		return false;
	if (packet->ip.protocol != IP_PROTOCOL_TCP)
		return true;
	uint32_t taken = flow->length_bytes - flow->first.header_bytes;
	return load_be32(b + at + TCP_SEQ_AT) == load_be32(a + at + TCP_SEQ_AT) + taken &&
	       load_be32(a + at + TCP_ACK_AT) == load_be32(b + at + TCP_ACK_AT) &&
	       a[at + TCP_OFFSET_AT] == b[at + TCP_OFFSET_AT] &&
	       (a[at + TCP_FLAGS_AT] | ENDS) == (b[at + TCP_FLAGS_AT] | ENDS) &&
	       load_be16(a + at + TCP_WINDOW_AT) == load_be16(b + at + TCP_WINDOW_AT) &&
	       load_be16(a + at + TCP_URGENT_AT) == load_be16(b + at + TCP_URGENT_AT) &&
	       memcmp(a + at + TCP_HEADER_BYTES, b + at + TCP_HEADER_BYTES,
		       packet->header_bytes - at - TCP_HEADER_BYTES) == 0;
}

/* @return true if the packet joined */
static bool append(struct super_merge_flow *flow, const struct super_packet *packet, bool plain)
{
	uint32_t payload_bytes = packet->length_bytes - packet->header_bytes;
	bool id_counts = true;

	if (payload_bytes > flow->first.segment_bytes ||
		flow->segments == SUPER_PACKET_SEGMENTS_MAX ||
		flow->length_bytes + payload_bytes > SUPER_PACKET_BYTES_MAX ||
		!headers_agree(flow, packet) ||
		(packet->ip.version == 4 && !id_follows(flow, packet->bytes, &id_counts)))
		return false;
	if (!flow->first_checked && !sums_right(&flow->first, flow->first_plain))
		return false;
	flow->first_checked = true;
	if (!sums_right(packet, plain))
		return false;
	memcpy(flow->room + flow->length_bytes, packet->bytes + packet->header_bytes,
		payload_bytes);
	if (packet->ip.protocol == IP_PROTOCOL_TCP)
		flow->room[packet->ip.transport_bytes + TCP_FLAGS_AT] |=
			packet->ip.tcp_flags & ENDS;
	flow->length_bytes += payload_bytes;
	flow->id_counts = id_counts;
	flow->segments++;
	return true;
}

/* After this packet no other may follow in the same super-packet. */
static bool ends(const struct super_packet *packet, uint32_t segment_bytes)
{
	return packet->length_bytes - packet->header_bytes < segment_bytes ||
	       (packet->ip.protocol == IP_PROTOCOL_TCP && packet->ip.tcp_flags & ENDS);
}

static void open_flow(struct super_merge *merge, const struct super_packet *packet, bool plain)
{
	struct super_merge_flow *flow = NULL;

	for (size_t i = 0; i < SUPER_MERGE_FLOWS && !flow; i++) {
		if (!merge->flows[i].opened)
			flow = &merge->flows[i];
	}
	if (!flow) {
		flow = oldest_flow(merge);
		close_flow(merge, flow);
	}
	memcpy(flow->room, packet->bytes, packet->length_bytes);
	flow->first = *packet;
	flow->first.bytes = flow->room;
	flow->opened = ++merge->opened;
	flow->length_bytes = packet->length_bytes;
	flow->segments = 1;
	flow->first_plain = plain;
	flow->first_checked = false;
	flow->id_counts = true;
}

void super_merge_push(struct super_merge *merge, const struct super_packet *packet)
{
	struct super_packet measured;
	struct super_merge_flow *flow;
	bool plain = packet->kind == SUPER_PACKET_PLAIN;

	merge->counters.packets++;
	if (packet->ip.fragment)
		close_addresses(merge, &packet->ip);
	flow = find_flow(merge, &packet->ip);
	if (!measure(merge, packet, &measured)) {
		if (flow)
			close_flow(merge, flow);
		put(merge, packet);
		return;
	}
	if (flow && append(flow, &measured, plain)) {
		if (ends(&measured, flow->first.segment_bytes))
			close_flow(merge, flow);
		return;
	}
	if (flow)
		close_flow(merge, flow);
	if (ends(&measured, measured.segment_bytes))
		put(merge, packet);
	else
		open_flow(merge, &measured, plain);
}
