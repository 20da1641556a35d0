/* Runs of datagrams over the loopback interface, each test in a network namespace of its own. */
#include "vpnd/fault.h"
#include "vpnd/netlink.h"
#include "vpnd/resolver.h"
#include "vpnd/udp_socket.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
	ROOM = 9000,
	GAP = 7,
	TOLD_MAX = 64,
};

static struct netlink *netlink;
static struct udp_batch *batch;
static struct udp_socket from, to, other;
static struct kcpvpn_endpoint place;
static uint8_t bytes[KCPVPN_BATCH_MAX][ROOM];
static uint8_t memory[KCPVPN_BATCH_MAX * (ROOM + GAP)];
static size_t memory_used;
static struct kcpvpn_datagram datagrams[KCPVPN_BATCH_MAX];
static size_t told[TOLD_MAX], told_count;

static struct kcpvpn_endpoint endpoint_of(const char *text)
{
	struct kcpvpn_endpoint endpoint;

	cr_assert_eq(resolver_parse_numeric(text, &endpoint), 0, "%s", text);
	return endpoint;
}

static void too_big(void *ctx, const struct kcpvpn_datagram *datagram)
{
	(void)ctx;
	cr_assert(told_count < TOLD_MAX);
	told[told_count++] = datagram->len;
}

static void open_at(struct udp_socket *socket, const char *local)
{
	struct udp_socket_options options;
	struct fault fault = {0};

	udp_socket_options_init(&options);
	options.local = endpoint_of(local);
	options.fragmenting = UDP_FRAGMENTING_NEVER;
	options.on_too_big = too_big;
	cr_assert_eq(udp_socket_open(socket, &options, batch, &fault), 0, "%s", fault.text);
}

/* @from_at, @to_at  addresses of the two ends */
static void setup(const char *from_at, const char *to_at)
{
	cr_assert_eq(unshare(CLONE_NEWNET), 0, "needs root: network namespaces");
	cr_assert_eq(netlink_new(&netlink, NULL), 0);
	cr_assert_eq(netlink_link_set_up(netlink, 1, true, NULL), 0);
	batch = udp_batch_new(ROOM);
	udp_batch_set_runs(batch, true);
	open_at(&from, from_at);
	open_at(&to, to_at);
	place = endpoint_of(to_at);
}

static void teardown(void)
{
	udp_socket_close(&from);
	udp_socket_close(&to);
	udp_socket_close(&other);
	udp_batch_free(batch);
	netlink_free(netlink);
}

/* Datagram i of the batch: its bytes are i everywhere. Back to back in memory, with a gap in front of every fourth. */
static void put(size_t i, size_t len, const struct kcpvpn_endpoint *remote)
{
	if (i == 0)
		memory_used = 0;
	else if (i % 4 == 3)
		memory_used += GAP;
	memset(bytes[i], (int)i, len);
	memcpy(memory + memory_used, bytes[i], len);
	datagrams[i] = (struct kcpvpn_datagram){
		.remote = *remote, .data = memory + memory_used, .len = len};
	memory_used += len;
}

static void wait_for(const struct udp_socket *socket)
{
	struct pollfd ready = {.fd = socket->fd, .events = POLLIN};

	cr_assert_eq(poll(&ready, 1, 5000), 1);
}

/* All of datagrams[first ..] in their order; they are written to, as the library does. */
static void expect_all(struct udp_socket *socket, size_t first, size_t count)
{
	const struct kcpvpn_datagram *got;

	for (size_t n = first; n < first + count;) {
		if (!udp_socket_more(socket))
			wait_for(socket);
		size_t some = udp_socket_receive(socket, &got);
		cr_assert(some <= first + count - n);
		for (size_t i = 0; i < some; i++, n++) {
			cr_assert_eq(got[i].len, datagrams[n].len, "datagram %zu", n);
			cr_assert_eq(
				memcmp(got[i].data, bytes[n], got[i].len), 0, "datagram %zu", n);
			cr_assert_eq(got[i].remote.port, from.port);
			cr_assert_eq(got[i].local.port, place.port);
			memset(got[i].data, 0xff, got[i].len);
		}
	}
	cr_assert_eq(udp_socket_receive(socket, &got), 0);
	cr_assert(!udp_socket_more(socket));
}

