/*
 * Congestion control "LT", loss-tolerant: how fast to send and how much may fly on one path, whatever share of it is lost at
 * random. Pure arithmetic; the path says what was sent, acknowledged and lost.
 */
#ifndef KCP_LT_H
#define KCP_LT_H

#include "core/mono.h"
#include "kcp/kcp_lt_loss.h"
#include "kcp/kcp_lt_rate.h"
#include "kcp/kcp_lt_rtt.h"
#include "kcp/kcp_lt_sample.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	KCP_LT_START_DATAGRAMS = 32, /* full ones may fly while nothing better is known, */
	KCP_LT_MIN_DATAGRAMS = 4,    /* and always */
	KCP_LT_FLOOR_SEGMENTS = 64,  /* go in a round trip while starting */
	KCP_LT_LONGER_DATAGRAMS =
		16, /* with more in flight a longer round trip is a queue, others' maybe */
	KCP_LT_ACK_DELAY_US = 5000, /* how late the peer may report on purpose */
	KCP_LT_SHARDS_MAX = 16,
	KCP_LT_PACE_BURST_US = 2000, /* time for which unused pace is kept; timers are coarse */
	KCP_LT_IDLE_US =
		5000000, /* idle for longer, and half the rate is believed, to begin with */
	KCP_LT_MEMORY_US = 600000000, /* what was learned of a path holds for so long */
};

/**
 * event -> phase. The start of each is in kcp_lt_phase.c, with how long it lasts.
 *
 *	STARTUP  the rate stopped growing -> DRAIN
 *	DRAIN    the queue of that is gone -> CRUISE
 *	CRUISE   2 to 3 s, or as many round trips as packets fit -> PROBE_UP; a loss not understood -> DOWN
 *	PROBE_UP one round trip            -> DOWN
 *	DOWN     the queue of that is gone -> CRUISE, or PROBE_UP if there was more
 *	any but STARTUP, DRAIN: the path became slower -> DOWN
 *	LOOK     from any but STARTUP, when the smallest round-trip time grew old -> CRUISE
 */
enum kcp_lt_phase {
	KCP_LT_STARTUP,
	KCP_LT_DRAIN,
	KCP_LT_CRUISE,
	KCP_LT_PROBE_UP,
	KCP_LT_DOWN,
	KCP_LT_LOOK,
};

/** What is worth remembering of a path. */
struct kcp_lt_memory {
	uint64_t rate; /* bytes a second; 0 = nothing known */
	int64_t min_rtt_us;
	uint32_t floor_ppm;
	struct mono at;
};

struct kcp_lt {
	struct kcp_lt_sampler sampler;
	struct kcp_lt_rate rates;
	struct kcp_lt_loss loss;
	struct kcp_lt_rtt rtt;
	uint32_t shards; /* of one peer that share the way, with this one; at least 1 */
	uint64_t cap;	 /* by order, bytes a second; UINT64_MAX = none */
	bool fixed;	 /* by order: with a cap, that is the rate */
	uint64_t bw;	 /* bytes a second; 0 = unknown */
	uint32_t datagram_bytes;
	/* the round */
	uint32_t round_end;  /* `delivered` that ends it */
	uint64_t round_rate; /* largest delivered of it, bytes a second */
	uint64_t round_flying;
	bool queued;		/* the last sample saw a queue */
	uint32_t gain_low[2];	/* lowest pace of this round and the one before, percent of bw */
	uint32_t poor_rounds;	/* in a row: delivered far less than was sent, with a queue */
	uint32_t queued_rounds; /* in a row: saw a queue all the time */
	int64_t longer_us; /* lowest round trip when they became far longer; 0 = they did not */
	uint64_t longer_flying; /* most in flight in that round */
	uint32_t longer_rounds; /* in a row: with less, as long */
	/* the phase */
	enum kcp_lt_phase phase;
	struct mono phase_at;
	int64_t cruise_us;	/* how long this one shall be */
	struct mono look_until; /* MONO_NEVER: the window has not run down yet */
	uint64_t flat_rate;	/* the rate when it last had grown by a quarter */
	uint32_t flat_rounds;	/* rounds since */
	uint64_t guess;		/* STARTUP began with it; 0 = that is over */
	uint64_t probe_bw;	/* when probing began */
	uint32_t cycles;
	bool deep;	     /* the path became slower: drain to the ground */
	bool grew;	     /* the last probe found more */
	int64_t drain_units; /* how long a long drain shall be, smallest round trips */
	/* others who keep a queue */
	bool contested;
	uint32_t stubborn;	  /* drains after which the queue still stood */
	struct mono rivals_until; /* remembered; MONO_NEVER = there were none */
	struct mono watch_until;  /* MONO_NEVER: not watching */
	int64_t watch_us;
	/* the response to congestion */
	uint64_t flying_max;  /* bytes; UINT64_MAX = no bound */
	uint64_t bw_max;      /* bytes a second; UINT64_MAX = no bound */
	uint32_t carried_ppm; /* share of losses that crossed the bottleneck */
	uint32_t marked;      /* datagrams of this round that a queue marked (ECN) */
	/* bursts of acknowledgements */
	struct mono burst_at;
	uint64_t burst_bytes;
	uint64_t extra[2]; /* bytes beyond the rate: of these and the last rounds */
	uint32_t extra_rounds;
	/* pace */
	struct mono pace_at;
	uint32_t pace_ns;    /* on top of it */
	struct mono sent_at; /* last, for telling idleness */
};

