/* The packet path between a fake host (a socket pair in place of the device) and a fake wire. */
#include "config/config.h"
#include "core/checksum.h"
#include "core/ip_header.h"
#include "core/rand.h"
#include "vpnd/packet_path.h"
#include "vpnd/peer.h"
#include "vpnd/tun.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	MTU = 1300,
};

static const char TEXT[] = "version: 1\n"
			   "wire: kcp-go\n"
			   "kcp_go: {key: secret, allow_unauthenticated: true}\n"
			   "interface: {addresses: [10.0.0.1/24, \"fd00::1/64\"]}\n"
			   "peers:\n"
			   "  a: {allowed_ips: [10.0.0.2, 10.2.0.0/16, \"fd02::/16\"]}\n"
			   "  b: {allowed_ips: [10.0.0.3, 10.3.0.0/16]}\n"
			   "  off: {enabled: false, allowed_ips: [10.4.0.0/16]}\n";

struct fake_wire {
	struct wire wire;
	enum wire_peer_state state[3]; /* by peer, as in the file */
	bool ready[3];
	int refuse;	/* what send answers */
	size_t sent[3]; /* packets */
	uint8_t last[MTU + 1];
	size_t last_len;
};

struct bench {
	struct config *config;
	struct fake_wire wire;
	struct tun tun;
	int host; /* the other end of the device */
	struct packet_path path;
	struct peer *peers[3];
	struct mono now;
};

static size_t index_of(const struct peer *peer)
{
	return peer->name[0] == 'a' ? 0 : peer->name[0] == 'b' ? 1 : 2;
}

static struct fake_wire *of(const struct wire *wire)
{
	return (struct fake_wire *)(uintptr_t)wire;
}

static bool ready(struct wire *wire, struct peer *peer)
{
	return of(wire)->ready[index_of(peer)];
}

static enum wire_peer_state peer_state(const struct wire *wire, const struct peer *peer)
{
	return of(wire)->state[index_of(peer)];
}

static int send_packet(struct wire *wire, struct peer *peer, const void *packet, size_t len)
{
	struct fake_wire *fake = of(wire);

	if (fake->refuse)
		return fake->refuse;
	fake->sent[index_of(peer)]++;
	memcpy(fake->last, packet, len);
	fake->last_len = len;
	return 0;
}

static bool path_of(const struct wire *wire, const struct peer *peer, struct ingress_path *ret_path)
{
	(void)wire, (void)peer, (void)ret_path;
	return false;
}

static const struct wire_ops OPS = {
	.ready = ready, .send = send_packet, .peer_state = peer_state, .path = path_of};

static void fill_random(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	memset(buf, 7, len);
}

