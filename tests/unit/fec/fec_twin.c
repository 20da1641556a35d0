#include "fec_twin.h"

#include <assert.h>
#include <string.h>

uint8_t twin_mul(uint8_t a, uint8_t b)
{
	unsigned product = 0;
	for (int bit = 7; bit >= 0; bit--) {
		product <<= 1;
		if (product & 0x100)
			product ^= 0x11d;
		if (b >> bit & 1)
			product ^= a;
	}
	return (uint8_t)product;
}

static uint8_t products[256][256];

static void fill_products(void)
{
	if (products[1][1])
		return;
	for (unsigned a = 0; a < 256; a++)
		for (unsigned b = 0; b < 256; b++)
			products[a][b] = twin_mul((uint8_t)a, (uint8_t)b);
}

static uint8_t inverse(uint8_t a)
{
	unsigned b = 1;
	while (products[a][b] != 1)
		b++;
	return (uint8_t)b;
}

/* Gauss-Jordan: turns `m` (d x d) into the identity and does the same to `with`. */
static void eliminate(
	unsigned d, uint8_t m[TWIN_SHARDS][TWIN_SHARDS], uint8_t *with[], size_t width)
{
	for (unsigned c = 0; c < d; c++) {
		unsigned pivot = c;
		while (m[pivot][c] == 0) {
			pivot++;
			assert(pivot < d);
		}
		for (size_t k = 0; k < d; k++) {
			uint8_t t = m[pivot][k];
			m[pivot][k] = m[c][k];
			m[c][k] = t;
		}
		uint8_t *t = with[pivot];
		with[pivot] = with[c];
		with[c] = t;
		uint8_t factor = inverse(m[c][c]);
		for (size_t k = 0; k < d; k++)
			m[c][k] = products[factor][m[c][k]];
		for (size_t k = 0; k < width; k++)
			with[c][k] = products[factor][with[c][k]];
		for (unsigned r = 0; r < d; r++) {
			factor = m[r][c];
			if (r == c || factor == 0)
				continue;
			for (size_t k = 0; k < d; k++)
				m[r][k] ^= products[factor][m[c][k]];
			for (size_t k = 0; k < width; k++)
				with[r][k] ^= products[factor][with[c][k]];
		}
	}
}

void twin_matrix(unsigned d, unsigned n, uint8_t rows[TWIN_SHARDS][TWIN_SHARDS])
{
	static uint8_t vandermonde[TWIN_SHARDS][TWIN_SHARDS], top[TWIN_SHARDS][TWIN_SHARDS];
	static uint8_t inverted[TWIN_SHARDS][TWIN_SHARDS];
	uint8_t *inverted_rows[TWIN_SHARDS];

	fill_products();
	memset(inverted, 0, sizeof(inverted));
	for (unsigned r = 0; r < n; r++) {
		uint8_t power = 1;
		for (unsigned c = 0; c < d; c++) {
			vandermonde[r][c] = power;
			power = products[power][r];
		}
	}
	memcpy(top, vandermonde, sizeof(top));
	for (unsigned r = 0; r < d; r++) {
		inverted[r][r] = 1;
		inverted_rows[r] = inverted[r];
	}
	eliminate(d, top, inverted_rows, d);
	for (unsigned r = 0; r < n; r++) {
		for (unsigned c = 0; c < d; c++) {
			uint8_t sum = 0;
			for (unsigned k = 0; k < d; k++)
				sum ^= products[vandermonde[r][k]][inverted_rows[k][c]];
			rows[r][c] = sum;
		}
	}
}

void twin_encode(
	unsigned d, unsigned n, uint8_t rows[TWIN_SHARDS][TWIN_SHARDS], struct twin_shard *shards)
{
	size_t longest = 0;
	for (unsigned c = 0; c < d; c++)
		longest = shards[c].len > longest ? shards[c].len : longest;
	for (unsigned r = d; r < n; r++) {
		memset(&shards[r], 0, sizeof(shards[r]));
		shards[r].len = longest;
		for (unsigned c = 0; c < d; c++)
			for (size_t i = 0; i < shards[c].len; i++)
				shards[r].bytes[i] ^= products[rows[r][c]][shards[c].bytes[i]];
	}
}

void twin_decode(unsigned d, unsigned n, uint8_t rows[TWIN_SHARDS][TWIN_SHARDS],
	const struct twin_shard *shards, struct twin_shard *ret_data)
{
	static uint8_t m[TWIN_SHARDS][TWIN_SHARDS];
	uint8_t *with[TWIN_SHARDS];
	static uint8_t values[TWIN_SHARDS][TWIN_BYTES];
	size_t longest = 0;
	unsigned r = 0;

	for (unsigned s = 0; s < n; s++) {
		if (!shards[s].len)
			continue;
		assert(r < d);
		longest = shards[s].len > longest ? shards[s].len : longest;
		memcpy(m[r], rows[s], d);
		memset(values[r], 0, TWIN_BYTES);
		memcpy(values[r], shards[s].bytes, shards[s].len);
		with[r] = values[r];
		r++;
	}
	assert(r == d);
	eliminate(d, m, with, longest);
	for (unsigned c = 0; c < d; c++) {
		memset(&ret_data[c], 0, sizeof(ret_data[c]));
		ret_data[c].len = longest;
		memcpy(ret_data[c].bytes, with[c], longest);
	}
}
