#include "packet_flow.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* The slow way: words added one by one, modulo 65535. */
static uint32_t add_words(uint32_t sum, const uint8_t *at, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		sum += (uint32_t)(i % 2 ? at[i] : at[i] << 8);
		if (sum > 0xffff)
			sum -= 0xffff;
	}
	return sum;
}

static void put16(uint8_t *at, uint32_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

static void put32(uint8_t *at, uint32_t v)
{
	put16(at, v >> 16);
	put16(at + 2, v & 0xffff);
}

struct packet_flow packet_flow_random(unsigned *seed, uint8_t version, uint8_t protocol)
{
	struct packet_flow f = {.version = version, .protocol = protocol};

	f.traffic_class = (uint8_t)rand_r(seed);
	f.hop_limit = (uint8_t)(1 + rand_r(seed) % 255);
	f.dont_fragment = rand_r(seed) % 2;
	f.src_port = (uint16_t)(1 + rand_r(seed) % 65535);
	f.id = (uint16_t)(rand_r(seed) % 2 ? rand_r(seed) : 0xfff0);
	f.seq = rand_r(seed) % 2 ? (uint32_t)rand_r(seed) * 2 : 0xffffff00;
	f.ack = (uint32_t)rand_r(seed);
	f.window = (uint16_t)rand_r(seed);
	if (protocol == 6)
		f.option_bytes = (size_t)(rand_r(seed) % 11) * 4;
	for (size_t i = 0; i < f.option_bytes; i++)
		f.options[i] = (uint8_t)rand_r(seed);
	return f;
}

size_t packet_flow_header_bytes(const struct packet_flow *flow)
{
	return (flow->version == 4 ? 20 : 40) + flow->ip_option_bytes +
	       (flow->protocol == 6 ? 20 + flow->option_bytes : 8);
}

static size_t build_ip(
	const struct packet_flow *f, const struct flow_packet *p, size_t len, uint8_t *at)
{
	if (f->version == 6) {
		put32(at, 6u << 28 | (uint32_t)f->traffic_class << 20 | 0x5a5a5);
		put16(at + 4, (uint32_t)(len - 40));
		at[6] = f->ip_option_bytes ? f->extension : f->protocol;
		at[7] = f->hop_limit;
		memcpy(at + 8, "\xfd\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
		memcpy(at + 24, "\xfd\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\x02", 16);
		memcpy(at + 40, f->ip_options, f->ip_option_bytes);
		return 40 + f->ip_option_bytes;
	}
	size_t bytes = 20 + f->ip_option_bytes;
	memset(at, 0, 20);
	at[0] = (uint8_t)(0x40 | bytes / 4);
	at[1] = f->traffic_class;
	put16(at + 2, (uint32_t)len);
	put16(at + 4, (uint32_t)f->id + p->number);
	put16(at + 6, f->dont_fragment ? 0x4000 : 0);
	at[8] = f->hop_limit;
	at[9] = f->protocol;
	memcpy(at + 12, "\x0a\x01\x02\x03\x0a\xff\xfe\xfd", 8);
	memcpy(at + 20, f->ip_options, f->ip_option_bytes);
	put16(at + 10, 0xffff - add_words(0, at, bytes));
	return bytes;
}

static uint32_t pseudo(const uint8_t *packet, uint8_t protocol, size_t transport_bytes)
{
	uint32_t sum =
		packet[0] >> 4 == 4 ? add_words(0, packet + 12, 8) : add_words(0, packet + 8, 32);
	uint8_t rest[4] = {0, protocol};

	put16(rest + 2, (uint32_t)transport_bytes);
	return add_words(sum, rest, 4);
}

size_t packet_flow_build(
	const struct packet_flow *flow, const struct flow_packet *packet, uint8_t *at)
{
	size_t header_bytes = packet_flow_header_bytes(flow);
	size_t len = header_bytes + packet->payload_bytes;
	size_t ip_bytes = build_ip(flow, packet, len, at);
	size_t checksum_at = ip_bytes + (flow->protocol == 6 ? 16 : 6);
	uint8_t *l4 = at + ip_bytes;

	memset(l4, 0, header_bytes - ip_bytes);
	put16(l4, flow->src_port);
	put16(l4 + 2, 443);
	if (flow->protocol == 6) {
		put32(l4 + 4, flow->seq + packet->offset);
		put32(l4 + 8, flow->ack);
		l4[12] = (uint8_t)((20 + flow->option_bytes) / 4 << 4);
		l4[13] = FLOW_ACK | packet->tcp_flags;
		put16(l4 + 14, flow->window);
		memcpy(l4 + 20, flow->options, flow->option_bytes);
	} else {
		put16(l4 + 4, (uint32_t)(len - ip_bytes));
	}
	memcpy(at + header_bytes, packet->payload, packet->payload_bytes);
	uint32_t sum = pseudo(at, flow->protocol, len - ip_bytes);
	if (!packet->partial) {
		sum = 0xffff - add_words(sum, l4, len - ip_bytes);
		if (sum == 0 && flow->protocol == 17)
			sum = 0xffff;
	}
	put16(at + checksum_at, sum);
	return len;
}

bool packet_sums_right(const uint8_t *packet, size_t len)
{
	size_t ip_bytes = packet[0] >> 4 == 4 ? (size_t)(packet[0] & 15) * 4 : 40;
	uint8_t protocol = packet[0] >> 4 == 4 ? packet[9] : packet[6];

	if (packet[0] >> 4 == 4 && add_words(0, packet, ip_bytes) != 0xffff)
		return false;
	uint32_t sum = pseudo(packet, protocol, len - ip_bytes);
	return add_words(sum, packet + ip_bytes, len - ip_bytes) == 0xffff;
}

uint8_t *exact_copy(const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	cr_assert(copy);
	memcpy(copy, bytes, len);
	return copy;
}
