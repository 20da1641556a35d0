/*
 * Settings that may change while a conversation runs, and what can be asked of it. Nothing here is on the data path.
 */
#include "kcp/kcp_state.h"

#include "core/pool.h"
#include "kcp/kcp_classic.h"

#include <errno.h>
#include <stdlib.h>

enum {
	CAP_DEBT_US = 100000,	/* a cap by order never makes wait for longer, */
	CAP_DEBT_DATAGRAMS = 4, /* or than for so many full datagrams */
};

const char *kcp_input_verdict_str(enum kcp_input_verdict verdict)
{
	switch (verdict) {
	case KCP_INPUT_OK:
		return "ok";
	case KCP_INPUT_SHORT:
		return "short";
	case KCP_INPUT_WRONG_CONV:
		return "wrong conv";
	case KCP_INPUT_BAD_LEN:
		return "bad len";
	case KCP_INPUT_BAD_CMD:
		return "bad cmd";
	case KCP_INPUT_CLOSED:
		return "closed";
	case KCP_INPUT_VERDICTS:
		break;
	}
	return "unknown";
}

int kcp_set_windows(struct kcp *kcp, uint32_t snd_wnd, uint32_t rcv_wnd)
{
	if (snd_wnd < 1 || snd_wnd > KCP_WND_MAX || rcv_wnd < 1 || rcv_wnd > KCP_WND_MAX)
		return -EINVAL;
	kcp->config.snd_wnd = snd_wnd;
	kcp->config.rcv_wnd = rcv_wnd;
	kcp->receiver.wnd = rcv_wnd;
	kcp_receiver_advance(&kcp->receiver);
	return 0;
}

void kcp_set_measured_window(struct kcp *kcp, bool measured)
{
	kcp->config.measured_window = measured;
}

void kcp_set_rate_max(struct kcp *kcp, uint64_t bps)
{
	kcp->cap = bps == 0 ? 0 : bps < 8 ? 1 : bps / 8;
}

/* Unused cap is kept for a moment, since timers are coarse, and debt is paid for as long as a few datagrams take. */
struct mono kcp_cap_after(const struct kcp *kcp, struct mono at, uint64_t bytes, struct mono now)
{
	uint64_t debt_us =
		CAP_DEBT_DATAGRAMS * (uint64_t)kcp->config.mtu_bytes * 1000000 / kcp->cap;

	if (debt_us < CAP_DEBT_US)
		debt_us = CAP_DEBT_US;
	at = mono_max(at, mono_add_us(now, -KCP_WINDOW_PACE_BURST_US));
	at = mono_add_us(at, (int64_t)(bytes * 1000000 / kcp->cap));
	return mono_min(at, mono_add_us(now, (int64_t)debt_us));
}

uint64_t kcp_cap_ahead(const struct kcp *kcp, struct mono now)
{
	int64_t us = mono_diff_us(now, kcp->cap_at);

	if (kcp->cap == 0)
		return UINT64_MAX;
	us = (us < KCP_WINDOW_PACE_BURST_US ? us : KCP_WINDOW_PACE_BURST_US) +
	     KCP_WINDOW_PACE_AHEAD_US;
	return us > 0 ? kcp->cap / 1000000 * (uint64_t)us +
				kcp->cap % 1000000 * (uint64_t)us / 1000000
		      : 0;
}

void kcp_spent(struct kcp *kcp, size_t bytes, struct mono now)
{
	if (kcp->cap)
		kcp->cap_at = kcp_cap_after(kcp, kcp->cap_at, bytes, now);
}

void kcp_mark(struct kcp *kcp, uint8_t mark)
{
	kcp->mark = mark;
}

int kcp_set_mtu(struct kcp *kcp, uint32_t mtu_bytes)
{
	const struct kcp_sender *sender = &kcp->sender;
	uint32_t end = sender->nxt + sender->queued;
	uint32_t mss_bytes;

	if (mtu_bytes < KCP_MTU_MIN_BYTES || mtu_bytes > KCP_MTU_MAX_BYTES)
		return -EINVAL;
	mss_bytes = mtu_bytes - KCP_OVERHEAD_BYTES;
	if (mss_bytes > kcp->config.pool->slot_bytes)
		return -EINVAL;
	for (uint32_t sn = sender->una; sn != end; sn++) {
		const struct kcp_tx *tx = kcp_sender_at(sender, sn);
		if (!(tx->flags & KCP_TX_ACKED) && tx->len > mss_bytes)
			return -EBUSY;
	}
	kcp->config.mtu_bytes = mtu_bytes;
	kcp->mss_bytes = mss_bytes;
	return 0;
}

