/*
 * Rebuilds lost sources of one encoder (thin or bulk) of a path from repairs.
 *
 *	verdict = rlc_decoder_source(d, cidx, pn, segments, len, now);   // for each authentic SOURCE
 *	verdict = rlc_decoder_repair(d, cidx, pn, body, len, now);	 // for each authentic REPAIR
 *	while (rlc_decoder_rebuilt(d, &symbol)) { ... }			 // behind each of them
 *
 * The work of one datagram is bounded whatever it holds: at most RLC_SUM_MAX + 3 x RLC_DECODER_REPAIRS_MAX products of a
 * symbol and a number, by the essay in rlc_system.c.
 */
#ifndef RLC_DECODER_H
#define RLC_DECODER_H

#include "core/mono.h"
#include "fec/rlc_code.h"

#include <stdbool.h>
#include <stddef.h>

struct pool;
struct rlc_decoder_ring;

enum {
	RLC_DECODER_REPAIRS_MAX = 64, /* that wait for more */
	RLC_DECODER_IDLE_US = 30000000,
};

/** What became of a SOURCE or REPAIR. */
enum rlc_verdict {
	/* sources */
	RLC_SOURCE_KEPT,
	RLC_SOURCE_LATE,      /* it was rebuilt before it came */
	RLC_SOURCE_DUPLICATE, /* this index is here already */
	RLC_SOURCE_OLD,	      /* its index is not remembered any more */
	RLC_SOURCE_LENGTH,    /* too short or too long to be kept */
	RLC_SOURCE_NO_MEMORY,
	/* repairs */
	RLC_REPAIR_USED,      /* kept for its information, or it rebuilt something */
	RLC_REPAIR_SPARE,     /* all that it covers is here */
	RLC_REPAIR_REDUNDANT, /* says nothing that others did not say */
	RLC_REPAIR_OLD,	      /* it covers what is not remembered any more */
	RLC_REPAIR_NO_MEMORY,
	RLC_REPAIR_BAD_LENGTH, /* of the datagram */
	RLC_REPAIR_BAD_WINDOW, /* 0, or more than was allowed */
	RLC_REPAIR_BAD_SHORT,  /* shorter than a symbol that it covers */
	RLC_VERDICTS,
};

/** Short text such as "bad window"; never NULL. */
const char *rlc_verdict_str(enum rlc_verdict verdict);

struct rlc_decoder_stats {
	uint64_t verdicts[RLC_VERDICTS];
	uint64_t
		rebuilt; /* sources given out; those that came late after all are RLC_SOURCE_LATE */
	uint64_t lost;	 /* indices that were forgotten without their source */
	uint64_t forgotten; /* repairs that were kept and helped nothing */
	uint64_t
		bad_symbols; /* rebuilt bytes that are no symbol: the repairs lie; everything was forgotten */
	uint64_t restarts; /* the peer's indices began anew */
};

struct rlc_symbol {
	uint64_t pn;
	const uint8_t *segments; /* borrowed until the next call to the decoder but this */
	size_t len;		 /* RLC_SEGMENTS_BYTES_MIN .. segments_bytes_max */
};

/** Visible to be embedded; only the stats are for reading. */
struct rlc_decoder {
	struct pool *pool;
	struct rlc_decoder_ring *ring; /* NULL: nothing came for a while */
	int64_t age_us;
	uint64_t pn_top;     /* highest packet number seen */
	struct mono last_at; /* of the last datagram */
	uint32_t newest;     /* index */
	uint32_t span;	     /* indices that are remembered at most, 2 x window_max */
	uint32_t kept;	     /* indices that are remembered: newest - kept + 1 .. newest */
	uint32_t symbol_max;
	uint8_t window_max;
	bool started;
	struct rlc_decoder_stats stats;
};

/**
 * Allocates nothing.
 *
 * @window_max          own fec_window_max, 1 .. RLC_WINDOW_MAX
 * @segments_bytes_max  longest segments of a source, RLC_SEGMENTS_BYTES_MIN .. what a slot of the pool holds
 * @age_us              sources and repairs older than this are forgotten, > 0
 * @pool                lent; slots as RLC_SLOT_BYTES() says
 */
void rlc_decoder_init(struct rlc_decoder *dec, unsigned window_max, size_t segments_bytes_max,
	int64_t age_us, struct pool *pool);

/** Gives all memory back. */
void rlc_decoder_fini(struct rlc_decoder *dec);

/** The transport begins anew (instances changed). Counters stay. */
void rlc_decoder_restart(struct rlc_decoder *dec);

/** Another age from now on; > 0. */
void rlc_decoder_set_age(struct rlc_decoder *dec, int64_t age_us);

/**
 * Notes an authentic SOURCE, whose number passed the replay window.
 *
 * @cidx      24 bits of its frame
 * @segments  copied
 */
enum rlc_verdict rlc_decoder_source(struct rlc_decoder *dec, uint32_t cidx, uint64_t pn,
	const void *segments, size_t len, struct mono now);

/** Takes an authentic REPAIR. @body  what stands behind kind and cidx; borrowed */
enum rlc_verdict rlc_decoder_repair(struct rlc_decoder *dec, uint32_t cidx, uint64_t pn,
	const void *body, size_t len, struct mono now);

/**
 * Gives the next source that the last call rebuilt. What is not fetched before the next SOURCE or REPAIR is not given out.
 *
 * Its segments come from repairs: take PUSH, DGRAM and FWD of them only, and none if pn was received or rebuilt before.
 *
 * @return  false: that was all
 */
bool rlc_decoder_rebuilt(struct rlc_decoder *dec, struct rlc_symbol *ret_symbol);

/**
 * Forgets what is too old, and gives all memory back RLC_DECODER_IDLE_US after the last datagram.
 *
 * @return  when the next call can free more; MONO_NEVER: nothing is held
 */
struct mono rlc_decoder_trim(struct rlc_decoder *dec, struct mono now);

/** Bytes on the heap, slots not counted. */
size_t rlc_decoder_bytes(const struct rlc_decoder *dec);

/** Slots of the pool that are held. */
unsigned rlc_decoder_slots(const struct rlc_decoder *dec);

#endif