static void setup(struct bench *b)
{
	static struct config_report report;
	struct rand_source rnd = {fill_random, NULL};
	int pair[2];

	memset(b, 0, sizeof(*b));
	cr_assert_eq(config_parse_text("t.yaml", TEXT, strlen(TEXT), NULL, &b->config, &report), 0,
		"%s", report.errors[0].text);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	int room = 4 << 20;
	(void)setsockopt(pair[1], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	b->tun.fd = pair[0];
	b->host = pair[1];
	b->now = mono_at_us(1000000);
	b->wire.wire.ops = &OPS;
	b->wire.wire.takes.packet_bytes_max = SUPER_PACKET_BYTES_MAX;
	packet_path_init(&b->path, &b->tun, MTU, b->now);
	b->path.wire = &b->wire.wire;
	for (size_t i = 0; i < 3; i++) {
		const struct config_peer *config = &b->config->peers[i];
		b->wire.state[i] = WIRE_PEER_UP;
		b->wire.ready[i] = true;
		b->peers[i] = peer_new(config, &rnd);
		for (size_t k = 0; k < config->allowed_ips.count; k++)
			cr_assert_eq(allowed_ips_insert(&b->path.owners,
					     &config->allowed_ips.items[k], b->peers[i]),
				0);
	}
}

static void teardown(struct bench *b)
{
	for (size_t i = 0; i < 3; i++)
		peer_free(b->peers[i]);
	packet_path_fini(&b->path);
	close(b->tun.fd);
	close(b->host);
	config_free(b->config);
}

/* An IPv4 packet of `len` bytes in all; protocol UDP, ports zero. */
static size_t packet4(uint8_t *at, const char *from, const char *to, size_t len)
{
	struct ip_prefix src, dst;

	memset(at, 0, len);
	cr_assert_eq(ip_prefix_parse(from, &src), 0);
	cr_assert_eq(ip_prefix_parse(to, &dst), 0);
	size_t header = ip_header_write(at, src.family, src.address, dst.address, IP_PROTOCOL_UDP,
		len - (src.family == 6 ? IP_HEADER_V6_BYTES : IP_HEADER_V4_BYTES));
	cr_assert(header <= len);
	return len;
}

static void from_host(struct bench *b, const char *to, size_t len)
{
	uint8_t packet[4096];

	(void)packet4(packet, strchr(to, ':') ? "fd00::1" : "10.0.0.1", to, len);
	cr_assert_eq(send(b->host, packet, len, 0), (ssize_t)len);
	cr_assert_eq(packet_path_read_tun(&b->path, b->now), 0);
}

static void from_peer(struct bench *b, size_t peer, const void *packet, size_t len)
{
	struct iovec piece = {(void *)(uintptr_t)packet, len};

	packet_path_received(&b->path, b->peers[peer], &piece, 1, len);
}

/* What the host got; 0 = nothing. */
static size_t host_got(struct bench *b, uint8_t *packet, size_t size)
{
	ssize_t got = recv(b->host, packet, size, 0);

	return got > 0 ? (size_t)got : 0;
}

Test(packet_path, the_destination_decides)
{
	struct bench b;

	setup(&b);
	from_host(&b, "10.0.0.2", 100);
	from_host(&b, "10.2.255.255", 100);
	from_host(&b, "fd02::1", 100);
	from_host(&b, "10.3.0.0", 100);
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.sent[0], 3);
	cr_assert_eq(b.wire.sent[1], 1);
	cr_assert_eq(b.peers[0]->counters.tx_packets, 3);
	cr_assert_eq(b.peers[0]->counters.tx_bytes, 300);
	cr_assert_eq(b.path.packets.slots_used, 0);
	teardown(&b);
}

Test(packet_path, packets_wait_until_the_wire_is_ready)
{
	struct bench b;

	setup(&b);
	b.wire.ready[0] = false;
	from_host(&b, "10.0.0.2", 100);
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.sent[0], 0);
	cr_assert_eq(b.path.packets.slots_used, 1);
	b.wire.ready[0] = true;
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.sent[0], 0, "nobody has said that it is");
	b.now = mono_add_us(b.now, 5000);
	packet_path_writable(&b.path, b.peers[0]);
	packet_path_writable(&b.path, b.peers[0]);
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.sent[0], 1);
	cr_assert_eq(b.peers[0]->queue_us, 5000);

	b.wire.refuse = -ENOBUFS;
	from_host(&b, "10.0.0.2", 100);
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.peers[0]->counters.drops[PEER_DROP_OUT_REFUSED], 1);
	cr_assert_eq(b.path.packets.slots_used, 0);
	teardown(&b);
}

/* The one error that the host got: about `about`, and in the name of its destination. */
static void check_error(
	struct bench *b, uint8_t version, uint8_t type, uint8_t code, const char *about)
{
	uint8_t packet[2048];
	struct ip_header header;
	struct ip_prefix destination;
	size_t len = host_got(b, packet, sizeof(packet));

	cr_assert_eq(ip_header_parse(packet, len, &header), IP_OK);
	cr_assert_eq(header.version, version);
	cr_assert(header.has_icmp);
	cr_assert_eq(header.icmp_type, type);
	cr_assert_eq(header.icmp_code, code);
	cr_assert_eq(ip_prefix_parse(about, &destination), 0);
	cr_assert_eq(memcmp(header.src, destination.address, 16), 0,
		"the host drops what seems to come from one of its own addresses");
	cr_assert_eq(host_got(b, packet, sizeof(packet)), 0);
}

