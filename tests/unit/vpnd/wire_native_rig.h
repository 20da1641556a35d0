/*
 * What the tests of the native wire in vpnd stand on: a host of its own (a network namespace, so root is needed) with a way
 * outside, the wire on a real loop, and native_fake.h in place of the library.
 */
#ifndef TESTS_VPND_WIRE_NATIVE_RIG_H
#define TESTS_VPND_WIRE_NATIVE_RIG_H

#include "config/config.h"
#include "core/log.h"
#include "native_fake.h"
#include "vpnd/fault.h"
#include "vpnd/loop.h"
#include "vpnd/netlink.h"
#include "vpnd/peer.h"
#include "vpnd/state_file.h"
#include "vpnd/tun.h"
#include "vpnd/wire_native.h"
#include "vpnd/wire_native_peer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PEERS_MAX = 8,
};

struct wire_rig {
	struct loop *loop;
	struct netlink *netlink;
	struct tun uplink, other; /* interfaces that lead outside */
	struct state_file *state;
	struct log log;
	int warnings;
	struct config *config;
	struct config *before;
	struct wire *wire;
	struct wire_events events;
	struct peer *peers[PEERS_MAX];
	size_t peer_count;
	unsigned received, writable, states;
	char message[64];
	uint32_t path_mtu, most;
};

/** How many more times strdup() works. -1 = any number, as at first. */
extern int strdups_left;

/** A host with the private address 192.168.1.2 towards everywhere, no peers yet. */
void wire_rig_open(struct wire_rig *b);
void wire_rig_close(struct wire_rig *b);

/**
 * The wire, with the peers "p1", "p2", ... of which wire_rig_start() tells it.
 *
 * @global  lines of the configuration, each with its end
 * @peers   what stands behind a peer's public key and allowed addresses, NULL at the end
 */
int wire_rig_make(struct wire_rig *b, const char *global, const char *const *peers);
void wire_rig_start(struct wire_rig *b, const char *global, const char *const *peers);

/** Another configuration with the same peers, as the daemon applies it. */
void wire_rig_reload(struct wire_rig *b, const char *global, const char *const *peers);

/** @return  freed by config_free() */
struct config *wire_rig_parse(const char *global, const char *const *peers);

/** A peer with the configuration's number `i`, of which the wire is told. */
void wire_rig_start_peer(struct wire_rig *b, size_t i);

/** A round of the daemon's loop. */
void wire_rig_round(struct wire_rig *b);

/** Opens an interface of the host, with this address. */
void wire_rig_link_up(struct wire_rig *b, struct tun *tun, const char *name, const char *address);

/** Adds or removes a route over it. */
void wire_rig_route(struct wire_rig *b, const struct tun *tun, const char *destination, bool add);

struct ip_prefix prefix_of(const char *text);
struct kcpvpn_endpoint endpoint_of(const char *text);

/** Base64 of a public key whose first byte is `number`, until the fourth call after. */
const char *public_key(uint8_t number);

/** "a b c": where a peer is called. Until the next call. */
const char *targets(const struct kcpvpn_peer *peer);

/** Whether the status of all, or of the first peer, warns of something that begins like this. */
bool warned(struct wire_rig *b, bool peer, const char *text);

#endif
