/* Who gets in, who does not, and what it costs: the handshake of the native wire between two nodes, in virtual time. */
#include "core/endian.h"
#include "kcp/kcp_path_state.h"
#include "native_pair.h"
#include "stack/native_state.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	S = 1000000,
	INIT = 8,
	RESP = 9,
	COOKIE = 10,
	REJECT = 11,
	DATA = 12,
};

static struct native_pair pair;
static struct native_end *const a = &pair.ends[0];
static struct native_end *const b = &pair.ends[1];

static struct kcpvpn_native_stats stats_of(const struct native_end *end)
{
	struct kcpvpn_native_stats stats;

	kcpvpn_native_stats(end->native, &stats);
	return stats;
}

static struct kcpvpn_peer_status status_of(const struct native_end *end)
{
	struct kcpvpn_peer_status status;

	kcpvpn_peer_status(end->peers[1 - end->number], &status);
	return status;
}

static struct native_session *session_of(const struct native_end *end, enum native_slot slot)
{
	return end->peers[1 - end->number]->hs.slots[slot];
}

static bool a_is_up(struct native_pair *p)
{
	return kcpvpn_peer_state(p->ends[0].peers[1]) == KCPVPN_PEER_UP;
}

/* ---- what passed ---------------------------------------------------------------------------------------------------- */

enum {
	CAUGHT_MAX = 64,
};

struct caught {
	struct kcpvpn_endpoint from, to;
	int64_t at_us;
	size_t len;
	uint8_t bytes[HANDSHAKE_BYTES_MAX];
};

static struct caught caught[CAUGHT_MAX];
static size_t caught_count;
static unsigned lose; /* bit set of types that do not arrive */

/* Keeps handshake datagrams and loses those of `lose`. */
static bool catch (
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

static const struct caught *caught_first(unsigned type)
{
	for (size_t i = 0; i < caught_count; i++)
		if (caught[i].bytes[0] == type)
			return &caught[i];
	cr_assert_fail("no such datagram was sent");
	return NULL;
}

static void open_watched(const struct native_end_options *options)
{
	caught_count = 0;
	lose = 0;
	native_pair_open(&pair, 1, options);
	pair.filter = catch;
}

static void open_up(void)
{
	open_watched(NULL);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, S));
	native_pair_run(&pair, S);
}

/* ---- INITs made by hand --------------------------------------------------------------------------------------------- */

/* Somebody who calls end 1. */
struct caller {
	struct handshake_self self;
	struct handshake_peer peer;
	struct handshake_attempt attempt;
	uint64_t random;
	struct native_params params;
	uint8_t init[HANDSHAKE_INIT_BYTES];
};

static void caller_random(void *ctx, void *buf, size_t len)
{
	uint64_t *state = ctx;
	uint8_t *at = buf;

	while (len--)
		*at++ = (uint8_t)native_pair_random(state);
}

/* A number that is as good as one by the clock of who calls. */
static uint64_t seq_now(void)
{
	return (uint64_t)(b->realtime_us + pair.now_us);
}

/* With the private key of end `i`, or one that nobody knows from NATIVE_PAIR_ENDS on. */
static void caller_init(struct caller *caller, size_t i)
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

static void caller_write(struct caller *caller, uint32_t index)
{
	const struct rand_source rnd = {caller_random, &caller->random};
	uint8_t bytes[NATIVE_PARAMS_BYTES];

	native_params_write(&caller->params, NATIVE_PARAMS_INIT, bytes);
	handshake_init_write(
		&caller->attempt, &caller->self, &caller->peer, index, bytes, &rnd, caller->init);
}

/* Hands the INIT to end 1 and lets it be worked on. */
static void caller_send(struct caller *caller, uint8_t host)
{
	struct kcpvpn_endpoint from = native_pair_endpoint(host);

	native_pair_inject(b, &from, caller->init, sizeof(caller->init));
	native_pair_exchange(&pair);
}

static const struct native_params plain_params = {
	.sender_index = 16,
	.instance_id = 4,
	.datagram_max = 1472,
	.tun_mtu = 1400,
	.shards = 1,
	.version_max = 1,
	.rx_credit_bytes = 262144,
};

/* Answers the call of end 0 that was caught first, with the key of end 1. */
static void answer_by_hand(const struct native_params *params)
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

/* ---- the usual way -------------------------------------------------------------------------------------------------- */

Test(native_handshake, joins_in_one_round_trip)
{
	native_pair_init(&pair, 1);
	native_pair_start(&pair, 0, NULL);
	native_pair_start(&pair, 1, NULL);
	a->link.delay_us = b->link.delay_us = 30000;
	native_pair_join(&pair, 0, 1, false);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
	cr_assert_eq(kcpvpn_peer_state(b->peers[0]), KCPVPN_PEER_IDLE);
	int64_t began_us = pair.now_us;
	cr_assert(native_pair_run_until(&pair, a_is_up, S));
	cr_assert_eq(pair.now_us - began_us, 60000, "the caller can send after a round trip");
	cr_assert(native_pair_events(a, 1) & KCPVPN_PEER_EVENT_STATE);
	cr_assert_eq(kcpvpn_peer_state(b->peers[0]), KCPVPN_PEER_IDLE, "not confirmed yet");
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, S));
	cr_assert_eq(pair.now_us - began_us, 90000);
	native_pair_run(&pair, 5 * S);
	cr_assert_eq(a->sent[INIT], 1);
	cr_assert_eq(b->sent[RESP], 1);
	cr_assert_eq(a->sent[RESP] + b->sent[INIT], 0);
	cr_assert_eq(status_of(a).handshakes, 1);
	cr_assert_eq(status_of(b).handshakes, 1);
	cr_assert_null(status_of(a).trouble);
	cr_assert_eq(kcpvpn_peer_tun_mtu(a->peers[1]), 1400);
	struct kcpvpn_endpoint at;
	cr_assert(kcpvpn_peer_endpoint(b->peers[0], &at));
	cr_assert(kcpvpn_endpoint_equal(&at, &a->address));
	/* attempts are over, and nothing is left of them in memory */
	cr_assert_eq(a->native->attempts.slots_used, 0);
	cr_assert_eq(a->native->sessions.slots_used, 1);
	cr_assert_eq(a->native->indices.count, 1);
	native_pair_fini(&pair);
}

Test(native_handshake, every_secret_goes_back_to_its_pool)
{
	open_up();
	for (size_t i = 0; i < 2; i++) {
		struct native_end *end = &pair.ends[i];
		kcpvpn_native_remove_peer(end->native, end->peers[1 - i]);
		end->peers[1 - i] = NULL;
		cr_assert_eq(end->native->sessions.slots_used, 0);
		cr_assert_eq(end->native->attempts.slots_used, 0);
		cr_assert_eq(end->native->peer_keys.slots_used, 0);
		cr_assert_eq(end->native->indices.count, 0);
		cr_assert_eq(secret_pool_bytes(&end->native->sessions), 0);
		cr_assert(kcpvpn_native_keys_locked(end->native));
	}
	native_pair_fini(&pair);
}

Test(native_handshake, the_network_key_is_part_of_it)
{
	struct native_end_options options = native_pair_options();

	options.has_network_key = true;
	options.network_key = 5;
	options.has_psk = true;
	options.psk = 9;
	open_watched(&options);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, S));
	native_pair_fini(&pair);
}

Test(native_handshake, both_may_call_at_once)
{
	for (uint64_t seed = 0; seed < 60; seed++) {
		native_pair_init(&pair, seed);
		native_pair_start(&pair, 0, NULL);
		native_pair_start(&pair, 1, NULL);
		a->link.delay_us = b->link.delay_us = 30000;
		a->link.jitter_us = b->link.jitter_us = seed % 3 * 20000;
		native_pair_join(&pair, 0, 1, true);
		native_pair_run(&pair, S);
		cr_assert(native_pair_is_up(&pair));
		cr_assert_eq(a->native->attempts.slots_used + b->native->attempts.slots_used, 0);
		/* each sends on what the other accepts, also after a long silence */
		for (int round = 0; round < 3; round++) {
			const struct native_session *mine = session_of(a, NATIVE_SLOT_CUR);
			const struct native_session *theirs = session_of(b, NATIVE_SLOT_CUR);
			cr_assert_not_null(native_session_find(b->native, mine->remote_index),
				"seed %llu", (unsigned long long)seed);
			cr_assert_not_null(native_session_find(a->native, theirs->remote_index),
				"seed %llu", (unsigned long long)seed);
			native_pair_run(&pair, 50 * S);
		}
		native_pair_fini(&pair);
	}
}

Test(native_handshake, who_is_called_stops_calling)
{
	native_pair_init(&pair, 1);
	native_pair_start(&pair, 0, NULL);
	native_pair_start(&pair, 1, NULL);
	caught_count = 0;
	lose = 1U << INIT;
	pair.filter = catch;
	native_pair_join(&pair, 0, 1, true);
	native_pair_run(&pair, 10000);
	cr_assert_not_null(a->peers[1]->hs.attempts[0]);
	/* of the two calls only that of b arrives */
	const struct caught *init = NULL;
	for (size_t i = 0; i < caught_count; i++)
		if (kcpvpn_endpoint_equal(&caught[i].from, &b->address))
			init = &caught[i];
	native_pair_inject(a, &b->address, init->bytes, init->len);
	native_pair_run(&pair, 10000);
	cr_assert(native_pair_is_up(&pair));
	cr_assert_null(a->peers[1]->hs.attempts[0]);
	cr_assert_not(attempt_running(&a->peers[1]->hs.schedule));
	uint64_t inits = a->sent[INIT];
	native_pair_run(&pair, 60 * S);
	cr_assert_eq(a->sent[INIT], inits);
	native_pair_fini(&pair);
}

/* ---- what an order says --------------------------------------------------------------------------------------------- */

Test(native_handshake, peers_that_no_honest_one_is)
{
	static const uint8_t small_order[KCPVPN_NATIVE_KEY_BYTES] = {1};
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES];
	struct kcpvpn_peer *peer = NULL;

	native_pair_open(&pair, 1, NULL);
	struct kcpvpn_peer_config config = a->options.peer;
	cr_assert_eq(kcpvpn_native_add_peer(a->native, &config, pair.now_us, &peer), -EINVAL);
	config.public_key = small_order;
	cr_assert_eq(kcpvpn_native_add_peer(a->native, &config, pair.now_us, &peer), -EINVAL);
	config.public_key = key;
	native_pair_public_key(0, key);
	cr_assert_eq(kcpvpn_native_add_peer(a->native, &config, pair.now_us, &peer), -EEXIST);
	native_pair_public_key(1, key);
	cr_assert_eq(kcpvpn_native_add_peer(a->native, &config, pair.now_us, &peer), -EEXIST);
	native_pair_public_key(2, key);
	config.tun_mtu = 575;
	cr_assert_eq(kcpvpn_native_add_peer(a->native, &config, pair.now_us, &peer), -EINVAL);
	config.tun_mtu = 576;
	config.dead_after_us = 2999999;
	cr_assert_eq(kcpvpn_native_add_peer(a->native, &config, pair.now_us, &peer), -EINVAL);
	config.dead_after_us = 3000000;
	cr_assert_null(peer);
	for (uint8_t i = 0; i < NATIVE_PAIR_ENDS - 1; i++) {
		key[0] = i;
		cr_assert_eq(kcpvpn_native_add_peer(a->native, &config, pair.now_us, &peer), 0);
	}
	key[0] = 99;
	cr_assert_eq(kcpvpn_native_add_peer(a->native, &config, pair.now_us, &peer), -ENOBUFS);
	cr_assert_eq(a->native->peer_keys.slots_used, NATIVE_PAIR_ENDS);
	native_pair_fini(&pair);
}

