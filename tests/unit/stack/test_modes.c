/* What travels: messages and streams, every cipher, FEC equal and unequal, both profiles, the limits of sizes. */
#include "pair.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

static struct pair pair;
static unsigned lose_every; /* of the datagrams of a, 0 = none */

static bool lose(struct pair_end *from, uint8_t *bytes, size_t len)
{
	static unsigned count;

	(void)bytes;
	(void)len;
	return lose_every == 0 || from != &from->pair->a || ++count % lose_every != 0;
}

static void open_with(const struct kcpvpn_config *a, const struct kcpvpn_config *b)
{
	lose_every = 0;
	pair_open(&pair, a, b);
	pair.filter = lose;
	pair_dial(&pair, 0);
}

/* Messages of many sizes both ways, each checked byte by byte. */
static void talk(size_t mss)
{
	const size_t sizes[] = {1, 2, 100, mss - 1, mss, mss + 1, 3 * mss, 10 * mss + 7};

	for (uint8_t i = 0; i < 8; i++)
		cr_assert_eq(pair_send(&pair.a, i, sizes[i]), 0);
	pair_run(&pair, 3000000);
	for (uint8_t i = 0; i < 8; i++)
		pair_expect(&pair.b, i, sizes[i]);
	for (uint8_t i = 0; i < 8; i++)
		cr_assert_eq(pair_send(&pair.b, i, sizes[i]), 0);
	pair_run(&pair, 3000000);
	for (uint8_t i = 0; i < 8; i++)
		pair_expect(&pair.a, i, sizes[i]);
	cr_assert(kcpvpn_conv_drained(pair.a.conv) && kcpvpn_conv_drained(pair.b.conv));
}

Test(modes, every_cipher_in_both_profiles)
{
	const char *name;
	size_t count = 0;

	for (size_t i = 0; (name = kcpvpn_crypt_name(i)) != NULL; i++, count++) {
		for (int profile = 0; profile < 2; profile++) {
			struct kcpvpn_config config = pair_config();
			config.crypt = name;
			config.profile = (enum kcpvpn_profile)profile;
			config.data_shards = i % 2 ? 10 : 0;
			open_with(&config, NULL);
			lose_every = 7;
			talk(kcpvpn_config_mss(&config));
			struct kcpvpn_stats stats = pair_stats(&pair.b);
			cr_assert_eq(stats.drop_checksum + stats.drop_short + stats.drop_segment, 0,
				"%s", name);
			pair_close(&pair);
		}
	}
	cr_assert_eq(count, 16);
	cr_assert_null(kcpvpn_crypt_name(SIZE_MAX));
}

Test(modes, mixed_profiles_talk_to_each_other)
{
	struct kcpvpn_config old = pair_config(), new = pair_config();

	old.profile = KCPVPN_PROFILE_5_6_1;
	open_with(&old, &new);
	lose_every = 5;
	talk(kcpvpn_config_mss(&old));
	pair_close(&pair);
	open_with(&new, &old);
	lose_every = 5;
	talk(kcpvpn_config_mss(&new));
	pair_close(&pair);
}

Test(modes, datagrams_are_as_long_as_the_mtu_and_no_longer)
{
	static const uint32_t mtus[] = {
		KCPVPN_MTU_MIN_BYTES, 129, 576, 1350, 1499, KCPVPN_MTU_MAX_BYTES};
	static const char *const ciphers[] = {"null", "salsa20", "aes-128-gcm"};

	for (size_t i = 0; i < 6; i++) {
		for (size_t k = 0; k < 6; k++) {
			struct kcpvpn_config config = pair_config();
			config.mtu_bytes = mtus[i];
			config.crypt = ciphers[k / 2];
			if (k % 2)
				config.data_shards = 0;
			open_with(&config, NULL);
			talk(kcpvpn_config_mss(&config));
			pair_close(&pair);
		}
	}
}

static size_t longest;

static bool measure(struct pair_end *from, uint8_t *bytes, size_t len)
{
	(void)from;
	(void)bytes;
	longest = len > longest ? len : longest;
	return true;
}

