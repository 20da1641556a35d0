/*
 * usage: bench_rlc
 * Prints lines of NAME VALUE: nanoseconds of this thread for what the sliding-window code does to a datagram.
 *
 * Sources have 1400 bytes of segments. A line with _max is the median of the worst single datagram of each round, so that
 * what else runs on the machine is not in it.
 */
#include "core/endian.h"
#include "core/pool.h"
#include "fec/rlc_decoder.h"
#include "fec/rlc_encoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	SEGMENTS = 1400,
	SLOTS = 1000,
	ROUNDS = 2001,
	AGE_US = 1000000000,
	REPAIRS = 128,
};

struct repair {
	uint32_t cidx;
	size_t len;
	uint8_t body[RLC_REPAIR_BYTES(SEGMENTS)];
};

static struct pool pool;
static struct rlc_encoder enc;
static struct rlc_decoder dec;
static uint8_t segments[2 * RLC_WINDOW_MAX][SEGMENTS];
static struct repair repairs[REPAIRS];
static double rounds[ROUNDS];

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

static double median(void)
{
	qsort(rounds, ROUNDS, sizeof(rounds[0]), by_value);
	return rounds[ROUNDS / 2];
}

static void push(unsigned i)
{
	uint32_t cidx;

	if (!rlc_encoder_push(&enc, i, segments[i], SEGMENTS, mono_at_us(0), &cidx) || cidx != i)
		abort();
}

static void make(struct repair *repair, unsigned window)
{
	uint8_t out[RLC_REPAIR_BYTES(SEGMENTS)];
	size_t len = rlc_encoder_repair(
		&enc, RLC_KIND_BULK_REPAIR, window, out, sizeof(out), mono_at_us(0));

	repair->cidx = load_le32(out) >> 8;
	repair->len = len - RLC_PLAIN_HEADER_BYTES;
	memcpy(repair->body, out + RLC_PLAIN_HEADER_BYTES, repair->len);
}

static void source(unsigned i)
{
	if (rlc_decoder_source(&dec, i, i, segments[i], SEGMENTS, mono_at_us(0)) != RLC_SOURCE_KEPT)
		abort();
}

static enum rlc_verdict give(unsigned i)
{
	const struct repair *r = &repairs[i];

	return rlc_decoder_repair(&dec, r->cidx, 1000 + i, r->body, r->len, mono_at_us(0));
}

static unsigned fetch(void)
{
	struct rlc_symbol symbol;
	unsigned count = 0;

	while (rlc_decoder_rebuilt(&dec, &symbol)) {
		if (memcmp(symbol.segments, segments[symbol.pn], SEGMENTS) != 0)
			abort();
		count++;
	}
	return count;
}

static void encoder(unsigned window)
{
	struct repair repair;

	rlc_encoder_restart(&enc);
	for (unsigned i = 0; i < window; i++)
		push(i);
	for (unsigned r = 0; r < ROUNDS; r++) {
		double from = now_ns();
		for (unsigned i = 0; i < 10; i++)
			make(&repair, window);
		rounds[r] = (now_ns() - from) / 10;
	}
	printf("repair_of_%u_ns %.0f\n", window, median());

	for (unsigned r = 0; r < ROUNDS; r++) {
		rlc_encoder_restart(&enc);
		double from = now_ns();
		for (unsigned i = 0; i < 2 * RLC_WINDOW_MAX; i++)
			push(i);
		rounds[r] = (now_ns() - from) / (2 * RLC_WINDOW_MAX);
	}
	if (window == RLC_WINDOW_MAX)
		printf("encoder_source_ns %.0f\n", median());
}

/* `missing` of a window of 48 are lost and rebuilt by as many repairs. */
static void solve(unsigned missing)
{
	unsigned window = 48, step = window / missing, left_out = 0;

	rlc_encoder_restart(&enc);
	for (unsigned i = 0; i < window; i++)
		push(i);
	for (unsigned i = 0; i < missing + 2; i++)
		make(&repairs[i], window);
	for (unsigned r = 0; r < ROUNDS; r++) {
		rlc_decoder_restart(&dec);
		left_out = 0;
		for (unsigned i = 0; i < window; i++) {
			if (i % step == 0 && left_out < missing)
				left_out++;
			else
				source(i);
		}
		double solve_from = now_ns();
		unsigned used = 0, rebuilt = 0;
		while (rebuilt < missing && used < missing + 2) {
			give(used++);
			rebuilt += fetch();
		}
		rounds[r] = now_ns() - solve_from;
		if (rebuilt != missing)
			abort();
	}
	printf("solve_%u_of_%u_ns %.0f\n", missing, window, median());
}

