/* The path MTU as peers see it: found, lost in a black hole without a word of ICMP, found again; refused by the host; and what
 * padding makes of it. */
#include "native_load.h"
#include "stack/native_state.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	MS = 1000,
	S = 1000000,
	DELAY_US = 20 * MS,
	BASE = 1232,
	FULL = 1472,
};

static struct native_pair pair;
static struct native_load load;

static void open_up(const struct native_end_options *options, size_t mtu)
{
	native_pair_open(&pair, 9, options);
	pair.ends[0].link = pair.ends[1].link =
		(struct native_link){.delay_us = DELAY_US, .mtu_bytes = mtu};
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 10 * S));
	native_load_init(&load, &pair);
}

static void set_mtu(size_t mtu)
{
	pair.ends[0].link.mtu_bytes = pair.ends[1].link.mtu_bytes = mtu;
}

static uint32_t size_of(size_t end)
{
	struct kcpvpn_peer_status status;

	kcpvpn_peer_status(pair.ends[end].peers[1 - end], &status);
	return status.path_mtu_bytes;
}

static uint32_t inner(size_t end)
{
	return kcpvpn_peer_inner_mtu(pair.ends[end].peers[1 - end]);
}

static void full_load(int64_t us)
{
	native_load_run(&load, us, 200, 200, 1400);
}

Test(native_mtu, begins_at_what_every_path_carries_and_finds_the_rest_at_once)
{
	open_up(NULL, 0);
	cr_assert_eq(size_of(0), BASE);
	cr_assert_eq(inner(0), BASE - KCPVPN_NATIVE_OVERHEAD_BYTES);
	native_pair_run(&pair, 3 * DELAY_US);
	cr_assert_eq(size_of(0), FULL);
	cr_assert_eq(size_of(1), FULL);
	cr_assert_eq(inner(0), 1400);
	cr_assert(native_pair_events(&pair.ends[0], 1) & KCPVPN_PEER_EVENT_MTU);
	cr_assert(native_pair_events(&pair.ends[1], 0) & KCPVPN_PEER_EVENT_MTU);
	native_pair_fini(&pair);
}

Test(native_mtu, finds_odd_sizes_to_within_eight_bytes)
{
	static const size_t sizes[] = {1232, 1280, 1300, 1402, 1444, 1452, 1464, 1471, 1472};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		open_up(NULL, sizes[i]);
		native_load_run(&load, 30 * S, 50, 50, 1000);
		native_pair_run(&pair, S);
		for (size_t end = 0; end < 2; end++) {
			cr_assert_leq(size_of(end), sizes[i]);
			cr_assert_gt(size_of(end) + 8, sizes[i], "%zu: %u", sizes[i],
				(unsigned)size_of(end));
		}
		cr_assert_eq(load.ways[0].came, load.ways[0].given);
		native_pair_fini(&pair);
	}
}

Test(native_mtu, never_more_than_the_other_side_takes)
{
	struct native_end_options small = native_pair_options();

	small.datagram_max_bytes = 1300;
	native_pair_init(&pair, 10);
	native_pair_start(&pair, 0, NULL);
	native_pair_start(&pair, 1, &small);
	native_pair_join(&pair, 0, 1, false);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 10 * S));
	native_load_init(&load, &pair);
	full_load(2 * S);
	native_pair_run(&pair, S);
	cr_assert_eq(size_of(0), 1300);
	cr_assert_eq(size_of(1), 1300);
	cr_assert_eq(load.ways[0].came, load.ways[0].given);
	native_pair_fini(&pair);
}

Test(native_mtu, a_packet_longer_than_the_path_goes_in_pieces)
{
	open_up(NULL, BASE);
	native_load_run(&load, 10 * S, 50, 50, 1400);
	native_pair_run(&pair, S);
	cr_assert_eq(size_of(0), BASE);
	cr_assert_eq(load.ways[0].came, load.ways[0].given);
	cr_assert_eq(load.ways[1].came, load.ways[1].given);
	cr_assert_eq(load.ways[0].refused, 0);
	native_pair_fini(&pair);
}

Test(native_mtu, a_black_hole_is_over_within_five_seconds_and_the_size_comes_back)
{
	open_up(NULL, 0);
	full_load(5 * S);
	cr_assert_eq(size_of(0), FULL);
	native_load_watch(&load);
	set_mtu(BASE);
	full_load(20 * S);
	printf("gaps %lld and %lld us, size %u\n", (long long)load.ways[0].gap_us,
		(long long)load.ways[1].gap_us, (unsigned)size_of(0));
	cr_assert_eq(size_of(0), BASE);
	cr_assert_eq(size_of(1), BASE);
	cr_assert_leq(load.ways[0].gap_us, 5 * S);
	cr_assert_leq(load.ways[1].gap_us, 5 * S);
	native_load_watch(&load);
	set_mtu(0);
	full_load(80 * S);
	cr_assert_eq(size_of(0), FULL);
	cr_assert_eq(size_of(1), FULL);
	cr_assert_leq(load.ways[0].gap_us, 300 * MS);
	native_pair_fini(&pair);
}

