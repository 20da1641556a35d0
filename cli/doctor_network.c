/*
 * The network around: other interfaces' addresses, routes, policy rules, and the way to each endpoint. Read from the kernel's
 * own tables; routes are those of the main table (/proc/net), rules come by netlink.
 */
#include "cli/doctor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	MTU_LEAST = 1280,
	OVERHEAD_BYTES = 72, /* native wire: UDP payload less the inner packet */
	RULES_BYTES = 65536,
	WIDE_LENGTH =
		8, /* allowed_ips shorter than this are meant for everything that has no better route */
};

static bool overlap(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return ip_prefix_contains(a, b) || ip_prefix_contains(b, a);
}

/* ---- addresses ----------------------------------------------------------------------------------------------- */

static unsigned bits_of(const uint8_t *mask, size_t bytes)
{
	unsigned bits = 0;

	while (bits < bytes * 8 && mask[bits / 8] & (0x80 >> (bits % 8)))
		bits++;
	return bits;
}

static bool prefix_of(const struct ifaddrs *a, struct ip_prefix *ret)
{
	*ret = (struct ip_prefix){0};
	if (!a->ifa_addr || !a->ifa_netmask)
		return false;
	if (a->ifa_addr->sa_family == AF_INET) {
		const struct sockaddr_in *address = (const void *)a->ifa_addr;
		const struct sockaddr_in *mask = (const void *)a->ifa_netmask;
		ret->family = 4;
		memcpy(ret->address, &address->sin_addr, 4);
		ret->length = (uint8_t)bits_of((const uint8_t *)&mask->sin_addr, 4);
		return true;
	}
	if (a->ifa_addr->sa_family == AF_INET6) {
		const struct sockaddr_in6 *address = (const void *)a->ifa_addr;
		const struct sockaddr_in6 *mask = (const void *)a->ifa_netmask;
		ret->family = 6;
		memcpy(ret->address, &address->sin6_addr, 16);
		ret->length = (uint8_t)bits_of((const uint8_t *)&mask->sin6_addr, 16);
		return !IN6_IS_ADDR_LINKLOCAL(&address->sin6_addr);
	}
	return false;
}

void doctor_check_addresses(struct doctor *d)
{
	struct ifaddrs *all = NULL;

	if (!d->config)
		return;
	if (getifaddrs(&all) < 0) {
		doctor_add(d, DOCTOR_UNKNOWN, "E-DOC-18", "addresses",
			"the host's addresses cannot be listed: %s", strerror(errno));
		return;
	}
	for (const struct ifaddrs *a = all; a; a = a->ifa_next) {
		struct ip_prefix theirs, masked;
		char mine_text[IP_PREFIX_TEXT_BYTES], text[IP_PREFIX_TEXT_BYTES];
		if ((a->ifa_flags & IFF_LOOPBACK) || !prefix_of(a, &theirs) ||
			!strcmp(a->ifa_name, d->config->interface.name))
			continue;
		masked = theirs;
		ip_prefix_mask(&masked);
		for (size_t i = 0; i < d->config->interface.addresses.count; i++) {
			struct ip_prefix mine = d->config->interface.addresses.items[i];
			(void)ip_prefix_format(&mine, mine_text);
			ip_prefix_mask(&mine);
			if (mine.family == masked.family && overlap(&mine, &masked))
				doctor_add(d, DOCTOR_PROBLEM, "E-DOC-7", "addresses",
					"interface.addresses has %s, and %s has %s", mine_text,
					a->ifa_name, ip_prefix_format(&theirs, text));
		}
	}
	freeifaddrs(all);
	if (!doctor_found(d, "addresses"))
		doctor_add(d, DOCTOR_OK, NULL, "addresses",
			"no other interface has addresses of the tunnel's range");
}

/* ---- routes -------------------------------------------------------------------------------------------------- */

