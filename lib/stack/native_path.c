/*
 * Where a peer is and what the way there carries: joins roaming and the search for the path MTU (both decide and send nothing)
 * with the datagrams that they want sent and the path that follows.
 *
 * An address comes into use in two ways only: a handshake proved it (native_path_proven()), or it answered a challenge. Then
 *
 *     another port       the address changes, all else goes on: a NAT made a new mapping
 *     another address    a new path: round trip, window and rate begin anew, the path MTU falls to what every path carries
 *                        until the old size, which is probed first, is confirmed. Numbers, lanes and keys go on.
 *
 * Challenges and probes are lost on purpose now and then, so their loss counts nowhere.
 *
 * Any authentic datagram may make its source a candidate, whatever session it came on, if its number is larger than all
 * before: the numbers are common to all sessions of an instance, so there can be only one newest. After crossing handshakes the two
 * sides may send on different sessions for as long as these live.
 */
#include "kcp/kcp_segment.h"
#include "session/session_frame.h"
#include "stack/native_state.h"

#include <string.h>

static const struct roam_address *to_roam(
	const struct native_address *address, struct roam_address *space)
{
	*space = (struct roam_address){address->remote, address->local, address->port};
	return space;
}

static uint8_t family_of(const struct kcpvpn_peer *peer)
{
	return peer->data.address.remote.family;
}

/* The address in use is another one than before. */
static void moved(struct kcpvpn_peer *peer, enum roam_change change, struct mono now)
{
	struct native_data_state *data = &peer->data;
	const struct roam_address *current = &data->roam.current;
	bool first = data->address.remote.family == 0;

	data->address = (struct native_address){current->remote, current->local, current->port};
	native_lead_endpoint(peer, change == ROAM_IP_CHANGED);
	if (change == ROAM_UNCHANGED)
		return;
	if (!first)
		data->moved_at = now;
	native_peer_raise(peer, KCPVPN_PEER_EVENT_ENDPOINT);
	if (change == ROAM_IP_CHANGED) {
		if (data->path)
			kcp_path_reset_route(data->path, now);
		data->memory = (struct kcp_lt_memory){0};
		ecn_path_init(&data->ecn);
		if (!first)
			native_fec_new_path(peer);
		/* It may leave by another link. What was told before there was any address is of the one it was to have. */
		if (!first)
			data->link_mtu_bytes = 0;
		path_mtu_switched(&data->mtu, family_of(peer), now);
	}
	native_path_start(peer, now);
	native_path_apply_mtu(peer);
	native_peer_judge(peer);
	native_peer_touch(peer);
}

static bool is_target(const struct kcpvpn_peer *peer, const struct kcpvpn_endpoint *remote)
{
	for (size_t i = 0; i < peer->target_count; i++)
		if (kcpvpn_endpoint_equal(&peer->targets[i].remote, remote))
			return true;
	return false;
}

/*
 * Who is pinned to its targets is not moved elsewhere by its own call either. Without targets there is nothing to be pinned to
 * but the address that it called from.
 */
static bool may_be_at(const struct kcpvpn_peer *peer, const struct native_address *address)
{
	return peer->config.roaming || peer->target_count == 0 || is_target(peer, &address->remote);
}

void native_path_proven(
	struct kcpvpn_peer *peer, const struct native_address *address, struct mono now)
{
	struct roam *roam = &peer->data.roam;
	struct roam_address space;

	if (!may_be_at(peer, address))
		return;
	/* A pinned one keeps its address, but among its targets the handshake chooses. */
	moved(peer,
		peer->config.roaming ? roam_proven(roam, to_roam(address, &space))
				     : roam_set(roam, to_roam(address, &space)),
		now);
}

const struct native_address *native_path_address(const struct kcpvpn_peer *peer)
{
	return &peer->data.address;
}

/*
 * Who is pinned and has no address yet (its call came by a copy from elsewhere first, so that nothing was proven) gets one like
 * anybody else, but only where it may be.
 */
