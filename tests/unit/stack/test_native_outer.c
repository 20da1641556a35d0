/*
 * What outer packets show and how many there are: DSCP, ECN, the bound on the rate, and how inner packets are carried. Two nodes
 * of the native wire in virtual time.
 */
#include "native_load.h"

#include "core/endian.h"
#include "kcp/kcp_path_state.h"
#include "stack/native_state.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

enum {
	MS = 1000,
	S = 1000000,
	PACKET_BYTES = 1200,
	EF = 46,
	AF41 = 34,
	ECT_0 = 2,
};

static struct native_pair pair;
static uint64_t came, late;
static uint32_t next_number;

static void count(struct native_end *end, size_t peer, const uint8_t *bytes, size_t len)
{
	(void)end, (void)peer, (void)len;
	uint32_t number = load_le32(bytes + 40);

	came++;
	late += number < next_number;
	if (number >= next_number)
		next_number = number + 1;
}

static struct kcpvpn_peer *peer_of(size_t end)
{
	return pair.ends[end].peers[1 - end];
}

static const struct kcp_path_stats *path_of(size_t end)
{
	return kcp_path_stats(peer_of(end)->data.path);
}

static void open_up(const struct native_end_options *a, const struct native_end_options *b,
	struct native_link link)
{
	native_pair_init(&pair, 1);
	native_pair_start(&pair, 0, a);
	native_pair_start(&pair, 1, b);
	pair.ends[0].link = pair.ends[1].link = link;
	native_pair_join(&pair, 0, 1, false);
	pair.on_message = count;
	came = late = next_number = 0;
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 60 * S));
	native_pair_run(&pair, S);
}

/* A numbered packet over IPv4 of this protocol (6 or 17) and DSCP. */
static int give(size_t from, uint8_t protocol, uint8_t dscp, uint32_t number, size_t len)
{
	uint8_t packet[PACKET_BYTES] = {0x45};

	packet[1] = (uint8_t)(dscp << 2);
	store_be16(packet + 2, (uint16_t)len);
	packet[8] = 64;
	packet[9] = protocol;
	store_be32(packet + 12, 0x0a000001);
	store_be32(packet + 16, 0x0a000002);
	store_be16(packet + 20, 5000);
	store_be16(packet + 22, 6000);
	if (protocol == 6) {
		packet[32] = 0x50;
		packet[33] = 0x18;
	} else {
		store_be16(packet + 24, (uint16_t)(len - 20));
	}
	store_le32(packet + 40, number);
	return kcpvpn_peer_send(peer_of(from), packet, len, pair.now_us);
}

/* As much as it takes, or every `step_us` one, for so long. @return packets taken */
static uint64_t pour(size_t from, uint8_t protocol, int64_t us, int64_t step_us)
{
	static uint32_t number;
	uint64_t taken = 0;

	for (int64_t at = 0; at < us; at += step_us) {
		while (give(from, protocol, 0, number, PACKET_BYTES) == 0) {
			number++;
			taken++;
			if (step_us > MS)
				break;
		}
		kcpvpn_native_flush(pair.ends[from].native, pair.now_us);
		native_pair_run(&pair, step_us);
	}
	return taken;
}

static struct native_end_options options_with(bool ecn, int dscp)
{
	struct native_end_options options = native_pair_options();

	options.peer.ecn = ecn;
	options.peer.dscp = dscp;
	return options;
}

/* Datagrams that `end` sent with any ECN bit. */
static uint64_t capable(size_t end)
{
	uint64_t sum = 0;

	for (int tos = 0; tos < 256; tos++)
		sum += tos & 3 ? pair.ends[end].sent_tos[tos] : 0;
	return sum;
}

static uint64_t sent(size_t end)
{
	uint64_t sum = 0;

	for (int tos = 0; tos < 256; tos++)
		sum += pair.ends[end].sent_tos[tos];
	return sum;
}

/* ---- DSCP ------------------------------------------------------------------------------------------------------------- */

