#include "fec/fec_header.h"
#include "fec/fec_matrix.h"

#include <criterion/criterion.h>

Test(fec_matrix, is_shared_and_counted)
{
	struct fec_matrix_cache cache;

	fec_matrix_cache_init(&cache, FEC_MATRIX_CACHE_BYTES_MAX);
	struct fec_matrix *a = fec_matrix_acquire(&cache, 10, 3);
	struct fec_matrix *b = fec_matrix_acquire(&cache, 3, 10);
	size_t without_tables = cache.bytes_used;
	cr_assert(a != NULL && b != NULL && a != b);
	cr_assert(without_tables < 300, "%zu bytes", without_tables);

	struct fec_matrix *again = fec_matrix_acquire(&cache, 10, 3);
	cr_assert(again == a);
	cr_assert_eq(cache.bytes_used, without_tables);

	uint8_t *tables = fec_matrix_tables(a);
	cr_assert(tables != NULL);
	cr_assert(fec_matrix_tables(again) == tables);
	cr_assert(cache.bytes_used > without_tables);

	fec_matrix_release(a);
	cr_assert(fec_matrix_tables(again) == tables);
	fec_matrix_release(again);
	fec_matrix_release(b);
	fec_matrix_release(NULL);
	cr_assert_eq(cache.bytes_used, 0);
	cr_assert_eq(cache.refused, 0);
	fec_matrix_cache_fini(&cache);
}

Test(fec_matrix, known_rows)
{
	static const uint8_t row[] = {0x81, 0x96, 0xaf, 0xb8, 0xd2, 0xc4, 0xfe, 0xe8, 0x03, 0x02};
	struct fec_matrix_cache cache;

	fec_matrix_cache_init(&cache, FEC_MATRIX_CACHE_BYTES_MAX);
	struct fec_matrix *matrix = fec_matrix_acquire(&cache, 10, 3);
	for (unsigned c = 0; c < 10; c++)
		cr_assert_eq(fec_matrix_coefficient(matrix, 0, c), row[c]);
	fec_matrix_release(matrix);
	fec_matrix_cache_fini(&cache);
}

Test(fec_matrix, refuses_what_the_field_cannot_hold)
{
	static const unsigned bad[][2] = {{0, 0}, {0, 1}, {1, 0}, {256, 1}, {1, 256}, {255, 2},
		{129, 128}, {4294967295u, 2}, {2, 4294967295u}};
	struct fec_matrix_cache cache;

	fec_matrix_cache_init(&cache, FEC_MATRIX_CACHE_BYTES_MAX);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert(fec_matrix_acquire(&cache, bad[i][0], bad[i][1]) == NULL, "row %zu", i);
	cr_assert_eq(cache.bytes_used, 0);
	fec_matrix_cache_fini(&cache);
}

Test(fec_matrix, keeps_its_bound)
{
	struct fec_matrix_cache cache;

	for (size_t bytes = 0; bytes < 2000; bytes++) {
		fec_matrix_cache_init(&cache, bytes);
		struct fec_matrix *matrix = fec_matrix_acquire(&cache, 10, 3);
		uint8_t *tables = matrix ? fec_matrix_tables(matrix) : NULL;
		cr_assert(cache.bytes_used <= bytes);
		cr_assert_eq(cache.refused, tables ? 0 : 1);
		fec_matrix_release(matrix);
		cr_assert_eq(cache.bytes_used, 0);
		fec_matrix_cache_fini(&cache);
	}
}
