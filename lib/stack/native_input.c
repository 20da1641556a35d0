/*
 * What arrives, by type. Word and size decide; what fits neither is counted and forgotten.
 *
 * DATA goes in two steps, so that the cipher works on many datagrams at once:
 *
 *     of each:  index -> shard -> counter -> window, read only -> age        cheap, and changes nothing
 *     of all:   tag, plaintext                                             (open_batch)
 *     of each:  window, for good -> session confirmed -> path -> frame       in the order of arrival
 *
 * The second look at the window is the one that counts: two copies in one batch both pass the first. Between the first step and
 * the last a session may be gone, by what an earlier datagram of the batch said (CLOSE, another instance). So the last step looks
 * it up again, and takes it only if it is the very same.
 *
 * A window is small until it is used: 192 counters in the session itself, then the whole of it on the heap. Growing loses
 * nothing, since it happens before a counter falls out of the small one, on either side: while it is small all that ever came
 * lies in it, so what is below it never came, and is judged by the span that the window would have.
 */
#include "core/endian.h"
#include "core/stage_clock.h"
#include "crypto/handshake.h"
#include "session/session_frame.h"
#include "stack/native_state.h"

#include <stdlib.h>

enum {
	SHARD_MASK = NATIVE_INDEX_STEP - 1,
	ECN_MASK = 3, /* of the outer header */
	ECN_CE = 3,
	WORD_DATA = 0x010c,
	DATA_LEAST_BYTES = SEAL_OVERHEAD_BYTES + SESSION_FRAME_PLAINTEXT_BYTES_MIN,
	SMALL_SPAN = (NATIVE_WINDOW_SMALL_WORDS - 1) * REPLAY_WORD_BITS,
	FULL_SPAN = (REPLAY_WORDS_DEFAULT - 1) * REPLAY_WORD_BITS,
};

/* DATA that passed the first step. */
struct intake {
	size_t count;
	struct open_item items[KCPVPN_BATCH_MAX];
	struct native_session *sessions[KCPVPN_BATCH_MAX];
	uint64_t serials[KCPVPN_BATCH_MAX];
	struct seal_header headers[KCPVPN_BATCH_MAX];
	const struct kcpvpn_datagram *datagrams[KCPVPN_BATCH_MAX];
};

/* ---- the window -------------------------------------------------------------------------------------------------- */

/* True while the small window holds all that was committed. Without memory to grow it may be outrun. */
static bool small_holds_all(const struct native_session_data *data)
{
	return data->window.words == data->small && data->window.has_top &&
	       data->window.top - data->least < SMALL_SPAN;
}

static void grow_window(struct native_session_data *data)
{
	uint64_t *words = malloc(REPLAY_WORDS_DEFAULT * sizeof(*words));
	struct replay old = data->window;

	if (!words)
		return;
	if (!small_holds_all(data)) {
		(void)replay_detach(&data->window);
		replay_attach(&data->window, words, REPLAY_WORDS_DEFAULT);
		return;
	}
	replay_init(&data->window);
	replay_attach(&data->window, words, REPLAY_WORDS_DEFAULT);
	for (uint64_t c = data->least; c <= old.top; c++)
		if (replay_judge(&old, c) == REPLAY_DUPLICATE)
			(void)replay_commit(&data->window, c);
}

bool native_window_fresh(const struct native_session_data *data, uint64_t counter)
{
	switch (replay_judge(&data->window, counter)) {
	case REPLAY_FRESH:
		return true;
	case REPLAY_TOO_OLD:
		return small_holds_all(data) && data->window.top - counter < FULL_SPAN;
	case REPLAY_DUPLICATE:
	case REPLAY_BEYOND:
	case REPLAY_VERDICTS:
		break;
	}
	return false;
}

bool native_window_commit(struct native_session_data *data, uint64_t counter)
{
	struct replay *window = &data->window;
	bool first = !window->has_top;

	if (!native_window_fresh(data, counter))
		return false;
	if (window->words == data->small && !first &&
		(counter > window->top ? counter - data->least : window->top - counter) >=
			SMALL_SPAN)
		grow_window(data);
	if (replay_commit(window, counter) != REPLAY_FRESH)
		return false;
	if (first || counter < data->least)
		data->least = counter;
	return true;
}

/* ---- first step -------------------------------------------------------------------------------------------------- */

static bool expired(const struct native_session *session, struct mono now)
{
	return mono_due(native_session_ends(session), now);
}

