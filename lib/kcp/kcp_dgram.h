/* Unordered messages: those sent and not settled, and the flows whose numbers keep duplicates out. */
#ifndef KCP_DGRAM_H
#define KCP_DGRAM_H

#include "core/mono.h"
#include "kcp/kcp_ring.h"
#include "kcp/kcp_table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool;

enum {
	KCP_DGRAM_WINDOW = 1024,      /* numbers of a flow within which duplicates are known */
	KCP_DGRAM_WAITING_MAX = 8192, /* messages sent and not settled */
	KCP_DGRAM_IDLE_US =
		90 * 1000000, /* a sending flow is freed so long after its last message, */
	KCP_DGRAM_IN_IDLE_US = 60 * 1000000, /* a receiving one after its last segment */
	KCP_DGRAM_LIFE_US = 150000,	     /* a message is given up after this */
};

/** A message; `slot` is NULL once it is settled. */
struct kcp_dgram {
	uint8_t *slot;
	struct mono expires;
	uint64_t pn; /* of the last transmission */
	uint32_t sn; /* in its flow */
	uint16_t len;
	uint16_t flow;
	uint8_t class; /* enum kcp_path_class */
	bool waits;    /* in a queue to be sent */
	bool sent;
};

/** Sending. Messages [first, next) by serial number; those at the ends may be settled. */
struct kcp_dgram_out {
	struct kcp_ring ring;
	uint32_t first;
	uint32_t next;
	struct kcp_table flows;
};

void kcp_dgram_out_init(struct kcp_dgram_out *out);

/** Returns all slots, frees all flows. */
void kcp_dgram_out_fini(struct kcp_dgram_out *out, struct pool *pool);

/**
 * Adds a message, marked as waiting.
 *
 * @start_sn  where a flow that is not known begins
 * @return    0, -ENOBUFS, -ENOMEM
 */
int kcp_dgram_out_push(struct kcp_dgram_out *out, struct pool *pool, uint32_t flow, uint8_t class,
	uint32_t start_sn, const void *data, size_t len, struct mono now, uint32_t *ret_serial);

/** The message of a serial number if it is not settled, else NULL. */
struct kcp_dgram *kcp_dgram_out_find(const struct kcp_dgram_out *out, uint32_t serial);

/** Returns the slot and forgets it. */
void kcp_dgram_out_settle(struct kcp_dgram_out *out, struct pool *pool, struct kcp_dgram *dgram);

/** Settles what expired. @return  how many of these were of a class that is resent */
uint32_t kcp_dgram_out_expire(struct kcp_dgram_out *out, struct pool *pool, struct mono now);

/** When the oldest expires; MONO_NEVER. */
struct mono kcp_dgram_out_expires(const struct kcp_dgram_out *out);

/**
 * Frees flows past their time.
 *
 * @start_sn  raised to the next number of each freed one
 * @return    when the next can be
 */
struct mono kcp_dgram_out_trim(struct kcp_dgram_out *out, uint32_t *start_sn, struct mono now);

size_t kcp_dgram_out_bytes(const struct kcp_dgram_out *out);

/** Receiving: one window a flow. */
struct kcp_dgram_in {
	struct kcp_table flows;
	uint64_t numbers; /* that the flows used, by what came */
	uint64_t came;
};

/** Frees all flows. */
void kcp_dgram_in_fini(struct kcp_dgram_in *in);

enum kcp_dgram_state {
	KCP_DGRAM_NEW,
	KCP_DGRAM_SEEN, /* or too old to say */
	KCP_DGRAM_NO_MEMORY,
};

/** Judges a number without noting it; makes the flow if it is new. */
enum kcp_dgram_state kcp_dgram_in_check(
	struct kcp_dgram_in *in, uint32_t flow, uint32_t sn, struct mono now);

/** Notes a number that was NEW. */
void kcp_dgram_in_note(struct kcp_dgram_in *in, uint32_t flow, uint32_t sn);

/** Frees flows past their time. @return when the next can be */
struct mono kcp_dgram_in_trim(struct kcp_dgram_in *in, struct mono now);

size_t kcp_dgram_in_bytes(const struct kcp_dgram_in *in);

#endif
