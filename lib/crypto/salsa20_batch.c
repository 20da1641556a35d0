/*
 * Blocks of all texts go into the same passes, one text behind the other, so only the last pass of a call may have empty lanes.
 *
 * The vectors are those that seal_batch_engine.c found to give libsodium's bytes.
 */
#include "crypto/salsa20_batch.h"

#include "crypto/seal_batch_engine.h"

#include <sodium.h>

enum {
	BLOCK = SALSA20_BLOCK_BYTES,
};

bool salsa20_batch(const uint8_t *key, const struct salsa20_text *texts, size_t count)
{
	const struct seal_engine *engine = seal_engine_choose(SEAL_IMPL_AUTO);
	struct salsa20_run runs[SALSA20_LANES_MAX];
	struct salsa20_state state;
	size_t lanes = 0, n = 0;

	if (!engine->salsa20)
		return false;
	for (const struct salsa20_text *text = texts; text < texts + count; text++) {
		for (size_t at = 0; at < text->len;) {
			size_t room = (engine->salsa20_lanes - lanes) * BLOCK;
			size_t left = text->len - at;
			size_t some = left < room ? left : room;
			runs[n++] = (struct salsa20_run){
				.key = key,
				.nonce = text->nonce,
				.in = text->bytes + at,
				.out = text->bytes + at,
				.len = some,
				.block = (uint32_t)(at / BLOCK),
			};
			lanes += (some + BLOCK - 1) / BLOCK;
			at += some;
			if (lanes == engine->salsa20_lanes) {
				engine->salsa20(&state, runs, n);
				lanes = n = 0;
			}
		}
	}
	if (n > 0)
		engine->salsa20(&state, runs, n);
	sodium_memzero(&state, sizeof(state));
	return true;
}
