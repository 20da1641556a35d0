/*
 * A node of the native wire among hostile callers and answerers. The input is a list of deeds: somebody who has the known
 * peer's private key writes INITs and RESPs with params as the input says, damages them and mends their mac1, answers by
 * COOKIE and REJECT, confirms sessions with any counter; strangers send anything; the program gives orders; time passes and
 * clocks jump.
 *
 * Beside what sanitizers see: memory stays bounded, no answer is longer than its question, and a node that has nothing to do
 * does not ask to be woken at once for ever.
 */
#include "core/endian.h"
#include "core/wire.h"
#include "crypto/handshake_mac.h"
#include "crypto/seal.h"
#include "stack/native_state.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
	DEEDS_MAX = 60,
	ROUNDS_MAX = 3000,
	DATAGRAM_MAX = 1472,
	PEERS = 2,
	MAC1_OF_INIT_AT = 152,
	MAC1_OF_RESP_AT = 104,
};

struct world {
	struct kcpvpn_native *native;
	struct kcpvpn_peer *peers[PEERS]; /* 0: whose key the input has */
	struct kcpvpn_udp_port port;
	int64_t now_us;
	int64_t realtime_us;
	uint64_t random;
	struct rand_source rnd;
	struct handshake_self self; /* of peer 0 */
	struct handshake_peer node; /* as peer 0 sees it */
	struct handshake_self stranger;
	struct handshake_peer node_of_stranger;
	struct handshake_attempt attempt; /* of the last INIT that was written */
	uint8_t init[HANDSHAKE_INIT_BYTES];
	uint8_t resp[HANDSHAKE_RESP_BYTES];
	uint8_t sent_init[HANDSHAKE_INIT_BYTES]; /* the node's last */
	uint8_t sent_resp[HANDSHAKE_RESP_BYTES];
	bool has_sent_init, has_sent_resp;
	size_t answered_bytes; /* by RESP, COOKIE and REJECT */
};

static void fail_unless(bool holds)
{
	if (!holds)
		abort();
}

static void fill(void *ctx, void *buf, size_t len)
{
	struct world *world = ctx;
	uint8_t *at = buf;

	while (len--) {
		world->random = world->random * 6364136223846793005 + 1442695040888963407;
		*at++ = (uint8_t)(world->random >> 56);
	}
}

static int64_t realtime(void *ctx)
{
	return ((struct world *)ctx)->realtime_us;
}

static void port_send(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	struct world *world = ctx;

	for (size_t i = 0; i < count; i++) {
		const struct kcpvpn_datagram *d = &batch[i];
		switch (handshake_message_of(d->data, d->len)) {
		case HANDSHAKE_INIT:
			memcpy(world->sent_init, d->data, d->len);
			world->has_sent_init = true;
			break;
		case HANDSHAKE_RESP:
			memcpy(world->sent_resp, d->data, d->len);
			world->has_sent_resp = true;
			world->answered_bytes += d->len;
			break;
		case HANDSHAKE_COOKIE:
		case HANDSHAKE_REJECT:
			world->answered_bytes += d->len;
			break;
		case HANDSHAKE_NONE:
			break;
		}
	}
}

static struct kcpvpn_endpoint endpoint(uint8_t host)
{
	return (struct kcpvpn_endpoint){.address = {192, 0, 2, host}, .port = 29900, .family = 4};
}

/* What a program does between two waits. */
static void settle(struct world *world)
{
	struct kcpvpn_peer *peer;
	struct iovec iov[128];
	unsigned events;
	size_t len;

	for (int rounds = 0;; rounds++) {
		fail_unless(rounds < ROUNDS_MAX);
		while ((peer = kcpvpn_native_next_event(world->native, &events)) != NULL)
			while (kcpvpn_peer_recv_peek(peer, iov, 128, &len) > 0)
				kcpvpn_peer_recv_drop(peer, world->now_us);
		kcpvpn_native_flush(world->native, world->now_us);
		if (kcpvpn_native_next_deadline(world->native) > world->now_us)
			break;
		kcpvpn_native_on_deadline(world->native, world->now_us);
	}
	fail_unless(world->native->sessions.slots_used <= (size_t)PEERS * NATIVE_SLOTS);
	fail_unless(world->native->attempts.slots_used <= (size_t)PEERS * NATIVE_ATTEMPTS);
	fail_unless(world->native->indices.count ==
		    world->native->sessions.slots_used + world->native->attempts.slots_used);
	fail_unless(world->native->stats.nonce_refused == 0);
}

