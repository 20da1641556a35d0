/* What a caller makes of answers, true, late, damaged and forged; and what a responder answers again. */
#include "core/endian.h"
#include "native_handshake_rig.h"

#include <criterion/criterion.h>
#include <string.h>

Test(native_handshake_answers, the_same_init_gets_the_same_answer_twelve_times_at_each_place)
{
	open_watched(NULL);
	native_pair_run(&pair, 1000);
	const struct caught init = *caught_first(INIT), resp = *caught_first(RESP);
	for (int i = 0; i < 60; i++) {
		struct kcpvpn_endpoint from = native_pair_endpoint((uint8_t)(40 + i / 20));
		caught_count = 0;
		native_pair_inject(b, &from, init.bytes, init.len);
		native_pair_exchange(&pair);
		cr_assert_eq(caught_count, i % 20 < 12);
		if (caught_count == 0)
			continue;
		cr_assert_arr_eq(caught[0].bytes, resp.bytes, resp.len);
		cr_assert(kcpvpn_endpoint_equal(&caught[0].to, &from));
	}
	cr_assert_eq(stats_of(b).resp_repeated, 36);
	cr_assert_eq(stats_of(b).drop_rate, 24);
	cr_assert_eq(stats_of(b).resp_sent, 1);
	cr_assert_eq(b->native->sessions.slots_used, 1);
	native_pair_fini(&pair);
}

/* Somebody who sees INITs, and is faster than the path, repeats them from addresses of his own making. */
Test(native_handshake_answers, copies_from_elsewhere_do_not_use_up_the_callers_answers)
{
	open_losing(1U << INIT);
	const struct caught init = *caught_first(INIT);
	for (int i = 0; i < 200; i++) {
		struct kcpvpn_endpoint from = native_pair_endpoint((uint8_t)(10 + i));
		native_pair_inject(b, &from, init.bytes, init.len);
		native_pair_exchange(&pair);
	}
	cr_assert_eq(stats_of(b).drop_rate, 0);
	lose = 0;
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, S / 2), "at its first repeat");
	cr_assert_eq(b->native->sessions.slots_used, 1);
	native_pair_fini(&pair);
}

Test(native_handshake_answers, old_recordings_change_nothing)
{
	open_up();
	const struct caught init = *caught_first(INIT), resp = *caught_first(RESP);
	struct kcpvpn_endpoint elsewhere = native_pair_endpoint(66), at;
	native_pair_run(&pair, 20 * S);
	uint64_t sessions = b->native->sessions.slots_used;
	caught_count = 0;
	for (int i = 0; i < 100; i++) {
		native_pair_inject(b, &elsewhere, init.bytes, init.len);
		native_pair_inject(a, &elsewhere, resp.bytes, resp.len);
		native_pair_inject(a, &b->address, resp.bytes, resp.len);
		native_pair_exchange(&pair);
	}
	cr_assert_eq(b->sent[RESP], 1);
	/* What it says is for the eyes of the owner of that INIT, and shorter than that. */
	cr_assert_eq(b->sent[REJECT], 100);
	for (size_t i = 0; i < caught_count; i++)
		cr_assert_eq(caught[i].len, 64);
	cr_assert_eq(stats_of(b).drop_stale, 100);
	cr_assert_eq(stats_of(a).drop_index, 200);
	cr_assert_eq(b->native->sessions.slots_used, sessions);
	cr_assert(kcpvpn_peer_endpoint(b->peers[0], &at));
	cr_assert(kcpvpn_endpoint_equal(&at, &a->address));
	cr_assert(native_pair_is_up(&pair));
	native_pair_fini(&pair);
}

/* A RESP that is damaged, or comes from elsewhere, must not end the attempt. */
Test(native_handshake_answers, bad_answers_leave_the_attempt_usable)
{
	open_losing(1U << RESP);
	const struct caught resp = *caught_first(RESP);
	struct kcpvpn_endpoint elsewhere = native_pair_endpoint(66);
	for (size_t at = 0; at < resp.len; at++) {
		uint8_t bytes[HANDSHAKE_RESP_BYTES];
		memcpy(bytes, resp.bytes, sizeof(bytes));
		bytes[at] ^= 1;
		native_pair_inject(a, &b->address, bytes, sizeof(bytes));
		native_pair_run(&pair, 60000); /* at most twenty a second are looked at */
		cr_assert_eq(
			kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING, "byte %zu", at);
	}
	cr_assert_eq(stats_of(a).drop_type, 4);
	cr_assert_geq(stats_of(a).drop_index, 4);
	cr_assert_gt(stats_of(a).drop_mac1, 100);
	native_pair_fini(&pair);

	open_losing(1U << RESP);
	const struct caught fresh = *caught_first(RESP);
	native_pair_inject(a, &elsewhere, fresh.bytes, fresh.len);
	native_pair_exchange(&pair);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
	cr_assert_eq(stats_of(a).drop_address, 1);
	for (int i = 0; i < 10; i++) {
		uint8_t bytes[HANDSHAKE_RESP_BYTES];
		memcpy(bytes, fresh.bytes, sizeof(bytes));
		bytes[50] ^= 1;
		native_pair_inject(a, &b->address, bytes, sizeof(bytes));
	}
	native_pair_inject(a, &b->address, fresh.bytes, fresh.len);
	native_pair_exchange(&pair);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_UP);
	native_pair_fini(&pair);
}

