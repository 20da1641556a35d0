/*
 * Flows: a table of `options.flows` queues, chosen by a keyed hash over what names a flow, allocated with the first
 * packet and freed by ingress_trim(), so that an idle peer costs nothing. Two flows in one slot share a queue, no more.
 * All fragments of a packet go to one queue: they are hashed without ports, which later fragments do not have.
 *
 * Turns: deficit round robin with two lists. A flow that gets its first packet goes to the end of `new_flows`, which
 * are served before `old_flows`; one that used up its quantum, or a new one that ran empty, goes to the end of the old.
 * So a flow that sends less than a quantum a turn never waits behind those that always have something.
 *
 * CoDel, per flow: when packets have waited longer than `target` for a whole `interval`, drop one, and the next after
 * interval / sqrt(count), until the wait is below the target again. A packet that can be marked is marked and sent.
 *
 * A packet may be a super-packet, many segments that leave as one message. It is queued, marked and counted as one; its bytes
 * are charged to its flow, which then waits for as many turns. Where CoDel would drop it, it loses its first segment.
 *
 * Bounds: `packets_max` and `bytes_max` hold at each return of ingress_push(): what is too much is taken from the head
 * of the flow with the most bytes, many packets at once, because finding that flow costs a walk over the table.
 * `wait_max_us` holds at ingress_pop(): nothing older comes out. Where nobody pops, ingress_expire() gives the memory back.
 *
 * Invariants: a flow is in one of the two lists if it has packets; backlog counters are the sums over the flows.
 *
 * Standards: RFC 8290 section 4, RFC 8289 section 5 (whose pseudo code CoDel's states follow), RFC 3168 section 5.
 */
#include "session/ingress.h"

#include "core/endian.h"
#include "core/ip_header.h"
#include "core/rand.h"
#include "core/super_message.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
	FLOWS_MAX = 65536,
	CODEL_RESUME_INTERVALS =
		16, /* a new phase of dropping this soon goes on from the last rate */
	FLOW_KEY_BYTES = 40,
};

struct ingress_flow {
	struct list node; /* in new_flows or old_flows, or unlinked */
	struct ingress_packet *head;
	struct ingress_packet *tail;
	uint32_t backlog_bytes;
	int32_t deficit_bytes;

	/* CoDel */
	bool dropping;
	uint32_t count;	     /* drops in this phase of dropping */
	uint32_t last_count; /* `count` when the phase began */
	struct mono
		above_at; /* when the wait will have been above the target for an interval; NEVER = it is not above */
	struct mono drop_at; /* the next drop of this phase */
};

struct ingress_packet *ingress_packet_take(struct pool *pool)
{
	struct ingress_packet *packet;

	if (pool->slot_bytes <= sizeof(*packet))
		return NULL;
	packet = pool_take(pool);
	if (!packet)
		return NULL;
	packet->next = NULL;
	packet->pool = pool;
	packet->queued_at = MONO_NEVER;
	packet->len = 0;
	packet->ip_at = 0;
	packet->segments = 1;
	packet->capacity = (uint32_t)(pool->slot_bytes - sizeof(*packet));
	return packet;
}

void ingress_packet_return(struct ingress_packet *packet)
{
	if (packet)
		pool_return(packet->pool, packet);
}

static uint32_t power_of_two(uint32_t value)
{
	uint32_t power = 1;

	while (power < value && power < FLOWS_MAX)
		power <<= 1;
	return power;
}

void ingress_init(
	struct ingress *queue, const struct ingress_options *options, const struct rand_source *rnd)
{
	uint8_t key[SIPHASH_KEY_BYTES];

	rand_fill(rnd, key, sizeof(key));
	*queue = (struct ingress){
		.options = *options,
		.key = siphash_key_of(key),
	};
	queue->options.flows = power_of_two(options->flows);
	if (options->quantum_bytes == 0 || options->quantum_bytes > 1 << 20)
		queue->options.quantum_bytes = INGRESS_QUANTUM_BYTES;
	if (options->packets_max == 0)
		queue->options.packets_max = 1;
	if (options->bytes_max > INT32_MAX)
		queue->options.bytes_max = INT32_MAX;
	ingress_set_codel(queue, options->target_us, options->interval_us);
	ingress_set_wait_max(queue, options->wait_max_us);
	list_init(&queue->new_flows);
	list_init(&queue->old_flows);
}

