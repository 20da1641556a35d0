/* What a responder makes of INITs, one by one and in floods: what waits to be confirmed, what is refused, what it costs. */
#include "core/endian.h"
#include "native_handshake_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

/* ---- the responder's session that waits ----------------------------------------------------------------------------- */

Test(native_handshake_responder, an_unconfirmed_session_says_nothing_and_ends)
{
	open_losing(1U << RESP);
	cr_assert_not_null(session_of(b, NATIVE_SLOT_NEXT));
	kcpvpn_native_remove_peer(a->native, a->peers[1]);
	a->peers[1] = NULL;
	uint8_t packet[100];
	native_pair_packet(packet, sizeof(packet), 2, 1, 5, 1);
	cr_assert_eq(kcpvpn_peer_send(b->peers[0], packet, sizeof(packet), pair.now_us), -ENOTCONN);
	native_pair_run(&pair, 14 * S);
	cr_assert_not_null(session_of(b, NATIVE_SLOT_NEXT));
	native_pair_run(&pair, S);
	cr_assert_null(session_of(b, NATIVE_SLOT_NEXT));
	cr_assert_eq(b->sent[DATA], 0);
	cr_assert_eq(b->native->sessions.slots_used, 0);
	native_pair_fini(&pair);
}

Test(native_handshake_responder, what_waits_is_replaced_by_a_larger_number_or_after_five_seconds)
{
	struct caller caller;

	start_called();
	caller_init(&caller, 0);
	uint64_t seq = caller.params.init_seq;
	caller_call(&caller, 16, 9);
	const struct native_session *next = session_of(b, NATIVE_SLOT_NEXT);
	cr_assert_not_null(next);
	cr_assert_eq(next->init_seq, seq);
	/* the same number again, by another INIT */
	caller_call(&caller, 32, 9);
	cr_assert_eq(stats_of(b).drop_pending, 1);
	cr_assert_eq(session_of(b, NATIVE_SLOT_NEXT)->remote_index, 16);
	caller.params.init_seq = seq - 1;
	caller_call(&caller, 48, 9);
	cr_assert_eq(stats_of(b).drop_pending, 2);
	caller.params.init_seq = seq + 1;
	caller_call(&caller, 64, 9);
	cr_assert_eq(session_of(b, NATIVE_SLOT_NEXT)->remote_index, 64);
	cr_assert_eq(b->native->sessions.slots_used, 1);
	native_pair_run(&pair, 5 * S);
	caller.params.init_seq = seq - 995;
	caller_call(&caller, 80, 9);
	cr_assert_eq(session_of(b, NATIVE_SLOT_NEXT)->remote_index, 80, "nothing is committed yet");
	native_pair_fini(&pair);
}

Test(native_handshake_responder, what_waits_is_told_to_who_has_no_clock)
{
	struct caller caller;
	struct handshake_reject reject;

	start_called();
	caller_init(&caller, 0);
	uint64_t seq = caller.params.init_seq;
	caller_call(&caller, 16, 9);
	watch_losing(0);
	caller.params.init_seq = 3;
	caller_call(&caller, 32, 9);
	cr_assert_eq(
		handshake_reject_open(&caller.attempt, caught_first(REJECT)->bytes, &reject), 0);
	cr_assert_eq(reject.reason, HANDSHAKE_REJECT_STALE);
	cr_assert_eq(reject.last_seq, seq);
	native_pair_fini(&pair);
}

/* The caller's first word on the session that end 1 offered it last. */
static void caller_confirm(
	struct caller *caller, const struct caught *resp, uint64_t counter, uint8_t host)
{
	uint8_t params[NATIVE_PARAMS_BYTES], datagram[SEAL_OVERHEAD_BYTES];
	struct handshake_keys keys;
	struct seal_key key;
	struct kcpvpn_endpoint from = native_pair_endpoint(host);

	cr_assert_eq(handshake_resp_open(&caller->attempt, &caller->self, &caller->peer,
			     resp->bytes, params, &keys),
		HANDSHAKE_OK);
	seal_key_init(&key, keys.t_send);
	struct seal_item item = {
		.payload = datagram + SEAL_HEADER_BYTES,
		.counter = counter,
		.key = &key,
		.receiver_index = load_le32(params),
	};
	seal_batch(&item, 1);
	native_pair_inject(b, &from, datagram, sizeof(datagram));
	native_pair_exchange(&pair);
}

