#include "session/path_mtu.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* ---- a path in virtual time -------------------------------------------------------------------------------------- */

enum what { PROBE_BACK, DATA_BACK, DATA_LOST };

struct event {
	struct mono at;
	enum what what;
	uint16_t size;
	uint16_t id;
};

enum { EVENTS_MAX = 8192 };

struct world {
	struct path_mtu mtu;
	struct mono now;
	struct event events[EVENTS_MAX];
	size_t events_count;
	int64_t rtt_us;
	uint16_t carries;      /* payload that passes now; 0 = nothing does */
	unsigned loss_percent; /* each way */
	int64_t data_gap_us;   /* between datagrams of the size in use; 0 = no data */
	uint16_t small_every;  /* each n-th is small; 0 = none */
	struct mono data_at;
	unsigned data_count;
	unsigned probes;
	unsigned probes_size[65536 / 16];
	bool tells_losses; /* also while nothing passes: what a sender does that gives up by time */
	unsigned full_lost; /* datagrams above what the path carries */
	unsigned seed;
};

static struct world *world_new(uint16_t carries)
{
	struct world *w = calloc(1, sizeof(*w));

	path_mtu_init(&w->mtu);
	w->now = mono_at_ms(1000);
	w->data_at = w->now;
	w->rtt_us = 60000;
	w->carries = carries;
	w->seed = 4;
	return w;
}

static bool passes(struct world *w, uint16_t size)
{
	return size <= w->carries && rand_r(&w->seed) % 100 >= (int)w->loss_percent;
}

static void add_event(struct world *w, enum what what, int64_t after_us, uint16_t size, uint16_t id)
{
	cr_assert_lt(w->events_count, EVENTS_MAX);
	w->events[w->events_count++] =
		(struct event){mono_add_us(w->now, after_us), what, size, id};
}

static int64_t pto_us(const struct world *w)
{
	return w->rtt_us * 3 / 2 + 10000;
}

static void send_data(struct world *w)
{
	uint16_t size = path_mtu_size(&w->mtu);

	if (w->small_every && ++w->data_count % w->small_every == 0)
		size = 200;
	w->full_lost += size > w->carries;
	/* An acknowledgement that is lost is made good by the next one: only the way there counts. */
	if (passes(w, size))
		add_event(w, DATA_BACK, w->rtt_us, size, 0);
	else if (w->carries || w->tells_losses)
		add_event(w, DATA_LOST, w->rtt_us + w->rtt_us / 8, size, 0);
	w->data_at = mono_add_us(w->data_at, w->data_gap_us);
}

static void send_probes(struct world *w)
{
	struct path_mtu_probe probe;

	while (path_mtu_on_deadline(&w->mtu, pto_us(w), w->now, &probe)) {
		w->probes++;
		w->probes_size[probe.size_bytes / 16]++;
		cr_assert_lt(w->probes, 100000, "probes without end");
		if (passes(w, probe.size_bytes) && rand_r(&w->seed) % 100 >= (int)w->loss_percent)
			add_event(w, PROBE_BACK, w->rtt_us, probe.size_bytes, probe.id);
	}
	cr_assert(mono_before(w->now, path_mtu_next_deadline(&w->mtu)) ||
			  path_mtu_next_deadline(&w->mtu).us == w->now.us,
		"a deadline in the past");
}

static void handle(struct world *w, struct event e)
{
	switch (e.what) {
	case PROBE_BACK:
		path_mtu_acked_probe(&w->mtu, (struct path_mtu_probe){e.size, e.id}, w->now);
		return;
	case DATA_BACK:
		path_mtu_acked(&w->mtu, e.size, w->now);
		return;
	case DATA_LOST:
		path_mtu_lost(&w->mtu, e.size, w->now);
		return;
	}
}

static void run_until(struct world *w, struct mono end)
{
	for (;;) {
		struct mono next = path_mtu_next_deadline(&w->mtu);
		size_t first = w->events_count;
		if (w->data_gap_us)
			next = mono_min(next, w->data_at);
		for (size_t i = 0; i < w->events_count; i++)
			if (mono_before(w->events[i].at, next) ||
				(first == w->events_count && w->events[i].at.us == next.us)) {
				next = w->events[i].at;
				first = i;
			}
		if (mono_before(end, next))
			break;
		w->now = mono_max(w->now, next);
		if (first < w->events_count) {
			struct event e = w->events[first];
			memmove(&w->events[first], &w->events[first + 1],
				(w->events_count - first - 1) * sizeof(e));
			w->events_count--;
			handle(w, e);
		} else if (w->data_gap_us && mono_due(w->data_at, w->now)) {
			send_data(w);
		}
		send_probes(w);
	}
	w->now = end;
}

