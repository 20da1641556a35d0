/*
 * Which implementation is used: the best that CPU and system support and that gives libsodium's bytes.
 *
 * The choice is made once a process, by the self-test, and is the same whoever makes it: so threads that
 * come at once may both make it, and one word without a lock is enough to keep it.
 *
 * The self-test takes Poly1305 by itself as well, with keys and messages of all ones: their carries are ones
 * that random numbers do not show in a lifetime. Its other data come from libsodium's stream with a fixed
 * key, so that it finds the same thing each time.
 */
#include "crypto/seal_batch_engine.h"

#include <sodium.h>
#include <stdatomic.h>
#include <string.h>

enum {
	TEST_JOBS = 19, /* more than a part of the batch, and no multiple of any lanes */
	TEST_LEN_MAX = 640,
	TEST_SHIFTS = 5,
	TESTED = 1u << SEAL_IMPLS,
};

static const struct seal_engine sodium_engine = {
	.seal = seal_sodium_seal,
	.open = seal_sodium_open,
};

#ifdef __x86_64__
static const struct seal_engine avx2_engine = {
	.seal = seal_lanes_seal,
	.open = seal_lanes_open,
	.salsa20 = salsa20_avx2_pass,
	.poly1305 = poly1305_avx2_tags,
	.salsa20_lanes = SALSA20_LANES_AVX2,
	.poly1305_lanes = POLY1305_LANES_AVX2,
};

static const struct seal_engine avx512_engine = {
	.seal = seal_lanes_seal,
	.open = seal_lanes_open,
	.salsa20 = salsa20_avx512_pass,
	.poly1305 = poly1305_ifma_tags,
	.salsa20_lanes = SALSA20_LANES_AVX512,
	.poly1305_lanes = POLY1305_LANES_IFMA,
};
#endif

static const struct seal_engine *const engines[SEAL_IMPLS] = {
	[SEAL_IMPL_SODIUM] = &sodium_engine,
#ifdef __x86_64__
	[SEAL_IMPL_AVX2] = &avx2_engine,
	[SEAL_IMPL_AVX512] = &avx512_engine,
#endif
};

/* Bit i: implementation i holds. 0 before the self-test. */
static atomic_uint choices;

bool seal_batch_supported(enum seal_impl impl)
{
	switch (impl) {
	case SEAL_IMPL_AUTO:
	case SEAL_IMPL_SODIUM:
		return true;
	case SEAL_IMPL_AVX2:
#ifdef __x86_64__
		/* This asks the system (XGETBV), too, whether it keeps the registers. */
		__builtin_cpu_init();
		return __builtin_cpu_supports("avx2");
#else
		return false;
#endif
	case SEAL_IMPL_AVX512:
#ifdef __x86_64__
		__builtin_cpu_init();
		return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
		       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512ifma");
#else
		return false;
#endif
	case SEAL_IMPLS:
		break;
	}
	return false;
}

/* ---- self-test: Poly1305 ----------------------------------------------------------------------------------------- */

/* Messages of all ones, and r of all ones before it is clamped: each limb is as large as it gets. */
static bool ones_hold(const struct seal_engine *engine)
{
	uint8_t ones[TEST_LEN_MAX], keys[2][POLY1305_KEY_BYTES] = {{0}},
				    tags[2][POLY1305_TAG_BYTES];
	union poly1305_state state;

	memset(ones, 0xff, sizeof(ones));
	memset(keys[0], 0xff, sizeof(keys[0]));
	keys[1][0] =
		1; /* r = 1, s = 0: the tag is the sum of the blocks, which may be near 2^130 - 5 */
	for (size_t len = 0; len + POLY1305_BLOCK_BYTES <= TEST_LEN_MAX; len++) {
		struct poly1305_message messages[2];
		for (size_t i = 0; i < 2; i++)
			messages[i] = (struct poly1305_message){
				keys[i], ones, ones + POLY1305_BLOCK_BYTES, len, tags[i]};
		engine->poly1305(&state, messages, 2);
		for (size_t i = 0; i < 2; i++)
			if (crypto_onetimeauth_poly1305_verify(
				    tags[i], ones, POLY1305_BLOCK_BYTES + len, keys[i]) != 0)
				return false;
	}
	return true;
}

/* ---- self-test: jobs --------------------------------------------------------------------------------------------- */

/* A packet is additional data, text and tag; the nonce is the data's second half. */
struct packet {
	uint8_t bytes[SEAL_BATCH_AAD_BYTES + TEST_LEN_MAX + SEAL_BATCH_TAG_BYTES];
	uint8_t key[SEAL_BATCH_KEY_BYTES];
};

struct trial {
	struct packet ours[TEST_JOBS], theirs[TEST_JOBS];
	struct seal_job our_jobs[TEST_JOBS], their_jobs[TEST_JOBS];
};

