/*
 * The native wire: peers that prove who they are, over UDP, with forward secrecy, replay protection and roaming. The
 * specification is lib/PROTOCOL.md.
 *
 * The library does no I/O, reads no clock and starts no thread. The program brings sockets (struct kcpvpn_udp_port),
 * the time (`now_us`, microseconds of a clock that counts suspend, such as CLOCK_BOOTTIME) and randomness, and turns
 * this wheel:
 *
 *     1. datagrams came          ->  kcpvpn_native_input()
 *     2. the deadline came       ->  kcpvpn_native_on_deadline()
 *     3. while ((peer = kcpvpn_native_next_event(native, &events)))  read, write, look at the state
 *     4. kcpvpn_native_flush()   ->  everything that is to go out leaves, in batches
 *     5. sleep until a datagram comes or kcpvpn_native_next_deadline() is reached
 *
 * Handshakes wait in a bounded queue and at most one is worked on in a call of kcpvpn_native_on_deadline(); while
 * some wait the next deadline is "now". So data never waits for more than one of them (about 0.3 ms).
 *
 * One thread at a time uses a kcpvpn_native and its peers. Functions that can fail return 0 or a negative errno value.
 */
#ifndef KCPVPN_NATIVE_H
#define KCPVPN_NATIVE_H

#include "kcpvpn/export.h"
#include "kcpvpn/udp_port.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct iovec;
struct kcpvpn_native;
struct kcpvpn_peer;
struct kcpvpn_shard_message;
struct kcpvpn_shared_memory;

#ifndef KCPVPN_NEVER
#define KCPVPN_NEVER INT64_MAX /* a deadline that is not armed */
#endif

enum {
	KCPVPN_NATIVE_KEY_BYTES = 32,
	KCPVPN_NATIVE_DATAGRAM_MIN_BYTES = 1232, /* UDP payload that every path must carry */
	KCPVPN_NATIVE_DATAGRAM_MAX_BYTES = 9000,
	KCPVPN_NATIVE_OVERHEAD_BYTES =
		72,			/* UDP payload less the largest inner packet of one piece */
	KCPVPN_NATIVE_TARGETS_MAX = 8,	/* addresses a peer is called at */
	KCPVPN_NATIVE_PIECES_MAX = 128, /* of one message */
	KCPVPN_NATIVE_PINGS_MAX = 16,	/* that wait for their answers, of all peers together */
	KCPVPN_NATIVE_PING_MIN_BYTES = 96, /* least size that can be chosen */
};

struct kcpvpn_native_config {
	const uint8_t
		*private_key; /* X25519, KCPVPN_NATIVE_KEY_BYTES, lent for kcpvpn_native_new() */
	const uint8_t *network_key; /* the same, NULL = none; lent */
	uint32_t
		datagram_max_bytes; /* UDP payload received at most, told to peers; also the most ever sent */
	uint32_t peers_max;
	uint64_t memory_max_bytes; /* payload of all peers, as it lies in memory */
	/* With shards: memory for more of it, which all of them share; lent, NULL = none. So memory_max_bytes is what this thread
	 * has in any case, and one busy path may still have what it needs. */
	struct kcpvpn_shared_memory *shared_memory;
	/* Longest super-packet that the program takes, as length of its IP packet: 1280..65535; 0 = it takes none. */
	uint32_t super_max_bytes;
	bool handshake_limits_off; /* for benchmarks: no load detection, no buckets */
	uint8_t shards; /* that sessions have at most; 0 or 1: this is all there is of the node (kcpvpn/native_shards.h) */
	/* Microseconds since 1970. Need not be right and may jump: it only makes handshake numbers grow over restarts. */
	int64_t (*realtime_us)(void *ctx);
	void (*random)(void *ctx, void *buf, size_t len); /* unpredictable bytes; must not fail */
	/**
	 * With shards: a message is to be taken to a follower (of a follower: to its leader, `shard` is 0), in the order in
	 * which they are told. Called from within any function. It is copied, and may hold keys.
	 *
	 * @return  false: it cannot be taken. A follower tells it again later; what a leader tells has to be taken
	 */
	bool (*tell)(void *ctx, unsigned shard, const struct kcpvpn_shard_message *message);
	/** What kcpvpn_peer_lend() was given is not needed any more. May not call back. NULL = nothing is ever lent. */
	void (*loan_over)(void *ctx, void *loan);
	void *ctx; /* of all these */
};

