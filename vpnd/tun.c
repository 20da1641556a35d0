/*
 * One packet a system call, no packet information in front. A device that was deleted under us shows as EBADFD on reads
 * and writes (and EPOLLERR from epoll); all other failures concern one packet.
 *
 * With offloads a header of ten bytes stands in front of each packet (core/virtio_net_header.h), and the host may hand
 * over up to 64 KB that it would have had to cut, and checksums that it did not compute. What it may do is asked for by
 * TUNSETOFFLOAD: first all, then without UDP (before Linux 6.2), then checksums alone. That the kernel knows the UDP bits also
 * tells that it takes such packets. The header stays if all is refused: it is there with IFF_VNET_HDR since Linux 2.6.27.
 *
 * Sources: Linux, Documentation/networking/tuntap.rst, drivers/net/tun.c (set_offload).
 */
#include "vpnd/tun.h"

#include "core/virtio_net_header.h"
#include "vpnd/fault.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Debian 12's headers lack them. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

static const char DEVICE[] = "/dev/net/tun";

static bool name_valid(const char *name)
{
	size_t len = name ? strlen(name) : 0;

	if (len == 0 || len >= TUN_NAME_BYTES || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	for (size_t i = 0; i < len; i++) {
		/* '%' would make the kernel choose a number. */
		if (strchr("/:%", name[i]) || !isgraph((unsigned char)name[i]))
			return false;
	}
	return true;
}

static int open_failed(int err, struct fault *fault)
{
	switch (err) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return fault_set(fault, -err, "E-TUN-1",
			"load the module (sudo modprobe tun); in a container, pass the device in",
			"cannot open %s: %s", DEVICE, strerror(err));
	case EPERM:
	case EACCES:
		return fault_set(fault, -EPERM, "E-TUN-2",
			"start as root, or with CAP_NET_ADMIN and access to the device",
			"cannot open %s: %s", DEVICE, strerror(err));
	default:
		return fault_set(
			fault, -err, "E-TUN-3", NULL, "cannot open %s: %s", DEVICE, strerror(err));
	}
}

static int create_failed(int err, const char *name, struct fault *fault)
{
	switch (err) {
	case EPERM:
		return fault_set(fault, -err, "E-TUN-2", "start as root, or with CAP_NET_ADMIN",
			"cannot create the interface %s: %s", name, strerror(err));
	case EBUSY:
		return fault_set(fault, -err, "E-TUN-4",
			"is vpnd running already? otherwise choose another interface.name",
			"cannot create the interface %s: another program holds it", name);
	case EINVAL:
	case EEXIST:
		return fault_set(fault, -err, "E-TUN-4", "choose another interface.name",
			"cannot create the interface %s: an interface of this name and another "
			"kind exists",
			name);
	default:
		return fault_set(fault, -err, "E-TUN-3", NULL, "cannot create the interface %s: %s",
			name, strerror(err));
	}
}

/*
 * The number of the interface, in the network namespace of the device. The socket that tells is kept: later this process may
 * be in another.
 */
static int interface_index(const char *name, int *ret_ifindex, int *ret_fd)
{
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0) /* a kernel without IPv4 still has one of these */
		fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	memcpy(request.ifr_name, name, strlen(name) + 1);
	if (ioctl(fd, SIOCGIFINDEX, &request) < 0) {
		int err = -errno;
		close(fd);
		return err;
	}
	*ret_ifindex = request.ifr_ifindex;
	*ret_fd = fd;
	return 0;
}

/* The best that the kernel grants. */
static void set_offload(struct tun *tun)
{
	static const unsigned long tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

	tun->udp = ioctl(tun->fd, TUNSETOFFLOAD, tcp | TUN_F_USO4 | TUN_F_USO6) == 0;
	tun->offload = tun->udp || ioctl(tun->fd, TUNSETOFFLOAD, tcp) == 0;
	if (!tun->offload)
		(void)ioctl(tun->fd, TUNSETOFFLOAD, (unsigned long)TUN_F_CSUM);
}

