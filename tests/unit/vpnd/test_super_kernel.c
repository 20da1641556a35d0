/*
 * The kernel as the oracle for super-packets: it makes real ones, and it judges what we make of them.
 *
 *     A  client                 B  router or server              C  server
 *     tn0, with offloads ~~~~ tn0, with offloads | tn1, plain ~~~~ tn0, plain
 *     10.9.0.1               10.9.0.2            10.10.0.1       10.10.0.2
 *
 * Each is a network namespace; ~~~~ is this program, which carries packets between the devices, each time by another
 * of the ways they can be cut, carried and put together.
 */
#include "core/super_merge.h"
#include "core/super_message.h"
#include "core/super_virtio.h"
#include "vpnd/netlink.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Debian 12's headers lack them. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

enum { TRANSFER = 3 << 20, DATAGRAM = 1000, ROOM = 70000, EXPECTED_MAX = 4096 };

enum way {
	WAY_WHOLE,  /* one message a super-packet, written as one */
	WAY_PARTS,  /* several messages, as on a slow path, each written as one */
	WAY_SINGLE, /* cut into single packets with checksums: a peer or a device without offloads */
	WAY_MERGE,  /* cut likewise, put together again before the write */
	WAY_PARTIAL, /* cut into single packets with partial checksums, put together */
	WAYS,
};

struct site {
	int ns;
	int tun;
	int ifindex;
};

struct seen {
	size_t reads;
	size_t segments;
	size_t supers;
	size_t writes;
};

struct world {
	struct site a, b, b_out, c;
	enum way way;
	int out; /* device that a merger writes to */
	bool udp_taken;
	struct super_merge merge;
	struct seen seen;
	unsigned seed;
	int idle; /* times in a row that nothing came */
	/* what the router must send on, in order: single packets, one hop older */
	bool expecting;
	uint8_t expected[EXPECTED_MAX][2048];
	size_t expected_len[EXPECTED_MAX];
	size_t expected_from, expected_to;
};

static void enter(int ns)
{
	cr_assert_eq(setns(ns, CLONE_NEWNET), 0);
}

static void set_sysctl(const char *path, const char *value)
{
	FILE *file = fopen(path, "w");
	cr_assert(file && fputs(value, file) >= 0 && fclose(file) == 0, "%s", path);
}

/* A device in the namespace we are in. */
static void open_tun(struct site *site, const char *name, bool offload, bool *ret_udp,
	const char *v4, const char *v6)
{
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	unsigned flags = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
	struct netlink *netlink = NULL;
	struct ip_prefix address;

	if (offload)
		request.ifr_flags |= IFF_VNET_HDR;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	site->ns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	site->tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	cr_assert(site->ns >= 0 && site->tun >= 0);
	cr_assert_eq(ioctl(site->tun, TUNSETIFF, &request), 0);
	if (offload) {
		*ret_udp = ioctl(site->tun, TUNSETOFFLOAD, flags | TUN_F_USO4 | TUN_F_USO6) == 0;
		if (!*ret_udp)
			cr_assert_eq(ioctl(site->tun, TUNSETOFFLOAD, flags), 0);
	}
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(ioctl(fd, SIOCGIFINDEX, &request), 0);
	site->ifindex = request.ifr_ifindex;
	close(fd);
	cr_assert_eq(netlink_new(&netlink, NULL), 0);
	cr_assert_eq(ip_prefix_parse(v4, &address), 0);
	cr_assert_eq(netlink_address_add(netlink, site->ifindex, &address, NULL), 0);
	cr_assert_eq(ip_prefix_parse(v6, &address), 0);
	cr_assert_eq(netlink_address_add(netlink, site->ifindex, &address, NULL), 0);
	cr_assert_eq(netlink_link_set_up(netlink, site->ifindex, true, NULL), 0);
	netlink_free(netlink);
}

static void add_route(const struct site *site, const char *prefix)
{
	struct netlink_route route = {.ifindex = site->ifindex,
		.table = NETLINK_TABLE_MAIN,
		.metric = 5,
		.protocol = NETLINK_PROTOCOL};
	struct netlink *netlink = NULL;

	cr_assert_eq(netlink_new(&netlink, NULL), 0);
	cr_assert_eq(ip_prefix_parse(prefix, &route.destination), 0);
	cr_assert_eq(netlink_route_add(netlink, &route, NULL), 0);
	netlink_free(netlink);
}