Test(native_handshake, another_configuration_keeps_the_keys)
{
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES], psk[KCPVPN_NATIVE_KEY_BYTES] = {0};

	open_up();
	struct kcpvpn_peer_config config = a->options.peer;
	cr_assert_eq(kcpvpn_peer_configure(a->peers[1], &config, pair.now_us), -EINVAL);
	native_pair_public_key(2, key);
	config.public_key = key;
	cr_assert_eq(kcpvpn_peer_configure(a->peers[1], &config, pair.now_us), -EINVAL);
	native_pair_public_key(1, key);
	psk[31] = 1;
	config.preshared_key = psk;
	cr_assert_eq(kcpvpn_peer_configure(a->peers[1], &config, pair.now_us), -EINVAL);
	psk[31] = 0;
	cr_assert_eq(kcpvpn_peer_configure(a->peers[1], &config, pair.now_us), 0);
	native_pair_run(&pair, S);
	cr_assert_eq(
		status_of(a).handshakes, 1, "nothing changed that the peer would have to know");
	config.tun_mtu = 1300;
	cr_assert_eq(kcpvpn_peer_configure(a->peers[1], &config, pair.now_us), 0);
	native_pair_run(&pair, S);
	cr_assert_eq(status_of(a).handshakes, 2);
	cr_assert_eq(kcpvpn_peer_tun_mtu(b->peers[0]), 1300);
	native_pair_fini(&pair);
}

static void set_tun_mtu(struct native_end *end, uint16_t tun_mtu)
{
	struct kcpvpn_peer_config config = end->options.peer;
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES];

	native_pair_public_key(1 - end->number, key);
	config.public_key = key;
	config.tun_mtu = tun_mtu;
	cr_assert_eq(kcpvpn_peer_configure(end->peers[1 - end->number], &config, pair.now_us), 0);
}

/* An MTU is told by handshakes alone, and one that is under way tells what was true when it began. */
Test(native_handshake, another_mtu_during_a_call_is_told_too)
{
	open_up();
	lose = 1U << INIT;
	set_tun_mtu(a, 1300);
	native_pair_run(&pair, S / 10);
	set_tun_mtu(a, 1250);
	lose = 0;
	native_pair_run(&pair, S);
	cr_assert_eq(b->peers[0]->hs.limits.tun_mtu, 1250);
	cr_assert_eq(status_of(a).handshakes, 3, "the call that ran, and one more");
	/* while it is called by the other side */
	a->link.delay_us = b->link.delay_us = 50000;
	native_initiate(b->peers[0], NATIVE_REASON_SILENCE, mono_at_us(pair.now_us));
	kcpvpn_native_flush(b->native, pair.now_us);
	native_pair_run(&pair, 60000);
	cr_assert_not_null(session_of(a, NATIVE_SLOT_NEXT));
	lose = 1U << INIT; /* its own call does not get through until the other is confirmed */
	set_tun_mtu(a, 1200);
	native_pair_run(&pair, 200000);
	lose = 0;
	native_pair_run(&pair, S);
	cr_assert_eq(b->peers[0]->hs.limits.tun_mtu, 1200);
	uint64_t handshakes = status_of(a).handshakes;
	native_pair_run(&pair, 60 * S);
	cr_assert_eq(status_of(a).handshakes, handshakes, "told is told");
	native_pair_fini(&pair);
}

Test(native_handshake, a_peer_that_is_down_is_not_answered)
{
	open_watched(NULL);
	kcpvpn_peer_down(b->peers[0], KCPVPN_CLOSE_REMOVED, pair.now_us);
	native_pair_run(&pair, 10 * S);
	cr_assert_eq(b->sent[RESP] + b->sent[REJECT] + b->sent[DATA], 0);
	cr_assert_gt(stats_of(b).drop_down, 5);
	cr_assert_eq(kcpvpn_peer_state(b->peers[0]), KCPVPN_PEER_DOWN);
	kcpvpn_peer_up(b->peers[0], pair.now_us);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 2 * S));
	native_pair_fini(&pair);
}

Test(native_handshake, an_answer_is_forgotten_with_what_it_promised)
{
	open_watched(NULL);
	lose = 1U << RESP;
	native_pair_run(&pair, 200000);
	cr_assert_eq(b->sent[RESP], 1);
	kcpvpn_peer_down(b->peers[0], KCPVPN_CLOSE_REMOVED, pair.now_us);
	lose = 0;
	native_pair_run(&pair, 5 * S);
	cr_assert_eq(b->sent[RESP], 1, "the session it offers is gone");
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
	native_pair_fini(&pair);
}

Test(native_handshake, down_says_goodbye_and_the_other_side_waits_a_little)
{
	open_up();
	int64_t closed_us = pair.now_us;
	uint64_t instance = a->peers[1]->hs.pair_peer;
	kcpvpn_peer_down(b->peers[0], KCPVPN_CLOSE_SHUTDOWN, pair.now_us);
	kcpvpn_native_flush(b->native, pair.now_us);
	uint64_t inits = a->sent[INIT];
	native_pair_run(&pair, 10000);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING, "it knows at once");
	cr_assert_null(session_of(a, NATIVE_SLOT_CUR));
	native_pair_run(&pair, 5 * S - 20000);
	cr_assert_eq(a->sent[INIT], inits, "not called for 5 s");
	native_pair_run(&pair, 6 * S);
	cr_assert_gt(a->sent[INIT], inits);
	kcpvpn_peer_up(b->peers[0], pair.now_us);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 2 * S));
	cr_assert_gt(pair.now_us - closed_us, 10 * S);
	cr_assert_neq(a->peers[1]->hs.pair_peer, instance, "it began with nothing");
	native_pair_fini(&pair);
}

Test(native_handshake, data_calls_who_is_not_persistent)
{
	struct native_end_options options = native_pair_options();

	options.peer.persistent = false;
	open_watched(&options);
	lose = 1U << INIT;
	native_pair_run(&pair, 60 * S);
	cr_assert_eq(a->sent[INIT], 0, "nobody wants it");
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_IDLE);
	kcpvpn_peer_want(a->peers[1], pair.now_us);
	native_pair_run(&pair, S);
	cr_assert_eq(a->sent[INIT], 3);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
	native_pair_run(&pair, 600 * S);
	uint64_t inits = a->sent[INIT];
	cr_assert(inits >= 30 && inits <= 36, "%llu: it gives up", (unsigned long long)inits);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_IDLE);
	lose = 0;
	kcpvpn_peer_want(a->peers[1], pair.now_us);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, S));
	/* and once it is quiet again, its session ends without another */
	uint64_t handshakes = status_of(a).handshakes;
	native_pair_run(&pair, 400 * S);
	cr_assert_eq(status_of(a).handshakes, handshakes);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_IDLE);
	cr_assert_null(session_of(a, NATIVE_SLOT_CUR));
	cr_assert_eq(a->native->sessions.slots_used, 0);
	native_pair_fini(&pair);
}

Test(native_handshake, data_after_idle_begins_the_schedule_anew)
{
	open_watched(NULL);
	lose = 1U << INIT;
	native_pair_run(&pair, 400 * S);
	/* by now it calls once a minute; find a pause */
	uint64_t inits = a->sent[INIT];
	do
		native_pair_run(&pair, S);
	while (a->sent[INIT] == inits);
	native_pair_run(&pair, 8 * S);
	inits = a->sent[INIT];
	lose = 0;
	kcpvpn_peer_want(a->peers[1], pair.now_us);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 100000));
	cr_assert_eq(a->sent[INIT], inits + 1);
	native_pair_fini(&pair);
}

Test(native_handshake, targets_are_tried_in_order)
{
	native_pair_init(&pair, 1);
	native_pair_start(&pair, 0, NULL);
	native_pair_start(&pair, 1, NULL);
	native_pair_know(&pair, 0, 1, false);
	native_pair_know(&pair, 1, 0, false);
	caught_count = 0;
	lose = 0;
	pair.filter = catch;
	struct kcpvpn_target targets[] = {
		{native_pair_endpoint(50), &a->port},
		{native_pair_endpoint(51), &a->port},
		{b->address, &a->port},
	};
	int64_t began_us = pair.now_us;
	kcpvpn_peer_set_targets(a->peers[1], targets, 3, pair.now_us);
	kcpvpn_peer_want(a->peers[1], pair.now_us);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 2 * S));
	cr_assert(pair.now_us - began_us > 800000 && pair.now_us - began_us < 1000000,
		"the third at the third transmission");
	static const uint8_t hosts[] = {50, 50, 51, 50, 51, 2};
	for (size_t i = 0; i < sizeof(hosts); i++)
		cr_assert_eq(caught[i].to.address[3], hosts[i], "%zu", i);
	native_pair_fini(&pair);
}

Test(native_handshake, the_proven_address_goes_first)
{
	open_up();
	struct kcpvpn_target targets[] = {
		{native_pair_endpoint(50), &a->port},
		{b->address, &a->port},
	};
	kcpvpn_peer_set_targets(a->peers[1], targets, 2, pair.now_us);
	caught_count = 0;
	native_pair_run(&pair, 125 * S);
	cr_assert_eq(caught_count, 2, "a rekey: one INIT, one RESP");
	cr_assert_eq(caught_first(INIT)->to.address[3], 2);
	native_pair_fini(&pair);
}

Test(native_handshake, names_are_asked_for_again_when_nobody_answers)
{
	open_watched(NULL);
	lose = 1U << INIT;
	native_pair_run(&pair, 10 * S);
	cr_assert_not(native_pair_events(a, 1) & KCPVPN_PEER_EVENT_NAMES);
	native_pair_run(&pair, 10 * S);
	cr_assert(native_pair_events(a, 1) & KCPVPN_PEER_EVENT_NAMES);
	native_pair_fini(&pair);
}

/* It died without a word, so the session is good for minutes still. */
Test(native_handshake, names_are_asked_for_again_while_the_session_of_a_dead_peer_lives)
{
	open_up();
	native_pair_events(a, 1);
	native_pair_kill(&pair, 1);
	uint8_t packet[100];
	native_pair_packet(packet, sizeof(packet), 1, 2, 7, 1);
	cr_assert_eq(kcpvpn_peer_send(a->peers[1], packet, sizeof(packet), pair.now_us), 0);
	native_pair_run(&pair, 10 * S);
	cr_assert_not(native_pair_events(a, 1) & KCPVPN_PEER_EVENT_NAMES);
	native_pair_run(&pair, 20 * S);
	cr_assert(native_pair_events(a, 1) & KCPVPN_PEER_EVENT_NAMES);
	native_pair_fini(&pair);
}

Test(native_handshake, names_are_asked_for_again_when_somebody_falls_silent)
{
	struct native_params params = plain_params;

	open_watched(NULL);
	lose = 1U << INIT;
	native_pair_run(&pair, 1000);
	/* an answer, even one that is good for nothing, shows that somebody is there */
	params.instance_id = 0;
	answer_by_hand(&params);
	native_pair_run(&pair, 13 * S);
	cr_assert_not(native_pair_events(a, 1) & KCPVPN_PEER_EVENT_NAMES);
	native_pair_run(&pair, 6 * S);
	cr_assert(native_pair_events(a, 1) & KCPVPN_PEER_EVENT_NAMES);
	native_pair_fini(&pair);
}

Test(native_handshake, who_is_pinned_moves_with_its_targets)
{
	struct native_end_options options = native_pair_options();
	struct kcpvpn_endpoint at;

	options.peer.roaming = false;
	open_watched(&options);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, S));
	native_pair_run(&pair, S);
	b->address = native_pair_endpoint(77);
	struct kcpvpn_target target = {b->address, &a->port};
	kcpvpn_peer_set_targets(a->peers[1], &target, 1, pair.now_us);
	native_pair_run(&pair, 100000);
	cr_assert(kcpvpn_peer_endpoint(a->peers[1], &at));
	cr_assert(kcpvpn_endpoint_equal(&at, &b->address));
	native_pair_fini(&pair);
}

/* ---- wrong keys ----------------------------------------------------------------------------------------------------- */