static void spare(void)
{
	rlc_decoder_restart(&dec);
	for (unsigned i = 0; i < 48; i++)
		source(i);
	for (unsigned r = 0; r < ROUNDS; r++) {
		double from = now_ns();
		for (unsigned i = 0; i < 10; i++)
			give(0);
		rounds[r] = (now_ns() - from) / 10;
	}
	printf("spare_repair_ns %.0f\n", median());
	for (unsigned r = 0; r < ROUNDS; r++) {
		rlc_decoder_restart(&dec);
		source(0);
		double from = now_ns();
		for (unsigned i = 1; i < 2 * RLC_WINDOW_MAX; i++)
			source(i);
		rounds[r] = (now_ns() - from) / (2 * RLC_WINDOW_MAX - 1);
	}
	printf("decoder_source_ns %.0f\n", median());
}

/*
 * Nothing but repairs of a full window that moves by one, then sources into all of these equations; and nothing but
 * repairs of the same window, the last of which rebuilds all 64 at once.
 */
static void worst(void)
{
	static double sources[ROUNDS];
	const unsigned window = RLC_WINDOW_MAX;

	rlc_encoder_restart(&enc);
	for (unsigned i = 0; i < 2 * window; i++) {
		push(i);
		if (i + 1 >= window)
			make(&repairs[i + 1 - window], window);
	}
	for (unsigned r = 0; r < ROUNDS; r++) {
		rlc_decoder_restart(&dec);
		double most = 0;
		for (unsigned i = 0; i <= window; i++) {
			double from = now_ns();
			give(i);
			double took = now_ns() - from;
			most = took > most ? took : most;
		}
		rounds[r] = most;
		most = 0;
		for (unsigned i = 2 * window - 1; i >= window + 1; i--) {
			double from = now_ns();
			rlc_decoder_source(&dec, i, i, segments[i], SEGMENTS, mono_at_us(0));
			double took = now_ns() - from;
			most = took > most ? took : most;
		}
		sources[r] = most;
		fetch();
	}
	double repair = median();
	memcpy(rounds, sources, sizeof(rounds));
	printf("source_max_ns %.0f\n", median());

	rlc_encoder_restart(&enc);
	for (unsigned i = 0; i < window; i++)
		push(i);
	for (unsigned i = 0; i < window + 4; i++)
		make(&repairs[i], window);
	for (unsigned r = 0; r < ROUNDS; r++) {
		double most = 0;
		rlc_decoder_restart(&dec);
		for (unsigned i = 0; i < window + 4; i++) {
			double from = now_ns();
			give(i);
			double took = now_ns() - from;
			most = took > most ? took : most;
		}
		rounds[r] = most;
	}
	double all = median();
	printf("repair_max_ns %.0f\n", all > repair ? all : repair);
}

int main(void)
{
	srand(1);
	for (unsigned i = 0; i < 2 * RLC_WINDOW_MAX; i++)
		for (unsigned k = 0; k < SEGMENTS; k++)
			segments[i][k] = (uint8_t)rand();
	pool_init(&pool, RLC_SLOT_BYTES(SEGMENTS), SLOTS);
	rlc_encoder_init(&enc, RLC_WINDOW_MAX, AGE_US, &pool);
	rlc_decoder_init(&dec, RLC_WINDOW_MAX, SEGMENTS, AGE_US, &pool);
	encoder(6);
	encoder(48);
	encoder(RLC_WINDOW_MAX);
	solve(1);
	solve(2);
	solve(4);
	solve(8);
	spare();
	worst();
	rlc_encoder_fini(&enc);
	rlc_decoder_fini(&dec);
	pool_fini(&pool);
	return 0;
}
