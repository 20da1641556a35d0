/* How much the peer may have outstanding: the grant that this side tells. */
#ifndef KCP_GRANT_H
#define KCP_GRANT_H

#include "core/mono.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kcp_grant {
	uint64_t floor_bytes; /* told at first, and again after a pause */
	uint64_t level_bytes; /* what arrivals earned */
	uint64_t told_bytes;  /* by the last datagram that left */
	uint64_t reach_bytes; /* largest ever told: what honest data can span */
	struct mono round_at; /* arrivals are counted a round trip at a time */
	uint64_t round_bytes;
};

/** @credit_bytes  what the peer was told before any datagram */
void kcp_grant_init(struct kcp_grant *grant, uint32_t credit_bytes);

/** `bytes` of segments arrived. */
void kcp_grant_arrived(struct kcp_grant *grant, size_t bytes, int64_t srtt_us, struct mono now);

/**
 * What to tell now, a multiple of the unit.
 *
 * @unread_bytes  held by a reader that stopped
 * @tight         memory is short: the least
 */
uint64_t kcp_grant_bytes(const struct kcp_grant *grant, uint64_t unread_bytes, bool tight);

/** `bytes` were told. */
void kcp_grant_told(struct kcp_grant *grant, uint64_t bytes);

#endif
