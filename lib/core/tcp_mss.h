/* Keeps TCP connections through the tunnel within its MTU by lowering what a SYN announces. */
#ifndef CORE_TCP_MSS_H
#define CORE_TCP_MSS_H

#include <stdbool.h>
#include <stdint.h>

struct ip_header;

/**
 * Lowers the MSS option of a SYN or SYN-ACK to what fits `mtu_bytes`, and adjusts the TCP checksum (which must be
 * whole, not partial). Other packets, fragments, and SYNs without the option or with broken options stay as they are.
 *
 * @packet     as parsed into `header`, changed in place
 * @mtu_bytes  largest inner IP packet
 * @return     true if the packet was changed
 *
 * Sources: RFC 9293 (3.1, 3.7.1), RFC 1624.
 */
bool tcp_mss_clamp(uint8_t *packet, const struct ip_header *header, uint16_t mtu_bytes);

#endif
