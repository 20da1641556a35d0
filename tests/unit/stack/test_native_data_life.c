/* Sessions over time: confirmed, silent, asleep, idle, ended. What is sent when, to the microsecond where the specification says
 * so, and what a peer costs that does nothing. */
#include "native_load.h"

#include "kcp/kcp_path_state.h"
#include "stack/native_state.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	MS = 1000,
	S = 1000000,
	INIT = 8,
	RESP = 9,
	DATA = 12,
	KEEPALIVE_BYTES = 32,
	PING_BYTES = 16 + 4 + 24 + 10 + 16,
	CLOSE_BYTES = 16 + 4 + 24 + 3 + 16,
	NOTES_MAX = 4096,
};

static struct native_pair pair;
static struct native_load load;

/* What left end 0 and end 1, and when. */
static struct note {
	int64_t at_us;
	size_t from;
	size_t len;
	uint8_t type;
} notes[NOTES_MAX];
static size_t notes_count;
static unsigned closes_to_lose;
static unsigned lose_from_0, lose_from_1; /* bit = type of datagram (low bits of the first byte) */

static bool note(
	struct native_end *from, const struct kcpvpn_endpoint *to, uint8_t *bytes, size_t len)
{
	uint8_t type = bytes[0] & 15;

	(void)to;
	if (notes_count < NOTES_MAX)
		notes[notes_count++] = (struct note){pair.now_us, from->number, len, type};
	if (type == DATA && len == CLOSE_BYTES && closes_to_lose > 0) {
		closes_to_lose--;
		return false;
	}
	return !((from->number == 0 ? lose_from_0 : lose_from_1) & 1u << type);
}

static void open_pair(const struct native_end_options *options)
{
	notes_count = 0;
	lose_from_0 = lose_from_1 = 0;
	native_pair_open(&pair, 21, options);
	pair.filter = note;
}

static void open_up(const struct native_end_options *options)
{
	open_pair(options);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 10 * S));
	native_load_init(&load, &pair);
}

static size_t count(size_t from, uint8_t type, size_t len, int64_t since_us)
{
	size_t n = 0;

	for (size_t i = 0; i < notes_count; i++)
		n += notes[i].from == from && notes[i].type == type &&
		     (len == 0 || notes[i].len == len) && notes[i].at_us >= since_us;
	return n;
}

/* When the n-th such datagram left, relative to `since_us`; -1 if there is none. */
static int64_t when(size_t from, uint8_t type, size_t len, int64_t since_us, size_t n)
{
	for (size_t i = 0; i < notes_count; i++) {
		if (notes[i].from != from || notes[i].type != type ||
			(len != 0 && notes[i].len != len) || notes[i].at_us < since_us)
			continue;
		if (n-- == 0)
			return notes[i].at_us - since_us;
	}
	return -1;
}

static struct kcpvpn_peer *peer_of(size_t end)
{
	return pair.ends[end].peers[1 - end];
}

static struct kcpvpn_peer_status status_of(size_t end)
{
	struct kcpvpn_peer_status status;

	kcpvpn_peer_status(peer_of(end), &status);
	return status;
}

/* ---- confirming --------------------------------------------------------------------------------------------------- */

static bool initiator_has_session(struct native_pair *p)
{
	return kcpvpn_peer_state(p->ends[0].peers[1]) == KCPVPN_PEER_UP;
}

Test(native_life, the_initiator_asks_until_something_comes)
{
	open_pair(NULL);
	lose_from_0 = 1 << DATA;
	cr_assert(native_pair_run_until(&pair, initiator_has_session, 10 * S));
	int64_t ready_us = pair.now_us;
	native_pair_run(&pair, 950 * MS); /* before silence asks, too */
	static const int64_t want_ms[] = {0, 200, 400, 800};
	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(
			when(0, DATA, PING_BYTES, ready_us, i), want_ms[i] * MS, "PING %zu", i);
	cr_assert_eq(count(0, DATA, PING_BYTES, ready_us), 4);
	native_pair_run(&pair, 5 * S);
	cr_assert_eq(when(0, DATA, PING_BYTES, ready_us + 1500 * MS, 0), 100 * MS);
	/* And nothing was sent by who had no proof. */
	cr_assert_eq(count(1, DATA, 0, 0), 0);
	native_pair_fini(&pair);
}

