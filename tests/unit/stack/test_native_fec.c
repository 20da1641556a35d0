/* Repairs over the native wire between two nodes in virtual time: what is lost comes back without being sent again, once, and
 * only who asked for it pays for it. */
#include "native_load.h"

#include "core/endian.h"
#include "stack/native_state.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
	MS = 1000,
	S = 1000000,
	DELAY_US = 30 * MS,
	IN_TIME_US =
		80 * MS, /* less than a round trip and a way: nothing sent again comes so early */
	CALL_MAX = 8192,
	CALL_BYTES = 200,
};

static const struct kcpvpn_fec_config adaptive = {KCPVPN_FEC_ADAPTIVE, 10, 3, 30, 2 * MS};

static struct native_pair pair;
static struct native_load load;

static struct kcpvpn_peer *peer_of(size_t end)
{
	return pair.ends[end].peers[1 - end];
}

static struct kcpvpn_peer_status status_of(size_t end)
{
	struct kcpvpn_peer_status status;

	kcpvpn_peer_status(peer_of(end), &status);
	return status;
}

static void open_up(
	const struct native_end_options *options, uint64_t seed, struct native_link link)
{
	native_pair_open(&pair, seed, options);
	pair.ends[0].link = pair.ends[1].link = link;
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 60 * S));
	native_pair_run(&pair, S);
}

static struct native_end_options with(struct kcpvpn_fec_config fec)
{
	struct native_end_options options = native_pair_options();

	options.peer.fec = fec;
	return options;
}

static struct native_link lossy(unsigned percent)
{
	return (struct native_link){.loss_ppm = percent * 10000, .delay_us = DELAY_US};
}

/* ---- a call: 50 packets a second from 0 to 1 --------------------------------------------------------------------- */

static struct {
	int64_t at_us[CALL_MAX]; /* sent */
	uint32_t given, came, late;
	bool seen[CALL_MAX];
} call;

static void hear(struct native_end *end, size_t peer, const uint8_t *bytes, size_t len)
{
	uint32_t number = load_le32(bytes + 28);

	(void)peer;
	cr_assert_eq(len, CALL_BYTES);
	cr_assert_lt(number, call.given);
	cr_assert(!call.seen[number], "packet %u came twice", number);
	call.seen[number] = true;
	call.came++;
	call.late += end->pair->now_us - call.at_us[number] > IN_TIME_US;
}

static void talk(int64_t us)
{
	uint8_t packet[CALL_BYTES];

	pair.on_message = hear;
	for (int64_t at = 0; at < us; at += 20 * MS) {
		native_pair_packet(packet, sizeof(packet), 1, 2, 5000, call.given);
		store_le32(packet + 28, call.given);
		call.at_us[call.given++] = pair.now_us;
		cr_assert_eq(kcpvpn_peer_send(peer_of(0), packet, sizeof(packet), pair.now_us), 0);
		native_pair_run(&pair, 20 * MS);
	}
}

/* @return  share of packets that did not come in time, in percent */
static double missed(const struct native_end_options *options, uint64_t seed, unsigned loss)
{
	open_up(options, seed, lossy(loss));
	memset(&call, 0, sizeof(call));
	talk(10 * S);
	native_pair_run(&pair, S);
	memset(&call, 0, sizeof(call));
	talk(60 * S);
	uint32_t given = call.given;
	native_pair_run(&pair, S);
	struct kcpvpn_peer_status a = status_of(0), b = status_of(1);
	double share = 100.0 * (given - call.came + call.late) / given;
	printf("%2u %% loss: %.2f %% missed; %llu repairs of rate %.2f, %llu brought back\n", loss,
		share, (unsigned long long)a.fec_repairs_out, a.fec_rate_out,
		(unsigned long long)b.fec_recovered);
	return share;
}

Test(native_fec, a_call_needs_no_resending)
{
	static const struct {
		unsigned loss;
		double most;
	} rows[] = {{1, 0.1}, {5, 0.3}, {10, 0.5}, {20, 0.7}, {30, 1.5}};
	struct native_end_options on = with(adaptive), off = with((struct kcpvpn_fec_config){0});

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cr_assert_lt(missed(&on, 1 + i, rows[i].loss), rows[i].most);
		struct kcpvpn_peer_status a = status_of(0), b = status_of(1);
		cr_assert_leq(b.fec_repairs_in, a.fec_repairs_out);
		cr_assert_gt(b.fec_recovered, 0);
		cr_assert_geq(a.fec_rate_out, 1);
		cr_assert_eq(a.fec_window_out, 6);
		cr_assert(b.fec_rate_in > 0.5 && b.fec_rate_in < 3);
		cr_assert_leq(b.fec_window_in, 6);
		cr_assert_lt(b.loss_residual_in, b.loss_raw_in);
		cr_assert(
			b.loss_raw_in > 0.004 * rows[i].loss && b.loss_raw_in < 0.02 * rows[i].loss,
			"what was rebuilt was lost: %f", b.loss_raw_in);
		cr_assert(a.loss_raw_out > 0.003 * rows[i].loss, "%f", a.loss_raw_out);
		native_pair_fini(&pair);
	}
	cr_assert_gt(missed(&off, 7, 10), 5, "this test would not notice");
	cr_assert_eq(status_of(0).fec_repairs_out, 0);
	cr_assert_eq(status_of(0).fec_rate_out, 0);
	native_pair_fini(&pair);
}

