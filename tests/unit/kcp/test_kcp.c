/* The conversation's promises: deadlines, bounds, what hostile input changes (nothing), closing, memory. */
#include "core/err.h"
#include "core/pool.h"
#include "kcp/kcp.h"
#include "link.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

enum {
	CONV = 0x11223344,
};

static struct pool pool;
static uint8_t room[1600];
static uint8_t out[64][1600];
static size_t out_len[64];
static unsigned out_flags[64];
static size_t out_count;
static bool no_room;

static uint8_t *begin(void *ctx)
{
	return no_room ? NULL : room;
}

static void end(void *ctx, size_t len, unsigned flags)
{
	if (out_count < 64) {
		memcpy(out[out_count], room, len);
		out_len[out_count] = len;
		out_flags[out_count] = flags;
	}
	out_count++;
}

static struct kcp *open_with(struct kcp_config config)
{
	struct kcp_output output = {.begin = begin, .end = end};
	struct kcp *kcp;

	out_count = 0;
	no_room = false;
	pool_init(&pool, KCP_PEER_MTU_BYTES - KCP_OVERHEAD_BYTES, 100000);
	config.pool = &pool;
	cr_assert_eq(kcp_new(&config, &output, &kcp), 0);
	return kcp;
}

static void shut(struct kcp *kcp)
{
	kcp_free(kcp);
	cr_assert_eq(pool.slots_used, 0);
	pool_fini(&pool);
}

static struct mono at(int64_t ms)
{
	return mono_at_ms(ms);
}

/* Hands in one segment. */
static enum kcp_input_verdict feed(struct kcp *kcp, struct kcp_segment segment, int64_t ms)
{
	static uint8_t bytes[2000];
	static const uint8_t zeros[1500];

	segment.conv = CONV;
	uint8_t *body = kcp_segment_write(bytes, &segment);
	memcpy(body, segment.data ? segment.data : zeros, segment.len);
	return kcp_input(kcp, bytes, KCP_OVERHEAD_BYTES + segment.len, false, at(ms));
}

static struct kcp_segment sent(size_t datagram)
{
	struct kcp_segment segment;

	cr_assert(datagram < out_count);
	cr_assert(kcp_segment_peek(out[datagram], out_len[datagram], &segment));
	return segment;
}

Test(kcp, refuses_a_bad_configuration)
{
	struct kcp_output output = {.begin = begin, .end = end};
	struct kcp *kcp = NULL;

	pool_init(&pool, 1476, 10);
	for (int i = 0; i < 9; i++) {
		struct kcp_config config = link_kcp_config();
		config.pool = i == 0 ? NULL : &pool;
		config.mtu_bytes = i == 1 ? 49 : i == 2 ? 1501 : 1350;
		config.snd_wnd = i == 3 ? 0 : 1024;
		config.rcv_wnd = i == 4 ? KCP_WND_MAX + 1 : 1024;
		config.send_queue_max_segments = i == 5 ? 0 : i == 6 ? KCP_SEND_QUEUE_MAX + 1 : 10;
		config.dead_link_us = i == 7 ? -1 : 0;
		cr_assert_eq(kcp_new(&config, &output, &kcp), i == 8 ? 0 : -EINVAL, "row %d", i);
	}
	kcp_free(kcp);
	kcp_free(NULL);
	pool_fini(&pool);
}

