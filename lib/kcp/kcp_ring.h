/* A ring of records indexed by sequence number: record n lies at n modulo a power of two that grows on need. */
#ifndef KCP_RING_H
#define KCP_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	KCP_RING_MIN = 16, /* records of a ring that was just made */
};

struct kcp_ring {
	uint8_t *records;
	uint32_t mask;	       /* capacity - 1 */
	uint32_t capacity;     /* 0 = nothing allocated */
	uint32_t record_bytes; /* size of one */
};

/** Allocates nothing yet. */
void kcp_ring_init(struct kcp_ring *ring, size_t record_bytes);

/** Frees the records; the ring stays usable and empty. What the records point to is the caller's. */
void kcp_ring_free(struct kcp_ring *ring);

/**
 * Makes room for `need` consecutive records from `first` on, moving the `used` ones that exist. New records are zero.
 *
 * @used    records from `first` on that have a value, at most the capacity
 * @need    at least `used`, at most 2^31
 * @return  false if out of memory; nothing changed then
 */
bool kcp_ring_reserve(struct kcp_ring *ring, uint32_t first, uint32_t used, uint32_t need);

/** Shrinks to what `used` records from `first` on need, at least KCP_RING_MIN; none: frees all. Out of memory: stays. */
void kcp_ring_fit(struct kcp_ring *ring, uint32_t first, uint32_t used);

static inline size_t kcp_ring_bytes(const struct kcp_ring *ring)
{
	return (size_t)ring->capacity * ring->record_bytes;
}

/** The record of number `sn`. It must lie within the reserved range. */
static inline void *kcp_ring_at(const struct kcp_ring *ring, uint32_t sn)
{
	return ring->records + (size_t)(sn & ring->mask) * ring->record_bytes;
}

#endif
