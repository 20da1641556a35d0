/*
 * Probes that a person asked for: a PING with a random token, and the time until a PONG brings the same one back. Liveness
 * has PINGs of its own, to which nobody waits for the answer in particular; these are told apart by their tokens, which
 * nobody can guess.
 *
 * A probe leaves at once and takes no part in loss, window or the search for the path's MTU: it is meant to measure, also
 * sizes that are lost for good, and must not change what it measures. The host may refuse a size; the search is told that as
 * of any datagram.
 */
#include "stack/native_state.h"

#include <errno.h>
#include <string.h>

int kcpvpn_peer_ping(
	struct kcpvpn_peer *peer, uint32_t size_bytes, int64_t now_us, uint64_t *ret_ping)
{
	uint8_t body[SESSION_CONTROL_HEAD_BYTES + SESSION_CONTROL_TOKEN_BYTES];
	struct session_control_builder builder = session_control_build(body, sizeof(body));
	struct kcpvpn_native *native = peer->native;
	struct mono now = mono_at_us(now_us);
	struct native_ping *ping = &native->pings[native->pings_sent % KCPVPN_NATIVE_PINGS_MAX];
	const struct native_control_out out = {
		.to = &peer->data.address,
		.extra = KCP_PATH_EXTRA_MTU_PROBE,
		.datagram_bytes = size_bytes,
		.most_bytes = path_mtu_size(&peer->data.mtu),
	};

	if (size_bytes && (size_bytes < KCPVPN_NATIVE_PING_MIN_BYTES ||
				  size_bytes > native->config.datagram_max_bytes))
		return -EMSGSIZE;
	native->now = now;
	if (!native_output_possible(peer, now))
		return -ENOTCONN;
	*ping = (struct native_ping){
		.peer = peer,
		.number = native->pings_sent,
		.sent_at = now,
		.took_us = -1,
	};
	rand_fill(&native->random, ping->token, sizeof(ping->token));
	(void)session_control_put_token(&builder, SESSION_CONTROL_PING, ping->token);
	if (!native_output_control(peer, &out, body, builder.len, now)) {
		ping->peer = NULL;
		return -EMSGSIZE;
	}
	native_peer_touch(peer);
	*ret_ping = native->pings_sent++;
	return 0;
}

int64_t kcpvpn_peer_pong(const struct kcpvpn_peer *peer, uint64_t number)
{
	const struct native_ping *ping = &peer->native->pings[number % KCPVPN_NATIVE_PINGS_MAX];

	return ping->peer == peer && ping->number == number ? ping->took_us : -1;
}

void native_ping_answered(struct kcpvpn_peer *peer, const uint8_t *token, struct mono now)
{
	struct native_ping *pings = peer->native->pings;

	for (size_t i = 0; i < KCPVPN_NATIVE_PINGS_MAX; i++) {
		struct native_ping *ping = &pings[i];
		if (ping->peer == peer && ping->took_us < 0 &&
			memcmp(ping->token, token, sizeof(ping->token)) == 0)
			ping->took_us = mono_diff_us(now, ping->sent_at);
	}
}

void native_ping_forget(struct kcpvpn_peer *peer)
{
	for (size_t i = 0; i < KCPVPN_NATIVE_PINGS_MAX; i++) {
		if (peer->native->pings[i].peer == peer)
			peer->native->pings[i].peer = NULL;
	}
}
