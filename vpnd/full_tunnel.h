/*
 * The policy rules that send all traffic into the tunnel but for its own datagrams, and with a kill switch keep all else
 * from leaving while there is no tunnel. The default routes that they lead to are the device's.
 */
#ifndef VPND_FULL_TUNNEL_H
#define VPND_FULL_TUNNEL_H

#include "config/config.h"
#include "vpnd/netlink_rule.h"

#include <stddef.h>

struct fault;
struct netlink;

enum {
	FULL_TUNNEL_RULES_MAX = 2 * (CONFIG_EXEMPT_MAX + 9), /* of both families */
};

struct full_tunnel_plan {
	struct netlink_rule
		rules[FULL_TUNNEL_RULES_MAX]; /* in the order in which they may be added */
	size_t count;
};

/**
 * What must stand on the host.
 *
 * @on  the link is up; false = nothing
 */
void full_tunnel_plan(const struct config *config, bool on, struct full_tunnel_plan *ret_plan);

/**
 * Makes the host's rules of this network those of the plan, and with a kill switch the packet filter besides: adds what is missing, then removes what is too much, so that
 * there is no moment at which less holds than before and after.
 *
 * @config       gives protocol number and name, by which own rules are known
 * @ret_changed  how many were added or removed; may be NULL
 * @return       0 or the first error with `*fault` filled
 */
int full_tunnel_apply(struct netlink *netlink, const struct config *config, bool on,
	size_t *ret_changed, struct fault *fault);

/** Only the packet filter, anew: what the LAN is may have changed. */
int full_tunnel_guard(
	struct netlink *netlink, const struct config *config, bool on, struct fault *fault);

#endif
