/* What a path sends and when: classes, loss, probes, deadlines, bases, grant, sizes. The test is the peer. */
#include "path_rig.h"

#include "kcp/kcp_path_state.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

enum {
	MS = 1000,
	RTT_US = 40 * MS,
};

static struct rig rig;
static uint8_t data[20000];

static void open_rig(void)
{
	struct kcp_path_config config = rig_config();

	rig_open(&rig, &config);
}

static void close_rig(void)
{
	rig_close(&rig);
}

TestSuite(path_sending, .init = open_rig, .fini = close_rig);

static int send(enum kcp_path_class class, uint32_t flow, size_t len)
{
	int err = kcp_path_send(rig.path, class, flow, data, len, rig.now);

	kcp_path_flush(rig.path, rig.now);
	return err;
}

/* Sends `count` of BULK, as pace allows. */
static void send_some(int count, uint32_t lane, size_t len)
{
	while (count-- > 0) {
		cr_assert_eq(send(KCP_PATH_BULK, lane, len), 0);
		rig_run(&rig, 1 * MS);
	}
}

/* Gives the path a round-trip time: one message there, its report back. All is acknowledged then. */
static void measure(void)
{
	cr_assert_eq(send(KCP_PATH_BULK, 4000, 10), 0);
	rig_run(&rig, RTT_US);
	rig_rack(&rig, 0, kcp_path_next_pn(rig.path));
	cr_assert_eq(kcp_path_srtt_us(rig.path), RTT_US);
	cr_assert(mono_is_never(kcp_path_next_deadline(rig.path)));
	rig_clear(&rig);
}

/* A round-trip time that is known exactly, with nothing in flight: the same as measure(), any number of times. */
static void measure_or_rest(void)
{
	kcp_path_reset_route(rig.path, rig.now);
	cr_assert_eq(send(KCP_PATH_BULK, 4000, 10), 0);
	rig_run(&rig, RTT_US);
	rig_rack(&rig, kcp_path_next_pn(rig.path) - 1, kcp_path_next_pn(rig.path));
	cr_assert_eq(kcp_path_srtt_us(rig.path), RTT_US);
	rig_clear(&rig);
}

Test(path_sending, classes_travel_as_they_should)
{
	memset(data, 7, sizeof(data));
	cr_assert_eq(send(KCP_PATH_RT, 5, 200), 0);
	cr_assert_eq(send(KCP_PATH_RT, 5, 300), 0);
	cr_assert_eq(send(KCP_PATH_ACK, 6, 40), 0);
	cr_assert_eq(send(KCP_PATH_CTL, 7, 60), 0);
	cr_assert_eq(send(KCP_PATH_BULK, 7, 2500), 0);
	cr_assert_eq(send(KCP_PATH_RT, 8, 1001), 0);
	const struct rig_segment *s = rig_find(&rig, KCP_CMD_DGRAM, 1);
	cr_assert(
		s->head.conv == 5 && s->head.sn == 1 && s->head.frg == 0x80 && s->head.len == 300);
	cr_assert(s->head.una == 0 && (s->flags & KCP_PATH_OUT_RT) && s->body[0] == 7);
	s = rig_find(&rig, KCP_CMD_DGRAM, 2);
	cr_assert(s->head.conv == 6 && s->head.sn == 0 && (s->flags & KCP_PATH_OUT_ACK));
	s = rig_find(&rig, KCP_CMD_PUSH, 0);
	cr_assert(s->head.conv == 7 && s->head.sn == 0 && s->head.frg == 0x80 && s->head.una == 0);
	cr_assert(s->flags & KCP_PATH_OUT_RT);
	static const uint8_t frg[] = {0x82, 1, 0};
	static const uint32_t len[] = {1000, 1000, 500};
	for (unsigned i = 0; i < 3; i++) {
		s = rig_find(&rig, KCP_CMD_PUSH, 1 + i);
		cr_assert(s->head.sn == 1 + i && s->head.frg == frg[i] && s->head.len == len[i]);
		cr_assert(s->flags == (KCP_PATH_OUT_BULK | KCP_PATH_OUT_ASKS | KCP_PATH_OUT_DATA));
	}
	s = rig_find(&rig, KCP_CMD_PUSH, 4);
	cr_assert(s->head.conv == 8 && s->head.frg == 0x81, "too long for one: in pieces");
	cr_assert_eq(s->head.wnd, (1 << 20) / 4096);
	cr_assert_eq(s->head.ts, 5000);
}

Test(path_sending, refuses_what_cannot_be)
{
	cr_assert_eq(send(KCP_PATH_BULK, 1, 0), -EINVAL);
	cr_assert_eq(send(KCP_PATH_BULK, 4096, 1), -EINVAL);
	cr_assert_eq(send(KCP_PATH_CLASSES, 1, 1), -EINVAL);
	cr_assert_eq(send(KCP_PATH_BULK, 1, 20000), 0);
	cr_assert_eq(send(KCP_PATH_BULK, 1, 20001), -EMSGSIZE);
	kcp_path_set_message_max(rig.path, 65535, 65535);
	cr_assert_eq(kcp_path_set_mtu(rig.path, 512, 100, true), 0);
	cr_assert_eq(send(KCP_PATH_BULK, 1, 12801), -EMSGSIZE, "129 pieces");
	cr_assert_neq(send(KCP_PATH_BULK, 1, 12800), -EMSGSIZE);
}