Test(native_life, one_ping_is_enough_where_nothing_is_lost)
{
	open_up(NULL);
	native_pair_run(&pair, 5 * S);
	cr_assert_eq(count(0, DATA, PING_BYTES, 0), 1);
	cr_assert_eq(count(1, DATA, PING_BYTES, 0), 1, "its PONG");
	native_pair_fini(&pair);
}

static void send_when_up(struct native_end *end, size_t peer, unsigned events)
{
	(void)peer;
	if (end->number == 0 && (events & KCPVPN_PEER_EVENT_STATE) && initiator_has_session(&pair))
		cr_assert_eq(native_load_give(&load, 0, 0, 100), 0);
}

Test(native_life, data_that_waits_confirms_as_well_as_a_ping)
{
	open_pair(NULL);
	native_load_init(&load, &pair);
	pair.on_events = send_when_up;
	native_pair_run(&pair, 5 * S);
	cr_assert_eq(load.ways[0].came, 1);
	cr_assert_eq(count(0, DATA, PING_BYTES, 0), 0);
	native_pair_fini(&pair);
}

/* ---- silence ------------------------------------------------------------------------------------------------------ */

Test(native_life, silence_is_asked_about_then_called_then_told)
{
	open_up(NULL);
	native_pair_run(&pair, 60 * S);
	(void)native_pair_events(&pair.ends[0], 1);
	lose_from_1 = ~0u;
	int64_t asked_us = pair.now_us;
	cr_assert_eq(native_load_give(&load, 0, 0, 100), 0);
	native_pair_run(&pair, 7499 * MS);
	cr_assert_eq(when(0, DATA, PING_BYTES, asked_us, 0), S);
	cr_assert_eq(count(0, DATA, PING_BYTES, asked_us), 1);
	cr_assert_eq(count(0, INIT, 0, asked_us), 0);
	native_pair_run(&pair, 101 * MS);
	cr_assert_geq(when(0, INIT, 0, asked_us, 0), 7500 * MS);
	cr_assert_leq(when(0, INIT, 0, asked_us, 0), 7510 * MS);
	native_pair_run(&pair, 14999 * MS - 7600 * MS);
	cr_assert_eq(kcpvpn_peer_state(peer_of(0)), KCPVPN_PEER_UP);
	(void)native_pair_events(&pair.ends[0], 1);
	native_pair_run(&pair, 2 * MS);
	cr_assert_eq(kcpvpn_peer_state(peer_of(0)), KCPVPN_PEER_CONNECTING);
	cr_assert(native_pair_events(&pair.ends[0], 1) & KCPVPN_PEER_EVENT_STATE);
	/* Its keys are good still, and yet there is a reason to tell. */
	cr_assert_not_null(status_of(0).trouble);
	cr_assert_not_null(strstr(status_of(0).trouble, "no answer"));
	/* A sign of life: all is well again. */
	lose_from_1 = 0;
	native_pair_run(&pair, 8 * S);
	cr_assert_eq(kcpvpn_peer_state(peer_of(0)), KCPVPN_PEER_UP);
	cr_assert_null(status_of(0).trouble);
	cr_assert(native_pair_events(&pair.ends[0], 1) & KCPVPN_PEER_EVENT_STATE);
	native_pair_fini(&pair);
}

/* Calls begin at half of the patience, so none has met silence when that is over; and what comes back is no handshake. */
Test(native_life, who_is_gone_early_has_a_reason_too_until_the_old_session_is_heard)
{
	struct native_end_options options = native_pair_options();

	options.peer.dead_after_us = 3 * S;
	open_up(&options);
	native_pair_run(&pair, 20 * S);
	lose_from_1 = ~0u;
	cr_assert_eq(native_load_give(&load, 0, 0, 100), 0);
	native_pair_run(&pair, 3100 * MS);
	cr_assert_eq(kcpvpn_peer_state(peer_of(0)), KCPVPN_PEER_CONNECTING);
	cr_assert_null(status_of(0).trouble, "one whole attempt without an answer is worth a word");
	native_pair_run(&pair, 7 * S);
	cr_assert_not_null(status_of(0).trouble);
	uint64_t handshakes = status_of(0).handshakes;
	lose_from_0 = 1 << INIT;
	lose_from_1 = 0;
	cr_assert_eq(native_load_give(&load, 1, 0, 100), 0);
	native_pair_run(&pair, S);
	cr_assert_eq(kcpvpn_peer_state(peer_of(0)), KCPVPN_PEER_UP);
	cr_assert_eq(status_of(0).handshakes, handshakes);
	cr_assert_null(status_of(0).trouble);
	native_pair_fini(&pair);
}

