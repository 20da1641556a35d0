/* Each test runs in a process and a network namespace of its own, with only the loopback interface. */
#include "vpnd/fault.h"
#include "vpnd/netlink.h"
#include "vpnd/resolver.h"
#include "vpnd/udp_socket.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct bench {
	struct udp_batch *batch;
	struct netlink *netlink;
	struct fault fault;
	struct udp_socket a;
	struct udp_socket b;
};

static struct kcpvpn_endpoint endpoint_of(const char *text)
{
	struct kcpvpn_endpoint endpoint;
	cr_assert_eq(resolver_parse_numeric(text, &endpoint), 0, "%s", text);
	return endpoint;
}

static void setup(struct bench *bench)
{
	*bench = (struct bench){0};
	cr_assert_eq(unshare(CLONE_NEWNET), 0, "needs root: network namespaces");
	cr_assert_eq(netlink_new(&bench->netlink, NULL), 0);
	cr_assert_eq(netlink_link_set_up(bench->netlink, 1, true, NULL), 0);
	bench->batch = udp_batch_new(UDP_DATAGRAM_BYTES);
}

static void teardown(struct bench *bench)
{
	udp_socket_close(&bench->a);
	udp_socket_close(&bench->b);
	udp_socket_close(&bench->b);
	udp_batch_free(bench->batch);
	netlink_free(bench->netlink);
}

static void add_address(struct bench *bench, const char *text)
{
	struct ip_prefix address;
	cr_assert_eq(ip_prefix_parse(text, &address), 0);
	cr_assert_eq(netlink_address_add(bench->netlink, 1, &address, &bench->fault), 0, "%s",
		bench->fault.text);
}

static void open_at(
	struct bench *bench, struct udp_socket *socket, const char *local, const char *remote)
{
	struct udp_socket_options options;
	udp_socket_options_init(&options);
	if (local)
		options.local = endpoint_of(local);
	if (remote)
		options.remote = endpoint_of(remote);
	cr_assert_eq(udp_socket_open(socket, &options, bench->batch, &bench->fault), 0, "%s",
		bench->fault.text);
}

static void send_one(struct udp_socket *socket, const struct kcpvpn_endpoint *remote,
	const struct kcpvpn_endpoint *local, const char *text)
{
	struct kcpvpn_datagram datagram = {
		.remote = *remote,
		.data = (uint8_t *)(uintptr_t)text,
		.len = strlen(text),
	};
	if (local)
		datagram.local = *local;
	socket->kcpvpn.send(socket->kcpvpn.ctx, &datagram, 1);
}

static void wait_for(const struct udp_socket *socket)
{
	struct pollfd ready = {.fd = socket->fd, .events = POLLIN};
	cr_assert_eq(poll(&ready, 1, 5000), 1);
}

/* A new IPv6 address receives only once the kernel's worker has put its route in: asks until the question arrives. */
static void ask_until_heard(struct bench *bench, const struct kcpvpn_endpoint *server)
{
	struct pollfd ready = {.fd = bench->a.fd, .events = POLLIN};
	int tries = 0;

	do
		send_one(&bench->b, server, NULL, "question");
	while (poll(&ready, 1, 100) == 0 && ++tries < 50);
}

/* The next datagram, which must be `text`. */
static struct kcpvpn_datagram receive_one(struct udp_socket *socket, const char *text)
{
	const struct kcpvpn_datagram *got;
	wait_for(socket);
	cr_assert_eq(udp_socket_receive(socket, &got), 1);
	cr_assert_eq(got->len, strlen(text));
	cr_assert_eq(memcmp(got->data, text, got->len), 0);
	return *got;
}

