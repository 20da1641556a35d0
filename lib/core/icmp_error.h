/* ICMP and ICMPv6 error messages about a packet that cannot go on. Limiting their rate is the caller's duty. */
#ifndef CORE_ICMP_ERROR_H
#define CORE_ICMP_ERROR_H

#include <stddef.h>
#include <stdint.h>

struct ip_header;

enum {
	ICMP_ERROR_V4_BYTES_MAX = 576,	/* RFC 1812, 4.3.2.3 */
	ICMP_ERROR_V6_BYTES_MAX = 1280, /* RFC 4443, 2.4 (c) */
	ICMP_ERROR_BYTES_MAX = ICMP_ERROR_V6_BYTES_MAX,
};

enum icmp_error {
	ICMP_ERROR_TOO_BIG,    /* fragmentation needed, or packet too big */
	ICMP_ERROR_NO_ROUTE,   /* no peer has this destination */
	ICMP_ERROR_NO_HOST,    /* the peer is not there now */
	ICMP_ERROR_PROHIBITED, /* the peer is switched off, or a filter refused the packet */
};

/**
 * Builds a whole IP packet that tells the sender of `packet`.
 *
 * Nothing is built about ICMP errors, later fragments, and packets to or from multicast, broadcast, unspecified or
 * loopback addresses, so that errors never answer errors or multiply.
 *
 * @mtu_bytes  for ICMP_ERROR_TOO_BIG: the largest inner packet that passes, at least 68; else ignored
 * @packet     as parsed into `header`
 * @source     own address of the packet's family; NULL = 192.0.0.8 for IPv4 (RFC 7600), no message for IPv6
 * @out        room for ICMP_ERROR_BYTES_MAX
 * @return     bytes written, 0 = no message may be sent
 *
 * Sources: RFC 792, RFC 1122 (3.2.2), RFC 1191, RFC 1812 (4.3.2.7), RFC 4443 (2.4).
 */
size_t icmp_error_build(enum icmp_error error, uint16_t mtu_bytes, const uint8_t *packet,
	const struct ip_header *header, const uint8_t *source, uint8_t out[ICMP_ERROR_BYTES_MAX]);

#endif