void ingress_fini(struct ingress *queue)
{
	ingress_clear(queue);
	ingress_trim(queue);
}

void ingress_set_codel(struct ingress *queue, int64_t target_us, int64_t interval_us)
{
	queue->options.target_us = target_us > 0 ? target_us : INGRESS_TARGET_US;
	queue->options.interval_us = interval_us > 0 ? interval_us : INGRESS_INTERVAL_US;
}

/*
 * How long a flow may keep packets waiting before CoDel takes that for a standing queue. The wait is the flow's own, others have
 * queues of their own, so CoDel's 5 ms would protect nobody here, and cost much: a sender that halves its window lives from its
 * queue until the window has grown again. A third of a round trip carries CUBIC over that (one flow at 100 Mb/s, 60 ms: 90 Mb/s
 * of payload instead of 84); more gains nothing, and is in the way on a path that suddenly becomes slower. On long paths it is 30
 * ms: a flow that always has something waiting makes each probe of the path a queue of 15 % of the round trip, which all see.
 *
 * A lossy path fills holes by sending again, a round trip later or two, and what waited behind a hole comes out at once: inner TCP
 * answers with a burst that stands in its queue for as long, and its own round trip is two or three of the path's. There it may
 * be two (the same flow with 5 % loss: 86 Mb/s of 95 instead of 81 with one, 64 with 5 ms; tests/sim, test_lossy.c).
 *
 * The bound of the wait is there for what is worth nothing when it is late. On a long path what comes at once behind a filled
 * hole is a round trip's worth, twice that if a resend was lost, too; dropping it all tears new holes (RTT 200 ms, 20 % loss: .68
 * of what the link carries against .79). So the default is no less than three round trips, within reason. A value that
 * somebody chose is kept.
 */
void ingress_follow(struct ingress *queue, const struct ingress_path *path, uint32_t packet_bytes)
{
	int64_t target_us = INGRESS_TARGET_US, interval_us = 3 * path->srtt_us;

	if (interval_us < INGRESS_INTERVAL_US)
		interval_us = INGRESS_INTERVAL_US;
	if (interval_us > INGRESS_INTERVAL_MAX_US)
		interval_us = INGRESS_INTERVAL_MAX_US;
	if (path->rate_bps > 0) {
		/* one packet and a half, or a slow link never gets below the target */
		int64_t packets_us =
			(int64_t)((uint64_t)packet_bytes * 12 * 1000000 / path->rate_bps);
		target_us = packets_us > target_us ? packets_us : target_us;
	}
	int64_t third_us = path->srtt_us * INGRESS_TARGET_PERCENT / 100;
	if (third_us > INGRESS_TARGET_MOST_US)
		third_us = INGRESS_TARGET_MOST_US;
	int64_t own_us = third_us;
	if (path->loss * 1e6 >= INGRESS_LOSSY_PPM)
		own_us = path->srtt_us * INGRESS_LOSSY_TARGET_PERCENT / 100;
	else if (path->contested)
		own_us = path->srtt_us * INGRESS_CONTESTED_TARGET_PERCENT / 100;
	if (own_us > target_us)
		target_us = own_us;
	if (target_us > interval_us)
		target_us = interval_us;
	ingress_set_codel(queue, target_us, interval_us);
	queue->wait_us = queue->options.wait_max_us;
	if (queue->wait_us == INGRESS_WAIT_MAX_US && interval_us > queue->wait_us)
		queue->wait_us = interval_us;
}

void ingress_set_wait_max(struct ingress *queue, int64_t wait_max_us)
{
	queue->options.wait_max_us = wait_max_us > 0 ? wait_max_us : INGRESS_WAIT_MAX_US;
	queue->wait_us = queue->options.wait_max_us;
}

/* ---- flows ------------------------------------------------------------------------------------------------------ */

