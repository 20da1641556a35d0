/*
 * One peer: up and down by order, where it may be called, its state as the program sees it, and the line in which peers
 * wait to be called.
 *
 * The line exists because a restart, a change of the network or the end of a long silence concerns all peers at once: their
 * INITs (two X25519 each) and probes leave at 50 a second, the first ten at once. Where that would take longer than 20 s, as
 * with thousands of peers, who cannot know that their gateway is another one now, they leave so fast that it does not, but at
 * most 1000 a second: with the answers that is a fifth of a core. Only who would lose a working session stands in the other
 * line, `rekeys`, which knows no budget.
 */
#include "stack/native_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void renew_instance(struct kcpvpn_peer *peer)
{
	uint64_t instance;

	do
		instance = rand_u64(&peer->native->random);
	while (instance == 0 || instance == peer->hs.own_instance);
	peer->hs.own_instance = instance;
}

void native_handshake_init(struct kcpvpn_peer *peer)
{
	struct native_handshake_state *hs = &peer->hs;

	*hs = (struct native_handshake_state){
		.wait_until = MONO_NEVER,
		.wanted_at = MONO_NEVER,
		.started_at = MONO_NEVER,
		.cookie_at = MONO_NEVER,
	};
	attempt_init(&hs->schedule);
	list_init(&hs->in_calls);
	renew_instance(peer);
}

void native_handshake_renew_instance(struct kcpvpn_peer *peer)
{
	renew_instance(peer);
}

/*
 * A call that is under way has told the old instance, and must not be answered. Another is begun at once: the next one in turn may
 * be a minute away.
 */
void native_handshake_forget_pair(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_handshake_state *hs = &peer->hs;
	bool again = hs->attempts[0] && attempt_running(&hs->schedule) &&
		     !(hs->calls & NATIVE_CALL_ATTEMPT);

	for (size_t i = 0; i < NATIVE_SLOTS; i++)
		native_session_free(hs->slots[i]);
	native_attempts_erase(peer);
	native_lead_forget(peer);
	hs->has_pair = false;
	hs->shard_pn = 0;
	renew_instance(peer);
	if (!again)
		return;
	attempt_start(&hs->schedule, attempt_next_reach(&hs->schedule), now);
	native_initiate_on_deadline(peer, now);
}

/* ---- state -------------------------------------------------------------------------------------------------------- */

bool native_peer_callable(const struct kcpvpn_peer *peer)
{
	return peer->target_count > 0 || native_path_address(peer)->port;
}

bool native_peer_wanted(const struct kcpvpn_peer *peer, struct mono now)
{
	if (peer->config.persistent)
		return true;
	return !mono_is_never(peer->hs.wanted_at) &&
	       mono_diff_us(now, peer->hs.wanted_at) < NATIVE_WANT_US;
}

static enum kcpvpn_peer_state state_at(const struct kcpvpn_peer *peer, struct mono now)
{
	const struct native_session *cur = peer->hs.slots[NATIVE_SLOT_CUR];
	bool session = cur && mono_before(now, native_session_ends(cur));

	if (!peer->enabled)
		return KCPVPN_PEER_DOWN;
	/* Keys alone are no connection: whose port was closed is heard no more, and sent nothing, until it is found anew. */
	session = session && native_path_address(peer)->port;
	if (session)
		return liveness_gone(&peer->data.live) ? KCPVPN_PEER_CONNECTING : KCPVPN_PEER_UP;
	if (peer->config.persistent ||
		(native_peer_callable(peer) && native_peer_wanted(peer, now)))
		return KCPVPN_PEER_CONNECTING;
	return KCPVPN_PEER_IDLE;
}

enum kcpvpn_peer_state kcpvpn_peer_state(const struct kcpvpn_peer *peer)
{
	return state_at(peer, peer->native->now);
}

void native_peer_judge(struct kcpvpn_peer *peer)
{
	enum kcpvpn_peer_state state = state_at(peer, peer->native->now);

	if (state == peer->told_state)
		return;
	peer->told_state = (uint8_t)state;
	/* Who was refused because there was no session may try again. */
	native_peer_raise(peer, KCPVPN_PEER_EVENT_STATE |
					(state == KCPVPN_PEER_UP ? KCPVPN_PEER_EVENT_WRITABLE : 0));
}

void kcpvpn_peer_set_user(struct kcpvpn_peer *peer, void *user)
{
	peer->user = user;
}

void *kcpvpn_peer_user(const struct kcpvpn_peer *peer)
{
	return peer->user;
}

/* ---- by order ----------------------------------------------------------------------------------------------------- */

