/*
 * As link.c, for paths. Packet numbers are watched: each side uses each once, in order. All randomness comes from the seed, so
 * a run repeats.
 */
#include "path_link.h"

#include "path_loans.h"

#include "kcp/kcp_segment.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

struct path_datagram {
	struct path_datagram *next;
	int64_t at_us;
	uint64_t pn;
	size_t len;
	bool repeated;
	uint8_t bytes[];
};

uint64_t path_link_random(struct path_link *link, uint64_t below)
{
	link->random ^= link->random << 13;
	link->random ^= link->random >> 7;
	link->random ^= link->random << 17;
	return (link->random >> 11) % below;
}

static bool chance(struct path_link *link, double p)
{
	return (double)path_link_random(link, 1000000) < p * 1e6;
}

static void insert(struct path_pipe *pipe, uint64_t pn, const uint8_t *bytes, size_t len,
	int64_t at_us, bool repeated)
{
	struct path_datagram *datagram = malloc(sizeof(*datagram) + len);
	struct path_datagram **at = &pipe->first;

	cr_assert(datagram);
	*datagram =
		(struct path_datagram){.at_us = at_us, .pn = pn, .len = len, .repeated = repeated};
	if (len > 0)
		memcpy(datagram->bytes, bytes, len);
	if (pipe->last && pipe->last->at_us <= at_us)
		at = &pipe->last->next;
	while (*at && (*at)->at_us <= at_us)
		at = &(*at)->next;
	datagram->next = *at;
	*at = datagram;
	if (!datagram->next)
		pipe->last = datagram;
}

void path_link_carry(struct path_side *side, uint64_t pn, const uint8_t *bytes, size_t len)
{
	struct path_link *link = side->link;
	const struct path_link_config *config = &link->config;
	struct path_pipe *pipe = &side->out;
	int64_t start_us = link->now.us;
	int64_t wire_us = 0;

	cr_assert(side->any_pn ? pn == side->last_pn + 1 : pn == 0, "pn %lu after %lu",
		(unsigned long)pn, (unsigned long)side->last_pn);
	side->any_pn = true;
	side->last_pn = pn;
	pipe->sent++;
	pipe->sent_bytes += len + PATH_LINK_WIRE_BYTES;
	if (config->rate_bps) {
		int64_t bits = (int64_t)(len + PATH_LINK_WIRE_BYTES) * 8;
		if (pipe->free_at_us > start_us)
			start_us = pipe->free_at_us;
		int64_t queued_us = start_us - link->now.us;
		if (queued_us * (int64_t)config->rate_bps / 8000000 > config->queue_bytes) {
			pipe->dropped++;
			return;
		}
		pipe->queue_sum_us += (double)queued_us;
		if (queued_us > pipe->queue_max_us)
			pipe->queue_max_us = queued_us;
		wire_us = bits * 1000000 / (int64_t)config->rate_bps;
		pipe->free_at_us = start_us + wire_us;
	}
	if (side->cut || chance(link, config->loss)) {
		pipe->lost++;
		return;
	}
	int64_t at_us = start_us + wire_us + config->delay_us;
	if (config->jitter_us && chance(link, config->reorder))
		at_us += (int64_t)path_link_random(link, (uint64_t)config->jitter_us);
	insert(pipe, pn, bytes, len, at_us, false);
	if (chance(link, config->duplicate))
		insert(pipe, pn, bytes, len,
			at_us + (int64_t)path_link_random(link, (uint64_t)config->jitter_us + 1),
			true);
}

static uint8_t *begin(void *ctx, size_t *ret_room)
{
	struct path_side *side = ctx;

	*ret_room = sizeof(side->room);
	return side->no_room ? NULL : side->room;
}

static void end(void *ctx, uint64_t pn, size_t len, unsigned flags)
{
	struct path_side *side = ctx;
	struct wire out = wire_of(side->room, len);
	struct kcp_segment segment;

	cr_assert(len >= KCP_OVERHEAD_BYTES && len <= sizeof(side->room));
	while (wire_left(&out) > 0)
		cr_assert(kcp_segment_read(&out, &segment));
	(void)flags;
	path_link_carry(side, pn, side->room, len);
}

static bool control_check(void *ctx, const uint8_t *body, size_t len)
{
	(void)ctx;
	return len == 0 || body[0] != 0xff;
}

static void control(void *ctx, const uint8_t *body, size_t len, uint64_t pn)
{
	struct path_side *side = ctx;

	(void)pn;
	side->control_len = len < sizeof(side->control) ? len : sizeof(side->control);
	memcpy(side->control, body, side->control_len);
}

struct kcp_path_config path_link_path_config(void)
{
	return (struct kcp_path_config){
		.payload_bytes = PATH_LINK_PAYLOAD_BYTES,
		.piece_bytes = PATH_LINK_PIECE_BYTES,
		.recv_message_max_bytes = 65538,
		.send_message_max_bytes = 65538,
		.rx_credit_bytes = 256 << 10,
		.peer_credit_bytes = 256 << 10,
	};
}

