/*
 * One direction of a path in virtual time: sources at a constant rate, policy, encoder, a link that loses, decoder, and
 * reports a round trip later.
 */
#ifndef RLC_LINK_H
#define RLC_LINK_H

#include "fec/fec_policy.h"

#include <stdint.h>

struct rlc_link_plan {
	struct fec_policy_config config;
	enum fec_policy_encoder encoder;
	double loss;	     /* 0 .. 1, independent; of bursts: their share of time */
	int64_t burst_us;    /* mean; 0 = none */
	int64_t interval_us; /* between sources */
	unsigned batch;	     /* sources sent together at each interval */
	size_t beside_bytes; /* of other traffic at each interval */
	size_t segments_bytes;
	int64_t rtt_us;
	uint64_t rate_bytes;
	int64_t clean_from_us; /* no loss from then on; 0 = never */
	int64_t run_us;
	uint32_t seed;
};

struct rlc_link_result {
	uint64_t sources;
	uint64_t lost;		/* by the link */
	uint64_t late_by_50_ms; /* not there 50 ms after they could have been */
	uint64_t missing;	/* never there */
	uint64_t repairs;
	uint64_t source_bytes; /* of UDP payload */
	uint64_t repair_bytes;
	uint64_t wasted; /* repairs that said nothing new */
	int64_t last_repair_us;
	int64_t p99_us; /* of the delay that was added to what came */
	struct fec_policy_stats policy;
};

struct rlc_link_result rlc_link_run(const struct rlc_link_plan *plan);

#endif
