/* Losses found by time under a measured window, what acks do there, and how much room is promised. */
#include "core/pool.h"
#include "kcp/kcp.h"
#include "link.h"

#include <criterion/criterion.h>
#include <string.h>

enum {
	CONV = 0x11223344,
	OUT_MAX = 256,
};

static struct pool pool;
static uint8_t room[1600];
static uint8_t out[OUT_MAX][1600];
static size_t out_len[OUT_MAX];
static size_t out_count;

static uint8_t *begin(void *ctx)
{
	(void)ctx;
	return room;
}

static void end(void *ctx, size_t len, unsigned flags)
{
	(void)ctx, (void)flags;
	cr_assert(out_count < OUT_MAX);
	memcpy(out[out_count], room, len);
	out_len[out_count++] = len;
}

static struct mono at(int64_t ms)
{
	return mono_at_us(ms * 1000);
}

static struct kcp *open_with(struct kcp_config config)
{
	struct kcp_output output = {.begin = begin, .end = end};
	struct kcp *kcp;

	out_count = 0;
	pool_init(&pool, KCP_PEER_MTU_BYTES - KCP_OVERHEAD_BYTES, 100000);
	config.conv = CONV;
	config.pool = &pool;
	cr_assert_eq(kcp_new(&config, &output, &kcp), 0);
	return kcp;
}

static struct kcp_config measured(void)
{
	struct kcp_config config = link_kcp_config();

	config.measured_window = true;
	config.fast_resend = 2;
	config.interval_ms = 20;
	return config;
}

static void shut(struct kcp *kcp)
{
	kcp_free(kcp);
	cr_assert_eq(pool.slots_used, 0);
	pool_fini(&pool);
}

static void feed(struct kcp *kcp, struct kcp_segment segment, int64_t ms)
{
	uint8_t bytes[64] = {0};

	segment.conv = CONV;
	segment.wnd = 1000;
	kcp_segment_write(bytes, &segment);
	cr_assert_eq(kcp_input(kcp, bytes, KCP_OVERHEAD_BYTES + segment.len, false, at(ms)),
		KCP_INPUT_OK);
	kcp_input_done(kcp, at(ms));
}

static void ack(struct kcp *kcp, uint32_t sn, uint32_t una, int64_t sent_ms, int64_t ms)
{
	feed(kcp,
		(struct kcp_segment){
			.cmd = KCP_CMD_ACK, .sn = sn, .una = una, .ts = (uint32_t)sent_ms},
		ms);
}

static void put(struct kcp *kcp, int64_t ms)
{
	cr_assert_eq(kcp_send(kcp, "x", 1, at(ms)), 0);
	kcp_flush(kcp, false, at(ms));
}

/* Number 0 goes and comes back in 60 ms: an eighth of it is reordering. */
static struct kcp *open_known(struct kcp_config config)
{
	struct kcp *kcp = open_with(config);

	put(kcp, 1000);
	ack(kcp, 0, 1, 1000, 1060);
	return kcp;
}

Test(holes, a_segment_is_lost_when_one_sent_clearly_later_arrived)
{
	struct kcp *kcp = open_known(measured());

	put(kcp, 1100);
	put(kcp, 1102);
	put(kcp, 1104);
	put(kcp, 1120);
	ack(kcp, 2, 1, 1102, 1162);
	ack(kcp, 3, 1, 1104, 1164);
	cr_assert_eq(kcp_stats(kcp)->fast_segments, 0, "they may have overtaken it");
	ack(kcp, 4, 1, 1120, 1180);
	cr_assert_eq(kcp_stats(kcp)->fast_segments, 1);
	shut(kcp);
}

