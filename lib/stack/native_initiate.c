/*
 * The calling side: INIT out; RESP, COOKIE and REJECT in.
 *
 * When something is sent is lib/session/attempt's decision; here stand where to and what. The addresses of a peer are tried
 * in an order: the one that was proven last, then those the program gave. Only two attempts are answerable, and an answer is
 * looked at only if it comes from an address that this attempt went to.
 *
 * Reading a RESP costs two X25519, so few are read; what is counted for that has a good mac1, or else anybody who sees the
 * index pass could use it up with garbage. COOKIE and REJECT are opened without counting: that costs no more than the tag of
 * a datagram of data, and what they can make us do has limits of its own.
 *
 * A good answer makes a session, but does not end the calls: the responder may have replaced its half of it by that of a
 * younger INIT, or be gone. Only an authentic datagram on the session ends them (native_session_authentic()).
 *
 * Whoever only records and repeats can do nothing here: an answer that is not for an INIT of the last 15 s names no
 * attempt, and one that does not open changes nothing.
 */
#include "stack/native_state.h"

#include "core/endian.h"
#include "kcp/kcp_path.h"

#include <string.h>

enum {
	SILENT_ATTEMPTS =
		2, /* whole ones without any answer: names may mean other addresses by now */
	MEMORY_WAIT_US = 1000000,
};

static const char trouble_silent[] =
	"no answer: not reachable, or it does not know this public key "
	"or network key";
static const char trouble_resp[] = "its answer does not open: another preshared key";
static const char trouble_params[] = "its answer makes no sense: another version?";
static const char trouble_feature[] = "a feature that one side requires is missing on the other";

/* ---- addresses ---------------------------------------------------------------------------------------------------- */

/* In order of preference. @return how many */
static size_t addresses_of(
	const struct kcpvpn_peer *peer, struct native_address ret_addresses[NATIVE_ADDRESSES])
{
	const struct native_address *proven = native_path_address(peer);
	size_t count = 0;

	if (proven->port)
		ret_addresses[count++] = *proven;
	for (uint8_t i = 0; i < peer->target_count; i++) {
		const struct kcpvpn_target *target = &peer->targets[i];
		if (proven->port == target->port &&
			kcpvpn_endpoint_equal(&proven->remote, &target->remote))
			continue;
		ret_addresses[count++] =
			(struct native_address){.remote = target->remote, .port = target->port};
	}
	return count;
}

static bool went_to(const struct native_attempt *attempt, const struct native_address *address)
{
	for (uint8_t i = 0; i < attempt->went_count; i++)
		if (attempt->went[i].port == address->port &&
			kcpvpn_endpoint_equal(&attempt->went[i].remote, &address->remote))
			return true;
	return false;
}

static bool may_be_called_at(const struct kcpvpn_peer *peer, const struct native_address *address)
{
	struct native_address addresses[NATIVE_ADDRESSES];
	size_t count = addresses_of(peer, addresses);

	for (size_t i = 0; i < count; i++)
		if (addresses[i].port == address->port &&
			kcpvpn_endpoint_equal(&addresses[i].remote, &address->remote))
			return true;
	return false;
}

/* Whether the attempt went there, and the peer may be there still: one that is pinned may have other targets by now. */
static bool called_at(const struct native_attempt *attempt, const struct native_address *from)
{
	return went_to(attempt, from) &&
	       (attempt->peer->config.roaming || may_be_called_at(attempt->peer, from));
}

static void note_went(struct native_attempt *attempt, const struct native_address *to)
{
	if (went_to(attempt, to))
		return;
	/* Rare: targets changed meanwhile. The address it went to first goes. */
	if (attempt->went_count == NATIVE_ADDRESSES)
		memmove(attempt->went, attempt->went + 1,
			sizeof(attempt->went) - sizeof(attempt->went[0]));
	else
		attempt->went_count++;
	attempt->went[attempt->went_count - 1] = (struct kcpvpn_target){to->remote, to->port};
}

static void send_init_to(struct kcpvpn_peer *peer, struct native_attempt *attempt,
	const struct native_address *to, struct mono now)
{
	struct native_handshake_state *hs = &peer->hs;
	/* A cookie is worth something only where it was given for: our own address there. */
	bool cookie = !mono_is_never(hs->cookie_at) &&
		      mono_diff_us(now, hs->cookie_at) < NATIVE_COOKIE_US &&
		      hs->cookie_family == to->remote.family;

	note_went(attempt, to);
	handshake_init_set_cookie(attempt->init, cookie ? hs->cookie : NULL);
	peer->native->data.tx.tos = native_output_tos(peer, 0, false);
	native_tx_plain(peer->native, to, attempt->init, sizeof(attempt->init));
	hs->init_sent++;
}

