/*
 * One event loop for all: links, paths, CUBIC flows, sources. Time goes from one to the next that has something to do. A
 * packet is a heap block with its bytes behind it; those of CUBIC flows have none.
 */
#include "lt_world.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

enum {
	CUBIC_OWNER = 100,
	ACK_BYTES = 52,
	PULSE_US = 500000,
	THIN_US = 20000,
	THIN_BYTES = 200,
};

struct packet {
	struct link_packet link;
	struct list node; /* while held, and for what an inner TCP acknowledges */
	struct mono at;
	uint32_t owner;
	uint64_t number;
	uint32_t len;
	uint8_t bytes[];
};

static struct packet *packet_of(struct link_packet *link)
{
	return (struct packet *)link; /* its first member */
}

static struct packet *packet_new(uint32_t owner, uint64_t number, const void *bytes, uint32_t len)
{
	struct packet *packet = calloc(1, sizeof(*packet) + len);

	cr_assert(packet);
	packet->owner = owner;
	packet->number = number;
	packet->len = len;
	list_init(&packet->node);
	if (len > 0)
		memcpy(packet->bytes, bytes, len);
	return packet;
}

static bool push(
	struct lt_world *world, struct link_model *link, struct packet *packet, uint32_t wire_bytes)
{
	packet->link.len = wire_bytes;
	if (link_model_push(link, &packet->link, world->now))
		return true;
	free(packet);
	return false;
}

bool lt_world_push(struct lt_world *world, struct link_model *link, uint32_t owner, uint64_t number,
	uint32_t len)
{
	return push(world, link, packet_new(owner, number, NULL, 0), len);
}

/* ---- the paths' surroundings ------------------------------------------------------------------------------------- */

struct end {
	struct lt_flow *flow;
	unsigned side;
};

static struct end ends[LT_FLOWS_MAX][2];

static uint8_t *begin(void *ctx, size_t *ret_room)
{
	struct end *end = ctx;

	*ret_room = sizeof(end->flow->room[0]);
	return end->flow->room[end->side];
}

static void finish(void *ctx, uint64_t pn, size_t len, unsigned flags)
{
	struct end *end = ctx;
	struct lt_world *world = end->flow->world;
	uint32_t owner = (uint32_t)(end->flow - world->flows);

	(void)flags;
	push(world, end->side ? &world->back : &world->out,
		packet_new(owner, pn, end->flow->room[end->side], (uint32_t)len),
		(uint32_t)len + LT_WIRE_BYTES);
}

static bool control_check(void *ctx, const uint8_t *body, size_t len)
{
	(void)ctx, (void)body, (void)len;
	return true;
}

static void control(void *ctx, const uint8_t *body, size_t len, uint64_t pn)
{
	(void)ctx, (void)body, (void)len, (void)pn;
}

static struct kcp_path *open_path(struct lt_world *world, unsigned i, unsigned side)
{
	struct kcp_path_config config = {
		.pool = &world->pool,
		.payload_bytes = LT_PAYLOAD_BYTES,
		.piece_bytes = LT_PIECE_BYTES,
		.recv_message_max_bytes = 65538,
		.send_message_max_bytes = 65538,
		.rx_credit_bytes = 16 << 20,
		.peer_credit_bytes = 16 << 20,
	};
	struct kcp_path_io io = {
		.ctx = &ends[i][side],
		.begin = begin,
		.end = finish,
		.control_check = control_check,
		.control = control,
	};
	struct kcp_path *path;

	ends[i][side] = (struct end){&world->flows[i], side};
	cr_assert_eq(kcp_path_new(&config, &io, &path), 0);
	/* as the handshake does; a reader measures none of its own */
	kcp_path_hint_rtt(path, 2 * world->config.link.delay_us);
	return path;
}

void lt_world_open(struct lt_world *world, const struct lt_config *config)
{
	memset(world, 0, sizeof(*world));
	world->config = *config;
	world->start = world->now = mono_at_ms(1000);
	world->queue_at = world->now;
	list_init(&world->held);
	world->held_until = MONO_NEVER;
	pool_init(&world->pool, 1472, 1 << 20);
	link_model_init(&world->out, &config->link, config->seed * 2, world->now);
	link_model_init(&world->back, &config->link, config->seed * 2 + 1, world->now);
	for (unsigned i = 0; i < config->flows; i++) {
		struct lt_flow *flow = &world->flows[i];
		flow->world = world;
		flow->source = config->sources[i];
		flow->source_at = world->now;
		flow->ramp_window = 10;
		list_init(&flow->ramp_acks);
		flow->a = open_path(world, i, 0);
		flow->b = open_path(world, i, 1);
	}
	for (unsigned i = 0; i < config->cubics; i++)
		lt_cubic_init(&world->cubics[i], world, CUBIC_OWNER + i,
			mono_add_us(world->now, config->cubic_at_us));
}

