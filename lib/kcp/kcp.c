/*
 * The composition: datagrams are taken apart here and their segments handed to the receiving side, the acknowledgements to
 * kcp_classic; deadlines are the smallest of what the parts wait for.
 *
 *	kcp_segment  the wire                     kcp_classic  acks, timeouts, resends, the order of a flush
 *	kcp_send     queue and window of sending  kcp_rtt      round-trip time and timeout
 *	kcp_recv     reorder window, messages     kcp_cwnd     kcp-go's congestion window
 *	kcp_ring     records by number            kcp_window   how much the path holds
 *
 * kcp-go flushes every interval, busy or not. Here a flush is due one interval after the last, but only if there is a
 * reason: acknowledgements or probes that wait, data that would fit, a segment under suspicion. What an idle conversation
 * keeps is this structure (below 1 KB), and no deadline.
 *
 * Invariants: una <= nxt; everything in a ring lies inside its window; a slot belongs to exactly one record.
 */
#include "kcp/kcp.h"

#include "core/err.h"
#include "core/pool.h"
#include "kcp/kcp_classic.h"
#include "kcp/kcp_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

static bool window_valid(uint32_t segments)
{
	return segments >= 1 && segments <= KCP_WND_MAX;
}

static bool mtu_valid(uint32_t mtu_bytes, const struct pool *pool)
{
	return mtu_bytes >= KCP_MTU_MIN_BYTES && mtu_bytes <= KCP_MTU_MAX_BYTES &&
	       pool->slot_bytes >= mtu_bytes - KCP_OVERHEAD_BYTES;
}

int kcp_new(const struct kcp_config *config, const struct kcp_output *output, struct kcp **ret_kcp)
{
	struct kcp *kcp;

	if (!config->pool || !mtu_valid(config->mtu_bytes, config->pool) ||
		!window_valid(config->snd_wnd) || !window_valid(config->rcv_wnd) ||
		config->send_queue_max_segments < 1 ||
		config->send_queue_max_segments > KCP_SEND_QUEUE_MAX || config->dead_link_us < 0 ||
		!output->begin || !output->end)
		return -EINVAL;
	kcp = calloc(1, sizeof(*kcp));
	if (!kcp)
		return -ENOMEM;
	kcp->config = *config;
	kcp->output = *output;
	if (kcp->config.interval_ms < KCP_INTERVAL_MIN_MS)
		kcp->config.interval_ms = KCP_INTERVAL_MIN_MS;
	if (kcp->config.interval_ms > KCP_INTERVAL_MAX_MS)
		kcp->config.interval_ms = KCP_INTERVAL_MAX_MS;
	if (config->ack_delay_us == 0 && config->measured_window)
		kcp->config.ack_delay_us = KCP_ACK_DELAY_US;
	else if (config->ack_delay_us == 0 || config->ack_delay_us > kcp->config.interval_ms * 1000)
		kcp->config.ack_delay_us = kcp->config.interval_ms * 1000;
	kcp->mss_bytes = config->mtu_bytes - KCP_OVERHEAD_BYTES;
	kcp_sender_init(&kcp->sender, config->start_sn);
	kcp_receiver_init(&kcp->receiver, config->start_sn, config->rcv_wnd);
	kcp_rtt_init(&kcp->rtt, config->nodelay, kcp->config.interval_ms);
	kcp_cwnd_init(&kcp->cwnd);
	kcp_window_init(&kcp->window, (int64_t)kcp->config.interval_ms * 1000);
	kcp->rmt_wnd = KCP_WND_DEFAULT;
	kcp->flushed_at = mono_at_us(INT64_MIN / 2); /* long ago: the first flush is due at once */
	kcp->asked_last_at = kcp->flushed_at;
	kcp->resend_at = MONO_NEVER;
	*ret_kcp = kcp;
	return 0;
}

void kcp_close(struct kcp *kcp)
{
	kcp_sender_fini(&kcp->sender, kcp->config.pool);
	kcp_receiver_fini(&kcp->receiver, kcp->config.pool);
	free(kcp->acks);
	kcp->acks = NULL;
	kcp->acks_count = 0;
	kcp->acks_capacity = 0;
	kcp->probe = 0;
	kcp->flush_wanted = false;
	kcp->closed = true;
}

void kcp_free(struct kcp *kcp)
{
	if (!kcp)
		return;
	kcp_close(kcp);
	free(kcp);
}

/* ---- sending ---------------------------------------------------------------------------------------------------- */