static void inject(struct world *world, uint8_t host, const uint8_t *bytes, size_t len)
{
	uint8_t *room = malloc(len > 0 ? len : 1);
	struct kcpvpn_datagram datagram = {
		.remote = endpoint(host),
		.local = endpoint(1),
		.data = room,
		.len = len,
	};

	memcpy(datagram.data, bytes, len);
	kcpvpn_native_input(world->native, &world->port, &datagram, 1, world->now_us);
	free(room);
}

/* As inject(), and what answers handshakes is not longer than it. */
static void ask(struct world *world, uint8_t host, const uint8_t *bytes, size_t len)
{
	settle(world);
	world->answered_bytes = 0;
	inject(world, host, bytes, len);
	settle(world);
	fail_unless(world->answered_bytes <= len);
}

/* ---- deeds -------------------------------------------------------------------------------------------------------- */

static void raw_datagram(struct world *world, struct wire *in)
{
	uint8_t host = wire_u8(in);
	size_t len = wire_le16(in) % (DATAGRAM_MAX + 1);
	uint8_t bytes[DATAGRAM_MAX] = {0};

	if (len > wire_left(in))
		len = wire_left(in);
	if (len > 0)
		memcpy(bytes, wire_bytes(in, len), len);
	ask(world, host, bytes, len);
}

static void read_params(struct wire *in, uint8_t params[NATIVE_PARAMS_BYTES], bool resp)
{
	const struct native_params good = {
		.init_seq = wire_le16(in),
		.sender_index = (uint32_t)wire_u8(in) * NATIVE_INDEX_STEP,
		.instance_id = (uint64_t)wire_u8(in) % 3 + 1,
		.features = 0xffff,
		.datagram_max = 1472,
		.tun_mtu = 1400,
		.shards = 1,
		.version_max = 1,
		.rx_credit_bytes = 262144,
	};
	unsigned changes = wire_u8(in) % 4;

	native_params_write(&good, resp ? NATIVE_PARAMS_RESP : NATIVE_PARAMS_INIT, params);
	while (changes--) {
		uint8_t at = wire_u8(in) % NATIVE_PARAMS_BYTES;
		params[at] = wire_u8(in);
	}
}

static void known_init(struct world *world, struct wire *in)
{
	uint8_t params[NATIVE_PARAMS_BYTES];
	uint8_t host = wire_u8(in);
	uint32_t index = wire_u8(in) * (uint32_t)8;

	read_params(in, params, false);
	handshake_init_write(&world->attempt, &world->self, &world->node, index, params,
		&world->rnd, world->init);
	ask(world, host, world->init, sizeof(world->init));
}

static void init_again(struct world *world, struct wire *in)
{
	uint8_t host = wire_u8(in);
	uint8_t at = wire_u8(in) % HANDSHAKE_INIT_BYTES;

	world->init[at] ^= wire_u8(in);
	if (wire_u8(in) & 1)
		handshake_mac(world->init + MAC1_OF_INIT_AT, world->node.mac1_key,
			HANDSHAKE_KEY_BYTES, world->init, MAC1_OF_INIT_AT);
	ask(world, host, world->init, sizeof(world->init));
}

static void stranger_inits(struct world *world, struct wire *in)
{
	uint8_t params[NATIVE_PARAMS_BYTES];
	uint8_t init[HANDSHAKE_INIT_BYTES];
	struct handshake_attempt attempt;
	uint8_t host = wire_u8(in);
	unsigned count = wire_u8(in);

	read_params(in, params, false);
	handshake_init_write(&attempt, &world->stranger, &world->node_of_stranger, 16, params,
		&world->rnd, init);
	for (unsigned i = 0; i < count; i++) {
		store_le32(init + 8, i);
		handshake_mac(init + MAC1_OF_INIT_AT, world->node_of_stranger.mac1_key,
			HANDSHAKE_KEY_BYTES, init, MAC1_OF_INIT_AT);
		inject(world, (uint8_t)(host + i), init, sizeof(init));
	}
}

