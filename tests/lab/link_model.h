/*
 * One direction of an emulated link, as pure code in virtual time: packets go in at an instant and
 * come out at later ones, or not at all. No clock, no I/O; the same seed, configuration and packets
 * give the same departures.
 *
 * The order of things: a drop-tail queue, a bottleneck that sends at a rate, losses (random,
 * bursts, outage), then the delay line with jitter, late packets and duplicates. A lost packet has
 * used its share of the rate, so the best goodput is (1 - loss) x rate.
 */
#ifndef LAB_LINK_MODEL_H
#define LAB_LINK_MODEL_H

#include "core/list.h"
#include "core/mono.h"
#include "tests/lab/link_config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Embedded in the caller's packet, who sets `len`; the rest is the model's until the last
 * departure. */
struct link_packet {
	struct list node;
	uint32_t len; /* bytes that count against rate and queue: the whole IP packet */
	uint32_t copies;
	uint64_t number;
};

/** One packet that leaves the link. */
struct link_departure {
	struct link_packet *packet;
	bool lost;	  /* do not deliver; `last` is then true */
	bool last;	  /* no other copy comes: the packet is the caller's again */
	bool corrupt;	  /* damage the delivered bytes ... */
	uint64_t entropy; /* ... where this number says */
	int64_t at_ns;	  /* exact instant, in nanoseconds on the scale of `struct mono` */
};

struct link_stats {
	uint64_t in_packets, in_bytes;
	uint64_t out_packets, out_bytes; /* delivered, duplicates among them */
	uint64_t dropped_queue;		 /* the queue was full */
	uint64_t lost_random, lost_burst, lost_outage;
	uint64_t duplicated, corrupted;
	uint64_t reordered;	   /* delivered after a packet that had come in later */
	uint64_t queue_bytes;	   /* waiting now, without the packet being sent */
	uint64_t queue_bytes_most; /* high-water mark */
};

/* Each kind draws from a stream of its own: changing one leaves the pattern of the others. */
enum link_chance {
	LINK_CHANCE_LOSS,
	LINK_CHANCE_BURST,
	LINK_CHANCE_JITTER,
	LINK_CHANCE_REORDER,
	LINK_CHANCE_DUPLICATE,
	LINK_CHANCE_CORRUPT,
	LINK_CHANCES,
};

struct link_flight; /* an entry of the delay line */

struct link_model {
	struct link_config config;
	struct link_stats stats;
	uint64_t chance[LINK_CHANCES]; /* states of the generators */
	int64_t now_ns;		       /* up to where the link has been worked out */

	struct list queue;	 /* waiting for the bottleneck; the head is being sent */
	int64_t sent_at_ns;	 /* when the head will have been sent, else when the last one was */
	uint64_t rate_remainder; /* of bits x 10^9 / rate: no rounding error adds up */
	int64_t outage_until_ns;
	bool burst_bad;		 /* Gilbert-Elliott: in the state that loses everything */
	int64_t burst_switch_ns; /* bursts in time: when the state changes next */

	struct list lost;	     /* waiting to be handed back */
	struct link_flight *flights; /* heap by (instant, order of entry) */
	size_t flight_count, flight_room;
	int64_t order_floor_ns; /* packets in order leave no earlier than this */
	uint64_t next_number;	/* of the packet that comes in next */
	uint64_t next_entry;	/* of the delay line */
	uint64_t last_number;	/* highest that was delivered */
};

/**
 * @config  copied; see link_config.h
 * @seed    two directions of a link need two seeds
 */
void link_model_init(
	struct link_model *link, const struct link_config *config, uint64_t seed, struct mono now);

/** Frees the delay line. Take all out first: link_model_pop() with MONO_NEVER until it is false. */
void link_model_fini(struct link_model *link);

/** Changes the link under way: what is queued is sent at the new rate, what flies stays. */
void link_model_configure(
	struct link_model *link, const struct link_config *config, struct mono now);

/** Loses what the bottleneck sends before `until`; what flies arrives. A past instant ends it. */
void link_model_outage(struct link_model *link, struct mono now, struct mono until);

/**
 * Puts a packet in.
 *
 * @packet  lent until its last departure; `len` is 1 .. 65575 bytes
 * @now     not before the `now` of an earlier call
 * @return  true if taken; false if the queue is full: the packet stays the caller's
 */
bool link_model_push(struct link_model *link, struct link_packet *packet, struct mono now);

/**
 * Takes the next packet that has left the link by `now`, in the order of leaving. Call until false.
 *
 * @return  false and nothing in `ret` if no packet has left
 */
bool link_model_pop(struct link_model *link, struct mono now, struct link_departure *ret);

/** @return when to pop next; MONO_NEVER if the link is empty. Rounded up to a microsecond. */
struct mono link_model_next(const struct link_model *link);

#endif
