/*
 * When a repair is due: the rate of the thin encoder (RT, CTL) and of the bulk encoder of a path, from its measured loss.
 *
 *	fec_policy_source(p, FEC_POLICY_THIN, bytes, now);	// a SOURCE went out
 *	fec_policy_plain(p, bytes, now);			// any other datagram went out
 *	while (path lets go && fec_policy_due(p, now, &encoder))
 *		fec_policy_sent(p, encoder, bytes of the repair made and sent, now);
 *	arm a timer for fec_policy_next_deadline(p)
 *
 * It knows no symbols and sends nothing. A repair that the path does not let go stays due, up to a bound.
 */
#ifndef FEC_POLICY_H
#define FEC_POLICY_H

#include "core/mono.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fec_policy_mode {
	FEC_POLICY_OFF,
	FEC_POLICY_FIXED,    /* `parity` repairs for `data` sources, always */
	FEC_POLICY_ADAPTIVE, /* by loss */
};

enum fec_policy_encoder {
	FEC_POLICY_THIN, /* RT, CTL: few small datagrams that must not be late */
	FEC_POLICY_BULK,
	FEC_POLICY_ENCODERS,
};

enum {
	FEC_POLICY_THIN_WINDOW = 6,
	FEC_POLICY_BULK_WINDOW = 48,
	FEC_POLICY_THIN_AGE_US = 150000, /* deadline of RT: older sources are not worth a repair */
	FEC_POLICY_SPACING_US = 5000,	 /* between the repairs that one thin source causes */
	FEC_POLICY_SPACING_MAX_US = 20000, /* where losses come in bursts */
	FEC_POLICY_THIN_REPAIRS_MAX = 3,   /* for each source */
	FEC_POLICY_THIN_WAITING_MAX = 32,  /* thin repairs that are due or will be */
	FEC_POLICY_BULK_OWED_MAX = 8,	   /* bulk repairs that the path held back */
	FEC_POLICY_URGENT_BYTES =
		25000, /* a second of thin and tail repairs, whatever max_overhead says, */
	FEC_POLICY_URGENT_SHARE =
		10, /* and more up to this part of the path's rate within max_overhead */
};

struct fec_policy_config {
	enum fec_policy_mode mode;
	unsigned data;	 /* fixed: 1 .. 64 */
	unsigned parity; /* fixed: 0 .. 32 */
	unsigned
		max_overhead_percent; /* bytes of repairs to bytes of all else, 0 .. 200; 0 = no repairs */
	int64_t tail_us;	      /* bulk: silence after which what has no repair gets one */
};

/** What is known of the path. */
struct fec_policy_path {
	double loss;	     /* design value, 0 .. 0.45 */
	int64_t burst_us;    /* losses come in a row, for about so long; 0 = one by one */
	bool lossy;	     /* loss is worth repairs */
	uint64_t rate_bytes; /* a second it can carry; 0 = unknown */
	bool full;	     /* adaptive: less room than there is data */
};

struct fec_policy_bucket {
	double bytes; /* may go now; may be below 0 by one repair */
	double bytes_max;
};

struct fec_policy_stats {
	uint64_t sources[FEC_POLICY_ENCODERS];
	uint64_t repairs[FEC_POLICY_ENCODERS];
	uint64_t repair_bytes;
	uint64_t other_bytes;
	uint64_t capped; /* repairs that were due and not made: over a cap */
};

struct fec_policy {
	struct fec_policy_config config;
	struct fec_policy_path path;
	/* budgets */
	struct fec_policy_bucket share;	 /* max_overhead of what was sent */
	struct fec_policy_bucket urgent; /* FEC_POLICY_URGENT_BYTES */
	struct fec_policy_bucket thin;	 /* the path's tenth */
	struct mono filled_at;
	/* thin: when repairs are due, a sorted ring */
	struct mono due_at[FEC_POLICY_THIN_WAITING_MAX];
	uint8_t due_rank[FEC_POLICY_THIN_WAITING_MAX]; /* 0 = first of its source */
	uint8_t due_count;
	double thin_credit; /* part of a repair that sources earned */
	/* bulk */
	double credit;	     /* repairs owed; below 0 after a tail repair */
	bool rests;	     /* max_overhead is used up, and less than what bulk repairs need */
	uint32_t unrepaired; /* sources since the last repair */
	struct mono tail_at; /* MONO_NEVER = nothing is without repair */
	struct fec_policy_stats stats;
};

/** @config  copied; values beyond the stated ranges are drawn in */
void fec_policy_init(struct fec_policy *p, const struct fec_policy_config *config, struct mono now);

/** Other settings from now on. What is due stays due if the mode allows it. */
void fec_policy_configure(struct fec_policy *p, const struct fec_policy_config *config);

/** News of the path; call it when a report came. */
void fec_policy_set_path(struct fec_policy *p, const struct fec_policy_path *path);

/** Whether a datagram is to be sent as a source of `encoder` (and copied for it). @again  it holds what was sent before */
bool fec_policy_protects(const struct fec_policy *p, enum fec_policy_encoder encoder, bool again);

/** Repairs for each source, as things are; 0 = none. For display, and for how long a resend may wait for a repair. */
double fec_policy_rate(const struct fec_policy *p, enum fec_policy_encoder encoder);

/** A source went out. @bytes  UDP payload */
void fec_policy_source(
	struct fec_policy *p, enum fec_policy_encoder encoder, size_t bytes, struct mono now);

/** A datagram went out that is neither source nor repair. */
void fec_policy_plain(struct fec_policy *p, size_t bytes, struct mono now);

/**
 * Whether a repair is to be made now. Thin ones come first.
 *
 * Each true must be followed by fec_policy_sent() or fec_policy_dropped(), or it is due again.
 */
bool fec_policy_due(struct fec_policy *p, struct mono now, enum fec_policy_encoder *ret_encoder);

/** The repair that was due went out. @bytes  UDP payload */
void fec_policy_sent(
	struct fec_policy *p, enum fec_policy_encoder encoder, size_t bytes, struct mono now);

/** The encoder had nothing to cover (any more). */
void fec_policy_dropped(struct fec_policy *p, enum fec_policy_encoder encoder);

/** When fec_policy_due() may next say yes; may be past; MONO_NEVER = when sources went out. */
struct mono fec_policy_next_deadline(const struct fec_policy *p);

/** The same for one encoder: for a path that lets thin repairs go and bulk ones not. */
struct mono fec_policy_deadline_of(const struct fec_policy *p, enum fec_policy_encoder encoder);

#endif