static void send_init(
	struct kcpvpn_peer *peer, struct native_attempt *attempt, uint8_t reach, struct mono now)
{
	struct native_address addresses[NATIVE_ADDRESSES];
	size_t count = addresses_of(peer, addresses);

	for (size_t i = 0; i < count && i < reach; i++)
		send_init_to(peer, attempt, &addresses[i], now);
}

/* ---- attempts ----------------------------------------------------------------------------------------------------- */

void native_attempt_free(struct native_attempt *attempt)
{
	if (!attempt)
		return;
	struct kcpvpn_native *native = attempt->peer->native;

	native_index_remove(&native->indices, &attempt->index);
	/* Wipes the keys. */
	secret_pool_return(&native->attempts, attempt);
}

void native_attempts_erase(struct kcpvpn_peer *peer)
{
	for (size_t i = 0; i < NATIVE_ATTEMPTS; i++) {
		native_attempt_free(peer->hs.attempts[i]);
		peer->hs.attempts[i] = NULL;
	}
}

static uint64_t next_seq(struct kcpvpn_peer *peer)
{
	struct native_handshake_state *hs = &peer->hs;
	int64_t realtime_us = peer->native->config.realtime_us(peer->native->config.ctx);
	uint64_t seq = realtime_us > 0 ? (uint64_t)realtime_us : 0;

	if (seq <= hs->last_seq)
		seq = hs->last_seq + 1;
	hs->last_seq = seq;
	return seq;
}

uint16_t native_features(const struct kcpvpn_native *native)
{
	unsigned super = native->config.super_max_bytes > 0 ? NATIVE_FEATURE_SUPER : 0;

	return (uint16_t)(NATIVE_FEATURES | super);
}

uint16_t native_features_allowed(const struct kcpvpn_peer *peer)
{
	return (uint16_t)(native_features(peer->native) &
			  ~(peer->config.ecn ? 0u : NATIVE_FEATURE_ECN));
}

uint16_t native_features_offered(const struct kcpvpn_peer *peer)
{
	return (uint16_t)(native_features_allowed(peer) &
			  ~(peer->config.persistent ? 0u : NATIVE_FEATURE_QUIET));
}

void native_peer_params(struct kcpvpn_peer *peer, struct native_params *ret_params)
{
	const struct kcpvpn_native *native = peer->native;

	uint64_t pn = peer->data.path ? kcp_path_next_pn(peer->data.path) : 0;

	if ((pn >= NATIVE_RENEW_NUMBER || peer->hs.shard_pn >= NATIVE_RENEW_NUMBER) &&
		peer->hs.own_instance == peer->hs.pair_own)
		native_handshake_renew_instance(peer);
	*ret_params = (struct native_params){
		.instance_id = peer->hs.own_instance,
		.features = native_features_offered(peer),
		.datagram_max = (uint16_t)native->config.datagram_max_bytes,
		.tun_mtu = peer->config.tun_mtu,
		.super_max = native->config.super_max_bytes,
		.fec_window_max = NATIVE_FEC_WINDOW,
		.shards = native->config.shards > 1 ? native->config.shards : 1,
		.version_max = NATIVE_VERSION,
		.rx_credit_bytes = NATIVE_RX_CREDIT_BYTES,
	};
}

void native_initiate_note_gone(struct kcpvpn_peer *peer)
{
	if (peer->hs.unheard > 0)
		peer->hs.trouble = trouble_silent;
}

/* What became of the attempt before: it is over now that another is made. */
static void note_silence(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_handshake_state *hs = &peer->hs;

	if (hs->heard)
		hs->unheard = 0;
	else if (hs->schedule.made > 0 && hs->unheard < UINT8_MAX)
		hs->unheard++;
	hs->heard = false;
	/* The keys of a peer that is gone are good for minutes still. */
	if (!native_session_alive(peer, now) || liveness_gone(&peer->data.live))
		native_initiate_note_gone(peer);
	if (hs->unheard >= SILENT_ATTEMPTS)
		native_peer_raise(peer, KCPVPN_PEER_EVENT_NAMES);
}

