/*
 * Routes that would swallow the tunnel's own datagrams: a prefix of length 0, or one that holds the address of an
 * endpoint. Such a tunnel never comes up, and the host has lost its way out besides. A full tunnel has an answer to
 * the first (its datagrams are marked, and do not see the routes of its own table), but smaller prefixes may be in the main
 * table all the same, where marked datagrams find them. A device in another namespace has no such question, and whoever
 * routes by hand (`routes.table: off`) is left alone. With a device for each peer prefixes are no routes but a filter of
 * what comes in, but for the addresses of peers themselves.
 *
 * allowed_ips of different peers do not overlap (checked before), so the largest prefixes, sorted, are disjoint: the
 * last one that begins at or below an address is the only one that can hold it.
 */
#include "config/config_loader.h"

#include "config/config_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
	const struct ip_prefix *x = a;
	const struct ip_prefix *y = b;

	if (x->family != y->family)
		return x->family < y->family ? -1 : 1;
	int order = memcmp(x->address, y->address, sizeof(x->address));
	return order ? order : (x->length > y->length) - (x->length < y->length);
}

/* Sorts and keeps the prefixes that no other holds. @return how many */
static size_t keep_largest(struct ip_prefix *list, size_t count)
{
	size_t kept = 0;

	qsort(list, count, sizeof(*list), compare);
	for (size_t i = 0; i < count; i++) {
		if (kept == 0 || !ip_prefix_contains(&list[kept - 1], &list[i]))
			list[kept++] = list[i];
	}
	return kept;
}

static const struct ip_prefix *holder(
	const struct ip_prefix *list, size_t count, const struct ip_prefix *address)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		if (compare(&list[middle], address) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 && ip_prefix_contains(&list[low - 1], address) ? &list[low - 1] : NULL;
}

/* @return false if the host is a name, whose address nobody knows yet */
static bool numeric(const char *host, struct ip_prefix *ret_address)
{
	struct ip_prefix address = {.family = 4, .length = 32};

	if (inet_pton(AF_INET, host, address.address) != 1) {
		address = (struct ip_prefix){.family = 6, .length = 128};
		if (inet_pton(AF_INET6, host, address.address) != 1)
			return false;
	}
	*ret_address = address;
	return true;
}

static void check_endpoints(struct loader *l, const struct ip_prefix *list, size_t count)
{
	char text[IP_PREFIX_TEXT_BYTES];

	for (size_t p = 0; p < l->config->peer_count; p++) {
		const struct config_peer *peer = &l->config->peers[p];
		for (size_t i = 0; i < peer->endpoints.count; i++) {
			struct ip_prefix address;
			const struct ip_prefix *prefix = NULL;
			if (numeric(peer->endpoints.items[i].host, &address))
				prefix = holder(list, count, &address);
			if (prefix)
				findings_error(&l->findings, CONFIG_E_ADDRESS,
					l->peers[p].name->place, NULL,
					"peers.%s.endpoints: %s lies in allowed_ips %s: the "
					"tunnel's own "
					"datagrams would go into the tunnel; use smaller prefixes, "
					"or "
					"routes.table: off",
					peer->name, peer->endpoints.items[i].host,
					ip_prefix_format(prefix, text));
		}
	}
}

int config_check_routes(struct loader *l)
{
	const struct config *config = l->config;
	char text[IP_PREFIX_TEXT_BYTES];
	size_t count = 0;

	if (config->routes.table == CONFIG_OFF || config->interface.netns)
		return 0;
	for (size_t p = 0; p < config->peer_count; p++)
		count += config->peers[p].allowed_ips.count;
	struct ip_prefix *list = calloc(count + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	count = 0;
	for (size_t p = 0; p < config->peer_count; p++) {
		const struct config_cidrs *own = &config->peers[p].allowed_ips;
		for (size_t i = 0; i < own->count; i++) {
			if (config->full_tunnel.mode != CONFIG_FULL_TUNNEL_OFF &&
				config_route_table(config, &own->items[i]) ==
					config_tunnel_number(config))
				continue;
			list[count++] = own->items[i];
			if (own->items[i].length == 0)
				findings_error(&l->findings, CONFIG_E_ADDRESS,
					l->peers[p].name->place, NULL,
					"peers.%s.allowed_ips: %s sends everything into the "
					"tunnel, its own datagrams too; for that write "
					"full_tunnel: {mode: route}, else use smaller prefixes, or "
					"routes.table: off",
					config->peers[p].name,
					ip_prefix_format(&own->items[i], text));
		}
	}
	check_endpoints(l, list, keep_largest(list, count));
	free(list);
	return 0;
}
