/*
 * Where a peer is: the address in use, and the proof that another one is to be used.
 *
 * An authentic datagram from elsewhere that is newer than all before makes its source a candidate. Both it and the address
 * in use are asked (PATH_CHALLENGE); data keeps flowing to the address in use until the candidate itself has answered with
 * the token that was sent to it alone. Who has no address in use yet gets its first one the same way.
 *
 * Challenges to a candidate are paid for: in sum they are longer than what came from it by at most one of them.
 */
#ifndef SESSION_ROAM_H
#define SESSION_ROAM_H

#include "core/mono.h"
#include "kcpvpn/endpoint.h"
#include "session/token_bucket.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kcpvpn_udp_port;
struct rand_source;

enum {
	ROAM_TOKEN_BYTES = 8,
	ROAM_STEPS = 5, /* challenges to a candidate: at 0, 0.1, 0.3, 0.7, 1.5 s */
	ROAM_FIRST_GAP_US =
		100000, /* between the first two; each further gap is twice the one before */
	ROAM_TOKEN_LIFE_US = 3000000, /* an answer later than this proves nothing */
	ROAM_TRIGGER_US = 100000,     /* between two candidates */
	ROAM_CHALLENGES_MAX = 2,      /* of one deadline */
	ROAM_CHALLENGE_BYTES = 70,    /* UDP payload of a challenge, for what a candidate is sent */
};

/** A way to the peer. */
struct roam_address {
	struct kcpvpn_endpoint remote; /* family 0 = none known */
	struct kcpvpn_endpoint
		local; /* own address it is reached from; family 0 = the kernel chooses */
	const struct kcpvpn_udp_port *port; /* compared, never looked into */
};

enum roam_change {
	ROAM_UNCHANGED,
	ROAM_PORT_CHANGED, /* same remote IP address (NAT rebinding): path state goes on */
	ROAM_IP_CHANGED,   /* another path: RTT, rate and MTU start anew */
};

enum roam_verdict {
	ROAM_CURRENT,	 /* from the address in use */
	ROAM_NOT_NEWEST, /* from elsewhere, but late or sent again: means nothing */
	ROAM_PINNED,	 /* from elsewhere, and this peer has an address and does not roam */
	ROAM_WAITING,	 /* from the candidate, who was asked already */
	ROAM_LIMITED,	 /* from elsewhere, too soon after the last new candidate */
	ROAM_CANDIDATE,	 /* a new candidate: challenges are due now */
	ROAM_VERDICTS,
};

enum roam_answer {
	ROAM_ANSWER_FOREIGN, /* no token of ours, or too late, or from another address: ignore */
	ROAM_ANSWER_CURRENT, /* the address in use still works */
	ROAM_ANSWER_SWITCHED, /* the candidate is the address in use now: `*ret_change` says what changed */
};

struct roam_challenge {
	struct roam_address to;
	uint8_t token[ROAM_TOKEN_BYTES];
};

/** One for a peer; embed it. */
struct roam {
	struct roam_address current;
	struct roam_address candidate; /* remote.family 0 = none */
	uint8_t candidate_token[ROAM_TOKEN_BYTES];
	uint8_t current_token[ROAM_TOKEN_BYTES]; /* its answer must never prove the candidate */
	struct mono candidate_since;
	struct token_bucket triggers;
	uint16_t came_bytes; /* from the candidate; stays at its largest value */
	uint8_t asked;	     /* challenges sent to the candidate */
	uint8_t step;	     /* of the schedule, ROAM_STEPS = it is over */
	bool pinned;
};

/** @roaming  false pins the address, once there is one: only roam_set() moves it */
void roam_init(struct roam *roam, bool roaming);

/** Follows a reload. */
void roam_set_roaming(struct roam *roam, bool roaming);

/**
 * Uses an address without proof: the configuration or an operator gave it, or an attempt is sent there. Any candidate is
 * forgotten unless nothing changes.
 */
enum roam_change roam_set(struct roam *roam, const struct roam_address *address);

/**
 * Uses an address that a handshake proved: RESP from where INIT went, or the confirming DATA from where INIT came from.
 * A pinned peer keeps the remote address it has.
 */
enum roam_change roam_proven(struct roam *roam, const struct roam_address *address);

/** Own addresses or routes changed: the kernel chooses the own address until a proof names one again. */
void roam_local_changed(struct roam *roam);

/**
 * Call for each authentic datagram of the session in use, after the replay window took it.
 *
 * @source  where it came from, IPv4-mapped addresses already turned into IPv4
 * @bytes   its UDP payload
 * @newest  its counter is larger than all before on its shard
 */
enum roam_verdict roam_datagram(struct roam *roam, const struct roam_address *source, size_t bytes,
	bool newest, struct mono now, const struct rand_source *rnd);

/** Call for each PATH_RESPONSE in an authentic datagram from `source`. @ret_change  always set */
enum roam_answer roam_response(struct roam *roam, const uint8_t token[ROAM_TOKEN_BYTES],
	const struct roam_address *source, struct mono now, enum roam_change *ret_change);

/** When challenges are due; MONO_NEVER if none is. */
struct mono roam_next_deadline(const struct roam *roam);

/**
 * A step of the schedule. The candidate is left out for as long as it has sent too little.
 *
 * @return  how many of `ret_challenges` are to be sent now, each to its own address; what was missed is not made up for
 */
size_t roam_on_deadline(struct roam *roam, struct mono now,
	struct roam_challenge ret_challenges[ROAM_CHALLENGES_MAX]);

/** True if both lead to the same peer address by the same socket; an unset local address fits any. */
bool roam_address_equal(const struct roam_address *a, const struct roam_address *b);

/** "current", "not_newest", ...: names of the counters. Static. */
const char *roam_verdict_str(enum roam_verdict verdict);

#endif
