/*
 * Sessions and their slots.
 *
 *     INIT of the peer -> next --- first authentic DATA ---+
 *                                                          +--> cur --- another is confirmed --> prev -> old -> erased
 *     RESP of the peer ------------------------------------+
 *
 * What a peer tells in its params (instance, number, limits) takes effect when the session is confirmed and not before:
 * until then anybody who recorded an INIT could have sent it. Sending happens on `cur` only; all of them receive.
 *
 * Instances: the transport state of both sides belongs to a pair of instances. A session of another pair means that one
 * side began anew: then everything of the old pair goes, sessions and attempts too, before a byte of it is read.
 *
 * Crossing handshakes leave each side with another session as its newest, so each may send for long on the one that is
 * `prev` for the other. Therefore `prev` goes early only if the peer had confirmed it before `cur` was made. And who gets
 * RESPs but no DATA through makes one session after another, while the peer still sends on the last that it heard of: that is
 * what `old` is for, and it stays there for as long as nothing comes on any of its successors.
 *
 * Ages count from the making of the keys, on a clock that counts suspend. A session that is too old is not used even if
 * its timer has not been served yet.
 *
 * A peer that only keeps itself reachable needs no new keys every two minutes: those that sealed nothing but signs of life give
 * nothing away when they are stolen, and for ten thousand such peers the handshakes would cost more than all else. So where
 * both sides know of it, a session is *quiet* until the first message passes, and lives on while signs of life come; but no
 * message is ever sent or taken under keys older than three minutes. Who has one then makes new keys first, and who has one
 * before that makes new keys at the age at which he would have done so anyway. That the other side still has its half was
 * shown by the handshake; now an empty datagram shows it, or a question where none came, so a dead side is found as soon as
 * before. The first message ends all that.
 */
#include "stack/native_state.h"

#include <string.h>

static struct mono hard_stop(const struct native_session *session)
{
	return mono_add_us(session->made_at, NATIVE_HARD_STOP_US);
}

static bool quiet(const struct native_session *session)
{
	return (session->params.features & NATIVE_FEATURE_QUIET) && !session->data.loud &&
	       !native_is_follower(session->peer->native);
}

struct mono native_session_ends(const struct native_session *session)
{
	struct mono heard_at = session->last_rx_at;

	if (!quiet(session) || mono_is_never(heard_at))
		return hard_stop(session);
	return mono_min(
		mono_max(hard_stop(session), mono_add_us(heard_at, NATIVE_QUIET_SILENCE_US)),
		mono_add_us(session->made_at, NATIVE_QUIET_STOP_US));
}

void native_session_show(struct native_session *session, struct mono now)
{
	struct kcpvpn_peer *peer = session->peer;

	if (quiet(session) && session->slot == NATIVE_SLOT_CUR &&
		!mono_is_never(peer->data.live.sent_at) &&
		mono_diff_us(now, peer->data.live.sent_at) >= NATIVE_QUIET_SHOW_US)
		native_output_keepalive(peer, now);
}

void native_session_loud(struct native_session *session, struct mono now)
{
	if (session->data.loud)
		return;
	session->data.loud = true;
	native_follow_used(session->peer, now);
	native_peer_touch(session->peer);
}

struct native_session *native_session_new(struct kcpvpn_peer *peer, bool initiator, struct mono now)
{
	struct kcpvpn_native *native = peer->native;
	struct native_session *session = secret_pool_take(&native->sessions);

	if (!session)
		return NULL;
	session->peer = peer;
	session->initiator = initiator;
	session->slot = NATIVE_SLOT_NEXT;
	session->made_at = now;
	session->confirmed_at = MONO_NEVER;
	session->last_rx_at = MONO_NEVER;
	session->first_rx_at = MONO_NEVER;
	session->rekey_at = MONO_NEVER;
	native_session_data_init(native, &session->data);
	return session;
}

void native_session_set_keys(struct native_session *session, const struct handshake_keys *keys)
{
	seal_key_init(&session->send, keys->t_send);
	memcpy(session->recv, keys->t_recv, sizeof(session->recv));
}

void native_session_free(struct native_session *session)
{
	if (!session)
		return;
	struct kcpvpn_native *native = session->peer->native;
	struct native_session **slot = &session->peer->hs.slots[session->slot];

	native_lead_erase(session);
	/* First what was given to it leaves. */
	native_session_data_fini(native, &session->data);
	if (*slot == session)
		*slot = NULL;
	if (!session->initiator && !native_is_follower(native))
		answer_cache_forget(&native->answers, session->mac1);
	native_index_remove(&native->indices, &session->index);
	/* Wipes the keys. */
	secret_pool_return(&native->sessions, session);
}