void native_path_heard(struct kcpvpn_peer *peer, const struct native_address *from,
	size_t datagram_bytes, bool newest, struct mono now)
{
	struct native_data_state *data = &peer->data;
	struct roam_address space;

	if (native_is_follower(peer->native)) {
		native_follow_from(peer, from, datagram_bytes, newest, now);
		return;
	}
	if (!data->address.port && !may_be_at(peer, from)) {
		data->counters.roam[ROAM_PINNED]++;
		return;
	}
	data->counters.roam[roam_datagram(&data->roam, to_roam(from, &space), datagram_bytes,
		newest, now, &peer->native->random)]++;
}

void native_path_answered(struct kcpvpn_peer *peer, const struct native_address *from,
	const uint8_t *token, struct mono now)
{
	struct native_data_state *data = &peer->data;
	struct roam_address space;
	enum roam_change change;
	int64_t took_us = mono_diff_us(now, data->roam.candidate_since);

	if (!may_be_at(peer, from)) /* its targets are others by now */
		return;
	if (roam_response(&data->roam, token, to_roam(from, &space), now, &change) !=
		ROAM_ANSWER_SWITCHED)
		return;
	moved(peer, change, now);
	/* At most so long: the first challenge may have been lost. */
	if (data->path && change == ROAM_IP_CHANGED)
		kcp_path_hint_rtt(data->path, took_us);
}

void native_data_port_gone(
	struct kcpvpn_peer *peer, const struct kcpvpn_udp_port *port, struct mono now)
{
	struct native_data_state *data = &peer->data;

	native_tx_send(&peer->native->data.tx);
	if (data->roam.candidate.port == port)
		data->roam.candidate = (struct roam_address){0};
	if (data->address.port != port)
		return;
	(void)now;
	roam_init(&data->roam, peer->config.roaming);
	data->address = (struct native_address){0};
	data->link_mtu_bytes = 0;
	native_lead_endpoint(peer, false);
	native_peer_touch(peer);
}

/*
 * Nobody knows what changed. The own address may be gone, so the kernel chooses it again; the way may carry less, so its size is
 * checked; and the peer must see where we are now. The round trip and the rate are measured all the time.
 */
void native_data_ping(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_data_state *data = &peer->data;

	memset(&data->address.local, 0, sizeof(data->address.local));
	memset(&data->roam.current.local, 0, sizeof(data->roam.current.local));
	path_mtu_hint(&data->mtu, PATH_MTU_BASE_BYTES, now);
	native_lead_endpoint(peer, false);
	native_control_ping(peer, now);
}

/* ---- path MTU --------------------------------------------------------------------------------------------------- */

void native_path_start(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_data_state *data = &peer->data;
	const struct native_params *limits = &peer->hs.limits;
	uint32_t most = peer->native->config.datagram_max_bytes;

	if (!data->running || !peer->hs.has_limits || family_of(peer) == 0 ||
		native_is_follower(peer->native))
		return;
	if (limits->datagram_max < most)
		most = limits->datagram_max;
	path_mtu_start(&data->mtu, family_of(peer), (uint16_t)most, data->link_mtu_bytes,
		(limits->features & NATIVE_FEATURE_PATH_MTU) != 0, now);
}

void native_path_apply_mtu(struct kcpvpn_peer *peer)
{
	struct native_data_state *data = &peer->data;
	struct native_sizes sizes =
		native_output_sizes(peer->config.padding, path_mtu_size(&data->mtu));

	if (data->path)
		(void)kcp_path_set_mtu(data->path, sizes.payload_bytes, sizes.piece_bytes,
			!path_mtu_waiting(&data->mtu));
	native_lead_mtu(peer);
	if (data->inner_mtu_bytes == sizes.piece_bytes)
		return;
	data->inner_mtu_bytes = sizes.piece_bytes;
	native_peer_raise(peer, KCPVPN_PEER_EVENT_MTU);
}

void kcpvpn_peer_set_link_mtu(struct kcpvpn_peer *peer, uint32_t mtu_bytes, int64_t now_us)
{
	peer->native->now = mono_at_us(now_us);
	peer->data.link_mtu_bytes = mtu_bytes;
	if (peer->data.mtu.state == PATH_MTU_OFF)
		return; /* taken when the search begins */
	path_mtu_set_link(&peer->data.mtu, mtu_bytes, mono_at_us(now_us));
	native_peer_touch(peer);
}