Test(native_fec, repairs_have_numbers_of_their_own_and_losses_count)
{
	struct native_end_options options = with(adaptive);

	open_up(&options, 11, lossy(10));
	memset(&call, 0, sizeof(call));
	talk(30 * S);
	native_pair_run(&pair, S);
	const struct kcp_path_stats *out = kcp_path_stats(peer_of(0)->data.path);
	const struct kcp_path_stats *in = kcp_path_stats(peer_of(1)->data.path);
	cr_assert_eq(in->rebuilt_datagrams, status_of(1).fec_recovered);
	cr_assert_gt(out->repaired_datagrams, in->rebuilt_datagrams / 2);
	cr_assert_leq(out->repaired_datagrams, in->rebuilt_datagrams);
	cr_assert_geq(out->lost_datagrams, out->repaired_datagrams);
	/* Of each seen number one datagram, repairs as well. */
	cr_assert_gt(kcp_path_next_pn(peer_of(0)->data.path),
		(uint64_t)call.given + status_of(0).fec_repairs_out);
	native_pair_fini(&pair);
}

/* ---- who wants none ---------------------------------------------------------------------------------------------- */

Test(native_fec, a_clean_path_costs_nothing)
{
	struct native_end_options options = with(adaptive);

	open_up(&options, 20, lossy(0));
	memset(&call, 0, sizeof(call));
	talk(20 * S);
	for (size_t i = 0; i < 2; i++) {
		cr_assert_null(peer_of(i)->data.fec.engine);
		cr_assert_eq(pair.ends[i].native->data.fec_slots.slots_allocated, 0);
		cr_assert_eq(status_of(i).fec_repairs_out, 0);
	}
	native_pair_fini(&pair);
}

Test(native_fec, who_takes_none_gets_none)
{
	struct native_end_options options = with(adaptive);

	for (int i = 0; i < 3; i++) {
		if (i == 2)
			options.peer.padding = KCPVPN_PADDING_FULL;
		open_up(&options, 21, lossy(10));
		if (i == 0)
			peer_of(0)->hs.limits.fec_window_max = 0;
		else if (i == 1)
			peer_of(0)->hs.limits.features &= (uint16_t)~NATIVE_FEATURE_FEC;
		memset(&call, 0, sizeof(call));
		talk(20 * S);
		cr_assert_gt(status_of(0).loss_raw_out, 0.01);
		cr_assert_eq(status_of(0).fec_repairs_out, 0);
		cr_assert_null(peer_of(0)->data.fec.engine);
		cr_assert_null(peer_of(1)->data.fec.engine, "no source came");
		native_pair_fini(&pair);
	}
}

Test(native_fec, no_repair_covers_more_than_was_told)
{
	struct native_end_options options = with(adaptive);

	open_up(&options, 22, lossy(10));
	peer_of(0)->hs.limits.fec_window_max = 2;
	memset(&call, 0, sizeof(call));
	talk(20 * S);
	cr_assert_gt(status_of(1).fec_recovered, 0);
	cr_assert_eq(status_of(0).fec_window_out, 2);
	cr_assert_leq(status_of(1).fec_window_in, 2);
	native_pair_fini(&pair);
}

Test(native_fec, it_ends_when_it_is_switched_off)
{
	struct native_end_options options = with(adaptive);

	open_up(&options, 23, lossy(10));
	memset(&call, 0, sizeof(call));
	talk(20 * S);
	struct kcpvpn_peer_config config = peer_of(0)->config;
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES];
	native_pair_public_key(1, key);
	config.public_key = key;
	config.fec.mode = KCPVPN_FEC_OFF;
	cr_assert_eq(kcpvpn_peer_configure(peer_of(0), &config, pair.now_us), 0);
	uint64_t repairs = status_of(0).fec_repairs_out;
	talk(10 * S);
	cr_assert_eq(status_of(0).fec_repairs_out, repairs);
	config.fec.max_overhead_percent = 201;
	cr_assert_eq(kcpvpn_peer_configure(peer_of(0), &config, pair.now_us), -EINVAL);
	native_pair_fini(&pair);
}

