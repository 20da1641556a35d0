/*
 * A repair is a sum over the field GF(2^8) of polynomial 0x11d, the one of kcp-go's Reed-Solomon code and of ISA-L. What
 * makes it a sliding window is that there is no matrix: the coefficient of a symbol is a hash of the repair's id and the
 * symbol's index, never 0, so a repair may cover any run of symbols and both ends know its coefficients from its header.
 * (Idea of RFC 8681, which draws them from a generator instead: then the i-th costs i steps.)
 *
 * Over 255 values random coefficients are almost as good as a code made for the purpose: k repairs over the same k lost
 * symbols are dependent with a probability near 1/255.
 *
 * ISA-L wants a table of a coefficient, made for each sum; its layout is ISA-L's own affair, so all tables of a call are
 * made together and used by that call alone. 129 of them are 4 KiB of stack.
 *
 * Sources: PROTOCOL.md section 8; MurmurHash3's finaliser.
 */
#include "fec/rlc_code.h"

#include <assert.h>
#include <isa-l/erasure_code.h>

enum { TABLE_BYTES = 32 };

static uint32_t mix(uint32_t x)
{
	x ^= x >> 16;
	x *= 0x85ebca6b;
	x ^= x >> 13;
	x *= 0xc2b2ae35;
	x ^= x >> 16;
	return x;
}

uint8_t rlc_coef(uint32_t id, uint32_t cidx)
{
	return (uint8_t)(1 + mix(id ^ mix(cidx + 1)) % 255);
}

uint8_t rlc_ratio(uint8_t b, uint8_t a)
{
	return gf_mul(b, gf_inv(a));
}

void rlc_sum(uint8_t *dest, size_t len, const uint8_t *coefs, uint8_t **sources, unsigned count)
{
	uint8_t tables[RLC_SUM_MAX * TABLE_BYTES];
	uint8_t row[RLC_SUM_MAX];

	assert(count >= 1 && count <= RLC_SUM_MAX);
	memcpy(row, coefs, count); /* ISA-L's pointer is not const */
	ec_init_tables((int)count, 1, row, tables);
	ec_encode_data((int)len, (int)count, 1, tables, sources, &dest);
}

void rlc_spread(uint8_t **dests, size_t len, const uint8_t *coefs, uint8_t *source, unsigned count)
{
	uint8_t tables[RLC_SUM_MAX * TABLE_BYTES];
	uint8_t column[RLC_SUM_MAX];

	assert(count >= 1 && count <= RLC_SUM_MAX);
	memcpy(column, coefs, count);
	ec_init_tables(1, (int)count, column, tables);
	ec_encode_data_update((int)len, 1, (int)count, 0, tables, source, dests);
}
