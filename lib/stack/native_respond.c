/*
 * The called side: the ladder that an INIT climbs, cheapest step first, so that strangers cost little.
 *
 *     native_respond_init(), at arrival                        native_respond_work(), one at a time
 *       mac1: does it know our public key?                       X25519: whose is it?
 *       answered already? the same answer again                  known, and up?
 *       under load: a cookie that proves the address,            its params open (no X25519: ss is kept)
 *         and what is left in the buckets                        newer than all before and than our start, else REJECT
 *       into the line                                            not more than 10 a second of one peer
 *                                                                RESP, and a session that waits to be confirmed
 *
 * The line is bounded. When it is full those who proved their address by a cookie push out those who did not; a flood of
 * spoofed INITs fills it only up to the point where load is noticed, and from then on cookies are asked for.
 *
 * Nothing is allocated for strangers: the first allocation belongs to a known peer whose INIT is fresh.
 */
#include "stack/native_state.h"

#include "core/endian.h"

#include <string.h>

enum {
	MAC1_AT = HANDSHAKE_INIT_BYTES - 2 * HANDSHAKE_MAC_BYTES,
	MAC2_AT = HANDSHAKE_INIT_BYTES - HANDSHAKE_MAC_BYTES,
	SHAKES_INIT_MAX = NATIVE_SHAKES - NATIVE_SHAKES_RESP,
	UNCONFIRMED_TROUBLE = 3, /* answers in a row that nobody confirmed */
};

_Static_assert((int)ANSWER_CACHE_KEY_BYTES == (int)HANDSHAKE_MAC_BYTES, "answers go by mac1");
_Static_assert((int)ANSWER_CACHE_ANSWER_BYTES == (int)HANDSHAKE_RESP_BYTES, "answers are RESPs");
_Static_assert((int)SHAKES_INIT_MAX > (int)INIT_GUARD_LOAD_QUEUE,
	"load is noticed before the line is full");

static const char trouble_unconfirmed[] =
	"it calls, but confirms no answer: another preshared key, "
	"or they do not reach it";

/* ---- at arrival --------------------------------------------------------------------------------------------------- */

/* @return true if the INIT was dealt with: it has been answered before */
static bool answer_again(struct kcpvpn_native *native, const struct native_address *from,
	const uint8_t *bytes, struct mono now)
{
	uint8_t answer[HANDSHAKE_RESP_BYTES];

	switch (answer_cache_find(&native->answers, bytes + MAC1_AT, &from->remote, now, answer)) {
	case ANSWER_CACHE_ANSWER:
		native_tx_plain(native, from, answer, sizeof(answer));
		native->stats.resp_repeated++;
		return true;
	case ANSWER_CACHE_EXHAUSTED:
		native->stats.drop_rate++;
		return true;
	case ANSWER_CACHE_UNKNOWN:
	case ANSWER_CACHE_VERDICTS:
		break;
	}
	return false;
}

static bool line_has(
	const struct list *line, const struct native_address *from, const uint8_t *bytes)
{
	list_for_each (at, line) {
		const struct native_shake *shake = list_entry(at, struct native_shake, node);
		if (memcmp(shake->bytes + MAC1_AT, bytes + MAC1_AT, HANDSHAKE_MAC_BYTES) == 0 &&
			shake->from.port == from->port &&
			kcpvpn_endpoint_equal(&shake->from.remote, &from->remote))
			return true;
	}
	return false;
}

static bool waits_already(
	const struct kcpvpn_native *native, const struct native_address *from, const uint8_t *bytes)
{
	return line_has(&native->inits, from, bytes) ||
	       line_has(&native->inits_proven, from, bytes);
}

/* A place in the line. NULL if there is none for who did not prove more than those who wait. */
static struct list *place_for(struct kcpvpn_native *native, bool proven)
{
	if (native->inits_count < SHAKES_INIT_MAX) {
		native->inits_count++;
		return list_pop(&native->shakes_free);
	}
	struct list *evicted = proven ? list_pop(&native->inits) : NULL;
	native->stats.drop_queue++;
	return evicted;
}

static void send_cookie(struct kcpvpn_native *native, const struct native_address *from,
	const uint8_t *bytes, struct mono now)
{
	uint8_t cookie[HANDSHAKE_MAC_BYTES];
	uint8_t datagram[HANDSHAKE_COOKIE_BYTES];

	handshake_cookies_make(
		&native->secrets->cookies, &from->remote, now, &native->random, cookie);
	handshake_cookie_write(&native->secrets->self, bytes, cookie, &native->random, datagram);
	native_tx_plain(native, from, datagram, sizeof(datagram));
	native->stats.cookies_sent++;
}

