/*
 * How much the path holds: delivery rate and round-trip time measured from the acknowledgements, and from them the bytes
 * that may be in flight. Pure arithmetic; the engine says what was sent and acknowledged.
 */
#ifndef KCP_WINDOW_H
#define KCP_WINDOW_H

#include "core/mono.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	KCP_WINDOW_ROUNDS = 10,		     /* the rate is the largest of so many round trips */
	KCP_WINDOW_MIN_RTT_US = 5 * 1000000, /* how long a smallest round-trip time is believed */
	KCP_WINDOW_LOSS_US =
		5500000, /* the smallest loss of once to twice that time counts: a drain is in it */
	KCP_WINDOW_LOSS_SENDINGS = 128, /* make a sample of it */
	KCP_WINDOW_RESENT_SENDINGS = 2048,
	KCP_WINDOW_RESENT_LEAST = 64,	  /* fewer tell nothing */
	KCP_WINDOW_LOSS_MAX_PPM = 300000, /* more is not made up for */
	KCP_WINDOW_RATE_MAX_BYTES = 1
				    << 30, /* a second; what is faster was acknowledged by a liar */
	KCP_WINDOW_GAIN_PERCENT =
		125, /* of the measured product; what is above finds out about more */
	KCP_WINDOW_START_GAIN_PERCENT = 150, /* of it while the rate still grows */
	KCP_WINDOW_DRAIN_PERCENT =
		75, /* of it while the queue is drained for a look at the bare path */
	KCP_WINDOW_AGGREGATE_PERCENT =
		150, /* of the largest burst of acknowledgements, where that is more */
	KCP_WINDOW_PACE_PERCENT = 125,	/* of the rate, so that pacing never is the bottleneck */
	KCP_WINDOW_START_PERCENT = 200, /* of it while the rate still grows */
	KCP_WINDOW_START_ROUNDS = 3,	/* that grew by less than a quarter end that */
	KCP_WINDOW_PACE_SEGMENTS = 64,	/* per smallest round-trip time may always go */
	KCP_WINDOW_PACE_BURST_US =
		8000, /* time for which unused pace is kept: a busy machine wakes us late */
	KCP_WINDOW_PACE_TURN_US = 1000,	 /* segments go so often, a few at once */
	KCP_WINDOW_PACE_AHEAD_US = 4000, /* for so much of it segments may wait behind the pace */
	KCP_WINDOW_AGGREGATE_ROUNDS = 5, /* a burst is remembered for 5 to 10 round trips */
};

/** What is noted with each transmission. Times are microseconds modulo 2^32. */
struct kcp_flight {
	uint32_t sent_us;
	uint32_t delivered;    /* window's count when sent, modulo 2^32 */
	uint32_t delivered_us; /* when that count was reached */
	uint32_t
		first_sent_us; /* start of the interval in which what was delivered then had been sent */
};

struct kcp_window {
	/* the connection's counts */
	uint32_t delivered; /* bytes acknowledged so far, modulo 2^32 */
	uint32_t delivered_us;
	uint32_t first_sent_us;
	uint32_t
		limited_until; /* `delivered` up to which samples tell the application's rate, not the path's */
	bool limited;
	/* the sample that is being gathered */
	struct kcp_flight newest; /* latest sent of what was acknowledged */
	bool newest_limited;
	bool have_newest;
	uint32_t newly_delivered;
	/* delivery rate */
	uint64_t round_rate[KCP_WINDOW_ROUNDS]; /* bytes/s, largest of each round */
	uint32_t round;				/* index of the current one */
	uint32_t round_end;			/* `delivered` that ends it */
	bool round_full;			/* it had a sample that tells of the path */
	uint64_t rate;				/* bytes/s, largest of all rounds; 0 = unknown */
	/* loss that does not come from our own queue */
	uint32_t sendings;
	uint32_t resendings;
	uint32_t loss_ppm[2]; /* smallest of this and the last KCP_WINDOW_LOSS_US */
	struct mono loss_at;  /* when this period began */
	/* what was sent of late, whatever the loss came from: halved at KCP_WINDOW_RESENT_SENDINGS */
	uint32_t late_sendings;
	uint32_t late_resendings;
	/* pacing */
	uint64_t flat_rate;   /* the rate when it last had grown by a quarter */
	uint32_t flat_rounds; /* rounds since */
	struct mono pace_at;  /* when the next segment may leave */
	/* bursts of acknowledgements */
	struct mono burst_at;
	uint64_t burst_bytes;
	uint64_t
		extra[2]; /* bytes beyond the rate: this and the last KCP_WINDOW_AGGREGATE_ROUNDS */
	uint32_t extra_rounds;
	/* smallest round-trip time */
	int64_t ack_delay_us;
	int64_t min_rtt_us; /* 0 = unknown */
	struct mono min_rtt_at;
	int64_t drain_rtt_us;	 /* smallest since the drain began; INT64_MAX = none */
	struct mono drain_until; /* MONO_NEVER = not draining */
};

/** @ack_delay_us  how late the peer may acknowledge on purpose */
void kcp_window_init(struct kcp_window *window, int64_t ack_delay_us);

/** Something is about to be sent while nothing is in flight: the clocks of the samples start anew. */
void kcp_window_restart(struct kcp_window *window, struct mono now);

/** Notes a transmission. @again  not the first of its segment */
void kcp_window_sent(
	struct kcp_window *window, struct kcp_flight *ret_flight, bool again, struct mono now);

/**
 * One segment was acknowledged for the first time.
 *
 * @limited    the flag that kcp_window_limited() gave when it was sent
 * @sent_once  its round-trip time is known, because only one transmission can have been meant
 */
void kcp_window_acked(struct kcp_window *window, const struct kcp_flight *flight, uint32_t bytes,
	bool limited, bool sent_once, struct mono now);

/** Closes the sample of one datagram or batch. Cheap if nothing was acknowledged. */
void kcp_window_update(struct kcp_window *window, struct mono now);

/** The sender ran out of data below its window: what is in flight measures the sender. */
void kcp_window_set_limited(struct kcp_window *window, uint64_t in_flight_bytes);

/** The window is full: from here on what is in flight measures the path again. */
static inline void kcp_window_set_full(struct kcp_window *window)
{
	window->limited = false;
}

/** True if a segment sent now will give a sample of the application's rate only. */
static inline bool kcp_window_limited(const struct kcp_window *window)
{
	return window->limited;
}

/** Charges `bytes` to the pace. @segment_bytes  a full segment's */
void kcp_window_pace(
	struct kcp_window *window, uint32_t bytes, uint32_t segment_bytes, struct mono now);

/** The share that had to be sent again of what was sent of late, bursts smoothed out. 0 = none, or unknown */
uint32_t kcp_window_resent_ppm(const struct kcp_window *window);

/** Bytes that the pace lets go within KCP_WINDOW_PACE_AHEAD_US; UINT64_MAX = there is no pace yet. */
uint64_t kcp_window_ahead_bytes(
	const struct kcp_window *window, uint32_t segment_bytes, struct mono now);

/** Bytes that may be in flight; 0 = nothing measured yet. */
uint64_t kcp_window_bytes(const struct kcp_window *window);

#endif
