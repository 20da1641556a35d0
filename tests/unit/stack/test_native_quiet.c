/* Sessions that carry nothing but signs of life: how long they last, what ends them, and that no message ever passes under keys
 * that are older than three minutes. */
#include "native_handshake_rig.h"

#include "kcp/kcp_path.h"

#include <criterion/criterion.h>
#include <errno.h>

enum {
	KEEPALIVE_US = 25 * S,
	MESSAGE_BYTES = 100,
};

static int64_t b_keepalive_us;

static void open_kept(bool persistent, unsigned shards)
{
	struct native_end_options options = native_pair_options();

	native_pair_init(&pair, 3);
	options.peer.persistent = persistent;
	options.peer.keepalive_us = KEEPALIVE_US;
	options.shards = (uint8_t)shards;
	native_pair_start(&pair, 0, &options);
	options.peer.keepalive_us = b_keepalive_us;
	native_pair_start(&pair, 1, &options);
	a->link.delay_us = b->link.delay_us = 20000;
	native_pair_join(&pair, 0, 1, false);
	kcpvpn_peer_want(a->peers[1], pair.now_us);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, S));
}

static uint64_t handshakes(void)
{
	return status_of(a).handshakes + status_of(b).handshakes;
}

static int64_t age_us(const struct native_end *end)
{
	const struct native_session *cur = session_of(end, NATIVE_SLOT_CUR);

	cr_assert_not_null(cur);
	return pair.now_us - cur->made_at.us;
}

/* As a program does that has a packet: until it is taken. */
static void send_when_ready(struct native_end *end, struct kcpvpn_peer *peer)
{
	uint8_t packet[MESSAGE_BYTES];
	uint64_t before = pair.ends[1 - end->number].messages[end->number];
	bool given = false;

	native_pair_packet(packet, sizeof(packet), 1, 2, 5, 1);
	for (int ms = 0; ms < 300; ms++) {
		if (!given && kcpvpn_peer_ready(peer))
			given = kcpvpn_peer_send(peer, packet, sizeof(packet), pair.now_us) == 0;
		else if (!given && kcpvpn_peer_state(peer) != KCPVPN_PEER_UP)
			kcpvpn_peer_want(peer, pair.now_us);
		kcpvpn_native_flush(end->native, pair.now_us);
		native_pair_run(&pair, 1000);
	}
	cr_assert(given);
	cr_assert_eq(pair.ends[1 - end->number].messages[end->number], before + 1);
}

/* ---- how long ------------------------------------------------------------------------------------------------------- */

Test(native_quiet, signs_of_life_alone_need_no_new_keys_for_long)
{
	open_kept(true, 1);
	uint64_t data = b->sent[DATA];
	native_pair_run(&pair, 1490 * S);
	cr_assert_eq(handshakes(), 2);
	cr_assert(native_pair_is_up(&pair));
	/* Of what a sends each 25 s, one in a minute is answered: nobody need ask. */
	cr_assert_leq(b->sent[DATA] - data, 1490 / 75 + 8);
	cr_assert_leq(a->sent[DATA], 1490 / 25 + 15);
	native_pair_run(&pair, 315 * S);
	cr_assert_eq(handshakes(), 4, "new keys after all");
	cr_assert_leq(age_us(a), 315 * S);
	native_pair_run(&pair, S);
	/* The old ones go with the next silence. */
	native_pair_run(&pair, 60 * S);
	cr_assert_eq(a->native->sessions.slots_used, 1);
	cr_assert_eq(b->native->sessions.slots_used, 1);
	native_pair_fini(&pair);
}

Test(native_quiet, peers_that_came_at_once_do_not_call_at_once)
{
	int64_t first = INT64_MAX, last = 0;

	for (uint64_t seed = 0; seed < 20; seed++) {
		native_pair_open(&pair, seed, NULL);
		native_pair_run(&pair, 1499 * S);
		cr_assert_eq(handshakes(), 2);
		while (handshakes() < 4)
			native_pair_run(&pair, S);
		int64_t at = pair.now_us - 1000 * (int64_t)S;
		first = at < first ? at : first;
		last = at > last ? at : last;
		native_pair_fini(&pair);
	}
	cr_assert_gt(last - first, 150 * S);
	cr_assert_leq(last, 1802 * S);
}

Test(native_quiet, the_side_that_was_called_steps_in_if_the_caller_does_not)
{
	b_keepalive_us = KEEPALIVE_US;
	open_kept(true, 1);
	/* a does not care any more, but goes on showing that it is there */
	a->peers[1]->config.persistent = false;
	b->peers[0]->config.persistent = true;
	native_peer_touch(a->peers[1]);
	native_pair_run(&pair, 1555 * S);
	cr_assert_eq(handshakes(), 2);
	native_pair_run(&pair, 320 * S);
	cr_assert_eq(handshakes(), 4);
	cr_assert_eq(b->sent[INIT], 1);
	native_pair_fini(&pair);
}