Test(native_handshake, another_psk_is_told_and_nothing_gets_in)
{
	struct native_end_options options = native_pair_options();

	options.has_psk = true;
	options.psk = 1;
	native_pair_init(&pair, 1);
	native_pair_start(&pair, 0, &options);
	options.psk = 2;
	native_pair_start(&pair, 1, &options);
	native_pair_join(&pair, 0, 1, true);
	native_pair_run(&pair, 60 * S);
	cr_assert_eq(a->sent[DATA] + b->sent[DATA], 0);
	for (size_t i = 0; i < 2; i++) {
		cr_assert_eq(kcpvpn_peer_state(pair.ends[i].peers[1 - i]), KCPVPN_PEER_CONNECTING);
		cr_assert_not_null(strstr(status_of(&pair.ends[i]).trouble, "preshared key"));
		cr_assert_gt(status_of(&pair.ends[i]).drop_psk, 3);
		cr_assert_eq(status_of(&pair.ends[i]).handshakes, 0);
	}
	native_pair_fini(&pair);
}

Test(native_handshake, who_only_answers_learns_of_another_psk_too)
{
	struct native_end_options options = native_pair_options();

	options.has_psk = true;
	options.psk = 1;
	native_pair_init(&pair, 1);
	native_pair_start(&pair, 0, &options);
	native_pair_start(&pair, 1, NULL);
	native_pair_join(&pair, 0, 1, false);
	native_pair_run(&pair, 60 * S);
	cr_assert_not_null(strstr(status_of(a).trouble, "preshared key"));
	cr_assert_not_null(strstr(status_of(b).trouble, "preshared key"));
	/* a right key ends it */
	native_pair_kill(&pair, 0);
	native_pair_start(&pair, 0, NULL);
	native_pair_know(&pair, 0, 1, true);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 5 * S));
	cr_assert_null(status_of(b).trouble);
	native_pair_fini(&pair);
}

Test(native_handshake, another_network_key_meets_silence)
{
	struct native_end_options options = native_pair_options();

	options.has_network_key = true;
	native_pair_init(&pair, 1);
	native_pair_start(&pair, 0, &options);
	native_pair_start(&pair, 1, NULL);
	native_pair_join(&pair, 0, 1, false);
	native_pair_run(&pair, 5 * S);
	cr_assert_null(status_of(a).trouble);
	native_pair_run(&pair, 2 * S);
	cr_assert_not_null(
		status_of(a).trouble, "one whole attempt without an answer is worth a word");
	native_pair_run(&pair, 23 * S);
	cr_assert_eq(b->sent_bytes, 0);
	cr_assert_eq(stats_of(b).drop_mac1, a->sent[INIT]);
	cr_assert_not_null(strstr(status_of(a).trouble, "no answer"));
	native_pair_fini(&pair);
}

Test(native_handshake, a_stranger_meets_silence)
{
	native_pair_init(&pair, 1);
	native_pair_start(&pair, 0, NULL);
	native_pair_start(&pair, 1, NULL);
	native_pair_know(&pair, 0, 1, true);
	native_pair_run(&pair, 30 * S);
	cr_assert_eq(b->sent_bytes, 0);
	cr_assert_eq(stats_of(b).drop_unknown_peer, a->sent[INIT]);
	cr_assert_eq(b->native->sessions.slots_used, 0);
	native_pair_fini(&pair);
}

/* ---- answers -------------------------------------------------------------------------------------------------------- */

Test(native_handshake, the_same_init_gets_the_same_answer_twelve_times_at_each_place)
{
	open_watched(NULL);
	native_pair_run(&pair, 1000);
	const struct caught init = *caught_first(INIT), resp = *caught_first(RESP);
	for (int i = 0; i < 60; i++) {
		struct kcpvpn_endpoint from = native_pair_endpoint((uint8_t)(40 + i / 20));
		caught_count = 0;
		native_pair_inject(b, &from, init.bytes, init.len);
		native_pair_exchange(&pair);
		cr_assert_eq(caught_count, i % 20 < 12);
		if (caught_count == 0)
			continue;
		cr_assert_arr_eq(caught[0].bytes, resp.bytes, resp.len);
		cr_assert(kcpvpn_endpoint_equal(&caught[0].to, &from));
	}
	cr_assert_eq(stats_of(b).resp_repeated, 36);
	cr_assert_eq(stats_of(b).drop_rate, 24);
	cr_assert_eq(stats_of(b).resp_sent, 1);
	cr_assert_eq(b->native->sessions.slots_used, 1);
	native_pair_fini(&pair);
}

/* Somebody who sees INITs, and is faster than the path, repeats them from addresses of his own making. */
Test(native_handshake, copies_from_elsewhere_do_not_use_up_the_callers_answers)
{
	open_watched(NULL);
	lose = 1U << INIT;
	native_pair_run(&pair, 1000);
	const struct caught init = *caught_first(INIT);
	for (int i = 0; i < 200; i++) {
		struct kcpvpn_endpoint from = native_pair_endpoint((uint8_t)(10 + i));
		native_pair_inject(b, &from, init.bytes, init.len);
		native_pair_exchange(&pair);
	}
	cr_assert_eq(stats_of(b).drop_rate, 0);
	lose = 0;
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, S / 2), "at its first repeat");
	cr_assert_eq(b->native->sessions.slots_used, 1);
	native_pair_fini(&pair);
}

Test(native_handshake, old_recordings_change_nothing)
{
	open_up();
	const struct caught init = *caught_first(INIT), resp = *caught_first(RESP);
	struct kcpvpn_endpoint elsewhere = native_pair_endpoint(66), at;
	native_pair_run(&pair, 20 * S);
	uint64_t sessions = b->native->sessions.slots_used;
	caught_count = 0;
	for (int i = 0; i < 100; i++) {
		native_pair_inject(b, &elsewhere, init.bytes, init.len);
		native_pair_inject(a, &elsewhere, resp.bytes, resp.len);
		native_pair_inject(a, &b->address, resp.bytes, resp.len);
		native_pair_exchange(&pair);
	}
	cr_assert_eq(b->sent[RESP], 1);
	/* What it says is for the eyes of the owner of that INIT, and shorter than that. */
	cr_assert_eq(b->sent[REJECT], 100);
	for (size_t i = 0; i < caught_count; i++)
		cr_assert_eq(caught[i].len, 64);
	cr_assert_eq(stats_of(b).drop_stale, 100);
	cr_assert_eq(stats_of(a).drop_index, 200);
	cr_assert_eq(b->native->sessions.slots_used, sessions);
	cr_assert(kcpvpn_peer_endpoint(b->peers[0], &at));
	cr_assert(kcpvpn_endpoint_equal(&at, &a->address));
	cr_assert(native_pair_is_up(&pair));
	native_pair_fini(&pair);
}

/* A RESP that is damaged, or comes from elsewhere, must not end the attempt. */
Test(native_handshake, bad_answers_leave_the_attempt_usable)
{
	open_watched(NULL);
	lose = 1U << RESP;
	native_pair_run(&pair, 1000);
	const struct caught resp = *caught_first(RESP);
	struct kcpvpn_endpoint elsewhere = native_pair_endpoint(66);
	for (size_t at = 0; at < resp.len; at++) {
		uint8_t bytes[HANDSHAKE_RESP_BYTES];
		memcpy(bytes, resp.bytes, sizeof(bytes));
		bytes[at] ^= 1;
		native_pair_inject(a, &b->address, bytes, sizeof(bytes));
		native_pair_run(&pair, 60000); /* at most twenty a second are looked at */
		cr_assert_eq(
			kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING, "byte %zu", at);
	}
	cr_assert_eq(stats_of(a).drop_type, 4);
	cr_assert_geq(stats_of(a).drop_index, 4);
	cr_assert_gt(stats_of(a).drop_mac1, 100);
	native_pair_fini(&pair);

	open_watched(NULL);
	lose = 1U << RESP;
	native_pair_run(&pair, 1000);
	const struct caught fresh = *caught_first(RESP);
	native_pair_inject(a, &elsewhere, fresh.bytes, fresh.len);
	native_pair_exchange(&pair);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
	cr_assert_eq(stats_of(a).drop_address, 1);
	for (int i = 0; i < 10; i++) {
		uint8_t bytes[HANDSHAKE_RESP_BYTES];
		memcpy(bytes, fresh.bytes, sizeof(bytes));
		bytes[50] ^= 1;
		native_pair_inject(a, &b->address, bytes, sizeof(bytes));
	}
	native_pair_inject(a, &b->address, fresh.bytes, fresh.len);
	native_pair_exchange(&pair);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_UP);
	native_pair_fini(&pair);
}

Test(native_handshake, only_twenty_answers_a_second_are_looked_at)
{
	uint8_t bytes[HANDSHAKE_RESP_BYTES];

	open_watched(NULL);
	lose = 1U << RESP;
	native_pair_run(&pair, 1000);
	memcpy(bytes, caught_first(RESP)->bytes, sizeof(bytes));
	bytes[50] ^= 1;
	/* By somebody who knows the public key of who called. */
	handshake_mac(bytes + sizeof(bytes) - HANDSHAKE_MAC_BYTES,
		a->native->secrets->self.mac1_key, HANDSHAKE_KEY_BYTES, bytes,
		sizeof(bytes) - HANDSHAKE_MAC_BYTES);
	for (int i = 0; i < 2000; i++) {
		native_pair_inject(a, &b->address, bytes, sizeof(bytes));
		native_pair_run(&pair, 1000);
	}
	struct kcpvpn_native_stats stats = stats_of(a);
	/* 2 s: one attempt, and the saved up twenty */
	cr_assert(stats.drop_handshake >= 50 && stats.drop_handshake <= 65, "%llu",
		(unsigned long long)stats.drop_handshake);
	cr_assert_eq(stats.drop_handshake + stats.drop_rate, 2000);
	native_pair_fini(&pair);
}

/* Datagrams of a type to end 0 that name its newest call, but are noise otherwise. */
static void inject_noise(uint32_t word, size_t len, int count)
{
	uint64_t random = 7;

	for (int i = 0; i < count; i++) {
		uint8_t bytes[HANDSHAKE_BYTES_MAX];
		for (size_t k = 0; k < len; k++)
			bytes[k] = (uint8_t)native_pair_random(&random);
		store_le32(bytes, word);
		store_le32(bytes + 4, a->peers[1]->hs.attempts[0]->index.number);
		native_pair_inject(a, &b->address, bytes, len);
	}
}

static void inject_all_noise(void)
{
	inject_noise(HANDSHAKE_WORD_RESP, HANDSHAKE_RESP_BYTES, 100);
	inject_noise(HANDSHAKE_WORD_COOKIE, HANDSHAKE_COOKIE_BYTES, 100);
	inject_noise(HANDSHAKE_WORD_REJECT, HANDSHAKE_REJECT_BYTES, 100);
}

/* Who sees an INIT pass has no key, but knows the index: nothing that such a one can send keeps the answer out. */
Test(native_handshake, noise_does_not_keep_answers_out)
{
	uint8_t cookie[HANDSHAKE_MAC_BYTES] = {1, 2, 3}, datagram[HANDSHAKE_COOKIE_BYTES];

	native_pair_init(&pair, 1);
	native_pair_start(&pair, 0, NULL);
	native_pair_start(&pair, 1, NULL);
	a->link.delay_us = b->link.delay_us = 20000;
	pair.filter = catch;
	caught_count = 0;
	lose = 1U << RESP;
	native_pair_join(&pair, 0, 1, false);
	for (int ms = 0; ms < 10; ms++) {
		native_pair_run(&pair, 1000);
		inject_all_noise();
	}
	/* A COOKIE behind it is used ... */
	handshake_cookie_write(&b->native->secrets->self, caught_first(INIT)->bytes, cookie,
		&b->native->random, datagram);
	native_pair_inject(a, &b->address, datagram, sizeof(datagram));
	native_pair_exchange(&pair);
	cr_assert_eq(a->sent[INIT], 2);
	/* ... and a RESP is taken. */
	native_pair_run(&pair, 40000);
	inject_all_noise();
	const struct caught resp = *caught_first(RESP);
	native_pair_inject(a, &b->address, resp.bytes, resp.len);
	native_pair_exchange(&pair);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_UP);
	cr_assert_eq(stats_of(a).drop_mac1, 1100);
	cr_assert_eq(stats_of(a).drop_handshake, 2200);
	cr_assert_eq(stats_of(a).drop_rate + stats_of(a).drop_queue, 0);
	native_pair_fini(&pair);
}

