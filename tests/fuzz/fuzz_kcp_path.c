/*
 * Drives one path by the input's bytes: datagrams of wild and of plausible segments, reports of what it sent, messages, reads,
 * trims, restarts, moves of the MTU and steps of time. What it watches besides the sanitizers: bounds on memory and slots,
 * progress of deadlines, that every number is used once and in order, and that freeing returns everything.
 */
#include "core/pool.h"
#include "kcp/kcp_path.h"
#include "kcp/kcp_rack.h"
#include "kcp/kcp_segment.h"
#include "tests/unit/kcp/path_loans.h"

#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
	PAYLOAD = 600,
	PIECE = 500,
	SLOT = 560,
	RX_SLOTS = 1024,
	TX_SLOTS = 256,
	/* rings of 8 spans of 512 records; lanes and flows of both directions; some thousand records of what was sent */
	MEMORY_MAX = 6 << 20,
};

struct drive {
	struct wire in;
	struct kcp_path *path;
	struct mono now;
	struct path_loans loans;
	uint64_t pn;	  /* of the next datagram to the path */
	uint64_t next_pn; /* that the path must use next */
	bool no_room;
	uint8_t room[PAYLOAD + 100];
};

static void check(bool holds)
{
	if (!holds)
		abort();
}

static uint8_t *begin(void *ctx, size_t *ret_room)
{
	struct drive *drive = ctx;

	*ret_room = sizeof(drive->room);
	return drive->no_room ? NULL : drive->room;
}

static void end(void *ctx, uint64_t pn, size_t len, unsigned flags)
{
	struct drive *drive = ctx;
	struct wire out = wire_of(drive->room, len);
	struct kcp_segment segment;
	struct kcp_rack rack;

	(void)flags;
	check(pn == drive->next_pn++);
	check(len >= KCP_OVERHEAD_BYTES && len <= sizeof(drive->room));
	while (wire_left(&out) > 0) {
		check(kcp_segment_read(&out, &segment));
		check(segment.wnd >= 64);
		if (segment.cmd == KCP_CMD_RACK)
			check(kcp_rack_read(segment.data, segment.len, &rack));
		if (segment.cmd == KCP_CMD_PUSH)
			check(segment.sn - segment.una < KCP_PATH_SPAN && segment.len > 0);
	}
}

static bool control_check(void *ctx, const uint8_t *body, size_t len)
{
	(void)ctx;
	return len > 0 && body[0] < 128;
}

static void control(void *ctx, const uint8_t *body, size_t len, uint64_t pn)
{
	struct drive *drive = ctx;

	(void)pn;
	if (body[0] & 1)
		kcp_path_control(drive->path, body, len);
	if (body[0] & 2) {
		check(kcp_path_take_pn(drive->path, KCP_PATH_EXTRA_ASKS, len, drive->now) ==
			drive->next_pn);
		drive->next_pn++;
	}
}

static size_t make_rack(struct drive *drive, uint8_t *body)
{
	struct kcp_rack rack = {0};
	uint64_t end_pn = kcp_path_next_pn(drive->path);
	unsigned ranges = 1 + wire_u8(&drive->in) % 4;
	uint8_t back = wire_u8(&drive->in);

	end_pn += wire_u8(&drive->in) == 7; /* seldom: of what was never sent */
	if (end_pn < 1u + back)
		back = 0;
	if (end_pn == 0)
		return 0;
	rack.largest = end_pn - 1 - back;
	rack.delay = wire_u8(&drive->in);
	uint64_t at = rack.largest + 1;
	for (unsigned i = 0; i < ranges; i++) {
		uint64_t gap = i == 0 ? 0 : 1 + wire_u8(&drive->in) % 8u;
		uint64_t length = 1 + wire_u8(&drive->in) % 16u;
		if (gap + length > at)
			break;
		struct kcp_range range = {at - gap - length, at - gap};
		at = range.first;
		if (i > 0 && wire_u8(&drive->in) % 4 == 0)
			rack.rebuilt[rack.rebuilt_count++] = range;
		else
			rack.received[rack.received_count++] = range;
	}
	return rack.received_count ? kcp_rack_write(&rack, body) : 0;
}

