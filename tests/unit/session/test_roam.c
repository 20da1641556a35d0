#include "core/rand.h"
#include "session/roam.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static void fill(void *ctx, void *buf, size_t len)
{
	unsigned *seed = ctx;
	uint8_t *at = buf;
	while (len--)
		*at++ = (uint8_t)rand_r(seed);
}

static unsigned token_seed = 31;
static const struct rand_source RND = {fill, &token_seed};

static char sockets[2]; /* told apart by address only */

static struct roam_address at(uint8_t host, uint16_t port)
{
	return (struct roam_address){
		.remote = {.family = 4, .address = {192, 0, 2, host}, .port = port},
		.port = (const struct kcpvpn_udp_port *)(const void *)&sockets[0],
	};
}

static struct roam_address with_local(struct roam_address address, uint8_t host)
{
	address.local =
		(struct kcpvpn_endpoint){.family = 4, .address = {10, 0, 0, host}, .port = 9};
	return address;
}

static struct roam started(uint8_t host, uint16_t port)
{
	struct roam roam;
	struct roam_address address = at(host, port);

	roam_init(&roam, true);
	roam_set(&roam, &address);
	return roam;
}

static enum roam_verdict datagram(
	struct roam *roam, struct roam_address source, bool newest, int64_t now_ms)
{
	return roam_datagram(roam, &source, 1000, newest, mono_at_ms(now_ms), &RND);
}

static bool is_at(const struct roam *roam, uint8_t host, uint16_t port)
{
	struct roam_address address = at(host, port);
	return roam_address_equal(&roam->current, &address);
}

Test(roam, asks_both_on_a_schedule)
{
	static const int64_t want_ms[] = {1000, 1100, 1300, 1700, 2500};
	struct roam roam = started(1, 100);
	struct roam_challenge ask[ROAM_CHALLENGES_MAX];
	struct roam_challenge first[ROAM_CHALLENGES_MAX];
	struct roam_address candidate = at(2, 100);

	cr_assert(mono_is_never(roam_next_deadline(&roam)));
	cr_assert_eq(datagram(&roam, at(1, 100), true, 900), ROAM_CURRENT);
	cr_assert(mono_is_never(roam_next_deadline(&roam)));
	cr_assert_eq(datagram(&roam, at(2, 100), true, 1000), ROAM_CANDIDATE);
	for (int i = 0; i < 5; i++) {
		struct mono due = roam_next_deadline(&roam);
		cr_assert_eq(due.us, want_ms[i] * 1000, "step %d", i);
		cr_assert_eq(roam_on_deadline(&roam, mono_add_us(due, -1), ask), 0);
		cr_assert_eq(roam_on_deadline(&roam, due, ask), 2);
		if (i == 0)
			memcpy(first, ask, sizeof(first));
		cr_assert(roam_address_equal(&ask[0].to, &candidate));
		cr_assert(roam_address_equal(&ask[1].to, &roam.current));
		cr_assert_arr_eq(ask[0].token, first[0].token, 8, "one token a candidate");
		cr_assert_arr_eq(ask[1].token, first[1].token, 8);
		cr_assert_arr_neq(ask[0].token, ask[1].token, 8, "each address has its own");
		cr_assert_arr_neq(ask[0].token, ((uint8_t[8]){0}), 8, "not drawn");
		cr_assert_arr_neq(ask[1].token, ((uint8_t[8]){0}), 8, "not drawn");
		cr_assert_eq(datagram(&roam, at(2, 100), true, want_ms[i]), ROAM_WAITING);
	}
	cr_assert(mono_is_never(roam_next_deadline(&roam)));
	cr_assert(is_at(&roam, 1, 100), "no answer, no switch");
}

Test(roam, missed_challenges_are_not_made_up_for)
{
	struct roam roam = started(1, 100);
	struct roam_challenge ask[ROAM_CHALLENGES_MAX];

	datagram(&roam, at(2, 100), true, 0);
	cr_assert_eq(roam_on_deadline(&roam, mono_at_ms(650), ask), 2);
	cr_assert_eq(roam_next_deadline(&roam).us, 700000);
	cr_assert_eq(roam_on_deadline(&roam, mono_at_ms(3000), ask), 0, "tokens have expired");
	cr_assert(mono_is_never(roam_next_deadline(&roam)));
}