static void run_ms(struct world *w, int64_t ms)
{
	run_until(w, mono_add_ms(w->now, ms));
}

static void with_data(struct world *w, int64_t gap_us, uint16_t small_every)
{
	w->data_gap_us = gap_us;
	w->small_every = small_every;
	w->data_at = w->now;
}

/* ---- what must hold ---------------------------------------------------------------------------------------------- */

Test(path_mtu, nothing_is_sent_before_the_start_and_without_agreement)
{
	struct world *w = world_new(1472);

	run_ms(w, 10000);
	cr_assert_eq(path_mtu_size(&w->mtu), 1232);
	path_mtu_start(&w->mtu, 4, 65507, 0, false, w->now);
	run_ms(w, 10000);
	cr_assert_eq(w->probes, 0);
	cr_assert_eq(path_mtu_size(&w->mtu), 1232);
	cr_assert_not(path_mtu_take_change(&w->mtu));
	free(w);
}

Test(path_mtu, a_common_path_is_known_after_one_round_trip)
{
	static const struct {
		uint8_t family;
		uint16_t told, link, want;
	} rows[] = {
		{4, 65507, 0, 1472},
		{6, 65507, 0, 1452},
		{4, 1400, 0, 1400},
		{4, 65507, 9000, 8972},
		{6, 65507, 1400, 1352},
		{4, 1232, 0, 1232},
		{4, 65507, 576, 1232},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world *w = world_new(9000);
		path_mtu_start(&w->mtu, rows[i].family, rows[i].told, rows[i].link, true, w->now);
		run_ms(w, 61);
		cr_assert_eq(path_mtu_size(&w->mtu), rows[i].want, "row %zu", i);
		cr_assert_eq(path_mtu_take_change(&w->mtu), rows[i].want != 1232);
		cr_assert_eq(w->probes, rows[i].want != 1232);
		cr_assert_eq(w->mtu.state, PATH_MTU_SETTLED);
		/* A rekey changes nothing, and with all reached nothing is ever sent again. */
		path_mtu_start(&w->mtu, rows[i].family, rows[i].told, 0, true, w->now);
		with_data(w, 1000000, 0);
		run_ms(w, 3600000);
		cr_assert_eq(w->probes, rows[i].want != 1232);
		free(w);
	}
}

/* Every size a path may have is found to within the precision, and nothing larger is ever used. */
Test(path_mtu, finds_any_size)
{
	for (uint16_t carries = 1232; carries <= 1480; carries++) {
		struct world *w = world_new(carries);
		uint16_t best = carries < 1472 ? carries : 1472;

		path_mtu_start(&w->mtu, 4, 65507, 0, true, w->now);
		with_data(w, 20000, 2); /* so that failures can be told from a dead path */
		run_ms(w, 5000);
		cr_assert_leq(path_mtu_size(&w->mtu), best, "%u", carries);
		cr_assert_gt(
			path_mtu_size(&w->mtu) + PATH_MTU_PRECISION_BYTES, best, "%u", carries);
		cr_assert_eq(w->mtu.state, PATH_MTU_SETTLED, "%u", carries);
		cr_assert_eq(w->full_lost, 0);
		cr_assert_lt(w->probes, 30);
		free(w);
	}
	for (uint32_t carries = 1232; carries <= 8972; carries += 251) { /* large frames */
		struct world *w = world_new((uint16_t)carries);
		path_mtu_start(&w->mtu, 4, 65507, 9000, true, w->now);
		with_data(w, 20000, 2);
		run_ms(w, 9000);
		cr_assert_leq(path_mtu_size(&w->mtu), carries);
		cr_assert_gt(path_mtu_size(&w->mtu) + PATH_MTU_PRECISION_BYTES, carries);
		free(w);
	}
}

Test(path_mtu, finds_the_size_under_loss)
{
	unsigned wrong = 0;

	for (unsigned seed = 0; seed < 300; seed++) {
		struct world *w = world_new(1464);
		w->seed = seed;
		w->loss_percent = 20;
		path_mtu_start(&w->mtu, 4, 65507, 0, true, w->now);
		with_data(w, 20000, 2);
		run_ms(w, 90000);
		cr_assert_leq(path_mtu_size(&w->mtu), 1464);
		cr_assert_eq(w->full_lost, 0);
		wrong += path_mtu_size(&w->mtu) + PATH_MTU_PRECISION_BYTES <= 1464;
		free(w);
	}
	cr_assert_leq(wrong, 15, "%u of 300 are more than the precision below", wrong);
}

