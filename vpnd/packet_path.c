/*
 * Packets are read into one buffer, judged there, and copied into slots of pools, where they stay until the wire takes
 * them; long ones even then, until the peer has them. The other way they go from the conversation's segments to the device without a copy of their own (a message of
 * one segment; others are put together first). The buffer is itself a slot for a long message: a super-packet that may go
 * whole stays where it is, and the next packet is read into another slot.
 *
 * Whatever the two sides send is judged here, once, for every wire. A packet from a peer must be exactly one IP packet
 * and come from an address that `allowed_ips` gives to that peer; a packet from the host goes to the peer that owns
 * its destination.
 *
 * A device with offloads gives super-packets, and packets whose checksum is open (core/super_packet.h). A super-packet is cut
 * at once into messages that take the path half a millisecond at most: so a long one does not hold up the packets of others,
 * whose turn comes between two messages, and what waits can be dropped or marked in small parts. To a peer that takes none, or
 * on a path below 24 Mb/s, that is a message a segment, with checksums written; from 1 Gb/s on super-packets go whole, and the
 * other side's host has one packet to take, and to acknowledge, for each that this one gave. The rate is the measured one: a
 * path that is not known yet is taken for a slow one.
 *
 * What waits in the device is read in portions of what a core has in its own cache, and each portion is handed to the wire before
 * the next is read. Read at once, megabytes of it would be fetched from memory again when their turn comes. But the device has no
 * turns for flows and nobody who tells senders that it is full, so what is left there must not stay: as long as a portion was not
 * all, the next is twice as large.
 *
 * The other way a super-packet goes to the device as it came, and is cut where the device has no offloads. Plain packets of a flow
 * that come in one batch are put together first, because a write costs the host as much for one as for many. Nothing
 * waits for that: packet_path_flush() ends the batch.
 *
 * All queues share the slots. When these are used up, room is made in the longest queue: a peer that is up but takes
 * nothing, because its path or itself is stuck, costs the others nothing but what they would not need. Finding the
 * longest takes a walk over the peers that have something waiting, so one walk makes room for many packets. Where the
 * slots for long messages are used up nothing is dropped: then short ones are made.
 */
#include "vpnd/packet_path.h"

#include "core/icmp_error.h"
#include "core/stage_clock.h"
#include "core/super_message.h"
#include "core/super_virtio.h"
#include "core/tcp_mss.h"
#include "vpnd/peer.h"
#include "vpnd/tun.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

_Static_assert(
	(int)INGRESS_HEADROOM_BYTES + SUPER_MESSAGE_OVERHEAD_BYTES >= VIRTIO_NET_HEADER_BYTES &&
		(int)PACKET_PATH_FRONT_BYTES >= VIRTIO_NET_HEADER_BYTES,
	"what tun_read() puts in front of a packet");

void packet_path_init(
	struct packet_path *path, struct tun *tun, uint16_t mtu_bytes, struct mono now)
{
	memset(path, 0, sizeof(*path));
	path->tun = tun;
	path->mtu_bytes = mtu_bytes;
	path->icmp_tokens = PACKET_PATH_ICMP_BURST;
	path->icmp_refilled_at = now;
	allowed_ips_init(&path->owners);
	list_init(&path->pump);
	list_init(&path->waiting);
	/* At least one byte more than the MTU, so that a packet that is longer shows as cut. */
	size_t room =
		mtu_bytes < PACKET_PATH_SLOT_BYTES ? PACKET_PATH_SLOT_BYTES : (size_t)mtu_bytes + 1;
	pool_init(&path->packets, ingress_slot_bytes(room), PACKET_PATH_QUEUED_MAX);
	pool_init(&path->long_packets, ingress_slot_bytes(PACKET_PATH_MESSAGE_BYTES),
		PACKET_PATH_MESSAGES_MAX);
}

/* Room for one packet in a slot. */
static size_t slot_room(const struct packet_path *path)
{
	return path->packets.slot_bytes - ingress_slot_bytes(0);
}

