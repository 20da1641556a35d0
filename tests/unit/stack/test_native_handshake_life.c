/* When handshakes are made, what the new session does to the ones before, and how many are made at once. */
#include "kcp/kcp_path_state.h"
#include "native_handshake_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

/* ---- time ----------------------------------------------------------------------------------------------------------- */

/* Until the end has made another session. @return how old the one before is then */
static int64_t age_at_next(const struct native_end *end, int64_t made_us)
{
	uint64_t before = status_of(end).handshakes;

	while (status_of(end).handshakes == before)
		native_pair_run(&pair, 10000);
	return pair.now_us - made_us;
}

static void expect_age(int64_t age_us, int64_t least_s)
{
	cr_assert(age_us >= least_s * S && age_us <= (least_s + 5) * S + 20000, "%lld us",
		(long long)age_us);
}

Test(native_handshake_life, the_caller_makes_new_keys_after_two_minutes)
{
	for (uint64_t seed = 0; seed < 20; seed++) {
		native_pair_open(&pair, seed, NULL);
		native_pair_run(&pair, S);
		int64_t made_us = session_of(a, NATIVE_SLOT_CUR)->made_at.us;
		uint64_t instance = a->peers[1]->hs.pair_own;
		carry_one(seed % 2 ? a : b);
		expect_age(age_at_next(a, made_us), 120);
		native_pair_run(&pair, S);
		cr_assert_eq(status_of(b).handshakes, 2);
		cr_assert_eq(b->sent[INIT], 0);
		cr_assert_eq(a->peers[1]->hs.pair_own, instance);
		cr_assert_not_null(session_of(a, NATIVE_SLOT_PREV));
		native_pair_run(&pair, 35 * S);
		cr_assert_null(session_of(a, NATIVE_SLOT_PREV), "30 s after its last datagram");
		cr_assert_null(session_of(b, NATIVE_SLOT_PREV));
		native_pair_fini(&pair);
	}
}

Test(native_handshake_life, the_other_side_steps_in_half_a_minute_later)
{
	start_two(1);
	native_pair_know(&pair, 0, 1, true);
	native_pair_know(&pair, 1, 0, false);
	native_pair_run(&pair, S);
	int64_t made_us = session_of(b, NATIVE_SLOT_CUR)->made_at.us;
	carry_one(b);
	/* b wants it alive, a does not care any more */
	b->peers[0]->config.persistent = true;
	native_peer_touch(b->peers[0]);
	a->peers[1]->config.persistent = false;
	a->peers[1]->payload_at = MONO_NEVER;
	native_peer_touch(a->peers[1]);
	expect_age(age_at_next(b, made_us), 150);
	cr_assert_eq(b->sent[INIT], 1);
	native_pair_fini(&pair);
}

Test(native_handshake_life, nothing_lives_longer_than_three_minutes)
{
	uint8_t packet[100];

	open_up();
	int64_t made_us = session_of(a, NATIVE_SLOT_CUR)->made_at.us;
	lose = 1U << INIT;
	native_pair_packet(packet, sizeof(packet), 1, 2, 5, 1);
	while (pair.now_us < made_us + 179 * S) {
		(void)kcpvpn_peer_send(a->peers[1], packet, sizeof(packet), pair.now_us);
		native_pair_run(&pair, 500000);
	}
	cr_assert(native_pair_is_up(&pair));
	native_pair_run(&pair, 2 * S);
	cr_assert_null(session_of(a, NATIVE_SLOT_CUR));
	cr_assert_null(session_of(b, NATIVE_SLOT_CUR));
	cr_assert_eq(kcpvpn_peer_send(a->peers[1], packet, sizeof(packet), pair.now_us), -ENOTCONN);
	cr_assert_eq(a->native->sessions.slots_used, 0);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
	lose = 0;
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 2 * S));
	native_pair_fini(&pair);
}

Test(native_handshake_life, after_a_long_sleep_nothing_old_is_used)
{
	uint8_t packet[100];

	open_up();
	native_pair_packet(packet, sizeof(packet), 1, 2, 5, 1);
	for (int hours = 1; hours < 20; hours += 6) {
		pair.now_us += (int64_t)hours * 3600 * S;
		/* before any timer was served */
		cr_assert_eq(kcpvpn_peer_send(a->peers[1], packet, sizeof(packet), pair.now_us),
			-ENOTCONN);
		kcpvpn_native_network_changed(a->native, pair.now_us);
		cr_assert(native_pair_run_until(&pair, native_pair_is_up, S));
		cr_assert_lt(pair.now_us - session_of(a, NATIVE_SLOT_CUR)->made_at.us, S);
		native_pair_run(&pair, S);
	}
	native_pair_fini(&pair);
}

