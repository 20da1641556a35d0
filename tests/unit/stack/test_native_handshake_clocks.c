/* Clocks that are wrong, and recordings: which INITs are too old, and whom that must not keep out. */
#include "native_handshake_rig.h"

#include <criterion/criterion.h>
#include <string.h>

Test(native_handshake_clocks, a_clock_that_is_wrong_costs_a_round_trip)
{
	static const int64_t day_us = (int64_t)86400 * S;
	const int64_t clocks_us[] = {-day_us, day_us, 0, -day_us * 30000, 2 * day_us};

	open_up();
	int64_t clock_us = a->realtime_us;
	for (size_t i = 0; i < sizeof(clocks_us) / sizeof(clocks_us[0]); i++) {
		restart_a_at(clock_us + clocks_us[i]);
		int64_t began_us = pair.now_us;
		cr_assert(native_pair_run_until(&pair, native_pair_is_up, S));
		uint64_t before = status_of(b).handshakes;
		native_pair_run(&pair, 10 * S);
		cr_assert_eq(status_of(b).handshakes, before);
		cr_assert_leq(pair.now_us - began_us, 11 * S);
		/* the session is the new one's */
		cr_assert_eq(session_of(a, NATIVE_SLOT_CUR)->remote_index,
			session_of(b, NATIVE_SLOT_CUR)->index.number);
	}
	cr_assert_eq(stats_of(b).rejects_sent, 3);
	native_pair_fini(&pair);
}

Test(native_handshake_clocks, numbers_grow_whatever_the_clock_does)
{
	uint64_t last = 0;

	open_watched(NULL);
	lose = 1U << INIT;
	for (int i = 0; i < 50; i++) {
		a->realtime_us = i % 3 == 0 ? -pair.now_us - 5 : (int64_t)1700000000 * S - i * 5000;
		native_pair_run(&pair, 3 * S);
		if (!a->peers[1]->hs.attempts[0])
			continue;
		uint64_t seq = a->peers[1]->hs.attempts[0]->init_seq;
		cr_assert_geq(seq, last);
		if (a->peers[1]->hs.attempts[1])
			cr_assert_gt(seq, a->peers[1]->hs.attempts[1]->init_seq);
		last = seq;
	}
	native_pair_fini(&pair);
}

Test(native_handshake_clocks, two_rejects_a_minute_are_followed)
{
	open_up();
	restart_a_at(0);
	lose = 1U << RESP;
	/* Others raise what is committed again and again: only so often is it worth another INIT at once. */
	native_pair_run(&pair, 200000);
	cr_assert_eq(a->sent[INIT], 3, "the first, one rejected, one more");
	for (int i = 0; i < 20; i++) {
		b->peers[0]->hs.committed_seq = a->peers[1]->hs.last_seq + 100;
		native_session_free(b->peers[0]->hs.slots[NATIVE_SLOT_NEXT]);
		answer_cache_clear(&b->native->answers);
		native_pair_run(&pair, 200000);
	}
	cr_assert_leq(a->peers[1]->hs.schedule.made, 2);
	cr_assert_leq(a->sent[INIT], 12);
	/* but none is forgotten: the next in turn gets in */
	lose = 0;
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 7 * S));
	native_pair_fini(&pair);
}

/* Somebody who recorded the peer's INITs for hours repeats them all, before its clock fails and while it calls. */
Test(native_handshake_clocks, recordings_do_not_keep_out_whose_clock_is_behind)
{
	struct caller caller;
	uint8_t inits[40][HANDSHAKE_INIT_BYTES];
	struct kcpvpn_endpoint elsewhere = native_pair_endpoint(66);

	open_up();
	caller_init(&caller, 0);
	for (uint32_t i = 0; i < 40; i++) {
		caller.params.init_seq = i + 1;
		caller_write(&caller, i * 16);
		memcpy(inits[i], caller.init, sizeof(caller.init));
	}
	for (int i = 0; i < 200; i++) {
		if (i == 100)
			restart_a_at(0);
		native_pair_inject(b, &elsewhere, inits[i % 40], sizeof(inits[0]));
		native_pair_run(&pair, 10000);
		cr_assert(i < 102 || native_pair_is_up(&pair));
	}
	cr_assert_eq(stats_of(b).under_load, 0);
	native_pair_fini(&pair);
}

/*
 * Somebody recorded all INITs of a peer, at `first` and as long after each other as handshakes are, and end 1 begins anew: it gets
 * them in order, each when the one before was taken, while the peer calls. @return how many it took until the peer was up
 */
