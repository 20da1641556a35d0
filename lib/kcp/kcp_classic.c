/*
 * Acknowledgements in, and the order of a flush: waiting ACKs, probes, then in order of number what must be sent again,
 * then what is new. The bytes and their order are kcp-go's; the way there is not. kcp-go walks the whole window at every ack
 * and every flush. Here
 *
 *  - an ack walks the watched segments below it (kcp_send.h): those are the holes;
 *  - a segment that was resent for later acks is not watched until it times out (profile 5.6.72 says it must not count
 *    any more; leaving the list says the same and costs nothing);
 *  - `resend_at` is a lower bound of all timeouts. It goes down when something is sent and is made exact by the walk
 *    over the window that it triggers. An acknowledged segment may leave it too early: one walk in vain per timeout, not
 *    one per flush. With nothing in flight it is "never".
 *
 * Later acks count only against segments sent no later than the acknowledged one (its echoed ts), so a resend is not
 * suspected for acks of what had left before it. Where the window is measured, time takes the place of the count
 * (kcp_classic_holes.c), acks of several datagrams share one, and the last go twice.
 *
 * Wire time is milliseconds modulo 2^32, and so are ts, rto and due of a segment; everything else is struct mono.
 *
 * Source: kcp-go 5.6.1 and 5.6.72, checked by their transcripts.
 */
#include "kcp/kcp_classic.h"

#include "kcp/kcp_state.h"

#include <stdlib.h>
#include <string.h>

enum {
	PROBE_FIRST_5_6_1_MS = 7000,
	PROBE_FIRST_5_6_72_MS = 500,
	PROBE_MAX_MS = 120000,
	COPIES_MAX = 64, /* a flush */
	COPIES_LEAST_PPM = 120000,
	COPIES_LEAST_FEC_PPM = 30000,
	AHEAD_LEAST = 2, /* segments behind the pace */
};

/* A datagram that is being filled. `start` is NULL if the caller had no room: then it is counted out, not written. */
struct writer {
	struct kcp *kcp;
	uint8_t *start;
	size_t used;
	unsigned flags;
	bool open;
};

static void writer_close(struct writer *out)
{
	struct kcp *kcp = out->kcp;

	if (!out->open)
		return;
	if (out->start) {
		kcp->output.end(kcp->output.ctx, out->used, out->flags);
		kcp->stats.out_datagrams++;
	} else {
		kcp->stats.no_buffer++;
	}
	out->open = false;
}

static void write_segment(struct writer *out, const struct kcp_segment *segment, unsigned flags)
{
	struct kcp *kcp = out->kcp;
	size_t bytes = KCP_OVERHEAD_BYTES + segment->len;

	if (out->open && out->used + bytes > kcp->config.mtu_bytes)
		writer_close(out);
	if (!out->open) {
		out->start = kcp->output.begin(kcp->output.ctx);
		out->used = 0;
		out->flags = 0;
		out->open = true;
	}
	if (out->start) {
		uint8_t *body = kcp_segment_write(out->start + out->used, segment);
		if (segment->len > 0)
			memcpy(body, segment->data, segment->len);
	}
	out->used += bytes;
	out->flags |= flags;
	kcp->stats.out_segments++;
}

/* Losses are found by time, not by a number of later acks. */
static bool by_time(const struct kcp *kcp)
{
	return kcp->config.measured_window && kcp->config.fast_resend > 0;
}

/* ---- what the peer acknowledged --------------------------------------------------------------------------------- */

static void acknowledge(
	struct kcp *kcp, uint32_t sn, struct kcp_progress *progress, struct mono now)
{
	const struct kcp_tx *tx = kcp_sender_at(&kcp->sender, sn);

	kcp_window_acked(&kcp->window, &tx->flight, kcp_cost_bytes(tx),
		(tx->flags & KCP_TX_LIMITED) != 0, tx->sendings == 1, now);
	kcp_sender_ack(&kcp->sender, kcp->config.pool, sn);
	kcp->progress_at = now;
	kcp->stalled = false;
	progress->acked = true;
	if (kcp->sender.unacked == 0)
		kcp->resend_at = MONO_NEVER;
}

