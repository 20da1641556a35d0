/* Ends that move: by port and by address, under load and idle; and those who pretend that an end has moved. */
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
	GAP_US = 4 * DELAY_US + 300 * MS,
	CHALLENGE_BYTES = 16 + 4 + 24 + 10 + 16,
};

static struct native_pair pair;
static struct native_load load;

/* What end 1 sent to addresses that it had no proof of. */
static struct {
	uint64_t challenges, others;
	uint64_t stray;	    /* to none of the two ends */
	uint8_t held[2048]; /* the DATA of end 0 that was taken out of the network last */
	size_t held_len;
	bool hold;
	bool hold_answers; /* end 0 answers no challenge */
} seen;

static bool proven(struct native_end *from, const struct kcpvpn_endpoint *to)
{
	struct kcpvpn_endpoint endpoint;

	return kcpvpn_peer_endpoint(from->peers[1 - from->number], &endpoint) &&
	       kcpvpn_endpoint_equal(&endpoint, to);
}

static bool watch(
	struct native_end *from, const struct kcpvpn_endpoint *to, uint8_t *bytes, size_t len)
{
	bool data = bytes[0] == 0x0c;

	if (from->number == 1 && data && !proven(from, to)) {
		if (len == CHALLENGE_BYTES)
			seen.challenges++;
		else
			seen.others++;
	}
	if (data && !kcpvpn_endpoint_equal(to, &pair.ends[0].address) &&
		!kcpvpn_endpoint_equal(to, &pair.ends[1].address))
		seen.stray++;
	if (from->number == 0 && data && seen.hold) {
		memcpy(seen.held, bytes, len);
		seen.held_len = len;
		seen.hold = false;
		return false;
	}
	return !(from->number == 0 && seen.hold_answers && len == CHALLENGE_BYTES);
}

static void open_up(const struct native_end_options *options, bool both)
{
	native_pair_init(&pair, 5);
	native_pair_start(&pair, 0, options);
	native_pair_start(&pair, 1, options);
	pair.ends[0].link = pair.ends[1].link = (struct native_link){.delay_us = DELAY_US};
	native_pair_join(&pair, 0, 1, both);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 10 * S));
	native_load_init(&load, &pair);
	memset(&seen, 0, sizeof(seen));
	pair.filter = watch;
	native_load_run(&load, 3 * S, 200, 200, 500);
}

static void expect_at(size_t end, const struct kcpvpn_endpoint *want)
{
	struct kcpvpn_endpoint endpoint;
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];

	cr_assert(kcpvpn_peer_endpoint(pair.ends[end].peers[1 - end], &endpoint));
	cr_assert(kcpvpn_endpoint_equal(&endpoint, want), "end %zu sends to %s", end,
		kcpvpn_endpoint_format(&endpoint, text));
}

static struct kcpvpn_peer_status status_of(size_t end)
{
	struct kcpvpn_peer_status status;

	kcpvpn_peer_status(pair.ends[end].peers[1 - end], &status);
	return status;
}

static void move_by_port(struct native_end *end)
{
	end->address.port++;
}

static void move_by_address(struct native_end *end)
{
	end->address.address[2]++;
}

/* Each end in turn moves every five seconds; traffic flows both ways. */
static void keep_moving(void (*move)(struct native_end *), size_t first, size_t ends)
{
	for (int i = 0; i < 6; i++) {
		size_t who = (first + (size_t)i) % ends + (ends == 1 ? first : 0);
		struct native_end *end = &pair.ends[who];
		(void)native_pair_events(&pair.ends[1 - who], who);
		move(end);
		native_load_watch(&load);
		native_load_run(&load, 5 * S, 200, 200, 500);
		expect_at(1 - who, &end->address);
		cr_assert(
			native_pair_events(&pair.ends[1 - who], who) & KCPVPN_PEER_EVENT_ENDPOINT);
		cr_assert_leq(load.ways[0].gap_us, GAP_US, "move %d: %lld us", i,
			(long long)load.ways[0].gap_us);
		cr_assert_leq(load.ways[1].gap_us, GAP_US, "move %d: %lld us", i,
			(long long)load.ways[1].gap_us);
	}
}

Test(native_roaming, the_first_address_is_no_move)
{
	open_up(NULL, false);
	cr_assert_eq(status_of(0).moved_us, -1);
	cr_assert_eq(status_of(1).moved_us, -1);
	move_by_port(&pair.ends[0]);
	native_load_run(&load, 2 * S, 200, 200, 500);
	cr_assert_gt(status_of(1).moved_us, 0);
	cr_assert_eq(status_of(0).moved_us, -1);
	native_pair_fini(&pair);
}

