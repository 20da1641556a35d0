/*
 * Two encoders and two decoders of a peer: thin ones for what is urgent (RT, CTL), bulk ones for the rest of what is resent. A
 * datagram of the path that holds either is a source of its encoder; what only answers (ACK, RACK, CONTROL) is sent again
 * by its own means or is worthless a moment later, and stays PLAIN.
 *
 *     path -> end() -> native_fec_mark()  source? -> encoder            datagram -> window -> path -> decoder
 *                            v                                                                  ^       |
 *                          policy: due? -> may the path let it go? -> repair      repair -------|-------+
 *                            ^                                                                  +-- rebuilt: into the path
 *                          loss: fates of what was sent
 *
 * Repairs have numbers of their own and pass window and pace like data, before and after each flush: bulk takes every opening
 * of the gate, so what waited for the end of a flush would wait for ever. They never go while urgent data waits, nor take
 * the last of what lets it pass a full window. What the other side rebuilt was lost all the same, for the window and for
 * the estimate.
 *
 * What is rebuilt goes into the path as such: it takes only data from it, reports it apart, and ignores it if that number came
 * already. The number is the largest below the repair's with the low half that the symbol holds (the decoder sees to it).
 *
 * Nothing is allocated for who never needs it: sending, the engine is made when loss was seen (or a fixed rate is configured) and
 * something is to be protected; receiving, with the first source or repair. It is some 2 KB and stays as long as the path, because the
 * indices must go on; what it points to (rings, symbols) goes 30 s after the last use.
 *
 * Sources: RFC 8680 and 8681 for the idea of a sliding window; lib/PROTOCOL.md section 8.
 */
#include "stack/native_fec.h"

#include "core/pool.h"
#include "core/stage_clock.h"
#include "fec/fec_policy.h"
#include "fec/rlc_decoder.h"
#include "fec/rlc_encoder.h"
#include "session/session_frame.h"
#include "stack/native_state.h"

#include <stdlib.h>

enum {
	/* What a source's datagram has beside its segments, and what its repair is longer. */
	SOURCE_OVERHEAD_BYTES = SEAL_OVERHEAD_BYTES + SESSION_FRAME_BYTES +
				RLC_REPAIR_HEADER_BYTES + RLC_SYMBOL_HEADER_BYTES,
	BULK_AGE_US = 1000000,	  /* older bulk is not covered: it was sent again */
	DECODER_AGE_US = 2000000, /* what is older is forgotten */
	QUEUE_US = 10000, /* a standing queue is at least this, or a quarter of the round trip */
	TRIM_LEAST_US = 5000000, /* memory is looked after no more often */
};

_Static_assert((int)NATIVE_FEC_WINDOW <= (int)RLC_WINDOW_MAX, "a decoder remembers that much");
_Static_assert((int)SESSION_FRAME_SOURCE_THIN == (int)RLC_KIND_THIN_SOURCE &&
		       (int)SESSION_FRAME_REPAIR_BULK == (int)RLC_KIND_BULK_REPAIR,
	"two names of one byte");

struct native_fec {
	struct fec_policy policy;
	struct rlc_encoder encoders[FEC_POLICY_ENCODERS];
	struct rlc_decoder decoders[FEC_POLICY_ENCODERS];
};

static const unsigned windows[FEC_POLICY_ENCODERS] = {
	FEC_POLICY_THIN_WINDOW, FEC_POLICY_BULK_WINDOW};
static const int64_t ages_us[FEC_POLICY_ENCODERS] = {FEC_POLICY_THIN_AGE_US, BULK_AGE_US};

