/* What the files of LT do for each other. */
#ifndef KCP_LT_PHASE_H
#define KCP_LT_PHASE_H

#include "kcp/kcp_lt.h"

/** Enters a phase. */
void kcp_lt_enter(struct kcp_lt *lt, enum kcp_lt_phase phase, struct mono now);

/** Goes slower for a moment, to see which losses stay. */
void kcp_lt_ask(struct kcp_lt *lt, struct mono now);

/** Goes on to the next phase, if it is time. */
void kcp_lt_advance(struct kcp_lt *lt, uint64_t flying_bytes, struct mono now);

/** A round of STARTUP ended. @full  with a sample that tells of the path */
void kcp_lt_grow(struct kcp_lt *lt, bool full, bool congested, struct mono now);

/** Pace of the phase, percent of the rate. */
uint32_t kcp_lt_gain(const struct kcp_lt *lt, uint64_t flying_bytes);

/** How a datagram counts that leaves now. */
enum kcp_lt_kind kcp_lt_kind(const struct kcp_lt *lt, uint64_t flying_bytes);

/** The least round-trip time that tells of a queue. */
int64_t kcp_lt_queue_us(const struct kcp_lt *lt);

/** Bytes on a path without queue. */
uint64_t kcp_lt_product(const struct kcp_lt *lt);

/** Charges the pace. */
void kcp_lt_pace(struct kcp_lt *lt, uint32_t bytes, uint64_t flying_bytes, struct mono now);

#endif