Test(native_handshake_life, who_gets_no_data_through_calls_less_and_less)
{
	open_watched(NULL);
	lose = 1U << DATA;
	native_pair_run(&pair, 30 * S);
	uint64_t made = status_of(a).handshakes;
	cr_assert(made >= 4 && made <= 8, "%llu", (unsigned long long)made);
	cr_assert_leq(a->native->sessions.slots_used, 3);
	native_pair_run(&pair, 300 * S);
	cr_assert_leq(status_of(a).handshakes, made + 10);
	lose = 0;
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 80 * S));
	native_pair_fini(&pair);
}

/* What end 0 sends on is what end 1 sends on. */
static bool peers_agree(struct native_pair *p)
{
	const struct native_session *own = p->ends[0].peers[1]->hs.slots[NATIVE_SLOT_CUR];
	const struct native_session *other = p->ends[1].peers[0]->hs.slots[NATIVE_SLOT_CUR];

	return own && other && own->index.number == other->remote_index;
}

/* As above while a session works: the peer goes on sending on that, for it never heard of another. */
Test(native_handshake_life, what_the_peer_sends_on_stays_while_new_keys_do_not_get_through)
{
	open_up();
	uint32_t index = session_of(a, NATIVE_SLOT_CUR)->index.number;
	lose = 1U << DATA;
	for (uint64_t i = 0; i < 6; i++) {
		call_anew(a);
		native_pair_run(&pair, 1500000);
		attempt_stop(&a->peers[1]->hs.schedule);
		cr_assert_eq(status_of(a).handshakes, 2 + i);
		cr_assert_eq(session_of(b, NATIVE_SLOT_CUR)->remote_index, index);
		cr_assert_not_null(native_session_find(a->native, index), "call %d", (int)i);
		cr_assert_leq(a->native->sessions.slots_used, 3);
	}
	/* Once something comes on another it is over for the old one. */
	lose = 0;
	cr_assert(native_pair_run_until(&pair, peers_agree, 20 * S));
	native_pair_run(&pair, 35 * S);
	cr_assert_null(native_session_find(a->native, index));
	native_pair_fini(&pair);
}

Test(native_handshake_life, keys_are_changed_by_count_too)
{
	open_up();
	session_of(a, NATIVE_SLOT_CUR)->data.sealed = NATIVE_REKEY_DATAGRAMS - 2;
	native_peer_touch(a->peers[1]);
	native_pair_run(&pair, 5 * S);
	cr_assert_eq(status_of(a).handshakes, 1);
	session_of(a, NATIVE_SLOT_CUR)->data.sealed = NATIVE_REKEY_DATAGRAMS;
	native_peer_touch(a->peers[1]);
	native_pair_run(&pair, 100000);
	cr_assert_eq(status_of(a).handshakes, 2);
	native_pair_fini(&pair);
}

Test(native_handshake_life, numbers_begin_anew_long_before_they_end)
{
	open_up();
	uint64_t instance = a->peers[1]->hs.own_instance;
	kcp_sent_skip(&a->peers[1]->data.path->sent, NATIVE_RENEW_NUMBER - 100);
	native_initiate(a->peers[1], NATIVE_REASON_REKEY, mono_at_us(pair.now_us));
	native_pair_run(&pair, S);
	cr_assert_eq(status_of(a).handshakes, 2);
	cr_assert_eq(a->peers[1]->hs.own_instance, instance);
	kcp_sent_skip(&a->peers[1]->data.path->sent, NATIVE_RENEW_NUMBER);
	native_initiate(a->peers[1], NATIVE_REASON_REKEY, mono_at_us(pair.now_us));
	native_pair_run(&pair, S);
	cr_assert_eq(status_of(a).handshakes, 3);
	cr_assert_neq(a->peers[1]->hs.own_instance, instance);
	cr_assert_eq(b->peers[0]->hs.pair_peer, a->peers[1]->hs.own_instance);
	cr_assert_lt(kcp_path_next_pn(a->peers[1]->data.path), 1000);
	cr_assert(native_pair_is_up(&pair));
	native_pair_fini(&pair);
}

