/*
 * From segments to a datagram: the head of the plaintext in front, padding behind, a key and a number, into the row of native_tx.
 *
 *     | header 16 | kind, cidx 4 | segments ... | PROBE sn 0: padding | tag 16 |
 *                   ^ plaintext, on a cache line
 *
 * A path asks for room (begin) and says what it wrote (end); nothing else is added to the row in between, so numbers leave in
 * the order in which they were taken. CONTROL goes in datagrams of its own, since each has its own address and size.
 *
 * Nothing is sent without a confirmed session that is young enough: begin() asks for it each time, and without one gives no
 * room, so that no number is burnt. A quiet session that is too old for messages (native_session.c) gives none while any wait.
 *
 * Padding is a PROBE segment, at least 24 bytes. So a padded plaintext must leave that much free or have the right length by
 * itself; room and pieces are shortened by it, rather than to let some datagrams show their true length.
 */
#include "kcp/kcp_segment.h"
#include "session/session_frame.h"
#include "stack/native_state.h"

#include <string.h>

enum {
	PADDING_STEP_BYTES = 16,
	/* Room that a piece leaves in its datagram: a repair is so much longer than its longest source. */
	REPAIR_EXTRA_BYTES = 12,
};

_Static_assert((int)KCPVPN_NATIVE_OVERHEAD_BYTES == (int)SEAL_OVERHEAD_BYTES + SESSION_FRAME_BYTES +
							    KCP_OVERHEAD_BYTES + REPAIR_EXTRA_BYTES,
	"what the public header promises");

struct native_sizes native_output_sizes(enum kcpvpn_padding padding, uint32_t datagram_bytes)
{
	uint32_t plaintext = datagram_bytes - SEAL_OVERHEAD_BYTES;
	struct native_sizes sizes = {
		.payload_bytes = plaintext - REPAIR_EXTRA_BYTES - SESSION_FRAME_BYTES,
		.piece_bytes = datagram_bytes - KCPVPN_NATIVE_OVERHEAD_BYTES,
		.full_bytes = plaintext / PADDING_STEP_BYTES * PADDING_STEP_BYTES,
	};

	if (padding == KCPVPN_PADDING_NONE)
		return sizes;
	if (padding == KCPVPN_PADDING_16) /* a repair is one step longer */
		sizes.full_bytes -= PADDING_STEP_BYTES;
	sizes.payload_bytes = sizes.full_bytes - KCP_OVERHEAD_BYTES - SESSION_FRAME_BYTES;
	if (sizes.piece_bytes > sizes.payload_bytes - KCP_OVERHEAD_BYTES)
		sizes.piece_bytes = sizes.payload_bytes - KCP_OVERHEAD_BYTES;
	return sizes;
}

static uint8_t *write_segment(
	const struct kcp_path *path, uint8_t *at, uint8_t cmd, size_t len, struct mono now)
{
	struct kcp_segment segment = {.cmd = cmd, .len = (uint32_t)len};

	kcp_path_header_fields(path, now, &segment.wnd, &segment.ts);
	return kcp_segment_write(at, &segment);
}

/* Appends padding that makes `len` bytes of plaintext `want`; `want` is `len` or at least a segment's header more. */
static void fill(
	const struct kcp_path *path, uint8_t *plaintext, size_t len, size_t want, struct mono now)
{
	if (want == len)
		return;
	size_t body = want - len - KCP_OVERHEAD_BYTES;
	memset(write_segment(path, plaintext + len, KCP_CMD_PROBE, body, now), 0, body);
}

/* Length that the peer's padding gives to a plaintext of `len` bytes. */
static size_t padded(const struct kcpvpn_peer *peer, size_t len)
{
	enum kcpvpn_padding padding = peer->config.padding;
	size_t want = (len + PADDING_STEP_BYTES - 1) / PADDING_STEP_BYTES * PADDING_STEP_BYTES;

	if (padding == KCPVPN_PADDING_NONE)
		return len;
	if (padding == KCPVPN_PADDING_FULL)
		want = native_output_sizes(padding, path_mtu_size(&peer->data.mtu)).full_bytes;
	if (want != len && want < len + KCP_OVERHEAD_BYTES)
		want = (len + KCP_OVERHEAD_BYTES + PADDING_STEP_BYTES - 1) / PADDING_STEP_BYTES *
		       PADDING_STEP_BYTES;
	return want;
}

