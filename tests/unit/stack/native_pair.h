/*
 * Two or more nodes of the native wire on a network in virtual time: what tests, simulations and fuzz targets of that wire
 * stand on. Everything that happens is a function of the seed.
 *
 * The network loses, delays, duplicates and reorders, and drops what is longer than its MTU. It watches what passes: the
 * same receiver index and counter with different bytes, so a nonce used twice, ends the program, and so does DATA on a
 * session that its sender has not confirmed or that has ended, and a node that spins without time passing.
 */
#ifndef TESTS_STACK_NATIVE_PAIR_H
#define TESTS_STACK_NATIVE_PAIR_H

#include "kcpvpn/native.h"
#include "kcpvpn/native_shards.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	NATIVE_PAIR_ENDS = 4,
	NATIVE_PAIR_MESSAGE_MAX = 65600,
	NATIVE_PAIR_DATAGRAM_MAX = 9000,
};

struct native_pair;
struct native_end;
struct native_flight;
struct native_nonces;

/** What becomes of what an end sends. All zeros: arrives at once, always. */
struct native_link {
	uint32_t loss_ppm;
	uint32_t duplicate_ppm;
	int64_t delay_us;
	int64_t jitter_us;  /* up to so much more, drawn for each datagram: reorders */
	size_t mtu_bytes;   /* UDP payload that passes at most, 0 = any */
	uint64_t rate_bps;  /* of UDP payload, 0 = no bottleneck */
	size_t queue_bytes; /* that wait before it; what does not fit is lost */
	size_t mark_bytes;  /* ECN-capable datagrams that find more waiting are marked, 0 = none */
	uint32_t mark_ppm;  /* as is this share of them, whatever waits */
	bool drops_capable; /* somebody drops all that is ECN-capable */
	bool marks_all;	    /* somebody marks all that is */
};

/** @return  whether the datagram goes on its way. `bytes` may be changed. */
typedef bool (*native_pair_filter_fn)(
	struct native_end *from, const struct kcpvpn_endpoint *to, uint8_t *bytes, size_t len);

/** A whole message was read. */
typedef void (*native_pair_message_fn)(
	struct native_end *end, size_t peer, const uint8_t *bytes, size_t len);

/** The program was told: what it does about it leaves with the flush that follows. */
typedef void (*native_pair_events_fn)(struct native_end *end, size_t peer, unsigned events);

/** How an end is made. All zeros but for the numbers that native_pair_options() sets. */
struct native_end_options {
	struct kcpvpn_peer_config peer; /* its keys are ignored */
	uint32_t datagram_max_bytes;
	uint64_t memory_max_bytes;
	uint32_t super_max_bytes;
	uint8_t shards;		/* 0 and 1: no followers */
	int64_t shard_delay_us; /* of messages between them, up to so much, drawn for each */
	bool has_psk;
	bool has_network_key;
	bool limits_off;
	uint8_t psk; /* every byte of the preshared key, if has_psk */
	uint8_t network_key;
};

/** Messages between a leader and its followers on their way, in order. */
struct native_mail;

/** A shard above 0 of an end. */
struct native_pair_follower {
	struct native_end *end;
	struct kcpvpn_native *native;
	struct kcpvpn_udp_port port;
	struct kcpvpn_peer *peers[NATIVE_PAIR_ENDS];
	uint64_t messages[NATIVE_PAIR_ENDS]; /* read */
	uint64_t sent;			     /* datagrams */
};

struct native_end {
	struct native_pair *pair;
	size_t number;
	struct kcpvpn_native *native; /* NULL while it is dead */
	struct kcpvpn_udp_port port;
	struct kcpvpn_endpoint address; /* it sends from and is reached at; change it to roam */
	struct native_link link;	/* of what it sends */
	int64_t link_free_us;		/* when what waits before the bottleneck has passed */
	uint64_t overflows;		/* lost there */
	struct native_end_options options;
	struct kcpvpn_peer *peers[NATIVE_PAIR_ENDS]; /* the other ends, as this one knows them */
	unsigned events[NATIVE_PAIR_ENDS];	     /* told and not yet looked at */
	struct native_pair_follower followers[KCPVPN_SHARDS_MAX]; /* from 1 on */
	struct native_mail *mail[KCPVPN_SHARDS_MAX];		  /* to each; 0: to the leader */
	bool unread;	     /* leave messages where they are */
	int64_t realtime_us; /* its clock at virtual time 0; step it as you like */
	uint64_t random;     /* state of its source of randomness */
	uint64_t sent[16];   /* datagrams by the low bits of their first byte: 8 INIT .. 12 DATA */
	uint64_t sent_bytes;
	uint64_t sent_tos[256];		     /* datagrams by their TOS */
	uint64_t marked;		     /* by the network */
	uint64_t keepalives;		     /* of the DATA sent */
	uint64_t too_long;		     /* lost by mtu_bytes */
	uint64_t wakes;			     /* times it asked to be woken, and was */
	uint64_t messages[NATIVE_PAIR_ENDS]; /* read */
	size_t last_len;		     /* of the message read last */
	uint8_t last[NATIVE_PAIR_MESSAGE_MAX];
};

