/*
 * Because the capacity is a power of two, the index of a sequence number is a mask away, also where the numbers pass
 * 2^32, and a grown ring keeps the order without a word about where it starts.
 */
#include "kcp/kcp_ring.h"

#include <stdlib.h>
#include <string.h>

void kcp_ring_init(struct kcp_ring *ring, size_t record_bytes)
{
	*ring = (struct kcp_ring){.record_bytes = (uint32_t)record_bytes};
}

void kcp_ring_free(struct kcp_ring *ring)
{
	free(ring->records);
	kcp_ring_init(ring, ring->record_bytes);
}

bool kcp_ring_reserve(struct kcp_ring *ring, uint32_t first, uint32_t used, uint32_t need)
{
	struct kcp_ring grown = *ring;

	if (need <= ring->capacity)
		return true;
	grown.capacity = ring->capacity ? ring->capacity : KCP_RING_MIN;
	while (grown.capacity < need)
		grown.capacity *= 2;
	grown.mask = grown.capacity - 1;
	grown.records = calloc(grown.capacity, grown.record_bytes);
	if (!grown.records)
		return false;
	for (uint32_t i = 0; i < used; i++)
		memcpy(kcp_ring_at(&grown, first + i), kcp_ring_at(ring, first + i),
			ring->record_bytes);
	free(ring->records);
	*ring = grown;
	return true;
}

void kcp_ring_fit(struct kcp_ring *ring, uint32_t first, uint32_t used)
{
	struct kcp_ring small;

	if (used == 0) {
		kcp_ring_free(ring);
		return;
	}
	if (ring->capacity / 2 < used || ring->capacity <= KCP_RING_MIN)
		return;
	kcp_ring_init(&small, ring->record_bytes);
	if (!kcp_ring_reserve(&small, first, 0, used))
		return;
	for (uint32_t i = 0; i < used; i++)
		memcpy(kcp_ring_at(&small, first + i), kcp_ring_at(ring, first + i),
			ring->record_bytes);
	free(ring->records);
	*ring = small;
}