Test(native_roaming, without_its_port_a_peer_is_not_up)
{
	for (int calls = 0; calls < 2; calls++) {
		open_up(NULL, false);
		struct native_end *end = &pair.ends[calls ? 0 : 1]; /* whose port is closed */
		size_t other = calls ? 1 : 0;
		struct kcpvpn_peer *peer = end->peers[other];
		const struct kcpvpn_target target = {pair.ends[other].address, &end->port};
		(void)native_pair_events(end, other);
		kcpvpn_native_close_port(end->native, &end->port, pair.now_us);
		cr_assert_neq(kcpvpn_peer_state(peer), KCPVPN_PEER_UP);
		native_pair_run(&pair, MS);
		cr_assert(native_pair_events(end, other) & KCPVPN_PEER_EVENT_STATE);
		if (calls) { /* it is told by which port it calls now */
			cr_assert_eq(kcpvpn_peer_state(peer), KCPVPN_PEER_CONNECTING);
			kcpvpn_peer_set_targets(peer, &target, 1, pair.now_us);
			native_pair_run(&pair, 2 * S);
		} else { /* it hears by which port the other one calls */
			native_load_run(&load, 2 * S, 200, 0, 500);
		}
		cr_assert_eq(kcpvpn_peer_state(peer), KCPVPN_PEER_UP);
		cr_assert(native_pair_events(end, other) & KCPVPN_PEER_EVENT_STATE);
		native_pair_fini(&pair);
	}
}

Test(native_roaming, by_port_under_load)
{
	for (size_t first = 0; first < 2; first++) {
		open_up(NULL, false);
		keep_moving(move_by_port, first, 1);
		cr_assert_eq(seen.others, 0);
		cr_assert_eq(status_of(0).handshakes, 1);
		native_pair_fini(&pair);
	}
}

Test(native_roaming, by_address_under_load)
{
	for (size_t first = 0; first < 2; first++) {
		open_up(NULL, false);
		keep_moving(move_by_address, first, 1);
		cr_assert_eq(seen.others, 0);
		cr_assert_eq(status_of(0).handshakes, 1);
		native_pair_fini(&pair);
	}
}

Test(native_roaming, in_turn_and_after_crossing_handshakes)
{
	/* Both call at once, so the two may send on different sessions: whoever moves is found all the same. */
	open_up(NULL, true);
	printf("handshakes %llu and %llu\n", (unsigned long long)status_of(0).handshakes,
		(unsigned long long)status_of(1).handshakes);
	cr_assert_eq(status_of(0).handshakes, 2);
	keep_moving(move_by_address, 0, 2);
	cr_assert_eq(seen.others, 0);
	native_pair_fini(&pair);
}

Test(native_roaming, another_port_keeps_what_is_known_of_the_path_and_another_address_does_not)
{
	open_up(NULL, false);
	struct kcpvpn_peer_status before = status_of(1);
	cr_assert_eq(before.path_mtu_bytes, 1472);
	cr_assert_gt(before.srtt_us, 0);
	move_by_port(&pair.ends[0]);
	kcpvpn_native_network_changed(pair.ends[0].native, pair.now_us);
	native_pair_run(&pair, 2 * DELAY_US + DELAY_US + MS);
	expect_at(1, &pair.ends[0].address);
	cr_assert_eq(status_of(1).path_mtu_bytes, 1472);
	cr_assert_gt(status_of(1).srtt_us, 0);
	native_pair_run(
		&pair, 200 * MS); /* a new candidate is looked at ten times a second at most */
	move_by_address(&pair.ends[0]);
	kcpvpn_native_network_changed(pair.ends[0].native, pair.now_us);
	native_pair_run(&pair, 2 * DELAY_US + DELAY_US + MS);
	expect_at(1, &pair.ends[0].address);
	cr_assert_eq(status_of(1).path_mtu_bytes, 1232);
	cr_assert(status_of(1).srtt_us >= 2 * DELAY_US && status_of(1).srtt_us <= 3 * DELAY_US,
		"as long as the challenge took");
	/* The old size is probed first: one round trip. */
	native_pair_run(&pair, 2 * DELAY_US + MS);
	cr_assert_eq(status_of(1).path_mtu_bytes, 1472);
	native_pair_fini(&pair);
}

