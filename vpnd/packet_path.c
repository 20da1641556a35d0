/*
 * Packets are read into slots of a pool and stay there until the wire takes them; the other way they go from the
 * conversation's segments to the device without a copy of their own (a message of one segment; others are put
 * together first).
 *
 * Whatever the two sides send is judged here, once, for every wire. A packet from a peer must be exactly one IP packet
 * and come from an address that `allowed_ips` gives to that peer; a packet from the host goes to the peer that owns
 * its destination.
 *
 * All queues share the slots. When these are used up, room is made in the longest queue: a peer that is up but takes
 * nothing, because its path or itself is stuck, costs the others nothing but what they would not need. Finding the
 * longest takes a walk over the peers that have something waiting, so one walk makes room for many packets.
 */
#include "vpnd/packet_path.h"

#include "core/icmp_error.h"
#include "core/tcp_mss.h"
#include "vpnd/peer.h"
#include "vpnd/tun.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

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
	allowed_ips_fini(&path->owners);
	pool_fini(&path->packets);
}

/*
 * Tells the inner sender, at a bounded rate, in the name of the destination: the host refuses what comes in from one of
 * its own addresses, and the way back to the destination leads through this device, so that rp_filter lets it in.
 */
static void send_icmp(struct packet_path *path, enum icmp_error error, uint16_t mtu_bytes,
	const uint8_t *packet, const struct ip_header *header, struct mono now)
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
	if (tun_write(path->tun, &piece, 1) == 0)
		path->counters.icmp_sent++;
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

/* A packet that routers may cut travels in pieces instead, if it fits the device and the peer. */
static bool too_big(const struct packet_path *path, const struct peer *peer, uint16_t mtu_bytes,
	const struct ingress_packet *packet, const struct ip_header *header)
{
	bool may_be_cut = header->version == 4 && !header->dont_fragment;

	if (packet->len <= mtu_bytes)
		return false;
	return !may_be_cut || packet->len > path->mtu_bytes ||
	       (peer->most_bytes > 0 && packet->len > peer->most_bytes);
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

/* Queues a packet, behind no others that are too old to be sent. Takes the slot. */
static void queue_packet(struct packet_path *path, struct peer *peer, struct ingress_packet *packet,
	const struct ip_header *header, struct mono now)
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
	(void)ingress_push(queue, packet, header, now);
	if (!list_linked(&peer->in_waiting))
		list_add_tail(&path->waiting, &peer->in_waiting);
	packet_path_writable(path, peer);
}

/* Queues one packet from the host, or drops it and says why. Takes the slot. */
static void route_packet(struct packet_path *path, struct ingress_packet *packet, struct mono now)
{
	struct ip_header header;
	enum ip_verdict verdict = ip_header_parse(packet->data, packet->len, &header);

	if (verdict != IP_OK) {
		/* Longer than the slot: the device's MTU is larger than ours for a moment (somebody changed it). */
		path->counters.malformed[verdict]++;
		pool_return(&path->packets, packet);
		return;
	}
	struct peer *peer = allowed_ips_lookup(&path->owners, header.version, header.dst);
	if (!peer) {
		if (is_group_or_local(&header)) {
			path->counters.multicast++;
		} else {
			path->counters.no_peer++;
			send_icmp(path, ICMP_ERROR_NO_ROUTE, 0, packet->data, &header, now);
		}
		pool_return(&path->packets, packet);
		return;
	}
	if (!peer_wanted(peer)) {
		peer->counters.drops[PEER_DROP_OUT_DOWN]++;
		send_icmp(path, ICMP_ERROR_PROHIBITED, 0, packet->data, &header, now);
		pool_return(&path->packets, packet);
		return;
	}
	uint16_t mtu_bytes = mtu_of(path, peer);
	if (too_big(path, peer, mtu_bytes, packet, &header)) {
		peer->counters.drops[PEER_DROP_OUT_TOO_BIG]++;
		send_icmp(path, ICMP_ERROR_TOO_BIG, mtu_bytes, packet->data, &header, now);
		pool_return(&path->packets, packet);
		return;
	}
	(void)tcp_mss_clamp(packet->data, &header, mtu_bytes);
	queue_packet(path, peer, packet, &header, now);
}