void native_respond_init(struct kcpvpn_native *native, const struct native_address *from,
	const uint8_t *bytes, struct mono now)
{
	native->stats.init_received++;
	if (!handshake_init_mac1_ok(&native->secrets->self, bytes)) {
		native->stats.drop_mac1++;
		return;
	}
	if (load_le32(bytes + 4) % NATIVE_INDEX_STEP != 0) {
		native->stats.drop_params++;
		return;
	}
	if (answer_again(native, from, bytes, now))
		return;
	if (waits_already(native, from, bytes)) {
		native->stats.drop_queue++;
		return;
	}
	bool loaded = init_guard_arrived(&native->guard, native->inits_count, now);
	bool proven =
		handshake_cookies_mac2_ok(&native->secrets->cookies, bytes, &from->remote, now);
	if (loaded) {
		native->stats.under_load++;
		if (!proven) {
			native->stats.drop_mac2++;
			if (init_guard_cookie(&native->guard, &from->remote, now))
				send_cookie(native, from, bytes, now);
			return;
		}
		if (init_guard_admit(&native->guard, &from->remote, now) != INIT_GUARD_PASS) {
			native->stats.drop_rate++;
			return;
		}
	}
	struct list *node = place_for(native, proven);
	if (!node)
		return;
	struct native_shake *shake = list_entry(node, struct native_shake, node);
	shake->from = *from;
	memcpy(shake->bytes, bytes, HANDSHAKE_INIT_BYTES);
	list_add_tail(proven ? &native->inits_proven : &native->inits, node);
}

/* ---- one at a time ------------------------------------------------------------------------------------------------ */

/*
 * Not counted: a bucket of the peer could be kept empty by whoever repeats what he recorded of it, and it would never learn
 * that its clock is behind. A REJECT costs next to nothing after the X25519 that led here, is a third of what caused it,
 * and under load nobody comes here who did not prove his address.
 */
static void send_reject(struct kcpvpn_peer *peer, const struct native_address *from,
	enum handshake_reject_reason reason)
{
	struct kcpvpn_native *native = peer->native;
	const struct native_session *next = peer->hs.slots[NATIVE_SLOT_NEXT];
	struct handshake_reject reject = {
		.last_seq = peer->hs.committed_seq,
		.reason = (uint8_t)reason,
	};
	uint8_t datagram[HANDSHAKE_REJECT_BYTES];

	/* What waits may be of a caller that is gone. One whose clock is no help must get past that, too. */
	if (next && next->init_seq > reject.last_seq)
		reject.last_seq = next->init_seq;
	handshake_reject_write(&native->secrets->responder, &reject, &native->random, datagram);
	native_tx_plain(native, from, datagram, sizeof(datagram));
	native->stats.rejects_sent++;
}

void native_respond_unconfirmed(struct native_session *next)
{
	struct kcpvpn_peer *peer = next->peer;
	struct native_handshake_state *hs = &peer->hs;

	hs->unconfirmed++;
	if (hs->unconfirmed >= UNCONFIRMED_TROUBLE && !hs->slots[NATIVE_SLOT_CUR])
		hs->trouble = trouble_unconfirmed;
	native_session_free(next);
}

/*
 * Who starts anew has no memory of numbers, so all that was ever recorded of the peer would be new, and each of it would take
 * from what the peer may cost. What is older than we are is none of its calls, our clock says, as long as nothing better is
 * known.
 *
 * The clock is asked again and again because it may be set long after the start. But the bound only rises, and by great steps:
 * who was told a number by REJECT stays above it however the clock is slewed. And once the peers have found each other it
 * stays, whatever becomes of the clock.
 */
void native_respond_bound_seq(struct kcpvpn_peer *peer, struct mono now)
{
	const struct kcpvpn_native_config *config = &peer->native->config;
	struct native_handshake_state *hs = &peer->hs;
	int64_t realtime_us = hs->handshakes == 0 ? config->realtime_us(config->ctx) : 0;

	if (realtime_us <= 0)
		return;
	int64_t bound = realtime_us - mono_diff_us(now, peer->added_at) - NATIVE_SEQ_SLACK_US;
	if (bound > 0 && (uint64_t)bound > hs->committed_seq + NATIVE_SEQ_SLACK_US)
		hs->committed_seq = (uint64_t)bound;
}