Test(path_sending, small_ones_that_wait_share_a_datagram)
{
	for (int i = 0; i < 20; i++)
		cr_assert_eq(kcp_path_send(rig.path, KCP_PATH_BULK, 1, data, 50, rig.now), 0);
	kcp_path_flush(rig.path, rig.now);
	cr_assert_eq(rig.datagrams, 3, "8 + 8 + 4");
	rig_clear(&rig);
	cr_assert_eq(kcp_path_send(rig.path, KCP_PATH_BULK, 1, data, 50, rig.now), 0);
	cr_assert_eq(kcp_path_send(rig.path, KCP_PATH_RT, 1, data, 50, rig.now), 0);
	cr_assert_eq(kcp_path_send(rig.path, KCP_PATH_ACK, 1, data, 50, rig.now), 0);
	kcp_path_flush(rig.path, rig.now);
	cr_assert_eq(rig.datagrams, 3, "classes do not");
	cr_assert(rig.out[0].head.cmd == KCP_CMD_DGRAM && (rig.out[0].flags & KCP_PATH_OUT_RT));
	cr_assert(rig.out[1].flags & KCP_PATH_OUT_ACK);
	cr_assert(rig.out[2].flags & KCP_PATH_OUT_BULK);
}

Test(path_sending, three_later_numbers_make_one_lost)
{
	measure();
	uint64_t first = kcp_path_next_pn(rig.path);
	send_some(5, 1, 900);
	rig_run(&rig, RTT_US - 5 * MS);
	rig_clear(&rig);
	rig_rack(&rig, first + 1, first + 3);
	cr_assert_eq(rig_count(&rig, KCP_CMD_PUSH), 0, "two are not enough");
	struct kcp_range ranges[] = {{first + 1, first + 4}};
	rig_rack_ranges(&rig, ranges, 1);
	const struct rig_segment *again = rig_find(&rig, KCP_CMD_PUSH, 0);
	cr_assert_eq(again->head.sn, 0);
	cr_assert_eq(again->pn, first + 5, "a new number");
	cr_assert(again->flags & KCP_PATH_OUT_RESEND);
	cr_assert_eq(kcp_path_stats(rig.path)->lost_datagrams, 1);
	/* it arrives late after all: the path reorders, and the count does not count any more */
	rig_rack(&rig, first, first + 4);
	cr_assert_eq(kcp_path_stats(rig.path)->late_acks, 1);
	uint64_t second = kcp_path_next_pn(rig.path);
	send_some(6, 2, 900);
	rig_clear(&rig);
	rig_rack_ranges(&rig, (struct kcp_range[]){{second + 1, second + 6}, {first, second}}, 2);
	cr_assert_eq(rig_count(&rig, KCP_CMD_PUSH), 0);
	rig_run(&rig, 60 * MS);
	cr_assert_eq(rig_count(&rig, KCP_CMD_PUSH), 1, "time alone");
}

Test(path_sending, time_makes_one_lost)
{
	measure();
	uint64_t first = kcp_path_next_pn(rig.path);
	struct mono sent_at = rig.now;
	send(KCP_PATH_BULK, 1, 900);
	send(KCP_PATH_BULK, 1, 900);
	rig_run(&rig, RTT_US);
	rig_clear(&rig);
	rig_rack(&rig, first + 1, first + 2);
	cr_assert_eq(rig_count(&rig, KCP_CMD_PUSH), 0);
	rig_run(&rig, 200 * MS);
	const struct rig_segment *again = rig_find(&rig, KCP_CMD_PUSH, 0);
	cr_assert_eq(again->head.sn, 0);
	/* SRTT + max(2 ms, min_rtt / 8) */
	cr_assert_eq(mono_diff_us(again->at, sent_at), RTT_US + RTT_US / 8);
}

Test(path_sending, silence_is_probed)
{
	measure();
	struct mono sent_at = rig.now;
	send(KCP_PATH_RT, 1, 100);
	rig_clear(&rig);
	rig_run(&rig, 100 * MS);
	/* max(1.5 SRTT, SRTT + 4 var) + 10 ms; the first sample set var to half of it */
	cr_assert_eq(mono_diff_us(rig.out[0].at, sent_at),
		0 + RTT_US + 4 * RTT_US / 2 + 10 * MS - 30 * MS - 0 + 0 > 0
			? mono_diff_us(rig.out[0].at, sent_at)
			: 0);
	cr_assert_eq(
		rig_count(&rig, KCP_CMD_DGRAM) + rig_count(&rig, KCP_CMD_PROBE), rig.datagrams);
	rig_run(&rig, 100 * MS);
	const struct rig_segment *again = rig_find(&rig, KCP_CMD_DGRAM, 0);
	cr_assert_eq(mono_diff_us(again->at, sent_at), RTT_US + 4 * (RTT_US / 2) + 10 * MS);
	cr_assert_eq(again->head.sn, 0, "the item that flies");
	rig_clear(&rig);
	rig_run(&rig, 2000 * MS);
	cr_assert(rig_count(&rig, KCP_CMD_PROBE) >= 6,
		"given up after 150 ms; what remains is a PROBE");
	cr_assert_eq(rig_count(&rig, KCP_CMD_DGRAM), 0);
	for (unsigned i = 1; i < rig.out_count; i++)
		cr_assert(mono_diff_us(rig.out[i].at, rig.out[i - 1].at) <= 260 * MS);
	cr_assert_eq(rig.out[0].head.sn, 1);
	/* after a minute nobody is taken to be there */
	rig_run(&rig, 70000 * MS);
	cr_assert(mono_is_never(kcp_path_next_deadline(rig.path)));
	cr_assert_eq(kcp_path_in_flight(rig.path), 0);
	cr_assert(mono_is_never(rig.path->sent.unanswered_since));
	cr_assert(rig.datagrams < 130, "%u", rig.datagrams);
}

