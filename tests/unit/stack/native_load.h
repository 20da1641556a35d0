/*
 * Load on a pair of native nodes: packets of several flows at a given rate, each numbered, and a judge at the other end. A packet
 * that was not sent, comes twice, damaged, or behind a later one of its ordered flow ends the program.
 */
#ifndef TESTS_STACK_NATIVE_LOAD_H
#define TESTS_STACK_NATIVE_LOAD_H

#include "native_pair.h"

enum {
	NATIVE_LOAD_FLOWS = 8,
	NATIVE_LOAD_NUMBERS = 1 << 16, /* of a flow */
	NATIVE_LOAD_LEAST = 60,
};

enum native_load_kind {
	NATIVE_LOAD_TCP, /* ordered */
	NATIVE_LOAD_UDP, /* not ordered while slow */
};

struct native_load_flow {
	enum native_load_kind kind;
	uint32_t given, came;
	uint32_t next; /* ordered: least number that may come */
	uint8_t seen[NATIVE_LOAD_NUMBERS / 8];
};

/** From one end to the other. */
struct native_load_way {
	struct native_load_flow flows[NATIVE_LOAD_FLOWS];
	uint64_t given, came, refused;
	int64_t last_us; /* when something came last */
	int64_t gap_us;	 /* longest time without since native_load_watch() */
};

struct native_load {
	struct native_pair *pair;
	struct native_load_way ways[2]; /* from end 0, from end 1 */
};

/** Takes over `pair->on_message`. Flows 0..5 are TCP, 6 and 7 UDP. */
void native_load_init(struct native_load *load, struct native_pair *pair);

/** Offers one packet. @return what kcpvpn_peer_send() says; 0 = its number is used */
int native_load_give(struct native_load *load, size_t from, size_t flow, size_t len);

/**
 * Lets time pass under load.
 *
 * @packets_s  a second in each direction, 0 = none there, spread over all flows
 */
void native_load_run(struct native_load *load, int64_t us, uint32_t packets_s_from_0,
	uint32_t packets_s_from_1, size_t len);

/** Forgets the longest gap so far. */
void native_load_watch(struct native_load *load);

#endif