static void exchange(const char *from_at, const char *to_at)
{
	setup(from_at, to_at);
	cr_assert(from.runs, "this kernel is older than those the test is for");
	for (size_t i = 0; i < 40; i++)
		put(i, i == 39 ? 77 : 1400, &place);
	udp_socket_send(&from, datagrams, 40);
	expect_all(&to, 0, 40);
	cr_assert_eq(from.counters.tx_messages, 1, "one run");
	cr_assert_eq(from.counters.tx_datagrams, 40);
	cr_assert_eq(from.counters.tx_bytes, 39 * 1400 + 77);
	cr_assert_eq(to.counters.rx_messages, 1);
	cr_assert_eq(to.counters.rx_datagrams, 40);
	cr_assert_eq(to.counters.rx_bytes, 39 * 1400 + 77);
	/* An own address and the length of a run are two control messages. */
	for (size_t i = 0; i < 40; i++)
		datagrams[i].local = endpoint_of(from_at);
	udp_socket_send(&from, datagrams, 40);
	expect_all(&to, 0, 40);
	cr_assert_eq(from.counters.tx_messages, 2);
	teardown();
}

Test(udp_runs, cross_as_one_over_ipv4)
{
	exchange("127.0.0.1:4001", "127.0.0.1:4000");
}

Test(udp_runs, cross_as_one_over_ipv6)
{
	exchange("[::1]:4001", "[::1]:4000");
}

Test(udp_runs, cross_as_one_from_a_socket_for_both_families)
{
	setup("[::]:4001", "127.0.0.1:4000");
	for (size_t i = 0; i < 20; i++) {
		put(i, 1000, &place);
		datagrams[i].local = endpoint_of("127.0.0.1:4001");
	}
	udp_socket_send(&from, datagrams, 20);
	expect_all(&to, 0, 20);
	cr_assert_eq(from.counters.tx_messages, 1);
	teardown();
}

Test(udp_runs, end_at_another_length_or_place)
{
	static const size_t LENS[] = {100, 100, 100, 60, 60, 61, 61, 0, 0, 5, 5};

	setup("127.0.0.1:4001", "127.0.0.1:4000");
	for (size_t i = 0; i < 11; i++)
		put(i, LENS[i], &place);
	udp_socket_send(&from, datagrams, 11);
	expect_all(&to, 0, 11);
	/* 3 + shorter; one alone, since the next is longer; 2; an empty one each; 2 */
	cr_assert_eq(from.counters.tx_messages, 6);

	open_at(&other, "127.0.0.1:4002");
	struct kcpvpn_endpoint elsewhere = endpoint_of("127.0.0.1:4002");
	for (size_t i = 0; i < 6; i++)
		put(i, 100, i < 3 ? &place : &elsewhere);
	udp_socket_send(&from, datagrams, 6);
	cr_assert_eq(from.counters.tx_messages, 8);
	expect_all(&to, 0, 3);
	place.port = 4002;
	expect_all(&other, 3, 3);
	teardown();
}

/* 128 datagrams of 1400 bytes are more than two IP packets hold, and 128 of 9000 many more. */
Test(udp_runs, fit_an_ip_packet)
{
	setup("127.0.0.1:4001", "127.0.0.1:4000");
	for (size_t i = 0; i < KCPVPN_BATCH_MAX; i++)
		put(i, 1400, &place);
	udp_socket_send(&from, datagrams, KCPVPN_BATCH_MAX);
	expect_all(&to, 0, KCPVPN_BATCH_MAX);
	cr_assert_eq(from.counters.tx_messages, 3);
	for (size_t i = 0; i < KCPVPN_BATCH_MAX; i++)
		put(i, ROOM, &place);
	udp_socket_send(&from, datagrams, KCPVPN_BATCH_MAX);
	expect_all(&to, 0, KCPVPN_BATCH_MAX);
	cr_assert_eq(from.counters.tx_messages, 3 + 19);
	teardown();
}

