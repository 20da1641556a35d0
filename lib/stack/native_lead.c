/*
 * The leader's side of a session with several shards: what its followers have to know, told when it happens, and what they
 * tell back, which counts as if it had happened here.
 *
 * A follower hears of a session when it is confirmed, never before: so it knows no session whose params have no effect yet,
 * and what changes with a confirmation (the pair of instances, limits) comes in the same message as the keys. May it send on
 * it? Who answered the call may: the caller has it. Who called waits until something came on shard 0; until then followers
 * go on with the session before. Otherwise the other side's followers would get DATA on a session that theirs has not
 * confirmed yet, and on every rekey some datagrams would be lost.
 *
 * How many shards send matters to each: they share one way, and are to take no more of it than one would (kcp_lt.c). It is counted
 * here, by what followers report, and told when it changes. A shard that sends little beside the busiest is none.
 *
 * A rate that is ordered for the peer is split among them by the same count, each time, so that in all it is never more.
 *
 * Keys of shards are derived here: T itself leaves shard 0 for nobody.
 */
#include "crypto/handshake.h"
#include "stack/native_state.h"

#include <stdlib.h>
#include <string.h>

static unsigned own_shards(const struct kcpvpn_native *native)
{
	if (native_is_follower(native) || native->config.shards <= 1)
		return 1;
	return native->config.shards;
}

/* @return what a message to shard `shard` begins as */
static struct native_shard_message message_of(
	const struct kcpvpn_peer *peer, enum native_shard_verb verb)
{
	return (struct native_shard_message){.verb = (uint8_t)verb, .peer = peer->id};
}

static void tell(struct kcpvpn_native *native, unsigned shard, struct native_shard_message *message)
{
	struct kcpvpn_shard_message out = {{0}};

	message->shard = (uint8_t)shard;
	memcpy(out.bytes, message, sizeof(*message));
	(void)native->config.tell(native->config.ctx, shard, &out);
	explicit_bzero(&out, sizeof(out));
}

static void tell_all(struct kcpvpn_peer *peer, struct native_shard_message *message)
{
	for (unsigned shard = 1; shard < own_shards(peer->native); shard++)
		tell(peer->native, shard, message);
}

/* @return false without memory: then each shard takes itself for the only one */
static bool have_share(struct kcpvpn_peer *peer)
{
	struct native_data_state *data = &peer->data;

	if (data->share)
		return true;
	data->share = calloc(1, sizeof(*data->share));
	if (data->share)
		data->share->since = peer->native->now;
	return data->share;
}

/* @ret_sent  bytes of each since the last time */
static unsigned count_sending(struct native_share *share, uint64_t ret_sent[KCPVPN_SHARDS_MAX])
{
	uint64_t most = 0;
	unsigned count = 0;

	for (size_t i = 0; i < KCPVPN_SHARDS_MAX; i++) {
		ret_sent[i] = share->bytes[i] - share->before[i];
		share->before[i] = share->bytes[i];
		if (ret_sent[i] > most)
			most = ret_sent[i];
	}
	for (size_t i = 0; i < KCPVPN_SHARDS_MAX; i++)
		count += ret_sent[i] >= NATIVE_SHARE_BYTES &&
			 ret_sent[i] >= most / NATIVE_SHARE_PART;
	return count > 1 ? count : 1;
}

/*
 * What each shard may take of a rate that is ordered: what it sent of late and a quarter more, and a little that all have. Who sends
 * alone has nearly all of it after one turn, and those that are all held up come to have as much as each other.
 */
static void split_rate(const uint64_t sent[KCPVPN_SHARDS_MAX], unsigned shards,
	uint32_t ret_ppm[KCPVPN_SHARDS_MAX])
{
	enum {
		PPM = 1000000,
		OWN_PERCENT = 125,
		ALL_PERCENT = 12,
	};
	uint64_t total = 0;

	for (unsigned i = 0; i < shards; i++)
		total += sent[i];
	for (unsigned i = 0; i < shards; i++) {
		uint64_t own = total > 0 ? sent[i] * PPM / total : PPM / shards;
		ret_ppm[i] = (uint32_t)((own * OWN_PERCENT + PPM / shards * ALL_PERCENT) /
					(OWN_PERCENT + ALL_PERCENT));
	}
}

