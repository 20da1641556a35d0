/* Loads and stores of integers in a fixed byte order at any alignment. */
#ifndef CORE_ENDIAN_H
#define CORE_ENDIAN_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define CORE_ENDIAN_PAIR(name, type, from, to)            \
	static inline type load_##name(const void *at)    \
	{                                                 \
		type v;                                   \
		memcpy(&v, at, sizeof(v));                \
		return from(v);                           \
	}                                                 \
	static inline void store_##name(void *at, type v) \
	{                                                 \
		v = to(v);                                \
		memcpy(at, &v, sizeof(v));                \
	}

CORE_ENDIAN_PAIR(le16, uint16_t, le16toh, htole16)
CORE_ENDIAN_PAIR(le32, uint32_t, le32toh, htole32)
CORE_ENDIAN_PAIR(le64, uint64_t, le64toh, htole64)
CORE_ENDIAN_PAIR(be16, uint16_t, be16toh, htobe16)
CORE_ENDIAN_PAIR(be32, uint32_t, be32toh, htobe32)
CORE_ENDIAN_PAIR(be64, uint64_t, be64toh, htobe64)

#undef CORE_ENDIAN_PAIR

#endif
