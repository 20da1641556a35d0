/*
 * A node of a tunnel with the queue in front of it. It has a round when something came for it or its deadline is due, and a round
 * is the daemon's: serve deadlines, read, let the queue go on, flush, again while there was anything to read.
 *
 * Inner hosts have devices with offloads: what a flow sends at one instant is put together as they would do, and cut as the
 * daemon does. The queue is handled as vpnd/packet_path.c does: popped only while the node takes bulk, tuned to the measured path ten times
 * a second, and what waited too long is dropped now and then.
 */
#include "inner_end.h"

#include "inner_kcp_go.h"

#include "core/rand.h"
#include "core/super_message.h"

#include <string.h>
#include <sys/uio.h>

enum {
	TURNS = 16,
	QUEUED_MAX = 16384,
	SLOT_BYTES = 2048,
	TUNE_US = 100000,
	MESSAGE_BYTES = 16384,
	MESSAGE_BYTES_MAX = 65600,
	MESSAGE_US = 1000,
	MEMORY_BYTES = 64 << 20,
	DEAD_AFTER_US = 15000000,
};

static void fill_random(void *ctx, void *buf, size_t len)
{
	struct inner_end *end = ctx;
	uint8_t *at = buf;

	while (len > 0) {
		uint64_t v = inner_world_next_random(&end->random);
		size_t some = len < sizeof(v) ? len : sizeof(v);
		memcpy(at, &v, some);
		at += some;
		len -= some;
	}
}

static int64_t realtime(void *ctx)
{
	const struct inner_end *end = ctx;

	return (int64_t)1700000000 * 1000000 + end->world->now.us;
}

bool inner_end_is_up(const struct inner_end *end)
{
	return end->node ? end->conv != NULL : kcpvpn_peer_state(end->peer) == KCPVPN_PEER_UP;
}

void inner_end_input(struct inner_end *end, const struct kcpvpn_datagram *datagram)
{
	int64_t now_us = end->world->now.us;

	if (end->node)
		kcpvpn_node_input(end->node, &end->port, end->side == 1, datagram, 1, now_us);
	else
		kcpvpn_native_input(end->native, &end->port, datagram, 1, now_us);
	end->touched = true;
}

struct mono inner_end_next_deadline(const struct inner_end *end)
{
	return mono_at_us(end->node ? kcpvpn_node_next_deadline(end->node)
				    : kcpvpn_native_next_deadline(end->native));
}

/* ---- the queue in front ----------------------------------------------------------------------------------------- */

static void queue_message(struct inner_end *end, const struct super_packet *packet, uint16_t first,
	uint16_t count, struct mono now)
{
	struct ingress_packet *slot =
		ingress_packet_take(count > 1 ? &end->long_packets : &end->packets);

	if (!slot)
		inner_world_fail(end->world, "an inner packet cannot be queued");
	slot->len = (uint32_t)super_message_write(packet, first, count, slot->data, &slot->ip_at);
	slot->segments = count;
	(void)ingress_push(&end->queue, slot, &packet->ip, now);
}

/* What a host hands over in one go. */
static void queue_packet(void *ctx, const struct super_packet *packet)
{
	struct inner_end *end = ctx;
	struct mono now = end->world->now;
	uint16_t count;

	if (!ingress_empty(&end->queue) &&
		mono_diff_us(now, end->expired_at) > end->queue.options.wait_max_us) {
		end->expired_at = now;
		ingress_expire(&end->queue, now);
	}
	for (uint16_t first = 0; first < packet->segments; first = (uint16_t)(first + count)) {
		count = super_message_fit(packet, first, end->message_bytes);
		queue_message(end, packet, first, count, now);
	}
	end->pumping = true;
}

void inner_end_queue(struct inner_end *end, const uint8_t *bytes, size_t len, struct mono now)
{
	bool is_tcp = len > 9 && bytes[9] == IP_PROTOCOL_TCP;
	struct super_packet packet;

	(void)now;
	if (super_packet_parse(bytes, len, is_tcp ? SUPER_PACKET_PARTIAL : SUPER_PACKET_PLAIN, 0,
		    &packet) != SUPER_OK)
		inner_world_fail(end->world, "an inner packet cannot be queued");
	if (end->world->options.offload_off)
		queue_packet(end, &packet);
	else
		super_merge_push(&end->sent, &packet);
	end->touched = true;
}

