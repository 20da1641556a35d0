/*
 * A group lives in slots of the shared pool and nowhere else. The first slot begins with the group's own state; shards
 * are laid one behind the other, and another slot is taken when the next does not fit. So a group of acknowledgements
 * takes one slot in all, a group of full packets one for each, and an end that receives nothing holds nothing.
 *
 *     slot 1:  fec_block | fec_group | fec_shard bytes | fec_shard bytes | ...
 *     slot 2:  fec_block | fec_shard bytes | ...
 *
 * Rebuilding. With d shards S at hand (all data shards but the missing ones E, and as many parity shards Q), a missing
 * shard x is the sum over s in S of shard(s) * W(x) / (W(s) (x xor s)), where W(y) is the product of (y xor m) over
 * all m in S but y itself (see fec_matrix.c). The matrix has that product over all data shards, so
 *
 *     W(y) = weight(y) * product over Q of (y xor q) / product over E of (y xor e)         (each without y itself)
 *
 * which takes 2e multiplications: e of d shards lost cost about 2e(d + e) of them and e passes over each of the d
 * shards, and no matrix is ever inverted. Shards keep their own lengths, since zeros behind a shard add nothing.
 *
 * The missing shards are rebuilt in batches and as they are asked for, so that a group with a hundred losses needs
 * slots for six.
 */
#include "fec/fec_group.h"

#include "core/endian.h"
#include "core/pool.h"
#include "fec/fec_header.h"
#include "fec/fec_matrix.h"
#include "fec/fec_slot.h"

#include <assert.h>
#include <isa-l/erasure_code.h>
#include <string.h>

struct fec_block {
	struct fec_block *next;
	size_t used; /* bytes of the slot, this header included */
};

struct fec_shard {
	struct fec_shard *next;
	uint16_t len;
	uint8_t index;
	uint8_t inverse_weight; /* 1 / W(index), set by fec_group_solve() */
	uint8_t bytes[];
};

enum {
	SHARD_ALIGN_BYTES = _Alignof(struct fec_shard),
	ISAL_TABLE_BYTES = 32,
};

_Static_assert(sizeof(struct fec_block) + sizeof(struct fec_group) + sizeof(struct fec_shard) +
			       SHARD_ALIGN_BYTES <=
		       FEC_SLOT_OVERHEAD_BYTES,
	"a packet fits the first slot of its group");
_Static_assert(sizeof(((struct fec_group *)0)->have) * 8 >= FEC_SHARDS_MAX, "a bit for each shard");

static struct fec_block *block_new(struct pool *pool, struct fec_block *next)
{
	struct fec_block *block = pool_take(pool);
	if (block)
		*block = (struct fec_block){.next = next, .used = sizeof(*block)};
	return block;
}

struct fec_group *fec_group_new(struct pool *pool, uint32_t number, struct mono now)
{
	struct fec_block *block = block_new(pool, NULL);
	if (!block)
		return NULL;

	struct fec_group *group = (void *)(block + 1);
	block->used += sizeof(*group);
	*group = (struct fec_group){.blocks = block, .first_at = now, .number = number};
	return group;
}

static void return_batch(struct fec_group *group, struct pool *pool)
{
	for (unsigned i = 0; i < group->batch_count; i++)
		pool_return(pool, group->batch[i]);
	group->batch_count = 0;
	group->batch_next = 0;
}

void fec_group_free(struct fec_group *group, struct pool *pool)
{
	if (!group)
		return;
	return_batch(group, pool);
	for (struct fec_block *block = group->blocks; block;) {
		struct fec_block *next = block->next; /* the last block takes the group with it */
		pool_return(pool, block);
		block = next;
	}
}

bool fec_group_add(struct fec_group *group, struct pool *pool, unsigned index, bool is_data,
	const uint8_t *bytes, size_t len)
{
	struct fec_block *block = group->blocks;
	size_t need = (sizeof(struct fec_shard) + len + SHARD_ALIGN_BYTES - 1) / SHARD_ALIGN_BYTES *
		      SHARD_ALIGN_BYTES;

	assert(!fec_group_has(group, index));
	if (pool->slot_bytes - block->used < need) {
		block = block_new(pool, group->blocks);
		if (!block)
			return false;
		group->blocks = block;
	}
	struct fec_shard *shard = (void *)((uint8_t *)block + block->used);
	block->used += need;
	*shard = (struct fec_shard){
		.next = group->shards, .len = (uint16_t)len, .index = (uint8_t)index};
	memcpy(shard->bytes, bytes, len);
	group->shards = shard;
	group->shard_count++;
	group->data_count = (uint16_t)(group->data_count + is_data);
	group->have[index / 8] |= (uint8_t)(1u << (index % 8));
	if (len > group->longest)
		group->longest = (uint16_t)len;
	return true;
}