void packet_path_set_mtu(struct packet_path *path, uint16_t mtu_bytes)
{
	size_t room = slot_room(path);

	path->mtu_bytes = mtu_bytes < room ? mtu_bytes : (uint16_t)(room - 1);
}

void packet_path_fini(struct packet_path *path)
{
	if (path->merging)
		super_merge_fini(&path->merge);
	allowed_ips_fini(&path->owners);
	ingress_packet_return(path->spare);
	pool_fini(&path->packets);
	pool_fini(&path->long_packets);
}

/*
 * Tells the inner sender, at a bounded rate, in the name of the destination: the host refuses what comes in from one of
 * its own addresses, and the way back to the destination leads through this device, so that rp_filter lets it in.
 */
static void send_icmp(struct packet_path *path, struct tun *tun, enum icmp_error error,
	uint16_t mtu_bytes, const uint8_t *packet, const struct ip_header *header, struct mono now)
{
	uint8_t message[ICMP_ERROR_BYTES_MAX];
	int64_t fresh =
		mono_diff_us(now, path->icmp_refilled_at) * PACKET_PATH_ICMP_PER_S / 1000000;

	if (fresh > 0) {
		int64_t tokens = path->icmp_tokens + fresh;
		path->icmp_tokens =
			tokens < PACKET_PATH_ICMP_BURST ? (uint32_t)tokens : PACKET_PATH_ICMP_BURST;
		path->icmp_refilled_at = now;
	}
	if (path->icmp_tokens == 0) {
		path->counters.icmp_limited++;
		return;
	}
	size_t len = icmp_error_build(error, mtu_bytes, packet, header, header->dst, message);
	if (len == 0)
		return;
	struct iovec piece = {message, len};
	path->icmp_tokens--;
	enum stage before = stage_enter(path->stages, STAGE_TUN_WRITE);
	if (tun_write(tun, &piece, 1) == 0)
		path->counters.icmp_sent++;
	(void)stage_enter(path->stages, before);
}

static bool is_group_or_local(const struct ip_header *header)
{
	const uint8_t *dst = header->dst;

	if (header->version == 4)
		return dst[0] >= 224; /* multicast, reserved, broadcast */
	return dst[0] == 0xff || (dst[0] == 0xfe && (dst[1] & 0xc0) == 0x80);
}

/*
 * What inner senders are told as the MTU towards a peer: that of its path, but no less than IPv6 needs, because what is
 * longer can travel in pieces; and never more than the device or the peer itself take.
 */
static uint16_t mtu_of(const struct packet_path *path, const struct peer *peer)
{
	uint32_t mtu = path->mtu_bytes, measured = peer->path_mtu_bytes;

	if (measured > 0 && measured < PACKET_PATH_PEER_MTU_MIN)
		measured = PACKET_PATH_PEER_MTU_MIN;
	if (measured > 0 && measured < mtu)
		mtu = measured;
	if (peer->most_bytes > 0 && peer->most_bytes < mtu)
		mtu = peer->most_bytes;
	return (uint16_t)mtu;
}

/* A packet that routers may cut travels in pieces instead, if it fits the device and the peer. Of a super-packet that is
   asked of each segment. */
static bool too_big(const struct packet_path *path, const struct peer *peer, uint16_t mtu_bytes,
	const struct super_packet *packet)
{
	bool may_be_cut = packet->ip.version == 4 && !packet->ip.dont_fragment;
	uint32_t bytes = super_packet_range_bytes(packet, 0, 1);

	if (bytes <= mtu_bytes)
		return false;
	return !may_be_cut || bytes > path->mtu_bytes ||
	       (peer->most_bytes > 0 && bytes > peer->most_bytes);
}

/* @return the queue with the most packets, NULL if nothing waits */
static struct ingress *longest_queue(struct packet_path *path)
{
	struct ingress *longest = NULL;

	list_for_each_safe (at, &path->waiting) {
		struct peer *peer = list_entry(at, struct peer, in_waiting);
		if (ingress_empty(&peer->queue))
			list_remove(at);
		else if (!longest || peer->queue.backlog_packets > longest->backlog_packets)
			longest = &peer->queue;
	}
	return longest;
}

