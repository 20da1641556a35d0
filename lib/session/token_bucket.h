/*
 * A token bucket in eight bytes: the instant at which it will be full again.
 *
 * Taking a token moves that instant one interval into the future; the bucket is empty once it lies a whole burst ahead.
 * Nothing has to be refilled, so a bucket that is not used costs nothing. All zeros is a full bucket for a clock that
 * starts at 0 or later.
 *
 * Source: the generic cell rate algorithm in its virtual scheduling form, ITU-T I.371.
 */
#ifndef SESSION_TOKEN_BUCKET_H
#define SESSION_TOKEN_BUCKET_H

#include "core/mono.h"

#include <stdbool.h>
#include <stdint.h>

struct token_bucket {
	struct mono full_at;
};

/** One token every `interval_us` (at least 1), at most `burst` (at least 1) saved up. */
struct token_rate {
	int64_t interval_us;
	int64_t burst;
};

/** When the next token can be taken: `now` or before it if at once. */
static inline struct mono token_bucket_ready_at(struct token_bucket bucket, struct token_rate rate)
{
	return mono_add_us(bucket.full_at, -(rate.burst - 1) * rate.interval_us);
}

/** True if a token is there; takes nothing. */
static inline bool token_bucket_has(
	struct token_bucket bucket, struct token_rate rate, struct mono now)
{
	return mono_due(token_bucket_ready_at(bucket, rate), now);
}

/** Takes a token if there is one. @return false and no change if not */
static inline bool token_bucket_take(
	struct token_bucket *bucket, struct token_rate rate, struct mono now)
{
	if (!token_bucket_has(*bucket, rate, now))
		return false;
	bucket->full_at = mono_add_us(mono_max(bucket->full_at, now), rate.interval_us);
	return true;
}

#endif