Test(native_mtu, loss_alone_is_no_black_hole)
{
	open_up(NULL, 0);
	full_load(S);
	pair.ends[0].link.loss_ppm = pair.ends[1].link.loss_ppm = 100000;
	full_load(60 * S);
	for (size_t end = 0; end < 2; end++) {
		cr_assert_eq(size_of(end), FULL);
		cr_assert_eq(pair.ends[end].peers[1 - end]->data.mtu.counters.black_holes, 0);
	}
	native_pair_fini(&pair);
}

Test(native_mtu, the_hosts_word_lowers_the_size_at_once)
{
	open_up(NULL, 0);
	full_load(S);
	set_mtu(1400);
	kcpvpn_native_too_big(pair.ends[0].native, &pair.ends[1].address, FULL, pair.now_us);
	native_pair_exchange(&pair);
	cr_assert_lt(size_of(0), FULL);
	native_load_watch(&load);
	full_load(5 * S);
	cr_assert_leq(size_of(0), 1400);
	cr_assert_gt(size_of(0), 1392);
	native_pair_fini(&pair);
}

/* A port that says so from within its send(), as a socket does. */
static bool refuse(
	struct native_end *from, const struct kcpvpn_endpoint *to, uint8_t *bytes, size_t len)
{
	(void)bytes;
	if (len <= 1300)
		return true;
	kcpvpn_native_too_big(from->native, to, len, from->pair->now_us);
	return false;
}

Test(native_mtu, the_host_may_say_so_in_the_middle_of_sending)
{
	open_up(NULL, 0);
	full_load(2 * S);
	pair.filter = refuse;
	native_load_watch(&load);
	for (int i = 0; i < 100; i++) /* more than a batch at once */
		(void)native_load_give(&load, 0, 0, 1400);
	full_load(10 * S);
	cr_assert_leq(size_of(0), 1300);
	cr_assert_gt(size_of(0), 1292);
	cr_assert_leq(load.ways[0].gap_us, 2 * S, "%lld", (long long)load.ways[0].gap_us);
	native_pair_fini(&pair);
}

Test(native_mtu, what_was_told_of_the_link_ends_with_the_address)
{
	native_pair_open(&pair, 9, NULL);
	kcpvpn_peer_set_link_mtu(pair.ends[1].peers[0], 1300, pair.now_us);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 10 * S));
	native_load_init(&load, &pair);
	full_load(2 * S);
	cr_assert_eq(size_of(1), 1300 - 28, "it was told before there was any address");
	(void)native_pair_events(&pair.ends[1], 0);
	pair.ends[0].address.port++;
	full_load(2 * S);
	cr_assert_eq(size_of(1), 1300 - 28, "the same host");
	pair.ends[0].address.address[2]++;
	full_load(2 * S);
	cr_assert(native_pair_events(&pair.ends[1], 0) & KCPVPN_PEER_EVENT_ENDPOINT);
	cr_assert_eq(size_of(1), FULL, "the link there is another, and nobody told its MTU");
	kcpvpn_peer_set_link_mtu(pair.ends[1].peers[0], 1400, pair.now_us);
	full_load(2 * S);
	cr_assert_eq(size_of(1), 1400 - 28);
	/* And with the socket. */
	kcpvpn_native_close_port(pair.ends[1].native, &pair.ends[1].port, pair.now_us);
	full_load(2 * S);
	cr_assert_eq(size_of(1), FULL);
	native_pair_fini(&pair);
}

/* ---- padding ------------------------------------------------------------------------------------------------------ */

static struct {
	enum kcpvpn_padding padding;
	uint64_t datagrams, odd, sizes[2048];
} shape;

/* Probes of the path MTU and what goes to unproven addresses have sizes of their own. */
static bool measure(
	struct native_end *from, const struct kcpvpn_endpoint *to, uint8_t *bytes, size_t len)
{
	(void)from;
	(void)to;
	if (bytes[0] != 0x0c || len == 32)
		return true;
	shape.datagrams++;
	shape.sizes[len]++;
	if ((len - 32) % 16 != 0)
		shape.odd++;
	return true;
}

static void run_padded(enum kcpvpn_padding padding)
{
	struct native_end_options options = native_pair_options();

	options.peer.padding = padding;
	open_up(&options, 0);
	native_pair_run(&pair, S);
	memset(&shape, 0, sizeof(shape));
	pair.filter = measure;
	for (size_t len = NATIVE_LOAD_LEAST; len <= 1400; len += 7) {
		cr_assert_eq(native_load_give(&load, 0, 1, len), 0);
		cr_assert_eq(native_load_give(&load, 1, 6, len), 0);
		native_pair_run(&pair, 50 * MS);
	}
	native_pair_run(&pair, 5 * S);
	cr_assert_eq(load.ways[0].came, load.ways[0].given);
	cr_assert_eq(load.ways[1].came, load.ways[1].given);
	cr_assert_gt(shape.datagrams, 300);
}

Test(native_mtu, padding_to_sixteen)
{
	run_padded(KCPVPN_PADDING_16);
	cr_assert_eq(shape.odd, 0);
	native_pair_fini(&pair);
}

Test(native_mtu, padding_to_one_size)
{
	run_padded(KCPVPN_PADDING_FULL);
	cr_assert_eq(shape.sizes[FULL], shape.datagrams);
	native_pair_fini(&pair);
}

Test(native_mtu, without_padding_nothing_is_added)
{
	run_padded(KCPVPN_PADDING_NONE);
	cr_assert_gt(shape.odd, 0);
	native_pair_fini(&pair);
}