void kcp_classic_una(struct kcp *kcp, uint32_t una, struct kcp_progress *progress, struct mono now)
{
	struct kcp_sender *sender = &kcp->sender;

	if (kcp_sn_before(sender->nxt, una)) {
		kcp->stats.bad_una++;
		return;
	}
	while (kcp_sn_before(sender->una, una)) {
		if (!(kcp_sender_at(sender, sender->una)->flags & KCP_TX_ACKED))
			acknowledge(kcp, sender->una, progress, now);
		sender->una++;
		progress->una_moved = true;
	}
}

/*
 * Counts an ack of `sn` against the watched segments below it that were sent no later. These are few: holes that were not
 * resent yet. A peer that acknowledges the top of a large window again and again could make them all of it, every time; so
 * a datagram has a bound on steps, which no honest one comes near. The oldest holes come first.
 */
static void count_later_ack(
	struct kcp *kcp, uint32_t sn, uint32_t ts, struct kcp_progress *progress)
{
	struct kcp_sender *sender = &kcp->sender;
	uint32_t at = sender->watch_head;

	for (uint32_t left = sender->watched; left > 0; left--) {
		if (!kcp_sn_before(at, sn) || progress->steps++ >= KCP_LATER_ACK_STEPS)
			return;
		struct kcp_tx *tx = kcp_sender_at(sender, at);
		at = tx->watch_next;
		if ((int32_t)(tx->ts_ms - ts) > 0)
			continue;
		if (tx->later_acks++ == 0)
			sender->suspects++;
		if (tx->later_acks >= kcp->config.fast_resend)
			progress->fast_reached = true;
	}
}

void kcp_classic_ack(
	struct kcp *kcp, uint32_t sn, uint32_t ts, struct kcp_progress *progress, struct mono now)
{
	struct kcp_sender *sender = &kcp->sender;

	progress->saw_ack = true;
	progress->ack_ts = ts;
	if (!kcp_sn_before(sn, sender->nxt)) {
		kcp->stats.bad_ack++;
		return;
	}
	if (kcp_sn_before(sn, sender->una))
		return;
	bool first = !(kcp_sender_at(sender, sn)->flags & KCP_TX_ACKED);
	if (first && by_time(kcp))
		kcp_holes_acked(kcp, sn, ts);
	if (first)
		acknowledge(kcp, sn, progress, now);
	if (!by_time(kcp))
		count_later_ack(kcp, sn, ts, progress);
}

void kcp_classic_note(struct kcp *kcp, uint32_t sn, uint32_t ts, struct mono now)
{
	if (kcp->acks_count == kcp->acks_capacity) {
		uint32_t capacity = kcp->acks_capacity ? kcp->acks_capacity * 2 : KCP_RING_MIN;
		struct kcp_ack *acks = NULL;
		if (capacity <= KCP_ACKS_MAX)
			acks = realloc(kcp->acks, capacity * sizeof(*acks));
		if (!acks) { /* the peer sends it again, and then there is room */
			kcp->stats.ack_overflow++;
			return;
		}
		kcp->acks = acks;
		kcp->acks_capacity = capacity;
	}
	if (kcp->acks_count == 0)
		kcp->acks_at = now;
	kcp->acks[kcp->acks_count++] = (struct kcp_ack){sn, ts};
}

void kcp_classic_datagram(
	struct kcp *kcp, const struct kcp_progress *progress, bool regular, struct mono now)
{
	if (progress->saw_ack && regular)
		kcp_rtt_update(&kcp->rtt, (int32_t)(kcp_segment_ms(now) - progress->ack_ts));
	if (progress->una_moved && !kcp->config.no_congestion_window)
		kcp_cwnd_acked(&kcp->cwnd, kcp->rmt_wnd, kcp->mss_bytes);
	if (progress->acked)
		kcp_window_update(&kcp->window, now);
	if (by_time(kcp) && kcp_holes_find(kcp, now))
		kcp->flush_wanted = true;
	if (progress->una_moved)
		kcp->flush_wanted = true;
	if (progress->fast_reached && kcp->config.profile == KCP_PROFILE_5_6_72)
		kcp->flush_wanted = true;
	/* Under a measured window room comes from any ack, not only from the edge: a hole must not stall the pipe. */
	if (progress->acked && kcp->config.measured_window && kcp->sender.queued > 0)
		kcp->flush_wanted = true;
}

