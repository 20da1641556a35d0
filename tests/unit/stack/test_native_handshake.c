/* Who gets in and who does not: the handshake of the native wire between two nodes, and what orders make of it. */
#include "native_handshake_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static bool a_is_up(struct native_pair *p)
{
	return kcpvpn_peer_state(p->ends[0].peers[1]) == KCPVPN_PEER_UP;
}

/* ---- the usual way -------------------------------------------------------------------------------------------------- */

Test(native_handshake, joins_in_one_round_trip)
{
	start_two(1);
	a->link.delay_us = b->link.delay_us = 30000;
	native_pair_join(&pair, 0, 1, false);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
	cr_assert_eq(kcpvpn_peer_state(b->peers[0]), KCPVPN_PEER_IDLE);
	int64_t began_us = pair.now_us;
	cr_assert(native_pair_run_until(&pair, a_is_up, S));
	cr_assert_eq(pair.now_us - began_us, 60000, "the caller can send after a round trip");
	cr_assert(native_pair_events(a, 1) & KCPVPN_PEER_EVENT_STATE);
	cr_assert_eq(kcpvpn_peer_state(b->peers[0]), KCPVPN_PEER_IDLE, "not confirmed yet");
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, S));
	cr_assert_eq(pair.now_us - began_us, 90000);
	native_pair_run(&pair, 5 * S);
	cr_assert_eq(a->sent[INIT], 1);
	cr_assert_eq(b->sent[RESP], 1);
	cr_assert_eq(a->sent[RESP] + b->sent[INIT], 0);
	cr_assert_eq(status_of(a).handshakes, 1);
	cr_assert_eq(status_of(b).handshakes, 1);
	cr_assert_null(status_of(a).trouble);
	cr_assert_eq(kcpvpn_peer_tun_mtu(a->peers[1]), 1400);
	struct kcpvpn_endpoint at;
	cr_assert(kcpvpn_peer_endpoint(b->peers[0], &at));
	cr_assert(kcpvpn_endpoint_equal(&at, &a->address));
	/* attempts are over, and nothing is left of them in memory */
	cr_assert_eq(a->native->attempts.slots_used, 0);
	cr_assert_eq(a->native->sessions.slots_used, 1);
	cr_assert_eq(a->native->indices.count, 1);
	native_pair_fini(&pair);
}

Test(native_handshake, every_secret_goes_back_to_its_pool)
{
	open_up();
	for (size_t i = 0; i < 2; i++) {
		struct native_end *end = &pair.ends[i];
		kcpvpn_native_remove_peer(end->native, end->peers[1 - i]);
		end->peers[1 - i] = NULL;
		cr_assert_eq(end->native->sessions.slots_used, 0);
		cr_assert_eq(end->native->attempts.slots_used, 0);
		cr_assert_eq(end->native->peer_keys.slots_used, 0);
		cr_assert_eq(end->native->indices.count, 0);
		cr_assert_eq(secret_pool_bytes(&end->native->sessions), 0);
		cr_assert(kcpvpn_native_keys_locked(end->native));
	}
	native_pair_fini(&pair);
}

Test(native_handshake, the_network_key_is_part_of_it)
{
	struct native_end_options options = native_pair_options();

	options.has_network_key = true;
	options.network_key = 5;
	options.has_psk = true;
	options.psk = 9;
	open_watched(&options);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, S));
	native_pair_fini(&pair);
}

Test(native_handshake, both_may_call_at_once)
{
	for (uint64_t seed = 0; seed < 60; seed++) {
		start_two(seed);
		a->link.delay_us = b->link.delay_us = 30000;
		a->link.jitter_us = b->link.jitter_us = seed % 3 * 20000;
		native_pair_join(&pair, 0, 1, true);
		native_pair_run(&pair, S);
		cr_assert(native_pair_is_up(&pair));
		cr_assert_eq(a->native->attempts.slots_used + b->native->attempts.slots_used, 0);
		/* each sends on what the other accepts, also after a long silence */
		for (int round = 0; round < 3; round++) {
			const struct native_session *mine = session_of(a, NATIVE_SLOT_CUR);
			const struct native_session *theirs = session_of(b, NATIVE_SLOT_CUR);
			cr_assert_not_null(native_session_find(b->native, mine->remote_index),
				"seed %llu", (unsigned long long)seed);
			cr_assert_not_null(native_session_find(a->native, theirs->remote_index),
				"seed %llu", (unsigned long long)seed);
			native_pair_run(&pair, 50 * S);
		}
		native_pair_fini(&pair);
	}
}