Test(packet_path, what_is_too_big_is_told)
{
	struct bench b;

	setup(&b);
	from_host(&b, "10.0.0.2", MTU);
	from_host(&b, "10.0.0.2", MTU + 1);
	check_error(&b, 4, 3, 4, "10.0.0.2");
	from_host(&b, "fd02::9", MTU + 1);
	check_error(&b, 6, 2, 0, "fd02::9");
	from_host(&b, "10.0.0.2", 4000); /* longer than a slot */
	check_error(&b, 4, 3, 4, "10.0.0.2");
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.sent[0], 1);
	cr_assert_eq(b.wire.last_len, MTU);
	cr_assert_eq(b.peers[0]->counters.drops[PEER_DROP_OUT_TOO_BIG], 3);
	cr_assert_eq(b.path.counters.icmp_sent, 3);
	teardown(&b);
}

/* A packet that may, or may not, be cut on its way. */
static void marked_from_host(struct bench *b, const char *to, size_t len, uint8_t flags)
{
	uint8_t packet[4096];

	(void)packet4(packet, "10.0.0.1", to, len);
	packet[6] = flags;
	packet[10] = packet[11] = 0;
	uint16_t sum = checksum_finish(checksum_add(0, packet, 20));
	packet[10] = (uint8_t)(sum >> 8);
	packet[11] = (uint8_t)sum;
	cr_assert_eq(send(b->host, packet, len, 0), (ssize_t)len);
	cr_assert_eq(packet_path_read_tun(&b->path, b->now), 0);
}

static void whole_from_host(struct bench *b, const char *to, size_t len)
{
	marked_from_host(b, to, len, 0x40);
}

static void cuttable_from_host(struct bench *b, const char *to, size_t len)
{
	marked_from_host(b, to, len, 0);
}

/* The MTU that the one error tells. */
static unsigned told_mtu(struct bench *b)
{
	uint8_t packet[2048];
	size_t len = host_got(b, packet, sizeof(packet));

	cr_assert(len > 48);
	cr_assert_eq(host_got(b, packet + 1024, 1024), 0);
	return packet[0] >> 4 == 4 ? packet[26] << 8 | packet[27] : packet[46] << 8 | packet[47];
}

/* One device, many paths: a peer's limit holds for that peer alone. */
Test(packet_path, each_peer_has_a_limit_of_its_own)
{
	struct bench b;

	setup(&b);
	b.peers[0]->path_mtu_bytes = 1290;
	whole_from_host(&b, "10.0.0.2", 1290);
	whole_from_host(
		&b, "10.0.0.3", MTU); /* the other one's path is not measured: the device's */
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.sent[0], 1);
	cr_assert_eq(b.wire.sent[1], 1);
	whole_from_host(&b, "10.0.0.2", 1291);
	cr_assert_eq(told_mtu(&b), 1290);
	from_host(&b, "fd02::9", 1291);
	cr_assert_eq(told_mtu(&b), 1290);
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.sent[0], 1);
	cuttable_from_host(
		&b, "10.0.0.2", MTU); /* may be cut: it travels in pieces, nobody is told */
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.sent[0], 2);
	cr_assert_eq(b.wire.last_len, MTU);
	cr_assert_eq(b.path.counters.icmp_sent, 2);
	cr_assert_eq(b.peers[0]->counters.drops[PEER_DROP_OUT_TOO_BIG], 2);
	b.peers[0]->path_mtu_bytes = 9000; /* no path makes the device's larger */
	cuttable_from_host(&b, "10.0.0.2", MTU + 1);
	cr_assert_eq(told_mtu(&b), MTU);
	teardown(&b);
}

