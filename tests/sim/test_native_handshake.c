/*
 * Handshakes of the native wire on bad networks, in virtual time: how long it takes until the caller can send, and whether
 * two sides that lose datagrams, get them twice and late, are killed and started again, and have clocks that jump, ever end
 * in a state from which they do not recover. The watch of native_pair.c is on all the time: no counter is used twice,
 * nothing is sent on a session that was not confirmed.
 */
#include "core/endian.h"
#include "tests/thorough.h"
#include "tests/unit/stack/native_pair.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	SEEDS_MOST = 10000, /* LONG=1 */
	SEEDS = THOROUGH_SANITIZED ? 500 : 2500,
	WALKS = THOROUGH_SANITIZED ? 20 : 300,
	CYCLES = 8,
	CALM_US = 2000000,
	TICK_US = 50000,
	PACKET_BYTES = 64,
	EPOCH_AT = 28,
};

/* ---- handshakes under loss ------------------------------------------------------------------------------------------ */

static bool caller_is_up(struct native_pair *pair)
{
	return kcpvpn_peer_state(pair->ends[0].peers[1]) == KCPVPN_PEER_UP;
}

static int by_time(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a;
	int64_t y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

/* How long one call takes, in microseconds. */
static int64_t call_once(uint64_t seed, uint32_t loss_ppm)
{
	static struct native_pair pair;

	native_pair_init(&pair, seed);
	for (size_t i = 0; i < 2; i++) {
		native_pair_start(&pair, i, NULL);
		pair.ends[i].link = (struct native_link){
			.loss_ppm = loss_ppm, .delay_us = 30000, .jitter_us = 5000};
	}
	int64_t began_us = pair.now_us;
	native_pair_join(&pair, 0, 1, false);
	cr_assert(native_pair_run_until(&pair, caller_is_up, 600000000), "seed %llu",
		(unsigned long long)seed);
	int64_t took_us = pair.now_us - began_us;
	native_pair_fini(&pair);
	return took_us;
}

static void loss_costs_at_most(uint32_t loss_ppm, int64_t p99_us)
{
	unsigned seeds = long_run() ? SEEDS_MOST : SEEDS;
	int64_t *times = calloc(seeds, sizeof(*times));
	double sum = 0;

	for (uint64_t seed = 0; seed < seeds; seed++) {
		times[seed] = call_once(seed * 1000 + loss_ppm / 100000, loss_ppm);
		sum += (double)times[seed];
	}
	qsort(times, seeds, sizeof(*times), by_time);
	int64_t p99 = times[seeds * 99 / 100];
	printf("handshake, %u %% loss each way, %u seeds: mean %.2f s, median %.2f s, p90 %.2f s, "
	       "p99 %.2f s, longest %.2f s\n",
		loss_ppm / 10000, seeds, sum / seeds / 1e6, (double)times[seeds / 2] / 1e6,
		(double)times[seeds * 9 / 10] / 1e6, (double)p99 / 1e6,
		(double)times[seeds - 1] / 1e6);
	fflush(stdout);
	cr_assert_leq(p99, p99_us);
	free(times);
}

Test(native_handshake, without_loss_takes_a_round_trip)
{
	loss_costs_at_most(0, 75000);
}

Test(native_handshake, ten_percent_loss)
{
	loss_costs_at_most(100000, 1500000);
}

Test(native_handshake, thirty_percent_loss)
{
	loss_costs_at_most(300000, 9000000);
}

Test(native_handshake, fifty_percent_loss)
{
	loss_costs_at_most(500000, 25000000);
}

/* ---- a random walk -------------------------------------------------------------------------------------------------- */

struct walk {
	struct native_pair pair;
	uint64_t random;
	uint32_t epoch;
	uint32_t heard[2]; /* latest epoch that a message of the other side told */
	uint64_t kills, jumps, handshakes;
	int64_t worst_us;
};

static uint64_t draw(struct walk *walk, uint64_t below)
{
	return native_pair_random(&walk->random) % below;
}

static void on_message(struct native_end *end, size_t peer, const uint8_t *bytes, size_t len)
{
	struct walk *walk = end->pair->user;

	cr_assert_eq(len, PACKET_BYTES);
	cr_assert_eq(peer, 1 - end->number);
	uint32_t epoch = load_le32(bytes + EPOCH_AT);
	if (epoch > walk->heard[end->number])
		walk->heard[end->number] = epoch;
}

static void talk(struct walk *walk)
{
	uint8_t packet[PACKET_BYTES];

	for (size_t i = 0; i < 2; i++) {
		struct native_end *end = &walk->pair.ends[i];
		if (!end->native)
			continue;
		native_pair_packet(packet, sizeof(packet), (uint8_t)i, (uint8_t)(1 - i), 5000, 1);
		store_le32(packet + EPOCH_AT, walk->epoch);
		if (kcpvpn_peer_send(end->peers[1 - i], packet, sizeof(packet),
			    walk->pair.now_us) == -ENOTCONN)
			kcpvpn_peer_want(end->peers[1 - i], walk->pair.now_us);
		kcpvpn_native_flush(end->native, walk->pair.now_us);
	}
}

static void run_end(struct walk *walk, size_t i)
{
	native_pair_start(&walk->pair, i, NULL);
	native_pair_know(&walk->pair, i, 1 - i, true);
}

static void disturb_link(struct walk *walk)
{
	for (size_t i = 0; i < 2; i++) {
		static const uint32_t losses[] = {0, 100000, 300000, 600000, 900000, 1000000};
		walk->pair.ends[i].link = (struct native_link){
			.loss_ppm = losses[draw(walk, 6)],
			.duplicate_ppm = draw(walk, 2) ? 300000 : 0,
			.delay_us = (int64_t)draw(walk, 300000),
			.jitter_us = (int64_t)draw(walk, draw(walk, 4) ? 20000 : 4000000),
		};
	}
}

static void disturb_end(struct walk *walk)
{
	static const int64_t clocks_us[] = {
		0, -(int64_t)86400 * 1000000, (int64_t)86400 * 1000000, (int64_t)3600 * 1000000};
	size_t i = draw(walk, 2);
	struct native_end *end = &walk->pair.ends[i];
	struct kcpvpn_peer *peer = end->peers[1 - i];

	switch (draw(walk, 7)) {
	case 0:
		walk->kills++;
		native_pair_kill(&walk->pair, i);
		if (draw(walk, 2))
			run_end(walk, i);
		break;
	case 1:
		walk->jumps++;
		end->realtime_us = draw(walk, 3) == 0 ? -walk->pair.now_us
						      : (int64_t)1700000000 * 1000000 +
								clocks_us[draw(walk, 4)];
		break;
	case 2:
		if (end->native) {
			kcpvpn_peer_down(peer, KCPVPN_CLOSE_RESTART, walk->pair.now_us);
			kcpvpn_native_flush(end->native, walk->pair.now_us);
			kcpvpn_peer_up(peer, walk->pair.now_us);
		}
		break;
	case 3:
		if (end->native)
			kcpvpn_native_network_changed(end->native, walk->pair.now_us);
		break;
	case 4:
		/* Both sleep: all of a sudden it is later. */
		walk->pair.now_us += (int64_t)draw(walk, 200000000);
		for (size_t e = 0; e < 2; e++)
			if (walk->pair.ends[e].native)
				kcpvpn_native_network_changed(
					walk->pair.ends[e].native, walk->pair.now_us);
		break;
	default:
		disturb_link(walk);
		break;
	}
}

/* At most twenty seconds, so that the calls do not yet pause for longer. */
static void disturb(struct walk *walk)
{
	int64_t until_us = walk->pair.now_us + (int64_t)draw(walk, 20000000);

	disturb_link(walk);
	while (walk->pair.now_us < until_us) {
		native_pair_run(&walk->pair, TICK_US);
		if (draw(walk, 4) == 0)
			talk(walk);
		if (draw(walk, 40) == 0)
			disturb_end(walk);
	}
}

static void calm(struct walk *walk, uint64_t seed)
{
	walk->epoch++;
	for (size_t i = 0; i < 2; i++) {
		walk->pair.ends[i].link = (struct native_link){.delay_us = 20000};
		if (!walk->pair.ends[i].native)
			run_end(walk, i);
	}
	int64_t began_us = walk->pair.now_us;
	while (walk->heard[0] != walk->epoch || walk->heard[1] != walk->epoch) {
		cr_assert_leq(walk->pair.now_us - began_us, CALM_US,
			"seed %llu, cycle %u: no session works (heard %d %d, states %d %d)",
			(unsigned long long)seed, walk->epoch, walk->heard[0] == walk->epoch,
			walk->heard[1] == walk->epoch,
			kcpvpn_peer_state(walk->pair.ends[0].peers[1]),
			kcpvpn_peer_state(walk->pair.ends[1].peers[0]));
		talk(walk);
		native_pair_run(&walk->pair, TICK_US);
	}
	if (walk->pair.now_us - began_us > walk->worst_us)
		walk->worst_us = walk->pair.now_us - began_us;
}

static void walk_once(struct walk *walk, uint64_t seed)
{
	walk->random = seed ^ 0x5eed;
	walk->epoch = 0;
	memset(walk->heard, 0, sizeof(walk->heard));
	native_pair_init(&walk->pair, seed);
	walk->pair.user = walk;
	walk->pair.on_message = on_message;
	run_end(walk, 0);
	run_end(walk, 1);
	for (int cycle = 0; cycle < CYCLES; cycle++) {
		calm(walk, seed);
		if (draw(walk, 4) == 0)
			native_pair_run(&walk->pair, (int64_t)draw(walk, 300000000));
		disturb(walk);
	}
	calm(walk, seed);
	for (size_t i = 0; i < 2; i++) {
		struct kcpvpn_native_stats stats;
		kcpvpn_native_stats(walk->pair.ends[i].native, &stats);
		walk->handshakes += stats.handshakes_done;
		cr_assert_eq(stats.nonce_refused, 0);
		cr_assert_eq(stats.drop_tag, 0, "seed %llu", (unsigned long long)seed);
		cr_assert_eq(stats.drop_frame, 0);
	}
	native_pair_fini(&walk->pair);
}

Test(native_handshake, recovers_from_whatever_happened_within_two_seconds)
{
	struct walk *walk = calloc(1, sizeof(*walk));
	const char *only = getenv("NATIVE_WALK_SEED");

	unsigned long long walks = getenv("LONG") ? 20 * WALKS : WALKS;

	if (only)
		walk_once(walk, strtoull(only, NULL, 10));
	for (uint64_t seed = 1; !only && seed <= walks; seed++)
		walk_once(walk, seed);
	printf("random walk, %llu seeds of %d cycles: %llu kills, %llu clock steps, %llu "
	       "handshakes "
	       "at the "
	       "end; a message both ways after calm: at most %.2f s\n",
		walks, CYCLES, (unsigned long long)walk->kills, (unsigned long long)walk->jumps,
		(unsigned long long)walk->handshakes, (double)walk->worst_us / 1e6);
	free(walk);
}