static void new_namespace(void)
{
	cr_assert_eq(unshare(CLONE_NEWNET), 0, "needs root: network namespaces");
}

static void write_merged(void *ctx, const struct super_packet *packet);

/* A test runs in a process of its own. */
static struct world *world_new(void)
{
	static struct world the_world;
	struct world *w = &the_world;
	bool udp = false;

	w->seed = 5;
	new_namespace();
	open_tun(&w->a, "tn0", true, &udp, "10.9.0.1/24", "fd09::1/64");
	add_route(&w->a, "10.10.0.0/24");
	add_route(&w->a, "fd10::/64");
	new_namespace();
	open_tun(&w->b, "tn0", true, &udp, "10.9.0.2/24", "fd09::2/64");
	open_tun(&w->b_out, "tn1", false, NULL, "10.10.0.1/24", "fd10::1/64");
	set_sysctl("/proc/sys/net/ipv4/ip_forward", "1");
	set_sysctl("/proc/sys/net/ipv6/conf/all/forwarding", "1");
	new_namespace();
	open_tun(&w->c, "tn0", false, NULL, "10.10.0.2/24", "fd10::2/64");
	add_route(&w->c, "10.9.0.0/24");
	add_route(&w->c, "fd09::/64");
	w->udp_taken = udp;
	cr_assert_eq(super_merge_init(&w->merge, write_merged, w, udp), 0);
	return w;
}

/* ---- the way between two devices with offloads --------------------------------------------------------------------- */

static void write_device(struct world *w, int tun, const struct virtio_net_header *header,
	const uint8_t *packet, size_t len)
{
	uint8_t bytes[VIRTIO_NET_HEADER_BYTES];
	struct iovec pieces[2] = {{bytes, sizeof(bytes)}, {(void *)(uintptr_t)packet, len}};

	virtio_net_header_write(header, bytes, sizeof(bytes));
	ssize_t put = writev(tun, pieces, 2);
	cr_assert_eq(put, (ssize_t)(len + sizeof(bytes)), "%zd: %s", put, strerror(errno));
	w->seen.writes++;
}

/* The router lowers the hop limit of what it sends on. */
static void expect_single(struct world *w, const struct super_packet *packet, uint16_t number)
{
	struct super_packet older;
	uint8_t copy[ROOM];

	if (!w->expecting)
		return;
	memcpy(copy, packet->bytes, packet->length_bytes);
	copy[packet->ip.version == 4 ? 8 : 7]--;
	cr_assert_eq(super_packet_parse(copy, packet->length_bytes, packet->kind,
			     (uint16_t)packet->segment_bytes, &older),
		SUPER_OK);
	size_t at = w->expected_to++ % EXPECTED_MAX;
	cr_assert(w->expected_to - w->expected_from <= EXPECTED_MAX);
	w->expected_len[at] = super_packet_write(&older, number, 1, true, w->expected[at]);
}

static void expect_all(struct world *w, const struct super_packet *packet)
{
	for (uint16_t i = 0; i < packet->segments; i++)
		expect_single(w, packet, i);
}

static void write_packet(struct world *w, int tun, const struct super_packet *packet)
{
	static const struct virtio_net_header none = {0};
	struct virtio_net_header header;
	uint8_t single[ROOM];

	if (super_virtio_describe(packet, w->udp_taken, &header)) {
		write_device(w, tun, &header, packet->bytes, packet->length_bytes);
		return;
	}
	for (uint16_t i = 0; i < packet->segments; i++) {
		size_t len = super_packet_write(packet, i, 1, true, single);
		write_device(w, tun, &none, single, len);
	}
}

static void write_merged(void *ctx, const struct super_packet *packet)
{
	struct world *w = ctx;
	write_packet(w, w->out, packet);
}

/* As a message and back: segments first .. first + count - 1. */
static void carry_message(
	struct world *w, int tun, const struct super_packet *packet, uint16_t first, uint16_t count)
{
	static const struct super_limits limits = {1500, 65535};
	struct super_packet got;
	uint8_t message[ROOM];
	size_t at = super_message_write_prefix(packet, count, message);
	size_t len = super_packet_write(packet, first, count, false, message + at);
	enum super_verdict verdict = super_message_parse(message, at + len, &limits, &got);