size_t native_fec_slot_bytes(size_t datagram_max_bytes)
{
	return RLC_SLOT_BYTES(datagram_max_bytes - SOURCE_OVERHEAD_BYTES);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

void native_fec_init(struct native_fec_state *state)
{
	*state = (struct native_fec_state){0};
	loss_estimate_init(&state->loss);
}

/* Most sources that a repair to this peer may cover; 0 = send it none. */
static unsigned window_allowed(const struct kcpvpn_peer *peer)
{
	const struct native_params *limits = &peer->hs.limits;

	if (!peer->hs.has_limits || !(limits->features & NATIVE_FEATURE_FEC) ||
		peer->config.padding == KCPVPN_PADDING_FULL)
		return 0;
	return limits->fec_window_max;
}

static struct fec_policy_config policy_config(const struct kcpvpn_peer *peer)
{
	const struct kcpvpn_fec_config *fec = &peer->config.fec;

	_Static_assert((int)KCPVPN_FEC_OFF == (int)FEC_POLICY_OFF &&
			       (int)KCPVPN_FEC_FIXED == (int)FEC_POLICY_FIXED &&
			       (int)KCPVPN_FEC_ADAPTIVE == (int)FEC_POLICY_ADAPTIVE,
		"modes have one order");
	return (struct fec_policy_config){
		.mode = window_allowed(peer) > 0 ? (enum fec_policy_mode)fec->mode : FEC_POLICY_OFF,
		.data = fec->data,
		.parity = fec->parity,
		.max_overhead_percent = fec->max_overhead_percent,
		.tail_us = fec->tail_us,
	};
}

static unsigned encoder_window(const struct kcpvpn_peer *peer, size_t i)
{
	unsigned allowed = window_allowed(peer);

	return allowed > 0 && allowed < windows[i] ? allowed : windows[i];
}

static struct native_fec *have_engine(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_fec_state *state = &peer->data.fec;
	struct pool *pool = &peer->native->data.fec_slots;
	size_t segments_max = peer->native->config.datagram_max_bytes - SOURCE_OVERHEAD_BYTES;

	if (state->engine)
		return state->engine;
	struct native_fec *fec = calloc(1, sizeof(*fec));
	if (!fec)
		return NULL;
	const struct fec_policy_config config = policy_config(peer);
	fec_policy_init(&fec->policy, &config, now);
	for (size_t i = 0; i < FEC_POLICY_ENCODERS; i++) {
		rlc_encoder_init(&fec->encoders[i], encoder_window(peer, i), ages_us[i], pool);
		rlc_decoder_init(
			&fec->decoders[i], NATIVE_FEC_WINDOW, segments_max, DECODER_AGE_US, pool);
	}
	state->engine = fec;
	return fec;
}

void native_fec_fini(struct kcpvpn_peer *peer)
{
	struct native_fec *fec = peer->data.fec.engine;

	if (!fec)
		return;
	for (size_t i = 0; i < FEC_POLICY_ENCODERS; i++) {
		rlc_encoder_fini(&fec->encoders[i]);
		rlc_decoder_fini(&fec->decoders[i]);
	}
	free(fec);
	peer->data.fec.engine = NULL;
}

void native_fec_restart(struct kcpvpn_peer *peer)
{
	/* All that an engine remembers is of the instances that are gone. */
	native_fec_fini(peer);
}

void native_fec_configured(struct kcpvpn_peer *peer)
{
	struct native_fec *fec = peer->data.fec.engine;
	const struct fec_policy_config config = policy_config(peer);

	if (!fec)
		return;
	fec_policy_configure(&fec->policy, &config);
	for (size_t i = 0; i < FEC_POLICY_ENCODERS; i++)
		rlc_encoder_set(&fec->encoders[i], encoder_window(peer, i), ages_us[i]);
}

void native_fec_new_path(struct kcpvpn_peer *peer)
{
	loss_estimate_new_path(&peer->data.fec.loss);
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

void native_fec_fate(struct kcpvpn_peer *peer, bool lost, struct mono now)
{
	loss_estimate_note(&peer->data.fec.loss, lost, now);
}

/* What came although it had been declared lost. */
static void correct_loss(
	struct native_fec_state *state, const struct kcp_path *path, struct mono now)
{
	uint64_t late = kcp_path_stats(path)->late_acks;

	if (late < state->late_acks)
		state->late_acks = 0; /* another path */
	for (; state->late_acks < late; state->late_acks++)
		loss_estimate_correct(&state->loss, now);
}

/* A queue stands on the path: what is lost may well be lost there, and repairs would only make it longer. */
static bool path_queues(const struct kcp_path *path)
{
	int64_t least_us = kcp_path_min_rtt_us(path);
	int64_t slack_us = least_us / 4 > QUEUE_US ? least_us / 4 : QUEUE_US;

	return least_us > 0 && kcp_path_srtt_us(path) > least_us + slack_us;
}

/*
 * Whether there is more data than the path takes. A program that was refused says so only of this moment: a burst waits for its pace
 * on a path that is hardly used. A fixed rate was asked for whatever it costs.
 */
static bool full(const struct kcpvpn_peer *peer)
{
	const struct kcp_path *path = peer->data.path;

	return peer->config.fec.mode == KCPVPN_FEC_ADAPTIVE &&
	       (path_queues(path) || (peer->data.wants_room && kcp_path_saturated(path)));
}

/* Lets the policy know how the path is. */
static void update(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_fec_state *state = &peer->data.fec;
	const struct kcp_path *path = peer->data.path;
	uint64_t rate_bytes = kcp_path_rate_bps(path) / 8;

	correct_loss(state, path, now);
	const struct fec_policy_path news = {
		.loss = loss_estimate_design(&state->loss),
		.burst_us = rate_bytes ? (int64_t)(loss_estimate_burst(&state->loss) * 1500e6 /
						   (double)rate_bytes)
				       : 0,
		.lossy = loss_estimate_on(&state->loss),
		.rate_bytes = rate_bytes,
		.full = full(peer),
	};
	fec_policy_set_path(&state->engine->policy, &news);
}

/* Whether anything may be protected now, as far as can be told without an engine. */
static bool wanted(const struct kcpvpn_peer *peer)
{
	if (window_allowed(peer) == 0)
		return false;
	switch (peer->config.fec.mode) {
	case KCPVPN_FEC_OFF:
		return false;
	case KCPVPN_FEC_FIXED:
		return peer->config.fec.parity > 0;
	case KCPVPN_FEC_ADAPTIVE:
		return loss_estimate_on(&peer->data.fec.loss);
	}
	return false;
}

void native_fec_mark(struct kcpvpn_peer *peer, unsigned flags, uint64_t pn, const void *segments,
	size_t len, struct mono now, struct session_frame *ret_frame)
{
	struct native_fec *fec = peer->data.fec.engine;
	enum fec_policy_encoder encoder =
		flags & KCP_PATH_OUT_RT ? FEC_POLICY_THIN : FEC_POLICY_BULK;
	bool data = (flags & (KCP_PATH_OUT_RT | KCP_PATH_OUT_BULK)) != 0;
	size_t bytes = SEAL_OVERHEAD_BYTES + SESSION_FRAME_BYTES + len;
	uint32_t cidx;

	if (!fec && data && wanted(peer)) {
		fec = have_engine(peer, now);
		if (fec)
			update(peer, now);
	}
	if (!fec)
		return;
	enum stage before = stage_enter(peer->native->data.tx.stages, STAGE_FEC_ENCODE);
	if (!data ||
		!fec_policy_protects(&fec->policy, encoder, (flags & KCP_PATH_OUT_RESEND) != 0) ||
		len + SOURCE_OVERHEAD_BYTES > path_mtu_size(&peer->data.mtu) ||
		!rlc_encoder_push(&fec->encoders[encoder], pn, segments, len, now, &cidx)) {
		fec_policy_plain(&fec->policy, bytes, now);
		(void)stage_enter(peer->native->data.tx.stages, before);
		return;
	}
	stage_did(peer->native->data.tx.stages, 1);
	fec_policy_source(&fec->policy, encoder, bytes, now);
	ret_frame->kind =
		encoder == FEC_POLICY_THIN ? SESSION_FRAME_SOURCE_THIN : SESSION_FRAME_SOURCE_BULK;
	ret_frame->cidx = cidx;
	peer->data.fec.mark[encoder] = (uint8_t)(flags >> KCP_PATH_OUT_MARK_SHIFT);
	(void)stage_enter(peer->native->data.tx.stages, before);
}

/* @return false: it may not go now */
static bool send_repair(struct kcpvpn_peer *peer, enum fec_policy_encoder encoder, struct mono now)
{
	struct native_fec *fec = peer->data.fec.engine;
	bool thin = encoder == FEC_POLICY_THIN;
	size_t room, len = 0;

	if (!kcp_path_repair_room(peer->data.path, thin, now))
		return false;
	uint8_t *plaintext = native_output_repair_begin(peer, &room, now);
	if (plaintext)
		len = rlc_encoder_repair(&fec->encoders[encoder],
			thin ? RLC_KIND_THIN_REPAIR : RLC_KIND_BULK_REPAIR, 0, plaintext, room,
			now);
	if (len == 0) {
		fec_policy_dropped(&fec->policy, encoder);
		return true;
	}
	size_t bytes = native_output_repair_end(peer, len, peer->data.fec.mark[encoder], now);
	fec_policy_sent(&fec->policy, encoder, bytes, now);
	peer->data.fec.repairs_out++;
	return true;
}

void native_fec_send(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_fec *fec = peer->data.fec.engine;
	enum fec_policy_encoder encoder;

	if (!fec || !peer->data.path)
		return;
	enum stage before = stage_enter(peer->native->data.tx.stages, STAGE_FEC_ENCODE);
	update(peer, now);
	while (fec_policy_due(&fec->policy, now, &encoder))
		if (!send_repair(peer, encoder, now))
			break;
	(void)stage_enter(peer->native->data.tx.stages, before);
}

struct mono native_fec_next_deadline(const struct kcpvpn_peer *peer)
{
	const struct native_fec *fec = peer->data.fec.engine;

	if (!fec || !peer->data.path)
		return MONO_NEVER;
	struct mono thin = fec_policy_deadline_of(&fec->policy, FEC_POLICY_THIN);
	struct mono bulk = fec_policy_deadline_of(&fec->policy, FEC_POLICY_BULK);
	if (!mono_is_never(thin))
		thin = mono_max(thin, kcp_path_repair_at(peer->data.path, true));
	if (!mono_is_never(bulk))
		bulk = mono_max(bulk, kcp_path_repair_at(peer->data.path, false));
	return mono_min(thin, bulk);
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

static void take_rebuilt(struct kcpvpn_peer *peer, struct rlc_decoder *decoder, struct mono now)
{
	struct native_data_state *data = &peer->data;
	struct rlc_symbol symbol;

	while (rlc_decoder_rebuilt(decoder, &symbol)) {
		if (kcp_path_input(data->path, symbol.pn, symbol.segments, symbol.len, false, true,
			    now) != KCP_PATH_OK)
			continue;
		data->fec.recovered++;
	}
}

void native_fec_source(struct kcpvpn_peer *peer, const struct session_frame *frame, uint64_t pn,
	const uint8_t *segments, size_t len, struct mono now)
{
	struct native_fec *fec;

	if (frame->kind != SESSION_FRAME_SOURCE_THIN && frame->kind != SESSION_FRAME_SOURCE_BULK)
		return;
	peer->data.loss_in.young.sources++;
	fec = have_engine(peer, now);
	if (!fec)
		return;
	struct rlc_decoder *decoder = &fec->decoders[frame->kind - SESSION_FRAME_SOURCE_THIN];
	enum stage before = stage_enter(peer->native->data.tx.stages, STAGE_FEC_DECODE);
	stage_did(peer->native->data.tx.stages, 1);
	(void)rlc_decoder_source(decoder, frame->cidx, pn, segments, len, now);
	take_rebuilt(peer, decoder, now);
	(void)stage_enter(peer->native->data.tx.stages, before);
}

static bool malformed(enum rlc_verdict verdict)
{
	return verdict == RLC_REPAIR_BAD_LENGTH || verdict == RLC_REPAIR_BAD_WINDOW ||
	       verdict == RLC_REPAIR_BAD_SHORT;
}

bool native_fec_repair(struct kcpvpn_peer *peer, const struct session_frame *frame, uint64_t pn,
	const uint8_t *plaintext, size_t len, bool ce, struct mono now)
{
	struct native_data_state *data = &peer->data;
	struct native_fec *fec = have_engine(peer, now);

	data->fec.repairs_in++;
	data->loss_in.young.repairs++;
	if (!fec) {
		kcp_path_input_repair(data->path, pn, ce, now);
		return true;
	}
	struct rlc_decoder *decoder = &fec->decoders[frame->kind - SESSION_FRAME_REPAIR_THIN];
	enum stage before = stage_enter(peer->native->data.tx.stages, STAGE_FEC_DECODE);
	bool good = !malformed(rlc_decoder_repair(decoder, frame->cidx, pn,
		plaintext + SESSION_FRAME_BYTES, len - SESSION_FRAME_BYTES, now));
	stage_did(peer->native->data.tx.stages, 1);
	if (good) {
		data->fec.window_in = frame->window;
		/* First, so that what it rebuilds lies below a number that came. */
		kcp_path_input_repair(data->path, pn, ce, now);
		take_rebuilt(peer, decoder, now);
	} else {
		data->fec.bad_repairs++;
	}
	(void)stage_enter(peer->native->data.tx.stages, before);
	return good;
}

/* ---- the rest ---------------------------------------------------------------------------------------------------- */

struct mono native_fec_trim(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_fec *fec = peer->data.fec.engine;
	struct mono next = MONO_NEVER;

	if (!fec)
		return next;
	for (size_t i = 0; i < FEC_POLICY_ENCODERS; i++) {
		next = mono_min(next, rlc_encoder_trim(&fec->encoders[i], now));
		next = mono_min(next, rlc_decoder_trim(&fec->decoders[i], now));
	}
	return mono_max(next, mono_add_us(now, TRIM_LEAST_US));
}

bool native_fec_spare(const struct kcpvpn_peer *peer)
{
	const struct native_fec *fec = peer->data.fec.engine;

	for (size_t i = 0; fec && i < FEC_POLICY_ENCODERS; i++)
		if (fec->encoders[i].ring || fec->decoders[i].ring)
			return true;
	return false;
}

size_t native_fec_memory_bytes(const struct kcpvpn_peer *peer)
{
	const struct native_fec *fec = peer->data.fec.engine;
	size_t bytes = sizeof(*fec), slots = 0;

	if (!fec)
		return 0;
	for (size_t i = 0; i < FEC_POLICY_ENCODERS; i++) {
		bytes +=
			rlc_encoder_bytes(&fec->encoders[i]) + rlc_decoder_bytes(&fec->decoders[i]);
		slots += fec->encoders[i].kept + rlc_decoder_slots(&fec->decoders[i]);
	}
	return bytes + slots * peer->native->data.fec_slots.slot_bytes;
}

double native_fec_rate(const struct kcpvpn_peer *peer, uint32_t *ret_window)
{
	const struct native_fec *fec = peer->data.fec.engine;

	*ret_window = 0;
	for (size_t i = FEC_POLICY_ENCODERS; fec && i-- > 0;) {
		double rate = fec_policy_rate(&fec->policy, (enum fec_policy_encoder)i);
		if (rate <= 0 || !fec->encoders[i].ring)
			continue;
		*ret_window = fec->encoders[i].window;
		return rate;
	}
	return 0;
}