static void take_data(struct kcpvpn_native *native, struct intake *intake,
	const struct kcpvpn_datagram *d, struct mono now)
{
	struct kcpvpn_native_stats *stats = &native->stats;
	struct seal_header header;
	enum seal_verdict verdict = seal_header_read(d->data, d->len, &header);
	/* The index is looked up first, as its place in the header says. */
	struct native_session *session = native_session_find(native, load_le32(d->data + 4));

	if (!session) {
		stats->drop_index++;
		return;
	}
	if ((load_le32(d->data + 4) & SHARD_MASK) != native->shard) {
		stats->drop_shard++;
		return;
	}
	if (verdict != SEAL_OK) {
		stats->drop_counter++;
		return;
	}
	if (!native_window_fresh(&session->data, header.counter)) {
		stats->drop_replay++;
		session->peer->data.counters.drop_replay++;
		return;
	}
	if (expired(session, now)) {
		stats->drop_expired++;
		session->peer->data.counters.drop_expired++;
		return;
	}
	size_t i = intake->count++;
	intake->items[i] =
		(struct open_item){.datagram = d->data, .len = d->len, .key = session->recv};
	intake->sessions[i] = session;
	intake->serials[i] = session->data.serial;
	intake->headers[i] = header;
	intake->datagrams[i] = d;
}

/* ---- last step --------------------------------------------------------------------------------------------------- */

/* Segments to the path, answers back. */
static void read_frame(struct native_session *session, const struct native_address *from,
	const struct open_item *item, uint64_t pn, bool ce, struct mono now)
{
	struct kcpvpn_peer *peer = session->peer;
	struct kcpvpn_native *native = peer->native;
	struct native_reply *reply = &native->data.reply;
	struct session_frame frame = {.kind = SESSION_FRAME_PLAIN};
	enum session_frame_verdict head =
		session_frame_parse(item->payload, item->payload_len, &frame);

	if (head != SESSION_FRAME_OK && head != SESSION_FRAME_KEEPALIVE) {
		native->stats.drop_frame++;
		peer->data.counters.drop_malformed++;
		return;
	}
	size_t at = head == SESSION_FRAME_OK ? frame.body_at : 0;
	bool repair = session_frame_is_repair(frame.kind);
	if (!native_session_young(session, now) &&
		(repair || kcp_path_holds_data(item->payload + at, item->payload_len - at))) {
		native->stats.drop_expired++;
		peer->data.counters.drop_expired++;
		return;
	}
	if (!native_data_have_path(peer)) {
		native->stats.drop_memory++;
		return;
	}
	const uint64_t *in_data = &kcp_path_stats(peer->data.path)->in_data;
	uint64_t before = *in_data;
	if (repair) {
		native_session_loud(session, now);
		if (!native_fec_repair(
			    peer, &frame, pn, item->payload, item->payload_len, ce, now)) {
			native->stats.drop_frame++;
			peer->data.counters.drop_malformed++;
			return;
		}
		peer->data.wants_input_done = true;
		return;
	}
	native_reply_begin(reply, from, item->len, frame.kind == SESSION_FRAME_PLAIN);
	switch (kcp_path_input(
		peer->data.path, pn, item->payload + at, item->payload_len - at, ce, false, now)) {
	case KCP_PATH_OK:
	case KCP_PATH_ALREADY:
		break;
	case KCP_PATH_NO_MEMORY:
		native->stats.drop_memory++;
		break;
	case KCP_PATH_BAD_CONTROL:
		native->stats.drop_control++;
		peer->data.counters.drop_malformed++;
		return;
	case KCP_PATH_BAD_LENGTH:
	case KCP_PATH_VERDICTS:
		native->stats.drop_frame++;
		peer->data.counters.drop_malformed++;
		return;
	}
	if (*in_data != before)
		native_session_loud(session, now);
	native_fec_source(peer, &frame, pn, item->payload + at, item->payload_len - at, now);
	peer->data.wants_input_done = true;
	native_reply_send(peer, reply, now);
	if (reply->closed)
		native_session_closed_by_peer(peer, now);
}

static void note_life(struct kcpvpn_peer *peer, struct native_session *session,
	const struct native_address *from, uint64_t pn, size_t datagram_bytes, struct mono now)
{
	struct native_data_state *data = &peer->data;
	bool newest = !data->has_largest || pn > data->largest;

	native_loss_in_note(
		&data->loss_in, data->path, pn, data->has_largest ? data->largest : pn, now);
	if (newest)
		data->largest = pn;
	data->has_largest = true;
	data->last_rx_at = now;
	if (session->data.serial == data->confirm_serial)
		data->confirm_at = MONO_NEVER;
	if (liveness_heard(&data->live, datagram_bytes == SEAL_DATAGRAM_MIN, now)) {
		peer->hs.trouble = NULL;
		native_peer_judge(peer);
	}
	native_path_heard(peer, from, datagram_bytes, newest, now);
}

