/*
 * Judging and headers are here, one datagram after the other; the bytes are made by seal_batch.h, for up to PART_JOBS
 * datagrams in one call, because vectors are filled from several datagrams only.
 *
 * A counter is used up when its datagram is judged. So a second datagram with the same counter is refused even within
 * one batch, and none that was refused reaches the cipher: it is overwritten with zeros instead.
 *
 * The header has a fixed size, so header || ciphertext under Poly1305 needs neither lengths nor padding to be
 * unambiguous. It stands before the ciphertext, its second half is the nonce.
 *
 * Standards: Salsa20 (Bernstein, "The Salsa20 family of stream ciphers"); RFC 8439 section 2.5 (Poly1305); the
 * composition is NaCl's secretbox with the header authenticated in addition.
 */
#include "crypto/seal.h"

#include "core/endian.h"
#include "crypto/seal_batch.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum {
	WORD_DATA = 0x010c,
	AT_INDEX = 4,
	AT_COUNTER = 8,
	PART_JOBS = 16, /* as many as the widest vectors make use of */
};

_Static_assert((int)SEAL_KEY_BYTES == (int)SEAL_BATCH_KEY_BYTES, "Salsa20");
_Static_assert((int)SEAL_BATCH_NONCE_BYTES == sizeof(uint64_t), "the counter is the nonce");
_Static_assert(
	(int)SEAL_BATCH_AAD_BYTES == (int)SEAL_HEADER_BYTES, "the header is the additional data");
_Static_assert((int)SEAL_TAG_BYTES == (int)SEAL_BATCH_TAG_BYTES, "Poly1305");

static enum seal_impl impl_in_use = SEAL_IMPL_AUTO;

void seal_use(enum seal_impl impl)
{
	impl_in_use = impl;
}

/* A whole datagram in place. */
static struct seal_job job_of(uint8_t *datagram, size_t payload_len, const uint8_t *key)
{
	uint8_t *payload = datagram + SEAL_HEADER_BYTES;

	return (struct seal_job){
		.key = key,
		.nonce = datagram + AT_COUNTER,
		.aad = datagram,
		.in = payload,
		.out = payload,
		.len = payload_len,
		.tag = payload + payload_len,
	};
}

/* ---- sealing ----------------------------------------------------------------------------------------------------- */

void seal_key_init(struct seal_key *seal, const uint8_t key[SEAL_KEY_BYTES])
{
	memcpy(seal->key, key, SEAL_KEY_BYTES);
	seal->counter_min = 0;
}

void seal_key_wipe(struct seal_key *seal)
{
	/* Nothing may be sealed with what is left. */
	sodium_memzero(seal, sizeof(*seal));
	seal->counter_min = SEAL_COUNTER_END;
}

static enum seal_verdict seal_judge(const struct seal_item *item)
{
	if (item->len > SEAL_PAYLOAD_MAX)
		return SEAL_BAD_SIZE;
	if (item->counter >= SEAL_COUNTER_END)
		return SEAL_BAD_COUNTER;
	if (item->counter < item->key->counter_min) {
		if (SEAL_ABORTS_ON_REUSE)
			abort();
		return SEAL_REUSED;
	}
	return SEAL_OK;
}

/* Judges, uses the counter up and writes the header. @return  whether the datagram is to be sealed */
static bool seal_begin(struct seal_item *item)
{
	item->verdict = seal_judge(item);
	if (item->verdict == SEAL_BAD_SIZE)
		return false;
	uint8_t *datagram = item->payload - SEAL_HEADER_BYTES;
	if (item->verdict != SEAL_OK) {
		memset(datagram, 0, item->len + SEAL_OVERHEAD_BYTES);
		return false;
	}
	item->key->counter_min = item->counter + 1;
	store_le32(datagram, WORD_DATA);
	store_le32(datagram + AT_INDEX, item->receiver_index);
	store_le64(datagram + AT_COUNTER, item->counter);
	return true;
}

void seal_batch(struct seal_item *items, size_t count)
{
	struct seal_job jobs[PART_JOBS];
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		if (seal_begin(&items[i]))
			jobs[n++] = job_of(items[i].payload - SEAL_HEADER_BYTES, items[i].len,
				items[i].key->key);
		if (n == PART_JOBS || i + 1 == count) {
			seal_batch_seal(impl_in_use, jobs, n);
			n = 0;
		}
	}
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

enum seal_verdict seal_header_read(
	const uint8_t *datagram, size_t len, struct seal_header *ret_header)
{
	if (len < SEAL_DATAGRAM_MIN || len > SEAL_DATAGRAM_MAX)
		return SEAL_BAD_SIZE;
	if (load_le32(datagram) != WORD_DATA)
		return SEAL_BAD_WORD;
	uint64_t counter = load_le64(datagram + AT_COUNTER);
	if (counter >= SEAL_COUNTER_END)
		return SEAL_BAD_COUNTER;
	*ret_header = (struct seal_header){load_le32(datagram + AT_INDEX), counter};
	return SEAL_OK;
}

static void open_end(struct open_item *item, const struct seal_job *job)
{
	if (!job->ok)
		return;
	item->verdict = SEAL_OK;
	item->payload = job->out;
	item->payload_len = job->len;
}

void open_batch(struct open_item *items, size_t count)
{
	struct seal_job jobs[PART_JOBS];
	struct open_item *owners[PART_JOBS];
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		struct open_item *item = &items[i];
		bool fits = item->len >= SEAL_DATAGRAM_MIN && item->len <= SEAL_DATAGRAM_MAX;
		item->payload = NULL;
		item->payload_len = 0;
		item->verdict = fits ? SEAL_BAD_TAG : SEAL_BAD_SIZE;
		if (fits) {
			owners[n] = item;
			jobs[n++] =
				job_of(item->datagram, item->len - SEAL_OVERHEAD_BYTES, item->key);
		}
		if (n < PART_JOBS && i + 1 < count)
			continue;
		seal_batch_open(impl_in_use, jobs, n);
		for (size_t k = 0; k < n; k++)
			open_end(owners[k], &jobs[k]);
		n = 0;
	}
}