/* Reads the node's INIT as peer 0 does. @return false if it was for another */
static bool open_sent_init(struct world *world, struct handshake_responder *responder)
{
	uint8_t public_key[HANDSHAKE_KEY_BYTES], params[NATIVE_PARAMS_BYTES];

	return world->has_sent_init && handshake_init_mac1_ok(&world->self, world->sent_init) &&
	       handshake_init_open_static(&world->self, world->sent_init, responder, public_key) ==
		       HANDSHAKE_OK &&
	       handshake_init_open_params(responder, &world->node, params) == HANDSHAKE_OK;
}

static void answer_resp(struct world *world, struct wire *in)
{
	struct handshake_responder responder;
	struct handshake_keys keys;
	uint8_t params[NATIVE_PARAMS_BYTES];
	uint8_t host = wire_u8(in);

	read_params(in, params, true);
	if (!open_sent_init(world, &responder) ||
		handshake_resp_write(&responder, &world->node, params, &world->rnd, world->resp,
			&keys) != HANDSHAKE_OK)
		return;
	inject(world, host, world->resp, sizeof(world->resp));
}

static void resp_again(struct world *world, struct wire *in)
{
	uint8_t host = wire_u8(in);
	uint8_t at = wire_u8(in) % HANDSHAKE_RESP_BYTES;

	world->resp[at] ^= wire_u8(in);
	handshake_mac(world->resp + MAC1_OF_RESP_AT, world->node.mac1_key, HANDSHAKE_KEY_BYTES,
		world->resp, MAC1_OF_RESP_AT);
	inject(world, host, world->resp, sizeof(world->resp));
}

static void answer_cookie(struct world *world, struct wire *in)
{
	uint8_t cookie[HANDSHAKE_MAC_BYTES] = {1};
	uint8_t datagram[HANDSHAKE_COOKIE_BYTES];
	uint8_t host = wire_u8(in);

	if (!world->has_sent_init)
		return;
	handshake_cookie_write(&world->self, world->sent_init, cookie, &world->rnd, datagram);
	inject(world, host, datagram, sizeof(datagram));
}

static void answer_reject(struct world *world, struct wire *in)
{
	struct handshake_responder responder;
	uint8_t datagram[HANDSHAKE_REJECT_BYTES];
	uint8_t host = wire_u8(in);
	struct handshake_reject reject = {.reason = wire_u8(in) % 4, .last_seq = wire_le64(in)};

	if (!open_sent_init(world, &responder))
		return;
	handshake_reject_write(&responder, &reject, &world->rnd, datagram);
	inject(world, host, datagram, sizeof(datagram));
}

static void confirm(struct world *world, struct wire *in)
{
	uint8_t params[NATIVE_PARAMS_BYTES];
	uint8_t room[SEAL_HEADER_BYTES + 64 + SEAL_TAG_BYTES] = {0};
	struct handshake_keys keys;
	struct native_params read;
	struct seal_key key;
	uint8_t host = wire_u8(in);
	uint64_t counter = wire_le16(in);

	if (!world->has_sent_resp ||
		handshake_resp_open(&world->attempt, &world->self, &world->node, world->sent_resp,
			params, &keys) != HANDSHAKE_OK)
		return;
	fail_unless(native_params_read(params, NATIVE_PARAMS_RESP, &read));
	fail_unless(read.instance_id != 0);
	seal_key_init(&key, keys.t_send);
	struct seal_item item = {
		.payload = room + SEAL_HEADER_BYTES,
		.counter = counter,
		.key = &key,
		.receiver_index = read.sender_index,
	};
	seal_batch(&item, 1);
	inject(world, host, room, SEAL_OVERHEAD_BYTES);
}

static void pass_time(struct world *world, struct wire *in)
{
	static const int64_t units_us[] = {1000, 20000, 1000000, 100000000};
	int64_t unit_us = units_us[wire_u8(in) % 4];
	int64_t until_us = world->now_us + unit_us * wire_u8(in);

	/* Long waits go by in leaps now and then, as after a sleep. */
	if (unit_us > 1000000)
		world->now_us = until_us;
	for (int wakes = 0; wakes < 200; wakes++) {
		settle(world);
		int64_t at_us = kcpvpn_native_next_deadline(world->native);
		if (at_us > until_us)
			break;
		world->now_us = at_us;
	}
	if (world->now_us < until_us)
		world->now_us = until_us;
}