Test(native_handshake, noise_does_not_keep_a_reject_out)
{
	open_up();
	native_pair_kill(&pair, 0);
	a->realtime_us = 0;
	native_pair_start(&pair, 0, NULL);
	lose = 1U << REJECT;
	caught_count = 0;
	native_pair_know(&pair, 0, 1, true);
	native_pair_run(&pair, 1000);
	inject_all_noise();
	const struct caught reject = *caught_first(REJECT);
	uint64_t sent = a->sent[INIT];
	lose = 0;
	native_pair_inject(a, &b->address, reject.bytes, reject.len);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 10000));
	cr_assert_eq(a->sent[INIT], sent + 1);
	native_pair_fini(&pair);
}

/* The second address of a peer is a place to be answered from only when it was called. */
Test(native_handshake, an_answer_comes_from_where_this_call_went)
{
	native_pair_init(&pair, 1);
	native_pair_start(&pair, 0, NULL);
	native_pair_start(&pair, 1, NULL);
	native_pair_know(&pair, 0, 1, false);
	native_pair_know(&pair, 1, 0, false);
	caught_count = 0;
	lose = 0;
	pair.filter = catch;
	struct kcpvpn_target targets[] = {
		{native_pair_endpoint(50), &a->port},
		{b->address, &a->port},
	};
	kcpvpn_peer_set_targets(a->peers[1], targets, 2, pair.now_us);
	kcpvpn_peer_want(a->peers[1], pair.now_us);
	native_pair_run(&pair, 1000);
	const struct caught init = *caught_first(INIT);
	cr_assert_eq(init.to.address[3], 50);
	native_pair_inject(b, &a->address, init.bytes, init.len);
	native_pair_exchange(&pair);
	cr_assert_eq(b->sent[RESP], 1);
	cr_assert_eq(stats_of(a).drop_address, 1);
	cr_assert_neq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_UP);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, S), "called there by now");
	native_pair_fini(&pair);
}

/* The peer moves while it is called: the answer comes from where the call went, which is not where it is by now. */
Test(native_handshake, an_answer_from_where_the_call_went_is_taken_after_a_move)
{
	for (int pinned = 0; pinned < 2; pinned++) {
		struct kcpvpn_endpoint at;
		open_up();
		a->link.delay_us = b->link.delay_us = 100000;
		native_initiate(a->peers[1], NATIVE_REASON_REKEY, mono_at_us(pair.now_us));
		native_pair_run(&pair, 1000);
		cr_assert_eq(a->sent[INIT], 2);
		a->peers[1]->config.roaming = !pinned;
		struct kcpvpn_target target = {native_pair_endpoint(77), &a->port};
		kcpvpn_peer_set_targets(a->peers[1], &target, 1, pair.now_us);
		a->peers[1]->data.roam.current.remote = target.remote;
		a->peers[1]->data.address.remote = target.remote;
		native_pair_run(&pair, 220000);
		cr_assert_eq(stats_of(a).drop_address, (uint64_t)pinned,
			"only its targets, if it is pinned");
		cr_assert_eq(status_of(a).handshakes, 2 - (uint64_t)pinned);
		cr_assert(kcpvpn_peer_endpoint(a->peers[1], &at));
		cr_assert(kcpvpn_endpoint_equal(&at, pinned ? &target.remote : &b->address));
		native_pair_fini(&pair);
	}
}

/* And an answer from the address that stands first now, but was not called, is none. */
Test(native_handshake, an_answer_from_where_no_call_went_yet_is_not_taken)
{
	open_watched(NULL);
	lose = 1U << RESP;
	native_pair_run(&pair, 1000);
	const struct caught resp = *caught_first(RESP);
	struct kcpvpn_target target = {native_pair_endpoint(77), &a->port};
	kcpvpn_peer_set_targets(a->peers[1], &target, 1, pair.now_us);
	native_pair_inject(a, &target.remote, resp.bytes, resp.len);
	native_pair_exchange(&pair);
	cr_assert_eq(stats_of(a).drop_address, 1);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
	native_pair_fini(&pair);
}

/* More addresses than it can remember: those it went to last count. */
Test(native_handshake, a_call_remembers_where_it_went_last)
{
	open_watched(NULL);
	lose = 1U << RESP;
	native_pair_run(&pair, 1000);
	const struct caught resp = *caught_first(RESP);
	struct kcpvpn_target targets[KCPVPN_NATIVE_TARGETS_MAX];
	for (uint8_t i = 0; i < KCPVPN_NATIVE_TARGETS_MAX; i++)
		targets[i] =
			(struct kcpvpn_target){native_pair_endpoint((uint8_t)(100 + i)), &a->port};
	kcpvpn_peer_set_targets(a->peers[1], targets, KCPVPN_NATIVE_TARGETS_MAX, pair.now_us);
	a->peers[1]->hs.schedule.reach = ATTEMPT_REACH_ALL;
	native_pair_run(&pair, S / 2);
	targets[0].remote = native_pair_endpoint(120);
	kcpvpn_peer_set_targets(a->peers[1], targets, 1, pair.now_us);
	native_pair_run(&pair, S / 2);
	native_pair_inject(a, &b->address, resp.bytes, resp.len);
	native_pair_exchange(&pair);
	cr_assert_eq(stats_of(a).drop_address, 1);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
	native_pair_inject(a, &targets[7].remote, resp.bytes, resp.len);
	native_pair_exchange(&pair);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_UP);
	native_pair_fini(&pair);
}

Test(native_handshake, an_answer_to_the_attempt_before_is_taken)
{
	open_watched(NULL);
	lose = 1U << RESP;
	native_pair_run(&pair, 7 * S);
	const struct caught *first = caught_first(RESP);
	cr_assert_not_null(a->peers[1]->hs.attempts[1]);
	native_pair_inject(a, &b->address, first->bytes, first->len);
	native_pair_exchange(&pair);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_UP);
	/* but its other half is replaced, so the younger call goes on, and brings what works */
	cr_assert_not_null(a->peers[1]->hs.attempts[0]);
	lose = 0;
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 2 * S));
	native_pair_run(&pair, S);
	cr_assert_eq(a->native->attempts.slots_used, 0);
	native_pair_fini(&pair);
}

Test(native_handshake, an_answer_after_fifteen_seconds_is_too_late)
{
	open_watched(NULL);
	lose = 1U << RESP;
	native_pair_run(&pair, 1000);
	const struct caught first = *caught_first(RESP);
	native_pair_run(&pair, 15 * S + 2000);
	native_pair_inject(a, &b->address, first.bytes, first.len);
	native_pair_exchange(&pair);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
	native_pair_fini(&pair);
}

Test(native_handshake, a_cookie_is_used_at_once_but_once)
{
	uint8_t cookie[HANDSHAKE_MAC_BYTES] = {1, 2, 3};
	uint8_t datagram[HANDSHAKE_COOKIE_BYTES];

	open_watched(NULL);
	lose = 1U << INIT;
	native_pair_run(&pair, 1000);
	const struct caught init = *caught_first(INIT);
	for (int i = 0; i < 3; i++) {
		cookie[0]++;
		handshake_cookie_write(&b->native->secrets->self, init.bytes, cookie,
			&b->native->random, datagram);
		native_pair_inject(a, &b->address, datagram, sizeof(datagram));
		native_pair_exchange(&pair);
		cr_assert_eq(a->sent[INIT], 2);
	}
	cr_assert_arr_eq(caught[1].bytes, init.bytes, 168, "all but mac2 stays as it was");
	/* what is sent again has the newest */
	native_pair_run(&pair, 400000);
	cr_assert_eq(caught_count, 3);
	uint8_t want[HANDSHAKE_INIT_BYTES];
	memcpy(want, init.bytes, sizeof(want));
	handshake_init_set_cookie(want, cookie);
	cr_assert_arr_eq(caught[2].bytes, want, sizeof(want));
	/* and after two minutes none */
	native_pair_run(&pair, 120 * S);
	caught_count = 0;
	do
		native_pair_run(&pair, S);
	while (caught_count == 0);
	static const uint8_t none[HANDSHAKE_MAC_BYTES];
	cr_assert_arr_eq(caught[0].bytes + 168, none, sizeof(none));
	native_pair_fini(&pair);
}

Test(native_handshake, an_answer_may_choose_only_what_was_offered)
{
	struct native_params params = plain_params;

	open_watched(NULL);
	lose = 1U << INIT;
	native_pair_run(&pair, 1000);
	params.features = 0xffff;
	answer_by_hand(&params);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_UP);
	cr_assert_eq(a->peers[1]->hs.limits.features, NATIVE_FEATURES);
	native_pair_fini(&pair);
}

Test(native_handshake, an_answer_out_of_range_is_dropped)
{
	struct native_params params = plain_params;

	open_watched(NULL);
	lose = 1U << INIT;
	native_pair_run(&pair, 1000);
	params.instance_id = 0;
	answer_by_hand(&params);
	cr_assert_eq(stats_of(a).drop_params, 1);
	cr_assert_not_null(status_of(a).trouble);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
	params.instance_id = 4;
	answer_by_hand(&params);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_UP, "the attempt is as it was");
	native_pair_fini(&pair);
}

Test(native_handshake, who_requires_what_we_lack_is_not_called_for_a_minute)
{
	struct native_params params = plain_params;

	open_watched(NULL);
	lose = 1U << INIT;
	native_pair_run(&pair, 1000);
	params.required = NATIVE_FEATURE_SUPER;
	answer_by_hand(&params);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
	cr_assert_not_null(strstr(status_of(a).trouble, "feature"));
	lose = 0;
	native_pair_run(&pair, 59 * S);
	cr_assert_eq(a->sent[INIT], 1);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 2 * S));
	cr_assert_null(status_of(a).trouble);
	native_pair_fini(&pair);
}

Test(native_handshake, attempts_end_when_calls_pause)
{
	open_watched(NULL);
	lose = 1U << INIT;
	native_pair_run(&pair, 400 * S);
	uint64_t inits = a->sent[INIT];
	do
		native_pair_run(&pair, 100000);
	while (a->sent[INIT] == inits);
	native_pair_run(&pair, 14 * S);
	cr_assert_eq(a->native->attempts.slots_used, 1);
	native_pair_run(&pair, 2 * S);
	cr_assert_eq(a->native->attempts.slots_used, 0);
	cr_assert_eq(a->native->indices.count, 0);
	native_pair_fini(&pair);
}

/* ---- the responder's session that waits ----------------------------------------------------------------------------- */

Test(native_handshake, an_unconfirmed_session_says_nothing_and_ends)
{
	open_watched(NULL);
	lose = 1U << RESP;
	native_pair_run(&pair, 1000);
	cr_assert_not_null(session_of(b, NATIVE_SLOT_NEXT));
	kcpvpn_native_remove_peer(a->native, a->peers[1]);
	a->peers[1] = NULL;
	uint8_t packet[100];
	native_pair_packet(packet, sizeof(packet), 2, 1, 5, 1);
	cr_assert_eq(kcpvpn_peer_send(b->peers[0], packet, sizeof(packet), pair.now_us), -ENOTCONN);
	native_pair_run(&pair, 14 * S);
	cr_assert_not_null(session_of(b, NATIVE_SLOT_NEXT));
	native_pair_run(&pair, S);
	cr_assert_null(session_of(b, NATIVE_SLOT_NEXT));
	cr_assert_eq(b->sent[DATA], 0);
	cr_assert_eq(b->native->sessions.slots_used, 0);
	native_pair_fini(&pair);
}