enum kcpvpn_padding {
	KCPVPN_PADDING_NONE,
	KCPVPN_PADDING_16,   /* plaintext lengths are multiples of 16 */
	KCPVPN_PADDING_FULL, /* all datagrams with data have one size */
};

/** When repairs go beside what is sent, so that the other side need not wait for what is lost to be sent again. */
enum kcpvpn_fec_mode {
	KCPVPN_FEC_OFF,
	KCPVPN_FEC_FIXED,    /* `parity` repairs for `data` datagrams, always */
	KCPVPN_FEC_ADAPTIVE, /* by measured loss */
};

/** Of what is sent; what comes is repaired whatever stands here. None with KCPVPN_PADDING_FULL: repairs would stick out. */
struct kcpvpn_fec_config {
	enum kcpvpn_fec_mode mode;
	unsigned data;		       /* 1 .. 64 */
	unsigned parity;	       /* 0 .. 32 */
	unsigned max_overhead_percent; /* bytes of repairs to bytes of all else, 0 .. 200 */
	int64_t tail_us; /* silence after which bulk that has no repair gets one, 0 .. 1 s */
};

/** How inner packets are carried. */
enum kcpvpn_carriage {
	/* By what they are: in the order of their flow and sent again if lost, or alone and soon, or hardly at all. */
	KCPVPN_CARRIAGE_AUTO,
	KCPVPN_CARRIAGE_DATAGRAM, /* all without order, sent again only as long as that is soon */
	KCPVPN_CARRIAGE_RELIABLE, /* all in the order of their flow, sent again until their deadline */
};

enum {
	KCPVPN_DSCP_INHERIT = -1, /* that of the inner packets */
};

struct kcpvpn_peer_config {
	const uint8_t *public_key;    /* KCPVPN_NATIVE_KEY_BYTES, lent */
	const uint8_t *preshared_key; /* the same, NULL = none; lent */
	uint16_t tun_mtu;	      /* own inner MTU, told to the peer: 576..65535 */
	/* Send something at least so often while there is a session, 0 = no; the peer is not asked for it. */
	int64_t keepalive_us;
	int64_t dead_after_us; /* silence after which it counts as gone, 3 s .. 600 s */
	int64_t deadline_us;   /* bulk packets are given up after it; 0 = the default by class */
	bool roaming;	       /* false: sends only to the targets given, never to where it moved */
	bool persistent;       /* has targets and calls for ever; false: only while data waits */
	enum kcpvpn_padding padding;
	struct kcpvpn_fec_config fec;
	enum kcpvpn_carriage carriage;
	uint64_t
		rate_max_bps; /* most that is sent to it, headers down to IP counted; 0 = no such bound */
	/* That is the rate at which is sent while there is enough to send, whatever gets lost: for a link that is one's own */
	bool rate_fixed;
	int dscp; /* of outer packets: 0 .. 63, or KCPVPN_DSCP_INHERIT */
	bool ecn; /* mark outer packets as ECN-capable where the peer and the path agree, and heed what queues mark */
};

/** Where a peer may be called. */
struct kcpvpn_target {
	struct kcpvpn_endpoint remote;
	const struct kcpvpn_udp_port *port; /* that reaches it */
};

enum kcpvpn_peer_state {
	KCPVPN_PEER_DOWN,	/* not started: what it sends is dropped */
	KCPVPN_PEER_IDLE,	/* waits to be called, or for data (not persistent) */
	KCPVPN_PEER_CONNECTING, /* no session, or silent for dead_after_us, and calling */
	KCPVPN_PEER_UP,		/* a session, and an address to send to */
};

