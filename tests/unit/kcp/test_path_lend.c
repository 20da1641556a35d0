/* Messages that stay in their sender's memory: when it comes back, and that what is sent, also again, is what was lent. */
#include "path_loans.h"
#include "path_rig.h"

#include "kcp/kcp_path_state.h"

#include <criterion/criterion.h>
#include <errno.h>

enum {
	MS = 1000,
	RTT_US = 40 * MS,
	LEN = 3 * RIG_PIECE_BYTES + 100,
};

static struct rig rig;
static struct path_loans loans;
static uint8_t data[20001]; /* one more than the path takes */

static void open_rig(void)
{
	struct kcp_path_config config = rig_config();

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i / 7);
	loans = (struct path_loans){0};
	config.tx_slots_max = KCP_PATH_TX_SLOTS_LEAST;
	rig_open(&rig, &config);
}

static void close_rig(void)
{
	rig_close(&rig);
	cr_assert_eq(loans.given, loans.over, "all come back at the end");
}

TestSuite(path_lend, .init = open_rig, .fini = close_rig);

static int lend(enum kcp_path_class class, uint32_t flow, const uint8_t *from, size_t len)
{
	int err = path_loans_send(&loans, rig.path, class, flow, from, len, rig.now);

	kcp_path_flush(rig.path, rig.now);
	return err;
}

/* Where the n-th piece that was sent begins in a message of `len`. */
static void expect_piece(unsigned n, const uint8_t *from)
{
	cr_assert_eq(memcmp(rig_find(&rig, KCP_CMD_PUSH, n)->body, from, 32), 0, "piece %u", n);
}

Test(path_lend, comes_back_when_all_pieces_arrived)
{
	cr_assert_eq(lend(KCP_PATH_BULK, 1, data, LEN), 0);
	rig_run(&rig, RTT_US);
	cr_assert_eq(rig_count(&rig, KCP_CMD_PUSH), 4);
	for (unsigned i = 0; i < 4; i++)
		expect_piece(i, data + (size_t)i * RIG_PIECE_BYTES);
	cr_assert_eq(rig.pool.slots_used, 0, "no slot for what is lent");
	cr_assert_eq(kcp_path_slots(rig.path), 4, "but it counts");
	rig_rack(&rig, 0, 3);
	cr_assert_eq(loans.over, 0, "its end is not acknowledged");
	rig_rack(&rig, 0, 4);
	cr_assert_eq(loans.over, 1);
	cr_assert_eq(kcp_path_slots(rig.path), 0);
	cr_assert(mono_is_never(kcp_path_next_deadline(rig.path)));
}

Test(path_lend, what_is_lost_is_sent_from_there_again)
{
	const struct kcp_range got[] = {{.first = 4, .end = 9}, {.first = 0, .end = 1}};

	for (int i = 0; i < 3; i++) {
		cr_assert_eq(lend(KCP_PATH_BULK, 1, data + 500 * i, LEN), 0);
		rig_run(&rig, 5 * MS);
	}
	rig_run(&rig, RTT_US);
	rig_clear(&rig);
	rig_rack_ranges(&rig, got, 2);
	rig_run(&rig, RTT_US);
	cr_assert_geq(rig_count(&rig, KCP_CMD_PUSH), 3);
	for (unsigned i = 0; i < 3; i++)
		expect_piece(i, data + (size_t)(i + 1) * RIG_PIECE_BYTES);
	cr_assert_eq(loans.over, 1, "the second of three");
	rig_rack(&rig, 0, kcp_path_next_pn(rig.path));
	cr_assert_eq(loans.over, 3);
}

Test(path_lend, comes_back_when_it_is_given_up)
{
	rig.no_room = true;
	cr_assert_eq(lend(KCP_PATH_BULK, 1, data, LEN), 0);
	cr_assert_eq(lend(KCP_PATH_BULK, 2, data, LEN), 0);
	rig_run(&rig, 20000 * MS);
	cr_assert_eq(kcp_path_stats(rig.path)->expired_messages, 2);
	cr_assert_eq(loans.over, 2);
}

Test(path_lend, comes_back_from_a_restart)
{
	cr_assert_eq(lend(KCP_PATH_BULK, 1, data, LEN), 0);
	rig_run(&rig, RTT_US);
	rig_rack(&rig, 0, 2);
	cr_assert_eq(loans.over, 0);
	kcp_path_restart(rig.path, 1 << 20, 1 << 20);
	cr_assert_eq(loans.over, 1);
	cr_assert_eq(kcp_path_slots(rig.path), 0);
}

/* What is short and urgent is copied all the same. */
Test(path_lend, comes_back_at_once_if_it_was_copied)
{
	cr_assert_eq(lend(KCP_PATH_RT, 1, data, 100), 0);
	cr_assert_eq(loans.over, 1);
	cr_assert_eq(rig.pool.slots_used, 1);
	cr_assert_eq(rig_count(&rig, KCP_CMD_DGRAM), 1);
	cr_assert_eq(lend(KCP_PATH_RT, 1, data, LEN), 0);
	cr_assert_eq(loans.over, 1, "a longer one goes in pieces");
}