/*
 * Drops packets of the longest queue. If that is short there are very many, and each that is half as long at least loses
 * a packet, until the walk has paid.
 */
static void make_room(struct packet_path *path)
{
	struct ingress *longest = longest_queue(path);

	if (!longest)
		return;
	size_t half = longest->backlog_packets / 2;
	size_t room = ingress_drop_longest(longest, PACKET_PATH_ROOM_BATCH);
	list_for_each (at, &path->waiting) {
		struct ingress *queue = &list_entry(at, struct peer, in_waiting)->queue;
		if (room >= PACKET_PATH_ROOM_BATCH / 4)
			break;
		if (queue->backlog_packets > half)
			room += ingress_drop_longest(queue, 1);
	}
}

/* Makes room in a queue that holds what is too old, or that nobody takes from. */
static void tidy_queue(struct packet_path *path, struct peer *peer, struct mono now)
{
	struct ingress *queue = &peer->queue;

	/* Nobody takes packets out of the queue of a peer that is away: it must not use up what the others need. */
	if (queue->backlog_packets >= PACKET_PATH_AWAY_MAX &&
		path->wire->ops->peer_state(path->wire, peer) != WIRE_PEER_UP)
		ingress_clear(queue);
	/* One that is up may take none for long; looked at now and then, as it costs a walk over the flows. */
	if (!ingress_empty(queue) &&
		mono_diff_us(now, peer->expired_at) > queue->options.wait_max_us) {
		peer->expired_at = now;
		ingress_expire(queue, now);
	}
}

/* How many segments from `first` on go into the next message, and a slot for it, NULL without memory. */
static struct ingress_packet *take_slot(struct packet_path *path, const struct peer *peer,
	const struct super_packet *packet, uint16_t first, uint16_t *ret_count)
{
	struct ingress_packet *slot = NULL;

	*ret_count = 1;
	if (peer->message_bytes > 0)
		*ret_count = super_message_fit(packet, first, peer->message_bytes);
	if (*ret_count > 1)
		slot = ingress_packet_take(&path->long_packets);
	if (slot)
		return slot;
	*ret_count = 1;
	slot = ingress_packet_take(&path->packets);
	if (slot)
		return slot;
	make_room(path);
	return ingress_packet_take(&path->packets);
}

/* A path may take less than when a message was made for it, but no part of one: so it is asked for the longest that waits. */
static void push(struct peer *peer, struct ingress_packet *message, const struct ip_header *header,
	struct mono now)
{
	if (message->len > peer->longest_bytes)
		peer->longest_bytes = message->len;
	(void)ingress_push(&peer->queue, message, header, now);
}

/* A super-packet that goes whole stays where it was read. @return  NULL if it must be copied */
static struct ingress_packet *keep_spare(
	struct packet_path *path, const struct peer *peer, const struct super_packet *packet)
{
	struct ingress_packet *spare = path->spare;
	uint8_t header[SUPER_PACKET_HEADER_BYTES_MAX];

	if (packet->segments == 1 || !spare ||
		packet->bytes != spare->data + SUPER_MESSAGE_OVERHEAD_BYTES ||
		super_message_fit(packet, 0, peer->message_bytes) < packet->segments)
		return NULL;
	size_t header_bytes = super_packet_write_header(packet, 0, packet->segments, header);
	memcpy(spare->data + SUPER_MESSAGE_OVERHEAD_BYTES, header, header_bytes);
	spare->ip_at = (uint16_t)super_message_write_prefix(packet, packet->segments, spare->data);
	spare->len = spare->ip_at + packet->length_bytes;
	spare->segments = packet->segments;
	path->spare = NULL;
	return spare;
}