/** A bit set. */
enum kcpvpn_peer_event {
	KCPVPN_PEER_EVENT_READABLE = 1, /* kcpvpn_peer_recv_peek() has something */
	KCPVPN_PEER_EVENT_WRITABLE =
		2,		     /* kcpvpn_peer_ready() may be true again after it was false */
	KCPVPN_PEER_EVENT_STATE = 4, /* kcpvpn_peer_state() changed */
	KCPVPN_PEER_EVENT_MTU =
		8, /* kcpvpn_peer_inner_mtu() changed, or kcpvpn_peer_super_max() without the state */
	KCPVPN_PEER_EVENT_ENDPOINT =
		16, /* another address was proven: worth remembering over a restart */
	KCPVPN_PEER_EVENT_NAMES = 32, /* no target answers: names may mean other addresses by now */
};

enum kcpvpn_close {
	KCPVPN_CLOSE_SHUTDOWN,
	KCPVPN_CLOSE_RESTART,
	KCPVPN_CLOSE_REMOVED, /* by the administrator */
};

/**
 * @ret_native  owned by the caller, freed by kcpvpn_native_free()
 * @return      0; -EINVAL for a value out of range; -ENOMEM; -EIO if the crypto library fails
 */
KCPVPN_API int kcpvpn_native_new(const struct kcpvpn_native_config *config, int64_t now_us,
	struct kcpvpn_native **ret_native);

/** Frees all, sends nothing, wipes the keys. NULL is fine. */
KCPVPN_API void kcpvpn_native_free(struct kcpvpn_native *native);

/** The public half of a private key. Any 32 bytes are a private key. Needs no node. */
KCPVPN_API void kcpvpn_native_public_half(const uint8_t private_key[KCPVPN_NATIVE_KEY_BYTES],
	uint8_t ret_public_key[KCPVPN_NATIVE_KEY_BYTES]);

/**
 * Chooses the code that seals and opens datagrams, for the whole process: the fastest that passes its self-test on this
 * machine, which is what happens without this call, or libsodium's (to compare). All give the same bytes. Takes about a
 * millisecond; call it while there is one thread.
 *
 * @return  its name, static
 */
KCPVPN_API const char *kcpvpn_native_seal_with(bool libsodium);

struct stage_clock;

/** From now on the node enters its stages there (core/stage_clock.h). @stages  lent; NULL = no more */
KCPVPN_API void kcpvpn_native_profile(struct kcpvpn_native *native, struct stage_clock *stages);

/** The own public key. */
KCPVPN_API void kcpvpn_native_public_key(
	const struct kcpvpn_native *native, uint8_t ret_key[KCPVPN_NATIVE_KEY_BYTES]);

/** False if the host refused to keep keys out of swap (RLIMIT_MEMLOCK): worth a warning. */
KCPVPN_API bool kcpvpn_native_keys_locked(const struct kcpvpn_native *native);

/**
 * Takes datagrams that arrived.
 *
 * @batch  1..KCPVPN_BATCH_MAX; lent for the call, their bytes may be written to (they are decrypted in place). Nothing
 *         outside of them is touched: they may stand back to back, as UDP_GRO delivers them
 */
KCPVPN_API void kcpvpn_native_input(struct kcpvpn_native *native,
	const struct kcpvpn_udp_port *port, const struct kcpvpn_datagram *batch, size_t count,
	int64_t now_us);

/** The host would not send `len` bytes of UDP payload to `remote` in one piece (EMSGSIZE). */
KCPVPN_API void kcpvpn_native_too_big(struct kcpvpn_native *native,
	const struct kcpvpn_endpoint *remote, size_t len, int64_t now_us);

/** Does what is due. Harmless when called early. */
KCPVPN_API void kcpvpn_native_on_deadline(struct kcpvpn_native *native, int64_t now_us);
KCPVPN_API int64_t kcpvpn_native_next_deadline(const struct kcpvpn_native *native);

/** @return a peer that has events, which are taken; NULL if there is none */
KCPVPN_API struct kcpvpn_peer *kcpvpn_native_next_event(
	struct kcpvpn_native *native, unsigned *ret_events);

