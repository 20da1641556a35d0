/*
 * Two maxima over the same ten rounds. "Carried" counts what was delivered and lost. With random loss that is what went
 * through the bottleneck; with a queue that overflows it is only what was sent, and an estimate made of it alone would follow
 * its own sending upwards for ever. "Delivered" cannot run away, but lacks what is lost at random; divided by what gets through
 * of a flow that is too slow to overflow anything, it is the rate again. The smaller of both is right in either case.
 *
 * A round that had no sample telling of the path does not turn the filter: an application that pauses teaches nothing.
 */
#include "kcp/kcp_lt_rate.h"

static void find_most(struct kcp_lt_rate *rate)
{
	rate->most = (struct kcp_lt_rate_round){0};
	for (int i = 0; i < KCP_LT_RATE_ROUNDS; i++) {
		if (rate->rounds[i].delivered > rate->most.delivered)
			rate->most.delivered = rate->rounds[i].delivered;
		if (rate->rounds[i].carried > rate->most.carried)
			rate->most.carried = rate->rounds[i].carried;
	}
}

void kcp_lt_rate_init(struct kcp_lt_rate *rate, uint64_t guess)
{
	*rate = (struct kcp_lt_rate){.rounds = {{guess, guess}}, .most = {guess, guess}};
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
	rate->full |= full;
	raise(&rate->rounds[rate->at], &sample);
	raise(&rate->most, &sample);
}

bool kcp_lt_rate_turn(struct kcp_lt_rate *rate)
{
	if (!rate->full)
		return false;
	rate->full = false;
	rate->at = (rate->at + 1) % KCP_LT_RATE_ROUNDS;
	rate->rounds[rate->at] = (struct kcp_lt_rate_round){0};
	find_most(rate);
	return true;
}

void kcp_lt_rate_keep(struct kcp_lt_rate *rate, uint32_t rounds)
{
	for (uint32_t i = rounds + 1; i < KCP_LT_RATE_ROUNDS; i++)
		rate->rounds[(rate->at + KCP_LT_RATE_ROUNDS - i) % KCP_LT_RATE_ROUNDS] =
			(struct kcp_lt_rate_round){0};
	find_most(rate);
}

uint64_t kcp_lt_rate_bytes(const struct kcp_lt_rate *rate, uint32_t floor_ppm)
{
	uint64_t sent = rate->most.delivered * 1000000 / (1000000 - floor_ppm);

	return sent < rate->most.carried ? sent : rate->most.carried;
}