static void check_route(struct doctor *d, const struct ip_prefix *route, const char *device)
{
	char text[IP_PREFIX_TEXT_BYTES], theirs[IP_PREFIX_TEXT_BYTES];

	if (!strcmp(device, d->config->interface.name) || !strcmp(device, "lo"))
		return;
	for (size_t p = 0; p < d->config->peer_count; p++) {
		const struct config_peer *peer = &d->config->peers[p];
		for (size_t i = 0; i < peer->allowed_ips.count; i++) {
			const struct ip_prefix *allowed = &peer->allowed_ips.items[i];
			if (allowed->family != route->family || allowed->length < WIDE_LENGTH ||
				!ip_prefix_contains(allowed, route))
				continue;
			/* the same network: one of the two is wrong; a part of it: a local network may be meant */
			doctor_add(d,
				route->length == allowed->length ? DOCTOR_PROBLEM : DOCTOR_WARNING,
				"E-DOC-8", "routes",
				"%s leads to %s, and is %s allowed_ips %s of peer %s",
				ip_prefix_format(route, text), device,
				route->length == allowed->length ? "the same as" : "a part of",
				ip_prefix_format(allowed, theirs), peer->name);
		}
	}
}

static void check_routes4(struct doctor *d)
{
	FILE *file = fopen("/proc/net/route", "r");
	char line[512];

	while (file && fgets(line, sizeof(line), file)) {
		struct ip_prefix route = {.family = 4};
		char device[IF_NAMESIZE];
		uint32_t destination, mask;
		if (sscanf(line, "%15s %x %*x %*x %*d %*d %*d %x", device, &destination, &mask) !=
			3)
			continue;
		memcpy(route.address, &destination, 4); /* as it lies in memory: network order */
		route.length = (uint8_t)bits_of((const uint8_t *)&mask, 4);
		check_route(d, &route, device);
	}
	if (file)
		(void)fclose(file);
}

static void check_routes6(struct doctor *d)
{
	FILE *file = fopen("/proc/net/ipv6_route", "r");
	char line[512];

	while (file && fgets(line, sizeof(line), file)) {
		struct ip_prefix route = {.family = 6};
		char device[IF_NAMESIZE], text[33];
		unsigned length, flags, metric;
		if (sscanf(line, "%32s %x %*s %*x %*s %x %*x %*x %x %15s", text, &length, &metric,
			    &flags, device) != 5 ||
			length > 128 || (flags & 0x80000000U)) /* RTF_LOCAL */
			continue;
		for (size_t i = 0; i < 16; i++) {
			char byte[3] = {text[2 * i], text[2 * i + 1], '\0'};
			route.address[i] = (uint8_t)strtoul(byte, NULL, 16);
		}
		route.length = (uint8_t)length;
		check_route(d, &route, device);
	}
	if (file)
		(void)fclose(file);
}

void doctor_check_routes(struct doctor *d)
{
	if (!d->config)
		return;
	check_routes4(d);
	check_routes6(d);
	if (!doctor_found(d, "routes"))
		doctor_add(d, DOCTOR_OK, NULL, "routes",
			"no other route leads peers' addresses elsewhere");
}

/* ---- rules --------------------------------------------------------------------------------------------------- */