Test(native_life, silence_after_an_answer_means_nothing)
{
	open_up(NULL);
	native_load_run(&load, 5 * S, 100, 0, 500);
	native_pair_run(&pair, S);
	int64_t quiet_us = pair.now_us;
	lose_from_0 = lose_from_1 = ~0u;
	native_pair_run(&pair, 60 * S);
	for (size_t end = 0; end < 2; end++) {
		cr_assert_eq(count(end, DATA, PING_BYTES, quiet_us), 0);
		cr_assert_eq(count(end, INIT, 0, quiet_us), 0);
		cr_assert_eq(kcpvpn_peer_state(peer_of(end)), KCPVPN_PEER_UP);
	}
	native_pair_fini(&pair);
}

Test(native_life, a_ping_is_a_question_too)
{
	open_up(NULL);
	native_pair_run(&pair, 30 * S);
	lose_from_1 = ~0u;
	int64_t asked_us = pair.now_us;
	kcpvpn_native_network_changed(pair.ends[0].native, pair.now_us);
	native_pair_run(&pair, 7400 * MS);
	cr_assert_eq(when(0, DATA, PING_BYTES, asked_us, 0), 0);
	cr_assert_eq(when(0, DATA, PING_BYTES, asked_us, 1), S);
	cr_assert_eq(count(0, INIT, 0, asked_us), 0);
	native_pair_run(&pair, 200 * MS);
	cr_assert_eq(count(0, INIT, 0, asked_us), 1);
	native_pair_fini(&pair);
}

Test(native_life, a_new_session_begins_without_old_questions)
{
	open_up(NULL);
	lose_from_0 = lose_from_1 = ~0u;
	native_pair_run(&pair, 170 * S);
	cr_assert_eq(native_load_give(&load, 0, 0, 100), 0);
	native_pair_run(&pair, 20 * S);
	cr_assert_neq(kcpvpn_peer_state(peer_of(0)), KCPVPN_PEER_UP);
	cr_assert(mono_is_never(peer_of(0)->data.live.asked_since));
	cr_assert(!liveness_gone(&peer_of(0)->data.live));
	native_pair_fini(&pair);
}

/* ---- keepalive ---------------------------------------------------------------------------------------------------- */

static int64_t longest_pause_us(size_t from, int64_t since_us)
{
	int64_t last_us = -1, longest_us = 0;

	for (size_t i = 0; i < notes_count; i++) {
		if (notes[i].from != from || notes[i].type != DATA || notes[i].at_us < since_us)
			continue;
		if (last_us >= 0 && notes[i].at_us - last_us > longest_us)
			longest_us = notes[i].at_us - last_us;
		last_us = notes[i].at_us;
	}
	return longest_us;
}

Test(native_life, keepalives_come_exactly_when_asked_for)
{
	struct native_end_options options = native_pair_options();

	native_pair_init(&pair, 22);
	notes_count = 0;
	lose_from_0 = lose_from_1 = 0;
	options.peer.keepalive_us = 25 * S;
	native_pair_start(&pair, 0, &options);
	native_pair_start(&pair, 1, NULL);
	native_pair_join(&pair, 0, 1, false);
	pair.filter = note;
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 10 * S));
	int64_t up_us = pair.now_us;
	native_pair_run(&pair, 1000 * S);
	cr_assert_eq(longest_pause_us(0, up_us), 25 * S);
	/* The other side is not asked: it answers one in a minute, to show that it is there. */
	cr_assert_gt(longest_pause_us(1, up_us), 60 * S);
	cr_assert_lt(longest_pause_us(1, up_us), 90 * S);
	cr_assert_gt(count(0, DATA, KEEPALIVE_BYTES, up_us), 25);
	cr_assert_eq(kcpvpn_peer_state(peer_of(1)), KCPVPN_PEER_UP);
	native_pair_fini(&pair);
}