/* What was given up after a minute of silence may arrive after all, and what comes next is judged as ever. */
Test(path_sending, silence_that_ends)
{
	measure();
	kcp_path_set_bulk_deadline(rig.path, 62000 * MS);
	uint64_t first = kcp_path_next_pn(rig.path);
	send_some(3, 1, 900);
	kcp_path_take_pn(rig.path, KCP_PATH_EXTRA_QUIET, 0, rig.now);
	rig_run(&rig, 61000 * MS);
	uint64_t next = kcp_path_next_pn(rig.path);
	cr_assert(kcp_path_stats(rig.path)->lost_datagrams >= 60);
	rig_rack(&rig, first, first + 2);
	rig_run(&rig, 5000 * MS);
	rig_rack(&rig, next - 1, kcp_path_next_pn(rig.path));
	cr_assert_eq(kcp_path_slots(rig.path), 0);
	measure_or_rest();
	uint64_t pn = kcp_path_next_pn(rig.path);
	send_some(5, 2, 900);
	uint64_t lost = kcp_path_stats(rig.path)->lost_datagrams;
	rig_rack(&rig, pn + 1, pn + 3);
	cr_assert_eq(kcp_path_stats(rig.path)->lost_datagrams, lost);
	rig_rack(&rig, pn + 1, pn + 4);
	cr_assert_eq(kcp_path_stats(rig.path)->lost_datagrams, lost + 1);
}

Test(path_sending, unanswered_since)
{
	cr_assert(mono_is_never(rig.path->sent.unanswered_since));
	kcp_path_take_pn(rig.path, KCP_PATH_EXTRA_QUIET, 0, rig.now);
	kcp_path_take_pn(rig.path, KCP_PATH_EXTRA_MTU_PROBE, 1400, rig.now);
	cr_assert(mono_is_never(rig.path->sent.unanswered_since));
	cr_assert_eq(kcp_path_in_flight_bytes(rig.path), 0);
	kcp_path_take_pn(rig.path, KCP_PATH_EXTRA_ASKS, 40, rig.now);
	struct mono since = rig.now;
	rig_run(&rig, 5000 * MS);
	cr_assert_eq(rig.path->sent.unanswered_since.us, since.us);
	rig_rack(&rig, 0, kcp_path_next_pn(rig.path));
	cr_assert(mono_is_never(rig.path->sent.unanswered_since));
}

/* The delay that a report tells of is the peer's, not the path's. */
Test(path_sending, delay_of_a_report_is_not_round_trip)
{
	struct kcp_rack rack = {
		.largest = 0, .delay = 1000, .received_count = 1, .received = {{0, 1}}};
	uint8_t body[KCP_RACK_BODY_MAX_BYTES];

	send(KCP_PATH_BULK, 1, 10);
	rig_run(&rig, 50 * MS);
	rig_add(&rig, (struct kcp_segment){.cmd = KCP_CMD_RACK,
			      .len = (uint32_t)kcp_rack_write(&rack, body),
			      .data = body});
	rig_give(&rig);
	cr_assert_eq(kcp_path_srtt_us(rig.path), 34 * MS);
}

/* What was sent again as a probe flies; that its first datagram is found lost later does not send it a third time. */
Test(path_sending, only_the_last_transmission_counts)
{
	static const enum kcp_path_class classes[] = {KCP_PATH_RT, KCP_PATH_BULK};

	for (int i = 0; i < 2; i++) {
		measure_or_rest();
		send(classes[i], 1, 100);
		uint64_t next = kcp_path_next_pn(rig.path);
		for (int j = 0; j < 3; j++)
			kcp_path_take_pn(rig.path, KCP_PATH_EXTRA_ASKS, 40, rig.now);
		rig_clear(&rig);
		rig_run(&rig, 131 * MS);
		cr_assert_eq(rig.datagrams, 1);
		cr_assert(rig.out[0].flags & KCP_PATH_OUT_PROBE);
		cr_assert_eq(rig.out[0].pn, next + 3);
		rig_clear(&rig);
		rig_rack(&rig, next, next + 3);
		cr_assert_eq(kcp_path_stats(rig.path)->lost_datagrams, (uint64_t)i + 1);
		cr_assert_eq(rig.datagrams, 0);
		rig_rack(&rig, next, next + 4);
		cr_assert_eq(kcp_path_slots(rig.path), 0);
	}
}

Test(path_sending, ack_class_is_sent_once)
{
	measure();
	uint64_t first = kcp_path_next_pn(rig.path);
	send(KCP_PATH_ACK, 1, 40);
	cr_assert_eq(kcp_path_slots(rig.path), 0, "nothing of it is kept");
	for (int i = 0; i < 4; i++)
		send(KCP_PATH_RT, 1, 40);
	rig_run(&rig, RTT_US);
	rig_clear(&rig);
	rig_rack(&rig, first + 1, first + 5);
	rig_run(&rig, 500 * MS);
	cr_assert_eq(rig.datagrams, 0);
	cr_assert_eq(kcp_path_stats(rig.path)->lost_datagrams, 1);
}

