/*
 * The structures of the native wire: the node, its peers, their sessions and attempts. Each half of the layer has its own
 * member in them (stack/native.h says which half does what).
 *
 *     kcpvpn_native 1 --- n kcpvpn_peer 1 --- 0..4 native_session (next, cur, prev, old)
 *                                       1 --- 0..2 native_attempt (newest first)
 *
 * Secrets lie in slots of secret pools only: struct native_session, struct native_attempt, struct handshake_peer and
 * struct native_secrets.
 */
#ifndef STACK_NATIVE_STATE_H
#define STACK_NATIVE_STATE_H

#include "core/list.h"
#include "core/mono.h"
#include "core/rand.h"
#include "core/siphash.h"
#include "core/wheel.h"
#include "crypto/handshake.h"
#include "crypto/handshake_mac.h"
#include "crypto/seal.h"
#include "crypto/secret_pool.h"
#include "session/answer_cache.h"
#include "session/attempt.h"
#include "session/init_guard.h"
#include "session/session_control.h"
#include "session/token_bucket.h"
#include "stack/native.h"
#include "stack/native_data.h"
#include "stack/native_index.h"
#include "stack/native_params.h"
#include "stack/native_shards.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	NATIVE_REKEY_INITIATOR_US = 120000000, /* age at which who called calls again */
	NATIVE_REKEY_JITTER_US = 5000000,      /* added to it at random, so that peers spread */
	NATIVE_REKEY_RESPONDER_US = 150000000, /* age at which the other side steps in */
	NATIVE_HARD_STOP_US = 180000000,       /* no message is sent or taken under an older key */
	/* A session that carried no message ends so long after the last sign of life, or at the second age, */
	NATIVE_QUIET_SILENCE_US = NATIVE_HARD_STOP_US,
	NATIVE_QUIET_STOP_US = 2100000000,
	/* is asked for one after so long without, and is replaced at this age (the other side: later by so much), */
	NATIVE_QUIET_ASK_US = 150000000,
	/* (who got something and was silent for so long shows that it is there, so that nobody need ask) */
	NATIVE_QUIET_SHOW_US = 60000000,
	NATIVE_QUIET_REKEY_US = 1500000000,
	NATIVE_QUIET_RESPONDER_US = 60000000,
	NATIVE_QUIET_JITTERS = 60,	   /* and so much more of the jitter */
	NATIVE_PREV_US = 30000000,	   /* silence after which a replaced session is erased */
	NATIVE_NEXT_US = 15000000,	   /* so long a session waits to be confirmed */
	NATIVE_PENDING_US = 5000000,	   /* and so long only a higher number replaces it */
	NATIVE_COOKIE_US = 120000000,	   /* a cookie of the peer is used for so long */
	NATIVE_AFTER_CLOSE_US = 5000000,   /* after CLOSE it is not called for so long and jitter */
	NATIVE_FEATURE_WAIT_US = 60000000, /* nor after it lacked a required feature */
	NATIVE_WANT_US =
		30000000, /* data that was wanted to be sent keeps a call going for so long */
	NATIVE_WANT_IDLE_US = 10000000, /* wanted after so long without: the schedule begins anew */
	NATIVE_AGAIN_US = 1000000, /* least time between two attempts that begin a schedule anew */
	NATIVE_ATTEMPTS = 2,	   /* of one peer that are answerable */
	NATIVE_ADDRESSES = KCPVPN_NATIVE_TARGETS_MAX + 1, /* of a peer: the proven one, targets */
	/* The first INIT of a peer may be so much older than our knowing it: calls were under way, and clocks differ. */
	NATIVE_SEQ_SLACK_US = 60000000,
	NATIVE_CALL_ROUND_US = 20000000, /* all peers have had their turn in the line of calls */
	NATIVE_CALL_LEAST_US = 1000,	 /* unless this stands between two of them */
	NATIVE_SHAKES = 192,		 /* handshake datagrams that may wait for the processor */
	NATIVE_SHAKES_RESP = 64,	 /* of them kept for answers to our own calls */
};

#define NATIVE_REKEY_DATAGRAMS ((uint64_t)1 << 40) /* of a shard under one key */
#define NATIVE_RENEW_NUMBER \
	((uint64_t)1 << 47) /* from here on the next handshake has a new instance */

/** Where a session stands with its peer. */
enum native_slot {
	NATIVE_SLOT_NEXT, /* responder: made by an INIT, waits for the first authentic DATA */
	NATIVE_SLOT_CUR,  /* confirmed last: what is sent leaves on it */
	NATIVE_SLOT_PREV, /* the one before: only received on */
	NATIVE_SLOT_OLD, /* the one before that: the peer may have got no word on either of its successors */
	NATIVE_SLOTS,
};

