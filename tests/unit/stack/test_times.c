/* Keepalive, dead_after and idle_after, by a clock that is moved by hand; and the silence of who has nothing to do. */
#include "pair.h"

#include "kcp/kcp_segment.h"

#include <criterion/criterion.h>
#include <errno.h>

#define SECOND INT64_C(1000000)

static struct pair pair;
static bool cut_a, cut_b;

static bool cut(struct pair_end *from, uint8_t *bytes, size_t len)
{
	(void)bytes;
	(void)len;
	return from == &from->pair->a ? !cut_a : !cut_b;
}

static void open_talking(const struct kcpvpn_config *config)
{
	cut_a = cut_b = false;
	pair_open(&pair, config, NULL);
	pair.filter = cut;
	pair_dial(&pair, 5);
	cr_assert_eq(pair_send(&pair.a, 1, 100), 0);
	pair_run(&pair, SECOND / 10);
	pair_expect(&pair.b, 1, 100);
	cr_assert_eq(pair_send(&pair.b, 1, 100), 0);
	pair_run(&pair, SECOND / 10);
	pair_expect(&pair.a, 1, 100);
	pair_events(&pair.a);
	pair_events(&pair.b);
}

Test(times, idle_conversations_have_no_deadline)
{
	for (int profile = 0; profile < 2; profile++) {
		struct kcpvpn_config config = pair_config();
		config.profile = (enum kcpvpn_profile)profile;
		config.dead_after_us = 10 * SECOND; /* waits for nothing, so it does not matter */
		open_talking(&config);
		pair_run(&pair, 6 * SECOND); /* what is spare is given back after 5 s */
		cr_assert_eq(kcpvpn_node_next_deadline(pair.a.node), KCPVPN_NEVER);
		cr_assert_eq(kcpvpn_node_next_deadline(pair.b.node), KCPVPN_NEVER);
		uint64_t datagrams = pair.a.datagrams + pair.b.datagrams;
		uint64_t wakes = pair.wakes;
		pair_run(&pair, 3600 * SECOND);
		cr_assert_eq(pair.a.datagrams + pair.b.datagrams, datagrams);
		cr_assert_eq(pair.wakes, wakes);
		cr_assert_eq(pair_events(&pair.a) | pair_events(&pair.b), 0);
		/* and wakes up as if nothing had been */
		cr_assert_eq(pair_send(&pair.a, 2, 5000), 0);
		pair_run(&pair, SECOND);
		pair_expect(&pair.b, 2, 5000);
		pair_close(&pair);
	}
}

Test(times, keepalive_asks_and_is_answered)
{
	struct kcpvpn_config config = pair_config();

	config.keepalive_us = 10 * SECOND;
	config.dead_after_us = 15 * SECOND;
	open_talking(&config);
	uint64_t before = pair.a.datagrams + pair.b.datagrams;
	pair_run(&pair, 9 * SECOND);
	cr_assert_eq(pair.a.datagrams + pair.b.datagrams, before);
	pair_run(&pair, 2 * SECOND);
	cr_assert(pair.a.datagrams + pair.b.datagrams >= before + 2, "asked and answered");
	pair_run(&pair, 600 * SECOND);
	uint64_t asked = pair.a.datagrams + pair.b.datagrams - before;
	cr_assert(
		asked >= 100 && asked <= 300, "%lu datagrams in ten minutes", (unsigned long)asked);
	cr_assert_eq(pair.a.closed + pair.b.closed, 0);
	cr_assert(pair.now_us - kcpvpn_conv_last_rx(pair.a.conv) <= 11 * SECOND);
	pair_close(&pair);
}

Test(times, keepalive_finds_a_dead_peer)
{
	struct kcpvpn_config config = pair_config();

	config.keepalive_us = 10 * SECOND;
	config.dead_after_us = 15 * SECOND;
	open_talking(&config);
	cut_a = cut_b = true;
	pair_run(&pair, 24 * SECOND);
	cr_assert_eq(pair.a.closed + pair.b.closed, 0);
	pair_run(&pair, 3 * SECOND);
	cr_assert_eq(pair.a.closed, 1);
	cr_assert_eq(pair.b.closed, 1);
	cr_assert_eq(pair.a.closed_reason, KCPVPN_CLOSED_DEAD);
	cr_assert_eq(pair.b.closed_reason, KCPVPN_CLOSED_DEAD);
	cr_assert_eq(kcpvpn_node_next_deadline(pair.a.node), KCPVPN_NEVER);
	pair_close(&pair);
}

/* Both directions matter: who hears but is not heard is kept by the probes of the other, and ends with them. */
Test(times, one_way_outage_ends_both)
{
	struct kcpvpn_config config = pair_config();

	config.keepalive_us = 10 * SECOND;
	config.dead_after_us = 15 * SECOND;
	open_talking(&config);
	cut_b = true;
	pair_run(&pair, 100 * SECOND);
	cr_assert_eq(pair.a.closed, 1);
	cr_assert_eq(pair.b.closed, 1);
	pair_close(&pair);
}

