/* The sending side of one lane: whole messages in pieces, a base that tells the peer where it may move up to. */
#ifndef KCP_LANE_H
#define KCP_LANE_H

#include "core/list.h"
#include "core/mono.h"
#include "kcp/kcp_segment.h"
#include "kcp/kcp_send.h"
#include "kcp/kcp_table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool;

enum {
	/* Freed so long after its base reached its next number: later than the peer frees its side, so that it has none then,
	 * wherever a lane made anew begins. */
	KCP_LANE_IDLE_US = 90 * 1000000,
	KCP_LANE_TELL_MAX =
		64, /* a base is repeated so often, about a minute; then not until there is news */
};

/** Whom lent memory goes back to. */
struct kcp_lender {
	void (*over)(void *ctx, void *loan);
	void *ctx;
};

/**
 * sender.una is the base: [una, nxt) are pieces, sent or waiting. A message is charged from its push until the base passed
 * it; if an abandoned one was passed, charge is withheld until the peer acknowledged a datagram that carried such a base.
 */
struct kcp_lane {
	struct kcp_table_entry entry;
	bool edge_open; /* the base passed an abandoned message and the peer may not know */
	struct kcp_sender sender;
	const struct kcp_lender *lender;
	uint64_t charged_bytes;	 /* of messages at or above the base, and withheld ones */
	uint64_t withheld_bytes; /* of it: passed, to be returned when the base is known */
	uint64_t
		edge_pn; /* first number that carried a base at or above the edge; UINT64_MAX = none */

	uint32_t told;	/* times the base was repeated since the edge opened, or there was news */
	uint32_t heard; /* which news that was */
	struct mono fwd_at;  /* when to tell the base on its own, if edge_open */
	struct mono idle_at; /* the base reached its next number, or it was made */
	struct list active;  /* while una != nxt */
	struct list forward; /* while edge_open */
};

/** @return NULL if out of memory. @first_sn  where its numbers begin   @lender  outlives it */
struct kcp_lane *kcp_lane_new(
	uint32_t id, uint32_t first_sn, const struct kcp_lender *lender, struct mono now);

/** Returns all slots and loans. */
void kcp_lane_free(struct kcp_lane *lane, struct pool *pool);

/** The piece `sn` if it can still be sent: in the lane, not acknowledged, not given up. Else NULL. */
struct kcp_tx *kcp_lane_piece(const struct kcp_lane *lane, uint32_t sn);

/** The first piece of the message that `tx` of number `sn` belongs to. */
static inline struct kcp_tx *kcp_lane_head(
	const struct kcp_lane *lane, uint32_t sn, const struct kcp_tx *tx)
{
	return kcp_sender_at(&lane->sender, sn - tx->index);
}

static inline uint32_t kcp_lane_span(const struct kcp_lane *lane)
{
	return lane->sender.nxt - lane->sender.una;
}

/** What a message of `len` costs against the grant. */
uint32_t kcp_lane_cost_bytes(size_t len, uint32_t piece_bytes);

/**
 * Cuts a message and adds it, charged. Pieces are marked KCP_TX_WAITS: the caller puts them into a queue.
 *
 * @len     at most KCP_PATH_PIECES_MAX pieces; lane span checked by the caller
 * @return  number of pieces, or -ENOBUFS, -ENOMEM
 */
int kcp_lane_push(struct kcp_lane *lane, struct pool *pool, uint32_t piece_bytes, uint8_t class,
	struct mono expires, const void *data, size_t len, uint32_t *ret_first);

/**
 * The same without a copy: the lender gets `loan` back when all pieces have arrived or the message is given up.
 *
 * @loan         not NULL
 * @first_bytes  of the first piece, at most piece_bytes
 */
int kcp_lane_lend(struct kcp_lane *lane, uint32_t first_bytes, uint32_t piece_bytes, uint8_t class,
	struct mono expires, void *data, size_t len, void *loan, uint32_t *ret_first);

/** Piece `sn` arrived. Harmless for what is not there any more. @return charge returned */
uint64_t kcp_lane_ack(struct kcp_lane *lane, struct pool *pool, uint32_t sn, struct mono now);

/** Gives up the message of piece `sn`, which kcp_lane_piece() gave. @return charge returned */
uint64_t kcp_lane_give_up(struct kcp_lane *lane, struct pool *pool, uint32_t sn, struct mono now);

/** The datagram `pn` carries the base. @repeat_us  when it must be repeated if not acknowledged */
void kcp_lane_carried(struct kcp_lane *lane, uint64_t pn, int64_t repeat_us, struct mono now);

/**
 * Whether a base was repeated for long enough; then fwd_at is never, until kcp_lane_wake() or a new piece.
 *
 * @heard  datagrams from the peer, to be compared only: what was repeated before the last of them does not count
 */
bool kcp_lane_tires(struct kcp_lane *lane, uint32_t heard);

/** There is news of the peer: an open edge is told at once, and repeated again. */
void kcp_lane_wake(struct kcp_lane *lane, struct mono now);

/** A datagram that carried the base arrived. @return charge returned */
uint64_t kcp_lane_confirmed(struct kcp_lane *lane, uint64_t pn);

#endif