/*
 * Reads the next packet where no slot is free: nothing is dropped for a packet that is not there.
 *
 * @ret_packet  NULL = there was no memory for it
 * @return      as tun_read()
 */
static ssize_t read_crowded(struct packet_path *path, struct ingress_packet **ret_packet)
{
	ssize_t n = tun_read(path->tun, path->scratch, slot_room(path));

	*ret_packet = NULL;
	if (n <= 0)
		return n;
	make_room(path);
	*ret_packet = ingress_packet_take(&path->packets);
	if (*ret_packet)
		memcpy((*ret_packet)->data, path->scratch, (size_t)n);
	else
		path->counters.no_memory++;
	return n;
}

int packet_path_read_tun(struct packet_path *path, struct mono now)
{
	for (int i = 0; i < PACKET_PATH_TUN_BATCH; i++) {
		struct ingress_packet *packet = ingress_packet_take(&path->packets);
		ssize_t n = packet ? tun_read(path->tun, packet->data, packet->capacity)
				   : read_crowded(path, &packet);
		if (n <= 0) {
			pool_return(&path->packets, packet);
			return n == -ENODEV ? -ENODEV : 0;
		}
		if (!packet)
			continue;
		packet->len = (uint32_t)n;
		route_packet(path, packet, now);
	}
	return 0;
}

void packet_path_writable(struct packet_path *path, struct peer *peer)
{
	if (!list_linked(&peer->in_pump) && !ingress_empty(&peer->queue))
		list_add_tail(&path->pump, &peer->in_pump);
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
	ingress_follow(&peer->queue, &measured, path->mtu_bytes);
}

void packet_path_pump(struct packet_path *path, struct mono now)
{
	struct list *at;

	while ((at = list_pop(&path->pump)) != NULL) {
		struct peer *peer = list_entry(at, struct peer, in_pump);
		tune_queue(path, peer, now);
		while (path->wire->ops->ready(path->wire, peer)) {
			struct ingress_packet *packet = ingress_pop(&peer->queue, now);
			if (!packet)
				break;
			peer->queue_us = mono_diff_us(now, packet->queued_at);
			if (path->wire->ops->send(path->wire, peer, packet->data, packet->len) ==
				0) {
				peer->counters.tx_packets++;
				peer->counters.tx_bytes += packet->len;
			} else {
				peer->counters.drops[PEER_DROP_OUT_REFUSED]++;
			}
			pool_return(&path->packets, packet);
		}
	}
}

void packet_path_rest(struct packet_path *path, struct peer *peer, struct mono now)
{
	(void)path;
	ingress_expire(&peer->queue, now);
	if (ingress_empty(&peer->queue))
		list_remove(&peer->in_waiting);
	ingress_trim(&peer->queue);
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

void packet_path_received(struct packet_path *path, struct peer *peer, const struct iovec *pieces,
	int count, size_t len)
{
	uint8_t *packet = gather(path, pieces, count, len);
	struct ip_header header;

	if (!packet || ip_header_parse(packet, len, &header) != IP_OK) {
		peer->counters.drops[PEER_DROP_IN_MALFORMED]++;
		return;
	}
	if (allowed_ips_lookup(&path->owners, header.version, header.src) != peer) {
		peer->counters.drops[PEER_DROP_IN_SOURCE]++;
		return;
	}
	if (is_opening(&header))
		return;
	(void)tcp_mss_clamp(packet, &header, mtu_of(path, peer));
	struct iovec whole = {packet, len};
	if (tun_write(path->tun, &whole, 1) < 0) {
		peer->counters.drops[PEER_DROP_IN_TUN]++;
		return;
	}
	peer->counters.rx_packets++;
	peer->counters.rx_bytes += len;
}