/* ---- bulk -------------------------------------------------------------------------------------------------------- */

static void load_up(struct kcpvpn_fec_config fec, uint64_t seed, struct native_link link)
{
	struct native_end_options options = with(fec);

	open_up(&options, seed, link);
	native_load_init(&load, &pair);
}

Test(native_fec, everything_arrives_once_and_in_order)
{
	static const struct native_link links[] = {
		{.loss_ppm = 100000,
			.duplicate_ppm = 100000,
			.delay_us = 10 * MS,
			.jitter_us = 20 * MS},
		{.loss_ppm = 200000, .duplicate_ppm = 50000, .delay_us = 30 * MS, .jitter_us = MS},
		{.loss_ppm = 50000,
			.delay_us = 100 * MS,
			.rate_bps = 6000000,
			.queue_bytes = 60000},
	};
	const struct kcpvpn_fec_config modes[] = {
		adaptive, {KCPVPN_FEC_FIXED, 10, 3, 100, 2 * MS}, {KCPVPN_FEC_FIXED, 1, 2, 200, 0}};

	for (size_t i = 0; i < 9; i++) {
		load_up(modes[i % 3], 30 + i, links[i / 3]);
		native_load_run(&load, 8 * S, 400, 200, 900);
		native_pair_run(&pair, 6 * S);
		struct kcpvpn_peer_status a = status_of(0), b = status_of(1);
		printf("link %zu mode %zu: %llu of %llu; sent again %llu, brought back %llu by "
		       "%llu\n",
			i / 3, i % 3, (unsigned long long)load.ways[0].came,
			(unsigned long long)load.ways[0].given, (unsigned long long)a.retransmits,
			(unsigned long long)b.fec_recovered, (unsigned long long)b.fec_repairs_in);
		cr_assert_gt(load.ways[0].given, 1500);
		for (size_t w = 0; w < 2; w++)
			cr_assert_geq(load.ways[w].came * 1000, load.ways[w].given * 985);
		cr_assert_gt(b.fec_recovered, 20);
		cr_assert_eq(a.drop_malformed + b.drop_malformed, 0);
		native_pair_fini(&pair);
	}
}

Test(native_fec, bulk_that_leaves_room_is_repaired)
{
	load_up(adaptive, 50, lossy(5));
	native_load_run(&load, 5 * S, 200, 0, 1000);
	struct kcpvpn_peer_status before = status_of(0), came = status_of(1);
	native_load_run(&load, 20 * S, 200, 0, 1000);
	struct kcpvpn_peer_status a = status_of(0), b = status_of(1);
	uint64_t again = a.retransmits - before.retransmits;
	uint64_t recovered = b.fec_recovered - came.fec_recovered;
	uint64_t repairs = a.fec_repairs_out - before.fec_repairs_out;
	printf("of 4000: %llu sent again, %llu brought back by %llu repairs\n",
		(unsigned long long)again, (unsigned long long)recovered,
		(unsigned long long)repairs);
	cr_assert_gt(recovered, 120);
	cr_assert_lt(repairs, 4000 * 0.5);
	cr_assert_gt(a.fec_window_out, 6);
	cr_assert_lt(b.loss_residual_in, 0.02);
	native_pair_fini(&pair);
}

Test(native_fec, a_fixed_rate_is_kept)
{
	load_up((struct kcpvpn_fec_config){KCPVPN_FEC_FIXED, 10, 2, 50, 0}, 51, lossy(0));
	native_load_run(&load, 10 * S, 200, 0, 1000);
	struct kcpvpn_peer_status a = status_of(0), b = status_of(1);
	cr_assert(a.fec_repairs_out > 350 && a.fec_repairs_out < 450, "%llu",
		(unsigned long long)a.fec_repairs_out);
	cr_assert_eq(b.fec_recovered, 0);
	cr_assert(b.fec_rate_in > 0.15 && b.fec_rate_in < 0.25, "%f", b.fec_rate_in);
	native_pair_fini(&pair);
}

Test(native_fec, a_rekey_and_a_new_address_change_nothing)
{
	load_up(adaptive, 52, lossy(5));
	native_load_run(&load, 200 * S, 50, 20, 300);
	pair.ends[1].address = native_pair_endpoint(77);
	native_load_run(&load, 50 * S, 50, 20, 300);
	native_pair_run(&pair, 5 * S);
	cr_assert_geq(status_of(0).handshakes, 2);
	for (size_t w = 0; w < 2; w++)
		cr_assert_geq(load.ways[w].came * 1000, load.ways[w].given * 985);
	cr_assert_gt(status_of(1).fec_recovered, 300);
	native_pair_fini(&pair);
}

