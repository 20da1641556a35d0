/*
 * What the program gives: packets, classed and put into their lanes. Nothing queues here beyond what may leave with the next
 * flush; a packet that may not go is left to the program, whose queue knows which one to drop.
 */
#include "core/stage_clock.h"
#include "core/super_message.h"
#include "stack/native_state.h"

#include <errno.h>

bool native_send_room(struct kcpvpn_peer *peer, size_t len)
{
	struct native_data_state *data = &peer->data;
	struct mono now = peer->native->now;
	bool ready = data->running && data->address.port && native_session_sending(peer, now) &&
		     native_data_have_path(peer) &&
		     kcp_path_room(data->path, KCP_PATH_BULK, len, now);

	if (!ready) {
		data->wants_room = true;
		data->room_bytes = len;
	}
	return ready;
}

bool kcpvpn_peer_room(struct kcpvpn_peer *peer, size_t len)
{
	struct mono now = peer->native->now;

	/* The peer is there, but the keys are too old for messages. */
	if (!native_session_sending(peer, now) && native_session_alive(peer, now))
		native_initiate(peer, NATIVE_REASON_DATA, now);
	return native_send_room(peer, len);
}

bool kcpvpn_peer_ready(struct kcpvpn_peer *peer)
{
	return kcpvpn_peer_room(peer, 0);
}

uint32_t kcpvpn_peer_super_max(const struct kcpvpn_peer *peer)
{
	const struct native_params *limits = &peer->hs.limits;

	/* What is longer than a piece has an order, and one segment that is lost would cost all. */
	if (peer->config.carriage == KCPVPN_CARRIAGE_DATAGRAM)
		return 0;
	return peer->hs.has_limits && (limits->features & NATIVE_FEATURE_SUPER) ? limits->super_max
										: 0;
}

void kcpvpn_peer_want(struct kcpvpn_peer *peer, int64_t now_us)
{
	struct mono now = peer->native->now = mono_at_us(now_us);

	peer->data.wants_room = true;
	if (!native_session_sending(peer, now))
		native_initiate(peer, NATIVE_REASON_DATA, now);
	native_data_tell(peer, now);
	native_peer_touch(peer);
}

static enum kcp_path_class class_in_path(enum traffic_class class, enum kcpvpn_carriage carriage)
{
	bool loose = carriage == KCPVPN_CARRIAGE_DATAGRAM;
	bool strict = carriage == KCPVPN_CARRIAGE_RELIABLE;

	switch (class) {
	case TRAFFIC_CLASS_RT:
		return strict ? KCP_PATH_BULK : KCP_PATH_RT;
	case TRAFFIC_CLASS_ACK:
		return strict ? KCP_PATH_BULK : KCP_PATH_ACK;
	case TRAFFIC_CLASS_CTL:
		return loose ? KCP_PATH_RT : KCP_PATH_CTL;
	case TRAFFIC_CLASS_BULK:
	case TRAFFIC_CLASSES:
		break;
	}
	return loose ? KCP_PATH_LOOSE : KCP_PATH_BULK;
}

/* @packet  not written to   @loan  NULL: copied */
static int send_packet(
	struct kcpvpn_peer *peer, void *packet, size_t len, void *loan, int64_t now_us)
{
	struct native_data_state *data = &peer->data;
	struct mono now = peer->native->now = mono_at_us(now_us);
	struct super_packet inner;

	if (!data->running || !data->address.port || !native_session_sending(peer, now) ||
		!native_data_have_path(peer)) {
		data->wants_room = true;
		return -ENOTCONN;
	}
	const struct super_limits limits = {peer->hs.limits.tun_mtu, kcpvpn_peer_super_max(peer)};
	enum super_verdict verdict = super_message_parse(packet, len, &limits, &inner);
	if (verdict != SUPER_OK)
		return verdict == SUPER_TOO_LONG || verdict == SUPER_TOO_MANY ? -EMSGSIZE : -EINVAL;
	struct traffic_flow flow = traffic_class_of(
		&peer->native->data.classifier, inner.bytes, &inner.ip, inner.segments, now);
	enum stage before = stage_enter(peer->native->data.tx.stages, STAGE_SEND);
	if (peer->config.dscp == KCPVPN_DSCP_INHERIT)
		kcp_path_mark(data->path, inner.ip.dscp);
	enum kcp_path_class class = class_in_path(flow.class, peer->config.carriage);
	int error = loan ? kcp_path_lend(data->path, class, flow.number, packet, len, loan, now)
			 : kcp_path_send(data->path, class, flow.number, packet, len, now);
	(void)stage_enter(peer->native->data.tx.stages, before);
	if (error == -EAGAIN) {
		data->wants_room = true;
		data->room_bytes = len;
	}
	if (error < 0)
		return error == -ENOMEM ? -ENOBUFS : error;
	peer->payload_at = now;
	native_follow_used(peer, now);
	native_peer_touch(peer);
	return 0;
}

int kcpvpn_peer_send(struct kcpvpn_peer *peer, const void *packet, size_t len, int64_t now_us)
{
	return send_packet(peer, (void *)(uintptr_t)packet, len, NULL, now_us);
}

int kcpvpn_peer_lend(struct kcpvpn_peer *peer, void *packet, size_t len, void *loan, int64_t now_us)
{
	return send_packet(peer, packet, len, loan, now_us);
}
