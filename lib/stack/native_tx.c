/*
 * Datagrams are written in order, sealed by one call and sent in runs that leave by the same port. Handshake datagrams stand in the
 * same row, unsealed, so that what was decided first leaves first.
 *
 * Datagrams of one length stand back to back: the kernel takes a run of them as one piece of memory, which costs it a tenth of a
 * microsecond less for each than so many pieces. A run begins with its first payload on a cache line; those of full
 * datagrams over IPv4 then all do.
 *
 * Keys are borrowed until the row is sent. Whoever wipes one says so before (native_tx_key_goes()), so what was sealed with it
 * in mind is sealed while it still stands.
 */
#include "stack/native_tx.h"

#include "core/stage_clock.h"
#include "stack/native.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(
	(int)NATIVE_TX_ALIGN_BYTES >= (int)SEAL_HEAD_BYTES, "the header stands before the payload");
_Static_assert((int)NATIVE_TX_DATAGRAMS <= (int)KCPVPN_BATCH_MAX, "one call of the port");

static size_t aligned(size_t at)
{
	return (at + NATIVE_TX_ALIGN_BYTES - 1) / NATIVE_TX_ALIGN_BYTES * NATIVE_TX_ALIGN_BYTES;
}

int native_tx_init(struct native_tx *tx, size_t datagram_max_bytes)
{
	size_t most = NATIVE_TX_ALIGN_BYTES + datagram_max_bytes;

	*tx = (struct native_tx){0};
	tx->payload_max_bytes = datagram_max_bytes - SEAL_OVERHEAD_BYTES;
	tx->bytes = aligned_alloc(NATIVE_TX_ALIGN_BYTES, aligned(most) * NATIVE_TX_DATAGRAMS);
	return tx->bytes ? 0 : -ENOMEM;
}

void native_tx_fini(struct native_tx *tx)
{
	free(tx->bytes);
	tx->bytes = NULL;
	tx->count = 0;
}

/* Where the payload of the next datagram goes. */
static uint8_t *next_payload(const struct native_tx *tx)
{
	size_t at = tx->end + SEAL_HEAD_BYTES;

	return tx->bytes + (tx->count == 0 || tx->run_ended ? aligned(at) : at);
}

uint8_t *native_tx_payload(struct native_tx *tx)
{
	if (tx->count == NATIVE_TX_DATAGRAMS)
		native_tx_send(tx);
	return next_payload(tx);
}

static void add(struct native_tx *tx, const struct seal_item *item, const struct native_address *to)
{
	size_t i = tx->count;

	assert(i < NATIVE_TX_DATAGRAMS && to->port && item->len <= tx->payload_max_bytes);
	tx->items[i] = *item;
	tx->items[i].payload = next_payload(tx);
	tx->ports[i] = to->port;
	tx->datagrams[i] =
		(struct kcpvpn_datagram){.remote = to->remote, .local = to->local, .tos = tx->tos};
	tx->tos = 0;
	if (i == 0 || tx->run_ended) {
		tx->run_len = item->len;
		tx->run_ended = false;
	} else {
		tx->run_ended = item->len != tx->run_len;
	}
	tx->end = (size_t)(tx->items[i].payload - tx->bytes) + item->len + SEAL_TAIL_BYTES;
	tx->count++;
}

void native_tx_add(struct native_tx *tx, size_t len, struct seal_key *key, uint32_t receiver_index,
	uint64_t counter, const struct native_address *to)
{
	struct seal_item item = {
		.len = len, .counter = counter, .key = key, .receiver_index = receiver_index};

	add(tx, &item, to);
}

void native_tx_add_plain(
	struct native_tx *tx, const void *bytes, size_t len, const struct native_address *to)
{
	struct seal_item item = {.len = len};

	memcpy(native_tx_payload(tx), bytes, len);
	add(tx, &item, to);
}

/* Seals runs of items that have a key; gives every datagram its bytes, none (len 0) to those that were refused. */
static void seal(struct native_tx *tx)
{
	for (size_t from = 0; from < tx->count;) {
		size_t to = from;
		while (to < tx->count && tx->items[to].key)
			to++;
		if (to > from)
			seal_batch(&tx->items[from], to - from);
		from = to + 1;
	}
	for (size_t i = 0; i < tx->count; i++) {
		const struct seal_item *item = &tx->items[i];
		struct kcpvpn_datagram *d = &tx->datagrams[i];
		if (!item->key) {
			d->data = item->payload;
			d->len = item->len;
		} else if (item->verdict == SEAL_OK) {
			d->data = item->payload - SEAL_HEADER_BYTES;
			d->len = item->len + SEAL_OVERHEAD_BYTES;
		} else {
			d->len = 0;
			tx->nonce_refused++;
		}
	}
}

void native_tx_send(struct native_tx *tx)
{
	size_t count = tx->count;

	if (count == 0)
		return;
	enum stage before = stage_enter(tx->stages, STAGE_SEAL);
	stage_did(tx->stages, count);
	seal(tx);
	(void)stage_enter(tx->stages, STAGE_UDP_SEND);
	stage_did(tx->stages, count);
	for (size_t from = 0; from < count;) {
		size_t to = from;
		while (to < count && tx->ports[to] == tx->ports[from] &&
			tx->datagrams[to].len > 0) {
			tx->sent_bytes += tx->datagrams[to].len;
			to++;
		}
		if (to > from)
			tx->ports[from]->send(
				tx->ports[from]->ctx, &tx->datagrams[from], to - from);
		tx->sent_datagrams += to - from;
		if (to == from)
			to++;
		from = to;
	}
	tx->count = 0;
	tx->end = 0;
	(void)stage_enter(tx->stages, before);
}

void native_tx_key_goes(struct native_tx *tx, const struct seal_key *key)
{
	for (size_t i = 0; i < tx->count; i++) {
		if (tx->items[i].key == key) {
			native_tx_send(tx);
			return;
		}
	}
}
