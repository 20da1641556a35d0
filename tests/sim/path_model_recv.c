/*
 * The naive receiver. A lane is a position and a sorted list of pieces behind it; a base moves the position up to itself,
 * handing out what is whole below it and dropping the rest; then whatever begins at the position and is whole goes, too. The
 * packet numbers that came are one byte each, and a RACK is a walk down over them.
 */
#include "tests/sim/path_model_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The 64-bit number near `reference` whose low half is `sn`. */
static uint64_t unwrap(uint32_t sn, uint64_t reference)
{
	return reference + (uint64_t)(int64_t)(int32_t)(sn - (uint32_t)reference);
}

static struct peer_piece *copy_piece(struct model_peer *peer, const struct model_seg *seg)
{
	struct peer_piece *piece = peer_alloc(peer, sizeof(*piece));
	uint8_t *body = peer_alloc(peer, seg->len);

	memcpy(body, seg->body, seg->len);
	*piece = (struct peer_piece){.frg = seg->frg, .len = seg->len, .body = body};
	return piece;
}

/* The list keeps its order by sn. @return false if the number is there */
static bool insert(struct peer_piece **list, struct peer_piece *piece)
{
	while (*list && (*list)->sn < piece->sn)
		list = &(*list)->next;
	if (*list && (*list)->sn == piece->sn)
		return false;
	piece->next = *list;
	*list = piece;
	return true;
}

/* How many pieces at the head of the list are one whole message; 0 = they are none. */
static uint32_t whole(const struct peer_piece *piece)
{
	uint32_t count = 1;

	if (!piece || !(piece->frg & 0x80))
		return 0;
	for (; piece->frg & 0x7f; piece = piece->next, count++) {
		const struct peer_piece *next = piece->next;
		if (!next || next->sn != piece->sn + 1 || next->frg != (piece->frg & 0x7f) - 1)
			return 0;
	}
	return count;
}

static void hand_out(struct model_peer *peer, struct peer_piece *first, uint32_t count)
{
	struct peer_ready *ready = peer_alloc(peer, sizeof(*ready));

	*ready = (struct peer_ready){.pieces = first, .count = count};
	if (peer->ready)
		peer->last_ready->next = ready;
	else
		peer->ready = ready;
	peer->last_ready = ready;
}

static void take_off(struct model_peer *peer, struct peer_in_lane *lane, uint32_t count)
{
	struct peer_piece *first = lane->pieces;

	hand_out(peer, first, count);
	for (uint32_t i = 0; i < count; i++)
		lane->pieces = lane->pieces->next;
}

static void move_up(struct model_peer *peer, struct peer_in_lane *lane, uint64_t base)
{
	while (lane->pieces && lane->pieces->sn < base) {
		uint32_t count = whole(lane->pieces);
		if (count > 0)
			take_off(peer, lane, count);
		else
			lane->pieces = lane->pieces->next;
	}
	if (base > lane->position)
		lane->position = base;
}

static void hand_out_ready(struct model_peer *peer, struct peer_in_lane *lane)
{
	uint32_t count;

	while (lane->pieces && lane->pieces->sn == lane->position &&
		(count = whole(lane->pieces)) > 0) {
		take_off(peer, lane, count);
		lane->position += count;
	}
}

static struct peer_in_lane *in_lane(
	struct model_peer *peer, uint32_t conv, uint32_t una, bool make, struct mono now)
{
	struct peer_in_lane *lane = peer->in_lanes;

	while (lane && lane->conv != conv)
		lane = lane->next;
	if (!lane && make) {
		lane = peer_alloc(peer, sizeof(*lane));
		*lane = (struct peer_in_lane){.next = peer->in_lanes,
			.conv = conv,
			.position = (UINT64_C(1) << 40) + una};
		peer->in_lanes = lane;
	}
	if (lane)
		lane->last_at = now.us;
	return lane;
}

void peer_take_base(
	struct model_peer *peer, uint32_t conv, uint32_t una, bool make, struct mono now)
{
	struct peer_in_lane *lane = in_lane(peer, conv, una, make, now);

	if (!lane)
		return;
	uint64_t base = unwrap(una, lane->position);
	if (base > lane->position)
		move_up(peer, lane, base);
	hand_out_ready(peer, lane);
}

void peer_take_push(struct model_peer *peer, const struct model_seg *seg, struct mono now)
{
	if (seg->conv >= KCP_PATH_LANES || seg->len == 0 || seg->sn - seg->una >= KCP_PATH_SPAN)
		return;
	peer_take_base(peer, seg->conv, seg->una, true, now);
	struct peer_in_lane *lane = in_lane(peer, seg->conv, seg->una, true, now);
	uint64_t sn = unwrap(seg->sn, lane->position);
	if (sn < lane->position)
		return;
	struct peer_piece *piece = copy_piece(peer, seg);
	piece->sn = sn;
	if (insert(&lane->pieces, piece))
		hand_out_ready(peer, lane);
}

