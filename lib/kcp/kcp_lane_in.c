/*
 * One ring of records by number, as on the kcp-go wire, but a message is whole when its numbers run from a piece marked
 * first to one with none to follow, and the position only ever rests at the start of a message: what is delivered leaves
 * the lane at once for the path's queue (kcp_ready.h). So a lane holds holes and what waits behind them, nothing else.
 *
 * The position moves for two reasons: the next message is whole, or the sender's base passed it. The base is believed, but it
 * is never walked to: only numbers up to `top` have records.
 *
 * Pieces must count down. One that does not, or a message longer than allowed, comes from a broken peer; what stands in
 * front of the break is dropped and the lane goes on.
 *
 * Memory: a piece far ahead would make the ring as long as the distance. An honest peer's numbers from its base to its
 * last piece are all charged to it, at least 512 bytes each, so nothing lies farther ahead than grant / 512, and this is
 * checked. A hostile one could do that in thousands of lanes: so rings beyond a few records share one bound; when it
 * is reached the path shrinks them all to what they hold. And what stands between a far piece and the position is walked once,
 * when the position passes it: so a datagram may stretch lanes by so much and no more.
 */
#include "kcp/kcp_lane_in.h"

#include "core/pool.h"
#include "kcp/kcp_path.h"
#include "kcp/kcp_recv.h"
#include "kcp/kcp_segment.h"

#include <stdlib.h>
#include <string.h>

static struct kcp_rx *at(const struct kcp_lane_in *lane, uint32_t sn)
{
	return kcp_ring_at(&lane->ring, sn);
}

static bool present(const struct kcp_lane_in *lane, uint32_t sn)
{
	return lane->ring.capacity > 0 && at(lane, sn)->present;
}

static uint32_t counted(const struct kcp_lane_in *lane)
{
	return lane->ring.capacity > KCP_LANE_IN_KEEP ? lane->ring.capacity : 0;
}

struct kcp_lane_in *kcp_lane_in_new(uint32_t id, uint32_t pos, struct mono now)
{
	struct kcp_lane_in *lane = calloc(1, sizeof(*lane));

	if (!lane)
		return NULL;
	lane->entry.id = id;
	lane->pos = pos;
	lane->nxt = pos;
	lane->top = pos;
	lane->seen_at = now;
	kcp_ring_init(&lane->ring, sizeof(struct kcp_rx));
	list_init(&lane->holed);
	return lane;
}

void kcp_lane_in_fit(struct kcp_lane_in *lane, struct kcp_lane_in_shared *shared)
{
	shared->records -= counted(lane);
	kcp_ring_fit(&lane->ring, lane->pos, lane->top - lane->pos);
	shared->records += counted(lane);
}

/* Takes a piece out of the ring. */
static struct kcp_rx take(struct kcp_lane_in *lane, uint32_t sn, struct kcp_lane_in_shared *shared)
{
	struct kcp_rx rx = *at(lane, sn);

	*at(lane, sn) = (struct kcp_rx){0};
	lane->held--;
	shared->held--;
	return rx;
}

static void drop(
	struct kcp_lane_in *lane, uint32_t from, uint32_t end, struct kcp_lane_in_shared *shared)
{
	for (; from != end; from++)
		pool_return(shared->pool, take(lane, from, shared).slot);
}

static void deliver(
	struct kcp_lane_in *lane, uint32_t from, uint32_t end, struct kcp_lane_in_shared *shared)
{
	uint64_t bytes = 0;

	for (uint32_t sn = from; sn != end; sn++)
		bytes += at(lane, sn)->len;
	if (bytes > shared->message_max_bytes) {
		shared->broken++;
		drop(lane, from, end, shared);
		return;
	}
	shared->delivered++;
	shared->pieces += end - from;
	for (; from != end; from++) {
		struct kcp_rx rx = take(lane, from, shared);
		kcp_ready_push(shared->ready, rx.slot, rx.len, from + 1 == end);
	}
}