/* What the library cannot take at once waits for the next call; another socket's receive must not come between. */
Test(udp_runs, more_than_a_batch_waits)
{
	const struct kcpvpn_datagram *got;

	setup("127.0.0.1:4001", "127.0.0.1:4000");
	for (size_t i = 0; i < KCPVPN_BATCH_MAX; i++)
		put(i, 200, &place);
	for (int i = 0; i < 5; i++)
		udp_socket_send(&from, datagrams, KCPVPN_BATCH_MAX - 1);
	wait_for(&to);
	for (size_t n = 0; n < 5 * (KCPVPN_BATCH_MAX - 1);) {
		size_t some = udp_socket_receive(&to, &got);
		for (size_t i = 0; i < some; i++, n++)
			cr_assert_eq(got[i].data[0], n % (KCPVPN_BATCH_MAX - 1));
		cr_assert(n == 5 * (KCPVPN_BATCH_MAX - 1) || udp_socket_pending(&to));
	}
	cr_assert(!udp_socket_pending(&to));
	cr_assert_eq(to.counters.rx_messages, 10, "two runs for each");

	for (int i = 0; i < 2; i++)
		udp_socket_send(&from, datagrams, KCPVPN_BATCH_MAX);
	wait_for(&to);
	cr_assert_eq(udp_socket_receive(&to, &got), KCPVPN_BATCH_MAX);
	cr_assert(udp_socket_pending(&to));
	cr_assert_eq(udp_socket_receive(&from, &got), 0);
	cr_assert(!udp_socket_pending(&to), "lost, not mixed up");
	cr_assert_eq(to.counters.rx_strange, 1);

	udp_socket_send(&from, datagrams, KCPVPN_BATCH_MAX);
	udp_socket_send(&from, datagrams, KCPVPN_BATCH_MAX);
	wait_for(&to);
	cr_assert_eq(udp_socket_receive(&to, &got), KCPVPN_BATCH_MAX);
	udp_socket_close(&to);
	cr_assert(!udp_socket_pending(&to));
	cr_assert_eq(udp_socket_receive(&from, &got), 0);
	teardown();
}

/* A socket that goes after it was read to its end leaves nothing behind that the next one would look at. */
Test(udp_runs, a_socket_goes_between_two_receives)
{
	const struct kcpvpn_datagram *got;

	setup("127.0.0.1:4001", "127.0.0.1:4000");
	struct udp_socket *gone = malloc(sizeof(*gone));
	cr_assert_not_null(gone);
	open_at(gone, "127.0.0.1:4002");
	const struct kcpvpn_endpoint there = endpoint_of("127.0.0.1:4002");
	put(0, 200, &there);
	udp_socket_send(&from, datagrams, 1);
	wait_for(gone);
	cr_assert_eq(udp_socket_receive(gone, &got), 1);
	cr_assert(!udp_socket_pending(gone));
	udp_socket_close(gone);
	memset((void *)gone, 0xa5, sizeof(*gone));
	free(gone);
	put(0, 200, &place);
	udp_socket_send(&from, datagrams, 1);
	wait_for(&to);
	cr_assert_eq(udp_socket_receive(&to, &got), 1);
	teardown();
}

static void set_option(const struct udp_socket *socket, int level, int name, int value)
{
	cr_assert_eq(setsockopt(socket->fd, level, name, &value, sizeof(value)), 0);
}

/* Without checksums the kernel takes single datagrams and refuses runs (EINVAL), as some devices make it do. */
Test(udp_runs, a_refused_run_goes_one_by_one)
{
	setup("127.0.0.1:4001", "127.0.0.1:4000");
	set_option(&from, SOL_SOCKET, SO_NO_CHECK, 1);
	for (size_t i = 0; i < 30; i++)
		put(i, i < 10 ? 500 : i < 20 ? 600 : 700, &place);
	udp_socket_send(&from, datagrams, 30);
	expect_all(&to, 0, 30);
	cr_assert_eq(from.counters.tx_runs_refused, 1, "and it is remembered");
	cr_assert_eq(from.counters.tx_datagrams, 30);
	cr_assert_eq(from.counters.tx_messages, 30);
	/* After a while it is tried again. */
	set_option(&from, SOL_SOCKET, SO_NO_CHECK, 0);
	for (unsigned i = 2; i < UDP_ALONE_RUNS; i++) {
		udp_socket_send(&from, datagrams, 2);
		expect_all(&to, 0, 2);
	}
	cr_assert_eq(from.counters.tx_messages, from.counters.tx_datagrams);
	udp_socket_send(&from, datagrams, 10);
	expect_all(&to, 0, 10);
	cr_assert_eq(from.counters.tx_messages, from.counters.tx_datagrams - 9);
	cr_assert_eq(from.counters.tx_runs_refused, 1);
	for (int i = 0; i < UDP_ERRORS; i++)
		cr_assert_eq(from.counters.tx_errors[i], 0);
	teardown();
}

