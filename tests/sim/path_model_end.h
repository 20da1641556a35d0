/* One side of the world: an engine or a naive peer, and what surrounds it. */
#ifndef TESTS_PATH_MODEL_END_H
#define TESTS_PATH_MODEL_END_H

#include "core/pool.h"
#include "tests/sim/path_model_peer.h"
#include "tests/sim/path_model_watch.h"
#include "tests/sim/path_model_world.h"
#include "tests/unit/kcp/path_loans.h"

enum {
	END_ROOM_BYTES = 2048,
	END_QUEUE = 512,
	END_SLOT_BYTES = 1472,
};

struct end_message {
	enum kcp_path_class class;
	uint32_t flow;
	uint32_t len;
};

struct end_queue {
	struct end_message messages[END_QUEUE];
	unsigned first;
	unsigned count;
};

struct end_config {
	uint32_t payload_bytes;
	uint32_t piece_bytes;
	uint32_t message_max_bytes;
	uint32_t rx_credit_bytes;
	uint32_t peer_credit_bytes;
	int64_t bulk_deadline_us;
	uint32_t rx_slots_max;
	uint32_t tx_slots_max;
	uint32_t window; /* naive peer */
	uint32_t origin; /* naive peer */
	uint64_t seed;
};

typedef void (*end_carry_fn)(
	void *ctx, unsigned side, uint64_t pn, const uint8_t *bytes, size_t len, int flags);

struct model_end {
	unsigned side;
	enum model_kind kind;
	struct kcp_path *path;
	struct model_peer *peer;
	struct path_watch *watch;
	struct path_loans loans;
	end_carry_fn carry;
	void *carry_ctx;
	struct mono now;
	struct end_config config;
	uint32_t epoch;
	bool reading;
	bool refusing; /* begin() gives nothing */
	bool stale;    /* next_at is to be asked for again */
	struct mono next_at;
	bool deaf_call;		     /* within a call that may not put out anything */
	uint64_t holes;		     /* the engine gave up over its memory bound */
	struct end_queue waiting[2]; /* small ones without order; all others */
	uint8_t room[END_ROOM_BYTES];
	uint8_t message[WATCH_MESSAGE_MAX + 8];
};

void end_open(struct model_end *end, unsigned side, enum model_kind kind,
	const struct end_config *config, struct pool *pool, struct path_watch *watch,
	end_carry_fn carry, void *carry_ctx);
void end_close(struct model_end *end);
void end_restart(struct model_end *end, uint32_t epoch, struct mono now);

/** Puts a message into the queue in front of the path; dropped if that is full. */
void end_write(struct model_end *end, enum kcp_path_class class, uint32_t flow, uint32_t len);

/** Offers what waits, puts out what may go, reads what is there. */
void end_turn(struct model_end *end, struct mono now);
enum kcp_path_verdict end_input(struct model_end *end, uint64_t pn, const uint8_t *bytes,
	size_t len, bool ce, bool rebuilt, struct mono now);
void end_input_done(struct model_end *end, struct mono now);

struct mono end_next_deadline(struct model_end *end);
void end_on_deadline(struct model_end *end, struct mono now);
void end_trim(struct model_end *end, struct mono now);
void end_set_mtu(struct model_end *end, uint32_t payload_bytes, uint32_t piece_bytes, bool final);
void end_set_bulk_deadline(struct model_end *end, int64_t deadline_us);
void end_reset_route(struct model_end *end, struct mono now);
void end_hint_rtt(struct model_end *end, int64_t rtt_us);
void end_control(struct model_end *end, uint8_t first, size_t len);
void end_wask(struct model_end *end);

/** Sends a datagram of its own: a keepalive, a CONTROL, a probe for the path MTU. */
void end_send_own(struct model_end *end, enum kcp_path_extra extra, uint8_t first, size_t len,
	struct mono now);

int64_t end_srtt_us(const struct model_end *end);
bool end_waits(const struct model_end *end);

/** Judges a side that has nothing left to do. */
void end_judge_silence(struct model_end *end);

#endif