Test(native_handshake_answers, only_twenty_answers_a_second_are_looked_at)
{
	uint8_t bytes[HANDSHAKE_RESP_BYTES];

	open_losing(1U << RESP);
	memcpy(bytes, caught_first(RESP)->bytes, sizeof(bytes));
	bytes[50] ^= 1;
	/* By somebody who knows the public key of who called. */
	handshake_mac(bytes + sizeof(bytes) - HANDSHAKE_MAC_BYTES,
		a->native->secrets->self.mac1_key, HANDSHAKE_KEY_BYTES, bytes,
		sizeof(bytes) - HANDSHAKE_MAC_BYTES);
	for (int i = 0; i < 2000; i++) {
		native_pair_inject(a, &b->address, bytes, sizeof(bytes));
		native_pair_run(&pair, 1000);
	}
	struct kcpvpn_native_stats stats = stats_of(a);
	/* 2 s: one attempt, and the saved up twenty */
	cr_assert(stats.drop_handshake >= 50 && stats.drop_handshake <= 65, "%llu",
		(unsigned long long)stats.drop_handshake);
	cr_assert_eq(stats.drop_handshake + stats.drop_rate, 2000);
	native_pair_fini(&pair);
}

/* Datagrams of a type to end 0 that name its newest call, but are noise otherwise. */
static void inject_noise(uint32_t word, size_t len, int count)
{
	uint64_t random = 7;

	for (int i = 0; i < count; i++) {
		uint8_t bytes[HANDSHAKE_BYTES_MAX];
		for (size_t k = 0; k < len; k++)
			bytes[k] = (uint8_t)native_pair_random(&random);
		store_le32(bytes, word);
		store_le32(bytes + 4, a->peers[1]->hs.attempts[0]->index.number);
		native_pair_inject(a, &b->address, bytes, len);
	}
}

static void inject_all_noise(void)
{
	inject_noise(HANDSHAKE_WORD_RESP, HANDSHAKE_RESP_BYTES, 100);
	inject_noise(HANDSHAKE_WORD_COOKIE, HANDSHAKE_COOKIE_BYTES, 100);
	inject_noise(HANDSHAKE_WORD_REJECT, HANDSHAKE_REJECT_BYTES, 100);
}

/* Who sees an INIT pass has no key, but knows the index: nothing that such a one can send keeps the answer out. */
Test(native_handshake_answers, noise_does_not_keep_answers_out)
{
	uint8_t cookie[HANDSHAKE_MAC_BYTES] = {1, 2, 3}, datagram[HANDSHAKE_COOKIE_BYTES];

	start_two(1);
	a->link.delay_us = b->link.delay_us = 20000;
	watch_losing(1U << RESP);
	native_pair_join(&pair, 0, 1, false);
	for (int ms = 0; ms < 10; ms++) {
		native_pair_run(&pair, 1000);
		inject_all_noise();
	}
	/* A COOKIE behind it is used ... */
	handshake_cookie_write(&b->native->secrets->self, caught_first(INIT)->bytes, cookie,
		&b->native->random, datagram);
	native_pair_inject(a, &b->address, datagram, sizeof(datagram));
	native_pair_exchange(&pair);
	cr_assert_eq(a->sent[INIT], 2);
	/* ... and a RESP is taken. */
	native_pair_run(&pair, 40000);
	inject_all_noise();
	const struct caught resp = *caught_first(RESP);
	native_pair_inject(a, &b->address, resp.bytes, resp.len);
	native_pair_exchange(&pair);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_UP);
	cr_assert_eq(stats_of(a).drop_mac1, 1100);
	cr_assert_eq(stats_of(a).drop_handshake, 2200);
	cr_assert_eq(stats_of(a).drop_rate + stats_of(a).drop_queue, 0);
	native_pair_fini(&pair);
}

Test(native_handshake_answers, noise_does_not_keep_a_reject_out)
{
	open_up();
	native_pair_kill(&pair, 0);
	a->realtime_us = 0;
	native_pair_start(&pair, 0, NULL);
	lose = 1U << REJECT;
	caught_count = 0;
	native_pair_know(&pair, 0, 1, true);
	native_pair_run(&pair, 1000);
	inject_all_noise();
	const struct caught reject = *caught_first(REJECT);
	uint64_t sent = a->sent[INIT];
	lose = 0;
	native_pair_inject(a, &b->address, reject.bytes, reject.len);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 10000));
	cr_assert_eq(a->sent[INIT], sent + 1);
	native_pair_fini(&pair);
}

