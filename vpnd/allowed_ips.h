/*
 * Which peer an inner address belongs to: longest-prefix match over IPv4 and IPv6. The owner of an address is the
 * next hop of packets to it and the only peer that may send from it.
 */
#ifndef VPND_ALLOWED_IPS_H
#define VPND_ALLOWED_IPS_H

#include "core/ip_prefix.h"

#include <stddef.h>
#include <stdint.h>

struct allowed_ips_node;

struct allowed_ips {
	struct allowed_ips_node *roots[2]; /* IPv4, IPv6 */
	size_t count;			   /* prefixes held */
};

/** An empty table is all zeroes. */
static inline void allowed_ips_init(struct allowed_ips *table)
{
	*table = (struct allowed_ips){{NULL, NULL}, 0};
}

/** Frees all nodes; the owners are not touched. The table is empty afterwards. */
void allowed_ips_fini(struct allowed_ips *table);

/**
 * Gives a prefix to an owner. Bits behind its length are ignored.
 *
 * @owner   not NULL, not looked into
 * @return  0, also if it is the owner's already; -EEXIST if exactly this prefix is another's; -EINVAL; -ENOMEM.
 *          The table is unchanged on failure.
 */
int allowed_ips_insert(struct allowed_ips *table, const struct ip_prefix *prefix, void *owner);

/** Takes one prefix away. @return 0; -ENOENT if exactly this prefix is not the owner's */
int allowed_ips_remove(
	struct allowed_ips *table, const struct ip_prefix *prefix, const void *owner);

/** Takes all prefixes of an owner away. @return how many */
size_t allowed_ips_remove_owner(struct allowed_ips *table, const void *owner);

/**
 * @family   4 or 6
 * @address  4 or 16 bytes in network order
 * @return   the owner of the longest prefix that holds the address, NULL if none does
 */
void *allowed_ips_lookup(const struct allowed_ips *table, uint8_t family, const uint8_t *address);

/**
 * Looks for a clash before inserting.
 *
 * @return  another owner than `owner` of a prefix that holds `prefix` or lies inside it, NULL if there is none
 */
void *allowed_ips_overlap(
	const struct allowed_ips *table, const struct ip_prefix *prefix, const void *owner);

#endif
