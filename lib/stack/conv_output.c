/* From KCP to the batch: a datagram of segments gets its FEC header, and the parity of a full group follows it. */
#include "crypto/packet_seal.h"
#include "stack/node.h"

#include <string.h>

uint8_t *conv_output_begin(void *ctx)
{
	struct kcpvpn_conv *conv = ctx;

	return tx_batch_slot(&conv->node->tx) + TX_BATCH_PAYLOAD_AT;
}

/* Adds the datagram whose payload (from the FEC header on, if there is one) stands at `payload`. */
static void add(struct kcpvpn_conv *conv, uint8_t *payload, size_t len)
{
	struct kcpvpn_node *node = conv->node;
	size_t header = node->header_bytes;

	conv->counters.out_datagrams++;
	conv->counters.out_bytes += tx_batch_add(&node->tx, payload - header, header + len,
		conv->port, &conv->table_node.remote, &conv->local);
}

void conv_output_end(void *ctx, size_t len, unsigned flags)
{
	struct kcpvpn_conv *conv = ctx;
	struct kcpvpn_node *node = conv->node;
	uint8_t *segments =
		node->tx.slots + node->tx.count * TX_BATCH_SLOT_BYTES + TX_BATCH_PAYLOAD_AT;

	if (flags & KCP_OUT_PUSH)
		conv->sent_data = true;
	if (!node->has_fec) {
		add(conv, segments, len);
		return;
	}
	struct fec_parity parity;
	uint8_t *packet = segments - FEC_OVERHEAD_BYTES;
	int count = fec_encoder_push(&conv->encoder, packet, len, node->now, &parity);
	if (count < 0)
		return; /* longer than the mtu: cannot be, KCP was told less */
	add(conv, packet, FEC_OVERHEAD_BYTES + len);
	for (int i = 0; i < count; i++) {
		packet = tx_batch_slot(&node->tx) + TX_BATCH_PAYLOAD_AT - FEC_OVERHEAD_BYTES;
		memcpy(packet, parity.packets[i], parity.len);
		add(conv, packet, parity.len);
	}
}
