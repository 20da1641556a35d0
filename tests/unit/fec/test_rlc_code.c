#include "fec/rlc_code.h"
#include "fec_twin.h"

#include <criterion/criterion.h>
#include <stdlib.h>

/* PROTOCOL.md, section 15 */
Test(rlc_code, known_coefficients)
{
	static const uint8_t row[] = {0xcc, 0x57, 0xd5, 0x9b, 0x89, 0xf1};

	for (uint32_t i = 0; i < sizeof(row); i++)
		cr_assert_eq(rlc_coef(1, i), row[i]);
	cr_assert_eq(rlc_coef(0xffffffff, 0xffffff), 0x0c);
	cr_assert_eq(rlc_coef(0xffffffff, 0), 0xe1);
	cr_assert_eq(rlc_coef(0xffffffff, 1), 0xbd);
}

Test(rlc_code, coefficients_are_spread_and_never_0)
{
	unsigned seen[256] = {0};

	for (uint32_t id = 0; id < 300; id++)
		for (uint32_t i = 0; i < 300; i++)
			seen[rlc_coef(id * 7919, RLC_CIDX_MASK - 150 + i)]++;
	cr_assert_eq(seen[0], 0);
	for (unsigned c = 1; c < 256; c++)
		cr_assert(seen[c] > 250 && seen[c] < 460, "%u: %u", c, seen[c]);
}

Test(rlc_code, indices_differ_with_24_bits)
{
	cr_assert_eq(rlc_cidx_diff(0, 0xffffff), 1);
	cr_assert_eq(rlc_cidx_diff(0xffffff, 0), -1);
	cr_assert_eq(rlc_cidx_diff(0x800000, 0), -0x800000);
	cr_assert_eq(rlc_cidx_diff(0x7fffff, 0), 0x7fffff);
	cr_assert_eq(rlc_cidx_diff(5, 3), 2);
}

Test(rlc_code, ratio_divides)
{
	for (unsigned a = 1; a < 256; a++)
		for (unsigned b = 0; b < 256; b++)
			cr_assert_eq(twin_mul(rlc_ratio((uint8_t)b, (uint8_t)a), (uint8_t)a), b);
}

/* Against byte-wise multiplication, for lengths around the vectors of all processors and for all counts. */
Test(rlc_code, sums_match_the_twin)
{
	enum { LEN = 300, GUARD = 64 };
	static uint8_t bytes[RLC_SUM_MAX][LEN], made[RLC_SUM_MAX][LEN + GUARD];
	uint8_t coefs[RLC_SUM_MAX], *sources[RLC_SUM_MAX], *dests[RLC_SUM_MAX];
	static const unsigned counts[] = {1, 2, 3, 6, 7, 48, 64, 65, RLC_SUM_MAX};

	srand(7);
	for (unsigned i = 0; i < RLC_SUM_MAX; i++) {
		coefs[i] = (uint8_t)rand();
		sources[i] = bytes[i];
		dests[i] = made[i];
		for (size_t k = 0; k < LEN; k++)
			bytes[i][k] = (uint8_t)rand();
	}
	for (size_t len = 1; len <= LEN; len += len < 140 ? 1 : 31) {
		for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
			unsigned count = counts[c];
			memset(made, 0xa5, sizeof(made));
			rlc_sum(made[0], len, coefs, sources, count);
			for (size_t k = 0; k < len; k++) {
				uint8_t want = 0;
				for (unsigned i = 0; i < count; i++)
					want ^= twin_mul(coefs[i], bytes[i][k]);
				cr_assert_eq(made[0][k], want);
			}
			for (size_t k = len; k < len + GUARD; k++)
				cr_assert_eq(made[0][k], 0xa5);

			memcpy(made[0], bytes[1], len);
			rlc_spread(dests, len, coefs, bytes[0], count);
			for (unsigned i = 0; i < count; i++) {
				for (size_t k = 0; k < len; k++) {
					uint8_t was = i == 0 ? bytes[1][k] : 0xa5;
					cr_assert_eq(
						made[i][k], was ^ twin_mul(coefs[i], bytes[0][k]));
				}
				for (size_t k = len; k < len + GUARD; k++)
					cr_assert_eq(made[i][k], 0xa5);
			}
		}
	}
}

Test(rlc_code, a_buffer_grows_by_zeros)
{
	uint8_t bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	struct rlc_buffer buffer = {bytes, 3, 3};

	rlc_buffer_extend(&buffer, 6);
	cr_assert_arr_eq(bytes, ((uint8_t[]){1, 2, 3, 0, 0, 0, 7, 8}), 8);
	bytes[5] = 9;
	rlc_buffer_extend(&buffer, 5);
	cr_assert_eq(bytes[5], 9);
	cr_assert_eq(buffer.len, 3);
}