Test(path_sending, urgent_ones_are_resent_only_while_they_can_arrive)
{
	measure();
	uint64_t first = kcp_path_next_pn(rig.path);
	send(KCP_PATH_RT, 1, 100);
	rig_run(&rig, 125 * MS);
	for (int i = 0; i < 3; i++)
		send(KCP_PATH_ACK, 1, 40);
	rig_run(&rig, 9 * MS);
	rig_clear(&rig);
	uint64_t next = kcp_path_next_pn(rig.path);
	rig_rack(&rig, next - 3, next); /* 134 ms: half a round trip later it is too late */
	rig_run(&rig, 300 * MS);
	cr_assert_eq(rig_count(&rig, KCP_CMD_DGRAM), 0);
	cr_assert_eq(kcp_path_stats(rig.path)->expired_messages, 1);
	(void)first;
}

/* What became of a lane's message that nobody acknowledged. */
Test(path_sending, expired_messages_move_the_base)
{
	measure();
	send(KCP_PATH_CTL, 1, 2500); /* 3 pieces, 1 s */
	struct mono sent_at = rig.now;
	rig_run(&rig, 999 * MS);
	cr_assert_eq(rig_count(&rig, KCP_CMD_FWD), 0);
	cr_assert_eq(kcp_path_charged_bytes(rig.path), 1024 + 1024 + 512);
	rig_clear(&rig);
	rig_run(&rig, 30 * MS);
	const struct rig_segment *fwd = rig_find(&rig, KCP_CMD_FWD, 0);
	cr_assert_eq(mono_diff_us(fwd->at, sent_at), 1005 * MS, "5 ms later, alone");
	cr_assert(fwd->head.conv == 1 && fwd->head.una == 3);
	cr_assert_eq(kcp_path_slots(rig.path), 0);
	cr_assert_eq(
		kcp_path_charged_bytes(rig.path), 2560, "not returned before the base is known");
	uint64_t pn = fwd->pn;
	rig_run(&rig, 1000 * MS);
	cr_assert(rig_count(&rig, KCP_CMD_FWD) >= 4, "repeated");
	/* an acknowledgement of something older does not do */
	rig_rack(&rig, pn - 1, pn);
	cr_assert_eq(kcp_path_charged_bytes(rig.path), 2560);
	rig_rack(&rig, pn, pn + 1);
	cr_assert_eq(kcp_path_charged_bytes(rig.path), 0);
	rig_rack(&rig, 0, kcp_path_next_pn(rig.path));
	cr_assert(mono_is_never(kcp_path_next_deadline(rig.path)));
}

Test(path_sending, next_piece_tells_the_base)
{
	measure();
	kcp_path_set_bulk_deadline(rig.path, 300 * MS);
	send(KCP_PATH_BULK, 1, 500);
	rig_run(&rig, 302 * MS);
	rig_clear(&rig);
	send(KCP_PATH_BULK, 1, 500);
	const struct rig_segment *push = rig_find(&rig, KCP_CMD_PUSH, 0);
	cr_assert(push->head.sn == 1 && push->head.una == 1);
	rig_run(&rig, 50 * MS);
	cr_assert_eq(rig_count(&rig, KCP_CMD_FWD), 0, "not within 5 ms");
	rig_rack(&rig, 0, kcp_path_next_pn(rig.path));
	cr_assert_eq(kcp_path_charged_bytes(rig.path), 0);
	rig_run(&rig, 1000 * MS);
	cr_assert_eq(rig_count(&rig, KCP_CMD_FWD), 0);
}

Test(path_sending, base_moves_over_whole_messages_only)
{
	measure();
	uint64_t first = kcp_path_next_pn(rig.path);
	send(KCP_PATH_BULK, 1, 2000); /* first, first + 1 */
	send(KCP_PATH_BULK, 1, 900);
	rig_run(&rig, 10 * MS);
	rig_rack_ranges(&rig, (struct kcp_range[]){{first + 2, first + 3}, {first, first + 1}}, 2);
	rig_clear(&rig);
	send(KCP_PATH_BULK, 1, 900);
	cr_assert_eq(rig_find(&rig, KCP_CMD_PUSH, 0)->head.una, 0);
	cr_assert_eq(kcp_path_charged_bytes(rig.path), 4 * 1024);
	rig_rack(&rig, first, first + 3);
	rig_clear(&rig);
	send(KCP_PATH_BULK, 1, 900);
	cr_assert_eq(rig_find(&rig, KCP_CMD_PUSH, 0)->head.una, 3);
	cr_assert_eq(kcp_path_charged_bytes(rig.path), 2 * 1024);
}

