/*
 * Sending: a ring of messages by a serial number of their own, in the order they came. All live equally long, so the oldest
 * expires first and the ring is swept from its front. Numbers on the wire count per flow.
 *
 * Receiving: a message is delivered when it arrives; all that is remembered is which of the last 1024 numbers of its flow
 * were here. A flow that is new starts at the number that came; lower ones within the window that were overtaken on the way
 * are new, too.
 */
#include "kcp/kcp_dgram.h"

#include "core/pool.h"
#include "kcp/kcp_path.h"
#include "kcp/kcp_segment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct flow_out {
	struct kcp_table_entry entry;
	uint32_t next_sn;
	struct mono used_at;
};

struct flow_in {
	struct kcp_table_entry entry;
	uint32_t top; /* one above the highest seen */
	struct mono seen_at;
	uint64_t seen[KCP_DGRAM_WINDOW / 64]; /* bit sn modulo the window */
};

void kcp_dgram_out_init(struct kcp_dgram_out *out)
{
	*out = (struct kcp_dgram_out){0};
	kcp_ring_init(&out->ring, sizeof(struct kcp_dgram));
}

static struct kcp_dgram *at(const struct kcp_dgram_out *out, uint32_t serial)
{
	return kcp_ring_at(&out->ring, serial);
}

static void free_flows(struct kcp_table *flows)
{
	uint32_t i = 0;
	void *flow;

	while ((flow = kcp_table_next(flows, &i)) != NULL)
		free(flow);
	kcp_table_free(flows);
}

void kcp_dgram_out_fini(struct kcp_dgram_out *out, struct pool *pool)
{
	for (; out->first != out->next; out->first++)
		pool_return(pool, at(out, out->first)->slot);
	kcp_ring_free(&out->ring);
	free_flows(&out->flows);
}

static struct flow_out *flow_of(
	struct kcp_dgram_out *out, uint32_t id, uint32_t start_sn, struct mono now)
{
	struct flow_out *flow = kcp_table_find(&out->flows, id);

	if (flow)
		return flow;
	flow = calloc(1, sizeof(*flow));
	if (!flow)
		return NULL;
	*flow = (struct flow_out){.entry = {id}, .next_sn = start_sn, .used_at = now};
	if (!kcp_table_add(&out->flows, &flow->entry)) {
		free(flow);
		return NULL;
	}
	return flow;
}

static void forget_settled(struct kcp_dgram_out *out)
{
	while (out->first != out->next && !at(out, out->first)->slot)
		out->first++;
}

int kcp_dgram_out_push(struct kcp_dgram_out *out, struct pool *pool, uint32_t flow, uint8_t class,
	uint32_t start_sn, const void *data, size_t len, struct mono now, uint32_t *ret_serial)
{
	uint32_t used;
	uint8_t *slot;

	forget_settled(out);
	used = out->next - out->first;
	if (used >= KCP_DGRAM_WAITING_MAX)
		return -ENOBUFS;
	struct flow_out *state = flow_of(out, flow, start_sn, now);
	if (!state || !kcp_ring_reserve(&out->ring, out->first, used, used + 1))
		return -ENOMEM;
	slot = pool_take_keeping(pool, (pool->slots_max + 7) / 8);
	if (!slot)
		return -ENOBUFS;
	memcpy(slot, data, len);
	state->used_at = now;
	*at(out, out->next) = (struct kcp_dgram){
		.slot = slot,
		.expires = mono_add_us(now, KCP_DGRAM_LIFE_US),
		.pn = UINT64_MAX,
		.sn = state->next_sn++,
		.len = (uint16_t)len,
		.flow = (uint16_t)flow,
		.class = class,
		.waits = true,
	};
	*ret_serial = out->next++;
	return 0;
}

struct kcp_dgram *kcp_dgram_out_find(const struct kcp_dgram_out *out, uint32_t serial)
{
	if (serial - out->first >= out->next - out->first)
		return NULL;
	return at(out, serial)->slot ? at(out, serial) : NULL;
}

void kcp_dgram_out_settle(struct kcp_dgram_out *out, struct pool *pool, struct kcp_dgram *dgram)
{
	pool_return(pool, dgram->slot);
	dgram->slot = NULL;
	dgram->waits = false;
	forget_settled(out);
}

uint32_t kcp_dgram_out_expire(struct kcp_dgram_out *out, struct pool *pool, struct mono now)
{
	uint32_t expired = 0;

	forget_settled(out);
	while (out->first != out->next && mono_due(at(out, out->first)->expires, now)) {
		expired++;
		kcp_dgram_out_settle(out, pool, at(out, out->first));
	}
	return expired;
}

struct mono kcp_dgram_out_expires(const struct kcp_dgram_out *out)
{
	return out->first != out->next ? at(out, out->first)->expires : MONO_NEVER;
}

