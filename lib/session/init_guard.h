/*
 * What a responder spends on strangers' handshakes: tells when it is flooded (then only a source that proved its address by
 * a cookie goes on), and how much each source, each network and all together may cost.
 *
 * Order of use for an INIT with a good mac1 that the answer cache does not know:
 *
 *   if (init_guard_arrived(guard, queued, now)) {         under load
 *           mac2 bad:  answer with a COOKIE, done
 *           if (init_guard_admit(guard, &source, now) != INIT_GUARD_PASS) drop
 *   }
 *   X25519 ...
 *
 * The state is one block of fixed size, whatever strangers send.
 */
#ifndef SESSION_INIT_GUARD_H
#define SESSION_INIT_GUARD_H

#include "core/mono.h"
#include "core/siphash.h"
#include "kcpvpn/endpoint.h"
#include "session/token_bucket.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rand_source;

enum {
	INIT_GUARD_LOAD_INITS = 200,  /* new INITs in a second above which it is load */
	INIT_GUARD_LOAD_QUEUE = 64,   /* handshakes waiting above which it is load */
	INIT_GUARD_LOAD_US = 1000000, /* how long load lasts after the last sign of it */
	INIT_GUARD_SLOTS = 10,	      /* parts in which the last second is counted */

	INIT_GUARD_ROWS = 2,		/* buckets of a source; it is limited when all are empty */
	INIT_GUARD_HOST_BUCKETS = 2048, /* a row, power of two */
	INIT_GUARD_NET_BUCKETS = 512,	/* a row, power of two */
	INIT_GUARD_REKEY_US = 10000000, /* how long two sources can share their buckets at most */
};

/* Of an IPv4 address or IPv6 /64; of a /24 or /48; of all. */
#define INIT_GUARD_HOST_RATE ((struct token_rate){.interval_us = 50000, .burst = 5})
#define INIT_GUARD_NET_RATE ((struct token_rate){.interval_us = 5000, .burst = 50})
#define INIT_GUARD_TOTAL_RATE ((struct token_rate){.interval_us = 1000, .burst = 50})
/*
 * COOKIEs: what each address gets in any case, and what all that want more share. A COOKIE is the dearest part of an INIT
 * that leads to nothing (half of it is the kernel's), so a flood from a few addresses must not decide how many there are.
 */
#define INIT_GUARD_COOKIE_HOST_RATE ((struct token_rate){.interval_us = 10000, .burst = 20})
#define INIT_GUARD_COOKIE_REST_RATE ((struct token_rate){.interval_us = 200, .burst = 200})
/* Own first INITs and PINGs to many peers at once: 50/s, the first ten without waiting (a small site starts at once); more for
 * who has thousands of peers (stack/native_peer.c). */
#define INIT_GUARD_SENDING_RATE ((struct token_rate){.interval_us = 20000, .burst = 10})
/* Of one peer: INITs whose parameters were opened, RESPs looked at for one attempt, resyncs after a REJECT. */
#define INIT_GUARD_PEER_RATE ((struct token_rate){.interval_us = 100000, .burst = 5})
#define INIT_GUARD_RESP_RATE ((struct token_rate){.interval_us = 50000, .burst = 20})
#define INIT_GUARD_RESYNC_RATE ((struct token_rate){.interval_us = 30000000, .burst = 2})

enum init_guard_verdict {
	INIT_GUARD_PASS,
	INIT_GUARD_HOST,  /* drop: too many from this address */
	INIT_GUARD_NET,	  /* drop: too many from this network */
	INIT_GUARD_TOTAL, /* drop: too many in all */
	INIT_GUARD_VERDICTS,
};

struct init_guard_counters {
	uint64_t arrived;			/* new INITs */
	uint64_t under_load;			/* of them while under load */
	uint64_t loads;				/* times load began */
	uint64_t verdicts[INIT_GUARD_VERDICTS]; /* of init_guard_admit() */
};

/** One for a node, about 74 KB; embed it. */
struct init_guard {
	bool limits_off;
	struct siphash_key key;
	struct mono rekey_at;
	struct mono loaded_until;
	int64_t slot_number;		       /* of the newest slot, counted from time 0 */
	uint32_t slot_inits[INIT_GUARD_SLOTS]; /* ring over the last second */
	uint32_t second_inits;		       /* their sum */
	struct token_bucket total;
	struct token_bucket host[INIT_GUARD_ROWS][INIT_GUARD_HOST_BUCKETS];
	struct token_bucket net[INIT_GUARD_ROWS][INIT_GUARD_NET_BUCKETS];
	struct token_bucket cookies_host[INIT_GUARD_ROWS][INIT_GUARD_HOST_BUCKETS];
	struct token_bucket cookies_rest;
	const struct rand_source *rnd;
	struct init_guard_counters counters;
};

/** @rnd  gives the keys of the table; must outlive the guard */
void init_guard_init(struct init_guard *guard, const struct rand_source *rnd);

/** For measuring how many handshakes a core makes: without limits there is never load and all pass. On at first. */
void init_guard_set_limits(struct init_guard *guard, bool on);

/**
 * Counts a new INIT: mac1 is good and the answer cache does not know it.
 *
 * @queued  handshakes that wait for the processor
 * @return  true under load: demand a good mac2, then ask init_guard_admit()
 */
bool init_guard_arrived(struct init_guard *guard, size_t queued, struct mono now);

/** True under load; counts nothing. */
bool init_guard_loaded(const struct init_guard *guard, struct mono now);

/**
 * Takes from the buckets of a source that proved its address, if all have something left; else from none, so that what is
 * refused costs nobody anything.
 *
 * @source  IPv4-mapped addresses already turned into IPv4, family 4 or 6
 */
enum init_guard_verdict init_guard_admit(
	struct init_guard *guard, const struct kcpvpn_endpoint *source, struct mono now);

/**
 * Whether a source that did not prove its address is sent a COOKIE: it is if its address had few, or if few are sent. Who
 * calls under the address of another takes from what that one is sure of, but not from the rest.
 */
bool init_guard_cookie(
	struct init_guard *guard, const struct kcpvpn_endpoint *source, struct mono now);

/** "pass", "host", "net", "total": names of the counters. Static. */
const char *init_guard_verdict_str(enum init_guard_verdict verdict);

#endif
