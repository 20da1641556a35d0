/*
 * What inner hosts do: bulk transfers, a light flow of packets like a call's, pings, and short responses one after another.
 * Data goes from side 0 to side 1 unless said otherwise.
 */
#ifndef TESTS_SIM_INNER_FLOW_H
#define TESTS_SIM_INNER_FLOW_H

#include "core/mono.h"
#include "inner_tcp.h"

#include <stddef.h>
#include <stdint.h>

struct inner_world;

enum inner_flow_kind {
	INNER_FLOW_BULK,
	INNER_FLOW_THIN, /* UDP: a packet each 20 ms */
	INNER_FLOW_PING, /* ICMP echo: each 50 ms, from side 0 and back */
	INNER_FLOW_WEB,	 /* side 1 asks, side 0 answers with 64 kB; a new connection each time */
};

enum {
	INNER_FLOW_THIN_US = 20000,
	INNER_FLOW_THIN_BYTES = 200,
	INNER_FLOW_PING_US = 50000,
	INNER_FLOW_PING_BYTES = 84,
	INNER_FLOW_WEB_BYTES = 65536,
	INNER_FLOW_WEB_ASK_BYTES = 200,
	INNER_FLOW_WEB_PAUSE_US = 100000,
	INNER_FLOW_LATE_US = 150000, /* one way: a call plays without it */
};

/** Times of packets or responses, in the order of sending; -1 = it never came. */
struct inner_samples {
	int64_t *us;
	struct mono *sent_at;
	size_t count, room;
};

struct inner_flow {
	struct inner_world *world;
	enum inner_flow_kind kind;
	size_t id, route;
	struct inner_tcp ends[2];
	enum inner_tcp_control control;
	bool ecn;
	uint16_t generation; /* of its connections */
	struct mono next_at;
	struct mono stop_at; /* sends nothing new from then on */
	struct inner_samples samples;
	uint64_t again; /* packets that came twice */
};

/** What a program would say of some of the samples. */
struct inner_delays {
	size_t count; /* sent */
	size_t lost;  /* never came */
	size_t late;  /* came, but later than INNER_FLOW_LATE_US */
	int64_t p50_us, p90_us, p99_us,
		most_us; /* of those that came, less `base_us`; 0 if none did */
};

/**
 * Adds a flow to a world, which owns it. It begins at once.
 *
 * @route  a tunnel or INNER_WORLD_PLAIN
 */
struct inner_flow *inner_flow_bulk(
	struct inner_world *world, size_t route, enum inner_tcp_control control, bool ecn);
struct inner_flow *inner_flow_add(
	struct inner_world *world, size_t route, enum inner_flow_kind kind);

/** Bulk and web: payload bytes that came in order. */
uint64_t inner_flow_delivered(const struct inner_flow *flow);

/** Of what was sent in [from, to). @base_us is taken off each */
struct inner_delays inner_flow_delays(
	const struct inner_flow *flow, struct mono from, struct mono to, int64_t base_us);

/* For the world. */
void inner_flow_free(struct inner_flow *flow);
void inner_flow_input(
	struct inner_flow *flow, size_t side, const uint8_t *packet, size_t len, struct mono now);
struct mono inner_flow_next_deadline(const struct inner_flow *flow);
void inner_flow_on_deadline(struct inner_flow *flow, struct mono now);

#endif