Test(kcp, idle_has_no_deadline_and_little_memory)
{
	static struct link link;
	struct link_config path = {.delay_us = 1000};
	struct kcp_config config = link_kcp_config();
	uint8_t bytes[100] = {0};
	size_t len;

	link_open(&link, &path, &config, &config);
	cr_assert(mono_is_never(link_next(&link)));
	cr_assert(kcp_memory_bytes(link.a.kcp) <= 2048, "%zu", kcp_memory_bytes(link.a.kcp));
	cr_assert_eq(kcp_send(link.a.kcp, bytes, sizeof(bytes), link.now), 0);
	kcp_flush(link.a.kcp, false, link.now);
	cr_assert(!mono_is_never(kcp_next_deadline(link.a.kcp)));
	while (link_step(&link, mono_at_ms(100000)))
		;
	/* not the timeout, but the acknowledgement was the last thing that happened */
	cr_assert(mono_before(link.now, mono_at_ms(1100)));
	cr_assert_eq(kcp_recv(link.b.kcp, bytes, sizeof(bytes), &len), 0);
	cr_assert(mono_is_never(link_next(&link)));
	size_t busy = kcp_memory_bytes(link.a.kcp);
	kcp_trim(link.a.kcp);
	kcp_trim(link.b.kcp);
	cr_assert(kcp_memory_bytes(link.a.kcp) < busy);
	cr_assert(kcp_memory_bytes(link.a.kcp) <= 2048);
	cr_assert(kcp_memory_bytes(link.b.kcp) <= 2048);
	cr_assert_eq(kcp_send(link.a.kcp, bytes, 1, link.now), 0); /* and goes on as before */
	kcp_flush(link.a.kcp, false, link.now);
	while (link_step(&link, mono_at_ms(100000)))
		;
	cr_assert_eq(kcp_recv(link.b.kcp, bytes, sizeof(bytes), &len), 0);
	link_close(&link);
}

Test(kcp, acknowledges_after_the_interval_or_as_told)
{
	static const struct {
		uint32_t ack_delay_us;
		int64_t want_us;
	} rows[] = {{0, 10000}, {2000, 2000}, {99999999, 10000}};

	for (size_t i = 0; i < 3; i++) {
		struct kcp_config config = link_kcp_config();
		config.ack_delay_us = rows[i].ack_delay_us;
		struct kcp *kcp = open_with(config);
		kcp_flush(kcp, false, at(1000));
		feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_PUSH, .wnd = 32, .len = 5}, 1000);
		kcp_input_done(kcp, at(1000));
		cr_assert_eq(out_count, 0);
		cr_assert_eq(kcp_next_deadline(kcp).us, 1000000 + rows[i].want_us);
		kcp_on_deadline(kcp, kcp_next_deadline(kcp));
		cr_assert_eq(out_count, 1);
		cr_assert_eq(out_flags[0], KCP_OUT_ACK);
		cr_assert(mono_is_never(kcp_next_deadline(kcp)));
		shut(kcp);
	}
}

Test(kcp, new_profile_acknowledges_a_full_datagram_at_once)
{
	struct kcp_config config = link_kcp_config();
	struct kcp *kcp = open_with(config);

	for (uint32_t i = 0; i < 1350 / 24; i++) {
		cr_assert_eq(out_count, 0);
		feed(kcp,
			(struct kcp_segment){.cmd = KCP_CMD_PUSH, .sn = i + 1, .wnd = 32, .len = 5},
			1000);
		kcp_input_done(kcp, at(1000));
	}
	cr_assert_eq(out_count, 1);
	cr_assert_eq(out_len[0], 1350 / 24 * 24);
	shut(kcp);
}

Test(kcp, dead_link_is_judged_by_time_without_progress)
{
	struct kcp_config config = link_kcp_config();
	config.dead_link_us = 5000000;
	struct kcp *kcp = open_with(config);

	cr_assert_eq(kcp_send(kcp, "x", 1, at(1000)), 0);
	cr_assert_eq(kcp_send(kcp, "y", 1, at(1000)), 0);
	kcp_flush(kcp, false, at(1000));
	struct mono now = at(4000);
	kcp_on_deadline(kcp, now);
	feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_ACK, .sn = 1, .wnd = 32, .ts = 1000}, 4000);
	kcp_input_done(kcp, now);
	while (!kcp_is_dead(kcp)) {
		now = kcp_next_deadline(kcp);
		cr_assert(mono_before(now, at(9001)));
		kcp_on_deadline(kcp, now);
	}
	cr_assert_eq(now.us, 9000000);
	/* it goes on trying, as the session may hope */
	cr_assert(mono_before(kcp_next_deadline(kcp), at(60000)));
	shut(kcp);
}

