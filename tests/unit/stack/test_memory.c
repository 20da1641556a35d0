/* What conversations hold, what they give back, and what happens when there is no more. */
#include "pair.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#define SECOND INT64_C(1000000)

enum {
	IDLE_BYTES_MAX = 16 * 1024,
};

static struct pair pair;
static unsigned lose_every; /* of all datagrams, 0 = none */

static bool lose(struct pair_end *from, uint8_t *bytes, size_t len)
{
	static unsigned count;

	(void)from;
	(void)bytes;
	(void)len;
	return lose_every == 0 || ++count % lose_every != 0;
}

Test(memory, an_idle_conversation_is_small)
{
	static const uint32_t codes[][2] = {{10, 3}, {0, 0}, {100, 50}, {1, 1}};

	for (size_t i = 0; i < 4; i++) {
		struct kcpvpn_config config = pair_config();
		config.data_shards = codes[i][0];
		config.parity_shards = codes[i][1];
		pair_open(&pair, &config, NULL);
		pair.filter = lose;
		lose_every = 9;
		pair_dial(&pair, 5);
		uint64_t fresh = pair_conv_stats(&pair.a).memory_bytes;
		cr_assert(fresh < IDLE_BYTES_MAX, "fresh: %lu", (unsigned long)fresh);
		uint64_t most = 0;
		for (int n = 0; n < 60; n++) {
			for (uint8_t k = 0; k < 8; k++) {
				cr_assert_eq(pair_send(&pair.a, k, 5000), 0);
				if (pair.b.conv)
					cr_assert_eq(pair_send(&pair.b, k, 5000), 0);
			}
			pair_exchange(&pair);
			uint64_t now = pair_conv_stats(&pair.a).memory_bytes;
			most = now > most ? now : most;
			pair_run(&pair, SECOND / 50);
			static uint8_t buf[5000];
			size_t len;
			while (pair.b.conv && kcpvpn_conv_recv(pair.b.conv, buf, sizeof(buf),
						      pair.now_us, &len) == 0)
				;
			while (kcpvpn_conv_recv(pair.a.conv, buf, sizeof(buf), pair.now_us, &len) ==
				0)
				;
		}
		cr_assert(most > 20000, "what is in flight counts: %lu", (unsigned long)most);
		lose_every = 0;
		pair_run(&pair, 3 * SECOND);
		static uint8_t buf[5000];
		size_t len;
		while (kcpvpn_conv_recv(pair.b.conv, buf, sizeof(buf), pair.now_us, &len) == 0)
			;
		while (kcpvpn_conv_recv(pair.a.conv, buf, sizeof(buf), pair.now_us, &len) == 0)
			;
		pair_run(&pair, 20 * SECOND);
		uint64_t a = pair_conv_stats(&pair.a).memory_bytes;
		uint64_t b = pair_conv_stats(&pair.b).memory_bytes;
		cr_assert(a <= IDLE_BYTES_MAX && b <= IDLE_BYTES_MAX,
			"%u/%u: %lu and %lu bytes, %lu at most", codes[i][0], codes[i][1],
			(unsigned long)a, (unsigned long)b, (unsigned long)most);
		cr_assert_eq(kcpvpn_node_next_deadline(pair.a.node), KCPVPN_NEVER);
		cr_assert_eq(kcpvpn_node_next_deadline(pair.b.node), KCPVPN_NEVER);
		pair_close(&pair);
	}
}

/* The bound on memory is one for all conversations: a greedy one may starve others but not the machine. */
Test(memory, the_bound_holds_whatever_comes)
{
	struct kcpvpn_config config = pair_config(), poor = pair_config();

	poor.memory_max_bytes = 100000;
	poor.rcv_wnd = 1024;
	pair_open(&pair, &config, &poor);
	pair_dial(&pair, 5);
	for (int i = 0; i < 400; i++)
		cr_assert_eq(pair_send(&pair.a, (uint8_t)i, 1200), 0);
	for (int i = 0; i < 50; i++) {
		pair_run(&pair, SECOND / 10);
		cr_assert(pair_conv_stats(&pair.b).memory_bytes < 150000);
	}
	/* and everything arrives once somebody reads */
	static uint8_t buf[2000];
	size_t len;
	int got = 0;
	for (int i = 0; i < 600 && got < 400; i++) {
		while (kcpvpn_conv_recv(pair.b.conv, buf, sizeof(buf), pair.now_us, &len) == 0) {
			cr_assert(len == 1200 && buf[0] == pair_pattern((uint8_t)got, 0));
			got++;
		}
		pair_run(&pair, SECOND / 10);
	}
	cr_assert_eq(got, 400);
	pair_close(&pair);
}