int kcp_send(struct kcp *kcp, const void *data, size_t len, struct mono now)
{
	uint32_t before = kcp->sender.queued;
	int err;

	(void)now; /* what a queue bounded in time will need */
	if (kcp->closed)
		return -ERR_CLOSED;
	err = kcp_sender_push(&kcp->sender, kcp->config.pool, kcp->mss_bytes, kcp->config.stream,
		kcp->config.send_queue_max_segments, data, len);
	if (err < 0)
		return err;
	kcp->stats.sent_bytes += len;
	const struct kcp_sender *sender = &kcp->sender;
	for (uint32_t sn = sender->nxt + before; sn != sender->nxt + sender->queued; sn++)
		kcp_sender_at(sender, sn)->mark = kcp->mark;
	return 0;
}

int kcp_send_made(struct kcp *kcp, size_t len, void (*make)(void *ctx, uint8_t *at), void *ctx)
{
	struct kcp_sender *sender = &kcp->sender;

	if (kcp->closed)
		return -ERR_CLOSED;
	if (kcp->config.stream || len == 0)
		return -EINVAL;
	if (len > kcp->mss_bytes)
		return -EMSGSIZE;
	int err = kcp_sender_make(
		sender, kcp->config.pool, kcp->config.send_queue_max_segments, len, make, ctx);
	if (err < 0)
		return err;
	kcp->stats.sent_bytes += len;
	kcp_sender_at(sender, sender->nxt + sender->queued - 1)->mark = kcp->mark;
	return 0;
}

uint32_t kcp_send_space(const struct kcp *kcp)
{
	if (kcp->closed || kcp->sender.queued >= kcp->config.send_queue_max_segments)
		return 0;
	return kcp->config.send_queue_max_segments - kcp->sender.queued;
}

uint32_t kcp_mss_bytes(const struct kcp *kcp)
{
	return kcp->mss_bytes;
}

bool kcp_can_send_now(const struct kcp *kcp)
{
	return !kcp->closed && kcp->sender.queued == 0 && kcp_classic_may_send(kcp);
}

uint32_t kcp_send_room(const struct kcp *kcp, struct mono now)
{
	uint32_t room = kcp->closed ? 0 : kcp_classic_room(kcp, now);
	uint32_t space = kcp_send_space(kcp);

	room = room > kcp->sender.queued ? room - kcp->sender.queued : 0;
	return room < space ? room : space;
}

void kcp_flush(struct kcp *kcp, bool acks_only, struct mono now)
{
	if (!kcp->closed)
		kcp_classic_flush(kcp, acks_only, now);
}

void kcp_wask(struct kcp *kcp, struct mono now)
{
	(void)now;
	if (!kcp->closed)
		kcp->probe |= KCP_PROBE_ASK;
}

void kcp_tell(struct kcp *kcp)
{
	if (!kcp->closed)
		kcp->probe |= KCP_PROBE_TELL;
}

/* ---- receiving -------------------------------------------------------------------------------------------------- */

static void input_push(struct kcp *kcp, const struct kcp_segment *segment, struct mono now)
{
	switch (kcp_receiver_push(&kcp->receiver, kcp->config.pool, segment)) {
	case KCP_RECEIVER_TAKEN:
		kcp->tells_left = 0;
		kcp_classic_note(kcp, segment->sn, segment->ts, now);
		return;
	case KCP_RECEIVER_REPEATED:
		kcp->tells_left = 0;
		kcp_classic_note(kcp, segment->sn, segment->ts, now);
		kcp->stats.repeat_segments++;
		return;
	case KCP_RECEIVER_OUTSIDE:
		kcp->stats.out_of_window++;
		return;
	case KCP_RECEIVER_BAD_FRAGMENT:
		kcp->stats.bad_fragment++;
		return;
	case KCP_RECEIVER_TOO_LONG:
		kcp->stats.too_long++;
		return;
	case KCP_RECEIVER_NO_MEMORY:
		kcp->stats.pool_empty++;
		return;
	}
}

static bool cmd_known(uint8_t cmd)
{
	return cmd >= KCP_CMD_PUSH && cmd <= KCP_CMD_WINS;
}

/*
 * A peer waits for one number and never goes back. One that does has restarted: it began a new conversation with the middle
 * of ours, acknowledges what comes, and will never deliver any of it. But datagrams overtake each other, and anybody can send
 * old ones again, so going back is a suspicion only. The peer is asked; what is alive answers with the number it waits for,
 * and so does all that it sends from itself. Who goes back after that, and only goes back, has forgotten.
 */
