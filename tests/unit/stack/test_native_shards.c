/*
 * Sessions with several shards: a leader and its followers in one thread, with messages between them that take their time.
 * The network of the rig watches that no counter comes twice and that nobody sends on a session that its own side has not
 * confirmed.
 */
#include "kcp/kcp_path_state.h"
#include "native_pair.h"
#include "stack/native_state.h"
#include "tests/thorough.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

enum {
	SECOND_US = 1000000,
	PACKET_BYTES = 700,
};

static struct native_end_options with_shards(unsigned shards, int64_t delay_us)
{
	struct native_end_options options = native_pair_options();

	options.shards = (uint8_t)shards;
	options.shard_delay_us = delay_us;
	return options;
}

static void open_pair(struct native_pair *pair, uint64_t seed, unsigned a, unsigned b,
	int64_t delay_us, int64_t link_us)
{
	struct native_end_options options = with_shards(a, delay_us);

	native_pair_init(pair, seed);
	native_pair_start(pair, 0, &options);
	options = with_shards(b, delay_us);
	native_pair_start(pair, 1, &options);
	for (size_t i = 0; i < 2; i++)
		pair->ends[i].link.delay_us = link_us;
	native_pair_join(pair, 0, 1, false);
}

static struct kcpvpn_peer *peer_at(struct native_pair *pair, size_t end, unsigned shard)
{
	size_t other = 1 - end;

	return shard > 0 ? pair->ends[end].followers[shard].peers[other]
			 : pair->ends[end].peers[other];
}

static struct kcpvpn_native *native_at(struct native_pair *pair, size_t end, unsigned shard)
{
	return shard > 0 ? pair->ends[end].followers[shard].native : pair->ends[end].native;
}

static int give(struct native_pair *pair, size_t end, unsigned shard, uint32_t number)
{
	uint8_t packet[PACKET_BYTES];

	native_pair_packet(
		packet, sizeof(packet), (uint8_t)(end + 1), (uint8_t)(2 - end), 7, number);
	int error =
		kcpvpn_peer_send(peer_at(pair, end, shard), packet, sizeof(packet), pair->now_us);
	kcpvpn_native_flush(native_at(pair, end, shard), pair->now_us);
	return error;
}

static uint64_t came(const struct native_pair *pair, size_t end, unsigned shard)
{
	const struct native_end *at = &pair->ends[end];
	uint64_t followers = 0;

	if (shard > 0)
		return at->followers[shard].messages[1 - end];
	for (unsigned s = 1; s < KCPVPN_SHARDS_MAX; s++)
		followers += at->followers[s].messages[1 - end];
	return at->messages[1 - end] - followers;
}

/* Each end sends on each of the first `shards` for so long, a packet a millisecond; how many went in all. */
static uint64_t talk(
	struct native_pair *pair, unsigned shards, int64_t us, uint64_t ret_given[2][16])
{
	uint64_t all = 0;

	memset(ret_given, 0, 2 * 16 * sizeof(uint64_t));
	for (int64_t at = 0; at < us; at += 1000) {
		for (size_t end = 0; end < 2; end++) {
			for (unsigned s = 0; s < shards; s++) {
				if (!pair->ends[end].native ||
					give(pair, end, s, (uint32_t)at) != 0)
					continue;
				ret_given[end][s]++;
				all++;
			}
		}
		native_pair_run(pair, 1000);
	}
	native_pair_run(pair, SECOND_US);
	return all;
}