/** Keys of both directions and what belongs to them. Lies in locked memory. */
struct native_session {
	struct native_index index; /* own: what the peer writes into its datagrams */
	struct kcpvpn_peer *peer;
	uint32_t remote_index; /* the peer's: what we write */
	bool initiator;	       /* we sent the INIT */
	enum native_slot slot;
	struct mono made_at;	  /* the keys were made: all ages count from here */
	struct mono confirmed_at; /* MONO_NEVER = not yet */
	struct mono last_rx_at;	  /* last authentic datagram, MONO_NEVER = none yet */
	struct mono first_rx_at;  /* the first: from then on both sides have confirmed it */
	struct mono rekey_at;
	uint64_t init_seq; /* of its INIT */
	uint64_t own_instance;
	uint64_t peer_instance;
	uint16_t own_tun_mtu;	       /* told in its handshake */
	struct native_params params;   /* of the peer: in effect from the confirmation on */
	struct native_address address; /* responder: where the INIT came from */
	uint64_t leader_serial;	       /* of a follower: what the leader calls it */
	uint8_t shards;		       /* in use; 0 = followers have not heard of it */
	uint8_t mac1
		[HANDSHAKE_MAC_BYTES]; /* responder: of the INIT, whose answer is kept under it */
	struct seal_key send;	       /* shard 0 */
	uint8_t recv[SEAL_KEY_BYTES];
	struct native_session_data data;
};

/** An INIT of ours that may still be answered. Lies in locked memory. */
struct native_attempt {
	struct native_index index;
	struct kcpvpn_peer *peer;
	struct mono made_at;
	uint64_t init_seq;
	uint64_t own_instance;
	uint16_t own_tun_mtu;	   /* told in it */
	struct token_bucket resps; /* RESPs with a good mac1 that were looked at */
	struct kcpvpn_target went[NATIVE_ADDRESSES]; /* where it was sent to, the latest last */
	uint8_t went_count;
	bool cookie_used; /* was sent again at once because of a COOKIE */
	struct handshake_attempt shake;
	uint8_t init[HANDSHAKE_INIT_BYTES];
};

/** Why a peer waits in the line of calls: a bit set. */
enum native_call {
	NATIVE_CALL_ATTEMPT = 1, /* an INIT is to be made */
	NATIVE_CALL_PROBE = 2,	 /* a sign of life is wanted, or a schedule begun anew */
};

/** The handshake side of a peer. */
struct native_handshake_state {
	struct native_session *slots[NATIVE_SLOTS];
	struct native_attempt *attempts[NATIVE_ATTEMPTS]; /* newest first, NULL behind the last */
	struct attempt schedule;
	struct list in_calls;  /* waits for its turn to make an INIT or to be probed */
	unsigned calls;	       /* enum native_call */
	bool has_pair;	       /* own and peer_instance below are of a confirmed session */
	bool has_limits;       /* so are the limits */
	bool heard;	       /* some answer to the newest attempt came, if not a good one */
	uint8_t unheard;       /* attempts in a row without, stays at its largest value */
	uint64_t own_instance; /* told in handshakes from now on */
	uint64_t pair_own;     /* instances of the confirmed sessions */
	uint64_t pair_peer;
	uint64_t last_seq; /* largest init_seq used */
	uint64_t shard_pn; /* largest number that a follower told of its shard */
	uint64_t
		committed_seq; /* of the peer's INITs: largest confirmed, at least a bound by our clock */
	struct native_params limits; /* the peer's, as confirmed last */
	struct mono wait_until;	     /* not called before; MONO_NEVER = no such wait */
	struct mono wanted_at;	     /* data wanted to be sent; MONO_NEVER = never */
	struct mono started_at;	     /* last attempt made; MONO_NEVER = never */
	struct mono cookie_at;	     /* MONO_NEVER = no cookie */
	uint8_t cookie[HANDSHAKE_MAC_BYTES];
	uint8_t cookie_family; /* of the address it was given for */
	struct token_bucket resyncs, inits;
	uint32_t unconfirmed; /* answers to the peer's calls in a row that it never confirmed */
	const char *trouble;
	uint64_t handshakes, init_sent, resp_sent, drop_psk, drop_stale;
};

