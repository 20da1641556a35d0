/* A group of sockets on the loopback device: who gets what, and who is let in. */
#include "vpnd/fault.h"
#include "vpnd/resolver.h"
#include "vpnd/udp_group.h"
#include "vpnd/udp_socket.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	SOCKETS_MAX = 17,
};

struct group {
	struct udp_batch *batch;
	struct udp_socket sockets[SOCKETS_MAX];
	unsigned shards;
	struct fault fault;
};

static void open_group(struct group *g, const char *local, unsigned shards)
{
	struct udp_socket_options options;

	memset(g, 0, sizeof(*g));
	g->shards = shards;
	g->batch = udp_batch_new(UDP_DATAGRAM_BYTES);
	udp_socket_options_init(&options);
	cr_assert_eq(resolver_parse_numeric(local, &options.local), 0);
	for (unsigned i = 0; i <= shards; i++) {
		cr_assert_eq(udp_socket_open(&g->sockets[i], &options, g->batch, &g->fault), 0,
			"%s", g->fault.text);
		if (i == 0)
			cr_assert_eq(udp_group_share(g->sockets[0].fd), 0);
		options.joins = true;
		options.local.port = g->sockets[0].port;
	}
	cr_assert_eq(udp_group_steer(g->sockets[0].fd, shards), 0);
}

static void close_group(struct group *g)
{
	for (unsigned i = 0; i <= g->shards; i++)
		udp_socket_close(&g->sockets[i]);
	udp_batch_free(g->batch);
}

static void send_from(int family, uint16_t port, const uint8_t *bytes, size_t len)
{
	struct sockaddr_in6 to6 = {
		.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_loopback};
	struct sockaddr_in to = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	cr_assert_geq(fd, 0);
	ssize_t sent = family == AF_INET6
			       ? sendto(fd, bytes, len, 0, (struct sockaddr *)&to6, sizeof(to6))
			       : sendto(fd, bytes, len, 0, (struct sockaddr *)&to, sizeof(to));
	cr_assert_eq(sent, (ssize_t)len);
	close(fd);
}

/* The socket that the one datagram under way comes to. */
static int receiver(struct group *g)
{
	struct pollfd fds[SOCKETS_MAX];
	const struct kcpvpn_datagram *batch;

	for (unsigned i = 0; i <= g->shards; i++)
		fds[i] = (struct pollfd){.fd = g->sockets[i].fd, .events = POLLIN};
	cr_assert_eq(poll(fds, g->shards + 1, 5000), 1);
	for (unsigned i = 0; i <= g->shards; i++) {
		if (!fds[i].revents)
			continue;
		cr_assert_leq(udp_socket_receive(&g->sockets[i], &batch), 1);
		return (int)i;
	}
	return -1;
}

static int goes_to(struct group *g, int family, const uint8_t *bytes, size_t len)
{
	send_from(family, g->sockets[0].port, bytes, len);
	return receiver(g);
}

static void check_dealing(const char *local, unsigned shards, int family)
{
	static const uint8_t others[] = {0x08, 0x09, 0x0a, 0x0b, 0x00, 0xff};
	uint8_t bytes[184] = {0x0c, 1};
	struct group g;

	open_group(&g, local, shards);
	for (unsigned low = 0; low < 256; low++) {
		unsigned shard = low & 15;
		bytes[4] = (uint8_t)low;
		/* each comes from another port, so that chance would deal them out otherwise */
		cr_assert_eq(goes_to(&g, family, bytes, 32), shard < shards ? (int)shard : 0,
			"index %#x of %u shards", low, shards);
	}
	for (size_t i = 0; i < sizeof(others); i++) {
		bytes[0] = others[i];
		cr_assert_eq(goes_to(&g, family, bytes, sizeof(bytes)), (int)shards, "type %#x",
			others[i]);
	}
	bytes[0] = 0x0c;
	bytes[4] = 1;
	for (size_t len = 0; len < 5; len++)
		cr_assert_eq(goes_to(&g, family, bytes, len), 0, "%zu bytes", len);
	close_group(&g);
}

