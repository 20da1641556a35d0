/*
 * Two nodes and a wire between them without delay, with a clock that is moved by hand: what the tests of the public API
 * stand on. Datagrams pass through `filter`, which may look at them, change them or lose them.
 */
#ifndef TESTS_STACK_PAIR_H
#define TESTS_STACK_PAIR_H

#include "core/rand.h"
#include "kcpvpn/node.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PAIR_PENDING_MAX = 512,
	PAIR_DATAGRAM_MAX = 1600,
	CRAFT_MAX = 4096, /* longer than any buffer of the library */
	PAIR_CONVS_MAX = 32,
};

struct pair;
struct pair_end;

struct pair_datagram {
	struct kcpvpn_endpoint to;
	size_t len;
	uint8_t bytes[PAIR_DATAGRAM_MAX];
};

/** @return  whether the datagram arrives. `bytes` may be changed. */
typedef bool (*pair_filter_fn)(struct pair_end *from, uint8_t *bytes, size_t len);

struct pair_end {
	struct pair *pair;
	struct kcpvpn_node *node;
	struct kcpvpn_udp_port port;
	struct kcpvpn_endpoint address;
	bool accepts;
	struct kcpvpn_conv *conv; /* dialled, or accepted last; NULL once closed here */
	unsigned events;	  /* all that were told of any conversation and not yet looked at */
	unsigned closed;	  /* conversations that ended by themselves and were freed */
	enum kcpvpn_close_reason closed_reason; /* of the last */
	bool keep_closed; /* leave conversations that ended for the test to free */
	uint64_t random;
	uint64_t datagrams; /* sent in all */
	uint64_t bytes;	    /* of them, headers down to IP counted */
	uint64_t sent_tos[256];
	struct pair_datagram *out;
	struct pair_datagram *spare; /* takes what is sent while the other is being read */
	size_t out_count;
};

struct pair {
	struct pair_end a; /* dials */
	struct pair_end b; /* accepts */
	int64_t now_us;
	uint64_t wakes; /* deadlines served by pair_run() */
	pair_filter_fn filter;
};

/** salsa20, message mode, 10/3, fast3, kcptun's other defaults. The key is static. */
struct kcpvpn_config pair_config(void);

/** Makes both nodes. `b` may be NULL: as `a`. */
void pair_open(struct pair *pair, const struct kcpvpn_config *a, const struct kcpvpn_config *b);
void pair_close(struct pair *pair);

/** Dials from a to b with conversation number `number` (0 = random). */
void pair_dial(struct pair *pair, uint32_t number);

/** Lets both ends flush and hands over what they sent, until nothing moves. No time passes. */
void pair_exchange(struct pair *pair);

/** Lets `us` microseconds pass; deadlines are served when they come. */
void pair_run(struct pair *pair, int64_t us);

/** pair_run() until `holds`, at most 60 s. @return whether it came to hold */
bool pair_run_until(struct pair *pair, bool (*holds)(struct pair *pair));

/** Takes the events of a node into its end: accepts, frees what ended. */
void pair_take_events(struct pair_end *end);

/** What was told since the last call. */
unsigned pair_events(struct pair_end *end);

/** Hands a datagram to `end` as if `from` had sent it. */
void pair_inject(
	struct pair_end *end, const struct kcpvpn_endpoint *from, const void *bytes, size_t len);

/** An endpoint 192.0.2.`host`:29900. */
struct kcpvpn_endpoint pair_endpoint(uint8_t host);

struct kcpvpn_stats pair_stats(const struct pair_end *end);
struct kcpvpn_conv_stats pair_conv_stats(const struct pair_end *end);

/** Sends `len` bytes of pattern `seed`. @return as kcpvpn_conv_send() */
int pair_send(struct pair_end *end, uint8_t seed, size_t len);

/** Takes the next message and checks that it is pattern `seed` of `len` bytes. */
void pair_expect(struct pair_end *end, uint8_t seed, size_t len);

/** Byte `i` of pattern `seed`. */
uint8_t pair_pattern(uint8_t seed, size_t i);

/** A seeded generator (not for secrets), as the node's source of randomness: `ctx` is its uint64_t state. */
void pair_random_fill(void *ctx, void *buf, size_t len);

/* ---- crafted datagrams ------------------------------------------------------------------------------------------- */

struct craft {
	size_t len;
	uint8_t bytes[CRAFT_MAX];
};

struct craft_segment {
	uint32_t conv;
	uint8_t cmd, frg;
	uint16_t wnd;
	uint32_t ts, sn, una, len; /* `len` as written */
	size_t body;		   /* bytes that follow */
};

/** Appends a segment; the body is zeros. */
void craft_add_segment(struct craft *craft, const struct craft_segment *segment);

/** Puts an FEC header in front of what is there. @type FEC_TYPE_...; @size -1 = what it should be */
void craft_wrap_fec(struct craft *craft, uint32_t seqid, uint16_t type, int size);

/** Puts nonce and CRC in front, as cipher "none" does. */
void craft_wrap_none(struct craft *craft);

#endif