Test(roam, switches_on_the_candidates_own_answer_only)
{
	struct roam roam = started(1, 100);
	struct roam_challenge ask[ROAM_CHALLENGES_MAX];
	struct roam_address old = at(1, 100);
	struct roam_address candidate = at(2, 100);
	struct roam_address other = at(3, 100);
	enum roam_change change = ROAM_PORT_CHANGED;
	static const uint8_t zero[8];

	cr_assert_eq(roam_response(&roam, zero, &old, mono_at_ms(0), &change), ROAM_ANSWER_FOREIGN);
	cr_assert_eq(change, ROAM_UNCHANGED);
	datagram(&roam, candidate, true, 0);
	cr_assert_eq(roam_on_deadline(&roam, mono_at_ms(0), ask), 2);
	struct mono now = mono_at_ms(50);
	/* the right token from the wrong place, and the other way round */
	cr_assert_eq(roam_response(&roam, ask[0].token, &old, now, &change), ROAM_ANSWER_FOREIGN);
	cr_assert_eq(roam_response(&roam, ask[0].token, &other, now, &change), ROAM_ANSWER_FOREIGN);
	cr_assert_eq(roam_response(&roam, ask[1].token, &candidate, now, &change),
		ROAM_ANSWER_FOREIGN, "an answer of the old address, sent on by somebody");
	cr_assert_eq(roam_response(&roam, zero, &candidate, now, &change), ROAM_ANSWER_FOREIGN);
	cr_assert_eq(roam_response(&roam, ask[1].token, &old, now, &change), ROAM_ANSWER_CURRENT);
	cr_assert(is_at(&roam, 1, 100));
	cr_assert_eq(change, ROAM_UNCHANGED);

	cr_assert_eq(
		roam_response(&roam, ask[0].token, &candidate, now, &change), ROAM_ANSWER_SWITCHED);
	cr_assert_eq(change, ROAM_IP_CHANGED);
	cr_assert(is_at(&roam, 2, 100));
	cr_assert(mono_is_never(roam_next_deadline(&roam)));
	cr_assert_eq(roam_response(&roam, ask[0].token, &candidate, now, &change),
		ROAM_ANSWER_FOREIGN, "a token is good once");
	cr_assert_eq(datagram(&roam, at(2, 100), true, 51), ROAM_CURRENT);
}

Test(roam, tokens_live_three_seconds)
{
	for (int late = 0; late < 2; late++) {
		struct roam roam = started(1, 100);
		struct roam_challenge ask[ROAM_CHALLENGES_MAX];
		struct roam_address candidate = at(2, 100);
		enum roam_change change;

		datagram(&roam, candidate, true, 1000);
		roam_on_deadline(&roam, mono_at_ms(1000), ask);
		cr_assert_eq(roam_response(&roam, ask[0].token, &candidate,
				     mono_at_us(3999999 + late), &change),
			late ? ROAM_ANSWER_FOREIGN : ROAM_ANSWER_SWITCHED);
		if (late) { /* the next datagram begins anew, with another token */
			struct roam_challenge again[ROAM_CHALLENGES_MAX];
			cr_assert_eq(datagram(&roam, candidate, true, 4000), ROAM_CANDIDATE);
			cr_assert_eq(roam_on_deadline(&roam, mono_at_ms(4000), again), 2);
			cr_assert_arr_neq(again[0].token, ask[0].token, 8);
		}
	}
}

Test(roam, only_newest_datagrams_trigger)
{
	struct roam roam = started(1, 100);

	cr_assert_eq(datagram(&roam, at(2, 100), false, 0), ROAM_NOT_NEWEST);
	cr_assert(mono_is_never(roam_next_deadline(&roam)));
	cr_assert_eq(datagram(&roam, at(1, 100), false, 0), ROAM_CURRENT);
}