/* ---- instances ------------------------------------------------------------------------------------------------------ */

Test(native_handshake_life, a_restart_is_another_instance)
{
	open_up();
	uint64_t old = b->peers[0]->hs.pair_peer;
	uint32_t index = session_of(b, NATIVE_SLOT_CUR)->index.number;
	restart_a_at(a->realtime_us);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, S));
	native_pair_run(&pair, 100000);
	cr_assert_neq(b->peers[0]->hs.pair_peer, old);
	cr_assert_eq(b->peers[0]->hs.pair_peer, a->peers[1]->hs.own_instance);
	cr_assert_null(native_session_find(b->native, index), "sessions of the dead one are gone");
	cr_assert_null(session_of(b, NATIVE_SLOT_PREV));
	native_pair_fini(&pair);
}

Test(native_handshake_life, an_answer_from_before_a_restart_revives_nothing)
{
	open_up();
	/* a calls again; the answer is late */
	lose = 1U << RESP;
	caught_count = 0;
	call_anew(b);
	native_pair_run(&pair, 100000);
	const struct caught late = *caught_first(RESP);
	lose = 0;
	/* meanwhile a begins anew */
	restart_a_at(a->realtime_us);
	native_pair_run(&pair, 300000);
	uint64_t instance = a->peers[1]->hs.own_instance;
	cr_assert_eq(b->peers[0]->hs.pair_peer, instance);
	native_pair_inject(b, &a->address, late.bytes, late.len);
	native_pair_exchange(&pair);
	cr_assert_eq(b->peers[0]->hs.pair_peer, instance);
	cr_assert(native_pair_is_up(&pair));
	native_pair_fini(&pair);
}

/* B calls anew while A's own call to the dead B is answered late: what B offers must not go with what is dead. */
Test(native_handshake_life, a_late_answer_of_the_dead_instance_does_not_erase_what_waits)
{
	open_up();
	lose = 1U << RESP | 1U << DATA;
	caught_count = 0;
	call_anew(a);
	native_pair_run(&pair, 1000);
	const struct caught late = *caught_first(RESP);
	native_pair_kill(&pair, 1);
	native_pair_start(&pair, 1, NULL);
	a->link.delay_us = b->link.delay_us = 50000;
	lose = 0;
	native_pair_know(&pair, 1, 0, true);
	native_pair_run(&pair, 60000);
	uint64_t instance = b->peers[0]->hs.own_instance;
	cr_assert_not_null(session_of(a, NATIVE_SLOT_NEXT));
	cr_assert_eq(session_of(a, NATIVE_SLOT_NEXT)->peer_instance, instance);
	native_pair_inject(a, &b->address, late.bytes, late.len);
	native_pair_exchange(&pair);
	cr_assert_eq(status_of(a).handshakes, 2, "it was taken");
	cr_assert_not_null(session_of(a, NATIVE_SLOT_NEXT));
	/* B's confirming PING was on its way. */
	native_pair_run(&pair, 100000);
	cr_assert_eq(a->peers[1]->hs.pair_peer, instance);
	cr_assert_eq(session_of(a, NATIVE_SLOT_CUR)->peer_instance, instance);
	native_pair_fini(&pair);
}

/* Of two calls the older reached the new instance, the younger the one that is dead: its answer comes last. */
Test(native_handshake_life, a_late_answer_of_the_dead_instance_is_not_taken)
{
	open_up();
	lose = 1U << RESP | 1U << INIT;
	caught_count = 0;
	call_anew(b);
	native_pair_run(&pair, 5 * S);
	const struct caught older = *caught_first(INIT);
	caught_count = 0;
	lose = 1U << RESP;
	native_pair_run(&pair, 2 * S);
	const struct caught late = *caught_first(RESP);
	cr_assert_not_null(b->peers[0]->hs.attempts[1]);
	restart_a_at(a->realtime_us);
	lose = 1U << RESP | 1U << INIT | 1U << DATA;
	caught_count = 0;
	native_pair_inject(a, &b->address, older.bytes, older.len);
	native_pair_exchange(&pair);
	const struct caught fresh = *caught_first(RESP);
	native_pair_inject(b, &a->address, fresh.bytes, fresh.len);
	native_pair_exchange(&pair);
	uint64_t instance = a->peers[1]->hs.own_instance;
	cr_assert_eq(b->peers[0]->hs.pair_peer, instance);
	native_pair_inject(b, &a->address, late.bytes, late.len);
	native_pair_exchange(&pair);
	cr_assert_eq(b->peers[0]->hs.pair_peer, instance);
	native_pair_fini(&pair);
}