static void check_all_arrive(unsigned a, unsigned b, int64_t delay_us, int64_t link_us)
{
	unsigned shards = a < b ? a : b;
	uint64_t given[2][16], before[2][16];
	struct native_pair pair;

	open_pair(&pair, 1 + a * 16 + b, a, b, delay_us, link_us);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, SECOND_US));
	native_pair_run(&pair, SECOND_US);
	for (size_t end = 0; end < 2; end++) {
		cr_assert_eq(kcpvpn_peer_shards(peer_at(&pair, end, 0)), shards);
		for (unsigned s = 0; s < shards; s++)
			cr_assert_eq(kcpvpn_peer_state(peer_at(&pair, end, s)), KCPVPN_PEER_UP,
				"end %zu shard %u", end, s);
		for (unsigned s = shards; s < (end ? b : a); s++)
			cr_assert_eq(give(&pair, end, s, 1), -ENOTCONN, "end %zu shard %u", end, s);
		for (unsigned s = 1; s < (end ? b : a); s++)
			cr_assert_eq(kcpvpn_peer_beyond(peer_at(&pair, end, s)),
				s < shards ? 0 : shards);
		for (unsigned s = 0; s < 16; s++)
			before[end][s] = came(&pair, end, s);
	}
	cr_assert_gt(talk(&pair, shards, SECOND_US / 4, given), 400 * shards);
	for (size_t end = 0; end < 2; end++)
		for (unsigned s = 0; s < shards; s++)
			cr_assert_eq(came(&pair, end, s) - before[end][s], given[1 - end][s],
				"end %zu shard %u of %u and %u", end, s, a, b);
	native_pair_fini(&pair);
}

Test(native_shards, every_shard_carries)
{
	check_all_arrive(2, 2, 0, 0);
	check_all_arrive(4, 4, 300, 5000);
	check_all_arrive(16, 16, 50, 1000);
}

Test(native_shards, the_smaller_number_counts)
{
	check_all_arrive(1, 4, 0, 1000);
	check_all_arrive(4, 1, 0, 1000);
	check_all_arrive(3, 2, 100, 1000);
	check_all_arrive(2, 16, 100, 1000);
}

/* Where messages are read before datagrams, as they should be, a rekey loses none on any shard. */
Test(native_shards, rekeys_lose_nothing)
{
	uint64_t given[2][16];
	struct native_pair pair;

	open_pair(&pair, 5, 3, 3, 0, 20000);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, SECOND_US));
	native_pair_run(&pair, SECOND_US);
	for (int round = 0; round < 4; round++) {
		native_pair_run(&pair, 118 * (int64_t)SECOND_US);
		(void)talk(&pair, 3, 7 * (int64_t)SECOND_US, given);
	}
	for (size_t end = 0; end < 2; end++) {
		struct kcpvpn_peer_status status;
		cr_assert_geq(peer_at(&pair, end, 0)->hs.handshakes, 4);
		for (unsigned s = 0; s < 3; s++) {
			struct kcpvpn_native_stats stats;
			kcpvpn_native_stats(native_at(&pair, end, s), &stats);
			cr_assert_eq(stats.drop_index, 0, "end %zu shard %u", end, s);
			kcpvpn_peer_status(peer_at(&pair, end, s), &status);
			cr_assert_eq(status.retransmits, 0, "end %zu shard %u", end, s);
			cr_assert_leq(status.loss_raw_out, 0);
		}
	}
	native_pair_fini(&pair);
}

/* Late messages cost datagrams, which are sent again, and nothing else. */
Test(native_shards, late_messages_are_made_good)
{
	uint64_t given[2][16], before[2][16];
	struct native_pair pair;

	for (uint64_t seed = 1; seed <= (thorough() ? 4 : 1); seed++) {
		open_pair(&pair, seed, 4, 3, 400000, 5000);
		for (size_t end = 0; end < 2; end++) {
			pair.ends[end].link.loss_ppm = 20000;
			pair.ends[end].link.jitter_us = 3000;
		}
		cr_assert(native_pair_run_until(&pair, native_pair_is_up, 20 * (int64_t)SECOND_US));
		native_pair_run(&pair, 2 * SECOND_US);
		for (int round = 0; round < 3; round++) {
			native_pair_run(&pair, 115 * (int64_t)SECOND_US);
			for (size_t end = 0; end < 2; end++)
				for (unsigned s = 0; s < 16; s++)
					before[end][s] = came(&pair, end, s);
			(void)talk(&pair, 3, 10 * (int64_t)SECOND_US, given);
			for (size_t end = 0; end < 2; end++)
				for (unsigned s = 0; s < 3; s++)
					cr_assert_geq(
						(double)(came(&pair, end, s) - before[end][s]),
						0.99 * (double)given[1 - end][s],
						"end %zu shard %u", end, s);
		}
		native_pair_fini(&pair);
	}
}

