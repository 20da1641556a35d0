/* What a path makes of datagrams, good and bad: taken, skipped, dropped, reported, delivered. */
#include "path_rig.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/uio.h>

static struct rig rig;
static uint8_t body[8];

static void open_rig(void)
{
	struct kcp_path_config config = rig_config();

	rig_open(&rig, &config);
}

static void close_rig(void)
{
	rig_close(&rig);
}

TestSuite(path_receive, .init = open_rig, .fini = close_rig);

/* Whether `pn` is in the newest report. */
static bool reported(uint64_t pn)
{
	struct kcp_rack rack;
	const struct rig_segment *last = NULL;
	static uint8_t whole[RIG_BODY_MAX];

	rig_run(&rig, 10000);
	for (unsigned i = 0; i < rig.out_count; i++) {
		if (rig.out[i].head.cmd == KCP_CMD_RACK)
			last = &rig.out[i];
	}
	if (!last)
		return false;
	cr_assert(last->head.len <= sizeof(last->body), "keep reports short in these tests");
	memcpy(whole, last->body, last->head.len);
	cr_assert(kcp_rack_read(whole, last->head.len, &rack));
	for (unsigned i = 0; i < rack.received_count; i++) {
		if (pn >= rack.received[i].first && pn < rack.received[i].end)
			return true;
	}
	return false;
}

Test(path_receive, pieces_make_messages_in_order)
{
	rig_push(&rig, 3, 0x00, 2, 0, 30); /* the end first */
	cr_assert_eq(rig_give(&rig), KCP_PATH_OK);
	rig_push(&rig, 3, 0x80, 3, 0, 40); /* and a later message */
	cr_assert_eq(rig_give(&rig), KCP_PATH_OK);
	cr_assert_eq(rig_read(&rig, body), 0);
	rig_push(&rig, 3, 0x82, 0, 0, 10);
	rig_push(&rig, 3, 0x01, 1, 0, 20);
	cr_assert_eq(rig_give(&rig), KCP_PATH_OK);
	cr_assert_eq(rig_read(&rig, body), 60);
	cr_assert(body[0] == 0 && body[1] == 1 && body[2] == 2);
	cr_assert_eq(rig_read(&rig, body), 40);
	cr_assert_eq(body[0], 3);
	cr_assert_eq(rig_read(&rig, body), 0);
	cr_assert(reported(0) && reported(1) && reported(2));
}

Test(path_receive, lanes_do_not_wait_for_each_other)
{
	rig_push(&rig, 1, 0x80, 1, 0, 10);
	rig_push(&rig, 2, 0x80, 0, 0, 20);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 20);
	cr_assert_eq(rig_read(&rig, body), 0);
}

Test(path_receive, base_delivers_what_is_whole_and_discards_the_rest)
{
	rig_push(&rig, 1, 0x80, 1, 0, 11); /* whole, behind a hole */
	rig_push(&rig, 1, 0x81, 2, 0, 12); /* half */
	rig_push(&rig, 1, 0x80, 4, 0, 14); /* whole, behind the half */
	rig_push(&rig, 1, 0x81, 5, 0, 15);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 0);
	rig_add(&rig, (struct kcp_segment){.conv = 1, .cmd = KCP_CMD_FWD, .una = 5});
	cr_assert_eq(rig_give(&rig), KCP_PATH_OK);
	cr_assert_eq(rig_read(&rig, body), 11);
	cr_assert_eq(rig_read(&rig, body), 14);
	cr_assert_eq(rig_read(&rig, body), 0, "the message at the base is not whole");
	cr_assert_eq(kcp_path_stats(rig.path)->discarded_messages, 1);
	/* below the base: a duplicate, and reported */
	rig_push(&rig, 1, 0x80, 0, 0, 10);
	cr_assert_eq(rig_give(&rig), KCP_PATH_OK);
	cr_assert_eq(rig_read(&rig, body), 0);
	cr_assert(reported(2));
	cr_assert_eq(kcp_path_stats(rig.path)->repeated_pieces, 1);
	rig_push(&rig, 1, 0x00, 6, 5, 16);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 31);
}