void native_initiate_make(struct kcpvpn_peer *peer, struct mono now)
{
	struct kcpvpn_native *native = peer->native;
	struct native_handshake_state *hs = &peer->hs;
	struct native_params params;
	uint8_t bytes[NATIVE_PARAMS_BYTES];

	/* What asked for it may be over since it stood in line. */
	if (!peer->enabled || !attempt_running(&hs->schedule))
		return;
	note_silence(peer, now);
	native_attempt_free(hs->attempts[NATIVE_ATTEMPTS - 1]);
	memmove(hs->attempts + 1, hs->attempts, sizeof(hs->attempts) - sizeof(hs->attempts[0]));
	hs->attempts[0] = NULL;
	struct native_attempt *attempt = secret_pool_take(&native->attempts);
	if (!attempt) {
		native->stats.drop_memory++;
		attempt_wait(&hs->schedule, mono_add_us(now, MEMORY_WAIT_US));
		return;
	}
	native_peer_params(peer, &params);
	params.init_seq = next_seq(peer);
	native_params_write(&params, NATIVE_PARAMS_INIT, bytes);
	attempt->peer = peer;
	attempt->made_at = now;
	attempt->init_seq = params.init_seq;
	attempt->own_instance = params.instance_id;
	attempt->own_tun_mtu = params.tun_mtu;
	native_index_add(&native->indices, &attempt->index, NATIVE_INDEX_ATTEMPT, &native->random);
	handshake_init_write(&attempt->shake, &native->secrets->self, peer->keys,
		attempt->index.number, bytes, &native->random, attempt->init);
	hs->attempts[0] = attempt;
	hs->started_at = now;
	send_init(peer, attempt, attempt_next_reach(&hs->schedule), now);
	/* A session on which nothing came is none: who gets answers but no data through calls less and less, too. */
	const struct native_session *session = native_session_alive(peer, now);
	attempt_made(&hs->schedule, session && !mono_is_never(session->first_rx_at), now,
		&native->random);
}

void native_initiate_on_deadline(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_handshake_state *hs = &peer->hs;
	bool session = native_session_alive(peer, now);

	switch (attempt_due(&hs->schedule, now)) {
	case ATTEMPT_NOTHING:
		return;
	case ATTEMPT_REPEAT:
		if (hs->attempts[0])
			send_init(peer, hs->attempts[0], attempt_next_reach(&hs->schedule), now);
		attempt_repeated(&hs->schedule, now, &peer->native->random);
		return;
	case ATTEMPT_NEW:
		if (!native_peer_callable(peer) || (!session && !native_peer_wanted(peer, now))) {
			attempt_stop(&hs->schedule);
			native_peer_judge(peer);
		} else if (!mono_is_never(hs->wait_until) && mono_before(now, hs->wait_until)) {
			attempt_wait(&hs->schedule, hs->wait_until);
		} else {
			hs->wait_until = MONO_NEVER;
			native_call_enqueue(peer, NATIVE_CALL_ATTEMPT, session);
		}
		return;
	}
}

/* Begins the schedule anew, unless it began just now. */
static void begin(struct kcpvpn_peer *peer, uint8_t reach, struct mono now)
{
	struct native_handshake_state *hs = &peer->hs;

	if (attempt_running(&hs->schedule) && !mono_is_never(hs->started_at) &&
		mono_diff_us(now, hs->started_at) < NATIVE_AGAIN_US)
		return;
	if (!attempt_running(&hs->schedule)) {
		hs->heard = false;
		hs->unheard = 0;
	}
	attempt_start(&hs->schedule, reach, now);
	if (!(hs->calls & NATIVE_CALL_ATTEMPT))
		native_initiate_on_deadline(peer, now);
}

