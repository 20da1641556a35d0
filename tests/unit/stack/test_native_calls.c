/* What a caller does with its addresses, with cookies and refusals, and what becomes of the sessions it leaves behind. */
#include "core/endian.h"
#include "native_pair.h"
#include "stack/native_state.h"

#include <criterion/criterion.h>
#include <string.h>

enum {
	S = 1000000,
	INIT = 8,
	DATA = 12,
	MAC1_AT = 152,
	MAC2_AT = 168,
	INITS_MAX = 64,
};

static struct native_pair pair;
static struct native_end *const a = &pair.ends[0];
static struct native_end *const b = &pair.ends[1];
static const uint8_t no_mac2[HANDSHAKE_MAC_BYTES];

struct init {
	struct kcpvpn_endpoint to;
	uint8_t bytes[HANDSHAKE_INIT_BYTES];
};

static struct init inits[INITS_MAX];
static size_t inits_count;
static unsigned lose; /* bit set of types */

static bool keep_inits(
	struct native_end *from, const struct kcpvpn_endpoint *to, uint8_t *bytes, size_t len)
{
	if (bytes[0] == INIT && len == HANDSHAKE_INIT_BYTES && inits_count < INITS_MAX) {
		inits[inits_count].to = *to;
		memcpy(inits[inits_count++].bytes, bytes, len);
	}
	return !(lose & 1U << bytes[0]);
}

static void begin(unsigned lost)
{
	inits_count = 0;
	lose = lost;
	native_pair_open(&pair, 1, NULL);
	pair.filter = keep_inits;
}

static struct kcpvpn_native_stats stats_of(const struct native_end *end)
{
	struct kcpvpn_native_stats stats;

	kcpvpn_native_stats(end->native, &stats);
	return stats;
}

static struct native_session *slot_of(const struct native_end *end, enum native_slot slot)
{
	return end->peers[1 - end->number]->hs.slots[slot];
}

/* End 1 refuses an INIT of end 0. */
static void refuse(const struct init *init, uint64_t last_seq)
{
	struct handshake_responder responder;
	struct handshake_reject reject = {last_seq, HANDSHAKE_REJECT_STALE};
	uint8_t key[HANDSHAKE_KEY_BYTES], params[NATIVE_PARAMS_BYTES];
	uint8_t datagram[HANDSHAKE_REJECT_BYTES];

	cr_assert_eq(
		handshake_init_open_static(&b->native->secrets->self, init->bytes, &responder, key),
		HANDSHAKE_OK);
	cr_assert_eq(
		handshake_init_open_params(&responder, b->peers[0]->keys, params), HANDSHAKE_OK);
	handshake_reject_write(&responder, &reject, &b->native->random, datagram);
	native_pair_inject(a, &b->address, datagram, sizeof(datagram));
	native_pair_exchange(&pair);
}

Test(native_calls, only_word_on_the_newest_call_is_followed)
{
	begin(1U << INIT);
	native_pair_run(&pair, 7 * S);
	const struct native_attempt *newest = a->peers[1]->hs.attempts[0];
	cr_assert_not_null(a->peers[1]->hs.attempts[1]);
	uint64_t seq = newest->init_seq;
	const struct init older = inits[0], newer = inits[inits_count - 1];
	size_t count = inits_count;
	refuse(&older, seq + 900000000);
	cr_assert_eq(inits_count, count, "a newer call is under way");
	refuse(&newer, seq - 1);
	cr_assert_eq(inits_count, count, "that is no reason");
	refuse(&newer, (uint64_t)1 << 63);
	cr_assert_eq(inits_count, count, "nothing can be above that");
	refuse(&newer, seq + 900000000);
	cr_assert_eq(inits_count, count + 1);
	cr_assert_eq(a->peers[1]->hs.attempts[0]->init_seq, seq + 900000001);
	native_pair_fini(&pair);
}

Test(native_calls, a_cookie_is_shown_where_it_was_given)
{
	struct kcpvpn_endpoint six = {.address = {0x20, 1, 0xd, 0xb8}, .port = 29900, .family = 6};
	uint8_t cookie[HANDSHAKE_MAC_BYTES] = {1}, datagram[HANDSHAKE_COOKIE_BYTES];
	unsigned with = 0, without = 0;

	begin(1U << INIT);
	struct kcpvpn_target targets[] = {{b->address, &a->port}, {six, &a->port}};
	kcpvpn_peer_set_targets(a->peers[1], targets, 2, pair.now_us);
	native_pair_run(&pair, 1000);
	handshake_cookie_write(
		&b->native->secrets->self, inits[0].bytes, cookie, &b->native->random, datagram);
	native_pair_inject(a, &b->address, datagram, sizeof(datagram));
	native_pair_run(&pair, S);
	for (size_t i = 1; i < inits_count; i++) {
		bool shown = memcmp(inits[i].bytes + MAC2_AT, no_mac2, sizeof(no_mac2)) != 0;
		cr_assert_eq(shown, inits[i].to.family == 4);
		with += shown;
		without += !shown;
	}
	cr_assert(with >= 2 && without >= 2);
	native_pair_fini(&pair);
}

