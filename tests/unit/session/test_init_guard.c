#include "core/rand.h"
#include "session/init_guard.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static void fill(void *ctx, void *buf, size_t len)
{
	unsigned *seed = ctx;
	uint8_t *at = buf;
	while (len--)
		*at++ = (uint8_t)rand_r(seed);
}

static unsigned key_seed = 11;
static const struct rand_source RND = {fill, &key_seed};

static struct kcpvpn_endpoint v4(uint32_t address, uint16_t port)
{
	return (struct kcpvpn_endpoint){
		.family = 4,
		.port = port,
		.address = {(uint8_t)(address >> 24), (uint8_t)(address >> 16),
			(uint8_t)(address >> 8), (uint8_t)address},
	};
}

/* 2001:db8:NET:SUBNET::HOST */
static struct kcpvpn_endpoint v6(uint16_t net, uint16_t subnet, uint16_t host)
{
	return (struct kcpvpn_endpoint){
		.family = 6,
		.port = 1,
		.address = {0x20, 0x01, 0x0d, 0xb8, (uint8_t)(net >> 8), (uint8_t)net,
			(uint8_t)(subnet >> 8),
			(uint8_t)subnet, [14] = (uint8_t)(host >> 8), [15] = (uint8_t)host},
	};
}

static int passes(
	struct init_guard *guard, struct kcpvpn_endpoint source, int tries, struct mono now)
{
	int passed = 0;
	while (tries--)
		passed += init_guard_admit(guard, &source, now) == INIT_GUARD_PASS;
	return passed;
}

/* A flood from one address gets what nobody else wants, a newcomer beside it all that it can use. */
Test(init_guard, a_flood_from_one_address_is_sent_few_cookies)
{
	static struct init_guard guard;
	int flooder = 0, newcomer = 0;
	struct kcpvpn_endpoint from = v4(0x0a000001, 1), other = v4(0x0a000707, 1);

	init_guard_init(&guard, &RND);
	for (int i = 0; i < 50000; i++) {
		struct mono now = mono_at_us(5000000 + i * 20);
		flooder += init_guard_cookie(&guard, &from, now);
		if (i % 1000 == 999)
			newcomer += init_guard_cookie(&guard, &other, now);
	}
	cr_assert_eq(newcomer, 50);
	cr_assert(flooder >= 5000 && flooder <= 5000 + 200 + 100 + 20 + 1, "%d", flooder);
	init_guard_set_limits(&guard, false);
	cr_assert(init_guard_cookie(&guard, &from, mono_at_us(6000000)));
}

Test(init_guard, load_begins_above_two_hundred_a_second)
{
	static struct init_guard guard;
	struct mono now = mono_at_ms(5000);

	init_guard_init(&guard, &RND);
	for (int i = 0; i < 200; i++)
		cr_assert_not(init_guard_arrived(&guard, 0, mono_at_ms(5000 + 4 * i)));
	cr_assert_not(init_guard_loaded(&guard, mono_at_ms(5799)));
	cr_assert(init_guard_arrived(&guard, 0, mono_at_ms(5800)));
	now = mono_at_ms(6799);
	cr_assert(init_guard_loaded(&guard, now), "stays for a second");
	now = mono_at_ms(6800);
	cr_assert_not(init_guard_loaded(&guard, now));
	cr_assert_not(init_guard_arrived(&guard, 0, mono_at_ms(6950)));
	cr_assert_eq(guard.counters.loads, 1);
	cr_assert_eq(guard.counters.arrived, 202);
	cr_assert_eq(guard.counters.under_load, 1);
}

Test(init_guard, a_steady_rate_below_the_bound_is_no_load)
{
	static struct init_guard guard;

	init_guard_init(&guard, &RND);
	for (int i = 0; i < 20000; i++) /* 199 a second for 100 s */
		cr_assert_not(
			init_guard_arrived(&guard, 64, mono_at_us((int64_t)i * 1000000 / 199)));
	for (int i = 0; i < 1000; i++) /* 250 a second */
		init_guard_arrived(&guard, 0, mono_at_us(200000000 + (int64_t)i * 4000));
	cr_assert(init_guard_loaded(&guard, mono_at_us(204000000)));
}

Test(init_guard, a_long_queue_is_load)
{
	static struct init_guard guard;

	init_guard_init(&guard, &RND);
	cr_assert_not(init_guard_arrived(&guard, 64, mono_at_ms(1)));
	cr_assert(init_guard_arrived(&guard, 65, mono_at_ms(2)));
	cr_assert(init_guard_arrived(&guard, 0, mono_at_ms(1001)));
	cr_assert_not(init_guard_arrived(&guard, 0, mono_at_ms(1002)));
}

