/* Randomness is injected: the daemon passes the kernel's, the simulation a seeded generator. */
#ifndef CORE_RAND_H
#define CORE_RAND_H

#include <stddef.h>
#include <stdint.h>

/** Fills `len` bytes at `buf`. Cannot fail; a source that could must abort the process. */
typedef void (*rand_fill_fn)(void *ctx, void *buf, size_t len);

struct rand_source {
	rand_fill_fn fill;
	void *ctx;
};

static inline void rand_fill(const struct rand_source *rnd, void *buf, size_t len)
{
	rnd->fill(rnd->ctx, buf, len);
}

static inline uint32_t rand_u32(const struct rand_source *rnd)
{
	uint32_t v;
	rand_fill(rnd, &v, sizeof(v));
	return v;
}

static inline uint64_t rand_u64(const struct rand_source *rnd)
{
	uint64_t v;
	rand_fill(rnd, &v, sizeof(v));
	return v;
}

#endif