Test(native_handshake, what_waits_is_replaced_by_a_larger_number_or_after_five_seconds)
{
	struct caller caller;

	native_pair_init(&pair, 1);
	native_pair_start(&pair, 1, NULL);
	native_pair_know(&pair, 1, 0, false);
	caller_init(&caller, 0);
	uint64_t seq = caller.params.init_seq;
	caller_write(&caller, 16);
	caller_send(&caller, 9);
	const struct native_session *next = session_of(b, NATIVE_SLOT_NEXT);
	cr_assert_not_null(next);
	cr_assert_eq(next->init_seq, seq);
	/* the same number again, by another INIT */
	caller_write(&caller, 32);
	caller_send(&caller, 9);
	cr_assert_eq(stats_of(b).drop_pending, 1);
	cr_assert_eq(session_of(b, NATIVE_SLOT_NEXT)->remote_index, 16);
	caller.params.init_seq = seq - 1;
	caller_write(&caller, 48);
	caller_send(&caller, 9);
	cr_assert_eq(stats_of(b).drop_pending, 2);
	caller.params.init_seq = seq + 1;
	caller_write(&caller, 64);
	caller_send(&caller, 9);
	cr_assert_eq(session_of(b, NATIVE_SLOT_NEXT)->remote_index, 64);
	cr_assert_eq(b->native->sessions.slots_used, 1);
	native_pair_run(&pair, 5 * S);
	caller.params.init_seq = seq - 995;
	caller_write(&caller, 80);
	caller_send(&caller, 9);
	cr_assert_eq(session_of(b, NATIVE_SLOT_NEXT)->remote_index, 80, "nothing is committed yet");
	native_pair_fini(&pair);
}

Test(native_handshake, what_waits_is_told_to_who_has_no_clock)
{
	struct caller caller;
	struct handshake_reject reject;

	native_pair_init(&pair, 1);
	native_pair_start(&pair, 1, NULL);
	native_pair_know(&pair, 1, 0, false);
	caller_init(&caller, 0);
	uint64_t seq = caller.params.init_seq;
	caller_write(&caller, 16);
	caller_send(&caller, 9);
	caught_count = 0;
	pair.filter = catch;
	caller.params.init_seq = 3;
	caller_write(&caller, 32);
	caller_send(&caller, 9);
	cr_assert_eq(
		handshake_reject_open(&caller.attempt, caught_first(REJECT)->bytes, &reject), 0);
	cr_assert_eq(reject.reason, HANDSHAKE_REJECT_STALE);
	cr_assert_eq(reject.last_seq, seq);
	native_pair_fini(&pair);
}

/* The caller's first word on the session that end 1 offered it last. */
static void caller_confirm(
	struct caller *caller, const struct caught *resp, uint64_t counter, uint8_t host)
{
	uint8_t params[NATIVE_PARAMS_BYTES], datagram[SEAL_OVERHEAD_BYTES];
	struct handshake_keys keys;
	struct seal_key key;
	struct kcpvpn_endpoint from = native_pair_endpoint(host);

	cr_assert_eq(handshake_resp_open(&caller->attempt, &caller->self, &caller->peer,
			     resp->bytes, params, &keys),
		HANDSHAKE_OK);
	seal_key_init(&key, keys.t_send);
	struct seal_item item = {
		.payload = datagram + SEAL_HEADER_BYTES,
		.counter = counter,
		.key = &key,
		.receiver_index = load_le32(params),
	};
	seal_batch(&item, 1);
	native_pair_inject(b, &from, datagram, sizeof(datagram));
	native_pair_exchange(&pair);
}

Test(native_handshake, confirming_proves_the_address_of_the_init_or_none)
{
	for (int elsewhere = 0; elsewhere < 2; elsewhere++) {
		struct caller caller;
		struct kcpvpn_endpoint at = {0}, want = native_pair_endpoint(9);
		native_pair_init(&pair, 1);
		native_pair_start(&pair, 1, NULL);
		native_pair_know(&pair, 1, 0, false);
		caught_count = 0;
		pair.filter = catch;
		caller_init(&caller, 0);
		caller_write(&caller, 16);
		caller_send(&caller, 9);
		cr_assert_not(kcpvpn_peer_endpoint(b->peers[0], &at), "an INIT proves nothing");
		caller_confirm(&caller, caught_first(RESP), 7, elsewhere ? 10 : 9);
		cr_assert_not_null(session_of(b, NATIVE_SLOT_CUR));
		cr_assert_eq(kcpvpn_peer_state(b->peers[0]) == KCPVPN_PEER_UP, !elsewhere,
			"nobody knows where to send");
		cr_assert_eq(kcpvpn_peer_endpoint(b->peers[0], &at), !elsewhere);
		cr_assert(elsewhere || kcpvpn_endpoint_equal(&at, &want));
		native_pair_fini(&pair);
	}
}

Test(native_handshake, a_peer_is_answered_ten_times_a_second)
{
	struct caller caller;

	native_pair_init(&pair, 1);
	native_pair_start(&pair, 1, NULL);
	native_pair_know(&pair, 1, 0, false);
	caller_init(&caller, 0);
	for (uint32_t i = 0; i < 100; i++) {
		caller.params.init_seq++;
		caller_write(&caller, i * 16);
		caller_send(&caller, 9);
		native_pair_run(&pair, 10000);
	}
	cr_assert(b->sent[RESP] >= 14 && b->sent[RESP] <= 16, "%llu",
		(unsigned long long)b->sent[RESP]);
	cr_assert_eq(stats_of(b).drop_rate, 100 - b->sent[RESP]);
	cr_assert_eq(b->native->sessions.slots_used, 1);
	native_pair_fini(&pair);
}

/* ---- values and features -------------------------------------------------------------------------------------------- */

Test(native_handshake, params_out_of_range_are_dropped)
{
	struct caller caller;

	native_pair_init(&pair, 1);
	native_pair_start(&pair, 1, NULL);
	native_pair_know(&pair, 1, 0, false);
	caller_init(&caller, 0);
	caller.params.datagram_max = 1231;
	caller_write(&caller, 16);
	caller_send(&caller, 9);
	caller.params.datagram_max = 1232;
	caller_write(&caller, 17);
	caller_send(&caller, 9);
	cr_assert_eq(stats_of(b).drop_params, 2);
	cr_assert_eq(b->sent_bytes, 0);
	caller_write(&caller, 16);
	caller_send(&caller, 9);
	cr_assert_eq(b->sent[RESP], 1);
	native_pair_fini(&pair);
}

Test(native_handshake, a_feature_that_is_required_and_missing_is_rejected)
{
	struct caller caller;
	struct handshake_reject reject;

	native_pair_init(&pair, 1);
	native_pair_start(&pair, 1, NULL);
	native_pair_know(&pair, 1, 0, false);
	caught_count = 0;
	pair.filter = catch;
	caller_init(&caller, 0);
	caller.params.required = NATIVE_FEATURE_PADDING | NATIVE_FEATURE_SUPER;
	caller_write(&caller, 16);
	caller_send(&caller, 9);
	cr_assert_eq(
		handshake_reject_open(&caller.attempt, caught_first(REJECT)->bytes, &reject), 0);
	cr_assert_eq(reject.reason, HANDSHAKE_REJECT_FEATURE);
	cr_assert_eq(b->sent[RESP], 0);
	cr_assert_not_null(strstr(status_of(b).trouble, "feature"));
	native_pair_fini(&pair);
}

Test(native_handshake, features_are_those_of_both)
{
	struct caller caller;
	struct handshake_keys keys;
	struct native_params params;
	uint8_t bytes[NATIVE_PARAMS_BYTES];

	native_pair_init(&pair, 1);
	native_pair_start(&pair, 1, NULL);
	native_pair_know(&pair, 1, 0, false);
	caught_count = 0;
	pair.filter = catch;
	caller_init(&caller, 0);
	caller.params.features = 0xffff & ~NATIVE_FEATURE_PATH_MTU;
	caller_write(&caller, 16);
	caller_send(&caller, 9);
	cr_assert_eq(handshake_resp_open(&caller.attempt, &caller.self, &caller.peer,
			     caught_first(RESP)->bytes, bytes, &keys),
		HANDSHAKE_OK);
	cr_assert(native_params_read(bytes, NATIVE_PARAMS_RESP, &params));
	cr_assert_eq(params.features, NATIVE_FEATURE_FEC | NATIVE_FEATURE_PADDING);
	cr_assert_eq(params.sender_index, session_of(b, NATIVE_SLOT_NEXT)->index.number);
	cr_assert_eq(session_of(b, NATIVE_SLOT_NEXT)->params.features,
		NATIVE_FEATURE_FEC | NATIVE_FEATURE_PADDING);
	native_pair_fini(&pair);
}

/* ---- clocks --------------------------------------------------------------------------------------------------------- */

static void restart_a_at(int64_t realtime_us)
{
	native_pair_kill(&pair, 0);
	a->realtime_us = realtime_us;
	native_pair_start(&pair, 0, NULL);
	native_pair_know(&pair, 0, 1, true);
}

Test(native_handshake, a_clock_that_is_wrong_costs_a_round_trip)
{
	static const int64_t day_us = (int64_t)86400 * S;
	const int64_t clocks_us[] = {-day_us, day_us, 0, -day_us * 30000, 2 * day_us};

	open_up();
	int64_t clock_us = a->realtime_us;
	for (size_t i = 0; i < sizeof(clocks_us) / sizeof(clocks_us[0]); i++) {
		restart_a_at(clock_us + clocks_us[i]);
		int64_t began_us = pair.now_us;
		cr_assert(native_pair_run_until(&pair, native_pair_is_up, S));
		uint64_t before = status_of(b).handshakes;
		native_pair_run(&pair, 10 * S);
		cr_assert_eq(status_of(b).handshakes, before);
		cr_assert_leq(pair.now_us - began_us, 11 * S);
		/* the session is the new one's */
		cr_assert_eq(session_of(a, NATIVE_SLOT_CUR)->remote_index,
			session_of(b, NATIVE_SLOT_CUR)->index.number);
	}
	cr_assert_eq(stats_of(b).rejects_sent, 3);
	native_pair_fini(&pair);
}

Test(native_handshake, numbers_grow_whatever_the_clock_does)
{
	uint64_t last = 0;

	open_watched(NULL);
	lose = 1U << INIT;
	for (int i = 0; i < 50; i++) {
		a->realtime_us = i % 3 == 0 ? -pair.now_us - 5 : (int64_t)1700000000 * S - i * 5000;
		native_pair_run(&pair, 3 * S);
		if (!a->peers[1]->hs.attempts[0])
			continue;
		uint64_t seq = a->peers[1]->hs.attempts[0]->init_seq;
		cr_assert_geq(seq, last);
		if (a->peers[1]->hs.attempts[1])
			cr_assert_gt(seq, a->peers[1]->hs.attempts[1]->init_seq);
		last = seq;
	}
	native_pair_fini(&pair);
}

Test(native_handshake, two_rejects_a_minute_are_followed)
{
	open_up();
	restart_a_at(0);
	lose = 1U << RESP;
	/* Others raise what is committed again and again: only so often is it worth another INIT at once. */
	native_pair_run(&pair, 200000);
	cr_assert_eq(a->sent[INIT], 3, "the first, one rejected, one more");
	for (int i = 0; i < 20; i++) {
		b->peers[0]->hs.committed_seq = a->peers[1]->hs.last_seq + 100;
		native_session_free(b->peers[0]->hs.slots[NATIVE_SLOT_NEXT]);
		answer_cache_clear(&b->native->answers);
		native_pair_run(&pair, 200000);
	}
	cr_assert_leq(a->peers[1]->hs.schedule.made, 2);
	cr_assert_leq(a->sent[INIT], 12);
	/* but none is forgotten: the next in turn gets in */
	lose = 0;
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 7 * S));
	native_pair_fini(&pair);
}

