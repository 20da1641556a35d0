/*
 * Two ends of the native wire and a network between them in virtual time, for fuzz targets. What is sent lies in `flying` until
 * the target delivers it; packets that the ends carry are numbered, so that damage, doubles and inventions are noticed.
 */
#ifndef TESTS_FUZZ_NATIVE_WORLD_H
#define TESTS_FUZZ_NATIVE_WORLD_H

#include "core/endian.h"
#include "kcpvpn/native.h"

#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

enum {
	WORLD_FLYING_MAX = 512,
	WORLD_DATAGRAM_MAX = 1472,
	WORLD_ROOM = WORLD_DATAGRAM_MAX,
	WORLD_PACKETS_MAX = 4096,
	WORLD_HELD_US = 30000000, /* no network holds a datagram for longer */
	WORLD_TUN_MTU = 4000,
	WORLD_IP_BYTES = 20,
	WORLD_PACKET_LEAST = WORLD_IP_BYTES + 8 + 8, /* IPv4, UDP or the like, own number */
};

struct world;

struct world_end {
	struct world *world;
	struct kcpvpn_native *native;
	struct kcpvpn_peer *peer;
	struct kcpvpn_udp_port port;
	struct kcpvpn_endpoint address; /* where its datagrams seem to come from */
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES];
	uint32_t sent, received;
	uint8_t came[WORLD_PACKETS_MAX]; /* packets of the other end, by number */
	uint64_t datagrams, bytes;	 /* sent in all */
};

struct world_flight {
	struct world_end *to;
	struct kcpvpn_endpoint from;
	int64_t sent_us;
	size_t len;
	uint8_t bytes[WORLD_DATAGRAM_MAX];
};

struct world {
	struct world_end ends[2];
	int64_t now_us;
	uint64_t random;
	struct world_flight flying[WORLD_FLYING_MAX];
	size_t count;
	uint8_t room[WORLD_ROOM];
	bool liar; /* one end makes up what it says: what comes may be anything */
};

static inline void world_check(bool holds)
{
	if (!holds)
		abort();
}

static inline struct world_end *world_other(struct world_end *end)
{
	return end == &end->world->ends[0] ? &end->world->ends[1] : &end->world->ends[0];
}

static inline void world_random(void *ctx, void *buf, size_t len)
{
	struct world *world = ctx;
	uint8_t *at = buf;

	for (size_t i = 0; i < len; i++) {
		world->random ^= world->random << 13;
		world->random ^= world->random >> 7;
		world->random ^= world->random << 17;
		at[i] = (uint8_t)(world->random >> 24);
	}
}

static inline int64_t world_realtime(void *ctx)
{
	(void)ctx;
	return 1000;
}

static inline void world_send(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	struct world_end *end = ctx;
	struct world *world = end->world;
	struct world_end *to = world_other(end);

	for (size_t i = 0; i < count; i++) {
		world_check(batch[i].len > 0 && batch[i].len <= WORLD_DATAGRAM_MAX);
		end->datagrams++;
		end->bytes += batch[i].len;
		/* To another address than the one it has now: lost. */
		if (world->count == WORLD_FLYING_MAX ||
			!kcpvpn_endpoint_equal(&batch[i].remote, &to->address))
			continue;
		struct world_flight *f = &world->flying[world->count++];
		f->to = to;
		f->from = end->address;
		f->sent_us = world->now_us;
		f->len = batch[i].len;
		memcpy(f->bytes, batch[i].data, batch[i].len);
	}
}

static inline struct kcpvpn_peer_config world_peer_config(struct world_end *end)
{
	return (struct kcpvpn_peer_config){
		.public_key = world_other(end)->key,
		.tun_mtu = WORLD_TUN_MTU,
		.dead_after_us = 15000000,
		.roaming = true,
		.persistent = end == &end->world->ends[0],
		.fec = {KCPVPN_FEC_FIXED, 2, 1, 100, 2000},
	};
}

