/* Datagrams sent: what they carried, which of them arrived, which are lost, and the round-trip time. */
#ifndef KCP_SENT_H
#define KCP_SENT_H

#include "core/mono.h"
#include "kcp/kcp_rack.h"
#include "kcp/kcp_refs.h"
#include "kcp/kcp_ring.h"
#include "kcp/kcp_lt_sample.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	KCP_SENT_MAX = 65536, /* records; beyond, the oldest are given up */
	KCP_SENT_LATER = 3, /* later numbers received make one lost, while no reordering is seen */
	KCP_SENT_REO_MIN_US = 2000,
	KCP_SENT_REORDER_US = 60 * 1000000, /* so long is a path taken for one that reorders */
	KCP_SENT_PTO_MARGIN_US = 10000,
	KCP_SENT_PTO_START_US = 300000, /* while no round-trip time is known */
	KCP_SENT_PTO_MAX_US =
		250000, /* back-off ends here, or at the first PTO if that is longer; */
	KCP_SENT_PTO_LATE_US = 1000000, /* after KCP_SENT_SILENT_US without an answer here */
	KCP_SENT_SILENT_US = 4 * 1000000,
	KCP_SENT_DEAD_US =
		60 * 1000000, /* nobody is there: no more probes until something arrives */
	KCP_SENT_QUIET_US =
		10 * 1000000,		/* so long is a number kept that nobody must acknowledge */
	KCP_SENT_KEEP_US = 3 * 1000000, /* so long after it was sent a lost one is remembered */
	KCP_SENT_STEPS =
		4096, /* holes that one list of a report is held against; more is a liar's work */
	KCP_SENT_RTT_MAX_US = 10 * 1000000,   /* a longer one was measured across a suspend */
	KCP_SENT_REPEAT_MAX_US = 3 * 1000000, /* however slow the path looks */
};

enum {
	KCP_SENT_ASKS = 1,	 /* asks for acknowledgement */
	KCP_SENT_FLIES = 2,	 /* counts as in flight */
	KCP_SENT_ACKED = 4,	 /* received by the peer */
	KCP_SENT_REBUILT = 8,	 /* the peer has what it carried */
	KCP_SENT_LOST = 16,	 /* declared; may still arrive */
	KCP_SENT_HOLE = 32,	 /* a later one was received first */
	KCP_SENT_UNCOUNTED = 64, /* its loss counts nowhere (MTU probe) */
};

struct kcp_sent_record {
	struct mono at;
	struct kcp_lt_flight flight;
	uint32_t bytes;	    /* as charged to the window */
	uint32_t ref_first; /* what it carried: refs of this number on */
	uint32_t hole_prev; /* neighbours among the holes, low halves of their numbers */
	uint32_t hole_next;
	uint8_t ref_count;
	uint8_t flags;
};

/** What happened to a datagram. Called with the record still in place. */
struct kcp_sent_events {
	/** Received for the first time. If it was REBUILT before, what it carried was told then. */
	void (*acked)(void *ctx, uint64_t pn, struct kcp_sent_record *record);
	void (*rebuilt)(void *ctx, uint64_t pn, struct kcp_sent_record *record);
	/** Declared lost; rebuilt ones, too (REBUILT is set). */
	void (*lost)(void *ctx, uint64_t pn, struct kcp_sent_record *record);
};

/**
 * Records of [first, next). Those at or below `acked_top` that were not received are holes, linked in order of number; of these
 * a lower part is declared LOST, the rest, `pending` from `pending_first` on, is waited for.
 */
struct kcp_sent {
	struct kcp_ring ring;
	struct kcp_refs refs;
	uint64_t first;
	uint64_t next;
	uint64_t acked_top; /* largest number the peer received; valid if `any_acked` */
	bool any_acked;
	uint32_t holes;
	uint32_t hole_head;
	uint32_t hole_tail;
	uint32_t pending;
	uint32_t pending_first;
	/* in flight */
	uint32_t flying;
	uint64_t flying_bytes;
	struct mono asked_at;	      /* the newest that flies was sent */
	struct mono unanswered_since; /* MONO_NEVER = nothing waits for an answer */
	uint32_t pto_count;
	/* round-trip time */
	int64_t srtt_us; /* 0 = unknown */
	int64_t var_us;
	int64_t latest_us;
	int64_t sample_us; /* of the report that was taken last; 0 = it gave none */
	int64_t min_rtt_us; /* set by the owner */
	uint64_t route_pn;  /* numbers before this went another way: no samples */
	bool hinted;	    /* srtt is not measured */
	/* reordering */
	struct mono reorder_until;
	struct mono reo_raised_at;
	uint32_t reo_doublings;
	/* share of datagrams lost: EWMA 1/256 in 2^-24 */
	uint32_t loss;
};