	cr_assert_eq(verdict, SUPER_OK, "%s", super_verdict_str(verdict));
	cr_assert_eq(got.segments, count);
	write_packet(w, tun, &got);
}

static void carry(struct world *w, int tun, const struct super_packet *packet)
{
	uint8_t single[ROOM];
	struct super_packet got;
	uint16_t first = 0, count;

	for (; first < packet->segments && w->way <= WAY_PARTS; first = (uint16_t)(first + count)) {
		count = super_packet_fit(packet,
			w->way == WAY_WHOLE ? 65535 : 1500 + (uint32_t)rand_r(&w->seed) % 20000);
		if (count > packet->segments - first)
			count = (uint16_t)(packet->segments - first);
		carry_message(w, tun, packet, first, count);
	}
	for (; first < packet->segments; first++) {
		bool partial = w->way == WAY_PARTIAL && packet->kind != SUPER_PACKET_PLAIN;
		size_t len = super_packet_write(packet, first, 1, !partial, single);
		cr_assert_eq(super_packet_parse(single, len,
				     partial ? SUPER_PACKET_PARTIAL : SUPER_PACKET_PLAIN, 0, &got),
			SUPER_OK);
		if (w->way == WAY_SINGLE)
			write_packet(w, tun, &got);
		else
			super_merge_push(&w->merge, &got);
	}
}

static void pump_plain(struct world *w, const struct site *from, const struct site *to)
{
	uint8_t buf[ROOM];
	struct ip_header ip;
	ssize_t n;

	while ((n = read(from->tun, buf, sizeof(buf))) > 0) {
		if (w->expecting && from == &w->b_out &&
			ip_header_parse(buf, (size_t)n, &ip) == IP_OK && ip.src_port) {
			size_t at = w->expected_from++ % EXPECTED_MAX;
			cr_assert(w->expected_from <= w->expected_to);
			cr_assert_eq(w->expected_len[at], (size_t)n);
			cr_assert_eq(memcmp(w->expected[at], buf, (size_t)n), 0,
				"the kernel cut it in another way");
		}
		cr_assert_eq(write(to->tun, buf, (size_t)n), n);
	}
}

static void pump_offload(struct world *w, const struct site *from, const struct site *to)
{
	uint8_t buf[ROOM];
	ssize_t n;

	w->out = to->tun;
	while ((n = read(from->tun, buf, sizeof(buf))) > 0) {
		struct virtio_net_header header;
		struct super_packet packet;
		size_t len = (size_t)n - VIRTIO_NET_HEADER_BYTES;
		uint8_t *bytes = buf + VIRTIO_NET_HEADER_BYTES;
		cr_assert_eq(virtio_net_header_parse(buf, VIRTIO_NET_HEADER_BYTES, len, &header),
			VIRTIO_NET_OK);
		enum super_verdict verdict = super_virtio_read(&header, bytes, len, &packet);
		cr_assert_eq(verdict, SUPER_OK, "%s", super_verdict_str(verdict));
		w->seen.reads++;
		w->seen.segments += packet.segments;
		w->seen.supers += packet.kind == SUPER_PACKET_SEGMENTED;
		if (packet.ip.src_port && from == &w->a)
			expect_all(w, &packet);
		carry(w, to->tun, &packet);
		/* what the router makes of it at once: the queue of its device is short */
		pump_plain(w, &w->b_out, &w->c);
	}
	super_merge_flush(&w->merge);
}

/* @return false if nothing came for a while */
static bool pump(struct world *w)
{
	struct pollfd fds[4] = {{w->a.tun, POLLIN, 0}, {w->b.tun, POLLIN, 0},
		{w->b_out.tun, POLLIN, 0}, {w->c.tun, POLLIN, 0}};

	int ready = poll(fds, 4, 300);
	w->idle = ready > 0 ? 0 : w->idle + 1;
	cr_assert(w->idle < 20, "nothing moves");
	pump_offload(w, &w->a, &w->b);
	pump_offload(w, &w->b, &w->a);
	pump_plain(w, &w->b_out, &w->c);
	pump_plain(w, &w->c, &w->b_out);
	return ready > 0;
}