void kcp_lt_init(struct kcp_lt *lt);

/** So many shards of one peer send by this way now, with this one: together they are to be one. 1 .. KCP_LT_SHARDS_MAX */
void kcp_lt_set_shards(struct kcp_lt *lt, uint32_t shards);

/** No more than so many bytes a second leave, whatever the path takes; UINT64_MAX = no such bound. Not 0 */
void kcp_lt_set_cap(struct kcp_lt *lt, uint64_t bytes_per_s);

/** The cap is no bound but the rate, whatever is lost. Without a cap it means nothing. */
void kcp_lt_set_fixed(struct kcp_lt *lt, bool fixed);

static inline bool kcp_lt_is_fixed(const struct kcp_lt *lt)
{
	return lt->fixed && lt->cap != UINT64_MAX;
}

/** A round-trip time known from elsewhere, for pacing as long as none was measured. */
void kcp_lt_hint_rtt(struct kcp_lt *lt, int64_t rtt_us);

/**
 * Notes a datagram that flies, and charges it to the pace.
 *
 * @datagram_bytes  of a full one, as charged
 * @flying_bytes    before it; 0 = nothing flew
 */
void kcp_lt_sent(struct kcp_lt *lt, struct kcp_lt_flight *ret_flight, uint32_t bytes,
	uint32_t datagram_bytes, uint64_t flying_bytes, struct mono now);

/** @late  it had been declared lost */
void kcp_lt_acked(struct kcp_lt *lt, const struct kcp_lt_flight *flight, uint32_t bytes, bool late,
	struct mono now);

/** Declared lost; rebuilt ones, too: what is repaired has been lost all the same. */
void kcp_lt_lost(struct kcp_lt *lt, const struct kcp_lt_flight *flight, uint32_t bytes);

/** A queue on the way marked so many datagrams (CE) instead of dropping them. To be told before the sample is closed. */
static inline void kcp_lt_marked(struct kcp_lt *lt, uint32_t datagrams)
{
	lt->marked += datagrams;
}

/** Charges what leaves without flying to the pace. Only with a cap, which says that each byte counts. */
void kcp_lt_spent(struct kcp_lt *lt, uint32_t bytes, struct mono now);

/**
 * Closes the sample of one report. Cheap if nothing was acknowledged.
 *
 * @rtt_us        of the largest number in it, less the peer's delay; 0 = no sample
 * @flying_bytes  now
 */
void kcp_lt_update(struct kcp_lt *lt, int64_t rtt_us, uint64_t flying_bytes, struct mono now);

/** All went out that there was. */
static inline void kcp_lt_set_limited(struct kcp_lt *lt, uint64_t flying_bytes)
{
	kcp_lt_sampler_set_limited(&lt->sampler, flying_bytes);
}

/** The window is full: what flies from here on measures the path. */
static inline void kcp_lt_set_full(struct kcp_lt *lt)
{
	lt->sampler.limited = false;
}

/** There is more to send than the path takes, and its rate has been found. */
static inline bool kcp_lt_saturated(const struct kcp_lt *lt)
{
	return lt->phase != KCP_LT_STARTUP && !lt->sampler.limited;
}

/** Bytes that may be in flight. */
uint64_t kcp_lt_window_bytes(const struct kcp_lt *lt, uint32_t datagram_bytes);

/** The rate that is believed, bounded by the response to congestion and by order; bytes a second, 0 = unknown. */
static inline uint64_t kcp_lt_rate_now(const struct kcp_lt *lt)
{
	uint64_t rate = lt->bw < lt->bw_max ? lt->bw : lt->bw_max;

	return rate < lt->cap && !kcp_lt_is_fixed(lt) ? rate : lt->cap;
}

/** What is known of the path, for when it comes back. */
void kcp_lt_save(const struct kcp_lt *lt, struct kcp_lt_memory *ret_memory, struct mono now);

/** Begins anew on a path that is remembered: at half the rate. What is too old is not believed. */
void kcp_lt_resume(struct kcp_lt *lt, const struct kcp_lt_memory *memory, struct mono now);

#endif
