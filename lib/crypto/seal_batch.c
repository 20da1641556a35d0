/*
 * Jobs into the lanes of the vectors.
 *
 * All jobs of a part of the batch give their blocks to the same passes of Salsa20, so only the last pass of
 * a part may have empty lanes. A part is 16 jobs: as many as the widest vectors make one-time keys for in
 * one pass, and little enough that text of full datagrams is still in the first cache when Poly1305 follows.
 *
 * Opening wants the tag checked before text is written, so the one-time keys come first and the text last.
 * The lanes that the keys leave empty make the stream of the first blocks in advance, into memory of this
 * file; a single datagram thus takes no more passes than sealing does.
 */
#include "crypto/cipher_xor.h"
#include "crypto/seal_batch_engine.h"

#include <sodium.h>
#include <string.h>

enum {
	PART_JOBS = 16,
	BLOCK = SALSA20_BLOCK_BYTES,
	LONE_BYTES = 320, /* about where libsodium becomes slower */
	STREAM_BYTES = (SALSA20_LANES_MAX - 1) * BLOCK,
};

_Static_assert((int)SEAL_BATCH_KEY_BYTES == (int)SALSA20_KEY_BYTES, "Salsa20");
_Static_assert((int)SEAL_BATCH_NONCE_BYTES == (int)SALSA20_NONCE_BYTES, "Salsa20");
_Static_assert((int)SEAL_BATCH_AAD_BYTES == (int)POLY1305_BLOCK_BYTES, "one block of head");
_Static_assert((int)SEAL_BATCH_TAG_BYTES == (int)POLY1305_TAG_BYTES, "Poly1305");

/* What a call knows that is secret, in one place to be wiped. */
struct secrets {
	struct salsa20_state salsa20;
	union poly1305_state poly1305;
	uint8_t keys[PART_JOBS][POLY1305_KEY_BYTES];
	uint8_t stream[STREAM_BYTES];
};

struct packer {
	const struct seal_engine *engine;
	struct secrets *secrets;
	size_t lanes; /* filled, of engine->salsa20_lanes */
	size_t count; /* of runs */
	struct salsa20_run runs[SALSA20_LANES_MAX];
};

/* ---- lanes ------------------------------------------------------------------------------------------------------- */

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

static void flush(struct packer *packer)
{
	if (packer->count > 0)
		packer->engine->salsa20(&packer->secrets->salsa20, packer->runs, packer->count);
	packer->count = 0;
	packer->lanes = 0;
}

static size_t lanes_free(const struct packer *packer)
{
	return packer->engine->salsa20_lanes - packer->lanes;
}

/* `in` is NULL for the stream itself. */
static void pack(struct packer *packer, const struct seal_job *job, size_t block, const uint8_t *in,
	uint8_t *out, size_t len)
{
	while (len > 0) {
		size_t some = min_size(len, lanes_free(packer) * BLOCK);
		packer->runs[packer->count++] = (struct salsa20_run){
			.key = job->key,
			.nonce = job->nonce,
			.in = in,
			.out = out,
			.len = some,
			.block = (uint32_t)block,
		};
		packer->lanes += (some + BLOCK - 1) / BLOCK;
		block += some / BLOCK;
		in = in ? in + some : NULL;
		out += some;
		len -= some;
		if (lanes_free(packer) == 0)
			flush(packer);
	}
}

static void pack_keys(struct packer *packer, const struct seal_job *jobs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		pack(packer, &jobs[i], 0, NULL, packer->secrets->keys[i], POLY1305_KEY_BYTES);
}

/* The text of a job from `at` on, a multiple of the block. */
static void pack_text(struct packer *packer, const struct seal_job *job, size_t at)
{
	if (at < job->len)
		pack(packer, job, 1 + at / BLOCK, job->in + at, job->out + at, job->len - at);
}

/* ---- tags -------------------------------------------------------------------------------------------------------- */

/* @tags  NULL: into the jobs themselves */
static void make_tags(const struct packer *packer, const struct seal_job *jobs, size_t count,
	bool of_out, uint8_t tags[][POLY1305_TAG_BYTES])
{
	struct poly1305_message messages[PART_JOBS];
	size_t lanes = packer->engine->poly1305_lanes;

	for (size_t i = 0; i < count; i++)
		messages[i] = (struct poly1305_message){
			.key = packer->secrets->keys[i],
			.head = jobs[i].aad,
			.body = of_out ? jobs[i].out : jobs[i].in,
			.len = jobs[i].len,
			.tag = tags ? tags[i] : jobs[i].tag,
		};
	for (size_t i = 0; i < count; i += lanes)
		packer->engine->poly1305(
			&packer->secrets->poly1305, messages + i, min_size(count - i, lanes));
}