/* End 0 answered an instance of end 1 that is dead by now, and learned of no pair yet: DATA of the dead one comes late. */
static struct caught dead_data;

static bool hold_first_data(
	struct native_end *from, const struct kcpvpn_endpoint *to, uint8_t *bytes, size_t len)
{
	if (from == a && bytes[0] == INIT)
		return false;
	if (from != b || bytes[0] != DATA)
		return true;
	if (dead_data.len == 0 && len <= sizeof(dead_data.bytes)) {
		dead_data = (struct caught){from->address, *to, pair.now_us, len, {0}};
		memcpy(dead_data.bytes, bytes, len);
	}
	return false;
}

Test(native_handshake_life, what_waits_of_a_dead_instance_goes_with_the_first_pair)
{
	start_two(1);
	dead_data.len = 0;
	pair.filter = hold_first_data;
	native_pair_join(&pair, 0, 1, true);
	native_pair_run(&pair, S);
	cr_assert_gt(dead_data.len, 0);
	const struct native_session *next = session_of(a, NATIVE_SLOT_NEXT);
	cr_assert_not_null(next);
	uint64_t dead = next->peer_instance;
	native_pair_kill(&pair, 1);
	pair.filter = NULL;
	native_pair_start(&pair, 1, NULL);
	native_pair_know(&pair, 1, 0, false);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 5 * S));
	uint64_t alive = a->peers[1]->hs.pair_peer;
	cr_assert_neq(alive, dead);
	cr_assert_null(session_of(a, NATIVE_SLOT_NEXT));
	native_pair_inject(a, &b->address, dead_data.bytes, dead_data.len);
	native_pair_exchange(&pair);
	cr_assert_eq(a->peers[1]->hs.pair_peer, alive);
	cr_assert(peers_agree(&pair));
	native_pair_fini(&pair);
}

/* Datagrams of the session before may be late: it stays for half a minute after the last. */
static struct caught held[8];
static size_t held_count;

static bool hold_data(
	struct native_end *from, const struct kcpvpn_endpoint *to, uint8_t *bytes, size_t len)
{
	if (from != b || bytes[0] != DATA || len > sizeof(held[0].bytes) || held_count == 8)
		return true;
	held[held_count] = (struct caught){from->address, *to, pair.now_us, len, {0}};
	memcpy(held[held_count++].bytes, bytes, len);
	return false;
}

Test(native_handshake_life, the_session_before_stays_while_it_is_heard)
{
	uint8_t packet[40];

	open_up();
	held_count = 0;
	pair.filter = hold_data;
	native_pair_packet(packet, sizeof(packet), 2, 1, 5, 1);
	while (held_count < 4) {
		(void)kcpvpn_peer_send(b->peers[0], packet, sizeof(packet), pair.now_us);
		native_pair_run(&pair, 10000);
	}
	pair.filter = NULL;
	while (status_of(a).handshakes == 1)
		native_pair_run(&pair, 100000);
	for (int i = 0; i < 2; i++) {
		native_pair_run(&pair, 14 * S);
		cr_assert_not_null(session_of(a, NATIVE_SLOT_PREV));
		native_pair_inject(a, &b->address, held[i].bytes, held[i].len);
	}
	native_pair_run(&pair, 14 * S);
	cr_assert_not_null(
		session_of(a, NATIVE_SLOT_PREV), "42 s after the rekey, 14 after the last");
	native_pair_run(&pair, 17 * S);
	cr_assert_null(session_of(a, NATIVE_SLOT_PREV));
	native_pair_fini(&pair);
}

/* ---- many peers ----------------------------------------------------------------------------------------------------- */

enum {
	CROWD = 120,
};

struct crowd {
	int64_t now_us;
	uint64_t random;
	uint64_t inits;
	uint64_t per_call;
};

