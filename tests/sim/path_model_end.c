/*
 * An end hides whether a path is the engine or the naive peer, and tells the observer of everything that passes. A small
 * queue stands in front of the path as the fair queue does in the daemon: what the path will not take now waits there.
 */
#include "tests/sim/path_model_end.h"

#include "kcp/kcp_path_state.h"
#include "tests/sim/path_model_wire.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

enum {
	CONTROL_BAD = 0xff, /* first byte of a body that is refused */
	CONTROL_ASK = 1,
	CONTROL_ANSWER = 2,
	END_SLOTS_SPARE = 256, /* held by a side that has memory for more */
};

/* ---- what a path calls ---------------------------------------------------------------------------------------------- */

static uint8_t *on_begin(void *ctx, size_t *ret_room)
{
	struct model_end *end = ctx;

	if (end->deaf_call)
		watch_fail(end->watch, "side %c puts out where it may not", 'A' + (int)end->side);
	if (end->refusing) {
		watch_refused(end->watch, end->side, end->now);
		return NULL;
	}
	*ret_room = end->config.payload_bytes;
	return end->room;
}

static void on_end(void *ctx, uint64_t pn, size_t len, unsigned flags)
{
	struct model_end *end = ctx;

	watch_out(end->watch, end->side, pn, end->room, len, (int)flags, end->now);
	end->carry(end->carry_ctx, end->side, pn, end->room, len, (int)flags);
}

static bool on_control_check(void *ctx, const uint8_t *body, size_t len)
{
	(void)ctx;
	return len == 0 || body[0] != CONTROL_BAD;
}

static void on_control(void *ctx, const uint8_t *body, size_t len, uint64_t pn)
{
	struct model_end *end = ctx;

	(void)pn;
	if (len > 0 && body[0] == CONTROL_BAD)
		watch_fail(end->watch, "a CONTROL that was refused is acted on");
	for (size_t i = 1; i < len; i++)
		if (body[i] != (uint8_t)(body[0] + i))
			watch_fail(end->watch, "a CONTROL is not what was sent");
	if (len > 0 && body[0] == CONTROL_ASK)
		end_control(end, CONTROL_ANSWER, len);
}

static void on_fate(void *ctx, uint64_t pn, size_t bytes, bool lost)
{
	struct model_end *end = ctx;

	watch_fate(end->watch, end->side, pn, bytes, lost, end->now);
}

/* ---- life ----------------------------------------------------------------------------------------------------------- */

void end_open(struct model_end *end, unsigned side, enum model_kind kind,
	const struct end_config *config, struct pool *pool, struct path_watch *watch,
	end_carry_fn carry, void *carry_ctx)
{
	struct kcp_path_io io = {.ctx = end,
		.begin = on_begin,
		.end = on_end,
		.control_check = on_control_check,
		.control = on_control,
		.fate = on_fate,
		.loan_over = path_loans_over};

	end->side = side;
	end->kind = kind;
	end->path = NULL;
	end->peer = NULL;
	end->watch = watch;
	end->carry = carry;
	end->carry_ctx = carry_ctx;
	end->config = *config;
	end->epoch = 0;
	end->stale = true;
	end->reading = true;
	end->refusing = false;
	end->deaf_call = false;
	end->holes = 0;
	end->loans = (struct path_loans){0};
	for (int q = 0; q < 2; q++)
		end->waiting[q].first = end->waiting[q].count = 0;
	if (kind == MODEL_PEER) {
		end->peer = model_peer_new(
			&(struct model_peer_config){.payload_bytes = config->payload_bytes,
				.piece_bytes = config->piece_bytes,
				.rx_credit_bytes = config->rx_credit_bytes,
				.peer_credit_bytes = config->peer_credit_bytes,
				.bulk_deadline_us = config->bulk_deadline_us,
				.window = config->window,
				.origin = config->origin,
				.seed = config->seed},
			&io);
		return;
	}
	int rc = kcp_path_new(&(struct kcp_path_config){.pool = pool,
				      .payload_bytes = config->payload_bytes,
				      .piece_bytes = config->piece_bytes,
				      .recv_message_max_bytes = config->message_max_bytes,
				      .send_message_max_bytes = config->message_max_bytes,
				      .rx_credit_bytes = config->rx_credit_bytes,
				      .peer_credit_bytes = config->peer_credit_bytes,
				      .bulk_deadline_us = config->bulk_deadline_us,
				      .rx_slots_max = config->rx_slots_max,
				      .tx_slots_max = config->tx_slots_max},
		&io, &end->path);
	if (rc != 0)
		watch_fail(watch, "kcp_path_new() gives %d", rc);
}