uint8_t native_output_tos(struct kcpvpn_peer *peer, unsigned mark, bool data)
{
	enum {
		ECT_0 = 2,
		DSCP_SHIFT = 2,
	};
	struct native_data_state *state = &peer->data;
	unsigned dscp = peer->config.dscp >= 0 ? (unsigned)peer->config.dscp : mark;
	unsigned tos = dscp << DSCP_SHIFT;

	if (!data || !peer->config.ecn || !state->path ||
		!(peer->hs.limits.features & NATIVE_FEATURE_ECN))
		return (uint8_t)tos;
	struct ecn_path_news news = {.marked = kcp_path_stats(state->path)->ce_reported};
	news.acked = kcp_path_carried(state->path, &news.lost_row);
	if (ecn_path_on(&state->ecn, &news, peer->native->now))
		tos |= ECT_0;
	return (uint8_t)tos;
}

/* Hands over a plaintext that stands where native_tx_payload() said. `waits`: silence from now on means something. */
static void put_out(struct kcpvpn_peer *peer, struct native_session *session, size_t len,
	uint64_t pn, const struct native_address *to, bool waits, uint8_t tos, struct mono now)
{
	struct native_data_state *data = &peer->data;

	peer->native->data.tx.tos = tos;
	native_tx_add(&peer->native->data.tx, len, &session->send, session->remote_index, pn, to);
	session->data.sealed++;
	data->counters.out_datagrams++;
	data->counters.out_bytes += len + SEAL_OVERHEAD_BYTES;
	liveness_sent(&data->live, waits, now);
	native_follow_sent(peer, waits, now);
	if (waits)
		data->wants_confirm = false;
}

/* The session to seal with now, if there is all that sending takes. */
static struct native_session *sending(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_data_state *data = &peer->data;

	if (!data->running || !data->path || kcp_path_next_pn(data->path) >= SEAL_COUNTER_END)
		return NULL;
	return native_session_alive(peer, now);
}

bool native_output_possible(struct kcpvpn_peer *peer, struct mono now)
{
	return sending(peer, now) && peer->data.address.port;
}

static uint8_t *output_begin(void *ctx, size_t *ret_room)
{
	struct kcpvpn_peer *peer = ctx;
	struct kcpvpn_native *native = peer->native;
	struct native_session *session = sending(peer, native->now);

	if (!session || !peer->data.address.port ||
		(!native_session_young(session, native->now) &&
			kcp_path_tx_slots(peer->data.path) > 0))
		return NULL;
	native->data.out_session = session;
	*ret_room = native_output_sizes(peer->config.padding, path_mtu_size(&peer->data.mtu))
			    .payload_bytes;
	return native_tx_payload(&native->data.tx) + SESSION_FRAME_BYTES;
}

static void output_end(void *ctx, uint64_t pn, size_t len, unsigned flags)
{
	struct kcpvpn_peer *peer = ctx;
	struct kcpvpn_native *native = peer->native;
	uint8_t *plaintext = native_tx_payload(&native->data.tx);
	struct session_frame frame = {.kind = SESSION_FRAME_PLAIN};
	size_t plain_len = SESSION_FRAME_BYTES + len;
	size_t want = padded(peer, plain_len);

	if (flags & KCP_PATH_OUT_DATA)
		native_session_loud(native->data.out_session, native->now);
	fill(peer->data.path, plaintext, plain_len, want, native->now);
	native_fec_mark(peer, flags, pn, plaintext + SESSION_FRAME_BYTES,
		want - SESSION_FRAME_BYTES, native->now, &frame);
	session_frame_write(plaintext, &frame);
	bool data = (flags & (KCP_PATH_OUT_RT | KCP_PATH_OUT_BULK)) != 0;
	put_out(peer, native->data.out_session, want, pn, &peer->data.address,
		(flags & KCP_PATH_OUT_ASKS) != 0,
		native_output_tos(peer, flags >> KCP_PATH_OUT_MARK_SHIFT, data), native->now);
}

