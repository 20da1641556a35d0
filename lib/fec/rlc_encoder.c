/*
 * The window is a ring of slots with the last sources, each as its symbol: pn, length, segments. A repair is one sum over
 * them, made when it is asked for. Building repairs up while sources pass would save reading them again, but then their
 * coefficients, hence their first and last source, would have to be known before; the schedule does not know them.
 *
 * A sum wants terms of one length, so a slot has a tail of zeros (struct rlc_buffer) that grows once to the longest
 * neighbour it ever had and stays there until the slot is written anew.
 *
 * A source that cannot be kept is no source: the caller sends it as PLAIN, and indices run without a hole. What is too old to be
 * of use is covered no more, so the first packet after a pause is not held hostage by what nobody waits for.
 */
#include "fec/rlc_encoder.h"

#include "core/endian.h"
#include "core/pool.h"

#include <assert.h>
#include <stdlib.h>

struct symbol {
	struct rlc_buffer buffer;
	struct mono at;
};

struct rlc_encoder_ring {
	struct symbol symbols[RLC_WINDOW_MAX]; /* of index i at i % RLC_WINDOW_MAX */
};

/* @age  0 = the newest */
static struct symbol *symbol_at(const struct rlc_encoder *enc, uint32_t age)
{
	return &enc->ring->symbols[(enc->next_cidx - 1 - age) % RLC_WINDOW_MAX];
}

void rlc_encoder_init(struct rlc_encoder *enc, unsigned window, int64_t age_us, struct pool *pool)
{
	*enc = (struct rlc_encoder){.pool = pool};
	rlc_encoder_set(enc, window, age_us);
}

static void drop_oldest(struct rlc_encoder *enc)
{
	struct symbol *symbol = symbol_at(enc, --enc->kept);

	pool_return(enc->pool, symbol->buffer.bytes);
	symbol->buffer = (struct rlc_buffer){0};
}

static void give_all_back(struct rlc_encoder *enc)
{
	while (enc->kept > 0)
		drop_oldest(enc);
	free(enc->ring);
	enc->ring = NULL;
}

void rlc_encoder_fini(struct rlc_encoder *enc)
{
	give_all_back(enc);
}

void rlc_encoder_restart(struct rlc_encoder *enc)
{
	give_all_back(enc);
	enc->next_cidx = 0;
}

void rlc_encoder_set(struct rlc_encoder *enc, unsigned window, int64_t age_us)
{
	assert(window >= 1 && window <= RLC_WINDOW_MAX && age_us > 0);
	enc->window = window;
	enc->age_us = age_us;
	while (enc->kept > window)
		drop_oldest(enc);
}

static void expire(struct rlc_encoder *enc, struct mono now)
{
	while (enc->kept > 0 && mono_diff_us(now, symbol_at(enc, enc->kept - 1)->at) > enc->age_us)
		drop_oldest(enc);
}

/* A slot for one more; from the window itself if that is full. */
static uint8_t *take_slot(struct rlc_encoder *enc)
{
	if (enc->kept < enc->window)
		return pool_take(enc->pool);
	struct symbol *oldest = symbol_at(enc, --enc->kept);
	uint8_t *slot = oldest->buffer.bytes;
	oldest->buffer = (struct rlc_buffer){0};
	return slot;
}

bool rlc_encoder_push(struct rlc_encoder *enc, uint64_t pn, const void *segments, size_t len,
	struct mono now, uint32_t *ret_cidx)
{
	if (len < RLC_SEGMENTS_BYTES_MIN || len > UINT16_MAX ||
		RLC_SLOT_BYTES(len) > enc->pool->slot_bytes)
		return false;
	expire(enc, now);
	if (!enc->ring)
		enc->ring = calloc(1, sizeof(*enc->ring));
	uint8_t *slot = enc->ring ? take_slot(enc) : NULL;
	if (!slot) {
		enc->stats.no_memory++;
		return false;
	}

	store_le32(slot, (uint32_t)pn);
	store_le16(slot + 4, (uint16_t)len);
	memcpy(slot + RLC_SYMBOL_HEADER_BYTES, segments, len);
	*ret_cidx = enc->next_cidx;
	enc->next_cidx = (enc->next_cidx + 1) & RLC_CIDX_MASK;
	enc->kept++;
	enc->last_at = now;
	uint32_t bytes = RLC_SYMBOL_HEADER_BYTES + (uint32_t)len;
	*symbol_at(enc, 0) = (struct symbol){{slot, bytes, bytes}, now};
	enc->stats.sources++;
	return true;
}

unsigned rlc_encoder_covers(struct rlc_encoder *enc, struct mono now)
{
	expire(enc, now);
	return enc->kept;
}

size_t rlc_encoder_repair(struct rlc_encoder *enc, enum rlc_kind kind, unsigned window,
	uint8_t *out, size_t room, struct mono now)
{
	const size_t header = RLC_PLAIN_HEADER_BYTES + RLC_REPAIR_HEADER_BYTES;
	uint8_t *sources[RLC_WINDOW_MAX], coefs[RLC_WINDOW_MAX];
	unsigned covers = rlc_encoder_covers(enc, now), count = 0;
	size_t longest = 0;

	if (window == 0 || window > covers)
		window = covers;
	while (count < window && symbol_at(enc, count)->buffer.len + header <= room) {
		size_t len = symbol_at(enc, count++)->buffer.len;
		longest = len > longest ? len : longest;
	}
	if (count == 0)
		return 0;

	uint32_t id = enc->next_id++, first = (enc->next_cidx - count) & RLC_CIDX_MASK;
	for (uint32_t i = 0; i < count; i++) {
		struct symbol *symbol = symbol_at(enc, count - 1 - i);
		rlc_buffer_extend(&symbol->buffer, longest);
		sources[i] = symbol->buffer.bytes;
		coefs[i] = rlc_coef(id, (first + i) & RLC_CIDX_MASK);
	}
	store_le32(out, first << 8 | (uint32_t)kind);
	store_le32(out + 4, id);
	out[8] = (uint8_t)count;
	out[9] = 0;
	rlc_sum(out + header, longest, coefs, sources, count);
	enc->stats.repairs++;
	enc->stats.repair_bytes += header + longest;
	return header + longest;
}

struct mono rlc_encoder_trim(struct rlc_encoder *enc, struct mono now)
{
	if (!enc->ring)
		return MONO_NEVER;
	expire(enc, now);
	struct mono idle_at = mono_add_us(enc->last_at, RLC_ENCODER_IDLE_US);
	if (mono_due(idle_at, now)) {
		give_all_back(enc);
		return MONO_NEVER;
	}
	if (enc->kept == 0)
		return idle_at;
	return mono_min(idle_at, mono_add_us(symbol_at(enc, enc->kept - 1)->at, enc->age_us + 1));
}

size_t rlc_encoder_bytes(const struct rlc_encoder *enc)
{
	return enc->ring ? sizeof(*enc->ring) : 0;
}
