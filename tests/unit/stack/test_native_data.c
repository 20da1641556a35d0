/* Data over the native wire between two nodes in virtual time: whole, once and in order under loss, across rekeys, and not a
 * datagram after the end of a session. */
#include "native_load.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	MS = 1000,
	S = 1000000,
	DATA = 12, /* low bits of its first byte */
};

static struct native_pair pair;
static struct native_load load;

static void open_up(uint64_t seed, const struct native_link *link)
{
	native_pair_open(&pair, seed, NULL);
	if (link)
		pair.ends[0].link = pair.ends[1].link = *link;
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 60 * S));
	native_load_init(&load, &pair);
}

static struct kcpvpn_peer_status status_of(size_t end)
{
	struct kcpvpn_peer_status status;

	kcpvpn_peer_status(pair.ends[end].peers[1 - end], &status);
	return status;
}

Test(native_data, a_packet_passes_each_way)
{
	open_up(1, NULL);
	cr_assert_eq(native_load_give(&load, 0, 0, 1400), 0);
	cr_assert_eq(native_load_give(&load, 1, 0, 100), 0);
	native_pair_exchange(&pair);
	cr_assert_eq(load.ways[0].came, 1);
	cr_assert_eq(load.ways[1].came, 1);
	native_pair_fini(&pair);
}

Test(native_data, all_sizes_pass_whole)
{
	open_up(2, &(struct native_link){.delay_us = 5 * MS});
	for (size_t len = NATIVE_LOAD_LEAST; len <= 1400; len += 13) {
		cr_assert_eq(native_load_give(&load, 0, 1, len), 0, "%zu", len);
		cr_assert_eq(native_load_give(&load, 1, 7, len), 0, "%zu", len);
		native_pair_run(&pair, 20 * MS);
	}
	native_pair_run(&pair, S);
	cr_assert_eq(load.ways[0].came, load.ways[0].given);
	cr_assert_eq(load.ways[1].came, load.ways[1].given);
	native_pair_fini(&pair);
}

Test(native_data, everything_arrives_under_loss_duplication_and_reordering)
{
	static const struct native_link links[] = {
		{.loss_ppm = 50000, .duplicate_ppm = 50000, .delay_us = 30 * MS},
		{.loss_ppm = 100000,
			.duplicate_ppm = 100000,
			.delay_us = 10 * MS,
			.jitter_us = 20 * MS},
		{.loss_ppm = 200000, .delay_us = 5 * MS, .jitter_us = 1 * MS},
	};

	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		open_up(3 + i, &links[i]);
		native_load_run(&load, 10 * S, 500, 300, 900);
		native_pair_run(&pair, 5 * S);
		for (int w = 0; w < 2; w++) {
			uint64_t unordered =
				load.ways[w].flows[6].given + load.ways[w].flows[7].given;
			uint64_t came = load.ways[w].flows[6].came + load.ways[w].flows[7].came;
			printf("link %zu way %d: %llu given, %llu came, %llu refused; unordered "
			       "%llu of %llu\n",
				i, w, (unsigned long long)load.ways[w].given,
				(unsigned long long)load.ways[w].came,
				(unsigned long long)load.ways[w].refused, (unsigned long long)came,
				(unsigned long long)unordered);
			cr_assert_geq(load.ways[w].given, w == 0 ? 4000u : 2400u);
			for (size_t f = 0; f < 6; f++)
				cr_assert_geq(load.ways[w].flows[f].came * 1000ull,
					load.ways[w].flows[f].given * 998ull, "link %zu flow %zu",
					i, f);
			cr_assert_geq(came * 100, unordered * 95);
		}
		native_pair_fini(&pair);
	}
}

Test(native_data, a_rekey_under_load_and_loss_leaves_no_gap)
{
	open_up(10, &(struct native_link){.loss_ppm = 50000, .delay_us = 20 * MS});
	native_load_run(&load, 400 * S, 100, 100, 300);
	struct kcpvpn_peer_status a = status_of(0), b = status_of(1);
	printf("handshakes %llu, gaps %lld and %lld us\n", (unsigned long long)a.handshakes,
		(long long)load.ways[0].gap_us, (long long)load.ways[1].gap_us);
	cr_assert_geq(a.handshakes, 4);
	cr_assert_geq(b.handshakes, 4);
	cr_assert_leq(load.ways[0].gap_us, 300 * MS);
	cr_assert_leq(load.ways[1].gap_us, 300 * MS);
	cr_assert_eq(load.ways[0].refused + load.ways[1].refused, 0);
	native_pair_fini(&pair);
}

Test(native_data, who_was_refused_is_told_when_there_is_room)
{
	open_up(11, &(struct native_link){.delay_us = 20 * MS});
	unsigned refused = 0;
	for (int i = 0; i < 3000 && refused < 5; i++) {
		int error = native_load_give(&load, 0, (size_t)i % 6, 1400);
		if (error == 0)
			continue;
		cr_assert_eq(error, -EAGAIN);
		cr_assert(!kcpvpn_peer_ready(pair.ends[0].peers[1]));
		refused++;
		(void)native_pair_events(&pair.ends[0], 1);
		native_pair_run(&pair, 100 * MS);
		cr_assert(native_pair_events(&pair.ends[0], 1) & KCPVPN_PEER_EVENT_WRITABLE);
		cr_assert(kcpvpn_peer_ready(pair.ends[0].peers[1]));
	}
	cr_assert_gt(refused, 0);
	native_pair_run(&pair, S);
	cr_assert_eq(load.ways[0].came, load.ways[0].given);
	native_pair_fini(&pair);
}

Test(native_data, what_is_no_packet_or_too_long_for_the_peer)
{
	static uint8_t packet[4000];
	struct native_end_options options = native_pair_options();

	open_up(12, NULL);
	struct kcpvpn_peer *peer = pair.ends[0].peers[1];
	cr_assert_eq(kcpvpn_peer_tun_mtu(peer), 1400);
	native_pair_packet(packet, 1401, 0, 1, 7, 1);
	cr_assert_eq(kcpvpn_peer_send(peer, packet, 1401, pair.now_us), -EMSGSIZE);
	cr_assert_eq(kcpvpn_peer_send(peer, packet, 1400, pair.now_us), -EINVAL, "cut");
	cr_assert_eq(kcpvpn_peer_send(peer, "x", 1, pair.now_us), -EINVAL);
	cr_assert_eq(kcpvpn_peer_send(peer, packet, 0, pair.now_us), -EINVAL);
	/* The other side takes more from now on, and says so. */
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES];
	native_pair_public_key(0, key);
	options.peer.public_key = key;
	options.peer.tun_mtu = 3000;
	options.peer.persistent = false;
	cr_assert_eq(kcpvpn_peer_configure(pair.ends[1].peers[0], &options.peer, pair.now_us), 0);
	native_pair_run(&pair, 5 * S);
	cr_assert_eq(kcpvpn_peer_tun_mtu(peer), 3000);
	cr_assert_eq(native_load_give(&load, 0, 0, 3000), 0);
	native_pair_exchange(&pair);
	cr_assert_eq(load.ways[0].came, 1);
	native_pair_fini(&pair);
}
