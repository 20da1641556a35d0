/*
 * The arithmetic of the native wire's sliding-window code: coefficients, 24-bit indices, sums of symbols over GF(2^8).
 *
 * PROTOCOL.md section 8 has the bytes.
 */
#ifndef RLC_CODE_H
#define RLC_CODE_H

#include <stdint.h>
#include <string.h>

enum {
	RLC_WINDOW_MAX = 64,	     /* symbols that a repair covers, at most */
	RLC_SYMBOL_HEADER_BYTES = 6, /* low half of pn, length of the segments */
	RLC_SEGMENTS_BYTES_MIN = 24, /* one segment without a body */
	RLC_REPAIR_HEADER_BYTES = 6, /* id, window, zero: behind kind and cidx */
	RLC_PLAIN_HEADER_BYTES = 4,  /* kind and cidx */
	RLC_ALIGN_BYTES = 64, /* sums run over whole vectors: buffers end at multiples of it */
	RLC_SUM_MAX = 2 * RLC_WINDOW_MAX + 1, /* terms of a sum */
	RLC_CIDX_MASK = 0xffffff,
};

/** What stands first in the plaintext of a datagram. */
enum rlc_kind {
	RLC_KIND_PLAIN = 0,
	RLC_KIND_THIN_SOURCE = 1,
	RLC_KIND_BULK_SOURCE = 2,
	RLC_KIND_THIN_REPAIR = 3,
	RLC_KIND_BULK_REPAIR = 4,
};

/** `n` rounded up to whole vectors. */
#define RLC_ALIGNED(n)                                                                   \
	(((size_t)(n) + (size_t)RLC_ALIGN_BYTES - (size_t)1) / (size_t)RLC_ALIGN_BYTES * \
		(size_t)RLC_ALIGN_BYTES)

/** Slot size of a pool for encoders and decoders of sources with at most `segments_bytes` of segments. */
#define RLC_SLOT_BYTES(segments_bytes) \
	RLC_ALIGNED((size_t)(segments_bytes) + RLC_SYMBOL_HEADER_BYTES)

/** Bytes of a repair's plaintext that covers sources of at most `segments_bytes`: 12 more than the longest of them has. */
#define RLC_REPAIR_BYTES(segments_bytes)                                                      \
	((size_t)RLC_PLAIN_HEADER_BYTES + RLC_REPAIR_HEADER_BYTES + RLC_SYMBOL_HEADER_BYTES + \
		(size_t)(segments_bytes))

/** The coefficient of symbol `cidx` (24 bits) in repair `id`; never 0. */
uint8_t rlc_coef(uint32_t id, uint32_t cidx);

/** a - b of 24-bit indices, -2^23 .. 2^23 - 1. */
static inline int32_t rlc_cidx_diff(uint32_t a, uint32_t b)
{
	return (int32_t)((a - b) << 8) >> 8;
}

/** Bytes in a slot of a pool, with a tail of zeros that grows as sums need it. */
struct rlc_buffer {
	uint8_t *bytes; /* NULL = none */
	uint32_t len;	/* of what it holds */
	uint32_t clean; /* from len to here are zeros; at least len */
};

/** Makes the bytes from `len` to `to` zeros. @to  at most the slot's size */
static inline void rlc_buffer_extend(struct rlc_buffer *buffer, size_t to)
{
	if (buffer->clean >= to)
		return;
	memset(buffer->bytes + buffer->clean, 0, to - buffer->clean);
	buffer->clean = (uint32_t)to;
}

/** The factor that turns `a` (not 0) into `b`. */
uint8_t rlc_ratio(uint8_t b, uint8_t a);

/**
 * dest = sum of coefs[i] x sources[i]
 *
 * @dest     `len` bytes; none of the sources
 * @sources  `len` bytes each
 * @count    1 .. RLC_SUM_MAX
 */
void rlc_sum(uint8_t *dest, size_t len, const uint8_t *coefs, uint8_t **sources, unsigned count);

/** dests[i] += coefs[i] x source. @count  1 .. RLC_SUM_MAX */
void rlc_spread(uint8_t **dests, size_t len, const uint8_t *coefs, uint8_t *source, unsigned count);

#endif