/* Queues a packet, in messages of what the path carries in a moment, behind no others that are too old to be sent. */
static void queue_packet(struct packet_path *path, struct peer *peer,
	const struct super_packet *packet, struct mono now)
{
	struct ingress_packet *whole = keep_spare(path, peer, packet);
	uint16_t count = packet->segments;

	tidy_queue(path, peer, now);
	if (whole) {
		push(peer, whole, &packet->ip, now);
		goto wake;
	}
	for (uint16_t first = 0; first < packet->segments; first = (uint16_t)(first + count)) {
		struct ingress_packet *slot = take_slot(path, peer, packet, first, &count);
		if (!slot || super_message_bytes(packet, first, count) > slot->capacity) {
			ingress_packet_return(slot);
			path->counters.no_memory += count;
			continue;
		}
		slot->len = (uint32_t)super_message_write(
			packet, first, count, slot->data, &slot->ip_at);
		slot->segments = count;
		push(peer, slot, &packet->ip, now);
	}
wake:
	if (!list_linked(&peer->in_waiting))
		list_add_tail(&path->waiting, &peer->in_waiting);
	packet_path_writable(path, peer);
}

/* Clamps a SYN, whose checksum must be written for that. @bytes  the packet's own */
static void clamp_mss(struct super_packet *packet, uint8_t *bytes, uint16_t mtu_bytes)
{
	if (packet->ip.protocol != IP_PROTOCOL_TCP || !(packet->ip.tcp_flags & IP_TCP_SYN) ||
		packet->ip.fragment)
		return;
	if (packet->kind == SUPER_PACKET_PARTIAL) {
		super_packet_complete(packet, bytes);
		(void)super_packet_parse(
			bytes, packet->length_bytes, SUPER_PACKET_PLAIN, 0, packet);
	}
	if (packet->kind == SUPER_PACKET_PLAIN)
		(void)tcp_mss_clamp(bytes, &packet->ip, mtu_bytes);
}

/*
 * Queues one packet from the host, which lies at `bytes`, or drops it and says why.
 *
 * @tun, @peer  as for read_tun()
 */
static void route_packet(struct packet_path *path, struct tun *tun, struct peer *peer,
	struct super_packet *packet, uint8_t *bytes, struct mono now)
{
	const struct ip_header *header = &packet->ip;

	if (!peer)
		peer = allowed_ips_lookup(&path->owners, header->version, header->dst);
	if (!peer) {
		if (is_group_or_local(header)) {
			path->counters.multicast++;
		} else {
			path->counters.no_peer++;
			send_icmp(path, tun, ICMP_ERROR_NO_ROUTE, 0, packet->bytes, header, now);
		}
		return;
	}
	if (!peer_wanted(peer)) {
		peer->counters.drops[PEER_DROP_OUT_DOWN] += packet->segments;
		send_icmp(path, tun, ICMP_ERROR_PROHIBITED, 0, packet->bytes, header, now);
		return;
	}
	uint16_t mtu_bytes = mtu_of(path, peer);
	if (too_big(path, peer, mtu_bytes, packet)) {
		peer->counters.drops[PEER_DROP_OUT_TOO_BIG] += packet->segments;
		send_icmp(path, tun, ICMP_ERROR_TOO_BIG, mtu_bytes, packet->bytes, header, now);
		return;
	}
	clamp_mss(packet, bytes, mtu_bytes);
	wake_pace_sent(&path->pace);
	queue_packet(path, peer, packet, now);
}

/* Where the next packet from the host goes, with room for the longest. */
static uint8_t *reading_place(struct packet_path *path, const struct tun *tun)
{
	if (!path->spare && tun->offload)
		path->spare = ingress_packet_take(&path->long_packets);
	return path->spare ? path->spare->data + SUPER_MESSAGE_OVERHEAD_BYTES
			   : path->scratch + PACKET_PATH_FRONT_BYTES;
}

/* What was read last. @return it for route_packet(); false if it is none */
static bool parse_read(struct packet_path *path, const struct virtio_net_header *header,
	uint8_t *bytes, size_t len, struct super_packet *ret_packet)
{
	struct ip_header ip;
	enum super_verdict verdict = super_virtio_read(header, bytes, len, ret_packet);

	if (verdict == SUPER_BAD_IP)
		path->counters.malformed[ip_header_parse(bytes, len, &ip)]++;
	else if (verdict != SUPER_OK)
		path->counters.super[verdict]++;
	return verdict == SUPER_OK;
}

