/*
 * The way in: decrypt a batch, tell whose each datagram is, feed KCP and the FEC decoder. Every way for a datagram to
 * be bad has its counter, and a bad one changes nothing else.
 *
 * The order of KCP and decoder follows the profile: 5.6.72 gives KCP the datagram first, 5.6.1 asks the decoder first.
 */
#include "core/stage_clock.h"
#include "core/wire.h"
#include "crypto/cipher.h"
#include "crypto/packet_seal.h"
#include "session/session_admit.h"
#include "stack/node.h"

#include <errno.h>
#include <stdlib.h>

enum {
	FEC_DATA_WITH_CONV_BYTES = 32, /* shorter data packets name no conversation, as in kcp-go */
	FEC_NUMBER_JUMP =
		4096, /* a longer jump of sequence numbers is a new start or a wrap, not loss */
};

/* A decrypted datagram, taken apart as far as admission needs it. */
struct arrival {
	const uint8_t *payload; /* from the FEC header on, if there is one */
	size_t len;
	enum fec_kind kind;
	struct fec_header fec;
	const uint8_t *segments; /* NULL for parity and out-of-band */
	size_t segments_len;
	bool has_conv;
	uint32_t conv;
	bool from_start;
	bool remnant;
};

enum apart {
	APART_OK,
	APART_SHORT,
	APART_BAD_SEGMENT,
};

/*
 * Takes the first segment's word for whose the datagram is, if it could be a segment at all: what is no segment must not
 * open, end or keep a conversation.
 */
static enum apart look_at_first(struct arrival *a)
{
	struct wire in = wire_of(a->segments, a->segments_len);
	struct kcp_segment first;

	if (!kcp_segment_read(&in, &first) || first.cmd < KCP_CMD_PUSH || first.cmd > KCP_CMD_WINS)
		return APART_BAD_SEGMENT;
	a->has_conv = true;
	a->conv = first.conv;
	a->from_start = first.sn == 0;
	a->remnant = first.una != 0;
	return APART_OK;
}

/* @return whether the payload can be a datagram of this wire */
static enum apart take_apart(const uint8_t *payload, size_t len, struct arrival *a)
{

	*a = (struct arrival){.payload = payload, .len = len};
	a->kind = fec_header_parse(payload, len, &a->fec);
	switch (a->kind) {
	case FEC_KIND_NONE:
		a->segments = payload;
		a->segments_len = len;
		break;
	case FEC_KIND_DATA:
		a->segments = a->fec.payload;
		a->segments_len = a->fec.payload_len;
		break;
	case FEC_KIND_PARITY:
		return len >= KCP_OVERHEAD_BYTES ? APART_OK : APART_SHORT;
	case FEC_KIND_OOB:
		a->has_conv = true;
		a->conv = load_le32(a->fec.payload);
		return APART_OK;
	case FEC_KIND_BAD:
		return APART_SHORT;
	}
	if (len < KCP_OVERHEAD_BYTES)
		return APART_SHORT;
	if (a->kind == FEC_KIND_DATA && len < FEC_DATA_WITH_CONV_BYTES)
		return APART_OK;
	return look_at_first(a);
}

static struct kcpvpn_conv *find_conv(struct kcpvpn_node *node, const struct kcpvpn_udp_port *port,
	const struct kcpvpn_endpoint *remote)
{
	struct session_table_node *found = session_table_find(&node->table, port, remote);

	return found ? list_entry(found, struct kcpvpn_conv, table_node) : NULL;
}

/*
 * Opens a conversation for a stranger, in place of `old` if there is one, which ends only if that works. NULL if there is
 * no room.
 */
static struct kcpvpn_conv *accept_conv(struct kcpvpn_node *node, const struct kcpvpn_udp_port *port,
	const struct kcpvpn_datagram *d, uint32_t number, struct kcpvpn_conv *old)
{
	enum node_conv_role role = old ? NODE_CONV_REPLACEMENT : NODE_CONV_NEW;
	struct kcpvpn_conv *conv;

	if (old) /* both have the same key */
		session_table_remove(&node->table, &old->table_node);
	if (node_conv_new(node, port, &d->remote, &d->local, number, role, &conv) < 0) {
		if (old) /* cannot fail: there is a table, it was in it */
			(void)session_table_add(&node->table, &old->table_node);
		node->stats.drop_backlog++;
		return NULL;
	}
	if (old)
		conv_expire(old, KCPVPN_CLOSED_REPLACED);
	node->stats.passive_opens++;
	conv_raise(conv, KCPVPN_EVENT_ACCEPTED);
	return conv;
}

/*
 * A remnant is none for the program and takes nothing in: it only answers, and by the answers the other side finds that its
 * conversation is gone. NULL if there is no room.
 */