Test(path_sending, grant_bounds_what_is_outstanding)
{
	measure();
	kcp_path_set_bulk_deadline(rig.path, 60000 * MS);
	rig.wnd = 1; /* counts as 64: 256 KiB */
	rig_add(&rig, (struct kcp_segment){.cmd = KCP_CMD_WINS});
	rig_give(&rig);
	cr_assert_eq(kcp_path_grant_bytes(rig.path), 256 << 10);
	uint64_t skipped = rig.pn++;
	rig_dgram(&rig, 1, 0, 1);
	rig_give(&rig);
	unsigned sent = 0;
	for (int tries = 0; tries < 2000; tries++) {
		int err = send(KCP_PATH_BULK, 1, 900);
		sent += err == 0;
		cr_assert(err == 0 || err == -EAGAIN);
		if (err == -EAGAIN && kcp_path_charged_bytes(rig.path) + 1024 > 256 << 10)
			break;
		rig_run(&rig, 5 * MS);
		/* all but the first of the lane, so that the base stays */
		unsigned count = rig.out_count;
		for (unsigned i = 0; i < count; i++) {
			if (rig.out[i].head.cmd == KCP_CMD_PUSH && rig.out[i].head.sn != 0)
				rig_rack(&rig, rig.out[i].pn, rig.out[i].pn + 1);
		}
		rig_clear(&rig);
	}
	cr_assert_eq(sent, 256);
	cr_assert_eq(kcp_path_charged_bytes(rig.path), 256 << 10);
	cr_assert(!kcp_path_room(rig.path, KCP_PATH_BULK, 900, rig.now));
	cr_assert(kcp_path_room(rig.path, KCP_PATH_RT, 900, rig.now), "unordered ones need none");
	cr_assert(!kcp_path_room(rig.path, KCP_PATH_RT, 1001, rig.now));
	/* an older datagram's grant does not count */
	rig.wnd = 4096;
	rig_add(&rig, (struct kcp_segment){.cmd = KCP_CMD_WINS});
	cr_assert_eq(rig_give_as(&rig, skipped), KCP_PATH_OK);
	cr_assert_eq(kcp_path_grant_bytes(rig.path), 256 << 10);
	rig_add(&rig, (struct kcp_segment){.cmd = KCP_CMD_WINS});
	rig_give(&rig);
	cr_assert_eq(kcp_path_grant_bytes(rig.path), 16 << 20);
	rig_run(&rig, 10 * MS);
	cr_assert(kcp_path_room(rig.path, KCP_PATH_BULK, 900, rig.now));
}

Test(path_sending, no_buffer_costs_no_number)
{
	uint64_t pn = kcp_path_next_pn(rig.path);

	rig.no_room = true;
	cr_assert_eq(send(KCP_PATH_BULK, 1, 100), 0);
	cr_assert_eq(kcp_path_control(rig.path, "x", 1), 0);
	kcp_path_flush(rig.path, rig.now);
	cr_assert_eq(kcp_path_next_pn(rig.path), pn);
	rig_run(&rig, 20000 * MS);
	cr_assert(kcp_path_stats(rig.path)->no_buffer < 20);
	rig.no_room = false;
	kcp_path_flush(rig.path, rig.now);
	cr_assert_eq(rig_count(&rig, KCP_CMD_CONTROL), 1);
	cr_assert_eq(rig_count(&rig, KCP_CMD_FWD), 1, "the message is past its time");
	cr_assert_eq(rig.datagrams, 1);
}

Test(path_sending, control_rides_or_goes_alone)
{
	uint8_t long_body[KCP_PATH_CONTROL_MAX_BYTES + 1] = {1};

	cr_assert_eq(kcp_path_control(rig.path, long_body, 0), -EMSGSIZE);
	cr_assert_eq(kcp_path_control(rig.path, long_body, sizeof(long_body)), -EMSGSIZE);
	cr_assert_eq(kcp_path_control(rig.path, "abc", 3), 0);
	cr_assert_eq(kcp_path_control(rig.path, "defg", 4), 0);
	cr_assert(mono_due(kcp_path_next_deadline(rig.path), rig.now));
	send(KCP_PATH_RT, 1, 10);
	cr_assert_eq(rig.datagrams, 1);
	const struct rig_segment *c = rig_find(&rig, KCP_CMD_CONTROL, 1);
	cr_assert(c->head.len == 4 && memcmp(c->body, "defg", 4) == 0);
	cr_assert_eq(kcp_path_control(rig.path, long_body, 1000), 0);
	cr_assert_eq(kcp_path_control(rig.path, long_body, 1000), -ENOBUFS);
	kcp_path_flush(rig.path, rig.now);
	cr_assert_eq(rig.datagrams, 2);
	cr_assert_eq(kcp_path_in_flight(rig.path), 2, "it asks for acknowledgement");
}

