/* Two rounds a word, four at the end, over four 64-bit lanes. Written from the paper; its test vector is in the tests. */
#include "core/siphash.h"

#include "core/endian.h"

struct lanes {
	uint64_t a, b, c, d;
};

static inline uint64_t rotate(uint64_t word, unsigned bits)
{
	return word << bits | word >> (64 - bits);
}

static inline void rounds(struct lanes *v, int count)
{
	while (count-- > 0) {
		v->a += v->b;
		v->c += v->d;
		v->b = rotate(v->b, 13) ^ v->a;
		v->d = rotate(v->d, 16) ^ v->c;
		v->a = rotate(v->a, 32);
		v->c += v->b;
		v->a += v->d;
		v->b = rotate(v->b, 17) ^ v->c;
		v->d = rotate(v->d, 21) ^ v->a;
		v->c = rotate(v->c, 32);
	}
}

struct siphash_key siphash_key_of(const uint8_t bytes[SIPHASH_KEY_BYTES])
{
	return (struct siphash_key){load_le64(bytes), load_le64(bytes + 8)};
}

uint64_t siphash(struct siphash_key key, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	uint64_t last = (uint64_t)(len & 0xff) << 56;
	struct lanes v = {
		.a = key.k0 ^ 0x736f6d6570736575,
		.b = key.k1 ^ 0x646f72616e646f6d,
		.c = key.k0 ^ 0x6c7967656e657261,
		.d = key.k1 ^ 0x7465646279746573,
	};

	for (; len >= 8; at += 8, len -= 8) {
		uint64_t word = load_le64(at);
		v.d ^= word;
		rounds(&v, 2);
		v.a ^= word;
	}
	for (size_t i = 0; i < len; i++)
		last |= (uint64_t)at[i] << (8 * i);
	v.d ^= last;
	rounds(&v, 2);
	v.a ^= last;
	v.c ^= 0xff;
	rounds(&v, 4);
	return v.a ^ v.b ^ v.c ^ v.d;
}
