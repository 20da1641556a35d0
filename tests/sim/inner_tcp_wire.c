/*
 * The bytes of the TCP model. Payload is zeros, but each segment begins with the offset of its first byte, so that the
 * receiver sees if a tunnel gave it something else. The checksum of TCP is left partial, as a host
 * with offloads does; who takes such a segment does not look at it, because nothing here damages packets.
 *
 * Standards: RFC 791, RFC 9293, RFC 7323 (scale, timestamps), RFC 2018 and 2883 (SACK), RFC 3168 (ECN).
 */
#include "inner_tcp_state.h"

#include "core/checksum.h"
#include "core/endian.h"
#include "core/ip_header.h"

#include <string.h>

enum {
	IP_BYTES = 20,
	TCP_BYTES = 20,
	SCALE = 8,
	OPTION_MSS = 2,
	OPTION_SCALE = 3,
	OPTION_SACK_OK = 4,
	OPTION_SACK = 5,
	OPTION_TIMES = 8,
};

static uint32_t iss(const struct inner_tcp *tcp)
{
	return 0xffff0000u + tcp->options.src_port; /* so that numbers wrap soon */
}

static uint8_t *put_times(const struct inner_tcp *tcp, uint8_t *at, struct mono now)
{
	*at++ = 1;
	*at++ = 1;
	*at++ = OPTION_TIMES;
	*at++ = 10;
	store_be32(at, (uint32_t)(now.us / 1000));
	store_be32(at + 4, tcp->peer_ms);
	return at + 8;
}

static uint8_t *put_syn_options(const struct inner_tcp *tcp, uint8_t *at, struct mono now)
{
	*at++ = OPTION_MSS;
	*at++ = 4;
	store_be16(at, (uint16_t)(tcp->options.mtu_bytes - IP_BYTES - TCP_BYTES));
	at += 2;
	*at++ = OPTION_SACK_OK;
	*at++ = 2;
	*at++ = 1;
	*at++ = OPTION_SCALE;
	*at++ = 3;
	*at++ = SCALE;
	*at++ = 1;
	*at++ = 1;
	return put_times(tcp, at, now);
}

static uint8_t *put_block(const struct inner_tcp *tcp, uint8_t *at, uint64_t first, uint64_t end)
{
	store_be32(at, tcp->peer_iss + 1 + (uint32_t)first);
	store_be32(at + 4, tcp->peer_iss + 1 + (uint32_t)end);
	return at + 8;
}

/* The ranges that changed last, the newest first; a duplicate that came before all. */
static uint8_t *put_sack(struct inner_tcp *tcp, uint8_t *at)
{
	uint64_t below = UINT64_MAX;
	uint8_t *const head = at;
	unsigned count = 0;

	if (tcp->range_count == 0 && tcp->again_first == tcp->again_end)
		return at;
	at += 4;
	if (tcp->again_first != tcp->again_end) {
		at = put_block(tcp, at, tcp->again_first, tcp->again_end);
		tcp->again_first = tcp->again_end;
		count++;
	}
	for (; count < INNER_TCP_SACKS; count++) {
		const struct inner_tcp_range *newest = NULL;
		for (uint32_t i = 0; i < tcp->range_count; i++) {
			const struct inner_tcp_range *range = &tcp->ranges[i];
			if (range->stamp < below && (!newest || range->stamp > newest->stamp))
				newest = range;
		}
		if (!newest)
			break;
		at = put_block(tcp, at, newest->first, newest->end);
		below = newest->stamp;
	}
	memcpy(head, (uint8_t[]){1, 1, OPTION_SACK, (uint8_t)(2 + 8 * count)}, 4);
	return at;
}

void inner_tcp_emit(struct inner_tcp *tcp, unsigned flags, uint64_t first, uint32_t len, bool again,
	struct mono now)
{
	static uint8_t packet[INNER_TCP_PACKET_MAX];
	const struct inner_tcp_options *options = &tcp->options;
	uint8_t *t = packet + IP_BYTES, *at = t + TCP_BYTES;
	bool syn = (flags & INNER_TCP_SYN) != 0;
	uint64_t window = options->window_bytes >> (syn ? 0 : SCALE);

