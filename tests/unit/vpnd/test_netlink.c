/* Each test runs in a process and a network namespace of its own. */
#include "vpnd/fault.h"
#include "vpnd/loop.h"
#include "vpnd/netlink.h"
#include "vpnd/netlink_monitor.h"
#include "vpnd/netlink_rule.h"
#include "vpnd/tun.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct bench {
	struct netlink *netlink;
	struct tun tun;
	struct fault fault;
};

static struct ip_prefix prefix_of(const char *text)
{
	struct ip_prefix prefix;
	cr_assert_eq(ip_prefix_parse(text, &prefix), 0, "%s", text);
	return prefix;
}

static void setup(struct bench *b)
{
	struct tun_options options = {.name = "tn0"};

	cr_assert_eq(unshare(CLONE_NEWNET), 0, "needs root: network namespaces");
	*b = (struct bench){.tun = {.fd = -1}};
	cr_assert_eq(netlink_new(&b->netlink, &b->fault), 0, "%s", b->fault.text);
	cr_assert_eq(tun_open(&b->tun, &options, &b->fault), 0, "%s", b->fault.text);
	cr_assert_eq(netlink_link_set_mtu(b->netlink, b->tun.ifindex, 1400, &b->fault), 0);
	cr_assert_eq(netlink_link_set_up(b->netlink, b->tun.ifindex, true, &b->fault), 0);
}

static void teardown(struct bench *b)
{
	tun_close(&b->tun);
	netlink_free(b->netlink);
}

static struct ifreq ask(unsigned long request)
{
	struct ifreq answer = {.ifr_name = "tn0"};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	cr_assert_eq(ioctl(fd, request, &answer), 0);
	close(fd);
	return answer;
}

Test(netlink, sets_up_links)
{
	struct bench b;

	setup(&b);
	cr_assert_eq(ask(SIOCGIFMTU).ifr_mtu, 1400);
	cr_assert(ask(SIOCGIFFLAGS).ifr_flags & IFF_UP);
	cr_assert_eq(netlink_link_set_up(b.netlink, b.tun.ifindex, true, &b.fault), 0);
	cr_assert_eq(netlink_link_set_up(b.netlink, b.tun.ifindex, false, &b.fault), 0);
	cr_assert(!(ask(SIOCGIFFLAGS).ifr_flags & IFF_UP));
	cr_assert_eq(netlink_link_set_mtu(b.netlink, b.tun.ifindex, 10, &b.fault), -EINVAL);
	cr_assert(strstr(b.fault.text, "cannot set the MTU to 10 on tn0: Invalid argument"), "%s",
		b.fault.text);
	cr_assert_eq(netlink_link_set_up(b.netlink, 4711, true, &b.fault), -ENODEV);
	cr_assert(strstr(b.fault.text, "cannot set the link up on #4711: No such device"), "%s",
		b.fault.text);
	cr_assert_str_eq(b.fault.code, "E-NET-2");
	teardown(&b);
}

/* An address is there if a socket can bind to it. */
static bool bindable(const char *text)
{
	struct ip_prefix prefix = prefix_of(text);
	struct kcpvpn_endpoint endpoint = {.family = prefix.family};
	struct sockaddr_storage sa;
	memcpy(endpoint.address, prefix.address, 16);
	size_t len = kcpvpn_endpoint_to_sockaddr(&endpoint, false, &sa);
	int fd = socket(sa.ss_family, SOCK_DGRAM, 0);
	bool good = bind(fd, (struct sockaddr *)&sa, (socklen_t)len) == 0;
	close(fd);
	return good;
}

