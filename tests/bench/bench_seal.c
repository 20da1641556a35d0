/*
 * usage: bench_seal
 * Prints for each implementation that holds here what a datagram costs to seal and to open, in nanoseconds of this
 * thread, and how many times faster that is than libsodium in the same run.
 *
 * The implementations take turns in each round; printed are medians over the rounds. A call gets a batch; the datagrams
 * of the batch have keys of their own and stand apart, as in slots of a window.
 */
#include "core/endian.h"
#include "crypto/seal_batch.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	SLOTS = 64,
	SLOT_BYTES = 1536,
	ROUNDS = 301,
	TURNS = 4,
};

struct slot {
	uint8_t header[SEAL_BATCH_AAD_BYTES];
	uint8_t text[SLOT_BYTES - SEAL_BATCH_AAD_BYTES];
};

static struct slot slots[SLOTS];
static uint8_t keys[SLOTS][SEAL_BATCH_KEY_BYTES];
static struct seal_job jobs[SLOTS];
static uint64_t counter;
static double seal_ns[SEAL_IMPLS][ROUNDS], open_ns[SEAL_IMPLS][ROUNDS];

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

static double median(double *values)
{
	qsort(values, ROUNDS, sizeof(values[0]), by_value);
	return values[ROUNDS / 2];
}

static void prepare(size_t len)
{
	for (size_t i = 0; i < SLOTS; i++) {
		store_le64(slots[i].header + 8, counter++);
		jobs[i] = (struct seal_job){
			.key = keys[i],
			.nonce = slots[i].header + 8,
			.aad = slots[i].header,
			.in = slots[i].text,
			.out = slots[i].text,
			.len = len,
			.tag = slots[i].text + len,
		};
	}
}

/* All slots between two looks at the clock, which itself costs as much as a datagram. */
static void run(enum seal_impl impl, size_t batch, size_t len, size_t round)
{
	double sealing = 0, opening = 0;

	for (size_t turn = 0; turn < TURNS; turn++) {
		prepare(len);
		double start = now_ns();
		for (size_t i = 0; i < SLOTS; i += batch)
			seal_batch_seal(impl, jobs + i, batch);
		double middle = now_ns();
		for (size_t i = 0; i < SLOTS; i += batch)
			seal_batch_open(impl, jobs + i, batch);
		opening += now_ns() - middle;
		sealing += middle - start;
		for (size_t i = 0; i < SLOTS; i++)
			if (!jobs[i].ok)
				abort();
	}
	seal_ns[impl][round] = sealing / (TURNS * SLOTS);
	open_ns[impl][round] = opening / (TURNS * SLOTS);
}

static void measure(size_t batch, size_t len)
{
	for (size_t round = 0; round < ROUNDS; round++)
		for (int impl = SEAL_IMPL_AUTO; impl < SEAL_IMPLS; impl++)
			if (seal_batch_holds((enum seal_impl)impl))
				run((enum seal_impl)impl, batch, len, round);
	double sodium_seal = median(seal_ns[SEAL_IMPL_SODIUM]);
	double sodium_open = median(open_ns[SEAL_IMPL_SODIUM]);
	for (int impl = SEAL_IMPL_AUTO; impl < SEAL_IMPLS; impl++) {
		if (!seal_batch_holds((enum seal_impl)impl))
			continue;
		double seal = impl == SEAL_IMPL_SODIUM ? sodium_seal : median(seal_ns[impl]);
		double open = impl == SEAL_IMPL_SODIUM ? sodium_open : median(open_ns[impl]);
		printf("%5zu  %5zu  %-9s  %7.0f %6.2f  %7.0f %6.2f\n", len, batch,
			seal_impl_name((enum seal_impl)impl), seal, sodium_seal / seal, open,
			sodium_open / open);
	}
}

int main(void)
{
	static const size_t lens[] = {1400, 64};
	static const size_t batches[] = {1, 4, 16, 64};

	if (sodium_init() < 0)
		return 1;
	randombytes_buf(keys, sizeof(keys));
	randombytes_buf(slots, sizeof(slots));
	double start = now_ns();
	enum seal_impl best = seal_batch_self_test();
	printf("self-test: %s, in %.0f us\n", seal_impl_name(best), (now_ns() - start) / 1000);
	printf("bytes  batch  by         seal ns  ratio  open ns  ratio\n");
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++)
		for (size_t k = 0; k < sizeof(batches) / sizeof(batches[0]); k++)
			measure(batches[k], lens[i]);
	return 0;
}