Test(native_calls, silence_calls_at_all_addresses_at_once)
{
	begin(1U << INIT);
	struct kcpvpn_target targets[] = {
		{b->address, &a->port},
		{native_pair_endpoint(50), &a->port},
		{native_pair_endpoint(51), &a->port},
		{native_pair_endpoint(52), &a->port},
	};
	kcpvpn_peer_set_targets(a->peers[1], targets, 4, pair.now_us);
	native_pair_run(&pair, 1000);
	inits_count = 0;
	native_initiate(a->peers[1], NATIVE_REASON_SILENCE, mono_at_us(pair.now_us));
	native_pair_run(&pair, 350000);
	cr_assert_eq(inits_count, 4, "not two, as the order has it");
	native_pair_fini(&pair);
}

Test(native_calls, the_same_targets_again_are_no_news)
{
	begin(1U << INIT);
	native_pair_run(&pair, 400 * S);
	/* by now it calls once a minute */
	uint64_t sent = a->sent[INIT];
	do
		native_pair_run(&pair, S);
	while (a->sent[INIT] == sent);
	native_pair_run(&pair, 8 * S);
	sent = a->sent[INIT];
	struct kcpvpn_target target = {b->address, &a->port};
	for (int i = 0; i < 5; i++) {
		kcpvpn_peer_set_targets(a->peers[1], &target, 1, pair.now_us);
		native_pair_run(&pair, 2 * S);
	}
	cr_assert_eq(a->sent[INIT], sent);
	target.remote = native_pair_endpoint(60);
	kcpvpn_peer_set_targets(a->peers[1], &target, 1, pair.now_us);
	native_pair_run(&pair, 1000);
	cr_assert_eq(a->sent[INIT], sent + 1, "another one is");
	native_pair_fini(&pair);
}

Test(native_calls, a_copy_that_waited_gets_the_answer_that_was_made_meanwhile)
{
	begin(1U << INIT);
	native_pair_run(&pair, 1000);
	lose = 0;
	for (uint8_t host = 1; host <= 3; host++) {
		struct kcpvpn_endpoint from = native_pair_endpoint((uint8_t)(80 + host));
		struct kcpvpn_datagram datagram = {.remote = from, .local = b->address};
		uint8_t room[HANDSHAKE_INIT_BYTES];
		datagram.data = room;
		datagram.len = HANDSHAKE_INIT_BYTES;
		memcpy(datagram.data, inits[0].bytes, datagram.len);
		kcpvpn_native_input(b->native, &b->port, &datagram, 1, pair.now_us);
	}
	cr_assert_eq(b->native->inits_count, 3);
	native_pair_exchange(&pair);
	cr_assert_eq(stats_of(b).resp_sent, 1);
	cr_assert_eq(stats_of(b).resp_repeated, 2);
	cr_assert_eq(b->native->sessions.slots_used, 1);
	native_pair_fini(&pair);
}

/* A stranger who can be reached at its address, and shows it. */
Test(native_calls, under_load_an_address_is_worked_for_twenty_times_a_second)
{
	struct kcpvpn_endpoint from = native_pair_endpoint(90);
	uint8_t cookie[HANDSHAKE_MAC_BYTES], init[HANDSHAKE_INIT_BYTES];

	begin(1U << INIT);
	native_pair_run(&pair, 1000);
	memcpy(init, inits[0].bytes, sizeof(init));
	handshake_cookies_make(&b->native->secrets->cookies, &from, mono_at_us(pair.now_us),
		&b->native->random, cookie);
	for (uint32_t i = 0; i < 2000; i++) {
		store_le32(init + 8, i);
		handshake_mac(init + MAC1_AT, b->native->secrets->self.mac1_key,
			HANDSHAKE_KEY_BYTES, init, MAC1_AT);
		handshake_init_set_cookie(init, i < 1000 ? NULL : cookie);
		native_pair_inject(b, &from, init, sizeof(init));
		if (i >= 1000) {
			native_pair_exchange(&pair);
			pair.now_us += 1000;
		}
	}
	struct kcpvpn_native_stats stats = stats_of(b);
	/* those that waited when load was noticed, and then one each 50 ms with five saved up */
	uint64_t worked = stats.drop_handshake - INIT_GUARD_LOAD_QUEUE - 1;
	cr_assert(worked >= 20 && worked <= 27, "%llu", (unsigned long long)worked);
	cr_assert_geq(stats.drop_rate, 900);
	native_pair_fini(&pair);
}

