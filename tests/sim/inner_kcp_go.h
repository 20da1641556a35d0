/* An end of a tunnel of the kcp-go wire: one conversation, which side 0 dials. What vpnd/wire_kcp_go.c does, less names and sockets. */
#ifndef TESTS_SIM_INNER_KCP_GO_H
#define TESTS_SIM_INNER_KCP_GO_H

#include "inner_world.h"

struct iovec;

/** The daemon's settings: salsa20, fast2, 10/3, messages. */
struct kcpvpn_config inner_kcp_go_config(void);

void inner_kcp_go_start(
	struct inner_end *end, const struct kcpvpn_config *config, kcpvpn_random_fn random);
void inner_kcp_go_introduce(struct inner_end *end, const struct kcpvpn_endpoint *other);

/** Serves deadlines and events. @return whether there were any */
bool inner_kcp_go_turn(struct inner_end *end);

bool inner_kcp_go_ready(struct inner_end *end);
int inner_kcp_go_send(struct inner_end *end, const uint8_t *packet, size_t len);
bool inner_kcp_go_measure(const struct inner_end *end, struct ingress_path *ret_path);

/** In inner_end.c: an inner packet came out. */
void inner_end_hand_out(struct inner_end *end, const struct iovec *pieces, int count, size_t len);

#endif