void kcp_trim(struct kcp *kcp)
{
	struct kcp_sender *sender = &kcp->sender;
	struct kcp_receiver *receiver = &kcp->receiver;

	if (sender->una == sender->nxt && sender->queued == 0)
		kcp_ring_free(&sender->ring);
	if (receiver->read == receiver->nxt && receiver->early == 0)
		kcp_ring_free(&receiver->ring);
	if (kcp->acks_count == 0) {
		free(kcp->acks);
		kcp->acks = NULL;
		kcp->acks_capacity = 0;
	}
}

size_t kcp_memory_bytes(const struct kcp *kcp)
{
	return sizeof(*kcp) + (size_t)kcp->sender.ring.capacity * kcp->sender.ring.record_bytes +
	       (size_t)kcp->receiver.ring.capacity * kcp->receiver.ring.record_bytes +
	       kcp->acks_capacity * sizeof(*kcp->acks);
}

uint32_t kcp_slots(const struct kcp *kcp)
{
	return kcp->sender.unacked + kcp->sender.queued + kcp_receiver_ready(&kcp->receiver) +
	       kcp->receiver.early;
}

uint32_t kcp_conv(const struct kcp *kcp)
{
	return kcp->config.conv;
}

uint32_t kcp_in_flight(const struct kcp *kcp)
{
	return kcp->sender.unacked;
}

uint32_t kcp_queued(const struct kcp *kcp)
{
	return kcp->sender.queued;
}

uint64_t kcp_queued_bytes(const struct kcp *kcp)
{
	return kcp->sender.queued_bytes;
}

uint64_t kcp_in_flight_bytes(const struct kcp *kcp)
{
	return kcp->sender.unacked_bytes;
}

uint32_t kcp_readable(const struct kcp *kcp)
{
	return kcp_receiver_ready(&kcp->receiver);
}

uint32_t kcp_remote_window(const struct kcp *kcp)
{
	return kcp->rmt_wnd;
}

uint32_t kcp_srtt_ms(const struct kcp *kcp)
{
	return kcp->rtt.srtt_ms;
}

uint32_t kcp_rttvar_ms(const struct kcp *kcp)
{
	return kcp->rtt.var_ms;
}

uint32_t kcp_rto_ms(const struct kcp *kcp)
{
	return kcp->rtt.rto_ms;
}

int64_t kcp_min_rtt_us(const struct kcp *kcp)
{
	return kcp->window.min_rtt_us;
}

uint64_t kcp_delivery_bps(const struct kcp *kcp)
{
	return kcp->window.rate * 8;
}

uint32_t kcp_resent_ppm(const struct kcp *kcp)
{
	return kcp_window_resent_ppm(&kcp->window);
}

uint32_t kcp_measured_window(const struct kcp *kcp)
{
	uint64_t segments = kcp_classic_limit_bytes(kcp) / kcp->config.mtu_bytes;

	return segments < kcp->config.snd_wnd ? (uint32_t)segments : kcp->config.snd_wnd;
}

const struct kcp_stats *kcp_stats(const struct kcp *kcp)
{
	return &kcp->stats;
}

void kcp_debug_state(const struct kcp *kcp, struct mono now, struct kcp_debug_state *ret_state)
{
	const struct kcp_sender *sender = &kcp->sender;
	int32_t nearest_ms = INT32_MAX;

	for (uint32_t sn = sender->una; sn != sender->nxt; sn++) {
		const struct kcp_tx *tx = kcp_sender_at(sender, sn);
		int32_t wait_ms = (int32_t)(tx->due_ms - kcp_segment_ms(now));
		if (!(tx->flags & KCP_TX_ACKED) && wait_ms < nearest_ms)
			nearest_ms = wait_ms;
	}
	*ret_state = (struct kcp_debug_state){
		.snd_una = sender->una,
		.snd_nxt = sender->nxt,
		.rcv_nxt = kcp->receiver.nxt,
		.cwnd = kcp->cwnd.segments,
		.ssthresh = kcp->cwnd.ssthresh,
		.incr = kcp->cwnd.incr,
		.srtt = kcp->rtt.srtt_ms,
		.rttvar = kcp->rtt.var_ms,
		.rto = kcp->rtt.rto_ms,
		.rmt_wnd = kcp->rmt_wnd,
		.state = kcp->state,
		.nsnd_buf = sender->nxt - sender->una,
		.nsnd_que = sender->queued,
		.nrcv_buf = kcp->receiver.early,
		.nrcv_que = kcp_receiver_ready(&kcp->receiver),
		.probe = kcp->probe,
		.nack = kcp->acks_count,
		.nearest_due_ms = nearest_ms,
	};
}