/* One end comes back with nothing in mind: all shards of the other begin anew. */
Test(native_shards, a_restart_is_one_of_all_shards)
{
	struct native_end_options options = with_shards(4, 200);
	uint64_t given[2][16], before[4];
	struct native_pair pair;

	open_pair(&pair, 9, 4, 4, 200, 2000);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, SECOND_US));
	(void)talk(&pair, 4, SECOND_US, given);
	for (size_t end = 0; end < 2; end++) {
		native_pair_kill(&pair, end);
		(void)native_pair_start(&pair, end, &options);
		native_pair_know(&pair, end, 1 - end, end == 0);
		(void)talk(&pair, 4, SECOND_US, given); /* nobody answers: that is noticed */
		native_pair_run(&pair, 40 * (int64_t)SECOND_US);
		cr_assert(native_pair_is_up(&pair), "end %zu", end);
		for (unsigned s = 0; s < 4; s++)
			before[s] = came(&pair, 0, s);
		(void)talk(&pair, 4, SECOND_US, given);
		for (unsigned s = 0; s < 4; s++)
			cr_assert_eq(came(&pair, 0, s) - before[s], given[1][s], "shard %u", s);
	}
	native_pair_fini(&pair);
}

/* Data on another shard alone shows that the peer has moved; the leader asks and tells all. */
Test(native_shards, roaming_is_seen_by_every_shard)
{
	struct kcpvpn_endpoint remote;
	struct native_pair pair;

	open_pair(&pair, 11, 3, 3, 100, 3000);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, SECOND_US));
	native_pair_run(&pair, SECOND_US);
	pair.ends[0].address = native_pair_endpoint(77);
	for (int i = 0; i < 30; i++) {
		(void)give(&pair, 0, 2, (uint32_t)i);
		native_pair_run(&pair, 20000);
	}
	for (unsigned s = 0; s < 3; s++) {
		cr_assert(kcpvpn_peer_endpoint(peer_at(&pair, 1, s), &remote));
		cr_assert(kcpvpn_endpoint_equal(&remote, &pair.ends[0].address), "shard %u", s);
	}
	uint64_t before = came(&pair, 0, 1);
	cr_assert_eq(give(&pair, 1, 1, 5), 0);
	native_pair_run(&pair, 100000);
	cr_assert_eq(came(&pair, 0, 1), before + 1);
	native_pair_fini(&pair);
}

/* Life is one: who is busy on another shard alone is neither asked for signs of life nor forgotten. */
Test(native_shards, what_comes_on_one_shard_keeps_the_peer_alive)
{
	struct native_pair pair;

	open_pair(&pair, 13, 2, 2, 100, 3000);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, SECOND_US));
	native_pair_run(&pair, SECOND_US);
	uint64_t inits = pair.ends[0].sent[8] + pair.ends[1].sent[8];
	for (int i = 0; i < 30 * 20; i++) {
		(void)give(&pair, 0, 1, (uint32_t)i);
		(void)give(&pair, 1, 1, (uint32_t)i);
		native_pair_run(&pair, 50000);
	}
	cr_assert(native_pair_is_up(&pair));
	cr_assert_eq(pair.ends[0].sent[8] + pair.ends[1].sent[8], inits);
	/* The other one goes: silence on shard 1 is noticed, too. */
	native_pair_kill(&pair, 1);
	for (int i = 0; i < 20 * 20; i++) {
		(void)give(&pair, 0, 1, (uint32_t)i);
		native_pair_run(&pair, 50000);
	}
	cr_assert_eq(kcpvpn_peer_state(peer_at(&pair, 0, 0)), KCPVPN_PEER_CONNECTING);
	cr_assert_gt(pair.ends[0].sent[8], inits);
	native_pair_fini(&pair);
}

