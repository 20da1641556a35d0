/*
 * A seam: paths ask here, and here alone, how much may fly and when the next datagram may leave. The answer is LT's (kcp_lt.h).
 *
 * What is urgent passes a full window, up to a tenth of the rate: a token clock that runs at that share and saves up 50 ms.
 *
 * It is charged to the pace as well, and what passed must not keep the rest waiting for long: so the debt is forgotten beyond a
 * tenth of a second. Not so under a cap by order, which is of all that leaves: there the debt is paid, up to a few datagrams.
 */
#include "kcp/kcp_budget.h"

void kcp_budget_init(struct kcp_budget *budget)
{
	*budget = (struct kcp_budget){.exempt_at = mono_at_us(INT64_MIN / 2)};
	kcp_lt_init(&budget->lt);
}

void kcp_budget_hint_rtt(struct kcp_budget *budget, int64_t rtt_us)
{
	kcp_lt_hint_rtt(&budget->lt, rtt_us);
}

void kcp_budget_save(const struct kcp_budget *budget, struct kcp_lt_memory *ret_memory)
{
	kcp_lt_save(&budget->lt, ret_memory, budget->lt.sent_at);
}

void kcp_budget_resume(
	struct kcp_budget *budget, const struct kcp_lt_memory *memory, struct mono now)
{
	kcp_lt_resume(&budget->lt, memory, now);
}

uint64_t kcp_budget_window_bytes(const struct kcp_budget *budget, uint32_t datagram_bytes)
{
	return kcp_lt_window_bytes(&budget->lt, datagram_bytes);
}

static struct mono debt_until(const struct kcp_budget *budget, struct mono now)
{
	const struct kcp_lt *lt = &budget->lt;
	int64_t us = KCP_BUDGET_DEBT_US;

	if (lt->cap != UINT64_MAX) {
		int64_t some_us = (int64_t)((uint64_t)lt->datagram_bytes *
					    KCP_BUDGET_DEBT_DATAGRAMS * 1000000 / lt->cap);
		us = some_us > us ? some_us : us;
	}
	return mono_add_us(now, us);
}

static void charge_exempt(struct kcp_budget *budget, uint32_t bytes, struct mono now)
{
	uint64_t rate = kcp_lt_rate_now(&budget->lt) / KCP_BUDGET_EXEMPT_SHARE;

	if (rate < KCP_BUDGET_EXEMPT_MIN_BPS)
		rate = KCP_BUDGET_EXEMPT_MIN_BPS;
	if (rate > budget->lt.cap)
		rate = budget->lt.cap;
	budget->exempt_at =
		mono_max(budget->exempt_at, mono_add_us(now, -KCP_BUDGET_EXEMPT_BURST_US));
	budget->exempt_at =
		mono_add_us(budget->exempt_at, (int64_t)((uint64_t)bytes * 1000000 / rate));
	budget->exempt_at = mono_min(budget->exempt_at, debt_until(budget, now));
}

void kcp_budget_sent(struct kcp_budget *budget, struct kcp_lt_flight *ret_flight, uint32_t bytes,
	uint32_t datagram_bytes, uint64_t flying_bytes, bool exempt, struct mono now)
{
	kcp_lt_sent(&budget->lt, ret_flight, bytes, datagram_bytes, flying_bytes, now);
	budget->lt.pace_at = mono_min(budget->lt.pace_at, debt_until(budget, now));
	if (exempt)
		charge_exempt(budget, bytes, now);
}

void kcp_budget_spent(struct kcp_budget *budget, uint32_t bytes, struct mono now)
{
	if (budget->lt.cap == UINT64_MAX)
		return;
	kcp_lt_spent(&budget->lt, bytes, now);
	budget->lt.pace_at = mono_min(budget->lt.pace_at, debt_until(budget, now));
}

void kcp_budget_acked(struct kcp_budget *budget, const struct kcp_lt_flight *flight, uint32_t bytes,
	bool late, struct mono now)
{
	kcp_lt_acked(&budget->lt, flight, bytes, late, now);
}

void kcp_budget_lost(struct kcp_budget *budget, const struct kcp_lt_flight *flight, uint32_t bytes)
{
	kcp_lt_lost(&budget->lt, flight, bytes);
}

void kcp_budget_update(
	struct kcp_budget *budget, int64_t rtt_us, uint64_t flying_bytes, struct mono now)
{
	kcp_lt_update(&budget->lt, rtt_us, flying_bytes, now);
}

void kcp_budget_set_limited(struct kcp_budget *budget, uint64_t flying_bytes)
{
	kcp_lt_set_limited(&budget->lt, flying_bytes);
}

void kcp_budget_set_full(struct kcp_budget *budget)
{
	kcp_lt_set_full(&budget->lt);
}

int64_t kcp_budget_min_rtt_us(const struct kcp_budget *budget)
{
	return budget->lt.rtt.min_us;
}

uint64_t kcp_budget_rate_bytes(const struct kcp_budget *budget)
{
	return kcp_lt_rate_now(&budget->lt);
}