Test(times, unanswered_data_ends_after_dead_after)
{
	struct kcpvpn_config config = pair_config();

	config.dead_after_us = 15 * SECOND;
	open_talking(&config);
	pair_run(&pair, 1000 * SECOND); /* a long silence is not held against the peer */
	cut_a = cut_b = true;
	cr_assert_eq(pair_send(&pair.a, 7, 100), 0);
	pair_run(&pair, 14 * SECOND);
	cr_assert_eq(pair.a.closed, 0);
	pair_run(&pair, 2 * SECOND);
	cr_assert_eq(pair.a.closed, 1);
	cr_assert_eq(pair.a.closed_reason, KCPVPN_CLOSED_DEAD);
	cr_assert_eq(pair.b.closed, 0, "the other one waits for nothing");
	pair_close(&pair);
}

Test(times, a_dialled_peer_that_never_answers)
{
	struct kcpvpn_config config = pair_config();

	config.dead_after_us = 15 * SECOND;
	pair_open(&pair, &config, NULL);
	pair.filter = cut;
	cut_a = true;
	pair_dial(&pair, 5);
	pair_run(&pair, 100 * SECOND);
	cr_assert_eq(pair.a.closed, 0, "nothing was asked");
	kcpvpn_conv_probe(pair.a.conv, pair.now_us);
	pair_run(&pair, 14 * SECOND);
	cr_assert_eq(pair.a.closed, 0);
	pair_run(&pair, 2 * SECOND);
	cr_assert_eq(pair.a.closed, 1);
	cr_assert_eq(pair_events(&pair.a), KCPVPN_EVENT_CLOSED);
	pair_close(&pair);
}

Test(times, a_probe_opens_and_is_answered)
{
	struct kcpvpn_config config = pair_config();

	pair_open(&pair, &config, NULL);
	pair_dial(&pair, 5);
	kcpvpn_conv_probe(pair.a.conv, pair.now_us);
	pair_run(&pair, SECOND / 10);
	cr_assert_eq(pair_events(&pair.a), KCPVPN_EVENT_ALIVE);
	cr_assert_eq(pair_events(&pair.b), KCPVPN_EVENT_ALIVE | KCPVPN_EVENT_ACCEPTED);
	pair_close(&pair);
}

Test(times, data_in_flight_survives_an_outage_shorter_than_dead_after)
{
	struct kcpvpn_config config = pair_config();

	config.dead_after_us = 15 * SECOND;
	open_talking(&config);
	cut_a = cut_b = true;
	cr_assert_eq(pair_send(&pair.a, 9, 20000), 0);
	pair_run(&pair, 14 * SECOND);
	cut_a = cut_b = false;
	pair_run(&pair, 5 * SECOND);
	pair_expect(&pair.b, 9, 20000);
	pair_run(&pair, 60 * SECOND);
	cr_assert_eq(pair.a.closed + pair.b.closed, 0);
	pair_close(&pair);
}

Test(times, idle_after_closes_both)
{
	struct kcpvpn_config config = pair_config();

	config.idle_after_us = 60 * SECOND;
	open_talking(&config);
	pair_run(&pair, 59 * SECOND);
	cr_assert_eq(pair.a.closed + pair.b.closed, 0);
	cr_assert_eq(pair_send(&pair.a, 2, 10), 0);
	pair_run(&pair, 59 * SECOND);
	cr_assert_eq(pair.a.closed + pair.b.closed, 0);
	pair_expect(&pair.b, 2, 10);
	pair_run(&pair, 2 * SECOND);
	cr_assert(pair.a.closed == 1 && pair.a.closed_reason == KCPVPN_CLOSED_IDLE);
	cr_assert(pair.b.closed == 1 && pair.b.closed_reason == KCPVPN_CLOSED_IDLE);
	cr_assert_eq(pair_stats(&pair.b).conversations, 0);
	pair_close(&pair);
}

Test(times, times_may_change_under_way)
{
	struct kcpvpn_config config = pair_config();

	open_talking(&config);
	kcpvpn_conv_set_times(pair.a.conv, 5 * SECOND, 8 * SECOND, 0);
	uint64_t before = pair.a.datagrams;
	pair_run(&pair, 100 * SECOND);
	cr_assert(pair.a.datagrams > before + 10);
	cut_a = cut_b = true;
	pair_run(&pair, 14 * SECOND);
	cr_assert_eq(pair.a.closed, 1);
	cr_assert_eq(pair.a.closed_reason, KCPVPN_CLOSED_DEAD);
	pair_close(&pair);
}

static bool to_second_b(struct pair_end *from, uint8_t *bytes, size_t len)
{
	(void)from;
	(void)bytes;
	(void)len;
	return true;
}