Test(modes, a_full_segment_fills_the_mtu)
{
	static const struct {
		const char *crypt;
		uint32_t shards;
		size_t overhead;
	} rows[] = {{"salsa20", 10, 52}, {"aes", 0, 44}, {"aes-128-gcm", 10, 60},
		{"aes-128-gcm", 0, 52}, {"null", 10, 32}, {"null", 0, 24}, {"none", 3, 52}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kcpvpn_config config = pair_config();
		config.crypt = rows[i].crypt;
		config.data_shards = rows[i].shards;
		cr_assert_eq(kcpvpn_config_mss(&config), 1350 - rows[i].overhead);
		open_with(&config, NULL);
		longest = 0;
		pair.filter = measure;
		for (uint8_t n = 0; n < 12; n++)
			cr_assert_eq(pair_send(&pair.a, n, kcpvpn_config_mss(&config)), 0);
		pair_run(&pair, 100000);
		cr_assert_eq(
			longest, 1350, "%s, FEC %u: %zu", rows[i].crypt, rows[i].shards, longest);
		pair_close(&pair);
	}
}

Test(modes, messages_have_limits)
{
	struct kcpvpn_config config = pair_config();
	size_t mss = kcpvpn_config_mss(&config);

	open_with(&config, NULL);
	cr_assert_eq(pair_send(&pair.a, 1, 0), -EINVAL);
	cr_assert_eq(pair_send(&pair.a, 1, 255 * mss + 1), -EMSGSIZE);
	cr_assert_eq(pair_send(&pair.a, 1, 255 * mss), 0);
	pair_run(&pair, 3000000);
	uint8_t small[10];
	size_t len = 42;
	cr_assert_eq(
		kcpvpn_conv_recv(pair.b.conv, small, sizeof(small), pair.now_us, &len), -EMSGSIZE);
	cr_assert_eq(len, 42);
	pair_expect(&pair.b, 1, 255 * mss);
	cr_assert_eq(
		kcpvpn_conv_recv(pair.b.conv, small, sizeof(small), pair.now_us, &len), -EAGAIN);
	pair_close(&pair);
}

Test(modes, peek_shows_pieces_in_place)
{
	struct kcpvpn_config config = pair_config();
	size_t mss = kcpvpn_config_mss(&config);
	struct iovec iov[8];
	size_t len = 0;

	open_with(&config, NULL);
	cr_assert_eq(pair_send(&pair.a, 9, 3 * mss), 0);
	cr_assert_eq(pair_send(&pair.a, 8, 5), 0);
	pair_run(&pair, 300000);
	cr_assert_eq(kcpvpn_conv_recv_peek(pair.b.conv, iov, 0, &len), -EMSGSIZE);
	cr_assert_eq(kcpvpn_conv_recv_peek(pair.b.conv, iov, 2, &len), -EMSGSIZE);
	cr_assert_eq(kcpvpn_conv_recv_peek(pair.b.conv, iov, 8, &len), 3);
	cr_assert_eq(len, 3 * mss);
	size_t at = 0;
	for (int i = 0; i < 3; i++) {
		const uint8_t *piece = iov[i].iov_base;
		for (size_t k = 0; k < iov[i].iov_len; k++)
			cr_assert_eq(piece[k], pair_pattern(9, at++));
	}
	cr_assert_eq(at, 3 * mss);
	cr_assert_eq(kcpvpn_conv_recv_peek(pair.b.conv, iov, 8, &len), 3, "it stays");
	kcpvpn_conv_recv_drop(pair.b.conv, pair.now_us);
	pair_expect(&pair.b, 8, 5);
	cr_assert_eq(kcpvpn_conv_recv_peek(pair.b.conv, iov, 8, &len), 0);
	kcpvpn_conv_recv_drop(pair.b.conv, pair.now_us); /* nothing was shown: harmless */
	cr_assert_eq(pair_stats(&pair.b).bytes_received, 3 * mss + 5);
	pair_close(&pair);
}