Test(path_receive, state_begins_at_the_base_of_what_comes)
{
	rig_push(&rig, 9, 0x80, 1000001, 1000000, 10);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 0);
	rig_push(&rig, 9, 0x80, 1000000, 1000000, 20);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 20);
	cr_assert_eq(rig_read(&rig, body), 10);
	/* a base can make a lane as well: what was overtaken by it does not block it */
	rig_add(&rig, (struct kcp_segment){.conv = 10, .cmd = KCP_CMD_FWD, .una = 7});
	rig_give(&rig);
	rig_push(&rig, 10, 0x80, 7, 5, 30);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 30);
}

Test(path_receive, numbers_wrap)
{
	rig_push(&rig, 1, 0x81, 0xffffffff, 0xfffffffe, 10);
	rig_push(&rig, 1, 0x00, 0, 0xfffffffe, 20);
	rig_push(&rig, 1, 0x80, 0xfffffffe, 0xfffffffe, 5);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 5);
	cr_assert_eq(rig_read(&rig, body), 30);
	rig_add(&rig, (struct kcp_segment){.conv = 1, .cmd = KCP_CMD_FWD, .una = 0xfffffff0});
	rig_give(&rig);
	rig_push(&rig, 1, 0x80, 1, 1, 7);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 7, "an old base moves nothing");
}

Test(path_receive, pieces_that_do_not_count_down_are_dropped)
{
	rig_push(&rig, 1, 0x82, 0, 0, 10);
	rig_push(&rig, 1, 0x00, 1, 0, 10);
	rig_push(&rig, 1, 0x80, 2, 0, 20);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 20);
	rig_push(&rig, 1, 0x01, 3, 0, 10); /* no beginning */
	rig_push(&rig, 1, 0x81, 4, 0, 10);
	rig_push(&rig, 1, 0x81, 5, 0, 11); /* begins anew in the middle */
	rig_push(&rig, 1, 0x00, 6, 0, 11);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 22);
	cr_assert_eq(rig_read(&rig, body), 0);
	cr_assert(kcp_path_stats(rig.path)->broken_messages >= 3);
}

Test(path_receive, base_inside_a_message_cuts_nothing_out_of_it)
{
	rig_push(&rig, 1, 0x82, 0, 0, 10);
	rig_push(&rig, 1, 0x01, 1, 0, 10);
	rig_give(&rig);
	rig_add(&rig, (struct kcp_segment){.conv = 1, .cmd = KCP_CMD_FWD, .una = 1});
	rig_push(&rig, 1, 0x00, 2, 1, 10);
	rig_push(&rig, 1, 0x80, 3, 1, 33);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 33);
	cr_assert_eq(rig_read(&rig, body), 0);
}

Test(path_receive, messages_longer_than_agreed_are_dropped)
{
	kcp_path_set_message_max(rig.path, 2000, 2000);
	rig_push(&rig, 1, 0x81, 0, 0, 1400);
	rig_give(&rig);
	rig_push(&rig, 1, 0x00, 1, 0, 601);
	rig_give(&rig);
	rig_push(&rig, 1, 0x81, 2, 0, 1400);
	rig_give(&rig);
	rig_push(&rig, 1, 0x00, 3, 0, 600);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 2000);
	kcp_path_set_message_max(rig.path, 500, 500);
	rig_dgram(&rig, 1, 0, 501);
	rig_dgram(&rig, 1, 1, 500);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 500);
	cr_assert_eq(kcp_path_stats(rig.path)->broken_messages, 2);
}

