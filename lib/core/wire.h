/*
 * A read cursor over bytes from outside. It checks every bound, and its error sticks: read all
 * fields of a header, then ask wire_ok() once. A read past the end gives zeros and moves nothing.
 */
#ifndef CORE_WIRE_H
#define CORE_WIRE_H

#include "core/endian.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wire {
	const uint8_t *at;
	const uint8_t *end;
	bool failed;
};

static inline struct wire wire_of(const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	return (struct wire){at, at + len, false};
}

static inline size_t wire_left(const struct wire *w)
{
	return (size_t)(w->end - w->at);
}

static inline bool wire_ok(const struct wire *w)
{
	return !w->failed;
}

/** The next `len` bytes, or NULL (and a stuck error) if there are fewer. Borrowed from the input.
 */
static inline const uint8_t *wire_bytes(struct wire *w, size_t len)
{
	const uint8_t *at = w->at;
	if (w->failed || wire_left(w) < len) {
		w->failed = true;
		return NULL;
	}
	w->at += len;
	return at;
}

static inline uint8_t wire_u8(struct wire *w)
{
	const uint8_t *at = wire_bytes(w, 1);
	return at ? *at : 0;
}

static inline uint16_t wire_le16(struct wire *w)
{
	const uint8_t *at = wire_bytes(w, 2);
	return at ? load_le16(at) : 0;
}

static inline uint32_t wire_le32(struct wire *w)
{
	const uint8_t *at = wire_bytes(w, 4);
	return at ? load_le32(at) : 0;
}

static inline uint64_t wire_le64(struct wire *w)
{
	const uint8_t *at = wire_bytes(w, 8);
	return at ? load_le64(at) : 0;
}

static inline uint16_t wire_be16(struct wire *w)
{
	const uint8_t *at = wire_bytes(w, 2);
	return at ? load_be16(at) : 0;
}

static inline uint32_t wire_be32(struct wire *w)
{
	const uint8_t *at = wire_bytes(w, 4);
	return at ? load_be32(at) : 0;
}

#endif