/* Somebody who recorded the peer's INITs for hours repeats them all, before its clock fails and while it calls. */
Test(native_handshake, recordings_do_not_keep_out_whose_clock_is_behind)
{
	struct caller caller;
	uint8_t inits[40][HANDSHAKE_INIT_BYTES];
	struct kcpvpn_endpoint elsewhere = native_pair_endpoint(66);

	open_up();
	caller_init(&caller, 0);
	for (uint32_t i = 0; i < 40; i++) {
		caller.params.init_seq = i + 1;
		caller_write(&caller, i * 16);
		memcpy(inits[i], caller.init, sizeof(caller.init));
	}
	for (int i = 0; i < 200; i++) {
		if (i == 100)
			restart_a_at(0);
		native_pair_inject(b, &elsewhere, inits[i % 40], sizeof(inits[0]));
		native_pair_run(&pair, 10000);
		cr_assert(i < 102 || native_pair_is_up(&pair));
	}
	cr_assert_eq(stats_of(b).under_load, 0);
	native_pair_fini(&pair);
}

/*
 * Somebody recorded all INITs of a peer, at `first` and as long after each other as handshakes are, and end 1 begins anew: it gets
 * them in order, each when the one before was taken, while the peer calls. @return how many it took until the peer was up
 */
static uint32_t replay_until_up(uint64_t first, uint32_t recordings, int64_t calls_at_us)
{
	struct caller caller;
	uint32_t taken = 0;

	open_watched(NULL);
	lose = ~0U;
	caller_init(&caller, 0);
	for (int64_t at_us = 0; !native_pair_is_up(&pair); at_us += 10000) {
		cr_assert_lt(at_us, calls_at_us + 2 * S);
		if (at_us == calls_at_us)
			lose = 0;
		caller.params.init_seq = first + taken * (uint64_t)120 * S;
		caller_write(&caller, (taken + 1) * 16);
		caller_send(&caller, 66);
		const struct native_session *next = session_of(b, NATIVE_SLOT_NEXT);
		if (taken < recordings && next && next->init_seq == caller.params.init_seq)
			taken++;
		native_pair_run(&pair, 10000);
	}
	native_pair_fini(&pair);
	return taken;
}

Test(native_handshake, recordings_do_not_keep_a_peer_out_after_a_restart)
{
	native_pair_init(&pair, 1);
	uint64_t now = seq_now();
	native_pair_fini(&pair);
	cr_assert_eq(replay_until_up(now - (uint64_t)3000 * 120 * S, 2900, S), 0);
}

/* All that end 1 knows of time is its clock. Whatever that says, its peers get in, at once or by one REJECT. */
Test(native_handshake, a_responder_with_a_wrong_clock_lets_its_peers_in)
{
	static const int64_t day_us = (int64_t)86400 * S;
	const int64_t off_us[] = {0, -day_us, day_us, 36500 * day_us, INT64_MIN, -50 * S, 50 * S};

	for (size_t i = 0; i < sizeof(off_us) / sizeof(off_us[0]); i++) {
		bool ahead = off_us[i] >= day_us;
		native_pair_init(&pair, 1);
		native_pair_start(&pair, 0, NULL);
		native_pair_start(&pair, 1, NULL);
		a->link.delay_us = b->link.delay_us = 30000;
		b->realtime_us = off_us[i] == INT64_MIN ? -pair.now_us : a->realtime_us + off_us[i];
		native_pair_join(&pair, 0, 1, false);
		cr_assert(native_pair_run_until(&pair, native_pair_is_up, 160000));
		cr_assert_eq(stats_of(b).rejects_sent, ahead);
		/* and go on calling it without another */
		native_pair_run(&pair, 400 * S);
		cr_assert_geq(status_of(b).handshakes, 4);
		cr_assert_eq(stats_of(b).rejects_sent, ahead);
		native_pair_fini(&pair);
	}
}

/* A machine that learns the time from the network starts without. */
Test(native_handshake, a_clock_that_is_set_late_counts_from_then_on)
{
	struct caller caller;

	native_pair_init(&pair, 1);
	native_pair_start(&pair, 0, NULL);
	native_pair_start(&pair, 1, NULL);
	native_pair_know(&pair, 1, 0, false);
	caller_init(&caller, 0);
	uint64_t started = caller.params.init_seq;
	int64_t right_us = b->realtime_us;
	b->realtime_us = -pair.now_us;
	native_pair_run(&pair, (int64_t)3600 * S);
	caller.params.init_seq = started - (uint64_t)100 * S;
	caller_write(&caller, 16);
	caller_send(&caller, 9);
	cr_assert_eq(b->sent[RESP], 1, "as long as it knows no better");
	native_pair_run(&pair, 20 * S);
	b->realtime_us = right_us;
	caller_write(&caller, 32);
	caller_send(&caller, 9);
	cr_assert_eq(b->sent[RESP], 1);
	cr_assert_eq(stats_of(b).drop_stale, 1);
	/* what is older than its start is old, what came since is not */
	caller.params.init_seq = started - (uint64_t)59 * S;
	caller_write(&caller, 48);
	caller_send(&caller, 9);
	cr_assert_eq(b->sent[RESP], 2);
	native_pair_fini(&pair);
}

/* Who was found by our own call may have recordings, too; and from then on our clock is no matter. */
Test(native_handshake, a_clock_counts_until_the_peers_found_each_other)
{
	struct caller caller;

	native_pair_init(&pair, 1);
	native_pair_start(&pair, 0, NULL);
	native_pair_start(&pair, 1, NULL);
	native_pair_know(&pair, 0, 1, false);
	native_pair_know(&pair, 1, 0, true);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, S));
	b->realtime_us += (int64_t)86400 * S;
	caller_init(&caller, 0);
	caller.params.init_seq = seq_now() - (uint64_t)(86400 + 100) * S;
	caller_write(&caller, 16);
	caller_send(&caller, 9);
	cr_assert_eq(stats_of(b).drop_stale, 1);
	native_initiate(a->peers[1], NATIVE_REASON_SILENCE, mono_at_us(pair.now_us));
	native_pair_run(&pair, S);
	cr_assert_eq(status_of(a).handshakes, 2);
	cr_assert_eq(stats_of(b).drop_stale, 1);
	native_pair_fini(&pair);
}

/* What a caller was told must stay good, or it is told again and again. */
Test(native_handshake, a_clock_that_is_slewed_does_not_outrun_who_was_rejected)
{
	native_pair_init(&pair, 1);
	native_pair_start(&pair, 0, NULL);
	native_pair_start(&pair, 1, NULL);
	a->link.delay_us = b->link.delay_us = 100000;
	b->realtime_us += (int64_t)86400 * S;
	lose = 1U << RESP;
	caught_count = 0;
	pair.filter = catch;
	native_pair_join(&pair, 0, 1, false);
	for (int i = 0; i < 3000; i++) {
		b->realtime_us += 5;
		native_pair_run(&pair, 10000);
	}
	cr_assert_eq(stats_of(b).rejects_sent, 1);
	lose = 0;
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 20 * S));
	native_pair_fini(&pair);
}

/* ---- time ----------------------------------------------------------------------------------------------------------- */

Test(native_handshake, the_caller_makes_new_keys_after_two_minutes)
{
	for (uint64_t seed = 0; seed < 20; seed++) {
		native_pair_open(&pair, seed, NULL);
		native_pair_run(&pair, S);
		int64_t made_us = session_of(a, NATIVE_SLOT_CUR)->made_at.us;
		uint64_t instance = a->peers[1]->hs.pair_own;
		while (status_of(a).handshakes == 1)
			native_pair_run(&pair, 10000);
		cr_assert(pair.now_us - made_us >= 120 * S &&
			  pair.now_us - made_us <= 125 * S + 20000);
		native_pair_run(&pair, S);
		cr_assert_eq(status_of(b).handshakes, 2);
		cr_assert_eq(b->sent[INIT], 0);
		cr_assert_eq(a->peers[1]->hs.pair_own, instance);
		cr_assert_not_null(session_of(a, NATIVE_SLOT_PREV));
		native_pair_run(&pair, 35 * S);
		cr_assert_null(session_of(a, NATIVE_SLOT_PREV), "30 s after its last datagram");
		cr_assert_null(session_of(b, NATIVE_SLOT_PREV));
		native_pair_fini(&pair);
	}
}

Test(native_handshake, the_other_side_steps_in_half_a_minute_later)
{
	native_pair_init(&pair, 1);
	native_pair_start(&pair, 0, NULL);
	native_pair_start(&pair, 1, NULL);
	native_pair_know(&pair, 0, 1, true);
	native_pair_know(&pair, 1, 0, false);
	native_pair_run(&pair, S);
	int64_t made_us = session_of(b, NATIVE_SLOT_CUR)->made_at.us;
	/* b wants it alive, a does not care any more */
	b->peers[0]->config.persistent = true;
	native_peer_touch(b->peers[0]);
	a->peers[1]->config.persistent = false;
	native_peer_touch(a->peers[1]);
	while (status_of(b).handshakes == 1)
		native_pair_run(&pair, 10000);
	cr_assert(pair.now_us - made_us >= 150 * S && pair.now_us - made_us <= 155 * S + 20000);
	cr_assert_eq(b->sent[INIT], 1);
	native_pair_fini(&pair);
}

Test(native_handshake, nothing_lives_longer_than_three_minutes)
{
	uint8_t packet[100];

	open_up();
	int64_t made_us = session_of(a, NATIVE_SLOT_CUR)->made_at.us;
	lose = 1U << INIT;
	native_pair_packet(packet, sizeof(packet), 1, 2, 5, 1);
	while (pair.now_us < made_us + 179 * S) {
		(void)kcpvpn_peer_send(a->peers[1], packet, sizeof(packet), pair.now_us);
		native_pair_run(&pair, 500000);
	}
	cr_assert(native_pair_is_up(&pair));
	native_pair_run(&pair, 2 * S);
	cr_assert_null(session_of(a, NATIVE_SLOT_CUR));
	cr_assert_null(session_of(b, NATIVE_SLOT_CUR));
	cr_assert_eq(kcpvpn_peer_send(a->peers[1], packet, sizeof(packet), pair.now_us), -ENOTCONN);
	cr_assert_eq(a->native->sessions.slots_used, 0);
	cr_assert_eq(kcpvpn_peer_state(a->peers[1]), KCPVPN_PEER_CONNECTING);
	lose = 0;
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 2 * S));
	native_pair_fini(&pair);
}

Test(native_handshake, after_a_long_sleep_nothing_old_is_used)
{
	uint8_t packet[100];

	open_up();
	native_pair_packet(packet, sizeof(packet), 1, 2, 5, 1);
	for (int hours = 1; hours < 20; hours += 6) {
		pair.now_us += (int64_t)hours * 3600 * S;
		/* before any timer was served */
		cr_assert_eq(kcpvpn_peer_send(a->peers[1], packet, sizeof(packet), pair.now_us),
			-ENOTCONN);
		kcpvpn_native_network_changed(a->native, pair.now_us);
		cr_assert(native_pair_run_until(&pair, native_pair_is_up, S));
		cr_assert_lt(pair.now_us - session_of(a, NATIVE_SLOT_CUR)->made_at.us, S);
		native_pair_run(&pair, S);
	}
	native_pair_fini(&pair);
}

Test(native_handshake, who_gets_no_data_through_calls_less_and_less)
{
	open_watched(NULL);
	lose = 1U << DATA;
	native_pair_run(&pair, 30 * S);
	uint64_t made = status_of(a).handshakes;
	cr_assert(made >= 4 && made <= 8, "%llu", (unsigned long long)made);
	cr_assert_leq(a->native->sessions.slots_used, 3);
	native_pair_run(&pair, 300 * S);
	cr_assert_leq(status_of(a).handshakes, made + 10);
	lose = 0;
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 80 * S));
	native_pair_fini(&pair);
}

/* What end 0 sends on is what end 1 sends on. */
static bool peers_agree(struct native_pair *p)
{
	const struct native_session *own = p->ends[0].peers[1]->hs.slots[NATIVE_SLOT_CUR];
	const struct native_session *other = p->ends[1].peers[0]->hs.slots[NATIVE_SLOT_CUR];

	return own && other && own->index.number == other->remote_index;
}