/* Below what IPv6 needs nobody is told: what is longer than the path carries goes in pieces. */
Test(packet_path, no_path_is_too_short_for_ipv6)
{
	struct bench b;

	setup(&b);
	b.peers[0]->path_mtu_bytes = 1160;
	whole_from_host(&b, "10.0.0.2", 1280);
	from_host(&b, "fd02::9", 1280);
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.sent[0], 2);
	whole_from_host(&b, "10.0.0.2", 1281);
	cr_assert_eq(told_mtu(&b), 1280);
	from_host(&b, "fd02::9", 1281);
	cr_assert_eq(told_mtu(&b), 1280);
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.sent[0], 2);
	teardown(&b);
}

/* What the peer does not take at all is refused, in pieces or not. */
Test(packet_path, a_peer_with_a_small_mtu_is_not_sent_more)
{
	struct bench b;

	setup(&b);
	b.peers[0]->most_bytes = 1285;
	cuttable_from_host(&b, "10.0.0.2", 1285);
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.sent[0], 1);
	cuttable_from_host(&b, "10.0.0.2", 1286);
	cr_assert_eq(told_mtu(&b), 1285);
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.sent[0], 1);
	b.peers[0]->path_mtu_bytes = 1290; /* the smaller one counts */
	whole_from_host(&b, "10.0.0.2", 1290);
	cr_assert_eq(told_mtu(&b), 1285);
	teardown(&b);
}

/* Handed on by another thread, while addresses may have gone to others. */
Test(packet_path, what_is_handed_on_goes_to_who_owns_the_destination)
{
	uint8_t packet[200];
	struct bench b;

	setup(&b);
	(void)packet4(packet, "10.0.0.1", "10.2.0.9", sizeof(packet));
	packet_path_put(&b.path, b.peers[0], packet, sizeof(packet), b.now);
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.sent[0], 1);
	cr_assert_eq(b.wire.last_len, sizeof(packet));
	cr_assert_eq(memcmp(b.wire.last, packet, sizeof(packet)), 0);
	packet_path_put(&b.path, b.peers[1], packet, sizeof(packet), b.now);
	packet_path_put(&b.path, b.peers[0], packet, 30, b.now);
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.sent[0], 1);
	cr_assert_eq(b.wire.sent[1], 0);
	cr_assert_eq(b.path.counters.no_peer, 1);
	cr_assert(ingress_empty(&b.peers[1]->queue));
	teardown(&b);
}

Test(packet_path, nobody_s_and_unwanted_packets)
{
	uint8_t junk[40] = {0x75};
	struct bench b;

	setup(&b);
	from_host(&b, "10.9.0.1", 100);
	check_error(&b, 4, 3, 0, "10.9.0.1");
	cr_assert_eq(b.path.counters.no_peer, 1);
	from_host(&b, "224.0.0.251", 100);
	from_host(&b, "ff02::fb", 100);
	from_host(&b, "fe80::1", 100);
	cr_assert_eq(b.path.counters.multicast, 3);
	cr_assert_eq(host_got(&b, junk, sizeof(junk)), 0, "no error about these");
	from_host(&b, "10.4.0.1", 100); /* enabled: false */
	check_error(&b, 4, 3, 13, "10.4.0.1");
	cr_assert_eq(b.peers[2]->counters.drops[PEER_DROP_OUT_DOWN], 1);
	b.peers[0]->ordered_down = true;
	from_host(&b, "10.0.0.2", 100);
	check_error(&b, 4, 3, 13, "10.0.0.2");
	junk[0] = 0x75;
	cr_assert_eq(send(b.host, junk, sizeof(junk), 0), (ssize_t)sizeof(junk));
	cr_assert_eq(packet_path_read_tun(&b.path, b.now), 0);
	cr_assert_eq(b.path.counters.malformed[IP_BAD_VERSION], 1);
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.sent[0] + b.wire.sent[1] + b.wire.sent[2], 0);
	cr_assert_eq(b.path.packets.slots_used, 0);
	teardown(&b);
}

