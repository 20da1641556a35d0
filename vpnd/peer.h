/*
 * A peer: what the YAML says of it, the queue in front of it, and its counters. How it is reached is the wire's
 * business (wire.h); which packets are its own is the packet path's (packet_path.h).
 */
#ifndef VPND_PEER_H
#define VPND_PEER_H

#include "config/config.h"
#include "core/ip_header.h"
#include "core/list.h"
#include "core/mono.h"
#include "core/super_packet.h"
#include "session/ingress.h"
#include "vpnd/loop.h"
#include "vpnd/tun.h"

#include <stdbool.h>
#include <stdint.h>

/** Why an inner packet was dropped. */
enum peer_drop {
	PEER_DROP_IN_SOURCE,	/* from the peer: the inner source address is not the peer's */
	PEER_DROP_IN_MALFORMED, /* from the peer: not one whole IP packet */
	PEER_DROP_IN_TUN,	/* from the peer: the host did not take it */
	PEER_DROP_OUT_TOO_BIG,	/* to the peer: larger than its MTU (the sender was told) */
	PEER_DROP_OUT_DOWN,	/* to the peer: it is down by order */
	PEER_DROP_OUT_REFUSED,	/* to the peer: the conversation refused it */
	PEER_DROPS,
};

struct peer_counters {
	uint64_t rx_packets; /* inner packets that reached the host */
	uint64_t rx_bytes;
	uint64_t tx_packets; /* inner packets handed to the conversation */
	uint64_t tx_bytes;
	uint64_t drops[PEER_DROPS];
	uint64_t bad
		[SUPER_VERDICTS]; /* from the peer: what is wrong with it; IN_MALFORMED is their sum */
};

struct peer {
	struct list in_daemon;
	struct list in_pump;		  /* has packets waiting and may send */
	struct list in_waiting;		  /* has packets waiting, or had */
	const struct config_peer *config; /* of the configuration in force */
	char name[CONFIG_NAME_MAX + 1];
	struct ingress queue;
	struct peer_counters counters;
	struct peer *mirror;	 /* the same peer at the next worker (workers.h); NULL = none */
	void *wire;		 /* the wire's own state */
	struct mono tuned_at;	 /* when the queue was last told of the measured path */
	struct mono expired_at;	 /* when what is too old was last looked for */
	uint32_t path_mtu_bytes; /* longest packet in one piece on its path; 0 = not measured */
	uint32_t most_bytes;	 /* longest packet that it takes at all; 0 = unknown */
	uint32_t
		super_bytes_max; /* longest super-packet that it takes, as an IP packet; 0 = none */
	uint32_t message_bytes;	 /* how long messages are made for it now; 0 = a packet each */
	uint32_t longest_bytes;	 /* no message that waits is longer */
	uint32_t heard_in;	 /* by wake_pace_heard() */
	int64_t queue_us;	 /* how long the packet that left last had waited */
	bool ordered_down;	 /* by `kcpctl down`: stays so until `up` */
	bool told_up;		 /* hooks and the device's carrier say that it is up */
	struct tun tun;		 /* a device for it alone; fd -1 = there is none */
	struct loop_watch tun_watch;
	void *tun_ctx; /* of the watch: the daemon's */
};

/** Names of the drop counters, as `kcpctl status` shows them. Static. */
const char *peer_drop_str(enum peer_drop drop);

/**
 * @config  lent; peer_set_config() before it goes
 * @return  NULL without memory
 */
struct peer *peer_new(const struct config_peer *config, const struct rand_source *rnd);

/** The wire must have let go of it. */
void peer_free(struct peer *peer);

/** Takes over a changed configuration; the name stays. */
void peer_set_config(struct peer *peer, const struct config_peer *config);

/** It is to be reached: enabled, and not down by order. */
bool peer_wanted(const struct peer *peer);

#endif
