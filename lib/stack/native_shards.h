/*
 * Leader and followers of the native wire: what they tell each other (kcpvpn/native_shards.h). Inside of the native wire.
 */
#ifndef STACK_NATIVE_SHARDS_H
#define STACK_NATIVE_SHARDS_H

#include "core/mono.h"
#include "crypto/seal.h"
#include "kcpvpn/native_shards.h"
#include "stack/native.h"
#include "stack/native_params.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum native_shard_verb {
	/* leader to follower */
	NATIVE_SHARD_SESSION = 1, /* keys to receive with, and perhaps to send */
	NATIVE_SHARD_SEND_ON,	  /* session `serial` */
	NATIVE_SHARD_ERASE,	  /* session `serial` */
	NATIVE_SHARD_BEYOND,	  /* sessions have `size` shards, and this is none of them */
	NATIVE_SHARD_ENDPOINT,	  /* where the peer is; port 0 = nowhere */
	NATIVE_SHARD_MTU,	  /* `size` */
	NATIVE_SHARD_SHARE, /* `size`: shards that send now; `serial`: ppm of rate_max_bps for this one, 0 = as each */
	NATIVE_SHARD_FORGET, /* everything of the peer but that it is there */
	/* follower to leader */
	NATIVE_SHARD_REPORT, /* `flags` */
	NATIVE_SHARD_MOVED,  /* something newer than all before came from `address` */
	NATIVE_SHARD_TOO_BIG,
	NATIVE_SHARD_WANT, /* data waits, and there is no session */
};

/** Of ENDPOINT, MTU and REPORT: bit sets. */
enum native_shard_flag {
	NATIVE_SHARD_SEND = 1,	   /* SESSION: it is also the one to send on */
	NATIVE_SHARD_NEW_PATH = 2, /* ENDPOINT: another IP address */
	NATIVE_SHARD_WAITING = 4,  /* MTU: the size is doubted (path_mtu_waiting()) */
	NATIVE_SHARD_HEARD = 8,	   /* something authentic came, last on session `serial` */
	NATIVE_SHARD_ASKED = 16,   /* something left that must be answered */
	NATIVE_SHARD_SENT = 32,	   /* something left */
	NATIVE_SHARD_USED = 64,	   /* messages were carried */
	NATIVE_SHARD_LOST = 128,   /* full-size datagrams are lost, of `size` bytes */
	NATIVE_SHARD_LACKS = 256,  /* there was no memory for session `serial` of the numbers */
};

struct native_shard_session {
	uint8_t send_key[SEAL_KEY_BYTES];
	uint8_t recv_key[SEAL_KEY_BYTES];
	uint32_t index; /* own */
	uint32_t remote_index;
	struct mono made_at;
	int64_t srtt_us; /* on shard 0; 0 = unknown */
	uint64_t own_instance, peer_instance;
	struct native_params params; /* the peer's */
};

/** Of what is sent by one shard. */
struct native_shard_numbers {
	uint64_t serial; /* of the session in use, or lacking; 0 = none */
	uint64_t sealed; /* under its key */
	uint64_t next_pn;
	uint64_t out_bytes; /* all that left, in UDP payload */
};

struct native_shard_message {
	uint8_t verb;
	uint8_t shard; /* whose */
	uint16_t flags;
	uint32_t size;
	uint64_t peer;
	uint64_t serial;
	uint64_t port; /* of `address` */
	union {
		struct native_shard_session session;
		struct native_address address; /* its port is NULL */
		struct native_shard_numbers numbers;
	};
};

_Static_assert(sizeof(struct native_shard_message) <= KCPVPN_SHARD_MESSAGE_BYTES, "as promised");