	at = syn ? put_syn_options(tcp, at, now) : put_times(tcp, at, now);
	if (!syn && len == 0)
		at = put_sack(tcp, at);
	memset(packet, 0, IP_BYTES);
	store_be16(t, options->src_port);
	store_be16(t + 2, options->dst_port);
	store_be32(t + 4, syn ? iss(tcp) : iss(tcp) + 1 + (uint32_t)first);
	store_be32(t + 8,
		flags & INNER_TCP_ACK ? tcp->peer_iss + 1 + (uint32_t)tcp->delivered_bytes : 0);
	t[12] = (uint8_t)((at - t) / 4 << 4);
	t[13] = (uint8_t)flags;
	store_be16(t + 14, (uint16_t)(window < UINT16_MAX ? window : UINT16_MAX));
	memset(t + 16, 0, 4);
	if (len >= 8)
		store_le64(at, first);
	else
		memset(at, 0, len);
	size_t whole = (size_t)(at - packet) + len;
	packet[0] = 0x45;
	if (tcp->ecn && len > 0 && !again)
		packet[1] = 2; /* ECT(0) */
	store_be16(packet + 2, (uint16_t)whole);
	packet[6] = 0x40; /* not to be cut */
	packet[8] = 64;
	packet[9] = 6;
	memcpy(packet + 12, options->src, 4);
	memcpy(packet + 16, options->dst, 4);
	store_be16(packet + 10, checksum_finish(checksum_add(0, packet, IP_BYTES)));
	store_be16(t + 16, (uint16_t)~checksum_finish(checksum_add_pseudo(0, packet + 12,
				   packet + 16, 4, IP_PROTOCOL_TCP, (uint32_t)(whole - IP_BYTES))));
	options->emit(options->ctx, packet, whole, now);
	if (len >= 8)
		memset(at, 0, 8);
	if (flags & INNER_TCP_ACK) {
		tcp->told_ack = tcp->delivered_bytes;
		tcp->unacked = 0;
		tcp->ack_at = MONO_NEVER;
	}
}

static void read_option(struct inner_tcp_packet *ret, const uint8_t *option, size_t len)
{
	if (option[0] == OPTION_MSS && len == 4) {
		ret->mss = load_be16(option + 2);
	} else if (option[0] == OPTION_TIMES && len == 10) {
		ret->has_times = true;
		ret->ms = load_be32(option + 2);
		ret->echoed_ms = load_be32(option + 6);
	} else if (option[0] == OPTION_SACK) {
		for (size_t i = 2; i + 8 <= len && ret->sack_count < 4; i += 8) {
			ret->sack_first[ret->sack_count] = load_be32(option + i);
			ret->sack_end[ret->sack_count++] = load_be32(option + i + 4);
		}
	}
}

bool inner_tcp_read(const uint8_t *packet, size_t len, struct inner_tcp_packet *ret)
{
	const uint8_t *t = packet + IP_BYTES;
	size_t head = len >= IP_BYTES + TCP_BYTES ? (size_t)(t[12] >> 4) * 4 : 0;

	if (head < TCP_BYTES || IP_BYTES + head > len)
		return false;
	*ret = (struct inner_tcp_packet){
		.flags = t[13],
		.ce = (packet[1] & 3) == 3,
		.ect = (packet[1] & 3) != 0,
		.seq = load_be32(t + 4),
		.ack = load_be32(t + 8),
		.window_bytes = (uint64_t)load_be16(t + 14) << (t[13] & INNER_TCP_SYN ? 0 : SCALE),
		.data = t + head,
		.len = (uint32_t)(len - IP_BYTES - head),
	};
	for (size_t i = TCP_BYTES; i < head && t[i] != 0;) {
		size_t bytes = t[i] == 1 ? 1 : i + 1 < head ? t[i + 1] : 0;
		if (bytes == 0 || i + bytes > head)
			return false;
		if (t[i] != 1)
			read_option(ret, t + i, bytes);
		i += bytes;
	}
	return true;
}