void native_lead_share(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_data_state *data = &peer->data;
	struct native_share *share = data->share;
	struct native_shard_message message = message_of(peer, NATIVE_SHARD_SHARE);
	uint64_t sent[KCPVPN_SHARDS_MAX];
	uint32_t ppm[KCPVPN_SHARDS_MAX] = {0};

	if (mono_diff_us(now, share->since) < NATIVE_SHARE_US)
		return;
	share->since = now;
	share->bytes[0] = data->counters.out_bytes;
	unsigned shards = kcpvpn_peer_shards(peer), count = count_sending(share, sent);
	bool capped = peer->config.rate_max_bps > 0 && shards > 1;
	if (count == (data->sending_shards ? data->sending_shards : 1) && !capped &&
		data->rate_share_ppm == 0)
		return;
	if (capped)
		split_rate(sent, shards, ppm);
	data->sending_shards = (uint8_t)count;
	data->rate_share_ppm = ppm[0];
	if (data->path)
		kcp_path_set_shards(data->path, count);
	native_data_apply_rate(peer);
	message.size = count;
	for (unsigned shard = 1; shard < own_shards(peer->native); shard++) {
		message.serial = ppm[shard];
		tell(peer->native, shard, &message);
	}
}

void native_lead_session(struct native_session *session, bool send)
{
	struct kcpvpn_peer *peer = session->peer;
	struct kcpvpn_native *native = peer->native;
	unsigned count = own_shards(native);

	if (session->params.shards < count)
		count = session->params.shards;
	session->shards = (uint8_t)count;
	if (count > 1)
		(void)have_share(peer);
	for (unsigned shard = 1; shard < count; shard++) {
		struct native_shard_message message = message_of(peer, NATIVE_SHARD_SESSION);
		message.flags = send ? NATIVE_SHARD_SEND : 0;
		message.serial = session->data.serial;
		message.session = (struct native_shard_session){
			.index = session->index.number + shard,
			.remote_index = session->remote_index + shard,
			.made_at = session->made_at,
			.srtt_us = peer->data.path ? kcp_path_srtt_us(peer->data.path) : 0,
			.own_instance = session->own_instance,
			.peer_instance = session->peer_instance,
			.params = session->params,
		};
		handshake_shard_key(session->send.key, shard, message.session.send_key);
		handshake_shard_key(session->recv, shard, message.session.recv_key);
		tell(native, shard, &message);
		explicit_bzero(&message, sizeof(message));
	}
	for (unsigned shard = count; shard < own_shards(native); shard++) {
		struct native_shard_message message = message_of(peer, NATIVE_SHARD_BEYOND);
		message.size = count;
		tell(native, shard, &message);
	}
}

static void tell_serial(struct native_session *session, enum native_shard_verb verb)
{
	for (unsigned shard = 1; shard < session->shards; shard++) {
		struct native_shard_message message = message_of(session->peer, verb);
		message.serial = session->data.serial;
		tell(session->peer->native, shard, &message);
	}
}

void native_lead_send_on(struct native_session *session)
{
	if (session->initiator)
		tell_serial(session, NATIVE_SHARD_SEND_ON);
}

void native_lead_erase(struct native_session *session)
{
	tell_serial(session, NATIVE_SHARD_ERASE);
	session->shards = 0;
}

void native_lead_endpoint(struct kcpvpn_peer *peer, bool new_path)
{
	struct native_shard_message message = message_of(peer, NATIVE_SHARD_ENDPOINT);

	message.flags = new_path ? NATIVE_SHARD_NEW_PATH : 0;
	message.address = peer->data.address;
	message.address.port = NULL;
	message.port = native_port_number(peer->native, peer->data.address.port);
	tell_all(peer, &message);
}

void native_lead_mtu(struct kcpvpn_peer *peer)
{
	struct native_data_state *data = &peer->data;
	struct native_shard_message message = message_of(peer, NATIVE_SHARD_MTU);
	bool waiting = path_mtu_waiting(&data->mtu);

	if (own_shards(peer->native) == 1 ||
		(data->led_mtu == path_mtu_size(&data->mtu) && data->led_waiting == waiting))
		return;
	data->led_mtu = path_mtu_size(&data->mtu);
	data->led_waiting = waiting;
	message.size = data->led_mtu;
	message.flags = waiting ? NATIVE_SHARD_WAITING : 0;
	tell_all(peer, &message);
}

void native_lead_forget(struct kcpvpn_peer *peer)
{
	struct native_shard_message message = message_of(peer, NATIVE_SHARD_FORGET);

	tell_all(peer, &message);
}

/* ---- what followers tell -------------------------------------------------------------------------------------------- */

static struct native_session *session_of(struct kcpvpn_peer *peer, uint64_t serial)
{
	for (size_t i = 0; i < NATIVE_SLOTS; i++)
		if (peer->hs.slots[i] && peer->hs.slots[i]->data.serial == serial)
			return peer->hs.slots[i];
	return NULL;
}