struct mono kcp_dgram_out_trim(struct kcp_dgram_out *out, uint32_t *start_sn, struct mono now)
{
	struct mono next = MONO_NEVER;
	struct flow_out *flow;
	uint32_t i = 0;

	forget_settled(out);
	if (out->first == out->next)
		kcp_ring_free(&out->ring);
	while ((flow = kcp_table_next(&out->flows, &i)) != NULL) {
		struct mono free_at = mono_add_us(flow->used_at, KCP_DGRAM_IDLE_US);
		if (!mono_due(free_at, now)) {
			next = mono_min(next, free_at);
			continue;
		}
		if (kcp_sn_before(*start_sn, flow->next_sn))
			*start_sn = flow->next_sn;
		kcp_table_remove(&out->flows, &flow->entry);
		free(flow);
		i--;
	}
	if (out->flows.count == 0)
		kcp_table_free(&out->flows);
	return next;
}

size_t kcp_dgram_out_bytes(const struct kcp_dgram_out *out)
{
	return kcp_ring_bytes(&out->ring) + kcp_table_bytes(&out->flows) +
	       out->flows.count * sizeof(struct flow_out);
}

/* ---- receiving -------------------------------------------------------------------------------------------------- */

void kcp_dgram_in_fini(struct kcp_dgram_in *in)
{
	free_flows(&in->flows);
}

static void mark(struct flow_in *flow, uint32_t sn, bool seen)
{
	uint64_t bit = (uint64_t)1 << (sn % 64);

	if (seen)
		flow->seen[sn / 64 % (KCP_DGRAM_WINDOW / 64)] |= bit;
	else
		flow->seen[sn / 64 % (KCP_DGRAM_WINDOW / 64)] &= ~bit;
}

enum kcp_dgram_state kcp_dgram_in_check(
	struct kcp_dgram_in *in, uint32_t flow_id, uint32_t sn, struct mono now)
{
	struct flow_in *flow = kcp_table_find(&in->flows, flow_id);

	if (flow && mono_diff_us(now, flow->seen_at) >= KCP_DGRAM_IN_IDLE_US &&
		(!kcp_sn_before(sn, flow->top) || flow->top - sn > KCP_DGRAM_WINDOW)) {
		/* Past its time and not what it knows: the sender freed it and began anew. */
		*flow = (struct flow_in){.entry = {flow_id}, .top = sn};
	}
	if (!flow) {
		flow = calloc(1, sizeof(*flow));
		if (!flow)
			return KCP_DGRAM_NO_MEMORY;
		*flow = (struct flow_in){.entry = {flow_id}, .top = sn};
		if (!kcp_table_add(&in->flows, &flow->entry)) {
			free(flow);
			return KCP_DGRAM_NO_MEMORY;
		}
	}
	flow->seen_at = now;
	if (!kcp_sn_before(sn, flow->top))
		return KCP_DGRAM_NEW;
	if (flow->top - sn > KCP_DGRAM_WINDOW)
		return KCP_DGRAM_SEEN;
	return flow->seen[sn / 64 % (KCP_DGRAM_WINDOW / 64)] >> (sn % 64) & 1 ? KCP_DGRAM_SEEN
									      : KCP_DGRAM_NEW;
}

void kcp_dgram_in_note(struct kcp_dgram_in *in, uint32_t flow_id, uint32_t sn)
{
	struct flow_in *flow = kcp_table_find(&in->flows, flow_id);

	in->came++;
	if (!kcp_sn_before(sn, flow->top)) {
		in->numbers += sn - flow->top + 1;
		if (sn - flow->top >= KCP_DGRAM_WINDOW)
			memset(flow->seen, 0, sizeof(flow->seen));
		else
			for (uint32_t i = flow->top; i != sn; i++)
				mark(flow, i, false);
		flow->top = sn + 1;
	}
	mark(flow, sn, true);
}

struct mono kcp_dgram_in_trim(struct kcp_dgram_in *in, struct mono now)
{
	struct mono next = MONO_NEVER;
	struct flow_in *flow;
	uint32_t i = 0;

	while ((flow = kcp_table_next(&in->flows, &i)) != NULL) {
		struct mono free_at = mono_add_us(flow->seen_at, KCP_DGRAM_IN_IDLE_US);
		if (!mono_due(free_at, now)) {
			next = mono_min(next, free_at);
			continue;
		}
		kcp_table_remove(&in->flows, &flow->entry);
		free(flow);
		i--;
	}
	if (in->flows.count == 0)
		kcp_table_free(&in->flows);
	return next;
}

size_t kcp_dgram_in_bytes(const struct kcp_dgram_in *in)
{
	return kcp_table_bytes(&in->flows) + in->flows.count * sizeof(struct flow_in);
}
