/*
 * The naive peer as its user sees it: memory, datagrams that come in, time. Everything of an instance lies in one arena, so
 * nothing is ever given back before the instance ends, and no pointer can dangle.
 */
#include "tests/sim/path_model_peer.h"

#include "tests/sim/path_model_state.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 1 << 18 };

void *peer_alloc(struct model_peer *peer, size_t bytes)
{
	struct peer_block *block = peer->blocks;

	bytes = (bytes + 15) & ~(size_t)15;
	if (!block || block->size - block->used < bytes) {
		size_t size = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
		block = malloc(sizeof(*block) + size);
		if (!block)
			abort();
		block->next = peer->blocks;
		block->used = 0;
		block->size = size;
		peer->blocks = block;
	}
	void *at = block->bytes + block->used;
	block->used += bytes;
	return at;
}

static void empty_arena(struct model_peer *peer)
{
	while (peer->blocks) {
		struct peer_block *next = peer->blocks->next;
		free(peer->blocks);
		peer->blocks = next;
	}
}

static void begin_instance(struct model_peer *peer)
{
	uint8_t *got = peer->got;
	uint64_t got_size = peer->got_size;
	uint64_t random = peer->random;
	struct model_peer_config config = peer->config;
	struct kcp_path_io io = peer->io;

	*peer = (struct model_peer){.config = config,
		.io = io,
		.random = random,
		.got = got,
		.got_size = got_size,
		.new_sn = (UINT64_C(1) << 40) + config.origin,
		.limit = config.peer_credit_bytes,
		.wnd = (uint16_t)(config.rx_credit_bytes / KCP_PATH_GRANT_UNIT_BYTES),
		.retry_at = INT64_MAX,
		.mtu_final = true};
	if (config.rx_credit_bytes / KCP_PATH_GRANT_UNIT_BYTES > UINT16_MAX)
		peer->wnd = UINT16_MAX;
	if (got_size > 0)
		memset(got, PEER_MISSING, got_size);
}

struct model_peer *model_peer_new(
	const struct model_peer_config *config, const struct kcp_path_io *io)
{
	struct model_peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		abort();
	peer->config = *config;
	peer->io = *io;
	peer->random = config->seed;
	begin_instance(peer);
	return peer;
}

void model_peer_free(struct model_peer *peer)
{
	if (!peer)
		return;
	empty_arena(peer);
	free(peer->got);
	free(peer);
}

void model_peer_restart(
	struct model_peer *peer, uint32_t rx_credit_bytes, uint32_t peer_credit_bytes)
{
	empty_arena(peer);
	peer->config.rx_credit_bytes = rx_credit_bytes;
	peer->config.peer_credit_bytes = peer_credit_bytes;
	begin_instance(peer);
}

void model_peer_control(struct model_peer *peer, const void *body, size_t len)
{
	if (peer->control_count == PEER_CONTROLS || len > sizeof(peer->controls[0].body))
		return;
	memcpy(peer->controls[peer->control_count].body, body, len);
	peer->controls[peer->control_count++].len = (uint32_t)len;
}

void model_peer_wask(struct model_peer *peer)
{
	peer->wants_wask = true;
}

uint64_t model_peer_take_pn(
	struct model_peer *peer, enum kcp_path_extra extra, size_t bytes, struct mono now)
{
	struct peer_sent *sent = peer_alloc(peer, sizeof(*sent));

	(void)bytes;
	*sent = (struct peer_sent){
		.pn = peer->next_pn++, .sent_at = now.us, .asks = extra == KCP_PATH_EXTRA_ASKS};
	peer_remember_sent(peer, sent);
	return sent->pn;
}

uint16_t model_peer_wnd(const struct model_peer *peer)
{
	return peer->wnd;
}

void model_peer_set_mtu(
	struct model_peer *peer, uint32_t payload_bytes, uint32_t piece_bytes, bool final)
{
	peer->config.payload_bytes = payload_bytes;
	peer->config.piece_bytes = piece_bytes;
	peer->mtu_final = final;
}

uint64_t model_peer_charged(const struct model_peer *peer)
{
	return peer->charged;
}

int64_t model_peer_srtt_us(const struct model_peer *peer)
{
	return peer->srtt_us;
}