Test(native_outer, says_nothing_by_default)
{
	struct native_end_options options = options_with(false, 0);

	open_up(&options, &options, (struct native_link){.delay_us = 10 * MS});
	for (uint32_t i = 0; i < 100; i++) {
		cr_assert_eq(give(0, 17, EF, i, 200), 0);
		native_pair_run(&pair, 5 * MS);
	}
	native_pair_run(&pair, S);
	cr_assert_eq(came, 100);
	cr_assert_eq(pair.ends[0].sent_tos[0], sent(0));
	cr_assert_eq(pair.ends[1].sent_tos[0], sent(1));
	native_pair_fini(&pair);
}

Test(native_outer, a_fixed_dscp_is_on_all_that_is_sent)
{
	struct native_end_options a = options_with(false, AF41), b = options_with(false, 0);

	open_up(&a, &b, (struct native_link){.delay_us = 10 * MS});
	for (uint32_t i = 0; i < 100; i++)
		(void)give(i % 2, 17, EF, i, 200);
	native_pair_run(&pair, S);
	cr_assert_eq(pair.ends[0].sent_tos[AF41 << 2], sent(0), "handshake, data and reports");
	cr_assert_eq(pair.ends[1].sent_tos[0], sent(1));

	/* and follows the configuration */
	struct kcpvpn_peer_config config = a.peer;
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES];
	native_pair_public_key(1, key);
	config.public_key = key;
	config.dscp = 8;
	uint64_t before = sent(0);
	cr_assert_eq(kcpvpn_peer_configure(peer_of(0), &config, pair.now_us), 0);
	cr_assert_eq(give(0, 17, EF, 1, 200), 0);
	native_pair_run(&pair, S);
	cr_assert_gt(sent(0), before);
	cr_assert_eq(pair.ends[0].sent_tos[8 << 2], sent(0) - before);
	config.dscp = 64;
	cr_assert_eq(kcpvpn_peer_configure(peer_of(0), &config, pair.now_us), -EINVAL);
	native_pair_fini(&pair);
}

Test(native_outer, inherit_shows_inner_classes_apart)
{
	struct native_end_options options = options_with(false, KCPVPN_DSCP_INHERIT);

	open_up(&options, &options, (struct native_link){.delay_us = 10 * MS});
	memset(pair.ends[0].sent_tos, 0, sizeof(pair.ends[0].sent_tos));
	/* given at once, so that those of one class would share datagrams */
	for (uint32_t i = 0; i < 9; i++)
		cr_assert_eq(give(0, 17, i % 3 == 0 ? EF : i % 3 == 1 ? AF41 : 0, i, 100), 0);
	native_pair_run(&pair, 5 * MS);
	cr_assert_geq(pair.ends[0].sent_tos[EF << 2], 3, "they alternate: each is alone");
	cr_assert_geq(pair.ends[0].sent_tos[AF41 << 2], 3);
	cr_assert_geq(pair.ends[0].sent_tos[0], 3);
	native_pair_run(&pair, S);
	cr_assert_eq(came, 9);

	memset(pair.ends[0].sent_tos, 0, sizeof(pair.ends[0].sent_tos));
	for (uint32_t i = 0; i < 8; i++)
		cr_assert_eq(give(0, 17, EF, i, 100), 0);
	native_pair_run(&pair, 5 * MS);
	cr_assert_eq(pair.ends[0].sent_tos[EF << 2], 1, "those of one mark still do");
	cr_assert_eq(pair.ends[0].sent_tos[AF41 << 2], 0);
	native_pair_fini(&pair);
}

