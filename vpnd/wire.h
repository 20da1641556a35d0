/*
 * What lies between the packet path and the network: a wire carries whole inner packets to and from peers. There is
 * one implementation a protocol; the packet path, the queues and the filter know only this.
 *
 *      packet_path  --wire_ops.send-->  wire  --> UDP
 *      packet_path  <--wire_events----  wire  <-- UDP
 */
#ifndef VPND_WIRE_H
#define VPND_WIRE_H

#include "core/mono.h"
#include "core/super_message.h"
#include "session/ingress.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config;
struct control_peer;
struct control_status;
struct fault;
struct iovec;
struct peer;
struct stage_clock;
struct wire;

/** Why a peer is stopped, as far as its other side may want to know. */
enum wire_stop {
	WIRE_STOP_SHUTDOWN, /* the daemon ends, or the peer is down by order */
	WIRE_STOP_RESTART,  /* comes again at once, with other keys or another wire */
	WIRE_STOP_REMOVED,  /* is no longer configured */
};

enum wire_peer_state {
	WIRE_PEER_DOWN,	      /* not started */
	WIRE_PEER_IDLE,	      /* waits for the other side to call */
	WIRE_PEER_CONNECTING, /* calls, or calls again */
	WIRE_PEER_UP,
};

/** What a wire tells. Called from within its own functions; they must not call back into it. */
struct wire_events {
	void *ctx;
	/** A message of a known peer came: `count` pieces, `len` bytes in all, lent. */
	void (*received)(
		void *ctx, struct peer *peer, const struct iovec *pieces, int count, size_t len);
	/** Whose is a packet from an unknown caller, by its inner source address? NULL = nobody's. */
	struct peer *(*owner)(void *ctx, const struct iovec *pieces, int count, size_t len);
	/** The peer can take packets again after wire_ops.send gave false. */
	void (*writable)(void *ctx, struct peer *peer);
	void (*state_changed)(void *ctx, struct peer *peer);
	/**
	 * How long packets to the peer may be, in bytes.
	 *
	 * @path  the longest that travels in one piece on the path as measured; 0 = not measured
	 * @most  the longest that the peer takes at all; 0 = it did not say
	 * @super the longest super-packet that it takes; 0 = none
	 */
	void (*mtu_changed)(
		void *ctx, struct peer *peer, uint32_t path, uint32_t most, uint32_t super);
	/** Another thread took a message from the host that only this one can send. NULL = there is no other. */
	void (*handed)(void *ctx, struct peer *peer, const void *message, size_t len);
	struct stage_clock *stages; /* to be entered; NULL = nobody measures */
};

struct wire_ops {
	/** Begins to reach a peer. @return 0 or -ENOMEM */
	int (*peer_start)(struct wire *wire, struct peer *peer);
	/** Ends it: conversations are closed, what comes from it is dropped. Harmless if it was not started. */
	void (*peer_stop)(struct wire *wire, struct peer *peer, enum wire_stop why);
	enum wire_peer_state (*peer_state)(const struct wire *wire, const struct peer *peer);
	/** `peer->config` changed in what needs no new session. Harmless if the peer was not started. */
	void (*peer_changed)(struct wire *wire, struct peer *peer);
	/** Which peers there are, or who owns which inner address, changed. */
	void (*peers_changed)(struct wire *wire);
	/**
	 * Takes over another configuration, whose peers are started and stopped by other calls: opens what is new to
	 * listen on, closes what is gone. On failure everything stays as it was. @return 0 or a negative errno
	 */
	int (*set_config)(struct wire *wire, const struct config *config, struct fault *fault);
	/** True if a message of peer->longest_bytes given now would leave at once; if not, wire_events.writable tells when. */
	bool (*ready)(struct wire *wire, struct peer *peer);
	/** Sends one inner packet, or to a peer that takes super-packets a message of one (core/super_message.h). @return 0; a negative errno if it was refused and is lost */
	int (*send)(struct wire *wire, struct peer *peer, const void *packet, size_t len);
	/**
	 * The same of a message that is taken over: with 0 returned it is given back by ingress_packet_return() when it is not needed any
	 * more. NULL = the wire always copies.
	 */
	int (*lend)(struct wire *wire, struct peer *peer, struct ingress_packet *packet);
	/** Does what is due and serves what arrived, by wire_events. @return true if there was anything */
	bool (*turn)(struct wire *wire, struct mono now);
	/** The measured way to a peer. @return false while nothing is measured */
	bool (*path)(
		const struct wire *wire, const struct peer *peer, struct ingress_path *ret_path);
	/** Everything that the calls before made ready leaves; deadlines are set. After each turn. */
	void (*flush)(struct wire *wire, struct mono now);
	/** The host's links, addresses or routes changed; `slept`: it was suspended. */
	void (*network_changed)(struct wire *wire, bool slept);
	/** Loss of what comes from a peer, before and after repair, 0..1; negative = not known. Cheap. */
	void (*peer_loss)(const struct wire *wire, const struct peer *peer, double *ret_raw,
		double *ret_residual);
	/** Fills what it knows of a peer. */
	void (*peer_status)(
		const struct wire *wire, const struct peer *peer, struct control_peer *status);
	/** Fills what it knows of the whole: addresses listened on, warnings. */
	void (*status)(const struct wire *wire, struct control_status *status);
	/**
	 * Sends a probe to a peer.
	 *
	 * @size_bytes  of its datagram in UDP payload; 0 = as small as can be
	 * @ret_ping    for pong()
	 * @return      0; -ENOTCONN without a session; -EMSGSIZE for a size that cannot be; -EOPNOTSUPP if sizes cannot be
	 *              chosen; -EBUSY if another one waits for its answer and two cannot be told apart
	 */
	int (*ping)(struct wire *wire, struct peer *peer, uint32_t size_bytes, uint64_t *ret_ping);
	/** @return microseconds that a probe and its answer took; -1 = it was not answered yet */
	int64_t (*pong)(const struct wire *wire, const struct peer *peer, uint64_t ping);
	/** Closes everything. All peers are stopped. */
	void (*free)(struct wire *wire);
};

/** The first member of every implementation. */
struct wire {
	const struct wire_ops *ops;
	const struct wire_events *events;
	uint16_t mtu_bytes;	   /* largest inner packet, before any path is measured */
	struct super_limits takes; /* of what comes from peers */
	bool live_endpoints; /* other endpoints of a peer are taken over by peer_changed alone */
	int own_ifindex;     /* the tunnel's interface: a peer behind it cannot be reached */
};

#endif
