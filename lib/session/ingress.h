/*
 * The queue in front of a peer's conversation: FQ-CoDel. Packets wait here, where they can still be dropped, marked
 * and overtaken, instead of in the conversation, where they can't.
 *
 * Each flow (inner addresses, protocol, ports) has a queue of its own and the queues take turns, so a ping beside a
 * bulk transfer waits for one packet, not for the transfer. CoDel keeps each flow's standing queue short. A hard bound
 * on the wait and bounds on packets and bytes hold whatever senders do.
 *
 * Source: RFC 8290 (FQ-CoDel), RFC 8289 (CoDel), RFC 3168 (marking).
 */
#ifndef SESSION_INGRESS_H
#define SESSION_INGRESS_H

#include "core/list.h"
#include "core/mono.h"
#include "core/pool.h"
#include "core/siphash.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ip_header;
struct rand_source;
struct ingress_flow;

enum {
	INGRESS_FLOWS = 1024,	      /* queues a peer, RFC 8290 5.2.4 */
	INGRESS_QUANTUM_BYTES = 1514, /* bytes a flow may send a turn, RFC 8290 5.2.5 */
	INGRESS_TARGET_US = 5000,     /* standing queue that is tolerated at least, RFC 8289 4.3, */
	INGRESS_TARGET_PERCENT = 35,  /* and this part of the round trip, */
	INGRESS_TARGET_MOST_US = 30000,	    /* but no more than this, */
	INGRESS_LOSSY_TARGET_PERCENT = 200, /* or of a lossy one, */
	INGRESS_CONTESTED_TARGET_PERCENT =
		100, /* or of a contested one: flows beside it have as much there */
	INGRESS_INTERVAL_US = 100000, /* about a long round trip, RFC 8289 4.3 */
	INGRESS_INTERVAL_MAX_US = 600000,
	INGRESS_LOSSY_PPM = 5000, /* from here on holes in ordered lanes shape what comes */
	INGRESS_PACKETS_MAX = 4096,
	INGRESS_BYTES_MAX = 8 << 20,
	INGRESS_HEADROOM_BYTES = 12,
	INGRESS_WAIT_MAX_US = 300000, /* or three round trips; any other value is kept as it is */
	INGRESS_OVERFLOW_BATCH =
		64, /* packets dropped at once, so that an overload costs one search a batch */
};

/** A slot of a pool: this header, then what waits: a packet, or a message that holds one (core/super_message.h). */
struct ingress_packet {
	struct ingress_packet *next; /* the queue's */
	struct pool *pool;	     /* where it goes back to */
	struct mono queued_at;	     /* set by ingress_push() */
	uint32_t len;		     /* bytes at `data` in use */
	uint32_t capacity;	     /* bytes at `data` */
	uint16_t ip_at;		     /* where in `data` the IP header begins */
	uint16_t segments;	     /* packets that it stands for */
	uint8_t headroom
		[INGRESS_HEADROOM_BYTES]; /* right before `data`: for what a device puts in front of a packet */
	uint8_t data[];
};

struct ingress_options {
	uint32_t flows; /* power of two, 1..65536 */
	uint32_t quantum_bytes;
	int64_t target_us;
	int64_t interval_us;
	uint32_t packets_max;
	uint32_t bytes_max;
	int64_t wait_max_us; /* transport.queue: what waited longer is dropped, at the latest when its turn comes */
	bool ecn; /* mark packets that can be marked instead of dropping them by CoDel */
};

/** The constants above, ECN on. */
#define INGRESS_DEFAULTS                                                                          \
	((struct ingress_options){INGRESS_FLOWS, INGRESS_QUANTUM_BYTES, INGRESS_TARGET_US,        \
		INGRESS_INTERVAL_US, INGRESS_PACKETS_MAX, INGRESS_BYTES_MAX, INGRESS_WAIT_MAX_US, \
		true})