/* What a follower reports of a session that is gone starts no clock: who comes back later is not taken for silent. */
Test(native_shards, a_late_report_asks_nobody)
{
	struct kcpvpn_shard_message late = {{0}};
	struct native_end_options options;
	struct native_pair pair;

	for (int64_t delay_us = 0; delay_us < 20000; delay_us += 5000) {
		open_pair(&pair, 41, 2, 2, delay_us, 20000);
		cr_assert(native_pair_run_until(&pair, native_pair_is_up, SECOND_US));
		native_pair_run(&pair, SECOND_US);
		const struct native_shard_message report = {
			.verb = NATIVE_SHARD_REPORT,
			.shard = 1,
			.flags = NATIVE_SHARD_SENT | NATIVE_SHARD_ASKED,
			.peer = pair.ends[0].peers[1]->id,
			.numbers.serial =
				peer_at(&pair, 0, 0)->hs.slots[NATIVE_SLOT_CUR]->data.serial,
		};
		memcpy(late.bytes, &report, sizeof(report));
		for (uint32_t i = 0; i < 500; i++) {
			(void)give(&pair, 0, 1, i);
			if (i == 333) {
				kcpvpn_peer_down(
					pair.ends[1].peers[0], KCPVPN_CLOSE_RESTART, pair.now_us);
				kcpvpn_native_flush(pair.ends[1].native, pair.now_us);
			}
			native_pair_run(&pair, 1000);
		}
		native_pair_run(&pair, SECOND_US);
		struct kcpvpn_peer *peer = peer_at(&pair, 0, 0);
		kcpvpn_native_hear(pair.ends[0].native, &late, pair.now_us);
		cr_assert_not(peer->data.running);
		cr_assert(mono_is_never(peer->data.live.asked_since));
		cr_assert(mono_is_never(peer->data.live.sent_at));
		native_pair_kill(&pair, 1);
		native_pair_run(&pair, 20 * (int64_t)SECOND_US);
		options = with_shards(2, delay_us);
		(void)native_pair_start(&pair, 1, &options);
		native_pair_know(&pair, 1, 0, false);
		cr_assert(native_pair_run_until(&pair, native_pair_is_up, 60 * (int64_t)SECOND_US));
		uint64_t inits = pair.ends[0].sent[8];
		native_pair_run(&pair, SECOND_US);
		kcpvpn_native_hear(pair.ends[0].native, &late, pair.now_us);
		cr_assert(mono_is_never(peer->data.live.asked_since));
		native_pair_run(&pair, 20 * (int64_t)SECOND_US);
		cr_assert(native_pair_is_up(&pair));
		cr_assert_eq(pair.ends[0].sent[8], inits, "it was called again");
		native_pair_fini(&pair);
	}
}

/* The count of datagrams under a key is the session's that it was told of, and never falls. */
Test(native_shards, what_was_sealed_counts_for_its_session)
{
	struct kcpvpn_shard_message message = {{0}};
	struct native_pair pair;

	open_pair(&pair, 43, 2, 2, 0, 1000);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, SECOND_US));
	native_pair_run(&pair, SECOND_US);
	struct native_session *cur = peer_at(&pair, 0, 0)->hs.slots[NATIVE_SLOT_CUR];
	struct native_shard_message report = {
		.verb = NATIVE_SHARD_REPORT,
		.shard = 1,
		.peer = pair.ends[0].peers[1]->id,
		.numbers = {.serial = cur->data.serial + 1, .sealed = NATIVE_REKEY_DATAGRAMS + 9},
	};
	uint64_t before = cur->data.sealed;
	memcpy(message.bytes, &report, sizeof(report));
	kcpvpn_native_hear(pair.ends[0].native, &message, pair.now_us);
	cr_assert_eq(cur->data.sealed, before);
	report.numbers.serial = cur->data.serial;
	for (uint64_t less = 0; less < 9; less += 4) {
		report.numbers.sealed = NATIVE_REKEY_DATAGRAMS + 9 - less;
		memcpy(message.bytes, &report, sizeof(report));
		kcpvpn_native_hear(pair.ends[0].native, &message, pair.now_us);
		cr_assert_eq(cur->data.sealed, NATIVE_REKEY_DATAGRAMS + 9);
	}
	native_pair_fini(&pair);
}

