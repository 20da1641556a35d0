/*
 * The largest UDP payload that a path carries, found by probes of that size (RFC 8899), not by ICMP.
 *
 * Probes are datagrams of exactly the probed size that hold an MTU_PROBE {size, id}; the peer answers MTU_ACK with the same
 * bytes. Nothing but a search in progress ever sends: a path that carries no data has no deadline here.
 *
 * All sizes are UDP payloads in bytes.
 */
#ifndef SESSION_PATH_MTU_H
#define SESSION_PATH_MTU_H

#include "core/mono.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	PATH_MTU_BASE_BYTES = 1232,    /* 1280 (every IPv6 link) less IPv6 and UDP headers */
	PATH_MTU_LINK_BYTES = 1500,    /* link MTU assumed where none is told */
	PATH_MTU_V4_HEADER_BYTES = 28, /* IP and UDP */
	PATH_MTU_V6_HEADER_BYTES = 48,
	PATH_MTU_PRECISION_BYTES = 8, /* the search ends this near to the first size that fails */
	PATH_MTU_PROBES = 3,	      /* lost probes that end a step */
	PATH_MTU_LOSSES = 3,	      /* losses in a row that raise suspicion of a black hole */
	PATH_MTU_TIMEOUT_MIN_US = 30000,
	PATH_MTU_TIMEOUT_MAX_US = 3000000,
	PATH_MTU_TIMEOUT_UNKNOWN_US = 1000000, /* while no round trip was measured */
	PATH_MTU_HINT_US = 1000000,	       /* between two ICMP hints that are looked at */
	/* Waits before a size that failed is tried again, while data flows: soon at first, because probes also get lost. */
	PATH_MTU_RAISE_FIRST_US = 10000000,
	PATH_MTU_RAISE_SECOND_US = 60000000,
	PATH_MTU_RAISE_US = 600000000,
};

enum path_mtu_state {
	PATH_MTU_OFF,	    /* no session, or probing is not agreed on: the base */
	PATH_MTU_SEARCHING, /* looking for more */
	PATH_MTU_VERIFYING, /* doubting the size in use */
	PATH_MTU_SETTLED,   /* nothing to do until the raise time or a loss */
	PATH_MTU_STALLED,   /* nothing at all came back: goes on when something does */
};

struct path_mtu_probe {
	uint16_t size_bytes; /* of the UDP payload that carries it */
	uint16_t id;
};

struct path_mtu_counters {
	uint32_t probes;      /* sent */
	uint32_t acks;	      /* that counted */
	uint32_t black_holes; /* falls to the base */
	uint32_t too_big;     /* sends refused by the kernel */
};

/** One for a peer; embed it. */
struct path_mtu {
	struct mono
		probe_at; /* next probe or end of waiting for one; MONO_NEVER outside of a search */
	struct mono raise_at; /* looked at when data flows, never armed */
	struct mono hint_at;  /* no ICMP hint counts before */
	struct path_mtu_counters counters;
	uint16_t size;	   /* in use: the largest known to pass, at least PATH_MTU_BASE_BYTES */
	uint16_t high;	   /* smallest size believed to fail; limit + 1 if none */
	uint16_t limit;	   /* min of all that is told */
	uint16_t told_max; /* the smaller of both sides' rx_datagram_max */
	uint16_t link_max; /* from the link's MTU; 0 = not told */
	uint16_t refused;  /* smallest size the kernel refused; 0 = none */
	uint16_t old;	   /* size before a switch, not judged yet; 0 = none */
	uint16_t
		first; /* size to try before the table: the limit, the old size, a hint; 0 = none */
	uint16_t probe;	   /* size being probed, 0 = none */
	uint16_t lost_min; /* smallest of the losses in a row */
	uint16_t
		path_id; /* first id sent on this path: acknowledgements of older ones mean nothing */
	uint16_t next_id;
	uint8_t state;	     /* enum path_mtu_state */
	uint8_t family;	     /* 4 or 6 */
	uint8_t first_tries; /* tries_max of that step */
	uint8_t tries;	     /* probes sent in this step */
	uint8_t tries_max;   /* 1 for a step that is a guess, else PATH_MTU_PROBES */
	uint8_t losses;	     /* in a row */
	uint8_t raises;	     /* waits for the raise time since something better was found */
	bool heard;	/* something came back since the step began; VERIFYING: something small */
	bool small_due; /* VERIFYING: a probe of the base goes next */
	bool changed;	/* path_mtu_take_change() */
};