/* A run of datagrams longer than the device takes: it is told of them, the shorter last one goes, and runs go on. */
Test(udp_runs, sizes_that_do_not_fit_are_told)
{
	setup("127.0.0.1:4001", "127.0.0.1:4000");
	cr_assert_eq(netlink_link_set_mtu(netlink, 1, 1400, NULL), 0);
	for (size_t i = 0; i < 6; i++)
		put(i, i < 5 ? 1400 : 1000, &place);
	udp_socket_send(&from, datagrams, 6);
	cr_assert_eq(told_count, 5);
	for (size_t i = 0; i < told_count; i++)
		cr_assert_eq(told[i], 1400);
	cr_assert_eq(from.counters.tx_errors[UDP_ERROR_TOO_BIG], 5);
	cr_assert_eq(from.counters.tx_datagrams, 1);
	expect_all(&to, 5, 1);
	for (size_t i = 0; i < 6; i++)
		put(i, 1372, &place);
	uint64_t messages = from.counters.tx_messages;
	udp_socket_send(&from, datagrams, 6);
	expect_all(&to, 0, 6);
	cr_assert_eq(from.counters.tx_messages, messages + 1, "runs were not to blame");
	teardown();
}

/* A run in the middle of a batch is refused: what stands before and behind it goes, in order. */
Test(udp_runs, a_refused_run_holds_nothing_up)
{
	setup("127.0.0.1:4001", "127.0.0.1:4000");
	struct kcpvpn_endpoint nowhere = endpoint_of("192.0.2.1:9");
	for (size_t i = 0; i < 12; i++)
		put(i, 300, i >= 4 && i < 8 ? &nowhere : &place);
	udp_socket_send(&from, datagrams, 12);
	cr_assert_eq(from.counters.tx_datagrams, 8);
	cr_assert_eq(from.counters.tx_errors[UDP_ERROR_UNREACHABLE] +
			     from.counters.tx_errors[UDP_ERROR_ADDRESS],
		4);
	memmove(&datagrams[4], &datagrams[8], 4 * sizeof(datagrams[0]));
	memmove(bytes[4], bytes[8], 4 * sizeof(bytes[0]));
	expect_all(&to, 0, 8);
	cr_assert_eq(from.counters.tx_messages, 2);
	teardown();
}

Test(udp_runs, are_not_sent_where_they_must_not)
{
	setup("127.0.0.1:4001", "127.0.0.1:4000");
	for (size_t i = 0; i < 10; i++)
		put(i, 300, &place);
	udp_batch_set_runs(batch, false);
	udp_socket_send(&from, datagrams, 10);
	expect_all(&to, 0, 10);
	cr_assert_eq(from.counters.tx_messages, 10);
	udp_batch_set_runs(batch, true);
	udp_socket_send(&from, datagrams, 10);
	expect_all(&to, 0, 10);
	cr_assert_eq(from.counters.tx_messages, 11);
	teardown();
}

Test(udp_runs, an_own_address_that_is_gone_is_replaced)
{
	setup("[::]:4001", "127.0.0.1:4000");
	for (size_t i = 0; i < 10; i++) {
		put(i, 300, &place);
		datagrams[i].local = endpoint_of("203.0.113.5:4001");
	}
	udp_socket_send(&from, datagrams, 10);
	expect_all(&to, 0, 10);
	cr_assert_eq(from.counters.tx_messages, 1, "still as a run");
	cr_assert_eq(from.counters.tx_runs_refused, 0);
	teardown();
}

/* Somebody else's run: of datagrams that are longer than we take, and of very many tiny ones. */
Test(udp_runs, strange_runs_are_dropped_or_cut)
{
	static uint8_t big[65000];
	const struct kcpvpn_datagram *got;

	setup("127.0.0.1:4001", "127.0.0.1:4000");
	struct sockaddr_storage sa;
	socklen_t len = (socklen_t)kcpvpn_endpoint_to_sockaddr(&place, false, &sa);
	set_option(&from, IPPROTO_UDP, UDP_SEGMENT, ROOM + 1);
	cr_assert_eq(
		sendto(from.fd, big, 2 * ROOM + 5, 0, (struct sockaddr *)&sa, len), 2 * ROOM + 5);
	wait_for(&to);
	cr_assert_eq(udp_socket_receive(&to, &got), 1);
	cr_assert_eq(got[0].len, 3, "the rest of the run");
	cr_assert_eq(to.counters.rx_cut, 2);
	set_option(&from, IPPROTO_UDP, UDP_SEGMENT, 1);
	cr_assert_eq(sendto(from.fd, big, 64, 0, (struct sockaddr *)&sa, len), 64);
	wait_for(&to);
	cr_assert_eq(udp_socket_receive(&to, &got), 64);
	for (size_t i = 0; i < 64; i++)
		cr_assert_eq(got[i].len, 1);
	teardown();
}