static inline void world_add_peer(struct world_end *end)
{
	struct kcpvpn_peer_config config = world_peer_config(end);
	struct kcpvpn_target target = {world_other(end)->address, &end->port};

	world_check(
		kcpvpn_native_add_peer(end->native, &config, end->world->now_us, &end->peer) == 0);
	kcpvpn_peer_set_targets(end->peer, &target, 1, end->world->now_us);
	kcpvpn_peer_up(end->peer, end->world->now_us);
}

static inline void world_open(struct world *world)
{
	memset(world, 0, sizeof(*world));
	world->random = 88172645463325252u;
	world->now_us = 1000000;
	for (int i = 0; i < 2; i++) {
		struct world_end *end = &world->ends[i];
		uint8_t private_key[KCPVPN_NATIVE_KEY_BYTES];
		struct kcpvpn_native_config config = {
			.private_key = private_key,
			.datagram_max_bytes = WORLD_DATAGRAM_MAX,
			.peers_max = 4,
			.memory_max_bytes = 8 << 20,
			.realtime_us = world_realtime,
			.random = world_random,
			.ctx = world,
		};
		memset(private_key, 0x41 + i, sizeof(private_key));
		end->world = world;
		end->port = (struct kcpvpn_udp_port){world_send, end};
		end->address = (struct kcpvpn_endpoint){
			.address = {192, 0, 2, (uint8_t)(i + 1)}, .port = 29900, .family = 4};
		world_check(kcpvpn_native_new(&config, world->now_us, &end->native) == 0);
		kcpvpn_native_public_key(end->native, end->key);
	}
	world_add_peer(&world->ends[0]);
	world_add_peer(&world->ends[1]);
}

static inline void world_close(struct world *world)
{
	for (int i = 0; i < 2; i++)
		kcpvpn_native_free(world->ends[i].native);
}

/* ---- packets ------------------------------------------------------------------------------------------------------ */

/* An IPv4 packet that carries its number, and bytes that follow from it. */
static inline size_t world_packet(uint32_t number, size_t len, uint8_t *packet)
{
	static const uint8_t protocols[] = {17, 6, 1, 47};

	if (len < WORLD_PACKET_LEAST + 20)
		len = WORLD_PACKET_LEAST + 20;
	if (len > WORLD_TUN_MTU)
		len = WORLD_TUN_MTU;
	memset(packet, 0, len);
	packet[0] = 0x45;
	store_be16(packet + 2, (uint16_t)len);
	packet[8] = 64;
	packet[9] = protocols[number % sizeof(protocols)];
	packet[12] = packet[16] = 10;
	packet[15] = (uint8_t)(number >> 4 & 3);
	packet[WORLD_IP_BYTES + 12] = 0x50; /* TCP: no options */
	store_le32(packet + WORLD_IP_BYTES + 20 - 8 + 4, number);
	for (size_t i = WORLD_IP_BYTES + 20; i < len; i++)
		packet[i] = (uint8_t)(number * 31 + i);
	store_le32(packet + len - 4, number);
	return len;
}

static inline int world_give(struct world_end *end, size_t len)
{
	uint8_t packet[WORLD_TUN_MTU];

	if (end->sent == WORLD_PACKETS_MAX)
		return 0;
	len = world_packet(end->sent, len, packet);
	int error = kcpvpn_peer_send(end->peer, packet, len, end->world->now_us);
	if (error == 0)
		end->sent++;
	return error;
}

