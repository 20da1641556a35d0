/*
 * The node owns what conversations share: the cipher, the pools, the timer wheel, the table by address, the batch.
 * Lists say what is to be done: `dirty` conversations are settled by the next flush, `ready` ones have events. So no
 * call walks over all conversations, and a node in which nothing happens has no deadline but theirs.
 */
#include "stack/node.h"

#include "core/stage_clock.h"
#include "crypto/cipher.h"
#include "crypto/packet_seal.h"
#include "fec/fec_slot.h"
#include "stack/node_config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	SEGMENT_BYTES = KCP_PEER_MTU_BYTES - KCP_OVERHEAD_BYTES,
	SHARD_SLOT_BYTES = FEC_SLOT_BYTES((int)KCPVPN_MTU_MAX_BYTES),
	SHARDS_PER_MEMORY = 4, /* shards get a quarter of the memory, segments the rest */
};

static int cipher_error(int error)
{
	return error == -EINVAL || error == -ENOMEM || error == -ENOTSUP ? error : -EIO;
}

int kcpvpn_node_new(const struct kcpvpn_config *config, kcpvpn_random_fn random, void *random_ctx,
	int64_t now_us, struct kcpvpn_node **ret_node)
{
	enum cipher_kind kind;

	if (!node_config_valid(config) || cipher_kind_by_name(config->crypt, &kind) < 0)
		return -EINVAL;
	/* kcp-go pads a short key of this one with zeros, but none at all is a mistake */
	size_t key_least = kind == CIPHER_SALSA20 ? 1 : cipher_kind_key_bytes(kind);
	if (config->key_len < key_least)
		return -ENOKEY;
	struct kcpvpn_node *node = calloc(1, sizeof(*node));
	if (!node)
		return -ENOMEM;
	int error =
		cipher_error(cipher_new_kind(kind, config->key, config->key_len, &node->cipher));
	if (!node->cipher)
		goto free_node;
	node->config = *config;
	node->config.key = NULL;
	node->config.crypt = cipher_kind_name(kind);
	if (node->config.send_queue_segments == 0)
		node->config.send_queue_segments = 2 * config->snd_wnd;
	if (node->config.send_queue_segments > KCP_SEND_QUEUE_MAX)
		node->config.send_queue_segments = KCP_SEND_QUEUE_MAX;
	node->random = (struct rand_source){random, random_ctx};
	error = tx_batch_init(&node->tx, node->cipher, &node->random);
	if (error < 0)
		goto free_cipher;
	node->has_fec = node_config_has_fec(config);
	node->header_bytes = (uint32_t)packet_header_bytes(node->cipher);
	node->kcp_mtu_bytes = (uint32_t)kcpvpn_config_mss(config) + KCP_OVERHEAD_BYTES;
	struct siphash_key key;
	rand_fill(&node->random, &key, sizeof(key));
	session_table_init(&node->table, &key);
	node->now = mono_at_us(now_us);
	wheel_init(&node->wheel, node->now);
	uint64_t shard_bytes = config->memory_max_bytes / SHARDS_PER_MEMORY;
	pool_init(&node->segments, SEGMENT_BYTES,
		(size_t)((config->memory_max_bytes - shard_bytes) / node_slot_cost(SEGMENT_BYTES)));
	pool_init(&node->shards, SHARD_SLOT_BYTES,
		(size_t)(shard_bytes / node_slot_cost(SHARD_SLOT_BYTES)));
	fec_matrix_cache_init(&node->matrices, FEC_MATRIX_CACHE_BYTES_MAX);
	list_init(&node->convs);
	list_init(&node->remnants);
	list_init(&node->ready);
	list_init(&node->dirty);
	*ret_node = node;
	return 0;

free_cipher:
	cipher_free(node->cipher);
free_node:
	free(node);
	return error;
}

void kcpvpn_node_free(struct kcpvpn_node *node)
{
	if (!node)
		return;
	while (!list_empty(&node->convs))
		node_conv_free(list_entry(node->convs.next, struct kcpvpn_conv, in_convs));
	while (!list_empty(&node->remnants))
		node_conv_free(list_entry(node->remnants.next, struct kcpvpn_conv, in_convs));
	session_table_fini(&node->table);
	pool_fini(&node->segments);
	pool_fini(&node->shards);
	fec_matrix_cache_fini(&node->matrices);
	tx_batch_fini(&node->tx);
	cipher_free(node->cipher);
	free(node->classifier);
	free(node);
}

void kcpvpn_node_profile(struct kcpvpn_node *node, struct stage_clock *stages)
{
	node->tx.stages = stages;
}

