/*
 * A parity packet is a sum over the group's data shards, so it can be built up while they pass: each data shard is
 * multiplied and added into the group's parity buffers and forgotten. Nothing is copied, the cost is the same for each
 * packet, and what is in memory is parity_shards buffers while a group is open.
 *
 * Shards of a group differ in length; the code treats the shorter ones as filled up with zeros. Zeros add nothing, so
 * the buffers are simply as long as the longest shard so far, and grow by zeroed bytes.
 *
 * A parity buffer is a slot of the shared pool:
 *
 *     headroom 58 | seqid 4 | type 2 | coded bytes ... | tailroom 32
 *
 * The coded bytes start at a cache line. Slots are taken at the first packet of a group and are kept over the following
 * groups until fec_encoder_trim() or fec_encoder_abandon().
 *
 * A group's numbers are spent whether its parity is sent or not, so that groups begin at multiples of their length and
 * both ends agree on which packets belong together. The numbers wrap at the last such multiple below 2^32 ("paws").
 *
 * Source: kcp-go 5.6.1 and 5.6.72 as observed on the wire.
 */
#include "fec/fec_encoder.h"

#include "core/pool.h"
#include "fec/fec_matrix.h"
#include "fec/fec_slot.h"

#include <assert.h>
#include <errno.h>
#include <isa-l/erasure_code.h>
#include <string.h>

enum {
	CODED_OFFSET = FEC_PARITY_HEADROOM_BYTES + FEC_HEADER_SEQID_BYTES,
};

_Static_assert(CODED_OFFSET % POOL_ALIGN_BYTES == 0, "coded bytes start at a cache line");
_Static_assert(FEC_PARITY_HEADROOM_BYTES + FEC_PARITY_TAILROOM_BYTES <= FEC_SLOT_OVERHEAD_BYTES,
	"a slot holds a parity packet");

enum parity_state {
	PARITY_GATHERING, /* or no group is open */
	PARITY_NO_MEMORY,
	PARITY_ABANDONED,
};

static size_t pointers_bytes(const struct fec_encoder *enc)
{
	return sizeof(uint8_t *) * 2 *
	       enc->parity_shards; /* to the coded bytes, then to the packets */
}

int fec_encoder_init(struct fec_encoder *enc, unsigned data_shards, unsigned parity_shards,
	size_t packet_bytes_max, enum fec_profile profile, struct fec_matrix_cache *cache,
	struct pool *pool)
{
	*enc = (struct fec_encoder){0};
	if (!fec_matrix_valid(data_shards, parity_shards) || packet_bytes_max < FEC_HEADER_BYTES ||
		packet_bytes_max > FEC_PACKET_BYTES_MAX ||
		pool->slot_bytes < FEC_SLOT_BYTES(packet_bytes_max))
		return -EINVAL;

	*enc = (struct fec_encoder){
		.pool = pool,
		.cache = cache,
		.paws = fec_paws(data_shards + parity_shards),
		.data_shards = (uint16_t)data_shards,
		.parity_shards = (uint16_t)parity_shards,
		.packet_bytes_max = (uint16_t)packet_bytes_max,
		.profile = (uint8_t)profile,
	};
	enc->parity = fec_matrix_cache_alloc(cache, pointers_bytes(enc));
	if (!enc->parity)
		goto fail;
	enc->matrix = fec_matrix_acquire(cache, data_shards, parity_shards);
	if (!enc->matrix || !fec_matrix_tables(enc->matrix))
		goto fail;
	return 0;
fail:
	fec_encoder_fini(enc);
	return -ENOMEM;
}

static void return_slots(struct fec_encoder *enc)
{
	if (!enc->holds_slots)
		return;
	for (unsigned row = 0; row < enc->parity_shards; row++)
		pool_return(enc->pool, enc->parity[row] - CODED_OFFSET);
	enc->holds_slots = false;
}

void fec_encoder_fini(struct fec_encoder *enc)
{
	return_slots(enc);
	if (enc->parity)
		fec_matrix_cache_free(enc->cache, enc->parity, pointers_bytes(enc));
	fec_matrix_release(enc->matrix);
	*enc = (struct fec_encoder){0};
}