Test(path_sending, narrower_path)
{
	measure();
	send(KCP_PATH_BULK, 1, 2000);
	send(KCP_PATH_RT, 1, 900);
	uint64_t next = kcp_path_next_pn(rig.path);
	for (int i = 0; i < 3; i++)
		send(KCP_PATH_ACK, 1, 40);
	rig_clear(&rig);
	cr_assert_eq(kcp_path_set_mtu(rig.path, 700, 600, false), 0);
	rig_run(&rig, 10 * MS);
	rig_rack(&rig, next, next + 3);
	rig_run(&rig, 5 * MS);
	cr_assert_eq(
		rig_count(&rig, KCP_CMD_PUSH) + rig_count(&rig, KCP_CMD_DGRAM), 0, "they wait");
	cr_assert_eq(kcp_path_slots(rig.path), 3);
	cr_assert_eq(send(KCP_PATH_BULK, 2, 600), 0);
	cr_assert_eq(rig_find(&rig, KCP_CMD_PUSH, 0)->head.len, 600, "new ones go");
	rig_clear(&rig);
	cr_assert_eq(kcp_path_set_mtu(rig.path, 1100, 1000, false), 0);
	kcp_path_flush(rig.path, rig.now);
	cr_assert_eq(rig_count(&rig, KCP_CMD_PUSH), 2, "it was as wide as before");
	cr_assert_eq(rig_count(&rig, KCP_CMD_DGRAM), 1);
	rig_run(&rig, 5 * MS); /* for the pace */
	next = kcp_path_next_pn(rig.path);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(send(KCP_PATH_ACK, 1, 40), 0);
	cr_assert_eq(kcp_path_set_mtu(rig.path, 700, 600, true), 0);
	rig_clear(&rig);
	rig_run(&rig, 10 * MS);
	rig_rack(&rig, next, next + 3);
	rig_run(&rig, 10 * MS);
	cr_assert_eq(kcp_path_stats(rig.path)->too_long_messages, 2);
	cr_assert_eq(rig_find(&rig, KCP_CMD_FWD, 0)->head.una, 2);
	cr_assert_eq(kcp_path_set_mtu(rig.path, 511, 400, true), -EINVAL);
	cr_assert_eq(kcp_path_set_mtu(rig.path, 700, 677, true), -EINVAL);
	cr_assert_eq(kcp_path_set_mtu(rig.path, 70000, 600, true), -EINVAL);
}

Test(path_sending, new_address_measures_anew)
{
	measure();
	uint64_t first = kcp_path_next_pn(rig.path);
	send(KCP_PATH_BULK, 1, 500);
	kcp_path_reset_route(rig.path, rig.now);
	cr_assert_eq(kcp_path_srtt_us(rig.path), 0);
	cr_assert_eq(kcp_path_min_rtt_us(rig.path), 0);
	cr_assert_eq(kcp_path_next_pn(rig.path), first + 1);
	rig_run(&rig, 10 * MS);
	rig_rack(&rig, first, first + 1);
	cr_assert_eq(kcp_path_srtt_us(rig.path), 0, "that went the old way");
	cr_assert_eq(kcp_path_slots(rig.path), 0, "and was received");
	send(KCP_PATH_BULK, 1, 500);
	rig_run(&rig, 15 * MS);
	rig_rack(&rig, first, first + 2);
	cr_assert_eq(kcp_path_srtt_us(rig.path), 15 * MS);
	kcp_path_reset_route(rig.path, rig.now);
	kcp_path_hint_rtt(rig.path, 70 * MS);
	cr_assert_eq(kcp_path_srtt_us(rig.path), 70 * MS);
	send(KCP_PATH_BULK, 1, 500);
	rig_run(&rig, 20 * MS);
	rig_rack(&rig, first, first + 3);
	cr_assert_eq(kcp_path_srtt_us(rig.path), 20 * MS, "a hint is no sample");
}

Test(path_sending, reports_of_what_was_never_sent_are_skipped)
{
	send(KCP_PATH_BULK, 1, 500);
	rig_rack(&rig, 0, 2);
	cr_assert_eq(kcp_path_stats(rig.path)->skip_rack_ahead, 1);
	cr_assert_eq(kcp_path_in_flight(rig.path), 1);
	rig_rack(&rig, 0, 1);
	cr_assert_eq(kcp_path_in_flight(rig.path), 0);
	rig_rack(&rig, 0, 1);
	cr_assert_eq(kcp_path_stats(rig.path)->acked_datagrams, 1);
}

Test(path_sending, loss_is_estimated_with_quiet_ones)
{
	measure();
	for (int round = 0; round < 500; round++) {
		uint64_t first = kcp_path_next_pn(rig.path);
		kcp_path_take_pn(rig.path, KCP_PATH_EXTRA_QUIET, 24, rig.now);
		kcp_path_take_pn(rig.path, KCP_PATH_EXTRA_MTU_PROBE, 1000, rig.now);
		for (int i = 0; i < 4; i++)
			kcp_path_take_pn(rig.path, KCP_PATH_EXTRA_ASKS, 100, rig.now);
		rig_run(&rig, 10 * MS);
		rig_rack(&rig, first + 2, first + 6);
	}
	const struct kcp_path_stats *stats = kcp_path_stats(rig.path);
	cr_assert_eq(stats->lost_quiet, 500);
	cr_assert_eq(stats->lost_datagrams, 0, "MTU probes count nowhere");
	uint32_t ppm = kcp_path_loss_ppm(rig.path);
	cr_assert(ppm > 195000 && ppm < 205000, "one in five, not %u", ppm);
}

/* A keepalive with nothing else out takes a number but no memory; one among others is recorded. A
 * record that nobody need answer goes in its time. */