/* ---- what may be in flight -------------------------------------------------------------------------------------- */

static uint32_t window_segments(const struct kcp *kcp)
{
	uint32_t window = kcp->config.snd_wnd < kcp->rmt_wnd ? kcp->config.snd_wnd : kcp->rmt_wnd;

	if (!kcp->config.no_congestion_window && kcp->cwnd.segments < window)
		window = kcp->cwnd.segments;
	return window;
}

uint64_t kcp_classic_limit_bytes(const struct kcp *kcp)
{
	uint64_t least = (uint64_t)KCP_MEASURED_WND_MIN * kcp->config.mtu_bytes;
	uint64_t measured;

	if (!kcp->config.measured_window)
		return UINT64_MAX;
	measured = kcp_window_bytes(&kcp->window);
	return measured > least ? measured : least;
}

static uint64_t in_flight_cost(const struct kcp *kcp)
{
	return kcp->sender.unacked_bytes + (uint64_t)kcp->sender.unacked * KCP_OVERHEAD_BYTES;
}

static bool fits(const struct kcp *kcp, uint32_t window, uint64_t limit_bytes)
{
	return kcp_sn_before(kcp->sender.nxt, kcp->sender.una + window) &&
	       in_flight_cost(kcp) < limit_bytes;
}

bool kcp_classic_may_send(const struct kcp *kcp)
{
	return fits(kcp, window_segments(kcp), kcp_classic_limit_bytes(kcp));
}

/*
 * Segments that the pace lets go soon. What is beyond would wait behind it in the order it came, and a ping behind a window
 * of bulk. There is always room for some: what waits for the pace has a deadline, and who asks for room is told then.
 */
static uint64_t by_pace(const struct kcp *kcp, struct mono now)
{
	uint64_t segments;

	if (!kcp->config.measured_window)
		return UINT64_MAX;
	segments = kcp_window_ahead_bytes(&kcp->window, kcp->config.mtu_bytes, now) /
		   kcp->config.mtu_bytes;
	return segments > AHEAD_LEAST ? segments : AHEAD_LEAST;
}

uint32_t kcp_classic_room(const struct kcp *kcp, struct mono now)
{
	uint32_t used = kcp->sender.nxt - kcp->sender.una;
	uint32_t window = window_segments(kcp);

	/* kcp-go's congestion window is 0 until the end of the first flush, and who waits for it to open would not flush. */
	if (window == 0 && kcp->rmt_wnd > 0)
		window = 1;
	uint64_t limit = kcp_classic_limit_bytes(kcp);
	uint64_t cost = in_flight_cost(kcp);

	if (used >= window || cost >= limit)
		return 0;
	/* The last one may pass the limit, as in fits(). */
	uint64_t by_bytes = (limit - cost - 1) / kcp->config.mtu_bytes + 1;
	if (by_pace(kcp, now) < by_bytes)
		by_bytes = by_pace(kcp, now);
	return by_bytes < window - used ? (uint32_t)by_bytes : window - used;
}

/* ---- flush ------------------------------------------------------------------------------------------------------ */

struct flush {
	struct kcp *kcp;
	struct writer out;
	struct kcp_segment segment; /* conv, wnd and una are those of the whole flush */
	struct mono now;
	uint32_t now_ms;
	int64_t now_ms_us; /* `now` cut to whole milliseconds, where segments' due times count from */
	bool moved;	   /* new segments go in this flush */
	uint32_t fast;	   /* resends for later acks, early ones included */
	uint32_t lost;	   /* resends by timeout */
	uint32_t twice[COPIES_MAX]; /* numbers that go once more at the end */
	uint32_t twice_count;
};