Test(udp_socket, serves_both_families_and_answers_from_the_address_asked)
{
	static const char *const locals[] = {"127.0.0.1:0", "[::1]:0"};
	static const char *const servers[] = {"127.0.0.77", "fd97::2"};
	struct bench bench;
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];

	setup(&bench);
	add_address(&bench, "fd97::1/64");
	add_address(&bench, "fd97::2/64");
	open_at(&bench, &bench.a, "[::]:4000", NULL);
	cr_assert_eq(bench.a.port, 4000);
	cr_assert(!bench.a.ipv4_only);
	for (int i = 0; i < 2; i++) {
		struct kcpvpn_endpoint server =
			endpoint_of(i ? "[fd97::2]:4000" : "127.0.0.77:4000");
		open_at(&bench, &bench.b, locals[i], NULL);
		cr_assert_neq(bench.b.port, 0);
		ask_until_heard(&bench, &server);
		struct kcpvpn_datagram got = receive_one(&bench.a, "question");
		cr_assert_eq(got.remote.family, i ? 6 : 4, "IPv4 is never mapped");
		cr_assert_eq(got.remote.port, bench.b.port);
		cr_assert(kcpvpn_endpoint_equal(&got.local, &server), "%s",
			kcpvpn_endpoint_format(&got.local, text));
		send_one(&bench.a, &got.remote, &got.local, "answer");
		got = receive_one(&bench.b, "answer");
		cr_assert(kcpvpn_endpoint_equal(&got.remote, &server), "%s for %s",
			kcpvpn_endpoint_format(&got.remote, text), servers[i]);
		udp_socket_close(&bench.b);
	}
	cr_assert_eq(bench.a.counters.rx_datagrams, 2);
	cr_assert_eq(bench.a.counters.rx_bytes, 16);
	cr_assert_eq(bench.a.counters.tx_datagrams, 2);
	cr_assert_eq(bench.a.counters.tx_bytes, 12);
	teardown(&bench);
}

Test(udp_socket, an_own_address_that_is_gone_is_replaced)
{
	struct bench bench;

	setup(&bench);
	open_at(&bench, &bench.a, "[::]:0", NULL);
	open_at(&bench, &bench.b, "0.0.0.0:4001", NULL);
	struct kcpvpn_endpoint remote = endpoint_of("127.0.0.1:4001");
	struct kcpvpn_endpoint gone = endpoint_of("203.0.113.5:4000");
	send_one(&bench.a, &remote, &gone, "hello");
	struct kcpvpn_datagram got = receive_one(&bench.b, "hello");
	cr_assert_eq(got.remote.address[0], 127);
	gone = endpoint_of("[fd00:dead::1]:4000");
	send_one(&bench.a, &remote, &gone, "of the other family");
	(void)receive_one(&bench.b, "of the other family");
	/* An IPv4 socket, too. */
	gone = endpoint_of("203.0.113.5:4000");
	send_one(&bench.b, &got.remote, &gone, "back");
	(void)receive_one(&bench.a, "back");
	cr_assert_eq(bench.a.counters.tx_errors[UDP_ERROR_ADDRESS], 0);
	teardown(&bench);
}

Test(udp_socket, moves_whole_batches)
{
	struct bench bench;
	uint8_t bytes[KCPVPN_BATCH_MAX][KCPVPN_BATCH_MAX];
	struct kcpvpn_datagram batch[KCPVPN_BATCH_MAX] = {0};
	const struct kcpvpn_datagram *got;

	setup(&bench);
	open_at(&bench, &bench.a, "127.0.0.1:4000", NULL);
	open_at(&bench, &bench.b, NULL, "127.0.0.1:4000");
	cr_assert(bench.b.connected && !bench.b.v6);
	for (size_t i = 0; i < KCPVPN_BATCH_MAX; i++) {
		memset(bytes[i], (int)i, sizeof(bytes[i]));
		batch[i].data = bytes[i];
		batch[i].len = i + 1;
	}
	udp_socket_send(&bench.b, batch, KCPVPN_BATCH_MAX);
	udp_socket_send(&bench.b, batch, 3);
	udp_socket_send(&bench.b, batch, 0);
	cr_assert_eq(bench.b.counters.tx_datagrams, KCPVPN_BATCH_MAX + 3);
	wait_for(&bench.a);
	for (size_t n = 0; n < KCPVPN_BATCH_MAX + 3;) {
		size_t count = udp_socket_receive(&bench.a, &got);
		cr_assert(count > 0 && count <= KCPVPN_BATCH_MAX);
		for (size_t i = 0; i < count; i++, n++) {
			size_t from = n % KCPVPN_BATCH_MAX;
			cr_assert_eq(got[i].len, from + 1);
			cr_assert_eq(memcmp(got[i].data, bytes[from], from + 1), 0);
			cr_assert_eq(got[i].local.port, 4000);
		}
		cr_assert(n == KCPVPN_BATCH_MAX + 3 || udp_socket_more(&bench.a));
	}
	cr_assert_eq(udp_socket_receive(&bench.a, &got), 0);
	cr_assert(!udp_socket_more(&bench.a));
	for (int i = 0; i < UDP_ERRORS; i++)
		cr_assert_eq(bench.a.counters.rx_errors[i], 0);
	teardown(&bench);
}