/* @peer  whose device it is; NULL = it serves all */
static int read_tun(struct packet_path *path, struct tun *tun, struct peer *peer, struct mono now)
{
	enum stage before = stage_enter(path->stages, STAGE_TUN_READ);
	size_t most = tun->portion_bytes ? tun->portion_bytes : PACKET_PATH_TUN_BATCH_BYTES;
	size_t bytes = 0;
	ssize_t n = 0;

	for (int i = 0; i < PACKET_PATH_TUN_BATCH && bytes < most; i++) {
		struct virtio_net_header header;
		struct super_packet packet;
		uint8_t *place = reading_place(path, tun);
		n = tun_read(tun, place, PACKET_PATH_WHOLE_BYTES - SUPER_MESSAGE_OVERHEAD_BYTES,
			&header);
		if (n == -EBADMSG)
			continue;
		if (n <= 0)
			break;
		bytes += (size_t)n;
		stage_did(path->stages, 1);
		(void)stage_enter(path->stages, STAGE_QUEUE);
		if (parse_read(path, &header, place, (size_t)n, &packet))
			route_packet(path, tun, peer, &packet, place, now);
		(void)stage_enter(path->stages, STAGE_TUN_READ);
	}
	if (bytes < most)
		tun->portion_bytes = 0;
	else if (most < PACKET_PATH_TUN_BATCH_MOST)
		tun->portion_bytes = 2 * most;
	(void)stage_enter(path->stages, before);
	return n == -ENODEV ? -ENODEV : 0;
}

int packet_path_read_tun(struct packet_path *path, struct mono now)
{
	return read_tun(path, path->tun, NULL, now);
}

int packet_path_read_peer_tun(struct packet_path *path, struct peer *peer, struct mono now)
{
	return read_tun(path, &peer->tun, peer, now);
}

void packet_path_writable(struct packet_path *path, struct peer *peer)
{
	if (!list_linked(&peer->in_pump) && !ingress_empty(&peer->queue))
		list_add_tail(&path->pump, &peer->in_pump);
}

/* How long messages may be for a peer: what its path carries in a moment, if it takes super-packets. */
static uint32_t message_bytes(const struct peer *peer, uint64_t rate_bps)
{
	uint64_t bytes = rate_bps / 8 * PACKET_PATH_MESSAGE_US / 1000000;

	if (bytes > PACKET_PATH_MESSAGE_BYTES)
		bytes = PACKET_PATH_MESSAGE_BYTES;
	return bytes < peer->super_bytes_max ? (uint32_t)bytes : peer->super_bytes_max;
}

/*
 * The queue follows the path: CoDel's interval is about a round trip, three of them here, because retransmission under
 * the inner flows stretches theirs; its target is no less than the time of one and a half packets on the wire.
 */
static void tune_queue(struct packet_path *path, struct peer *peer, struct mono now)
{
	struct ingress_path measured;

	if (mono_diff_us(now, peer->tuned_at) < PACKET_PATH_TUNE_US ||
		!path->wire->ops->path(path->wire, peer, &measured))
		return;
	peer->tuned_at = now;
	peer->message_bytes = message_bytes(peer, measured.rate_bps);
	ingress_follow(&peer->queue, &measured, path->mtu_bytes);
}

/* Whether the wire may keep it where it is. Messages that wait must find room, too. */
static bool may_lend(const struct packet_path *path, const struct ingress_packet *packet)
{
	return path->wire->ops->lend && packet->pool == &path->long_packets &&
	       packet->len >= PACKET_PATH_LENT_BYTES &&
	       path->long_packets.slots_used <= PACKET_PATH_LENT_MAX;
}