static void read_data(struct kcpvpn_native *native, const struct kcpvpn_udp_port *port,
	struct intake *intake, size_t i, struct mono now)
{
	const struct open_item *item = &intake->items[i];
	const struct kcpvpn_datagram *d = intake->datagrams[i];
	struct native_session *session = intake->sessions[i];
	struct native_address from = {d->remote, d->local, port};
	uint64_t pn = intake->headers[i].counter;

	if (native_session_find(native, intake->headers[i].receiver_index) != session ||
		session->data.serial != intake->serials[i]) {
		native->stats.drop_index++;
		return;
	}
	struct kcpvpn_peer *peer = session->peer;
	if (item->verdict != SEAL_OK) {
		native->stats.drop_tag++;
		peer->data.counters.drop_tag++;
		return;
	}
	if (!native_window_commit(&session->data, pn)) {
		native->stats.drop_replay++;
		peer->data.counters.drop_replay++;
		return;
	}
	peer->data.counters.in_datagrams++;
	peer->data.counters.in_bytes += d->len;
	if (!native_session_authentic(session, &from, now)) {
		native->stats.drop_index++;
		return;
	}
	note_life(peer, session, &from, pn, d->len, now);
	if (item->payload_len == 0)
		native_session_show(session, now);
	read_frame(session, &from, item, pn, (d->tos & ECN_MASK) == ECN_CE, now);
	native_data_tell(peer, now);
	native_peer_touch(peer);
}

static void settle(struct kcpvpn_native *native, const struct kcpvpn_udp_port *port,
	struct intake *intake, struct mono now)
{
	if (intake->count == 0)
		return;
	enum stage before = stage_enter(native->data.tx.stages, STAGE_OPEN);
	stage_did(native->data.tx.stages, intake->count);
	open_batch(intake->items, intake->count);
	(void)stage_enter(native->data.tx.stages, before);
	for (size_t i = 0; i < intake->count; i++)
		read_data(native, port, intake, i, now);
	intake->count = 0;
}

/* ---- the door ---------------------------------------------------------------------------------------------------- */

/* @return false if the datagram is nothing that we know */
static bool take(struct kcpvpn_native *native, const struct kcpvpn_udp_port *port,
	struct intake *intake, const struct kcpvpn_datagram *d, struct mono now)
{
	const struct native_address from = {d->remote, d->local, port};
	uint32_t word = d->len >= 4 ? load_le32(d->data) : 0;

	if (word == WORD_DATA) {
		if ((d->len != SEAL_DATAGRAM_MIN && d->len < DATA_LEAST_BYTES) ||
			d->len > native->config.datagram_max_bytes)
			return false;
		take_data(native, intake, d, now);
		return true;
	}
	if (native_is_follower(native))
		return false;
	if (word == HANDSHAKE_WORD_INIT && d->len == HANDSHAKE_INIT_BYTES) {
		/* Only queued, so DATA may go on being collected: a flood of these costs no batches. */
		native_respond_init(native, &from, d->data, now);
		return true;
	}
	if (word == HANDSHAKE_WORD_RESP && d->len == HANDSHAKE_RESP_BYTES) {
		settle(native, port, intake, now);
		native_initiate_resp(native, &from, d->data, now);
		return true;
	}
	if (word == HANDSHAKE_WORD_COOKIE && d->len == HANDSHAKE_COOKIE_BYTES) {
		native_initiate_cookie(native, &from, d->data, now);
		return true;
	}
	if (word == HANDSHAKE_WORD_REJECT && d->len == HANDSHAKE_REJECT_BYTES) {
		native_initiate_reject(native, &from, d->data, now);
		return true;
	}
	return false;
}

void kcpvpn_native_input(struct kcpvpn_native *native, const struct kcpvpn_udp_port *port,
	const struct kcpvpn_datagram *batch, size_t count, int64_t now_us)
{
	struct intake intake;

	native->now = mono_at_us(now_us);
	intake.count = 0;
	enum stage before = stage_enter(native->data.tx.stages, STAGE_RECEIVE);
	if (count > KCPVPN_BATCH_MAX)
		count = KCPVPN_BATCH_MAX;
	for (size_t i = 0; i < count; i++) {
		native->stats.in_datagrams++;
		native->stats.in_bytes += batch[i].len;
		if (!take(native, port, &intake, &batch[i], native->now))
			native->stats.drop_type++;
	}
	settle(native, port, &intake, native->now);
	(void)stage_enter(native->data.tx.stages, before);
}
