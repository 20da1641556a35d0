/*
 * One conversation as the program sees it. Calls only queue; what is to go out goes in conv_settle(), which
 * kcpvpn_node_flush() calls for every conversation that something happened to. There the session is told what
 * happened and the one timer of the conversation is set to the earliest of KCP's, the session's and the trim's
 * deadlines, or to none.
 */
#include "core/stage_clock.h"
#include "session/traffic_class.h"
#include "stack/node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	PEEK_PIECES_MIN = 1,
};

/* Of an IP packet; 0 of what is too short for one. */
static uint8_t dscp_of(const uint8_t *packet, size_t len)
{
	if (len < 2)
		return 0;
	if (packet[0] >> 4 == 4)
		return packet[1] >> 2;
	return packet[0] >> 4 == 6 ? (uint8_t)((packet[0] & 0xf) << 2 | packet[1] >> 6) : 0;
}

/* What becomes of a message that KCP took or refused. */
static int sent(struct kcpvpn_conv *conv, size_t len, int error)
{
	if (error == -EAGAIN || error == -ENOBUFS || error == -ENOMEM) {
		size_t mss = kcp_mss_bytes(conv->kcp);
		size_t most = conv->node->config.send_queue_segments;
		size_t segments = (len + mss - 1) / mss;
		/* a stream's last segment may have had room for the odd bytes: more than all there is cannot become free */
		conv->blocked_segments = (uint32_t)(segments < most ? segments : most);
		return error == -ENOMEM ? -ENOBUFS : error;
	}
	if (error < 0)
		return error;
	conv->wants_flush = true;
	conv_touch(conv);
	return 0;
}

static void take_mark(struct kcpvpn_conv *conv, const uint8_t *packet, size_t len)
{
	if (conv->dscp >= 0)
		return;
	conv->mark = dscp_of(packet, len);
	kcp_mark(conv->kcp, conv->mark);
}

int kcpvpn_conv_send(struct kcpvpn_conv *conv, const void *data, size_t len, int64_t now_us)
{
	struct mono now = mono_at_us(now_us);

	if (conv->closed != KCPVPN_OPEN)
		return -EPIPE;
	take_mark(conv, data, len);
	if (conv_oob_takes(conv, data, len, now))
		return kcpvpn_conv_send_oob(conv, data, len);
	enum stage before = stage_enter(conv->node->tx.stages, STAGE_SEND);
	int error = kcp_send(conv->kcp, data, len, now);
	(void)stage_enter(conv->node->tx.stages, before);
	return sent(conv, len, error);
}

int kcpvpn_conv_send_made(struct kcpvpn_conv *conv, const uint8_t *head, size_t len,
	void (*make)(void *ctx, uint8_t *at), void *ctx)
{
	if (conv->closed != KCPVPN_OPEN)
		return -EPIPE;
	if (conv->oob_urgent)
		return -EINVAL;
	take_mark(conv, head, len);
	enum stage before = stage_enter(conv->node->tx.stages, STAGE_SEND);
	int error = kcp_send_made(conv->kcp, len, make, ctx);
	(void)stage_enter(conv->node->tx.stages, before);
	return sent(conv, len, error);
}

void kcpvpn_conv_set_burst(struct kcpvpn_conv *conv, uint32_t segments)
{
	uint32_t most = conv->node->config.send_queue_segments;

	conv->burst_segments = segments < most ? segments : most;
}

size_t kcpvpn_conv_send_space(const struct kcpvpn_conv *conv)
{
	if (conv->closed != KCPVPN_OPEN)
		return 0;
	return (size_t)kcp_send_space(conv->kcp) * kcp_mss_bytes(conv->kcp);
}

static uint32_t window_room(const struct kcpvpn_conv *conv)
{
	return kcp_send_space(conv->kcp) >= conv->burst_segments
		       ? kcp_send_room(conv->kcp, conv->node->now)
		       : 0;
}

uint32_t kcpvpn_conv_window_room(struct kcpvpn_conv *conv)
{
	uint32_t room = conv->closed == KCPVPN_OPEN ? window_room(conv) : 0;

	conv->wants_window = room == 0;
	return room;
}