Test(netlink, adds_and_removes_addresses)
{
	static const char *const texts[] = {"10.9.0.1/24", "fd99::1/64"};
	struct bench b;

	setup(&b);
	for (int i = 0; i < 2; i++) {
		struct ip_prefix address = prefix_of(texts[i]);
		int ifindex = b.tun.ifindex;
		for (int twice = 0; twice < 2; twice++) /* usable at once, also for IPv6 */
			cr_assert_eq(netlink_address_add(b.netlink, ifindex, &address, &b.fault), 0,
				"%s", b.fault.text);
		cr_assert(bindable(texts[i]));
		for (int twice = 0; twice < 2; twice++)
			cr_assert_eq(netlink_address_remove(b.netlink, ifindex, &address, &b.fault),
				0, "%s", b.fault.text);
		cr_assert(!bindable(texts[i]));
	}
	struct ip_prefix bad = {.family = 4, .length = 40};
	cr_assert_neq(netlink_address_add(b.netlink, b.tun.ifindex, &bad, &b.fault), 0);
	bad = prefix_of("10.9.0.1/24");
	cr_assert_eq(netlink_address_add(b.netlink, 4711, &bad, &b.fault), -ENODEV);
	cr_assert(strstr(b.fault.text, "cannot add the address 10.9.0.1/24 on #4711"), "%s",
		b.fault.text);
	teardown(&b);
}

struct seen {
	struct netlink_route routes[16];
	size_t count;
};

static void see(void *ctx, const struct netlink_route *route)
{
	struct seen *seen = ctx;
	cr_assert(seen->count < 16);
	seen->routes[seen->count++] = *route;
}

static struct seen list_routes(struct bench *b, uint8_t protocol)
{
	struct seen seen = {.count = 0};
	cr_assert_eq(netlink_route_list(b->netlink, protocol, 0, see, &seen, &b->fault), 0, "%s",
		b->fault.text);
	return seen;
}

Test(netlink, adds_lists_and_removes_routes)
{
	static const char *const texts[] = {
		"10.42.0.0/16", "0.0.0.0/0", "10.43.7.9/32", "fd42::/48", "::/0"};
	struct bench b;

	setup(&b);
	for (size_t i = 0; i < 5; i++) {
		struct netlink_route route = {
			.destination = prefix_of(texts[i]),
			.ifindex = b.tun.ifindex,
			.table = i % 2 ? 1000 : NETLINK_TABLE_MAIN,
			.metric = NETLINK_METRIC,
			.protocol = NETLINK_PROTOCOL,
		};
		for (int twice = 0; twice < 2; twice++)
			cr_assert_eq(netlink_route_add(b.netlink, &route, &b.fault), 0, "%s",
				b.fault.text);
		struct seen seen = list_routes(&b, NETLINK_PROTOCOL);
		cr_assert_eq(seen.count, 1);
		cr_assert_eq(memcmp(&seen.routes[0].destination, &route.destination,
				     sizeof(route.destination)),
			0);
		cr_assert_eq(seen.routes[0].ifindex, route.ifindex);
		cr_assert_eq(seen.routes[0].table, route.table);
		cr_assert_eq(seen.routes[0].metric, route.metric);
		cr_assert_eq(seen.routes[0].protocol, route.protocol);

		struct netlink_route other = route; /* not this one: left alone */
		other.metric = 77;
		cr_assert_eq(netlink_route_remove(b.netlink, &other, &b.fault), 0);
		other = route;
		other.protocol = 9;
		cr_assert_eq(netlink_route_remove(b.netlink, &other, &b.fault), 0);
		cr_assert_eq(list_routes(&b, NETLINK_PROTOCOL).count, 1, "%s", texts[i]);
		for (int twice = 0; twice < 2; twice++)
			cr_assert_eq(netlink_route_remove(b.netlink, &route, &b.fault), 0, "%s",
				b.fault.text);
		cr_assert_eq(list_routes(&b, NETLINK_PROTOCOL).count, 0);
	}
	teardown(&b);
}

