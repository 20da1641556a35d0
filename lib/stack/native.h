/*
 * Inside of the native wire: what its files share. Programs use kcpvpn/native.h.
 *
 *      kcpvpn_native_input()                                           kcpvpn_peer_send()
 *            |                                                               |
 *      native_input.c  by type of datagram                             native_data.c  class, flow    (lib/session)
 *            |      \                                                        v
 *            |       DATA: open, window, frame (lib/crypto)            kcp_path_send, flush          (lib/kcp)
 *            |           -> kcp_path_input     (lib/kcp)                     v
 *            |           -> native_control.c   TLVs                    native_output.c  frame, padding, number
 *            v                                                               v
 *      native_respond.c  INIT, COOKIE, REJECT out (lib/crypto)         native_tx.c  seal, send
 *      native_initiate.c RESP, COOKIE, REJECT in, INIT out                   v
 *            v                                                         struct kcpvpn_udp_port
 *      native_session.c  slots, lifetimes, instances
 *
 *      native.c  all of it: tables, timers, events       native_peer.c  one peer: up, down, targets, deadlines
 *      native_path.c  address, roaming, path MTU         native_status.c  counters
 *
 * Two halves meet here: who the peer is (native_initiate, native_respond, native_session: the handshake side) and what is
 * carried (native_input, native_output, native_data, native_control, native_path: the data side). The functions that
 * one half calls in the other are listed by half below.
 */
#ifndef STACK_NATIVE_H
#define STACK_NATIVE_H

#include "core/list.h"
#include "core/mono.h"
#include "core/rand.h"
#include "core/wheel.h"
#include "kcpvpn/native.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kcp_path;
struct native_session;
struct native_attempts;
struct native_shard;

/** An address that is or was used, with the way to it. */
struct native_address {
	struct kcpvpn_endpoint remote;
	struct kcpvpn_endpoint local;	    /* family 0 = the kernel chooses */
	const struct kcpvpn_udp_port *port; /* NULL = none */
};

/* ---- the handshake side offers ---------------------------------------------------------------------------------- */

/** Why a new attempt is wanted. All but REKEY begin the schedule of attempts anew. */
enum native_reason {
	NATIVE_REASON_START,
	NATIVE_REASON_DATA,    /* data waits and there is no session */
	NATIVE_REASON_SILENCE, /* no answer: to all known addresses */
	NATIVE_REASON_NETWORK, /* a local address or route changed, or the host slept */
	NATIVE_REASON_REKEY,
};

/** A handshake datagram of the right size came. The bytes are lent. */
void native_respond_init(struct kcpvpn_native *native, const struct native_address *from,
	const uint8_t *bytes, struct mono now);
void native_initiate_resp(struct kcpvpn_native *native, const struct native_address *from,
	const uint8_t *bytes, struct mono now);
void native_initiate_cookie(struct kcpvpn_native *native, const struct native_address *from,
	const uint8_t *bytes, struct mono now);
void native_initiate_reject(struct kcpvpn_native *native, const struct native_address *from,
	const uint8_t *bytes, struct mono now);

/** Begins an attempt if none that is fresh enough runs; cheap to call again and again. */
void native_initiate(struct kcpvpn_peer *peer, enum native_reason reason, struct mono now);

/** The session that a receive index names (its low four bits cut off), NULL if none or only an attempt. */
struct native_session *native_session_find(struct kcpvpn_native *native, uint32_t index);

/** The newest confirmed session if it is young enough to send messages on; NULL if there is none. */
struct native_session *native_session_sending(struct kcpvpn_peer *peer, struct mono now);

/** The same if it is good for signs of life at least: one that carried no message lives longer. */
struct native_session *native_session_alive(struct kcpvpn_peer *peer, struct mono now);

/**
 * An authentic datagram came on `session`. Confirms it if that is the first and it waits for that: commits init_seq,
 * instance, features and limits, restarts the data side if the pair of instances changed (by
 * native_data_restart(), before it returns), makes it `cur`, proves the address.
 *
 * @return  false if the session is gone by that: its datagram is dropped
 */
bool native_session_authentic(
	struct native_session *session, const struct native_address *from, struct mono now);

/** The peer said CLOSE: its sessions are erased, and it is called again after 5 s and jitter. */
void native_session_closed_by_peer(struct kcpvpn_peer *peer, struct mono now);

/** Erases all sessions and attempts of a peer: it is down. */
void native_session_erase_all(struct kcpvpn_peer *peer);

/* ---- the data side offers --------------------------------------------------------------------------------------- */

/** Sends a handshake datagram as it is. `bytes` are copied. */
void native_tx_plain(struct kcpvpn_native *native, const struct native_address *to,
	const void *bytes, size_t len);

/** Everything restarts: lanes, numbers, windows of all shards; data in flight is dropped. */
void native_data_restart(struct kcpvpn_peer *peer, struct mono now);

/**
 * A session became the one to send on. The initiator must confirm it at once: by queued data, else by PING, which is
 * repeated until something authentic came on it.
 */
void native_data_session_ready(
	struct kcpvpn_peer *peer, struct native_session *session, bool initiator, struct mono now);

/** No session is left. */
void native_data_session_lost(struct kcpvpn_peer *peer, struct mono now);

/** A round trip proved this address (RESP from where INIT went, or confirming DATA from where INIT came). */
void native_path_proven(
	struct kcpvpn_peer *peer, const struct native_address *address, struct mono now);

/** The address in use; port NULL if there is none. */
const struct native_address *native_path_address(const struct kcpvpn_peer *peer);

/** The network changed here: PING at once, by whatever own address there is now. */
void native_data_ping(struct kcpvpn_peer *peer, struct mono now);

/** Sends CLOSE three times on the session in use, if there is one. */
void native_data_close(struct kcpvpn_peer *peer, enum kcpvpn_close reason, struct mono now);

/** What the peer's limits allow changed (confirmed params), or the own configuration did. */
void native_data_limits(struct kcpvpn_peer *peer, struct mono now);

struct mono native_data_next_deadline(const struct kcpvpn_peer *peer);
void native_data_on_deadline(struct kcpvpn_peer *peer, struct mono now);

/** Called for peers that were touched, from kcpvpn_native_flush(). */
void native_data_flush(struct kcpvpn_peer *peer, struct mono now);

#endif
