/*
 * The connection and the sending half of the TCP model. Segments that were sent are a ring of records in the order of their
 * bytes; a segment is resent as it was, so acknowledgements fall on borders of records. Four numbers follow from the marks
 * of the records and are kept beside them: sacked, lost, resent, and waiting (lost and to be sent again).
 *
 *	inner_tcp          handshake, what is sent and when   inner_tcp_recv     the receiving half
 *	inner_tcp_ack      acknowledgements                   inner_tcp_wire     bytes
 *	inner_tcp_loss     RACK, recovery, timers             inner_tcp_control  the window: CUBIC, Reno
 */
#include "inner_tcp_state.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	WINDOW_START = 10, /* RFC 6928 */
	QUICK = 16,
	SYN_US = 1000000,
	MSS_OVERHEAD_BYTES = 40,
	TIMES_BYTES = 12,
};

void inner_tcp_init(struct inner_tcp *tcp, const struct inner_tcp_options *options)
{
	uint32_t most = (uint32_t)(options->window_bytes / 256), records = 64;

	*tcp = (struct inner_tcp){
		.options = *options,
		.mss = options->mtu_bytes - MSS_OVERHEAD_BYTES - TIMES_BYTES,
		.window = WINDOW_START,
		.threshold = UINT32_MAX / 2,
		.rto_at = MONO_NEVER,
		.probe_at = MONO_NEVER,
		.reorder_at = MONO_NEVER,
		.ack_at = MONO_NEVER,
		.quick = QUICK,
		.rack_steps = 1,
		.rack_at = mono_at_us(INT64_MIN / 2),
	};
	while (records < most)
		records *= 2;
	tcp->ring_mask = records - 1;
	tcp->segments = calloc(records, sizeof(*tcp->segments));
	if (!tcp->segments)
		abort();
	inner_tcp_control_init(tcp);
}

void inner_tcp_fini(struct inner_tcp *tcp)
{
	free(tcp->segments);
	tcp->segments = NULL;
}

uint32_t inner_tcp_in_flight(const struct inner_tcp *tcp)
{
	return inner_tcp_out(tcp) - tcp->sacked - tcp->lost + tcp->resent;
}

/* ---- handshake -------------------------------------------------------------------------------------------------- */

static void send_syn(struct inner_tcp *tcp, struct mono now)
{
	unsigned flags = INNER_TCP_SYN;

	if (tcp->state == INNER_TCP_SYN_RECEIVED)
		flags |= INNER_TCP_ACK | (tcp->ecn ? INNER_TCP_ECE : 0);
	else if (tcp->options.ecn)
		flags |= INNER_TCP_ECE | INNER_TCP_CWR;
	inner_tcp_emit(tcp, flags, 0, 0, false, now);
	tcp->rto_at = mono_add_us(now, (int64_t)SYN_US << tcp->backoff);
}

void inner_tcp_open(struct inner_tcp *tcp, struct mono now)
{
	tcp->state = INNER_TCP_SYN_SENT;
	send_syn(tcp, now);
}

static void take_syn(struct inner_tcp *tcp, const struct inner_tcp_packet *packet)
{
	uint32_t mss = packet->mss > TIMES_BYTES ? packet->mss - TIMES_BYTES : 0;

	tcp->peer_iss = packet->seq;
	tcp->peer_ms = packet->ms;
	tcp->peer_window_bytes = packet->window_bytes;
	if (mss > 0 && mss < tcp->mss)
		tcp->mss = mss;
}

static void opened(struct inner_tcp *tcp)
{
	tcp->state = INNER_TCP_OPEN;
	tcp->rto_at = MONO_NEVER;
	tcp->backoff = 0;
}

/* @return whether the packet goes on to an open connection */
static bool shake_hands(
	struct inner_tcp *tcp, const struct inner_tcp_packet *packet, struct mono now)
{
	bool syn = (packet->flags & INNER_TCP_SYN) != 0, ack = (packet->flags & INNER_TCP_ACK) != 0;

	switch (tcp->state) {
	case INNER_TCP_CLOSED:
	case INNER_TCP_SYN_RECEIVED:
		if (syn && !ack) {
			tcp->ecn = tcp->options.ecn && (packet->flags & INNER_TCP_CWR);
			tcp->state = INNER_TCP_SYN_RECEIVED;
			take_syn(tcp, packet);
			send_syn(tcp, now);
		} else if (tcp->state == INNER_TCP_SYN_RECEIVED && !syn) {
			opened(tcp);
			tcp->peer_window_bytes = packet->window_bytes;
			return true;
		}
		return false;
	case INNER_TCP_SYN_SENT:
		if (!syn || !ack)
			return false;
		tcp->ecn = tcp->options.ecn && (packet->flags & INNER_TCP_ECE);
		take_syn(tcp, packet);
		opened(tcp);
		inner_tcp_emit(tcp, INNER_TCP_ACK, 0, 0, false, now);
		inner_tcp_output(tcp, now);
		return false;
	case INNER_TCP_OPEN:
		if (syn)
			inner_tcp_emit(tcp, INNER_TCP_ACK, tcp->nxt, 0, false, now);
		return !syn;
	}
	return false;
}

/* ---- sending ---------------------------------------------------------------------------------------------------- */