/** Of a peer of a follower: what the leader was not told yet. */
struct native_follow {
	uint64_t heard_serial;
	struct mono report_at; /* MONO_NEVER = nothing to tell */
	struct mono told_at;   /* MONO_NEVER = never */
	struct mono moved_at;  /* MONO_NEVER = never */
	struct mono wanted_at; /* the same */
	int64_t srtt_us;       /* of shard 0, for a path that is made later; 0 = unknown */
	uint64_t
		lacks_serial; /* the session told last, if there was no memory for it; 0 = it is there */
	struct mono lacks_at; /* next time to tell so; MONO_NEVER = it is there */
	uint8_t beyond;	      /* shards of its sessions, if ours is none of them */
	uint32_t lost_bytes;  /* least of those lost in a row */
	uint16_t flags;
	uint8_t losses; /* of full-size datagrams in a row */
};

/** Of a peer of a leader: what its shards send, to tell how many of them do. Allocated with the first session that has several. */
struct native_share {
	uint64_t bytes[KCPVPN_SHARDS_MAX];  /* in all, as last told */
	uint64_t before[KCPVPN_SHARDS_MAX]; /* at `since` */
	struct mono since;
};

/** A port and what messages call it. */
struct native_shard_port {
	uint64_t number;
	const struct kcpvpn_udp_port *port;
};

enum {
	NATIVE_REPORT_US = 100000, /* between two reports of a peer */
	NATIVE_SHARE_US =
		250000, /* how often shards that send are counted; more than twice that of reports */
	NATIVE_SHARE_PART =
		8, /* who sends less than so much of what the busiest does is not counted, */
	NATIVE_SHARE_BYTES = 16384, /* nor who sends so little in that time */
	NATIVE_LACKS_US = 10000000, /* a shard without a session asks for another so often */
	NATIVE_MOVED_US =
		100000, /* between two sightings elsewhere that are told, and two calls for a session */
};

/** Prepares a peer's part. */
void native_follow_init(struct native_follow *follow);

/* ---- the leader tells: nothing to do with one shard ------------------------------------------------------------------ */

/** A session was confirmed. @send  followers may send on it at once */
void native_lead_session(struct native_session *session, bool send);
/** Both sides have it. */
void native_lead_send_on(struct native_session *session);
/** It is about to be erased. */
void native_lead_erase(struct native_session *session);
/** The address in use may be another. @new_path  another IP address */
void native_lead_endpoint(struct kcpvpn_peer *peer, bool new_path);
/** The path MTU may be another. */
void native_lead_mtu(struct kcpvpn_peer *peer);
/** Time went by: looks how many shards send. Cheap. */
void native_lead_share(struct kcpvpn_peer *peer, struct mono now);
/** Everything of it goes; its sessions have been erased. */
void native_lead_forget(struct kcpvpn_peer *peer);

/* ---- a follower notes ------------------------------------------------------------------------------------------------ */

void native_follow_heard(
	struct kcpvpn_peer *peer, const struct native_session *session, struct mono now);
void native_follow_sent(struct kcpvpn_peer *peer, bool asks, struct mono now);
void native_follow_used(struct kcpvpn_peer *peer, struct mono now);
/** Something authentic came. @newest  as for native_path_heard() */
void native_follow_from(struct kcpvpn_peer *peer, const struct native_address *from,
	size_t datagram_bytes, bool newest, struct mono now);
/** What became of a datagram of `bytes` of UDP payload. */
void native_follow_fate(struct kcpvpn_peer *peer, uint32_t bytes, bool lost, struct mono now);
void native_follow_want(struct kcpvpn_peer *peer);
void native_follow_too_big(
	struct kcpvpn_native *native, const struct kcpvpn_endpoint *remote, size_t len);
/** Takes what the leader told. */
void native_follow_hear(struct kcpvpn_native *follower, const struct native_shard_message *message);
/** Tells what is due. */
void native_follow_report(struct kcpvpn_peer *peer, struct mono now);

/* ---- both: ports in messages ----------------------------------------------------------------------------------------- */

/** @return 0 if it has no number */
uint64_t native_port_number(const struct kcpvpn_native *native, const struct kcpvpn_udp_port *port);
/** @return NULL if there is none of that number */
const struct kcpvpn_udp_port *native_port_named(
	const struct kcpvpn_native *native, uint64_t number);
/** It goes. */
void native_port_gone(struct kcpvpn_native *native, const struct kcpvpn_udp_port *port);

#endif