struct kcpvpn_peer {
	struct kcpvpn_native *native;
	uint64_t id;			 /* in messages between leader and followers */
	struct kcpvpn_peer *next_by_key; /* in the node's table */
	struct kcpvpn_peer *next_by_id;
	struct list in_peers;
	struct list in_ready;
	struct list in_dirty;
	struct wheel_timer timer; /* the one of both halves */
	struct handshake_peer *keys;
	struct kcpvpn_peer_config config; /* its key pointers are NULL */
	struct kcpvpn_target *targets;	  /* NULL if there are none */
	uint8_t target_count;
	struct mono added_at; /* with nothing remembered of it */
	uint8_t told_state;   /* enum kcpvpn_peer_state */
	bool enabled;	      /* up by order */
	unsigned events;      /* enum kcpvpn_peer_event, not yet told */
	/* Data side: last message sent or received that somebody wanted carried; MONO_NEVER = none. Who uses a session gets
	 * another before it ends. */
	struct mono payload_at;
	void *user;
	struct native_handshake_state hs;
	struct native_data_state data;
};

/** A handshake datagram that waits for the processor. */
struct native_shake {
	struct list node;
	struct native_address from;
	uint8_t bytes[HANDSHAKE_BYTES_MAX];
};

/** Lies in locked memory. */
struct native_secrets {
	struct handshake_self self;
	struct handshake_cookies cookies;
	/* What a handshake needs while it is worked on. */
	struct handshake_responder responder;
	struct handshake_keys keys;
};

/** A probe that the program asked for. */
struct native_ping {
	struct kcpvpn_peer *peer; /* NULL = never used, or the peer is gone */
	uint64_t number;
	uint8_t token[SESSION_CONTROL_TOKEN_BYTES];
	struct mono sent_at;
	int64_t took_us; /* -1 = no answer yet */
};

struct kcpvpn_native {
	struct kcpvpn_native_config config; /* its key pointers are NULL */
	struct rand_source random;
	struct mono now; /* of the last call that brought it */
	struct wheel wheel;
	struct list peers;
	struct list ready; /* peers with events for the program */
	struct list dirty; /* peers to be flushed, whose timer is to be armed anew */
	uint32_t peer_count;
	struct kcpvpn_peer **by_key, **by_id; /* of one size; a follower knows no keys */
	size_t by_key_mask;
	struct siphash_key by_key_hash;
	struct native_index_table indices;
	struct secret_pool peer_keys;
	struct secret_pool sessions;
	struct secret_pool attempts;
	struct secret_pool own_secrets;
	struct native_secrets *secrets;
	struct init_guard guard;
	struct answer_cache answers;
	/* Handshakes waiting: those of peers who answer us, those who proved their address, others. */
	struct list resps, inits_proven, inits, shakes_free;
	size_t inits_count, resps_count;
	struct native_shake *shakes;
	struct list calls;  /* peers to be called when the budget allows it */
	struct list rekeys; /* peers to be called now: a session would end otherwise */
	bool calls_first;   /* whose turn it is: ours or the INITs of others */
	struct token_bucket call_budget;
	unsigned shard;			 /* own; above 0: this is a follower */
	uint64_t last_peer_id;		 /* leader */
	struct native_shard_port *ports; /* that messages may name */
	size_t port_count;
	struct kcpvpn_native_stats stats; /* of both halves, but for what is asked of others */
	struct native_data_node data;
	uint64_t pings_sent;
	struct native_ping
		pings[KCPVPN_NATIVE_PINGS_MAX]; /* the n-th stands at n modulo the size */
};

/** A follower has no handshakes: what needs them is told to the leader. */
static inline bool native_is_follower(const struct kcpvpn_native *native)
{
	return native->shard > 0;
}

/* ---- of the whole layer ------------------------------------------------------------------------------------------ */

/** Something of the peer changed: kcpvpn_native_flush() flushes it and arms its timer. */
void native_peer_touch(struct kcpvpn_peer *peer);

/** Adds events for the program. */
void native_peer_raise(struct kcpvpn_peer *peer, unsigned events);

/** Looks whether the peer's state is another than was told last, and tells. Call after anything it depends on changed. */
void native_peer_judge(struct kcpvpn_peer *peer);

/** Leader and follower: by the number in messages. @return NULL if there is none */
struct kcpvpn_peer *native_peer_by_id(const struct kcpvpn_native *native, uint64_t id);

/** A PONG came. */
void native_ping_answered(struct kcpvpn_peer *peer, const uint8_t *token, struct mono now);

/** The peer is about to go. */
void native_ping_forget(struct kcpvpn_peer *peer);

/** @public_key  KCPVPN_NATIVE_KEY_BYTES   @return NULL if no peer has it */
struct kcpvpn_peer *native_peer_by_key(
	const struct kcpvpn_native *native, const uint8_t *public_key);

/* ---- within the handshake side ----------------------------------------------------------------------------------- */