void end_close(struct model_end *end)
{
	kcp_path_free(end->path);
	if (end->loans.given != end->loans.over)
		watch_fail(end->watch, "%llu of %llu messages that were lent came back",
			(unsigned long long)end->loans.over, (unsigned long long)end->loans.given);
	model_peer_free(end->peer);
	end->path = NULL;
	end->peer = NULL;
}

void end_restart(struct model_end *end, uint32_t epoch, struct mono now)
{
	end->stale = true;
	end->now = now;
	end->epoch = epoch;
	watch_restart(end->watch, end->side, epoch, now);
	if (end->peer)
		model_peer_restart(
			end->peer, end->config.rx_credit_bytes, end->config.peer_credit_bytes);
	else
		kcp_path_restart(
			end->path, end->config.rx_credit_bytes, end->config.peer_credit_bytes);
}

/* ---- reading and writing -------------------------------------------------------------------------------------------- */

static bool goes_in_lane(const struct model_end *end, enum kcp_path_class class, uint32_t len)
{
	return class == KCP_PATH_CTL || class == KCP_PATH_BULK || len > end->config.piece_bytes;
}

void end_write(struct model_end *end, enum kcp_path_class class, uint32_t flow, uint32_t len)
{
	struct end_queue *queue = &end->waiting[goes_in_lane(end, class, len)];

	if (queue->count == END_QUEUE)
		return;
	queue->messages[(queue->first + queue->count++) % END_QUEUE] =
		(struct end_message){class, flow, len};
}

/*
 * How long the first piece is of the message that was just taken: only the engine knows what its datagrams have left. The
 * observer sees that the bytes are those, and charged for.
 */
static uint32_t first_piece(const struct kcp_path *path, uint32_t flow, uint32_t cut)
{
	const struct kcp_lane *lane = kcp_table_find(&path->lanes, flow);
	const struct kcp_sender *sender = &lane->sender;
	uint32_t last = sender->nxt - 1;
	uint32_t before = kcp_sender_at(sender, last)->index;

	return before == 0 ? cut : kcp_sender_at(sender, last - before)->len;
}

/* @return false if it must wait */
static bool offer(struct model_end *end, const struct end_message *m, struct mono now)
{
	const uint8_t *bytes = watch_next_message(end->watch, end->side, m->len);
	bool ordered = goes_in_lane(end, m->class, m->len);
	uint32_t cut = end->config.piece_bytes;
	int rc;

	if (end->peer) {
		rc = model_peer_send(end->peer, m->class, m->flow, bytes, m->len, now, &cut);
	} else {
		bool room = kcp_path_room(end->path, m->class, m->len, now);
		/* the longer half stays in memory of its own */
		rc = m->len > end->config.piece_bytes
			     ? path_loans_send(&end->loans, end->path, m->class, m->flow, bytes,
				       m->len, now)
			     : kcp_path_send(end->path, m->class, m->flow, bytes, m->len, now);
		if (rc == 0 && !room)
			watch_fail(end->watch, "a message was taken though there was no room");
	}
	if (rc == 0) {
		uint32_t head = ordered && end->path ? first_piece(end->path, m->flow, cut) : cut;
		watch_accepted(
			end->watch, end->side, m->class, m->flow, m->len, head, cut, ordered, now);
		return true;
	}
	if (rc == -EMSGSIZE) {
		if (m->len <= end->config.message_max_bytes &&
			m->len <= KCP_PATH_PIECES_MAX * end->config.piece_bytes)
			watch_fail(end->watch, "a message of %u bytes is called too long", m->len);
		return true;
	}
	if (rc != -EAGAIN && rc != -ENOBUFS)
		watch_fail(end->watch, "sending gives %d", rc);
	return false;
}

static void offer_all(struct model_end *end, struct mono now)
{
	for (int q = 0; q < 2; q++) {
		struct end_queue *queue = &end->waiting[q];
		while (queue->count > 0 && offer(end, &queue->messages[queue->first], now)) {
			queue->first = (queue->first + 1) % END_QUEUE;
			queue->count--;
		}
	}
}

static void read_all(struct model_end *end)
{
	struct iovec iov[KCP_PATH_PIECES_MAX];
	size_t len;

	if (end->peer) {
		while ((len = model_peer_recv(end->peer, end->message)) > 0)
			watch_delivered(end->watch, end->side, end->message, len, end->now);
		return;
	}
	int count;
	while ((count = kcp_path_recv_iov(end->path, iov, KCP_PATH_PIECES_MAX, &len)) > 0) {
		size_t at = 0;
		for (int i = 0; i < count && at + iov[i].iov_len <= sizeof(end->message); i++) {
			memcpy(end->message + at, iov[i].iov_base, iov[i].iov_len);
			at += iov[i].iov_len;
		}
		if (at != len)
			watch_fail(end->watch, "a message of %zu bytes has pieces of %zu", len, at);
		watch_delivered(end->watch, end->side, end->message, at, end->now);
		kcp_path_recv_consume(end->path);
	}
	if (count != -EAGAIN)
		watch_fail(end->watch, "kcp_path_recv_iov() gives %d", count);
}

