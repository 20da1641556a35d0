/*
 * Whole tunnels in virtual time: for each two nodes of either wire, with the queue in front that the daemon has, joined by one link in
 * each direction which other traffic may share. Packets of inner hosts go in at one end and come out at the other.
 *
 *      flows -> queue (FQ-CoDel) -> node -> datagrams -> link -> node -> flows        side 0 -> side 1, and back
 *      flows --------------------- packets as they are -> link ----------> flows      outside all tunnels
 *
 * What happens is a function of the options. Nothing takes time but the links.
 */
#ifndef TESTS_SIM_INNER_WORLD_H
#define TESTS_SIM_INNER_WORLD_H

#include "core/mono.h"
#include "core/pool.h"
#include "core/super_merge.h"
#include "kcpvpn/native.h"
#include "kcpvpn/node.h"
#include "session/ingress.h"
#include "tests/lab/link_model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	INNER_WORLD_TUNNELS = 2,
	INNER_WORLD_PLAIN = INNER_WORLD_TUNNELS, /* the route outside of them */
	INNER_WORLD_FLOWS = 64,
	INNER_WORLD_PORT = 20000, /* of flow 0 at side 0; the next one's is one more */
	INNER_WORLD_DATAGRAM_MAX = 1472,
	INNER_WORLD_IP_UDP_BYTES = 28,
};

struct inner_world;
struct inner_flow;

struct inner_world_options {
	uint64_t seed;
	size_t tunnels;	    /* 0..INNER_WORLD_TUNNELS */
	uint16_t mtu_bytes; /* of the inner devices; 0 = 1400 */
	uint32_t
		target_percent; /* of SRTT: CoDel's target, if that is more than the daemon's; 0 = the daemon's */
	bool fec_off;
	bool offload_off; /* inner hosts hand over single packets; else what a flow sends at one instant is one super-packet */
	const struct kcpvpn_config
		*kcp_go;	    /* the kcp-go wire with these settings; NULL = the native one */
	struct link_config link[2]; /* from side 0, from side 1 */
};

/** What one node of a tunnel sent and delivered. */
struct inner_end_counters {
	uint64_t wire_packets, wire_bytes; /* IP packets sent, with IP and UDP headers */
	uint64_t out_packets, out_bytes;   /* inner packets delivered here */
	uint64_t refused;		   /* by the node, after it said that it was ready */
};

struct inner_end {
	struct inner_world *world;
	size_t tunnel, side;
	struct kcpvpn_native *native;
	struct kcpvpn_peer *peer; /* the other end */
	struct kcpvpn_node *node; /* kcp-go: instead of these two */
	struct kcpvpn_conv *conv; /* NULL until the other end was heard */
	struct kcpvpn_udp_port port;
	struct kcpvpn_endpoint address; /* change it to roam */
	struct ingress queue;
	struct pool packets, long_packets;
	struct super_merge sent; /* by inner hosts at this instant */
	uint32_t message_bytes;	 /* as struct peer has it */
	uint64_t random;
	bool touched; /* something came since its last round */
	bool pumping; /* the queue may go on to the node */
	struct mono tuned_at, expired_at;
	struct inner_end_counters counters;
};

struct inner_world {
	struct inner_world_options options;
	struct mono now, began;
	uint64_t random;
	struct link_model links[2];
	struct inner_end ends[INNER_WORLD_TUNNELS][2];
	struct inner_flow *flows[INNER_WORLD_FLOWS];
	size_t flow_count;
	struct pool datagrams; /* on links */
	/* Called when an inner packet comes out of tunnel `tunnel` at `side`; NULL = nobody. */
	void (*watch)(void *ctx, size_t tunnel, size_t side, const uint8_t *packet, size_t len);
	void *watch_ctx;
};

/** Makes nodes and links; tunnels are called, and up and at rest when it returns. Ends the program if they are not in 60 s. */
void inner_world_init(struct inner_world *world, const struct inner_world_options *options);
void inner_world_fini(struct inner_world *world);

/** Lets time pass. */
void inner_world_run(struct inner_world *world, int64_t us);

/** An inner host at `side` sends a packet: into tunnel `route`, or onto the link as it is. */
void inner_world_send(struct inner_world *world, size_t route, size_t side, const uint8_t *packet,
	size_t len, struct mono now);

/** Changes the links under way. */
void inner_world_configure(struct inner_world *world, const struct link_config link[2]);

/** Both links lose all for so long from now. */
void inner_world_outage(struct inner_world *world, int64_t us);

/** The address of an inner host. */
void inner_world_address(size_t route, size_t side, uint8_t ret_address[4]);

uint64_t inner_world_random(struct inner_world *world);

#endif
