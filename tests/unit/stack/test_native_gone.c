/*
 * A peer that cannot be reached, or is gone: what it costs, what is kept of it for how long, and how it comes back after that was
 * given up.
 */
#include "native_load.h"

#include "kcp/kcp_path_state.h"
#include "stack/native_state.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum {
	MS = 1000,
	S = 1000000,
	INIT = 8,
	RESP = 9,
	DATA = 12,
};

static struct native_pair pair;
static struct native_load load;
static struct native_end *const a = &pair.ends[0];
static struct native_end *const b = &pair.ends[1];
static unsigned lose[2]; /* from each end; bit = type of datagram */
static unsigned longer_came;
static bool holes; /* of what end 0 sends in full size every other datagram is lost */

static bool filter(
	struct native_end *from, const struct kcpvpn_endpoint *to, uint8_t *bytes, size_t len)
{
	(void)to;
	if (holes && from->number == 0 && len >= 1000)
		return longer_came++ % 2 == 1;
	return !(lose[from->number] & 1U << bytes[0]);
}

static void open_up(const struct native_end_options *options, bool both)
{
	lose[0] = lose[1] = 0;
	longer_came = 0;
	holes = false;
	native_pair_init(&pair, 31);
	native_pair_start(&pair, 0, options);
	native_pair_start(&pair, 1, options);
	native_pair_join(&pair, 0, 1, both);
	pair.filter = filter;
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 10 * S));
	native_load_init(&load, &pair);
	native_pair_run(&pair, S);
}

static struct kcpvpn_peer *peer_of(const struct native_end *end)
{
	return end->peers[1 - end->number];
}

static bool a_has_none(struct native_pair *p)
{
	return !p->ends[0].peers[1]->data.running;
}

static bool none_has_any(struct native_pair *p)
{
	return a_has_none(p) && !p->ends[1].peers[0]->data.running;
}

static uint64_t wakes_in(struct native_end *end, int64_t us)
{
	uint64_t before = end->wakes;

	native_pair_run(&pair, us);
	return end->wakes - before;
}

/* ---- no address --------------------------------------------------------------------------------------------------- */

Test(native_gone, who_has_no_address_is_waited_for_longer_and_longer)
{
	struct native_end_options options = native_pair_options();

	options.peer.keepalive_us = 25 * S;
	for (int i = 0; i < 2; i++) {
		open_up(i == 0 ? NULL : &options, false);
		lose[0] = ~0U;
		for (size_t n = 0; native_load_give(&load, 1, n % 6, 1200) == 0; n++)
			;
		native_pair_exchange(&pair);
		cr_assert_gt(kcp_path_in_flight(peer_of(b)->data.path), 0);
		kcpvpn_native_close_port(b->native, &b->port, pair.now_us);
		uint64_t wakes = wakes_in(b, 60 * S);
		cr_assert_leq(wakes, 100, "%llu in a minute", (unsigned long long)wakes);
		wakes = wakes_in(b, 60 * S);
		cr_assert_leq(wakes, 20, "%llu in a minute", (unsigned long long)wakes);
		native_pair_fini(&pair);
	}
}

Test(native_gone, what_waited_for_an_address_leaves_when_there_is_one)
{
	open_up(NULL, false);
	native_pair_run(&pair, 30 * S);
	kcpvpn_native_close_port(b->native, &b->port, pair.now_us);
	native_pair_run(&pair, 20 * S);
	kcp_path_wask(peer_of(b)->data.path);
	native_peer_touch(peer_of(b));
	kcpvpn_native_flush(b->native, pair.now_us);
	native_pair_run(&pair, 10 * S);
	cr_assert_gt(peer_of(b)->data.path->blocked_us, 2 * S);
	cr_assert(peer_of(b)->data.path->wask);
	/* The address is found by what comes from there. */
	cr_assert_eq(native_load_give(&load, 0, 0, 200), 0);
	native_pair_run(&pair, 10 * MS);
	cr_assert(!peer_of(b)->data.path->wask);
	cr_assert_eq(peer_of(b)->data.path->blocked_us, 0);
	native_pair_fini(&pair);
}

Test(native_gone, without_memory_for_a_path_nobody_is_woken_for_it)
{
	for (size_t i = 0; i < 2; i++) {
		struct native_end *end = &pair.ends[i];
		lose[0] = lose[1] = 0;
		holes = false;
		native_pair_open(&pair, 31, NULL);
		/* No path can be made with these. */
		end->native->data.path_slots_max = 1;
		native_pair_run(&pair, 100 * MS);
		cr_assert_null(peer_of(end)->data.path);
		uint64_t wakes = wakes_in(end, 10 * S);
		cr_assert_leq(
			wakes, 200, "end %zu: %llu in ten seconds", i, (unsigned long long)wakes);
		native_pair_fini(&pair);
	}
}