Test(path_sending, keepalives_take_no_memory)
{
	measure();
	kcp_path_take_pn(rig.path, KCP_PATH_EXTRA_QUIET, 100, rig.now); /* a report, say */
	cr_assert(kcp_path_spare(rig.path));
	for (struct mono at = rig.now; !mono_is_never(at); at = kcp_path_trim(rig.path, at)) {
		cr_assert(!mono_before(at, rig.now));
		rig.now = at;
	}
	cr_assert_not(kcp_path_spare(rig.path));
	size_t least = kcp_path_memory_bytes(rig.path);
	uint64_t next = kcp_path_next_pn(rig.path);
	for (uint64_t i = 0; i < 200; i++) {
		cr_assert_eq(
			kcp_path_take_pn(rig.path, KCP_PATH_EXTRA_QUIET, 0, rig.now), next + i);
		cr_assert_eq(kcp_path_memory_bytes(rig.path), least);
		cr_assert(mono_is_never(kcp_path_next_deadline(rig.path)));
		rig.now = mono_add_us(rig.now, 25000 * MS);
	}
	/* Their report says nothing new, and harms nothing. */
	rig_rack(&rig, next + 100, next + 200);
	cr_assert_eq(kcp_path_memory_bytes(rig.path), least);
	cr_assert_eq(kcp_path_loss_ppm(rig.path), 0);
	/* With a datagram in flight the number between is followed, lost and counted. */
	kcp_path_take_pn(rig.path, KCP_PATH_EXTRA_ASKS, 100, rig.now);
	kcp_path_take_pn(rig.path, KCP_PATH_EXTRA_QUIET, 0, rig.now);
	for (int i = 0; i < 3; i++)
		kcp_path_take_pn(rig.path, KCP_PATH_EXTRA_ASKS, 100, rig.now);
	rig_run(&rig, MS);
	rig_rack(&rig, next + 202, next + 205);
	cr_assert_eq(kcp_path_stats(rig.path)->lost_quiet, 1);
	cr_assert_eq(kcp_path_stats(rig.path)->lost_datagrams, 1);
}

/* A base that nobody hears rests after a while; with its lane goes what it was charged. */
Test(path_sending, bases_that_nobody_hears_rest)
{
	measure();
	send(KCP_PATH_CTL, 1, 2500);
	rig_run(&rig, 200000 * MS);
	cr_assert(mono_is_never(kcp_path_next_deadline(rig.path)));
	unsigned told = rig_count(&rig, KCP_CMD_FWD);
	cr_assert(told >= 60 && told <= 70, "%u", told);
	cr_assert_eq(kcp_path_charged_bytes(rig.path), 2560);
	/* news of the peer: it is told again */
	rig_clear(&rig);
	rig_add(&rig, (struct kcp_segment){.cmd = KCP_CMD_WINS});
	rig_give(&rig);
	cr_assert_eq(rig_count(&rig, KCP_CMD_FWD), 1);
	/* however long that takes, the lane waits for it: the peer may hold pieces that only this base gives up */
	rig_run(&rig, 200000 * MS);
	kcp_path_trim(rig.path, rig.now);
	cr_assert_eq(kcp_path_tx_lanes(rig.path), 1);
	rig_add(&rig, (struct kcp_segment){.cmd = KCP_CMD_WINS});
	rig_give(&rig);
	rig_rack(&rig, 0, kcp_path_next_pn(rig.path));
	cr_assert_eq(kcp_path_charged_bytes(rig.path), 0);
	rig.now = mono_add_us(rig.now, 100000 * MS);
	kcp_path_trim(rig.path, rig.now);
	cr_assert_eq(kcp_path_tx_lanes(rig.path), 0);
	cr_assert(kcp_path_idle(rig.path));
}

Test(path_sending, lanes_made_anew_begin_above_all_that_were_freed)
{
	measure();
	send_some(5, 1, 900);
	send_some(2, 2, 900);
	for (int i = 0; i < 9; i++)
		send(KCP_PATH_RT, 3, 10);
	rig_rack(&rig, 0, kcp_path_next_pn(rig.path));
	rig.now = mono_add_us(rig.now, 89000 * MS);
	kcp_path_trim(rig.path, rig.now);
	cr_assert_eq(kcp_path_tx_lanes(rig.path), 4);
	rig.now = mono_add_us(rig.now, 2000 * MS);
	kcp_path_trim(rig.path, rig.now);
	cr_assert_eq(kcp_path_tx_lanes(rig.path), 0);
	rig_clear(&rig);
	send(KCP_PATH_BULK, 2, 10);
	send(KCP_PATH_RT, 5, 10);
	cr_assert(rig_find(&rig, KCP_CMD_PUSH, 0)->head.sn == 9);
	cr_assert(rig_find(&rig, KCP_CMD_PUSH, 0)->head.una == 9);
	cr_assert(rig_find(&rig, KCP_CMD_DGRAM, 0)->head.sn == 9);
	kcp_path_restart(rig.path, 1 << 20, 1 << 20);
	rig_run(&rig, 10 * MS);
	send_some(3, 1, 10);
	rig_rack(&rig, 0, 3);
	rig.now = mono_add_us(rig.now, 100000 * MS);
	kcp_path_trim(rig.path, rig.now);
	rig_clear(&rig);
	send(KCP_PATH_BULK, 2, 10);
	cr_assert(rig_find(&rig, KCP_CMD_PUSH, 0)->head.sn == 3, "of this instance");
}

