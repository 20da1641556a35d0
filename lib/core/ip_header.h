/*
 * A checked view of one whole IPv4 or IPv6 packet and of the first bytes of what it carries.
 *
 * The packet comes from a stranger. After IP_OK all offsets lie inside it.
 */
#ifndef CORE_IP_HEADER_H
#define CORE_IP_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	IP_HEADER_V4_BYTES = 20, /* without options */
	IP_HEADER_V6_BYTES = 40,
	IP_HEADER_EXTENSIONS_MAX = 8, /* headers walked; what lies behind is not looked at */
};

/* Protocol numbers that the project looks at (IANA "Protocol Numbers"). */
enum ip_protocol {
	IP_PROTOCOL_ICMP = 1,
	IP_PROTOCOL_TCP = 6,
	IP_PROTOCOL_UDP = 17,
	IP_PROTOCOL_ICMPV6 = 58,
	IP_PROTOCOL_NONE = 59,
};

enum ip_tcp_flag {
	IP_TCP_FIN = 0x01,
	IP_TCP_SYN = 0x02,
	IP_TCP_RST = 0x04,
	IP_TCP_ACK = 0x10,
};

enum ip_verdict {
	IP_OK,
	IP_EMPTY,	 /* no byte at all */
	IP_BAD_VERSION,	 /* neither 4 nor 6 */
	IP_SHORT_HEADER, /* ends inside its IP header, or IHL below 5 */
	IP_BAD_LENGTH,	 /* its own length is not that of the datagram (cut, padded, jumbogram) */
	IP_BAD_CHAIN,	 /* an IPv6 extension header reaches past the end */
	IP_VERDICTS,
};

struct ip_header {
	uint8_t version;  /* 4 or 6 */
	uint8_t protocol; /* behind the extension headers that were walked */
	uint8_t dscp;
	uint8_t ecn; /* 0 not ECT, 1 ECT(1), 2 ECT(0), 3 CE */
	uint8_t hop_limit;
	uint8_t tcp_flags; /* 0 unless has_ports and TCP */
	uint8_t icmp_type; /* valid if has_icmp */
	uint8_t icmp_code;
	bool fragment;	     /* part of a packet */
	bool later_fragment; /* part that does not begin with the transport header */
	bool dont_fragment;  /* always true for IPv6 */
	bool has_ports;	     /* TCP or UDP (or UDP-Lite, DCCP, SCTP), header whole where TCP */
	bool has_icmp;
	uint16_t src_port; /* host order; 0 without has_ports */
	uint16_t dst_port;
	uint32_t length_bytes; /* of the packet */
	uint32_t
		transport_bytes; /* offset of the first byte behind the IP headers, <= length_bytes */
	uint8_t src[16];	 /* IPv4 in the first four bytes, the rest zero */
	uint8_t dst[16];
};

/**
 * Judges a packet. Checksums are left to the receiving kernel.
 *
 * @ret_header  filled on IP_OK, else unspecified
 *
 * Sources: RFC 791, RFC 8200, RFC 4302 (AH), RFC 3168 (ECN bits).
 */
enum ip_verdict ip_header_parse(const void *packet, size_t len, struct ip_header *ret_header);

/** "empty", "bad_version", ...: names of the drop counters. Static. */
const char *ip_verdict_str(enum ip_verdict verdict);

/**
 * Sets CE in a packet whose `header` was parsed, with the IPv4 header checksum.
 *
 * @return  false and no change if the packet is not ECN-capable; true also if CE was set already
 */
bool ip_header_mark_ce(uint8_t *packet, const struct ip_header *header);

/**
 * Writes a header without options in front of `payload_bytes` that follow: hop limit 64, DF set, DSCP and ECN zero.
 *
 * @at       room for IP_HEADER_V4_BYTES or IP_HEADER_V6_BYTES
 * @version  4 or 6
 * @src      4 or 16 bytes, as dst
 * @return   bytes written
 */
size_t ip_header_write(uint8_t *at, uint8_t version, const uint8_t *src, const uint8_t *dst,
	uint8_t protocol, size_t payload_bytes);

#endif
