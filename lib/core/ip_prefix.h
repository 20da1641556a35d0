/* An IPv4 or IPv6 address block: the form in which addresses, routes and lookup tables exchange it. */
#ifndef CORE_IP_PREFIX_H
#define CORE_IP_PREFIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
	IP_PREFIX_TEXT_BYTES = 56, /* longest IPv6 address, "/128" and the final zero */
};

struct ip_prefix {
	uint8_t family;	     /* 4 or 6 */
	uint8_t length;	     /* leading bits that count, 0..32 or 0..128 */
	uint8_t address[16]; /* network order; IPv4 in the first four bytes, the rest zero */
};

/** The bits of an address of the family: 32, 128, or 0 for a family that is neither 4 nor 6. */
static inline unsigned ip_prefix_bits_max(uint8_t family)
{
	return family == 4 ? 32 : family == 6 ? 128 : 0;
}

/** True if family and length are in range. */
static inline bool ip_prefix_valid(const struct ip_prefix *prefix)
{
	unsigned most = ip_prefix_bits_max(prefix->family);
	return most != 0 && prefix->length <= most;
}

/** True if the first `bits` bits of `a` and `b` are equal. */
bool ip_prefix_bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits);

static inline bool ip_prefix_equal(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->family == b->family && a->length == b->length &&
	       memcmp(a->address, b->address, sizeof(a->address)) == 0;
}

/** True if `outer` holds all of `inner`; a block holds itself. */
bool ip_prefix_contains(const struct ip_prefix *outer, const struct ip_prefix *inner);

/** Zeroes the bits behind the length. */
void ip_prefix_mask(struct ip_prefix *prefix);

/** Writes "10.0.0.0/8" or "fd00::/64"; always terminated. @return `text` */
char *ip_prefix_format(const struct ip_prefix *prefix, char text[IP_PREFIX_TEXT_BYTES]);

/**
 * Reads "10.0.0.1/24", "fd00::1/64" or an address alone (all bits count). Bits behind the length are kept.
 *
 * @return  0 or -EINVAL; `*ret_prefix` is untouched then
 */
int ip_prefix_parse(const char *text, struct ip_prefix *ret_prefix);

#endif
