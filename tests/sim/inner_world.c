/*
 * Time goes from one event to the next: a departure from a link, a deadline of a node, one of a flow. A node has a round when
 * something came for it or its deadline is due, and a round is the daemon's: serve deadlines, read, let the queue go on, flush,
 * again while there was anything to read. What flows send meanwhile stands in the queue before it goes on.
 *
 * The queue is handled as vpnd/packet_path.c does: popped only while the node takes bulk, tuned to the measured path ten times
 * a second, and what waited too long is dropped now and then.
 */
#include "inner_world.h"

#include "core/endian.h"
#include "core/ip_header.h"
#include "core/rand.h"
#include "inner_flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

enum {
	START_US = 1000000000,
	MTU_DEFAULT = 1400,
	CALL_US = 60000000,
	REST_US = 3000000,   /* after the call: the path MTU is found, the nodes are idle */
	ROUNDS_MAX = 100000, /* at one instant */
	TURNS = 16,
	QUEUED_MAX = 16384,
	SLOT_BYTES = 2048,
	TUNE_US = 100000,
	INTERVAL_MAX_US = 600000,
	MEMORY_BYTES = 64 << 20,
	DEAD_AFTER_US = 15000000,
	FLIGHTS_MAX = 1 << 20,
};

/* A packet on a link. A datagram has the room around it that a node wants. */
struct flight {
	struct link_packet link;
	size_t route;
	struct kcpvpn_endpoint from, to; /* of datagrams */
	size_t len;
	uint8_t room[KCPVPN_NATIVE_HEAD_BYTES + INNER_WORLD_DATAGRAM_MAX +
		     KCPVPN_NATIVE_TAIL_BYTES];
};

__attribute__((noreturn)) static void fail(const struct inner_world *world, const char *why)
{
	fprintf(stderr, "inner_world: at %lld us: %s\n",
		(long long)mono_diff_us(world->now, world->began), why);
	abort();
}