/* Leaves end 0 with `cur`, `prev` and `old`. */
static void pile_up(void)
{
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, S));
	native_pair_run(&pair, S);
	lose = 1U << DATA;
	for (int i = 0; i < 2; i++) {
		native_initiate(a->peers[1], NATIVE_REASON_SILENCE, mono_at_us(pair.now_us));
		kcpvpn_native_flush(a->native, pair.now_us);
		native_pair_run(&pair, 1500000);
		attempt_stop(&a->peers[1]->hs.schedule);
	}
	cr_assert_not_null(slot_of(a, NATIVE_SLOT_PREV));
	cr_assert_not_null(slot_of(a, NATIVE_SLOT_OLD));
	lose = 0;
}

Test(native_calls, what_piled_up_goes_away)
{
	begin(0);
	pile_up();
	native_pair_run(&pair, 240 * S);
	cr_assert_null(slot_of(a, NATIVE_SLOT_OLD));
	cr_assert_leq(a->native->sessions.slots_used, 2);
	cr_assert_leq(b->native->sessions.slots_used, 2);
	cr_assert(native_pair_is_up(&pair));
	native_pair_fini(&pair);
}

Test(native_calls, goodbye_ends_what_piled_up)
{
	begin(0);
	pile_up();
	native_session_closed_by_peer(a->peers[1], mono_at_us(pair.now_us));
	cr_assert_eq(a->native->sessions.slots_used, 0);
	cr_assert_eq(a->native->indices.count, 0);
	native_pair_fini(&pair);
}

/* ---- many ---------------------------------------------------------------------------------------------------------- */

static uint64_t crowd_inits;

static void count_inits(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	(void)ctx;
	for (size_t i = 0; i < count; i++)
		crowd_inits += batch[i].data[0] == INIT && batch[i].len == HANDSHAKE_INIT_BYTES;
}

static int64_t crowd_realtime_us(void *ctx)
{
	(void)ctx;
	return (int64_t)1700000000 * S;
}

static void crowd_random(void *ctx, void *buf, size_t len)
{
	uint64_t *state = ctx;

	for (size_t i = 0; i < len; i++) {
		*state = *state * 6364136223846793005u + 1442695040888963407u;
		((uint8_t *)buf)[i] = (uint8_t)(*state >> 56);
	}
}

/* A node that calls so many peers, none of which answers. @return INITs it sent in the first `us` */
static uint64_t inits_to(uint32_t peers, int64_t us)
{
	struct kcpvpn_udp_port port = {count_inits, NULL};
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES] = {1};
	uint64_t random = peers;
	struct kcpvpn_native *native;
	const struct kcpvpn_native_config config = {
		.private_key = key,
		.datagram_max_bytes = 1472,
		.peers_max = peers,
		.memory_max_bytes = 1 << 20,
		.realtime_us = crowd_realtime_us,
		.random = crowd_random,
		.ctx = &random,
	};
	int64_t now_us = S, until_us = S + us;

	crowd_inits = 0;
	cr_assert_eq(kcpvpn_native_new(&config, now_us, &native), 0);
	for (uint32_t i = 0; i < peers; i++) {
		struct kcpvpn_target target = {native_pair_endpoint((uint8_t)(i % 200)), &port};
		struct kcpvpn_peer_config peer = {
			.tun_mtu = 1400, .dead_after_us = 15 * S, .persistent = true};
		struct kcpvpn_peer *handle;
		uint8_t secret[KCPVPN_NATIVE_KEY_BYTES], public_key[KCPVPN_NATIVE_KEY_BYTES];
		crowd_random(&random, secret, sizeof(secret));
		kcpvpn_native_public_half(secret, public_key);
		peer.public_key = public_key;
		cr_assert_eq(kcpvpn_native_add_peer(native, &peer, now_us, &handle), 0);
		kcpvpn_peer_set_targets(handle, &target, 1, now_us);
		kcpvpn_peer_up(handle, now_us);
	}
	while (now_us <= until_us) {
		unsigned events;
		kcpvpn_native_on_deadline(native, now_us);
		while (kcpvpn_native_next_event(native, &events))
			;
		kcpvpn_native_flush(native, now_us);
		int64_t next_us = kcpvpn_native_next_deadline(native);
		now_us = next_us > now_us ? next_us : now_us + 1;
	}
	kcpvpn_native_free(native);
	return crowd_inits;
}

/* Within 0.3 s: before the first of them is called again. */
Test(native_calls, fifty_are_called_a_second_and_more_where_that_would_take_too_long)
{
	cr_assert_eq(inits_to(200, 250000), 10 + 250 / 20);
	cr_assert_eq(inits_to(1000, 250000), 10 + 250 / 20);
	cr_assert_eq(inits_to(4000, 250000), 10 + 250 / 5);
}