Test(path_mtu, an_idle_path_sends_nothing)
{
	struct world *w = world_new(1464);

	path_mtu_start(&w->mtu, 4, 65507, 0, true, w->now);
	with_data(w, 20000, 2);
	run_ms(w, 9000);
	unsigned probes = w->probes;
	w->data_gap_us = 0;
	run_ms(w, 500);
	cr_assert(mono_is_never(path_mtu_next_deadline(&w->mtu)));
	run_ms(w, 24 * 3600000LL);
	cr_assert_eq(w->probes, probes);
	free(w);
}

/* Nobody answers: few probes, then silence; with the first acknowledgement the search goes on and ends well. */
Test(path_mtu, a_dead_path_is_not_a_small_one)
{
	struct world *w = world_new(0);

	path_mtu_start(&w->mtu, 4, 65507, 0, true, w->now);
	with_data(w, 20000, 0);
	run_ms(w, 60000);
	cr_assert_leq(w->probes, 1 + PATH_MTU_PROBES);
	cr_assert_eq(w->mtu.state, PATH_MTU_STALLED);
	w->carries = 1472;
	run_ms(w, 1000);
	cr_assert_eq(path_mtu_size(&w->mtu), 1472);

	/* an outage later on changes nothing, also if the losses are known meanwhile */
	w->tells_losses = true;
	w->carries = 0;
	run_ms(w, 3000);
	w->carries = 1472;
	run_ms(w, 1);
	cr_assert_eq(path_mtu_size(&w->mtu), 1472);
	run_ms(w, 10000);
	cr_assert_eq(path_mtu_size(&w->mtu), 1472);
	cr_assert_eq(w->mtu.counters.black_holes, 0);
	free(w);
}

/* A datagram each ten seconds on a small path: the search ends, and does not begin anew with each of them. */
Test(path_mtu, a_trickle_is_enough_to_settle)
{
	struct world *w = world_new(1240);

	path_mtu_start(&w->mtu, 4, 65507, 0, true, w->now);
	run_ms(w, 2000);
	cr_assert_eq(w->mtu.state, PATH_MTU_STALLED);
	with_data(w, 10000000, 0);
	run_ms(w, 100000);
	cr_assert(path_mtu_size(&w->mtu) > 1232 && path_mtu_size(&w->mtu) <= 1240);
	cr_assert_eq(w->mtu.state, PATH_MTU_SETTLED);
	unsigned before = w->probes;
	run_ms(w, 500000);
	cr_assert_leq(w->probes - before, 2 * PATH_MTU_PROBES);
	free(w);
}

/* 1500 -> 1280 -> 1500 without a word from anybody, at several round trips, with and without small datagrams beside. */
Test(path_mtu, a_black_hole_is_left_within_five_seconds_and_the_way_back_is_found)
{
	static const int64_t rtts_us[] = {1000, 60000, 300000, 600000};

	for (int i = 0; i < 8; i++) {
		struct world *w = world_new(1472);
		int64_t left_ms;
		w->rtt_us = rtts_us[i / 2];
		path_mtu_start(&w->mtu, 4, 65507, 0, true, w->now);
		run_ms(w, 2000);
		with_data(w, 50000, i % 2 ? 0 : 3);
		run_ms(w, 5000);
		cr_assert_eq(path_mtu_size(&w->mtu), 1472);
		(void)path_mtu_take_change(&w->mtu);
		w->carries = 1252;
		for (left_ms = 0; path_mtu_size(&w->mtu) > 1252; left_ms++)
			run_ms(w, 1);
		cr_assert_lt(left_ms, 5000, "%lld ms", (long long)left_ms);
		cr_assert(path_mtu_take_change(&w->mtu));
		cr_assert_not(path_mtu_take_change(&w->mtu));
		cr_assert_eq(w->mtu.counters.black_holes, 1);
		cr_assert_eq(w->mtu.counters.probes, w->probes);
		unsigned lost = w->full_lost;
		run_ms(w, 40000);
		cr_assert(path_mtu_size(&w->mtu) > 1244 && path_mtu_size(&w->mtu) <= 1252);
		cr_assert_eq(w->full_lost, lost, "a guess was used for data");
		w->carries = 1472;
		run_ms(w, 601000);
		cr_assert_eq(path_mtu_size(&w->mtu), 1472);
		free(w);
	}
}