static bool allocate_flows(struct ingress *queue)
{
	if (queue->flows)
		return true;
	queue->flows = calloc(queue->options.flows, sizeof(*queue->flows));
	if (!queue->flows)
		return false;
	for (uint32_t i = 0; i < queue->options.flows; i++) {
		list_init(&queue->flows[i].node);
		queue->flows[i].above_at = MONO_NEVER;
	}
	return true;
}

void ingress_trim(struct ingress *queue)
{
	if (queue->backlog_packets > 0)
		return;
	list_init(&queue->new_flows);
	list_init(&queue->old_flows);
	free(queue->flows);
	queue->flows = NULL;
}

static struct ingress_flow *flow_of(const struct ingress *queue, const struct ip_header *header)
{
	uint8_t key[FLOW_KEY_BYTES] = {0};

	if (!header)
		return &queue->flows[0];
	memcpy(key, header->src, 16);
	memcpy(key + 16, header->dst, 16);
	key[32] = header->protocol;
	key[33] = header->version;
	if (!header->fragment) {
		store_be16(key + 34, header->src_port);
		store_be16(key + 36, header->dst_port);
	}
	uint64_t hash = siphash(queue->key, key, sizeof(key));
	return &queue->flows[hash & (queue->options.flows - 1)];
}

static void append(struct ingress *queue, struct ingress_flow *flow, struct ingress_packet *packet)
{
	if (flow->tail)
		flow->tail->next = packet;
	else
		flow->head = packet;
	flow->tail = packet;
	flow->backlog_bytes += packet->len;
	queue->backlog_bytes += packet->len;
	queue->backlog_packets++;
}

/* Takes the packet at the head, now owned by the caller. @return NULL if the flow is empty */
static struct ingress_packet *take_head(struct ingress *queue, struct ingress_flow *flow)
{
	struct ingress_packet *packet = flow->head;

	if (!packet)
		return NULL;
	flow->head = packet->next;
	if (!flow->head)
		flow->tail = NULL;
	packet->next = NULL;
	flow->backlog_bytes -= packet->len;
	queue->backlog_bytes -= packet->len;
	queue->backlog_packets--;
	return packet;
}

static struct ingress_flow *longest_flow(const struct ingress *queue)
{
	struct ingress_flow *longest = NULL;
	const struct list *const lists[] = {&queue->new_flows, &queue->old_flows};

	for (size_t i = 0; i < 2; i++) {
		list_for_each (node, lists[i]) {
			struct ingress_flow *flow = list_entry(node, struct ingress_flow, node);
			if (flow->head &&
				(!longest || flow->backlog_bytes > longest->backlog_bytes))
				longest = flow;
		}
	}
	return longest;
}

static bool over_bounds(const struct ingress *queue)
{
	return queue->backlog_packets > queue->options.packets_max ||
	       queue->backlog_bytes > queue->options.bytes_max;
}

size_t ingress_drop_longest(struct ingress *queue, size_t max)
{
	struct ingress_flow *flow = longest_flow(queue);
	uint32_t enough = flow ? flow->backlog_bytes / 2 : 0;
	size_t count = 0;

	while (flow && flow->head && count < max) {
		ingress_packet_return(take_head(queue, flow));
		queue->counters.dropped_overflow++;
		count++;
		if (flow->backlog_bytes <= enough)
			break;
	}
	return count;
}

void ingress_expire(struct ingress *queue, struct mono now)
{
	const struct list *const lists[] = {&queue->new_flows, &queue->old_flows};

	for (size_t i = 0; i < 2; i++) {
		list_for_each (node, lists[i]) {
			struct ingress_flow *flow = list_entry(node, struct ingress_flow, node);
			while (flow->head &&
				mono_diff_us(now, flow->head->queued_at) > queue->wait_us) {
				ingress_packet_return(take_head(queue, flow));
				queue->counters.dropped_old++;
			}
		}
	}
}

