/*
 * The KCP rules of the native wire, judged by two naive models: an observer that sees all of two paths, and a peer that
 * speaks the wire in its own way and takes the place of the engine on either side. Random networks, restarts, readers that
 * stop, lanes freed and used again, in virtual time.
 *
 *	SEED=n PROGRAM --filter path_model/NAME     runs that seed alone and writes down all that happens
 *	PATH_MODEL_RUNS=n                           runs of each test
 */
#include "tests/sim/path_model_wire.h"
#include "tests/sim/path_model_world.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum {
	/* LONG=1 takes forty times as many, of the release build 10^6 in all. */
	RUNS_ENGINES = SANITIZED ? 800 : 10000,
	RUNS_MIXED = SANITIZED ? 600 : 7500,
	RUNS_PEERS = SANITIZED ? 50 : 1000,
	FAILURES = 5, /* told, then enough */
};

static uint64_t number_in(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value ? strtoull(value, NULL, 0) : otherwise;
}

static void run_all(const char *name, enum model_kind a, enum model_kind b, uint64_t runs)
{
	struct path_world *world = path_world_new();
	uint64_t first = number_in("SEED", 1);
	unsigned failures = 0;

	if (getenv("LONG"))
		runs *= 40;
	runs = getenv("SEED") ? 1 : number_in("PATH_MODEL_RUNS", runs);
	for (uint64_t seed = first; seed < first + runs && failures < FAILURES; seed++) {
		const char *failure = path_world_run(world, a, b, seed, getenv("SEED") != NULL);
		if (!failure)
			continue;
		failures++;
		fprintf(stderr,
			"seed %" PRIu64 ": %s\n    again: SEED=%" PRIu64
			" PROGRAM --filter path_model/%s\n",
			seed, failure, seed, name);
	}
	const struct watch_totals *totals = path_world_totals(world);
	fprintf(stderr,
		"%s: seeds %" PRIu64 "..%" PRIu64 ", %" PRIu64 " datagrams, %" PRIu64
		" messages, %" PRIu64 " read, %" PRIu64 " given up, %" PRIu64
		" items sent again, %" PRIu64 " FWD, %" PRIu64
		" lanes begun above, silent after %.1f s at most\n",
		name, first, first + runs - 1, totals->datagrams, totals->messages,
		totals->delivered, totals->given_up, totals->resent, totals->fwds,
		totals->reborn_lanes, (double)path_world_longest_calm_us(world) / 1e6);
	path_world_free(world);
	cr_assert_eq(failures, 0, "%u seeds or more failed", failures);
}

Test(path_model, engine_with_engine)
{
	run_all("engine_with_engine", MODEL_ENGINE, MODEL_ENGINE, RUNS_ENGINES);
}

Test(path_model, engine_with_peer)
{
	run_all("engine_with_peer", MODEL_ENGINE, MODEL_PEER, RUNS_MIXED);
}

Test(path_model, peer_with_engine)
{
	run_all("peer_with_engine", MODEL_PEER, MODEL_ENGINE, RUNS_MIXED);
}

/* Whoever judges must pass what keeps the rules. */
Test(path_model, peer_with_peer)
{
	run_all("peer_with_peer", MODEL_PEER, MODEL_PEER, RUNS_PEERS);
}

Test(path_model, rack_answer)
{
	/* largest 1000, delay 80 us, received 996..1000 and 990..993, rebuilt 994, 3 CE marks */
	static const uint8_t answer[] = {
		0xe8, 3, 0, 0, 0, 0, 0, 0, 5, 0, 2, 0, 5, 2, 4, 1, 6, 1, 3, 0, 0};
	struct model_rack rack;
	uint8_t body[MODEL_RACK_BYTES_MAX];

	cr_assert(model_rack_parse(answer, sizeof(answer), &rack));
	cr_assert_eq(rack.largest, 1000);
	cr_assert_eq(rack.delay, 5);
	cr_assert_eq(rack.received_count, 2);
	cr_assert_eq(rack.received[1].from, 990);
	cr_assert_eq(rack.received[1].to, 993);
	cr_assert_eq(rack.rebuilt_count, 1);
	cr_assert_eq(rack.rebuilt[0].from, 994);
	cr_assert_eq(rack.rebuilt[0].to, 994);
	cr_assert_eq(rack.ce, 3);
	cr_assert_eq(model_rack_put(body, &rack), sizeof(answer));
	cr_assert_arr_eq(body, answer, sizeof(answer));
	for (size_t len = 0; len < sizeof(answer); len++)
		cr_assert(!model_rack_parse(answer, len, &rack));
}