Test(native_handshake_responder, confirming_proves_the_address_of_the_init_or_none)
{
	for (int elsewhere = 0; elsewhere < 2; elsewhere++) {
		struct caller caller;
		struct kcpvpn_endpoint at = {0}, want = native_pair_endpoint(9);
		start_called();
		watch_losing(0);
		caller_init(&caller, 0);
		caller_call(&caller, 16, 9);
		cr_assert_not(kcpvpn_peer_endpoint(b->peers[0], &at), "an INIT proves nothing");
		caller_confirm(&caller, caught_first(RESP), 7, elsewhere ? 10 : 9);
		cr_assert_not_null(session_of(b, NATIVE_SLOT_CUR));
		cr_assert_eq(kcpvpn_peer_state(b->peers[0]) == KCPVPN_PEER_UP, !elsewhere,
			"nobody knows where to send");
		cr_assert_eq(kcpvpn_peer_endpoint(b->peers[0], &at), !elsewhere);
		cr_assert(elsewhere || kcpvpn_endpoint_equal(&at, &want));
		native_pair_fini(&pair);
	}
}

Test(native_handshake_responder, a_peer_is_answered_ten_times_a_second)
{
	struct caller caller;

	start_called();
	caller_init(&caller, 0);
	for (uint32_t i = 0; i < 100; i++) {
		caller.params.init_seq++;
		caller_call(&caller, i * 16, 9);
		native_pair_run(&pair, 10000);
	}
	cr_assert(b->sent[RESP] >= 14 && b->sent[RESP] <= 16, "%llu",
		(unsigned long long)b->sent[RESP]);
	cr_assert_eq(stats_of(b).drop_rate, 100 - b->sent[RESP]);
	cr_assert_eq(b->native->sessions.slots_used, 1);
	native_pair_fini(&pair);
}

/* ---- values and features -------------------------------------------------------------------------------------------- */

Test(native_handshake_responder, params_out_of_range_are_dropped)
{
	struct caller caller;

	start_called();
	caller_init(&caller, 0);
	caller.params.datagram_max = 1231;
	caller_call(&caller, 16, 9);
	caller.params.datagram_max = 1232;
	caller_call(&caller, 17, 9);
	cr_assert_eq(stats_of(b).drop_params, 2);
	cr_assert_eq(b->sent_bytes, 0);
	caller_call(&caller, 16, 9);
	cr_assert_eq(b->sent[RESP], 1);
	native_pair_fini(&pair);
}

Test(native_handshake_responder, a_feature_that_is_required_and_missing_is_rejected)
{
	struct caller caller;
	struct handshake_reject reject;

	start_called();
	watch_losing(0);
	caller_init(&caller, 0);
	caller.params.required = NATIVE_FEATURE_PADDING | NATIVE_FEATURE_SUPER;
	caller_call(&caller, 16, 9);
	cr_assert_eq(
		handshake_reject_open(&caller.attempt, caught_first(REJECT)->bytes, &reject), 0);
	cr_assert_eq(reject.reason, HANDSHAKE_REJECT_FEATURE);
	cr_assert_eq(b->sent[RESP], 0);
	cr_assert_not_null(strstr(status_of(b).trouble, "feature"));
	native_pair_fini(&pair);
}

Test(native_handshake_responder, features_are_those_of_both)
{
	struct caller caller;
	struct handshake_keys keys;
	struct native_params params;
	uint8_t bytes[NATIVE_PARAMS_BYTES];

	start_called();
	watch_losing(0);
	caller_init(&caller, 0);
	caller.params.features = 0xffff & ~NATIVE_FEATURE_PATH_MTU;
	caller_call(&caller, 16, 9);
	cr_assert_eq(handshake_resp_open(&caller.attempt, &caller.self, &caller.peer,
			     caught_first(RESP)->bytes, bytes, &keys),
		HANDSHAKE_OK);
	cr_assert(native_params_read(bytes, NATIVE_PARAMS_RESP, &params));
	/* the configuration here does not ask for ECN */
	const uint16_t want = NATIVE_FEATURES & ~NATIVE_FEATURE_PATH_MTU & ~NATIVE_FEATURE_ECN;
	cr_assert_eq(params.features, want);
	cr_assert_eq(params.sender_index, session_of(b, NATIVE_SLOT_NEXT)->index.number);
	cr_assert_eq(session_of(b, NATIVE_SLOT_NEXT)->params.features, want);
	native_pair_fini(&pair);
}