static void drain(struct link_model *link)
{
	struct link_departure departure;

	while (link_model_pop(link, MONO_NEVER, &departure)) {
		if (departure.last)
			free(packet_of(departure.packet));
	}
	link_model_fini(link);
}

static void free_list(struct list *packets)
{
	struct list *node;

	while ((node = list_pop(packets)) != NULL)
		free(list_entry(node, struct packet, node));
}

void lt_world_close(struct lt_world *world)
{
	drain(&world->out);
	drain(&world->back);
	free_list(&world->held);
	for (unsigned i = 0; i < world->config.flows; i++) {
		kcp_path_free(world->flows[i].a);
		kcp_path_free(world->flows[i].b);
		free_list(&world->flows[i].ramp_acks);
	}
	cr_assert_eq(world->pool.slots_used, 0);
	pool_fini(&world->pool);
}

/* ---- what leaves the link ---------------------------------------------------------------------------------------- */

static void to_path(struct kcp_path *path, const struct packet *packet, struct mono now)
{
	enum kcp_path_verdict verdict =
		kcp_path_input(path, packet->number, packet->bytes, packet->len, false, false, now);

	cr_assert(verdict == KCP_PATH_OK || verdict == KCP_PATH_NO_MEMORY);
}

static void deliver(struct lt_world *world, struct packet *packet, bool back)
{
	if (packet->owner < CUBIC_OWNER) {
		struct lt_flow *flow = &world->flows[packet->owner];
		to_path(back ? flow->a : flow->b, packet, world->now);
	} else if (back) {
		lt_cubic_acked(
			&world->cubics[packet->owner - CUBIC_OWNER], packet->number, world->now);
	} else {
		lt_world_push(world, &world->back, packet->owner, packet->number, ACK_BYTES);
	}
}

static void empty_link(struct lt_world *world, struct link_model *link, bool back)
{
	struct link_departure departure;
	int64_t hold_us = world->config.hold_us;

	while (link_model_pop(link, world->now, &departure)) {
		struct packet *packet = packet_of(departure.packet);
		if (!departure.lost && back && hold_us) {
			if (list_empty(&world->held))
				world->held_until =
					mono_at_us((world->now.us / hold_us + 1) * hold_us);
			list_add_tail(&world->held, &packet->node);
			continue;
		}
		if (!departure.lost)
			deliver(world, packet, back);
		free(packet);
	}
	if (back && hold_us && mono_due(world->held_until, world->now)) {
		struct list *node;
		while ((node = list_pop(&world->held)) != NULL) {
			struct packet *packet = list_entry(node, struct packet, node);
			deliver(world, packet, true);
			free(packet);
		}
		world->held_until = MONO_NEVER;
	}
}

/* ---- sources and readers ----------------------------------------------------------------------------------------- */

static bool send(struct lt_flow *flow, enum kcp_path_class class, size_t len)
{
	static const uint8_t message[LT_PIECE_BYTES];
	struct mono now = flow->world->now;

	return kcp_path_room(flow->a, class, len, now) &&
	       kcp_path_send(flow->a, class, 1, message, len, now) == 0;
}

static void send_pulses(struct lt_flow *flow)
{
	struct mono now = flow->world->now;
	uint64_t rate_bps = flow->world->config.link.rate_bps / 5 * 2;

	while (mono_due(flow->source_at, now)) {
		if (flow->source_at.us / PULSE_US % 2 == 1) {
			flow->source_at =
				mono_at_us((flow->source_at.us / PULSE_US + 1) * PULSE_US);
			continue;
		}
		if (!send(flow, KCP_PATH_BULK, LT_PIECE_BYTES))
			break;
		flow->source_at = mono_add_us(
			flow->source_at, (int64_t)(LT_PIECE_BYTES * 8000000ull / rate_bps));
	}
}

static void send_ramp(struct lt_flow *flow)
{
	struct mono now = flow->world->now;
	struct list *node;

	while (!list_empty(&flow->ramp_acks)) {
		struct packet *packet = list_entry(flow->ramp_acks.next, struct packet, node);
		if (!mono_due(packet->at, now))
			break;
		node = list_pop(&flow->ramp_acks);
		free(list_entry(node, struct packet, node));
		flow->ramp_acked++;
		if (flow->ramp_window < 4000)
			flow->ramp_window += 1;
	}
	while (flow->ramp_sent - flow->ramp_acked < (uint64_t)flow->ramp_window &&
		send(flow, KCP_PATH_BULK, LT_PIECE_BYTES))
		flow->ramp_sent++;
}

