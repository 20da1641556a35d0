/*
 * Whether datagrams may be marked as ECN-capable on a path: tried, kept up as long as it works, and given up for a while where
 * it does not.
 *
 * Pure arithmetic over counters that the path has anyway; asked when something is sent, never armed.
 */
#ifndef SESSION_ECN_PATH_H
#define SESSION_ECN_PATH_H

#include "core/mono.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	/* Datagrams with data lost in a row: by chance one in 10^8 at 30 % loss, so somebody drops what is capable. */
	ECN_PATH_LOST = 16,
	ECN_PATH_SAMPLE =
		64, /* acknowledged datagrams of a judgement of the marks, at least, and */
	ECN_PATH_SAMPLE_US =
		3000000, /* the time it takes at least: a probe for more may be marked from end to end */
	ECN_PATH_CE_PERCENT =
		90, /* so many marked, while we yield to each: it is no queue that does this */
	ECN_PATH_AGAIN_US =
		60000000, /* tried again after so long, doubled each time in vain up to */
	ECN_PATH_AGAIN_MAX_US = 600000000,
};

/** Of a path, as of now. All but the first only grow. */
struct ecn_path_news {
	uint32_t lost_row; /* datagrams with data that were lost since one was acknowledged */
	uint64_t acked;	   /* datagrams with data */
	uint64_t marked;   /* that the other side saw marked */
};

/** Embed it. */
struct ecn_path {
	struct mono off_until;
	int64_t off_us; /* how long it is given up the next time */
	bool on;
	/* the sample */
	struct mono since;
	uint64_t acked, marked; /* when it began */
};

/** Another path, or the first: nothing is known. */
void ecn_path_init(struct ecn_path *ecn);

/** Judges the path, and tells whether what is sent now may be marked. */
bool ecn_path_on(struct ecn_path *ecn, const struct ecn_path_news *news, struct mono now);

#endif
