/* Builds the packets that a sender of a TCP or UDP flow would send, byte by byte and with sums of its own. */
#ifndef TESTS_UNIT_CORE_PACKET_FLOW_H
#define TESTS_UNIT_CORE_PACKET_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	FLOW_FIN = 0x01,
	FLOW_SYN = 0x02,
	FLOW_RST = 0x04,
	FLOW_PSH = 0x08,
	FLOW_ACK = 0x10,
	FLOW_URG = 0x20,
	FLOW_CWR = 0x80,
};

struct packet_flow {
	uint8_t version;
	uint8_t protocol;
	uint8_t traffic_class;
	uint8_t hop_limit;
	bool dont_fragment;
	uint16_t src_port;
	uint16_t id; /* of the first packet */
	uint32_t seq;
	uint32_t ack;
	uint16_t window;
	uint8_t ip_options
		[40]; /* or IPv6 extension headers, the last of which names the protocol */
	size_t ip_option_bytes;
	uint8_t extension; /* kind of the first extension header, if there is one */
	uint8_t options[40];
	size_t option_bytes; /* multiple of 4 */
};

/** What a packet of the flow is: its place and its payload. */
struct flow_packet {
	uint16_t number;   /* counts packets: goes to the identification */
	uint32_t offset;   /* of its payload in the stream */
	uint8_t tcp_flags; /* beside ACK */
	bool partial;	   /* leaves the checksum partial */
	const uint8_t *payload;
	size_t payload_bytes;
};

/** A random flow. @protocol 6 or 17 */
struct packet_flow packet_flow_random(unsigned *seed, uint8_t version, uint8_t protocol);

/** @return length, at most 65535 (65575 for IPv6); `at` has room for it */
size_t packet_flow_build(
	const struct packet_flow *flow, const struct flow_packet *packet, uint8_t *at);

/** @return bytes in front of the payload */
size_t packet_flow_header_bytes(const struct packet_flow *flow);

/** The checksums of a packet are those its bytes have; it is no fragment. */
bool packet_sums_right(const uint8_t *packet, size_t len);

/** @return a copy of its own size, for the sanitizers; to be freed */
uint8_t *exact_copy(const uint8_t *bytes, size_t len);

#endif