void native_initiate(struct kcpvpn_peer *peer, enum native_reason reason, struct mono now)
{
	struct native_handshake_state *hs = &peer->hs;
	bool session = native_session_alive(peer, now);
	bool news = true;

	if (native_is_follower(peer->native)) {
		native_follow_want(peer);
		return;
	}
	if (reason == NATIVE_REASON_DATA) {
		news = mono_is_never(hs->wanted_at) ||
		       mono_diff_us(now, hs->wanted_at) > NATIVE_WANT_IDLE_US ||
		       !attempt_running(&hs->schedule);
		hs->wanted_at = now;
	}
	if (!peer->enabled || !native_peer_callable(peer))
		return;
	switch (reason) {
	case NATIVE_REASON_DATA:
		if (native_session_sending(peer, now) || !news)
			break;
		begin(peer, 1, now);
		break;
	case NATIVE_REASON_START:
	case NATIVE_REASON_NETWORK:
		if (!session && native_peer_wanted(peer, now))
			begin(peer, 1, now);
		break;
	case NATIVE_REASON_SILENCE:
		/* Whatever runs goes to all addresses from now on. */
		if (attempt_running(&hs->schedule))
			hs->schedule.reach = ATTEMPT_REACH_ALL;
		else
			begin(peer, ATTEMPT_REACH_ALL, now);
		break;
	case NATIVE_REASON_REKEY:
		if (!attempt_running(&hs->schedule))
			begin(peer, 1, now);
		break;
	}
	native_peer_judge(peer);
	native_peer_touch(peer);
}

/* ---- answers ------------------------------------------------------------------------------------------------------ */

/* The attempt that an answer names, if it comes from where that one went. */
static struct native_attempt *attempt_of(
	struct kcpvpn_native *native, const struct native_address *from, const uint8_t *bytes)
{
	uint32_t number = load_le32(bytes + 4);
	struct native_index *index = native_index_find(&native->indices, number);

	if (!index || index->kind != NATIVE_INDEX_ATTEMPT || index->number != number) {
		native->stats.drop_index++;
		return NULL;
	}
	struct native_attempt *attempt = list_entry(index, struct native_attempt, index);
	if (!called_at(attempt, from)) {
		native->stats.drop_address++;
		return NULL;
	}
	return attempt;
}

void native_initiate_resp(struct kcpvpn_native *native, const struct native_address *from,
	const uint8_t *bytes, struct mono now)
{
	native->stats.resp_received++;
	struct native_attempt *attempt = attempt_of(native, from, bytes);
	if (!attempt)
		return;
	if (!handshake_resp_mac1_ok(&native->secrets->self, bytes)) {
		native->stats.drop_mac1++;
		return;
	}
	if (!token_bucket_take(&attempt->resps, INIT_GUARD_RESP_RATE, now)) {
		native->stats.drop_rate++;
		return;
	}
	struct list *node =
		native->resps_count < NATIVE_SHAKES_RESP ? list_pop(&native->shakes_free) : NULL;
	if (!node) {
		native->stats.drop_queue++;
		return;
	}
	struct native_shake *shake = list_entry(node, struct native_shake, node);
	shake->from = *from;
	memcpy(shake->bytes, bytes, HANDSHAKE_RESP_BYTES);
	list_add_tail(&native->resps, node);
	native->resps_count++;
}

/* The answer to one attempt is good: older ones are over, younger ones go on until the session is confirmed. */
static void end_attempts_from(struct kcpvpn_peer *peer, const struct native_attempt *attempt)
{
	bool found = false;

	for (size_t i = 0; i < NATIVE_ATTEMPTS; i++) {
		if (peer->hs.attempts[i] == attempt)
			found = true;
		if (!found)
			continue;
		native_attempt_free(peer->hs.attempts[i]);
		peer->hs.attempts[i] = NULL;
	}
}

static void refused(struct kcpvpn_peer *peer, const char *trouble, struct mono now)
{
	struct native_handshake_state *hs = &peer->hs;

	hs->trouble = trouble;
	hs->wait_until = mono_add_us(now, NATIVE_FEATURE_WAIT_US);
	native_attempts_erase(peer);
	attempt_wait(&hs->schedule, hs->wait_until);
	native_peer_touch(peer);
}

static void take_resp(struct native_attempt *attempt, const struct native_address *from,
	const struct native_params *params, struct mono now)
{
	struct kcpvpn_peer *peer = attempt->peer;
	struct kcpvpn_native *native = peer->native;
	bool newest = peer->hs.attempts[0] == attempt;
	struct native_session *session = native_session_new(peer, true, now);

	if (!session) {
		native->stats.drop_memory++;
		return;
	}
	native_session_set_keys(session, &native->secrets->keys);
	native_index_replace(
		&native->indices, &attempt->index, &session->index, NATIVE_INDEX_SESSION);
	session->remote_index = params->sender_index;
	session->init_seq = attempt->init_seq;
	session->own_instance = attempt->own_instance;
	session->own_tun_mtu = attempt->own_tun_mtu;
	session->peer_instance = params->instance_id;
	session->params = *params;
	session->params.features &= native_features_offered(peer);
	end_attempts_from(peer, attempt);
	attempt_answered(&peer->hs.schedule, newest, now);
	/* Which of our addresses it came to is for the kernel to choose anew as routes change. */
	struct native_address address = {.remote = from->remote, .port = from->port};
	native_session_confirm(session, &address, now);
}