Test(kcp, answers_a_probe_and_probes_a_closed_window)
{
	struct kcp *kcp = open_with(link_kcp_config());

	kcp_wask(kcp, at(1000));
	cr_assert(mono_due(kcp_next_deadline(kcp), at(1000)));
	kcp_on_deadline(kcp, at(1000));
	cr_assert_eq(sent(0).cmd, KCP_CMD_WASK);
	cr_assert_eq(out_flags[0], KCP_OUT_PROBE);
	feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_WASK, .wnd = 0}, 1001);
	kcp_input_done(kcp, at(1001));
	cr_assert_eq(kcp_next_deadline(kcp).us, 1010000);
	kcp_on_deadline(kcp, at(1010));
	cr_assert_eq(sent(1).cmd, KCP_CMD_WINS);
	cr_assert_eq(sent(1).wnd, 1024);
	/* rmt_wnd is 0 now: first probe after 500 ms, then each wait half as long again */
	cr_assert_eq(kcp_next_deadline(kcp).us, 1510000);
	kcp_on_deadline(kcp, at(1510));
	cr_assert_eq(sent(2).cmd, KCP_CMD_WASK);
	cr_assert_eq(kcp_next_deadline(kcp).us, 1510000 + 750000);
	feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_WINS, .wnd = 1}, 1600);
	kcp_input_done(kcp, at(1600));
	cr_assert(mono_is_never(kcp_next_deadline(kcp)));
	shut(kcp);
}

Test(kcp, hostile_numbers_change_nothing)
{
	struct kcp *kcp = open_with(link_kcp_config());
	struct kcp_debug_state before, after;

	for (int i = 0; i < 10; i++)
		cr_assert_eq(kcp_send(kcp, "hello", 5, at(1000)), 0);
	kcp_flush(kcp, false, at(1000));
	for (int i = 0; i < 30; i++)
		cr_assert_eq(kcp_send(kcp, "queue", 5, at(1000)), 0);
	kcp_debug_state(kcp, at(1000), &before);
	static const uint32_t beyond[] = {11, 12, 1000, 0x7fffffff, 0x80000005};
	for (size_t i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++) {
		feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_WINS, .una = beyond[i], .wnd = 32},
			1001);
		feed(kcp,
			(struct kcp_segment){
				.cmd = KCP_CMD_ACK, .sn = beyond[i], .ts = 5000, .wnd = 32},
			1001);
	}
	kcp_debug_state(kcp, at(1000), &after);
	cr_assert(memcmp(&before, &after, sizeof(before)) == 0);
	cr_assert(kcp_stats(kcp)->bad_una >= 4 && kcp_stats(kcp)->bad_ack >= 4);
	cr_assert_eq(kcp_in_flight(kcp), 10);
	cr_assert_eq(kcp_queued(kcp), 30);
	cr_assert_eq(kcp_queued_bytes(kcp), 150);
	/* data beyond the window, with impossible fragments, or too long for a slot: not held, not acknowledged */
	feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_PUSH, .sn = 1024, .wnd = 32, .len = 5}, 1001);
	feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_PUSH, .len = 1477, .wnd = 32}, 1001);
	cr_assert_eq(kcp_set_windows(kcp, 32, 8), 0);
	feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_PUSH, .frg = 8, .wnd = 32, .len = 5}, 1001);
	kcp_debug_state(kcp, at(1001), &after);
	cr_assert_eq(after.nack, 0);
	cr_assert_eq(after.nrcv_buf + after.nrcv_que, 0);
	cr_assert_eq(kcp_stats(kcp)->out_of_window, 1);
	cr_assert_eq(kcp_stats(kcp)->too_long, 1);
	cr_assert_eq(kcp_stats(kcp)->bad_fragment, 1);
	shut(kcp);
}