static struct kcpvpn_conv *open_remnant(struct kcpvpn_node *node,
	const struct kcpvpn_udp_port *port, const struct kcpvpn_datagram *d, uint32_t number)
{
	struct kcpvpn_conv *conv;

	if (node_conv_new(node, port, &d->remote, &d->local, number, NODE_CONV_REMNANT, &conv) <
		0) {
		node->stats.drop_backlog++;
		return NULL;
	}
	node->stats.remnants++;
	return conv;
}

/* Tells where we are, which is at the beginning. */
static void answer_for_remnant(struct kcpvpn_conv *conv, struct mono now)
{
	if (!mono_is_never(conv->told_at) &&
		mono_diff_us(now, conv->told_at) < NODE_REMNANT_TELL_US)
		return;
	conv->told_at = now;
	kcp_tell(conv->kcp);
	conv->wants_flush = true;
	conv_touch(conv);
}

/* Whose is it? NULL after counting why it is nobody's. */
static struct kcpvpn_conv *admit(struct kcpvpn_node *node, const struct kcpvpn_udp_port *port,
	bool accept, const struct kcpvpn_datagram *d, const struct arrival *a)
{
	struct kcpvpn_conv *conv = find_conv(node, port, &d->remote);

	/* The other side began anew, maybe with the number of what is left of the time before. */
	if (conv && conv->remnant && accept && a->from_start && !a->remnant) {
		node_conv_free(conv);
		conv = NULL;
	}
	struct session_admit_facts facts = {
		.known = conv != NULL,
		.own_conv = conv ? conv->number : 0,
		.accepts = accept,
		.has_conv = a->has_conv,
		.conv = a->conv,
		.from_start = a->from_start,
		.remnant = a->remnant,
	};

	switch (session_admit(&facts)) {
	case SESSION_ADMIT_DELIVER:
		return conv;
	case SESSION_ADMIT_REPLACE:
	case SESSION_ADMIT_OPEN:
		return accept_conv(node, port, d, a->conv, conv);
	case SESSION_ADMIT_REMNANT:
		return open_remnant(node, port, d, a->conv);
	case SESSION_ADMIT_STRANGER:
		node->stats.drop_source++;
		return NULL;
	case SESSION_ADMIT_NO_CONV:
		node->stats.drop_no_conv++;
		return NULL;
	case SESSION_ADMIT_OTHER_CONV:
		node->stats.drop_conv++;
		return NULL;
	}
	return NULL;
}

/* The decoder is made when the first packet with an FEC header comes. */
static struct fec_decoder *decoder_of(struct kcpvpn_conv *conv)
{
	struct kcpvpn_node *node = conv->node;
	unsigned data = node->has_fec ? node->config.data_shards : FEC_DECODER_START_SHARDS;
	unsigned parity = node->has_fec ? node->config.parity_shards : FEC_DECODER_START_SHARDS;
	enum fec_profile profile =
		node->config.profile == KCPVPN_PROFILE_5_6_1 ? FEC_PROFILE_OLD : FEC_PROFILE_NEW;

	if (conv->decoder)
		return conv->decoder;
	conv->decoder = calloc(1, sizeof(*conv->decoder));
	if (!conv->decoder)
		return NULL;
	if (fec_decoder_init(conv->decoder, data, parity, KCPVPN_MTU_MAX_BYTES, profile,
		    &node->matrices, &node->shards) < 0) {
		free(conv->decoder);
		conv->decoder = NULL;
		return NULL;
	}
	conv->decoder->proof_packets = FEC_DECODER_PROOF_PACKETS;
	return conv->decoder;
}

/* @return false if a segment was malformed */
static bool feed_segments(
	struct kcpvpn_conv *conv, const uint8_t *data, size_t len, bool recovered, struct mono now)
{
	if (kcp_input(conv->kcp, data, len, recovered, now) == KCP_INPUT_OK)
		return true;
	conv->node->stats.drop_segment++;
	conv->counters.drop_segment++;
	return false;
}

/* @return false if the decoder called it malformed */
static bool feed_decoder(struct kcpvpn_conv *conv, const struct arrival *a, struct mono now)
{
	struct fec_decoder *decoder = decoder_of(conv);

	if (!decoder)
		return true;
	struct stage_clock *stages = conv->node->tx.stages;
	enum stage before = stage_enter(stages, STAGE_FEC_DECODE);
	enum fec_verdict verdict = fec_decoder_input(decoder, a->payload, a->len, now);
	stage_did(stages, 1);
	(void)stage_enter(stages, before);
	if (verdict == FEC_MALFORMED || verdict == FEC_PAWS) {
		conv->node->stats.drop_fec++;
		conv->counters.drop_segment++;
		return verdict != FEC_MALFORMED;
	}
	return true;
}

static void feed_recovered(struct kcpvpn_conv *conv, struct mono now)
{
	const uint8_t *payload;
	size_t len;

	if (!conv->decoder)
		return;
	while ((payload = fec_decoder_recovered(conv->decoder, &len)) != NULL)
		(void)feed_segments(conv, payload, len, true, now);
}

