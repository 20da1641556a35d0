/* Which packet numbers arrived, and when to report them. */
#ifndef KCP_SEEN_H
#define KCP_SEEN_H

#include "core/mono.h"
#include "kcp/kcp_rack.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	KCP_SEEN_SPAN = 2048, /* numbers remembered below the top; power of two */
	KCP_SEEN_WORDS = KCP_SEEN_SPAN / 64,
	KCP_SEEN_DELAY_US = 5000,   /* a report waits at most so long, or SRTT / 8 */
	KCP_SEEN_URGENT_US = 1000,  /* reports for a new gap are so far apart at least */
	KCP_SEEN_ASKED_MIN = 2,	    /* datagrams between reports: an eighth of a round trip's, */
	KCP_SEEN_ASKED_MAX = 32,    /* within these */
	KCP_SEEN_NO_RTT_US = 40000, /* counts for a round trip while none is known */
	KCP_SEEN_ALONE =
		4, /* reports in a row that left with nothing else: the next does not wait */
	KCP_SEEN_SPARSE_US = 50000, /* if it comes so long after the last */
};

struct kcp_seen {
	uint64_t received[KCP_SEEN_WORDS]; /* bit pn modulo the span, for top - span <= pn < top */
	uint64_t rebuilt[KCP_SEEN_WORDS];
	uint64_t top;	  /* one above the highest number noted */
	uint64_t largest; /* received; valid if `any` */
	struct mono largest_at;
	bool any;
	uint32_t ce;
	/* when to report */
	bool urgent;	      /* a gap appeared, or something was rebuilt */
	uint32_t asked;	      /* datagrams since the last report that ask for one */
	struct mono asked_at; /* the first of them */
	struct mono told_at;  /* last report */
	bool sparse;	      /* the first that asked came long after the last report */
	uint8_t alone; /* reports in a row that left with nothing else, stays at its largest value */
	/* how many arrive in a round trip */
	struct mono round_at;
	uint32_t round_count;
	uint32_t last_round_count;
};

enum kcp_seen_state {
	KCP_SEEN_NEW,
	KCP_SEEN_RECEIVED,
	KCP_SEEN_REBUILT, /* and not received */
	KCP_SEEN_OLD,	  /* below what is remembered; it cannot be reported any more */
};

void kcp_seen_init(struct kcp_seen *seen);

enum kcp_seen_state kcp_seen_state(const struct kcp_seen *seen, uint64_t pn);

/** Notes a number as received. @asks  its datagram asks for acknowledgement */
void kcp_seen_add(struct kcp_seen *seen, uint64_t pn, bool asks, int64_t srtt_us, struct mono now);

/** Notes a number as rebuilt; it must be NEW. */
void kcp_seen_add_rebuilt(struct kcp_seen *seen, uint64_t pn, struct mono now);

/** When the next report is due; MONO_NEVER if none is asked for. May be past. */
struct mono kcp_seen_due(const struct kcp_seen *seen, int64_t srtt_us);

/**
 * A datagram left. Whoever sends answers has reports ride on them; who only listens need not wait for what never comes.
 *
 * @report  it held a report   @more  it held anything else
 */
void kcp_seen_left(struct kcp_seen *seen, bool report, bool more, struct mono now);

/** Forgets that reports were asked for. */
void kcp_seen_hush(struct kcp_seen *seen);

/** Makes the report and notes it as told. Something must have been received. */
void kcp_seen_report(struct kcp_seen *seen, struct mono now, struct kcp_rack *ret_rack);

#endif