static void jobs_of(struct packet *packets, struct seal_job *jobs, size_t shift)
{
	for (size_t i = 0; i < TEST_JOBS; i++) {
		uint8_t *aad = packets[i].bytes, *text = aad + SEAL_BATCH_AAD_BYTES;
		/* From 0 on, around whole blocks of both kinds, and up to several passes. */
		size_t len = i % 3 == 0 ? (i * 37 + shift * 16) % TEST_LEN_MAX : i * 4 + shift;
		jobs[i] = (struct seal_job){
			.key = packets[i].key,
			.nonce = aad + SEAL_BATCH_AAD_BYTES - SEAL_BATCH_NONCE_BYTES,
			.aad = aad,
			.in = text,
			.out = text,
			.len = len,
			.tag = text + len,
		};
	}
}

static bool same(const struct trial *trial)
{
	return memcmp(trial->ours, trial->theirs, sizeof(trial->ours)) == 0;
}

static bool jobs_hold(const struct seal_engine *engine, struct trial *trial, size_t shift)
{
	static const uint8_t key[crypto_stream_KEYBYTES] = {1};
	uint8_t nonce[crypto_stream_NONCEBYTES] = {(uint8_t)shift};

	crypto_stream((uint8_t *)trial->ours, sizeof(trial->ours), nonce, key);
	memcpy(trial->theirs, trial->ours, sizeof(trial->ours));
	jobs_of(trial->ours, trial->our_jobs, shift);
	jobs_of(trial->theirs, trial->their_jobs, shift);
	engine->seal(engine, trial->our_jobs, TEST_JOBS);
	sodium_engine.seal(&sodium_engine, trial->their_jobs, TEST_JOBS);
	if (!same(trial))
		return false;
	for (size_t i = 0; i < TEST_JOBS; i++)
		if (i % 4 == 1) {
			trial->our_jobs[i].tag[i % 16] ^= 0x80;
			trial->their_jobs[i].tag[i % 16] ^= 0x80;
		}
	engine->open(engine, trial->our_jobs, TEST_JOBS);
	sodium_engine.open(&sodium_engine, trial->their_jobs, TEST_JOBS);
	for (size_t i = 0; i < TEST_JOBS; i++)
		if (trial->our_jobs[i].ok != (i % 4 != 1))
			return false;
	return same(trial);
}

static bool holds(const struct seal_engine *engine)
{
	struct trial trial;

	if (!ones_hold(engine))
		return false;
	for (size_t shift = 0; shift < TEST_SHIFTS; shift++)
		if (!jobs_hold(engine, &trial, shift))
			return false;
	return true;
}

/* ---- choice ------------------------------------------------------------------------------------------------------ */

static unsigned make_choices(void)
{
	unsigned made = TESTED | 1u << SEAL_IMPL_SODIUM;

	for (int i = SEAL_IMPL_SODIUM + 1; i < SEAL_IMPLS; i++)
		if (seal_batch_supported((enum seal_impl)i) && engines[i] && holds(engines[i]))
			made |= 1u << i;
	atomic_store_explicit(&choices, made, memory_order_relaxed);
	return made;
}

static unsigned choices_made(void)
{
	unsigned made = atomic_load_explicit(&choices, memory_order_relaxed);

	return made ? made : make_choices();
}

static enum seal_impl best_of(unsigned made)
{
	for (int i = SEAL_IMPLS - 1; i > SEAL_IMPL_SODIUM; i--)
		if (made >> i & 1)
			return (enum seal_impl)i;
	return SEAL_IMPL_SODIUM;
}

enum seal_impl seal_batch_self_test(void)
{
	return best_of(make_choices());
}

bool seal_batch_holds(enum seal_impl impl)
{
	return impl == SEAL_IMPL_AUTO ||
	       ((unsigned)impl < SEAL_IMPLS && choices_made() >> impl & 1);
}

const struct seal_engine *seal_engine_choose(enum seal_impl impl)
{
	unsigned made = choices_made();

	if (impl == SEAL_IMPL_AUTO)
		impl = best_of(made);
	if ((unsigned)impl >= SEAL_IMPLS || !(made >> impl & 1))
		impl = SEAL_IMPL_SODIUM;
	return engines[impl];
}

const char *seal_impl_name(enum seal_impl impl)
{
	switch (impl) {
	case SEAL_IMPL_AUTO:
		return "auto";
	case SEAL_IMPL_SODIUM:
		return "libsodium";
	case SEAL_IMPL_AVX2:
		return "AVX2";
	case SEAL_IMPL_AVX512:
		return "AVX-512";
	case SEAL_IMPLS:
		break;
	}
	return "none";
}
