/*
 * What the data side keeps of a node, a peer and a session. Embedded in their structures (stack/native_state.h); what it
 * does with it is declared in stack/native.h.
 */
#ifndef STACK_NATIVE_DATA_H
#define STACK_NATIVE_DATA_H

#include "core/mono.h"
#include "core/pool.h"
#include "crypto/replay.h"
#include "kcp/kcp_lt.h"
#include "kcp/kcp_path.h"
#include "session/ecn_path.h"
#include "session/liveness.h"
#include "session/path_mtu.h"
#include "session/roam.h"
#include "session/session_control.h"
#include "session/traffic_class.h"
#include "stack/native.h"
#include "stack/native_fec.h"
#include "stack/native_shards.h"
#include "stack/native_tx.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	/* A window of 192 counters stands in the session itself; one that is used more gets the whole of it. */
	NATIVE_WINDOW_SMALL_WORDS = 4,
	/* Own grant as told in params: as much as 100 Mb/s need at 80 ms; it follows the rate from there on. */
	NATIVE_RX_CREDIT_BYTES = 1 << 20,
	NATIVE_TRIM_AFTER_US = 5000000, /* a path quiet for so long gives its spare memory back */
	/* So long after its last session what a peer sent, and was sent, is given up. The longest deadline is half of that. */
	NATIVE_FORGET_AFTER_US = 120000000,
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
	bool loud;	 /* it carried messages, or what belongs to them */
};

/** Datagrams of half of the time that is looked at. */
struct native_loss_half {
	uint32_t came;
	uint32_t sources, repairs; /* of them */
};

/** Loss on the way here, by the numbers of what came, and what was missing in the end: an older half and a younger one. */
struct native_loss_in {
	struct mono since; /* of the younger half; MONO_NEVER = nothing came */
	uint64_t first;	   /* number with which the older half began */
	uint64_t middle;   /* and the younger */
	struct kcp_path_arrivals first_arrivals, middle_arrivals; /* by then */
	struct native_loss_half old, young;
};

struct native_data_counters {
	uint64_t in_datagrams, in_bytes;
	uint64_t out_datagrams, out_bytes;
	uint64_t drop_replay, drop_tag, drop_malformed, drop_expired;
	uint64_t roam[ROAM_VERDICTS];
	/* of paths that are gone, so that what is told never falls */
	uint64_t retransmits, abandoned;
};

/**
 * What a received datagram asks for, collected while it is read: all answers leave in one datagram that is not longer than
 * it. Lives for one datagram.
 */
struct native_reply {
	struct native_address from;
	size_t datagram_bytes; /* UDP payload */
	bool plain;	       /* kind PLAIN: a probe of the path MTU counts only there */
	bool to_source;	       /* holds a PATH_RESPONSE: goes to where the datagram came from */
	bool closed;	       /* the peer said CLOSE */
	unsigned tlvs;	       /* TLVs of the datagram so far */
	/* Answers to challenges of ours. The path that reads the datagram must not be changed meanwhile, so they wait. */
	uint8_t answers[SESSION_CONTROL_TLVS_MAX][SESSION_CONTROL_TOKEN_BYTES];
	size_t answers_count;
	struct session_control_builder out;
	uint8_t bytes[SESSION_CONTROL_BYTES_MAX];
};

/** Of a peer. */
struct native_data_state {
	struct kcp_path *path;	       /* NULL before the first session, and long after the last */
	struct native_address address; /* in use, as `roam` has it; port NULL = none */
	struct roam roam;
	struct path_mtu mtu;
	struct liveness live;
	struct ecn_path ecn;
	uint64_t confirm_serial; /* session that `confirm_at` is about */
	struct mono confirm_at;	 /* next PING to confirm a session; MONO_NEVER = none due */
	struct mono trim_at;	 /* MONO_NEVER = nothing to give back */
	struct mono lost_at;	/* the last session ended; MONO_NEVER = there is one, or was none */
	struct mono last_rx_at; /* MONO_NEVER = nothing authentic yet */
	struct mono moved_at;	/* MONO_NEVER = never */
	struct kcp_lt_memory memory; /* of the way to `address`, while there is no path */
	uint64_t largest;	     /* counter received of the present instances, if has_largest */
	struct native_loss_in loss_in;
	struct native_fec_state fec;
	struct native_follow follow; /* of a follower's peer */
	struct native_share *share;  /* of a leader's; NULL = it has no other shards */
	uint8_t sending_shards;	     /* of the peer that send now, as far as is known; 0 = 1 */
	uint32_t
		rate_share_ppm; /* of rate_max_bps that this shard has; 0 = not told: as much as each */
	struct native_data_counters counters;
	uint32_t link_mtu_bytes;  /* as told; 0 = not known */
	uint32_t inner_mtu_bytes; /* as last told to the program */
	uint16_t led_mtu;	  /* as last told to followers; 0 = not yet */
	bool led_waiting;
	uint8_t confirm_step;
	bool running; /* there is a session to send on */
	bool has_largest;
	bool wants_confirm; /* PING unless something else leaves with this flush */
	bool wants_input_done;
	bool wants_room;   /* the program was refused: tell it when there is room */
	size_t room_bytes; /* of the message that it was refused */
};

