/* Each test runs in a process and a network namespace of its own. */
#include "core/ip_header.h"
#include "core/virtio_net_header.h"
#include "vpnd/fault.h"
#include "vpnd/loop.h"
#include "vpnd/netlink.h"
#include "vpnd/tun.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static void own_namespace(void)
{
	cr_assert_eq(unshare(CLONE_NEWNET), 0, "needs root: network namespaces");
}

static int open_named(struct tun *tun, const char *name, struct fault *fault)
{
	struct tun_options options = {.name = name};
	return tun_open(tun, &options, fault);
}

/* An interface with 10.9.0.1/24, up. */
static void bring_up(const struct tun *tun)
{
	struct netlink *netlink = NULL;
	struct ip_prefix address;

	cr_assert_eq(ip_prefix_parse("10.9.0.1/24", &address), 0);
	cr_assert_eq(netlink_new(&netlink, NULL), 0);
	cr_assert_eq(netlink_address_add(netlink, tun->ifindex, &address, NULL), 0);
	cr_assert_eq(netlink_link_set_up(netlink, tun->ifindex, true, NULL), 0);
	netlink_free(netlink);
}

Test(tun, creates_and_removes_the_interface)
{
	struct fault fault = {0};
	struct tun tun;
	struct tun second;

	own_namespace();
	cr_assert_eq(open_named(&tun, "kcp-test.0_longx", &fault), -EINVAL);
	cr_assert_eq(open_named(&tun, "kcp-test.0_long", &fault), 0, "%s", fault.text);
	cr_assert_eq((int)if_nametoindex("kcp-test.0_long"), tun.ifindex);
	cr_assert_str_eq(tun.name, "kcp-test.0_long");
	cr_assert(fcntl(tun.fd, F_GETFD) & FD_CLOEXEC);
	cr_assert(fcntl(tun.fd, F_GETFL) & O_NONBLOCK);

	cr_assert_eq(open_named(&second, "kcp-test.0_long", &fault), -EBUSY);
	cr_assert_str_eq(fault.code, "E-TUN-4");
	cr_assert(strstr(fault.text, "another program holds it") && fault.hint[0]);
	cr_assert_eq(open_named(&second, "lo", &fault), -EINVAL);
	cr_assert(strstr(fault.text, "another kind exists"), "%s", fault.text);
	tun_close(&second);

	tun_close(&tun);
	tun_close(&tun);
	cr_assert_eq(if_nametoindex("kcp-test.0_long"), 0);
}

Test(tun, refuses_names_before_asking_the_kernel)
{
	static const char *const bad[] = {"", "kcp%d", "a/b", "a b", "a:b", ".", "..",
		"0123456789abcdef", "\x01", "\xc3\xa9"};
	struct fault fault = {0};
	struct tun tun;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert_eq(open_named(&tun, bad[i], &fault), -EINVAL, "%s", bad[i]);
		cr_assert_str_eq(fault.code, "E-TUN-5");
		cr_assert_eq(tun.fd, -1);
	}
	cr_assert_eq(open_named(&tun, NULL, NULL), -EINVAL);
}

Test(tun, without_the_right)
{
	struct fault fault = {0};
	struct tun tun;

	own_namespace();
	cr_assert_eq(setresuid(65534, 65534, 65534), 0);
	cr_assert_eq(open_named(&tun, "tn0", &fault), -EPERM);
	cr_assert_str_eq(fault.code, "E-TUN-2");
	cr_assert(strstr(fault.hint, "CAP_NET_ADMIN"));
}