/* Whether the piece `sn` goes on with the message that began at `from`. */
static bool goes_on(const struct kcp_lane_in *lane, uint32_t from, uint32_t sn)
{
	const struct kcp_rx *rx = at(lane, sn);

	if (sn == from)
		return (rx->frg & KCP_FRG_FIRST) != 0;
	return !(rx->frg & KCP_FRG_FIRST) && rx->frg + 1 == (at(lane, sn - 1)->frg & KCP_FRG_LEFT);
}

/* Keeps the lane's place among those with holes. @moved  the position did */
static void place(struct kcp_lane_in *lane, bool moved, struct kcp_lane_in_shared *shared)
{
	if (lane->held == 0) {
		list_remove(&lane->holed);
	} else if (moved || !list_linked(&lane->holed)) {
		list_remove(&lane->holed);
		list_add_tail(&shared->holed, &lane->holed);
	}
}

/* Goes on from nxt as far as pieces are here, delivering. */
static void advance(struct kcp_lane_in *lane, struct kcp_lane_in_shared *shared)
{
	while (lane->nxt != lane->top && present(lane, lane->nxt)) {
		if (!goes_on(lane, lane->pos, lane->nxt)) {
			shared->broken++;
			if (lane->pos == lane->nxt)
				lane->nxt++;
			drop(lane, lane->pos, lane->nxt, shared);
			lane->pos = lane->nxt;
			continue;
		}
		bool last = (at(lane, lane->nxt)->frg & KCP_FRG_LEFT) == 0;
		lane->nxt++;
		if (last) {
			deliver(lane, lane->pos, lane->nxt, shared);
			lane->pos = lane->nxt;
		}
	}
}

/* Settles [pos, end), which ends where a message begins: whole messages are delivered, the rest is discarded. */
static void settle(struct kcp_lane_in *lane, uint32_t end, struct kcp_lane_in_shared *shared)
{
	uint32_t from = lane->pos;

	for (uint32_t sn = lane->pos; sn != end && lane->held > 0; sn++) {
		if (!present(lane, sn) || !goes_on(lane, from, sn)) {
			shared->discarded += from != sn;
			drop(lane, from, sn, shared);
			from = sn;
			if (!present(lane, sn)) {
				from++;
				continue;
			}
			if (!goes_on(lane, from, sn)) { /* a later piece of a message with a hole */
				drop(lane, sn, sn + 1, shared);
				from++;
				continue;
			}
		}
		if ((at(lane, sn)->frg & KCP_FRG_LEFT) == 0) {
			deliver(lane, from, sn + 1, shared);
			from = sn + 1;
		}
	}
	if (lane->held > 0) {
		shared->discarded += from != end;
		drop(lane, from, end, shared);
	}
}

static void move(struct kcp_lane_in *lane, uint32_t base, struct kcp_lane_in_shared *shared)
{
	uint64_t pieces = shared->pieces;
	uint32_t numbers = base - lane->pos;

	settle(lane, kcp_sn_before(base, lane->top) ? base : lane->top, shared);
	/* No honest base goes farther in one step: that one is of a lane that began anew, where nothing was lost. */
	if (numbers <= KCP_PATH_SPAN)
		shared->passed += numbers - (shared->pieces - pieces);
	lane->pos = base;
	if (kcp_sn_before(lane->nxt, base))
		lane->nxt = base;
	if (kcp_sn_before(lane->top, base))
		lane->top = base;
	/* A base in the middle of what was here without a hole cut a message; look at the rest anew. */
	lane->nxt = base;
	advance(lane, shared);
	place(lane, true, shared);
}

void kcp_lane_in_move(struct kcp_lane_in *lane, uint32_t base, struct kcp_lane_in_shared *shared)
{
	if (kcp_sn_before(lane->pos, base))
		move(lane, base, shared);
}

void kcp_lane_in_give_up_hole(struct kcp_lane_in *lane, struct kcp_lane_in_shared *shared)
{
	uint32_t sn = lane->nxt;

	while (sn != lane->top && !(present(lane, sn) && (at(lane, sn)->frg & KCP_FRG_FIRST)))
		sn++;
	move(lane, sn, shared);
}