/* Only losses tell something about the path MTU, and acknowledgements that they are over. */
static void output_fate(void *ctx, uint64_t pn, size_t bytes, bool lost)
{
	struct kcpvpn_peer *peer = ctx;
	uint32_t size = (uint32_t)(SESSION_FRAME_BYTES + bytes + SEAL_OVERHEAD_BYTES);

	(void)pn;
	native_fec_fate(peer, lost, peer->native->now);
	if (peer->config.padding != KCPVPN_PADDING_NONE)
		size = (uint32_t)(padded(peer, SESSION_FRAME_BYTES + bytes) + SEAL_OVERHEAD_BYTES);
	native_follow_fate(peer, size, lost, peer->native->now);
	if (lost)
		path_mtu_lost(&peer->data.mtu, size, peer->native->now);
	else
		path_mtu_acked(&peer->data.mtu, size, peer->native->now);
}

static void output_loan_over(void *ctx, void *loan)
{
	const struct kcpvpn_peer *peer = ctx;
	const struct kcpvpn_native_config *config = &peer->native->config;

	config->loan_over(config->ctx, loan);
}

void native_output_io(struct kcpvpn_peer *peer, struct kcp_path_io *ret_io)
{
	*ret_io = (struct kcp_path_io){
		.ctx = peer,
		.begin = output_begin,
		.end = output_end,
		.control_check = native_control_check,
		.control = native_control_act,
		.fate = output_fate,
		.loan_over = output_loan_over,
	};
}

bool native_output_control(struct kcpvpn_peer *peer, const struct native_control_out *out,
	const void *body, size_t len, struct mono now)
{
	struct native_tx *tx = &peer->native->data.tx;
	struct native_session *session = sending(peer, now);
	struct kcp_path *path = peer->data.path;
	const struct session_frame frame = {.kind = SESSION_FRAME_PLAIN};
	size_t plain_len = SESSION_FRAME_BYTES + KCP_OVERHEAD_BYTES + len;
	size_t want = plain_len;

	if (!session || !out->to->port)
		return false;
	if (out->datagram_bytes > 0)
		want = out->datagram_bytes - SEAL_OVERHEAD_BYTES;
	else if (padded(peer, plain_len) + SEAL_OVERHEAD_BYTES <= out->most_bytes)
		want = padded(peer, plain_len);
	if ((want != plain_len && want < plain_len + KCP_OVERHEAD_BYTES) ||
		want > tx->payload_max_bytes)
		return false;
	uint8_t *plaintext = native_tx_payload(tx);
	uint64_t pn = kcp_path_take_pn(path, out->extra, want - SESSION_FRAME_BYTES, now);
	session_frame_write(plaintext, &frame);
	memcpy(write_segment(path, plaintext + SESSION_FRAME_BYTES, KCP_CMD_CONTROL, len, now),
		body, len);
	fill(path, plaintext, plain_len, want, now);
	put_out(peer, session, want, pn, out->to, out->waits, native_output_tos(peer, 0, false),
		now);
	return true;
}

uint8_t *native_output_repair_begin(struct kcpvpn_peer *peer, size_t *ret_room, struct mono now)
{
	const struct native_session *session = sending(peer, now);

	if (!session || !native_session_young(session, now) || !peer->data.address.port)
		return NULL;
	*ret_room = path_mtu_size(&peer->data.mtu) - SEAL_OVERHEAD_BYTES;
	return native_tx_payload(&peer->native->data.tx);
}

size_t native_output_repair_end(
	struct kcpvpn_peer *peer, size_t len, unsigned mark, struct mono now)
{
	struct native_data_state *data = &peer->data;
	size_t want = len;

	if (peer->config.padding == KCPVPN_PADDING_16)
		want = (len + PADDING_STEP_BYTES - 1) / PADDING_STEP_BYTES * PADDING_STEP_BYTES;
	/* A symbol goes on with as many zeros as one likes. */
	memset(native_tx_payload(&peer->native->data.tx) + len, 0, want - len);
	uint64_t pn = kcp_path_take_pn(
		data->path, KCP_PATH_EXTRA_REPAIR, want - SESSION_FRAME_BYTES, now);
	struct native_session *session = native_session_sending(peer, now);
	native_session_loud(session, now);
	put_out(peer, session, want, pn, &data->address, true, native_output_tos(peer, mark, true),
		now);
	return want + SEAL_OVERHEAD_BYTES;
}

void native_output_keepalive(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_data_state *data = &peer->data;
	struct native_session *session = sending(peer, now);

	if (!session || !data->address.port)
		return;
	(void)native_tx_payload(&peer->native->data.tx);
	put_out(peer, session, 0, kcp_path_take_pn(data->path, KCP_PATH_EXTRA_QUIET, 0, now),
		&data->address, false, native_output_tos(peer, 0, false), now);
}
