/*
 * What leaves, and in which order: a report that is due, bases to be told, CONTROL, then items: urgent before bulk, resent
 * before new, several small ones of a class in one datagram. And when the path wants to be called again.
 *
 * A probe goes when nothing was acknowledged for a PTO. Only one thing is told again and again until acknowledged: a base that
 * passed abandoned data.
 */
#include "kcp/kcp_path_write.h"

enum {
	WINS_CHANGE = 4, /* a grant that changed by one such part is told */
};

static const enum kcp_path_class order[KCP_PATH_CLASSES] = {
	KCP_PATH_RT, KCP_PATH_CTL, KCP_PATH_ACK, KCP_PATH_LOOSE, KCP_PATH_BULK};

static bool pick_class(struct kcp_path *path, struct mono now, enum kcp_path_class *ret_class)
{
	struct kcp_ref ref;
	uint32_t len;

	for (int i = 0; i < KCP_PATH_CLASSES; i++) {
		if (kcp_path_waits(path, order[i]) &&
			kcp_path_front(path, order[i], &ref, &len, now) &&
			kcp_path_may_send(path, order[i], now)) {
			*ret_class = order[i];
			return true;
		}
	}
	return false;
}

static bool rack_due(const struct kcp_path *path, struct mono now)
{
	return mono_due(kcp_seen_due(&path->seen, path->sent.srtt_us), now);
}

/* Whether a base must be told now; if it only seemed so, finds out when one must. */
static bool bases_due(struct kcp_path *path, struct mono now)
{
	struct mono next = MONO_NEVER;

	if (list_empty(&path->forward) || !mono_due(path->forward_at, now))
		return false;
	list_for_each (node, &path->forward) {
		struct kcp_lane *lane = list_entry(node, struct kcp_lane, forward);
		if (mono_due(lane->fwd_at, now) && kcp_lane_tires(lane, path->heard))
			path->forward_tired = true;
		next = mono_min(next, lane->fwd_at);
	}
	path->forward_at = next;
	return mono_due(next, now);
}

/* A report that is not due yet goes along where there is space; that saves one of its own. */
static void ride_rack(struct kcp_path_datagram *out)
{
	enum {
		RIDE_BYTES = 8 + 2 + 1 + 1 + 3 + 2 * KCP_RACK_RANGES_MAX * 4,
	};

	if (out->path->seen.asked > 0 && !(out->flags & KCP_PATH_OUT_RACK) &&
		kcp_path_fits(out, RIDE_BYTES))
		kcp_path_write_rack(out);
}

static bool send_one(struct kcp_path *path, struct mono now)
{
	enum kcp_path_class class;
	struct kcp_path_datagram out;
	bool rack = rack_due(path, now);
	bool bases = bases_due(path, now);
	bool item = pick_class(path, now, &class);

	bool more = bases || item || path->control || path->wask || path->wins || path->probe;

	if (!rack && !more)
		return false;
	if (!kcp_path_open_datagram(&out, path, now))
		return false;
	if (rack)
		kcp_path_write_rack(&out);
	if (bases)
		kcp_path_write_bases(&out);
	if (path->control)
		kcp_path_write_control(&out);
	kcp_path_write_flags(&out);
	if (item) {
		out.exempt = !kcp_path_gate_open(path, now);
		kcp_path_write_class(&out, class);
	}
	if (path->probe)
		kcp_path_write_probe(&out);
	ride_rack(&out);
	kcp_seen_left(&path->seen, out.flags & KCP_PATH_OUT_RACK, more, now);
	if (out.used == 0) /* what was to go is gone; the buffer must be used */
		kcp_path_write_padding(&out, false);
	kcp_path_close_datagram(&out);
	return true;
}