Test(native_roaming, what_was_cut_for_the_old_path_is_not_given_up_at_once)
{
	open_up(NULL, false);
	for (int i = 0; i < 5; i++) {
		native_load_run(&load, S, 300, 300, 1400);
		move_by_address(&pair.ends[i % 2]);
		native_load_run(&load, S, 300, 300, 1400);
	}
	native_pair_run(&pair, 3 * S);
	for (int w = 0; w < 2; w++) {
		for (size_t f = 0; f < 6; f++)
			cr_assert_eq(load.ways[w].flows[f].came, load.ways[w].flows[f].given);
		cr_assert_eq(
			kcp_path_stats(pair.ends[w].peers[1 - w]->data.path)->too_long_messages, 0);
	}
	native_pair_fini(&pair);
}

Test(native_roaming, after_a_restart_numbers_begin_anew_and_moves_are_seen_at_once)
{
	open_up(NULL, false);
	native_load_run(&load, 5 * S, 500, 0, 200);
	native_pair_kill(&pair, 0);
	native_pair_start(&pair, 0, NULL);
	pair.ends[0].link.delay_us = DELAY_US;
	pair.ends[0].realtime_us += S;
	native_pair_know(&pair, 0, 1, true);
	native_pair_run(&pair, 2 * S);
	cr_assert(native_pair_is_up(&pair));
	native_load_init(&load, &pair);
	native_load_run(&load, 200 * MS, 50, 0, 200);
	move_by_address(&pair.ends[0]);
	native_load_run(&load, 500 * MS, 50, 0, 200);
	expect_at(1, &pair.ends[0].address);
	native_pair_fini(&pair);
}

/* What the way carries outlives the other side, and the memory of its path, but not its address. */
Test(native_roaming, after_a_restart_half_of_the_rate_is_believed)
{
	static const int64_t away_us[] = {0, 200 * S, 700 * S};

	for (size_t i = 0; i < sizeof(away_us) / sizeof(away_us[0]); i++) {
		for (int elsewhere = 0; elsewhere < 2; elsewhere++) {
			open_up(NULL, false);
			native_load_run(&load, 5 * S, 0, 500, 1200);
			uint64_t before_bps = status_of(1).rate_bps;
			cr_assert_gt(before_bps, 1000000);
			native_pair_kill(&pair, 0);
			native_pair_run(&pair, away_us[i]);
			native_pair_start(&pair, 0, NULL);
			pair.ends[0].link.delay_us = DELAY_US;
			pair.ends[0].realtime_us += S;
			if (elsewhere)
				move_by_address(&pair.ends[0]);
			native_pair_know(&pair, 0, 1, true);
			native_pair_run(&pair, 2 * S);
			cr_assert(native_pair_is_up(&pair));
			uint64_t after_bps = status_of(1).rate_bps;
			if (i == 2 || elsewhere)
				cr_assert_lt(after_bps, before_bps / 8, "%zu: %lu", i,
					(unsigned long)after_bps);
			else
				cr_assert(after_bps >= before_bps / 2 - 8 &&
						  after_bps <= before_bps / 2,
					"%zu: %lu of %lu", i, (unsigned long)after_bps,
					(unsigned long)before_bps);
			native_pair_fini(&pair);
		}
	}
}

Test(native_roaming, who_moves_itself_forgets_its_own_address)
{
	open_up(NULL, false);
	move_by_address(&pair.ends[0]);
	kcpvpn_native_network_changed(pair.ends[0].native, pair.now_us);
	native_pair_exchange(&pair);
	cr_assert_eq(native_path_address(pair.ends[0].peers[1])->local.family, 0);
	native_pair_run(&pair, S);
	/* The other end did not move: it is no candidate because it reaches us elsewhere. */
	cr_assert_eq(pair.ends[0].peers[1]->data.counters.roam[ROAM_CANDIDATE], 0);
	native_pair_fini(&pair);
}

Test(native_roaming, an_idle_end_that_knows_that_its_network_changed_is_found_at_once)
{
	open_up(NULL, false);
	native_pair_run(&pair, 60 * S);
	move_by_address(&pair.ends[0]);
	kcpvpn_native_network_changed(pair.ends[0].native, pair.now_us);
	native_pair_run(&pair, 4 * DELAY_US);
	expect_at(1, &pair.ends[0].address);
	native_load_watch(&load);
	native_load_run(&load, S, 0, 200, 500);
	cr_assert_leq(load.ways[1].gap_us, GAP_US);
	native_pair_fini(&pair);
}

