/*
 * A follower: the data side of a node, for one shard above 0. It has peers, sessions and paths like a node, but learns of
 * them by messages, and nothing in it decides about a session, an address or a size.
 *
 *     slots of a follower's peer     CUR   the session to send on
 *                                    others are only received on; which of them is of no meaning
 *
 * It notes what the leader has to know and tells it at most ten times a second for each peer, and at once what is rare.
 * A message that the program does not take is told again with the next report: all of them say how things are now, so none
 * is missed by that.
 *
 * Where the follower is told of another pair of instances it begins anew by itself, before the first datagram under the
 * new keys can be opened: they come with the same message.
 */
#include "stack/native_state.h"

#include <errno.h>
#include <string.h>

void native_follow_init(struct native_follow *follow)
{
	*follow = (struct native_follow){
		.report_at = MONO_NEVER,
		.lacks_at = MONO_NEVER,
		.told_at = MONO_NEVER,
		.moved_at = MONO_NEVER,
		.wanted_at = MONO_NEVER,
	};
}

/* ---- what is told ---------------------------------------------------------------------------------------------------- */

static bool tell(struct kcpvpn_native *follower, struct native_shard_message *message)
{
	struct kcpvpn_shard_message out = {{0}};

	message->shard = (uint8_t)follower->shard;
	memcpy(out.bytes, message, sizeof(*message));
	return follower->config.tell(follower->config.ctx, 0, &out);
}

static void note(struct kcpvpn_peer *peer, unsigned flags, struct mono now)
{
	struct native_follow *follow = &peer->data.follow;

	follow->flags |= (uint16_t)flags;
	follow->report_at = mono_min(follow->report_at,
		mono_is_never(follow->told_at)
			? now
			: mono_max(now, mono_add_us(follow->told_at, NATIVE_REPORT_US)));
}

/*
 * The same keys cannot be told again, since numbers would begin anew under them; so the leader is to shake hands again. It is
 * asked seldom: without memory for one session there may be none for the next.
 */
static void note_lack(struct kcpvpn_peer *peer, uint64_t serial, struct mono now)
{
	struct native_follow *follow = &peer->data.follow;

	follow->lacks_serial = serial;
	follow->lacks_at = mono_is_never(follow->lacks_at) ? now : mono_max(now, follow->lacks_at);
	follow->report_at = mono_min(follow->report_at, follow->lacks_at);
}

static void note_no_lack(struct kcpvpn_peer *peer)
{
	peer->data.follow.lacks_serial = 0;
	peer->data.follow.lacks_at = MONO_NEVER;
}

void native_follow_report(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_data_state *data = &peer->data;
	struct native_follow *follow = &data->follow;
	const struct native_session *cur = peer->hs.slots[NATIVE_SLOT_CUR];
	bool lacks = mono_due(follow->lacks_at, now);

	if (!mono_due(follow->report_at, now))
		return;
	struct native_shard_message message = {
		.verb = NATIVE_SHARD_REPORT,
		.peer = peer->id,
		.flags = (uint16_t)(follow->flags | (lacks ? NATIVE_SHARD_LACKS : 0)),
		.serial = follow->heard_serial,
		.size = follow->lost_bytes,
		.numbers =
			{
				.serial = lacks ? follow->lacks_serial
					  : cur ? cur->leader_serial
						: 0,
				.sealed = cur ? cur->data.sealed : 0,
				.next_pn = data->path ? kcp_path_next_pn(data->path) : 0,
				.out_bytes = data->counters.out_bytes,
			},
	};
	follow->told_at = now;
	if (!tell(peer->native, &message)) {
		follow->report_at = mono_add_us(now, NATIVE_REPORT_US);
		return;
	}
	if (lacks)
		follow->lacks_at = mono_add_us(now, NATIVE_LACKS_US);
	follow->report_at = follow->lacks_at;
	follow->flags = 0;
	follow->lost_bytes = 0;
}

void native_follow_heard(
	struct kcpvpn_peer *peer, const struct native_session *session, struct mono now)
{
	peer->data.follow.heard_serial = session->leader_serial;
	note(peer, NATIVE_SHARD_HEARD, now);
}

void native_follow_sent(struct kcpvpn_peer *peer, bool asks, struct mono now)
{
	if (native_is_follower(peer->native))
		note(peer, NATIVE_SHARD_SENT | (asks ? NATIVE_SHARD_ASKED : 0), now);
}

void native_follow_used(struct kcpvpn_peer *peer, struct mono now)
{
	if (native_is_follower(peer->native))
		note(peer, NATIVE_SHARD_USED, now);
}

