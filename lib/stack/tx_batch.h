/*
 * Datagrams on their way out, collected so that they are encrypted and sent together: one call of the cipher and one
 * of the socket for up to TX_BATCH_DATAGRAMS of them.
 */
#ifndef STACK_TX_BATCH_H
#define STACK_TX_BATCH_H

#include "core/rand.h"
#include "crypto/packet_seal.h"
#include "kcpvpn/udp_port.h"

#include <stddef.h>
#include <stdint.h>

struct cipher;
struct stage_clock;

enum {
	/* A slot: crypt header (20) and FEC header (8) end where the segments begin, on a cache line. */
	TX_BATCH_PAYLOAD_AT = 64,
	TX_BATCH_SLOT_BYTES = TX_BATCH_PAYLOAD_AT + 1536 + 64,
	/* So many leave together. Fewer than a port takes at once: the other end then works on the first half of a burst
	 * while the second is made. */
	TX_BATCH_DATAGRAMS = 32,
	TX_BATCH_RANDOM_BYTES = 1024, /* drawn at once */
};

struct tx_batch {
	uint8_t *slots; /* TX_BATCH_DATAGRAMS x TX_BATCH_SLOT_BYTES */
	struct packet_seal_item items[TX_BATCH_DATAGRAMS];
	struct kcpvpn_datagram datagrams[TX_BATCH_DATAGRAMS];
	const struct kcpvpn_udp_port *ports[TX_BATCH_DATAGRAMS];
	size_t count;
	struct cipher *cipher;
	const struct rand_source *random;
	struct rand_source nonces; /* the same bytes out of `stock`, each once */
	uint8_t stock[TX_BATCH_RANDOM_BYTES];
	size_t stock_used;
	uint64_t sent_datagrams;
	uint64_t sent_bytes;
	struct stage_clock *stages; /* NULL = nobody measures */
};

/** @cipher, @random  must outlive the batch   @return 0 or -ENOMEM */
int tx_batch_init(struct tx_batch *batch, struct cipher *cipher, const struct rand_source *random);
void tx_batch_fini(struct tx_batch *batch);

/**
 * Room for the next datagram; sends the batch first if it is full.
 *
 * @return  the slot; segments are written at TX_BATCH_PAYLOAD_AT. Valid until tx_batch_add() or tx_batch_send().
 */
uint8_t *tx_batch_slot(struct tx_batch *batch);

/**
 * Adds the datagram written in the slot that tx_batch_slot() gave last.
 *
 * @packet  in the slot: where its crypt header begins   @len  header and payload in bytes
 * @tos     struct kcpvpn_datagram.tos
 * @return  bytes of the datagram on the wire
 */
size_t tx_batch_add(struct tx_batch *batch, uint8_t *packet, size_t len,
	const struct kcpvpn_udp_port *port, const struct kcpvpn_endpoint *remote,
	const struct kcpvpn_endpoint *local, uint8_t tos);

/** Encrypts and sends what there is. */
void tx_batch_send(struct tx_batch *batch);

#endif