Test(path_receive, unordered_messages_come_once)
{
	rig_dgram(&rig, 5, 100, 10);
	rig_dgram(&rig, 5, 102, 12);
	rig_dgram(&rig, 6, 100, 20);
	rig_give(&rig);
	rig_dgram(&rig, 5, 101, 11);
	rig_dgram(&rig, 5, 100, 10);
	rig_give(&rig);
	rig_dgram(&rig, 5, 99, 9); /* overtaken by the first of its flow */
	rig_give(&rig);
	static const size_t want[] = {10, 12, 20, 11, 9, 0};
	for (size_t i = 0; i < 6; i++)
		cr_assert_eq(rig_read(&rig, body), want[i]);
	cr_assert_eq(kcp_path_stats(rig.path)->repeated_dgrams, 1);
	cr_assert(reported(1), "a duplicate is here, too");
	rig_dgram(&rig, 5, 102 + 1024, 1);
	rig_give(&rig);
	rig_dgram(&rig, 5, 103, 3);
	rig_dgram(&rig, 5, 102, 2); /* too old to say */
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 1);
	cr_assert_eq(rig_read(&rig, body), 3);
	cr_assert_eq(rig_read(&rig, body), 0);
	/* the window's bits are used again */
	rig_dgram(&rig, 5, 102 + 1024 + 1000, 1);
	rig_dgram(&rig, 5, 102 + 1024 + 1, 4);
	rig_dgram(&rig, 5, 103 + 1024, 5); /* the same */
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 1);
	cr_assert_eq(rig_read(&rig, body), 4);
	cr_assert_eq(rig_read(&rig, body), 0);
}

struct bad {
	const char *why;
	struct kcp_segment segment;
	bool reported;
};

/* Each beside a good one, which must be taken. */
Test(path_receive, what_makes_no_sense_is_skipped_alone)
{
	static const struct bad rows[] = {
		{"unknown command", {.cmd = 95, .len = 3}, true},
		{"ACK of the other wire", {.cmd = KCP_CMD_ACK}, true},
		{"PUSH beyond the lanes",
			{.cmd = KCP_CMD_PUSH, .conv = 4096, .frg = 0x80, .len = 1}, false},
		{"empty PUSH", {.cmd = KCP_CMD_PUSH, .frg = 0x80}, false},
		{"PUSH below its base",
			{.cmd = KCP_CMD_PUSH, .frg = 0x80, .sn = 4, .una = 5, .len = 1}, false},
		{"PUSH too far ahead", {.cmd = KCP_CMD_PUSH, .frg = 0x80, .sn = 32768, .len = 1},
			false},
		{"PUSH farther than granted",
			{.cmd = KCP_CMD_PUSH, .frg = 0x80, .sn = 2048, .len = 1}, false},
		{"DGRAM beyond the flows",
			{.cmd = KCP_CMD_DGRAM, .conv = 4096, .frg = 0x80, .len = 1}, false},
		{"empty DGRAM", {.cmd = KCP_CMD_DGRAM, .frg = 0x80}, false},
		{"DGRAM in pieces", {.cmd = KCP_CMD_DGRAM, .frg = 0x81, .len = 1}, false},
		{"DGRAM without the mark", {.cmd = KCP_CMD_DGRAM, .frg = 0, .len = 1}, false},
		{"FWD beyond the lanes", {.cmd = KCP_CMD_FWD, .conv = 4096}, true},
		{"FWD with a body", {.cmd = KCP_CMD_FWD, .conv = 1, .len = 1}, true},
		{"WASK with a body", {.cmd = KCP_CMD_WASK, .len = 1}, true},
		{"WINS with a body", {.cmd = KCP_CMD_WINS, .len = 1}, true},
		{"PROBE of another kind", {.cmd = KCP_CMD_PROBE, .sn = 2, .len = 1}, true},
		{"RACK without a body", {.cmd = KCP_CMD_RACK}, true},
	};

	for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t pn = rig.pn;
		const struct kcp_path_stats *stats = kcp_path_stats(rig.path);
		uint64_t skipped = stats->skip_command + stats->skip_lane + stats->skip_field +
				   stats->skip_sn + stats->skip_rack;
		rig_clear(&rig);
		rig_dgram(&rig, 77, i * 2, 10);
		rig_add(&rig, rows[i].segment);
		rig_dgram(&rig, 77, i * 2 + 1, 11);
		cr_assert_eq(rig_give(&rig), KCP_PATH_OK, "%s", rows[i].why);
		cr_assert_eq(rig_read(&rig, body), 10, "%s", rows[i].why);
		cr_assert_eq(rig_read(&rig, body), 11, "%s", rows[i].why);
		cr_assert_eq(rig_read(&rig, body), 0, "%s", rows[i].why);
		cr_assert_eq(stats->skip_command + stats->skip_lane + stats->skip_field +
				     stats->skip_sn + stats->skip_rack,
			skipped + 1, "%s is not counted", rows[i].why);
		cr_assert_eq(reported(pn), rows[i].reported, "%s", rows[i].why);
	}
}