/* Takes the packet. */
static void send_message(struct packet_path *path, struct peer *peer, struct ingress_packet *packet)
{
	const struct wire_ops *ops = path->wire->ops;
	/* It may have been there for another that was at its place before: an older version, or another wire. */
	bool understood = packet->ip_at == 0 || peer->super_bytes_max > 0;
	bool lent = understood && may_lend(path, packet);
	uint16_t segments = packet->segments;
	uint32_t len = packet->len;
	int error = -EINVAL;

	if (lent)
		error = ops->lend(path->wire, peer, packet);
	else if (understood)
		error = ops->send(path->wire, peer, packet->data, packet->len);
	if (error == 0) {
		peer->counters.tx_packets += segments;
		peer->counters.tx_bytes += len;
	} else {
		peer->counters.drops[PEER_DROP_OUT_REFUSED] += segments;
	}
	if (!lent || error != 0)
		ingress_packet_return(packet);
}

void packet_path_pump(struct packet_path *path, struct mono now)
{
	enum stage before = stage_enter(path->stages, STAGE_QUEUE);
	struct list *at;

	while ((at = list_pop(&path->pump)) != NULL) {
		struct peer *peer = list_entry(at, struct peer, in_pump);
		tune_queue(path, peer, now);
		while (path->wire->ops->ready(path->wire, peer)) {
			struct ingress_packet *packet = ingress_pop(&peer->queue, now);
			if (ingress_empty(&peer->queue))
				peer->longest_bytes = 0;
			if (!packet)
				break;
			peer->queue_us = mono_diff_us(now, packet->queued_at);
			send_message(path, peer, packet);
		}
	}
	(void)stage_enter(path->stages, before);
}

void packet_path_put(struct packet_path *path, struct peer *peer, const void *message, size_t len,
	struct mono now)
{
	const struct super_limits limits = {UINT16_MAX, UINT16_MAX};
	struct super_packet packet;

	if (super_message_parse(message, len, &limits, &packet) != SUPER_OK)
		return;
	/* It may have waited while addresses were given to others. */
	if (allowed_ips_lookup(&path->owners, packet.ip.version, packet.ip.dst) != peer) {
		path->counters.no_peer++;
		return;
	}
	queue_packet(path, peer, &packet, now);
}

void packet_path_rest(struct packet_path *path, struct peer *peer, struct mono now)
{
	(void)path;
	ingress_expire(&peer->queue, now);
	if (ingress_empty(&peer->queue))
		list_remove(&peer->in_waiting);
	ingress_trim(&peer->queue);
}

void packet_path_trim(struct packet_path *path)
{
	ingress_packet_return(path->spare);
	path->spare = NULL;
	pool_trim_unused(&path->packets, 0);
	pool_trim_unused(&path->long_packets, 0);
}

/* The message as one run of bytes: as it lies, or put together in the scratch buffer. NULL if it is too long. */
static uint8_t *gather(struct packet_path *path, const struct iovec *pieces, int count, size_t len)
{
	if (count == 1)
		return pieces[0].iov_base;
	if (count < 1 || len > sizeof(path->scratch))
		return NULL;
	size_t at = 0;
	for (int i = 0; i < count; i++) {
		memcpy(path->scratch + at, pieces[i].iov_base, pieces[i].iov_len);
		at += pieces[i].iov_len;
	}
	return path->scratch;
}

struct peer *packet_path_owner(
	struct packet_path *path, const struct iovec *pieces, int count, size_t len)
{
	const uint8_t *packet = gather(path, pieces, count, len);
	struct ip_header header;

	if (!packet || ip_header_parse(packet, len, &header) != IP_OK)
		return NULL;
	return allowed_ips_lookup(&path->owners, header.version, header.src);
}

/* An opening packet: a bare header to oneself, for the one purpose that the other side learns who calls. */
static bool is_opening(const struct ip_header *header)
{
	return header->protocol == IP_PROTOCOL_NONE &&
	       header->length_bytes == header->transport_bytes &&
	       memcmp(header->src, header->dst, sizeof(header->src)) == 0;
}

/* Each segment for itself: the device has no offloads, or not that one. @return 0 or the first failure */
static int write_segments(
	struct packet_path *path, struct tun *tun, const struct super_packet *packet)
{
	int first_error = 0;

	for (uint16_t i = 0; i < packet->segments; i++) {
		size_t len = super_packet_write(packet, i, 1, true, path->segment);
		struct iovec whole = {path->segment, len};
		int error = tun_write(tun, &whole, 1);
		if (error < 0 && first_error == 0)
			first_error = error;
	}
	return first_error;
}