KCPVPN_API void kcpvpn_native_flush(struct kcpvpn_native *native, int64_t now_us);

/** A local address, route or link changed, or the host was suspended: every live peer is probed at once, calls begin anew. */
KCPVPN_API void kcpvpn_native_network_changed(struct kcpvpn_native *native, int64_t now_us);

/** A port is about to go: what is ready leaves by it; peers reached by it lose their address and targets by it. */
KCPVPN_API void kcpvpn_native_close_port(
	struct kcpvpn_native *native, const struct kcpvpn_udp_port *port, int64_t now_us);

/* ---- peers ------------------------------------------------------------------------------------------------------ */

/**
 * Adds a peer that is down.
 *
 * @return  0; -EINVAL for a value out of range or a key that no honest peer has; -EEXIST if the key is taken, or the own;
 *          -ENOBUFS at peers_max; -ENOMEM
 */
KCPVPN_API int kcpvpn_native_add_peer(struct kcpvpn_native *native,
	const struct kcpvpn_peer_config *config, int64_t now_us, struct kcpvpn_peer **ret_peer);

/** Ends it without a word (kcpvpn_peer_down() says one) and frees it. */
KCPVPN_API void kcpvpn_native_remove_peer(struct kcpvpn_native *native, struct kcpvpn_peer *peer);

/** Takes over another configuration; the keys must be the same, else -EINVAL. */
KCPVPN_API int kcpvpn_peer_configure(
	struct kcpvpn_peer *peer, const struct kcpvpn_peer_config *config, int64_t now_us);

/** Starts to call it, or to take its calls. Nothing to do is fine. */
KCPVPN_API void kcpvpn_peer_up(struct kcpvpn_peer *peer, int64_t now_us);

/** Tells it (three times) and drops everything; what it sends is dropped until kcpvpn_peer_up(). */
KCPVPN_API void kcpvpn_peer_down(
	struct kcpvpn_peer *peer, enum kcpvpn_close reason, int64_t now_us);

/**
 * Where it is called, in this order; replaces what was given before. An address that is proven stays in use.
 *
 * @count  0..KCPVPN_NATIVE_TARGETS_MAX
 */
KCPVPN_API void kcpvpn_peer_set_targets(struct kcpvpn_peer *peer,
	const struct kcpvpn_target *targets, size_t count, int64_t now_us);

/** True if a packet given now would leave at the next flush; if not, KCPVPN_PEER_EVENT_WRITABLE tells. */
KCPVPN_API bool kcpvpn_peer_ready(struct kcpvpn_peer *peer);

/** The same of a message of `len` bytes: a long one may lack credit where a short one does not. 0 = a packet in one piece */
KCPVPN_API bool kcpvpn_peer_room(struct kcpvpn_peer *peer, size_t len);

/** There is data for it: a peer that is not persistent is called, an idle one wakes up. */
KCPVPN_API void kcpvpn_peer_want(struct kcpvpn_peer *peer, int64_t now_us);

/**
 * Sends one inner IP packet, in the class and order that its header asks for.
 *
 * @packet  or, if kcpvpn_peer_super_max() is above 0, a message with another form of it (lib/PROTOCOL.md 9.2)
 * @return  0; -EAGAIN while kcpvpn_peer_room() is false; -EMSGSIZE beyond what the peer takes; -EINVAL if it is no IP
 *          packet, nor a form of one; -ENOBUFS; -ENOTCONN without a session
 */
KCPVPN_API int kcpvpn_peer_send(
	struct kcpvpn_peer *peer, const void *packet, size_t len, int64_t now_us);

/**
 * The same without a copy, for long messages.
 *
 * @packet  with 0 returned: stays as it is, unchanged, until loan_over() of the configuration gets `loan`, which may be before this
 *          returns, and happens before kcpvpn_native_free() does at the latest. With any failure the caller's
 * @loan    not NULL
 */