/* 30 % loss is no black hole, and the check costs next to nothing while data speaks for the size. */
Test(path_mtu, loss_alone_is_no_black_hole)
{
	struct world *w = world_new(1472);

	path_mtu_start(&w->mtu, 4, 65507, 0, true, w->now);
	run_ms(w, 1000);
	w->loss_percent = 30;
	with_data(w, 2000, 0);
	run_ms(w, 600000); /* 300 000 datagrams */
	cr_assert_eq(w->mtu.counters.black_holes, 0);
	cr_assert_lt(w->probes, 30);
	free(w);
}

Test(path_mtu, a_raise_costs_three_probes)
{
	struct world *w = world_new(1464);

	path_mtu_start(&w->mtu, 4, 65507, 0, true, w->now);
	with_data(w, 20000, 2);
	run_ms(w, 5000);
	uint16_t size = path_mtu_size(&w->mtu);
	unsigned before = w->probes;
	run_ms(w, 3600000); /* at 10 s, 70 s, then each 10 minutes */
	cr_assert_eq(path_mtu_size(&w->mtu), size);
	cr_assert_leq(w->probes - before, 8 * PATH_MTU_PROBES);
	cr_assert_geq(w->probes - before, 7 * PATH_MTU_PROBES);
	free(w);
}

Test(path_mtu, after_a_switch_the_old_size_is_asked_for_first)
{
	struct world *w = world_new(1464);
	struct path_mtu_probe probe;

	path_mtu_start(&w->mtu, 4, 65507, 0, true, w->now);
	with_data(w, 20000, 2);
	run_ms(w, 5000);
	uint16_t old = path_mtu_size(&w->mtu);
	(void)path_mtu_take_change(&w->mtu);
	struct path_mtu_probe stale = {1472, (uint16_t)(w->mtu.next_id - 1)};
	path_mtu_switched(&w->mtu, 4, w->now);
	cr_assert_eq(path_mtu_size(&w->mtu), 1232);
	cr_assert(path_mtu_waiting(&w->mtu));
	cr_assert(path_mtu_take_change(&w->mtu));
	path_mtu_acked_probe(&w->mtu, stale, w->now);
	cr_assert_eq(path_mtu_size(&w->mtu), 1232, "an answer of the path before");
	cr_assert(path_mtu_on_deadline(&w->mtu, 1000, w->now, &probe));
	cr_assert_eq(probe.size_bytes, old);
	path_mtu_acked_probe(&w->mtu, probe, w->now);
	cr_assert_eq(path_mtu_size(&w->mtu), old);
	cr_assert_not(path_mtu_waiting(&w->mtu));
	cr_assert(path_mtu_take_change(&w->mtu));
	run_ms(w, 5000);
	cr_assert_geq(path_mtu_size(&w->mtu), old);

	/* to a smaller path: the wait ends too */
	w->carries = 1252;
	path_mtu_switched(&w->mtu, 4, w->now);
	(void)path_mtu_take_change(&w->mtu);
	run_ms(w, 3 * 100 + 10);
	cr_assert_not(path_mtu_waiting(&w->mtu));
	cr_assert(path_mtu_take_change(&w->mtu));
	run_ms(w, 5000);
	cr_assert(path_mtu_size(&w->mtu) > 1244 && path_mtu_size(&w->mtu) <= 1252);

	/* to the other family: the old size is bounded by what that can carry */
	w->carries = 1472;
	run_ms(w, 700000);
	cr_assert_eq(path_mtu_size(&w->mtu), 1472);
	path_mtu_switched(&w->mtu, 6, w->now);
	cr_assert(path_mtu_on_deadline(&w->mtu, 1000, w->now, &probe));
	cr_assert_eq(probe.size_bytes, 1452);
	/* and a second switch remembers what was waiting */
	path_mtu_switched(&w->mtu, 6, w->now);
	cr_assert(path_mtu_waiting(&w->mtu));
	cr_assert(path_mtu_on_deadline(&w->mtu, 1000, w->now, &probe));
	cr_assert_eq(probe.size_bytes, 1452);
	free(w);
}