Test(native_life, the_shorter_of_the_own_and_the_asked_keepalive_counts)
{
	static const struct {
		int64_t own_s, asked_s, pause_s;
	} rows[] = {{0, 7, 7}, {9, 7, 7}, {7, 9, 7}, {9, 0, 9}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct native_end_options options = native_pair_options();
		options.peer.keepalive_us = rows[i].own_s * S;
		open_up(&options);
		peer_of(0)->hs.limits.keepalive_s = (uint16_t)rows[i].asked_s;
		native_data_limits(peer_of(0), mono_at_us(pair.now_us));
		native_pair_run(&pair, 20 * S);
		int64_t since_us = pair.now_us;
		native_pair_run(&pair, 60 * S);
		cr_assert_eq(longest_pause_us(0, since_us), rows[i].pause_s * S, "row %zu", i);
		native_pair_fini(&pair);
	}
}

Test(native_life, ten_seconds_after_the_last_datagram_its_receiver_says_that_it_lives)
{
	open_up(NULL);
	native_pair_run(&pair, 30 * S);
	int64_t given_us = pair.now_us;
	cr_assert_eq(native_load_give(&load, 0, 0, 100), 0);
	native_pair_run(&pair, 60 * S);
	/* End 1 acknowledged at once: that was its word. End 0 owes one for the acknowledgement. */
	int64_t answered_us = when(1, DATA, 0, given_us, 0);
	cr_assert_eq(when(0, DATA, KEEPALIVE_BYTES, given_us, 0), answered_us + 10 * S);
	cr_assert_eq(count(0, DATA, KEEPALIVE_BYTES, given_us), 1);
	cr_assert_eq(count(1, DATA, KEEPALIVE_BYTES, given_us), 0);
	native_pair_fini(&pair);
}

/* ---- ends --------------------------------------------------------------------------------------------------------- */

Test(native_life, nothing_is_sent_or_taken_under_a_key_of_three_minutes)
{
	open_up(NULL);
	lose_from_0 = lose_from_1 = 1 << INIT | 1 << RESP;
	/* The network itself fails the test if it sees DATA on a session that is too old. */
	native_load_run(&load, 200 * S, 20, 20, 200);
	int64_t end_us = 180 * S;
	cr_assert_gt(load.ways[0].came, 20 * 179 - 50);
	cr_assert_leq(load.ways[0].last_us - (pair.now_us - 200 * S), end_us);
	cr_assert_eq(native_load_give(&load, 0, 0, 100), -ENOTCONN);
	cr_assert(!kcpvpn_peer_ready(peer_of(0)));
	cr_assert_neq(kcpvpn_peer_state(peer_of(0)), KCPVPN_PEER_UP);
	(void)native_pair_events(&pair.ends[0], 1);
	lose_from_0 = lose_from_1 = 0;
	native_pair_run(&pair, 10 * S);
	cr_assert(native_pair_events(&pair.ends[0], 1) & KCPVPN_PEER_EVENT_WRITABLE);
	cr_assert_eq(native_load_give(&load, 0, 0, 100), 0);
	native_pair_run(&pair, S);
	cr_assert_eq(load.ways[0].last_us > pair.now_us - 2 * S, 1);
	native_pair_fini(&pair);
}

Test(native_life, what_nobody_will_acknowledge_is_given_up_with_its_memory)
{
	open_up(NULL);
	lose_from_0 = lose_from_1 = ~0u;
	for (size_t i = 0; native_load_give(&load, 0, i % 6, 1400) == 0; i++)
		;
	cr_assert_gt(kcp_path_slots(peer_of(0)->data.path), 0);
	native_pair_run(&pair, 190 * S);
	cr_assert_eq(kcp_path_slots(peer_of(0)->data.path), 0);
	native_pair_run(&pair, 120 * S);
	cr_assert_leq(status_of(0).memory_bytes, 16384u);
	native_pair_fini(&pair);
	/* The same if the session ends while it is on its way. */
	open_up(NULL);
	lose_from_0 = lose_from_1 = ~0u;
	native_pair_run(&pair, 179900 * MS - pair.now_us % S);
	for (size_t i = 0; native_load_give(&load, 0, i % 6, 1400) == 0; i++)
		;
	native_pair_run(&pair, 60 * S);
	cr_assert_eq(kcp_path_slots(peer_of(0)->data.path), 0);
	native_pair_fini(&pair);
}