/** Nothing is probed before path_mtu_start(). */
void path_mtu_init(struct path_mtu *mtu);

/**
 * A session was confirmed. Begins a search, unless one is under way or its result is known already (a rekey).
 *
 * @family    of the outer addresses, 4 or 6
 * @told_max  min(own rx_datagram_max, peer's), PATH_MTU_BASE_BYTES..65507
 * @link_mtu  of the outgoing interface, with IP header; 0 = not known
 * @probing   false keeps the base (not agreed on by both sides)
 */
void path_mtu_start(struct path_mtu *mtu, uint8_t family, uint16_t told_max, uint32_t link_mtu,
	bool probing, struct mono now);

/** The peer is gone: back to the base, nothing is sent. */
void path_mtu_stop(struct path_mtu *mtu);

/** The outgoing interface's MTU became known or changed; lower takes effect at once, higher is searched for. 0 = not known */
void path_mtu_set_link(struct path_mtu *mtu, uint32_t link_mtu, struct mono now);

/** The peer's IP address changed: the base until the old size, which is probed first, or others are confirmed. */
void path_mtu_switched(struct path_mtu *mtu, uint8_t family, struct mono now);

/** An MTU_ACK came. Values are the peer's and may be anything. */
void path_mtu_acked_probe(struct path_mtu *mtu, struct path_mtu_probe probe, struct mono now);

/** A datagram other than a probe was acknowledged or declared lost. Cheap: called for each. */
void path_mtu_acked(struct path_mtu *mtu, uint32_t size_bytes, struct mono now);
void path_mtu_lost(struct path_mtu *mtu, uint32_t size_bytes, struct mono now);

/**
 * The kernel refused to send a datagram (EMSGSIZE), data or probe.
 *
 * @size_bytes  of its payload
 * @fits_bytes  what the kernel says fits, 0 = not known
 */
void path_mtu_refused(
	struct path_mtu *mtu, uint32_t size_bytes, uint32_t fits_bytes, struct mono now);

/** ICMP said that only this much fits. Anyone can send that: at most it makes the size in use be checked. */
void path_mtu_hint(struct path_mtu *mtu, uint32_t fits_bytes, struct mono now);

struct mono path_mtu_next_deadline(const struct path_mtu *mtu);

/**
 * Call at the deadline, again and again until it gives false.
 *
 * @pto_us     how long an answer may take on this path (probe timeout); 0 = not known
 * @ret_probe  a probe to send now
 */
bool path_mtu_on_deadline(
	struct path_mtu *mtu, int64_t pto_us, struct mono now, struct path_mtu_probe *ret_probe);

/** The size to use. */
static inline uint16_t path_mtu_size(const struct path_mtu *mtu)
{
	return mtu->size;
}

/** True after a switch while the old size is neither confirmed nor refuted: what was cut for it waits. */
static inline bool path_mtu_waiting(const struct path_mtu *mtu)
{
	return mtu->old != 0;
}

/** Another search found this, for a path of one's own that is never started. @waiting  as path_mtu_waiting() */
void path_mtu_follow(struct path_mtu *mtu, uint16_t size_bytes, bool waiting);

/** True once after each change of path_mtu_size() or end of path_mtu_waiting(). */
bool path_mtu_take_change(struct path_mtu *mtu);

/** UDP payload of a link MTU: less 28 (family 4) or 48, within 0..65507. */
uint16_t path_mtu_payload(uint8_t family, uint32_t link_mtu);

#endif