/* Of each datagram, whatever the family, the socket and the run it is in: what is sent is what comes. */
static void tos_crosses(const char *from, const char *to, const char *at)
{
	static const uint8_t tos[] = {0, 46 << 2, 46 << 2 | 2, 2, 2, 3, 0};
	struct kcpvpn_endpoint place = endpoint_of(at);
	struct kcpvpn_datagram batch[sizeof(tos)] = {0};
	uint8_t bytes[sizeof(tos)][100] = {{0}};
	const struct kcpvpn_datagram *got;
	struct bench bench;
	size_t seen = 0;

	setup(&bench);
	open_at(&bench, &bench.a, to, NULL);
	open_at(&bench, &bench.b, from, from ? NULL : at);
	udp_batch_set_runs(bench.batch, true);
	for (size_t i = 0; i < sizeof(tos); i++) {
		bytes[i][0] = (uint8_t)i;
		batch[i] = (struct kcpvpn_datagram){
			.remote = place, .data = bytes[i], .len = sizeof(bytes[i]), .tos = tos[i]};
	}
	udp_socket_send(&bench.b, batch, sizeof(tos));
	while (seen < sizeof(tos)) {
		wait_for(&bench.a);
		size_t count = udp_socket_receive(&bench.a, &got);
		for (size_t i = 0; i < count; i++) {
			cr_assert_eq(got[i].data[0], seen);
			cr_assert_eq(got[i].tos, tos[seen], "%zu: %u", seen, got[i].tos);
			seen++;
		}
	}
	teardown(&bench);
}

Test(udp_socket, dscp_and_ecn_are_each_datagrams_own)
{
	tos_crosses("127.0.0.1:0", "127.0.0.1:4000", "127.0.0.1:4000");
	tos_crosses("[::1]:0", "[::1]:4000", "[::1]:4000");
	tos_crosses("[::]:0", "[::]:4000", "127.0.0.1:4000");
	tos_crosses("[::]:0", "[::]:4000", "[::1]:4000");
	tos_crosses(NULL, "127.0.0.1:4000", "127.0.0.1:4000");
	tos_crosses(NULL, "[::1]:4000", "[::1]:4000");
}

Test(udp_socket, longer_than_the_buffer_is_dropped)
{
	static uint8_t big[UDP_DATAGRAM_BYTES + 1];
	struct kcpvpn_datagram batch[3] = {{.data = big, .len = sizeof(big)},
		{.data = big, .len = UDP_DATAGRAM_BYTES}, {.data = big, .len = 0}};
	const struct kcpvpn_datagram *got;
	struct bench bench;

	setup(&bench);
	open_at(&bench, &bench.a, "127.0.0.1:4000", NULL);
	open_at(&bench, &bench.b, NULL, "127.0.0.1:4000");
	udp_socket_send(&bench.b, batch, 3);
	wait_for(&bench.a);
	cr_assert_eq(udp_socket_receive(&bench.a, &got), 2);
	cr_assert_eq(got[0].len, UDP_DATAGRAM_BYTES);
	cr_assert_eq(got[1].len, 0);
	cr_assert_eq(bench.a.counters.rx_cut, 1);
	teardown(&bench);
}

Test(udp_socket, refusals_are_counted_and_the_rest_goes_on)
{
	static uint8_t huge[66000];
	const struct kcpvpn_datagram *got;
	struct bench bench;

	setup(&bench);
	open_at(&bench, &bench.a, "127.0.0.1:4000", NULL);
	open_at(&bench, &bench.b, NULL, NULL);
	struct kcpvpn_endpoint good = endpoint_of("127.0.0.1:4000");
	struct kcpvpn_datagram batch[6] = {
		{.remote = good, .data = huge, .len = 5},
		{.remote = good, .data = huge, .len = sizeof(huge)},		/* too big */
		{.remote = endpoint_of("192.0.2.1:9"), .data = huge, .len = 5}, /* no route */
		{.data = huge, .len = 5},					/* nowhere */
		{.remote = endpoint_of("255.255.255.255:9"),
			.data = huge,
			.len = 5}, /* not allowed */
		{.remote = good, .data = huge, .len = 7},
	};
	udp_socket_send(&bench.b, batch, 6);
	wait_for(&bench.a);
	cr_assert_eq(udp_socket_receive(&bench.a, &got), 2);
	cr_assert_eq(got[0].len, 5);
	cr_assert_eq(got[1].len, 7);
	cr_assert_eq(bench.b.counters.tx_datagrams, 2);
	cr_assert_eq(bench.b.counters.tx_errors[UDP_ERROR_TOO_BIG], 1);
	cr_assert(bench.b.counters.tx_errors[UDP_ERROR_UNREACHABLE] >= 1);
	uint64_t lost = 0;
	for (int i = 0; i < UDP_ERRORS; i++)
		lost += bench.b.counters.tx_errors[i];
	cr_assert_eq(lost, 4);
	/* An IPv6 destination on an IPv4 socket. */
	batch[0].remote = endpoint_of("[::1]:4000");
	udp_socket_send(&bench.a, batch, 1);
	cr_assert_eq(bench.a.counters.tx_errors[UDP_ERROR_ADDRESS], 1);
	teardown(&bench);
}