/* As above while a session works: the peer goes on sending on that, for it never heard of another. */
Test(native_handshake, what_the_peer_sends_on_stays_while_new_keys_do_not_get_through)
{
	open_up();
	uint32_t index = session_of(a, NATIVE_SLOT_CUR)->index.number;
	lose = 1U << DATA;
	for (uint64_t i = 0; i < 6; i++) {
		native_initiate(a->peers[1], NATIVE_REASON_SILENCE, mono_at_us(pair.now_us));
		kcpvpn_native_flush(a->native, pair.now_us);
		native_pair_run(&pair, 1500000);
		attempt_stop(&a->peers[1]->hs.schedule);
		cr_assert_eq(status_of(a).handshakes, 2 + i);
		cr_assert_eq(session_of(b, NATIVE_SLOT_CUR)->remote_index, index);
		cr_assert_not_null(native_session_find(a->native, index), "call %d", (int)i);
		cr_assert_leq(a->native->sessions.slots_used, 3);
	}
	/* Once something comes on another it is over for the old one. */
	lose = 0;
	cr_assert(native_pair_run_until(&pair, peers_agree, 20 * S));
	native_pair_run(&pair, 35 * S);
	cr_assert_null(native_session_find(a->native, index));
	native_pair_fini(&pair);
}

Test(native_handshake, keys_are_changed_by_count_too)
{
	open_up();
	session_of(a, NATIVE_SLOT_CUR)->data.sealed = NATIVE_REKEY_DATAGRAMS - 2;
	native_peer_touch(a->peers[1]);
	native_pair_run(&pair, 5 * S);
	cr_assert_eq(status_of(a).handshakes, 1);
	session_of(a, NATIVE_SLOT_CUR)->data.sealed = NATIVE_REKEY_DATAGRAMS;
	native_peer_touch(a->peers[1]);
	native_pair_run(&pair, 100000);
	cr_assert_eq(status_of(a).handshakes, 2);
	native_pair_fini(&pair);
}

Test(native_handshake, numbers_begin_anew_long_before_they_end)
{
	open_up();
	uint64_t instance = a->peers[1]->hs.own_instance;
	kcp_sent_skip(&a->peers[1]->data.path->sent, NATIVE_RENEW_NUMBER - 100);
	native_initiate(a->peers[1], NATIVE_REASON_REKEY, mono_at_us(pair.now_us));
	native_pair_run(&pair, S);
	cr_assert_eq(status_of(a).handshakes, 2);
	cr_assert_eq(a->peers[1]->hs.own_instance, instance);
	kcp_sent_skip(&a->peers[1]->data.path->sent, NATIVE_RENEW_NUMBER);
	native_initiate(a->peers[1], NATIVE_REASON_REKEY, mono_at_us(pair.now_us));
	native_pair_run(&pair, S);
	cr_assert_eq(status_of(a).handshakes, 3);
	cr_assert_neq(a->peers[1]->hs.own_instance, instance);
	cr_assert_eq(b->peers[0]->hs.pair_peer, a->peers[1]->hs.own_instance);
	cr_assert_lt(kcp_path_next_pn(a->peers[1]->data.path), 1000);
	cr_assert(native_pair_is_up(&pair));
	native_pair_fini(&pair);
}

/* ---- instances ------------------------------------------------------------------------------------------------------ */

Test(native_handshake, a_restart_is_another_instance)
{
	open_up();
	uint64_t old = b->peers[0]->hs.pair_peer;
	uint32_t index = session_of(b, NATIVE_SLOT_CUR)->index.number;
	restart_a_at(a->realtime_us);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, S));
	native_pair_run(&pair, 100000);
	cr_assert_neq(b->peers[0]->hs.pair_peer, old);
	cr_assert_eq(b->peers[0]->hs.pair_peer, a->peers[1]->hs.own_instance);
	cr_assert_null(native_session_find(b->native, index), "sessions of the dead one are gone");
	cr_assert_null(session_of(b, NATIVE_SLOT_PREV));
	native_pair_fini(&pair);
}

Test(native_handshake, an_answer_from_before_a_restart_revives_nothing)
{
	open_up();
	/* a calls again; the answer is late */
	lose = 1U << RESP;
	caught_count = 0;
	native_initiate(b->peers[0], NATIVE_REASON_SILENCE, mono_at_us(pair.now_us));
	kcpvpn_native_flush(b->native, pair.now_us);
	native_pair_run(&pair, 100000);
	const struct caught late = *caught_first(RESP);
	lose = 0;
	/* meanwhile a begins anew */
	restart_a_at(a->realtime_us);
	native_pair_run(&pair, 300000);
	uint64_t instance = a->peers[1]->hs.own_instance;
	cr_assert_eq(b->peers[0]->hs.pair_peer, instance);
	native_pair_inject(b, &a->address, late.bytes, late.len);
	native_pair_exchange(&pair);
	cr_assert_eq(b->peers[0]->hs.pair_peer, instance);
	cr_assert(native_pair_is_up(&pair));
	native_pair_fini(&pair);
}

/* B calls anew while A's own call to the dead B is answered late: what B offers must not go with what is dead. */
Test(native_handshake, a_late_answer_of_the_dead_instance_does_not_erase_what_waits)
{
	open_up();
	lose = 1U << RESP | 1U << DATA;
	caught_count = 0;
	native_initiate(a->peers[1], NATIVE_REASON_SILENCE, mono_at_us(pair.now_us));
	kcpvpn_native_flush(a->native, pair.now_us);
	native_pair_run(&pair, 1000);
	const struct caught late = *caught_first(RESP);
	native_pair_kill(&pair, 1);
	native_pair_start(&pair, 1, NULL);
	a->link.delay_us = b->link.delay_us = 50000;
	lose = 0;
	native_pair_know(&pair, 1, 0, true);
	native_pair_run(&pair, 60000);
	uint64_t instance = b->peers[0]->hs.own_instance;
	cr_assert_not_null(session_of(a, NATIVE_SLOT_NEXT));
	cr_assert_eq(session_of(a, NATIVE_SLOT_NEXT)->peer_instance, instance);
	native_pair_inject(a, &b->address, late.bytes, late.len);
	native_pair_exchange(&pair);
	cr_assert_eq(status_of(a).handshakes, 2, "it was taken");
	cr_assert_not_null(session_of(a, NATIVE_SLOT_NEXT));
	/* B's confirming PING was on its way. */
	native_pair_run(&pair, 100000);
	cr_assert_eq(a->peers[1]->hs.pair_peer, instance);
	cr_assert_eq(session_of(a, NATIVE_SLOT_CUR)->peer_instance, instance);
	native_pair_fini(&pair);
}

/* Of two calls the older reached the new instance, the younger the one that is dead: its answer comes last. */
Test(native_handshake, a_late_answer_of_the_dead_instance_is_not_taken)
{
	open_up();
	lose = 1U << RESP | 1U << INIT;
	caught_count = 0;
	native_initiate(b->peers[0], NATIVE_REASON_SILENCE, mono_at_us(pair.now_us));
	kcpvpn_native_flush(b->native, pair.now_us);
	native_pair_run(&pair, 5 * S);
	const struct caught older = *caught_first(INIT);
	caught_count = 0;
	lose = 1U << RESP;
	native_pair_run(&pair, 2 * S);
	const struct caught late = *caught_first(RESP);
	cr_assert_not_null(b->peers[0]->hs.attempts[1]);
	restart_a_at(a->realtime_us);
	lose = 1U << RESP | 1U << INIT | 1U << DATA;
	caught_count = 0;
	native_pair_inject(a, &b->address, older.bytes, older.len);
	native_pair_exchange(&pair);
	const struct caught fresh = *caught_first(RESP);
	native_pair_inject(b, &a->address, fresh.bytes, fresh.len);
	native_pair_exchange(&pair);
	uint64_t instance = a->peers[1]->hs.own_instance;
	cr_assert_eq(b->peers[0]->hs.pair_peer, instance);
	native_pair_inject(b, &a->address, late.bytes, late.len);
	native_pair_exchange(&pair);
	cr_assert_eq(b->peers[0]->hs.pair_peer, instance);
	native_pair_fini(&pair);
}

/* End 0 answered an instance of end 1 that is dead by now, and learned of no pair yet: DATA of the dead one comes late. */
static struct caught dead_data;

static bool hold_first_data(
	struct native_end *from, const struct kcpvpn_endpoint *to, uint8_t *bytes, size_t len)
{
	if (from == a && bytes[0] == INIT)
		return false;
	if (from != b || bytes[0] != DATA)
		return true;
	if (dead_data.len == 0 && len <= sizeof(dead_data.bytes)) {
		dead_data = (struct caught){from->address, *to, pair.now_us, len, {0}};
		memcpy(dead_data.bytes, bytes, len);
	}
	return false;
}

Test(native_handshake, what_waits_of_a_dead_instance_goes_with_the_first_pair)
{
	native_pair_init(&pair, 1);
	native_pair_start(&pair, 0, NULL);
	native_pair_start(&pair, 1, NULL);
	dead_data.len = 0;
	pair.filter = hold_first_data;
	native_pair_join(&pair, 0, 1, true);
	native_pair_run(&pair, S);
	cr_assert_gt(dead_data.len, 0);
	const struct native_session *next = session_of(a, NATIVE_SLOT_NEXT);
	cr_assert_not_null(next);
	uint64_t dead = next->peer_instance;
	native_pair_kill(&pair, 1);
	pair.filter = NULL;
	native_pair_start(&pair, 1, NULL);
	native_pair_know(&pair, 1, 0, false);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 5 * S));
	uint64_t alive = a->peers[1]->hs.pair_peer;
	cr_assert_neq(alive, dead);
	cr_assert_null(session_of(a, NATIVE_SLOT_NEXT));
	native_pair_inject(a, &b->address, dead_data.bytes, dead_data.len);
	native_pair_exchange(&pair);
	cr_assert_eq(a->peers[1]->hs.pair_peer, alive);
	cr_assert(peers_agree(&pair));
	native_pair_fini(&pair);
}

/* Datagrams of the session before may be late: it stays for half a minute after the last. */
static struct caught held[8];
static size_t held_count;

static bool hold_data(
	struct native_end *from, const struct kcpvpn_endpoint *to, uint8_t *bytes, size_t len)
{
	if (from != b || bytes[0] != DATA || len > sizeof(held[0].bytes) || held_count == 8)
		return true;
	held[held_count] = (struct caught){from->address, *to, pair.now_us, len, {0}};
	memcpy(held[held_count++].bytes, bytes, len);
	return false;
}

Test(native_handshake, the_session_before_stays_while_it_is_heard)
{
	uint8_t packet[40];

	open_up();
	held_count = 0;
	pair.filter = hold_data;
	native_pair_packet(packet, sizeof(packet), 2, 1, 5, 1);
	while (held_count < 4) {
		(void)kcpvpn_peer_send(b->peers[0], packet, sizeof(packet), pair.now_us);
		native_pair_run(&pair, 10000);
	}
	pair.filter = NULL;
	while (status_of(a).handshakes == 1)
		native_pair_run(&pair, 100000);
	for (int i = 0; i < 2; i++) {
		native_pair_run(&pair, 14 * S);
		cr_assert_not_null(session_of(a, NATIVE_SLOT_PREV));
		native_pair_inject(a, &b->address, held[i].bytes, held[i].len);
	}
	native_pair_run(&pair, 14 * S);
	cr_assert_not_null(
		session_of(a, NATIVE_SLOT_PREV), "42 s after the rekey, 14 after the last");
	native_pair_run(&pair, 17 * S);
	cr_assert_null(session_of(a, NATIVE_SLOT_PREV));
	native_pair_fini(&pair);
}