Test(netlink, never_takes_the_place_of_a_strangers_route)
{
	static const char *const texts[] = {"10.42.0.0/16", "fd42::/48"};
	struct bench b;

	setup(&b);
	cr_assert_eq(netlink_link_set_up(b.netlink, 1, true, &b.fault), 0);
	for (int i = 0; i < 2; i++) {
		struct netlink_route theirs = {
			.destination = prefix_of(texts[i]),
			.ifindex = 1,
			.table = NETLINK_TABLE_MAIN,
			.metric = NETLINK_METRIC,
			.protocol = 4,
		};
		struct netlink_route ours = theirs;
		ours.ifindex = b.tun.ifindex;
		ours.protocol = NETLINK_PROTOCOL;
		cr_assert_eq(netlink_route_add(b.netlink, &theirs, &b.fault), 0);
		cr_assert_eq(netlink_route_add(b.netlink, &ours, &b.fault), -EEXIST);
		cr_assert(strstr(b.fault.text, texts[i]) && b.fault.hint[0], "%s", b.fault.text);
		cr_assert_eq(list_routes(&b, 4).count, 1);
		ours.metric = NETLINK_METRIC + 1;
		cr_assert_eq(netlink_route_add(b.netlink, &ours, &b.fault), 0);
		cr_assert_eq(netlink_route_remove(b.netlink, &theirs, &b.fault), 0);
		cr_assert_eq(netlink_route_remove(b.netlink, &ours, &b.fault), 0);
	}
	teardown(&b);
}

static struct kcpvpn_endpoint endpoint_of(const char *text)
{
	struct ip_prefix prefix = prefix_of(text);
	struct kcpvpn_endpoint endpoint = {.family = prefix.family};
	memcpy(endpoint.address, prefix.address, 16);
	return endpoint;
}

Test(netlink, tells_the_path)
{
	struct kcpvpn_endpoint far4 = endpoint_of("192.0.2.9");
	struct kcpvpn_endpoint far6 = endpoint_of("fd98::9");
	struct netlink_path path;
	struct netlink_path before;
	struct bench b;

	setup(&b);
	cr_assert_eq(netlink_path(b.netlink, &far4, 0, &path, &b.fault), -ENETUNREACH);
	cr_assert_eq(netlink_path(b.netlink, &far6, 0, &path, &b.fault), -ENETUNREACH);
	cr_assert_eq(
		netlink_path(b.netlink, &(struct kcpvpn_endpoint){0}, 0, &path, &b.fault), -EINVAL);
	struct ip_prefix own4 = prefix_of("192.0.2.1/24");
	struct ip_prefix own6 = prefix_of("fd98::1/64");
	cr_assert_eq(netlink_address_add(b.netlink, b.tun.ifindex, &own4, &b.fault), 0);
	cr_assert_eq(netlink_address_add(b.netlink, b.tun.ifindex, &own6, &b.fault), 0);
	cr_assert_eq(netlink_path(b.netlink, &far4, 0, &path, &b.fault), 0, "%s", b.fault.text);
	cr_assert_eq(path.ifindex, b.tun.ifindex);
	cr_assert_eq(path.source.family, 4);
	cr_assert_arr_eq(path.source.address, own4.address, 4);
	cr_assert_eq(path.gateway.family, 0);
	before = path;
	cr_assert_eq(netlink_path(b.netlink, &far4, 5, &path, &b.fault), 0);
	cr_assert(netlink_path_equal(&path, &before));
	cr_assert_eq(netlink_path(b.netlink, &far6, 0, &path, &b.fault), 0, "%s", b.fault.text);
	cr_assert_eq(path.source.family, 6);
	cr_assert_arr_eq(path.source.address, own6.address, 16);
	cr_assert(!netlink_path_equal(&path, &before));
	teardown(&b);
}

struct notices {
	int changes, losses;
};

static void count_change(void *ctx)
{
	((struct notices *)ctx)->changes++;
}

static void count_loss(void *ctx)
{
	((struct notices *)ctx)->losses++;
}

