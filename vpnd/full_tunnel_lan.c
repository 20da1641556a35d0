/*
 * What the packet filter of a kill switch lets through as LAN. The main table is filled by whoever gives out addresses and
 * routes on the link, and that may be anybody. So only networks count that are neighbours (no gateway between), and that
 * lie in a private range as a whole: neither gives a stranger anything that could be meant for the internet.
 *
 * Hosts with containers may have hundreds of single addresses there. Sorted, a network stands in front of what it holds,
 * and two halves stand side by side: one pass with a stack puts them together.
 *
 * Groups: those that do not leave the link or the site. Names that are asked there (mDNS, LLMNR) stay visible on the LAN.
 *
 * Sources: RFC 1918, 3927, 4193, 6598; RFC 2365, 5771 (groups of IPv4), 4291.
 */
#include "vpnd/fault.h"
#include "vpnd/full_tunnel.h"
#include "vpnd/netlink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const GROUPS[] = {
	"224.0.0.0/24", "239.255.0.0/16", "255.255.255.255/32", "ff02::/16", "fe80::/10"};

struct lan {
	const struct full_tunnel *tunnel;
	struct ip_prefix *list;
	size_t count, room;
	bool failed;
};

static void append(struct lan *lan, const struct ip_prefix *prefix)
{
	if (lan->count == lan->room) {
		size_t room = lan->room ? 2 * lan->room : 64;
		struct ip_prefix *grown = reallocarray(lan->list, room, sizeof(*grown));
		if (!grown) {
			lan->failed = true;
			return;
		}
		lan->list = grown;
		lan->room = room;
	}
	lan->list[lan->count] = *prefix;
	ip_prefix_mask(&lan->list[lan->count++]);
}

static bool is_private(const struct ip_prefix *prefix)
{
	for (size_t i = 0; full_tunnel_private(i); i++) {
		struct ip_prefix range;
		if (ip_prefix_parse(full_tunnel_private(i), &range) == 0 &&
			ip_prefix_contains(&range, prefix))
			return true;
	}
	return false;
}

static void note(void *ctx, const struct netlink_route *route)
{
	struct lan *lan = ctx;

	if (route->on_link && route->ifindex != lan->tunnel->ifindex &&
		is_private(&route->destination))
		append(lan, &route->destination);
}

static int compare(const void *a, const void *b)
{
	const struct ip_prefix *x = a, *y = b;

	if (x->family != y->family)
		return x->family < y->family ? -1 : 1;
	int order = memcmp(x->address, y->address, sizeof(x->address));
	return order ? order : (x->length > y->length) - (x->length < y->length);
}

/* Makes `*left` the network of which both are halves. */
static bool join(struct ip_prefix *left, const struct ip_prefix *right)
{
	struct ip_prefix both = *left;

	if (left->family != right->family || left->length != right->length || left->length == 0)
		return false;
	both.length--;
	ip_prefix_mask(&both);
	if (!ip_prefix_contains(&both, right))
		return false;
	*left = both;
	return true;
}

size_t full_tunnel_aggregate(struct ip_prefix *list, size_t count)
{
	size_t kept = 0;

	if (count > 0)
		qsort(list, count, sizeof(*list), compare);
	for (size_t i = 0; i < count; i++) {
		if (kept > 0 && ip_prefix_contains(&list[kept - 1], &list[i]))
			continue;
		list[kept++] = list[i];
		while (kept > 1 && join(&list[kept - 2], &list[kept - 1]))
			kept--;
	}
	return kept;
}

int full_tunnel_lan(const struct full_tunnel *tunnel, struct ip_prefix *ret_list, size_t most,
	size_t *ret_count, bool *ret_cut, struct fault *fault)
{
	struct lan lan = {.tunnel = tunnel};
	int error = netlink_route_list(tunnel->netlink, 0, NETLINK_TABLE_MAIN, note, &lan, fault);

	for (size_t i = 0; i < sizeof(GROUPS) / sizeof(GROUPS[0]); i++) {
		struct ip_prefix prefix;
		if (ip_prefix_parse(GROUPS[i], &prefix) == 0)
			append(&lan, &prefix);
	}
	if (!error && lan.failed)
		error = fault_set(fault, -ENOMEM, "E-VPND-2", NULL, "out of memory");
	if (!error) {
		size_t count = full_tunnel_aggregate(lan.list, lan.count);
		*ret_cut = count > most;
		*ret_count = count < most ? count : most;
		if (*ret_count > 0)
			memcpy(ret_list, lan.list, *ret_count * sizeof(*ret_list));
	}
	free(lan.list);
	return error;
}