Test(kcp, acknowledgements_that_wait_are_bounded)
{
	struct kcp *kcp = open_with(link_kcp_config());
	struct kcp_debug_state state;

	for (uint32_t i = 0; i < 100000; i++)
		feed(kcp,
			(struct kcp_segment){
				.cmd = KCP_CMD_PUSH, .sn = 1 + i % 1000, .wnd = 32, .len = 1},
			1000);
	kcp_debug_state(kcp, at(1000), &state);
	cr_assert_eq(state.nack, 2048);
	cr_assert_eq(kcp_stats(kcp)->ack_overflow, 100000 - 2048);
	cr_assert(kcp_memory_bytes(kcp) < 64 * 1024, "%zu", kcp_memory_bytes(kcp));
	kcp_input_done(kcp, at(1000));
	kcp_debug_state(kcp, at(1000), &state);
	cr_assert_eq(state.nack, 0);
	shut(kcp);
}

Test(kcp, empty_pool_drops_data_unacknowledged)
{
	struct kcp_config config = link_kcp_config();
	struct kcp *kcp = open_with(config);
	struct kcp_debug_state state;

	pool.slots_max = 1;
	feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_PUSH, .sn = 0, .wnd = 32, .len = 5}, 1000);
	feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_PUSH, .sn = 1, .wnd = 32, .len = 5}, 1000);
	kcp_debug_state(kcp, at(1000), &state);
	cr_assert_eq(state.rcv_nxt, 1);
	cr_assert_eq(state.nack, 1);
	cr_assert_eq(kcp_stats(kcp)->pool_empty, 1);
	cr_assert_eq(kcp_send(kcp, "x", 1, at(1000)), -ENOBUFS);
	shut(kcp);
}

Test(kcp, without_room_a_datagram_counts_as_lost)
{
	struct kcp *kcp = open_with(link_kcp_config());

	cr_assert_eq(kcp_send(kcp, "x", 1, at(1000)), 0);
	no_room = true;
	kcp_flush(kcp, false, at(1000));
	cr_assert_eq(out_count, 0);
	cr_assert_eq(kcp_stats(kcp)->no_buffer, 1);
	no_room = false;
	kcp_on_deadline(kcp, kcp_next_deadline(kcp));
	cr_assert_eq(out_count, 1);
	cr_assert_eq(out_flags[0], KCP_OUT_PUSH | KCP_OUT_RESEND);
	shut(kcp);
}

Test(kcp, closing_returns_everything)
{
	struct kcp *kcp = open_with(link_kcp_config());
	struct iovec iov[1];
	uint8_t bytes[10];
	size_t len;

	for (int i = 0; i < 100; i++)
		cr_assert_eq(kcp_send(kcp, "hello", 5, at(1000)), 0);
	kcp_flush(kcp, false, at(1000));
	feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_PUSH, .sn = 3, .wnd = 32, .len = 5}, 1000);
	feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_PUSH, .sn = 0, .wnd = 32, .len = 5}, 1000);
	cr_assert_eq(pool.slots_used, 102);
	kcp_close(kcp);
	kcp_close(kcp);
	cr_assert_eq(pool.slots_used, 0);
	cr_assert(mono_is_never(kcp_next_deadline(kcp)));
	cr_assert_eq(kcp_send(kcp, "x", 1, at(1000)), -ERR_CLOSED);
	cr_assert_eq(kcp_recv(kcp, bytes, sizeof(bytes), &len), -ERR_CLOSED);
	cr_assert_eq(kcp_recv_iov(kcp, iov, 1, &len), -ERR_CLOSED);
	cr_assert_eq(kcp_peek_len(kcp), -ERR_CLOSED);
	cr_assert_eq(feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_WASK}, 1000), KCP_INPUT_CLOSED);
	out_count = 0;
	kcp_flush(kcp, false, at(1000));
	kcp_input_done(kcp, at(1000));
	kcp_on_deadline(kcp, at(1000));
	kcp_recv_consume(kcp);
	cr_assert_eq(out_count, 0);
	shut(kcp);
}

