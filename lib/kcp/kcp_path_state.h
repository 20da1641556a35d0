/* What a path consists of, and what its files do for each other. For the files of this layer only. */
#ifndef KCP_PATH_STATE_H
#define KCP_PATH_STATE_H

#include "kcp/kcp_budget.h"
#include "kcp/kcp_dgram.h"
#include "kcp/kcp_grant.h"
#include "kcp/kcp_lane.h"
#include "kcp/kcp_lane_in.h"
#include "kcp/kcp_path.h"
#include "kcp/kcp_ready.h"
#include "kcp/kcp_refs.h"
#include "kcp/kcp_seen.h"
#include "kcp/kcp_segment.h"
#include "kcp/kcp_sent.h"

enum {
	KCP_PATH_RX_SLOTS = 12288, /* defaults */
	KCP_PATH_TX_SLOTS = 12288,
	KCP_PATH_RX_SLOTS_LEAST = 1024,
	KCP_PATH_TX_SLOTS_LEAST = 256,
	KCP_PATH_PIECE_LEAST_BYTES = 64,
	KCP_PATH_PAYLOAD_LEAST_BYTES = 512, /* the longest report fits in */
	KCP_PATH_CTL_LIFE_US = 1000000,
	KCP_PATH_BULK_LIFE_US = 1000000, /* or 4 SRTT */
	KCP_PATH_BLOCKED_US = 10000,	 /* after begin() gave nothing, doubling up to */
	KCP_PATH_BLOCKED_MAX_US = 60000000,
	/* More is not used: it bounds what an odd peer makes us keep. */
	KCP_PATH_PEER_GRANT_MAX_BYTES = 64 << 20,
	KCP_PATH_SWEEP_US = 1000000,   /* between walks over all lanes to free idle ones */
	KCP_PATH_PACE_SLACK_US = 1000, /* a timer is worth setting for so much at once */
	KCP_PATH_CROWDED_US = 10000,   /* between walks over all lanes to shrink them */
	KCP_PATH_STRETCH =
		KCP_PATH_SPAN + 8192,  /* numbers that one datagram may stretch lanes by */
	KCP_PATH_RECORDS_PER_SPAN = 8, /* ring records of all lanes, in spans of the grant */
};

/** Items that wait to be sent, by class; again before fresh. */
struct kcp_path_queues {
	struct kcp_refs again[KCP_PATH_CLASSES];
	struct kcp_refs fresh[KCP_PATH_CLASSES];
	struct kcp_refs parked; /* too long for the path as it is now */
	uint64_t fresh_bytes
		[KCP_PATH_CLASSES]; /* headers included; settled ones count until they are met */
	uint32_t
		tail_room; /* left in the datagram that the last of BULK will go in, if it is as it looks now */
};

struct kcp_path {
	struct kcp_path_config config;
	struct kcp_path_io io;
	struct kcp_lender lender;
	bool mtu_final;

	/* sending */
	struct kcp_sent sent;
	uint32_t shards;       /* that send by this way; 0 and 1: this one */
	uint64_t rate_max_bps; /* 0 = none */
	bool rate_fixed;       /* that is the rate */
	uint8_t mark;	       /* of what is given now */
	uint32_t lost_row;     /* datagrams with items lost since one was acknowledged */
	uint64_t carried;      /* those that were acknowledged */
	struct kcp_budget budget;
	struct kcp_table lanes; /* struct kcp_lane */
	struct kcp_dgram_out dgrams;
	struct kcp_path_queues queues;
	struct list active;	/* lanes with messages */
	struct list forward;	/* lanes whose base must be told */
	struct mono expire_at;	/* no message in a lane expires before; may be early */
	struct mono forward_at; /* no base must be told before; may be early */
	bool forward_tired;	/* some base is not repeated any more */
	uint32_t heard;		/* datagrams of the peer that were taken, modulo 2^32 */
	struct mono swept_at;	/* idle lanes were last looked for */
	uint32_t start_sn;	/* of new lanes and flows: highest next number of any freed one */
	uint32_t tx_slots;
	uint64_t charged_bytes;
	uint64_t peer_grant_bytes;
	uint64_t peer_grant_pn; /* of the datagram that told it */
	bool peer_told;
	struct mono
		hungry_until; /* a message was refused for pace or window: there is more to send */
	bool await_pace;      /* the caller wants to hear when pace lets something go, */
	bool await_exempt;    /* or when something may pass a full window */
	bool wask;
	bool wins;
	bool probe;	  /* a PTO passed */
	uint8_t *control; /* bodies that wait, each behind a u16 length; NULL = none */
	uint32_t control_bytes;
	struct mono blocked_until;
	int64_t blocked_us; /* 0 = not blocked */

