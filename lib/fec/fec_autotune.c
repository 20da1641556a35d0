/*
 * Data and parity packets are numbered in one row, so an end that watches the numbers sees a square wave: d numbers of
 * data, p of parity, d of data ... Reordering is undone by sorting, loss shows as a gap. A run counts only if it and
 * its neighbours on both sides were received without a gap, so that its length is a shard count and not a part of one.
 *
 * kcp-go (both versions) looks at the first run of each kind and has no result while there is a gap before its end;
 * here the search goes on behind a gap, which finds the same counts sooner under loss. And the two runs must agree on
 * where groups begin (at multiples of their length), or the result would be contradicted by the next packet.
 *
 * Samples are kept in the order of arrival and sorted when somebody asks, which happens only while packets contradict
 * the present counts. The sort is by insertion: packets come nearly in order. An attacker's do not; a bound on the
 * moves ends that sort without a result.
 */
#include "fec/fec_autotune.h"

#include "core/pool.h"
#include "fec/fec_slot.h"

#include <stddef.h>

enum {
	SORT_MOVES_MAX = 2048, /* 8 places for each sample: more reordering than a network does */
};

struct fec_autotune_samples {
	uint32_t seqids[FEC_AUTOTUNE_SAMPLES]; /* ring; `next` is the oldest once it is full */
	uint16_t next;
	uint16_t count;
	uint8_t is_data[(FEC_AUTOTUNE_SAMPLES + 7) / 8]; /* a bit for each place of the ring */
};

_Static_assert(sizeof(struct fec_autotune_samples) <= FEC_SLOT_BYTES(0), "samples fit a slot");

void fec_autotune_sample(struct fec_autotune *tune, struct pool *pool, uint32_t seqid, bool is_data)
{
	struct fec_autotune_samples *samples = tune->samples;

	if (!samples) {
		samples = pool_take(pool);
		if (!samples)
			return;
		samples->next = 0;
		samples->count = 0;
		tune->samples = samples;
	}
	unsigned at = samples->next;
	uint8_t bit = (uint8_t)(1u << (at % 8));
	samples->seqids[at] = seqid;
	samples->is_data[at / 8] = (uint8_t)(is_data ? samples->is_data[at / 8] | bit
						     : samples->is_data[at / 8] & ~bit);
	samples->next = (uint16_t)(at + 1 == FEC_AUTOTUNE_SAMPLES ? 0 : at + 1);
	if (samples->count < FEC_AUTOTUNE_SAMPLES)
		samples->count++;
}

/* A sample as one number that sorts by sequence number: distance to a base, then the kind in the lowest bit. */
static int64_t key_of(const struct fec_autotune_samples *samples, unsigned at, uint32_t base)
{
	int64_t distance = (int32_t)(samples->seqids[at] - base);
	return distance * 2 + (samples->is_data[at / 8] >> (at % 8) & 1);
}

/* @return the number of different samples in `keys`, sorted; 0 if they are too far out of order */
static unsigned sort(const struct fec_autotune_samples *samples, int64_t keys[FEC_AUTOTUNE_SAMPLES])
{
	unsigned oldest = samples->count < FEC_AUTOTUNE_SAMPLES ? 0 : samples->next;
	unsigned moves = 0;
	unsigned n = 0;

	for (unsigned i = 0; i < samples->count; i++) {
		int64_t key = key_of(
			samples, (oldest + i) % FEC_AUTOTUNE_SAMPLES, samples->seqids[oldest]);
		unsigned at = n;
		while (at > 0 && keys[at - 1] > key) {
			keys[at] = keys[at - 1];
			at--;
			if (++moves > SORT_MOVES_MAX)
				return 0;
		}
		if (at > 0 && keys[at - 1] == key) {
			/* A duplicate: close the place that was made for it. */
			for (; at < n; at++)
				keys[at] = keys[at + 1];
			continue;
		}
		keys[at] = key;
		n++;
	}
	return n;
}

struct run {
	unsigned len; /* 0 = not found */
	uint32_t first_seqid;
};

bool fec_autotune_find(
	const struct fec_autotune *tune, unsigned *ret_data_shards, unsigned *ret_parity_shards)
{
	const struct fec_autotune_samples *samples = tune->samples;
	int64_t keys[FEC_AUTOTUNE_SAMPLES];
	struct run found[2] = {{0, 0}, {0, 0}}; /* by kind: parity, data */
	unsigned start = 0;			/* first sample of the run being walked */
	bool start_is_edge = false; /* its neighbour in front is known and of the other kind */

	if (!samples)
		return false;
	uint32_t base = samples->seqids[samples->count < FEC_AUTOTUNE_SAMPLES ? 0 : samples->next];
	unsigned n = sort(samples, keys);
	for (unsigned i = 1; i < n && (!found[0].len || !found[1].len); i++) {
		bool follows = keys[i] >> 1 == (keys[i - 1] >> 1) + 1;
		if (follows && (keys[i] & 1) == (keys[i - 1] & 1))
			continue;
		struct run *run = &found[keys[start] & 1];
		if (follows && start_is_edge && !run->len)
			*run = (struct run){i - start, base + (uint32_t)(keys[start] >> 1)};
		start = i;
		start_is_edge = follows;
	}

	if (!found[0].len || !found[1].len)
		return false;
	unsigned data_shards = found[1].len;
	unsigned shards = data_shards + found[0].len;
	if (found[1].first_seqid % shards != 0 || found[0].first_seqid % shards != data_shards)
		return false;
	*ret_data_shards = data_shards;
	*ret_parity_shards = found[0].len;
	return true;
}

void fec_autotune_reset(struct fec_autotune *tune, struct pool *pool)
{
	pool_return(pool, tune->samples);
	tune->samples = NULL;
}
