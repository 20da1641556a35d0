/*
 * Slots are filled in order; runs of datagrams that leave by the same port are sent by one call.
 *
 * Nonces come out of a stock that is drawn from the random source many at a time: a batch is often a single datagram, and
 * a call to the kernel for 16 bytes costs as much as to encrypt them. A byte of the stock is used once. The stock is no
 * secret: nonces leave in the clear, or under a cipher that does not rest on them.
 */
#include "stack/tx_batch.h"

#include "core/stage_clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void fill_from_stock(void *ctx, void *buf, size_t len)
{
	struct tx_batch *batch = ctx;
	uint8_t *at = buf;

	while (len > 0) {
		if (batch->stock_used == sizeof(batch->stock)) {
			rand_fill(batch->random, batch->stock, sizeof(batch->stock));
			batch->stock_used = 0;
		}
		size_t left = sizeof(batch->stock) - batch->stock_used;
		size_t some = len < left ? len : left;
		memcpy(at, batch->stock + batch->stock_used, some);
		batch->stock_used += some;
		at += some;
		len -= some;
	}
}

int tx_batch_init(struct tx_batch *batch, struct cipher *cipher, const struct rand_source *random)
{
	*batch = (struct tx_batch){
		.cipher = cipher,
		.random = random,
		.nonces = {fill_from_stock, batch},
		.stock_used = sizeof(batch->stock),
	};
	batch->slots = aligned_alloc(64, (size_t)TX_BATCH_SLOT_BYTES * TX_BATCH_DATAGRAMS);
	return batch->slots ? 0 : -ENOMEM;
}

void tx_batch_fini(struct tx_batch *batch)
{
	free(batch->slots);
	batch->slots = NULL;
	batch->count = 0;
}

uint8_t *tx_batch_slot(struct tx_batch *batch)
{
	if (batch->count == TX_BATCH_DATAGRAMS)
		tx_batch_send(batch);
	return batch->slots + batch->count * TX_BATCH_SLOT_BYTES;
}

size_t tx_batch_add(struct tx_batch *batch, uint8_t *packet, size_t len,
	const struct kcpvpn_udp_port *port, const struct kcpvpn_endpoint *remote,
	const struct kcpvpn_endpoint *local, uint8_t tos)
{
	size_t i = batch->count;

	assert(i < TX_BATCH_DATAGRAMS);
	batch->items[i] = (struct packet_seal_item){.packet = packet, .len = len};
	batch->ports[i] = port;
	batch->datagrams[i] = (struct kcpvpn_datagram){
		.remote = *remote, .local = *local, .data = packet, .tos = tos};
	batch->count++;
	return len + packet_trailer_bytes(batch->cipher);
}

void tx_batch_send(struct tx_batch *batch)
{
	size_t count = batch->count;

	if (count == 0)
		return;
	enum stage before = stage_enter(batch->stages, STAGE_SEAL);
	stage_did(batch->stages, count);
	packet_seal(batch->cipher, batch->items, count, &batch->nonces);
	(void)stage_enter(batch->stages, STAGE_UDP_SEND);
	stage_did(batch->stages, count);
	for (size_t i = 0; i < count; i++) {
		batch->datagrams[i].len = batch->items[i].len;
		batch->sent_bytes += batch->items[i].len;
	}
	for (size_t from = 0; from < count;) {
		size_t to = from + 1;
		while (to < count && batch->ports[to] == batch->ports[from])
			to++;
		batch->ports[from]->send(
			batch->ports[from]->ctx, &batch->datagrams[from], to - from);
		from = to;
	}
	batch->sent_datagrams += count;
	batch->count = 0;
	(void)stage_enter(batch->stages, before);
}
