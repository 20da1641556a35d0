/*
 * Two maxima over the same time. "Carried" counts what was delivered and lost. With random loss that is what went through the
 * bottleneck; with a queue that overflows it is only what was sent, and an estimate made of it alone would follow its own
 * sending upwards for ever. "Delivered" cannot run away, but lacks what is lost at random; divided by what gets through of a
 * flow that is too slow to overflow anything, it is the rate again. The smaller of both is right in either case.
 *
 * Time is counted in cycles of probing, so that each estimate has a probe in it. Where a path tells by a queue that stands that
 * it is slower, only what late rounds delivered is kept.
 *
 * A time that had no sample telling of the path does not count: an application that pauses teaches nothing.
 */
#include "kcp/kcp_lt_rate.h"

void kcp_lt_rate_init(struct kcp_lt_rate *rate, uint64_t guess)
{
	*rate = (struct kcp_lt_rate){.cycles = {{guess, guess}}};
}

static void raise(struct kcp_lt_rate_round *to, const struct kcp_lt_rate_round *sample)
{
	if (sample->delivered > to->delivered)
		to->delivered = sample->delivered;
	if (sample->carried > to->carried)
		to->carried = sample->carried;
}

void kcp_lt_rate_add(struct kcp_lt_rate *rate, struct kcp_lt_rate_round sample, bool full)
{
	rate->full_round |= full;
	rate->full_cycle |= full;
	raise(&rate->rounds[rate->at], &sample);
	raise(&rate->cycles[0], &sample);
}

void kcp_lt_rate_turn(struct kcp_lt_rate *rate)
{
	if (!rate->full_round)
		return;
	rate->full_round = false;
	rate->at = (rate->at + 1) % KCP_LT_RATE_ROUNDS;
	rate->rounds[rate->at] = (struct kcp_lt_rate_round){0};
}

void kcp_lt_rate_cycle(struct kcp_lt_rate *rate)
{
	if (!rate->full_cycle)
		return;
	rate->full_cycle = false;
	rate->cycles[1] = rate->cycles[0];
	rate->cycles[0] = (struct kcp_lt_rate_round){0};
}

void kcp_lt_rate_keep(struct kcp_lt_rate *rate, uint32_t rounds)
{
	rate->cycles[0] = (struct kcp_lt_rate_round){0};
	rate->cycles[1] = (struct kcp_lt_rate_round){0};
	for (uint32_t i = 0; i < rounds; i++)
		raise(&rate->cycles[0],
			&rate->rounds[(rate->at + KCP_LT_RATE_ROUNDS - i) % KCP_LT_RATE_ROUNDS]);
}

uint64_t kcp_lt_rate_bytes(const struct kcp_lt_rate *rate, uint32_t floor_ppm)
{
	struct kcp_lt_rate_round most = rate->cycles[0];

	raise(&most, &rate->cycles[1]);
	uint64_t sent = most.delivered * 1000000 / (1000000 - floor_ppm);
	return sent < most.carried ? sent : most.carried;
}