/* ---- parts of a batch -------------------------------------------------------------------------------------------- */

static void seal_part(struct packer *packer, struct seal_job *jobs, size_t count)
{
	pack_keys(packer, jobs, count);
	for (size_t i = 0; i < count; i++)
		pack_text(packer, &jobs[i], 0);
	flush(packer);
	make_tags(packer, jobs, count, true, NULL);
	for (size_t i = 0; i < count; i++)
		jobs[i].ok = true;
}

/* How many bytes of the text of each job the stream was made of in advance. */
static void pack_ahead(
	struct packer *packer, const struct seal_job *jobs, size_t count, size_t ahead[])
{
	uint8_t *stream = packer->secrets->stream;

	for (size_t i = 0; i < count; i++)
		ahead[i] = 0;
	for (size_t i = 0; i < count && packer->lanes > 0; i++) {
		ahead[i] = min_size(jobs[i].len, lanes_free(packer) * BLOCK);
		pack(packer, &jobs[i], 1, NULL, stream, ahead[i]);
		stream += ahead[i];
	}
	flush(packer);
}

static void use_ahead(const struct seal_job *job, const uint8_t *stream, size_t len)
{
	if (len == 0)
		return;
	if (job->out != job->in)
		memcpy(job->out, job->in, len);
	xor_pad(job->out, stream, len);
}

static void open_part(struct packer *packer, struct seal_job *jobs, size_t count)
{
	uint8_t tags[PART_JOBS][POLY1305_TAG_BYTES];
	size_t ahead[PART_JOBS];
	const uint8_t *stream = packer->secrets->stream;

	pack_keys(packer, jobs, count);
	pack_ahead(packer, jobs, count, ahead);
	make_tags(packer, jobs, count, false, tags);
	for (size_t i = 0; i < count; i++) {
		jobs[i].ok = crypto_verify_16(tags[i], jobs[i].tag) == 0;
		if (jobs[i].ok) {
			use_ahead(&jobs[i], stream, ahead[i]);
			pack_text(packer, &jobs[i], ahead[i]);
		}
		stream += ahead[i];
	}
	flush(packer);
	/* The right tag of a forgery would be the attacker's next datagram. */
	sodium_memzero(tags, sizeof(tags));
}

void seal_lanes_seal(const struct seal_engine *engine, struct seal_job *jobs, size_t count)
{
	struct secrets secrets;
	struct packer packer = {.engine = engine, .secrets = &secrets};

	for (size_t i = 0; i < count; i += PART_JOBS)
		seal_part(&packer, jobs + i, min_size(count - i, PART_JOBS));
	sodium_memzero(&secrets, sizeof(secrets));
}

void seal_lanes_open(const struct seal_engine *engine, struct seal_job *jobs, size_t count)
{
	struct secrets secrets;
	struct packer packer = {.engine = engine, .secrets = &secrets};

	for (size_t i = 0; i < count; i += PART_JOBS)
		open_part(&packer, jobs + i, min_size(count - i, PART_JOBS));
	sodium_memzero(&secrets, sizeof(secrets));
}

/* ---- what others call -------------------------------------------------------------------------------------------- */

/* With AUTO, a lone short datagram goes to libsodium: there is too little of it to fill lanes. */
static const struct seal_engine *engine_for(
	enum seal_impl impl, const struct seal_job *jobs, size_t count)
{
	if (impl == SEAL_IMPL_AUTO && count == 1 && jobs[0].len <= LONE_BYTES)
		impl = SEAL_IMPL_SODIUM;
	return seal_engine_choose(impl);
}

void seal_batch_seal(enum seal_impl impl, struct seal_job *jobs, size_t count)
{
	const struct seal_engine *engine = engine_for(impl, jobs, count);

	if (count > 0)
		engine->seal(engine, jobs, count);
}

void seal_batch_open(enum seal_impl impl, struct seal_job *jobs, size_t count)
{
	const struct seal_engine *engine = engine_for(impl, jobs, count);

	if (count > 0)
		engine->open(engine, jobs, count);
}
