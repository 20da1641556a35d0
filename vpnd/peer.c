/* A peer owns its queue; everything else about it is decided elsewhere. */
#include "vpnd/peer.h"

#include <stdio.h>
#include <stdlib.h>

const char *peer_drop_str(enum peer_drop drop)
{
	switch (drop) {
	case PEER_DROP_IN_SOURCE:
		return "in_source";
	case PEER_DROP_IN_MALFORMED:
		return "in_malformed";
	case PEER_DROP_IN_TUN:
		return "in_tun";
	case PEER_DROP_OUT_TOO_BIG:
		return "out_too_big";
	case PEER_DROP_OUT_DOWN:
		return "out_down";
	case PEER_DROP_OUT_REFUSED:
		return "out_refused";
	case PEER_DROPS:
		break;
	}
	return "unknown";
}

struct peer *peer_new(const struct config_peer *config, const struct rand_source *rnd)
{
	struct ingress_options options = INGRESS_DEFAULTS;
	struct peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return NULL;
	list_init(&peer->in_daemon);
	list_init(&peer->in_pump);
	list_init(&peer->in_waiting);
	peer->config = config;
	peer->tun.fd = -1;
	(void)snprintf(peer->name, sizeof(peer->name), "%s", config->name);
	options.wait_max_us = (int64_t)config->transport.queue_ms * 1000;
	ingress_init(&peer->queue, &options, rnd);
	return peer;
}

void peer_free(struct peer *peer)
{
	if (!peer)
		return;
	list_remove(&peer->in_daemon);
	list_remove(&peer->in_pump);
	list_remove(&peer->in_waiting);
	ingress_fini(&peer->queue);
	free(peer);
}

void peer_set_config(struct peer *peer, const struct config_peer *config)
{
	peer->config = config;
	ingress_set_wait_max(&peer->queue, (int64_t)config->transport.queue_ms * 1000);
}

bool peer_wanted(const struct peer *peer)
{
	return peer->config->enabled && !peer->ordered_down;
}