void kcpvpn_peer_up(struct kcpvpn_peer *peer, int64_t now_us)
{
	struct mono now = mono_at_us(now_us);

	peer->native->now = now;
	if (peer->enabled)
		return;
	peer->enabled = true;
	if (peer->config.persistent)
		native_initiate(peer, NATIVE_REASON_START, now);
	native_peer_judge(peer);
	native_peer_touch(peer);
}

void kcpvpn_peer_down(struct kcpvpn_peer *peer, enum kcpvpn_close reason, int64_t now_us)
{
	struct mono now = mono_at_us(now_us);
	struct native_handshake_state *hs = &peer->hs;

	peer->native->now = now;
	if (!peer->enabled)
		return;
	native_data_close(peer, reason, now);
	native_call_cancel(peer);
	attempt_stop(&hs->schedule);
	native_session_erase_all(peer);
	/* Everything of it is dropped, so what comes later is another instance. Numbers of handshakes go on. */
	native_data_fini(peer);
	native_data_init(peer);
	native_lead_forget(peer);
	renew_instance(peer);
	hs->has_pair = false;
	hs->shard_pn = 0;
	hs->has_limits = false;
	hs->wait_until = MONO_NEVER;
	hs->wanted_at = MONO_NEVER;
	hs->trouble = NULL;
	hs->unconfirmed = 0;
	peer->payload_at = MONO_NEVER;
	peer->enabled = false;
	native_peer_judge(peer);
	native_peer_touch(peer);
}

static bool same_targets(
	const struct kcpvpn_peer *peer, const struct kcpvpn_target *targets, size_t count)
{
	if (peer->target_count != count)
		return false;
	for (size_t i = 0; i < count; i++)
		if (peer->targets[i].port != targets[i].port ||
			!kcpvpn_endpoint_equal(&peer->targets[i].remote, &targets[i].remote))
			return false;
	return true;
}

/* Whether the address in use is one of the targets, if there are any. */
static bool at_target(const struct kcpvpn_peer *peer)
{
	const struct native_address *address = native_path_address(peer);

	for (uint8_t i = 0; i < peer->target_count; i++)
		if (peer->targets[i].port == address->port &&
			kcpvpn_endpoint_equal(&peer->targets[i].remote, &address->remote))
			return true;
	return peer->target_count == 0;
}

void kcpvpn_peer_set_targets(
	struct kcpvpn_peer *peer, const struct kcpvpn_target *targets, size_t count, int64_t now_us)
{
	struct mono now = mono_at_us(now_us);

	peer->native->now = now;
	if (count > KCPVPN_NATIVE_TARGETS_MAX)
		count = KCPVPN_NATIVE_TARGETS_MAX;
	if (same_targets(peer, targets, count))
		return;
	if (count > peer->target_count) {
		/* Without memory for the new ones the old ones stay: they may still be right. */
		struct kcpvpn_target *grown =
			realloc(peer->targets, count * sizeof(struct kcpvpn_target));
		if (!grown)
			return;
		peer->targets = grown;
	}
	if (count > 0)
		memcpy(peer->targets, targets, count * sizeof(struct kcpvpn_target));
	peer->target_count = (uint8_t)count;
	if (peer->enabled && !native_session_alive(peer, now) && native_peer_wanted(peer, now))
		native_initiate(peer, NATIVE_REASON_START, now);
	/* A session whose port is gone: the peer learns the new one by being called from there. And who is pinned to its
	 * targets has to be proven at one of these. */
	if (native_session_alive(peer, now) &&
		(!native_path_address(peer)->port || (!peer->config.roaming && !at_target(peer))))
		native_initiate(peer, NATIVE_REASON_SILENCE, now);
	native_peer_judge(peer);
	native_peer_touch(peer);
}

/* ---- the line ----------------------------------------------------------------------------------------------------- */

void native_call_enqueue(struct kcpvpn_peer *peer, enum native_call call, bool rekey)
{
	struct kcpvpn_native *native = peer->native;

	peer->hs.calls |= call;
	if (rekey) {
		list_remove(&peer->hs.in_calls);
		list_add_tail(&native->rekeys, &peer->hs.in_calls);
	} else if (!list_linked(&peer->hs.in_calls)) {
		list_add_tail(&native->calls, &peer->hs.in_calls);
	}
}

void native_call_cancel(struct kcpvpn_peer *peer)
{
	peer->hs.calls = 0;
	list_remove(&peer->hs.in_calls);
}