/* A shard that carries nothing costs little: its path is made when it is first used, from either side. */
Test(native_shards, a_shard_has_a_path_when_it_is_used)
{
	struct native_pair pair;

	open_pair(&pair, 53, 4, 4, 300, 5000);
	/* What waits already is told that it may go. */
	cr_assert_not(kcpvpn_peer_room(peer_at(&pair, 0, 3), 100));
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, SECOND_US));
	native_pair_run(&pair, 30 * (int64_t)SECOND_US);
	for (size_t end = 0; end < 2; end++)
		for (unsigned s = 1; s < 4; s++)
			cr_assert_eq(peer_at(&pair, end, s)->data.path != NULL, end == 0 && s == 3,
				"end %zu shard %u", end, s);
	cr_assert(kcpvpn_peer_room(peer_at(&pair, 0, 3), 100));
	cr_assert_eq(kcpvpn_peer_state(peer_at(&pair, 1, 2)), KCPVPN_PEER_UP);
	cr_assert_eq(give(&pair, 1, 2, 1), 0);
	native_pair_run(&pair, SECOND_US);
	cr_assert_eq(came(&pair, 0, 2), 1);
	for (size_t end = 0; end < 2; end++) {
		cr_assert_not_null(peer_at(&pair, end, 2)->data.path);
		cr_assert_null(peer_at(&pair, end, 1)->data.path);
	}
	/* A rekey makes none. */
	native_pair_run(&pair, 130 * (int64_t)SECOND_US);
	cr_assert_null(peer_at(&pair, 1, 1)->data.path);
	native_pair_fini(&pair);
}

/* Without memory for a session a shard asks for another, seldom, until it has one. */
Test(native_shards, a_shard_without_a_session_asks_for_another)
{
	struct native_pair pair;

	for (size_t end = 0; end < 2; end++) {
		open_pair(&pair, 47 + end, 3, 3, 300, 3000);
		struct kcpvpn_native *follower = native_at(&pair, end, 1);
		follower->sessions.slots_max = 0;
		cr_assert(native_pair_run_until(&pair, native_pair_is_up, SECOND_US));
		uint64_t before = pair.ends[0].sent[8];
		native_pair_run(&pair, 35 * (int64_t)SECOND_US);
		cr_assert_null(peer_at(&pair, end, 1)->hs.slots[NATIVE_SLOT_CUR]);
		/* It never blocks the others, and nor do its questions become a flood. */
		cr_assert_eq(give(&pair, 0, 2, 1), 0);
		cr_assert_geq(pair.ends[0].sent[8] + pair.ends[1].sent[8], before + 2);
		cr_assert_leq(pair.ends[0].sent[8] + pair.ends[1].sent[8], before + 5);
		follower->sessions.slots_max = 100;
		native_pair_run(&pair, 11 * (int64_t)SECOND_US);
		cr_assert_not_null(
			peer_at(&pair, end, 1)->hs.slots[NATIVE_SLOT_CUR], "end %zu", end);
		uint64_t came_before = came(&pair, 1 - end, 1);
		cr_assert_eq(give(&pair, end, 1, 1), 0);
		native_pair_run(&pair, SECOND_US);
		cr_assert_eq(came(&pair, 1 - end, 1), came_before + 1);
		/* And no more of it. */
		before = pair.ends[0].sent[8] + pair.ends[1].sent[8];
		native_pair_run(&pair, 60 * (int64_t)SECOND_US);
		cr_assert_eq(pair.ends[0].sent[8] + pair.ends[1].sent[8], before);
		native_pair_fini(&pair);
	}
}

static bool drop_long_of_shard_1(
	struct native_end *from, const struct kcpvpn_endpoint *to, uint8_t *bytes, size_t len)
{
	(void)from, (void)to;
	return !(bytes[0] == 0x0c && (bytes[4] & 15) == 1 && len > 1300) && len <= 1300;
}

/* The path MTU is searched on shard 0, holds for all, and a black hole that only another shard falls into is found. */
Test(native_shards, the_path_mtu_is_common)
{
	uint8_t packet[1400];
	struct native_pair pair;

	open_pair(&pair, 17, 3, 3, 100, 3000);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, SECOND_US));
	native_pair_run(&pair, 5 * SECOND_US);
	for (unsigned s = 0; s < 3; s++)
		cr_assert_eq(path_mtu_size(&peer_at(&pair, 0, s)->data.mtu), 1472, "shard %u", s);
	pair.filter = drop_long_of_shard_1;
	native_pair_packet(packet, sizeof(packet), 1, 2, 9, 1);
	uint64_t before = came(&pair, 1, 1);
	for (int i = 0; i < 100; i++) {
		(void)kcpvpn_peer_send(peer_at(&pair, 0, 1), packet, sizeof(packet), pair.now_us);
		kcpvpn_native_flush(native_at(&pair, 0, 1), pair.now_us);
		native_pair_run(&pair, 100000);
	}
	for (unsigned s = 0; s < 3; s++)
		cr_assert_lt(path_mtu_size(&peer_at(&pair, 0, s)->data.mtu), 1301, "shard %u", s);
	cr_assert_gt(came(&pair, 1, 1), before + 50);
	native_pair_fini(&pair);
}

