/* UDP endpoints: an IPv4 or IPv6 address and a port, small enough to be copied and compared. */
#ifndef KCPVPN_ENDPOINT_H
#define KCPVPN_ENDPOINT_H

#include "kcpvpn/export.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct sockaddr;
struct sockaddr_storage;

enum {
	KCPVPN_ENDPOINT_TEXT_BYTES = 80, /* "[v6%scope]:port" and the final zero */
};

/** IPv4-mapped IPv6 addresses are always kept as IPv4. Unused bytes are zero. */
struct kcpvpn_endpoint {
	uint8_t address[16]; /* network order; IPv4 in the first four bytes */
	uint32_t scope_id;   /* interface of a link-local IPv6 address, else 0 */
	uint16_t port;	     /* host order */
	uint8_t family;	     /* 0 = none, 4 or 6 */
};

/** @return 0, or -EAFNOSUPPORT if `sa` is neither AF_INET nor AF_INET6 or `len` is too short for
 * it. */
KCPVPN_API int kcpvpn_endpoint_from_sockaddr(
	const struct sockaddr *sa, size_t len, struct kcpvpn_endpoint *ret_endpoint);

/**
 * @mapped  true: an IPv4 endpoint becomes an IPv4-mapped IPv6 address, as a dual-stack IPv6 socket
 * needs it
 * @return  the length of the address written, 0 for an endpoint of family 0
 */
KCPVPN_API size_t kcpvpn_endpoint_to_sockaddr(
	const struct kcpvpn_endpoint *endpoint, bool mapped, struct sockaddr_storage *ret_sa);

static inline bool kcpvpn_endpoint_equal(
	const struct kcpvpn_endpoint *a, const struct kcpvpn_endpoint *b)
{
	return a->family == b->family && a->port == b->port && a->scope_id == b->scope_id &&
	       memcmp(a->address, b->address, sizeof(a->address)) == 0;
}

/** Writes "192.0.2.1:29900", "[2001:db8::1]:29900" or "none"; always terminated. @return `text` */
KCPVPN_API char *kcpvpn_endpoint_format(
	const struct kcpvpn_endpoint *endpoint, char text[KCPVPN_ENDPOINT_TEXT_BYTES]);

#endif
