/*
 * Puts packets of a flow that come out together into one super-packet, so that the device takes them in one write.
 *
 * What comes out, segment by segment, is what went in; the packets of a flow keep their order (those of different
 * flows need not). Only the identification of IPv4 packets that must not be fragmented, where it does not count up,
 * becomes one that does; nobody may look at it (RFC 6864, 4.1).
 */
#ifndef CORE_SUPER_MERGE_H
#define CORE_SUPER_MERGE_H

#include "core/super_packet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SUPER_MERGE_FLOWS = 8, /* that are open at once; one more closes the oldest */
};

/** Takes a packet that is ready. @packet as parsed, valid during the call */
typedef void (*super_merge_put_fn)(void *ctx, const struct super_packet *packet);

/** One flow that is being put together. */
struct super_merge_flow {
	struct super_packet
		first;	       /* the first packet, seen as a partial one, at the start of `room` */
	uint8_t *room;	       /* SUPER_PACKET_BYTES_MAX bytes */
	uint64_t opened;       /* its number in the order of opening; 0 = not open */
	uint32_t length_bytes; /* of what is together now */
	uint16_t segments;
	bool first_plain;   /* its checksum is written */
	bool first_checked; /* and was found to be right */
	bool id_counts;	    /* IPv4 identifications count up; known from the second packet on */
};

struct super_merge_counters {
	uint64_t packets; /* pushed */
	uint64_t merged;  /* of these, such as left in a super-packet made here */
	uint64_t puts;	  /* what was given out */
};

/* Embed it. */
struct super_merge {
	super_merge_put_fn put;
	void *ctx;
	bool udp; /* merge UDP, too: only where the device takes such super-packets */
	uint64_t opened;
	uint8_t *rooms;
	struct super_merge_flow flows[SUPER_MERGE_FLOWS];
	struct super_merge_counters counters;
};

/**
 * @put  is called by super_merge_push() and super_merge_flush(); must not call back into this
 * @return  0 or -ENOMEM: the only allocation, half a megabyte, used as far as flows are open
 */
int super_merge_init(struct super_merge *merge, super_merge_put_fn put, void *ctx, bool udp);

/** Frees; what was not flushed is lost. */
void super_merge_fini(struct super_merge *merge);

/** Takes a packet of any kind; gives out at once what can't wait for another one. @packet copied where it waits */
void super_merge_push(struct super_merge *merge, const struct super_packet *packet);

/** Gives out all that waits, oldest first: at the end of each batch. */
void super_merge_flush(struct super_merge *merge);

#endif
