/*
 * Drives one conversation by the input's bytes: datagrams made of wild and of plausible segments, writes, reads, flushes and
 * steps of time. What it watches besides the sanitizers: bounds on memory and slots, progress of deadlines, and that
 * closing returns everything.
 */
#include "core/pool.h"
#include "kcp/kcp.h"

#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
	CONV = 0x11223344,
	WND = 64,
	QUEUE_MAX = 100,
	SLOTS_MAX = 300,
	MEMORY_MAX = 128 * 1024,
};

struct drive {
	struct wire in;
	struct kcp *kcp;
	struct mono now;
	uint32_t mtu_bytes;
	uint8_t room[1500];
};

static void check(bool holds)
{
	if (!holds)
		abort();
}

static uint8_t *begin(void *ctx)
{
	struct drive *drive = ctx;

	return drive->room;
}

static void end(void *ctx, size_t len, unsigned flags)
{
	const struct drive *drive = ctx;
	struct wire out = wire_of(drive->room, len);
	struct kcp_segment segment;

	check(len >= KCP_OVERHEAD_BYTES && len <= drive->mtu_bytes && flags != 0);
	while (wire_left(&out) > 0)
		check(kcp_segment_read(&out, &segment) && segment.conv == CONV);
}

/* A segment close to what the conversation expects, so that more than the first check is reached. */
static size_t plausible(struct drive *drive, uint8_t *to, size_t room)
{
	struct kcp_debug_state state;
	uint8_t kind = wire_u8(&drive->in);
	uint8_t near = wire_u8(&drive->in);
	uint8_t body = wire_u8(&drive->in);

	kcp_debug_state(drive->kcp, drive->now, &state);
	struct kcp_segment segment = {
		.conv = CONV,
		.cmd = (uint8_t)(KCP_CMD_PUSH + kind % 4),
		.frg = kind & 0x80 ? (uint8_t)(near % 5) : 0,
		.wnd = kind & 0x40 ? 0 : 32,
		.ts = kcp_segment_ms(drive->now) - (body & 0x1f),
		.una = state.snd_una + (kind & 0x20 ? near % 8 : 0),
		.len = 0,
	};
	segment.sn = segment.cmd == KCP_CMD_ACK ? state.snd_una + near % 64
						: state.rcv_nxt + near % 80 - 4;
	if (segment.cmd == KCP_CMD_PUSH)
		segment.len = body;
	if (room < KCP_OVERHEAD_BYTES + segment.len)
		return 0;
	memset(kcp_segment_write(to, &segment), body, segment.len);
	return KCP_OVERHEAD_BYTES + segment.len;
}

static void input(struct drive *drive, uint8_t op)
{
	uint8_t bytes[3000];
	size_t used = 0;

	if (op & 0x80) {
		size_t left = wire_left(&drive->in);
		used = wire_u8(&drive->in) + (op & 0x40 ? 24u : 0u);
		if (used > left)
			used = left;
		const uint8_t *wild = wire_bytes(&drive->in, used);
		if (!wild)
			return;
		memcpy(bytes, wild, used);
		if (used >= 4 && op & 0x20)
			store_le32(bytes, CONV);
	} else {
		for (int i = 0; i <= (op >> 4 & 3); i++)
			used += plausible(drive, bytes + used, sizeof(bytes) - used);
	}
	kcp_input(drive->kcp, bytes, used, op & 0x08, drive->now);
}

static void receive(struct drive *drive, uint8_t op)
{
	struct iovec iov[KCP_FRAGMENTS_MAX + 1];
	uint8_t buf[512];
	size_t len = 0;

	if (op & 0x80) {
		int n = kcp_recv_iov(drive->kcp, iov, op & 0x40 ? KCP_FRAGMENTS_MAX + 1 : 2, &len);
		size_t sum = 0;
		for (int i = 0; i < n; i++) {
			sum += iov[i].iov_len;
			memset(iov[i].iov_base, 0, iov[i].iov_len);
		}
		check(n < 0 || sum == len);
		kcp_recv_consume(drive->kcp);
	} else {
		int64_t peek = kcp_peek_len(drive->kcp);
		int err = kcp_recv(drive->kcp, buf, sizeof(buf), &len);
		check(err != 0 || (int64_t)len == peek);
	}
}

static void step(struct drive *drive)
{
	static const uint8_t payload[4000] = {1, 2, 3};
	uint8_t op = wire_u8(&drive->in);

	switch (op & 7) {
	case 0:
	case 1:
		input(drive, op);
		break;
	case 2:
		kcp_input_done(drive->kcp, drive->now);
		check(op & 0x80 || kcp_next_deadline(drive->kcp).us != 0);
		break;
	case 3:
		kcp_send(drive->kcp, payload,
			(size_t)(op >> 3) * wire_u8(&drive->in) % sizeof(payload), drive->now);
		break;
	case 4:
		receive(drive, op);
		break;
	case 5:
		kcp_flush(drive->kcp, op & 0x80, drive->now);
		break;
	case 6: {
		struct mono next = kcp_next_deadline(drive->kcp);
		if (op & 0x80 && !mono_is_never(next))
			drive->now = mono_max(drive->now, next);
		else
			drive->now = mono_add_us(drive->now, (int64_t)wire_le16(&drive->in) * 100);
		kcp_on_deadline(drive->kcp, drive->now);
		check(!mono_due(kcp_next_deadline(drive->kcp), drive->now));
		break;
	}
	case 7:
		if (op & 0x80)
			kcp_set_windows(
				drive->kcp, 1 + (op >> 3 & 15), 1 + wire_u8(&drive->in) % WND);
		else if (op & 0x40)
			kcp_trim(drive->kcp);
		else if (kcp_set_mtu(drive->kcp, 50 + wire_u8(&drive->in)) == 0)
			drive->mtu_bytes = kcp_mss_bytes(drive->kcp) + KCP_OVERHEAD_BYTES;
		else
			kcp_wask(drive->kcp, drive->now);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct drive drive = {.in = wire_of(data, len), .now = mono_at_ms(0xffffff00)};
	struct kcp_output output = {.ctx = &drive, .begin = begin, .end = end};
	uint8_t flags = wire_u8(&drive.in);
	struct pool pool;

	pool_init(&pool, 300, flags & 0x80 ? 20 : SLOTS_MAX);
	struct kcp_config config = {
		.conv = CONV,
		.profile = flags & 1 ? KCP_PROFILE_5_6_72 : KCP_PROFILE_5_6_1,
		.mtu_bytes = drive.mtu_bytes = 200,
		.nodelay = flags & 2,
		.interval_ms = 10,
		.fast_resend = flags & 4 ? 2 : 0,
		.no_congestion_window = flags & 8,
		.snd_wnd = WND,
		.rcv_wnd = WND,
		.stream = flags & 16,
		.measured_window = flags & 32,
		.ack_no_delay = flags & 64,
		.dead_link_us = 5000000,
		.send_queue_max_segments = QUEUE_MAX,
		.pool = &pool,
		.start_sn = 0xffffffe0,
	};
	check(kcp_new(&config, &output, &drive.kcp) == 0);
	while (wire_ok(&drive.in) && wire_left(&drive.in) > 0) {
		step(&drive);
		check(kcp_memory_bytes(drive.kcp) <= MEMORY_MAX);
		check(kcp_queued(drive.kcp) <= QUEUE_MAX && kcp_in_flight(drive.kcp) <= WND);
	}
	kcp_free(drive.kcp);
	check(pool.slots_used == 0);
	pool_fini(&pool);
	return 0;
}