/* Counts how many datagrams the peer numbered and how many of them came: the raw loss of this direction. */
static void count_numbers(struct kcpvpn_conv *conv, uint32_t seqid)
{
	int32_t ahead = (int32_t)(seqid - conv->fec_number);

	if (!conv->fec_number_known || ahead > FEC_NUMBER_JUMP || ahead < -FEC_NUMBER_JUMP) {
		conv->fec_number_known = true;
		conv->fec_number = seqid;
		conv->counters.fec_numbers_in++;
	} else if (ahead > 0) {
		conv->fec_number = seqid;
		conv->counters.fec_numbers_in += (uint32_t)ahead;
	}
	conv->counters.fec_numbered_in++;
}

static bool feed(struct kcpvpn_conv *conv, const struct arrival *a, struct mono now)
{
	bool good = true;

	if (a->kind == FEC_KIND_DATA || a->kind == FEC_KIND_PARITY)
		count_numbers(conv, a->fec.seqid);
	switch (a->kind) {
	case FEC_KIND_OOB:
		conv_oob_received(conv, a->fec.payload + FEC_OOB_CONV_BYTES,
			a->fec.payload_len - FEC_OOB_CONV_BYTES);
		return true;
	case FEC_KIND_NONE:
		return feed_segments(conv, a->segments, a->segments_len, false, now);
	case FEC_KIND_PARITY:
		good = feed_decoder(conv, a, now);
		break;
	case FEC_KIND_DATA:
		if (conv->node->config.profile == KCPVPN_PROFILE_5_6_1) {
			(void)feed_decoder(conv, a, now);
			good = feed_segments(conv, a->segments, a->segments_len, false, now);
		} else {
			good = feed_segments(conv, a->segments, a->segments_len, false, now);
			(void)feed_decoder(conv, a, now);
		}
		break;
	case FEC_KIND_BAD:
		return false;
	}
	feed_recovered(conv, now);
	return good;
}

static void take_payload(struct kcpvpn_node *node, const struct kcpvpn_udp_port *port, bool accept,
	const struct kcpvpn_datagram *d, const uint8_t *payload, size_t len, struct mono now)
{
	struct arrival a;

	node->stats.in_datagrams++;
	node->stats.in_bytes += d->len;
	struct kcpvpn_conv *conv;

	switch (take_apart(payload, len, &a)) {
	case APART_OK:
		break;
	case APART_SHORT:
		node->stats.drop_short++;
		return;
	case APART_BAD_SEGMENT:
		node->stats.drop_segment++;
		conv = find_conv(node, port, &d->remote);
		if (conv)
			conv->counters.drop_segment++;
		return;
	}
	conv = admit(node, port, accept, d, &a);
	if (!conv)
		return;
	conv->counters.in_datagrams++;
	conv->counters.in_bytes += d->len;
	conv->local = d->local;
	if (conv->remnant) {
		answer_for_remnant(conv, now);
		return;
	}
	if (feed(conv, &a, now)) {
		conv->last_rx_at = now;
		if (session_heard(&conv->session, now))
			conv_raise(conv, KCPVPN_EVENT_ALIVE);
	}
	conv->wants_input_done = true;
	conv_tell_room(conv);
	if (kcp_readable(conv->kcp) > 0)
		conv_raise(conv, KCPVPN_EVENT_READABLE);
	conv_touch(conv);
}

void kcpvpn_node_input(struct kcpvpn_node *node, const struct kcpvpn_udp_port *port, bool accept,
	const struct kcpvpn_datagram *batch, size_t count, int64_t now_us)
{
	struct packet_open_item items[KCPVPN_BATCH_MAX];

	node->now = mono_at_us(now_us);
	if (count > KCPVPN_BATCH_MAX)
		count = KCPVPN_BATCH_MAX;
	for (size_t i = 0; i < count; i++)
		items[i] = (struct packet_open_item){.packet = batch[i].data, .len = batch[i].len};
	enum stage before = stage_enter(node->tx.stages, STAGE_OPEN);
	stage_did(node->tx.stages, count);
	packet_open(node->cipher, items, count);
	(void)stage_enter(node->tx.stages, STAGE_RECEIVE);
	stage_did(node->tx.stages, count);
	for (size_t i = 0; i < count; i++) {
		switch (items[i].verdict) {
		case PACKET_OPEN_OK:
			take_payload(node, port, accept, &batch[i], items[i].payload,
				items[i].payload_len, node->now);
			break;
		case PACKET_OPEN_TOO_SHORT:
			node->stats.drop_short++;
			break;
		case PACKET_OPEN_BAD_CHECKSUM:
		case PACKET_OPEN_VERDICTS:
			node->stats.drop_checksum++;
			break;
		}
	}
	(void)stage_enter(node->tx.stages, before);
}