static bool measure(const struct inner_end *end, struct ingress_path *ret_path)
{
	struct kcpvpn_peer_status status;

	if (end->node)
		return inner_kcp_go_measure(end, ret_path);
	kcpvpn_peer_status(end->peer, &status);
	*ret_path = (struct ingress_path){
		status.srtt_us, status.rate_bps, status.loss_raw_out, status.contested};
	return status.srtt_us >= 0;
}

static uint32_t message_bytes(const struct inner_end *end, uint64_t rate_bps)
{
	uint64_t bytes = rate_bps / 8 * MESSAGE_US / 1000000;
	uint32_t most = end->node ? 0 : kcpvpn_peer_super_max(end->peer);

	if (bytes > MESSAGE_BYTES)
		bytes = MESSAGE_BYTES;
	return bytes < most ? (uint32_t)bytes : most;
}

static void tune(struct inner_end *end, struct mono now)
{
	struct ingress_path path;

	if (mono_diff_us(now, end->tuned_at) < TUNE_US || !measure(end, &path))
		return;
	end->tuned_at = now;
	end->message_bytes = message_bytes(end, path.rate_bps);
	ingress_follow(&end->queue, &path, (uint32_t)end->world->options.mtu_bytes);
	int64_t asked_us = path.srtt_us * end->world->options.target_percent / 100;
	if (asked_us > end->queue.options.target_us)
		ingress_set_codel(&end->queue, asked_us, end->queue.options.interval_us);
}

static bool takes_more(struct inner_end *end)
{
	return end->node ? inner_kcp_go_ready(end)
			 : kcpvpn_peer_room(end->peer, end->message_bytes);
}

static int send_packet(struct inner_end *end, const struct ingress_packet *packet, struct mono now)
{
	return end->node ? inner_kcp_go_send(end, packet->data, packet->len)
			 : kcpvpn_peer_send(end->peer, packet->data, packet->len, now.us);
}

static void pump(struct inner_end *end, struct mono now)
{
	if (!end->pumping || !inner_end_is_up(end))
		return;
	end->pumping = false;
	tune(end, now);
	while (takes_more(end)) {
		struct ingress_packet *packet = ingress_pop(&end->queue, now);
		if (!packet)
			return;
		if (send_packet(end, packet, now) < 0)
			end->counters.refused++;
		ingress_packet_return(packet);
	}
}

/* ---- a round ---------------------------------------------------------------------------------------------------- */

void inner_end_hand_out(struct inner_end *end, const struct iovec *pieces, int count, size_t len)
{
	struct inner_world *world = end->world;
	const struct super_limits limits = {
		world->options.mtu_bytes, end->node ? 0 : SUPER_PACKET_BYTES_MAX};
	static uint8_t packet[MESSAGE_BYTES_MAX], segment[MESSAGE_BYTES_MAX];
	struct super_packet whole;
	const uint8_t *bytes = pieces[0].iov_base;
	size_t at = 0;

	for (int i = 0; count > 1 && i < count; i++) {
		memcpy(packet + at, pieces[i].iov_base, pieces[i].iov_len);
		at += pieces[i].iov_len;
		bytes = packet;
	}
	if (super_message_parse(bytes, len, &limits, &whole) != SUPER_OK)
		inner_world_fail(world, "a message is no packet");
	for (uint16_t i = 0; i < whole.segments; i++) {
		size_t bytes_out = super_packet_write(&whole, i, 1, true, segment);
		end->counters.out_packets++;
		end->counters.out_bytes += bytes_out;
		if (world->watch)
			world->watch(world->watch_ctx, end->tunnel, end->side, segment, bytes_out);
		inner_world_hand_in(world, end->side, segment, bytes_out);
	}
}

static void read_messages(struct inner_end *end)
{
	struct iovec pieces[KCPVPN_NATIVE_PIECES_MAX];
	size_t len;
	int count;

	while ((count = kcpvpn_peer_recv_peek(end->peer, pieces, KCPVPN_NATIVE_PIECES_MAX, &len)) >
		0) {
		inner_end_hand_out(end, pieces, count, len);
		kcpvpn_peer_recv_drop(end->peer, end->world->now.us);
	}
}

static bool turn(struct inner_end *end)
{
	struct kcpvpn_peer *peer;
	unsigned events;
	bool any = false;

	kcpvpn_native_on_deadline(end->native, end->world->now.us);
	while ((peer = kcpvpn_native_next_event(end->native, &events)) != NULL) {
		any = true;
		if (events & KCPVPN_PEER_EVENT_READABLE)
			read_messages(end);
		if (events & (KCPVPN_PEER_EVENT_WRITABLE | KCPVPN_PEER_EVENT_STATE))
			end->pumping = true;
	}
	return any;
}