static void note_fill(struct kcp_path *path, struct mono now)
{
	bool open = kcp_path_window_open(path);

	if (mono_due(kcp_budget_pace_at(&path->budget), now) && open)
		path->await_pace = false;
	if (mono_due(kcp_budget_exempt_at(&path->budget), now))
		path->await_exempt = false;
	if (!open)
		kcp_budget_set_full(&path->budget);
	else if (mono_due(path->hungry_until, now) && kcp_path_waiting_bytes(path) == 0)
		kcp_budget_set_limited(&path->budget, path->sent.flying_bytes);
}

static bool grant_changed(const struct kcp_path *path)
{
	uint64_t now_bytes = kcp_path_own_grant(path);
	uint64_t told = path->grant.told_bytes;
	uint64_t change = now_bytes > told ? now_bytes - told : told - now_bytes;

	return path->seen.any && change > 0 && change >= told / WINS_CHANGE;
}

static void check_probe(struct kcp_path *path, struct mono now)
{
	struct kcp_path_moment moment = {path, now};

	if (!mono_due(kcp_sent_pto_at(&path->sent), now))
		return;
	path->probe = kcp_sent_pto(&path->sent, &kcp_path_sent_events, &moment, now);
}

static void flush(struct kcp_path *path, struct mono now)
{
	bool any = false;

	while (send_one(path, now))
		any = true;
	if (!any && !path->blocked_us && grant_changed(path)) {
		path->wins = true;
		send_one(path, now);
	}
	note_fill(path, now);
}

static void settle_and_flush(struct kcp_path *path, struct mono now)
{
	kcp_path_expire(path, now);
	kcp_path_detect(path, now);
	check_probe(path, now);
	flush(path, now);
}

void kcp_path_flush(struct kcp_path *path, struct mono now)
{
	path->blocked_us = 0; /* the caller thinks that sending is possible */
	settle_and_flush(path, now);
}

void kcp_path_on_deadline(struct kcp_path *path, struct mono now)
{
	if (path->blocked_us && !mono_due(path->blocked_until, now)) {
		kcp_path_expire(path, now);
		kcp_path_detect(path, now);
		return;
	}
	settle_and_flush(path, now);
}

static bool items_wait(const struct kcp_path *path, bool urgent_only)
{
	for (int i = 0; i < KCP_PATH_CLASSES; i++) {
		if ((!urgent_only || kcp_path_exempt((enum kcp_path_class)i)) &&
			kcp_path_waits(path, (enum kcp_path_class)i))
			return true;
	}
	return false;
}

void kcp_path_input_done(struct kcp_path *path, struct mono now)
{
	path->blocked_us = 0; /* where something came from, something may go to */
	if (items_wait(path, false) || mono_due(kcp_path_next_deadline(path), now))
		kcp_path_flush(path, now);
}

struct mono kcp_path_next_deadline(const struct kcp_path *path)
{
	struct mono past = mono_at_us(INT64_MIN / 2);
	struct mono at = kcp_seen_due(&path->seen, path->sent.srtt_us);

	if (path->control || path->wask || path->wins || path->probe)
		at = past;
	if (!list_empty(&path->forward))
		at = mono_min(at, path->forward_at);
	at = mono_min(at, kcp_sent_pto_at(&path->sent));
	if ((path->await_pace || items_wait(path, false)) && kcp_path_window_open(path))
		at = mono_min(
			at, mono_add_us(kcp_budget_pace_at(&path->budget), KCP_PATH_PACE_SLACK_US));
	if (path->await_exempt || items_wait(path, true))
		at = mono_min(at, kcp_budget_exempt_at(&path->budget));
	if (path->blocked_us)
		at = mono_max(at, path->blocked_until);
	/* What asks for no acknowledgement is judged when something else happens. */
	if (path->sent.flying > 0)
		at = mono_min(at, kcp_sent_suspect_at(&path->sent));
	if (!list_empty(&path->active))
		at = mono_min(at, path->expire_at);
	return mono_min(at, kcp_dgram_out_expires(&path->dgrams));
}