static void write_ack(struct flush *flush, const struct kcp_ack *ack)
{
	flush->segment.sn = ack->sn;
	flush->segment.ts = ack->ts;
	write_segment(&flush->out, &flush->segment, KCP_OUT_ACK);
}

/*
 * While a segment is missing here una stands still, and a datagram of acks that is lost makes the peer send again all that
 * they told of. So the last acks go once more with the next ones, in front: peers take the round-trip time from the last.
 */
static void repeat_acks(struct flush *flush)
{
	struct kcp *kcp = flush->kcp;
	uint32_t most = kcp->config.mtu_bytes / KCP_OVERHEAD_BYTES;

	for (uint32_t i = 0; i < kcp->told_count && i + kcp->acks_count < most; i++)
		if (!kcp_sn_before(kcp->told[i].sn, kcp->receiver.nxt))
			write_ack(flush, &kcp->told[i]);
	kcp->told_count = 0;
}

static void write_acks(struct flush *flush)
{
	struct kcp *kcp = flush->kcp;

	if (kcp->acks_count > 0)
		repeat_acks(flush);
	for (uint32_t i = 0; i < kcp->acks_count; i++) {
		const struct kcp_ack *ack = &kcp->acks[i];
		/* una tells of what is below the edge; the last one goes for its ts */
		if (kcp_sn_before(ack->sn, kcp->receiver.nxt) && i + 1 < kcp->acks_count)
			continue;
		write_ack(flush, ack);
		if (kcp->config.measured_window && kcp->told_count < KCP_ACKS_TOLD)
			kcp->told[kcp->told_count++] = *ack;
	}
	kcp->acks_count = 0;
}

static void update_probe(struct kcp *kcp, const struct flush *flush)
{
	uint32_t first_ms = kcp->config.profile == KCP_PROFILE_5_6_72 ? PROBE_FIRST_5_6_72_MS
								      : PROBE_FIRST_5_6_1_MS;

	if (kcp->rmt_wnd != 0) {
		kcp->probe_wait_ms = 0;
		return;
	}
	if (kcp->probe_wait_ms == 0) {
		kcp->probe_wait_ms = first_ms;
	} else if (mono_due(kcp->probe_at, flush->now)) {
		kcp->probe_wait_ms += kcp->probe_wait_ms / 2;
		if (kcp->probe_wait_ms > PROBE_MAX_MS)
			kcp->probe_wait_ms = PROBE_MAX_MS;
		kcp->probe |= KCP_PROBE_ASK;
	} else {
		return;
	}
	kcp->probe_at = mono_add_ms(mono_at_us(flush->now_ms_us), kcp->probe_wait_ms);
}

/*
 * The one segment that says that the window is open again may be lost. The peer then sends nothing, and with it nothing
 * is acknowledged that would say it in passing; kcp-go asks after seven seconds. So it is told again, until something comes.
 */
static void update_tell(struct kcp *kcp, const struct flush *flush)
{
	if (kcp->tells_left == 0)
		return;
	if (kcp->tell_wait_ms == 0) {
		kcp->tell_wait_ms = KCP_TELL_FIRST_MS;
	} else if (mono_due(kcp->tell_at, flush->now)) {
		kcp->tells_left--;
		kcp->tell_wait_ms *= 2;
		kcp->probe |= KCP_PROBE_TELL;
	} else {
		return;
	}
	kcp->tell_at = mono_add_ms(flush->now, kcp->tell_wait_ms);
}

static void write_probes(struct flush *flush)
{
	struct kcp *kcp = flush->kcp;

	update_probe(kcp, flush);
	update_tell(kcp, flush);
	if (kcp->probe & KCP_PROBE_ASK) {
		flush->segment.cmd = KCP_CMD_WASK;
		write_segment(&flush->out, &flush->segment, KCP_OUT_PROBE);
	}
	if (kcp->probe & KCP_PROBE_TELL) {
		flush->segment.cmd = KCP_CMD_WINS;
		write_segment(&flush->out, &flush->segment, KCP_OUT_PROBE);
	}
	kcp->probe = 0;
}