void native_initiate_resp_work(
	struct kcpvpn_native *native, const struct native_shake *shake, struct mono now)
{
	struct native_index *index =
		native_index_find(&native->indices, load_le32(shake->bytes + 4));
	uint8_t bytes[NATIVE_PARAMS_BYTES];
	struct native_params params;

	/* It may be gone since it was queued. */
	if (!index || index->kind != NATIVE_INDEX_ATTEMPT) {
		native->stats.drop_index++;
		return;
	}
	struct native_attempt *attempt = list_entry(index, struct native_attempt, index);
	struct kcpvpn_peer *peer = attempt->peer;
	enum handshake_verdict verdict = handshake_resp_open(&attempt->shake,
		&native->secrets->self, peer->keys, shake->bytes, bytes, &native->secrets->keys);
	if (verdict == HANDSHAKE_BAD_MAC1) {
		native->stats.drop_mac1++;
		return;
	}
	peer->hs.heard = true;
	if (verdict != HANDSHAKE_OK) {
		native->stats.drop_handshake++;
		peer->hs.drop_psk++;
		if (!native_session_alive(peer, now))
			peer->hs.trouble = trouble_resp;
		return;
	}
	if (!native_params_read(bytes, NATIVE_PARAMS_RESP, &params)) {
		native->stats.drop_params++;
		peer->hs.trouble = trouble_params;
	} else if (params.required & ~native_features(native)) {
		refused(peer, trouble_feature, now);
	} else {
		take_resp(attempt, &shake->from, &params, now);
	}
	handshake_keys_wipe(&native->secrets->keys);
}

void native_initiate_cookie(struct kcpvpn_native *native, const struct native_address *from,
	const uint8_t *bytes, struct mono now)
{
	native->stats.cookie_received++;
	struct native_attempt *attempt = attempt_of(native, from, bytes);
	if (!attempt)
		return;
	struct kcpvpn_peer *peer = attempt->peer;
	struct native_handshake_state *hs = &peer->hs;
	if (handshake_cookie_open(&attempt->shake, peer->keys, bytes, hs->cookie) != HANDSHAKE_OK) {
		native->stats.drop_handshake++;
		return;
	}
	hs->heard = true;
	hs->cookie_at = now;
	hs->cookie_family = from->remote.family;
	/* At once, but once: who sends cookies that are worth nothing gets no more of it than the schedule gives. */
	if (attempt->cookie_used)
		return;
	attempt->cookie_used = true;
	struct native_address to = {.remote = from->remote, .port = from->port};
	send_init_to(peer, attempt, &to, now);
}

void native_initiate_reject(struct kcpvpn_native *native, const struct native_address *from,
	const uint8_t *bytes, struct mono now)
{
	struct handshake_reject reject;

	native->stats.reject_received++;
	struct native_attempt *attempt = attempt_of(native, from, bytes);
	if (!attempt)
		return;
	struct kcpvpn_peer *peer = attempt->peer;
	struct native_handshake_state *hs = &peer->hs;
	if (handshake_reject_open(&attempt->shake, bytes, &reject) != HANDSHAKE_OK) {
		native->stats.drop_handshake++;
		return;
	}
	hs->heard = true;
	if (reject.reason == HANDSHAKE_REJECT_FEATURE) {
		refused(peer, trouble_feature, now);
		return;
	}
	/* Late word of an older attempt says nothing that the newer one does not know. */
	if (reject.reason != HANDSHAKE_REJECT_STALE || reject.last_seq >= NATIVE_INIT_SEQ_END - 1 ||
		reject.last_seq < attempt->init_seq || attempt != hs->attempts[0])
		return;
	/* The next attempt is good in any case; only how often there is one at once has a limit. */
	if (reject.last_seq > hs->last_seq)
		hs->last_seq = reject.last_seq;
	if (!token_bucket_take(&hs->resyncs, INIT_GUARD_RESYNC_RATE, now))
		return;
	attempt_start(&hs->schedule, attempt_next_reach(&hs->schedule), now);
	native_initiate_on_deadline(peer, now);
	native_peer_touch(peer);
}