static void judge_charge(struct model_end *end, struct mono now)
{
	uint64_t least = watch_charged(end->watch, end->side, now);
	uint64_t is = end->peer ? model_peer_charged(end->peer) : kcp_path_charged_bytes(end->path);

	if (is < least || (is > least && watch_charge_exact(end->watch, end->side, now)))
		watch_fail(end->watch, "side %c has %llu charged, should %llu",
			'A' + (int)end->side, (unsigned long long)is, (unsigned long long)least);
	if (is == 0 && least == 0)
		watch_charge_settled(end->watch, end->side);
}

static void flush(struct model_end *end, struct mono now)
{
	if (end->peer) {
		model_peer_flush(end->peer, now);
		return;
	}
	uint64_t refused = kcp_path_stats(end->path)->no_buffer;
	kcp_path_flush(end->path, now);
	if (kcp_path_stats(end->path)->no_buffer > refused &&
		mono_is_never(kcp_path_next_deadline(end->path)))
		watch_fail(end->watch, "side %c found no buffer and does not try again",
			'A' + (int)end->side);
}

void end_turn(struct model_end *end, struct mono now)
{
	end->stale = true;
	end->now = now;
	if (end->reading)
		read_all(end);
	offer_all(end, now);
	flush(end, now);
	judge_charge(end, now);
	watch_tick(end->watch, end->side, end_srtt_us(end), now);
	if (end->path) {
		const struct kcp_path_stats *stats = kcp_path_stats(end->path);
		uint32_t most = (end->config.rx_slots_max ? end->config.rx_slots_max : 12288) +
				(end->config.tx_slots_max ? end->config.tx_slots_max : 12288);
		if (kcp_path_slots(end->path) > most)
			watch_fail(end->watch, "%u slots are held", kcp_path_slots(end->path));
		if (stats->broken_messages > 0)
			watch_fail(end->watch, "a message is called broken");
	}
}

enum kcp_path_verdict end_input(struct model_end *end, uint64_t pn, const uint8_t *bytes,
	size_t len, bool ce, bool rebuilt, struct mono now)
{
	enum kcp_path_verdict verdict;

	end->stale = true;
	end->now = now;
	end->deaf_call = true;
	if (end->peer)
		verdict = model_peer_input(end->peer, pn, bytes, len, ce, rebuilt, now);
	else
		verdict = kcp_path_input(end->path, pn, bytes, len, ce, rebuilt, now);
	end->deaf_call = false;
	if (end->path && kcp_path_stats(end->path)->holes_given_up > end->holes) {
		end->holes = kcp_path_stats(end->path)->holes_given_up;
		watch_note_holes(end->watch, end->side);
	}
	watch_in(end->watch, end->side, pn, bytes, len, verdict, ce, rebuilt, now);
	if (verdict == KCP_PATH_NO_MEMORY && kcp_path_slots(end->path) < END_SLOTS_SPARE)
		watch_fail(end->watch, "pn %llu finds no memory though little is held",
			(unsigned long long)pn);
	return verdict;
}

void end_input_done(struct model_end *end, struct mono now)
{
	end->stale = true;
	end->now = now;
	if (end->peer)
		model_peer_input_done(end->peer, now);
	else
		kcp_path_input_done(end->path, now);
}

/* ---- time and settings ---------------------------------------------------------------------------------------------- */

struct mono end_next_deadline(struct model_end *end)
{
	if (end->stale)
		end->next_at = end->peer ? model_peer_next_deadline(end->peer)
					 : kcp_path_next_deadline(end->path);
	end->stale = false;
	return end->next_at;
}

void end_on_deadline(struct model_end *end, struct mono now)
{
	end->stale = true;
	end->now = now;
	if (end->peer)
		model_peer_on_deadline(end->peer, now);
	else
		kcp_path_on_deadline(end->path, now);
}

void end_trim(struct model_end *end, struct mono now)
{
	end->stale = true;
	if (end->peer)
		model_peer_trim(end->peer, now);
	else
		kcp_path_trim(end->path, now);
}