/* Refused for whatever reason: it stays the caller's, and the path forgot it. */
Test(path_lend, is_the_callers_if_it_was_refused)
{
	uint64_t given = 0;
	int err = 0;

	cr_assert_eq(lend(KCP_PATH_BULK, 1, data, 0), -EINVAL);
	cr_assert_eq(lend(KCP_PATH_BULK, KCP_PATH_LANES, data, LEN), -EINVAL);
	cr_assert_eq(lend(KCP_PATH_BULK, 1, data, sizeof(data)), -EMSGSIZE);
	for (; err == 0 && given < 1000; given += err == 0) {
		err = lend(KCP_PATH_BULK, 1, data, LEN);
		rig_run(&rig, 10 * MS);
	}
	cr_assert_eq(err, -EAGAIN);
	cr_assert_eq(loans.given, given);
	cr_assert_leq(kcp_path_slots(rig.path), KCP_PATH_TX_SLOTS_LEAST);
	cr_assert_eq(loans.over, 0);
}

/* Charged as what is copied. */
Test(path_lend, costs_what_a_copy_costs)
{
	static const size_t lens[] = {1, 512, 1000, 1001, LEN, 2 * RIG_PIECE_BYTES, 5500};

	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		uint64_t before = rig.path->charged_bytes;
		cr_assert_eq(lend(KCP_PATH_BULK, 1, data, lens[i]), 0);
		uint64_t lent = rig.path->charged_bytes - before;
		rig_run(&rig, 20 * MS);
		cr_assert_eq(kcp_path_send(rig.path, KCP_PATH_BULK, 2, data, lens[i], rig.now), 0);
		kcp_path_flush(rig.path, rig.now);
		cr_assert_eq(rig.path->charged_bytes - before, 2 * lent);
		rig_run(&rig, 20 * MS);
		rig_rack(&rig, 0, kcp_path_next_pn(rig.path));
		cr_assert_eq(rig.path->charged_bytes, 0);
	}
}

/* ---- full datagrams ---------------------------------------------------------------------------------------------- */

enum {
	LONG = 9 * RIG_PIECE_BYTES + 300, /* leaves room for 752 in its last datagram */
};

static int lend_only(size_t len)
{
	return path_loans_send(&loans, rig.path, KCP_PATH_BULK, 1, data, len, rig.now);
}

/* Bytes of the n-th datagram from the first that was kept. */
static size_t datagram_bytes(unsigned n)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < rig.out_count; i++)
		if (rig.out[i].pn == rig.out[0].pn + n)
			bytes += KCP_OVERHEAD_BYTES + rig.out[i].head.len;
	return bytes;
}

/* The window is open for much at once. */
static void open_window(void)
{
	rig.path->budget.lt.rtt.srtt_us = RTT_US;
	rig.path->budget.lt.rtt.min_us = RTT_US;
	rig.path->budget.lt.bw = 100000000;
}

Test(path_lend, the_next_fills_the_last_datagram_of_the_one_before)
{
	open_window();
	cr_assert_eq(lend_only(LONG), 0);
	cr_assert_eq(lend_only(LONG), 0);
	kcp_path_flush(rig.path, rig.now);
	/* 9 full, 300 and 752 of the next, then 8548 in 9 */
	cr_assert_eq(rig.datagrams, 19);
	cr_assert_eq(datagram_bytes(9), RIG_PAYLOAD_BYTES);
	cr_assert_eq(rig_find(&rig, KCP_CMD_PUSH, 10)->head.len, 752);
	cr_assert_eq(rig_find(&rig, KCP_CMD_PUSH, 10)->head.frg, KCP_FRG_FIRST | 9);
	expect_piece(10, data);
	expect_piece(11, data + 752);
	cr_assert_eq(rig_find(&rig, KCP_CMD_PUSH, 19)->head.len, 548);
	rig_rack(&rig, 0, 9);
	cr_assert_eq(loans.over, 0);
	rig_rack(&rig, 0, 10);
	cr_assert_eq(loans.over, 1);
	rig_rack(&rig, 0, 19);
	cr_assert_eq(loans.over, 2);
	cr_assert_eq(rig.path->charged_bytes, 0);
}

Test(path_lend, nothing_waits_to_be_filled)
{
	open_window();
	cr_assert_eq(lend(KCP_PATH_BULK, 1, data, LONG), 0);
	cr_assert_eq(lend(KCP_PATH_BULK, 1, data, LONG), 0);
	cr_assert_eq(rig.datagrams, 20, "the first had left");
	rig_rack(&rig, 0, 20);
	rig_clear(&rig);
	cr_assert_eq(lend_only(LONG), 0);
	cr_assert_eq(lend_only(3 * RIG_PIECE_BYTES), 0);
	kcp_path_flush(rig.path, rig.now);
	cr_assert_eq(rig.datagrams, 13, "a short one is not cut");
	rig_rack(&rig, 0, 33);
	rig_clear(&rig);
	cr_assert_eq(lend_only(9 * RIG_PIECE_BYTES), 0);
	cr_assert_eq(lend_only(LONG), 0);
	kcp_path_flush(rig.path, rig.now);
	cr_assert_eq(rig.datagrams, 19, "a full one has no room");
}

/* Two pieces more may cost more than the peer granted. */
Test(path_lend, a_grant_is_not_passed_to_fill)
{
	uint64_t cost = kcp_lane_cost_bytes(LONG, RIG_PIECE_BYTES);

	open_window();
	rig.path->peer_grant_bytes = 2 * cost;
	cr_assert_eq(lend_only(LONG), 0);
	cr_assert_eq(lend_only(LONG), 0);
	cr_assert_leq(rig.path->charged_bytes, 2 * cost);
	kcp_path_flush(rig.path, rig.now);
	cr_assert_eq(rig.datagrams, 20);
}