Test(native_outer, what_is_sent_again_and_repairs_keep_their_dscp)
{
	struct native_end_options options = options_with(false, KCPVPN_DSCP_INHERIT);

	options.peer.fec = (struct kcpvpn_fec_config){KCPVPN_FEC_FIXED, 4, 2, 200, 2 * MS};
	open_up(&options, &options, (struct native_link){.delay_us = 5 * MS, .loss_ppm = 200000});
	memset(pair.ends[0].sent_tos, 0, sizeof(pair.ends[0].sent_tos));
	uint64_t resent = path_of(0)->resent_items, repairs = peer_of(0)->data.fec.repairs_out;
	for (uint32_t i = 0; i < 200; i++) {
		cr_assert_eq(give(0, 17, EF, i, 300), 0);
		native_pair_run(&pair, 10 * MS);
	}
	resent = path_of(0)->resent_items - resent;
	repairs = peer_of(0)->data.fec.repairs_out - repairs;
	cr_assert_gt(repairs, 50);
	cr_assert_gt(resent, 5);
	cr_assert_geq(pair.ends[0].sent_tos[EF << 2], 200 + repairs);
	/* all else are reports and questions, and those a few */
	cr_assert_leq(pair.ends[0].sent_tos[0], 20);
	native_pair_fini(&pair);
}

/* ---- ECN -------------------------------------------------------------------------------------------------------------- */

Test(native_outer, ecn_takes_both_sides)
{
	for (int i = 0; i < 4; i++) {
		struct native_end_options a = options_with(i & 1, 0), b = options_with(i & 2, 0);
		open_up(&a, &b, (struct native_link){.delay_us = 10 * MS});
		for (uint32_t n = 0; n < 100; n++) {
			(void)give(n % 2, 17, 0, n, 200);
			native_pair_run(&pair, MS);
		}
		native_pair_run(&pair, S);
		for (size_t end = 0; end < 2; end++) {
			const struct native_end *e = &pair.ends[end];
			cr_assert_eq(e->sent_tos[ECT_0], capable(end));
			if (i == 3) /* data, and nothing else */
				cr_assert_eq(capable(end), 50, "%lu", (unsigned long)capable(end));
			else
				cr_assert_eq(capable(end), 0);
			cr_assert_gt(e->sent_tos[0], 0);
		}
		native_pair_fini(&pair);
	}
}

struct poured {
	double mbps;	/* after the start */
	uint64_t start; /* lost in the start */
	uint64_t lost;	/* and later */
};

/* Over a path of 20 Mb/s with a queue of 30 ms, of which what waits behind `mark_bytes` is marked, or `mark_ppm` of all. */
static struct poured pour_over(bool ecn, size_t mark_bytes, uint32_t mark_ppm)
{
	const struct native_link link = {.delay_us = 30 * MS,
		.rate_bps = 20000000,
		.queue_bytes = 75000,
		.mark_bytes = mark_bytes,
		.mark_ppm = mark_ppm};
	struct native_end_options options = options_with(ecn, 0);

	open_up(&options, &options, link);
	(void)pour(0, 6, 5 * S, MS);
	uint64_t start = pair.ends[0].overflows;
	uint64_t taken = pour(0, 6, 20 * S, MS);
	cr_assert_eq(path_of(0)->ce_reported > 0, ecn);
	cr_assert_eq(pair.ends[0].marked > 0, ecn);
	struct poured poured = {
		(double)taken * PACKET_BYTES * 8 / 20 / 1e6, start, pair.ends[0].overflows - start};
	native_pair_fini(&pair);
	return poured;
}

/* A queue that marks early: the start overflows less, and nothing is lost or given away after that. */
Test(native_outer, marks_end_the_start)
{
	struct poured without = pour_over(false, 25000, 0), with = pour_over(true, 25000, 0);

	cr_assert_gt(without.start, 20);
	cr_assert_lt(with.start, without.start * 3 / 4, "%lu, %lu lost", (unsigned long)with.start,
		(unsigned long)without.start);
	cr_assert_eq(with.lost, 0);
	cr_assert_geq(with.mbps, without.mbps * 0.95, "%.1f of %.1f Mb/s", with.mbps, without.mbps);
}