/* Down, removed, forgotten: nothing of it stays with a follower. */
Test(native_shards, followers_forget_what_the_leader_forgets)
{
	uint64_t given[2][16];
	struct native_pair pair;

	open_pair(&pair, 19, 2, 2, 100, 3000);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, SECOND_US));
	(void)talk(&pair, 2, SECOND_US / 4, given);
	kcpvpn_peer_down(pair.ends[0].peers[1], KCPVPN_CLOSE_SHUTDOWN, pair.now_us);
	kcpvpn_native_flush(pair.ends[0].native, pair.now_us);
	native_pair_run(&pair, SECOND_US);
	for (size_t end = 0; end < 2; end++) {
		const struct kcpvpn_native *follower = native_at(&pair, end, 1);
		cr_assert_eq(follower->indices.count, 0, "end %zu", end);
		cr_assert_eq(follower->sessions.slots_used, 0);
		cr_assert_eq(give(&pair, end, 1, 1), -ENOTCONN);
	}
	cr_assert_null(peer_at(&pair, 0, 1)->data.path);
	native_pair_run(&pair, 130 * (int64_t)SECOND_US);
	cr_assert_null(peer_at(&pair, 1, 1)->data.path, "two minutes after the last session");
	kcpvpn_peer_up(pair.ends[0].peers[1], pair.now_us);
	kcpvpn_native_flush(pair.ends[0].native, pair.now_us);
	native_pair_run(&pair, SECOND_US);
	cr_assert_gt(talk(&pair, 2, SECOND_US / 4, given), 800);
	native_pair_fini(&pair);
}

/* Whatever a message says: the other side of it is this process, but a stale one may come at any time. */
Test(native_shards, messages_about_what_is_gone_do_nothing)
{
	struct native_pair pair;
	struct kcpvpn_shard_message message = {{0}};

	open_pair(&pair, 23, 3, 3, 0, 1000);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, SECOND_US));
	for (unsigned verb = 0; verb < 16; verb++) {
		for (uint64_t peer = 0; peer < 3; peer++) {
			struct native_shard_message inner = {
				.verb = (uint8_t)verb, .peer = peer + 5, .serial = 99};
			if (verb == NATIVE_SHARD_SEND_ON || verb == NATIVE_SHARD_ERASE)
				inner.peer = pair.ends[0].peers[1]->id + peer;
			inner.shard = 1;
			memcpy(message.bytes, &inner, sizeof(inner));
			kcpvpn_native_hear(pair.ends[0].followers[1].native, &message, pair.now_us);
			kcpvpn_native_hear(pair.ends[0].native, &message, pair.now_us);
		}
	}
	native_pair_run(&pair, SECOND_US);
	cr_assert_eq(give(&pair, 0, 1, 1), 0);
	native_pair_run(&pair, SECOND_US);
	cr_assert_eq(came(&pair, 1, 1), 1);
	native_pair_fini(&pair);
}

static unsigned on_gone;

static void count_on_gone(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	(void)ctx, (void)batch;
	on_gone += (unsigned)count;
}