Test(udp_group, data_goes_by_its_shard_and_the_rest_apart)
{
	check_dealing("127.0.0.1:0", 1, AF_INET);
	check_dealing("127.0.0.1:0", 2, AF_INET);
	check_dealing("[::]:0", 2, AF_INET);
	check_dealing("[::]:0", 16, AF_INET6);
}

Test(udp_group, the_host_is_asked_first)
{
	int room = 0;

	cr_assert_eq(udp_group_probe(2), 0);
	cr_assert_eq(udp_group_probe(16), 0);
	/* It leaves nothing open. */
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	for (int i = 0; i < 50; i++)
		room |= udp_group_probe(4);
	int after = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(room, 0);
	cr_assert_eq(after, fd + 1);
	close(fd);
	close(after);
}

/* The rule that is asked again of each datagram is the kernel's. */
Test(udp_group, the_rule_for_one_datagram_is_the_kernels)
{
	uint8_t bytes[32] = {0x0c, 1};
	struct group g;

	open_group(&g, "127.0.0.1:0", 3);
	for (unsigned low = 0; low < 32; low++) {
		bytes[4] = (uint8_t)low;
		cr_assert_eq(udp_group_shard(bytes, sizeof(bytes), 3),
			goes_to(&g, AF_INET, bytes, sizeof(bytes)), "index %#x", low);
	}
	cr_assert_eq(udp_group_shard(bytes, 4, 3), UDP_GROUP_NOBODY);
	bytes[0] = 0x08;
	cr_assert_eq(udp_group_shard(bytes, sizeof(bytes), 3), UDP_GROUP_REST);
	cr_assert_eq(goes_to(&g, AF_INET, bytes, sizeof(bytes)), 3);
	close_group(&g);
}

Test(udp_group, a_flood_of_handshakes_leaves_room_for_data)
{
	uint8_t init[184] = {0x08, 1}, data[1200] = {0x0c, 1};
	const struct kcpvpn_datagram *batch;
	struct group g;
	size_t got = 0, some;

	open_group(&g, "127.0.0.1:0", 1);
	for (int i = 0; i < 40000; i++) /* 30 MB as the kernel counts it */
		send_from(AF_INET, g.sockets[0].port, init, sizeof(init));
	for (int i = 0; i < 200; i++)
		send_from(AF_INET, g.sockets[0].port, data, sizeof(data));
	while ((some = udp_socket_receive(&g.sockets[0], &batch)) > 0)
		got += some;
	cr_assert_eq(got, 200);
	close_group(&g);
}

/* A second daemon must hear that the port is taken, and not get a share of what comes. */
Test(udp_group, nobody_gets_in_unasked)
{
	struct udp_socket_options options;
	struct udp_socket second = {.fd = -1};
	struct group g;

	open_group(&g, "127.0.0.1:0", 2);
	udp_socket_options_init(&options);
	cr_assert_eq(resolver_parse_numeric("127.0.0.1:0", &options.local), 0);
	options.local.port = g.sockets[0].port;
	cr_assert_eq(udp_socket_open(&second, &options, g.batch, &g.fault), -EADDRINUSE);
	close_group(&g);
}

Test(udp_group, who_is_alone_is_not_joined)
{
	struct udp_socket_options options;
	struct udp_socket first = {.fd = -1}, second = {.fd = -1};
	struct fault fault = {0};
	struct udp_batch *batch = udp_batch_new(UDP_DATAGRAM_BYTES);

	udp_socket_options_init(&options);
	cr_assert_eq(udp_socket_open(&first, &options, batch, &fault), 0);
	options.local.port = first.port;
	options.joins = true;
	cr_assert_eq(udp_socket_open(&second, &options, batch, &fault), -EADDRINUSE);
	cr_assert_lt(udp_group_steer(first.fd, 1), 0, "it is no group");
	udp_socket_close(&first);
	udp_batch_free(batch);
}