static void lower_resend_at(struct flush *flush, uint32_t due_ms)
{
	int64_t wait_ms = (int32_t)(due_ms - flush->now_ms);
	struct mono at = mono_add_ms(mono_at_us(flush->now_ms_us), wait_ms);

	flush->kcp->resend_at = mono_min(flush->kcp->resend_at, at);
}

/* Sends a segment, for the first time or again, with the timeout that is set in it. */
static void transmit(struct flush *flush, uint32_t sn, struct kcp_tx *tx)
{
	struct kcp *kcp = flush->kcp;

	kcp_window_sent(&kcp->window, &tx->flight, tx->sendings > 0, flush->now);
	if (kcp_window_limited(&kcp->window))
		tx->flags |= KCP_TX_LIMITED;
	else
		tx->flags &= (uint8_t)~KCP_TX_LIMITED;
	tx->ts_ms = flush->now_ms;
	tx->due_ms = flush->now_ms + tx->rto_ms;
	tx->sendings++;
	if (tx->sendings >= KCP_DEAD_SENDINGS)
		kcp->state = UINT32_MAX;
	flush->segment.cmd = KCP_CMD_PUSH;
	flush->segment.frg = tx->frg;
	flush->segment.ts = tx->ts_ms;
	flush->segment.sn = sn;
	flush->segment.len = tx->len;
	flush->segment.data = tx->slot;
	write_segment(&flush->out, &flush->segment,
		tx->sendings > 1 ? KCP_OUT_PUSH | KCP_OUT_RESEND : KCP_OUT_PUSH);
}

static void forget_later_acks(struct kcp_sender *sender, struct kcp_tx *tx)
{
	if (tx->later_acks > 0 && (tx->flags & KCP_TX_WATCHED))
		sender->suspects--;
	tx->later_acks = 0;
}

/*
 * What a timeout allows for beyond kcp-go's, where the window is measured. kcp-go takes its samples from the last ACK of a
 * datagram, which waited least; those in front of it waited up to an interval more, and our own window makes a queue of up
 * to a quarter of the round trip. Without this grace one datagram of ACKs that is late sends a whole interval's data again.
 */
static uint32_t grace_ms(const struct kcp *kcp)
{
	if (!kcp->config.measured_window)
		return 0;
	return kcp->config.interval_ms + kcp->rtt.srtt_ms / 4;
}

/*
 * All behind a hole waits for it. Where one resend in five or ten is lost again, that is two round trips and more most of
 * the time. A second copy costs what is resent once more and nearly ends that. Behind FEC only what parity could not mend
 * is resent, so that a smaller share of it tells of as much loss.
 */
static bool goes_twice(const struct kcp *kcp)
{
	uint32_t least = kcp->config.group_datagrams > 0 ? COPIES_LEAST_FEC_PPM : COPIES_LEAST_PPM;

	return by_time(kcp) && kcp_window_resent_ppm(&kcp->window) >= least;
}

/* Behind all else, as far from the first copy as this flush can. */
static void send_copies(struct flush *flush)
{
	struct kcp *kcp = flush->kcp;

	for (uint32_t i = 0; i < flush->twice_count; i++) {
		const struct kcp_tx *tx = kcp_sender_at(&kcp->sender, flush->twice[i]);
		kcp_window_pace(
			&kcp->window, kcp_cost_bytes(tx), kcp->config.mtu_bytes, flush->now);
		flush->segment.cmd = KCP_CMD_PUSH;
		flush->segment.frg = tx->frg;
		flush->segment.ts = tx->ts_ms;
		flush->segment.sn = flush->twice[i];
		flush->segment.len = tx->len;
		flush->segment.data = tx->slot;
		write_segment(&flush->out, &flush->segment, KCP_OUT_PUSH | KCP_OUT_RESEND);
	}
}