Test(modes, a_stream_keeps_bytes_not_boundaries)
{
	struct kcpvpn_config config = pair_config();
	size_t sent = 0, got = 0;
	static uint8_t buf[20000];

	config.stream = true;
	open_with(&config, NULL);
	lose_every = 6;
	for (int round = 0; round < 200; round++) {
		size_t len = (size_t)(round * 37 % 4000 + 1);
		for (size_t i = 0; i < len; i++)
			buf[i] = (uint8_t)((sent + i) * 31 >> 3);
		int error = kcpvpn_conv_send(pair.a.conv, buf, len, pair.now_us);
		cr_assert_eq(error, 0);
		sent += len;
		pair_run(&pair, 20000);
		while (pair.b.conv &&
			kcpvpn_conv_recv(pair.b.conv, buf, sizeof(buf), pair.now_us, &len) == 0) {
			for (size_t i = 0; i < len; i++)
				cr_assert_eq(buf[i], (uint8_t)((got + i) * 31 >> 3));
			got += len;
		}
	}
	pair_run(&pair, 3000000);
	size_t len;
	while (kcpvpn_conv_recv(pair.b.conv, buf, sizeof(buf), pair.now_us, &len) == 0)
		got += len;
	cr_assert_eq(got, sent);
	/* small writes share segments */
	uint64_t before = pair_stats(&pair.a).out_segments;
	for (int i = 0; i < 500; i++)
		cr_assert_eq(kcpvpn_conv_send(pair.a.conv, "x", 1, pair.now_us), 0);
	lose_every = 0;
	pair_exchange(&pair);
	cr_assert(pair_stats(&pair.a).out_segments - before <= 3);
	pair_close(&pair);
}

/* Each end tells the other's code from the numbers, whatever its own is. */
Test(modes, unequal_codes)
{
	static const uint32_t codes[][2] = {{10, 3}, {3, 1}, {20, 10}, {0, 0}, {1, 1}, {70, 30}};

	for (size_t i = 0; i < 6; i++) {
		for (size_t k = 0; k < 6; k++) {
			struct kcpvpn_config a = pair_config(), b = pair_config();
			a.data_shards = codes[i][0];
			a.parity_shards = codes[i][1];
			b.data_shards = codes[k][0];
			b.parity_shards = codes[k][1];
			open_with(&a, &b);
			/* enough datagrams to be sure of the code */
			for (int n = 0; n < 400; n++) {
				cr_assert_eq(pair_send(&pair.a, (uint8_t)n, 600), 0);
				pair_run(&pair, 2000);
				pair_expect(&pair.b, (uint8_t)n, 600);
			}
			struct kcpvpn_conv_stats stats = pair_conv_stats(&pair.b);
			cr_assert_eq(stats.fec_in_data, codes[i][0], "%zu %zu: %u", i, k,
				stats.fec_in_data);
			cr_assert_eq(stats.fec_in_parity, codes[i][1], "%zu %zu", i, k);
			/* with one data packet a group, what came before the code was known may be
			 * rebuilt once more */
			uint64_t known = stats.fec_recovered;
			cr_assert(known <= (codes[i][0] == 1 ? 1 : 0));

			lose_every = 17;
			for (int n = 0; n < 400; n++) {
				cr_assert_eq(pair_send(&pair.a, (uint8_t)n, 600), 0);
				pair_run(&pair, 2000);
			}
			pair_run(&pair, 3000000);
			for (int n = 0; n < 400; n++)
				pair_expect(&pair.b, (uint8_t)n, 600);
			stats = pair_conv_stats(&pair.b);
			cr_assert(codes[i][0] == 0 ? stats.fec_recovered == 0
						   : stats.fec_recovered >= known + 8,
				"%u/%u received by %u/%u: %lu recovered", codes[i][0], codes[i][1],
				codes[k][0], codes[k][1], (unsigned long)stats.fec_recovered);
			cr_assert_eq(pair_stats(&pair.b).drop_segment, 0);
			cr_assert_eq(pair_stats(&pair.b).fec_errors, 0);
			pair_close(&pair);
		}
	}
}