static void order(struct world *world, struct wire *in)
{
	struct kcpvpn_peer *peer = world->peers[wire_u8(in) % PEERS];
	struct kcpvpn_target targets[3];
	uint8_t packet[60] = {0x45, 0, 0, sizeof(packet)};
	size_t count;

	switch (wire_u8(in) % 8) {
	case 0:
		kcpvpn_peer_down(peer, KCPVPN_CLOSE_RESTART, world->now_us);
		break;
	case 1:
		kcpvpn_peer_up(peer, world->now_us);
		break;
	case 2:
		kcpvpn_peer_want(peer, world->now_us);
		break;
	case 3:
		kcpvpn_native_network_changed(world->native, world->now_us);
		break;
	case 4:
		count = wire_u8(in) % 4;
		for (size_t i = 0; i < count; i++)
			targets[i] = (struct kcpvpn_target){endpoint(wire_u8(in)), &world->port};
		kcpvpn_peer_set_targets(peer, targets, count, world->now_us);
		break;
	case 5:
		world->realtime_us = (int64_t)wire_le64(in);
		break;
	case 6:
		packet[9] = 17;
		(void)kcpvpn_peer_send(peer, packet, sizeof(packet), world->now_us);
		break;
	case 7:
		kcpvpn_native_close_port(world->native, &world->port, world->now_us);
		break;
	}
}

/* ---- the world ---------------------------------------------------------------------------------------------------- */

static void begin(struct world *world)
{
	uint8_t own[HANDSHAKE_KEY_BYTES] = {0, 1}, known[HANDSHAKE_KEY_BYTES] = {0, 2};
	uint8_t strange[HANDSHAKE_KEY_BYTES] = {0, 3}, other[HANDSHAKE_KEY_BYTES] = {9, 9};
	uint8_t public_key[HANDSHAKE_KEY_BYTES];

	world->port = (struct kcpvpn_udp_port){port_send, world};
	world->rnd = (struct rand_source){fill, world};
	world->now_us = 1000000000;
	world->realtime_us = 1000;
	struct kcpvpn_native_config config = {
		.private_key = own,
		.datagram_max_bytes = DATAGRAM_MAX,
		.peers_max = PEERS,
		.memory_max_bytes = 1 << 20,
		.realtime_us = realtime,
		.random = fill,
		.ctx = world,
	};
	fail_unless(kcpvpn_native_new(&config, world->now_us, &world->native) == 0);
	fail_unless(handshake_self_init(&world->self, known, NULL) == 0);
	fail_unless(handshake_self_init(&world->stranger, strange, NULL) == 0);
	kcpvpn_native_public_key(world->native, public_key);
	fail_unless(handshake_peer_init(&world->node, &world->self, public_key, NULL) == 0);
	fail_unless(handshake_peer_init(
			    &world->node_of_stranger, &world->stranger, public_key, NULL) == 0);
	for (int i = 0; i < PEERS; i++) {
		struct kcpvpn_peer_config peer = {
			.public_key = i == 0 ? world->self.public_key : other,
			.tun_mtu = 1400,
			.dead_after_us = 15000000,
			.roaming = i == 0,
			.persistent = i == 0,
		};
		struct kcpvpn_target target = {endpoint((uint8_t)(2 + i)), &world->port};
		fail_unless(kcpvpn_native_add_peer(
				    world->native, &peer, world->now_us, &world->peers[i]) == 0);
		kcpvpn_peer_set_targets(world->peers[i], &target, 1, world->now_us);
		kcpvpn_peer_up(world->peers[i], world->now_us);
	}
	settle(world);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static void (*const deeds[])(struct world *, struct wire *) = {
		raw_datagram,
		known_init,
		init_again,
		stranger_inits,
		answer_resp,
		resp_again,
		answer_cookie,
		answer_reject,
		confirm,
		pass_time,
		order,
	};
	struct wire in = wire_of(data, len);
	struct world *world = calloc(1, sizeof(*world));

	begin(world);
	for (int i = 0; i < DEEDS_MAX && wire_left(&in) > 0; i++) {
		deeds[wire_u8(&in) % (sizeof(deeds) / sizeof(deeds[0]))](world, &in);
		settle(world);
	}
	kcpvpn_native_free(world->native);
	free(world);
	return 0;
}