/* Resends an unacknowledged segment if there is a reason, the first that holds. */
static void resend_if_due(struct flush *flush, uint32_t sn, struct kcp_tx *tx)
{
	struct kcp *kcp = flush->kcp;
	struct kcp_sender *sender = &kcp->sender;
	uint32_t threshold = kcp->config.fast_resend ? kcp->config.fast_resend : UINT32_MAX;
	bool enough =
		by_time(kcp) ? kcp_holes_lost(kcp, tx, flush->now) : tx->later_acks >= threshold;

	if (enough || (tx->later_acks > 0 && !flush->moved && !by_time(kcp))) {
		if (enough)
			kcp->stats.fast_segments++;
		else
			kcp->stats.early_segments++;
		flush->fast++;
		tx->rto_ms = kcp->rtt.rto_ms + grace_ms(kcp);
		if (kcp->config.profile == KCP_PROFILE_5_6_72 && !by_time(kcp))
			kcp_sender_unwatch(sender, sn); /* fast only once per timeout */
		forget_later_acks(sender, tx);
	} else if ((int32_t)(flush->now_ms - tx->due_ms) >= 0) {
		kcp->stats.lost_segments++;
		flush->lost++;
		tx->rto_ms += kcp->config.nodelay ? kcp->rtt.rto_ms / 2 : kcp->rtt.rto_ms;
		forget_later_acks(sender, tx);
		kcp_sender_watch(sender, sn);
	} else {
		return;
	}
	kcp_window_pace(&kcp->window, kcp_cost_bytes(tx), kcp->config.mtu_bytes, flush->now);
	transmit(flush, sn, tx);
	if (flush->twice_count < COPIES_MAX && goes_twice(kcp))
		flush->twice[flush->twice_count++] = sn;
}

/* Sends again what is due among [una, end): by a walk over all if a timeout may have come, else over the suspects. */
static void resend(struct flush *flush, uint32_t end)
{
	struct kcp *kcp = flush->kcp;
	struct kcp_sender *sender = &kcp->sender;

	if (mono_due(kcp->resend_at, flush->now)) {
		kcp->resend_at = MONO_NEVER;
		for (uint32_t sn = sender->una; sn != end; sn++) {
			struct kcp_tx *tx = kcp_sender_at(sender, sn);
			if (tx->flags & KCP_TX_ACKED)
				continue;
			resend_if_due(flush, sn, tx);
			lower_resend_at(flush, tx->due_ms);
		}
		return;
	}
	uint32_t sn = sender->watch_head;
	for (uint32_t left = sender->suspects; left > 0;) {
		struct kcp_tx *tx = kcp_sender_at(sender, sn);
		uint32_t next = tx->watch_next;
		if (tx->later_acks > 0) {
			left--;
			resend_if_due(flush, sn, tx);
			lower_resend_at(flush, tx->due_ms);
		}
		sn = next;
	}
}

/* Sends queued segments as far as the windows allow, but not before the resends: `first` is where they begin. */
static void send_new(struct flush *flush, uint32_t first)
{
	struct kcp *kcp = flush->kcp;
	struct kcp_sender *sender = &kcp->sender;

	for (uint32_t sn = first; sn != sender->nxt; sn++) {
		struct kcp_tx *tx = kcp_sender_at(sender, sn);
		tx->rto_ms = kcp->rtt.rto_ms + grace_ms(kcp);
		transmit(flush, sn, tx);
		kcp_sender_watch(sender, sn);
		lower_resend_at(flush, tx->due_ms);
	}
}

/* Moves queued segments in flight. @return the number of the first */
static uint32_t move_queued(struct kcp *kcp, uint32_t window, uint64_t limit_bytes, struct mono now)
{
	struct kcp_sender *sender = &kcp->sender;
	uint32_t first = sender->nxt;

	if (sender->unacked == 0)
		kcp->progress_at = now;
	kcp->paced = false;
	while (sender->queued > 0 && fits(kcp, window, limit_bytes)) {
		if (kcp->config.measured_window && !mono_due(kcp->window.pace_at, now)) {
			kcp->paced = true;
			break;
		}
		const struct kcp_tx *tx = kcp_sender_next(sender);
		kcp_window_pace(&kcp->window, kcp_cost_bytes(tx), kcp->config.mtu_bytes, now);
	}
	return first;
}