Test(kcp, mtu_falls_only_below_what_is_sent)
{
	struct kcp *kcp = open_with(link_kcp_config());
	static uint8_t bytes[1326];

	cr_assert_eq(kcp_send(kcp, bytes, sizeof(bytes), at(1000)), 0);
	cr_assert_eq(kcp_set_mtu(kcp, 1349), -EBUSY);
	cr_assert_eq(kcp_set_mtu(kcp, 49), -EINVAL);
	cr_assert_eq(kcp_set_mtu(kcp, 1501), -EINVAL);
	kcp_flush(kcp, false, at(1000));
	feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_ACK, .una = 1, .wnd = 32, .ts = 1000}, 1010);
	cr_assert_eq(kcp_set_mtu(kcp, 1200), 0);
	cr_assert_eq(kcp_mss_bytes(kcp), 1176);
	shut(kcp);
}

Test(kcp, zero_copy_reading_keeps_messages_apart)
{
	struct kcp_config config = link_kcp_config();
	struct iovec iov[8];
	size_t len;

	for (int stream = 0; stream < 2; stream++) {
		config.stream = stream;
		struct kcp *kcp = open_with(config);
		static const uint8_t frgs[] = {0, 2, 1, 0, 0};
		static const char *texts[] = {"one", "t", "w", "o", "three"};
		for (uint32_t i = 0; i < 5; i++)
			feed(kcp,
				(struct kcp_segment){.cmd = KCP_CMD_PUSH,
					.sn = i,
					.frg = stream ? 0 : frgs[i],
					.wnd = 32,
					.data = (const uint8_t *)texts[i],
					.len = (uint32_t)strlen(texts[i])},
				1000);
		if (stream) {
			cr_assert_eq(kcp_recv_iov(kcp, iov, 3, &len), 3);
			cr_assert_eq(len, 5);
			kcp_recv_consume(kcp);
			cr_assert_eq(kcp_recv_iov(kcp, iov, 8, &len), 2);
			cr_assert_eq(len, 6);
		} else {
			cr_assert_eq(kcp_recv_iov(kcp, iov, 8, &len), 1);
			cr_assert_eq(len, 3);
			kcp_recv_consume(kcp);
			cr_assert_eq(kcp_recv_iov(kcp, iov, 2, &len), -EMSGSIZE);
			cr_assert_eq(kcp_recv_iov(kcp, iov, 3, &len), 3);
			cr_assert(memcmp(iov[1].iov_base, "w", 1) == 0);
			kcp_recv_consume(kcp);
			kcp_recv_consume(kcp); /* of nothing shown: nothing */
			cr_assert_eq(kcp_recv_iov(kcp, iov, 8, &len), 1);
			cr_assert_eq(len, 5);
		}
		kcp_recv_consume(kcp);
		cr_assert_eq(kcp_recv_iov(kcp, iov, 8, &len), -EAGAIN);
		cr_assert_eq(kcp_stats(kcp)->received_bytes, 11);
		shut(kcp);
	}
}

Test(kcp, reading_a_full_window_tells_the_peer)
{
	struct kcp_config config = link_kcp_config();
	config.rcv_wnd = 4;
	struct kcp *kcp = open_with(config);
	uint8_t bytes[10];
	size_t len;

	for (uint32_t i = 0; i < 4; i++)
		feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_PUSH, .sn = i, .wnd = 32, .len = 5},
			1000);
	kcp_flush(kcp, false, at(1000));
	cr_assert_eq(sent(0).wnd, 0);
	cr_assert(mono_is_never(kcp_next_deadline(kcp)));
	cr_assert_eq(kcp_recv(kcp, bytes, sizeof(bytes), &len), 0);
	cr_assert_eq(kcp_next_deadline(kcp).us, 1010000);
	kcp_on_deadline(kcp, at(1010));
	cr_assert_eq(out_count, 2);
	cr_assert_eq(sent(1).cmd, KCP_CMD_WINS);
	cr_assert_eq(sent(1).wnd, 1);
	cr_assert_eq(
		kcp_recv(kcp, bytes, sizeof(bytes), &len), 0); /* was not full: nothing to tell */
	/* what told of it may be lost, and the peer waits: it is told again, with what is free by then */
	const int64_t again_ms[] = {1210, 1610, 2410, 4010};
	for (size_t i = 0; i < 4; i++) {
		cr_assert_eq(kcp_next_deadline(kcp).us, again_ms[i] * 1000);
		kcp_on_deadline(kcp, at(again_ms[i]));
		cr_assert_eq(out_count, 3 + i);
		cr_assert_eq(sent(2 + i).cmd, KCP_CMD_WINS);
		cr_assert_eq(sent(2 + i).wnd, 2);
	}
	cr_assert(mono_is_never(kcp_next_deadline(kcp)));
	shut(kcp);
}

