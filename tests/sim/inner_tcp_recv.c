/*
 * The receiving half of the TCP model: what came in order is delivered at once, what came early is kept as a range. Every
 * other segment is acknowledged, the first sixteen each, and at once whatever tells the sender something: a hole, a hole filled,
 * a duplicate, a mark.
 */
#include "inner_tcp_state.h"

#include "core/endian.h"

#include <string.h>

enum {
	DELAY_US = 40000,
	EVERY = 2,
};

/* Adds a range to those kept, which stay disjoint and sorted. @return false if all of it was there */
static bool keep(struct inner_tcp *tcp, uint64_t first, uint64_t end)
{
	struct inner_tcp_range *ranges = tcp->ranges;
	uint32_t i = 0, j;

	while (i < tcp->range_count && ranges[i].end < first)
		i++;
	if (i < tcp->range_count && ranges[i].first <= first && ranges[i].end >= end) {
		ranges[i].stamp = ++tcp->stamp;
		return false;
	}
	for (j = i; j < tcp->range_count && ranges[j].first <= end; j++) {
		first = ranges[j].first < first ? ranges[j].first : first;
		end = ranges[j].end > end ? ranges[j].end : end;
	}
	if (j == i && tcp->range_count == INNER_TCP_HOLES)
		return true; /* as if it had been lost */
	memmove(&ranges[i + 1], &ranges[j], (tcp->range_count - j) * sizeof(*ranges));
	tcp->range_count -= j - i;
	tcp->range_count++;
	ranges[i] = (struct inner_tcp_range){first, end, ++tcp->stamp};
	return true;
}

/* @return whether that joined what was kept */
static bool deliver(struct inner_tcp *tcp, uint64_t end)
{
	uint32_t joined = 0;

	tcp->delivered_bytes = end;
	while (joined < tcp->range_count && tcp->ranges[joined].first <= tcp->delivered_bytes) {
		if (tcp->ranges[joined].end > tcp->delivered_bytes)
			tcp->delivered_bytes = tcp->ranges[joined].end;
		joined++;
	}
	memmove(tcp->ranges, tcp->ranges + joined,
		(tcp->range_count - joined) * sizeof(*tcp->ranges));
	tcp->range_count -= joined;
	return joined > 0;
}

static void note_marks(struct inner_tcp *tcp, const struct inner_tcp_packet *packet)
{
	if (!tcp->ecn)
		return;
	if (packet->flags & INNER_TCP_CWR)
		tcp->say_ece = false;
	if (packet->ce)
		tcp->say_ece = true;
}

void inner_tcp_take_data(
	struct inner_tcp *tcp, const struct inner_tcp_packet *packet, struct mono now)
{
	uint32_t expected = tcp->peer_iss + 1 + (uint32_t)tcp->delivered_bytes;
	int64_t ahead = (int32_t)(packet->seq - expected);
	bool at_once = packet->ce;

	if (packet->len == 0 || (int64_t)tcp->delivered_bytes + ahead < 0)
		return;
	uint64_t first = (uint64_t)((int64_t)tcp->delivered_bytes + ahead);
	uint64_t end = first + packet->len;
	if (tcp->stats.came++ == 0 || (int32_t)(packet->ms - tcp->newest_ms) > 0)
		tcp->newest_ms = packet->ms;
	tcp->stats.came_late += packet->ms != tcp->newest_ms;
	if (packet->len >= 8 && load_le64(packet->data) != first)
		tcp->stats.damaged++;
	note_marks(tcp, packet);
	if (packet->has_times && first <= tcp->told_ack)
		tcp->peer_ms = packet->ms;
	if (end <= tcp->delivered_bytes || first > tcp->delivered_bytes) {
		bool fresh = end > tcp->delivered_bytes && keep(tcp, first, end);
		if (fresh) {
			tcp->stats.came_early++;
		} else {
			tcp->stats.came_again++;
			tcp->again_first = first;
			tcp->again_end = end;
		}
		at_once = true;
	} else {
		at_once |= deliver(tcp, end);
		at_once |= ++tcp->unacked >= EVERY || tcp->range_count > 0;
		if (tcp->quick > 0) {
			tcp->quick--;
			at_once = true;
		}
		if (tcp->on_data)
			tcp->on_data(tcp, now);
	}
	if (at_once)
		inner_tcp_emit(tcp, INNER_TCP_ACK | (tcp->say_ece ? INNER_TCP_ECE : 0), tcp->nxt, 0,
			false, now);
	else if (mono_is_never(tcp->ack_at))
		tcp->ack_at = mono_add_us(now, DELAY_US);
}
