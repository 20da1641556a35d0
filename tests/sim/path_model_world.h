/*
 * Two paths on a bad network in virtual time, a reader and a writer on each side, and chance, which is a function of the seed.
 * Either side may be the engine or the naive peer; the observer sees all.
 */
#ifndef TESTS_PATH_MODEL_WORLD_H
#define TESTS_PATH_MODEL_WORLD_H

#include "tests/sim/path_model_watch.h"

#include <stdbool.h>
#include <stdint.h>

enum model_kind {
	MODEL_ENGINE,
	MODEL_PEER,
};

struct path_world;

/** Aborts without memory. One world serves many runs. */
struct path_world *path_world_new(void);
void path_world_free(struct path_world *world);

/**
 * One run: a time of faults, then calm until both sides are silent, then messages that must all arrive; now and then again
 * after a minute of idleness, when lanes were freed.
 *
 * @return  NULL, or what went wrong; good until the next run
 */
const char *path_world_run(
	struct path_world *world, enum model_kind a, enum model_kind b, uint64_t seed, bool trace);

const struct watch_totals *path_world_totals(const struct path_world *world);

/** Longest time from the end of faults to silence, of all runs, in microseconds. */
int64_t path_world_longest_calm_us(const struct path_world *world);

#endif