static void call(struct kcpvpn_peer *peer, struct mono now)
{
	unsigned calls = peer->hs.calls;

	native_call_cancel(peer);
	if (calls & NATIVE_CALL_PROBE) {
		if (native_session_alive(peer, now))
			native_data_ping(peer, now);
		else
			native_initiate(peer, NATIVE_REASON_NETWORK, now);
		/* It has had its turn: what it is to send goes now. */
		calls |= peer->hs.calls;
		native_call_cancel(peer);
	}
	if (calls & NATIVE_CALL_ATTEMPT)
		native_initiate_make(peer, now);
	native_peer_judge(peer);
	native_peer_touch(peer);
}

static struct token_rate call_rate(const struct kcpvpn_native *native)
{
	struct token_rate rate = INIT_GUARD_SENDING_RATE;
	int64_t share_us = native->peer_count > 0 ? NATIVE_CALL_ROUND_US / native->peer_count
						  : rate.interval_us;

	if (share_us < rate.interval_us)
		rate.interval_us =
			share_us > NATIVE_CALL_LEAST_US ? share_us : NATIVE_CALL_LEAST_US;
	return rate;
}

static bool call_next(struct kcpvpn_native *native, struct mono now)
{
	struct list *node = list_pop(&native->rekeys);

	if (!node && !list_empty(&native->calls) &&
		token_bucket_take(&native->call_budget, call_rate(native), now))
		node = list_pop(&native->calls);
	if (!node)
		return false;
	call(list_entry(node, struct kcpvpn_peer, hs.in_calls), now);
	return true;
}

static bool respond_next(struct kcpvpn_native *native, struct mono now)
{
	struct list *node = list_pop(&native->inits_proven);

	if (!node)
		node = list_pop(&native->inits);
	if (!node)
		return false;
	native->inits_count--;
	native_respond_work(native, list_entry(node, struct native_shake, node), now);
	list_add_head(&native->shakes_free, node);
	return true;
}

void native_handshake_work(struct kcpvpn_native *native, struct mono now)
{
	struct list *resp = list_pop(&native->resps);

	/* An answer to our own call brings a peer up by the least work, and there are few of them. */
	if (resp) {
		native->resps_count--;
		native_initiate_resp_work(native, list_entry(resp, struct native_shake, node), now);
		list_add_head(&native->shakes_free, resp);
		return;
	}
	/* Taking turns, so that a flood of INITs cannot keep us from calling, nor our calls keep others out. */
	native->calls_first = !native->calls_first;
	if (native->calls_first) {
		if (!call_next(native, now))
			(void)respond_next(native, now);
	} else if (!respond_next(native, now)) {
		(void)call_next(native, now);
	}
}

struct mono native_handshake_work_at(const struct kcpvpn_native *native)
{
	if (!list_empty(&native->resps) || native->inits_count > 0 || !list_empty(&native->rekeys))
		return native->now;
	if (list_empty(&native->calls))
		return MONO_NEVER;
	return mono_max(native->now, token_bucket_ready_at(native->call_budget, call_rate(native)));
}

void native_handshake_port_gone(struct kcpvpn_native *native, const struct kcpvpn_udp_port *port)
{
	struct list *lines[] = {&native->resps, &native->inits_proven, &native->inits};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		list_for_each_safe (at, lines[i]) {
			if (list_entry(at, struct native_shake, node)->from.port != port)
				continue;
			list_remove(at);
			list_add_head(&native->shakes_free, at);
			if (lines[i] == &native->resps)
				native->resps_count--;
			else
				native->inits_count--;
		}
	}
}

/* ---- deadlines ---------------------------------------------------------------------------------------------------- */

struct mono native_handshake_next_deadline(const struct kcpvpn_peer *peer)
{
	const struct native_handshake_state *hs = &peer->hs;
	struct mono at = native_session_next_deadline(peer);

	for (size_t i = 0; i < NATIVE_ATTEMPTS && hs->attempts[i]; i++)
		at = mono_min(at, mono_add_us(hs->attempts[i]->made_at, ATTEMPT_LIFE_US));
	if (!(hs->calls & NATIVE_CALL_ATTEMPT))
		at = mono_min(at, attempt_next_deadline(&hs->schedule));
	return at;
}

void native_handshake_on_deadline(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_handshake_state *hs = &peer->hs;

	native_session_on_deadline(peer, now);
	for (size_t i = 0; i < NATIVE_ATTEMPTS; i++) {
		if (!hs->attempts[i] ||
			mono_diff_us(now, hs->attempts[i]->made_at) < ATTEMPT_LIFE_US)
			continue;
		native_attempt_free(hs->attempts[i]);
		hs->attempts[i] = NULL;
	}
	if (!(hs->calls & NATIVE_CALL_ATTEMPT))
		native_initiate_on_deadline(peer, now);
}