Test(udp_socket, an_icmp_error_costs_no_datagram)
{
	struct bench bench;
	const struct kcpvpn_datagram *got;
	struct kcpvpn_endpoint nobody = {0};

	setup(&bench);
	open_at(&bench, &bench.b, NULL, "127.0.0.1:4000");
	send_one(&bench.b, &nobody, NULL,
		"lost"); /* port unreachable comes back at once on loopback */
	cr_assert_eq(udp_socket_receive(&bench.b, &got), 0);
	cr_assert_eq(bench.b.counters.rx_errors[UDP_ERROR_REFUSED], 1);
	send_one(&bench.b, &nobody, NULL, "lost");
	open_at(&bench, &bench.a, "127.0.0.1:4000", NULL);
	send_one(&bench.b, &nobody, NULL, "arrives");
	(void)receive_one(&bench.a, "arrives");
	cr_assert_eq(bench.b.counters.rx_errors[UDP_ERROR_REFUSED], 2);
	cr_assert_eq(bench.b.counters.tx_errors[UDP_ERROR_REFUSED], 0);
	cr_assert_eq(bench.b.counters.tx_datagrams, 3);
	teardown(&bench);
}

Test(udp_socket, a_full_send_buffer_drops_and_counts)
{
	static uint8_t bytes[1400];
	struct kcpvpn_datagram batch[KCPVPN_BATCH_MAX] = {0};
	struct bench bench;
	int least = 1;

	setup(&bench);
	open_at(&bench, &bench.b, NULL, "127.0.0.1:4000");
	open_at(&bench, &bench.a, "127.0.0.1:4000", NULL);
	/* On loopback the receiver's full buffer is a silent loss; a tiny send buffer is refused at once. */
	setsockopt(bench.b.fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
	for (size_t i = 0; i < KCPVPN_BATCH_MAX; i++)
		batch[i] = (struct kcpvpn_datagram){.data = bytes, .len = sizeof(bytes)};
	for (int i = 0; i < 10; i++)
		udp_socket_send(&bench.b, batch, KCPVPN_BATCH_MAX);
	uint64_t total = bench.b.counters.tx_datagrams;
	for (int i = 0; i < UDP_ERRORS; i++)
		total += bench.b.counters.tx_errors[i];
	cr_assert_eq(total, 10 * KCPVPN_BATCH_MAX, "every datagram is accounted for");
	teardown(&bench);
}

Test(udp_socket, faults_say_what_and_why)
{
	struct udp_socket_options options;
	struct bench bench;

	setup(&bench);
	udp_socket_options_init(&options);
	open_at(&bench, &bench.a, "[::]:4000", NULL);
	options.local.port = 4000;
	cr_assert_eq(udp_socket_open(&bench.b, &options, bench.batch, &bench.fault), -EADDRINUSE);
	cr_assert_str_eq(
		bench.fault.text, "cannot listen on [::]:4000: another program uses the port");
	cr_assert_str_eq(bench.fault.code, "E-UDP-1");
	cr_assert_eq(bench.b.fd, -1);
	options.local = endpoint_of("192.0.2.1:4000");
	cr_assert_eq(
		udp_socket_open(&bench.b, &options, bench.batch, &bench.fault), -EADDRNOTAVAIL);
	cr_assert_str_eq(bench.fault.code, "E-UDP-2");
	udp_socket_options_init(&options);
	options.remote = endpoint_of("192.0.2.1:4000");
	cr_assert_eq(udp_socket_open(&bench.b, &options, bench.batch, &bench.fault), -ENETUNREACH);
	cr_assert_str_eq(bench.fault.text, "cannot reach 192.0.2.1:4000: Network is unreachable");
	options.local.family = 0;
	cr_assert_eq(udp_socket_open(&bench.b, &options, bench.batch, NULL), -ENETUNREACH,
		"the remote's family decides");
	options.remote.family = 0;
	cr_assert_eq(udp_socket_open(&bench.b, &options, bench.batch, NULL), -EINVAL);
	cr_assert_eq(setresuid(65534, 65534, 65534), 0);
	udp_socket_options_init(&options);
	options.local.port = 80;
	cr_assert_eq(udp_socket_open(&bench.b, &options, bench.batch, &bench.fault), -EACCES);
	cr_assert_str_eq(bench.fault.code, "E-UDP-3");
	options.local.port = 0;
	options.fwmark = 7;
	cr_assert_eq(udp_socket_open(&bench.b, &options, bench.batch, &bench.fault), -EPERM);
	teardown(&bench);
}

static int option(const struct udp_socket *socket, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);
	cr_assert_eq(getsockopt(socket->fd, level, name, &value, &len), 0);
	return value;
}

