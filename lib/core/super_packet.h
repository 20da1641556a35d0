/*
 * A packet as a device with offloads deals with it: its L4 checksum may still be partial, and it may be a super-packet,
 * one header in front of the payload of many TCP segments or UDP datagrams of a flow.
 *
 * Any run of its segments can be made into a packet of its own, so a long one is cut for a slow path, or into what is
 * sent without offloads. Pure functions over the caller's bytes.
 */
#ifndef CORE_SUPER_PACKET_H
#define CORE_SUPER_PACKET_H

#include "core/ip_header.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SUPER_PACKET_BYTES_MAX = 65535, /* of the IP packet */
	SUPER_PACKET_SEGMENTS_MAX =
		128, /* that one message holds: a short one must not become a flood */
	SUPER_PACKET_HEADER_BYTES_MAX = 256, /* IP, options, extension headers, TCP or UDP */
};

enum super_packet_kind {
	SUPER_PACKET_PLAIN,	/* any IP packet, checksums written */
	SUPER_PACKET_PARTIAL,	/* one TCP segment or UDP datagram, checksum partial */
	SUPER_PACKET_SEGMENTED, /* many, checksum partial */
};

enum super_verdict {
	SUPER_OK,
	SUPER_BAD_FORM,	     /* no first byte that is known, or cut before the packet begins */
	SUPER_NOT_OFFERED,   /* a form that was not negotiated */
	SUPER_BAD_IP,	     /* refused by ip_header_parse(), which can tell why */
	SUPER_BAD_PROTOCOL,  /* neither TCP nor UDP, or not what was announced */
	SUPER_BAD_FRAGMENT,  /* an IP fragment */
	SUPER_BAD_EXTENSION, /* an IPv6 extension header that can't be repeated in each segment */
	SUPER_BAD_TRANSPORT, /* a TCP or UDP header that is cut, contradicts the length, or can't be repeated */
	SUPER_BAD_SIZE,	    /* segments without a byte */
	SUPER_BAD_CHECKSUM, /* the checksum to be written is not that of this header */
	SUPER_TOO_LONG,	    /* longer than agreed on; as a whole, or one segment of it */
	SUPER_TOO_MANY,	    /* more segments than SUPER_PACKET_SEGMENTS_MAX */
	SUPER_VERDICTS,
};

/* A view of a packet that was parsed; the bytes are the caller's and must outlive it. */
struct super_packet {
	const uint8_t *bytes;
	struct ip_header ip;
	enum super_packet_kind kind;
	uint32_t length_bytes; /* of the packet */
	uint16_t header_bytes; /* repeated in each segment; 0 if plain */
	uint16_t checksum_at;  /* offset of the L4 checksum; 0 if plain */
	uint16_t segments;     /* 1 unless segmented */
	uint32_t
		segment_bytes; /* payload of all but the last, which may have less; the whole packet if plain */
};

/**
 * Parses and checks a packet whose L4 checksum field holds the folded sum over the pseudo header, or a plain one.
 *
 * @packet         borrowed until the view is given up
 * @kind           what the packet was announced to be
 * @segment_bytes  payload of a segment; looked at for SUPER_PACKET_SEGMENTED only
 * @ret_packet     filled on SUPER_OK. With no more payload than one segment has it is SUPER_PACKET_PARTIAL. The number
 *                 of segments is not bounded here: a host may give more than one message takes.
 */
enum super_verdict super_packet_parse(const uint8_t *packet, size_t len,
	enum super_packet_kind kind, uint16_t segment_bytes, struct super_packet *ret_packet);

/** @return bytes of the packet made of `count` segments from number `first` on; both in range, count above 0 */
uint32_t super_packet_range_bytes(
	const struct super_packet *packet, uint16_t first, uint16_t count);

/** @return where the payload of segment `first` begins: range_bytes - header_bytes bytes belong to a range */
const uint8_t *super_packet_payload(const struct super_packet *packet, uint16_t first);

/**
 * @bytes   what the packet made of them may have at most
 * @return  how many segments a packet of `bytes` holds: 1 .. SUPER_PACKET_SEGMENTS_MAX, no more than there are; a single
 *          one also if even that is longer
 */
uint16_t super_packet_fit(const struct super_packet *packet, uint32_t bytes);

/**
 * Writes the header of the packet made of `count` segments from number `first` on, its L4 checksum partial.
 *
 * @at      room for header_bytes; must not overlap the packet
 * @return  header_bytes (0 if plain: the payload is the packet)
 */
size_t super_packet_write_header(
	const struct super_packet *packet, uint16_t first, uint16_t count, uint8_t *at);

/**
 * Writes that packet whole, payload and all.
 *
 * @with_checksum  writes the L4 checksum instead of leaving it partial; count must be 1 then
 * @at             room for super_packet_range_bytes(); must not overlap the packet
 * @return         its length
 */
size_t super_packet_write(const struct super_packet *packet, uint16_t first, uint16_t count,
	bool with_checksum, uint8_t *at);

/** Writes the L4 checksum of a partial packet, not segmented, in place; plain ones stay as they are. */
void super_packet_complete(const struct super_packet *packet, uint8_t *bytes);

/** @return the pseudo header's folded sum, as a partial checksum field holds it; @transport_bytes 0..65535 behind the IP headers */
uint16_t super_packet_pseudo_sum(const struct ip_header *ip, uint32_t transport_bytes);

/** "ok", "bad_form", ...: names of the drop counters. Static. */
const char *super_verdict_str(enum super_verdict verdict);

#endif