static bool take_slots(struct fec_encoder *enc)
{
	if (enc->holds_slots)
		return true;
	for (unsigned row = 0; row < enc->parity_shards; row++) {
		uint8_t *slot = pool_take(enc->pool);
		if (!slot) {
			while (row-- > 0)
				pool_return(enc->pool, enc->parity[row] - CODED_OFFSET);
			return false;
		}
		enc->parity[row] = slot + CODED_OFFSET;
		enc->parity[enc->parity_shards + row] = slot + FEC_PARITY_HEADROOM_BYTES;
	}
	enc->holds_slots = true;
	return true;
}

/* Adds one data shard to all parity buffers. */
static void fold(struct fec_encoder *enc, uint8_t *shard, size_t len)
{
	if (len > enc->longest) {
		for (unsigned row = 0; row < enc->parity_shards; row++)
			memset(enc->parity[row] + enc->longest, 0, len - enc->longest);
		enc->longest = (uint16_t)len;
	}
	ec_encode_data_update((int)len, enc->data_shards, enc->parity_shards, enc->shards_pushed,
		enc->matrix->tables, shard, enc->parity);
}

static uint32_t next_seqid(struct fec_encoder *enc)
{
	uint32_t seqid = enc->next_seqid;
	enc->next_seqid = seqid + 1 == enc->paws ? 0 : seqid + 1;
	return seqid;
}

static bool paused_before_last(const struct fec_encoder *enc, struct mono now)
{
	if (enc->profile == FEC_PROFILE_OLD)
		return false;
	/* kcp-go's stamp starts at 0, so the very first packet always looks late. */
	if (!enc->pushed_before)
		return true;
	return mono_diff_us(now, enc->last_at) >= (int64_t)FEC_ENCODER_PAUSE_MS * 1000;
}

/* Ends the open group. @return the number of parity packets to send */
static int close_group(struct fec_encoder *enc, bool paused, struct fec_parity *ret_parity)
{
	bool skip = true;

	enc->stats.groups++;
	if (enc->parity_state == PARITY_NO_MEMORY)
		enc->stats.skipped_memory++;
	else if (enc->parity_state == PARITY_ABANDONED)
		enc->stats.skipped_abandon++;
	else if (paused)
		enc->stats.skipped_pause++;
	else
		skip = false;

	for (unsigned row = 0; row < enc->parity_shards; row++) {
		uint32_t seqid = next_seqid(enc);
		if (!skip)
			fec_header_write(
				enc->parity[enc->parity_shards + row], seqid, FEC_TYPE_PARITY);
	}
	if (!skip) {
		*ret_parity = (struct fec_parity){
			.packets = enc->parity + enc->parity_shards,
			.count = enc->parity_shards,
			.len = (size_t)FEC_HEADER_SEQID_BYTES + enc->longest,
		};
		enc->stats.parity_packets += enc->parity_shards;
	}
	enc->shards_pushed = 0;
	enc->longest = 0;
	enc->parity_state = PARITY_GATHERING;
	return skip ? 0 : enc->parity_shards;
}

int fec_encoder_push(struct fec_encoder *enc, uint8_t *packet, size_t payload_len, struct mono now,
	struct fec_parity *ret_parity)
{
	if (payload_len > (size_t)enc->packet_bytes_max - FEC_HEADER_BYTES)
		return -EMSGSIZE;

	size_t coded_len = payload_len + FEC_HEADER_SIZE_BYTES;
	fec_header_write(packet, next_seqid(enc), FEC_TYPE_DATA);
	store_le16(packet + FEC_HEADER_SEQID_BYTES, (uint16_t)coded_len);
	enc->stats.data_packets++;

	if (enc->shards_pushed == 0 && !take_slots(enc))
		enc->parity_state = PARITY_NO_MEMORY;
	bool last = enc->shards_pushed + 1 == enc->data_shards;
	bool paused = last && paused_before_last(enc, now);
	if (enc->parity_state == PARITY_GATHERING && !paused)
		fold(enc, packet + FEC_HEADER_SEQID_BYTES, coded_len);
	enc->shards_pushed++;
	enc->last_at = now;
	enc->pushed_before = true;
	return last ? close_group(enc, paused, ret_parity) : 0;
}

bool fec_encoder_trim(struct fec_encoder *enc)
{
	if (enc->shards_pushed == 0)
		return_slots(enc);
	return !enc->holds_slots;
}

void fec_encoder_abandon(struct fec_encoder *enc)
{
	if (enc->shards_pushed > 0 && enc->parity_state == PARITY_GATHERING)
		enc->parity_state = PARITY_ABANDONED;
	return_slots(enc);
}
