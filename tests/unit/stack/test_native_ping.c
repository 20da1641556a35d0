/* Probes that a program asks for: how long the way takes, of any size, and what they leave alone. */
#include "native_load.h"
#include "stack/native_state.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

enum {
	MS = 1000,
	S = 1000000,
	DELAY_US = 20 * MS,
};

static struct native_pair pair;

static void open_up(size_t mtu)
{
	native_pair_open(&pair, 11, NULL);
	pair.ends[0].link = pair.ends[1].link =
		(struct native_link){.delay_us = DELAY_US, .mtu_bytes = mtu};
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 10 * S));
	native_pair_run(&pair, S);
}

static struct kcpvpn_peer *peer(void)
{
	return pair.ends[0].peers[1];
}

static struct kcpvpn_peer_status status(void)
{
	struct kcpvpn_peer_status s;

	kcpvpn_peer_status(peer(), &s);
	return s;
}

static uint64_t ping(uint32_t size)
{
	uint64_t number = 99;

	cr_assert_eq(kcpvpn_peer_ping(peer(), size, pair.now_us, &number), 0);
	return number;
}

Test(native_ping, tells_the_round_trip)
{
	open_up(0);
	uint64_t number = ping(0);
	cr_assert_eq(kcpvpn_peer_pong(peer(), number), -1, "not yet");
	native_pair_run(&pair, 2 * DELAY_US - MS);
	cr_assert_eq(kcpvpn_peer_pong(peer(), number), -1, "not yet");
	native_pair_run(&pair, 2 * MS);
	int64_t took = kcpvpn_peer_pong(peer(), number);
	cr_assert(took >= 2 * DELAY_US && took <= 2 * DELAY_US + MS, "%lld", (long long)took);
	native_pair_run(&pair, S);
	cr_assert_eq(kcpvpn_peer_pong(peer(), number), took, "asked again, the same");
	cr_assert_eq(kcpvpn_peer_pong(peer(), number + 1), -1, "another was never sent");
	native_pair_fini(&pair);
}

Test(native_ping, of_a_size_is_a_datagram_of_that_size)
{
	open_up(0);
	for (uint32_t size = KCPVPN_NATIVE_PING_MIN_BYTES; size <= 1472; size += 172) {
		struct kcpvpn_peer_status before = status();
		uint64_t number = ping(size);
		native_pair_run(&pair, MS);
		cr_assert_eq(status().out_bytes - before.out_bytes, size, "%u", size);
		native_pair_run(&pair, 3 * DELAY_US);
		cr_assert(kcpvpn_peer_pong(peer(), number) > 0, "%u", size);
	}
	native_pair_fini(&pair);
}

Test(native_ping, of_an_impossible_size_is_refused)
{
	uint64_t number;

	open_up(0);
	cr_assert_eq(
		kcpvpn_peer_ping(peer(), KCPVPN_NATIVE_PING_MIN_BYTES - 1, pair.now_us, &number),
		-EMSGSIZE);
	cr_assert_eq(kcpvpn_peer_ping(peer(), 9001, pair.now_us, &number), -EMSGSIZE);
	native_pair_fini(&pair);
}

Test(native_ping, that_the_way_does_not_carry_is_lost_and_changes_nothing)
{
	open_up(1400);
	native_pair_run(&pair, 20 * S); /* the search for what it carries is over */
	struct kcpvpn_peer_status before = status();
	uint64_t number = ping(1450);
	native_pair_run(&pair, 2 * S);
	cr_assert_eq(kcpvpn_peer_pong(peer(), number), -1);
	cr_assert_eq(status().path_mtu_bytes, before.path_mtu_bytes);
	cr_assert_eq(
		status().loss_raw_out > 0, before.loss_raw_out > 0, "no loss is measured by it");
	cr_assert_eq(kcpvpn_peer_state(peer()), KCPVPN_PEER_UP);
	number = ping(1200);
	native_pair_run(&pair, 3 * DELAY_US);
	cr_assert(kcpvpn_peer_pong(peer(), number) > 0);
	native_pair_fini(&pair);
}

Test(native_ping, the_oldest_is_forgotten_and_each_knows_its_own)
{
	uint64_t numbers[KCPVPN_NATIVE_PINGS_MAX + 1];

	open_up(0);
	for (size_t i = 0; i <= KCPVPN_NATIVE_PINGS_MAX; i++) {
		numbers[i] = ping(0);
		native_pair_run(&pair, MS);
	}
	native_pair_run(&pair, 3 * DELAY_US);
	cr_assert_eq(kcpvpn_peer_pong(peer(), numbers[0]), -1, "forgotten");
	for (size_t i = 1; i <= KCPVPN_NATIVE_PINGS_MAX; i++) {
		int64_t took = kcpvpn_peer_pong(peer(), numbers[i]);
		cr_assert(took >= 2 * DELAY_US && took <= 2 * DELAY_US + MS, "%zu: %lld", i,
			(long long)took);
	}
	native_pair_fini(&pair);
}

Test(native_ping, needs_a_session)
{
	uint64_t number;

	open_up(0);
	number = ping(0);
	kcpvpn_peer_down(peer(), KCPVPN_CLOSE_SHUTDOWN, pair.now_us);
	cr_assert_eq(kcpvpn_peer_ping(peer(), 0, pair.now_us, &number), -ENOTCONN);
	native_pair_fini(&pair);
}