static void check_rule(struct doctor *d, const struct nlmsghdr *message)
{
	const struct fib_rule_hdr *rule = (const void *)((const char *)message + NLMSG_HDRLEN);
	size_t at = NLMSG_LENGTH(sizeof(*rule)), end = message->nlmsg_len;
	uint32_t table = rule->table, priority = 0, mark = 0;
	uint8_t protocol = 0;
	char marked[32] = "";

	while (at + sizeof(struct rtattr) <= end) {
		const struct rtattr *a = (const void *)((const char *)message + at);
		if (a->rta_len < sizeof(*a) || a->rta_len > end - at)
			break;
		const void *value = a + 1;
		size_t bytes = a->rta_len - sizeof(*a);
		if (a->rta_type == FRA_PRIORITY && bytes == 4)
			memcpy(&priority, value, 4);
		else if (a->rta_type == FRA_TABLE && bytes == 4)
			memcpy(&table, value, 4);
		else if (a->rta_type == FRA_FWMARK && bytes == 4)
			memcpy(&mark, value, 4);
		else if (a->rta_type == FRA_PROTOCOL && bytes == 1)
			memcpy(&protocol, value, 1);
		at += ((size_t)a->rta_len + 3) / 4 * 4;
	}
	/* the kernel's own three, and what this project put there */
	if (protocol == RTPROT_KERNEL ||
		(d->config && protocol == (uint8_t)d->config->routes.protocol) ||
		(table == RT_TABLE_LOCAL && priority == 0) ||
		(table == RT_TABLE_MAIN && priority == 32766) || table == RT_TABLE_DEFAULT)
		return;
	if (mark)
		(void)snprintf(marked, sizeof(marked), " fwmark 0x%x", mark);
	doctor_add(d, DOCTOR_WARNING, "E-DOC-15", "rules",
		"IPv%c rule %u:%s%s looks up table %u: another VPN's?",
		rule->family == AF_INET6 ? '6' : '4', priority,
		rule->flags & FIB_RULE_INVERT ? " not" : "", marked, table);
}

/* @return false when the dump is over, or failed */
static bool read_rules(struct doctor *d, int fd, char *buffer)
{
	ssize_t got = recv(fd, buffer, RULES_BYTES, 0);
	size_t at = 0, end = got > 0 ? (size_t)got : 0;

	while (at + sizeof(struct nlmsghdr) <= end) {
		const struct nlmsghdr *m = (const void *)(buffer + at);
		if (m->nlmsg_len < sizeof(*m) || m->nlmsg_len > end - at)
			return false;
		at += ((size_t)m->nlmsg_len + 3) / 4 * 4;
		if (m->nlmsg_type == NLMSG_DONE || m->nlmsg_type == NLMSG_ERROR)
			return false;
		if (m->nlmsg_type == RTM_NEWRULE &&
			m->nlmsg_len >= NLMSG_LENGTH(sizeof(struct fib_rule_hdr)))
			check_rule(d, m);
	}
	return got > 0;
}