/* What came must have been sent, byte for byte, and comes once. */
static inline void world_read(struct world_end *end)
{
	struct iovec iov[128];
	uint8_t packet[WORLD_TUN_MTU], want[WORLD_TUN_MTU];
	size_t len;
	int pieces;

	while ((pieces = kcpvpn_peer_recv_peek(end->peer, iov, 128, &len)) > 0) {
		size_t at = 0;
		world_check(len <= sizeof(packet));
		for (int i = 0; i < pieces; i++) {
			memcpy(packet + at, iov[i].iov_base, iov[i].iov_len);
			at += iov[i].iov_len;
		}
		world_check(at == len);
		kcpvpn_peer_recv_drop(end->peer, end->world->now_us);
		if (len < WORLD_PACKET_LEAST) {
			world_check(end->world->liar);
			continue;
		}
		uint32_t number = load_le32(packet + len - 4);
		if (number >= world_other(end)->sent || world_packet(number, len, want) != len ||
			memcmp(want, packet, len) != 0) {
			world_check(end->world->liar);
			continue;
		}
		end->received++;
		world_check(end->came[number]++ == 0 || end->world->liar);
	}
}

/* ---- time ---------------------------------------------------------------------------------------------------------- */

static inline void world_arrive(
	struct world_end *end, const struct kcpvpn_endpoint *from, const uint8_t *bytes, size_t len)
{
	struct world *world = end->world;
	struct kcpvpn_datagram d = {
		.remote = *from,
		.local = end->address,
		.data = world->room,
		.len = len,
	};

	memcpy(d.data, bytes, len);
	kcpvpn_native_input(end->native, &end->port, &d, 1, world->now_us);
}

static inline struct world_flight world_take(struct world *world, size_t i)
{
	struct world_flight f = world->flying[i];

	memmove(&world->flying[i], &world->flying[i + 1],
		(world->count - i - 1) * sizeof(world->flying[0]));
	world->count--;
	return f;
}

/* A flight ends: its datagram arrives, unless it is too old. */
static inline void world_land(const struct world_flight *f)
{
	if (f->to->world->now_us - f->sent_us <= WORLD_HELD_US)
		world_arrive(f->to, &f->from, f->bytes, f->len);
}

static inline void world_turn(struct world *world)
{
	unsigned events;

	for (int i = 0; i < 2; i++) {
		struct world_end *end = &world->ends[i];
		/* A handshake a call; as long as one waits the deadline is "now". */
		for (int n = 0; n < 8 && kcpvpn_native_next_deadline(end->native) <= world->now_us;
			n++)
			kcpvpn_native_on_deadline(end->native, world->now_us);
		while (kcpvpn_native_next_event(end->native, &events))
			;
		world_read(end);
		kcpvpn_native_flush(end->native, world->now_us);
	}
}

/* The clock moves on, from deadline to deadline; nothing is delivered. */
static inline void world_pass(struct world *world, int64_t us)
{
	int64_t end_us = world->now_us + us;

	for (int n = 0; n < 2000 && world->now_us < end_us; n++) {
		int64_t a = kcpvpn_native_next_deadline(world->ends[0].native);
		int64_t b = kcpvpn_native_next_deadline(world->ends[1].native);
		int64_t next = a < b ? a : b;
		if (next > end_us)
			next = end_us;
		if (next > world->now_us)
			world->now_us = next;
		world_turn(world);
	}
	world->now_us = end_us;
	world_turn(world);
}

/* A network without faults, for so long; each datagram takes 10 ms or so. */
static inline void world_heal(struct world *world, int64_t us)
{
	for (int64_t end_us = world->now_us + us; world->now_us < end_us;) {
		size_t count = world->count;
		while (count-- > 0) {
			struct world_flight f = world_take(world, 0);
			world_land(&f);
		}
		world_turn(world);
		int64_t step_us = 10000;
		if (world->count == 0) {
			int64_t a = kcpvpn_native_next_deadline(world->ends[0].native);
			int64_t b = kcpvpn_native_next_deadline(world->ends[1].native);
			int64_t next = a < b ? a : b;
			if (next > end_us)
				next = end_us;
			if (next - world->now_us > step_us)
				step_us = next - world->now_us;
		}
		world->now_us += step_us;
	}
}

#endif