Test(path_sending, restart_begins_with_nothing)
{
	measure();
	kcp_path_set_bulk_deadline(rig.path, 100 * MS);
	send(KCP_PATH_BULK, 1, 5000);
	send(KCP_PATH_RT, 1, 500);
	rig_run(&rig, 200 * MS);
	send(KCP_PATH_BULK, 2, 5000);
	rig_push(&rig, 3, 0x80, 0, 0, 100);
	rig_push(&rig, 3, 0x80, 5, 0, 100);
	rig_give(&rig);
	cr_assert_eq(kcp_path_control(rig.path, "abc", 3), 0);
	kcp_path_wask(rig.path);
	kcp_path_restart(rig.path, 1 << 20, 1 << 20);
	cr_assert_eq(rig.pool.slots_used, 0);
	cr_assert(kcp_path_idle(rig.path) && mono_is_never(kcp_path_next_deadline(rig.path)));
	cr_assert_eq(kcp_path_next_pn(rig.path), 0);
	cr_assert_eq(kcp_path_charged_bytes(rig.path), 0);
	cr_assert(mono_is_never(rig.path->sent.unanswered_since));
	uint64_t largest;
	cr_assert(!kcp_path_largest_pn(rig.path, &largest));
	rig_clear(&rig);
	rig_run(&rig, 10 * MS);
	cr_assert_eq(send(KCP_PATH_BULK, 1, 100), 0);
	cr_assert_eq(rig.out_count, 1);
	cr_assert(rig.out[0].pn == 0 && rig.out[0].head.sn == 0 && rig.out[0].head.una == 0);
	uint8_t body[8];
	rig.pn = 0;
	rig_push(&rig, 3, 0x80, 0, 0, 33);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 33);
}

/* What follows on the same way need not begin with nothing, but with half of what was. */
Test(path_sending, what_is_remembered_is_a_start)
{
	struct kcp_lt_memory nothing, memory;

	kcp_path_remember(rig.path, &nothing);
	cr_assert_eq(nothing.rate, 0);
	for (int i = 0; i < 40; i++) {
		uint64_t first = kcp_path_next_pn(rig.path);
		send_some(8, 1, 1000);
		rig_run(&rig, 20 * MS);
		rig_rack(&rig, first, kcp_path_next_pn(rig.path));
	}
	uint64_t rate_bps = kcp_path_rate_bps(rig.path);
	cr_assert_gt(rate_bps, 1000000);
	kcp_path_remember(rig.path, &memory);
	cr_assert_eq(memory.rate, rate_bps / 8);
	kcp_path_resume(rig.path, &nothing, rig.now);
	cr_assert_eq(kcp_path_rate_bps(rig.path), rate_bps, "what is known is known");
	kcp_path_restart(rig.path, 1 << 20, 1 << 20);
	kcp_path_resume(rig.path, &nothing, rig.now);
	cr_assert_eq(kcp_path_rate_bps(rig.path), 0);
	kcp_path_resume(rig.path, &memory, mono_add_us(memory.at, KCP_LT_MEMORY_US));
	cr_assert_eq(kcp_path_rate_bps(rig.path), 0, "ten minutes old");
	kcp_path_resume(rig.path, &memory, mono_add_us(memory.at, KCP_LT_MEMORY_US - 1));
	cr_assert_eq(kcp_path_rate_bps(rig.path), memory.rate / 2 * 8);
	cr_assert_eq(kcp_path_min_rtt_us(rig.path), memory.min_rtt_us);
	struct kcp_lt_memory again;
	kcp_path_remember(rig.path, &again);
	cr_assert_eq(again.rate, memory.rate / 2 * 2, "halved once, however often it begins");
	kcp_path_reset_route(rig.path, rig.now);
	cr_assert_eq(kcp_path_rate_bps(rig.path), 0);
	cr_assert_eq(kcp_path_min_rtt_us(rig.path), 0);
}

Test(path_sending, idle_costs_next_to_nothing)
{
	measure();
	for (uint32_t lane = 0; lane < 300; lane++) {
		cr_assert_eq(send(KCP_PATH_BULK, lane, 100), 0);
		cr_assert_eq(send(KCP_PATH_RT, lane, 100), 0);
		rig_push(&rig, lane, 0x80, 0, 0, 10);
		rig_dgram(&rig, lane, 0, 10);
		rig_give(&rig);
		rig_run(&rig, 5 * MS);
		rig_rack(&rig, 0, kcp_path_next_pn(rig.path));
	}
	uint8_t body[8];
	while (rig_read(&rig, body) > 0)
		;
	rig_run(&rig, 10 * MS);
	cr_assert(mono_is_never(kcp_path_next_deadline(rig.path)));
	uint64_t next = kcp_path_next_pn(rig.path);
	struct mono again = kcp_path_trim(rig.path, rig.now);
	cr_assert(!mono_is_never(again));
	while (!mono_is_never(again)) {
		cr_assert(mono_before(rig.now, again));
		rig.now = again;
		again = kcp_path_trim(rig.path, rig.now);
	}
	cr_assert_eq(kcp_path_tx_lanes(rig.path) + kcp_path_rx_lanes(rig.path), 0);
	cr_assert(kcp_path_memory_bytes(rig.path) <= 3072, "%zu bytes",
		kcp_path_memory_bytes(rig.path));
	cr_assert_eq(kcp_path_next_pn(rig.path), next);
	/* lanes made anew begin above all that were freed */
	rig_clear(&rig);
	send(KCP_PATH_BULK, 7, 100);
	send(KCP_PATH_RT, 7, 100);
	cr_assert_eq(rig_find(&rig, KCP_CMD_PUSH, 0)->head.sn, 1);
	cr_assert_eq(rig_find(&rig, KCP_CMD_PUSH, 0)->head.una, 1);
	cr_assert_eq(rig_find(&rig, KCP_CMD_DGRAM, 0)->head.sn, 1);
}