/* Something came on another shard: the same as if it had come here, but that it proves no address. */
static void heard(struct kcpvpn_peer *peer, uint64_t serial, struct mono now)
{
	struct native_data_state *data = &peer->data;
	struct native_session *session = session_of(peer, serial);

	/* It was of a session that is gone, and so may the one be who sent it. */
	if (!session || session->slot == NATIVE_SLOT_NEXT)
		return;
	(void)native_session_authentic(session, &data->address, now);
	data->last_rx_at = now;
	if (session->data.serial == data->confirm_serial)
		data->confirm_at = MONO_NEVER;
	if (liveness_heard(&data->live, false, now)) {
		peer->hs.trouble = NULL;
		native_peer_judge(peer);
	}
}

/*
 * What was sent, and how much. A report may be a tenth of a second old, and its session gone: then nothing of that matters any
 * more, least of all that an answer is due.
 */
static void take_sent(struct kcpvpn_peer *peer, const struct native_shard_message *message,
	struct native_session *session, struct mono now)
{
	struct native_data_state *data = &peer->data;

	if (data->running && message->flags & (NATIVE_SHARD_SENT | NATIVE_SHARD_ASKED))
		liveness_sent(&data->live, (message->flags & NATIVE_SHARD_ASKED) != 0, now);
	if (message->numbers.next_pn > peer->hs.shard_pn)
		peer->hs.shard_pn = message->numbers.next_pn;
	/* The most that one shard sealed counts; one too early is no harm. */
	if (message->numbers.sealed >= NATIVE_REKEY_DATAGRAMS &&
		message->numbers.sealed > session->data.sealed)
		session->data.sealed = message->numbers.sealed;
}

static void take_report(
	struct kcpvpn_peer *peer, const struct native_shard_message *message, struct mono now)
{
	struct native_data_state *data = &peer->data;
	struct native_session *session = session_of(peer, message->numbers.serial);

	if (session && message->flags & NATIVE_SHARD_LACKS &&
		session == peer->hs.slots[NATIVE_SLOT_CUR])
		native_initiate(peer, NATIVE_REASON_REKEY, now);
	else if (session)
		take_sent(peer, message, session, now);
	if (message->flags & NATIVE_SHARD_HEARD)
		heard(peer, message->serial, now);
	if (message->flags & NATIVE_SHARD_USED) {
		struct native_session *on = session_of(peer, message->serial);
		peer->payload_at = now;
		/* Sent on the one, received on the other. */
		if (session)
			native_session_loud(session, now);
		if (on)
			native_session_loud(on, now);
	}
	for (unsigned i = 0; message->flags & NATIVE_SHARD_LOST && i < PATH_MTU_LOSSES; i++)
		path_mtu_lost(&data->mtu, message->size, now);
	if (data->share && message->shard < KCPVPN_SHARDS_MAX) {
		data->share->bytes[message->shard] = message->numbers.out_bytes;
		native_lead_share(peer, now);
	}
}

/* The port may have been closed since it was told: then who is there will be seen by another one. */
static void moved(
	struct kcpvpn_peer *peer, const struct native_shard_message *message, struct mono now)
{
	struct native_address from = message->address;

	from.port = native_port_named(peer->native, message->port);
	if (from.port)
		native_path_heard(peer, &from, message->size, true, now);
}

static void hear(struct kcpvpn_native *leader, const struct native_shard_message *message)
{
	struct mono now = leader->now;

	if (message->verb == NATIVE_SHARD_TOO_BIG) {
		kcpvpn_native_too_big(leader, &message->address.remote, message->size, now.us);
		return;
	}
	struct kcpvpn_peer *peer = native_peer_by_id(leader, message->peer);
	if (!peer || !peer->enabled)
		return;
	switch (message->verb) {
	case NATIVE_SHARD_REPORT:
		take_report(peer, message, now);
		break;
	case NATIVE_SHARD_MOVED:
		moved(peer, message, now);
		break;
	case NATIVE_SHARD_WANT:
		kcpvpn_peer_want(peer, now.us);
		break;
	default:
		break;
	}
	native_peer_touch(peer);
}

void kcpvpn_native_hear(
	struct kcpvpn_native *native, const struct kcpvpn_shard_message *message, int64_t now_us)
{
	struct native_shard_message inner;

	native->now = mono_at_us(now_us);
	memcpy(&inner, message->bytes, sizeof(inner));
	if (native_is_follower(native))
		native_follow_hear(native, &inner);
	else
		hear(native, &inner);
	explicit_bzero(&inner, sizeof(inner));
}

struct kcpvpn_peer *kcpvpn_native_peer(const struct kcpvpn_native *native, uint64_t id)
{
	return native_peer_by_id(native, id);
}

uint64_t kcpvpn_peer_id(const struct kcpvpn_peer *peer)
{
	return peer->id;
}

unsigned kcpvpn_peer_shards(const struct kcpvpn_peer *peer)
{
	const struct native_session *cur = peer->hs.slots[NATIVE_SLOT_CUR];

	return cur ? cur->shards : 0;
}