void kcpvpn_conv_set_times(struct kcpvpn_conv *conv, int64_t keepalive_us, int64_t dead_after_us,
	int64_t idle_after_us)
{
	struct session_config times = {keepalive_us, dead_after_us, idle_after_us};

	session_set_config(&conv->session, &times);
	kcp_set_dead_link(conv->kcp, dead_after_us);
	conv_touch(conv);
}

void kcpvpn_conv_set_measured_window(struct kcpvpn_conv *conv, bool measured)
{
	kcp_set_measured_window(conv->kcp, measured);
	conv_touch(conv);
}

void kcpvpn_conv_set_dscp(struct kcpvpn_conv *conv, int dscp)
{
	conv->dscp = dscp < 0 && conv->node->config.stream ? 0 : dscp > 63 ? 0 : dscp;
	conv->mark = 0;
	kcp_mark(conv->kcp, 0);
}

void kcpvpn_conv_set_rate_max(struct kcpvpn_conv *conv, uint64_t bps)
{
	kcp_set_rate_max(conv->kcp, bps);
	conv_touch(conv);
}

int kcpvpn_conv_set_urgent_oob(struct kcpvpn_conv *conv, bool on)
{
	struct kcpvpn_node *node = conv->node;

	if (on && !node->classifier) {
		node->classifier = malloc(sizeof(*node->classifier));
		if (!node->classifier)
			return -ENOMEM;
		traffic_class_init(node->classifier, &node->random);
	}
	conv->oob_urgent = on;
	return 0;
}

/* After the reader took something the peer may have to be told of the window. */
static void taken(struct kcpvpn_conv *conv)
{
	conv_touch(conv);
}

int kcpvpn_conv_recv(
	struct kcpvpn_conv *conv, void *buf, size_t capacity, int64_t now_us, size_t *ret_len)
{
	(void)now_us;
	int error = kcp_recv(conv->kcp, buf, capacity, ret_len);
	if (error == 0)
		taken(conv);
	return error == 0 || error == -EMSGSIZE ? error : -EAGAIN;
}

int kcpvpn_conv_recv_peek(
	const struct kcpvpn_conv *conv, struct iovec *iov, int iov_max, size_t *ret_len)
{
	if (iov_max < PEEK_PIECES_MIN)
		return -EMSGSIZE;
	int count = kcp_recv_iov(conv->kcp, iov, iov_max, ret_len);
	return count > 0 || count == -EMSGSIZE ? count : 0;
}

void kcpvpn_conv_recv_drop(struct kcpvpn_conv *conv, int64_t now_us)
{
	(void)now_us;
	kcp_recv_consume(conv->kcp);
	taken(conv);
}

void kcpvpn_conv_probe(struct kcpvpn_conv *conv, int64_t now_us)
{
	struct mono now = mono_at_us(now_us);

	if (conv->closed != KCPVPN_OPEN)
		return;
	kcp_wask(conv->kcp, now);
	session_sent_waiting(&conv->session, now);
	conv->wants_flush = true;
	conv_touch(conv);
}

bool kcpvpn_conv_drained(const struct kcpvpn_conv *conv)
{
	return kcp_in_flight(conv->kcp) == 0 && kcp_queued(conv->kcp) == 0;
}

void kcpvpn_conv_close(struct kcpvpn_conv *conv, int64_t now_us)
{
	if (conv->closed == KCPVPN_OPEN) {
		conv->node->now = mono_at_us(now_us);
		kcp_flush(conv->kcp, false, conv->node->now);
	}
	node_conv_free(conv);
}

int64_t kcpvpn_conv_last_rx(const struct kcpvpn_conv *conv)
{
	return mono_is_never(conv->last_rx_at) ? -1 : conv->last_rx_at.us;
}

enum kcpvpn_close_reason kcpvpn_conv_close_reason(const struct kcpvpn_conv *conv)
{
	return conv->closed;
}

uint32_t kcpvpn_conv_number(const struct kcpvpn_conv *conv)
{
	return conv->number;
}

const struct kcpvpn_endpoint *kcpvpn_conv_remote(const struct kcpvpn_conv *conv)
{
	return &conv->table_node.remote;
}

const struct kcpvpn_udp_port *kcpvpn_conv_port(const struct kcpvpn_conv *conv)
{
	return conv->port;
}