KCPVPN_API int kcpvpn_peer_lend(
	struct kcpvpn_peer *peer, void *packet, size_t len, void *loan, int64_t now_us);

/**
 * Shows the next message in place.
 *
 * @iov     filled with the pieces, borrowed until kcpvpn_peer_recv_drop() or the next input; may be written to
 * @iov_max KCPVPN_NATIVE_PIECES_MAX are always enough; a message that has more pieces than this is dropped
 * @return  how many pieces; 0 if nothing is whole yet
 */
KCPVPN_API int kcpvpn_peer_recv_peek(
	struct kcpvpn_peer *peer, struct iovec *iov, int iov_max, size_t *ret_len);
KCPVPN_API void kcpvpn_peer_recv_drop(struct kcpvpn_peer *peer, int64_t now_us);

KCPVPN_API enum kcpvpn_peer_state kcpvpn_peer_state(const struct kcpvpn_peer *peer);

/** Where packets go now. @return false if nowhere */
KCPVPN_API bool kcpvpn_peer_endpoint(
	const struct kcpvpn_peer *peer, struct kcpvpn_endpoint *ret_endpoint);

/** Largest inner packet that travels in one piece on the path as it is known now. */
KCPVPN_API uint32_t kcpvpn_peer_inner_mtu(const struct kcpvpn_peer *peer);

/**
 * The MTU of the link by which the host reaches the peer now, IP header included; 0 = not known. Without it the search
 * for the path's MTU takes an Ethernet for granted, and finds out late that a link carries more again. To be told anew
 * after KCPVPN_PEER_EVENT_ENDPOINT.
 */
KCPVPN_API void kcpvpn_peer_set_link_mtu(
	struct kcpvpn_peer *peer, uint32_t mtu_bytes, int64_t now_us);

/** Largest inner packet the peer takes at all (its own tun_mtu); 0 while unknown. */
KCPVPN_API uint32_t kcpvpn_peer_tun_mtu(const struct kcpvpn_peer *peer);

/**
 * Longest super-packet that the peer takes, as length of its IP packet; 0 = none. Not more than 128
 * segments, each of which is at most kcpvpn_peer_tun_mtu() long as a packet of its own.
 */
KCPVPN_API uint32_t kcpvpn_peer_super_max(const struct kcpvpn_peer *peer);

/**
 * Sends a probe that the peer answers, at once, past everything that waits: how long the way there and back takes now.
 *
 * @size_bytes  of its datagram in UDP payload, KCPVPN_NATIVE_PING_MIN_BYTES..; it may be more than the path is known to
 *              carry. 0 = as small as can be
 * @ret_ping    for kcpvpn_peer_pong(); beyond KCPVPN_NATIVE_PINGS_MAX the oldest one is forgotten
 * @return      0; -ENOTCONN without a session; -EMSGSIZE beyond what this node ever sends, or below the least
 */
KCPVPN_API int kcpvpn_peer_ping(
	struct kcpvpn_peer *peer, uint32_t size_bytes, int64_t now_us, uint64_t *ret_ping);

/** @return microseconds from the probe to its answer; -1 = none came yet, or it is forgotten */
KCPVPN_API int64_t kcpvpn_peer_pong(const struct kcpvpn_peer *peer, uint64_t ping);

/** A pointer of the program's own, NULL at first. The library never looks at it. */
KCPVPN_API void kcpvpn_peer_set_user(struct kcpvpn_peer *peer, void *user);
KCPVPN_API void *kcpvpn_peer_user(const struct kcpvpn_peer *peer);