void end_set_mtu(struct model_end *end, uint32_t payload_bytes, uint32_t piece_bytes, bool final)
{
	end->stale = true;
	end->config.payload_bytes = payload_bytes;
	end->config.piece_bytes = piece_bytes;
	watch_set_mtu(end->watch, end->side, payload_bytes, piece_bytes, final);
	if (end->peer)
		model_peer_set_mtu(end->peer, payload_bytes, piece_bytes, final);
	else if (kcp_path_set_mtu(end->path, payload_bytes, piece_bytes, final) != 0)
		watch_fail(
			end->watch, "kcp_path_set_mtu(%u, %u) fails", payload_bytes, piece_bytes);
}

void end_set_bulk_deadline(struct model_end *end, int64_t deadline_us)
{
	if (!end->path)
		return;
	end->stale = true;
	end->config.bulk_deadline_us = deadline_us;
	watch_set_bulk_deadline(end->watch, end->side, deadline_us);
	kcp_path_set_bulk_deadline(end->path, deadline_us);
}

void end_reset_route(struct model_end *end, struct mono now)
{
	end->stale = true;
	if (end->path)
		kcp_path_reset_route(end->path, now);
}

void end_hint_rtt(struct model_end *end, int64_t rtt_us)
{
	end->stale = true;
	if (end->path)
		kcp_path_hint_rtt(end->path, rtt_us);
}

void end_control(struct model_end *end, uint8_t first, size_t len)
{
	uint8_t body[KCP_PATH_CONTROL_MAX_BYTES];

	end->stale = true;
	for (size_t i = 0; i < len; i++)
		body[i] = (uint8_t)(first + i);
	if (end->peer) {
		model_peer_control(end->peer, body, len);
		return;
	}
	int rc = kcp_path_control(end->path, body, len);
	if (rc != 0 && rc != -ENOBUFS)
		watch_fail(end->watch, "kcp_path_control() gives %d", rc);
}

void end_wask(struct model_end *end)
{
	end->stale = true;
	if (end->peer)
		model_peer_wask(end->peer);
	else
		kcp_path_wask(end->path);
}

void end_send_own(struct model_end *end, enum kcp_path_extra extra, uint8_t first, size_t len,
	struct mono now)
{
	uint8_t bytes[END_ROOM_BYTES];
	uint8_t body[END_ROOM_BYTES];
	struct model_seg seg = {.cmd = MODEL_CONTROL, .len = (uint32_t)len, .body = body};
	size_t total = len == 0 ? 0 : MODEL_SEG_BYTES + len;
	uint64_t pn;

	if (end->refusing)
		return;
	end->stale = true;
	end->now = now;
	for (size_t i = 0; i < len; i++)
		body[i] = (uint8_t)(first + i);
	if (extra == KCP_PATH_EXTRA_QUIET) {
		seg.cmd = MODEL_PROBE;
	} else if (len == 0) {
		return;
	}
	if (end->peer) {
		pn = model_peer_take_pn(end->peer, extra, total, now);
		seg.wnd = model_peer_wnd(end->peer);
	} else {
		pn = kcp_path_take_pn(end->path, extra, total, now);
		kcp_path_header_fields(end->path, now, &seg.wnd, &seg.ts);
	}
	if (total > 0)
		model_seg_put(bytes, &seg);
	int flags = extra == KCP_PATH_EXTRA_MTU_PROBE ? WATCH_OWN_PROBE : WATCH_OWN;
	watch_out(end->watch, end->side, pn, bytes, total, flags, now);
	end->carry(end->carry_ctx, end->side, pn, bytes, total, flags);
}

int64_t end_srtt_us(const struct model_end *end)
{
	return end->peer ? model_peer_srtt_us(end->peer) : kcp_path_srtt_us(end->path);
}

bool end_waits(const struct model_end *end)
{
	return end->waiting[0].count > 0 || end->waiting[1].count > 0;
}

void end_judge_silence(struct model_end *end)
{
	uint64_t charged =
		end->peer ? model_peer_charged(end->peer) : kcp_path_charged_bytes(end->path);

	if (charged > 0)
		watch_fail(end->watch, "side %c is silent with %llu bytes charged",
			'A' + (int)end->side, (unsigned long long)charged);
	if (!end->path)
		return;
	if (!kcp_path_idle(end->path))
		watch_fail(end->watch, "side %c is silent and not idle", 'A' + (int)end->side);
	if (kcp_path_in_flight_bytes(end->path) > 0)
		watch_fail(end->watch, "side %c is silent with %llu bytes in flight",
			'A' + (int)end->side,
			(unsigned long long)kcp_path_in_flight_bytes(end->path));
	if (kcp_path_slots(end->path) > 0)
		watch_fail(end->watch, "side %c is silent and holds %u slots", 'A' + (int)end->side,
			kcp_path_slots(end->path));
}
