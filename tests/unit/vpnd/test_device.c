/* Each test runs in a process and a network namespace of its own. */
#include "config/config.h"
#include "core/log.h"
#include "vpnd/device.h"
#include "vpnd/fault.h"
#include "vpnd/netlink.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD                                                                             \
	"version: 1\nwire: kcp-go\nkcp_go: {key: secret, allow_unauthenticated: true}\n" \
	"interface: {name: dev0, addresses: [10.0.0.1/24, \"fd00::1/64\"]}\n"

struct bench {
	struct netlink *netlink;
	struct device device;
	struct log log;
	char warnings[2048];
	const char *unwanted; /* a peer that is down by order */
	struct fault fault;
};

static void note(void *ctx, enum log_level level, const char *text)
{
	struct bench *b = ctx;
	size_t used = strlen(b->warnings);

	(void)level;
	(void)snprintf(b->warnings + used, sizeof(b->warnings) - used, "%s\n", text);
}

static bool wanted(void *ctx, const char *peer)
{
	const struct bench *b = ctx;

	return !b->unwanted || strcmp(b->unwanted, peer) != 0;
}

static struct config *parse(const char *text)
{
	static struct config_report report;
	struct config *config = NULL;

	cr_assert_eq(config_parse_text("t.yaml", text, strlen(text), NULL, &config, &report), 0,
		"%s", report.errors[0].text);
	return config;
}

static void setup(struct bench *b)
{
	memset(b, 0, sizeof(*b));
	b->log = (struct log){note, b, LOG_LEVEL_DEBUG};
	cr_assert_eq(unshare(CLONE_NEWNET), 0, "needs root: network namespaces");
	cr_assert_eq(netlink_new(&b->netlink, &b->fault), 0);
	cr_assert_eq(device_open(&b->device, "dev0", false, 1, b->netlink, &b->log, wanted, b,
			     &b->fault),
		0, "%s", b->fault.text);
}

static void teardown(struct bench *b, const struct config *config)
{
	device_close(&b->device, config);
	netlink_free(b->netlink);
}

struct lines {
	char *items[32];
	size_t count;
};

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void see_route(void *ctx, const struct netlink_route *route)
{
	struct lines *lines = ctx;
	char text[IP_PREFIX_TEXT_BYTES], line[128];

	(void)snprintf(line, sizeof(line), "%s/%u/%u", ip_prefix_format(&route->destination, text),
		route->metric, route->table);
	cr_assert(lines->count < 32);
	lines->items[lines->count++] = strdup(line);
}

/* Own routes as "PREFIX/METRIC/TABLE", sorted, in one line. */
static const char *routes(struct bench *b, uint8_t protocol)
{
	static char text[2048];
	struct lines lines = {0};

	cr_assert_eq(netlink_route_list(b->netlink, protocol, 0, see_route, &lines, &b->fault), 0);
	qsort(lines.items, lines.count, sizeof(lines.items[0]), compare);
	text[0] = '\0';
	for (size_t i = 0; i < lines.count; i++) {
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s",
			i ? " " : "", lines.items[i]);
		free(lines.items[i]);
	}
	return text;
}

/* Addresses of dev0, sorted, in one line; link-local ones are the kernel's. */
static const char *addresses(void)
{
	static char text[1024];
	struct lines lines = {0};
	struct ifaddrs *all;

	cr_assert_eq(getifaddrs(&all), 0);
	for (const struct ifaddrs *a = all; a; a = a->ifa_next) {
		char host[64] = "";
		if (strcmp(a->ifa_name, "dev0") != 0 || !a->ifa_addr)
			continue;
		if (a->ifa_addr->sa_family == AF_INET)
			inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)a->ifa_addr)->sin_addr,
				host, sizeof(host));
		else if (a->ifa_addr->sa_family == AF_INET6)
			inet_ntop(AF_INET6,
				&((struct sockaddr_in6 *)(void *)a->ifa_addr)->sin6_addr, host,
				sizeof(host));
		if (host[0] && strncmp(host, "fe80", 4) != 0)
			lines.items[lines.count++] = strdup(host);
	}
	freeifaddrs(all);
	qsort(lines.items, lines.count, sizeof(lines.items[0]), compare);
	text[0] = '\0';
	for (size_t i = 0; i < lines.count; i++) {
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s",
			i ? " " : "", lines.items[i]);
		free(lines.items[i]);
	}
	return text;
}