struct native_session *native_session_find(struct kcpvpn_native *native, uint32_t number)
{
	struct native_index *index = native_index_find(&native->indices, number);

	if (!index || index->kind != NATIVE_INDEX_SESSION)
		return NULL;
	return list_entry(index, struct native_session, index);
}

struct native_session *native_session_sending(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_session *cur = peer->hs.slots[NATIVE_SLOT_CUR];

	return cur && mono_before(now, hard_stop(cur)) ? cur : NULL;
}

struct native_session *native_session_alive(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_session *cur = peer->hs.slots[NATIVE_SLOT_CUR];

	return cur && mono_before(now, native_session_ends(cur)) ? cur : NULL;
}

/* ---- confirmation ------------------------------------------------------------------------------------------------- */

static bool of_pair(const struct native_handshake_state *hs, const struct native_session *session)
{
	return session->own_instance == hs->pair_own && session->peer_instance == hs->pair_peer;
}

/* Must be done before anything that came on `session` is read. */
static void take_pair(struct native_session *session, struct mono now)
{
	struct kcpvpn_peer *peer = session->peer;
	struct native_handshake_state *hs = &peer->hs;
	bool changed = hs->has_pair && !of_pair(hs, session);

	/* A late answer of the instance in use, which may be dead: `next` may be of the living one. */
	if (hs->has_pair && !changed)
		return;
	hs->has_pair = true;
	hs->pair_own = session->own_instance;
	hs->pair_peer = session->peer_instance;
	/* Also where the first pair is learned: what waits may be of an instance that is dead, and a late datagram of that
	 * one would confirm it. */
	for (size_t i = 0; i < NATIVE_SLOTS; i++)
		if (hs->slots[i] && hs->slots[i] != session && !of_pair(hs, hs->slots[i]))
			native_session_free(hs->slots[i]);
	if (!changed)
		return;
	/* A late answer to one of them would bring the other side's dead instance back. */
	native_attempts_erase(peer);
	native_data_restart(peer, now);
}

static void shift(struct native_handshake_state *hs, enum native_slot from, enum native_slot to)
{
	struct native_session *session = hs->slots[from];

	hs->slots[from] = NULL;
	hs->slots[to] = session;
	if (session)
		session->slot = to;
}

static bool heard(const struct native_session *session)
{
	return session && !mono_is_never(session->first_rx_at);
}

/*
 * Empties `cur`. Usually what is oldest goes. But a session on which nothing ever came may be one that the peer replaced
 * before we got its answer: such must not push out the only one that is known to work.
 */
static void make_room(struct native_handshake_state *hs)
{
	struct native_session *cur = hs->slots[NATIVE_SLOT_CUR];
	struct native_session *prev = hs->slots[NATIVE_SLOT_PREV];
	struct native_session *old = hs->slots[NATIVE_SLOT_OLD];

	if (!cur)
		return;
	if (prev && heard(old) && !heard(prev) && !heard(cur)) {
		native_session_free(prev);
	} else if (prev) {
		native_session_free(old);
		shift(hs, NATIVE_SLOT_PREV, NATIVE_SLOT_OLD);
	}
	shift(hs, NATIVE_SLOT_CUR, NATIVE_SLOT_PREV);
}

void native_session_confirm(
	struct native_session *session, const struct native_address *address, struct mono now)
{
	struct kcpvpn_peer *peer = session->peer;
	struct kcpvpn_native *native = peer->native;
	struct native_handshake_state *hs = &peer->hs;
	int64_t rekey_us =
		session->initiator ? NATIVE_REKEY_INITIATOR_US : NATIVE_REKEY_RESPONDER_US;

	hs->limits = session->params;
	hs->has_limits = true;
	take_pair(session, now); /* what restarts asks for the new limits */
	native_respond_bound_seq(peer, now);
	if (!session->initiator && session->init_seq > hs->committed_seq)
		hs->committed_seq = session->init_seq;
	if (hs->slots[session->slot] == session)
		hs->slots[session->slot] = NULL;
	make_room(hs);
	session->slot = NATIVE_SLOT_CUR;
	hs->slots[NATIVE_SLOT_CUR] = session;
	session->confirmed_at = now;
	/* Jitter on both sides: after crossing handshakes both may be responders of what they send on. */
	rekey_us += (int64_t)(rand_u32(&native->random) % NATIVE_REKEY_JITTER_US);
	session->rekey_at = mono_add_us(session->made_at, rekey_us);
	hs->handshakes++;
	native->stats.handshakes_done++;
	hs->trouble = NULL;
	hs->unconfirmed = 0;
	hs->wait_until = MONO_NEVER;
	if (address && address->port)
		native_path_proven(peer, address, now);
	native_data_limits(peer, now);
	native_data_session_ready(peer, session, session->initiator, now);
	/* Who called may hold an answer of somebody who has moved on: that both have it is seen on shard 0 first. */
	native_lead_session(session, !session->initiator);
	native_peer_judge(peer);
	native_peer_touch(peer);
}