/* A queue that others keep: it is given way to, as far as any other flow would, and not without end. */
Test(native_outer, marks_are_given_way_to)
{
	struct poured without = pour_over(false, 0, 20000), with = pour_over(true, 0, 20000);

	cr_assert_leq(with.mbps, without.mbps * 0.6, "%.1f of %.1f Mb/s", with.mbps, without.mbps);
	cr_assert_geq(with.mbps, 1, "%.1f of %.1f Mb/s", with.mbps, without.mbps);
}

Test(native_outer, a_box_that_drops_what_is_capable)
{
	struct native_end_options options = options_with(true, 0);

	open_up(&options, &options,
		(struct native_link){.delay_us = 10 * MS, .drops_capable = true});
	(void)pour(0, 17, 5 * S, 10 * MS);
	uint64_t before = came, tried = capable(0);
	(void)pour(0, 17, 10 * S, 10 * MS);
	cr_assert_gt(came - before, 990);
	cr_assert_eq(capable(0), tried, "no more for a minute");
	native_pair_fini(&pair);
}

Test(native_outer, a_box_that_marks_everything)
{
	struct native_end_options options = options_with(true, 0);
	const struct native_link link = {.delay_us = 20 * MS,
		.rate_bps = 50000000,
		.queue_bytes = 250000,
		.marks_all = true};

	open_up(&options, &options, link);
	(void)pour(0, 6, 15 * S, MS);
	uint64_t marked = path_of(0)->ce_reported;
	cr_assert_gt(marked, ECN_PATH_SAMPLE);
	uint64_t taken = pour(0, 6, 10 * S, MS);
	cr_assert_eq(path_of(0)->ce_reported, marked, "and none since");
	cr_assert_gt((double)taken * PACKET_BYTES * 8 / 10, 0.7 * 50e6, "%.1f Mb/s",
		(double)taken * PACKET_BYTES * 8 / 10 / 1e6);
	native_pair_fini(&pair);
}

/* Where each side also reports what the other sent, which is not marked. */
Test(native_outer, a_box_that_marks_everything_both_ways)
{
	struct native_end_options options = options_with(true, 0);

	open_up(&options, &options, (struct native_link){.delay_us = 20 * MS, .marks_all = true});
	for (uint32_t i = 0; i < 1000; i++) {
		(void)give(i % 2, 17, 0, i, 200);
		native_pair_run(&pair, 10 * MS);
	}
	uint64_t tried[2] = {capable(0), capable(1)};
	for (uint32_t i = 0; i < 1000; i++) {
		(void)give(i % 2, 17, 0, i, 200);
		native_pair_run(&pair, 10 * MS);
	}
	cr_assert_gt(came, 1990);
	cr_assert(capable(0) == tried[0] && capable(1) == tried[1]);
	native_pair_fini(&pair);
}

/* ---- the bound on the rate -------------------------------------------------------------------------------------------- */

/* Bits a second that end 0 sent, headers counted. */
static double rate_over(uint8_t protocol, int64_t us, int64_t step_us)
{
	uint64_t bytes = pair.ends[0].sent_bytes, datagrams = sent(0);

	(void)pour(0, protocol, us, step_us);
	bytes = pair.ends[0].sent_bytes - bytes + 28 * (sent(0) - datagrams);
	return (double)bytes * 8 * 1e6 / (double)us;
}

Test(native_outer, no_more_is_sent_than_ordered)
{
	static const uint64_t rates[] = {100000, 1000000, 20000000};

	for (size_t i = 0; i < 3; i++) {
		for (int lossy = 0; lossy < 2; lossy++) {
			struct native_end_options options = native_pair_options();
			struct native_link link = {.delay_us = 20 * MS,
				.rate_bps = 100000000,
				.queue_bytes = 1000000,
				.loss_ppm = lossy ? 50000 : 0};
			options.peer.rate_max_bps = rates[i];
			options.peer.fec =
				(struct kcpvpn_fec_config){KCPVPN_FEC_ADAPTIVE, 10, 3, 30, 2 * MS};
			open_up(&options, &options, link);
			(void)pour(0, 6, 5 * S, MS);
			double rate = rate_over(6, 20 * S, MS);
			cr_assert_leq(rate, (double)rates[i] * 1.02 + 2000, "%.0f of %lu b/s", rate,
				(unsigned long)rates[i]);
			cr_assert_geq(rate, (double)rates[i] * 0.85, "%.0f of %lu b/s", rate,
				(unsigned long)rates[i]);
			native_pair_fini(&pair);
		}
	}
}

