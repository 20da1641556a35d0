/*
 * Monotonic time as a type of its own, so that an instant cannot be mixed with a number.
 *
 * lib/ never reads a clock: whoever calls it passes `now`. The daemon takes it from CLOCK_BOOTTIME,
 * the simulation from its event queue.
 */
#ifndef CORE_MONO_H
#define CORE_MONO_H

#include <stdbool.h>
#include <stdint.h>

/** An instant in microseconds since an arbitrary origin. Only differences have a meaning. */
struct mono {
	int64_t us;
};

/** "Not armed": later than every real instant. */
#define MONO_NEVER ((struct mono){INT64_MAX})

static inline struct mono mono_at_us(int64_t us)
{
	return (struct mono){us};
}

static inline struct mono mono_at_ms(int64_t ms)
{
	return (struct mono){ms * 1000};
}

static inline bool mono_is_never(struct mono t)
{
	return t.us == INT64_MAX;
}

/** `t` + `us`; MONO_NEVER stays MONO_NEVER and an overflow becomes it. */
static inline struct mono mono_add_us(struct mono t, int64_t us)
{
	int64_t sum;
	if (mono_is_never(t) || __builtin_add_overflow(t.us, us, &sum))
		return MONO_NEVER;
	return (struct mono){sum};
}

static inline struct mono mono_add_ms(struct mono t, int64_t ms)
{
	int64_t us;
	if (__builtin_mul_overflow(ms, (int64_t)1000, &us))
		return MONO_NEVER;
	return mono_add_us(t, us);
}

/** `a` - `b` in microseconds. Neither may be MONO_NEVER. */
static inline int64_t mono_diff_us(struct mono a, struct mono b)
{
	return a.us - b.us;
}

static inline bool mono_before(struct mono a, struct mono b)
{
	return a.us < b.us;
}

/** True if a deadline `at` has come by `now`. */
static inline bool mono_due(struct mono at, struct mono now)
{
	return at.us <= now.us;
}

static inline struct mono mono_min(struct mono a, struct mono b)
{
	return a.us < b.us ? a : b;
}

static inline struct mono mono_max(struct mono a, struct mono b)
{
	return a.us > b.us ? a : b;
}

#endif