Test(path_receive, broken_datagrams_have_no_effect)
{
	rig_dgram(&rig, 1, 0, 10);
	rig.in_len--;
	cr_assert_eq(rig_give(&rig), KCP_PATH_BAD_LENGTH);
	rig_dgram(&rig, 1, 0, 10);
	rig.in_len += 5; /* not another header */
	cr_assert_eq(rig_give(&rig), KCP_PATH_BAD_LENGTH);
	rig_dgram(&rig, 1, 0, 10);
	rig_add(&rig, (struct kcp_segment){
			      .cmd = KCP_CMD_CONTROL, .len = 1, .data = (const uint8_t *)"\xff"});
	cr_assert_eq(rig_give(&rig), KCP_PATH_BAD_CONTROL);
	cr_assert_eq(rig_read(&rig, body), 0);
	cr_assert_eq(rig.controls, 0);
	cr_assert(!reported(0) && !reported(1) && !reported(2));
	cr_assert_eq(kcp_path_stats(rig.path)->input[KCP_PATH_BAD_LENGTH], 2);
	cr_assert_eq(kcp_path_stats(rig.path)->input[KCP_PATH_BAD_CONTROL], 1);
	rig_add(&rig, (struct kcp_segment){
			      .cmd = KCP_CMD_CONTROL, .len = 1, .data = (const uint8_t *)"\x01"});
	cr_assert_eq(rig_give(&rig), KCP_PATH_OK);
	cr_assert_eq(rig.controls, 1);
	cr_assert_eq(rig.control_pn, 3);
}

Test(path_receive, a_number_is_taken_once)
{
	rig_dgram(&rig, 1, 0, 10);
	cr_assert_eq(rig_give_as(&rig, 7), KCP_PATH_OK);
	rig_dgram(&rig, 1, 1, 11);
	cr_assert_eq(rig_give_as(&rig, 7), KCP_PATH_ALREADY);
	cr_assert_eq(rig_read(&rig, body), 10);
	cr_assert_eq(rig_read(&rig, body), 0);
}

Test(path_receive, rebuilt_datagrams_bring_data_only)
{
	uint8_t bytes[200];
	struct kcp_segment push = {
		.cmd = KCP_CMD_PUSH, .conv = 1, .frg = 0x80, .wnd = 999, .len = 5};
	struct kcp_segment control = {.cmd = KCP_CMD_CONTROL, .len = 1};

	memset(bytes, 1, sizeof(bytes));
	kcp_segment_write(bytes, &push);
	kcp_segment_write(bytes + 29, &control);
	rig_dgram(&rig, 1, 0, 10);
	rig_give_as(&rig, 4);
	cr_assert_eq(rig_read(&rig, body), 10);
	cr_assert_eq(kcp_path_input(rig.path, 9, NULL, 0, false, false, rig.now), KCP_PATH_OK);
	uint64_t grant = kcp_path_grant_bytes(rig.path);
	cr_assert_eq(kcp_path_input(rig.path, 6, bytes, 54, true, true, rig.now), KCP_PATH_OK);
	cr_assert_eq(rig_read(&rig, body), 5);
	cr_assert_eq(rig.controls, 0);
	cr_assert_eq(kcp_path_grant_bytes(rig.path), grant, "its grant is stale");
	rig_clear(&rig);
	kcp_path_input_done(rig.path, rig.now);
	rig_run(&rig, 2000);
	const struct rig_segment *rack = rig_find(&rig, KCP_CMD_RACK, 0);
	struct kcp_rack got;
	cr_assert(kcp_rack_read(rack->body, rack->head.len, &got));
	cr_assert(got.rebuilt_count == 1 && got.rebuilt[0].first == 6 && got.rebuilt[0].end == 7);
	cr_assert_eq(got.ce, 0, "a rebuilt datagram had no outer header");
	/* it arrives after all: moved, not read again */
	rig_push(&rig, 1, 0x80, 1, 0, 6);
	cr_assert_eq(rig_give_as(&rig, 6), KCP_PATH_ALREADY);
	cr_assert_eq(rig_read(&rig, body), 0);
	cr_assert(reported(6));
	cr_assert_eq(
		kcp_path_input(rig.path, 4, bytes, 54, false, true, rig.now), KCP_PATH_ALREADY);
}