/* A message may come when the port that it names was closed, and its memory is another's by now. */
Test(native_shards, a_closed_port_does_not_come_back)
{
	struct kcpvpn_udp_port gone = {.send = count_on_gone};
	struct kcpvpn_shard_message message = {{0}};
	struct native_pair pair;

	open_pair(&pair, 37, 3, 3, 0, 1000);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, SECOND_US));
	native_pair_run(&pair, SECOND_US);
	struct kcpvpn_native *leader = pair.ends[0].native;
	struct native_shard_message moved = {
		.verb = NATIVE_SHARD_MOVED,
		.shard = 1,
		.peer = pair.ends[0].peers[1]->id,
		.size = 1000,
		.port = 7,
		.address = {.remote = native_pair_endpoint(99)},
	};
	memcpy(message.bytes, &moved, sizeof(moved));
	for (uint64_t number = 7; number < 9; number++) {
		cr_assert_eq(kcpvpn_native_name_port(leader, &gone, number), 0);
		cr_assert_eq(kcpvpn_native_name_port(leader, &gone, 20), -EEXIST);
		cr_assert_eq(kcpvpn_native_name_port(leader, &pair.ends[0].port, 21), -EEXIST);
		if (number == 7)
			kcpvpn_native_close_port(leader, &gone, pair.now_us);
	}
	cr_assert_eq(kcpvpn_native_name_port(leader, &gone, 0), -EINVAL);
	kcpvpn_native_hear(leader, &message, pair.now_us);
	kcpvpn_native_flush(leader, pair.now_us);
	native_pair_run(&pair, 2 * SECOND_US);
	cr_assert_eq(on_gone, 0);
	/* And one that is there is used. */
	moved.port = 8;
	memcpy(message.bytes, &moved, sizeof(moved));
	kcpvpn_native_hear(leader, &message, pair.now_us);
	kcpvpn_native_flush(leader, pair.now_us);
	native_pair_run(&pair, SECOND_US);
	cr_assert_gt(on_gone, 0);
	/* A follower that is told of one it lacks has nowhere to send to. */
	moved.verb = NATIVE_SHARD_ENDPOINT;
	moved.port = 7;
	memcpy(message.bytes, &moved, sizeof(moved));
	kcpvpn_native_hear(native_at(&pair, 0, 1), &message, pair.now_us);
	cr_assert_null(peer_at(&pair, 0, 1)->data.address.port);
	native_pair_fini(&pair);
}

/* As many as a program likes to listen on. */
Test(native_shards, ports_have_no_end)
{
	static struct kcpvpn_udp_port ports[200];
	struct native_pair pair;

	open_pair(&pair, 39, 2, 2, 0, 1000);
	struct kcpvpn_native *follower = native_at(&pair, 0, 1);
	for (uint64_t i = 0; i < 200; i++)
		cr_assert_eq(kcpvpn_native_name_port(follower, &ports[i], i + 2), 0);
	for (size_t i = 0; i < 200; i++)
		cr_assert_eq(native_port_named(follower, i + 2), &ports[i]);
	for (size_t i = 0; i < 200; i += 2)
		kcpvpn_native_close_port(follower, &ports[i], pair.now_us);
	for (size_t i = 0; i < 200; i++)
		cr_assert_eq(native_port_number(follower, &ports[i]), i % 2 ? i + 2 : 0);
	native_pair_fini(&pair);
}

Test(native_shards, a_follower_takes_no_handshakes_and_no_other_shards_data)
{
	uint8_t bytes[184] = {8, 1};
	struct kcpvpn_native_stats stats;
	struct native_pair pair;

	open_pair(&pair, 29, 3, 3, 0, 1000);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, SECOND_US));
	native_pair_run(&pair, SECOND_US);
	struct kcpvpn_native *follower = pair.ends[0].followers[2].native;
	struct kcpvpn_datagram datagram = {
		.remote = pair.ends[1].address, .data = bytes, .len = sizeof(bytes)};
	static const size_t lens[] = {184, 120, 64, 64};
	for (uint8_t type = 8; type < 12; type++) {
		bytes[0] = type;
		datagram.len = lens[type - 8];
		kcpvpn_native_input(
			follower, &pair.ends[0].followers[2].port, &datagram, 1, pair.now_us);
	}
	kcpvpn_native_stats(follower, &stats);
	cr_assert_eq(stats.drop_type, 4);
	const struct native_session *session = peer_at(&pair, 0, 2)->hs.slots[NATIVE_SLOT_CUR];
	cr_assert_not_null(session);
	for (unsigned s = 0; s < 16; s++) {
		bytes[0] = 0x0c;
		bytes[4] = (uint8_t)((session->index.number & 0xf0) | s);
		bytes[5] = (uint8_t)(session->index.number >> 8);
		bytes[6] = (uint8_t)(session->index.number >> 16);
		bytes[7] = (uint8_t)(session->index.number >> 24);
		kcpvpn_native_input(
			follower, &pair.ends[0].followers[2].port, &datagram, 1, pair.now_us);
	}
	kcpvpn_native_stats(follower, &stats);
	cr_assert_eq(stats.drop_shard, 15);
	cr_assert_eq(stats.drop_tag, 1);
	native_pair_fini(&pair);
}

