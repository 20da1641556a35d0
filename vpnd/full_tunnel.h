/*
 * The policy rules that send all traffic into the tunnel but for its own datagrams, and with a kill switch keep all else
 * from leaving while there is no tunnel. The default routes that they lead to are the device's.
 *
 *      full_tunnel.c          making it so, in the right order; whose rules are whose
 *      full_tunnel_plan.c     which rules
 *      full_tunnel_lan.c      what "lan" is
 *      full_tunnel_answers.c  hosts that are strict about where packets come in
 */
#ifndef VPND_FULL_TUNNEL_H
#define VPND_FULL_TUNNEL_H

#include "config/config.h"
#include "vpnd/netlink_rule.h"

#include <stddef.h>

struct fault;
struct netlink;

enum {
	FULL_TUNNEL_FIRST =
		31000,		 /* in front of main (32766); behind what others are known to use */
	FULL_TUNNEL_BLOCKS = 47, /* a prime */
	FULL_TUNNEL_BLOCK = 16,	 /* priorities */
	FULL_TUNNEL_LAN_RULES = 5, /* of one family */
	FULL_TUNNEL_RULES_MAX = 2 * (CONFIG_EXEMPT_MAX + 9 + FULL_TUNNEL_LAN_RULES),
};

/** Places in the block. */
enum full_tunnel_at {
	FULL_TUNNEL_AT_MARKED = 0,
	FULL_TUNNEL_AT_EXEMPT,
	FULL_TUNNEL_AT_NAMES,
	FULL_TUNNEL_AT_INSIDE,
	FULL_TUNNEL_AT_LAN,
	FULL_TUNNEL_AT_TUNNEL,
	FULL_TUNNEL_AT_NOTHING,
	FULL_TUNNEL_AT_ANSWERS = FULL_TUNNEL_BLOCK - 2,
	FULL_TUNNEL_AT_END = FULL_TUNNEL_BLOCK - 1,
};

/** Where it is made so, and what is known of it. */
struct full_tunnel {
	struct netlink *netlink; /* lent */
	int ifindex;	 /* of the tunnel's device; 0 = there is none, and nothing leads there */
	bool watched;	 /* somebody sets `filter` to 0 when the packet filter may have changed */
	uint64_t filter; /* what that was made of last; 0 = not known */

	/* worth a warning */
	bool crowded; /* the LAN has more networks than the packet filter takes */
	bool deaf;    /* the host drops what peers answer, and nothing can be done about it */
};

struct full_tunnel_plan {
	struct netlink_rule
		rules[FULL_TUNNEL_RULES_MAX]; /* in the order in which they may be added */
	size_t count;
};

/**
 * Which rules must stand on the host.
 *
 * @first     of the block's priorities
 * @no_route  [0] IPv4, [1] IPv6: the device has no default route of this family, and cannot be given one
 */
void full_tunnel_plan(const struct config *config, uint32_t first, const bool no_route[2],
	struct full_tunnel_plan *ret_plan);

/**
 * Makes the host's rules of this network those of the plan, and with a kill switch the packet filter besides: adds what is
 * missing, then removes what is too much, so that there is no moment at which less holds than before and after. What fails
 * does not keep the rest from being done.
 *
 * @on           the link is up, or with a kill switch is to come up; false = nothing is to stand
 * @ret_changed  how many rules and routes were added or removed; may be NULL
 * @return       0 or the first error with `*fault` filled
 */
int full_tunnel_apply(struct full_tunnel *tunnel, const struct config *config, bool on,
	size_t *ret_changed, struct fault *fault);

/** Only what depends on the host's other devices and routes, which may have changed: LAN, strict devices. */
int full_tunnel_refresh(
	struct full_tunnel *tunnel, const struct config *config, struct fault *fault);

/* for the other files of the full tunnel */

/** The ranges that are nobody's on the internet, in both families. @return NULL behind the last */
const char *full_tunnel_private(size_t index);

/**
 * What counts as LAN with a kill switch: networks on a link of the host, in a private range; and groups that are local.
 *
 * @ret_list  of `most` items, without overlaps
 * @ret_cut   set if there are more, which then are not in the list
 * @return    0 or a negative errno with `*fault` filled
 */
int full_tunnel_lan(const struct full_tunnel *tunnel, struct ip_prefix *ret_list, size_t most,
	size_t *ret_count, bool *ret_cut, struct fault *fault);

/** Takes overlaps out and puts halves together. @return how many are left */
size_t full_tunnel_aggregate(struct ip_prefix *list, size_t count);

/**
 * Whether a device of the host drops what comes in on another way than the answer would go. Each such device is told to
 * take marks into account; `note` hears of those that were not told so before, and may refuse.
 */
bool full_tunnel_strict(
	struct full_tunnel *tunnel, bool (*note)(void *ctx, const char *device), void *ctx);

/** Undoes that for one device. */
void full_tunnel_unmark(struct full_tunnel *tunnel, const char *device);

#endif