Test(native_handshake_responder, nothing_of_an_init_counts_before_it_is_confirmed)
{
	struct caller caller;

	open_up();
	uint64_t instance = b->peers[0]->hs.pair_peer;
	uint64_t committed = b->peers[0]->hs.committed_seq;
	/* the real owner's INIT, but nobody ever speaks on its session */
	caller_init(&caller, 0);
	caller.params.init_seq = committed + 1000;
	caller.params.tun_mtu = 600;
	caller_call(&caller, 16, 9);
	cr_assert_eq(b->sent[RESP], 2);
	cr_assert_eq(b->peers[0]->hs.pair_peer, instance);
	cr_assert_eq(b->peers[0]->hs.committed_seq, committed);
	cr_assert_eq(kcpvpn_peer_tun_mtu(b->peers[0]), 1400);
	cr_assert(native_pair_is_up(&pair));
	native_pair_run(&pair, 16 * S);
	cr_assert_null(session_of(b, NATIVE_SLOT_NEXT));
	native_pair_fini(&pair);
}

/* ---- strangers in numbers ------------------------------------------------------------------------------------------- */

static void flood(struct caller *caller, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++) {
		caller->random = i;
		struct kcpvpn_endpoint source = native_pair_endpoint(200);
		store_be32(source.address, 0x0a000000 + i);
		caller_write(caller, i * 16);
		native_pair_inject(b, &source, caller->init, sizeof(caller->init));
	}
}

Test(native_handshake_responder, under_load_a_cookie_gets_who_can_be_reached_in)
{
	struct caller stranger;

	start_two(1);
	native_pair_know(&pair, 1, 0, false);
	watch_losing(0);
	caller_init(&stranger, 100);
	/* nothing waits for the processor at first; then the line grows until load is noticed */
	flood(&stranger, 0, 1000);
	struct kcpvpn_native_stats stats = stats_of(b);
	cr_assert_eq(b->native->inits_count, INIT_GUARD_LOAD_QUEUE + 1);
	cr_assert_eq(stats.cookies_sent, 1000 - INIT_GUARD_LOAD_QUEUE - 1);
	cr_assert_eq(stats.drop_mac2, stats.cookies_sent);
	cr_assert_eq(b->sent[COOKIE], stats.cookies_sent);
	cr_assert_leq(b->sent_bytes, 1000 * HANDSHAKE_INIT_BYTES);
	/* somebody real, in the middle of it */
	native_pair_know(&pair, 0, 1, true);
	int64_t began_us = pair.now_us;
	uint32_t i = 1000;
	while (!native_pair_is_up(&pair)) {
		cr_assert_lt(pair.now_us - began_us, 5 * S);
		flood(&stranger, i, i + 50);
		i += 50;
		native_pair_run(&pair, 1000);
	}
	cr_assert_eq(stats_of(a).cookie_received, 1);
	cr_assert_eq(a->sent[INIT], 2, "at once again, with what the cookie proves");
	cr_assert_lt(pair.now_us - began_us, S);
	cr_assert_gt(stats_of(b).under_load, 900);
	cr_assert_eq(b->native->sessions.slots_used, 1);
	native_pair_fini(&pair);
}

