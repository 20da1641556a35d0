/*
 * A TUN device belongs to the namespace in which its descriptor is attached, and the descriptor works from anywhere.
 * So the process visits the namespace, makes and configures the device there, and comes back; one process then owns
 * both ends of a link between two namespaces.
 *
 * Addresses are set by rtnetlink, because the older ioctl knows one IPv4 address a device. IPv6 gets no duplicate
 * address detection, no router solicitations and no link-local address: the link should carry what a test sends.
 */
#include "tests/lab/lab_tun.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	QUEUE_PACKETS = 10000, /* the device's own queue: losses belong to the model */
};

/* Says what failed, and gives the error back. */
static int failed(char *why, const char *what, const char *on, int error)
{
	snprintf(why, LAB_TUN_WHY_BYTES, "%s %.100s: %s", what, on, strerror(-error));
	return error;
}

static bool parse_address(char *text, struct lab_tun_address *ret)
{
	char *slash = strchr(text, '/'), *end;

	if (!slash)
		return false;
	*slash = '\0';
	ret->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(ret->family, text, ret->bytes) != 1)
		return false;
	errno = 0;
	unsigned long prefix = strtoul(slash + 1, &end, 10);
	if (errno || end == slash + 1 || *end || prefix > (ret->family == AF_INET ? 32u : 128u))
		return false;
	ret->prefix_len = (uint8_t)prefix;
	return true;
}

int lab_tun_parse(const char *text, struct lab_tun_spec *ret_spec, char *why)
{
	struct lab_tun_spec spec = {0};
	const char *name = strchr(text, ':');
	const char *addresses = name ? strchr(name + 1, ':') : NULL;
	char buffer[64];

	snprintf(why, LAB_TUN_WHY_BYTES, "\"%.100s\" is not NETNS:IFNAME:ADDRESS/PREFIX[,...]",
		text);
	if (!addresses)
		return -EINVAL;
	int netns_len = (int)(name - text);
	size_t name_len = (size_t)(addresses - name - 1);
	if (netns_len == 0 || netns_len > 200 || name_len == 0 || name_len >= IFNAMSIZ)
		return -EINVAL;
	memcpy(spec.name, name + 1, name_len);
	if (memchr(text, '/', (size_t)netns_len))
		snprintf(spec.netns, sizeof(spec.netns), "%.*s", netns_len, text);
	else if (netns_len != 1 || text[0] != '-')
		snprintf(spec.netns, sizeof(spec.netns), "/run/netns/%.*s", netns_len, text);

	const char *at = addresses + 1;
	for (;;) {
		size_t len = strcspn(at, ",");
		if (len >= sizeof(buffer) || spec.address_count == LAB_TUN_ADDRESSES_MAX)
			return -EINVAL;
		memcpy(buffer, at, len);
		buffer[len] = '\0';
		if (!parse_address(buffer, &spec.addresses[spec.address_count]))
			return -EINVAL;
		spec.address_count++;
		if (at[len] == '\0')
			break;
		at += len + 1;
	}
	*ret_spec = spec;
	return 0;
}

/* Quiet IPv6, where the kernel has it. A device that talks on its own is an annoyance, not an error. */
static void set_ipv6(const char *name, const char *key, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/%s", name, key);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t written = write(fd, value, strlen(value));
	(void)written;
	close(fd);
}