void kcp_sent_init(struct kcp_sent *sent);

/** Frees everything; numbers begin at 0 again. The round-trip time stays. */
void kcp_sent_reset(struct kcp_sent *sent);

/** Frees what is not in use. @return when the next call can free more; MONO_NEVER if only a report can change anything */
struct mono kcp_sent_trim(struct kcp_sent *sent, struct mono now);

size_t kcp_sent_bytes(const struct kcp_sent *sent);

/** Makes sure that kcp_sent_add() with `refs` references succeeds. @return false if out of memory */
bool kcp_sent_reserve(struct kcp_sent *sent, uint32_t refs, const struct kcp_sent_events *events,
	void *ctx, struct mono now);

/** Notes reference number `sent->refs.next`; belongs to the record added next. Reserved before. */
static inline void kcp_sent_ref(struct kcp_sent *sent, struct kcp_ref ref)
{
	*kcp_refs_at(&sent->refs, sent->refs.next++) = ref;
}

/** Declares lost all that is neither acknowledged nor lost yet: nothing flies any more. */
void kcp_sent_lose_all(struct kcp_sent *sent, const struct kcp_sent_events *events, void *ctx);

/**
 * Forgets all numbers so far, for a caller that could not reserve and must go on; `next` comes next. What flies must be declared
 * lost before: nobody is told of it here.
 */
void kcp_sent_skip(struct kcp_sent *sent, uint64_t next);

/**
 * Adds number `next` with the last `refs` references.
 *
 * @flags  KCP_SENT_ASKS, KCP_SENT_FLIES, KCP_SENT_UNCOUNTED
 * @return its record, valid until the next call; flight is the caller's to fill
 */
struct kcp_sent_record *kcp_sent_add(
	struct kcp_sent *sent, uint32_t bytes, unsigned flags, uint32_t refs, struct mono now);

/** The record of `pn`, NULL if it is not kept (any more). */
struct kcp_sent_record *kcp_sent_find(const struct kcp_sent *sent, uint64_t pn);

/**
 * Takes a report. rack->largest < next was checked.
 *
 * @return  true if anything was acknowledged that was not
 */
bool kcp_sent_rack(struct kcp_sent *sent, const struct kcp_rack *rack,
	const struct kcp_sent_events *events, void *ctx, struct mono now);

/** Declares lost what is. @return when to look again, MONO_NEVER if nothing is under suspicion */
struct mono kcp_sent_detect(
	struct kcp_sent *sent, const struct kcp_sent_events *events, void *ctx, struct mono now);

/** When the oldest suspect must be judged; may be early. */
struct mono kcp_sent_suspect_at(const struct kcp_sent *sent);

/** One probe time-out, without back-off. */
int64_t kcp_sent_pto_us(const struct kcp_sent *sent);

/** The same with the back-off of now: the spacing of what is repeated until acknowledged. */
int64_t kcp_sent_repeat_us(const struct kcp_sent *sent);

/** When to probe; MONO_NEVER with nothing in flight. @now  for the back-off that grows with silence */
struct mono kcp_sent_pto_at(const struct kcp_sent *sent);

/** A probe goes. @return false if it is time to give up instead: then all is declared lost, and nothing flies */
bool kcp_sent_pto(
	struct kcp_sent *sent, const struct kcp_sent_events *events, void *ctx, struct mono now);

/** The path changed: times and reordering begin anew, numbers go on. */
void kcp_sent_reset_route(struct kcp_sent *sent);

static inline bool kcp_sent_reorders(const struct kcp_sent *sent, struct mono now)
{
	return mono_before(now, sent->reorder_until);
}

#endif
