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

/** Whether the drain of this cycle goes on until the queue is gone. */
bool kcp_lt_long_drain(const struct kcp_lt *lt);

/** How long that may take, in units of `unit_us`. */
int64_t kcp_lt_drain_units(const struct kcp_lt *lt, int64_t unit_us);

/**
 * A long drain ended: others may be there if the queue stands.
 *
 * @is_empty  no more flies than the path holds without a queue
 * @unit_us   how long to watch for what the drain has changed
 */
void kcp_lt_rivals_drained(struct kcp_lt *lt, bool is_empty, struct mono now, int64_t unit_us);

/** Judges the last drain, when it is time. */
void kcp_lt_rivals_watch(struct kcp_lt *lt, struct mono now);

/** A round ended. @full  with a sample that tells of the path */
void kcp_lt_rivals_round(struct kcp_lt *lt, bool full);

/** A queue stands. @return  it is taken for that of others, who were there a while ago */
bool kcp_lt_rivals_suspect(struct kcp_lt *lt, struct mono now);

/** Bytes a second beyond the rate. */
uint64_t kcp_lt_rivals_growth(const struct kcp_lt *lt);

/** The path is another. */
void kcp_lt_rivals_forget(struct kcp_lt *lt);

/** Charges the pace. */
void kcp_lt_pace(struct kcp_lt *lt, uint32_t bytes, uint64_t flying_bytes, struct mono now);

#endif
