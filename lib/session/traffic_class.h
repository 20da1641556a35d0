/*
 * Which service an inner packet gets, and which flow it belongs to.
 *
 *   RT    wants to be in time: no order, given up after 150 ms. Marked EF, CS4-CS7 or AF4x; DNS; ICMP; slow UDP flows
 *   ACK   pure TCP acknowledgement: the next one replaces it
 *   CTL   SYN, FIN, RST: in the flow's order, urgent
 *   BULK  all else: in the flow's order
 *
 * A flow keeps its order as long as it keeps its class, so a UDP flow changes class at most every few seconds, and TCP and
 * SCTP are ordered whatever their marking.
 */
#ifndef SESSION_TRAFFIC_CLASS_H
#define SESSION_TRAFFIC_CLASS_H

#include "core/mono.h"
#include "core/siphash.h"

#include <stddef.h>
#include <stdint.h>

struct ip_header;
struct rand_source;

enum {
	TRAFFIC_CLASS_FLOWS = 4095,	 /* numbers 1..4095; 0 is for packets without a flow */
	TRAFFIC_CLASS_BYTES_S = 125000,	 /* 1 Mb/s: a faster UDP flow is BULK */
	TRAFFIC_CLASS_PACKETS_S = 400,	 /* as is one with more packets */
	TRAFFIC_CLASS_MEAN_US = 1000000, /* over which both are meant */
	TRAFFIC_CLASS_HOLD_US =
		10000000, /* a UDP flow that was too fast stays BULK this long after it last was */
	TRAFFIC_CLASS_ROWS = 2,	    /* slots of a flow; it is fast when all are */
	TRAFFIC_CLASS_SLOTS = 1024, /* a row, power of two */
};

enum traffic_class {
	TRAFFIC_CLASS_RT,
	TRAFFIC_CLASS_ACK,
	TRAFFIC_CLASS_CTL,
	TRAFFIC_CLASS_BULK,
	TRAFFIC_CLASSES,
};

struct traffic_flow {
	enum traffic_class class;
	uint16_t number; /* 0..TRAFFIC_CLASS_FLOWS */
};

/* Leaky buckets as instants: when they will have run dry. */
struct traffic_slot {
	struct mono bytes_dry_at;
	struct mono packets_dry_at;
	struct mono fast_until;
};

/** One for a node, 48 KB; embed it. */
struct traffic_classifier {
	struct siphash_key key;
	struct traffic_slot slots[TRAFFIC_CLASS_ROWS][TRAFFIC_CLASS_SLOTS];
};

/** @rnd  gives the key of the hash */
void traffic_class_init(struct traffic_classifier *classifier, const struct rand_source *rnd);

/**
 * Classifies a packet on its way out and counts it to its flow.
 *
 * @packet    the bytes that `header` was parsed from
 * @header    NULL if they are no IP packet: BULK without a flow
 * @segments  packets that it stands for, 1 unless it is a super-packet
 */
struct traffic_flow traffic_class_of(struct traffic_classifier *classifier, const uint8_t *packet,
	const struct ip_header *header, uint32_t segments, struct mono now);

/** "rt", "ack", "ctl", "bulk". Static. */
const char *traffic_class_str(enum traffic_class class);

#endif