static int refuse(
	void *ctx, const struct kcpvpn_endpoint *local, bool joins, uint32_t fwmark, int *ret_fd)
{
	(void)local, (void)joins, (void)fwmark, (void)ret_fd;
	return *(const int *)ctx;
}

/* Only who may open low ports knows what is wrong with them; this process is root, so its own try would succeed. */
Test(udp_socket, the_reason_of_who_opens_low_ports_is_passed_on)
{
	static const int MEANT[] = {-EADDRINUSE, -EADDRNOTAVAIL, -EPERM, -EAFNOSUPPORT};
	static const int NOBODY_THERE[] = {-EPIPE, -ETIMEDOUT};
	struct udp_socket_options options;
	struct bench b;
	int error;

	setup(&b);
	udp_socket_options_init(&options);
	udp_socket_set_opener(refuse, &error);
	for (size_t i = 0; i < 4; i++) {
		error = MEANT[i];
		options.local = endpoint_of("127.0.0.1:443");
		cr_assert_eq(udp_socket_open(&b.a, &options, b.batch, &b.fault), error);
		options.local.port = 1024; /* what everybody may */
		cr_assert_eq(
			udp_socket_open(&b.a, &options, b.batch, &b.fault), 0, "%s", b.fault.text);
		udp_socket_close(&b.a);
		options.local.port = 0;
		cr_assert_eq(
			udp_socket_open(&b.a, &options, b.batch, &b.fault), 0, "%s", b.fault.text);
		udp_socket_close(&b.a);
	}
	error = -EADDRINUSE;
	options.local = endpoint_of("127.0.0.1:1023");
	cr_assert_eq(udp_socket_open(&b.a, &options, b.batch, &b.fault), error);
	cr_assert_str_eq(b.fault.code, "E-UDP-1");
	for (size_t i = 0; i < 2; i++) {
		error = NOBODY_THERE[i];
		cr_assert_eq(
			udp_socket_open(&b.a, &options, b.batch, &b.fault), 0, "%s", b.fault.text);
		udp_socket_close(&b.a);
	}
	udp_socket_set_opener(NULL, NULL);
	teardown(&b);
}

Test(udp_socket, options_reach_the_socket)
{
	struct udp_socket_options options;
	struct bench bench;
	struct kcpvpn_endpoint local;

	setup(&bench);
	udp_socket_options_init(&options);
	options.fwmark = 0x1234;
	options.fragmenting = UDP_FRAGMENTING_NEVER;
	cr_assert_eq(udp_socket_open(&bench.a, &options, bench.batch, &bench.fault), 0);
	cr_assert_eq(option(&bench.a, SOL_SOCKET, SO_MARK), 0x1234);
	cr_assert_eq(option(&bench.a, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_PROBE);
	cr_assert_eq(option(&bench.a, IPPROTO_IPV6, IPV6_MTU_DISCOVER), IPV6_PMTUDISC_PROBE);
	cr_assert_eq(option(&bench.a, SOL_SOCKET, SO_RCVBUF), 2 * UDP_SOCKET_BUFFER_BYTES);
	cr_assert_eq(option(&bench.a, SOL_SOCKET, SO_SNDBUF), 2 * UDP_SOCKET_BUFFER_BYTES);
	cr_assert_eq(udp_socket_local(&bench.a, &local), 0);
	cr_assert_eq(local.port, bench.a.port);

	open_at(&bench, &bench.b, "[::1]:0", NULL);
	cr_assert_eq(option(&bench.b, IPPROTO_IPV6, IPV6_V6ONLY), 1);
	cr_assert_neq(option(&bench.b, IPPROTO_IPV6, IPV6_MTU_DISCOVER), IPV6_PMTUDISC_PROBE);
	cr_assert_eq(option(&bench.b, SOL_SOCKET, SO_MARK), 0);
	teardown(&bench);
}

Test(udp_socket, names_all_errors)
{
	for (int i = 0; i < UDP_ERROR_OTHER; i++)
		cr_assert(strcmp(udp_error_str((enum udp_error)i), "other") != 0);
}