static void crowd_send(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	struct crowd *crowd = ctx;

	for (size_t i = 0; i < count; i++)
		crowd->inits += batch[i].data[0] == INIT;
}

static int64_t crowd_realtime(void *ctx)
{
	return ((struct crowd *)ctx)->now_us;
}

static void crowd_random(void *ctx, void *buf, size_t len)
{
	caller_random(&((struct crowd *)ctx)->random, buf, len);
}

Test(native_handshake_life, many_are_called_fifty_a_second)
{
	struct crowd crowd = {.now_us = 5000};
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES] = {8};
	struct kcpvpn_native_config config = {
		.private_key = key,
		.datagram_max_bytes = 1472,
		.peers_max = CROWD,
		.memory_max_bytes = 1 << 20,
		.realtime_us = crowd_realtime,
		.random = crowd_random,
		.ctx = &crowd,
	};
	struct kcpvpn_native *native;
	struct kcpvpn_udp_port port = {crowd_send, &crowd};
	struct kcpvpn_peer *peers[CROWD];

	cr_assert_eq(kcpvpn_native_new(&config, crowd.now_us, &native), 0);
	for (int i = 0; i < CROWD; i++) {
		uint8_t public_key[KCPVPN_NATIVE_KEY_BYTES] = {(uint8_t)i, 9, 9};
		struct kcpvpn_peer_config peer = native_pair_options().peer;
		peer.public_key = public_key;
		struct kcpvpn_target target = {native_pair_endpoint((uint8_t)i), &port};
		cr_assert_eq(kcpvpn_native_add_peer(native, &peer, crowd.now_us, &peers[i]), 0);
		kcpvpn_peer_set_targets(peers[i], &target, 1, crowd.now_us);
		kcpvpn_peer_up(peers[i], crowd.now_us);
	}
	kcpvpn_native_flush(native, crowd.now_us);
	int64_t began_us = crowd.now_us;
	uint64_t made = 0;
	while (made < CROWD) {
		int64_t at_us = kcpvpn_native_next_deadline(native);
		cr_assert_lt(at_us, began_us + 10 * S);
		if (at_us > crowd.now_us)
			crowd.now_us = at_us;
		kcpvpn_native_on_deadline(native, crowd.now_us);
		uint64_t before = made;
		made = 0;
		for (int i = 0; i < CROWD; i++)
			made += !mono_is_never(peers[i]->hs.started_at);
		cr_assert_leq(made, before + 1, "one handshake a call");
		cr_assert_leq(made, 10 + (uint64_t)((crowd.now_us - began_us) / 20000));
		unsigned events;
		while (kcpvpn_native_next_event(native, &events))
			;
		kcpvpn_native_flush(native, crowd.now_us);
	}
	cr_assert_leq(crowd.now_us - began_us, (CROWD - 10) * 20000 + 100000);
	cr_assert_gt(crowd.inits, CROWD);
	cr_assert_leq(native->indices.count, native->indices.mask + 1, "the table grows");
	/* one of them is found by its key, after the table has grown */
	uint8_t public_key[KCPVPN_NATIVE_KEY_BYTES] = {77, 9, 9};
	cr_assert_eq(native_peer_by_key(native, public_key), peers[77]);
	kcpvpn_native_close_port(native, &port, crowd.now_us);
	cr_assert_eq(peers[3]->target_count, 0);
	kcpvpn_native_free(native);
}

Test(native_handshake_life, a_change_of_the_network_is_told_at_once)
{
	open_up();
	native_pair_run(&pair, 5 * S);
	uint64_t sent = a->sent[DATA];
	kcpvpn_native_network_changed(a->native, pair.now_us);
	native_pair_run(&pair, 1000);
	cr_assert_gt(a->sent[DATA], sent);
	cr_assert_eq(a->sent[INIT], 1, "its session is good");
	native_pair_fini(&pair);

	/* without one the calls begin anew */
	open_watched(NULL);
	lose = 1U << INIT;
	native_pair_run(&pair, 300 * S);
	uint64_t inits = a->sent[INIT];
	do
		native_pair_run(&pair, S);
	while (a->sent[INIT] == inits);
	native_pair_run(&pair, 8 * S);
	lose = 0;
	kcpvpn_native_network_changed(a->native, pair.now_us);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 100000));
	native_pair_fini(&pair);
}