/* The second address of a peer is a place to be answered from only when it was called. */
Test(native_handshake_answers, an_answer_comes_from_where_this_call_went)
{
	start_two(1);
	native_pair_know(&pair, 0, 1, false);
	native_pair_know(&pair, 1, 0, false);
	watch_losing(0);
	struct kcpvpn_target targets[] = {
		{native_pair_endpoint(50), &a->port},
		{b->address, &a->port},
	};
	kcpvpn_peer_set_targets(a->peers[1], targets, 2, pair.now_us);
	kcpvpn_peer_want(a->peers[1], pair.now_us);
	native_pair_run(&pair, 1000);
	const struct caught init = *caught_first(INIT);
	cr_assert_eq(init.to.address[3], 50);
	native_pair_inject(b, &a->address, init.bytes, init.len);
	native_pair_exchange(&pair);
	cr_assert_eq(b->sent[RESP], 1);
	cr_assert_eq(stats_of(a).drop_address, 1);
	cr_assert_neq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_UP);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, S), "called there by now");
	native_pair_fini(&pair);
}

/* The peer moves while it is called: the answer comes from where the call went, which is not where it is by now. */
Test(native_handshake_answers, an_answer_from_where_the_call_went_is_taken_after_a_move)
{
	for (int pinned = 0; pinned < 2; pinned++) {
		struct kcpvpn_endpoint at;
		open_up();
		a->link.delay_us = b->link.delay_us = 100000;
		native_initiate(a->peers[1], NATIVE_REASON_REKEY, mono_at_us(pair.now_us));
		native_pair_run(&pair, 1000);
		cr_assert_eq(a->sent[INIT], 2);
		a->peers[1]->config.roaming = !pinned;
		struct kcpvpn_target target = {native_pair_endpoint(77), &a->port};
		kcpvpn_peer_set_targets(a->peers[1], &target, 1, pair.now_us);
		a->peers[1]->data.roam.current.remote = target.remote;
		a->peers[1]->data.address.remote = target.remote;
		native_pair_run(&pair, 220000);
		cr_assert_eq(stats_of(a).drop_address, (uint64_t)pinned,
			"only its targets, if it is pinned");
		cr_assert_eq(status_of(a).handshakes, 2 - (uint64_t)pinned);
		cr_assert(kcpvpn_peer_endpoint(a->peers[1], &at));
		cr_assert(kcpvpn_endpoint_equal(&at, pinned ? &target.remote : &b->address));
		native_pair_fini(&pair);
	}
}

/* And an answer from the address that stands first now, but was not called, is none. */
Test(native_handshake_answers, an_answer_from_where_no_call_went_yet_is_not_taken)
{
	open_losing(1U << RESP);
	const struct caught resp = *caught_first(RESP);
	struct kcpvpn_target target = {native_pair_endpoint(77), &a->port};
	kcpvpn_peer_set_targets(a->peers[1], &target, 1, pair.now_us);
	native_pair_inject(a, &target.remote, resp.bytes, resp.len);
	native_pair_exchange(&pair);
	cr_assert_eq(stats_of(a).drop_address, 1);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
	native_pair_fini(&pair);
}

/* More addresses than it can remember: those it went to last count. */
Test(native_handshake_answers, a_call_remembers_where_it_went_last)
{
	open_losing(1U << RESP);
	const struct caught resp = *caught_first(RESP);
	struct kcpvpn_target targets[KCPVPN_NATIVE_TARGETS_MAX];
	for (uint8_t i = 0; i < KCPVPN_NATIVE_TARGETS_MAX; i++)
		targets[i] =
			(struct kcpvpn_target){native_pair_endpoint((uint8_t)(100 + i)), &a->port};
	kcpvpn_peer_set_targets(a->peers[1], targets, KCPVPN_NATIVE_TARGETS_MAX, pair.now_us);
	a->peers[1]->hs.schedule.reach = ATTEMPT_REACH_ALL;
	native_pair_run(&pair, S / 2);
	targets[0].remote = native_pair_endpoint(120);
	kcpvpn_peer_set_targets(a->peers[1], targets, 1, pair.now_us);
	native_pair_run(&pair, S / 2);
	native_pair_inject(a, &b->address, resp.bytes, resp.len);
	native_pair_exchange(&pair);
	cr_assert_eq(stats_of(a).drop_address, 1);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
	native_pair_inject(a, &targets[7].remote, resp.bytes, resp.len);
	native_pair_exchange(&pair);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_UP);
	native_pair_fini(&pair);
}

