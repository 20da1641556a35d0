/* What the programs of a world send and check, and its chance. For sim_world.c; tests use sim_world.h. */
#ifndef TESTS_SIM_FLOW_H
#define TESTS_SIM_FLOW_H

#include "sim_world.h"

/** A bijection that scatters (SplitMix64's). */
uint64_t sim_mix(uint64_t z);

/** A node's source of randomness; `ctx` is its uint64_t state. */
void sim_random_fill(void *ctx, void *buf, size_t len);

/** Takes something that happened into the hash of the run. */
void sim_hash_word(struct sim_world *world, uint64_t word);
void sim_hash_bytes(struct sim_world *world, const uint8_t *bytes, size_t len);

/** Begins a flow from its first message. `plan` may be the flow's own only as a copy. */
void sim_flow_begin(
	struct sim_flow *flow, const struct sim_plan *plan, uint32_t generation, int64_t now_us);

/** Sends what is due on `conv`, which may be NULL, until it refuses. */
void sim_flow_send(struct sim_world *world, struct sim_flow *flow, struct kcpvpn_conv *conv);

/** Takes at most `most` messages (of a stream: pieces) and checks them. @return false if there was none */
bool sim_flow_read(struct sim_world *world, struct sim_flow *flow, struct kcpvpn_conv *conv,
	bool stream, unsigned most);

/** @return when sim_flow_send() has something to do; KCPVPN_NEVER if only an event can tell */
int64_t sim_flow_next(const struct sim_flow *flow, const struct kcpvpn_conv *conv);

/** True once all messages have arrived. */
bool sim_flow_done(const struct sim_flow *flow);

#endif