/* The send queue is bounded, and the program is told when there is room again. */
Test(modes, a_full_queue_says_so_and_tells_when_there_is_room)
{
	struct kcpvpn_config config = pair_config();
	size_t mss = kcpvpn_config_mss(&config);

	config.snd_wnd = 16;
	config.send_queue_segments = 20;
	open_with(&config, NULL);
	cr_assert_eq(kcpvpn_conv_send_space(pair.a.conv), 20 * mss);
	for (uint8_t i = 0; i < 20; i++)
		cr_assert_eq(pair_send(&pair.a, i, mss), 0);
	cr_assert_eq(kcpvpn_conv_send_space(pair.a.conv), 0);
	cr_assert_eq(pair_send(&pair.a, 20, 3 * mss), -EAGAIN);
	cr_assert_eq(pair_send(&pair.a, 20, 21 * mss), -EMSGSIZE, "would never fit");
	pair_run(&pair, 1000000);
	cr_assert(pair_events(&pair.a) & KCPVPN_EVENT_WRITABLE);
	cr_assert_eq(pair_send(&pair.a, 20, 3 * mss), 0);
	pair_run(&pair, 1000000);
	cr_assert_eq(pair_events(&pair.a) & KCPVPN_EVENT_WRITABLE, 0, "told once");
	for (uint8_t i = 0; i < 20; i++)
		pair_expect(&pair.b, i, mss);
	pair_expect(&pair.b, 20, 3 * mss);
	pair_close(&pair);
}

Test(modes, window_room_for_programs_with_a_queue_of_their_own)
{
	struct kcpvpn_config config = pair_config();
	size_t mss = kcpvpn_config_mss(&config);

	config.snd_wnd = 10;
	config.measured_window = false;
	open_with(&config, NULL);
	cr_assert_eq(kcpvpn_conv_window_room(pair.a.conv), 10);
	for (uint8_t i = 0; i < 10; i++)
		cr_assert_eq(pair_send(&pair.a, i, mss), 0);
	cr_assert_eq(kcpvpn_conv_window_room(pair.a.conv), 0);
	pair_run(&pair, 500000);
	cr_assert(pair_events(&pair.a) & KCPVPN_EVENT_WRITABLE);
	cr_assert_eq(kcpvpn_conv_window_room(pair.a.conv), 10);
	pair_run(&pair, 500000);
	cr_assert_eq(pair_events(&pair.a) & KCPVPN_EVENT_WRITABLE, 0, "there was room");
	pair_close(&pair);
}

Test(modes, window_room_opens_under_a_congestion_window)
{
	struct kcpvpn_config config = pair_config();

	config.no_congestion_window = false;
	config.measured_window = false;
	open_with(&config, NULL);
	for (uint8_t i = 0; i < 20; i++) {
		for (int wait = 0; kcpvpn_conv_window_room(pair.a.conv) == 0; wait++) {
			cr_assert(wait < 20, "no room for message %u", (unsigned)i);
			pair_run(&pair, 100000);
		}
		cr_assert_eq(pair_send(&pair.a, i, 500), 0);
	}
	pair_run(&pair, 1000000);
	for (uint8_t i = 0; i < 20; i++)
		pair_expect(&pair.b, i, 500);
	pair_close(&pair);
}

/* A piece as long as the queue and the room in its last segment: refused for now, and it is told when it fits. */
Test(modes, a_stream_piece_of_a_whole_queue_is_told_of_room)
{
	struct kcpvpn_config config = pair_config();
	size_t mss = kcpvpn_config_mss(&config);
	static uint8_t buf[40 * 1400];
	size_t len;

	config.stream = true;
	config.snd_wnd = 16;
	config.send_queue_segments = 20;
	open_with(&config, NULL);
	cr_assert_eq(pair_send(&pair.a, 1, 20 * mss + 1), -EMSGSIZE);
	cr_assert_eq(pair_send(&pair.a, 1, 100), 0);
	cr_assert_eq(pair_send(&pair.a, 1, 20 * mss + 100), -EAGAIN);
	pair_run(&pair, 1000000);
	while (kcpvpn_conv_recv(pair.b.conv, buf, sizeof(buf), pair.now_us, &len) == 0)
		;
	pair_run(&pair, 1000000);
	cr_assert(pair_events(&pair.a) & KCPVPN_EVENT_WRITABLE);
	cr_assert_eq(pair_send(&pair.a, 1, 20 * mss), 0);
	pair_close(&pair);
}