Test(memory, configurations_out_of_range)
{
	struct kcpvpn_node *node = NULL;
	uint64_t random = 1;

	for (int row = 0; row < 23; row++) {
		struct kcpvpn_config c = pair_config();
		int want = -EINVAL;
		switch (row) {
		case 0:
			c.crypt = "rot13";
			break;
		case 1:
			c.crypt = NULL;
			break;
		case 2:
			c.data_shards = 250;
			c.parity_shards = 6;
			break;
		case 3:
			c.data_shards = UINT32_MAX;
			c.parity_shards = 2;
			break;
		case 4:
			c.mtu_bytes = KCPVPN_MTU_MIN_BYTES - 1;
			break;
		case 5:
			c.mtu_bytes = KCPVPN_MTU_MAX_BYTES + 1;
			break;
		case 6:
			c.snd_wnd = 0;
			break;
		case 7:
			c.rcv_wnd = 0;
			break;
		case 8:
			c.snd_wnd = KCPVPN_WND_MAX + 1;
			break;
		case 9:
			c.rcv_wnd = UINT32_MAX;
			break;
		case 10:
			c.interval_ms = 9;
			break;
		case 11:
			c.interval_ms = 5001;
			break;
		case 12:
			c.convs_max = 0;
			break;
		case 13:
			c.keepalive_us = -1;
			break;
		case 14:
			c.dead_after_us = -1;
			break;
		case 15:
			c.idle_after_us = INT64_MIN;
			break;
		case 16:
			c.crypt = "aes";
			c.key_len = 31;
			want = -ENOKEY;
			break;
		case 17:
			c.profile = (enum kcpvpn_profile)7;
			break;
		case 18:
			c.data_shards = 252;
			want = 0;
			break;
		case 19:
			c.snd_wnd = c.rcv_wnd = KCPVPN_WND_MAX;
			c.interval_ms = 5000;
			want = 0;
			break;
		case 20:
			c.crypt = "salsa20";
			c.key_len = 5; /* padded with zeros, as kcp-go does */
			want = 0;
			break;
		case 21:
			c.keepalive_us = c.dead_after_us = c.idle_after_us = INT64_MAX;
			want = 0;
			break;
		case 22:
			c.key_len = 0;
			want = -ENOKEY;
			break;
		}
		int got = kcpvpn_node_new(&c, pair_random_fill, &random, 0, &node);
		cr_assert_eq(got, want, "row %d: %d", row, got);
		if (got == 0)
			kcpvpn_node_free(node);
	}
	struct kcpvpn_config config = pair_config();
	cr_assert_eq(kcpvpn_config_mode(&config, "fast4"), -EINVAL);
	cr_assert_eq(kcpvpn_config_mode(&config, "normal"), 0);
	cr_assert(config.interval_ms == 40 && !config.nodelay && config.no_congestion_window);
	config.crypt = "rot13";
	cr_assert_eq(kcpvpn_config_mss(&config), 0);
}

Test(memory, times_that_never_end_do_not_wrap)
{
	struct kcpvpn_config config = pair_config();

	config.keepalive_us = config.dead_after_us = config.idle_after_us = INT64_MAX;
	pair_open(&pair, &config, NULL);
	pair_dial(&pair, 5);
	cr_assert_eq(pair_send(&pair.a, 1, 100), 0);
	pair_run(&pair, 100 * SECOND);
	pair_expect(&pair.b, 1, 100);
	cr_assert_eq(pair.a.closed + pair.b.closed, 0);
	pair_close(&pair);
}
