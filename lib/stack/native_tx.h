/*
 * Datagrams of the native wire on their way out, collected so that they are sealed and sent together: one call of the
 * cipher and one of the port for up to NATIVE_TX_DATAGRAMS of them.
 */
#ifndef STACK_NATIVE_TX_H
#define STACK_NATIVE_TX_H

#include "crypto/seal.h"
#include "kcpvpn/udp_port.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct native_address;
struct stage_clock;

enum {
	/* Two runs of 44, as many full datagrams as the kernel takes for one over IPv4. With half as many the other end may begin
	 * earlier, but runs are cut at the end of most messages, which costs more than that brings. */
	NATIVE_TX_DATAGRAMS = 88,
	NATIVE_TX_ALIGN_BYTES =
		64, /* the first payload of a run begins on a cache line, the header before it */
};

struct native_tx {
	uint8_t *bytes;		  /* of all datagrams */
	size_t payload_max_bytes; /* of a datagram, header and tag not counted */
	size_t end;		  /* behind the last datagram */
	size_t run_len; /* plaintext of each datagram since the last that was of another length */
	bool run_ended; /* by one that was */
	struct seal_item items[NATIVE_TX_DATAGRAMS]; /* key NULL: goes as it is */
	struct kcpvpn_datagram datagrams[NATIVE_TX_DATAGRAMS];
	const struct kcpvpn_udp_port *ports[NATIVE_TX_DATAGRAMS];
	size_t count;
	uint8_t tos; /* struct kcpvpn_datagram.tos of the one that is added next; 0 again then */
	uint64_t sent_datagrams;
	uint64_t sent_bytes;
	struct stage_clock *stages; /* NULL = nobody measures */
	uint64_t nonce_refused;	    /* counters that were not new: a bug, and nothing was sent */
};

/** @datagram_max_bytes  UDP payload sent at most   @return 0 or -ENOMEM */
int native_tx_init(struct native_tx *tx, size_t datagram_max_bytes);
void native_tx_fini(struct native_tx *tx);

/**
 * Room for the plaintext of the next datagram: `payload_max_bytes`. Sends the batch first if it is full.
 *
 * Valid until the next call of this module.
 */
uint8_t *native_tx_payload(struct native_tx *tx);

/**
 * Adds the datagram whose plaintext was written where native_tx_payload() said.
 *
 * @key      lent until the batch is sent; see native_tx_key_goes()
 * @counter  never used before with this key, and above all that were
 * @to       port not NULL; copied
 */
void native_tx_add(struct native_tx *tx, size_t len, struct seal_key *key, uint32_t receiver_index,
	uint64_t counter, const struct native_address *to);

/** Adds a datagram that goes as it is; copied. @len  at most payload_max_bytes */
void native_tx_add_plain(
	struct native_tx *tx, const void *bytes, size_t len, const struct native_address *to);

/** Seals and sends what there is. */
void native_tx_send(struct native_tx *tx);

/** A key is about to be wiped: what waits for it is sent now. */
void native_tx_key_goes(struct native_tx *tx, const struct seal_key *key);

#endif
