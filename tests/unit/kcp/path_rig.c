/* Bodies that the test makes hold their sn in every byte, so a message tells of the pieces it was made of. */
#include "path_rig.h"

#include "path_loans.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

static uint8_t *begin(void *ctx, size_t *ret_room)
{
	struct rig *rig = ctx;

	*ret_room = sizeof(rig->room);
	return rig->no_room ? NULL : rig->room;
}

static void end(void *ctx, uint64_t pn, size_t len, unsigned flags)
{
	struct rig *rig = ctx;
	struct wire out = wire_of(rig->room, len);
	struct kcp_segment segment;

	rig->datagrams++;
	while (wire_left(&out) > 0) {
		cr_assert(kcp_segment_read(&out, &segment));
		if (rig->out_count == RIG_OUT_MAX)
			continue;
		struct rig_segment *kept = &rig->out[rig->out_count++];
		*kept = (struct rig_segment){
			.pn = pn, .head = segment, .at = rig->now, .flags = flags};
		memcpy(kept->body, segment.data,
			segment.len < sizeof(kept->body) ? segment.len : sizeof(kept->body));
		kept->head.data = NULL;
	}
}

static bool control_check(void *ctx, const uint8_t *body, size_t len)
{
	(void)ctx;
	return len > 0 && body[0] != 0xff;
}

static void control(void *ctx, const uint8_t *body, size_t len, uint64_t pn)
{
	struct rig *rig = ctx;

	(void)body;
	(void)len;
	rig->controls++;
	rig->control_pn = pn;
}

struct kcp_path_config rig_config(void)
{
	return (struct kcp_path_config){
		.payload_bytes = RIG_PAYLOAD_BYTES,
		.piece_bytes = RIG_PIECE_BYTES,
		.recv_message_max_bytes = 20000,
		.send_message_max_bytes = 20000,
		.rx_credit_bytes = 1 << 20,
		.peer_credit_bytes = 1 << 20,
	};
}

void rig_open(struct rig *rig, const struct kcp_path_config *config)
{
	struct kcp_path_config own = *config;
	struct kcp_path_io io = {.ctx = rig,
		.begin = begin,
		.end = end,
		.control_check = control_check,
		.control = control,
		.loan_over = path_loans_over};

	memset(rig, 0, sizeof(*rig));
	rig->now = mono_at_ms(5000);
	rig->wnd = 256;
	pool_init(&rig->pool, 1472, 1 << 16);
	own.pool = &rig->pool;
	cr_assert_eq(kcp_path_new(&own, &io, &rig->path), 0);
}

void rig_close(struct rig *rig)
{
	kcp_path_free(rig->path);
	cr_assert_eq(rig->pool.slots_used, 0);
	pool_fini(&rig->pool);
}

void rig_clear(struct rig *rig)
{
	rig->out_count = 0;
	rig->datagrams = 0;
}

unsigned rig_count(const struct rig *rig, unsigned cmd)
{
	unsigned count = 0;

	for (unsigned i = 0; i < rig->out_count; i++)
		count += rig->out[i].head.cmd == cmd;
	return count;
}

const struct rig_segment *rig_find(const struct rig *rig, unsigned cmd, unsigned n)
{
	for (unsigned i = 0; i < rig->out_count; i++) {
		if (rig->out[i].head.cmd == cmd && n-- == 0)
			return &rig->out[i];
	}
	cr_assert(false, "segment %u was not sent", cmd);
	return NULL;
}

void rig_run(struct rig *rig, int64_t us)
{
	struct mono until = mono_add_us(rig->now, us);

	for (;;) {
		struct mono next = kcp_path_next_deadline(rig->path);
		if (mono_before(until, next))
			break;
		rig->now = mono_max(rig->now, next);
		kcp_path_on_deadline(rig->path, rig->now);
		cr_assert(!mono_due(kcp_path_next_deadline(rig->path), rig->now),
			"deadline stays due");
	}
	rig->now = until;
}

void rig_add(struct rig *rig, struct kcp_segment segment)
{
	uint8_t *body;

	cr_assert(rig->in_len + KCP_OVERHEAD_BYTES + segment.len <= sizeof(rig->in));
	if (segment.wnd == 0)
		segment.wnd = rig->wnd;
	body = kcp_segment_write(rig->in + rig->in_len, &segment);
	if (segment.data)
		memcpy(body, segment.data, segment.len);
	else
		memset(body, (int)segment.sn, segment.len);
	rig->in_len += KCP_OVERHEAD_BYTES + segment.len;
}

void rig_push(struct rig *rig, uint32_t lane, uint8_t frg, uint32_t sn, uint32_t una, uint32_t len)
{
	rig_add(rig, (struct kcp_segment){.conv = lane,
			     .cmd = KCP_CMD_PUSH,
			     .frg = frg,
			     .sn = sn,
			     .una = una,
			     .len = len});
}

void rig_dgram(struct rig *rig, uint32_t flow, uint32_t sn, uint32_t len)
{
	rig_add(rig, (struct kcp_segment){.conv = flow,
			     .cmd = KCP_CMD_DGRAM,
			     .frg = KCP_FRG_FIRST,
			     .sn = sn,
			     .len = len});
}

enum kcp_path_verdict rig_give_as(struct rig *rig, uint64_t pn)
{
	/* A copy of its own size: reading past the end is seen. */
	uint8_t *copy = malloc(rig->in_len + 1);
	enum kcp_path_verdict verdict;

	cr_assert(copy);
	memcpy(copy, rig->in, rig->in_len);
	verdict = kcp_path_input(rig->path, pn, copy, rig->in_len, false, false, rig->now);
	free(copy);
	rig->in_len = 0;
	kcp_path_input_done(rig->path, rig->now);
	return verdict;
}

enum kcp_path_verdict rig_give(struct rig *rig)
{
	return rig_give_as(rig, rig->pn++);
}

void rig_rack_ranges(struct rig *rig, const struct kcp_range *ranges, unsigned count)
{
	struct kcp_rack rack = {.largest = ranges[0].end - 1, .received_count = count};
	uint8_t body[KCP_RACK_BODY_MAX_BYTES];

	memcpy(rack.received, ranges, count * sizeof(*ranges));
	rig_add(rig, (struct kcp_segment){.cmd = KCP_CMD_RACK,
			     .len = (uint32_t)kcp_rack_write(&rack, body),
			     .data = body});
	cr_assert_eq(rig_give(rig), KCP_PATH_OK);
}

void rig_rack(struct rig *rig, uint64_t first, uint64_t end)
{
	struct kcp_range range = {first, end};

	rig_rack_ranges(rig, &range, 1);
}

size_t rig_read(struct rig *rig, uint8_t ret_body[8])
{
	struct iovec iov[KCP_PATH_PIECES_MAX];
	size_t len = 0;
	int count = kcp_path_recv_iov(rig->path, iov, KCP_PATH_PIECES_MAX, &len);

	memset(ret_body, 0, 8);
	if (count < 0)
		return 0;
	for (int i = 0; i < count && i < 8; i++)
		ret_body[i] = *(uint8_t *)iov[i].iov_base;
	kcp_path_recv_consume(rig->path);
	return len;
}