Test(tun, carries_packets_both_ways)
{
	static uint8_t room[VIRTIO_NET_HEADER_BYTES + TUN_PACKET_BYTES_MAX];
	uint8_t *buf = room + VIRTIO_NET_HEADER_BYTES;
	struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(7000)};
	struct fault fault = {0};
	struct virtio_net_header left;
	struct ip_header header;
	struct tun tun;

	own_namespace();
	cr_assert_eq(open_named(&tun, "tn0", &fault), 0, "%s", fault.text);
	cr_assert_eq(tun_read(&tun, buf, sizeof(room) - VIRTIO_NET_HEADER_BYTES, &left), -EAGAIN);
	cr_assert_eq(tun.counters.read_failed, 0);
	bring_up(&tun);

	/* Out of the host: what a socket sends is read whole. */
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(7001)};
	inet_pton(AF_INET, "10.9.0.1", &own.sin_addr);
	inet_pton(AF_INET, "10.9.0.2", &peer.sin_addr);
	cr_assert_eq(bind(fd, (struct sockaddr *)&own, sizeof(own)), 0);
	cr_assert_eq(sendto(fd, "hello", 5, 0, (struct sockaddr *)&peer, sizeof(peer)), 5);
	ssize_t got;
	do /* the kernel may have something of its own to say, too (IPv6 multicast) */
		got = tun_read(&tun, buf, sizeof(room) - VIRTIO_NET_HEADER_BYTES, &left);
	while (got > 0 && buf[0] >> 4 != 4);
	cr_assert_eq(got, 33);
	cr_assert_eq(ip_header_parse(buf, (size_t)got, &header), IP_OK);
	cr_assert_eq(header.dst_port, 7000);
	cr_assert(tun.counters.rx_packets >= 1 && tun.counters.rx_bytes >= 33);

	/* Into the host: the answer, gathered from pieces. */
	uint8_t answer[33];
	uint8_t src[4] = {10, 9, 0, 2};
	uint8_t dst[4] = {10, 9, 0, 1};
	(void)ip_header_write(answer, 4, src, dst, IP_PROTOCOL_UDP, 13);
	memcpy(answer + 20, (uint8_t[8]){0x1b, 0x58, 0x1b, 0x59, 0, 13},
		8); /* 7000 to 7001, no checksum */
	memcpy(answer + 28, "world", 5);
	struct iovec pieces[3] = {{answer, 20}, {answer + 20, 8}, {answer + 28, 5}};
	cr_assert_eq(tun_write(&tun, pieces, 3), 0);
	cr_assert_eq(tun.counters.tx_packets, 1);
	cr_assert_eq(tun.counters.tx_bytes, 33);
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	cr_assert_eq(poll(&ready, 1, 5000), 1);
	cr_assert_eq(recv(fd, buf, sizeof(room) - VIRTIO_NET_HEADER_BYTES, 0), 5);
	cr_assert_eq(memcmp(buf, "world", 5), 0);
	close(fd);
	tun_close(&tun);
}

Test(tun, failures_are_counted_and_harmless)
{
	uint8_t packet[20];
	uint8_t address[4] = {10, 9, 0, 2};
	struct iovec piece = {packet, sizeof(packet)};
	struct netlink *netlink = NULL;
	struct tun tun;

	own_namespace();
	cr_assert_eq(open_named(&tun, "tn0", NULL), 0);
	(void)ip_header_write(packet, 4, address, address, IP_PROTOCOL_NONE, 0);
	cr_assert_eq(tun_write(&tun, &piece, 1), -EIO, "the link is down");
	cr_assert_eq(tun.counters.write_down, 1);
	bring_up(&tun);
	packet[0] = 0x75;
	cr_assert_eq(tun_write(&tun, &piece, 1), -EINVAL, "no IP version");
	cr_assert_eq(tun.counters.write_invalid, 1);
	piece.iov_len = 0;
	cr_assert_eq(tun_write(&tun, &piece, 1), -EINVAL, "nothing");
	cr_assert_eq(tun.counters.write_invalid, 2);
	packet[0] = 0x45;
	piece.iov_len = 20;
	cr_assert_eq(tun_write(&tun, &piece, 1), 0);
	cr_assert_eq(tun.counters.tx_packets, 1);
	cr_assert_eq(netlink_new(&netlink, NULL), 0);
	cr_assert_eq(netlink_link_set_up(netlink, tun.ifindex, false, NULL), 0);
	cr_assert_eq(tun_write(&tun, &piece, 1), -EIO);
	cr_assert_eq(tun.counters.write_down, 2);
	netlink_free(netlink);
	tun_close(&tun);
}

/* Deletes an interface as `ip link del` does. */
static void delete_interface(int ifindex)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg body;
	} request = {
		.header = {.nlmsg_len = sizeof(request),
			.nlmsg_type = RTM_DELLINK,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
		.body = {.ifi_index = ifindex},
	};
	char answer[512];
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	cr_assert_eq(send(fd, &request, sizeof(request), 0), (ssize_t)sizeof(request));
	cr_assert(recv(fd, answer, sizeof(answer), 0) > 0);
	close(fd);
}