void kcpvpn_conv_set_user(struct kcpvpn_conv *conv, void *user)
{
	conv->user = user;
}

void *kcpvpn_conv_user(const struct kcpvpn_conv *conv)
{
	return conv->user;
}

void conv_expire(struct kcpvpn_conv *conv, enum kcpvpn_close_reason reason)
{
	if (conv->closed != KCPVPN_OPEN)
		return;
	conv->closed = reason;
	session_table_remove(&conv->node->table, &conv->table_node);
	wheel_disarm(&conv->node->wheel, &conv->timer);
	list_remove(&conv->in_dirty);
	if (conv->decoder)
		fec_decoder_trim(conv->decoder);
	if (conv->node->has_fec)
		fec_encoder_abandon(&conv->encoder);
	conv_raise(conv, KCPVPN_EVENT_CLOSED);
}

static void trim(struct kcpvpn_conv *conv)
{
	struct kcpvpn_node *node = conv->node;

	kcp_trim(conv->kcp);
	if (conv->decoder)
		fec_decoder_trim(conv->decoder);
	if (node->has_fec && !fec_encoder_trim(&conv->encoder))
		fec_encoder_abandon(&conv->encoder);
	pool_trim(&node->segments, NODE_KEEP_SLOTS);
	pool_trim(&node->shards, NODE_KEEP_SLOTS);
	conv->trim_at = MONO_NEVER;
}

/*
 * Everything due has just been done. A layer that still asks for the past cannot do now what it wants (no memory, say):
 * it is asked again a little later, instead of keeping the processor busy.
 */
static void arm(struct kcpvpn_conv *conv, struct mono now)
{
	struct mono at = mono_min(kcp_next_deadline(conv->kcp), conv->trim_at);

	at = mono_min(at, session_next_deadline(&conv->session));
	if (mono_due(at, now))
		at = mono_add_us(now, NODE_AGAIN_US);
	wheel_arm(&conv->node->wheel, &conv->timer, at);
}

/* After KCP put out what it wanted: what does that mean for the session, and is there room to write again? */
static void tell_session(struct kcpvpn_conv *conv, struct mono now)
{
	if (conv->sent_data) {
		conv->sent_data = false;
		session_sent_waiting(&conv->session, now);
	}
	if (kcp_in_flight(conv->kcp) == 0 && !mono_is_never(conv->last_rx_at) &&
		!mono_is_never(conv->session.waiting_since) &&
		!mono_before(conv->last_rx_at, conv->session.waiting_since))
		session_answered(&conv->session);
	conv_tell_room(conv);
}

void conv_tell_room(struct kcpvpn_conv *conv)
{
	if (conv->wants_window && window_room(conv) > 0) {
		conv->wants_window = false;
		conv_raise(conv, KCPVPN_EVENT_WRITABLE);
	}
	if (conv->blocked_segments > 0 && kcp_send_space(conv->kcp) >= conv->blocked_segments) {
		conv->blocked_segments = 0;
		conv_raise(conv, KCPVPN_EVENT_WRITABLE);
	}
}

/* The peer answers, but acknowledges nothing although it has room, or was restarted: the conversation cannot go on. */
static bool ended_dead(struct kcpvpn_conv *conv)
{
	if (!kcp_is_dead(conv->kcp) || kcp_remote_window(conv->kcp) == 0)
		return false;
	conv_expire(conv, KCPVPN_CLOSED_DEAD);
	return true;
}

void conv_settle(struct kcpvpn_conv *conv, struct mono now)
{
	if (ended_dead(conv))
		return;
	if (conv->wants_input_done)
		kcp_input_done(conv->kcp, now);
	if (conv->wants_flush)
		kcp_flush(conv->kcp, false, now);
	conv->wants_input_done = false;
	conv->wants_flush = false;
	tell_session(conv, now);
	conv->trim_at = mono_add_us(now, NODE_TRIM_AFTER_US);
	arm(conv, now);
}