static void flush_data(struct flush *flush)
{
	struct kcp *kcp = flush->kcp;
	struct kcp_sender *sender = &kcp->sender;
	uint32_t window = window_segments(kcp);
	uint64_t limit_bytes = kcp_classic_limit_bytes(kcp);
	bool idle = sender->unacked == 0;
	uint32_t first = move_queued(kcp, window, limit_bytes, flush->now);

	flush->moved = first != sender->nxt;
	if (idle && flush->moved)
		kcp_window_restart(&kcp->window, flush->now);
	resend(flush, first);
	send_new(flush, first);
	send_copies(flush);

	if (in_flight_cost(kcp) >= limit_bytes)
		kcp_window_set_full(&kcp->window);
	else if (sender->queued == 0)
		kcp_window_set_limited(&kcp->window, in_flight_cost(kcp));
	if (kcp->config.no_congestion_window)
		return;
	if (flush->fast > 0)
		kcp_cwnd_fast(&kcp->cwnd, sender->nxt - sender->una,
			kcp->config.fast_resend ? kcp->config.fast_resend : UINT32_MAX,
			kcp->mss_bytes);
	if (flush->lost > 0)
		kcp_cwnd_timeout(&kcp->cwnd, window, kcp->mss_bytes);
	kcp_cwnd_flushed(&kcp->cwnd, kcp->mss_bytes);
}

/*
 * A full segment fills a datagram, so acks in front of it take one of their own, which FEC counts and repairs as if it were
 * full. A sender of bulk flushes at each turn of its pace and would send the acks of the other direction one by one: with
 * 10/3 and inner TCP that costs a tenth of the path. So they wait, but for a segment that has room beside them.
 */
static bool acks_may_wait(const struct kcp *kcp, struct mono now)
{
	const struct kcp_sender *sender = &kcp->sender;
	size_t bytes = (size_t)kcp->acks_count * KCP_OVERHEAD_BYTES;

	if (!kcp->config.measured_window || kcp->config.ack_no_delay || kcp->acks_count == 0 ||
		kcp_classic_acks_fill(kcp) || mono_due(kcp_classic_acks_due(kcp), now))
		return false;
	return sender->queued == 0 ||
	       bytes + kcp_sender_at(sender, sender->nxt)->len > kcp->mss_bytes;
}

bool kcp_classic_acks_fill(const struct kcp *kcp)
{
	return kcp->acks_count >= kcp->config.mtu_bytes / KCP_OVERHEAD_BYTES;
}

struct mono kcp_classic_acks_due(const struct kcp *kcp)
{
	return mono_add_us(kcp->config.measured_window ? kcp->acks_at : kcp->flushed_at,
		kcp->config.ack_delay_us);
}

void kcp_classic_flush(struct kcp *kcp, bool acks_only, struct mono now)
{
	struct flush flush = {
		.kcp = kcp,
		.out = {.kcp = kcp},
		.segment = {.conv = kcp->config.conv,
			.cmd = KCP_CMD_ACK,
			.wnd = kcp_receiver_free(&kcp->receiver),
			.una = kcp->receiver.nxt},
		.now = now,
		.now_ms = kcp_segment_ms(now),
		.now_ms_us = now.us / 1000 * 1000,
	};

	if (acks_only || !acks_may_wait(kcp, now))
		write_acks(&flush);
	if (!acks_only || kcp->config.profile == KCP_PROFILE_5_6_72)
		write_probes(&flush);
	if (!acks_only) {
		flush_data(&flush);
		kcp->flushed_at = now;
		kcp->flush_wanted = false;
	}
	writer_close(&flush.out);
}
