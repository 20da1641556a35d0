/*
 * Acknowledgements: which segments left the network, what that says of the round trip, of order and of loss. What follows
 * from it is decided in inner_tcp_loss.c.
 */
#include "inner_tcp_state.h"

static uint64_t segment_end(const struct inner_tcp_segment *segment)
{
	return segment->first + segment->len;
}

/* A segment leaves the marks that it has. */
static void unmark(struct inner_tcp *tcp, struct inner_tcp_segment *segment)
{
	if (segment->lost) {
		tcp->lost--;
		if (!segment->resent)
			tcp->waiting--;
	}
	if (segment->resent)
		tcp->resent--;
	segment->lost = segment->resent = false;
}

/* It was not sacked before, and came. */
static void delivered(
	struct inner_tcp *tcp, struct inner_tcp_segment *segment, struct inner_tcp_news *news)
{
	news->delivered++;
	if (!segment->ever_resent && segment_end(segment) <= tcp->fack)
		tcp->reordered = true;
	inner_tcp_rack_delivered(tcp, segment, news);
	unmark(tcp, segment);
}

/* The first outstanding segment that begins at or behind `first`. */
static uint32_t find(const struct inner_tcp *tcp, uint64_t first)
{
	uint32_t low = 0, high = inner_tcp_out(tcp);

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (inner_tcp_segment_at(tcp, tcp->seg_first + middle)->first < first)
			low = middle + 1;
		else
			high = middle;
	}
	return tcp->seg_first + low;
}

static void take_block(
	struct inner_tcp *tcp, uint64_t first, uint64_t end, struct inner_tcp_news *news)
{
	uint64_t top = tcp->fack;

	for (uint32_t i = find(tcp, first); i != tcp->seg_next; i++) {
		struct inner_tcp_segment *segment = inner_tcp_segment_at(tcp, i);
		if (segment_end(segment) > end)
			break;
		if (segment->sacked)
			continue;
		if (!segment->ever_resent && news->sack_rtt_us < 0)
			news->sack_rtt_us = mono_diff_us(news->now, segment->at);
		delivered(tcp, segment, news);
		segment->sacked = true;
		tcp->sacked++;
		if (segment_end(segment) > top)
			top = segment_end(segment);
	}
	tcp->fack = top;
}

static uint64_t offset_of(const struct inner_tcp *tcp, uint32_t seq)
{
	uint32_t una = 0xffff0000u + tcp->options.src_port + 1 + (uint32_t)tcp->una;

	return tcp->una + (uint64_t)(int64_t)(int32_t)(seq - una);
}

static void take_sack(struct inner_tcp *tcp, const struct inner_tcp_packet *packet, uint64_t ack,
	struct inner_tcp_news *news)
{
	for (unsigned i = 0; i < packet->sack_count; i++) {
		uint64_t first = offset_of(tcp, packet->sack_first[i]);
		uint64_t end = offset_of(tcp, packet->sack_end[i]);
		if ((int64_t)(end - ack) <= 0) {
			news->dsack |= i == 0;
			continue;
		}
		if (i == 0 && packet->sack_count > 1 &&
			(int64_t)(first - offset_of(tcp, packet->sack_first[1])) >= 0 &&
			(int64_t)(end - offset_of(tcp, packet->sack_end[1])) <= 0) {
			news->dsack = true; /* of something beyond a hole */
			continue;
		}
		take_block(tcp, first, end, news);
	}
}

static void take_cumulative(struct inner_tcp *tcp, uint64_t ack, struct inner_tcp_news *news)
{
	while (tcp->seg_first != tcp->seg_next) {
		struct inner_tcp_segment *segment = inner_tcp_segment_at(tcp, tcp->seg_first);
		if (segment_end(segment) > ack)
			break;
		if (segment->sacked) {
			tcp->sacked--;
		} else {
			if (!segment->ever_resent) {
				news->last_rtt_us = mono_diff_us(news->now, segment->at);
				if (news->rtt_us < 0)
					news->rtt_us = news->last_rtt_us;
			}
			delivered(tcp, segment, news);
		}
		tcp->seg_first++;
	}
	news->advanced = ack > tcp->una;
	tcp->una = ack;
	if (ack > tcp->fack)
		tcp->fack = ack;
}

static void take_rtt(
	struct inner_tcp *tcp, const struct inner_tcp_packet *packet, struct inner_tcp_news *news)
{
	int64_t rtt_us = news->rtt_us >= 0 ? news->rtt_us : news->sack_rtt_us;

	if (rtt_us < 0 && news->advanced && packet->has_times)
		rtt_us = (int64_t)(uint32_t)((uint32_t)(news->now.us / 1000) - packet->echoed_ms) *
			 1000;
	if (rtt_us < 0)
		return;
	if (rtt_us == 0)
		rtt_us = 1;
	if (tcp->min_rtt_us == 0 || rtt_us < tcp->min_rtt_us)
		tcp->min_rtt_us = rtt_us;
	if (tcp->srtt_us == 0) {
		tcp->srtt_us = rtt_us;
		tcp->var_us = rtt_us / 2;
	} else {
		int64_t delta_us = rtt_us - tcp->srtt_us;
		tcp->srtt_us += delta_us / 8;
		tcp->var_us += ((delta_us < 0 ? -delta_us : delta_us) - tcp->var_us) / 4;
	}
	if (news->advanced)
		tcp->backoff = 0;
	if (news->last_rtt_us >= 0)
		inner_tcp_control_rtt(tcp, news->last_rtt_us, news->now);
}

static void take_probe(struct inner_tcp *tcp, uint64_t ack, const struct inner_tcp_news *news)
{
	if (tcp->probe_end == 0 || ack < tcp->probe_end)
		return;
	if (!tcp->probe_resent || news->dsack) {
		tcp->probe_end = 0; /* nothing was missing */
	} else if (ack > tcp->probe_end) {
		tcp->probe_end = 0;
		tcp->threshold = inner_tcp_control_threshold(tcp);
		tcp->window = tcp->threshold;
		tcp->stats.recoveries++;
	} else if (!news->advanced && news->delivered == 0) {
		tcp->probe_end = 0;
	}
}

void inner_tcp_take_ack(
	struct inner_tcp *tcp, const struct inner_tcp_packet *packet, struct mono now)
{
	uint64_t ack = offset_of(tcp, packet->ack);
	struct inner_tcp_news news = {.now = now,
		.una_before = tcp->una,
		.rtt_us = -1,
		.last_rtt_us = -1,
		.sack_rtt_us = -1};

	if ((int64_t)(ack - tcp->una) < 0 || ack > tcp->nxt)
		return;
	tcp->peer_window_bytes = packet->window_bytes;
	take_sack(tcp, packet, ack, &news);
	take_cumulative(tcp, ack, &news);
	take_rtt(tcp, packet, &news);
	take_probe(tcp, ack, &news);
	inner_tcp_judge(tcp, &news, packet->has_times ? packet->echoed_ms : 0,
		tcp->ecn && (packet->flags & INNER_TCP_ECE));
	if (news.advanced)
		tcp->rto_at = tcp->seg_first == tcp->seg_next
				      ? MONO_NEVER
				      : mono_add_us(now, inner_tcp_rto_us(tcp) << tcp->backoff);
	if (news.advanced || news.delivered > 0)
		inner_tcp_arm(tcp, now);
}