/** Of several nodes in several threads. */
struct kcpvpn_shared_memory {
	uint64_t bytes;
	struct pool_budget data, fec;
};

/** Of the node. */
struct native_data_node {
	struct native_tx tx;
	struct pool slots;	 /* payload of all peers, both ways */
	struct pool fec_slots;	 /* symbols of all peers, both ways */
	uint32_t path_slots_max; /* of one peer, each way */
	uint64_t last_serial;
	struct traffic_classifier classifier;
	struct native_reply reply;	    /* to the datagram that is being read */
	struct native_session *out_session; /* between begin and end of a datagram of a path */
};

/**
 * Prepares the data side. `native` has its configuration, random source and clock by now.
 *
 * @return 0 or -ENOMEM
 */
int native_data_node_init(struct kcpvpn_native *native);

/** All peers are gone by now. */
void native_data_node_fini(struct kcpvpn_native *native);

/** Prepares the data side of a peer whose configuration is set. No heap. Its counters stay: they are zero at the start. */
void native_data_init(struct kcpvpn_peer *peer);

/** Frees its path, forgets where it is; native_data_init() may follow. Transport state starts empty after this: a new instance. */
void native_data_fini(struct kcpvpn_peer *peer);

void native_session_data_init(struct kcpvpn_native *native, struct native_session_data *data);

/** Call while the keys still stand: what is sealed with them leaves first. */
void native_session_data_fini(struct kcpvpn_native *native, struct native_session_data *data);

/** A follower: there is a session to send on. */
void native_data_follow(struct kcpvpn_peer *peer, struct mono now);

/** A follower: numbers, lanes and all that waits are given up. */
void native_data_drop(struct kcpvpn_peer *peer);

/** The own configuration of the peer changed. */
void native_data_configured(struct kcpvpn_peer *peer, struct mono now);

/** A port is about to go: a peer that is reached by it has no address any more. */
void native_data_port_gone(
	struct kcpvpn_peer *peer, const struct kcpvpn_udp_port *port, struct mono now);

/* ---- within the data side --------------------------------------------------------------------------------------- */

/** What one datagram of `datagram_bytes` of UDP payload may hold. */
struct native_sizes {
	uint32_t
		payload_bytes; /* segments, padding not counted; a repair of them fits as well, but if padded to one size */
	uint32_t piece_bytes; /* body of the longest piece */
	uint32_t full_bytes;  /* plaintext of a padded datagram at most */
};

struct native_sizes native_output_sizes(enum kcpvpn_padding padding, uint32_t datagram_bytes);

/** Whether a datagram could leave now: there is a session, a path, an address, and a number. */
bool native_output_possible(struct kcpvpn_peer *peer, struct mono now);

/**
 * TOS of a datagram to the peer.
 *
 * @mark   DSCP of what it holds
 * @data   it holds inner packets that are sent again if lost, or repairs of such: only these are marked as ECN-capable, so that what tells of losses gets
 *         through wherever those do not
 */
uint8_t native_output_tos(struct kcpvpn_peer *peer, unsigned mark, bool data);

/** What a path puts its datagrams out by; `ctx` is the peer. */
void native_output_io(struct kcpvpn_peer *peer, struct kcp_path_io *ret_io);

