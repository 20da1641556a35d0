/*
 * The loop goes from instant to instant: the earliest of the nodes' deadlines, the links' departures and the programs'
 * timetables. At each instant the order is fixed (deadlines, arrivals, programs, flush; hub first, then spokes by number),
 * so nothing depends on addresses of memory or on the machine.
 *
 * A world that takes many steps without time passing is a busy loop in the making, and fails.
 */
#include "sim_world.h"

#include "sim_flow.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum {
	IP_UDP_BYTES = 28,
	STEPS_AT_ONE_INSTANT_MAX = 20000,
	SLOW_READ_US = 20000,
};

struct sim_packet {
	struct link_packet link;
	struct kcpvpn_endpoint from, to;
	size_t len;
	uint8_t bytes[KCPVPN_MTU_MAX_BYTES];
};

static const uint8_t key[KCPVPN_KEY_BYTES] = "a key for worlds of no substance";

struct kcpvpn_config sim_config(void)
{
	struct kcpvpn_config config;

	kcpvpn_config_init(&config);
	cr_assert_eq(kcpvpn_config_mode(&config, "fast3"), 0);
	config.key = key;
	config.key_len = sizeof(key);
	config.stream = false;
	return config;
}

unsigned sim_seeds(unsigned plain)
{
	const char *seeds = getenv("SIM_SEEDS");
	unsigned count = plain;

#ifdef __SANITIZE_ADDRESS__
	count = plain / 8;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
	count = plain / 8;
#endif
#endif
	if (seeds)
		count = (unsigned)strtoul(seeds, NULL, 10);
	return count > 0 ? count : 1;
}

/* ---- network ----------------------------------------------------------------------------------------------------- */

static void send_on(struct link_model *link, struct sim_packet *packet, int64_t now_us)
{
	packet->link.len = (uint32_t)packet->len + IP_UDP_BYTES;
	if (!link_model_push(link, &packet->link, mono_at_us(now_us)))
		free(packet);
}

static void port_send(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	struct sim_node *from = ctx;
	struct sim_world *world = from->world;

	for (size_t i = 0; i < count; i++) {
		struct sim_packet *packet = malloc(sizeof(*packet));
		cr_assert_not_null(packet);
		cr_assert(batch[i].len > 0 && batch[i].len <= from->config.mtu_bytes);
		packet->from = from->address;
		packet->to = batch[i].remote;
		packet->len = batch[i].len;
		memcpy(packet->bytes, batch[i].data, packet->len);
		from->datagrams++;
		sim_hash_word(world, (uint64_t)world->now_us);
		sim_hash_bytes(world, packet->bytes, packet->len);
		size_t spoke = from == &world->hub ? (size_t)batch[i].remote.address[3] - 2
						   : (size_t)from->address.address[3] - 2;
		cr_assert(spoke < world->spoke_count);
		struct sim_spoke *s = &world->spokes[spoke];
		send_on(from == &world->hub ? &s->down : &s->up, packet, world->now_us);
	}
}

static void deliver(struct sim_world *world, struct sim_node *to, const struct link_departure *d)
{
	const struct sim_packet *packet = (const struct sim_packet *)(const void *)d->packet;
	uint8_t bytes[KCPVPN_MTU_MAX_BYTES];

	memcpy(bytes, packet->bytes, packet->len);
	if (d->corrupt) {
		/* what Ethernet and UDP checksums may let pass: a few bits close together */
		size_t at = (size_t)(d->entropy % packet->len);
		bytes[at] ^= (uint8_t)(1 + (d->entropy >> 32) % 255);
	}
	struct kcpvpn_datagram in = {
		.remote = packet->from, .local = packet->to, .data = bytes, .len = packet->len};
	kcpvpn_node_input(to->node, &to->port, to == &world->hub, &in, 1, world->now_us);
}