Test(native_life, numbers_end_in_silence_and_a_new_instance_begins_anew)
{
	open_up(NULL);
	struct native_session *first = peer_of(0)->hs.slots[NATIVE_SLOT_CUR];
	uint64_t instance = first->own_instance;
	native_pair_run(&pair, S);
	kcp_sent_skip(&peer_of(0)->data.path->sent, ((uint64_t)1 << 48) - 2);
	for (int i = 0; i < 5; i++)
		(void)native_load_give(&load, 0, 0, 1400);
	native_pair_run(&pair, 60 * S);
	cr_assert_eq(load.ways[0].came, 2);
	struct kcpvpn_native_stats stats;
	kcpvpn_native_stats(pair.ends[0].native, &stats);
	cr_assert_eq(stats.nonce_refused, 0);
	native_pair_run(&pair, 80 * S);
	cr_assert_neq(peer_of(0)->hs.slots[NATIVE_SLOT_CUR]->own_instance, instance);
	native_load_watch(&load);
	native_load_run(&load, S, 100, 100, 200);
	cr_assert_leq(load.ways[0].gap_us, 20 * MS);
	native_pair_fini(&pair);
}

Test(native_life, close_is_said_three_times_and_once_is_enough)
{
	for (unsigned lost = 0; lost < 3; lost++) {
		struct kcpvpn_native_stats stats;
		open_up(NULL);
		native_pair_run(&pair, S);
		int64_t down_us = pair.now_us;
		closes_to_lose = lost;
		kcpvpn_peer_down(peer_of(0), KCPVPN_CLOSE_SHUTDOWN, pair.now_us);
		native_pair_exchange(&pair);
		cr_assert_eq(count(0, DATA, CLOSE_BYTES, down_us), 3);
		cr_assert_neq(kcpvpn_peer_state(peer_of(1)), KCPVPN_PEER_UP);
		cr_assert_eq(native_load_give(&load, 1, 0, 100), -ENOTCONN);
		/* Its other copies find no session, and nobody is called for some time. */
		kcpvpn_native_stats(pair.ends[1].native, &stats);
		cr_assert_eq(stats.drop_index, 2 - lost);
		native_pair_run(&pair, 5 * S);
		cr_assert_eq(count(1, INIT, 0, down_us), 0);
		cr_assert_eq(kcpvpn_peer_state(peer_of(0)), KCPVPN_PEER_DOWN);
		native_pair_fini(&pair);
	}
}

Test(native_life, after_close_nobody_is_woken)
{
	open_up(NULL);
	peer_of(1)->config.persistent = false;
	native_load_run(&load, 2 * S, 200, 200, 500);
	kcpvpn_peer_down(peer_of(0), KCPVPN_CLOSE_SHUTDOWN, pair.now_us);
	native_pair_run(&pair, 300 * S);
	uint64_t wakes = pair.ends[0].wakes + pair.ends[1].wakes;
	native_pair_run(&pair, (int64_t)3600 * S);
	cr_assert_eq(pair.ends[0].wakes + pair.ends[1].wakes, wakes);
	native_pair_fini(&pair);
}

Test(native_life, what_was_ready_leaves_before_close)
{
	open_up(NULL);
	cr_assert_eq(native_load_give(&load, 0, 0, 100), 0);
	kcpvpn_native_flush(pair.ends[0].native, pair.now_us);
	kcpvpn_peer_down(peer_of(0), KCPVPN_CLOSE_RESTART, pair.now_us);
	native_pair_exchange(&pair);
	cr_assert_eq(load.ways[0].came, 1);
	native_pair_fini(&pair);
}

Test(native_life, a_peer_that_comes_up_again_begins_with_nothing)
{
	open_up(NULL);
	native_load_run(&load, 2 * S, 100, 100, 500);
	uint64_t out = status_of(0).out_datagrams;
	kcpvpn_peer_down(peer_of(0), KCPVPN_CLOSE_RESTART, pair.now_us);
	native_pair_exchange(&pair);
	kcpvpn_peer_up(peer_of(0), pair.now_us);
	native_pair_run(&pair, 12 * S);
	cr_assert_geq(status_of(0).out_datagrams, out, "counters never fall");
	native_load_watch(&load);
	native_load_run(&load, 2 * S, 100, 100, 500);
	cr_assert_leq(load.ways[0].gap_us, 20 * MS);
	cr_assert_leq(load.ways[1].gap_us, 20 * MS);
	native_pair_fini(&pair);
}