Test(path_mtu, the_kernels_refusal_counts_at_once)
{
	struct world *w = world_new(1472);
	struct path_mtu_probe probe;

	path_mtu_start(&w->mtu, 4, 65507, 0, true, w->now);
	run_ms(w, 100);
	cr_assert_eq(path_mtu_size(&w->mtu), 1472);
	path_mtu_refused(&w->mtu, 1472, 1392, w->now);
	cr_assert_eq(path_mtu_size(&w->mtu), 1392, "the kernel knows how much fits");
	cr_assert(mono_is_never(path_mtu_next_deadline(&w->mtu)), "nothing to look for");
	path_mtu_refused(&w->mtu, 1392, 0, w->now);
	cr_assert_eq(path_mtu_size(&w->mtu), 1232, "it does not say");
	w->carries = 1300;
	with_data(w, 20000, 2);
	run_ms(w, 4000);
	cr_assert(path_mtu_size(&w->mtu) > 1292 && path_mtu_size(&w->mtu) <= 1300);
	/* the refusal is forgotten at the raise time: interfaces change */
	w->carries = 1472;
	run_ms(w, 700000);
	cr_assert_eq(path_mtu_size(&w->mtu), 1472);
	free(w);

	/* a refused probe ends its step */
	w = world_new(1472);
	path_mtu_start(&w->mtu, 4, 65507, 0, true, w->now);
	cr_assert(path_mtu_on_deadline(&w->mtu, 1000, w->now, &probe));
	cr_assert_eq(probe.size_bytes, 1472);
	path_mtu_refused(&w->mtu, 1472, 1464, w->now);
	cr_assert(path_mtu_on_deadline(&w->mtu, 1000, w->now, &probe));
	cr_assert_lt(probe.size_bytes, 1472);
	path_mtu_refused(&w->mtu, 1000, 900, w->now);
	path_mtu_refused(&w->mtu, 1232, 0, w->now);
	path_mtu_refused(&w->mtu, UINT32_MAX, 0, w->now);
	cr_assert_eq(w->mtu.limit, 1464, "nothing below the base");
	free(w);
}

Test(path_mtu, follows_the_interface)
{
	struct world *w = world_new(9000);

	path_mtu_start(&w->mtu, 4, 65507, 1500, true, w->now);
	run_ms(w, 100);
	path_mtu_set_link(&w->mtu, 1400, w->now);
	cr_assert_eq(path_mtu_size(&w->mtu), 1372);
	run_ms(w, 100);
	path_mtu_set_link(&w->mtu, 9000, w->now);
	cr_assert_eq(path_mtu_size(&w->mtu), 1372);
	run_ms(w, 100);
	cr_assert_eq(path_mtu_size(&w->mtu), 8972);
	path_mtu_set_link(&w->mtu, 1000, w->now);
	cr_assert_eq(path_mtu_size(&w->mtu), 1232);
	path_mtu_stop(&w->mtu);
	path_mtu_set_link(&w->mtu, 1500, w->now);
	run_ms(w, 10000);
	cr_assert_eq(path_mtu_size(&w->mtu), 1232);
	path_mtu_start(&w->mtu, 4, 65507, 0, true, w->now);
	run_ms(w, 100);
	cr_assert_eq(path_mtu_size(&w->mtu), 1472);
	free(w);
}

/* A forged ICMP message makes two probes, at most once a second, and moves nothing; a true one is quicker than losses. */
Test(path_mtu, a_hint_is_checked)
{
	struct world *w = world_new(1472);

	path_mtu_start(&w->mtu, 4, 65507, 0, true, w->now);
	run_ms(w, 1000);
	for (int i = 0; i < 10000; i++) { /* 10 s */
		path_mtu_hint(&w->mtu, (uint32_t)(i % 1500), w->now);
		run_ms(w, 1);
	}
	cr_assert_eq(path_mtu_size(&w->mtu), 1472);
	cr_assert(w->probes > 1 + 2 * 8 && w->probes <= 1 + 2 * 11, "%u", w->probes);
	cr_assert_eq(w->mtu.counters.black_holes, 0);
	run_ms(w, 2000);

	unsigned before = w->probes;
	w->carries = 1364;
	path_mtu_hint(&w->mtu, 1364, w->now);
	run_ms(w, 700);
	cr_assert_eq(path_mtu_size(&w->mtu), 1364, "the hint itself is tried first");
	cr_assert_leq(w->probes - before, 8 + 3);
	free(w);
}