Test(packet_path, errors_to_senders_are_limited)
{
	uint8_t packet[2048];
	struct bench b;
	int told = 0;

	setup(&b);
	for (int i = 0; i < 200; i++) {
		from_host(&b, "10.9.0.1", 100);
		told += host_got(&b, packet, sizeof(packet)) > 0;
	}
	cr_assert_eq(told, PACKET_PATH_ICMP_BURST);
	cr_assert_eq(b.path.counters.icmp_limited, 200 - PACKET_PATH_ICMP_BURST);
	b.now = mono_add_us(b.now, 100000);
	for (int i = 0; i < 200; i++) {
		from_host(&b, "10.9.0.1", 100);
		told += host_got(&b, packet, sizeof(packet)) > 0;
	}
	cr_assert_eq(told, PACKET_PATH_ICMP_BURST + PACKET_PATH_ICMP_PER_S / 10);
	b.now = mono_add_us(b.now, 3600000000);
	from_host(&b, "10.9.0.1", 100);
	cr_assert_eq(b.path.icmp_tokens, PACKET_PATH_ICMP_BURST - 1, "never more than a burst");
	teardown(&b);
}

Test(packet_path, a_peer_speaks_for_its_own_addresses_only)
{
	uint8_t packet[200], got[200];
	struct bench b;

	setup(&b);
	(void)packet4(packet, "10.2.3.4", "10.0.0.1", 100);
	from_peer(&b, 0, packet, 100);
	cr_assert_eq(host_got(&b, got, sizeof(got)), 100);
	cr_assert_eq(memcmp(packet, got, 100), 0);
	cr_assert_eq(b.peers[0]->counters.rx_packets, 1);
	cr_assert_eq(b.peers[0]->counters.rx_bytes, 100);

	static const char *const others[] = {"10.3.0.1", "10.0.0.1", "10.9.9.9", "fd00::1", "::"};
	for (size_t i = 0; i < 5; i++) {
		(void)packet4(
			packet, others[i], strchr(others[i], ':') ? "fd00::1" : "10.0.0.1", 100);
		from_peer(&b, 0, packet, 100);
		cr_assert_eq(
			b.peers[0]->counters.drops[PEER_DROP_IN_SOURCE], i + 1, "%s", others[i]);
	}

	(void)packet4(packet, "10.2.3.4", "10.0.0.1", 100);
	from_peer(&b, 0, packet, 99);
	from_peer(&b, 0, packet, 0);
	packet[0] = 0x95;
	from_peer(&b, 0, packet, 100);
	cr_assert_eq(b.peers[0]->counters.drops[PEER_DROP_IN_MALFORMED], 3);
	cr_assert_eq(host_got(&b, got, sizeof(got)), 0);
	cr_assert_eq(b.peers[0]->counters.rx_packets, 1);

	shutdown(b.host, SHUT_RD); /* the host does not take it */
	(void)packet4(packet, "10.2.3.4", "10.0.0.1", 100);
	signal(SIGPIPE, SIG_IGN);
	from_peer(&b, 0, packet, 100);
	cr_assert_eq(b.peers[0]->counters.drops[PEER_DROP_IN_TUN], 1);
	teardown(&b);
}

Test(packet_path, opening_packets_are_swallowed)
{
	static const uint8_t own[4] = {10, 2, 3, 4}, other[4] = {10, 2, 3, 5};
	uint8_t packet[64] = {0};
	struct bench b;

	setup(&b);
	size_t len = ip_header_write(packet, 4, own, own, IP_PROTOCOL_NONE, 0);
	from_peer(&b, 0, packet, len);
	cr_assert_eq(b.peers[0]->counters.rx_packets, 0);
	cr_assert_eq(host_got(&b, packet, sizeof(packet)), 0);
	len = ip_header_write(packet, 4, own, other, IP_PROTOCOL_NONE, 0);
	from_peer(&b, 0, packet, len);
	len = ip_header_write(packet, 4, own, own, IP_PROTOCOL_NONE, 8);
	from_peer(&b, 0, packet, len + 8);
	cr_assert_eq(b.peers[0]->counters.rx_packets, 2, "others with this protocol are not");
	for (size_t i = 0; i < PEER_DROPS; i++)
		cr_assert_eq(b.peers[0]->counters.drops[i], 0);
	teardown(&b);
}