bool ingress_push(struct ingress *queue, struct ingress_packet *packet,
	const struct ip_header *header, struct mono now)
{
	struct ingress_flow *flow;

	assert(packet->len <= packet->capacity);
	queue->counters.pushed_packets++;
	queue->counters.pushed_bytes += packet->len;
	if (!allocate_flows(queue)) {
		queue->counters.dropped_memory++;
		ingress_packet_return(packet);
		return false;
	}
	packet->queued_at = now;
	packet->next = NULL;
	flow = flow_of(queue, header);
	append(queue, flow, packet);
	if (!list_linked(&flow->node)) {
		flow->deficit_bytes = (int32_t)queue->options.quantum_bytes;
		list_add_tail(&queue->new_flows, &flow->node);
	}
	if (!over_bounds(queue))
		return true;
	/* half of the longest flow, at most a batch, then as much as the bounds still ask for */
	while (over_bounds(queue))
		(void)ingress_drop_longest(queue, INGRESS_OVERFLOW_BATCH);
	return false;
}

void ingress_clear(struct ingress *queue)
{
	struct list *const lists[] = {&queue->new_flows, &queue->old_flows};

	for (size_t i = 0; i < 2 && queue->flows; i++) {
		struct list *node;
		while ((node = list_pop(lists[i])) != NULL) {
			struct ingress_flow *flow = list_entry(node, struct ingress_flow, node);
			struct ingress_packet *packet;
			while ((packet = take_head(queue, flow)) != NULL) {
				ingress_packet_return(packet);
				queue->counters.dropped_cleared++;
			}
			flow->dropping = false;
			flow->above_at = MONO_NEVER;
		}
	}
}

/* ---- CoDel ------------------------------------------------------------------------------------------------------ */

static uint32_t square_root(uint64_t value)
{
	uint64_t root = 0;

	for (uint64_t bit = (uint64_t)1 << 31; bit; bit >>= 1) {
		if ((root | bit) * (root | bit) <= value)
			root |= bit;
	}
	return (uint32_t)root;
}

/* interval / sqrt(count), with the root in 1/256: exact enough, and the same on every machine. */
static struct mono next_drop(const struct ingress *queue, struct mono from, uint32_t count)
{
	uint32_t root = square_root((uint64_t)count << 16);
	return mono_add_us(from, queue->options.interval_us * 256 / (root ? root : 1));
}

/* Takes the next packet; `*ret_ok_to_drop` tells that the wait has been too long for an interval. */
static struct ingress_packet *codel_take(
	struct ingress *queue, struct ingress_flow *flow, struct mono now, bool *ret_ok_to_drop)
{
	struct ingress_packet *packet;

	*ret_ok_to_drop = false;
	while ((packet = take_head(queue, flow)) != NULL) {
		if (mono_diff_us(now, packet->queued_at) <= queue->wait_us)
			break;
		queue->counters.dropped_old++;
		ingress_packet_return(packet);
	}
	if (!packet) {
		flow->above_at = MONO_NEVER;
		return NULL;
	}
	/* A packet that waits behind is what the link needs to be busy, however slow it is. */
	if (mono_diff_us(now, packet->queued_at) < queue->options.target_us ||
		flow->backlog_bytes <= queue->options.quantum_bytes)
		flow->above_at = MONO_NEVER;
	else if (mono_is_never(flow->above_at))
		flow->above_at = mono_add_us(now, queue->options.interval_us);
	else
		*ret_ok_to_drop = mono_due(flow->above_at, now);
	return packet;
}

/* @return true if the packet was marked and is to be sent in place of a drop */
static bool mark(struct ingress *queue, struct ingress_packet *packet)
{
	struct ip_header header;
	uint8_t *ip = packet->data + packet->ip_at;

	if (!queue->options.ecn ||
		ip_header_parse(ip, packet->len - packet->ip_at, &header) != IP_OK ||
		!ip_header_mark_ce(ip, &header))
		return false;
	queue->counters.marked++;
	return true;
}

/*
 * Drops the first segment of a super-packet, which is sent without it: what the sender learns is the same, and it has one packet
 * to send again instead of many.
 *
 * @return false if the packet has only one
 */
