/*
 * With libsodium: one stream call makes one-time key and text, over 64 zeros and the text, rounded up to 256
 * bytes, because libsodium's vectors work on four or eight blocks at once and are slow with what is left
 * over. It works in a scratch buffer: that costs a copy, some 3 % of a datagram of 1400 bytes, and nothing
 * around a datagram is touched. What the buffer cannot hold goes by a second call from the next block on.
 */
#include "crypto/seal_batch_engine.h"

#include <sodium.h>
#include <string.h>

enum {
	ROUND_BYTES = 256,
	SCRATCH_BYTES = 2048, /* holds what fits a path of 1500 */
	TEXT_BYTES = SCRATCH_BYTES - SALSA20_BLOCK_BYTES,
};

_Static_assert((int)SALSA20_KEY_BYTES == (int)crypto_stream_salsa20_KEYBYTES, "Salsa20");
_Static_assert((int)SALSA20_NONCE_BYTES == (int)crypto_stream_salsa20_NONCEBYTES, "Salsa20");
_Static_assert((int)POLY1305_TAG_BYTES == (int)crypto_onetimeauth_poly1305_BYTES, "Poly1305");
_Static_assert(SCRATCH_BYTES % ROUND_BYTES == 0, "rounding stays inside");

struct scratch {
	_Alignas(64) uint8_t bytes[SCRATCH_BYTES];
};

/* Makes block 0 and, behind it, the begin of the text. Returns how much of the text that is. */
static size_t stream_head(struct scratch *scratch, const struct seal_job *job)
{
	size_t head = job->len < TEXT_BYTES ? job->len : TEXT_BYTES;
	size_t end = SALSA20_BLOCK_BYTES + head;
	size_t whole = (end + ROUND_BYTES - 1) / ROUND_BYTES * ROUND_BYTES;

	memset(scratch->bytes, 0, SALSA20_BLOCK_BYTES);
	if (head > 0)
		memcpy(scratch->bytes + SALSA20_BLOCK_BYTES, job->in, head);
	memset(scratch->bytes + end, 0, whole - end);
	crypto_stream_salsa20_xor(scratch->bytes, scratch->bytes, whole, job->nonce, job->key);
	return head;
}

static void use_stream(const struct scratch *scratch, const struct seal_job *job, size_t head)
{
	if (head > 0)
		memcpy(job->out, scratch->bytes + SALSA20_BLOCK_BYTES, head);
	if (job->len > head)
		crypto_stream_salsa20_xor_ic(job->out + head, job->in + head, job->len - head,
			job->nonce, SCRATCH_BYTES / SALSA20_BLOCK_BYTES, job->key);
}

static void make_tag(const struct scratch *scratch, const struct seal_job *job,
	const uint8_t *ciphertext, uint8_t tag[POLY1305_TAG_BYTES])
{
	crypto_onetimeauth_poly1305_state state;

	/* Most often both stand together, and then one call is faster. */
	if (job->aad + SEAL_BATCH_AAD_BYTES == ciphertext) {
		crypto_onetimeauth_poly1305(
			tag, job->aad, SEAL_BATCH_AAD_BYTES + job->len, scratch->bytes);
		return;
	}
	crypto_onetimeauth_poly1305_init(&state, scratch->bytes);
	crypto_onetimeauth_poly1305_update(&state, job->aad, SEAL_BATCH_AAD_BYTES);
	if (job->len > 0)
		crypto_onetimeauth_poly1305_update(&state, ciphertext, job->len);
	crypto_onetimeauth_poly1305_final(&state, tag);
}

void seal_sodium_seal(const struct seal_engine *engine, struct seal_job *jobs, size_t count)
{
	struct scratch scratch;

	(void)engine;
	for (struct seal_job *job = jobs; job < jobs + count; job++) {
		use_stream(&scratch, job, stream_head(&scratch, job));
		make_tag(&scratch, job, job->out, job->tag);
		job->ok = true;
	}
	sodium_memzero(&scratch, sizeof(scratch));
}

void seal_sodium_open(const struct seal_engine *engine, struct seal_job *jobs, size_t count)
{
	struct scratch scratch;
	uint8_t tag[POLY1305_TAG_BYTES];

	(void)engine;
	for (struct seal_job *job = jobs; job < jobs + count; job++) {
		size_t head = stream_head(&scratch, job);
		make_tag(&scratch, job, job->in, tag);
		job->ok = crypto_verify_16(tag, job->tag) == 0;
		if (job->ok)
			use_stream(&scratch, job, head);
	}
	sodium_memzero(&scratch, sizeof(scratch));
	sodium_memzero(tag, sizeof(tag));
}
