/*
 * A site's private key and randomness come from its number by a small generator, so that two runs do the same; its address is
 * 10.x.y.z, where x.y.z is the number. No site's clock can be wrong: all have the virtual one.
 */
#include "tests/bench/native_site.h"

#include "core/endian.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PORT = 29900,
	TUN_MTU = 1400,
	DEAD_AFTER_US = 15000000,
	TURNS_MAX = 100000, /* at one instant; more is an endless loop */
};

#define MEMORY_MAX_BYTES ((uint64_t)64 << 20)
#define BIRTH_US ((int64_t)1700000000 * 1000000)

_Noreturn void site_fail(const char *what)
{
	fprintf(stderr, "bench_native: %s\n", what);
	exit(1);
}

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static void fill_from(uint64_t *state, uint8_t *at, size_t len)
{
	while (len > 0) {
		uint64_t bits = next_random(state);
		size_t n = len < sizeof(bits) ? len : sizeof(bits);
		memcpy(at, &bits, n);
		at += n;
		len -= n;
	}
}

static void fill_random(void *ctx, void *buf, size_t len)
{
	struct site *site = ctx;

	fill_from(&site->random, buf, len);
}

static int64_t realtime_us(void *ctx)
{
	(void)ctx;
	return BIRTH_US;
}

static void private_key(uint32_t number, uint8_t ret_key[KCPVPN_NATIVE_KEY_BYTES])
{
	uint64_t state = (uint64_t)number << 32;

	fill_from(&state, ret_key, KCPVPN_NATIVE_KEY_BYTES);
}

static struct kcpvpn_endpoint endpoint_of(uint32_t number)
{
	struct kcpvpn_endpoint endpoint = {.port = PORT, .family = 4};

	store_be32(endpoint.address, 0x0a000000 | number);
	return endpoint;
}

static void send_out(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	const struct site *site = ctx;

	for (size_t i = 0; i < count; i++)
		site->out(site, load_be32(batch[i].remote.address) & 0xffffff, batch[i].data,
			batch[i].len);
}

void site_open(struct site *site, uint32_t number, uint32_t peers_max, int64_t now_us)
{
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES];

	private_key(number, key);
	const struct kcpvpn_native_config config = {
		.private_key = key,
		.datagram_max_bytes = SITE_DATAGRAM_BYTES,
		.peers_max = peers_max,
		.memory_max_bytes = MEMORY_MAX_BYTES,
		.handshake_limits_off = true,
		.realtime_us = realtime_us,
		.random = fill_random,
		.ctx = site,
	};
	site->number = number;
	site->random = number;
	site->port = (struct kcpvpn_udp_port){send_out, site};
	if (kcpvpn_native_new(&config, now_us, &site->native) < 0)
		site_fail("kcpvpn_native_new");
}

void site_close(struct site *site)
{
	kcpvpn_native_free(site->native);
	site->native = NULL;
}

struct kcpvpn_peer *site_know(
	struct site *site, uint32_t number, int64_t keepalive_us, bool calls, int64_t now_us)
{
	uint8_t secret[KCPVPN_NATIVE_KEY_BYTES];
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES];
	const struct kcpvpn_peer_config config = {
		.public_key = key,
		.tun_mtu = TUN_MTU,
		.keepalive_us = keepalive_us,
		.dead_after_us = DEAD_AFTER_US,
		.roaming = true,
		.persistent = calls,
	};
	const struct kcpvpn_target target = {endpoint_of(number), &site->port};
	struct kcpvpn_peer *peer;

	private_key(number, secret);
	kcpvpn_native_public_half(secret, key);
	if (kcpvpn_native_add_peer(site->native, &config, now_us, &peer) < 0)
		site_fail("kcpvpn_native_add_peer");
	if (calls)
		kcpvpn_peer_set_targets(peer, &target, 1, now_us);
	kcpvpn_peer_up(peer, now_us);
	return peer;
}

void site_input(struct site *site, uint32_t from, const uint8_t *bytes, size_t len, int64_t now_us)
{
	_Alignas(64) static uint8_t room[SITE_DATAGRAM_BYTES];
	const struct kcpvpn_datagram datagram = {
		.remote = endpoint_of(from),
		.local = endpoint_of(site->number),
		.data = room,
		.len = len,
	};

	memcpy(datagram.data, bytes, len);
	kcpvpn_native_input(site->native, &site->port, &datagram, 1, now_us);
}

int64_t site_turn(struct site *site, int64_t now_us)
{
	for (unsigned turns = 0; turns < TURNS_MAX; turns++) {
		unsigned events;
		kcpvpn_native_on_deadline(site->native, now_us);
		while (kcpvpn_native_next_event(site->native, &events))
			;
		kcpvpn_native_flush(site->native, now_us);
		int64_t at_us = kcpvpn_native_next_deadline(site->native);
		if (at_us > now_us)
			return at_us;
	}
	site_fail("something is due for ever");
}