Test(netlink, monitor_tells_of_others_and_not_of_own)
{
	struct loop *loop = NULL;
	struct netlink_monitor *monitor = NULL;
	struct tun other = {.fd = -1};
	struct tun_options options = {.name = "tn1"};
	struct bench b;
	struct notices seen = {0};

	setup(&b);
	const struct netlink_own own = {.ifindex = b.tun.ifindex, .protocol = NETLINK_PROTOCOL};
	cr_assert_eq(tun_open(&other, &options, &b.fault), 0);
	cr_assert_eq(loop_new(&loop), 0);
	cr_assert_eq(netlink_monitor_new(
			     loop, &own, count_change, count_loss, &seen, &monitor, &b.fault),
		0, "%s", b.fault.text);

	/* What happens on the own interface, and own routes elsewhere: silence. */
	struct ip_prefix address = prefix_of("10.9.0.1/24");
	cr_assert_eq(netlink_address_add(b.netlink, b.tun.ifindex, &address, &b.fault), 0);
	struct netlink_route route = {
		.destination = prefix_of("10.42.0.0/16"),
		.ifindex = b.tun.ifindex,
		.table = NETLINK_TABLE_MAIN,
		.metric = 1,
		.protocol = 4,
	};
	cr_assert_eq(netlink_route_add(b.netlink, &route, &b.fault), 0);
	(void)loop_turn(loop, false);
	cr_assert_eq(seen.changes, 0);

	/* The kernel's notices stand in the socket when the request's answer comes: no waiting. */
	cr_assert_eq(netlink_link_set_up(b.netlink, other.ifindex, true, &b.fault), 0);
	(void)loop_turn(loop, false);
	cr_assert_eq(seen.changes, 1);
	address = prefix_of("10.10.0.1/24");
	cr_assert_eq(netlink_address_add(b.netlink, other.ifindex, &address, &b.fault), 0);
	(void)loop_turn(loop, false);
	cr_assert_eq(seen.changes, 2);
	route.ifindex = other.ifindex;
	route.protocol = NETLINK_PROTOCOL;
	route.metric = 2;
	cr_assert_eq(netlink_route_add(b.netlink, &route, &b.fault), 0);
	(void)loop_turn(loop, false);
	cr_assert_eq(seen.changes, 2);
	route.protocol = 4;
	route.metric = 3;
	cr_assert_eq(netlink_route_add(b.netlink, &route, &b.fault), 0);
	(void)loop_turn(loop, false);
	cr_assert_eq(seen.changes, 3);

	/* What is own is missed when it goes, whoever took it. */
	cr_assert_eq(seen.losses, 0);
	route.protocol = NETLINK_PROTOCOL;
	route.metric = 2;
	cr_assert_eq(netlink_route_remove(b.netlink, &route, &b.fault), 0);
	(void)loop_turn(loop, false);
	cr_assert_eq(seen.losses, 1);
	address = prefix_of("10.10.0.1/24");
	cr_assert_eq(netlink_address_remove(b.netlink, other.ifindex, &address, &b.fault), 0);
	(void)loop_turn(loop, false);
	cr_assert_eq(seen.losses, 1);
	address = prefix_of("10.9.0.1/24");
	cr_assert_eq(netlink_address_remove(b.netlink, b.tun.ifindex, &address, &b.fault), 0);
	(void)loop_turn(loop, false);
	cr_assert_eq(seen.losses, 2);
	tun_close(&other);
	(void)loop_turn(loop, true);
	cr_assert(seen.changes > 3);
	netlink_monitor_free(monitor);
	netlink_monitor_free(NULL);
	loop_free(loop);
	teardown(&b);
}

static bool owns_other(void *ctx, int ifindex)
{
	(void)ctx;
	return ifindex == (int)if_nametoindex("tn1");
}