void doctor_check_rules(struct doctor *d)
{
	static const unsigned char families[] = {AF_INET, AF_INET6};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct timeval patience = {.tv_sec = 2};
	char *buffer = malloc(RULES_BYTES);

	if (fd >= 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	for (size_t i = 0; i < 2 && fd >= 0 && buffer; i++) {
		struct {
			struct nlmsghdr head;
			struct fib_rule_hdr rule;
		} ask = {.head = {.nlmsg_len = sizeof(ask),
				 .nlmsg_type = RTM_GETRULE,
				 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
			.rule = {.family = families[i]}};
		if (send(fd, &ask, sizeof(ask), 0) != (ssize_t)sizeof(ask))
			continue;
		while (read_rules(d, fd, buffer))
			;
	}
	free(buffer);
	if (fd >= 0)
		close(fd);
	else
		doctor_add(d, DOCTOR_UNKNOWN, "E-DOC-18", "rules", "policy rules cannot be listed");
	if (!doctor_found(d, "rules"))
		doctor_add(
			d, DOCTOR_OK, NULL, "rules", "there are no policy rules of other programs");
}

/* ---- endpoints ----------------------------------------------------------------------------------------------- */

/* The interface by which the host reaches an address, and its MTU. @return false if it has no way there */
static bool way_to(const struct addrinfo *to, char device[IF_NAMESIZE], int *ret_mtu)
{
	struct sockaddr_storage own = {0};
	socklen_t len = sizeof(own);
	struct ifaddrs *all = NULL;
	struct ifreq request = {0};
	int fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool found = false;

	if (fd >= 0 && connect(fd, to->ai_addr, to->ai_addrlen) == 0 &&
		getsockname(fd, (struct sockaddr *)&own, &len) == 0 && getifaddrs(&all) == 0) {
		for (const struct ifaddrs *a = all; a && !found; a = a->ifa_next) {
			if (!a->ifa_addr || a->ifa_addr->sa_family != own.ss_family)
				continue;
			found = own.ss_family == AF_INET
					? !memcmp(&((const struct sockaddr_in *)(const void *)
								  a->ifa_addr)
							   ->sin_addr,
						  &((struct sockaddr_in *)&own)->sin_addr, 4)
					: !memcmp(&((const struct sockaddr_in6 *)(const void *)
								  a->ifa_addr)
							   ->sin6_addr,
						  &((struct sockaddr_in6 *)&own)->sin6_addr, 16);
			if (found)
				(void)snprintf(device, IF_NAMESIZE, "%s", a->ifa_name);
		}
	}
	if (found) {
		(void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", device);
		*ret_mtu = ioctl(fd, SIOCGIFMTU, &request) == 0 ? request.ifr_mtu : 0;
	}
	if (all)
		freeifaddrs(all);
	if (fd >= 0)
		close(fd);
	return found;
}

static void check_way(struct doctor *d, const struct config_peer *peer, const char *host,
	const struct addrinfo *to)
{
	char device[IF_NAMESIZE] = "";
	int mtu = 0;
	int header = (to->ai_family == AF_INET6 ? 48 : 28) + OVERHEAD_BYTES;

	if (!way_to(to, device, &mtu)) {
		doctor_add(d, DOCTOR_PROBLEM, "E-UDP-6", "endpoints",
			"peer %s: the host has no way to %s", peer->name, host);
		return;
	}
	if (mtu > 0 && mtu < MTU_LEAST)
		doctor_add(d, DOCTOR_PROBLEM, "E-DOC-9", "endpoints",
			"peer %s is reached by %s, whose MTU is %d", peer->name, device, mtu);
	else if (mtu > 0 && d->config->wire == CONFIG_WIRE_NATIVE &&
		 d->config->interface.mtu != CONFIG_AUTO && d->config->interface.mtu > mtu - header)
		doctor_add(d, DOCTOR_WARNING, "E-DOC-9", "endpoints",
			"interface.mtu is %d, and %s, by which peer %s is reached, carries %d in "
			"one piece",
			d->config->interface.mtu, device, peer->name, mtu - header);
}

static void check_endpoint(
	struct doctor *d, const struct config_peer *peer, const struct config_endpoint *e)
{
	struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *found = NULL;
	char port[8];

	(void)snprintf(port, sizeof(port), "%u", e->port);
	int rc = getaddrinfo(e->host, port, &hints, &found);
	if (rc)
		doctor_add(d, DOCTOR_PROBLEM, "E-DOC-10", "endpoints",
			"peer %s: %s means no address: %s", peer->name, e->host, gai_strerror(rc));
	else
		check_way(d, peer, e->host, found);
	if (found)
		freeaddrinfo(found);
}

void doctor_check_endpoints(struct doctor *d)
{
	size_t checked = 0;

	if (!d->config)
		return;
	(void)setenv("RES_OPTIONS", "timeout:2 attempts:1", 0); /* many names, little time */
	for (size_t p = 0; p < d->config->peer_count; p++) {
		const struct config_peer *peer = &d->config->peers[p];
		for (size_t i = 0; peer->enabled && i < peer->endpoints.count; i++) {
			if (cli_now_ms() > d->cli->deadline_ms - 5000) {
				doctor_add(d, DOCTOR_UNKNOWN, "E-DOC-18", "endpoints",
					"there was no time for all endpoints; --timeout gives "
					"more");
				return;
			}
			check_endpoint(d, peer, &peer->endpoints.items[i]);
			checked++;
		}
	}
	if (checked && !doctor_found(d, "endpoints"))
		doctor_add(d, DOCTOR_OK, NULL, "endpoints",
			"%zu endpoints mean addresses that the host has a way to", checked);
}