static uint32_t replay_until_up(uint64_t first, uint32_t recordings, int64_t calls_at_us)
{
	struct caller caller;
	uint32_t taken = 0;

	open_watched(NULL);
	lose = ~0U;
	caller_init(&caller, 0);
	for (int64_t at_us = 0; !native_pair_is_up(&pair); at_us += 10000) {
		cr_assert_lt(at_us, calls_at_us + 2 * S);
		if (at_us == calls_at_us)
			lose = 0;
		caller.params.init_seq = first + taken * (uint64_t)120 * S;
		caller_call(&caller, (taken + 1) * 16, 66);
		const struct native_session *next = session_of(b, NATIVE_SLOT_NEXT);
		if (taken < recordings && next && next->init_seq == caller.params.init_seq)
			taken++;
		native_pair_run(&pair, 10000);
	}
	native_pair_fini(&pair);
	return taken;
}

Test(native_handshake_clocks, recordings_do_not_keep_a_peer_out_after_a_restart)
{
	native_pair_init(&pair, 1);
	uint64_t now = seq_now();
	native_pair_fini(&pair);
	cr_assert_eq(replay_until_up(now - (uint64_t)3000 * 120 * S, 2900, S), 0);
}

/* All that end 1 knows of time is its clock. Whatever that says, its peers get in, at once or by one REJECT. */
Test(native_handshake_clocks, a_responder_with_a_wrong_clock_lets_its_peers_in)
{
	static const int64_t day_us = (int64_t)86400 * S;
	const int64_t off_us[] = {0, -day_us, day_us, 36500 * day_us, INT64_MIN, -50 * S, 50 * S};

	for (size_t i = 0; i < sizeof(off_us) / sizeof(off_us[0]); i++) {
		bool ahead = off_us[i] >= day_us;
		start_two(1);
		a->link.delay_us = b->link.delay_us = 30000;
		b->realtime_us = off_us[i] == INT64_MIN ? -pair.now_us : a->realtime_us + off_us[i];
		native_pair_join(&pair, 0, 1, false);
		cr_assert(native_pair_run_until(&pair, native_pair_is_up, 160000));
		cr_assert_eq(stats_of(b).rejects_sent, ahead);
		/* and go on calling it without another */
		for (int i = 0; i < 4; i++) {
			carry_one(a);
			native_pair_run(&pair, 126 * S);
		}
		cr_assert_geq(status_of(b).handshakes, 4);
		cr_assert_eq(stats_of(b).rejects_sent, ahead);
		native_pair_fini(&pair);
	}
}

/* A machine that learns the time from the network starts without. */
Test(native_handshake_clocks, a_clock_that_is_set_late_counts_from_then_on)
{
	struct caller caller;

	start_two(1);
	native_pair_know(&pair, 1, 0, false);
	caller_init(&caller, 0);
	uint64_t started = caller.params.init_seq;
	int64_t right_us = b->realtime_us;
	b->realtime_us = -pair.now_us;
	native_pair_run(&pair, (int64_t)3600 * S);
	caller.params.init_seq = started - (uint64_t)100 * S;
	caller_call(&caller, 16, 9);
	cr_assert_eq(b->sent[RESP], 1, "as long as it knows no better");
	native_pair_run(&pair, 20 * S);
	b->realtime_us = right_us;
	caller_call(&caller, 32, 9);
	cr_assert_eq(b->sent[RESP], 1);
	cr_assert_eq(stats_of(b).drop_stale, 1);
	/* what is older than its start is old, what came since is not */
	caller.params.init_seq = started - (uint64_t)59 * S;
	caller_call(&caller, 48, 9);
	cr_assert_eq(b->sent[RESP], 2);
	native_pair_fini(&pair);
}

/* Who was found by our own call may have recordings, too; and from then on our clock is no matter. */
Test(native_handshake_clocks, a_clock_counts_until_the_peers_found_each_other)
{
	struct caller caller;

	start_two(1);
	native_pair_know(&pair, 0, 1, false);
	native_pair_know(&pair, 1, 0, true);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, S));
	b->realtime_us += (int64_t)86400 * S;
	caller_init(&caller, 0);
	caller.params.init_seq = seq_now() - (uint64_t)(86400 + 100) * S;
	caller_call(&caller, 16, 9);
	cr_assert_eq(stats_of(b).drop_stale, 1);
	native_initiate(a->peers[1], NATIVE_REASON_SILENCE, mono_at_us(pair.now_us));
	native_pair_run(&pair, S);
	cr_assert_eq(status_of(a).handshakes, 2);
	cr_assert_eq(stats_of(b).drop_stale, 1);
	native_pair_fini(&pair);
}

/* What a caller was told must stay good, or it is told again and again. */
Test(native_handshake_clocks, a_clock_that_is_slewed_does_not_outrun_who_was_rejected)
{
	start_two(1);
	a->link.delay_us = b->link.delay_us = 100000;
	b->realtime_us += (int64_t)86400 * S;
	watch_losing(1U << RESP);
	native_pair_join(&pair, 0, 1, false);
	for (int i = 0; i < 3000; i++) {
		b->realtime_us += 5;
		native_pair_run(&pair, 10000);
	}
	cr_assert_eq(stats_of(b).rejects_sent, 1);
	lose = 0;
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 20 * S));
	native_pair_fini(&pair);
}
