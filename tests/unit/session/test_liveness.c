/* When to speak up and what silence means: exact times, each thing told once, and a twin that keeps a log instead of instants. */
#include "session/liveness.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum {
	MS = 1000,
	S = 1000000,
	DEAD_US = 15 * S,
};

static struct mono at_ms(int64_t ms)
{
	return mono_at_ms(ms);
}

static struct liveness running(int64_t keepalive_us, int64_t dead_after_us)
{
	struct liveness l;

	liveness_init(&l, keepalive_us, dead_after_us);
	cr_assert(mono_is_never(liveness_next_deadline(&l, 0)));
	liveness_start(&l, at_ms(0));
	return l;
}

/* The deadline is `ms`; nothing is due a microsecond before; then exactly `actions`, once. */
static void expect(struct liveness *l, int64_t srtt_us, int64_t ms, unsigned actions)
{
	struct mono at = liveness_next_deadline(l, srtt_us);

	cr_assert_eq(at.us, ms * MS, "deadline %lld, not %lld ms", (long long)at.us, (long long)ms);
	cr_assert_eq(liveness_on_deadline(l, srtt_us, mono_add_us(at, -1)), 0u);
	cr_assert_eq(liveness_on_deadline(l, srtt_us, at), actions);
	cr_assert_eq(liveness_on_deadline(l, srtt_us, at), 0u);
}

static void expect_calm(const struct liveness *l)
{
	cr_assert(mono_is_never(liveness_next_deadline(l, 0)));
}

Test(liveness, an_idle_end_has_no_deadline)
{
	struct liveness l = running(0, DEAD_US);

	expect_calm(&l);
	cr_assert_eq(liveness_on_deadline(&l, 0, at_ms(1 << 30)), 0u);
}

Test(liveness, what_was_received_wants_something_back_within_ten_seconds)
{
	struct liveness l = running(0, DEAD_US);

	liveness_heard(&l, false, at_ms(1000));
	liveness_heard(&l, false, at_ms(5000)); /* the first counts */
	expect(&l, 0, 11000, LIVENESS_KEEPALIVE);
	expect_calm(&l);
	liveness_heard(&l, true, at_ms(20000)); /* an empty one asks for nothing */
	expect_calm(&l);
	liveness_heard(&l, false, at_ms(30000));
	liveness_sent(&l, false, at_ms(30001));
	expect_calm(&l);
}

Test(liveness, keepalive_counts_from_what_was_sent_last)
{
	struct liveness l = running(25 * S, DEAD_US);

	expect(&l, 0, 25000, LIVENESS_KEEPALIVE);
	liveness_sent(&l, false, at_ms(25000));
	liveness_sent(&l, false, at_ms(40000));
	expect(&l, 0, 65000, LIVENESS_KEEPALIVE);
	/* Whoever could not send asks again after the interval, not at once. */
	expect(&l, 0, 90000, LIVENESS_KEEPALIVE);
	liveness_configure(&l, 5 * S, DEAD_US);
	expect(&l, 0, 95000, LIVENESS_KEEPALIVE);
	liveness_configure(&l, 0, DEAD_US);
	expect_calm(&l);
}

Test(liveness, silence_after_a_question_has_three_stages)
{
	static const struct {
		int64_t srtt_us, dead_us;
		int64_t ping_ms, attempt_ms, dead_ms;
	} rows[] = {
		{0, 15 * S, 1000, 7500, 15000},
		{100 * MS, 15 * S, 1000, 7500, 15000},
		{250 * MS, 15 * S, 1000, 7500, 15000},
		{400 * MS, 15 * S, 1600, 7500, 15000},
		{750 * MS, 15 * S, 3000, 7500, 15000},
		{5 * S, 15 * S, 3000, 7500, 15000},
		{60 * MS, 16 * S, 1000, 8000, 16000},
		{60 * MS, 600 * S, 1000, 8000, 600000},
		{60 * MS, 3 * S, 1000, 1500, 3000},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct liveness l = running(0, rows[i].dead_us);
		liveness_sent(&l, false, at_ms(5)); /* no question */
		expect_calm(&l);
		liveness_sent(&l, true, at_ms(100));
		liveness_sent(&l, true, at_ms(900)); /* the first counts */
		expect(&l, rows[i].srtt_us, 100 + rows[i].ping_ms, LIVENESS_PING);
		expect(&l, rows[i].srtt_us, 100 + rows[i].attempt_ms, LIVENESS_ATTEMPT);
		cr_assert(!liveness_gone(&l));
		expect(&l, rows[i].srtt_us, 100 + rows[i].dead_ms, LIVENESS_DEAD);
		cr_assert(liveness_gone(&l));
		expect_calm(&l);
		liveness_sent(&l, true, at_ms(700000));
		expect_calm(&l);
		cr_assert(liveness_heard(&l, true, at_ms(700001)), "back again");
		cr_assert(!liveness_heard(&l, true, at_ms(700002)));
		expect_calm(&l);
	}
}

Test(liveness, with_a_short_patience_ping_is_not_later_than_the_attempt)
{
	struct liveness l = running(0, 3 * S);

	liveness_sent(&l, true, at_ms(0));
	expect(&l, 2 * S, 1500, LIVENESS_PING | LIVENESS_ATTEMPT);
	expect(&l, 2 * S, 3000, LIVENESS_DEAD);
}