static void open_side(
	struct path_link *link, struct path_side *side, const struct kcp_path_config *config)
{
	struct kcp_path_config own = *config;
	struct kcp_path_io io = {.ctx = side,
		.begin = begin,
		.end = end,
		.control_check = control_check,
		.control = control,
		.loan_over = path_loans_over};

	own.pool = &link->pool;
	side->link = link;
	cr_assert_eq(kcp_path_new(&own, &io, &side->path), 0);
}

void path_link_open(struct path_link *link, const struct path_link_config *config,
	const struct kcp_path_config *a, const struct kcp_path_config *b)
{
	memset(link, 0, sizeof(*link));
	link->config = *config;
	link->random = config->seed * 0x9e3779b97f4a7c15u + 1;
	link->now = mono_at_ms(1000);
	pool_init(&link->pool, 1472, 1 << 20);
	open_side(link, &link->a, a);
	open_side(link, &link->b, b);
}

static void empty(struct path_pipe *pipe)
{
	while (pipe->first) {
		struct path_datagram *next = pipe->first->next;
		free(pipe->first);
		pipe->first = next;
	}
	pipe->last = NULL;
}

void path_link_lose(struct path_link *link)
{
	empty(&link->a.out);
	empty(&link->b.out);
}

void path_link_forget(struct path_link *link)
{
	path_link_lose(link);
	link->a.any_pn = false;
	link->b.any_pn = false;
}

void path_link_close(struct path_link *link)
{
	kcp_path_free(link->a.path);
	kcp_path_free(link->b.path);
	empty(&link->a.out);
	empty(&link->b.out);
	cr_assert_eq(link->pool.slots_used, 0);
	pool_fini(&link->pool);
}

static struct mono arrival(const struct path_pipe *pipe)
{
	return pipe->first ? mono_at_us(pipe->first->at_us) : MONO_NEVER;
}

struct mono path_link_next(const struct path_link *link)
{
	struct mono next = mono_min(arrival(&link->a.out), arrival(&link->b.out));

	next = mono_min(next, kcp_path_next_deadline(link->a.path));
	next = mono_min(next, kcp_path_next_deadline(link->b.path));
	return mono_is_never(next) ? next : mono_max(next, link->now);
}

static void deliver(struct path_link *link, struct path_pipe *pipe, struct kcp_path *to)
{
	while (pipe->first && pipe->first->at_us <= link->now.us) {
		struct path_datagram *datagram = pipe->first;
		enum kcp_path_verdict verdict;
		pipe->first = datagram->next;
		if (!pipe->first)
			pipe->last = NULL;
		/* The caller's replay window drops repeats; what has left the path's memory may slip through here. */
		if (!datagram->repeated) {
			verdict = kcp_path_input(to, datagram->pn, datagram->bytes, datagram->len,
				link->ce, false, link->now);
			cr_assert(verdict == KCP_PATH_OK || verdict == KCP_PATH_NO_MEMORY);
		} else {
			kcp_path_input(to, datagram->pn, datagram->bytes, datagram->len, link->ce,
				false, link->now);
		}
		free(datagram);
	}
	kcp_path_input_done(to, link->now);
}

static void serve(struct path_link *link, struct kcp_path *path)
{
	if (mono_due(kcp_path_next_deadline(path), link->now)) {
		kcp_path_on_deadline(path, link->now);
		link->wakes++;
		/* or time would stand still */
		cr_assert(!mono_due(kcp_path_next_deadline(path), link->now), "deadline stays due");
	}
}

bool path_link_step(struct path_link *link, struct mono until)
{
	struct mono next = path_link_next(link);

	if (mono_is_never(next) || mono_before(until, next))
		return false;
	link->now = next;
	deliver(link, &link->a.out, link->b.path);
	deliver(link, &link->b.out, link->a.path);
	serve(link, link->a.path);
	serve(link, link->b.path);
	return true;
}

void path_link_run(struct path_link *link, int64_t us)
{
	struct mono until = mono_add_us(link->now, us);

	while (path_link_step(link, until))
		;
	link->now = until;
}

size_t path_link_read(struct path_side *side, uint8_t *buf, size_t cap)
{
	struct iovec iov[KCP_PATH_PIECES_MAX];
	size_t len = 0;
	size_t used = 0;
	int count = kcp_path_recv_iov(side->path, iov, KCP_PATH_PIECES_MAX, &len);

	if (count < 0)
		return 0;
	for (int i = 0; i < count; i++) {
		size_t part = iov[i].iov_len < cap - used ? iov[i].iov_len : cap - used;
		memcpy(buf + used, iov[i].iov_base, part);
		used += part;
	}
	kcp_path_recv_consume(side->path);
	return len;
}
