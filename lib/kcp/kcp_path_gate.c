/*
 * What may go, for the caller and for the path itself. Packets should wait in the caller's queue, where they can be dropped and
 * marked by how long they wait, and not here: so a message is only taken if it would leave at the next flush, and here
 * waits no more than what one millisecond of the rate carries, or the pieces of one message; and no more than some of the longest
 * messages, so that what is written together is still in the core's cache.
 */
#include "kcp/kcp_path_state.h"

enum {
	BATCH_US = 1000, /* of the rate may be taken at once */
	BATCH_MAX_BYTES = 4 * 65536,
	BATCH_START_BYTES = 65536, /* while no rate is known */
};

bool kcp_path_window_open(const struct kcp_path *path)
{
	return path->sent.flying_bytes <
	       kcp_budget_window_bytes(&path->budget, kcp_path_full_bytes(path));
}

bool kcp_path_exempt(enum kcp_path_class class)
{
	return class == KCP_PATH_RT || class == KCP_PATH_CTL;
}

bool kcp_path_gate_open(const struct kcp_path *path, struct mono now)
{
	return mono_due(kcp_budget_pace_at(&path->budget), now) && kcp_path_window_open(path);
}

bool kcp_path_may_send(const struct kcp_path *path, enum kcp_path_class class, struct mono now)
{
	if (kcp_path_gate_open(path, now))
		return true;
	return kcp_path_exempt(class) && mono_due(kcp_budget_exempt_at(&path->budget), now);
}

/* ---- repairs ---------------------------------------------------------------------------------------------------- */

static bool urgent_waits(const struct kcp_path *path)
{
	const struct kcp_path_queues *queues = &path->queues;

	return kcp_refs_count(&queues->fresh[KCP_PATH_RT]) +
		       kcp_refs_count(&queues->again[KCP_PATH_RT]) +
		       kcp_refs_count(&queues->fresh[KCP_PATH_CTL]) +
		       kcp_refs_count(&queues->again[KCP_PATH_CTL]) >
	       0;
}

static struct mono repair_exempt_at(const struct kcp_path *path)
{
	return mono_add_us(kcp_budget_exempt_at(&path->budget), KCP_BUDGET_EXEMPT_BURST_US / 2);
}

bool kcp_path_repair_room(const struct kcp_path *path, bool urgent, struct mono now)
{
	if (urgent_waits(path))
		return false;
	return kcp_path_gate_open(path, now) || (urgent && mono_due(repair_exempt_at(path), now));
}

struct mono kcp_path_repair_at(const struct kcp_path *path, bool urgent)
{
	struct mono at = MONO_NEVER;

	if (urgent_waits(path))
		return at;
	if (kcp_path_window_open(path))
		at = kcp_budget_pace_at(&path->budget);
	return urgent ? mono_min(at, repair_exempt_at(path)) : at;
}

/* ---- room ------------------------------------------------------------------------------------------------------- */

/* How much may wait here for the next flush. */
static uint64_t batch_bytes(const struct kcp_path *path)
{
	uint64_t rate = kcp_budget_rate_bytes(&path->budget);
	uint64_t bytes;

	if (rate == 0) /* unknown */
		rate = path->rate_max_bps / 8;
	bytes = rate ? rate * BATCH_US / 1000000 : BATCH_START_BYTES;
	if (bytes > BATCH_MAX_BYTES)
		bytes = BATCH_MAX_BYTES;
	return bytes > kcp_path_full_bytes(path) ? bytes : kcp_path_full_bytes(path);
}

uint64_t kcp_path_waiting_bytes(const struct kcp_path *path)
{
	uint64_t bytes = 0;

	for (int i = 0; i < KCP_PATH_CLASSES; i++)
		bytes += path->queues.fresh_bytes[i];
	return bytes;
}

static bool room_in_window(struct kcp_path *path, enum kcp_path_class class, struct mono now)
{
	uint64_t waiting = kcp_path_waiting_bytes(path);
	uint64_t window = kcp_budget_window_bytes(&path->budget, kcp_path_full_bytes(path));

	if (path->sent.flying_bytes + waiting < window && waiting < batch_bytes(path)) {
		if (mono_due(kcp_budget_pace_at(&path->budget), now))
			return true;
		path->await_pace = true;
	} else if (waiting > 0) {
		path->await_pace = true;
	}
	if (!kcp_path_exempt(class))
		return false;
	if (path->queues.fresh_bytes[KCP_PATH_RT] + path->queues.fresh_bytes[KCP_PATH_CTL] <
			batch_bytes(path) &&
		mono_due(kcp_budget_exempt_at(&path->budget), now))
		return true;
	path->await_exempt = true;
	return false;
}

static bool grant_covers(const struct kcp_path *path, uint64_t cost)
{
	return path->charged_bytes == 0 || path->charged_bytes + cost <= path->peer_grant_bytes;
}

bool kcp_path_room(struct kcp_path *path, enum kcp_path_class class, size_t len, struct mono now)
{
	uint32_t piece = path->config.piece_bytes;
	bool in_pieces = !kcp_path_unordered(class) || len > piece;

	if (!room_in_window(path, class, now)) {
		/* What is urgent waits for others of its kind: that says nothing of the path. */
		if (!kcp_path_exempt(class))
			path->hungry_until = mono_add_us(now, KCP_BUDGET_DEBT_US);
		path->stats.again_window++;
		return false;
	}
	if (class == KCP_PATH_BULK || class == KCP_PATH_LOOSE)
		path->hungry_until = mono_at_us(INT64_MIN / 2);
	if (path->tx_slots + (len + piece - 1) / piece + !len > path->config.tx_slots_max) {
		path->stats.again_window++;
		return false;
	}
	if (in_pieces && !grant_covers(path, kcp_lane_cost_bytes(len ? len : piece, piece))) {
		path->stats.again_grant++;
		kcp_path_wake_bases(path, now);
		return false;
	}
	return true;
}
