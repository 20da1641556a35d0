/* From KCP to the batch: a datagram of segments gets its FEC header, and the parity of a full group follows it. */
#include "core/stage_clock.h"
#include "crypto/packet_seal.h"
#include "stack/node.h"

#include <string.h>

uint8_t *conv_output_begin(void *ctx)
{
	struct kcpvpn_conv *conv = ctx;

	return tx_batch_slot(&conv->node->tx) + TX_BATCH_PAYLOAD_AT;
}

void conv_output_add(struct kcpvpn_conv *conv, uint8_t *payload, size_t len, unsigned mark)
{
	enum {
		DSCP_SHIFT = 2,
		V4_HEADER_BYTES = 28, /* IP and UDP */
		V6_HEADER_BYTES = 48,
	};
	struct kcpvpn_node *node = conv->node;
	const struct kcpvpn_endpoint *remote = &conv->table_node.remote;
	size_t header = node->header_bytes;
	unsigned dscp = conv->dscp >= 0 ? (unsigned)conv->dscp : mark;
	size_t bytes = tx_batch_add(&node->tx, payload - header, header + len, conv->port, remote,
		&conv->local, (uint8_t)(dscp << DSCP_SHIFT));

	conv->counters.out_datagrams++;
	conv->counters.out_bytes += bytes;
	kcp_spent(conv->kcp, bytes + (remote->family == 4 ? V4_HEADER_BYTES : V6_HEADER_BYTES),
		node->now);
}

void conv_output_end(void *ctx, size_t len, unsigned flags)
{
	struct kcpvpn_conv *conv = ctx;
	struct kcpvpn_node *node = conv->node;
	uint8_t *segments =
		node->tx.slots + node->tx.count * TX_BATCH_SLOT_BYTES + TX_BATCH_PAYLOAD_AT;
	unsigned mark = flags >> KCP_OUT_MARK_SHIFT;

	if (flags & KCP_OUT_PUSH)
		conv->sent_data = true;
	if (!node->has_fec) {
		conv_output_add(conv, segments, len, mark);
		return;
	}
	struct fec_parity parity;
	uint8_t *packet = segments - FEC_OVERHEAD_BYTES;
	enum stage before = stage_enter(node->tx.stages, STAGE_FEC_ENCODE);
	int count = fec_encoder_push(&conv->encoder, packet, len, node->now, &parity);
	stage_did(node->tx.stages, 1);
	(void)stage_enter(node->tx.stages, before);
	if (count < 0)
		return; /* longer than the mtu: cannot be, KCP was told less */
	conv_output_add(conv, packet, FEC_OVERHEAD_BYTES + len, mark);
	for (int i = 0; i < count; i++) {
		packet = tx_batch_slot(&node->tx) + TX_BATCH_PAYLOAD_AT - FEC_OVERHEAD_BYTES;
		memcpy(packet, parity.packets[i], parity.len);
		conv_output_add(conv, packet, parity.len, mark);
	}
}