/* Who sends much is counted, by all; whoever has little to say is not. */
Test(native_shards, shards_that_send_know_of_each_other)
{
	static const struct {
		unsigned packets[3]; /* a millisecond, of each shard */
		unsigned want;
	} rows[] = {{{4, 4, 0}, 2}, {{4, 4, 4}, 3}, {{0, 4, 0}, 1}, {{4, 0, 2}, 2}, {{4, 0, 0}, 1}};
	struct native_pair pair;

	open_pair(&pair, 31, 3, 3, 100, 3000);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, SECOND_US));
	native_pair_run(&pair, SECOND_US);
	for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
		for (uint32_t ms = 0; ms < 1000; ms++) {
			for (unsigned s = 0; s < 3; s++)
				for (unsigned i = 0; i < rows[row].packets[s]; i++)
					(void)give(&pair, 0, s, ms);
			native_pair_run(&pair, 1000);
		}
		for (unsigned s = 0; s < 3; s++) {
			const struct native_data_state *data = &peer_at(&pair, 0, s)->data;
			cr_assert_eq(
				data->sending_shards, rows[row].want, "row %zu shard %u", row, s);
			cr_assert_eq(data->path != NULL, row > 0 || s < 2);
			if (data->path)
				cr_assert_eq(data->path->budget.lt.shards, rows[row].want);
		}
	}
	native_pair_fini(&pair);
}

/* A rate that is ordered for the peer is not one for each of its shards, and who has little to say leaves the rest to others. */
Test(native_shards, an_ordered_rate_is_of_all_together)
{
	static const struct {
		unsigned packets[3]; /* a millisecond, of each shard */
	} rows[] = {{{4, 4, 4}}, {{4, 0, 0}}, {{0, 0, 4}}, {{4, 1, 0}}, {{0, 4, 4}}};
	const double rate = 2e6;
	struct native_end_options options = with_shards(3, 100);
	struct native_pair pair;

	options.peer.rate_max_bps = (uint64_t)rate;
	native_pair_init(&pair, 37);
	native_pair_start(&pair, 0, &options);
	native_pair_start(&pair, 1, &options);
	for (size_t i = 0; i < 2; i++)
		pair.ends[i].link.delay_us = 5000;
	native_pair_join(&pair, 0, 1, false);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, SECOND_US));
	native_pair_run(&pair, SECOND_US);
	for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
		uint64_t bytes = 0, came_before[3] = {0}, busy = 0;
		for (uint32_t ms = 0; ms < 12000; ms++) {
			if (ms == 2000) {
				bytes = pair.ends[0].sent_bytes + 28 * pair.ends[0].sent[12];
				for (unsigned s = 0; s < 3; s++)
					came_before[s] = came(&pair, 1, s);
			}
			for (unsigned s = 0; s < 3; s++)
				for (unsigned i = 0; i < rows[row].packets[s]; i++)
					(void)give(&pair, 0, s, ms);
			native_pair_run(&pair, 1000);
		}
		bytes = pair.ends[0].sent_bytes + 28 * pair.ends[0].sent[12] - bytes;
		for (unsigned s = 0; s < 3; s++)
			busy += rows[row].packets[s] > 0;
		cr_assert_leq((double)bytes * 8 / 10, rate * 1.03, "row %zu: %.0f", row,
			(double)bytes * 8 / 10);
		cr_assert_geq((double)bytes * 8 / 10, rate * 0.8, "row %zu: %.0f", row,
			(double)bytes * 8 / 10);
		for (unsigned s = 0; s < 3 && row != 3; s++) {
			double share =
				(double)((came(&pair, 1, s) - came_before[s]) * PACKET_BYTES * 8) /
				10 / rate;
			if (rows[row].packets[s] > 0)
				cr_assert_geq(share, 0.6 / (double)busy, "row %zu shard %u: %.2f",
					row, s, share);
		}
	}
	native_pair_fini(&pair);
}
