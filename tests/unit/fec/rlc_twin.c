#include "rlc_twin.h"

#include "fec/rlc_code.h"
#include "fec_twin.h"

#include <string.h>

static uint8_t products[256][256], inverses[256];

static void fill_tables(void)
{
	if (products[1][1])
		return;
	for (unsigned a = 0; a < 256; a++) {
		for (unsigned b = 0; b < 256; b++) {
			products[a][b] = twin_mul((uint8_t)a, (uint8_t)b);
			if (products[a][b] == 1)
				inverses[a] = (uint8_t)b;
		}
	}
}

void rlc_twin_repair(
	struct rlc_twin *twin, uint32_t id, uint32_t offset, size_t first, unsigned window)
{
	uint8_t *row = twin->coefs[twin->equations++];

	memset(row, 0, RLC_TWIN_SYMBOLS);
	for (size_t i = first; i < first + window; i++)
		row[i] = rlc_coef(id, (uint32_t)(offset + i) & RLC_CIDX_MASK);
}

void rlc_twin_solve(struct rlc_twin *twin, size_t from)
{
	static uint8_t m[RLC_TWIN_EQUATIONS][RLC_TWIN_SYMBOLS];
	static size_t columns[RLC_TWIN_SYMBOLS];
	size_t width = 0, rank = 0;

	fill_tables();
	for (size_t i = 0; i < RLC_TWIN_SYMBOLS; i++) {
		bool used = false;
		for (unsigned r = 0; r < twin->equations && !used; r++)
			used = twin->coefs[r][i] != 0;
		if (used && !twin->known[i])
			columns[width++] = i;
	}
	for (unsigned r = 0; r < twin->equations; r++)
		for (size_t c = 0; c < width; c++)
			m[r][c] = twin->coefs[r][columns[c]];
	for (size_t c = 0; c < width && rank < twin->equations; c++) {
		size_t pivot = rank;
		while (pivot < twin->equations && m[pivot][c] == 0)
			pivot++;
		if (pivot == twin->equations)
			continue;
		for (size_t k = 0; k < width; k++) {
			uint8_t t = m[pivot][k];
			m[pivot][k] = m[rank][k];
			m[rank][k] = t;
		}
		for (size_t r = 0; r < twin->equations; r++) {
			uint8_t factor = products[m[r][c]][inverses[m[rank][c]]];
			if (r == rank || factor == 0)
				continue;
			for (size_t k = 0; k < width; k++)
				m[r][k] ^= products[factor][m[rank][k]];
		}
		rank++;
	}
	for (size_t r = 0; r < rank; r++) {
		size_t holds = 0, last = 0;
		for (size_t c = 0; c < width; c++) {
			if (m[r][c] != 0) {
				holds++;
				last = columns[c];
			}
		}
		if (holds == 1 && last >= from)
			twin->known[last] = true;
	}
}
