/*
 * Class and flow come from the packet alone but for one question: is this UDP flow slow? Each flow has two leaky buckets,
 * for bytes and for packets, that run dry at the rates of the limit and hold one second's worth. One that overflows marks
 * the flow as fast for the next ten seconds, so a flow whose rate sways around the limit keeps its order and doesn't change
 * sides with every packet.
 *
 * A flow owns no entry that could be thrown out: it is hashed with a secret key to one slot in each of two rows and judged
 * by the smaller of both (a count-min sketch, updated conservatively). So a flow is never taken for slow because somebody
 * sprays packets over many ports; such a spray fills slots and at worst makes slow flows BULK, which is the class of those
 * who are not known.
 *
 * Fragments have ports in the first of a packet only, so all fragments between two addresses of one protocol are one flow:
 * they stay together and in order. They share no flow with whole packets of the same ports.
 *
 * What must not be reordered never becomes RT: TCP and SCTP read order as loss. Everything else may be marked as urgent.
 */
#include "session/traffic_class.h"

#include "core/endian.h"
#include "core/ip_header.h"
#include "core/rand.h"

#include <stdbool.h>
#include <string.h>

enum {
	PORT_DNS = 53,
	PORT_QUIC = 443,
	PROTOCOL_SCTP = 132,
	DSCP_CS4 = 32,
	DSCP_AF41 = 34,
	DSCP_AF42 = 36,
	DSCP_AF43 = 38,
	DSCP_CS5 = 40,
	DSCP_EF = 46,
	DSCP_CS6 = 48,
	DSCP_CS7 = 56,
	V6_NEXT_AT = 6,
	V6_FRAGMENT = 44,
	V6_AUTHENTICATION = 51,
	TCP_OFFSET_AT = 12,
	TCP_HEADER_BYTES = 20,
	BYTE_US = 1000000 / TRAFFIC_CLASS_BYTES_S,
	PACKET_US = 1000000 / TRAFFIC_CLASS_PACKETS_S,
	LANES_SHIFT = 40, /* bits of the hash that the rows do not use */
};

_Static_assert(TRAFFIC_CLASS_ROWS == 2, "both rows are named");
_Static_assert((TRAFFIC_CLASS_SLOTS & (TRAFFIC_CLASS_SLOTS - 1)) == 0, "a mask is used");
_Static_assert(TRAFFIC_CLASS_SLOTS <= 1 << 20, "two indices below LANES_SHIFT");

void traffic_class_init(struct traffic_classifier *classifier, const struct rand_source *rnd)
{
	uint8_t bytes[SIPHASH_KEY_BYTES];

	memset(classifier, 0, sizeof(*classifier));
	rand_fill(rnd, bytes, sizeof(bytes));
	classifier->key = siphash_key_of(bytes);
}

/*
 * The protocol that all fragments of a packet agree on. Of IPv6 that is what the fragment header names, not what is found
 * behind headers that only the first fragment has. The chain was walked before, so it lies inside the packet.
 */
static uint8_t shared_protocol(const uint8_t *packet, const struct ip_header *header)
{
	if (header->version == 4 || !header->fragment)
		return header->protocol;
	uint8_t kind = packet[V6_NEXT_AT];
	size_t at = IP_HEADER_V6_BYTES;
	while (kind != V6_FRAGMENT && at + 8 <= header->transport_bytes) {
		size_t units = packet[at + 1];
		size_t bytes = kind == V6_AUTHENTICATION ? 4 * (units + 2) : 8 * (units + 1);
		kind = packet[at];
		at += bytes;
	}
	return at + 8 <= header->transport_bytes ? packet[at] : header->protocol;
}

static uint64_t hash_flow(const struct traffic_classifier *classifier,
	const struct ip_header *header, uint8_t protocol)
{
	uint8_t text[16 + 16 + 4 + 4] = {0};

	memcpy(text, header->src, 16);
	memcpy(text + 16, header->dst, 16);
	if (!header->fragment) {
		store_be16(text + 32, header->src_port);
		store_be16(text + 34, header->dst_port);
	}
	text[36] = protocol;
	text[37] = header->version;
	text[38] = header->fragment;
	return siphash(classifier->key, text, sizeof(text));
}

static bool is_urgent(uint8_t dscp)
{
	switch (dscp) {
	case DSCP_CS4:
	case DSCP_AF41:
	case DSCP_AF42:
	case DSCP_AF43:
	case DSCP_CS5:
	case DSCP_EF:
	case DSCP_CS6:
	case DSCP_CS7:
		return true;
	default:
		return false;
	}
}

static bool has_port(const struct ip_header *header, uint16_t port)
{
	return !header->fragment && header->has_ports &&
	       (header->src_port == port || header->dst_port == port);
}