/** Prepares; no heap. */
void native_handshake_init(struct kcpvpn_peer *peer);

struct mono native_handshake_next_deadline(const struct kcpvpn_peer *peer);
void native_handshake_on_deadline(struct kcpvpn_peer *peer, struct mono now);

/** One piece of handshake work that waits, if any: at most three X25519 or so. */
void native_handshake_work(struct kcpvpn_native *native, struct mono now);

/** When there is work for native_handshake_work(). */
struct mono native_handshake_work_at(const struct kcpvpn_native *native);

/** What waits and came by this port is dropped. */
void native_handshake_port_gone(struct kcpvpn_native *native, const struct kcpvpn_udp_port *port);

/** Works on an INIT that waited. */
void native_respond_work(
	struct kcpvpn_native *native, const struct native_shake *shake, struct mono now);

/** Works on a RESP that waited. */
void native_initiate_resp_work(
	struct kcpvpn_native *native, const struct native_shake *shake, struct mono now);

/** Makes and sends an INIT. */
void native_initiate_make(struct kcpvpn_peer *peer, struct mono now);

/** The schedule of the peer's calls is due. */
void native_initiate_on_deadline(struct kcpvpn_peer *peer, struct mono now);

/** The peer counts as gone, or has no session: if a whole attempt met silence, that is the trouble. */
void native_initiate_note_gone(struct kcpvpn_peer *peer);

/** Until a session is confirmed: what of the peer's INITs is too old, as far as our clock can tell. */
void native_respond_bound_seq(struct kcpvpn_peer *peer, struct mono now);

/** A session that waited for its confirmation in vain is erased. */
void native_respond_unconfirmed(struct native_session *next);

/** What comes after is another instance of transport state. */
void native_handshake_renew_instance(struct kcpvpn_peer *peer);

/** Its transport state was freed while it has no session: what tells the instance of that is erased, and another comes next. */
void native_handshake_forget_pair(struct kcpvpn_peer *peer, struct mono now);

/** Puts the peer into the line of those to be called. @rekey  before all, without a budget */
void native_call_enqueue(struct kcpvpn_peer *peer, enum native_call call, bool rekey);

/** Nothing of the peer waits any more. */
void native_call_cancel(struct kcpvpn_peer *peer);

/** Features that this node offers: a bit set of enum native_feature. */
uint16_t native_features(const struct kcpvpn_native *native);

/** Features that an answer to this peer may choose. */
uint16_t native_features_allowed(const struct kcpvpn_peer *peer);

/** Features that a call of this peer offers: QUIET only where the peer is to be reached at all times. */
uint16_t native_features_offered(const struct kcpvpn_peer *peer);

/** True if the peer has anywhere to be called. */
bool native_peer_callable(const struct kcpvpn_peer *peer);

/** True if it is to be called now: persistent, or data waits. */
bool native_peer_wanted(const struct kcpvpn_peer *peer, struct mono now);

/** Own params for this peer, without index and number. Begins a new instance if numbers run short. */
void native_peer_params(struct kcpvpn_peer *peer, struct native_params *ret_params);

/** Erases an attempt. NULL is fine. */
void native_attempt_free(struct native_attempt *attempt);

/** Erases all attempts of the peer. */
void native_attempts_erase(struct kcpvpn_peer *peer);

/** Makes a session without keys. @return NULL without memory */
struct native_session *native_session_new(
	struct kcpvpn_peer *peer, bool initiator, struct mono now);

/** Gives it its keys, which are copied. */
void native_session_set_keys(struct native_session *session, const struct handshake_keys *keys);

/** Erases it, in whatever slot it is. NULL is fine. Does not tell the data side. */
void native_session_free(struct native_session *session);

/**
 * The session is confirmed: its instances, number and limits take effect, it becomes `cur`.
 *
 * @address  proven by it; NULL = none
 */
void native_session_confirm(
	struct native_session *session, const struct native_address *address, struct mono now);

/** When it is too old for anything. */
struct mono native_session_ends(const struct native_session *session);

/** Something authentic came under it: shows the other side that we are there, if that is due. */
void native_session_show(struct native_session *session, struct mono now);

/** It carries messages, or what belongs to them: from now on it ends when a used one does. */
void native_session_loud(struct native_session *session, struct mono now);

/** True if it is young enough for messages. */
static inline bool native_session_young(const struct native_session *session, struct mono now)
{
	return mono_diff_us(now, session->made_at) < NATIVE_HARD_STOP_US;
}

struct mono native_session_next_deadline(const struct kcpvpn_peer *peer);
void native_session_on_deadline(struct kcpvpn_peer *peer, struct mono now);

#endif
