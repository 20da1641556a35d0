/*
 * usage: crowd peers COUNT INNER                                     prints the `peers:` that a gateway needs for them
 *        crowd call COUNT INNER OUTER KEY GATEWAY TO GAP_US KEEPALIVE_S    is that many peers, until its input ends
 *
 * Peers of the native wire in one process, each with its own key, its own node of the library and its own two addresses:
 * INNER + 1 .. INNER + COUNT inside, OUTER + 1 .. OUTER + COUNT outside, which must be local addresses here (`ip route add
 * local OUTER/16 dev lo`). They call the gateway KEY at GATEWAY, an address and a port, GAP_US apart, and for ever.
 *
 * A packet is a ping to TO, or, of kind `send`, a UDP datagram to TO's discard port, which nobody answers. They begin when
 * asked to. Commands, one a line of standard input:
 *
 *     ping MS BYTES, send MS BYTES   each peer sends one every MS milliseconds, spread evenly; MS 0 = no more
 *     mark                           from now on nobody was heard, see below
 *
 * Each second a line of JSON: up (peers that think so), sent and answers (since the mark), back (peers that had an answer
 * since the mark), back_ms (from the mark until the latest of them was back), held (pings of peers that were back), missed (of
 * them those that were not answered before the next one was due), late_ms (the longest that an answer took of those), opened
 * (sessions that were made).
 *
 * One thread: one socket, one timer for each peer in a wheel, and datagrams in batches, so that what is measured on the other
 * side is not this side's slowness.
 */
#include "core/endian.h"
#include "core/mono.h"
#include "core/wheel.h"
#include "kcpvpn/native.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
	PORT = 29900,
	COUNT_MAX = 65000,
	KEY_BYTES = KCPVPN_NATIVE_KEY_BYTES,
	BATCH = 64,
	ROOM_BYTES = 1536,
	DATAGRAM_BYTES = 1472,
	TUN_MTU = 1400,
	IP_BYTES = 20,
	INNER_HEADER_BYTES = 28, /* IPv4 and ICMP or UDP */
	SOCKET_BYTES = 64 << 20,
	REPORT_US = 1000000,
	DISCARD_PORT = 9,
};

struct caller {
	struct kcpvpn_native *native;
	struct kcpvpn_peer *peer;
	struct kcpvpn_udp_port port;
	struct wheel_timer node_timer, packet_timer;
	uint32_t number;
	uint16_t asked; /* sequence number of the newest ping */
	bool begun, waits, held, back;
	struct mono asked_at;
};

static struct {
	uint32_t count;
	uint32_t inner, outer, to;
	struct kcpvpn_endpoint gateway;
	uint8_t gateway_key[KEY_BYTES];
	int64_t keepalive_us;
	int fd;
	struct caller *callers; /* [0] is not used */
	struct wheel wheel;
	struct mono now;
	bool pings;
	int64_t every_us;
	size_t packet_bytes;
	/* Since the mark. */
	struct mono marked_at, back_at;
	uint64_t sent, answers, back, held, missed;
	int64_t late_us;
} crowd;

/* What is to leave, and what came. */
static struct {
	size_t count;
	struct mmsghdr messages[BATCH];
	struct iovec pieces[BATCH];
	struct sockaddr_in names[BATCH];
	_Alignas(struct cmsghdr) uint8_t controls[BATCH][CMSG_SPACE(sizeof(struct in_pktinfo))];
	_Alignas(64) uint8_t rooms[BATCH][ROOM_BYTES];
} out, in;