/* ---- sockets ------------------------------------------------------------------------------------------------------- */

static uint16_t port = 7000; /* another one for each transfer: the last one may linger */

static socklen_t address(struct sockaddr_storage *at, const char *text)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)at;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)at;

	memset(at, 0, sizeof(*at));
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		return sizeof(*v4);
	}
	cr_assert_eq(inet_pton(AF_INET6, text, &v6->sin6_addr), 1);
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(port);
	return sizeof(*v6);
}

static int server_socket(const struct site *site, const char *text, int type)
{
	struct sockaddr_storage own;
	socklen_t len = address(&own, text);
	int buffer = 4 << 20;

	enter(site->ns);
	int fd = socket(own.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer));
	cr_assert_eq(bind(fd, (struct sockaddr *)&own, len), 0);
	if (type == SOCK_STREAM)
		cr_assert_eq(listen(fd, 1), 0);
	return fd;
}

static int client_socket(const struct site *site, const char *text, int type)
{
	struct sockaddr_storage peer;
	socklen_t len = address(&peer, text);

	enter(site->ns);
	int fd = socket(peer.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err = connect(fd, (struct sockaddr *)&peer, len);
	cr_assert(err == 0 || errno == EINPROGRESS, "%s", strerror(errno));
	return fd;
}

static unsigned long number_of(const char *path, const char *protocol, const char *name)
{
	char names[2048], values[2048];
	unsigned long found = 0;
	FILE *file = fopen(path, "r");

	cr_assert(file != NULL);
	while (fgets(names, sizeof(names), file) && fgets(values, sizeof(values), file)) {
		char *in_names, *in_values;
		char *a = strtok_r(names, " \n", &in_names);
		char *b = strtok_r(values, " \n", &in_values);
		for (; a && b; a = strtok_r(NULL, " \n", &in_names),
			       b = strtok_r(NULL, " \n", &in_values)) {
			if (strncmp(names, protocol, strlen(protocol)) == 0 && strcmp(a, name) == 0)
				found += strtoul(b, NULL, 10);
		}
	}
	fclose(file);
	return found;
}

static void expect_no_errors_at(const struct site *site)
{
	char line[200];

	enter(site->ns);
	cr_assert_eq(number_of("/proc/thread-self/net/snmp", "Tcp:", "InCsumErrors"), 0);
	cr_assert_eq(number_of("/proc/thread-self/net/snmp", "Udp:", "InCsumErrors"), 0);
	cr_assert_eq(number_of("/proc/thread-self/net/snmp", "Ip:", "InHdrErrors"), 0);
	FILE *file = fopen("/proc/thread-self/net/snmp6", "r");
	while (file && fgets(line, sizeof(line), file)) {
		unsigned long value = 0;
		if (sscanf(line, "Udp6InCsumErrors %lu", &value) == 1)
			cr_assert_eq(value, 0);
	}
	if (file)
		fclose(file);
}

/* Nobody met a wrong checksum; the devices are given up. */
static void world_end(struct world *w)
{
	struct site *sites[] = {&w->a, &w->b, &w->b_out, &w->c};

	for (size_t i = 0; i < 4; i++)
		expect_no_errors_at(sites[i]);
	for (size_t i = 0; i < 4; i++) {
		close(sites[i]->tun);
		close(sites[i]->ns);
	}
	super_merge_fini(&w->merge);
}

/* ---- the checks ---------------------------------------------------------------------------------------------------- */

static void transfer(struct world *w, const struct site *server, const char *text)
{
	uint8_t *data = malloc(TRANSFER), *got = malloc(TRANSFER);
	size_t sent = 0, received = 0;
	port++;
	int listener = server_socket(server, text, SOCK_STREAM);
	int client = client_socket(&w->a, text, SOCK_STREAM);
	int in = -1;

	for (size_t i = 0; i < TRANSFER; i++)
		data[i] = (uint8_t)rand_r(&w->seed);
	memset(&w->seen, 0, sizeof(w->seen));
	while (received < TRANSFER) {
		/* odd lengths, so that super-packets end short */
		size_t n = TRANSFER - sent < 123457 ? TRANSFER - sent : 123457;
		ssize_t moved = n ? send(client, data + sent, n, MSG_NOSIGNAL) : 0;
		if (moved > 0)
			sent += (size_t)moved;
		(void)pump(w);
		if (in < 0)
			in = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		while (in >= 0 && (moved = recv(in, got + received, TRANSFER - received, 0)) > 0)
			received += (size_t)moved;
	}
	cr_assert_eq(memcmp(data, got, TRANSFER), 0);
	cr_assert(w->seen.supers > 20, "%zu super-packets of %zu", w->seen.supers, w->seen.reads);
	if (w->way == WAY_MERGE || w->way == WAY_PARTIAL)
		cr_assert(w->seen.writes < w->seen.segments / 4, "%zu writes of %zu segments",
			w->seen.writes, w->seen.segments);
	if (w->way == WAY_WHOLE)
		cr_assert_eq(w->seen.writes, w->seen.reads);
	close(in);
	close(client);
	close(listener);
	free(data);
	free(got);
}

static void all_ways(const char *text)
{
	struct world *w = world_new();

	for (int way = 0; way < WAYS; way++) {
		w->way = (enum way)way;
		transfer(w, &w->b, text);
	}
	world_end(w);
}

Test(super_kernel, tcp4, .timeout = 60)
{
	all_ways("10.9.0.2");
}

Test(super_kernel, tcp6, .timeout = 60)
{
	all_ways("fd09::2");
}

/* Out of a device without offloads the kernel cuts what we gave it: as we would have cut it, byte for byte. */
static void forwarded(const char *text)
{
	struct world *w = world_new();

	for (int way = 0; way < WAYS; way++) {
		w->way = (enum way)way;
		w->expecting = true;
		transfer(w, &w->c, text);
		cr_assert(w->expected_from > 500);
	}
	world_end(w);
}

Test(super_kernel, tcp4_forwarded, .timeout = 60)
{
	forwarded("10.10.0.2");
}

Test(super_kernel, tcp6_forwarded, .timeout = 60)
{
	forwarded("fd10::2");
}

/* @return datagrams received, each whole and in order */
static size_t receive_datagrams(int fd, size_t from, const uint8_t *data)
{
	uint8_t got[2 * DATAGRAM];
	ssize_t n;

	while ((n = recv(fd, got, sizeof(got), 0)) > 0) {
		size_t want =
			from % 21 == 20 ? 77 : DATAGRAM; /* each batch ends with a short one */
		cr_assert_eq((size_t)n, want);
		cr_assert_eq(memcmp(got, data + from % 21 * DATAGRAM, want), 0);
		from++;
	}
	return from;
}

static void datagrams(const char *near, const char *far)
{
	struct world *w = world_new();
	uint8_t data[20 * DATAGRAM + 77];
	int size = DATAGRAM;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)rand_r(&w->seed);
	for (int i = 0; i < 2 * WAYS; i++) {
		const struct site *server = i % 2 ? &w->c : &w->b;
		const char *text = i % 2 ? far : near;
		size_t sent = 0, received = 0;
		port++;
		int in = server_socket(server, text, SOCK_DGRAM);
		int out = client_socket(&w->a, text, SOCK_DGRAM);
		w->way = (enum way)(i / 2);
		w->expecting = i % 2;
		memset(&w->seen, 0, sizeof(w->seen));
		cr_assert_eq(setsockopt(out, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)), 0);
		bool again = false;
		while (received < 21 * 20) {
			/*
			 * One batch at a time: nothing may be lost but the very first, which may come before the
			 * kernel has put an IPv6 address into its table.
			 */
			if (received == sent * 21 || (again && received == 0)) {
				cr_assert_eq(send(out, data, sizeof(data), 0),
					(ssize_t)sizeof(data), "%s", strerror(errno));
				sent = received / 21 + 1;
			}
			again = !pump(w);
			received = receive_datagrams(in, received, data);
		}
		if (w->udp_taken)
			cr_assert_geq(w->seen.supers, 20);
		close(in);
		close(out);
	}
	world_end(w);
}

Test(super_kernel, udp4, .timeout = 60)
{
	datagrams("10.9.0.2", "10.10.0.2");
}

Test(super_kernel, udp6, .timeout = 60)
{
	datagrams("fd09::2", "fd10::2");
}
