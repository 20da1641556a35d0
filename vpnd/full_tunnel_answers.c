/*
 * Hosts that are strict about where packets come in (rp_filter=1, the default of some). What a peer answers comes in by the
 * outer link; the kernel looks whether it would send to that peer by the same link, finds the full tunnel's table, and drops
 * it: a tunnel that never comes up, without a word in any log.
 *
 * The answer's mark makes the question the right one. It takes two things: the packet filter, which gives what comes in to a
 * socket the mark of that socket (netlink_guard.c), and for each strict device src_valid_mark, by which the kernel takes
 * marks into account there. Both are told through netlink: files under /proc/sys are not there for a confined service.
 *
 * A device that was told so has a rule of the block that does nothing but say it: who cleans up, be it after a crash, finds
 * it there and takes it back. What was set before by somebody else stays. Two networks on one host: the first to end takes
 * it back from the other, whose rules are then looked after (a rule went away), and it is set once more.
 *
 * Loose hosts (rp_filter=2) ask only whether there is any route; that the full tunnel always has.
 *
 * Sources: Linux, net/ipv4/fib_frontend.c (__fib_validate_source), net/ipv4/devinet.c (inet_set_link_af,
 * inet_netconf_dump_devconf); wg-quick(8).
 */
#include "vpnd/full_tunnel.h"
#include "vpnd/netlink_conf.h"

#include <net/if.h>

enum {
	DEVICES_MAX = 256, /* strict ones at once; the others wait for the next time */
};

struct look {
	struct full_tunnel *tunnel;
	int unmarked[DEVICES_MAX]; /* the answer to one request must be read before the next */
	size_t unmarked_count;
	bool strict;
};

static void look_at(void *ctx, const struct netlink_conf *conf)
{
	struct look *look = ctx;

	if (!conf->strict || conf->ifindex == look->tunnel->ifindex || conf->loopback)
		return;
	look->strict = true;
	if (!conf->counts_marks && look->unmarked_count < DEVICES_MAX)
		look->unmarked[look->unmarked_count++] = conf->ifindex;
}

bool full_tunnel_strict(
	struct full_tunnel *tunnel, bool (*note)(void *ctx, const char *device), void *ctx)
{
	struct look look = {.tunnel = tunnel};

	if (netlink_conf_list(tunnel->netlink, look_at, &look) < 0)
		return false;
	for (size_t i = 0; i < look.unmarked_count; i++) {
		char name[IF_NAMESIZE];
		/* noted first: what is noted and not done harms nobody */
		if (if_indextoname((unsigned)look.unmarked[i], name) && note(ctx, name))
			(void)netlink_conf_count_marks(tunnel->netlink, look.unmarked[i], true);
	}
	return look.strict;
}

void full_tunnel_unmark(struct full_tunnel *tunnel, const char *device)
{
	int ifindex = (int)if_nametoindex(device);

	if (ifindex > 0)
		(void)netlink_conf_count_marks(tunnel->netlink, ifindex, false);
}