static unsigned flags_of_data(struct inner_tcp *tcp, bool again)
{
	unsigned flags = INNER_TCP_ACK | (tcp->say_ece ? INNER_TCP_ECE : 0);

	if (tcp->say_cwr && !again) {
		tcp->say_cwr = false;
		flags |= INNER_TCP_CWR;
	}
	return flags;
}

void inner_tcp_resend(struct inner_tcp *tcp, uint32_t i, struct mono now)
{
	struct inner_tcp_segment *segment = inner_tcp_segment_at(tcp, i);

	if (segment->lost && !segment->resent)
		tcp->waiting--;
	if (!segment->resent)
		tcp->resent++;
	segment->resent = segment->ever_resent = true;
	segment->at = now;
	if (!tcp->resent_any) {
		tcp->resent_any = true;
		tcp->resent_ms = (uint32_t)(now.us / 1000);
	}
	tcp->reduce_out++;
	tcp->stats.segments++;
	tcp->stats.resent++;
	inner_tcp_emit(tcp, flags_of_data(tcp, true), segment->first, segment->len, true, now);
}

bool inner_tcp_send_new(struct inner_tcp *tcp, struct mono now)
{
	uint64_t left = tcp->to_send - tcp->nxt;
	uint32_t len = left < tcp->mss ? (uint32_t)left : tcp->mss;

	if (len == 0 || tcp->nxt + len > tcp->una + tcp->peer_window_bytes ||
		inner_tcp_out(tcp) > tcp->ring_mask)
		return false;
	*inner_tcp_segment_at(tcp, tcp->seg_next++) =
		(struct inner_tcp_segment){.first = tcp->nxt, .len = len, .at = now};
	uint64_t first = tcp->nxt;
	tcp->nxt += len;
	tcp->reduce_out++;
	tcp->stats.segments++;
	inner_tcp_emit(tcp, flags_of_data(tcp, false), first, len, false, now);
	return true;
}

/* @return whether one was there */
static bool resend_next(struct inner_tcp *tcp, struct mono now)
{
	uint32_t i = tcp->resend_hint;

	if (tcp->waiting == 0)
		return false;
	if ((int32_t)(i - tcp->seg_first) < 0)
		i = tcp->seg_first;
	for (; i != tcp->seg_next; i++) {
		const struct inner_tcp_segment *segment = inner_tcp_segment_at(tcp, i);
		if (!segment->lost || segment->resent)
			continue;
		inner_tcp_resend(tcp, i, now);
		tcp->resend_hint = i + 1;
		return true;
	}
	fprintf(stderr, "inner_tcp: %u wait, none is found\n", tcp->waiting);
	abort();
}

void inner_tcp_output(struct inner_tcp *tcp, struct mono now)
{
	uint32_t before = inner_tcp_out(tcp);
	bool limited = false, any = false;

	if (tcp->state != INNER_TCP_OPEN)
		return;
	for (;;) {
		if (inner_tcp_in_flight(tcp) >= tcp->window) {
			limited = true;
			break;
		}
		if (!resend_next(tcp, now) && !inner_tcp_send_new(tcp, now))
			break;
		any = true;
	}
	/* Windows grow only where they were what held the sender back. */
	if (tcp->una >= tcp->most_out_end || limited ||
		(!tcp->limited && inner_tcp_out(tcp) > tcp->most_out)) {
		tcp->limited = limited;
		tcp->most_out = inner_tcp_out(tcp);
		tcp->most_out_end = tcp->nxt;
	}
	if (!any)
		return;
	if (before == 0)
		tcp->rto_at = mono_add_us(now, inner_tcp_rto_us(tcp) << tcp->backoff);
	inner_tcp_arm(tcp, now);
}

void inner_tcp_write(struct inner_tcp *tcp, uint64_t bytes, struct mono now)
{
	tcp->to_send += bytes;
	inner_tcp_output(tcp, now);
}

/* ---- what comes ------------------------------------------------------------------------------------------------- */

void inner_tcp_input(struct inner_tcp *tcp, const uint8_t *bytes, size_t len, struct mono now)
{
	struct inner_tcp_packet packet;

	if (!inner_tcp_read(bytes, len, &packet) || !shake_hands(tcp, &packet, now))
		return;
	if (packet.flags & INNER_TCP_ACK)
		inner_tcp_take_ack(tcp, &packet, now);
	inner_tcp_take_data(tcp, &packet, now);
	inner_tcp_output(tcp, now);
}

struct mono inner_tcp_next_deadline(const struct inner_tcp *tcp)
{
	struct mono at = mono_min(tcp->rto_at, tcp->ack_at);

	return mono_min(at, mono_min(tcp->probe_at, tcp->reorder_at));
}

void inner_tcp_on_deadline(struct inner_tcp *tcp, struct mono now)
{
	if (mono_due(tcp->ack_at, now))
		inner_tcp_emit(tcp, INNER_TCP_ACK | (tcp->say_ece ? INNER_TCP_ECE : 0), tcp->nxt, 0,
			false, now);
	if (tcp->state == INNER_TCP_OPEN) {
		inner_tcp_timers(tcp, now);
	} else if (mono_due(tcp->rto_at, now)) {
		tcp->backoff++;
		send_syn(tcp, now);
	}
}