Test(path_mtu, foreign_answers_mean_nothing)
{
	struct world *w = world_new(1300);
	struct path_mtu_probe probe;

	path_mtu_acked_probe(&w->mtu, (struct path_mtu_probe){1472, 0}, w->now);
	path_mtu_start(&w->mtu, 4, 1452, 0, true, w->now);
	cr_assert(path_mtu_on_deadline(&w->mtu, 1000, w->now, &probe));
	path_mtu_acked_probe(
		&w->mtu, (struct path_mtu_probe){1452, (uint16_t)(probe.id + 1)}, w->now);
	path_mtu_acked_probe(
		&w->mtu, (struct path_mtu_probe){1452, (uint16_t)(probe.id - 1)}, w->now);
	path_mtu_acked_probe(&w->mtu, (struct path_mtu_probe){1453, probe.id}, w->now);
	path_mtu_acked_probe(&w->mtu, (struct path_mtu_probe){65535, probe.id}, w->now);
	path_mtu_acked_probe(&w->mtu, (struct path_mtu_probe){0, probe.id}, w->now);
	cr_assert_eq(path_mtu_size(&w->mtu), 1232);
	path_mtu_acked_probe(&w->mtu, probe, w->now);
	cr_assert_eq(path_mtu_size(&w->mtu), 1452);
	free(w);
}

/* Losses count in a row of datagrams as large, and below the base they never do. */
Test(path_mtu, losses_in_a_row_raise_suspicion)
{
	static const struct {
		const char *what;
		int sizes[8]; /* negative: lost */
		bool doubt;
	} rows[] = {
		{"three", {-1472, -1472, -1472}, true},
		{"two", {-1472, -1472}, false},
		{"one came", {-1472, -1472, 1472, -1472, -1472}, false},
		{"a smaller one came", {-1472, -1472, 1300, -1472}, true},
		{"small ones", {-1232, -1232, -1232, -100, -100, -100}, false},
		{"as large as the smallest lost", {-1472, -1300, 1300, -1472, -1472}, false},
		{"larger than what is in use", {-1473, -1473, -1473}, false},
		{"the row is over", {-1300, -1472, 1400, -1472, -1472, 1300, -1472}, true},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world *w = world_new(1472);
		path_mtu_start(&w->mtu, 4, 65507, 0, true, w->now);
		run_ms(w, 100);
		cr_assert_eq(path_mtu_size(&w->mtu), 1472);
		for (size_t k = 0; k < 8; k++) {
			int size = rows[i].sizes[k];
			if (size < 0)
				path_mtu_lost(&w->mtu, (uint32_t)-size, w->now);
			else if (size > 0)
				path_mtu_acked(&w->mtu, (uint32_t)size, w->now);
		}
		cr_assert_eq(w->mtu.state == PATH_MTU_VERIFYING, rows[i].doubt, "%s", rows[i].what);
		/* Verified by one pair of probes: the path is as it was. */
		unsigned before = w->probes;
		run_ms(w, 1000);
		cr_assert_eq(w->probes - before, rows[i].doubt ? 2 : 0, "%s", rows[i].what);
		cr_assert_eq(w->mtu.state, PATH_MTU_SETTLED);
		free(w);
	}
}

/* Pairs of probes, three of them, then the verdict; without an answer to either size there is none. */
Test(path_mtu, a_check_takes_three_pairs)
{
	for (int dead = 0; dead < 2; dead++) {
		struct world *w = world_new(1472);
		path_mtu_start(&w->mtu, 4, 65507, 0, true, w->now);
		run_ms(w, 100);
		w->carries = dead ? 0 : 1240;
		for (int i = 0; i < 3; i++)
			path_mtu_lost(&w->mtu, 1472, w->now);
		unsigned before = w->probes;
		run_ms(w, 100 * 4 - 10);
		cr_assert_eq(w->probes - before, 6, "%u", w->probes - before);
		cr_assert_eq(path_mtu_size(&w->mtu), 1472);
		run_ms(w, 20);
		cr_assert_eq(path_mtu_size(&w->mtu), dead ? 1472 : 1232);
		cr_assert_eq(w->mtu.counters.black_holes, !dead);
		free(w);
	}
}

/* A check in the middle of a search: the search goes on where it was. */
Test(path_mtu, a_check_does_not_end_a_search)
{
	struct world *w = world_new(1464);

	path_mtu_start(&w->mtu, 4, 65507, 0, true, w->now);
	with_data(w, 20000, 2);
	while (path_mtu_size(&w->mtu) < 1400)
		run_ms(w, 1);
	for (int i = 0; i < 3; i++)
		path_mtu_lost(&w->mtu, 1400, w->now);
	cr_assert_eq(w->mtu.state, PATH_MTU_VERIFYING);
	path_mtu_acked(&w->mtu, 1400, w->now);
	cr_assert_eq(w->mtu.state, PATH_MTU_SEARCHING);
	run_ms(w, 4000);
	cr_assert(path_mtu_size(&w->mtu) > 1456 && path_mtu_size(&w->mtu) <= 1464);
	free(w);
}