	/* receiving */
	struct kcp_seen seen;
	struct kcp_grant grant;
	struct kcp_table lanes_in; /* struct kcp_lane_in */
	struct kcp_lane_in_shared in;
	struct kcp_dgram_in dgrams_in;
	struct kcp_ready ready;
	struct mono crowded_at;
	uint32_t
		piece_cost_bytes; /* what a received piece costs of the grant, EWMA 1/64; at least 512 */
	uint64_t rack_pn;	  /* highest number that brought a RACK */
	uint32_t rack_ce;	  /* what it said */
	bool rack_any;

	struct kcp_path_stats stats;
};

extern const struct kcp_sent_events kcp_path_sent_events; /* ctx is a struct kcp_path_moment */

/** Context of the events: a path at a time. */
struct kcp_path_moment {
	struct kcp_path *path;
	struct mono now;
};

/** Prepares the budget anew: with what was ordered, and nothing else. */
void kcp_path_init_budget(struct kcp_path *path);

/** A full datagram, as the window counts it. */
static inline uint32_t kcp_path_full_bytes(const struct kcp_path *path)
{
	return path->config.payload_bytes + KCP_BUDGET_WIRE_BYTES;
}

/** What the next datagram tells as grant. */
uint64_t kcp_path_own_grant(const struct kcp_path *path);

/** Gives the message of an item up, for `counter`. */
void kcp_path_give_up(struct kcp_path *path, struct kcp_lane *lane, uint32_t sn, uint64_t *counter,
	struct mono now);

/** Keeps the lists of lanes and the charge right after anything happened to a lane. */
void kcp_path_lane_changed(struct kcp_path *path, struct kcp_lane *lane, uint64_t returned);

/** Gives up what is past its time and finds the next. */
void kcp_path_expire(struct kcp_path *path, struct mono now);

/** Takes a report. @pn of the datagram that brought it */
void kcp_path_take_rack(
	struct kcp_path *path, uint64_t pn, const uint8_t *body, size_t len, struct mono now);

/** Declares lost what is. */
void kcp_path_detect(struct kcp_path *path, struct mono now);

/** The first item of `class` that can be sent, which stays in its queue; false if there is none. */
bool kcp_path_front(struct kcp_path *path, enum kcp_path_class class, struct kcp_ref *ret_ref,
	uint32_t *ret_len, struct mono now);

/** Whether anything of `class` waits, stale or not. */
static inline bool kcp_path_waits(const struct kcp_path *path, enum kcp_path_class class)
{
	return kcp_refs_count(&path->queues.fresh[class]) +
		       kcp_refs_count(&path->queues.again[class]) >
	       0;
}

/** Body of the first item of `class`, as far as can be told without a look at it: 0 = none waits. */
uint32_t kcp_path_front_len(const struct kcp_path *path, enum kcp_path_class class);

/** Puts an item that was parked back into its queue. */
void kcp_path_unpark(struct kcp_path *path, struct kcp_ref ref);

/** No base is told until kcp_path_wake_bases(). */
void kcp_path_rest_bases(struct kcp_path *path);

/** Bases that were not repeated any more are told again: the peer is there, or data waits for the charge they hold. */
void kcp_path_wake_bases(struct kcp_path *path, struct mono now);

/** Takes off what kcp_path_front() showed. */
void kcp_path_pop(struct kcp_path *path, enum kcp_path_class class);

/** Whether the congestion window has room. */
bool kcp_path_window_open(const struct kcp_path *path);

/** Whether window and pace let a datagram of any class leave now. */
bool kcp_path_gate_open(const struct kcp_path *path, struct mono now);

/** Whether what fits one piece needs no order. */
static inline bool kcp_path_unordered(enum kcp_path_class class)
{
	return class == KCP_PATH_RT || class == KCP_PATH_ACK || class == KCP_PATH_LOOSE;
}

/** Whether a class may pass a full window. */
bool kcp_path_exempt(enum kcp_path_class class);

/** Bytes of items that wait for their first sending. */
uint64_t kcp_path_waiting_bytes(const struct kcp_path *path);

/** Whether a datagram of `class` may leave now. */
bool kcp_path_may_send(const struct kcp_path *path, enum kcp_path_class class, struct mono now);

#endif
