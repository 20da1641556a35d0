/*
 * kcp-go's code is an interpolation. Take a byte position: the group's data bytes are the values, at the points
 * 0 .. d-1 of GF(2^8), of one polynomial of degree below d; the parity bytes are its values at d .. d+p-1. (kcp-go
 * writes this as V * inverse(top of V) with the Vandermonde matrix V[r][c] = r^c.) So every shard follows from any d
 * others by Lagrange's formula
 *
 *     value(x) = sum over s in S of value(s) * product over m in S, m != s, of (x xor m) / (s xor m)
 *
 * with S the d points that are known. The encoder has S = {0 .. d-1} always. For it, and for the greatest part of the
 * decoder's products, the inner product is the "weight" of a shard kept here:
 *
 *     weight(y) = product over m in 0..d-1, m != y, of (y xor m)
 *
 * With it a coefficient costs three operations, and the decoder never inverts a matrix. Two different points have
 * a xor b != 0, so no weight and no divisor is ever 0.
 *
 * The field (polynomial 0x11d) is ISA-L's; its own matrix generators make other codes and must not be used here.
 */
#include "fec/fec_matrix.h"

#include "fec/fec_header.h"

#include <assert.h>
#include <isa-l/erasure_code.h>
#include <stdlib.h>

enum {
	TABLE_BYTES = 32, /* of ISA-L's tables, at most, per coefficient */
};

void fec_matrix_cache_init(struct fec_matrix_cache *cache, size_t bytes_max)
{
	*cache = (struct fec_matrix_cache){.bytes_max = bytes_max};
	list_init(&cache->matrices);
}

void fec_matrix_cache_fini(struct fec_matrix_cache *cache)
{
	assert(list_empty(&cache->matrices));
	assert(cache->bytes_used == 0);
	(void)cache;
}

void *fec_matrix_cache_alloc(struct fec_matrix_cache *cache, size_t bytes)
{
	void *memory = NULL;

	if (bytes <= cache->bytes_max - cache->bytes_used)
		memory = calloc(1, bytes);
	if (memory)
		cache->bytes_used += bytes;
	else
		cache->refused++;
	return memory;
}

void fec_matrix_cache_free(struct fec_matrix_cache *cache, void *memory, size_t bytes)
{
	if (!memory)
		return;
	assert(cache->bytes_used >= bytes);
	cache->bytes_used -= bytes;
	free(memory);
}

bool fec_matrix_valid(unsigned data_shards, unsigned parity_shards)
{
	return data_shards >= 1 && parity_shards >= 1 && data_shards < FEC_SHARDS_MAX &&
	       parity_shards < FEC_SHARDS_MAX && data_shards + parity_shards <= FEC_SHARDS_MAX;
}

static size_t matrix_bytes(const struct fec_matrix *matrix)
{
	return sizeof(*matrix) + matrix->data_shards + matrix->parity_shards;
}

static size_t coefficients_count(const struct fec_matrix *matrix)
{
	return (size_t)matrix->data_shards * matrix->parity_shards;
}

/* ISA-L's tables, and behind them the coefficients they are made of. */
static size_t tables_bytes(const struct fec_matrix *matrix)
{
	return coefficients_count(matrix) * (TABLE_BYTES + 1);
}

static uint8_t weight_of(unsigned point, unsigned data_shards)
{
	uint8_t weight = 1;
	for (unsigned m = 0; m < data_shards; m++) {
		if (m != point)
			weight = gf_mul(weight, (uint8_t)(point ^ m));
	}
	return weight;
}

struct fec_matrix *fec_matrix_acquire(
	struct fec_matrix_cache *cache, unsigned data_shards, unsigned parity_shards)
{
	struct fec_matrix *matrix;

	if (!fec_matrix_valid(data_shards, parity_shards))
		return NULL;
	list_for_each (it, &cache->matrices) {
		matrix = list_entry(it, struct fec_matrix, node);
		if (matrix->data_shards == data_shards && matrix->parity_shards == parity_shards) {
			list_remove(&matrix->node);
			list_add_head(&cache->matrices, &matrix->node);
			matrix->refs++;
			return matrix;
		}
	}

	matrix = fec_matrix_cache_alloc(cache, sizeof(*matrix) + data_shards + parity_shards);
	if (!matrix)
		return NULL;
	matrix->cache = cache;
	matrix->refs = 1;
	matrix->data_shards = (uint16_t)data_shards;
	matrix->parity_shards = (uint16_t)parity_shards;
	for (unsigned s = 0; s < data_shards + parity_shards; s++)
		matrix->weights[s] = weight_of(s, data_shards);
	list_add_head(&cache->matrices, &matrix->node);
	return matrix;
}

void fec_matrix_release(struct fec_matrix *matrix)
{
	if (!matrix)
		return;
	assert(matrix->refs > 0);
	if (--matrix->refs > 0)
		return;
	list_remove(&matrix->node);
	fec_matrix_cache_free(matrix->cache, matrix->tables, tables_bytes(matrix));
	fec_matrix_cache_free(matrix->cache, matrix, matrix_bytes(matrix));
}

uint8_t fec_matrix_coefficient(const struct fec_matrix *matrix, unsigned row, unsigned column)
{
	unsigned point = matrix->data_shards + row;
	uint8_t divisor = gf_mul((uint8_t)(point ^ column), matrix->weights[column]);
	return gf_mul(matrix->weights[point], gf_inv(divisor));
}

uint8_t *fec_matrix_tables(struct fec_matrix *matrix)
{
	if (matrix->tables)
		return matrix->tables;
	matrix->tables = fec_matrix_cache_alloc(matrix->cache, tables_bytes(matrix));
	if (!matrix->tables)
		return NULL;

	/*
	 * All tables are made in one call: their layout is ISA-L's own affair and is not the same in all of its
	 * versions and on all processors.
	 */
	uint8_t *coefficients = matrix->tables + coefficients_count(matrix) * TABLE_BYTES;
	uint8_t *at = coefficients;
	for (unsigned row = 0; row < matrix->parity_shards; row++) {
		for (unsigned column = 0; column < matrix->data_shards; column++)
			*at++ = fec_matrix_coefficient(matrix, row, column);
	}
	ec_init_tables(matrix->data_shards, matrix->parity_shards, coefficients, matrix->tables);
	return matrix->tables;
}