static int add_address(int netlink, unsigned ifindex, const struct lab_tun_address *address)
{
	size_t len = address->family == AF_INET ? 4 : 16;
	struct {
		struct nlmsghdr header;
		struct ifaddrmsg body;
		uint8_t attributes[2 * RTA_SPACE(16)];
	} request = {
		.header = {.nlmsg_type = RTM_NEWADDR,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK},
		.body = {.ifa_family = (uint8_t)address->family,
			.ifa_prefixlen = address->prefix_len,
			.ifa_flags = IFA_F_NODAD,
			.ifa_index = ifindex},
	};
	uint8_t *at = request.attributes;
	const unsigned short types[] = {IFA_LOCAL, IFA_ADDRESS};
	for (size_t i = 0; i < 2; i++) {
		struct rtattr attribute = {(unsigned short)RTA_LENGTH(len), types[i]};
		memcpy(at, &attribute, sizeof(attribute));
		memcpy(at + RTA_LENGTH(0), address->bytes, len);
		at += RTA_SPACE(len);
	}
	request.header.nlmsg_len = (uint32_t)(at - (uint8_t *)&request);

	if (send(netlink, &request, request.header.nlmsg_len, 0) < 0)
		return -errno;
	struct {
		struct nlmsghdr header;
		struct nlmsgerr body;
		uint8_t rest[512];
	} answer;
	ssize_t got = recv(netlink, &answer, sizeof(answer), 0);
	if (got < 0)
		return -errno;
	if ((size_t)got < NLMSG_LENGTH(sizeof(answer.body)) ||
		answer.header.nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return answer.body.error;
}

/* Addresses, MTU, queue and up, for a device of the namespace the process is in. */
static int configure(const struct lab_tun_spec *spec, unsigned mtu, char *why)
{
	struct ifreq request = {0};
	int err = 0;

	memcpy(request.ifr_name, spec->name, IFNAMSIZ);
	set_ipv6(spec->name, "addr_gen_mode", "1");
	set_ipv6(spec->name, "router_solicitations", "0");
	int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (control < 0 || netlink < 0) {
		err = failed(why, "cannot open a socket for", spec->name, -errno);
		goto close_sockets;
	}
	request.ifr_mtu = (int)mtu;
	if (ioctl(control, SIOCSIFMTU, &request) < 0) {
		err = failed(why, "cannot set the MTU of", spec->name, -errno);
		goto close_sockets;
	}
	request.ifr_qlen = QUEUE_PACKETS;
	if (ioctl(control, SIOCSIFTXQLEN, &request) < 0) {
		err = failed(why, "cannot set the queue length of", spec->name, -errno);
		goto close_sockets;
	}
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(control, SIOCSIFFLAGS, &request) < 0) {
		err = failed(why, "cannot bring up", spec->name, -errno);
		goto close_sockets;
	}
	unsigned ifindex = if_nametoindex(spec->name);
	for (size_t i = 0; i < spec->address_count && !err; i++) {
		err = add_address(netlink, ifindex, &spec->addresses[i]);
		if (err)
			failed(why, "cannot add an address to", spec->name, err);
	}
close_sockets:
	if (netlink >= 0)
		close(netlink);
	if (control >= 0)
		close(control);
	return err;
}

static int make_device(const struct lab_tun_spec *spec, unsigned mtu, char *why)
{
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return failed(why, "cannot open", "/dev/net/tun", -errno);
	memcpy(request.ifr_name, spec->name, IFNAMSIZ);
	int err = ioctl(fd, TUNSETIFF, &request) < 0
			  ? failed(why, "cannot make the TUN device", spec->name, -errno)
			  : configure(spec, mtu, why);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

int lab_tun_open(const struct lab_tun_spec *spec, unsigned mtu, char *why)
{
	if (spec->netns[0] == '\0')
		return make_device(spec, mtu, why);

	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (home < 0)
		return failed(why, "cannot open", "/proc/self/ns/net", -errno);
	int fd;
	int away = open(spec->netns, O_RDONLY | O_CLOEXEC);
	if (away < 0) {
		fd = failed(why, "cannot open the namespace", spec->netns, -errno);
		goto close_home;
	}
	if (setns(away, CLONE_NEWNET) < 0) {
		fd = failed(why, "cannot enter the namespace", spec->netns, -errno);
		goto close_away;
	}
	fd = make_device(spec, mtu, why);
	if (setns(home, CLONE_NEWNET) < 0) {
		int err = failed(why, "cannot come back from", spec->netns, -errno);
		if (fd >= 0)
			close(fd);
		fd = err;
	}
close_away:
	close(away);
close_home:
	close(home);
	return fd;
}
