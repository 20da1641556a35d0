/*
 * A naive peer of the native wire's KCP rules: lists, walks over all there is, 64-bit numbers, nothing clever. It speaks the
 * same bytes as kcp_path.h and is used in its place, on either side. Where the rules leave a choice it makes another one than
 * the engine: pieces cut at odd lengths, any mix of classes in a datagram, another time to resend, a grant that moves about.
 */
#ifndef TESTS_PATH_MODEL_PEER_H
#define TESTS_PATH_MODEL_PEER_H

#include "core/mono.h"
#include "kcp/kcp_path.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct model_peer;

struct model_peer_config {
	uint32_t payload_bytes;
	uint32_t piece_bytes;
	uint32_t rx_credit_bytes;
	uint32_t peer_credit_bytes;
	int64_t bulk_deadline_us; /* 0 = max(1 s, 4 SRTT) */
	uint32_t window;	  /* most datagrams in flight */
	uint32_t origin;	  /* sn of the first lane and flow ever made */
	uint64_t seed;
};

/** Makes a peer. Only begin, end, control_check and control of `io` are used. Aborts without memory. */
struct model_peer *model_peer_new(
	const struct model_peer_config *config, const struct kcp_path_io *io);
void model_peer_free(struct model_peer *peer);
void model_peer_restart(
	struct model_peer *peer, uint32_t rx_credit_bytes, uint32_t peer_credit_bytes);

/** As kcp_path_send(). @ret_cut  length of all pieces but the last */
int model_peer_send(struct model_peer *peer, enum kcp_path_class class, uint32_t flow,
	const void *data, size_t len, struct mono now, uint32_t *ret_cut);
void model_peer_control(struct model_peer *peer, const void *body, size_t len);
void model_peer_wask(struct model_peer *peer);
uint64_t model_peer_take_pn(
	struct model_peer *peer, enum kcp_path_extra extra, size_t bytes, struct mono now);
uint16_t model_peer_wnd(const struct model_peer *peer);
void model_peer_flush(struct model_peer *peer, struct mono now);

enum kcp_path_verdict model_peer_input(struct model_peer *peer, uint64_t pn, const void *segments,
	size_t len, bool ce, bool rebuilt, struct mono now);
void model_peer_input_done(struct model_peer *peer, struct mono now);

/** Takes the next message, at most 65538 bytes. @return its length; 0 = none */
size_t model_peer_recv(struct model_peer *peer, uint8_t *buf);

struct mono model_peer_next_deadline(const struct model_peer *peer);
void model_peer_on_deadline(struct model_peer *peer, struct mono now);
void model_peer_trim(struct model_peer *peer, struct mono now);
void model_peer_set_mtu(
	struct model_peer *peer, uint32_t payload_bytes, uint32_t piece_bytes, bool final);
uint64_t model_peer_charged(const struct model_peer *peer);
int64_t model_peer_srtt_us(const struct model_peer *peer);

/** Messages given up so far, of this instance. */
uint64_t model_peer_given_up(const struct model_peer *peer);

#endif