Test(path_receive, ce_is_counted_and_told)
{
	struct kcp_rack got;

	for (uint64_t pn = 0; pn < 5; pn++)
		kcp_path_input(rig.path, pn, NULL, 0, pn < 3, false, rig.now);
	rig.pn = 5;
	rig_dgram(&rig, 1, 0, 10);
	rig_give(&rig);
	rig_run(&rig, 6000);
	const struct rig_segment *rack = rig_find(&rig, KCP_CMD_RACK, 0);
	cr_assert(kcp_rack_read(rack->body, rack->head.len, &got));
	cr_assert_eq(got.ce, 3);
	cr_assert(got.received_count == 1 && got.received[0].first == 0, "keepalives are reported");
}

Test(path_receive, acknowledgements_of_acknowledgements_never_start)
{
	struct kcp_range range = {0, 1};

	kcp_path_take_pn(rig.path, KCP_PATH_EXTRA_QUIET, 0, rig.now);
	rig_rack_ranges(&rig, &range, 1);
	rig_add(&rig, (struct kcp_segment){.cmd = KCP_CMD_WINS});
	rig_add(&rig, (struct kcp_segment){.cmd = KCP_CMD_PROBE, .len = 100});
	rig_give(&rig);
	kcp_path_input(rig.path, rig.pn++, NULL, 0, false, false, rig.now);
	kcp_path_input_done(rig.path, rig.now);
	cr_assert(mono_is_never(kcp_path_next_deadline(rig.path)));
	rig_run(&rig, 1000000);
	cr_assert_eq(rig.datagrams, 0);
	rig_add(&rig, (struct kcp_segment){.cmd = KCP_CMD_PROBE, .sn = 1});
	rig_give(&rig);
	rig_run(&rig, 6000);
	cr_assert_eq(rig_count(&rig, KCP_CMD_RACK), 1);
	cr_assert(mono_is_never(kcp_path_next_deadline(rig.path)));
}

Test(path_receive, wask_is_answered)
{
	rig_add(&rig, (struct kcp_segment){.cmd = KCP_CMD_WASK});
	rig_give(&rig);
	cr_assert_eq(rig_count(&rig, KCP_CMD_WINS), 1);
	cr_assert_eq(rig_find(&rig, KCP_CMD_WINS, 0)->head.wnd, (1 << 20) / 4096);
}

/*
 * A lane that was idle for a minute was freed by the sender, too, also if nobody freed it here, and may begin anew anywhere.
 * But a late duplicate is none the less a duplicate.
 */