Test(init_guard, an_address_has_twenty_a_second)
{
	static struct init_guard guard;

	init_guard_init(&guard, &RND);
	cr_assert_eq(passes(&guard, v4(0xc0000201, 1), 50, mono_at_ms(1000)), 5);
	cr_assert_eq(passes(&guard, v4(0xc0000201, 2), 50, mono_at_ms(1000)), 0, "another port");
	cr_assert_eq(passes(&guard, v4(0xc0000202, 1), 50, mono_at_ms(1000)), 5, "another host");
	cr_assert_eq(passes(&guard, v4(0xc0000201, 1), 50, mono_at_ms(1049)), 0);
	cr_assert_eq(passes(&guard, v4(0xc0000201, 1), 50, mono_at_ms(1050)), 1);
	cr_assert_eq(passes(&guard, v6(1, 1, 1), 50, mono_at_ms(1100)), 5);
	cr_assert_eq(passes(&guard, v6(1, 1, 2), 50, mono_at_ms(1100)), 0, "the same /64");
	cr_assert_eq(passes(&guard, v6(1, 2, 1), 50, mono_at_ms(1100)), 5, "another /64");
	cr_assert_eq(guard.counters.verdicts[INIT_GUARD_PASS], 21);
}

Test(init_guard, a_network_has_ten_times_that)
{
	static struct init_guard guard;
	int passed = 0;

	init_guard_init(&guard, &RND);
	for (uint32_t host = 0; host < 256; host++)
		passed += passes(&guard, v4(0xc0000200 + host, 1), 1, mono_at_ms(1000));
	cr_assert_eq(passed, 50);
	cr_assert_gt(guard.counters.verdicts[INIT_GUARD_NET], 200);
	passed = 0;
	for (uint16_t net = 0; net < 256; net++)
		passed += passes(&guard, v6(7, net, 1), 1, mono_at_ms(2000));
	cr_assert_eq(passed, 50);
	cr_assert_eq(passes(&guard, v6(8, 0, 1), 1, mono_at_ms(2500)), 1, "another /48");
}

Test(init_guard, all_together_have_a_thousand_a_second)
{
	static struct init_guard guard;
	int passed = 0;

	init_guard_init(&guard, &RND);
	for (int i = 0; i < 200000;
		i++) /* 10 s of 20 000 a second, each from a network of its own */
		passed +=
			passes(&guard, v4((uint32_t)i << 8, 1), 1, mono_at_us(1000000 + i * 50LL));
	cr_assert(passed >= 9900 && passed <= 10051, "%d", passed);
}

Test(init_guard, without_limits_all_pass)
{
	static struct init_guard guard;

	init_guard_init(&guard, &RND);
	init_guard_set_limits(&guard, false);
	for (int i = 0; i < 1000; i++)
		cr_assert_not(init_guard_arrived(&guard, 1000, mono_at_ms(1)));
	cr_assert_eq(passes(&guard, v4(1, 1), 1000, mono_at_ms(1)), 1000);
	init_guard_set_limits(&guard, true);
	cr_assert(init_guard_arrived(&guard, 0, mono_at_ms(2)));
}

/*
 * Exact buckets for each source and network, charged with what the guard lets pass: it never lets pass what they refuse, and
 * with few sources it refuses next to nothing else (a source meets others in both of its rows about once in 100 keys).
 */
enum { HOSTS = 40, NETS = 8, ROUNDS = 40 };

struct exact {
	struct token_bucket hosts[HOSTS];
	struct token_bucket nets[NETS];
	struct token_bucket total;
};

static enum init_guard_verdict exact_judge(
	const struct exact *exact, int host, int net, struct mono now)
{
	if (!token_bucket_has(exact->hosts[host], INIT_GUARD_HOST_RATE, now))
		return INIT_GUARD_HOST;
	if (!token_bucket_has(exact->nets[net], INIT_GUARD_NET_RATE, now))
		return INIT_GUARD_NET;
	return token_bucket_has(exact->total, INIT_GUARD_TOTAL_RATE, now) ? INIT_GUARD_PASS
									  : INIT_GUARD_TOTAL;
}

Test(init_guard, agrees_with_exact_buckets)
{
	static struct init_guard guard;
	unsigned seed = 5;
	unsigned seen[INIT_GUARD_VERDICTS] = {0};
	unsigned wronged_rounds = 0;

	for (int round = 0; round < ROUNDS; round++) {
		struct exact exact = {0};
		unsigned wronged = 0;
		int64_t at_us = 20000000 + round * 100000000LL;
		int64_t end_us = at_us + INIT_GUARD_REKEY_US;
		int gap_us = round % 2 ? 600 : 3000;

		memset(&guard, 0, sizeof(guard));
		init_guard_init(&guard, &RND);
		for (; at_us < end_us; at_us += rand_r(&seed) % gap_us) {
			struct mono now = mono_at_us(at_us);
			int host = rand_r(&seed) % HOSTS;
			int net = host % NETS;
			struct kcpvpn_endpoint source =
				net < NETS / 2 ? v4((uint32_t)(net << 8 | host), 1)
					       : v6((uint16_t)net, (uint16_t)host, 1);
			enum init_guard_verdict want = exact_judge(&exact, host, net, now);
			enum init_guard_verdict got = init_guard_admit(&guard, &source, now);

			if (got == INIT_GUARD_PASS) {
				cr_assert_eq(want, INIT_GUARD_PASS, "round %d: more than the rate",
					round);
				token_bucket_take(&exact.hosts[host], INIT_GUARD_HOST_RATE, now);
				token_bucket_take(&exact.nets[net], INIT_GUARD_NET_RATE, now);
				token_bucket_take(&exact.total, INIT_GUARD_TOTAL_RATE, now);
			} else {
				wronged += got != want;
			}
			seen[got]++;
		}
		wronged_rounds += wronged > 0;
	}
	cr_assert_leq(wronged_rounds, 4);
	cr_assert(seen[INIT_GUARD_PASS] > 1000 && seen[INIT_GUARD_HOST] > 1000);
}

