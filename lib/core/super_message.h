/* The form in which super-packets travel between two peers (PROTOCOL 9.2). */
#ifndef CORE_SUPER_MESSAGE_H
#define CORE_SUPER_MESSAGE_H

#include "core/super_packet.h"

enum {
	SUPER_MESSAGE_OVERHEAD_BYTES = 3, /* in front of what is not plain */
};

/** What this side told the other that it takes. */
struct super_limits {
	uint32_t packet_bytes_max; /* tun_mtu: a packet, and each segment of a super-packet */
	uint32_t
		super_bytes_max; /* rx_super_max: a super-packet; 0 = the feature was not chosen, plain packets only */
};

/**
 * Writes what goes in front of the packet made of `count` segments of `packet`; for the whole, count = packet->segments.
 *
 * @at      room for SUPER_MESSAGE_OVERHEAD_BYTES
 * @return  bytes written: 0 if plain, else SUPER_MESSAGE_OVERHEAD_BYTES
 */
size_t super_message_write_prefix(const struct super_packet *packet, uint16_t count, uint8_t *at);

/** @return whether a message is of a form other than a plain packet, as far as its first byte tells */
static inline bool super_message_is_long(const uint8_t *message, size_t len)
{
	return len > 0 && message[0] >> 4 == 8;
}

/** @return bytes of the message that super_message_write() makes of them */
uint32_t super_message_bytes(const struct super_packet *packet, uint16_t first, uint16_t count);

/**
 * Writes the message of `count` segments from number `first` on: one of them as a plain packet with its checksum, which
 * every peer takes and which is no longer than the segment was; several as a super-packet.
 *
 * @at         room for super_message_bytes(); must not overlap the packet
 * @ret_ip_at  where the IP header begins: 0 or SUPER_MESSAGE_OVERHEAD_BYTES
 * @return     bytes written
 */
size_t super_message_write(const struct super_packet *packet, uint16_t first, uint16_t count,
	uint8_t *at, uint16_t *ret_ip_at);

/**
 * @first  the next segment to be sent
 * @bytes  what the message may have at most; less than one segment: one alone
 * @return how many segments from there on go into one message
 */
uint16_t super_message_fit(const struct super_packet *packet, uint16_t first, uint32_t bytes);

/**
 * Parses a message from a peer. Whether its addresses may come from that peer is the caller's to judge.
 *
 * @ret_packet  a view of what stands behind the prefix, filled on SUPER_OK
 */
enum super_verdict super_message_parse(const uint8_t *message, size_t len,
	const struct super_limits *limits, struct super_packet *ret_packet);

#endif