static bool same_address(const struct native_address *a, const struct native_address *b)
{
	return a->port == b->port && kcpvpn_endpoint_equal(&a->remote, &b->remote);
}

bool native_session_authentic(
	struct native_session *session, const struct native_address *from, struct mono now)
{
	struct kcpvpn_peer *peer = session->peer;
	struct native_handshake_state *hs = &peer->hs;

	session->last_rx_at = now;
	if (native_is_follower(peer->native)) {
		native_follow_heard(peer, session, now);
		return true;
	}
	if (session->slot == NATIVE_SLOT_NEXT)
		/* The answer went to where the INIT came from: that something comes from there now proves a round trip. */
		native_session_confirm(session,
			same_address(from, &session->address) ? &session->address : NULL, now);
	if (mono_is_never(session->first_rx_at) && session->slot == NATIVE_SLOT_CUR) {
		/* Both sides have it: nothing is left to be called for. */
		native_lead_send_on(session);
		native_attempts_erase(peer);
		attempt_stop(&hs->schedule);
		if (hs->calls & NATIVE_CALL_ATTEMPT)
			native_call_cancel(peer);
		/* It was changed while the peer was called, or called us. */
		if (session->own_tun_mtu != peer->config.tun_mtu)
			native_initiate(peer, NATIVE_REASON_REKEY, now);
	}
	if (mono_is_never(session->first_rx_at))
		session->first_rx_at = now;
	return true;
}

/* ---- ends --------------------------------------------------------------------------------------------------------- */

/* After the loss of the session that was sent on. */
static void lost(struct kcpvpn_peer *peer, struct mono now)
{
	native_data_session_lost(peer, now);
	if (!native_is_follower(peer->native) && peer->enabled && native_peer_wanted(peer, now) &&
		native_peer_callable(peer) && !attempt_running(&peer->hs.schedule))
		native_initiate(peer, NATIVE_REASON_START, now);
	native_peer_judge(peer);
	native_peer_touch(peer);
}

void native_session_closed_by_peer(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_handshake_state *hs = &peer->hs;
	int64_t jitter_us = (int64_t)(rand_u32(&peer->native->random) % NATIVE_AFTER_CLOSE_US);

	/* `next` stays: it may be of the peer that has begun anew already, and only a living one can confirm it. */
	native_session_free(hs->slots[NATIVE_SLOT_CUR]);
	native_session_free(hs->slots[NATIVE_SLOT_PREV]);
	native_session_free(hs->slots[NATIVE_SLOT_OLD]);
	native_attempts_erase(peer);
	native_call_cancel(peer);
	attempt_stop(&hs->schedule);
	hs->wait_until = mono_add_us(now, NATIVE_AFTER_CLOSE_US + jitter_us);
	hs->wanted_at = MONO_NEVER; /* it went in order; data that still waits asks again */
	lost(peer, now);
}

void native_session_erase_all(struct kcpvpn_peer *peer)
{
	struct native_handshake_state *hs = &peer->hs;
	bool had = hs->slots[NATIVE_SLOT_CUR];

	for (size_t i = 0; i < NATIVE_SLOTS; i++)
		native_session_free(hs->slots[i]);
	native_attempts_erase(peer);
	if (had)
		native_data_session_lost(peer, peer->native->now);
}

/* ---- deadlines ---------------------------------------------------------------------------------------------------- */

/* Whether the session in use is worth another: somebody wants the peer to be reached at all times, or it was used. */
static bool rekey_wanted(const struct kcpvpn_peer *peer, const struct native_session *cur)
{
	if (attempt_running(&peer->hs.schedule) || !native_peer_callable(peer))
		return false;
	return peer->config.persistent ||
	       (!mono_is_never(peer->payload_at) && !mono_before(peer->payload_at, cur->made_at));
}

static int64_t jitter_us(const struct native_session *cur)
{
	return mono_diff_us(cur->rekey_at, cur->made_at) -
	       (cur->initiator ? NATIVE_REKEY_INITIATOR_US : NATIVE_REKEY_RESPONDER_US);
}

