/* Policy rules of the host (ip rule), through route netlink. */
#ifndef VPND_NETLINK_RULE_H
#define VPND_NETLINK_RULE_H

#include "core/ip_prefix.h"

#include <stdbool.h>
#include <stdint.h>

struct fault;
struct netlink;

enum netlink_rule_action {
	NETLINK_RULE_TABLE, /* look into `table` */
	NETLINK_RULE_GOTO,  /* go on at the rule of priority `target` */
	NETLINK_RULE_NOP,
	NETLINK_RULE_UNREACHABLE,
	NETLINK_RULE_PROHIBIT,
};

enum {
	NETLINK_RULE_DEVICE_BYTES = 16, /* IFNAMSIZ */
};

/** Zero in what selects means "any". All zeroes but for family and priority is a rule for everything. */
struct netlink_rule {
	uint8_t family;	  /* 4 or 6 */
	uint8_t protocol; /* who put it there (Linux 4.17) */
	uint8_t ip_protocol;
	uint8_t least_length; /* what a shorter route of the table would decide is left to the next rule; 0 = all count */
	uint16_t port; /* of the destination */
	uint32_t priority;
	uint32_t fwmark;
	struct ip_prefix to; /* family 0 = any */
	char from_device[NETLINK_RULE_DEVICE_BYTES];
	enum netlink_rule_action action;
	uint32_t table;
	uint32_t target;
};

/**
 * @ret_added  false if this very rule is there, whoever made it, or the host does not have this family; may be NULL
 * @return     0 in these cases, too; or a negative errno with `*fault` filled
 */
int netlink_rule_add(struct netlink *netlink, const struct netlink_rule *rule, bool *ret_added,
	struct fault *fault);

/** @return 0, also if there is none; or a negative errno with `*fault` filled */
int netlink_rule_remove(
	struct netlink *netlink, const struct netlink_rule *rule, struct fault *fault);

/** Whether both say the same, whoever made them. */
bool netlink_rule_equal(const struct netlink_rule *a, const struct netlink_rule *b);

/** @rule  borrowed for the call */
typedef void (*netlink_rule_fn)(void *ctx, const struct netlink_rule *rule);

/**
 * Tells the rules of both families that carry the protocol, in their order.
 *
 * @protocol  0 = whichever
 * @each    must not use `netlink`; a rule with what struct netlink_rule cannot express comes without that
 */
int netlink_rule_list(struct netlink *netlink, uint8_t protocol, netlink_rule_fn each, void *ctx,
	struct fault *fault);

#endif
