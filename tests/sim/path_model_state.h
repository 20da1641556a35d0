/* What a naive peer knows. All of it lies in an arena that is emptied when an instance changes. */
#ifndef TESTS_PATH_MODEL_STATE_H
#define TESTS_PATH_MODEL_STATE_H

#include "tests/sim/path_model_peer.h"
#include "tests/sim/path_model_wire.h"

enum {
	PEER_WINDOW_DGRAMS = 1024, /* numbers of a flow that are remembered */
	PEER_CONTROLS = 16,
	PEER_MESSAGE_MAX = 65538,
};

/* ---- sending ---------------------------------------------------------------------------------------------------- */

enum peer_item_state {
	PEER_ITEM_WAITS, /* new, or its datagram was lost */
	PEER_ITEM_FLIES,
	PEER_ITEM_ACKED,
	PEER_ITEM_GIVEN_UP,
};

/* A PUSH piece or a DGRAM. */
struct peer_item {
	struct peer_item *
		next; /* of those that are neither acknowledged nor given up, in order of acceptance */
	struct peer_message *message; /* NULL: DGRAM */
	enum peer_item_state state;
	enum kcp_path_class class;
	uint32_t conv;
	uint64_t sn;
	uint8_t frg;
	bool sent;
	uint64_t pn; /* of the datagram that carried it last */
	int64_t give_up_at;
	uint32_t len;
	const uint8_t *body;
};

struct peer_message {
	struct peer_message *next;
	uint64_t end_sn; /* of the piece behind its last */
	uint32_t cost;
	uint32_t pieces;
	int64_t accepted_at;
	enum kcp_path_class class;
	bool given_up;
	struct peer_item **items;
};

struct peer_out_lane {
	struct peer_out_lane *next;
	uint32_t conv;
	bool shown; /* the beginning of a message was sent: the observer knows where the lane begins */
	uint64_t base;
	uint64_t next_sn;
	struct peer_message *first;
	struct peer_message *last;
	uint64_t dirty_base; /* passed a message given up; 0 = none */
	uint64_t acked_base; /* largest base that an acknowledged datagram carried */
	uint64_t held;	     /* charge not returned until dirty_base is acknowledged */
	int64_t fwd_at;	     /* when a FWD goes out if nothing else tells the base */
	int64_t done_at;     /* since when base is next_sn; INT64_MAX = it is not */
};

struct peer_out_flow {
	struct peer_out_flow *next;
	uint32_t conv;
	uint64_t next_sn;
	int64_t used_at;
};

struct peer_carried_base {
	struct peer_carried_base *next;
	uint32_t conv;
	uint64_t base;
};

struct peer_carried_item {
	struct peer_carried_item *next;
	struct peer_item *item;
};

/* A datagram that was sent and not acknowledged; one that was lost stays a while for a late acknowledgement. */
struct peer_sent {
	struct peer_sent *next;
	uint64_t pn;
	int64_t sent_at;
	bool asks;
	bool lost;
	struct peer_carried_item *items;
	struct peer_carried_base *bases;
};

/* ---- receiving -------------------------------------------------------------------------------------------------- */

struct peer_piece {
	struct peer_piece *next; /* by sn */
	uint64_t sn;
	uint8_t frg;
	uint32_t len;
	const uint8_t *body;
};

struct peer_in_lane {
	struct peer_in_lane *next;
	uint32_t conv;
	uint64_t position; /* next piece to hand out */
	struct peer_piece *pieces;
	int64_t last_at;
};

struct peer_in_flow {
	struct peer_in_flow *next;
	uint32_t conv;
	uint64_t highest;
	struct peer_piece *seen; /* numbers only */
	int64_t last_at;
};

struct peer_ready {
	struct peer_ready *next;
	struct peer_piece *pieces;
	uint32_t count;
};

enum { PEER_MISSING, PEER_RECEIVED, PEER_REBUILT };

struct peer_block {
	struct peer_block *next;
	size_t used;
	size_t size;
	_Alignas(16) uint8_t bytes[];
};

struct model_peer {
	struct model_peer_config config;
	struct kcp_path_io io;
	struct peer_block *blocks;
	uint64_t random;

	/* sending */
	uint64_t next_pn;
	struct peer_item *items;
	struct peer_item *last_item;
	struct peer_out_lane *out_lanes;
	struct peer_out_flow *out_flows;
	struct peer_sent *sent;
	struct peer_sent *last_sent;
	uint32_t in_flight;
	uint64_t new_sn; /* where lanes and flows made anew begin */
	uint64_t charged;
	uint64_t limit;
	bool any_limit;
	uint64_t limit_pn;
	uint64_t given_up;
	bool mtu_final;
	int64_t srtt_us;
	int64_t var_us;
	unsigned backoff;
	int64_t retry_at; /* begin() gave nothing */
	bool wants_probe;
	bool wants_wask;
	bool wants_wins;
	struct {
		uint32_t len;
		uint8_t body[KCP_PATH_CONTROL_MAX_BYTES];
	} controls[PEER_CONTROLS];
	unsigned control_count;

	/* receiving */
	uint8_t *got; /* by pn: PEER_... */
	uint64_t got_size;
	bool any_pn;
	uint64_t largest;
	int64_t largest_at;
	uint32_t ce;
	uint32_t asked;	     /* datagrams that asked since the last RACK */
	int64_t asked_since; /* the first of them */
	bool rack_now;
	uint16_t wnd;
	struct peer_in_lane *in_lanes;
	struct peer_in_flow *in_flows;
	struct peer_ready *ready;
	struct peer_ready *last_ready;
};

void *peer_alloc(struct model_peer *peer, size_t bytes);

/* path_model_send.c */
int64_t peer_pto_us(const struct model_peer *peer);
void peer_take_rack(struct model_peer *peer, const struct model_rack *rack, struct mono now);
int64_t peer_give_up_at(const struct model_peer *peer); /* when the next message's time is up */
void peer_give_up_due(struct model_peer *peer, struct mono now);
void peer_lose_due(struct model_peer *peer, struct mono now);
void peer_remember_sent(struct model_peer *peer, struct peer_sent *sent);

/* path_model_recv.c */
void peer_take_push(struct model_peer *peer, const struct model_seg *seg, struct mono now);
void peer_take_dgram(struct model_peer *peer, const struct model_seg *seg, struct mono now);
void peer_take_base(
	struct model_peer *peer, uint32_t conv, uint32_t una, bool make, struct mono now);
void peer_note_pn(struct model_peer *peer, uint64_t pn, uint8_t how, struct mono now);
uint8_t peer_got(const struct model_peer *peer, uint64_t pn);
bool peer_rack_due(const struct model_peer *peer, struct mono now);
int64_t peer_rack_at(const struct model_peer *peer);
void peer_make_rack(const struct model_peer *peer, struct mono now, struct model_rack *ret_rack);

#endif