Test(packet_path, messages_of_several_pieces)
{
	static uint8_t packet[65000], got[65000];
	struct bench b;

	setup(&b);
	(void)packet4(packet, "10.2.3.4", "10.0.0.1", sizeof(packet));
	for (size_t i = 20; i < sizeof(packet); i++)
		packet[i] = (uint8_t)(i * 31);
	struct iovec pieces[50];
	for (size_t i = 0; i < 50; i++)
		pieces[i] = (struct iovec){packet + i * 1300, 1300};
	packet_path_received(&b.path, b.peers[0], pieces, 50, sizeof(packet));
	cr_assert_eq(host_got(&b, got, sizeof(got)), sizeof(packet));
	cr_assert_eq(memcmp(packet, got, sizeof(packet)), 0);
	cr_assert_eq(packet_path_owner(&b.path, pieces, 50, sizeof(packet)), b.peers[0]);
	cr_assert_eq(packet_path_owner(&b.path, pieces, 49, sizeof(packet) - 1300), NULL);

	for (size_t i = 0; i < 50; i++)
		pieces[i].iov_len = 1400; /* more than any IP packet: not even looked at */
	packet_path_received(&b.path, b.peers[0], pieces, 50, (size_t)50 * 1400);
	cr_assert_eq(b.peers[0]->counters.drops[PEER_DROP_IN_MALFORMED], 1);
	teardown(&b);
}

/* A SYN with an MSS of 1460 only, its checksum right. */
static size_t syn(uint8_t *at, const char *from, const char *to)
{
	struct ip_header header;

	(void)packet4(at, from, to, 44);
	at[9] = IP_PROTOCOL_TCP;
	at[10] = at[11] = 0;
	uint16_t sum = checksum_finish(checksum_add(0, at, 20));
	at[10] = (uint8_t)(sum >> 8);
	at[11] = (uint8_t)sum;
	at[20 + 12] = 6 << 4;
	at[20 + 13] = IP_TCP_SYN;
	memcpy(at + 40, (uint8_t[4]){2, 4, 1460 >> 8, 1460 & 0xff}, 4);
	cr_assert_eq(ip_header_parse(at, 44, &header), IP_OK);
	cr_assert(header.has_ports);
	return 44;
}

Test(packet_path, syns_learn_what_fits_both_ways)
{
	uint8_t packet[64], got[64];
	struct bench b;

	setup(&b);
	size_t len = syn(packet, "10.2.3.4", "10.0.0.1");
	from_peer(&b, 0, packet, len);
	cr_assert_eq(host_got(&b, got, sizeof(got)), 44);
	cr_assert_eq(got[42] << 8 | got[43], MTU - 40);
	len = syn(packet, "10.0.0.1", "10.2.3.4");
	cr_assert_eq(send(b.host, packet, len, 0), 44);
	cr_assert_eq(packet_path_read_tun(&b.path, b.now), 0);
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.last_len, 44);
	cr_assert_eq(b.wire.last[42] << 8 | b.wire.last[43], MTU - 40);

	b.peers[0]->path_mtu_bytes = 1288; /* the peer's own path, both ways */
	len = syn(packet, "10.2.3.4", "10.0.0.1");
	from_peer(&b, 0, packet, len);
	cr_assert_eq(host_got(&b, got, sizeof(got)), 44);
	cr_assert_eq(got[42] << 8 | got[43], 1288 - 40);
	len = syn(packet, "10.0.0.1", "10.2.3.4");
	cr_assert_eq(send(b.host, packet, len, 0), 44);
	cr_assert_eq(packet_path_read_tun(&b.path, b.now), 0);
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.last[42] << 8 | b.wire.last[43], 1288 - 40);
	teardown(&b);
}

