/*
 * How kcp-go acknowledges, finds losses and decides what leaves when: one ACK segment per PUSH, timeouts, resends after a
 * number of later acks. The other half of the engine (codec, queues, windows, order) does not depend on it.
 */
#ifndef KCP_CLASSIC_H
#define KCP_CLASSIC_H

#include "core/mono.h"

#include <stdbool.h>
#include <stdint.h>

struct kcp;
struct kcp_tx;

enum {
	KCP_LATER_ACK_STEPS = 4096, /* most that the ACKs of one datagram may make */
};

/** What one datagram did to the sending side. */
struct kcp_progress {
	bool una_moved;	   /* segments left the window */
	bool acked;	   /* some segment was acknowledged for the first time */
	bool saw_ack;	   /* it held an ACK */
	bool fast_reached; /* a segment counted enough later acks to be resent */
	uint32_t ack_ts;   /* of the last ACK */
	uint32_t steps;	   /* over watched segments that ACKs made */
};

/** The peer has all before `una`. Beyond what was sent: ignored and counted. */
void kcp_classic_una(struct kcp *kcp, uint32_t una, struct kcp_progress *progress, struct mono now);

/** The peer has segment `sn`, sent at `ts`. */
void kcp_classic_ack(
	struct kcp *kcp, uint32_t sn, uint32_t ts, struct kcp_progress *progress, struct mono now);

/** Notes that a PUSH is to be acknowledged. */
void kcp_classic_note(struct kcp *kcp, uint32_t sn, uint32_t ts, struct mono now);

/** A whole datagram was taken in. @regular  it came from the network, not from FEC */
void kcp_classic_datagram(
	struct kcp *kcp, const struct kcp_progress *progress, bool regular, struct mono now);

/** kcp_flush() */
void kcp_classic_flush(struct kcp *kcp, bool acks_only, struct mono now);

/** True if the acknowledgements that wait fill a datagram. */
bool kcp_classic_acks_fill(const struct kcp *kcp);

/** When they are to leave, if any wait. */
struct mono kcp_classic_acks_due(const struct kcp *kcp);

/** Full segments that windows and pace allow beyond what is in flight. */
uint32_t kcp_classic_room(const struct kcp *kcp, struct mono now);

/** True if a queued segment may be sent now. */
bool kcp_classic_may_send(const struct kcp *kcp);

/** Bytes that may be in flight by measurement; UINT64_MAX if that is off. */
uint64_t kcp_classic_limit_bytes(const struct kcp *kcp);

/* kcp_classic_holes.c: what takes the place of counting later acks where the window is measured */

/** Segment `sn` is acknowledged for the first time, by an ACK that echoes `ts`. */
void kcp_holes_acked(struct kcp *kcp, uint32_t sn, uint32_t ts);

/** Marks what was sent before the newest arrival. @return true if some of it is to be sent again now */
bool kcp_holes_find(struct kcp *kcp, struct mono now);

/** True if a segment is to be sent again without waiting for its timeout. */
bool kcp_holes_lost(const struct kcp *kcp, const struct kcp_tx *tx, struct mono now);

#endif