static void watch_memory(struct kcp *kcp, uint32_t una, struct mono now)
{
	if (!kcp_sn_before(una, kcp->sender.una)) {
		kcp->stale_count = 0;
		return;
	}
	if (kcp->config.dead_link_us == 0)
		return;
	int64_t wait_us = (int64_t)kcp->rtt.rto_ms * 2 * 1000;
	if (wait_us < KCP_FORGOT_US)
		wait_us = KCP_FORGOT_US;
	bool may_ask = mono_diff_us(now, kcp->asked_last_at) >= wait_us / KCP_FORGOT_ASKS;
	if (kcp->stale_count + 1 < KCP_FORGOT_SEGMENTS) {
		kcp->stale_count++;
		return;
	}
	if (kcp->stale_count == KCP_FORGOT_SEGMENTS &&
		mono_diff_us(now, kcp->asked_at) >= wait_us) {
		kcp->forgotten = true;
		return;
	}
	if (!may_ask)
		return;
	if (kcp->stale_count < KCP_FORGOT_SEGMENTS) {
		kcp->stale_count = KCP_FORGOT_SEGMENTS;
		kcp->asked_at = now;
	}
	kcp->asked_last_at = now;
	kcp->probe |= KCP_PROBE_ASK;
	kcp->flush_wanted = true;
}

/* While the peer's window is shut there can be no progress: the time to wait for it begins when it opens. */
static void watch_window(struct kcp *kcp, uint16_t wnd, struct mono now)
{
	if (kcp->rmt_wnd == 0 && wnd > 0) {
		kcp->progress_at = now;
		kcp->stalled = false;
	}
	kcp->rmt_wnd = wnd;
}

static enum kcp_input_verdict input(
	struct kcp *kcp, const void *data, size_t len, bool recovered, struct mono now)
{
	struct wire in = wire_of(data, len);
	struct kcp_progress progress = {0};
	struct kcp_segment segment;

	if (kcp->closed)
		return KCP_INPUT_CLOSED;
	if (len < KCP_OVERHEAD_BYTES)
		return KCP_INPUT_SHORT;
	while (wire_left(&in) >= KCP_OVERHEAD_BYTES) {
		bool whole = kcp_segment_read(&in, &segment);
		if (segment.conv != kcp->config.conv)
			return KCP_INPUT_WRONG_CONV;
		if (!whole)
			return KCP_INPUT_BAD_LEN;
		if (!cmd_known(segment.cmd))
			return KCP_INPUT_BAD_CMD;
		kcp->stats.in_segments++;
		if (!recovered) {
			watch_window(kcp, segment.wnd, now);
			watch_memory(kcp, segment.una, now);
		}
		kcp_classic_una(kcp, segment.una, &progress, now);
		switch ((enum kcp_cmd)segment.cmd) {
		case KCP_CMD_ACK:
			kcp_classic_ack(kcp, segment.sn, segment.ts, &progress, now);
			break;
		case KCP_CMD_PUSH:
			input_push(kcp, &segment, now);
			break;
		case KCP_CMD_WASK:
			kcp->probe |= KCP_PROBE_TELL;
			break;
		case KCP_CMD_WINS:
			kcp->stats.told_windows++;
			break;
		case KCP_CMD_DGRAM: /* cmd_known() keeps the native ones out */
		case KCP_CMD_RACK:
		case KCP_CMD_FWD:
		case KCP_CMD_CONTROL:
		case KCP_CMD_PROBE:
			break;
		}
	}
	kcp_classic_datagram(kcp, &progress, !recovered, now);
	return KCP_INPUT_OK;
}

enum kcp_input_verdict kcp_input(
	struct kcp *kcp, const void *data, size_t len, bool recovered, struct mono now)
{
	enum kcp_input_verdict verdict = input(kcp, data, len, recovered, now);

	kcp->stats.input[verdict]++;
	return verdict;
}

/* Acknowledgements that must not wait for the interval. */
static bool acks_urgent(const struct kcp *kcp)
{
	if (kcp->acks_count == 0)
		return false;
	if (kcp->config.ack_no_delay || kcp->acks_count >= KCP_ACKS_FORCE)
		return true;
	return kcp->config.profile == KCP_PROFILE_5_6_72 && kcp_classic_acks_fill(kcp);
}

void kcp_input_done(struct kcp *kcp, struct mono now)
{
	if (kcp->closed)
		return;
	if (kcp->flush_wanted)
		kcp_classic_flush(kcp, false, now);
	else if (acks_urgent(kcp))
		kcp_classic_flush(kcp, true, now);
}

/* Segments of the next message, 0 for none. */
static uint32_t next_message(struct kcp *kcp, size_t *ret_len)
{
	uint64_t broken = kcp->receiver.broken;
	uint32_t count = kcp_receiver_message(&kcp->receiver, kcp->config.pool, ret_len);

	kcp->stats.bad_fragment += kcp->receiver.broken - broken;
	return count;
}

static void consume(struct kcp *kcp, uint32_t count)
{
	kcp_receiver_consume(&kcp->receiver, kcp->config.pool, count);
	if (kcp->receiver.reopened) {
		kcp->receiver.reopened = false;
		kcp->probe |= KCP_PROBE_TELL;
		kcp->tells_left = KCP_TELLS;
		kcp->tell_wait_ms = 0;
	}
}