/* Whether a known peer's INIT is to be answered; counts and rejects if not. */
static bool admitted(struct kcpvpn_peer *peer, const struct native_address *from,
	const struct native_params *params, struct mono now)
{
	struct kcpvpn_native *native = peer->native;
	struct native_handshake_state *hs = &peer->hs;
	const struct native_session *next = hs->slots[NATIVE_SLOT_NEXT];

	native_respond_bound_seq(peer, now);
	if (params->init_seq <= hs->committed_seq) {
		native->stats.drop_stale++;
		hs->drop_stale++;
		send_reject(peer, from, HANDSHAKE_REJECT_STALE);
		return false;
	}
	if (next && params->init_seq <= next->init_seq &&
		mono_diff_us(now, next->made_at) < NATIVE_PENDING_US) {
		native->stats.drop_pending++;
		send_reject(peer, from, HANDSHAKE_REJECT_STALE);
		return false;
	}
	if (params->required & ~native_features(native)) {
		native->stats.drop_params++;
		hs->trouble = "it requires a feature that this version does not have";
		send_reject(peer, from, HANDSHAKE_REJECT_FEATURE);
		return false;
	}
	if (!native->config.handshake_limits_off &&
		!token_bucket_take(&hs->inits, INIT_GUARD_PEER_RATE, now)) {
		native->stats.drop_rate++;
		return false;
	}
	return true;
}

static void answer(struct kcpvpn_peer *peer, const struct native_shake *shake,
	const struct native_params *params, struct mono now)
{
	struct kcpvpn_native *native = peer->native;
	struct native_handshake_state *hs = &peer->hs;
	struct native_session *session = native_session_new(peer, false, now);
	struct native_params own;
	uint8_t bytes[NATIVE_PARAMS_BYTES];
	uint8_t datagram[HANDSHAKE_RESP_BYTES];

	if (!session) {
		native->stats.drop_memory++;
		return;
	}
	native_index_add(&native->indices, &session->index, NATIVE_INDEX_SESSION, &native->random);
	native_peer_params(peer, &own);
	own.sender_index = session->index.number;
	own.features = params->features & native_features_allowed(peer);
	native_params_write(&own, NATIVE_PARAMS_RESP, bytes);
	if (handshake_resp_write(&native->secrets->responder, peer->keys, bytes, &native->random,
		    datagram, &native->secrets->keys) != HANDSHAKE_OK) {
		native->stats.drop_handshake++;
		native_session_free(session);
		return;
	}
	native_session_set_keys(session, &native->secrets->keys);
	handshake_keys_wipe(&native->secrets->keys);
	session->remote_index = load_le32(shake->bytes + 4);
	session->init_seq = params->init_seq;
	session->own_instance = own.instance_id;
	session->own_tun_mtu = own.tun_mtu;
	session->peer_instance = params->instance_id;
	session->params = *params;
	session->params.features = own.features;
	session->address = shake->from;
	memcpy(session->mac1, shake->bytes + MAC1_AT, sizeof(session->mac1));
	if (hs->slots[NATIVE_SLOT_NEXT])
		native_respond_unconfirmed(hs->slots[NATIVE_SLOT_NEXT]);
	hs->slots[NATIVE_SLOT_NEXT] = session;
	/* Without memory for it a repeated INIT goes unanswered, and the next attempt is answered. */
	(void)answer_cache_put(&native->answers, shake->bytes + MAC1_AT, datagram, now);
	native->data.tx.tos = native_output_tos(peer, 0, false);
	native_tx_plain(native, &shake->from, datagram, sizeof(datagram));
	hs->resp_sent++;
	native->stats.resp_sent++;
	native_peer_touch(peer);
}

static void climb(struct kcpvpn_native *native, const struct native_shake *shake, struct mono now)
{
	struct handshake_responder *responder = &native->secrets->responder;
	uint8_t public_key[HANDSHAKE_KEY_BYTES];
	uint8_t bytes[NATIVE_PARAMS_BYTES];
	struct native_params params;

	if (handshake_init_open_static(
		    &native->secrets->self, shake->bytes, responder, public_key) != HANDSHAKE_OK) {
		native->stats.drop_handshake++;
		return;
	}
	struct kcpvpn_peer *peer = native_peer_by_key(native, public_key);
	if (!peer) {
		native->stats.drop_unknown_peer++;
		return;
	}
	if (!peer->enabled) {
		native->stats.drop_down++;
		return;
	}
	if (handshake_init_open_params(responder, peer->keys, bytes) != HANDSHAKE_OK) {
		native->stats.drop_handshake++;
		peer->hs.drop_psk++;
		return;
	}
	if (!native_params_read(bytes, NATIVE_PARAMS_INIT, &params)) {
		native->stats.drop_params++;
		return;
	}
	if (admitted(peer, &shake->from, &params, now))
		answer(peer, shake, &params, now);
}

void native_respond_work(
	struct kcpvpn_native *native, const struct native_shake *shake, struct mono now)
{
	/* A copy from another address may have been answered since it was queued. */
	if (answer_again(native, &shake->from, shake->bytes, now))
		return;
	climb(native, shake, now);
	handshake_responder_wipe(&native->secrets->responder);
}