Test(native_handshake, who_is_called_stops_calling)
{
	start_two(1);
	watch_losing(1U << INIT);
	native_pair_join(&pair, 0, 1, true);
	native_pair_run(&pair, 10000);
	cr_assert_not_null(a->peers[1]->hs.attempts[0]);
	/* of the two calls only that of b arrives */
	const struct caught *init = NULL;
	for (size_t i = 0; i < caught_count; i++)
		if (kcpvpn_endpoint_equal(&caught[i].from, &b->address))
			init = &caught[i];
	native_pair_inject(a, &b->address, init->bytes, init->len);
	native_pair_run(&pair, 10000);
	cr_assert(native_pair_is_up(&pair));
	cr_assert_null(a->peers[1]->hs.attempts[0]);
	cr_assert_not(attempt_running(&a->peers[1]->hs.schedule));
	uint64_t inits = a->sent[INIT];
	native_pair_run(&pair, 60 * S);
	cr_assert_eq(a->sent[INIT], inits);
	native_pair_fini(&pair);
}

/* ---- what an order says --------------------------------------------------------------------------------------------- */

Test(native_handshake, peers_that_no_honest_one_is)
{
	static const uint8_t small_order[KCPVPN_NATIVE_KEY_BYTES] = {1};
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES];
	struct kcpvpn_peer *peer = NULL;

	native_pair_open(&pair, 1, NULL);
	struct kcpvpn_peer_config config = a->options.peer;
	cr_assert_eq(kcpvpn_native_add_peer(a->native, &config, pair.now_us, &peer), -EINVAL);
	config.public_key = small_order;
	cr_assert_eq(kcpvpn_native_add_peer(a->native, &config, pair.now_us, &peer), -EINVAL);
	config.public_key = key;
	native_pair_public_key(0, key);
	cr_assert_eq(kcpvpn_native_add_peer(a->native, &config, pair.now_us, &peer), -EEXIST);
	native_pair_public_key(1, key);
	cr_assert_eq(kcpvpn_native_add_peer(a->native, &config, pair.now_us, &peer), -EEXIST);
	native_pair_public_key(2, key);
	config.tun_mtu = 575;
	cr_assert_eq(kcpvpn_native_add_peer(a->native, &config, pair.now_us, &peer), -EINVAL);
	config.tun_mtu = 576;
	config.dead_after_us = 2999999;
	cr_assert_eq(kcpvpn_native_add_peer(a->native, &config, pair.now_us, &peer), -EINVAL);
	config.dead_after_us = 3000000;
	cr_assert_null(peer);
	for (uint8_t i = 0; i < NATIVE_PAIR_ENDS - 1; i++) {
		key[0] = i;
		cr_assert_eq(kcpvpn_native_add_peer(a->native, &config, pair.now_us, &peer), 0);
	}
	key[0] = 99;
	cr_assert_eq(kcpvpn_native_add_peer(a->native, &config, pair.now_us, &peer), -ENOBUFS);
	cr_assert_eq(a->native->peer_keys.slots_used, NATIVE_PAIR_ENDS);
	native_pair_fini(&pair);
}

Test(native_handshake, another_configuration_keeps_the_keys)
{
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES], psk[KCPVPN_NATIVE_KEY_BYTES] = {0};

	open_up();
	struct kcpvpn_peer_config config = a->options.peer;
	cr_assert_eq(kcpvpn_peer_configure(a->peers[1], &config, pair.now_us), -EINVAL);
	native_pair_public_key(2, key);
	config.public_key = key;
	cr_assert_eq(kcpvpn_peer_configure(a->peers[1], &config, pair.now_us), -EINVAL);
	native_pair_public_key(1, key);
	psk[31] = 1;
	config.preshared_key = psk;
	cr_assert_eq(kcpvpn_peer_configure(a->peers[1], &config, pair.now_us), -EINVAL);
	psk[31] = 0;
	cr_assert_eq(kcpvpn_peer_configure(a->peers[1], &config, pair.now_us), 0);
	native_pair_run(&pair, S);
	cr_assert_eq(
		status_of(a).handshakes, 1, "nothing changed that the peer would have to know");
	config.tun_mtu = 1300;
	cr_assert_eq(kcpvpn_peer_configure(a->peers[1], &config, pair.now_us), 0);
	native_pair_run(&pair, S);
	cr_assert_eq(status_of(a).handshakes, 2);
	cr_assert_eq(kcpvpn_peer_tun_mtu(b->peers[0]), 1300);
	native_pair_fini(&pair);
}