/* kcp-go's rule is once per timeout. */
Test(holes, a_lost_resend_is_found_by_what_left_after_it)
{
	struct kcp *kcp = open_known(measured());

	put(kcp, 1100);
	put(kcp, 1120);
	ack(kcp, 2, 1, 1120, 1180);
	cr_assert_eq(kcp_stats(kcp)->fast_segments, 1);
	put(kcp, 1185);
	put(kcp, 1200);
	ack(kcp, 3, 1, 1185, 1245);
	cr_assert_eq(kcp_stats(kcp)->fast_segments, 1, "left too soon after the resend");
	ack(kcp, 4, 1, 1200, 1260);
	cr_assert_eq(kcp_stats(kcp)->fast_segments, 2);
	cr_assert_eq(kcp_stats(kcp)->lost_segments, 0);
	shut(kcp);
}

Test(holes, an_echo_from_the_future_is_the_last_transmission)
{
	struct kcp *kcp = open_known(measured());

	put(kcp, 1100);
	put(kcp, 1102);
	ack(kcp, 2, 1, 1102 + 5000, 1162);
	cr_assert_eq(kcp_stats(kcp)->fast_segments, 0);
	shut(kcp);
}

/* What was overtaken and nothing follows: it goes again when its own answer would have been here, before its timeout. */
Test(holes, the_last_hole_does_not_wait_for_its_timeout)
{
	struct kcp *kcp = open_known(measured());

	put(kcp, 1100);
	put(kcp, 1102);
	ack(kcp, 2, 1, 1102, 1162);
	while (kcp_stats(kcp)->fast_segments == 0) {
		struct mono now = kcp_next_deadline(kcp);
		cr_assert(mono_before(now, at(1100 + 220)), "at %ld", (long)now.us);
		kcp_on_deadline(kcp, now);
	}
	cr_assert_eq(kcp_stats(kcp)->lost_segments, 0);
	shut(kcp);
}

/* ---- acks ------------------------------------------------------------------------------------------------------- */

static void push(struct kcp *kcp, uint32_t sn, int64_t ms)
{
	feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_PUSH, .sn = sn, .ts = sn, .len = 5}, ms);
}

static size_t acks_of(size_t datagram, uint32_t sn)
{
	struct wire in = wire_of(out[datagram], out_len[datagram]);
	struct kcp_segment segment;
	size_t count = 0;

	while (wire_left(&in) > 0) {
		cr_assert(kcp_segment_read(&in, &segment));
		count += segment.cmd == KCP_CMD_ACK && segment.sn == sn;
	}
	return count;
}

/* A sender of bulk flushes all the time; its acks must not go one by one. */
Test(holes, acks_wait_beside_full_segments_but_not_beside_small_ones)
{
	struct kcp_config config = measured();
	struct kcp *kcp = open_with(config);
	uint8_t full[1400] = {0};
	uint32_t mss = kcp_mss_bytes(kcp);

	push(kcp, 0, 1000);
	cr_assert_eq(kcp_send(kcp, full, mss, at(1000)), 0);
	kcp_flush(kcp, false, at(1000));
	cr_assert_eq(out_count, 1);
	cr_assert_eq(out_len[0], mss + KCP_OVERHEAD_BYTES, "data alone");
	push(kcp, 1, 1001);
	cr_assert_eq(kcp_next_deadline(kcp).us, 1000000 + KCP_ACK_DELAY_US, "from the first on");
	cr_assert_eq(kcp_send(kcp, "x", 1, at(1001)), 0);
	kcp_flush(kcp, false, at(1001));
	cr_assert_eq(out_count, 2);
	cr_assert_eq(out_len[1], 2 * KCP_OVERHEAD_BYTES + 1, "the last ack and the byte");
	shut(kcp);
}

Test(holes, acks_go_twice_while_a_hole_stands)
{
	struct kcp *kcp = open_with(measured());

	push(kcp, 1, 1000);
	kcp_on_deadline(kcp, at(1002));
	push(kcp, 2, 1010);
	kcp_on_deadline(kcp, at(1012));
	push(kcp, 3, 1020);
	kcp_on_deadline(kcp, at(1022));
	cr_assert_eq(out_count, 3);
	cr_assert_eq(acks_of(0, 1), 1);
	cr_assert_eq(acks_of(1, 1), 1);
	cr_assert_eq(acks_of(1, 2), 1);
	cr_assert_eq(acks_of(2, 1), 0, "twice is enough");
	cr_assert_eq(acks_of(2, 2), 1);
	push(kcp, 0, 1030);
	kcp_on_deadline(kcp, at(1032));
	cr_assert_eq(out_len[3], KCP_OVERHEAD_BYTES, "una tells of all");
	shut(kcp);
}