Test(tun, a_deleted_device_is_told)
{
	uint8_t packet[100];
	uint8_t address[4] = {10, 9, 0, 2};
	struct iovec piece = {packet, 20};
	struct virtio_net_header left;
	struct tun tun;

	own_namespace();
	cr_assert_eq(open_named(&tun, "tn0", NULL), 0);
	bring_up(&tun);
	while (tun_read(&tun, packet, sizeof(packet), &left) > 0)
		;
	delete_interface(tun.ifindex);
	struct pollfd ready = {.fd = tun.fd, .events = POLLIN};
	cr_assert_eq(poll(&ready, 1, 5000), 1);
	cr_assert(ready.revents & POLLERR);
	cr_assert_eq(tun_read(&tun, packet, sizeof(packet), &left), -ENODEV);
	(void)ip_header_write(packet, 4, address, address, IP_PROTOCOL_NONE, 0);
	cr_assert_eq(tun_write(&tun, &piece, 1), -ENODEV);
	cr_assert_eq(tun.counters.write_gone, 1);
	tun_close(&tun);
}

/* With offloads the host leaves checksums open, and takes packets whose are. */
Test(tun, headers_tell_what_is_left_to_be_done)
{
	static uint8_t room[VIRTIO_NET_HEADER_BYTES + TUN_PACKET_BYTES_MAX];
	uint8_t *buf = room + VIRTIO_NET_HEADER_BYTES;
	struct tun_options options = {.name = "tn0", .offload = true};
	struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(7000)};
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(7001)};
	struct virtio_net_header left;
	struct tun tun;
	ssize_t got;

	own_namespace();
	cr_assert_eq(tun_open(&tun, &options, NULL), 0);
	cr_assert(tun.headers);
	cr_assert(tun.offload, "every kernel since 2.6.27 takes TCP");
	bring_up(&tun);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	inet_pton(AF_INET, "10.9.0.1", &own.sin_addr);
	inet_pton(AF_INET, "10.9.0.2", &peer.sin_addr);
	cr_assert_eq(bind(fd, (struct sockaddr *)&own, sizeof(own)), 0);
	cr_assert_eq(sendto(fd, "hello", 5, 0, (struct sockaddr *)&peer, sizeof(peer)), 5);
	do
		got = tun_read(&tun, buf, sizeof(room) - VIRTIO_NET_HEADER_BYTES, &left);
	while (got > 0 && buf[0] >> 4 != 4);
	cr_assert_eq(got, 33, "the header in front is not counted");
	cr_assert_eq(left.flags & VIRTIO_NET_NEEDS_CHECKSUM, VIRTIO_NET_NEEDS_CHECKSUM);
	cr_assert_eq(left.checksum_start, 20);
	cr_assert_eq(left.checksum_offset, 6);

	/* Back to where it came from: the kernel writes the checksum that is asked for. */
	uint8_t swap[4];
	memcpy(swap, buf + 12, 4);
	memcpy(buf + 12, buf + 16, 4);
	memcpy(buf + 16, swap, 4);
	memcpy(swap, buf + 20, 2);
	memcpy(buf + 20, buf + 22, 2);
	memcpy(buf + 22, swap, 2);
	uint64_t before = tun.counters.tx_bytes;
	cr_assert_eq(tun_write_super(&tun, &left, buf, 33), 0);
	cr_assert_eq(tun.counters.tx_bytes - before, 33);
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	cr_assert_eq(poll(&ready, 1, 5000), 1);
	cr_assert_eq(recv(fd, buf, sizeof(room) - VIRTIO_NET_HEADER_BYTES, 0), 5);
	close(fd);
	tun_close(&tun);
}

/* What stands in front is judged before anybody believes it. */
Test(tun, a_bad_header_is_counted)
{
	uint8_t bytes[VIRTIO_NET_HEADER_BYTES + 20] = {0};
	uint8_t room[VIRTIO_NET_HEADER_BYTES + 100];
	uint8_t *buf = room + VIRTIO_NET_HEADER_BYTES;
	struct virtio_net_header left;
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	struct tun tun = {.fd = pair[0], .headers = true};
	cr_assert_eq(send(pair[1], bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
	cr_assert_eq(tun_read(&tun, buf, sizeof(room) - VIRTIO_NET_HEADER_BYTES, &left), 20);
	bytes[1] = 77; /* a way of cutting that nobody asked for */
	cr_assert_eq(send(pair[1], bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
	cr_assert_eq(tun_read(&tun, buf, sizeof(room) - VIRTIO_NET_HEADER_BYTES, &left), -EBADMSG);
	cr_assert_eq(send(pair[1], bytes, VIRTIO_NET_HEADER_BYTES, 0), VIRTIO_NET_HEADER_BYTES);
	cr_assert_eq(tun_read(&tun, buf, sizeof(room) - VIRTIO_NET_HEADER_BYTES, &left), -EBADMSG,
		"no packet behind it");
	cr_assert_eq(tun.counters.read_header, 2);
	cr_assert_eq(tun.counters.rx_packets, 1);
	close(pair[0]);
	close(pair[1]);
}