/* A segment close to what a peer would send, so that more than the first check is reached. */
static size_t plausible(struct drive *drive, uint8_t *to, size_t room)
{
	static const uint8_t cmds[] = {KCP_CMD_PUSH, KCP_CMD_PUSH, KCP_CMD_PUSH, KCP_CMD_PUSH,
		KCP_CMD_DGRAM, KCP_CMD_DGRAM, KCP_CMD_RACK, KCP_CMD_RACK, KCP_CMD_FWD, KCP_CMD_FWD,
		KCP_CMD_WASK, KCP_CMD_WINS, KCP_CMD_CONTROL, KCP_CMD_PROBE, KCP_CMD_ACK, 95};
	uint8_t body[KCP_RACK_BODY_MAX_BYTES];
	uint8_t kind = wire_u8(&drive->in);
	uint8_t where = wire_u8(&drive->in);
	uint8_t size = wire_u8(&drive->in);
	struct kcp_segment segment = {
		.conv = where % 4,
		.cmd = cmds[kind % 16],
		.wnd = kind & 0x80 ? 0xffff : 64,
		.data = body,
	};

	memset(body, where, sizeof(body));
	switch (segment.cmd) {
	case KCP_CMD_PUSH:
		segment.una = 0xffffffe0u + size % 64;
		segment.sn =
			segment.una + (where >> 2) + (kind & 0x40 ? wire_le16(&drive->in) : 0u);
		segment.frg = kind & 0x20 ? wire_u8(&drive->in) : 0x80;
		segment.len = size;
		if (kind & 0x10)
			segment.conv = wire_le16(&drive->in) % 4100;
		break;
	case KCP_CMD_DGRAM:
		segment.sn = 0xfffffff0u + where;
		segment.frg = 0x80;
		segment.len = size;
		if (kind & 0x10)
			segment.conv = wire_le16(&drive->in) % 4100;
		break;
	case KCP_CMD_RACK:
		segment.len = (uint32_t)make_rack(drive, body);
		break;
	case KCP_CMD_FWD:
		segment.una = 0xffffffe0u + size;
		break;
	case KCP_CMD_CONTROL:
		body[0] = size;
		segment.len = where % 32;
		break;
	case KCP_CMD_PROBE:
		segment.sn = size % 3;
		segment.len = where;
		break;
	default:
		break;
	}
	if (room < KCP_OVERHEAD_BYTES + segment.len)
		return 0;
	memcpy(kcp_segment_write(to, &segment), body, segment.len);
	return KCP_OVERHEAD_BYTES + segment.len;
}

static void input(struct drive *drive, uint8_t op)
{
	uint8_t bytes[1500];
	size_t used = 0;
	uint64_t pn = drive->pn;

	if (op & 0x80) {
		used = wire_u8(&drive->in);
		if (used > wire_left(&drive->in))
			used = wire_left(&drive->in);
		const uint8_t *wild = wire_bytes(&drive->in, used);
		if (!wild)
			return;
		memcpy(bytes, wild, used);
	} else {
		for (int i = 0; i <= (op >> 4 & 3); i++)
			used += plausible(drive, bytes + used, sizeof(bytes) - used);
	}
	uint8_t *copy = malloc(used + 1);
	check(copy != NULL);
	memcpy(copy, bytes, used);
	if (op & 0x08) {
		uint8_t jump = wire_u8(&drive->in);
		if (jump < 64)
			drive->pn += jump;
		else if (pn > jump)
			pn -= jump;
	} else {
		drive->pn++;
	}
	kcp_path_input(drive->path, pn, copy, used, op & 0x40, (op & 0x48) == 0x48, drive->now);
	free(copy);
}

static void send(struct drive *drive, uint8_t op)
{
	static const uint8_t payload[255 * 16] = {1, 2, 3}; /* the longest that is tried */
	enum kcp_path_class class = (enum kcp_path_class)(op >> 3 & 3);
	size_t len = (size_t)wire_u8(&drive->in) * (op & 0x80 ? 16 : 1);
	uint32_t flow = wire_u8(&drive->in) % 8;
	bool room = kcp_path_room(drive->path, class, len, drive->now);
	int err = flow & 1 ? path_loans_send(&drive->loans, drive->path, class, flow, payload, len,
				     drive->now)
			   : kcp_path_send(drive->path, class, flow, payload, len, drive->now);

	check(len > 0 || err != 0);
	check(room || err != 0);
}