static void set_tun_mtu(struct native_end *end, uint16_t tun_mtu)
{
	struct kcpvpn_peer_config config = end->options.peer;
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES];

	native_pair_public_key(1 - end->number, key);
	config.public_key = key;
	config.tun_mtu = tun_mtu;
	cr_assert_eq(kcpvpn_peer_configure(end->peers[1 - end->number], &config, pair.now_us), 0);
}

/* An MTU is told by handshakes alone, and one that is under way tells what was true when it began. */
Test(native_handshake, another_mtu_during_a_call_is_told_too)
{
	open_up();
	lose = 1U << INIT;
	set_tun_mtu(a, 1300);
	native_pair_run(&pair, S / 10);
	set_tun_mtu(a, 1250);
	lose = 0;
	native_pair_run(&pair, S);
	cr_assert_eq(b->peers[0]->hs.limits.tun_mtu, 1250);
	cr_assert_eq(status_of(a).handshakes, 3, "the call that ran, and one more");
	/* while it is called by the other side */
	a->link.delay_us = b->link.delay_us = 50000;
	call_anew(b);
	native_pair_run(&pair, 60000);
	cr_assert_not_null(session_of(a, NATIVE_SLOT_NEXT));
	lose = 1U << INIT; /* its own call does not get through until the other is confirmed */
	set_tun_mtu(a, 1200);
	native_pair_run(&pair, 200000);
	lose = 0;
	native_pair_run(&pair, S);
	cr_assert_eq(b->peers[0]->hs.limits.tun_mtu, 1200);
	uint64_t handshakes = status_of(a).handshakes;
	native_pair_run(&pair, 60 * S);
	cr_assert_eq(status_of(a).handshakes, handshakes, "told is told");
	native_pair_fini(&pair);
}

Test(native_handshake, a_peer_that_is_down_is_not_answered)
{
	open_watched(NULL);
	kcpvpn_peer_down(b->peers[0], KCPVPN_CLOSE_REMOVED, pair.now_us);
	native_pair_run(&pair, 10 * S);
	cr_assert_eq(b->sent[RESP] + b->sent[REJECT] + b->sent[DATA], 0);
	cr_assert_gt(stats_of(b).drop_down, 5);
	cr_assert_eq(kcpvpn_peer_state(b->peers[0]), KCPVPN_PEER_DOWN);
	kcpvpn_peer_up(b->peers[0], pair.now_us);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 2 * S));
	native_pair_fini(&pair);
}

Test(native_handshake, an_answer_is_forgotten_with_what_it_promised)
{
	open_watched(NULL);
	lose = 1U << RESP;
	native_pair_run(&pair, 200000);
	cr_assert_eq(b->sent[RESP], 1);
	kcpvpn_peer_down(b->peers[0], KCPVPN_CLOSE_REMOVED, pair.now_us);
	lose = 0;
	native_pair_run(&pair, 5 * S);
	cr_assert_eq(b->sent[RESP], 1, "the session it offers is gone");
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
	native_pair_fini(&pair);
}

Test(native_handshake, down_says_goodbye_and_the_other_side_waits_a_little)
{
	open_up();
	int64_t closed_us = pair.now_us;
	uint64_t instance = a->peers[1]->hs.pair_peer;
	kcpvpn_peer_down(b->peers[0], KCPVPN_CLOSE_SHUTDOWN, pair.now_us);
	kcpvpn_native_flush(b->native, pair.now_us);
	uint64_t inits = a->sent[INIT];
	native_pair_run(&pair, 10000);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING, "it knows at once");
	cr_assert_null(session_of(a, NATIVE_SLOT_CUR));
	native_pair_run(&pair, 5 * S - 20000);
	cr_assert_eq(a->sent[INIT], inits, "not called for 5 s");
	native_pair_run(&pair, 6 * S);
	cr_assert_gt(a->sent[INIT], inits);
	kcpvpn_peer_up(b->peers[0], pair.now_us);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 2 * S));
	cr_assert_gt(pair.now_us - closed_us, 10 * S);
	cr_assert_neq(a->peers[1]->hs.pair_peer, instance, "it began with nothing");
	native_pair_fini(&pair);
}