struct ingress_counters {
	uint64_t pushed_packets; /* taken in, whatever happened to them later */
	uint64_t pushed_bytes;
	uint64_t popped_packets;
	uint64_t popped_bytes;
	uint64_t
		dropped_overflow; /* from the longest flow: at packets_max or bytes_max, or for others */
	uint64_t dropped_codel;
	uint64_t dropped_old;	  /* waited longer than wait_max_us */
	uint64_t dropped_memory;  /* no memory for the flow table */
	uint64_t dropped_cleared; /* by ingress_clear() */
	uint64_t marked;	  /* CE set instead of a drop */
};

/** One peer's queue; embed it. Without packets it has no flow table. */
struct ingress {
	struct ingress_options options;
	struct siphash_key key;
	struct ingress_flow *flows; /* options.flows of them; NULL until the first packet */
	struct list new_flows;
	struct list old_flows;
	size_t backlog_packets;
	size_t backlog_bytes;
	int64_t wait_us; /* what waited longer is dropped: wait_max_us, or more on a long path */
	struct ingress_counters counters;
};

/** A packet slot with room for `capacity` bytes needs this many in its pool. */
static inline size_t ingress_slot_bytes(size_t capacity)
{
	return sizeof(struct ingress_packet) + capacity;
}

/** @return an empty packet that fills a slot of `pool`, owned by the caller; NULL if the pool is exhausted */
struct ingress_packet *ingress_packet_take(struct pool *pool);

/** Gives it back to its pool. NULL is fine. */
void ingress_packet_return(struct ingress_packet *packet);

/**
 * Prepares an empty queue; nothing is allocated.
 *
 * @options  copied; values out of range are moved into it
 * @rnd      gives the key of the flow hash
 */
void ingress_init(struct ingress *queue, const struct ingress_options *options,
	const struct rand_source *rnd);

/** Returns all packets and frees the flow table. */
void ingress_fini(struct ingress *queue);

/**
 * Queues a packet. At the bounds packets are dropped from the head of the longest flow, which need not be this one's.
 *
 * @packet  from any pool that outlives the queue, `len` <= `capacity`; taken, also when it is dropped
 * @header  the parsed packet, NULL if it is no IP (all such share a flow)
 * @return  true if it waits now; false if it or others had to be dropped
 */
bool ingress_push(struct ingress *queue, struct ingress_packet *packet,
	const struct ip_header *header, struct mono now);

/**
 * Takes the packet whose turn it is, after dropping what CoDel and the bound on the wait condemn.
 *
 * @return  a packet owned by the caller, who gives it back by ingress_packet_return(); NULL if none is left
 */
struct ingress_packet *ingress_pop(struct ingress *queue, struct mono now);

/**
 * Makes room for the packets of other queues: drops from the head of the longest flow, up to half of its bytes, but one
 * packet at least. Counted as overflow.
 *
 * @max     packets, above 0
 * @return  packets dropped; 0 = nothing waits
 */
size_t ingress_drop_longest(struct ingress *queue, size_t max);

/** Drops what has waited longer than wait_max_us, also where nobody pops; costs a walk over the flows in use. */
void ingress_expire(struct ingress *queue, struct mono now);

/** Drops everything that waits (the peer is gone). */
void ingress_clear(struct ingress *queue);

/** Frees the flow table if nothing waits: call it once the peer has been quiet for a while. */
void ingress_trim(struct ingress *queue);

/** What is measured of the path behind the queue. */
struct ingress_path {
	int64_t srtt_us;   /* smoothed round-trip time, at least 0 */
	uint64_t rate_bps; /* bits a second that it carries; 0 = unknown */
	double loss;	   /* 0..1 of what is sent; negative = unknown */
	bool contested;	   /* others keep a queue there */
};

/**
 * Follows the measured path; used from the next packet on.
 *
 * @packet_bytes  of a full packet
 */
void ingress_follow(struct ingress *queue, const struct ingress_path *path, uint32_t packet_bytes);

/** Sets both by hand. @target_us and @interval_us above 0 */
void ingress_set_codel(struct ingress *queue, int64_t target_us, int64_t interval_us);

/** Follows a reload. @wait_max_us above 0 */
void ingress_set_wait_max(struct ingress *queue, int64_t wait_max_us);

static inline bool ingress_empty(const struct ingress *queue)
{
	return queue->backlog_packets == 0;
}

#endif