/** How a datagram that the stack builds itself is sent. */
struct native_control_out {
	const struct native_address *to;
	enum kcp_path_extra extra;
	size_t datagram_bytes; /* exact size in UDP payload, filled by padding; 0 = as the body needs */
	size_t most_bytes;     /* datagram_bytes 0: the peer's padding applies up to this size */
	bool waits;	       /* silence from now on means something */
};

/** Sends a datagram with one CONTROL segment. @return false if it cannot be sent: no session, no path, too long */
bool native_output_control(struct kcpvpn_peer *peer, const struct native_control_out *out,
	const void *body, size_t len, struct mono now);

/** Room for the plaintext of a repair. @return NULL if nothing can be sent now */
uint8_t *native_output_repair_begin(struct kcpvpn_peer *peer, size_t *ret_room, struct mono now);

/**
 * Sends it.
 *
 * @len   of the plaintext, which is lengthened as padding asks
 * @mark  DSCP of what it repairs
 * @return  UDP payload
 */
size_t native_output_repair_end(
	struct kcpvpn_peer *peer, size_t len, unsigned mark, struct mono now);

/** Sends an empty datagram to the address in use. */
void native_output_keepalive(struct kcpvpn_peer *peer, struct mono now);

/** For kcp_path: judges and acts on CONTROL; `ctx` is the peer. */
bool native_control_check(void *ctx, const uint8_t *body, size_t len);
void native_control_act(void *ctx, const uint8_t *body, size_t len, uint64_t pn);

/** Asks for a sign of life at the address in use. */
void native_control_ping(struct kcpvpn_peer *peer, struct mono now);

/** Begins to collect answers to a datagram. */
void native_reply_begin(struct native_reply *reply, const struct native_address *from,
	size_t datagram_bytes, bool plain);
void native_reply_send(struct kcpvpn_peer *peer, struct native_reply *reply, struct mono now);

/** Makes the path of the peer if there is none. @return false without memory */
bool native_data_have_path(struct kcpvpn_peer *peer);

/** kcpvpn_peer_room() by the data side itself: asks nothing of the handshake side. */
bool native_send_room(struct kcpvpn_peer *peer, size_t len);

/** Lets the bound by order on what is sent take effect. */
void native_data_apply_rate(struct kcpvpn_peer *peer);

/** Tells the program what it can read and write now. */
void native_data_tell(struct kcpvpn_peer *peer, struct mono now);

/** Judges a counter, whose tag need not have been checked, and changes nothing. */
bool native_window_fresh(const struct native_session_data *data, uint64_t counter);

/** Longest message, prefix and all, for packets up to `tun_mtu` and super-packets up to `super_max`, 0 = none of these */
uint32_t native_message_max(uint32_t tun_mtu, uint32_t super_max);

/** Judges and remembers a counter that is authentic. @return true if it is fresh */
bool native_window_commit(struct native_session_data *data, uint64_t counter);

/** An authentic datagram, `datagram_bytes` of UDP payload, the newest or not, came from `from`. */
void native_path_heard(struct kcpvpn_peer *peer, const struct native_address *from,
	size_t datagram_bytes, bool newest, struct mono now);

/** PATH_RESPONSE came from `from`. */
void native_path_answered(struct kcpvpn_peer *peer, const struct native_address *from,
	const uint8_t *token, struct mono now);

/** There is a session: begins or goes on to search for the path MTU. */
void native_path_start(struct kcpvpn_peer *peer, struct mono now);

/** Lets a new path MTU or padding take effect. */
void native_path_apply_mtu(struct kcpvpn_peer *peer);

struct mono native_path_next_deadline(const struct kcpvpn_peer *peer);
void native_path_on_deadline(struct kcpvpn_peer *peer, struct mono now);

/** A datagram came. @path  NULL = there is none yet */
void native_loss_in_note(struct native_loss_in *loss, const struct kcp_path *path, uint64_t counter,
	uint64_t largest, struct mono now);

/** Of datagrams, whatever became of what they held. 0..1, negative = unknown. */
double native_loss_in_raw(const struct native_loss_in *loss, uint64_t largest, struct mono now);

/** Of what was sent to be received, neither repaired nor sent again in time. 0..1, negative = unknown. */
double native_loss_in_residual(
	const struct native_loss_in *loss, const struct kcp_path *path, struct mono now);

#endif
