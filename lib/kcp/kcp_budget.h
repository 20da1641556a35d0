/* What may leave a path now: congestion window and pace. The one place that knows how they are found. */
#ifndef KCP_BUDGET_H
#define KCP_BUDGET_H

#include "core/mono.h"
#include "kcp/kcp_lt.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	KCP_BUDGET_EXEMPT_SHARE = 10,	    /* a tenth of the rate passes a full window, */
	KCP_BUDGET_EXEMPT_MIN_BPS = 25000,  /* bytes a second of it at least (200 kb/s), */
	KCP_BUDGET_EXEMPT_BURST_US = 50000, /* and so much of it may be saved up */
	KCP_BUDGET_DEBT_US = 100000,	    /* pace never makes wait for longer, */
	KCP_BUDGET_DEBT_DATAGRAMS = 4,	    /* or under a cap, than for so many full ones */
	KCP_BUDGET_WIRE_BYTES = 64,	    /* of a datagram beyond its segments */
};

struct kcp_budget {
	struct kcp_lt lt;
	struct mono exempt_at; /* when the next exempt datagram may pass */
};

void kcp_budget_init(struct kcp_budget *budget);

/** As kcp_lt_set_shards(). */
static inline void kcp_budget_set_shards(struct kcp_budget *budget, uint32_t shards)
{
	kcp_lt_set_shards(&budget->lt, shards);
}

/** As kcp_lt_set_cap(). */
static inline void kcp_budget_set_cap(struct kcp_budget *budget, uint64_t bytes_per_s)
{
	kcp_lt_set_cap(&budget->lt, bytes_per_s);
}

/** As kcp_lt_set_fixed(). */
static inline void kcp_budget_set_fixed(struct kcp_budget *budget, bool fixed)
{
	kcp_lt_set_fixed(&budget->lt, fixed);
}

/** A queue on the way marked so many datagrams. To be told before kcp_budget_update(). */
static inline void kcp_budget_marked(struct kcp_budget *budget, uint32_t datagrams)
{
	kcp_lt_marked(&budget->lt, datagrams);
}

/** Notes a datagram that does not fly. */
void kcp_budget_spent(struct kcp_budget *budget, uint32_t bytes, struct mono now);

/** A round-trip time known from elsewhere, for as long as none was measured. */
void kcp_budget_hint_rtt(struct kcp_budget *budget, int64_t rtt_us);

/** What is known of the path, as of when it was last used. */
void kcp_budget_save(const struct kcp_budget *budget, struct kcp_lt_memory *ret_memory);

/** Begins anew with it, if it is not too old: at half the rate. */
void kcp_budget_resume(
	struct kcp_budget *budget, const struct kcp_lt_memory *memory, struct mono now);

/** Bytes that may be in flight. @datagram_bytes  of a full one, as charged */
uint64_t kcp_budget_window_bytes(const struct kcp_budget *budget, uint32_t datagram_bytes);

/** When pace lets the next datagram go; past = now. */
static inline struct mono kcp_budget_pace_at(const struct kcp_budget *budget)
{
	return budget->lt.pace_at;
}

/** When the next datagram may pass a full window. */
static inline struct mono kcp_budget_exempt_at(const struct kcp_budget *budget)
{
	return budget->exempt_at;
}

/**
 * Notes a datagram that flies.
 *
 * @flying_bytes  before it
 * @exempt        it passed although window or pace was shut
 */
void kcp_budget_sent(struct kcp_budget *budget, struct kcp_lt_flight *ret_flight, uint32_t bytes,
	uint32_t datagram_bytes, uint64_t flying_bytes, bool exempt, struct mono now);

/** @late  it had been declared lost */
void kcp_budget_acked(struct kcp_budget *budget, const struct kcp_lt_flight *flight, uint32_t bytes,
	bool late, struct mono now);

/** Declared lost, rebuilt ones as well. */
void kcp_budget_lost(struct kcp_budget *budget, const struct kcp_lt_flight *flight, uint32_t bytes);

/**
 * Closes the sample of one report, when all that it acknowledged and lost was told.
 *
 * @rtt_us        measured by it, 0 = none
 * @flying_bytes  now
 */
void kcp_budget_update(
	struct kcp_budget *budget, int64_t rtt_us, uint64_t flying_bytes, struct mono now);

/** All went out that there was. */
void kcp_budget_set_limited(struct kcp_budget *budget, uint64_t flying_bytes);

/** The window is full. */
void kcp_budget_set_full(struct kcp_budget *budget);

int64_t kcp_budget_min_rtt_us(const struct kcp_budget *budget);
uint64_t kcp_budget_rate_bytes(const struct kcp_budget *budget); /* a second; 0 = unknown */

#endif
