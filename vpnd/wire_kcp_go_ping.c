/*
 * A probe on the kcp-go wire is a WASK, which any KCP answers with WINS at once, or with its next interval's flush. Neither
 * carries a number, so one waits at a time, and the first WINS that comes is taken for its answer. Keepalive asks the same
 * way; an answer to that may then stand for the probe's, which was asked a round trip later at most.
 */
#include "vpnd/peer.h"
#include "vpnd/wire_kcp_go.h"
#include "vpnd/wire_kcp_go_peer.h"

#include <errno.h>

static uint64_t windows(const struct kcpvpn_conv *conv)
{
	struct kcpvpn_conv_stats stats;

	kcpvpn_conv_stats(conv, &stats);
	return stats.told_windows;
}

int kcp_go_ping(struct wire *base, struct peer *peer, uint32_t size_bytes, uint64_t *ret_ping)
{
	struct kcp_go *wire = (struct kcp_go *)base;
	struct wire_peer *p = peer->wire;
	struct kcpvpn_conv *conv = p ? kcp_go_conv(p) : NULL;

	if (size_bytes)
		return -EOPNOTSUPP;
	if (!conv || p->told != WIRE_PEER_UP)
		return -ENOTCONN;
	p->ping_conv = conv;
	p->ping_windows = windows(conv);
	p->ping_at = loop_now(wire->loop);
	p->ping_took_us = -1;
	kcpvpn_conv_probe(conv, kcp_go_now(wire));
	*ret_ping = ++p->pings;
	return 0;
}

int64_t kcp_go_pong(const struct wire *base, const struct peer *peer, uint64_t ping)
{
	const struct kcp_go *wire = (const struct kcp_go *)base;
	struct wire_peer *p = peer->wire;
	const struct kcpvpn_conv *conv = p ? kcp_go_conv(p) : NULL;

	if (!conv || p->pings != ping || p->ping_conv != conv)
		return -1;
	if (p->ping_took_us < 0 && windows(conv) > p->ping_windows)
		p->ping_took_us = mono_diff_us(loop_now(wire->loop), p->ping_at);
	return p->ping_took_us;
}