void peer_take_dgram(struct model_peer *peer, const struct model_seg *seg, struct mono now)
{
	struct peer_in_flow *flow = peer->in_flows;

	if (seg->conv >= KCP_PATH_LANES || seg->len == 0 || seg->frg != 0x80)
		return;
	while (flow && flow->conv != seg->conv)
		flow = flow->next;
	if (!flow) {
		flow = peer_alloc(peer, sizeof(*flow));
		*flow = (struct peer_in_flow){.next = peer->in_flows,
			.conv = seg->conv,
			.highest = (UINT64_C(1) << 40) + seg->sn};
		peer->in_flows = flow;
	}
	flow->last_at = now.us;
	uint64_t sn = unwrap(seg->sn, flow->highest);
	if (sn > flow->highest)
		flow->highest = sn;
	if (sn + PEER_WINDOW_DGRAMS <= flow->highest)
		return;
	struct peer_piece *seen = peer_alloc(peer, sizeof(*seen));
	*seen = (struct peer_piece){.sn = sn};
	if (!insert(&flow->seen, seen))
		return;
	hand_out(peer, copy_piece(peer, seg), 1);
}

size_t model_peer_recv(struct model_peer *peer, uint8_t *buf)
{
	struct peer_ready *ready = peer->ready;
	size_t len = 0;

	if (!ready)
		return 0;
	peer->ready = ready->next;
	const struct peer_piece *piece = ready->pieces;
	for (uint32_t i = 0; i < ready->count; i++, piece = piece->next) {
		assert(len + piece->len <= PEER_MESSAGE_MAX);
		memcpy(buf + len, piece->body, piece->len);
		len += piece->len;
	}
	return len;
}

void model_peer_trim(struct model_peer *peer, struct mono now)
{
	struct peer_in_lane **lane = &peer->in_lanes;
	struct peer_in_flow **flow = &peer->in_flows;

	while (*lane)
		/* What is held was acknowledged: only a base may drop it. */
		if (now.us - (*lane)->last_at >= 60000000 && !(*lane)->pieces)
			*lane = (*lane)->next;
		else
			lane = &(*lane)->next;
	while (*flow)
		if (now.us - (*flow)->last_at >= 60000000)
			*flow = (*flow)->next;
		else
			flow = &(*flow)->next;
}

/* ---- packet numbers and RACK ---------------------------------------------------------------------------------------- */

uint8_t peer_got(const struct model_peer *peer, uint64_t pn)
{
	return pn < peer->got_size ? peer->got[pn] : PEER_MISSING;
}

void peer_note_pn(struct model_peer *peer, uint64_t pn, uint8_t how, struct mono now)
{
	if (pn >= peer->got_size) {
		uint64_t size = pn * 2 + 256;
		peer->got = realloc(peer->got, size);
		if (!peer->got)
			abort();
		memset(peer->got + peer->got_size, PEER_MISSING, size - peer->got_size);
		peer->got_size = size;
	}
	peer->got[pn] = how;
	if (how != PEER_RECEIVED || (peer->any_pn && pn < peer->largest))
		return;
	if (peer->any_pn ? pn > peer->largest + 1 : pn > 0)
		peer->rack_now = true; /* only looked at when somebody asked */
	peer->any_pn = true;
	peer->largest = pn;
	peer->largest_at = now.us;
}

int64_t peer_rack_at(const struct model_peer *peer)
{
	if (peer->asked == 0)
		return INT64_MAX;
	if (peer->rack_now || peer->asked >= 4)
		return 0;
	int64_t wait = peer->srtt_us > 0 ? peer->srtt_us / 8 : 5000;
	return peer->asked_since + (wait < 5000 ? wait : 5000);
}

bool peer_rack_due(const struct model_peer *peer, struct mono now)
{
	return peer_rack_at(peer) <= now.us;
}

static unsigned list_numbers(const struct model_peer *peer, uint8_t how, struct model_range *ranges)
{
	unsigned count = 0;

	for (uint64_t pn = peer->largest + 1; pn-- > 0;) {
		if (peer->got[pn] != how)
			continue;
		if (count > 0 && ranges[count - 1].from == pn + 1) {
			ranges[count - 1].from = pn;
			continue;
		}
		if (count == MODEL_RANGES_MAX)
			break;
		ranges[count++] = (struct model_range){pn, pn};
	}
	return count;
}

void peer_make_rack(const struct model_peer *peer, struct mono now, struct model_rack *ret_rack)
{
	int64_t delay = (now.us - peer->largest_at) / 16;

	ret_rack->largest = peer->largest;
	ret_rack->delay = (uint16_t)(delay > 65535 ? 65535 : delay);
	ret_rack->received_count = list_numbers(peer, PEER_RECEIVED, ret_rack->received);
	ret_rack->rebuilt_count = list_numbers(peer, PEER_REBUILT, ret_rack->rebuilt);
	ret_rack->ce = peer->ce;
}