static int conv_init_layers(struct kcpvpn_conv *conv)
{
	const struct kcpvpn_config *c = &conv->node->config;
	struct kcp_config kcp = {
		.conv = conv->number,
		.profile =
			c->profile == KCPVPN_PROFILE_5_6_1 ? KCP_PROFILE_5_6_1 : KCP_PROFILE_5_6_72,
		.mtu_bytes = conv->node->kcp_mtu_bytes,
		.nodelay = c->nodelay,
		.interval_ms = c->interval_ms,
		.fast_resend = c->fast_resend,
		.no_congestion_window = c->no_congestion_window,
		.snd_wnd = c->snd_wnd < KCP_WND_MAX ? c->snd_wnd : KCP_WND_MAX,
		.rcv_wnd = c->rcv_wnd < KCP_WND_MAX ? c->rcv_wnd : KCP_WND_MAX,
		.stream = c->stream,
		.ack_no_delay = c->ack_no_delay,
		.measured_window = c->measured_window,
		.group_datagrams = conv->node->has_fec ? c->data_shards + c->parity_shards : 0,
		.dead_link_us = c->dead_after_us,
		.send_queue_max_segments = c->send_queue_segments,
		.pool = &conv->node->segments,
	};
	struct kcp_output output = {conv, conv_output_begin, conv_output_end};
	struct session_config session = {
		.keepalive_us = c->keepalive_us,
		.dead_after_us = c->dead_after_us,
		.idle_after_us = c->idle_after_us,
	};

	session_init(&conv->session, &session, conv->node->now);
	if (conv->node->has_fec) {
		int error = fec_encoder_init(&conv->encoder, c->data_shards, c->parity_shards,
			conv->node->kcp_mtu_bytes + FEC_OVERHEAD_BYTES,
			c->profile == KCPVPN_PROFILE_5_6_1 ? FEC_PROFILE_OLD : FEC_PROFILE_NEW,
			&conv->node->matrices, &conv->node->shards);
		if (error < 0)
			return error;
	}
	return kcp_new(&kcp, &output, &conv->kcp);
}

static void add_conv(struct kcpvpn_conv *conv)
{
	struct kcpvpn_node *node = conv->node;

	list_add_tail(&node->convs, &conv->in_convs);
	node->stats.conversations++;
	if (node->stats.conversations > node->stats.conversations_max)
		node->stats.conversations_max = node->stats.conversations;
}

/* It takes nothing, so it tells the least window there is. What comes does not prolong it: session_heard() is not called. */
static void add_remnant(struct kcpvpn_conv *conv)
{
	struct kcpvpn_node *node = conv->node;

	if (node->remnants_count >= NODE_REMNANTS_MAX)
		node_conv_free(list_entry(node->remnants.next, struct kcpvpn_conv, in_convs));
	list_add_tail(&node->remnants, &conv->in_convs);
	node->remnants_count++;
	(void)kcp_set_windows(conv->kcp, 1, 1);
	kcpvpn_conv_set_times(conv, 0, 0, NODE_REMNANT_US);
}

int node_conv_new(struct kcpvpn_node *node, const struct kcpvpn_udp_port *port,
	const struct kcpvpn_endpoint *remote, const struct kcpvpn_endpoint *local, uint32_t number,
	enum node_conv_role role, struct kcpvpn_conv **ret_conv)
{
	uint64_t most = (uint64_t)node->config.convs_max + (role == NODE_CONV_REPLACEMENT);

	if (role != NODE_CONV_REMNANT && node->stats.conversations >= most)
		return -ENOBUFS;
	struct kcpvpn_conv *conv = calloc(1, sizeof(*conv));
	if (!conv)
		return -ENOMEM;
	conv->node = node;
	conv->port = port;
	conv->number = number;
	conv->local = *local;
	conv->table_node.port = port;
	conv->table_node.remote = *remote;
	conv->remnant = role == NODE_CONV_REMNANT;
	conv->last_rx_at = MONO_NEVER;
	conv->told_at = MONO_NEVER;
	conv->trim_at = MONO_NEVER;
	list_init(&conv->in_convs);
	list_init(&conv->in_ready);
	list_init(&conv->in_dirty);
	list_init(&conv->oob);
	wheel_timer_init(&conv->timer);
	int error = conv_init_layers(conv);
	if (error == 0)
		error = session_table_add(&node->table, &conv->table_node);
	if (error < 0) {
		kcp_free(conv->kcp);
		fec_encoder_fini(&conv->encoder);
		free(conv);
		return error;
	}
	if (conv->remnant)
		add_remnant(conv);
	else
		add_conv(conv);
	conv_touch(conv);
	*ret_conv = conv;
	return 0;
}