int64_t kcp_peek_len(struct kcp *kcp)
{
	size_t len;

	if (kcp->closed)
		return -ERR_CLOSED;
	return next_message(kcp, &len) > 0 ? (int64_t)len : -EAGAIN;
}

int kcp_recv(struct kcp *kcp, void *buf, size_t cap, size_t *ret_len)
{
	struct iovec iov[KCP_FRAGMENTS_MAX + 1];
	uint8_t *at = buf;
	uint32_t count;
	size_t len;

	if (kcp->closed)
		return -ERR_CLOSED;
	count = next_message(kcp, &len);
	if (count == 0)
		return -EAGAIN;
	if (len > cap)
		return -EMSGSIZE;
	kcp_receiver_show(&kcp->receiver, count, iov);
	for (uint32_t i = 0; i < count; i++) {
		if (iov[i].iov_len > 0)
			memcpy(at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	consume(kcp, count);
	kcp->stats.received_bytes += len;
	*ret_len = len;
	return 0;
}

int kcp_recv_iov(struct kcp *kcp, struct iovec *iov, int max, size_t *ret_len)
{
	uint32_t count;
	size_t len;

	if (kcp->closed)
		return -ERR_CLOSED;
	count = next_message(kcp, &len);
	if (count == 0)
		return -EAGAIN;
	if (max < 1 || count > (uint32_t)max)
		return -EMSGSIZE;
	if (kcp->config.stream && count == 1)
		count = kcp_receiver_run(&kcp->receiver, (uint32_t)max, &len);
	kcp_receiver_show(&kcp->receiver, count, iov);
	*ret_len = len;
	return (int)count;
}

void kcp_recv_consume(struct kcp *kcp)
{
	if (kcp->receiver.shown == 0)
		return;
	kcp->stats.received_bytes += kcp->receiver.shown_bytes;
	consume(kcp, kcp->receiver.shown);
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

/* Something waits that the next flush would put out, or decide about. */
static bool work_waits(const struct kcp *kcp)
{
	if (kcp->probe != 0 || kcp->sender.suspects > 0)
		return true;
	if (kcp->rmt_wnd == 0 && kcp->probe_wait_ms == 0)
		return true;
	if (kcp->sender.queued == 0 || kcp->paced)
		return false;
	/* kcp-go's congestion window opens at the end of the first flush */
	if (!kcp->config.no_congestion_window && kcp->cwnd.segments == 0)
		return true;
	return kcp_classic_may_send(kcp);
}

static struct mono dead_at(const struct kcp *kcp)
{
	struct mono at = MONO_NEVER;

	if (kcp->config.dead_link_us == 0 || kcp->stalled)
		return MONO_NEVER;
	if (kcp->sender.unacked > 0)
		at = mono_add_us(kcp->progress_at, kcp->config.dead_link_us);
	return at;
}

static struct mono flush_at(const struct kcp *kcp)
{
	struct mono at = kcp->sender.unacked > 0 ? kcp->resend_at : MONO_NEVER;

	if (kcp->flush_wanted || acks_urgent(kcp))
		return kcp->flushed_at;
	if (kcp->rmt_wnd == 0 && kcp->probe_wait_ms != 0)
		at = mono_min(at, kcp->probe_at);
	if (kcp->tells_left > 0 && kcp->tell_wait_ms != 0)
		at = mono_min(at, kcp->tell_at);
	if (kcp->acks_count > 0)
		at = mono_min(at, kcp_classic_acks_due(kcp));
	if (kcp->paced && kcp->sender.queued > 0)
		at = mono_min(at, mono_add_us(kcp_turn_at(kcp), KCP_WINDOW_PACE_TURN_US));
	if (work_waits(kcp))
		at = mono_min(at, mono_add_ms(kcp->flushed_at, kcp->config.interval_ms));
	return at;
}

struct mono kcp_next_deadline(const struct kcp *kcp)
{
	if (kcp->closed)
		return MONO_NEVER;
	return mono_min(flush_at(kcp), dead_at(kcp));
}

void kcp_on_deadline(struct kcp *kcp, struct mono now)
{
	if (kcp->closed)
		return;
	if (mono_due(dead_at(kcp), now))
		kcp->stalled = true;
	if (mono_due(flush_at(kcp), now))
		kcp_classic_flush(kcp, false, now);
}

bool kcp_is_dead(const struct kcp *kcp)
{
	return kcp->stalled || kcp->forgotten;
}

void kcp_set_dead_link(struct kcp *kcp, int64_t dead_link_us)
{
	kcp->config.dead_link_us = dead_link_us;
}
