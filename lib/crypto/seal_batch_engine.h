/* An implementation of seal_batch.h, and the choice among them. */
#ifndef CRYPTO_SEAL_BATCH_ENGINE_H
#define CRYPTO_SEAL_BATCH_ENGINE_H

#include "crypto/poly1305_lanes.h"
#include "crypto/salsa20_lanes.h"
#include "crypto/seal_batch.h"

#include <stddef.h>

struct seal_engine;

typedef void (*seal_engine_jobs_fn)(
	const struct seal_engine *engine, struct seal_job *jobs, size_t count);
typedef void (*seal_engine_salsa20_fn)(
	struct salsa20_state *state, const struct salsa20_run *runs, size_t count);
typedef void (*seal_engine_poly1305_fn)(
	union poly1305_state *state, const struct poly1305_message *messages, size_t count);

struct seal_engine {
	seal_engine_jobs_fn seal;
	seal_engine_jobs_fn open;
	/* For seal_lanes_*() only. */
	seal_engine_salsa20_fn salsa20;
	seal_engine_poly1305_fn poly1305;
	size_t salsa20_lanes;
	size_t poly1305_lanes;
};

/** @return  the implementation asked for if it holds, else libsodium's; never NULL */
const struct seal_engine *seal_engine_choose(enum seal_impl impl);

/* With libsodium, a job after the other. */
void seal_sodium_seal(const struct seal_engine *engine, struct seal_job *jobs, size_t count);
void seal_sodium_open(const struct seal_engine *engine, struct seal_job *jobs, size_t count);

/* With the engine's vectors, all jobs together. */
void seal_lanes_seal(const struct seal_engine *engine, struct seal_job *jobs, size_t count);
void seal_lanes_open(const struct seal_engine *engine, struct seal_job *jobs, size_t count);

#endif