/* Urgent data passes windows and pace, but not what was ordered. */
Test(native_outer, the_bound_holds_for_urgent_data_too)
{
	struct native_end_options options = native_pair_options();

	options.peer.rate_max_bps = 200000;
	open_up(&options, &options, (struct native_link){.delay_us = 20 * MS});
	/* 0.96 Mb/s */
	double rate = rate_over(17, 20 * S, 10 * MS);
	cr_assert_leq(rate, 200000 * 1.05, "%.0f", rate);
	cr_assert_geq(rate, 200000 * 0.7, "%.0f", rate);
	native_pair_fini(&pair);
}

Test(native_outer, a_bound_may_come_and_go)
{
	struct native_end_options options = native_pair_options();
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES];

	open_up(&options, &options,
		(struct native_link){
			.delay_us = 20 * MS, .rate_bps = 50000000, .queue_bytes = 500000});
	native_pair_public_key(1, key);
	options.peer.public_key = key;
	cr_assert_gt(rate_over(6, 10 * S, MS), 35e6);
	options.peer.rate_max_bps = 5000000;
	cr_assert_eq(kcpvpn_peer_configure(peer_of(0), &options.peer, pair.now_us), 0);
	(void)pour(0, 6, S, MS);
	cr_assert_leq(rate_over(6, 10 * S, MS), 5.1e6);
	options.peer.rate_max_bps = 0;
	cr_assert_eq(kcpvpn_peer_configure(peer_of(0), &options.peer, pair.now_us), 0);
	(void)pour(0, 6, S, MS);
	cr_assert_gt(rate_over(6, 5 * S, MS), 35e6, "at once: what was measured is no more");
	native_pair_fini(&pair);
}

/* By order that is the rate: over a link that carries half of it, and one that loses a third, where else far less would be sent. */
Test(native_outer, a_fixed_rate_is_kept_whatever_is_lost)
{
	static const struct {
		struct native_link link;
		double least;	    /* bits a second that are sent */
		double most_if_not; /* if that is not ordered */
	} rows[] = {
		{{.delay_us = 20 * MS, .rate_bps = 50000000, .queue_bytes = 500000}, 4.8e6, 5.15e6},
		{{.delay_us = 20 * MS, .rate_bps = 2500000, .queue_bytes = 20000}, 4.8e6, 3.2e6},
		/* what is lost waits here in its order: the credit for that is what bounds it */
		{{.delay_us = 20 * MS, .rate_bps = 2500000, .queue_bytes = 200000}, 3.4e6, 3.2e6},
		{{.delay_us = 20 * MS, .loss_ppm = 330000}, 4.8e6, 5.15e6},
		{{.delay_us = 150 * MS, .loss_ppm = 100000}, 4.8e6, 5.15e6},
	};
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct native_end_options options = native_pair_options();
		options.peer.rate_max_bps = 5000000;
		options.peer.rate_fixed = true;
		open_up(&options, &options, rows[i].link);
		(void)pour(0, 6, 2 * S, MS);
		double rate = rate_over(6, 10 * S, MS);
		cr_assert_leq(rate, 5.15e6, "link %zu: %.0f", i, rate);
		cr_assert_geq(rate, rows[i].least, "link %zu: %.0f", i, rate);
		native_pair_public_key(1, key);
		options.peer.public_key = key;
		options.peer.rate_fixed = false;
		cr_assert_eq(kcpvpn_peer_configure(peer_of(0), &options.peer, pair.now_us), 0);
		(void)pour(0, 6, 5 * S, MS);
		rate = rate_over(6, 10 * S, MS);
		cr_assert_leq(rate, rows[i].most_if_not, "link %zu: %.0f", i, rate);
		native_pair_fini(&pair);
	}
}

