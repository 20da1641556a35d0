/*
 * Two ends of the native wire walk at random through all that happens to a tunnel: loss, reordering, outages, moves, restarts,
 * sleep, paths that grow narrow and wide. Under load all the time, and judged all the time: no packet that was not sent, none
 * twice, none late in its flow, no number used twice, nothing on a session without proof. When the world is good again, so is
 * the tunnel.
 */
#include "tests/thorough.h"
#include "tests/unit/stack/native_load.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	MS = 1000,
	S = 1000000,
	WALKS = 24,
	STEPS = 40,
	RATE = 40,
	/* Back-off up to 75 s, or the rest after CLOSE. */
	HEAL_US = 100 * S,
};

static struct native_pair pair;
static struct native_load load;
static uint64_t dice;

static uint64_t roll(uint64_t sides)
{
	return native_pair_random(&dice) % sides;
}

static void set_links(void)
{
	static const size_t mtus[] = {0, 0, 0, 1472, 1464, 1400, 1300, 1232};
	size_t mtu = mtus[roll(8)];

	for (size_t i = 0; i < 2; i++)
		pair.ends[i].link = (struct native_link){
			.loss_ppm = roll(3) == 0 ? (uint32_t)roll(300000) : 0,
			.duplicate_ppm = roll(4) == 0 ? (uint32_t)roll(200000) : 0,
			.delay_us = (int64_t)roll(100 * MS),
			.jitter_us = roll(3) == 0 ? (int64_t)roll(50 * MS) : 0,
			.mtu_bytes = mtu,
		};
}

static void tell_targets(void)
{
	for (size_t i = 0; i < 2; i++) {
		struct kcpvpn_target target = {pair.ends[1 - i].address, &pair.ends[i].port};
		kcpvpn_peer_set_targets(pair.ends[i].peers[1 - i], &target, 1, pair.now_us);
	}
}

static void begin_anew(size_t i)
{
	struct native_end *end = &pair.ends[i];
	struct kcpvpn_endpoint address = end->address;
	struct native_link link = end->link;
	int64_t realtime_us = end->realtime_us;

	native_pair_kill(&pair, i);
	native_pair_run(&pair, (int64_t)roll(5 * S));
	native_pair_start(&pair, i, NULL);
	end->address = address;
	end->link = link;
	/* Its clock was set, or is that of a machine without one. */
	end->realtime_us =
		roll(3) == 0 ? -pair.now_us : realtime_us + (int64_t)roll(1000 * (uint64_t)S);
	native_pair_know(&pair, i, 1 - i, true);
	tell_targets();
}

static void step(void)
{
	size_t who = roll(2);
	struct native_end *end = &pair.ends[who];

	switch (roll(12)) {
	case 0:
	case 1:
	case 2:
		set_links();
		break;
	case 3: /* outage */
		pair.ends[0].link.loss_ppm = pair.ends[1].link.loss_ppm = 1000000;
		native_load_run(&load, (int64_t)roll(25 * S), RATE, RATE, 300);
		set_links();
		break;
	case 4:
		end->address.port++;
		break;
	case 5:
		end->address.address[2]++;
		kcpvpn_native_network_changed(end->native, pair.now_us);
		break;
	case 6:
		begin_anew(who);
		break;
	case 7:
		kcpvpn_peer_down(end->peers[1 - who], KCPVPN_CLOSE_RESTART, pair.now_us);
		native_pair_run(&pair, (int64_t)roll(3 * S));
		kcpvpn_peer_up(end->peers[1 - who], pair.now_us);
		tell_targets();
		break;
	case 8: /* both sleep */
		pair.now_us += (int64_t)roll(3600 * (uint64_t)S);
		break;
	case 9:
		kcpvpn_native_too_big(
			end->native, &pair.ends[1 - who].address, 1233 + roll(240), pair.now_us);
		break;
	case 10: /* long enough for lanes to be freed */
		native_pair_run(&pair, (int64_t)roll(200 * (uint64_t)S));
		break;
	default:
		break;
	}
	native_load_run(&load, (int64_t)(S + (int64_t)roll(8 * S)), RATE, RATE, 100 + roll(1301));
}

static void heal(uint64_t seed)
{
	for (size_t i = 0; i < 2; i++)
		pair.ends[i].link = (struct native_link){.delay_us = 20 * MS};
	tell_targets();
	int64_t from_us = pair.now_us;
	while (pair.now_us - from_us < HEAL_US) {
		uint64_t before[2] = {load.ways[0].came, load.ways[1].came};
		native_load_run(&load, S, RATE, RATE, 300);
		if (load.ways[0].came > before[0] && load.ways[1].came > before[1])
			break;
	}
	cr_assert_lt(
		pair.now_us - from_us, HEAL_US, "seed %llu: no tunnel", (unsigned long long)seed);
	native_load_run(&load, 5 * S, RATE, RATE, 300); /* what waited goes first */
	uint64_t missing[2];
	native_load_watch(&load);
	for (int w = 0; w < 2; w++)
		missing[w] = load.ways[w].given - load.ways[w].came;
	native_load_run(&load, 10 * S, RATE, RATE, 1400);
	for (int w = 0; w < 2; w++) {
		cr_assert_leq(load.ways[w].gap_us, 300 * MS, "seed %llu: %lld us",
			(unsigned long long)seed, (long long)load.ways[w].gap_us);
		cr_assert_leq(load.ways[w].given - load.ways[w].came, missing[w] + 2 * RATE / 10);
	}
}

Test(native_walk, whatever_happens_the_tunnel_comes_back)
{
	uint64_t offered = 0, came = 0, refused = 0;
	uint64_t walks = thorough() ? WALKS : WALKS / 4;

	for (uint64_t seed = 1; seed <= walks; seed++) {
		dice = seed;
		native_pair_init(&pair, seed);
		for (size_t i = 0; i < 2; i++)
			native_pair_start(&pair, i, NULL);
		set_links();
		native_pair_join(&pair, 0, 1, true);
		native_load_init(&load, &pair);
		for (int i = 0; i < STEPS; i++)
			step();
		heal(seed);
		offered += load.ways[0].given + load.ways[1].given;
		came += load.ways[0].came + load.ways[1].came;
		refused += load.ways[0].refused + load.ways[1].refused;
		for (size_t i = 0; i < 2; i++) {
			struct kcpvpn_native_stats stats;
			kcpvpn_native_stats(pair.ends[i].native, &stats);
			cr_assert_eq(stats.nonce_refused, 0);
			cr_assert_eq(stats.drop_frame + stats.drop_control, 0,
				"they understand each other");
		}
		native_pair_fini(&pair);
	}
	printf("%llu walks: %llu packets taken, %llu came, %llu refused\n",
		(unsigned long long)walks, (unsigned long long)offered, (unsigned long long)came,
		(unsigned long long)refused);
}