Test(liveness, a_sign_of_life_ends_silence_at_every_stage)
{
	static const int64_t heard_ms[] = {10, 1000, 1001, 7499, 7500, 14999};

	for (size_t i = 0; i < sizeof(heard_ms) / sizeof(heard_ms[0]); i++) {
		struct liveness l = running(0, DEAD_US);
		liveness_sent(&l, true, at_ms(0));
		(void)liveness_on_deadline(&l, 0, at_ms(heard_ms[i]));
		cr_assert(!liveness_heard(&l, true, at_ms(heard_ms[i])));
		expect_calm(&l);
		/* The next question begins from the first stage. */
		liveness_sent(&l, true, at_ms(20000));
		expect(&l, 0, 21000, LIVENESS_PING);
	}
}

Test(liveness, a_jump_of_the_clock_tells_all_stages_at_once)
{
	struct liveness l = running(25 * S, DEAD_US);

	liveness_sent(&l, true, at_ms(0));
	cr_assert_eq(liveness_on_deadline(&l, 0, at_ms(7200000)),
		(unsigned)(LIVENESS_KEEPALIVE | LIVENESS_PING | LIVENESS_ATTEMPT | LIVENESS_DEAD));
	cr_assert_eq(liveness_on_deadline(&l, 0, at_ms(7200000)), 0u);
}

Test(liveness, without_a_session_nothing_is_due)
{
	struct liveness l = running(25 * S, DEAD_US);

	liveness_sent(&l, true, at_ms(0));
	liveness_heard(&l, false, at_ms(1));
	liveness_sent(&l, true, at_ms(2));
	liveness_stop(&l);
	expect_calm(&l);
	cr_assert_eq(liveness_on_deadline(&l, 0, at_ms(7200000)), 0u);
	liveness_start(&l, at_ms(8000000));
	expect(&l, 0, 8025000, LIVENESS_KEEPALIVE);
	liveness_sent(&l, false, at_ms(8025000));
	liveness_start(&l, at_ms(8030000)); /* a rekey moves nothing */
	expect(&l, 0, 8050000, LIVENESS_KEEPALIVE);
}

/* ---- a twin: keeps what happened and derives everything from it ---------------------------------------------------- */

enum {
	EVENTS_MAX = 400,
};

enum kind {
	SENT,
	ASKED,
	HEARD,
	HEARD_EMPTY,
};

struct event {
	enum kind kind;
	int64_t at;
};

struct twin {
	struct event events[EVENTS_MAX];
	size_t count;
	int64_t keepalive_us, dead_us, srtt_us;
	int64_t told[3]; /* question for which each stage was told; -1 = none */
};

static int64_t twin_question(const struct twin *t)
{
	int64_t since = -1;

	for (size_t i = 0; i < t->count; i++) {
		if (t->events[i].kind == ASKED && since < 0)
			since = t->events[i].at;
		else if (t->events[i].kind == HEARD || t->events[i].kind == HEARD_EMPTY)
			since = -1;
	}
	return since;
}

static unsigned twin_due(struct twin *t, int64_t now)
{
	int64_t last_sent = 0, owed = -1;
	unsigned due = 0;

	for (size_t i = 0; i < t->count; i++) {
		if (t->events[i].kind <= ASKED) {
			last_sent = t->events[i].at;
			owed = -1;
		} else if (t->events[i].kind == HEARD && owed < 0) {
			owed = t->events[i].at;
		}
	}
	if ((owed >= 0 && now >= owed + 10 * S) ||
		(t->keepalive_us > 0 && now >= last_sent + t->keepalive_us))
		due |= LIVENESS_KEEPALIVE;
	int64_t since = twin_question(t);
	if (since < 0)
		return due;
	int64_t half = t->dead_us / 2 < 8 * S ? t->dead_us / 2 : 8 * S;
	int64_t ping = 4 * t->srtt_us < S ? S : 4 * t->srtt_us > 3 * S ? 3 * S : 4 * t->srtt_us;
	int64_t after[3] = {ping < half ? ping : half, half, t->dead_us};
	for (unsigned i = 0; i < 3; i++) {
		if (t->told[i] == since || now < since + after[i])
			continue;
		t->told[i] = since;
		due |= (unsigned)LIVENESS_PING << i;
	}
	return due;
}

Test(liveness, agrees_with_a_log_of_what_happened)
{
	srand(7);
	for (int run = 0; run < 300; run++) {
		struct twin t = {
			.keepalive_us = rand() % 3 ? (rand() % 40 + 1) * (int64_t)S : 0,
			.dead_us = (rand() % 60 + 3) * (int64_t)S,
			.srtt_us = rand() % 1500 * (int64_t)MS,
			.told = {-1, -1, -1},
		};
		struct liveness l = running(t.keepalive_us, t.dead_us);
		int64_t now = 0;

		while (t.count + 2 < EVENTS_MAX) {
			now += 1 + (rand() % 8 ? rand() % (300 * MS) : rand() % (20 * S));
			unsigned want = twin_due(&t, now);
			struct mono next = liveness_next_deadline(&l, t.srtt_us);
			cr_assert_eq(want != 0, mono_due(next, mono_at_us(now)), "run %d", run);
			cr_assert_eq(liveness_on_deadline(&l, t.srtt_us, mono_at_us(now)), want,
				"run %d at %lld", run, (long long)now);
			if (want & LIVENESS_KEEPALIVE)
				t.events[t.count++] = (struct event){SENT, now};
			if (want == 0 || rand() % 2) {
				enum kind kind = (enum kind)(rand() % 4);
				if (kind > ASKED && rand() % 3)
					kind = ASKED;
				t.events[t.count++] = (struct event){kind, now};
				if (kind <= ASKED)
					liveness_sent(&l, kind == ASKED, mono_at_us(now));
				else
					(void)liveness_heard(
						&l, kind == HEARD_EMPTY, mono_at_us(now));
			}
		}
	}
}