/*
 * The accepting side restarts and takes the middle of our conversation for a beginning. It acknowledges what comes and
 * will never deliver it: that must end, wherever dead_after was set.
 */
Test(times, a_peer_that_restarted_and_acknowledges_the_middle)
{
	for (int by_set_times = 0; by_set_times < 2; by_set_times++) {
		struct kcpvpn_config config = pair_config();
		config.dead_after_us = by_set_times ? 0 : 15 * SECOND;
		pair_open(&pair, &config, NULL);
		pair.filter = to_second_b;
		pair_dial(&pair, 5);
		kcpvpn_conv_set_times(pair.a.conv, 10 * SECOND, 15 * SECOND, 0);
		for (int i = 0; i < 5; i++) {
			cr_assert_eq(pair_send(&pair.a, 1, 100), 0);
			pair_run(&pair, SECOND / 10);
			pair_expect(&pair.b, 1, 100);
		}
		/* the other side forgets */
		kcpvpn_conv_close(pair.b.conv, pair.now_us);
		pair.b.conv = NULL;
		pair_exchange(&pair);
		for (int i = 0; i < 40; i++) {
			if (pair.a.conv)
				(void)pair_send(&pair.a, 2, 100);
			pair_run(&pair, SECOND / 2);
		}
		cr_assert_not_null(pair.b.conv, "it took the middle for a beginning");
		cr_assert_eq(pair.a.closed, 1, "times set by %s",
			by_set_times ? "kcpvpn_conv_set_times" : "the configuration");
		cr_assert_eq(pair.a.closed_reason, KCPVPN_CLOSED_DEAD);
		pair_close(&pair);
	}
}

/* The same where both ends had talked: the one that restarted keeps nothing and says so, and is believed while there is traffic. */
Test(times, a_peer_that_restarted_says_so_at_once)
{
	struct kcpvpn_config config = pair_config();

	config.dead_after_us = 15 * SECOND;
	pair_open(&pair, &config, NULL);
	pair_dial(&pair, 5);
	for (int i = 0; i < 5; i++) {
		cr_assert_eq(pair_send(&pair.a, 1, 100), 0);
		pair_run(&pair, SECOND / 10);
		pair_expect(&pair.b, 1, 100);
		cr_assert_eq(pair_send(&pair.b, 2, 100), 0);
		pair_run(&pair, SECOND / 10);
		pair_expect(&pair.a, 2, 100);
	}
	kcpvpn_conv_close(pair.b.conv, pair.now_us);
	pair.b.conv = NULL;
	(void)pair_events(&pair.b);
	int64_t began = pair.now_us;
	while (pair.a.conv && pair.now_us - began < 10 * SECOND) {
		(void)pair_send(&pair.a, 2, 100);
		pair_run(&pair, SECOND / 10);
	}
	cr_assert_eq(pair.a.closed_reason, KCPVPN_CLOSED_DEAD);
	cr_assert(
		pair.now_us - began <= 5 * SECOND / 2, "%lld us", (long long)(pair.now_us - began));
	cr_assert_eq(pair_events(&pair.b), 0);
	cr_assert_eq(pair_stats(&pair.b).remnants, 1);
	pair_close(&pair);
}

static bool nothing_passes(struct pair_end *from, uint8_t *bytes, size_t len)
{
	(void)from;
	(void)bytes;
	(void)len;
	return false;
}

/* A peer that says it is there and has no room is waited for; one that has room and takes nothing is not. */
Test(times, a_shut_window_is_no_death)
{
	struct kcpvpn_config config = pair_config();

	config.crypt = "none";
	config.data_shards = 0;
	config.dead_after_us = 3 * SECOND;
	pair_open(&pair, &config, NULL);
	pair_dial(&pair, 5);
	pair.filter = nothing_passes;
	cr_assert_eq(pair_send(&pair.a, 1, 100), 0);
	pair_exchange(&pair);
	cr_assert_eq(pair_conv_stats(&pair.a).in_flight_segments, 1);
	int64_t opened = 0;
	for (int i = 0; i < 20 && pair.a.conv; i++) {
		struct craft craft = {0};
		struct craft_segment segment = {
			.conv = 5, .cmd = KCP_CMD_WINS, .wnd = i < 10 ? 0 : 128};
		craft_add_segment(&craft, &segment);
		craft_wrap_none(&craft);
		pair_inject(&pair.a, &pair.b.address, craft.bytes, craft.len);
		if (i == 10)
			opened = pair.now_us;
		pair_run(&pair, SECOND);
		if (i <= 11)
			cr_assert_eq(pair.a.closed, 0, "second %d", i);
	}
	cr_assert_eq(pair.a.closed_reason, KCPVPN_CLOSED_DEAD);
	cr_assert(pair.now_us - opened >= 3 * SECOND && pair.now_us - opened <= 5 * SECOND);
	pair_close(&pair);
}