/* Devices of peers are own ones: their carrier is no news, their addresses and rules in our place are missed. */
Test(netlink, monitor_knows_all_that_is_own)
{
	struct loop *loop = NULL;
	struct netlink_monitor *monitor = NULL;
	struct tun other = {.fd = -1};
	struct tun_options options = {.name = "tn1"};
	struct bench b;
	struct notices seen = {0};
	struct netlink_rule rule = {
		.family = 4, .protocol = 99, .priority = 31005, .table = NETLINK_TABLE_MAIN};

	setup(&b);
	const struct netlink_own own = {.ifindex = b.tun.ifindex,
		.protocol = NETLINK_PROTOCOL,
		.rule_first = 31000,
		.rule_end = 31010,
		.owns = owns_other};
	cr_assert_eq(tun_open(&other, &options, &b.fault), 0);
	cr_assert_eq(loop_new(&loop), 0);
	cr_assert_eq(netlink_monitor_new(
			     loop, &own, count_change, count_loss, &seen, &monitor, &b.fault),
		0, "%s", b.fault.text);
	cr_assert_eq(netlink_link_set_up(b.netlink, other.ifindex, true, &b.fault), 0);
	cr_assert_eq(tun_set_carrier(&other, false), 0);
	cr_assert_eq(tun_set_carrier(&other, true), 0);
	struct ip_prefix address = prefix_of("10.10.0.1/24");
	cr_assert_eq(netlink_address_add(b.netlink, other.ifindex, &address, &b.fault), 0);
	(void)loop_turn(loop, false);
	cr_assert_eq(seen.changes, 0);
	cr_assert_eq(seen.losses, 0);
	cr_assert_eq(netlink_address_remove(b.netlink, other.ifindex, &address, &b.fault), 0);
	(void)loop_turn(loop, false);
	cr_assert_eq(seen.losses, 1);
	for (rule.priority = 31009; rule.priority <= 31010; rule.priority++) {
		cr_assert_eq(netlink_rule_add(b.netlink, &rule, NULL, &b.fault), 0);
		cr_assert_eq(netlink_rule_remove(b.netlink, &rule, &b.fault), 0);
		(void)loop_turn(loop, false);
		cr_assert_eq(seen.losses, 2, "%u", rule.priority);
	}
	cr_assert_eq(seen.changes, 0);
	netlink_monitor_free(monitor);
	tun_close(&other);
	loop_free(loop);
	teardown(&b);
}

static void switch_ipv6_off(void)
{
	FILE *file = fopen("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w");

	cr_assert_not_null(file);
	cr_assert_gt(fputs("1", file), -1);
	cr_assert_eq(fclose(file), 0);
}

/* The kernel says "Permission denied". */
Test(netlink, without_ipv6)
{
	struct bench b;
	struct ip_prefix address = prefix_of("fd99::1/64");

	setup(&b);
	switch_ipv6_off();
	cr_assert_eq(netlink_address_add(b.netlink, b.tun.ifindex, &address, &b.fault),
		-EAFNOSUPPORT, "%s", b.fault.text);
	cr_assert(strstr(b.fault.hint, "disable_ipv6=0"), "%s", b.fault.hint);
	cr_assert_not(strstr(b.fault.text, "denied"), "%s", b.fault.text);
	struct netlink_route route = {
		.destination = prefix_of("fd42::/48"),
		.ifindex = b.tun.ifindex,
		.table = NETLINK_TABLE_MAIN,
		.metric = NETLINK_METRIC,
		.protocol = NETLINK_PROTOCOL,
	};
	cr_assert_eq(
		netlink_route_add(b.netlink, &route, &b.fault), -EAFNOSUPPORT, "%s", b.fault.text);
	cr_assert(strstr(b.fault.hint, "disable_ipv6=0"), "%s", b.fault.hint);
	address = prefix_of("10.9.0.1/24");
	cr_assert_eq(netlink_address_add(b.netlink, b.tun.ifindex, &address, &b.fault), 0);
	teardown(&b);
}

Test(netlink, without_the_right)
{
	struct bench b;

	setup(&b);
	cr_assert_eq(setresuid(65534, 65534, 65534), 0);
	struct ip_prefix address = prefix_of("10.9.0.1/24");
	cr_assert_eq(netlink_address_add(b.netlink, b.tun.ifindex, &address, &b.fault), -EPERM);
	cr_assert(strstr(b.fault.hint, "root"), "%s", b.fault.hint);
	/* The socket is still good. */
	cr_assert_eq(list_routes(&b, NETLINK_PROTOCOL).count, 0);
	teardown(&b);
}