/* ---- no peer ------------------------------------------------------------------------------------------------------ */

Test(native_gone, what_a_dead_peer_left_goes_two_minutes_after_its_session)
{
	open_up(NULL, false);
	holes = true;
	for (size_t i = 0; i < 8; i++) {
		(void)native_load_give(&load, 0, 1, 1100);
		native_pair_exchange(&pair);
	}
	cr_assert_gt(longer_came, 2);
	uint32_t left = kcp_path_slots(peer_of(b)->data.path);
	cr_assert_gt(left, 0, "pieces behind a hole");
	native_pair_kill(&pair, 0);
	native_pair_run(&pair, 185 * S);
	kcpvpn_peer_set_targets(peer_of(b), NULL, 0, pair.now_us);
	cr_assert(!peer_of(b)->data.running);
	native_pair_run(&pair, 110 * S);
	cr_assert_eq(kcp_path_slots(peer_of(b)->data.path), left);
	struct kcpvpn_peer_status before, after;
	kcpvpn_peer_status(peer_of(b), &before);
	uint64_t instance = peer_of(b)->hs.own_instance;
	native_pair_run(&pair, 15 * S);
	cr_assert_null(peer_of(b)->data.path);
	cr_assert_eq(b->native->data.slots.slots_used, 0);
	cr_assert_neq(peer_of(b)->hs.own_instance, instance);
	kcpvpn_peer_status(peer_of(b), &after);
	cr_assert_geq(after.retransmits, before.retransmits, "counters never fall");
	cr_assert_geq(after.abandoned, before.abandoned);
	cr_assert_eq(after.in_datagrams, before.in_datagrams);
	cr_assert_eq(after.last_rx_us, before.last_rx_us);
	/* It may call still, and is asked for nothing. */
	peer_of(b)->config.persistent = false;
	native_pair_run(&pair, 120 * S);
	cr_assert_eq(wakes_in(b, 3600 * (int64_t)S), 0);
	native_pair_fini(&pair);
}

/* `ends` is a bit set of those who forget: the other one is to think that the session ended an hour later. */
static void come_back(unsigned ends, bool both_call)
{
	uint64_t instances[2];

	open_up(NULL, both_call);
	native_load_run(&load, 5 * S, 100, 100, 500);
	lose[0] = lose[1] = ~0U;
	native_load_run(&load, 5 * S, 100, 100, 500);
	cr_assert(native_pair_run_until(&pair, none_has_any, 300 * S));
	for (size_t i = 0; i < 2; i++) {
		struct native_data_state *data = &peer_of(&pair.ends[i])->data;
		instances[i] = peer_of(&pair.ends[i])->hs.own_instance;
		if (!(ends & 1U << i))
			data->lost_at = mono_add_us(data->lost_at, 3600 * (int64_t)S);
	}
	native_pair_run(&pair, 150 * S);
	for (size_t i = 0; i < 2; i++) {
		bool forgot = (ends & 1U << i) != 0;
		struct kcpvpn_peer *peer = peer_of(&pair.ends[i]);
		cr_assert_eq(!peer->data.path, forgot, "end %zu", i);
		cr_assert_eq(peer->hs.own_instance != instances[i], forgot, "end %zu", i);
	}
	lose[0] = lose[1] = 0;
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 100 * S));
	native_pair_run(&pair, S);
	for (size_t i = 0; i < 2 && ends != 0; i++)
		cr_assert_lt(peer_of(&pair.ends[i])->data.largest, 100, "numbers began anew");
	native_load_watch(&load);
	uint64_t came[2] = {load.ways[0].came, load.ways[1].came};
	native_load_run(&load, 5 * S, 100, 100, 500);
	native_pair_run(&pair, S);
	for (size_t i = 0; i < 2; i++) {
		const struct kcpvpn_peer *peer = peer_of(&pair.ends[i]);
		cr_assert_leq(load.ways[i].gap_us, 20 * MS, "from %zu: %lld us", i,
			(long long)load.ways[i].gap_us);
		cr_assert_geq(load.ways[i].came - came[i], 495);
		cr_assert_eq(peer->hs.pair_own, peer->hs.own_instance);
		cr_assert_eq(peer->hs.pair_own, peer_of(&pair.ends[1 - i])->hs.pair_peer);
	}
	native_pair_fini(&pair);
}

Test(native_gone, whoever_forgot_the_other_finds_it_again)
{
	for (unsigned ends = 0; ends < 4; ends++) {
		come_back(ends, false);
		come_back(ends, true);
	}
}

