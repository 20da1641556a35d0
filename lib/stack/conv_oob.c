/* Out-of-band messages: no order, no acknowledgement, no parity. Received ones wait in slots until they are taken. */
#include "core/endian.h"
#include "core/ip_header.h"
#include "session/traffic_class.h"
#include "stack/node.h"

#include <errno.h>
#include <string.h>

struct oob_message {
	struct list node;
	size_t len;
	uint8_t bytes[];
};

int kcpvpn_conv_send_oob(struct kcpvpn_conv *conv, const void *data, size_t len)
{
	struct kcpvpn_node *node = conv->node;

	if (conv->closed != KCPVPN_OPEN)
		return -EPIPE;
	if (!node->has_fec)
		return -EOPNOTSUPP;
	if (len == 0 || len > node->kcp_mtu_bytes - FEC_OOB_CONV_BYTES)
		return -EMSGSIZE;
	uint8_t *packet = tx_batch_slot(&node->tx) + TX_BATCH_PAYLOAD_AT - FEC_OVERHEAD_BYTES;
	size_t total = fec_header_write_oob(packet, conv->number, len);
	memcpy(packet + FEC_OVERHEAD_BYTES + FEC_OOB_CONV_BYTES, data, len);
	conv_output_add(conv, packet, total, conv->mark);
	return 0;
}

bool conv_oob_takes(struct kcpvpn_conv *conv, const void *packet, size_t len, struct mono now)
{
	struct kcpvpn_node *node = conv->node;
	struct ip_header header;

	if (!conv->oob_urgent || !node->has_fec || node->config.stream ||
		len > node->kcp_mtu_bytes - FEC_OOB_CONV_BYTES ||
		ip_header_parse(packet, len, &header) != IP_OK)
		return false;
	return traffic_class_of(node->classifier, packet, &header, 1, now).class ==
	       TRAFFIC_CLASS_RT;
}

void conv_oob_received(struct kcpvpn_conv *conv, const uint8_t *data, size_t len)
{
	struct kcpvpn_node *node = conv->node;
	struct oob_message *message = NULL;

	if (conv->oob_count < KCPVPN_OOB_WAITING_MAX &&
		sizeof(*message) + len <= node->shards.slot_bytes)
		message = pool_take(&node->shards);
	if (!message) {
		node->stats.drop_oob++;
		return;
	}
	message->len = len;
	memcpy(message->bytes, data, len);
	list_add_tail(&conv->oob, &message->node);
	conv->oob_count++;
	node->stats.oob_in++;
	conv_raise(conv, KCPVPN_EVENT_OOB);
}

int kcpvpn_conv_recv_oob(struct kcpvpn_conv *conv, void *buf, size_t capacity, size_t *ret_len)
{
	if (list_empty(&conv->oob))
		return -EAGAIN;
	struct oob_message *message = list_entry(conv->oob.next, struct oob_message, node);
	if (message->len > capacity)
		return -EMSGSIZE;
	memcpy(buf, message->bytes, message->len);
	*ret_len = message->len;
	list_remove(&message->node);
	conv->oob_count--;
	pool_return(&conv->node->shards, message);
	return 0;
}

void conv_oob_drop_all(struct kcpvpn_conv *conv)
{
	struct list *node;

	while ((node = list_pop(&conv->oob)) != NULL)
		pool_return(&conv->node->shards, list_entry(node, struct oob_message, node));
	conv->oob_count = 0;
}