static int mtu(void)
{
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	strcpy(request.ifr_name, "dev0");
	cr_assert_eq(ioctl(fd, SIOCGIFMTU, &request), 0);
	close(fd);
	return request.ifr_mtu;
}

static bool link_is_up(void)
{
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	strcpy(request.ifr_name, "dev0");
	cr_assert_eq(ioctl(fd, SIOCGIFFLAGS, &request), 0);
	close(fd);
	return request.ifr_flags & IFF_UP;
}

/* What `ip tuntap add` makes: it has room for one reader. */
static void make_persistent(const char *name)
{
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	cr_assert_geq(fd, 0);
	(void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	cr_assert_eq(ioctl(fd, TUNSETIFF, &request), 0);
	cr_assert_eq(ioctl(fd, TUNSETPERSIST, 1), 0);
	close(fd);
}

Test(device, one_that_somebody_made_is_taken_with_one_queue)
{
	struct device second;
	struct bench b;

	setup(&b);
	make_persistent("dev1");
	cr_assert_eq(device_open(&second, "dev1", true, 3, b.netlink, &b.log, wanted, &b, &b.fault),
		0, "%s", b.fault.text);
	cr_assert_eq(second.queue_count, 1);
	cr_assert_not_null(strstr(b.warnings, "one queue"), "%s", b.warnings);
	device_close(&second, NULL);
	/* One that another program uses is neither. */
	b.warnings[0] = 0;
	cr_assert_eq(
		device_open(&second, "dev0", false, 3, b.netlink, &b.log, wanted, &b, &b.fault),
		-EBUSY);
	cr_assert_str_empty(b.warnings);
	cr_assert_eq(
		device_open(&second, "dev2", false, 3, b.netlink, &b.log, wanted, &b, &b.fault), 0);
	cr_assert_eq(second.queue_count, 3);
	device_close(&second, NULL);
	teardown(&b, NULL);
}

Test(device, up_down_and_up_again)
{
	struct config *config = parse(
		HEAD "peers:\n"
		     "  a: {allowed_ips: [10.0.0.2, 10.1.0.0/16, \"fd01::/16\", \"fd00::2\"]}\n"
		     "  b: {allowed_ips: [10.2.0.0/16]}\n"
		     "  off: {enabled: false, allowed_ips: [10.3.0.0/16]}\n");
	struct bench b;

	setup(&b);
	cr_assert(!link_is_up());
	for (int round = 0; round < 2; round++) {
		for (int twice = 0; twice < 2; twice++)
			cr_assert_eq(device_up(&b.device, config, &b.fault), 0, "%s", b.fault.text);
		cr_assert(link_is_up());
		cr_assert_eq(mtu(), config->interface.mtu_bytes);
		cr_assert_str_eq(addresses(), "10.0.0.1 fd00::1");
		/* What the own prefixes cover, and peers that are off, have no routes. */
		cr_assert_str_eq(
			routes(&b, 201), "10.1.0.0/16/50/254 10.2.0.0/16/50/254 fd01::/16/50/254");
		for (int twice = 0; twice < 2; twice++)
			cr_assert_eq(device_down(&b.device, config, NULL), 0);
		cr_assert(!link_is_up());
		cr_assert_str_eq(addresses(), "");
		cr_assert_str_eq(routes(&b, 201), "");
	}
	cr_assert_str_eq(b.warnings, "");
	teardown(&b, config);
	cr_assert_eq(if_nametoindex("dev0"), 0);
	config_free(config);
}

Test(device, table_metric_and_protocol_are_as_configured)
{
	struct config *config = parse(HEAD "routes: {table: 1000, metric: 7, protocol: 99}\n"
					   "peers: {a: {allowed_ips: [10.1.0.0/16]}}\n");
	struct config *none =
		parse(HEAD "routes: {table: off}\npeers: {a: {allowed_ips: [10.1.0.0/16]}}\n");
	struct bench b;

	setup(&b);
	cr_assert_eq(device_up(&b.device, config, &b.fault), 0);
	cr_assert_str_eq(routes(&b, 99), "10.1.0.0/16/7/1000");
	cr_assert_str_eq(routes(&b, 201), "");
	device_change(&b.device, config, none, NULL, NULL);
	cr_assert_str_eq(routes(&b, 99), "");
	device_change(&b.device, none, config, NULL, NULL);
	cr_assert_str_eq(routes(&b, 99), "10.1.0.0/16/7/1000");
	teardown(&b, config);
	config_free(config);
	config_free(none);
}

Test(device, peers_that_are_down_have_no_routes)
{
	struct config *config = parse(HEAD "peers:\n  a: {allowed_ips: [10.1.0.0/16]}\n"
					   "  b: {allowed_ips: [10.2.0.0/16]}\n");
	struct bench b;

	setup(&b);
	device_peer_routes(&b.device, config, &config->peers[0], true);
	cr_assert_str_eq(routes(&b, 201), "", "not while the device is down");
	b.unwanted = "b";
	cr_assert_eq(device_up(&b.device, config, &b.fault), 0);
	cr_assert_str_eq(routes(&b, 201), "10.1.0.0/16/50/254");
	b.unwanted = NULL;
	device_peer_routes(&b.device, config, &config->peers[1], true);
	cr_assert_str_eq(routes(&b, 201), "10.1.0.0/16/50/254 10.2.0.0/16/50/254");
	device_peer_routes(&b.device, config, &config->peers[0], false);
	cr_assert_str_eq(routes(&b, 201), "10.2.0.0/16/50/254");
	teardown(&b, config);
	config_free(config);
}

Test(device, a_change_touches_what_differs)
{
	struct config *before =
		parse(HEAD "peers:\n  a: {allowed_ips: [10.1.0.0/16, 10.5.0.0/16]}\n"
			   "  b: {allowed_ips: [10.2.0.0/16]}\n"
			   "  c: {allowed_ips: [10.7.0.0/16]}\n");
	struct config *after = parse(
		"version: 1\nwire: kcp-go\nkcp_go: {key: secret, allow_unauthenticated: true, "
		"mtu: 1340}\n"
		"interface: {name: dev0, addresses: [10.9.0.1/24, \"fd00::1/64\"]}\n"
		"peers:\n  a: {allowed_ips: [10.1.0.0/16, 10.6.0.0/16]}\n"
		"  b: {enabled: false, allowed_ips: [10.2.0.0/16]}\n"
		"  d: {allowed_ips: [10.7.0.0/16]}\n"
		"  e: {allowed_ips: [10.0.0.0/24]}\n");
	struct bench b;

	setup(&b);
	cr_assert_eq(device_up(&b.device, before, &b.fault), 0);
	device_change(&b.device, before, after, NULL, NULL);
	cr_assert_str_eq(addresses(), "10.9.0.1 fd00::1");
	cr_assert_str_eq(routes(&b, 201),
		"10.0.0.0/24/50/254 10.1.0.0/16/50/254 10.6.0.0/16/50/254 10.7.0.0/16/50/254");
	cr_assert_eq(mtu(), after->interface.mtu_bytes);
	cr_assert_neq(before->interface.mtu_bytes, after->interface.mtu_bytes);
	device_change(&b.device, after, before, NULL, NULL);
	cr_assert_str_eq(addresses(), "10.0.0.1 fd00::1");
	cr_assert_str_eq(routes(&b, 201),
		"10.1.0.0/16/50/254 10.2.0.0/16/50/254 10.5.0.0/16/50/254 10.7.0.0/16/50/254");
	/* Without any IPv4 address left the kernel drops the IPv4 routes: they must come back. */
	struct config *bare = parse("version: 1\nwire: kcp-go\nkcp_go: {key: secret, "
				    "allow_unauthenticated: true}\n"
				    "interface: {name: dev0, addresses: [\"fd00::1/64\"]}\n"
				    "peers: {a: {allowed_ips: [10.1.0.0/16]}}\n");
	device_change(&b.device, before, bare, NULL, NULL);
	cr_assert_str_eq(addresses(), "fd00::1");
	cr_assert_str_eq(routes(&b, 201), "10.1.0.0/16/50/254");
	device_change(&b.device, bare, before, NULL, NULL);
	config_free(bare);
	cr_assert_str_eq(b.warnings, "");
	cr_assert_eq(device_down(&b.device, before, NULL), 0);
	device_change(&b.device, before, after, NULL, NULL);
	cr_assert_str_eq(addresses(), "", "nothing while it is down");
	teardown(&b, after);
	config_free(before);
	config_free(after);
}

/* Somebody else's route to 10.1.0.0/16. @metric  of that */
static struct config *setup_clash(struct bench *b, const char *on_clash, uint32_t metric)
{
	char text[512];
	struct netlink_route foreign = {
		.table = NETLINK_TABLE_MAIN, .metric = metric, .protocol = 4};

	(void)snprintf(text, sizeof(text),
		"%sroutes: {on_clash: %s}\npeers: {a: {allowed_ips: [10.1.0.0/16, 10.2.0.0/16]}}\n",
		HEAD, on_clash);
	setup(b);
	foreign.ifindex = (int)if_nametoindex("lo");
	cr_assert_eq(ip_prefix_parse("10.1.0.0/16", &foreign.destination), 0);
	cr_assert_eq(netlink_link_set_up(b->netlink, foreign.ifindex, true, &b->fault), 0);
	cr_assert_eq(netlink_route_add(b->netlink, &foreign, &b->fault), 0);
	return parse(text);
}

Test(device, a_clash_is_refused)
{
	static const uint32_t METRICS[] = {0, 50, 1000};

	for (size_t i = 0; i < 3; i++) {
		struct bench b;
		struct config *config = setup_clash(&b, "refuse", METRICS[i]);
		cr_assert_eq(device_up(&b.device, config, &b.fault), -EEXIST);
		cr_assert_str_eq(b.fault.code, "E-NET-9");
		cr_assert(strstr(b.fault.text, "10.1.0.0/16") && strstr(b.fault.text, "lo"), "%s",
			b.fault.text);
		cr_assert(strstr(b.fault.hint, "on_clash"));
		cr_assert_str_eq(routes(&b, 201), "");
		cr_assert_str_eq(addresses(), "", "nothing stays");
		/* what was there before a reload is no news */
		cr_assert_eq(device_check_clashes(&b.device, config, config, &b.fault), 0);
		teardown(&b, config);
		config_free(config);
	}
}

Test(device, others_routes_are_left_alone)
{
	static const uint32_t METRICS[] = {50, 1000}; /* the second one would lose */
	static const char *const THEIRS[] = {"10.1.0.0/16/50/254", "10.1.0.0/16/1000/254"};

	for (size_t i = 0; i < 2; i++) {
		struct bench b;
		struct config *config = setup_clash(&b, "prefer_local", METRICS[i]);
		cr_assert_eq(device_up(&b.device, config, &b.fault), 0, "%s", b.fault.text);
		cr_assert_str_eq(routes(&b, 201), "10.2.0.0/16/50/254");
		cr_assert_eq(device_restore(&b.device, config), 0, "nothing is missing");
		device_change(&b.device, config, config, NULL, NULL);
		cr_assert_str_eq(routes(&b, 201), "10.2.0.0/16/50/254");
		cr_assert_eq(device_down(&b.device, config, NULL), 0);
		cr_assert_str_eq(routes(&b, 4), THEIRS[i], "it is still there");
		cr_assert(strstr(b.warnings, "10.1.0.0/16 is left"), "and it is said");
		teardown(&b, config);
		config_free(config);
	}
}

Test(device, the_tunnel_comes_first)
{
	static const uint32_t METRICS[] = {0, 7, 50, 1000};
	const struct kcpvpn_endpoint remote = {.family = 4, .address = {10, 1, 2, 3}};
	struct netlink_path path;

	for (size_t i = 0; i < 4; i++) {
		struct bench b;
		struct config *config = setup_clash(&b, "prefer_tunnel", METRICS[i]);
		cr_assert_eq(netlink_path(b.netlink, &remote, 0, &path, &b.fault), 0);
		cr_assert_eq(path.ifindex, (int)if_nametoindex("lo"));
		cr_assert_eq(device_up(&b.device, config, &b.fault), 0, "%s", b.fault.text);
		cr_assert_eq(netlink_path(b.netlink, &remote, 0, &path, &b.fault), 0);
		cr_assert_eq(path.ifindex, b.device.tun.ifindex, "metric %u", METRICS[i]);
		cr_assert_eq(device_restore(&b.device, config), 0, "nothing is missing");
		cr_assert_eq(device_down(&b.device, config, NULL), 0);
		cr_assert_str_eq(routes(&b, 201), "");
		cr_assert_eq(netlink_path(b.netlink, &remote, 0, &path, &b.fault), 0);
		cr_assert_eq(path.ifindex, (int)if_nametoindex("lo"), "theirs is as it was");
		cr_assert_str_eq(b.warnings, "");
		teardown(&b, config);
		config_free(config);
	}
}

/* Theirs comes later, as a lease that is renewed, and would decide: ours goes in front of it, and stays one. */
Test(device, the_tunnel_stays_first)
{
	static const uint32_t METRICS[] = {0, 7, 50, 1000};
	const struct kcpvpn_endpoint remote = {.family = 4, .address = {10, 1, 2, 3}};
	struct netlink_path path;

	for (size_t i = 0; i < 4; i++) {
		struct bench b;
		struct config *config = setup_clash(&b, "prefer_tunnel", 2000);
		struct netlink_route theirs = {.ifindex = (int)if_nametoindex("lo"),
			.table = NETLINK_TABLE_MAIN,
			.metric = METRICS[i],
			.protocol = 16,
			.prefer = true};
		cr_assert_eq(ip_prefix_parse("10.1.0.0/16", &theirs.destination), 0);
		cr_assert_eq(device_up(&b.device, config, &b.fault), 0, "%s", b.fault.text);
		cr_assert_eq(device_keep_in_front(&b.device, config), 0, "it is");
		cr_assert_eq(netlink_route_add(b.netlink, &theirs, &b.fault), 0);
		cr_assert_eq(netlink_path(b.netlink, &remote, 0, &path, &b.fault), 0);
		cr_assert_eq(path.ifindex, theirs.ifindex, "metric %u", METRICS[i]);
		cr_assert_eq(device_keep_in_front(&b.device, config), 1);
		cr_assert_eq(netlink_path(b.netlink, &remote, 0, &path, &b.fault), 0);
		cr_assert_eq(path.ifindex, b.device.tun.ifindex, "metric %u", METRICS[i]);
		cr_assert_eq(device_keep_in_front(&b.device, config), 0);
		cr_assert_eq(device_restore(&b.device, config), 0, "nothing is missing");
		cr_assert_eq(device_down(&b.device, config, NULL), 0);
		cr_assert_str_eq(routes(&b, 201), "", "there was one of ours");
		cr_assert_str_eq(b.warnings, "");
		teardown(&b, config);
		config_free(config);
	}
}

Test(device, what_somebody_took_away_is_put_back)
{
	struct config *config =
		parse(HEAD "peers: {a: {allowed_ips: [10.1.0.0/16, 10.2.0.0/16]}}\n");
	struct bench b;

	setup(&b);
	cr_assert_eq(device_up(&b.device, config, &b.fault), 0, "%s", b.fault.text);
	cr_assert_eq(device_restore(&b.device, config), 0, "nothing is missing");
	struct netlink_route route = {.ifindex = b.device.tun.ifindex,
		.table = NETLINK_TABLE_MAIN,
		.metric = 50,
		.protocol = 201};
	cr_assert_eq(ip_prefix_parse("10.2.0.0/16", &route.destination), 0);
	cr_assert_eq(netlink_route_remove(b.netlink, &route, &b.fault), 0);
	cr_assert_eq(netlink_address_remove(b.netlink, b.device.tun.ifindex,
			     &config->interface.addresses.items[0], &b.fault),
		0);
	cr_assert_geq(device_restore(&b.device, config), 2);
	cr_assert_str_eq(routes(&b, 201), "10.1.0.0/16/50/254 10.2.0.0/16/50/254");
	cr_assert_eq(device_restore(&b.device, config), 0, "all is there again");
	cr_assert_eq(device_down(&b.device, config, NULL), 0);
	cr_assert_eq(device_restore(&b.device, config), 0, "nothing is wanted while it is down");
	teardown(&b, config);
	config_free(config);
}

/* Changes that come to nobody; one that answers for its own reasons besides. */
static int unheard_up(void *ctx, int ifindex, bool up, struct fault *fault)
{
	(void)ifindex, (void)up;
	return fault_set(fault, *(int *)ctx, "E-TEST-1", NULL, "nobody is there");
}

static int unheard_mtu(void *ctx, int ifindex, uint32_t mtu_bytes, struct fault *fault)
{
	(void)mtu_bytes;
	return unheard_up(ctx, ifindex, true, fault);
}

static int unheard_address(
	void *ctx, int ifindex, const struct ip_prefix *address, bool add, struct fault *fault)
{
	(void)address, (void)add;
	return unheard_up(ctx, ifindex, true, fault);
}

static int unheard_route(void *ctx, const struct netlink_route *route, enum host_route_verb verb,
	struct fault *fault)
{
	(void)route, (void)verb;
	return unheard_up(ctx, 0, true, fault);
}

static int lines_of(const char *text)
{
	int count = 0;

	while ((text = strchr(text, '\n')) != NULL) {
		text++;
		count++;
	}
	return count;
}

static int unheard_peer(void *ctx, int ifindex, const struct ip_prefix *address,
	const struct ip_prefix *far, struct fault *fault)
{
	(void)address, (void)far;
	return unheard_up(ctx, ifindex, true, fault);
}

static const struct host_net_ops UNHEARD = {
	unheard_up, unheard_mtu, unheard_address, unheard_route, unheard_peer};

Test(device, that_nobody_makes_changes_is_said_once)
{
	static const int ERRORS[] = {-EPIPE, -ETIMEDOUT};
	struct config *config =
		parse(HEAD "peers: {a: {allowed_ips: [10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16]}}\n");
	struct bench b;
	int error;

	setup(&b);
	struct host_net direct = b.device.host;
	for (size_t i = 0; i < 2; i++) {
		error = ERRORS[i];
		b.warnings[0] = '\0';
		cr_assert_eq(device_up(&b.device, config, &b.fault), 0, "%s", b.fault.text);
		cr_assert_str_eq(b.warnings, "");
		b.device.host = (struct host_net){&UNHEARD, &error};
		device_peer_routes(&b.device, config, &config->peers[0], false);
		cr_assert_eq(device_down(&b.device, config, &b.fault), error);
		cr_assert_eq(lines_of(b.warnings), 1, "%s", b.warnings);
		cr_assert(strstr(b.warnings, "nobody is there"));
		b.device.host = direct; /* it is back, and what it says counts again */
	}
	error = -EPERM;
	b.warnings[0] = '\0';
	cr_assert_eq(device_up(&b.device, config, &b.fault), 0, "%s", b.fault.text);
	b.device.host = (struct host_net){&UNHEARD, &error};
	device_peer_routes(&b.device, config, &config->peers[0], false);
	cr_assert_eq(lines_of(b.warnings), 3, "each refusal has a reason of its own");
	b.device.host = direct;
	teardown(&b, config);
	config_free(config);
}

/* What stays on the host sends traffic into a tunnel that is down: that is told, and done again. */
Test(device, a_down_that_fails_is_told_and_done_again)
{
	struct config *config = parse(HEAD "peers:\n  a: {allowed_ips: [10.1.0.0/16]}\n"
					   "  b: {allowed_ips: [10.2.0.0/16, \"fd02::/16\"]}\n");
	int error = -ETIMEDOUT;
	struct bench b;

	setup(&b);
	struct host_net direct = b.device.host, unheard = {&UNHEARD, &error};
	cr_assert_eq(device_up(&b.device, config, &b.fault), 0, "%s", b.fault.text);
	for (int how = 0; how < 3; how++) {
		b.device.host = unheard;
		for (int twice = 0; twice < 2; twice++) {
			b.fault.code[0] = '\0';
			cr_assert_eq(device_down(&b.device, config, &b.fault), error);
			cr_assert_str_eq(b.fault.code, "E-TEST-1");
			cr_assert(!b.device.up && b.device.unclean);
		}
		cr_assert(link_is_up());
		b.device.host = direct;
		if (how == 0)
			cr_assert_eq(device_repair(&b.device, config, &b.fault), 0);
		else if (how == 1)
			cr_assert_eq(device_down(&b.device, config, &b.fault), 0);
		else
			device_change(&b.device, config, config, NULL, NULL);
		cr_assert(!link_is_up() && !b.device.unclean);
		cr_assert_str_eq(addresses(), "");
		cr_assert_str_eq(routes(&b, 201), "");
		cr_assert_eq(device_repair(&b.device, config, &b.fault), 0, "nothing to do");
		cr_assert_eq(device_up(&b.device, config, &b.fault), 0, "%s", b.fault.text);
	}
	/* up again while what was left over is not gone: it is wanted now, and stays */
	b.device.host = unheard;
	cr_assert_eq(device_down(&b.device, config, NULL), error);
	b.device.host = direct;
	cr_assert_eq(device_up(&b.device, config, &b.fault), 0, "%s", b.fault.text);
	cr_assert_eq(device_repair(&b.device, config, &b.fault), 0);
	cr_assert_str_eq(addresses(), "10.0.0.1 fd00::1");
	cr_assert_str_eq(routes(&b, 201), "10.1.0.0/16/50/254 10.2.0.0/16/50/254 fd02::/16/50/254");
	/* an `up` that failed may have been done late */
	cr_assert_eq(device_down(&b.device, config, NULL), 0);
	b.device.host = unheard;
	cr_assert_eq(device_up(&b.device, config, &b.fault), error);
	cr_assert(b.device.unclean);
	b.device.host = direct;
	cr_assert_eq(device_repair(&b.device, config, &b.fault), 0);
	cr_assert(!b.device.unclean);
	config->interface.addresses.count = 0;
	b.device.host = unheard;
	cr_assert_eq(device_up(&b.device, config, &b.fault), error);
	cr_assert(b.device.unclean, "the link may come up late");
	config->interface.addresses.count = 2;
	b.device.host = direct;
	teardown(&b, config);
	config_free(config);
}

Test(device, routes_of_peers_that_fail_are_done_again)
{
	struct config *config = parse(HEAD "peers:\n  a: {allowed_ips: [10.1.0.0/16]}\n"
					   "  b: {allowed_ips: [10.2.0.0/16]}\n");
	int error = -EPIPE;
	struct bench b;

	setup(&b);
	struct host_net direct = b.device.host, unheard = {&UNHEARD, &error};
	cr_assert_eq(device_up(&b.device, config, &b.fault), 0, "%s", b.fault.text);
	b.device.host = unheard;
	/* over and over: what is to be done does not pile up */
	for (int i = 0; i < 1000; i++) {
		b.unwanted = NULL;
		device_peer_routes(&b.device, config, &config->peers[1], true);
		b.unwanted = "b";
		device_peer_routes(&b.device, config, &config->peers[1], false);
	}
	cr_assert_leq(b.device.left.route_room, 16);
	cr_assert_eq(device_repair(&b.device, config, &b.fault), error);
	cr_assert_str_eq(routes(&b, 201), "10.1.0.0/16/50/254 10.2.0.0/16/50/254");
	b.device.host = direct;
	cr_assert_eq(device_repair(&b.device, config, &b.fault), 0);
	cr_assert_str_eq(routes(&b, 201), "10.1.0.0/16/50/254", "b is down");
	/* the other way round */
	b.device.host = unheard;
	b.unwanted = NULL;
	device_peer_routes(&b.device, config, &config->peers[1], true);
	cr_assert(b.device.unclean);
	b.device.host = direct;
	cr_assert_eq(device_repair(&b.device, config, &b.fault), 0);
	cr_assert_str_eq(routes(&b, 201), "10.1.0.0/16/50/254 10.2.0.0/16/50/254");
	/* left over, and wanted again before it could go */
	b.device.host = unheard;
	device_peer_routes(&b.device, config, &config->peers[1], false);
	b.device.host = direct;
	cr_assert_eq(device_repair(&b.device, config, &b.fault), 0);
	cr_assert_str_eq(routes(&b, 201), "10.1.0.0/16/50/254 10.2.0.0/16/50/254");
	teardown(&b, config);
	config_free(config);
}

static void hear(void *ctx, const struct fault *fault)
{
	(void)snprintf(ctx, FAULT_TEXT_BYTES, "%s", fault->text);
}

Test(device, a_change_that_fails_is_told_and_done_again)
{
	struct config *before = parse(HEAD "peers: {a: {allowed_ips: [10.1.0.0/16]}}\n");
	struct config *after = parse(
		"version: 1\nwire: kcp-go\nkcp_go: {key: secret, allow_unauthenticated: true, "
		"mtu: 1340}\n"
		"interface: {name: dev0, addresses: [10.9.0.1/24]}\n"
		"routes: {protocol: 77}\npeers: {a: {allowed_ips: [10.1.0.0/16]}}\n");
	char heard[FAULT_TEXT_BYTES] = "";
	int error = -ETIMEDOUT;
	struct bench b;

	setup(&b);
	struct host_net direct = b.device.host;
	cr_assert_eq(device_up(&b.device, before, &b.fault), 0, "%s", b.fault.text);
	b.device.host = (struct host_net){&UNHEARD, &error};
	device_change(&b.device, before, after, hear, heard);
	cr_assert_str_eq(heard, "nobody is there");
	cr_assert_str_eq(addresses(), "10.0.0.1 fd00::1");
	b.device.host = direct;
	cr_assert_eq(device_repair(&b.device, after, &b.fault), 0, "%s", b.fault.text);
	cr_assert_str_eq(addresses(), "10.9.0.1");
	cr_assert_str_eq(routes(&b, 201), "", "those of the settings before");
	cr_assert_str_eq(routes(&b, 77), "10.1.0.0/16/50/254");
	cr_assert_eq(mtu(), after->interface.mtu_bytes);
	/* one that was refused for its own sake is told, and not asked for again */
	error = -EPERM;
	b.device.host = (struct host_net){&UNHEARD, &error};
	heard[0] = '\0';
	device_change(&b.device, after, after, hear, heard);
	cr_assert_str_eq(heard, "nobody is there");
	cr_assert(!b.device.unclean);
	b.device.host = direct;
	teardown(&b, after);
	config_free(before);
	config_free(after);
}

Test(device, a_change_puts_back_what_somebody_took_away)
{
	struct config *config = parse(HEAD "peers: {a: {allowed_ips: [10.1.0.0/16]}}\n");
	struct ip_prefix own;
	struct bench b;

	setup(&b);
	cr_assert_eq(device_up(&b.device, config, &b.fault), 0, "%s", b.fault.text);
	cr_assert_eq(ip_prefix_parse("10.0.0.1/24", &own), 0);
	cr_assert_eq(netlink_address_remove(b.netlink, b.device.tun.ifindex, &own, &b.fault), 0);
	cr_assert_str_eq(addresses(), "fd00::1");
	cr_assert_str_eq(routes(&b, 201), "", "with the last IPv4 address the kernel drops them");
	device_change(&b.device, config, config, NULL, NULL);
	cr_assert_str_eq(addresses(), "10.0.0.1 fd00::1");
	cr_assert_str_eq(routes(&b, 201), "10.1.0.0/16/50/254");
	cr_assert_str_eq(b.warnings, "");
	teardown(&b, config);
	config_free(config);
}

Test(device, all_or_nothing)
{
	struct config *config = parse(HEAD "peers: {a: {allowed_ips: [10.1.0.0/16]}}\n");
	struct bench b;

	setup(&b);
	config->interface.mtu_bytes = 1000; /* too small for IPv6: adding fd00::1 fails */
	cr_assert(device_up(&b.device, config, &b.fault) < 0);
	cr_assert(b.fault.text[0]);
	cr_assert(!b.device.up && !link_is_up());
	cr_assert_str_eq(addresses(), "");
	cr_assert_str_eq(routes(&b, 201), "");
	config->interface.mtu_bytes = 1300;
	cr_assert_eq(device_up(&b.device, config, &b.fault), 0, "%s", b.fault.text);
	cr_assert_str_eq(addresses(), "10.0.0.1 fd00::1");
	teardown(&b, config);
	config_free(config);
}
