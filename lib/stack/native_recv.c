/*
 * What the program takes: messages where they lie. A peer proved who it is, not that it is sane: a message longer than what we
 * told it, or in more pieces than the program has room for, is dropped here.
 */
#include "stack/native_state.h"

#include <errno.h>
#include <sys/uio.h>

_Static_assert((int)KCPVPN_NATIVE_PIECES_MAX == (int)KCP_PATH_PIECES_MAX, "as promised");

static void drop_bad(struct kcpvpn_peer *peer)
{
	struct iovec all[KCP_PATH_PIECES_MAX];
	size_t len;

	peer->data.counters.drop_malformed++;
	if (kcp_path_recv_iov(peer->data.path, all, KCP_PATH_PIECES_MAX, &len) > 0)
		kcp_path_recv_consume(peer->data.path);
}

int kcpvpn_peer_recv_peek(struct kcpvpn_peer *peer, struct iovec *iov, int iov_max, size_t *ret_len)
{
	struct kcp_path *path = peer->data.path;
	uint32_t longest =
		native_message_max(peer->config.tun_mtu, peer->native->config.super_max_bytes);

	while (path) {
		int pieces = kcp_path_recv_iov(path, iov, iov_max, ret_len);
		if (pieces == -EAGAIN)
			break;
		if (pieces > 0 && *ret_len <= longest)
			return pieces;
		drop_bad(peer);
	}
	return 0;
}

void kcpvpn_peer_recv_drop(struct kcpvpn_peer *peer, int64_t now_us)
{
	peer->native->now = mono_at_us(now_us);
	if (!peer->data.path)
		return;
	kcp_path_recv_consume(peer->data.path);
	peer->payload_at = peer->native->now;
	native_follow_used(peer, peer->native->now);
	native_peer_touch(peer);
}
