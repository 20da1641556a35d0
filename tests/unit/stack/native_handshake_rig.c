#include "native_handshake_rig.h"

#include "core/endian.h"

#include <criterion/criterion.h>
#include <string.h>

struct native_pair pair;
struct native_end *const a = &pair.ends[0];
struct native_end *const b = &pair.ends[1];

struct caught caught[CAUGHT_MAX];
size_t caught_count;
unsigned lose;

struct kcpvpn_native_stats stats_of(const struct native_end *end)
{
	struct kcpvpn_native_stats stats;

	kcpvpn_native_stats(end->native, &stats);
	return stats;
}

struct kcpvpn_peer_status status_of(const struct native_end *end)
{
	struct kcpvpn_peer_status status;

	kcpvpn_peer_status(end->peers[1 - end->number], &status);
	return status;
}

struct native_session *session_of(const struct native_end *end, enum native_slot slot)
{
	return end->peers[1 - end->number]->hs.slots[slot];
}

/* Keeps handshake datagrams and loses those of `lose`. */
static bool catch_handshakes(
	struct native_end *from, const struct kcpvpn_endpoint *to, uint8_t *bytes, size_t len)
{
	unsigned type = bytes[0];

	if (type != DATA && caught_count < CAUGHT_MAX) {
		struct caught *c = &caught[caught_count++];
		*c = (struct caught){from->address, *to, pair.now_us, len, {0}};
		memcpy(c->bytes, bytes, len);
	}
	return !(lose & 1U << type);
}

const struct caught *caught_first(unsigned type)
{
	for (size_t i = 0; i < caught_count; i++)
		if (caught[i].bytes[0] == type)
			return &caught[i];
	cr_assert_fail("no such datagram was sent");
	return NULL;
}

void watch_losing(unsigned types)
{
	caught_count = 0;
	lose = types;
	pair.filter = catch_handshakes;
}

void start_two(uint64_t seed)
{
	native_pair_init(&pair, seed);
	native_pair_start(&pair, 0, NULL);
	native_pair_start(&pair, 1, NULL);
}

void start_called(void)
{
	native_pair_init(&pair, 1);
	native_pair_start(&pair, 1, NULL);
	native_pair_know(&pair, 1, 0, false);
}

void open_watched(const struct native_end_options *options)
{
	native_pair_open(&pair, 1, options);
	watch_losing(0);
}

void open_losing(unsigned types)
{
	open_watched(NULL);
	lose = types;
	native_pair_run(&pair, 1000);
}

void open_up(void)
{
	open_watched(NULL);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, S));
	native_pair_run(&pair, S);
}

void restart_a_at(int64_t realtime_us)
{
	native_pair_kill(&pair, 0);
	a->realtime_us = realtime_us;
	native_pair_start(&pair, 0, NULL);
	native_pair_know(&pair, 0, 1, true);
}

void call_anew(struct native_end *end)
{
	native_initiate(
		end->peers[1 - end->number], NATIVE_REASON_SILENCE, mono_at_us(pair.now_us));
	kcpvpn_native_flush(end->native, pair.now_us);
}

void carry_one(struct native_end *end)
{
	uint8_t packet[100];

	native_pair_packet(packet, sizeof(packet), 1, 2, 5, 1);
	cr_assert_eq(
		kcpvpn_peer_send(end->peers[1 - end->number], packet, sizeof(packet), pair.now_us),
		0);
	native_pair_run(&pair, 100000);
}

void caller_random(void *ctx, void *buf, size_t len)
{
	uint64_t *state = ctx;
	uint8_t *at = buf;

	while (len--)
		*at++ = (uint8_t)native_pair_random(state);
}

uint64_t seq_now(void)
{
	return (uint64_t)(b->realtime_us + pair.now_us);
}

void caller_init(struct caller *caller, size_t i)
{
	uint8_t key[HANDSHAKE_KEY_BYTES], public_key[HANDSHAKE_KEY_BYTES];

	native_pair_private_key(i, key);
	store_le64(key + 8, i < NATIVE_PAIR_ENDS ? load_le64(key) : i);
	native_pair_public_key(1, public_key);
	caller->random = i;
	cr_assert_eq(handshake_self_init(&caller->self, key, NULL), 0);
	cr_assert_eq(handshake_peer_init(&caller->peer, &caller->self, public_key, NULL), 0);
	caller->params = (struct native_params){
		.init_seq = seq_now(),
		.instance_id = 77,
		.datagram_max = 1472,
		.tun_mtu = 1400,
		.shards = 1,
		.version_max = 1,
		.rx_credit_bytes = 262144,
	};
}

void caller_write(struct caller *caller, uint32_t index)
{
	const struct rand_source rnd = {caller_random, &caller->random};
	uint8_t bytes[NATIVE_PARAMS_BYTES];

	native_params_write(&caller->params, NATIVE_PARAMS_INIT, bytes);
	handshake_init_write(
		&caller->attempt, &caller->self, &caller->peer, index, bytes, &rnd, caller->init);
}

void caller_send(struct caller *caller, uint8_t host)
{
	struct kcpvpn_endpoint from = native_pair_endpoint(host);

	native_pair_inject(b, &from, caller->init, sizeof(caller->init));
	native_pair_exchange(&pair);
}

void caller_call(struct caller *caller, uint32_t index, uint8_t host)
{
	caller_write(caller, index);
	caller_send(caller, host);
}

const struct native_params plain_params = {
	.sender_index = 16,
	.instance_id = 4,
	.datagram_max = 1472,
	.tun_mtu = 1400,
	.shards = 1,
	.version_max = 1,
	.rx_credit_bytes = 262144,
};

void answer_by_hand(const struct native_params *params)
{
	struct handshake_self self;
	struct handshake_peer peer;
	struct handshake_responder responder;
	struct handshake_keys keys;
	uint8_t key[HANDSHAKE_KEY_BYTES], public_key[HANDSHAKE_KEY_BYTES];
	uint8_t bytes[NATIVE_PARAMS_BYTES], resp[HANDSHAKE_RESP_BYTES];
	uint64_t random = 5;
	const struct rand_source rnd = {caller_random, &random};

	native_pair_private_key(1, key);
	native_pair_public_key(0, public_key);
	cr_assert_eq(handshake_self_init(&self, key, NULL), 0);
	cr_assert_eq(handshake_peer_init(&peer, &self, public_key, NULL), 0);
	cr_assert_eq(handshake_init_open_static(
			     &self, caught_first(INIT)->bytes, &responder, public_key),
		HANDSHAKE_OK);
	cr_assert_eq(handshake_init_open_params(&responder, &peer, bytes), HANDSHAKE_OK);
	native_params_write(params, NATIVE_PARAMS_RESP, bytes);
	cr_assert_eq(
		handshake_resp_write(&responder, &peer, bytes, &rnd, resp, &keys), HANDSHAKE_OK);
	native_pair_inject(a, &b->address, resp, sizeof(resp));
	native_pair_exchange(&pair);
}