/* Many sources collide. None may get more than its rate, over any time but the burst that a new key gives. */
Test(init_guard, collisions_give_nobody_more)
{
	static struct init_guard guard;
	static struct token_bucket exact[20000];
	unsigned seed = 9;
	int64_t now = 30000000;

	init_guard_init(&guard, &RND);
	for (int i = 0; i < 200000; i++, now += 40) { /* 8 s: one key */
		uint32_t host = (uint32_t)(rand_r(&seed) % 20000);
		struct kcpvpn_endpoint source = v4(host << 8, 1);
		if (init_guard_admit(&guard, &source, mono_at_us(now)) == INIT_GUARD_PASS)
			cr_assert(token_bucket_take(
				&exact[host], INIT_GUARD_HOST_RATE, mono_at_us(now)));
	}
}

/*
 * 45 proven addresses, each in a network of its own, ask 30 000 times a second between them: they hold as many buckets empty
 * as 900 passes a second can. Newcomers ask as a client does, five times in six seconds: all get in.
 */
Test(init_guard, an_attacker_with_many_addresses_locks_nobody_out)
{
	static const int asks_ms[] = {100, 400, 1000, 2200, 4600};
	static struct init_guard guard;
	unsigned seed = 13;

	for (int victim = 0; victim < 100; victim++) {
		struct kcpvpn_endpoint newcomer = v4(0xcb007100 + (uint32_t)victim, 1);
		int64_t began_us = 40000000 + victim * 10000000LL;
		int64_t at_us = began_us;
		bool in = false;

		init_guard_init(&guard, &RND);
		for (int ask = 0; ask < 5 && !in; ask++) {
			for (; at_us < began_us + asks_ms[ask] * 1000LL; at_us += 33) {
				struct kcpvpn_endpoint source =
					v4((uint32_t)(rand_r(&seed) % 45) << 8, 1);
				(void)init_guard_admit(&guard, &source, mono_at_us(at_us));
			}
			in = init_guard_admit(&guard, &newcomer, mono_at_us(at_us)) ==
			     INIT_GUARD_PASS;
		}
		cr_assert(in, "newcomer %d", victim);
	}
}

/* Whoever shares both buckets with others that are always empty is wronged until the next key, and no longer. */
Test(init_guard, a_new_key_every_ten_seconds)
{
	static struct init_guard guard;
	struct mono never_full = mono_at_ms(3600000);

	init_guard_init(&guard, &RND);
	cr_assert_eq(passes(&guard, v4(1, 1), 1, mono_at_ms(1000)), 1);
	struct siphash_key key = guard.key;
	for (int what = 0; what < 2; what++) {
		int64_t now_ms = 1000 + what * 10000;
		for (size_t i = 0; i < INIT_GUARD_HOST_BUCKETS && what == 0; i++)
			guard.host[0][i].full_at = guard.host[1][i].full_at = never_full;
		for (size_t i = 0; i < INIT_GUARD_NET_BUCKETS && what == 1; i++)
			guard.net[0][i].full_at = guard.net[1][i].full_at = never_full;
		cr_assert_eq(passes(&guard, v4(1, 1), 1, mono_at_ms(now_ms + 9999)), 0);
		cr_assert_eq(passes(&guard, v4(1, 1), 1, mono_at_ms(now_ms + 10000)), 1);
		cr_assert_neq(guard.key.k0, key.k0);
		key = guard.key;
	}
}

/* A refused INIT costs nobody: the state is the same before and after. */
Test(init_guard, refusals_change_nothing)
{
	static struct init_guard guard;
	static struct init_guard before;
	struct mono now = mono_at_ms(1000);

	init_guard_init(&guard, &RND);
	(void)passes(&guard, v4(1, 1), 10, now);
	before = guard;
	(void)passes(&guard, v4(1, 1), 1000, now);
	cr_assert_eq(memcmp(before.host, guard.host, sizeof(guard.host)), 0);
	cr_assert_eq(memcmp(before.net, guard.net, sizeof(guard.net)), 0);
	cr_assert_eq(before.total.full_at.us, guard.total.full_at.us);
}

Test(init_guard, verdicts_have_names)
{
	for (int i = 0; i < INIT_GUARD_VERDICTS; i++)
		cr_assert_str_neq(init_guard_verdict_str((enum init_guard_verdict)i), "unknown");
}