Test(native_handshake, data_calls_who_is_not_persistent)
{
	struct native_end_options options = native_pair_options();

	options.peer.persistent = false;
	open_watched(&options);
	lose = 1U << INIT;
	native_pair_run(&pair, 60 * S);
	cr_assert_eq(a->sent[INIT], 0, "nobody wants it");
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_IDLE);
	kcpvpn_peer_want(a->peers[1], pair.now_us);
	native_pair_run(&pair, S);
	cr_assert_eq(a->sent[INIT], 3);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
	native_pair_run(&pair, 600 * S);
	uint64_t inits = a->sent[INIT];
	cr_assert(inits >= 30 && inits <= 36, "%llu: it gives up", (unsigned long long)inits);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_IDLE);
	lose = 0;
	kcpvpn_peer_want(a->peers[1], pair.now_us);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, S));
	/* and once it is quiet again, its session ends without another */
	uint64_t handshakes = status_of(a).handshakes;
	native_pair_run(&pair, 400 * S);
	cr_assert_eq(status_of(a).handshakes, handshakes);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_IDLE);
	cr_assert_null(session_of(a, NATIVE_SLOT_CUR));
	cr_assert_eq(a->native->sessions.slots_used, 0);
	native_pair_fini(&pair);
}

Test(native_handshake, data_after_idle_begins_the_schedule_anew)
{
	open_watched(NULL);
	lose = 1U << INIT;
	native_pair_run(&pair, 400 * S);
	/* by now it calls once a minute; find a pause */
	uint64_t inits = a->sent[INIT];
	do
		native_pair_run(&pair, S);
	while (a->sent[INIT] == inits);
	native_pair_run(&pair, 8 * S);
	inits = a->sent[INIT];
	lose = 0;
	kcpvpn_peer_want(a->peers[1], pair.now_us);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 100000));
	cr_assert_eq(a->sent[INIT], inits + 1);
	native_pair_fini(&pair);
}

Test(native_handshake, targets_are_tried_in_order)
{
	start_two(1);
	native_pair_know(&pair, 0, 1, false);
	native_pair_know(&pair, 1, 0, false);
	watch_losing(0);
	struct kcpvpn_target targets[] = {
		{native_pair_endpoint(50), &a->port},
		{native_pair_endpoint(51), &a->port},
		{b->address, &a->port},
	};
	int64_t began_us = pair.now_us;
	kcpvpn_peer_set_targets(a->peers[1], targets, 3, pair.now_us);
	kcpvpn_peer_want(a->peers[1], pair.now_us);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 2 * S));
	cr_assert(pair.now_us - began_us > 800000 && pair.now_us - began_us < 1000000,
		"the third at the third transmission");
	static const uint8_t hosts[] = {50, 50, 51, 50, 51, 2};
	for (size_t i = 0; i < sizeof(hosts); i++)
		cr_assert_eq(caught[i].to.address[3], hosts[i], "%zu", i);
	native_pair_fini(&pair);
}

Test(native_handshake, the_proven_address_goes_first)
{
	open_up();
	struct kcpvpn_target targets[] = {
		{native_pair_endpoint(50), &a->port},
		{b->address, &a->port},
	};
	kcpvpn_peer_set_targets(a->peers[1], targets, 2, pair.now_us);
	caught_count = 0;
	carry_one(a);
	native_pair_run(&pair, 126 * S);
	cr_assert_eq(caught_count, 2, "a rekey: one INIT, one RESP");
	cr_assert_eq(caught_first(INIT)->to.address[3], 2);
	native_pair_fini(&pair);
}

Test(native_handshake, names_are_asked_for_again_when_nobody_answers)
{
	open_watched(NULL);
	lose = 1U << INIT;
	native_pair_run(&pair, 10 * S);
	cr_assert_not(native_pair_events(a, 1) & KCPVPN_PEER_EVENT_NAMES);
	native_pair_run(&pair, 10 * S);
	cr_assert(native_pair_events(a, 1) & KCPVPN_PEER_EVENT_NAMES);
	native_pair_fini(&pair);
}

/* It died without a word, so the session is good for minutes still. */
Test(native_handshake, names_are_asked_for_again_while_the_session_of_a_dead_peer_lives)
{
	open_up();
	native_pair_events(a, 1);
	native_pair_kill(&pair, 1);
	uint8_t packet[100];
	native_pair_packet(packet, sizeof(packet), 1, 2, 7, 1);
	cr_assert_eq(kcpvpn_peer_send(a->peers[1], packet, sizeof(packet), pair.now_us), 0);
	native_pair_run(&pair, 10 * S);
	cr_assert_not(native_pair_events(a, 1) & KCPVPN_PEER_EVENT_NAMES);
	native_pair_run(&pair, 20 * S);
	cr_assert(native_pair_events(a, 1) & KCPVPN_PEER_EVENT_NAMES);
	native_pair_fini(&pair);
}