Test(roam, the_newest_candidate_counts_ten_a_second)
{
	struct roam roam = started(1, 100);
	struct roam_challenge first[ROAM_CHALLENGES_MAX];
	struct roam_challenge second[ROAM_CHALLENGES_MAX];
	struct roam_address two = at(2, 100);
	struct roam_address three = at(3, 100);
	enum roam_change change;

	cr_assert_eq(datagram(&roam, two, true, 1000), ROAM_CANDIDATE);
	roam_on_deadline(&roam, mono_at_ms(1000), first);
	cr_assert_eq(datagram(&roam, three, true, 1099), ROAM_LIMITED);
	cr_assert_eq(datagram(&roam, two, true, 1099), ROAM_WAITING);
	cr_assert_eq(datagram(&roam, three, true, 1100), ROAM_CANDIDATE);
	roam_on_deadline(&roam, mono_at_ms(1100), second);
	cr_assert_eq(roam_response(&roam, first[0].token, &two, mono_at_ms(1110), &change),
		ROAM_ANSWER_FOREIGN);
	cr_assert_eq(roam_response(&roam, first[0].token, &three, mono_at_ms(1110), &change),
		ROAM_ANSWER_FOREIGN);
	cr_assert_eq(roam_response(&roam, second[0].token, &three, mono_at_ms(1110), &change),
		ROAM_ANSWER_SWITCHED);
	int candidates = 0;
	for (int i = 0; i < 10000; i++)
		candidates += datagram(&roam, at((uint8_t)(10 + i % 200), 1), true, 5000 + i) ==
			      ROAM_CANDIDATE;
	cr_assert_eq(candidates, 100);
}

Test(roam, tells_a_port_from_a_path)
{
	static const struct {
		const char *what;
		struct roam_address from, to;
		enum roam_change change;
	} rows[] = {
		{"port", {.remote = {{1}, 0, 5, 4}}, {.remote = {{1}, 0, 6, 4}}, ROAM_PORT_CHANGED},
		{"address", {.remote = {{1}, 0, 5, 4}}, {.remote = {{2}, 0, 5, 4}},
			ROAM_IP_CHANGED},
		{"family", {.remote = {{1}, 0, 5, 4}}, {.remote = {{1}, 0, 5, 6}}, ROAM_IP_CHANGED},
		{"scope", {.remote = {{1}, 1, 5, 6}}, {.remote = {{1}, 2, 5, 6}}, ROAM_IP_CHANGED},
		{"none", {.remote = {{0}, 0, 0, 0}}, {.remote = {{1}, 0, 5, 6}}, ROAM_IP_CHANGED},
		{"same", {.remote = {{1}, 0, 5, 4}}, {.remote = {{1}, 0, 5, 4}}, ROAM_UNCHANGED},
		{"own address", {{{1}, 0, 5, 4}, {{8}, 0, 1, 4}, NULL},
			{{{1}, 0, 5, 4}, {{9}, 0, 1, 4}, NULL}, ROAM_IP_CHANGED},
		{"own address learned", {.remote = {{1}, 0, 5, 4}},
			{{{1}, 0, 5, 4}, {{9}, 0, 1, 4}, NULL}, ROAM_UNCHANGED},
		{"own address learned, port", {.remote = {{1}, 0, 5, 4}},
			{{{1}, 0, 6, 4}, {{9}, 0, 1, 4}, NULL}, ROAM_PORT_CHANGED},
		{"socket", {.remote = {{1}, 0, 5, 4}},
			{{{1}, 0, 5, 4}, {{0}, 0, 0, 0}, (const void *)sockets}, ROAM_IP_CHANGED},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct roam roam;
		roam_init(&roam, true);
		roam_set(&roam, &rows[i].from);
		cr_assert_eq(roam_set(&roam, &rows[i].to), rows[i].change, "%s", rows[i].what);
		cr_assert_eq(memcmp(&roam.current.remote, &rows[i].to.remote, 24), 0, "%s",
			rows[i].what);
		cr_assert_eq(
			roam.current.local.family, rows[i].to.local.family, "%s", rows[i].what);
	}
}

