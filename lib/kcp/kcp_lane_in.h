/* The receiving side of one lane: pieces held until their message is whole and its turn has come. */
#ifndef KCP_LANE_IN_H
#define KCP_LANE_IN_H

#include "core/list.h"
#include "core/mono.h"
#include "kcp/kcp_ready.h"
#include "kcp/kcp_ring.h"
#include "kcp/kcp_table.h"

#include <stdbool.h>
#include <stdint.h>

struct kcp_segment;
struct pool;

enum {
	KCP_LANE_IN_IDLE_US = 60 * 1000000, /* freed so long after its last segment */
	KCP_LANE_IN_KEEP =
		32, /* records that an empty lane keeps, and that count against nothing */
};

/** What the lanes of a path share. */
struct kcp_lane_in_shared {
	struct pool *pool;
	struct kcp_ready *ready;
	struct list holed; /* lanes that hold pieces; whose next was awaited longest stands first */
	uint32_t held;	   /* pieces in all lanes */
	uint32_t records;  /* in rings of more than KCP_LANE_IN_KEEP */
	uint32_t records_max;
	/* How far pieces may still stretch their lanes in this datagram: what is stretched is walked once, later. */
	uint32_t stretch_left;
	uint32_t span_max; /* what is farther than this from the position breaks the grant */
	uint32_t message_max_bytes;
	uint64_t delivered; /* messages */
	uint64_t pieces;    /* in these */
	uint64_t passed; /* numbers that the position went over and that will never be delivered */
	uint64_t discarded;
	uint64_t broken;
};

/** [pos, nxt) is here without a hole, part of a message that is not whole; from nxt to top some of it. */
struct kcp_lane_in {
	struct kcp_table_entry entry;
	uint32_t pos;
	struct kcp_ring ring; /* of struct kcp_rx */
	uint32_t nxt;
	uint32_t top;  /* one above the highest held, at least nxt */
	uint32_t held; /* pieces */
	struct mono seen_at;
	struct list holed;
};

enum kcp_lane_in_verdict {
	KCP_LANE_IN_TAKEN,
	KCP_LANE_IN_REPEATED,
	KCP_LANE_IN_FAR,       /* beyond what was ever granted */
	KCP_LANE_IN_CROWDED,   /* too many records in all lanes */
	KCP_LANE_IN_NO_MEMORY, /* pool or heap */
};

/** @return NULL if out of memory */
struct kcp_lane_in *kcp_lane_in_new(uint32_t id, uint32_t pos, struct mono now);

/** Returns all slots; what was incomplete is discarded. */
void kcp_lane_in_free(struct kcp_lane_in *lane, struct kcp_lane_in_shared *shared);

/** Moves up to the sender's base, if that is ahead: delivers what is whole below it, discards the rest. */
void kcp_lane_in_move(struct kcp_lane_in *lane, uint32_t base, struct kcp_lane_in_shared *shared);

/** Takes a piece; the lane was moved to its base before. It was checked that sn and base go together. */
enum kcp_lane_in_verdict kcp_lane_in_push(struct kcp_lane_in *lane,
	const struct kcp_segment *segment, struct kcp_lane_in_shared *shared);

/** Moves over the first hole, to the next message that is here. The lane must hold something. */
void kcp_lane_in_give_up_hole(struct kcp_lane_in *lane, struct kcp_lane_in_shared *shared);

/** Shrinks the ring to what it holds. */
void kcp_lane_in_fit(struct kcp_lane_in *lane, struct kcp_lane_in_shared *shared);

#endif