static bool shorten(struct ingress *queue, struct ingress_packet *packet)
{
	static const struct super_limits any = {SUPER_PACKET_BYTES_MAX, SUPER_PACKET_BYTES_MAX};
	uint8_t header[SUPER_PACKET_HEADER_BYTES_MAX];
	struct super_packet p;

	if (packet->ip_at == 0 ||
		super_message_parse(packet->data, packet->len, &any, &p) != SUPER_OK ||
		p.segments < 2)
		return false;
	uint16_t count = (uint16_t)(p.segments - 1);
	uint32_t bytes = super_packet_range_bytes(&p, 1, count);
	size_t header_bytes = super_packet_write_header(&p, 1, count, header);
	uint8_t *at = packet->data + packet->ip_at;
	memmove(at + header_bytes, super_packet_payload(&p, 1), bytes - header_bytes);
	memcpy(at, header, header_bytes);
	packet->len = packet->ip_at + bytes;
	packet->segments = count;
	queue->counters.dropped_codel++;
	return true;
}

static void codel_drop(struct ingress *queue, struct ingress_packet *packet)
{
	queue->counters.dropped_codel++;
	ingress_packet_return(packet);
}

static void begin_dropping(struct ingress *queue, struct ingress_flow *flow, struct mono now)
{
	uint32_t delta = flow->count - flow->last_count;
	struct mono resume_before =
		mono_add_us(flow->drop_at, CODEL_RESUME_INTERVALS * queue->options.interval_us);

	flow->dropping = true;
	flow->count = delta > 1 && mono_before(now, resume_before) ? delta : 1;
	flow->last_count = flow->count;
	flow->drop_at = next_drop(queue, now, flow->count);
}

/* The next packet of a flow that may be sent. @return NULL if the flow is empty now */
static struct ingress_packet *codel_pop(
	struct ingress *queue, struct ingress_flow *flow, struct mono now)
{
	bool ok_to_drop;
	struct ingress_packet *packet = codel_take(queue, flow, now, &ok_to_drop);

	if (!packet) {
		flow->dropping = false;
		return NULL;
	}
	if (flow->dropping) {
		if (!ok_to_drop)
			flow->dropping = false;
		while (flow->dropping && mono_due(flow->drop_at, now)) {
			flow->count++;
			flow->drop_at = next_drop(queue, flow->drop_at, flow->count);
			if (mark(queue, packet) || shorten(queue, packet))
				return packet;
			codel_drop(queue, packet);
			packet = codel_take(queue, flow, now, &ok_to_drop);
			if (!ok_to_drop)
				flow->dropping = false;
		}
		return packet;
	}
	if (!ok_to_drop)
		return packet;
	begin_dropping(queue, flow, now);
	if (mark(queue, packet) || shorten(queue, packet))
		return packet;
	codel_drop(queue, packet);
	packet = codel_take(queue, flow, now, &ok_to_drop);
	return packet;
}

/* ---- turns ------------------------------------------------------------------------------------------------------ */

struct ingress_packet *ingress_pop(struct ingress *queue, struct mono now)
{
	for (;;) {
		bool is_new = !list_empty(&queue->new_flows);
		struct list *turns = is_new ? &queue->new_flows : &queue->old_flows;

		if (!queue->flows || list_empty(turns))
			return NULL;
		struct ingress_flow *flow = list_entry(turns->next, struct ingress_flow, node);
		if (flow->deficit_bytes <= 0) {
			flow->deficit_bytes += (int32_t)queue->options.quantum_bytes;
			list_remove(&flow->node);
			list_add_tail(&queue->old_flows, &flow->node);
			continue;
		}
		struct ingress_packet *packet = codel_pop(queue, flow, now);
		if (!packet) {
			/* A new flow waits a turn among the old, or it could come back first at once. */
			list_remove(&flow->node);
			if (is_new && !list_empty(&queue->old_flows))
				list_add_tail(&queue->old_flows, &flow->node);
			continue;
		}
		flow->deficit_bytes -= (int32_t)packet->len;
		queue->counters.popped_packets++;
		queue->counters.popped_bytes += packet->len;
		return packet;
	}
}