Test(native_handshake_responder, a_proven_address_pushes_others_out_of_the_line)
{
	struct native_end_options options = native_pair_options();
	struct caller stranger, known;
	uint8_t cookie[HANDSHAKE_MAC_BYTES];

	options.limits_off = true;
	native_pair_init(&pair, 1);
	native_pair_start(&pair, 1, &options);
	native_pair_know(&pair, 1, 0, false);
	caller_init(&stranger, 100);
	caller_init(&known, 0);
	size_t most = NATIVE_SHAKES - NATIVE_SHAKES_RESP;
	flood(&stranger, 0, 300);
	cr_assert_eq(b->native->inits_count, most);
	cr_assert_eq(stats_of(b).drop_queue, 300 - most);
	struct kcpvpn_endpoint from = native_pair_endpoint(9);
	caller_write(&known, 16);
	native_pair_inject(b, &from, known.init, sizeof(known.init));
	cr_assert_eq(stats_of(b).drop_queue, 301 - most, "it has proven nothing");
	handshake_cookies_make(&b->native->secrets->cookies, &from, mono_at_us(pair.now_us),
		&b->native->random, cookie);
	handshake_init_set_cookie(known.init, cookie);
	native_pair_inject(b, &from, known.init, sizeof(known.init));
	cr_assert_eq(b->native->inits_count, most);
	/* and it is the first to be worked on; each call does one */
	kcpvpn_native_on_deadline(b->native, pair.now_us);
	if (!session_of(b, NATIVE_SLOT_NEXT))
		kcpvpn_native_on_deadline(b->native, pair.now_us);
	cr_assert_not_null(session_of(b, NATIVE_SLOT_NEXT));
	cr_assert_geq(b->native->inits_count, most - 2);
	/* the same one twice waits once */
	native_pair_exchange(&pair);
	uint64_t dropped = stats_of(b).drop_queue;
	caller_write(&stranger, 16);
	native_pair_inject(b, &from, stranger.init, sizeof(stranger.init));
	native_pair_inject(b, &from, stranger.init, sizeof(stranger.init));
	cr_assert_eq(b->native->inits_count, 1);
	cr_assert_eq(stats_of(b).drop_queue, dropped + 1);
	/* unless it comes from elsewhere: then the answer is for both */
	from = native_pair_endpoint(10);
	native_pair_inject(b, &from, stranger.init, sizeof(stranger.init));
	cr_assert_eq(b->native->inits_count, 2);
	kcpvpn_native_close_port(b->native, &b->port, pair.now_us);
	cr_assert_eq(b->native->inits_count, 0, "there is no way left to answer");
	native_pair_fini(&pair);
}

Test(native_handshake_responder, a_flood_does_not_keep_us_from_calling)
{
	struct native_end_options options = native_pair_options();
	struct caller stranger;

	options.limits_off = true;
	native_pair_init(&pair, 1);
	native_pair_start(&pair, 1, &options);
	caller_init(&stranger, 100);
	flood(&stranger, 0, 100);
	native_pair_know(&pair, 1, 0, true);
	kcpvpn_native_on_deadline(b->native, pair.now_us);
	kcpvpn_native_on_deadline(b->native, pair.now_us);
	cr_assert_not_null(b->peers[0]->hs.attempts[0]);
	cr_assert_eq(b->native->inits_count, 99);
	native_pair_fini(&pair);
}

Test(native_handshake_responder, failures_leave_nothing)
{
	struct caller stranger;

	start_called();
	caller_init(&stranger, 100);
	caller_write(&stranger, 16);
	struct kcpvpn_endpoint from = native_pair_endpoint(9);
	for (uint32_t i = 0; i < 5000; i++) {
		store_le32(stranger.init + 8, i);
		handshake_mac(stranger.init + 152, stranger.peer.mac1_key, HANDSHAKE_KEY_BYTES,
			stranger.init, 152);
		native_pair_inject(b, &from, stranger.init, sizeof(stranger.init));
		native_pair_exchange(&pair);
		pair.now_us += 10000;
	}
	cr_assert_eq(
		stats_of(b).drop_handshake + stats_of(b).drop_rate + stats_of(b).drop_mac2, 5000);
	cr_assert_gt(stats_of(b).drop_handshake, 2500);
	cr_assert_eq(b->native->sessions.slots_used, 0);
	cr_assert_eq(b->native->indices.count, 0);
	cr_assert_null(b->native->answers.table);
	native_pair_fini(&pair);
}