Test(native_life, after_hours_of_sleep_all_begins_anew)
{
	for (int told = 0; told < 2; told++) {
		open_up(NULL);
		native_load_run(&load, 2 * S, 100, 100, 500);
		pair.now_us += (int64_t)3 * 3600 * S; /* no deadline was served meanwhile */
		if (told)
			kcpvpn_native_network_changed(pair.ends[0].native, pair.now_us);
		native_pair_run(&pair, 3 * S);
		cr_assert(native_pair_is_up(&pair));
		cr_assert_eq(status_of(0).handshakes, 2);
		native_load_watch(&load);
		native_load_run(&load, 2 * S, 100, 100, 500);
		cr_assert_leq(load.ways[0].gap_us, 20 * MS);
		cr_assert_leq(load.ways[1].gap_us, 20 * MS);
		native_pair_fini(&pair);
	}
}

Test(native_life, who_is_used_gets_another_session_in_time)
{
	/* Nobody is to be reached at all times; traffic one way, from either end, keeps the peers joined. */
	for (size_t from = 0; from < 2; from++) {
		struct native_end_options options = native_pair_options();
		options.peer.persistent = false;
		open_pair(&options);
		kcpvpn_peer_want(peer_of(0), pair.now_us);
		cr_assert(native_pair_run_until(&pair, native_pair_is_up, 10 * S));
		native_load_init(&load, &pair);
		native_load_run(&load, 400 * S, from == 0 ? 5 : 0, from == 1 ? 5 : 0, 200);
		cr_assert_leq(load.ways[from].gap_us, S, "from %zu", from);
		cr_assert_eq(load.ways[from].refused, 0);
		native_pair_fini(&pair);
	}
}

/* ---- idle --------------------------------------------------------------------------------------------------------- */

static uint64_t datagrams(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < 2; i++)
		for (size_t t = 0; t < 16; t++)
			sum += pair.ends[i].sent[t];
	return sum;
}

static void idle_hour(const struct native_end_options *options, const char *name,
	uint64_t wakes_most, uint64_t datagrams_most)
{
	open_pair(options);
	kcpvpn_peer_want(peer_of(0), pair.now_us);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 10 * S));
	native_load_init(&load, &pair);
	native_load_run(&load, 10 * S, 200, 200, 900);
	native_pair_run(&pair, 450 * S);
	uint64_t wakes = pair.ends[0].wakes + pair.ends[1].wakes;
	uint64_t sent = datagrams();
	native_pair_run(&pair, (int64_t)3600 * S);
	wakes = pair.ends[0].wakes + pair.ends[1].wakes - wakes;
	sent = datagrams() - sent;
	printf("idle for an hour, %s: %llu datagrams and %llu wake-ups of both ends, %llu and %llu "
	       "bytes\n",
		name, (unsigned long long)sent, (unsigned long long)wakes,
		(unsigned long long)status_of(0).memory_bytes,
		(unsigned long long)status_of(1).memory_bytes);
	cr_assert_leq(wakes, wakes_most);
	cr_assert_leq(sent, datagrams_most);
	cr_assert_leq(status_of(0).memory_bytes, 16384u);
	cr_assert_leq(status_of(1).memory_bytes, 16384u);
	native_pair_fini(&pair);
}

Test(native_life, who_does_nothing_costs_next_to_nothing)
{
	struct native_end_options options = native_pair_options();

	/* A handshake every two minutes: INIT, RESP, PING, PONG, two acknowledgements, two signs of life. */
	idle_hour(&options, "always reachable", 30 * 30, 30 * 10);
	options.peer.keepalive_us = 25 * S;
	idle_hour(&options, "keepalive 25 s each way", 30 * 30 + 2 * 150, 30 * 10 + 2 * 150);
	options.peer.keepalive_us = 0;
	options.peer.persistent = false;
	idle_hour(&options, "called when wanted", 0, 0);
}