/* A queue of the device of this name, which is made if there is none. */
static int open_queue(struct tun *tun, const char *name, short flags, struct fault *fault)
{
	struct ifreq request = {.ifr_flags = flags};
	int ifindex = 0, query_fd = 0;
	int err;

	int fd = open(DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return open_failed(errno, fault);
	memcpy(request.ifr_name, name, strlen(name) + 1);
	if (ioctl(fd, TUNSETIFF, &request) < 0) {
		err = create_failed(errno, name, fault);
		goto close_fd;
	}
	err = interface_index(request.ifr_name, &ifindex, &query_fd);
	if (err) {
		(void)create_failed(-err, name, fault);
		goto close_fd;
	}
	tun->fd = fd;
	tun->headers = (flags & IFF_VNET_HDR) != 0;
	tun->multi = (flags & IFF_MULTI_QUEUE) != 0;
	if (tun->headers)
		set_offload(tun);
	tun->ifindex = ifindex;
	tun->query_fd = query_fd;
	memcpy(tun->name, request.ifr_name, sizeof(tun->name));
	tun->name[sizeof(tun->name) - 1] = '\0';
	return 0;
close_fd:
	close(fd);
	return err;
}

int tun_open(struct tun *tun, const struct tun_options *options, struct fault *fault)
{
	int flags = IFF_TUN | IFF_NO_PI;

	*tun = (struct tun){.fd = -1};
	if (!name_valid(options->name)) {
		return fault_set(fault, -EINVAL, "E-TUN-5",
			"use 1 to 15 letters, digits, '-', '_' or '.'",
			"\"%.32s\" cannot be the name of an interface",
			options->name ? options->name : "");
	}
	if (options->offload)
		flags |= IFF_VNET_HDR;
	if (options->multi)
		flags |= IFF_MULTI_QUEUE | IFF_TUN_EXCL;
	return open_queue(tun, options->name, (short)flags, fault);
}

int tun_open_queue(struct tun *tun, const struct tun *first, struct fault *fault)
{
	int flags = IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE | (first->headers ? IFF_VNET_HDR : 0);

	*tun = (struct tun){.fd = -1};
	int error = open_queue(tun, first->name, (short)flags, fault);
	if (error == 0) { /* the first queue is asked about the device */
		close(tun->query_fd);
		tun->query_fd = 0;
	}
	return error;
}

int tun_set_attached(struct tun *tun, bool attached)
{
	struct ifreq request = {.ifr_flags = attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};

	if (tun->detached == !attached)
		return 0;
	if (ioctl(tun->fd, TUNSETQUEUE, &request) < 0)
		return -errno;
	tun->detached = !attached;
	return 0;
}

int tun_adopt(struct tun *tun, int fd, const struct tun *like, struct fault *fault)
{
	struct ifreq request = {0};
	int ifindex = 0, query_fd = 0;

	*tun = (struct tun){.fd = -1};
	int err = ioctl(fd, TUNGETIFF, &request) < 0 ? -errno : 0;
	if (!err)
		err = interface_index(request.ifr_name, &ifindex, &query_fd);
	if (err) {
		close(fd);
		return create_failed(-err, "of a peer", fault);
	}
	tun->fd = fd;
	tun->headers = like->headers;
	tun->offload = like->offload;
	tun->udp = like->udp;
	tun->ifindex = ifindex;
	tun->query_fd = query_fd;
	memcpy(tun->name, request.ifr_name, sizeof(tun->name));
	tun->name[sizeof(tun->name) - 1] = '\0';
	return 0;
}

int tun_set_carrier(const struct tun *tun, bool carrier)
{
	int value = carrier;

	return ioctl(tun->fd, TUNSETCARRIER, &value) < 0 ? -errno : 0;
}

bool tun_is_up(const struct tun *tun)
{
	struct ifreq request = {0};

	/* the device tells its name of today: it may have been renamed */
	if (tun->query_fd > 0 && ioctl(tun->fd, TUNGETIFF, &request) == 0 &&
		ioctl(tun->query_fd, SIOCGIFFLAGS, &request) == 0)
		return (request.ifr_flags & IFF_UP) != 0;
	return true;
}

void tun_close(struct tun *tun)
{
	if (tun->fd >= 0)
		close(tun->fd);
	if (tun->query_fd > 0)
		close(tun->query_fd);
	tun->query_fd = 0;
	tun->fd = -1;
	tun->ifindex = 0;
}

/* One piece of memory, as the kernel takes a tenth longer for two: it has to fetch and judge their list. */
ssize_t tun_read(struct tun *tun, uint8_t *at, size_t len, struct virtio_net_header *ret_header)
{
	size_t head_bytes = tun->headers ? VIRTIO_NET_HEADER_BYTES : 0;
	uint8_t *head = at - head_bytes;
	ssize_t got;

	do
		got = read(tun->fd, head, head_bytes + len);
	while (got < 0 && errno == EINTR);
	if (got > 0) {
		size_t packet_bytes = (size_t)got > head_bytes ? (size_t)got - head_bytes : 0;
		*ret_header = (struct virtio_net_header){0};
		if (tun->headers &&
			(packet_bytes == 0 || virtio_net_header_parse(head, head_bytes,
						      packet_bytes, ret_header) != VIRTIO_NET_OK)) {
			tun->counters.read_header++;
			return -EBADMSG;
		}
		tun->counters.rx_packets++;
		tun->counters.rx_bytes += packet_bytes;
		return (ssize_t)packet_bytes;
	}
	if (got == 0 || errno == EAGAIN)
		return -EAGAIN;
	int err = errno;
	tun->counters.read_failed++;
	/* EFAULT is what the kernel gives to a reader whose device is just being deleted. */
	return err == EBADFD || err == EBADF || err == EFAULT ? -ENODEV : -err;
}

static int write_failed(struct tun_counters *counters, int err)
{
	switch (err) {
	case EIO:
		counters->write_down++;
		return -EIO;
	case EAGAIN:
	case ENOBUFS:
	case ENOMEM:
		counters->write_full++;
		return -EAGAIN;
	case EINVAL:
		counters->write_invalid++;
		return -EINVAL;
	case EBADFD:
	case EBADF:
	case ENODEV:
		counters->write_gone++;
		return -ENODEV;
	default:
		counters->write_failed++;
		return -err;
	}
}

/* @len  of the packet in `pieces`, `head_bytes` of a header in front of it not counted */
static int write_pieces(
	struct tun *tun, const struct iovec *pieces, int count, size_t head_bytes, size_t len)
{
	ssize_t put;

	if (len == 0) /* the kernel would call it a success */
		return write_failed(&tun->counters, EINVAL);
	do
		put = writev(tun->fd, pieces, count);
	while (put < 0 && errno == EINTR);
	if (put < 0)
		return write_failed(&tun->counters, errno);
	if ((size_t)put != head_bytes + len) {
		tun->counters.write_short++;
		return -EIO;
	}
	tun->counters.tx_packets++;
	tun->counters.tx_bytes += len;
	return 0;
}

int tun_write_super(
	struct tun *tun, const struct virtio_net_header *header, const void *packet, size_t len)
{
	uint8_t head[VIRTIO_NET_HEADER_BYTES];
	struct iovec pieces[] = {{head, sizeof(head)}, {(void *)(uintptr_t)packet, len}};

	assert(tun->headers);
	virtio_net_header_write(header, head, sizeof(head));
	return write_pieces(tun, pieces, 2, sizeof(head), len);
}

int tun_write(struct tun *tun, const struct iovec *pieces, int count)
{
	static uint8_t none[VIRTIO_NET_HEADER_BYTES];
	struct iovec all[1 + TUN_PIECES_MAX] = {{none, sizeof(none)}};
	size_t len = 0;

	assert(count <= TUN_PIECES_MAX);
	for (int i = 0; i < count; i++) {
		len += pieces[i].iov_len;
		all[1 + i] = pieces[i];
	}
	return tun->headers ? write_pieces(tun, all, 1 + count, sizeof(none), len)
			    : write_pieces(tun, pieces, count, 0, len);
}