Test(path_mtu, a_rekey_brings_new_limits)
{
	struct world *w = world_new(9000);

	path_mtu_start(&w->mtu, 4, 1300, 0, true, w->now);
	run_ms(w, 100);
	cr_assert_eq(path_mtu_size(&w->mtu), 1300);
	path_mtu_start(&w->mtu, 4, 1350, 0, true, w->now);
	run_ms(w, 100);
	cr_assert_eq(path_mtu_size(&w->mtu), 1350);
	path_mtu_start(&w->mtu, 4, 1250, 0, true, w->now);
	cr_assert_eq(path_mtu_size(&w->mtu), 1250);
	path_mtu_start(&w->mtu, 4, 65507, 9000, true, w->now);
	run_ms(w, 200);
	cr_assert_eq(path_mtu_size(&w->mtu), 8972);
	/* what the kernel refused belongs to the path and the session */
	path_mtu_refused(&w->mtu, 8972, 2000, w->now);
	cr_assert_eq(path_mtu_size(&w->mtu), 2000);
	path_mtu_switched(&w->mtu, 4, w->now);
	run_ms(w, 200);
	cr_assert_eq(path_mtu_size(&w->mtu), 1472);
	path_mtu_refused(&w->mtu, 1472, 1400, w->now);
	path_mtu_stop(&w->mtu);
	cr_assert_eq(path_mtu_size(&w->mtu), 1232);
	path_mtu_start(&w->mtu, 4, 65507, 0, true, w->now);
	run_ms(w, 200);
	cr_assert_eq(path_mtu_size(&w->mtu), 1472);
	/* a limit that rises during a search counts for that search */
	path_mtu_stop(&w->mtu);
	w->carries = 1500;
	path_mtu_start(&w->mtu, 4, 1472, 1500, true, w->now);
	path_mtu_start(&w->mtu, 4, 9000, 1528, true, w->now);
	run_ms(w, 2000);
	cr_assert_geq(path_mtu_size(&w->mtu), 1472);
	with_data(w, 20000, 2);
	run_ms(w, 20000);
	cr_assert_eq(path_mtu_size(&w->mtu), 1500);
	free(w);
}

/* A stop while the old size waits ends the waiting, and says so. */
Test(path_mtu, a_stop_ends_the_wait_for_the_old_size)
{
	struct world *w = world_new(1472);

	path_mtu_start(&w->mtu, 4, 65507, 0, true, w->now);
	run_ms(w, 100);
	path_mtu_switched(&w->mtu, 4, w->now);
	(void)path_mtu_take_change(&w->mtu);
	path_mtu_stop(&w->mtu);
	cr_assert_not(path_mtu_waiting(&w->mtu));
	cr_assert(path_mtu_take_change(&w->mtu));
	free(w);
}

/* Many probes without a switch: the newest are still known by their numbers, the oldest no more. */
Test(path_mtu, numbers_of_long_ago_mean_nothing)
{
	struct world *w = world_new(0);
	struct path_mtu_probe probe = {0};

	path_mtu_start(&w->mtu, 4, 65507, 0, true, w->now);
	for (int i = 0; i < 70000; i++) {
		if (mono_is_never(path_mtu_next_deadline(&w->mtu)))
			path_mtu_hint(&w->mtu, 1, w->now);
		if (w->mtu.state == PATH_MTU_STALLED || w->mtu.state == PATH_MTU_SETTLED) {
			w->mtu.high = (uint16_t)(w->mtu.limit +
						 1); /* as if there were always more to find */
			w->mtu.state = PATH_MTU_STALLED;
			w->mtu.probe = 1400;
			path_mtu_acked(&w->mtu, 100, w->now);
		}
		w->now = mono_max(w->now, path_mtu_next_deadline(&w->mtu));
		(void)path_mtu_on_deadline(&w->mtu, 1000, w->now, &probe);
	}
	struct path_mtu_probe old = {1400, (uint16_t)(w->mtu.next_id - 65)};
	struct path_mtu_probe recent = {1400, (uint16_t)(w->mtu.next_id - 64)};
	path_mtu_acked_probe(&w->mtu, old, w->now);
	cr_assert_eq(path_mtu_size(&w->mtu), 1232);
	path_mtu_acked_probe(&w->mtu, recent, w->now);
	cr_assert_eq(path_mtu_size(&w->mtu), 1400);
	cr_assert_eq(w->mtu.counters.acks, 1);
	free(w);
}

