/*
 * The equations of a decoder: what repairs say about symbols that are missing, kept solved as far as they go.
 *
 * Unknowns are columns 0 .. RLC_COLUMNS - 1 of a ring that begins at the oldest column remembered.
 */
#ifndef RLC_SYSTEM_H
#define RLC_SYSTEM_H

#include "fec/rlc_code.h"
#include "fec/rlc_decoder.h"

#include <stdbool.h>
#include <stdint.h>

struct pool;

enum { RLC_COLUMNS = 2 * RLC_WINDOW_MAX };

struct rlc_row {
	_Alignas(RLC_ALIGN_BYTES) uint8_t coefs[RLC_COLUMNS]; /* of the unknowns */
	struct rlc_buffer sum; /* of the same, as bytes; NULL = no row */
	uint64_t pn;	       /* of the latest repair in it: behind all its symbols */
	uint8_t pivot;	       /* the oldest column it holds */
};

/** Visible to be embedded. */
struct rlc_system {
	struct pool *pool;
	uint8_t *scratch; /* a slot */
	unsigned count;
	struct rlc_row rows[RLC_DECODER_REPAIRS_MAX];
};

/** What a repair says: sum = coefs x unknowns + sum of known_coefs x knowns. */
struct rlc_equation {
	_Alignas(RLC_ALIGN_BYTES) uint8_t coefs[RLC_COLUMNS];
	const uint8_t *sum; /* borrowed */
	size_t len;	    /* no known symbol is longer */
	uint64_t pn;
	unsigned known_count;
	uint8_t known_coefs[RLC_WINDOW_MAX];
	struct rlc_buffer *known[RLC_WINDOW_MAX];
};

/** Allocates nothing. */
void rlc_system_init(struct rlc_system *system, struct pool *pool);

/** Forgets everything, gives all slots back. @return  rows that were forgotten */
unsigned rlc_system_clear(struct rlc_system *system);

/**
 * Takes an equation with at least one unknown.
 *
 * @oldest  column where the ring begins
 * @ret_forgotten  rows that made place for it, 0 or 1
 * @return  RLC_REPAIR_USED, RLC_REPAIR_REDUNDANT or RLC_REPAIR_NO_MEMORY
 */
enum rlc_verdict rlc_system_add(struct rlc_system *system, struct rlc_equation *equation,
	unsigned oldest, unsigned *ret_forgotten);

/**
 * The symbol of a column is known now.
 *
 * @return  rows that became useless or turned out to be wrong
 */
unsigned rlc_system_learn(
	struct rlc_system *system, unsigned column, struct rlc_buffer *symbol, unsigned oldest);

/** The oldest column is remembered no more. @return  rows that were lost by that, 0 or 1 */
unsigned rlc_system_forget(struct rlc_system *system, unsigned column);

/**
 * Takes the next symbol that follows from the rows.
 *
 * @ret_symbol  owned by the caller now
 * @ret_pn      of a repair that was sent behind it
 * @return      false: none
 */
bool rlc_system_solved(struct rlc_system *system, unsigned *ret_column,
	struct rlc_buffer *ret_symbol, uint64_t *ret_pn);

/** Slots held. */
unsigned rlc_system_slots(const struct rlc_system *system);

#endif