void native_follow_from(struct kcpvpn_peer *peer, const struct native_address *from,
	size_t datagram_bytes, bool newest, struct mono now)
{
	struct native_follow *follow = &peer->data.follow;
	const struct native_address *address = &peer->data.address;
	const struct roam_address known = {address->remote, address->local, address->port};
	const struct roam_address seen = {from->remote, from->local, from->port};

	if (!newest || roam_address_equal(&known, &seen) ||
		(!mono_is_never(follow->moved_at) &&
			mono_diff_us(now, follow->moved_at) < NATIVE_MOVED_US))
		return;
	struct native_shard_message message = {
		.verb = NATIVE_SHARD_MOVED,
		.peer = peer->id,
		.size = (uint32_t)datagram_bytes,
		.address = *from,
	};
	message.address.port = NULL;
	message.port = native_port_number(peer->native, from->port);
	if (message.port > 0 && tell(peer->native, &message))
		follow->moved_at = now;
}

/* What the search for the path MTU does with losses in a row, as far as it can be done without it. */
void native_follow_fate(struct kcpvpn_peer *peer, uint32_t bytes, bool lost, struct mono now)
{
	struct native_follow *follow = &peer->data.follow;

	if (!native_is_follower(peer->native) || bytes <= PATH_MTU_BASE_BYTES)
		return;
	if (!lost) {
		follow->losses = 0;
		return;
	}
	if (follow->losses == 0 || bytes < follow->lost_bytes || follow->lost_bytes == 0)
		follow->lost_bytes = bytes;
	if (++follow->losses < PATH_MTU_LOSSES)
		return;
	follow->losses = 0;
	note(peer, NATIVE_SHARD_LOST, now);
}

void native_follow_want(struct kcpvpn_peer *peer)
{
	struct native_shard_message message = {.verb = NATIVE_SHARD_WANT, .peer = peer->id};
	struct native_follow *follow = &peer->data.follow;
	struct mono now = peer->native->now;

	if (!mono_is_never(follow->wanted_at) &&
		mono_diff_us(now, follow->wanted_at) < NATIVE_MOVED_US)
		return;
	if (tell(peer->native, &message))
		follow->wanted_at = now;
}

void native_follow_too_big(
	struct kcpvpn_native *native, const struct kcpvpn_endpoint *remote, size_t len)
{
	struct native_shard_message message = {
		.verb = NATIVE_SHARD_TOO_BIG,
		.size = (uint32_t)len,
		.address = {.remote = *remote},
	};

	(void)tell(native, &message);
}

/* ---- what is heard --------------------------------------------------------------------------------------------------- */

static struct native_session *session_of(struct kcpvpn_peer *peer, uint64_t serial)
{
	for (size_t i = 0; i < NATIVE_SLOTS; i++)
		if (peer->hs.slots[i] && peer->hs.slots[i]->leader_serial == serial)
			return peer->hs.slots[i];
	return NULL;
}

static void free_sessions(struct kcpvpn_peer *peer)
{
	for (size_t i = 0; i < NATIVE_SLOTS; i++)
		native_session_free(peer->hs.slots[i]);
}

/* What is not sent on stands anywhere but in CUR. @return a free place; the leader keeps no more sessions than there are */
static enum native_slot free_slot(struct kcpvpn_peer *peer)
{
	static const enum native_slot others[] = {
		NATIVE_SLOT_NEXT, NATIVE_SLOT_PREV, NATIVE_SLOT_OLD};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (!peer->hs.slots[others[i]])
			return others[i];
	native_session_free(peer->hs.slots[NATIVE_SLOT_OLD]);
	return NATIVE_SLOT_OLD;
}

static void send_on(struct kcpvpn_peer *peer, struct native_session *session, struct mono now)
{
	struct native_session *before = peer->hs.slots[NATIVE_SLOT_CUR];

	if (!session || session == before)
		return;
	peer->hs.slots[session->slot] = before;
	if (before)
		before->slot = session->slot;
	peer->hs.slots[NATIVE_SLOT_CUR] = session;
	session->slot = NATIVE_SLOT_CUR;
	native_data_follow(peer, now);
}

static void take_pair(
	struct kcpvpn_peer *peer, const struct native_shard_session *s, struct mono now)
{
	struct native_handshake_state *hs = &peer->hs;

	if (hs->has_pair && hs->pair_own == s->own_instance && hs->pair_peer == s->peer_instance)
		return;
	free_sessions(peer);
	hs->has_pair = true;
	hs->pair_own = s->own_instance;
	hs->pair_peer = s->peer_instance;
	native_data_restart(peer, now);
}

static void take_session(
	struct kcpvpn_peer *peer, const struct native_shard_message *message, struct mono now)
{
	struct kcpvpn_native *follower = peer->native;
	const struct native_shard_session *s = &message->session;
	struct native_session *session = session_of(peer, message->serial);