Test(native_quiet, it_ends_for_good_where_nobody_makes_another)
{
	b_keepalive_us = KEEPALIVE_US;
	open_kept(true, 1);
	a->peers[1]->config.persistent = false;
	native_peer_touch(a->peers[1]);
	native_pair_run(&pair, 2090 * S);
	cr_assert(native_pair_is_up(&pair), "each keepalive shows that it is wanted");
	native_pair_run(&pair, 15 * S);
	cr_assert_eq(a->native->sessions.slots_used + b->native->sessions.slots_used, 0);
	native_pair_fini(&pair);
}

Test(native_quiet, who_is_called_only_when_wanted_does_not_ask_for_it)
{
	open_kept(false, 1);
	native_pair_run(&pair, 178 * S);
	cr_assert(native_pair_is_up(&pair));
	native_pair_run(&pair, 3 * S);
	cr_assert_eq(a->native->sessions.slots_used + b->native->sessions.slots_used, 0);
	cr_assert_eq(handshakes(), 2);
	native_pair_fini(&pair);
}

Test(native_quiet, a_side_that_does_not_know_of_it_gets_new_keys_as_ever)
{
	open_kept(true, 1);
	session_of(a, NATIVE_SLOT_CUR)->params.features &= (uint16_t)~NATIVE_FEATURE_QUIET;
	native_peer_touch(a->peers[1]);
	native_pair_run(&pair, 119 * S);
	cr_assert_eq(handshakes(), 2);
	native_pair_run(&pair, 7 * S);
	cr_assert_eq(handshakes(), 4);
	native_pair_fini(&pair);
}

/* ---- the other side is gone ----------------------------------------------------------------------------------------- */

Test(native_quiet, a_side_that_forgot_it_is_found_out_within_three_minutes)
{
	for (int64_t after_s = 1; after_s < 1000; after_s += 333) {
		open_kept(true, 1);
		native_pair_run(&pair, after_s * S);
		native_pair_kill(&pair, 1);
		struct native_end_options options = native_pair_options();
		options.peer.persistent = false;
		native_pair_start(&pair, 1, &options);
		native_pair_know(&pair, 1, 0, false);
		int64_t since_us = pair.now_us;
		while (status_of(b).handshakes == 0)
			native_pair_run(&pair, S);
		cr_assert_leq(pair.now_us - since_us, 166 * S);
		native_pair_fini(&pair);
	}
}

Test(native_quiet, without_signs_of_life_it_ends_as_any_other)
{
	for (int64_t after_s = 1; after_s < 1000; after_s += 333) {
		open_kept(true, 1);
		native_pair_run(&pair, after_s * S);
		lose = ~0u;
		pair.filter = NULL;
		watch_losing(~0u);
		native_pair_run(&pair, 181 * S);
		cr_assert_eq(b->native->sessions.slots_used, 0);
		cr_assert_eq(a->native->sessions.slots_used, 0);
		cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
		cr_assert_eq(kcpvpn_peer_state(b->peers[0]), KCPVPN_PEER_IDLE);
		native_pair_fini(&pair);
	}
}

Test(native_quiet, losses_do_not_end_it)
{
	open_kept(true, 1);
	a->link.loss_ppm = b->link.loss_ppm = 200000;
	uint64_t before = handshakes();
	for (int minutes = 0; minutes < 24; minutes++) {
		native_pair_run(&pair, 60 * S);
		cr_assert(native_pair_is_up(&pair));
	}
	/* A question that is lost four times in a row brings a call: seldom. */
	cr_assert_leq(handshakes() - before, 8);
	native_pair_fini(&pair);
}

/* ---- messages ------------------------------------------------------------------------------------------------------- */

Test(native_quiet, what_carried_a_message_gets_new_keys_after_two_minutes)
{
	for (int from = 0; from < 2; from++) {
		open_kept(true, 1);
		native_pair_run(&pair, 60 * S);
		carry_one(&pair.ends[from]);
		native_pair_run(&pair, 58 * S);
		cr_assert_eq(handshakes(), 2);
		native_pair_run(&pair, 8 * S);
		cr_assert_eq(handshakes(), 4);
		/* and that is quiet again */
		native_pair_run(&pair, 1400 * S);
		cr_assert_eq(handshakes(), 4);
		native_pair_fini(&pair);
	}
}

Test(native_quiet, the_first_message_after_two_minutes_brings_new_keys_at_once)
{
	for (int from = 0; from < 2; from++) {
		open_kept(true, 1);
		native_pair_run(&pair, (from == 0 ? 130 : 160) * S);
		cr_assert_eq(handshakes(), 2);
		carry_one(&pair.ends[from]);
		cr_assert_eq(pair.ends[1 - from].messages[from], 1);
		cr_assert_eq(handshakes(), 4);
		native_pair_fini(&pair);
	}
}