static int write_packet(
	struct packet_path *path, struct tun *tun, const struct super_packet *packet)
{
	struct iovec whole = {(void *)(uintptr_t)packet->bytes, packet->length_bytes};
	struct virtio_net_header header;

	if (packet->kind == SUPER_PACKET_PLAIN)
		return tun_write(tun, &whole, 1);
	if (tun->headers && super_virtio_describe(packet, tun->udp, &header))
		return tun_write_super(tun, &header, packet->bytes, packet->length_bytes);
	return write_segments(path, tun, packet);
}

/* Of the packets of one peer that were put together. */
static void on_merged(void *ctx, const struct super_packet *packet)
{
	struct packet_path *path = ctx;
	struct peer *peer = path->merge_peer;
	struct peer_counters *counters = &peer->counters;
	enum stage before = stage_enter(path->stages, STAGE_TUN_WRITE);
	int error = write_packet(path, peer->tun.ifindex > 0 ? &peer->tun : path->tun, packet);

	stage_did(path->stages, 1);
	(void)stage_enter(path->stages, before);
	if (error < 0) {
		counters->drops[PEER_DROP_IN_TUN] += packet->segments;
		return;
	}
	counters->rx_packets += packet->segments;
	counters->rx_bytes += packet->length_bytes;
}

void packet_path_flush(struct packet_path *path)
{
	if (!path->merge_peer)
		return;
	enum stage before = stage_enter(path->stages, STAGE_DELIVER);
	super_merge_flush(&path->merge);
	path->merge_peer = NULL;
	(void)stage_enter(path->stages, before);
}

/* Packets of a batch come peer by peer, so little is lost by putting together only what is of one. */
static void deliver(struct packet_path *path, struct peer *peer, const struct super_packet *packet)
{
	if (path->tun->offload && !path->merging)
		path->merging =
			super_merge_init(&path->merge, on_merged, path, path->tun->udp) == 0;
	if (path->merge_peer != peer)
		packet_path_flush(path);
	path->merge_peer = peer;
	if (path->merging)
		super_merge_push(&path->merge, packet);
	else
		on_merged(path, packet);
	if (!path->merging)
		path->merge_peer = NULL;
}

/* On a device of its own what is local to the link can be nobody's but the peer's: routing daemons speak from there. */
static bool may_send(
	const struct packet_path *path, const struct peer *peer, const struct ip_header *header)
{
	bool link_local =
		header->version == 6 && header->src[0] == 0xfe && (header->src[1] & 0xc0) == 0x80;

	if (peer->tun.ifindex > 0 && (path->unfiltered || link_local))
		return true;
	return allowed_ips_lookup(&path->owners, header->version, header->src) == peer;
}

static void take_from_peer(struct packet_path *path, struct peer *peer, const struct iovec *pieces,
	int count, size_t len)
{
	uint8_t *message = gather(path, pieces, count, len);
	enum super_verdict verdict = SUPER_TOO_LONG;
	struct super_packet packet;

	if (message)
		verdict = super_message_parse(message, len, &path->wire->takes, &packet);
	if (verdict != SUPER_OK) {
		peer->counters.drops[PEER_DROP_IN_MALFORMED]++;
		peer->counters.bad[verdict]++;
		return;
	}
	if (!may_send(path, peer, &packet.ip)) {
		peer->counters.drops[PEER_DROP_IN_SOURCE]++;
		return;
	}
	if (is_opening(&packet.ip))
		return;
	clamp_mss(&packet, message + (packet.bytes - message), mtu_of(path, peer));
	deliver(path, peer, &packet);
}

void packet_path_received(struct packet_path *path, struct peer *peer, const struct iovec *pieces,
	int count, size_t len)
{
	enum stage before = stage_enter(path->stages, STAGE_DELIVER);

	wake_pace_heard(&path->pace, &peer->heard_in);
	take_from_peer(path, peer, pieces, count, len);
	(void)stage_enter(path->stages, before);
}