/* Which data shards a group lacks and which parity shards stand in for them: as many. */
struct pattern {
	unsigned count;
	uint8_t missing[FEC_SHARDS_MAX];
	uint8_t parity[FEC_SHARDS_MAX];
};

static void pattern_of(
	const struct fec_group *group, const struct fec_matrix *matrix, struct pattern *pattern)
{
	unsigned count = 0;
	for (const struct fec_shard *shard = group->shards; shard; shard = shard->next) {
		if (shard->index >= matrix->data_shards)
			pattern->parity[count++] = shard->index;
	}
	pattern->count = 0;
	for (unsigned index = 0; index < matrix->data_shards; index++) {
		if (!fec_group_has(group, index))
			pattern->missing[pattern->count++] = (uint8_t)index;
	}
	assert(count == pattern->count);
}

/* W(point), see above. */
static uint8_t weight_of(
	const struct pattern *pattern, const struct fec_matrix *matrix, uint8_t point)
{
	uint8_t over = matrix->weights[point];
	uint8_t under = 1;

	for (unsigned i = 0; i < pattern->count; i++) {
		if (pattern->parity[i] != point)
			over = gf_mul(over, pattern->parity[i] ^ point);
		if (pattern->missing[i] != point)
			under = gf_mul(under, pattern->missing[i] ^ point);
	}
	return gf_mul(over, gf_inv(under));
}

void fec_group_solve(struct fec_group *group, const struct fec_matrix *matrix)
{
	struct pattern pattern;

	assert(group->shard_count == matrix->data_shards);
	pattern_of(group, matrix, &pattern);
	for (struct fec_shard *shard = group->shards; shard; shard = shard->next)
		shard->inverse_weight = gf_inv(weight_of(&pattern, matrix, shard->index));
	group->next_missing = 0;
}

/* Rebuilds the next missing shards, as many as there are slots for. @return false if there are none left or no slot */
static bool solve_batch(struct fec_group *group, struct pool *pool, const struct fec_matrix *matrix,
	struct fec_group_tally *tally)
{
	uint8_t points[FEC_GROUP_BATCH_SHARDS];
	uint8_t weights[FEC_GROUP_BATCH_SHARDS];
	struct pattern pattern;
	unsigned count = 0;

	return_batch(group, pool);
	pattern_of(group, matrix, &pattern);
	for (unsigned i = 0; i < pattern.count && count < FEC_GROUP_BATCH_SHARDS; i++) {
		uint8_t point = pattern.missing[i];
		if (point < group->next_missing)
			continue;
		uint8_t *slot = pool_take(pool);
		if (!slot) {
			/* One slot at a time will do; with none at all the rest is lost. */
			tally->errors += count == 0 ? pattern.count - i : 0;
			break;
		}
		memset(slot, 0, group->longest);
		group->batch[count] = slot;
		points[count] = point;
		weights[count++] = weight_of(&pattern, matrix, point);
	}
	group->batch_count = (uint8_t)count;
	if (count == 0) {
		group->next_missing = FEC_SHARDS_MAX;
		return false;
	}
	group->next_missing = (uint16_t)(points[count - 1] + 1);

	for (struct fec_shard *shard = group->shards; shard; shard = shard->next) {
		uint8_t coefficients[FEC_GROUP_BATCH_SHARDS];
		uint8_t tables[FEC_GROUP_BATCH_SHARDS * ISAL_TABLE_BYTES];
		for (unsigned i = 0; i < count; i++)
			coefficients[i] =
				gf_mul(gf_mul(weights[i], gf_inv(points[i] ^ shard->index)),
					shard->inverse_weight);
		ec_init_tables(1, (int)count, coefficients, tables);
		ec_encode_data_update(
			shard->len, 1, (int)count, 0, tables, shard->bytes, group->batch);
	}
	return true;
}

const uint8_t *fec_group_next(struct fec_group *group, struct pool *pool,
	const struct fec_matrix *matrix, struct fec_group_tally *tally, size_t *ret_len)
{
	do {
		while (group->batch_next < group->batch_count) {
			const uint8_t *shard = group->batch[group->batch_next++];
			size_t size = load_le16(shard);
			if (size >= FEC_HEADER_SIZE_BYTES && size <= group->longest) {
				tally->rebuilt++;
				*ret_len = size - FEC_HEADER_SIZE_BYTES;
				return shard + FEC_HEADER_SIZE_BYTES;
			}
			tally->errors++;
		}
	} while (solve_batch(group, pool, matrix, tally));
	return NULL;
}