static void feed(struct lt_flow *flow)
{
	switch (flow->source) {
	case LT_GREEDY:
		while (send(flow, KCP_PATH_BULK, LT_PIECE_BYTES))
			;
		break;
	case LT_PULSES:
		send_pulses(flow);
		break;
	case LT_THIN:
		for (; mono_due(flow->source_at, flow->world->now);
			flow->source_at = mono_add_us(flow->source_at, THIN_US))
			send(flow, KCP_PATH_RT, THIN_BYTES);
		break;
	case LT_RAMP:
		send_ramp(flow);
		break;
	case LT_SILENT:
		break;
	}
	kcp_path_flush(flow->a, flow->world->now);
}

static void read_all(struct lt_flow *flow)
{
	struct lt_world *world = flow->world;
	struct iovec iov[KCP_PATH_PIECES_MAX];
	size_t len;

	while (kcp_path_recv_iov(flow->b, iov, KCP_PATH_PIECES_MAX, &len) > 0) {
		kcp_path_recv_consume(flow->b);
		flow->read_bytes += len;
		flow->second_bytes[(world->now.us - world->start.us) / 1000000] += len;
		if (flow->source == LT_RAMP) {
			struct packet *ack = packet_new(0, 0, NULL, 0);
			ack->at = mono_add_us(world->now, world->config.link.delay_us);
			list_add_tail(&flow->ramp_acks, &ack->node);
		}
	}
}

static struct mono flow_next(const struct lt_flow *flow)
{
	struct mono next =
		mono_min(kcp_path_next_deadline(flow->a), kcp_path_next_deadline(flow->b));

	if ((flow->source == LT_PULSES || flow->source == LT_THIN) &&
		mono_before(flow->world->now, flow->source_at))
		next = mono_min(next, flow->source_at);
	if (flow->source == LT_RAMP && !list_empty(&flow->ramp_acks))
		next = mono_min(
			next, list_entry(flow->ramp_acks.next, const struct packet, node)->at);
	return next;
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

static void serve_flow(struct lt_flow *flow)
{
	struct mono now = flow->world->now;

	kcp_path_input_done(flow->b, now);
	kcp_path_input_done(flow->a, now);
	if (mono_due(kcp_path_next_deadline(flow->b), now))
		kcp_path_on_deadline(flow->b, now);
	read_all(flow);
	if (mono_due(kcp_path_next_deadline(flow->a), now))
		kcp_path_on_deadline(flow->a, now);
	feed(flow);
}

static void measure_queue(struct lt_world *world)
{
	uint64_t rate_bps = world->config.link.rate_bps;
	uint64_t ms = rate_bps ? world->out.stats.queue_bytes * 8000 / rate_bps : 0;

	world->queue_ms[ms < LT_QUEUE_BINS ? ms : LT_QUEUE_BINS - 1]++;
	world->queue_samples++;
	world->queue_at = mono_add_us(world->queue_at, LT_QUEUE_STEP_US);
}

void lt_world_run(struct lt_world *world, int64_t us)
{
	struct mono until = mono_add_us(world->now, us);

	for (;;) {
		empty_link(world, &world->out, false);
		empty_link(world, &world->back, true);
		for (unsigned i = 0; i < world->config.flows; i++)
			serve_flow(&world->flows[i]);
		for (unsigned i = 0; i < world->config.cubics; i++)
			lt_cubic_serve(&world->cubics[i], world->now);
		struct mono next =
			mono_min(link_model_next(&world->out), link_model_next(&world->back));
		next = mono_min(next, world->queue_at);
		next = mono_min(next, world->held_until);
		for (unsigned i = 0; i < world->config.flows; i++)
			next = mono_min(next, flow_next(&world->flows[i]));
		for (unsigned i = 0; i < world->config.cubics; i++)
			next = mono_min(next, lt_cubic_next(&world->cubics[i]));
		if (!mono_before(next, until))
			break;
		world->now = mono_max(next, mono_add_us(world->now, 1));
		while (mono_due(world->queue_at, world->now))
			measure_queue(world);
	}
	world->now = until;
}

void lt_world_link(struct lt_world *world, const struct link_config *link)
{
	world->config.link = *link;
	link_model_configure(&world->out, link, world->now);
	link_model_configure(&world->back, link, world->now);
}

void lt_world_mark(struct lt_world *world)
{
	memset(world->queue_ms, 0, sizeof(world->queue_ms));
	world->queue_samples = 0;
}

double lt_world_queue_ms(const struct lt_world *world, double share)
{
	double below = 0;

	for (unsigned i = 0; i < LT_QUEUE_BINS; i++) {
		below += world->queue_ms[i];
		if (below >= share * world->queue_samples)
			return i;
	}
	return LT_QUEUE_BINS;
}

double lt_flow_bps(const struct lt_flow *flow, unsigned from, unsigned to)
{
	double bytes = 0;

	for (unsigned i = from; i < to; i++)
		bytes += (double)flow->second_bytes[i];
	return bytes * 8 / (to - from);
}