void node_conv_free(struct kcpvpn_conv *conv)
{
	struct kcpvpn_node *node = conv->node;

	conv_add_stats(conv, &node->stats);
	if (conv->closed == KCPVPN_OPEN)
		session_table_remove(&node->table, &conv->table_node);
	wheel_disarm(&node->wheel, &conv->timer);
	list_remove(&conv->in_convs);
	list_remove(&conv->in_ready);
	list_remove(&conv->in_dirty);
	conv_oob_drop_all(conv);
	kcp_free(conv->kcp);
	fec_encoder_fini(&conv->encoder);
	if (conv->decoder)
		fec_decoder_fini(conv->decoder);
	free(conv->decoder);
	if (conv->remnant)
		node->remnants_count--;
	else
		node->stats.conversations--;
	free(conv);
}

int kcpvpn_node_dial(struct kcpvpn_node *node, const struct kcpvpn_udp_port *port,
	const struct kcpvpn_endpoint *remote, uint32_t conv_number, int64_t now_us,
	struct kcpvpn_conv **ret_conv)
{
	struct kcpvpn_endpoint any = {0};

	node->now = mono_at_us(now_us);
	struct session_table_node *found = session_table_find(&node->table, port, remote);
	if (found) {
		struct kcpvpn_conv *old = list_entry(found, struct kcpvpn_conv, table_node);
		if (!old->remnant)
			return -EADDRINUSE;
		/* The program does not know of it: it must not be in the way. */
		node_conv_free(old);
	}
	while (conv_number == 0)
		conv_number = rand_u32(&node->random);
	int error = node_conv_new(node, port, remote, &any, conv_number, NODE_CONV_NEW, ret_conv);
	if (error == 0)
		node->stats.active_opens++;
	return error;
}

void conv_raise(struct kcpvpn_conv *conv, unsigned events)
{
	conv->events |= events;
	if (!list_linked(&conv->in_ready))
		list_add_tail(&conv->node->ready, &conv->in_ready);
}

void conv_touch(struct kcpvpn_conv *conv)
{
	if (conv->closed == KCPVPN_OPEN && !list_linked(&conv->in_dirty))
		list_add_tail(&conv->node->dirty, &conv->in_dirty);
}

struct kcpvpn_conv *kcpvpn_node_next_event(struct kcpvpn_node *node, unsigned *ret_events)
{
	struct list *ready;

	while ((ready = list_pop(&node->ready)) != NULL) {
		struct kcpvpn_conv *conv = list_entry(ready, struct kcpvpn_conv, in_ready);
		unsigned events = conv->events;
		conv->events = 0;
		if (!conv->remnant) {
			*ret_events = events;
			return conv;
		}
		if (events & KCPVPN_EVENT_CLOSED)
			node_conv_free(conv);
	}
	return NULL;
}

void kcpvpn_node_flush(struct kcpvpn_node *node, int64_t now_us)
{
	struct list *dirty;

	enum stage before = stage_enter(node->tx.stages, STAGE_SEND);
	node->now = mono_at_us(now_us);
	while ((dirty = list_pop(&node->dirty)) != NULL)
		conv_settle(list_entry(dirty, struct kcpvpn_conv, in_dirty), node->now);
	tx_batch_send(&node->tx);
	(void)stage_enter(node->tx.stages, before);
}

void kcpvpn_node_on_deadline(struct kcpvpn_node *node, int64_t now_us)
{
	struct wheel_timer *timer;

	enum stage before = stage_enter(node->tx.stages, STAGE_SEND);
	node->now = mono_at_us(now_us);
	while ((timer = wheel_pop_due(&node->wheel, node->now)) != NULL)
		conv_on_deadline(list_entry(timer, struct kcpvpn_conv, timer), node->now);
	(void)stage_enter(node->tx.stages, before);
}

int64_t kcpvpn_node_next_deadline(const struct kcpvpn_node *node)
{
	if (!list_empty(&node->dirty) || !list_empty(&node->ready) || node->tx.count > 0)
		return node->now.us;
	return wheel_next(&node->wheel).us;
}

void kcpvpn_node_stats(const struct kcpvpn_node *node, struct kcpvpn_stats *ret_stats)
{
	*ret_stats = node->stats;
	ret_stats->out_datagrams = node->tx.sent_datagrams;
	ret_stats->out_bytes = node->tx.sent_bytes;
	list_for_each (at, &node->convs)
		conv_add_stats(list_entry(at, struct kcpvpn_conv, in_convs), ret_stats);
	list_for_each (at, &node->remnants)
		conv_add_stats(list_entry(at, struct kcpvpn_conv, in_convs), ret_stats);
}
