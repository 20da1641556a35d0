/*
 * A library that does nothing but note what it is asked for, in place of the native wire's own: with it the tests see
 * what vpnd makes of it. Linked in front of the archives.
 */
#ifndef TESTS_NATIVE_FAKE_H
#define TESTS_NATIVE_FAKE_H

#include "kcpvpn/native.h"

#include <stdbool.h>
#include <stddef.h>

enum {
	FAKE_PEERS = 16,
	FAKE_PORTS = 16,
};

struct kcpvpn_peer {
	bool used;
	struct kcpvpn_peer_config config;
	uint8_t public_key[32], preshared_key[32];
	bool has_preshared;
	struct kcpvpn_target targets[KCPVPN_NATIVE_TARGETS_MAX];
	size_t target_count;
	unsigned configured, set, wanted, sent;
	bool up, down;
	enum kcpvpn_close reason;
	unsigned flushed_after_down;
	enum kcpvpn_peer_state state;
	bool ready;
	struct kcpvpn_endpoint endpoint; /* family 0 = nowhere */
	uint32_t inner_mtu, tun_mtu, super_max, link_mtu;
	size_t room_asked;
	const char *trouble;
	unsigned events;
	const char *message; /* waits to be received; NULL = none */
	void *user;
};

struct kcpvpn_native {
	uint8_t private_key[32];
	struct kcpvpn_native_config config;
	struct kcpvpn_peer peers[FAKE_PEERS];
	unsigned network_changes, flushes;
	struct kcpvpn_endpoint too_big_remote;
	size_t too_big_len;
	unsigned too_bigs;
	unsigned datagrams;
	struct kcpvpn_datagram last;
	uint8_t last_byte;
	const struct kcpvpn_udp_port *last_port;
	const struct kcpvpn_udp_port *closed[FAKE_PORTS];
	size_t closed_count;
	int64_t deadline;
};

/** The only one. */
extern struct kcpvpn_native *fake;

/** The peer with this number in the first byte of its public key. */
struct kcpvpn_peer *fake_peer(uint8_t number);

#endif
