/*
 * What the data side keeps of a node, a peer and a session. Embedded in their structures (stack/native_state.h); what it
 * does with it is declared in stack/native.h.
 */
#ifndef STACK_NATIVE_DATA_H
#define STACK_NATIVE_DATA_H

#include "core/mono.h"
#include "core/pool.h"
#include "crypto/replay.h"
#include "session/liveness.h"
#include "session/path_mtu.h"
#include "session/roam.h"
#include "session/traffic_class.h"
#include "stack/native.h"
#include "stack/native_tx.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kcp_path;
struct kcp_path_io;

enum {
	/* A window of 192 counters stands in the session itself; one that is used more gets the whole of it. */
	NATIVE_WINDOW_SMALL_WORDS = 4,
	/* Own grant as told in params: as much as 100 Mb/s need at 80 ms; it follows the rate from there on. */
	NATIVE_RX_CREDIT_BYTES = 1 << 20,
	NATIVE_TRIM_AFTER_US = 5000000, /* a path quiet for so long gives its spare memory back */
	NATIVE_LOSS_IN_US = 5000000, /* half of the time over which loss on the way here is told */
	NATIVE_KEEP_SLOTS = 256,     /* free slots kept for the next burst */
};

/** Of a session; made by native_session_data_init(). No secrets. */
struct native_session_data {
	struct replay window;
	uint64_t small[NATIVE_WINDOW_SMALL_WORDS]; /* what `window` uses at first */
	uint64_t least;				   /* least counter committed */
	uint64_t serial; /* tells a session from one that came after it at the same place */
	uint64_t sealed; /* datagrams sent under it */
};

/** Loss on the way here, by the numbers of what came: an older half and a younger one. */
struct native_loss_in {
	struct mono since; /* of the younger half; MONO_NEVER = nothing came */
	uint64_t first;	   /* number with which the older half began */
	uint64_t middle;   /* and the younger */
	uint32_t old_came;
	uint32_t came;
};

struct native_data_counters {
	uint64_t in_datagrams, in_bytes;
	uint64_t out_datagrams, out_bytes;
	uint64_t drop_replay, drop_tag, drop_malformed, drop_expired;
	uint64_t roam[ROAM_VERDICTS];
	/* of paths that are gone, so that what is told never falls */
	uint64_t retransmits, abandoned;
};

/** Of a peer. */
struct native_data_state {
	struct kcp_path *path;	       /* NULL before the first session */
	struct native_address address; /* in use, as `roam` has it */
	struct roam roam;
	struct path_mtu mtu;
	struct liveness live;
	struct mono confirm_at; /* next PING to confirm a session; MONO_NEVER = none due */
	struct mono trim_at;	/* MONO_NEVER = nothing to give back */
	struct mono last_rx_at; /* MONO_NEVER = nothing authentic yet */
	struct mono moved_at;	/* MONO_NEVER = never */
	uint64_t largest;	/* counter received of the present instances, if has_largest */
	struct native_loss_in loss_in;
	struct native_data_counters counters;
	uint32_t inner_mtu_bytes; /* as last told to the program */
	uint8_t confirm_step;
	bool has_largest;
	bool wants_confirm; /* PING unless something else leaves with this flush */
	bool wants_input_done;
	bool wants_room; /* the program was refused: tell it when there is room */
};

/** Of the node. */
struct native_data_node {
	struct native_tx tx;
	struct pool slots;	 /* payload of all peers, both ways */
	uint32_t path_slots_max; /* of one peer, each way */
	uint64_t last_serial;
	struct traffic_classifier classifier;
	struct native_reply *reply; /* to the datagram that is being read, NULL outside */
};

/**
 * Prepares the data side. `native` has its configuration, random source and clock by now.
 *
 * @return 0 or -ENOMEM
 */
int native_data_node_init(struct kcpvpn_native *native);

/** All peers are gone by now. */
void native_data_node_fini(struct kcpvpn_native *native);

/** Prepares the data side of a peer whose configuration is set. No heap. */
void native_data_init(struct kcpvpn_peer *peer);

/** Frees its path, forgets where it is; native_data_init() may follow. Transport state starts empty after this: a new instance. */
void native_data_fini(struct kcpvpn_peer *peer);

void native_session_data_init(struct kcpvpn_native *native, struct native_session_data *data);

/** Call while the keys still stand: what is sealed with them leaves first. */
void native_session_data_fini(struct kcpvpn_native *native, struct native_session_data *data);

/** The own configuration of the peer changed. */
void native_data_configured(struct kcpvpn_peer *peer, struct mono now);

/** The node's port is about to go: nothing is sent there any more. */
void native_data_port_gone(
	struct kcpvpn_peer *peer, const struct kcpvpn_udp_port *port, struct mono now);

#endif