static struct mono rekey_at(const struct kcpvpn_peer *peer, const struct native_session *cur)
{
	if (!rekey_wanted(peer, cur))
		return MONO_NEVER;
	if (cur->data.sealed >= NATIVE_REKEY_DATAGRAMS)
		return cur->confirmed_at;
	if (!quiet(cur))
		return cur->rekey_at;
	return mono_add_us(cur->made_at, NATIVE_QUIET_REKEY_US +
						 jitter_us(cur) * NATIVE_QUIET_JITTERS +
						 (cur->initiator ? 0 : NATIVE_QUIET_RESPONDER_US));
}

/* When a quiet session needs a question: nothing came for long. Where one is asked already, liveness.h says what follows. */
static struct mono ask_at(const struct kcpvpn_peer *peer, const struct native_session *cur)
{
	struct mono since = cur->made_at;

	if (!quiet(cur) || !rekey_wanted(peer, cur) || !mono_is_never(peer->data.live.asked_since))
		return MONO_NEVER;
	if (!mono_is_never(cur->last_rx_at))
		since = mono_max(since, cur->last_rx_at);
	return mono_add_us(since, NATIVE_QUIET_ASK_US + jitter_us(cur));
}

static void ask(struct kcpvpn_peer *peer, struct mono now)
{
	native_control_ping(peer, now);
	/* It could not be sent. */
	if (mono_is_never(peer->data.live.asked_since))
		native_initiate(peer, NATIVE_REASON_REKEY, now);
}

static struct mono prev_ends(const struct native_session *prev, const struct native_session *cur)
{
	struct mono quiet_since = prev->confirmed_at;

	/* The peer may have confirmed the two in the other order, or not have learned of the newer one: it sends on this. */
	if (cur && (!heard(cur) || !mono_before(prev->first_rx_at, cur->made_at)))
		return native_session_ends(prev);
	/* It may have done so until it was heard on the newer one, however quiet it was before. */
	if (cur)
		quiet_since = mono_max(quiet_since, cur->first_rx_at);
	if (!mono_is_never(prev->last_rx_at))
		quiet_since = mono_max(quiet_since, prev->last_rx_at);
	return mono_min(native_session_ends(prev), mono_add_us(quiet_since, NATIVE_PREV_US));
}

struct mono native_session_next_deadline(const struct kcpvpn_peer *peer)
{
	const struct native_session *next = peer->hs.slots[NATIVE_SLOT_NEXT];
	const struct native_session *cur = peer->hs.slots[NATIVE_SLOT_CUR];
	const struct native_session *prev = peer->hs.slots[NATIVE_SLOT_PREV];
	const struct native_session *old = peer->hs.slots[NATIVE_SLOT_OLD];
	struct mono at = MONO_NEVER;

	/* Its leader says what else becomes of them. */
	if (native_is_follower(peer->native))
		return cur ? hard_stop(cur) : MONO_NEVER;
	if (next)
		at = mono_add_us(next->made_at, NATIVE_NEXT_US);
	if (cur)
		at = mono_min(at, mono_min(native_session_ends(cur),
					  mono_min(rekey_at(peer, cur), ask_at(peer, cur))));
	if (prev)
		at = mono_min(at, prev_ends(prev, cur));
	if (old)
		at = mono_min(at, prev_ends(old, cur));
	return at;
}

void native_session_on_deadline(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_handshake_state *hs = &peer->hs;
	struct native_session *next = hs->slots[NATIVE_SLOT_NEXT];
	struct native_session *prev = hs->slots[NATIVE_SLOT_PREV];
	struct native_session *old = hs->slots[NATIVE_SLOT_OLD];
	struct native_session *cur = hs->slots[NATIVE_SLOT_CUR];
	bool follows = native_is_follower(peer->native);

	if (follows)
		next = prev = old = NULL;
	if (next && mono_due(mono_add_us(next->made_at, NATIVE_NEXT_US), now))
		native_respond_unconfirmed(next);
	if (prev && mono_due(prev_ends(prev, cur), now))
		native_session_free(prev);
	if (old && mono_due(prev_ends(old, cur), now))
		native_session_free(old);
	if (!cur)
		return;
	if (mono_due(native_session_ends(cur), now)) {
		native_session_free(cur);
		lost(peer, now);
	} else if (!follows && mono_due(rekey_at(peer, cur), now)) {
		native_initiate(peer, NATIVE_REASON_REKEY, now);
	} else if (!follows && mono_due(ask_at(peer, cur), now)) {
		ask(peer, now);
	}
}
