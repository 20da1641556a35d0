/*
 * Nodes in virtual time: a hub and its spokes, each spoke joined to the hub by an emulated link of its own. Spokes dial,
 * the hub accepts. Programs on both ends send numbered messages (or a stream) and check what arrives: whole, once, in
 * order, byte by byte.
 *
 * A run is a function of configuration and seed; `hash` tells two runs apart.
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "kcpvpn/node.h"
#include "tests/lab/link_model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SIM_SPOKES_MAX = 8,
	SIM_MESSAGES_MAX = 4096,
	SIM_MESSAGE_BYTES_MAX = 20000,
	SIM_HUB = 0,
};

/** What one end of a conversation sends. */
struct sim_plan {
	uint32_t messages;   /* most SIM_MESSAGES_MAX */
	uint32_t bytes_min;  /* at least 8 */
	uint32_t bytes_max;  /* at most SIM_MESSAGE_BYTES_MAX */
	int64_t interval_us; /* between messages; 0 = as fast as they are taken */
};

/** One direction of a spoke's traffic. */
struct sim_flow {
	struct sim_plan plan;
	uint32_t sent;	   /* messages taken by kcpvpn_conv_send() */
	uint32_t received; /* messages that arrived whole and in order */
	uint64_t sent_bytes, received_bytes;
	uint32_t part_bytes; /* stream: what is here of the next message */
	bool blocked;	     /* refused; waits for KCPVPN_EVENT_WRITABLE */
	int64_t next_at_us;
	int64_t sent_at_us[SIM_MESSAGES_MAX];
	int64_t delay_us[SIM_MESSAGES_MAX];
	int64_t done_at_us; /* when the last one arrived */
	uint32_t
		generation; /* counts restarts: messages of an old one may not arrive in a new one */
};

struct sim_world;

struct sim_node {
	struct sim_world *world;
	struct kcpvpn_config config;
	struct kcpvpn_node *node;
	struct kcpvpn_udp_port port;
	struct kcpvpn_endpoint address;
	uint64_t random;
	uint64_t wakes;	    /* times that something was due */
	uint64_t datagrams; /* sent */
};

struct sim_spoke {
	struct sim_node node;
	struct kcpvpn_conv *conv;     /* dialled; NULL once closed */
	struct kcpvpn_conv *hub_conv; /* the hub's end */
	struct link_model up;	      /* to the hub */
	struct link_model down;
	struct sim_flow to_hub;
	struct sim_flow from_hub;
	bool reads_slowly; /* the hub takes a message every 20 ms only */
	int64_t read_at_us;
	unsigned closed, hub_closed; /* conversations that ended by themselves */
};

struct sim_world {
	const char *name; /* for messages */
	uint64_t seed;
	uint64_t random;
	int64_t now_us;
	struct sim_node hub;
	struct sim_spoke spokes[SIM_SPOKES_MAX];
	size_t spoke_count;
	uint64_t hash;
	uint64_t steps;
};

struct sim_setup {
	const char *name;
	uint64_t seed;
	size_t spokes; /* 0 = 1 */
	struct kcpvpn_config hub, spoke;
	struct link_config up, down;
	struct sim_plan to_hub, from_hub;
	bool reads_slowly;
};

/** salsa20, 10/3, fast3, messages; the key is static. */
struct kcpvpn_config sim_config(void);

/** As many seeds as this build has time for; the environment's SIM_SEEDS overrides. @plain  without sanitizers */
unsigned sim_seeds(unsigned plain);

/** A world on the heap, its spokes dialled. */
struct sim_world *sim_open(const struct sim_setup *setup);
void sim_close(struct sim_world *world);

/** Goes on until `until_us`. */
void sim_run(struct sim_world *world, int64_t until_us);

/** Goes on until all messages have arrived and been acknowledged, at most until `limit_us`. @return whether they have */
bool sim_finish(struct sim_world *world, int64_t limit_us);

/** Loses all that is sent either way between spoke `i` and the hub for `us` from now on. */
void sim_outage(struct sim_world *world, size_t i, int64_t us);

/** Ends the hub's process and starts it anew: it forgets everything. */
void sim_restart_hub(struct sim_world *world);

/** The same for a spoke, which dials at once. Its traffic begins anew. */
void sim_restart_spoke(struct sim_world *world, size_t i);

/** Dials again for a spoke whose conversation is gone. Its traffic begins anew. */
void sim_dial_again(struct sim_world *world, size_t i);

/** Evenly in 0 .. below - 1, from the world's seed. */
uint64_t sim_random(struct sim_world *world, uint64_t below);

/** Evenly in 0 .. below - 1; moves `state`. */
uint64_t sim_draw(uint64_t *state, uint64_t below);

/** The `percent` percentile of the delays of what arrived. */
int64_t sim_delay_us(const struct sim_flow *flow, unsigned percent);

/** Bits a second from `since_us` until the last message arrived. */
double sim_goodput_bps(const struct sim_flow *flow, int64_t since_us);

struct kcpvpn_stats sim_stats(const struct sim_node *node);

#endif
