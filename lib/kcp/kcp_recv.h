/* The receiving side: the reorder window and the messages that are complete, in one ring by sequence number. */
#ifndef KCP_RECV_H
#define KCP_RECV_H

#include "kcp/kcp_ring.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct iovec;
struct kcp_segment;
struct pool;

struct kcp_rx {
	uint8_t *slot; /* NULL if len is 0 */
	uint16_t len;
	uint8_t frg;
	bool present;
};

/** [read, nxt) is in order and waits for the reader; from nxt on what came early, `early` segments. */
struct kcp_receiver {
	struct kcp_ring ring;
	uint32_t read;
	uint32_t nxt;
	uint32_t wnd; /* segments */
	uint32_t early;
	uint32_t shown; /* segments that the last kcp_receiver_show() showed */
	uint64_t shown_bytes;
	bool reopened;	 /* a full window got room since the engine last looked */
	uint64_t broken; /* messages dropped because their fragments did not count down */
};

enum kcp_receiver_verdict {
	KCP_RECEIVER_TAKEN,
	KCP_RECEIVER_REPEATED,
	KCP_RECEIVER_OUTSIDE,	   /* beyond the window */
	KCP_RECEIVER_BAD_FRAGMENT, /* a message that the window could never hold */
	KCP_RECEIVER_TOO_LONG,	   /* longer than a slot */
	KCP_RECEIVER_NO_MEMORY,
};

void kcp_receiver_init(struct kcp_receiver *receiver, uint32_t first_sn, uint32_t wnd);

/** Returns all slots and frees the ring. */
void kcp_receiver_fini(struct kcp_receiver *receiver, struct pool *pool);

/** Takes a PUSH. Only TAKEN and REPEATED may be acknowledged. */
enum kcp_receiver_verdict kcp_receiver_push(
	struct kcp_receiver *receiver, struct pool *pool, const struct kcp_segment *segment);

/** Segments that wait for the reader. */
static inline uint32_t kcp_receiver_ready(const struct kcp_receiver *receiver)
{
	return receiver->nxt - receiver->read;
}

/** The window that is told to the peer: slots that are free. */
uint16_t kcp_receiver_free(const struct kcp_receiver *receiver);

/**
 * Segments of the next message, 0 if none is complete. Drops, and counts in `broken`, what cannot become one.
 */
uint32_t kcp_receiver_message(struct kcp_receiver *receiver, struct pool *pool, size_t *ret_len);

/**
 * Segments of the longest run of messages of one segment each, at most `max`; in stream mode that is all there is.
 * @return  0, and `ret_len` is untouched, if the first message has several
 */
uint32_t kcp_receiver_run(const struct kcp_receiver *receiver, uint32_t max, size_t *ret_len);

/** Describes the first `count` segments that wait. */
void kcp_receiver_show(struct kcp_receiver *receiver, uint32_t count, struct iovec *iov);

/** Gives the first `count` segments back. */
void kcp_receiver_consume(struct kcp_receiver *receiver, struct pool *pool, uint32_t count);

/** Moves what is next in order to the reader, as far as the window allows. */
void kcp_receiver_advance(struct kcp_receiver *receiver);

#endif
