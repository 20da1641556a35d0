/* What the world and the ends of its tunnels do for each other. */
#ifndef TESTS_SIM_INNER_END_H
#define TESTS_SIM_INNER_END_H

#include "inner_world.h"

/** Makes a node that knows nobody. */
void inner_end_start(struct inner_world *world, size_t tunnel, size_t side);
void inner_end_stop(struct inner_end *end);

/** Makes the other end, which was started, known to this one. Side 0 calls. */
void inner_end_introduce(struct inner_world *world, size_t tunnel, size_t side);

/** True once packets can pass. */
bool inner_end_is_up(const struct inner_end *end);

/** A datagram came. Its bytes are changed. */
void inner_end_input(struct inner_end *end, const struct kcpvpn_datagram *datagram);

/** When the node wants its deadline served. */
struct mono inner_end_next_deadline(const struct inner_end *end);

/** Queues an inner packet. */
void inner_end_queue(struct inner_end *end, const uint8_t *bytes, size_t len, struct mono now);

/** A round, if there is a reason for one. @return whether there was */
bool inner_end_serve(struct inner_end *end);

/** Sends datagrams of `ctx`, an end, onto its link. */
void inner_world_port_send(void *ctx, const struct kcpvpn_datagram *batch, size_t count);

/** An inner packet came out at `side`. */
void inner_world_hand_in(struct inner_world *world, size_t side, const uint8_t *packet, size_t len);

uint64_t inner_world_next_random(uint64_t *state);

/** Says why and when, and ends the program. */
__attribute__((noreturn)) void inner_world_fail(const struct inner_world *world, const char *why);

#endif