/** Of one peer, now. Counters only grow; times in microseconds, -1 while unknown. */
struct kcpvpn_peer_status {
	int64_t last_rx_us;   /* when the last authentic datagram came */
	int64_t handshake_us; /* when the session in use was confirmed */
	int64_t moved_us;     /* when it was last proven to be at another address than before */
	int64_t srtt_us;
	int64_t rtt_var_us;
	uint64_t rate_bps;	 /* measured delivery rate, 0 = unknown */
	bool contested;		 /* others keep a queue standing on the path */
	uint32_t path_mtu_bytes; /* UDP payload in use */
	double loss_raw_out;	 /* 0..1, over the last few hundred datagrams; negative = unknown */
	double loss_raw_in; /* the same, by the numbers of what came over the last ten seconds */
	double loss_residual_in; /* of what the peer sent in them, what never came; negative = unknown */
	double fec_rate_out; /* repairs for each datagram they cover, as things are; 0 = none are sent */
	uint32_t fec_window_out; /* datagrams that one covers at most */
	double fec_rate_in; /* the same of what came over the last ten seconds; negative = unknown */
	uint32_t fec_window_in;
	uint64_t fec_recovered;	  /* datagrams brought back */
	uint64_t fec_repairs_in;  /* repairs that came */
	uint64_t fec_repairs_out; /* and went */
	uint64_t in_datagrams;	  /* authentic */
	uint64_t out_datagrams;
	uint64_t in_bytes; /* UDP payload */
	uint64_t out_bytes;
	uint64_t retransmits; /* items sent again */
	uint64_t abandoned;   /* messages given up at their deadline or for want of room */
	uint64_t handshakes;  /* sessions confirmed */
	uint64_t init_sent, resp_sent;
	uint64_t
		drop_psk; /* INITs of this peer whose params do not open: wrong preshared key or forged; see below */
	uint64_t drop_stale;	 /* INITs with an old number */
	uint64_t drop_replay;	 /* DATA with a counter seen before or too old */
	uint64_t drop_tag;	 /* DATA to its index that is not authentic */
	uint64_t drop_malformed; /* authentic, but not what the specification says */
	uint64_t drop_expired;	 /* DATA of a session that is over */
	uint64_t memory_bytes;	 /* fixed state, tables and slots */
	/* Why there is no session, as far as this side can know; static text such as "its answer does not open: wrong public or
	 * preshared key"; NULL = nothing to say. */
	const char *trouble;
};

KCPVPN_API void kcpvpn_peer_status(
	const struct kcpvpn_peer *peer, struct kcpvpn_peer_status *ret_status);

/** Of all. One counter for each way a datagram can be bad. */
struct kcpvpn_native_stats {
	uint64_t in_datagrams, in_bytes;
	uint64_t out_datagrams, out_bytes;
	uint64_t init_received, resp_received, cookie_received, reject_received;
	uint64_t cookies_sent, rejects_sent, resp_sent, resp_repeated;
	uint64_t handshakes_done;
	uint64_t under_load; /* INITs that came while under load */
	uint64_t drop_type;  /* unknown type, version or size */
	uint64_t
		drop_mac1; /* INIT or RESP for another key, or by somebody who does not know ours */
	uint64_t drop_mac2;  /* INIT without a good cookie under load (a cookie was sent) */
	uint64_t drop_rate;  /* INITs beyond the buckets */
	uint64_t drop_queue; /* INITs beyond the queue of handshakes */
	uint64_t drop_unknown_peer;
	uint64_t drop_handshake; /* does not decrypt */
	uint64_t drop_params;	 /* values out of range */
	uint64_t drop_stale;	 /* old init_seq */
	uint64_t drop_pending;	 /* INIT below one that waits for its confirmation */
	uint64_t drop_down;	 /* of a peer that is down by order */
	uint64_t drop_index;	 /* RESP, COOKIE, REJECT or DATA for an index that is not in use */
	uint64_t drop_address;	 /* RESP, COOKIE or REJECT from where nobody was called */
	uint64_t drop_shard;
	uint64_t drop_counter; /* 2^48 or more */
	uint64_t drop_replay;
	uint64_t drop_expired;
	uint64_t drop_tag;
	uint64_t drop_frame; /* plaintext header or segments malformed */
	uint64_t drop_control;
	uint64_t drop_memory;
	uint64_t
		nonce_refused; /* datagrams not sent because their counter was not new; must stay 0 */
};

KCPVPN_API void kcpvpn_native_stats(
	const struct kcpvpn_native *native, struct kcpvpn_native_stats *ret_stats);

#endif
