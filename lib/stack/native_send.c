/*
 * What the program gives: packets, classed and put into their lanes. Nothing queues here beyond what may leave with the next
 * flush; a packet that may not go is left to the program, whose queue knows which one to drop.
 */
#include "core/ip_header.h"
#include "stack/native_state.h"

#include <errno.h>

bool kcpvpn_peer_ready(struct kcpvpn_peer *peer)
{
	struct native_data_state *data = &peer->data;
	struct mono now = peer->native->now;
	bool ready = data->running && data->path && data->address.port &&
		     native_session_sending(peer, now) &&
		     kcp_path_room(data->path, KCP_PATH_BULK, 0, now);

	if (!ready)
		data->wants_room = true;
	return ready;
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

static enum kcp_path_class class_in_path(enum traffic_class class)
{
	switch (class) {
	case TRAFFIC_CLASS_RT:
		return KCP_PATH_RT;
	case TRAFFIC_CLASS_ACK:
		return KCP_PATH_ACK;
	case TRAFFIC_CLASS_CTL:
		return KCP_PATH_CTL;
	case TRAFFIC_CLASS_BULK:
	case TRAFFIC_CLASSES:
		break;
	}
	return KCP_PATH_BULK;
}

int kcpvpn_peer_send(struct kcpvpn_peer *peer, const void *packet, size_t len, int64_t now_us)
{
	struct native_data_state *data = &peer->data;
	struct mono now = peer->native->now = mono_at_us(now_us);
	struct ip_header header;

	if (!data->running || !data->address.port || !native_session_sending(peer, now) ||
		!native_data_have_path(peer)) {
		data->wants_room = true;
		return -ENOTCONN;
	}
	if (ip_header_parse(packet, len, &header) != IP_OK)
		return -EINVAL;
	if (len > peer->hs.limits.tun_mtu)
		return -EMSGSIZE;
	struct traffic_flow flow =
		traffic_class_of(&peer->native->data.classifier, packet, &header, 1, now);
	int error =
		kcp_path_send(data->path, class_in_path(flow.class), flow.number, packet, len, now);
	if (error == -EAGAIN)
		data->wants_room = true;
	if (error < 0)
		return error == -ENOMEM ? -ENOBUFS : error;
	peer->payload_at = now;
	native_peer_touch(peer);
	return 0;
}
