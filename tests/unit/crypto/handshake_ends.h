/* Two ends of a handshake with made-up keys and a generator of their own, for tests. */
#ifndef TESTS_UNIT_CRYPTO_HANDSHAKE_ENDS_H
#define TESTS_UNIT_CRYPTO_HANDSHAKE_ENDS_H

#include "core/rand.h"
#include "crypto/handshake.h"

#include <stdint.h>

struct handshake_ends {
	struct handshake_self a, b;	      /* a initiates */
	struct handshake_peer a_at_b, b_at_a; /* each as the other knows it */
	uint8_t params_a[HANDSHAKE_PARAMS_BYTES], params_b[HANDSHAKE_PARAMS_BYTES];
	uint64_t seed;
	struct rand_source rnd;

	/* One exchange, as far as it went. */
	struct handshake_attempt attempt;
	struct handshake_responder responder;
	uint8_t init[HANDSHAKE_INIT_BYTES], resp[HANDSHAKE_RESP_BYTES];
	struct handshake_keys keys_a, keys_b;
};

enum {
	HANDSHAKE_ENDS_INDEX = 0x5a5a5a50,
};

/** Keys from `seed`; with a network key if `network_key` is not NULL. */
void handshake_ends_init(
	struct handshake_ends *ends, uint64_t seed, const uint8_t network_key[HANDSHAKE_KEY_BYTES]);

/** a writes `init`. */
void handshake_ends_write_init(struct handshake_ends *ends);

/** b reads `init` up to its params, and must find it good. */
void handshake_ends_read_init(struct handshake_ends *ends);

/** b writes `resp`. */
void handshake_ends_write_resp(struct handshake_ends *ends);

/** Puts the right mac1 into an altered message: what anybody can do who knows the public key. */
void handshake_ends_remac_init(
	const struct handshake_ends *ends, uint8_t init[HANDSHAKE_INIT_BYTES]);
void handshake_ends_remac_resp(
	const struct handshake_ends *ends, uint8_t resp[HANDSHAKE_RESP_BYTES]);

#endif