Test(native_roaming, a_pinned_peer_is_not_followed)
{
	struct native_end_options options = native_pair_options();
	struct kcpvpn_endpoint old;

	options.peer.roaming = false;
	open_up(&options, true);
	old = pair.ends[0].address;
	move_by_address(&pair.ends[0]);
	native_load_run(&load, 3 * S, 200, 0, 500);
	expect_at(1, &old);
	cr_assert_eq(seen.challenges + seen.others, 0);
	native_pair_fini(&pair);
}

Test(native_roaming, a_peer_pinned_to_its_targets_is_not_moved_by_its_own_call)
{
	struct native_end_options options = native_pair_options();
	struct kcpvpn_endpoint endpoint, target;

	native_pair_init(&pair, 6);
	native_pair_start(&pair, 0, NULL);
	options.peer.roaming = false;
	native_pair_start(&pair, 1, &options);
	pair.filter = NULL;
	target = pair.ends[0].address;
	native_pair_know(&pair, 1, 0, true);
	/* It calls from somewhere else. */
	move_by_port(&pair.ends[0]);
	native_pair_know(&pair, 0, 1, true);
	native_pair_run(&pair, 3 * S);
	cr_assert(!kcpvpn_peer_endpoint(pair.ends[1].peers[0], &endpoint) ||
		  kcpvpn_endpoint_equal(&endpoint, &target));
	cr_assert_eq(pair.ends[1].sent[12], 0, "DATA has nowhere to go");
	native_pair_fini(&pair);
	/* Without targets there is nothing to be pinned to but where it calls from. */
	open_up(&options, false);
	expect_at(1, &pair.ends[0].address);
	native_pair_fini(&pair);
}

/* Each call of end 0 comes to end 1 from elsewhere first. */
static bool call_from_elsewhere(
	struct native_end *from, const struct kcpvpn_endpoint *to, uint8_t *bytes, size_t len)
{
	struct kcpvpn_endpoint other = native_pair_endpoint(99);

	(void)to;
	if (from->number == 0 && bytes[0] == 8)
		native_pair_inject(&pair.ends[1], &other, bytes, len);
	return true;
}

static bool end_1_asks(struct native_pair *p)
{
	return p->ends[1].sent[12] > 0;
}

Test(native_roaming, a_pinned_peer_whose_call_was_copied_is_found_all_the_same)
{
	/* No targets, the right one, another one, another one before it answered. */
	for (int targets = 0; targets < 4; targets++) {
		struct native_end_options options = native_pair_options();
		struct kcpvpn_endpoint endpoint;

		options.peer.roaming = false;
		native_pair_init(&pair, 6);
		native_pair_start(&pair, 0, NULL);
		native_pair_start(&pair, 1, &options);
		pair.ends[0].link.delay_us = pair.ends[1].link.delay_us = DELAY_US;
		pair.filter = call_from_elsewhere;
		native_pair_know(&pair, 1, 0, false);
		struct kcpvpn_target target = {pair.ends[0].address, &pair.ends[1].port};
		if (targets == 2)
			target.remote = native_pair_endpoint(50);
		/* End 0 sends last and alone: what it can reach end 1 by must come from its own call. */
		native_pair_know(&pair, 0, 1, true);
		if (targets > 0)
			kcpvpn_peer_set_targets(pair.ends[1].peers[0], &target, 1, pair.now_us);
		pair.ends[1].peers[0]->config.persistent = false;
		if (targets == 3) {
			cr_assert(native_pair_run_until(&pair, end_1_asks, S));
			target.remote = native_pair_endpoint(50);
			kcpvpn_peer_set_targets(pair.ends[1].peers[0], &target, 1, pair.now_us);
		}
		native_pair_run(&pair, S);
		if (targets < 2) {
			expect_at(1, &pair.ends[0].address);
			cr_assert_gt(pair.ends[1].sent[12], 0);
		} else {
			cr_assert_not(kcpvpn_peer_endpoint(pair.ends[1].peers[0], &endpoint));
			cr_assert(targets == 3 || pair.ends[1].sent[12] == 0,
				"its targets are elsewhere");
		}
		native_pair_fini(&pair);
	}
}

/* ---- pretenders --------------------------------------------------------------------------------------------------- */

static const struct kcpvpn_endpoint elsewhere = {
	.address = {198, 51, 100, 7}, .port = 666, .family = 4};

static bool nothing_to_hold(struct native_pair *p)
{
	(void)p;
	return !seen.hold;
}