uint64_t model_peer_given_up(const struct model_peer *peer)
{
	return peer->given_up;
}

/* ---- input ---------------------------------------------------------------------------------------------------------- */

static bool controls_pass(const struct model_peer *peer, const uint8_t *at, const uint8_t *end)
{
	struct model_seg seg;

	while (model_seg_next(&at, end, &seg))
		if (seg.cmd == MODEL_CONTROL &&
			!peer->io.control_check(peer->io.ctx, seg.body, seg.len))
			return false;
	return true;
}

static void take_segment(struct model_peer *peer, uint64_t pn, const struct model_seg *seg,
	bool rebuilt, struct mono now)
{
	struct model_rack rack;

	switch (seg->cmd) {
	case MODEL_PUSH:
		peer_take_push(peer, seg, now);
		return;
	case MODEL_DGRAM:
		peer_take_dgram(peer, seg, now);
		return;
	case MODEL_FWD:
		if (seg->conv < KCP_PATH_LANES)
			peer_take_base(peer, seg->conv, seg->una, true, now);
		return;
	default:
		break;
	}
	if (rebuilt)
		return;
	switch (seg->cmd) {
	case MODEL_WASK:
		peer->wants_wins = true;
		return;
	case MODEL_RACK:
		if (model_rack_parse(seg->body, seg->len, &rack))
			peer_take_rack(peer, &rack, now);
		return;
	case MODEL_CONTROL:
		peer->io.control(peer->io.ctx, seg->body, seg->len, pn);
		return;
	default:
		return;
	}
}

enum kcp_path_verdict model_peer_input(struct model_peer *peer, uint64_t pn, const void *segments,
	size_t len, bool ce, bool rebuilt, struct mono now)
{
	const uint8_t *at = segments;
	const uint8_t *end = at + len;
	struct model_seg seg;
	bool asks = false;

	peer->ce += ce;
	if (!model_segs_whole(at, len))
		return KCP_PATH_BAD_LENGTH;
	if (!controls_pass(peer, at, end))
		return KCP_PATH_BAD_CONTROL;
	uint8_t before = peer_got(peer, pn);
	if (before == PEER_RECEIVED || (before == PEER_REBUILT && rebuilt))
		return KCP_PATH_ALREADY;
	peer_note_pn(peer, pn, rebuilt ? PEER_REBUILT : PEER_RECEIVED, now);
	if (before == PEER_REBUILT)
		return KCP_PATH_ALREADY;
	while (model_seg_next(&at, end, &seg)) {
		if (!rebuilt && (!peer->any_limit || pn >= peer->limit_pn)) {
			peer->any_limit = true;
			peer->limit_pn = pn;
			uint32_t wnd = seg.wnd < 64 ? 64 : seg.wnd;
			peer->limit = (uint64_t)wnd * KCP_PATH_GRANT_UNIT_BYTES;
		}
		asks = asks || model_seg_asks(&seg);
		take_segment(peer, pn, &seg, rebuilt, now);
	}
	if (asks && peer->asked++ == 0)
		peer->asked_since = now.us;
	return KCP_PATH_OK;
}

void model_peer_input_done(struct model_peer *peer, struct mono now)
{
	model_peer_on_deadline(peer, now);
}

/* ---- time ----------------------------------------------------------------------------------------------------------- */

struct mono model_peer_next_deadline(const struct model_peer *peer)
{
	int64_t at = peer->retry_at;

	if (at == INT64_MAX) {
		at = peer_rack_at(peer);
		for (const struct peer_out_lane *lane = peer->out_lanes; lane; lane = lane->next)
			if (lane->fwd_at < at)
				at = lane->fwd_at;
	}
	for (const struct peer_sent *sent = peer->sent; sent; sent = sent->next)
		if (!sent->lost && sent->asks && sent->sent_at + peer_pto_us(peer) < at)
			at = sent->sent_at + peer_pto_us(peer);
	int64_t give_up = peer_give_up_at(peer);
	return mono_at_us(give_up < at ? give_up : at);
}

void model_peer_on_deadline(struct model_peer *peer, struct mono now)
{
	peer_give_up_due(peer, now);
	peer_lose_due(peer, now);
	model_peer_flush(peer, now);
}
