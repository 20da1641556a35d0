/*
 * Loss, as the sender of the TCP model sees it. A segment is lost if one sent later came a round trip and a margin ago. The
 * margin is nothing as long as the path never reordered and three segments are sacked, else a quarter of the least round
 * trip, more after the receiver told of duplicates. A probe asks when acknowledgements cease; the time-out comes last.
 *
 * The window falls at once in what it is headed for (`threshold`) and in proportion to what is delivered in fact. A
 * reduction is undone if the timestamps say that the original came before what was resent.
 *
 * Sources: RFC 8985 (RACK-TLP), RFC 6937 (PRR), RFC 6298 (RTO), RFC 3522 (Eifel), as Linux has them.
 */
#include "inner_tcp_state.h"

enum {
	RTO_MIN_US = 200000, /* of the variance's part */
	RTO_MAX_US = 120000000,
	RTO_START_US = 1000000,
	PROBE_MARGIN_US = 2000,
	PROBE_ALONE_US = 200000, /* a delayed acknowledgement */
	REORDER_MARGIN_US = 2000,
	DUPLICATES = 3,
	STEPS_MAX = 16,
	BACKOFF_MAX = 10,
};

int64_t inner_tcp_rto_us(const struct inner_tcp *tcp)
{
	int64_t var_us = 4 * tcp->var_us;

	if (tcp->srtt_us == 0)
		return RTO_START_US;
	return tcp->srtt_us + (var_us > RTO_MIN_US ? var_us : RTO_MIN_US);
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static bool sent_before(struct mono a, uint64_t a_end, struct mono b, uint64_t b_end)
{
	return mono_before(a, b) || (a.us == b.us && a_end < b_end);
}

void inner_tcp_rack_delivered(
	struct inner_tcp *tcp, const struct inner_tcp_segment *segment, struct inner_tcp_news *news)
{
	int64_t rtt_us = mono_diff_us(news->now, segment->at);
	uint64_t end = segment->first + segment->len;

	/* An acknowledgement of the original, not of what was resent a moment ago. */
	if (segment->ever_resent && rtt_us < tcp->min_rtt_us)
		return;
	if (!sent_before(tcp->rack_at, tcp->rack_end, segment->at, end))
		return;
	tcp->rack_at = segment->at;
	tcp->rack_end = end;
	tcp->rack_rtt_us = rtt_us;
}

static int64_t reorder_us(const struct inner_tcp *tcp)
{
	if (!tcp->reordered && (tcp->phase >= INNER_TCP_RECOVERY || tcp->sacked >= DUPLICATES))
		return 0;
	return least(tcp->min_rtt_us / 4 * tcp->rack_steps, tcp->srtt_us);
}

static void mark_lost(struct inner_tcp *tcp, uint32_t i)
{
	struct inner_tcp_segment *segment = inner_tcp_segment_at(tcp, i);

	if (segment->resent) {
		tcp->resent--;
		segment->resent = false;
	}
	if (!segment->lost)
		tcp->lost++;
	segment->lost = true;
	tcp->waiting++;
	if (tcp->waiting == 1 || (int32_t)(i - tcp->resend_hint) < 0)
		tcp->resend_hint = i;
}

void inner_tcp_rack_detect(struct inner_tcp *tcp, struct inner_tcp_news *news)
{
	int64_t wait_us = 0, margin_us = reorder_us(tcp);

	tcp->reorder_at = MONO_NEVER;
	for (uint32_t i = tcp->seg_first; i != tcp->seg_next; i++) {
		const struct inner_tcp_segment *segment = inner_tcp_segment_at(tcp, i);
		bool later = !sent_before(
			segment->at, segment->first + segment->len, tcp->rack_at, tcp->rack_end);
		if (later && !segment->ever_resent)
			break; /* as all behind it */
		if (later || segment->sacked || (segment->lost && !segment->resent))
			continue;
		int64_t left_us =
			tcp->rack_rtt_us + margin_us - mono_diff_us(news->now, segment->at);
		if (left_us <= 0) {
			mark_lost(tcp, i);
			news->newly_lost = true;
		} else if (left_us > wait_us) {
			wait_us = left_us;
		}
	}
	if (wait_us > 0)
		tcp->reorder_at = mono_add_us(news->now, wait_us + REORDER_MARGIN_US);
}

/* ---- phases ----------------------------------------------------------------------------------------------------- */

/* An acknowledgement of what is still out must not look like one of an original. */
static void forget_resends(struct inner_tcp *tcp)
{
	tcp->resent_any = tcp->resent_any && tcp->resent > 0;
}

static void remember(struct inner_tcp *tcp)
{
	tcp->prior_window = tcp->window;
	tcp->prior_threshold = tcp->threshold;
	forget_resends(tcp);
}

static void reduce(struct inner_tcp *tcp, enum inner_tcp_phase phase)
{
	if (tcp->phase == INNER_TCP_STEADY) {
		remember(tcp);
		tcp->reduce_from = tcp->window;
		tcp->reduce_delivered = 0;
		tcp->reduce_out = 0;
		tcp->threshold = inner_tcp_control_threshold(tcp);
	}
	tcp->phase = phase;
	tcp->recover_end = tcp->nxt;
	tcp->probe_end = 0;
}

static void undo(struct inner_tcp *tcp)
{
	tcp->stats.undone++;
	if (tcp->window < tcp->prior_window)
		tcp->window = tcp->prior_window;
	if (tcp->threshold < tcp->prior_threshold)
		tcp->threshold = tcp->prior_threshold;
	for (uint32_t i = tcp->seg_first; i != tcp->seg_next; i++) {
		struct inner_tcp_segment *segment = inner_tcp_segment_at(tcp, i);
		if (segment->lost && !segment->resent)
			tcp->waiting--;
		tcp->lost -= segment->lost;
		segment->lost = false;
	}
	tcp->phase = INNER_TCP_STEADY;
	forget_resends(tcp);
}

/* RFC 6937, with Linux's slow-start part. */
static void follow_delivery(struct inner_tcp *tcp, const struct inner_tcp_news *news)
{
	uint32_t flying = inner_tcp_in_flight(tcp);
	int64_t delta = (int64_t)tcp->threshold - flying, count;

	if (news->delivered == 0 || tcp->reduce_from == 0)
		return;
	tcp->reduce_delivered += news->delivered;
	if (delta < 0) {
		int64_t due =
			((int64_t)tcp->threshold * tcp->reduce_delivered + tcp->reduce_from - 1) /
			tcp->reduce_from;
		count = due - tcp->reduce_out;
	} else {
		count = (int64_t)tcp->reduce_delivered - tcp->reduce_out;
		if (count < news->delivered)
			count = news->delivered;
		count += news->advanced && !news->newly_lost;
		count = least(delta, count);
	}
	if (count < (tcp->reduce_out == 0))
		count = tcp->reduce_out == 0;
	tcp->window = flying + (uint32_t)(count > 0 ? count : 0);
}

static void finish(struct inner_tcp *tcp)
{
	if (tcp->phase == INNER_TCP_RECOVERY || tcp->phase == INNER_TCP_REDUCING)
		tcp->window = tcp->threshold;
	tcp->phase = INNER_TCP_STEADY;
	forget_resends(tcp);
}

void inner_tcp_judge(
	struct inner_tcp *tcp, struct inner_tcp_news *news, uint32_t echoed_ms, bool ece)
{
	bool repairing = tcp->phase == INNER_TCP_RECOVERY || tcp->phase == INNER_TCP_LOSS;

	if (news->dsack && tcp->rack_steps < STEPS_MAX)
		tcp->rack_steps++;
	if (repairing && news->advanced && tcp->resent_any && echoed_ms != 0 &&
		(int32_t)(echoed_ms - tcp->resent_ms) < 0)
		undo(tcp);
	if (tcp->phase != INNER_TCP_STEADY && tcp->una >= tcp->recover_end)
		finish(tcp);
	if (tcp->sacked > 0 || tcp->lost > 0 || tcp->resent > 0)
		inner_tcp_rack_detect(tcp, news);
	else
		tcp->reorder_at = MONO_NEVER;
	if (tcp->lost > 0 && (tcp->phase == INNER_TCP_STEADY || tcp->phase == INNER_TCP_REDUCING)) {
		reduce(tcp, INNER_TCP_RECOVERY);
		tcp->stats.recoveries++;
	}
	if (ece && tcp->phase == INNER_TCP_STEADY && tcp->una >= tcp->cwr_end) {
		reduce(tcp, INNER_TCP_REDUCING);
		tcp->say_cwr = true;
		tcp->cwr_end = tcp->nxt;
		tcp->stats.marks++;
	}
	if (tcp->phase == INNER_TCP_RECOVERY || tcp->phase == INNER_TCP_REDUCING)
		follow_delivery(tcp, news);
	else if (news->advanced)
		inner_tcp_control_grow(tcp, news->delivered, news->now);
}

/* ---- timers ----------------------------------------------------------------------------------------------------- */

/* Asks for a probe where nothing is known to be amiss. */
void inner_tcp_arm(struct inner_tcp *tcp, struct mono now)
{
	int64_t wait_us = 2 * tcp->srtt_us + PROBE_MARGIN_US;

	tcp->probe_at = MONO_NEVER;
	if (inner_tcp_out(tcp) == 0 || tcp->phase > INNER_TCP_REDUCING || tcp->sacked > 0 ||
		tcp->probe_end != 0 || tcp->srtt_us == 0)
		return;
	if (inner_tcp_out(tcp) == 1)
		wait_us += PROBE_ALONE_US;
	tcp->probe_at = mono_min(mono_add_us(now, wait_us), tcp->rto_at);
}

static void send_probe(struct inner_tcp *tcp, struct mono now)
{
	tcp->stats.probes++;
	tcp->probe_at = MONO_NEVER;
	tcp->probe_resent = false;
	if (!inner_tcp_send_new(tcp, now)) {
		inner_tcp_resend(tcp, tcp->seg_next - 1, now);
		tcp->probe_resent = true;
	}
	tcp->probe_end = tcp->nxt;
	tcp->rto_at = mono_add_us(now, inner_tcp_rto_us(tcp) << tcp->backoff);
}

static void time_out(struct inner_tcp *tcp, struct mono now)
{
	tcp->stats.timeouts++;
	if (tcp->phase != INNER_TCP_LOSS) {
		if (tcp->phase == INNER_TCP_STEADY)
			remember(tcp);
		tcp->threshold = inner_tcp_control_threshold(tcp);
		tcp->resent_any = false;
	}
	inner_tcp_control_timeout(tcp);
	tcp->phase = INNER_TCP_LOSS;
	tcp->recover_end = tcp->nxt;
	tcp->probe_end = 0;
	tcp->probe_at = tcp->reorder_at = MONO_NEVER;
	tcp->lost = tcp->resent = tcp->waiting = 0;
	for (uint32_t i = tcp->seg_first; i != tcp->seg_next; i++) {
		struct inner_tcp_segment *segment = inner_tcp_segment_at(tcp, i);
		segment->lost = segment->resent = false;
		if (!segment->sacked)
			mark_lost(tcp, i);
	}
	tcp->resend_hint = tcp->seg_first;
	tcp->window = 1;
	tcp->window_part = 0;
	if (tcp->backoff < BACKOFF_MAX)
		tcp->backoff++;
	tcp->rto_at = mono_add_us(now, least(inner_tcp_rto_us(tcp) << tcp->backoff, RTO_MAX_US));
	inner_tcp_output(tcp, now);
}

void inner_tcp_timers(struct inner_tcp *tcp, struct mono now)
{
	struct inner_tcp_news news = {.now = now, .una_before = tcp->una};

	if (inner_tcp_out(tcp) == 0) {
		tcp->rto_at = tcp->probe_at = tcp->reorder_at = MONO_NEVER;
		return;
	}
	if (mono_due(tcp->reorder_at, now)) {
		inner_tcp_judge(tcp, &news, 0, false);
		inner_tcp_output(tcp, now);
	}
	if (mono_due(tcp->probe_at, now))
		send_probe(tcp, now);
	else if (mono_due(tcp->rto_at, now))
		time_out(tcp, now);
}