Test(native_handshake, nothing_of_an_init_counts_before_it_is_confirmed)
{
	struct caller caller;

	open_up();
	uint64_t instance = b->peers[0]->hs.pair_peer;
	uint64_t committed = b->peers[0]->hs.committed_seq;
	/* the real owner's INIT, but nobody ever speaks on its session */
	caller_init(&caller, 0);
	caller.params.init_seq = committed + 1000;
	caller.params.tun_mtu = 600;
	caller_write(&caller, 16);
	caller_send(&caller, 9);
	cr_assert_eq(b->sent[RESP], 2);
	cr_assert_eq(b->peers[0]->hs.pair_peer, instance);
	cr_assert_eq(b->peers[0]->hs.committed_seq, committed);
	cr_assert_eq(kcpvpn_peer_tun_mtu(b->peers[0]), 1400);
	cr_assert(native_pair_is_up(&pair));
	native_pair_run(&pair, 16 * S);
	cr_assert_null(session_of(b, NATIVE_SLOT_NEXT));
	native_pair_fini(&pair);
}

/* ---- strangers in numbers ------------------------------------------------------------------------------------------- */

static void flood(struct caller *caller, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++) {
		caller->random = i;
		struct kcpvpn_endpoint source = native_pair_endpoint(200);
		store_be32(source.address, 0x0a000000 + i);
		caller_write(caller, i * 16);
		native_pair_inject(b, &source, caller->init, sizeof(caller->init));
	}
}

Test(native_handshake, under_load_a_cookie_gets_who_can_be_reached_in)
{
	struct caller stranger;

	native_pair_init(&pair, 1);
	native_pair_start(&pair, 0, NULL);
	native_pair_start(&pair, 1, NULL);
	native_pair_know(&pair, 1, 0, false);
	caught_count = 0;
	pair.filter = catch;
	caller_init(&stranger, 100);
	/* nothing waits for the processor at first; then the line grows until load is noticed */
	flood(&stranger, 0, 1000);
	struct kcpvpn_native_stats stats = stats_of(b);
	cr_assert_eq(b->native->inits_count, INIT_GUARD_LOAD_QUEUE + 1);
	cr_assert_eq(stats.cookies_sent, 1000 - INIT_GUARD_LOAD_QUEUE - 1);
	cr_assert_eq(stats.drop_mac2, stats.cookies_sent);
	cr_assert_eq(b->sent[COOKIE], stats.cookies_sent);
	cr_assert_leq(b->sent_bytes, 1000 * HANDSHAKE_INIT_BYTES);
	/* somebody real, in the middle of it */
	native_pair_know(&pair, 0, 1, true);
	int64_t began_us = pair.now_us;
	uint32_t i = 1000;
	while (!native_pair_is_up(&pair)) {
		cr_assert_lt(pair.now_us - began_us, 5 * S);
		flood(&stranger, i, i + 50);
		i += 50;
		native_pair_run(&pair, 1000);
	}
	cr_assert_eq(stats_of(a).cookie_received, 1);
	cr_assert_eq(a->sent[INIT], 2, "at once again, with what the cookie proves");
	cr_assert_lt(pair.now_us - began_us, S);
	cr_assert_gt(stats_of(b).under_load, 900);
	cr_assert_eq(b->native->sessions.slots_used, 1);
	native_pair_fini(&pair);
}

Test(native_handshake, a_proven_address_pushes_others_out_of_the_line)
{
	struct native_end_options options = native_pair_options();
	struct caller stranger, known;
	uint8_t cookie[HANDSHAKE_MAC_BYTES];

	options.limits_off = true;
	native_pair_init(&pair, 1);
	native_pair_start(&pair, 1, &options);
	native_pair_know(&pair, 1, 0, false);
	caller_init(&stranger, 100);
	caller_init(&known, 0);
	size_t most = NATIVE_SHAKES - NATIVE_SHAKES_RESP;
	flood(&stranger, 0, 300);
	cr_assert_eq(b->native->inits_count, most);
	cr_assert_eq(stats_of(b).drop_queue, 300 - most);
	struct kcpvpn_endpoint from = native_pair_endpoint(9);
	caller_write(&known, 16);
	native_pair_inject(b, &from, known.init, sizeof(known.init));
	cr_assert_eq(stats_of(b).drop_queue, 301 - most, "it has proven nothing");
	handshake_cookies_make(&b->native->secrets->cookies, &from, mono_at_us(pair.now_us),
		&b->native->random, cookie);
	handshake_init_set_cookie(known.init, cookie);
	native_pair_inject(b, &from, known.init, sizeof(known.init));
	cr_assert_eq(b->native->inits_count, most);
	/* and it is the first to be worked on; each call does one */
	kcpvpn_native_on_deadline(b->native, pair.now_us);
	if (!session_of(b, NATIVE_SLOT_NEXT))
		kcpvpn_native_on_deadline(b->native, pair.now_us);
	cr_assert_not_null(session_of(b, NATIVE_SLOT_NEXT));
	cr_assert_geq(b->native->inits_count, most - 2);
	/* the same one twice waits once */
	native_pair_exchange(&pair);
	uint64_t dropped = stats_of(b).drop_queue;
	caller_write(&stranger, 16);
	native_pair_inject(b, &from, stranger.init, sizeof(stranger.init));
	native_pair_inject(b, &from, stranger.init, sizeof(stranger.init));
	cr_assert_eq(b->native->inits_count, 1);
	cr_assert_eq(stats_of(b).drop_queue, dropped + 1);
	/* unless it comes from elsewhere: then the answer is for both */
	from = native_pair_endpoint(10);
	native_pair_inject(b, &from, stranger.init, sizeof(stranger.init));
	cr_assert_eq(b->native->inits_count, 2);
	kcpvpn_native_close_port(b->native, &b->port, pair.now_us);
	cr_assert_eq(b->native->inits_count, 0, "there is no way left to answer");
	native_pair_fini(&pair);
}

Test(native_handshake, a_flood_does_not_keep_us_from_calling)
{
	struct native_end_options options = native_pair_options();
	struct caller stranger;

	options.limits_off = true;
	native_pair_init(&pair, 1);
	native_pair_start(&pair, 1, &options);
	caller_init(&stranger, 100);
	flood(&stranger, 0, 100);
	native_pair_know(&pair, 1, 0, true);
	kcpvpn_native_on_deadline(b->native, pair.now_us);
	kcpvpn_native_on_deadline(b->native, pair.now_us);
	cr_assert_not_null(b->peers[0]->hs.attempts[0]);
	cr_assert_eq(b->native->inits_count, 99);
	native_pair_fini(&pair);
}

Test(native_handshake, failures_leave_nothing)
{
	struct caller stranger;

	native_pair_init(&pair, 1);
	native_pair_start(&pair, 1, NULL);
	native_pair_know(&pair, 1, 0, false);
	caller_init(&stranger, 100);
	caller_write(&stranger, 16);
	struct kcpvpn_endpoint from = native_pair_endpoint(9);
	for (uint32_t i = 0; i < 5000; i++) {
		store_le32(stranger.init + 8, i);
		handshake_mac(stranger.init + 152, stranger.peer.mac1_key, HANDSHAKE_KEY_BYTES,
			stranger.init, 152);
		native_pair_inject(b, &from, stranger.init, sizeof(stranger.init));
		native_pair_exchange(&pair);
		pair.now_us += 10000;
	}
	cr_assert_eq(
		stats_of(b).drop_handshake + stats_of(b).drop_rate + stats_of(b).drop_mac2, 5000);
	cr_assert_gt(stats_of(b).drop_handshake, 2500);
	cr_assert_eq(b->native->sessions.slots_used, 0);
	cr_assert_eq(b->native->indices.count, 0);
	cr_assert_null(b->native->answers.table);
	native_pair_fini(&pair);
}

/* ---- many peers ----------------------------------------------------------------------------------------------------- */

enum {
	CROWD = 120,
};

struct crowd {
	int64_t now_us;
	uint64_t random;
	uint64_t inits;
	uint64_t per_call;
};

static void crowd_send(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	struct crowd *crowd = ctx;

	for (size_t i = 0; i < count; i++)
		crowd->inits += batch[i].data[0] == INIT;
}

static int64_t crowd_realtime(void *ctx)
{
	return ((struct crowd *)ctx)->now_us;
}

static void crowd_random(void *ctx, void *buf, size_t len)
{
	caller_random(&((struct crowd *)ctx)->random, buf, len);
}

Test(native_handshake, many_are_called_fifty_a_second)
{
	struct crowd crowd = {.now_us = 5000};
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES] = {8};
	struct kcpvpn_native_config config = {
		.private_key = key,
		.datagram_max_bytes = 1472,
		.peers_max = CROWD,
		.memory_max_bytes = 1 << 20,
		.realtime_us = crowd_realtime,
		.random = crowd_random,
		.ctx = &crowd,
	};
	struct kcpvpn_native *native;
	struct kcpvpn_udp_port port = {crowd_send, &crowd};
	struct kcpvpn_peer *peers[CROWD];

	cr_assert_eq(kcpvpn_native_new(&config, crowd.now_us, &native), 0);
	for (int i = 0; i < CROWD; i++) {
		uint8_t public_key[KCPVPN_NATIVE_KEY_BYTES] = {(uint8_t)i, 9, 9};
		struct kcpvpn_peer_config peer = native_pair_options().peer;
		peer.public_key = public_key;
		struct kcpvpn_target target = {native_pair_endpoint((uint8_t)i), &port};
		cr_assert_eq(kcpvpn_native_add_peer(native, &peer, crowd.now_us, &peers[i]), 0);
		kcpvpn_peer_set_targets(peers[i], &target, 1, crowd.now_us);
		kcpvpn_peer_up(peers[i], crowd.now_us);
	}
	kcpvpn_native_flush(native, crowd.now_us);
	int64_t began_us = crowd.now_us;
	uint64_t made = 0;
	while (made < CROWD) {
		int64_t at_us = kcpvpn_native_next_deadline(native);
		cr_assert_lt(at_us, began_us + 10 * S);
		if (at_us > crowd.now_us)
			crowd.now_us = at_us;
		kcpvpn_native_on_deadline(native, crowd.now_us);
		uint64_t before = made;
		made = 0;
		for (int i = 0; i < CROWD; i++)
			made += !mono_is_never(peers[i]->hs.started_at);
		cr_assert_leq(made, before + 1, "one handshake a call");
		cr_assert_leq(made, 10 + (uint64_t)((crowd.now_us - began_us) / 20000));
		unsigned events;
		while (kcpvpn_native_next_event(native, &events))
			;
		kcpvpn_native_flush(native, crowd.now_us);
	}
	cr_assert_leq(crowd.now_us - began_us, (CROWD - 10) * 20000 + 100000);
	cr_assert_gt(crowd.inits, CROWD);
	cr_assert_leq(native->indices.count, native->indices.mask + 1, "the table grows");
	/* one of them is found by its key, after the table has grown */
	uint8_t public_key[KCPVPN_NATIVE_KEY_BYTES] = {77, 9, 9};
	cr_assert_eq(native_peer_by_key(native, public_key), peers[77]);
	kcpvpn_native_close_port(native, &port, crowd.now_us);
	cr_assert_eq(peers[3]->target_count, 0);
	kcpvpn_native_free(native);
}

Test(native_handshake, a_change_of_the_network_is_told_at_once)
{
	open_up();
	native_pair_run(&pair, 5 * S);
	uint64_t sent = a->sent[DATA];
	kcpvpn_native_network_changed(a->native, pair.now_us);
	native_pair_run(&pair, 1000);
	cr_assert_gt(a->sent[DATA], sent);
	cr_assert_eq(a->sent[INIT], 1, "its session is good");
	native_pair_fini(&pair);

	/* without one the calls begin anew */
	open_watched(NULL);
	lose = 1U << INIT;
	native_pair_run(&pair, 300 * S);
	uint64_t inits = a->sent[INIT];
	do
		native_pair_run(&pair, S);
	while (a->sent[INIT] == inits);
	native_pair_run(&pair, 8 * S);
	lose = 0;
	kcpvpn_native_network_changed(a->native, pair.now_us);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 100000));
	native_pair_fini(&pair);
}