Test(native_handshake, names_are_asked_for_again_when_somebody_falls_silent)
{
	struct native_params params = plain_params;

	open_losing(1U << INIT);
	/* an answer, even one that is good for nothing, shows that somebody is there */
	params.instance_id = 0;
	answer_by_hand(&params);
	native_pair_run(&pair, 13 * S);
	cr_assert_not(native_pair_events(a, 1) & KCPVPN_PEER_EVENT_NAMES);
	native_pair_run(&pair, 6 * S);
	cr_assert(native_pair_events(a, 1) & KCPVPN_PEER_EVENT_NAMES);
	native_pair_fini(&pair);
}

Test(native_handshake, who_is_pinned_moves_with_its_targets)
{
	struct native_end_options options = native_pair_options();
	struct kcpvpn_endpoint at;

	options.peer.roaming = false;
	open_watched(&options);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, S));
	native_pair_run(&pair, S);
	b->address = native_pair_endpoint(77);
	struct kcpvpn_target target = {b->address, &a->port};
	kcpvpn_peer_set_targets(a->peers[1], &target, 1, pair.now_us);
	native_pair_run(&pair, 100000);
	cr_assert(kcpvpn_peer_endpoint(a->peers[1], &at));
	cr_assert(kcpvpn_endpoint_equal(&at, &b->address));
	native_pair_fini(&pair);
}

/* ---- wrong keys ----------------------------------------------------------------------------------------------------- */

Test(native_handshake, another_psk_is_told_and_nothing_gets_in)
{
	struct native_end_options options = native_pair_options();

	options.has_psk = true;
	options.psk = 1;
	native_pair_init(&pair, 1);
	native_pair_start(&pair, 0, &options);
	options.psk = 2;
	native_pair_start(&pair, 1, &options);
	native_pair_join(&pair, 0, 1, true);
	native_pair_run(&pair, 60 * S);
	cr_assert_eq(a->sent[DATA] + b->sent[DATA], 0);
	for (size_t i = 0; i < 2; i++) {
		cr_assert_eq(kcpvpn_peer_state(pair.ends[i].peers[1 - i]), KCPVPN_PEER_CONNECTING);
		cr_assert_not_null(strstr(status_of(&pair.ends[i]).trouble, "preshared key"));
		cr_assert_gt(status_of(&pair.ends[i]).drop_psk, 3);
		cr_assert_eq(status_of(&pair.ends[i]).handshakes, 0);
	}
	native_pair_fini(&pair);
}

Test(native_handshake, who_only_answers_learns_of_another_psk_too)
{
	struct native_end_options options = native_pair_options();

	options.has_psk = true;
	options.psk = 1;
	native_pair_init(&pair, 1);
	native_pair_start(&pair, 0, &options);
	native_pair_start(&pair, 1, NULL);
	native_pair_join(&pair, 0, 1, false);
	native_pair_run(&pair, 60 * S);
	cr_assert_not_null(strstr(status_of(a).trouble, "preshared key"));
	cr_assert_not_null(strstr(status_of(b).trouble, "preshared key"));
	/* a right key ends it */
	native_pair_kill(&pair, 0);
	native_pair_start(&pair, 0, NULL);
	native_pair_know(&pair, 0, 1, true);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 5 * S));
	cr_assert_null(status_of(b).trouble);
	native_pair_fini(&pair);
}

Test(native_handshake, another_network_key_meets_silence)
{
	struct native_end_options options = native_pair_options();

	options.has_network_key = true;
	native_pair_init(&pair, 1);
	native_pair_start(&pair, 0, &options);
	native_pair_start(&pair, 1, NULL);
	native_pair_join(&pair, 0, 1, false);
	native_pair_run(&pair, 5 * S);
	cr_assert_null(status_of(a).trouble);
	native_pair_run(&pair, 2 * S);
	cr_assert_not_null(
		status_of(a).trouble, "one whole attempt without an answer is worth a word");
	native_pair_run(&pair, 23 * S);
	cr_assert_eq(b->sent_bytes, 0);
	cr_assert_eq(stats_of(b).drop_mac1, a->sent[INIT]);
	cr_assert_not_null(strstr(status_of(a).trouble, "no answer"));
	native_pair_fini(&pair);
}

Test(native_handshake, a_stranger_meets_silence)
{
	start_two(1);
	native_pair_know(&pair, 0, 1, true);
	native_pair_run(&pair, 30 * S);
	cr_assert_eq(b->sent_bytes, 0);
	cr_assert_eq(stats_of(b).drop_unknown_peer, a->sent[INIT]);
	cr_assert_eq(b->native->sessions.slots_used, 0);
	native_pair_fini(&pair);
}