Test(kcp, a_window_that_the_peer_uses_again_is_not_told_twice)
{
	struct kcp_config config = link_kcp_config();
	config.rcv_wnd = 2;
	struct kcp *kcp = open_with(config);
	uint8_t bytes[10];
	size_t len;

	for (uint32_t i = 0; i < 2; i++)
		feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_PUSH, .sn = i, .wnd = 32, .len = 5},
			1000);
	kcp_flush(kcp, false, at(1000));
	cr_assert_eq(kcp_recv(kcp, bytes, sizeof(bytes), &len), 0);
	kcp_on_deadline(kcp, at(1010));
	cr_assert_eq(sent(1).cmd, KCP_CMD_WINS);
	feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_PUSH, .sn = 2, .wnd = 32, .len = 5}, 1100);
	kcp_flush(kcp, false, at(1100));
	cr_assert_eq(out_count, 3);
	cr_assert_eq(sent(2).cmd, KCP_CMD_ACK);
	cr_assert(mono_is_never(kcp_next_deadline(kcp)));
	shut(kcp);
}

/* Acks of what had left before a resend do not accuse the resend. */
Test(kcp, later_acks_count_only_against_what_was_sent_no_later)
{
	struct kcp_config config = link_kcp_config();
	config.profile = KCP_PROFILE_5_6_1;
	struct kcp *kcp = open_with(config);

	for (int i = 0; i < 8; i++)
		cr_assert_eq(kcp_send(kcp, "hello", 5, at(1000)), 0);
	kcp_flush(kcp, false, at(1000));
	for (uint32_t sn = 1; sn <= 2; sn++)
		feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_ACK, .sn = sn, .ts = 1000, .wnd = 32},
			1050);
	kcp_flush(kcp, false, at(1050));
	cr_assert_eq(kcp_stats(kcp)->fast_segments, 1);
	cr_assert_eq(sent(1).sn, 0);
	for (uint32_t sn = 3; sn <= 6; sn++)
		feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_ACK, .sn = sn, .ts = 1000, .wnd = 32},
			1060);
	kcp_flush(kcp, false, at(1060));
	cr_assert_eq(kcp_stats(kcp)->fast_segments, 1);
	cr_assert_eq(kcp_stats(kcp)->early_segments, 0);
	cr_assert_eq(out_count, 2);
	shut(kcp);
}

/* Profile 5.6.72 resends for later acks once per timeout. */
Test(kcp, new_profile_resends_fast_once_per_timeout)
{
	struct kcp *kcp = open_with(link_kcp_config());
	struct kcp_debug_state state;

	for (int i = 0; i < 9; i++)
		cr_assert_eq(kcp_send(kcp, "hello", 5, at(1000)), 0);
	kcp_flush(kcp, false, at(1000));
	for (uint32_t sn = 1; sn <= 4; sn++) {
		feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_ACK, .sn = sn, .ts = 1100, .wnd = 32},
			1100);
		kcp_input_done(kcp, at(1100));
	}
	cr_assert_eq(kcp_stats(kcp)->fast_segments, 1);
	kcp_debug_state(kcp, at(1100), &state);
	struct mono due = at(1100 + state.nearest_due_ms);
	kcp_flush(kcp, false, due);
	cr_assert(kcp_stats(kcp)->lost_segments >= 1);
	for (uint32_t sn = 5; sn <= 6; sn++)
		feed(kcp,
			(struct kcp_segment){.cmd = KCP_CMD_ACK,
				.sn = sn,
				.ts = kcp_segment_ms(due) + 1,
				.wnd = 32},
			1300);
	kcp_input_done(kcp, at(1300));
	cr_assert_eq(kcp_stats(kcp)->fast_segments, 2);
	shut(kcp);
}

