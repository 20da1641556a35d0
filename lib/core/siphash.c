/* SipHash-c-d with c = 1 and d = 3, the variant that operating systems use for hash tables. */
#include "core/siphash.h"

#include "core/endian.h"

struct sip_state {
	uint64_t v0, v1, v2, v3;
};

static uint64_t rotl(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static void sip_round(struct sip_state *s)
{
	s->v0 += s->v1;
	s->v1 = rotl(s->v1, 13) ^ s->v0;
	s->v0 = rotl(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotl(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotl(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotl(s->v1, 17) ^ s->v2;
	s->v2 = rotl(s->v2, 32);
}

uint64_t siphash(const struct siphash_key *key, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	struct sip_state s = {
		key->k[0] ^ 0x736f6d6570736575u,
		key->k[1] ^ 0x646f72616e646f6du,
		key->k[0] ^ 0x6c7967656e657261u,
		key->k[1] ^ 0x7465646279746573u,
	};
	size_t left = len;

	for (; left >= 8; left -= 8, at += 8) {
		uint64_t word = load_le64(at);
		s.v3 ^= word;
		sip_round(&s);
		s.v0 ^= word;
	}
	uint64_t last = (uint64_t)(len & 0xff) << 56;
	for (size_t i = 0; i < left; i++)
		last |= (uint64_t)at[i] << (8 * i);
	s.v3 ^= last;
	sip_round(&s);
	s.v0 ^= last;
	s.v2 ^= 0xff;
	sip_round(&s);
	sip_round(&s);
	sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