/* The numbers of probes wrap; an answer of 65536 probes ago is none. */
Test(path_mtu, numbers_wrap)
{
	struct world *w = world_new(1472);

	path_mtu_start(&w->mtu, 4, 65507, 0, true, w->now);
	for (int i = 0; i < 70000; i++) {
		struct path_mtu_probe probe;
		path_mtu_switched(&w->mtu, 4, w->now);
		cr_assert(path_mtu_on_deadline(&w->mtu, 1000, w->now, &probe));
		path_mtu_acked_probe(&w->mtu, probe, w->now);
		cr_assert_eq(path_mtu_size(&w->mtu), 1472);
	}
	free(w);
}

/* Anything in any order: the invariants hold, deadlines move on, and the size is one that was confirmed, told or the base. */
Test(path_mtu, survives_any_order_of_events)
{
	for (unsigned seed = 0; seed < 400; seed++) {
		struct world *w = world_new(1472);
		uint16_t sent[64] = {0};
		w->seed = seed;

		for (int i = 0; i < 2000; i++) {
			struct path_mtu *m = &w->mtu;
			uint32_t size = (uint32_t)(1200 + rand_r(&w->seed) % 400);
			struct path_mtu_probe probe = {
				(uint16_t)size, (uint16_t)(m->next_id - rand_r(&w->seed) % 4)};
			w->now = mono_add_us(w->now, rand_r(&w->seed) % 100000);
			switch (rand_r(&w->seed) % 14) {
			case 0:
				path_mtu_start(m, rand_r(&w->seed) % 2 ? 4 : 6,
					(uint16_t)(1232 + rand_r(&w->seed) % 8000),
					(uint32_t)(rand_r(&w->seed) % 3) * 1400,
					rand_r(&w->seed) % 8 != 0, w->now);
				break;
			case 1:
				path_mtu_switched(m, rand_r(&w->seed) % 2 ? 4 : 6, w->now);
				break;
			case 2:
				path_mtu_set_link(m, (uint32_t)(rand_r(&w->seed) % 2000), w->now);
				break;
			case 3:
				path_mtu_refused(
					m, size, (uint32_t)(rand_r(&w->seed) % 3) * 640, w->now);
				break;
			case 4:
				path_mtu_hint(m, size, w->now);
				break;
			case 5:
				if (rand_r(&w->seed) % 8 == 0)
					path_mtu_stop(m);
				break;
			case 6:
			case 7:
				probe.size_bytes = sent[probe.id % 64];
				path_mtu_acked_probe(m, probe, w->now);
				break;
			case 8:
				path_mtu_acked_probe(m, probe, w->now);
				break;
			case 9:
				path_mtu_acked(m, size, w->now);
				break;
			case 10:
			case 11:
				path_mtu_lost(m, rand_r(&w->seed) % 2 ? size : m->size, w->now);
				break;
			default:
				w->now = mono_is_never(m->probe_at) ? w->now
								    : mono_max(w->now, m->probe_at);
				for (int k = 0; path_mtu_on_deadline(m, 50000, w->now, &probe);
					k++) {
					cr_assert_lt(k, 10, "seed %u: no end", seed);
					sent[probe.id % 64] = probe.size_bytes;
					cr_assert(probe.size_bytes >= 1232 &&
						  probe.size_bytes <= m->limit);
				}
				cr_assert(mono_before(w->now, m->probe_at), "seed %u: stuck", seed);
				break;
			}
			cr_assert(m->size >= 1232 && m->size <= m->limit, "seed %u", seed);
			cr_assert(m->size < m->high && m->high <= m->limit + 1,
				"seed %u step %d: %u %u %u", seed, i, m->size, m->high, m->limit);
			if (m->state == PATH_MTU_SEARCHING)
				cr_assert(
					m->probe > m->size && m->probe < m->high, "seed %u", seed);
			if (m->state == PATH_MTU_OFF || m->state == PATH_MTU_SETTLED ||
				m->state == PATH_MTU_STALLED)
				cr_assert(mono_is_never(m->probe_at), "seed %u step %d", seed, i);
			if (m->old)
				cr_assert(m->old > m->size && m->old < m->high,
					"seed %u step %d: %u", seed, i, m->old);
		}
		free(w);
	}
}

Test(path_mtu, is_small)
{
	cr_assert_leq(sizeof(struct path_mtu), 96);
}