/* The next DATA of end 0 is held back, and comes to end 1 from elsewhere. */
static void copy_from_elsewhere(void)
{
	uint8_t held[sizeof(seen.held)];

	seen.hold = true;
	while (seen.hold) {
		(void)native_load_give(&load, 0, 0, 500);
		native_pair_run(&pair, MS);
	}
	memcpy(held, seen.held, seen.held_len);
	native_pair_inject(&pair.ends[1], &elsewhere, held, seen.held_len);
}

Test(native_roaming, a_fresh_datagram_from_elsewhere_earns_challenges_and_nothing_else)
{
	open_up(NULL, false);
	copy_from_elsewhere();
	native_load_watch(&load);
	native_load_run(&load, 5 * S, 200, 200, 500);
	expect_at(1, &pair.ends[0].address);
	/* To it and nobody else; end 0 answers those that went to it. */
	cr_assert_eq(seen.others, 0);
	cr_assert_eq(seen.challenges, 5);
	cr_assert_eq(seen.stray, seen.challenges);
	cr_assert_leq(load.ways[1].gap_us, 3 * DELAY_US);
	/* That nobody answered them is no loss on the path. */
	cr_assert_eq(kcp_path_stats(pair.ends[1].peers[0]->data.path)->lost_datagrams, 0);
	native_pair_fini(&pair);
}

Test(native_roaming, a_copied_keepalive_earns_one_challenge)
{
	struct native_end_options options = native_pair_options();
	uint8_t held[sizeof(seen.held)];

	options.peer.keepalive_us = 25 * S;
	open_up(&options, false);
	native_pair_run(&pair, 15 * S);
	seen.hold = true;
	cr_assert(native_pair_run_until(&pair, nothing_to_hold, 40 * S));
	cr_assert_eq(seen.held_len, SEAL_DATAGRAM_MIN);
	memcpy(held, seen.held, seen.held_len);
	native_pair_inject(&pair.ends[1], &elsewhere, held, seen.held_len);
	native_pair_run(&pair, 5 * S);
	expect_at(1, &pair.ends[0].address);
	cr_assert_eq(seen.challenges, 1);
	cr_assert_eq(seen.others, 0);
	native_pair_fini(&pair);
}

Test(native_roaming, copies_of_what_came_earn_nothing)
{
	open_up(NULL, false);
	uint64_t replays = status_of(1).drop_replay;
	seen.hold = true;
	while (seen.hold)
		native_load_run(&load, 10 * MS, 200, 0, 500);
	/* It arrives, and then again from elsewhere, a hundred times. */
	native_pair_inject(&pair.ends[1], &pair.ends[0].address, seen.held, seen.held_len);
	uint64_t memory = status_of(1).memory_bytes;
	for (int i = 0; i < 100; i++) {
		uint8_t copy[sizeof(seen.held)];
		struct kcpvpn_endpoint from = elsewhere;
		from.port = (uint16_t)(1000 + i);
		memcpy(copy, seen.held, seen.held_len);
		native_pair_inject(&pair.ends[1], &from, copy, seen.held_len);
	}
	native_pair_run(&pair, 3 * S);
	cr_assert_eq(status_of(1).drop_replay - replays, 100);
	expect_at(1, &pair.ends[0].address);
	cr_assert_eq(seen.challenges + seen.others + seen.stray, 0);
	cr_assert_leq(status_of(1).memory_bytes, memory);
	native_pair_fini(&pair);
}

Test(native_roaming, a_late_datagram_from_elsewhere_earns_nothing)
{
	open_up(NULL, false);
	seen.hold = true;
	while (seen.hold)
		native_load_run(&load, 10 * MS, 200, 0, 500);
	uint8_t late[sizeof(seen.held)];
	size_t len = seen.held_len;
	memcpy(late, seen.held, len);
	native_load_run(&load, 500 * MS, 200, 0, 500);
	native_pair_inject(&pair.ends[1], &elsewhere, late, len); /* fresh, but not the newest */
	native_pair_run(&pair, 3 * S);
	expect_at(1, &pair.ends[0].address);
	cr_assert_eq(seen.challenges + seen.others + seen.stray, 0);
	native_pair_fini(&pair);
}

Test(native_roaming, who_only_forwards_the_answer_from_elsewhere_is_not_the_peer)
{
	/* Challenges to end 0 at its own address are answered from there: that proves nothing about elsewhere. */
	open_up(NULL, false);
	for (int i = 0; i < 20; i++) {
		copy_from_elsewhere();
		native_pair_run(&pair, 200 * MS);
		expect_at(1, &pair.ends[0].address);
	}
	cr_assert_eq(seen.others, 0);
	native_pair_fini(&pair);
}