/* ---- room ------------------------------------------------------------------------------------------------------- */

/* Who fills the room that was promised is never refused, whatever the windows are. */
Test(holes, room_is_no_more_than_the_queue_takes)
{
	struct kcp_config config = measured();

	config.snd_wnd = 500;
	config.send_queue_max_segments = 7;
	struct kcp *kcp = open_with(config);
	feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_WINS}, 1000);
	uint32_t promised = kcp_send_room(kcp, at(1000));
	cr_assert(promised >= 1 && promised <= 7, "%u", promised);
	for (uint32_t i = 0; i < promised; i++)
		cr_assert_eq(kcp_send(kcp, "x", 1, at(1000)), 0);
	shut(kcp);
}

/* A path of 60 ms that carries a full segment each millisecond, and a program that always has more to send. */
static void fill_path(struct kcp *kcp, int64_t from_ms, int64_t until_ms)
{
	static uint8_t full[1400];
	static int64_t sent_ms[4096];
	int64_t free_ms = from_ms;
	uint32_t sent = 0, acked = 0;

	for (int64_t ms = from_ms; ms < until_ms; ms++) {
		while (acked < sent && sent_ms[acked] + 60 <= ms && free_ms <= ms) {
			ack(kcp, acked, acked + 1, sent_ms[acked], ms);
			acked++;
			free_ms = ms + 1;
		}
		for (uint32_t more = kcp_send_room(kcp, at(ms)); more > 0; more--)
			cr_assert_eq(kcp_send(kcp, full, kcp_mss_bytes(kcp), at(ms)), 0);
		kcp_flush(kcp, false, at(ms));
		while (sent < acked + kcp_in_flight(kcp))
			sent_ms[sent++] = ms;
		out_count = 0;
	}
}

/* Behind the pace only a little may wait, or a ping waits behind a window. */
Test(holes, room_follows_the_pace)
{
	struct kcp_config config = measured();

	config.snd_wnd = 1000;
	struct kcp *kcp = open_with(config);
	feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_WINS}, 1000);
	fill_path(kcp, 1000, 3000);
	cr_assert(kcp_measured_window(kcp) >= 60, "%u", kcp_measured_window(kcp));
	struct kcp_debug_state state;
	kcp_debug_state(kcp, at(3000), &state);
	feed(kcp, (struct kcp_segment){.cmd = KCP_CMD_WINS, .una = state.snd_una + 14}, 3000);
	uint32_t now_free = kcp_send_room(kcp, at(3000));
	cr_assert(now_free >= 2 && now_free <= 18, "12 ms of the pace are 15 segments, not %u",
		now_free);
	kcp_set_measured_window(kcp, false);
	cr_assert(kcp_send_room(kcp, at(3000)) >= 14, "a fixed window is not paced");
	shut(kcp);
}

/* Pings measure nothing: bulk that follows them starts as on a new path, and nothing holds it back in the queue before. */
Test(holes, after_pings_the_start_is_still_to_come)
{
	struct kcp_config config = measured();

	config.snd_wnd = 1000;
	struct kcp *kcp = open_known(config);
	for (uint32_t i = 1; i < 20; i++) {
		put(kcp, 1000 + i * 100);
		ack(kcp, i, i + 1, 1000 + i * 100, 1060 + i * 100);
	}
	cr_assert(kcp_send_room(kcp, at(3100)) >= KCP_MEASURED_WND_MIN, "%u",
		kcp_send_room(kcp, at(3100)));
	shut(kcp);
}