bool inner_end_serve(struct inner_end *end)
{
	struct inner_world *world = end->world;

	if ((!end->native && !end->node) ||
		(!end->touched && !mono_due(inner_end_next_deadline(end), world->now)))
		return false;
	end->touched = false;
	super_merge_flush(&end->sent);
	for (int i = 0; i < TURNS; i++) {
		bool any = end->node ? inner_kcp_go_turn(end) : turn(end);
		pump(end, world->now);
		if (end->node)
			kcpvpn_node_flush(end->node, world->now.us);
		else
			kcpvpn_native_flush(end->native, world->now.us);
		if (!any)
			break;
	}
	return true;
}

/* ---- making it -------------------------------------------------------------------------------------------------- */

static void private_key(const struct inner_end *end, uint8_t ret[KCPVPN_NATIVE_KEY_BYTES])
{
	memset(ret, (int)(0x40 + 2 * end->tunnel + end->side), KCPVPN_NATIVE_KEY_BYTES);
}

void inner_end_start(struct inner_world *world, size_t tunnel, size_t side)
{
	struct inner_end *end = &world->ends[tunnel][side];
	struct ingress_options queue = INGRESS_DEFAULTS;
	const struct rand_source random = {fill_random, end};
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES];

	*end = (struct inner_end){
		.world = world,
		.tunnel = tunnel,
		.side = side,
		.port = {inner_world_port_send, end},
		.address = {.address = {192, 0, 2, (uint8_t)(10 * tunnel + side + 1)},
			.port = 29900,
			.family = 4},
		.random = inner_world_random(world),
		.tuned_at = world->now,
		.expired_at = world->now,
	};
	pool_init(&end->packets, ingress_slot_bytes(SLOT_BYTES), QUEUED_MAX);
	pool_init(&end->long_packets, ingress_slot_bytes(MESSAGE_BYTES), QUEUED_MAX);
	if (super_merge_init(&end->sent, queue_packet, end, true) < 0)
		inner_world_fail(world, "no memory");
	ingress_init(&end->queue, &queue, &random);
	if (world->options.kcp_go) {
		inner_kcp_go_start(end, world->options.kcp_go, fill_random);
		return;
	}
	private_key(end, key);
	struct kcpvpn_native_config config = {
		.private_key = key,
		.datagram_max_bytes = INNER_WORLD_DATAGRAM_MAX,
		.peers_max = 2,
		.memory_max_bytes = MEMORY_BYTES,
		.super_max_bytes = world->options.offload_off ? 0 : SUPER_PACKET_BYTES_MAX,
		.realtime_us = realtime,
		.random = fill_random,
		.ctx = end,
	};
	if (kcpvpn_native_new(&config, world->now.us, &end->native) < 0)
		inner_world_fail(world, "a node does not start");
}

void inner_end_introduce(struct inner_world *world, size_t tunnel, size_t side)
{
	struct inner_end *end = &world->ends[tunnel][side], *other = &world->ends[tunnel][1 - side];
	uint8_t secret[KCPVPN_NATIVE_KEY_BYTES], key[KCPVPN_NATIVE_KEY_BYTES];
	struct kcpvpn_target target = {other->address, &end->port};
	struct kcpvpn_peer_config config = {
		.public_key = key,
		.tun_mtu = world->options.mtu_bytes,
		.dead_after_us = DEAD_AFTER_US,
		.roaming = true,
		.persistent = side == 0,
	};

	if (end->node) {
		inner_kcp_go_introduce(end, &other->address);
		return;
	}
	if (!world->options.fec_off)
		config.fec = (struct kcpvpn_fec_config){KCPVPN_FEC_ADAPTIVE, 10, 3, 30, 2000};

	private_key(other, secret);
	kcpvpn_native_public_half(secret, key);
	if (kcpvpn_native_add_peer(end->native, &config, world->now.us, &end->peer) < 0)
		inner_world_fail(world, "a node does not take its peer");
	if (side == 0)
		kcpvpn_peer_set_targets(end->peer, &target, 1, world->now.us);
	kcpvpn_peer_up(end->peer, world->now.us);
	end->touched = true;
}

void inner_end_stop(struct inner_end *end)
{
	kcpvpn_native_free(end->native);
	kcpvpn_node_free(end->node);
	ingress_fini(&end->queue);
	pool_fini(&end->packets);
	pool_fini(&end->long_packets);
	super_merge_fini(&end->sent);
}