Test(roam, a_handshake_moves_a_peer_and_ends_the_search)
{
	struct roam roam = started(1, 100);
	struct roam_address same = at(1, 100);
	struct roam_address three = with_local(at(3, 300), 7);

	datagram(&roam, at(2, 100), true, 0);
	cr_assert_eq(roam_proven(&roam, &same), ROAM_UNCHANGED);
	cr_assert_not(mono_is_never(roam_next_deadline(&roam)), "nothing changed: it goes on");
	cr_assert_eq(roam_proven(&roam, &three), ROAM_IP_CHANGED);
	cr_assert(mono_is_never(roam_next_deadline(&roam)));
	cr_assert(is_at(&roam, 3, 300));
	cr_assert_eq(roam.current.local.address[3], 7);
	/* an address of another interface of ours counts as elsewhere; after a change of ours, any will do */
	cr_assert_eq(datagram(&roam, with_local(at(3, 300), 8), true, 1000), ROAM_CANDIDATE);
	roam_local_changed(&roam);
	cr_assert_eq(roam.current.local.family, 0);
	cr_assert(mono_is_never(roam_next_deadline(&roam)));
	cr_assert_eq(datagram(&roam, with_local(at(3, 300), 8), true, 2000), ROAM_CURRENT);
}

Test(roam, a_pinned_peer_stays)
{
	struct roam roam;
	struct roam_address one = at(1, 100);
	struct roam_address two = at(2, 100);
	struct roam_address own = with_local(at(1, 100), 3);

	roam_init(&roam, false);
	cr_assert_eq(roam_proven(&roam, &one), ROAM_IP_CHANGED, "the first address is taken");
	cr_assert_eq(datagram(&roam, two, true, 0), ROAM_PINNED);
	cr_assert_eq(roam_proven(&roam, &two), ROAM_UNCHANGED);
	cr_assert(is_at(&roam, 1, 100));
	cr_assert_eq(roam_proven(&roam, &own), ROAM_UNCHANGED);
	cr_assert_eq(roam.current.local.address[3], 3);
	cr_assert_eq(roam_set(&roam, &two), ROAM_IP_CHANGED, "the configuration may");
	roam_set_roaming(&roam, true);
	cr_assert_eq(datagram(&roam, one, true, 0), ROAM_CANDIDATE);
	roam_set_roaming(&roam, false);
	cr_assert(mono_is_never(roam_next_deadline(&roam)));
}

