/*
 * Makes the repairs of one encoder (thin or bulk) of a path: it keeps copies of the last sources, and on demand the
 * sum of the newest of them.
 */
#ifndef RLC_ENCODER_H
#define RLC_ENCODER_H

#include "core/mono.h"
#include "fec/rlc_code.h"

#include <stdbool.h>
#include <stddef.h>

struct pool;
struct rlc_encoder_ring;

struct rlc_encoder_stats {
	uint64_t sources;
	uint64_t repairs;
	uint64_t repair_bytes; /* of plaintext */
	uint64_t no_memory;    /* sources that were not kept, and so are none */
};

/** Visible to be embedded; only the stats and what functions give is for reading. */
struct rlc_encoder {
	struct pool *pool;
	struct rlc_encoder_ring *ring; /* NULL: nothing was protected for a while */
	int64_t age_us;
	uint32_t next_cidx;
	uint32_t next_id;
	uint32_t kept; /* symbols that are held */
	uint32_t window;
	struct mono last_at; /* of the last source */
	struct rlc_encoder_stats stats;
};

/**
 * Allocates nothing.
 *
 * @window  most sources a repair covers, 1 .. RLC_WINDOW_MAX; at most the peer's fec_window_max
 * @age_us  a source older than this is covered no more, > 0
 * @pool    lent; slots as RLC_SLOT_BYTES() says. Shared with whoever likes.
 */
void rlc_encoder_init(struct rlc_encoder *enc, unsigned window, int64_t age_us, struct pool *pool);

/** Gives all memory back. */
void rlc_encoder_fini(struct rlc_encoder *enc);

/** The transport begins anew (instances changed): indices from 0. */
void rlc_encoder_restart(struct rlc_encoder *enc);

/** Other limits from now on; as in rlc_encoder_init(). */
void rlc_encoder_set(struct rlc_encoder *enc, unsigned window, int64_t age_us);

/**
 * Takes a datagram's segments (copied) as a source.
 *
 * @pn        its packet number
 * @len       RLC_SEGMENTS_BYTES_MIN .. what a slot holds, and at most min(path payload, peer's rx_datagram_max) - 48
 * @ret_cidx  the index to send it with
 * @return    false: too long or no memory, nothing changed; send it as PLAIN
 */
bool rlc_encoder_push(struct rlc_encoder *enc, uint64_t pn, const void *segments, size_t len,
	struct mono now, uint32_t *ret_cidx);

/** @return  sources a repair could cover now, 0 .. window */
unsigned rlc_encoder_covers(struct rlc_encoder *enc, struct mono now);

/**
 * Writes the plaintext of a repair that covers the newest sources.
 *
 * Sources too long for `room` and all before them are left out.
 *
 * @kind    RLC_KIND_THIN_REPAIR or RLC_KIND_BULK_REPAIR
 * @window  most sources to cover; 0 = all that are kept
 * @out     `room` bytes
 * @return  bytes written, RLC_REPAIR_BYTES(longest segments covered); 0 if there is nothing to cover
 */
size_t rlc_encoder_repair(struct rlc_encoder *enc, enum rlc_kind kind, unsigned window,
	uint8_t *out, size_t room, struct mono now);

/**
 * Gives back what is too old to be covered, and all memory RLC_ENCODER_IDLE_US after the last source.
 *
 * @return  when the next call can free more; MONO_NEVER: nothing is held
 */
struct mono rlc_encoder_trim(struct rlc_encoder *enc, struct mono now);

/** Bytes on the heap, slots (`kept` of them) not counted. */
size_t rlc_encoder_bytes(const struct rlc_encoder *enc);

enum { RLC_ENCODER_IDLE_US = 30000000 };

#endif