	native_session_free(session);
	peer->data.follow.beyond = 0;
	peer->hs.limits = s->params;
	peer->hs.has_limits = true;
	take_pair(peer, s, now);
	session = native_session_new(peer, true, now);
	if (session && !native_index_add_known(&follower->indices, &session->index,
			       NATIVE_INDEX_SESSION, s->index)) {
		native_session_free(session);
		session = NULL;
	}
	if (!session) {
		note_lack(peer, message->serial, now);
		return;
	}
	note_no_lack(peer);
	session->slot = free_slot(peer);
	peer->hs.slots[session->slot] = session;
	session->leader_serial = message->serial;
	session->remote_index = s->remote_index;
	session->made_at = s->made_at;
	session->confirmed_at = now;
	session->own_instance = s->own_instance;
	session->peer_instance = s->peer_instance;
	session->params = s->params;
	seal_key_init(&session->send, s->send_key);
	memcpy(session->recv, s->recv_key, sizeof(session->recv));
	native_data_limits(peer, now);
	if (message->flags & NATIVE_SHARD_SEND)
		send_on(peer, session, now);
	peer->data.follow.srtt_us = s->srtt_us;
	if (peer->data.path && s->srtt_us > 0)
		kcp_path_hint_rtt(peer->data.path, s->srtt_us);
}

static void erase(struct kcpvpn_peer *peer, struct native_session *session, struct mono now)
{
	bool cur = session && session->slot == NATIVE_SLOT_CUR;

	native_session_free(session);
	if (!cur)
		return;
	/* What was sent on it is nobody's to be answered any more. */
	peer->data.follow.flags &= (uint16_t) ~(NATIVE_SHARD_SENT | NATIVE_SHARD_ASKED);
	native_data_session_lost(peer, now);
}

static void take_endpoint(
	struct kcpvpn_peer *peer, const struct native_shard_message *message, struct mono now)
{
	struct native_data_state *data = &peer->data;

	data->address = message->address;
	data->address.port = native_port_named(peer->native, message->port);
	if (message->flags & NATIVE_SHARD_NEW_PATH) {
		data->follow.srtt_us = 0;
		if (data->path)
			kcp_path_reset_route(data->path, now);
		data->memory = (struct kcp_lt_memory){0};
		native_fec_new_path(peer);
		ecn_path_init(&data->ecn);
	}
	native_data_tell(peer, now);
}

static void forget_sessions(struct kcpvpn_peer *peer)
{
	bool had = peer->hs.slots[NATIVE_SLOT_CUR];

	free_sessions(peer);
	if (had)
		native_data_session_lost(peer, peer->native->now);
	native_data_drop(peer);
	note_no_lack(peer);
	peer->hs.has_pair = false;
}

static void forget(struct kcpvpn_peer *peer)
{
	struct native_data_state *data = &peer->data;

	forget_sessions(peer);
	data->follow.flags = 0;
	data->follow.report_at = MONO_NEVER;
	data->sending_shards = 0;
}

void native_follow_hear(struct kcpvpn_native *follower, const struct native_shard_message *message)
{
	struct kcpvpn_peer *peer = native_peer_by_id(follower, message->peer);
	struct mono now = follower->now;

	if (!peer || message->shard != follower->shard)
		return;
	switch (message->verb) {
	case NATIVE_SHARD_SESSION:
		take_session(peer, message, now);
		break;
	case NATIVE_SHARD_SEND_ON:
		send_on(peer, session_of(peer, message->serial), now);
		break;
	case NATIVE_SHARD_ERASE:
		if (message->serial == peer->data.follow.lacks_serial)
			note_no_lack(peer);
		erase(peer, session_of(peer, message->serial), now);
		break;
	case NATIVE_SHARD_ENDPOINT:
		take_endpoint(peer, message, now);
		break;
	case NATIVE_SHARD_MTU:
		path_mtu_follow(&peer->data.mtu, (uint16_t)message->size,
			(message->flags & NATIVE_SHARD_WAITING) != 0);
		native_path_apply_mtu(peer);
		break;
	case NATIVE_SHARD_SHARE:
		peer->data.sending_shards = (uint8_t)message->size;
		peer->data.rate_share_ppm = (uint32_t)message->serial;
		if (peer->data.path)
			kcp_path_set_shards(peer->data.path, message->size);
		native_data_apply_rate(peer);
		break;
	case NATIVE_SHARD_BEYOND:
		peer->data.follow.beyond = (uint8_t)message->size;
		forget_sessions(peer);
		native_peer_raise(peer, KCPVPN_PEER_EVENT_WRITABLE);
		break;
	case NATIVE_SHARD_FORGET:
		forget(peer);
		break;
	default:
		break;
	}
	native_peer_judge(peer);
	native_peer_touch(peer);
}

unsigned kcpvpn_peer_beyond(const struct kcpvpn_peer *peer)
{
	return peer->data.follow.beyond;
}