_Noreturn static void give_up(const char *what)
{
	fprintf(stderr, "crowd: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct mono clock_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return mono_at_us((int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000);
}

static int64_t realtime_us(void *ctx)
{
	struct timespec ts;

	(void)ctx;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void fill_random(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	if (getrandom(buf, len, 0) != (ssize_t)len)
		give_up("getrandom");
}

/* Not secret: the gateway's configuration is made from it by another run. */
static void private_key(uint32_t number, uint8_t ret_key[KEY_BYTES])
{
	crypto_generichash(ret_key, KEY_BYTES, (const uint8_t *)&number, sizeof(number), NULL, 0);
}

/* ---- the socket ---------------------------------------------------------------------------------------------------- */

static void send_all(void)
{
	size_t at = 0;

	while (at < out.count) {
		int n = sendmmsg(crowd.fd, out.messages + at, (unsigned)(out.count - at), 0);
		if (n < 0 && errno == EINTR)
			continue;
		at += n > 0 ? (size_t)n : 1; /* as on any network */
	}
	out.count = 0;
}

static void send_out(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	const struct caller *caller = ctx;

	for (size_t i = 0; i < count; i++) {
		size_t at = out.count++;
		struct msghdr *message = &out.messages[at].msg_hdr;
		struct in_pktinfo info = {
			.ipi_spec_dst.s_addr = htonl(crowd.outer + caller->number)};
		if (batch[i].len > ROOM_BYTES)
			give_up("a datagram is too long");
		memcpy(out.rooms[at], batch[i].data, batch[i].len);
		out.pieces[at] = (struct iovec){out.rooms[at], batch[i].len};
		out.names[at] = (struct sockaddr_in){.sin_family = AF_INET,
			.sin_port = htons(batch[i].remote.port),
			.sin_addr.s_addr = htonl(load_be32(batch[i].remote.address))};
		*message = (struct msghdr){
			.msg_name = &out.names[at],
			.msg_namelen = sizeof(out.names[at]),
			.msg_iov = &out.pieces[at],
			.msg_iovlen = 1,
			.msg_control = out.controls[at],
			.msg_controllen = sizeof(out.controls[at]),
		};
		struct cmsghdr *control = CMSG_FIRSTHDR(message);
		control->cmsg_level = IPPROTO_IP;
		control->cmsg_type = IP_PKTINFO;
		control->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(control), &info, sizeof(info));
		if (out.count == BATCH)
			send_all();
	}
}

static void open_socket(void)
{
	const struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	const int on = 1, bytes = SOCKET_BYTES;

	crowd.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (crowd.fd < 0 || bind(crowd.fd, (const struct sockaddr *)&any, sizeof(any)) < 0 ||
		setsockopt(crowd.fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) < 0)
		give_up("socket");
	(void)setsockopt(crowd.fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	(void)setsockopt(crowd.fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
}

/* ---- packets ------------------------------------------------------------------------------------------------------- */

static uint16_t sum16(const uint8_t *bytes, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += load_be16(bytes + i);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static size_t make_packet(const struct caller *caller, uint8_t *packet)
{
	size_t len = crowd.packet_bytes;

	memset(packet, 0, len);
	packet[0] = 0x45;
	store_be16(packet + 2, (uint16_t)len);
	packet[8] = 64;
	packet[9] = crowd.pings ? IPPROTO_ICMP : IPPROTO_UDP;
	store_be32(packet + 12, crowd.inner + caller->number);
	store_be32(packet + 16, crowd.to);
	store_be16(packet + 10, sum16(packet, IP_BYTES));
	if (crowd.pings) {
		packet[IP_BYTES] = 8; /* echo request */
		store_be16(packet + IP_BYTES + 6, caller->asked);
		store_be16(packet + IP_BYTES + 2, sum16(packet + IP_BYTES, len - IP_BYTES));
	} else {
		store_be16(packet + IP_BYTES, PORT);
		store_be16(packet + IP_BYTES + 2, DISCARD_PORT);
		store_be16(packet + IP_BYTES + 4, (uint16_t)(len - IP_BYTES));
	}
	return len;
}

static void send_packet(struct caller *caller)
{
	_Alignas(64) uint8_t packet[ROOM_BYTES];

	if (caller->held && caller->waits)
		crowd.missed++;
	caller->asked++;
	caller->waits = crowd.pings;
	caller->held = caller->waits && caller->back;
	caller->asked_at = crowd.now;
	crowd.sent++;
	crowd.held += caller->held;
	size_t len = make_packet(caller, packet);
	if (kcpvpn_peer_send(caller->peer, packet, len, crowd.now.us) < 0)
		kcpvpn_peer_want(caller->peer, crowd.now.us);
}

static void take_answer(struct caller *caller, const uint8_t *packet, size_t len)
{
	if (len < INNER_HEADER_BYTES || packet[9] != IPPROTO_ICMP || packet[IP_BYTES] != 0 ||
		!caller->waits || load_be16(packet + IP_BYTES + 6) != caller->asked)
		return;
	int64_t took_us = mono_diff_us(crowd.now, caller->asked_at);
	caller->waits = false;
	crowd.answers++;
	if (caller->held && took_us > crowd.late_us)
		crowd.late_us = took_us;
	if (!caller->back && !mono_before(caller->asked_at, crowd.marked_at)) {
		caller->back = true;
		crowd.back++;
		crowd.back_at = crowd.now;
	}
}

static void receive(struct caller *caller)
{
	struct iovec pieces[KCPVPN_NATIVE_PIECES_MAX];
	size_t len;
	int count;

	while ((count = kcpvpn_peer_recv_peek(
			caller->peer, pieces, KCPVPN_NATIVE_PIECES_MAX, &len)) > 0) {
		take_answer(caller, pieces[0].iov_base, pieces[0].iov_len);
		kcpvpn_peer_recv_drop(caller->peer, crowd.now.us);
	}
}

/* ---- callers ------------------------------------------------------------------------------------------------------- */

/* All of them before the first one calls: a node's memory takes the kernel longer than a call does. */
static void make(struct caller *caller)
{
	uint8_t key[KEY_BYTES];

	private_key(caller->number, key);
	caller->port = (struct kcpvpn_udp_port){send_out, caller};
	const struct kcpvpn_native_config config = {
		.private_key = key,
		.datagram_max_bytes = DATAGRAM_BYTES,
		.peers_max = 1,
		.memory_max_bytes = (uint64_t)1 << 20,
		.handshake_limits_off = true,
		.realtime_us = realtime_us,
		.random = fill_random,
	};
	const struct kcpvpn_peer_config peer = {
		.public_key = crowd.gateway_key,
		.tun_mtu = TUN_MTU,
		.keepalive_us = crowd.keepalive_us,
		.dead_after_us = 15000000,
		.roaming = true,
		.persistent = true,
	};
	const struct kcpvpn_target target = {crowd.gateway, &caller->port};
	if (kcpvpn_native_new(&config, crowd.now.us, &caller->native) < 0 ||
		kcpvpn_native_add_peer(caller->native, &peer, crowd.now.us, &caller->peer) < 0)
		give_up("a peer cannot be made");
	kcpvpn_peer_set_targets(caller->peer, &target, 1, crowd.now.us);
}

static void turn(struct caller *caller)
{
	unsigned events;
	int64_t at_us;

	do {
		kcpvpn_native_on_deadline(caller->native, crowd.now.us);
		while (kcpvpn_native_next_event(caller->native, &events))
			if (events & KCPVPN_PEER_EVENT_READABLE)
				receive(caller);
		kcpvpn_native_flush(caller->native, crowd.now.us);
		at_us = kcpvpn_native_next_deadline(caller->native);
	} while (at_us <= crowd.now.us);
	wheel_arm(&crowd.wheel, &caller->node_timer, mono_at_us(at_us));
}

static void read_socket(void)
{
	for (int rounds = 0; rounds < 16; rounds++) {
		for (size_t i = 0; i < BATCH; i++) {
			in.pieces[i] = (struct iovec){in.rooms[i], ROOM_BYTES};
			in.messages[i].msg_hdr = (struct msghdr){
				.msg_name = &in.names[i],
				.msg_namelen = sizeof(in.names[i]),
				.msg_iov = &in.pieces[i],
				.msg_iovlen = 1,
				.msg_control = in.controls[i],
				.msg_controllen = sizeof(in.controls[i]),
			};
		}
		int count = recvmmsg(crowd.fd, in.messages, BATCH, 0, NULL);
		for (int i = 0; i < count; i++) {
			const struct cmsghdr *control = CMSG_FIRSTHDR(&in.messages[i].msg_hdr);
			struct in_pktinfo info = {0};
			if (control && control->cmsg_type == IP_PKTINFO)
				memcpy(&info, CMSG_DATA(control), sizeof(info));
			uint32_t number = ntohl(info.ipi_addr.s_addr) - crowd.outer;
			if (number == 0 || number > crowd.count || !crowd.callers[number].begun)
				continue;
			struct caller *caller = &crowd.callers[number];
			struct kcpvpn_datagram datagram = {.data = in.rooms[i],
				.len = in.messages[i].msg_len,
				.remote = crowd.gateway};
			store_be32(datagram.remote.address, ntohl(in.names[i].sin_addr.s_addr));
			datagram.remote.port = ntohs(in.names[i].sin_port);
			kcpvpn_native_input(
				caller->native, &caller->port, &datagram, 1, crowd.now.us);
			turn(caller);
		}
		if (count < BATCH)
			return;
	}
}

static void serve_timers(void)
{
	struct wheel_timer *timer;

	while ((timer = wheel_pop_due(&crowd.wheel, crowd.now)) != NULL) {
		uint32_t number = (uint32_t)(((uint8_t *)timer - (uint8_t *)crowd.callers) /
					     (ptrdiff_t)sizeof(struct caller));
		struct caller *caller = &crowd.callers[number];
		if (!caller->begun)
			kcpvpn_peer_up(caller->peer, crowd.now.us);
		caller->begun = true;
		if (timer == &caller->packet_timer && crowd.every_us > 0) {
			send_packet(caller);
			wheel_arm(&crowd.wheel, timer, mono_add_us(crowd.now, crowd.every_us));
		}
		turn(caller);
	}
}

/* ---- commands and reports ------------------------------------------------------------------------------------------ */

static void mark(void)
{
	for (uint32_t i = 1; i <= crowd.count; i++) {
		struct caller *caller = &crowd.callers[i];
		caller->back = caller->held = caller->waits = false;
	}
	crowd.marked_at = crowd.back_at = crowd.now;
	crowd.sent = crowd.answers = crowd.back = crowd.held = crowd.missed = 0;
	crowd.late_us = 0;
}

static void begin_packets(bool pings, unsigned every_ms, unsigned bytes)
{
	crowd.pings = pings;
	crowd.every_us = (int64_t)every_ms * 1000;
	crowd.packet_bytes = bytes < INNER_HEADER_BYTES ? INNER_HEADER_BYTES : bytes;
	if (crowd.packet_bytes > TUN_MTU)
		crowd.packet_bytes = TUN_MTU;
	for (uint32_t i = 1; i <= crowd.count; i++) {
		struct caller *caller = &crowd.callers[i];
		wheel_disarm(&crowd.wheel, &caller->packet_timer);
		caller->waits = caller->held = false;
		if (crowd.every_us > 0)
			wheel_arm(&crowd.wheel, &caller->packet_timer,
				mono_add_us(crowd.now, crowd.every_us * i / crowd.count));
	}
}

/* @return false at the end of the input */
static bool read_commands(void)
{
	static char line[256];
	static size_t len;
	unsigned every_ms, bytes;
	ssize_t n = read(STDIN_FILENO, line + len, sizeof(line) - 1 - len);

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	len += (size_t)n;
	for (char *end; (end = memchr(line, '\n', len)) != NULL;) {
		*end = '\0';
		if (sscanf(line, "ping %u %u", &every_ms, &bytes) == 2)
			begin_packets(true, every_ms, bytes);
		else if (sscanf(line, "send %u %u", &every_ms, &bytes) == 2)
			begin_packets(false, every_ms, bytes);
		else if (strcmp(line, "mark") == 0)
			mark();
		else
			fprintf(stderr, "crowd: what is \"%s\"?\n", line);
		len -= (size_t)(end + 1 - line);
		memmove(line, end + 1, len);
	}
	return len < sizeof(line) - 1;
}

static void report(void)
{
	uint64_t opened = 0, up = 0;

	for (uint32_t i = 1; i <= crowd.count; i++) {
		struct kcpvpn_native_stats stats;
		kcpvpn_native_stats(crowd.callers[i].native, &stats);
		opened += stats.handshakes_done;
		up += kcpvpn_peer_state(crowd.callers[i].peer) == KCPVPN_PEER_UP;
	}
	printf("{\"up\": %llu, \"sent\": %llu, \"answers\": %llu, \"back\": %llu, \"back_ms\": "
	       "%lld, \"held\": %llu, "
	       "\"missed\": %llu, \"late_ms\": %.1f, \"opened\": %llu}\n",
		(unsigned long long)up, (unsigned long long)crowd.sent,
		(unsigned long long)crowd.answers, (unsigned long long)crowd.back,
		(long long)mono_diff_us(crowd.back_at, crowd.marked_at) / 1000,
		(unsigned long long)crowd.held, (unsigned long long)crowd.missed,
		(double)crowd.late_us / 1e3, (unsigned long long)opened);
	fflush(stdout);
}

static void run(int64_t gap_us)
{
	struct mono report_at;

	crowd.callers = calloc((size_t)crowd.count + 1, sizeof(*crowd.callers));
	if (!crowd.callers)
		give_up("memory");
	open_socket();
	(void)fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
	crowd.now = clock_now();
	for (uint32_t i = 1; i <= crowd.count; i++) {
		crowd.callers[i].number = i;
		make(&crowd.callers[i]);
	}
	crowd.now = crowd.marked_at = crowd.back_at = clock_now();
	wheel_init(&crowd.wheel, crowd.now);
	for (uint32_t i = 1; i <= crowd.count; i++) {
		struct caller *caller = &crowd.callers[i];
		wheel_timer_init(&caller->node_timer);
		wheel_timer_init(&caller->packet_timer);
		wheel_arm(&crowd.wheel, &caller->node_timer,
			mono_add_us(crowd.now, (int64_t)i * gap_us));
	}
	report_at = mono_add_us(crowd.now, REPORT_US);
	for (;;) {
		struct pollfd fds[2] = {{crowd.fd, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
		int64_t left_us =
			mono_diff_us(mono_min(wheel_next(&crowd.wheel), report_at), clock_now());
		const struct timespec wait = {.tv_sec = left_us > 0 ? left_us / 1000000 : 0,
			.tv_nsec = left_us > 0 ? left_us % 1000000 * 1000 : 0};
		if (ppoll(fds, 2, &wait, NULL) < 0 && errno != EINTR)
			give_up("ppoll");
		crowd.now = clock_now();
		if (fds[0].revents)
			read_socket();
		if (fds[1].revents && !read_commands())
			return;
		serve_timers();
		send_all();
		if (mono_due(report_at, crowd.now)) {
			report();
			report_at = mono_add_us(report_at, REPORT_US);
		}
	}
}

/* ---- the command line ---------------------------------------------------------------------------------------------- */

static void print_peers(void)
{
	uint8_t secret[KEY_BYTES], key[KEY_BYTES];
	char text[sodium_base64_ENCODED_LEN(KEY_BYTES, sodium_base64_VARIANT_ORIGINAL)];

	printf("peers:\n");
	for (uint32_t i = 1; i <= crowd.count; i++) {
		uint32_t address = crowd.inner + i;
		private_key(i, secret);
		kcpvpn_native_public_half(secret, key);
		sodium_bin2base64(
			text, sizeof(text), key, sizeof(key), sodium_base64_VARIANT_ORIGINAL);
		printf("  p%u: {public_key: \"%s\", allowed_ips: [%u.%u.%u.%u]}\n", i, text,
			address >> 24, (address >> 16) & 255, (address >> 8) & 255, address & 255);
	}
}

static bool read_address(const char *text, uint32_t *ret_address)
{
	struct in_addr address;

	if (inet_pton(AF_INET, text, &address) != 1)
		return false;
	*ret_address = ntohl(address.s_addr);
	return true;
}

static bool read_gateway(char *text)
{
	char *colon = strchr(text, ':');
	uint32_t address;

	if (!colon)
		return false;
	*colon = '\0';
	crowd.gateway = (struct kcpvpn_endpoint){.family = 4, .port = (uint16_t)atoi(colon + 1)};
	if (!read_address(text, &address))
		return false;
	store_be32(crowd.gateway.address, address);
	return true;
}

static bool read_key(const char *text)
{
	size_t len;

	return sodium_base642bin(crowd.gateway_key, KEY_BYTES, text, strlen(text), NULL, &len, NULL,
		       sodium_base64_VARIANT_ORIGINAL) == 0 &&
	       len == KEY_BYTES;
}

int main(int argc, char **argv)
{
	crowd.count = argc >= 4 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
	if (sodium_init() >= 0 && crowd.count >= 1 && crowd.count <= COUNT_MAX &&
		read_address(argv[3], &crowd.inner)) {
		if (argc == 4 && strcmp(argv[1], "peers") == 0) {
			print_peers();
			return 0;
		}
		if (argc == 10 && strcmp(argv[1], "call") == 0 &&
			read_address(argv[4], &crowd.outer) && read_key(argv[5]) &&
			read_gateway(argv[6]) && read_address(argv[7], &crowd.to)) {
			crowd.keepalive_us = strtol(argv[9], NULL, 10) * 1000000;
			run(strtol(argv[8], NULL, 10));
			return 0;
		}
	}
	fprintf(stderr, "usage: crowd peers COUNT INNER\n"
			"       crowd call COUNT INNER OUTER KEY GATEWAY TO GAP_US KEEPALIVE_S\n");
	return 2;
}
