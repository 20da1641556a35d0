/*
 * One end of a benchmark of the native wire, in virtual time: a node whose datagrams go to a function. Sites are known by
 * number; number, keys and address follow from each other.
 */
#ifndef BENCH_NATIVE_SITE_H
#define BENCH_NATIVE_SITE_H

#include "kcpvpn/native.h"

#include <stddef.h>
#include <stdint.h>

enum {
	SITE_DATAGRAM_BYTES = 1472, /* the longest, as on an Ethernet */
};

struct site {
	struct kcpvpn_native *native;
	struct kcpvpn_udp_port port; /* `ctx` is this site, so it must not move */
	uint32_t number;
	uint64_t random; /* state of its generator */
	/* Called for each datagram that it sends. */
	void (*out)(const struct site *from, uint32_t to, const uint8_t *bytes, size_t len);
};

/** Ends the program. */
_Noreturn void site_fail(const char *what);

/** Makes a node that answers as many handshakes as it can. Exits with a message on failure, as all here. */
void site_open(struct site *site, uint32_t number, uint32_t peers_max, int64_t now_us);
void site_close(struct site *site);

/**
 * Adds a peer and starts it.
 *
 * @keepalive_us  as in struct kcpvpn_peer_config
 * @calls         it is called at its address, for ever
 */
struct kcpvpn_peer *site_know(
	struct site *site, uint32_t number, int64_t keepalive_us, bool calls, int64_t now_us);

/** A datagram arrives. */
void site_input(struct site *site, uint32_t from, const uint8_t *bytes, size_t len, int64_t now_us);

/** Does all that is due by now. @return when to come again */
int64_t site_turn(struct site *site, int64_t now_us);

#endif