static bool reserve(struct kcp_lane_in *lane, uint32_t need, struct kcp_lane_in_shared *shared)
{
	uint32_t before = counted(lane);
	bool got;

	got = kcp_ring_reserve(&lane->ring, lane->pos, lane->top - lane->pos, need);
	shared->records += counted(lane) - before;
	return got;
}

/* Whether a ring for `need` records would pass the bound of all. */
static bool crowded(
	const struct kcp_lane_in *lane, uint32_t need, const struct kcp_lane_in_shared *shared)
{
	uint32_t capacity = KCP_RING_MIN;

	if (need <= lane->ring.capacity || need <= KCP_LANE_IN_KEEP)
		return false;
	while (capacity < need)
		capacity *= 2;
	return shared->records - counted(lane) + capacity > shared->records_max;
}

/*
 * What is taken is reported and cannot be asked for again, and a message that is never completed keeps its slots. So the last
 * slots of all are for pieces that complete one; before these, for pieces that are next. And where half of all slots are
 * taken, a path that holds much, though enough for a whole message, gets no more but to complete.
 */
static uint8_t *take_slot(const struct kcp_lane_in_shared *shared, bool next, bool last)
{
	struct pool *pool = shared->pool;

	if (next && last)
		return pool_take(pool);
	if (pool->slots_used >= pool->slots_max / 2 &&
		shared->held >= pool->slots_max / 64 + KCP_PATH_PIECES_MAX)
		return NULL;
	return pool_take_keeping(pool, next ? pool->slots_max / 16 : (pool->slots_max + 7) / 8);
}

enum kcp_lane_in_verdict kcp_lane_in_push(struct kcp_lane_in *lane,
	const struct kcp_segment *segment, struct kcp_lane_in_shared *shared)
{
	uint32_t sn = segment->sn;
	uint32_t need = sn - lane->pos + 1;
	bool next = sn == lane->nxt;
	uint8_t *slot;

	if (kcp_sn_before(sn, lane->nxt))
		return KCP_LANE_IN_REPEATED;
	if (need > shared->span_max)
		return KCP_LANE_IN_FAR;
	if (kcp_sn_before(sn, lane->top) && present(lane, sn))
		return KCP_LANE_IN_REPEATED;
	if (!kcp_sn_before(sn, lane->top) && sn - lane->top > shared->stretch_left)
		return KCP_LANE_IN_CROWDED;
	if (crowded(lane, need, shared))
		return KCP_LANE_IN_CROWDED;
	if (!reserve(lane, need, shared) ||
		!kcp_ready_reserve(
			shared->ready, kcp_ready_count(shared->ready) + shared->held + 1))
		return KCP_LANE_IN_NO_MEMORY;
	slot = take_slot(shared, next, (segment->frg & KCP_FRG_LEFT) == 0);
	if (!slot)
		return KCP_LANE_IN_NO_MEMORY;
	memcpy(slot, segment->data, segment->len);
	*at(lane, sn) = (struct kcp_rx){
		.slot = slot, .len = (uint16_t)segment->len, .frg = segment->frg, .present = true};
	lane->held++;
	shared->held++;
	if (!kcp_sn_before(sn, lane->top)) {
		shared->stretch_left -= sn - lane->top;
		lane->top = sn + 1;
	}
	uint32_t pos = lane->pos;
	if (next)
		advance(lane, shared);
	place(lane, lane->pos != pos, shared);
	return KCP_LANE_IN_TAKEN;
}

void kcp_lane_in_free(struct kcp_lane_in *lane, struct kcp_lane_in_shared *shared)
{
	for (uint32_t sn = lane->pos; sn != lane->top; sn++) {
		if (present(lane, sn))
			pool_return(shared->pool, take(lane, sn, shared).slot);
	}
	shared->records -= counted(lane);
	kcp_ring_free(&lane->ring);
	list_remove(&lane->holed);
	free(lane);
}