/* Without a rate it means nothing. */
Test(native_outer, a_fixed_rate_takes_a_rate)
{
	struct native_end_options options = native_pair_options();

	options.peer.rate_fixed = true;
	open_up(&options, &options,
		(struct native_link){
			.delay_us = 20 * MS, .rate_bps = 2500000, .queue_bytes = 20000});
	(void)pour(0, 6, 5 * S, MS);
	double rate = rate_over(6, 10 * S, MS);
	cr_assert_leq(rate, 3.2e6, "%.0f", rate);
	cr_assert_geq(rate, 1.8e6, "%.0f", rate);
	native_pair_fini(&pair);
}

/* ---- how inner packets are carried ------------------------------------------------------------------------------------ */

/* TCP packets at 4 Mb/s over a link that loses. */
static void run_carriage(enum kcpvpn_carriage carriage, uint8_t protocol)
{
	struct native_end_options options = native_pair_options();

	options.peer.carriage = carriage;
	options.super_max_bytes = 65535;
	open_up(&options, &options, (struct native_link){.delay_us = 20 * MS, .loss_ppm = 50000});
	for (uint32_t i = 0; i < 2000; i++) {
		(void)give(0, protocol, 0, i, 1000);
		native_pair_run(&pair, 2 * MS);
	}
	native_pair_run(&pair, 3 * S);
}

Test(native_outer, auto_keeps_the_order_of_tcp)
{
	run_carriage(KCPVPN_CARRIAGE_AUTO, 6);
	cr_assert_eq(late, 0);
	cr_assert_eq(came, 2000);
	cr_assert_eq(kcpvpn_peer_super_max(peer_of(0)), 65535);
	native_pair_fini(&pair);
}

Test(native_outer, datagram_holds_nothing_up)
{
	run_carriage(KCPVPN_CARRIAGE_DATAGRAM, 6);
	cr_assert_geq(late, 60, "%lu: what was sent again comes behind", (unsigned long)late);
	cr_assert_geq(came, 1990);
	cr_assert_eq(kcpvpn_peer_super_max(peer_of(0)), 0, "a long message has an order");
	/* but it waits for window and pace as bulk does */
	cr_assert(!kcp_path_exempt(KCP_PATH_LOOSE));
	native_pair_fini(&pair);
}

Test(native_outer, datagram_gives_up_what_is_late)
{
	struct native_end_options options = native_pair_options();

	options.peer.carriage = KCPVPN_CARRIAGE_DATAGRAM;
	open_up(&options, &options, (struct native_link){.delay_us = 100 * MS, .loss_ppm = 50000});
	for (uint32_t i = 0; i < 1000; i++) {
		(void)give(0, 6, 0, i, 1000);
		native_pair_run(&pair, 4 * MS);
	}
	native_pair_run(&pair, 3 * S);
	cr_assert_eq(late, 0, "nothing sent again could come in 150 ms");
	cr_assert_leq(came, 980);
	native_pair_fini(&pair);
}

Test(native_outer, reliable_gives_up_nothing)
{
	/* slow UDP, which by default is given up after 150 ms, over 200 ms */
	for (int strict = 0; strict < 2; strict++) {
		struct native_end_options options = native_pair_options();
		options.peer.carriage = strict ? KCPVPN_CARRIAGE_RELIABLE : KCPVPN_CARRIAGE_AUTO;
		open_up(&options, &options,
			(struct native_link){.delay_us = 100 * MS, .loss_ppm = 50000});
		for (uint32_t i = 0; i < 1000; i++) {
			(void)give(0, 17, EF, i, 100);
			native_pair_run(&pair, 10 * MS);
		}
		native_pair_run(&pair, 3 * S);
		if (strict)
			cr_assert_eq(came, 1000);
		else
			cr_assert_leq(came, 980);
		cr_assert_eq(late, 0);
		native_pair_fini(&pair);
	}
}
