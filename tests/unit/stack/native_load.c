#include "native_load.h"

#include "core/endian.h"

#include <errno.h>
#include <string.h>

enum {
	IP_BYTES = 20,
	TCP_BYTES = 20,
	MARK_AT = IP_BYTES + TCP_BYTES, /* flow u32, number u32, length u32, then pattern */
	UDP_FLOW = 6,
	STEP_US = 1000,
};

static size_t write_packet(uint8_t *packet, size_t len, size_t from, size_t flow, uint32_t number,
	enum native_load_kind kind)
{
	memset(packet, 0, MARK_AT);
	packet[0] = 0x45;
	store_be16(packet + 2, (uint16_t)len);
	packet[8] = 64;
	packet[9] = kind == NATIVE_LOAD_TCP ? 6 : 17;
	packet[12] = packet[16] = 10;
	packet[15] = (uint8_t)from;
	packet[19] = (uint8_t)(1 - from);
	store_be16(packet + IP_BYTES, (uint16_t)(40000 + flow));
	store_be16(packet + IP_BYTES + 2, 5001);
	if (kind == NATIVE_LOAD_TCP) {
		packet[IP_BYTES + 12] = 0x50;
		packet[IP_BYTES + 13] = 0x10;
	} else {
		store_be16(packet + IP_BYTES + 4, (uint16_t)(len - IP_BYTES));
	}
	store_le32(packet + MARK_AT, (uint32_t)flow);
	store_le32(packet + MARK_AT + 4, number);
	store_le32(packet + MARK_AT + 8, (uint32_t)len);
	for (size_t i = MARK_AT + 12; i < len; i++)
		packet[i] = (uint8_t)(number * 7 + flow * 13 + i);
	return len;
}

static void judge(struct native_end *end, size_t peer, const uint8_t *bytes, size_t len)
{
	struct native_load *load = end->pair->user;
	struct native_load_way *way = &load->ways[peer];
	uint8_t want[NATIVE_PAIR_MESSAGE_MAX];

	if (len < NATIVE_LOAD_LEAST)
		native_pair_fail(end->pair, "a packet of %zu bytes", len);
	uint32_t flow = load_le32(bytes + MARK_AT);
	uint32_t number = load_le32(bytes + MARK_AT + 4);
	if (flow >= NATIVE_LOAD_FLOWS || number >= way->flows[flow].given)
		native_pair_fail(end->pair, "packet %u of flow %u was never sent", number, flow);
	struct native_load_flow *f = &way->flows[flow];
	write_packet(want, len, peer, flow, number, f->kind);
	if (memcmp(want, bytes, len) != 0)
		native_pair_fail(end->pair, "packet %u of flow %u is damaged", number, flow);
	if (f->seen[number / 8] & 1 << number % 8)
		native_pair_fail(end->pair, "packet %u of flow %u came twice", number, flow);
	f->seen[number / 8] |= (uint8_t)(1 << number % 8);
	if (f->kind == NATIVE_LOAD_TCP && number < f->next)
		native_pair_fail(end->pair, "packet %u of flow %u came late", number, flow);
	f->next = number + 1;
	f->came++;
	way->came++;
	if (end->pair->now_us - way->last_us > way->gap_us)
		way->gap_us = end->pair->now_us - way->last_us;
	way->last_us = end->pair->now_us;
}

void native_load_init(struct native_load *load, struct native_pair *pair)
{
	memset(load, 0, sizeof(*load));
	load->pair = pair;
	for (int w = 0; w < 2; w++)
		for (size_t f = 0; f < NATIVE_LOAD_FLOWS; f++)
			load->ways[w].flows[f].kind =
				f < UDP_FLOW ? NATIVE_LOAD_TCP : NATIVE_LOAD_UDP;
	pair->on_message = judge;
	pair->user = load;
	native_load_watch(load);
}

void native_load_watch(struct native_load *load)
{
	for (int w = 0; w < 2; w++) {
		load->ways[w].last_us = load->pair->now_us;
		load->ways[w].gap_us = 0;
	}
}

int native_load_give(struct native_load *load, size_t from, size_t flow, size_t len)
{
	struct native_load_way *way = &load->ways[from];
	struct native_load_flow *f = &way->flows[flow];
	uint8_t packet[NATIVE_PAIR_MESSAGE_MAX];

	if (f->given == NATIVE_LOAD_NUMBERS)
		native_pair_fail(load->pair, "the load has run out of numbers");
	write_packet(packet, len, from, flow, f->given, f->kind);
	int error = kcpvpn_peer_send(
		load->pair->ends[from].peers[1 - from], packet, len, load->pair->now_us);
	if (error == 0) {
		f->given++;
		way->given++;
	} else {
		way->refused++;
	}
	return error;
}

void native_load_run(struct native_load *load, int64_t us, uint32_t packets_s_from_0,
	uint32_t packets_s_from_1, size_t len)
{
	const uint64_t rates[2] = {packets_s_from_0, packets_s_from_1};
	uint64_t owed[2] = {0, 0}, offered[2] = {0, 0};

	for (int64_t at = 0; at < us; at += STEP_US) {
		for (size_t from = 0; from < 2; from++) {
			for (owed[from] += rates[from] * STEP_US; owed[from] >= 1000000;
				owed[from] -= 1000000)
				(void)native_load_give(
					load, from, offered[from]++ % NATIVE_LOAD_FLOWS, len);
		}
		native_pair_run(load->pair, STEP_US);
	}
	/* What did not come by the end is a gap, too. */
	for (int w = 0; w < 2; w++)
		if (rates[w] > 0 &&
			load->pair->now_us - load->ways[w].last_us > load->ways[w].gap_us)
			load->ways[w].gap_us = load->pair->now_us - load->ways[w].last_us;
}