Test(packet_path, peers_that_are_away_take_nothing_from_others)
{
	struct bench b;

	setup(&b);
	b.wire.state[0] = WIRE_PEER_CONNECTING;
	b.wire.ready[0] = false;
	for (int i = 0; i < 3 * PACKET_PATH_QUEUED_MAX; i++) {
		from_host(&b, "10.2.0.1", 60);
		packet_path_pump(&b.path, b.now);
		cr_assert(b.path.packets.slots_used <= PACKET_PATH_AWAY_MAX);
	}
	cr_assert_eq(b.path.counters.no_memory, 0);
	cr_assert(b.peers[0]->queue.counters.dropped_cleared > 0);
	from_host(&b, "10.3.0.1", 60);
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.sent[1], 1);
	/* The latest still wait: the peer may be back at once. */
	cr_assert(b.peers[0]->queue.backlog_packets > 0);
	b.wire.state[0] = WIRE_PEER_UP;
	b.wire.ready[0] = true;
	packet_path_writable(&b.path, b.peers[0]);
	packet_path_pump(&b.path, b.now);
	cr_assert(b.wire.sent[0] > 0);
	teardown(&b);
}

Test(packet_path, rest_gives_memory_back)
{
	struct bench b;

	setup(&b);
	b.wire.ready[0] = false;
	from_host(&b, "10.2.0.1", 60);
	from_host(&b, "10.3.0.1", 60);
	packet_path_pump(&b.path, b.now);
	b.now = mono_add_us(b.now, INGRESS_WAIT_MAX_US);
	packet_path_rest(&b.path, b.peers[0], b.now);
	packet_path_rest(&b.path, b.peers[1], b.now);
	cr_assert(b.peers[0]->queue.flows, "what waits stays");
	cr_assert_eq(b.peers[1]->queue.flows, NULL);
	b.now = mono_add_us(b.now, 1);
	packet_path_rest(&b.path, b.peers[0], b.now); /* it is up, and takes nothing */
	cr_assert_eq(b.peers[0]->queue.counters.dropped_old, 1);
	cr_assert_eq(b.peers[0]->queue.flows, NULL);
	cr_assert_eq(b.path.packets.slots_used, 0);
	pool_trim(&b.path.packets, 0);
	cr_assert_eq(b.path.packets.slots_allocated, 0);
	from_host(&b, "10.3.0.1", 60);
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.sent[1], 2, "and all works as before");
	teardown(&b);
}

Test(packet_path, a_pool_that_is_used_up_loses_packets_only)
{
	struct bench b;

	setup(&b);
	b.wire.ready[0] = b.wire.ready[1] = false;
	b.path.packets.slots_max = 100;
	for (int i = 0; i < 150; i++)
		from_host(&b, i % 2 ? "10.2.0.1" : "10.3.0.1", 60);
	cr_assert_eq(b.path.counters.no_memory, 0);
	cr_assert_leq(b.path.packets.slots_used, 100);
	cr_assert_geq(b.path.packets.slots_used, 100 - PACKET_PATH_ROOM_BATCH);
	size_t waiting = b.path.packets.slots_used;
	b.wire.ready[0] = b.wire.ready[1] = true;
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.sent[0] + b.wire.sent[1], waiting);
	from_host(&b, "10.2.0.1", 60);
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.sent[0] + b.wire.sent[1], waiting + 1);
	b.path.packets.slots_max = 0; /* as without memory */
	from_host(&b, "10.2.0.1", 60);
	cr_assert_eq(b.path.counters.no_memory, 1);
	teardown(&b);
}

