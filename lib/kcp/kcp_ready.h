/* Whole messages that wait for the reader, in the order in which they became whole. */
#ifndef KCP_READY_H
#define KCP_READY_H

#include "kcp/kcp_ring.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct iovec;
struct pool;

struct kcp_ready_piece {
	uint8_t *slot;
	uint16_t len;
	bool last; /* of its message */
};

struct kcp_ready {
	struct kcp_ring ring;
	uint32_t first;
	uint32_t next;
	uint32_t shown; /* pieces of the message that was shown last */
	uint64_t shown_bytes;
};

void kcp_ready_init(struct kcp_ready *ready);

/** Returns all slots and frees. */
void kcp_ready_fini(struct kcp_ready *ready, struct pool *pool);

/** Pieces that wait. */
static inline uint32_t kcp_ready_count(const struct kcp_ready *ready)
{
	return ready->next - ready->first;
}

/** Makes sure that `count` pieces can wait in all. @return false if out of memory */
bool kcp_ready_reserve(struct kcp_ready *ready, uint32_t count);

/** Takes a slot. Room was reserved. @last  it ends its message */
void kcp_ready_push(struct kcp_ready *ready, uint8_t *slot, uint16_t len, bool last);

/** See kcp_path_recv_iov(). */
int kcp_ready_show(struct kcp_ready *ready, struct iovec *iov, int max, size_t *ret_len);

/** Drops what was shown. @return its pieces, 0 if nothing was */
uint32_t kcp_ready_consume(struct kcp_ready *ready, struct pool *pool);

#endif