static void receive(struct drive *drive, uint8_t op)
{
	struct iovec iov[KCP_PATH_PIECES_MAX];
	size_t len = 0;
	int n = kcp_path_recv_iov(drive->path, iov, op & 0x80 ? KCP_PATH_PIECES_MAX : 2, &len);
	size_t sum = 0;

	for (int i = 0; i < n; i++) {
		sum += iov[i].iov_len;
		memset(iov[i].iov_base, 0, iov[i].iov_len);
	}
	check(n < 0 || (sum == len && len > 0 && len <= 3000));
	kcp_path_recv_consume(drive->path);
}

static void move_time(struct drive *drive, uint8_t op)
{
	struct mono next = kcp_path_next_deadline(drive->path);

	if (op & 0x80 && !mono_is_never(next))
		drive->now = mono_max(drive->now, next);
	else
		drive->now = mono_add_us(
			drive->now, (int64_t)wire_le16(&drive->in) * (op & 0x40 ? 2000 : 20));
	kcp_path_on_deadline(drive->path, drive->now);
	check(!mono_due(kcp_path_next_deadline(drive->path), drive->now));
}

static void change(struct drive *drive, uint8_t op)
{
	uint8_t what = wire_u8(&drive->in);

	switch (op >> 3 & 7) {
	case 0: {
		struct mono again = kcp_path_trim(drive->path, drive->now);
		check(mono_before(drive->now, again));
		break;
	}
	case 1:
		if (what > 250) {
			kcp_path_restart(drive->path, 262144, 262144);
			drive->next_pn = 0;
			drive->pn = 0;
			check(mono_is_never(kcp_path_next_deadline(drive->path)));
		}
		break;
	case 2:
		kcp_path_set_mtu(drive->path, 512 + what % 89u, 100 + what, what & 1);
		break;
	case 3:
		kcp_path_reset_route(drive->path, drive->now);
		break;
	case 4:
		kcp_path_wask(drive->path);
		break;
	case 5:
		check(kcp_path_take_pn(drive->path, (enum kcp_path_extra)(what % 3), what,
			      drive->now) == drive->next_pn);
		drive->next_pn++;
		break;
	case 6:
		drive->no_room = what & 1;
		break;
	default:
		kcp_path_set_bulk_deadline(drive->path, what * 10000);
		kcp_path_hint_rtt(drive->path, what * 1000);
		break;
	}
}

static void step(struct drive *drive)
{
	uint8_t op = wire_u8(&drive->in);

	switch (op & 7) {
	case 0:
	case 1:
		input(drive, op);
		break;
	case 2:
		kcp_path_input_done(drive->path, drive->now);
		break;
	case 3:
		send(drive, op);
		break;
	case 4:
		receive(drive, op);
		break;
	case 5:
		kcp_path_flush(drive->path, drive->now);
		break;
	case 6:
		move_time(drive, op);
		break;
	case 7:
		change(drive, op);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct drive drive = {.in = wire_of(data, len), .now = mono_at_ms(0xffffff00)};
	struct kcp_path_io io = {.ctx = &drive,
		.begin = begin,
		.end = end,
		.control_check = control_check,
		.control = control,
		.loan_over = path_loans_over};
	uint8_t flags = wire_u8(&drive.in);
	struct pool pool;

	pool_init(&pool, SLOT, flags & 1 ? 60 : 4000);
	struct kcp_path_config config = {
		.pool = &pool,
		.payload_bytes = PAYLOAD,
		.piece_bytes = PIECE,
		.recv_message_max_bytes = 3000,
		.send_message_max_bytes = 4000,
		.rx_credit_bytes = 262144,
		.peer_credit_bytes = 262144,
		.rx_slots_max = RX_SLOTS,
		.tx_slots_max = TX_SLOTS,
	};
	check(kcp_path_new(&config, &io, &drive.path) == 0);
	while (wire_ok(&drive.in) && wire_left(&drive.in) > 0) {
		step(&drive);
		check(drive.loans.given == drive.loans.over
				? pool.slots_used == kcp_path_slots(drive.path)
				: pool.slots_used <= kcp_path_slots(drive.path));
		check(kcp_path_slots(drive.path) <= RX_SLOTS + TX_SLOTS);
		check(kcp_path_memory_bytes(drive.path) <= MEMORY_MAX);
		check(kcp_path_next_pn(drive.path) == drive.next_pn);
	}
	kcp_path_free(drive.path);
	check(drive.loans.given == drive.loans.over);
	check(pool.slots_used == 0);
	pool_fini(&pool);
	return 0;
}