void conv_on_deadline(struct kcpvpn_conv *conv, struct mono now)
{
	enum session_action action;

	while ((action = session_on_deadline(&conv->session, now)) != SESSION_NOTHING) {
		if (action == SESSION_EXPIRE) {
			conv_expire(conv, conv->session.state == SESSION_IDLE ? KCPVPN_CLOSED_IDLE
									      : KCPVPN_CLOSED_DEAD);
			return;
		}
		kcp_wask(conv->kcp, now);
	}
	if (mono_due(kcp_next_deadline(conv->kcp), now))
		kcp_on_deadline(conv->kcp, now);
	if (ended_dead(conv))
		return;
	if (mono_due(conv->trim_at, now))
		trim(conv);
	tell_session(conv, now);
	arm(conv, now);
}

void conv_add_stats(const struct kcpvpn_conv *conv, struct kcpvpn_stats *sum)
{
	const struct kcp_stats *k = kcp_stats(conv->kcp);

	sum->bytes_sent += k->sent_bytes;
	sum->bytes_received += k->received_bytes;
	sum->in_segments += k->in_segments;
	sum->out_segments += k->out_segments;
	sum->retransmits_timeout += k->lost_segments;
	sum->retransmits_fast += k->fast_segments;
	sum->retransmits_early += k->early_segments;
	sum->retransmits += k->lost_segments + k->fast_segments + k->early_segments;
	sum->duplicates += k->repeat_segments;
	sum->drop_window += k->out_of_window;
	sum->drop_memory += k->pool_empty;
	sum->fec_parity_out += conv->encoder.stats.parity_packets;
	if (conv->decoder) {
		sum->fec_recovered += conv->decoder->stats.recovered;
		sum->fec_errors += conv->decoder->stats.errors;
		sum->fec_parity_in += conv->decoder->stats.parity_shards;
	}
}

static uint64_t memory_bytes(const struct kcpvpn_conv *conv)
{
	const struct kcpvpn_node *node = conv->node;
	const struct fec_decoder *decoder = conv->decoder;
	uint64_t shards = conv->oob_count;
	uint64_t bytes = sizeof(*conv) + kcp_memory_bytes(conv->kcp);

	if (conv->encoder.holds_slots)
		shards += conv->encoder.parity_shards;
	if (decoder) {
		bytes += sizeof(*decoder);
		/* a slot for each packet, each group and the tuner's samples */
		shards += decoder->stored + fec_decoder_group_count(decoder) +
			  (decoder->tune.samples != NULL);
	}
	return bytes + kcp_slots(conv->kcp) * node_slot_cost(node->segments.slot_bytes) +
	       shards * node_slot_cost(node->shards.slot_bytes);
}

void kcpvpn_conv_stats(const struct kcpvpn_conv *conv, struct kcpvpn_conv_stats *ret)
{
	struct kcpvpn_stats sum = {0};
	bool measured = kcp_srtt_ms(conv->kcp) > 0;

	conv_add_stats(conv, &sum);
	*ret = conv->counters;
	ret->bytes_sent = sum.bytes_sent;
	ret->bytes_received = sum.bytes_received;
	ret->retransmits = sum.retransmits;
	ret->out_segments = sum.out_segments;
	ret->in_segments = sum.in_segments;
	ret->duplicates = sum.duplicates;
	ret->told_windows = kcp_stats(conv->kcp)->told_windows;
	ret->fec_recovered = sum.fec_recovered;
	ret->fec_parity_in = sum.fec_parity_in;
	ret->fec_parity_out = sum.fec_parity_out;
	ret->srtt_us = measured ? (int64_t)kcp_srtt_ms(conv->kcp) * 1000 : -1;
	ret->rtt_var_us = measured ? (int64_t)kcp_rttvar_ms(conv->kcp) * 1000 : -1;
	ret->rate_bps = kcp_delivery_bps(conv->kcp);
	ret->resent_ppm = kcp_resent_ppm(conv->kcp);
	ret->window_segments = kcp_measured_window(conv->kcp);
	ret->in_flight_segments = kcp_in_flight(conv->kcp);
	ret->queued_segments = kcp_queued(conv->kcp);
	if (conv->decoder && conv->decoder->stats.parity_shards > 0) {
		ret->fec_in_data = conv->decoder->data_shards;
		ret->fec_in_parity = conv->decoder->parity_shards;
	}
	ret->last_rx_us = kcpvpn_conv_last_rx(conv);
	ret->memory_bytes = memory_bytes(conv);
}
