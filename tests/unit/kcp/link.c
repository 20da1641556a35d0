/*
 * A datagram is dropped, or leaves the bottleneck when all before it have, and arrives one delay later; some are held
 * back so that later ones overtake them. All randomness comes from the seed, so a run repeats.
 */
#include "link.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

struct datagram {
	struct datagram *next;
	int64_t at_us;
	size_t len;
	uint8_t bytes[];
};

uint64_t link_random(struct link *link, uint64_t below)
{
	link->random ^= link->random << 13;
	link->random ^= link->random >> 7;
	link->random ^= link->random << 17;
	return (link->random >> 11) % below;
}

static bool chance(struct link *link, double p)
{
	return (double)link_random(link, 1000000) < p * 1e6;
}

static void insert(struct pipe *pipe, const uint8_t *bytes, size_t len, int64_t at_us)
{
	struct datagram *datagram = malloc(sizeof(*datagram) + len);
	struct datagram **at = &pipe->first;

	cr_assert(datagram);
	*datagram = (struct datagram){.at_us = at_us, .len = len};
	memcpy(datagram->bytes, bytes, len);
	if (pipe->last && pipe->last->at_us <= at_us)
		at = &pipe->last->next;
	while (*at && (*at)->at_us <= at_us)
		at = &(*at)->next;
	datagram->next = *at;
	*at = datagram;
	if (!datagram->next)
		pipe->last = datagram;
	pipe->waiting++;
}

static uint8_t *begin(void *ctx)
{
	return ((struct side *)ctx)->room;
}

static void end(void *ctx, size_t len, unsigned flags)
{
	struct side *side = ctx;
	struct link *link = side->link;
	const struct link_config *config = &link->config;
	struct pipe *pipe = &side->out;
	int64_t start_us = link->now.us;
	int64_t wire_us = 0;

	cr_assert(flags != 0 && len >= KCP_OVERHEAD_BYTES && len <= LINK_MTU_BYTES);
	pipe->sent++;
	if (config->rate_bps) {
		int64_t bits = (int64_t)(len + LINK_WIRE_BYTES) * 8;
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
	if (chance(link, config->loss)) {
		pipe->lost++;
		return;
	}
	int64_t at_us = start_us + wire_us + config->delay_us;
	if (config->jitter_us && chance(link, config->reorder))
		at_us += (int64_t)link_random(link, (uint64_t)config->jitter_us);
	insert(pipe, side->room, len, at_us);
	if (chance(link, config->duplicate))
		insert(pipe, side->room, len,
			at_us + (int64_t)link_random(link, (uint64_t)config->jitter_us + 1));
}

struct kcp_config link_kcp_config(void)
{
	return (struct kcp_config){
		.conv = 0x11223344,
		.profile = KCP_PROFILE_5_6_72,
		.mtu_bytes = LINK_MTU_BYTES,
		.nodelay = true,
		.interval_ms = 10,
		.fast_resend = 2,
		.no_congestion_window = true,
		.snd_wnd = 1024,
		.rcv_wnd = 1024,
		.send_queue_max_segments = 1024,
	};
}

static void open_side(struct link *link, struct side *side, const struct kcp_config *config)
{
	struct kcp_config own = *config;
	struct kcp_output output = {.ctx = side, .begin = begin, .end = end};

	own.pool = &link->pool;
	side->link = link;
	cr_assert_eq(kcp_new(&own, &output, &side->kcp), 0);
}

void link_open(struct link *link, const struct link_config *config, const struct kcp_config *a,
	const struct kcp_config *b)
{
	memset(link, 0, sizeof(*link));
	link->config = *config;
	link->random = config->seed * 0x9e3779b97f4a7c15u + 1;
	link->now = mono_at_ms(1000);
	pool_init(&link->pool, KCP_PEER_MTU_BYTES - KCP_OVERHEAD_BYTES, 1 << 20);
	open_side(link, &link->a, a);
	open_side(link, &link->b, b);
}

static void empty(struct pipe *pipe)
{
	while (pipe->first) {
		struct datagram *next = pipe->first->next;
		free(pipe->first);
		pipe->first = next;
	}
}

void link_close(struct link *link)
{
	kcp_free(link->a.kcp);
	kcp_free(link->b.kcp);
	empty(&link->a.out);
	empty(&link->b.out);
	cr_assert_eq(link->pool.slots_used, 0);
	pool_fini(&link->pool);
}

static struct mono arrival(const struct pipe *pipe)
{
	return pipe->first ? mono_at_us(pipe->first->at_us) : MONO_NEVER;
}

struct mono link_next(const struct link *link)
{
	struct mono next = mono_min(arrival(&link->a.out), arrival(&link->b.out));

	next = mono_min(next, kcp_next_deadline(link->a.kcp));
	next = mono_min(next, kcp_next_deadline(link->b.kcp));
	return mono_is_never(next) ? next : mono_max(next, link->now);
}

static void deliver(struct link *link, struct pipe *pipe, struct kcp *to)
{
	while (pipe->first && pipe->first->at_us <= link->now.us) {
		struct datagram *datagram = pipe->first;
		pipe->first = datagram->next;
		if (!pipe->first)
			pipe->last = NULL;
		pipe->waiting--;
		cr_assert_eq(kcp_input(to, datagram->bytes, datagram->len, false, link->now),
			KCP_INPUT_OK);
		free(datagram);
	}
	kcp_input_done(to, link->now);
}

static void serve(struct link *link, struct kcp *kcp)
{
	if (mono_due(kcp_next_deadline(kcp), link->now)) {
		kcp_on_deadline(kcp, link->now);
		link->wakes++;
		/* or time would stand still */
		cr_assert(!mono_due(kcp_next_deadline(kcp), link->now), "deadline stays due");
	}
}

bool link_step(struct link *link, struct mono until)
{
	struct mono next = link_next(link);

	if (mono_is_never(next) || mono_before(until, next))
		return false;
	link->now = next;
	deliver(link, &link->a.out, link->b.kcp);
	deliver(link, &link->b.out, link->a.kcp);
	serve(link, link->a.kcp);
	serve(link, link->b.kcp);
	return true;
}