static enum traffic_class class_of_tcp(
	const uint8_t *packet, const struct ip_header *header, uint32_t segments)
{
	/* Of many segments the last may end the connection; that makes the others no more urgent. */
	if (header->fragment || !header->has_ports || segments > 1)
		return TRAFFIC_CLASS_BULK;
	if (header->tcp_flags & (IP_TCP_SYN | IP_TCP_FIN | IP_TCP_RST))
		return TRAFFIC_CLASS_CTL;
	size_t header_bytes = (size_t)(packet[header->transport_bytes + TCP_OFFSET_AT] >> 4) * 4;
	if (header->tcp_flags & IP_TCP_ACK && header_bytes >= TCP_HEADER_BYTES &&
		header->transport_bytes + header_bytes == header->length_bytes)
		return TRAFFIC_CLASS_ACK;
	return TRAFFIC_CLASS_BULK;
}

/* Adds `cost_us` to the smaller of both. @return true if that overflowed, and then both are full, not more */
static bool leak(struct mono *a, struct mono *b, int64_t cost_us, struct mono now)
{
	struct mono full = mono_add_us(now, TRAFFIC_CLASS_MEAN_US);
	struct mono level = mono_add_us(mono_max(mono_min(*a, *b), now), cost_us);
	bool over = mono_before(full, level);

	level = mono_min(level, full);
	*a = mono_max(*a, level);
	*b = mono_max(*b, level);
	return over;
}

/* Counts the packet to its flow. */
static bool is_fast(struct traffic_classifier *classifier, uint64_t hash, uint32_t bytes,
	uint32_t packets, struct mono now)
{
	struct traffic_slot *a = &classifier->slots[0][hash & (TRAFFIC_CLASS_SLOTS - 1)];
	struct traffic_slot *b = &classifier->slots[1][hash >> 20 & (TRAFFIC_CLASS_SLOTS - 1)];
	bool over_bytes = leak(&a->bytes_dry_at, &b->bytes_dry_at, (int64_t)bytes * BYTE_US, now);
	bool over_packets =
		leak(&a->packets_dry_at, &b->packets_dry_at, (int64_t)packets * PACKET_US, now);

	if (over_bytes || over_packets) {
		struct mono until = mono_add_us(now, TRAFFIC_CLASS_HOLD_US);
		a->fast_until = mono_max(a->fast_until, until);
		b->fast_until = mono_max(b->fast_until, until);
	}
	return mono_before(now, mono_min(a->fast_until, b->fast_until));
}

static enum traffic_class class_of(struct traffic_classifier *classifier, const uint8_t *packet,
	const struct ip_header *header, uint8_t protocol, uint64_t hash, uint32_t segments,
	struct mono now)
{
	if (protocol == IP_PROTOCOL_TCP)
		return class_of_tcp(packet, header, segments);
	if (protocol == PROTOCOL_SCTP)
		return TRAFFIC_CLASS_BULK;
	if (is_urgent(header->dscp) || protocol == IP_PROTOCOL_ICMP ||
		protocol == IP_PROTOCOL_ICMPV6)
		return TRAFFIC_CLASS_RT;
	if (protocol != IP_PROTOCOL_UDP)
		return TRAFFIC_CLASS_BULK;
	if (has_port(header, PORT_DNS))
		return TRAFFIC_CLASS_RT;
	if (has_port(header, PORT_QUIC) || (!header->has_ports && !header->fragment))
		return TRAFFIC_CLASS_BULK;
	return is_fast(classifier, hash, header->length_bytes, segments, now) ? TRAFFIC_CLASS_BULK
									      : TRAFFIC_CLASS_RT;
}

struct traffic_flow traffic_class_of(struct traffic_classifier *classifier, const uint8_t *packet,
	const struct ip_header *header, uint32_t segments, struct mono now)
{
	if (!header)
		return (struct traffic_flow){.class = TRAFFIC_CLASS_BULK, .number = 0};
	uint8_t protocol = shared_protocol(packet, header);
	uint64_t hash = hash_flow(classifier, header, protocol);
	return (struct traffic_flow){
		.class = class_of(classifier, packet, header, protocol, hash, segments, now),
		.number = (uint16_t)(1 + (hash >> LANES_SHIFT) % TRAFFIC_CLASS_FLOWS),
	};
}

const char *traffic_class_str(enum traffic_class class)
{
	switch (class) {
	case TRAFFIC_CLASS_RT:
		return "rt";
	case TRAFFIC_CLASS_ACK:
		return "ack";
	case TRAFFIC_CLASS_CTL:
		return "ctl";
	case TRAFFIC_CLASS_BULK:
		return "bulk";
	case TRAFFIC_CLASSES:
		break;
	}
	return "unknown";
}
