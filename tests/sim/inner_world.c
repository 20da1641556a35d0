/*
 * Time goes from one event to the next: a departure from a link, a deadline of a node, one of a flow. What is due at an instant is
 * done in this order, again and again until nothing is left.
 */
#include "inner_world.h"

#include "core/endian.h"
#include "core/ip_header.h"
#include "inner_end.h"
#include "inner_flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	START_US = 1000000000,
	MTU_DEFAULT = 1400,
	CALL_US = 60000000,
	REST_US = 3000000,   /* after the call: the path MTU is found, the nodes are idle */
	ROUNDS_MAX = 100000, /* at one instant */
	FLIGHTS_MAX = 1 << 20,
	PLAIN_PACKET_MAX = 1500, /* of a flow beside the tunnels; a datagram is shorter */
};

/* A packet on a link. */
struct flight {
	struct link_packet link;
	size_t route;
	struct kcpvpn_endpoint from, to; /* of datagrams */
	size_t len;
	uint8_t room[PLAIN_PACKET_MAX];
};

void inner_world_fail(const struct inner_world *world, const char *why)
{
	fprintf(stderr, "inner_world: at %lld us: %s\n",
		(long long)mono_diff_us(world->now, world->began), why);
	abort();
}

uint64_t inner_world_next_random(uint64_t *state)
{
	/* splitmix64 */
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

uint64_t inner_world_random(struct inner_world *world)
{
	return inner_world_next_random(&world->random);
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
		inner_world_fail(world, "too much is on its way");
	return flight;
}

static void launch(struct inner_world *world, size_t side, struct flight *flight, size_t extra)
{
	flight->link.len = (uint32_t)(flight->len + extra);
	if (!link_model_push(&world->links[side], &flight->link, world->now))
		pool_return(&world->datagrams, flight);
}

void inner_world_port_send(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	struct inner_end *end = ctx;

	for (size_t i = 0; i < count; i++) {
		struct flight *flight = new_flight(end->world);
		if (batch[i].len > INNER_WORLD_DATAGRAM_MAX)
			inner_world_fail(end->world, "a datagram is too long");
		flight->route = end->tunnel;
		flight->from = end->address;
		flight->to = batch[i].remote;
		flight->len = batch[i].len;
		memcpy(flight->room, batch[i].data, batch[i].len);
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

void inner_world_hand_in(struct inner_world *world, size_t side, const uint8_t *packet, size_t len)
{
	struct inner_flow *flow = flow_of(world, side, packet, len);

	if (!flow)
		inner_world_fail(world, "an inner packet of nobody");
	inner_flow_input(flow, side, packet, len, world->now);
}

static void arrive(struct inner_world *world, size_t side, struct flight *flight)
{
	struct inner_end *end;

	if (flight->route == INNER_WORLD_PLAIN) {
		inner_world_hand_in(world, side, flight->room, flight->len);
		return;
	}
	end = &world->ends[flight->route][side];
	if (!kcpvpn_endpoint_equal(&end->address, &flight->to))
		return; /* it moved away */
	struct kcpvpn_datagram datagram = {
		.remote = flight->from,
		.local = end->address,
		.data = flight->room,
		.len = flight->len,
	};
	inner_end_input(end, &datagram);
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

void inner_world_send(struct inner_world *world, size_t route, size_t side, const uint8_t *bytes,
	size_t len, struct mono now)
{
	if (route == INNER_WORLD_PLAIN) {
		struct flight *flight = new_flight(world);
		flight->route = route;
		flight->len = len;
		if (len > sizeof(flight->room))
			inner_world_fail(world, "a packet is too long");
		memcpy(flight->room, bytes, len);
		launch(world, side, flight, 0);
		return;
	}
	inner_end_queue(&world->ends[route][side], bytes, len, now);
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

static void settle(struct inner_world *world)
{
	for (size_t rounds = 0;; rounds++) {
		bool busy = take_departures(world);
		if (rounds > ROUNDS_MAX)
			inner_world_fail(world, "no time passes");
		for (size_t i = 0; i < world->flow_count; i++) {
			if (!mono_due(inner_flow_next_deadline(world->flows[i]), world->now))
				continue;
			inner_flow_on_deadline(world->flows[i], world->now);
			busy = true;
		}
		for (size_t t = 0; t < world->options.tunnels; t++)
			for (size_t side = 0; side < 2; side++)
				busy |= inner_end_serve(&world->ends[t][side]);
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
			at = mono_min(at, inner_end_next_deadline(&world->ends[t][side]));
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

static bool all_up(const struct inner_world *world)
{
	for (size_t t = 0; t < world->options.tunnels; t++)
		for (size_t side = 0; side < 2; side++)
			if (!inner_end_is_up(&world->ends[t][side]))
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
	for (size_t side = 0; side < 2; side++) {
		if (options->link[side].duplicate_ppm > 0 || options->link[side].corrupt_ppm > 0)
			inner_world_fail(world, "these links neither double nor damage");
		link_model_init(&world->links[side], &options->link[side],
			inner_world_random(world), world->now);
	}
	for (size_t t = 0; t < options->tunnels; t++) {
		for (size_t side = 0; side < 2; side++)
			inner_end_start(world, t, side);
		for (size_t side = 0; side < 2; side++)
			inner_end_introduce(world, t, side);
	}
	give_up = mono_add_us(world->now, CALL_US);
	while (!all_up(world)) {
		if (mono_due(give_up, world->now))
			inner_world_fail(world, "no tunnel comes up");
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
		for (size_t side = 0; side < 2; side++)
			inner_end_stop(&world->ends[t][side]);
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