uint32_t kcpvpn_peer_inner_mtu(const struct kcpvpn_peer *peer)
{
	return peer->data.inner_mtu_bytes;
}

/*
 * May be called by a port from within its send(): then the path stands in the middle of a flush and must not be changed. So only
 * the search hears of it; what follows is done with the next flush.
 */
void kcpvpn_native_too_big(struct kcpvpn_native *native, const struct kcpvpn_endpoint *remote,
	size_t len, int64_t now_us)
{
	if (native_is_follower(native)) {
		native_follow_too_big(native, remote, len);
		return;
	}
	list_for_each (it, &native->peers) {
		struct kcpvpn_peer *peer = list_entry(it, struct kcpvpn_peer, in_peers);
		if (!kcpvpn_endpoint_equal(&peer->data.address.remote, remote))
			continue;
		path_mtu_refused(&peer->data.mtu, len > UINT16_MAX ? UINT16_MAX : (uint32_t)len, 0,
			mono_at_us(now_us));
		native_peer_touch(peer);
	}
}

/* How long an answer may take. */
static int64_t answer_us(const struct kcpvpn_peer *peer)
{
	const struct kcp_path *path = peer->data.path;
	int64_t srtt_us = kcp_path_srtt_us(path);
	int64_t most_us = srtt_us + 4 * kcp_path_rttvar_us(path);

	if (srtt_us <= 0)
		return 0;
	if (most_us < srtt_us * 3 / 2)
		most_us = srtt_us * 3 / 2;
	return most_us + 10000;
}

static void send_probe(struct kcpvpn_peer *peer, struct path_mtu_probe probe, struct mono now)
{
	uint8_t body[SESSION_CONTROL_HEAD_BYTES + SESSION_CONTROL_MTU_BYTES];
	struct session_control_builder builder = session_control_build(body, sizeof(body));
	const struct native_control_out out = {
		.to = &peer->data.address,
		.extra = KCP_PATH_EXTRA_MTU_PROBE,
		.datagram_bytes = probe.size_bytes,
	};

	(void)session_control_put_mtu(
		&builder, SESSION_CONTROL_MTU_PROBE, probe.size_bytes, probe.id);
	(void)native_output_control(peer, &out, body, builder.len, now);
}

_Static_assert((int)ROAM_CHALLENGE_BYTES ==
		       (int)SEAL_OVERHEAD_BYTES + SESSION_FRAME_BYTES + KCP_OVERHEAD_BYTES +
			       SESSION_CONTROL_HEAD_BYTES + SESSION_CONTROL_TOKEN_BYTES,
	"never padded, so that it is as long as it was counted");

static void send_challenge(
	struct kcpvpn_peer *peer, const struct roam_challenge *challenge, struct mono now)
{
	uint8_t body[SESSION_CONTROL_HEAD_BYTES + SESSION_CONTROL_TOKEN_BYTES];
	struct session_control_builder builder = session_control_build(body, sizeof(body));
	const struct native_address to = {
		challenge->to.remote, challenge->to.local, challenge->to.port};
	const struct native_control_out out = {.to = &to, .extra = KCP_PATH_EXTRA_MTU_PROBE};

	(void)session_control_put_token(&builder, SESSION_CONTROL_PATH_CHALLENGE, challenge->token);
	(void)native_output_control(peer, &out, body, builder.len, now);
}

struct mono native_path_next_deadline(const struct kcpvpn_peer *peer)
{
	return mono_min(
		roam_next_deadline(&peer->data.roam), path_mtu_next_deadline(&peer->data.mtu));
}

void native_path_on_deadline(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_data_state *data = &peer->data;
	struct roam_challenge challenges[ROAM_CHALLENGES_MAX];
	struct path_mtu_probe probe;

	if (mono_due(roam_next_deadline(&data->roam), now)) {
		size_t count = roam_on_deadline(&data->roam, now, challenges);
		for (size_t i = 0; i < count; i++)
			send_challenge(peer, &challenges[i], now);
	}
	while (mono_due(path_mtu_next_deadline(&data->mtu), now) &&
		path_mtu_on_deadline(&data->mtu, answer_us(peer), now, &probe))
		send_probe(peer, probe, now);
}