/* Both lost their sessions; end `i` forgets in 100 ms, and from now on calls pass, in 150 ms each way. */
static void stop_before_forgetting(size_t i)
{
	open_up(NULL, false);
	lose[0] = lose[1] = ~0U;
	cr_assert(native_pair_run_until(&pair, none_has_any, 300 * S));
	struct mono at = mono_add_us(peer_of(&pair.ends[i])->data.lost_at, NATIVE_FORGET_AFTER_US);
	/* The other keeps what it knows. */
	struct native_data_state *other = &peer_of(&pair.ends[1 - i])->data;
	other->lost_at = mono_add_us(other->lost_at, 3600 * (int64_t)S);
	native_pair_run(&pair, at.us - 100 * MS - pair.now_us);
	a->link.delay_us = b->link.delay_us = 150 * MS;
	lose[0] = lose[1] = 0;
	kcpvpn_native_network_changed(a->native, pair.now_us);
	native_pair_exchange(&pair);
}

Test(native_gone, a_call_that_told_what_is_forgotten_is_not_answered_but_made_again)
{
	stop_before_forgetting(0);
	uint64_t instance = peer_of(a)->hs.own_instance;
	uint64_t inits = a->sent[INIT];
	cr_assert_not_null(peer_of(a)->hs.attempts[0]);
	native_pair_run(&pair, 110 * MS);
	cr_assert_null(peer_of(a)->data.path);
	cr_assert_neq(peer_of(a)->hs.own_instance, instance);
	cr_assert_eq(a->sent[INIT], inits + 1, "at once");
	native_pair_run(&pair, 200 * MS);
	cr_assert_eq(peer_of(a)->hs.handshakes, 1, "the answer to the old call");
	native_pair_run(&pair, 400 * MS);
	cr_assert(native_pair_is_up(&pair));
	cr_assert_eq(peer_of(a)->hs.pair_own, peer_of(a)->hs.own_instance);
	cr_assert_eq(peer_of(b)->hs.pair_peer, peer_of(a)->hs.own_instance);
	native_pair_fini(&pair);
}

Test(native_gone, a_session_that_waits_goes_with_what_is_forgotten)
{
	stop_before_forgetting(1);
	/* The INIT is 50 ms too late for that. */
	peer_of(b)->data.lost_at = mono_add_us(peer_of(b)->data.lost_at, 100 * MS);
	peer_of(b)->data.trim_at = mono_add_us(peer_of(b)->data.lost_at, NATIVE_FORGET_AFTER_US);
	native_pair_run(&pair, 190 * MS);
	cr_assert_not_null(peer_of(b)->hs.slots[NATIVE_SLOT_NEXT]);
	uint64_t instance = peer_of(b)->hs.own_instance;
	native_pair_run(&pair, 20 * MS);
	cr_assert_neq(peer_of(b)->hs.own_instance, instance);
	cr_assert_null(peer_of(b)->hs.slots[NATIVE_SLOT_NEXT]);
	/* The caller has its answer and hears nothing: it calls again. */
	native_pair_run(&pair, 4 * S);
	cr_assert(native_pair_is_up(&pair));
	cr_assert_eq(peer_of(b)->hs.pair_own, peer_of(b)->hs.own_instance);
	cr_assert_eq(peer_of(a)->hs.pair_peer, peer_of(b)->hs.own_instance);
	native_load_run(&load, 2 * S, 100, 100, 500);
	native_pair_run(&pair, S);
	for (size_t i = 0; i < 2; i++) {
		cr_assert_geq(load.ways[i].given, 100);
		cr_assert_eq(load.ways[i].came, load.ways[i].given);
	}
	native_pair_fini(&pair);
}

/* ---- half a peer -------------------------------------------------------------------------------------------------- */

Test(native_gone, who_may_not_know_of_the_new_session_is_heard_on_the_one_before)
{
	open_up(NULL, false);
	native_load_run(&load, 30 * S, 10, 10, 200);
	uint64_t handshakes = peer_of(a)->hs.handshakes;
	lose[0] = lose[1] = 1U << DATA;
	native_initiate(peer_of(a), NATIVE_REASON_REKEY, mono_at_us(pair.now_us));
	kcpvpn_native_flush(a->native, pair.now_us);
	native_pair_run(&pair, 100 * MS);
	cr_assert_eq(peer_of(a)->hs.handshakes, handshakes + 1);
	/* And now nothing passes for longer than one that is quiet is kept. */
	lose[0] = lose[1] = ~0U;
	native_pair_run(&pair, 40 * S);
	cr_assert_not_null(peer_of(a)->hs.slots[NATIVE_SLOT_PREV]);
	lose[0] = ~0U;
	lose[1] = 1U << INIT | 1U << RESP;
	uint64_t came = load.ways[1].came;
	for (int i = 0; i < 10; i++) {
		(void)native_load_give(&load, 1, 0, 200);
		native_pair_run(&pair, 100 * MS);
	}
	cr_assert_gt(load.ways[1].came, came);
	native_pair_fini(&pair);
}
