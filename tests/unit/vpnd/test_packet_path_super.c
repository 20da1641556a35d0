/* Super-packets on the packet path, between a fake host (a socket pair in place of the device) and a fake wire. */
#include "config/config.h"
#include "core/checksum.h"
#include "core/endian.h"
#include "core/rand.h"
#include "core/super_message.h"
#include "core/virtio_net_header.h"
#include "vpnd/packet_path.h"
#include "vpnd/peer.h"
#include "vpnd/tun.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	MTU = 1300,
	HEAD = VIRTIO_NET_HEADER_BYTES,
	HEADERS = 40, /* IPv4 and TCP */
	SEGMENT = 1000,
	SENT_MAX = 128,
	ROOM = 66000,
	SYN = 2,
	ACK = 16,
	PSH = 8,
};

static const char TEXT[] = "version: 1\n"
			   "wire: kcp-go\n"
			   "kcp_go: {key: secret, allow_unauthenticated: true}\n"
			   "interface: {addresses: [10.0.0.1/24]}\n"
			   "peers:\n"
			   "  a: {allowed_ips: [10.0.0.2]}\n";

struct sent {
	size_t len;
	uint8_t bytes[PACKET_PATH_MESSAGE_BYTES];
};

static struct {
	struct wire wire;
	bool ready;
	size_t room;	   /* for a message; 0 = any */
	uint64_t rate_bps; /* 0 = nothing is measured */
	bool refuses;
	struct ingress_packet *lent[PACKET_PATH_MESSAGES_MAX];
	size_t lent_count;
	struct sent sent[SENT_MAX];
	size_t count;
} wire;

static struct bench {
	struct config *config;
	struct tun tun;
	int host;
	struct packet_path path;
	struct peer *peer;
	struct mono now;
} b;

static uint8_t buf[ROOM], got[ROOM];

static bool ready(struct wire *w, struct peer *peer)
{
	(void)w;
	return wire.ready && (wire.room == 0 || peer->longest_bytes <= wire.room);
}

static enum wire_peer_state peer_state(const struct wire *w, const struct peer *peer)
{
	(void)w, (void)peer;
	return WIRE_PEER_UP;
}

static int send_packet(struct wire *w, struct peer *peer, const void *packet, size_t len)
{
	(void)w, (void)peer;
	cr_assert(wire.count < SENT_MAX && len <= PACKET_PATH_MESSAGE_BYTES);
	cr_assert(wire.room == 0 || len <= wire.room);
	memcpy(wire.sent[wire.count].bytes, packet, len);
	wire.sent[wire.count++].len = len;
	return 0;
}

static int lend_packet(struct wire *w, struct peer *peer, struct ingress_packet *packet)
{
	(void)w, (void)peer;
	if (wire.refuses)
		return -ENOBUFS;
	if (wire.count < SENT_MAX)
		(void)send_packet(w, peer, packet->data, packet->len);
	cr_assert(wire.lent_count < PACKET_PATH_MESSAGES_MAX);
	wire.lent[wire.lent_count++] = packet;
	return 0;
}

static void give_back(void)
{
	while (wire.lent_count > 0)
		ingress_packet_return(wire.lent[--wire.lent_count]);
}

static bool path_of(const struct wire *w, const struct peer *peer, struct ingress_path *ret_path)
{
	(void)w, (void)peer;
	*ret_path = (struct ingress_path){.srtt_us = 20000, .rate_bps = wire.rate_bps};
	return wire.rate_bps > 0;
}

static const struct wire_ops OPS = {
	.ready = ready, .send = send_packet, .peer_state = peer_state, .path = path_of};

static const struct wire_ops LENDING = {.ready = ready,
	.send = send_packet,
	.lend = lend_packet,
	.peer_state = peer_state,
	.path = path_of};

static void fill_random(void *ctx, void *at, size_t len)
{
	(void)ctx;
	memset(at, 7, len);
}