Test(native_handshake_answers, an_answer_to_the_attempt_before_is_taken)
{
	open_watched(NULL);
	lose = 1U << RESP;
	native_pair_run(&pair, 7 * S);
	const struct caught *first = caught_first(RESP);
	cr_assert_not_null(a->peers[1]->hs.attempts[1]);
	native_pair_inject(a, &b->address, first->bytes, first->len);
	native_pair_exchange(&pair);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_UP);
	/* but its other half is replaced, so the younger call goes on, and brings what works */
	cr_assert_not_null(a->peers[1]->hs.attempts[0]);
	lose = 0;
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 2 * S));
	native_pair_run(&pair, S);
	cr_assert_eq(a->native->attempts.slots_used, 0);
	native_pair_fini(&pair);
}

Test(native_handshake_answers, an_answer_after_fifteen_seconds_is_too_late)
{
	open_losing(1U << RESP);
	const struct caught first = *caught_first(RESP);
	native_pair_run(&pair, 15 * S + 2000);
	native_pair_inject(a, &b->address, first.bytes, first.len);
	native_pair_exchange(&pair);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
	native_pair_fini(&pair);
}

Test(native_handshake_answers, a_cookie_is_used_at_once_but_once)
{
	uint8_t cookie[HANDSHAKE_MAC_BYTES] = {1, 2, 3};
	uint8_t datagram[HANDSHAKE_COOKIE_BYTES];

	open_losing(1U << INIT);
	const struct caught init = *caught_first(INIT);
	for (int i = 0; i < 3; i++) {
		cookie[0]++;
		handshake_cookie_write(&b->native->secrets->self, init.bytes, cookie,
			&b->native->random, datagram);
		native_pair_inject(a, &b->address, datagram, sizeof(datagram));
		native_pair_exchange(&pair);
		cr_assert_eq(a->sent[INIT], 2);
	}
	cr_assert_arr_eq(caught[1].bytes, init.bytes, 168, "all but mac2 stays as it was");
	/* what is sent again has the newest */
	native_pair_run(&pair, 400000);
	cr_assert_eq(caught_count, 3);
	uint8_t want[HANDSHAKE_INIT_BYTES];
	memcpy(want, init.bytes, sizeof(want));
	handshake_init_set_cookie(want, cookie);
	cr_assert_arr_eq(caught[2].bytes, want, sizeof(want));
	/* and after two minutes none */
	native_pair_run(&pair, 120 * S);
	caught_count = 0;
	do
		native_pair_run(&pair, S);
	while (caught_count == 0);
	static const uint8_t none[HANDSHAKE_MAC_BYTES];
	cr_assert_arr_eq(caught[0].bytes + 168, none, sizeof(none));
	native_pair_fini(&pair);
}

Test(native_handshake_answers, an_answer_may_choose_only_what_was_offered)
{
	struct native_params params = plain_params;

	open_losing(1U << INIT);
	params.features = 0xffff;
	answer_by_hand(&params);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_UP);
	cr_assert_eq(a->peers[1]->hs.limits.features, NATIVE_FEATURES & ~NATIVE_FEATURE_ECN,
		"the configuration here does not ask for ECN");
	native_pair_fini(&pair);
}

Test(native_handshake_answers, an_answer_out_of_range_is_dropped)
{
	struct native_params params = plain_params;

	open_losing(1U << INIT);
	params.instance_id = 0;
	answer_by_hand(&params);
	cr_assert_eq(stats_of(a).drop_params, 1);
	cr_assert_not_null(status_of(a).trouble);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
	params.instance_id = 4;
	answer_by_hand(&params);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_UP, "the attempt is as it was");
	native_pair_fini(&pair);
}

Test(native_handshake_answers, who_requires_what_we_lack_is_not_called_for_a_minute)
{
	struct native_params params = plain_params;

	open_losing(1U << INIT);
	params.required = NATIVE_FEATURE_SUPER;
	answer_by_hand(&params);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
	cr_assert_not_null(strstr(status_of(a).trouble, "feature"));
	lose = 0;
	native_pair_run(&pair, 59 * S);
	cr_assert_eq(a->sent[INIT], 1);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 2 * S));
	cr_assert_null(status_of(a).trouble);
	native_pair_fini(&pair);
}

Test(native_handshake_answers, attempts_end_when_calls_pause)
{
	open_watched(NULL);
	lose = 1U << INIT;
	native_pair_run(&pair, 400 * S);
	uint64_t inits = a->sent[INIT];
	do
		native_pair_run(&pair, 100000);
	while (a->sent[INIT] == inits);
	native_pair_run(&pair, 14 * S);
	cr_assert_eq(a->native->attempts.slots_used, 1);
	native_pair_run(&pair, 2 * S);
	cr_assert_eq(a->native->attempts.slots_used, 0);
	cr_assert_eq(a->native->indices.count, 0);
	native_pair_fini(&pair);
}