static uint64_t next_random(uint64_t *state)
{
	/* splitmix64 */
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

uint64_t inner_world_random(struct inner_world *world)
{
	return next_random(&world->random);
}

static void fill_random(void *ctx, void *buf, size_t len)
{
	struct inner_end *end = ctx;
	uint8_t *at = buf;

	while (len > 0) {
		uint64_t v = next_random(&end->random);
		size_t some = len < sizeof(v) ? len : sizeof(v);
		memcpy(at, &v, some);
		at += some;
		len -= some;
	}
}

static int64_t realtime(void *ctx)
{
	const struct inner_end *end = ctx;

	return (int64_t)1700000000 * 1000000 + end->world->now.us;
}

void inner_world_address(size_t route, size_t side, uint8_t ret_address[4])
{
	memcpy(ret_address, (uint8_t[]){10, (uint8_t)route, 0, (uint8_t)(1 + side)}, 4);
}

/* ---- links ------------------------------------------------------------------------------------------------------ */

static struct flight *new_flight(struct inner_world *world)
{
	struct flight *flight = pool_take(&world->datagrams);

	if (!flight)
		fail(world, "too much is on its way");
	return flight;
}

static void launch(struct inner_world *world, size_t side, struct flight *flight, size_t extra)
{
	flight->link.len = (uint32_t)(flight->len + extra);
	if (!link_model_push(&world->links[side], &flight->link, world->now))
		pool_return(&world->datagrams, flight);
}

static void port_send(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	struct inner_end *end = ctx;

	for (size_t i = 0; i < count; i++) {
		struct flight *flight = new_flight(end->world);
		if (batch[i].len > INNER_WORLD_DATAGRAM_MAX)
			fail(end->world, "a datagram is too long");
		flight->route = end->tunnel;
		flight->from = end->address;
		flight->to = batch[i].remote;
		flight->len = batch[i].len;
		memcpy(flight->room + KCPVPN_NATIVE_HEAD_BYTES, batch[i].data, batch[i].len);
		end->counters.wire_packets++;
		end->counters.wire_bytes += batch[i].len + INNER_WORLD_IP_UDP_BYTES;
		launch(end->world, end->side, flight, INNER_WORLD_IP_UDP_BYTES);
	}
}

/* The flow of an inner packet, by the port or number that it has at side 0. */
static struct inner_flow *flow_of(
	const struct inner_world *world, size_t side, const uint8_t *packet, size_t len)
{
	size_t at = side == 1 ? 20 : 22; /* of the port at side 0; it came to `side` */
	uint16_t port;

	if (len < 28)
		return NULL;
	if (packet[9] == IP_PROTOCOL_ICMP)
		at = 24;
	port = load_be16(packet + at);
	size_t id = (size_t)port - INNER_WORLD_PORT;
	return id < world->flow_count ? world->flows[id] : NULL;
}

static void hand_in(struct inner_world *world, size_t side, const uint8_t *packet, size_t len)
{
	struct inner_flow *flow = flow_of(world, side, packet, len);

	if (!flow)
		fail(world, "an inner packet of nobody");
	inner_flow_input(flow, side, packet, len, world->now);
}

static void arrive(struct inner_world *world, size_t side, struct flight *flight)
{
	struct inner_end *end;

	if (flight->route == INNER_WORLD_PLAIN) {
		hand_in(world, side, flight->room, flight->len);
		return;
	}
	end = &world->ends[flight->route][side];
	if (!kcpvpn_endpoint_equal(&end->address, &flight->to))
		return; /* it moved away */
	struct kcpvpn_datagram datagram = {
		.remote = flight->from,
		.local = end->address,
		.data = flight->room + KCPVPN_NATIVE_HEAD_BYTES,
		.len = flight->len,
	};
	kcpvpn_native_input(end->native, &end->port, &datagram, 1, world->now.us);
	end->touched = true;
}

static bool take_departures(struct inner_world *world)
{
	struct link_departure departure;
	bool any = false;

	for (size_t from = 0; from < 2; from++) {
		while (link_model_pop(&world->links[from], world->now, &departure)) {
			struct flight *flight = list_entry(departure.packet, struct flight, link);
			if (!departure.lost) {
				arrive(world, 1 - from, flight);
				any = true;
			}
			if (departure.last)
				pool_return(&world->datagrams, flight);
		}
	}
	return any;
}

/* ---- the queue in front ----------------------------------------------------------------------------------------- */

void inner_world_send(struct inner_world *world, size_t route, size_t side, const uint8_t *bytes,
	size_t len, struct mono now)
{
	struct ip_header header;

	if (route == INNER_WORLD_PLAIN) {
		struct flight *flight = new_flight(world);
		flight->route = route;
		flight->len = len;
		if (len > sizeof(flight->room))
			fail(world, "a packet is too long");
		memcpy(flight->room, bytes, len);
		launch(world, side, flight, 0);
		return;
	}
	struct inner_end *end = &world->ends[route][side];
	struct ingress_packet *packet = ingress_packet_take(&end->packets);
	if (!packet || ip_header_parse(bytes, len, &header) != IP_OK)
		fail(world, "an inner packet cannot be queued");
	memcpy(packet->data, bytes, len);
	packet->len = (uint32_t)len;
	if (!ingress_empty(&end->queue) &&
		mono_diff_us(now, end->expired_at) > end->queue.options.wait_max_us) {
		end->expired_at = now;
		ingress_expire(&end->queue, now);
	}
	(void)ingress_push(&end->queue, packet, &header, now);
	end->pumping = true;
	end->touched = true;
}

static void tune(struct inner_end *end, struct mono now)
{
	struct kcpvpn_peer_status status;
	int64_t target_us = INGRESS_TARGET_US, interval_us;

	if (mono_diff_us(now, end->tuned_at) < TUNE_US)
		return;
	kcpvpn_peer_status(end->peer, &status);
	if (status.srtt_us < 0)
		return;
	end->tuned_at = now;
	interval_us = 3 * status.srtt_us;
	if (interval_us < INGRESS_INTERVAL_US)
		interval_us = INGRESS_INTERVAL_US;
	if (interval_us > INTERVAL_MAX_US)
		interval_us = INTERVAL_MAX_US;
	if (status.rate_bps > 0) {
		int64_t packets_us = (int64_t)(end->world->options.mtu_bytes * 12 *
					       (uint64_t)1000000 / status.rate_bps);
		target_us = packets_us > target_us ? packets_us : target_us;
	}
	int64_t asked_us = status.srtt_us * end->world->options.target_percent / 100;
	target_us = asked_us > target_us ? asked_us : target_us;
	ingress_set_codel(&end->queue, target_us, interval_us);
}

static void pump(struct inner_end *end, struct mono now)
{
	if (!end->pumping)
		return;
	end->pumping = false;
	tune(end, now);
	while (kcpvpn_peer_ready(end->peer)) {
		struct ingress_packet *packet = ingress_pop(&end->queue, now);
		if (!packet)
			return;
		if (kcpvpn_peer_send(end->peer, packet->data, packet->len, now.us) < 0)
			end->counters.refused++;
		pool_return(&end->packets, packet);
	}
}

/* ---- a round of a node ------------------------------------------------------------------------------------------ */

static void read_messages(struct inner_end *end)
{
	struct inner_world *world = end->world;
	struct iovec pieces[KCPVPN_NATIVE_PIECES_MAX];
	uint8_t packet[65536];
	size_t len;
	int count;

	while ((count = kcpvpn_peer_recv_peek(end->peer, pieces, KCPVPN_NATIVE_PIECES_MAX, &len)) >
		0) {
		const uint8_t *bytes = pieces[0].iov_base;
		size_t at = 0;
		for (int i = 0; count > 1 && i < count; i++) {
			memcpy(packet + at, pieces[i].iov_base, pieces[i].iov_len);
			at += pieces[i].iov_len;
			bytes = packet;
		}
		end->counters.out_packets++;
		end->counters.out_bytes += len;
		if (world->watch)
			world->watch(world->watch_ctx, end->tunnel, end->side, bytes, len);
		hand_in(world, end->side, bytes, len);
		kcpvpn_peer_recv_drop(end->peer, world->now.us);
	}
}

static bool turn(struct inner_end *end)
{
	struct kcpvpn_peer *peer;
	unsigned events;
	bool any = false;

	kcpvpn_native_on_deadline(end->native, end->world->now.us);
	while ((peer = kcpvpn_native_next_event(end->native, &events)) != NULL) {
		any = true;
		if (events & KCPVPN_PEER_EVENT_READABLE)
			read_messages(end);
		if (events & (KCPVPN_PEER_EVENT_WRITABLE | KCPVPN_PEER_EVENT_STATE))
			end->pumping = true;
	}
	return any;
}

/* @return whether there was anything to do */
static bool serve(struct inner_end *end)
{
	struct inner_world *world = end->world;

	if (!end->native ||
		(!end->touched && kcpvpn_native_next_deadline(end->native) > world->now.us))
		return false;
	end->touched = false;
	for (int i = 0; i < TURNS; i++) {
		bool any = turn(end);
		pump(end, world->now);
		kcpvpn_native_flush(end->native, world->now.us);
		if (!any)
			break;
	}
	return true;
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

static void settle(struct inner_world *world)
{
	for (size_t rounds = 0;; rounds++) {
		bool busy = take_departures(world);
		if (rounds > ROUNDS_MAX)
			fail(world, "no time passes");
		for (size_t i = 0; i < world->flow_count; i++) {
			if (!mono_due(inner_flow_next_deadline(world->flows[i]), world->now))
				continue;
			inner_flow_on_deadline(world->flows[i], world->now);
			busy = true;
		}
		for (size_t t = 0; t < world->options.tunnels; t++)
			for (size_t side = 0; side < 2; side++)
				busy |= serve(&world->ends[t][side]);
		if (!busy)
			return;
	}
}

static struct mono next_event(const struct inner_world *world, struct mono until)
{
	struct mono at = until;

	for (size_t side = 0; side < 2; side++) {
		at = mono_min(at, link_model_next(&world->links[side]));
		for (size_t t = 0; t < world->options.tunnels; t++)
			at = mono_min(at, mono_at_us(kcpvpn_native_next_deadline(
						  world->ends[t][side].native)));
	}
	for (size_t i = 0; i < world->flow_count; i++)
		at = mono_min(at, inner_flow_next_deadline(world->flows[i]));
	return at;
}

void inner_world_run(struct inner_world *world, int64_t us)
{
	struct mono until = mono_add_us(world->now, us);

	for (;;) {
		settle(world);
		if (mono_due(until, world->now))
			return;
		world->now = mono_max(world->now, next_event(world, until));
	}
}

void inner_world_configure(struct inner_world *world, const struct link_config link[2])
{
	for (size_t side = 0; side < 2; side++)
		link_model_configure(&world->links[side], &link[side], world->now);
}

void inner_world_outage(struct inner_world *world, int64_t us)
{
	for (size_t side = 0; side < 2; side++)
		link_model_outage(&world->links[side], world->now, mono_add_us(world->now, us));
}

/* ---- making it -------------------------------------------------------------------------------------------------- */

static void private_key(const struct inner_end *end, uint8_t ret[KCPVPN_NATIVE_KEY_BYTES])
{
	memset(ret, (int)(0x40 + 2 * end->tunnel + end->side), KCPVPN_NATIVE_KEY_BYTES);
}

static void start_end(struct inner_world *world, size_t tunnel, size_t side)
{
	struct inner_end *end = &world->ends[tunnel][side];
	struct ingress_options queue = INGRESS_DEFAULTS;
	const struct rand_source random = {fill_random, end};
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES];

	*end = (struct inner_end){
		.world = world,
		.tunnel = tunnel,
		.side = side,
		.port = {port_send, end},
		.address = {.address = {192, 0, 2, (uint8_t)(10 * tunnel + side + 1)},
			.port = 29900,
			.family = 4},
		.random = inner_world_random(world),
		.tuned_at = world->now,
		.expired_at = world->now,
	};
	pool_init(&end->packets, ingress_slot_bytes(SLOT_BYTES), QUEUED_MAX);
	ingress_init(&end->queue, &end->packets, &queue, &random);
	private_key(end, key);
	struct kcpvpn_native_config config = {
		.private_key = key,
		.datagram_max_bytes = INNER_WORLD_DATAGRAM_MAX,
		.peers_max = 2,
		.memory_max_bytes = MEMORY_BYTES,
		.realtime_us = realtime,
		.random = fill_random,
		.ctx = end,
	};
	if (kcpvpn_native_new(&config, world->now.us, &end->native) < 0)
		fail(world, "a node does not start");
}

static void introduce(struct inner_world *world, size_t tunnel, size_t side)
{
	struct inner_end *end = &world->ends[tunnel][side], *other = &world->ends[tunnel][1 - side];
	uint8_t secret[KCPVPN_NATIVE_KEY_BYTES], key[KCPVPN_NATIVE_KEY_BYTES];
	struct kcpvpn_target target = {other->address, &end->port};
	struct kcpvpn_peer_config config = {
		.public_key = key,
		.tun_mtu = world->options.mtu_bytes,
		.dead_after_us = DEAD_AFTER_US,
		.roaming = true,
		.persistent = side == 0,
	};

	private_key(other, secret);
	kcpvpn_native_public_half(secret, key);
	if (kcpvpn_native_add_peer(end->native, &config, world->now.us, &end->peer) < 0)
		fail(world, "a node does not take its peer");
	if (side == 0)
		kcpvpn_peer_set_targets(end->peer, &target, 1, world->now.us);
	kcpvpn_peer_up(end->peer, world->now.us);
	end->touched = true;
}

static bool all_up(const struct inner_world *world)
{
	for (size_t t = 0; t < world->options.tunnels; t++)
		for (size_t side = 0; side < 2; side++)
			if (kcpvpn_peer_state(world->ends[t][side].peer) != KCPVPN_PEER_UP)
				return false;
	return true;
}

void inner_world_init(struct inner_world *world, const struct inner_world_options *options)
{
	struct mono give_up;

	*world = (struct inner_world){
		.options = *options,
		.now = mono_at_us(START_US),
		.began = mono_at_us(START_US),
		.random = options->seed,
	};
	if (world->options.mtu_bytes == 0)
		world->options.mtu_bytes = MTU_DEFAULT;
	pool_init(&world->datagrams, sizeof(struct flight), FLIGHTS_MAX);
	for (size_t side = 0; side < 2; side++)
		link_model_init(&world->links[side], &options->link[side],
			inner_world_random(world), world->now);
	for (size_t t = 0; t < options->tunnels; t++) {
		for (size_t side = 0; side < 2; side++)
			start_end(world, t, side);
		for (size_t side = 0; side < 2; side++)
			introduce(world, t, side);
	}
	give_up = mono_add_us(world->now, CALL_US);
	while (!all_up(world)) {
		if (mono_due(give_up, world->now))
			fail(world, "no tunnel comes up");
		inner_world_run(world, REST_US);
	}
	inner_world_run(world, REST_US);
	for (size_t t = 0; t < options->tunnels; t++)
		for (size_t side = 0; side < 2; side++)
			world->ends[t][side].counters = (struct inner_end_counters){0};
}

void inner_world_fini(struct inner_world *world)
{
	struct link_departure departure;

	for (size_t i = 0; i < world->flow_count; i++)
		inner_flow_free(world->flows[i]);
	for (size_t t = 0; t < world->options.tunnels; t++) {
		for (size_t side = 0; side < 2; side++) {
			struct inner_end *end = &world->ends[t][side];
			kcpvpn_native_free(end->native);
			ingress_fini(&end->queue);
			pool_fini(&end->packets);
		}
	}
	for (size_t side = 0; side < 2; side++) {
		struct link_model *link = &world->links[side];
		while (link_model_pop(link, MONO_NEVER, &departure))
			if (departure.last)
				pool_return(&world->datagrams,
					list_entry(departure.packet, struct flight, link));
		link_model_fini(link);
	}
	pool_fini(&world->datagrams);
}