static void setup(bool headers)
{
	static struct config_report report;
	struct rand_source rnd = {fill_random, NULL};
	int pair[2], room = 4 << 20;

	memset(&wire, 0, sizeof(wire));
	memset(&b, 0, sizeof(b));
	cr_assert_eq(config_parse_text("t.yaml", TEXT, strlen(TEXT), NULL, &b.config, &report), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	(void)setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	(void)setsockopt(pair[1], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	b.tun = (struct tun){.fd = pair[0], .headers = headers, .offload = headers};
	b.host = pair[1];
	b.now = mono_at_us(1000000);
	wire.wire = (struct wire){.ops = &OPS, .takes = {MTU, SUPER_PACKET_BYTES_MAX}};
	wire.ready = true;
	packet_path_init(&b.path, &b.tun, MTU, b.now);
	b.path.wire = &wire.wire;
	b.peer = peer_new(&b.config->peers[0], &rnd);
	b.peer->super_bytes_max = SUPER_PACKET_BYTES_MAX;
	cr_assert_eq(allowed_ips_insert(
			     &b.path.owners, &b.config->peers[0].allowed_ips.items[0], b.peer),
		0);
}

static void teardown(void)
{
	packet_path_flush(&b.path);
	peer_free(b.peer);
	packet_path_trim(&b.path);
	cr_assert_eq(b.path.packets.slots_used + b.path.long_packets.slots_used, 0);
	packet_path_fini(&b.path);
	close(b.tun.fd);
	close(b.host);
	config_free(b.config);
}

/* TCP from 10.0.0.`from` to 10.0.0.`to`, its checksum partial. */
static size_t tcp(
	uint8_t *at, uint8_t from, uint8_t to, uint32_t seq, uint8_t flags, size_t payload)
{
	const uint8_t src[4] = {10, 0, 0, from}, dst[4] = {10, 0, 0, to};

	memset(at, 0, HEADERS);
	(void)ip_header_write(at, 4, src, dst, IP_PROTOCOL_TCP, 20 + payload);
	at[6] = 0x40;
	store_be16(at + 10, 0);
	store_be16(at + 10, checksum_finish(checksum_add(0, at, 20)));
	store_be16(at + 20, 5000);
	store_be16(at + 22, 80);
	store_be32(at + 24, seq);
	at[32] = 0x50;
	at[33] = flags;
	for (size_t i = 0; i < payload; i++)
		at[HEADERS + i] = (uint8_t)((seq + i) * 7 >> 3);
	store_be16(at + 36, (uint16_t)~checksum_finish(checksum_add_pseudo(
				    0, src, dst, 4, IP_PROTOCOL_TCP, (uint32_t)(20 + payload))));
	return HEADERS + payload;
}

/* A SYN with an MSS option. */
static size_t syn(uint8_t *at, uint8_t from, uint8_t to, uint16_t mss)
{
	size_t len = tcp(at, from, to, 1, SYN, 4);

	at[32] = 0x60;
	memcpy(at + HEADERS, (uint8_t[]){2, 4, (uint8_t)(mss >> 8), (uint8_t)mss}, 4);
	return len;
}

static bool sum_right(const uint8_t *packet, size_t len)
{
	uint32_t sum = checksum_add_pseudo(
		0, packet + 12, packet + 16, 4, packet[9], (uint32_t)(len - 20));

	return checksum_finish(checksum_add(sum, packet + 20, len - 20)) == 0 &&
	       checksum_finish(checksum_add(0, packet, 20)) == 0;
}

/* @segment  0 = one packet with a partial checksum */
static void give_host(uint8_t flags, size_t payload, uint16_t segment)
{
	const struct virtio_net_header header = {.flags = VIRTIO_NET_NEEDS_CHECKSUM,
		.gso_type = segment ? VIRTIO_NET_GSO_TCP4 : VIRTIO_NET_GSO_NONE,
		.segment_bytes = segment,
		.checksum_start = 20,
		.checksum_offset = 16};

	virtio_net_header_write(&header, buf, HEAD);
	size_t len = flags & SYN ? syn(buf + HEAD, 1, 2, 9000)
				 : tcp(buf + HEAD, 1, 2, 1, flags, payload);
	cr_assert_eq(send(b.host, buf, HEAD + len, 0), (ssize_t)(HEAD + len));
}

static void from_host(uint8_t flags, size_t payload, uint16_t segment)
{
	give_host(flags, payload, segment);
	cr_assert_eq(packet_path_read_tun(&b.path, b.now), 0);
}

static void pump(void)
{
	packet_path_writable(&b.path, b.peer);
	packet_path_pump(&b.path, b.now);
}

static void measured(uint64_t rate_bps)
{
	wire.rate_bps = rate_bps;
	from_host(ACK, 10, 0);
	pump(); /* the queue is told of the path */
	wire.count = 0;
}

static void from_peer(const uint8_t *message, size_t len)
{
	struct iovec piece = {(void *)(uintptr_t)message, len};

	packet_path_received(&b.path, b.peer, &piece, 1, len);
}

static size_t host_got(void)
{
	ssize_t n = recv(b.host, got, sizeof(got), 0);

	return n > 0 ? (size_t)n : 0;
}

Test(packet_path_super, an_unknown_path_gets_single_packets)
{
	struct super_packet p;

	setup(true);
	from_host(ACK | PSH, 10 * SEGMENT + 1, SEGMENT);
	cr_assert_eq(b.peer->queue.backlog_packets, 11);
	pump();
	cr_assert_eq(wire.count, 11);
	for (size_t i = 0; i < wire.count; i++) {
		const struct sent *s = &wire.sent[i];
		cr_assert_eq(s->len, i < 10 ? HEADERS + SEGMENT : HEADERS + 1);
		cr_assert(sum_right(s->bytes, s->len), "%zu", i);
		cr_assert_eq(load_be32(s->bytes + 24), 1 + i * SEGMENT);
		cr_assert_eq((s->bytes[33] & PSH) != 0, i == 10);
		cr_assert_eq(super_message_parse(s->bytes, s->len, &wire.wire.takes, &p), SUPER_OK);
	}
	cr_assert_eq(b.peer->counters.tx_packets, 11);
	cr_assert_eq(b.path.long_packets.slots_used, 1, "none but what is read into");
	teardown();
}

Test(packet_path_super, messages_are_what_the_path_carries_in_a_moment)
{
	static const struct {
		uint64_t rate_bps;
		size_t messages; /* of 40 segments */
		size_t longest;
	} ROWS[] = {
		{16000000, 40, HEADERS + SEGMENT},	     /* 1000 bytes: one segment at least */
		{24000000, 40, HEADERS + SEGMENT},	     /* 1500 */
		{64000000, 14, 3 + HEADERS + 3 * SEGMENT},   /* 4000 */
		{200000000, 4, 3 + HEADERS + 12 * SEGMENT},  /* 12500 */
		{1000000000, 1, 3 + HEADERS + 40 * SEGMENT}, /* 62500: whole */
	};

	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		struct super_packet p;
		uint32_t seq = 1;

		setup(true);
		measured(ROWS[i].rate_bps);
		from_host(ACK, 40 * SEGMENT, SEGMENT);
		pump();
		cr_assert_eq(wire.count, ROWS[i].messages, "row %zu: %zu", i, wire.count);
		cr_assert_eq(
			wire.sent[0].len, ROWS[i].longest, "row %zu: %zu", i, wire.sent[0].len);
		for (size_t k = 0; k < wire.count; k++) {
			cr_assert_eq(super_message_parse(wire.sent[k].bytes, wire.sent[k].len,
					     &wire.wire.takes, &p),
				SUPER_OK);
			cr_assert_eq(load_be32(p.bytes + 24), seq);
			seq += p.length_bytes - HEADERS;
		}
		cr_assert_eq(seq, 1 + 40 * SEGMENT);
		cr_assert_eq(b.peer->counters.tx_packets, 41);
		teardown();
	}
}

Test(packet_path_super, without_room_for_long_ones_short_ones_are_made)
{
	setup(true);
	measured(200000000);
	b.path.long_packets.slots_max = 2; /* one is what packets are read into */
	wire.ready = false;
	from_host(ACK, 40 * SEGMENT, SEGMENT);
	cr_assert_eq(b.peer->queue.backlog_packets, 1 + 28);
	cr_assert_eq(b.path.long_packets.slots_used, 2);
	cr_assert_eq(b.path.counters.no_memory, 0);
	teardown();
}

Test(packet_path_super, what_goes_whole_stays_where_it_was_read)
{
	const struct ingress_packet *place;
	struct super_packet p;

	setup(true);
	measured(1000000000);
	wire.ready = false;
	place = b.path.spare;
	from_host(ACK, 40 * SEGMENT, SEGMENT);
	cr_assert_neq(place, NULL);
	cr_assert_neq(b.path.spare, place);
	from_host(ACK, 40 * SEGMENT, SEGMENT);
	cr_assert_eq(b.path.packets.slots_used, 0);
	cr_assert_eq(b.path.long_packets.slots_used, 3);
	/* with nothing left to read into, packets are copied */
	b.path.long_packets.slots_max = 3;
	from_host(ACK, 10 * SEGMENT, SEGMENT);
	cr_assert_eq(b.path.spare, NULL);
	cr_assert_eq(b.path.packets.slots_used, 0);
	from_host(ACK, 10 * SEGMENT, SEGMENT);
	cr_assert_eq(b.path.packets.slots_used, 10);
	wire.ready = true;
	pump();
	cr_assert_eq(wire.count, 13);
	for (size_t i = 0; i < wire.count; i++) {
		cr_assert_eq(super_message_parse(
				     wire.sent[i].bytes, wire.sent[i].len, &wire.wire.takes, &p),
			SUPER_OK);
		cr_assert_eq(p.segments, i < 2 ? 40 : i < 3 ? 10 : 1);
		for (size_t k = 0; k < p.length_bytes - HEADERS; k++)
			cr_assert_eq(p.bytes[HEADERS + k],
				(uint8_t)((load_be32(p.bytes + 24) + k) * 7 >> 3));
	}
	teardown();
}

Test(packet_path_super, a_path_that_became_slower_is_asked_for_what_waits)
{
	setup(true);
	measured(1000000000);
	wire.ready = false;
	from_host(ACK, 40 * SEGMENT, SEGMENT);
	b.now = mono_add_us(b.now, PACKET_PATH_TUNE_US);
	wire.rate_bps = 200000000;
	wire.ready = true;
	wire.room = 20000;
	pump();
	from_host(ACK, 10 * SEGMENT, SEGMENT);
	pump();
	cr_assert_eq(wire.count, 0);
	wire.room = 50000;
	pump();
	cr_assert_eq(wire.count, 2);
	/* what was long is gone */
	wire.room = 20000;
	from_host(ACK, 10 * SEGMENT, SEGMENT);
	pump();
	cr_assert_eq(wire.count, 3);
	cr_assert_eq(b.peer->counters.drops[PEER_DROP_OUT_REFUSED], 0);
	teardown();
}

Test(packet_path_super, what_waits_in_the_device_is_read_in_portions)
{
	enum {
		LEN = HEADERS + 40 * SEGMENT,
		FIRST = PACKET_PATH_TUN_BATCH_BYTES / LEN + 1,
		SECOND = 2 * PACKET_PATH_TUN_BATCH_BYTES / LEN + 1,
	};

	setup(true);
	measured(1000000000);
	for (int turn = 0; turn < 2; turn++) {
		uint64_t before = b.peer->queue.backlog_packets;
		for (size_t i = 0; i < FIRST + SECOND + 2; i++)
			give_host(ACK, 40 * SEGMENT, SEGMENT);
		cr_assert_eq(packet_path_read_tun(&b.path, b.now), 0);
		cr_assert_eq(b.peer->queue.backlog_packets - before, FIRST, "as at first again");
		cr_assert_eq(packet_path_read_tun(&b.path, b.now), 0);
		cr_assert_eq(b.peer->queue.backlog_packets - before, FIRST + SECOND,
			"twice as much, for more was there");
		cr_assert_eq(packet_path_read_tun(&b.path, b.now), 0);
		cr_assert_eq(b.peer->queue.backlog_packets - before, FIRST + SECOND + 2);
	}
	teardown();
}

Test(packet_path_super, who_takes_none_gets_none)
{
	setup(true);
	b.peer->super_bytes_max = 0;
	measured(100000000);
	from_host(ACK, 40 * SEGMENT, SEGMENT);
	pump();
	cr_assert_eq(wire.count, 40);
	/* also what waits for one that took them before */
	b.peer->super_bytes_max = SUPER_PACKET_BYTES_MAX;
	b.now = mono_add_us(b.now, PACKET_PATH_TUNE_US);
	measured(100000000);
	wire.ready = false;
	from_host(ACK, 12 * SEGMENT, SEGMENT);
	b.peer->super_bytes_max = 0;
	wire.ready = true;
	pump();
	cr_assert_eq(wire.count, 0);
	cr_assert_eq(b.peer->counters.drops[PEER_DROP_OUT_REFUSED], 12);
	teardown();
}

Test(packet_path_super, segments_are_held_against_the_mtu)
{
	setup(true);
	from_host(ACK, 10 * (MTU - HEADERS), MTU - HEADERS);
	cr_assert_eq(b.peer->queue.backlog_packets, 10);
	from_host(ACK, 10 * SEGMENT, MTU - HEADERS + 1);
	cr_assert_eq(b.peer->queue.backlog_packets, 10);
	cr_assert_eq(b.peer->counters.drops[PEER_DROP_OUT_TOO_BIG], 8);
	cr_assert_eq(b.path.counters.icmp_sent, 1);
	size_t len = host_got();
	cr_assert(len > HEAD + 28 && got[HEAD + 9] == IP_PROTOCOL_ICMP);
	for (size_t i = 0; i < HEAD; i++)
		cr_assert_eq(got[i], 0, "nothing is left to be done to it");
	pump();
	teardown();
}

Test(packet_path_super, a_syn_is_clamped_both_ways)
{
	setup(true);
	from_host(SYN, 0, 0);
	pump();
	cr_assert_eq(wire.count, 1);
	cr_assert_eq(load_be16(wire.sent[0].bytes + 42), MTU - 40);
	cr_assert(sum_right(wire.sent[0].bytes, wire.sent[0].len));

	buf[0] = 0x80;
	buf[1] = buf[2] = 0;
	size_t len = syn(buf + 3, 2, 1, 9000);
	from_peer(buf, 3 + len);
	packet_path_flush(&b.path);
	cr_assert_eq(host_got(), HEAD + len);
	cr_assert_eq(load_be16(got + HEAD + 42), MTU - 40);
	cr_assert(sum_right(got + HEAD, len));
	teardown();
}

Test(packet_path_super, the_host_is_told_what_is_left_to_be_done)
{
	struct virtio_net_header h;

	setup(true);
	buf[0] = 0x81;
	store_le16(buf + 1, SEGMENT);
	size_t len = tcp(buf + 3, 2, 1, 1, ACK, 5 * SEGMENT);
	from_peer(buf, 3 + len);
	packet_path_flush(&b.path);
	cr_assert_eq(host_got(), HEAD + len);
	cr_assert_eq(virtio_net_header_parse(got, HEAD, len, &h), VIRTIO_NET_OK);
	cr_assert_eq(h.gso_type, VIRTIO_NET_GSO_TCP4);
	cr_assert_eq(h.segment_bytes, SEGMENT);
	cr_assert_eq(h.flags, VIRTIO_NET_NEEDS_CHECKSUM);
	cr_assert_eq(memcmp(got + HEAD, buf + 3, len), 0);
	cr_assert_eq(b.peer->counters.rx_packets, 5);
	cr_assert_eq(b.peer->counters.rx_bytes, len);
	teardown();
}

Test(packet_path_super, a_device_without_offloads_gets_segments)
{
	setup(false);
	buf[0] = 0x81;
	store_le16(buf + 1, SEGMENT);
	size_t len = tcp(buf + 3, 2, 1, 1, ACK, 2 * SEGMENT + 1);
	from_peer(buf, 3 + len);
	for (uint32_t i = 0; i < 3; i++) {
		size_t n = host_got();
		cr_assert_eq(n, HEADERS + (i < 2 ? SEGMENT : 1));
		cr_assert(sum_right(got, n));
		cr_assert_eq(load_be32(got + 24), 1 + i * SEGMENT);
	}
	cr_assert_eq(host_got(), 0);
	cr_assert_eq(b.peer->counters.rx_packets, 3);
	buf[0] = 0x80; /* a partial checksum alone */
	len = tcp(buf + 3, 2, 1, 1, ACK, 77);
	from_peer(buf, 3 + len);
	cr_assert_eq(host_got(), len);
	cr_assert(sum_right(got, len));
	teardown();
}

Test(packet_path_super, packets_of_a_batch_are_put_together)
{
	struct virtio_net_header h;
	struct super_packet p;

	setup(true);
	for (uint32_t i = 0; i < 4; i++) {
		size_t len = tcp(buf, 2, 1, 1 + i * SEGMENT, ACK, SEGMENT);
		cr_assert_eq(super_packet_parse(buf, len, SUPER_PACKET_PARTIAL, 0, &p), SUPER_OK);
		super_packet_complete(&p, buf);
		from_peer(buf, len);
	}
	cr_assert_eq(host_got(), 0, "the batch goes on");
	packet_path_flush(&b.path);
	cr_assert_eq(host_got(), HEAD + HEADERS + 4 * SEGMENT);
	cr_assert_eq(virtio_net_header_parse(got, HEAD, HEADERS + 4 * SEGMENT, &h), VIRTIO_NET_OK);
	cr_assert_eq(h.segment_bytes, SEGMENT);
	cr_assert_eq(b.peer->counters.rx_packets, 4);
	packet_path_flush(&b.path);
	cr_assert_eq(host_got(), 0);
	teardown();
}

Test(packet_path_super, what_is_wrong_is_counted_by_verdict)
{
	setup(true);
	size_t len = tcp(buf + 3, 2, 1, 1, ACK, 3 * SEGMENT);
	buf[0] = 0x81;
	store_le16(buf + 1, 0);
	from_peer(buf, 3 + len);
	cr_assert_eq(b.peer->counters.bad[SUPER_BAD_SIZE], 1);
	store_le16(buf + 1, MTU);
	from_peer(buf, 3 + len);
	cr_assert_eq(b.peer->counters.bad[SUPER_TOO_LONG], 1);
	store_le16(buf + 1, 10);
	from_peer(buf, 3 + len);
	cr_assert_eq(b.peer->counters.bad[SUPER_TOO_MANY], 1);
	store_le16(buf + 1, SEGMENT);
	wire.wire.takes.super_bytes_max = 0;
	from_peer(buf, 3 + len);
	cr_assert_eq(b.peer->counters.bad[SUPER_NOT_OFFERED], 1);
	cr_assert_eq(b.peer->counters.drops[PEER_DROP_IN_MALFORMED], 4);
	wire.wire.takes.super_bytes_max = SUPER_PACKET_BYTES_MAX;
	(void)tcp(buf + 3, 9, 1, 1, ACK, 3 * SEGMENT);
	from_peer(buf, 3 + len);
	cr_assert_eq(b.peer->counters.drops[PEER_DROP_IN_SOURCE], 1);
	packet_path_flush(&b.path);
	cr_assert_eq(host_got(), 0);

	/* From the host: segments of SYN. */
	const struct virtio_net_header bad = {.flags = VIRTIO_NET_NEEDS_CHECKSUM,
		.gso_type = VIRTIO_NET_GSO_TCP4,
		.segment_bytes = SEGMENT,
		.checksum_start = 20,
		.checksum_offset = 16};
	virtio_net_header_write(&bad, buf, HEAD);
	len = tcp(buf + HEAD, 1, 2, 1, SYN, 3 * SEGMENT);
	cr_assert_eq(send(b.host, buf, HEAD + len, 0), (ssize_t)(HEAD + len));
	cr_assert_eq(packet_path_read_tun(&b.path, b.now), 0);
	cr_assert_eq(b.path.counters.super[SUPER_BAD_TRANSPORT], 1);
	teardown();
}

/* A message of the longest kind, in pieces. */
Test(packet_path_super, the_longest_one_in_pieces)
{
	struct iovec pieces[50];
	int count = 0;

	setup(true);
	buf[0] = 0x81;
	store_le16(buf + 1, SEGMENT);
	size_t len = 3 + tcp(buf + 3, 2, 1, 1, ACK, SUPER_PACKET_BYTES_MAX - HEADERS), at = 0;
	while (at < len) {
		size_t some = at + 1400 < len ? 1400 : len - at;
		pieces[count++] = (struct iovec){buf + at, some};
		at += some;
	}
	packet_path_received(&b.path, b.peer, pieces, count, len);
	packet_path_flush(&b.path);
	cr_assert_eq(host_got(), HEAD + len - 3);
	cr_assert_eq(b.peer->counters.drops[PEER_DROP_IN_MALFORMED], 0);
	teardown();
}

/* A long message stays where it was read, in the wire's hands, and the next is read elsewhere. */
Test(packet_path_super, long_messages_are_lent)
{
	setup(true);
	wire.wire.ops = &LENDING;
	wire.rate_bps = 4000000000;
	packet_path_writable(&b.path, b.peer);
	for (int i = 0; i < 3; i++) {
		from_host(ACK, 40000, SEGMENT);
		packet_path_pump(&b.path, b.now);
	}
	cr_assert_geq(wire.lent_count, 2, "the first came before the path was known");
	cr_assert_neq(wire.lent[0], wire.lent[1]);
	cr_assert_eq(wire.lent[1]->len, wire.sent[wire.count - 1].len);
	cr_assert_eq(
		memcmp(wire.lent[1]->data, wire.sent[wire.count - 1].bytes, wire.lent[1]->len), 0);
	cr_assert_geq(b.path.long_packets.slots_used, wire.lent_count);
	size_t lent = wire.lent_count;
	from_host(ACK, 500, 0);
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(wire.lent_count, lent, "a packet alone is copied");
	give_back();
	teardown();
}

Test(packet_path_super, what_the_wire_refuses_is_dropped)
{
	setup(true);
	wire.wire.ops = &LENDING;
	wire.rate_bps = 4000000000;
	from_host(ACK, 500, 0);
	packet_path_pump(&b.path, b.now);
	wire.refuses = true;
	from_host(ACK, 40000, SEGMENT);
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.peer->counters.drops[PEER_DROP_OUT_REFUSED], 40);
	cr_assert_eq(wire.lent_count, 0);
	teardown();
}

/* However much flies, there is room for what waits: the rest is copied. */
Test(packet_path_super, not_all_memory_is_lent)
{
	setup(true);
	wire.wire.ops = &LENDING;
	wire.rate_bps = 4000000000;
	for (int i = 0; i < PACKET_PATH_MESSAGES_MAX + 20; i++) {
		wire.count = 0;
		from_host(ACK, 40000, SEGMENT);
		packet_path_pump(&b.path, b.now);
	}
	cr_assert_geq(wire.lent_count, PACKET_PATH_LENT_MAX - 2);
	cr_assert_leq(wire.lent_count, PACKET_PATH_LENT_MAX);
	cr_assert_eq(wire.count, 1);
	cr_assert_eq(wire.sent[0].len, HEADERS + 40000 + SUPER_MESSAGE_OVERHEAD_BYTES,
		"whole, all the same");
	give_back();
	teardown();
}