static bool drain_link(struct sim_world *world, struct link_model *link, struct sim_node *to)
{
	struct link_departure d;
	bool any = false;

	while (link_model_pop(link, mono_at_us(world->now_us), &d)) {
		if (!d.lost && to)
			deliver(world, to, &d);
		if (d.last)
			free(d.packet);
		any = true;
	}
	return any;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void node_open(struct sim_node *node, struct sim_world *world,
	const struct kcpvpn_config *config, uint8_t host)
{
	node->world = world;
	node->config = *config;
	node->port = (struct kcpvpn_udp_port){port_send, node};
	node->address =
		(struct kcpvpn_endpoint){.address = {10, 0, 0, host}, .port = 29900, .family = 4};
	node->random = sim_mix(world->seed + host);
	cr_assert_eq(
		kcpvpn_node_new(config, sim_random_fill, &node->random, world->now_us, &node->node),
		0);
}

static void dial(struct sim_world *world, size_t i)
{
	struct sim_spoke *s = &world->spokes[i];

	cr_assert_null(s->conv);
	cr_assert_eq(kcpvpn_node_dial(s->node.node, &s->node.port, &world->hub.address, 0,
			     world->now_us, &s->conv),
		0);
	/* kcp-go's wire has no hello: who dials speaks first */
	kcpvpn_conv_probe(s->conv, world->now_us);
}

struct sim_world *sim_open(const struct sim_setup *setup)
{
	struct sim_world *world = calloc(1, sizeof(*world));

	cr_assert_not_null(world);
	world->name = setup->name;
	world->seed = setup->seed;
	world->random = sim_mix(setup->seed);
	world->now_us = 3600000000 + (int64_t)sim_random(world, 1000000);
	world->spoke_count = setup->spokes > 0 ? setup->spokes : 1;
	node_open(&world->hub, world, &setup->hub, 1);
	for (size_t i = 0; i < world->spoke_count; i++) {
		struct sim_spoke *s = &world->spokes[i];
		node_open(&s->node, world, &setup->spoke, (uint8_t)(i + 2));
		link_model_init(&s->up, &setup->up, sim_mix(setup->seed * 2 + i * 1000),
			mono_at_us(world->now_us));
		link_model_init(&s->down, &setup->down, sim_mix(setup->seed * 2 + 1 + i * 1000),
			mono_at_us(world->now_us));
		sim_flow_begin(&s->to_hub, &setup->to_hub, 1, world->now_us);
		sim_flow_begin(&s->from_hub, &setup->from_hub, 1, world->now_us);
		s->reads_slowly = setup->reads_slowly;
		s->read_at_us = world->now_us;
		dial(world, i);
	}
	return world;
}

void sim_close(struct sim_world *world)
{
	world->now_us = INT64_MAX / 4;
	for (size_t i = 0; i < world->spoke_count; i++) {
		struct sim_spoke *s = &world->spokes[i];
		kcpvpn_node_free(s->node.node);
		struct link_departure d;
		while (link_model_pop(&s->up, MONO_NEVER, &d))
			if (d.last)
				free(d.packet);
		while (link_model_pop(&s->down, MONO_NEVER, &d))
			if (d.last)
				free(d.packet);
		link_model_fini(&s->up);
		link_model_fini(&s->down);
	}
	kcpvpn_node_free(world->hub.node);
	free(world);
}

void sim_outage(struct sim_world *world, size_t i, int64_t us)
{
	struct mono now = mono_at_us(world->now_us);

	link_model_outage(&world->spokes[i].up, now, mono_add_us(now, us));
	link_model_outage(&world->spokes[i].down, now, mono_add_us(now, us));
}

static void flows_anew(struct sim_world *world, struct sim_spoke *s)
{
	uint32_t next = s->to_hub.generation + 1;
	struct sim_plan up = s->to_hub.plan, down = s->from_hub.plan;

	sim_flow_begin(&s->to_hub, &up, next, world->now_us);
	sim_flow_begin(&s->from_hub, &down, next, world->now_us);
}

void sim_dial_again(struct sim_world *world, size_t i)
{
	struct sim_spoke *s = &world->spokes[i];

	s->hub_conv = NULL; /* what still comes by the old one is of the old traffic */
	flows_anew(world, s);
	dial(world, i);
}

void sim_restart_hub(struct sim_world *world)
{
	kcpvpn_node_free(world->hub.node);
	world->hub.random ^= (uint64_t)world->now_us;
	cr_assert_eq(kcpvpn_node_new(&world->hub.config, sim_random_fill, &world->hub.random,
			     world->now_us, &world->hub.node),
		0);
	for (size_t i = 0; i < world->spoke_count; i++)
		world->spokes[i].hub_conv = NULL;
}

void sim_restart_spoke(struct sim_world *world, size_t i)
{
	struct sim_spoke *s = &world->spokes[i];

	kcpvpn_node_free(s->node.node);
	s->node.random ^= (uint64_t)world->now_us;
	cr_assert_eq(kcpvpn_node_new(&s->node.config, sim_random_fill, &s->node.random,
			     world->now_us, &s->node.node),
		0);
	s->conv = NULL;
	sim_dial_again(world, i);
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

static void spoke_events(struct sim_world *world, struct sim_spoke *s)
{
	struct kcpvpn_conv *conv;
	unsigned events;

	while ((conv = kcpvpn_node_next_event(s->node.node, &events)) != NULL) {
		cr_assert_eq(conv, s->conv);
		if (events & KCPVPN_EVENT_READABLE)
			(void)sim_flow_read(
				world, &s->from_hub, conv, s->node.config.stream, UINT32_MAX);
		if (events & KCPVPN_EVENT_WRITABLE)
			s->to_hub.blocked = false;
		if (events & KCPVPN_EVENT_CLOSED) {
			kcpvpn_conv_close(conv, world->now_us);
			s->conv = NULL;
			s->closed++;
		}
	}
}

static void hub_events(struct sim_world *world)
{
	struct kcpvpn_conv *conv;
	unsigned events;

	while ((conv = kcpvpn_node_next_event(world->hub.node, &events)) != NULL) {
		size_t i = (size_t)kcpvpn_conv_remote(conv)->address[3] - 2;
		cr_assert(i < world->spoke_count);
		struct sim_spoke *s = &world->spokes[i];
		if (events & KCPVPN_EVENT_ACCEPTED) {
			s->hub_conv = conv;
			struct sim_plan plan = s->from_hub.plan;
			sim_flow_begin(&s->from_hub, &plan, s->from_hub.generation, world->now_us);
		}
		if (events & KCPVPN_EVENT_READABLE && s->hub_conv == conv && !s->reads_slowly)
			(void)sim_flow_read(
				world, &s->to_hub, conv, world->hub.config.stream, UINT32_MAX);
		if (events & KCPVPN_EVENT_WRITABLE && s->hub_conv == conv)
			s->from_hub.blocked = false;
		if (events & KCPVPN_EVENT_CLOSED) {
			if (s->hub_conv == conv)
				s->hub_conv = NULL;
			s->hub_closed++;
			kcpvpn_conv_close(conv, world->now_us);
		}
	}
}

static void node_deadline(struct sim_world *world, struct sim_node *node)
{
	if (kcpvpn_node_next_deadline(node->node) > world->now_us)
		return;
	node->wakes++;
	kcpvpn_node_on_deadline(node->node, world->now_us);
}

static void slow_reader(struct sim_world *world, struct sim_spoke *s)
{
	if (!s->reads_slowly || world->now_us < s->read_at_us)
		return;
	s->read_at_us = world->now_us + SLOW_READ_US;
	if (s->hub_conv)
		(void)sim_flow_read(world, &s->to_hub, s->hub_conv, world->hub.config.stream, 1);
}

/* All that is due now. */
static void instant(struct sim_world *world)
{
	node_deadline(world, &world->hub);
	for (size_t i = 0; i < world->spoke_count; i++) {
		struct sim_spoke *s = &world->spokes[i];
		node_deadline(world, &s->node);
		(void)drain_link(world, &s->up, &world->hub);
		(void)drain_link(world, &s->down, &s->node);
	}
	hub_events(world);
	for (size_t i = 0; i < world->spoke_count; i++) {
		struct sim_spoke *s = &world->spokes[i];
		spoke_events(world, s);
		slow_reader(world, s);
		sim_flow_send(world, &s->to_hub, s->conv);
		sim_flow_send(world, &s->from_hub, s->hub_conv);
	}
	kcpvpn_node_flush(world->hub.node, world->now_us);
	for (size_t i = 0; i < world->spoke_count; i++)
		kcpvpn_node_flush(world->spokes[i].node.node, world->now_us);
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t next_instant(const struct sim_world *world)
{
	int64_t next = kcpvpn_node_next_deadline(world->hub.node);

	for (size_t i = 0; i < world->spoke_count; i++) {
		const struct sim_spoke *s = &world->spokes[i];
		next = least(next, kcpvpn_node_next_deadline(s->node.node));
		next = least(next, link_model_next(&s->up).us);
		next = least(next, link_model_next(&s->down).us);
		next = least(next, sim_flow_next(&s->to_hub, s->conv));
		next = least(next, sim_flow_next(&s->from_hub, s->hub_conv));
		if (s->reads_slowly && s->hub_conv && s->to_hub.received < s->to_hub.sent)
			next = least(next, s->read_at_us);
	}
	return next;
}

static bool finished(const struct sim_world *world)
{
	for (size_t i = 0; i < world->spoke_count; i++) {
		const struct sim_spoke *s = &world->spokes[i];
		if (!sim_flow_done(&s->to_hub) || !sim_flow_done(&s->from_hub))
			return false;
		if ((s->conv && !kcpvpn_conv_drained(s->conv)) ||
			(s->hub_conv && !kcpvpn_conv_drained(s->hub_conv)))
			return false;
	}
	return true;
}

static bool run(struct sim_world *world, int64_t until_us, bool until_finished)
{
	unsigned still = 0;

	for (;;) {
		instant(world);
		world->steps++;
		if (until_finished && finished(world))
			return true;
		int64_t next = next_instant(world);
		if (next > until_us)
			break;
		if (next > world->now_us) {
			world->now_us = next;
			still = 0;
		}
		cr_assert(++still < STEPS_AT_ONE_INSTANT_MAX, "%s, seed %lu: a busy loop",
			world->name, (unsigned long)world->seed);
	}
	world->now_us = until_us;
	return false;
}

void sim_run(struct sim_world *world, int64_t until_us)
{
	(void)run(world, until_us, false);
}

bool sim_finish(struct sim_world *world, int64_t limit_us)
{
	return run(world, limit_us, true);
}

struct kcpvpn_stats sim_stats(const struct sim_node *node)
{
	struct kcpvpn_stats stats;

	kcpvpn_node_stats(node->node, &stats);
	return stats;
}
