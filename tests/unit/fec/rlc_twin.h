/*
 * What a decoder could know: plain Gauss over all equations that it was ever told, done anew for each question. It holds
 * no bytes; whoever asks knows the symbols.
 */
#ifndef RLC_TWIN_H
#define RLC_TWIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RLC_TWIN_SYMBOLS = 512, RLC_TWIN_EQUATIONS = 512 };

struct rlc_twin {
	bool known[RLC_TWIN_SYMBOLS];
	unsigned equations;
	uint8_t coefs[RLC_TWIN_EQUATIONS][RLC_TWIN_SYMBOLS];
};

/** A repair over symbols first .. first + window - 1 (numbered from 0; the index is that plus `offset`). */
void rlc_twin_repair(
	struct rlc_twin *twin, uint32_t id, uint32_t offset, size_t first, unsigned window);

/** Marks as known what follows from the equations, of symbols `from` and later. */
void rlc_twin_solve(struct rlc_twin *twin, size_t from);

#endif
