/*
 * Whether datagrams leave as runs (udp_offload.h): only while no peer is behind a device that computes no checksums. The
 * listening sockets are shared by all who call, so one such peer counts for all. The way to a peer is asked for when it comes
 * up, when another of its calls becomes the current one, and when the network changed; never for callers nobody knows, so that
 * copies of recorded datagrams cost no question.
 */
#include "config/config.h"
#include "vpnd/udp_offload.h"
#include "vpnd/wire_kcp_go_peer.h"

static void set_unsummed(struct wire_peer *p, bool unsummed)
{
	struct kcp_go *wire = p->wire;

	if (p->unsummed == unsummed)
		return;
	p->unsummed = unsummed;
	wire->unsummed_count = unsummed ? wire->unsummed_count + 1 : wire->unsummed_count - 1;
	udp_batch_set_runs(wire->batch, wire->unsummed_count == 0);
}

void kcp_go_look(struct wire_peer *p)
{
	struct kcpvpn_conv *conv = p->started ? kcp_go_conv(p) : NULL;
	struct netlink_path path = {0};

	if (!conv) {
		set_unsummed(p, false);
		return;
	}
	const struct udp_socket *socket = kcpvpn_conv_port(conv)->ctx;
	if (netlink_path(p->wire->netlink, kcpvpn_conv_remote(conv), config_fwmark(p->wire->config),
		    &path, NULL) < 0)
		path.ifindex = 0;
	set_unsummed(p, !udp_offload_device_sums(socket->fd, path.ifindex));
}