Test(native_quiet, after_three_minutes_new_keys_come_before_the_first_message)
{
	for (int from = 0; from < 2; from++) {
		open_kept(true, 1);
		native_pair_run(&pair, 700 * S);
		cr_assert_eq(handshakes(), 2);
		struct kcpvpn_peer *peer = pair.ends[from].peers[1 - from];
		uint8_t packet[MESSAGE_BYTES];
		native_pair_packet(packet, sizeof(packet), 1, 2, 5, 1);
		cr_assert_eq(kcpvpn_peer_state(peer), KCPVPN_PEER_UP);
		cr_assert_eq(
			kcpvpn_peer_send(peer, packet, sizeof(packet), pair.now_us), -ENOTCONN);
		int64_t since_us = pair.now_us;
		send_when_ready(&pair.ends[from], peer);
		cr_assert_eq(handshakes(), 4);
		cr_assert_leq(age_us(a), pair.now_us - since_us);
		cr_assert_eq(stats_of(a).drop_expired + stats_of(b).drop_expired, 0);
		native_pair_fini(&pair);
	}
}

/* a takes its keys for younger than they are. */
Test(native_quiet, a_message_under_old_keys_is_refused)
{
	uint8_t packet[MESSAGE_BYTES];

	open_kept(true, 1);
	native_pair_run(&pair, 700 * S);
	watch_losing(1U << INIT);
	session_of(a, NATIVE_SLOT_CUR)->made_at.us += 700 * S;
	session_of(a, NATIVE_SLOT_CUR)->rekey_at.us += 700 * S;
	native_pair_packet(packet, sizeof(packet), 1, 2, 5, 1);
	cr_assert_eq(kcpvpn_peer_send(a->peers[1], packet, sizeof(packet), pair.now_us), 0);
	native_pair_run(&pair, 300000);
	cr_assert_eq(b->messages[0], 0);
	cr_assert_geq(stats_of(b).drop_expired, 1);
	/* Signs of life are taken, and it is still quiet here: nothing of what came was believed. */
	cr_assert(native_pair_is_up(&pair));
	cr_assert(!session_of(b, NATIVE_SLOT_CUR)->data.loud);
	watch_losing(0);
	call_anew(a);
	native_pair_run(&pair, S);
	carry_one(a);
	cr_assert_geq(b->messages[0], 1);
	native_pair_fini(&pair);
}

/* ---- shards --------------------------------------------------------------------------------------------------------- */

Test(native_quiet, another_shard_gets_new_keys_before_its_first_message)
{
	for (size_t from = 0; from < 2; from++) {
		open_kept(true, 3);
		native_pair_run(&pair, 700 * S);
		cr_assert_eq(handshakes(), 2);
		struct native_pair_follower *follower = &pair.ends[from].followers[2];
		struct kcpvpn_peer *peer = follower->peers[1 - from];
		uint8_t packet[MESSAGE_BYTES];
		native_pair_packet(packet, sizeof(packet), 1, 2, 5, 1);
		cr_assert_null(peer->hs.slots[NATIVE_SLOT_CUR], "its keys are gone");
		cr_assert(!kcpvpn_peer_ready(peer));
		kcpvpn_peer_want(peer, pair.now_us);
		kcpvpn_native_flush(follower->native, pair.now_us);
		native_pair_run(&pair, 300000);
		cr_assert_eq(handshakes(), 4);
		cr_assert_eq(kcpvpn_peer_send(peer, packet, sizeof(packet), pair.now_us), 0);
		kcpvpn_native_flush(follower->native, pair.now_us);
		native_pair_run(&pair, 300000);
		cr_assert_eq(pair.ends[1 - from].messages[from], 1);
		native_pair_fini(&pair);
	}
}

Test(native_quiet, what_another_shard_carried_counts)
{
	for (size_t from = 0; from < 2; from++) {
		open_kept(true, 3);
		native_pair_run(&pair, 60 * S);
		struct native_pair_follower *follower = &pair.ends[from].followers[1];
		uint8_t packet[MESSAGE_BYTES];
		native_pair_packet(packet, sizeof(packet), 1, 2, 5, 1);
		cr_assert_eq(kcpvpn_peer_send(follower->peers[1 - from], packet, sizeof(packet),
				     pair.now_us),
			0);
		kcpvpn_native_flush(follower->native, pair.now_us);
		native_pair_run(&pair, S);
		cr_assert_eq(pair.ends[1 - from].messages[from], 1);
		cr_assert(session_of(a, NATIVE_SLOT_CUR)->data.loud);
		cr_assert(session_of(b, NATIVE_SLOT_CUR)->data.loud);
		native_pair_run(&pair, 66 * S);
		cr_assert_eq(handshakes(), 4);
		native_pair_fini(&pair);
	}
}