/* A peer that is up but takes nothing (its path hangs, its machine sleeps) while the host goes on sending to it. */
Test(packet_path, peers_that_are_stuck_take_nothing_from_others)
{
	struct bench b;

	setup(&b);
	b.path.packets.slots_max = 200;
	b.wire.ready[0] = false;
	for (int i = 0; i < 1000; i++) {
		from_host(&b, "10.2.0.1", 60);
		packet_path_pump(&b.path, b.now);
	}
	for (size_t i = 1; i <= 1000; i++) {
		from_host(&b, "10.2.0.1", 60);
		from_host(&b, "10.3.0.1", 60);
		packet_path_pump(&b.path, b.now);
		cr_assert_eq(b.wire.sent[1], i);
	}
	/* Nor where the other must wait a little itself. */
	b.wire.ready[1] = false;
	for (int i = 0; i < 20; i++)
		from_host(&b, "10.3.0.1", 60);
	for (int i = 0; i < 1000; i++)
		from_host(&b, "10.2.0.1", 60);
	cr_assert_eq(b.peers[1]->queue.backlog_packets, 20);
	cr_assert_eq(b.path.counters.no_memory, 0);
	/* The newest of the stuck one still wait. */
	cr_assert_gt(b.peers[0]->queue.backlog_packets, 20);
	/* Nor from what another thread hands on. */
	uint8_t packet[60];
	uint64_t before = b.wire.sent[1];
	(void)packet4(packet, "10.0.0.1", "10.3.0.1", sizeof(packet));
	for (int i = 0; i < 1000; i++)
		from_host(&b, "10.2.0.1", 60);
	for (int i = 0; i < 100; i++)
		packet_path_put(&b.path, b.peers[1], packet, sizeof(packet), b.now);
	cr_assert_eq(b.path.counters.no_memory, 0);
	b.wire.ready[1] = true;
	packet_path_writable(&b.path, b.peers[1]);
	packet_path_pump(&b.path, b.now);
	cr_assert_gt(b.wire.sent[1], before);
	teardown(&b);
}

/* Many queues, none of them long: what there is is shared, and everybody gets a slot. */
Test(packet_path, many_short_queues_make_room_for_another)
{
	enum { PEERS = 300 };
	struct rand_source rnd = {fill_random, NULL};
	static struct peer *peers[PEERS];
	char to[16];
	struct bench b;

	setup(&b);
	b.path.packets.slots_max = PEERS;
	b.wire.ready[0] = false; /* and all others whose name begins with a */
	for (size_t i = 0; i < PEERS; i++) {
		struct ip_prefix own;
		peers[i] = peer_new(&b.config->peers[0], &rnd);
		cr_assert(peers[i]);
		(void)snprintf(to, sizeof(to), "10.5.%zu.%zu", i / 250, i % 250);
		cr_assert_eq(ip_prefix_parse(to, &own), 0);
		cr_assert_eq(allowed_ips_insert(&b.path.owners, &own, peers[i]), 0);
		from_host(&b, to, 60);
	}
	cr_assert_eq(b.path.packets.slots_used, PEERS, "nothing goes before more comes");
	from_host(&b, "10.3.0.1", 60);
	packet_path_pump(&b.path, b.now);
	cr_assert_eq(b.wire.sent[1], 1);
	cr_assert_eq(b.path.counters.no_memory, 0);
	cr_assert_leq(b.path.packets.slots_used, PEERS - PACKET_PATH_ROOM_BATCH / 4,
		"one walk pays for many packets");
	for (size_t i = 0; i < PEERS; i++)
		peer_free(peers[i]);
	teardown(&b);
}

Test(packet_path, what_is_too_old_is_dropped_where_more_comes)
{
	struct bench b;

	setup(&b);
	b.wire.ready[0] = false;
	for (int i = 0; i < 50; i++)
		from_host(&b, "10.2.0.1", 60);
	b.now = mono_add_us(b.now, INGRESS_WAIT_MAX_US + 1);
	from_host(&b, "10.2.0.1", 60);
	cr_assert_eq(b.peers[0]->queue.backlog_packets, 1);
	cr_assert_eq(b.peers[0]->queue.counters.dropped_old, 50);
	teardown(&b);
}
