/*
 * A seam: paths ask here, and here alone, how much may fly and when the next datagram may leave. Today the answer is the
 * measured window that the kcp-go wire has, too (kcp_window.h), fed with datagrams instead of segments.
 *
 * What is urgent passes a full window, up to a tenth of the rate: a token clock that runs at that share and saves up 50 ms.
 */
#include "kcp/kcp_budget.h"

enum {
	REPORT_DELAY_US = 5000, /* how late the peer may report on purpose */
};

void kcp_budget_init(struct kcp_budget *budget)
{
	*budget = (struct kcp_budget){.exempt_at = mono_at_us(INT64_MIN / 2)};
	kcp_window_init(&budget->window, REPORT_DELAY_US);
	budget->window.pace_at = mono_at_us(INT64_MIN / 2);
}

uint64_t kcp_budget_window_bytes(const struct kcp_budget *budget, uint32_t datagram_bytes)
{
	uint64_t measured = kcp_window_bytes(&budget->window);
	uint64_t least = measured ? KCP_BUDGET_MIN_DATAGRAMS : KCP_BUDGET_START_DATAGRAMS;

	least *= datagram_bytes;
	return measured > least ? measured : least;
}

static void charge_exempt(struct kcp_budget *budget, uint32_t bytes, struct mono now)
{
	uint64_t rate = budget->window.rate / KCP_BUDGET_EXEMPT_SHARE;

	if (rate < KCP_BUDGET_EXEMPT_MIN_BPS)
		rate = KCP_BUDGET_EXEMPT_MIN_BPS;
	budget->exempt_at =
		mono_max(budget->exempt_at, mono_add_us(now, -KCP_BUDGET_EXEMPT_BURST_US));
	budget->exempt_at =
		mono_add_us(budget->exempt_at, (int64_t)((uint64_t)bytes * 1000000 / rate));
	budget->exempt_at = mono_min(budget->exempt_at, mono_add_us(now, KCP_BUDGET_DEBT_US));
}

bool kcp_budget_sent(struct kcp_budget *budget, struct kcp_flight *ret_flight, uint32_t bytes,
	uint32_t datagram_bytes, bool idle, bool again, bool exempt, struct mono now)
{
	if (idle)
		kcp_window_restart(&budget->window, now);
	kcp_window_sent(&budget->window, ret_flight, again, now);
	kcp_window_pace(&budget->window, bytes, datagram_bytes, now);
	/* What passed without waiting must not keep the rest waiting for long. */
	budget->window.pace_at =
		mono_min(budget->window.pace_at, mono_add_us(now, KCP_BUDGET_DEBT_US));
	if (exempt)
		charge_exempt(budget, bytes, now);
	return kcp_window_limited(&budget->window);
}

void kcp_budget_forgive(struct kcp_budget *budget)
{
	budget->exempt_at = mono_at_us(INT64_MIN / 2);
	budget->window.pace_at = budget->exempt_at;
}

void kcp_budget_acked(struct kcp_budget *budget, const struct kcp_flight *flight, uint32_t bytes,
	bool limited, struct mono now)
{
	kcp_window_acked(&budget->window, flight, bytes, limited, true, now);
}

void kcp_budget_update(struct kcp_budget *budget, struct mono now)
{
	kcp_window_update(&budget->window, now);
}

void kcp_budget_set_limited(struct kcp_budget *budget, uint64_t flying_bytes)
{
	kcp_window_set_limited(&budget->window, flying_bytes);
}

void kcp_budget_set_full(struct kcp_budget *budget)
{
	kcp_window_set_full(&budget->window);
}

int64_t kcp_budget_min_rtt_us(const struct kcp_budget *budget)
{
	return budget->window.min_rtt_us;
}

uint64_t kcp_budget_rate_bytes(const struct kcp_budget *budget)
{
	return budget->window.rate;
}