struct native_pair {
	struct native_end ends[NATIVE_PAIR_ENDS];
	int64_t now_us;
	uint64_t random;
	native_pair_filter_fn filter;
	native_pair_message_fn on_message;
	native_pair_events_fn on_events;
	void *user;
	struct native_flight *flights; /* heap by time, then by order */
	size_t flights_count, flights_max;
	uint64_t flights_made;
	struct native_nonces *nonces;
};

/** roaming, persistent, tun_mtu 1400, dead_after 15 s, no keepalive; 1472 bytes, 64 MB. */
struct native_end_options native_pair_options(void);

/** An empty network at 1000 s of virtual time. */
void native_pair_init(struct native_pair *pair, uint64_t seed);
void native_pair_fini(struct native_pair *pair);

/** Starts end `i`. It has its own key pair, the same whenever it is started. @options  NULL = native_pair_options() */
struct native_end *native_pair_start(
	struct native_pair *pair, size_t i, const struct native_end_options *options);

/** Ends it without a word, as SIGKILL does. What it sent is still on its way. */
void native_pair_kill(struct native_pair *pair, size_t i);

/** Makes `to` known to `from`, who may call it if `calls`. */
void native_pair_know(struct native_pair *pair, size_t from, size_t to, bool calls);

/** Both know each other and are up; `a` calls, and `b` too if `both`. */
void native_pair_join(struct native_pair *pair, size_t a, size_t b, bool both);

/** Ends 0 and 1 started with the same options, joined: 0 calls. */
void native_pair_open(
	struct native_pair *pair, uint64_t seed, const struct native_end_options *options);

/** Lets `us` pass. */
void native_pair_run(struct native_pair *pair, int64_t us);

/** native_pair_run() until `holds`, at most `us`. @return whether it came to hold */
bool native_pair_run_until(
	struct native_pair *pair, bool (*holds)(struct native_pair *pair), int64_t us);

/** Lets what is due happen; no time passes. */
void native_pair_exchange(struct native_pair *pair);

/** Both of 0 and 1 have a session: for native_pair_run_until(). */
bool native_pair_is_up(struct native_pair *pair);

/** Events of `peer` at `end` since the last call. */
unsigned native_pair_events(struct native_end *end, size_t peer);

/** A datagram arrives at `end` as if it came from `from`, now. */
void native_pair_inject(
	struct native_end *end, const struct kcpvpn_endpoint *from, const void *bytes, size_t len);

/** 192.0.2.`host`:29900. */
struct kcpvpn_endpoint native_pair_endpoint(uint8_t host);

/** Fills a UDP packet over IPv4, `len` (28 ..) bytes in all, from 10.0.0.`from` to 10.0.0.`to`, ports `flow`; its bytes
 * follow from `seed`. */
void native_pair_packet(
	uint8_t *packet, size_t len, uint8_t from, uint8_t to, uint16_t flow, uint32_t seed);

/** Numbers that follow from `state` (not for secrets). */
uint64_t native_pair_random(uint64_t *state);

/** The public key of end `i`, whether it is started or not. */
void native_pair_public_key(size_t i, uint8_t ret_key[KCPVPN_NATIVE_KEY_BYTES]);

/** And its private key. */
void native_pair_private_key(size_t i, uint8_t ret_key[KCPVPN_NATIVE_KEY_BYTES]);

/** Prints and ends the program: for what must never happen. */
__attribute__((noreturn, format(printf, 2, 3))) void native_pair_fail(
	const struct native_pair *pair, const char *format, ...);

#endif