Test(roam, challenges_are_paid_for)
{
	static const struct {
		size_t first, second; /* bytes that came at 0 and at 200 ms; 0 = nothing */
		const char *want;     /* whether the candidate is asked at each of the five steps */
	} rows[] = {
		{32, 0, "10000"},
		{69, 0, "10000"},
		{70, 0, "11000"},
		{139, 0, "11000"},
		{140, 0, "11100"},
		{279, 0, "11110"},
		{280, 0, "11111"},
		{65507, 0, "11111"},
		{32, 38, "10100"},
		{32, 65507, "10111"},
		{65507, 65507, "11111"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct roam roam = started(1, 100);
		struct roam_address two = at(2, 100);
		struct roam_challenge ask[ROAM_CHALLENGES_MAX];

		cr_assert_eq(roam_datagram(&roam, &two, rows[i].first, true, mono_at_ms(0), &RND),
			ROAM_CANDIDATE);
		for (int step = 0; step < ROAM_STEPS; step++) {
			struct mono due = roam_next_deadline(&roam);
			if (step == 2 && rows[i].second > 0)
				cr_assert_eq(roam_datagram(&roam, &two, rows[i].second, true,
						     mono_at_ms(200), &RND),
					ROAM_WAITING);
			bool want = rows[i].want[step] == '1';
			cr_assert_eq(roam_on_deadline(&roam, due, ask), want ? 2 : 1,
				"row %zu step %d", i, step);
			cr_assert_eq(roam_address_equal(&ask[0].to, &two), want);
		}
		/* Another one pays for itself. */
		struct roam_address three = at(3, 100);
		cr_assert_eq(roam_datagram(&roam, &three, 32, true, mono_at_ms(1600), &RND),
			ROAM_CANDIDATE);
		cr_assert_eq(roam_on_deadline(&roam, mono_at_ms(1600), ask), 2);
		cr_assert_eq(roam_on_deadline(&roam, mono_at_ms(1700), ask), 1);
	}
}

Test(roam, who_is_pinned_gets_a_first_address_like_others)
{
	struct roam roam;
	struct roam_address two = at(2, 100);
	struct roam_challenge ask[ROAM_CHALLENGES_MAX];
	enum roam_change change;

	roam_init(&roam, false);
	cr_assert_eq(datagram(&roam, two, false, 0), ROAM_NOT_NEWEST);
	cr_assert_eq(datagram(&roam, two, true, 0), ROAM_CANDIDATE);
	cr_assert_eq(roam_on_deadline(&roam, mono_at_ms(0), ask), 1);
	cr_assert_eq(roam.current.remote.family, 0, "not without an answer");
	cr_assert_eq(roam_response(&roam, ask[0].token, &two, mono_at_ms(50), &change),
		ROAM_ANSWER_SWITCHED);
	cr_assert(is_at(&roam, 2, 100));
	cr_assert_eq(datagram(&roam, at(3, 100), true, 1000), ROAM_PINNED);
}

Test(roam, without_an_address_only_the_candidate_is_asked)
{
	struct roam roam;
	struct roam_challenge ask[ROAM_CHALLENGES_MAX];

	roam_init(&roam, true);
	cr_assert_eq(datagram(&roam, at(2, 100), true, 0), ROAM_CANDIDATE);
	cr_assert_eq(roam_on_deadline(&roam, mono_at_ms(0), ask), 1);
}

/*
 * Random sources, answers right and wrong. The model remembers every challenge that was ever sent: the address moves only
 * to one that answers, itself and in time, the challenge sent to it as the newest candidate.
 */
enum { SENT_MAX = 4096 };

Test(roam, a_random_walk_is_never_led_astray)
{
	struct roam roam = started(1, 1);
	struct roam_challenge *sent = calloc(SENT_MAX, sizeof(*sent));
	struct roam_address newest = {0};
	int64_t newest_since = 0;
	int64_t now = 0;
	size_t count = 0;
	unsigned seed = 17;
	unsigned switches = 0;

	for (int i = 0; i < 200000; i++) {
		struct roam_address source =
			at((uint8_t)(1 + rand_r(&seed) % 4), (uint16_t)(1 + rand_r(&seed) % 2));
		struct roam_challenge ask[ROAM_CHALLENGES_MAX];
		enum roam_change change;

		now += rand_r(&seed) % 200;
		if (rand_r(&seed) % 3 == 0 &&
			datagram(&roam, source, rand_r(&seed) % 2, now) == ROAM_CANDIDATE) {
			newest = source;
			newest_since = now;
		}
		size_t asked = roam_on_deadline(&roam, mono_at_ms(now), ask);
		for (size_t k = 0; k < asked; k++)
			sent[count++ % SENT_MAX] = ask[k];
		if (count == 0 || rand_r(&seed) % 2)
			continue;
		size_t back = (size_t)rand_r(&seed) % (rand_r(&seed) % 4 ? 4 : SENT_MAX);
		struct roam_challenge answered =
			sent[(count - 1 - (back < count ? back : 0)) % SENT_MAX];
		if (rand_r(&seed) % 2)
			source = answered.to;
		struct roam_address before = roam.current;
		enum roam_answer answer =
			roam_response(&roam, answered.token, &source, mono_at_ms(now), &change);
		cr_assert_eq(answer == ROAM_ANSWER_SWITCHED, change != ROAM_UNCHANGED);
		if (answer != ROAM_ANSWER_SWITCHED) {
			cr_assert(roam_address_equal(&before, &roam.current));
			continue;
		}
		switches++;
		cr_assert(roam_address_equal(&roam.current, &source));
		cr_assert(roam_address_equal(&answered.to, &source), "asked somebody else");
		cr_assert(roam_address_equal(&newest, &source), "not the newest");
		cr_assert_lt(now - newest_since, 3000);
	}
	cr_assert_gt(switches, 1000);
	free(sent);
}

Test(roam, is_small_and_its_verdicts_have_names)
{
	cr_assert_leq(sizeof(struct roam), 160);
	for (int i = 0; i < ROAM_VERDICTS; i++)
		cr_assert_str_neq(roam_verdict_str((enum roam_verdict)i), "unknown");
}