/* A reader that stops holds the sender, loses nothing, and is believed when it goes on. */
Test(modes, a_slow_reader)
{
	for (int profile = 0; profile < 2; profile++) {
		struct kcpvpn_config config = pair_config();
		config.rcv_wnd = 32;
		config.profile = (enum kcpvpn_profile)profile;
		open_with(&config, NULL);
		for (int i = 0; i < 150; i++)
			cr_assert_eq(pair_send(&pair.a, (uint8_t)i, 1000), 0);
		pair_run(&pair, 30000000);
		cr_assert(!kcpvpn_conv_drained(pair.a.conv));
		cr_assert(pair_stats(&pair.b).bytes_received == 0);
		for (int i = 0; i < 150; i++) {
			pair_expect(&pair.b, (uint8_t)i, 1000);
			pair_run(&pair, 50000);
			if (i == 31)
				pair_run(&pair, 12000000);
		}
		pair_run(&pair, 3000000);
		cr_assert(kcpvpn_conv_drained(pair.a.conv));
		pair_close(&pair);
	}
}

struct maker {
	uint8_t seed;
	size_t len;
	unsigned calls;
};

static void make(void *ctx, uint8_t *at)
{
	struct maker *maker = ctx;

	maker->calls++;
	for (size_t i = 0; i < maker->len; i++)
		at[i] = pair_pattern(maker->seed, i);
}

static int send_made(uint8_t seed, size_t len, unsigned want_calls)
{
	struct maker maker = {seed, len, 0};
	uint8_t head[2] = {pair_pattern(seed, 0), pair_pattern(seed, 1)};
	int error = kcpvpn_conv_send_made(pair.a.conv, head, len, make, &maker);

	cr_assert_eq(maker.calls, want_calls, "%d", error);
	return error;
}

Test(modes, messages_made_in_place_are_messages)
{
	struct kcpvpn_config config = pair_config();
	size_t mss = kcpvpn_config_mss(&config);

	config.data_shards = 10;
	config.parity_shards = 3;
	open_with(&config, NULL);
	lose_every = 7;
	for (uint8_t i = 0; i < 60; i++) {
		cr_assert_eq(send_made(i, i % 3 == 0 ? mss : 1 + i * 7u, 1), 0);
		if (i % 5 == 0)
			cr_assert_eq(pair_send(&pair.a, i, 2 * mss), 0, "others between them");
	}
	pair_run(&pair, 5000000);
	for (uint8_t i = 0; i < 60; i++) {
		pair_expect(&pair.b, i, i % 3 == 0 ? mss : 1 + i * 7u);
		if (i % 5 == 0)
			pair_expect(&pair.b, i, 2 * mss);
	}
	cr_assert_eq(send_made(1, mss + 1, 0), -EMSGSIZE);
	cr_assert_eq(send_made(1, 0, 0), -EINVAL);
	cr_assert_eq(kcpvpn_conv_set_urgent_oob(pair.a.conv, true), 0);
	cr_assert_eq(send_made(1, 100, 0), -EINVAL, "somebody must look at it first");
	pair_close(&pair);

	config.stream = true;
	open_with(&config, NULL);
	cr_assert_eq(send_made(1, 100, 0), -EINVAL);
	pair_close(&pair);
}

Test(modes, room_for_a_burst_is_room_in_the_queue)
{
	struct kcpvpn_config config = pair_config();
	size_t mss = kcpvpn_config_mss(&config);

	config.snd_wnd = 100;
	config.send_queue_segments = 30;
	config.measured_window = false;
	open_with(&config, NULL);
	kcpvpn_conv_set_burst(pair.a.conv, 20);
	cr_assert_eq(kcpvpn_conv_window_room(pair.a.conv), 30);
	for (uint8_t i = 0; i < 11; i++)
		cr_assert_eq(send_made(i, mss, 1), 0);
	cr_assert_eq(kcpvpn_conv_window_room(pair.a.conv), 0, "19 find place, not 20");
	cr_assert_eq(pair_events(&pair.a) & KCPVPN_EVENT_WRITABLE, 0);
	pair_run(&pair, 500000);
	cr_assert(pair_events(&pair.a) & KCPVPN_EVENT_WRITABLE);
	cr_assert_eq(kcpvpn_conv_window_room(pair.a.conv), 30);
	kcpvpn_conv_set_burst(pair.a.conv, 1000);
	cr_assert_eq(kcpvpn_conv_window_room(pair.a.conv), 30,
		"more than there is cannot be waited for");
	pair_close(&pair);
}
