/*
 * usage: bench_rs
 * Prints lines of NAME VALUE: nanoseconds of this thread for what the Reed-Solomon code of the kcp-go wire does.
 *
 * Packets have 1400 bytes. encode: a data packet of a group, its share of the parity. rebuild: a group that lacks so many data
 * packets, its last packet being there. The same by the usual way, which inverts a matrix for each group: `inverting`, with
 * the same multiplication by ISA-L behind it. Both give the same bytes, or the program ends.
 */
#include "core/endian.h"
#include "core/pool.h"
#include "fec/fec_encoder.h"
#include "fec/fec_group.h"
#include "fec/fec_matrix.h"
#include "fec/fec_slot.h"

#include <isa-l/erasure_code.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	PACKET_BYTES = 1400,
	ROOM_BYTES = FEC_HEADER_BYTES + PACKET_BYTES,
	CODED_BYTES = FEC_HEADER_SIZE_BYTES + PACKET_BYTES,
	CODED_AT = ROOM_BYTES - CODED_BYTES,
	SHARDS_MAX = 64,
	TABLE_BYTES = 32,
	SLOTS = 1000,
	ROUNDS = 2001,
};

static struct pool pool;
static struct fec_matrix_cache cache;
static uint8_t shards[SHARDS_MAX][CODED_BYTES]; /* as they are coded: data, then parity */
static double rounds[2][ROUNDS];

static double now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double median(double *of)
{
	qsort(of, ROUNDS, sizeof(of[0]), by_value);
	return of[ROUNDS / 2];
}

/* Fills `shards`. */
static void encode(unsigned data, unsigned parity)
{
	static uint8_t packets[SHARDS_MAX][ROOM_BYTES];
	struct fec_encoder encoder;
	struct fec_parity made;

	if (fec_encoder_init(&encoder, data, parity, ROOM_BYTES, FEC_PROFILE_NEW, &cache, &pool) <
		0)
		abort();
	for (unsigned i = 0; i < data; i++)
		for (unsigned k = 0; k < PACKET_BYTES; k++)
			packets[i][FEC_HEADER_BYTES + k] = (uint8_t)rand();
	for (unsigned r = 0; r < ROUNDS; r++) {
		int count = 0;
		double from = now_ns();
		for (unsigned i = 0; i < data; i++)
			count = fec_encoder_push(
				&encoder, packets[i], PACKET_BYTES, mono_at_us(0), &made);
		rounds[0][r] = (now_ns() - from) / data;
		if (count != (int)parity || made.len != ROOM_BYTES)
			abort();
	}
	printf("encode_%u_%u_ns %.0f\n", data, parity, median(rounds[0]));
	for (unsigned i = 0; i < data; i++)
		memcpy(shards[i], packets[i] + CODED_AT, CODED_BYTES);
	for (unsigned i = 0; i < parity; i++)
		memcpy(shards[data + i], made.packets[i] + CODED_AT, CODED_BYTES);
	fec_encoder_fini(&encoder);
}

/* Shards 0 .. missing - 1 are rebuilt of the others, as many as it takes. */
static void ours(unsigned data, unsigned missing, const struct fec_matrix *matrix, double *ret_ns)
{
	struct fec_group *group = fec_group_new(&pool, 0, mono_at_us(0));
	struct fec_group_tally tally = {0};
	const uint8_t *payload;
	size_t len;
	unsigned at = 0;

	for (unsigned i = missing; i < data + missing; i++)
		if (!fec_group_add(group, &pool, i, i < data, shards[i], CODED_BYTES))
			abort();
	double from = now_ns();
	fec_group_solve(group, matrix);
	payload = fec_group_next(group, &pool, matrix, &tally, &len);
	*ret_ns = now_ns() - from;
	for (; payload; payload = fec_group_next(group, &pool, matrix, &tally, &len), at++)
		if (memcmp(payload, shards[at] + FEC_HEADER_SIZE_BYTES, len) != 0)
			abort();
	if (at != missing)
		abort();
	fec_group_free(group, &pool);
}

static void inverting(
	unsigned data, unsigned missing, const struct fec_matrix *matrix, double *ret_ns)
{
	static uint8_t rebuilt[SHARDS_MAX][CODED_BYTES];
	static uint8_t rows[SHARDS_MAX * SHARDS_MAX], inverse[SHARDS_MAX * SHARDS_MAX];
	static uint8_t tables[SHARDS_MAX * SHARDS_MAX * TABLE_BYTES];
	uint8_t *from_shards[SHARDS_MAX], *to[SHARDS_MAX];
	double from = now_ns();

	memset(rows, 0, (size_t)data * data);
	for (unsigned i = 0; i < data; i++) {
		unsigned shard = i + missing;
		from_shards[i] = shards[shard];
		if (shard < data)
			rows[i * data + shard] = 1;
		else
			for (unsigned column = 0; column < data; column++)
				rows[i * data + column] =
					fec_matrix_coefficient(matrix, shard - data, column);
	}
	if (gf_invert_matrix(rows, inverse, (int)data) < 0)
		abort();
	ec_init_tables((int)data, (int)missing, inverse, tables);
	for (unsigned i = 0; i < missing; i++)
		to[i] = rebuilt[i];
	ec_encode_data(CODED_BYTES, (int)data, (int)missing, tables, from_shards, to);
	*ret_ns = now_ns() - from;
	for (unsigned i = 0; i < missing; i++)
		if (memcmp(rebuilt[i], shards[i], CODED_BYTES) != 0)
			abort();
}

/* @missing  at most FEC_GROUP_BATCH_SHARDS, which are rebuilt at once */
static void rebuild(unsigned data, unsigned parity, unsigned missing)
{
	struct fec_matrix *matrix = fec_matrix_acquire(&cache, data, parity);

	if (!matrix)
		abort();
	for (unsigned r = 0; r < ROUNDS; r++) {
		ours(data, missing, matrix, &rounds[0][r]);
		inverting(data, missing, matrix, &rounds[1][r]);
	}
	printf("rebuild_%u_of_%u_ns %.0f\n", missing, data, median(rounds[0]));
	printf("rebuild_%u_of_%u_inverting_ns %.0f\n", missing, data, median(rounds[1]));
	fec_matrix_release(matrix);
}

int main(void)
{
	srand(1);
	pool_init(&pool, FEC_SLOT_BYTES(ROOM_BYTES), SLOTS);
	fec_matrix_cache_init(&cache, FEC_MATRIX_CACHE_BYTES_MAX);
	encode(10, 3);
	rebuild(10, 3, 1);
	rebuild(10, 3, 3);
	encode(30, 15);
	rebuild(30, 15, 1);
	rebuild(30, 15, 6);
	fec_matrix_cache_fini(&cache);
	pool_fini(&pool);
	return 0;
}
