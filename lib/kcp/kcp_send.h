/* The sending side's segments: queued, in flight and acknowledged, in one ring by sequence number. */
#ifndef KCP_SEND_H
#define KCP_SEND_H

#include "core/mono.h"
#include "kcp/kcp_ring.h"
#include "kcp/kcp_window.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool;

enum {
	KCP_TX_ACKED = 1,   /* acknowledged out of order; waits for una */
	KCP_TX_WATCHED = 2, /* in the list of those that later acks count against */
	KCP_TX_LIMITED = 4, /* sent while the application had no more to send */
	/* native lanes */
	KCP_TX_WAITS = 8, /* stands in a queue to be sent, first or again */
	KCP_TX_SENT = 16,
	KCP_TX_GONE = 32, /* its message was given up */
	KCP_TX_LENT = 64, /* the slot is a part of the lent memory of its message */
};

/** One segment. A cache line, because a window of them is walked. */
struct kcp_tx {
	uint8_t *slot; /* payload; NULL once acknowledged */
	uint16_t len;
	uint8_t frg;
	uint8_t flags; /* KCP_TX_... */
	uint8_t mark;  /* kcp_mark() */
	union {
		struct {		     /* kcp-go's conversation */
			uint32_t ts_ms;	     /* of the last transmission */
			uint32_t rto_ms;     /* of the last transmission */
			uint32_t due_ms;     /* when it times out */
			uint32_t later_acks; /* acks of later segments since it was sent */
			uint32_t sendings;
			uint32_t watch_prev; /* neighbours in the watched list, by number; */
			uint32_t watch_next; /* without meaning at its ends */
			struct kcp_flight flight;
		};
		struct {	     /* native lane */
			uint64_t pn; /* of the last transmission */
			struct mono
				expires; /* the next five are the first piece's, for its message */
			uint32_t cost_bytes; /* charged against the grant */
			void *loan; /* the memory of the message, to be given back; NULL = there is none */
			uint8_t pieces;
			uint8_t open;  /* of them not acknowledged */
			uint8_t class; /* enum kcp_path_class */
			uint8_t index; /* of this piece in its message */
		};
	};
};

_Static_assert(sizeof(struct kcp_tx) <= 64, "a segment's record fits a cache line");

/**
 * una <= nxt <= nxt + queued: [una, nxt) was sent, [nxt, nxt + queued) waits. Of what was sent, what is not yet
 * acknowledged and still counts later acks is also in the watched list, in order of number: so an ack costs as many steps
 * as there are holes below it, not as there are segments in the window.
 */
struct kcp_sender {
	struct kcp_ring ring;
	/*
	 * What changes with each segment does not stand side by side: a compiler would load such neighbours at once, just after
	 * one of them was written alone, and that load waits until all stores before it are through, those into a cold slot, too.
	 */
	uint32_t una;
	uint32_t nxt;
	uint32_t watched;
	uint32_t queued;
	uint32_t watch_head;
	uint32_t unacked; /* sent and not acknowledged */
	uint64_t queued_bytes;
	uint32_t watch_tail;
	uint32_t suspects; /* of the watched, those with later_acks > 0 */
	uint64_t unacked_bytes;
};

void kcp_sender_init(struct kcp_sender *sender, uint32_t first_sn);

/** Returns all slots and frees the ring. */
void kcp_sender_fini(struct kcp_sender *sender, struct pool *pool);

/** Segment of number `sn`, una <= sn < nxt + queued. */
static inline struct kcp_tx *kcp_sender_at(const struct kcp_sender *sender, uint32_t sn)
{
	return kcp_ring_at(&sender->ring, sn);
}

/** Cuts and queues; see kcp_send(). @queue_max  bound on queued segments */
int kcp_sender_push(struct kcp_sender *sender, struct pool *pool, uint32_t mss_bytes, bool stream,
	uint32_t queue_max, const uint8_t *data, size_t len);

/**
 * As kcp_sender_push() of a whole message, but its segments stay where they are, and are nobody's to return.
 *
 * @first_bytes  of the first segment, 1 .. mss_bytes; less than mss_bytes only if there are more
 * @return       how many segments were queued; -EMSGSIZE, -ENOMEM
 */
int kcp_sender_lend(struct kcp_sender *sender, uint32_t first_bytes, uint32_t mss_bytes,
	uint32_t queue_max, uint8_t *data, size_t len);

/**
 * Queues a message of one segment that its maker writes where it will stay. All or nothing.
 *
 * @len   1 .. the pool's slot
 * @make  writes `len` bytes
 * @return as kcp_sender_push()
 */
int kcp_sender_make(struct kcp_sender *sender, struct pool *pool, uint32_t queue_max, size_t len,
	void (*make)(void *ctx, uint8_t *at), void *ctx);

/** Moves the first queued segment in flight. @return it, not yet watched; there must be one */
struct kcp_tx *kcp_sender_next(struct kcp_sender *sender);

/** Puts segment `sn` into the watched list, wherever it belongs. */
void kcp_sender_watch(struct kcp_sender *sender, uint32_t sn);

/** Takes segment `sn` out of the watched list if it is in. */
void kcp_sender_unwatch(struct kcp_sender *sender, uint32_t sn);

/** Marks a segment in flight as acknowledged and returns its slot. It must not have been. */
void kcp_sender_ack(struct kcp_sender *sender, struct pool *pool, uint32_t sn);

#endif