Test(native_fec, who_comes_back_from_death_begins_anew)
{
	struct native_end_options options = with(adaptive);

	load_up(adaptive, 53, lossy(10));
	native_load_run(&load, 10 * S, 100, 100, 300);
	native_pair_kill(&pair, 1);
	native_pair_run(&pair, S);
	native_pair_start(&pair, 1, &options);
	native_pair_know(&pair, 1, 0, true);
	kcpvpn_peer_up(pair.ends[1].peers[0], pair.now_us);
	pair.ends[1].link = lossy(10);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 60 * S));
	native_load_init(&load, &pair);
	native_load_run(&load, 10 * S, 100, 100, 300);
	native_pair_run(&pair, 3 * S);
	cr_assert_gt(status_of(1).fec_recovered, 20);
	for (size_t w = 0; w < 2; w++)
		cr_assert_geq(load.ways[w].came * 100, load.ways[w].given * 98);
	cr_assert_eq(status_of(0).drop_malformed + status_of(1).drop_malformed, 0);
	native_pair_fini(&pair);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

Test(native_fec, memory_goes_when_nothing_is_protected)
{
	load_up(adaptive, 60, lossy(10));
	uint64_t before = status_of(1).memory_bytes;
	native_load_run(&load, 5 * S, 200, 200, 1000);
	for (size_t i = 0; i < 2; i++) {
		cr_assert_gt(pair.ends[i].native->data.fec_slots.slots_used, 0);
		cr_assert_leq(pair.ends[i].native->data.fec_slots.slots_used,
			2 * (2 * NATIVE_FEC_WINDOW + 65) + 48 + 6);
	}
	cr_assert_gt(status_of(1).memory_bytes, before + 20000);
	pair.ends[0].link = pair.ends[1].link = lossy(0);
	native_pair_run(&pair, 120 * S);
	uint64_t wakes = pair.ends[0].wakes + pair.ends[1].wakes;
	for (size_t i = 0; i < 2; i++) {
		cr_assert_eq(pair.ends[i].native->data.fec_slots.slots_used, 0);
		cr_assert_lt(native_fec_memory_bytes(peer_of(i)), 4096);
		cr_assert(!native_fec_spare(peer_of(i)));
	}
	native_pair_run(&pair, 20 * S);
	cr_assert_leq(pair.ends[0].wakes + pair.ends[1].wakes - wakes, 12u);
	native_pair_fini(&pair);
}

Test(native_fec, without_slots_everything_goes_on_as_plain)
{
	load_up(adaptive, 61, lossy(10));
	for (size_t i = 0; i < 2; i++)
		pair.ends[i].native->data.fec_slots.slots_max = 0;
	native_load_run(&load, 10 * S, 100, 100, 500);
	native_pair_run(&pair, 5 * S);
	for (size_t w = 0; w < 2; w++)
		cr_assert_geq(load.ways[w].came * 1000, load.ways[w].given * 985);
	cr_assert_eq(status_of(0).fec_repairs_out + status_of(1).fec_recovered, 0);
	native_pair_fini(&pair);
}

/* ---- padding ----------------------------------------------------------------------------------------------------- */

static uint64_t odd;

static bool measure(
	struct native_end *from, const struct kcpvpn_endpoint *to, uint8_t *bytes, size_t len)
{
	(void)from;
	(void)to;
	odd += bytes[0] == 12 && (len - SEAL_OVERHEAD_BYTES) % 16 != 0;
	return true;
}

Test(native_fec, padding_covers_repairs)
{
	struct native_end_options options = with(adaptive);

	options.peer.padding = KCPVPN_PADDING_16;
	open_up(&options, 70, lossy(10));
	native_load_init(&load, &pair);
	odd = 0;
	pair.filter = measure;
	native_load_run(&load, 10 * S, 100, 100, 700);
	native_load_run(&load, 10 * S, 100, 100, 1400);
	native_pair_run(&pair, 5 * S);
	cr_assert_eq(odd, 0);
	cr_assert_gt(status_of(1).fec_recovered, 50);
	cr_assert_eq(status_of(0).drop_malformed + status_of(1).drop_malformed, 0);
	for (size_t w = 0; w < 2; w++)
		cr_assert_geq(load.ways[w].came * 1000, load.ways[w].given * 985);
	native_pair_fini(&pair);
}
