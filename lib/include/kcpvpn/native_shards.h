/*
 * A node of the native wire on several threads. One kcpvpn_native, the *leader*, has the handshakes, the addresses, the
 * path MTU, the signs of life and shard 0 of every session. A *follower* has one other shard of every session and nothing
 * else: it seals, opens, sends and receives as the leader tells, and tells back what concerns all shards.
 *
 *      leader   --- SESSION, SEND_ON, ERASE, ENDPOINT, MTU, SHARE, FORGET --->  follower of shard 1, 2, ...
 *      leader   <-- REPORT, MOVED, TOO_BIG, WANT -----------------------------  follower
 *
 * They share no memory but for a bound on it: a message is plain bytes that the program carries from one thread to the other, in order. It may
 * take its time; what a follower gets before the message that explains it is dropped, and sent again by its sender. A leader
 * makes no datagram that another side's follower could answer before it has told its own followers, so a program that
 * reads messages before datagrams loses nothing.
 *
 * Messages hold keys: keep them in locked memory and wipe them when they are read.
 *
 * Everything of kcpvpn/native.h applies to a follower, but for handshakes, targets, and kcpvpn_peer_up() and _down().
 */
#ifndef KCPVPN_NATIVE_SHARDS_H
#define KCPVPN_NATIVE_SHARDS_H

#include "kcpvpn/native.h"

enum {
	KCPVPN_SHARDS_MAX = 16,
	KCPVPN_SHARD_MESSAGE_BYTES = 240,
};

struct kcpvpn_shard_message {
	_Alignas(8) uint8_t bytes[KCPVPN_SHARD_MESSAGE_BYTES];
};

/**
 * Makes a follower.
 *
 * @config  as of the leader, with memory of its own; private_key and network_key are ignored
 * @shard   1 .. KCPVPN_SHARDS_MAX - 1
 * @return  as kcpvpn_native_new()
 */
KCPVPN_API int kcpvpn_native_new_follower(const struct kcpvpn_native_config *config, unsigned shard,
	int64_t now_us, struct kcpvpn_native **ret_native);

/**
 * A bound on memory that a leader and its followers may take beyond their own, whoever needs it. The one thing that they share: a
 * number, which any thread may change.
 *
 * @ret_memory  for kcpvpn_native_config.shared_memory of all of them; freed by kcpvpn_shared_memory_free() after them
 * @return      0 or -ENOMEM
 */
KCPVPN_API int kcpvpn_shared_memory_new(uint64_t bytes, struct kcpvpn_shared_memory **ret_memory);
KCPVPN_API void kcpvpn_shared_memory_free(struct kcpvpn_shared_memory *memory);

/** What names a peer in messages: above 0, never used again by this leader, nor by another but for a chance of 2^-40. */
KCPVPN_API uint64_t kcpvpn_peer_id(const struct kcpvpn_peer *peer);

/** Leader or follower. @return NULL if it has no peer of that number */
KCPVPN_API struct kcpvpn_peer *kcpvpn_native_peer(const struct kcpvpn_native *native, uint64_t id);

/**
 * Makes a peer of the leader known to a follower. What is told of it before is lost, so do it before
 * kcpvpn_peer_up(). kcpvpn_native_remove_peer() ends it.
 *
 * @config  as the leader's; its keys are ignored
 * @return  0; -EINVAL; -EEXIST; -ENOBUFS; -ENOMEM
 */
KCPVPN_API int kcpvpn_native_follow_peer(struct kcpvpn_native *follower, uint64_t id,
	const struct kcpvpn_peer_config *config, int64_t now_us, struct kcpvpn_peer **ret_peer);

/**
 * Says what a port is called in messages: of the leader, and of each follower the one that leaves from the same address. Those of
 * followers first, so that nothing is told of one that they cannot know. kcpvpn_native_close_port() ends it.
 *
 * @number  above 0, and of no other address ever: a message may come late
 * @return  0; -EINVAL; -EEXIST; -ENOMEM
 */
KCPVPN_API int kcpvpn_native_name_port(
	struct kcpvpn_native *native, const struct kcpvpn_udp_port *port, uint64_t number);

/**
 * Takes a message that the other side told; harmless if it concerns what is gone.
 *
 * @native  a follower: from its leader; the leader: from one of its followers
 */
KCPVPN_API void kcpvpn_native_hear(
	struct kcpvpn_native *native, const struct kcpvpn_shard_message *message, int64_t now_us);

/**
 * Of a follower's peer: 0, or the number of shards that the peer's sessions have, if they lack this one. Then only others can
 * send; KCPVPN_PEER_EVENT_WRITABLE tells of it.
 */
KCPVPN_API unsigned kcpvpn_peer_beyond(const struct kcpvpn_peer *peer);

/** Of a leader's peer: shards that the session in use has, 0 without one. */
KCPVPN_API unsigned kcpvpn_peer_shards(const struct kcpvpn_peer *peer);

#endif
