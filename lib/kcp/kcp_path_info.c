/*
 * Settings that may change while a path runs, and what can be asked of it. Nothing here is on the data path.
 */
#include "kcp/kcp_path_state.h"

#include "core/pool.h"

#include <errno.h>

int kcp_path_set_mtu(
	struct kcp_path *path, uint32_t payload_bytes, uint32_t piece_bytes, bool final)
{
	struct kcp_refs parked = path->queues.parked;

	if (payload_bytes < KCP_PATH_PAYLOAD_LEAST_BYTES || payload_bytes > UINT16_MAX ||
		piece_bytes < KCP_PATH_PIECE_LEAST_BYTES ||
		piece_bytes + KCP_OVERHEAD_BYTES > payload_bytes ||
		piece_bytes > path->config.pool->slot_bytes)
		return -EINVAL;
	path->config.payload_bytes = payload_bytes;
	path->config.piece_bytes = piece_bytes;
	path->mtu_final = final;
	/* What waited for this is looked at again when it comes to the front. */
	kcp_refs_init(&path->queues.parked);
	for (uint32_t i = parked.first; i != parked.next; i++)
		kcp_path_unpark(path, *kcp_refs_at(&parked, i));
	kcp_refs_fini(&parked);
	return 0;
}

void kcp_path_set_message_max(struct kcp_path *path, uint32_t recv_bytes, uint32_t send_bytes)
{
	path->config.recv_message_max_bytes = recv_bytes;
	path->config.send_message_max_bytes = send_bytes;
	path->in.message_max_bytes = recv_bytes;
}

void kcp_path_set_bulk_deadline(struct kcp_path *path, int64_t deadline_us)
{
	path->config.bulk_deadline_us = deadline_us > 0 ? deadline_us : 0;
}

void kcp_path_init_budget(struct kcp_path *path)
{
	kcp_budget_init(&path->budget);
	kcp_budget_set_shards(&path->budget, path->shards);
	kcp_path_set_rate_max(path, path->rate_max_bps);
	kcp_budget_set_fixed(&path->budget, path->rate_fixed);
}

void kcp_path_set_rate_max(struct kcp_path *path, uint64_t bps)
{
	path->rate_max_bps = bps;
	kcp_budget_set_cap(&path->budget, bps == 0 ? UINT64_MAX : bps < 8 ? 1 : bps / 8);
}

void kcp_path_set_rate_fixed(struct kcp_path *path, bool fixed)
{
	path->rate_fixed = fixed;
	kcp_budget_set_fixed(&path->budget, fixed);
}

void kcp_path_mark(struct kcp_path *path, uint8_t mark)
{
	path->mark = mark;
}

void kcp_path_set_shards(struct kcp_path *path, uint32_t shards)
{
	path->shards = shards;
	kcp_budget_set_shards(&path->budget, shards);
}

void kcp_path_hint_rtt(struct kcp_path *path, int64_t rtt_us)
{
	if (path->sent.srtt_us != 0 || rtt_us <= 0 || rtt_us > KCP_SENT_RTT_MAX_US)
		return;
	path->sent.srtt_us = rtt_us;
	path->sent.var_us = rtt_us / 2;
	path->sent.hinted = true;
	kcp_budget_hint_rtt(&path->budget, rtt_us);
}

void kcp_path_reset_route(struct kcp_path *path, struct mono now)
{
	(void)now;
	kcp_sent_reset_route(&path->sent);
	kcp_path_init_budget(path);
	path->blocked_us = 0;
}

void kcp_path_remember(const struct kcp_path *path, struct kcp_lt_memory *ret_memory)
{
	kcp_budget_save(&path->budget, ret_memory);
}

void kcp_path_resume(struct kcp_path *path, const struct kcp_lt_memory *memory, struct mono now)
{
	if (kcp_budget_rate_bytes(&path->budget) > 0)
		return; /* it was measured meanwhile */
	kcp_budget_resume(&path->budget, memory, now);
	kcp_path_hint_rtt(path, kcp_budget_min_rtt_us(&path->budget));
	kcp_budget_hint_rtt(&path->budget, path->sent.srtt_us);
}

uint32_t kcp_path_tx_slots(const struct kcp_path *path)
{
	return path->tx_slots;
}

uint64_t kcp_path_carried(const struct kcp_path *path, uint32_t *ret_lost_row)
{
	*ret_lost_row = path->lost_row;
	return path->carried;
}

int64_t kcp_path_srtt_us(const struct kcp_path *path)
{
	return path->sent.srtt_us;
}

int64_t kcp_path_rttvar_us(const struct kcp_path *path)
{
	return path->sent.var_us;
}

int64_t kcp_path_min_rtt_us(const struct kcp_path *path)
{
	return kcp_budget_min_rtt_us(&path->budget);
}

bool kcp_path_saturated(const struct kcp_path *path)
{
	return kcp_lt_saturated(&path->budget.lt);
}

uint64_t kcp_path_rate_bps(const struct kcp_path *path)
{
	return kcp_budget_rate_bytes(&path->budget) * 8;
}

bool kcp_path_contested(const struct kcp_path *path)
{
	return path->budget.lt.contested;
}

uint64_t kcp_path_window_bytes(const struct kcp_path *path)
{
	return kcp_budget_window_bytes(&path->budget, kcp_path_full_bytes(path));
}

uint64_t kcp_path_in_flight_bytes(const struct kcp_path *path)
{
	return path->sent.flying_bytes;
}

uint32_t kcp_path_in_flight(const struct kcp_path *path)
{
	return path->sent.flying;
}

uint32_t kcp_path_loss_ppm(const struct kcp_path *path)
{
	return (uint32_t)((uint64_t)path->sent.loss * 1000000 >> 24);
}

uint64_t kcp_path_grant_bytes(const struct kcp_path *path)
{
	return path->peer_grant_bytes;
}

uint64_t kcp_path_charged_bytes(const struct kcp_path *path)
{
	return path->charged_bytes;
}

uint64_t kcp_path_grant_told_bytes(const struct kcp_path *path)
{
	return kcp_path_own_grant(path);
}

uint64_t kcp_path_next_pn(const struct kcp_path *path)
{
	return path->sent.next;
}

bool kcp_path_largest_pn(const struct kcp_path *path, uint64_t *ret_pn)
{
	if (path->seen.any)
		*ret_pn = path->seen.largest;
	return path->seen.any;
}

struct kcp_path_arrivals kcp_path_arrivals(const struct kcp_path *path)
{
	return (struct kcp_path_arrivals){
		.due = path->in.pieces + path->in.passed + path->dgrams_in.numbers,
		.came = path->in.pieces + path->dgrams_in.came,
	};
}

uint32_t kcp_path_tx_lanes(const struct kcp_path *path)
{
	return path->lanes.count + path->dgrams.flows.count;
}

uint32_t kcp_path_rx_lanes(const struct kcp_path *path)
{
	return path->lanes_in.count + path->dgrams_in.flows.count;
}

bool kcp_path_idle(const struct kcp_path *path)
{
	return kcp_path_slots(path) == 0 && path->sent.flying == 0 && list_empty(&path->forward) &&
	       !path->control && !path->wask && !path->wins && path->seen.asked == 0;
}

const struct kcp_path_stats *kcp_path_stats(const struct kcp_path *path)
{
	return &path->stats;
}