/* A window that shuts without a question asked: the first flush after it arms the probe, so there must be one. */
Test(kcp, a_window_that_shuts_is_probed_though_nothing_waits)
{
	struct kcp *kcp = open_with(link_kcp_config());

	kcp_flush(kcp, false, at(1000));
	cr_assert(mono_is_never(kcp_next_deadline(kcp)));
	feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_WINS, .wnd = 0}, 1001);
	kcp_input_done(kcp, at(1001));
	cr_assert_eq(kcp_next_deadline(kcp).us, 1010000);
	kcp_on_deadline(kcp, at(1010));
	cr_assert_eq(out_count, 0);
	cr_assert_eq(kcp_next_deadline(kcp).us, 1510000);
	kcp_on_deadline(kcp, at(1510));
	cr_assert_eq(sent(0).cmd, KCP_CMD_WASK);
	shut(kcp);
}

/* The top of a large window acknowledged again and again in one datagram: bounded work, and what is counted is not much. */
Test(kcp, later_acks_of_one_datagram_cost_a_bounded_walk)
{
	enum { SEGMENTS = 3000, ACKS = 50 };
	static uint8_t bytes[ACKS * KCP_OVERHEAD_BYTES];
	struct kcp_config config = link_kcp_config();

	config.fast_resend = ACKS - 5;
	config.snd_wnd = config.send_queue_max_segments = SEGMENTS;
	struct kcp *kcp = open_with(config);
	feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_WINS, .wnd = SEGMENTS}, 1000);
	for (int i = 0; i < SEGMENTS; i++)
		cr_assert_eq(kcp_send(kcp, "hello", 5, at(1000)), 0);
	kcp_flush(kcp, false, at(1000));
	cr_assert_eq(kcp_in_flight(kcp), SEGMENTS);
	struct kcp_segment ack = {
		.conv = CONV, .cmd = KCP_CMD_ACK, .wnd = SEGMENTS, .ts = 1000, .sn = SEGMENTS - 1};
	for (size_t i = 0; i < ACKS; i++)
		kcp_segment_write(bytes + i * KCP_OVERHEAD_BYTES, &ack);
	cr_assert_eq(kcp_input(kcp, bytes, sizeof(bytes), false, at(1010)), KCP_INPUT_OK);
	kcp_flush(kcp, false, at(1010));
	cr_assert_eq(kcp_stats(kcp)->fast_segments, 0);
	cr_assert_eq(kcp_in_flight(kcp), SEGMENTS - 1);
	shut(kcp);
}

/* kcp-go's congestion window is shut until the end of the first flush: there must be one. */
Test(kcp, there_is_room_for_the_first_segment_under_a_congestion_window)
{
	struct kcp_config config = link_kcp_config();

	config.no_congestion_window = false;
	struct kcp *kcp = open_with(config);
	cr_assert_eq(kcp_send_room(kcp, at(1000)), 1);
	cr_assert_eq(kcp_send(kcp, "hello", 5, at(1000)), 0);
	cr_assert_eq(kcp_send_room(kcp, at(1000)), 0);
	for (int i = 0; i < 4 && kcp_in_flight(kcp) == 0; i++) {
		struct mono now = mono_max(kcp_next_deadline(kcp), at(1000));
		cr_assert(mono_before(now, at(1100)));
		kcp_on_deadline(kcp, now);
	}
	cr_assert_eq(kcp_in_flight(kcp), 1);
	feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_WINS, .wnd = 0, .una = 1}, 1050);
	cr_assert_eq(kcp_send_room(kcp, at(1000)), 0, "a window that the peer shut is shut");
	shut(kcp);
}