Test(path_receive, lanes_past_their_time_begin_anew)
{
	rig_push(&rig, 2, 0x80, 1000000, 1000000, 20);
	rig_dgram(&rig, 2, 1000000, 21);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 20);
	cr_assert_eq(rig_read(&rig, body), 21);
	rig.now = mono_add_us(rig.now, 59000000);
	rig_push(&rig, 2, 0x80, 5, 5, 22);
	rig_dgram(&rig, 2, 5, 23);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 0, "far back, but the lane is alive");
	rig.now = mono_add_us(rig.now, 61000000);
	rig_push(&rig, 2, 0x80, 1000000, 1000000, 24);
	rig_dgram(&rig, 2, 1000000, 25);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 0, "late");
	rig.now = mono_add_us(rig.now, 61000000);
	rig_push(&rig, 2, 0x80, 5, 5, 26);
	rig_dgram(&rig, 2, 5, 27);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 26);
	cr_assert_eq(rig_read(&rig, body), 27);
}

/* What was reported is given up by the peer's base alone, however late that comes. */
Test(path_receive, lanes_that_hold_pieces_stay)
{
	rig_push(&rig, 1, 0x80, 1, 0, 10);
	rig_push(&rig, 2, 0x80, 0, 0, 10);
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 10);
	rig.now = mono_add_us(rig.now, 100000000);
	kcp_path_trim(rig.path, rig.now);
	cr_assert_eq(kcp_path_rx_lanes(rig.path), 1);
	rig_add(&rig, (struct kcp_segment){.conv = 1, .cmd = KCP_CMD_FWD, .una = 2});
	rig_give(&rig);
	cr_assert_eq(rig_read(&rig, body), 10);
	rig.now = mono_add_us(rig.now, 100000000);
	kcp_path_trim(rig.path, rig.now);
	cr_assert_eq(kcp_path_rx_lanes(rig.path), 0);
}

Test(path_receive, one_report_of_a_datagram_counts)
{
	static const uint8_t first[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0};
	static const uint8_t second[] = {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0};

	kcp_path_take_pn(rig.path, KCP_PATH_EXTRA_ASKS, 40, rig.now);
	kcp_path_take_pn(rig.path, KCP_PATH_EXTRA_ASKS, 40, rig.now);
	rig_add(&rig,
		(struct kcp_segment){.cmd = KCP_CMD_RACK, .len = sizeof(first), .data = first});
	rig_add(&rig,
		(struct kcp_segment){.cmd = KCP_CMD_RACK, .len = sizeof(second), .data = second});
	rig_give(&rig);
	cr_assert_eq(kcp_path_in_flight(rig.path), 1);
	cr_assert_eq(kcp_path_stats(rig.path)->skip_rack, 1);
	cr_assert_eq(kcp_path_stats(rig.path)->racks_received, 1);
}

/* Answers without a session to send them on are forgotten; the path is silent then. */
Test(path_receive, hush)
{
	rig.no_room = true;
	kcp_path_set_bulk_deadline(rig.path, 100000);
	cr_assert_eq(kcp_path_send(rig.path, KCP_PATH_BULK, 1, "x", 1, rig.now), 0);
	rig_run(&rig, 1000000); /* it expired: its base must be told */
	rig_dgram(&rig, 1, 0, 10);
	rig_add(&rig, (struct kcp_segment){.cmd = KCP_CMD_WASK});
	rig_give(&rig);
	cr_assert_eq(kcp_path_control(rig.path, "x", 1), 0);
	kcp_path_wask(rig.path);
	cr_assert_eq(rig_read(&rig, body), 10);
	cr_assert(!mono_is_never(kcp_path_next_deadline(rig.path)));
	kcp_path_hush(rig.path);
	cr_assert(mono_is_never(kcp_path_next_deadline(rig.path)));
	/* there is a session again: what came is still reported with the next that asks, and the base is told */
	rig.no_room = false;
	kcp_path_flush(rig.path, rig.now);
	cr_assert_eq(rig.datagrams, 0);
	rig_dgram(&rig, 1, 1, 10);
	rig_give(&rig);
	cr_assert(reported(0) && reported(1));
	cr_assert_eq(rig_count(&rig, KCP_CMD_FWD), 1);
	cr_assert_eq(rig_count(&rig, KCP_CMD_CONTROL) + rig_count(&rig, KCP_CMD_WASK), 0);
}
